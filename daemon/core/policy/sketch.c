#include "daemon/core/policy/sketch.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/base.h"

enum { ROWS = 4, COUNT_MAX = 15, HALVED_AT_ONCE = 8, PERIODS = 10 };
enum { PAGE_WORDS = 4096 / sizeof(uint64_t) };
enum { WORDS_MIN = 64, OBJECTS_A_WORD = 8 / SKETCH_BYTES };
/* A halving ends before the next one begins. */
enum { OBJECTS_MIN = 4 };

static_assert(OBJECTS_MIN * PERIODS / 2 * HALVED_AT_ONCE >=
		      OBJECTS_MIN / OBJECTS_A_WORD + WORDS_MIN,
	      "for the fewest objects; each more adds half a word and five additions");

static void next_takes_over(struct sketch *sketch)
{
	spent_put(&sketch->spent, sketch->words, sketch->n_words * sizeof(*sketch->words));
	*sketch = (struct sketch){
		.words = sketch->next.words,
		.n_words = sketch->next.n_words,
		.halved = sketch->next.n_words,
		.period = sketch->period,
		.spent = sketch->spent,
	};
}

static void next_touch(struct sketch *sketch)
{
	if (!sketch->next.words)
		return;
	*(volatile uint64_t *)&sketch->next.words[sketch->next.touched] = 0;
	if (sketch->next.n_words - sketch->next.touched > PAGE_WORDS)
		sketch->next.touched += PAGE_WORDS;
	else
		next_takes_over(sketch);
}

int sketch_grow(struct sketch *sketch, uint32_t objects)
{
	uint32_t words = objects / OBJECTS_A_WORD + WORDS_MIN;
	uint64_t period = u64_max(objects, OBJECTS_MIN) * PERIODS;
	uint64_t *larger;

	if (words > sketch->n_words && words > sketch->next.n_words) {
		/* Not each time that it grows a little. */
		words = (uint32_t)u64_max(words, (uint64_t)sketch->n_words * 5 / 4);
		larger = calloc(words, sizeof(*larger));
		if (!larger)
			return -ENOMEM;
		free(sketch->next.words);
		sketch->next.words = larger;
		sketch->next.n_words = words;
		sketch->next.touched = 0;
		if (!sketch->words)
			next_takes_over(sketch);
	}
	sketch->period = (uint32_t)u64_max(sketch->period, u64_min(period, UINT32_MAX));
	return 0;
}

void sketch_deinit(struct sketch *sketch)
{
	free(sketch->words);
	free(sketch->next.words);
	spent_deinit(&sketch->spent);
}

/* Four counts of one key: which word, and which of its 16. */
static uint64_t *place(const struct sketch *sketch, uint64_t hash, uint32_t row,
		       uint32_t *shift)
{
	static const uint64_t seeds[ROWS] = {0xc3a5c85c97cb3127ULL, 0xb492b66fbe98f273ULL,
					     0x9ae16a3b2f90404fULL, 0xcbf29ce484222325ULL};
	uint64_t mixed = (hash + seeds[row]) * seeds[row];

	mixed ^= mixed >> 32;
	*shift = ((uint32_t)(hash & 3) * 4 + row) * 4;
	return &sketch->words[(uint32_t)mixed * (uint64_t)sketch->n_words >> 32];
}

void sketch_fetch(const struct sketch *sketch, uint64_t hash)
{
	uint32_t shift;

	for (uint32_t row = 0; row < ROWS; row++)
		__builtin_prefetch(place(sketch, hash, row, &shift), 1);
}

static void halve_some(struct sketch *sketch)
{
	for (uint32_t i = 0; i < HALVED_AT_ONCE && sketch->halved < sketch->n_words; i++) {
		uint64_t *word = &sketch->words[sketch->halved++];

		*word = *word >> 1 & 0x7777777777777777ULL;
	}
}

void sketch_add(struct sketch *sketch, uint64_t hash)
{
	bool added = false;

	spent_shrink(&sketch->spent);
	next_touch(sketch);
	halve_some(sketch);
	for (uint32_t row = 0; row < ROWS; row++) {
		uint32_t shift;
		uint64_t *word = place(sketch, hash, row, &shift);

		if ((*word >> shift & COUNT_MAX) == COUNT_MAX)
			continue;
		*word += (uint64_t)1 << shift;
		added = true;
	}
	if (!added || ++sketch->added < sketch->period)
		return;
	sketch->added /= 2;
	sketch->halved = 0;
}

uint32_t sketch_estimate(const struct sketch *sketch, uint64_t hash)
{
	uint32_t least = COUNT_MAX;

	for (uint32_t row = 0; row < ROWS; row++) {
		uint32_t shift, count;
		const uint64_t *word = place(sketch, hash, row, &shift);

		count = (uint32_t)(*word >> shift) & COUNT_MAX;
		if (count < least)
			least = count;
	}
	return least;
}
