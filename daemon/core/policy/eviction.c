#include "daemon/core/policy/eviction.h"

#include <assert.h>

#include "base/base.h"

int eviction_init(struct eviction *eviction, const struct policy *policy,
		  const struct policy_config *config)
{
	*eviction = (struct eviction){.policy = policy, .config = *config};
	return policy->init(&eviction->state, &eviction->config);
}

static void spent_end(struct eviction *eviction)
{
	const struct policy *spent;
	void *state = eviction_spent(eviction, &spent);

	if (state)
		spent->deinit(state);
}

static void former_end(struct eviction *eviction)
{
	spent_end(eviction);
	eviction->spent = eviction->former;
	eviction->spent_state = eviction->former_state;
	eviction->former = NULL;
	eviction->former_state = NULL;
}

void *eviction_spent(struct eviction *eviction, const struct policy **ret)
{
	*ret = eviction->spent;
	return TAKE_PTR(eviction->spent_state);
}

void eviction_deinit(struct eviction *eviction)
{
	former_end(eviction);
	spent_end(eviction);
	eviction->policy->deinit(eviction->state);
}

/* The former gets no new numbers. */
int eviction_grow(struct eviction *eviction, uint32_t objects)
{
	int r;

	r = eviction->policy->grow(eviction->state, objects);
	if (!r && objects > eviction->config.objects)
		eviction->config.objects = objects;
	return r;
}

void eviction_resize(struct eviction *eviction, uint64_t capacity)
{
	eviction->config.capacity = capacity;
	eviction->policy->resize(eviction->state, capacity);
	if (eviction->former)
		eviction->former->resize(eviction->former_state, capacity);
}

/* The policy that has the object. */
static const struct policy *policy_of(const struct eviction *eviction, uint32_t number,
				      void **ret_state)
{
	if (eviction->former && eviction->former->has(eviction->former_state, number)) {
		*ret_state = eviction->former_state;
		return eviction->former;
	}
	*ret_state = eviction->state;
	return eviction->policy;
}

void eviction_fetch(const struct eviction *eviction, uint64_t hash)
{
	if (eviction->policy->fetch)
		eviction->policy->fetch(eviction->state, hash);
}

void eviction_fetch_number(const struct eviction *eviction, uint32_t number)
{
	if (eviction->policy->fetch_number)
		eviction->policy->fetch_number(eviction->state, number);
}

void eviction_fetch_beside(const struct eviction *eviction, uint32_t number)
{
	if (eviction->policy->fetch_beside)
		eviction->policy->fetch_beside(eviction->state, number);
}

void eviction_admit(struct eviction *eviction, const struct policy_object *object)
{
	eviction->policy->admit(eviction->state, object);
}

void eviction_insert(struct eviction *eviction, const struct policy_object *object)
{
	eviction->policy->insert(eviction->state, object);
}

void eviction_access(struct eviction *eviction, const struct policy_object *object)
{
	void *state;

	policy_of(eviction, object->number, &state)->access(state, object);
}

uint32_t eviction_victim(struct eviction *eviction)
{
	uint32_t victim = POLICY_NONE;

	if (eviction->former)
		victim = eviction->former->victim(eviction->former_state);
	return victim == POLICY_NONE ? eviction->policy->victim(eviction->state) : victim;
}

static void take_over(struct eviction *eviction, uint32_t number)
{
	struct policy_object object;

	eviction->config.look(eviction->config.host, number, &object);
	assert(object.number == number);
	eviction->former->remove(eviction->former_state, &object, false);
	if (!mutant(switch_drops))
		eviction->policy->insert(eviction->state, &object);
}

void eviction_refuse(struct eviction *eviction, uint32_t number)
{
	void *state;
	const struct policy *policy = policy_of(eviction, number, &state);

	if (policy == eviction->former && !mutant(switch_refused_stays))
		take_over(eviction, number);
	else
		policy->refuse(state, number);
}

void eviction_remove(struct eviction *eviction, const struct policy_object *object,
		     bool evicted)
{
	void *state;

	policy_of(eviction, object->number, &state)->remove(state, object, evicted);
}

/* The former policy gets no new numbers. */
void eviction_rename(struct eviction *eviction, const struct policy_object *from,
		     const struct policy_object *to)
{
	void *state;
	const struct policy *policy = policy_of(eviction, from->number, &state);

	if (policy != eviction->former && !mutant(rename_forgets)) {
		policy->rename(state, from->number, to->number);
		return;
	}
	policy->remove(state, from, false);
	eviction->policy->insert(eviction->state, to);
}

int eviction_switch(struct eviction *eviction, const struct policy *policy)
{
	void *state;
	int r;

	if (eviction->former)
		return EVICTION_E_SWITCHING;
	if (policy == eviction->policy)
		return 0;
	r = policy->init(&state, &eviction->config);
	if (r)
		return r;
	eviction->former = eviction->policy;
	eviction->former_state = eviction->state;
	eviction->policy = policy;
	eviction->state = state;
	return 0;
}

bool eviction_step(struct eviction *eviction, uint32_t most)
{
	if (!eviction->former)
		return false;
	for (uint32_t i = 0; i < most; i++) {
		uint32_t number = eviction->former->victim(eviction->former_state);

		if (number == POLICY_MORE)
			break;
		if (number == POLICY_NONE) {
			former_end(eviction);
			return false;
		}
		take_over(eviction, number);
	}
	return true;
}

const char *eviction_check(const struct eviction *eviction, uint32_t *ret_count)
{
	uint32_t others = 0;
	const char *wrong;

	wrong = eviction->policy->check(eviction->state, ret_count);
	if (wrong || !eviction->former)
		return wrong;
	wrong = eviction->former->check(eviction->former_state, &others);
	*ret_count += others;
	for (uint32_t i = 0; !wrong && i < eviction->config.objects; i++)
		if (eviction->former->has(eviction->former_state, i) &&
		    eviction->policy->has(eviction->state, i))
			wrong = "EV1: an object is with both policies";
	return wrong;
}
