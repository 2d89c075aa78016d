#include "client/call.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/mman.h>

#include "client/call_private.h"
#include "client/error.h"
#include "client/late.h"
#include "client/receive.h"

enum { BUFFERS = WIRE_INFLIGHT_MAX + 1 };

#define BUFFER_BYTES \
	((size_t)BUFFERS * WIRE_MESSAGE_MAX + (size_t)WIRE_INFLIGHT_MAX * REQUEST_MAX)

int calls_init(struct calls *calls)
{
	char *buffers, *requests;

	buffers = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (buffers == MAP_FAILED)
		return error_system(errno, "no room for messages");

	*calls = (struct calls){.socket.fd = -1, .buffers = buffers};
	calls->spare = buffers + (size_t)WIRE_INFLIGHT_MAX * WIRE_MESSAGE_MAX;
	requests = calls->spare + WIRE_MESSAGE_MAX;
	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++) {
		calls->slots[i].calls = calls;
		calls->slots[i].buffer = buffers + (size_t)i * WIRE_MESSAGE_MAX;
		calls->slots[i].request = requests + (size_t)i * REQUEST_MAX;
	}
	resumption_init(&calls->resumption);
	return 0;
}

void calls_deinit(struct calls *calls)
{
	if (!calls->buffers)
		return;
	socket_close(&calls->socket);
	resumption_forget(&calls->resumption);
	reporter_forget(&calls->reporter);
	returns_deinit(&calls->returns);
	munmap(calls->buffers, BUFFER_BYTES);
	calls->buffers = NULL;
}

void calls_start(struct calls *calls, const struct socket *socket,
		 const struct socket_policy *policy)
{
	resumption_forget(&calls->resumption);
	calls->socket = *socket;
	atomic_store_explicit(&calls->timeout_ms, policy->timeout_ms, memory_order_relaxed);
	atomic_store_explicit(&calls->reconnect_ms, policy->reconnect_ms, memory_order_relaxed);
	calls->order = 0;
	calls->reading = false;
	calls->broken = false;
	calls->away = false;
	calls->away_before_ns = 0;
	calls->inflight = 0;
	calls->to_say = 0;
	calls->saying = 0;
	calls->queued = 0;
	calls->refused = 0;
	calls->wakes = false;
	calls->outbox = (struct outbox){};
	returns_forget(&calls->returns);
	reporter_forget(&calls->reporter);
	calls->limit = 1; /* until HELLO has agreed on more */
	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++)
		calls->slots[i].state = CALL_FREE;
}

void calls_open(struct calls *calls, uint32_t session, uint64_t serial, uint32_t layout,
		uint64_t inflight, const struct socket_policy *policy)
{
	lock_acquire(&calls->lock);
	calls->limit = (uint32_t)u64_min(inflight, WIRE_INFLIGHT_MAX);
	resumption_open(&calls->resumption, session, serial, layout, policy);
	lock_release(&calls->lock);
}

void calls_set_limit(struct calls *calls, uint64_t inflight)
{
	lock_acquire(&calls->lock);
	calls->limit = (uint32_t)u64_min(inflight, WIRE_INFLIGHT_MAX);
	lock_release(&calls->lock);
}

int calls_set_timeout(struct calls *calls, uint32_t ms)
{
	int r;

	lock_acquire(&calls->lock);
	r = socket_set_timeout(calls->socket.fd, ms);
	if (!r)
		atomic_store_explicit(&calls->timeout_ms, ms, memory_order_relaxed);
	lock_release(&calls->lock);
	return r;
}

/* ---- the two clocks, with the lock held ---- */

static void time_locked(const struct calls *calls, uint64_t wait_ms, struct call_time *ret)
{
	uint64_t now = clock_ns(), away = calls_away_ns(calls, now);
	uint64_t timeout_ms = atomic_load_explicit(&calls->timeout_ms, memory_order_relaxed);
	uint64_t reconnect_ms =
		atomic_load_explicit(&calls->reconnect_ms, memory_order_relaxed);

	if (mutant(call_waits_on))
		reconnect_ms *= 100;
	*ret = (struct call_time){
		.present_ns = now - away + (timeout_ms + wait_ms) * NS_PER_MS,
		.away_ns = away + reconnect_ms * NS_PER_MS,
		.within_ms = timeout_ms + wait_ms,
	};
}

/* What is left of it by the clock that runs now. */
static uint64_t left_locked(const struct calls *calls, const struct call_time *time,
			    uint64_t now)
{
	uint64_t away = calls_away_ns(calls, now);
	uint64_t shown = calls->away ? away : now - away;
	uint64_t end = calls->away ? time->away_ns : time->present_ns;

	return end > shown ? end - shown : 0;
}

/* When it is over by that clock, of CLOCK_MONOTONIC; not 0. */
static uint64_t until_locked(const struct calls *calls, const struct call_time *time)
{
	uint64_t now = clock_ns();

	return now + left_locked(calls, time, now);
}

static bool over_locked(const struct calls *calls, const struct call_time *time)
{
	return !left_locked(calls, time, clock_ns());
}

/* ---- how it fails, with the lock held ---- */

static int error_broken(const struct calls *calls)
{
	return error_set_numbers(&calls->why, "%s", calls->why.message);
}

static int error_over(const struct calls *calls, const struct call_time *time)
{
	if (calls->away)
		return error_set_numbers(&calls->why, "varbosd at %s is away: %s",
					 calls->socket.path, calls->why.message);
	return error_set_numbers(
		&(struct varbos_error){.code = VARBOS_E_TIMEOUT, .system_errno = ETIMEDOUT},
		"varbosd at %s has not answered within %" PRIu64 " ms", calls->socket.path,
		time->within_ms);
}

/* ---- calling ---- */

static bool waiting_locked(const struct calls *calls)
{
	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++)
		if (calls->slots[i].state == CALL_WAITING && !calls->slots[i].ahead)
			return true;
	return false;
}

/* With the lock held, but not meanwhile: nobody else is there to take what comes. */
static void serve_locked(struct calls *calls, uint64_t until_ns)
{
	bool away = calls->away;

	calls->reading = true;
	lock_release(&calls->lock);
	if (away)
		calls_reconnect(calls, until_ns);
	else if (calls_await(calls, POLLIN, until_ns))
		calls_read_one(calls, NULL, MSG_DONTWAIT);
	lock_acquire(&calls->lock);
	calls_say(calls);
	calls_give_role(calls);
}

/* With the lock held: there is a free slot. */
static struct call *new_call_locked(struct calls *calls, enum wire_method method)
{
	struct call *call = NULL;

	for (unsigned i = 0; !call; i++) {
		assert(i < WIRE_INFLIGHT_MAX);
		if (calls->slots[i].state == CALL_FREE)
			call = &calls->slots[i];
	}
	calls->inflight++;
	call_number(call);
	call->state = CALL_WAITING;
	call->method = method;
	call->returned = calls->returns.written;
	call->known = false;
	call->tries = 0;
	call->ahead = false;
	call->asleep = false;
	call->n_fds = 0;
	call->fds_lost = false;
	call->decoded = false;
	call_hold(call);
	return call;
}

/* With the lock held, but not while it waits. */
static int take_slot_locked(struct call **ret, struct calls *calls, enum wire_method method,
			    const struct call_time *time)
{
	uint64_t until_ns;
	bool tried = false;
	uint32_t seen;

	calls_say(calls);
	while (!calls->broken && calls->inflight >= calls->limit) {
		if (tried && over_locked(calls, time))
			return error_over(calls, time);
		tried = true;
		until_ns = until_locked(calls, time);
		if (!calls->reading && !waiting_locked(calls)) {
			serve_locked(calls, until_ns);
			continue;
		}
		seen = atomic_load_explicit(&calls->freed, memory_order_acquire);
		calls->queued++;
		lock_release(&calls->lock);
		futex_wait(&calls->freed, seen, until_ns);
		lock_acquire(&calls->lock);
		calls->queued--;
	}
	if (calls->broken)
		return error_broken(calls);
	*ret = new_call_locked(calls, method);
	return 0;
}

static int encode_locked(struct call *call, enum wire_method method, const void *params)
{
	int size = wire_encode_request(call->request, REQUEST_MAX, call->id, method, params);

	if (size < 0)
		return error_set(VARBOS_E_INVALID, "size", "more text than a request takes");
	call->request_size = (size_t)size;
	call->about = late_about(method, params);
	return 0;
}

/* With the lock held: its thread has sent it, or could not. */
static void said_locked(struct call *call, int error)
{
	struct calls *calls = call->calls;

	calls->saying--;
	call->said = CALL_SAID;
	if (!error || call->state == CALL_ANSWERED)
		call->known = true;
	else
		call_hold(call);
}

/*
 * With the lock held, but not while it waits for room. A full socket buffer may mean that the daemon
 * waits for us to read: so read. False: there was none in time.
 */
static bool await_room_locked(struct calls *calls, const struct call_time *time)
{
	uint32_t over = calls->connections;
	int error = calls_say(calls);
	uint64_t until_ns = until_locked(calls, time);
	bool in_time = true, full = error == EAGAIN || error == EINTR;
	struct receive_end end = receive_end(error);

	if (!error)
		return true;
	lock_release(&calls->lock);
	calls_poll(calls); /* it may have said why before it closed */
	if (full)
		in_time = calls_await(calls, POLLIN | POLLOUT, until_ns);
	lock_acquire(&calls->lock);
	if (!full && over == calls->connections)
		calls_end(calls, &end);
	return in_time;
}

/*
 * With the lock held: nobody waits for it any more. What was not said is not said any more, but that a
 * space is closed: it would stay open for ever, to who has no handle of it.
 */
static void give_up_locked(struct call *call)
{
	struct calls *calls = call->calls;

	if (call->known || (call->method == WIRE_SPACE_CLOSE && !mutant(call_close_dropped)))
		call->state = CALL_LATE;
	else
		call_free_slot(call);
	/* It may have been woken to take the role just now: pass that on. */
	if (!calls->reading)
		calls_give_role(calls);
}

/* With the lock held, but not meanwhile: read for all or reconnect, or sleep while another does. */
static void wait_locked(struct call *call, bool at_once)
{
	struct calls *calls = call->calls;
	uint64_t until_ns = until_locked(calls, &call->time);
	uint32_t seen = atomic_load_explicit(&call->wake, memory_order_acquire);
	bool role = !calls->reading, away = calls->away;

	if (role)
		calls->reading = true;
	call->asleep = !role;
	lock_release(&calls->lock);

	if (!role)
		futex_wait(&call->wake, seen, until_ns);
	else if (away)
		calls_reconnect(calls, until_ns);
	else
		calls_read_for(calls, call, at_once, until_ns);

	lock_acquire(&calls->lock);
	call->asleep = false;
	if (role)
		calls_give_role(calls);
}

/* With the lock held, until answered. *own becomes NULL if it is nobody's any more. */
static int wait_answer_locked(struct calls *calls, struct call **own)
{
	struct call *call = *own;
	bool at_once = true;

	while (call->state != CALL_ANSWERED) {
		if (calls->broken)
			return error_broken(calls);
		if (!calls->away && call->said == CALL_TO_SAY)
			await_room_locked(calls, &call->time);
		else
			wait_locked(call, at_once);
		at_once = false;
		if (call->state != CALL_ANSWERED && !calls->broken &&
		    over_locked(calls, &call->time)) {
			*own = NULL;
			give_up_locked(call);
			return error_over(calls, &call->time);
		}
	}
	return 0;
}

static enum wire_method own_method(void *userdata, uint64_t id)
{
	const struct call *call = userdata;

	return call->id == id ? call->method : WIRE_METHODS_N;
}

/* The answer stands in the buffer: understand it, and count its descriptors. */
static int check_answer(struct call *call, unsigned n_fds)
{
	int r;

	if (!call->decoded)
		call->decode_result =
			wire_decode_answer(&call->message, call->buffer, call->size, own_method,
					   call, &call->trouble);
	call->decoded = true;
	r = call->decode_result;
	if (r < 0)
		return error_system(r, "reading an answer");
	if (r)
		return error_set(VARBOS_E_PROTOCOL, call->trouble.which,
				 "the daemon's answer is wrong: %s", call->trouble.text);
	if (call->message.failed)
		return error_fault(&call->message.fault);
	if (call->fds_lost && call->n_fds < WIRE_FDS_MAX)
		return error_system(EMFILE, "no room for the daemon's descriptors");
	if (call->fds_lost || call->n_fds != n_fds)
		return error_set(VARBOS_E_UNTRUSTED, "descriptors",
				 "the daemon sent %s%u descriptors with %s, not %u",
				 call->fds_lost ? "more than " : "", call->n_fds,
				 wire_methods[call->method].name, n_fds);
	return 0;
}

static int begin(struct call **ret, struct calls *calls, enum wire_method method,
		 const void *params, unsigned n_fds, uint64_t wait_ms)
{
	_cleanup_(call_endp) struct call *call = NULL;
	struct call_time time;
	int error = 0, r;
	bool alone;

	lock_acquire(&calls->lock);
	time_locked(calls, wait_ms, &time);
	r = take_slot_locked(&call, calls, method, &time);
	if (!r)
		r = encode_locked(call, method, params);
	if (r) {
		lock_release(&calls->lock);
		return r;
	}
	call->time = time;
	/* Where nothing else is to be said first, without the lock. */
	alone = !calls->away && calls->to_say == 1 && !outbox_next(&calls->outbox);
	if (alone) {
		call_unhold(call);
		call->said = CALL_SAYING;
		calls->saying++;
		lock_release(&calls->lock);
		error = calls_send(calls, call->request, call->request_size);
		lock_acquire(&calls->lock);
		said_locked(call, error);
	}
	r = wait_answer_locked(calls, &call);
	lock_release(&calls->lock);
	if (!r)
		r = check_answer(call, n_fds);
	if (r)
		return r;

	*ret = TAKE_PTR(call);
	return 0;
}

int call_begin(struct call **ret, struct calls *calls, enum wire_method method,
	       const void *params, unsigned n_fds)
{
	return begin(ret, calls, method, params, n_fds, 0);
}

int call_begin_waiting(struct call **ret, struct calls *calls, enum wire_method method,
		       const void *params, uint64_t wait_ms)
{
	return begin(ret, calls, method, params, 0, wait_ms);
}

void call_end(struct call *call)
{
	struct calls *calls = call->calls;

	if (call->decoded)
		wire_message_deinit(&call->message);

	lock_acquire(&calls->lock);
	for (unsigned i = 0; i < call->n_fds; i++)
		closep(&call->fds[i]);
	call->n_fds = 0;
	call_free_slot(call);
	lock_release(&calls->lock);
}

/* With the lock held: may another be asked ahead? */
static bool may_ask_locked(const struct calls *calls)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++)
		n += calls->slots[i].state != CALL_FREE && calls->slots[i].ahead;
	return !calls->broken && calls->inflight < calls->limit &&
	       (n < calls->limit / 2 || mutant(call_ahead_takes_all));
}

struct call *call_ask(struct calls *calls, enum wire_method method, const void *params)
{
	struct call *call = NULL;

	lock_acquire(&calls->lock);
	calls_say(calls);
	if (may_ask_locked(calls)) {
		call = new_call_locked(calls, method);
		call->ahead = true;
		if (encode_locked(call, method, params)) {
			call_free_slot(TAKE_PTR(call));
		} else {
			calls_say(calls);
			if (call->said == CALL_TO_SAY && !calls->away)
				call_free_slot(TAKE_PTR(call));
		}
	}
	lock_release(&calls->lock);
	return call;
}

int call_collect(struct call **call, unsigned n_fds)
{
	struct call *asked = *call;
	struct calls *calls = asked->calls;
	int r;

	lock_acquire(&calls->lock);
	asked->ahead = false;
	time_locked(calls, 0, &asked->time);
	r = wait_answer_locked(calls, call);
	lock_release(&calls->lock);
	if (!r)
		r = check_answer(*call, n_fds);
	if (r && *call) {
		call_end(*call);
		*call = NULL;
	}
	return r;
}

void call_forget(struct call *call)
{
	struct calls *calls = call->calls;
	struct wire_message answer = {};
	struct wire_trouble trouble;
	int r = -1;

	lock_acquire(&calls->lock);
	if (call->state == CALL_ANSWERED)
		r = wire_decode_answer(&answer, call->buffer, call->size, own_method, call,
				       &trouble);
	call->ahead = false;
	if (call->state == CALL_ANSWERED) {
		for (unsigned i = 0; i < call->n_fds; i++)
			closep(&call->fds[i]);
		call->n_fds = 0;
		call_late(call, r ? NULL : &answer);
	} else if (!call->known && call->about.space) {
		call_free_slot(call); /* what it would grant nobody wants */
	} else {
		call->state = CALL_LATE;
	}
	lock_release(&calls->lock);
	if (!r)
		wire_message_deinit(&answer);
}

/* An answer to anything shows what has been taken. */
static int empty_outbox(struct calls *calls)
{
	_cleanup_(call_endp) struct call *call = NULL;

	return call_begin(&call, calls, WIRE_PING, &(struct wire_ping){}, 0);
}

int call_note(struct calls *calls, enum wire_method method, const void *params)
{
	struct call_time time;
	bool away;
	int r = 0;

	lock_acquire(&calls->lock);
	while (!r && !calls->broken && outbox_is_full(&calls->outbox)) {
		lock_release(&calls->lock);
		r = empty_outbox(calls);
		lock_acquire(&calls->lock);
	}
	if (!r && calls->broken)
		r = error_broken(calls);
	if (!r) {
		outbox_add(&calls->outbox, ++calls->order, method, params);
		time_locked(calls, 0, &time);
		calls_say(calls);
		/* It is kept, in time or not. */
		while (!calls->away && !calls->broken && !calls_said_all(calls) &&
		       await_room_locked(calls, &time))
			;
	}
	away = calls->away;
	lock_release(&calls->lock);
	if (away)
		calls_nudge(calls);
	return r;
}

/* ---- for who waits otherwise ---- */

void calls_begin_waiting(struct calls *calls, struct call_time *ret)
{
	lock_acquire(&calls->lock);
	time_locked(calls, 0, ret);
	lock_release(&calls->lock);
}

int calls_attend(struct calls *calls, const struct call_time *time)
{
	int r = 0;

	calls_poll(calls);
	lock_acquire(&calls->lock);
	if (calls->away && !calls->reading && !calls->broken)
		serve_locked(calls, until_locked(calls, time));
	if (calls->broken)
		r = error_broken(calls);
	else if (over_locked(calls, time))
		r = calls->away ? error_over(calls, time) : CALLS_E_OVER;
	lock_release(&calls->lock);
	return r;
}

void calls_nudge(struct calls *calls)
{
	calls_poll(calls);
	lock_acquire(&calls->lock);
	if (calls->away && !calls->reading && !calls->broken)
		serve_locked(calls, 0);
	lock_release(&calls->lock);
}

/* ---- the return ring ---- */

/* Once a session, by whoever comes first; until it is there, and if it fails, notes are sent. */
static void open_returns(struct calls *calls)
{
	_cleanup_(call_endp) struct call *call = NULL;
	struct varbos_error before = *varbos_error();
	struct return_ring *ring;

	if (call_begin(&call, calls, WIRE_RETURNS_OPEN, &(struct wire_empty){}, 1) ||
	    returns_map(&ring, call->fds[0])) {
		error_restore(&before); /* it is no failure of the call that we are in */
		return;
	}
	lock_acquire(&calls->lock);
	calls->returns.ring = ring;
	lock_release(&calls->lock);
	reporter_open(&calls->reporter, &ring->report);
}

/* With the lock held: is it the caller's to ask? Not for who would wait for a daemon that is away. */
static bool ask_returns_locked(struct calls *calls)
{
	bool first = !calls->returns.asked && !calls->away;

	calls->returns.asked |= first;
	return first;
}

void call_open_returns(struct calls *calls)
{
	bool first;

	lock_acquire(&calls->lock);
	first = ask_returns_locked(calls);
	lock_release(&calls->lock);
	if (first)
		open_returns(calls);
}

bool call_return(struct calls *calls, uint64_t space, uint64_t ref)
{
	bool done = false, first;

	lock_acquire(&calls->lock);
	first = ask_returns_locked(calls);
	if (!first && !calls->broken)
		done = returns_put(&calls->returns, space, ref);
	lock_release(&calls->lock);

	if (first)
		open_returns(calls);
	return done;
}
