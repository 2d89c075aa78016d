/*
 * Index map - an index, and a table of keys and places that it may not differ from, step by step.
 * What it has, readers are asked for, too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/cache/index.h"

enum { MAP_KEYS = 192, MAP_NUMBERS = 2 * MAP_KEYS };

enum index_step_kind {
	INDEX_STEP_INSERT, /* or replace */
	INDEX_STEP_REMOVE,
	INDEX_STEP_PLACE,
	INDEX_STEP_HINT,
	INDEX_STEP_NOTED,
	INDEX_STEP_BEGIN, /* to a next index: size tells how large it is, and whether of another seed */
	INDEX_STEP_MOVE, /* so many groups */
	INDEX_STEPS,
};

struct index_step {
	enum index_step_kind kind;
	uint32_t key;
	uint32_t size;
};

struct index_record {
	uint64_t hash, offset;
};

struct index_map_key {
	uint64_t hash;
	uint32_t number; /* INDEX_NONE: it is not there */
	uint32_t hint;
};

struct index_map {
	struct index index;
	struct index_map_key keys[MAP_KEYS];
	struct index_record records[MAP_NUMBERS];
	uint64_t places; /* so many were given out */
	uint64_t seed;
	uint32_t count;
	/* What has happened, for who wants to know that it has. */
	uint32_t full, full_moving, ended, longest;
};

/* Half of the keys have one of two tags under the first seed, 0 being one. size as of a step. */
bool index_map_init(struct index_map *map, uint32_t size);
void index_map_deinit(struct index_map *map);
/* NULL, or in what they differ. */
const char *index_map_step(struct index_map *map, struct index_step step);
