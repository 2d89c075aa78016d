/*
 * Who is at the other end of a socket, by every means that a kernel may have.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/base.h"
#include "daemon/sys/peer.h"

enum { NOBODY = 65534 };

static const unsigned means[] = {PEER_BY_ALL, PEER_BY_SOCKET, PEER_BY_PIDFS, 0};

/* A process that connects, as `uid` if that is not 0, and lives until its pipe is closed. */
struct other {
	pid_t pid;
	int leash;  /* closing it ends the process */
	int socket; /* our end of its connection */
};

static struct other other_new(uid_t uid, uid_t uid_after)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct other other;
	int listener, leash[2], client;
	socklen_t size = sizeof(address);
	char byte;

	/* An abstract name that the kernel picks. */
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(listener, 0);
	ck_assert_int_eq(bind(listener, (void *)&address, sizeof(sa_family_t)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (void *)&address, &size), 0);
	ck_assert_int_eq(pipe(leash), 0);

	other.pid = fork();
	ck_assert_int_ge(other.pid, 0);
	if (other.pid == 0) {
		close(leash[1]);
		client = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		if ((uid && setresuid(uid, uid, 0) < 0) ||
		    connect(client, (void *)&address, size) < 0)
			_exit(1);
		/* As root, so that it may go on to be anyone: the connection keeps its name. */
		if (uid && setresuid(0, 0, 0) < 0)
			_exit(1);
		if ((uid || uid_after) && setresuid(uid_after, uid_after, uid_after) < 0)
			_exit(1);
		if (write(client, "r", 1) != 1)
			_exit(1);
		_exit((int)read(leash[0], &byte, 1));
	}
	close(leash[0]);
	other.leash = leash[1];
	other.socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(other.socket, 0);
	ck_assert_int_eq(read(other.socket, &byte, 1), 1);
	close(listener);
	return other;
}

static void other_end(struct other *other)
{
	int status;

	close(other->leash);
	ck_assert_int_eq(waitpid(other->pid, &status, 0), other->pid);
	ck_assert_int_eq(status, 0);
}

static bool readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	return poll(&poller, 1, 0) == 1;
}

START_TEST(the_peer_is_the_process_that_connected)
{
	struct other other = other_new(0, 0);
	struct peer peer;

	ck_assert_int_eq(peer_read(other.socket, means[_i], &peer), 0);
	ck_assert_uint_eq(peer.pid, (uint32_t)other.pid);
	ck_assert_uint_eq(peer.uid, geteuid());
	ck_assert_uint_eq(peer.gid, getegid());
	ck_assert_uint_ne(peer.birth, 0);
	ck_assert(!readable(peer.pidfd));
	other_end(&other);
	ck_assert(readable(peer.pidfd));
	close(peer.pidfd);
	close(other.socket);
}
END_TEST

START_TEST(the_birth_is_the_same_at_every_look_and_another_for_another)
{
	struct other a = other_new(0, 0), b;
	struct peer first, again, second;

	/* Start times tick in hundredths of a second. */
	usleep(30000);
	b = other_new(0, 0);
	ck_assert_int_eq(peer_read(a.socket, means[_i], &first), 0);
	ck_assert_int_eq(peer_read(a.socket, means[_i], &again), 0);
	ck_assert_int_eq(peer_read(b.socket, means[_i], &second), 0);
	ck_assert_uint_eq(first.birth, again.birth);
	ck_assert_uint_ne(first.birth, second.birth);
	close(first.pidfd);
	close(again.pidfd);
	close(second.pidfd);
	other_end(&b); /* first: it holds a copy of the other's leash */
	other_end(&a);
	close(a.socket);
	close(b.socket);
}
END_TEST

START_TEST(a_peer_that_has_ended_is_no_process_or_a_finished_one)
{
	struct other other = other_new(0, 0);
	struct peer peer;
	int r;

	other_end(&other);
	r = peer_read(other.socket, means[_i], &peer);
	ck_assert(r == -ESRCH || (r == 0 && readable(peer.pidfd)));
	if (!(means[_i] & PEER_BY_SOCKET))
		ck_assert_int_eq(r, -ESRCH);
	if (!r)
		close(peer.pidfd);
	close(other.socket);
}
END_TEST

START_TEST(a_pid_that_runs_as_another_user_by_now_is_refused)
{
	struct other other;
	struct peer peer;

	if (geteuid()) {
		fprintf(stderr, "SKIPPED: a peer that changes its user: needs root\n");
		return;
	}
	other = other_new(NOBODY, 1000);
	ck_assert_int_eq(peer_read(other.socket, 0, &peer), -EPERM);
	other_end(&other);
	close(other.socket);

	other = other_new(NOBODY, NOBODY);
	ck_assert_int_eq(peer_read(other.socket, 0, &peer), 0);
	ck_assert_uint_eq(peer.uid, NOBODY);
	close(peer.pidfd);
	other_end(&other);
	close(other.socket);
}
END_TEST

START_TEST(what_is_no_connected_socket_is_an_error)
{
	int pipes[2], loose = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct peer peer;

	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(peer_read(pipes[0], means[_i], &peer), -ENOTSOCK);
	ck_assert_int_lt(peer_read(loose, means[_i], &peer), 0);
	ck_assert_int_eq(peer_read(-1, means[_i], &peer), -EBADF);
	close(loose);
	close(pipes[0]);
	close(pipes[1]);
}
END_TEST

START_TEST(a_process_is_found_by_its_pid_and_birth_alone)
{
	struct other other = other_new(0, 0);
	_cleanup_(closep) int found = -1;
	unsigned how = means[_i] & PEER_BY_PIDFS;
	struct peer peer;

	ck_assert_int_eq(peer_read(other.socket, means[_i], &peer), 0);
	ck_assert_int_eq(peer_find(peer.pid, peer.birth, how, &found), 0);
	ck_assert(!readable(found));
	closep(&found);
	found = -1;
	ck_assert_int_eq(peer_find(peer.pid, peer.birth + 1, how, &found), -ESRCH);
	ck_assert_int_eq(peer_find(0, peer.birth, how, &found), -ESRCH);
	ck_assert_int_eq(peer_find(UINT32_MAX, peer.birth, how, &found), -ESRCH);
	other_end(&other);
	ck_assert_int_eq(peer_find(peer.pid, peer.birth, how, &found), -ESRCH);
	close(peer.pidfd);
	close(other.socket);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sys_peer");
	TCase *tc = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed, n = (int)ARRAY_SIZE(means);

	suite_add_tcase(suite, tc);
	tcase_add_loop_test(tc, the_peer_is_the_process_that_connected, 0, n);
	tcase_add_loop_test(tc, the_birth_is_the_same_at_every_look_and_another_for_another, 0,
			    n);
	tcase_add_loop_test(tc, a_peer_that_has_ended_is_no_process_or_a_finished_one, 0, n);
	tcase_add_loop_test(tc, a_process_is_found_by_its_pid_and_birth_alone, 0, n);
	tcase_add_test(tc, a_pid_that_runs_as_another_user_by_now_is_refused);
	tcase_add_loop_test(tc, what_is_no_connected_socket_is_an_error, 0, n);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
