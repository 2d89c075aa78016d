/*
 * Pool - objects of one size that stay constructed while idle.
 *
 * O1  Objects lie in slabs (slab.h), and go by ids; what is idle is on the stacks of shards, of
 *     which a stealing pool has one for each processor, and any other pool one.
 * O2  A slot's state says whose the object is. Who changes IDLE or LIVE owns the object:
 *
 *       EMPTY --construct (lock)--> IDLE | LIVE
 *       IDLE  --get--> LIVE                  who popped the id
 *       IDLE  --evict (lock)--> GONE         while its id is still on a stack
 *       LIVE  --put--> BUSY --> IDLE         who puts; straight to IDLE, but for callbacks and
 *                                            where there is eviction
 *       BUSY  --invalid (lock)--> EMPTY
 *       GONE  --popped (lock)--> EMPTY
 *
 *     A get and an eviction meet in a compare-and-swap, and so do two who put the same object.
 * O3  An id is on one stack at most: IDLE ones and those that are GONE on the shards', EMPTY ones
 *     on that of the slabs, or they have never been used.
 * O4  `total`, objects that are constructed, is at most max, and changes under the lock.
 * O5  The lock is not needed to get what is idle or to put. A local pool never takes it.
 * O6  Who finds no idle object looks once more at all shards before it says so, and believes it
 *     only if none has changed in between: at that moment all were empty.
 * O7  Who puts makes the object visible, then looks at `waiting`; who waits announces that, then
 *     looks for objects. One of the two sees the other.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <varbos/pool.h>

#include "client/lock.h"
#include "client/slab.h"
#include "client/source.h"
#include "client/stack.h"
#include "client/ties.h"

enum { POOL_OBJECTS_MAX = 1 << 24, POOL_SHARDS = 64 };

enum slot_state { SLOT_EMPTY, SLOT_IDLE, SLOT_LIVE, SLOT_BUSY, SLOT_GONE };

struct shard {
	_Alignas(64) struct stack idle;
	struct lock lock; /* of a locked pool's */
};

struct varbos_pool {
	struct varbos_pool_options options; /* none of them 0 that has a default */
	uint32_t stamp;                     /* fork count of all this */
	uint32_t n_shards;                  /* a power of two */
	bool evicts;
	bool careful; /* there is more to a put than to check and to push */
	struct slabs slabs;

	struct lock lock; /* of what follows, and of the slabs */
	uint32_t total;
	uint32_t look_slab, look_at; /* where to look next for what is idle */
	struct varbos_pool_stats counts;
	struct tie tie;

	_Alignas(64) _Atomic uint32_t event; /* changes when there is more to be had */
	_Atomic uint32_t waiting;
	_Atomic uint64_t waits;
	_Atomic uint64_t tidy_at; /* ms; whoever puts after that looks for what is idle */
	struct shard shards[];
};

/* Without the checks of the public function. */
int pool_new(struct varbos_pool **ret, const struct source *source,
	     const struct varbos_pool_options *options);
void pool_free(struct varbos_pool *pool);
