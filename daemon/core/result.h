/*
 * Result - what became of a request, so that who asks again is answered, not served twice.
 *
 * RS1  A session has room for RESULTS_A_SESSION results, each found by its request's id. One stays
 *      until a request takes the same place (so that one was answered), or its session is over.
 * RS2  A verb that makes or ends something promises its result before the one store that makes
 *      it so, and keeps the promise after it. The promise names that store: of one that a death
 *      leaves, recovery sees whether it was made, and keeps the promise, or clears it. So at every
 *      store what is done has a result, and what has one is done.
 *      Of an object of a cache the shell promises, and settles what a death leaves of that.
 * RS3  A refusal leaves none; nor does what may be done again with the same answer.
 * RS4  Who asks is told to the core ahead, and taken by the next verb that leaves results; a plan
 *      has it from then on. Of what other verbs do meanwhile no result is left.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"

/* A request of a session. Zeroed: nobody asks, and no result is left. */
struct asker {
	uint32_t session, verb;
	uint64_t id;
};

/* RS4 */
struct asker asker_take(struct core *core);

/* The store that makes it so, and what the answer says. */
struct result_promise {
	enum record_kind kind;
	uint32_t slot, word;
	uint64_t value;
	uint64_t answer[2];
};

void result_promise(struct core *core, const struct asker *asker,
		    struct result_promise promise);
void result_keep(struct core *core, const struct asker *asker);
/* Is there one? */
bool result_stands(const struct core *core, const struct asker *asker);
/* All of a session that is over; what its plans come to is nobody's result. */
void results_end(struct core *core, uint32_t session);
/* In recovery. Can a core have written this record? */
bool result_fits(const struct core *core, uint32_t slot);
/* When all other records are as they will be: a promise is kept, or cleared. */
void result_settle(struct core *core, uint32_t slot);
