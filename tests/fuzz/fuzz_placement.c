/*
 * Any bytes, taken as steps of four bytes each, over every policy: none may differ from a map.
 *
 *   kind:1 (take, give)  align:4 (a power of two)  what:11 (take: slices; give: from where)
 *   count:16 (give: slices), little-endian
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "tests/unit/placement_map.h"

enum { STEP_BYTES = 4, STEPS_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct placement_step step_of(const uint8_t *bytes)
{
	uint32_t what = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
	uint32_t count = (uint32_t)bytes[2] | (uint32_t)bytes[3] << 8;

	if (what & 1)
		return (struct placement_step){
			.give = true, .first = (what >> 5) % MAP_SLICES, .count = count};
	return (struct placement_step){.count = 1 + (what >> 5),
				       .align = (uint32_t)1 << (what >> 1 & 15)};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t steps = u64_min(size / STEP_BYTES, STEPS_MAX);

	for (uint32_t id = 0; id < PLACEMENTS; ++id) {
		struct placement_map map;

		if (!placement_map_init(&map, placement_at(id)))
			abort();
		for (size_t i = 0; i < steps; ++i) {
			const char *wrong =
				placement_map_step(&map, step_of(data + i * STEP_BYTES));

			if (!wrong)
				continue;
			fprintf(stderr, "%s: step %zu: %s\n", map.placement->name, i, wrong);
			abort();
		}
		placement_map_deinit(&map);
	}
	return 0;
}
