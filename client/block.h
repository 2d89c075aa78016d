/*
 * Blocks - a space's memory in pieces of up to 256 KiB, allocated without the daemon.
 *
 * B1  Blocks lie in private extents that this process leases from the daemon (lease.h), and are
 *     cut from them by the heaps of its threads (heap.h).
 * B2  What is free, and whose, is known to this process alone; other members see leased extents.
 */
#pragma once

#include <stdint.h>

#include "client/heap.h"
#include "client/lease.h"
#include "client/store.h"

struct varbos_space;

enum { BLOCK_NODES = 64 };

struct blocks {
	struct heaps heaps; /* first: what every call looks at */
	struct leases
		leases[BLOCK_NODES]; /* of a local space by node, else all are the first's */
	struct lease_source source;
	struct store store;
	uint64_t spans_bytes;
};

/* Zeroed, then this: nothing is reserved before the first block. */
static inline void blocks_init(struct blocks *blocks)
{
	blocks->heaps.id = HEAPS_UNOPENED;
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
	return blocks->heaps.spans ? heaps_span(&blocks->heaps, memory) : NULL;
}

/* Does the byte lie in a block of ours that is free, as far as this thread can see? */
bool block_is_free(const struct varbos_space *space, const void *memory);
