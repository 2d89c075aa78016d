#include "tests/unit/core_world.h"

#include "daemon/core/budget.h"

struct tree {
	struct budget region, space, client;
};

static struct tree tree_of(uint64_t region, uint64_t space, uint64_t client)
{
	return (struct tree){
		.region = {.name = "region", .limit = region},
		.space = {.name = "space", .limit = space},
		.client = {.name = "client", .limit = client},
	};
}

#define TREE(tree, ...)                          \
	struct tree tree = tree_of(__VA_ARGS__); \
	tree.space.parent = &tree.region;        \
	tree.client.parent = &tree.space

START_TEST(charge_counts_at_every_level_and_goes_back)
{
	TREE(tree, 100, 50, 30);
	struct budget_refusal refusal;
	struct charge charge = {0};

	ck_assert_int_eq(budget_charge(&tree.client, 20, &charge, &refusal), 0);
	ck_assert_uint_eq(tree.client.used, 20);
	ck_assert_uint_eq(tree.space.used, 20);
	ck_assert_uint_eq(tree.space.peak, 0);
	charge_grant(&charge);
	ck_assert_uint_eq(tree.region.used, 20);
	charge_release(&charge);
	ck_assert_uint_eq(tree.client.used, 0);
	ck_assert_uint_eq(tree.space.used, 0);
	ck_assert_uint_eq(tree.region.used, 0);
	ck_assert_uint_eq(tree.space.peak, 20);
	ck_assert_ptr_null(charge.budget);
	charge_release(&charge);
	ck_assert_uint_eq(tree.region.used, 0);
}
END_TEST

START_TEST(charge_beyond_limit_changes_nothing_and_names_the_budget)
{
	TREE(tree, 100, 50, 30);
	struct budget_refusal refusal;
	struct charge charge = {0}, other = {0};

	ck_assert_int_eq(budget_charge(&tree.client, 31, &charge, &refusal), BUDGET_E_LIMIT);
	ck_assert_str_eq(refusal.budget->name, "client");
	ck_assert_uint_eq(refusal.remaining, 30);
	ck_assert_int_eq(budget_charge(&tree.space, 40, &other, &refusal), 0);
	ck_assert_int_eq(budget_charge(&tree.client, 11, &charge, &refusal), BUDGET_E_LIMIT);
	ck_assert_str_eq(refusal.budget->name, "space");
	ck_assert_uint_eq(refusal.remaining, 10);
	ck_assert_uint_eq(tree.client.used, 0);
	ck_assert_uint_eq(tree.region.used, 40);
	ck_assert_ptr_null(charge.budget);
	ck_assert_int_eq(budget_charge(&tree.client, 10, &charge, &refusal), 0);
}
END_TEST

START_TEST(charge_that_would_overflow_is_refused)
{
	TREE(tree, UINT64_MAX, UINT64_MAX, UINT64_MAX);
	struct budget_refusal refusal;
	struct charge one = {0}, two = {0};

	ck_assert_int_eq(budget_charge(&tree.client, UINT64_MAX - 1, &one, &refusal), 0);
	ck_assert_int_eq(budget_charge(&tree.client, 2, &two, &refusal), BUDGET_E_LIMIT);
	ck_assert_uint_eq(refusal.remaining, 1);
	ck_assert_int_eq(budget_charge(&tree.client, UINT64_MAX, &two, &refusal),
			 BUDGET_E_LIMIT);
	ck_assert_uint_eq(tree.region.used, UINT64_MAX - 1);
}
END_TEST

START_TEST(moved_charge_leaves_the_client_and_stays_with_the_space)
{
	TREE(tree, 100, 50, 30);
	struct budget_refusal refusal;
	struct charge charge = {0};

	ck_assert_int_eq(budget_charge(&tree.client, 30, &charge, &refusal), 0);
	charge_move(&charge, &tree.space);
	ck_assert_uint_eq(tree.client.used, 0);
	ck_assert_uint_eq(tree.space.used, 30);
	ck_assert_uint_eq(tree.region.used, 30);
	charge_release(&charge);
	ck_assert_uint_eq(tree.space.used, 0);
	ck_assert_uint_eq(tree.region.used, 0);
}
END_TEST

START_TEST(random_charges_sum_up_at_every_level)
{
	TREE(tree, 5000, 3000, 1000);
	struct charge charges[64] = {0};
	struct budget_refusal refusal;

	srandom(12);
	for (uint32_t step = 0; step < 20000; ++step) {
		struct charge *charge = &charges[random() % 64];
		uint64_t client = 0, space = 0, promised = 0;

		if (charge->budget && random() % 3)
			charge_release(charge);
		else if (charge->budget && random() % 2)
			charge_move(charge, &tree.space);
		else if (charge->budget)
			charge_grant(charge);
		else
			budget_charge(random() % 2 ? &tree.client : &tree.space,
				      (uint64_t)random() % 200, charge, &refusal);
		for (uint32_t i = 0; i < 64; ++i) {
			client += charges[i].budget == &tree.client ? charges[i].bytes : 0;
			space += charges[i].bytes;
			promised += charges[i].granted ? 0 : charges[i].bytes;
		}
		ck_assert_uint_eq(tree.region.promised, promised);
		ck_assert_uint_eq(tree.client.used, client);
		ck_assert_uint_eq(tree.space.used, space);
		ck_assert_uint_eq(tree.region.used, space);
		ck_assert(client <= 1000 && space <= 3000);
	}
}
END_TEST

START_TEST(a_limit_below_what_is_used_leaves_nothing_and_takes_nothing)
{
	TREE(tree, 100, 50, 30);
	struct budget_refusal refusal;
	struct charge charge = {0}, other = {0};

	ck_assert_int_eq(budget_charge(&tree.client, 20, &charge, &refusal), 0);
	tree.space.limit = 15;
	ck_assert_uint_eq(budget_left(&tree.space), 0);
	ck_assert_int_eq(budget_charge(&tree.client, 1, &other, &refusal), BUDGET_E_LIMIT);
	ck_assert_str_eq(refusal.budget->name, "space");
	ck_assert_uint_eq(refusal.remaining, 0);
	ck_assert_uint_eq(tree.space.used, 20);
	charge_release(&charge);
	ck_assert_int_eq(budget_charge(&tree.client, 15, &charge, &refusal), 0);
	charge_release(&charge);
}
END_TEST

START_TEST(what_was_charged_before_a_restart_is_charged_whatever_the_limit)
{
	TREE(tree, 100, 50, 30);
	struct charge charge = {0}, other = {0};

	ck_assert(budget_restore(&tree.client, 40, &charge));
	ck_assert_uint_eq(tree.region.used, 40);
	ck_assert(!budget_restore(&tree.client, UINT64_MAX, &other));
	ck_assert_uint_eq(tree.region.used, 40);
	charge_release(&charge);
	ck_assert_uint_eq(tree.region.used, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("budget");
	TCase *tcase = tcase_create("budget");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, charge_counts_at_every_level_and_goes_back);
	tcase_add_test(tcase, charge_beyond_limit_changes_nothing_and_names_the_budget);
	tcase_add_test(tcase, charge_that_would_overflow_is_refused);
	tcase_add_test(tcase, moved_charge_leaves_the_client_and_stays_with_the_space);
	tcase_add_test(tcase, random_charges_sum_up_at_every_level);
	tcase_add_test(tcase, a_limit_below_what_is_used_leaves_nothing_and_takes_nothing);
	tcase_add_test(tcase, what_was_charged_before_a_restart_is_charged_whatever_the_limit);
	return world_run(suite);
}
