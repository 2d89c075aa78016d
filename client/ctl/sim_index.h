/*
 * Index - which number a key has.
 *
 * SI1  Keys are 64-bit hashes that are spread evenly, and equal only for equal keys.
 * SI2  Numbers are below `objects`; a key has one, and a number one key, until it is removed.
 * SI3  Only init and grow allocate. At most half of the slots are taken.
 */
#pragma once

#include <stdint.h>

#define SIM_NONE UINT32_MAX

struct sim_slot {
	uint32_t low; /* of the hash: where it belongs, and a little more */
	uint32_t at;  /* the number + 1; 0: empty */
};

struct sim_index {
	struct sim_slot *slots;
	uint64_t *hashes; /* by number */
	uint32_t mask, objects;
};

/* Zeroed, then this. -ENOMEM: nothing has changed. */
int sim_index_grow(struct sim_index *index, uint32_t objects);
void sim_index_deinit(struct sim_index *index);

static inline uint32_t sim_index_find(const struct sim_index *index, uint64_t hash)
{
	for (uint32_t i = (uint32_t)hash & index->mask;; i = (i + 1) & index->mask) {
		struct sim_slot slot = index->slots[i];

		if (!slot.at)
			return SIM_NONE;
		if (slot.low == (uint32_t)hash && index->hashes[slot.at - 1] == hash)
			return slot.at - 1;
	}
}

/* A key that has no number gets this one, which no key has. */
void sim_index_put(struct sim_index *index, uint64_t hash, uint32_t number);
void sim_index_remove(struct sim_index *index, uint32_t number);
