#include "daemon/core/cache/cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/cache/state.h"

struct policy_object cache_policy_object(const struct cache *cache, uint32_t number)
{
	const struct object_record *record = cache_record(cache, number);
	uint64_t size = object_size_told((uint32_t)(record->place >> 40));
	uint64_t units = ((size - 1) >> cache->unit_shift) + 1;

	return (struct policy_object){
		.number = number,
		.size = (uint32_t)u64_min(units, POLICY_SIZE_MAX),
		.hash = record->hash,
	};
}

static void look(void *host, uint32_t number, struct policy_object *ret)
{
	*ret = cache_policy_object(host, number);
}

uint32_t cache_stamp(const struct cache *cache)
{
	return (uint32_t)(cache->clock >> cache->stamp_shift) & 0xffff;
}

uint32_t cache_hint(const struct cache *cache, bool accessed)
{
	return accessed && cache->hints == HINTS_FRESH ? (uint32_t)cache->epoch & 15 : 0;
}

void cache_object_of(const struct cache *cache, uint32_t number, struct cache_object *ret)
{
	const struct object_record *record = cache_record(cache, number);
	struct object_place place = object_place_unpack(record->place);
	struct object_word word = object_word_unpack(record->word);

	*ret = (struct cache_object){
		.hash = record->hash,
		.offset = place.offset,
		.size = place.size,
		.number = number,
		.version = word.version,
		.generation = word.generation,
		.expires = word.expires,
	};
}

/* ---- making one ---- */

struct index_records cache_index_records(const struct cache *cache)
{
	return (struct index_records){.first = object_records_at(cache->objects),
				      .stride = sizeof(struct object_record)};
}

static void capacity_set(struct cache *cache, uint64_t capacity)
{
	cache->capacity = capacity;
	cache->stamp_shift = OBJECT_GRAIN_SHIFT;
	while (capacity / CACHE_STAMPS >> cache->stamp_shift > 1)
		cache->stamp_shift++;
}

static uint32_t unit_shift_for(uint64_t capacity)
{
	uint32_t shift = OBJECT_GRAIN_SHIFT;

	while (capacity >> shift > POLICY_SIZE_MAX)
		shift++;
	return shift;
}

int cache_make(struct cache **ret, const struct cache_config *config, uint32_t numbers)
{
	const struct policy *policy = policy_at(config->policy);
	_cleanup_(cache_freep) struct cache *cache = NULL;
	struct policy_config policies = {.look = look};
	int r;

	if (!policy || !(config->capacity >> OBJECT_GRAIN_SHIFT) || !config->slots ||
	    config->slots > INDEX_NUMBERS)
		return -EINVAL;
	cache = calloc(1, sizeof(*cache));
	if (!cache)
		return -ENOMEM;
	capacity_set(cache, config->capacity);
	cache->policy = config->policy;
	cache->unit_shift = unit_shift_for(config->capacity);
	cache->objects = config->objects;
	cache->slots = config->slots;
	numbers_init(&cache->numbers);
	r = segments_init(&cache->segments);
	if (!r)
		r = numbers_grow(&cache->numbers, numbers);
	if (r)
		return r;
	policies.host = cache;
	policies.capacity = cache->capacity >> cache->unit_shift;
	policies.objects = numbers;
	r = eviction_init(&cache->eviction, policy, &policies);
	if (r) {
		cache->eviction.policy = NULL;
		return r;
	}
	*ret = TAKE_PTR(cache);
	return 0;
}

int cache_new(struct cache **ret, const struct cache_config *config)
{
	struct cache *cache;
	int r;

	r = cache_make(&cache, config, (uint32_t)u64_min(config->slots, CACHE_NUMBERS));
	if (r)
		return r;
	index_init(&cache->index, config->index, cache_index_records(cache));
	hints_set(cache);
	*ret = cache;
	return 0;
}

void cache_free(struct cache *cache)
{
	if (!cache)
		return;
	if (cache->eviction.policy)
		eviction_deinit(&cache->eviction);
	wheel_deinit(&cache->wheel);
	segments_deinit(&cache->segments);
	numbers_deinit(&cache->numbers);
	free(cache);
}

/* ---- memory ---- */

static uint32_t lessee_of(uint32_t session)
{
	return session == CACHE_CLEANER ? LESSEE_CLEANER : session + 1;
}

int cache_segment(struct cache *cache, uint32_t session, uint64_t base, uint64_t size, bool own)
{
	uint32_t id;
	int r;

	if (session == CACHE_CLEANER && size < OBJECT_OWN)
		return -EINVAL;
	r = segments_add(&cache->segments, base, size, own, lessee_of(session), &id);
	if (r)
		return r == SEGMENT_E_TAKEN ? CACHE_E_TAKEN : r;
	if (session == CACHE_CLEANER) {
		if (cache->clean_to)
			segment_seal(&cache->segments, &cache->numbers, cache->clean_to,
				     cache->clock, cache->scans);
		cache->clean_to = id;
		cache->clean_at = cache->segments.at[id].filled;
	}
	return 0;
}

int cache_seal(struct cache *cache, uint32_t session, uint64_t offset)
{
	uint32_t id = segments_find(&cache->segments, offset);

	if (id == SEGMENT_NONE || cache->segments.at[id].lessee != lessee_of(session))
		return CACHE_E_PLACE;
	segment_seal(&cache->segments, &cache->numbers, id, cache->clock, cache->scans);
	return 0;
}

void cache_session_end(struct cache *cache, uint32_t session)
{
	uint32_t id = cache->segments.lists[SEGMENT_LEASED].first, after;

	for (; id; id = after) {
		after = cache->segments.at[id].after;
		if (cache->segments.at[id].lessee == lessee_of(session))
			segment_seal(&cache->segments, &cache->numbers, id, cache->clock,
				     cache->scans);
	}
}

void cache_clock_set(struct cache *cache, uint64_t clock)
{
	index_clock_set(&cache->index, clock);
}

void cache_ttl_set(struct cache *cache, uint64_t ttl)
{
	index_ttl_set(&cache->index, ttl);
}

/* ---- objects ---- */

static void number_fetch(const struct cache *cache, uint32_t number)
{
	__builtin_prefetch(&cache_record(cache, number)->hash, 1);
	__builtin_prefetch(&cache_record(cache, number)->word, 1);
	eviction_fetch_number(&cache->eviction, number);
}

/* Their lines, each behind those that tell where it is. */
void cache_fetch(const struct cache *cache, const uint64_t *hashes, uint32_t n)
{
	uint32_t numbers[CACHE_FETCHED], found = 0, next = numbers_peek(&cache->numbers);

	assert(n <= CACHE_FETCHED);
	for (uint32_t i = 0; i < n; i++) {
		index_fetch(&cache->index, hashes[i]);
		eviction_fetch(&cache->eviction, hashes[i]);
	}
	/* What objects will be there under these, */
	for (uint32_t i = 0; i < n; i++, next = numbers_behind(&cache->numbers, next))
		number_fetch(cache, next);
	/* and which are. */
	for (uint32_t i = 0; i < n; i++) {
		uint32_t number = index_guess(&cache->index, hashes[i]);

		if (number == INDEX_NONE)
			continue;
		number_fetch(cache, number);
		numbers[found++] = number;
	}
	for (uint32_t i = 0; i < found; i++)
		eviction_fetch_beside(&cache->eviction, numbers[i]);
}

bool cache_is_full(const struct cache *cache, uint64_t size)
{
	return cache->segments.live + object_size_rounded(size) > cache->capacity;
}

/* CA3. */
static int place_check(const struct cache *cache, const struct cache_publish *publish,
		       uint64_t size, uint32_t *ret)
{
	uint32_t id = segments_find(&cache->segments, publish->offset);
	const struct segment *segment = &cache->segments.at[id];
	uint64_t at;

	if (publish->offset & ((1 << OBJECT_SHIFT) - 1) || id == SEGMENT_NONE ||
	    (segment->lessee != publish->session + 1))
		return CACHE_E_PLACE;
	at = publish->offset - segment->base;
	if ((at < segment->filled && !mutant(cache_place_again)) || size > segment->size - at ||
	    (segment->own && segment->objects))
		return CACHE_E_PLACE;
	*ret = id;
	return 0;
}

static int publish_check(const struct cache *cache, const struct cache_publish *publish,
			 uint32_t *ret_segment)
{
	uint64_t size = object_size_rounded(publish->size);
	int r;

	if (publish->size <= sizeof(struct object_header))
		return CACHE_E_SIZE;
	if (!size || size > cache->capacity)
		return CACHE_E_TOO_LARGE;
	if (!publish->born || publish->born > OBJECT_GENERATION_MAX)
		return CACHE_E_GENERATION;
	r = place_check(cache, publish, size, ret_segment);
	if (!r && size > OBJECT_OWN && !cache->segments.at[*ret_segment].own)
		return CACHE_E_SIZE;
	return r;
}

static int mode_check(const struct cache *cache, const struct cache_publish *publish,
		      uint32_t there)
{
	if (publish->mode == LANE_ADD && there != NUMBER_NONE)
		return CACHE_E_EXISTS;
	if (publish->mode == LANE_REPLACE && there == NUMBER_NONE)
		return CACHE_E_ABSENT;
	if (publish->mode == LANE_REPLACE && publish->generation &&
	    publish->generation !=
		    object_word_unpack(cache_record(cache, there)->word).generation)
		return CACHE_E_CHANGED;
	return 0;
}

/* What has expired for readers is there for nobody: before anyone is told what is, it goes. */
static int overdue_go(struct cache *cache, uint64_t now)
{
	return mutant(cache_overdue_stays) ? 0 : cache_expire(cache, now, CACHE_CUT);
}

static uint32_t number_at(struct cache *cache, uint64_t hash, struct index_at *ret)
{
	return index_find(&cache->index, hash, ret) ? ret->number : NUMBER_NONE;
}

/* A slot for a new key, where all that is to move has moved; or another index first. */
static int slot_check(struct cache *cache, uint64_t hash)
{
	if (index_has_room(&cache->index, hash) || mutant(cache_crowds))
		return 0;
	if (!cache->index.next.head || index_next_done(&cache->index))
		return CACHE_E_INDEX;
	cache_index_move(cache, CACHE_GROUPS);
	return CACHE_MORE;
}

/*
 * What has to go before the object fits, but for what it replaces; with some more, so that it is
 * seldom. The entry that is there then, if any.
 */
static int make_room(struct cache *cache, uint64_t hash, uint64_t size, struct index_at *ret_at,
		     uint32_t *there)
{
	uint64_t objects = index_count(&cache->index), allowed;
	uint32_t batch = (uint32_t)u64_max(u64_min(objects / 128, CACHE_BATCH), 1);

	for (uint32_t n = 0;;) {
		allowed = cache->capacity - size;
		if (*there != NUMBER_NONE)
			allowed += object_place_unpack(cache_record(cache, *there)->place).size;
		if (cache->segments.live <= allowed)
			return 0;
		if (n >= CACHE_CUT)
			return CACHE_MORE;
		evict_batch(cache, allowed, batch, CACHE_EVICTED, &n);
		*there = number_at(cache, hash, ret_at);
	}
}

/* Behind the ledger: an entry for a new key. What stands in its way, if it may, goes. */
static void index_add(struct cache *cache, uint64_t hash, uint32_t number, uint64_t offset)
{
	while (index_insert(&cache->index, hash, number, offset, cache_hint(cache, false))) {
		uint32_t rival = index_rival(&cache->index, hash);

		policy_forget(cache, rival, true);
		object_go(cache, rival, NULL, CACHE_CROWDED);
	}
}

void policy_add(struct cache *cache, uint32_t number)
{
	struct policy_object object = cache_policy_object(cache, number);

	eviction_admit(&cache->eviction, &object);
	eviction_insert(&cache->eviction, &object);
}

/* To policies another value of a key is an access to it. */
static void policy_replace(struct cache *cache, uint32_t there, uint32_t number)
{
	struct policy_object from = cache_policy_object(cache, there);
	struct policy_object to = cache_policy_object(cache, number);

	eviction_rename(&cache->eviction, &from, &to);
	eviction_access(&cache->eviction, &to);
}

bool expiry_set(struct cache *cache, uint32_t number, uint64_t expiry)
{
	if (!cache->wheel.nodes)
		return false;
	if (expiry)
		wheel_set(&cache->wheel, number, expiry);
	else
		wheel_remove(&cache->wheel, number);
	return wheel_has(&cache->wheel, number) || (expiry && mutant(expiry_out_of_reach));
}

static void publish_at(struct cache *cache, const struct cache_publish *publish,
		       uint32_t segment, uint32_t there, const struct index_at *at,
		       struct cache_object *ret)
{
	uint32_t number = numbers_take(&cache->numbers);
	uint64_t size = object_size_rounded(publish->size);
	struct object_word word = {
		.stamp = cache_stamp(cache),
		.generation = publish->born,
		.expires = expiry_set(cache, number, publish->expiry),
	};

	if (there != NUMBER_NONE)
		word.version =
			(object_word_unpack(cache_record(cache, there)->word).version + 1) &
			0xffff;
	if (mutant(cache_cleared_first) && there != NUMBER_NONE)
		object_record_clear(cache->objects, there);
	if (mutant(cache_shown_first) && there != NUMBER_NONE)
		index_replace(&cache->index, at, number, publish->offset, 0);
	object_record_put(cache->objects, number, publish->hash,
			  (struct object_place){publish->offset, size}, word);
	segment_put(&cache->segments, &cache->numbers, segment, publish->offset, size, number);
	if (there == NUMBER_NONE) {
		index_add(cache, publish->hash, number, publish->offset);
		policy_add(cache, number);
	} else {
		index_replace(&cache->index, at, number, publish->offset,
			      cache_hint(cache, false));
		policy_replace(cache, there, number);
		object_left(cache, there, CACHE_REPLACED);
	}
	if (cache->segments.at[segment].own)
		segment_seal(&cache->segments, &cache->numbers, segment, cache->clock,
			     cache->scans);
	cache->clock += size;
	cache->published++;
	cache->published_bytes += size;
	cache_object_of(cache, number, ret);
	ret->sealed = cache->segments.at[segment].own;
	if (cache->index.next.head)
		cache_index_move(cache, 1);
}

static int wheel_check_made(struct cache *cache, uint64_t expiry)
{
	if (!expiry || cache->wheel.nodes)
		return 0;
	cache->wheel_wanted = true;
	return CACHE_E_TEND;
}

int cache_publish(struct cache *cache, const struct cache_publish *publish,
		  struct cache_object *ret)
{
	struct index_at at;
	uint32_t segment, there;
	int r;

	r = publish_check(cache, publish, &segment);
	if (!r)
		r = overdue_go(cache, publish->now);
	if (r)
		return r;
	there = number_at(cache, publish->hash, &at);
	r = mode_check(cache, publish, there);
	if (r) {
		if (there != NUMBER_NONE)
			cache_object_of(cache, there, ret);
		return r;
	}
	r = wheel_check_made(cache, publish->expiry);
	if (!r && !numbers_left(&cache->numbers))
		r = CACHE_E_TEND;
	if (!r && there == NUMBER_NONE && !publish->crowds)
		r = slot_check(cache, publish->hash);
	if (!r)
		r = make_room(cache, publish->hash, object_size_rounded(publish->size), &at,
			      &there);
	if (r)
		return r;
	publish_at(cache, publish, segment, there, &at, ret);
	return 0;
}

int cache_find(struct cache *cache, uint64_t hash, struct cache_object *ret)
{
	struct index_at at;

	if (!index_find(&cache->index, hash, &at))
		return CACHE_E_ABSENT;
	cache_object_of(cache, at.number, ret);
	return 0;
}

int cache_walk(const struct cache *cache, struct index_place *place,
	       struct cache_object ret[static INDEX_LISTED], uint32_t *ret_n)
{
	uint32_t numbers[INDEX_LISTED];
	bool more = index_list(&cache->index, place, numbers, ret_n);

	for (uint32_t i = 0; i < *ret_n; i++)
		cache_object_of(cache, numbers[i], &ret[i]);
	return more ? CACHE_MORE : 0;
}

int cache_delete(struct cache *cache, uint64_t hash, uint32_t generation, uint64_t now)
{
	struct index_at at;

	if (overdue_go(cache, now))
		return CACHE_MORE;
	if (!index_find(&cache->index, hash, &at))
		return CACHE_E_ABSENT;
	if (generation &&
	    generation != object_word_unpack(cache_record(cache, at.number)->word).generation)
		return CACHE_E_CHANGED;
	policy_forget(cache, at.number, false);
	object_go(cache, at.number, &at, CACHE_DELETED);
	return 0;
}

static void accessed(struct cache *cache, const struct index_at *at)
{
	struct policy_object object = cache_policy_object(cache, at->number);
	struct object_word word = object_word_unpack(cache_record(cache, at->number)->word);

	eviction_access(&cache->eviction, &object);
	hot_note(&cache->hot, object.hash, 1);
	if (cache->hints == HINTS_FRESH)
		index_hint(&cache->index, at, cache_hint(cache, true));
	if (word.stamp != cache_stamp(cache)) {
		word.stamp = cache_stamp(cache);
		object_record_word(cache->objects, at->number, word);
	}
}

int cache_touch(struct cache *cache, uint64_t hash, uint64_t expiry, uint64_t now,
		struct cache_object *ret)
{
	struct object_word word;
	struct index_at at;
	int r;

	if (overdue_go(cache, now))
		return CACHE_MORE;
	if (!index_find(&cache->index, hash, &at))
		return CACHE_E_ABSENT;
	r = wheel_check_made(cache, expiry);
	if (r)
		return r;
	cache->untold -= object_is_untold(cache, at.number);
	word = object_word_unpack(cache_record(cache, at.number)->word);
	word.version = (word.version + 1) & 0xffff;
	if (mutant(cache_touched_twice))
		object_record_word(cache->objects, at.number, word);
	word.expires = expiry_set(cache, at.number, expiry);
	object_record_word(cache->objects, at.number, word);
	accessed(cache, &at);
	cache_object_of(cache, at.number, ret);
	return 0;
}

int cache_use(struct cache *cache, uint64_t hash, uint64_t now, struct cache_object *ret)
{
	struct index_at at;

	if (overdue_go(cache, now))
		return CACHE_MORE;
	if (!index_find(&cache->index, hash, &at))
		return CACHE_E_ABSENT;
	accessed(cache, &at);
	cache_object_of(cache, at.number, ret);
	return 0;
}

bool cache_access(struct cache *cache, uint64_t noted)
{
	struct lane_access access = lane_access_unpack(noted);
	struct index_at at;

	if (!index_noted(&cache->index, access.bucket, access.slot, access.tag, &at))
		return false;
	accessed(cache, &at);
	return true;
}

void cache_access_fetch(const struct cache *cache, uint64_t noted)
{
	struct lane_access access = lane_access_unpack(noted);

	index_noted_fetch(&cache->index, access.bucket, access.slot);
}

void cache_access_guess(const struct cache *cache, uint64_t noted)
{
	struct lane_access access = lane_access_unpack(noted);
	uint32_t number = index_noted_guess(&cache->index, access.bucket, access.slot);

	if (number != INDEX_NONE)
		number_fetch(cache, number);
}

void cache_count(struct cache *cache, uint64_t hits, uint64_t misses)
{
	cache->hits += hits;
	cache->misses += misses;
}

/* ---- view ---- */

struct cache_view cache_view(const struct cache *cache)
{
	const struct segments *segments = &cache->segments;
	const struct policy *policy = cache->eviction.policy;
	uint64_t each = sizeof(uint32_t) + policy->state + policy->memory;
	struct cache_view view = {
		.capacity = cache->capacity,
		.policy = cache->policy,
		.objects = index_count(&cache->index),
		.live = segments->live,
		.held = segments->held,
		.limbo = segments->limbo,
		.pinned = cache->scanned == cache->scans ? cache->pinned : cache->pinned_before,
		.unfilled = segments->room_left,
		.published = cache->published,
		.published_bytes = cache->published_bytes,
		.hits = cache->hits,
		.misses = cache->misses,
		.moved = cache->moved,
		.moved_bytes = cache->moved_bytes,
	};

	if (cache->wheel.nodes)
		each += sizeof(struct wheel_node);
	view.dead = view.held - view.live - view.limbo - view.unfilled;
	view.memory = cache->numbers.room * each + segments->room * sizeof(struct segment) +
		      sizeof(*cache);
	memcpy(view.gone, cache->gone, sizeof(view.gone));
	memcpy(view.gone_bytes, cache->gone_bytes, sizeof(view.gone_bytes));
	return view;
}

uint32_t cache_hottest(const struct cache *cache, struct hot_key *ret, uint32_t max)
{
	return hot_list(&cache->hot, ret, max);
}
