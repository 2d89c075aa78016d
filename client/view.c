/*
 * Reading: get, get_many, copy_out, exists, release.
 *
 * A hit stores to two places, both of this thread's lane: a hazard word, and the ring of accesses.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/copy.h"
#include "client/apart.h"
#include "client/cache.h"
#include "client/error.h"

enum { KEY_SHORT = 16 };

/* What the quick look says besides 0 and VARBOS_E_NOT_FOUND: what has to be done before another. */
enum {
	LOOK_ELSEWHERE = -1, /* the next index */
	LOOK_WINDOW = -2,    /* a window that is not mapped */
};

static inline uint64_t hash_of(const struct varbos_cache *cache, const void *key, size_t size)
{
	return XXH3_64bits_withSeed(key, size, cache->seed);
}

uint64_t cache_hash(const struct varbos_cache *cache, const void *key, size_t key_size)
{
	return hash_of(cache, key, key_size);
}

static inline bool is_key(const void *key, size_t size)
{
	return key && size - 1 < OBJECT_KEY_MAX;
}

int cache_check_key(const void *key, size_t key_size)
{
	if (!key)
		return error_null("key");
	if (is_key(key, key_size))
		return 0;
	return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_INVALID,
							.requested = key_size,
							.max = OBJECT_KEY_MAX,
							.which = "key_size"},
				 "a key of %zu bytes: they have 1 to %d", key_size,
				 OBJECT_KEY_MAX);
}

/* ---- looking ---- */

static inline uint64_t word_at(const void *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/* Such keys are compared and hashed without a call. */
static inline bool is_short(size_t size)
{
	return size - 8 <= KEY_SHORT - 8;
}

static inline bool same(const char *one, const char *two, size_t size)
{
	if (is_short(size))
		return word_at(one) == word_at(two) &&
		       word_at(one + size - 8) == word_at(two + size - 8);
	return !memcmp(one, two, size);
}

/* Is the object that the walk offers the one? VARBOS_E_NOT_FOUND: another, or a spoiled one. */
static inline int examine(const struct varbos_cache *cache, uint64_t offset, const void *key,
			  size_t key_size, struct found *ret)
{
	uintptr_t end =
		atomic_load_explicit(&cache->ends[offset_window(offset)], memory_order_acquire);
	struct object_header *header = (struct object_header *)(void *)(cache->base + offset);
	struct object_sizes sizes;
	uint64_t word, at;

	if (!likely((uintptr_t)header < end)) /* at multiples of 16: its sizes are there, too */
		return end ? VARBOS_E_NOT_FOUND : LOOK_WINDOW;
	/* Loaded once: somebody may be spoiling it. */
	word = __atomic_load_n(&header->sizes, __ATOMIC_RELAXED);
	sizes = object_sizes_unpack(word);
	if (sizes.key != key_size)
		return VARBOS_E_NOT_FOUND;
	/* From what is known, so that most values are on their way before their header is there. */
	sizes.key = (uint32_t)key_size;
	at = object_value_at(offset, sizes);
	if (!likely((uintptr_t)header + at + sizes.value <= end) &&
	    !mutant(client_object_unchecked))
		return VARBOS_E_NOT_FOUND;
	if (!same(key, (const char *)(header + 1), key_size))
		return VARBOS_E_NOT_FOUND;
	ret->header = header;
	ret->sizes = word;
	ret->data = (const char *)header + at;
	ret->expiry = atomic_load_explicit(&header->expiry, memory_order_relaxed);
	return 0;
}

/*
 * The quick half of it, for most objects: a short key of the right length, a small value. What is in bounds
 * then is told by where they begin, but for the last ones of a window.
 */
static inline bool is_small(const struct varbos_cache *cache, uint64_t offset, size_t key_size,
			    struct object_header **ret, uint64_t *ret_sizes)
{
	const uint64_t small = object_sizes_pack(
		(struct object_sizes){.value = OBJECT_ALIGNED - 1, .flags = UINT8_MAX});
	struct object_sizes sizes = {.key = (uint32_t)key_size};
	uintptr_t end =
		atomic_load_explicit(&cache->ends[offset_window(offset)], memory_order_acquire);

	*ret = (struct object_header *)(void *)(cache->base + offset);
	if (!likely((uintptr_t)*ret + sizeof(**ret) + KEY_SHORT + OBJECT_ALIGNED <= end))
		return false;
	*ret_sizes = __atomic_load_n(&(*ret)->sizes, __ATOMIC_RELAXED);
	return !((*ret_sizes ^ object_sizes_pack(sizes)) & ~small);
}

/* Nobody else writes there. */
static inline void add(_Atomic uint64_t *count)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
	__asm__("incq %0" : "+m"(*count)); /* compilers take three instructions */
#else
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
			      memory_order_relaxed);
#endif
}

/* The row of a cache in its thread's lane; NULL: there is none left. */
static __attribute__((noinline)) struct lane_count *find_row(const struct varbos_cache *cache,
							     struct lane *lane)
{
	struct lane_count *free = NULL;

	for (uint32_t i = 0; i < LANE_COUNTS; i++) {
		struct lane_count *row = &lane->counts[(cache->handle + i) % LANE_COUNTS];
		uint64_t whose = atomic_load_explicit(&row->cache, memory_order_acquire);

		if (whose == cache->row_kept)
			return row;
		if (!whose && !free)
			free = row;
	}
	if (!free)
		return NULL;
	atomic_store_explicit(&free->hits, 0, memory_order_relaxed);
	atomic_store_explicit(&free->misses, 0, memory_order_relaxed);
	atomic_store_explicit(&free->cache, cache->row_kept, memory_order_release);
	return free;
}

/* Where it most likely is: if it is. */
static inline struct lane_count *row_at(const struct varbos_cache *cache, struct lane *lane)
{
	return (struct lane_count *)(void *)((char *)lane + cache->row);
}

static inline bool is_row_of(const struct lane_count *row, const struct varbos_cache *cache)
{
	return atomic_load_explicit(&row->cache, memory_order_relaxed) == cache->row_kept;
}

/* 0 */
static __attribute__((noinline)) int count_elsewhere(struct varbos_cache *cache,
						     struct lane *lane, bool hit)
{
	struct lane_count *row = find_row(cache, lane);

	if (row)
		add(hit ? &row->hits : &row->misses);
	else if (!mutant(client_uncounted))
		uncounted_add(cache, hit);
	return 0;
}

static inline void count(struct varbos_cache *cache, struct lane *lane, bool hit)
{
	struct lane_count *row = row_at(cache, lane);

	if (likely(is_row_of(row, cache)))
		add(hit ? &row->hits : &row->misses);
	else
		count_elsewhere(cache, lane, hit);
}

static inline bool is_due(const struct cache_index *index, uint64_t entry)
{
	uint64_t epoch = atomic_load_explicit(&index->view.head->epoch, memory_order_relaxed);

	return (entry >> INDEX_HINT_SHIFT ^ epoch) & 15;
}

/* Unless its hint says that it was noted lately. */
static inline void note_access(struct lane *lane, const struct cache_index *index,
			       const _Atomic uint64_t *word, uint64_t entry)
{
	uint64_t n;

	if (!likely(atomic_load_explicit(&index->eager, memory_order_relaxed)) &&
	    !is_due(index, entry))
		return;
	n = atomic_load_explicit(&lane->noted, memory_order_relaxed);
	atomic_store_explicit(&lane->accesses[n % LANE_ACCESSES],
			      lane_access_by(index->access_base, (const void *)word, entry),
			      memory_order_relaxed);
	atomic_store_explicit(&lane->noted, n + 1, memory_order_release);
}

static inline bool is_over(const struct cache_index *index, uint64_t expiry)
{
	return !likely(!expiry) && expiry <= cache_now(index) && !mutant(client_expired_found);
}

/* Most hits: true. Else look() says what it is. */
static inline bool peek(struct varbos_cache *cache, struct lane *lane,
			const struct cache_index *index, struct index_mix mix,
			_Atomic uint64_t *hazard, const void *key, size_t key_size,
			struct found *ret)
{
	struct index_peek at;

	if (!likely(index_peek(&index->view, mix, hazard, cache->space_word, cache->fence,
			       &at)) ||
	    !likely(!examine(cache, at.offset, key, key_size, ret)) ||
	    is_over(index, ret->expiry))
		return false;
	count(cache, lane, true);
	note_access(lane, index, at.word, at.entry);
	return true;
}

/*
 * The walk has begun. noted: it counts, as an access or a miss. Where it ends without an object, the hazard
 * word is clear.
 */
static inline int look(struct varbos_cache *cache, struct lane *lane,
		       const struct cache_index *index, struct index_walk *walk,
		       const void *key, size_t key_size, bool noted, struct found *ret)
{
	enum index_answer answer;
	int r;

	for (;;) {
		answer = index_walk_next(walk, cache->fence);
		if (!likely(answer == INDEX_OFFERED)) {
			if (answer != INDEX_MISS)
				return LOOK_ELSEWHERE;
			goto miss;
		}
		r = examine(cache, walk->offset, key, key_size, ret);
		if (likely(!r))
			break;
		if (r == LOOK_WINDOW)
			return r;
	}
	if (is_over(index, ret->expiry)) {
		index_release(walk->hazard);
		goto miss;
	}
	if (!noted)
		return 0;
	count(cache, lane, true);
	note_access(lane, index, walk->word, walk->entry);
	return 0;
miss:
	if (noted)
		count(cache, lane, false);
	return VARBOS_E_NOT_FOUND;
}

/* What is in the way of the quick look is done, until it comes through. */
int cache_look(struct varbos_cache *cache, struct own_lane *own, const void *key,
	       size_t key_size, uint64_t hash, _Atomic uint64_t *hazard, bool noted,
	       struct found *ret)
{
	struct cache_index *index = atomic_load_explicit(&cache->index, memory_order_acquire);
	struct index_walk walk;
	struct window *window;
	int r;

	for (;;) {
		index_walk_begin(&walk, &index->view, hash, hazard, cache->space_handle);
		r = look(cache, own->lane, index, &walk, key, key_size, noted, ret);
		if (r == LOOK_WINDOW) {
			/* It stays pinned meanwhile. */
			r = window_need(cache->space, offset_window(walk.offset), &window);
			if (!r)
				continue;
			index_release(hazard);
			return r;
		}
		if (r != LOOK_ELSEWHERE)
			return r;
		r = cache_index_next(cache, index);
		if (r)
			return r;
		index = atomic_load_explicit(&index->next, memory_order_acquire);
	}
}

int error_views(const struct varbos_cache *cache, const struct own_lane *own, size_t wanted)
{
	uint32_t held = 0;

	for (uint32_t i = 1; i <= cache->pins; i++)
		held += !!atomic_load_explicit(&own->lane->hazards[i], memory_order_relaxed);
	return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_PINS,
							.requested = wanted,
							.max = cache->pins,
							.remaining = cache->pins - held,
							.which = "views"},
				 "%zu more views: %s %u of at most %u at a time (limits.pins)",
				 wanted,
				 own->common ? "this thread and others that share a lane hold"
					     : "this thread holds",
				 held, cache->pins);
}

/* A miss says nothing more than that: who wants words, gets them (error.h). */
static int answer(int r, const char *function)
{
	return r == VARBOS_E_NOT_FOUND ? error_quick(VARBOS_E_NOT_FOUND, function) : r;
}

int cache_read_enter(struct varbos_cache *cache, struct own_lane **ret)
{
	int r = cache_enter(cache);

	return r ? r : lane_enter(cache->lanes, LANE_READS, ret);
}

int cache_glance(struct varbos_cache *cache, struct own_lane *own, const void *key,
		 size_t key_size, uint64_t hash, enum glance_use use, struct glance *ret)
{
	*ret = (struct glance){};
	if (!own->lane)
		return apart_look(cache, key, key_size, hash, use != GLANCE_EXISTS,
				  use == GLANCE_NOTED, &ret->found, &ret->memory);
	ret->hazard = &own->lane->hazards[0];
	return cache_look(cache, own, key, key_size, hash, ret->hazard, use == GLANCE_NOTED,
			  &ret->found);
}

void cache_glance_end(struct glance *glance)
{
	if (glance->hazard)
		index_release(glance->hazard);
	free(glance->memory);
}

/* ---- a view ---- */

/* Without a lane. */
static int get_apart(struct varbos_cache *cache, const void *key, size_t key_size, bool noted,
		     struct varbos_view *ret)
{
	struct found found;
	void *memory;
	int r = apart_look(cache, key, key_size, hash_of(cache, key, key_size), true, noted,
			   &found, &memory);

	if (!r)
		apart_view(ret, cache, &found, memory);
	return r;
}

/* noted: it is an access, or a miss. */
static __attribute__((noinline)) int get_slow(struct varbos_cache *cache, const void *key,
					      size_t key_size, bool noted, const char *function,
					      struct varbos_view *ret)
{
	_cleanup_(lane_readp) struct own_lane *own = NULL;
	_Atomic uint64_t *hazard;
	struct found found;
	int r;

	error_enter(function);
	if (cache && !ret)
		return error_null("ret");
	r = cache_read_enter(cache, &own);
	if (!r)
		r = cache_check_key(key, key_size);
	if (r)
		return r;
	if (!own->lane)
		return answer(get_apart(cache, key, key_size, noted, ret), function);
	hazard = lane_hazard(own->lane, cache->pins);
	if (!hazard)
		return error_views(cache, own, 1);
	r = cache_look(cache, own, key, key_size, hash_of(cache, key, key_size), hazard, noted,
		       &found);
	if (!r)
		cache_view_fill(ret, cache, &found, hazard);
	return answer(r, function);
}

/* A hit, noted and filled in; if it expires it may be none any more. */
static __attribute__((noinline)) int get_settle(struct varbos_cache *cache, struct lane *lane,
						struct varbos_view *ret)
{
	const struct cache_index *index =
		atomic_load_explicit(&cache->index, memory_order_acquire);

	if (is_over(index, ret->reserved[VIEW_EXPIRY])) {
		varbos_view_release(ret);
		count(cache, lane, false);
		return error_quick(VARBOS_E_NOT_FOUND, "varbos_cache_get");
	}
	count(cache, lane, true);
	return 0;
}

/* The rest, from the beginning. Flattened, so that all of a walk lives in registers. */
static __attribute__((noinline, flatten)) int
get_any(struct varbos_cache *cache, const void *key, size_t key_size, struct varbos_view *ret)
{
	struct cache_index *index;
	_Atomic uint64_t *hazard = NULL;
	struct index_walk walk;
	struct found found;
	struct lane *lane;
	int r;

	if (likely(cache && ret && is_key(key, key_size)) &&
	    lane_to_read(atomic_load_explicit(&cache->number, memory_order_relaxed), &lane))
		hazard = lane_hazard(lane, cache->pins);
	if (!likely(hazard))
		return get_slow(cache, key, key_size, true, "varbos_cache_get", ret);
	index = atomic_load_explicit(&cache->index, memory_order_acquire);
	cache_index_hints(index);
	index_walk_begin(&walk, &index->view, hash_of(cache, key, key_size), hazard,
			 cache->space_handle);
	r = look(cache, lane, index, &walk, key, key_size, true, &found);
	if (likely(!r)) {
		cache_view_fill(ret, cache, &found, hazard);
		return 0;
	}
	if (r == VARBOS_E_NOT_FOUND)
		return error_quick(VARBOS_E_NOT_FOUND, "varbos_cache_get");
	index_release(hazard);
	return get_slow(cache, key, key_size, true, "varbos_cache_get", ret);
}

/* The rest, of what is pinned by the first word, noted, and perhaps not small. */
static __attribute__((noinline)) int get_large(struct varbos_cache *cache, struct lane *lane,
					       uint64_t offset, const void *key,
					       size_t key_size, struct varbos_view *ret)
{
	struct found found;

	if (examine(cache, offset, key, key_size, &found)) {
		if (!mutant(client_pin_kept))
			index_release(&lane->hazards[1]);
		return get_any(cache, key, key_size, ret);
	}
	cache_view_fill(ret, cache, &found, &lane->hazards[1]);
	return get_settle(cache, lane, ret);
}

/* Of a small one: as cache_view_fill(). */
static inline void fill_small(struct varbos_view *ret, const struct varbos_cache *cache,
			      const struct object_header *header, uint64_t sizes,
			      size_t key_size, _Atomic uint64_t *hazard)
{
	uint64_t birth = __atomic_load_n(&header->birth, __ATOMIC_RELAXED);
	const struct object_sizes least = {.key = (uint32_t)key_size};

	ret->data = (const char *)header + object_value_at(0, least);
	ret->size = sizes & (OBJECT_ALIGNED - 1);
	ret->generation = object_birth_unpack(birth).generation;
	ret->flags = (uint32_t)(sizes >> OBJECT_FLAGS_SHIFT);
	ret->reserved[VIEW_HAZARD] = (uintptr_t)hazard;
	ret->reserved[VIEW_FORK] = fork_count();
	ret->reserved[VIEW_CACHE] = (uintptr_t)cache;
	ret->reserved[VIEW_BIRTH] = birth;
	ret->reserved[VIEW_EXPIRY] =
		atomic_load_explicit(&header->expiry, memory_order_relaxed);
}

/*
 * Most hits get by without a call, which would cost them a third of their time. How many of them
 * are under way at once in a processor, each waiting for memory, is a matter of how many
 * instructions one takes: ten less are worth 5 % where the values are in no cache. So an access is
 * noted before its object has come, if only of an entry that looks alike.
 */
_public_ __attribute__((flatten)) int varbos_cache_get(struct varbos_cache *cache,
						       const void *key, size_t key_size,
						       struct varbos_view *ret)
{
	const struct thread_lane *slot;
	const struct cache_index *index;
	struct object_header *header;
	_Atomic uint64_t *hazard;
	struct lane_count *row;
	struct index_peek at;
	struct lane *lane;
	uint64_t sizes;

	if (!likely(cache) || !likely(is_short(key_size)))
		goto rest;
	slot = lane_in_slot(cache->slot,
			    atomic_load_explicit(&cache->quick, memory_order_relaxed));
	if (!likely(slot))
		goto rest;
	lane = slot->lane;
	hazard = &lane->hazards[1];
	if (!likely(ret) || !likely(!atomic_load_explicit(hazard, memory_order_acquire)))
		goto rest;
	index = atomic_load_explicit(&cache->index, memory_order_acquire);
	if (!likely(key))
		goto rest;
	if (!likely(index_peek(&index->view,
			       index_view_mix(&index->view, hash_of(cache, key, key_size)),
			       hazard, cache->space_word, false, &at)))
		goto unpin;
	note_access(lane, index, at.word, at.entry);
	if (!likely(is_small(cache, at.offset, key_size, &header, &sizes)))
		return get_large(cache, lane, at.offset, key, key_size, ret);
	if (!likely(same(key, (const char *)(header + 1), key_size)))
		goto unpin;
	fill_small(ret, cache, header, sizes, key_size, hazard);
	if (!likely(!ret->reserved[VIEW_EXPIRY]))
		return get_settle(cache, lane, ret);
	row = row_at(cache, lane);
	if (!likely(is_row_of(row, cache)))
		return count_elsewhere(cache, lane, true);
	add(&row->hits);
	return 0;
unpin:
	if (!mutant(client_pin_kept))
		index_release(hazard);
rest:
	return get_any(cache, key, key_size, ret);
}

_public_ int varbos_cache_peek(struct varbos_cache *cache, const void *key, size_t key_size,
			       struct varbos_view *ret)
{
	return get_slow(cache, key, key_size, mutant(client_peek_noted), "varbos_cache_peek",
			ret);
}

/* It is held, and this process's. */
static inline bool is_held(const struct varbos_view *view)
{
	return likely(view) && likely(view->reserved[VIEW_HAZARD]) &&
	       (likely(view->reserved[VIEW_FORK] == fork_count()) ||
		mutant(client_view_inherited));
}

static __attribute__((noinline)) void release_copy(struct varbos_view *view)
{
	if (is_held(view))
		free((void *)(uintptr_t)(view->reserved[VIEW_HAZARD] & ~(uint64_t)VIEW_COPY));
	view->data = NULL;
	view->reserved[VIEW_HAZARD] = 0;
}

_public_ void varbos_view_release(struct varbos_view *view)
{
	if (!likely(view))
		return;
	if (!likely(!(view->reserved[VIEW_HAZARD] & VIEW_COPY))) {
		release_copy(view);
		return;
	}
	if (likely(is_held(view)))
		index_release((_Atomic uint64_t *)(uintptr_t)view->reserved[VIEW_HAZARD]);
	view->data = NULL;
	view->reserved[VIEW_HAZARD] = 0;
}

static uint64_t now_of(const struct varbos_view *view)
{
	const struct varbos_cache *cache =
		(const struct varbos_cache *)(uintptr_t)view->reserved[VIEW_CACHE];

	return cache_now(atomic_load_explicit(&cache->index, memory_order_acquire));
}

_public_ uint64_t varbos_view_age_ms(const struct varbos_view *view)
{
	uint64_t born, now;

	if (!is_held(view))
		return 0;
	born = object_birth_unpack(view->reserved[VIEW_BIRTH]).ms;
	now = now_of(view);
	return now > born ? now - born : 0;
}

_public_ uint64_t varbos_view_expires_in_ms(const struct varbos_view *view)
{
	uint64_t expiry, now;

	if (!is_held(view))
		return 0;
	expiry = view->reserved[VIEW_EXPIRY];
	if (!expiry)
		return UINT64_MAX;
	now = now_of(view);
	return expiry > now ? expiry - now : 0;
}

/* ---- many ---- */

enum { MANY = LANE_HAZARDS }; /* at a time */

/* How many hazard words hold nothing, up to n: *ret. */
static size_t hazards(const struct own_lane *own, uint32_t pins, size_t n,
		      _Atomic uint64_t **ret)
{
	size_t found = 0;

	for (uint32_t i = 1; i <= pins && found < n; i++)
		if (!atomic_load_explicit(&own->lane->hazards[i], memory_order_acquire))
			ret[found++] = &own->lane->hazards[i];
	return found;
}

/*
 * Three times through the keys, and each time what all of them need next is fetched: their buckets,
 * their objects.
 */
static __attribute__((noinline, flatten)) void
fetch_few(const struct varbos_cache *cache, const struct cache_index *index,
	  const struct varbos_key *keys, size_t n, uint64_t *hashes, struct index_mix *mixes)
{
	for (size_t i = 0; i < n; i++) {
		hashes[i] = hash_of(cache, keys[i].data, keys[i].size);
		mixes[i] = index_view_fetch(&index->view, hashes[i]);
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t offset = index_view_guess(&index->view, mixes[i]);

		if (!likely(offset))
			continue;
		/* The value begins in the next line as often as not. */
		__builtin_prefetch(cache->base + offset);
		__builtin_prefetch(cache->base + offset + sizeof(struct object_header) +
				   keys[i].size);
	}
}

/* One that is not found at first sight. */
static __attribute__((noinline)) int get_one(struct varbos_cache *cache, struct own_lane *own,
					     const struct varbos_key *key, uint64_t hash,
					     _Atomic uint64_t *hazard, struct varbos_view *ret)
{
	struct found found;
	int r = cache_look(cache, own, key->data, key->size, hash, hazard, true, &found);

	if (!r)
		cache_view_fill(ret, cache, &found, hazard);
	return r;
}

/* At most MANY keys, with a hazard word for each. */
static int get_few(struct varbos_cache *cache, struct own_lane *own,
		   const struct varbos_key *keys, size_t n, _Atomic uint64_t **words,
		   struct varbos_view *views, size_t *found_n)
{
	struct cache_index *index = atomic_load_explicit(&cache->index, memory_order_acquire);
	struct index_mix mixes[MANY];
	uint64_t hashes[MANY];
	struct found found;
	int r;

	fetch_few(cache, index, keys, n, hashes, mixes);
	for (size_t i = 0; i < n; i++) {
		if (likely(peek(cache, own->lane, index, mixes[i], words[i], keys[i].data,
				keys[i].size, &found))) {
			cache_view_fill(&views[i], cache, &found, words[i]);
			++*found_n;
			continue;
		}
		r = get_one(cache, own, &keys[i], hashes[i], words[i], &views[i]);
		if (r && r != VARBOS_E_NOT_FOUND)
			return r;
		*found_n += !r;
	}
	return 0;
}

static int get_many_apart(struct varbos_cache *cache, const struct varbos_key *keys, size_t n,
			  struct varbos_view *views, size_t *found_n)
{
	int r = 0;

	for (size_t i = 0; i < n && (!r || r == VARBOS_E_NOT_FOUND); i++) {
		r = get_apart(cache, keys[i].data, keys[i].size, true, &views[i]);
		*found_n += !r;
	}
	return r == VARBOS_E_NOT_FOUND ? 0 : r;
}

static int check_keys(const struct varbos_key *keys, size_t n, const struct varbos_view *views)
{
	int r = 0;

	if (n && !keys)
		return error_null("keys");
	if (n && !views)
		return error_null("views");
	for (size_t i = 0; i < n && !r; i++) {
		r = likely(is_key(keys[i].data, keys[i].size))
			    ? 0
			    : cache_check_key(keys[i].data, keys[i].size);
		/* Wherever they come from: all are on their way at once. */
		__builtin_prefetch(keys[i].data);
	}
	return r;
}

_public_ int varbos_cache_get_many(struct varbos_cache *cache, const struct varbos_key *keys,
				   size_t n, struct varbos_view *views, size_t *ret_found)
{
	_cleanup_(lane_readp) struct own_lane *own = NULL;
	_Atomic uint64_t *words[MANY];
	size_t found = 0;
	int r;

	error_enter("varbos_cache_get_many");
	r = cache_read_enter(cache, &own);
	if (!r)
		r = check_keys(keys, n, views);
	if (r)
		return r;
	if (n)
		memset(views, 0, n * sizeof(*views));
	if (!own->lane)
		r = get_many_apart(cache, keys, n, views, &found);
	else if (n > MANY || hazards(own, cache->pins, n, words) < n)
		return error_views(cache, own, n);
	else
		r = get_few(cache, own, keys, n, words, views, &found);
	if (r) {
		for (size_t i = 0; i < n; i++)
			varbos_view_release(&views[i]);
		return r;
	}
	if (ret_found)
		*ret_found = found;
	return 0;
}

/* ---- without a view ---- */

_public_ int varbos_cache_copy_out(struct varbos_cache *cache, const void *key, size_t key_size,
				   void *to, size_t room, size_t *ret_size)
{
	_cleanup_(lane_readp) struct own_lane *own = NULL;
	struct glance glance;
	uint64_t size;
	int r;

	error_enter("varbos_cache_copy_out");
	r = cache_read_enter(cache, &own);
	if (!r)
		r = cache_check_key(key, key_size);
	if (!r && room && !to)
		r = error_null("to");
	if (r)
		return r;
	r = cache_glance(cache, own, key, key_size, hash_of(cache, key, key_size), GLANCE_NOTED,
			 &glance);
	if (r)
		return answer(r, "varbos_cache_copy_out");
	size = object_sizes_unpack(glance.found.sizes).value;
	if (room)
		copy_bytes(to, glance.found.data, u64_min(room, size));
	cache_glance_end(&glance);
	if (ret_size)
		*ret_size = size;
	return 0;
}

_public_ int varbos_cache_exists(struct varbos_cache *cache, const void *key, size_t key_size)
{
	_cleanup_(lane_readp) struct own_lane *own = NULL;
	struct glance glance;
	int r;

	error_enter("varbos_cache_exists");
	r = cache_read_enter(cache, &own);
	if (!r)
		r = cache_check_key(key, key_size);
	if (r)
		return r;
	r = cache_glance(cache, own, key, key_size, hash_of(cache, key, key_size),
			 GLANCE_EXISTS, &glance);
	if (!r)
		cache_glance_end(&glance);
	return answer(r, "varbos_cache_exists");
}
