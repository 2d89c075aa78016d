/*
 * Blocks - a space's memory in pieces of up to 256 KiB, allocated without the daemon.
 *
 * B1  Blocks lie in extents that this process leases from the daemon (lease.h), and are cut
 *     from them by the heaps of its threads (heap.h): private ones, and apart from them shared
 *     ones.
 * B2  What is free, and whose, is known to this process alone; other members see leased
 *     extents, and of shared blocks (shared.h) their words.
 * B3  In a `local` space a thread takes slices near the node that it runs on when it runs
 *     short. What is asked of a node by name comes out of a heap for that node, which a thread
 *     has for the moment; it is freed there as another thread's.
 */
#pragma once

#include <stdint.h>

#include "client/heap.h"
#include "client/lease.h"
#include "client/reporter.h"
#include "client/store.h"

struct varbos_space;

enum {
	BLOCK_NODES = 64,
	/* No span takes more of the store for each of its slices; nor one of packed blocks. */
	STORE_SLICE_SHIFT = 11,
	STORE_PACKED_SHIFT = 13,
};

/* Where leases come from: near a node (in a space that is not local, anywhere), or of a node. */
struct origin {
	struct leases leases;
	struct lease_source source;
	struct blocks *blocks;
	struct call *asked; /* the lease asked ahead, or NULL */
	uint32_t node;
	bool bound;
};

struct blocks {
	struct heaps heaps; /* first: what every call looks at */
	struct origin near[BLOCK_NODES], on[BLOCK_NODES];
	struct store store;
	struct tallies tallies;
	uint64_t spans_bytes;
	struct debug *debug; /* or NULL */
	struct varbos_space *space;
	enum extent_kind kind; /* of the leases: EXTENT_PRIVATE, EXTENT_BLOCKS */
};

/* Zeroed, then this: nothing is reserved before the first block. */
static inline void blocks_init(struct blocks *blocks, struct varbos_space *space,
			       enum extent_kind kind, const struct heap_watch *watch)
{
	atomic_store_explicit(&blocks->heaps.id, HEAPS_UNOPENED, memory_order_relaxed);
	blocks->heaps.watch = watch;
	blocks->space = space;
	blocks->kind = kind;
}

/* Everything of this process's about them goes; the leases are the space's to give back. */
void blocks_close(struct blocks *blocks);
/* In a forked child: the parent's are not there. */
void blocks_forget(struct blocks *blocks);

/* One of that class, after block_enter(). */
int blocks_alloc(struct blocks *blocks, uint32_t class, void **ret);
/* It was of that span, which is not NULL: 0 or HEAP_E_. */
int blocks_free(struct blocks *blocks, struct span *span, const void *memory);

/* What they lease and have in use: of this thread, and of threads that have ended, exactly. */
struct tallies_sum blocks_sum(struct blocks *blocks);

/* What this process holds and does not use goes back to the daemon; how many slices that was. */
uint64_t blocks_trim(struct blocks *blocks);

/*
 * The span that an address of the space's range lies in: NULL if it is no lease of ours,
 * span_none if it is, and free.
 */
static inline struct span *blocks_span(const struct blocks *blocks, const void *memory)
{
	if (atomic_load_explicit(&blocks->heaps.id, memory_order_acquire) == HEAPS_UNOPENED)
		return NULL;
	return heaps_span(&blocks->heaps, memory);
}

/* Before anything that allocates or frees: the space is this process's, and may be written. */
int block_enter(struct varbos_space *space);
