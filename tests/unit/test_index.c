/*
 * The index of a cache, as the daemon has it: stories, and a table of keys, step by step.
 */
#include "tests/suite.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "tests/unit/index_map.h"

enum { ROUNDS = 5, STEPS = 2000 };

static struct index_map map;

static uint64_t seed_of_run(void)
{
	const char *text = getenv("VARBOS_SEED");

	return text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
}

static uint32_t rnd(uint64_t *state, uint32_t below)
{
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)((*state >> 32) * below >> 32);
}

/* Phases that fill, that empty, and that change. */
static enum index_step_kind kind_of(uint64_t *state, uint32_t phase)
{
	uint32_t pick = rnd(state, 16);

	if (pick < 8)
		return phase == 0                ? INDEX_STEP_INSERT
		       : phase == 1 && pick >= 2 ? INDEX_STEP_REMOVE
						 : (enum index_step_kind)(pick % 2);
	if (pick == 8)
		return INDEX_STEP_PLACE;
	if (pick == 9)
		return INDEX_STEP_HINT;
	if (pick == 10)
		return INDEX_STEP_NOTED;
	if (pick == 11 && !rnd(state, 4))
		return INDEX_STEP_BEGIN;
	return pick < 14 ? INDEX_STEP_MOVE : INDEX_STEP_INSERT;
}

START_TEST(random_steps_match_a_naive_table)
{
	uint64_t seed = seed_of_run() + (uint64_t)_i, state = seed;
	uint32_t full = 0, full_moving = 0, ended = 0, chained = 0;

	for (uint32_t round = 0; round < ROUNDS; ++round) {
		ck_assert(index_map_init(&map, rnd(&state, 32)));
		for (uint32_t i = 0; i < STEPS; ++i) {
			struct index_step step = {
				.kind = kind_of(&state, i / 256 % 3),
				.key = rnd(&state, MAP_KEYS),
				.size = rnd(&state, 128),
			};
			const char *wrong = index_map_step(&map, step);

			ck_assert_msg(!wrong,
				      "VARBOS_SEED=%" PRIu64 " round %u step %u (kind %d): %s",
				      seed, round, i, step.kind, wrong);
			chained = (uint32_t)u64_max(chained, map.index.now.chained);
		}
		full += map.full;
		full_moving += map.full_moving;
		ended += map.ended;
		index_map_deinit(&map);
	}
	/* It was a test of what it is to test. */
	ck_assert_uint_gt(full, 20);
	ck_assert_uint_gt(full_moving, 5);
	ck_assert_uint_gt(ended, 20);
	ck_assert_uint_gt(chained, 4);
}
END_TEST

static Suite *index_suite(void)
{
	Suite *suite = suite_create("index");
	TCase *tcase = tcase_create("index");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, random_steps_match_a_naive_table, 0, 4);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(index_suite());
}
