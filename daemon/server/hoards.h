/*
 * Hoards - the data planes of all caches.
 *
 * HD3  What goes on in steps is done at the loop's turns: each hoard that has something to do a
 *      little, then the next.
 * HD9  A hoard goes at the turn after its cache, whatever has ended that: the ledger counts those that
 *      have ended, and server_apply() has the loop go on as long as there are any it has not swept.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/list.h"
#include "daemon/server/hoard_expiry.h"

enum { HOARDS_MAX = 4096 }; /* handles of caches have 12 bits (proto/lane.h) */

struct hoard;
struct server;

struct hoards {
	struct server *server;
	struct link all, stirred, scan;
	struct hoard_expiry expiry;
	uint64_t swept;               /* of the caches that have ended */
	struct hoard *at[HOARDS_MAX]; /* by the cache's slot */
};

int hoards_new(struct hoards **ret, struct server *server);
/* No worker of its may be under way. */
void hoards_free(struct hoards *hoards);

/* HD3. True: there is more to do. */
bool hoards_turn(struct server *server);
void hoards_beat(struct server *server);
/* HD9: caches have ended since the last sweep. */
bool hoards_behind(const struct server *server);
/* Those whose caches are no more go: before a slot of the ledger can be another's. */
void hoards_sweep(struct server *server);
/* The first behind this one; NULL: at all. */
struct hoard *hoards_next(const struct server *server, const struct hoard *hoard);
/* The session has closed the cache; or all caches of the space (cache 0), or all (space 0). */
void hoards_left(struct server *server, uint32_t space, uint32_t cache, uint32_t session);
/* Views have ended with their session: what they kept comes back with a scan, and that at once. */
void hoards_unpinned(struct server *server);

/* A scan (scanner.h): false: no cache wants one. */
bool hoards_scan_begin(struct server *server);
/* How many steps it took. */
uint32_t hoards_scan_word(struct server *server, uint32_t space, uint32_t session,
			  uint64_t offset, uint64_t now);
void hoards_scan_end(struct server *server);
void hoards_scan_failed(struct server *server);
