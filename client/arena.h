/*
 * Arena - memory that is taken by adding to a pointer, and given back all at once.
 *
 * A1  What is known of the chunks is this process's own memory: nothing lies in them but what
 *     the program puts there.
 * A2  chunks[0] to chunks[front.at] hold what was allocated, but for what is in overflow chunks;
 *     those after are kept. `held` is the sum of all chunks of both kinds, never above `maximum`.
 * A3  An arena for one thread allocates from front.next to front.end, which lie in that chunk.
 *     In a shared one these are NULL, so that every call comes here.
 * A4  Shared: whoever gets `at` from a fetch-and-add on the chunk's `used` has [at, at + need) if
 *     that lies in the chunk. Else the chunk is closed: to add more cannot make it fit. Who
 *     failed takes his addition back if nobody has added since. Chunks are made and changed
 *     with the lock held; a thread that still adds to the former one gets memory that is
 *     its own, or none.
 * A5  A reset moves all overflow chunks to `kept` by two stores; at most KEPT_BATCH of them are
 *     given back by each later call that needs a chunk. front.slow is set while there are any in
 *     use, ties, threads that share, or a debugger's wish; else a reset is inline, and touches
 *     no other line than the last allocation did.
 * A6  Who runs out of what the source or the maximum allows first gives back all that is kept.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <varbos/arena.h>

#include "base/base.h"
#include "client/lock.h"
#include "client/source.h"
#include "client/ties.h"

enum { KEPT_BATCH = 4 };

struct chunk {
	char *memory;
	uint64_t size;         /* a multiple of 16 */
	_Atomic uint64_t used; /* of the arena's present one only if that is shared */
};

struct overflow {
	struct overflow *next;
	void *memory;
	uint64_t size;
	uint64_t number;
};

/* The newest first; the last one's `next` is NULL. */
struct overflows {
	struct overflow *first, *last;
	uint64_t n;
};

struct arena {
	struct varbos_arena front; /* first */
	bool shared;
	bool poisons;
	uint32_t stamp;        /* fork count of all this */
	struct chunk **chunks; /* n of them; front.at: the one in use */
	uint32_t n, room;
	struct overflows overflow; /* in use */
	struct overflows kept;
	struct ties ties;

	uint64_t number; /* of the newest overflow chunk there ever was */
	uint64_t held;
	struct varbos_arena_options options; /* none of them 0, but perhaps step and maximum */
	struct source source;
	struct tie tie;
	void *scope; /* the innermost that allocates here */

	_Alignas(64) struct chunk *_Atomic current; /* chunks[front.at] */
	struct lock lock;                           /* of a shared one: all but `current` */
};

static inline struct arena *arena_of(const struct varbos_arena *front)
{
	return container_of(front, struct arena, front);
}

/* Without the checks of the public function. */
int arena_new(struct arena **ret, const struct source *source,
	      const struct varbos_arena_options *options);
void arena_free(struct arena *arena);
