/*
 * Sweep - how far the sweep of a space has come.
 *
 * SW1  A space has one sweep at a time. It keeps the space, like a plan (it is one of `n_plans`),
 *      and nothing else: extents come and go meanwhile.
 * SW2  Every extent with words that is there throughout is listed once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct sweep {
	bool running;
	uint32_t number, slice; /* window and slice that are next */
};
