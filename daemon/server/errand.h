/*
 * Errand - what a record of a lane, or the method of that name, asks of a cache.
 *
 * ER1  Nothing of a record is believed: whose it may touch the ledger says, the rest the cache.
 * ER2  What was done is in the ledger, and where readers see it, when errand_run() returns.
 * ER3  Whenever the daemon dies meanwhile, errand_was_done() tells the next one whether it was done.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/server/hoard.h"
#include "proto/lane.h"

struct client;

enum {
	ERRAND_MORE = 1, /* others' turn, then the same again: some of it is done */
	ERRAND_JOB,      /* the same again when a job of the hoard's has ended */
};

/* What asks the ledger for memory, or gives some back, takes as long as so many objects that go. */
enum { ERRAND_COSTLY = 32 };

struct errand_answer {
	uint32_t code;       /* enum fault_code; 0: done */
	const char *which;   /* of a refusal */
	const char *text;    /* of it, for a person */
	uint32_t generation; /* of what is there under the hash, if it is known */
	uint64_t offset;
	uint64_t detail; /* CODE_TOO_LARGE: what is not */
	uint64_t cost;   /* in objects that go: those that did, or ERRAND_COSTLY */
};

#define ERRAND_NO_LANE UINT32_MAX

/*
 * now: ms of the machine's time. lane: whose next record it is, or ERRAND_NO_LANE. 0: *ret says what
 * became of it; ERRAND_*.
 */
int errand_run(struct client *client, uint32_t lane, const struct lane_record *record,
	       uint64_t now, struct errand_answer *ret);
/*
 * After a restart, before anything else was done: a former daemon has done the next record of this
 * lane, and *ret is what became of it. False: it has done nothing of it that matters.
 */
bool errand_was_done(struct client *client, uint32_t lane, const struct lane_record *record,
		     struct errand_answer *ret);
