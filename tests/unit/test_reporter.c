/*
 * The report that a client writes, against sums that are kept by hand.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "client/reporter.h"
#include "tests/suite.h"

static struct report report;
static struct reporter reporter;

static void set_up(void)
{
	memset((void *)&report, 0, sizeof(report));
	reporter = (struct reporter){};
}

/* The row of a class of a space, and that there is no other. */
static const struct report_row *row_of(uint32_t space, bool shared, uint32_t class_plus_1)
{
	const struct report_row *found = NULL;

	for (uint32_t i = 0; i < REPORT_ROWS; i++) {
		struct report_key key = report_key_unpack(report.rows[i].key);

		if (key.space != space || key.shared != shared ||
		    key.class_plus_1 != class_plus_1)
			continue;
		ck_assert_ptr_null(found);
		ck_assert_uint_lt(i, report.used);
		found = &report.rows[i];
	}
	return found;
}

static void expect(uint32_t space, uint32_t class_plus_1, uint64_t slices, uint64_t live)
{
	const struct report_row *row = row_of(space, false, class_plus_1);

	ck_assert_ptr_nonnull(row);
	ck_assert_uint_eq(row->slices, slices);
	ck_assert_uint_eq(row->live, live);
}

START_TEST(what_is_told_stands_in_the_row_of_its_class)
{
	struct tallies tallies, shared;
	uint64_t before;

	reporter_open(&reporter, &report);
	tallies_open(&tallies, &reporter, 7, false);
	tallies_open(&shared, &reporter, 7, true);
	tallies_lease(&tallies, 64);
	expect(7, 0, 64, 0);
	before = report.turn;
	tallies_cut(&tallies, 3, 2, 100);
	ck_assert_uint_gt(report.turn, before);
	tallies_cut(&shared, 3, 0, 1);
	tallies_cut(&tallies, 3, 1, -10);
	expect(7, 0, 61, 0);
	expect(7, 4, 3, 90);
	ck_assert_uint_eq(row_of(7, true, 4)->live, 1);
	ck_assert_uint_eq(tallies_sum(&tallies).leased, 64 * SLICE_BYTES);
	ck_assert_uint_eq(tallies_sum(&tallies).live, 90 * size_classes[3].size);
	tallies_close(&tallies);
	ck_assert_ptr_null(row_of(7, false, 4));
	ck_assert_ptr_nonnull(row_of(7, true, 4));
	tallies_close(&shared);
}
END_TEST

START_TEST(a_report_that_comes_late_begins_with_all_of_it)
{
	struct tallies a, b;

	tallies_open(&a, &reporter, 1, false);
	tallies_open(&b, &reporter, 2, false);
	tallies_lease(&a, 4);
	tallies_cut(&a, 0, 1, 5);
	tallies_lease(&b, 9);
	reporter_open(&reporter, &report);
	expect(1, 0, 3, 0);
	expect(1, 1, 1, 5);
	expect(2, 0, 9, 0);
	ck_assert_uint_eq(report.used, 3);
	tallies_close(&a);
	tallies_close(&b);
}
END_TEST

START_TEST(rows_of_a_closed_space_are_the_next_ones)
{
	struct tallies tallies;

	reporter_open(&reporter, &report);
	for (uint32_t space = 1; space < 100; space++) {
		tallies_open(&tallies, &reporter, space, false);
		for (uint32_t class = 0; class < CLASSES; class ++)
			tallies_cut(&tallies, class, 1, 1);
		expect(space, CLASSES, 1, 1);
		tallies_close(&tallies);
		ck_assert_ptr_null(row_of(space, false, 1));
	}
	ck_assert_uint_le(report.used, 1 + CLASSES);
}
END_TEST

START_TEST(where_there_is_no_row_left_the_process_still_knows)
{
	struct tallies tallies[REPORT_ROWS / (1 + CLASSES) + 1];
	const uint32_t last = ARRAY_SIZE(tallies) - 1;

	reporter_open(&reporter, &report);
	for (uint32_t i = 0; i <= last; i++) {
		tallies_open(&tallies[i], &reporter, 1 + i, false);
		tallies_lease(&tallies[i], CLASSES);
		for (uint32_t class = 0; class < CLASSES; class ++)
			tallies_cut(&tallies[i], class, 1, 1);
	}
	ck_assert_uint_eq(report.used, REPORT_ROWS);
	ck_assert_ptr_null(row_of(1 + last, false, CLASSES));
	ck_assert_uint_eq(tallies_sum(&tallies[last]).leased, CLASSES * SLICE_BYTES);
	tallies_close(&tallies[0]); /* there is room again */
	tallies_cut(&tallies[last], CLASSES - 1, 0, 1);
	expect(1 + last, CLASSES, 1, 2);
	for (uint32_t i = 1; i <= last; i++)
		tallies_close(&tallies[i]);
}
END_TEST

START_TEST(another_session_begins_with_nothing)
{
	static struct report other;
	struct tallies tallies;

	reporter_open(&reporter, &report);
	tallies_open(&tallies, &reporter, 1, false);
	tallies_lease(&tallies, 4);
	reporter_forget(&reporter);
	reporter_open(&reporter, &other);
	ck_assert_uint_eq(other.used, 0);
	tallies_close(&tallies); /* which nobody knows any more: of the former one it stays */
	expect(1, 0, 4, 0);
}
END_TEST

enum { THREADS = 4, STEPS = 20000 };

static struct tallies shared_tallies;

static void *tell(void *arg)
{
	uint32_t class = (uint32_t)(uintptr_t)arg;

	for (int i = 0; i < STEPS; i++) {
		tallies_cut(&shared_tallies, class, 2, 3);
		tallies_cut(&shared_tallies, 0, 1, 1);
		tallies_cut(&shared_tallies, class, -1, -2);
	}
	return NULL;
}

START_TEST(threads_that_tell_at_once_lose_nothing)
{
	pthread_t threads[THREADS];

	tallies_open(&shared_tallies, &reporter, 1, false);
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert(!pthread_create(&threads[i], NULL, tell, (void *)(1 + i)));
	reporter_open(&reporter, &report);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	expect(1, 1, THREADS * STEPS, THREADS * STEPS);
	for (uint32_t i = 0; i < THREADS; i++)
		expect(1, 2 + i, STEPS, STEPS);
	tallies_close(&shared_tallies);
}
END_TEST

static Suite *reporter_suite(void)
{
	Suite *suite = suite_create("reporter");
	TCase *tcase = tcase_create("reporter");

	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, what_is_told_stands_in_the_row_of_its_class);
	tcase_add_test(tcase, a_report_that_comes_late_begins_with_all_of_it);
	tcase_add_test(tcase, rows_of_a_closed_space_are_the_next_ones);
	tcase_add_test(tcase, where_there_is_no_row_left_the_process_still_knows);
	tcase_add_test(tcase, another_session_begins_with_nothing);
	tcase_add_test(tcase, threads_that_tell_at_once_lose_nothing);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(reporter_suite());
}
