/*
 * Listener - the socket at its path: one daemon, whatever an earlier one left behind.
 *
 * A1  PATH.lock is locked as long as a daemon serves PATH; who holds the lock may take a stale
 *     socket away, and nothing that is not a socket.
 * A2  Connections that do not come to HELLO are taken at a bounded rate, a few a turn: a flood of
 *     them waits in its own connect(), and takes little time from who is connected.
 * A3  The socket outlives the daemon where there is a store: who connects meanwhile waits. One whose
 *     file is gone from its path is of no use, and the next daemon binds another.
 */
#pragma once

struct server;

/* Lock the path and take it. -errno after having said why. */
int listener_open(struct server *server);
/* Everything else is ready: connections may queue. */
int listener_serve(struct server *server);

/* Take connections from now on. */
int listener_start(struct server *server);

/* Take connections again, if that had to stop for want of descriptors. */
void listener_resume(struct server *server);

/* One that was taken has said HELLO: it counts against no rate. */
void listener_credit(struct server *server);

/* The socket stays if an earlier daemon left it: who waits at it waits for the next start. */
void listener_leave(struct server *server);
/* The socket goes; the lock stays until everything else has gone. */
void listener_stop(struct server *server);
/* The path is free for another. */
void listener_release(struct server *server);
