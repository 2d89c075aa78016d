#include "client/call.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "client/error.h"
#include "client/late.h"
#include "client/note.h"
#include "client/receive.h"

enum {
	REQUEST_MAX = 2048, /* bytes: a name, a few numbers */
	BUFFERS = WIRE_INFLIGHT_MAX + 1,
};

#define NS_PER_MS 1000000u

int calls_init(struct calls *calls)
{
	char *buffers;

	buffers = mmap(NULL, (size_t)BUFFERS * WIRE_MESSAGE_MAX, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (buffers == MAP_FAILED)
		return error_system(errno, "no room for messages");

	*calls = (struct calls){.socket.fd = -1, .buffers = buffers};
	calls->spare = buffers + (size_t)WIRE_INFLIGHT_MAX * WIRE_MESSAGE_MAX;
	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++) {
		calls->slots[i].calls = calls;
		calls->slots[i].buffer = buffers + (size_t)i * WIRE_MESSAGE_MAX;
	}
	return 0;
}

void calls_deinit(struct calls *calls)
{
	socket_close(&calls->socket);
	reporter_forget(&calls->reporter);
	returns_deinit(&calls->returns);
	if (calls->buffers)
		munmap(calls->buffers, (size_t)BUFFERS * WIRE_MESSAGE_MAX);
	calls->buffers = NULL;
}

void calls_start(struct calls *calls, const struct socket *socket, uint32_t timeout_ms)
{
	calls->socket = *socket;
	calls->timeout_ms = timeout_ms;
	calls->next_id = 1;
	calls->reading = false;
	calls->broken = false;
	calls->inflight = 0;
	calls->giving = 0;
	calls->queued = 0;
	calls->refused = 0;
	returns_forget(&calls->returns);
	reporter_forget(&calls->reporter);
	calls->limit = 1; /* until HELLO has agreed on more */
	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++)
		calls->slots[i].state = CALL_FREE;
}

void calls_set_limit(struct calls *calls, uint64_t inflight)
{
	lock_acquire(&calls->lock);
	calls->limit = (uint32_t)u64_min(inflight, WIRE_INFLIGHT_MAX);
	lock_release(&calls->lock);
}

static int error_broken(const struct calls *calls)
{
	return error_set_numbers(&calls->why, "%s", calls->why.message);
}

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

static int error_timeout(const struct calls *calls)
{
	return error_set_numbers(
		&(struct varbos_error){.code = VARBOS_E_TIMEOUT, .system_errno = ETIMEDOUT},
		"varbosd at %s has not answered within %u ms", calls->socket.path,
		calls->timeout_ms);
}

/* ---- the reader's role ---- */

/* With the lock held: the connection is of no use any more, and all are told. */
static void break_locked(struct calls *calls, const struct varbos_error *why)
{
	if (calls->broken)
		return;
	calls->broken = true;
	calls->why = *why;
	shutdown(calls->socket.fd, SHUT_RDWR);
	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++)
		if (calls->slots[i].state == CALL_WAITING)
			wake_locked(&calls->slots[i]);
	wake_queue_locked(calls, true);
}

static void break_calls(struct calls *calls, const struct receive_end *end)
{
	struct varbos_error why = {.code = (enum varbos_code)end->code,
				   .system_errno = end->system_errno};

	snprintf(why.message, sizeof(why.message), "%s", end->why);
	lock_acquire(&calls->lock);
	break_locked(calls, &why);
	lock_release(&calls->lock);
}

static void give_role_locked(struct calls *calls)
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
	enum wire_method method = WIRE_METHODS_N;

	search->asked = true;
	search->id = id;
	if (!id) { /* it answers nothing that was asked: the daemon takes no request */
		search->refused = true;
		return WIRE_HELLO; /* a fault is read alike for all */
	}
	lock_acquire(&calls->lock);
	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++) {
		struct call *call = &calls->slots[i];

		if ((call->state == CALL_WAITING || call->state == CALL_LATE) &&
		    call->id == id) {
			search->found = call;
			method = call->method;
			break;
		}
	}
	lock_release(&calls->lock);
	return method;
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
	returns_taken(&call->calls->returns, call->returned);
	wake_locked(call);
}

static void free_slot_locked(struct call *call)
{
	call->state = CALL_FREE;
	call->calls->inflight--;
	wake_queue_locked(call->calls, false);
}

/* What could not be sent is tried again when there is something to receive, or to ask. */
static void give_back_locked(struct calls *calls)
{
	for (unsigned i = 0; calls->giving && i < WIRE_INFLIGHT_MAX; i++) {
		struct call *call = &calls->slots[i];

		if (call->state != CALL_GIVING)
			continue;
		if (send(calls->socket.fd, call->buffer, call->size,
			 MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			return;
		call->state = CALL_LATE;
		calls->giving--;
	}
}

/* With the lock held: the answer to a call that has ended. NULL: it makes no sense. */
static void late_locked(struct call *call, const struct wire_message *answer)
{
	struct calls *calls = call->calls;
	int size = 0;

	if (answer)
		size = late_give_back(call->buffer, WIRE_MESSAGE_MAX, calls->next_id, answer,
				      call->about, &call->method);
	returns_taken(&calls->returns, call->returned);
	if (!size) {
		free_slot_locked(call);
		return;
	}
	call->id = calls->next_id++;
	call->size = (size_t)size;
	call->returned = 0;
	call->state = CALL_GIVING;
	calls->giving++;
	give_back_locked(calls);
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
			late_locked(search.found, r ? NULL : target);
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
		break_calls(calls, &end);
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
static bool read_one(struct calls *calls, struct call *mine, int flags)
{
	struct receive in = {.buffer = mine ? mine->buffer : calls->spare};
	struct receive_end end;
	int r;

	r = receive(&in, calls->socket.fd, flags, &end);
	if (r == RECEIVE_NOTHING)
		return false;
	if (r == RECEIVE_END) {
		break_calls(calls, &end);
		return true;
	}
	dispatch(calls, mine, &in);
	return true;
}

/* Poll until the deadline; false if it has passed. */
static bool await(const struct calls *calls, short events, uint64_t deadline_ns)
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

/* Read until the call is answered, the connection is broken or the deadline has passed. */
static void read_for_all(struct calls *calls, struct call *mine, bool at_once)
{
	bool done;

	do {
		/* The socket's own timeout is the deadline, if it begins to run now. */
		if (at_once) {
			at_once = false;
			if (!read_one(calls, mine, 0) && clock_ns() >= mine->deadline_ns)
				return;
		} else {
			if (!await(calls, POLLIN, mine->deadline_ns))
				return;
			read_one(calls, mine, MSG_DONTWAIT);
		}
		lock_acquire(&calls->lock);
		done = mine->state == CALL_ANSWERED || calls->broken;
		lock_release(&calls->lock);
	} while (!done);
}

void calls_poll(struct calls *calls)
{
	bool role;

	lock_acquire(&calls->lock);
	role = !calls->reading && !calls->broken;
	if (role)
		calls->reading = true;
	lock_release(&calls->lock);
	if (!role)
		return;

	while (read_one(calls, NULL, MSG_DONTWAIT)) {
		lock_acquire(&calls->lock);
		role = !calls->broken;
		lock_release(&calls->lock);
		if (!role)
			break;
	}

	lock_acquire(&calls->lock);
	give_role_locked(calls);
	lock_release(&calls->lock);
}

/* ---- calling ---- */

/*
 * A full socket buffer may mean that the daemon waits for us to read: so read, while waiting
 * for room.
 */
static int send_message(struct calls *calls, const void *data, size_t size,
			uint64_t deadline_ns)
{
	for (;;) {
		if (send(calls->socket.fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN) {
			struct receive_end end = receive_end(errno);

			calls_poll(calls); /* it may have said why before it closed */
			break_calls(calls, &end);
			return error_broken(calls);
		}
		calls_poll(calls);
		if (!await(calls, POLLIN | POLLOUT, deadline_ns))
			return error_timeout(calls);
	}
}

static bool waiting_locked(const struct calls *calls)
{
	for (unsigned i = 0; i < WIRE_INFLIGHT_MAX; i++)
		if (calls->slots[i].state == CALL_WAITING && !calls->slots[i].ahead)
			return true;
	return false;
}

/* With the lock held, but not while it reads: nobody else is there to take what comes late. */
static void read_late_locked(struct calls *calls, uint64_t deadline_ns)
{
	calls->reading = true;
	lock_release(&calls->lock);
	if (await(calls, POLLIN, deadline_ns))
		read_one(calls, NULL, MSG_DONTWAIT);
	lock_acquire(&calls->lock);
	give_back_locked(calls);
	give_role_locked(calls);
}

/* With the lock held: there is a free slot. */
static struct call *new_call_locked(struct calls *calls, enum wire_method method,
				    uint64_t deadline_ns)
{
	struct call *call = NULL;

	for (unsigned i = 0; !call; i++) {
		assert(i < WIRE_INFLIGHT_MAX);
		if (calls->slots[i].state == CALL_FREE)
			call = &calls->slots[i];
	}
	calls->inflight++;
	call->state = CALL_WAITING;
	call->method = method;
	call->id = calls->next_id++;
	call->deadline_ns = deadline_ns;
	call->returned = calls->returns.written;
	call->ahead = false;
	call->asleep = false;
	call->n_fds = 0;
	call->fds_lost = false;
	call->decoded = false;
	return call;
}

static int take_slot(struct call **ret, struct calls *calls, enum wire_method method,
		     uint64_t deadline_ns)
{
	struct call *call = NULL;
	uint32_t seen;
	int r = 0;

	lock_acquire(&calls->lock);
	give_back_locked(calls);
	while (!calls->broken && calls->inflight >= calls->limit) {
		if (clock_ns() >= deadline_ns) {
			r = error_timeout(calls);
			break;
		}
		if (!calls->reading && !waiting_locked(calls)) {
			read_late_locked(calls, deadline_ns);
			continue;
		}
		seen = atomic_load_explicit(&calls->freed, memory_order_acquire);
		calls->queued++;
		lock_release(&calls->lock);
		futex_wait(&calls->freed, seen, deadline_ns);
		lock_acquire(&calls->lock);
		calls->queued--;
	}
	if (!r && calls->broken)
		r = error_broken(calls);
	if (!r)
		call = new_call_locked(calls, method, deadline_ns);
	lock_release(&calls->lock);

	if (!r)
		*ret = call;
	return r;
}

/*
 * Until answered: read for all, or sleep while another thread does. *own becomes NULL if it is
 * nobody's any more.
 */
static int wait_answer(struct calls *calls, struct call **own)
{
	struct call *call = *own;
	bool at_once = true, role;
	uint32_t seen;
	int r = 0;

	lock_acquire(&calls->lock);
	while (call->state != CALL_ANSWERED) {
		if (calls->broken) {
			r = error_broken(calls);
			break;
		}
		role = !calls->reading;
		if (role)
			calls->reading = true;
		call->asleep = !role;
		seen = atomic_load_explicit(&call->wake, memory_order_acquire);
		lock_release(&calls->lock);

		if (role)
			read_for_all(calls, call, at_once);
		else
			futex_wait(&call->wake, seen, call->deadline_ns);
		at_once = false;

		lock_acquire(&calls->lock);
		call->asleep = false;
		if (role)
			give_role_locked(calls);
		if (call->state != CALL_ANSWERED && !calls->broken &&
		    clock_ns() >= call->deadline_ns) {
			r = error_timeout(calls);
			/* It may have been woken to take the role just now: pass that on. */
			call->state = CALL_LATE;
			*own = NULL;
			if (!calls->reading)
				give_role_locked(calls);
			break;
		}
	}
	lock_release(&calls->lock);
	return r;
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
	uint64_t deadline = clock_ns() + (calls->timeout_ms + wait_ms) * NS_PER_MS;
	_cleanup_(call_endp) struct call *call = NULL;
	char request[REQUEST_MAX];
	int size, r;

	r = take_slot(&call, calls, method, deadline);
	if (r)
		return r;
	size = wire_encode_request(request, sizeof(request), call->id, method, params);
	if (size < 0)
		return error_set(VARBOS_E_INVALID, "size", "more text than a request takes");
	call->about = late_about(method, params);
	r = send_message(calls, request, (size_t)size, deadline);
	if (!r)
		r = wait_answer(calls, &call);
	if (!r && call)
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
	free_slot_locked(call);
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
	char request[REQUEST_MAX];
	struct call *call = NULL;
	int size;

	lock_acquire(&calls->lock);
	if (may_ask_locked(calls)) {
		call = new_call_locked(calls, method, 0);
		call->ahead = true;
	}
	lock_release(&calls->lock);
	if (!call)
		return NULL;

	call->about = late_about(method, params);
	size = wire_encode_request(request, sizeof(request), call->id, method, params);
	if (size > 0 &&
	    send(calls->socket.fd, request, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) == size)
		return call;
	call_end(call);
	return NULL;
}

int call_collect(struct call **call, unsigned n_fds)
{
	struct call *asked = *call;
	struct calls *calls = asked->calls;
	int r;

	lock_acquire(&calls->lock);
	asked->ahead = false;
	asked->deadline_ns = clock_ns() + (uint64_t)calls->timeout_ms * NS_PER_MS;
	lock_release(&calls->lock);
	r = wait_answer(calls, call);
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
		late_locked(call, r ? NULL : &answer);
	} else {
		call->state = CALL_LATE;
	}
	lock_release(&calls->lock);
	if (!r)
		wire_message_deinit(&answer);
}

int call_note(struct calls *calls, enum wire_method method, const void *params)
{
	uint64_t deadline = clock_ns() + (uint64_t)calls->timeout_ms * NS_PER_MS;
	char note[REQUEST_MAX];
	bool broken;
	int size;

	lock_acquire(&calls->lock);
	broken = calls->broken;
	lock_release(&calls->lock);
	if (broken)
		return error_broken(calls);
	size = wire_encode_note(note, sizeof(note), method, params);
	if (size < 0)
		return error_set(VARBOS_E_INVALID, "size", "more text than a note takes");
	return send_message(calls, note, (size_t)size, deadline);
}

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

void call_open_returns(struct calls *calls)
{
	bool first;

	lock_acquire(&calls->lock);
	first = !calls->returns.asked;
	calls->returns.asked = true;
	lock_release(&calls->lock);
	if (first)
		open_returns(calls);
}

bool call_return(struct calls *calls, uint64_t space, uint64_t ref)
{
	bool done = false, first;

	lock_acquire(&calls->lock);
	first = !calls->returns.asked;
	calls->returns.asked = true;
	if (!first && !calls->broken)
		done = returns_put(&calls->returns, space, ref);
	lock_release(&calls->lock);

	if (first)
		open_returns(calls);
	return done;
}
