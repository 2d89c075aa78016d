/*
 * How a daemon begins and ends, and how it sees its clients' lives.
 */
#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

static void expect_end(struct test_daemon *daemon)
{
	int status;

	ck_assert_int_eq(waitpid(daemon->pid, &status, 0), daemon->pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "wait status 0x%x",
		      (unsigned)status);
	ck_assert_int_ne(access(daemon->socket, F_OK), 0);
	daemon->pid = 0;
}

START_TEST(it_ends_cleanly_on_each_of_its_signals)
{
	static const int signals[] = {SIGTERM, SIGINT};
	struct test_daemon daemon;
	struct peer peer;

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		test_daemon_start(&daemon, "8M", NULL);
		peer_open(&peer, daemon.socket);
		kill(daemon.pid, signals[i]);
		expect_end(&daemon);
		ck_assert(!peer_receive(&peer)); /* clients see the end */
		peer_close(&peer);
		close(daemon.lifeline);
		test_daemon_stop(&daemon);
	}
}
END_TEST

START_TEST(the_end_of_the_lifeline_ends_it_whoever_is_connected)
{
	struct test_daemon daemon;
	struct peer silent, known;

	test_daemon_start(&daemon, "8M", NULL);
	peer_open(&known, daemon.socket);
	peer_connect(&silent, daemon.socket); /* and never says a word */
	peer_status(&known);
	close(daemon.lifeline);
	expect_end(&daemon);
	peer_close(&silent);
	peer_close(&known);
	test_daemon_stop(&daemon);
}
END_TEST

START_TEST(it_ends_cleanly_whatever_is_under_way)
{
	static struct peer peer;
	struct test_daemon daemon;
	uint64_t space;

	for (int i = 0; i < 40; i++) {
		test_daemon_start(&daemon, "64M", NULL);
		peer_open(&peer, daemon.socket);
		peer_create_space(&peer, "a", 32 * MIB);
		space = peer_open_space(&peer, "a");
		/* Pages, a descriptor and a ring are on their way when it is told to end. */
		peer_send(&peer, WIRE_EXTENT_ALLOC,
			  &(struct wire_extent_alloc){.space = space, .size = 28 * MIB});
		peer_send(&peer, WIRE_SPACE_CREATE,
			  &(struct wire_space_create){.name = wire_str("b"), .limit = 4 * MIB});
		peer_send(&peer, WIRE_RETURNS_OPEN, &(struct wire_empty){});
		peer_send(&peer, WIRE_WINDOW_OPEN, &(struct wire_window_open){.space = space});
		if (i % 2)
			usleep((useconds_t)i * 100);
		kill(daemon.pid, SIGTERM);
		expect_end(&daemon);
		peer_close(&peer);
		close(daemon.lifeline);
		test_daemon_stop(&daemon);
	}
}
END_TEST

START_TEST(a_program_that_calls_exec_loses_what_it_held)
{
	static struct peer peer, watcher;
	struct test_daemon daemon;
	struct wire_daemon_status status;

	test_daemon_start(&daemon, "8M", NULL);
	peer_open(&watcher, daemon.socket);
	peer_create_space(&watcher, "a", 4 * MIB);
	peer_connect(&peer, daemon.socket);
	ck_assert(peer_call(
		&peer, WIRE_HELLO,
		&(struct wire_hello){
			.protocol = 1, .layout_min = 1, .layout_max = 1, .image = 111}));
	ck_assert(peer_call(&peer, WIRE_EXTENT_ALLOC,
			    &(struct wire_extent_alloc){.space = peer_open_space(&peer, "a"),
							.size = MIB}));
	ck_assert_uint_eq(peer_status(&watcher).used, MIB);
	peer_close(&peer); /* exec closes it: sockets are close-on-exec */

	/* The same process, another program. */
	peer_connect(&peer, daemon.socket);
	ck_assert(peer_call(
		&peer, WIRE_HELLO,
		&(struct wire_hello){
			.protocol = 1, .layout_min = 1, .layout_max = 1, .image = 222}));
	for (int i = 0; i < 500; i++) {
		status = peer_status(&watcher);
		if (!status.used)
			break;
		usleep(10000);
	}
	ck_assert_uint_eq(status.used, 0);
	ck_assert_uint_eq(status.sessions, 2);
	peer_close(&peer);
	peer_close(&watcher);
	test_daemon_stop(&daemon);
}
END_TEST

START_TEST(without_a_path_it_makes_the_folder_of_the_users_socket)
{
	char folder[] = "/tmp/varbos-test-XXXXXX", path[96], wanted[64];
	struct stat st;
	struct peer peer;
	pid_t pid;
	int status;

	if (!geteuid()) {
		/* Root's is /run/varbos, which is the machine's: another user has to try. */
		ck_assert(mkdtemp(folder) && !chown(folder, 65534, 65534));
	} else {
		ck_assert(mkdtemp(folder));
	}
	snprintf(wanted, sizeof(wanted), "%s/varbos", folder);
	snprintf(path, sizeof(path), "%s/varbos.sock", wanted);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		peer_leave_check();
		if (!geteuid() && (setgid(65534) || setuid(65534)))
			_exit(126);
		setenv("XDG_RUNTIME_DIR", folder, 1);
		execl(getenv("VARBOSD"), "varbosd", "--size", "4M", "--pages", "4K", NULL);
		_exit(127);
	}
	while (access(path, F_OK) && !waitpid(pid, &status, WNOHANG))
		usleep(1000);
	ck_assert(!stat(wanted, &st));
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	peer_open(&peer, path);
	ck_assert(!peer_status(&peer).isolates);
	peer_close(&peer);
	kill(pid, SIGTERM);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert(!rmdir(wanted) && !rmdir(folder)); /* nothing is left in it */
}
END_TEST

START_TEST(who_has_a_space_open_is_named_when_it_cannot_be_removed)
{
	struct test_daemon daemon;
	struct peer peer;
	char wanted[64];

	test_daemon_start(&daemon, "8M", NULL);
	peer_open(&peer, daemon.socket);
	peer_create_space(&peer, "a", 4 * MIB);
	peer_open_space(&peer, "a");
	ck_assert(!peer_call(&peer, WIRE_SPACE_REMOVE,
			     &(struct wire_space_remove){.name = wire_str("a")}));
	snprintf(wanted, sizeof(wanted), "in use by 1 session: %d (peer)", (int)getpid());
	ck_assert_msg(wire_str_is(peer.answer.fault.message, wanted), "%.*s",
		      (int)peer.answer.fault.message.size, peer.answer.fault.message.data);
	peer_close(&peer);
	test_daemon_stop(&daemon);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("life");
	TCase *t = tcase_create("life");

	tcase_set_timeout(t, 45);
	tcase_add_test(t, it_ends_cleanly_on_each_of_its_signals);
	tcase_add_test(t, the_end_of_the_lifeline_ends_it_whoever_is_connected);
	tcase_add_test(t, it_ends_cleanly_whatever_is_under_way);
	tcase_add_test(t, a_program_that_calls_exec_loses_what_it_held);
	tcase_add_test(t, without_a_path_it_makes_the_folder_of_the_users_socket);
	tcase_add_test(t, who_has_a_space_open_is_named_when_it_cannot_be_removed);
	suite_add_tcase(s, t);
	return suite_run(s);
}
