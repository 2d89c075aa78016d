#include "client/block.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "client/error.h"
#include "client/extent.h"
#include "client/note.h"
#include "client/reserve.h"
#include "client/space.h"
#include "client/thread.h"
#include "proto/layout.h"

#define likely(x) __builtin_expect(!!(x), 1)

enum {
	WINDOW_SPANS = 1 << (POSITION_BITS - SLICE_SHIFT),
	STORE_SLICE_SHIFT = 10, /* spans of the smallest class take that much */
};

static const struct varbos_alloc_options extent_private;

/* ---- where leases come from ---- */

static struct varbos_space *source_space(struct lease_source *source)
{
	struct blocks *blocks = container_of(source, struct blocks, source);

	return container_of(blocks, struct varbos_space, blocks);
}

/* Slices of a lease: in a span of ours from now on, or (NULL) nothing to us. */
static void mark(struct heaps *heaps, const char *base, uint32_t slices,
		 const struct span *span)
{
	uint64_t first = (uint64_t)(base - heaps->base) >> SLICE_SHIFT;

	for (uint32_t i = 0; i < slices; i++)
		atomic_store_explicit(&heaps->spans[first + i], (struct span *)(uintptr_t)span,
				      memory_order_release);
}

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

static int source_take(struct lease_source *source, uint32_t slices, char **ret)
{
	struct varbos_space *space = source_space(source);
	struct heaps *heaps = &space->blocks.heaps;
	uint64_t size = (uint64_t)slices << SLICE_SHIFT;
	void *memory;
	int r;

	r = extent_alloc(space, size, &extent_private, &memory);
	if (r)
		return r;
	r = writable(heaps, memory, size);
	if (r) {
		struct varbos_error why = *varbos_error();

		extent_free(space, memory);
		return error_restore(&why);
	}
	mark(heaps, memory, slices, &span_none);
	*ret = memory;
	return 0;
}

static void source_give(struct lease_source *source, char *base, uint32_t slices)
{
	struct varbos_space *space = source_space(source);

	mark(&space->blocks.heaps, base, slices, NULL);
	extent_free(space, base);
}

/* ---- opening ---- */

static void freed_twice(struct heaps *heaps, const void *memory)
{
	note_print("two threads have freed the block at %p (offset 0x%llx)", memory,
		   (unsigned long long)((const char *)memory - heaps->base));
}

/* With the space's lock held. */
static int blocks_open(struct varbos_space *space)
{
	struct blocks *blocks = &space->blocks;
	uint64_t slices = (uint64_t)space->n_windows * WINDOW_SPANS;
	uint64_t bytes = slices * sizeof(blocks->heaps.spans[0]);
	void *spans;
	int r;

	/* Read-only until leased: an address of no lease reads as no span, and costs nothing. */
	spans = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		     0);
	if (spans == MAP_FAILED)
		return -errno;
	r = reserve_hide(spans, bytes);
	if (!r)
		r = store_init(&blocks->store, slices << STORE_SLICE_SHIFT);
	if (r) {
		munmap(spans, bytes);
		return r;
	}
	blocks->spans_bytes = bytes;
	blocks->source = (struct lease_source){.take = source_take, .give = source_give};
	for (uint32_t i = 0; i < BLOCK_NODES; i++)
		leases_init(&blocks->leases[i], &blocks->source, &blocks->store);
	blocks->heaps = (struct heaps){
		.id = HEAPS_UNOPENED,
		.base = space->base,
		.slices = slices,
		.spans = spans,
		.lookup = &class_spaced,
		.store = &blocks->store,
		.freed_twice = freed_twice,
	};
	r = thread_open(&blocks->heaps);
	if (r)
		blocks_close(blocks);
	return r;
}

void blocks_close(struct blocks *blocks)
{
	if (!blocks->heaps.spans)
		return;
	thread_close(&blocks->heaps);
	munmap((void *)blocks->heaps.spans, blocks->spans_bytes);
	store_deinit(&blocks->store);
	blocks_forget(blocks);
}

void blocks_forget(struct blocks *blocks)
{
	*blocks = (struct blocks){};
	blocks_init(blocks);
}

uint64_t blocks_trim(struct blocks *blocks)
{
	struct heaps *heaps = &blocks->heaps;
	uint64_t n = 0;

	if (!heaps->spans)
		return 0;
	heaps_trim(heaps, thread_heap(heaps->id));
	for (uint32_t i = 0; i < BLOCK_NODES; i++)
		n += leases_trim(&blocks->leases[i]);
	return n;
}

/* Of the node that the calling thread runs on, if the space asks for that. */
static struct leases *leases_here(struct varbos_space *space)
{
	unsigned cpu, node = 0;

	if (space->local && getcpu(&cpu, &node))
		node = 0;
	return &space->blocks.leases[node % BLOCK_NODES];
}

/* After space_enter(). */
static int heap_need(struct varbos_space *space, struct heap **ret)
{
	struct heaps *heaps = &space->blocks.heaps;
	struct heap *heap;
	int r = 0;

	lock_acquire(&space->lock);
	if (heaps->id == HEAPS_UNOPENED)
		r = blocks_open(space);
	lock_release(&space->lock);
	if (r)
		return error_system(r, "address space for the blocks of space %s", space->name);
	heap = thread_heap_need(heaps, leases_here(space));
	if (!heap)
		return error_system(ENOMEM, "a heap for this thread");
	*ret = heap;
	return 0;
}

/* ---- allocating ---- */

static int block_alloc(struct varbos_space *space, uint32_t class, void **ret)
{
	struct heap *heap = NULL;
	void *memory;
	int r;

	r = heap_need(space, &heap);
	if (r)
		return r;
	assert(heap);
	memory = heap_bin_alloc(&heap->bins[class]);
	if (!memory && size_classes[class].size > HEAP_BIN_MAX) {
		r = heap_alloc_large(heap, class, &memory);
	} else if (!memory) {
		r = heap_refill(heap, class);
		if (!r)
			memory = heap_bin_alloc(&heap->bins[class]);
	}
	if (r < 0)
		return error_system(r, "what this process notes of its blocks");
	*ret = memory;
	return r;
}

static int check_writer(struct varbos_space *space)
{
	int r = space_enter(space);

	return r || !space->read_only ? r : space_read_only(space);
}

/* Apart, so that what is rare costs the rest no registers. */
static __attribute__((noinline)) void *alloc_slow(struct varbos_space *space, size_t size)
{
	void *memory;
	int r;

	error_enter("varbos_alloc");
	r = check_writer(space);
	if (!r)
		r = size > CLASS_MAX
			    ? extent_alloc(space, size, &extent_private, &memory)
			    : block_alloc(space, class_of(&class_spaced, size), &memory);
	return r ? NULL : memory;
}

_public_ void *varbos_alloc(struct varbos_space *space, size_t size)
{
	if (likely(space && size <= CLASS_MAX)) {
		struct heap *heap = thread_heap(space->blocks.heaps.id);

		if (likely(heap)) {
			void *memory =
				heap_bin_alloc(&heap->bins[class_of(heap->lookup, size)]);

			if (likely(memory))
				return memory;
		}
	}
	return alloc_slow(space, size);
}

/* ---- freeing ---- */

static int error_trouble(struct varbos_space *space, const void *memory, int trouble,
			 const struct span *span)
{
	uint64_t offset = (uint64_t)((const char *)memory - space->base);
	int r;

	if (trouble == HEAP_E_FREED || !span->blocks)
		r = error_set(
			VARBOS_E_REFERENCE, "freed",
			"the block at %p (offset 0x%llx of space %s) has been freed already",
			memory, (unsigned long long)offset, space->name);
	else
		r = error_set(VARBOS_E_REFERENCE, "interior",
			      "%p (offset 0x%llx of space %s) lies inside a block of %u bytes, "
			      "not at its start",
			      memory, (unsigned long long)offset, space->name, span->size);
	note_print("%s", varbos_error()->message);
	return r;
}

static __attribute__((noinline)) int free_slow(struct varbos_space *space, const void *memory)
{
	struct heap *heap;
	struct span *span;
	int r;

	if (!memory)
		return 0;
	error_enter("varbos_free");
	r = check_writer(space);
	if (r)
		return r;
	span = blocks_span(&space->blocks, memory);
	if (!span)
		return extent_free(space, memory);
	heap = thread_heap(space->blocks.heaps.id);
	if (!heap || span->heap != heap)
		r = heap_free_remote(span, memory);
	else if (span->owner)
		r = heap_free_own(heap, span, memory);
	else
		r = heap_free_large(heap, span, memory);
	return r ? error_trouble(space, memory, r, span) : 0;
}

_public_ int varbos_free(struct varbos_space *space, void *memory)
{
	if (likely(space)) {
		const struct heaps *heaps = &space->blocks.heaps;
		struct heap *heap = thread_heap(heaps->id);

		if (likely(heap)) {
			struct span *span = heaps_span(heaps, memory);

			if (likely(span && span->owner == heap) &&
			    likely(!heap_free_own(heap, span, memory)))
				return 0;
		}
	}
	return free_slow(space, memory);
}

_public_ int varbos_trim(struct varbos_space *space)
{
	int r;

	error_enter("varbos_trim");
	r = check_writer(space);
	if (!r)
		blocks_trim(&space->blocks);
	return r;
}

_public_ size_t varbos_usable_size(struct varbos_space *space, const void *memory)
{
	struct heap *heap;
	struct span *span;
	uint32_t block;

	error_enter("varbos_usable_size");
	if (space_enter(space))
		return 0;
	span = blocks_span(&space->blocks, memory);
	if (!span)
		return extent_size(space, memory);
	heap = thread_heap(space->blocks.heaps.id);
	if (!span_block(span, memory, &block)) {
		error_trouble(space, memory, HEAP_E_INTERIOR, span);
		return 0;
	}
	if (heap_is_free(heap, span, block)) {
		error_trouble(space, memory, HEAP_E_FREED, span);
		return 0;
	}
	return span->size;
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
	       heap_is_free(thread_heap(space->blocks.heaps.id), span, (uint32_t)block);
}
