/*
 * Block word - who holds one block of a shared slice, or one shared extent.
 *
 *   state:2  id:10  generation:20
 *
 *   from               to                   by
 *   FREE, FREED        HELD(self), gen + 1  alloc: the owner of the slice
 *   HELD(self)         SENT(to)             send: `to` is a process, a channel, or BLOCK_ANYONE
 *   SENT(self, anyone  HELD(self)           receive: the addressee; of a channel, who has the
 *     or a channel)                         lock of its receivers (proto/ring.h)
 *   HELD(self)         FREE                 free: by the owner of the slice
 *   HELD(self)         FREED                free: by any other holder, who then hints
 *   FREED              FREE                 collect: the owner of the slice
 *   HELD, SENT(dead)   FREED                sweep: the daemon
 *
 * B1  Every transition is one compare-and-swap of the whole word. Whoever dies beside one, on
 *     either side, leaves a block that somebody holds, that is under way, or that is free.
 * B2  An id is in use by one process, or one channel, at a time: it is marked dead before the
 *     sweep that frees its words, and given again only after a sweep that began after that.
 *     Every sweep is for all ids that were somebody's and are nobody's by then, so also for
 *     those that earlier ones were for.
 * B3  Each allocation takes the next generation, never 0. A word keeps its generation when it
 *     is freed, and when its slice changes hands: so a reference, which bears it, goes stale
 *     with the block and stays so for 2^20 - 1 allocations.
 * B4  Only the holder frees or sends, only an addressee receives. Everybody else is told why
 *     not.
 * B5  FREED is the truth, the hint (`freed` of the slice) only says where to look: it is set
 *     after the word, exchanged for 0 before the words are read, and lost with a holder who
 *     dies between the two. So an owner reads all words before it takes more memory.
 *
 * Who sends to an id looks whether that id is alive *after* the exchange: if it is not, the
 * sweep may have passed already, and the sender takes the block back (block_receive from
 * `to`). If that is refused, the sweep has come after all: sent, and dead with its addressee.
 * A sender who dies before it looks causes a sweep by that, which is for `to`, too.
 *
 * An id is an address: what is exchanged after it has been given again is for its new one, who
 * has no reference to it unless a sender passed it on. Received by him or not, it goes like all
 * that was sent to him.
 *
 * Data: send and free release, receive and alloc acquire, so what one holder wrote the next one
 * reads. The functions of a word are pure, 0 or a refusal; those of an atomic word try them on
 * a copy until the exchange succeeds. A failed exchange means that somebody else's succeeded;
 * of one generation there are two at most before the transition is refused.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"
#include "proto/layout.h"

static_assert(ATOMIC_INT_LOCK_FREE == 2, "a lock would not cross processes");

enum block_state {
	BLOCK_FREE = 0, /* so are words that nobody has written yet */
	BLOCK_HELD = 1,
	BLOCK_SENT = 2,
	BLOCK_FREED = 3, /* by somebody else than the slice's owner, who has to collect it */
};

enum {
	BLOCK_ANYONE = 0, /* an addressee; no id */
	BLOCK_ID_BITS = 10,
	BLOCK_IDS = 1 << BLOCK_ID_BITS,
};

/* Why a transition is refused. */
enum {
	BLOCK_E_STALE = 1, /* the reference's block was freed, and given out again */
	BLOCK_E_FREED,     /* it was freed */
	BLOCK_E_HELD,      /* somebody else holds it */
	BLOCK_E_SENT,      /* it is under way, to somebody else */
	BLOCK_E_BUSY,      /* it is not free: nothing to allocate or collect */
};

struct block_info {
	enum block_state state;
	uint32_t id, generation;
};

static inline uint32_t block_word_pack(struct block_info info)
{
	return (uint32_t)info.state | (info.id & (BLOCK_IDS - 1)) << 2 |
	       (info.generation & TAG_MASK) << (2 + BLOCK_ID_BITS);
}

static inline struct block_info block_word_unpack(uint32_t word)
{
	return (struct block_info){
		.state = (enum block_state)(word & 3),
		.id = word >> 2 & (BLOCK_IDS - 1),
		.generation = word >> (2 + BLOCK_ID_BITS),
	};
}

/* A set of ids, as a sweep has it. */
struct block_ids {
	uint64_t words[BLOCK_IDS / 64];
};

static inline void block_ids_add(struct block_ids *ids, uint32_t id)
{
	ids->words[id / 64 % (BLOCK_IDS / 64)] |= (uint64_t)1 << id % 64;
}

static inline bool block_ids_has(const struct block_ids *ids, uint32_t id)
{
	return ids->words[id / 64 % (BLOCK_IDS / 64)] >> id % 64 & 1;
}

/*
 * ---- pure: the next word, or why not ----
 */

/* Why a reference of this generation does not name a block that somebody has; or 0. */
static inline int block_word_check(uint32_t word, uint32_t generation)
{
	struct block_info info = block_word_unpack(word);

	if (info.generation != generation || !generation)
		return BLOCK_E_STALE;
	if (info.state == BLOCK_FREE || info.state == BLOCK_FREED)
		return BLOCK_E_FREED;
	return 0;
}

/* Is it held by `self`, under this generation? 0, or why not. */
static inline int block_word_holds(uint32_t word, uint32_t generation, uint32_t self)
{
	struct block_info info = block_word_unpack(word);
	int r;

	r = block_word_check(word, generation);
	if (r)
		return r;
	if (info.state == BLOCK_SENT)
		return BLOCK_E_SENT;
	return info.id == self ? 0 : BLOCK_E_HELD;
}

static inline int block_word_alloc(uint32_t *word, uint32_t self)
{
	struct block_info info = block_word_unpack(*word);

	if (info.state != BLOCK_FREE && info.state != BLOCK_FREED)
		return BLOCK_E_BUSY;
	if (!mutant(block_generation_kept) || !info.generation)
		info.generation = info.generation == TAG_MASK ? 1 : info.generation + 1;
	info.state = BLOCK_HELD;
	info.id = self;
	*word = block_word_pack(info);
	return 0;
}

static inline int block_word_send(uint32_t *word, uint32_t generation, uint32_t self,
				  uint32_t to)
{
	int r;

	r = block_word_holds(*word, generation, self);
	if (r)
		return r;
	*word = block_word_pack((struct block_info){BLOCK_SENT, to, generation});
	return 0;
}

/* `from` is a channel; or BLOCK_ANYONE: what was sent to `self`, or to anyone. */
static inline int block_word_receive(uint32_t *word, uint32_t generation, uint32_t from,
				     uint32_t self)
{
	struct block_info info = block_word_unpack(*word);
	int r;

	r = block_word_check(*word, generation);
	if (r)
		return r;
	if (info.state == BLOCK_HELD)
		return BLOCK_E_HELD;
	if (info.id != from && (from != BLOCK_ANYONE || info.id != self))
		return BLOCK_E_SENT;
	*word = block_word_pack((struct block_info){BLOCK_HELD, self, generation});
	return 0;
}

/* `owner`: `self` owns the slice, and knows without reading the word that it is free. */
static inline int block_word_free(uint32_t *word, uint32_t generation, uint32_t self,
				  bool owner)
{
	int r;

	r = block_word_holds(*word, generation, self);
	if (r)
		return r;
	*word = block_word_pack(
		(struct block_info){owner ? BLOCK_FREE : BLOCK_FREED, 0, generation});
	return 0;
}

static inline int block_word_collect(uint32_t *word)
{
	struct block_info info = block_word_unpack(*word);

	if (info.state != BLOCK_FREED)
		return BLOCK_E_BUSY;
	info.state = BLOCK_FREE;
	*word = block_word_pack(info);
	return 0;
}

/* True: somebody dead had it, or was to have it, and it is FREED now. */
static inline bool block_word_sweep(uint32_t *word, const struct block_ids *dead)
{
	struct block_info info = block_word_unpack(*word);

	if (info.state != BLOCK_HELD && (info.state != BLOCK_SENT || mutant(block_sweep_held)))
		return false;
	if (info.id == BLOCK_ANYONE || !block_ids_has(dead, info.id))
		return false;
	*word = block_word_pack((struct block_info){BLOCK_FREED, 0, info.generation});
	return true;
}

/*
 * ---- the same on the shared word ----
 */

/* While `*old` is what is there, make it `new`; else *old is what is. */
static inline bool block_exchange(_Atomic uint32_t *word, uint32_t *old, uint32_t new)
{
	return atomic_compare_exchange_weak_explicit(word, old, new, memory_order_acq_rel,
						     memory_order_acquire);
}

/* *generation: of the block, for its references. */
static inline int block_alloc(_Atomic uint32_t *word, uint32_t self, uint32_t *generation)
{
	uint32_t old = atomic_load_explicit(word, memory_order_acquire), new;
	int r;

	do {
		new = old;
		r = block_word_alloc(&new, self);
		if (r)
			return r;
	} while (!block_exchange(word, &old, new));
	*generation = block_word_unpack(new).generation;
	return 0;
}

static inline int block_send(_Atomic uint32_t *word, uint32_t generation, uint32_t self,
			     uint32_t to)
{
	uint32_t old = atomic_load_explicit(word, memory_order_acquire), new;
	int r;

	do {
		new = old;
		r = block_word_send(&new, generation, self, to);
		if (r)
			return r;
	} while (!block_exchange(word, &old, new));
	return 0;
}

static inline int block_receive(_Atomic uint32_t *word, uint32_t generation, uint32_t from,
				uint32_t self)
{
	uint32_t old = atomic_load_explicit(word, memory_order_acquire), new;
	int r;

	do {
		new = old;
		r = block_word_receive(&new, generation, from, self);
		if (r)
			return r;
	} while (!block_exchange(word, &old, new));
	return 0;
}

/* By the owner of the slice. */
static inline int block_free_own(_Atomic uint32_t *word, uint32_t generation, uint32_t self)
{
	uint32_t old = atomic_load_explicit(word, memory_order_acquire), new;
	int r;

	do {
		new = old;
		r = block_word_free(&new, generation, self, true);
		if (r)
			return r;
	} while (!block_exchange(word, &old, new));
	return 0;
}

/*
 * After the word. Where it is set already, its line is left alone: who looks blocks up reads
 * it. The owner who takes it afterwards reads the words after that, and sees the exchange
 * before this load: a fence on either side, which an exchange is on x86.
 */
static inline void block_hint_set(_Atomic uint32_t *hint)
{
#if !defined(__x86_64__)
	atomic_thread_fence(memory_order_seq_cst);
#endif
	if (!atomic_load(hint))
		atomic_store_explicit(hint, 1, memory_order_release);
}

/* By any other holder; `hint` is `freed` of the slice. */
static inline int block_free(_Atomic uint32_t *word, uint32_t generation, uint32_t self,
			     _Atomic uint32_t *hint)
{
	uint32_t old = atomic_load_explicit(word, memory_order_acquire), new;
	int r;

	if (mutant(block_hint_first))
		atomic_store_explicit(hint, 1, memory_order_release);
	do {
		new = old;
		r = block_word_free(&new, generation, self, false);
		if (r)
			return r;
	} while (!block_exchange(word, &old, new));
	if (!mutant(block_hint_first))
		block_hint_set(hint);
	return 0;
}

/* By the owner, who has taken the hint before (B5). */
static inline bool block_collect(_Atomic uint32_t *word)
{
	uint32_t old = atomic_load_explicit(word, memory_order_acquire), new;

	do {
		new = old;
		if (block_word_collect(&new))
			return false;
	} while (!block_exchange(word, &old, new));
	return true;
}

/* Was the hint set? From here on it is not; read the words after this. */
static inline bool block_hint_take(_Atomic uint32_t *hint)
{
	if (!atomic_load_explicit(hint, memory_order_relaxed) || !atomic_exchange(hint, 0))
		return false;
	atomic_thread_fence(memory_order_seq_cst); /* partner: block_hint_set() */
	return true;
}
