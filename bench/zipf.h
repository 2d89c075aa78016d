/*
 * Zipf - numbers from 0 to n - 1, the k-th as likely as 1 / (k + 1)^exponent.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct zipf {
	double *sums; /* of the weights up to each */
	size_t n;
};

void zipf_init(struct zipf *zipf, size_t n, double exponent);
size_t zipf_draw(const struct zipf *zipf, uint64_t *state);
