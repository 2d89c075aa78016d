#include "client/ctl/sim_belady.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "client/ctl/sim_cache.h"

struct belady_node {
	uint32_t next; /* the request that asks for it, UINT32_MAX: none does */
	uint32_t at;   /* in the heap, + 1; 0: no object */
};

/* A heap: at its top what is asked for latest. */
struct belady {
	const struct sim_cache *cache;
	struct belady_node *nodes;
	uint32_t *heap;
	uint32_t objects, count;
};

static int belady_grow(void *policy, uint32_t objects)
{
	struct belady *belady = policy;
	struct belady_node *nodes;
	uint32_t *heap;

	nodes = reallocarray(belady->nodes, objects, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	belady->nodes = nodes;
	heap = reallocarray(belady->heap, objects, sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	belady->heap = heap;
	memset(nodes + belady->objects, 0, (objects - belady->objects) * sizeof(*nodes));
	belady->objects = objects;
	return 0;
}

static void belady_deinit(void *policy)
{
	struct belady *belady = policy;

	if (!belady)
		return;
	free(belady->nodes);
	free(belady->heap);
	free(belady);
}

static int belady_init(void **ret, const struct policy_config *config)
{
	struct belady *belady = calloc(1, sizeof(*belady));

	if (!belady)
		return -ENOMEM;
	belady->cache = config->host;
	if (belady_grow(belady, config->objects)) {
		belady_deinit(belady);
		return -ENOMEM;
	}
	*ret = belady;
	return 0;
}

static void belady_resize(void *policy, uint64_t capacity)
{
}

static void belady_admit(void *policy, const struct policy_object *object)
{
}

static void place(struct belady *belady, uint32_t at, uint32_t number)
{
	belady->heap[at] = number;
	belady->nodes[number].at = at + 1;
}

static uint32_t next_at(const struct belady *belady, uint32_t at)
{
	return belady->nodes[belady->heap[at]].next;
}

static void sift_up(struct belady *belady, uint32_t at)
{
	uint32_t number = belady->heap[at];

	for (; at && belady->nodes[number].next > next_at(belady, (at - 1) / 2);
	     at = (at - 1) / 2)
		place(belady, at, belady->heap[(at - 1) / 2]);
	place(belady, at, number);
}

static void sift_down(struct belady *belady, uint32_t at)
{
	uint32_t number = belady->heap[at];

	for (;;) {
		uint64_t child = 2 * (uint64_t)at + 1;

		if (child + 1 < belady->count &&
		    next_at(belady, (uint32_t)child + 1) > next_at(belady, (uint32_t)child))
			child++;
		if (child >= belady->count ||
		    belady->nodes[number].next >= next_at(belady, (uint32_t)child))
			break;
		place(belady, at, belady->heap[child]);
		at = (uint32_t)child;
	}
	place(belady, at, number);
}

static void belady_insert(void *policy, const struct policy_object *object)
{
	struct belady *belady = policy;

	assert(object->number < belady->objects && !belady->nodes[object->number].at);
	belady->nodes[object->number].next = belady->cache->next[belady->cache->now];
	belady->heap[belady->count++] = object->number;
	sift_up(belady, belady->count - 1);
}

/* It was the one to be asked for soonest, and is not any more. */
static void belady_access(void *policy, const struct policy_object *object)
{
	struct belady *belady = policy;

	belady->nodes[object->number].next = belady->cache->next[belady->cache->now];
	sift_up(belady, belady->nodes[object->number].at - 1);
}

static uint32_t belady_victim(void *policy)
{
	const struct belady *belady = policy;

	if (mutant(belady_any) && belady->count)
		return belady->heap[belady->count - 1];
	return belady->count ? belady->heap[0] : POLICY_NONE;
}

static void belady_remove(void *policy, const struct policy_object *object, bool evicted)
{
	struct belady *belady = policy;
	uint32_t at = belady->nodes[object->number].at - 1, last;

	assert(belady->nodes[object->number].at);
	belady->nodes[object->number].at = 0;
	last = belady->heap[--belady->count];
	if (at == belady->count)
		return;
	place(belady, at, last);
	sift_up(belady, at);
	sift_down(belady, belady->nodes[last].at - 1);
}

static bool belady_has(const void *policy, uint32_t number)
{
	const struct belady *belady = policy;

	return number < belady->objects && belady->nodes[number].at;
}

static const char *belady_check(const void *policy, uint32_t *ret_count)
{
	const struct belady *belady = policy;

	for (uint32_t i = 0; i < belady->count; i++) {
		if (belady->nodes[belady->heap[i]].at != i + 1)
			return "belady: an object does not know its place";
		if (i && next_at(belady, i) > next_at(belady, (i - 1) / 2))
			return "belady: the heap is out of order";
	}
	*ret_count = belady->count;
	return NULL;
}

const struct policy policy_belady = {
	.name = "belady",
	.state = sizeof(struct belady_node) + sizeof(uint32_t),
	.init = belady_init,
	.deinit = belady_deinit,
	.grow = belady_grow,
	.resize = belady_resize,
	.admit = belady_admit,
	.insert = belady_insert,
	.access = belady_access,
	.victim = belady_victim,
	.remove = belady_remove,
	.has = belady_has,
	.check = belady_check,
};
