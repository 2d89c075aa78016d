/*
 * Size class - which sizes blocks come in, and how many slices a run of each takes.
 *
 * Z1  A block's class is the smallest that holds it. Spaced classes are multiples of 64 up to
 *     512 (no two blocks share a cache line), then four to the doubling, up to 256 KiB; packed
 *     spaces have 16, 32, 48, 80, 96 and 112, too.
 * Z2  No size above 1 KiB wastes more than a quarter, a run's tail included.
 * Z3  A run has at most 64 groups of 64 blocks, and at most 16 slices; of blocks of more than
 *     32 KiB one group.
 * Z4  A class's number stands in shared memory (struct slice_note): the table only grows, at its
 *     end.
 */
#pragma once

#include <stdint.h>

#include "proto/layout.h"

enum {
	CLASS_GRAIN_SHIFT = 4,
	CLASS_SMALL = 4096, /* sizes up to it are looked up */
	CLASS_MAX = 256 << 10,
	CLASSES_SPACED = 44,
	CLASSES = CLASSES_SPACED + 6,
	RUN_SLICES_MAX = 16,
	GROUP_BLOCKS = 64,
	GROUPS_MAX = 64,
};

struct size_class {
	uint32_t size;
	uint32_t reciprocal; /* position * reciprocal >> 32 is the block, at its start */
	uint16_t slices, blocks;
};

extern const struct size_class size_classes[CLASSES];

/* Class of (size + 15) / 16, for sizes up to CLASS_SMALL. */
struct class_lookup {
	uint8_t of[(CLASS_SMALL >> CLASS_GRAIN_SHIFT) + 1];
};

extern const struct class_lookup class_spaced, class_packed;

/* Of a size up to CLASS_MAX. */
static inline uint32_t class_of(const struct class_lookup *lookup, uint64_t size)
{
	uint32_t shift;

	if (size <= CLASS_SMALL)
		return lookup->of[(size + 15) >> CLASS_GRAIN_SHIFT];
	shift = 63 - (uint32_t)__builtin_clzll(size - 1);
	return 12 + (shift - 10) * 4 + ((uint32_t)((size - 1) >> (shift - 2)) & 3);
}
