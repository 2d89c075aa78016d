/*
 * The keeper: this program is its own, and the daemon that it starts. A child lives the lives of one
 * story; which one comes next it finds in what it has left.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/keep.h"
#include "daemon/server/keeper.h"
#include "daemon/server/left.h"
#include "daemon/server/log.h"
#include "daemon/server/program.h"
#include "daemon/server/store.h"
#include "tests/suite.h"

enum {
	MANY = 3000,
	FEW = 36,
	FEW_OPEN = 64,
	PATIENCE_MS = 30000, /* until it cannot be */
	FAILED = 99,
	SAID_MAX = 4096
};

/* ---- the child ---- */

#define must(condition)                                                             \
	do {                                                                        \
		if (!(condition)) {                                                 \
			fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, \
				strerror(errno));                                   \
			say_out("failed\n");                                        \
			must_end();                                                 \
		}                                                                   \
	} while (0)

static struct keep *keep;

static void say_out(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(FAILED);
}

/* Whatever becomes of the story, the keeper is to end. */
static _Noreturn void must_end(void)
{
	keep_say(keep, "STOPPING=1");
	_exit(0);
}

static int make_file(uint32_t content)
{
	int fd = memfd_create("kept", MFD_CLOEXEC);

	must(fd >= 0 && pwrite(fd, &content, sizeof(content), 0) == sizeof(content));
	return fd;
}

static uint32_t read_file(int fd)
{
	uint32_t content = UINT32_MAX;

	must(pread(fd, &content, sizeof(content), 0) == sizeof(content));
	return content;
}

static void put_file(const char *name, uint32_t content)
{
	struct kept what = {name, make_file(content)};

	must(!keep_put(keep, &what, 1));
}

/* Which life this is. */
static uint32_t next_life(void)
{
	int fd = keep_take(keep, "ledger");
	uint32_t life = 0;

	if (fd < 0) {
		put_file("ledger", life);
	} else {
		life = read_file(fd) + 1;
		must(pwrite(fd, &life, sizeof(life), 0) == sizeof(life));
	}
	must(life < 10);
	return life;
}

static void ready(void)
{
	must(keep_say(keep, "READY=1"));
}

static _Noreturn void die(void)
{
	kill(getpid(), SIGKILL);
	_exit(FAILED);
}

static void put_many(void)
{
	static char names[MANY][KEPT_NAME_MAX];
	static struct kept what[MANY];

	for (uint32_t i = 0; i < MANY; i++)
		what[i] = (struct kept){kept_name(names[i], KEPT_MAP, 5, i, 1), make_file(i)};
	must(!keep_put(keep, what, MANY));
}

static void take_many(void)
{
	char name[KEPT_NAME_MAX];

	for (uint32_t i = 0; i < MANY; i++)
		must(read_file(keep_take(keep, kept_name(name, KEPT_MAP, 5, i, 1))) == i);
}

/* A parent that is killed, and is followed by another, which is no parent. */
static void kill_keeper(void)
{
	pid_t keeper = getppid();

	must(!kill(keeper, SIGKILL));
	while (getppid() == keeper)
		poll(NULL, 0, 1);
}

static void story_keeper(uint32_t life)
{
	switch (life) {
	case 0:
		put_many();
		ready();
		kill_keeper();
		put_file("bell", 4711);
		die();
	case 1:
		take_many();
		must(read_file(keep_take(keep, "bell")) == 4711);
		ready();
		die();
	default:
		take_many();
		must(read_file(keep_take(keep, "bell")) == 4711);
		must(!keep_drop_rest(keep));
		say_out("all there\n");
		must_end();
	}
}

static void story_deaths(uint32_t life)
{
	switch (life) {
	case 0:
		put_many();
		ready();
		die();
	case 1:
		take_many();
		ready();
		_exit(4);
	case 2:
		_exit(5); /* before it was ready: it had been, once */
	default:
		take_many();
		say_out("all there\n");
		_exit(0);
	}
}

static void story_first(uint32_t life)
{
	(void)life;
	_exit(3);
}

static volatile sig_atomic_t number;

static void note_signal(int n)
{
	number = n;
}

static void story_signals(uint32_t life)
{
	sigset_t none, all;

	(void)life;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &none);
	signal(SIGHUP, note_signal);
	signal(SIGTERM, note_signal);
	ready();
	say_out("ready\n");
	while (number != SIGTERM) {
		number = 0;
		sigsuspend(&none);
		say_out(number == SIGHUP ? "hangup\n" : "terminate\n");
	}
	_exit(0);
}

/* There is no address that anybody else could speak to. */
static bool has_name(int (*get)(int, struct sockaddr *, socklen_t *), int fd)
{
	struct sockaddr_un address;
	socklen_t size = sizeof(address);

	must(!get(fd, (struct sockaddr *)&address, &size));
	return size > sizeof(address.sun_family);
}

static int get_own(int fd, struct sockaddr *address, socklen_t *size)
{
	return getsockname(fd, address, size);
}

static int get_peer(int fd, struct sockaddr *address, socklen_t *size)
{
	return getpeername(fd, address, size);
}

/* Who has its end of the pair is not yet its keeper's child. */
static void story_stranger(uint32_t life)
{
	struct store store;
	int fd, ended;
	pid_t pid;

	if (!life) {
		ready();
		must(!store_open(&store, true) && store.keeper >= 0);
		must(!getenv("NOTIFY_SOCKET") && !has_name(get_own, store.fd) &&
		     !has_name(get_peer, store.fd));
		fd = make_file(13);
		pid = fork();
		if (!pid)
			_exit(store_say(&store, "FDSTORE=1\nFDNAME=bell", &fd, 1) != 0);
		must(waitpid(pid, &ended, 0) == pid && !ended);
		die();
	}
	say_out(keep_take(keep, "bell") < 0 ? "not heard\n" : "heard\n");
	_exit(0);
}

static void story_stopped(uint32_t life)
{
	if (!life) {
		ready();
		must(keep_say(keep, "WATCHDOG=1"));
		raise(SIGSTOP);
		_exit(FAILED);
	}
	say_out("again\n");
	_exit(0);
}

/* As many as can be had by one who may have 64 open. */
static void story_few(uint32_t life)
{
	char name[KEPT_NAME_MAX];

	for (uint32_t i = 0; i < FEW && !life; i++)
		put_file(kept_name(name, KEPT_MAP, 5, i, 1), i);
	for (uint32_t i = 0; i < FEW && life; i++)
		must(read_file(keep_take(keep, kept_name(name, KEPT_MAP, 5, i, 1))) == i);
	if (!life) {
		ready();
		die();
	}
	say_out("all there\n");
	_exit(0);
}

/* Without a word from the store, but said before. */
static void story_said(uint32_t life)
{
	struct store store;
	int fd;

	if (!life) {
		ready();
		must(!store_open(&store, true));
		fd = make_file(12);
		must(!store_say(&store, "FDSTORE=1\nFDPOLL=0\nFDNAME=bell", &fd, 1));
		die();
	}
	must(read_file(keep_take(keep, "bell")) == 12);
	say_out("heard\n");
	_exit(0);
}

static const struct {
	const char *name;
	void (*live)(uint32_t life);
} stories[] = {
	{"keeper", story_keeper},   {"deaths", story_deaths},     {"first", story_first},
	{"signals", story_signals}, {"stranger", story_stranger}, {"stopped", story_stopped},
	{"said", story_said},       {"few", story_few},
};

static int child(const char *story)
{
	struct left left;
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (left_take(&left) || keep_new(&keep, &left, &(struct keep_terms){}))
		return FAILED;
	for (size_t i = 0; i < ARRAY_SIZE(stories); i++)
		if (!strcmp(stories[i].name, story))
			stories[i].live(next_life());
	return FAILED;
}

/* ---- the test ---- */

static struct {
	pid_t pid;
	int in, out;
	char said[SAID_MAX];
	size_t n;
} keeper;

static void start_within(const char *story, const struct rlimit *limit)
{
	int in[2], out[2];

	ck_assert(!pipe2(in, O_CLOEXEC) && !pipe2(out, O_CLOEXEC));
	keeper.pid = fork();
	if (!keeper.pid) {
		if (limit && setrlimit(RLIMIT_NOFILE, limit))
			_exit(FAILED);
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl("/proc/self/exe", "test_keeper", "--keep", story, NULL);
		_exit(FAILED);
	}
	close(in[0]);
	close(out[1]);
	keeper.in = in[1];
	keeper.out = out[0];
	keeper.n = 0;
	keeper.said[0] = '\0';
}

static void start(const char *story)
{
	start_within(story, NULL);
}

/* Until there is so much, or all have ended. */
static void hear(const char *text)
{
	ssize_t got = 1;

	while (got > 0 && (!text || !strstr(keeper.said, text))) {
		got = read(keeper.out, keeper.said + keeper.n, SAID_MAX - 1 - keeper.n);
		ck_assert_int_ge(got, 0);
		keeper.n += (size_t)got;
		keeper.said[keeper.n] = '\0';
	}
	ck_assert_msg(!text || strstr(keeper.said, text), "said: %s", keeper.said);
}

static int status(void)
{
	int s;

	ck_assert_int_eq(waitpid(keeper.pid, &s, 0), keeper.pid);
	ck_assert(WIFEXITED(s));
	return WEXITSTATUS(s);
}

START_TEST(a_child_that_dies_comes_back_with_all_of_it)
{
	start("deaths");
	hear(NULL);
	ck_assert_str_eq(keeper.said, "all there\n");
	ck_assert_int_eq(status(), 0);
}
END_TEST

START_TEST(what_is_stored_can_be_handed_over_where_few_may_be_open)
{
	const struct rlimit few = {.rlim_cur = FEW_OPEN, .rlim_max = FEW_OPEN};
	struct pollfd said;

	start_within("few", &few);
	/* Who cannot be handed them is started again for ever; who was is about to end. */
	said = (struct pollfd){.fd = keeper.out, .events = POLLIN};
	if (!poll(&said, 1, PATIENCE_MS))
		kill(keeper.pid, SIGTERM);
	hear(NULL);
	ck_assert_str_eq(keeper.said, "all there\n");
	ck_assert_int_eq(status(), 0);
}
END_TEST

START_TEST(a_keeper_that_dies_is_replaced_by_one_that_is_handed_all)
{
	start("keeper");
	hear(NULL); /* all of them have ended */
	ck_assert_str_eq(keeper.said, "all there\n");
}
END_TEST

START_TEST(who_fails_before_it_ever_served_is_not_started_again)
{
	start("first");
	ck_assert_int_eq(status(), 3);
}
END_TEST

START_TEST(signals_are_passed_on_and_the_end_is_the_childs)
{
	start("signals");
	hear("ready\n");
	ck_assert(!kill(keeper.pid, SIGHUP));
	hear("hangup\n");
	ck_assert(!kill(keeper.pid, SIGTERM));
	hear(NULL);
	ck_assert_str_eq(keeper.said, "ready\nhangup\nterminate\n");
	ck_assert_int_eq(status(), 0);
}
END_TEST

START_TEST(a_stranger_is_not_heard)
{
	start("stranger");
	hear(NULL);
	ck_assert_str_eq(keeper.said, "not heard\n");
	ck_assert_int_eq(status(), 0);
}
END_TEST

START_TEST(who_is_stopped_is_started_again_by_the_watchdog)
{
	ck_assert(!setenv("WATCHDOG_USEC", "300000", 1));
	start("stopped");
	/* Of that keeper alone: where tests share a process, the next one's is watched by nobody. */
	ck_assert(!unsetenv("WATCHDOG_USEC"));
	hear(NULL);
	ck_assert_str_eq(keeper.said, "again\n");
	ck_assert_int_eq(status(), 0);
}
END_TEST

START_TEST(what_was_said_before_a_death_counts)
{
	start("said");
	hear(NULL);
	ck_assert_str_eq(keeper.said, "heard\n");
	ck_assert_int_eq(status(), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("keeper");
	TCase *t = tcase_create("keeper");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_child_that_dies_comes_back_with_all_of_it);
	tcase_add_test(t, what_is_stored_can_be_handed_over_where_few_may_be_open);
	tcase_add_test(t, a_keeper_that_dies_is_replaced_by_one_that_is_handed_all);
	tcase_add_test(t, who_fails_before_it_ever_served_is_not_started_again);
	tcase_add_test(t, signals_are_passed_on_and_the_end_is_the_childs);
	tcase_add_test(t, a_stranger_is_not_heard);
	tcase_add_test(t, who_is_stopped_is_started_again_by_the_watchdog);
	tcase_add_test(t, what_was_said_before_a_death_counts);
	suite_add_tcase(s, t);
	return s;
}

int main(int argc, char **argv)
{
	bool is_keeper = keeper_is_asked(argc, argv);

	log_limit(LOG_LEVEL_ERROR);
	if (program_remember(argc, argv, is_keeper))
		return EXIT_FAILURE;
	if (is_keeper)
		return keeper_run(argc, argv);
	if (argc > 1)
		return child(argv[1]);
	return suite_run(suite());
}
