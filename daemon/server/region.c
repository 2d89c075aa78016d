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

/* `weights` in units of their own; no part is larger than `max`, in units (NULL: any). */
static uint64_t split(uint64_t units, const uint64_t *weights, const uint64_t *max,
		      uint64_t *ret)
{
	uint64_t rest = 0, sum = 0, left = units;

	for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX; i++) {
		ret[i] = 0;
		sum += weights[i];
	}
	for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX && sum; i++) {
		unsigned __int128 part = (unsigned __int128)units * weights[i] + rest;

		/* The rounding of each goes on to the next, so that the last one comes out even. */
		rest = (uint64_t)(part % sum);
		ret[i] = u64_min((uint64_t)(part / sum), left);
		if (max)
			ret[i] = u64_min(ret[i], max[i]);
		left -= ret[i];
	}
	return left;
}

uint64_t region_split(const struct sys_nodes *nodes, uint64_t size, uint32_t page_shift,
		      uint64_t *ret_bytes)
{
	uint64_t unit = (uint64_t)1 << u64_max(page_shift, CHUNK_SHIFT);
	uint64_t weights[TOPOLOGY_NODES_MAX] = {0}, left;

	for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX; i++)
		if (nodes->topology.memory & node_bit(i))
			weights[i] = region_weight(&nodes->node[i], page_shift) / unit;
	left = split(size / unit, weights, page_shift > 12 ? weights : NULL, ret_bytes);
	for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX; i++)
		ret_bytes[i] *= unit;
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

void region_wish(const struct shares *shares, const struct sys_nodes *nodes, uint64_t size,
		 uint32_t page_shift, uint64_t *ret_bytes)
{
	uint64_t unit = (uint64_t)1 << u64_max(page_shift, CHUNK_SHIFT);
	uint64_t there = nodes->topology.memory, weights[TOPOLOGY_NODES_MAX] = {0};

	if (shares->sized) {
		memcpy(ret_bytes, shares->bytes, sizeof(shares->bytes));
		return;
	}
	if (shares->nodes)
		there &= shares->nodes;
	for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX; i++)
		if (there & node_bit(i))
			weights[i] = nodes->node[i].total / CHUNK_BYTES;
	split(size / unit, weights, NULL, ret_bytes);
	for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX; i++)
		ret_bytes[i] *= unit;
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
