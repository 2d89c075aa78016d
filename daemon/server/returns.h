/*
 * Returns - what clients give back through their return rings (proto/layout.h).
 *
 * T1  The daemon looks before each message of the session, before it refuses memory to anyone,
 *     before it counts, and at each beat; at most RETURNS_MAX records a ring each time.
 * T2  What is taken is done or refused at once: a client writes records faster than any worker
 *     works, and after its last message, too.
 * T3  A ring is memory that a client writes: it is read through guard_copy() alone, each field
 *     once, and a record is worth what an extent.free would be.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/server/kept.h"
#include "daemon/server/request.h"
#include "proto/layout.h"

struct client;
struct server;

struct returns {
	int fd; /* -1: the client has none */
	uint32_t session, serial;
	const struct return_ring *ring;
	uint64_t taken; /* records so far */
};

#define RETURNS_NONE ((struct returns){.fd = -1})

/* Make the client's ring, by a worker, and answer the request with it. REQUEST_*, -errno. */
int returns_open(struct request *request);
/* What its file is called that outlives the daemon. */
const char *returns_kept(const struct returns *returns, char ret[KEPT_NAME_MAX]);
/* For lanes_adopt.h: it is the client's. */
void returns_are_there(struct client *client, const struct returns *returns);
/* Nobody looks at it any more. */
void returns_close(struct client *client);

/* Take what is there. How many records there were. */
uint32_t returns_take(struct client *client);
/* Of all clients, a bounded number: those that are left come first the next time. */
uint32_t returns_take_all(struct server *server);
