/*
 * What who calls (call.c) has of who reads for all (reader.c). With the lock of the calls held, unless
 * it says otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/call.h"
#include "client/receive.h"

#define NS_PER_MS 1000000u

enum { REQUEST_MAX = 2048 /* bytes: a name, a few numbers */ };

/* How long it has been away in all. */
uint64_t calls_away_ns(const struct calls *calls, uint64_t now);
/* The connection has ended, so or so: away, or for good. */
void calls_end(struct calls *calls, const struct receive_end *end);

/* ---- the reader's role: calls->reading ---- */

/* To one of those who wait, if there are any. */
void calls_give_role(struct calls *calls);
/* With the role, not the lock: take one datagram. False: nothing came in time. */
bool calls_read_one(struct calls *calls, struct call *mine, int flags);
/* Likewise: until the call is answered, the connection has ended or the time is over. */
void calls_read_for(struct calls *calls, struct call *mine, bool at_once, uint64_t until_ns);
/* Likewise: look for another connection, once at least. */
void calls_reconnect(struct calls *calls, uint64_t until_ns);
/* Without either: until the socket is ready; false if the time is over. */
bool calls_await(const struct calls *calls, short events, uint64_t deadline_ns);

/* ---- what is to be said ---- */

/* A new id. */
void call_number(struct call *call);
/* To be said, at the next opportunity; or not any more. */
void call_hold(struct call *call);
void call_unhold(struct call *call);
/* Of bytes; with the lock or not. 0 or an errno. */
int calls_send(const struct calls *calls, const void *bytes, size_t size);
/* What is still to be said, as far as there is room, in its order. 0, or why not: an errno. */
int calls_say(struct calls *calls);
/* Nothing is. */
bool calls_said_all(const struct calls *calls);

/* ---- slots ---- */

void call_free_slot(struct call *call);
/* The answer to a call that has ended. NULL: it makes no sense. */
void call_late(struct call *call, const struct wire_message *answer);
