/*
 * Exchange - all lanes of all sessions, and the loop that goes round them; and the bell.
 *
 * LN2  The loop takes the records of all lanes in turn, at most so many of a lane. A lane whose next
 *      record has to wait waits with all that follow, and no other lane does. Sessions that had
 *      records lately are looked at each time, a few of the others in turn.
 * LN4  While records come, and for a moment after the last one, the loop goes round without sleeping.
 *      Before it sleeps it says so on the bell, and looks at all heads once more. Asleep, it is
 *      woken by a datagram of one byte.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/core/list.h"

struct bell;
struct closing;
struct server;

struct exchange {
	struct server *server;
	struct link clients; /* with lanes; who was looked at last comes last */
	struct link busy;    /* of these; the same */
	struct closing *postponed;
	int bell_fd; /* -1: nobody has opened lanes yet */
	struct bell *bell;
	bool making_bell;
	uint32_t sleeps; /* never 0 */
	bool dozes; /* the bell says that it sleeps, but not all heads have been looked at: */
	uint32_t unlooked; /* the first of `clients` */
	bool barrier;      /* is to be had */
	uv_idle_t poll;
	bool polls;
	uint64_t last_ns;       /* when there was a record last */
	uint32_t last_cpu;      /* where who put it ran (lane.h) */
	uint64_t turn, drained; /* batches; in which accesses were taken last */
	struct link
		noting; /* clients: whose accesses were taken, or whose hits counted, last come last */
	uint32_t uncounted; /* the first of these, while all are counted */
};

int exchange_new(struct exchange **ret, struct server *server);
/* When the loop runs no more. */
void exchange_free(struct exchange *exchange, struct server *server);

/* Everyone has it: a daemon that sleeps says so there. */
void exchange_bell(struct exchange *exchange, int fd, struct bell *bell, bool sleeping);
/* A client has woken us. */
void exchange_wake(struct server *server);
/* All lanes are looked at, as if a client had woken us. */
void exchange_look(struct server *server);
/* A job has ended that lanes may wait for. */
void exchange_go_on(struct server *server);

/* How many sessions have lanes. */
uint32_t exchange_sessions(const struct server *server);
/* Is there a barrier for who reads without fences? */
bool exchange_barrier(const struct server *server);
/* Does a session read without fences, and this daemon has no barrier? Then scans prove nothing. */
bool exchange_blind(const struct server *server);
