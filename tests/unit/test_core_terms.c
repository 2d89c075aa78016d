#include "tests/unit/core_world.h"

static int change_as(struct world *world, struct credentials who, const char *name,
		     uint32_t set, struct space_terms to, struct plan **ret)
{
	struct space_change change = {.set = set, .to = to};
	const uint32_t groups[] = {40, 41};

	*ret = NULL;
	return core_space_change(world->core, who, groups, ARRAY_SIZE(groups), name, &change,
				 ret, &world->fault);
}

/* As root, without anything to commit. */
static void change(struct world *world, const char *name, uint32_t set, struct space_terms to)
{
	struct plan *plan;

	ck_assert_int_eq(change_as(world, (struct credentials){0, 0}, name, set, to, &plan), 0);
	ck_assert_ptr_null(plan);
	world_check(world, false);
}

static struct world world_with(uint32_t page_shift, struct space_request request)
{
	struct core_config config = world_config(page_shift, 64 * MIB);
	struct world world;

	config.share = 32 * MIB;
	world = world_new_with(config);
	request.name = "a";
	world_create(&world, request);
	return world;
}

START_TEST(a_limit_that_rises_is_had_at_once)
{
	struct world world = world_with(21, (struct space_request){.limit = 4 * MIB});
	uint32_t session = world_session(&world, 0), space = world_open(&world, session, "a");
	struct extent_info info;
	struct plan *plan;

	world_alloc(&world, session, space, 2 * MIB, EXTENT_PRIVATE);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 8 * MIB, EXTENT_PRIVATE, &info, &plan),
		CORE_E_TOO_LARGE);
	change(&world, "a", SPACE_SET_LIMIT, (struct space_terms){.limit = 16 * MIB});
	/* in one piece, though the window that is there holds 4 MiB */
	world_alloc(&world, session, space, 8 * MIB, EXTENT_PRIVATE);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(on_small_pages_a_raised_limit_comes_as_further_windows)
{
	struct world world = world_with(12, (struct space_request){.limit = 4 * MIB});
	uint32_t session = world_session(&world, 0), space = world_open(&world, session, "a");
	struct extent_info info;
	struct plan *plan;

	world_alloc(&world, session, space, 2 * MIB, EXTENT_PRIVATE);
	change(&world, "a", SPACE_SET_LIMIT, (struct space_terms){.limit = 16 * MIB});
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 16 * MIB, EXTENT_PRIVATE, &info, &plan),
		CORE_E_TOO_LARGE);
	ck_assert_uint_eq(world.fault.max, 8 * MIB);
	world_alloc(&world, session, space, 8 * MIB, EXTENT_PRIVATE);
	world_alloc(&world, session, space, 4 * MIB, EXTENT_PRIVATE);
	ck_assert_uint_eq(world_space(&world, space).windows, 3);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_limit_below_what_is_used_takes_nothing_and_gives_nothing_more)
{
	struct world world = world_with(12, (struct space_request){.limit = 16 * MIB});
	uint32_t session = world_session(&world, 0), space = world_open(&world, session, "a");
	struct extent_info mine[3], more;
	struct plan *plan;

	for (uint32_t i = 0; i < 3; ++i)
		mine[i] = world_alloc(&world, session, space, 4 * MIB, EXTENT_PRIVATE);
	change(&world, "a", SPACE_SET_LIMIT, (struct space_terms){.limit = 8 * MIB});
	ck_assert_uint_eq(world_space(&world, space).used, 12 * MIB);
	for (uint32_t i = 0; i < 2; ++i) {
		ck_assert_int_eq(world_try_alloc(&world, session, space, 64 * KIB,
						 EXTENT_PRIVATE, &more, &plan),
				 CORE_E_BUDGET);
		ck_assert_uint_eq(world.fault.remaining, 0);
		ck_assert_int_eq(world_free(&world, session, space, mine[i]), 0);
		world_check(&world, false);
	}
	/* 4 MiB are used, and 8 allowed; the client's limit has followed */
	ck_assert_uint_eq(world_space(&world, space).client_limit, 7 * MIB);
	world_alloc(&world, session, space, 2 * MIB, EXTENT_PRIVATE);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_limit_that_falls_frees_its_owners_share_only_as_memory_comes_back)
{
	struct world world =
		world_with(21, (struct space_request){.limit = 32 * MIB, .owner = {7, 7}});
	uint32_t session = world_session(&world, 7), space = world_open(&world, session, "a");
	struct space_request next = {.name = "b", .limit = 24 * MIB, .owner = {7, 7}};
	struct extent_info info;
	struct plan *plan;
	uint32_t b;

	info = world_alloc(&world, session, space, 20 * MIB, EXTENT_PRIVATE);
	ck_assert_int_eq(change_as(&world, (struct credentials){7, 7}, "a", SPACE_SET_LIMIT,
				   (struct space_terms){.limit = 2 * MIB}, &plan),
			 0);
	/* what it has still counts: else this would be a way to all of the region */
	ck_assert_int_eq(world_try_create(&world, next, &b, &plan), CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "owner");
	ck_assert_uint_eq(world.fault.remaining, 12 * MIB);
	ck_assert_int_eq(world_free(&world, session, space, info), 0);
	for (uint32_t i = 0; i < 2; ++i) {
		ck_assert_int_eq(core_trim(world.core, space, 64, &plan), 0);
		if (plan)
			plan_commit(world.core, plan);
	}
	world_create(&world, next);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(on_small_pages_windows_count_against_the_share_whatever_the_limit)
{
	struct world world =
		world_with(12, (struct space_request){.limit = 32 * MIB, .owner = {7, 7}});
	uint32_t session = world_session(&world, 7), space = world_open(&world, session, "a"),
		 b;
	struct plan *plan;

	world_alloc(&world, session, space, 64 * KIB, EXTENT_PRIVATE);
	change(&world, "a", SPACE_SET_LIMIT, (struct space_terms){.limit = 2 * MIB});
	/* its window of 32 MiB has holes, and who touches them makes pages */
	ck_assert_int_eq(
		world_try_create(
			&world,
			(struct space_request){.name = "b", .limit = 2 * MIB, .owner = {7, 7}},
			&b, &plan),
		CORE_E_BUDGET);
	ck_assert_uint_eq(world.fault.remaining, 0);
	world_end(&world);
}
END_TEST

START_TEST(what_is_newly_reserved_is_committed_before_it_is_recorded)
{
	struct world world = world_with(12, (struct space_request){.limit = 16 * MIB});
	uint32_t session = world_session(&world, 0), space = world_open(&world, session, "a");
	const struct space_terms to = {.reserve = 9 * MIB, .limit = 24 * MIB};
	const uint32_t set = SPACE_SET_RESERVE | SPACE_SET_LIMIT;
	struct plan *plan, *other;

	world_alloc(&world, session, space, 3 * MIB, EXTENT_PRIVATE);
	for (uint32_t i = 0; i < 2; ++i) {
		ck_assert_int_eq(
			change_as(&world, (struct credentials){0, 0}, "a", set, to, &plan), 0);
		ck_assert_ptr_nonnull(plan);
		ck_assert_int_eq(plan->effects[0].kind, EFFECT_COMMIT);
		ck_assert_uint_eq(plan->effects[0].count, 3); /* of 5, 2 are there */
		ck_assert_uint_eq(world_space(&world, space).reserve, 0);
		ck_assert_uint_eq(world_space(&world, space).limit, 16 * MIB);
		ck_assert_int_eq(
			change_as(&world, (struct credentials){0, 0}, "a", set, to, &other),
			CORE_E_BUSY);
		world_check(&world, true);
		if (i)
			plan_commit(world.core, plan);
		else
			plan_abort(world.core, plan);
		world_check(&world, false);
		ck_assert_uint_eq(world_space(&world, space).limit, i ? 24 * MIB : 16 * MIB);
		ck_assert_uint_eq(world_space(&world, space).reserve, i ? 10 * MIB : 0);
	}
	/* never trimmed, while it is reserved */
	for (uint32_t i = 0; i < 3; ++i) {
		ck_assert_int_eq(core_trim(world.core, space, 64, &plan), 0);
		ck_assert_ptr_null(plan);
	}
	change(&world, "a", SPACE_SET_RESERVE, (struct space_terms){.reserve = 0});
	ck_assert_int_eq(core_trim(world.core, space, 64, &plan), 0);
	ck_assert_ptr_nonnull(plan);
	plan_commit(world.core, plan);
	ck_assert_uint_eq(world_space(&world, space).committed, 4 * MIB);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_reserve_beyond_what_there_is_says_how_much_there_is)
{
	struct world world = world_with(12, (struct space_request){.limit = 48 * MIB});
	struct plan *plan;

	world_create(&world, (struct space_request){.name = "b",
						    .reserve = 24 * MIB,
						    .limit = 24 * MIB,
						    .owner = {7, 7}});
	ck_assert_int_eq(change_as(&world, (struct credentials){0, 0}, "a", SPACE_SET_RESERVE,
				   (struct space_terms){.reserve = 41 * MIB}, &plan),
			 CORE_E_MEMORY);
	ck_assert_str_eq(world.fault.which, "reserve");
	ck_assert_uint_eq(world.fault.requested, 42 * MIB);
	ck_assert_uint_eq(world.fault.available, 40 * MIB);
	world_check(&world, false);
	ck_assert_int_eq(change_as(&world, (struct credentials){0, 0}, "a", SPACE_SET_RESERVE,
				   (struct space_terms){.reserve = 40 * MIB}, &plan),
			 0);
	plan_commit(world.core, plan);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_client_limit_binds_those_who_are_there)
{
	struct world world = world_with(12, (struct space_request){.limit = 16 * MIB});
	uint32_t session = world_session(&world, 0), space = world_open(&world, session, "a");
	struct extent_info mine, more;
	struct plan *plan;

	mine = world_alloc(&world, session, space, 4 * MIB, EXTENT_PRIVATE);
	change(&world, "a", SPACE_SET_CLIENT_LIMIT,
	       (struct space_terms){.client_limit = 2 * MIB});
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 64 * KIB, EXTENT_PRIVATE, &more, &plan),
		CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "client");
	ck_assert_int_eq(world_free(&world, session, space, mine), 0);
	world_alloc(&world, session, space, 2 * MIB, EXTENT_PRIVATE);
	/* one that is not at its default stays where it was put, but never above the limit */
	change(&world, "a", SPACE_SET_LIMIT, (struct space_terms){.limit = 32 * MIB});
	ck_assert_uint_eq(world_space(&world, space).client_limit, 2 * MIB);
	change(&world, "a", SPACE_SET_CLIENT_LIMIT,
	       (struct space_terms){.client_limit = 99 * MIB});
	ck_assert_uint_eq(world_space(&world, space).client_limit, 32 * MIB);
	world_end(&world);
}
END_TEST

START_TEST(only_the_owner_or_root_changes_a_space)
{
	struct world world =
		world_with(12, (struct space_request){.limit = 4 * MIB, .owner = {7, 7}});
	const struct credentials owner = {7, 7}, other = {8, 7}, daemon = {500, 500};
	struct space_terms to = {.mode = 0660, .owner = {9, 40}};
	struct plan *plan;

	ck_assert_int_eq(change_as(&world, other, "a", SPACE_SET_MODE, to, &plan),
			 CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "owner");
	ck_assert_int_eq(change_as(&world, owner, "a", SPACE_SET_MODE, to, &plan), 0);
	ck_assert_int_eq(change_as(&world, owner, "a", SPACE_SET_UID, to, &plan),
			 CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "root");
	ck_assert_int_eq(change_as(&world, owner, "a", SPACE_SET_GID, to, &plan), 0);
	to.owner.gid = 42; /* no group of his */
	ck_assert_int_eq(change_as(&world, owner, "a", SPACE_SET_GID, to, &plan),
			 CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "group");
	ck_assert_int_eq(
		change_as(&world, daemon, "a", SPACE_SET_UID | SPACE_SET_GID, to, &plan), 0);
	ck_assert_uint_eq(world_space(&world, 1).owner.uid, 9);
	ck_assert_uint_eq(world_space(&world, 1).owner.gid, 42);
	ck_assert_int_eq(change_as(&world, owner, "a", SPACE_SET_MODE, to, &plan),
			 CORE_E_PERMISSION);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_space_that_is_given_away_counts_against_its_new_owners_share)
{
	struct world world = world_with(12, (struct space_request){.limit = 40 * MIB});
	struct plan *plan;

	ck_assert_int_eq(change_as(&world, (struct credentials){0, 0}, "a", SPACE_SET_UID,
				   (struct space_terms){.owner = {7, 7}}, &plan),
			 CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "owner");
	ck_assert_uint_eq(world.fault.requested, 40 * MIB);
	ck_assert_uint_eq(world.fault.remaining, 32 * MIB);
	change(&world, "a", SPACE_SET_UID | SPACE_SET_LIMIT,
	       (struct space_terms){.owner = {7, 7}, .limit = 30 * MIB});
	ck_assert_int_eq(change_as(&world, (struct credentials){7, 7}, "a", SPACE_SET_LIMIT,
				   (struct space_terms){.limit = 34 * MIB}, &plan),
			 CORE_E_BUDGET);
	ck_assert_int_eq(change_as(&world, (struct credentials){7, 7}, "a", SPACE_SET_LIMIT,
				   (struct space_terms){.limit = UINT64_MAX}, &plan),
			 CORE_E_BUDGET);
	world_end(&world);
}
END_TEST

START_TEST(a_space_that_is_given_away_counts_against_its_new_owners_quotas)
{
	const struct credentials root = {0, 0};
	struct core_config config = world_config(12, 64 * MIB);
	struct space_terms to = {.owner = {7, 7}, .reserve = 2 * MIB};
	struct world world;
	uint32_t session;
	struct plan *plan;

	config.limits.max[QUOTA_SPACES] = 1;
	config.limits.max[QUOTA_WINDOWS] = 1;
	world = world_new_with(config);
	session = world_session(&world, 0);
	for (uint32_t i = 0; i < 2; ++i) {
		const char *name = i ? "b" : "a";
		uint32_t space = world_create(
			&world, (struct space_request){.name = name, .limit = 6 * MIB});

		world_open(&world, session, name);
		for (uint32_t j = 0; j <= i; ++j)
			world_alloc(&world, session, space, j ? 1 : 4 * MIB, EXTENT_SHARED);
	}
	/* two windows, of 4 and 2 MiB */
	ck_assert_int_eq(change_as(&world, root, "b", SPACE_SET_UID, to, &plan), CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.windows");
	world_check(&world, false);
	ck_assert_int_eq(
		change_as(&world, root, "a", SPACE_SET_UID | SPACE_SET_RESERVE, to, &plan), 0);
	ck_assert_int_eq(change_as(&world, root, "b", SPACE_SET_UID, to, &plan), CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.spaces");
	/* whose the pages would be that a reserve takes is not decided on the way */
	to.owner.uid = 8;
	to.reserve = 6 * MIB;
	ck_assert_int_eq(
		change_as(&world, root, "a", SPACE_SET_UID | SPACE_SET_RESERVE, to, &plan),
		CORE_E_INVALID);
	ck_assert_str_eq(world.fault.which, "uid");
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(who_has_a_space_open_keeps_what_he_has_when_the_mode_closes_it)
{
	struct world world = world_with(
		12, (struct space_request){.limit = 8 * MIB, .owner = {7, 7}, .mode = 0666});
	uint32_t in = world_session(&world, 8), out = world_session(&world, 9), space, slot;
	struct extent_info info;
	struct plan *plan;

	space = world_open(&world, in, "a");
	info = world_alloc(&world, in, space, MIB, EXTENT_SHARED);
	change(&world, "a", SPACE_SET_MODE, (struct space_terms){.mode = 0});
	ck_assert_int_eq(world_try_alloc(&world, in, space, MIB, EXTENT_SHARED, &info, &plan),
			 CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "revoked");
	ck_assert_uint_eq(world_space(&world, space).used, MIB);
	ck_assert_int_eq(world_free(&world, in, space, info), 0);
	ck_assert_int_eq(
		core_space_open(world.core, out, "a", true, NULL, 0, &slot, &world.fault),
		CORE_E_PERMISSION);
	ck_assert_uint_eq(world_space(&world, space).mode, 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(nonsense_in_a_change_is_named_and_changes_nothing)
{
	struct world world =
		world_with(12, (struct space_request){.limit = 8 * MIB, .reserve = 4 * MIB});
	static const struct {
		uint32_t set;
		struct space_terms to;
		int answer;
		const char *which;
	} cases[] = {
		{SPACE_SET_MODE, {.mode = 01000}, CORE_E_INVALID, "mode"},
		{SPACE_SET_WEIGHT, {.weight = 0}, CORE_E_INVALID, "weight"},
		{SPACE_SET_WEIGHT, {.weight = 10001}, CORE_E_INVALID, "weight"},
		{SPACE_SET_LIMIT, {.limit = 0}, CORE_E_INVALID, "limit"},
		{SPACE_SET_LIMIT, {.limit = 66 * MIB}, CORE_E_BUDGET, "region"},
		{SPACE_SET_LIMIT, {.limit = 2 * MIB}, CORE_E_INVALID, "reserve"},
		{SPACE_SET_RESERVE, {.reserve = 10 * MIB}, CORE_E_INVALID, "reserve"},
		{SPACE_SET_RESERVE, {.reserve = UINT64_MAX}, CORE_E_INVALID, "reserve"},
		{SPACE_SET_CLIENT_LIMIT, {.client_limit = 0}, CORE_E_INVALID, "client_limit"},
		{SPACE_SET_UID, {.owner = {UINT32_MAX, 0}}, CORE_E_INVALID, "uid"},
		{SPACE_SET_GID, {.owner = {0, UINT32_MAX}}, CORE_E_INVALID, "gid"},
	};
	void *before = malloc(world.size);
	struct plan *plan;

	ck_assert_ptr_nonnull(before);
	memcpy(before, world.records, world.size);
	for (uint32_t i = 0; i < ARRAY_SIZE(cases); ++i) {
		ck_assert_int_eq(change_as(&world, (struct credentials){0, 0}, "a",
					   cases[i].set, cases[i].to, &plan),
				 cases[i].answer);
		ck_assert_str_eq(world.fault.which, cases[i].which);
		ck_assert_mem_eq(before, world.records, world.size);
		world_check(&world, false);
	}
	ck_assert_int_eq(change_as(&world, (struct credentials){0, 0}, "b", 0,
				   (struct space_terms){.mode = 0}, &plan),
			 CORE_E_NOT_FOUND);
	ck_assert_int_eq(change_as(&world, (struct credentials){0, 0}, "a/b", 0,
				   (struct space_terms){.mode = 0}, &plan),
			 CORE_E_INVALID);
	free(before);
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_terms");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, a_limit_that_rises_is_had_at_once);
	tcase_add_test(tcase, on_small_pages_a_raised_limit_comes_as_further_windows);
	tcase_add_test(tcase, a_limit_below_what_is_used_takes_nothing_and_gives_nothing_more);
	tcase_add_test(tcase,
		       a_limit_that_falls_frees_its_owners_share_only_as_memory_comes_back);
	tcase_add_test(tcase,
		       on_small_pages_windows_count_against_the_share_whatever_the_limit);
	tcase_add_test(tcase, what_is_newly_reserved_is_committed_before_it_is_recorded);
	tcase_add_test(tcase, a_reserve_beyond_what_there_is_says_how_much_there_is);
	tcase_add_test(tcase, a_client_limit_binds_those_who_are_there);
	tcase_add_test(tcase, only_the_owner_or_root_changes_a_space);
	tcase_add_test(tcase, a_space_that_is_given_away_counts_against_its_new_owners_share);
	tcase_add_test(tcase, a_space_that_is_given_away_counts_against_its_new_owners_quotas);
	tcase_add_test(tcase, who_has_a_space_open_keeps_what_he_has_when_the_mode_closes_it);
	tcase_add_test(tcase, nonsense_in_a_change_is_named_and_changes_nothing);
	return world_run(suite);
}
