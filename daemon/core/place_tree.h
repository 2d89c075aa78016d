/*
 * Place tree - free runs in the order of a policy's rank, the lowest address first among equals.
 *
 * T1  The node of a run is the array element of its first slice: nothing is ever allocated.
 * T2  A treap whose priorities are a hash of that element's number: the shape depends on the
 *     set of runs alone, so a recovered index chooses as the live one does.
 *
 * Links are slice + 1; 0 is none.
 */
#pragma once

#include <stdint.h>

#include "daemon/core/placement.h"

/* A bijection of 32 bits (Wellons' lowbias32), so no two nodes have the same priority. */
static inline uint32_t place_priority(uint32_t link)
{
	link ^= link >> 16;
	link *= 0x7feb352d;
	link ^= link >> 15;
	link *= 0x846ca68b;
	link ^= link >> 16;
	return link;
}

/*
 * The first multiple of `align` in a run, if `count` slices from there are in it: every policy
 * asks this of a run before it chooses it.
 */
static inline bool place_in_run(uint32_t run, uint32_t length, uint32_t count, uint32_t align,
				struct place *ret)
{
	uint32_t first = (run + align - 1) & ~(align - 1);

	if (count > length || first - run > length - count)
		return false;
	*ret = (struct place){run, first};
	return true;
}

/* However a run of this length lies, it holds such a place. */
static inline uint32_t place_sure(uint32_t count, uint32_t align)
{
	return count > UINT32_MAX - (align - 1) ? UINT32_MAX : count + align - 1;
}

struct place_node {
	uint32_t left, right, rank;
};

struct place_tree {
	uint32_t root, slices;
	struct place_node nodes[]; /* [0] is none, [first + 1] the run that starts at `first` */
};

int place_tree_init(void **ret, uint32_t slices);
void place_tree_insert(struct place_tree *tree, uint32_t first, uint32_t rank);
void place_tree_remove(struct place_tree *tree, uint32_t first, uint32_t rank);

/* The first node not before (rank, link), the last one of a lower rank; 0 if there is none. */
uint32_t place_tree_from(const struct place_tree *tree, uint32_t rank, uint32_t link);
uint32_t place_tree_before(const struct place_tree *tree, uint32_t rank);
/* The one after `link`, in order. */
uint32_t place_tree_next(const struct place_tree *tree, uint32_t link);

/* NULL, or what is wrong with the tree as such. */
const char *place_tree_check(const struct place_tree *tree, uint32_t *ret_count);
