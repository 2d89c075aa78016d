/*
 * Ghost - beside a list of what was put, and when.
 */
#include "daemon/core/policy/ghost.h"

#include <stdio.h>

#include "base/base.h"
#include "tests/suite.h"
#include "tests/unit/policy_host.h"

enum { KEYS = 256 };

static struct ghost ghost;
static uint64_t put, put_at[KEYS]; /* in all; and by when each was, + 1 */
static uint64_t state;

static void begin(uint64_t capacity, uint32_t objects)
{
	ghost = (struct ghost){0};
	ck_assert_int_eq(ghost_grow(&ghost, objects), 0);
	ghost_resize(&ghost, capacity);
	put = 0;
	for (uint32_t i = 0; i < KEYS; i++)
		put_at[i] = 0;
}

static void checked(void)
{
	const char *wrong = ghost_check(&ghost);

	ck_assert_msg(!wrong, "%s", wrong);
}

static void put_key(uint32_t key, uint32_t size)
{
	ghost_put(&ghost, host_hash(key), size);
	put += size;
	put_at[key] = put + 1;
}

/* Is it known as GH1 says? From now on it is not. */
static void take_key(uint32_t key)
{
	uint64_t since = put + 1 - put_at[key], capacity = ghost.capacity;
	bool was = ghost_take(&ghost, host_hash(key));

	if (!put_at[key] || since >= capacity)
		ck_assert(!was);
	else if (since < capacity - capacity / 4096)
		ck_assert(was);
	put_at[key] = 0;
}

START_TEST(a_key_is_known_until_the_capacity_was_put_after_it)
{
	static const struct {
		uint64_t capacity;
		uint32_t size_max;
	} cases[] = {
		{1, 1},
		{2, 1},
		{3, 2},
		{100, 1},
		{100, 100},
		{1000, 20},
		{4095, 60},
		{4096, 60},
		{4097, 60},
		{100000, 3000},
		{(uint64_t)1 << 34, POLICY_SIZE_MAX},
		{(uint64_t)1 << 40, POLICY_SIZE_MAX},
	};

	state = host_seed("ghost");
	for (uint32_t c = 0; c < ARRAY_SIZE(cases); c++) {
		begin(cases[c].capacity, 4 * KEYS);
		for (uint32_t i = 0; i < 20000; i++) {
			uint64_t word = host_random(&state);
			uint32_t key = (uint32_t)(word & 255) % (i / 4000 % 2 ? KEYS : 40);

			if (word >> 8 & 3)
				put_key(key, 1 + (uint32_t)(word >> 32) % cases[c].size_max);
			else
				take_key(key);
			if (i % 64 == 0)
				checked();
		}
		ghost_deinit(&ghost);
	}
}
END_TEST

/* Ages wrap after 16 capacities; the slots of these keys are looked at by nobody but the hand. */
START_TEST(a_key_that_is_gone_does_not_come_back_when_ages_wrap)
{
	static const uint32_t sizes[] = {1, 7, 100, 997, 1000};

	for (uint32_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		begin(1000, 20000);
		for (uint32_t key = 0; key < KEYS - 1; key++)
			put_key(key, 1);
		for (uint64_t i = 0; i < 100 * 1000 / sizes[s]; i++) {
			put_key(KEYS - 1, sizes[s]);
			if (i % 200 == 0)
				checked();
			if (put < KEYS + 1000)
				continue;
			for (uint32_t j = 0; j < 4; j++)
				if (ghost_take(&ghost,
					       host_hash((uint32_t)(i * 4 + j) % (KEYS - 1))))
					ck_abort_msg("put %u of %u", (uint32_t)i, sizes[s]);
		}
		ghost_deinit(&ghost);
	}
}
END_TEST

START_TEST(a_put_looks_at_an_eighth_of_the_buckets_at_most)
{
	begin(1000, 20000);
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t hand = ghost.hand, steps;

		put_key(i % KEYS, i % 3 ? 1000 : 1);
		steps = (ghost.hand + ghost.n_buckets - hand) % ghost.n_buckets;
		ck_assert_uint_le(steps, ghost.n_buckets / 8 + 1);
	}
	ghost_deinit(&ghost);
}
END_TEST

START_TEST(what_is_larger_than_the_capacity_leaves_no_ghost)
{
	begin(100, KEYS);
	ghost_put(&ghost, host_hash(1), 50);
	ghost_put(&ghost, host_hash(2), 101);
	ghost_put(&ghost, host_hash(3), POLICY_SIZE_MAX);
	ck_assert(ghost_take(&ghost, host_hash(1)));
	ck_assert(!ghost_take(&ghost, host_hash(2)));
	ghost_resize(&ghost, 0);
	ghost_put(&ghost, host_hash(4), 1);
	ck_assert(!ghost_take(&ghost, host_hash(4)));
	ghost_deinit(&ghost);
}
END_TEST

START_TEST(another_capacity_leaves_what_share_of_it_was_put_since)
{
	static const uint64_t capacities[] = {10, 200, 5000, (uint64_t)1 << 40};

	for (uint32_t c = 0; c < ARRAY_SIZE(capacities); c++) {
		uint64_t half = capacities[c] / 2;

		begin(1000, KEYS);
		put_key(1, 1);
		put_key(2, 500);
		ghost_resize(&ghost, capacities[c]);
		for (; half > POLICY_SIZE_MAX; half -= POLICY_SIZE_MAX)
			put_key(3, POLICY_SIZE_MAX);
		/* One unit before its other half is put. */
		put_key(4, (uint32_t)half - 1);
		ck_assert(ghost_take(&ghost, host_hash(1)));
		ghost_put(&ghost, host_hash(1), 1);
		ghost_put(&ghost, host_hash(5), 1);
		for (uint32_t i = 0; i < capacities[c] && i < 5000; i++)
			put_key(6, (uint32_t)u64_min(u64_max(capacities[c] / 5000, 1),
						     POLICY_SIZE_MAX));
		checked();
		ck_assert(!ghost_take(&ghost, host_hash(2)));
		ghost_deinit(&ghost);
	}
}
END_TEST

START_TEST(what_was_put_since_is_not_much_of_a_capacity_that_is_small)
{
	begin((uint64_t)1 << 40, KEYS);
	ghost_put(&ghost, host_hash(1), POLICY_SIZE_MAX / 2);
	ghost_resize(&ghost, 1000);
	ghost_put(&ghost, host_hash(2), 1);
	checked();
	ck_assert(ghost_take(&ghost, host_hash(1)));
	ck_assert(ghost_take(&ghost, host_hash(2)));
	ghost_deinit(&ghost);
}
END_TEST

/* Some of these have no bit set in their fingerprints. */
START_TEST(a_key_is_known_whatever_its_hash)
{
	begin((uint64_t)1 << 40, KEYS);
	for (uint32_t key = 0; key < 500000; key++) {
		ghost_put(&ghost, host_hash(key), 1);
		if (!ghost_take(&ghost, host_hash(key)))
			ck_abort_msg("key %u is not", key);
	}
	ghost_deinit(&ghost);
}
END_TEST

/* GH2, of as many keys as it is made for, of which the last eighth has not been put. */
START_TEST(few_are_taken_for_one_that_was_put)
{
	enum { OBJECTS = 50000, TRIED = 400000 };
	uint32_t known = 0, wrong = 0;

	begin(OBJECTS, OBJECTS);
	for (uint32_t key = 0; key < OBJECTS; key++)
		ghost_put(&ghost, host_hash(key), 1);
	checked();
	for (uint32_t key = OBJECTS; key < OBJECTS + TRIED; key++)
		wrong += ghost_take(&ghost, host_hash(key));
	/* 14.4 keys of 65536 fingerprints in a bucket: 88, and three times the deviation more. */
	ck_assert_uint_le(wrong, 88 + 28);
	ck_assert_uint_gt(wrong, 88 - 28);
	/* Where more keys fall into a bucket than it has slots, the oldest are forgotten. */
	for (uint32_t key = 0; key < OBJECTS; key++)
		known += ghost_take(&ghost, host_hash(key));
	printf("of %d keys %u are known, of %d others %u\n", OBJECTS, known, TRIED, wrong);
	fflush(stdout);
	ck_assert_uint_gt(known, OBJECTS / 100 * 88);
	ghost_deinit(&ghost);
}
END_TEST

START_TEST(what_was_never_put_into_takes_what_it_needs)
{
	begin(200, 0);
	for (uint32_t objects = 1000; objects < 100000; objects += objects / 30) {
		ck_assert_int_eq(ghost_grow(&ghost, objects), 0);
		ck_assert_uint_eq(ghost.n_buckets, objects / GHOST_SLOTS + 1);
		ck_assert(!ghost_take(&ghost, host_hash(1)));
	}
	put_key(1, 1);
	ck_assert(ghost_take(&ghost, host_hash(1)));
	checked();
	ghost_deinit(&ghost);
}
END_TEST

START_TEST(growing_forgets_nothing_and_takes_twice_what_it_needs_at_most)
{
	static const uint32_t sizes[] = {0, 100, 101, 1000, 100, 1500, 3000, 100000, 100001};

	begin(200, 0);
	state = 1;
	for (uint32_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		ck_assert_int_eq(ghost_grow(&ghost, sizes[s]), 0);
		checked();
		for (uint32_t i = 1; i <= s;
		     i++) /* bytes: GHOST_BYTES for each, and a bucket */
			ck_assert_uint_ge(sizeof(struct ghost_bucket) * ghost.n_buckets,
					  (uint64_t)sizes[i] * GHOST_BYTES);
		ck_assert_uint_le(sizeof(struct ghost_bucket) * ghost.n_buckets,
				  2 * (GHOST_BYTES * u64_max(sizes[s], 3000) +
				       sizeof(struct ghost_bucket)));
		for (uint32_t i = 0; i < 1000; i++) {
			if (i % 3 && sizes[s])
				put_key((uint32_t)host_random(&state) % 60, 1);
			else
				take_key((uint32_t)host_random(&state) % 60);
		}
	}
	ghost_deinit(&ghost);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ghost");
	TCase *tcase = tcase_create("ghost");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, a_key_is_known_until_the_capacity_was_put_after_it);
	tcase_add_test(tcase, a_key_that_is_gone_does_not_come_back_when_ages_wrap);
	tcase_add_test(tcase, a_put_looks_at_an_eighth_of_the_buckets_at_most);
	tcase_add_test(tcase, what_is_larger_than_the_capacity_leaves_no_ghost);
	tcase_add_test(tcase, another_capacity_leaves_what_share_of_it_was_put_since);
	tcase_add_test(tcase, what_was_put_since_is_not_much_of_a_capacity_that_is_small);
	tcase_add_test(tcase, a_key_is_known_whatever_its_hash);
	tcase_add_test(tcase, few_are_taken_for_one_that_was_put);
	tcase_add_test(tcase, what_was_never_put_into_takes_what_it_needs);
	tcase_add_test(tcase, growing_forgets_nothing_and_takes_twice_what_it_needs_at_most);
	return suite_run(suite);
}
