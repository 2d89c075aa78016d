/*
 * Hoard - the data plane of one cache as it lives in the server: its files, and what goes on there.
 *
 * HD1  A hoard's decisions are the pure cache's (daemon/core/cache/cache.h), on the loop's thread.
 *      Workers make, grow and close its files; the loop swaps pointers to what they made.
 * HD2  It is there from the first use of its cache on, and goes with the cache, after its workers.
 * HD3  What goes on in steps is done at the loop's turns: each hoard that has something to do a
 *      little, then the next.
 * HD4  What fails for want of memory is tried again at the next beat, or when somebody needs it.
 * HD5  Files, and what stands in memory beside them, are metadata of who owns the space, before they
 *      are made. Where he may have no more, an index does with the room that it has, at the cost of
 *      values that crowd, and one more object is refused.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/cache/range.h"
#include "daemon/core/list.h"
#include "daemon/server/request.h"

struct client;
struct hoards;
struct server;

struct hoard_file {
	int fd; /* -1: there is none */
	void *memory;
	uint64_t size;
	uint64_t span; /* of the mapping: no less, so that it can grow under it */
};

#define HOARD_FILE_NONE ((struct hoard_file){.fd = -1})

struct hoard_index {
	struct hoard_file file;
	uint32_t *numbers; /* of its entries */
	uint64_t generation;
};

#define HOARD_INDEX_NONE ((struct hoard_index){.file = HOARD_FILE_NONE})

enum { HOARD_OWED = 32 };

struct hoard {
	/* Of struct hoards; the latter two zeroed: it is in none. */
	struct link in_all, in_stirred, in_scan;
	struct server *server;
	uint32_t slot, space; /* of the ledger */
	struct cache *cache;  /* NULL: not made yet */
	struct hoard_file objects;
	struct hoard_index index, next; /* next: none, unless objects move on to it */
	uint32_t jobs;                  /* of workers, under way */
	bool making, growing, indexing;
	bool scan_now;          /* it needs a scan */
	bool reclaiming;        /* a scan has found what comes back */
	bool cleaning, leasing; /* the cleaner's step, and its segment, are under way */
	bool unclean;           /* it has no segment to clean to, until the next beat */
	bool expiring;          /* objects have outlived their time */
	uint32_t drops;     /* segments, or ranges, emptied for memory, since some was had */
	struct range range; /* that is looked for, or dropped, for a large object */
	bool ranging, dropping;
	uint64_t lease;  /* the cleaner's segment that is on its way */
	uint32_t n_owed; /* what the ledger had no memory to take back */
	struct segment_run owed[HOARD_OWED];
	bool short_of_memory; /* no more jobs until the next beat */
	bool bound;           /* likewise, for its owner may have no more metadata: */
	struct core_fault limit;
	uint64_t coming;  /* bytes of files that jobs make */
	uint64_t shown;   /* of what there was to be shown, when it was looked at last */
	bool gone;        /* its cache: it goes with its last job */
	uint64_t cleared; /* rights with lower tokens are of before a clear: fetches.h */
	int error;        /* of the last job that failed, until somebody was told */
};

int hoards_new(struct hoards **ret, struct server *server);
/* No worker of its may be under way. */
void hoards_free(struct hoards *hoards);

/* HD3. True: there is more to do. */
bool hoards_turn(struct server *server);
void hoards_beat(struct server *server);
/* Those whose caches are no more go: before a slot of the ledger can be another's. */
void hoards_sweep(struct server *server);

/* Bytes about its objects, besides them. */
uint64_t hoard_metadata(const struct hoard *hoard);

/* Of a cache that there is; NULL: it has no data plane yet. */
struct hoard *hoard_at(const struct server *server, uint32_t cache);
/* So that there will be one. */
void hoard_prepare(struct server *server, uint32_t cache);
/* For a request: 0, or REQUEST_BUSY while it is being made, or -errno. */
int hoard_want(struct request *request, uint32_t cache, struct hoard **ret);

/* It may have something to do. */
void hoard_stir(struct hoard *hoard);
/* A job has failed since this was asked last: why. 0: none has. */
int hoard_error(struct hoard *hoard);
/* Why it grows no more: CORE_E_LIMIT's; NULL: it may. */
const struct core_fault *hoard_limit(const struct hoard *hoard);
/* Will a job of its end, after which it may be able to do more? One is begun, if need be. */
bool hoard_grows(struct hoard *hoard);
/* The same, of its index: false: there is no room in it, and no other is to be had now. */
bool hoard_index_comes(struct hoard *hoard);

/* Is what the latest scan has found on its way back? */
bool hoard_returns(const struct hoard *hoard);
/* One of its objects expires then, in ms of the machine's time. */
void hoard_expires(struct hoard *hoard, uint64_t expiry);
/* A job of its, or about it, has ended: it counted in `jobs`. */
void hoard_job_done(struct hoard *hoard);

/* A scan (scanner.h): false: no cache wants one. */
bool hoards_scan_begin(struct server *server);
/* How many steps it took. */
uint32_t hoards_scan_word(struct server *server, uint32_t space, uint32_t session,
			  uint64_t offset, uint64_t now);
void hoards_scan_end(struct server *server);
void hoards_scan_failed(struct server *server);
/* The first behind this one; NULL: at all. */
struct hoard *hoards_next(const struct server *server, const struct hoard *hoard);

/* The ledger has given its session, or nobody, this memory, or it is sealed. */
int hoard_leased(struct server *server, uint32_t space, uint64_t offset);
void hoard_sealed(struct server *server, uint32_t cache, uint32_t session, uint64_t offset);
/* The cache has sealed the extent in which this byte lies: the ledger follows. */
void hoard_seal(struct hoard *hoard, uint64_t offset);
/* The session has closed the cache; or all caches of the space (cache 0), or all (space 0). */
void hoards_left(struct server *server, uint32_t space, uint32_t cache, uint32_t session);
/* Terms of the cache were changed. */
void hoard_changed(struct server *server, uint32_t cache);
