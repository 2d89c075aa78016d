/*
 * Core - who may have which memory: pure decisions over the records.
 *
 * C1  No I/O, no clock, no log, no callback: arguments in, answer and plan out.
 * C2  A verb that fails has changed nothing but counts of references that it refused. One that answers CORE_MORE
 *     or CORE_E_BUSY in the midst of an end (of a session, of a space) has done its part so far.
 * C3  A verb that needs the kernel returns a plan. What it promised is held (slices, charges,
 *     units) but not recorded until plan_commit(); plan_abort() gives all of it back. But units
 *     that a plan punches leave the records when it is made, and are absent however it ends,
 *     since a punch cannot be undone: before plan_abort() the shell undoes its commits by
 *     punching, and its creations by closing. The end of a space has nothing to undo: either
 *     call ends it.
 * C4  rung: committed + pending <= capacity, on each node. A plan holds as pending the greater
 *     of what it commits and what it punches there: its punches come first, so what they give
 *     is what its commits take; what is left over is free when the plan ends. space: committed
 *     grows within the limit rounded up to a unit, used within the limit; client: used within
 *     client_limit. (Limits can be lowered: what is above them then stays, and shrinks.)
 * C5  core_recover(records) equals the live core in records, free runs and sums, once no plan
 *     is outstanding; outstanding plans count as aborted.
 * C6  Every call is bounded: what could be long answers CORE_MORE and is called again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/numa.h"
#include "base/topology.h"
#include "daemon/core/quota.h"
#include "daemon/core/record.h"
#include "proto/layout.h"

enum {
	CORE_E_MEMORY = 1, /* fault: requested, available, largest, nodes */
	CORE_E_TOO_LARGE,  /* fault: requested, max */
	CORE_E_BUDGET,     /* fault: requested, remaining, which */
	CORE_E_REFERENCE,  /* fault: which */
	CORE_E_INVALID,    /* fault: which */
	CORE_E_NOT_FOUND,
	CORE_E_EXISTS,
	CORE_E_PERMISSION, /* fault: which */
	CORE_E_IN_USE,     /* fault: available (sessions) */
	CORE_E_LIMIT,      /* fault: which, requested, max, held: a quota, or a table is full */
	CORE_E_BUSY, /* depends on an outstanding plan: try again when one has ended; fault
			      "sweep": when a sweep of the space has */
	CORE_MORE,   /* not done yet: call again */
};

/* Why a verb refused; written with every positive CORE_E_ return. */
struct core_fault {
	const char *which; /* "region", "space", "client", "owner", "stale", ...: static text */
	uint64_t requested, available, largest, max, remaining;
	uint64_t pinned; /* CORE_E_BUDGET: bytes of the budget that views keep */
	uint64_t held;   /* CORE_E_LIMIT: by the uid; where `all`, by everyone */
	bool all;
	uint64_t nodes; /* where memory was looked for; which "nodes": those that are wrong */
	uint32_t page_shift; /* of the rung where memory was looked for; 0: of none */
	bool opening;        /* CORE_E_PERMISSION: it is these that say so: */
	uint32_t mode, uid, gid;
};

struct core_config {
	uint32_t page_shift;                  /* 12, 21 or 30 */
	uint32_t n_nodes;                     /* one more than the highest */
	uint64_t node_bytes[STATS_NODES_MAX]; /* capacity of each; multiples of a unit */
	struct {
		uint32_t page_shift;                  /* above the other; 0: none */
		uint64_t node_bytes[STATS_NODES_MAX]; /* beside the others */
		uint64_t from;                        /* spaces of this limit are on it */
	} large;                                      /* a second rung: rung.h */
	struct topology topology;   /* zeroed: the nodes with capacity, all alike */
	uint64_t share;             /* limits of one uid's spaces together; root and
						 `uid` are bound by the region alone */
	uint32_t uid;               /* the daemon's own */
	uint64_t seed;              /* makes tags of spaces differ, and serials of regions */
	struct quota_limits limits; /* totals of what has a record table: that table's */
	/*
	 * For core_recover(): slots from there on are free, and are not looked at, which would make
	 * pages of holes. NULL: look at all.
	 */
	const struct record_capacity *used;
};

struct core;

/* -EINVAL: the configuration makes no sense. */
int core_new(struct core **ret, const struct core_config *config, struct records *records);
/* Rebuild from records that an earlier core left. -EUCLEAN: they contradict each other. */
int core_recover(struct core **ret, const struct core_config *config, struct records *records);
void core_free(struct core *core);

/* Walks every invariant; NULL, or what is wrong. */
const char *core_check(const struct core *core);

/* ---- plans ---- */

enum effect_kind {
	EFFECT_ROOT_CREATE, /* the space's root file */
	EFFECT_ROOT_DESTROY,
	EFFECT_WINDOW_CREATE,  /* its data and slice map */
	EFFECT_WINDOW_DESTROY, /* close them; pages go with the last mapping */
	EFFECT_COMMIT,         /* give pages to units [first, first + count) */
	EFFECT_PUNCH,          /* take them away */
	EFFECT_SCRUB,          /* take away what stands there uncommitted, if anything does */
	EFFECT_ZERO, /* store zeros, guarded, into slices that are committed by then */
};

struct effect {
	enum effect_kind kind;
	uint32_t space;        /* slot */
	uint32_t window;       /* slot; of window and page effects */
	uint32_t first, count; /* units (EFFECT_ZERO: slices); of a window that comes or goes:
				  all it has */
};

/*
 * Carried out by the shell, in order, all or nothing. Plans touch disjoint units, so several may
 * be under way; what would depend on one that is answers CORE_E_BUSY.
 */
struct plan {
	struct effect *effects;
	uint32_t n_effects;
	/* slot of the space it is made for; effects may punch (session_end: end) other spaces' */
	uint32_t space;
};

/* Either ends the plan: it is gone. */
void plan_commit(struct core *core, struct plan *plan);
void plan_abort(struct core *core, struct plan *plan);

/*
 * Words of slice maps and root files that became true by the verbs since the last clear. The
 * shell stores them, in order, before it answers anyone, then clears the list. It is the core's,
 * until its next verb.
 */
struct change {
	enum { CHANGE_SLICES, CHANGE_WINDOW, CHANGE_ID } kind;
	uint32_t space, window; /* slots */
	uint32_t first, count;  /* slices, first the head; the id */
	uint64_t word; /* of the head (interior: without head and count), the window, the id */
};

const struct change *core_changes(const struct core *core, uint32_t *ret_count);
void core_changes_clear(struct core *core);

/* ---- who asks ---- */

struct credentials {
	uint32_t uid, gid;
};

struct session_request {
	struct credentials credentials;
	uint32_t pid;
	uint64_t birth, image;
};

/* *ret is the session's slot. */
int core_session_open(struct core *core, const struct session_request *request, uint32_t *ret,
		      struct core_fault *fault);

/*
 * The session has ended: private extents go back, shared ones and those of blocks become the
 * space's, those of caches are sealed, its caches and spaces close, removed ones that it was the last user of go (then *ret is a plan, else NULL).
 * CORE_MORE until done. CORE_E_BUSY: a plan made for it, or one that moves memory of a space
 * that has to go, is outstanding: call again when one has ended. The session answers nothing
 * else from the first call on.
 */
int core_session_end(struct core *core, uint32_t session, struct plan **ret);

/* ---- requests that may be asked again (result.h) ---- */

/*
 * The next of the verbs below that has a row, and the plan that it returns, is for this request of
 * the session; `verb` is how the caller calls it, below 256. Id 0: for none, as is what has not been
 * said to be for one.
 *
 *   core_space_create                      the slot, hash_seed
 *   core_space_open                        the slot
 *   core_space_remove                      the slot, hash_seed
 *   core_extent_alloc, core_cache_lease    offset:44 tag:20, size
 *   core_channel_open                      offset:44 tag:20, id:32 capacity:32
 *   core_cache_open                        the slot
 *   core_right_take                        token, until
 *   core_space_close, core_extent_free, core_channel_close, core_cache_close,
 *   core_cache_remove, core_cache_seal, core_right_end
 */
void core_asked(struct core *core, uint32_t session, uint32_t verb, uint64_t id);

/* What it came to: words as above. */
struct result_view {
	uint64_t answer[2];
};

/* False: it has done nothing, or was refused, or another one has its place by now. */
bool core_result(const struct core *core, uint32_t session, uint32_t verb, uint64_t id,
		 struct result_view *ret);

/* The same of an object of a cache, of which the ledger knows nothing: it comes, or it goes. */
struct object_promise {
	uint32_t cache;
	bool gone;
	uint64_t hash, offset;
	uint32_t generation;
};

/*
 * Said before it is done; then whether it was. A promise that a death leaves the shell settles, when
 * it knows what objects there are. Its result: offset, generation.
 */
void core_object_promise(struct core *core, uint32_t session, uint32_t verb, uint64_t id,
			 const struct object_promise *promise);
void core_object_settle(struct core *core, uint32_t session, uint64_t id, bool done);

struct object_promised {
	uint32_t session, verb;
	uint64_t id;
	struct object_promise promise;
};

/* One that is not settled; *at is 0 at first. False: that was all. */
bool core_object_promised(const struct core *core, uint32_t *at, struct object_promised *ret);

/* ---- spaces ---- */

struct space_request {
	const char *name;
	struct credentials owner;
	uint64_t limit, reserve, client_limit; /* 0: default */
	uint32_t weight, mode;                 /* 0: default */
	const char *placement;                 /* NULL: default */
	struct numa numa;
	uint64_t avoid;     /* for the reserve: nodes found to have no room */
	uint64_t hash_seed; /* random: the space's for good */
};

/* *ret is the space's slot, *ret_plan what has to be done first (never NULL: the root file). */
int core_space_create(struct core *core, const struct space_request *request, uint32_t *ret,
		      struct plan **ret_plan, struct core_fault *fault);

/* What a space may have, and who may use it. */
struct space_terms {
	struct credentials owner;
	uint32_t mode, weight;
	uint64_t limit, reserve, client_limit;
};

struct space_change {
	uint32_t set; /* which of `to` count: enum space_set of proto/layout.h */
	struct space_terms to;
	uint64_t avoid; /* for what is newly reserved: nodes found to have no room */
};

/*
 * Change a space's terms, as its owner or root. *ret is NULL if that is done; else it is done once
 * the plan, which commits what is newly reserved, has been committed (CORE_E_BUSY for those who
 * ask for another change meanwhile).
 *
 * A limit below what is used takes nothing away: nothing more is had until enough has come back.
 * A client limit that is not set follows the limit if it stood at its default, and is never above
 * it. Only root gives a space away; its new owner's share and quotas have to bear it, and a reserve
 * does not grow at the same time. An owner may choose among his own `groups`. Who
 * loses a right by it keeps what he has, and gets nothing more (revoke.h).
 */
int core_space_change(struct core *core, struct credentials who, const uint32_t *groups,
		      uint32_t n_groups, const char *name, const struct space_change *change,
		      struct plan **ret, struct core_fault *fault);

/* `groups`: the opener's supplementary groups. Opening twice is CORE_E_EXISTS. */
int core_space_open(struct core *core, uint32_t session, const char *name, bool read_only,
		    const uint32_t *groups, uint32_t n_groups, uint32_t *ret,
		    struct core_fault *fault);

/* Private extents go back; CORE_MORE, CORE_E_BUSY and *ret as core_session_end(). */
int core_space_close(struct core *core, uint32_t session, uint32_t space, struct plan **ret);

/*
 * *ret is NULL when the space was in use and `force` has doomed it: it can be opened no more, and
 * its name is free once it is gone. CORE_MORE until its extents have gone back (also after a
 * recovery: a space that is `removed` and has no sessions waits for this call).
 */
int core_space_remove(struct core *core, struct credentials who, const char *name, bool force,
		      struct plan **ret, struct core_fault *fault);

/*
 * Has the session the space open, and still the right by which it opened it? CORE_E_NOT_FOUND;
 * CORE_E_PERMISSION, "revoked": then nor is it granted anything by other verbs.
 */
int core_space_may(const struct core *core, uint32_t session, uint32_t space,
		   struct core_fault *fault);

/* May the session have this window's descriptors, and with write access? */
int core_window_open(struct core *core, uint32_t session, uint32_t space, uint32_t number,
		     uint32_t *ret_window, bool *ret_read_only, struct core_fault *fault);

/* ---- extents ---- */

struct extent_request {
	uint64_t size;
	uint64_t align; /* 0, or a power of two up to 1 GiB */
	enum extent_kind kind;
	const struct numa *numa; /* NULL: the space's */
	uint64_t avoid;          /* nodes found to have no room: others, by the policy */
	uint32_t caller;         /* its node + 1; 0: not known, local is default then */
};

struct extent_info {
	uint64_t offset, size;
	uint32_t tag;
};

/* As a result says it. */
static inline struct extent_info result_extent(struct result_view result)
{
	return (struct extent_info){
		.offset = result.answer[0] & (((uint64_t)1 << OFFSET_BITS) - 1),
		.size = result.answer[1],
		.tag = (uint32_t)(result.answer[0] >> OFFSET_BITS),
	};
}

/*
 * *ret_plan is NULL if the memory is there already; else *ret holds once the plan is committed.
 * CORE_E_BUSY: memory that an outstanding plan moves would do. A budget's refusal is not put
 * off: what a plan has promised is spent.
 */
int core_extent_alloc(struct core *core, uint32_t session, uint32_t space,
		      const struct extent_request *request, struct extent_info *ret,
		      struct plan **ret_plan, struct core_fault *fault);

enum core_refusal {
	REFUSED_MEMORY,
	REFUSED_TOO_LARGE,
	REFUSED_SPACE, /* by its limit */
	REFUSED_CLIENT,
};

/*
 * The session was told that it gets no memory of the space. The verbs do not count it: what they
 * refuse may be tried again, or had elsewhere.
 */
void core_refused(struct core *core, uint32_t session, uint32_t space,
		  enum core_refusal refusal);

/*
 * A private one is its session's to free; one of blocks, too, until it is adopted; then, like a
 * shared one, any writer's: what its words say, the shell has asked before.
 *
 * CORE_E_REFERENCE: "foreign" (outside of the space's windows), "freed", "stale" (another extent
 * is there now), "interior" or "not-owner". CORE_E_PERMISSION: the space was opened read-only.
 */
int core_extent_free(struct core *core, uint32_t session, uint32_t space, uint64_t offset,
		     uint32_t tag, struct core_fault *fault);

/* Where an extent is, and whose. */
struct extent_place {
	enum extent_kind kind;
	uint32_t session;           /* 0: nobody's: adopted, or a channel's */
	bool worded;                /* a shared one, of a session that had an id then */
	uint32_t cache;             /* slot; 0: no cache's */
	uint32_t window;            /* slot */
	uint32_t first, count, tag; /* slices; of a segment, with holes */
};

/*
 * Which slices of a window of the space, from `first` on, are free and have memory. How many these
 * are, at most `n`; 0: there are no more.
 */
uint32_t core_slices_free(const struct core *core, uint32_t space, uint32_t window,
			  uint32_t first, uint32_t n, bool *ret);

/* The extent that holds the byte at `offset`. False: there is none. */
bool core_extent_at(const struct core *core, uint32_t space, uint64_t offset,
		    struct extent_place *ret);

/* ---- who holds shared blocks ---- */

/*
 * The id by which the session holds blocks of a space: given at the first call, dead when it
 * closes the space or ends. CORE_E_PERMISSION: "write". CORE_E_BUSY, "sweep": all are taken, but
 * some of them dead, or being swept. CORE_E_LIMIT: "ids".
 */
int core_holder_open(struct core *core, uint32_t session, uint32_t space, uint32_t *ret,
		     struct core_fault *fault);

/* The session that has this id; 0: none, or it is a channel's. */
uint32_t core_holder_at(const struct core *core, uint32_t space, uint32_t id);

/* All IDS_MAX id words of a space, for a root file that is written anew. What nobody has is dead. */
void core_id_words(const struct core *core, uint32_t space, uint64_t *ret);

/*
 * Sweep - the words that dead ids hold are FREED, and what then holds nothing is freed.
 *
 *   core_sweep_begin()   the ids that are nobody's by now: dead, or free, but somebody's once
 *                        (a bitmap: IDS_MAX bits)
 *   core_sweep_next()    until it has listed all extents with words
 *     a worker           frees the words of these ids in each of them, locks in channels' rings
 *                        that they hold included, and sees what is empty: a shared extent whose
 *                        word is FREED, and, of those of blocks that were listed with session 0,
 *                        the ones without a word that is HELD or SENT
 *   core_sweep_free()    each of these
 *   core_sweep_end()     the ids are free, and given again; what dies during a sweep waits for
 *                        the next one
 *
 * A sweep keeps its space like a plan: verbs that need it to be without plans answer
 * CORE_E_BUSY, also when memory is short, since it may free some. What it lists may change at any
 * time: a place that is no longer what was listed is not freed. Extents that come behind it hold
 * nothing of dead ids, if who leases slices makes their words FREE before he uses them.
 */

/*
 * Are there dead ids, or extents adopted since the last sweep began, and no sweep? Is there else
 * what it might free: adopted extents?
 */
bool core_sweep_due(const struct core *core, uint32_t space);
bool core_sweep_pays(const struct core *core, uint32_t space);
/* CORE_E_BUSY: one is running. CORE_E_NOT_FOUND: no such space. */
int core_sweep_begin(struct core *core, uint32_t space, uint64_t *ret_dead);
/* At most `max`, maybe none. CORE_MORE: call again; 0: that was all. */
int core_sweep_next(struct core *core, uint32_t space, struct extent_place *ret, uint32_t max,
		    uint32_t *ret_n);
/* So many words of it were the dead's, and are FREED. */
void core_swept(struct core *core, uint32_t space, uint64_t words);
/* As it was listed. False: it is another by now, or not to be freed. */
bool core_sweep_free(struct core *core, uint32_t space, const struct extent_place *place);
/* Not `done`: it did not get through all, so what was dead stays dead. */
void core_sweep_end(struct core *core, uint32_t space, bool done);

/* ---- channels ---- */

struct channel_request {
	const char *name;  /* like a space's */
	uint32_t roles;    /* enum channel_role */
	uint64_t capacity; /* of one that is made: references, up to a power of two; 0: 64 */
	bool existing,
		exclusive; /* CORE_E_NOT_FOUND, "channel" if there is none; CORE_E_EXISTS if
				     there is one */
	uint64_t avoid;    /* as of an extent, likewise: */
	uint32_t caller;
};

struct channel_info {
	uint64_t offset, size; /* of its ring: zeros when it is made */
	uint32_t tag, id, capacity;
};

static inline struct channel_info result_channel(struct result_view result)
{
	struct extent_info ring = result_extent(result);

	return (struct channel_info){
		.offset = ring.offset,
		.size = SLICE_BYTES,
		.tag = ring.tag,
		.id = (uint32_t)result.answer[1],
		.capacity = (uint32_t)(result.answer[1] >> 32),
	};
}

/*
 * Open an end of a channel, or another role of the same end: who has them all gets the same
 * answer again. What is not there yet is made, by a plan, as of which *ret holds.
 *
 * CORE_E_INVALID: "name", "roles", "capacity", or "holder": the session has no id in the space.
 * CORE_E_PERMISSION: "write". CORE_E_BUSY: "plan" (also who makes it at this moment), or "sweep".
 * CORE_E_LIMIT: "ids", "channels", or a quota. Else as core_extent_alloc().
 */
int core_channel_open(struct core *core, uint32_t session, uint32_t space,
		      const struct channel_request *request, struct channel_info *ret,
		      struct plan **ret_plan, struct core_fault *fault);

/*
 * These roles of the session's end. The channel goes with its last end: its id is dead, and the
 * end of the next sweep frees its memory. CORE_E_NOT_FOUND: "channel": it has none of them.
 */
int core_channel_close(struct core *core, uint32_t session, uint32_t space, uint32_t id,
		       uint32_t roles, struct core_fault *fault);

/* All of these? */
bool core_channel_has(const struct core *core, uint32_t session, uint32_t space, uint32_t id,
		      uint32_t roles);

struct channel_view {
	struct channel_info info;
	const char *name;
	uint32_t senders, receivers;
};

/* The first id at or after `id` that is a channel's that lives; 0: none. */
uint32_t core_channel_next(const struct core *core, uint32_t space, uint32_t id);
bool core_channel_view(const struct core *core, uint32_t space, uint32_t id,
		       struct channel_view *ret);
/* The id of the one whose memory the byte at `offset` lies in; 0: of none. */
uint32_t core_channel_at(const struct core *core, uint32_t space, uint64_t offset);

/* ---- caches ---- */

struct cache_request {
	const char *name;   /* like a space's */
	uint64_t capacity;  /* of one that is made, in bytes; 0: half of the space's limit */
	const char *policy; /* of one that is made; NULL or "": the default */
	uint64_t ttl_ms;    /* of one that is made: of what is put without one; 0: for ever */
	bool existing,
		exclusive; /* CORE_E_NOT_FOUND, "cache" if there is none; CORE_E_EXISTS if
				     there is one */
};

/*
 * Open a cache, or make it, as a writer of its space: *ret is its slot, by which it is known as
 * long as anyone has it open. Who has it open gets the same answer again.
 *
 * CORE_E_INVALID: "name", "capacity" (max: the space's limit), "policy", "ttl". CORE_E_PERMISSION:
 * "write". CORE_E_LIMIT: a quota.
 */
int core_cache_open(struct core *core, uint32_t session, uint32_t space,
		    const struct cache_request *request, uint32_t *ret,
		    struct core_fault *fault);

/*
 * What the session was filling is sealed. CORE_MORE until done; CORE_E_BUSY: a plan makes memory
 * for it. CORE_E_NOT_FOUND: it has it not open.
 */
int core_cache_close(struct core *core, uint32_t session, uint32_t space, uint32_t cache);

struct cache_change {
	uint32_t set; /* which of the rest count: enum cache_set of proto/layout.h */
	uint64_t capacity, ttl_ms;
	const char *policy;
};

/* As a writer of the space, whether it has the cache open or not. */
int core_cache_change(struct core *core, uint32_t session, uint32_t space, const char *name,
		      const struct cache_change *change, struct core_fault *fault);

/*
 * Likewise: its name is free at once, the rest is core_cache_reap()'s. CORE_E_IN_USE: sessions have
 * it open, and no `force`.
 */
int core_cache_remove(struct core *core, uint32_t session, uint32_t space, const char *name,
		      bool force, struct core_fault *fault);

/*
 * Removed caches that nobody has open go, with all of their memory: to be called when one was
 * removed, closed, or recovered. CORE_MORE until done; CORE_E_BUSY: a plan makes memory for one.
 */
int core_cache_reap(struct core *core);

struct cache_lease {
	enum extent_kind kind; /* EXTENT_SEGMENT: up to 2 MiB, in one chunk; EXTENT_OBJECT */
	uint64_t size;
	uint64_t avoid; /* as of an extent, likewise: */
	uint32_t caller;
};

/*
 * Memory for a cache, of the session that fills it: until it is sealed, it pays. Session 0: of
 * nobody, so sealed at once. Else as core_extent_alloc().
 */
int core_cache_lease(struct core *core, uint32_t session, uint32_t cache,
		     const struct cache_lease *lease, struct extent_info *ret,
		     struct plan **ret_plan, struct core_fault *fault);

/*
 * Of the session that fills it: nothing more is put there, and its space pays. CORE_E_REFERENCE as
 * core_extent_free(); but of an object sealed already it may be said again: who published it cannot
 * know that it was.
 */
int core_cache_seal(struct core *core, uint32_t session, uint32_t space, uint64_t offset,
		    uint32_t tag, struct core_fault *fault);

/*
 * Nothing of these slices of a sealed extent is in use any more: of a segment any, of an object
 * all. CORE_E_REFERENCE: "foreign" (no slices of one extent of the cache), or "leased". -ENOMEM,
 * not if it is all that is left.
 */
int core_cache_return(struct core *core, uint32_t cache, uint64_t offset, uint64_t size,
		      struct core_fault *fault);

struct estate_view {
	uint32_t cache, space; /* slots */
	uint32_t serial;       /* with its slot: its name, for ever */
	const char *name;
	uint32_t policy; /* enum policy_id */
	bool removed;
	uint64_t capacity, ttl_ms;
	uint64_t bytes;      /* of its extents */
	uint64_t token_next; /* of rights: those from now on have it, or a higher one */
	uint64_t cleared;    /* rights with lower tokens are of before a clear */
	uint64_t index; /* generation of the one in use; 0: the data plane has no files yet */
	uint32_t segments, objects, sessions;
};

/* Of the ledger alone: what its objects are, and what becomes of them, is the data plane's. */
bool core_cache_view(const struct core *core, uint32_t cache, struct estate_view *ret);
/* So many have ended, by core_cache_reap() or with their space, since there is this core. */
uint64_t core_caches_gone(const struct core *core);
/* All that was there has gone, by a clear. */
void core_cache_cleared(struct core *core, uint32_t cache);
/* It has its files, or others: the index that is in use from now on is of this generation. */
void core_cache_index(struct core *core, uint32_t cache, uint64_t generation);
/*
 * Its files in the daemon take so many bytes from now on, metadata of who owns the space; or a
 * session's lanes, of whose it is. CORE_E_LIMIT: he may have no more, and nothing has changed; less
 * is never refused, nor what an earlier daemon had made: then fault is NULL.
 */
int core_cache_files(struct core *core, uint32_t cache, uint64_t bytes,
		     struct core_fault *fault);
int core_session_files(struct core *core, uint32_t session, uint64_t bytes,
		       struct core_fault *fault);
/* By its name; 0: there is none, or it is removed. */
uint32_t core_cache_named(const struct core *core, uint32_t space, const char *name);
/* The first cache at or after slot `cache`, in whatever space; UINT32_MAX if none. */
uint32_t core_cache_next(const struct core *core, uint32_t cache);
/* Has this session it open? And the first session at or after `session` that has; UINT32_MAX. */
bool core_cache_has(const struct core *core, uint32_t cache, uint32_t session);
/*
 * May this session change what the cache holds? CORE_E_NOT_FOUND: "cache", it has it not open;
 * CORE_E_PERMISSION: "write".
 */
int core_cache_may_write(const struct core *core, uint32_t session, uint32_t cache,
			 struct core_fault *fault);
uint32_t core_cache_user(const struct core *core, uint32_t cache, uint32_t session);

/* Slices side by side of a segment, or of a large object. */
struct cache_run {
	uint64_t offset, size;
	uint32_t cache;
	uint32_t session; /* that fills it; 0: sealed */
	bool object;
};

/*
 * What memory caches have, run by run, as a restart has to tell the data plane: `*at` is 0 at first,
 * and good as long as no other verb is called. False: that was all.
 */
bool core_cache_run(const struct core *core, uint64_t *at, struct cache_run *ret);

/* ---- what views keep from coming back (pins.h) ---- */

/*
 * A scan of the cache's begins; it finds that views of this session keep so many bytes more, of which
 * nothing lives; it ends, and they are charged. One that fails does not end.
 */
void core_pins_begin(struct core *core, uint32_t cache);
void core_pins_add(struct core *core, uint32_t session, uint32_t cache, uint64_t bytes);
void core_pins_end(struct core *core, uint32_t cache);
/* What it is charged for. */
uint64_t core_pins(const struct core *core, uint32_t session, uint32_t cache);

/* ---- rights to compute a value (right.h) ---- */

struct right_view {
	uint32_t right; /* slot */
	uint32_t cache, session;
	uint64_t hash, token, until;
};

/*
 * The session alone computes what this key hash stands for, until then (ms of the machine's time; it
 * is the shell that lets others have it). CORE_E_NOT_FOUND: "cache", it has it not open.
 * CORE_E_PERMISSION: "write". CORE_E_EXISTS: somebody has the right, *ret. CORE_E_LIMIT.
 */
int core_right_take(struct core *core, uint32_t session, uint32_t cache, uint64_t hash,
		    uint64_t until, struct right_view *ret, struct core_fault *fault);
/* It is nobody's: the slot is of one that there is. */
void core_right_end(struct core *core, uint32_t right);
bool core_right_find(const struct core *core, uint32_t cache, uint64_t hash,
		     struct right_view *ret);
bool core_right_view(const struct core *core, uint32_t right, struct right_view *ret);
/* The first at or after slot `right`; UINT32_MAX if none. */
uint32_t core_right_next(const struct core *core, uint32_t right);
/* How many there are: of a cache, of a session. */
uint32_t core_cache_rights(const struct core *core, uint32_t cache);
uint32_t core_session_rights(const struct core *core, uint32_t session);

/* ---- how far lanes and return rings are done (position.h) ---- */

struct lanes_terms {
	uint32_t lanes, pins;
	bool barrier; /* they are read without fences */
};

/* The session's, of which nothing is taken yet. CORE_E_EXISTS: it has some. CORE_E_LIMIT. */
int core_lanes_open(struct core *core, uint32_t session, const struct lanes_terms *terms,
		    struct core_fault *fault);
bool core_lanes_view(const struct core *core, uint32_t session, struct lanes_terms *ret);
/* Of a lane that there is: how many records are done, and that so many are. */
uint64_t core_lane_position(const struct core *core, uint32_t session, uint32_t lane);
void core_lane_taken(struct core *core, uint32_t session, uint32_t lane, uint64_t taken);
/* The same of its return ring. */
int core_returns_open(struct core *core, uint32_t session, struct core_fault *fault);
bool core_returns_view(const struct core *core, uint32_t session, uint64_t *ret_taken);
void core_returns_taken(struct core *core, uint32_t session, uint64_t taken);

/* What the next record of a lane is about to do, if it could not be told from what is there later. */
struct intent {
	uint32_t session, lane, cache;
	uint32_t kind;   /* enum lane_kind */
	uint64_t hash;   /* of a delete */
	uint64_t offset; /* of the object that goes, or of what is sealed */
	uint32_t tag; /* of what is sealed; or leased, as core_cache_tag() says before it is */
};
void core_intent(struct core *core, const struct intent *intent);
/* Nothing of it was done. */
void core_intent_drop(struct core *core);
/* After a recovery: what may have been done, of a record that is not counted. False: nothing. */
bool core_intent_view(const struct core *core, struct intent *ret);

/* The tag that the next extent of the cache's space has; what the session fills that has a tag. */
uint32_t core_cache_tag(const struct core *core, uint32_t cache);
bool core_cache_leased(const struct core *core, uint32_t session, uint32_t cache, uint32_t tag,
		       struct extent_info *ret);

/* ---- giving back ---- */

/*
 * Give back up to `units` of a space's committed units: as many as held nothing throughout since
 * the last call for that space (so what comes and goes is not punched and committed in turn),
 * and are not reserved. *ret is NULL if there are none.
 */
int core_trim(struct core *core, uint32_t space, uint32_t units, struct plan **ret);

/*
 * Scrub a window: any touch of a hole makes a page there that no record knows (surplus). The plan
 * holds all its absent units, so that none is committed meanwhile, and adds nothing to any sum:
 * until it ends the window can hold more than its view's `committed` only by surplus. *ret is NULL
 * if no unit is absent. CORE_E_BUSY: memory of the window moves. CORE_E_NOT_FOUND: it is not
 * there, or is coming or going.
 */
int core_scrub(struct core *core, uint32_t window, struct plan **ret);
/* So many bytes of surplus were found in a space, and taken back. */
void core_surplus(struct core *core, uint32_t space, uint64_t bytes);

/* ---- looking ---- */

/* Counted since the core began: of one space, or of all that there are and were. */
struct space_counts {
	uint64_t allocs, frees, refused;
	uint64_t surplus; /* bytes */
	uint64_t swept;   /* blocks that the dead had */
	struct stats_failures failures;
};

struct space_view {
	uint32_t space;
	const char *name, *placement;
	struct credentials owner;
	uint32_t mode, weight, sessions, windows, page_shift;
	struct numa numa;
	bool removed;
	uint64_t limit, reserve, client_limit;
	uint64_t used, peak, committed, largest;
	uint64_t extents, hash_seed;
	uint32_t caches;
	uint32_t ids, ids_dead; /* of holders and channels; that wait for a sweep */
	struct space_counts counts;
};

struct session_view {
	uint32_t session, pid, spaces;
	uint32_t serial; /* with its slot: its name, for ever */
	struct credentials owner;
	uint64_t birth, image;
	uint64_t used, peak, allocs, frees, failed;
	uint64_t pinned; /* bytes: pins.h */
};

struct window_view {
	uint32_t space, number; /* slot, and number within it */
	struct window_info info;
	uint64_t committed; /* by the records */
};

struct core_view {
	uint64_t capacity, committed, pending, used, peak;
	uint32_t spaces, sessions;
	struct space_counts counts;
};

/* Limits may change at any time (Q2 in quota.h). */
void core_limits_set(struct core *core, const struct quota_limits *limits);
const struct quota_table *core_quotas(const struct core *core);

struct core_view core_view(const struct core *core);
struct stats_node core_node_view(const struct core *core, uint32_t node);
/* The same of pages of one size (0: of all); nothing, if there are none. */
struct stats_node core_rung_view(const struct core *core, uint32_t page_shift, uint32_t node);
/* The nodes that memory can come from. */
uint64_t core_nodes(const struct core *core);
/* What a space has on one node; nothing, of a space or node that is not there. */
void core_share_view(const struct core *core, uint32_t space, uint32_t node,
		     uint64_t *ret_committed, uint64_t *ret_used);
/* False if the slot is empty. Also of what a plan creates or destroys. */
bool core_space_view(const struct core *core, uint32_t space, struct space_view *ret);
/* Has this session the space open? */
bool core_session_has(const struct core *core, uint32_t session, uint32_t space);
bool core_session_view(const struct core *core, uint32_t session, struct session_view *ret);
/*
 * What a session has in a space: bytes that are charged to it. False: it has not opened it. And
 * the first space at or after slot `space` that it has open; UINT32_MAX if none.
 */
bool core_member_view(const struct core *core, uint32_t session, uint32_t space,
		      uint64_t *ret_used);
uint32_t core_member_next(const struct core *core, uint32_t session, uint32_t space);
bool core_window_view(const struct core *core, uint32_t window, struct window_view *ret);
/* The first window that is there at or after slot `window`; UINT32_MAX if none. */
uint32_t core_window_next(const struct core *core, uint32_t window);

/* Slices side by side, all free or all of one extent, and what a slice map says of them. */
struct slice_stretch {
	uint32_t first, count;
	uint64_t head;  /* the word of the first of them; 0: they are free */
	uint64_t other; /* and of each of the others */
};

/*
 * The one that begins at slice `first` of a window: 0, or where the one before it ended. False: there
 * are no more. Of a segment that has lost slices the map may still say how long it was, and where
 * it began.
 */
bool core_stretch(const struct core *core, uint32_t window, uint32_t first,
		  struct slice_stretch *ret);
/* Likewise units [first, first + *ret_count) that are committed, at or after `first`. */
bool core_units_committed(const struct core *core, uint32_t window, uint32_t *first,
			  uint32_t *ret_count);
/* The first slot in use (of what is there: no plan creates or destroys it) at or after `slot`;
   UINT32_MAX if none. */
uint32_t core_space_next(const struct core *core, uint32_t slot);
uint32_t core_session_next(const struct core *core, uint32_t slot);
/* Is there something that core_trim() could take, now or at a later call? */
bool core_trimmable(const struct core *core, uint32_t space);
