/*
 * Two page sizes in one region: who is on which rung, and that neither sees the other's pages.
 */
#include <errno.h>

#include "daemon/core/rung.h"
#include "tests/unit/core_world.h"

/* 64 MiB in pages of 2 MiB, and 6 of 1 GiB, which spaces of 4 GiB take. */
static struct core_config two_rungs(void)
{
	struct core_config config = world_config(21, 64 * MIB);

	config.large.page_shift = 30;
	config.large.node_bytes[0] = 6 * GIB;
	config.large.from = 4 * GIB;
	config.share = 64 * MIB + 6 * GIB;
	return config;
}

static uint32_t space_of(struct world *world, uint32_t session, uint32_t uid, const char *name,
			 uint64_t limit)
{
	uint32_t space = world_create(world, (struct space_request){.name = name,
								    .owner = {uid, uid},
								    .limit = limit,
								    .client_limit = limit});

	ck_assert_uint_eq(world_open(world, session, name), space);
	return space;
}

START_TEST(a_space_takes_the_rung_that_its_limit_reaches)
{
	struct world world = world_new_with(two_rungs());
	uint32_t session = world_session(&world, 0), small, large, usual;
	struct extent_info info;

	usual = world_create(&world, (struct space_request){.name = "usual"});
	ck_assert_uint_eq(world_space(&world, usual).page_shift, 21);
	ck_assert_uint_eq(world_space(&world, usual).limit, 64 * MIB);
	small = space_of(&world, session, 1, "small", 64 * MIB);
	large = space_of(&world, session, 2, "large", 4 * GIB);
	ck_assert_uint_eq(world_space(&world, small).page_shift, 21);
	ck_assert_uint_eq(world_space(&world, large).page_shift, 30);

	info = world_alloc(&world, session, small, 64 * KIB, EXTENT_SHARED);
	ck_assert_uint_eq(world_space(&world, small).committed, 2 * MIB);
	info = world_alloc(&world, session, large, 64 * KIB, EXTENT_SHARED);
	ck_assert_uint_eq(world_space(&world, large).committed, GIB);
	world_check(&world, false);
	ck_assert_uint_eq(core_rung_view(world.core, 30, 0).committed, GIB);
	ck_assert_uint_eq(core_rung_view(world.core, 30, 0).used, 64 * KIB);
	ck_assert_uint_eq(core_rung_view(world.core, 21, 0).committed, 2 * MIB);
	ck_assert_uint_eq(core_rung_view(world.core, 12, 0).capacity, 0);
	ck_assert_uint_eq(core_node_view(world.core, 0).committed, GIB + 2 * MIB);
	ck_assert_uint_eq(core_node_view(world.core, 0).capacity, 6 * GIB + 64 * MIB);
	ck_assert_uint_eq(core_view(world.core).committed, GIB + 2 * MIB);
	/* the whole page serves before there is another */
	for (uint32_t i = 1; i < 64; ++i)
		world_alloc(&world, session, large, 16 * MIB - 64 * KIB, EXTENT_SHARED);
	ck_assert_uint_eq(world_space(&world, large).committed, GIB);
	ck_assert_int_eq(world_free(&world, session, large, info), 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(what_one_rung_lacks_the_other_does_not_give)
{
	struct world world = world_new_with(two_rungs());
	uint32_t session = world_session(&world, 0), small, large, more;
	struct extent_info info;
	struct plan *plan;

	/* all of the small pages are idle, and may be had */
	small = space_of(&world, session, 1, "small", 64 * MIB);
	info = world_alloc(&world, session, small, 64 * MIB, EXTENT_SHARED);
	ck_assert_int_eq(world_free(&world, session, small, info), 0);

	large = space_of(&world, session, 2, "large", 4 * GIB);
	more = space_of(&world, session, 3, "more", 4 * GIB);
	world_alloc(&world, session, large, 4 * GIB, EXTENT_SHARED);
	info = world_alloc(&world, session, more, 2 * GIB, EXTENT_SHARED);
	ck_assert_int_eq(
		world_try_alloc(&world, session, more, 64 * KIB, EXTENT_SHARED, &info, &plan),
		CORE_E_MEMORY);
	ck_assert_uint_eq(world.fault.page_shift, 30);
	ck_assert_uint_eq(world.fault.available, 0);
	world_check(&world, false);
	ck_assert_uint_eq(world_space(&world, small).committed, 64 * MIB);

	/* and the other way: idle large pages are none of the small ones' */
	more = space_of(&world, session, 4, "idle", 64 * MIB);
	world_alloc(&world, session, small, 64 * MIB, EXTENT_SHARED);
	ck_assert_int_eq(core_space_close(world.core, session, large, &plan), 0);
	world_check(&world, false);
	ck_assert_int_eq(
		world_try_alloc(&world, session, more, 64 * KIB, EXTENT_SHARED, &info, &plan),
		CORE_E_MEMORY);
	ck_assert_uint_eq(world.fault.page_shift, 21);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(idle_pages_pass_between_spaces_of_one_rung)
{
	struct world world = world_new_with(two_rungs());
	uint32_t session = world_session(&world, 0), a, b;
	struct extent_info info;

	a = space_of(&world, session, 1, "a", 4 * GIB);
	b = space_of(&world, session, 2, "b", 4 * GIB);
	info = world_alloc(&world, session, a, 4 * GIB, EXTENT_SHARED);
	ck_assert_int_eq(world_free(&world, session, a, info), 0);
	world_alloc(&world, session, b, 4 * GIB, EXTENT_SHARED);
	world_check(&world, false);
	ck_assert_uint_eq(world_space(&world, a).committed, 2 * GIB);
	ck_assert_uint_eq(world_space(&world, b).committed, 4 * GIB);
	world_end(&world);
}
END_TEST

START_TEST(a_reserve_is_whole_pages_and_what_does_not_fit_names_its_rung)
{
	struct world world = world_new_with(two_rungs());
	struct space_request request = {
		.name = "large", .limit = 5 * GIB, .reserve = GIB + 2 * MIB};
	uint32_t space;
	struct plan *plan;

	space = world_create(&world, request);
	ck_assert_uint_eq(world_space(&world, space).committed, 2 * GIB);
	world_check(&world, false);

	/* root's own: one GiB is left of the large ones, whatever there is of the others */
	request = (struct space_request){.name = "second", .limit = 4 * GIB};
	ck_assert_int_eq(world_try_create(&world, request, &space, &plan), CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "rung");
	ck_assert_uint_eq(world.fault.remaining, GIB);
	ck_assert_uint_eq(world.fault.page_shift, 30);
	request.limit = 66 * MIB;
	ck_assert_int_eq(world_try_create(&world, request, &space, &plan), CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "rung");
	ck_assert_uint_eq(world.fault.remaining, 64 * MIB);
	ck_assert_uint_eq(world.fault.page_shift, 21);
	/* another's share has room, the rung has not */
	request = (struct space_request){
		.name = "third", .owner = {9, 9}, .limit = 6 * GIB, .reserve = 5 * GIB};
	ck_assert_int_eq(world_try_create(&world, request, &space, &plan), CORE_E_MEMORY);
	ck_assert_uint_eq(world.fault.available, 4 * GIB);
	ck_assert_uint_eq(world.fault.page_shift, 30);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_changed_limit_moves_no_space_to_another_rung)
{
	struct world world = world_new_with(two_rungs());
	uint32_t small =
		world_create(&world, (struct space_request){.name = "small", .limit = 4 * MIB});
	uint32_t large =
		world_create(&world, (struct space_request){.name = "large", .limit = 4 * GIB});
	struct space_change change = {.set = SPACE_SET_LIMIT, .to.limit = 5 * GIB};
	struct credentials root = {0, 0};
	struct plan *plan;

	ck_assert_int_eq(core_space_change(world.core, root, NULL, 0, "small", &change, &plan,
					   &world.fault),
			 CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "rung");
	ck_assert_uint_eq(world.fault.remaining, 64 * MIB);
	change.to.limit = 2 * MIB;
	ck_assert_int_eq(core_space_change(world.core, root, NULL, 0, "large", &change, &plan,
					   &world.fault),
			 0);
	ck_assert_uint_eq(world_space(&world, small).page_shift, 21);
	ck_assert_uint_eq(world_space(&world, large).page_shift, 30);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_space_that_is_bound_to_nodes_takes_what_they_have)
{
	struct core_config config = two_rungs();
	struct numa first = {NUMA_BIND, 1}, second = {NUMA_BIND, 2};
	struct space_request request = {.name = "bound", .limit = 4 * GIB, .numa = second};
	struct world world;
	uint32_t space;
	struct plan *plan;

	config.n_nodes = 2; /* the second has small pages alone, and they do not do */
	config.node_bytes[1] = 64 * MIB;
	world = world_new_with(config);
	ck_assert_int_eq(world_try_create(&world, request, &space, &plan), CORE_E_BUDGET);
	ck_assert_uint_eq(world.fault.page_shift, 21);
	ck_assert_str_eq(world.fault.which, "rung");
	request.limit = 128 * MIB;
	ck_assert_int_eq(world_try_create(&world, request, &space, &plan), CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "nodes");
	ck_assert_uint_eq(world.fault.remaining, 64 * MIB);
	request.limit = 0;
	space = world_create(&world, request);
	ck_assert_uint_eq(world_space(&world, space).page_shift, 21);
	request = (struct space_request){
		.name = "other", .owner = {7, 7}, .limit = 4 * GIB, .numa = first};
	ck_assert_uint_eq(world_space(&world, world_create(&world, request)).page_shift, 30);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_session_that_ends_gives_both_rungs_back)
{
	struct world world = world_new_with(two_rungs());
	uint32_t session = world_session(&world, 0), small, large;
	struct plan *plan = NULL;
	int r;

	small = space_of(&world, session, 0, "small", 64 * MIB);
	large = space_of(&world, session, 0, "large", 4 * GIB);
	world_alloc(&world, session, small, 64 * MIB, EXTENT_SHARED);
	world_alloc(&world, session, large, 3 * GIB, EXTENT_SHARED);
	ck_assert_int_eq(core_space_remove(world.core, (struct credentials){0, 0}, "small",
					   true, &plan, &world.fault),
			 0);
	ck_assert_ptr_null(plan);
	ck_assert_int_eq(core_space_remove(world.core, (struct credentials){0, 0}, "large",
					   true, &plan, &world.fault),
			 0);
	while ((r = core_session_end(world.core, session, &plan)) == CORE_MORE)
		;
	ck_assert_int_eq(r, 0);
	ck_assert_ptr_nonnull(plan);
	/* until the plan has ended, no one gets them */
	world_check(&world, true);
	ck_assert_uint_eq(core_view(world.core).pending, 3 * GIB + 64 * MIB);
	plan_commit(world.core, plan);
	world_check(&world, false);
	ck_assert_uint_eq(core_view(world.core).pending, 0);
	ck_assert_uint_eq(core_view(world.core).committed, 0);
	world_end(&world);
}
END_TEST

START_TEST(records_of_a_rung_that_is_gone_are_refused)
{
	struct world world = world_new_with(two_rungs());
	struct core_config config = world.config;
	struct core *core;

	world_create(&world, (struct space_request){.name = "large", .limit = 4 * GIB});
	config.large.page_shift = 0;
	ck_assert_int_eq(core_recover(&core, &config, world.records), -EUCLEAN);
	config = world.config;
	config.large.node_bytes[0] = 3 * GIB; /* below the limit that it was given */
	ck_assert_int_eq(core_recover(&core, &config, world.records), -EUCLEAN);
	world_end(&world);
}
END_TEST

START_TEST(rungs_without_sense_are_refused)
{
	struct record_capacity capacity = WORLD_SLOTS;
	struct records *records = world_table(&capacity);
	struct core_config bad = two_rungs();
	struct core *core;

	bad.large.page_shift = 21; /* no larger than the other */
	ck_assert_int_eq(core_new(&core, &bad, records), -EINVAL);
	bad.large.page_shift = 31;
	ck_assert_int_eq(core_new(&core, &bad, records), -EINVAL);
	bad = two_rungs();
	bad.large.from = 0;
	ck_assert_int_eq(core_new(&core, &bad, records), -EINVAL);
	bad = two_rungs();
	bad.large.node_bytes[0] += 2 * MIB;
	ck_assert_int_eq(core_new(&core, &bad, records), -EINVAL);
	free(records);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_rungs");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, a_space_takes_the_rung_that_its_limit_reaches);
	tcase_add_test(tcase, what_one_rung_lacks_the_other_does_not_give);
	tcase_add_test(tcase, idle_pages_pass_between_spaces_of_one_rung);
	tcase_add_test(tcase, a_reserve_is_whole_pages_and_what_does_not_fit_names_its_rung);
	tcase_add_test(tcase, a_changed_limit_moves_no_space_to_another_rung);
	tcase_add_test(tcase, a_space_that_is_bound_to_nodes_takes_what_they_have);
	tcase_add_test(tcase, a_session_that_ends_gives_both_rungs_back);
	tcase_add_test(tcase, records_of_a_rung_that_is_gone_are_refused);
	tcase_add_test(tcase, rungs_without_sense_are_refused);
	return world_run(suite);
}
