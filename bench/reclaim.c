/*
 * reclaim - a client holds 10 thousand slices on lease, and views of a thousand values of 60 KiB that have
 * been deleted since. It is killed, and the time runs from its end (its pidfd becomes readable) until
 * the daemon's books have none of the slices in use, and the values' memory is their space's again. ms.
 *
 * It leases as programs do, by allocating blocks of 32 KiB; it writes to each. A quick run holds a
 * tenth of that.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/cache.h>
#include <varbos/varbos.h>

#include "base/base.h"
#include "bench/harness.h"

#define SPACE "bench-reclaim"
#define PINS_SPACE "bench-reclaim-pins"
#define SLICE_BYTES ((uint64_t)64 << 10)
#define SEGMENT_BYTES ((uint64_t)2 << 20) /* that is being filled with what nobody pins */

enum {
	SLICES = 10000,
	SLICES_QUICK = 1000,
	ROUNDS = 21,
	ROUNDS_QUICK = 3,
	BLOCK_BYTES = 32 << 10,
	PINS_A_THREAD = 31,
	THREADS = 33,
	THREADS_QUICK = 4,
	VALUE_BYTES = 60 << 10,
	DEADLINE_MS = 60000,
};

struct held {
	uint64_t slices;
	unsigned threads;
	struct varbos_cache *cache; /* the measuring process's */
};

static uint64_t used_bytes(struct harness *harness, const char *name)
{
	struct varbos_space_info *infos;
	uint64_t used = UINT64_MAX;
	size_t n;

	if (varbos_space_list(harness->vb, &infos, &n))
		harness_die(harness, "reclaim: %s", varbos_error()->message);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(infos[i].name, name))
			used = infos[i].used;
	free(infos);
	return used;
}

/* ---- who is killed ---- */

static struct varbos_cache *pinned;
static pthread_barrier_t all_hold;

static void *pin(void *first)
{
	struct varbos_view views[PINS_A_THREAD];

	for (uint32_t i = 0; i < PINS_A_THREAD; i++) {
		uint32_t key = (uint32_t)(uintptr_t)first + i;

		if (varbos_cache_get(pinned, &key, sizeof(key), &views[i]))
			_exit(1);
	}
	pthread_barrier_wait(&all_hold);
	for (;;)
		pause();
}

static void pin_all(struct varbos *vb, unsigned threads)
{
	struct varbos_space *space;

	if (varbos_space_open(&space, vb, PINS_SPACE, NULL) ||
	    varbos_cache_open(&pinned, space, "bench", NULL) ||
	    pthread_barrier_init(&all_hold, NULL, threads + 1))
		_exit(1);
	for (unsigned i = 0; i < threads; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, pin, (void *)(uintptr_t)(i * PINS_A_THREAD)))
			_exit(1);
	}
	pthread_barrier_wait(&all_hold);
}

static void hold(struct harness *harness, const struct held *held, int ready)
{
	struct varbos_space *space;
	struct varbos *vb;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(harness->raw_socket); /* its peer ends when the measuring process closes it */
	if (varbos_connect(&vb, harness->socket) || varbos_space_open(&space, vb, SPACE, NULL))
		_exit(1);
	for (uint64_t bytes = 0; bytes < held->slices * SLICE_BYTES; bytes += BLOCK_BYTES) {
		uint64_t *block = varbos_alloc(space, BLOCK_BYTES);

		if (!block)
			_exit(1);
		*block = bytes;
	}
	pin_all(vb, held->threads);
	if (write(ready, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* ---- who measures ---- */

static void values_put(struct harness *harness, const struct held *held)
{
	static const char value[VALUE_BYTES];

	for (uint32_t key = 0; key < held->threads * PINS_A_THREAD; key++)
		if (varbos_cache_put(held->cache, &key, sizeof(key), value, sizeof(value),
				     NULL))
			harness_die(harness, "reclaim: %s", varbos_error()->message);
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

static bool is_back(struct harness *harness)
{
	return !used_bytes(harness, SPACE) &&
	       used_bytes(harness, PINS_SPACE) <= 2 * SEGMENT_BYTES;
}

static uint64_t round_of(struct harness *harness, const struct held *held)
{
	uint64_t start_ns, took_ns;
	int ready[2];
	char byte;
	pid_t pid;

	values_put(harness, held);
	if (pipe(ready))
		harness_die(harness, "reclaim: pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		harness_die(harness, "reclaim: fork: %s", strerror(errno));
	if (!pid)
		hold(harness, held, ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1 ||
	    used_bytes(harness, SPACE) < held->slices * SLICE_BYTES)
		harness_die(harness, "reclaim: the client got no memory");
	close(ready[0]);
	if (varbos_cache_clear(held->cache))
		harness_die(harness, "reclaim: %s", varbos_error()->message);
	if (used_bytes(harness, PINS_SPACE) <
	    (uint64_t)held->threads * PINS_A_THREAD * VALUE_BYTES)
		harness_die(harness, "reclaim: the client's views keep nothing");

	end(harness, pid);
	start_ns = now_ns();
	while (!is_back(harness)) {
		if (now_ns() - start_ns > (uint64_t)DEADLINE_MS * 1000000)
			harness_die(harness, "reclaim: nothing comes back");
	}
	took_ns = now_ns() - start_ns;
	waitpid(pid, NULL, 0);
	return took_ns;
}

void bench_reclaim(struct harness *harness)
{
	struct held held = {
		.slices = harness->quick ? SLICES_QUICK : SLICES,
		.threads = harness->quick ? THREADS_QUICK : THREADS,
	};
	unsigned rounds = harness->quick ? ROUNDS_QUICK : ROUNDS;
	struct varbos_space *space, *pins;
	struct series series;

	/* The same spaces for all rounds: what is committed stays so for a while. */
	if (varbos_space_open(&space, harness->vb, SPACE,
			      &(struct varbos_space_options){
				      .limit = harness->quick ? 128 << 20 : 896 << 20}) ||
	    varbos_space_open(&pins, harness->vb, PINS_SPACE,
			      &(struct varbos_space_options){.limit = 112 << 20}) ||
	    varbos_cache_open(&held.cache, pins, "bench",
			      &(struct varbos_cache_options){.capacity = 80 << 20}))
		harness_die(harness, "reclaim: %s", varbos_error()->message);
	harness_pin(harness,
		    harness->cpus[harness->cpus[CROSS_CORE] < 0 ? SAME_CORE : CROSS_CORE]);
	series_init(&series, rounds);
	round_of(harness, &held);
	for (unsigned i = 0; i < rounds; i++) {
		series_add(&series, round_of(harness, &held));
		harness_heed(harness);
	}
	printf("{\"bench\":\"reclaim\",\"impl\":\"varbos\",\"size\":%" PRIu64
	       ",\"pins\":%u,\"unit\":\"ms\",\"p50\":%.3f,\"p99\":%.3f,\"n\":%zu}\n",
	       held.slices, held.threads * PINS_A_THREAD,
	       (double)series_percentile(&series, 50) / 1000000,
	       (double)series_percentile(&series, 99) / 1000000, series.n);
	fflush(stdout);
	series_deinit(&series);
	varbos_cache_close(held.cache);
	varbos_space_close(pins);
	varbos_space_close(space);
	if (varbos_space_remove(harness->vb, PINS_SPACE, 0) ||
	    varbos_space_remove(harness->vb, SPACE, 0))
		harness_die(harness, "reclaim: %s", varbos_error()->message);
}
