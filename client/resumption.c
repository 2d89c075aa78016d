#include "client/resumption.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/base.h"
#include "client/error.h"
#include "client/lock.h"
#include "client/private.h"
#include "client/receive.h"
#include "proto/layout.h"

#define NS_PER_MS 1000000u

enum { HELLO_MAX = 256, ANSWER_MAX = WIRE_MESSAGE_MAX };

/* ---- what is said first ---- */

/* FNV-1a over what the kernel gives each program at its start. */
static uint64_t image_hash(void)
{
	const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
	uint64_t hash = 0xcbf29ce484222325;

	for (int i = 0; random && i < 16; i++)
		hash = (hash ^ random[i]) * 0x100000001b3;
	return hash;
}

void resumption_hello(struct wire_hello *ret, uint32_t session, uint64_t serial)
{
	*ret = (struct wire_hello){
		.protocol = WIRE_PROTOCOL,
		.layout_min = 1,
		.layout_max = LAYOUT_VERSION,
		.name = wire_str(program_invocation_short_name),
		.image = image_hash(),
		.resume = session,
		.serial = serial,
	};
	ret->name.size = (uint32_t)u64_min(ret->name.size, 31);
	if (!wire_str_is_clean(ret->name))
		ret->name = (struct wire_str){};
}

/* ---- when ---- */

static uint64_t draw(struct resumption *resumption, uint64_t below)
{
	resumption->random = resumption->random * 6364136223846793005 + 1442695040888963407;
	return below ? (resumption->random >> 32) % below : 0;
}

/* The next try, at the longest after the pause. */
static void plan(struct resumption *resumption, uint64_t least_ns)
{
	uint64_t most_ns = (uint64_t)resumption->pause_ms * NS_PER_MS;

	if (mutant(resumption_at_once))
		least_ns = most_ns;
	resumption->next_ns = clock_ns() + least_ns + draw(resumption, most_ns - least_ns + 1);
}

static uint32_t longer(uint32_t pause_ms)
{
	return (uint32_t)u64_min(pause_ms * 2, RESUMPTION_PAUSE_MAX_MS);
}

void resumption_init(struct resumption *resumption)
{
	*resumption = (struct resumption){.attempt.fd = -1};
}

void resumption_open(struct resumption *resumption, uint32_t session, uint64_t serial,
		     uint32_t layout, const struct socket_policy *policy)
{
	/* What the kernel has not given yet, or refuses: nothing secret is made of it. */
	if (getrandom(&resumption->random, sizeof(resumption->random), GRND_NONBLOCK) !=
	    sizeof(resumption->random))
		resumption->random = clock_ns() ^ (uint64_t)getpid() << 40;
	resumption->session = session;
	resumption->serial = serial;
	resumption->layout = layout;
	resumption->policy = *policy;
}

void resumption_forget(struct resumption *resumption)
{
	socket_close(&resumption->attempt);
	resumption_init(resumption);
}

void resumption_begin(struct resumption *resumption)
{
	bool lasted =
		!resumption->resumed_ns || clock_ns() - resumption->resumed_ns >=
						   (uint64_t)RESUMPTION_LASTS_MS * NS_PER_MS;

	resumption->pause_ms = lasted ? RESUMPTION_PAUSE_MS : longer(resumption->pause_ms);
	plan(resumption, 0);
	resumption->why = (struct varbos_error){};
}

/* The try has come to nothing: `why` says how. */
static int later(struct resumption *resumption)
{
	socket_close(&resumption->attempt);
	plan(resumption, (uint64_t)resumption->pause_ms * NS_PER_MS / 2);
	resumption->pause_ms = longer(resumption->pause_ms);
	return RESUMPTION_LATER;
}

/* ---- why not ---- */

static void say(struct resumption *resumption, enum varbos_code code, int error,
		const char *which, const char *text)
{
	resumption->why = (struct varbos_error){.code = code, .system_errno = error};
	snprintf(resumption->why.which, sizeof(resumption->why.which), "%s", which);
	snprintf(resumption->why.message, sizeof(resumption->why.message), "%s", text);
}

static int lost(struct resumption *resumption, const char *text)
{
	say(resumption, VARBOS_E_UNAVAILABLE, 0, "session", text);
	socket_close(&resumption->attempt);
	return RESUMPTION_LOST;
}

static int end(struct resumption *resumption, enum varbos_code code, const char *text)
{
	say(resumption, code, 0, "welcome", text);
	socket_close(&resumption->attempt);
	return RESUMPTION_END;
}

static void note_nobody(struct resumption *resumption, int error)
{
	const char *text = strerrordesc_np(error);
	char line[128];

	snprintf(line, sizeof(line), "nobody answers there: %s", text ? text : "unknown error");
	say(resumption, VARBOS_E_UNAVAILABLE, error, "socket", line);
}

/* What socket_try() has noted of the calling thread's stays the thread's own. */
static void note_refused(struct resumption *resumption, const struct varbos_error *before)
{
	struct varbos_error *why = &resumption->why;
	size_t skipped = strlen(error_entered()) + strlen(": ");

	*why = *varbos_error();
	memmove(why->message, why->message + skipped, strlen(why->message + skipped) + 1);
	error_restore(before);
}

/* ---- a try ---- */

static int knock(struct resumption *resumption, const char *path, uint64_t hello)
{
	const struct varbos_error before = *varbos_error();
	struct wire_hello words;
	char bytes[HELLO_MAX];
	int r, size;

	r = socket_try(&resumption->attempt, path, &resumption->policy);
	if (r > 0)
		note_refused(resumption, &before);
	if (r < 0)
		note_nobody(resumption, -r);
	if (r)
		return r;
	resumption->hello = hello;
	resumption->until_ns = clock_ns() + (uint64_t)resumption->policy.timeout_ms * NS_PER_MS;
	resumption_hello(&words, resumption->session, resumption->serial);
	size = wire_encode_request(bytes, sizeof(bytes), hello, WIRE_HELLO, &words);
	if (size > 0 && send(resumption->attempt.fd, bytes, (size_t)size,
			     MSG_NOSIGNAL | MSG_DONTWAIT) == size)
		return 0;
	note_nobody(resumption, EPIPE); /* it has gone again */
	return -EPIPE;
}

static enum wire_method method_of(void *userdata, uint64_t id)
{
	const struct resumption *resumption = userdata;

	/* 0: it takes no request; a fault is read alike for all. */
	return !id || id == resumption->hello ? WIRE_HELLO : WIRE_METHODS_N;
}

static int check_welcome(struct resumption *resumption, const struct wire_welcome *welcome)
{
	/* One that knows of no resumption has opened another session: that ends with the process. */
	if (!welcome->resumed && !mutant(resumption_unchecked))
		return lost(resumption,
			    "the daemon is another than the one that had this session: what "
			    "is mapped can still be read, and no more");
	if (welcome->session != resumption->session || !welcome->inflight ||
	    welcome->protocol != WIRE_PROTOCOL || welcome->layout != resumption->layout)
		return end(resumption, VARBOS_E_PROTOCOL,
			   "the daemon goes on with a session that is not this one; the "
			   "connection is closed");
	return 0;
}

static int check_fault(struct resumption *resumption, const struct wire_fault *fault)
{
	bool gone = fault->code == VARBOS_E_NOT_FOUND && wire_str_is(fault->which, "session");

	/* As one does that has never heard of it. */
	if (gone || wire_str_is(fault->which, "resume"))
		return lost(resumption,
			    "the daemon that kept this session is gone: what is mapped can "
			    "still be read, and no more");
	error_of_fault(&resumption->why, fault);
	if (!wire_error_name(fault->code))
		resumption->why.code = VARBOS_E_PROTOCOL;
	return later(resumption);
}

/* A datagram has come, or the connection's end. */
static int hear(struct resumption *resumption, uint64_t *ret_inflight)
{
	_cleanup_(wire_message_deinit) struct wire_message message = {};
	_cleanup_(freep) char *buffer = malloc(ANSWER_MAX);
	struct receive in = {.buffer = buffer};
	struct wire_trouble trouble;
	struct receive_end why;
	unsigned n_fds;
	int r;

	if (!buffer)
		return later(resumption);
	r = receive(&in, resumption->attempt.fd, MSG_DONTWAIT, &why);
	if (r == RECEIVE_NOTHING)
		return RESUMPTION_LATER;
	if (r == RECEIVE_END && why.code == VARBOS_E_PROTOCOL)
		return end(resumption, VARBOS_E_PROTOCOL, why.why);
	if (r == RECEIVE_END) {
		say(resumption, (enum varbos_code)why.code, why.system_errno, "socket",
		    why.why);
		return later(resumption);
	}
	n_fds = in.n_fds;
	receive_drop(&in);
	r = wire_decode_answer(&message, in.buffer, in.size, method_of, resumption, &trouble);
	if (r == -ENOMEM) /* it is asked again */
		return later(resumption);
	if (r || n_fds || in.fds_lost)
		return end(resumption, VARBOS_E_PROTOCOL,
			   "the daemon answered what was not asked; the connection is closed");
	if (message.failed)
		return check_fault(resumption, &message.fault);
	*ret_inflight = message.body.welcome.inflight;
	return check_welcome(resumption, &message.body.welcome);
}

static void doze(uint64_t until_ns)
{
	_Atomic uint32_t word = 0;

	futex_wait(&word, 0, until_ns);
}

static bool await_answer(const struct resumption *resumption, uint64_t until_ns)
{
	struct pollfd poll_fd = {.fd = resumption->attempt.fd, .events = POLLIN};
	uint64_t now = clock_ns(), left = until_ns > now ? until_ns - now : 0;
	const struct timespec timeout = {.tv_sec = (time_t)(left / 1000000000),
					 .tv_nsec = (long)(left % 1000000000)};

	return ppoll(&poll_fd, 1, &timeout, NULL) > 0;
}

/* One step; RESUMPTION_LATER: nothing can be done before next_ns, or until it is answered. */
static int step(struct resumption *resumption, const char *path, uint64_t hello,
		uint64_t until_ns, uint64_t *ret_inflight)
{
	if (resumption->attempt.fd < 0) {
		if (clock_ns() < resumption->next_ns && clock_ns() < until_ns)
			doze(u64_min(resumption->next_ns, until_ns));
		if (clock_ns() < resumption->next_ns)
			return RESUMPTION_LATER;
		if (knock(resumption, path, hello)) {
			if (resumption->daemon && private_daemon_ended(resumption->daemon))
				return lost(resumption,
					    "the private daemon has ended: what is mapped can "
					    "still be read, and no more");
			return later(resumption);
		}
	}
	if (await_answer(resumption, u64_min(until_ns, resumption->until_ns)))
		return hear(resumption, ret_inflight);
	if (clock_ns() < resumption->until_ns)
		return RESUMPTION_LATER;
	say(resumption, VARBOS_E_UNAVAILABLE, ETIMEDOUT, "socket", "it does not answer");
	return later(resumption);
}

int resumption_try(struct resumption *resumption, const char *path, uint64_t hello,
		   uint64_t until_ns, struct socket *ret, uint64_t *ret_inflight)
{
	int r;

	do
		r = step(resumption, path, hello, until_ns, ret_inflight);
	while (r == RESUMPTION_LATER && clock_ns() < until_ns);
	if (!r) {
		*ret = resumption->attempt;
		resumption->attempt.fd = -1;
		resumption->resumed_ns = clock_ns();
	}
	return r;
}
