/*
 * Topology - which NUMA nodes a machine has, as plain data.
 *
 * T1  Nodes go by the kernel's numbers, which may have gaps; a set of them is a mask.
 * T2  A distance that is not known is 10 to the node itself and 20 to any other, as firmware
 *     says where it says nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOPOLOGY_NODES_MAX = 64 };

struct topology {
	uint64_t nodes;  /* that there are */
	uint64_t memory; /* of these, that have memory which we may use */
	uint64_t cpus;   /* that have processors */
	uint8_t distance[TOPOLOGY_NODES_MAX][TOPOLOGY_NODES_MAX]; /* 0: not known */
};

static inline uint64_t node_bit(uint32_t node)
{
	return node < TOPOLOGY_NODES_MAX ? (uint64_t)1 << node : 0;
}

static inline uint32_t topology_distance(const struct topology *topology, uint32_t from,
					 uint32_t to)
{
	uint32_t distance = topology->distance[from][to];

	return distance ? distance : from == to ? 10 : 20;
}

/* From the nearest of `from`. */
static inline uint32_t topology_distance_of(const struct topology *topology, uint64_t from,
					    uint32_t to)
{
	uint32_t least = UINT32_MAX;

	for (uint64_t rest = from; rest; rest &= rest - 1) {
		uint32_t distance =
			topology_distance(topology, (uint32_t)__builtin_ctzll(rest), to);

		if (distance < least)
			least = distance;
	}
	return least;
}

/* "0", "0,2-3": as the kernel and numactl write sets of nodes. False: not such a set. */
bool nodes_parse(const char *text, uint64_t *ret);
/* Returns buf; what does not fit is cut off. The empty set is "". */
char *nodes_format(char *buf, size_t size, uint64_t nodes);
enum { NODES_TEXT_MAX = 192 };
