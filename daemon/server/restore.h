/*
 * Restore - a daemon takes up what an earlier one left, or begins anew: what comes after what is said
 * here alone.
 *
 *   restore_core()   the ledger, and with it the region; the core; the files of spaces and windows,
 *                    looked at, then made to say what the core says
 *     the parts of the server are made
 *   restore_rest()   sessions: who lives on is a client without a connection, who does not ends;
 *                    what was lost goes; lanes and return rings (lanes_adopt.h); caches
 *                    (hoard_adopt.h), last of what the system may refuse: an index that was lost is
 *                    made anew once, and ends sessions then; lanes go on where they were; what
 *                    nobody took is let go
 *     only then are connections accepted
 *
 * RO1  A record whose descriptor is gone is a loss: said loudly, counted, and all that depends on it
 *      goes. Nothing of it is ever guessed. If it was going anyway, nobody has lost anything.
 *      What the system refuses is no loss: there is no start, and all that is kept stays kept.
 * RO2  A ledger of another layout, or one that contradicts itself, puts the daemon in quarantine: what
 *      is kept stays kept, untouched; every HELLO is refused with the reason, which the statistics
 *      file has, too.
 * RO3  The region is as of birth, whatever the configuration says by now, as long as anything is
 *      kept: a space, or a session.
 */
#pragma once

struct server;

/* -errno after having said why. In quarantine it answers 0, and server->quarantine says why. */
int restore_core(struct server *server);
/* The loop's handles are there, and it does not run yet. */
int restore_rest(struct server *server);
