/*
 * handover - varbos next to Boost.Interprocess: a shared block from one process to another. What is
 * done is said in handover.h.
 */
#include "bench/handover.h"

#include "base/base.h"
#include "bench/contest.h"
#include "bench/harness.h"

static const struct side_program handovers[] = {
	{"varbos", SIDE_VARBOS, "varbos-bench-handover-varbos", NULL, NULL},
	{"boost", SIDE_PEER, "varbos-bench-handover-boost", NULL, "libboost-dev"},
};

void bench_handover(struct harness *harness)
{
	static const uint64_t sizes[] = {1, HANDOVER_BATCH_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		contest_run(harness, &(struct contest){.bench = "handover",
						       .size = sizes[i],
						       .unit = "ns",
						       .sides = handovers,
						       .n_sides = ARRAY_SIZE(handovers)});
}
