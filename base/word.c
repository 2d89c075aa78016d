#include "base/word.h"

#include <string.h>

#include "base/base.h"

size_t word_distance(const char *a, const char *b)
{
	enum { LETTERS = 64 };
	size_t n = strnlen(b, LETTERS), row[LETTERS + 1];

	/* Levenshtein, one row at a time. */
	if (strlen(a) > LETTERS || strlen(b) > LETTERS)
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = u64_min(change, u64_min(row[j], row[j - 1]) + 1);
		}
	}
	return row[n];
}
