/*
 * Plan - what the kernel has to do before a promise holds, and what is held meanwhile.
 *
 * A plan is put together without touching anything (plan_new, plan_add, plan_punch), so that it
 * can be dropped; plan_start holds all of it and cannot fail.
 *
 * N1  On each node of each rung a plan holds as many units as the greater of what it commits and what it
 *     punches: punches come first, so at no moment are more pages out than were before or are
 *     held. They are free again when the plan ends.
 * N2  Units to be punched leave the records when the plan starts (R4), so they are absent however
 *     it ends; a plan that is aborted leaves the units it would have committed absent too.
 * N3  Units to be scrubbed were never committed: they are held, and counted nowhere. Slices to be
 *     zeroed are those of the extent that it makes.
 * N4  The end of a space is a plan that has nothing to undo: aborting it commits it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"
#include "daemon/core/list.h"
#include "daemon/core/result.h"
#include "daemon/core/rung.h"

struct core;
struct member;
struct space;
struct window;

struct core_plan {
	struct plan plan;
	struct link link;
	struct member *member; /* who waits for it, or NULL */
	struct asker asker;    /* for what it makes */
	uint32_t capacity;
	bool creates;  /* its space */
	bool changes;  /* its space's terms */
	bool reserves; /* what it commits is nobody's yet: free, once it is there */
	bool started;
	uint32_t extent;                 /* slot of the extent it makes, or SLOT_NONE */
	uint32_t hold_first, hold_count; /* slices: the extent, and the rest of its new units */
	uint32_t held[RUNGS_MAX][STATS_NODES_MAX]; /* units */
};

int plan_new(struct core_plan **ret, struct space *space, struct member *member);
struct core_plan *plan_free(struct core_plan *plan);
void plan_freep(struct core_plan **plan);
int plan_add(struct core_plan *plan, enum effect_kind kind, uint32_t space, uint32_t window,
	     uint32_t first, uint32_t count);
/*
 * Add punches of up to `count` spare units of a space on one node. What the plan itself wants of
 * `avoid`, units [first, last], is left alone. `exchange`: it commits as many elsewhere in the space,
 * so that those in retired windows are spare, reserved or not.
 */
int plan_punch(struct core *core, struct core_plan *plan, const struct space *space,
	       uint32_t node, uint32_t count, bool exchange, const struct window *avoid,
	       uint32_t first, uint32_t last, uint32_t *ret_count);
/* The same of all others on its rung, the one most above its weighted share first. */
int plan_punch_others(struct core *core, struct core_plan *plan, const struct space *but,
		      uint32_t node, uint32_t count, uint32_t *ret_count);
/* Are there records for the pages it commits? */
bool plan_pages_fit(const struct core *core, const struct core_plan *plan);
void plan_start(struct core *core, struct core_plan *plan);

/* Effects that end a space, and its records: from now on it waits for the plan. */
int plan_add_end(struct core_plan *plan, const struct space *space);
void plan_end_space(struct core *core, struct core_plan *plan, struct space *space);
