/*
 * Rung - the part of the region that is in pages of one size.
 *
 * G1  A space lives on one rung, from its creation on: its windows, its units and what may be
 *     punched for it are of that rung, and its limit never exceeds what the rung has.
 * G2  The rungs share no memory: on each, committed + pending <= capacity, on each node (C4).
 *     One that is exhausted leaves the other as it is.
 * G3  The first rung takes every space but those whose limit reaches `large.from`.
 */
#pragma once

#include <stdint.h>

#include "daemon/core/core.h"

enum { RUNGS_MAX = 2 };

/* In units, but for `used`. */
struct core_node {
	uint32_t capacity, committed, pending;
	uint64_t used;
};

struct rung {
	uint32_t page_shift, unit_shift;
	uint64_t bytes; /* on all nodes */
	struct core_node nodes[STATS_NODES_MAX];
};

static inline uint32_t node_free(const struct rung *rung, uint32_t node)
{
	const struct core_node *at = &rung->nodes[node];

	return at->capacity - at->committed - at->pending;
}

static inline uint64_t units_bytes(const struct rung *rung, uint64_t units)
{
	return units << rung->unit_shift;
}

/* The one with pages of this size; NULL: there is none. */
struct rung *rung_at(struct core *core, uint32_t page_shift);
/* Where a new space of this limit goes, if its memory may come from these nodes. */
struct rung *rung_for(struct core *core, uint64_t limit, uint64_t nodes);
/* The nodes that it has memory on. */
uint64_t rung_nodes(const struct core *core, const struct rung *rung);
/* What it has on these nodes, in bytes. */
uint64_t rung_bytes(const struct core *core, const struct rung *rung, uint64_t nodes);
