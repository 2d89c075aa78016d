/*
 * Fetches - who waits for a value that somebody computes. Whose right that is the ledger says
 * (daemon/core/right.h).
 *
 * FE1  Who waits is answered once: with the right, when it has passed to him; when there is a value;
 *      when computing has failed; when his time is over. Or his connection is gone: then it does
 *      not pass to him.
 * FE2  A right passes on when its holder lets go, is gone, or is late while somebody else wants it: to
 *      who has waited longest. The others go on waiting.
 * FE3  What anybody puts or deletes under the hash ends the right: what is being computed may be older;
 *      so does a clear, when it is to be put.
 *      Whoever comes with a token that is not that of the right is refused.
 * FE4  A call of these takes a bounded time but for passing over pointers: who waits is answered at
 *      the loop's turns. A right that nobody wants outlives its time by a little, and no more.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/list.h"
#include "daemon/server/request.h"

struct client;
struct fetches;
struct hoard;
struct server;

int fetches_new(struct fetches **ret, struct server *server);
/* Nobody waits any more: all connections are closed. */
void fetches_free(struct fetches *fetches);

/* The request cache.fetch of a cache that its session has open. */
int fetches_ask(struct request *request, struct hoard *hoard,
		const struct wire_cache_fetch *wanted);
/* The request cache.fetch_end, likewise. */
int fetches_end(struct request *request, uint32_t cache,
		const struct wire_cache_fetch_end *end);

/* May the session put what it has computed with this token? If not, and it has the right, it passes on. */
bool fetches_may(struct server *server, uint32_t session, const struct hoard *hoard,
		 uint64_t hash, uint64_t token);
/* All that was there has gone: of what is being computed nothing may be put. */
void fetches_cleared(struct hoard *hoard);
/* There is another object under the hash, of this generation; 0: there is none. */
void fetches_settled(struct server *server, uint32_t cache, uint64_t hash, uint32_t generation);

/*
 * The session gives up its rights: of a cache; cache 0: of a space; space 0: all. True: there are
 * others, again.
 */
bool fetches_leave(struct server *server, uint32_t space, uint32_t cache, uint32_t session);
/* Nobody is there to be answered. */
void fetches_forget(struct client *client);

/* FE4. True: there is more to do. */
bool fetches_turn(struct server *server);
void fetches_beat(struct server *server);
