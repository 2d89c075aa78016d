/*
 * Death in a put: a process that puts values, small and large, and builds one where it stays, is killed
 * around each of its system calls and somewhere between. Whoever reads finds the one value or the
 * other, whole; and in the end no memory is missing.
 */
#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "tests/fuzz/sample.h"
#include "tests/integration/cached.h"
#include "tests/integration/joined.h"
#include "tests/integration/traced.h"
#include "tests/suite.h"

enum {
	SMALL = 200,
	LARGE = 90000,    /* memory of its own */
	STEPS_MAX = 3000, /* after a system call */
	TRIES = 4,        /* at each */
	STOPS_MAX = 400,
	WAIT_TRIES = 2000, /* of 10 ms */
};

static const struct {
	const char *key;
	size_t size, other_size; /* as it was, and as it is put */
} values[] = {
	{"small", SMALL, SMALL + 50},
	{"large", LARGE, LARGE + 5000},
	{"reserved", SMALL, LARGE},
};

static uint64_t seed;
static char bytes[LARGE + 5000];

static int put_bytes(struct varbos_cache *to, const char *key, char mark, size_t size)
{
	memset(bytes, mark, size);
	return varbos_cache_put(to, key, strlen(key), bytes, size, NULL);
}

/* What is killed: from the first stop on, all that puts. */
static void live(void)
{
	struct varbos_reservation reservation;
	struct varbos_cache *to;
	struct varbos_space *in;
	struct varbos *own;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (varbos_connect(&own, daemon_.socket) || varbos_space_open(&in, own, "s", NULL) ||
	    varbos_cache_open(&to, in, "c", NULL) || put_bytes(to, "first", 'f', SMALL))
		_exit(1);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	for (int i = 0; i < 2; i++)
		if (put_bytes(to, values[i].key, 'n', values[i].other_size))
			_exit(2);
	if (varbos_cache_reserve(to, values[2].key, strlen(values[2].key), values[2].other_size,
				 NULL, &reservation))
		_exit(3);
	memset(reservation.data, 'n', values[2].other_size);
	if (varbos_cache_commit(&reservation, values[2].other_size))
		_exit(4);
	_exit(0);
}

/* True: it is the new one. */
static bool look(size_t i, unsigned stop, unsigned steps)
{
	struct varbos_view view;
	const char *data;
	bool new;

	must(varbos_cache_get(cache, values[i].key, strlen(values[i].key), &view));
	data = view.data;
	new = *data == 'n';
	ck_assert_msg((new || *data == 'f') &&
			      view.size == (new ? values[i].other_size : values[i].size) &&
			      !memcmp(data, data + 1, view.size - 1),
		      "killed %u instructions after stop %u: \"%s\" is neither", steps, stop,
		      values[i].key);
	varbos_view_release(&view);
	return new;
}

static void put_former(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		must(put_bytes(cache, values[i].key, 'f', values[i].size));
}

static unsigned found_former, found_new;

/* Killed so many instructions after that stop. False: it has not come so far. */
static bool kill_at(unsigned stop, unsigned steps)
{
	bool lives = true;
	int status;
	pid_t pid;

	put_former();
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
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		*(look(i, stop, steps) ? &found_new : &found_former) += 1;
	return lives;
}

START_TEST(who_dies_while_he_puts_leaves_one_value_or_the_other)
{
	unsigned points = 0, stop;
	bool lives = true;

	for (stop = 0; lives && stop < STOPS_MAX; stop++) {
		lives = kill_at(stop, 0);
		points += lives;
		for (unsigned i = 1; lives && i < TRIES; i++)
			points += kill_at(stop, (unsigned)(sample_random(&seed) % STEPS_MAX));
	}
	ck_assert_msg(!lives, "it does not end");
	ck_assert_uint_gt(found_former, 0);
	ck_assert_uint_gt(found_new, 0);
	printf("# killed at %u points around %u stops; former %u, new %u\n", points, stop,
	       found_former, found_new);
	/* Nothing that he had leased is missing. */
	must(varbos_cache_clear(cache));
	varbos_cache_close(cache);
	for (int i = 0; used(); i++) {
		ck_assert_int_lt(i, WAIT_TRIES);
		nap();
	}
}
END_TEST

static void open_cache(void)
{
	open_cache_of(16 << 20);
}

int main(void)
{
	const char *text = getenv("VARBOS_SEED");
	Suite *suite = suite_create("put_death");
	TCase *t = tcase_create("put_death");

	seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, open_cache, tear_down);
	tcase_add_test(t, who_dies_while_he_puts_leaves_one_value_or_the_other);
	suite_add_tcase(suite, t);
	return suite_run(suite);
}
