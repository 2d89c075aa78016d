/*
 * What one client can do with connections, descriptors and sessions hurts itself alone.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum { DESCRIPTORS = 64 };

static struct test_daemon daemon_;
static struct peer victim;

static void set_up(void)
{
	test_daemon_start(&daemon_, "32M", "--limits.hello=60s", NULL);
	peer_open(&victim, daemon_.socket);
	peer_create_space(&victim, "a", 16 * MIB);
}

/* A daemon that can have few descriptors; this process keeps its own limit. */
static void set_up_short(void)
{
	struct rlimit before, few = {DESCRIPTORS, DESCRIPTORS};

	ck_assert(!getrlimit(RLIMIT_NOFILE, &before));
	few.rlim_max = before.rlim_max;
	ck_assert(!setrlimit(RLIMIT_NOFILE, &few));
	few.rlim_max = DESCRIPTORS;
	set_up();
	ck_assert(!prlimit(daemon_.pid, RLIMIT_NOFILE, &few, NULL));
	ck_assert(!setrlimit(RLIMIT_NOFILE, &before));
}

static void tear_down(void)
{
	peer_status(&victim); /* it serves on */
	peer_close(&victim);
	test_daemon_stop(&daemon_);
}

START_TEST(a_process_cannot_have_all_sessions)
{
	struct peer peer;
	int n = 1; /* the victim's, which is this process's, too */

	for (;; n++) {
		peer_connect(&peer, daemon_.socket);
		if (!peer_call(&peer, WIRE_HELLO,
			       &(struct wire_hello){
				       .protocol = 1, .layout_min = 1, .layout_max = 1}))
			break;
		peer_close(&peer); /* the session stays as long as the process */
		ck_assert_int_lt(n, 1000);
	}
	ck_assert_uint_eq(peer.answer.fault.code, FAULT_LIMIT);
	ck_assert_uint_eq(peer.answer.fault.max, (unsigned)n);
	peer_close(&peer);
}
END_TEST

static void send_many(struct peer *peer, enum wire_method method, const void *params, int n)
{
	char buf[256];

	for (int i = 0; i < n; i++) {
		int size = wire_encode_request(buf, sizeof(buf), (uint64_t)i + 100, method,
					       params);

		if (send(peer->fd, buf, (size_t)size, MSG_NOSIGNAL) < 0)
			return; /* dropped */
	}
}

START_TEST(answers_that_are_not_read_hold_few_descriptors)
{
	struct peer deaf, late;
	uint64_t space;

	peer_open(&deaf, daemon_.socket);
	space = peer_open_space(&deaf, "a");
	ck_assert(peer_call(&deaf, WIRE_EXTENT_ALLOC,
			    &(struct wire_extent_alloc){.space = space, .size = MIB}));
	send_many(&deaf, WIRE_WINDOW_OPEN, &(struct wire_window_open){.space = space}, 3000);
	peer_open(&late,
		  daemon_.socket); /* there is a descriptor left for it, and for its files */
	peer_open_space(&late, "a");
	peer_close(&late);
	peer_close(&deaf);
}
END_TEST

START_TEST(a_space_whose_descriptors_cannot_be_had_is_not_open)
{
	static struct peer hoard[DESCRIPTORS];
	static struct peer peer;
	uint64_t opened;
	int n;

	peer_open(&peer, daemon_.socket);
	/* Connections that say nothing take what is left of the descriptors: the last is told so. */
	for (n = 0; n < DESCRIPTORS; n++)
		peer_connect(&hoard[n], daemon_.socket);
	ck_assert(peer_receive(&hoard[n - 1]));
	ck_assert_uint_eq(hoard[n - 1].answer.fault.code, FAULT_LIMIT);

	/* The allocation is there before the refusal is: it must find nothing open. */
	peer_send(&peer, WIRE_SPACE_OPEN, &(struct wire_space_open){.name = wire_str("a")});
	opened = peer.id;
	peer_send(&peer, WIRE_EXTENT_ALLOC,
		  &(struct wire_extent_alloc){.space = 1, .size = 4 * MIB});
	for (int i = 0; i < 2; i++) {
		peer.id = opened + (uint64_t)i;
		peer.method = i ? WIRE_EXTENT_ALLOC : WIRE_SPACE_OPEN;
		ck_assert(peer_receive(&peer));
		ck_assert(peer.answer.failed);
		ck_assert_uint_eq(peer.answer.fault.code, i ? FAULT_NOT_FOUND : FAULT_SYSTEM);
	}
	ck_assert_uint_eq(peer_status(&peer).used, 0);

	for (int i = 0; i < n; i++)
		peer_close(&hoard[i]);
	while (!peer_call(&peer, WIRE_SPACE_OPEN,
			  &(struct wire_space_open){.name = wire_str("a")}))
		ck_assert_uint_eq(peer.answer.fault.code,
				  FAULT_SYSTEM); /* they close by and by */
	peer_close(&peer);
}
END_TEST

START_TEST(no_descriptor_comes_in_before_a_connection_is_accepted)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char said = 'x';
	struct iovec piece = {&said, 1};
	struct msghdr header = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&header);
	int fd, pipe_fds[2];
	char byte;

	ck_assert(!pipe(pipe_fds));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &pipe_fds[1], sizeof(int));

	kill(daemon_.pid, SIGSTOP); /* so that it cannot accept yet */
	strcpy(address.sun_path, daemon_.socket);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert(!connect(fd, (struct sockaddr *)&address, sizeof(address)));
	if (sendmsg(fd, &header, MSG_NOSIGNAL) < 0)
		ck_assert_int_eq(errno, EPERM); /* Linux 6.16 */
	kill(daemon_.pid, SIGCONT);
	close(pipe_fds[1]);
	ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 0); /* closed, wherever it went */
	close(pipe_fds[0]);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("abuse");
	TCase *plenty = tcase_create("plenty"), *few = tcase_create("short");

	tcase_set_timeout(plenty, 45);
	tcase_add_checked_fixture(plenty, set_up, tear_down);
	tcase_add_test(plenty, a_process_cannot_have_all_sessions);
	tcase_add_test(plenty, no_descriptor_comes_in_before_a_connection_is_accepted);
	suite_add_tcase(s, plenty);
	tcase_set_timeout(few, 45);
	tcase_add_checked_fixture(few, set_up_short, tear_down);
	tcase_add_test(few, answers_that_are_not_read_hold_few_descriptors);
	tcase_add_test(few, a_space_whose_descriptors_cannot_be_had_is_not_open);
	suite_add_tcase(s, few);
	return suite_run(s);
}
