/* Who goes: by policy, by time, by request; and which policy it is. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/cache/cache.h"
#include "daemon/core/cache/state.h"

enum { VICTIMS_AHEAD = 4 };

void policy_forget(struct cache *cache, uint32_t number, bool evicted)
{
	struct policy_object object = cache_policy_object(cache, number);

	eviction_remove(&cache->eviction, &object, evicted);
}

/* What is behind ledger and index. Its record still tells where it was. */
static void object_account(struct cache *cache, uint32_t number, enum cache_reason reason)
{
	struct object_place place = object_place_unpack(cache_record(cache, number)->place);
	uint32_t segment = segments_find(&cache->segments, place.offset);

	if (cache->wheel.nodes)
		wheel_remove(&cache->wheel, number);
	segment_lose(&cache->segments, &cache->numbers, segment, place.size, cache->clock,
		     cache->scans);
	cache->gone[reason]++;
	cache->gone_all++;
	cache->gone_bytes[reason] += place.size;
}

void object_left(struct cache *cache, uint32_t number, enum cache_reason reason)
{
	cache->untold -= object_is_untold(cache, number);
	if (!mutant(cache_replaced_kept))
		object_record_clear(cache->objects, number);
	object_account(cache, number, reason);
}

void object_go(struct cache *cache, uint32_t number, const struct index_at *at,
	       enum cache_reason reason)
{
	struct index_at found;

	if (!at) {
		bool there =
			index_find(&cache->index, cache_record(cache, number)->hash, &found);

		assert(there && found.number == number);
		at = &found;
	}
	cache->untold -= object_is_untold(cache, number);
	if (!mutant(cache_gone_late))
		object_record_clear(cache->objects, number);
	index_remove(&cache->index, at);
	if (mutant(cache_gone_late))
		object_record_clear(cache->objects, number);
	object_account(cache, number, reason);
}

uint64_t cache_gone(const struct cache *cache)
{
	return cache->gone_all;
}

/* ---- evicting ---- */

static void epoch_count(struct cache *cache, uint64_t bytes)
{
	cache->epoch_bytes += bytes;
	if (cache->hints != HINTS_FRESH || cache->epoch_bytes < cache->capacity / CACHE_EPOCHS)
		return;
	cache->epoch_bytes = 0;
	do
		cache->epoch++;
	while ((cache->epoch & 15) == 0 || (cache->epoch & 15) == 15);
	index_epoch_set(&cache->index, cache->epoch);
}

/*
 * What came together mostly goes together, and has numbers in a row: what is behind the one that
 * comes in a while is fetched.
 */
static void victims_fetch(const struct cache *cache, uint32_t victim, uint32_t before)
{
	int64_t ahead = (int64_t)victim + ((int64_t)victim - before) * VICTIMS_AHEAD;

	if (ahead >= 0 && ahead < cache->numbers.used)
		eviction_fetch(&cache->eviction, cache_record(cache, (uint32_t)ahead)->hash);
}

/* First all that policies know, then all else: what the latter needs is fetched meanwhile. */
bool evict_batch(struct cache *cache, uint64_t live, uint32_t least, enum cache_reason reason,
		 uint32_t *steps)
{
	uint32_t victims[CACHE_BATCH], n = 0;
	uint64_t left = cache->segments.live;
	bool more = false;

	while (n < CACHE_BATCH && (n < least || left > live)) {
		uint32_t victim = eviction_victim(&cache->eviction);
		struct policy_object object;

		if (victim == POLICY_NONE)
			break;
		more = victim == POLICY_MORE;
		if (more)
			break;
		object = cache_policy_object(cache, victim);
		index_fetch(&cache->index, object.hash);
		victims_fetch(cache, victim, n ? victims[n - 1] : victim);
		left -= object_place_unpack(cache_record(cache, victim)->place).size;
		eviction_remove(&cache->eviction, &object, true);
		victims[n++] = victim;
	}
	epoch_count(cache, cache->segments.live - left);
	for (uint32_t i = 0; i < n; i++)
		index_guess(&cache->index, cache_record(cache, victims[i])->hash);
	for (uint32_t i = 0; i < n; i++)
		object_go(cache, victims[i], NULL, reason);
	*steps += more ? CACHE_CUT : n;
	return n || more;
}

int cache_evict(struct cache *cache, uint64_t *bytes)
{
	for (uint32_t n = 0; *bytes;) {
		uint64_t before = cache->segments.live;

		if (n >= CACHE_CUT)
			return CACHE_MORE;
		if (!evict_batch(cache, before - u64_min(*bytes, before), 0, CACHE_DROPPED, &n))
			break;
		*bytes -= u64_min(*bytes, before - cache->segments.live);
	}
	return 0;
}

int cache_room(struct cache *cache)
{
	for (uint32_t n = 0; cache->segments.live > cache->capacity;) {
		if (n >= CACHE_CUT)
			return CACHE_MORE;
		evict_batch(cache, cache->capacity, 0, CACHE_EVICTED, &n);
	}
	return 0;
}

int cache_expire(struct cache *cache, uint64_t now, uint32_t steps)
{
	uint32_t expired[CACHE_BATCH], n;

	if (!cache->wheel.nodes)
		return 0;
	for (uint32_t done = 0; wheel_next(&cache->wheel) <= now; done += CACHE_BATCH) {
		if (done >= steps)
			return CACHE_MORE;
		n = wheel_turn(&cache->wheel, now, expired, CACHE_BATCH);
		for (uint32_t i = 0; i < n; i++)
			index_fetch(&cache->index, cache_record(cache, expired[i])->hash);
		for (uint32_t i = 0; i < n; i++) {
			policy_forget(cache, expired[i], false);
			object_go(cache, expired[i], NULL, CACHE_EXPIRED);
		}
	}
	return 0;
}

uint64_t cache_expire_next(const struct cache *cache)
{
	return cache->wheel.nodes ? wheel_next(&cache->wheel) : WHEEL_NEVER;
}

enum { ROUND_SHIFT = 32 };

/* A round later all numbers have had their turn. */
uint64_t cache_clear_begin(const struct cache *cache)
{
	return cache->clear_at + ((uint64_t)1 << ROUND_SHIFT);
}

int cache_clear(struct cache *cache, uint64_t begun)
{
	for (uint32_t n = 0; cache->clear_at < begun; n++) {
		uint32_t number = (uint32_t)cache->clear_at;

		if (n >= CACHE_CUT)
			return CACHE_MORE;
		if (number >= cache->numbers.used) {
			cache->clear_at = ((cache->clear_at >> ROUND_SHIFT) + 1) << ROUND_SHIFT;
			continue;
		}
		if (cache_has(cache, number)) {
			policy_forget(cache, number, false);
			object_go(cache, number, NULL, CACHE_CLEARED);
		}
		cache->clear_at++;
	}
	return 0;
}

/* ---- capacity, policy ---- */

int cache_resize(struct cache *cache, uint64_t capacity)
{
	if (!(capacity >> OBJECT_GRAIN_SHIFT))
		return -EINVAL;
	cache->capacity = capacity;
	eviction_resize(&cache->eviction, u64_max(capacity >> cache->unit_shift, 1));
	return 0;
}

/*
 * Epochs of which the last digit is 1 to 14 are given as hints. In the others no hint is fresh, or
 * the one that each object came with.
 */
void hints_set(struct cache *cache)
{
	static const enum hints hints[POLICIES] = {
		[POLICY_S3FIFO] = HINTS_ALL,  [POLICY_LRU] = HINTS_ALL,
		[POLICY_LFU] = HINTS_ALL,     [POLICY_FIFO] = HINTS_NONE,
		[POLICY_CLOCK] = HINTS_FRESH, [POLICY_SIEVE] = HINTS_FRESH,
		[POLICY_2Q] = HINTS_ALL,      [POLICY_WTINYLFU] = HINTS_ALL,
		[POLICY_GDSF] = HINTS_ALL,
	};
	static const uint32_t digits[] = {
		[HINTS_NONE] = 0, [HINTS_FRESH] = 1, [HINTS_ALL] = 15};

	cache->hints = hints[cache->policy];
	cache->epoch = (cache->epoch | 15) + 1 + digits[cache->hints];
	index_epoch_set(&cache->index, cache->epoch);
}

int cache_switch(struct cache *cache, uint32_t policy)
{
	const struct policy *to = policy_at(policy);
	int r;

	if (!to)
		return -EINVAL;
	r = eviction_switch(&cache->eviction, to);
	if (r)
		return r == EVICTION_E_SWITCHING ? CACHE_E_SWITCHING : r;
	cache->policy = policy;
	hints_set(cache);
	return 0;
}

bool cache_switch_step(struct cache *cache)
{
	return eviction_step(&cache->eviction, CACHE_BATCH);
}

void *cache_switch_spent(struct cache *cache, const struct policy **ret)
{
	return eviction_spent(&cache->eviction, ret);
}
