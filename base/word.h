/*
 * Word - how far a word that someone typed is from one that we know.
 */
#pragma once

#include <stddef.h>

/* Letters to change, insert or leave out. SIZE_MAX: one of them is longer than any word of ours. */
size_t word_distance(const char *a, const char *b);
