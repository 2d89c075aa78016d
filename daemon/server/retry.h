/*
 * Retry - a request that its client says again, over another connection of its session, since no
 * answer has come: the daemon has died, or the connection was lost.
 *
 * RY1  It is answered as the first would have been, and what it asked for is done once. For each
 *      method retry.def says how.
 * RY2  Only over a connection by which a session goes on: who begins a session has asked nothing
 *      before, and clients that know of no going on give their ids again.
 * RY3  One that uses an id again deceives itself alone: what is found is of its own session, and
 *      of the same method.
 * RY4  Notes have no ids: one that is said again is done again, before the requests that came after
 *      it. What it has closed, and one of these had opened anew, is opened once more.
 */
#pragma once

#include <stdbool.h>

#include "daemon/server/request.h"

struct hoard;
struct lane_record;

enum retry_how { RETRY_NONE, RETRY_AGAIN, RETRY_RESULT, RETRY_KNOWN, RETRY_SESSION };

struct retry {
	enum retry_how how;
	const char *why;
};

extern const struct retry retries[WIRE_METHODS_N];

/* The core's next verb is for this request: it leaves a result. */
void request_asks(const struct request *request);

/*
 * An errand on an object, of a request: promised before it is done, and then settled: done, or not.
 * False: of what is not there, nothing is promised.
 */
bool retry_promise(const struct request *request, const struct hoard *hoard,
		   const struct lane_record *record);
void retry_settle(const struct request *request, bool done);
/*
 * After a restart, when caches are as they will be, and before anything else is asked of them: what
 * was promised for requests was done, or not.
 */
void retries_settle(struct server *server);

/*
 * It was done: *ret is as of a method, of that answer. False: it is to be done, or to go on; as
 * `params` say then.
 */
bool retry_answer(struct request *request, union wire_body *params, int *ret);
