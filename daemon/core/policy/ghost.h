/*
 * Ghost - the keys, by their hashes, of objects that went last.
 *
 * GH1  A key that was put and not taken is known until the capacity, or up to a 4096th less, was
 *      put after it (the sum of sizes); not so long if more than SLOTS such keys fall into its
 *      bucket. Another capacity leaves what share of it was put since.
 * GH2  Of a key its bucket and 16 bits are known: of 4096 keys that were never put, about one is
 *      taken for one that was.
 *
 * A slot is a fingerprint and an age. A bucket is a cache line of SLOTS; there are slots for as many
 * keys as objects, 4 bytes for each, and up to twice as many where it grew by less than double
 * after something was put. An age is what had been put by then, in 4096ths of the capacity, and wraps
 * after 16 capacities; a hand that goes round every 8 empties what is too old on its way.
 *
 * Where it grows, each put and take has some buckets come over, so that no step takes long.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/policy/spent.h"

enum { GHOST_SLOTS = 16, GHOST_BYTES = 4 /* for each object */ };

struct ghost_bucket {
	uint16_t prints[GHOST_SLOTS]; /* 0: nothing is there */
	uint16_t ages[GHOST_SLOTS];
};

struct ghost {
	struct ghost_bucket *buckets, *former; /* the latter: NULL, unless it grows */
	void *memory, *former_memory;          /* where these are */
	struct spent spent;
	uint32_t n_buckets, hand;
	uint32_t times, moved; /* each of the former becomes so many; those below have */
	bool used;             /* something was put, ever */
	uint64_t capacity;
	uint32_t now;   /* the age of what is put now */
	uint64_t rest;  /* put since that began, times 4096 */
	uint64_t swept; /* of the way to the next bucket */
};

/* Zeroed, then this. -ENOMEM. What was known stays known. */
int ghost_grow(struct ghost *ghost, uint32_t objects);
void ghost_deinit(struct ghost *ghost);
void ghost_resize(struct ghost *ghost, uint64_t capacity);

/* To have its bucket at hand. */
void ghost_fetch(const struct ghost *ghost, uint64_t hash);
void ghost_put(struct ghost *ghost, uint64_t hash, uint32_t size);
/* Was it there? From now on it is not. */
bool ghost_take(struct ghost *ghost, uint64_t hash);

/* Walks GH1: no age may be met again when it has wrapped. */
const char *ghost_check(const struct ghost *ghost);
