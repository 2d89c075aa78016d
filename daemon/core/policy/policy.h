/*
 * Policy - which object a cache gives up next.
 *
 * E1  A policy keeps objects by their numbers in an order of its own, with at most 12 bytes about
 *     each, and does nothing else: the host has the objects, their keys and their memory. Numbers
 *     are the host's, stable while an object lives, wherever its memory moves.
 * E2  The host tells what happens: admit, then insert; access, which says what size the object has
 *     now; remove;
 *     rename, when another value takes the place of an object, which keeps its own, and what is
 *     counted of it: an access follows. To make room it asks for a victim, and removes it as evicted, or, if it cannot
 *     be given up now, refuses it: then it is treated as one that was just let live, and another
 *     is offered, while there is one. It has its turn again when the others have had theirs, or
 *     sooner if some come or are accessed.
 * E3  Only init and grow allocate; all else cannot fail.
 * E4  All but those two take a number of steps that is constant or logarithmic in the objects,
 *     amortized: each object that a victim passes on the way is paid by an access or a refusal,
 *     and after some the host is asked to go on.
 *     One that can be given up is offered after 4 refusals for each object at most. What a ghost
 *     sweeps is paid by sizes. (Of a million objects, a victim after all were accessed takes 2.5
 *     ms, in a thousand steps, an eviction of as much as the capacity, which leaves a ghost, 0.1 ms, and growing by
 *     thirty thousand 0.1 ms.)
 * E5  Sizes and the capacity are in units of the host's choice: bytes in grains, or 1 for each
 *     object; an object's is 1 to POLICY_SIZE_MAX. A policy divides the capacity, and never
 *     enforces it: the host inserts nothing larger than the capacity, so what cannot fit empties
 *     no cache.
 * E6  What a policy remembers of objects that are gone (ghosts, counts), it knows by the hash of
 *     the key, in at most 4 bytes for each object that it was made for; where it grew by less than
 *     double, in up to twice as many (ghost.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_NONE UINT32_MAX
/* No number either: the victim is not found yet. */
#define POLICY_MORE (UINT32_MAX - 1)

enum { POLICY_PASSED = 1024 }; /* objects that a victim passes on the way, before it says so */

#define POLICY_SIZE_MAX (((uint32_t)1 << 28) - 1)

struct policy_object {
	uint32_t number;
	uint32_t size;
	uint64_t hash; /* of the key */
};

struct policy_config {
	uint64_t capacity;
	uint32_t objects; /* numbers will be below it */
	/* What the host knows of an object that the policy has. */
	void (*look)(void *host, uint32_t number, struct policy_object *ret);
	void *host;
};

struct policy {
	const char *name;
	size_t state;  /* bytes about each object, beside its number */
	size_t memory; /* and about what is gone, for each object that it was made for */
	int (*init)(void **ret, const struct policy_config *config); /* -ENOMEM */
	void (*deinit)(void *policy);                                /* NULL is fine */
	int (*grow)(void *policy, uint32_t objects);
	void (*resize)(void *policy, uint64_t capacity);
	/* A miss: the object is about to be inserted, once there is room. */
	void (*admit)(void *policy, const struct policy_object *object);
	void (*insert)(void *policy, const struct policy_object *object);
	void (*access)(void *policy, const struct policy_object *object);
	/* Asked twice, the same one; POLICY_NONE: there are no objects; POLICY_MORE: again. */
	uint32_t (*victim)(void *policy);
	void (*refuse)(void *policy, uint32_t number);
	void (*remove)(void *policy, const struct policy_object *object, bool evicted);
	/* To a number that no object has. */
	void (*rename)(void *policy, uint32_t from, uint32_t to);
	bool (*has)(const void *policy, uint32_t number);
	/* To have at hand what it remembers of a key, a little before it is asked. NULL: nothing. */
	void (*fetch)(const void *policy, uint64_t hash);
	/* The same of what it knows of a number, and a little later of those beside it. NULL, too. */
	void (*fetch_number)(const void *policy, uint32_t number);
	void (*fetch_beside)(const void *policy, uint32_t number);
	/* Walks its own invariants; NULL, or what is wrong. *ret_count is how many objects it holds. */
	const char *(*check)(const void *policy, uint32_t *ret_count);
};

/* The number is part of the ledger: a policy keeps it for good. */
enum policy_id {
	POLICY_S3FIFO,
	POLICY_LRU,
	POLICY_LFU,
	POLICY_FIFO,
	POLICY_CLOCK,
	POLICY_SIEVE,
	POLICY_2Q,
	POLICY_WTINYLFU,
	POLICY_GDSF,
	POLICIES
};

const struct policy *policy_at(uint32_t id); /* NULL beyond the last */
/* NULL or "" is the default. NULL if there is none of that name. */
const struct policy *policy_named(const char *name, uint32_t *ret_id);

/*
 * What a policy has about each object, for more of them; what is new is zeroed, and where there was
 * nothing, only when it is touched: a policy is made for all objects at once. NULL: -ENOMEM, and
 * nothing has changed.
 */
void *policy_grown(void *nodes, uint32_t had, uint32_t objects, size_t size);

extern const struct policy policy_fifo, policy_clock, policy_lru, policy_lfu, policy_sieve,
	policy_s3fifo, policy_2q, policy_wtinylfu, policy_gdsf;
