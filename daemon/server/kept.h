/*
 * Kept - the names under which descriptors outlive the daemon.
 *
 * KN1  A name is given to one file for ever: what is in it is never used again for another, so a
 *      slot that is used again never gets its former one's file.
 * KN2  kept_parse() takes what kept_name() prints and nothing else: other names are not ours.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum kept_kind {
#define KEPT(kind, text, n) KEPT_##kind,
#include "daemon/server/kept.def"
#undef KEPT
	KEPT_KINDS
};

enum {
	KEPT_NUMBERS_MAX = 3,
	KEPT_NAME_MAX = 72, /* with its end */
};

/* Numbers that this kind has none of are not looked at. Returns `ret`. */
const char *kept_name(char ret[KEPT_NAME_MAX], enum kept_kind kind, uint64_t a, uint64_t b,
		      uint64_t c);
bool kept_parse(const char *name, enum kept_kind *ret_kind, uint64_t ret[KEPT_NUMBERS_MAX]);
