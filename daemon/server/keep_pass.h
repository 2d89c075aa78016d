/*
 * Keep's pass - the store is told what has queued up, and what became of that is told to who waits for
 * it. With the lock.
 */
#pragma once

#include "daemon/server/keep_private.h"

/* It is wanted, or leaves: at the next pass. */
void keep_enqueue(struct keep *keep, struct keep_entry *entry);

/* Is there anything to be told? */
bool keep_has_work(const struct keep *keep);
/* The thread's. 0: nothing of what was in the queue is left to be done. */
int keep_pass(struct keep *keep);
/* Whoever waits is told why in vain; what is to go stays in the queue. */
void keep_refuse_all(struct keep *keep, int r);
