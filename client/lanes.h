/*
 * Lanes - which lane of which session the calling thread has.
 *
 * LN1 A thread has one lane of a connection, from its first call that needs one until it ends; then
 *     another thread may have it, with the views that are still held there. Threads beyond the
 *     session's lanes share the last one, each call under a lock: one of those who read, who wait for
 *     nobody, and one of those who write.
 * LN2 A lane is found by the number of its opening, which is never given twice: what a thread
 *     remembers of a connection that has ended, or of the parent's after a fork, matches none.
 * LN3 Each record's result is looked at once, in order: by who waits for it, or before its place is
 *     needed again. What failed without anybody waiting is told to its writer (writer.h).
 * LN4 Who waits for the daemon sleeps; it looks for a while before only if that has paid lately. While
 *     the daemon is away records stay where they are; who waits for one reconnects, if nobody else does.
 * LN5 Where the daemon gives no lanes, a thread has an `own_lane` all the same, without a `lane`: its
 *     writers ask by methods, its readers copy (apart.h). So they do with VARBOS_LANE=none; with
 *     VARBOS_LANE=off, which leaves lanes to readers alone, writers do.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/lock.h"
#include "proto/lane.h"

struct varbos;
struct writer;

/* Found without a search; as little as may be, as in thread.h. */
enum { THREAD_LANES = 4 };

struct own_lane {
	struct lane *lane; /* in shared memory; NULL: LN5 */
	struct lanes *lanes;
	uint64_t serial; /* of the thread that has it: never given twice */
	uint64_t random;
	bool taken;
	bool common;         /* several threads', under its locks: */
	struct lock reading; /* hazards, counts, accesses */
	struct lock writing; /* all below */

	uint64_t head; /* as lane->head */
	uint64_t taken_seen;
	uint64_t looked;     /* results before it have been looked at */
	uint32_t woken;      /* bell->sleeping when it was woken last, */
	uint32_t woken_over; /* and over which connection */
	uint32_t spins;      /* how often it has paid lately */
	uint32_t waits;
	struct writer *writers;             /* of the caches that its threads have put to */
	struct writer *asked[LANE_RECORDS]; /* whose record it is; NULL: nobody looks back */
};

/* Of a connection. */
struct lanes {
	_Atomic uint64_t number; /* of this opening; 0: they are not open */
	struct varbos *vb;
	struct lanes *next; /* among those that are open */
	struct lock lock;   /* of all below */
	char *memory;       /* of the lanes; NULL: LN5 */
	const struct bell *bell;
	uint32_t n;
	uint32_t pins; /* views that a thread may hold */
	bool fence;    /* readers need one */
	bool records;  /* there are lanes, and they are not off */
	struct own_lane *own[LANES_A_SESSION];
};

struct thread_lane {
	uint64_t number;
	struct own_lane *own;
	struct lane *lane; /* own->lane */
};

extern _Thread_local struct thread_lane thread_lanes[THREAD_LANES]
	__attribute__((visibility("hidden")));

/* After connection_enter(): open, this session's. 0 or a VARBOS_E_ code. */
int lanes_need(struct varbos *vb);
/* Nobody uses them any more. `ours`: not the parent's. */
void lanes_close(struct lanes *lanes, bool ours);
/* In a forked child: its parent's are not there. */
void lanes_forget(void);

/* The calling thread's, or NULL: lane_need() knows. One that is its alone. */
static inline struct own_lane *lane_at_hand(uint64_t number)
{
	const struct thread_lane *slot = &thread_lanes[number % THREAD_LANES];

	return __builtin_expect(slot->number == number, 1) ? slot->own : NULL;
}

/* The same for a reader; number: LANES_NONE, or there are lanes. False: lane_enter() knows. */
#define LANES_NONE UINT64_MAX
static inline bool lane_to_read(uint64_t number, struct lane **ret)
{
	const struct thread_lane *slot = &thread_lanes[number % THREAD_LANES];

	*ret = slot->lane;
	return __builtin_expect(slot->number == number, 1);
}

/* What a number leads to, reckoned once: how many bytes from the first slot. */
static inline uint64_t lane_slot(uint64_t number)
{
	return number % THREAD_LANES * sizeof(struct thread_lane);
}

/* NULL: as above. */
static inline const struct thread_lane *lane_in_slot(uint64_t slot, uint64_t number)
{
	const struct thread_lane *at =
		(const struct thread_lane *)(const void *)((const char *)thread_lanes + slot);

	return __builtin_expect(at->number == number, 1) ? at : NULL;
}

/* The same, taken if need be, to be left: a common one is locked meanwhile, for that use. */
enum lane_use {
	LANE_READS,
	LANE_WRITES,
};

int lane_enter(struct lanes *lanes, enum lane_use use, struct own_lane **ret);
void lane_leave(struct own_lane *own, enum lane_use use);
static inline void lane_readp(struct own_lane **own)
{
	if (*own)
		lane_leave(*own, LANE_READS);
}
static inline void lane_wrotep(struct own_lane **own)
{
	if (*own)
		lane_leave(*own, LANE_WRITES);
}

/* A hazard word that holds nothing, of `pins`; NULL: the thread has as many views as it may. */
static inline _Atomic uint64_t *lane_hazard(struct lane *lane, uint32_t pins)
{
	_Atomic uint64_t *hazards = lane->hazards;

	for (uint32_t i = 1; i <= pins; i++)
		if (!atomic_load_explicit(&hazards[i], memory_order_acquire))
			return &hazards[i];
	return NULL;
}

/* Put a record, waiting for room. *ret_position unless NULL: where. 0, or VARBOS_E_ of waiting. */
int lane_put(struct own_lane *own, const struct lane_record *record, struct writer *writer,
	     uint64_t *ret_position);
/* False: there is no room now. */
bool lane_try(struct own_lane *own, const struct lane_record *record, struct writer *writer);

struct lane_answer {
	uint32_t code, generation;
	uint64_t ref, detail;
};

/* The result of a record, waited for. 0, or VARBOS_E_ of waiting: then it is nobody's. */
int lane_await(struct own_lane *own, uint64_t position, struct lane_answer *ret);
/* The same, if it is there. */
bool lane_look(struct own_lane *own, uint64_t position, struct lane_answer *ret);
/* All that was put so far, by whatever thread: it has been taken. */
int lanes_settle(struct lanes *lanes);
/* The same of one lane, with its results looked at. */
int lane_settle(struct own_lane *own);

/* Not 0; another each time, of 24 bits. */
uint32_t lane_draw(struct own_lane *own);
