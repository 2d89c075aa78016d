#include "client/ctl/sim_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/base.h"

enum { SLOTS_MIN = 16 };

static void slot_put(struct sim_index *index, uint64_t hash, uint32_t number)
{
	uint32_t i = (uint32_t)hash & index->mask;

	while (index->slots[i].at)
		i = (i + 1) & index->mask;
	index->slots[i] = (struct sim_slot){.low = (uint32_t)hash, .at = number + 1};
}

/* Twice as many slots or more, so that each finds its place again by the low bits that it has. */
int sim_index_grow(struct sim_index *index, uint32_t objects)
{
	uint64_t n_slots = SLOTS_MIN, former = index->slots ? (uint64_t)index->mask + 1 : 0;
	struct sim_slot *slots, *old = index->slots;
	uint64_t *hashes;

	if (objects <= index->objects)
		return 0;
	while (n_slots < (uint64_t)objects * 2)
		n_slots *= 2;
	if (n_slots > (uint64_t)1 << 32)
		return -ENOMEM;
	hashes = reallocarray(index->hashes, objects, sizeof(*hashes));
	if (!hashes)
		return -ENOMEM;
	index->hashes = hashes;
	if (n_slots > former) {
		slots = calloc(n_slots, sizeof(*slots));
		if (!slots)
			return -ENOMEM;
		index->slots = slots;
		index->mask = (uint32_t)(n_slots - 1);
		for (uint64_t i = 0; i < former; i++)
			if (old[i].at)
				slot_put(index, old[i].low, old[i].at - 1);
		free(old);
	}
	index->objects = objects;
	return 0;
}

void sim_index_deinit(struct sim_index *index)
{
	free(index->slots);
	free(index->hashes);
	*index = (struct sim_index){0};
}

void sim_index_put(struct sim_index *index, uint64_t hash, uint32_t number)
{
	assert(number < index->objects);
	index->hashes[number] = hash;
	slot_put(index, hash, number);
}

/* What stands behind it moves up, as far as it belongs there. */
void sim_index_remove(struct sim_index *index, uint32_t number)
{
	uint32_t mask = index->mask, hole = (uint32_t)index->hashes[number] & mask;

	while (index->slots[hole].at != number + 1) {
		assert(index->slots[hole].at);
		hole = (hole + 1) & mask;
	}
	for (uint32_t i = (hole + 1) & mask; index->slots[i].at; i = (i + 1) & mask) {
		if (((i - index->slots[i].low) & mask) < ((i - hole) & mask))
			continue;
		index->slots[hole] = index->slots[i];
		hole = i;
	}
	index->slots[hole].at = 0;
}
