/*
 * Series - how long something took, again and again; and the row that says so.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct series {
	uint64_t *ns;
	size_t n, room;
	bool sorted;
};

void series_init(struct series *series, size_t room);
void series_deinit(struct series *series);

static inline bool series_full(const struct series *series)
{
	return series->n == series->room;
}

/* Not when it is full. */
void series_add(struct series *series, uint64_t ns);

/* The least sample that is not below `percent` of them; 0 without samples. */
uint64_t series_percentile(struct series *series, unsigned percent);

/* What a row is about. `size` 0 and `where` NULL are left out. */
struct row {
	const char *bench, *impl, *where;
	uint64_t size;
};

/* One JSON object on a line of stdout. */
void row_print(const struct row *row, struct series *series);
