#include "daemon/server/region.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "proto/layout.h"

uint64_t region_weight(const struct sys_node *node, uint32_t page_shift)
{
	return page_shift == 30   ? node->giant_free
	       : page_shift == 21 ? node->huge_free
				  : node->total;
}

uint64_t region_split(const struct sys_nodes *nodes, uint64_t size, uint32_t page_shift,
		      uint64_t *ret_bytes)
{
	uint64_t unit = (uint64_t)1 << u64_max(page_shift, CHUNK_SHIFT), units = size / unit;
	uint64_t rest = 0, weights = 0, left = units;

	for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX; i++) {
		ret_bytes[i] = 0;
		if (nodes->topology.memory & node_bit(i))
			weights += region_weight(&nodes->node[i], page_shift) / unit;
	}
	for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX && weights; i++) {
		uint64_t weight = region_weight(&nodes->node[i], page_shift) / unit, part;

		if (!(nodes->topology.memory & node_bit(i)))
			continue;
		/* The rounding of each goes on to the next, so that the last one comes out even. */
		part = (uint64_t)(((unsigned __int128)units * weight + rest) / weights);
		rest = (uint64_t)(((unsigned __int128)units * weight + rest) % weights);
		part = u64_min(part, left);
		if (page_shift > 12)
			part = u64_min(part, weight);
		ret_bytes[i] = part * unit;
		left -= part;
	}
	return left * unit;
}

uint64_t region_lay_out(const struct shares *shares, const struct sys_nodes *nodes,
			uint64_t size, uint32_t page_shift, uint64_t *ret_bytes)
{
	uint64_t unit = (uint64_t)1 << u64_max(page_shift, CHUNK_SHIFT), left = 0;
	struct sys_nodes named = *nodes;

	if (shares->nodes && !mutant(region_everywhere))
		named.topology.memory &= shares->nodes;
	if (!shares->sized)
		return region_split(&named, size, page_shift, ret_bytes);
	memset(ret_bytes, 0, sizeof(shares->bytes));
	for (uint64_t rest = shares->nodes; rest; rest &= rest - 1) {
		uint32_t node = (uint32_t)__builtin_ctzll(rest);
		uint64_t whole = u64_align_down(shares->bytes[node], unit);

		if (page_shift > 12)
			whole = u64_min(whole, region_weight(&nodes->node[node], page_shift));
		ret_bytes[node] = whole;
		left += shares->bytes[node] - whole;
	}
	return left;
}

bool region_has_nodes(const struct shares *shares, const struct sys_nodes *nodes, char *why,
		      size_t size)
{
	uint64_t missing = shares->nodes & ~nodes->topology.nodes;
	uint64_t bare = shares->nodes & ~nodes->topology.memory;
	char wrong[NODES_TEXT_MAX], right[NODES_TEXT_MAX];

	nodes_format(wrong, sizeof(wrong), missing ? missing : bare);
	nodes_format(right, sizeof(right),
		     missing ? nodes->topology.nodes : nodes->topology.memory);
	if (bare)
		snprintf(why, size,
			 missing ? "memory.nodes: there is no node %s; there are %s"
				 : "memory.nodes: there is no memory for Varbos on node %s; "
				   "there "
				   "is on %s",
			 wrong, right);
	return !bare;
}
