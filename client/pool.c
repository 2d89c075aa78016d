#include "client/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "client/error.h"
#include "client/fork.h"
#include "client/idle.h"

#define ALIGN_MAX ((uint64_t)1 << 30)
#define SIZE_LIMIT ((uint64_t)1 << 34) /* a window is no larger */

enum {
	GROWTH_DEFAULT = 150,
	TIDY_SLOTS = 64, /* that one put looks at */
};

static void pool_freep(struct varbos_pool **pool)
{
	pool_free(*pool);
}

static uint64_t now_ms(const struct varbos_pool *pool)
{
	struct timespec now;

	if (pool->options.clock_ms)
		return pool->options.clock_ms(pool->options.context);
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- objects come and go ---- */

/* With the lock. A new object, in no stack; its state is still EMPTY. */
static int make(struct varbos_pool *pool, uint64_t want, uint32_t *ret)
{
	const struct varbos_pool_options *options = &pool->options;
	uint32_t id = ID_NONE;
	int r;

	r = slabs_take(&pool->slabs, want, &id);
	if (r)
		return r;
	r = options->construct
		    ? options->construct(object_of(&pool->slabs, id), options->context)
		    : 0;
	if (r) {
		hollow(pool, id);
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_OBJECT,
								.system_errno = r,
								.which = "constructor"},
					 "the constructor of an object has failed with %d", r);
	}
	slab_of(&pool->slabs, id)->objects++;
	pool->total++;
	pool->counts.created++;
	pool->counts.peak = u64_max(pool->counts.peak, pool->total);
	*ret = id;
	return 0;
}

/* With the lock: an object has been destructed. */
static void unmake(struct varbos_pool *pool, uint32_t id)
{
	slab_of(&pool->slabs, id)->objects--;
	pool->total--;
	pool->counts.destroyed++;
}

static void destruct(struct varbos_pool *pool, uint32_t id)
{
	if (pool->options.destruct)
		pool->options.destruct(object_of(&pool->slabs, id), pool->options.context);
}

/* The object is the caller's, and invalid. */
static void discard(struct varbos_pool *pool, uint32_t id)
{
	destruct(pool, id);
	slow_enter(pool);
	unmake(pool, id);
	hollow(pool, id);
	pool->counts.invalid++;
	slow_leave(pool);
	if (!is_local(pool))
		wake_waiting(pool, false);
}

static void make_idle(struct varbos_pool *pool, uint32_t id)
{
	struct slot *slot = slot_of(&pool->slabs, id);

	if (pool->evicts)
		atomic_store_explicit(&slot->since, now_ms(pool), memory_order_relaxed);
	atomic_store_explicit(&slot->state, SLOT_IDLE, memory_order_release);
}

/* With the lock. */
static int fill(struct varbos_pool *pool, uint32_t total)
{
	uint32_t id = ID_NONE;
	int r = 0;

	while (pool->total < total && !r) {
		r = make(pool, total - pool->total, &id);
		if (!r) {
			make_idle(pool, id);
			push(pool, id, pool->options.kind);
		}
	}
	return r;
}

/* ---- getting ---- */

static int error_exhausted(const struct varbos_pool *pool)
{
	return error_set_numbers(
		&(struct varbos_error){.code = VARBOS_E_EXHAUSTED,
				       .requested = 1,
				       .max = pool->options.max,
				       .which = "pool"},
		"all %u objects of %zu bytes that the pool may have are in use",
		pool->options.max, pool->options.size);
}

/* With the lock: more objects, of which *ret is LIVE. */
static int grow(struct varbos_pool *pool, uint32_t *ret)
{
	uint64_t total = pool->total, wish = total * pool->options.growth / 100;
	uint32_t id = ID_NONE;
	int r;

	if (total >= pool->options.max)
		return error_exhausted(pool);
	wish = u64_min(u64_max(wish, total + 1), pool->options.max);
	r = make(pool, wish - total, &id);
	if (r)
		return r;
	atomic_store_explicit(&slot_of(&pool->slabs, id)->state, SLOT_LIVE,
			      memory_order_relaxed);
	pool->counts.misses++;
	*ret = id;
	/* The rest is made ahead; if it cannot be, someone who needs it will be told. */
	fill(pool, (uint32_t)wish);
	return 0;
}

/* None was idle. *ret_fresh: nobody has had it before. */
static int get_slow(struct varbos_pool *pool, uint32_t *ret, bool *ret_fresh)
{
	uint32_t id;
	bool more;
	int r = 0;

	slow_enter(pool);
	/* Somebody may have put, or made more, meanwhile. */
	id = take_surely(pool);
	*ret_fresh = id == ID_NONE;
	if (*ret_fresh)
		r = grow(pool, &id);
	more = !r && *ret_fresh && !is_local(pool);
	slow_leave(pool);
	if (more)
		wake_waiting(pool, true);
	if (!r)
		*ret = id;
	return r;
}

/* Is it fit to be given out? Else it is no more. */
static bool is_valid(struct varbos_pool *pool, uint32_t id, uint32_t flag)
{
	const struct varbos_pool_options *options = &pool->options;

	if (!(options->flags & flag) ||
	    options->validate(object_of(&pool->slabs, id), options->context))
		return true;
	discard(pool, id);
	return false;
}

static always_inline void *got(struct varbos_pool *pool, uint32_t id)
{
	struct slot *slot = slot_of(&pool->slabs, id);

	atomic_store_explicit(&slot->gets,
			      atomic_load_explicit(&slot->gets, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	return object_of(&pool->slabs, id);
}

/* The first idle one that is valid, else a new one. */
static int get_any(struct varbos_pool *pool, uint32_t *ret)
{
	bool fresh = false;
	uint32_t id;
	int r;

	do {
		id = take_idle(pool, false, pool->options.kind);
		if (id == ID_NONE) {
			r = get_slow(pool, &id, &fresh);
			if (r)
				return r;
		}
	} while (!fresh && !is_valid(pool, id, VARBOS_POOL_VALIDATE_GET));
	*ret = id;
	return 0;
}

static int get_waiting(struct varbos_pool *pool, int timeout_ms, uint32_t *ret)
{
	uint64_t deadline = timeout_ms < 0 ? 0 : clock_ns() + (uint64_t)timeout_ms * 1000000;
	uint32_t event;
	int r;

	atomic_fetch_add_explicit(&pool->waits, 1, memory_order_relaxed);
	announce(pool, 1);
	for (;;) {
		event = atomic_load_explicit(&pool->event, memory_order_seq_cst);
		r = get_any(pool, ret);
		if (r != VARBOS_E_EXHAUSTED || (deadline && clock_ns() >= deadline))
			break;
		futex_wait(&pool->event, event, deadline);
	}
	announce(pool, (uint32_t)-1);
	return r;
}

/* Apart, so that what is rare costs the rest no registers. */
static __attribute__((noinline)) int check_failed(const struct varbos_pool *pool,
						  const char *function)
{
	error_enter(function);
	return pool ? error_parents("the pool") : error_null("pool");
}

static inline int check(const struct varbos_pool *pool, const char *function)
{
	return pool && pool->stamp == fork_count() ? 0 : check_failed(pool, function);
}

static __attribute__((noinline)) void *get_rare(struct varbos_pool *pool, int timeout_ms)
{
	struct varbos_error before = *varbos_error();
	uint32_t id = ID_NONE;
	int r;

	error_enter(timeout_ms ? "varbos_pool_get_within" : "varbos_pool_get");
	r = get_any(pool, &id);
	if (r == VARBOS_E_EXHAUSTED && timeout_ms && !is_local(pool) &&
	    !strcmp(varbos_error()->which, "pool"))
		r = get_waiting(pool, timeout_ms, &id);
	if (r)
		return NULL;
	error_restore(&before); /* what went wrong on the way is nobody's concern */
	return got(pool, id);
}

static always_inline void *get_as(struct varbos_pool *pool, int timeout_ms,
				  enum varbos_pool_kind kind)
{
	uint32_t id;

	if (pool->options.flags & VARBOS_POOL_VALIDATE_GET)
		return get_rare(pool, timeout_ms);
	id = take_idle(pool, false, kind);
	return id != ID_NONE ? got(pool, id) : get_rare(pool, timeout_ms);
}

/* ---- letting go ---- */

/* With the lock. Has the object, whoever's it was, become ours and gone? */
static bool evict(struct varbos_pool *pool, uint32_t id, uint64_t now)
{
	struct slot *slot = slot_of(&pool->slabs, id);
	struct slab *slab = slab_of(&pool->slabs, id);
	uint64_t since;

	/* Acquire: `since` is that of this state, or newer. */
	if (atomic_load_explicit(&slot->state, memory_order_acquire) != SLOT_IDLE)
		return false;
	since = atomic_load_explicit(&slot->since, memory_order_relaxed);
	if (since > now || now - since < pool->options.idle_ms)
		return false;
	/* One that was got and put back just now goes, too: no harm, and never one in use. */
	if (!slot_turn(slot, SLOT_IDLE, SLOT_GONE, is_local(pool)))
		return false;
	destruct(pool, id);
	unmake(pool, id);
	pool->counts.evicted++;
	if (!slab->objects && !pool->slabs.source.keeps)
		slab_give(&pool->slabs, slab);
	return true;
}

/* With the lock. Looks at so many slots, from where the last look ended; true: all were seen. */
static bool evict_some(struct varbos_pool *pool, uint64_t now, uint64_t most,
		       uint64_t *ret_evicted)
{
	uint32_t n_slabs = atomic_load_explicit(&pool->slabs.n, memory_order_relaxed);

	while (most && pool->look_slab < n_slabs) {
		if (pool->look_at == pool->slabs.slabs[pool->look_slab].used) {
			pool->look_slab++;
			pool->look_at = 0;
			continue;
		}
		if (pool->total > pool->options.min)
			*ret_evicted += evict(pool, id_of(pool->look_slab, pool->look_at), now);
		pool->look_at++;
		most--;
	}
	if (pool->look_slab < n_slabs)
		return false;
	pool->look_slab = pool->look_at = 0;
	return true;
}

/* On the way of a put: a bounded look, by one thread at a time. */
static __attribute__((noinline)) void tidy_some(struct varbos_pool *pool, uint64_t now)
{
	uint64_t evicted = 0;

	if (!is_local(pool) && !lock_try(&pool->lock))
		return;
	if (evict_some(pool, now, TIDY_SLOTS, &evicted))
		atomic_store_explicit(&pool->tidy_at,
				      now + u64_max(pool->options.idle_ms / 4, 1),
				      memory_order_relaxed);
	slow_leave(pool);
	if (evicted && !is_local(pool))
		wake_waiting(pool, true);
}

_public_ int varbos_pool_tidy(struct varbos_pool *pool, uint64_t *ret_evicted)
{
	uint64_t evicted = 0;
	int r;

	error_enter("varbos_pool_tidy");
	r = check(pool, "varbos_pool_tidy");
	if (r)
		return r;
	slow_enter(pool);
	if (pool->evicts) {
		pool->look_slab = pool->look_at = 0;
		evict_some(pool, now_ms(pool), UINT64_MAX, &evicted);
	}
	r = fill(pool, pool->options.min);
	slow_leave(pool);
	if (!is_local(pool))
		wake_waiting(pool, true);
	if (ret_evicted)
		*ret_evicted = evicted;
	return r;
}

/* ---- putting ---- */

static __attribute__((noinline)) int error_object(const void *object, const char *which)
{
	error_enter("varbos_pool_put");
	return error_set(VARBOS_E_OBJECT, which,
			 !strcmp(which, "twice")      ? "the object at %p is not in use"
			 : !strcmp(which, "interior") ? "%p lies inside an object of this pool"
						      : "%p is no object of this pool",
			 object);
}

/* It is BUSY, and ours. */
static __attribute__((noinline)) int put_careful(struct varbos_pool *pool, uint32_t id)
{
	const struct varbos_pool_options *options = &pool->options;
	struct slot *slot = slot_of(&pool->slabs, id);
	uint64_t now;

	if (options->reset)
		options->reset(object_of(&pool->slabs, id), options->context);
	if (!is_valid(pool, id, VARBOS_POOL_VALIDATE_PUT))
		return 0;
	now = pool->evicts ? now_ms(pool) : 0;
	atomic_store_explicit(&slot->since, now, memory_order_relaxed);
	/* Release: who evicts it sees the object. */
	atomic_store_explicit(&slot->state, SLOT_IDLE, memory_order_release);
	if (push(pool, id, options->kind))
		wake(pool, false);
	if (pool->evicts && now >= atomic_load_explicit(&pool->tidy_at, memory_order_relaxed))
		tidy_some(pool, now);
	return 0;
}

static always_inline int put_as(struct varbos_pool *pool, const void *object,
				enum varbos_pool_kind kind)
{
	enum slot_state next = pool->careful ? SLOT_BUSY : SLOT_IDLE;
	bool inside;
	uint32_t id = slabs_find(&pool->slabs, object, &inside);

	if (id == ID_NONE)
		return error_object(object, inside ? "interior" : "foreign");
	if (!slot_turn(slot_of(&pool->slabs, id), SLOT_LIVE, next, kind == VARBOS_POOL_LOCAL) &&
	    !mutant(pool_twice_unchecked))
		return error_object(object, "twice");
	if (next == SLOT_BUSY)
		return put_careful(pool, id);
	if (push(pool, id, kind))
		wake(pool, false);
	return 0;
}

/* ---- the four kinds ---- */

#define WAYS(name, kind)                                                    \
	static void *name##_get(struct varbos_pool *pool, int timeout_ms)   \
	{                                                                   \
		return get_as(pool, timeout_ms, kind);                      \
	}                                                                   \
	static int name##_put(struct varbos_pool *pool, const void *object) \
	{                                                                   \
		return put_as(pool, object, kind);                          \
	}

WAYS(locked, VARBOS_POOL_LOCKED)
WAYS(local, VARBOS_POOL_LOCAL)
WAYS(lock_free, VARBOS_POOL_LOCK_FREE)
WAYS(stealing, VARBOS_POOL_STEALING)

static const struct {
	void *(*get)(struct varbos_pool *pool, int timeout_ms);
	int (*put)(struct varbos_pool *pool, const void *object);
} ways[] = {
	[VARBOS_POOL_LOCKED] = {locked_get, locked_put},
	[VARBOS_POOL_LOCAL] = {local_get, local_put},
	[VARBOS_POOL_LOCK_FREE] = {lock_free_get, lock_free_put},
	[VARBOS_POOL_STEALING] = {stealing_get, stealing_put},
};

_public_ void *varbos_pool_get(struct varbos_pool *pool)
{
	return check(pool, "varbos_pool_get") ? NULL : ways[pool->options.kind].get(pool, 0);
}

_public_ void *varbos_pool_get_within(struct varbos_pool *pool, int timeout_ms)
{
	return check(pool, "varbos_pool_get_within")
		       ? NULL
		       : ways[pool->options.kind].get(pool, timeout_ms);
}

_public_ int varbos_pool_put(struct varbos_pool *pool, void *object)
{
	int r;

	if (!object)
		return 0;
	r = check(pool, "varbos_pool_put");
	return r ? r : ways[pool->options.kind].put(pool, object);
}

/* ---- looking ---- */

_public_ int varbos_pool_stats(struct varbos_pool *pool, struct varbos_pool_stats *ret)
{
	uint64_t gets = 0;
	uint32_t n_slabs;
	int r;

	error_enter("varbos_pool_stats");
	r = check(pool, "varbos_pool_stats");
	if (r)
		return r;
	if (!ret)
		return error_null("ret");
	slow_enter(pool);
	*ret = pool->counts;
	ret->held = pool->slabs.held;
	n_slabs = atomic_load_explicit(&pool->slabs.n, memory_order_relaxed);
	for (uint32_t i = 0; i < n_slabs; i++)
		for (uint32_t j = 0; j < pool->slabs.slabs[i].used; j++) {
			struct slot *slot = &pool->slabs.slabs[i].slots[j];
			uint32_t state =
				atomic_load_explicit(&slot->state, memory_order_relaxed);

			ret->live += state == SLOT_LIVE || state == SLOT_BUSY;
			ret->idle += state == SLOT_IDLE;
			gets += atomic_load_explicit(&slot->gets, memory_order_relaxed);
		}
	slow_leave(pool);
	/* A get that is under way counts as a miss before it counts as a get. */
	ret->hits = gets > ret->misses ? gets - ret->misses : 0;
	ret->waits = atomic_load_explicit(&pool->waits, memory_order_relaxed);
	return 0;
}

/* ---- making and ending ---- */

static int check_options(struct varbos_pool_options *options)
{
	if (!options->size || options->size > SIZE_LIMIT)
		return error_set(VARBOS_E_INVALID, "size",
				 "objects of %zu bytes are not between 1 byte and 16 GiB",
				 options->size);
	if ((options->align & (options->align - 1)) || options->align > ALIGN_MAX)
		return error_set(VARBOS_E_INVALID, "align",
				 "an alignment of %zu is no power of two up to 1 GiB",
				 options->align);
	if (options->max > POOL_OBJECTS_MAX)
		return error_set(VARBOS_E_INVALID, "max", "%u objects are more than %d",
				 options->max, POOL_OBJECTS_MAX);
	if (!options->max)
		options->max = POOL_OBJECTS_MAX;
	if (options->min > options->max)
		return error_set(VARBOS_E_INVALID, "min",
				 "at least %u objects and at most %u cannot be", options->min,
				 options->max);
	if (options->growth && (options->growth < 100 || options->growth > 100000))
		return error_set(VARBOS_E_INVALID, "growth",
				 "a growth of %u percent is not between 100 and 100000",
				 options->growth);
	if ((uint32_t)options->kind > VARBOS_POOL_STEALING)
		return error_set(VARBOS_E_INVALID, "kind", "there is no pool of kind %d",
				 (int)options->kind);
	if (options->flags & ~(uint32_t)(VARBOS_POOL_VALIDATE_GET | VARBOS_POOL_VALIDATE_PUT))
		return error_set(VARBOS_E_INVALID, "flags", "flags 0x%x are not known",
				 options->flags);
	if (options->flags && !options->validate)
		return error_set(VARBOS_E_INVALID, "validate",
				 "objects are to be validated, but not how");
	if (!options->growth)
		options->growth = GROWTH_DEFAULT;
	if (!options->align)
		options->align = options->size < 64 ? SOURCE_ALIGN : 64;
	return 0;
}

/* As many as there are processors, up to a power of two. */
static uint32_t shards_wanted(enum varbos_pool_kind kind)
{
	uint32_t n = 1, processors = (uint32_t)get_nprocs();

	if (kind != VARBOS_POOL_STEALING)
		return 1;
	while (n < processors && n < POOL_SHARDS)
		n *= 2;
	return n;
}

static void end_tied(struct tie *tie)
{
	pool_free(container_of(tie, struct varbos_pool, tie));
}

int pool_new(struct varbos_pool **ret, const struct source *source,
	     const struct varbos_pool_options *options)
{
	_cleanup_(pool_freep) struct varbos_pool *pool = NULL;
	struct varbos_pool_options checked = *options;
	uint32_t n;
	int r;

	r = fork_watch();
	if (r)
		return error_system(r, "watching forks");
	r = check_options(&checked);
	if (r)
		return r;
	n = shards_wanted(checked.kind);
	pool = aligned_alloc(_Alignof(struct varbos_pool),
			     sizeof(*pool) + n * sizeof(pool->shards[0]));
	if (!pool)
		return error_system(ENOMEM, "a pool");
	memset(pool, 0, sizeof(*pool) + n * sizeof(pool->shards[0]));
	pool->options = checked;
	pool->stamp = fork_count();
	pool->tie = (struct tie){.handle = pool, .end = end_tied};
	pool->evicts = checked.idle_ms;
	pool->careful =
		checked.idle_ms || checked.reset || (checked.flags & VARBOS_POOL_VALIDATE_PUT);
	slabs_init(&pool->slabs, source, checked.size, checked.align, checked.max);
	pool->n_shards = n;
	for (uint32_t i = 0; i < n; i++)
		stack_init(&pool->shards[i].idle);
	if (pool->evicts)
		pool->tidy_at = now_ms(pool) + checked.idle_ms;

	r = fill(pool, checked.min);
	if (r)
		return r;
	if (source->ties && ties_add(source->ties, TIE_CHILD, &pool->tie, NULL))
		return error_system(ENOMEM, "a note of what is made in the source");

	*ret = TAKE_PTR(pool);
	return 0;
}

static void destruct_all(struct varbos_pool *pool)
{
	uint32_t n = atomic_load_explicit(&pool->slabs.n, memory_order_relaxed), state;

	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < pool->slabs.slabs[i].used; j++) {
			state = atomic_load_explicit(&pool->slabs.slabs[i].slots[j].state,
						     memory_order_acquire);
			if (state != SLOT_EMPTY && state != SLOT_GONE)
				destruct(pool, id_of(i, j));
		}
}

void pool_free(struct varbos_pool *pool)
{
	bool ours;

	if (!pool)
		return;
	tie_cut(&pool->tie);
	/* In a forked child there is nothing but our records. */
	ours = pool->stamp == fork_count();
	if (ours)
		destruct_all(pool);
	slabs_deinit(&pool->slabs, ours);
	free(pool);
}

_public_ int varbos_pool_create(struct varbos_pool **ret, struct varbos_source of,
				const struct varbos_pool_options *options)
{
	struct source source;
	int r;

	error_enter("varbos_pool_create");
	if (!ret)
		return error_null("ret");
	if (!options)
		return error_null("options");
	r = source_resolve(&source, &of, options->kind != VARBOS_POOL_LOCAL);
	return r ? r : pool_new(ret, &source, options);
}

_public_ void varbos_pool_destroy(struct varbos_pool *pool)
{
	error_enter("varbos_pool_destroy");
	pool_free(pool);
}
