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
	{"rtt", "a ping, next to a raw 64-byte ping-pong", bench_rtt, 0, NULL},
	{"extent", "allocate and free 1 MiB through the daemon", bench_extent, 0, NULL},
	{"placement", "each policy in a window of 8 GiB, simulated", bench_placement,
	 BENCH_ALONE, NULL},
	{"hostile", "a ping, a hit beside hostile processes, and beside harmless ones",
	 bench_hostile, 0, NULL},
	{"pair", "allocate and free a block", bench_pair, 0, NULL},
	{"churn", "10 thousand live blocks, random death", bench_churn, 0, NULL},
	{"larson", "threads that come and go and leave their blocks to others", bench_larson, 0,
	 NULL},
	{"prodcons", "blocks allocated by one thread, freed by another", bench_prodcons, 0,
	 NULL},
	{"handover", "shared blocks from one process to another", bench_handover, 0, NULL},
	{"rss", "memory taken by memory asked for, after churn", bench_rss, 0, NULL},
	{"arena", "allocate from an arena", bench_arena, 0, "1G"},
	{"arena_reset", "what a reset takes after few and many allocations", bench_arena_reset,
	 0, "1G"},
	{"sim", "a trace through each eviction policy, by varbosctl sim", bench_sim,
	 BENCH_ALONE, NULL},
	{"reclaim", "a killed client's slices on their way back", bench_reclaim, 0, "1G"},
	{"restart", "a killed daemon of a million values, until another serves", bench_restart,
	 BENCH_KEPT, "512M"},
	{"restart_10m", "the same of ten million; only by its name", bench_restart_10m,
	 BENCH_KEPT | BENCH_BY_NAME, "3G"},
	{"hit_restart", "hits while the daemon is killed again and again", bench_hit_restart,
	 BENCH_KEPT, "256M"},
	{"copy", "copies of 64 bytes to 1 GiB", bench_copy, BENCH_ALONE, NULL},
	{"copy_shifted", "the same, at unlucky addresses", bench_copy_shifted, BENCH_ALONE,
	 NULL},
	{"zero", "zeros over 64 bytes to 1 GiB", bench_zero, BENCH_ALONE, NULL},
	{"hit", "get a value from a cache, next to LMDB, Redis and memcached", bench_hit, 0,
	 "512M"},
	{"hit_hot", "the same, of a thousand keys", bench_hit_hot, 0, "512M"},
	{"hit_1m", "the same, of a million keys", bench_hit_1m, 0, "512M"},
	{"hit_many", "the same, 16 at a time", bench_hit_many, 0, "512M"},
	{"miss", "ask a cache for what it does not have", bench_miss, 0, "512M"},
	{"put", "replace a value, until everyone sees it", bench_put, 0, "512M"},
	{"put_async", "the same, many at a time", bench_put_async, 0, "512M"},
	{"put_evict", "the same, of new keys in a full cache", bench_put_evict, 0, "512M"},
	{"sustained", "the same, for a minute", bench_sustained, 0, "512M"},
	{"put_1m", "put 1 MiB into a full cache, next to copies of as much", bench_put_1m, 0,
	 "512M"},
	{"readers", "a cache's hits by several processes", bench_readers, 0, "512M"},
	{"mixed", "a cache's gets and some puts by two processes", bench_mixed, 0, "512M"},
	{"hit_busy", "hits while the cache is cleaned, evicts and grows", bench_hit_busy, 0,
	 "1G"},
	{"overhead", "memory about each value of a cache", bench_overhead, BENCH_ALONE, NULL},
	{"util", "values by the memory that a full cache holds", bench_util, 0, "512M"},
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

		if (any ? !picked[i] : (benches[i].how & BENCH_BY_NAME))
			continue;
		if (benches[i].how & BENCH_ALONE)
			harness_init_alone(&harness, quick);
		else
			harness_init(&harness, quick, benches[i].size,
				     benches[i].how & BENCH_KEPT);
		benches[i].run(&harness);
		harness_deinit(&harness);
	}
	return EXIT_SUCCESS;
}
