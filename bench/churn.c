/*
 * churn - 10 k live blocks of 16 to 4096 bytes, each size as likely as the other; an operation
 * frees one at random, allocates another in its place, and writes its first word. ns an operation.
 *
 * rss - the same blocks and deaths, but each block is written to its end; after a round, the
 * memory taken from the machine by the bytes asked for in the blocks that live. rss_rounded: by
 * the bytes that may be used in them. Of varbos that is what the daemon has committed for the
 * space, in chunks of 2 MiB, used or not, and what the library has for itself; of the others,
 * the pages that were touched. With 10 k blocks (20 MiB) a chunk is a tenth; so there is the same
 * with `size` blocks, of which it is a fiftieth.
 */
#include <assert.h>
#include <string.h>

#include "bench/allocator.h"
#include "bench/blocks.h"
#include "bench/clock.h"
#include "bench/dice.h"

enum {
	LIVE = 10000,
	LIVE_MOST = 50000,
	SIZE_LEAST = 16,
	SIZE_MOST = 4096,
	OPERATIONS = 50000,
	DEATHS = 5, /* of each block in a round of rss, on average */
};

static void *blocks[LIVE_MOST];
static uint32_t sizes[LIVE_MOST], live = LIVE;
static uint64_t state = 1, live_bytes, before_bytes;

static uint32_t some_size(void)
{
	return SIZE_LEAST + dice_below(&state, SIZE_MOST - SIZE_LEAST + 1);
}

void churn_start(const struct contender *contender)
{
	(void)contender;
	for (uint32_t i = 0; i < LIVE; i++)
		blocks[i] = allocate_and_write(some_size(), i);
}

uint64_t churn_round(void)
{
	uint64_t start_ns = now_ns();

	for (uint64_t i = 0; i < OPERATIONS; i++) {
		void **block = &blocks[dice_below(&state, LIVE)];

		release(*block);
		*block = allocate_and_write(some_size(), i);
	}
	return (now_ns() - start_ns) * 1000 / OPERATIONS;
}

static void replace(uint32_t i)
{
	if (blocks[i])
		release(blocks[i]);
	live_bytes -= sizes[i];
	sizes[i] = some_size();
	live_bytes += sizes[i];
	blocks[i] = allocate(sizes[i]);
	memset(blocks[i], (int)i, sizes[i]);
}

void rss_start(const struct contender *contender)
{
	if (contender->size)
		live = (uint32_t)contender->size;
	assert(live <= LIVE_MOST);
	/* These pages are the bench's. */
	memset(blocks, 0, sizeof(blocks));
	memset(sizes, 0, sizeof(sizes));
	before_bytes = allocator_committed();
	for (uint32_t i = 0; i < live; i++)
		replace(i);
}

uint64_t rss_round(void)
{
	for (uint64_t i = 0; i < (uint64_t)live * DEATHS; i++)
		replace(dice_below(&state, live));
	return (allocator_committed() - before_bytes) * 1000 / live_bytes;
}

uint64_t rss_rounded_round(void)
{
	uint64_t ratio = rss_round(), usable_bytes = 0;

	for (uint32_t i = 0; i < live; i++)
		usable_bytes += allocator_usable(blocks[i]);
	assert(usable_bytes);
	return ratio * live_bytes / usable_bytes;
}
