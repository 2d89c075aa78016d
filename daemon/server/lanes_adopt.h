/*
 * Lanes' adoption - lanes, return rings and the bell as an earlier daemon left them.
 *
 * LA1  They are the very files that clients have mapped: nothing is asked of these, and who slept on
 *      one of them is woken if what he waits for is done.
 * LA2  What is done of each lane the ledger says. The record at that position may be done, too: then
 *      it is not done again, and its result is told once more (errand_was_done()). All else goes on as
 *      if nothing had been.
 * LA3  What was not left, or is none of ours, is a loud loss: its session ends, for nobody knows what
 *      it holds.
 * LA4  Hazard words of sessions without fences hold memory as long as they live, also where this daemon
 *      can have no barrier: then nothing is found free (exchange_blind()).
 */
#pragma once

struct server;

/* After the sessions. -ENOMEM, or as a system call has failed: there is no start. */
int lanes_adopt(struct server *server);
/* After caches and lanes, before anything else is done with caches: LA2. */
void lanes_replay(struct server *server);
