#include "client/heap.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

enum {
	KEPT_SLICES = 8,
	IDLE_COLLECTED = 64, /* heaps, before one lease */
};

static_assert(sizeof(struct bin) == 32 && sizeof(struct spare) == 16, "found by shifts");
static_assert(sizeof(struct heap) < 1 << 16, "bins are known by 16 bits");
static_assert(offsetof(struct span, next) == 64, "what a free looks at is one line");

/* ---- telling ---- */

static void tell(struct heap *heap, uint32_t class, int32_t slices, uint32_t used)
{
	int32_t live = (int32_t)(used - heap->sums[class].told);

	if (!slices && !live)
		return;
	heap->sums[class].told = used;
	heap->heaps->tell(heap->heaps, class, slices, live);
}

/* Unless it is less than is worth telling. */
static void tell_change(struct heap *heap, uint32_t class)
{
	uint32_t used = heap->sums[class].used;
	int32_t live = (int32_t)(used - heap->sums[class].told);
	uint64_t blocks = (uint64_t)(live < 0 ? -(int64_t)live : live);

	if (blocks >= GROUP_BLOCKS || blocks * size_classes[class].size >= SLICE_BYTES)
		tell(heap, class, 0, used);
}

void heap_tell(struct heap *heap)
{
	for (uint32_t class = 0; class < CLASSES; class ++) {
		const struct bin *bin = &heap->bins[class];
		uint32_t at_hand =
			(uint32_t)(bin->top - bin->bottom) + (heap->last_bin == bin_at(class));

		tell(heap, class, 0, heap->sums[class].used - at_hand);
	}
}

/* ---- records ---- */

const struct span span_none;

static uint32_t groups_of(const struct size_class *class)
{
	return (class->blocks + (uint32_t)GROUP_BLOCKS - 1) / GROUP_BLOCKS;
}

/* Bytes before `ready`: what others write is on lines of its own. */
static size_t remote_size(uint32_t groups)
{
	return (offsetof(struct span, remote) + groups * sizeof(uint64_t) + 63) & ~(size_t)63;
}

size_t span_size(const struct size_class *class)
{
	uint32_t groups = groups_of(class);

	return remote_size(groups) + groups * sizeof(uint64_t) + class->blocks;
}

/* Of an odd number, modulo 2^32: each step doubles the digits that are right. */
static uint32_t odd_inverse(uint32_t odd)
{
	uint32_t inverse = odd; /* three digits */

	for (int i = 0; i < 4; i++)
		inverse *= 2 - odd * inverse;
	return inverse;
}

void span_init(struct span *span, const struct size_class *class)
{
	uint32_t groups = groups_of(class);

	span->size = class->size;
	span->rotate = (uint8_t)__builtin_ctz(class->size);
	span->inverse = odd_inverse(class->size >> span->rotate);
	span->class = (uint8_t)(class - size_classes);
	span->bin = bin_at(span->class);
	span->groups = (uint8_t)groups;
	span->ready = (uint64_t *)((char *)span + remote_size(groups));
	span->live = (uint8_t *)(span->ready + groups);
}

/* For good its heap's, and of its class. */
static struct span *span_record(struct heap *heap, uint32_t class)
{
	const struct size_class *type = &size_classes[class];
	struct span *span = heap->unused[class];

	if (span) {
		heap->unused[class] = span->next;
		return span;
	}
	span = store_get(heap->heaps->store, span_size(type));
	if (span) {
		span->heap = heap;
		span->owner = type->size > HEAP_BIN_MAX ? NULL : heap;
		span_init(span, type);
	}
	return span;
}

static void span_record_free(struct heap *heap, struct span *span)
{
	span->blocks = 0;
	span->next = heap->unused[span->class];
	heap->unused[span->class] = span;
}

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

static void peer_insert(struct heap *heap, struct span *span)
{
	struct span *first = heap->peers[span->class].spans;

	if (first) {
		span->peer = first;
		span->peer_before = first->peer_before;
		first->peer_before->peer = span;
		first->peer_before = span;
	} else {
		span->peer = span;
		span->peer_before = span;
		heap->peers[span->class].spans = span;
	}
	heap->peers[span->class].n++;
}

static void peer_remove(struct heap *heap, struct span *span)
{
	struct span **first = &heap->peers[span->class].spans;

	span->peer_before->peer = span->peer;
	span->peer->peer_before = span->peer_before;
	if (*first == span)
		*first = span->peer == span ? NULL : span->peer;
	heap->peers[span->class].n--;
}

void heaps_mark(struct heaps *heaps, const char *base, uint32_t slices, const struct span *span)
{
	uint64_t first = (uint64_t)(base - heaps->base) >> SLICE_SHIFT;

	for (uint32_t i = 0; i < slices; i++)
		atomic_store_explicit(&heaps->spans[first + i], (struct span *)(uintptr_t)span,
				      memory_order_release);
}

static struct bin *span_bin(const struct span *span)
{
	return heap_bin(span->heap, span->bin);
}

static int span_new(struct heap *heap, uint32_t class)
{
	const struct size_class *type = &size_classes[class];
	uint32_t rest = type->blocks % GROUP_BLOCKS;
	struct span *span;
	int r;

	span = span_record(heap, class);
	if (!span)
		return -ENOMEM;
	r = leases_take(heap->leases, type->slices, &span->run);
	if (r) {
		span_record_free(heap, span);
		return r;
	}

	span->base = span->run.base;
	span->blocks = type->blocks;
	span->used = 0;
	span->open = span->groups == 64 ? ~(uint64_t)0 : ((uint64_t)1 << span->groups) - 1;
	memset(span->live, 0, span->blocks);
	memset(span->ready, 0xff, span->groups * sizeof(span->ready[0]));
	if (rest)
		span->ready[span->groups - 1] = ((uint64_t)1 << rest) - 1;
	peer_insert(heap, span);
	if (heap->heaps->watch)
		heap->heaps->watch->cut(heap, span);
	heaps_mark(heap->heaps, span->base, span->run.slices, span);
	tell(heap, class, type->slices, heap->sums[class].used);
	list_insert(span_bin(span), span);
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
	span_unkeep(heap, span);
	list_remove(span);
	peer_remove(heap, span);
	heaps_mark(heap->heaps, span->base, span->run.slices, &span_none);
	if (heap->heaps->watch)
		heap->heaps->watch->uncut(heap, span);
	tell(heap, span->class, -(int32_t)span->run.slices, heap->sums[span->class].used);
	run_give(&span->run);
	span_record_free(heap, span);
}

/* Blocks have become ready: the span is found again, or, if it holds nothing, goes. */
static void span_opened(struct heap *heap, struct span *span)
{
	if (!span->listed)
		list_insert(span_bin(span), span);
	if (span->used)
		return;
	if (span->owner && heap->kept + span->run.slices <= KEPT_SLICES) {
		span->kept = true;
		heap->kept += span->run.slices;
	} else {
		span_free(heap, span);
	}
}

/* So many of its blocks more, or less, are in use. */
static void span_count(struct heap *heap, struct span *span, int32_t blocks)
{
	span->used += (uint32_t)blocks;
	heap->sums[span->class].used += (uint32_t)blocks;
}

/* Take out of it what is ready in its first open group, `most` at most. */
static uint64_t span_take(struct heap *heap, struct span *span, uint32_t most,
			  uint32_t *ret_group)
{
	uint32_t group = (uint32_t)__builtin_ctzll(span->open);
	uint64_t bits = span->ready[group];

	while ((uint32_t)__builtin_popcountll(bits) > most)
		bits &= ~((uint64_t)1 << (63 - __builtin_clzll(bits)));
	span_unkeep(heap, span);
	span->ready[group] &= ~bits;
	span_count(heap, span, __builtin_popcountll(bits));
	if (!span->ready[group])
		span->open &= span->open - 1;
	if (!span->open)
		list_remove(span);
	*ret_group = group;
	return bits;
}

static void span_put(struct heap *heap, struct span *span, uint32_t group, uint64_t bits)
{
	span->ready[group] |= bits;
	span->open |= (uint64_t)1 << group;
	span_count(heap, span, -__builtin_popcountll(bits));
	if (!span->listed || !span->used)
		span_opened(heap, span);
}

/* ---- bins ---- */

/* A spare block is its span's again. */
static void spare_put(struct heap *heap, const char *memory)
{
	struct span *span = heaps_span(heap->heaps, memory);
	uint32_t block = 0;

	assert(span);
	if (!span_block(span, memory, &block))
		assert(false);
	span_put(heap, span, block / GROUP_BLOCKS, (uint64_t)1 << block % GROUP_BLOCKS);
}

/* The `n` that have been there longest. */
static void bin_flush(struct heap *heap, struct bin *bin, size_t n)
{
	struct spare *first = bin->bottom + 1;

	for (size_t i = 0; i < n; i++)
		spare_put(heap, first[i].block);
	memmove(first, first + n,
		(size_t)(bin->top - bin->bottom - (ptrdiff_t)n) * sizeof(*first));
	bin->top -= n;
}

/* The block freed last goes where others are. */
static void last_clear(struct heap *heap)
{
	if (!heap->last_bin)
		return;
	heap->last_bin = 0;
	*heap->last_live = 0;
	spare_put(heap, heap->last);
	heap->last = HEAP_NO_BLOCK;
}

static bool last_is(const struct heap *heap, const void *memory)
{
	return heap->last_bin && heap->last == memory;
}

/* Another thread has asked all to (heaps_trim()). */
static void follow_trims(struct heap *heap)
{
	if (heap->trims != atomic_load_explicit(&heap->heaps->trims, memory_order_relaxed))
		heap_trim(heap);
}

/* One that no thread has, and of which others have freed blocks; NULL: there is none. */
static struct heap *idle_take_pending(struct heaps *heaps)
{
	struct heap *heap, **at;

	lock_acquire(&heaps->lock);
	for (at = &heaps->idle;
	     *at && !atomic_load_explicit(&(*at)->pending, memory_order_relaxed);
	     at = &(*at)->next)
		;
	heap = *at;
	if (heap)
		*at = heap->next;
	lock_release(&heaps->lock);
	return heap;
}

/* One at a time, so that a thread that begins finds the others. */
static void idle_collect(struct heaps *heaps)
{
	struct heap *heap;

	for (int i = 0; i < IDLE_COLLECTED && (heap = idle_take_pending(heaps)); i++) {
		heap_trim(heap);
		heap_put(heap);
	}
}

/* What others have freed, before a span is cut. */
static void collect_for(struct heap *heap, uint32_t class)
{
	const struct heap_watch *watch = heap->heaps->watch;
	bool lease;

	if (heap->bins[class].open)
		return;
	if (atomic_load_explicit(&heap->pending, memory_order_relaxed))
		heap_collect(heap);
	if (heap->bins[class].open)
		return;
	lease = !leases_have(heap->leases, size_classes[class].slices);
	if (watch)
		watch->collect(heap, class, lease);
	if (lease && !heap->bins[class].open && !mutant(heap_idle_uncollected))
		idle_collect(heap->heaps);
}

/* A span with something ready. */
static int span_need(struct heap *heap, uint32_t class, struct span **ret)
{
	struct bin *bin = &heap->bins[class];
	int r;

	if (!bin->open) {
		r = span_new(heap, class);
		if (r)
			return r;
	}
	*ret = bin->open;
	return 0;
}

/* Half of what it may hold, so that as many can be freed before it is full; a group at least. */
static int bin_fill(struct heap *heap, uint32_t class)
{
	struct bin *bin = &heap->bins[class];
	uint32_t want = ((uint32_t)(bin->limit - bin->bottom) + 1) / 2, group;
	struct span *span = NULL;
	struct spare *spare;
	uint64_t bits;
	int r;

	collect_for(heap, class);
	if (bin->top->block || heap->last_bin == bin_at(class))
		return 0; /* what was collected */
	r = span_need(heap, class, &span);
	if (r)
		return r;
	bits = span_take(heap, span, want, &group);
	/* The lowest is taken first. */
	for (spare = bin->top; bits;) {
		uint32_t bit = 63 - (uint32_t)__builtin_clzll(bits);
		uint32_t block = group * GROUP_BLOCKS + bit;

		bits &= ~((uint64_t)1 << bit);
		*++spare = (struct spare){.block = span->base + (uint64_t)block * span->size,
					  .live = span->live + block};
	}
	bin->top = spare;
	tell_change(heap, class);
	return 0;
}

int heap_alloc(struct heap *heap, uint32_t class, void **ret)
{
	void *memory;
	int r;

	follow_trims(heap);
	memory = heap_take_ready(heap, bin_at(class));
	if (!memory) {
		r = bin_fill(heap, class);
		if (r)
			return r;
		memory = heap_take_ready(heap, bin_at(class));
	}
	*ret = memory;
	return 0;
}

int heap_alloc_large(struct heap *heap, uint32_t class, void **ret)
{
	struct span *span = NULL;
	uint32_t group, block;
	int r;

	follow_trims(heap);
	collect_for(heap, class);
	r = span_need(heap, class, &span);
	if (r)
		return r;
	block = (uint32_t)__builtin_ctzll(span_take(heap, span, 1, &group));
	span->live[block] = 1;
	tell_change(heap, class);
	*ret = span->base + (uint64_t)block * span->size;
	return 0;
}

/* ---- freeing ---- */

int heap_free_own(struct heap *heap, struct span *span, const void *memory)
{
	uint32_t block;
	struct bin *bin;

	if (!span_block(span, memory, &block))
		return HEAP_E_INTERIOR;
	if (!span->live[block] && !mutant(heap_freed_in_bin))
		return HEAP_E_FREED;
	if (last_is(heap, memory) && !mutant(heap_freed_last))
		return HEAP_E_FREED;
	bin = heap_bin(heap, heap->last_bin);
	if (heap->last_bin && bin->top == bin->limit) {
		bin_flush(heap, bin, (size_t)(bin->limit - bin->bottom + 1) / 2);
		tell_change(heap, (uint32_t)(bin - heap->bins));
	}
	heap_free_quick(heap, span, (char *)(uintptr_t)memory);
	return 0;
}

int heap_free_large(struct heap *heap, struct span *span, const void *memory)
{
	uint32_t block;

	if (!span_block(span, memory, &block))
		return HEAP_E_INTERIOR;
	if (!span->live[block])
		return HEAP_E_FREED;
	span->live[block] = 0;
	span_put(heap, span, 0, (uint64_t)1 << block);
	tell_change(heap, span->class);
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
	if (atomic_fetch_or(&span->remote[block / GROUP_BLOCKS], bit) & bit &&
	    !mutant(heap_remote_unchecked))
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

/* The bits of one group that others have set; what was free was freed twice. */
static void collect_group(struct heap *heap, struct span *span, uint32_t group)
{
	uint64_t bits, good = 0;

	if (!atomic_load_explicit(&span->remote[group], memory_order_relaxed))
		return;
	for (bits = atomic_exchange(&span->remote[group], 0); bits; bits &= bits - 1) {
		uint32_t block = group * GROUP_BLOCKS + (uint32_t)__builtin_ctzll(bits);
		char *memory = span->base + (uint64_t)block * span->size;

		if ((!span->live[block] || last_is(heap, memory)) &&
		    !mutant(heap_collect_unchecked)) {
			heap->heaps->freed_twice(heap->heaps, memory, span->size);
			continue;
		}
		if (heap->last == memory && !mutant(heap_last_kept))
			heap->last = HEAP_NO_BLOCK;
		span->live[block] = 0;
		good |= bits & -bits;
	}
	if (!good)
		return;
	span->ready[group] |= good;
	span->used -= (uint32_t)__builtin_popcountll(good);
	if (!mutant(heap_collected_untold))
		heap->sums[span->class].used -= (uint32_t)__builtin_popcountll(good);
	span->open |= (uint64_t)1 << group;
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
		usleep(1000); /* so that a freer surely comes between */
		atomic_exchange(&span->pending, 0);
	}
	if (span->open && !span->kept)
		span_opened(heap, span);
	tell_change(heap, span->class);
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

bool heap_is_free(const struct heap *heap, const struct span *span, uint32_t block)
{
	uint32_t group = block / GROUP_BLOCKS;

	if (heap && span->heap == heap &&
	    (!span->live[block] || last_is(heap, span->base + (uint64_t)block * span->size)))
		return true;
	return atomic_load_explicit(&span->remote[group], memory_order_relaxed) >>
		       block % GROUP_BLOCKS &
	       1;
}

/* ---- heaps ---- */

/* How many blocks its bin holds. */
static uint32_t bin_blocks(uint32_t size)
{
	uint32_t n = BIN_BYTES / size;

	if (size > HEAP_BIN_MAX)
		return 0;
	return n > BIN_BLOCKS_MAX ? BIN_BLOCKS_MAX : n < BIN_BLOCKS_MIN ? BIN_BLOCKS_MIN : n;
}

static struct heap *heap_new(struct heaps *heaps)
{
	struct spare *bottom;
	struct heap *heap;
	size_t n = 0;

	for (uint32_t class = 0; class < CLASSES; class ++)
		n += bin_blocks(size_classes[class].size) + 1;
	heap = store_get(heaps->store, sizeof(*heap));
	bottom = store_get(heaps->store, n * sizeof(*bottom));
	if (!heap || !bottom)
		return NULL;
	for (uint32_t class = 0; class < CLASSES; class ++) {
		struct bin *bin = &heap->bins[class];

		bin->top = bin->bottom = bottom;
		bin->limit = bottom + bin_blocks(size_classes[class].size);
		bottom = bin->limit + 1;
	}
	for (size_t i = 0; i < sizeof(heaps->lookup->of); i++)
		heap->bin_of[i] = bin_at(heaps->lookup->of[i]);
	heap->heaps = heaps;
	heap->last = HEAP_NO_BLOCK;
	return heap;
}

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
	if (!heap)
		heap = heap_new(heaps);
	if (heap)
		heap->leases = leases;
	return heap;
}

void heap_trim(struct heap *heap)
{
	const struct heap_watch *watch = heap->heaps->watch;

	heap->trims = atomic_load_explicit(&heap->heaps->trims, memory_order_relaxed);
	heap_collect(heap);
	for (uint32_t class = 0; watch && class < CLASSES; class ++)
		if (heap->peers[class].n)
			watch->collect(heap, class, true);
	last_clear(heap);
	for (uint32_t class = 0; class < CLASSES; class ++) {
		struct bin *bin = &heap->bins[class];
		struct span *span, *next;

		bin_flush(heap, bin, (size_t)(bin->top - bin->bottom));
		for (span = bin->open; span; span = next) {
			next = span->next;
			if (!span->used)
				span_free(heap, span);
		}
	}
	heap_tell(heap);
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

/* Those that no thread has: off the list, they are the caller's alone. */
static struct heap *idle_take(struct heaps *heaps)
{
	struct heap *idle;

	lock_acquire(&heaps->lock);
	idle = heaps->idle;
	heaps->idle = NULL;
	lock_release(&heaps->lock);
	return idle;
}

static void idle_put(struct heaps *heaps, struct heap *idle)
{
	struct heap **last = &idle;

	while (*last)
		last = &(*last)->next;
	lock_acquire(&heaps->lock);
	*last = heaps->idle;
	heaps->idle = idle;
	lock_release(&heaps->lock);
}

void heaps_trim(struct heaps *heaps, struct heap *heap)
{
	struct heap *idle;

	atomic_fetch_add_explicit(&heaps->trims, 1, memory_order_relaxed);
	if (heap)
		heap_trim(heap);
	idle = idle_take(heaps);
	for (heap = idle; heap; heap = heap->next)
		heap_trim(heap);
	idle_put(heaps, idle);
}

void heaps_tell(struct heaps *heaps, struct heap *heap)
{
	struct heap *idle;

	if (heap)
		heap_tell(heap);
	idle = idle_take(heaps);
	for (heap = idle; heap; heap = heap->next)
		heap_tell(heap);
	idle_put(heaps, idle);
}
