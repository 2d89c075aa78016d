/*
 * The rows about blocks: varbos next to libc's malloc and to others in its place; and what there is
 * to it without any: the loop with two calls that do nothing (`empty`), and the same with the two
 * in a library, as every allocator here is (`calls`). What each row does is said in pair.c,
 * churn.c, larson.c and prodcons.c.
 */
#include "base/base.h"
#include "bench/contest.h"
#include "bench/harness.h"

static const struct side_program allocators[] = {
	{"empty", SIDE_EMPTY, "varbos-bench-empty", NULL, NULL},
	{"calls", SIDE_EMPTY, "varbos-bench-calls", NULL, NULL},
	{"varbos", SIDE_VARBOS, "varbos-bench-varbos", NULL, NULL},
	{"glibc", SIDE_PEER, "varbos-bench-malloc", NULL, "libc6"},
	{"mimalloc", SIDE_PEER, "varbos-bench-malloc", "libmimalloc.so.2", "libmimalloc2.0"},
	{"jemalloc", SIDE_PEER, "varbos-bench-malloc", "libjemalloc.so.2", "libjemalloc2"},
	{"tcmalloc", SIDE_PEER, "varbos-bench-malloc", "libtcmalloc_minimal.so.4",
	 "libtcmalloc-minimal4"},
};

static void allocators_run(struct harness *harness, struct contest contest)
{
	contest.sides = allocators;
	contest.n_sides = ARRAY_SIZE(allocators);
	contest_run(harness, &contest);
}

void bench_pair(struct harness *harness)
{
	static const uint64_t sizes[] = {64, 256, 4096};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		allocators_run(
			harness,
			(struct contest){.bench = "pair", .size = sizes[i], .unit = "ns"});
}

void bench_churn(struct harness *harness)
{
	allocators_run(harness, (struct contest){.bench = "churn", .unit = "ns"});
}

void bench_larson(struct harness *harness)
{
	allocators_run(harness,
		       (struct contest){.bench = "larson", .unit = "Mops", .value = true});
}

void bench_prodcons(struct harness *harness)
{
	allocators_run(harness, (struct contest){.bench = "prodcons", .unit = "ns"});
}

/* Nothing is taken where there is no allocator. */
void bench_rss(struct harness *harness)
{
	static const char *const rows[] = {"rss", "rss_rounded"};
	const uint64_t lives[] = {0, harness->quick ? 20000 : 50000};

	for (size_t i = 0; i < ARRAY_SIZE(rows) * ARRAY_SIZE(lives); i++)
		contest_run(harness, &(struct contest){.bench = rows[i / ARRAY_SIZE(lives)],
						       .size = lives[i % ARRAY_SIZE(lives)],
						       .unit = "committed/live",
						       .value = true,
						       .few = true,
						       .sides = &allocators[2],
						       .n_sides = ARRAY_SIZE(allocators) - 2});
}
