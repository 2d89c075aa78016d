/* Walks what a cache is made of, and compares all of it with its records. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/cache/cache.h"
#include "daemon/core/cache/state.h"

static bool policy_has(const struct cache *cache, uint32_t number)
{
	const struct eviction *eviction = &cache->eviction;

	return eviction->policy->has(eviction->state, number) ||
	       (eviction->former && eviction->former->has(eviction->former_state, number));
}

static const char *object_check(const struct cache *cache, uint32_t number)
{
	const struct object_record *record = cache_record(cache, number);
	struct object_place place = object_place_unpack(record->place);
	struct object_word word = object_word_unpack(record->word);
	struct index index = cache->index; /* finding changes nothing */
	uint32_t id = segments_find(&cache->segments, place.offset);
	const struct segment *segment = &cache->segments.at[id];
	struct index_at at;

	if (object_word_pack(word) != record->word || object_place_pack(place) != record->place)
		return "OR2: a record has bits that no record has";
	if (!index_find(&index, record->hash, &at) || at.number != number)
		return "CA1: an object is not what the index finds under its hash";
	if (index_entry_at(&at).offset != place.offset)
		return "CA1: an object's entry leads elsewhere";
	if (cache->hints == HINTS_ALL && index_entry_at(&at).hint == (cache->epoch & 15))
		return "an access that matters would not be noted";
	if (id == SEGMENT_NONE || place.offset - segment->base + place.size > segment->filled)
		return "CA1: an object lies where no segment is filled";
	if (!policy_has(cache, number))
		return "CA1: an object is with no policy";
	if (cache->wheel.nodes && wheel_has(&cache->wheel, number) && !word.expires)
		return "CA1: an object is with the wheel that does not expire";
	return NULL;
}

/* NU1: once, for each number of the chain. */
static bool chain_walk(const struct numbers *numbers, const struct chain *chain, uint8_t *seen)
{
	uint32_t number = chain->front;

	for (uint32_t i = 0; i < chain->count; i++) {
		if (number >= numbers->used || seen[number])
			return false;
		seen[number] = 1;
		if (i == chain->count - 1 && number != chain->back)
			return false;
		number = numbers->next[number];
	}
	return chain->count || chain->front == NUMBER_NONE;
}

struct sums {
	uint64_t live, objects;
};

static const char *chain_check(const struct cache *cache, uint32_t id, uint8_t *seen,
			       struct sums *sums)
{
	const struct segment *segment = &cache->segments.at[id];
	uint32_t number = segment->chain.front;

	if (!chain_walk(&cache->numbers, &segment->chain, seen))
		return "NU1: a segment's chain does not hold together";
	for (uint32_t i = 0; i < segment->chain.count; i++) {
		struct object_place place =
			object_place_unpack(cache_record(cache, number)->place);

		if (cache_has(cache, number)) {
			if (segments_find(&cache->segments, place.offset) != id)
				return "NU1: an object is in another segment's chain";
			sums->live += place.size;
			sums->objects++;
		}
		number = cache->numbers.next[number];
	}
	return NULL;
}

/* CL1: what a step has is in no chain, and of one segment. */
static const char *step_check(const struct cache *cache, const uint8_t *seen, struct sums *sums)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < cache->numbers.used; i++) {
		struct object_place place = object_place_unpack(cache_record(cache, i)->place);

		if (seen[i])
			continue;
		n++;
		if (!cache_has(cache, i))
			continue;
		if (segments_find(&cache->segments, place.offset) != cache->step_from)
			return "CL1: a step has an object of another segment";
		sums->live += place.size;
		sums->objects++;
	}
	return n == cache->step_n ? NULL : "NU1: a number is in no chain";
}

static const char *chains_check(const struct cache *cache, uint8_t *seen)
{
	struct sums step = {0};
	const char *wrong = NULL;

	if (!chain_walk(&cache->numbers, &cache->numbers.free, seen))
		return "NU1: the chain of free numbers does not hold together";
	for (uint32_t i = 0; i < cache->numbers.used; i++)
		if (seen[i] && cache_has(cache, i))
			return "NU1: an object's number is free";
	for (uint32_t id = 1; id < cache->segments.n && !wrong; id++) {
		const struct segment *segment = &cache->segments.at[id];
		struct sums sums = {0};

		wrong = segment->size ? chain_check(cache, id, seen, &sums) : NULL;
		if (cache->step_n && id == cache->step_from)
			step = (struct sums){segment->live - sums.live,
					     segment->objects - sums.objects};
		else if (!wrong && segment->size &&
			 (sums.live != segment->live || sums.objects != segment->objects))
			wrong = "SG3: a segment's sums are not those of its objects";
	}
	if (!wrong) {
		struct sums sums = {0};

		wrong = step_check(cache, seen, &sums);
		if (!wrong && (sums.live != step.live || sums.objects != step.objects))
			wrong = "SG3: a segment's sums are not those of its objects";
	}
	return wrong;
}

static const char *objects_check(const struct cache *cache)
{
	uint64_t objects = 0, live = 0, indexed;
	uint32_t with_policies, with_wheel = 0, expire = 0;
	const char *wrong;

	for (uint32_t i = 0; i < cache->slots; i++) {
		const struct object_record *record = cache_record(cache, i);

		if (!record->word)
			continue;
		if (i >= cache->numbers.used)
			return "NU1: an object's number was never used";
		wrong = object_check(cache, i);
		if (wrong)
			return wrong;
		objects++;
		live += object_place_unpack(record->place).size;
		expire += object_word_unpack(record->word).expires;
	}
	if (live != cache->segments.live)
		return "CA2: the sum of live bytes is wrong";
	wrong = index_check(&cache->index, &indexed);
	if (!wrong)
		wrong = eviction_check(&cache->eviction, &with_policies);
	if (!wrong && cache->wheel.nodes)
		wrong = wheel_check(&cache->wheel, &with_wheel);
	if (wrong)
		return wrong;
	if (indexed != objects || with_policies != objects ||
	    with_wheel + cache->untold != expire)
		return "CA1: index, policies or wheel have other objects than the ledger";
	return NULL;
}

const char *cache_check(const struct cache *cache)
{
	_cleanup_(freep) uint8_t *seen = calloc(1, (size_t)cache->numbers.used + 1);
	const char *wrong;

	if (!seen)
		return "no memory to check in";
	wrong = segments_check(&cache->segments);
	if (!wrong)
		wrong = objects_check(cache);
	return wrong ? wrong : chains_check(cache, seen);
}
