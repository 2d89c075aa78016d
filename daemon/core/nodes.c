#include "daemon/core/nodes.h"

#include "base/base.h"
#include "daemon/core/state.h"

uint64_t core_nodes(const struct core *core)
{
	uint64_t nodes = 0;

	for (uint32_t i = 0; i < core->n_rungs; ++i)
		nodes |= rung_nodes(core, &core->rungs[i]);
	return nodes;
}

static void tier_add(struct node_order *order, uint64_t nodes)
{
	nodes &= ~order->all;
	if (!nodes)
		return;
	order->tiers[order->n_tiers++] = nodes;
	order->all |= nodes;
}

/* All that are left, by their distance from the nearest of `from`. */
static void tiers_by_distance(const struct core *core, uint64_t there, uint64_t from,
			      struct node_order *order)
{
	const struct topology *topology = &core->config.topology;
	uint64_t rest = there & ~order->all;

	while (rest) {
		uint32_t least = UINT32_MAX;
		uint64_t tier = 0;

		for (uint64_t left = rest; left; left &= left - 1) {
			uint32_t node = (uint32_t)__builtin_ctzll(left);
			uint32_t distance = topology_distance_of(topology, from, node);

			if (mutant(numa_distance_unseen))
				distance = node;
			if (distance < least) {
				least = distance;
				tier = 0;
			}
			if (distance == least)
				tier |= node_bit(node);
		}
		tier_add(order, tier);
		rest &= ~tier;
	}
}

/* One node a tier, the one that holds the least of the space first. */
static void tiers_by_level(const struct space *space, uint64_t nodes, struct node_order *order)
{
	while (nodes) {
		uint32_t best = (uint32_t)__builtin_ctzll(nodes);

		for (uint64_t left = nodes; left; left &= left - 1) {
			uint32_t node = (uint32_t)__builtin_ctzll(left);

			if (space->used_on[node] < space->used_on[best])
				best = node;
		}
		tier_add(order, node_bit(best));
		nodes &= ~node_bit(best);
	}
}

void node_order(const struct core *core, const struct space *space, struct numa numa,
		uint32_t caller, struct node_order *ret)
{
	uint64_t there = rung_nodes(core, space->rung);

	*ret = (struct node_order){0};
	switch (numa.kind) {
	case NUMA_LOCAL:
		if (node_bit(caller - 1) & (core->config.topology.nodes | there)) {
			tiers_by_distance(core, there, node_bit(caller - 1), ret);
			break;
		}
		tier_add(ret, there);
		break;
	case NUMA_BIND:
		tier_add(ret, numa.nodes & there);
		if (mutant(numa_bind_spills))
			tiers_by_distance(core, there, numa.nodes, ret);
		break;
	case NUMA_INTERLEAVE:
		tiers_by_level(space, numa.nodes & there, ret);
		break;
	case NUMA_PREFERRED:
		tier_add(ret, numa.nodes & there);
		tiers_by_distance(core, there, numa.nodes, ret);
		break;
	case NUMA_DEFAULT:
	case NUMA_KINDS:
		tier_add(ret, there);
		break;
	}
}

void node_order_avoid(struct node_order *order, uint64_t nodes)
{
	uint32_t n = 0;

	order->all &= ~nodes;
	for (uint32_t i = 0; i < order->n_tiers; ++i)
		if (order->tiers[i] & ~nodes)
			order->tiers[n++] = order->tiers[i] & ~nodes;
	order->n_tiers = n;
}

int numa_check(const struct core *core, struct numa numa, struct core_fault *fault)
{
	uint64_t with_memory = core_nodes(core);
	uint64_t wrong = numa.nodes & ~(core->config.topology.nodes | with_memory);

	if (numa.kind >= NUMA_KINDS)
		return FAULT(fault, CORE_E_INVALID, .which = "numa");
	if (numa_names_nodes(numa.kind) != !!numa.nodes)
		return FAULT(fault, CORE_E_INVALID, .which = "nodes");
	if (!wrong && numa_strict(numa.kind))
		wrong = numa.nodes & ~with_memory;
	if (wrong)
		return FAULT(fault, CORE_E_INVALID, .which = "nodes", .nodes = wrong);
	return 0;
}
