/*
 * Range - slices in a row that would be free if what lives there went: memory for one large object.
 *
 * RA1  In a range is what the cache has sealed, and nobody pins as of the latest scan, nor the cleaner
 *      moves; and slices that the shell says are free. Of all ranges in the windows it is shown,
 *      that is chosen in which the fewest bytes live.
 * RA2  Nothing goes before one is found. What changes while it is looked for costs quality alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/cache/cache.h"

struct range_end {
	uint32_t at, own; /* slice; segment of one object that it may be in, or SEGMENT_NONE */
};

struct range {
	uint32_t slices; /* that are wanted */
	uint32_t window; /* that is looked at, by its number */
	struct range_end from, to;
	int64_t live; /* bytes, about, in [from, to) */
	bool found;
	uint64_t base; /* of the best one */
	int64_t best;  /* what lives there */
};

/* The next slices of its window, from range->to.at on: whether each is free. Bounded by `n`. */
void cache_range_look(const struct cache *cache, struct range *range, const bool *free,
		      uint32_t n);
/* From the first slice of another window on. */
void cache_range_window(struct range *range, uint32_t window);
/* All goes that lives in the range that was found. CACHE_MORE. */
int cache_range_drop(struct cache *cache, struct range *range);
