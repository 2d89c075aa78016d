/*
 * sim - requests that `varbosctl sim` replays a second, of its processor time: its start, and the
 * reading of the trace, included. No daemon.
 *
 * A key of the trace is the cube of an evenly drawn number from 0 to 1, times KEYS: small ones are
 * frequent. The cache has room for a tenth of the keys.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "bench/ctl.h"
#include "bench/dice.h"
#include "bench/harness.h"
#include "daemon/core/policy/policy.h"

enum {
	REQUESTS = 5000000,
	REQUESTS_QUICK = 500000,
	KEYS = 100000,
	ROUNDS = 7,
	ROUNDS_QUICK = 3,
};

static int trace_make(struct harness *harness, size_t n)
{
	int fd = memfd_create("varbos-bench-trace", MFD_CLOEXEC);
	uint64_t state = 1;
	uint32_t *keys;

	if (fd < 0 || ftruncate(fd, (off_t)(n * sizeof(*keys))))
		harness_die(harness, "sim: %s", strerror(errno));
	keys = mmap(NULL, n * sizeof(*keys), PROT_WRITE, MAP_SHARED, fd, 0);
	if (keys == MAP_FAILED)
		harness_die(harness, "sim: %s", strerror(errno));
	for (size_t i = 0; i < n; i++) {
		double even = (double)(dice(&state) >> 11) / (double)((uint64_t)1 << 53);

		keys[i] = htobe32((uint32_t)(even * even * even * KEYS));
	}
	munmap(keys, n * sizeof(*keys));
	return fd;
}

static uint64_t time_ns(const struct timeval *time)
{
	return ((uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec) * 1000;
}

/* Of the processor, for all of it. */
static uint64_t replay(struct harness *harness, const char *path, int trace, const char *policy)
{
	struct rusage usage;
	int status, null;
	pid_t pid;

	if (lseek(trace, 0, SEEK_SET))
		harness_die(harness, "sim: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		harness_die(harness, "sim: %s", strerror(errno));
	if (!pid) {
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null >= 0 && dup2(trace, STDIN_FILENO) >= 0 &&
		    dup2(null, STDOUT_FILENO) >= 0)
			execl(path, "varbosctl", "sim", "--format=u32be", "--capacity=10000",
			      "--policy", policy, "-", (char *)NULL);
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		_exit(127);
	}
	if (wait4(pid, &status, 0, &usage) != pid || status)
		harness_die(harness, "sim: varbosctl failed");
	return time_ns(&usage.ru_utime) + time_ns(&usage.ru_stime);
}

void bench_sim(struct harness *harness)
{
	size_t n = harness->quick ? REQUESTS_QUICK : REQUESTS;
	int rounds = harness->quick ? ROUNDS_QUICK : ROUNDS;
	struct series series[POLICIES];
	_cleanup_(closep) int trace = -1;
	char path[4096];

	if (!ctl_find(path, sizeof(path)))
		harness_die(harness, "no varbosctl beside this program: set VARBOSCTL");
	trace = trace_make(harness, n);
	for (uint32_t id = 0; id < POLICIES; id++)
		series_init(&series[id], (size_t)rounds);
	for (int round = 0; round < rounds; round++)
		for (uint32_t id = 0; id < POLICIES; id++) {
			harness_heed(harness);
			series_add(&series[id],
				   replay(harness, path, trace, policy_at(id)->name));
		}

	for (uint32_t id = 0; id < POLICIES; id++) {
		uint64_t ns = u64_max(series_percentile(&series[id], 50), 1);
		double rate = (double)n * 1000 / (double)ns;

		printf("{\"bench\":\"sim\",\"impl\":\"%s\",\"unit\":\"Mops\",\"value\":%.3f"
		       ",\"n\":%zu}\n",
		       policy_at(id)->name, rate, series[id].n);
		fflush(stdout);
		fprintf(stderr, "sim, %-8s %5.1f million requests a second\n",
			policy_at(id)->name, rate);
		series_deinit(&series[id]);
	}
}
