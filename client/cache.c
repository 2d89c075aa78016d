#include "client/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "client/cache_ask.h"
#include "client/error.h"
#include "client/writer.h"

/* All that are open, of whatever connection: for who finds a writer of one that may be no more. */
static struct lock open_lock;
static struct varbos_cache *open_first;
static uint64_t openings;

static void open_join(struct varbos_cache *cache)
{
	lock_acquire(&open_lock);
	cache->opening = ++openings;
	cache->next_open = open_first;
	open_first = cache;
	lock_release(&open_lock);
}

static void open_leave(struct varbos_cache *cache)
{
	struct varbos_cache **at;

	lock_acquire(&open_lock);
	for (at = &open_first; *at && *at != cache; at = &(*at)->next_open)
		;
	if (*at)
		*at = cache->next_open;
	lock_release(&open_lock);
}

bool cache_is_open(uint64_t opening)
{
	struct varbos_cache *cache;

	lock_acquire(&open_lock);
	for (cache = open_first; cache && cache->opening != opening; cache = cache->next_open)
		;
	lock_release(&open_lock);
	return cache;
}

/* ---- indexes ---- */

static void indexes_free(struct varbos_cache *cache, bool ours)
{
	struct cache_index *index = atomic_load_explicit(&cache->index, memory_order_relaxed);
	struct cache_index *next;

	/* `index` is the first in use: those before it, and after it. */
	while (index && (next = atomic_load_explicit(&index->next, memory_order_relaxed)))
		index = next;
	for (; index; index = next) {
		next = index->former;
		if (ours)
			munmap(index->memory, index->size);
		free(index);
	}
	atomic_store_explicit(&cache->index, NULL, memory_order_relaxed);
}

/* With the lock held: an index of at least this generation. */
static int index_fetch_locked(struct varbos_cache *cache, uint64_t generation,
			      struct cache_index **ret)
{
	struct cache_index_file file;
	struct cache_index *index;
	int r;

	index = calloc(1, sizeof(*index));
	if (!index)
		return error_system(ENOMEM, "an index");
	r = cache_ask_index(cache->space, cache->handle, generation, &file);
	if (r) {
		free(index);
		return r;
	}
	index->generation = file.generation;
	index->size = file.size;
	index->memory = file.memory;
	if (!index_view_open(&index->view, file.memory, file.size) ||
	    index->view.head->generation != file.generation ||
	    index->view.head->cache != cache->handle || file.generation < generation) {
		munmap(file.memory, file.size);
		free(index);
		return error_set(VARBOS_E_UNTRUSTED, "index",
				 "the index of cache %s is none of its own", cache->name);
	}
	cache_index_hints(index);
	index->access_base = lane_access_base(cache->handle, index->view.buckets);
	*ret = index;
	return 0;
}

int cache_index_next(struct varbos_cache *cache, struct cache_index *index)
{
	_Atomic(struct cache_index *) *first = &cache->index;
	struct cache_index *next;
	int r = 0;

	/* While it moves, every other hit comes along here. */
	if (atomic_load_explicit(&index->next, memory_order_acquire) &&
	    (index != atomic_load_explicit(first, memory_order_relaxed) ||
	     !cache_index_is_left(index)))
		return 0;
	lock_acquire(&cache->lock);
	next = atomic_load_explicit(&index->next, memory_order_relaxed);
	if (!next) {
		r = index_fetch_locked(cache, index->generation + 1, &next);
		if (!r) {
			next->former = index;
			atomic_store_explicit(&index->next, next, memory_order_release);
		}
	}
	/* Who begins from now on begins there. */
	if (!r && index == atomic_load_explicit(first, memory_order_relaxed) &&
	    cache_index_is_left(index))
		atomic_store_explicit(first, next, memory_order_release);
	lock_release(&cache->lock);
	return r;
}

const struct cache_index *cache_index_follow(struct varbos_cache *cache)
{
	struct cache_index *index = atomic_load_explicit(&cache->index, memory_order_acquire);

	while (cache_index_is_left(index) && !cache_index_next(cache, index))
		index = atomic_load_explicit(&index->next, memory_order_acquire);
	return index;
}

/* ---- opening ---- */

static struct varbos_cache *find_locked(const struct varbos_space *space, uint32_t handle)
{
	struct varbos_cache *cache = space->caches;
	uint32_t now = fork_count();

	while (cache && (cache->handle != handle ||
			 atomic_load_explicit(&cache->stamp, memory_order_relaxed) != now))
		cache = cache->next;
	return cache;
}

/* The daemon has it open for us: what a call looks at. */
static int set_up(struct varbos_cache *cache, const struct cache_opened *opened)
{
	struct varbos_space *space = cache->space;
	uint64_t number = LANES_NONE;
	struct cache_index *index;
	int r;

	r = lanes_need(space->vb);
	if (r)
		return r;
	cache->handle = opened->handle;
	lock_acquire(&cache->lock);
	r = index_fetch_locked(cache, 0, &index);
	lock_release(&cache->lock);
	if (r)
		return r;
	cache->lanes = &space->vb->lanes;
	cache->seed = space->root->hash_seed;
	cache->base = space->base;
	cache->ends = space->ends;
	cache->row = offsetof(struct lane, counts[cache->handle % LANE_COUNTS]);
	cache->space_handle = space->handle;
	cache->space_word = index_space_word(space->handle);
	cache->fence = cache->lanes->fence;
	cache->pins = cache->lanes->pins;
	open_leave(cache);
	open_join(cache);
	cache->row_kept = cache->handle | cache->opening << 32;
	cache->uncounted = (struct uncounted){};
	atomic_store_explicit(&cache->capacity, opened->capacity, memory_order_relaxed);
	atomic_store_explicit(&cache->index, index, memory_order_release);
	if (cache->lanes->memory)
		number = atomic_load_explicit(&cache->lanes->number, memory_order_relaxed);
	cache->slot = lane_slot(number);
	atomic_store_explicit(&cache->quick, cache->fence ? LANES_NONE : number,
			      memory_order_relaxed);
	atomic_store_explicit(&cache->number, number, memory_order_release);
	return 0;
}

static int check_open(const char *name, const struct varbos_cache_options *options)
{
	const uint32_t both = VARBOS_CACHE_EXISTING | VARBOS_CACHE_NEW;
	struct wire_str text = wire_str(name);

	if (!text.size || text.size > SPACE_NAME_MAX || !wire_str_is_clean(text))
		return error_set(VARBOS_E_INVALID, "name",
				 "the name of a cache is 1 to %d of A-Z a-z 0-9 . _ -, not "
				 "starting with . or -",
				 SPACE_NAME_MAX);
	if (options->flags & ~both || options->flags == both)
		return error_set(VARBOS_E_INVALID, "flags", "flags 0x%x make no sense",
				 options->flags);
	if (!wire_str_is_clean(wire_str(options->policy)))
		return error_set(VARBOS_E_INVALID, "policy", "the policy is no name");
	return 0;
}

/* With the list's lock held. */
static int open_locked(struct varbos_cache **ret, struct varbos_space *space, const char *name,
		       const struct varbos_cache_options *options)
{
	_cleanup_(freep) struct varbos_cache *cache = NULL;
	struct cache_opened opened;
	struct varbos_error why;
	int r;

	r = cache_ask_open(space, name, options, &opened);
	if (r)
		return r;
	*ret = find_locked(space, opened.handle);
	if (*ret) {
		(*ret)->uses++;
		return 0;
	}
	cache = calloc(1, sizeof(*cache));
	if (!cache) {
		r = error_system(ENOMEM, "a cache");
	} else {
		cache->space = space;
		cache->uses = 1;
		strcpy(cache->name, name);
		r = set_up(cache, &opened);
	}
	if (r) {
		why = *varbos_error();
		cache_ask_close(space, opened.handle);
		return error_restore(&why);
	}
	atomic_store_explicit(&cache->stamp, fork_count(), memory_order_release);
	space_use(space);
	cache->next = space->caches;
	space->caches = cache;
	*ret = TAKE_PTR(cache);
	return 0;
}

_public_ int varbos_cache_open(struct varbos_cache **ret, struct varbos_space *space,
			       const char *name, const struct varbos_cache_options *options)
{
	static const struct varbos_cache_options defaults;
	struct varbos_cache *cache;
	int r;

	error_enter("varbos_cache_open");
	if (!ret)
		return error_null("ret");
	if (!options)
		options = &defaults;
	r = check_open(name, options);
	if (!r)
		r = space_enter(space);
	if (r)
		return r;
	lock_acquire(&space->caches_lock);
	r = open_locked(&cache, space, name, options);
	lock_release(&space->caches_lock);
	if (!r)
		*ret = cache;
	return r;
}

int cache_revive(struct varbos_cache *cache)
{
	const struct varbos_cache_options options = {.flags = VARBOS_CACHE_EXISTING};
	struct varbos_space *space = cache->space;
	_cleanup_(lock_releasep) struct lock *lock = &space->caches_lock;
	struct cache_opened opened;
	int r;

	lock_acquire(lock);
	if (atomic_load_explicit(&cache->stamp, memory_order_relaxed) == fork_count())
		return 0;
	r = cache_ask_open(space, cache->name, &options, &opened);
	if (r)
		return r;
	indexes_free(cache, false);
	r = set_up(cache, &opened);
	if (!r)
		atomic_store_explicit(&cache->stamp, fork_count(), memory_order_release);
	return r;
}

int cache_refresh(struct varbos_cache *cache)
{
	const struct varbos_cache_options options = {.flags = VARBOS_CACHE_EXISTING};
	struct cache_opened opened;
	int r;

	r = cache_ask_open(cache->space, cache->name, &options, &opened);
	if (r)
		return r;
	if (opened.handle != cache->handle) { /* it was removed, and another has its name */
		cache_ask_close(cache->space, opened.handle);
		return 0;
	}
	atomic_store_explicit(&cache->capacity, opened.capacity, memory_order_relaxed);
	return 0;
}

static void cache_free(struct varbos_cache *cache, bool ours)
{
	open_leave(cache);
	indexes_free(cache, ours);
	free(cache);
}

_public_ void varbos_cache_close(struct varbos_cache *cache)
{
	struct varbos_cache **at;
	struct varbos_space *space;
	bool ours;

	if (!cache)
		return;
	error_enter("varbos_cache_close");
	space = cache->space;
	lock_acquire(&space->caches_lock);
	if (--cache->uses) {
		lock_release(&space->caches_lock);
		return;
	}
	for (at = &space->caches; *at != cache; at = &(*at)->next)
		;
	*at = cache->next;
	ours = atomic_load_explicit(&cache->stamp, memory_order_acquire) == fork_count();
	if (ours) {
		/* What was put comes first: the daemon seals what is being filled. */
		lanes_settle(cache->lanes);
		uncounted_tell(cache);
		cache_ask_close(space, cache->handle);
	}
	cache_free(cache, ours);
	lock_release(&space->caches_lock);
	varbos_space_close(space);
}

void caches_free(struct varbos_space *space)
{
	struct varbos_cache *cache;

	while ((cache = space->caches)) {
		space->caches = cache->next;
		cache_free(cache, atomic_load_explicit(&cache->stamp, memory_order_relaxed) ==
					  fork_count());
	}
}
