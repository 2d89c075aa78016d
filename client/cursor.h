/*
 * Cursor - a walk through all values of a cache, in its index: the daemon is asked nothing but where
 * an index is, and keeps nothing about it.
 *
 * CU1 A position is a number that index_mixed() makes of a hash. These are different for all objects
 *     that there are, and the order of buckets in every index of one seed: so it stays one whatever
 *     is replaced, moved, removed, and however large the index becomes.
 * CU2 What is there from the first step to the last is seen; once, as long as the seed is one. Where
 *     objects move on to an index of another seed, those before the position have been seen; of the
 *     rest, what had moved when the walk came there is owed, and is what the next walk shows,
 *     through the other index: from the least to the largest that is owed.
 * CU3 A bucket's objects are believed to be all of it if it has not moved on meanwhile, and its
 *     version is the same (index.h).
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

#include "client/cache.h"

struct range {
	uint64_t low, high; /* both of it */
};

/* What is in struct varbos_cursor. */
struct cursor {
	uint64_t flags;
	uint64_t seed, from;
	struct range owed;
	uint64_t former;
	struct range picked;
};

static_assert(sizeof(struct cursor) == sizeof(struct varbos_cursor), "as the program keeps it");

/*
 * The next one, pinned by the word `hold`; both hazard words are the thread's, and `look` is free
 * afterwards; or, without a lane, NULL, and what is found is in *ret_memory, to be freed.
 * VARBOS_E_NOT_FOUND, without a word: these were all.
 */
int cursor_next(struct varbos_cache *cache, struct cursor *cursor, _Atomic uint64_t *look,
		_Atomic uint64_t *hold, struct found *ret, void **ret_memory);
