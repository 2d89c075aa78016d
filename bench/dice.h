/*
 * Dice - numbers that look random (splitmix64), the same for all who begin with the same state.
 */
#pragma once

#include <stdint.h>

static inline uint64_t dice(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* Below `n`, as likely each as the other to one in 2^32 / n; no division. */
static inline uint32_t dice_below(uint64_t *state, uint32_t n)
{
	return (uint32_t)((dice(state) >> 32) * n >> 32);
}
