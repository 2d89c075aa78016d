/*
 * Shares - on which NUMA nodes the region lies, and how much of it on each: memory.nodes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/topology.h"

struct shares {
	uint64_t nodes; /* none: all that there are, in proportion to what they have */
	bool sized;     /* else these nodes, in proportion to what they have */
	uint64_t bytes[TOPOLOGY_NODES_MAX];
	uint64_t sum;
};

enum {
	SHARES_E_WRONG = 1, /* *ret_why is said of the text */
};

/* "", "0,2-3", "0:1G,2:512M"; sizes are multiples of 2 MiB, no node is named twice. */
int shares_parse(const char *text, struct shares *ret, const char **ret_why);
