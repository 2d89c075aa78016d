/*
 * reclaim - a client holds 10 thousand slices on lease, is killed, and the time runs from its end
 * (its pidfd becomes readable) until the daemon's books have none of them in use. ms.
 *
 * It leases as programs do, by allocating blocks of 32 KiB; it writes to each. A quick run holds a
 * tenth of that.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "bench/harness.h"

#define SPACE "bench-reclaim"
#define SLICE_BYTES ((uint64_t)64 << 10)

enum {
	SLICES = 10000,
	SLICES_QUICK = 1000,
	ROUNDS = 21,
	ROUNDS_QUICK = 3,
	BLOCK_BYTES = 32 << 10,
	DEADLINE_MS = 60000,
};

static uint64_t used_bytes(struct harness *harness)
{
	struct varbos_space_info *infos;
	uint64_t used = UINT64_MAX;
	size_t n;

	if (varbos_space_list(harness->vb, &infos, &n))
		harness_die(harness, "reclaim: %s", varbos_error()->message);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(infos[i].name, SPACE))
			used = infos[i].used;
	free(infos);
	return used;
}

static void hold(struct harness *harness, uint64_t slices, int ready)
{
	struct varbos_space *space;
	struct varbos *vb;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (varbos_connect(&vb, harness->socket) || varbos_space_open(&space, vb, SPACE, NULL))
		_exit(1);
	for (uint64_t held = 0; held < slices * SLICE_BYTES; held += BLOCK_BYTES) {
		uint64_t *block = varbos_alloc(space, BLOCK_BYTES);

		if (!block)
			_exit(1);
		*block = held;
	}
	if (write(ready, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Its exit, not its being buried: that is for who waits. */
static void end(struct harness *harness, pid_t pid)
{
	struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};

	if (ended.fd < 0)
		harness_die(harness, "reclaim: pidfd_open: %s", strerror(errno));
	kill(pid, SIGKILL);
	if (poll(&ended, 1, DEADLINE_MS) != 1)
		harness_die(harness, "reclaim: the client does not end");
	close(ended.fd);
}

static uint64_t round_of(struct harness *harness, uint64_t slices)
{
	uint64_t start_ns, took_ns;
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready))
		harness_die(harness, "reclaim: pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		harness_die(harness, "reclaim: fork: %s", strerror(errno));
	if (!pid)
		hold(harness, slices, ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1 || used_bytes(harness) < slices * SLICE_BYTES)
		harness_die(harness, "reclaim: the client got no memory");
	close(ready[0]);

	end(harness, pid);
	start_ns = now_ns();
	while (used_bytes(harness)) {
		if (now_ns() - start_ns > (uint64_t)DEADLINE_MS * 1000000)
			harness_die(harness, "reclaim: nothing comes back");
	}
	took_ns = now_ns() - start_ns;
	waitpid(pid, NULL, 0);
	return took_ns;
}

void bench_reclaim(struct harness *harness)
{
	uint64_t slices = harness->quick ? SLICES_QUICK : SLICES;
	unsigned rounds = harness->quick ? ROUNDS_QUICK : ROUNDS;
	struct varbos_space *space;
	struct series series;

	/* One space for all rounds: what is committed stays so for a while. */
	if (varbos_space_open(&space, harness->vb, SPACE,
			      &(struct varbos_space_options){
				      .limit = harness->quick ? 128 << 20 : 1024 << 20}))
		harness_die(harness, "reclaim: %s", varbos_error()->message);
	harness_pin(harness,
		    harness->cpus[harness->cpus[CROSS_CORE] < 0 ? SAME_CORE : CROSS_CORE]);
	series_init(&series, rounds);
	round_of(harness, slices);
	for (unsigned i = 0; i < rounds; i++) {
		series_add(&series, round_of(harness, slices));
		harness_heed(harness);
	}
	printf("{\"bench\":\"reclaim\",\"impl\":\"varbos\",\"size\":%" PRIu64
	       ",\"unit\":\"ms\",\"p50\":%.3f,\"p99\":%.3f,\"n\":%zu}\n",
	       slices, (double)series_percentile(&series, 50) / 1000000,
	       (double)series_percentile(&series, 99) / 1000000, series.n);
	fflush(stdout);
	series_deinit(&series);
	varbos_space_close(space);
	if (varbos_space_remove(harness->vb, SPACE, 0))
		harness_die(harness, "reclaim: %s", varbos_error()->message);
}
