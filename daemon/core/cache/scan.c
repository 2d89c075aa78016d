/* Scans of hazard words: what may go back of what objects have left, and who pins the rest. */
#include <assert.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/cache/cache.h"
#include "daemon/core/cache/state.h"

void cache_scan_begin(struct cache *cache)
{
	cache->scans++;
	cache->limbo_seen = cache->segments.entered;
	cache->limbo_own_seen = cache->segments.entered_own;
	cache->reclaim_at = SEGMENT_NONE;
	memcpy(cache->pinners_before, cache->pinners, sizeof(cache->pinners));
	cache->n_pinners_before = cache->n_pinners;
	cache->n_pinners = 0;
	cache->pinned_before = cache->pinned;
	cache->pinned = 0;
}

static uint64_t since_of(const struct cache *cache, uint32_t session, uint64_t now)
{
	for (uint32_t i = 0; i < cache->n_pinners_before; i++)
		if (cache->pinners_before[i].session == session)
			return cache->pinners_before[i].since;
	return now;
}

static struct cache_pinner *pinner_of(struct cache *cache, uint32_t session, uint64_t now)
{
	struct cache_pinner *pinner;

	if (cache->n_pinners && cache->pinners[cache->n_pinners - 1].session == session)
		return &cache->pinners[cache->n_pinners - 1];
	if (cache->n_pinners == CACHE_PINNERS)
		return NULL;
	pinner = &cache->pinners[cache->n_pinners++];
	*pinner = (struct cache_pinner){.session = session,
					.since = since_of(cache, session, now)};
	return pinner;
}

uint64_t cache_scan_word(struct cache *cache, uint32_t session, uint64_t offset, uint64_t now)
{
	uint32_t id = segments_find(&cache->segments, offset);
	struct cache_pinner *pinner;
	uint64_t before, bytes;

	if (id == SEGMENT_NONE)
		return 0;
	before = segment_pinned(&cache->segments, id, cache->scans);
	bytes = segment_pin(&cache->segments, id, offset, session, cache->scans);
	if (cache->segments.at[id].list != SEGMENT_LIMBO || !bytes)
		return 0;
	cache->pinned += segment_pinned(&cache->segments, id, cache->scans) - before;
	pinner = pinner_of(cache, session, now);
	if (pinner)
		pinner->bytes += bytes;
	return bytes;
}

void cache_scan_end(struct cache *cache)
{
	cache->scanned = cache->scans;
	cache->reclaim_at = cache->segments.lists[SEGMENT_LIMBO].first;
}

int cache_reclaim(struct cache *cache, struct segment_run *ret, uint32_t max, uint32_t *ret_n)
{
	struct segments *segments = &cache->segments;
	uint32_t n = 0;

	for (uint32_t looked = 0; cache->reclaim_at; looked++) {
		uint32_t id = cache->reclaim_at, after = segments->at[id].after;

		if (n == max || looked == CACHE_CUT)
			break;
		while (n < max && segment_take(segments, id, cache->scanned, &ret[n]))
			n++;
		if (n < max || !segments->at[id].size)
			cache->reclaim_at = after;
		if (!segments->at[id].size && cache->clean_from == id)
			cache->clean_from = SEGMENT_NONE; /* another may get its id */
	}
	*ret_n = n;
	return cache->reclaim_at ? CACHE_MORE : 0;
}

uint32_t cache_pinners(const struct cache *cache, const struct cache_pinner **ret)
{
	bool over = cache->scanned == cache->scans;

	*ret = over ? cache->pinners : cache->pinners_before;
	return over ? cache->n_pinners : cache->n_pinners_before;
}
