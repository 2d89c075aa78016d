/* What a cache wants done beside what it is asked: room for more objects, another index; in steps. */
#include <errno.h>

#include "base/base.h"
#include "daemon/core/cache/cache.h"
#include "daemon/core/cache/state.h"

enum {
	NUMBERS_STEP = 1 << 14, /* at most: 5 to 10 ns each, of pages that are new */
	SLOTS_FEW = 1 << 17,
	LIMBO_SHARE = 100,
	LIMBO_OWN_SHARE = 32,
	PRUNE_LOOKS = 8,
	PRUNE_SHARE = 4,  /* of a segment's numbers one in so many has to come free, */
	PRUNE_ROOM = 256, /* of all one in so many, */
	PRUNE_LEAST = CACHE_NUMBERS / 8, /* or so many */
	PRUNE_AHEAD = 32, /* records are asked for so many before they are read */
};

/* ---- objects, and their numbers ---- */

int cache_objects(struct cache *cache, struct object_records *objects, uint32_t slots)
{
	if (slots < cache->slots || slots > INDEX_NUMBERS)
		return -EINVAL;
	cache->objects = objects;
	cache->slots = slots;
	cache->index.records = cache_index_records(cache);
	return 0;
}

uint32_t cache_slots_next(const struct cache *cache)
{
	uint64_t more = cache->slots < SLOTS_FEW ? cache->slots : cache->slots / 32;

	return (uint32_t)u64_min(cache->slots + more, INDEX_NUMBERS);
}

/* So few are left that more are to be made now, beside whoever fills it. */
static bool slots_short(const struct cache *cache)
{
	const struct numbers *numbers = &cache->numbers;
	uint64_t left = cache->slots - numbers->room + (uint64_t)numbers_left(numbers);

	return left <= cache->slots / (cache->slots < SLOTS_FEW ? 16 : 64);
}

static bool numbers_short(const struct cache *cache)
{
	const struct numbers *numbers = &cache->numbers;

	return numbers_left(numbers) <
	       u64_max(u64_min(numbers->room / 256, NUMBERS_STEP / 8), CACHE_NUMBERS / 8);
}

/* The numbers last: what has them has room for them in all else. */
static int numbers_step(struct cache *cache)
{
	uint64_t step = u64_max(u64_min(cache->numbers.room / 32, NUMBERS_STEP), CACHE_NUMBERS);
	uint32_t room = (uint32_t)u64_min(cache->numbers.room + step, cache->slots);
	int r;

	if (room == cache->numbers.room) {
		cache->tend_next = cache->published + CACHE_NUMBERS;
		return numbers_left(&cache->numbers) ? 0 : CACHE_E_OBJECTS;
	}
	r = eviction_grow(&cache->eviction, room);
	if (!r && cache->wheel.nodes)
		r = wheel_grow(&cache->wheel, room);
	return r ? r : numbers_grow(&cache->numbers, room);
}

/* Of a segment, numbers of objects that are no more. */
static uint32_t dead_numbers(const struct segment *segment)
{
	return segment->cleaning ? 0 : segment->chain.count - segment->objects;
}

/* The sealed one with the largest share of them, among some of each share that lives. */
static uint32_t deadest(const struct cache *cache, uint32_t least)
{
	const struct segments *segments = &cache->segments;
	uint64_t most = 0, all = 1;
	uint32_t best = SEGMENT_NONE;

	for (uint32_t share = 0; share < SEGMENT_SHARES; share++) {
		uint32_t id = segments->lists[SEGMENT_SEALED + share].first;

		for (uint32_t i = 0; i < PRUNE_LOOKS && id; i++) {
			const struct segment *segment = &segments->at[id];
			uint64_t dead = dead_numbers(segment);

			if (dead >= least && dead * all > most * segment->chain.count) {
				most = dead;
				all = segment->chain.count;
				best = id;
			}
			id = segment->after;
		}
	}
	return best;
}

/*
 * Frees numbers of the dead of one segment; unless there is no other way, only if they are a share of
 * its numbers that is worth it: what lives there is looked at, too. What has been looked at comes
 * last: the next step goes on with the others.
 */
static bool numbers_prune(struct cache *cache, bool surely)
{
	struct numbers *numbers = &cache->numbers;
	uint32_t least =
		surely ? 1 : (uint32_t)u64_min(numbers->room / PRUNE_ROOM, PRUNE_LEAST);
	uint32_t id = deadest(cache, least), sifted[PRUNE_AHEAD];
	struct chain kept, *chain = &cache->segments.at[id].chain;

	if (!id ||
	    (!surely && dead_numbers(&cache->segments.at[id]) < chain->count / PRUNE_SHARE))
		return false;
	chain_init(&kept);
	for (uint32_t looked = 0; chain->count && looked < CACHE_SIFTED;) {
		uint32_t n = 0;

		for (; n < PRUNE_AHEAD && chain->count; n++) {
			sifted[n] = numbers_pop(numbers, chain);
			__builtin_prefetch(&cache_record(cache, sifted[n])->word);
		}
		looked += n;
		for (uint32_t i = 0; i < n; i++)
			numbers_push(numbers,
				     cache_has(cache, sifted[i]) ? &kept : &numbers->free,
				     sifted[i]);
	}
	numbers_join(numbers, &kept, chain);
	*chain = kept;
	return true;
}

int cache_tend(struct cache *cache, uint64_t now)
{
	int r;

	if (cache->wheel_wanted && !cache->wheel.nodes) {
		r = wheel_init(&cache->wheel, now, CACHE_TICK, cache->numbers.room);
		if (r) {
			cache->wheel = (struct wheel){};
			return r;
		}
	}
	if (!numbers_short(cache) || numbers_prune(cache, false))
		return 0;
	r = numbers_step(cache);
	return r && numbers_prune(cache, true) ? 0 : r;
}

/* ---- the next index ---- */

bool cache_index_wants(const struct cache *cache, struct index_layout *ret, bool *ret_seed)
{
	uint64_t live = u64_max(cache->segments.live, 1);
	unsigned __int128 objects = index_count(&cache->index);
	uint64_t expected = (uint64_t)(objects * u64_max(cache->capacity, live) / live);

	/* As many as there will be, if those to come are as large. */
	if (cache->index.next.head || !index_wants(&cache->index, expected, ret, ret_seed))
		return false;
	return ret->buckets != cache->index.now.layout.buckets ||
	       cache->published - cache->index_begun >= objects / CACHE_RESEED;
}

void cache_index_begin(struct cache *cache, struct index_table next)
{
	index_next_begin(&cache->index, next);
	cache->index_begun = cache->published;
}

void cache_index_move(struct cache *cache, uint64_t groups)
{
	uint32_t number;

	while (index_next_step(&cache->index, groups, &number)) {
		policy_forget(cache, number, true);
		object_go(cache, number, NULL, CACHE_CROWDED);
	}
}

int cache_index_step(struct cache *cache, struct index_table *ret)
{
	cache_index_move(cache, CACHE_GROUPS);
	if (!index_next_done(&cache->index))
		return CACHE_MORE;
	*ret = index_next_end(&cache->index);
	return 0;
}

/* ---- what is wanted ---- */

/*
 * A scan interrupts whoever reads, and brings back a hundredth of the capacity at least. A few large
 * objects are that much, and who puts them would be interrupted by each: of these, more.
 */
static bool limbo_suffices(const struct cache *cache)
{
	const struct segments *segments = &cache->segments;
	uint64_t all = segments->entered - cache->limbo_seen;
	uint64_t own = segments->entered_own - cache->limbo_own_seen;

	return all - own >= u64_max(cache->capacity / LIMBO_SHARE, SLICE_BYTES) ||
	       all >= u64_max(cache->capacity / LIMBO_OWN_SHARE, SLICE_BYTES);
}

uint32_t cache_wants(const struct cache *cache)
{
	const struct numbers *numbers = &cache->numbers;
	const struct segments *segments = &cache->segments;
	struct index_layout layout;
	uint32_t wants = 0;
	bool seed;

	if ((cache->wheel_wanted && !cache->wheel.nodes) ||
	    (numbers_short(cache) &&
	     (numbers->room < cache->slots || cache->published >= cache->tend_next)))
		wants |= CACHE_WANTS_TEND;
	if (slots_short(cache))
		wants |= CACHE_WANTS_OBJECTS;
	if (segments->live > cache->capacity)
		wants |= CACHE_WANTS_ROOM;
	if (limbo_suffices(cache))
		wants |= CACHE_WANTS_SCAN;
	if (segments->dead >=
	    segments->held / CACHE_DEAD_SHARE + SEGMENT_SLICES * SLICE_BYTES / 2)
		wants |= CACHE_WANTS_CLEAN;
	if (cache->index.next.head)
		wants |= CACHE_WANTS_MOVE;
	else if (cache_index_wants(cache, &layout, &seed))
		wants |= CACHE_WANTS_INDEX;
	if (cache->eviction.former)
		wants |= CACHE_WANTS_SWITCH;
	return wants;
}
