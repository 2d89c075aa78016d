#include "client/extent.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "base/numa.h"
#include "client/block.h"
#include "client/error.h"
#include "client/place.h"
#include "client/shared.h"
#include "client/space.h"
#include "proto/layout.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Has this process freed it already, and the daemon perhaps not heard of it yet? */
static bool freed_here(const struct place *place)
{
	const _Atomic uint32_t *freed =
		atomic_load_explicit(&place->window->freed, memory_order_acquire);

	return freed && atomic_load_explicit(&freed[place->slice], memory_order_relaxed) ==
				place->info.tag;
}

static int error_freed(const struct varbos_space *space, const struct place *place)
{
	return error_set(VARBOS_E_REFERENCE, "freed",
			 "the block at offset 0x%llx of space %s has been freed already",
			 (unsigned long long)place->offset, space->name);
}

static int error_not_owner(const struct varbos_space *space, const struct place *place)
{
	return error_set(VARBOS_E_REFERENCE, "not-owner",
			 "the block at offset 0x%llx of space %s is private to another process",
			 (unsigned long long)place->offset, space->name);
}

static int check_start(const void *memory, const struct place *place)
{
	if (place->info.head && !(place->position % SLICE_BYTES))
		return 0;
	return error_set(VARBOS_E_REFERENCE, "interior",
			 "%p lies inside a block, not at its start", memory);
}

/* What is neither shared nor private. */
static int check_block(const struct varbos_space *space, const struct place *place)
{
	bool channel = place->info.kind == EXTENT_CHANNEL;

	if (!channel && place->info.kind != EXTENT_SEGMENT && place->info.kind != EXTENT_OBJECT)
		return 0;
	return error_set(
		VARBOS_E_REFERENCE, "foreign", "offset 0x%llx of space %s lies in a %s",
		(unsigned long long)place->offset, space->name, channel ? "channel" : "cache");
}

static int send_free(struct varbos_space *space, uint64_t offset, uint32_t tag)
{
	struct wire_extent_free note = {.space = space->handle, .offset = offset, .tag = tag};

	return call_note(&space->vb->calls, WIRE_EXTENT_FREE, &note);
}

/* ---- allocating ---- */

static int error_extent(const struct wire_extent_alloced *extent, const char *which)
{
	return error_set(
		VARBOS_E_UNTRUSTED, which,
		"the daemon's answer cannot be: %llu bytes at offset 0x%llx, tag 0x%llx "
		"(%s)",
		(unsigned long long)extent->size, (unsigned long long)extent->offset,
		(unsigned long long)extent->tag, which);
}

/* Is the extent where the answer says, by the window's size and by the slice map? */
static int check_extent(const struct varbos_space *space, struct window *window,
			const struct wire_extent_alloced *extent, enum extent_kind kind)
{
	uint64_t position = offset_position(extent->offset);
	struct slice_info info;

	if (!mutant(client_offset_unchecked) &&
	    (position >= window->size || extent->size > window->size - position))
		return error_extent(extent, "offset");
	info = slice_word_unpack(atomic_load_explicit(&window->map[position >> SLICE_SHIFT],
						      memory_order_acquire));
	if (!info.head || info.kind != kind || info.tag != extent->tag ||
	    info.count != extent->size >> SLICE_SHIFT ||
	    (kind != EXTENT_SHARED && info.session != space->vb->session))
		return error_extent(extent, "slice-map");
	return 0;
}

/* What the daemon has granted, made usable; if it cannot be, the daemon has it back. */
static int take_extent(struct varbos_space *space, const struct wire_extent_alloced *extent,
		       enum extent_kind kind, void **ret)
{
	_Atomic uint32_t *freed;
	struct window *window;
	uint64_t position = offset_position(extent->offset);
	int r;

	r = window_need(space, offset_window(extent->offset), &window);
	if (r == VARBOS_E_REFERENCE)
		return error_extent(extent, "window");
	if (!r) { /* now, since who frees could do nothing if that failed */
		r = window_freed(window, &freed);
		if (r)
			error_system(r, "remembering what is freed");
	}
	if (r) {
		struct varbos_error why = *varbos_error();

		send_free(space, extent->offset, (uint32_t)extent->tag);
		return error_restore(&why);
	}
	r = check_extent(space, window, extent, kind);
	if (r)
		return r;

	atomic_store_explicit(&freed[position >> SLICE_SHIFT], 0, memory_order_relaxed);
	*ret = space->base + extent->offset;
	/* Where the kernel is too old, or it fails, the pages are mapped when they are touched. */
	if (space->prefault)
		madvise(*ret, extent->size, MADV_POPULATE_WRITE);
	return 0;
}

uint64_t extent_caller(void)
{
	unsigned cpu, node;

	return getcpu(&cpu, &node) ? 0 : (uint64_t)node + 1;
}

static int ask_extent(struct varbos_space *space, const struct wire_extent_alloc *request,
		      struct wire_extent_alloced *ret)
{
	_cleanup_(call_endp) struct call *call = NULL;
	int r;

	r = call_begin(&call, &space->vb->calls, WIRE_EXTENT_ALLOC, request, 0);
	if (!r)
		*ret = call->message.body.extent_alloced;
	return r;
}

static struct wire_extent_alloc make_request(const struct varbos_space *space, size_t size,
					     enum extent_kind kind,
					     const struct varbos_alloc_options *options,
					     uint64_t caller)
{
	struct wire_extent_alloc request = {
		.space = space->handle,
		.size = size ? size : 1,
		.align = options->align,
		.shared = kind == EXTENT_SHARED,
		.blocks = kind == EXTENT_BLOCKS,
		.numa = wire_str(options->numa ? numa_kind_name(options->numa) : NULL),
		.nodes = options->nodes,
	};

	if (options->numa ? options->numa == VARBOS_NUMA_LOCAL : space->local)
		request.caller = caller ? caller : extent_caller();
	return request;
}

static int take_answer(struct varbos_space *space, const struct wire_extent_alloced *extent,
		       size_t size, enum extent_kind kind, void **ret)
{
	int r;

	if (extent->offset >> OFFSET_BITS || extent->offset % SLICE_BYTES)
		return error_extent(extent, "offset");
	if (!extent->size || extent->size < size || extent->size % SLICE_BYTES)
		return error_extent(extent, "size");
	if (!extent->tag || extent->tag > TAG_MASK)
		return error_extent(extent, "tag");
	r = take_extent(space, extent, kind, ret);
	if (!r && kind != EXTENT_SHARED)
		atomic_fetch_add_explicit(&space->leased, extent->size, memory_order_relaxed);
	return r;
}

int extent_alloc_for(struct varbos_space *space, size_t size, enum extent_kind kind,
		     const struct varbos_alloc_options *options, uint64_t caller, void **ret)
{
	const struct varbos_error before = *varbos_error();
	struct wire_extent_alloc request;
	struct wire_extent_alloced extent;
	int r;

	r = space_enter(space);
	if (r)
		return r;
	if (space->read_only)
		return space_read_only(space);
	r = space_check_numa(options->numa, options->nodes);
	if (r)
		return r;

	request = make_request(space, size, kind, options, caller);
	r = ask_extent(space, &request, &extent);
	if ((r == VARBOS_E_BUDGET || r == VARBOS_E_MEMORY) &&
	    blocks_trim(&space->blocks) + blocks_trim(&space->shared.blocks)) {
		r = ask_extent(space, &request, &extent);
		if (!r)
			error_restore(
				&before); /* what went wrong on the way is nobody's concern */
	}
	return r ? r : take_answer(space, &extent, size, kind, ret);
}

struct call *extent_ask(struct varbos_space *space, size_t size, enum extent_kind kind,
			const struct varbos_alloc_options *options, uint64_t caller)
{
	struct wire_extent_alloc request = make_request(space, size, kind, options, caller);

	return call_ask(&space->vb->calls, WIRE_EXTENT_ALLOC, &request);
}

int extent_collect(struct varbos_space *space, struct call *call, size_t size,
		   enum extent_kind kind, void **ret)
{
	struct wire_extent_alloced extent;
	int r;

	r = call_collect(&call, 0);
	if (r)
		return r;
	extent = call->message.body.extent_alloced;
	call_end(call);
	return take_answer(space, &extent, size, kind, ret);
}

int extent_alloc(struct varbos_space *space, size_t size, enum extent_kind kind,
		 const struct varbos_alloc_options *options, void **ret)
{
	return extent_alloc_for(space, size, kind, options, 0, ret);
}

/* ---- freeing ---- */

/* Remember the tag; false if it was freed here before, perhaps by another thread just now. */
static bool freed_exchange(_Atomic uint32_t *word, uint32_t tag, uint32_t *ret_before)
{
	uint32_t before = atomic_load_explicit(word, memory_order_relaxed);

	do
		if (before == tag && !mutant(client_double_free))
			return false;
	while (!atomic_compare_exchange_weak_explicit(word, &before, tag, memory_order_acq_rel,
						      memory_order_relaxed));
	*ret_before = before;
	return true;
}

/* This process's own goes back; that needs nobody's attention now. */
static int give(struct varbos_space *space, const struct place *place)
{
	uint64_t size = (uint64_t)place->info.count << SLICE_SHIFT;
	_Atomic uint32_t *freed;
	uint32_t before, tag;
	int r;

	r = window_freed(place->window, &freed);
	if (r)
		return error_system(r, "remembering what is freed");
	if (!freed_exchange(&freed[place->slice], place->info.tag, &before))
		return error_freed(space, place);
	atomic_fetch_sub_explicit(&space->leased, size, memory_order_relaxed);
	if (call_return(&space->vb->calls, space->handle,
			ref_make(place->info.tag, place->offset)))
		return 0;
	r = send_free(space, place->offset, place->info.tag);
	if (r) { /* the daemon has not heard of it: it may be freed again */
		tag = place->info.tag;
		atomic_compare_exchange_strong(&freed[place->slice], &tag, before);
		atomic_fetch_add_explicit(&space->leased, size, memory_order_relaxed);
	}
	return r;
}

void extent_give(struct varbos_space *space, const void *memory)
{
	struct place place;

	if (place_of(space, memory, &place))
		return;
	if (place.info.kind == EXTENT_SHARED) /* no session's, and so no return ring's */
		send_free(space, place.offset, place.info.tag);
	else
		give(space, &place);
}

int extent_free(struct varbos_space *space, const void *memory)
{
	struct place place;
	int r;

	r = space_enter(space);
	if (r)
		return r;
	if (space->read_only)
		return space_read_only(space);
	r = place_of(space, memory, &place);
	if (r)
		return r;
	if (place_is_shared(&place))
		return shared_free(space, &place);
	r = check_block(space, &place);
	if (!r)
		r = check_start(memory, &place);
	if (r)
		return r;
	if (place.info.session != space->vb->session)
		return error_not_owner(space, &place);
	return give(space, &place);
}

static size_t size_at(const struct varbos_space *space, const void *memory,
		      const struct place *place)
{
	if (freed_here(place)) {
		error_freed(space, place);
		return 0;
	}
	if (place->info.count > place->window->n_slices - place->slice) {
		error_set(VARBOS_E_UNTRUSTED, "slice-map",
			  "by the slice map the block at %p ends beyond its window", memory);
		return 0;
	}
	return (size_t)place->info.count << SLICE_SHIFT;
}

size_t extent_size(struct varbos_space *space, const void *memory)
{
	struct place place;

	if (place_of(space, memory, &place))
		return 0;
	if (place_is_shared(&place))
		return shared_size(space, &place);
	if (check_block(space, &place) || check_start(memory, &place))
		return 0;
	return size_at(space, memory, &place);
}

size_t extent_size_private(struct varbos_space *space, const void *memory)
{
	struct place place;

	if (place_of(space, memory, &place))
		return 0;
	if (place.info.kind != EXTENT_PRIVATE) {
		error_set(VARBOS_E_INVALID, "memory",
			  "%p is shared memory, which keeps its size: others may hold "
			  "references to it",
			  memory);
		return 0;
	}
	if (check_start(memory, &place))
		return 0;
	if (place.info.session != space->vb->session) {
		error_not_owner(space, &place);
		return 0;
	}
	return size_at(space, memory, &place);
}

_public_ void *varbos_alloc_with(struct varbos_space *space, size_t size,
				 const struct varbos_alloc_options *options)
{
	static const struct varbos_alloc_options defaults;
	void *memory;
	int r;

	error_enter("varbos_alloc_with");
	if (!options)
		options = &defaults;
	r = options->shared ? shared_alloc_extent(space, size, options, &memory)
			    : extent_alloc(space, size, EXTENT_PRIVATE, options, &memory);
	return r ? NULL : memory;
}

/* ---- references ---- */

_public_ varbos_ref varbos_ref_of(struct varbos_space *space, const void *memory)
{
	struct place place;

	error_enter("varbos_ref_of");
	if (space_enter(space) || place_of(space, memory, &place))
		return 0;
	if (place_is_shared(&place))
		return shared_ref(space, &place);
	if (check_block(space, &place))
		return 0;
	if ((place.info.head && freed_here(&place)) || block_is_free(space, memory)) {
		error_freed(space, &place);
		return 0;
	}
	return ref_make(place.info.tag, place.offset);
}

_public_ void *varbos_ref_get(struct varbos_space *space, varbos_ref ref)
{
	struct place place;

	error_enter("varbos_ref_get");
	if (space_enter(space))
		return NULL;
	if (!ref_tag(ref)) {
		error_set(VARBOS_E_REFERENCE, "foreign", "0x%llx is no reference",
			  (unsigned long long)ref);
		return NULL;
	}
	if (place_at(space, ref_offset(ref), &place))
		return NULL;
	if (place_is_shared(&place))
		return shared_check(space, &place, ref) ? NULL : space->base + place.offset;
	if (check_block(space, &place))
		return NULL;
	if (place.info.tag != ref_tag(ref) && !mutant(client_tag_unchecked)) {
		error_set(VARBOS_E_REFERENCE, "stale",
			  "reference 0x%llx: what it named in space %s has been freed, and its "
			  "place given to another",
			  (unsigned long long)ref, space->name);
		return NULL;
	}
	return space->base + place.offset;
}
