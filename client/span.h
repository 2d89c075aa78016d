/*
 * Span - a run of slices cut into blocks of one class.
 *
 * N1  A block is somebody's, by its byte in `live`; or it is free, and the span's to give, by its
 *     bit in `ready`; or neither: then its heap holds it for the next caller (heap.h). A bit in
 *     `remote` says that another thread has freed it, and its heap has not seen that yet.
 * N2  Only the thread that has the heap reads or writes anything but `remote`, `pending` and what
 *     never changes while a block is in use.
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
	/* What a free looks at. */
	struct heap *owner; /* `heap`, or NULL: of blocks too large for bins */
	char *base;
	uint8_t *live;
	uint32_t inverse; /* span_block() */
	uint16_t blocks;  /* 0: the record is not in use */
	uint16_t bin;     /* heap_bin() */
	uint8_t rotate;

	uint8_t class, groups;
	bool listed; /* among the spans of its bin that have something ready */
	bool kept;   /* there, though it holds nothing (heap.h, H4) */
	uint32_t size;
	uint32_t used;   /* blocks that are not ready */
	uint64_t open;   /* groups with something ready */
	uint64_t *ready; /* by groups */
	struct span *next, **at;
	struct heap *heap; /* for good: a record is never another heap's */
	struct run run;
	struct span *peer, *peer_before; /* of its class, in a ring */

	_Alignas(64) _Atomic uint32_t pending;
	struct span *next_pending;
	_Atomic uint64_t remote[]; /* then, on other lines, ready and live */
};

/* Stands for slices that are leased, and no span's. */
extern const struct span span_none;

/* How large a record for a class is, and where its words and bytes are. */
size_t span_size(const struct size_class *class);
void span_init(struct span *span, const struct size_class *class);

/*
 * Which block; false: `memory`, which lies in the span, is not the start of one. A product with
 * the inverse of the size's odd part, rotated by its power of two, is the quotient where the
 * size divides, and larger than any quotient where it does not.
 */
static inline bool span_block(const struct span *span, const void *memory, uint32_t *ret)
{
	uint32_t product = (uint32_t)((const char *)memory - span->base) * span->inverse;

	*ret = product >> (span->rotate & 31) | product << (-span->rotate & 31);
	return *ret < span->blocks;
}
