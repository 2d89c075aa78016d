#include "tests/unit/core_world.h"

static struct world world;
static uint32_t session, space, window;
static struct extent_info first;

/* A window of eight units: the first is committed, for 64 KiB. */
static void set_up(void)
{
	bool read_only;

	world = world_new(12, 64 * MIB);
	session = world_session(&world, 0);
	space = world_create(&world, (struct space_request){.name = "a",
							    .limit = 16 * MIB,
							    .client_limit = 16 * MIB});
	world_open(&world, session, "a");
	first = world_alloc(&world, session, space, 1, EXTENT_PRIVATE);
	ck_assert_int_eq(core_window_open(world.core, session, space, 0, &window, &read_only,
					  &world.fault),
			 0);
}

static void tear_down(void)
{
	world_end(&world);
}

static struct plan *scrub(void)
{
	struct plan *plan;

	ck_assert_int_eq(core_scrub(world.core, window, &plan), 0);
	return plan;
}

static uint64_t committed(void)
{
	struct window_view view;

	ck_assert(core_window_view(world.core, window, &view));
	return view.committed;
}

static void check_effect(const struct plan *plan, uint32_t i, uint32_t from, uint32_t count)
{
	ck_assert_uint_lt(i, plan->n_effects);
	ck_assert_int_eq(plan->effects[i].kind, EFFECT_SCRUB);
	ck_assert_uint_eq(plan->effects[i].space, space);
	ck_assert_uint_eq(plan->effects[i].window, window);
	ck_assert_uint_eq(plan->effects[i].first, from);
	ck_assert_uint_eq(plan->effects[i].count, count);
}

START_TEST(all_that_is_absent_is_held_and_counted_nowhere)
{
	struct core_view before = core_view(world.core), now;
	struct plan *plan = scrub();

	ck_assert_ptr_nonnull(plan);
	ck_assert_uint_eq(plan->n_effects, 1);
	check_effect(plan, 0, 1, 7);
	now = core_view(world.core);
	ck_assert_uint_eq(now.committed, before.committed);
	ck_assert_uint_eq(now.pending, 0);
	ck_assert_uint_eq(committed(), 2 * MIB);
	world_check(&world, true);
	plan_commit(world.core, plan);
	ck_assert_uint_eq(core_view(world.core).committed, before.committed);
	world_check(&world, false);
}
END_TEST

START_TEST(what_is_committed_is_left_alone_be_it_idle)
{
	struct extent_info info[3];
	struct plan *plan;

	for (uint32_t i = 0; i < 3; ++i)
		info[i] = world_alloc(&world, session, space, 2 * MIB, EXTENT_PRIVATE);
	ck_assert_int_eq(world_free(&world, session, space, info[1]), 0);
	ck_assert_uint_eq(committed(), 8 * MIB);
	plan = scrub();
	ck_assert_uint_eq(plan->n_effects, 1);
	check_effect(plan, 0, 4, 4);
	plan_commit(world.core, plan);
	ck_assert_uint_eq(committed(), 8 * MIB);
	world_check(&world, false);
}
END_TEST

START_TEST(holes_between_committed_units_are_scrubbed_too)
{
	struct extent_info info[3];
	struct plan *plan;

	for (uint32_t i = 0; i < 3; ++i)
		info[i] = world_alloc(&world, session, space, 4 * MIB, EXTENT_PRIVATE);
	ck_assert_int_eq(world_free(&world, session, space, info[0]), 0);
	/* The last idle units go first: make those of the first of the three the only ones. */
	ck_assert_int_eq(core_trim(world.core, space, 99, &plan), 0);
	ck_assert_int_eq(core_trim(world.core, space, 99, &plan), 0);
	ck_assert_ptr_nonnull(plan);
	plan_commit(world.core, plan);
	plan = scrub();
	ck_assert_uint_eq(plan->n_effects, 2);
	check_effect(plan, 0, 1, 2);
	check_effect(plan, 1, 7, 1);
	plan_abort(world.core, plan);
	world_check(&world, false);
}
END_TEST

START_TEST(who_needs_what_is_held_is_told_to_wait)
{
	struct plan *plan = scrub(), *more;
	struct extent_info info;

	/* What is there already may be had meanwhile. */
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, MIB, EXTENT_PRIVATE, &info, &more), 0);
	ck_assert_ptr_null(more);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 4 * MIB, EXTENT_PRIVATE, &info, &more),
		CORE_E_BUSY);
	world_check(&world, true);
	if (_i)
		plan_commit(world.core, plan);
	else
		plan_abort(world.core, plan);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 4 * MIB, EXTENT_PRIVATE, &info, &more),
		0);
	ck_assert_ptr_nonnull(more);
	plan_commit(world.core, more);
	world_check(&world, false);
}
END_TEST

START_TEST(a_window_whose_memory_moves_is_not_scrubbed)
{
	struct plan *plan, *other;
	struct extent_info info;

	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 4 * MIB, EXTENT_PRIVATE, &info, &plan),
		0);
	ck_assert_ptr_nonnull(plan);
	ck_assert_int_eq(core_scrub(world.core, window, &other), CORE_E_BUSY);
	plan_abort(world.core, plan);
	plan = scrub();
	ck_assert_int_eq(core_scrub(world.core, window, &other), CORE_E_BUSY);
	plan_commit(world.core, plan);
	plan_commit(world.core, scrub());
	world_check(&world, false);
}
END_TEST

START_TEST(a_full_window_has_nothing_to_scrub)
{
	world_alloc(&world, session, space, 14 * MIB, EXTENT_PRIVATE);
	ck_assert_uint_eq(committed(), 16 * MIB);
	ck_assert_ptr_null(scrub());
	world_check(&world, false);
}
END_TEST

START_TEST(what_is_not_there_yet_or_any_more_is_not_scrubbed)
{
	uint32_t other =
		world_create(&world, (struct space_request){.name = "b", .limit = 4 * MIB});
	struct extent_info info;
	struct plan *plan, *none;

	ck_assert_int_eq(core_scrub(world.core, 5, &none), CORE_E_NOT_FOUND);
	ck_assert_int_eq(core_scrub(world.core, UINT32_MAX, &none), CORE_E_NOT_FOUND);
	world_open(&world, session, "b");
	ck_assert_int_eq(
		world_try_alloc(&world, session, other, 1, EXTENT_PRIVATE, &info, &plan), 0);
	ck_assert_int_eq(plan->effects[0].kind, EFFECT_WINDOW_CREATE);
	ck_assert_int_eq(core_scrub(world.core, plan->effects[0].window, &none),
			 CORE_E_NOT_FOUND);
	plan_commit(world.core, plan);
	world_check(&world, false);
}
END_TEST

START_TEST(the_end_of_a_space_waits_for_a_scrub)
{
	struct credentials root = {0, 0};
	struct plan *plan = scrub(), *end = NULL;

	ck_assert_int_eq(core_session_end(world.core, session, &end), 0);
	ck_assert_ptr_null(end);
	ck_assert_int_eq(core_space_remove(world.core, root, "a", false, &end, &world.fault),
			 CORE_E_BUSY);
	plan_commit(world.core, plan);
	ck_assert_int_eq(core_space_remove(world.core, root, "a", false, &end, &world.fault),
			 0);
	ck_assert_int_eq(core_scrub(world.core, window, &plan), CORE_E_NOT_FOUND);
	plan_commit(world.core, end);
	world_check(&world, false);
}
END_TEST

START_TEST(surplus_is_counted_for_its_space_and_stays_counted_after_it)
{
	struct credentials root = {0, 0};
	struct plan *end = NULL;
	int r;

	core_surplus(world.core, space, 3 * MIB);
	core_surplus(world.core, space, 1 * MIB);
	core_surplus(world.core, space + 1, 8 * MIB); /* it has gone meanwhile */
	ck_assert_uint_eq(world_space(&world, space).counts.surplus, 4 * MIB);
	ck_assert_int_eq(core_session_end(world.core, session, &end), 0);
	do
		r = core_space_remove(world.core, root, "a", false, &end, &world.fault);
	while (r == CORE_MORE);
	ck_assert_int_eq(r, 0);
	plan_commit(world.core, end);
	ck_assert_uint_eq(core_view(world.core).counts.surplus, 4 * MIB);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_scrub");
	TCase *tcase = tcase_create("core_scrub");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, all_that_is_absent_is_held_and_counted_nowhere);
	tcase_add_test(tcase, what_is_committed_is_left_alone_be_it_idle);
	tcase_add_test(tcase, holes_between_committed_units_are_scrubbed_too);
	tcase_add_loop_test(tcase, who_needs_what_is_held_is_told_to_wait, 0, 2);
	tcase_add_test(tcase, a_window_whose_memory_moves_is_not_scrubbed);
	tcase_add_test(tcase, a_full_window_has_nothing_to_scrub);
	tcase_add_test(tcase, what_is_not_there_yet_or_any_more_is_not_scrubbed);
	tcase_add_test(tcase, the_end_of_a_space_waits_for_a_scrub);
	tcase_add_test(tcase, surplus_is_counted_for_its_space_and_stays_counted_after_it);
	suite_add_tcase(suite, tcase);
	return world_run(suite);
}
