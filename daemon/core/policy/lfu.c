/*
 * LFU - the one accessed least often goes, and among these the one that got there first. What is
 * gone is forgotten.
 *
 * One line of all objects, by frequency and then by when they reached it; for each frequency, its
 * last object. Beyond FREQUENCY_MAX nothing is counted. Who was refused stays in its place, and is
 * offered again when as many others have come or were accessed, or all were refused.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/base.h"
#include "daemon/core/policy/policy.h"

enum { FREQUENCY_MAX = (1 << 20) - 1 };

struct lfu_node {
	uint32_t more, less; /* its neighbours */
	uint32_t frequency;  /* 0: no object */
};

struct lfu {
	struct lfu_node *nodes;
	uint32_t objects, count;
	uint32_t least, most;
	uint32_t hand; /* the next to be offered, if some were refused; or POLICY_NONE */
	uint32_t refused, passed;         /* and how many were; and others put since */
	uint32_t last[FREQUENCY_MAX + 1]; /* number + 1; pages of it come with frequencies */
};

static int lfu_grow(void *policy, uint32_t objects)
{
	struct lfu *lfu = policy;
	struct lfu_node *nodes;

	if (objects <= lfu->objects)
		return 0;
	nodes = policy_grown(lfu->nodes, lfu->objects, objects, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	lfu->nodes = nodes;
	lfu->objects = objects;
	return 0;
}

static void lfu_deinit(void *policy)
{
	struct lfu *lfu = policy;

	if (!lfu)
		return;
	free(lfu->nodes);
	free(lfu);
}

static int lfu_init(void **ret, const struct policy_config *config)
{
	struct lfu *lfu = calloc(1, sizeof(*lfu));

	if (!lfu)
		return -ENOMEM;
	lfu->least = lfu->most = lfu->hand = POLICY_NONE;
	if (lfu_grow(lfu, config->objects)) {
		lfu_deinit(lfu);
		return -ENOMEM;
	}
	*ret = lfu;
	return 0;
}

static void lfu_resize(void *policy, uint64_t capacity)
{
	(void)policy;
	(void)capacity;
}

static void lfu_admit(void *policy, const struct policy_object *object)
{
	(void)policy;
	(void)object;
}

static void hand_to(struct lfu *lfu, uint32_t number)
{
	lfu->hand = number;
	if (number == POLICY_NONE)
		lfu->refused = lfu->passed = 0;
}

/* Behind `before`; POLICY_NONE: as the least. It is the last of its frequency. */
static void put(struct lfu *lfu, uint32_t number, uint32_t frequency, uint32_t before)
{
	uint32_t more = before == POLICY_NONE ? lfu->least : lfu->nodes[before].more;

	lfu->nodes[number] =
		(struct lfu_node){.more = more, .less = before, .frequency = frequency};
	if (before == POLICY_NONE)
		lfu->least = number;
	else
		lfu->nodes[before].more = number;
	if (more == POLICY_NONE)
		lfu->most = number;
	else
		lfu->nodes[more].less = number;
	lfu->last[frequency] = number + 1;
	if (lfu->hand == POLICY_NONE)
		return;
	if (++lfu->passed >= lfu->refused)
		hand_to(lfu, POLICY_NONE);
	else if (frequency < lfu->nodes[lfu->hand].frequency)
		lfu->hand = number;
}

/* Returns its lesser neighbour. */
static uint32_t take(struct lfu *lfu, uint32_t number)
{
	struct lfu_node node = lfu->nodes[number];

	if (node.less == POLICY_NONE)
		lfu->least = node.more;
	else
		lfu->nodes[node.less].more = node.more;
	if (node.more == POLICY_NONE)
		lfu->most = node.less;
	else
		lfu->nodes[node.more].less = node.less;
	if (lfu->last[node.frequency] == number + 1)
		lfu->last[node.frequency] =
			node.less != POLICY_NONE &&
					lfu->nodes[node.less].frequency == node.frequency
				? node.less + 1
				: 0;
	lfu->nodes[number].frequency = 0;
	return node.less;
}

static void lfu_insert(void *policy, const struct policy_object *object)
{
	struct lfu *lfu = policy;

	assert(object->number < lfu->objects && !lfu->nodes[object->number].frequency);
	put(lfu, object->number, 1,
	    lfu->last[1] && !mutant(lfu_newest_first) ? lfu->last[1] - 1 : POLICY_NONE);
	lfu->count++;
}

static void lfu_access(void *policy, const struct policy_object *object)
{
	struct lfu *lfu = policy;
	uint32_t frequency = lfu->nodes[object->number].frequency, before;

	if (frequency == FREQUENCY_MAX)
		return;
	if (lfu->hand == object->number && lfu->nodes[object->number].more != POLICY_NONE)
		lfu->hand = lfu->nodes[object->number].more;
	before = take(lfu, object->number);
	/* Behind all of the next frequency, or where its own end. */
	if (lfu->last[frequency + 1])
		before = lfu->last[frequency + 1] - 1;
	else if (lfu->last[frequency])
		before = lfu->last[frequency] - 1;
	put(lfu, object->number, frequency + 1, before);
}

static uint32_t lfu_victim(void *policy)
{
	const struct lfu *lfu = policy;

	return lfu->hand == POLICY_NONE ? lfu->least : lfu->hand;
}

/* The next one is offered; after the last, the least again. */
static void lfu_refuse(void *policy, uint32_t number)
{
	struct lfu *lfu = policy;

	if (lfu_victim(lfu) != number)
		return;
	lfu->refused++;
	hand_to(lfu, lfu->nodes[number].more);
}

static void lfu_remove(void *policy, const struct policy_object *object, bool evicted)
{
	struct lfu *lfu = policy;

	(void)evicted;
	if (lfu->hand == object->number)
		hand_to(lfu, lfu->nodes[object->number].more);
	take(lfu, object->number);
	lfu->count--;
}

static void lfu_rename(void *policy, uint32_t from, uint32_t to)
{
	struct lfu *lfu = policy;
	struct lfu_node node = lfu->nodes[from];

	assert(node.frequency && to < lfu->objects && !lfu->nodes[to].frequency);
	lfu->nodes[to] = node;
	lfu->nodes[from].frequency = 0;
	if (node.less == POLICY_NONE)
		lfu->least = to;
	else
		lfu->nodes[node.less].more = to;
	if (node.more == POLICY_NONE)
		lfu->most = to;
	else
		lfu->nodes[node.more].less = to;
	if (lfu->last[node.frequency] == from + 1)
		lfu->last[node.frequency] = to + 1;
	if (lfu->hand == from)
		lfu->hand = to;
}

static bool lfu_has(const void *policy, uint32_t number)
{
	const struct lfu *lfu = policy;

	return number < lfu->objects && lfu->nodes[number].frequency;
}

static const char *lfu_check(const void *policy, uint32_t *ret_count)
{
	const struct lfu *lfu = policy;
	uint32_t count = 0, less = POLICY_NONE, frequency = 0;

	for (uint32_t at = lfu->least; at != POLICY_NONE; at = lfu->nodes[at].more) {
		const struct lfu_node *node = &lfu->nodes[at];

		if (count++ == lfu->count)
			return "lfu: the line is longer than it counts";
		if (node->less != less)
			return "lfu: neighbours do not agree";
		if (node->frequency < frequency || !node->frequency)
			return "lfu: the line is out of order";
		if ((node->more == POLICY_NONE ||
		     lfu->nodes[node->more].frequency != node->frequency) !=
		    (lfu->last[node->frequency] == at + 1))
			return "lfu: the last of a frequency is another";
		frequency = node->frequency;
		less = at;
	}
	if (lfu->hand != POLICY_NONE && !lfu_has(lfu, lfu->hand))
		return "lfu: the hand is on no object";
	if (lfu->most != less || count != lfu->count)
		return "lfu: the line ends elsewhere";
	*ret_count = count;
	return NULL;
}

const struct policy policy_lfu = {
	.name = "lfu",
	.state = sizeof(struct lfu_node),
	.init = lfu_init,
	.deinit = lfu_deinit,
	.grow = lfu_grow,
	.resize = lfu_resize,
	.admit = lfu_admit,
	.insert = lfu_insert,
	.access = lfu_access,
	.victim = lfu_victim,
	.refuse = lfu_refuse,
	.remove = lfu_remove,
	.rename = lfu_rename,
	.has = lfu_has,
	.check = lfu_check,
};
