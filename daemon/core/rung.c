#include "daemon/core/rung.h"

#include "base/base.h"
#include "daemon/core/state.h"

struct rung *rung_at(struct core *core, uint32_t page_shift)
{
	for (uint32_t i = 0; i < core->n_rungs; ++i)
		if (core->rungs[i].page_shift == page_shift)
			return &core->rungs[i];
	return NULL;
}

struct rung *rung_for(struct core *core, uint64_t limit, uint64_t nodes)
{
	struct rung *large = &core->rungs[core->n_rungs - 1];

	if (limit >= core->config.large.from && rung_nodes(core, large) & nodes)
		return large;
	return &core->rungs[0];
}

uint64_t rung_nodes(const struct core *core, const struct rung *rung)
{
	uint64_t nodes = 0;

	for (uint32_t i = 0; i < core->config.n_nodes; ++i)
		if (rung->nodes[i].capacity)
			nodes |= node_bit(i);
	return nodes;
}

uint64_t rung_bytes(const struct core *core, const struct rung *rung, uint64_t nodes)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < core->config.n_nodes; ++i)
		if (nodes & node_bit(i))
			bytes += units_bytes(rung, rung->nodes[i].capacity);
	return bytes;
}
