/*
 * Keep's thread - it waits for the store, and for its keeper's end.
 *
 * KE2  The loop never waits for the store: one thread alone speaks with it, in the order in which
 *      it is told.
 */
#pragma once

struct keep;

int keep_thread_start(struct keep *keep);
/* After a last pass. Without the lock; of none: a no-op. */
void keep_thread_stop(struct keep *keep);

/* There is something to be done. */
void keep_wake(const struct keep *keep);
