/*
 * What a client's death leaves behind: nothing of its own, all that it shared, exact budgets.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "proto/layout.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum {
	SCRIPT_STEPS = 14,
	STORM_ROUNDS = 60,
	STORM_CLIENTS = 4,
	WAIT_TRIES = 1500, /* of 10 ms */
};

static struct test_daemon daemon_;
static struct peer watcher;

static void set_up(void)
{
	test_daemon_start(&daemon_, "64M", NULL);
	peer_open(&watcher, daemon_.socket);
	peer_create_space(&watcher, "a", 32 * MIB);
}

static void tear_down(void)
{
	peer_close(&watcher);
	test_daemon_stop(&daemon_);
}

static void wait_until(uint64_t sessions, uint64_t used)
{
	struct wire_daemon_status status = {};

	for (int i = 0; i < WAIT_TRIES; i++) {
		status = peer_status(&watcher);
		if (status.sessions == sessions && status.used == used)
			return;
		usleep(10000);
	}
	ck_abort_msg("%llu sessions, %llu bytes used instead of %llu, %llu",
		     (unsigned long long)status.sessions, (unsigned long long)status.used,
		     (unsigned long long)sessions, (unsigned long long)used);
}

static uint64_t alloc(struct peer *peer, uint64_t space, uint64_t size, bool shared)
{
	ck_assert(peer_call(
		peer, WIRE_EXTENT_ALLOC,
		&(struct wire_extent_alloc){.space = space, .size = size, .shared = shared}));
	return peer->answer.body.extent_alloced.offset;
}

static void alloc_and_free(struct peer *peer, uint64_t space)
{
	alloc(peer, space, 3 * MIB, false);
	struct wire_extent_alloced got = peer->answer.body.extent_alloced;

	peer_note(peer, WIRE_EXTENT_FREE,
		  &(struct wire_extent_free){
			  .space = space, .offset = got.offset, .tag = got.tag});
}

/* A life of a client, up to step `end`. Returns the bytes that it shared. */
static uint64_t live(struct peer *peer, int end)
{
	uint64_t space = 0, shared = 0;

	for (int step = 0; step < end; step++) {
		switch (step) {
		case 0:
			peer_connect(peer, daemon_.socket);
			break;
		case 1:
			ck_assert(peer_call(peer, WIRE_HELLO,
					    &(struct wire_hello){.protocol = 1,
								 .layout_min = 1,
								 .layout_max = 1}));
			break;
		case 2:
			space = peer_open_space(peer, "a");
			break;
		case 8:
			ck_assert(peer_receive(peer)); /* the answer to step 7 */
			__attribute__((fallthrough));
		case 3:
			alloc(peer, space, 100000, false);
			break;
		case 4:
			ck_assert(peer_call(
				peer, WIRE_WINDOW_OPEN,
				&(struct wire_window_open){.space = space, .window = 0}));
			break;
		case 5:
			alloc(peer, space, 2 * MIB, true);
			shared += 2 * MIB;
			break;
		case 6:
		case 9:
			alloc_and_free(peer, space);
			break;
		case 7: /* asked, and not waited for: a plan is under way when it dies */
			peer_send(peer, WIRE_EXTENT_ALLOC,
				  &(struct wire_extent_alloc){.space = space, .size = 8 * MIB});
			break;
		case 10:
			peer_send(peer, WIRE_SPACE_CLOSE,
				  &(struct wire_space_handle){.space = space});
			break;
		case 11:
			ck_assert(peer_receive(peer));
			break;
		case 12:
			peer_send(peer, WIRE_BYE, &(struct wire_empty){});
			break;
		case 13:
			ck_assert(peer_receive(peer));
			break;
		}
	}
	return shared;
}

START_TEST(killed_between_any_two_calls_a_client_leaves_only_what_it_shared)
{
	uint64_t before = peer_status(&watcher).used, status;
	static struct peer peer;
	int pipe_fds[2], r;
	uint64_t shared;
	pid_t pid;

	for (int end = 0; end <= SCRIPT_STEPS; end++) {
		ck_assert(!pipe(pipe_fds));
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (!pid) {
			peer_leave_check();
			shared = live(&peer, end);
			if (write(pipe_fds[1], &shared, sizeof(shared)) < 0)
				_exit(1);
			kill(getpid(), SIGKILL);
		}
		close(pipe_fds[1]);
		ck_assert_int_eq(read(pipe_fds[0], &shared, sizeof(shared)), sizeof(shared));
		close(pipe_fds[0]);
		ck_assert_int_eq(waitpid(pid, &r, 0), pid);
		ck_assert(WIFSIGNALED(r));
		before += shared;
		wait_until(1, before);

		/* Not the sum alone: the same memory can be had again, all of it. */
		status = peer_status(&watcher).used;
		ck_assert_uint_eq(status, before);
		if (before > 24 * MIB) {
			ck_assert(
				peer_call(&watcher, WIRE_SPACE_REMOVE,
					  &(struct wire_space_remove){.name = wire_str("a")}));
			peer_create_space(&watcher, "a", 32 * MIB);
			before = 0;
			wait_until(1, 0);
		}
	}
}
END_TEST

/* Until it is killed: some frees are late, some never come, some allocations are refused. */
static _Noreturn void churn(struct peer *peer, uint64_t space, unsigned seed)
{
	for (;;) {
		struct wire_extent_alloced got;

		if (!peer_call(peer, WIRE_EXTENT_ALLOC,
			       &(struct wire_extent_alloc){.space = space,
							   .size = 1 + (uint64_t)rand_r(&seed) %
									       MIB}))
			continue;
		got = peer->answer.body.extent_alloced;
		if (rand_r(&seed) % 8)
			peer_note(peer, WIRE_EXTENT_FREE,
				  &(struct wire_extent_free){.space = space,
							     .offset = got.offset,
							     .tag = got.tag});
	}
}

START_TEST(killed_at_random_moments_clients_leave_budgets_exact)
{
	const char *set = getenv("VARBOS_SEED");
	unsigned seed = set ? (unsigned)strtoul(set, NULL, 0) : (unsigned)time(NULL);
	pid_t pids[STORM_CLIENTS];
	static struct peer peer;
	struct wire_daemon_status status;
	uint64_t space;

	printf("VARBOS_SEED=%u\n", seed);
	for (int round = 0; round < STORM_ROUNDS; round++) {
		for (int i = 0; i < STORM_CLIENTS; i++) {
			pids[i] = fork();
			ck_assert_int_ge(pids[i], 0);
			if (pids[i])
				continue;
			peer_leave_check();
			peer_open(&peer, daemon_.socket);
			churn(&peer, peer_open_space(&peer, "a"), seed + (unsigned)i);
		}
		usleep((useconds_t)rand_r(&seed) % 20000);
		for (int i = 0; i < STORM_CLIENTS; i++)
			kill(pids[i], SIGKILL);
		for (int i = 0; i < STORM_CLIENTS; i++)
			ck_assert_int_eq(waitpid(pids[i], NULL, 0), pids[i]);
	}
	wait_until(1, 0);

	space = peer_open_space(&watcher, "a");
	alloc(&watcher, space, 28 * MIB, false); /* in one piece, all that a client may have */
	status = peer_status(&watcher);
	ck_assert_uint_eq(status.used, 28 * MIB);
	ck_assert_uint_le(status.committed, 32 * MIB);
}
END_TEST

START_TEST(a_child_that_holds_the_socket_does_not_keep_its_parents_memory)
{
	static struct peer peer;
	pid_t parent, child;
	int pipe_fds[2];

	ck_assert(!pipe(pipe_fds));
	parent = fork();
	ck_assert_int_ge(parent, 0);
	if (!parent) {
		peer_leave_check();
		peer_open(&peer, daemon_.socket);
		alloc(&peer, peer_open_space(&peer, "a"), 4 * MIB, false);
		child = fork();
		if (!child) {
			close(pipe_fds[1]);
			pause(); /* with its copy of the socket */
		}
		if (write(pipe_fds[1], &child, sizeof(child)) < 0)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	close(pipe_fds[1]);
	ck_assert_int_eq(read(pipe_fds[0], &child, sizeof(child)), sizeof(child));
	close(pipe_fds[0]);
	ck_assert_int_eq(waitpid(parent, NULL, 0), parent);
	wait_until(1, 0);
	ck_assert(!kill(child, 0)); /* it lives on */
	kill(child, SIGKILL);
}
END_TEST

START_TEST(a_closed_socket_alone_gives_nothing_back)
{
	static struct peer peer;
	int go[2], said[2];
	char byte = 0;
	pid_t pid;

	ck_assert(!pipe(go) && !pipe(said));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		close(go[1]);
		peer_open(&peer, daemon_.socket);
		alloc(&peer, peer_open_space(&peer, "a"), 4 * MIB, false);
		peer_close(&peer);
		if (write(said[1], &byte, 1) < 0 || read(go[0], &byte, 1) < 0)
			_exit(1);
		_exit(0);
	}
	ck_assert_int_eq(read(said[0], &byte, 1), 1);
	for (int i = 0; i < 20; i++) { /* it never goes while the process lives */
		ck_assert_uint_eq(peer_status(&watcher).used, 4 * MIB);
		usleep(10000);
	}
	ck_assert(peer_call(&watcher, WIRE_CLIENT_LIST, &(struct wire_page_after){}));
	ck_assert_uint_eq(peer_status(&watcher).sessions, 2);
	close(go[1]);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	wait_until(1, 0);
	close(go[0]);
	close(said[0]);
	close(said[1]);
}
END_TEST

START_TEST(a_forced_removal_takes_the_memory_with_the_last_session)
{
	static struct peer user;
	uint64_t space;

	peer_open(&user, daemon_.socket);
	space = peer_open_space(&user, "a");
	alloc(&user, space, 4 * MIB, true);
	ck_assert(!peer_call(&watcher, WIRE_SPACE_REMOVE,
			     &(struct wire_space_remove){.name = wire_str("a")}));
	ck_assert_uint_eq(watcher.answer.fault.code, 13);
	ck_assert_uint_eq(watcher.answer.fault.available, 1);
	ck_assert(peer_call(&watcher, WIRE_SPACE_REMOVE,
			    &(struct wire_space_remove){.name = wire_str("a"), .force = true}));
	ck_assert(!peer_call(&watcher, WIRE_SPACE_OPEN,
			     &(struct wire_space_open){.name = wire_str("a")}));
	alloc(&user, space, MIB, false); /* who has it goes on */
	ck_assert(peer_call(&user, WIRE_BYE, &(struct wire_empty){}));
	peer_close(&user);
	wait_until(1, 0);
	ck_assert_uint_eq(peer_status(&watcher).spaces, 0);
	ck_assert_uint_eq(peer_status(&watcher).committed, 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("death");
	TCase *t = tcase_create("death");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, killed_between_any_two_calls_a_client_leaves_only_what_it_shared);
	tcase_add_test(t, killed_at_random_moments_clients_leave_budgets_exact);
	tcase_add_test(t, a_child_that_holds_the_socket_does_not_keep_its_parents_memory);
	tcase_add_test(t, a_closed_socket_alone_gives_nothing_back);
	tcase_add_test(t, a_forced_removal_takes_the_memory_with_the_last_session);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
