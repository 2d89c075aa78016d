/*
 * Late - what an answer grants that came after its call's deadline, and how to give it back.
 *
 * A1  Nobody has what a late answer grants: an extent is freed, a segment sealed, a right to compute given up, a space closed. (Who had the
 *     space open would have made the daemon refuse to open it again.)
 * A2  It is given back by a request whose answer is again nobody's: a refusal says only that it
 *     has gone already, with its space.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

/* Of a request, what giving back its result takes: the space, and of a right the cache and the key's hash. */
struct late_about {
	uint64_t space, cache, hash;
};

struct late_about late_about(enum wire_method method, const void *params);

/*
 * The request `id` that gives back what `answer` grants, into `buf`: its size, and its method.
 * 0: there is nothing to give back.
 */
int late_give_back(char *buf, size_t size, uint64_t id, const struct wire_message *answer,
		   struct late_about about, enum wire_method *ret_method);
