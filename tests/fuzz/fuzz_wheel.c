/*
 * Any bytes, taken as steps: a wheel may not differ from a sorted list.
 *
 *   head, 4 bytes:  tick:16 (ms, less one)  start:16 (a time)
 *   step, 4 bytes:  kind:3  max:5  number:8  time:16 (see wheel_list.h)
 *   a time:         value:8  shift:6  what to add:2 (0, 1, -1, half of all time)
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "tests/unit/wheel_list.h"

enum { HEAD_BYTES = 4, STEP_BYTES = 4, STEPS_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t time_of(const uint8_t *bytes)
{
	uint64_t time = (uint64_t)bytes[0] << (bytes[1] & 63);
	static const uint64_t more[] = {0, 1, UINT64_MAX, (uint64_t)1 << 63};

	return time + more[bytes[1] >> 6];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wheel_list list;
	const char *wrong;
	size_t steps;

	if (size < HEAD_BYTES)
		return 0;
	steps = u64_min((size - HEAD_BYTES) / STEP_BYTES, STEPS_MAX);
	if (!wheel_list_init(&list, time_of(data + 2),
			     1 + (uint32_t)(data[0] | (uint32_t)data[1] << 8)))
		abort();
	for (size_t i = 0; i < steps; ++i) {
		const uint8_t *bytes = data + HEAD_BYTES + i * STEP_BYTES;

		wrong = wheel_list_step(&list, (struct wheel_step){
						       .kind = bytes[0] & 7,
						       .max = bytes[0] >> 3,
						       .number = bytes[1],
						       .time = time_of(bytes + 2),
					       });
		if (!wrong)
			continue;
		fprintf(stderr, "step %zu: %s\n", i, wrong);
		abort();
	}
	wrong = wheel_list_drain(&list, 1);
	if (wrong) {
		fprintf(stderr, "at last: %s\n", wrong);
		abort();
	}
	wheel_list_deinit(&list);
	return 0;
}
