/*
 * Writing: put, reserve and commit, put_async and flush, del, touch, expire, clear.
 */
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "base/copy.h"
#include "client/apart.h"
#include "client/block.h"
#include "client/cache.h"
#include "client/cache_ask.h"
#include "client/error.h"
#include "client/put.h"
#include "client/writer.h"

static_assert((int)VARBOS_PUT_ADD == LANE_ADD && (int)VARBOS_PUT_REPLACE == LANE_REPLACE,
	      "as records have it");

enum { FLAGS_MAX = 255 };

/* ---- what the daemon says ---- */

static int error_answer(const struct varbos_cache *cache, const struct lane_answer *answer)
{
	switch (answer->code) {
	case VARBOS_E_NOT_FOUND:
		return error_set(VARBOS_E_NOT_FOUND, "key", "cache %s has no such key",
				 cache->name);
	case VARBOS_E_EXISTS:
		return error_set(VARBOS_E_EXISTS, "key", "cache %s has that key already",
				 cache->name);
	case VARBOS_E_CHANGED:
		return error_set(VARBOS_E_CHANGED, "generation",
				 "cache %s has another value of that key by now", cache->name);
	case VARBOS_E_LATE:
		return error_set(VARBOS_E_LATE, "token",
				 "a value of cache %s took too long to compute, or was changed "
				 "meanwhile",
				 cache->name);
	case VARBOS_E_LIMIT:
		return error_set(VARBOS_E_LIMIT, "limits.metadata",
				 "cache %s may not have more values: limits.metadata of who "
				 "owns the space",
				 cache->name);
	case VARBOS_E_TOO_LARGE:
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_TOO_LARGE,
								.max = answer->detail,
								.which = "capacity"},
					 "it is larger than the capacity of cache %s",
					 cache->name);
	default:
		if (!wire_error_name(answer->code))
			return error_set(VARBOS_E_PROTOCOL, "code",
					 "the daemon answered a record with a code that this "
					 "library does not know, %u",
					 answer->code);
		return error_set((enum varbos_code)answer->code, "cache",
				 "the daemon refused a record about cache %s: %s", cache->name,
				 wire_error_name(answer->code));
	}
}

/* A record, or what a method asks instead; wait: until it is done. */
static int ask(struct varbos_cache *cache, struct own_lane *own,
	       const struct lane_record *record, struct writer *writer, bool wait)
{
	struct lane_answer answer;
	uint64_t position = 0;
	int r;

	if (!own->lane || !own->lanes->records) {
		mutant_fence(); /* a system call is one */
		return cache_ask_record(cache, record);
	}
	r = lane_put(own, record, wait ? NULL : writer, &position);
	if (r || !wait) {
		if (!r && writer)
			writer->last = position + 1;
		return r;
	}
	r = lane_await(own, position, &answer);
	if (r)
		return r;
	return answer.code ? error_answer(cache, &answer) : 0;
}

/* Who writes: the cache is this process's, and *ret the thread's lane, whatever it has. */
static int enter(struct varbos_cache *cache, struct own_lane **ret)
{
	int r = cache_enter(cache);

	if (!r && cache->space->read_only)
		r = space_read_only(cache->space);
	return r ? r : lane_enter(cache->lanes, LANE_WRITES, ret);
}

/* ---- putting ---- */

struct put {
	struct varbos_cache *cache;
	struct own_lane *own;
	struct writer *writer;
	struct object_sizes sizes;
	uint64_t ttl_ms;
	struct lane_record record;
};

static int check_options(const struct varbos_put_options *options)
{
	if (options->mode > VARBOS_PUT_REPLACE)
		return error_set(VARBOS_E_INVALID, "mode", "there is no mode %u",
				 options->mode);
	if (options->generation && options->mode != VARBOS_PUT_REPLACE)
		return error_set(VARBOS_E_INVALID, "generation",
				 "a generation goes with VARBOS_PUT_REPLACE alone");
	if (options->flags > FLAGS_MAX)
		return error_set(VARBOS_E_INVALID, "flags", "flags 0x%x: there are 8 bits",
				 options->flags);
	return 0;
}

/* What could never fit is not even begun. The capacity may have been raised meanwhile. */
static int check_size(struct varbos_cache *cache, uint64_t size, uint64_t value)
{
	uint64_t capacity = atomic_load_explicit(&cache->capacity, memory_order_relaxed);
	int r;

	if (likely(size <= capacity))
		return 0;
	r = cache_refresh(cache);
	if (r)
		return r;
	capacity = atomic_load_explicit(&cache->capacity, memory_order_relaxed);
	if (size <= capacity)
		return 0;
	return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_TOO_LARGE,
							.requested = value,
							.max = capacity,
							.which = "capacity"},
				 "a value of %llu bytes: cache %s has a capacity of %llu",
				 (unsigned long long)value, cache->name,
				 (unsigned long long)capacity);
}

/* All that is known before there is memory. */
static int put_begin(struct put *put, struct varbos_cache *cache, struct own_lane *own,
		     const void *key, size_t key_size, size_t size,
		     const struct varbos_put_options *options)
{
	uint64_t most = sizeof(struct object_header) + key_size + size;
	int r = cache_check_key(key, key_size);

	if (!r)
		r = check_options(options);
	if (!r)
		r = size >> 40 ? check_size(cache, UINT64_MAX, size)
			       : check_size(cache, most, size);
	if (r)
		return r;
	*put = (struct put){
		.cache = cache,
		.own = own,
		.writer = writer_need(own, cache),
		.sizes = {.value = size, .key = (uint32_t)key_size, .flags = options->flags},
		.ttl_ms = options->ttl_ms ? options->ttl_ms : cache_ttl_ms(cache),
		.record =
			{
				.kind = LANE_PUBLISH | options->mode << 8,
				.cache = cache->handle,
				.hash = cache_hash(cache, key, key_size),
				.generation = options->generation,
			},
	};
	return put->writer ? 0 : error_system(ENOMEM, "where a thread puts");
}

static uint64_t expiry_of(uint64_t now, uint64_t ttl_ms)
{
	uint64_t expiry;

	return ttl_ms && u64_add(now, ttl_ms, &expiry) ? expiry : 0;
}

static struct object_header *header_at(const struct varbos_cache *cache, uint64_t offset)
{
	return (struct object_header *)(void *)(cache->base + offset);
}

/* The header, as it is published. */
static void put_header(struct put *put, uint64_t offset)
{
	struct object_header *header = header_at(put->cache, offset);
	uint64_t now = cache_now(cache_index_now(put->cache));

	put->record.offset = offset;
	put->record.size = object_size(offset, put->sizes);
	put->record.expiry = expiry_of(now, put->ttl_ms);
	put->record.born = lane_draw(put->own);
	atomic_store_explicit(&header->expiry, put->record.expiry, memory_order_relaxed);
	header->sizes = object_sizes_pack(put->sizes);
	header->birth = object_birth_pack(
		(struct object_birth){.ms = now, .generation = put->record.born});
}

/* CP1: who finds it sees all of it. */
static void copy_value(char *to, const char *from, size_t size)
{
	if (mutant(put_fence_lags))
		size = mutant_stream(to, from, size);
	/* A large one's memory is in no cache, and to have it there costs more than to pass by. */
	if (size > OBJECT_OWN)
		copy_streamed(to, from, size);
	else
		copy_bytes(to, from, size);
}

static int put_all(struct put *put, const void *key, const void *data, bool wait)
{
	struct writer_place place;
	bool refused;
	char *object;
	int r;

	r = writer_place(put->own, put->writer, put->sizes, false, &place);
	if (r)
		return r;
	object = put->cache->base + place.offset;
	memcpy(object + sizeof(struct object_header), key, put->sizes.key);
	if (data)
		copy_value(object + object_value_at(place.offset, put->sizes), data,
			   put->sizes.value);
	put_header(put, place.offset);
	r = ask(put->cache, put->own, &put->record, put->writer, wait);
	/* Refused for what the cache has: its bytes are free. Else the daemon may have taken it. */
	refused = r == VARBOS_E_EXISTS || r == VARBOS_E_NOT_FOUND || r == VARBOS_E_CHANGED;
	/* An extent of its own is sealed by what has been published there. */
	if (r || !wait || place.segment)
		writer_done(put->own, put->writer, &place, refused ? 0 : place.end);
	if (wait || !refused)
		return r;
	writer_failed(put->writer, &(struct lane_answer){.code = (uint32_t)r});
	return 0;
}

static int put_now(struct varbos_cache *cache, const void *key, size_t key_size,
		   const void *data, size_t size, const struct varbos_put_options *options)
{
	_cleanup_(lane_wrotep) struct own_lane *own = NULL;
	struct put put;
	int r;

	r = enter(cache, &own);
	if (!r && size && !data)
		r = error_null("data");
	if (!r)
		r = put_begin(&put, cache, own, key, key_size, size, options);
	return r ? r : put_all(&put, key, data, true);
}

_public_ int varbos_cache_put(struct varbos_cache *cache, const void *key, size_t key_size,
			      const void *data, size_t size,
			      const struct varbos_put_options *options)
{
	static const struct varbos_put_options defaults;

	error_enter("varbos_cache_put");
	return put_now(cache, key, key_size, data, size, options ? options : &defaults);
}

/* ---- without waiting ---- */

_public_ int varbos_cache_put_async(struct varbos_cache *cache, const void *key,
				    size_t key_size, const void *data, size_t size,
				    const struct varbos_put_options *options)
{
	static const struct varbos_put_options defaults;
	_cleanup_(lane_wrotep) struct own_lane *own = NULL;
	struct put put;
	int r;

	error_enter("varbos_cache_put_async");
	r = enter(cache, &own);
	if (!r && size && !data)
		r = error_null("data");
	if (!r)
		r = put_begin(&put, cache, own, key, key_size, size,
			      options ? options : &defaults);
	return r ? r : put_all(&put, key, data, false);
}

_public_ int varbos_cache_flush(struct varbos_cache *cache)
{
	_cleanup_(lane_wrotep) struct own_lane *own = NULL;
	struct writer *writer;
	struct lane_answer answer;
	int r;

	error_enter("varbos_cache_flush");
	r = enter(cache, &own);
	if (!r)
		r = lane_settle(own);
	if (r)
		return r;
	writer = writer_find(own, cache);
	if (!writer || !writer->failures)
		return 0;
	answer = writer->failed;
	writer->failures = 0;
	return error_answer(cache, &answer);
}

/* ---- building in place ---- */

/* What a reservation's words say. */
enum {
	KEPT_OWN,    /* the lane, and: */
	KEPT_SERIAL, /* whose it was */
	KEPT_OFFSET,
	KEPT_EXTENT, /* bytes of its own one; 0: it is in a segment */
	KEPT_HASH,
	KEPT_TTL,
	KEPT_SIZES,
	KEPT_WORD, /* mode:8  segment:8  0:16  generation:32 */
	KEPT_TAG,  /* tag:32  fork count:32 */
	KEPT,
};

static_assert(sizeof(((struct varbos_reservation *)0)->reserved) == KEPT * sizeof(uint64_t),
	      "what is kept of a reservation");

int put_reserve(struct varbos_cache *cache, const void *key, size_t key_size, size_t size,
		const struct varbos_put_options *options, struct varbos_reservation *ret)
{
	_cleanup_(lane_wrotep) struct own_lane *own = NULL;
	struct writer_place place;
	struct put put;
	char *object;
	int r;

	r = enter(cache, &own);
	if (!r)
		r = put_begin(&put, cache, own, key, key_size, size, options);
	if (!r)
		r = writer_place(own, put.writer, put.sizes, true, &place);
	if (r)
		return r;
	object = cache->base + place.offset;
	memcpy(object + sizeof(struct object_header), key, key_size);
	*ret = (struct varbos_reservation){
		.data = object + object_value_at(place.offset, put.sizes),
		.size = size,
		.cache = cache,
		.reserved =
			{
				[KEPT_OWN] = (uintptr_t)own,
				[KEPT_SERIAL] = own->serial,
				[KEPT_OFFSET] = place.offset,
				[KEPT_EXTENT] = place.own.size,
				[KEPT_HASH] = put.record.hash,
				[KEPT_TTL] = put.ttl_ms,
				[KEPT_SIZES] = object_sizes_pack(put.sizes),
				[KEPT_WORD] =
					put.record.kind >> 8 |
					(uint64_t)(place.segment ? place.segment -
									   put.writer->segments
								 : 0)
						<< 8 |
					(uint64_t)put.record.generation << 32,
				[KEPT_TAG] = place.own.tag | (uint64_t)fork_count() << 32,
			},
	};
	return 0;
}

_public_ int varbos_cache_reserve(struct varbos_cache *cache, const void *key, size_t key_size,
				  size_t size, const struct varbos_put_options *options,
				  struct varbos_reservation *ret)
{
	static const struct varbos_put_options defaults;

	error_enter("varbos_cache_reserve");
	if (cache && !ret)
		return error_null("ret");
	return put_reserve(cache, key, key_size, size, options ? options : &defaults, ret);
}

static int error_reservation(const char *why)
{
	return error_set(VARBOS_E_INVALID, "reservation", "%s", why);
}

/* The reservation's lane and place, if it is the calling thread's still. */
static int find_reserved(const struct varbos_reservation *reservation, struct put *put,
			 struct writer_place *ret)
{
	const uint64_t *kept = reservation->reserved;
	struct varbos_cache *cache = reservation->cache;
	struct own_lane *own;
	int r;

	if (!cache)
		return error_reservation("it has ended already");
	if (kept[KEPT_TAG] >> 32 != fork_count())
		return error_parents("the reservation");
	r = enter(cache, &own);
	if (r)
		return r;
	*put = (struct put){.cache = cache, .own = own};
	if ((uintptr_t)own != kept[KEPT_OWN] || own->serial != kept[KEPT_SERIAL])
		return error_reservation("it is another thread's");
	put->writer = writer_find(own, cache);
	put->sizes = object_sizes_unpack(kept[KEPT_SIZES]);
	put->ttl_ms = kept[KEPT_TTL];
	put->record = (struct lane_record){
		.kind = LANE_PUBLISH | (uint32_t)(kept[KEPT_WORD] & 0xff) << 8,
		.cache = cache->handle,
		.hash = kept[KEPT_HASH],
		.generation = (uint32_t)(kept[KEPT_WORD] >> 32),
	};
	*ret = (struct writer_place){
		.own = {.offset = kept[KEPT_OFFSET],
			.size = kept[KEPT_EXTENT],
			.tag = (uint32_t)kept[KEPT_TAG]},
		.offset = kept[KEPT_OFFSET],
	};
	if (!put->writer)
		return error_reservation("its cache has been closed");
	if (!kept[KEPT_EXTENT])
		ret->segment = &put->writer->segments[kept[KEPT_WORD] >> 8 & 0xff];
	return 0;
}

/* A smaller value may have to begin elsewhere. */
static void shrink(struct put *put, uint64_t offset, size_t size)
{
	char *object = put->cache->base + offset;
	uint64_t before = object_value_at(offset, put->sizes), after;

	put->sizes.value = size;
	after = object_value_at(offset, put->sizes);
	if (after != before)
		memmove(object + after, object + before, size);
}

/* Before anybody can evict it. */
static void pin(const struct put *put, uint64_t offset, _Atomic uint64_t *hazard)
{
	index_pin(hazard, (uint64_t)put->cache->space_handle << OFFSET_BITS | offset);
	index_fence();
}

static void view_of(const struct put *put, uint64_t offset, _Atomic uint64_t *hazard,
		    struct varbos_view *ret)
{
	struct object_header *header = header_at(put->cache, offset);
	const struct found found = {
		.header = header,
		.data = (const char *)header + object_value_at(offset, put->sizes),
		.sizes = object_sizes_pack(put->sizes),
		.expiry = put->record.expiry,
	};

	cache_view_fill(ret, put->cache, &found, hazard);
}

static int keep(const struct put *put, uint64_t offset, struct found *ret, void **ret_memory)
{
	int r = apart_keep(header_at(put->cache, offset), offset, put->sizes, ret, ret_memory);

	return r ? error_system(r, "a copy of a value") : 0;
}

static void put_on_terms(struct put *put, const struct put_terms *terms)
{
	put->record.token = terms->token;
	if (terms->hash)
		put->record.hash = terms->hash;
	put->ttl_ms = terms->ttl_ms;
	put->sizes.flags = terms->flags;
}

int put_commit(struct varbos_reservation *reservation, size_t size,
	       const struct put_terms *terms, _Atomic uint64_t *hazard, struct varbos_view *ret)
{
	_cleanup_(freep) void *copy = NULL;
	struct writer_place place;
	struct put put = {};
	struct found found;
	int r;

	if (size > reservation->size)
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_INVALID,
								.requested = size,
								.max = reservation->size,
								.which = "size"},
					 "%zu bytes of a reservation of %zu", size,
					 reservation->size);
	r = find_reserved(reservation, &put, &place);
	if (!r) {
		shrink(&put, place.offset, size);
		if (terms)
			put_on_terms(&put, terms);
		put_header(&put, place.offset);
		r = hazard || !ret ? 0 : keep(&put, place.offset, &found, &copy);
		if (hazard)
			pin(&put, place.offset, hazard);
		if (!r)
			r = ask(put.cache, put.own, &put.record, NULL, true);
		if (!r && hazard)
			view_of(&put, place.offset, hazard, ret);
		else if (!r && ret)
			apart_view(ret, put.cache, &found, TAKE_PTR(copy));
		writer_done(put.own, put.writer, &place,
			    place.offset + object_size(place.offset, put.sizes));
		*reservation = (struct varbos_reservation){};
	}
	lane_wrotep(&put.own);
	return r;
}

_public_ int varbos_cache_commit(struct varbos_reservation *reservation, size_t size)
{
	error_enter("varbos_cache_commit");
	return reservation ? put_commit(reservation, size, NULL, NULL, NULL)
			   : error_null("reservation");
}

void put_abort(struct varbos_reservation *reservation)
{
	struct writer_place place;
	struct put put = {};

	if (!reservation || !reservation->cache)
		return;
	if (!find_reserved(reservation, &put, &place)) {
		writer_done(put.own, put.writer, &place, 0);
		*reservation = (struct varbos_reservation){};
	}
	lane_wrotep(&put.own);
}

_public_ void varbos_cache_abort(struct varbos_reservation *reservation)
{
	error_enter("varbos_cache_abort");
	put_abort(reservation);
}

/* ---- what is there ---- */

static int about_key(struct varbos_cache *cache, struct own_lane **own, const void *key,
		     size_t key_size, struct lane_record *ret)
{
	int r = enter(cache, own);

	if (!r)
		r = cache_check_key(key, key_size);
	if (!r)
		*ret = (struct lane_record){
			.cache = cache->handle,
			.hash = cache_hash(cache, key, key_size),
		};
	return r;
}

_public_ int varbos_cache_del(struct varbos_cache *cache, const void *key, size_t key_size)
{
	_cleanup_(lane_wrotep) struct own_lane *own = NULL;
	struct lane_record record;
	int r;

	error_enter("varbos_cache_del");
	r = about_key(cache, &own, key, key_size, &record);
	if (r)
		return r;
	record.kind = LANE_DELETE;
	return ask(cache, own, &record, NULL, true);
}

static uint64_t now_of(struct varbos_cache *cache)
{
	return cache_now(cache_index_now(cache));
}

_public_ int varbos_cache_expire(struct varbos_cache *cache, const void *key, size_t key_size,
				 uint64_t ttl_ms)
{
	_cleanup_(lane_wrotep) struct own_lane *own = NULL;
	struct lane_record record;
	int r;

	error_enter("varbos_cache_expire");
	r = about_key(cache, &own, key, key_size, &record);
	if (r)
		return r;
	if (!ttl_ms) {
		record.kind = LANE_DELETE;
	} else {
		record.kind = LANE_TOUCH;
		record.expiry = expiry_of(now_of(cache), ttl_ms);
	}
	return ask(cache, own, &record, NULL, true);
}

/* Under its hash there may be what is no value of the key: a failure, say. */
static int is_there(struct varbos_cache *cache, const void *key, size_t key_size, uint64_t hash)
{
	_cleanup_(lane_readp) struct own_lane *own = NULL;
	struct glance glance;
	int r = cache_read_enter(cache, &own);

	if (!r)
		r = cache_glance(cache, own, key, key_size, hash, GLANCE_EXISTS, &glance);
	if (!r)
		cache_glance_end(&glance);
	return r;
}

_public_ int varbos_cache_touch(struct varbos_cache *cache, const void *key, size_t key_size)
{
	const struct lane_answer absent = {.code = VARBOS_E_NOT_FOUND};
	_cleanup_(lane_wrotep) struct own_lane *own = NULL;
	struct lane_record record;
	uint64_t ttl_ms;
	int r;

	error_enter("varbos_cache_touch");
	r = about_key(cache, &own, key, key_size, &record);
	if (!r) {
		r = is_there(cache, key, key_size, record.hash);
		if (r == VARBOS_E_NOT_FOUND)
			return error_answer(cache, &absent);
	}
	if (r)
		return r;
	/* Whether it expires at all the daemon knows: here another may be there by now. */
	ttl_ms = cache_ttl_ms(cache);
	record.kind = LANE_TOUCH | (ttl_ms ? LANE_RENEW : LANE_USE) << 8;
	if (ttl_ms)
		record.expiry = expiry_of(now_of(cache), ttl_ms);
	return ask(cache, own, &record, NULL, true);
}

_public_ int varbos_cache_clear(struct varbos_cache *cache)
{
	_cleanup_(lane_wrotep) struct own_lane *own = NULL;
	int r;

	error_enter("varbos_cache_clear");
	r = enter(cache, &own);
	/* What this thread has put before goes, too. */
	if (!r)
		r = lane_settle(own);
	return r ? r : cache_ask_clear(cache);
}
