#include "daemon/core/policy/order.h"

#include <assert.h>

int order_grow(struct order *order, uint32_t objects)
{
	struct order_node *nodes;

	if (objects <= order->objects)
		return 0;
	nodes = policy_grown(order->nodes, order->objects, objects, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	order->nodes = nodes;
	order->objects = objects;
	return 0;
}

int order_init(struct order *order, uint32_t objects)
{
	*order = (struct order){};
	return order_grow(order, objects);
}

void order_deinit(struct order *order)
{
	free(order->nodes);
}

static void link_young(struct order *order, struct queue *queue, uint32_t number)
{
	struct order_node *node = &order->nodes[number];

	node->younger = POLICY_NONE;
	node->older = queue->young;
	if (queue->young == POLICY_NONE)
		queue->old = number;
	else
		order->nodes[queue->young].younger = number;
	queue->young = number;
}

static void unlink_node(struct order *order, struct queue *queue, uint32_t number)
{
	const struct order_node *node = &order->nodes[number];

	if (node->younger == POLICY_NONE)
		queue->young = node->older;
	else
		order->nodes[node->younger].older = node->older;
	if (node->older == POLICY_NONE)
		queue->old = node->younger;
	else
		order->nodes[node->older].younger = node->younger;
}

void order_put(struct order *order, struct queue *queue, uint32_t id, uint32_t number,
	       uint32_t size)
{
	assert(number < order->objects && !order_queue(order, number) && size &&
	       size <= POLICY_SIZE_MAX);
	order->nodes[number].word = size | id << 30;
	link_young(order, queue, number);
	queue->count++;
	queue->size += size;
}

void order_take(struct order *order, struct queue *queue, uint32_t number)
{
	assert(number < order->objects && order_queue(order, number));
	unlink_node(order, queue, number);
	queue->count--;
	queue->size -= order_size(order, number);
	order->nodes[number].word = 0;
}

void order_fit(struct order *order, struct queue *queue, uint32_t number, uint32_t size)
{
	uint32_t old = order_size(order, number);

	assert(order_queue(order, number) && size && size <= POLICY_SIZE_MAX);
	queue->size += (uint64_t)size - old;
	order->nodes[number].word += size - old;
}

void order_rename(struct order *order, struct queue *queue, uint32_t number, uint32_t to)
{
	struct order_node *node = &order->nodes[to];

	assert(order_queue(order, number) && to < order->objects && !order_queue(order, to));
	*node = order->nodes[number];
	order->nodes[number].word = 0;
	if (node->younger == POLICY_NONE)
		queue->young = to;
	else
		order->nodes[node->younger].older = to;
	if (node->older == POLICY_NONE)
		queue->old = to;
	else
		order->nodes[node->older].younger = to;
}

void order_renew(struct order *order, struct queue *queue, uint32_t number)
{
	if (queue->young == number)
		return;
	unlink_node(order, queue, number);
	link_young(order, queue, number);
}

const char *order_check(const struct order *order, const struct queue *queue, uint32_t id)
{
	uint32_t count = 0, younger = POLICY_NONE;
	uint64_t size = 0;

	for (uint32_t at = queue->young; at != POLICY_NONE; at = order->nodes[at].older) {
		if (at >= order->objects || count == queue->count)
			return "O2: a queue is longer than it counts, or leads elsewhere";
		if (order->nodes[at].younger != younger)
			return "O2: a queue's links do not agree";
		if (order_queue(order, at) != id)
			return "O1: an object is in a queue that it does not know of";
		count++;
		size += order_size(order, at);
		younger = at;
	}
	if (queue->old != younger)
		return "O2: a queue's old end is elsewhere";
	if (count != queue->count || size != queue->size)
		return "O2: a queue's sums are wrong";
	return NULL;
}
