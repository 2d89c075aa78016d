/*
 * pair - allocate a block, write its first word, free it; again and again. ns a pair.
 */
#include "bench/allocator.h"
#include "bench/blocks.h"
#include "bench/clock.h"

enum { PAIRS = 20000 };

static size_t block_size;

void pair_start(const struct contender *contender)
{
	block_size = contender->size;
}

uint64_t pair_round(void)
{
	uint64_t start_ns = now_ns();

	for (uint64_t i = 0; i < PAIRS; i++)
		release(allocate_and_write(block_size, i));
	return (now_ns() - start_ns) * 1000 / PAIRS;
}
