/*
 * Pools - objects of one size that stay constructed while nobody uses them.
 *
 *     varbos_pool_create(&pool, varbos_in_space(images),
 *                        &(struct varbos_pool_options){.size = sizeof(struct job), .max = 64});
 *     job = varbos_pool_get(pool);
 *     ...
 *     varbos_pool_put(pool, job);
 *
 * Whoever gets an object has it alone until it is put back, by any thread. What is put back is
 * checked: it must be an object of this pool that is in use. The one put last is the next to be
 * got.
 *
 * Callbacks must not call their own pool. The constructor, and the destructor of what was idle for
 * too long, run one at a time and hold up others that need one; the rest run in the threads that
 * get and put.
 */
#ifndef VARBOS_POOL_H
#define VARBOS_POOL_H

#include <varbos/source.h>

#ifdef __cplusplus
extern "C" {
#endif

enum varbos_pool_kind {
	VARBOS_POOL_LOCKED = 0, /* any thread may call at any time: a lock */
	VARBOS_POOL_LOCAL = 1,  /* for one thread at a time: no lock, no atomic instruction */
	VARBOS_POOL_LOCK_FREE = 2, /* as locked, but no thread that stops holds up another */
	VARBOS_POOL_STEALING = 3, /* likewise; each thread has a place of its own for what it */
				  /* puts back, and looks into others' when that is empty */
};

enum varbos_pool_flags {
	VARBOS_POOL_VALIDATE_GET = 1 << 0, /* before an idle object is given out */
	VARBOS_POOL_VALIDATE_PUT = 1 << 1, /* when it is put back, after its reset */
};

struct varbos_pool_options {
	size_t size;  /* of an object; the only field that has no default */
	size_t align; /* a power of two up to 1 GiB; 0: 16, from 64 bytes on 64 */
	uint32_t min; /* that are constructed at once, and kept when idle */
	uint32_t max; /* that there may be; 0: 16777216, which no pool has more than */
	uint32_t
		growth; /* when all are in use, grow to so many percent, at least by one: 100 */
			/* is one by one; 0: 150 */
	enum varbos_pool_kind kind;
	uint32_t flags; /* enum varbos_pool_flags */
	uint32_t
		idle_ms; /* what nobody has used for so long goes, down to min; 0: nothing does */

	/* All may be NULL. */
	int (*construct)(void *object, void *context);      /* not 0: it failed, say an errno */
	void (*destruct)(void *object, void *context);      /* what was constructed */
	void (*reset)(void *object, void *context);         /* when it is put back */
	int (*validate)(const void *object, void *context); /* 0: to be replaced by another */
	uint64_t (*clock_ms)(void *context); /* for idle_ms; NULL: CLOCK_MONOTONIC_COARSE */
	void *context;
};

/*
 * Fails as varbos_alloc() does, and as varbos_pool_get() if one of the first `min` cannot be
 * constructed. A pool that is not local needs a source that several threads may use.
 */
int varbos_pool_create(struct varbos_pool **ret, struct varbos_source source,
		       const struct varbos_pool_options *options);

/* All objects are destructed, those in use too, and their memory goes. NULL is fine. */
void varbos_pool_destroy(struct varbos_pool *pool);

/*
 * An object in the state its constructor, or its last reset, left it in. NULL:
 * VARBOS_E_EXHAUSTED, all `max` are in use (requested: 1; max; remaining: 0), or, "slabs", it has
 * had to grow too often, by no more than there was memory for; VARBOS_E_OBJECT, "constructor",
 * with its answer as system_errno; or as varbos_alloc().
 */
void *varbos_pool_get(struct varbos_pool *pool);

/*
 * The same, but if all are in use wait so many milliseconds for one (-1: for good). Of a local
 * pool, which nobody else could put to, nothing is waited for.
 */
void *varbos_pool_get_within(struct varbos_pool *pool, int timeout_ms);

/*
 * Put an object back. NULL is fine. One that proves invalid is destructed, which is no failure.
 * VARBOS_E_OBJECT, and nothing is changed: "twice", it is not in use; "interior", an address inside
 * an object; "foreign", of no object of this pool.
 */
int varbos_pool_put(struct varbos_pool *pool, void *object);

/*
 * Let go what has been idle for too long, and construct what is missing of `min`. A pool also
 * lets go by and by, when objects are put back; a program that stops using one calls this.
 * *ret_evicted, unless NULL, is how many went.
 */
int varbos_pool_tidy(struct varbos_pool *pool, uint64_t *ret_evicted);

struct varbos_pool_stats {
	uint64_t live, idle;         /* now */
	uint64_t peak;               /* the most that there were, live and idle together */
	uint64_t created, destroyed; /* constructed and destructed so far */
	uint64_t invalid, evicted;   /* of `destroyed`: invalid, or idle for too long */
	uint64_t hits, misses; /* gets of an idle object; that had to have one constructed */
	uint64_t waits;        /* gets that waited */
	uint64_t held;         /* bytes of memory */
};

/* Looks at all objects. While other threads get and put, numbers may be apart by as many. */
int varbos_pool_stats(struct varbos_pool *pool, struct varbos_pool_stats *ret);

#ifdef __cplusplus
}
#endif
#endif
