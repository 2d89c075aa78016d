/*
 * Sketch - beside counts of what was added.
 */
#include "daemon/core/policy/sketch.h"

#include <stdio.h>

#include "base/base.h"
#include "tests/suite.h"
#include "tests/unit/policy_host.h"

enum { OBJECTS = 4000 };

static struct sketch sketch;

static void begin(uint32_t objects)
{
	sketch = (struct sketch){0};
	ck_assert_int_eq(sketch_grow(&sketch, objects), 0);
}

static uint32_t estimate(uint32_t key)
{
	return sketch_estimate(&sketch, host_hash(key));
}

START_TEST(between_halvings_an_estimate_is_never_below_what_was_added)
{
	static const uint32_t objects[] = {0, 1, 2, 3, 5, 100, OBJECTS};
	static uint32_t counts[2 * OBJECTS + 1];
	uint64_t state = host_seed("sketch");

	for (uint32_t o = 0; o < ARRAY_SIZE(objects); o++) {
		uint32_t keys = 2 * objects[o] + 1, halvings = 0;

		begin(objects[o]);
		for (uint32_t i = 0; i < keys; i++)
			counts[i] = 0;
		for (uint32_t i = 0; i < 60 * keys + 2000; i++) {
			uint64_t word = host_random(&state);
			uint32_t key = (uint32_t)((word & 0xffff) * (word >> 16 & 0xffff) *
							  (uint64_t)keys >>
						  32);
			uint32_t halved = sketch.halved;

			sketch_add(&sketch, host_hash(key));
			counts[key]++;
			if (halved < sketch.n_words) {
				/* SK2: a bounded part at once, and one halving after the other. */
				ck_assert_uint_ge(sketch.halved, halved + 1);
				ck_assert_uint_le(sketch.halved, halved + 8);
				if (sketch.halved == sketch.n_words) {
					halvings++;
					for (uint32_t j = 0; j < keys; j++)
						counts[j] = 0;
				}
			}
			if (sketch.halved == sketch.n_words &&
			    estimate(key) < u64_min(counts[key], 15))
				ck_abort_msg("%u times added, estimated as %u", counts[key],
					     estimate(key));
		}
		ck_assert(halvings > 2 || keys < 100);
		sketch_deinit(&sketch);
	}
}
END_TEST

START_TEST(few_estimates_are_too_high)
{
	uint32_t high = 0, unseen = 0;

	begin(OBJECTS);
	for (uint32_t key = 0; key < OBJECTS; key++)
		for (uint32_t i = 0; i <= key % 3; i++)
			sketch_add(&sketch, host_hash(key));
	for (uint32_t key = 0; key < OBJECTS; key++) {
		ck_assert_uint_ge(estimate(key), key % 3 + 1);
		high += estimate(key) > key % 3 + 1;
		unseen += estimate(OBJECTS + key) > 0;
	}
	printf("of %d estimates %u are too high, of as many keys unseen %u\n", OBJECTS, high,
	       unseen);
	fflush(stdout);
	ck_assert_uint_lt(high, OBJECTS / 20);
	ck_assert_uint_lt(unseen, OBJECTS / 20);
	sketch_deinit(&sketch);
}
END_TEST

START_TEST(counts_end_at_15_and_are_halved_after_a_period)
{
	uint32_t added = 0;

	begin(OBJECTS);
	for (uint32_t i = 0; i < 100; i++)
		sketch_add(&sketch, host_hash(1));
	ck_assert_uint_eq(estimate(1), 15);
	ck_assert_uint_eq(sketch.added, 15); /* what changes nothing is no addition */
	for (uint32_t i = 0; i < 8; i++)
		sketch_add(&sketch, host_hash(2));
	ck_assert_uint_eq(estimate(2), 8);
	for (uint32_t key = 3; sketch.halved == sketch.n_words; key++, added++)
		sketch_add(&sketch, host_hash(3 + key % 8000));
	ck_assert_uint_eq(sketch.period, 10 * OBJECTS);
	ck_assert_uint_ge(added, sketch.period - 23);
	for (uint32_t i = 0; i < sketch.n_words; i++)
		sketch_add(&sketch, host_hash(1));
	ck_assert_uint_eq(sketch.halved, sketch.n_words);
	ck_assert_uint_ge(estimate(2), 4);
	ck_assert_uint_lt(estimate(2), 8);
	ck_assert_uint_lt(sketch.added, sketch.period);
	/* The next time after half as many. */
	added = 0;
	for (uint32_t key = 0; sketch.halved == sketch.n_words; key++, added++)
		sketch_add(&sketch, host_hash(9000 + key));
	ck_assert_uint_le(added, sketch.period / 2);
	sketch_deinit(&sketch);
}
END_TEST

START_TEST(a_halving_takes_from_each_count_its_own)
{
	uint32_t halves = 0;

	begin(OBJECTS);
	for (uint32_t i = 0; i < sketch.n_words; i++)
		sketch.words[i] = UINT64_MAX;
	sketch.halved = 0;
	while (sketch.halved < sketch.n_words)
		sketch_add(&sketch, host_hash(0)); /* and what it shares grows again */
	for (uint32_t i = 0; i < sketch.n_words; i++)
		halves += sketch.words[i] == 0x7777777777777777ULL;
	ck_assert_uint_ge(halves, sketch.n_words - 4);
	sketch_deinit(&sketch);
}
END_TEST

START_TEST(growing_begins_anew_and_not_growing_keeps_all)
{
	begin(OBJECTS);
	sketch_add(&sketch, host_hash(1));
	ck_assert_int_eq(sketch_grow(&sketch, OBJECTS), 0);
	ck_assert_int_eq(sketch_grow(&sketch, 1), 0);
	ck_assert_uint_eq(estimate(1), 1);
	ck_assert_uint_eq(sketch.period, 10 * OBJECTS);
	ck_assert_int_eq(sketch_grow(&sketch, 2 * OBJECTS), 0);
	while (sketch.next.words) {
		ck_assert_uint_ge(estimate(1), 1); /* until all of the larger one is there */
		sketch_add(&sketch, host_hash(2));
	}
	ck_assert_uint_eq(estimate(1), 0);
	ck_assert_uint_eq(sketch.period, 20 * OBJECTS);
	sketch_deinit(&sketch);
}
END_TEST

START_TEST(the_period_grows_with_the_objects_though_the_words_do)
{
	begin(0);
	ck_assert_uint_eq(sketch.period, 40);
	for (uint32_t objects = 1; objects < 40; objects++) {
		ck_assert_int_eq(sketch_grow(&sketch, objects), 0);
		ck_assert_uint_eq(sketch.period, 10 * u64_max(objects, 4));
	}
	sketch_deinit(&sketch);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sketch");
	TCase *tcase = tcase_create("sketch");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, between_halvings_an_estimate_is_never_below_what_was_added);
	tcase_add_test(tcase, few_estimates_are_too_high);
	tcase_add_test(tcase, counts_end_at_15_and_are_halved_after_a_period);
	tcase_add_test(tcase, a_halving_takes_from_each_count_its_own);
	tcase_add_test(tcase, growing_begins_anew_and_not_growing_keeps_all);
	tcase_add_test(tcase, the_period_grows_with_the_objects_though_the_words_do);
	return suite_run(suite);
}
