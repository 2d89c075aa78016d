/*
 * Live - a trace through a cache of a daemon, by processes to which its requests are dealt in turn:
 *
 *     live SOCKET TRACE REQUESTS CAPACITY POLICY PROCESSES
 *
 * TRACE holds big-endian 32-bit keys. Each is got and, where it is missed, put; a value's size is
 * such that exactly CAPACITY objects fit. Prints how many were missed.
 *
 * Nobody is more than ROUNDS requests of his own ahead of the slowest. Those for one key come in the
 * order of the trace: who would miss what another is about to put waits, as a program does that has
 * a value computed once. Else misses would count double that lie close together, the more the slower
 * the machine, whatever the policy.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "proto/object.h"

enum {
	PROCESSES_MAX = 16,
	OBJECT_BYTES = 256, /* of each, header and key included */
	KEY_BYTES = 4,
	VALUE_BYTES = OBJECT_BYTES - 32,
	SPACE_BYTES = 256 << 20,
	ROUNDS = 16,
};

static_assert((OBJECT_BYTES & ((1 << OBJECT_SHIFT) - 1)) == 0, "nothing is rounded");

/* What the processes tell each other. */
struct course {
	struct {
		_Alignas(64) _Atomic uint64_t at; /* the request it is about */
		uint64_t misses;
	} runners[PROCESSES_MAX];
};

struct trace {
	const unsigned char (*keys)[KEY_BYTES];
	uint64_t n;
};

static void die(const char *what)
{
	fprintf(stderr, "live: %s: %s\n", what, varbos_error()->message);
	_exit(1);
}

static void must(int r, const char *what)
{
	if (r)
		die(what);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (!*text || *end) {
		fprintf(stderr, "live: %s is no number\n", text);
		exit(2);
	}
	return n;
}

static struct trace trace_open(const char *path, uint64_t most)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct trace trace;
	struct stat st;
	void *memory;

	if (fd < 0 || fstat(fd, &st)) {
		perror(path);
		exit(1);
	}
	memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		perror(path);
		exit(1);
	}
	close(fd);
	trace.keys = memory;
	trace.n = u64_min((uint64_t)st.st_size / KEY_BYTES, most ? most : UINT64_MAX);
	return trace;
}

/* Is another, at this request, in the way of a later one? */
static bool in_the_way(const struct trace *trace, uint64_t other, uint64_t at, uint32_t n)
{
	if (other < at && at - other > (uint64_t)ROUNDS * n)
		return true;
	for (; other < at; other += n)
		if (!memcmp(trace->keys[other], trace->keys[at], KEY_BYTES))
			return true;
	return false;
}

static void wait_for_others(const struct course *course, const struct trace *trace, uint64_t at,
			    uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		while (in_the_way(
			trace,
			atomic_load_explicit(&course->runners[i].at, memory_order_acquire), at,
			n))
			sched_yield();
}

static struct varbos_cache *cache_of(struct varbos **ret, const char *socket,
				     const struct varbos_cache_options *options)
{
	const struct varbos_space_options limits = {.limit = SPACE_BYTES};
	struct varbos_cache *cache;
	struct varbos_space *space;

	must(varbos_connect(ret, socket), "connect");
	must(varbos_space_open(&space, *ret, "live", &limits), "space");
	must(varbos_cache_open(&cache, space, "live", options), "cache");
	return cache;
}

static void run(struct course *course, const char *socket, const struct trace *trace,
		uint32_t me, uint32_t n)
{
	const struct varbos_cache_options options = {.flags = VARBOS_CACHE_EXISTING};
	char value[VALUE_BYTES] = {0};
	struct varbos_cache *cache;
	struct varbos_view view;
	struct varbos *vb;
	uint64_t misses = 0;

	cache = cache_of(&vb, socket, &options);
	for (uint64_t at = me; at < trace->n; at += n) {
		const void *key = trace->keys[at];
		int r;

		atomic_store_explicit(&course->runners[me].at, at, memory_order_release);
		wait_for_others(course, trace, at, n);
		r = varbos_cache_get(cache, key, KEY_BYTES, &view);
		if (!r) {
			if (view.size != VALUE_BYTES || memcmp(view.data, key, KEY_BYTES)) {
				fputs("live: a value is another's\n", stderr);
				_exit(1);
			}
			varbos_view_release(&view);
			continue;
		}
		if (r != VARBOS_E_NOT_FOUND)
			die("get");
		misses++;
		memcpy(value, key, KEY_BYTES);
		must(varbos_cache_put(cache, key, KEY_BYTES, value, VALUE_BYTES, NULL), "put");
	}
	course->runners[me].misses = misses;
	atomic_store_explicit(&course->runners[me].at, trace->n, memory_order_release);
	varbos_disconnect(vb);
}

int main(int argc, char **argv)
{
	struct varbos_cache_options options = {.flags = VARBOS_CACHE_NEW};
	uint64_t misses = 0, requests, processes;
	struct varbos_cache *cache;
	struct course *course;
	struct trace trace;
	struct varbos *vb;
	int status;

	if (argc != 7) {
		fputs("usage: live SOCKET TRACE REQUESTS CAPACITY POLICY PROCESSES\n", stderr);
		return 2;
	}
	requests = number(argv[3]);
	options.capacity = number(argv[4]) * OBJECT_BYTES;
	options.policy = argv[5];
	processes = number(argv[6]);
	if (!processes || processes > PROCESSES_MAX)
		return 2;
	trace = trace_open(argv[2], requests);
	course = mmap(NULL, sizeof(*course), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (course == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	cache = cache_of(&vb, argv[1], &options);
	for (uint32_t i = 0; i < processes; i++)
		atomic_init(&course->runners[i].at, i);
	for (uint32_t i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run(course, argv[1], &trace, i, (uint32_t)processes);
			_exit(0);
		}
	}
	for (uint32_t i = 0; i < processes; i++)
		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) {
			fputs("live: a process has failed\n", stderr);
			return 1; /* the others die with us */
		}
	for (uint32_t i = 0; i < processes; i++)
		misses += course->runners[i].misses;
	printf("{\"requests\": %llu, \"misses\": %llu}\n", (unsigned long long)trace.n,
	       (unsigned long long)misses);
	varbos_cache_close(cache);
	varbos_disconnect(vb);
	return 0;
}
