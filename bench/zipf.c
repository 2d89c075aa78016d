#include "bench/zipf.h"

#include <math.h>
#include <stdlib.h>

#include "bench/contender.h"
#include "bench/dice.h"

void zipf_init(struct zipf *zipf, size_t n, double exponent)
{
	double sum = 0;

	*zipf = (struct zipf){.sums = malloc(n * sizeof(double)), .n = n};
	if (!zipf->sums)
		contender_die("out of memory");
	for (size_t i = 0; i < n; i++)
		zipf->sums[i] = sum += pow((double)(i + 1), -exponent);
}

size_t zipf_draw(const struct zipf *zipf, uint64_t *state)
{
	double wanted = (double)(dice(state) >> 11) / (double)((uint64_t)1 << 53) *
			zipf->sums[zipf->n - 1];
	size_t low = 0, high = zipf->n - 1;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (zipf->sums[middle] > wanted)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}
