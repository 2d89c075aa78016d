/*
 * Stint - what the loop does without looking at anything else, and how long that takes.
 *
 * SI1  What could take long is cut by counts (whoever does it says what they were measured to take):
 *      200 us of processor time at most. Between two cuts the loop looks at the clock, and begins no
 *      more of them once the stint has lasted STINT_NS. So it takes less than 500 us.
 * SI2  How long each takes of a processor is noted: the longest of each kind, how many there were, and
 *      how many took longer than STINT_LATE_NS. By the clock, less what the loop's thread was kept from
 *      running: the kernel is asked for that where it matters, and is known to STINT_VAGUE_NS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct server;

enum {
	STINT_NS = 250 * 1000,
	STINT_LATE_NS = 500 * 1000,
	STINT_VAGUE_NS = 100 * 1000,
};

enum stint_kind {
#define STINT(name, text, what) STINT_##name,
#include "daemon/server/stint.def"
#undef STINT
	STINT_KINDS
};

struct stints {
	struct stint *now;            /* the innermost that is under way, or NULL */
	uint64_t looked_ns, spent_ns; /* by the thread, until then */
	struct {
		uint64_t n, late, longest_ns;
	} of[STINT_KINDS];
};

/* Begun and ended by the same function; one within another is a part of both. */
struct stint {
	struct server *server;
	struct stint *outer;
	enum stint_kind kind;
	uint64_t begun_ns;
	bool over;
};

const char *stint_name(enum stint_kind kind);

void stint_begin(struct stint *stint, struct server *server, enum stint_kind kind);
void stint_end(struct stint *stint);
/* It ends, and another one begins: the clock is looked at once. */
void stint_next(struct stint *stint, enum stint_kind kind);

/* SI1: may another cut begin? Looks at the clock, unless it is known that none may. */
bool stint_lasts(const struct server *server);
