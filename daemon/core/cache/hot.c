#include "daemon/core/cache/hot.h"

static void halve(struct hot *hot)
{
	for (uint32_t i = 0; i < HOT_SETS; i++)
		for (uint32_t j = 0; j < HOT_WAYS; j++) {
			hot->keys[i][j].count /= 2;
			hot->keys[i][j].over /= 2;
		}
}

void hot_note(struct hot *hot, uint64_t hash, uint32_t times)
{
	struct hot_key *set = hot->keys[hash * 0x9e3779b97f4a7c15ULL >> 59];
	struct hot_key *least = set;

	static_assert(HOT_SETS == 1 << (64 - 59), "the shift picks a set");
	hot->noted += times;
	if (hot->noted >= HOT_HALF) {
		hot->noted = 0;
		halve(hot);
	}
	for (uint32_t i = 0; i < HOT_WAYS; i++) {
		if (set[i].hash == hash && set[i].count) {
			set[i].count += times;
			return;
		}
		if (set[i].count < least->count)
			least = &set[i];
	}
	*least = (struct hot_key){
		.hash = hash, .count = least->count + times, .over = least->count};
}

uint32_t hot_list(const struct hot *hot, struct hot_key *ret, uint32_t max)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < HOT_KEYS; i++) {
		const struct hot_key *key = &hot->keys[i / HOT_WAYS][i % HOT_WAYS];
		uint32_t at = n;

		if (!key->count || !max)
			continue;
		while (at && ret[at - 1].count < key->count)
			at--;
		if (at >= max)
			continue;
		for (uint32_t j = n < max ? n : max - 1; j > at; j--)
			ret[j] = ret[j - 1];
		ret[at] = *key;
		if (n < max)
			n++;
	}
	return n;
}
