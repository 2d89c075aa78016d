#include "client/heap.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>

#include "base/base.h"

enum { KEPT_SLICES = 8 };

/* ---- spans ---- */

static void list_insert(struct bin *bin, struct span *span)
{
	span->next = bin->open;
	span->at = &bin->open;
	if (span->next)
		span->next->at = &span->next;
	bin->open = span;
	span->listed = true;
}

static void list_remove(struct span *span)
{
	*span->at = span->next;
	if (span->next)
		span->next->at = span->at;
	span->listed = false;
}

static void peer_insert(struct bin *bin, struct span *span)
{
	struct span *first = bin->spans;

	if (first) {
		span->peer = first;
		span->peer_before = first->peer_before;
		first->peer_before->peer = span;
		first->peer_before = span;
	} else {
		span->peer = span;
		span->peer_before = span;
		bin->spans = span;
	}
	bin->n_spans++;
}

static void peer_remove(struct bin *bin, struct span *span)
{
	span->peer_before->peer = span->peer;
	span->peer->peer_before = span->peer_before;
	if (bin->spans == span)
		bin->spans = span->peer == span ? NULL : span->peer;
	bin->n_spans--;
}

static struct span *span_record(struct heap *heap, uint32_t groups)
{
	struct span *span = heap->spare[groups];

	if (span) {
		heap->spare[groups] = span->next;
		return span;
	}
	span = store_get(heap->heaps->store,
			 sizeof(*span) + 2 * groups * sizeof(span->words[0]));
	if (span) {
		span->heap = heap;
		span->groups = (uint8_t)groups;
	}
	return span;
}

static void span_record_free(struct heap *heap, struct span *span)
{
	span->blocks = 0;
	span->next = heap->spare[span->groups];
	heap->spare[span->groups] = span;
}

const struct span span_none;

/* Whose slices they are: the span's, or (span_none) leased and free. */
static void span_map(struct heaps *heaps, const struct span *span, const struct span *what)
{
	uint64_t first = (uint64_t)(span->base - heaps->base) >> SLICE_SHIFT;

	for (uint32_t i = 0; i < span->run.slices; i++)
		atomic_store_explicit(&heaps->spans[first + i], (struct span *)(uintptr_t)what,
				      memory_order_release);
}

static int span_new(struct span **ret, struct heap *heap, uint32_t class)
{
	const struct size_class *type = &size_classes[class];
	uint32_t groups = (type->blocks + GROUP_BLOCKS - 1) / GROUP_BLOCKS;
	uint32_t rest = type->blocks % GROUP_BLOCKS;
	struct heaps *heaps = heap->heaps;
	struct span *span;
	int r;

	span = span_record(heap, groups);
	if (!span)
		return -ENOMEM;
	r = leases_take(heap->leases, type->slices, &span->run);
	if (r) {
		span_record_free(heap, span);
		return r;
	}

	span->owner = type->size > HEAP_BIN_MAX ? NULL : heap;
	span->base = span->run.base;
	span->size = type->size;
	span->reciprocal = type->reciprocal;
	span->blocks = type->blocks;
	span->class = (uint8_t) class;
	span->listed = false;
	span->used = 0;
	span->open = groups == 64 ? ~(uint64_t)0 : ((uint64_t)1 << groups) - 1;
	for (uint32_t i = 0; i < groups; i++)
		span->words[i] = ~(uint64_t)0;
	if (rest)
		span->words[groups - 1] = ((uint64_t)1 << rest) - 1;
	peer_insert(&heap->bins[class], span);
	if (heaps->watch)
		heaps->watch->cut(heap, span);
	span_map(heaps, span, span);
	*ret = span;
	return 0;
}

static void span_unkeep(struct heap *heap, struct span *span)
{
	if (span->kept)
		heap->kept -= span->run.slices;
	span->kept = false;
}

static void span_free(struct heap *heap, struct span *span)
{
	struct heaps *heaps = heap->heaps;

	span_unkeep(heap, span);
	peer_remove(&heap->bins[span->class], span);
	span_map(heaps, span, &span_none);
	if (heaps->watch)
		heaps->watch->uncut(heap, span);
	run_give(&span->run);
	span_record_free(heap, span);
}

/* It holds no block in use, and is no bin's: a few stay, for what comes next. */
static void span_empty(struct heap *heap, struct span *span)
{
	if (span->owner && heap->kept + span->run.slices <= KEPT_SLICES) {
		span->kept = true;
		heap->kept += span->run.slices;
		return;
	}
	list_remove(span);
	span_free(heap, span);
}

/* Blocks came back to a span that is not its bin's. */
static void span_opened(struct heap *heap, struct span *span)
{
	if (!span->listed)
		list_insert(&heap->bins[span->class], span);
	if (!span->used)
		span_empty(heap, span);
}

/* A block comes back to a group that no bin holds. */
static void span_put(struct heap *heap, struct span *span, uint32_t group, uint64_t bit)
{
	span->words[group] |= bit;
	span->open |= (uint64_t)1 << group;
	span->used--;
	if (heap->bins[span->class].span != span && (!span->listed || !span->used))
		span_opened(heap, span);
}

/* ---- bins ---- */

static void bin_set(struct bin *bin, struct span *span)
{
	uint32_t group = (uint32_t)__builtin_ctzll(span->open);

	bin->span = span;
	bin->group = group;
	bin->base = span->base + (uint64_t)group * GROUP_BLOCKS * span->size;
	bin->size = span->size;
	bin->word = span->words[group];
	span->words[group] = 0;
	span->open &= span->open - 1;
	span->used += (uint32_t)__builtin_popcountll(bin->word);
}

/* Where the bin's last block is. */
static struct span *last_span(const struct heap *heap, const struct bin *bin, uint32_t *ret)
{
	struct span *span = heaps_span(heap->heaps, bin->last);

	assert(span);
	if (!span_block(span, bin->last, ret))
		assert(false);
	return span;
}

/* The group and the last block go back to their spans. */
static void bin_clear(struct heap *heap, struct bin *bin)
{
	struct span *span = bin->span;

	if (bin->last) {
		uint32_t block = 0, group;
		struct span *of = last_span(heap, bin, &block);

		bin->last = NULL;
		group = block / GROUP_BLOCKS;
		if (of == span && group == bin->group)
			bin->word |= (uint64_t)1 << block % GROUP_BLOCKS;
		else
			span_put(heap, of, group, (uint64_t)1 << block % GROUP_BLOCKS);
	}
	if (!span)
		return;
	bin->span = NULL;
	if (bin->word) {
		span->words[bin->group] |= bin->word;
		span->open |= (uint64_t)1 << bin->group;
		span->used -= (uint32_t)__builtin_popcountll(bin->word);
		bin->word = 0;
	}
	if (span->open)
		span_opened(heap, span);
}

/* Another thread has asked all to (heaps_trim()). */
static void follow_trims(struct heap *heap)
{
	if (heap->trims != atomic_load_explicit(&heap->heaps->trims, memory_order_relaxed))
		heap_trim(heap);
}

/* What other processes have freed, before a span is cut. */
static bool collect_watched(struct heap *heap, uint32_t class)
{
	const struct heap_watch *watch = heap->heaps->watch;

	return watch && watch->collect(heap, class,
				       !leases_have(heap->leases, size_classes[class].slices));
}

int heap_refill(struct heap *heap, uint32_t class)
{
	struct bin *bin = &heap->bins[class];
	struct span *span;
	int r;

	follow_trims(heap);
	span = bin->span;
	if (!span || !span->open) {
		if (!bin->open && atomic_load_explicit(&heap->pending, memory_order_relaxed)) {
			heap_collect(heap);
			span = bin->span;
			if (bin->word)
				return 0;
		}
		if (span && span->open) {
			bin_set(bin, span);
			return 0;
		}
		if (!bin->open && collect_watched(heap, class) && bin->last)
			return 0;
		span = bin->open;
		if (span) {
			list_remove(span);
			span_unkeep(heap, span);
		} else {
			r = span_new(&span, heap, class);
			if (r)
				return r;
		}
	}
	bin_set(bin, span);
	return 0;
}

/* ---- freeing ---- */

int heap_free_own(struct heap *heap, struct span *span, const void *memory)
{
	struct bin *bin = &heap->bins[span->class];
	uint32_t block, group;
	uint64_t bit;
	bool in_bin;

	if (!span_block(span, memory, &block))
		return HEAP_E_INTERIOR;
	if (memory == bin->last && !mutant(heap_freed_last))
		return HEAP_E_FREED;
	group = block / GROUP_BLOCKS;
	bit = (uint64_t)1 << block % GROUP_BLOCKS;
	in_bin = bin->span == span && bin->group == group;
	if ((in_bin ? bin->word : span->words[group]) & bit && !mutant(heap_freed_in_word))
		return HEAP_E_FREED;
	if (!bin->last) {
		bin->last = (char *)(uintptr_t)memory;
		return 0;
	}
	if (in_bin)
		bin->word |= bit;
	else
		span_put(heap, span, group, bit);
	return 0;
}

int heap_alloc_large(struct heap *heap, uint32_t class, void **ret)
{
	struct bin *bin = &heap->bins[class];
	struct span *span;
	int r;

	follow_trims(heap);
	if (!bin->open && atomic_load_explicit(&heap->pending, memory_order_relaxed))
		heap_collect(heap);
	if (!bin->open)
		collect_watched(heap, class);
	span = bin->open;
	if (!span) {
		r = span_new(&span, heap, class);
		if (r)
			return r;
		list_insert(bin, span);
	}
	*ret = span->base + (uint64_t)(uint32_t)__builtin_ctzll(span->words[0]) * span->size;
	span->words[0] &= span->words[0] - 1;
	span->used++;
	if (!span->words[0]) {
		span->open = 0;
		list_remove(span);
	}
	return 0;
}

int heap_free_large(struct heap *heap, struct span *span, const void *memory)
{
	uint32_t block;
	uint64_t bit;

	if (!span_block(span, memory, &block))
		return HEAP_E_INTERIOR;
	bit = (uint64_t)1 << block;
	if (span->words[0] & bit)
		return HEAP_E_FREED;
	span_put(heap, span, 0, bit);
	return 0;
}

int heap_free_remote(struct span *span, const void *memory)
{
	struct heap *heap = span->heap;
	struct span *head;
	uint32_t block;
	uint64_t bit;

	if (!span_block(span, memory, &block))
		return HEAP_E_INTERIOR;
	bit = (uint64_t)1 << block % GROUP_BLOCKS;
	if (atomic_fetch_or(span_remote(span, block / GROUP_BLOCKS), bit) & bit)
		return HEAP_E_FREED;
	if (atomic_load(&span->pending))
		return 0; /* whoever takes it off the queue will see the bit */
	if (atomic_exchange(&span->pending, 1))
		return 0;

	head = atomic_load_explicit(&heap->pending, memory_order_relaxed);
	do
		span->next_pending = head;
	while (!atomic_compare_exchange_weak_explicit(
		&heap->pending, &head, span, memory_order_release, memory_order_relaxed));
	return 0;
}

/* The bits of one group that others have set; what is free already was freed twice. */
static void collect_group(struct heap *heap, struct span *span, uint32_t group)
{
	struct bin *bin = &heap->bins[span->class];
	bool in_bin = bin->span == span && bin->group == group;
	uint64_t *word = in_bin ? &bin->word : &span->words[group];
	uint64_t bits, twice;

	if (!atomic_load_explicit(span_remote(span, group), memory_order_relaxed))
		return;
	bits = atomic_exchange(span_remote(span, group), 0);
	twice = bits & *word;
	if (bin->last) {
		uint32_t block = 0;

		if (last_span(heap, bin, &block) == span && block / GROUP_BLOCKS == group)
			twice |= bits & (uint64_t)1 << block % GROUP_BLOCKS;
	}
	bits &= ~twice;
	*word |= bits;
	if (!in_bin && bits) {
		span->used -= (uint32_t)__builtin_popcountll(bits);
		span->open |= (uint64_t)1 << group;
	}
	for (; twice; twice &= twice - 1)
		heap->heaps->freed_twice(
			heap->heaps,
			span->base + (uint64_t)span->size * (group * GROUP_BLOCKS +
							     (uint32_t)__builtin_ctzll(twice)),
			span->size);
}

static void collect_span(struct heap *heap, struct span *span)
{
	/* From here on whoever sets a bit queues it again: cleared before the bits are taken. */
	if (!mutant(heap_pending_late))
		atomic_exchange(&span->pending, 0);
	if (!span->blocks)
		return; /* its last block was collected before it was queued */
	for (uint32_t group = 0; group < span->groups; group++)
		collect_group(heap, span, group);
	if (mutant(heap_pending_late)) {
		sched_yield(); /* so that a freer surely comes between */
		atomic_exchange(&span->pending, 0);
	}
	if (span->open && heap->bins[span->class].span != span)
		span_opened(heap, span);
}

void heap_collect(struct heap *heap)
{
	struct span *span, *next;

	span = atomic_exchange_explicit(&heap->pending, NULL, memory_order_acquire);
	for (; span; span = next) {
		next = span->next_pending;
		collect_span(heap, span);
	}
}

bool heap_is_free(const struct heap *heap, struct span *span, uint32_t block)
{
	uint32_t group = block / GROUP_BLOCKS;
	uint64_t word = atomic_load_explicit(span_remote(span, group), memory_order_relaxed);
	const struct bin *bin;

	if (heap && span->heap == heap) {
		bin = &heap->bins[span->class];
		if (bin->last == span->base + (uint64_t)block * span->size)
			return true;
		word |= bin->span == span && bin->group == group ? bin->word
								 : span->words[group];
	}
	return word >> block % GROUP_BLOCKS & 1;
}

/* ---- heaps ---- */

struct heap *heap_take(struct heaps *heaps, struct leases *leases)
{
	struct heap *heap, **at;

	lock_acquire(&heaps->lock);
	for (at = &heaps->idle; *at && (*at)->leases != leases; at = &(*at)->next)
		;
	heap = *at;
	if (heap)
		*at = heap->next;
	lock_release(&heaps->lock);
	if (heap)
		return heap;

	heap = store_get(heaps->store, sizeof(*heap));
	if (heap) {
		heap->heaps = heaps;
		heap->leases = leases;
		heap->lookup = heaps->lookup;
	}
	return heap;
}

void heap_trim(struct heap *heap)
{
	heap->trims = atomic_load_explicit(&heap->heaps->trims, memory_order_relaxed);
	heap_collect(heap);
	for (uint32_t class = 0; class < CLASSES; class ++) {
		struct bin *bin = &heap->bins[class];
		struct span *span, *next;

		if (bin->spans && heap->heaps->watch)
			heap->heaps->watch->collect(heap, class, true);

		bin_clear(heap, bin);
		for (span = bin->open; span; span = next) {
			next = span->next;
			if (span->used)
				continue;
			list_remove(span);
			span_free(heap, span);
		}
	}
}

void heap_put(struct heap *heap)
{
	struct heaps *heaps = heap->heaps;

	lock_acquire(&heaps->lock);
	heap->next = heaps->idle;
	heaps->idle = heap;
	lock_release(&heaps->lock);
}

void heap_leave(struct heap *heap)
{
	heap_trim(heap);
	heap_put(heap);
}

void heaps_trim(struct heaps *heaps, struct heap *heap)
{
	struct heap *idle, *last = NULL;

	atomic_fetch_add_explicit(&heaps->trims, 1, memory_order_relaxed);
	if (heap)
		heap_trim(heap);
	/* Off the list, they are ours alone. */
	lock_acquire(&heaps->lock);
	idle = heaps->idle;
	heaps->idle = NULL;
	lock_release(&heaps->lock);
	for (heap = idle; heap; heap = heap->next) {
		heap_trim(heap);
		last = heap;
	}
	if (!last)
		return;
	lock_acquire(&heaps->lock);
	last->next = heaps->idle;
	heaps->idle = idle;
	lock_release(&heaps->lock);
}
