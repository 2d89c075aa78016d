/*
 * Heap - what one thread at a time allocates blocks from.
 *
 * H1  One thread has a heap. When it ends, another may take the heap over whole; a heap is never
 *     split or merged, and its spans stay its own.
 * H2  To allocate is to clear a bit of the bin's word, and to free here, to set one; neither
 *     takes an atomic instruction. Another thread's free is one atomic OR (span.h). A freed block
 *     stays out of the words, as its bin's `last`, where there is none: what is allocated next is
 *     the one most likely to be cached, and its address is there before any bit is counted.
 * H3  What is freed is checked: it must be the start of a block that is not free already. Where
 *     two threads free one block at once, that is found when the owner collects.
 * H4  A span without a block in use goes back to the leases, but for half a MiB of them. Blocks
 *     of more than 32 KiB are in no bin's word, nor its last: nothing of them is kept.
 */
#pragma once

#include <stdint.h>

#include "client/lease.h"
#include "client/span.h"
#include "proto/size_class.h"

#define HEAPS_UNOPENED UINT64_MAX

enum { HEAP_BIN_MAX = 32 << 10 };

/* Found wrong with a free. */
enum heap_trouble {
	HEAP_E_INTERIOR = 1, /* not the start of a block */
	HEAP_E_FREED,        /* free already */
};

/* The group in use, and where to find the next. */
struct bin {
	char *last;    /* a free block, or NULL */
	uint64_t word; /* its free blocks */
	char *base;    /* its first block */
	uint64_t size;
	struct span *span; /* whose group it is, or NULL */
	struct span *open; /* others with free blocks */
	uint32_t group;
	uint32_t n_spans;
	struct span *spans; /* all of the class: one of a ring */
};

struct heap {
	const struct class_lookup *lookup;
	struct heaps *heaps;
	struct leases
		*leases; /* where it takes runs; its owner may choose others at any time */
	struct bin bins[CLASSES];
	struct span *spare[GROUPS_MAX + 1]; /* records not in use, by groups */
	uint32_t trims;                     /* of heaps->trims, those it has followed */
	uint32_t kept;                      /* slices of spans that hold nothing */
	uint32_t seen;                      /* the watch's */

	/* Spans that others have freed blocks of. */
	_Alignas(64) struct span *_Atomic pending;
	struct heap *next; /* among the heaps that no thread has */
};

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
	_Atomic uint64_t id; /* thread.h; HEAPS_UNOPENED: there are none yet */
	char *base;          /* of the space's range */
	uint64_t slices;
	struct span *_Atomic
		*spans; /* of each slice: NULL, span_none, or the span it is part of */
	const struct class_lookup *lookup;
	struct store *store;
	struct heaps *next;             /* among all that are open in this process */
	struct lock lock;               /* of `idle` */
	struct heap *idle;              /* heaps that no thread has */
	_Atomic uint32_t trims;         /* how often all were asked to trim themselves */
	const struct heap_watch *watch; /* or NULL */
	/* Found when collecting. */
	void (*freed_twice)(struct heaps *heaps, const void *memory, uint32_t size);
};

/* One that a thread left, with these leases, or a new one. NULL: no memory. */
struct heap *heap_take(struct heaps *heaps, struct leases *leases);
/* Back to those that no thread has, as it is. */
void heap_put(struct heap *heap);
/* The same, trimmed: the thread ends. */
void heap_leave(struct heap *heap);

/* Of `class`, whose bin's word is empty. 0, or as leases_take(). */
int heap_refill(struct heap *heap, uint32_t class);
/* A block of a class above HEAP_BIN_MAX. Likewise. */
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

/* Is the block free, as far as this thread can see? */
bool heap_is_free(const struct heap *heap, struct span *span, uint32_t block);

/* The span of a slice of the range: NULL, span_none, or one. */
static inline struct span *heaps_span(const struct heaps *heaps, const void *memory)
{
	uint64_t slice = (uint64_t)((const char *)memory - heaps->base) >> SLICE_SHIFT;

	return slice < heaps->slices
		       ? atomic_load_explicit(&heaps->spans[slice], memory_order_relaxed)
		       : NULL;
}

/* NULL: the bin has nothing at hand. */
static inline void *heap_bin_alloc(struct bin *bin)
{
	uint64_t word = bin->word;
	char *last = bin->last;

	if (last) {
		bin->last = NULL;
		return last;
	}
	if (!word)
		return NULL;
	bin->word = word & (word - 1);
	return bin->base + (uint64_t)(uint32_t)__builtin_ctzll(word) * bin->size;
}
