/*
 * File - the text of one configuration file, or why it is not read.
 *
 * What is not a plain file is not read at all: a pipe could keep us waiting, a device has no end.
 * Nor is what everybody may write to: it would let everybody configure us.
 */
#pragma once

#include <stddef.h>

enum {
	FILE_E_REFUSED = 1, /* `why` says it */
	FILE_E_MISSING,
};

enum { FILE_BYTES_MAX = 256 << 10, FILE_WHY_MAX = 160 };

/* ret_text is the caller's to free, and ended by a zero. -ENOMEM, -EMFILE, -ENFILE: another time. */
int file_read(const char *path, char **ret_text, size_t *ret_size, char why[FILE_WHY_MAX]);
