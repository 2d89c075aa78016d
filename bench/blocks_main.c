#include "base/base.h"
#include "bench/allocator.h"
#include "bench/blocks.h"

static const struct contender_row rows[] = {
	{"pair", pair_start, pair_round, 3},
	{"churn", churn_start, churn_round, 10},
	{"larson", larson_start, larson_round, 3},
	{"prodcons", prodcons_start, prodcons_round, 3},
	{"rss", rss_start, rss_round, 4},
	{"rss_rounded", rss_start, rss_rounded_round, 4},
};

int main(int argc, char **argv)
{
	return contender_main(argc, argv, rows, ARRAY_SIZE(rows), allocator_start,
			      allocator_stop);
}
