/*
 * Ring - a channel: a bounded queue of references to shared blocks, in memory that its senders
 * and receivers map.
 *
 *   field          written by                     read by
 *   send.lock      senders, by CAS; the daemon's  the same, and receivers of an empty ring
 *                  sweep
 *   send.tail      who has send.lock, after the   receivers
 *                  slots and words it publishes
 *   send.head      who has send.lock: `head` as   who has send.lock
 *                  it was read last
 *   receive.lock   receivers, by CAS; the sweep   the same
 *   receive.head   who has receive.lock, after    senders
 *                  the slots have been cleared
 *   receive.tail   who has receive.lock: `tail`   who has receive.lock
 *                  as it was read last
 *   bells.*        odd: by who is about to     who has just done what it waits for; who
 *                  sleep; even: by who wakes   sleeps until it changes
 *   slots[n]       a reference: who has send.lock who has receive.lock; who takes send.lock
 *                  0: who has receive.lock, or    over
 *                  send.lock for those it wrote
 *
 * `tail` and `head` count without end; a slot's index is their low bits. A ring of zeros is an
 * empty one. A lock is holder:11 turn:21, `turn` going on with each acquisition, so that one who
 * was slow to take a lock over from the dead does not take it from a living holder who has the
 * same id by now.
 *
 * R1  Order of sending, for each reference: slot, word HELD(self) -> SENT(channel), then `tail`.
 *     Whoever dies in between leaves slots beyond `tail`, of which the word tells what was
 *     sent: those are published by the next to have the lock, the others are cleared.
 * R2  Order of receiving: word SENT(channel) -> HELD(self), slot = 0, then `head`. Who dies in
 *     between leaves slots that are 0, or whose word is no longer SENT to this channel: they
 *     are skipped by the next.
 * R3  While nobody has send.lock, the slots outside of [head, tail) are 0.
 * R4  So a block that is SENT to a channel is in one of its slots, and is received once, by
 *     whose exchange of its word succeeds. What a slot says is a hint to the word, as `tail` and
 *     `head` are to the slots.
 * R5  A lock is taken over only from an id that is dead, and the id is given again only after
 *     a sweep that has made the locks it held RING_ORPHAN. Time never takes a lock away.
 * R6  Nobody sleeps through what it waits for: who sleeps makes the bell odd, then a full fence,
 *     then looks, then sleeps while the bell is the same; who acts stores, then a full fence,
 *     then looks at the bell, makes an odd one even by counting on, and wakes. One of the two
 *     sees the other. (A flag would not do: who is slow to take it away, for something that
 *     has been seen long ago, takes it from one who has just looked.) Who dies between acting
 *     and waking wakes nobody; the `deaths` of the root file does, which all sleepers wait on,
 *     too.
 * R7  Nothing here is believed: what is loaded, is loaded once; slots are masked by a capacity
 *     that the daemon told; loops run at most once over the slots. A spoiled ring loses blocks
 *     (to the sweep after its end), and gives RING_E_SPOILED, or wrong references, that words
 *     refuse.
 *
 * No system call and no waiting is in here: the caller sleeps and wakes (ring_sleep(), `wake`).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/block_word.h"

enum {
	RING_CAPACITY_MAX = 4096, /* a power of two, as each capacity */
	RING_ORPHAN = BLOCK_IDS,  /* holds a lock whose holder died: anyone's */
};

struct ring {
	struct {
		_Alignas(64) _Atomic uint32_t lock;
		_Atomic uint32_t tail, head;
	} send;
	struct {
		_Alignas(64) _Atomic uint32_t lock;
		_Atomic uint32_t head, tail;
	} receive;
	struct {
		_Alignas(64) _Atomic uint32_t item;
		_Atomic uint32_t room, send_lock, receive_lock;
	} bells;
	_Alignas(64) _Atomic uint64_t slots[];
};

static_assert(sizeof(struct ring) == 192 && offsetof(struct ring, slots) == 192, "three lines");
static_assert(offsetof(struct ring, receive.lock) == 64, "what the daemon sweeps");

static inline size_t ring_bytes(uint32_t capacity)
{
	return sizeof(struct ring) + capacity * sizeof(uint64_t);
}

/*
 * The daemon's sweep, for both locks of each ring. True: who had it is dead, *lock is what it
 * has to be now, by one exchange.
 */
static inline bool ring_lock_sweep(uint32_t *lock, const struct block_ids *dead)
{
	uint32_t holder = *lock & (2 * BLOCK_IDS - 1);

	if (holder == 0 || holder >= BLOCK_IDS || !block_ids_has(dead, holder))
		return false;
	*lock = (*lock & ~(uint32_t)(2 * BLOCK_IDS - 1)) | RING_ORPHAN;
	return true;
}

enum {
	RING_E_FULL = 1,
	RING_E_EMPTY,
	RING_E_BUSY,     /* somebody alive has the lock */
	RING_E_REFUSED,  /* the word refused: `why` is a BLOCK_E_ code */
	RING_E_FOREIGN,  /* no reference of this space */
	RING_E_UNMAPPED, /* `unmapped` is in a window to be mapped first */
	RING_E_SPOILED,
};

/* What is waited for; whoever returns with some of it in `wake` does FUTEX_WAKE all on its bell. */
enum ring_wake {
	RING_WAKE_ITEM = 1 << 0,
	RING_WAKE_ROOM = 1 << 1,
	RING_WAKE_SEND_LOCK = 1 << 2,
	RING_WAKE_RECEIVE_LOCK = 1 << 3,
	RING_WAKES = 4,
};

/* NULL: that is none. */
static inline _Atomic uint32_t *ring_bell(struct ring *ring, enum ring_wake what)
{
	return what == RING_WAKE_ITEM           ? &ring->bells.item
	       : what == RING_WAKE_ROOM         ? &ring->bells.room
	       : what == RING_WAKE_SEND_LOCK    ? &ring->bells.send_lock
	       : what == RING_WAKE_RECEIVE_LOCK ? &ring->bells.receive_lock
						: NULL;
}

/* One process's way to a ring. */
struct ring_end {
	struct ring *ring;
	uint32_t capacity; /* as the daemon said */
	uint32_t channel;  /* its id */
	uint32_t self;     /* this process's */
	/* Is it, by the root file, no living process's? Asked of ids only. */
	bool (*is_dead)(void *userdata, uint32_t id);
	/* 0 and the word of the block that bears the reference; RING_E_FOREIGN, RING_E_UNMAPPED. */
	int (*word_of)(void *userdata, uint64_t ref, _Atomic uint32_t **ret);
	void *userdata;
};

/* How a call went, beyond what it returns. */
struct ring_result {
	uint32_t count;    /* sent or received */
	uint32_t wake;     /* enum ring_wake: to do, whatever the call returned */
	int why;           /* of RING_E_REFUSED */
	uint64_t unmapped; /* of RING_E_UNMAPPED */
};

/*
 * Send as many of n > 0 blocks as there is room for. 0: one at least, of `count`. Else none was:
 * FULL, BUSY, SPOILED; REFUSED, FOREIGN or UNMAPPED: the first (what stops a later one is told
 * when it comes first). UNMAPPED also when a dead sender's leavings cannot be told.
 */
int ring_send(const struct ring_end *end, const uint64_t *refs, uint32_t n,
	      struct ring_result *ret);

/*
 * Receive up to n > 0. 0: one at least, of `count`. Else none: EMPTY, BUSY, SPOILED, UNMAPPED. An
 * empty ring whose sender died gets what that one had sent, first.
 */
int ring_receive(const struct ring_end *end, uint64_t *refs, uint32_t n,
		 struct ring_result *ret);

struct ring_sleep {
	_Atomic uint32_t *word; /* the bell */
	uint32_t value;
};

/*
 * After FULL: RING_WAKE_ROOM, after EMPTY: ITEM, after BUSY: that lock. True: sleep while
 * *word is `value`, and `deaths` of the root file is what it was before this call; then, or
 * if false, try again.
 */
bool ring_sleep(const struct ring_end *end, enum ring_wake what, struct ring_sleep *ret);

/* About how many are in it. */
uint32_t ring_count(const struct ring_end *end);
