/*
 * Returns - giving private extents back without a message (proto/layout.h, return ring).
 *
 * T1  A record is overwritten only when an answer has shown that the daemon took it: it takes
 *     what was there before it looks at a request.
 *
 * Used with the lock of the calls held.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/layout.h"

/* Zeroed: no ring, nothing asked. */
struct returns {
	struct return_ring *ring;
	uint64_t written, taken; /* records; taken: at least so many */
	bool asked;
};

/* A ring of the daemon's, checked. 0 or a VARBOS_E_ code. */
int returns_map(struct return_ring **ret, int fd);
void returns_deinit(struct returns *returns);
/* The session is another one; a forked child never had the mapping. */
void returns_forget(struct returns *returns);

/* False: no ring, or no room. */
bool returns_put(struct returns *returns, uint64_t space, uint64_t ref);
/* An answer has come to a request that was sent after this many records. */
void returns_taken(struct returns *returns, uint64_t written);
