/*
 * Placement map - a window as a map of bytes, and a policy that is told of it as a window would:
 * what the policy answers is compared with what can be seen by trying.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/placement.h"

enum { MAP_SLICES = 512 };

struct placement_map {
	const struct placement *placement;
	void *index;
	bool used[MAP_SLICES];
	uint32_t served, refused;
};

/* Take `count` at `align`, or give back up to `count` used slices from the first at `first`. */
struct placement_step {
	bool give;
	uint32_t first, count, align;
};

/* All free. False: out of memory. */
bool placement_map_init(struct placement_map *map, const struct placement *placement);
void placement_map_deinit(struct placement_map *map);

/* NULL, or what the policy did wrong; its own walker is asked after each step. */
const char *placement_map_step(struct placement_map *map, struct placement_step step);
