#include "daemon/core/cache/clean.h"

#include <assert.h>

#include "base/base.h"
#include "daemon/core/cache/state.h"

enum {
	CHOICE_LOOKS = 4, /* at each share's oldest */
};

/* ---- which one ---- */

uint32_t cache_pinned_slices(const struct cache *cache, const struct segment *segment)
{
	if (!cache->scanned || segment->scan != cache->scanned)
		return 0;
	return (uint32_t)__builtin_popcount(segment->pinned);
}

static uint64_t root(uint64_t of)
{
	uint64_t root = 0;

	for (uint32_t bit = 32; bit-- > 0;)
		if ((root | (uint64_t)1 << bit) <= of / (root | (uint64_t)1 << bit))
			root |= (uint64_t)1 << bit;
	return root;
}

/* CL4, times a constant. 0: not this one. */
static uint64_t worth(const struct cache *cache, const struct segment *segment)
{
	uint64_t pinned = (uint64_t)cache_pinned_slices(cache, segment) << SLICE_SHIFT;
	uint64_t dead = segment->size - segment->live;
	uint64_t age = root(cache->clock - segment->since) + 1;

	if (dead <= pinned || segment->cleaning)
		return 0;
	return (uint64_t)((unsigned __int128)(dead - pinned) * age * 1024 /
			  (segment->size + segment->live));
}

static uint32_t choose(const struct cache *cache)
{
	const struct segments *segments = &cache->segments;
	uint32_t best = SEGMENT_NONE;
	uint64_t most = 0;

	for (uint32_t share = 0; share < SEGMENT_SHARES; share++) {
		uint32_t id = segments->lists[SEGMENT_SEALED + share].first;

		for (uint32_t i = 0; i < CHOICE_LOOKS && id; i++) {
			uint64_t value = worth(cache, &segments->at[id]);

			if (value > most) {
				most = value;
				best = id;
			}
			id = segments->at[id].after;
		}
	}
	return best;
}

/* The one that it is at, while that has something to move. */
static uint32_t clean_from(struct cache *cache)
{
	uint32_t id = cache->clean_from;

	if (!id || cache->segments.at[id].list >= SEGMENT_LEASED ||
	    !cache->segments.at[id].chain.count)
		id = choose(cache);
	cache->clean_from = id;
	return id;
}

/* ---- a step ---- */

static void clean_to_seal(struct cache *cache)
{
	segment_seal(&cache->segments, &cache->numbers, cache->clean_to, cache->clock,
		     cache->scans);
	cache->clean_to = SEGMENT_NONE;
}

static void number_free(struct cache *cache, uint32_t number)
{
	numbers_push(&cache->numbers, &cache->numbers.free, number);
}

static bool step_add(struct cache *cache, struct clean_step *step, uint32_t number)
{
	const struct segment *to = &cache->segments.at[cache->clean_to];
	struct cache_object object;
	uint64_t pad = 0;

	cache_object_of(cache, number, &object);
	/* A value that begins on a cache line does so there, too, as far behind its header. */
	if (object.size >= OBJECT_ALIGNED && !mutant(clean_unaligned))
		pad = (object.offset - (to->base + cache->clean_at)) & 63;
	if (object.size + pad > to->size - cache->clean_at)
		return false;
	cache->clean_at += pad;
	step->moves[step->n++] = (struct clean_move){
		.from = object.offset,
		.to = to->base + cache->clean_at,
		.size = object.size,
		.hash = object.hash,
		.number = number,
		.version = object.version,
	};
	step->bytes += object.size;
	cache->clean_at += object.size;
	return true;
}

int cache_clean_plan(struct cache *cache, uint64_t bytes, struct clean_step *ret)
{
	uint32_t id = clean_from(cache);
	struct segment *from = &cache->segments.at[id];

	assert(!cache->step_n);
	ret->n = 0;
	ret->bytes = 0;
	if (!id)
		return CACHE_E_NOTHING;
	if (!cache->clean_to)
		return CACHE_E_SEGMENT;
	for (uint32_t looked = 0; from->chain.count && looked < CLEAN_MOVES * 4; looked++) {
		uint32_t number = from->chain.front;

		if (ret->n == CLEAN_MOVES || (ret->n && ret->bytes >= bytes))
			break;
		if (cache_has(cache, number) && !step_add(cache, ret, number)) {
			if (!ret->n)
				clean_to_seal(cache);
			break;
		}
		numbers_pop(&cache->numbers, &from->chain);
		if (!cache_has(cache, number))
			number_free(cache, number);
	}
	if (!ret->n)
		return cache->clean_to ? CACHE_MORE : CACHE_E_SEGMENT;
	from->cleaning = true;
	cache->step_n = ret->n;
	cache->step_from = id;
	return 0;
}

/* CL3. */
static void object_move(struct cache *cache, const struct clean_move *move)
{
	struct index_at at;
	bool there = index_find(&cache->index, move->hash, &at);

	assert(there && at.number == move->number);
	if (mutant(clean_shown_first))
		index_replace(&cache->index, &at, move->number, move->to, 0);
	if (!mutant(clean_index_only))
		object_record_move(cache->objects, move->number,
				   (struct object_place){move->to, move->size});
	index_replace(&cache->index, &at, move->number, move->to, index_entry_at(&at).hint);
	segment_put(&cache->segments, &cache->numbers, cache->clean_to, move->to, move->size,
		    move->number);
	segment_lose(&cache->segments, &cache->numbers, cache->step_from, move->size,
		     cache->clock, cache->scans);
	cache->moved++;
	cache->moved_bytes += move->size;
}

static void move_done(struct cache *cache, const struct clean_move *move, bool copied)
{
	struct segment *from = &cache->segments.at[cache->step_from];
	struct cache_object object;

	if (!cache_has(cache, move->number)) {
		number_free(cache, move->number);
		return;
	}
	cache_object_of(cache, move->number, &object);
	if (!copied || (object.version != move->version && !mutant(clean_changed_moved))) {
		numbers_push(&cache->numbers, &from->chain, move->number);
	} else if (move->spoiled) {
		policy_forget(cache, move->number, false);
		object_go(cache, move->number, NULL, CACHE_SPOILED);
		number_free(cache, move->number);
	} else {
		object_move(cache, move);
	}
}

void cache_clean_done(struct cache *cache, const struct clean_step *step, bool copied)
{
	assert(cache->step_n == step->n);
	for (uint32_t i = 0; i < step->n; i++)
		index_fetch(&cache->index, step->moves[i].hash);
	for (uint32_t i = 0; i < step->n; i++)
		move_done(cache, &step->moves[i], copied);
	cache->segments.at[cache->step_from].cleaning = false;
	cache->step_n = 0;
}

/* ---- without copying ---- */

static uint32_t emptiest(const struct cache *cache)
{
	const struct segments *segments = &cache->segments;

	for (uint32_t list = SEGMENT_SEALED; list <= SEGMENT_OWN; list++) {
		uint32_t id = segments->lists[list].first;

		if (list != SEGMENT_LEASED && id && !segments->at[id].cleaning)
			return id;
	}
	return SEGMENT_NONE;
}

int cache_empty(struct cache *cache, uint32_t id)
{
	struct segment *segment = &cache->segments.at[id];

	for (uint32_t n = 0; segment->objects; n++) {
		uint32_t number;

		if (n >= CACHE_CUT)
			return CACHE_MORE;
		number = numbers_pop(&cache->numbers, &segment->chain);
		if (cache_has(cache, number)) {
			policy_forget(cache, number, true);
			object_go(cache, number, NULL, CACHE_DROPPED);
		}
		number_free(cache, number);
	}
	return 0;
}

int cache_drop(struct cache *cache)
{
	uint32_t id = emptiest(cache);

	return id ? cache_empty(cache, id) : CACHE_E_NOTHING;
}
