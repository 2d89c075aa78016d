/*
 * Eviction - which object a cache gives up next, while its policy may be changed.
 *
 * EV1  Each object is with one policy: the one that is, or the former, which a switch empties.
 * EV2  A switch keeps the objects, and goes in steps as large as the host likes; meanwhile all goes
 *      on. They come to the new policy in the order in which the former would have let them go, as
 *      if they had just been inserted; what is left with the former goes first, and what is
 *      refused there comes over at once, so that others are offered.
 */
#pragma once

#include "daemon/core/policy/policy.h"

enum {
	EVICTION_E_SWITCHING = 1, /* a switch is under way */
};

struct eviction {
	const struct policy *policy, *former; /* former: NULL but during a switch */
	void *state, *former_state;
	const struct policy *spent; /* the former, once it is empty; or NULL */
	void *spent_state;
	struct policy_config config;
};

int eviction_init(struct eviction *eviction, const struct policy *policy,
		  const struct policy_config *config);
void eviction_deinit(struct eviction *eviction);
/* Numbers will be below `objects`. */
int eviction_grow(struct eviction *eviction, uint32_t objects);
void eviction_resize(struct eviction *eviction, uint64_t capacity);

/* As struct policy says. */
void eviction_fetch(const struct eviction *eviction, uint64_t hash);
void eviction_fetch_number(const struct eviction *eviction, uint32_t number);
void eviction_fetch_beside(const struct eviction *eviction, uint32_t number);
void eviction_admit(struct eviction *eviction, const struct policy_object *object);
void eviction_insert(struct eviction *eviction, const struct policy_object *object);
void eviction_access(struct eviction *eviction, const struct policy_object *object);
uint32_t eviction_victim(struct eviction *eviction);
void eviction_refuse(struct eviction *eviction, uint32_t number);
void eviction_remove(struct eviction *eviction, const struct policy_object *object,
		     bool evicted);

/* As another value of its key has it. During a switch it may come over. */
void eviction_rename(struct eviction *eviction, const struct policy_object *from,
		     const struct policy_object *to);

int eviction_switch(struct eviction *eviction, const struct policy *policy);
/* Takes over as many objects at most. False: the switch is done, or there is none. */
bool eviction_step(struct eviction *eviction, uint32_t most);
/*
 * What the latest switch has emptied, for the host to end with ret->deinit(), where that may take its
 * time; NULL: nothing. Else it goes with the next switch.
 */
void *eviction_spent(struct eviction *eviction, const struct policy **ret);

/* Walks EV1 and both policies' own. */
const char *eviction_check(const struct eviction *eviction, uint32_t *ret_count);
