/*
 * Nodes - where a NUMA policy lets memory come from, and in which order.
 *
 * O1  The order is a list of tiers, sets of nodes with memory, no node in two of them. A tier is
 *     tried only when what is before it has no room.
 * O2  bind and interleave name nodes that no tier goes beyond; of the others every node with
 *     memory is in some tier, the nearer ones first.
 */
#pragma once

#include <stdint.h>

#include "base/numa.h"
#include "daemon/core/core.h"

struct space;

struct node_order {
	uint64_t all; /* the tiers together */
	uint32_t n_tiers;
	uint64_t tiers[STATS_NODES_MAX];
};

/* `caller`: a node + 1, or 0: unknown. */
void node_order(const struct core *core, const struct space *space, struct numa numa,
		uint32_t caller, struct node_order *ret);

/* Without these nodes. */
void node_order_avoid(struct node_order *order, uint64_t nodes);

/* Does the policy make sense on this machine? CORE_E_INVALID: "numa", or "nodes" (fault: nodes). */
int numa_check(const struct core *core, struct numa numa, struct core_fault *fault);
