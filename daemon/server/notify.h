/*
 * Notify - what the service manager is told of us, where there is one ($NOTIFY_SOCKET).
 *
 * M1  It never waits: a manager that does not read costs its own news. What it has to know in the
 *     end, the state and the status, is said again at a beat.
 * M2  A status is sent at a beat and only if it has changed; the watchdog is fed from the loop, at
 *     half the time that $WATCHDOG_USEC allows. Nothing else wakes for it.
 * M3  A daemon with a lifeline is its starter's, and says nothing to the starter's manager, unless
 *     that is a keeper.
 */
#pragma once

struct notify;
struct server;

/* After the loop is there. Without a manager it is one that says nothing. */
int notify_new(struct notify **ret, struct server *server);
void notify_free(struct notify *notify);

/* Serving: at the start, and after a reload whatever came of it. */
void notify_ready(struct notify *notify);
void notify_reloading(struct notify *notify);
void notify_stopping(struct notify *notify);

/* Every second. */
void notify_beat(struct notify *notify);
