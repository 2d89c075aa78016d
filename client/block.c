#include "client/block.h"

#include <errno.h>
#include <string.h>
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

/* ---- where leases come from ---- */

static struct varbos_space *source_space(struct lease_source *source)
{
	struct blocks *blocks = container_of(source, struct blocks, source);

	return container_of(blocks, struct varbos_space, blocks);
}

/* Slices of a lease: in a span of ours from now on, or (NULL) nothing to us. */
static void mark(struct heaps *heaps, const char *base, uint32_t slices, const struct span *span)
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

	r = extent_alloc(space, size, 0, EXTENT_PRIVATE, &memory);
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
	note_line("a block at %p (offset 0x%llx) was freed by two threads", memory,
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
	spans = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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
	leases_init(&blocks->leases, &blocks->source, &blocks->store);
	blocks->heaps = (struct heaps){
		.id = HEAPS_UNOPENED,
		.base = space->base,
		.slices = slices,
		.spans = spans,
		.lookup = space->packed ? &class_packed : &class_spaced,
		.leases = &blocks->leases,
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
	heap = thread_heap_need(heaps);
	if (!heap)
		return error_system(ENOMEM, "a heap for this thread");
	*ret = heap;
	return 0;
}

/* ---- allocating ---- */

static int block_alloc(struct varbos_space *space, uint32_t class, void **ret)
{
	struct heap *heap;
	void *memory;
	int r;

	r = heap_need(space, &heap);
	if (r)
		return r;
	memory = heap_bin_alloc(&heap->bins[class]);
	if (!memory) {
		r = heap_refill(heap, class);
		if (r == -ENOMEM)
			return error_system(r, "what this process notes of its blocks");
		if (r)
			return r;
		memory = heap_bin_alloc(&heap->bins[class]);
	}
	*ret = memory;
	return 0;
}

/* Not inlined: what is rare is not to cost the rest its registers. */
static __attribute__((noinline)) void *alloc_slow(struct varbos_space *space, size_t size)
{
	void *memory;

	error_enter("varbos_alloc");
	if (space_enter(space))
		return NULL;
	if (space->read_only) {
		extent_read_only(space);
		return NULL;
	}
	if (size > CLASS_MAX)
		return extent_alloc(space, size, 0, EXTENT_PRIVATE, &memory) ? NULL : memory;
	return block_alloc(space, class_of(size_lookup(space), size), &memory) ? NULL : memory;
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
