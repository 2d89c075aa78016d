/*
 * Text - bytes that someone else chose, made safe to print.
 *
 * T1  What comes out is ASCII, whatever goes in: nothing reaches a terminal that it could obey,
 *     and every JSON string is valid.
 * T2  It can be told apart: a printed backslash is always an escape.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

/* Printable ASCII as it is; a backslash doubled, \t \n \r by name, any other byte as \xNN. */
void text_print(FILE *out, const char *data, size_t size);

/* How many columns text_print() takes. */
size_t text_width(const char *data, size_t size);

/* A JSON string with its quotes. Beyond ASCII \uNNNN; what is not UTF-8 becomes \ufffd. */
void text_print_json(FILE *out, const char *data, size_t size);
