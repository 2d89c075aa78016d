/*
 * Eviction - what a cache sees while its policy is changed, from each to each.
 */
#include "daemon/core/policy/eviction.h"

#include <inttypes.h>

#include "base/base.h"
#include "tests/suite.h"
#include "tests/unit/policy_host.h"

enum { CAPACITY = 100, NUMBERS = 128, PAIRS = POLICIES * POLICIES, STEPS = 30000, LARGE = 20 };

static uint64_t state;

static struct policy_host host;

static void begin(int policy)
{
	ck_assert(policy_host_init(&host, (uint32_t)policy, CAPACITY, NUMBERS, false));
}

static void step(enum host_step_kind kind, uint32_t key, uint32_t value)
{
	const char *wrong = policy_host_step(&host, (struct host_step){kind, key, value});

	if (wrong)
		ck_abort_msg("%s after %s: %s", host.eviction.policy->name,
			     host.eviction.former ? host.eviction.former->name : "itself",
			     wrong);
}

/* What happens to a cache of one policy and capacity; the same for the same seed. */
static void live(uint64_t seed, uint32_t steps)
{
	state = seed;
	for (uint32_t i = 0; i < steps; i++) {
		struct host_step next = host_step_of(host_random(&state));

		if (next.kind != HOST_SWITCH && next.kind != HOST_STEP &&
		    next.kind != HOST_RESIZE && next.value < LARGE)
			step(next.kind, next.key, next.value);
	}
}

static void switch_to(int policy)
{
	step(HOST_SWITCH, 0, (uint32_t)policy);
	ck_assert_ptr_eq(host.eviction.policy, policy_at((uint32_t)policy));
}

START_TEST(objects_stay_through_a_switch_whatever_happens_meanwhile)
{
	int from = _i / POLICIES, to = _i % POLICIES;
	uint32_t count, rounds = 0;

	begin(from);
	live((uint64_t)_i, 400);
	count = host.count;
	ck_assert_uint_gt(count, 0);
	switch_to(to);
	ck_assert_uint_eq(host.count, count);
	while (host.eviction.former) {
		count = host.count;
		step(HOST_STEP, 0, 1 + rounds % 3);
		ck_assert_uint_eq(host.count, count);
		live((uint64_t)_i * 100 + rounds++, 5);
	}
	ck_assert(from == to || rounds > 2);
	live((uint64_t)_i + 1, 400);
	ck_assert_ptr_eq(host.eviction.policy, policy_at((uint32_t)to));
	policy_host_deinit(&host);
}
END_TEST

/* What goes next, until nothing is left. */
static uint32_t drain(uint32_t *order, bool evicted)
{
	uint32_t n = 0, number;

	while ((number = eviction_victim(&host.eviction)) != POLICY_NONE) {
		struct policy_object object;

		host.eviction.config.look(&host, number, &object);
		eviction_remove(&host.eviction, &object, evicted);
		ck_assert_uint_lt(n, NUMBERS);
		order[n++] = number;
	}
	ck_assert_uint_eq(n, host.count);
	policy_host_deinit(&host);
	return n;
}

START_TEST(they_come_over_in_the_order_in_which_they_would_have_gone)
{
	int from = _i / POLICIES, to = _i % POLICIES;
	uint32_t order[NUMBERS], after[NUMBERS], expected[NUMBERS], n;

	if (from == to)
		return;
	begin(from);
	live(7, 1000);
	n = drain(order, false);
	begin(from);
	live(7, 1000);
	switch_to(to);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert(!host.eviction.policy->has(host.eviction.state, order[i]));
		ck_assert(eviction_step(&host.eviction, 1));
		ck_assert(host.eviction.policy->has(host.eviction.state, order[i]));
		ck_assert_ptr_null(policy_host_compare(&host));
	}
	ck_assert(!eviction_step(&host.eviction, 1));
	ck_assert_ptr_null(host.eviction.former);
	ck_assert_uint_eq(drain(after, true), n);

	/* As if they had just been inserted, in that order. */
	begin(from);
	live(7, 1000);
	eviction_deinit(&host.eviction);
	ck_assert_int_eq(
		eviction_init(&host.eviction, policy_at((uint32_t)to),
			      &(struct policy_config){host.capacity, HOST_NUMBERS,
						      host.eviction.config.look, &host}),
		0);
	for (uint32_t i = 0; i < n; i++) {
		struct policy_object object;

		host.eviction.config.look(&host, order[i], &object);
		eviction_insert(&host.eviction, &object);
	}
	drain(expected, true);
	ck_assert_mem_eq(after, expected, n * sizeof(*after));
}
END_TEST

START_TEST(what_is_left_with_the_former_goes_first)
{
	uint32_t newcomers = 0, left;

	begin(_i);
	for (uint32_t key = 0; key < 60; key++)
		step(HOST_REQUEST, key * key % 50, 1 + key % 3);
	switch_to((_i + 1) % POLICIES);
	step(HOST_STEP, 0, 4);
	left = host.count - 4;
	step(HOST_RESIZE, 0, (uint32_t)host.used);
	for (uint32_t evicted = host.evicted; host.evicted - evicted < left; newcomers++) {
		uint32_t number = eviction_victim(&host.eviction);

		ck_assert(host.eviction.former->has(host.eviction.former_state, number));
		step(HOST_REQUEST, 100 + newcomers, 1);
	}
	ck_assert_uint_gt(newcomers, 10);
	ck_assert_uint_eq(host.count, newcomers + 4);
	ck_assert(!eviction_step(&host.eviction, 1));
	policy_host_deinit(&host);
}
END_TEST

START_TEST(what_is_pinned_with_the_former_hides_nobody)
{
	int from = _i / POLICIES, to = _i % POLICIES;

	begin(from);
	for (uint32_t key = 0; key < 20; key++) {
		step(HOST_REQUEST, key, 1);
		step(HOST_PIN, key, 0);
	}
	switch_to(to);
	step(HOST_REQUEST, 100, 1);
	step(HOST_EVICT, 0, 0); /* the host counts refusals */
	ck_assert_uint_eq(host.evicted, 1);
	ck_assert_uint_eq(host.number_of[100], POLICY_NONE);
	ck_assert_uint_eq(host.count, 20);
	policy_host_deinit(&host);
}
END_TEST

START_TEST(a_second_switch_waits_for_the_end_of_the_first)
{
	begin(POLICY_LRU);
	ck_assert_int_eq(eviction_switch(&host.eviction, &policy_lru), 0);
	ck_assert_ptr_null(host.eviction.former); /* it is that already */
	ck_assert(!eviction_step(&host.eviction, 1));
	live(1, 1000);
	ck_assert_uint_gt(host.count, 3);
	switch_to(POLICY_SIEVE);
	ck_assert_int_eq(eviction_switch(&host.eviction, &policy_lru), EVICTION_E_SWITCHING);
	ck_assert_int_eq(eviction_switch(&host.eviction, &policy_sieve), EVICTION_E_SWITCHING);
	ck_assert_int_eq(eviction_switch(&host.eviction, &policy_2q), EVICTION_E_SWITCHING);
	ck_assert_ptr_eq(host.eviction.policy, &policy_sieve);
	ck_assert(eviction_step(&host.eviction, 1));
	ck_assert(eviction_step(&host.eviction, 0));
	ck_assert(!eviction_step(&host.eviction, UINT32_MAX));
	ck_assert_int_eq(eviction_switch(&host.eviction, &policy_lru), 0);
	/* It may end in the middle of one. */
	ck_assert(eviction_step(&host.eviction, 1));
	policy_host_deinit(&host);
}
END_TEST

START_TEST(it_grows_and_shrinks_in_the_middle_of_a_switch)
{
	int from = _i / POLICIES, to = _i % POLICIES;

	begin(from);
	live(5, 300);
	switch_to(to);
	step(HOST_STEP, 0, 3);
	step(HOST_GROW, 0, HOST_NUMBERS);
	step(HOST_RESIZE, 0, 2 * HOST_NUMBERS);
	for (uint32_t key = 0; key < HOST_KEYS; key++)
		step(HOST_REQUEST, key, 1);
	ck_assert_uint_gt(host.count, 2 * NUMBERS);
	step(HOST_RESIZE, 0, 10);
	ck_assert_uint_le(host.count - host.pinned, 10);
	step(HOST_STEP, 0, HOST_NUMBERS);
	ck_assert_ptr_null(host.eviction.former);
	live(6, 300);
	policy_host_deinit(&host);
}
END_TEST

static void plain_look(void *userdata, uint32_t number, struct policy_object *ret)
{
	*ret = (struct policy_object){number, 1, host_hash(number)};
}

/* 2q and s3fifo know a newcomer from its admit; others may come over before its insert. */
START_TEST(what_comes_over_is_not_taken_for_the_newcomer)
{
	static const struct policy *const policies[] = {&policy_2q, &policy_s3fifo};
	struct policy_config config = {.capacity = 8, .objects = 16, .look = plain_look};
	struct policy_object object, back = {10, 1, host_hash(10)};
	struct eviction eviction;

	ck_assert_int_eq(eviction_init(&eviction, &policy_fifo, &config), 0);
	for (uint32_t i = 0; i < 4; i++) {
		plain_look(NULL, i, &object);
		eviction_insert(&eviction, &object);
	}
	ck_assert_int_eq(eviction_switch(&eviction, policies[_i]), 0);
	eviction_insert(&eviction, &back);
	eviction_remove(&eviction, &back, true);
	eviction_admit(&eviction, &back);
	ck_assert(eviction_step(&eviction, 1));
	eviction_insert(&eviction, &back);
	ck_assert(!eviction_step(&eviction, 4));
	/* Who came over has come for the first time, and goes before who has come back. */
	ck_assert_uint_eq(eviction_victim(&eviction), 0);
	eviction_deinit(&eviction);
}
END_TEST

START_TEST(another_capacity_is_the_former_policys_too)
{
	struct policy_config config = {.capacity = 8, .objects = 16, .look = plain_look};
	struct policy_object object;
	struct eviction eviction;

	/* 10 has come back, and is in the main queue of 2q; 0 to 3 are more than may pass through. */
	ck_assert_int_eq(eviction_init(&eviction, &policy_2q, &config), 0);
	plain_look(NULL, 10, &object);
	eviction_insert(&eviction, &object);
	eviction_remove(&eviction, &object, true);
	eviction_admit(&eviction, &object);
	eviction_insert(&eviction, &object);
	for (uint32_t i = 0; i < 4; i++) {
		plain_look(NULL, i, &object);
		eviction_insert(&eviction, &object);
	}
	ck_assert_int_eq(eviction_switch(&eviction, &policy_lru), 0);
	ck_assert_uint_eq(eviction_victim(&eviction), 0);
	eviction_resize(&eviction, 80);
	ck_assert_uint_eq(eviction_victim(&eviction), 10);
	ck_assert_uint_eq(eviction.config.capacity, 80); /* the next policy's */
	eviction_deinit(&eviction);
}
END_TEST

START_TEST(from_policy_to_policy_nothing_is_lost)
{
	uint64_t seed = host_seed("all");
	uint32_t switches = 0;

	begin(POLICY_S3FIFO);
	state = seed;
	for (uint32_t i = 0; i < STEPS; i++) {
		const struct policy *before = host.eviction.policy;
		const char *wrong = policy_host_step(&host, host_step_of(host_random(&state)));

		if (wrong)
			ck_abort_msg("VARBOS_SEED=%" PRIu64 " step %u, %s after %s: %s", seed,
				     i, host.eviction.policy->name,
				     host.eviction.former ? host.eviction.former->name
							  : "itself",
				     wrong);
		switches += before != host.eviction.policy;
	}
	ck_assert_uint_gt(switches, STEPS / 500);
	ck_assert_uint_gt(host.evicted, STEPS / 50);
	ck_assert_uint_gt(host.refused, STEPS / 50);
	policy_host_deinit(&host);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("eviction");
	TCase *tcase = tcase_create("eviction");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, objects_stay_through_a_switch_whatever_happens_meanwhile, 0,
			    PAIRS);
	tcase_add_loop_test(tcase, they_come_over_in_the_order_in_which_they_would_have_gone, 0,
			    PAIRS);
	tcase_add_loop_test(tcase, what_is_left_with_the_former_goes_first, 0, POLICIES);
	tcase_add_loop_test(tcase, what_is_pinned_with_the_former_hides_nobody, 0, PAIRS);
	tcase_add_test(tcase, a_second_switch_waits_for_the_end_of_the_first);
	tcase_add_loop_test(tcase, it_grows_and_shrinks_in_the_middle_of_a_switch, 0, PAIRS);
	tcase_add_loop_test(tcase, what_comes_over_is_not_taken_for_the_newcomer, 0, 2);
	tcase_add_test(tcase, another_capacity_is_the_former_policys_too);
	tcase_add_test(tcase, from_policy_to_policy_nothing_is_lost);
	return suite_run(suite);
}
