/*
 * Chaos: processes at full speed over private blocks, shared blocks and channels; killed and
 * stopped at random, some of them forking children that keep their sockets, and short-lived ones
 * by the hundred. Each block says whose it is and what is in it, and whoever gets it looks.
 *
 * The time is divided into rounds. At the end of each everybody is killed, and an auditor looks:
 * nothing is used, no channel is left, and blocks can be had and sent as on the first day.
 *
 * $VARBOS_CHAOS is how many seconds it takes (20). More ids are given than a space has.
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/channel.h>

#include "base/base.h"
#include "tests/fuzz/sample.h"
#include "tests/integration/daemon.h"
#include "tests/integration/storm.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)

enum {
	WORKERS = 4, /* that go on until they are killed */
	GUESTS = 3,  /* at a time, that stay for a moment */
	KEPT = 48,   /* blocks that one process keeps at most, private and shared each */
	ROUND_S = 5,
	AUDIT_S = 60,
	KILL_US = 3000,
};

/* What all count. */
static struct board {
	_Atomic uint64_t operations, sent, received, refused, forked, guests;
} * board;

static struct test_daemon daemon_;

/* ---- what is in a block ---- */

/* At its start and at its end. Whoever holds the block is in `holder`, or it is under way: 0. */
struct mark {
	uint64_t size, nonce, sum;
	_Atomic uint64_t holder;
};

static uint64_t sum(uint64_t size, uint64_t nonce)
{
	return (size ^ nonce * 0x9e3779b97f4a7c15) + 77;
}

static void mark_set(void *memory, size_t size, uint64_t nonce, uint64_t self)
{
	struct mark *mark = memory;

	mark->size = size;
	mark->nonce = nonce;
	mark->sum = sum(size, nonce);
	atomic_store_explicit(&mark->holder, self, memory_order_relaxed);
	memcpy((char *)memory + size - 8, &mark->sum, 8);
}

static void mark_check(const void *memory, const char *when)
{
	const struct mark *mark = memory;
	struct mark copy = {.size = mark->size, .nonce = mark->nonce, .sum = mark->sum};
	uint64_t last = 0;

	if (copy.sum == sum(copy.size, copy.nonce) && copy.size >= 64 && copy.size <= 2 * MIB)
		memcpy(&last, (const char *)memory + copy.size - 8, 8);
	if (last != copy.sum)
		complain("%s: a block at %p holds something else: size %" PRIu64, when, memory,
			 copy.size);
}

static void mark_pass(void *memory, uint64_t from, uint64_t to, const char *when)
{
	struct mark *mark = memory;
	uint64_t was = atomic_exchange_explicit(&mark->holder, to, memory_order_relaxed);

	if (was != from)
		complain("%s: a block is %" PRIu64 "'s, not %" PRIu64 "'s", when, was, from);
}

/* ---- a process ---- */

struct self {
	struct varbos *vb;
	struct varbos_space *space;
	struct varbos_channel *channels[2];
	uint64_t seed, name;
	void *private[KEPT], *shared[KEPT];
};

static uint64_t random_to(struct self *self, uint64_t n)
{
	return sample_random(&self->seed) % n;
}

/* What may be refused in such a crowd. */
static void may_be_refused(const char *what)
{
	const struct varbos_error *error = varbos_error();

	switch ((int)error->code) {
	case VARBOS_E_MEMORY:
	case VARBOS_E_BUDGET:
	case VARBOS_E_LIMIT:
	case VARBOS_E_TIMEOUT:
	case VARBOS_E_CLOSED:
	case VARBOS_E_EXHAUSTED:
		atomic_fetch_add(&board->refused, 1);
		return;
	default:
		complain("%s: %s (%s): %s", what, varbos_code_name((int)error->code),
			 error->which, error->message);
	}
}

/* Now and then more than any class has: an extent of its own. */
static size_t some_size(struct self *self)
{
	if (!random_to(self, 64))
		return 64 + random_to(self, MIB);
	return 64 + random_to(self, random_to(self, 8) ? 1000 : 40000);
}

static void private_one(struct self *self)
{
	void **place = &self->private[random_to(self, KEPT)];
	size_t size;

	if (*place) {
		mark_check(*place, "private");
		mark_pass(*place, self->name, 0, "private");
		if (varbos_free(self->space, *place))
			complain("private free: %s", varbos_error()->message);
		*place = NULL;
		return;
	}
	size = some_size(self);
	*place = varbos_alloc(self->space, size);
	if (*place)
		mark_set(*place, size, sample_random(&self->seed), self->name);
	else
		may_be_refused("alloc");
}

static void shared_free(struct self *self, void *memory)
{
	mark_pass(memory, self->name, 0, "free");
	if (varbos_free(self->space, memory))
		complain("free: %s", varbos_error()->message);
}

static void shared_send(struct self *self, void *memory)
{
	mark_pass(memory, self->name, 0, "send");
	if (!varbos_channel_send(self->channels[random_to(self, 2)], memory,
				 (int)random_to(self, 3))) {
		atomic_fetch_add(&board->sent, 1);
		return;
	}
	may_be_refused("send");
	mark_pass(memory, 0, self->name, "back");
	shared_free(self, memory);
}

static void shared_one(struct self *self)
{
	void **place = &self->shared[random_to(self, KEPT)];
	size_t size;

	if (*place) {
		mark_check(*place, "shared");
		if (random_to(self, 4))
			shared_send(self, *place);
		else
			shared_free(self, *place);
		*place = NULL;
		return;
	}
	size = some_size(self);
	*place = varbos_alloc_shared(self->space, size);
	if (*place)
		mark_set(*place, size, sample_random(&self->seed), self->name);
	else
		may_be_refused("alloc_shared");
}

static void receive_some(struct self *self)
{
	void *got[8];
	size_t n = varbos_channel_receive_many(self->channels[random_to(self, 2)], got,
					       1 + random_to(self, 8), (int)random_to(self, 3));

	if (!n)
		may_be_refused("receive");
	for (size_t i = 0; i < n; i++) {
		mark_check(got[i], "received");
		mark_pass(got[i], 0, self->name, "received");
		if (random_to(self, 3))
			shared_free(self, got[i]);
		else
			shared_send(self, got[i]);
	}
	atomic_fetch_add(&board->received, n);
}

static void send_batch(struct self *self)
{
	void *blocks[6];
	size_t n = 0, sent = 0;

	while (n < ARRAY_SIZE(blocks) &&
	       (blocks[n] = varbos_alloc_shared(self->space, 64 + 16 * n))) {
		mark_set(blocks[n], 64 + 16 * n, sample_random(&self->seed), 0);
		n++;
	}
	if (n &&
	    varbos_channel_send_many(self->channels[random_to(self, 2)], blocks, n, 0, &sent))
		may_be_refused("send_many");
	atomic_fetch_add(&board->sent, sent);
	for (; sent < n; sent++)
		if (varbos_free(self->space, blocks[sent]))
			complain("free of a batch: %s", varbos_error()->message);
}

/* A child keeps the sockets, and what is mapped, for a while; and does nothing with them. */
static void fork_keeper(struct self *self)
{
	pid_t pid = fork();

	if (pid)
		return;
	prctl(PR_SET_PDEATHSIG, 0);
	usleep((useconds_t)random_to(self, 200000));
	_exit(0);
}

static void operate(struct self *self)
{
	switch (random_to(self, 16)) {
	case 0 ... 5:
		return private_one(self);
	case 6 ... 9:
		return shared_one(self);
	case 10 ... 13:
		return receive_some(self);
	case 14:
		return send_batch(self);
	default:
		if (!random_to(self, 64))
			varbos_trim(self->space);
		if (!random_to(self, 500)) {
			atomic_fetch_add(&board->forked, 1);
			fork_keeper(self);
		}
	}
}

static bool enter(struct self *self)
{
	static const char *const names[] = {"left", "right"};

	if (varbos_connect(&self->vb, daemon_.socket) ||
	    varbos_space_open(&self->space, self->vb, "chaos", NULL)) {
		may_be_refused("enter");
		return false;
	}
	for (unsigned i = 0; i < 2; i++)
		if (varbos_channel_open(&self->channels[i], self->space, names[i],
					VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE,
					&(struct varbos_channel_options){.capacity = 16})) {
			may_be_refused("channel_open");
			return false;
		}
	return true;
}

/* `operations`: 0 is for good. */
static void live(uint64_t own_seed, uint64_t operations)
{
	struct self self = {.seed = own_seed, .name = (uint64_t)getpid()};

	signal(SIGCHLD, SIG_IGN); /* keepers are nobody's to wait for */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!enter(&self))
		_exit(0);
	if (operations)
		atomic_fetch_add(&board->guests, 1);
	for (uint64_t i = 0; !operations || i < operations; i++) {
		operate(&self);
		atomic_fetch_add(&board->operations, 1);
	}
	/* Some say good-bye, some just go. */
	if (random_to(&self, 2))
		varbos_disconnect(self.vb);
	_exit(0);
}

/* ---- who looks after them ---- */

static pid_t child_start(uint64_t operations)
{
	uint64_t own = sample_random(&seed);
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		live(own, operations);
	return pid;
}

/* Has it ended? By itself it ends well. */
static bool child_has_ended(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) != pid)
		return false;
	ck_assert_msg(storm->failed || WIFEXITED(status) || WTERMSIG(status) == SIGKILL,
		      "a process ended by signal %d", WTERMSIG(status));
	return true;
}

static struct {
	uint64_t killed, stopped, started;
} counts;

static void mischief(pid_t *pid)
{
	switch (sample_random(&seed) % 8) {
	case 0 ... 1:
		child_kill(pid);
		counts.killed++;
		break;
	case 2 ... 3:
		kill(*pid, SIGSTOP);
		usleep((useconds_t)(sample_random(&seed) % 20000));
		kill(*pid, SIGCONT);
		counts.stopped++;
		break;
	default:
		break;
	}
}

static void round_run(uint64_t end_ms)
{
	pid_t pids[WORKERS + GUESTS] = {};

	while (now_ms() < end_ms && !storm->failed) {
		for (unsigned i = 0; i < ARRAY_SIZE(pids); i++) {
			if (pids[i] && child_has_ended(pids[i]))
				pids[i] = 0;
			if (pids[i])
				continue;
			pids[i] = child_start(i < WORKERS ? 0 : 1 + sample_random(&seed) % 200);
			counts.started++;
		}
		usleep(KILL_US);
		mischief(&pids[sample_random(&seed) % ARRAY_SIZE(pids)]);
		for (unsigned i = 0; i < ARRAY_SIZE(pids); i++)
			if (pids[i] && sample_random(&seed) % 8 == 0 && i >= WORKERS)
				mischief(&pids[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(pids); i++)
		if (pids[i])
			child_kill(&pids[i]);
}

static uint64_t used(struct varbos *vb)
{
	struct varbos_space_info *infos;
	uint64_t bytes = UINT64_MAX;
	size_t n;

	if (varbos_space_list(vb, &infos, &n))
		complain("the auditor's list: %s", varbos_error()->message);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(infos[i].name, "chaos"))
			bytes = infos[i].used;
	free(infos);
	return bytes;
}

/* In a process of its own: nothing is left, and all is as on the first day. */
static void audit(void)
{
	struct self self = {.name = (uint64_t)getpid(), .seed = 1};
	struct varbos_channel *channel;
	uint64_t end_ms = now_ms() + AUDIT_S * 1000, bytes;
	void *memory;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (varbos_connect(&self.vb, daemon_.socket) ||
	    varbos_space_open(&self.space, self.vb, "chaos",
			      &(struct varbos_space_options){.limit = 64 * MIB}))
		complain("the auditor: %s", varbos_error()->message);
	while ((bytes = used(self.vb)) && now_ms() < end_ms)
		usleep(20000);
	if (bytes)
		complain("%" PRIu64 " bytes are used, and nobody is there", bytes);
	if (varbos_channel_open(&channel, self.space, "left",
				VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE,
				&(struct varbos_channel_options){.flags = VARBOS_CHANNEL_NEW}))
		complain("a channel is left: %s", varbos_error()->message);
	for (int i = 0; i < 1000; i++) {
		memory = varbos_alloc_shared(self.space, 64 + 40 * (size_t)i);
		if (!memory || varbos_channel_send(channel, memory, 0) ||
		    varbos_channel_receive(channel, 0) != memory ||
		    varbos_free(self.space, memory))
			complain("the auditor's blocks: %s", varbos_error()->message);
	}
	varbos_disconnect(self.vb);
	_exit(0);
}

static void auditor(void)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		audit();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(!storm->failed, "%s", storm->text);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "the auditor: 0x%x", status);
}

START_TEST(nothing_is_lost_whoever_dies_or_stops_whenever)
{
	const char *text = getenv("VARBOS_CHAOS");
	uint64_t seconds = text ? strtoull(text, NULL, 0) : 20, end_ms;

	test_daemon_start(&daemon_, "128M", NULL);
	auditor();
	end_ms = now_ms() + seconds * 1000;
	/* And until ids have come back, of which there are 1023. */
	while ((now_ms() < end_ms || counts.started <= 1023) && !storm->failed) {
		uint64_t until_ms = now_ms() + ROUND_S * 1000;

		round_run(now_ms() < end_ms && until_ms > end_ms ? end_ms : until_ms);
		auditor();
	}
	printf("%" PRIu64 " processes, %" PRIu64 " of them guests; %" PRIu64 " killed, %" PRIu64
	       " stopped, %" PRIu64 " keepers; %" PRIu64 " operations, %" PRIu64
	       " blocks sent, %" PRIu64 " received, %" PRIu64 " refusals\n",
	       counts.started, board->guests, counts.killed, counts.stopped, board->forked,
	       board->operations, board->sent, board->received, board->refused);
	fflush(stdout);
	ck_assert_msg(!storm->failed, "%s", storm->text);
	ck_assert_uint_gt(board->received, 100);
	test_daemon_stop(&daemon_);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("chaos");
	TCase *tests = tcase_create("chaos");

	board = storm_begin(sizeof(*board));
	tcase_set_timeout(tests, 0);
	tcase_add_test(tests, nothing_is_lost_whoever_dies_or_stops_whenever);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
