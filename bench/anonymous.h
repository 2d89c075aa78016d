/*
 * Anonymous - the memory that this process has for itself alone, in bytes.
 */
#pragma once

#include <inttypes.h>
#include <stdio.h>

#include "bench/contender.h"

static inline uint64_t anonymous_bytes(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	uint64_t kib = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Anonymous: %" SCNu64, &kib) == 1)
			break;
	if (file)
		fclose(file);
	if (!kib)
		contender_die("/proc/self/smaps_rollup does not say");
	return kib << 10;
}
