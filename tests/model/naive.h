/*
 * Naive - a heap of byte maps and plain sums, and the shell that would carry out plans: what the
 * core is compared with.
 */
#pragma once

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/check.h"
#include "daemon/core/core.h"
#include "daemon/core/state.h"

enum {
	SPACES = 8,
	WINDOWS = 20,
	SESSIONS = 8,
	EXTENTS = 400,
	CHANNELS = 24,
	ENDS = 40,
	CACHES = 12,
	RIGHTS = 14,
	HASHES = 6, /* of keys, in each cache */
	OPENS = SPACES * SESSIONS,
	PLANS = 12,
	SLICES_MAX = 1024,
	PER = 32, /* slices of a unit */
	NODES = 2,
};

#define MIB ((uint64_t)1 << 20)

/* Printed with every failure: they replay it. */
extern uint64_t seed, step, state;
extern uint32_t shift;

#define DIE(...)                                                                              \
	do {                                                                                  \
		fprintf(stderr, "VARBOS_SEED=%" PRIu64 " VARBOS_SHIFT=%u step %" PRIu64 ": ", \
			seed, shift, step);                                                   \
		fprintf(stderr, __VA_ARGS__);                                                 \
		fprintf(stderr, " (%s:%d)\n", __FILE__, __LINE__);                            \
		exit(1);                                                                      \
	} while (0)
#define MUST(x)                             \
	do {                                \
		if (!(x))                   \
			DIE("not: %s", #x); \
	} while (0)

enum unit { ABSENT, COMMITTED, COMMITTING, PUNCHING, SCRUBBING };

enum id_state { ID_FREE, ID_COMING, ID_ALIVE, ID_DEAD, ID_SWEPT };

struct naive_extent {
	bool there, pending;
	uint32_t space, window, first, count, tag, session; /* 0: adopted */
	uint32_t cache;                                     /* 0: none's */
	uint32_t slices;      /* of a segment there may be holes in [first, first + count) */
	uint32_t head, heads; /* what the slice map said first: where, and how many */
	enum extent_kind kind;
	bool worded;
	uint64_t stored; /* in which step */
	uint32_t listed; /* how often, by the sweep that runs */
};

struct naive_window {
	bool there, pending, granted, retired;
	uint32_t space, number, node, slices;
	uint16_t owner[SLICES_MAX]; /* naive extent + 1 */
	uint8_t units[SLICES_MAX / PER];
	uint64_t words[SLICES_MAX]; /* the shell's slice map */
	uint64_t root;              /* its word in the root file */
};

struct naive_channel {
	bool there, pending;
	char name[8];
	uint32_t id, extent; /* naive extent */
	uint64_t capacity;
	uint32_t roles[SESSIONS + 1];
	bool had_senders, had_receivers, died;
};

struct naive_space {
	bool there, pending, removed;
	char name[8];
	uint32_t page; /* as a shift: its rung */
	uint32_t uid, gid, mode, weight;
	uint64_t limit, reserve, client_limit;
	struct numa numa;
	bool changing; /* a plan will make it so: */
	struct space_terms next;
	uint64_t last_used, last_units; /* at the last comparison */
	uint32_t idle_low;
	bool member[SESSIONS + 1], read_only[SESSIONS + 1], barred[SESSIONS + 1];
	enum { NAIVE_ROOT, NAIVE_OWNER, NAIVE_GROUP, NAIVE_OTHER } way[SESSIONS + 1];
	uint32_t id[SESSIONS + 1]; /* 0: none */
	enum id_state ids[IDS_MAX];
	bool past[IDS_MAX], kept[IDS_MAX]; /* swept once; not given before the sweep ends */
	struct naive_channel channels[CHANNELS]; /* dead ones included */
	uint64_t words[IDS_MAX];                 /* the shell's root file */
	bool sweeping, listed;                   /* all of it */
	bool owed;                               /* another sweep, whoever died */
	uint64_t swept;                          /* since this step */
};

struct naive_cache {
	bool there, removed;
	uint32_t space, policy;
	char name[8];
	uint64_t capacity, ttl_ms;
	bool user[SESSIONS + 1];
	struct {
		uint32_t session; /* that may compute it; 0: nobody */
		uint64_t token, until;
	} rights[HASHES];
	uint64_t token; /* the last one */
};

/* A request of a session; id 0: nobody asks. */
struct naive_asked {
	uint32_t session, verb;
	uint64_t id;
};

struct naive_result {
	struct naive_asked asked;
	uint64_t answer[2];
};

struct naive_plan {
	struct plan *plan;
	struct naive_result result; /* when it is carried out */
	uint32_t session, extent;   /* naive extent + 1 */
	uint32_t space, channel;    /* naive channel + 1, of that space */
	bool creates, changes;
};

struct naive {
	struct core *core;
	struct core_config config;
	struct records *records;
	uint64_t size;
	void *copy;
	struct naive_space spaces[SPACES + 1];
	struct naive_window windows[WINDOWS];
	struct naive_extent extents[EXTENTS];
	struct naive_cache caches[CACHES + 1]; /* by slot */
	struct naive_plan plans[PLANS];
	bool sessions[SESSIONS + 1];
	struct naive_result results[SESSIONS + 1][RESULTS_A_SESSION];
	uint64_t asked; /* so often */
	uint32_t uids[SESSIONS + 1], pids[SESSIONS + 1];
	uint32_t applied;        /* changes */
	uint64_t real[2][NODES]; /* units that have pages, those on their way out included; by
				    whether they are of the larger ones */
	uint64_t counts[40];     /* of answers, to see that all happen */
};

extern struct naive m;

enum {
	N_ALLOC,
	N_PLANNED,
	N_PUNCHED,
	N_MEMORY,
	N_BUDGET,
	N_BUSY,
	N_LARGE,
	N_FREE,
	N_REFUSED,
	N_ADOPTED,
	N_GONE,
	N_TRIMMED,
	N_SCRUBBED,
	N_ABORTED,
	N_LIMIT,
	N_CHANGED,
	N_RESERVED,
	N_LOWERED,
	N_BLOCKS,
	N_HOLDERS,
	N_CHANNELS,
	N_JOINED,
	N_REAPED,
	N_SWEPT,
	N_CACHES,
	N_CACHES_GONE,
	N_LEASED,
	N_SEALED,
	N_RETURNED,
	N_RIGHTS,
	N_CLAIMED,
	N_RETIRED,
	N_BARRED,
	N_ANSWERED
};

/* ---- dice, and the heap ---- */

uint64_t next(void);
uint32_t below(uint32_t n);
bool one_in(uint32_t n);
uint32_t plans_out(void);
/* Or a sweep. */
bool space_has_plans(uint32_t space);
uint32_t sweeps_out(void);
uint64_t used_by(uint32_t space, uint32_t session, bool any);
bool unit_empty(const struct naive_window *w, uint32_t unit);
uint32_t units_on(uint32_t page, uint32_t node, enum unit what);
uint32_t units_of(uint32_t space, uint32_t node, enum unit what, bool empty);
uint32_t spare_of(uint32_t space);
uint64_t holds_of(uint32_t space);
/* On the rung of this page size; 0: on all together. */
uint64_t share_left(uint32_t uid, uint32_t but, uint32_t page);
/* The rung of a new space, and what it has on a node (NODES: on all). */
uint32_t page_for(uint64_t limit);
uint64_t rung_has(uint32_t page, uint32_t node);
uint64_t extent_max(uint32_t space, uint64_t nodes);
void terms_become(struct naive_space *s);
uint32_t node_room(uint32_t page, uint32_t node);
bool slice_open(const struct naive_window *w, uint32_t i);
bool feasible(uint32_t space, uint32_t count, uint32_t align, uint64_t nodes);
/* A policy for this machine; sometimes nonsense. Where it lets memory come from; 0: nowhere. */
struct numa some_numa(void);
uint64_t numa_reach(struct numa numa);

/* ---- what the shell does ---- */

void apply_changes(void);
void plan_take(struct plan *plan, uint32_t session, uint32_t extent, bool creates);
void extent_gone(struct naive_extent *e);
bool plan_finish_one(void);

/* ---- comparison ---- */

void compare(void);

/* ---- quotas ---- */

/* May the uid have one more? */
bool naive_may(uint32_t uid, enum quota_kind kind);
/* Or so many that another uid has. */
bool naive_may_get(uint32_t uid, enum quota_kind kind, uint64_t n);

/* ---- requests ---- */

/* The next verb is for one, sometimes. */
struct naive_asked naive_ask(uint32_t session);
/* It is done, with this answer, or will be by a plan. */
void naive_answered(struct naive_asked asked, uint64_t a, uint64_t b);
void naive_planned(struct naive_asked asked, const struct plan *plan, uint64_t a, uint64_t b);
void naive_results_end(uint32_t session);
void compare_results(const struct core *core);

/* ---- verbs of spaces and sessions ---- */

uint32_t some_session(void);
bool some_member(uint32_t *session, uint32_t *space);
void verb_session_open(void);
void verb_session_end(void);
void verb_space_close(void);
void verb_space_create(void);
void verb_space_open(void);
void verb_space_remove(void);
void verb_space_change(void);

/* ---- verbs of channels ---- */

void verb_channel_open(void);
void verb_channel_close(void);
void ends_die(uint32_t session, uint32_t space, bool died);
/* Their plan has ended. */
void channel_ends(const struct naive_plan *p, bool commit);
/* The sweep that ends has waited for them. */
void channels_go(uint32_t space);
uint64_t channel_says(const struct naive_channel *c);
void compare_channels(const struct core *core, bool recovered);
struct naive_extent *extent_there(uint32_t session, uint32_t space, enum extent_kind kind,
				  const struct extent_info *info, struct plan *plan,
				  uint64_t nodes);

/* ---- verbs of holders and sweeps ---- */

void verb_holder_open(void);
void holder_dies(uint32_t session, uint32_t space, bool died);
/* A step of the sweep of some space; the last one of one that runs, if there is any. */
void verb_sweep(void);
bool sweep_finish_one(void);
void compare_ids(const struct core *again);

/* ---- verbs of caches ---- */

void verb_cache_open(void);
void verb_cache_close(void);
void verb_cache_change(void);
void verb_cache_remove(void);
void verb_cache_reap(void);
void verb_cache_lease(void);
void verb_cache_seal(void);
void verb_cache_return(void);
void verb_right_take(void);
void verb_right_end(void);
void cache_leave(uint32_t cache, uint32_t session);
void compare_caches(const struct core *core, bool recovered);

/* ---- verbs of extents ---- */

void verb_alloc(void);
void verb_free(void);
void verb_free_wrong(void);
void verb_window_open(void);
void verb_trim(void);
void verb_scrub(void);
