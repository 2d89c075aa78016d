/*
 * World - a small space: some blocks, a channel of four slots, some processes that are ids; what
 * they do with it, what a daemon does about their deaths, and the walker, which says whether any
 * block was lost.
 *
 * Who is stepped runs acts (step/acts.c) in bottles; all else happens in the tracer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/ring.h"

enum {
	WORLD_BLOCKS = 14,
	WORLD_CAPACITY = 4,
	WORLD_IDS = 10,
	/* Ids: two in bottles, who follows up, who owns the slice, who died before; the channel. */
	WHO_A = 1,
	WHO_B = 2,
	WHO_C = 3,
	WHO_OWNER = 4,
	WHO_LATE = 5,
	WORLD_CHANNEL = 9,
};

/* Of an id: what the root file says. A daemon knows, besides, which of the dead are to be swept. */
enum {
	ALIVE,
	DEAD,
	SWEPT, /* dead, and may be given again; later sweeps are for it, too */
};

/* What processes share: and, as in life, root is the daemon's. */
struct shared {
	_Atomic uint32_t words[WORLD_BLOCKS];
	_Atomic uint32_t hint;
	_Atomic uint32_t deaths;
	_Atomic uint32_t dead[WORLD_IDS];
	_Alignas(64) uint8_t ring[sizeof(struct ring) + WORLD_CAPACITY * 8];
};

static inline struct ring *shared_ring(struct shared *shared)
{
	return (struct ring *)(void *)shared->ring;
}

enum act {
	ACT_SEND,          /* one block to the channel */
	ACT_SEND_BATCH,    /* three */
	ACT_SEND_FOREIGN,  /* one that it holds, then one that it does not */
	ACT_RECEIVE,       /* one from the channel */
	ACT_RECEIVE_BATCH, /* three */
	ACT_WAIT_ITEM,     /* receives; of an empty ring goes to sleep */
	ACT_WAIT_ROOM,     /* sends; at a full one goes to sleep */
	ACT_HAND_OVER,     /* sends to B */
	ACT_TAKE_OVER,     /* receives what was sent to it, frees it */
	ACT_FREE,          /* frees a block of another's slice */
	ACT_COLLECT,       /* the owner of the slice: takes the hint, collects, allocates */
	ACT_SWEEP,         /* the daemon, for those who were dead when it began */
	ACTS,
};

/* What an act is given, and what it has come to: the private memory of a bottle. */
struct actor {
	struct shared *shared;
	uint32_t self;
	enum act act;
	uint64_t give[3]; /* blocks that it holds, to be sent or freed */
	uint32_t n_give;
	struct block_ids swept; /* ACT_SWEEP */
	/* Written by the act, as it comes to know. */
	int r;
	uint32_t wake;
	uint64_t held[4]; /* received or allocated */
	uint32_t n_held;
	uint32_t n_sent;
	bool asleep; /* while `deaths` and the word are what they were */
	uint32_t deaths;
	struct ring_sleep sleep;
	enum ring_wake waits;
};

void act(void *actor);
struct ring_end world_end(struct shared *shared, uint32_t self);

/* A rule that the ring cannot keep for others, broken on purpose. Set before a bottle is opened. */
enum rule {
	RULE_NONE,
	RULE_SWEEP_ALL,     /* a sweep is for all who are dead */
	RULE_SWEEP_LOCKS,   /* and makes their locks anyone's */
	RULE_SWEEP_FIRST,   /* an id is given again after that */
	RULE_SWEEP_BEGUN,   /* a sweep that began after the death */
	RULE_SWEEP_PAST,    /* those that were swept before are swept with others */
	RULE_DEATHS,        /* who sleeps is woken by a death */
	RULE_ASK_ADDRESSEE, /* who sends to an id asks after it afterwards */
	RULE_HINT_FIRST,    /* an owner takes the hint before it reads the words */
	RULES,
};
extern enum rule broken;
