/*
 * Fetching: a value that one thread on the machine computes, while others wait or take a stale one.
 *
 * Who finds none leads a flight of its process (flight.h), and asks the daemon for the right to
 * compute. All it takes is had before the callback runs: the hazard word that will pin the value
 * before anybody can evict it. What the callback gives stands where it is going to stay, and is
 * published with the right's token when the callback has returned.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/base.h"
#include "base/copy.h"
#include "client/cache.h"
#include "client/cache_ask.h"
#include "client/connection.h"
#include "client/error.h"
#include "client/flight.h"
#include "client/put.h"

enum {
	WAIT_MS = 30000, /* and so long computing may take: of who does not say */
	WAIT_MAX_MS = 86400000,
	PARKED = WIRE_INFLIGHT_MAX / 4, /* requests that wait: others need the rest */
	POLL_MS = 5,                    /* who may not wait there asks so often */
	DENIED_MS = 10,                 /* with a stale value at hand nobody asks more often */
	DENIALS = 64,
};

/* Pins nothing: there is no space 0. */
#define HAZARD_KEPT ((uint64_t)16)

#define NS_PER_MS 1000000u

struct fetching {
	struct varbos_cache *cache;
	const void *key;
	size_t key_size;
	uint64_t hash;
	int (*compute)(struct varbos_fetch *fetch, void *context);
	void *context;
	const struct varbos_fetch_options *options;
	uint64_t deadline_ns;
	uint32_t seen;            /* generation of what is there, and will not do */
	bool late;                /* it has computed in vain */
	struct varbos_view stale; /* or zeroed */
};

/* What a callback has come to. */
struct given {
	struct varbos_reservation reservation; /* cache NULL: nothing */
	struct varbos_error why;               /* code 0: nothing has failed here */
};

enum { LOOK = -1 }; /* again; beside 0 and VARBOS_E_ */

static int error_failed(int code)
{
	return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_FAILED,
							.system_errno = code,
							.which = "value"},
				 "the value could not be computed: %d", code);
}

static int error_wait(const struct fetching *f)
{
	return error_set(VARBOS_E_TIMEOUT, "wait", "another still computes a value of cache %s",
			 f->cache->name);
}

/* ---- what a callback gives ---- */

static struct given *given_of(const struct varbos_fetch *fetch)
{
	return (struct given *)(uintptr_t)fetch->reserved[0];
}

static int give(struct varbos_fetch *fetch, size_t size)
{
	struct given *given;
	int r;

	if (!fetch)
		return error_null("fetch");
	given = given_of(fetch);
	if (given->reservation.cache)
		return error_set(VARBOS_E_INVALID, "fetch",
				 "it has been given a value already");
	r = put_reserve(fetch->cache, fetch->key, fetch->key_size, size,
			&(struct varbos_put_options){}, &given->reservation);
	if (r) {
		given->why = *varbos_error();
		return r;
	}
	fetch->data = given->reservation.data;
	fetch->size = size;
	return 0;
}

_public_ int varbos_fetch_reserve(struct varbos_fetch *fetch, size_t size)
{
	error_enter("varbos_fetch_reserve");
	return give(fetch, size);
}

_public_ int varbos_fetch_give(struct varbos_fetch *fetch, const void *data, size_t size)
{
	int r;

	error_enter("varbos_fetch_give");
	if (fetch && size && !data)
		return error_null("data");
	r = give(fetch, size);
	if (!r)
		copy_bytes(fetch->data, data, size);
	return r;
}

/* ---- computing ---- */

/* So long a value is kept in all: 0 is never. */
static uint64_t ttl_of(const struct fetching *f, uint64_t ttl_ms)
{
	uint64_t all;

	if (!ttl_ms)
		ttl_ms = cache_ttl_ms(f->cache);
	return ttl_ms && u64_add(ttl_ms, f->options->stale_ms, &all) ? all : 0;
}

/*
 * A failure is remembered under a name that no value has: where the key is found, but with a byte
 * more. So it is nothing to who looks for values.
 */
struct failed_key {
	char bytes[OBJECT_KEY_MAX + 1];
	size_t size; /* 0: it has no room */
};

static void failed_key_of(struct failed_key *ret, const struct fetching *f)
{
	ret->size = f->key_size < OBJECT_KEY_MAX ? f->key_size + 1 : 0;
	if (!ret->size)
		return;
	memcpy(ret->bytes, f->key, f->key_size);
	ret->bytes[f->key_size] = '\0';
}

/* For as long as the options say. False: that could not be. */
static bool put_failure(const struct fetching *f, uint64_t token, int code)
{
	const struct put_terms terms = {
		.token = token, .hash = f->hash, .ttl_ms = f->options->failure_ms};
	struct varbos_reservation reservation;
	struct failed_key key;
	int64_t word = code;

	failed_key_of(&key, f);
	if (!key.size || put_reserve(f->cache, key.bytes, key.size, sizeof(word),
				     &(struct varbos_put_options){}, &reservation))
		return false;
	memcpy(reservation.data, &word, sizeof(word));
	return !put_commit(&reservation, sizeof(word), &terms, NULL, NULL);
}

/* The callback has failed with a code of its own. */
static int compute_failed(const struct fetching *f, uint64_t token, int code)
{
	/* What is there still is better than to know that there is nothing. */
	if (!f->options->failure_ms || f->stale.data || !put_failure(f, token, code))
		cache_ask_fetch_end(f->cache, f->hash, token, (uint32_t)code);
	return error_failed(code);
}

static int compute_done(const struct fetching *f, struct varbos_fetch *fetch,
			struct given *given, uint64_t token, _Atomic uint64_t *hazard,
			struct varbos_view *ret)
{
	const struct put_terms terms = {
		.token = token, .ttl_ms = ttl_of(f, fetch->ttl_ms), .flags = fetch->flags};

	if (!given->reservation.cache)
		return error_set(VARBOS_E_INVALID, "compute",
				 "the callback has succeeded without a value");
	return put_commit(&given->reservation, fetch->size, &terms, hazard, ret);
}

/* With the right. *ret_code: what the callback has failed with, or 0. */
static int compute_value(struct fetching *f, uint64_t token, _Atomic uint64_t *hazard,
			 struct varbos_view *ret, int *ret_code)
{
	struct given given = {};
	struct varbos_fetch fetch = {
		.cache = f->cache,
		.key = f->key,
		.key_size = f->key_size,
		.ttl_ms = f->options->ttl_ms,
		.flags = f->options->flags,
		.reserved = {(uintptr_t)&given},
	};
	struct varbos_error why;
	int code, r;

	code = f->compute(&fetch, f->context);
	error_enter("varbos_cache_fetch");
	if (!code) {
		r = compute_done(f, &fetch, &given, token, hazard, ret);
		if (!r)
			return 0;
	} else if (given.why.code) {
		/* It was no fault of the value's: another may be more lucky. */
		r = error_restore(&given.why);
	} else {
		put_abort(&given.reservation);
		*ret_code = code;
		return compute_failed(f, token, code);
	}
	why = *varbos_error();
	put_abort(&given.reservation);
	cache_ask_fetch_end(f->cache, f->hash, token, 0);
	error_restore(&why);
	return r;
}

/* ---- asking ---- */

static uint64_t left_ms(const struct fetching *f)
{
	uint64_t now = clock_ns();

	return f->deadline_ns > now ? (f->deadline_ns - now) / NS_PER_MS + 1 : 0;
}

/* Of who has a stale value: that another computes was said just now. */
static _Atomic uint64_t denials[DENIALS];

static bool is_denied(uint64_t hash)
{
	uint64_t word = atomic_load_explicit(&denials[hash % DENIALS], memory_order_relaxed);

	return (word & 0xffffff) == hash >> 40 && word >> 24 > clock_ns() / NS_PER_MS;
}

static void note_denial(uint64_t hash)
{
	atomic_store_explicit(&denials[hash % DENIALS],
			      (clock_ns() / NS_PER_MS + DENIED_MS) << 24 | hash >> 40,
			      memory_order_relaxed);
}

static void doze(uint64_t ms)
{
	_Atomic uint32_t word = 0;

	futex_wait(&word, 0, clock_ns() + ms * NS_PER_MS);
}

/* The right, or what became of it; who has a stale value does not wait. */
static int ask(struct fetching *f, struct cache_right *ret)
{
	_Atomic uint32_t *parked = &f->cache->space->vb->parked;
	uint64_t compute_ms = f->options->compute_ms ? f->options->compute_ms : WAIT_MS;
	uint64_t wait_ms = f->stale.data ? 0 : left_ms(f);
	int r;

	if (atomic_fetch_add_explicit(parked, 1, memory_order_relaxed) >= PARKED)
		wait_ms = 0;
	r = cache_ask_fetch(f->cache, f->hash, compute_ms, wait_ms, f->seen, ret);
	atomic_fetch_sub_explicit(parked, 1, memory_order_relaxed);
	if (r || ret->token || ret->generation)
		return r;
	/* Another computes it. */
	if (f->stale.data)
		note_denial(f->hash);
	else
		doze(POLL_MS);
	return 0;
}

static void set_deadline(struct fetching *f)
{
	uint64_t wait_ms = f->options->wait_ms ? f->options->wait_ms : WAIT_MS;

	f->deadline_ns = clock_ns() + u64_min(wait_ms, WAIT_MAX_MS) * NS_PER_MS;
}

/* As the leader of a flight. LOOK; else it is decided. */
static int lead(struct fetching *f, _Atomic uint64_t *hazard, struct varbos_view *ret,
		int *ret_code)
{
	struct cache_right right = {};
	int r;

	r = ask(f, &right);
	if (r == VARBOS_E_FAILED)
		*ret_code = varbos_error()->system_errno;
	if (r)
		return r;
	if (right.generation)
		f->seen = right.generation;
	if (!right.token)
		return f->stale.data && !right.generation ? VARBOS_E_TIMEOUT : LOOK;
	r = compute_value(f, right.token, hazard, ret, ret_code);
	if (r != VARBOS_E_LATE || f->late)
		return r;
	f->late = true; /* what another has made of it, or makes, will do */
	set_deadline(f);
	return LOOK;
}

/* A word of the thread's lane, to pin what will be computed; NULL: it has none. */
static int keep_hazard(struct varbos_cache *cache, _Atomic uint64_t **ret)
{
	_cleanup_(lane_readp) struct own_lane *own = NULL;
	int r = cache_read_enter(cache, &own);

	if (r || !own->lane)
		return r;
	*ret = lane_hazard(own->lane, cache->pins);
	if (!*ret)
		return error_views(cache, own, 1);
	index_pin(*ret, HAZARD_KEPT);
	return 0;
}

/* LOOK, or it is decided. */
static int try(struct fetching *f, struct varbos_view *ret)
{
	_Atomic uint64_t *hazard = NULL;
	struct flight *flight;
	uint32_t ended = 0;
	int code = 0, r;

	r = flight_join(&flight, f->cache->opening, f->hash, f->stale.data ? 0 : f->deadline_ns,
			&ended);
	switch (r) {
	case 0:
		break;
	case FLIGHT_E_ENDED:
		return ended ? error_failed((int)ended) : LOOK;
	case FLIGHT_E_OTHERS:
		return error_wait(f);
	case FLIGHT_E_DEADLOCK:
		return error_set(VARBOS_E_DEADLOCK, "key",
				 "this thread computes, for another, what it would wait for");
	default:
		return error_system(r, "a flight");
	}
	r = keep_hazard(f->cache, &hazard);
	if (!r)
		r = lead(f, hazard, ret, &code);
	if (r && hazard)
		index_release(hazard);
	flight_end(flight, (uint32_t)code);
	return r;
}

/* ---- looking ---- */

/* LOOK: none is remembered. */
static int look_failure(const struct fetching *f)
{
	_cleanup_(lane_readp) struct own_lane *own = NULL;
	struct failed_key key;
	struct glance glance;
	int64_t word = 0;
	int r;

	failed_key_of(&key, f);
	if (!key.size)
		return LOOK;
	r = cache_read_enter(f->cache, &own);
	if (!r)
		r = cache_glance(f->cache, own, key.bytes, key.size, f->hash, GLANCE_READ,
				 &glance);
	if (r)
		return r == VARBOS_E_NOT_FOUND ? LOOK : r;
	if (object_sizes_unpack(glance.found.sizes).value == sizeof(word))
		memcpy(&word, glance.found.data, sizeof(word));
	cache_glance_end(&glance);
	return error_failed((int)word);
}

/* To who may not compute nothing is. */
static bool is_stale(const struct varbos_cache *cache, const struct varbos_view *view,
		     const struct varbos_fetch_options *options)
{
	return options->stale_ms && !cache->space->read_only &&
	       varbos_view_expires_in_ms(view) <= options->stale_ms;
}

/* What the index has: 0: *ret will do; LOOK: nothing, or something stale; else it is decided. */
static int look(struct fetching *f, struct varbos_view *ret)
{
	int r;

	varbos_view_release(&f->stale);
	r = varbos_cache_peek(f->cache, f->key, f->key_size, ret);
	error_enter("varbos_cache_fetch");
	if (!r && is_stale(f->cache, ret, f->options)) {
		f->stale = *ret;
		f->seen = ret->generation;
		return LOOK;
	}
	if (r && r != VARBOS_E_NOT_FOUND)
		return error_within("varbos_cache_fetch");
	return r ? look_failure(f) : 0;
}

static int check(const struct fetching *f)
{
	int r = cache_enter(f->cache);

	if (!r)
		r = cache_check_key(f->key, f->key_size);
	if (!r && f->cache->space->read_only)
		r = space_read_only(f->cache->space);
	if (!r && f->options->flags > UINT8_MAX)
		r = error_set(VARBOS_E_INVALID, "flags", "flags 0x%x: there are 8 bits",
			      f->options->flags);
	return r;
}

/* `view`: what there is, stale, or zeroed. */
static __attribute__((noinline)) int
fetch_slow(struct fetching *f, const struct varbos_view *view, struct varbos_view *ret)
{
	int r;

	error_enter("varbos_cache_fetch");
	r = check(f);
	if (r)
		return r;
	f->hash = cache_hash(f->cache, f->key, f->key_size);
	set_deadline(f);
	f->stale = *view;
	f->seen = view->generation;
	r = view->data ? LOOK : look_failure(f);
	while (r == LOOK) {
		if (f->stale.data && is_denied(f->hash))
			break;
		r = try(f, ret);
		if (r == LOOK)
			r = look(f, ret);
		if (r == LOOK && clock_ns() >= f->deadline_ns)
			r = error_wait(f);
	}
	if (r && f->stale.data) {
		*ret = f->stale;
		return 0;
	}
	varbos_view_release(&f->stale);
	return r;
}

_public_ int varbos_cache_fetch(struct varbos_cache *cache, const void *key, size_t key_size,
				int (*compute)(struct varbos_fetch *fetch, void *context),
				void *context, const struct varbos_fetch_options *options,
				struct varbos_view *ret)
{
	static const struct varbos_fetch_options defaults;
	struct varbos_view view;
	struct fetching f;
	int r;

	if (!options)
		options = &defaults;
	if (!compute) {
		error_enter("varbos_cache_fetch");
		return error_null("compute");
	}
	r = varbos_cache_get(cache, key, key_size, ret);
	if (likely(!r) && likely(!is_stale(cache, ret, options)))
		return 0;
	if (r && r != VARBOS_E_NOT_FOUND)
		return error_within("varbos_cache_fetch");
	view = r ? (struct varbos_view){} : *ret;
	f = (struct fetching){
		.cache = cache,
		.key = key,
		.key_size = key_size,
		.compute = compute,
		.context = context,
		.options = options,
	};
	return fetch_slow(&f, &view, ret);
}
