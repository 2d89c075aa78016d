/*
 * Siege: processes of several uids that do all at once what no client should (bench/besieger.h), killed and
 * stopped at random; beside them well-behaved ones of another uid, in a space of their own, put and
 * get values, allocate, free and hand over blocks. These see not one wrong byte, and no call of theirs
 * fails. At its beats the daemon looks through all that it knows (audit.c); when the siege is
 * over it has as many descriptors as before, and hardly more memory.
 *
 * $VARBOS_HOSTILE_SECONDS is how long it takes (20).
 */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/cache.h>
#include <varbos/channel.h>

#include "base/base.h"
#include "bench/besieger.h"
#include "tests/fuzz/sample.h"
#include "tests/integration/daemon.h"
#include "tests/integration/passrights.h"
#include "tests/integration/peer.h"
#include "tests/integration/storm.h"
#include "tests/sanitized.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)

enum {
	BESIEGERS = 5,
	UID_FIRST = 20000, /* theirs, one each, but for the last two, who share theirs */
	GOOD = 12345,
	VICTIMS = 2,
	KEYS = 3000,
	KEPT = 24, /* blocks that a victim keeps at most */
	LARGEST = 20000,
	GUEST_OPS = 4000,    /* then it disconnects, and comes again */
	PATIENCE_MS = 60000, /* with the other victim, who may not run just now */
	TICK_US = 10000,
	FLAT_TRIES = 3000,
	SETTLED = 50,
	ANON_MORE = 24, /* MiB: what its allocator may keep */
	SKIPPED = 77,
};

/* What all count. */
static struct board {
	_Atomic bool over, pausing;
	_Atomic uint32_t paused;
	_Atomic uint64_t puts, hits, misses, blocks, handed, visits;
} * board;

static struct test_daemon daemon_;
static struct peer root;
static int counts_fd;
static struct siege_counts *done;

static struct {
	uint64_t lives, killed, stopped, fds_most, anon_most;
} counts;

/* ---- who is besieged ---- */

struct victim {
	struct varbos *vb;
	struct varbos_space *space;
	struct varbos_cache *cache;
	struct varbos_channel *channel;
	uint64_t seed;
	struct {
		char *at;
		size_t size;
		uint64_t nonce;
	} kept[KEPT];
};

static void must(int r, const char *what)
{
	const struct varbos_error *error = varbos_error();

	if (r)
		complain("%s: %s (%s): %s", what, varbos_code_name((int)error->code),
			 error->which, error->message);
}

static uint64_t random_to(struct victim *victim, uint64_t n)
{
	return sample_random(&victim->seed) % n;
}

static uint8_t byte_of(uint64_t nonce, size_t at)
{
	return (uint8_t)((nonce ^ at * 0x9e3779b97f4a7c15) >> 29);
}

/* At its beginning it says what follows. */
static void text(char *to, size_t size, uint64_t nonce)
{
	memcpy(to, &nonce, 8);
	memcpy(to + 8, &size, 8);
	for (size_t i = 16; i < size; i++)
		to[i] = (char)byte_of(nonce, i);
}

/* nonce 0: whichever it says. */
static void verify(const char *data, size_t size, uint64_t nonce, const char *what)
{
	uint64_t says = 0, length = 0;

	if (size >= 16) {
		memcpy(&says, data, 8);
		memcpy(&length, data + 8, 8);
	}
	if (length != size || (nonce && says != nonce))
		complain("%s of %zu bytes says that it has %" PRIu64, what, size, length);
	for (size_t i = 16; i < size; i++)
		if ((uint8_t)data[i] != byte_of(says, i))
			complain("%s of %zu bytes is wrong at %zu", what, size, i);
}

static void value_one(struct victim *victim)
{
	static char data[LARGEST];
	uint64_t key = random_to(victim, KEYS);
	struct varbos_view view;
	size_t size;
	int r;

	if (random_to(victim, 4)) {
		r = varbos_cache_get(victim->cache, &key, sizeof(key), &view);
		if (r == VARBOS_E_NOT_FOUND) {
			atomic_fetch_add(&board->misses, 1);
			return;
		}
		must(r, "get");
		verify(view.data, view.size, 0, "a value");
		varbos_view_release(&view);
		atomic_fetch_add(&board->hits, 1);
		return;
	}
	size = 16 + random_to(victim, random_to(victim, 16) ? 2000 : LARGEST - 16);
	text(data, size, sample_random(&victim->seed) | 1);
	must(varbos_cache_put(victim->cache, &key, sizeof(key), data, size, NULL), "put");
	atomic_fetch_add(&board->puts, 1);
}

static void block_one(struct victim *victim)
{
	uint64_t i = random_to(victim, KEPT);
	size_t size = 16 + random_to(victim, random_to(victim, 40) ? 3000 : 400000);

	if (victim->kept[i].at) {
		verify(victim->kept[i].at, victim->kept[i].size, victim->kept[i].nonce,
		       "a block");
		must(varbos_free(victim->space, victim->kept[i].at), "free");
		victim->kept[i].at = NULL;
		return;
	}
	victim->kept[i].at = varbos_alloc(victim->space, size);
	must(!victim->kept[i].at, "alloc");
	victim->kept[i].size = size;
	victim->kept[i].nonce = sample_random(&victim->seed) | 1;
	text(victim->kept[i].at, size, victim->kept[i].nonce);
	atomic_fetch_add(&board->blocks, 1);
}

/* One goes, one comes: so there is always room. */
static void hand_over(struct victim *victim)
{
	size_t size = 16 + random_to(victim, 1000);
	char *block = varbos_alloc_shared(victim->space, size);

	must(!block, "alloc_shared");
	text(block, size, sample_random(&victim->seed) | 1);
	must(varbos_channel_send(victim->channel, block, PATIENCE_MS), "send");
	block = varbos_channel_receive(victim->channel, PATIENCE_MS);
	must(!block, "receive");
	memcpy(&size, block + 8, 8);
	verify(block, size <= 1016 ? size : 0, 0, "what was handed over");
	must(varbos_free(victim->space, block), "free of what was handed over");
	atomic_fetch_add(&board->handed, 1);
}

static void visit(struct victim *victim)
{
	must(varbos_connect(&victim->vb, daemon_.socket), "connect");
	must(varbos_space_open(
		     &victim->space, victim->vb, "good",
		     &(struct varbos_space_options){.limit = 32 * MIB, .reserve = 32 * MIB}),
	     "space_open");
	must(varbos_cache_open(&victim->cache, victim->space, "c",
			       &(struct varbos_cache_options){.capacity = 6 * MIB}),
	     "cache_open");
	must(varbos_channel_open(&victim->channel, victim->space, "ch",
				 VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, NULL),
	     "channel_open");
	for (uint64_t i = 0; i < GUEST_OPS && !board->over && !board->pausing; i++) {
		switch (random_to(victim, 8)) {
		case 0 ... 4:
			value_one(victim);
			break;
		case 5 ... 6:
			block_one(victim);
			break;
		default:
			hand_over(victim);
		}
	}
	must(varbos_ping(victim->vb, NULL), "ping");
	for (uint64_t i = 0; i < KEPT; i++)
		if (victim->kept[i].at)
			verify(victim->kept[i].at, victim->kept[i].size, victim->kept[i].nonce,
			       "a block, at last");
	memset(victim->kept, 0, sizeof(victim->kept));
	varbos_disconnect(victim->vb);
	atomic_fetch_add(&board->visits, 1);
}

static pid_t start_as(uint32_t uid, bool alone)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	peer_leave_check();
	if (alone)
		setpgid(0, 0);
	if (setgid(uid) || setuid(uid))
		_exit(100);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return 0;
}

static pid_t victim_start(void)
{
	struct victim victim = {.seed = sample_random(&seed)};
	pid_t pid = start_as(GOOD, false);

	if (pid)
		return pid;
	while (!board->over) {
		visit(&victim);
		if (!board->pausing)
			continue;
		atomic_fetch_add(&board->paused, 1);
		while (board->pausing)
			usleep(TICK_US);
		atomic_fetch_sub(&board->paused, 1);
	}
	_exit(0);
}

/* ---- the daemon, from outside ---- */

/* Of its own: what it shares with clients is theirs, and the region's. */
static uint64_t daemon_anon(void)
{
	unsigned long long kib = 0;
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)daemon_.pid);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file) && sscanf(line, "RssAnon: %llu", &kib) != 1)
		;
	fclose(file);
	ck_assert_uint_gt(kib, 0);
	return kib << 10;
}

static void look(void)
{
	int status;

	ck_assert_msg(waitpid(daemon_.pid, &status, WNOHANG) == 0, "the daemon is gone: see %s",
		      daemon_.log);
	counts.fds_most = u64_max(counts.fds_most, test_daemon_fds(&daemon_, false));
	counts.anon_most = u64_max(counts.anon_most, daemon_anon());
}

/* What the besiegers have made goes; true: all of it has gone. */
static bool remove_spaces(void)
{
	char names[64][SPACE_NAME_MAX + 1];
	struct wire_space_remove remove = {.force = true};
	const struct wire_space_row *rows;
	uint32_t n = 0;

	ck_assert(peer_call(&root, WIRE_SPACE_LIST, &(struct wire_page_after){}));
	rows = root.answer.body.space_rows.rows.rows;
	for (uint32_t i = 0; i < root.answer.body.space_rows.rows.count; i++)
		if (!wire_str_is(rows[i].name, "good") && n < ARRAY_SIZE(names))
			wire_str_copy(names[n++], sizeof(names[0]), rows[i].name);
	for (uint32_t i = 0; i < n; i++) {
		remove.name = wire_str(names[i]);
		peer_call(&root, WIRE_SPACE_REMOVE, &remove); /* refused: it is going */
	}
	return !n;
}

/* What the daemon has differs while somebody comes or goes. */
static void pause_victims(bool yes)
{
	board->pausing = yes;
	while (board->paused != (yes ? VICTIMS : 0) && !storm->failed)
		usleep(TICK_US);
}

/* As often in a row as nobody would be lucky. */
static uint64_t fds_settled(void)
{
	uint64_t fds = test_daemon_fds(&daemon_, false), now;

	for (int same = 0; same < SETTLED; same++) {
		usleep(TICK_US);
		now = test_daemon_fds(&daemon_, false);
		same = now == fds ? same : 0;
		fds = now;
	}
	return fds;
}

static void expect_flat(uint64_t fds_before, uint64_t anon_before)
{
	uint64_t fds = 0;
	bool gone = false;

	for (int i = 0; i < FLAT_TRIES && (!gone || fds != fds_before); i++) {
		gone = remove_spaces();
		fds = test_daemon_fds(&daemon_, false);
		usleep(TICK_US);
	}
	ck_assert_msg(gone, "a space of those who have gone is left");
	if (fds != fds_before)
		test_daemon_fds(&daemon_, true);
	fflush(stdout);
	ck_assert_uint_eq(fds, fds_before);
	if (!UNDER_ASAN) /* it keeps what is freed for a while */
		ck_assert_uint_le(daemon_anon(), anon_before + ANON_MORE * MIB);
}

/* ---- who besieges ---- */

struct gang {
	pid_t pid;     /* 0: none */
	bool headless; /* the first has been killed, what it has forked goes on */
};

static int lifeline[2];

static void gang_start(struct gang *gang, uint32_t i)
{
	uint32_t uid = UID_FIRST + (uint32_t)u64_min(i, BESIEGERS - 2);
	struct siege siege = {.socket = daemon_.socket,
			      .seed = sample_random(&seed),
			      .counts = counts_fd,
			      .lifeline = lifeline[0]};
	char space[32];

	snprintf(space, sizeof(space), "siege%u", uid);
	siege.space = space;
	counts.lives++;
	*gang = (struct gang){.pid = start_as(uid, true)};
	if (gang->pid)
		return;
	/* The test's own connection is root's. */
	for (int fd = 3; fd < 1024; fd++)
		if (fd != siege.lifeline && fd != siege.counts)
			close(fd);
	besiege(&siege);
}

static void gang_kill(struct gang *gang)
{
	/* Nobody has waited for the first, so the group is theirs still. */
	kill(-gang->pid, SIGKILL);
	kill(gang->pid, SIGKILL);
	ck_assert_int_eq(waitpid(gang->pid, NULL, 0), gang->pid);
	gang->pid = 0;
	counts.killed++;
}

static void mischief(struct gang *gang, uint32_t i)
{
	siginfo_t info = {};

	if (!gang->pid) {
		gang_start(gang, i);
		return;
	}
	waitid(P_PID, (id_t)gang->pid, &info, WEXITED | WNOHANG | WNOWAIT);
	switch (sample_random(&seed) % 64) {
	case 0:
		gang_kill(gang);
		return;
	case 1:
		kill(gang->pid, SIGKILL);
		gang->headless = true;
		return;
	case 2 ... 3:
		kill(-gang->pid, SIGSTOP);
		counts.stopped++;
		return;
	case 4 ... 39:
		kill(-gang->pid, SIGCONT);
		return;
	default:
		if (gang->headless || info.si_pid)
			gang_kill(gang);
	}
}

static void besiege_for(uint64_t seconds)
{
	uint64_t end_ms = now_ms() + seconds * 1000;
	struct gang gangs[BESIEGERS] = {};

	for (uint64_t tick = 0; now_ms() < end_ms && !storm->failed; tick++) {
		uint32_t i = (uint32_t)(sample_random(&seed) % BESIEGERS);

		mischief(&gangs[i], i);
		if (tick % 16 == 0)
			look();
		usleep(TICK_US);
	}
	for (uint32_t i = 0; i < BESIEGERS; i++)
		if (gangs[i].pid)
			gang_kill(&gangs[i]);
}

/* Orphans are this process's: all there are but the victims and the daemon. */
static void reap(const pid_t *victims)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (uint32_t i = 0; i < VICTIMS; i++)
			if (pid == victims[i])
				ck_abort_msg("a victim has ended: %s", storm->text);
}

static void siege_lasts(void)
{
	const char *given = getenv("VARBOS_HOSTILE_SECONDS");
	uint64_t seconds = (given ? strtoull(given, NULL, 0) : 20) / 2, fds, anon;
	pid_t victims[VICTIMS];
	int status;

	memset(board, 0, sizeof(*board));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ck_assert(!pipe2(lifeline, O_CLOEXEC));
	counts_fd = memfd_create("siege", 0);
	ck_assert(!ftruncate(counts_fd, sizeof(*done)));
	done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED, counts_fd, 0);
	ck_assert_ptr_ne(done, MAP_FAILED);
	test_daemon_start(&daemon_, "192M", NULL);
	/* Other uids are to come in, whether there is a group for that or not. */
	ck_assert(!chmod(daemon_.folder, 0755) && !chmod(daemon_.socket, 0666));
	peer_open(&root, daemon_.socket);
	for (uint32_t i = 0; i < VICTIMS; i++)
		victims[i] = victim_start();
	while (board->visits < VICTIMS && !storm->failed)
		usleep(TICK_US);
	pause_victims(true);
	fds = fds_settled();
	anon = daemon_anon();
	pause_victims(false);

	besiege_for(seconds);
	pause_victims(true);
	ck_assert_msg(!storm->failed, "%s", storm->text);
	expect_flat(fds, anon);
	reap(victims);
	board->over = true;
	pause_victims(false);
	for (uint32_t i = 0; i < VICTIMS; i++) {
		ck_assert_int_eq(waitpid(victims[i], &status, 0), victims[i]);
		ck_assert_msg(!storm->failed, "%s", storm->text);
		ck_assert_msg(!status, "a victim ended with status 0x%x", (unsigned)status);
	}
	printf("%" PRIu64 " besiegers, %" PRIu64 " killed, %" PRIu64 " stopped; %" PRIu64
	       " puts, %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64 " blocks, %" PRIu64
	       " handed over, %" PRIu64 " visits\n",
	       counts.lives, counts.killed, counts.stopped, board->puts, board->hits,
	       board->misses, board->blocks, board->handed, board->visits);
	printf("%" PRIu64 " sessions, %" PRIu64 " connections gone, %" PRIu64
	       " frames, %" PRIu64 " records, %" PRIu64 " words, %" PRIu64
	       " times descriptors\n",
	       done->entered, done->gone, done->frames, done->records, done->words,
	       done->descriptors);
	printf("descriptors: %" PRIu64 " before and after, %" PRIu64
	       " at most; memory: %" PRIu64 " KiB before, %" PRIu64 " after, %" PRIu64
	       " at most\n",
	       fds, counts.fds_most, anon >> 10, daemon_anon() >> 10, counts.anon_most >> 10);
	ck_assert_uint_gt(board->hits, 100);
	ck_assert_uint_gt(board->handed, 10);
	ck_assert_uint_gt(done->entered, 2);
	ck_assert_uint_gt(done->gone, 2);
	ck_assert_uint_gt(done->frames, 1000);
	ck_assert_uint_gt(done->records, 1000);
	ck_assert_uint_gt(done->words, 1000);
	peer_close(&root);
	test_daemon_stop(&daemon_);
	close(lifeline[0]);
	close(lifeline[1]);
}

START_TEST(whatever_the_hostile_do_others_see_no_wrong_byte_and_no_call_of_theirs_fails)
{
	siege_lasts();
}
END_TEST

START_TEST(nor_where_the_kernel_refuses_no_descriptors)
{
	hide_passrights();
	siege_lasts();
	ck_assert_uint_gt(done->descriptors, 10);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tests;

	besieger_again(argc, argv);
	if (geteuid()) {
		fputs("SKIPPED: siege: only root can be other uids\n", stderr);
		return SKIPPED;
	}
	suite = suite_create("siege");
	tests = tcase_create("siege");
	board = storm_begin(sizeof(*board));
	tcase_set_timeout(tests, 0);
	tcase_add_test(
		tests,
		whatever_the_hostile_do_others_see_no_wrong_byte_and_no_call_of_theirs_fails);
	tcase_add_test(tests, nor_where_the_kernel_refuses_no_descriptors);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
