/*
 * Policy host - a cache as a list of what it holds, with a policy that is told of it as a cache
 * would: what the policy answers is compared with what can be seen.
 *
 * H1  What is larger than the capacity is turned away before anything goes for it; room is made
 *     after admit and before insert; what is pinned is refused, and if there is nothing else the
 *     newcomer is turned away (policy.h, E2 and E5).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/policy/eviction.h"
#include "tests/unit/policy_twin.h"

enum { HOST_KEYS = 512, HOST_NUMBERS = 512 };
/* A policy beside its twin is made for so many that in no bucket of its ghost keys are crowded. */
enum { HOST_MADE_FOR = 4 * HOST_NUMBERS };

struct host_object {
	uint32_t key, size;
	bool there, pinned;
};

struct policy_host {
	struct eviction eviction;
	struct policy_twin *twin; /* or NULL: nobody to compare with */
	uint64_t capacity, used;
	uint32_t numbers, count, pinned;
	struct host_object objects[HOST_NUMBERS];
	uint32_t number_of[HOST_KEYS];
	uint32_t checked_every, steps; /* 0 is 1 */
	/* What came about. */
	uint32_t hits, misses, evicted, refused, unfit, turned_away;
	uint32_t looks, unpaid;
};

enum host_step_kind {
	HOST_REQUEST, /* the key, as large as `value` */
	HOST_REMOVE,  /* the key */
	HOST_PIN,     /* the key, or unpin it */
	HOST_EVICT,   /* whoever goes next and can */
	HOST_RESIZE,  /* the capacity is `value` */
	HOST_GROW,    /* to `value` numbers */
	HOST_SWITCH,  /* to policy `value` */
	HOST_STEP,    /* `value` objects are taken over at most */
};

struct host_step {
	enum host_step_kind kind;
	uint32_t key, value;
};

/* splitmix64 */
uint64_t host_random(uint64_t *state);
/* A seed that is printed with the name; $VARBOS_SEED replays it. */
uint64_t host_seed(const char *name);

/* A hash that tells the keys apart. */
uint64_t host_hash(uint32_t key);

/* False: out of memory. `compared`: with the policy's twin, if it has one. */
bool policy_host_init(struct policy_host *host, uint32_t policy, uint64_t capacity,
		      uint32_t numbers, bool compared);
void policy_host_deinit(struct policy_host *host);

/* Of any word: requests of few keys mostly, and the rest in between. */
struct host_step host_step_of(uint64_t word);

/* NULL, or what the policy did wrong; its own walker is asked after each step. */
const char *policy_host_step(struct policy_host *host, struct host_step step);
const char *policy_host_compare(const struct policy_host *host);
