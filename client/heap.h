/*
 * Heap - what one thread at a time allocates blocks from.
 *
 * H1  One thread has a heap. When it ends, another may take the heap over whole; a heap is never
 *     split or merged, and its spans stay its own. Before more is leased, what others have freed
 *     of heaps that no thread has goes back to the leases.
 * H2  To allocate is to take a block from its bin, and to free here, to put it there; neither
 *     takes an atomic instruction. Another thread's free is one atomic OR (span.h). The block
 *     freed last is in no bin but is `last`, and live by its byte: what is freed and allocated in
 *     turn touches neither byte nor bin. While it is in use again it still is `last`, unless it
 *     was freed by others: so programs can do both by themselves (varbos.h).
 * H3  What is freed is checked: it must be the start of a block that is live, and not `last`.
 *     Where two threads free one block at once, that is found when the owner collects.
 * H4  A span without a block in use goes back to the leases, but for half a MiB of them. A bin
 *     holds 128 KiB at most. Blocks of more than 32 KiB are in no bin: nothing of them is kept.
 * H5  What a heap has of a class is told (heaps->tell) when runs come or go, and when it has
 *     changed by 64 blocks or 64 KiB, by what fills or empties a bin. What is in a bin counts as
 *     in use, but for heap_tell() and trims: what they tell is exact, save for what others have
 *     freed and this thread has not collected.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <varbos/varbos.h>

#include "client/lease.h"
#include "client/span.h"
#include "proto/size_class.h"

#define HEAPS_UNOPENED UINT64_MAX
#define HEAPS_WATCHED (UINT64_MAX - 1)

enum {
	HEAP_BIN_MAX = 32 << 10,
	BIN_BYTES = 128 << 10,
	BIN_BLOCKS_MAX = 128,
	BIN_BLOCKS_MIN = 2,
};

struct heaps;

/* Found wrong with a free. */
enum heap_trouble {
	HEAP_E_INTERIOR = 1, /* not the start of a block */
	HEAP_E_FREED,        /* free already */
};

/* No block, by an address that no program can have: what it frees is compared with it. */
#define HEAP_NO_BLOCK ((char *)(uintptr_t)&span_none)

/* A free block, and its byte in its span. */
struct spare {
	char *block; /* NULL: the bottom of a bin */
	uint8_t *live;
};

/* A stack of free blocks. */
struct bin {
	struct spare *top, *limit;
	struct spare *bottom;
	struct span *open; /* spans with something ready */
};

struct heap {
	/*
	 * Apart, lest both be loaded at once from where they were stored one by one: that waits.
	 * As programs know it (struct varbos_latest_heap), down to `bin_of`.
	 */
	char *last;        /* free, or in use as far as this thread can see; or HEAP_NO_BLOCK */
	uint16_t last_bin; /* heap_bin(), while it is free; else 0 */
	uint16_t last_home; /* the same, also while it is in use */
	uint8_t *last_live;
	uint16_t bin_of[(CLASS_SMALL >> CLASS_GRAIN_SHIFT) + 1]; /* likewise, by size */
	struct bin bins[CLASSES];
	/* All spans of a class: one of a ring. */
	struct {
		struct span *spans;
		uint32_t n;
		uint32_t unread; /* the watch's: of so many, from `spans` on */
	} peers[CLASSES];
	/* Of each class: blocks in use or at hand, the sum of its spans' (modulo 2^32); as told. */
	struct {
		uint32_t used, told;
	} sums[CLASSES];

	struct heaps *heaps;
	struct leases
		*leases; /* where it takes runs; its owner may choose others at any time */
	struct span *unused[CLASSES]; /* records not in use */
	uint32_t trims;               /* of heaps->trims, those it has followed */
	uint32_t kept;                /* slices of spans that hold nothing */
	uint32_t seen;                /* the watch's */

	/* Spans that others have freed blocks of. */
	_Alignas(64) struct span *_Atomic pending;
	struct heap *next; /* among the heaps that no thread has */
};

static_assert(offsetof(struct heap, last) == offsetof(struct varbos_latest_heap, last) &&
		      offsetof(struct heap, last_bin) ==
			      offsetof(struct varbos_latest_heap, free_class) &&
		      offsetof(struct heap, last_home) ==
			      offsetof(struct varbos_latest_heap, last_class) &&
		      offsetof(struct heap, bin_of) ==
			      offsetof(struct varbos_latest_heap, class_of) &&
		      sizeof(((struct heap *)0)->bin_of) ==
			      sizeof(((struct varbos_latest_heap *)0)->class_of),
	      "programs look at it");

/* Who else has a hand in the blocks (shared.h); nobody has in private ones. */
struct heap_watch {
	/* Blocks will be given out from the span; no more are, and none is in use. */
	void (*cut)(struct heap *heap, const struct span *span);
	void (*uncut)(struct heap *heap, const struct span *span);
	/*
	 * Free (as heap_free_own() or heap_free_large()) what others have freed of this class's
	 * spans; of all of them: `all`, before more is leased. Was there any?
	 */
	bool (*collect)(struct heap *heap, uint32_t class, bool all);
};

/* What the heaps of one space in this process share; what every call looks at comes first. */
struct heaps {
	/*
	 * By which a thread finds its heap (thread.h); HEAPS_UNOPENED: there are none yet;
	 * HEAPS_WATCHED: only by their number, which else is the same.
	 */
	_Atomic uint64_t id;
	_Atomic uintptr_t slot; /* likewise */
	char *base;             /* of the space's range */
	uint64_t slices;
	struct span *_Atomic
		*spans;          /* of each slice: NULL, span_none, or the span it is part of */
	_Atomic uint64_t number; /* 0: not open */
	const struct class_lookup *lookup;
	struct store *store;
	struct heaps *next;             /* among all that are open in this process */
	struct lock lock;               /* of `idle` */
	struct heap *idle;              /* heaps that no thread has */
	_Atomic uint32_t trims;         /* how often all were asked to trim themselves */
	const struct heap_watch *watch; /* or NULL */
	/* Found when collecting. */
	void (*freed_twice)(struct heaps *heaps, const void *memory, uint32_t size);
	/* So much more, or less, are a class's runs and its blocks in use: H5. */
	void (*tell)(struct heaps *heaps, uint32_t class, int32_t slices, int32_t live);
};

/* One that a thread left, with these leases, or a new one. NULL: no memory. */
struct heap *heap_take(struct heaps *heaps, struct leases *leases);
/* Back to those that no thread has, as it is. */
void heap_put(struct heap *heap);
/* The same, trimmed: the thread ends. */
void heap_leave(struct heap *heap);

/* A block of a class up to HEAP_BIN_MAX, or above: 0, or as leases_take(). */
int heap_alloc(struct heap *heap, uint32_t class, void **ret);
int heap_alloc_large(struct heap *heap, uint32_t class, void **ret);

/*
 * Free a block of a span of this heap (its `owner`, or of a large one its `heap`), or, by any
 * thread, of any. 0 or HEAP_E_.
 */
int heap_free_own(struct heap *heap, struct span *span, const void *memory);
int heap_free_large(struct heap *heap, struct span *span, const void *memory);
int heap_free_remote(struct span *span, const void *memory);

/* Take what other threads have freed. */
void heap_collect(struct heap *heap);
/* The same, and give back to the leases all that holds nothing. */
void heap_trim(struct heap *heap);
/*
 * That for `heap` (may be NULL) and those that no thread has, now; the other threads do it when
 * they next need more than they have at hand.
 */
void heaps_trim(struct heaps *heaps, struct heap *heap);

/* Tell what there is of each class, exactly (H5). */
void heap_tell(struct heap *heap);
/* The same of `heap` (may be NULL) and those that no thread has. */
void heaps_tell(struct heaps *heaps, struct heap *heap);

/* Is the block free, as far as this thread can see? */
bool heap_is_free(const struct heap *heap, const struct span *span, uint32_t block);

/* Whose these slices are from now on: a span's, or (span_none) leased and free, or (NULL) no lease. */
void heaps_mark(struct heaps *heaps, const char *base, uint32_t slices,
		const struct span *span);

/* The span of a slice of the range: NULL, span_none, or one. */
static inline struct span *heaps_span(const struct heaps *heaps, const void *memory)
{
	uint64_t slice = (uint64_t)((const char *)memory - heaps->base) >> SLICE_SHIFT;

	return slice < heaps->slices
		       ? atomic_load_explicit(&heaps->spans[slice], memory_order_relaxed)
		       : NULL;
}

/* A bin is known by where it is in its heap. */
static inline struct bin *heap_bin(struct heap *heap, uint32_t at)
{
	return (struct bin *)((char *)heap + at);
}

static inline uint16_t bin_at(uint32_t class)
{
	return (uint16_t)(offsetof(struct heap, bins) + class * sizeof(struct bin));
}

/* From a bin; NULL: there is nothing in it. */
static inline void *bin_take(struct bin *bin)
{
	struct spare *top = bin->top;
	void *memory = top->block;

	if (__builtin_expect(!memory, 0))
		return NULL;
	*top->live = 1;
	bin->top = top - 1;
	return memory;
}

/* NULL: there is nothing at hand. */
static inline void *heap_take_ready(struct heap *heap, uint32_t at)
{
	if (heap->last_bin == at) {
		heap->last_bin = 0;
		if (!heap->last)
			__builtin_unreachable();
		return heap->last;
	}
	return bin_take(heap_bin(heap, at));
}

/* What heap_free_own() does, where that is quick; false: it is not, or something is wrong. */
static inline bool heap_free_quick(struct heap *heap, const struct span *span, void *memory)
{
	uint32_t last = heap->last_bin, block;
	uint8_t *live;

	if (__builtin_expect(!span_block(span, memory, &block), 0))
		return false;
	live = span->live + block;
	if (__builtin_expect(!*live, 0))
		return false;
	if (last) { /* the one before makes room */
		struct bin *bin = heap_bin(heap, last);
		struct spare *spare = bin->top + 1;

		if (__builtin_expect(heap->last == memory || spare > bin->limit, 0))
			return false;
		spare->block = heap->last;
		spare->live = heap->last_live;
		*heap->last_live = 0;
		bin->top = spare;
	}
	/* It is cold, most likely, and the next of its class that is asked for, and written to. */
	__builtin_prefetch(memory, 1);
	heap->last = memory;
	heap->last_live = live;
	heap->last_bin = span->bin;
	heap->last_home = span->bin;
	return true;
}
