/*
 * Capacity - how much a simulated cache may hold, as someone said it: objects, bytes, or a share.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CAPACITY_MAX ((uint64_t)1 << 60)

struct sim_capacity {
	uint64_t amount; /* objects or bytes; 0: a share */
	uint32_t
		share; /* in millionths of a percent, of what the distinct keys need together */
};

/* "2048", with bytes "64M", or "0.5%": more than 0, at most 100. NULL, or what it is not. */
const char *capacity_parse(const char *text, bool bytes, struct sim_capacity *ret);

/* What it is of that much: rounded down, 1 at least. */
uint64_t capacity_of(const struct sim_capacity *capacity, unsigned __int128 all);
