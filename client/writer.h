/*
 * Writer - where a thread puts objects of one cache, and what became of them.
 *
 * WR1 A thread appends to a segment of its own, without a word to anybody, and asks for the next one
 *     before it is full: 64 KiB at first, each twice the one before, up to 2 MiB.
 * WR2 Objects are published in the order in which they lie in a segment. So a reservation has its
 *     segment to itself until it is committed or given up, and what is put meanwhile goes into
 *     another; what is reserved besides, and what is larger than OBJECT_OWN, gets an extent of
 *     its own.
 *     After some of one size, up to that of a segment, the next is asked for before it is needed:
 *     by a record, and if that has found none, for a while by calls, which wait for it.
 * WR3 What fails without anybody waiting for it is remembered until it is told: the first of all.
 * WR4 A writer belongs to a lane, and stays while that is open, with what is left of its segments, for
 *     the next thread; one of a cache that is closed is used again for another.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/cache_ask.h"
#include "client/lanes.h"
#include "proto/object.h"

struct varbos_cache;

enum { WRITER_SEGMENTS = 2 };

struct writer_segment {
	struct cache_memory memory; /* size 0: none */
	uint64_t at;                /* the first byte that is free */
	bool reserved;
};

/* An extent of its own, for a reservation that has not ended. */
struct writer_own {
	struct writer_own *next;
	struct cache_memory memory;
};

/* The next extent of its own, which is asked for: */
struct writer_ahead {
	uint64_t size;
	struct call *call;         /* by a call, or NULL */
	uint64_t position;         /* by the record before this; 0: by none */
	bool told;                 /* what that is answered: */
	struct lane_answer answer; /* so */
	uint32_t calls;            /* so many more are asked for by calls */
};

struct writer {
	struct writer *next;        /* of its lane */
	struct varbos_cache *cache; /* in calls on it alone; else it may be closed */
	uint64_t opening;           /* of the cache */
	uint32_t handle, space_handle;
	struct writer_segment segments[WRITER_SEGMENTS];
	struct writer_own *reserved;
	uint64_t next_size;
	uint32_t small;     /* so many times no larger one is asked for */
	struct call *ahead; /* or NULL */
	uint64_t ahead_size;
	struct writer_ahead own_ahead;
	uint64_t own_size; /* of the latest extents, which were so many: */
	uint32_t own_alike;
	uint64_t last; /* position after its last record */
	struct lane_answer failed;
	uint64_t failures;
};

/* Of this thread and cache, made if need be. NULL: no memory. */
struct writer *writer_need(struct own_lane *own, struct varbos_cache *cache);
/* The same, if it is there. */
struct writer *writer_find(const struct own_lane *own, const struct varbos_cache *cache);

/* Where an object goes. */
struct writer_place {
	struct cache_memory own;        /* size 0: in a segment */
	struct writer_segment *segment; /* which */
	uint64_t offset, end;
};

/* 0, or why there is no memory. reserve: others keep out of the segment. */
int writer_place(struct own_lane *own, struct writer *writer, struct object_sizes sizes,
		 bool reserve, struct writer_place *ret);
/* It has been asked to be published, up to `end`; or nothing has (end 0). */
void writer_done(struct own_lane *own, struct writer *writer, const struct writer_place *place,
		 uint64_t end);

/* What became of a record that nobody waits for. */
void writer_told(struct writer *writer, uint64_t position, const struct lane_answer *answer);
/* It has failed. */
void writer_failed(struct writer *writer, const struct lane_answer *answer);

/*
 * The thread ends: what is being filled, or was reserved, is the cache's, as far as that can be said now;
 * and what has failed, or will, was its alone.
 */
void writers_rest(struct own_lane *own);
/* `ours`: not the parent's. */
void writers_free(struct own_lane *own, bool ours);
