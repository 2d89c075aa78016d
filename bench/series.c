#include "bench/series.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void series_init(struct series *series, size_t room)
{
	*series = (struct series){.ns = malloc(room * sizeof(uint64_t)), .room = room};
	if (!series->ns) {
		fputs("varbos-bench: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	/* Pages that come during the first rounds would be measured. */
	memset(series->ns, 0, room * sizeof(uint64_t));
}

void series_deinit(struct series *series)
{
	free(series->ns);
	*series = (struct series){0};
}

void series_add(struct series *series, uint64_t ns)
{
	assert(!series_full(series));
	series->ns[series->n++] = ns;
	series->sorted = false;
}

static int ns_order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t series_percentile(struct series *series, unsigned percent)
{
	if (!series->n)
		return 0;
	if (!series->sorted)
		qsort(series->ns, series->n, sizeof(*series->ns), ns_order);
	series->sorted = true;
	return series->ns[(series->n - 1) * percent / 100];
}

void row_print(const struct row *row, struct series *series)
{
	printf("{\"bench\":\"%s\",\"impl\":\"%s\"", row->bench, row->impl);
	if (row->size)
		printf(",\"size\":%" PRIu64, row->size);
	if (row->where)
		printf(",\"where\":\"%s\"", row->where);
	printf(",\"unit\":\"ns\",\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"n\":%zu}\n",
	       series_percentile(series, 50), series_percentile(series, 99), series->n);
	fflush(stdout);
}
