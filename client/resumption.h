/*
 * Resumption - how a session that has lost its connection comes to another one.
 *
 * RS1 Who listens is checked as at first (T1 in socket.h), and gets nothing but a HELLO until it has
 *     said that the session is the one that was lost.
 * RS2 Tries are 5 ms apart, then twice as much each time up to 100 ms, and a random part of that
 *     less, so that those who lost their daemon at once do not come back at once. A connection
 *     that does not last a second counts as one more try.
 * RS3 A try that waits for its answer is gone on with by the next caller, for as long as a request
 *     would wait.
 *
 * Used by whoever has the reader's role (call.h).
 */
#pragma once

#include <stdint.h>

#include <varbos/varbos.h>

#include "client/socket.h"
#include "proto/wire.h"

struct private_daemon;

enum {
	RESUMPTION_LATER = 1, /* it has not come to anything yet */
	RESUMPTION_LOST,      /* nobody has the session any more: `why` */
	RESUMPTION_END,       /* what was said is no answer: `why` */
};

enum {
	RESUMPTION_PAUSE_MS = 5, /* before the first try, and up to: */
	RESUMPTION_PAUSE_MAX_MS = 100,
	RESUMPTION_LASTS_MS = 1000,
};

struct resumption {
	uint32_t session; /* 0: there is none to come back to */
	uint64_t serial;  /* of the session */
	uint32_t layout;
	struct socket_policy policy;
	const struct private_daemon *daemon; /* NULL: others may start it again */
	struct socket attempt;               /* HELLO has been said there; fd -1: none */
	uint64_t hello;                      /* its id, */
	uint64_t until_ns;                   /* and how long it is waited for */
	uint64_t next_ns;                    /* no try before */
	uint64_t resumed_ns;                 /* when it came back; 0: not yet */
	uint64_t random;
	uint32_t pause_ms;
	struct varbos_error why; /* of the last try that has failed */
};

void resumption_init(struct resumption *resumption);
/* HELLO has been answered. */
void resumption_open(struct resumption *resumption, uint32_t session, uint64_t serial,
		     uint32_t layout, const struct socket_policy *policy);
/* There is nothing to come back to; a try that is under way ends. */
void resumption_forget(struct resumption *resumption);

/* The connection has gone. */
void resumption_begin(struct resumption *resumption);

/*
 * Go on trying until `until_ns`, once at least; `hello`: an id for what is asked first. 0: *ret is
 * the connection, where so many requests may be unanswered.
 */
int resumption_try(struct resumption *resumption, const char *path, uint64_t hello,
		   uint64_t until_ns, struct socket *ret, uint64_t *ret_inflight);

/* What this process says first. */
void resumption_hello(struct wire_hello *ret, uint32_t session, uint64_t serial);
