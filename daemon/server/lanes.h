/*
 * Lanes - the data plane of a session (proto/lane.h), as the server knows it: its file, from its making
 * to its end. lane_take.h takes what is in one lane, lane_notes.h what readers say there, exchange.h
 * goes round all.
 *
 * LN1  A file of lanes is memory that a client writes: it is touched through guard.h alone, each
 *      word that counts once; what was read is checked then, and not read again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/server/kept.h"
#include "daemon/server/request.h"
#include "proto/lane.h"

struct client;
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
	uint32_t session, serial;
	struct lane *at;
	struct lane_state *states;
	uint32_t n;
	uint32_t pins;      /* words of each that count, besides the first */
	bool barrier;       /* they are read without fences */
	uint32_t next;      /* lane, whose records are taken next */
	uint64_t undrained; /* lanes whose accesses are still to be taken: a bit each */
	bool ending, ended;
};

#define LANES_NONE ((struct lanes){.fd = -1})

/* Make the client's lanes, by a worker, and answer the request with them. REQUEST_*, -errno. */
int lanes_open(struct request *request, const struct wire_lanes_open *wanted);
/* What their file is called that outlives the daemon. */
const char *lanes_kept(const struct lanes *lanes, char ret[KEPT_NAME_MAX]);
/*
 * What a session had put when it began to end is taken: then 0. ERRAND_MORE: there is more;
 * ERRAND_JOB: some of it waits.
 */
int lanes_end(struct client *client);
/* What it has opened, a bit each: of 64 lanes, most are nobody's. Who says too little is not heard. */
uint64_t lanes_opened_of(const struct lanes *lanes);
/* Nobody looks at them any more. */
void lanes_close(struct client *client);

/* The scanner's worker reads them no more. */
void lanes_release(struct server *server);

/* ---- for lanes_adopt.h ---- */

uint64_t lanes_file_size(uint32_t n);
/* They are the client's. */
void lanes_are_there(struct client *client, const struct lanes *lanes);
