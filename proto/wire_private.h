/*
 * Wire, private - what the parts of wire.c's noun share.
 */
#pragma once

#include "proto/wire.h"

/* Fill in `which` (bytes of a stranger: cut, and made printable) and a formatted text. */
void _printf_(3, 4) wire_trouble_set(struct wire_trouble *trouble, struct wire_str which,
				     const char *format, ...);

/* WIRE_METHODS_N if there is none of that name. */
enum wire_method wire_method_find(struct wire_str name);

/* OPTIONAL, and 0, false, "" or empty. */
bool wire_field_is_absent(const struct wire_field *field, const void *value);

/* Bytes of the clean character (W4) at `at`, which is within s; 0 if there is none. */
size_t wire_str_character(struct wire_str s, size_t at);
