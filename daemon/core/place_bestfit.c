/*
 * Best fit - the shortest run that is long enough; the lowest address among equals.
 *
 * A tree ranked by length.
 */
#include "base/base.h"
#include "daemon/core/place_tree.h"
#include "daemon/core/placement.h"

static void bestfit_insert(void *index, uint32_t first, uint32_t count)
{
	place_tree_insert(index, first, count);
}

static void bestfit_remove(void *index, uint32_t first, uint32_t count)
{
	place_tree_remove(index, first, count);
}

/* Of the runs that have `least` slices or more, the first `looks`. */
static bool find_from(const struct place_tree *tree, uint32_t least, uint32_t looks,
		      uint32_t count, uint32_t align, struct place *ret)
{
	uint32_t link = place_tree_from(tree, least, 0);

	for (; link && looks; link = place_tree_next(tree, link), --looks)
		if (place_in_run(link - 1, tree->nodes[link].rank, count, align, ret))
			return true;
	return false;
}

static bool bestfit_find(const void *index, uint32_t count, uint32_t align, struct place *ret)
{
	const struct place_tree *tree = index;

	return find_from(tree, count, PLACE_LOOKS, count, align, ret) ||
	       find_from(tree, place_sure(count, align), 1, count, align, ret);
}

static uint32_t bestfit_largest(const void *index)
{
	const struct place_tree *tree = index;

	/* The rank of no node is never written: 0. */
	return tree->nodes[place_tree_before(tree, UINT32_MAX)].rank;
}

static const char *bestfit_check(const void *index, uint32_t *ret_count)
{
	const struct place_tree *tree = index;
	const char *wrong = place_tree_check(tree, ret_count);

	if (wrong)
		return wrong;
	for (uint32_t at = place_tree_from(tree, 0, 0); at; at = place_tree_next(tree, at))
		if (!tree->nodes[at].rank || at - 1 + tree->nodes[at].rank > tree->slices)
			return "bestfit: a run outside the window";
	return NULL;
}

const struct placement place_bestfit = {
	.name = "bestfit",
	.init = place_tree_init,
	.deinit = free,
	.insert = bestfit_insert,
	.remove = bestfit_remove,
	.find = bestfit_find,
	.largest = bestfit_largest,
	.check = bestfit_check,
};
