/*
 * What a daemon that died has left: records tell all; the index is compared with them in place, while
 * readers go on; all else is made anew. Every store on the way leaves what can be recovered again.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/cache/cache.h"
#include "daemon/core/cache/state.h"

enum {
	AHEAD = 16, /* records, whose buckets are fetched */
	ROOM_LEAST = 1024,
	STAMPS = 1 << 16,
	LOOKS = 4096, /* at records, by one call */
};

/* ---- records ---- */

/* Where it says, memory of the cache's is. */
static bool record_is_sound(const struct cache *cache, const struct object_record *record)
{
	struct object_place place = object_place_unpack(record->place);
	uint32_t id = segments_find(&cache->segments, place.offset);
	const struct segment *segment = &cache->segments.at[id];

	if (object_word_pack(object_word_unpack(record->word)) != record->word ||
	    object_place_pack(place) != record->place || !place.size || id == SEGMENT_NONE)
		return false;
	return place.size <= segment->size - (place.offset - segment->base);
}

static void records_sift(struct cache *cache)
{
	for (uint32_t i = 0; i < cache->numbers.used; i++)
		if (cache_has(cache, i) && !record_is_sound(cache, cache_record(cache, i)))
			object_record_clear(cache->objects, i);
}

static uint32_t records_used(const struct cache_config *config)
{
	const struct object_record *records = object_records_at(config->objects);
	uint32_t used = config->slots;

	while (used && !records[used - 1].word)
		used--;
	return used;
}

/* ---- index ---- */

static uint64_t offset_of(const struct cache *cache, uint32_t number)
{
	return object_place_unpack(cache_record(cache, number)->place).offset;
}

static uint32_t version_of(const struct cache *cache, uint32_t number)
{
	return object_word_unpack(cache_record(cache, number)->word).version;
}

/* Two records of one hash: one was to replace the other. */
static void settle(struct cache *cache, const struct index_at *at, uint32_t number)
{
	uint32_t there = at->number;
	bool later = object_version_later(version_of(cache, number), version_of(cache, there));

	if (mutant(recover_earlier))
		later = !later;
	if (!later) {
		object_record_clear(cache->objects, number);
		return;
	}
	index_replace(&cache->index, at, number, offset_of(cache, number), 0);
	object_record_clear(cache->objects, there);
}

/* False: there is no slot for it, and none goes for it yet. */
static bool index_insert_found(struct cache *cache, uint32_t number, bool crowds)
{
	uint64_t hash = cache_record(cache, number)->hash;
	struct index_at at;

	if (index_find(&cache->index, hash, &at)) {
		settle(cache, &at, number);
		return true;
	}
	while (index_insert(&cache->index, hash, number, offset_of(cache, number), 0)) {
		uint32_t rival;
		bool there;

		if (!crowds)
			return false;
		rival = index_rival(&cache->index, hash);
		there = index_find(&cache->index, cache_record(cache, rival)->hash, &at);
		assert(there && at.number == rival);
		object_record_clear(cache->objects, rival);
		index_remove(&cache->index, &at);
		cache->gone[CACHE_CROWDED]++;
	}
	return true;
}

static bool index_compare(struct cache *cache, const struct cache_config *config,
			  struct index_table next)
{
	struct chain waiting, late;

	chain_init(&waiting);
	chain_init(&late);
	if (!index_recover(&cache->index, config->index, next, cache_index_records(cache)))
		return false;
	for (uint32_t i = 0; i < cache->numbers.used; i++) {
		const struct object_record *record = cache_record(cache, i);

		if (i + AHEAD < cache->numbers.used)
			index_keep_fetch(&cache->index, cache_record(cache, i + AHEAD)->hash);
		if (record->word &&
		    !index_keep(&cache->index, record->hash, i, offset_of(cache, i)))
			numbers_push(&cache->numbers, &waiting, i);
	}
	/* What was about to move is found where it is, before it is not where it was. */
	while (waiting.count) {
		uint32_t number = numbers_pop(&cache->numbers, &waiting);

		if (!index_insert_found(cache, number, false))
			numbers_push(&cache->numbers, &late, number);
	}
	if (!mutant(recover_unpruned))
		index_prune(&cache->index);
	while (late.count)
		index_insert_found(cache, numbers_pop(&cache->numbers, &late), true);
	return true;
}

/* ---- all else ---- */

static int segments_find_all(struct cache *cache, const struct cache_found *found, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t lessee = found[i].session == CACHE_CLEANER ? LESSEE_CLEANER
								    : found[i].session + 1;
		uint32_t id;
		int r = segments_add(&cache->segments, found[i].base, found[i].size,
				     found[i].own, lessee, &id);

		if (r)
			return r == SEGMENT_E_TAKEN ? CACHE_E_TAKEN : r;
	}
	return 0;
}

static void objects_place(struct cache *cache)
{
	for (uint32_t i = cache->numbers.used; i-- > 0;) {
		struct object_place place = object_place_unpack(cache_record(cache, i)->place);

		if (cache_has(cache, i))
			segment_found(&cache->segments, &cache->numbers,
				      segments_find(&cache->segments, place.offset),
				      place.offset, place.size, i);
		else
			numbers_push(&cache->numbers, &cache->numbers.free, i);
	}
}

/* Nothing but the one object is put into an extent of its own. */
static void segments_settle(struct cache *cache)
{
	struct segments *segments = &cache->segments;

	for (uint32_t id = 1; id < segments->n; id++) {
		struct segment *segment = &segments->at[id];

		segment->vague = true;
		if (segment->lessee == LESSEE_CLEANER || (segment->own && segment->objects))
			segment_seal(segments, &cache->numbers, id, cache->clock, cache->scans);
	}
	cache->clean_to = SEGMENT_NONE;
}

/* Stamps go round: the newest is the one before the longest time without any. */
static uint32_t newest(const uint32_t *counts)
{
	uint32_t best = 0, longest = 0, gap = 0;

	for (uint32_t i = 0; i < 2 * STAMPS; i++) {
		gap = counts[i % STAMPS] ? 0 : gap + 1;
		if (gap > longest) {
			longest = gap;
			best = i - gap;
		}
	}
	return best % STAMPS;
}

static uint32_t stamp_of(const struct cache *cache, uint32_t number)
{
	return object_word_unpack(cache_record(cache, number)->word).stamp;
}

/* Those that were not accessed for the longest time come first. */
static int policy_fill(struct cache *cache)
{
	_cleanup_(freep) uint32_t *counts = calloc(STAMPS + 1, sizeof(*counts));
	_cleanup_(freep) uint32_t *order =
		malloc(((size_t)cache->numbers.used + 1) * sizeof(*order));
	uint32_t latest, n = 0;

	if (!counts || !order)
		return -ENOMEM;
	for (uint32_t i = 0; i < cache->numbers.used; i++)
		if (cache_has(cache, i))
			counts[stamp_of(cache, i)]++;
	latest = newest(counts);
	cache->clock = (uint64_t)latest << cache->stamp_shift;
	/* Where those of each stamp begin, the oldest being the one behind the latest. */
	for (uint32_t i = 1; i <= STAMPS; i++) {
		uint32_t *count = &counts[(latest + i) % STAMPS], has = *count;

		*count = n;
		n += has;
	}
	for (uint32_t i = 0; i < cache->numbers.used; i++)
		if (cache_has(cache, i))
			order[counts[stamp_of(cache, i)]++] = i;
	for (uint32_t i = 0; i < n; i++)
		policy_add(cache, order[i]);
	return 0;
}

static int wheel_make(struct cache *cache, uint64_t now)
{
	int r;

	for (uint32_t i = 0; i < cache->numbers.used; i++)
		cache->untold += cache_has(cache, i) &&
				 object_word_unpack(cache_record(cache, i)->word).expires;
	if (!cache->untold)
		return 0;
	cache->wheel_wanted = true;
	r = wheel_init(&cache->wheel, now, CACHE_TICK, cache->numbers.room);
	if (r)
		cache->wheel = (struct wheel){};
	return r;
}

int cache_recover(struct cache **ret, const struct cache_config *config,
		  struct index_table next, const struct cache_found *segments,
		  uint32_t n_segments)
{
	_cleanup_(cache_freep) struct cache *cache = NULL;
	uint32_t used = records_used(config);
	int r;

	r = cache_make(&cache, config,
		       (uint32_t)u64_min(config->slots, u64_max(used, ROOM_LEAST)));
	if (r)
		return r;
	cache->numbers.used = used;
	r = segments_find_all(cache, segments, n_segments);
	if (r)
		return r;
	records_sift(cache);
	if (!index_compare(cache, config, next))
		return CACHE_E_INDEX;
	objects_place(cache);
	r = policy_fill(cache);
	if (!r)
		r = wheel_make(cache, config->now);
	if (r)
		return r;
	segments_settle(cache);
	cache->epoch = atomic_load(&config->index.head->epoch);
	hints_set(cache);
	*ret = TAKE_PTR(cache);
	return 0;
}

/* ---- when they expire ---- */

int cache_untold(const struct cache *cache, uint32_t *cursor,
		 struct cache_object ret[static CACHE_UNTOLD], uint32_t *ret_n)
{
	uint32_t end = (uint32_t)u64_min(cache->numbers.used, (uint64_t)*cursor + LOOKS), n = 0;

	for (; cache->untold && *cursor < end && n < CACHE_UNTOLD; ++*cursor)
		if (object_is_untold(cache, *cursor))
			cache_object_of(cache, *cursor, &ret[n++]);
	*ret_n = n;
	return cache->untold && *cursor < cache->numbers.used ? CACHE_MORE : 0;
}

void cache_tell(struct cache *cache, const struct cache_object *object, uint64_t expiry)
{
	struct object_word word;

	if (object->number >= cache->numbers.used || !object_is_untold(cache, object->number))
		return;
	word = object_word_unpack(cache_record(cache, object->number)->word);
	if (cache_record(cache, object->number)->hash != object->hash ||
	    word.version != object->version)
		return;
	cache->untold--;
	if (expiry_set(cache, object->number, expiry))
		return;
	word.expires = false;
	object_record_word(cache->objects, object->number, word);
}
