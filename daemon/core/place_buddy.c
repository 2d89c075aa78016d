/*
 * Buddy - a place aligned to the next power of two of the request, in a run whose largest
 * aligned block is as small as will do; of the rest of the block nothing is taken (tail return).
 *
 * A run's order is that of the largest aligned block of 2^order slices inside it. A tree ranked
 * by (order, length): a run of at least the request's order holds it at once, and the runs with
 * large whole blocks are kept for those who need them. Where no run is of that order, one of a
 * lower order may still hold the request at the alignment that was asked.
 */
#include <assert.h>

#include "base/base.h"
#include "daemon/core/place_tree.h"
#include "daemon/core/placement.h"

enum { LENGTH_BITS = 27 };

static uint32_t rank_of(uint32_t order, uint32_t count)
{
	return order << LENGTH_BITS | count;
}

static uint32_t rank_order(uint32_t rank)
{
	return rank >> LENGTH_BITS;
}

static uint32_t rank_count(uint32_t rank)
{
	return rank & (((uint32_t)1 << LENGTH_BITS) - 1);
}

static uint32_t floor_order(uint32_t count)
{
	return 31 - (uint32_t)__builtin_clz(count);
}

static uint32_t ceil_order(uint32_t count)
{
	return count > 1 ? floor_order(count - 1) + 1 : 0;
}

/* Of 2 * 2^n - 1 slices, wherever they start, one aligned block of 2^n is whole: few steps. */
static uint32_t run_rank(uint32_t first, uint32_t count)
{
	uint32_t order = floor_order(count);
	struct place place;

	while (!place_in_run(first, count, (uint32_t)1 << order, (uint32_t)1 << order, &place))
		--order;
	return rank_of(order, count);
}

static int buddy_init(void **ret, uint32_t slices)
{
	assert(slices < (uint32_t)1 << LENGTH_BITS);
	return place_tree_init(ret, slices);
}

static void buddy_insert(void *index, uint32_t first, uint32_t count)
{
	place_tree_insert(index, first, run_rank(first, count));
}

static void buddy_remove(void *index, uint32_t first, uint32_t count)
{
	place_tree_remove(index, first, run_rank(first, count));
}

/* Of the runs of one order that have `least` slices or more, the first `looks`. */
static bool find_in_order(const struct place_tree *tree, uint32_t order, uint32_t least,
			  uint32_t looks, uint32_t count, uint32_t align, struct place *ret)
{
	uint32_t link = place_tree_from(tree, rank_of(order, least), 0);

	for (; link && looks && rank_order(tree->nodes[link].rank) == order;
	     link = place_tree_next(tree, link), --looks)
		if (place_in_run(link - 1, rank_count(tree->nodes[link].rank), count, align,
				 ret))
			return true;
	return false;
}

static bool buddy_find(const void *index, uint32_t count, uint32_t align, struct place *ret)
{
	const struct place_tree *tree = index;
	uint32_t order, wanted, link, sure = place_sure(count, align);

	if (count > tree->slices)
		return false;
	order = ceil_order(count);
	wanted = (uint32_t)u64_max(order, floor_order(align));
	link = place_tree_from(tree, rank_of(wanted, 0), 0);
	if (link)
		return place_in_run(link - 1, rank_count(tree->nodes[link].rank), count,
				    (uint32_t)1 << wanted, ret);
	if (mutant(buddy_whole_blocks))
		return false;
	/* A run as long as the request has a block of at least a quarter of the request's. */
	for (order -= order < 2 ? order : 2; order < wanted; ++order)
		if (find_in_order(tree, order, count, PLACE_LOOKS, count, align, ret) ||
		    (sure <= tree->slices &&
		     find_in_order(tree, order, sure, 1, count, align, ret)))
			return true;
	return false;
}

/* A run without a block of 2^n is shorter than 2^(n+1): only one order below can be longer. */
static uint32_t buddy_largest(const void *index)
{
	const struct place_tree *tree = index;
	uint32_t last = place_tree_before(tree, UINT32_MAX), rank, below;

	if (!last)
		return 0;
	rank = tree->nodes[last].rank;
	below = place_tree_before(tree, rank_of(rank_order(rank), 0));
	return (uint32_t)u64_max(rank_count(rank), rank_count(tree->nodes[below].rank));
}

static const char *buddy_check(const void *index, uint32_t *ret_count)
{
	const struct place_tree *tree = index;
	const char *wrong = place_tree_check(tree, ret_count);

	if (wrong)
		return wrong;
	for (uint32_t at = place_tree_from(tree, 0, 0); at; at = place_tree_next(tree, at)) {
		uint32_t count = rank_count(tree->nodes[at].rank);

		if (!count || count > tree->slices || at - 1 > tree->slices - count)
			return "buddy: a run outside the window";
		if (run_rank(at - 1, count) != tree->nodes[at].rank)
			return "buddy: a run of another order than its own";
	}
	return NULL;
}

const struct placement place_buddy = {
	.name = "buddy",
	.init = buddy_init,
	.deinit = free,
	.insert = buddy_insert,
	.remove = buddy_remove,
	.find = buddy_find,
	.largest = buddy_largest,
	.check = buddy_check,
};
