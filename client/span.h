/*
 * Span - a run of slices cut into blocks of one class, in groups of 64.
 *
 * N1  A block is free by one bit, and that in one place: in the word that its owner's bin holds,
 *     in `free` (the owner's alone), or in `remote` (freed by another thread, not yet seen). In
 *     none of them it is in use.
 * N2  Only the thread that has the heap reads or writes anything but `remote`, `pending`
 *     and what never changes while a block is in use.
 * N3  A record stays its heap's, in use or not: who has set a bit may queue the span when its last
 *     block is long collected, and the slices are another's.
 * N4  Spans are memory of this process alone: what other members of the space write cannot
 *     reach them. A dead process leaves nothing to repair: its leases go back whole.
 *
 *   word             who                        order
 *   remote[g]        fetch_or by any thread;    acq_rel: the freer's writes to the block are
 *                    exchange 0 by the owner    seen by who gets it next
 *   pending          0 -> 1 by the freer that   seq_cst against remote: the freer sets its bit,
 *                    then queues the span;      then looks at pending; the owner clears
 *                    1 -> 0 by the owner        pending, then takes the bits
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/lease.h"
#include "proto/size_class.h"

struct heap;

struct span {
	struct heap *heap;  /* for good: a record is never another heap's */
	struct heap *owner; /* the same, or NULL: of blocks too large for bins */
	char *base;
	uint32_t size, reciprocal;
	uint16_t blocks; /* 0: the record is not in use */
	uint8_t class, groups;
	bool listed;   /* among the open spans of its bin */
	bool kept;     /* there, though it holds nothing (heap.h, H4) */
	uint32_t used; /* blocks that are in use or in the bin's word */
	uint64_t open; /* groups with a bit in `free` */
	struct span *next, **at;

	_Alignas(64) _Atomic uint32_t pending;
	struct span *next_pending;
	struct run run;
	struct span *peer, *peer_before; /* of its bin's, in a ring */

	_Alignas(64) uint64_t words[]; /* free[groups], remote[groups] */
};

/* Stands for slices that are leased, and no span's. */
extern const struct span span_none;

/* Where a block is; false: `memory` is not the start of one. */
static inline bool span_block(const struct span *span, const void *memory, uint32_t *ret)
{
	uint64_t position = (uint64_t)((const char *)memory - span->base);
	uint32_t block = (uint32_t)(position * span->reciprocal >> 32);

	*ret = block;
	return (uint64_t)block * span->size == position && block < span->blocks;
}

static inline _Atomic uint64_t *span_remote(struct span *span, uint32_t group)
{
	return (_Atomic uint64_t *)&span->words[span->groups + group];
}
