/*
 * Best fit - the shortest run that is long enough; the lowest address among equals.
 *
 * A treap ordered by (length, first slice). The node of a run is the array element of its first
 * slice, so nothing is ever allocated, and its priority is a hash of that number, so the shape
 * depends on the set of runs alone: a recovered index equals the live one.
 */
#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "daemon/core/placement.h"

/* Links are slice + 1; 0 is none. */
struct node {
	uint32_t left, right, count;
};

struct bestfit {
	uint32_t root, slices;
	struct node nodes[]; /* [0] is none, [first + 1] the run that starts at `first` */
};

/* A bijection of 32 bits (Wellons' lowbias32), so no two nodes have the same priority. */
static uint32_t priority(uint32_t link)
{
	link ^= link >> 16;
	link *= 0x7feb352d;
	link ^= link >> 15;
	link *= 0x846ca68b;
	link ^= link >> 16;
	return link;
}

static bool before(const struct bestfit *index, uint32_t link, uint32_t count, uint32_t at)
{
	uint32_t mine = index->nodes[link].count;

	return mine < count || (mine == count && link < at);
}

static int bestfit_init(void **ret, uint32_t slices)
{
	struct bestfit *index;

	index = calloc(1, sizeof(*index) + ((size_t)slices + 1) * sizeof(index->nodes[0]));
	if (!index)
		return -ENOMEM;
	index->slices = slices;
	*ret = index;
	return 0;
}

static void bestfit_insert(void *data, uint32_t first, uint32_t count)
{
	struct bestfit *index = data;
	uint32_t link = first + 1, mine = priority(link), rest;
	uint32_t *at = &index->root, *less, *more;

	while (*at && priority(*at) > mine)
		at = before(index, *at, count, link) ? &index->nodes[*at].right
						     : &index->nodes[*at].left;
	rest = *at;
	*at = link;
	index->nodes[link].count = count;
	less = &index->nodes[link].left;
	more = &index->nodes[link].right;
	while (rest) {
		if (before(index, rest, count, link)) {
			*less = rest;
			less = &index->nodes[rest].right;
			rest = *less;
		} else {
			*more = rest;
			more = &index->nodes[rest].left;
			rest = *more;
		}
	}
	*less = *more = 0;
}

static void bestfit_remove(void *data, uint32_t first, uint32_t count)
{
	struct bestfit *index = data;
	uint32_t link = first + 1, *at = &index->root, left, right;

	while (*at && *at != link)
		at = before(index, *at, count, link) ? &index->nodes[*at].right
						     : &index->nodes[*at].left;
	assert(*at && index->nodes[link].count == count);
	left = index->nodes[link].left;
	right = index->nodes[link].right;
	while (left && right) {
		if (priority(left) > priority(right)) {
			*at = left;
			at = &index->nodes[left].right;
			left = *at;
		} else {
			*at = right;
			at = &index->nodes[right].left;
			right = *at;
		}
	}
	*at = left ? left : right;
}

/* The first run not before (count, link). */
static uint32_t lower_bound(const struct bestfit *index, uint32_t count, uint32_t link)
{
	uint32_t found = 0;

	for (uint32_t at = index->root; at;) {
		if (before(index, at, count, link)) {
			at = index->nodes[at].right;
		} else {
			found = at;
			at = index->nodes[at].left;
		}
	}
	return found;
}

/* Runs shorter than count + align - 1 may fail to hold an aligned place: then the next one. */
static bool bestfit_find(const void *data, uint32_t count, uint32_t align, struct place *ret)
{
	const struct bestfit *index = data;
	uint32_t link = lower_bound(index, count, 0);

	while (link) {
		uint32_t run = link - 1, length = index->nodes[link].count;
		uint32_t first = (run + align - 1) & ~(align - 1);

		if (first - run <= length - count) {
			*ret = (struct place){run, first};
			return true;
		}
		link = lower_bound(index, length, link + 1);
	}
	return false;
}

static uint32_t bestfit_largest(const void *data)
{
	const struct bestfit *index = data;
	uint32_t at = index->root;

	while (at && index->nodes[at].right)
		at = index->nodes[at].right;
	return at ? index->nodes[at].count : 0;
}

static const char *bestfit_check(const void *data, uint32_t *ret_count)
{
	const struct bestfit *index = data;
	uint32_t n = 0;

	for (uint32_t at = lower_bound(index, 0, 0); at;
	     at = lower_bound(index, index->nodes[at].count, at + 1)) {
		const struct node *node = &index->nodes[at];

		if (!node->count || at - 1 + node->count > index->slices)
			return "bestfit: a run outside the window";
		if ((node->left && priority(node->left) > priority(at)) ||
		    (node->right && priority(node->right) > priority(at)))
			return "bestfit: the treap is not a heap";
		if (++n > index->slices)
			return "bestfit: the treap is not a tree";
	}
	*ret_count = n;
	return NULL;
}

const struct placement place_bestfit = {
	.name = "bestfit",
	.init = bestfit_init,
	.deinit = free,
	.insert = bestfit_insert,
	.remove = bestfit_remove,
	.find = bestfit_find,
	.largest = bestfit_largest,
	.check = bestfit_check,
};
