/*
 * Order - objects in queues, by number: what most policies are made of.
 *
 * O1  An object is in one queue at most, and `word` says which, how large it is, and how often it
 *     was accessed, as far as its policy counts.
 * O2  A queue's count and size are sums over what is linked from its old end to its young end.
 */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/base.h"
#include "daemon/core/policy/policy.h"

/* word: size:28  mark:2  queue:2 (0: in none) */
struct order_node {
	uint32_t younger, older, word;
};

struct queue {
	uint32_t young, old, count;
	uint64_t size;
};

struct order {
	struct order_node *nodes;
	uint32_t objects;
};

static inline void queue_init(struct queue *queue)
{
	*queue = (struct queue){.young = POLICY_NONE, .old = POLICY_NONE};
}

static inline uint32_t order_size(const struct order *order, uint32_t number)
{
	return order->nodes[number].word & POLICY_SIZE_MAX;
}

static inline uint32_t order_mark(const struct order *order, uint32_t number)
{
	return order->nodes[number].word >> 28 & 3;
}

static inline uint32_t order_queue(const struct order *order, uint32_t number)
{
	return order->nodes[number].word >> 30;
}

static inline bool order_has(const struct order *order, uint32_t number)
{
	return number < order->objects && order_queue(order, number);
}

static inline void order_set_mark(struct order *order, uint32_t number, uint32_t mark)
{
	uint32_t *word = &order->nodes[number].word;

	*word = (*word & ~((uint32_t)3 << 28)) | mark << 28;
}

/* To have at hand what is known of a number; and what it is linked with, once that is. */
static inline void order_fetch(const struct order *order, uint32_t number)
{
	__builtin_prefetch(&order->nodes[number], 1);
}

static inline void order_fetch_beside(const struct order *order, uint32_t number)
{
	if (number >= order->objects)
		return;
	__builtin_prefetch(&order->nodes[order->nodes[number].younger], 1);
	__builtin_prefetch(&order->nodes[order->nodes[number].older], 1);
}

int order_init(struct order *order, uint32_t objects);
int order_grow(struct order *order, uint32_t objects);
void order_deinit(struct order *order);

/* At the young end of the queue, which is number `id` of its policy's, from 1 on; unmarked. */
void order_put(struct order *order, struct queue *queue, uint32_t id, uint32_t number,
	       uint32_t size);
void order_take(struct order *order, struct queue *queue, uint32_t number);
/* Its size is `size` from now on. */
void order_fit(struct order *order, struct queue *queue, uint32_t number, uint32_t size);
/* Its number is `to` from now on. */
void order_rename(struct order *order, struct queue *queue, uint32_t number, uint32_t to);
/* To the young end of its own queue. */
void order_renew(struct order *order, struct queue *queue, uint32_t number);

/* Walks O1 and O2. */
const char *order_check(const struct order *order, const struct queue *queue, uint32_t id);
