/*
 * Cache - the data plane of one cache: what is published, found, evicted; pure.
 *
 * CA1  An object has a record, an entry of the index, a place in a segment, and is with the policy;
 *      with the wheel, too, if it expires. All but the record is derived; cache_check() walks it.
 * CA2  Live objects, as their records tell their sizes, never take more than the capacity, but
 *      after it was lowered, until cache_room() has made the cache fit. What is larger than the
 *      capacity is refused before anything else happens.
 * CA3  An object is published where its session fills a segment: behind all that was published
 *      there, aligned, within the segment. What is refused changes nothing; its bytes are still
 *      the session's to publish in.
 * CA4  Ledger, then index, then answer. The order of stores is in object_record.h.
 * CA5  Memory that objects leave comes back by whole segments' slices (SG4), from cache_reclaim(),
 *      after a scan of hazard words.
 * CA6  Every call takes a bounded number of steps; what takes more is cut, and says CACHE_MORE.
 *      Only cache_new, _recover, _tend, _segment and _switch allocate.
 * CA7  Nothing of the shell's is called, and no memory of objects is looked at. Time comes in, in
 *      ms of the machine's time. What the shell has to do comes out: cache_wants(), places to
 *      store an expiry at, runs of slices, moves.
 *
 * The shell, before some records of a lane: cache_fetch() of all of them. Then, before each, if
 * cache_is_full(), it has cache_access() know what readers have noted. CACHE_MORE: others' turn,
 * then the same again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/cache/hot.h"
#include "daemon/core/cache/index.h"
#include "daemon/core/cache/object_record.h"
#include "daemon/core/cache/segment.h"
#include "daemon/core/policy/eviction.h"
#include "daemon/core/wheel.h"
#include "proto/lane.h"

enum {
	CACHE_MORE = 1,     /* it was cut: again */
	CACHE_E_PLACE,      /* this session may not publish there */
	CACHE_E_SIZE,       /* no object is that small; or, in a segment, that large */
	CACHE_E_TOO_LARGE,  /* larger than the capacity */
	CACHE_E_GENERATION, /* of the object: none can be 0, or beyond 24 bits */
	CACHE_E_EXISTS,     /* LANE_ADD: the key is there */
	CACHE_E_ABSENT,     /* the key is not there */
	CACHE_E_CHANGED,    /* it is there with another generation */
	CACHE_E_TEND,       /* cache_tend() first */
	CACHE_E_OBJECTS,    /* a larger objects file first: cache_objects() */
	CACHE_E_TAKEN,      /* the slices are another segment's */
	CACHE_E_SWITCHING,  /* from one policy to another, already */
	CACHE_E_NOTHING,    /* there is nothing to do */
	CACHE_E_INDEX,      /* another index first: this is none, or has no slot for that key */
	CACHE_E_SEGMENT,    /* the cleaner has no segment to move objects to: give one */
};

/* What the shell should do, when it finds the time. */
enum {
	CACHE_WANTS_TEND = 1 << 0,    /* cache_tend(), soon */
	CACHE_WANTS_OBJECTS = 1 << 1, /* a larger objects file, soon */
	CACHE_WANTS_ROOM = 1 << 2,    /* cache_room(): there is more than the capacity */
	CACHE_WANTS_SCAN = 1 << 3,    /* limbo is worth a scan */
	CACHE_WANTS_CLEAN = 1 << 4,   /* much of what is sealed is dead */
	CACHE_WANTS_SWITCH = 1 << 5,  /* cache_switch_step() */
	CACHE_WANTS_INDEX = 1 << 6,   /* another index: cache_index_wants() */
	CACHE_WANTS_MOVE = 1 << 7,    /* cache_index_step() */
};

enum cache_reason {
	CACHE_EVICTED, /* for room */
	CACHE_EXPIRED,
	CACHE_DELETED,
	CACHE_REPLACED,
	CACHE_CLEARED,
	CACHE_DROPPED, /* evicted by request, or for memory */
	CACHE_SPOILED, /* its header was not what it should be */
	CACHE_CROWDED, /* the index had no room where it was */
	CACHE_REASONS
};

struct cache_config {
	uint64_t capacity; /* bytes */
	uint32_t policy;   /* enum policy_id */
	struct object_records
		*objects;         /* object_records_init(), or as an earlier process left it */
	uint32_t slots;           /* records that there is room for */
	struct index_table index; /* formatted, without entries */
	uint64_t now;
};

struct cache;

/* -ENOMEM, -EINVAL: no such policy, no capacity or no slots. */
int cache_new(struct cache **ret, const struct cache_config *config);
/*
 * What a daemon that died left, at whichever of its stores: objects and index as they are, these
 * segments. next: head NULL, if there is no next index. -ENOMEM; CACHE_E_INDEX: the index's files are
 * none, and it takes another one, without entries.
 */
struct cache_found {
	uint64_t base, size;
	uint32_t session; /* that fills it; CACHE_CLEANER: nobody does */
	bool own;
};
int cache_recover(struct cache **ret, const struct cache_config *config,
		  struct index_table next, const struct cache_found *segments,
		  uint32_t n_segments);
void cache_free(struct cache *cache); /* NULL is fine */
static inline void cache_freep(struct cache **cache)
{
	cache_free(*cache);
}

/* ---- memory ---- */

/*
 * A segment (up to 2 MiB), or an extent of one object's own, that this session fills; or the
 * cleaner, with CACHE_CLEANER: then it has room for any object, OBJECT_OWN, or that is -EINVAL.
 * CACHE_E_TAKEN.
 */
#define CACHE_CLEANER (UINT32_MAX - 1)
int cache_segment(struct cache *cache, uint32_t session, uint64_t base, uint64_t size,
		  bool own);
/* The session publishes nothing more there. CACHE_E_PLACE: it is not one it fills. */
int cache_seal(struct cache *cache, uint32_t session, uint64_t offset);
/* Nor anywhere. */
void cache_session_end(struct cache *cache, uint32_t session);

/* Room for more objects, in a file that begins with all that the former one had. */
int cache_objects(struct cache *cache, struct object_records *objects, uint32_t slots);
/*
 * CACHE_WANTS_OBJECTS: for so many. Twice as many as long as they are few, then a 32nd more
 * each time: what is there and not used is overhead. As many as there are: there can be no more.
 */
uint32_t cache_slots_next(const struct cache *cache);
/* Frees numbers, or lets private arrays grow by a step; makes the wheel. -ENOMEM, CACHE_E_OBJECTS. */
int cache_tend(struct cache *cache, uint64_t now);
uint32_t cache_wants(const struct cache *cache);
/*
 * CACHE_WANTS_INDEX: the next index's file is to be like this, with another seed if *ret_seed. Not
 * again and again for keys that crowd under each seed: they were made for that.
 */
bool cache_index_wants(const struct cache *cache, struct index_layout *ret, bool *ret_seed);
/* It is made, and not in use: objects move to it, with each that is published and by these steps. */
void cache_index_begin(struct cache *cache, struct index_table next);
/* CACHE_MORE; 0: all have moved, *ret is the former index, which is the shell's again. */
int cache_index_step(struct cache *cache, struct index_table *ret);
/* What readers add to their clock (index_head.clock), in ns. */
void cache_clock_set(struct cache *cache, uint64_t clock);
/* How long what writers put without a time of its own is to stay, in ms; 0: for ever. */
void cache_ttl_set(struct cache *cache, uint64_t ttl);

/* ---- objects ---- */

struct cache_object {
	uint64_t hash, offset, size; /* the size as its record tells it */
	uint32_t number, version, generation;
	bool expires;
	bool sealed; /* just published, and its segment, which was its own, is sealed */
};

/* To have at hand what verbs on these hashes touch: of all, before the first. */
enum { CACHE_FETCHED = 32 };
void cache_fetch(const struct cache *cache, const uint64_t *hashes, uint32_t n);

/* Will the next object of this size make others go? */
bool cache_is_full(const struct cache *cache, uint64_t size);

struct cache_publish {
	uint64_t hash, offset, size;
	uint64_t expiry; /* as in its header; 0: never */
	uint64_t now;
	uint32_t session;
	uint32_t mode;       /* enum lane_mode */
	uint32_t generation; /* LANE_REPLACE: only this one, unless 0 */
	uint32_t born;       /* the object's own, as in its header */
	bool crowds;         /* no other index is to be had: what is in its way there goes */
};

/*
 * CACHE_MORE (others have made room), _E_PLACE, _E_SIZE, _E_TOO_LARGE, _E_GENERATION, _E_EXISTS,
 * _E_ABSENT, _E_CHANGED, _E_TEND; _E_INDEX, unless it crowds: if none is on its way that
 * cache_index_wants(), none is to be had. ret is what is there under the hash, with 0,
 * CACHE_E_EXISTS and CACHE_E_CHANGED.
 */
int cache_publish(struct cache *cache, const struct cache_publish *publish,
		  struct cache_object *ret);
/* Recency is the same afterwards. CACHE_E_ABSENT. */
int cache_find(struct cache *cache, uint64_t hash, struct cache_object *ret);
/* Some objects of a walk through all (index_list()), from a zeroed place on. CACHE_MORE. */
int cache_walk(const struct cache *cache, struct index_place *place,
	       struct cache_object ret[static INDEX_LISTED], uint32_t *ret_n);
/* generation 0: any. CACHE_MORE (others have expired), CACHE_E_ABSENT, CACHE_E_CHANGED. */
int cache_delete(struct cache *cache, uint64_t hash, uint32_t generation, uint64_t now);
/*
 * From now on it expires then (0: never), and it was accessed. The shell stores the expiry into
 * its header, at ret->offset. CACHE_MORE, CACHE_E_ABSENT, CACHE_E_TEND.
 */
int cache_touch(struct cache *cache, uint64_t hash, uint64_t expiry, uint64_t now,
		struct cache_object *ret);
/* It was accessed. CACHE_MORE, CACHE_E_ABSENT. */
int cache_use(struct cache *cache, uint64_t hash, uint64_t now, struct cache_object *ret);
/* What a reader noted (lane_access_pack()). False: it is not so, or no more. */
bool cache_access(struct cache *cache, uint64_t noted);
/* To have at hand what that touches: some accesses before it, and then a few before. */
void cache_access_fetch(const struct cache *cache, uint64_t noted);
void cache_access_guess(const struct cache *cache, uint64_t noted);
/* What readers count themselves. */
void cache_count(struct cache *cache, uint64_t hits, uint64_t misses);

/*
 * After cache_recover(): when objects expire is in their headers: the shell asks which do, *cursor being 0 at first, and
 * tells. CACHE_MORE: these were not all. Until then they expire for readers only.
 */
enum { CACHE_UNTOLD = 64 };
int cache_untold(const struct cache *cache, uint32_t *cursor,
		 struct cache_object ret[static CACHE_UNTOLD], uint32_t *ret_n);
void cache_tell(struct cache *cache, const struct cache_object *object, uint64_t expiry);

/* ---- who goes ---- */

/* How many have, ever: what verbs take beside it does not depend on what there is. */
uint64_t cache_gone(const struct cache *cache);

/* Those that have outlived their time, in as many steps. CACHE_MORE. */
int cache_expire(struct cache *cache, uint64_t now, uint32_t steps);
/* When cache_expire() has something to do, at the earliest; WHEEL_NEVER. */
uint64_t cache_expire_next(const struct cache *cache);
/* So many bytes, as the policy says; fewer only if that is all. *bytes is what is left to do. */
int cache_evict(struct cache *cache, uint64_t *bytes);
/* Evicts what is above the capacity. CACHE_MORE. */
int cache_room(struct cache *cache);
/*
 * All goes that was there when the clear began; what came since may go, too. Several may be under way
 * at once, and share their steps. CACHE_MORE. What begins is never 0.
 */
uint64_t cache_clear_begin(const struct cache *cache);
int cache_clear(struct cache *cache, uint64_t begun);

/* Another capacity: of what is above it now, cache_room() has to make room. */
int cache_resize(struct cache *cache, uint64_t capacity);
/* Another policy: it takes over in steps. CACHE_E_SWITCHING, -ENOMEM, -EINVAL. */
int cache_switch(struct cache *cache, uint32_t policy);
/* False: there is nothing left to do. */
bool cache_switch_step(struct cache *cache);
/* Then: eviction_spent(). */
void *cache_switch_spent(struct cache *cache, const struct policy **ret);

/* ---- what comes back ---- */

/*
 * A scan: it begins (so far, memory was left), then come all hazard words of this space, those of
 * one session together, then it ends. A barrier that all readers see lies between the beginning and
 * the first word.
 */
void cache_scan_begin(struct cache *cache);
/* How many bytes more of limbo the session holds. */
uint64_t cache_scan_word(struct cache *cache, uint32_t session, uint64_t offset, uint64_t now);
void cache_scan_end(struct cache *cache);
/* After it: runs of slices that are the cache's no more. CACHE_MORE: there are others. */
int cache_reclaim(struct cache *cache, struct segment_run *ret, uint32_t max, uint32_t *ret_n);

enum { CACHE_PINNERS = 64 };

/* Whose hazard words kept how much from coming back, as of the latest scan. */
struct cache_pinner {
	uint32_t session;
	uint64_t bytes;
	uint64_t since; /* the time of the scan that found it first */
};

/* How many; at most CACHE_PINNERS. */
uint32_t cache_pinners(const struct cache *cache, const struct cache_pinner **ret);

/* ---- view ---- */

struct cache_view {
	uint64_t capacity;
	uint32_t policy;
	uint64_t objects;
	uint64_t live; /* bytes of objects */
	uint64_t held; /* of segments */
	uint64_t dead; /* of segments that are sealed or filled, but not live, nor in limbo */
	uint64_t limbo;
	uint64_t pinned;   /* of limbo, by the latest scan */
	uint64_t unfilled; /* of segments that are leased */
	uint64_t published, published_bytes;
	uint64_t hits, misses;
	uint64_t moved, moved_bytes; /* by the cleaner */
	uint64_t gone[CACHE_REASONS], gone_bytes[CACHE_REASONS];
	uint64_t memory; /* private, of objects: what is not in files */
};

struct cache_view cache_view(const struct cache *cache);
uint32_t cache_hottest(const struct cache *cache, struct hot_key *ret, uint32_t max);

/* Walks all of it; NULL, or what is wrong. */
const char *cache_check(const struct cache *cache);
