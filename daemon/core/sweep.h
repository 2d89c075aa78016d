/*
 * Sweep - how far the sweep of a space has come.
 *
 * SW1  A space has one sweep at a time. It keeps the space, like a plan (it is one of `n_plans`),
 *      and nothing else: extents come and go meanwhile.
 * SW2  Every extent with words that is there throughout is listed once.
 * SW3  A session ends in steps, its ids first. So a sweep is due also while there are extents that
 *      were adopted after the last one began, and may hold nothing: it saw them as their owner's.
 * SW4  It is for all ids that some word may name though nobody has them (I1 in ids.h), and nobody
 *      is given one of these while it runs: what it frees was nobody's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct sweep {
	bool running;
	bool owed;              /* SW3, or the last one did not get through */
	uint32_t number, slice; /* window and slice that are next */
};
