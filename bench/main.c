/*
 * varbos-bench - measures Varbos next to its peers, in the same run on the same machine.
 *
 * One JSON object a line on stdout; what a person wants to see at once on stderr.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "bench/harness.h"

static const struct bench benches[] = {
	{"rtt", "a ping, next to a raw 64-byte ping-pong", bench_rtt, false, NULL},
	{"extent", "allocate and free 1 MiB through the daemon", bench_extent, false, NULL},
	{"placement", "each policy in a window of 8 GiB, simulated", bench_placement, true,
	 NULL},
	{"hostile", "a ping beside hostile processes, and beside harmless ones", bench_hostile,
	 false, NULL},
	{"pair", "allocate and free a block", bench_pair, false, NULL},
	{"churn", "10 thousand live blocks, random death", bench_churn, false, NULL},
	{"larson", "threads that come and go and leave their blocks to others", bench_larson,
	 false, NULL},
	{"prodcons", "blocks allocated by one thread, freed by another", bench_prodcons, false,
	 NULL},
	{"handover", "shared blocks from one process to another", bench_handover, false, NULL},
	{"rss", "memory taken by memory asked for, after churn", bench_rss, false, NULL},
	{"arena", "allocate from an arena", bench_arena, false, "1G"},
	{"arena_reset", "what a reset takes after few and many allocations", bench_arena_reset,
	 false, "1G"},
	{"sim", "a trace through each eviction policy, by varbosctl sim", bench_sim, true,
	 NULL},
	{"reclaim", "a killed client's slices on their way back", bench_reclaim, false, "1G"},
	{"copy", "copies of 64 bytes to 1 GiB", bench_copy, true, NULL},
	{"copy_shifted", "the same, at unlucky addresses", bench_copy_shifted, true, NULL},
	{"zero", "zeros over 64 bytes to 1 GiB", bench_zero, true, NULL},
	{"hit", "get a value from a cache, next to LMDB, Redis and memcached", bench_hit, false,
	 "512M"},
	{"hit_hot", "the same, of a thousand keys", bench_hit_hot, false, "512M"},
	{"hit_1m", "the same, of a million keys", bench_hit_1m, false, "512M"},
	{"hit_many", "the same, 16 at a time", bench_hit_many, false, "512M"},
	{"miss", "ask a cache for what it does not have", bench_miss, false, "512M"},
	{"put", "replace a value, until everyone sees it", bench_put, false, "512M"},
	{"put_async", "the same, many at a time", bench_put_async, false, "512M"},
	{"put_evict", "the same, of new keys in a full cache", bench_put_evict, false, "512M"},
	{"sustained", "the same, for a minute", bench_sustained, false, "512M"},
	{"put_1m", "put 1 MiB into a full cache, next to copies of as much", bench_put_1m,
	 false, "512M"},
	{"readers", "a cache's hits by several processes", bench_readers, false, "512M"},
	{"mixed", "a cache's gets and some puts by two processes", bench_mixed, false, "512M"},
	{"hit_busy", "hits while the cache is cleaned, evicts and grows", bench_hit_busy, false,
	 "1G"},
	{"overhead", "memory about each value of a cache", bench_overhead, true, NULL},
	{"util", "values by the memory that a full cache holds", bench_util, false, "512M"},
};

static void usage(FILE *out)
{
	fputs("usage: varbos-bench [--quick] [NAME...]\n\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(benches); i++)
		fprintf(out, "  %-12s %s\n", benches[i].name, benches[i].text);
	fputs("\nAll of them without a NAME; --quick: a look, at most 10 s each. The daemon "
	      "is\n$VARBOSD, or the one built along with this program.\n",
	      out);
}

int main(int argc, char **argv)
{
	bool quick = false, picked[ARRAY_SIZE(benches)] = {false}, any = false;

	for (int i = 1; i < argc; i++) {
		bool known = false;

		if (!strcmp(argv[i], "--help")) {
			usage(stdout);
			return EXIT_SUCCESS;
		}
		if (!strcmp(argv[i], "--quick")) {
			quick = true;
			continue;
		}
		for (size_t j = 0; j < ARRAY_SIZE(benches); j++)
			if (!strcmp(argv[i], benches[j].name))
				known = picked[j] = any = true;
		if (!known) {
			fprintf(stderr, "varbos-bench: no bench \"%s\"\n", argv[i]);
			usage(stderr);
			return 2;
		}
	}

	for (size_t i = 0; i < ARRAY_SIZE(benches); i++) {
		struct harness harness;

		if (any && !picked[i])
			continue;
		if (benches[i].alone)
			harness_init_alone(&harness, quick);
		else
			harness_init(&harness, quick, benches[i].size);
		benches[i].run(&harness);
		harness_deinit(&harness);
	}
	return EXIT_SUCCESS;
}
