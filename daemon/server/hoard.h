/*
 * Hoard - the data plane of one cache as it lives in the server.
 *
 * HD1  A hoard's decisions are the pure cache's (daemon/core/cache/cache.h), on the loop's thread.
 *      Workers make, grow and close its files; the loop swaps pointers to what they made.
 * HD2  It is there from the first use of its cache on, and goes with the cache, after its workers.
 * HD8  Its files outlive the daemon: they are kept (keep.h) before the ledger says that there are any,
 *      and not removed before it says that there are none, or another index.
 * HD4  What fails for want of memory is tried again at the next beat, or when somebody needs it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/cache/range.h"
#include "daemon/core/list.h"
#include "daemon/server/hoard_file.h"
#include "daemon/server/kept.h"
#include "daemon/server/request.h"

struct client;
struct object_header;
struct server;

enum { HOARD_OWED = 32 };

struct hoard {
	/* Of struct hoards; the latter two zeroed: it is in none. */
	struct link in_all, in_stirred, in_scan;
	struct server *server;
	uint32_t slot, space; /* of the ledger */
	uint32_t serial;      /* likewise: the cache's */
	struct cache *cache;  /* NULL: not made yet */
	struct hoard_file objects;
	struct hoard_index index, next; /* next: none, unless objects move on to it */
	uint32_t jobs;                  /* of workers, under way */
	bool making, growing, indexing;
	bool scan_now;          /* it needs a scan */
	uint64_t scanned;       /* the number of its last one (scanner.h) */
	bool reclaiming;        /* a scan has found what comes back */
	bool cleaning, leasing; /* the cleaner's step, and its segment, are under way */
	bool unclean;           /* it has no segment to clean to, until the next beat */
	bool telling;           /* an earlier daemon's objects when they expire: */
	uint32_t told;          /* these numbers */
	bool expiring;          /* objects have outlived their time */
	uint32_t chore;         /* whose turn it is, of what there may be to do */
	uint32_t drops;     /* segments, or ranges, emptied for memory, since some was had */
	struct range range; /* that is looked for, or dropped, for a large object */
	bool ranging, dropping;
	uint64_t lease;  /* the cleaner's segment that is on its way */
	uint32_t n_owed; /* what the ledger had no memory to take back */
	struct segment_run owed[HOARD_OWED];
	bool short_of_memory; /* no more jobs until the next beat */
	bool bound;           /* likewise, for its owner may have no more metadata: */
	struct core_fault limit;
	uint64_t coming; /* bytes of files that jobs make */
	uint64_t shown;  /* of what there was to be shown, when it was looked at last */
	bool gone;       /* its cache: it goes with its last job */
	int error;       /* of the last job that failed, until somebody was told */
};

/* Of a cache that there is; NULL: it has no data plane yet. */
struct hoard *hoard_at(const struct server *server, uint32_t cache);
/* The one there is, or a new one, without a data plane yet. NULL: no memory, or no such cache. */
struct hoard *hoard_begin(struct server *server, uint32_t cache);
/* So that there will be one. */
void hoard_prepare(struct server *server, uint32_t cache);
/* For a request: 0, or REQUEST_BUSY while it is being made, or -errno. */
int hoard_want(struct request *request, uint32_t cache, struct hoard **ret);

/* Its cache is no more: it goes, now or after its jobs. */
void hoard_leave(struct hoard *hoard);
/* No worker of its may be under way. */
void hoard_free(struct hoard *hoard);

/* It may have something to do. */
void hoard_stir(struct hoard *hoard);
/* A step of what that is. True: there is more. */
bool hoard_step(struct hoard *hoard);
void hoard_beat(struct hoard *hoard);
/* A job has failed since this was asked last: why. 0: none has. */
int hoard_error(struct hoard *hoard);
/* A job of its, or about it, has ended: it counted in `jobs`. */
void hoard_job_done(struct hoard *hoard);

/* What its files are called that outlive the daemon; and they do not any more. */
const char *hoard_objects_kept(const struct hoard *hoard, char ret[KEPT_NAME_MAX]);
const char *hoard_index_kept(const struct hoard *hoard, uint64_t generation,
			     char ret[KEPT_NAME_MAX]);
void hoard_objects_unkeep(const struct hoard *hoard);
void hoard_index_unkeep(const struct hoard *hoard, uint64_t generation);

/* Bytes about its objects, besides them. */
uint64_t hoard_metadata(const struct hoard *hoard);
/* Of the ledger's cache: what is smaller holds nothing, and is no cache to the data plane. */
uint64_t hoard_capacity(const struct estate_view *view);

/* Of one of its objects, to be touched guarded. */
struct object_header *hoard_header(const struct hoard *hoard,
				   const struct cache_object *object);

/* The ledger has given its session, or nobody, this memory, or it is sealed. */
int hoard_leased(struct server *server, uint32_t space, uint64_t offset);
/* The same of what a session has been leased for a cache; where that fails it goes back. */
int hoard_lent(struct server *server, uint32_t session, uint32_t cache,
	       const struct extent_info *extent);
void hoard_sealed(struct server *server, uint32_t cache, uint32_t session, uint64_t offset);
/* Terms of the cache were changed. */
void hoard_changed(struct server *server, uint32_t cache);
