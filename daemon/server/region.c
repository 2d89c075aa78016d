#include "daemon/server/region.h"

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
