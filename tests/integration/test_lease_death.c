/*
 * Death in the slow paths: a process that takes leases, gives memory back and shares it is
 * killed around each of its system calls, and some instructions after; the daemon's books are
 * exact each time. (tests/step has what needs no daemon, after every instruction.)
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <varbos/channel.h>

#include "base/base.h"
#include "tests/fuzz/sample.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/integration/traced.h"
#include "tests/suite.h"

enum {
	BLOCKS = 24,
	STEPS_MAX = 400, /* after a system call */
	TRIES = 3,       /* at each */
	STOPS_MAX = 2000,
	WAIT_TRIES = 2000, /* of 5 ms */
};

static const size_t sizes[] = {64, 200, 4096, 33000, 100000, 300000, 1 << 20, 700};

static struct test_daemon daemon_;
static struct peer peer;
static uint64_t seed;

/* What is killed: from the first stop on, all that goes to the daemon but opening. */
static void live(void)
{
	struct varbos_channel *channel;
	struct varbos_space *space;
	void *blocks[BLOCKS], *shared[4];
	struct varbos *vb;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (varbos_connect(&vb, daemon_.socket) || varbos_space_open(&space, vb, "s", NULL))
		_exit(1);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < BLOCKS; i++)
			if (!(blocks[i] = varbos_alloc(space, sizes[i % 8])))
				_exit(2);
		for (int i = 0; i < BLOCKS; i += 2)
			if (varbos_free(space, blocks[i]))
				_exit(3);
		varbos_trim(space);
		for (int i = 1; i < BLOCKS; i += 2)
			if (varbos_free(space, blocks[i]))
				_exit(4);
		varbos_trim(space);
	}
	if (varbos_channel_open(&channel, space, "c",
				VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, NULL))
		_exit(5);
	for (int i = 0; i < 4; i++)
		if (!(shared[i] = varbos_alloc_shared(space, sizes[i])))
			_exit(6);
	if (varbos_channel_send(channel, shared[0], 0) ||
	    varbos_channel_send(channel, shared[1], 0) ||
	    varbos_channel_receive(channel, 0) != shared[0] || varbos_free(space, shared[0]) ||
	    varbos_free(space, shared[2]))
		_exit(7);
	varbos_trim(space);
	varbos_channel_close(channel);
	varbos_disconnect(vb);
	_exit(0);
}

static void wait_unused(unsigned stop, unsigned steps)
{
	uint64_t used = peer_status(&peer).used;

	for (int i = 0; used && i < WAIT_TRIES; i++) {
		usleep(5000);
		used = peer_status(&peer).used;
	}
	ck_assert_msg(!used,
		      "killed %u instructions after stop %u: %" PRIu64 " bytes stay in use",
		      steps, stop, used);
}

/* Killed so many instructions after that stop. False: it has not come so far. */
static bool kill_at(unsigned stop, unsigned steps)
{
	bool lives = true;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		live();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSTOPPED(status), "it did not begin: 0x%x", (unsigned)status);
	for (unsigned i = 0; i < stop && lives; i++)
		lives = traced_go_on(pid, PTRACE_SYSCALL);
	for (unsigned i = 0; i < steps && lives; i++)
		lives = traced_go_on(pid, PTRACE_SINGLESTEP);
	if (lives) {
		kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
	}
	wait_unused(stop, steps);
	return lives;
}

START_TEST(whoever_dies_around_a_system_call_leaves_nothing_in_use)
{
	unsigned points = 0, stop;
	bool lives = true;

	test_daemon_start(&daemon_, "64M", NULL);
	peer_open(&peer, daemon_.socket);
	peer_create_space(&peer, "s", 32 << 20);
	for (stop = 0; lives && stop < STOPS_MAX; stop++) {
		lives = kill_at(stop, 0);
		for (unsigned i = 1; lives && i < TRIES; i++) {
			kill_at(stop, (unsigned)(sample_random(&seed) % STEPS_MAX));
			points++;
		}
		points += lives;
	}
	ck_assert_msg(!lives, "it does not end");
	ck_assert_uint_gt(stop, 20);
	printf("killed at %u points around %u stops\n", points, stop);
	peer_close(&peer);
	test_daemon_stop(&daemon_);
}
END_TEST

int main(void)
{
	const char *text = getenv("VARBOS_SEED");
	Suite *suite = suite_create("lease_death");
	TCase *tests = tcase_create("lease_death");

	seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	setenv("VARBOS_QUIET", "1", 1);
	tcase_set_timeout(tests, 280);
	tcase_add_test(tests, whoever_dies_around_a_system_call_leaves_nothing_in_use);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
