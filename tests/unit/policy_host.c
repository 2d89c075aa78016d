#include "tests/unit/policy_host.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

uint64_t host_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

uint64_t host_seed(const char *name)
{
	const char *given = getenv("VARBOS_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0)
			      : (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();

	printf("%s: VARBOS_SEED=%" PRIu64 "\n", name, seed);
	fflush(stdout);
	return seed;
}

uint64_t host_hash(uint32_t key)
{
	uint64_t seed = key;

	return host_random(&seed);
}

static struct policy_object object_of(const struct policy_host *host, uint32_t number)
{
	const struct host_object *object = &host->objects[number];

	return (struct policy_object){number, object->size, host_hash(object->key)};
}

static void host_look(void *userdata, uint32_t number, struct policy_object *ret)
{
	struct policy_host *host = userdata;

	assert(number < host->numbers && host->objects[number].there);
	*ret = object_of(host, number);
	host->looks++;
}

bool policy_host_init(struct policy_host *host, uint32_t policy, uint64_t capacity,
		      uint32_t numbers, bool compared)
{
	struct policy_config config = {
		.capacity = capacity, .objects = numbers, .look = host_look, .host = host};

	assert(numbers <= HOST_NUMBERS);
	if (compared)
		config.objects = HOST_MADE_FOR;
	*host = (struct policy_host){.capacity = capacity, .numbers = numbers};
	for (uint32_t i = 0; i < HOST_KEYS; i++)
		host->number_of[i] = POLICY_NONE;
	if (eviction_init(&host->eviction, policy_at(policy), &config))
		return false;
	if (compared)
		host->twin = policy_twin_new(policy, capacity);
	return true;
}

void policy_host_deinit(struct policy_host *host)
{
	eviction_deinit(&host->eviction);
	policy_twin_free(host->twin);
}

/* What goes next; POLICY_NONE: there are no objects. */
static const char *ask(struct policy_host *host, uint32_t *ret)
{
	uint32_t looks = host->looks;
	uint32_t number;

	do
		number = eviction_victim(&host->eviction);
	while (number == POLICY_MORE);
	/* Two, and whoever was refused once more. */
	if (host->looks - looks > 2) {
		if (host->looks - looks > 2 + host->unpaid)
			return "it looks at more objects than need be";
		host->unpaid = 0;
	}
	if (eviction_victim(&host->eviction) != number)
		return "asked twice, it answered differently";
	if (!host->count && number != POLICY_NONE)
		return "it offers what is not there";
	if (host->count && (number >= host->numbers || !host->objects[number].there))
		return "it offers no object, and there are some";
	if (host->twin && !policy_twin_offers(host->twin, number))
		return "its twin offers another";
	*ret = number;
	return NULL;
}

static void drop(struct policy_host *host, uint32_t number, bool evicted)
{
	struct host_object *object = &host->objects[number];
	struct policy_object told = object_of(host, number);

	eviction_remove(&host->eviction, &told, evicted);
	if (host->twin)
		policy_twin_remove(host->twin, &told, evicted);
	host->used -= object->size;
	host->count--;
	host->pinned -= object->pinned;
	host->number_of[object->key] = POLICY_NONE;
	*object = (struct host_object){0};
}

static void refuse(struct policy_host *host, uint32_t number)
{
	eviction_refuse(&host->eviction, number);
	if (host->twin)
		policy_twin_refuse(host->twin, number);
	host->refused++;
	host->unpaid++;
}

/* One goes, if not all are pinned. */
static const char *evict(struct policy_host *host, bool *ret_gone)
{
	uint32_t refused = 0, number;
	const char *wrong;

	for (;;) {
		wrong = ask(host, &number);
		if (wrong)
			return wrong;
		if (number == POLICY_NONE)
			break;
		if (!host->objects[number].pinned) {
			drop(host, number, true);
			host->evicted++;
			*ret_gone = true;
			return NULL;
		}
		refuse(host, number);
		refused++;
		/* One turn more than it takes to see them all. */
		if (host->pinned == host->count && refused > 2 * host->count)
			break;
		if (host->pinned < host->count && refused > 4 * host->count)
			return "one that is not pinned is not offered";
	}
	*ret_gone = false;
	return NULL;
}

static const char *make_room(struct policy_host *host, uint32_t size, bool *ret_made)
{
	const char *wrong = NULL;
	bool gone = true;

	while (!wrong && gone &&
	       (host->used + size > host->capacity || (size && host->count == host->numbers)))
		wrong = evict(host, &gone);
	*ret_made = gone;
	return wrong;
}

static const char *miss(struct policy_host *host, uint32_t key, uint32_t size)
{
	struct policy_object object = {.size = size, .hash = host_hash(key)};
	const char *wrong;
	bool made;

	host->misses++;
	eviction_admit(&host->eviction, &object);
	if (host->twin)
		policy_twin_admit(host->twin, &object);
	wrong = make_room(host, size, &made);
	if (wrong || !made) {
		host->turned_away += !made;
		return wrong;
	}
	object.number = key % host->numbers;
	while (host->objects[object.number].there)
		object.number = (object.number + 1) % host->numbers;
	host->objects[object.number] =
		(struct host_object){.key = key, .size = size, .there = true};
	host->number_of[key] = object.number;
	host->count++;
	host->used += size;
	eviction_insert(&host->eviction, &object);
	if (host->twin)
		policy_twin_insert(host->twin, &object);
	return NULL;
}

/* Another value has another number, if there is one. */
static uint32_t replace(struct policy_host *host, uint32_t number, uint32_t size)
{
	struct policy_object from = object_of(host, number), object;
	uint32_t to = number;

	do
		to = (to + 1) % host->numbers;
	while (to != number && host->objects[to].there);
	host->used += (uint64_t)size - host->objects[number].size;
	host->objects[number].size = size;
	if (to == number)
		return number;
	host->objects[to] = host->objects[number];
	host->objects[number] = (struct host_object){0};
	host->number_of[host->objects[to].key] = to;
	object = object_of(host, to);
	eviction_rename(&host->eviction, &from, &object);
	if (host->twin)
		policy_twin_rename(host->twin, number, to);
	return to;
}

/* The value may have been replaced by another, larger or smaller. */
static const char *hit(struct policy_host *host, uint32_t number, uint32_t size)
{
	struct policy_object object;
	bool made;

	host->hits++;
	if (size != host->objects[number].size)
		number = replace(host, number, size);
	object = object_of(host, number);
	eviction_access(&host->eviction, &object);
	if (host->twin)
		policy_twin_access(host->twin, &object);
	return make_room(host, 0, &made);
}

static const char *request(struct policy_host *host, uint32_t key, uint32_t size)
{
	uint32_t number = host->number_of[key];

	if (size > host->capacity || !host->numbers) {
		host->unfit++;
		return NULL;
	}
	return number == POLICY_NONE ? miss(host, key, size) : hit(host, number, size);
}

static void pin(struct policy_host *host, uint32_t number)
{
	struct host_object *object = &host->objects[number];

	object->pinned = !object->pinned;
	host->pinned += object->pinned ? 1 : -1;
}

static const char *resize(struct policy_host *host, uint64_t capacity)
{
	bool made;

	/* A twin's ghost has no shares of capacities. */
	if (host->twin && policy_twin_has_ghost(host->twin))
		return NULL;
	host->capacity = capacity;
	eviction_resize(&host->eviction, capacity);
	if (host->twin)
		policy_twin_resize(host->twin, capacity);
	return make_room(host, 0, &made);
}

static const char *grow(struct policy_host *host, uint32_t numbers)
{
	uint32_t most = (uint32_t)u64_min(numbers, HOST_NUMBERS);

	if (eviction_grow(&host->eviction, most))
		return "it could not grow";
	host->numbers = (uint32_t)u64_max(host->numbers, most);
	return NULL;
}

static const char *begin_switch(struct policy_host *host, uint32_t policy)
{
	bool busy = host->eviction.former;
	int r;

	if (host->twin)
		return NULL;
	r = eviction_switch(&host->eviction, policy_at(policy % POLICIES));
	return r == (busy ? EVICTION_E_SWITCHING : 0) ? NULL : "it switches when it should not";
}

static const char *act(struct policy_host *host, struct host_step step)
{
	uint32_t key = step.key % HOST_KEYS, number = host->number_of[key];
	bool gone;

	switch (step.kind) {
	case HOST_REQUEST:
		return request(host, key, step.value);
	case HOST_REMOVE:
		if (number != POLICY_NONE)
			drop(host, number, false);
		return NULL;
	case HOST_PIN:
		if (number != POLICY_NONE)
			pin(host, number);
		return NULL;
	case HOST_EVICT:
		return evict(host, &gone);
	case HOST_RESIZE:
		return resize(host, step.value);
	case HOST_GROW:
		return grow(host, step.value);
	case HOST_SWITCH:
		return begin_switch(host, step.value);
	case HOST_STEP:
		eviction_step(&host->eviction, step.value);
		return NULL;
	}
	return NULL;
}

const char *policy_host_compare(const struct policy_host *host)
{
	const struct eviction *eviction = &host->eviction;
	uint32_t count = 0;
	const char *wrong = eviction_check(eviction, &count);

	if (wrong)
		return wrong;
	if (count != host->count)
		return "it holds more or fewer objects than there are";
	for (uint32_t i = 0; i <= host->numbers; i++) {
		bool there = i < host->numbers && host->objects[i].there;
		bool has =
			eviction->policy->has(eviction->state, i) ||
			(eviction->former && eviction->former->has(eviction->former_state, i));

		if (has != there)
			return "it has an object that is not there, or has not one that is";
	}
	return NULL;
}

const char *policy_host_step(struct policy_host *host, struct host_step step)
{
	const char *wrong = act(host, step);

	if (wrong || (host->checked_every && ++host->steps % host->checked_every))
		return wrong;
	return policy_host_compare(host);
}

struct host_step host_step_of(uint64_t word)
{
	static const enum host_step_kind rare[] = {HOST_REMOVE, HOST_PIN,  HOST_EVICT,
						   HOST_RESIZE, HOST_GROW, HOST_SWITCH};
	uint32_t kind = word & 31, value = (uint32_t)(word >> 21) & 0x7ff;
	struct host_step step = {
		/* The product of two is small more often than not. */
		.key = (uint32_t)((word >> 5 & 0xff) * (word >> 13 & 0xff) >> 7),
		.kind = HOST_REQUEST,
	};

	if (kind < 22) {
		/* Small ones mostly; some that fit into no capacity. */
		step.value = 1 + (value >> 3) % (value & 7 ? 6 : 300);
		return step;
	}
	step.kind = kind < 28 ? rare[kind - 22] : kind < 30 ? HOST_STEP : HOST_REMOVE;
	step.value = value;
	if (step.kind == HOST_RESIZE)
		step.value = 1 + value % 200;
	else if (step.kind == HOST_GROW)
		step.value = value % 160;
	else if (step.kind == HOST_STEP)
		step.value = value % 16;
	return step;
}
