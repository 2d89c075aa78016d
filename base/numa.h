/*
 * Numa - on which nodes a space, or one allocation, wants its memory.
 *
 *   default      anywhere: a new window goes where the most is free
 *   local        the caller's node, else the nearest that has room
 *   bind         these nodes, or nowhere
 *   interleave   these nodes, or nowhere: each allocation on the one that holds the least of
 *                the space's, so they stay level; an allocation lies on one node
 *   preferred    these nodes, else the nearest to them that have room
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/topology.h"

enum numa_kind {
	NUMA_DEFAULT,
	NUMA_LOCAL,
	NUMA_BIND,
	NUMA_INTERLEAVE,
	NUMA_PREFERRED,
	NUMA_KINDS
};

struct numa {
	enum numa_kind kind;
	uint64_t nodes; /* of bind, interleave and preferred: never empty; of others: none */
};

static inline bool numa_names_nodes(enum numa_kind kind)
{
	return kind == NUMA_BIND || kind == NUMA_INTERLEAVE || kind == NUMA_PREFERRED;
}

/* Never anything but these nodes. */
static inline bool numa_strict(enum numa_kind kind)
{
	return kind == NUMA_BIND || kind == NUMA_INTERLEAVE;
}

/* "bind" and its like; NULL: there is no such kind. */
const char *numa_kind_name(uint32_t kind);
/* "" is the default. False: there is no policy of that name. */
bool numa_kind_named(const char *name, enum numa_kind *ret);
/* "local", "bind:0,2-3". False: not a policy, or nodes are missing, or named for nothing. */
bool numa_parse(const char *text, struct numa *ret);
/* The same, written. Returns buf. */
char *numa_format(char *buf, size_t size, struct numa numa);
enum { NUMA_TEXT_MAX = NODES_TEXT_MAX + 16 };
