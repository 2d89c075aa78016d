#include "tests/unit/policy_twin.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

enum { OBJECTS = 1024, GHOSTS = 8192 };

typedef unsigned __int128 worth; /* in 2^28ths */

struct object {
	uint32_t number, size;
	uint32_t times; /* accessed, as far as it counts */
	uint64_t since; /* it was accessed, or reached `times` */
	worth worth;
	bool refused;
};

/* The oldest first. */
struct list {
	struct object objects[OBJECTS];
	uint32_t n;
};

struct ghost_key {
	uint64_t hash, put; /* what had been put by then */
};

struct policy_twin {
	const struct kind *kind;
	struct list newcomers, main; /* who has one list has it in main */
	struct ghost_key ghosts[GHOSTS];
	uint32_t n_ghosts;
	uint64_t put, ghost_capacity;
	bool known; /* the one that was admitted */
	uint64_t capacity, time;
	worth floor;
	uint32_t hand, refused, passed, offered;
};

struct kind {
	void (*insert)(struct policy_twin *twin, struct object object);
	void (*access)(struct policy_twin *twin, struct object *object);
	uint32_t (*victim)(struct policy_twin *twin);
	void (*refuse)(struct policy_twin *twin, uint32_t number);
	void (*remove)(struct policy_twin *twin, const struct policy_object *object,
		       bool evicted);
	bool ghost;
};

static uint32_t list_find(const struct list *list, uint32_t number)
{
	uint32_t at = 0;

	while (at < list->n && list->objects[at].number != number)
		at++;
	return at;
}

static void list_insert(struct list *list, uint32_t at, struct object object)
{
	assert(list->n < OBJECTS && at <= list->n);
	memmove(&list->objects[at + 1], &list->objects[at],
		(list->n - at) * sizeof(list->objects[0]));
	list->objects[at] = object;
	list->n++;
}

static struct object list_take(struct list *list, uint32_t at)
{
	struct object object = list->objects[at];

	assert(at < list->n);
	list->n--;
	memmove(&list->objects[at], &list->objects[at + 1],
		(list->n - at) * sizeof(list->objects[0]));
	return object;
}

static uint64_t list_size(const struct list *list)
{
	uint64_t size = 0;

	for (uint32_t i = 0; i < list->n; i++)
		size += list->objects[i].size;
	return size;
}

static uint32_t list_oldest(const struct list *list)
{
	return list->n ? list->objects[0].number : POLICY_NONE;
}

/* Who was not accessed for the longest time. */
static uint32_t list_idlest(const struct list *list)
{
	const struct object *best = NULL;

	for (uint32_t i = 0; i < list->n; i++)
		if (!best || list->objects[i].since < best->since)
			best = &list->objects[i];
	return best ? best->number : POLICY_NONE;
}

static struct list *list_of(struct policy_twin *twin, uint32_t number)
{
	return list_find(&twin->main, number) < twin->main.n ? &twin->main : &twin->newcomers;
}

static struct object take(struct policy_twin *twin, uint32_t number)
{
	struct list *list = list_of(twin, number);

	return list_take(list, list_find(list, number));
}

static void append(struct policy_twin *twin, struct object object)
{
	object.since = ++twin->time;
	list_insert(&twin->main, twin->main.n, object);
}

static void access_size(struct policy_twin *twin, struct object *object)
{
	(void)twin;
	(void)object;
}

static void access_time(struct policy_twin *twin, struct object *object)
{
	object->since = ++twin->time;
}

static void access_mark(struct policy_twin *twin, struct object *object)
{
	(void)twin;
	object->times = 1;
}

static void remove_plain(struct policy_twin *twin, const struct policy_object *object,
			 bool evicted)
{
	(void)evicted;
	take(twin, object->number);
}

static uint32_t fifo_victim(struct policy_twin *twin)
{
	return list_oldest(&twin->main);
}

/* It is as if it had just come. */
static void refuse_renews(struct policy_twin *twin, uint32_t number)
{
	append(twin, take(twin, number));
}

static const struct kind fifo = {
	append, access_size, fifo_victim, refuse_renews, remove_plain, false,
};

static uint32_t lru_victim(struct policy_twin *twin)
{
	return list_idlest(&twin->main);
}

static const struct kind lru = {
	append, access_time, lru_victim, refuse_renews, remove_plain, false,
};

/* A ring: its hand stands still while others come, behind it, and goes. */
static void clock_insert(struct policy_twin *twin, struct object object)
{
	list_insert(&twin->main, twin->hand, object);
	twin->hand = (twin->hand + 1) % twin->main.n;
}

static uint32_t clock_victim(struct policy_twin *twin)
{
	struct list *ring = &twin->main;

	if (!ring->n)
		return POLICY_NONE;
	for (; ring->objects[twin->hand].times; twin->hand = (twin->hand + 1) % ring->n)
		ring->objects[twin->hand].times = 0;
	return ring->objects[twin->hand].number;
}

static void clock_refuse(struct policy_twin *twin, uint32_t number)
{
	assert(twin->main.objects[twin->hand].number == number);
	twin->hand = (twin->hand + 1) % twin->main.n;
}

static void clock_remove(struct policy_twin *twin, const struct policy_object *object,
			 bool evicted)
{
	uint32_t at = list_find(&twin->main, object->number);

	(void)evicted;
	list_take(&twin->main, at);
	if (at < twin->hand)
		twin->hand--;
	if (twin->hand >= twin->main.n)
		twin->hand = 0;
}

static const struct kind clock_ = {
	clock_insert, access_mark, clock_victim, clock_refuse, clock_remove, false,
};

/* The hand goes from the tail to the head, and from the head back to the tail. */
static uint32_t sieve_victim(struct policy_twin *twin)
{
	struct list *list = &twin->main;

	if (!list->n)
		return POLICY_NONE;
	if (twin->hand == POLICY_NONE)
		twin->hand = 0;
	while (list->objects[twin->hand].times) {
		list->objects[twin->hand].times = 0;
		twin->hand = twin->hand + 1 == list->n ? 0 : twin->hand + 1;
	}
	return list->objects[twin->hand].number;
}

static void sieve_refuse(struct policy_twin *twin, uint32_t number)
{
	assert(twin->main.objects[twin->hand].number == number);
	twin->hand = twin->hand + 1 == twin->main.n ? POLICY_NONE : twin->hand + 1;
}

static void sieve_remove(struct policy_twin *twin, const struct policy_object *object,
			 bool evicted)
{
	uint32_t at = list_find(&twin->main, object->number);

	(void)evicted;
	list_take(&twin->main, at);
	if (twin->hand == POLICY_NONE || at > twin->hand)
		return;
	if (at < twin->hand)
		twin->hand--;
	else if (at == twin->main.n)
		twin->hand = POLICY_NONE; /* the head has gone */
}

static const struct kind sieve = {
	append, access_mark, sieve_victim, sieve_refuse, sieve_remove, false,
};

static uint32_t count_refused(const struct policy_twin *twin)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < twin->main.n; i++)
		n += twin->main.objects[i].refused;
	return n;
}

static void lfu_forgive(struct policy_twin *twin)
{
	for (uint32_t i = 0; i < twin->main.n; i++)
		twin->main.objects[i].refused = false;
	twin->refused = twin->passed = 0;
}

/* Another has come to its place: who was refused and is behind it has its turn after it. */
static void lfu_pass(struct policy_twin *twin, const struct object *other)
{
	if (twin->refused && ++twin->passed >= twin->refused)
		lfu_forgive(twin);
	for (uint32_t i = 0; i < twin->main.n; i++)
		if (twin->main.objects[i].times > other->times)
			twin->main.objects[i].refused = false;
}

static void lfu_insert(struct policy_twin *twin, struct object object)
{
	object.times = 1;
	append(twin, object);
	lfu_pass(twin, &object);
}

static void lfu_access(struct policy_twin *twin, struct object *object)
{
	object->times++;
	object->since = ++twin->time;
	object->refused = false;
	lfu_pass(twin, object);
}

static uint32_t lfu_victim(struct policy_twin *twin)
{
	const struct object *best = NULL;

	for (uint32_t i = 0; i < twin->main.n; i++) {
		const struct object *object = &twin->main.objects[i];

		if (object->refused)
			continue;
		if (!best || object->times < best->times ||
		    (object->times == best->times && object->since < best->since))
			best = object;
	}
	return best ? best->number : POLICY_NONE;
}

static void lfu_refuse(struct policy_twin *twin, uint32_t number)
{
	twin->main.objects[list_find(&twin->main, number)].refused = true;
	twin->refused++;
	if (count_refused(twin) == twin->main.n)
		lfu_forgive(twin);
}

static void lfu_remove(struct policy_twin *twin, const struct policy_object *object,
		       bool evicted)
{
	(void)evicted;
	take(twin, object->number);
	if (count_refused(twin) == twin->main.n)
		lfu_forgive(twin);
}

static const struct kind lfu = {
	lfu_insert, lfu_access, lfu_victim, lfu_refuse, lfu_remove, false,
};

static bool ghost_take(struct policy_twin *twin, uint64_t hash)
{
	for (uint32_t i = 0; i < twin->n_ghosts; i++) {
		struct ghost_key key = twin->ghosts[i];

		if (key.hash != hash)
			continue;
		twin->ghosts[i] = twin->ghosts[--twin->n_ghosts];
		return twin->put - key.put < twin->ghost_capacity;
	}
	return false;
}

static void ghost_put(struct policy_twin *twin, uint64_t hash, uint32_t size)
{
	if (size > twin->ghost_capacity)
		return;
	ghost_take(twin, hash);
	twin->put += size;
	assert(twin->n_ghosts < GHOSTS);
	twin->ghosts[twin->n_ghosts++] = (struct ghost_key){hash, twin->put};
}

static void insert_newcomer(struct policy_twin *twin, struct object object)
{
	if (twin->known)
		append(twin, object);
	else
		list_insert(&twin->newcomers, twin->newcomers.n, object);
	twin->known = false;
}

static void remove_newcomer(struct policy_twin *twin, const struct policy_object *object,
			    bool evicted)
{
	bool newcomer = list_of(twin, object->number) == &twin->newcomers;

	take(twin, object->number);
	if (newcomer && evicted)
		ghost_put(twin, object->hash, object->size);
	if (twin->offered == object->number)
		twin->offered = POLICY_NONE;
	twin->refused = 0;
}

/* It goes to the main queue's young end. */
static void refuse_keeps(struct policy_twin *twin, uint32_t number)
{
	struct object object = take(twin, number);

	object.times = 0;
	append(twin, object);
	twin->offered = POLICY_NONE;
	twin->refused++;
}

static void two_q_access(struct policy_twin *twin, struct object *object)
{
	if (list_of(twin, object->number) == &twin->main)
		object->since = ++twin->time;
}

static uint32_t two_q_victim(struct policy_twin *twin)
{
	bool full = list_size(&twin->newcomers) > twin->capacity / 4;

	/* When all of the main queue was refused, the newcomers' turn has come. */
	if (twin->newcomers.n && (full || twin->refused >= twin->main.n))
		return list_oldest(&twin->newcomers);
	return list_idlest(&twin->main);
}

static const struct kind two_q = {
	insert_newcomer, two_q_access, two_q_victim, refuse_keeps, remove_newcomer, true,
};

static void s3fifo_access(struct policy_twin *twin, struct object *object)
{
	object->times += object->times < 3;
	if (twin->offered == object->number)
		twin->offered = POLICY_NONE;
}

static uint32_t s3fifo_small(struct policy_twin *twin)
{
	while (twin->newcomers.n && twin->newcomers.objects[0].times >= 2) {
		struct object object = list_take(&twin->newcomers, 0);

		object.times = 0;
		append(twin, object);
	}
	return list_oldest(&twin->newcomers);
}

static uint32_t s3fifo_main(struct policy_twin *twin)
{
	while (twin->main.n && twin->main.objects[0].times) {
		struct object object = list_take(&twin->main, 0);

		object.times--;
		append(twin, object);
	}
	return list_oldest(&twin->main);
}

static uint32_t s3fifo_victim(struct policy_twin *twin)
{
	bool full = list_size(&twin->main) > twin->capacity - twin->capacity / 10;

	if (twin->offered == POLICY_NONE && (!full || twin->refused > twin->main.n))
		twin->offered = s3fifo_small(twin);
	if (twin->offered == POLICY_NONE)
		twin->offered = s3fifo_main(twin);
	return twin->offered;
}

static const struct kind s3fifo = {
	insert_newcomer, s3fifo_access, s3fifo_victim, refuse_keeps, remove_newcomer, true,
};

static void gdsf_value(struct policy_twin *twin, struct object *object)
{
	object->worth = twin->floor + ((worth)object->times << 28) / object->size;
}

/* They come back from aside. */
static void gdsf_forgive(struct policy_twin *twin)
{
	for (uint32_t i = 0; i < twin->main.n; i++) {
		struct object *object = &twin->main.objects[i];

		if (object->refused)
			gdsf_value(twin, object);
		object->refused = false;
	}
	twin->passed = 0;
}

static void gdsf_pass(struct policy_twin *twin)
{
	uint32_t refused = count_refused(twin);

	if (refused && ++twin->passed >= refused)
		gdsf_forgive(twin);
}

static void gdsf_insert(struct policy_twin *twin, struct object object)
{
	gdsf_pass(twin);
	object.times = 1;
	gdsf_value(twin, &object);
	append(twin, object);
}

static void gdsf_access(struct policy_twin *twin, struct object *object)
{
	gdsf_pass(twin);
	object->refused = false;
	object->times += object->times < 4095;
	gdsf_value(twin, object);
}

static uint32_t gdsf_victim(struct policy_twin *twin)
{
	const struct object *best = NULL;

	if (count_refused(twin) == twin->main.n)
		gdsf_forgive(twin);
	for (uint32_t i = 0; i < twin->main.n; i++) {
		const struct object *object = &twin->main.objects[i];

		if (!object->refused && (!best || object->worth < best->worth))
			best = object;
	}
	return best ? best->number : POLICY_NONE;
}

static void gdsf_refuse(struct policy_twin *twin, uint32_t number)
{
	twin->main.objects[list_find(&twin->main, number)].refused = true;
}

static void gdsf_remove(struct policy_twin *twin, const struct policy_object *object,
			bool evicted)
{
	struct object gone = take(twin, object->number);

	if (evicted)
		twin->floor = gone.worth;
}

static const struct kind gdsf = {
	gdsf_insert, gdsf_access, gdsf_victim, gdsf_refuse, gdsf_remove, false,
};

static const struct kind *const kinds[POLICIES] = {
	[POLICY_FIFO] = &fifo,   [POLICY_LRU] = &lru,       [POLICY_CLOCK] = &clock_,
	[POLICY_SIEVE] = &sieve, [POLICY_LFU] = &lfu,       [POLICY_2Q] = &two_q,
	[POLICY_GDSF] = &gdsf,   [POLICY_S3FIFO] = &s3fifo,
};

struct policy_twin *policy_twin_new(uint32_t policy, uint64_t capacity)
{
	struct policy_twin *twin;

	if (!kinds[policy])
		return NULL;
	twin = calloc(1, sizeof(*twin));
	if (!twin)
		abort();
	twin->kind = kinds[policy];
	twin->capacity = capacity;
	twin->hand = policy == POLICY_SIEVE ? POLICY_NONE : 0;
	twin->offered = POLICY_NONE;
	twin->ghost_capacity =
		policy == POLICY_S3FIFO ? capacity - capacity / 10 : capacity / 2;
	return twin;
}

void policy_twin_free(struct policy_twin *twin)
{
	free(twin);
}

bool policy_twin_has_ghost(const struct policy_twin *twin)
{
	return twin->kind->ghost;
}

void policy_twin_resize(struct policy_twin *twin, uint64_t capacity)
{
	assert(!policy_twin_has_ghost(twin));
	twin->capacity = capacity;
}

void policy_twin_admit(struct policy_twin *twin, const struct policy_object *object)
{
	twin->known = ghost_take(twin, object->hash);
}

void policy_twin_insert(struct policy_twin *twin, const struct policy_object *object)
{
	twin->kind->insert(twin,
			   (struct object){.number = object->number, .size = object->size});
}

void policy_twin_access(struct policy_twin *twin, const struct policy_object *object)
{
	struct list *list = list_of(twin, object->number);
	struct object *known = &list->objects[list_find(list, object->number)];

	known->size = object->size;
	twin->kind->access(twin, known);
}

bool policy_twin_offers(struct policy_twin *twin, uint32_t number)
{
	uint32_t victim = twin->kind->victim(twin);
	const struct object *one, *other;

	if (victim == number || twin->kind != &gdsf || number == POLICY_NONE ||
	    victim == POLICY_NONE)
		return victim == number;
	/* Of those that are worth the same, any. */
	one = &twin->main.objects[list_find(&twin->main, victim)];
	other = &twin->main.objects[list_find(&twin->main, number)];
	return one->worth == other->worth && !other->refused;
}

void policy_twin_refuse(struct policy_twin *twin, uint32_t number)
{
	twin->kind->refuse(twin, number);
}

void policy_twin_remove(struct policy_twin *twin, const struct policy_object *object,
			bool evicted)
{
	twin->kind->remove(twin, object, evicted);
}

void policy_twin_rename(struct policy_twin *twin, uint32_t from, uint32_t to)
{
	struct list *list = list_of(twin, from);

	list->objects[list_find(list, from)].number = to;
	if (twin->offered == from)
		twin->offered = to;
}
