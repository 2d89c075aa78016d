/*
 * Cache - what one policy keeps at one capacity, while requests pass.
 *
 * SC1  A request hits if its key is there. One that misses is admitted, victims
 *      go until there is room, and it is inserted; one larger than the capacity is never inserted,
 *      and nothing goes for it. A hit changes neither the size nor the time to live.
 * SC2  The sizes of what is there add up to the capacity at most. Without bytes each counts 1.
 * SC3  What request i inserted with a time to live of n is there up to request i + n - 1.
 * SC4  To a policy, what is larger than POLICY_SIZE_MAX is as large as that; to the capacity it
 *      counts in full.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/ctl/sim_index.h"
#include "client/ctl/sim_trace.h"
#include "daemon/core/policy/policy.h"
#include "daemon/core/wheel.h"

struct sim_cache {
	const struct policy *policy;
	void *state;
	struct sim_index index;
	uint64_t *sizes;    /* by number; NULL without bytes */
	struct wheel wheel; /* ticks are requests; there is none until something expires */
	uint32_t *unused;   /* numbers that were used and are not */
	uint32_t objects, n_objects, n_unused;
	uint32_t objects_max;
	bool bytes;
	uint64_t capacity, used;
	uint64_t now;         /* which request it is */
	const uint32_t *next; /* sim_survey's, of all requests, or NULL */
	uint64_t misses;
	unsigned __int128 bytes_missed;
};

struct sim_cache_options {
	const struct policy *policy;
	uint64_t capacity;
	bool bytes;
	uint64_t keys; /* no more than these will come; UINT64_MAX: who knows */
	const uint32_t *next;
};

/* -ENOMEM. Stays where it is: its policy knows it. */
int sim_cache_init(struct sim_cache *cache, const struct sim_cache_options *options);
/* Zeroed is fine. */
void sim_cache_deinit(struct sim_cache *cache);

/* These come next. -ENOMEM: the figures are worth nothing any more. */
int sim_cache_run(struct sim_cache *cache, const struct sim_request *requests, size_t n);

/* Walks SC2 and the policy's own; NULL, or what is wrong. */
const char *sim_cache_check(const struct sim_cache *cache);
