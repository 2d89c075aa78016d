/*
 * Cache - a cache that this process has open.
 *
 * CC1 A connection has a cache open once, however often the program opens it: handles count. While
 *     one of them is there, its space stays open.
 * CC2 An index is mapped once it is needed, and stays until the cache closes: threads read in it
 *     without a word. What has moved on gives its memory back by itself, and costs addresses.
 * CC3 In a forked child it is opened anew at the first call that uses it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <varbos/cache.h>

#include "client/lanes.h"
#include "client/space.h"
#include "client/uncounted.h"
#include "proto/index_read.h"
#include "proto/object.h"

struct cache_index {
	struct index_view view;
	struct cache_index *_Atomic next; /* the one that its buckets move on to */
	struct cache_index *former;
	uint64_t access_base; /* lane_access_base() */
	_Atomic bool eager;   /* index_epoch_all(), when it was looked at last */
	uint64_t generation, size;
	void *memory;
};

/* Who goes on noting all a while after hints have begun does no harm. */
static inline void cache_index_hints(struct cache_index *index)
{
	bool all = index_epoch_all(
		atomic_load_explicit(&index->view.head->epoch, memory_order_relaxed));

	if (atomic_load_explicit(&index->eager, memory_order_relaxed) != all)
		atomic_store_explicit(&index->eager, all, memory_order_relaxed);
}

struct varbos_cache {
	/* What a hit looks at. */
	_Atomic uint64_t number; /* of its connection's lanes; LANES_NONE: it has none */
	_Atomic uint64_t quick;  /* the same, unless there are none, or readers need a fence */
	uint64_t slot;           /* lane_slot() of it */
	struct cache_index *_Atomic index;
	uint64_t seed;
	char *base;
	const _Atomic uintptr_t *ends; /* of the space's windows */
	uint32_t handle, space_handle;
	uint64_t row;      /* where in a lane its hits are counted, most likely: */
	uint64_t row_kept; /* if that says this: which cache, and opening of it (lane.h) */
	bool fence;
	uint64_t space_word; /* its handle, as in hazard words */
	uint32_t pins;       /* views of a thread */

	struct varbos_space *space;
	struct lanes *lanes;
	struct varbos_cache *next;      /* in space->caches, under space->caches_lock */
	uint32_t uses;                  /* likewise */
	_Atomic uint32_t stamp;         /* fork count of what is above */
	struct varbos_cache *next_open; /* of all that are open */
	uint64_t opening;               /* never given twice: */
	struct uncounted uncounted;
	struct lock lock;          /* who fetches an index */
	_Atomic uint64_t capacity; /* as it was when it was asked last */
	char name[SPACE_NAME_MAX + 1];
};

/* Before anything else of a call: it is this process's. */
int cache_revive(struct varbos_cache *cache);
static inline int cache_enter(struct varbos_cache *cache)
{
	int r;

	if (!cache)
		return error_null("cache");
	r = space_enter(cache->space);
	if (r || atomic_load_explicit(&cache->stamp, memory_order_acquire) == fork_count())
		return r;
	return cache_revive(cache);
}

/* The key is one. */
int cache_check_key(const void *key, size_t key_size);

/* The index that follows, mapped if need be: 0, or why not. */
int cache_index_next(struct varbos_cache *cache, struct cache_index *index);

/* Everything in it has moved on. */
static inline bool cache_index_is_left(const struct cache_index *index)
{
	uint64_t state = index_load(&index->view.head->state);

	return !state || index_state_unpack(state).moved >= index->view.n_buckets;
}

/* The first that is in use, or the last that can be had: what its head says is so. */
const struct cache_index *cache_index_follow(struct varbos_cache *cache);
static inline const struct cache_index *cache_index_now(struct varbos_cache *cache)
{
	const struct cache_index *index =
		atomic_load_explicit(&cache->index, memory_order_acquire);

	return likely(!cache_index_is_left(index)) ? index : cache_index_follow(cache);
}

/* Its time to live, as it is now. */
static inline uint64_t cache_ttl_ms(struct varbos_cache *cache)
{
	return atomic_load_explicit(&cache_index_now(cache)->view.head->ttl,
				    memory_order_relaxed);
}

/* Its capacity, as it is now. */
int cache_refresh(struct varbos_cache *cache);

/* Is that opening of a cache still open? */
bool cache_is_open(uint64_t opening);

/* Of a space that closes: nobody uses them any more. */
void caches_free(struct varbos_space *space);

/* XXH3, as every process of the space has it. */
uint64_t cache_hash(const struct varbos_cache *cache, const void *key, size_t key_size);

/* The machine's time in ms, as it stands in objects. */
static inline uint64_t cache_now(const struct cache_index *index)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return ((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec +
		atomic_load_explicit(&index->view.head->clock, memory_order_relaxed)) /
	       1000000;
}

/* An object that was found and is pinned. */
struct found {
	struct object_header *header;
	const char *data;
	uint64_t sizes; /* object_sizes_pack() */
	uint64_t expiry;
};

/*
 * The object of that key, pinned by this word of the calling thread's lane, after cache_enter().
 * noted: as an access. 0, VARBOS_E_NOT_FOUND without a word, or what goes wrong on the way.
 */
int cache_look(struct varbos_cache *cache, struct own_lane *own, const void *key,
	       size_t key_size, uint64_t hash, _Atomic uint64_t *hazard, bool noted,
	       struct found *ret);

/* Before a slow look: the cache is this process's, *ret what the thread has, with or without a lane. */
int cache_read_enter(struct varbos_cache *cache, struct own_lane **ret);
/* A look that is over with the call, whether there is a lane or not. */
enum glance_use {
	GLANCE_EXISTS, /* perhaps without the value */
	GLANCE_READ,
	GLANCE_NOTED, /* as an access */
};

struct glance {
	struct found found;
	_Atomic uint64_t *hazard; /* or NULL, and */
	void *memory;
};

/* As cache_look(); what was found is ended. */
int cache_glance(struct varbos_cache *cache, struct own_lane *own, const void *key,
		 size_t key_size, uint64_t hash, enum glance_use use, struct glance *ret);
void cache_glance_end(struct glance *glance);

/* With so many more the thread would hold more views than it may. */
int error_views(const struct varbos_cache *cache, const struct own_lane *own, size_t wanted);

/* What a view's words say. */
enum { VIEW_HAZARD, VIEW_FORK, VIEW_CACHE, VIEW_BIRTH, VIEW_EXPIRY, VIEW_WORDS };
/* In VIEW_HAZARD: it is no hazard word, but the view's own memory (apart.h). */
enum { VIEW_COPY = 1 };

static_assert(sizeof(((struct varbos_view *)0)->reserved) == VIEW_WORDS * sizeof(uint64_t),
	      "what is kept of a view");

static inline void cache_view_fill(struct varbos_view *ret, const struct varbos_cache *cache,
				   const struct found *found, _Atomic uint64_t *hazard)
{
	uint64_t birth = __atomic_load_n(&found->header->birth, __ATOMIC_RELAXED);
	struct object_sizes sizes = object_sizes_unpack(found->sizes);

	ret->data = found->data;
	ret->size = sizes.value;
	ret->generation = object_birth_unpack(birth).generation;
	ret->flags = sizes.flags;
	ret->reserved[VIEW_HAZARD] = (uintptr_t)hazard;
	ret->reserved[VIEW_FORK] = fork_count();
	ret->reserved[VIEW_CACHE] = (uintptr_t)cache;
	ret->reserved[VIEW_BIRTH] = birth;
	ret->reserved[VIEW_EXPIRY] = found->expiry;
}
