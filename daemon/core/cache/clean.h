/*
 * Clean - live objects move together, so that what is dead between them comes back.
 *
 * CL1  A step takes numbers from the front of a sealed segment's chain: those of the dead are free at
 *      once, those of the living have a place in the cleaner's own segment from then on. While the
 *      step is under way (one at most), these numbers are in no chain, and the segment is not
 *      given back.
 * CL2  A worker copies meanwhile, and looks whether each header is what its record says. The cache
 *      goes on: what has changed, or gone, when the step is done, is not moved.
 * CL3  An object moves by one store of its place, and then one of its entry; who reads the former
 *      place goes on, for a scan comes before that is used again.
 * CL4  Which segment is next: benefit by cost, (1 - u) * root(age) / (1 + u), u being the share of it
 *      that lives, its age that since an object left it last. What readers pin is not worth it.
 *      (Of age itself, of its logarithm, and of age since the segment was sealed, each took more
 *      copies for some policy: 2.1 a put instead of 1.4 under lru, or 2.2 instead of 1.5 under
 *      s3fifo; tests/unit/test_cache.c has the churn.)
 */
#pragma once

#include "daemon/core/cache/cache.h"

enum { CLEAN_MOVES = 256 }; /* a worker that is woken for 64 costs the loop as much again */

struct clean_move {
	uint64_t from, to, size;
	uint64_t hash;
	uint32_t number, version;
	bool spoiled; /* the worker's: its header does not say that, or it cannot be read */
};

struct clean_step {
	uint32_t n;
	uint64_t bytes;
	struct clean_move moves[CLEAN_MOVES];
};

/*
 * A step of at most so many bytes, but of one object. CACHE_E_SEGMENT: the cleaner needs one, by
 * cache_segment(). CACHE_E_NOTHING: nothing is sealed and dead. CACHE_MORE: again.
 */
int cache_clean_plan(struct cache *cache, uint64_t bytes, struct clean_step *ret);
/* As the worker left it. All spoiled, or not copied at all: `copied` is false. */
void cache_clean_done(struct cache *cache, const struct clean_step *step, bool copied);

/* Evicts what lives in the segment that is the least full: memory is needed. CACHE_MORE. */
int cache_drop(struct cache *cache);
