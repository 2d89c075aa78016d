/*
 * Lanes - the data plane of a session (proto/lane.h), as the server knows it; and the bell.
 *
 * LN1  A file of lanes is memory that a client writes: it is touched through guard.h alone, each
 *      word that counts once; what was read is checked then, and not read again.
 * LN2  The loop takes the records of all lanes in turn, at most so many of a lane. A lane whose next
 *      record has to wait waits with all that follow, and no other lane does. Sessions that had
 *      records lately are looked at each time, a few of the others in turn.
 * LN3  `taken` is stored when the effects of all records before it are in the ledger and in the index,
 *      and their results are there.
 * LN4  While records come, and for a moment after the last one, the loop goes round without sleeping.
 *      Before it sleeps it says so on the bell, and looks at all heads once more. Asleep, it is
 *      woken by a datagram of one byte.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/list.h"
#include "daemon/server/request.h"
#include "proto/lane.h"

struct client;
struct exchange;
struct server;

struct lane_state {
	uint64_t taken; /* records */
	uint64_t last;  /* records, once its session ends */
	uint64_t noted; /* accesses that have been looked at */
	bool waits;     /* its next record, for a job */
	struct {
		uint64_t cache, hits, misses;
	} counted[LANE_COUNTS];
};

/* Of a session. */
struct lanes {
	int fd; /* -1: it has none */
	struct lane *at;
	struct lane_state *states;
	uint32_t n;
	uint32_t pins;      /* words of each that count, besides the first */
	uint32_t next;      /* lane, whose records are taken next */
	uint64_t undrained; /* lanes whose accesses are still to be taken: a bit each */
	bool ending, ended;
};

#define LANES_NONE ((struct lanes){.fd = -1})

int exchange_new(struct exchange **ret, struct server *server);
/* When the loop runs no more. */
void exchange_free(struct exchange *exchange, struct server *server);

/* Make the client's lanes, by a worker, and answer the request with them. REQUEST_*, -errno. */
int lanes_open(struct request *request, const struct wire_lanes_open *wanted);
/*
 * What a session had put when it began to end is taken: then 0. ERRAND_MORE: there is more;
 * ERRAND_JOB: some of it waits.
 */
int lanes_end(struct client *client);
/* Nobody looks at them any more. */
void lanes_close(struct client *client);

/* A client has woken us. */
void lanes_wake(struct server *server);
/* A job has ended that lanes may wait for. */
void lanes_go_on(struct server *server);
/* What readers have noted is taken, so much of it, unless that was just done. */
void lanes_drain(struct server *server);
/* All of it, as long as the stint lasts. */
void lanes_drain_all(struct server *server);
/* Is there a barrier for who reads without fences? */
bool lanes_barrier(const struct server *server);
/* How many sessions have lanes. */
uint32_t lanes_sessions(const struct server *server);
/* The scanner's worker reads them no more. */
void lanes_release(struct server *server);
/* What readers have counted. False: not of all yet; the next call goes on. */
bool lanes_count(struct server *server);
