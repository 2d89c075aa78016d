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

enum { ROUNDS = 5, ROUNDS_MOST = 50, STEPS = 2000 };

static struct index_map map;

static uint64_t seed_of_run(void)
{
	const char *text = getenv("VARBOS_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0)
			     : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;

	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	return seed;
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
	bool enough = false;

	for (uint32_t round = 0; round < ROUNDS || (!enough && round < ROUNDS_MOST); ++round) {
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
		/* It was a test of what it is to test; of some seeds that takes more rounds. */
		enough = full > 20 && full_moving > 5 && ended > 20 && chained > 4;
	}
	ck_assert_msg(enough,
		      "VARBOS_SEED=%" PRIu64 ": full %u, moving %u, ended %u, chained %u", seed,
		      full, full_moving, ended, chained);
}
END_TEST

/* ---- larger ones ---- */

static struct index big;
static uint64_t *hashes;
static uint64_t generation, expected;

static struct index_table table_new(struct index_layout layout, uint64_t seed)
{
	struct index_config config = {
		.layout = layout, .generation = ++generation, .seed = seed, .epoch = 1};
	void *file = calloc(1, index_file_size(layout.buckets, layout.overflow));
	uint32_t *numbers = malloc(index_positions(layout) * sizeof(*numbers));

	ck_assert(file && numbers);
	index_format(file, &config);
	return index_table(file, numbers);
}

static void table_free(struct index_table table)
{
	free(table.head);
	free(table.numbers);
}

static void big_new(uint64_t objects, uint32_t room)
{
	hashes = calloc(room, sizeof(*hashes));
	ck_assert_ptr_nonnull(hashes);
	generation = expected = 0;
	index_init(&big, table_new(index_layout_for(objects), 1),
		   (struct index_records){hashes, sizeof(*hashes)});
}

static void big_free(void)
{
	table_free(big.now);
	table_free(big.next);
	free(hashes);
}

/* As a host does it: the next index is there some time after it was wanted. */
static void move_on_if_wanted(uint64_t *wanted_at, uint64_t now, uint64_t late)
{
	struct index_layout layout;
	uint32_t number;
	bool seed;

	if (big.next.head) {
		ck_assert_int_eq(index_next_step(&big, 1, &number), 0);
		if (index_next_done(&big))
			table_free(index_next_end(&big));
		return;
	}
	if (!index_wants(&big, expected, &layout, &seed))
		return;
	if (!*wanted_at)
		*wanted_at = now;
	if (now < *wanted_at + late)
		return;
	index_next_begin(&big, table_new(layout, seed ? now : big.now.seed));
	*wanted_at = 0;
}

START_TEST(an_index_that_fills_up_has_moved_on_before_it_is_full)
{
	enum { OBJECTS = 40000 };
	uint64_t state = seed_of_run(), count, wanted_at = 0, moved = 0;

	big_new(1, OBJECTS);
	for (uint32_t i = 0; i < OBJECTS; ++i) {
		hashes[i] = (uint64_t)rnd(&state, UINT32_MAX) << 32 | rnd(&state, UINT32_MAX);
		ck_assert_msg(!index_insert(&big, hashes[i], i, (uint64_t)i << 4, 0),
			      "no room for %u", i);
		moved += big.next.head && !big.moved;
		move_on_if_wanted(&wanted_at, i, i / 100);
	}
	ck_assert_uint_gt(moved, 5);
	ck_assert_pstr_eq(index_check(&big, &count), NULL);
	ck_assert_uint_eq(count, OBJECTS);
	big_free();
}
END_TEST

START_TEST(who_knows_how_many_there_will_be_moves_on_a_few_times)
{
	enum { OBJECTS = 40000 };
	uint64_t state = seed_of_run(), wanted_at = 0, moved = 0;
	struct index_layout layout;

	big_new(1, OBJECTS);
	expected = OBJECTS;
	for (uint32_t i = 0; i < OBJECTS; ++i) {
		hashes[i] = (uint64_t)rnd(&state, UINT32_MAX) << 32 | rnd(&state, UINT32_MAX);
		ck_assert_int_eq(index_insert(&big, hashes[i], i, (uint64_t)i << 4, 0), 0);
		moved += big.next.head && !big.moved;
		move_on_if_wanted(&wanted_at, i, i / 100);
	}
	ck_assert_uint_le(moved, 4);
	layout = big.now.layout;
	ck_assert_uint_le(index_file_size(layout.buckets, layout.overflow), OBJECTS * 13);
	big_free();
	/* At capacity; and who was wrong does not get any size. */
	big_new(1000, 1);
	layout = big.now.layout;
	big.now.count = layout.buckets * INDEX_ENTRIES;
	for (uint64_t i = 0; i < 64; ++i) {
		struct index_layout next;
		bool seed;

		expected = (uint64_t)1 << i;
		ck_assert(index_wants(&big, expected, &next, &seed));
		ck_assert_uint_ge(next.buckets, layout.buckets / 8 * 9);
		ck_assert_uint_le(next.buckets, layout.buckets * 4 + 64);
	}
	big_free();
	/* The more there are, the less. */
	big_new(100000, 1);
	layout = big.now.layout;
	big.now.count = layout.buckets * 7;
	for (uint64_t i = 0; i < 64; ++i) {
		struct index_layout next;
		bool seed;

		expected = (uint64_t)1 << i;
		ck_assert(index_wants(&big, expected, &next, &seed));
		ck_assert_uint_ge(next.buckets, layout.buckets / 8 * 9);
		ck_assert_uint_le(next.buckets, layout.buckets / 4 * 9 + 64);
	}
	big_free();
}
END_TEST

START_TEST(a_file_takes_at_most_twelve_bytes_for_each_object_it_is_for)
{
	for (uint64_t objects = 10000; objects < 1000000000; objects *= 3) {
		struct index_layout layout = index_layout_for(objects);
		uint64_t size = index_file_size(layout.buckets, layout.overflow);

		ck_assert_uint_eq(size % 4096, 0);
		ck_assert_uint_le(size, objects * 12 + 8192);
		ck_assert_uint_le(index_positions(layout) * sizeof(uint32_t),
				  objects * 26 / 5 + 4096);
	}
}
END_TEST

START_TEST(keys_that_crowd_one_bucket_are_answered_by_another_seed)
{
	enum { FLOOD = 64, OBJECTS = 2000 };
	uint64_t state = seed_of_run(), wanted_at = 0, count;
	struct index_layout layout;
	uint32_t number, full = 0;
	bool seed = false;

	big_new(OBJECTS * 4, OBJECTS);
	layout = big.now.layout;
	for (uint32_t i = 0; i < OBJECTS; ++i) {
		hashes[i] = (uint64_t)rnd(&state, UINT32_MAX) << 32 | rnd(&state, UINT32_MAX);
		/* A bucket's worth of keys with one tag, of who knows the seed. */
		while (i < FLOOD && (index_mix(hashes[i], 1, layout.buckets).bucket ||
				     index_mix(hashes[i], 1, layout.buckets).tag % 64 > 1))
			hashes[i] = (uint64_t)rnd(&state, UINT32_MAX) << 32 |
				    rnd(&state, UINT32_MAX);
		while (index_insert(&big, hashes[i], i, (uint64_t)i << 4, 0)) {
			struct index_at at;

			number = index_rival(&big, hashes[i]);
			ck_assert(index_find(&big, hashes[number], &at));
			index_remove(&big, &at);
			++full;
		}
		if (i < FLOOD)
			continue;
		if (i == FLOOD) {
			ck_assert_uint_gt(full, 0);
			ck_assert(index_wants(&big, expected, &layout, &seed) && seed);
			ck_assert_uint_eq(layout.buckets, big.now.layout.buckets);
		}
		move_on_if_wanted(&wanted_at, i, 0);
	}
	ck_assert_pstr_eq(index_check(&big, &count), NULL);
	ck_assert_uint_eq(count, OBJECTS - full);
	ck_assert_uint_ne(big.now.seed, 1);
	ck_assert_ptr_null(big.next.head);
	ck_assert(!index_wants(&big, expected, &layout, &seed));
	big_free();
}
END_TEST

/* As a hole is, or what a disk or a bug has spoiled. */
START_TEST(a_bucket_without_a_control_word_is_recovered_only_where_nothing_leads)
{
	struct index_at at;
	struct index again;
	_Atomic uint64_t *word;

	big_new(1000, 1000);
	hashes[0] = 77;
	ck_assert_int_eq(index_insert(&big, hashes[0], 0, 16, 0), 0);
	ck_assert(index_find(&big, hashes[0], &at));
	/* An overflow bucket that is free: it is made one again. */
	word = &big.now.buckets[big.now.layout.buckets].control;
	atomic_store(word, 0);
	ck_assert(index_recover(&again, big.now, (struct index_table){0}, big.records));
	ck_assert(index_keep(&again, hashes[0], 0, 16));
	index_prune(&again);
	ck_assert_uint_ne(atomic_load(word), 0);
	/* One that keys lead to. */
	atomic_store(&big.now.buckets[at.home].control, 0);
	ck_assert(!index_recover(&again, big.now, (struct index_table){0}, big.records));
	big_free();
}
END_TEST

static Suite *index_suite(void)
{
	Suite *suite = suite_create("index");
	TCase *tcase = tcase_create("index");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, random_steps_match_a_naive_table, 0, 4);
	tcase_add_test(tcase, an_index_that_fills_up_has_moved_on_before_it_is_full);
	tcase_add_test(tcase, who_knows_how_many_there_will_be_moves_on_a_few_times);
	tcase_add_test(tcase, a_file_takes_at_most_twelve_bytes_for_each_object_it_is_for);
	tcase_add_test(tcase, keys_that_crowd_one_bucket_are_answered_by_another_seed);
	tcase_add_test(tcase,
		       a_bucket_without_a_control_word_is_recovered_only_where_nothing_leads);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(index_suite());
}
