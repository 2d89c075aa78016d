/*
 * GDSF - the one that gave the fewest hits for its size lately goes: by how often it was accessed,
 * divided by its size, plus what the last to go was worth when it came or was accessed last
 * (Cherkasova, 1998). Small and frequent objects stay, until others have gone past them.
 *
 * A heap by that worth, in 2^28ths, of which the sum wraps at 2^52: nobody is worth less than the
 * floor, which only the least one's going raises, nor 2^40 more, so the distance from it says all.
 *
 * Who was refused stands aside until as many others have come or were accessed, or all are aside,
 * and comes back as if it had just been accessed, without counting: so it holds up no floor.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/base.h"
#include "daemon/core/policy/policy.h"

#define WORTH_MASK (((uint64_t)1 << 52) - 1)
#define FLOOR_BEFORE_WRAP ((uint64_t)1 << 36)

enum { TIMES_MAX = 4095 };

/* worth:52  times:12, the times at the low end */
struct gdsf_node {
	uint32_t worth_high, word; /* of a 64-bit word; `at` keeps it 12 bytes */
	uint32_t at;               /* in the heap, + 1; 0: no object */
};

struct gdsf {
	struct gdsf_node *nodes;
	uint32_t *heap; /* numbers */
	uint32_t objects;
	uint32_t count, aside; /* in the heap; and behind it */
	uint32_t passed;       /* since there was anyone aside */
	uint64_t floor;        /* what the last to go was worth; wraps */
	struct policy_config config;
};

static uint64_t node_word(const struct gdsf *gdsf, uint32_t number)
{
	return (uint64_t)gdsf->nodes[number].worth_high << 32 | gdsf->nodes[number].word;
}

/* Above the floor. */
static uint64_t worth_of(const struct gdsf *gdsf, uint32_t number)
{
	return ((node_word(gdsf, number) >> 12) - gdsf->floor) & WORTH_MASK;
}

static void node_set(struct gdsf *gdsf, uint32_t number, uint64_t worth, uint32_t times)
{
	uint64_t word = (gdsf->floor + worth) << 12 | times;

	gdsf->nodes[number].worth_high = (uint32_t)(word >> 32);
	gdsf->nodes[number].word = (uint32_t)word;
}

static int gdsf_grow(void *policy, uint32_t objects)
{
	struct gdsf *gdsf = policy;
	struct gdsf_node *nodes;
	uint32_t *heap;

	if (objects <= gdsf->objects)
		return 0;
	heap = realloc(gdsf->heap, objects * sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	gdsf->heap = heap;
	nodes = policy_grown(gdsf->nodes, gdsf->objects, objects, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	gdsf->nodes = nodes;
	gdsf->objects = objects;
	return 0;
}

static void gdsf_deinit(void *policy)
{
	struct gdsf *gdsf = policy;

	if (!gdsf)
		return;
	free(gdsf->nodes);
	free(gdsf->heap);
	free(gdsf);
}

static int gdsf_init(void **ret, const struct policy_config *config)
{
	struct gdsf *gdsf = calloc(1, sizeof(*gdsf));

	if (!gdsf)
		return -ENOMEM;
	gdsf->config = *config;
	gdsf->floor = WORTH_MASK - FLOOR_BEFORE_WRAP; /* it wraps soon, for all to see */
	if (gdsf_grow(gdsf, config->objects)) {
		gdsf_deinit(gdsf);
		return -ENOMEM;
	}
	*ret = gdsf;
	return 0;
}

static void gdsf_resize(void *policy, uint64_t capacity)
{
	(void)policy;
	(void)capacity;
}

static void gdsf_admit(void *policy, const struct policy_object *object)
{
	(void)policy;
	(void)object;
}

static void place(struct gdsf *gdsf, uint32_t at, uint32_t number)
{
	gdsf->heap[at] = number;
	gdsf->nodes[number].at = at + 1;
}

static void sift_up(struct gdsf *gdsf, uint32_t at)
{
	uint32_t number = gdsf->heap[at];
	uint64_t worth = worth_of(gdsf, number);

	for (; at && worth < worth_of(gdsf, gdsf->heap[(at - 1) / 2]); at = (at - 1) / 2)
		place(gdsf, at, gdsf->heap[(at - 1) / 2]);
	place(gdsf, at, number);
}

static void sift_down(struct gdsf *gdsf, uint32_t at)
{
	uint32_t number = gdsf->heap[at];
	uint64_t worth = worth_of(gdsf, number);

	for (;;) {
		uint64_t child = 2 * (uint64_t)at + 1;

		if (child + 1 < gdsf->count &&
		    worth_of(gdsf, gdsf->heap[child + 1]) < worth_of(gdsf, gdsf->heap[child]))
			child++;
		if (child >= gdsf->count || worth <= worth_of(gdsf, gdsf->heap[child]))
			break;
		place(gdsf, at, gdsf->heap[child]);
		at = (uint32_t)child;
	}
	place(gdsf, at, number);
}

static void value(struct gdsf *gdsf, const struct policy_object *object, uint32_t times)
{
	uint64_t hits = ((uint64_t)times << 28) / object->size;

	assert(object->size <= POLICY_SIZE_MAX);
	node_set(gdsf, object->number, hits, times);
}

static uint32_t times_of(const struct gdsf *gdsf, uint32_t number)
{
	return (uint32_t)node_word(gdsf, number) & TIMES_MAX;
}

static void readmit(struct gdsf *gdsf)
{
	struct policy_object object;

	for (; gdsf->aside; gdsf->aside--) {
		uint32_t number = gdsf->heap[gdsf->count];

		gdsf->config.look(gdsf->config.host, number, &object);
		value(gdsf, &object, times_of(gdsf, number));
		sift_up(gdsf, gdsf->count++);
	}
	gdsf->passed = 0;
}

/* Another comes or is accessed. */
static void pass(struct gdsf *gdsf)
{
	if (gdsf->aside && ++gdsf->passed >= gdsf->aside)
		readmit(gdsf);
}

static void heap_add(struct gdsf *gdsf, uint32_t number)
{
	if (gdsf->aside) /* the first of them becomes the last */
		place(gdsf, gdsf->count + gdsf->aside, gdsf->heap[gdsf->count]);
	gdsf->heap[gdsf->count] = number;
	sift_up(gdsf, gdsf->count++);
}

/* The last of them takes its place. */
static void aside_take(struct gdsf *gdsf, uint32_t at)
{
	gdsf->aside--;
	place(gdsf, at, gdsf->heap[gdsf->count + gdsf->aside]);
}

static void gdsf_insert(void *policy, const struct policy_object *object)
{
	struct gdsf *gdsf = policy;

	assert(object->number < gdsf->objects && !gdsf->nodes[object->number].at);
	pass(gdsf);
	value(gdsf, object, 1);
	heap_add(gdsf, object->number);
}

static void gdsf_access(void *policy, const struct policy_object *object)
{
	struct gdsf *gdsf = policy;
	const struct gdsf_node *node = &gdsf->nodes[object->number];
	uint32_t times = times_of(gdsf, object->number);

	pass(gdsf);
	value(gdsf, object, times < TIMES_MAX ? times + 1 : times);
	if (node->at > gdsf->count) {
		aside_take(gdsf, node->at - 1);
		heap_add(gdsf, object->number);
		return;
	}
	sift_up(gdsf, node->at - 1); /* it may have grown */
	sift_down(gdsf, node->at - 1);
}

static uint32_t gdsf_victim(void *policy)
{
	struct gdsf *gdsf = policy;

	if (!gdsf->count)
		readmit(gdsf);
	return gdsf->count ? gdsf->heap[0] : POLICY_NONE;
}

/* Out of the heap, whose last place becomes the first of those behind it. */
static void take(struct gdsf *gdsf, uint32_t at)
{
	uint32_t last = gdsf->heap[--gdsf->count];

	if (at == gdsf->count)
		return;
	place(gdsf, gdsf->count, gdsf->heap[at]);
	place(gdsf, at, last);
	sift_up(gdsf, at);
	sift_down(gdsf, gdsf->nodes[last].at - 1);
}

static void gdsf_refuse(void *policy, uint32_t number)
{
	struct gdsf *gdsf = policy;

	if (gdsf->nodes[number].at > gdsf->count)
		return;
	take(gdsf, gdsf->nodes[number].at - 1);
	gdsf->aside++;
}

static void gdsf_remove(void *policy, const struct policy_object *object, bool evicted)
{
	struct gdsf *gdsf = policy;
	struct gdsf_node *node = &gdsf->nodes[object->number];

	assert(node->at);
	if (node->at > gdsf->count) {
		aside_take(gdsf, node->at - 1);
		node->at = 0;
		return;
	}
	if (evicted && node->at == 1 && !mutant(gdsf_ageless))
		gdsf->floor = (gdsf->floor + worth_of(gdsf, object->number)) & WORTH_MASK;
	take(gdsf, node->at - 1);
	if (gdsf->aside)
		place(gdsf, gdsf->count, gdsf->heap[gdsf->count + gdsf->aside]);
	node->at = 0;
}

static void gdsf_rename(void *policy, uint32_t from, uint32_t to)
{
	struct gdsf *gdsf = policy;

	assert(gdsf->nodes[from].at && to < gdsf->objects && !gdsf->nodes[to].at);
	gdsf->nodes[to] = gdsf->nodes[from];
	gdsf->heap[gdsf->nodes[to].at - 1] = to;
	gdsf->nodes[from].at = 0;
}

static bool gdsf_has(const void *policy, uint32_t number)
{
	const struct gdsf *gdsf = policy;

	return number < gdsf->objects && gdsf->nodes[number].at;
}

static const char *gdsf_check(const void *policy, uint32_t *ret_count)
{
	const struct gdsf *gdsf = policy;

	for (uint32_t i = 0; i < gdsf->count + gdsf->aside; i++) {
		if (gdsf->nodes[gdsf->heap[i]].at != i + 1)
			return "gdsf: an object does not know its place";
		if (i >= gdsf->count)
			continue;
		if (worth_of(gdsf, gdsf->heap[i]) >= (uint64_t)1 << 40)
			return "gdsf: an object is worth less than the floor, or too much";
		if (i &&
		    worth_of(gdsf, gdsf->heap[i]) < worth_of(gdsf, gdsf->heap[(i - 1) / 2]))
			return "gdsf: the heap is out of order";
	}
	*ret_count = gdsf->count + gdsf->aside;
	return NULL;
}

const struct policy policy_gdsf = {
	.name = "gdsf",
	.state = sizeof(struct gdsf_node),
	.init = gdsf_init,
	.deinit = gdsf_deinit,
	.grow = gdsf_grow,
	.resize = gdsf_resize,
	.admit = gdsf_admit,
	.insert = gdsf_insert,
	.access = gdsf_access,
	.victim = gdsf_victim,
	.refuse = gdsf_refuse,
	.remove = gdsf_remove,
	.rename = gdsf_rename,
	.has = gdsf_has,
	.check = gdsf_check,
};
