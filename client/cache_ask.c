#include "client/cache_ask.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/base.h"
#include "client/cache.h"
#include "client/call.h"
#include "client/connection.h"
#include "client/error.h"
#include "client/extent.h"
#include "client/place.h"
#include "client/reserve.h"
#include "client/sealed.h"

/* ---- files ---- */

/* A file of `size` bytes, so many of them. */
static int map(int fd, const char *what, enum sealed_kind kind, uint64_t size, uint64_t bytes,
	       int access, void **ret)
{
	void *memory = NULL;
	int r;

	r = sealed_check(fd, what, kind, size);
	if (r)
		return r;
	memory = mmap(NULL, bytes, access, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return error_system(errno, "mapping the %s", what);
	r = reserve_hide(memory, bytes);
	if (r) {
		munmap(memory, bytes);
		return error_system(r, "mapping the %s", what);
	}
	*ret = memory;
	return 0;
}

int cache_ask_lanes(struct varbos *vb, uint32_t n, bool expedited, struct lanes_opened *ret)
{
	const struct wire_lanes_open request = {.lanes = n, .barrier = expedited};
	_cleanup_(call_endp) struct call *call = NULL;
	const struct wire_lanes_opened *opened;
	void *memory = NULL, *bell = NULL;
	uint64_t size = n * sizeof(struct lane);
	int r;

	r = call_begin(&call, &vb->calls, WIRE_LANES_OPEN, &request, 2);
	if (r)
		return r;
	opened = &call->message.body.lanes_opened;
	if (opened->size < size)
		return error_set(VARBOS_E_UNTRUSTED, "lanes",
				 "the daemon's answer cannot be: %u lanes in %llu bytes", n,
				 (unsigned long long)opened->size);
	r = map(call->fds[0], "lanes", SEALED_EXACT, opened->size, size, PROT_READ | PROT_WRITE,
		&memory);
	if (r)
		return r;
	r = map(call->fds[1], "bell", SEALED_AT_LEAST, sizeof(struct bell), sizeof(struct bell),
		PROT_READ, &bell);
	if (r) {
		munmap(memory, size);
		return r;
	}
	*ret = (struct lanes_opened){
		.memory = memory,
		.bell = bell,
		.n = n,
		.pins = opened->pins ? (uint32_t)u64_min(opened->pins, LANE_HAZARDS - 1)
				     : LANE_HAZARDS - 1,
		.barrier = opened->barrier,
	};
	return 0;
}

bool cache_ask_wake(struct varbos *vb)
{
	/* Where there is no room, there is something to read for it already. */
	if (send(vb->calls.socket.fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ||
	    errno == EAGAIN)
		return true;
	calls_nudge(&vb->calls);
	return false;
}

int cache_ask_index(struct varbos_space *space, uint32_t handle, uint64_t generation,
		    struct cache_index_file *ret)
{
	const struct wire_cache_index request = {
		.space = space->handle, .cache = handle, .generation = generation};
	_cleanup_(call_endp) struct call *call = NULL;
	const struct wire_cache_index_opened *opened;
	void *memory = NULL;
	int r;

	r = call_begin(&call, &space->vb->calls, WIRE_CACHE_INDEX, &request, 1);
	if (r)
		return r;
	opened = &call->message.body.cache_index_opened;
	r = map(call->fds[0], "index", SEALED_AT_LEAST, opened->size, opened->size, PROT_READ,
		&memory);
	if (r)
		return r;
	*ret = (struct cache_index_file){
		.memory = memory,
		.size = opened->size,
		.generation = opened->generation,
	};
	return 0;
}

/* ---- caches ---- */

int cache_ask_open(struct varbos_space *space, const char *name,
		   const struct varbos_cache_options *options, struct cache_opened *ret)
{
	const struct wire_cache_open request = {
		.space = space->handle,
		.name = wire_str(name),
		.capacity = options->capacity,
		.policy = wire_str(options->policy),
		.ttl_ms = options->ttl_ms,
		.existing = options->flags & VARBOS_CACHE_EXISTING,
		.exclusive = options->flags & VARBOS_CACHE_NEW,
	};
	_cleanup_(call_endp) struct call *call = NULL;
	const struct wire_cache_opened *opened;
	int r;

	r = call_begin(&call, &space->vb->calls, WIRE_CACHE_OPEN, &request, 0);
	if (r)
		return r;
	opened = &call->message.body.cache_opened;
	if (!opened->cache || opened->cache >> 12 || !opened->capacity)
		return error_set(VARBOS_E_UNTRUSTED, "cache",
				 "the daemon's answer about cache %s cannot be", name);
	*ret = (struct cache_opened){
		.handle = (uint32_t)opened->cache,
		.capacity = opened->capacity,
	};
	return 0;
}

void cache_ask_close(struct varbos_space *space, uint32_t handle)
{
	const struct wire_cache_handle note = {.space = space->handle, .cache = handle};

	call_note(&space->vb->calls, WIRE_CACHE_CLOSE, &note);
}

int cache_ask_clear(const struct varbos_cache *cache)
{
	const struct wire_cache_handle request = {.space = cache->space_handle,
						  .cache = cache->handle};
	_cleanup_(call_endp) struct call *call = NULL;

	return call_begin(&call, &cache->space->vb->calls, WIRE_CACHE_CLEAR, &request, 0);
}

int cache_ask_record(const struct varbos_cache *cache, const struct lane_record *record)
{
	const struct wire_cache_publish publish = {
		.space = cache->space_handle,
		.cache = cache->handle,
		.hash = record->hash,
		.offset = record->offset,
		.size = record->size,
		.born = record->born,
		.expiry = record->expiry,
		.mode = record->kind >> 8,
		.generation = record->generation,
		.token = record->token,
	};
	const struct wire_cache_delete delete = {.space = cache->space_handle,
						 .cache = cache->handle,
						 .hash = record->hash,
						 .generation = record->generation};
	const struct wire_cache_touch touch = {.space = cache->space_handle,
					       .cache = cache->handle,
					       .hash = record->hash,
					       .expiry = record->expiry,
					       .how = record->kind >> 8};
	struct calls *calls = &cache->space->vb->calls;
	_cleanup_(call_endp) struct call *call = NULL;

	switch (record->kind & 0xff) {
	case LANE_PUBLISH:
		return call_begin(&call, calls, WIRE_CACHE_PUBLISH, &publish, 0);
	case LANE_DELETE:
		return call_begin(&call, calls, WIRE_CACHE_DELETE, &delete, 0);
	case LANE_TOUCH:
	default:
		return call_begin(&call, calls, WIRE_CACHE_TOUCH, &touch, 0);
	}
}

void cache_ask_use(const struct varbos_cache *cache, uint64_t hash)
{
	const struct wire_cache_touch request = {.space = cache->space_handle,
						 .cache = cache->handle,
						 .hash = hash,
						 .how = LANE_USE};
	struct call *call = call_ask(&cache->space->vb->calls, WIRE_CACHE_TOUCH, &request);

	if (call)
		call_forget(call);
}

bool cache_ask_count(const struct varbos_cache *cache, uint64_t hits, uint64_t misses,
		     bool waits)
{
	const struct wire_cache_count request = {.space = cache->space_handle,
						 .cache = cache->handle,
						 .hits = hits,
						 .misses = misses};
	const struct varbos_error before = *varbos_error();
	struct calls *calls = &cache->space->vb->calls;
	struct call *call = NULL;
	bool told;

	if (!waits)
		call = call_ask(calls, WIRE_CACHE_COUNT, &request);
	told = waits ? !call_note(calls, WIRE_CACHE_COUNT, &request) : call != NULL;
	if (call)
		call_forget(call);
	error_restore(&before); /* that it cannot be told is no failure of the call we are in */
	return told;
}

/* ---- computing ---- */

int cache_ask_fetch(const struct varbos_cache *cache, uint64_t hash, uint64_t compute_ms,
		    uint64_t wait_ms, uint32_t seen, struct cache_right *ret)
{
	const struct wire_cache_fetch request = {
		.space = cache->space_handle,
		.cache = cache->handle,
		.hash = hash,
		.compute_ms = compute_ms,
		.wait_ms = wait_ms,
		.seen = seen,
	};
	_cleanup_(call_endp) struct call *call = NULL;
	const struct wire_cache_fetched *fetched;
	int r;

	r = call_begin_waiting(&call, &cache->space->vb->calls, WIRE_CACHE_FETCH, &request,
			       wait_ms);
	if (r)
		return r;
	fetched = &call->message.body.cache_fetched;
	*ret = (struct cache_right){.token = fetched->token,
				    .generation = (uint32_t)fetched->generation};
	return 0;
}

void cache_ask_fetch_end(const struct varbos_cache *cache, uint64_t hash, uint64_t token,
			 uint32_t code)
{
	const struct wire_cache_fetch_end note = {.space = cache->space_handle,
						  .cache = cache->handle,
						  .hash = hash,
						  .token = token,
						  .code = code};

	call_note(&cache->space->vb->calls, WIRE_CACHE_FETCH_END, &note);
}

/* ---- memory ---- */

static int error_memory(const struct wire_extent_alloced *extent)
{
	return error_set(VARBOS_E_UNTRUSTED, "segment",
			 "the daemon's answer cannot be: %llu bytes at offset 0x%llx",
			 (unsigned long long)extent->size, (unsigned long long)extent->offset);
}

static int take(const struct varbos_cache *cache, const struct wire_extent_alloced *extent,
		uint64_t least, enum extent_kind kind, struct cache_memory *ret)
{
	struct place place;
	int r;

	if (extent->offset >> OFFSET_BITS || extent->offset % SLICE_BYTES ||
	    extent->size < least || extent->size % SLICE_BYTES)
		return error_memory(extent);
	r = place_at(cache->space, extent->offset, &place);
	if (r)
		return r == VARBOS_E_REFERENCE ? error_memory(extent) : r;
	if (place.info.kind != kind || !place.info.head || place.info.tag != extent->tag ||
	    place.info.session != cache->space->vb->session ||
	    place.info.count != extent->size >> SLICE_SHIFT ||
	    extent->size > place.window->size - place.position)
		return error_memory(extent);
	*ret = (struct cache_memory){
		.offset = extent->offset,
		.size = extent->size,
		.tag = (uint32_t)extent->tag,
	};
	return 0;
}

uint32_t cache_ask_caller(const struct varbos_cache *cache)
{
	return cache->space->local ? (uint32_t)extent_caller() : 0;
}

static struct wire_cache_segment make_request(const struct varbos_cache *cache, uint64_t size,
					      uint64_t least, bool object)
{
	return (struct wire_cache_segment){
		.space = cache->space_handle,
		.cache = cache->handle,
		.size = size,
		.object = object,
		.caller = cache_ask_caller(cache),
		.least = least,
	};
}

static int ask(const struct varbos_cache *cache, uint64_t size, uint64_t least, bool object,
	       struct cache_memory *ret)
{
	const struct wire_cache_segment request = make_request(cache, size, least, object);
	struct wire_extent_alloced extent;
	struct call *call;
	int r;

	r = call_begin(&call, &cache->space->vb->calls, WIRE_CACHE_SEGMENT, &request, 0);
	if (r)
		return r;
	/* Ended first: its window may have to be asked for. */
	extent = call->message.body.extent_alloced;
	call_end(call);
	return take(cache, &extent, least, object ? EXTENT_OBJECT : EXTENT_SEGMENT, ret);
}

int cache_ask_segment(const struct varbos_cache *cache, uint64_t size, uint64_t least,
		      struct cache_memory *ret)
{
	return ask(cache, size, least, false, ret);
}

int cache_ask_own(const struct varbos_cache *cache, uint64_t size, struct cache_memory *ret)
{
	return ask(cache, size, size, true, ret);
}

struct call *cache_ask_ahead(const struct varbos_cache *cache, uint64_t size, uint64_t least,
			     bool object)
{
	const struct wire_cache_segment request = make_request(cache, size, least, object);

	return call_ask(&cache->space->vb->calls, WIRE_CACHE_SEGMENT, &request);
}

int cache_ask_collect(const struct varbos_cache *cache, struct call *call, uint64_t least,
		      bool object, struct cache_memory *ret)
{
	struct wire_extent_alloced extent;
	int r;

	r = call_collect(&call, 0);
	if (r)
		return r;
	extent = call->message.body.extent_alloced;
	call_end(call);
	return take(cache, &extent, least, object ? EXTENT_OBJECT : EXTENT_SEGMENT, ret);
}

int cache_ask_leased(const struct varbos_cache *cache, const struct lane_answer *answer,
		     uint64_t size, struct cache_memory *ret)
{
	const struct wire_extent_alloced extent = {
		.offset = answer->ref, .size = size, .tag = answer->generation};

	return take(cache, &extent, size, EXTENT_OBJECT, ret);
}

void cache_ask_seal(struct varbos *vb, uint32_t space, const struct cache_memory *memory)
{
	const struct wire_cache_seal note = {
		.space = space, .offset = memory->offset, .tag = memory->tag};

	call_note(&vb->calls, WIRE_CACHE_SEAL, &note);
}
