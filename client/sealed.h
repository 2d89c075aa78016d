/*
 * Sealed - may this descriptor be mapped?
 *
 * A file that could shrink under a mapping kills who reads it, so nothing is mapped that is not
 * a memfd sealed against that, and as large as was announced.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Data: exactly this large for good. Other files: at least this large for good. */
enum sealed_kind { SEALED_EXACT, SEALED_AT_LEAST };

/* 0, or VARBOS_E_UNTRUSTED with the error filled: `what` has not these seals, or not this size. */
int sealed_check(int fd, const char *what, enum sealed_kind kind, uint64_t size);
