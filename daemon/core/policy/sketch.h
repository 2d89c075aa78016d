/*
 * Sketch - about how often keys were seen lately, in 4 bits each of four places.
 *
 * SK1  Between halvings an estimate is never below how often the key was added since the last one
 *      ended, up to 15; it is above where each of its four places is shared.
 * SK2  After `period` additions (of keys that had not reached 15 in all places), and then after
 *      each half of that, all counts are halved, a bounded part of them at each addition that
 *      follows: what is estimated meanwhile mixes both.
 */
#pragma once

#include <stdint.h>

#include "daemon/core/policy/spent.h"

enum { SKETCH_BYTES = 4 /* for each object */ };

struct sketch {
	uint64_t *words; /* 16 counts each */
	uint32_t n_words;
	uint32_t added, period;
	uint32_t halved; /* words that are, when a halving is under way; else all */
	struct {
		uint64_t *words;
		uint32_t n_words, touched;
	} next; /* larger ones, which take over when all their pages are there; NULL: none */
	struct spent spent;
};

/*
 * Zeroed, then this. -ENOMEM. What was counted before is forgotten once it has grown, a page an
 * addition: to find so many that are new takes a millisecond.
 */
int sketch_grow(struct sketch *sketch, uint32_t objects);
void sketch_deinit(struct sketch *sketch);
/* To have its words at hand. */
void sketch_fetch(const struct sketch *sketch, uint64_t hash);
void sketch_add(struct sketch *sketch, uint64_t hash);
uint32_t sketch_estimate(const struct sketch *sketch, uint64_t hash);
