#include "client/block.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "client/debug.h"
#include "client/error.h"
#include "client/extent.h"
#include "client/note.h"
#include "client/reserve.h"
#include "client/space.h"
#include "client/thread.h"
#include "client/words.h"
#include "proto/layout.h"

enum {
	WINDOW_SPANS = 1 << (POSITION_BITS - SLICE_SHIFT),
};

#define ALIGN_MAX ((size_t)1 << 30)

/* ---- where leases come from ---- */

static int writable(struct heaps *heaps, const char *base, uint64_t size)
{
	uint64_t first = (uint64_t)(base - heaps->base) >> SLICE_SHIFT;
	uint64_t start = u64_align_down(first * sizeof(heaps->spans[0]), 4096);
	uint64_t end = (first + (size >> SLICE_SHIFT)) * sizeof(heaps->spans[0]);

	if (mprotect((char *)heaps->spans + start, end - start, PROT_READ | PROT_WRITE) < 0)
		return error_system(errno, "a table of %llu slices",
				    (unsigned long long)(size >> SLICE_SHIFT));
	return 0;
}

static struct varbos_alloc_options origin_options(const struct origin *origin)
{
	return (struct varbos_alloc_options){
		.numa = origin->bound ? VARBOS_NUMA_BIND : VARBOS_NUMA_DEFAULT,
		.nodes = origin->bound ? (uint64_t)1 << origin->node : 0,
	};
}

/* Slices that have come: ours, to be cut. */
static int take_slices(struct blocks *blocks, void *memory, uint32_t slices)
{
	int r;

	r = writable(&blocks->heaps, memory, (uint64_t)slices << SLICE_SHIFT);
	if (!r && blocks->kind == EXTENT_BLOCKS)
		r = words_map(blocks->space, (uint64_t)((char *)memory - blocks->heaps.base));
	if (r) {
		struct varbos_error why = *varbos_error();

		extent_give(blocks->space, memory);
		return error_restore(&why);
	}
	heaps_mark(&blocks->heaps, memory, slices, &span_none);
	/* Only now: a daemon that is slow to answer has kept nobody waiting twice in vain. */
	call_open_returns(&blocks->space->vb->calls);
	tallies_lease(&blocks->tallies, slices);
	return 0;
}

static int source_take(struct lease_source *source, uint32_t slices, bool or_less, char **ret)
{
	struct origin *origin = container_of(source, struct origin, source);
	const struct varbos_error before = *varbos_error();
	const struct varbos_alloc_options options = origin_options(origin);
	struct blocks *blocks = origin->blocks;
	void *memory;
	int r;

	r = extent_alloc_for(blocks->space, (uint64_t)slices << SLICE_SHIFT, blocks->kind,
			     &options, origin->node + 1, &memory);
	if (!r)
		r = take_slices(blocks, memory, slices);
	if (!r)
		*ret = memory;
	else if (or_less)
		error_restore(&before);
	return r;
}

static bool source_ask(struct lease_source *source, uint32_t slices)
{
	struct origin *origin = container_of(source, struct origin, source);
	const struct varbos_alloc_options options = origin_options(origin);
	struct blocks *blocks = origin->blocks;

	origin->asked = extent_ask(blocks->space, (uint64_t)slices << SLICE_SHIFT, blocks->kind,
				   &options, origin->node + 1);
	return origin->asked;
}

/* Who asks himself if this fails has the refusal then. */
static int source_collect(struct lease_source *source, uint32_t slices, char **ret)
{
	struct origin *origin = container_of(source, struct origin, source);
	struct varbos_error before = *varbos_error();
	struct call *asked = origin->asked;
	void *memory;
	int r;

	origin->asked = NULL;
	r = extent_collect(origin->blocks->space, asked, (uint64_t)slices << SLICE_SHIFT,
			   origin->blocks->kind, &memory);
	if (!r)
		r = take_slices(origin->blocks, memory, slices);
	if (r)
		error_restore(&before);
	else
		*ret = memory;
	return r;
}

static uint64_t source_now(struct lease_source *source)
{
	struct timespec now;

	(void)source;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void source_give(struct lease_source *source, char *base, uint32_t slices)
{
	struct origin *origin = container_of(source, struct origin, source);

	heaps_mark(&origin->blocks->heaps, base, slices, NULL);
	tallies_lease(&origin->blocks->tallies, -(int64_t)slices);
	extent_give(origin->blocks->space, base);
}

static void origin_init(struct origin *origin, struct blocks *blocks, uint32_t node, bool bound)
{
	origin->source = (struct lease_source){
		.take = source_take,
		.give = source_give,
		.ask = source_ask,
		.collect = source_collect,
		.now_ns = source_now,
	};
	origin->blocks = blocks;
	origin->node = node;
	origin->bound = bound;
	leases_init(&origin->leases, &origin->source, &blocks->store);
}

/* ---- opening ---- */

/* What both frees were told was true of each: it is found when the block's owner collects. */
static void freed_twice(struct heaps *heaps, const void *memory, uint32_t size)
{
	struct varbos_space *space = container_of(heaps, struct blocks, heaps)->space;

	atomic_fetch_add_explicit(&space->vb->calls.refused, 1, memory_order_relaxed);
	note_print("two threads have freed the block at %p (offset 0x%llx of space %s, class "
		   "%u)",
		   memory, (unsigned long long)((const char *)memory - heaps->base),
		   space->name, size);
}

static void tell(struct heaps *heaps, uint32_t class, int32_t slices, int32_t live)
{
	tallies_cut(&container_of(heaps, struct blocks, heaps)->tallies, class, slices, live);
}

/* Each word of shared blocks stands for 64 bytes: they are never packed. */
static const struct class_lookup *lookup_of(const struct blocks *blocks)
{
	return blocks->space->packed && blocks->kind == EXTENT_PRIVATE ? &class_packed
								       : &class_spaced;
}

/* With the space's lock held. */
static int blocks_open(struct blocks *blocks)
{
	struct varbos_space *space = blocks->space;
	uint64_t slices = (uint64_t)space->n_windows * WINDOW_SPANS;
	uint64_t bytes = slices * sizeof(blocks->heaps.spans[0]);
	uint32_t shift =
		lookup_of(blocks) == &class_packed ? STORE_PACKED_SHIFT : STORE_SLICE_SHIFT;
	void *spans;
	int r;

	/* Read-only until leased: an address of no lease reads as no span, and costs nothing. */
	spans = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		     0);
	if (spans == MAP_FAILED)
		return -errno;
	r = reserve_hide(spans, bytes);
	if (!r)
		r = store_init(&blocks->store, slices << shift);
	if (r) {
		munmap(spans, bytes);
		return r;
	}
	blocks->spans_bytes = bytes;
	for (uint32_t i = 0; i < BLOCK_NODES; i++) {
		origin_init(&blocks->near[i], blocks, i, false);
		origin_init(&blocks->on[i], blocks, i, true);
	}
	blocks->heaps.base = space->base;
	blocks->heaps.slices = slices;
	blocks->heaps.spans = spans;
	blocks->heaps.lookup = lookup_of(blocks);
	blocks->heaps.store = &blocks->store;
	blocks->heaps.freed_twice = freed_twice;
	blocks->heaps.tell = tell;
	tallies_open(&blocks->tallies, &space->vb->calls.reporter, space->handle,
		     blocks->kind == EXTENT_BLOCKS);
	if (blocks->kind == EXTENT_PRIVATE && debug_wanted()) {
		blocks->debug = debug_new(space->name, space->base);
		r = blocks->debug ? 0 : -ENOMEM;
	}
	if (!r)
		r = thread_open(&blocks->heaps, blocks->debug);
	if (r)
		blocks_close(blocks);
	return r;
}

static void forget_asked(struct origin *origin)
{
	if (origin->asked)
		call_forget(origin->asked);
	origin->asked = NULL;
}

void blocks_close(struct blocks *blocks)
{
	if (!blocks->heaps.spans)
		return;
	debug_free(blocks->debug);
	thread_close(&blocks->heaps);
	tallies_close(&blocks->tallies);
	for (uint32_t i = 0; i < BLOCK_NODES; i++) {
		forget_asked(&blocks->near[i]);
		forget_asked(&blocks->on[i]);
	}
	munmap((void *)blocks->heaps.spans, blocks->spans_bytes);
	store_deinit(&blocks->store);
	blocks_forget(blocks);
}

void blocks_forget(struct blocks *blocks)
{
	struct varbos_space *space = blocks->space;
	const struct heap_watch *watch = blocks->heaps.watch;
	enum extent_kind kind = blocks->kind;

	*blocks = (struct blocks){};
	blocks_init(blocks, space, kind, watch);
}

static bool is_open(const struct blocks *blocks)
{
	return atomic_load_explicit(&blocks->heaps.id, memory_order_acquire) != HEAPS_UNOPENED;
}

static struct heap *own_heap(const struct blocks *blocks)
{
	return thread_heap_find(
		atomic_load_explicit(&blocks->heaps.number, memory_order_relaxed));
}

uint64_t blocks_trim(struct blocks *blocks)
{
	uint64_t n = 0;

	if (!is_open(blocks))
		return 0;
	heaps_trim(&blocks->heaps, own_heap(blocks));
	for (uint32_t i = 0; i < BLOCK_NODES; i++)
		n += leases_trim(&blocks->near[i].leases) + leases_trim(&blocks->on[i].leases);
	return n;
}

struct tallies_sum blocks_sum(struct blocks *blocks)
{
	uint64_t id = atomic_load_explicit(&blocks->heaps.id, memory_order_acquire);

	if (id == HEAPS_UNOPENED)
		return (struct tallies_sum){};
	heaps_tell(&blocks->heaps, thread_heap_find(id));
	return tallies_sum(&blocks->tallies);
}

/* Of the node that the calling thread runs on, if the space asks for that. */
static struct leases *leases_here(struct blocks *blocks)
{
	unsigned cpu, node = 0;

	if (blocks->space->local && getcpu(&cpu, &node))
		node = 0;
	return &blocks->near[node % BLOCK_NODES].leases;
}

/* They are open when this returns 0. */
static int open_need(struct blocks *blocks)
{
	const _Atomic uint64_t *id = &blocks->heaps.id;
	struct varbos_space *space = blocks->space;
	int r = 0;

	if (atomic_load_explicit(id, memory_order_acquire) != HEAPS_UNOPENED)
		return 0;
	lock_acquire(&space->lock);
	if (atomic_load_explicit(id, memory_order_relaxed) == HEAPS_UNOPENED)
		r = blocks_open(blocks);
	lock_release(&space->lock);
	return r ? error_system(r, "address space for the blocks of space %s", space->name) : 0;
}

static int heap_need(struct blocks *blocks, struct heap **ret)
{
	struct leases *leases = leases_here(blocks);
	struct heap *heap;

	heap = thread_heap_need(&blocks->heaps, leases);
	if (!heap)
		return error_system(ENOMEM, "a heap for this thread");
	heap->leases = leases;
	*ret = heap;
	return 0;
}

/* ---- allocating ---- */

static int alloc_from(struct heap *heap, uint32_t class, void **ret)
{
	int r = size_classes[class].size > HEAP_BIN_MAX ? heap_alloc_large(heap, class, ret)
							: heap_alloc(heap, class, ret);

	return r < 0 ? error_system(r, "what this process notes of its blocks") : r;
}

/* From a heap that the calling thread has for the moment. */
static int alloc_passing(struct blocks *blocks, struct leases *leases, uint32_t class,
			 void **ret)
{
	struct heap *heap = heap_take(&blocks->heaps, leases);
	int r;

	if (!heap)
		return error_system(ENOMEM, "a heap for one block");
	r = alloc_from(heap, class, ret);
	heap_put(heap);
	return r;
}

int blocks_alloc(struct blocks *blocks, uint32_t class, void **ret)
{
	struct heap *heap = NULL;
	int r;

	r = open_need(blocks);
	if (!r && thread_ended())
		return alloc_passing(blocks, leases_here(blocks), class, ret);
	if (!r)
		r = heap_need(blocks, &heap);
	return r ? r : alloc_from(heap, class, ret);
}

int block_enter(struct varbos_space *space)
{
	int r = space_enter(space);

	return r || !space->read_only ? r : space_read_only(space);
}

/* The class of blocks that all stand at multiples of `align`; CLASSES: there is none. */
static uint32_t class_aligned(const struct class_lookup *lookup, size_t size, size_t align)
{
	uint32_t class;

	if (size > CLASS_MAX || align > SLICE_BYTES)
		return CLASSES;
	if (align <= (lookup == &class_packed ? 16 : 64))
		return class_of(lookup, size);
	class = class_of(&class_spaced, size > align ? size : align);
	while (class < CLASSES_SPACED && size_classes[class].size % align)
		class ++;
	return class < CLASSES_SPACED ? class : CLASSES;
}

static int alloc_plain(struct varbos_space *space, const struct block_wish *wish, void **ret)
{
	uint32_t class = class_aligned(lookup_of(&space->blocks), wish->size, wish->align);
	const struct varbos_alloc_options options = {
		.align = wish->align > SLICE_BYTES ? wish->align : 0,
		.numa = wish->on ? VARBOS_NUMA_BIND : VARBOS_NUMA_DEFAULT,
		.nodes = wish->on ? (uint64_t)1 << (wish->on - 1) : 0,
	};
	int r;

	if (class == CLASSES)
		return extent_alloc(space, wish->size, EXTENT_PRIVATE, &options, ret);
	if (!wish->on)
		return blocks_alloc(&space->blocks, class, ret);
	r = open_need(&space->blocks);
	return r ? r
		 : alloc_passing(&space->blocks, &space->blocks.on[wish->on - 1].leases, class,
				 ret);
}

/* ---- freeing, looking ---- */

/* A span's block that `memory` lies in is not what it should be. */
static int error_trouble(struct varbos_space *space, const void *memory, int trouble,
			 const struct span *span)
{
	unsigned long long offset = (unsigned long long)((const char *)memory - space->base);
	int r;

	if (!span->blocks)
		r = error_set(VARBOS_E_REFERENCE, "freed",
			      "the block at %p (offset 0x%llx of space %s) has been freed "
			      "already, and so have its neighbours",
			      memory, offset, space->name);
	else if (trouble == HEAP_E_FREED)
		r = error_set(VARBOS_E_REFERENCE, "freed",
			      "the block at %p (offset 0x%llx of space %s, class %u) has been "
			      "freed already",
			      memory, offset, space->name, span->size);
	else
		r = error_set(VARBOS_E_REFERENCE, "interior",
			      "%p (offset 0x%llx of space %s) lies inside a block of class %u, "
			      "not at its start",
			      memory, offset, space->name, span->size);
	note_print("%s", varbos_error()->message);
	return r;
}

int blocks_free(struct blocks *blocks, struct span *span, const void *memory)
{
	struct heap *heap = own_heap(blocks);

	if (!heap || span->heap != heap)
		return heap_free_remote(span, memory);
	if (span->owner)
		return heap_free_own(heap, span, memory);
	return heap_free_large(heap, span, memory);
}

static int free_plain(struct varbos_space *space, const void *memory)
{
	struct span *span = blocks_span(&space->blocks, memory);
	int r;

	if (!span)
		return extent_free(space, memory);
	r = blocks_free(&space->blocks, span, memory);
	return r ? error_trouble(space, memory, r, span) : 0;
}

/* Of a block of ours. */
static int size_in(struct varbos_space *space, struct span *span, const void *memory,
		   size_t *ret)
{
	uint32_t block;

	if (!span_block(span, memory, &block))
		return error_trouble(space, memory, HEAP_E_INTERIOR, span);
	if (heap_is_free(own_heap(&space->blocks), span, block))
		return error_trouble(space, memory, HEAP_E_FREED, span);
	*ret = span->size;
	return 0;
}

static int size_plain(struct varbos_space *space, const void *memory, size_t *ret)
{
	struct span *span = blocks_span(&space->blocks, memory);

	if (span)
		return size_in(space, span, memory, ret);
	*ret = extent_size_private(space, memory);
	return *ret ? 0 : (int)varbos_error()->code;
}

/* ---- watched ---- */

static struct debug *debug_of(const struct varbos_space *space)
{
	return is_open(&space->blocks) ? space->blocks.debug : NULL;
}

static int error_debug_freed(struct varbos_space *space, const void *memory)
{
	int r = error_set(VARBOS_E_REFERENCE, "freed",
			  "the block at %p (offset 0x%llx of space %s) has been freed already",
			  memory, (unsigned long long)((const char *)memory - space->base),
			  space->name);

	note_print("%s", varbos_error()->message);
	return r;
}

/* What waits in the queue of freed blocks is freed indeed, down to so many bytes. */
static void debug_drain(struct varbos_space *space, size_t most)
{
	void *memory;

	while ((memory = debug_leave(space->blocks.debug, most)))
		free_plain(space, memory);
}

static int alloc_debug(struct varbos_space *space, const struct block_wish *wish, void **ret)
{
	const struct varbos_error before = *varbos_error();
	struct block_wish larger = *wish;
	size_t usable = 0;
	int r;

	if (__builtin_add_overflow(wish->size, DEBUG_REST, &larger.size))
		larger.size = SIZE_MAX;
	r = alloc_plain(space, &larger, ret);
	if (r == VARBOS_E_BUDGET || r == VARBOS_E_MEMORY) {
		debug_drain(space, 0);
		r = alloc_plain(space, &larger, ret);
		if (!r)
			error_restore(&before);
	}
	if (!r)
		r = size_plain(space, *ret, &usable);
	if (r || debug_note(space->blocks.debug, *ret, wish->size, usable))
		return r;
	free_plain(space, *ret);
	return error_system(ENOMEM, "a note of a block");
}

/* As a program that is watched is to see it: what it asked, and not a byte more. */
static int size_debug(struct varbos_space *space, const void *memory, size_t *ret)
{
	struct debug *debug = debug_of(space);
	int r = debug ? debug_size(debug, memory, ret) : DEBUG_E_UNKNOWN;

	return r == DEBUG_E_FREED ? error_debug_freed(space, memory) : r;
}

/* ---- a block ---- */

int block_alloc(struct varbos_space *space, const struct block_wish *wish, void **ret)
{
	int r;

	if (!is_open(&space->blocks) && debug_wanted()) {
		r = open_need(&space->blocks);
		if (r)
			return r;
	}
	return debug_of(space) ? alloc_debug(space, wish, ret) : alloc_plain(space, wish, ret);
}

int block_free(struct varbos_space *space, const void *memory)
{
	struct debug *debug = debug_of(space);
	int r = debug ? debug_freed(debug, memory) : DEBUG_E_UNKNOWN;

	if (r == DEBUG_E_FREED)
		return error_debug_freed(space, memory);
	if (r) /* it is not watched, or no block: that is told better there */
		return free_plain(space, memory);
	debug_drain(space, DEBUG_QUEUE);
	return 0;
}

int block_size(struct varbos_space *space, const void *memory, size_t *ret)
{
	int r = size_debug(space, memory, ret);

	return r == DEBUG_E_UNKNOWN ? size_plain(space, memory, ret) : r;
}

/* ---- calls ---- */

/* The calling thread's heap, or NULL: at once, or wherever it is noted. */
static inline struct heap *heap_at_hand(const struct varbos_space *space)
{
	return thread_heap(&space->blocks.heaps);
}

/* Apart, so that what is rare costs the rest no registers. */
static __attribute__((noinline)) void *alloc_slow(struct varbos_space *space, size_t size)
{
	const struct block_wish wish = {.size = size};
	struct heap *heap;
	void *memory;

	/* More than is looked up, and in a bin. */
	if (space && size > CLASS_SMALL && size <= HEAP_BIN_MAX) {
		heap = heap_at_hand(space);
		memory = heap ? heap_take_ready(heap, bin_at(class_of(&class_spaced, size)))
			      : NULL;
		if (memory)
			return memory;
	}
	error_enter("varbos_alloc");
	return block_enter(space) || block_alloc(space, &wish, &memory) ? NULL : memory;
}

_public_ void *varbos_alloc(struct varbos_space *space, size_t size)
{
	if (likely(space && size <= CLASS_SMALL)) {
		struct heap *heap = heap_at_hand(space);

		if (likely(heap)) {
			uint32_t at = heap->bin_of[(size + 15) >> CLASS_GRAIN_SHIFT];
			void *memory = heap_take_ready(heap, at);

			if (likely(memory))
				return memory;
		}
	}
	return alloc_slow(space, size);
}

_public_ void *varbos_alloc_aligned(struct varbos_space *space, size_t align, size_t size)
{
	const struct block_wish wish = {.size = size, .align = align};
	void *memory;

	error_enter("varbos_alloc_aligned");
	if (block_enter(space))
		return NULL;
	if (!align || align & (align - 1) || align > ALIGN_MAX) {
		error_set(VARBOS_E_INVALID, "align",
			  "%zu is no alignment: it is a power of two, up to 1 GiB", align);
		return NULL;
	}
	return block_alloc(space, &wish, &memory) ? NULL : memory;
}

_public_ void *varbos_alloc_on(struct varbos_space *space, size_t size, uint32_t node)
{
	const struct block_wish wish = {.size = size, .on = node + 1};
	void *memory;

	error_enter("varbos_alloc_on");
	if (block_enter(space))
		return NULL;
	if (node >= BLOCK_NODES) {
		error_set(VARBOS_E_INVALID, "node", "there is no node %u", node);
		return NULL;
	}
	return block_alloc(space, &wish, &memory) ? NULL : memory;
}

static __attribute__((noinline)) int free_slow(struct varbos_space *space, const void *memory)
{
	int r;

	if (!memory || (space && shared_free_quick(space, memory)))
		return 0;
	error_enter("varbos_free");
	r = block_enter(space);
	return r ? r : block_free(space, memory);
}

_public_ int varbos_free(struct varbos_space *space, void *memory)
{
	if (likely(space)) {
		struct heap *heap = heap_at_hand(space);

		if (likely(heap)) {
			struct span *span = heaps_span(&space->blocks.heaps, memory);

			if (likely(span && span->owner == heap) &&
			    likely(heap_free_quick(heap, span, memory)))
				return 0;
		}
	}
	return free_slow(space, memory);
}

_public_ int varbos_trim(struct varbos_space *space)
{
	int r;

	error_enter("varbos_trim");
	r = block_enter(space);
	if (!r) {
		blocks_trim(&space->blocks);
		blocks_trim(&space->shared.blocks);
	}
	return r;
}

_public_ int varbos_space_usage(struct varbos_space *space, struct varbos_usage *ret)
{
	struct tallies_sum sum, shared;
	int r;

	error_enter("varbos_space_usage");
	r = space_enter(space);
	if (r)
		return r;
	if (!ret)
		return error_null("ret");
	sum = blocks_sum(&space->blocks);
	shared = blocks_sum(&space->shared.blocks);
	sum.leased += shared.leased;
	sum.live += shared.live;
	/* Other threads allocate meanwhile: what cannot be is left out. */
	ret->leased = atomic_load_explicit(&space->leased, memory_order_relaxed);
	ret->cached = u64_min(sum.leased > sum.live ? sum.leased - sum.live : 0, ret->leased);
	ret->live = ret->leased - ret->cached;
	return 0;
}

_public_ size_t varbos_usable_size(struct varbos_space *space, const void *memory)
{
	struct span *span;
	size_t size = 0;
	int r;

	error_enter("varbos_usable_size");
	if (space_enter(space))
		return 0;
	r = size_debug(space, memory, &size);
	if (r != DEBUG_E_UNKNOWN)
		return r ? 0 : size;
	span = blocks_span(&space->blocks, memory);
	if (!span)
		return extent_size(space, memory);
	return size_in(space, span, memory, &size) ? 0 : size;
}

bool block_is_free(const struct varbos_space *space, const void *memory)
{
	struct span *span = blocks_span(&space->blocks, memory);
	uint64_t block;

	if (!span)
		return false;
	if (!span->blocks)
		return true;
	block = (uint64_t)((const char *)memory - span->base) / span->size;
	return block >= span->blocks ||
	       heap_is_free(own_heap(&space->blocks), span, (uint32_t)block);
}
