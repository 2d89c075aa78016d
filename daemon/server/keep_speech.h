/*
 * Keep's speech - what its thread says to the store, which has room for it sooner or later.
 *
 * With the lock, which is open while there is none: until a deadline, or until the keeper ends.
 */
#pragma once

#include "daemon/server/keep_private.h"

enum {
	KEEP_E_GONE = 1, /* the entry leaves: the store was not told */
};

/* For what is said from now on. */
uint64_t keep_deadline(const struct keep *keep);

/* `entry`, unless it is NULL, may leave meanwhile. KEEP_E_GONE; -ETIMEDOUT: there was no room. */
int keep_say_stored(struct keep *keep, const char *name, const int *fds, uint32_t n,
		    const struct keep_entry *entry, uint64_t deadline);
int keep_say_removed(struct keep *keep, const char *name, uint64_t deadline);
/* What may have been stored in vain goes, if there is room to say so at once. */
void keep_unsay(struct keep *keep, const char *name);
/* Until the store has taken all that was said. */
int keep_barrier(struct keep *keep, uint64_t deadline);

/* Has its keeper ended? */
bool keep_lost_keeper(const struct keep *keep);
