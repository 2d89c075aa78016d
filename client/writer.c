#include "client/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "client/cache.h"
#include "client/call.h"
#include "client/error.h"

enum {
	SEGMENT_FIRST = 64 << 10,
	SEGMENT_MOST = 2 << 20,
	SEGMENT_SHARE = 64, /* of the cache's capacity, at most */
	SMALL_LEASES = 16,  /* before larger ones are asked for again, after there were none */
	AHEAD_SHARE = 4,    /* the next segment is asked for when so much of one is left */
	OWN_ALIKE = 2,  /* extents of one size in a row, before the next is asked for ahead, */
	OWN_SHARE = 32, /* if the capacity has room for so many */
	OWN_CALLS = 16, /* ask for one, after a record found none */
};

/* ---- writers ---- */

struct writer *writer_find(const struct own_lane *own, const struct varbos_cache *cache)
{
	struct writer *writer = own->writers;

	while (writer && writer->opening != cache->opening)
		writer = writer->next;
	return writer;
}

/* The daemon has them back already, or will. */
static void forget_reserved(struct writer *writer)
{
	struct writer_own *own;

	while ((own = writer->reserved)) {
		writer->reserved = own->next;
		free(own);
	}
}

/* One of a cache that is closed, whose records are of the past, too. */
static struct writer *find_idle(const struct own_lane *own)
{
	struct writer *writer = own->writers;

	while (writer && (writer->last > own->looked || cache_is_open(writer->opening)))
		writer = writer->next;
	return writer;
}

static void forget(struct writer *writer)
{
	if (writer->ahead)
		call_forget(writer->ahead);
	if (writer->own_ahead.call)
		call_forget(writer->own_ahead.call);
	writer->ahead = writer->own_ahead.call = NULL;
}

struct writer *writer_need(struct own_lane *own, struct varbos_cache *cache)
{
	struct writer *writer = writer_find(own, cache), *next;

	if (likely(writer))
		return writer;
	writer = find_idle(own);
	if (writer) {
		next = writer->next;
		forget_reserved(writer);
		forget(writer);
	} else {
		writer = malloc(sizeof(*writer));
		if (!writer)
			return NULL;
		next = own->writers;
		own->writers = writer;
	}
	*writer = (struct writer){
		.next = next,
		.cache = cache,
		.opening = cache->opening,
		.handle = cache->handle,
		.space_handle = cache->space_handle,
		.next_size = SEGMENT_FIRST,
	};
	return writer;
}

void writers_free(struct own_lane *own, bool ours)
{
	struct writer *writer;

	while ((writer = own->writers)) {
		own->writers = writer->next;
		forget_reserved(writer);
		if (ours)
			forget(writer);
		free(writer);
	}
}

void writer_told(struct writer *writer, uint64_t position, const struct lane_answer *answer)
{
	if (writer->own_ahead.position == position + 1) {
		writer->own_ahead.told = true;
		writer->own_ahead.answer = *answer;
	} else if (answer->code) {
		writer_failed(writer, answer);
	}
}

void writer_failed(struct writer *writer, const struct lane_answer *answer)
{
	if (!writer->failures++)
		writer->failed = *answer;
}

/* ---- sealing ---- */

/* In order behind what was put there. The cache may be gone by now. False: not now. */
static bool seal(struct own_lane *own, const struct writer *writer,
		 const struct cache_memory *memory)
{
	const struct lane_record record = {.kind = LANE_SEAL,
					   .cache = writer->handle,
					   .offset = memory->offset,
					   .generation = memory->tag};

	if (own->lane && own->lanes->records && !mutant(lane_order_lost))
		return lane_try(own, &record, NULL);
	cache_ask_seal(own->lanes->vb, writer->space_handle, memory);
	return true;
}

/* The same, waited for if need be; what even then cannot be told, the session's end tells. */
static void seal_surely(struct own_lane *own, const struct writer *writer,
			const struct cache_memory *memory)
{
	const struct varbos_error before = *varbos_error();

	if (!seal(own, writer, memory) && !lane_settle(own))
		seal(own, writer, memory);
	error_restore(&before);
}

/* What the record that asked for memory is answered; wait: until it is. False: not yet. */
static bool ahead_told(struct own_lane *own, struct writer_ahead *ahead, bool wait)
{
	if (!ahead->told)
		ahead->told = lane_look(own, ahead->position - 1, &ahead->answer) ||
			      (wait && !lane_await(own, ahead->position - 1, &ahead->answer));
	return ahead->told;
}

/* Nobody is going to use it. What is not known yet stays, if nobody waits for it. */
static void ahead_rest(struct own_lane *own, struct writer *writer, bool wait)
{
	struct writer_ahead *ahead = &writer->own_ahead;
	struct cache_memory memory;

	if (ahead->call)
		call_forget(ahead->call);
	ahead->call = NULL;
	if (!ahead->position || !ahead_told(own, ahead, wait))
		return;
	memory = (struct cache_memory){
		.offset = ahead->answer.ref,
		.tag = ahead->answer.generation,
	};
	if (!ahead->answer.code && !mutant(writer_ahead_kept)) {
		if (wait)
			seal_surely(own, writer, &memory);
		else if (!seal(own, writer, &memory))
			return;
	}
	ahead->position = 0;
	ahead->told = false;
}

/* Nobody is going to commit them. */
static void reserved_rest(struct own_lane *own, struct writer *writer)
{
	struct writer_own **at = &writer->reserved, *reserved;

	while ((reserved = *at))
		if (seal(own, writer, &reserved->memory)) {
			*at = reserved->next;
			free(reserved);
		} else {
			at = &reserved->next;
		}
}

static void reserved_end(struct writer *writer, const struct cache_memory *memory)
{
	struct writer_own **at = &writer->reserved, *reserved;

	while (*at && (*at)->memory.offset != memory->offset)
		at = &(*at)->next;
	reserved = *at;
	if (!reserved)
		return;
	*at = reserved->next;
	free(reserved);
}

void writers_rest(struct own_lane *own)
{
	if (!mutant(writer_failures_stay))
		memset(own->asked, 0, sizeof(own->asked));
	for (struct writer *writer = own->writers; writer; writer = writer->next) {
		if (!mutant(writer_failures_stay))
			writer->failures = 0;
		if (!cache_is_open(writer->opening))
			continue;
		ahead_rest(own, writer, false);
		reserved_rest(own, writer);
		for (int i = 0; i < WRITER_SEGMENTS; i++) {
			struct writer_segment *segment = &writer->segments[i];

			/* What was reserved is not going to be committed. */
			segment->reserved = false;
			if (segment->memory.size && seal(own, writer, &segment->memory))
				segment->memory.size = 0;
		}
	}
}

/* ---- memory ---- */

/* Where it would end; UINT64_MAX: it does not fit. */
static uint64_t end_in(const struct writer_segment *segment, struct object_sizes sizes)
{
	uint64_t size = object_size(segment->at, sizes);

	if (!segment->memory.size ||
	    size > segment->memory.offset + segment->memory.size - segment->at)
		return UINT64_MAX;
	return segment->at + size;
}

static void ask_ahead(struct writer *writer, const struct writer_segment *segment)
{
	uint64_t left = segment->memory.offset + segment->memory.size - segment->at;

	if (writer->ahead || left > segment->memory.size / AHEAD_SHARE)
		return;
	writer->ahead = cache_ask_ahead(writer->cache, writer->next_size, SLICE_BYTES, false);
	writer->ahead_size = writer->next_size;
}

/* No object is at 0, which names none. */
static uint64_t first_in(const struct cache_memory *memory)
{
	return memory->offset ? memory->offset : 1 << OBJECT_SHIFT;
}

static uint64_t size_after(const struct writer *writer)
{
	uint64_t capacity =
		atomic_load_explicit(&writer->cache->capacity, memory_order_relaxed);
	uint64_t twice = writer->next_size * 2;

	if (twice > u64_min(capacity / SEGMENT_SHARE, SEGMENT_MOST))
		return writer->next_size;
	return u64_min(twice, SEGMENT_MOST);
}

/* Room for `least` bytes, and more, if there is; but what was asked ahead. */
static int lease(struct writer *writer, struct writer_segment *segment, uint64_t least)
{
	struct call *ahead = TAKE_PTR(writer->ahead);
	uint64_t size;
	int r = VARBOS_E_MEMORY;

	while (writer->next_size < least)
		writer->next_size *= 2;
	size = ahead ? writer->ahead_size : writer->next_size;
	if (ahead)
		r = cache_ask_collect(writer->cache, ahead, SLICE_BYTES, false,
				      &segment->memory);
	if (r == VARBOS_E_MEMORY) /* by now there may be some */
		r = cache_ask_segment(writer->cache, size, least, &segment->memory);
	if (r)
		return r;
	segment->at = first_in(&segment->memory);
	if (segment->memory.size < size) {
		/* What others hold lies between all that is free. */
		writer->next_size = segment->memory.size;
		writer->small = SMALL_LEASES;
	} else if (writer->small) {
		writer->small--;
	} else {
		writer->next_size = size_after(writer);
	}
	return 0;
}

/* One that is not reserved; there always is, since two never are. */
static struct writer_segment *open_segment(struct writer *writer, struct object_sizes sizes)
{
	struct writer_segment *fallback = NULL, *segment;

	for (int i = 0; i < WRITER_SEGMENTS; i++) {
		segment = &writer->segments[i];
		if (segment->reserved)
			continue;
		if (end_in(segment, sizes) != UINT64_MAX)
			return segment;
		if (!fallback || !segment->memory.size)
			fallback = segment;
	}
	return fallback;
}

static bool any_reserved(const struct writer *writer)
{
	return writer->segments[0].reserved || writer->segments[1].reserved;
}

/* The largest, wherever it lies: where its value begins depends on where it does. */
static uint64_t size_most(struct object_sizes sizes)
{
	return (1 << OBJECT_SHIFT) + sizeof(struct object_header) + sizes.key + 64 +
	       sizes.value;
}

/* One more is held: a small part of the cache; and larger ones take long to be filled anyway. */
static bool may_hold(const struct writer *writer, uint64_t size)
{
	uint64_t capacity =
		atomic_load_explicit(&writer->cache->capacity, memory_order_relaxed);

	return size <= u64_min(capacity / OWN_SHARE, SEGMENT_MOST);
}

static void ahead_ask(struct own_lane *own, struct writer *writer)
{
	struct writer_ahead *ahead = &writer->own_ahead;
	const struct lane_record record = {
		.kind = LANE_LEASE,
		.cache = writer->handle,
		.size = writer->own_size,
		.generation = cache_ask_caller(writer->cache),
	};

	if (ahead->position) /* one of another size, that nothing is known of yet */
		return;
	ahead->size = writer->own_size;
	if (ahead->calls)
		ahead->calls--;
	else if (own->lane && own->lanes->records && lane_try(own, &record, writer))
		ahead->position = writer->last = own->head;
	if (!ahead->position)
		ahead->call = cache_ask_ahead(writer->cache, writer->own_size, 0, true);
}

/* Not 0: there is none. That says nothing about now. */
static int ahead_collect(struct own_lane *own, struct writer *writer, struct cache_memory *ret)
{
	struct writer_ahead *ahead = &writer->own_ahead;
	struct call *call;

	if (ahead->size != writer->own_size)
		ahead_rest(own, writer, true);
	call = TAKE_PTR(ahead->call);
	if (call)
		return cache_ask_collect(writer->cache, call, writer->own_size, true, ret);
	if (!ahead->position || ahead->size != writer->own_size ||
	    !ahead_told(own, ahead, true))
		return -EAGAIN;
	ahead->position = 0;
	ahead->told = false;
	if (!ahead->answer.code)
		return cache_ask_leased(writer->cache, &ahead->answer, writer->own_size, ret);
	ahead->calls = OWN_CALLS;
	return -EAGAIN;
}

/* Who puts large values of one size has the next one's extent come while this one's is filled. */
static int lease_own(struct own_lane *own, struct writer *writer, uint64_t least,
		     struct cache_memory *ret)
{
	uint64_t size = (least + SLICE_BYTES - 1) & ~(SLICE_BYTES - 1);
	int r;

	if (size != writer->own_size) {
		writer->own_size = size;
		writer->own_alike = 0;
	}
	r = ahead_collect(own, writer, ret);
	if (r)
		r = cache_ask_own(writer->cache, size, ret);
	if (r || !may_hold(writer, size))
		return r;
	if (writer->own_alike < OWN_ALIKE)
		writer->own_alike++;
	else
		ahead_ask(own, writer);
	return 0;
}

int writer_place(struct own_lane *own, struct writer *writer, struct object_sizes sizes,
		 bool reserve, struct writer_place *ret)
{
	struct writer_segment *segment;
	struct writer_own *reserved;
	int r;

	*ret = (struct writer_place){};
	if (size_most(sizes) > OBJECT_OWN || (reserve && any_reserved(writer))) {
		r = lease_own(own, writer, size_most(sizes), &ret->own);
		if (r)
			return r;
		reserved = reserve ? malloc(sizeof(*reserved)) : NULL;
		if (reserved) {
			*reserved = (struct writer_own){writer->reserved, ret->own};
			writer->reserved = reserved;
		} else if (reserve) {
			seal_surely(own, writer, &ret->own);
			return error_system(ENOMEM, "a reservation");
		}
		ret->offset = first_in(&ret->own);
		ret->end = ret->offset + object_size(ret->offset, sizes);
		return 0;
	}
	segment = open_segment(writer, sizes);
	if (end_in(segment, sizes) == UINT64_MAX) {
		struct cache_memory former = segment->memory;

		segment->memory.size = 0;
		if (former.size)
			seal_surely(own, writer, &former);
		r = lease(writer, segment, size_most(sizes));
		/* What was asked ahead is too small for it. */
		if (!r && end_in(segment, sizes) == UINT64_MAX) {
			former = segment->memory;
			segment->memory.size = 0;
			seal_surely(own, writer, &former);
			r = lease(writer, segment, size_most(sizes));
		}
		if (r)
			return r;
	}
	segment->reserved = reserve;
	ret->segment = segment;
	ret->offset = segment->at;
	ret->end = end_in(segment, sizes);
	return 0;
}

void writer_done(struct own_lane *own, struct writer *writer, const struct writer_place *place,
		 uint64_t end)
{
	if (!place->segment) {
		reserved_end(writer, &place->own);
		seal_surely(own, writer, &place->own);
		return;
	}
	place->segment->reserved = false;
	if (!end)
		return;
	place->segment->at = (end + 15) & ~(uint64_t)15;
	ask_ahead(writer, place->segment);
}
