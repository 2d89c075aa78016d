/*
 * Space - a named tenant: its windows, its members, its budget.
 *
 * P1  Windows have the lowest free number. On the 4 KiB rung a new one never makes their sizes on
 *     its node exceed the limit together, since a reader of holes makes pages there that nobody
 *     planned. They stay when the limit is lowered: all were granted below `ceiling`. Retired ones
 *     count apart.
 * P2  committed + committing grow within the limit in units; committed >= reserve in units while
 *     it lives: what is idle beyond the reserve may be given to others. But that units of retired
 *     windows are exchanged for others, so that a reserve may fall short of what such a plan failed
 *     to commit.
 * P3  A space that is going is out of the records and waits for its plan; its slots stay taken
 *     until then, since the shell knows its files by them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/budget.h"
#include "daemon/core/core.h"
#include "daemon/core/ids.h"
#include "daemon/core/list.h"
#include "daemon/core/sweep.h"
#include "daemon/core/window.h"

enum { GENERATION_MASK = 0xffff };

enum space_state {
	SPACE_COMING, /* a plan creates it */
	SPACE_LIVE,
	SPACE_GOING, /* a plan destroys it */
};

struct space {
	uint32_t slot;
	struct rung *rung; /* G1 */
	struct space *next_named;
	struct quota *quota; /* its owner's; NULL: in none of the core's tables */
	enum space_state state;
	bool removed; /* goes with its last member */
	char name[SPACE_NAME_MAX + 1];
	struct credentials owner;
	uint32_t mode, weight, placement_id;
	struct numa numa;
	uint64_t used_on[STATS_NODES_MAX]; /* bytes of its extents on each node */
	const struct placement *placement;
	uint64_t reserve, client_limit;
	uint64_t ceiling; /* the highest limit it ever had */
	uint64_t hash_seed;
	bool changing;           /* a plan is under way, and then: */
	struct space_terms next; /* its terms */
	uint32_t tag_next, window_next;
	struct budget budget;
	struct unit_sums units;
	struct window **windows; /* by number; NULL: none */
	uint32_t windows_max, n_windows;
	struct link members;  /* struct member, in_space */
	struct link extents;  /* adopted ones, and channels' */
	uint32_t n_adopted;   /* of `extents` */
	uint32_t n_sealed;    /* of these, caches' */
	struct link channels; /* struct channel */
	uint32_t n_channels;  /* dead ones included */
	struct link caches;   /* struct estate */
	uint32_t n_caches;    /* removed ones included */
	uint32_t n_members, n_extents;
	uint32_t n_plans; /* effects of plans, and a sweep: SW1 */
	struct ids ids;
	struct sweep sweep;
	struct space_counts counts;
};

/* One session's use of one space. */
struct member {
	struct link in_space, in_session;
	struct space *space;
	struct session *session;
	uint32_t slot;
	bool read_only, closing;
	bool barred; /* RV1 in revoke.h */
	enum member_via via;
	uint32_t id; /* by which it holds blocks; 0: none yet, or no more */
	uint32_t n_plans;
	struct budget budget;
	struct link extents; /* that it holds or shares */
	struct link ends;    /* of channels: struct end, in_member */
	struct link users;   /* of caches: struct user, in_member */
};

struct asker;
struct core;
struct core_plan;
struct rung;
void space_counts_add(struct space_counts *sum, const struct space_counts *more);
struct records;

bool space_name_valid(const char *name);
/* Units up to the limit, or to the one that a plan is about to give it. */
uint32_t space_limit_units(const struct space *space);
uint32_t space_reserve_units(const struct space *space);
/* Units that it could still commit. */
uint32_t space_room(const struct space *space);
/* May idle units of one be taken for the other? G1 */
bool space_gives(const struct space *space, const struct space *to);
/* Idle units that it would not miss. */
uint32_t space_spare(const struct space *space);
/* Those of retired windows; has it any such window? */
uint32_t space_retired_idle(const struct space *space);
bool space_has_retired(const struct space *space);
/* The longest extent that could ever be in it, on one of these nodes, in bytes. */
uint64_t space_extent_max(const struct core *core, const struct space *space, uint64_t nodes);
/* Bytes that it has, whatever its limit: pages, and windows with holes that anyone may touch. */
uint64_t space_holds(const struct core *core, const struct space *space);
/* Bytes that count against its owner's share: the limit, or more if it still holds more. */
uint64_t space_claim(const struct core *core, const struct space *space);
/* The size that a new window on this node would have, as a shift; 0: there can be none. */
uint32_t space_window_shift(const struct core *core, const struct space *space, uint32_t node);
bool space_window_pending(const struct space *space);
uint32_t space_number_free(const struct space *space);

/* In none of the core's tables, but for its window slots. */
struct space *space_new(void);
struct space *space_free(struct core *core, struct space *space);
/* Enter it at its slot, by its name and into its owner's account. -ENOMEM. */
int space_list(struct core *core, struct space *space);
/* A window at the lowest free number, pending, all free; its changes are owed. CORE_E_LIMIT, -ENOMEM. */
int space_window_add(struct core *core, struct space *space, uint32_t node, uint32_t size_shift,
		     struct window **ret, struct core_fault *fault);
/*
 * What the space takes of its owner's account is another uid's from now on. CORE_E_LIMIT (with
 * fault), -ENOMEM.
 */
int space_quota_move(struct core *core, struct space *space, uint32_t uid,
		     struct core_fault *fault);
/* As if the last one had not been added. */
void space_window_undo(struct core *core, struct window *window);
/* Enter a window that has its slot. -ENOMEM. */
int space_window_enter(struct core *core, struct space *space, struct window *window);
void space_window_drop(struct core *core, struct window *window);
struct window *space_window_at(const struct space *space, uint32_t number);

/* The record that says all this. */
struct space_record space_record(const struct core *core, const struct space *space);
struct space_word space_word(const struct core *core, const struct space *space);

/*
 * The member lets go of its extents (private ones are freed; shared ones adopted, or freed with
 * a space that goes), one a step, then is gone, and with it a removed space that it was the last
 * of: its end is added to *plan, which is made if it is NULL. CORE_MORE, CORE_E_BUSY, -ENOMEM.
 */
int member_leave(struct core *core, struct member *member, struct core_plan **plan,
		 uint32_t *steps, const struct asker *asker);
int member_new(struct member **ret, struct core *core, struct space *space,
	       struct session *session, uint32_t slot, bool read_only);
void member_free(struct core *core, struct member *member);
/* As it is now. */
void member_record(struct core *core, const struct member *member);
/* All ids are taken, or being swept: CORE_E_BUSY, or CORE_E_LIMIT. */
int ids_refuse(const struct space *space, struct core_fault *fault);
/* I3: may this member take one more? */
int ids_may(const struct space *space, const struct member *member, struct core_fault *fault);
/* Its ends are closed, and its id is dead, if it has any. */
void holder_die(struct core *core, struct member *member);
struct member *member_find(const struct session *session, const struct space *space);
