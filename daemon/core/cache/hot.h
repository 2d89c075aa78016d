/*
 * Hot - which keys are accessed most, of late.
 *
 * HO1  Constant memory: HOT_KEYS counters, whatever is noted; a note looks at one cache line or two.
 * HO2  A key that makes up more than 1 / HOT_WAYS of what is noted in its set has a counter there
 *      (Metwally's space saving): its count is too high by `over` at most, and never too low.
 * HO3  Counts are halved every HOT_HALF notes: what was hot long ago makes room.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

enum { HOT_SETS = 32, HOT_WAYS = 8, HOT_KEYS = HOT_SETS * HOT_WAYS, HOT_HALF = 1 << 20 };

struct hot_key {
	uint64_t hash;
	uint32_t count, over;
};

struct hot {
	struct hot_key keys[HOT_SETS][HOT_WAYS];
	uint32_t noted;
};

/* Zeroed is empty. */
void hot_note(struct hot *hot, uint64_t hash, uint32_t times);
/* The `max` hottest, the hottest first. How many. */
uint32_t hot_list(const struct hot *hot, struct hot_key *ret, uint32_t max);
