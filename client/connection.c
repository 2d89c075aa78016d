#include "client/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/error.h"
#include "client/space.h"
#include "proto/layout.h"

enum {
	SESSION_MAX = (1 << 20) - 1, /* what a slice word holds */
	MESSAGE_MIN = 2048,          /* what our requests may take */
	HELLOS_MAX = 4,
};

static void connection_free(struct varbos *vb)
{
	lanes_close(&vb->lanes,
		    atomic_load_explicit(&vb->stamp, memory_order_relaxed) == fork_count());
	private_daemon_free(vb->daemon, vb->calls.broken || vb->calls.away);
	calls_deinit(&vb->calls);
	free(vb);
}

static void connection_freep(struct varbos **vb)
{
	if (*vb)
		connection_free(*vb);
}

static int check_welcome(struct varbos *vb, const struct wire_welcome *welcome)
{
	bool other = !welcome->protocol || welcome->protocol > WIRE_PROTOCOL;

	if (other || !welcome->layout || welcome->layout > LAYOUT_VERSION)
		return error_set_numbers(
			other ? &(struct varbos_error){.code = VARBOS_E_VERSION,
						       .requested = WIRE_PROTOCOL,
						       .max = welcome->protocol,
						       .which = "protocol"}
			      : &(struct varbos_error){.code = VARBOS_E_VERSION,
						       .requested = LAYOUT_VERSION,
						       .max = welcome->layout,
						       .which = "layout"},
			"the daemon wants protocol %llu and layout %llu, this library speaks "
			"%d "
			"and %d",
			(unsigned long long)welcome->protocol,
			(unsigned long long)welcome->layout, WIRE_PROTOCOL, LAYOUT_VERSION);
	if (!welcome->session || welcome->session > SESSION_MAX || !welcome->inflight ||
	    welcome->message_max < MESSAGE_MIN)
		return error_set(VARBOS_E_PROTOCOL, "welcome",
				 "the daemon's welcome makes no sense: session %llu, %llu "
				 "requests in flight, messages of %llu bytes",
				 (unsigned long long)welcome->session,
				 (unsigned long long)welcome->inflight,
				 (unsigned long long)welcome->message_max);

	vb->session = (uint32_t)welcome->session;
	vb->layout = (uint32_t)welcome->layout;
	calls_open(&vb->calls, vb->session, welcome->serial, vb->layout, welcome->inflight,
		   &vb->policy);
	return 0;
}

static int say_hello(struct varbos *vb)
{
	_cleanup_(call_endp) struct call *call = NULL;
	struct wire_hello hello;
	int r;

	resumption_hello(&hello, 0, 0);
	r = call_begin(&call, &vb->calls, WIRE_HELLO, &hello, 0);
	if (r)
		return r;
	return check_welcome(vb, &call->message.body.welcome);
}

/* A session for this process; what vb->calls knew before is forgotten. */
static int connect_once(struct varbos *vb, const char *path)
{
	struct socket socket;
	int r;

	r = socket_open(&socket, path, &vb->policy);
	if (r)
		return r;
	calls_start(&vb->calls, &socket, &vb->policy);
	atomic_store_explicit(&vb->parked, 0, memory_order_relaxed);
	r = say_hello(vb);
	if (r)
		socket_close(&vb->calls.socket);
	else
		vb->calls.resumption.daemon = vb->daemon;
	return r;
}

/* A daemon that dies over our hello is followed by one that has the same queue. */
static int connect_session(struct varbos *vb, const char *path)
{
	int r = VARBOS_E_UNAVAILABLE;
	bool taken = true;

	for (int i = 0; i < HELLOS_MAX && r == VARBOS_E_UNAVAILABLE && taken; i++) {
		vb->calls.broken = false;
		r = connect_once(vb, path);
		taken = vb->calls.broken && !mutant(hello_once);
	}
	return r;
}

/* The same where there has been a daemon before: it may be about to come back. */
static int connect_again(struct varbos *vb, const char *path)
{
	uint64_t end_ns = clock_ns() + (uint64_t)vb->policy.reconnect_ms * 1000000;
	uint64_t pause_ns = (uint64_t)RESUMPTION_PAUSE_MS * 1000000;
	_Atomic uint32_t word = 0;
	uint64_t now;
	int r;

	for (;;) {
		r = connect_session(vb, path);
		now = clock_ns();
		if (r != VARBOS_E_UNAVAILABLE || now >= end_ns ||
		    (vb->daemon && private_daemon_ended(vb->daemon)))
			return r;
		futex_wait(&word, 0, u64_min(end_ns, now + pause_ns));
		pause_ns = u64_min(pause_ns * 2, (uint64_t)RESUMPTION_PAUSE_MAX_MS * 1000000);
	}
}

int connection_open(struct varbos **ret, const char *path, const struct socket_policy *policy)
{
	_cleanup_(connection_freep) struct varbos *vb = NULL;
	int r;

	r = fork_watch();
	if (r)
		return error_system(r, "watching for forks");
	vb = calloc(1, sizeof(*vb));
	if (!vb)
		return error_system(ENOMEM, "a connection");
	vb->calls.socket.fd = -1;
	vb->policy = *policy;
	r = calls_init(&vb->calls);
	if (!r)
		r = connect_session(vb, path);
	if (r)
		return r;
	atomic_store_explicit(&vb->stamp, fork_count(), memory_order_release);

	*ret = TAKE_PTR(vb);
	return 0;
}

int connection_revive(struct varbos *vb)
{
	_cleanup_(lock_releasep) struct lock *gate = &vb->gate;
	char path[SOCKET_PATH_MAX + 1];
	int r;

	lock_acquire(gate);
	if (atomic_load_explicit(&vb->stamp, memory_order_relaxed) == fork_count())
		return 0;

	lanes_close(&vb->lanes, false);
	socket_close(&vb->calls.socket);
	memcpy(path, vb->calls.socket.path, sizeof(path));
	r = connect_again(vb, path);
	if (r)
		return r;
	atomic_store_explicit(&vb->stamp, fork_count(), memory_order_release);
	return 0;
}

_public_ int varbos_connect(struct varbos **ret, const char *path)
{
	struct socket_policy policy;

	error_enter("varbos_connect");
	if (!ret)
		return error_null("ret");
	socket_policy_default(&policy);
	return connection_open(ret, path, &policy);
}

_public_ void varbos_disconnect(struct varbos *vb)
{
	_cleanup_(call_endp) struct call *call = NULL;

	if (!vb)
		return;
	error_enter("varbos_disconnect");
	space_drop_all(vb);
	/* Waited for, so that what was this session's can be had again at once. */
	if (atomic_load_explicit(&vb->stamp, memory_order_acquire) == fork_count() &&
	    !call_begin(&call, &vb->calls, WIRE_BYE, &(struct wire_empty){}, 0))
		call_end(TAKE_PTR(call));
	connection_free(vb);
}

_public_ const char *varbos_socket(const struct varbos *vb)
{
	error_enter("varbos_socket");
	if (!vb) {
		error_null("vb");
		return NULL;
	}
	return vb->calls.socket.path;
}

_public_ int varbos_set_timeout(struct varbos *vb, uint32_t ms)
{
	_cleanup_(lock_releasep) struct lock *gate = NULL;
	int r;

	error_enter("varbos_set_timeout");
	ms = ms ? ms : SOCKET_TIMEOUT_MS;
	if (!vb) {
		socket_set_default_timeout(ms);
		return 0;
	}
	r = connection_enter(vb);
	if (r)
		return r;

	lock_acquire(&vb->gate);
	gate = &vb->gate;
	r = calls_set_timeout(&vb->calls, ms);
	if (r)
		return error_system(r, "setting a socket's timeout");
	vb->policy.timeout_ms = ms;
	return 0;
}

_public_ int varbos_set_reconnect(struct varbos *vb, uint32_t ms)
{
	int r;

	error_enter("varbos_set_reconnect");
	if (!vb) {
		socket_set_default_reconnect(ms);
		return 0;
	}
	r = connection_enter(vb);
	if (r)
		return r;
	lock_acquire(&vb->gate);
	vb->policy.reconnect_ms = ms;
	atomic_store_explicit(&vb->calls.reconnect_ms, ms, memory_order_relaxed);
	lock_release(&vb->gate);
	return 0;
}

_public_ int varbos_ping(struct varbos *vb, uint64_t *ret_ns)
{
	_cleanup_(call_endp) struct call *call = NULL;
	uint64_t before, after;
	int r;

	error_enter("varbos_ping");
	r = connection_enter(vb);
	if (r)
		return r;
	before = clock_ns();
	r = call_begin(&call, &vb->calls, WIRE_PING, &(struct wire_ping){.token = before}, 0);
	after = clock_ns();
	if (r)
		return r;
	if (call->message.body.ping.token != before)
		return error_set(VARBOS_E_PROTOCOL, "token",
				 "the daemon answered another ping than this one");
	if (ret_ns)
		*ret_ns = after - before;
	return 0;
}

_public_ uint64_t varbos_frees_refused(struct varbos *vb)
{
	error_enter("varbos_frees_refused");
	if (connection_enter(vb))
		return 0;
	calls_poll(&vb->calls);
	return atomic_load_explicit(&vb->calls.refused, memory_order_relaxed);
}
