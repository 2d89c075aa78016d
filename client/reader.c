/*
 * The reader's role: of those who wait one reads for all, hands out what has come, and looks for another
 * connection when this one has ended. And what is said over it, in its order.
 */
#include "client/call.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "client/call_private.h"
#include "client/error.h"
#include "client/late.h"
#include "client/note.h"
#include "client/receive.h"

enum {
	NOTE_MAX = 256,
	TRIES_MAX = 16, /* of what nobody waits for: the daemon may die of it */
};

/* ---- waking, with the lock held ---- */

/* With the lock held. Whoever is not asleep looks again before it sleeps. */
static void wake_locked(struct call *call)
{
	if (!call->asleep)
		return;
	atomic_fetch_add_explicit(&call->wake, 1, memory_order_release);
	futex_wake(&call->wake, false);
}

static void wake_queue_locked(struct calls *calls, bool all)
{
	if (!calls->queued)
		return;
	atomic_fetch_add_explicit(&calls->freed, 1, memory_order_release);
	futex_wake(&calls->freed, all);
}

/* All that wait look again: for another thing, or until another time. */
static void wake_all_locked(struct calls *calls)
{
	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++)
		if (calls->slots[i].state == CALL_WAITING)
			wake_locked(&calls->slots[i]);
	wake_queue_locked(calls, true);
}

/* ---- the end of a connection ---- */

uint64_t calls_away_ns(const struct calls *calls, uint64_t now)
{
	return calls->away_before_ns + (calls->away ? now - calls->away_since_ns : 0);
}

/* With the lock held: the session is of no use any more, and all are told. */
static void break_locked(struct calls *calls, const struct varbos_error *why)
{
	if (calls->broken)
		return;
	calls->broken = true;
	calls->why = *why;
	socket_shut(&calls->socket);
	wake_all_locked(calls);
}

void calls_end(struct calls *calls, const struct receive_end *end)
{
	struct varbos_error why = {.code = (enum varbos_code)end->code,
				   .system_errno = end->system_errno};

	if (calls->broken || calls->away)
		return;
	snprintf(why.message, sizeof(why.message), "%s", end->why);
	if (end->code == VARBOS_E_PROTOCOL || !calls->resumption.session) {
		break_locked(calls, &why);
		return;
	}
	/* Nobody has the reader's role to reconnect, so this is ours. */
	resumption_begin(&calls->resumption);
	strcpy(why.which, "socket");
	calls->why = why;
	calls->away_since_ns = clock_ns();
	calls->away = true;
	socket_shut(&calls->socket);
	wake_all_locked(calls);
}

static void end_calls(struct calls *calls, const struct receive_end *end)
{
	lock_acquire(&calls->lock);
	calls_end(calls, end);
	lock_release(&calls->lock);
}

/* ---- the reader's role ---- */

void calls_give_role(struct calls *calls)
{
	calls->reading = false;
	if (mutant(client_role_lost))
		return;
	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++)
		if (calls->slots[i].state == CALL_WAITING && calls->slots[i].asleep) {
			wake_locked(&calls->slots[i]);
			return;
		}
	/* Only late answers are to come: who waits for a slot reads them. */
	wake_queue_locked(calls, false);
}

struct search {
	struct calls *calls;
	struct call *found;
	uint64_t id;
	bool asked, refused;
};

static enum wire_method method_of(void *userdata, uint64_t id)
{
	struct search *search = userdata;
	struct calls *calls = search->calls;
	struct call *call = &calls->slots[id % WIRE_INFLIGHT_MAX];
	enum wire_method method = WIRE_METHODS_N;

	search->asked = true;
	search->id = id;
	if (!id) { /* it answers nothing that was asked: the daemon takes no request */
		search->refused = true;
		return WIRE_HELLO; /* a fault is read alike for all */
	}
	lock_acquire(&calls->lock);
	if ((call->state == CALL_WAITING || call->state == CALL_LATE) && call->id == id) {
		search->found = call;
		method = call->method;
	}
	lock_release(&calls->lock);
	return method;
}

/* ---- saying, with the lock held ---- */

static uint64_t order_of(const struct call *call)
{
	return call->id / WIRE_INFLIGHT_MAX;
}

void call_number(struct call *call)
{
	call->id = ++call->calls->order * WIRE_INFLIGHT_MAX +
		   (uint64_t)(call - call->calls->slots);
}

/* To be said, at the next opportunity. */
void call_hold(struct call *call)
{
	call->said = CALL_TO_SAY;
	call->calls->to_say++;
}

/* It need not be said any more. */
void call_unhold(struct call *call)
{
	if (call->said == CALL_TO_SAY)
		call->calls->to_say--;
	call->said = CALL_SAID;
}

static struct call *first_held(struct calls *calls)
{
	struct call *first = NULL;

	for (unsigned i = 0; calls->to_say && i < WIRE_INFLIGHT_MAX; i++) {
		struct call *call = &calls->slots[i];

		if ((call->state == CALL_WAITING || call->state == CALL_LATE) &&
		    call->said == CALL_TO_SAY && (!first || call->id < first->id))
			first = call;
	}
	return first;
}

/* 0 or an errno. */
int calls_send(const struct calls *calls, const void *bytes, size_t size)
{
	return send(calls->socket.fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

/* What is still to be said, as far as there is room, in its order. 0, or why not: an errno. */
int calls_say(struct calls *calls)
{
	const struct outbox_note *note;
	char bytes[NOTE_MAX];
	struct call *call;
	int size, error;

	while (!calls->away && !calls->broken) {
		note = outbox_next(&calls->outbox);
		call = first_held(calls);
		if (note && (!call || note->order < order_of(call))) {
			size = outbox_encode(note, bytes, sizeof(bytes));
			assert(size > 0); /* numbers alone */
			error = calls_send(calls, bytes, (size_t)size);
			if (error)
				return error;
			outbox_sent(&calls->outbox);
		} else if (call) {
			error = calls_send(calls, call->request, call->request_size);
			if (error)
				return error;
			call->known = true;
			call_unhold(call);
		} else {
			return 0;
		}
	}
	return 0;
}

bool calls_said_all(const struct calls *calls)
{
	return !calls->to_say && !outbox_next(&calls->outbox);
}

/* ---- answers ---- */

/* With the lock held: whatever was there before it the daemon has taken. */
static void taken_locked(struct call *call)
{
	struct calls *calls = call->calls;

	if (call->said != CALL_SAYING)
		call_unhold(call); /* else its thread will do so */
	returns_taken(&calls->returns, call->returned);
	outbox_taken(&calls->outbox, order_of(call));
}

/* With the lock held: the datagram and its descriptors become the call's. */
static void deliver_locked(struct call *call, struct receive *in, bool copy)
{
	call->size = in->size;
	if (copy)
		memcpy(call->buffer, in->buffer, in->size);
	memcpy(call->fds, in->fds, sizeof(in->fds));
	call->n_fds = in->n_fds;
	call->fds_lost = in->fds_lost;
	in->n_fds = 0;
	call->state = CALL_ANSWERED;
	taken_locked(call);
	wake_locked(call);
}

void call_free_slot(struct call *call)
{
	call_unhold(call);
	call->state = CALL_FREE;
	call->calls->inflight--;
	wake_queue_locked(call->calls, false);
}

/* With the lock held: the answer to a call that has ended. NULL: it makes no sense. */
void call_late(struct call *call, const struct wire_message *answer)
{
	struct calls *calls = call->calls;
	int size = 0;

	taken_locked(call);
	call_number(call);
	if (answer)
		size = late_give_back(call->request, REQUEST_MAX, call->id, answer, call->about,
				      &call->method);
	if (!size) {
		call_free_slot(call);
		return;
	}
	call->request_size = (size_t)size;
	call->returned = 0;
	call->state = CALL_LATE;
	call->known = false;
	call->tries = 0;
	call_hold(call);
	calls_say(calls);
}

/* With the lock held: no call gets an answer from now on, and why. */
static void refused_locked(struct calls *calls, const struct wire_fault *fault)
{
	struct varbos_error why;

	error_of_fault(&why, fault);
	if (!wire_error_name(fault->code))
		why.code = VARBOS_E_PROTOCOL;
	break_locked(calls, &why);
}

/*
 * Hand a datagram to the call that it answers. `mine`, unless NULL, is the reader's own: what
 * is for it stands in its buffer and is decoded already, so that a lone caller neither copies
 * nor decodes twice. What is for another is copied to that call and decoded there once more.
 */
static void dispatch(struct calls *calls, struct call *mine, struct receive *in)
{
	_cleanup_(wire_message_deinit) struct wire_message message = {};
	struct search search = {.calls = calls};
	struct wire_message *target = mine ? &mine->message : &message;
	struct wire_trouble trouble = {};
	struct receive_end end;
	int r;

	r = wire_decode_answer(target, in->buffer, in->size, method_of, &search, &trouble);

	if (search.found) {
		lock_acquire(&calls->lock);
		/* Its thread may have given up meanwhile, and another have taken the slot. */
		if (search.found->state == CALL_WAITING && search.found->id == search.id)
			deliver_locked(search.found, in, search.found != mine);
		else if (search.found->state == CALL_LATE && search.found->id == search.id)
			call_late(search.found, r ? NULL : target);
		lock_release(&calls->lock);
	} else if (search.refused && !r && target->failed) {
		lock_acquire(&calls->lock);
		refused_locked(calls, &target->fault);
		lock_release(&calls->lock);
	} else if (!search.asked && !r) {
		note_handle(calls, target);
	} else if (!search.asked && r != WIRE_E_METHOD) {
		/* A note that only later daemons know is skipped, as is an answer to nothing. */
		end = r < 0 ? receive_end(-r) : receive_end_protocol();
		end_calls(calls, &end);
	}

	if (mine && search.found == mine) {
		mine->decoded = true;
		mine->decode_result = r;
		mine->trouble = trouble;
	} else {
		wire_message_deinit(target);
	}
	receive_drop(in);
}

/* With the role, not the lock: take one datagram. False: nothing came in time. */
bool calls_read_one(struct calls *calls, struct call *mine, int flags)
{
	struct receive in = {.buffer = mine ? mine->buffer : calls->spare};
	struct receive_end end;
	int r;

	r = receive(&in, calls->socket.fd, flags, &end);
	if (r == RECEIVE_NOTHING)
		return false;
	if (r == RECEIVE_END) {
		end_calls(calls, &end);
		return true;
	}
	dispatch(calls, mine, &in);
	return true;
}

/* Poll until the deadline; false if it has passed. */
bool calls_await(const struct calls *calls, short events, uint64_t deadline_ns)
{
	struct pollfd poll_fd = {.fd = calls->socket.fd, .events = events};
	uint64_t now = clock_ns();
	struct timespec left;

	if (now >= deadline_ns)
		return false;
	left = (struct timespec){
		.tv_sec = (time_t)((deadline_ns - now) / 1000000000),
		.tv_nsec = (long)((deadline_ns - now) % 1000000000),
	};
	ppoll(&poll_fd, 1, &left, NULL);
	return true;
}

/* Until the call is answered, the connection has ended or the time is over. */
void calls_read_for(struct calls *calls, struct call *mine, bool at_once, uint64_t until_ns)
{
	bool done;

	do {
		/* The socket's own timeout is the deadline, if it begins to run now. */
		if (at_once) {
			at_once = false;
			if (!calls_read_one(calls, mine, 0) && clock_ns() >= until_ns)
				return;
		} else {
			if (!calls_await(calls, POLLIN, until_ns))
				return;
			calls_read_one(calls, mine, MSG_DONTWAIT);
		}
		lock_acquire(&calls->lock);
		done = mine->state == CALL_ANSWERED || calls->broken || calls->away;
		lock_release(&calls->lock);
	} while (!done);
}

/* ---- another connection ---- */

/* With the lock held, and the role: what was not answered over the last one is said again. */
static void go_on_locked(struct calls *calls, struct socket *socket, uint64_t inflight)
{
	const struct timespec moment = {.tv_nsec = 20000};

	/* Who began to say something over the former one is done at once. */
	while (calls->saying) {
		lock_release(&calls->lock);
		nanosleep(&moment, NULL);
		lock_acquire(&calls->lock);
	}
	socket_replace(&calls->socket, socket);
	socket_set_timeout(calls->socket.fd,
			   atomic_load_explicit(&calls->timeout_ms, memory_order_relaxed));
	calls->limit = (uint32_t)u64_min(inflight, WIRE_INFLIGHT_MAX);
	calls->away_before_ns = calls_away_ns(calls, clock_ns());
	calls->away = false;
	atomic_fetch_add_explicit(&calls->connections, 1, memory_order_relaxed);
	/* Records that were put meanwhile have woken nobody. What follows may fill the socket. */
	if (atomic_load_explicit(&calls->wakes, memory_order_relaxed) &&
	    !mutant(lanes_unwoken_again))
		send(calls->socket.fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);

	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++) {
		struct call *call = &calls->slots[i];
		bool open = call->state == CALL_WAITING || call->state == CALL_LATE;

		if (!open || call->said != CALL_SAID || mutant(call_dropped))
			continue;
		if (++call->tries > TRIES_MAX && call->state == CALL_LATE) {
			call_free_slot(call);
			continue;
		}
		if (mutant(call_said_anew)) /* of ids that are one byte */
			call->id = (uint64_t)(call->request[2] += WIRE_INFLIGHT_MAX);
		call_hold(call);
	}
	outbox_again(&calls->outbox);
	calls_say(calls);
	wake_all_locked(calls);
}

/* With the role, not the lock: look for a connection, once at least. */
void calls_reconnect(struct calls *calls, uint64_t until_ns)
{
	struct socket socket = {.fd = -1};
	uint64_t hello, inflight = 0;
	int r;

	lock_acquire(&calls->lock);
	hello = ++calls->order * WIRE_INFLIGHT_MAX;
	lock_release(&calls->lock);
	r = resumption_try(&calls->resumption, calls->socket.path, hello, until_ns, &socket,
			   &inflight);
	lock_acquire(&calls->lock);
	if (!r)
		go_on_locked(calls, &socket, inflight);
	else if (r != RESUMPTION_LATER)
		break_locked(calls, &calls->resumption.why);
	else if (calls->resumption.why.code)
		calls->why = calls->resumption.why;
	lock_release(&calls->lock);
}

void calls_poll(struct calls *calls)
{
	bool role;

	lock_acquire(&calls->lock);
	role = !calls->reading && !calls->broken && !calls->away;
	if (role)
		calls->reading = true;
	lock_release(&calls->lock);
	if (!role)
		return;

	while (calls_read_one(calls, NULL, MSG_DONTWAIT)) {
		lock_acquire(&calls->lock);
		role = !calls->broken && !calls->away;
		lock_release(&calls->lock);
		if (!role)
			break;
	}

	lock_acquire(&calls->lock);
	calls_give_role(calls);
	lock_release(&calls->lock);
}
