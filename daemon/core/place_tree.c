#include "daemon/core/place_tree.h"

#include <assert.h>
#include <errno.h>

#include "base/base.h"

static bool before(const struct place_tree *tree, uint32_t link, uint32_t rank, uint32_t at)
{
	uint32_t mine = tree->nodes[link].rank;

	return mine < rank || (mine == rank && link < at);
}

int place_tree_init(void **ret, uint32_t slices)
{
	struct place_tree *tree;

	tree = calloc(1, sizeof(*tree) + ((size_t)slices + 1) * sizeof(tree->nodes[0]));
	if (!tree)
		return -ENOMEM;
	tree->slices = slices;
	*ret = tree;
	return 0;
}

void place_tree_insert(struct place_tree *tree, uint32_t first, uint32_t rank)
{
	uint32_t link = first + 1, mine = place_priority(link), rest;
	uint32_t *at = &tree->root, *less, *more;

	while (*at && place_priority(*at) > mine)
		at = before(tree, *at, rank, link) ? &tree->nodes[*at].right
						   : &tree->nodes[*at].left;
	rest = *at;
	*at = link;
	tree->nodes[link].rank = rank;
	less = &tree->nodes[link].left;
	more = &tree->nodes[link].right;
	while (rest) {
		if (before(tree, rest, rank, link)) {
			*less = rest;
			less = &tree->nodes[rest].right;
			rest = *less;
		} else {
			*more = rest;
			more = &tree->nodes[rest].left;
			rest = *more;
		}
	}
	*less = *more = 0;
}

void place_tree_remove(struct place_tree *tree, uint32_t first, uint32_t rank)
{
	uint32_t link = first + 1, *at = &tree->root, left, right;

	while (*at && *at != link)
		at = before(tree, *at, rank, link) ? &tree->nodes[*at].right
						   : &tree->nodes[*at].left;
	assert(*at && tree->nodes[link].rank == rank);
	left = tree->nodes[link].left;
	right = tree->nodes[link].right;
	while (left && right) {
		if (place_priority(left) > place_priority(right)) {
			*at = left;
			at = &tree->nodes[left].right;
			left = *at;
		} else {
			*at = right;
			at = &tree->nodes[right].left;
			right = *at;
		}
	}
	*at = left ? left : right;
}

uint32_t place_tree_from(const struct place_tree *tree, uint32_t rank, uint32_t link)
{
	uint32_t found = 0;

	for (uint32_t at = tree->root; at;) {
		if (before(tree, at, rank, link)) {
			at = tree->nodes[at].right;
		} else {
			found = at;
			at = tree->nodes[at].left;
		}
	}
	return found;
}

uint32_t place_tree_before(const struct place_tree *tree, uint32_t rank)
{
	uint32_t found = 0;

	for (uint32_t at = tree->root; at;) {
		if (before(tree, at, rank, 0)) {
			found = at;
			at = tree->nodes[at].right;
		} else {
			at = tree->nodes[at].left;
		}
	}
	return found;
}

uint32_t place_tree_next(const struct place_tree *tree, uint32_t link)
{
	return place_tree_from(tree, tree->nodes[link].rank, link + 1);
}

const char *place_tree_check(const struct place_tree *tree, uint32_t *ret_count)
{
	uint32_t n = 0;

	for (uint32_t at = place_tree_from(tree, 0, 0); at; at = place_tree_next(tree, at)) {
		const struct place_node *node = &tree->nodes[at];

		if (at > tree->slices)
			return "placement: a node outside the window";
		if ((node->left && place_priority(node->left) > place_priority(at)) ||
		    (node->right && place_priority(node->right) > place_priority(at)))
			return "placement: the treap is not a heap";
		if (++n > tree->slices)
			return "placement: the treap is not a tree";
	}
	*ret_count = n;
	return NULL;
}
