/*
 * Caches - keyed values for all processes of a space, read in place at the speed of memory.
 *
 * A cache has a name in its space, a capacity in bytes and a policy that decides which value goes
 * when a new one needs room. A value is never changed, only replaced: who has a view of it goes on
 * reading what it was.
 *
 *     struct varbos_view view;
 *
 *     if (!varbos_cache_get(cache, key, key_size, &view)) {
 *             use(view.data, view.size);
 *             varbos_view_release(&view);
 *     }
 *
 * A hit is no system call and takes no lock, whether the daemon runs or not. Who writes hands each
 * value to the daemon, which alone decides what the cache holds.
 *
 * Keys are 1 to 4096 bytes of any kind; values what the capacity allows. A value that could never
 * fit is refused at once (VARBOS_E_TOO_LARGE) and makes no other go.
 *
 * Any thread may call these on any cache that is open. 63 threads of a process at a time have a lane
 * of their own to the daemon (of a connection, from their first call to their end; fewer where
 * limits.metadata is short): what they read they read without a word to each other. Those that come
 * then share one: the views that they hold count together, one of them reads at a time, one of them writes, and
 * none who reads waits for one who writes.
 *
 * After fork() the child's first call on a cache opens it anew; the parent's views are none of its.
 * A process that gets no lanes at all (limits) does everything over its socket, and reads copies: slower, and
 * without a bound on views.
 *
 * None of these may be called in a handler of a signal that may have come within one of them.
 */
#ifndef VARBOS_CACHE_H
#define VARBOS_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include <varbos/varbos.h>

#ifdef __cplusplus
extern "C" {
#endif

struct varbos_cache;

enum varbos_cache_flags {
	VARBOS_CACHE_EXISTING = 1 << 0, /* do not create it */
	VARBOS_CACHE_NEW = 1 << 1,      /* it must not exist yet */
};

/* All but the flags count at creation only. */
struct varbos_cache_options {
	uint64_t
		capacity; /* bytes of keys and values, and 24 for each; 0: half the space's limit */
	const char *policy; /* NULL: s3fifo; or fifo clock lru lfu sieve 2q wtinylfu gdsf */
	uint64_t ttl_ms;    /* of values put without one; 0: they do not expire */
	uint32_t flags;     /* enum varbos_cache_flags */
};

/*
 * Open a cache, creating it if it is missing (unless flags say otherwise). Its name is one as a
 * space's. It persists until it is removed. Several handles of one in a process are one: it is
 * closed as often as it was opened. Who has the space open read-only may read.
 */
int varbos_cache_open(struct varbos_cache **ret, struct varbos_space *space, const char *name,
		      const struct varbos_cache_options *options);

/*
 * Close it; the space stays open at least until then. Not while it is in use elsewhere, nor while
 * views of it are held. NULL is fine.
 */
void varbos_cache_close(struct varbos_cache *cache);

/* ---- reading ---- */

/* A value that stays where it is, and as it is, until the view is released. */
struct varbos_view {
	const void *data; /* at a multiple of 8; of 64 where it has 1024 bytes and more */
	size_t size;
	uint32_t generation;  /* for conditional puts; never 0 */
	uint32_t flags;       /* as they were put */
	uint64_t reserved[5]; /* the library's */
};

/*
 * VARBOS_E_NOT_FOUND: a miss. VARBOS_E_PINS ("views"): this thread holds as many as its session may
 * (`max`): memory that is being looked at cannot be used again, and so is given sparingly. Where
 * the value goes meanwhile, it counts against this process's limit in the space until it is released.
 */
int varbos_cache_get(struct varbos_cache *cache, const void *key, size_t key_size,
		     struct varbos_view *ret);

/* The same, but it is no access, and counts neither as a hit nor as a miss: for who looks on. */
int varbos_cache_peek(struct varbos_cache *cache, const void *key, size_t key_size,
		      struct varbos_view *ret);

/*
 * By any thread of the process. One that was released, or is zeroed, and NULL are fine. Of a view
 * that the program has copied one is released, once: by the second what another view shows may go.
 */
void varbos_view_release(struct varbos_view *view);

/* Since it was put, now; like all times here, by the ticks of the system's clock. */
uint64_t varbos_view_age_ms(const struct varbos_view *view);

/* How much of its time was left when the view was got is left now; UINT64_MAX: it does not expire. */
uint64_t varbos_view_expires_in_ms(const struct varbos_view *view);

struct varbos_key {
	const void *data;
	size_t size;
};

/*
 * n at once, at a fraction of the cost of each, if the thread may hold as many more views. Those
 * that are not found have data NULL. *ret_found, unless NULL, is how many were. On failure no view
 * is held.
 */
int varbos_cache_get_many(struct varbos_cache *cache, const struct varbos_key *keys, size_t n,
			  struct varbos_view *views, size_t *ret_found);

/*
 * At most `room` bytes are copied; *ret_size, unless NULL, is the value's whole size. No view is
 * held afterwards, nor needed: it works also for who holds as many as he may.
 */
int varbos_cache_copy_out(struct varbos_cache *cache, const void *key, size_t key_size,
			  void *to, size_t room, size_t *ret_size);

/* 0: it is there; VARBOS_E_NOT_FOUND. It is no access: it keeps nothing from going. */
int varbos_cache_exists(struct varbos_cache *cache, const void *key, size_t key_size);

/*
 * Where a walk through all values of a cache is; zeroed: before the first. It is the program's
 * alone: it may be copied, or kept for as long as the program likes, and needs no end.
 */
struct varbos_cursor {
	uint64_t reserved[8]; /* the library's */
};

/*
 * The next value, in no order of meaning; its key is there as long as the view. What is in the cache
 * from the first call to the last is shown, once, whatever comes, goes, is replaced or moved
 * meanwhile. (Only where keys crowd, and the daemon mixes all of them anew, may some be shown twice.)
 * What comes or goes meanwhile may be shown. It is no access, counts as no hit, and asks nothing of
 * the daemon. VARBOS_E_NOT_FOUND: these were all. VARBOS_E_PINS as of a get.
 */
int varbos_cache_next(struct varbos_cache *cache, struct varbos_cursor *cursor,
		      struct varbos_key *ret_key, struct varbos_view *ret);

/* ---- writing ---- */

enum varbos_put_mode {
	VARBOS_PUT_ANY = 0,
	VARBOS_PUT_ADD = 1,     /* only if the key is absent: VARBOS_E_EXISTS */
	VARBOS_PUT_REPLACE = 2, /* only if it is there: VARBOS_E_NOT_FOUND; and of `generation`,
				   unless that is 0: VARBOS_E_CHANGED */
};

struct varbos_put_options {
	uint64_t ttl_ms; /* 0: the cache's; UINT64_MAX: it does not expire */
	uint32_t mode;   /* enum varbos_put_mode */
	uint32_t generation;
	uint32_t flags; /* the program's: 8 bits */
};

/* Everyone sees it when this returns, and nobody what was there before. */
int varbos_cache_put(struct varbos_cache *cache, const void *key, size_t key_size,
		     const void *data, size_t size, const struct varbos_put_options *options);

/*
 * The same without waiting: seen after the thread's next flush, usually within microseconds, and in
 * order with what else the thread asks of caches. The data is copied. What is refused then, flush
 * says.
 */
int varbos_cache_put_async(struct varbos_cache *cache, const void *key, size_t key_size,
			   const void *data, size_t size,
			   const struct varbos_put_options *options);

/* All that this thread has put is seen. Fails as the first put did that failed since the last. */
int varbos_cache_flush(struct varbos_cache *cache);

/* Room for a value that is built where it is going to stay. */
struct varbos_reservation {
	void *data; /* not initialized */
	size_t size;
	struct varbos_cache *cache;
	uint64_t reserved[9]; /* the library's */
};

/* Nobody sees it before it is committed. Commit or abort ends it, in the thread that reserved. */
int varbos_cache_reserve(struct varbos_cache *cache, const void *key, size_t key_size,
			 size_t size, const struct varbos_put_options *options,
			 struct varbos_reservation *ret);

/* The value is its first `size` bytes. As a put; where it is refused, it has ended, too. */
int varbos_cache_commit(struct varbos_reservation *reservation, size_t size);

/* One that has ended, or is zeroed, and NULL are fine. */
void varbos_cache_abort(struct varbos_reservation *reservation);

/* VARBOS_E_NOT_FOUND: there was none. */
int varbos_cache_del(struct varbos_cache *cache, const void *key, size_t key_size);

/* As an access. If it expires, it is from now on after the cache's ttl_ms, unless that is 0. */
int varbos_cache_touch(struct varbos_cache *cache, const void *key, size_t key_size);

/* It expires so long from now; UINT64_MAX: not any more; 0: it goes. */
int varbos_cache_expire(struct varbos_cache *cache, const void *key, size_t key_size,
			uint64_t ttl_ms);

/* All values go that are there now. */
int varbos_cache_clear(struct varbos_cache *cache);

/* ---- computing once on the whole machine ---- */

struct varbos_fetch_options {
	uint64_t ttl_ms;   /* how long a value is fresh: as of a put */
	uint64_t stale_ms; /* and how much longer it is kept: a stale value is computed anew by
			      one, and taken by the others meanwhile. (get() finds both.) */
	uint64_t failure_ms; /* so long it is remembered that a value could not be computed, and
				nobody tries; 0: not at all */
	uint64_t compute_ms; /* who computes may take so long, if others wait; 0: 30 s */
	uint64_t wait_ms;    /* so long is waited for who computes; 0: 30 s */
	uint32_t flags;      /* the value's: 8 bits */
};

/* A value that is being computed, to its callback. */
struct varbos_fetch {
	struct varbos_cache *cache;
	const void *key;
	size_t key_size;
	uint64_t ttl_ms; /* as in the options; the callback may say something else */
	uint32_t flags;  /* likewise */
	void *data;      /* from varbos_fetch_reserve() on: not initialized */
	size_t size;     /* the callback may lower it: the value is the first bytes */
	uint64_t reserved[2];
};

/*
 * The value of the key, as a get. If there is none, the callback computes it: on the whole machine one at
 * a time, while others, in whatever process, wait for that value (or take a stale one). The callback
 * gives it and returns 0, or fails with a number of the program's own, an errno, say. It runs in
 * this thread and returns; it may fetch others, but wait for no thread that fetches the same.
 *
 * When who computes dies, or takes longer than compute_ms, one of those who wait computes in his place;
 * what comes too late changes nothing: its fetch takes what the other has made of it. So with what
 * was put, deleted or cleared meanwhile: what has been computed may be older than that.
 *
 * VARBOS_E_FAILED: whoever computed has failed; system_errno is what the callback has returned. All
 * who waited get it. Who comes later computes anew, unless it is remembered (failure_ms; keys of 4095
 * bytes at most), and then it has been for as long: to get() and exists() there is nothing, a put replaces it,
 * VARBOS_PUT_ADD is refused. With a stale value at hand that is the answer instead, as it is
 * wherever else a fetch would fail.
 *
 * VARBOS_E_TIMEOUT ("wait"): another still computes. VARBOS_E_DEADLOCK: within the callback, this thread
 * would wait for itself, or for a thread of this process that waits for it. (Who waits in a ring
 * over several processes waits until a time is over.) VARBOS_E_LATE: it was too late twice. Others
 * as of a put, where what has been computed cannot be kept.
 */
int varbos_cache_fetch(struct varbos_cache *cache, const void *key, size_t key_size,
		       int (*compute)(struct varbos_fetch *fetch, void *context), void *context,
		       const struct varbos_fetch_options *options, struct varbos_view *ret);

/* In the callback, once: the value, copied. Or room for one: fetch->data, of fetch->size bytes. */
int varbos_fetch_give(struct varbos_fetch *fetch, const void *data, size_t size);
int varbos_fetch_reserve(struct varbos_fetch *fetch, size_t size);

#ifdef __cplusplus
}
#endif
#endif
