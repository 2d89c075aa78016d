/*
 * The rows about caches: varbos next to LMDB, Redis and memcached. What each row does is said in
 * store_main.c, and what is held against what in store.h.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/base.h"
#include "bench/contest.h"
#include "bench/harness.h"

enum {
	SMALL = 64,
	MANY = 1000000,
	MANY_QUICK = 20000,
	LARGE = 1 << 20,
	LARGE_KEYS = 128,
	LARGE_KEYS_QUICK = 32,
	SUSTAINED_SECONDS = 60,
	READERS_MAX = 8,
	BUSY_KEYS = 200000,
};

static const struct side_program stores[] = {
	{"varbos", SIDE_VARBOS, "varbos-bench-store-varbos", NULL, NULL},
	{"redis", SIDE_PEER, "varbos-bench-store-served", NULL, "redis-server"},
	{"memcached", SIDE_PEER, "varbos-bench-store-served", NULL, "memcached"},
	{"lmdb", SIDE_PEER, "varbos-bench-store-lmdb", NULL, "liblmdb-dev"},
};
enum { EVICTING = ARRAY_SIZE(stores) - 1 }; /* the first so many */

/* A put of a large value is a copy, and little more. */
static const struct side_program copies[] = {
	{"varbos", SIDE_VARBOS, "varbos-bench-store-varbos", NULL, NULL},
	{"async", SIDE_PEER, "varbos-bench-store-varbos", NULL, NULL},
	{"memcpy", SIDE_PEER, "varbos-bench-store-copy", NULL, NULL},
	{"stream", SIDE_PEER, "varbos-bench-store-copy", NULL, NULL},
};

/* What a reader notices of the daemon's work, and of as much that is none of its business. */
static const struct side_program busy[] = {
	{"varbos", SIDE_VARBOS, "varbos-bench-busy", NULL, NULL},
	{"quiet", SIDE_PEER, "varbos-bench-busy", NULL, NULL},
};

/* What a reader notices of restarts. */
static const struct side_program restarts[] = {
	{"varbos", SIDE_VARBOS, "varbos-bench-restart", NULL, NULL},
	{"quiet", SIDE_PEER, "varbos-bench-restart", NULL, NULL},
};

static const struct {
	uint64_t value, keys;
} sizes[] = {{SMALL, 100000}, {1024, 20000}, {65536, 1000}, {1 << 20, 128}};

/* The daemon's priority, of all its threads, is that of all contenders, and of their servers. */
static void as_contenders(struct harness *harness)
{
	struct dirent *entry;
	char path[64];
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)harness->daemon);
	threads = opendir(path);
	while (threads && (entry = readdir(threads)))
		if (entry->d_name[0] != '.')
			setpriority(PRIO_PROCESS, (id_t)atoi(entry->d_name), -20);
	if (threads)
		closedir(threads);
}

static void stores_run(struct harness *harness, struct contest contest, size_t n)
{
	contest.sides = stores;
	contest.n_sides = n;
	if (!contest.unit)
		contest.unit = "ns";
	as_contenders(harness);
	contest_run(harness, &contest);
}

static void with_sizes(struct harness *harness, const char *bench)
{
	size_t n = harness->quick ? 1 : ARRAY_SIZE(sizes);

	for (size_t i = 0; i < n; i++)
		stores_run(harness,
			   (struct contest){.bench = bench,
					    .size = sizes[i].value,
					    .keys = sizes[i].keys / (harness->quick ? 10 : 1)},
			   ARRAY_SIZE(stores));
}

static void small(struct harness *harness, const char *bench, uint64_t keys)
{
	if (harness->quick)
		keys = u64_min(keys, MANY_QUICK);
	stores_run(harness, (struct contest){.bench = bench, .size = SMALL, .keys = keys},
		   ARRAY_SIZE(stores));
}

void bench_hit(struct harness *harness)
{
	with_sizes(harness, "hit");
}

void bench_hit_hot(struct harness *harness)
{
	small(harness, "hit_hot", sizes[0].keys);
}

void bench_hit_1m(struct harness *harness)
{
	small(harness, "hit_1m", MANY);
}

void bench_hit_many(struct harness *harness)
{
	small(harness, "hit_many", MANY);
}

void bench_miss(struct harness *harness)
{
	small(harness, "miss", sizes[0].keys);
}

void bench_put(struct harness *harness)
{
	with_sizes(harness, "put");
}

void bench_put_async(struct harness *harness)
{
	with_sizes(harness, "put_async");
}

void bench_put_evict(struct harness *harness)
{
	const uint64_t keys[] = {sizes[0].keys, MANY};

	for (size_t i = 0; i < (harness->quick ? 1 : ARRAY_SIZE(keys)); i++)
		stores_run(harness,
			   (struct contest){.bench = "put_evict",
					    .size = SMALL,
					    .keys = harness->quick ? MANY_QUICK : keys[i]},
			   EVICTING);
}

void bench_sustained(struct harness *harness)
{
	as_contenders(harness);
	contest_run(harness, &(struct contest){.bench = "sustained",
					       .size = SMALL,
					       .keys = harness->quick ? MANY_QUICK : MANY,
					       .unit = "ns",
					       .seconds = SUSTAINED_SECONDS,
					       .sides = stores,
					       .n_sides = 1});
}

void bench_put_1m(struct harness *harness)
{
	as_contenders(harness);
	contest_run(harness,
		    &(struct contest){.bench = "put_1m",
				      .size = LARGE,
				      .keys = harness->quick ? LARGE_KEYS_QUICK : LARGE_KEYS,
				      .unit = "ns",
				      .sides = copies,
				      .n_sides = ARRAY_SIZE(copies)});
}

/* By one, two, four of them, as far as there are processors. */
void bench_readers(struct harness *harness)
{
	uint64_t keys = sizes[0].keys / (harness->quick ? 10 : 1);
	int cores = CPU_COUNT(&harness->allowed);

	for (int readers = 1; readers <= READERS_MAX && readers <= cores; readers *= 2)
		stores_run(harness,
			   (struct contest){.bench = "readers",
					    .size = (uint64_t)readers,
					    .keys = keys,
					    .unit = "Mops",
					    .value = true},
			   ARRAY_SIZE(stores));
}

void bench_mixed(struct harness *harness)
{
	small(harness, "mixed", sizes[0].keys / (harness->quick ? 10 : 1));
}

void bench_hit_busy(struct harness *harness)
{
	as_contenders(harness);
	contest_run(harness, &(struct contest){.bench = "hit_busy",
					       .size = SMALL,
					       .keys = BUSY_KEYS / (harness->quick ? 10 : 1),
					       .unit = "ns",
					       .sides = busy,
					       .n_sides = ARRAY_SIZE(busy)});
}

void bench_hit_restart(struct harness *harness)
{
	contest_run(harness,
		    &(struct contest){.bench = "hit_restart",
				      .size = SMALL,
				      .keys = sizes[0].keys / (harness->quick ? 10 : 1),
				      .unit = "ns",
				      .sides = restarts,
				      .n_sides = ARRAY_SIZE(restarts)});
}
