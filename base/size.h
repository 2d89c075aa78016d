/*
 * Size - bytes as people write them: "512M", "2G", "16TiB", "4096"; powers of two throughout.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Digits, then nothing, K, M, G, T, P or E, then nothing, B or iB. False: not a size, or beyond 64 bits. */
bool size_parse(const char *text, uint64_t *ret);

/*
 * "41 MiB", "1.5 GiB", "1000 B": the nearest, below 1024 of its unit, with a tenth below 100.
 * Returns buf.
 */
char *size_format(char *buf, size_t size, uint64_t bytes);
enum { SIZE_TEXT_MAX = 16 };
