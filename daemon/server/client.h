/*
 * Client - one session: a process that said HELLO, for as long as it lives.
 *
 * K1  Only the end of the process, or its own BYE, ends the session. A closed socket makes it
 *     absent: it keeps what it holds, and pays for it, until it says HELLO once more.
 * K2  The end is told by a pidfd, which a forked child that keeps the socket cannot delay.
 * K3  Ending waits for the client's jobs, then goes in steps that the loop can afford.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "daemon/core/core.h"
#include "daemon/core/list.h"
#include "daemon/server/lanes.h"
#include "daemon/server/report.h"
#include "daemon/server/returns.h"
#include "daemon/sys/sys.h"
#include "proto/wire.h"

struct server;
struct connection;

struct client {
	struct server *server;
	struct connection *connection; /* NULL: absent */
	unsigned refs;                 /* the table's, and one for each request that waits */
	uint32_t session, serial;      /* slot in the core; its name, with that */
	uint32_t pid;
	uint64_t birth, image; /* tell its pid's lives apart, and its programs */
	struct credentials credentials;
	uint32_t *groups;
	uint32_t n_groups;
	char name[32];
	int pidfd;
	uv_poll_t process;
	struct quota *quota;               /* its uid's, of the server */
	uint32_t inflight;                 /* requests not answered yet */
	uint64_t asked[WIRE_INFLIGHT_MAX]; /* their ids; 0: of none */
	uint32_t jobs;                     /* of them, those with a plan or a grant under way */
	struct returns returns;
	struct link in_rings; /* of the server, while it has a ring */
	struct report_sums cached;
	struct lanes lanes;
	struct link in_lanes, in_noting; /* of the exchange, while it has some */
	struct link in_busy;             /* while records came lately; zeroed: they did not */
	uint32_t quiet;                  /* looks since then */
	struct link fetches;             /* that wait: fetches.c */
	bool opening_returns, opening_lanes;
	bool opening_space;  /* its descriptors are on their way */
	uint32_t undo_space; /* slot: they were not to be had, so it closes again; 0: none */
	bool resumed;        /* by a connection that is not its first */
	bool ending, watching;
	bool said_bye;
	uint64_t bye_id; /* to be answered when it has ended; 0: it was a note */
	struct client *next_ending;
};

/* The peer of the connection becomes a session. */
int client_new(struct client **ret, struct connection *connection,
	       const struct wire_hello *hello, struct core_fault *fault);

/*
 * The peer of the connection goes on with a session that it has; a connection that the session still
 * has is closed. CORE_E_NOT_FOUND: "session", it has none of that number, or that is another by now.
 */
int client_resume(struct client **ret, struct connection *connection,
		  const struct wire_hello *hello, struct core_fault *fault);

struct client *client_ref(struct client *client);
struct client *client_unref(struct client *client); /* NULL */

/*
 * The session of an earlier daemon: a client without a connection, if its process lives, as far as it
 * is known; else it ends.
 */
int client_restore(struct server *server, uint32_t session);

/* Its process is over, or what it had is: the session ends. */
void client_process_over(struct client *client);

/* Its connection has gone. */
void client_lost(struct client *client);

/* BYE: give everything back, then answer. */
void client_bye(struct client *client, uint64_t id);

/* Go on with those that are ending, a bounded step. True: there is more to do. */
bool client_end_some(struct server *server);

/* Spaces whose descriptors could not be had are closed again, as soon as that can be. */
void client_undo(struct client *client, uint32_t space);
void client_undo_some(struct server *server);

/* A request waits, or does no longer. */
void client_request_begins(struct client *client, uint64_t id);
void client_request_ends(struct client *client, uint64_t id);
/* Is it one that waits? Said again over another connection, it is not done again. */
bool client_has_request(const struct client *client, uint64_t id);

/* A job of the client is done. */
void client_job_done(struct client *client);

/* At the end of the daemon. */
void client_abandon_all(struct server *server);
