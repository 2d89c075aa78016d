/*
 * The rows about caches: varbos next to LMDB, Redis and memcached. What each row does is said in
 * store_main.c, and what is held against what in store.h.
 */
#include <sys/resource.h>

#include "base/base.h"
#include "bench/contest.h"
#include "bench/harness.h"

enum {
	SMALL = 64,
	MANY = 1000000,
	MANY_QUICK = 50000,
};

static const struct side_program stores[] = {
	{"varbos", SIDE_VARBOS, "varbos-bench-store-varbos", NULL, NULL},
	{"redis", SIDE_PEER, "varbos-bench-store-served", NULL, "redis-server"},
	{"memcached", SIDE_PEER, "varbos-bench-store-served", NULL, "memcached"},
	{"lmdb", SIDE_PEER, "varbos-bench-store-lmdb", NULL, "liblmdb-dev"},
};
enum { EVICTING = ARRAY_SIZE(stores) - 1 }; /* the first so many */

static const struct {
	uint64_t value, keys;
} sizes[] = {{SMALL, 100000}, {1024, 20000}, {65536, 1000}, {1 << 20, 128}};

static void stores_run(struct harness *harness, struct contest contest, size_t n)
{
	contest.sides = stores;
	contest.n_sides = n;
	contest.unit = "ns";
	/* As that of all contenders, and of their servers. */
	setpriority(PRIO_PROCESS, (id_t)harness->daemon, -20);
	contest_run(harness, &contest);
}

static void with_sizes(struct harness *harness, const char *bench)
{
	size_t n = harness->quick ? 2 : ARRAY_SIZE(sizes);

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
