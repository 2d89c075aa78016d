/*
 * Each deterministic policy beside its twin: the same victim at every step.
 */
#include <inttypes.h>

#include "base/base.h"
#include "daemon/core/policy/ghost.h"
#include "tests/suite.h"
#include "tests/unit/policy_host.h"

enum { STEPS = 40000 };

static uint64_t state;

static struct policy_host host;

/* False: it has no twin. */
static bool begin(int policy, uint64_t capacity)
{
	ck_assert(policy_host_init(&host, (uint32_t)policy, capacity, HOST_NUMBERS, true));
	host.checked_every = 32;
	if (!host.twin) {
		ck_assert_int_eq(policy, POLICY_WTINYLFU);
		policy_host_deinit(&host);
	}
	return host.twin;
}

static void step(uint64_t seed, uint32_t i, struct host_step next)
{
	const char *wrong = policy_host_step(&host, next);

	if (wrong)
		ck_abort_msg("%s: VARBOS_SEED=%" PRIu64 " step %u: %s",
			     host.eviction.policy->name, seed, i, wrong);
}

/* Few keys most of the time, and now and then a walk over many. */
static uint32_t key_draw(uint32_t i)
{
	uint64_t word = host_random(&state);

	if (i / 600 % 3 == 2)
		return i % HOST_KEYS;
	/* Three factors: the first tenth of the keys takes two thirds of the requests. */
	return (uint32_t)((word & 255) * (word >> 8 & 255) * (word >> 16 & 255) *
				  (HOST_KEYS - 1) >>
			  24);
}

START_TEST(a_policy_and_its_twin_agree_on_objects_of_one_size)
{
	static const uint64_t capacities[] = {1, 2, 9, 10, 64, 150};
	uint64_t seed = host_seed(policy_at((uint32_t)_i)->name);

	state = seed;
	for (uint32_t c = 0; c < ARRAY_SIZE(capacities); c++) {
		if (!begin(_i, capacities[c]))
			return;
		for (uint32_t i = 0; i < STEPS / 4; i++)
			step(seed, i, (struct host_step){HOST_REQUEST, key_draw(i), 1});
		ck_assert_uint_gt(host.evicted, STEPS / 40);
		ck_assert(capacities[c] < 10 || host.hits > STEPS / 100);
		policy_host_deinit(&host);
	}
}
END_TEST

START_TEST(a_policy_and_its_twin_agree_on_objects_of_all_sizes)
{
	uint64_t seed = host_seed(policy_at((uint32_t)_i)->name);

	state = seed;
	if (!begin(_i, 700))
		return;
	for (uint32_t i = 0; i < STEPS; i++) {
		uint32_t key = key_draw(i);
		uint32_t size = 1 + key * 7 % 13;

		if (host_random(&state) % 16 == 0)
			size = 1 + (uint32_t)host_random(&state) % 40; /* another value */
		step(seed, i, (struct host_step){HOST_REQUEST, key, size});
	}
	ck_assert_uint_gt(host.evicted, STEPS / 40);
	ck_assert_uint_gt(host.hits, STEPS / 40);
	policy_host_deinit(&host);
}
END_TEST

/* Pins, removals, other capacities, growth. */
START_TEST(a_policy_and_its_twin_agree_whatever_happens)
{
	uint64_t seed = host_seed(policy_at((uint32_t)_i)->name);

	state = seed;
	if (!begin(_i, 100))
		return;
	for (uint32_t i = 0; i < STEPS; i++)
		step(seed, i, host_step_of(host_random(&state)));
	ck_assert_uint_gt(host.evicted, STEPS / 100);
	ck_assert_uint_gt(host.refused, STEPS / 100);
	ck_assert_uint_gt(host.hits, STEPS / 100);
	policy_host_deinit(&host);
}
END_TEST

/* What policy_twin.h expects of it: none is forgotten early, or taken for another. */
START_TEST(a_ghost_has_room_for_the_keys_of_these_tests_and_tells_them_apart)
{
	struct ghost ghost = {0};

	ck_assert_int_eq(ghost_grow(&ghost, HOST_MADE_FOR), 0);
	ghost_resize(&ghost, 4096);
	/* Any two differ in some bit. */
	for (uint32_t bit = 1; bit < HOST_KEYS; bit *= 2) {
		for (uint32_t i = 0; i < HOST_KEYS; i++)
			if (i & bit)
				ghost_put(&ghost, host_hash(i), 1);
		for (uint32_t i = 0; i < HOST_KEYS; i++)
			ck_assert(i & bit || !ghost_take(&ghost, host_hash(i)));
		for (uint32_t i = 0; i < HOST_KEYS; i++)
			ck_assert(!(i & bit) || ghost_take(&ghost, host_hash(i)));
		for (uint32_t i = 0; i < HOST_KEYS; i++)
			if (!(i & bit))
				ghost_put(&ghost, host_hash(i), 1);
		for (uint32_t i = 0; i < HOST_KEYS; i++)
			ck_assert(!(i & bit) || !ghost_take(&ghost, host_hash(i)));
		for (uint32_t i = 0; i < HOST_KEYS; i++)
			ck_assert(i & bit || ghost_take(&ghost, host_hash(i)));
	}
	for (uint32_t i = 0; i < HOST_KEYS; i++)
		ghost_put(&ghost, host_hash(i), 1);
	for (uint32_t i = 0; i < HOST_KEYS; i++)
		ck_assert(ghost_take(&ghost, host_hash(i)));
	ghost_deinit(&ghost);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy_twins");
	TCase *tcase = tcase_create("policy_twins");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, a_policy_and_its_twin_agree_on_objects_of_one_size, 0,
			    POLICIES);
	tcase_add_loop_test(tcase, a_policy_and_its_twin_agree_on_objects_of_all_sizes, 0,
			    POLICIES);
	tcase_add_loop_test(tcase, a_policy_and_its_twin_agree_whatever_happens, 0, POLICIES);
	tcase_add_test(tcase,
		       a_ghost_has_room_for_the_keys_of_these_tests_and_tells_them_apart);
	return suite_run(suite);
}
