#include "bench/contest.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "bench/clock.h"
#include "bench/contender.h"
#include "bench/ctl.h"
#include "bench/harness.h"
#include "bench/series.h"

enum {
	SIDES_MAX = 8,
	ROUNDS_MAX = 20000,
	ROUNDS_MIN = 11, /* of a full run, however long they take */
	ROUNDS_QUICK = 5,
	ROUNDS_QUICK_FEW = 1, /* of what is long and hardly varies */
	SECONDS = 15,
	ANSWER_SECONDS = 120,
};

struct entrant {
	const struct side_program *side;
	pid_t pid;
	int fd;
	struct series series;
	struct series ratios; /* of varbos to it, round by round; in millionths */
};

/* ---- the processes ---- */

static void entrant_exec(struct harness *harness, const struct contest *contest,
			 const struct side_program *side, int fd)
{
	int first = harness->cpus[CROSS_CORE], second = harness->cpus[SAME_CORE];
	char path[4096], size[24], keys[24], cpus[2][16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A processor without the daemon first. */
	if (first < 0)
		first = second;
	snprintf(size, sizeof(size), "%" PRIu64, contest->size);
	snprintf(keys, sizeof(keys), "%" PRIu64, contest->keys);
	snprintf(cpus[0], sizeof(cpus[0]), "%d", first);
	snprintf(cpus[1], sizeof(cpus[1]), "%d", second);
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	if (side->preload)
		setenv("LD_PRELOAD", side->preload, 1);
	else
		unsetenv("LD_PRELOAD");
	if (ctl_beside(path, sizeof(path), side->program))
		execl(path, side->impl, contest->bench, size, keys, cpus[0], cpus[1],
		      harness->socket, (char *)NULL);
	_exit(errno == ENOENT ? CONTENDER_MISSING : 127);
}

static bool entrant_answer(const struct entrant *entrant, uint64_t *ret)
{
	return recv(entrant->fd, ret, sizeof(*ret), 0) == sizeof(*ret);
}

static void entrant_stop(struct entrant *entrant)
{
	close(entrant->fd);
	waitpid(entrant->pid, NULL, 0);
	series_deinit(&entrant->series);
	series_deinit(&entrant->ratios);
}

/* False: it is not to be had, and that was said. */
static bool entrant_start(struct harness *harness, const struct contest *contest,
			  const struct side_program *side, struct entrant *ret)
{
	struct entrant entrant = {.side = side};
	int pair[2], status = 0;
	uint64_t ready;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		harness_die(harness, "socketpair: %s", strerror(errno));
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO,
		   &(struct timeval){.tv_sec = ANSWER_SECONDS}, sizeof(struct timeval));
	entrant.fd = pair[0];
	entrant.pid = fork();
	if (entrant.pid < 0)
		harness_die(harness, "fork: %s", strerror(errno));
	if (!entrant.pid)
		entrant_exec(harness, contest, side, pair[1]);
	close(pair[1]);
	if (!entrant_answer(&entrant, &ready)) {
		close(entrant.fd);
		kill(entrant.pid, SIGKILL);
		waitpid(entrant.pid, &status, 0);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != CONTENDER_MISSING)
			harness_die(harness, "%s: %s did not start", contest->bench,
				    side->impl);
		fprintf(stderr,
			"varbos-bench: MISSING: %s: nothing to hold against %s: install %s\n",
			contest->bench, side->impl, side->package);
		return false;
	}
	series_init(&entrant.series, ROUNDS_MAX);
	series_init(&entrant.ratios, ROUNDS_MAX);
	*ret = entrant;
	return true;
}

/* ---- rounds ---- */

static uint64_t round_of(struct harness *harness, const struct contest *contest,
			 const struct entrant *entrant)
{
	uint64_t figure;

	if (send(entrant->fd, "x", 1, MSG_NOSIGNAL) != 1 || !entrant_answer(entrant, &figure))
		harness_die(harness, "%s: %s gives no answer", contest->bench,
			    entrant->side->impl);
	return figure;
}

static void rounds_run(struct harness *harness, const struct contest *contest,
		       struct entrant *entrants, size_t n)
{
	uint64_t often = contest->seconds ? contest->seconds : SECONDS;
	uint64_t seconds = harness->quick || contest->few ? 0 : often;
	uint64_t end_ns = now_ns() + seconds * 1000000000;
	size_t quick = contest->few ? ROUNDS_QUICK_FEW : ROUNDS_QUICK;
	size_t least = harness->quick ? quick : ROUNDS_MIN;
	uint64_t figures[SIDES_MAX], ours = 0;

	for (size_t round = 0; round < ROUNDS_MAX && (round < least || now_ns() < end_ns);
	     round++) {
		for (size_t i = 0; i < n; i++) {
			size_t turn = (i + round) % n;

			figures[turn] = round_of(harness, contest, &entrants[turn]);
			series_add(&entrants[turn].series, figures[turn]);
			if (entrants[turn].side->side == SIDE_VARBOS)
				ours = figures[turn];
		}
		for (size_t i = 0; i < n; i++)
			series_add(&entrants[i].ratios,
				   figures[i] ? ours * 1000000 / figures[i] : 0);
		harness_heed(harness);
	}
}

/* ---- what is told ---- */

static double median(struct series *series)
{
	return (double)series_percentile(series, 50) / 1000;
}

static void side_print(const struct contest *contest, struct entrant *entrant)
{
	printf("{\"bench\":\"%s\",\"impl\":\"%s\"", contest->bench, entrant->side->impl);
	if (contest->size)
		printf(",\"size\":%" PRIu64, contest->size);
	if (contest->keys)
		printf(",\"keys\":%" PRIu64, contest->keys);
	printf(",\"unit\":\"%s\"", contest->unit);
	if (contest->value)
		printf(",\"value\":%.3f", median(&entrant->series));
	else
		printf(",\"p50\":%.3f,\"p99\":%.3f", median(&entrant->series),
		       (double)series_percentile(&entrant->series, 99) / 1000);
	printf(",\"n\":%zu}\n", entrant->series.n);
	fflush(stdout);
}

static void ratios_print(const struct contest *contest, struct entrant *entrants, size_t n)
{
	fprintf(stderr, "%s", contest->bench);
	if (contest->size)
		fprintf(stderr, " %" PRIu64, contest->size);
	fputs(": varbos by", stderr);
	for (size_t i = 0; i < n; i++)
		if (entrants[i].side->side == SIDE_PEER)
			fprintf(stderr, " %s %.3g", entrants[i].side->impl,
				median(&entrants[i].ratios) / 1000);
	putc('\n', stderr);
}

void contest_run(struct harness *harness, const struct contest *contest)
{
	struct entrant entrants[SIDES_MAX];
	size_t n = 0;

	assert(contest->n_sides <= SIDES_MAX);
	for (size_t i = 0; i < contest->n_sides; i++)
		n += entrant_start(harness, contest, &contest->sides[i], &entrants[n]);
	rounds_run(harness, contest, entrants, n);
	for (size_t i = 0; i < n; i++)
		side_print(contest, &entrants[i]);
	ratios_print(contest, entrants, n);
	for (size_t i = 0; i < n; i++)
		entrant_stop(&entrants[i]);
}
