/*
 * Idle - the objects of a pool that nobody uses, and who waits for one.
 *
 * What each kind of pool does its own way is here, inline, so that the way of each through a get or
 * a put is straight: `kind` is a constant wherever that matters.
 */
#pragma once

#include "client/pool.h"

enum { LOOKS = 64 }; /* at shards that change meanwhile */

#define always_inline inline __attribute__((always_inline))

static inline bool is_local(const struct varbos_pool *pool)
{
	return pool->options.kind == VARBOS_POOL_LOCAL;
}

/* One of several may do this at once; false if the state is another. */
static always_inline bool slot_turn(struct slot *slot, enum slot_state from, enum slot_state to,
				    bool local)
{
	uint32_t state = from;

	if (!local)
		return atomic_compare_exchange_strong_explicit(
			&slot->state, &state, to, memory_order_acq_rel, memory_order_relaxed);
	if (atomic_load_explicit(&slot->state, memory_order_relaxed) != from)
		return false;
	atomic_store_explicit(&slot->state, to, memory_order_relaxed);
	return true;
}

/* ---- stacks ---- */

/* Which of `n` (a power of two) is the calling thread's. */
static inline uint32_t own_shard(uint32_t n)
{
	static _Atomic uint32_t threads;
	static _Thread_local uint32_t mine __attribute__((tls_model("initial-exec")));

	if (n == 1)
		return 0;
	if (!mine)
		mine = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1;
	return mine & (n - 1);
}

/* Does somebody wait who has announced it before this? */
static always_inline bool push(struct varbos_pool *pool, uint32_t id,
			       enum varbos_pool_kind kind)
{
	struct shard *shard = &pool->shards[0];
	bool waited;

	switch (kind) {
	case VARBOS_POOL_LOCAL:
		stack_push_alone(&shard->idle, &pool->slabs, id);
		return false;
	case VARBOS_POOL_LOCKED:
		lock_acquire(&shard->lock);
		stack_push_alone(&shard->idle, &pool->slabs, id);
		waited = atomic_load_explicit(&pool->waiting, memory_order_relaxed);
		lock_release(&shard->lock);
		return waited;
	case VARBOS_POOL_STEALING:
		shard += own_shard(pool->n_shards);
		break;
	case VARBOS_POOL_LOCK_FREE:
		break;
	}
	stack_push(&shard->idle, &pool->slabs, id);
	return atomic_load_explicit(&pool->waiting, memory_order_seq_cst);
}

static always_inline uint32_t pop(struct varbos_pool *pool, enum varbos_pool_kind kind)
{
	struct shard *shard = &pool->shards[0];
	uint32_t id = ID_NONE, mine, mask = pool->n_shards - 1;

	switch (kind) {
	case VARBOS_POOL_LOCAL:
		return stack_pop_alone(&shard->idle, &pool->slabs);
	case VARBOS_POOL_LOCKED:
		lock_acquire(&shard->lock);
		id = stack_pop_alone(&shard->idle, &pool->slabs);
		lock_release(&shard->lock);
		return id;
	case VARBOS_POOL_LOCK_FREE:
		return stack_pop(&shard->idle, &pool->slabs, false);
	case VARBOS_POOL_STEALING:
		mine = own_shard(pool->n_shards);
		for (uint32_t i = 0; i <= mask && id == ID_NONE; i++)
			id = stack_pop(&pool->shards[(mine + i) & mask].idle, &pool->slabs, i);
		break;
	}
	return id;
}

/* ---- waiting ---- */

static inline void wake(struct varbos_pool *pool, bool all)
{
	atomic_fetch_add_explicit(&pool->event, 1, memory_order_seq_cst);
	futex_wake(&pool->event, all);
}

/* With the change made that who waits may hope for. */
static inline void wake_waiting(struct varbos_pool *pool, bool all)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&pool->waiting, memory_order_relaxed))
		wake(pool, all);
}

static inline void announce(struct varbos_pool *pool, uint32_t more)
{
	struct shard *shard = &pool->shards[0];
	bool locked = pool->options.kind == VARBOS_POOL_LOCKED;

	if (locked)
		lock_acquire(&shard->lock);
	atomic_fetch_add_explicit(&pool->waiting, more, memory_order_seq_cst);
	if (locked)
		lock_release(&shard->lock);
}

static inline void slow_enter(struct varbos_pool *pool)
{
	if (!is_local(pool))
		lock_acquire(&pool->lock);
}

static inline void slow_leave(struct varbos_pool *pool)
{
	if (!is_local(pool))
		lock_release(&pool->lock);
}

/* With the lock. */
static inline void hollow(struct varbos_pool *pool, uint32_t id)
{
	atomic_store_explicit(&slot_of(&pool->slabs, id)->state, SLOT_EMPTY,
			      memory_order_relaxed);
	slabs_return(&pool->slabs, id);
}

/* ---- taking ---- */

/* Popped, but evicted where it lay. Apart, so that what is rare costs the rest no registers. */
static __attribute__((noinline)) void take_gone(struct varbos_pool *pool, uint32_t id,
						bool locked)
{
	if (!locked)
		slow_enter(pool);
	hollow(pool, id);
	if (!locked)
		slow_leave(pool);
}

/* An idle object, LIVE from now on, or ID_NONE. `locked`: the caller has the lock. */
static always_inline uint32_t take_idle(struct varbos_pool *pool, bool locked,
					enum varbos_pool_kind kind)
{
	struct slot *slot;
	uint32_t id;

	while ((id = pop(pool, kind)) != ID_NONE) {
		slot = slot_of(&pool->slabs, id);
		if (!pool->evicts) {
			atomic_store_explicit(&slot->state, SLOT_LIVE, memory_order_relaxed);
			break;
		}
		if (slot_turn(slot, SLOT_IDLE, SLOT_LIVE, kind == VARBOS_POOL_LOCAL))
			break;
		take_gone(pool, id, locked);
	}
	return id;
}

static inline uint64_t tops_sum(struct varbos_pool *pool)
{
	uint64_t sum = 0;

	/* Turns only grow: no two changes make up for each other. */
	for (uint32_t i = 0; i < pool->n_shards; i++)
		sum += top_turn(
			atomic_load_explicit(&pool->shards[i].idle.top, memory_order_seq_cst));
	return sum;
}

/* O6, with the lock. */
static inline uint32_t take_surely(struct varbos_pool *pool)
{
	uint32_t id = ID_NONE;
	uint64_t before;

	for (int i = 0; i < LOOKS && id == ID_NONE; i++) {
		before = tops_sum(pool);
		id = take_idle(pool, true, pool->options.kind);
		if (id == ID_NONE && tops_sum(pool) == before)
			break;
	}
	return id;
}
