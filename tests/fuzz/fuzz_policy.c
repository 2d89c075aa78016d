/*
 * Any bytes, taken as steps of a cache (policy_host.h) of four bytes each: no policy may differ from
 * its twin, nor, while it is switched from one to another, from a list of what there is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "tests/unit/policy_host.h"

enum { STEPS_MAX = 1024, CAPACITY = 100, NUMBERS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void play(uint32_t policy, bool compared, const uint8_t *data, size_t steps)
{
	static struct policy_host host;

	if (!policy_host_init(&host, policy, CAPACITY, NUMBERS, compared))
		abort();
	host.checked_every = 16;
	for (size_t i = 0; i < steps; i++) {
		const char *wrong;
		uint32_t word;

		memcpy(&word, data + i * sizeof(word), sizeof(word));
		wrong = policy_host_step(&host, host_step_of(word));
		if (!wrong)
			continue;
		fprintf(stderr, "%s: step %zu: %s\n", host.eviction.policy->name, i, wrong);
		abort();
	}
	if (policy_host_compare(&host))
		abort();
	policy_host_deinit(&host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t steps = u64_min(size / sizeof(uint32_t), STEPS_MAX);

	for (uint32_t i = 0; i < POLICIES; i++)
		play(i, true, data, steps);
	play(POLICY_S3FIFO, false, data, steps);
	return 0;
}
