/*
 * Procfile - a small file of /proc or /sys, as text and as numbers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The file's text, terminated; what does not fit is cut off. The path is root and path joined. */
int procfile_read(const char *root, const char *path, char *buf, size_t size);

/* The number that a file consists of. False: unreadable, or not a number ("max"). */
bool procfile_number(const char *root, const char *path, uint64_t *ret);

/* The number after `key` at the start of a line of text. */
bool procfile_field(const char *text, const char *key, uint64_t *ret);
