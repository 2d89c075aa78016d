/*
 * Region - how much of the daemon's memory lies on which node.
 */
#pragma once

#include <stdint.h>

#include "daemon/config/shares.h"
#include "daemon/sys/sys.h"

/* What a node has of pages of this size, in bytes: all its memory, or what is free in its pool. */
uint64_t region_weight(const struct sys_node *node, uint32_t page_shift);

/*
 * Parts of `size` (a multiple of the unit) in proportion to the weights of the nodes that have
 * memory for us, in whole units; no part of a pool is larger than the pool. What is left undone is
 * returned: 0, unless the pools together are too small.
 */
uint64_t region_split(const struct sys_nodes *nodes, uint64_t size, uint32_t page_shift,
		      uint64_t *ret_bytes);

/*
 * The same, as memory.nodes says: on these nodes alone, or so much on each. What a pool lacks, and
 * what is not whole units, is left undone.
 */
uint64_t region_lay_out(const struct shares *shares, const struct sys_nodes *nodes,
			uint64_t size, uint32_t page_shift, uint64_t *ret_bytes);

/*
 * What each node should have in pages of this size, whatever its pool has: as memory.nodes says, or
 * in proportion to all the memory that they have.
 */
void region_wish(const struct shares *shares, const struct sys_nodes *nodes, uint64_t size,
		 uint32_t page_shift, uint64_t *ret_bytes);

/* Does the machine have the nodes that are named? If not, `why` says which it has. */
bool region_has_nodes(const struct shares *shares, const struct sys_nodes *nodes, char *why,
		      size_t size);
