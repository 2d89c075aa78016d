/*
 * Stack - of ids of slabs (slab.h), changed with a lock or without: its top is one word.
 *
 *   turn:34  id:30        changed by one compare-and-swap
 *
 * N1  Every change takes the next turn: a word that has not changed means a stack that has not.
 *     Who reads the id below the top, and is then overtaken by others who pop both and push the
 *     top again, finds another turn and tries again. (2^34 changes in between would go unseen.)
 * N2  A slot stays where it is while there is a stack: to read what is below one that was popped
 *     meanwhile is harmless.
 */
#pragma once

#include <assert.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/base.h"
#include "client/slab.h"

struct stack {
	_Atomic uint64_t top;
};

static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock could be held by a thread that stops");

static inline uint32_t top_id(uint64_t top)
{
	return (uint32_t)top & ID_NONE;
}

static inline uint64_t top_turn(uint64_t top)
{
	return top >> ID_BITS;
}

/* Pure: the word after `top`, with another id on top. */
static inline uint64_t top_next(uint64_t top, uint32_t id)
{
	return (top_turn(top) + (mutant(pool_turn_kept) ? 0 : 1)) << ID_BITS | id;
}

static inline void stack_init(struct stack *stack)
{
	atomic_init(&stack->top, ID_NONE);
}

/* By one thread at a time. */
static inline void stack_push_alone(struct stack *stack, struct slabs *slabs, uint32_t id)
{
	uint64_t top = atomic_load_explicit(&stack->top, memory_order_relaxed);

	atomic_store_explicit(&slot_of(slabs, id)->below, top_id(top), memory_order_relaxed);
	atomic_store_explicit(&stack->top, top_next(top, id), memory_order_relaxed);
}

static inline uint32_t stack_pop_alone(struct stack *stack, struct slabs *slabs)
{
	uint64_t top = atomic_load_explicit(&stack->top, memory_order_relaxed);
	uint32_t id = top_id(top), below;

	if (id == ID_NONE)
		return id;
	below = atomic_load_explicit(&slot_of(slabs, id)->below, memory_order_relaxed);
	atomic_store_explicit(&stack->top, top_next(top, below), memory_order_relaxed);
	return id;
}

/*
 * By any. Release: who pops the id sees what was stored before. Sequentially consistent, for who
 * then looks whether somebody waits.
 */
static inline void stack_push(struct stack *stack, struct slabs *slabs, uint32_t id)
{
	_Atomic uint32_t *below = &slot_of(slabs, id)->below;
	uint64_t top = atomic_load_explicit(&stack->top, memory_order_relaxed);

	do
		atomic_store_explicit(below, top_id(top), memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&stack->top, &top, top_next(top, id),
						      memory_order_seq_cst,
						      memory_order_relaxed));
}

/*
 * `steals`: from another thread's stack, which is the same, but that a mutant is caught by.
 * Acquire: what is below is what the pusher stored, unless the turn has changed since.
 */
static inline uint32_t stack_pop(struct stack *stack, struct slabs *slabs, bool steals)
{
	uint64_t top = atomic_load_explicit(&stack->top, memory_order_seq_cst), next;
	uint32_t id;

	do {
		id = top_id(top);
		if (id == ID_NONE)
			return id;
		next = top_next(top, atomic_load_explicit(&slot_of(slabs, id)->below,
							  memory_order_relaxed));
		if (steals && mutant(pool_steal_unclaimed)) {
			sched_yield(); /* or it would be caught on some days only */
			atomic_store(&stack->top, next);
			return id;
		}
	} while (!atomic_compare_exchange_weak_explicit(
		&stack->top, &top, next, memory_order_acq_rel, memory_order_acquire));
	return id;
}
