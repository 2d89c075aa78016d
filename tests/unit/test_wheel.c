/*
 * The wheel: stories, and a list that is sorted, step by step.
 */
#include "tests/suite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "tests/unit/wheel_list.h"

#define DAY ((uint64_t)24 * 60 * 60 * 1000)
#define YEAR (365 * DAY)

enum { STEPS = 30000, OBJECTS = 1000, ALL = OBJECTS * WHEEL_LEVELS };

static struct wheel wheel;
static uint32_t expired[ALL];

static void make(uint64_t now, uint32_t tick)
{
	ck_assert_int_eq(wheel_init(&wheel, now, tick, OBJECTS), 0);
}

static uint32_t turn(uint64_t now, uint32_t max)
{
	uint32_t n = wheel_turn(&wheel, now, expired, max), count;

	ck_assert_pstr_eq(wheel_check(&wheel, &count), NULL);
	return n;
}

/* All that is to do at this time is done in one turn, and exactly so many expire. */
static void turn_expires(uint64_t now, uint32_t count)
{
	uint32_t n = turn(now, ALL);

	ck_assert_msg(n == count, "at %" PRIu64 " %u expired, not %u", now, n, count);
	ck_assert_uint_gt(wheel_next(&wheel), now);
}

START_TEST(nothing_expires_before_its_deadline_and_all_a_tick_after)
{
	static const uint32_t ticks[] = {1, 3, 100, 1000};
	const uint32_t tick = ticks[_i];

	for (uint64_t ttl = 1; ttl < 10 * YEAR; ttl += 1 + ttl / 3) {
		for (uint64_t start = 5 * DAY; start < 5 * DAY + 10; start += 3) {
			make(start, tick);
			wheel_set(&wheel, 7, start + ttl);
			turn_expires(start + ttl - 1, 0);
			turn_expires(start + ttl + tick - 1, 1);
			ck_assert_uint_eq(expired[0], 7);
			ck_assert(!wheel_has(&wheel, 7));
			wheel_deinit(&wheel);
		}
	}
}
END_TEST

/* Where a digit carries, at the end of 32 bits, and of the last level's round. */
START_TEST(a_deadline_is_kept_to_the_tick_across_every_boundary)
{
	static const uint64_t boundaries[] = {
		(uint64_t)1 << 8,  (uint64_t)1 << 16, (uint64_t)1 << 24, (uint64_t)1 << 32,
		(uint64_t)1 << 40, (uint64_t)1 << 48, (uint64_t)1 << 63, UINT64_MAX - 300,
	};
	const uint64_t boundary = boundaries[_i];

	for (uint64_t before = 0; before < 4; ++before) {
		uint64_t now = boundary - before;

		make(now, 1);
		for (uint32_t i = 0; i < 290; ++i)
			wheel_set(&wheel, i, now + 1 + i);
		for (uint32_t i = 0; i < 290; ++i) {
			ck_assert_uint_le(wheel_next(&wheel), now + 1 + i);
			turn_expires(now + 1 + i, 1);
			ck_assert_uint_eq(expired[0], i);
		}
		ck_assert_uint_eq(wheel_next(&wheel), WHEEL_NEVER);
		wheel_deinit(&wheel);
	}
}
END_TEST

START_TEST(a_wheel_turns_on_however_old_it_is)
{
	uint64_t now = 3;

	make(now, 1);
	for (uint32_t round = 0; round < 1000; ++round) {
		wheel_set(&wheel, 1, now + 30 * YEAR);
		wheel_set(&wheel, 2, now + 1);
		turn_expires(now + 1, 1);
		turn_expires(now + 30 * YEAR - 1, 0);
		now += 30 * YEAR;
		turn_expires(now, 1);
		ck_assert_uint_eq(expired[0], 1);
	}
	wheel_deinit(&wheel);
}
END_TEST

START_TEST(what_never_comes_is_not_kept)
{
	make(0, 1);
	wheel_set(&wheel, 1, 5);
	wheel_set(&wheel, 1, WHEEL_NEVER);
	wheel_set(&wheel, 2, 50 * YEAR);
	wheel_set(&wheel, 3, WHEEL_NEVER - 1);
	for (uint32_t i = 1; i <= 3; ++i)
		ck_assert(!wheel_has(&wheel, i));
	ck_assert_uint_eq(wheel_next(&wheel), WHEEL_NEVER);
	turn_expires(WHEEL_NEVER - 1, 0);
	wheel_set(&wheel, 1, WHEEL_NEVER);
	ck_assert(!wheel_has(&wheel, 1));
	wheel_deinit(&wheel);

	/* A tick that begins after the end of time. */
	make(UINT64_MAX - 5000, 1000);
	wheel_set(&wheel, 1, UINT64_MAX - 1);
	ck_assert_uint_eq(wheel_next(&wheel), WHEEL_NEVER);
	ck_assert_uint_eq(turn(UINT64_MAX - 1, ALL), 0);
	wheel_deinit(&wheel);
}
END_TEST

START_TEST(a_deadline_in_the_past_expires_in_the_next_turn)
{
	make(1000000, 10);
	wheel_set(&wheel, 1, 0);
	ck_assert_uint_le(wheel_next(&wheel), 1000000);
	turn_expires(1000000, 1);
	turn_expires(2000000, 0);
	wheel_set(&wheel, 1, 1500000);
	ck_assert_uint_le(wheel_next(&wheel), 2000000);
	turn_expires(2000000, 1);
	wheel_deinit(&wheel);
}
END_TEST

START_TEST(the_last_deadline_counts_and_what_is_removed_never_expires)
{
	make(0, 1);
	for (uint32_t i = 0; i < OBJECTS; ++i)
		wheel_set(&wheel, i, 100 + i % 3 * 1000);
	/* Of each slot the first, the last, and some between; of one all. */
	for (uint32_t i = 0; i < OBJECTS; ++i)
		if (i < 10 || i >= OBJECTS - 10 || i % 3 == 1 || i % 7 == 0)
			wheel_remove(&wheel, i);
	wheel_remove(&wheel, 0);
	wheel_set(&wheel, 1, 70000);
	wheel_set(&wheel, 1, 50);
	wheel_set(&wheel, 3 * 11, 5000000);
	turn_expires(49, 0);
	turn_expires(50, 1);
	for (uint32_t i = 0; i < OBJECTS; ++i)
		if (wheel_has(&wheel, i))
			ck_assert(i >= 10 && i < OBJECTS - 10 && i % 3 != 1 && i % 7);
	turn_expires(99, 0);
	ck_assert_uint_gt(turn(100, ALL), 200);
	turn_expires(1100, 0);
	ck_assert_uint_gt(turn(2100, ALL), 200);
	turn_expires(4999999, 0);
	turn_expires(5000000, 1);
	ck_assert_uint_eq(expired[0], 3 * 11);
	ck_assert_uint_eq(wheel_next(&wheel), WHEEL_NEVER);
	wheel_deinit(&wheel);
}
END_TEST

START_TEST(a_turn_takes_no_more_steps_than_it_may)
{
	const uint64_t due = 40 * DAY; /* from the last level but one through all below */
	uint32_t turns = 0, n = 0;
	uint64_t first;

	make(0, 1);
	for (uint32_t i = 0; i < OBJECTS; ++i)
		wheel_set(&wheel, i, due + i % 2);
	/* The first time that it asks for a turn, it is to move all of them on. */
	first = wheel_next(&wheel);
	ck_assert_uint_lt(first, due);
	ck_assert_uint_eq(turn(first, OBJECTS - 1), 0);
	ck_assert_uint_eq(wheel_next(&wheel), first);
	ck_assert_uint_eq(turn(first, 1), 0);
	ck_assert_uint_gt(wheel_next(&wheel), first);
	while (wheel_next(&wheel) <= due + 1) {
		uint32_t now = turn(due + 1, 1);

		ck_assert_uint_le(now, 1);
		n += now;
		++turns;
	}
	ck_assert_uint_eq(n, OBJECTS);
	ck_assert_uint_ge(turns, 2 * OBJECTS);
	ck_assert_uint_le(turns, ALL - OBJECTS);
	ck_assert_uint_eq(turn(due + 1, 0), 0);
	wheel_deinit(&wheel);
}
END_TEST

/* The machine was suspended: what nobody needs to look at takes no steps. */
START_TEST(a_turn_that_is_years_late_takes_no_steps_for_the_time_alone)
{
	uint32_t n;

	make(0, 1);
	for (uint32_t i = 0; i < OBJECTS; ++i)
		wheel_set(&wheel, i, 1 + (uint64_t)i * i * i * 900);
	n = turn(30 * YEAR, ALL);
	ck_assert_uint_eq(n, OBJECTS);
	for (uint32_t i = 0; i < n; ++i)
		ck_assert_uint_eq(expired[i], i);
	turn_expires(33 * YEAR, 0);
	wheel_deinit(&wheel);
}
END_TEST

/* WH5: more come each turn, overdue as they come, than may expire. */
START_TEST(who_comes_overdue_keeps_no_one_waiting_who_was_due_before)
{
	bool seen = false;

	make(0, 1);
	wheel_set(&wheel, 0, 10);
	wheel_set(&wheel, 1, 1000);
	wheel_set(&wheel, 2, 1000);
	ck_assert_uint_eq(turn(2000, 1), 1);
	for (uint32_t i = 3; i < 40 && !seen; i += 2) {
		wheel_set(&wheel, i, 20);
		wheel_set(&wheel, i + 1, 1);
		seen = turn(2000, 2) && !wheel_has(&wheel, 1) && !wheel_has(&wheel, 2);
	}
	ck_assert(seen);
	wheel_deinit(&wheel);
}
END_TEST

START_TEST(an_idle_wheel_asks_for_no_turn_and_one_object_for_one_a_level)
{
	const uint64_t due = 7 * YEAR + 12345678901;
	uint32_t turns = 0;
	uint64_t now;

	make(1, 1);
	ck_assert_uint_eq(wheel_next(&wheel), WHEEL_NEVER);
	wheel_set(&wheel, 5, due);
	while ((now = wheel_next(&wheel)) != WHEEL_NEVER) {
		ck_assert_uint_le(now, due);
		ck_assert_uint_eq(turn(now, ALL), now == due);
		++turns;
	}
	ck_assert_uint_gt(turns, 1);
	ck_assert_uint_le(turns, WHEEL_LEVELS);
	wheel_set(&wheel, 5, due + YEAR);
	wheel_remove(&wheel, 5);
	ck_assert_uint_eq(wheel_next(&wheel), WHEEL_NEVER);
	wheel_deinit(&wheel);
}
END_TEST

START_TEST(a_clock_that_goes_back_changes_nothing)
{
	make(DAY, 1);
	wheel_set(&wheel, 1, DAY + 500);
	wheel_set(&wheel, 2, DAY + 5000);
	ck_assert_uint_eq(turn(DAY + 1000, ALL), 1);
	ck_assert_uint_eq(turn(5, ALL), 0);
	wheel_set(&wheel, 3, 10); /* the past, by now */
	ck_assert_uint_eq(turn(6, ALL), 1);
	ck_assert_uint_eq(expired[0], 3);
	turn_expires(DAY + 4999, 0);
	turn_expires(DAY + 5000, 1);
	wheel_deinit(&wheel);
}
END_TEST

static bool full; /* no memory is left */

void *__real_realloc(void *p, size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_realloc(void *p, size_t size)
{
	return full ? NULL : __real_realloc(p, size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return full ? NULL : __real_calloc(n, size);
}

START_TEST(a_wheel_grows_while_it_is_used_or_stays_as_it_is)
{
	struct wheel none = {0};
	uint32_t objects = 1;
	int r;

	wheel_deinit(&none);
	full = true;
	r = wheel_init(&wheel, 0, 1, 1);
	full = false;
	ck_assert_int_eq(r, -ENOMEM);
	ck_assert_int_eq(wheel_init(&wheel, 0, 1, objects), 0);
	for (uint32_t i = 0; i < OBJECTS; ++i) {
		if (i == objects) {
			full = true;
			r = wheel_grow(&wheel, 2 * objects);
			full = false;
			ck_assert_int_eq(r, -ENOMEM);
			ck_assert_int_eq(wheel_grow(&wheel, UINT32_MAX), -ENOMEM);
			ck_assert_int_eq(wheel_grow(&wheel, 2 * objects), 0);
			objects *= 2;
			ck_assert_int_eq(wheel_grow(&wheel, 1), 0);
		}
		wheel_set(&wheel, i, 1 + i * 100);
		turn(i * 50, 3);
	}
	turn(OBJECTS * 100, ALL);
	ck_assert_uint_eq(wheel.count, 0);
	ck_assert_uint_eq(wheel.objects, 1024);
	wheel_deinit(&wheel);
}
END_TEST

static uint64_t state;

static uint32_t below(uint32_t n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((state >> 33) % n);
}

/* $VARBOS_SEED replays what was printed. */
static uint64_t seed_draw(void)
{
	const char *given = getenv("VARBOS_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0)
			      : (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();

	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	return seed;
}

/* Of any magnitude up to `bits`, and often next to a power of two. */
static uint64_t time_draw(uint32_t bits)
{
	uint64_t most = (uint64_t)1 << below(bits);

	if (!below(4))
		return most + below(3) - 1;
	return most + ((uint64_t)below(1 << 30) << 32 | below(1 << 30)) % most;
}

static struct wheel_step step_draw(uint32_t bits, uint32_t most)
{
	static const enum wheel_step_kind kinds[] = {
		WHEEL_STEP_AFTER, WHEEL_STEP_AFTER,  WHEEL_STEP_AFTER, WHEEL_STEP_AFTER,
		WHEEL_STEP_NEXT,  WHEEL_STEP_REMOVE, WHEEL_STEP_TURN,  WHEEL_STEP_GROW,
	};
	struct wheel_step step = {
		.kind = kinds[below(ARRAY_SIZE(kinds))],
		.number = below(LIST_OBJECTS),
		.max = below(most + 1),
		.time = time_draw(bits),
	};

	if (step.kind == WHEEL_STEP_TURN && below(2))
		step.time = time_draw(8);
	if (!below(50))
		step.kind = below(2) ? WHEEL_STEP_BACK : WHEEL_STEP_SET;
	return step;
}

/* Returns how many turns left more to do. */
static uint32_t agree(uint64_t seed, uint64_t start, uint32_t tick)
{
	const char *wrong = NULL;
	struct wheel_list list;
	uint32_t unfinished;

	ck_assert(wheel_list_init(&list, start, tick));
	for (uint32_t step = 0; step < STEPS && !wrong; ++step) {
		/* Short and long ones, budgets of 1 and larger, by turns; now and then all of it. */
		uint32_t bits = step / 1000 % 2 ? 38 : 20, most = step / 2000 % 2 ? 1 : 32;

		wrong = step % 500 ? wheel_list_step(&list, step_draw(bits, most))
				   : wheel_list_drain(&list, 1 + below(most));
		ck_assert_msg(!wrong, "VARBOS_SEED=%" PRIu64 " step %u: %s", seed, step, wrong);
	}
	unfinished = list.expired > STEPS / 20 ? list.unfinished : 0;
	wheel_list_deinit(&list);
	return unfinished;
}

START_TEST(the_wheel_agrees_with_a_sorted_list)
{
	static const uint32_t ticks[] = {1, 1, 7, 100, 1000};
	static const uint64_t starts[] = {0, ((uint64_t)1 << 32) - 100,
					  ((uint64_t)1 << 40) - 100, 1700000000000,
					  UINT64_MAX / 2};
	uint64_t seed = seed_draw();

	state = seed;
	ck_assert_uint_gt(
		agree(seed, starts[below(ARRAY_SIZE(starts))], ticks[below(ARRAY_SIZE(ticks))]),
		STEPS / 50);
}
END_TEST

START_TEST(it_agrees_at_the_end_of_time_as_well)
{
	uint64_t seed = seed_draw();

	state = seed;
	agree(seed, UINT64_MAX - time_draw(45), 1 + below(1000));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wheel");
	TCase *tcase = tcase_create("wheel");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, nothing_expires_before_its_deadline_and_all_a_tick_after, 0,
			    4);
	tcase_add_loop_test(tcase, a_deadline_is_kept_to_the_tick_across_every_boundary, 0, 8);
	tcase_add_test(tcase, a_wheel_turns_on_however_old_it_is);
	tcase_add_test(tcase, what_never_comes_is_not_kept);
	tcase_add_test(tcase, a_deadline_in_the_past_expires_in_the_next_turn);
	tcase_add_test(tcase, the_last_deadline_counts_and_what_is_removed_never_expires);
	tcase_add_test(tcase, a_turn_takes_no_more_steps_than_it_may);
	tcase_add_test(tcase, a_turn_that_is_years_late_takes_no_steps_for_the_time_alone);
	tcase_add_test(tcase, who_comes_overdue_keeps_no_one_waiting_who_was_due_before);
	tcase_add_test(tcase, an_idle_wheel_asks_for_no_turn_and_one_object_for_one_a_level);
	tcase_add_test(tcase, a_clock_that_goes_back_changes_nothing);
	tcase_add_test(tcase, a_wheel_grows_while_it_is_used_or_stays_as_it_is);
	tcase_add_loop_test(tcase, the_wheel_agrees_with_a_sorted_list, 0, 4);
	tcase_add_loop_test(tcase, it_agrees_at_the_end_of_time_as_well, 0, 2);
	return suite_run(suite);
}
