/*
 * Quotas: who may take how many, and that nobody takes the last of anything.
 */
#include "daemon/core/quota.h"
#include "tests/suite.h"
#include "tests/unit/core_world.h"

enum { OWN = 500, ONE = 1000, OTHER = 1001 };

static struct quota_table table;

static void set_up(void)
{
	table = (struct quota_table){.uid = OWN};
	table.limits.max[QUOTA_SPACES] = 20;
	table.limits.total[QUOTA_SPACES] = 32;
	table.limits.keeps_last = true;
}

static void tear_down(void)
{
	quota_deinit(&table);
}

/* How many spaces it gets. */
static uint64_t take_all(struct quota *quota, struct quota_refusal *ret)
{
	uint64_t n = 0;

	for (; quota_may(&table, quota, QUOTA_SPACES, 1, ret); n++)
		quota_take(&table, quota, QUOTA_SPACES, 1);
	return n;
}

START_TEST(a_uid_takes_what_its_limit_says_and_a_refusal_says_which)
{
	struct quota *one = quota_ref(&table, ONE);
	struct quota_refusal why;

	ck_assert_uint_eq(take_all(one, &why), 20);
	ck_assert_str_eq(why.which, "limits.spaces");
	ck_assert_uint_eq(why.max, 20);
	ck_assert_uint_eq(why.held, 20);
	ck_assert_uint_eq(why.requested, 1);
	ck_assert(!why.all);
	ck_assert_uint_eq(one->refused[QUOTA_SPACES], 1);
	ck_assert_uint_eq(table.refused[QUOTA_SPACES], 1);
}
END_TEST

START_TEST(no_uid_takes_the_last_of_anything)
{
	struct quota *one = quota_ref(&table, ONE), *other = quota_ref(&table, OTHER);
	struct quota *root = quota_ref(&table, 0), *own = quota_ref(&table, OWN);
	struct quota_refusal why;

	ck_assert_uint_eq(take_all(one, &why), 20);
	ck_assert_uint_eq(take_all(other, &why), 8); /* 4 of 32 are kept */
	ck_assert(why.all);
	ck_assert_uint_eq(why.max, 28);
	ck_assert_uint_eq(why.held, 28);
	ck_assert_uint_eq(take_all(root, &why), 2);
	ck_assert(why.all);
	ck_assert_uint_eq(take_all(own, &why), 1); /* it holds none yet */
	ck_assert_uint_eq(take_all(quota_ref(&table, 7), &why), 1);
	ck_assert_uint_eq(table.held[QUOTA_SPACES], 32);
	ck_assert_uint_eq(take_all(quota_ref(&table, 8), &why), 0);
}
END_TEST

START_TEST(root_and_the_daemons_own_uid_are_bound_by_the_table_alone)
{
	ck_assert_uint_eq(take_all(quota_ref(&table, OWN), NULL), 30);
	ck_assert_uint_eq(take_all(quota_ref(&table, 0), NULL), 1);
}
END_TEST

START_TEST(a_limit_that_is_lowered_ends_nothing_and_stops_growth)
{
	struct quota *one = quota_ref(&table, ONE);

	quota_take(&table, one, QUOTA_SPACES, 10);
	table.limits.max[QUOTA_SPACES] = 4;
	ck_assert(!quota_may(&table, one, QUOTA_SPACES, 1, NULL));
	ck_assert_uint_eq(one->held[QUOTA_SPACES], 10);
	quota_give(&table, one, QUOTA_SPACES, 7);
	ck_assert(quota_may(&table, one, QUOTA_SPACES, 1, NULL));
}
END_TEST

START_TEST(sums_beyond_64_bits_are_refused)
{
	struct quota *one = quota_ref(&table, ONE);

	table.limits.max[QUOTA_METADATA] = UINT64_MAX;
	quota_take(&table, one, QUOTA_METADATA, 2);
	ck_assert(!quota_may(&table, one, QUOTA_METADATA, UINT64_MAX - 1, NULL));
}
END_TEST

START_TEST(an_account_goes_with_its_last_reference)
{
	struct quota *one = quota_ref(&table, ONE);

	ck_assert_ptr_eq(quota_ref(&table, ONE), one);
	quota_take(&table, one, QUOTA_SPACES, 3);
	quota_unref(&table, one);
	ck_assert_ptr_eq(quota_find(&table, ONE), one);
	quota_give(&table, one, QUOTA_SPACES, 3);
	ck_assert_uint_eq(table.held[QUOTA_SPACES], 0);
	quota_unref(&table, one);
	ck_assert_ptr_null(quota_find(&table, ONE));
	ck_assert_uint_eq(table.n, 0);
}
END_TEST

START_TEST(every_account_is_walked_once)
{
	bool seen[1000] = {};
	uint32_t n = 0;

	for (uint32_t uid = 0; uid < 1000; uid++)
		quota_ref(&table, uid);
	for (const struct quota *at = quota_next(&table, NULL); at;
	     at = quota_next(&table, at), n++) {
		ck_assert(!seen[at->uid]);
		seen[at->uid] = true;
	}
	ck_assert_uint_eq(n, 1000);
}
END_TEST

START_TEST(metadata_is_a_limit_of_its_own)
{
	struct core_config config = world_config(12, 64 * MIB);
	struct session_request request = {.credentials = {ONE, ONE}, .pid = 1, .birth = 1};
	struct world world;
	uint32_t slot;

	config.limits.max[QUOTA_METADATA] = 3 * METADATA_SESSION;
	world = world_new_with(config);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(core_session_open(world.core, &request, &slot, &world.fault),
				 0);
	ck_assert_int_eq(core_session_open(world.core, &request, &slot, &world.fault),
			 CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.metadata");
	ck_assert_uint_eq(world.fault.max, 3 * METADATA_SESSION);
	ck_assert_uint_eq(world.fault.held, 3 * METADATA_SESSION);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("quota");
	TCase *t = tcase_create("story");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, a_uid_takes_what_its_limit_says_and_a_refusal_says_which);
	tcase_add_test(t, no_uid_takes_the_last_of_anything);
	tcase_add_test(t, root_and_the_daemons_own_uid_are_bound_by_the_table_alone);
	tcase_add_test(t, a_limit_that_is_lowered_ends_nothing_and_stops_growth);
	tcase_add_test(t, sums_beyond_64_bits_are_refused);
	tcase_add_test(t, an_account_goes_with_its_last_reference);
	tcase_add_test(t, every_account_is_walked_once);
	tcase_add_test(t, metadata_is_a_limit_of_its_own);
	suite_add_tcase(s, t);
	return suite_run(s);
}
