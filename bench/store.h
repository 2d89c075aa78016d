/*
 * Store - what the rows about caches are about: a cache of varbos, LMDB, Redis or memcached, holding
 * values under keys of 16 bytes. Each is one implementation of these functions (store_varbos.c,
 * store_lmdb.c, store_served.c); optimised as a whole, as ./dev bench builds it, a row calls
 * straight into the library.
 *
 * ST1  All are asked for the same keys in the same order, and hold the same values.
 * ST2  A value is where the program can read it when store_get() returns, and its first word has been
 *      read. Varbos and LMDB show it where it is; the others send it, all of it.
 * ST3  Nothing goes to a disk, nothing is synced, and nothing waits for a network: servers are on
 *      Unix sockets, on the processor where varbosd is, and end with who started them. LMDB is on a
 *      tmpfs, and read in a transaction that stays open, as nothing is quicker there; where
 *      it is written to at the same time (`shared`), in one renewed for each get, for else it
 *      would show what was there before, and never get memory back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/contender.h"

enum { STORE_MANY = 16 };

struct store_key {
	uint64_t words[2];
};

struct store_needs {
	size_t value;      /* bytes of each */
	uint64_t capacity; /* bytes; what would be more makes others go, if `evicts` */
	bool evicts;
	bool shared; /* written to while it is read */
};

/* What a server needs for an operation is a hundred times as long. */
extern const bool store_is_served;

/* Made, and opened. `data` has needs->value bytes that all that is put will have. */
void store_start(const struct contender *contender, const struct store_needs *needs,
		 const void *data);
/* In a process forked after that, before it does anything else. */
void store_join(const struct contender *contender);
/* All have: from now on nobody can, and nothing of it outlives them. */
void store_joined(void);
void store_stop(void);

/* Seen by all when it returns. */
void store_put(const struct store_key *key);
/* The same, of all of them, and in the quickest way there is to put many. */
void store_put_many(const struct store_key *keys, size_t n);

/* False: a miss. The value's first word. */
bool store_get(const struct store_key *key, uint64_t *ret);
/* STORE_MANY at once; how many were there. The sum of their first words. */
size_t store_get_many(const struct store_key *keys, uint64_t *ret);
