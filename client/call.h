/*
 * Call - one request and its answer, for many threads over one socket.
 *
 * Q1  At most `inflight` requests are unanswered; who comes then waits for one to end.
 * Q2  Nobody reads for nobody: one of the threads that wait for an answer reads, for all, and
 *     hands that role on when its own answer is there. Alone, a call is one send and one recv.
 *     What is asked ahead has no thread that waits: its answer is taken in by whoever reads, and
 *     stays in its slot until it is collected. At most half of the slots are taken for that.
 * Q3  Every call ends by its deadline. Its request stays unanswered (Q1), and what a later answer
 *     grants is given back (client/late.h).
 * Q4  Every received descriptor is close-on-exec, and ends either with the call that expects it
 *     or closed.
 * Q5  A session that said what cannot be understood, or that nobody has any more, fails every call
 *     under way and every later one at once. If the daemon said why it takes no request (id 0),
 *     that is what they fail with, also where the connection was closed before anything was read.
 * Q6  A connection that ended is away. Who has the reader's role looks for another
 *     (resumption.h); then what is unanswered is said again, late requests, too, in the order in which
 *     it was said first: the same bytes under the same id. The id's rest by WIRE_INFLIGHT_MAX is the slot.
 *     What has been said again many times, and nobody waits for any more, is not: the daemon may die of it.
 * Q7  Two clocks share out the time of a call: while the daemon is there, its timeout runs, and
 *     while it is away, what it waits for a daemon's return. When either is over, the call ends.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <varbos/varbos.h>

#include "client/late.h"
#include "client/lock.h"
#include "client/outbox.h"
#include "client/reporter.h"
#include "client/resumption.h"
#include "client/returns.h"
#include "client/socket.h"
#include "proto/wire.h"

enum call_state {
	CALL_FREE,
	CALL_WAITING,  /* for its answer */
	CALL_ANSWERED, /* its datagram is in the buffer */
	CALL_LATE,     /* nobody waits any more; the answer is still to come */
};

enum call_said {
	CALL_TO_SAY,
	CALL_SAYING, /* by its own thread, without the lock */
	CALL_SAID,
};

/* When a call ends, in each of the clocks of Q7. */
struct call_time {
	uint64_t present_ns, away_ns;
	uint64_t within_ms; /* of the first, as it was asked for */
};

struct call {
	struct calls *calls;
	_Atomic uint32_t wake; /* changes when its thread should look again */
	enum call_state state;
	enum call_said said;
	bool known;     /* said once at least: it may have been done */
	uint32_t tries; /* how often it was said again */
	enum wire_method method;
	uint64_t id;
	struct late_about about;
	struct call_time time;
	uint64_t returned; /* records of the return ring before it was sent */
	bool ahead;        /* nobody waits for it yet */
	bool asleep;       /* its thread waits on `wake`, and may be handed the reader's role */

	char *request; /* until it is answered */
	size_t request_size;
	char *buffer; /* WIRE_MESSAGE_MAX */
	size_t size;
	int fds[WIRE_FDS_MAX];
	unsigned n_fds;
	bool fds_lost;

	struct wire_message message; /* the answer, until call_end() */
	struct wire_trouble trouble;
	bool decoded; /* by the reader, which was the call's own thread */
	int decode_result;
};

struct calls {
	struct socket socket;        /* keeps its number, whatever connection it is */
	_Atomic uint32_t timeout_ms; /* of calls that begin now */
	_Atomic uint32_t reconnect_ms;
	_Atomic uint32_t connections; /* of the session, so far */
	_Atomic bool wakes; /* the daemon, of each further connection: there are lanes */
	struct lock lock;   /* of all below, but for what the reader owns */
	uint64_t order;     /* of requests and notes so far */
	bool reading; /* somebody has the reader's role: the socket's read end, `spare`, */
	struct resumption resumption; /* and this */
	bool broken;                  /* every call fails now, and so: */
	bool away;                    /* or this is how it went, and why it is not back */
	struct varbos_error why;
	uint64_t away_since_ns, away_before_ns;
	_Atomic uint32_t freed;           /* changes when a slot becomes free */
	uint32_t inflight, limit, queued; /* queued: threads that wait for a slot */
	uint32_t to_say, saying;          /* slots */
	struct outbox outbox;
	_Atomic uint64_t refused; /* extent.refused notes so far */
	struct returns returns;
	struct reporter reporter; /* has a lock of its own */
	char *buffers; /* one for each slot, and the spare one; pages come on first use */
	char *spare;
	struct call slots[WIRE_INFLIGHT_MAX];
};

/* Zeroed, then connected. 0 or a VARBOS_E_ code. */
int calls_init(struct calls *calls);
void calls_deinit(struct calls *calls);

/* Take over a fresh socket: calls made over the one before are forgotten. */
void calls_start(struct calls *calls, const struct socket *socket,
		 const struct socket_policy *policy);

/* HELLO has agreed on a session, and on how many requests may be unanswered. */
void calls_open(struct calls *calls, uint32_t session, uint64_t serial, uint32_t layout,
		uint64_t inflight, const struct socket_policy *policy);
void calls_set_limit(struct calls *calls, uint64_t inflight);

/* Of calls that begin from now on. 0 or -errno. */
int calls_set_timeout(struct calls *calls, uint32_t ms);

/*
 * One request, answered with exactly `n_fds` descriptors: 0, and *ret is the answer, to be
 * ended; or a VARBOS_E_ code, the daemon's included.
 */
int call_begin(struct call **ret, struct calls *calls, enum wire_method method,
	       const void *params, unsigned n_fds);

/* The same, without descriptors, of what the daemon itself may take so long to answer. */
int call_begin_waiting(struct call **ret, struct calls *calls, enum wire_method method,
		       const void *params, uint64_t wait_ms);

/* What the caller has not taken of its descriptors is closed. */
void call_end(struct call *call);

static inline void call_endp(struct call **call)
{
	if (*call)
		call_end(*call);
}

/*
 * A request whose answer is collected later: never waits. NULL: there are too many unanswered
 * ones, or no room to send it. While the daemon is away, it is said when it is back.
 */
struct call *call_ask(struct calls *calls, enum wire_method method, const void *params);
/* Its answer, as call_begin() has it, waited for if need be. What fails has ended. */
int call_collect(struct call **call, unsigned n_fds);
/* Nobody collects it: what it grants, or will, is given back. */
void call_forget(struct call *call);

/* One way: no answer is waited for. While the daemon is away, it is told when it is back. */
int call_note(struct calls *calls, enum wire_method method, const void *params);

/* Have the return ring and the report behind it, if they can be had: the first call asks. */
void call_open_returns(struct calls *calls);

/*
 * Give a private extent back through the return ring, which the first call opens: no system
 * call. False: there is no ring, or no room in it; call_note() will do.
 */
bool call_return(struct calls *calls, uint64_t space, uint64_t ref);

/* Handle what has arrived already, without waiting, unless another thread is at it. */
void calls_poll(struct calls *calls);

/* Who waits for the daemon by other means begins now. */
void calls_begin_waiting(struct calls *calls, struct call_time *ret);
/*
 * And looks after the connection now and then: handles what has arrived, reconnects if nobody is at it.
 * 0, CALLS_E_OVER: the daemon is there, and its time over; or VARBOS_E_ of Q5, or of away too long.
 */
enum { CALLS_E_OVER = -1 };
int calls_attend(struct calls *calls, const struct call_time *time);
/* The same without waiting at all, for who does not need the daemon now. */
void calls_nudge(struct calls *calls);
