/*
 * Naive cache - what a cache should be, in plain arrays: objects by number, memory by grains of 16
 * bytes, and for who goes next, policies and the wheel as the cache uses them.
 */
#pragma once

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/cache/cache.h"
#include "daemon/core/cache/clean.h"
#include "daemon/core/cache/state.h"

enum {
	NUMBERS = 4096,
	SLICES = 160,
	GRAINS = SLICES << (SLICE_SHIFT - OBJECT_SHIFT),
	SEGMENTS = SLICES,
	SESSIONS = 3,
	NOBODY = 100,
	HAZARDS = 12,
	KEYS = 300,
};

struct naive_object {
	bool there;
	uint64_t hash, offset, size;
	uint32_t generation, version;
	bool expires;
};

struct naive_segment {
	uint64_t base, size, filled; /* size 0: none */
	uint32_t lessee;             /* a session, CACHE_CLEANER, NOBODY */
	bool own, used;
};

struct naive_hazard {
	bool set, forged;
	uint32_t session;
	uint64_t offset, size;
};

struct naive {
	struct cache *cache;
	struct naive_object objects[NUMBERS];
	struct naive_segment segments[SEGMENTS];
	struct naive_hazard hazards[HAZARDS];
	uint32_t grains[GRAINS]; /* number + 1 of who lives there */
	uint8_t slices[SLICES];  /* segment + 1 */
	struct eviction eviction;
	struct wheel wheel;
	uint64_t capacity, live, count, now;
	uint32_t policy, unit_shift;
	uint64_t seed, state, step;
	/* The shell's: memory that it has handed in. */
	void *objects_file;
	uint32_t slots;
	void *index_file;
	uint32_t *index_numbers;
	void *next_file;
	uint32_t *next_numbers;
	uint64_t index_generation;
	/* A step of the cleaner that is under way. */
	bool cleaning;
	struct clean_step clean;
};

extern struct naive m;

#define DIE(...)                                                                               \
	do {                                                                                   \
		fprintf(stderr, "VARBOS_SEED=%" PRIu64 " step %" PRIu64 ": ", m.seed, m.step); \
		fprintf(stderr, __VA_ARGS__);                                                  \
		fprintf(stderr, " (%s:%d)\n", __FILE__, __LINE__);                             \
		exit(1);                                                                       \
	} while (0)
#define MUST(x)                             \
	do {                                \
		if (!(x))                   \
			DIE("not: %s", #x); \
	} while (0)

uint64_t next(void);
static inline uint32_t below(uint64_t n)
{
	return (uint32_t)(next() % n);
}
static inline bool one_in(uint64_t n)
{
	return !below(n);
}

/* Random steps, each between these two, for some seeds, or for VARBOS_SEED. An exit status. */
int naive_run(uint64_t steps, void (*before)(void), void (*after)(void));

/* ---- what a verb should do ---- */

uint32_t naive_find(uint64_t hash);         /* a number, or NUMBER_NONE */
uint32_t naive_segment_at(uint64_t offset); /* or SEGMENTS */
void naive_gone(uint32_t number);           /* policies were told */
void naive_forget(uint32_t number, bool evicted);
/* Who should be evicted, in a batch as the cache does it. */
uint32_t naive_evict(uint64_t live, uint32_t least);
int naive_publish(const struct cache_publish *publish);
/* It was: the cache gave it that number. */
void naive_published(const struct cache_publish *publish, uint32_t number);
/* In as many steps; false: there is more to do. */
bool naive_expire(uint64_t now, uint32_t steps);
void naive_policy(uint32_t policy);

/* Compares all; and cache_check(). */
void naive_compare(void);
/*
 * A cache made of copies of what there is, or was: recovered, checked, and compared with what was
 * there before the step and is now. An index that is spoiled is repaired, or replaced.
 */
struct naive_image {
	void *objects, *index, *next; /* next: NULL, if there is none */
	uint32_t slots;
};
void naive_image_take(struct naive_image *ret);
void naive_image_free(struct naive_image *image);
void naive_recover(const struct naive_image *image, const struct naive_object *before);
/* A run of slices came back: rightly? */
void naive_reclaimed(struct segment_run run);
bool naive_lives(const struct naive_segment *segment); /* has it an object? */
/* After a scan: what did not come back is pinned. */
void naive_came_back(void);
