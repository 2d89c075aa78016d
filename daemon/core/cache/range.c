#include "daemon/core/cache/range.h"

#include <string.h>

#include "base/base.h"
#include "daemon/core/cache/state.h"

static bool covers(const struct segment *segment, uint64_t offset)
{
	return offset >= segment->base && offset - segment->base < segment->size;
}

/* The segment that the slice at this end is in; of an extent of one object the first alone is known. */
static uint32_t segment_at(const struct segments *segments, uint32_t window,
			   struct range_end *end)
{
	uint64_t offset = offset_make(window, (uint64_t)end->at << SLICE_SHIFT);
	uint32_t id = segments_find(segments, offset);

	if (id != SEGMENT_NONE) {
		end->own = segments->at[id].own ? id : SEGMENT_NONE;
		return id;
	}
	if (end->own != SEGMENT_NONE && segments->at[end->own].own &&
	    covers(&segments->at[end->own], offset))
		return end->own;
	end->own = SEGMENT_NONE;
	return SEGMENT_NONE;
}

static bool may_go(const struct cache *cache, const struct segment *segment)
{
	return (segment->lessee == LESSEE_NONE || mutant(range_of_others)) &&
	       !segment->cleaning && !cache_pinned_slices(cache, segment);
}

static int64_t share_of(const struct segment *segment)
{
	return (int64_t)(segment->live / (segment->size >> SLICE_SHIFT));
}

static void step_over(const struct cache *cache, struct range *range)
{
	uint32_t id = segment_at(&cache->segments, range->window, &range->from);

	if (id != SEGMENT_NONE && !mutant(range_live_stays))
		range->live -= share_of(&cache->segments.at[id]);
	range->from.at++;
}

/* Not in the middle of one object's extent. */
static bool begins(const struct cache *cache, const struct range *range)
{
	struct range_end from = range->from;
	uint32_t id = segment_at(&cache->segments, range->window, &from);
	uint64_t offset = offset_make(range->window, (uint64_t)from.at << SLICE_SHIFT);

	return id == SEGMENT_NONE || !cache->segments.at[id].own ||
	       cache->segments.at[id].base == offset || mutant(range_begins_anywhere);
}

void cache_range_window(struct range *range, uint32_t window)
{
	range->window = window;
	range->from = range->to = (struct range_end){.own = SEGMENT_NONE};
	range->live = 0;
}

void cache_range_look(const struct cache *cache, struct range *range, const bool *free,
		      uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t id = segment_at(&cache->segments, range->window, &range->to);
		const struct segment *segment = &cache->segments.at[id];

		range->to.at++;
		if (id == SEGMENT_NONE ? !free[i] : !may_go(cache, segment)) {
			range->from = range->to;
			range->live = 0;
			continue;
		}
		if (id != SEGMENT_NONE)
			range->live += share_of(segment);
		if (range->to.at - range->from.at > range->slices)
			step_over(cache, range);
		if (range->to.at - range->from.at < range->slices || !begins(cache, range) ||
		    (range->found && range->live >= range->best))
			continue;
		range->found = true;
		range->best = range->live;
		range->base =
			offset_make(range->window, (uint64_t)range->from.at << SLICE_SHIFT);
	}
}

int cache_range_drop(struct cache *cache, struct range *range)
{
	while (range->slices) {
		uint32_t id = segments_find(&cache->segments, range->base);

		if (id != SEGMENT_NONE && may_go(cache, &cache->segments.at[id]) &&
		    cache_empty(cache, id) == CACHE_MORE)
			return CACHE_MORE;
		range->base += SLICE_BYTES;
		range->slices--;
	}
	return 0;
}
