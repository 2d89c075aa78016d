/*
 * First fit - the lowest address that will do; for an aligned request, of the runs looked at.
 *
 * A treap by address; each node knows the longest run of its subtree, so a subtree without one
 * that is long enough is never entered. Its depth, and that of the recursion, is logarithmic;
 * no choice of runs makes a path longer than the longest monotone row of the hashes, which for
 * the largest window is some hundreds.
 */
#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "daemon/core/place_tree.h"
#include "daemon/core/placement.h"

/* Links and priorities as in place_tree.h. */
struct node {
	uint32_t left, right, count, longest;
};

struct firstfit {
	uint32_t root, slices;
	struct node nodes[]; /* [0] is none, and of length 0 */
};

static int firstfit_init(void **ret, uint32_t slices)
{
	struct firstfit *index;

	index = calloc(1, sizeof(*index) + ((size_t)slices + 1) * sizeof(index->nodes[0]));
	if (!index)
		return -ENOMEM;
	index->slices = slices;
	*ret = index;
	return 0;
}

static uint32_t longest_of(const struct firstfit *index, uint32_t at)
{
	const struct node *node = &index->nodes[at];
	uint32_t left = index->nodes[node->left].longest;
	uint32_t right = index->nodes[node->right].longest;
	uint32_t longest = left > right ? left : right;

	return longest > node->count ? longest : node->count;
}

/* The subtree at `at`, as what lies before `link` and what lies after. */
static void split(struct firstfit *index, uint32_t at, uint32_t link, uint32_t *ret_less,
		  uint32_t *ret_more)
{
	struct node *node = &index->nodes[at];

	if (!at) {
		*ret_less = *ret_more = 0;
		return;
	}
	if (at < link) {
		split(index, node->right, link, &node->right, ret_more);
		*ret_less = at;
	} else {
		split(index, node->left, link, ret_less, &node->left);
		*ret_more = at;
	}
	node->longest = longest_of(index, at);
}

static uint32_t merge(struct firstfit *index, uint32_t less, uint32_t more)
{
	uint32_t top;

	if (!less || !more)
		return less ? less : more;
	if (place_priority(less) > place_priority(more)) {
		top = less;
		index->nodes[top].right = merge(index, index->nodes[top].right, more);
	} else {
		top = more;
		index->nodes[top].left = merge(index, less, index->nodes[top].left);
	}
	index->nodes[top].longest = longest_of(index, top);
	return top;
}

static void insert_below(struct firstfit *index, uint32_t *at, uint32_t link)
{
	struct node *node = &index->nodes[link];

	if (!*at || place_priority(*at) < place_priority(link)) {
		split(index, *at, link, &node->left, &node->right);
		*at = link;
	} else if (link < *at) {
		insert_below(index, &index->nodes[*at].left, link);
	} else {
		insert_below(index, &index->nodes[*at].right, link);
	}
	index->nodes[*at].longest = longest_of(index, *at);
}

static void firstfit_insert(void *data, uint32_t first, uint32_t count)
{
	struct firstfit *index = data;

	index->nodes[first + 1].count = count;
	insert_below(index, &index->root, first + 1);
}

static void remove_below(struct firstfit *index, uint32_t *at, uint32_t link)
{
	struct node *node = &index->nodes[*at];

	assert(*at);
	if (link == *at) {
		*at = merge(index, node->left, node->right);
		return;
	}
	remove_below(index, link < *at ? &node->left : &node->right, link);
	node->longest = longest_of(index, *at);
}

static void firstfit_remove(void *data, uint32_t first, uint32_t count)
{
	struct firstfit *index = data;

	assert(index->nodes[first + 1].count == count);
	remove_below(index, &index->root, first + 1);
}

struct search {
	uint32_t least, count, align; /* `least`: shorter runs are not looked at */
	uint32_t looks;               /* how many more are */
};

static bool find_below(const struct firstfit *index, uint32_t at, struct search *search,
		       struct place *ret)
{
	const struct node *node = &index->nodes[at];

	if (node->longest < search->least || !search->looks)
		return false;
	if (find_below(index, node->left, search, ret))
		return true;
	if (node->count >= search->least && search->looks) {
		--search->looks;
		if (place_in_run(at - 1, node->count, search->count, search->align, ret))
			return true;
	}
	return find_below(index, node->right, search, ret);
}

static bool find(const struct firstfit *index, struct search search, struct place *ret)
{
	return find_below(index, index->root, &search, ret);
}

static bool firstfit_find(const void *data, uint32_t count, uint32_t align, struct place *ret)
{
	const struct firstfit *index = data;

	assert(count);
	return find(index, (struct search){count, count, align, PLACE_LOOKS}, ret) ||
	       find(index, (struct search){place_sure(count, align), count, align, 1}, ret);
}

static uint32_t firstfit_largest(const void *data)
{
	const struct firstfit *index = data;

	return index->nodes[index->root].longest;
}

/* All of a subtree lies in [low, high), so that even a circle of links comes to an end. */
static const char *check_below(const struct firstfit *index, uint32_t at, uint32_t low,
			       uint32_t high, uint32_t *count)
{
	const struct node *node = &index->nodes[at];
	const char *wrong;

	if (!at)
		return NULL;
	if (at < low || at >= high)
		return "firstfit: the tree is not in order";
	if (!node->count || node->count > high - at)
		return "firstfit: a run leaves the window or touches the next";
	if ((node->left && place_priority(node->left) > place_priority(at)) ||
	    (node->right && place_priority(node->right) > place_priority(at)))
		return "firstfit: the treap is not a heap";
	if (node->longest != longest_of(index, at))
		return "firstfit: a node misjudges its subtree";
	++*count;
	wrong = check_below(index, node->left, low, at, count);
	if (wrong)
		return wrong;
	return check_below(index, node->right, at + node->count, high, count);
}

static const char *firstfit_check(const void *data, uint32_t *ret_count)
{
	const struct firstfit *index = data;
	uint32_t count = 0;
	const char *wrong;

	if (index->nodes[0].longest)
		return "firstfit: the node that is none has a length";
	wrong = check_below(index, index->root, 1, index->slices + 1, &count);
	if (wrong)
		return wrong;
	*ret_count = count;
	return NULL;
}

const struct placement place_firstfit = {
	.name = "firstfit",
	.init = firstfit_init,
	.deinit = free,
	.insert = firstfit_insert,
	.remove = firstfit_remove,
	.find = firstfit_find,
	.largest = firstfit_largest,
	.check = firstfit_check,
};
