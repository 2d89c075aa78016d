/*
 * The rows about arenas: varbos next to pools of the Apache Portable Runtime and glibc's obstacks.
 * What is done is said in bump_main.c.
 */
#include "base/base.h"
#include "bench/contest.h"
#include "bench/harness.h"

static const struct side_program bumps[] = {
	{"empty", SIDE_EMPTY, "varbos-bench-bump-empty", NULL, NULL},
	{"varbos", SIDE_VARBOS, "varbos-bench-bump-varbos", NULL, NULL},
	{"apr", SIDE_PEER, "varbos-bench-bump-apr", NULL, "libapr1-dev"},
	{"obstack", SIDE_PEER, "varbos-bench-bump-obstack", NULL, "libc6"},
};

static void bumps_run(struct harness *harness, struct contest contest)
{
	contest.unit = "ns";
	contest.sides = bumps;
	contest.n_sides = ARRAY_SIZE(bumps);
	contest_run(harness, &contest);
}

void bench_arena(struct harness *harness)
{
	bumps_run(harness, (struct contest){.bench = "arena"});
}

void bench_arena_reset(struct harness *harness)
{
	/* A quick look spares the machine the memory of the second. */
	static const uint64_t sizes[] = {10, 10000000}, quick[] = {10, 10000};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		bumps_run(harness,
			  (struct contest){.bench = "arena_reset",
					   .size = harness->quick ? quick[i] : sizes[i]});
}
