/*
 * Blocks - a space's memory in pieces of up to 256 KiB, allocated without the daemon.
 *
 * B1  Blocks lie in private extents that this process leases from the daemon (lease.h), and are
 *     cut from them by the heaps of its threads (heap.h).
 * B2  What is free, and whose, is known to this process alone; other members see leased extents.
 * B3  In a `local` space a thread takes slices near the node that it runs on when it runs short.
 *     What is asked of a node by name comes out of a heap for that node, which a thread has for
 *     the moment; it is freed there as another thread's.
 */
#pragma once

#include <stdint.h>

#include "client/heap.h"
#include "client/lease.h"
#include "client/store.h"

struct varbos_space;

enum { BLOCK_NODES = 64 };

/* Where leases come from: near a node (in a space that is not local, anywhere), or of a node. */
struct origin {
	struct leases leases;
	struct lease_source source;
	struct blocks *blocks;
	uint32_t node;
	bool bound;
};

struct blocks {
	struct heaps heaps; /* first: what every call looks at */
	struct origin near[BLOCK_NODES], on[BLOCK_NODES];
	struct store store;
	uint64_t spans_bytes;
};

/* Zeroed, then this: nothing is reserved before the first block. */
static inline void blocks_init(struct blocks *blocks)
{
	atomic_store_explicit(&blocks->heaps.id, HEAPS_UNOPENED, memory_order_relaxed);
}

/* Everything of this process's about them goes; the leases are the space's to give back. */
void blocks_close(struct blocks *blocks);
/* In a forked child: the parent's are not there. */
void blocks_forget(struct blocks *blocks);

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

/* Does the byte lie in a block of ours that is free, as far as this thread can see? */
bool block_is_free(const struct varbos_space *space, const void *memory);

/* After block_enter(); what is no block (too large, too aligned) is an extent. */
struct block_wish {
	size_t size;
	size_t align; /* 0: as it comes */
	uint32_t on;  /* node + 1; 0: as the space says */
};

/* Before anything that allocates or frees: the space is this process's, and may be written. */
int block_enter(struct varbos_space *space);
int block_alloc(struct varbos_space *space, const struct block_wish *wish, void **ret);
int block_free(struct varbos_space *space, const void *memory);
/* How much of private memory of this process may be used. */
int block_size(struct varbos_space *space, const void *memory, size_t *ret);
