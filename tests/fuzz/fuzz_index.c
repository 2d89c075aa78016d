/*
 * Any bytes, taken as steps: an index may not differ from a table of its keys.
 *
 *   head, 1 byte:   how large it is (index_map.h)
 *   step, 3 bytes:  kind:8  key:8  size:8
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "tests/unit/index_map.h"

enum { HEAD_BYTES = 1, STEP_BYTES = 3, STEPS_MAX = 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct index_map map;
	const char *wrong;
	size_t steps;

	if (size < HEAD_BYTES)
		return 0;
	steps = u64_min((size - HEAD_BYTES) / STEP_BYTES, STEPS_MAX);
	if (!index_map_init(&map, data[0] % 32))
		abort();
	for (size_t i = 0; i < steps; ++i) {
		const uint8_t *bytes = data + HEAD_BYTES + i * STEP_BYTES;

		wrong = index_map_step(&map, (struct index_step){
						     .kind = bytes[0] % INDEX_STEPS,
						     .key = bytes[1],
						     .size = bytes[2],
					     });
		if (!wrong)
			continue;
		fprintf(stderr, "step %zu: %s\n", i, wrong);
		abort();
	}
	index_map_deinit(&map);
	return 0;
}
