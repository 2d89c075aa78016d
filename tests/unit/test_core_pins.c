/*
 * What a session's views keep of a cache's memory counts against its own limit, and no other.
 */
#include "tests/unit/core_world.h"

static struct world world;
static uint32_t one, two, space, cache;

static void setup(void)
{
	world = world_new(12, 64 * MIB);
	one = world_session(&world, 0);
	two = world_session(&world, 500);
	space = world_create(&world, (struct space_request){.name = "a",
							    .limit = 16 * MIB,
							    .client_limit = 4 * MIB,
							    .mode = 0666});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	cache = world_cache(&world, one, space, "c");
	ck_assert_uint_eq(world_cache(&world, two, space, "c"), cache);
}

static void teardown(void)
{
	world_check(&world, false);
	world_end(&world);
}

/* A scan that finds what this session keeps, and nothing of others. */
static void scan(uint32_t session, uint64_t bytes)
{
	core_pins_begin(world.core, cache);
	core_pins_add(world.core, session, cache, bytes / 2);
	core_pins_add(world.core, session, cache, bytes - bytes / 2);
	core_pins_end(world.core, cache);
	world_check(&world, false);
}

static uint64_t pinned_by(uint32_t session)
{
	struct session_view view;

	ck_assert(core_session_view(world.core, session, &view));
	return view.pinned;
}

static int try_alloc(uint32_t session, uint64_t size)
{
	struct extent_info info;
	struct plan *plan = NULL;
	int r = world_try_alloc(&world, session, space, size, EXTENT_PRIVATE, &info, &plan);

	if (plan)
		plan_abort(world.core, plan);
	else if (!r)
		ck_assert_int_eq(world_free(&world, session, space, info), 0);
	return r;
}

START_TEST(what_a_sessions_views_keep_its_limit_bears_and_no_other)
{
	struct space_view before = world_space(&world, space);

	scan(one, 3 * MIB);
	ck_assert_uint_eq(pinned_by(one), 3 * MIB);
	ck_assert_uint_eq(core_pins(world.core, one, cache), 3 * MIB);
	ck_assert_uint_eq(core_pins(world.core, two, cache), 0);
	ck_assert_uint_eq(world_space(&world, space).used, before.used);
	ck_assert_int_eq(try_alloc(one, 2 * MIB), CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "client");
	ck_assert_uint_eq(world.fault.remaining, MIB);
	ck_assert_uint_eq(world.fault.pinned, 3 * MIB);
	ck_assert_int_eq(try_alloc(one, MIB), 0);
	ck_assert_int_eq(try_alloc(two, 4 * MIB), 0);
	scan(one, 64 * KIB);
	ck_assert_uint_eq(pinned_by(one), 64 * KIB);
	ck_assert_int_eq(try_alloc(one, 3 * MIB), 0);
}
END_TEST

START_TEST(pins_beyond_the_limit_are_charged_and_take_nothing_away)
{
	struct extent_info mine = world_alloc(&world, one, space, 3 * MIB, EXTENT_PRIVATE);

	scan(one, 9 * MIB);
	ck_assert_uint_eq(pinned_by(one), 9 * MIB);
	ck_assert_int_eq(try_alloc(one, 64 * KIB), CORE_E_BUDGET);
	ck_assert_uint_eq(world.fault.remaining, 0);
	ck_assert_uint_eq(world.fault.pinned, 9 * MIB);
	ck_assert_int_eq(world_free(&world, one, space, mine), 0);
	scan(two, 64 * KIB);
	ck_assert_uint_eq(pinned_by(one), 0);
	ck_assert_int_eq(try_alloc(one, 4 * MIB), 0);
}
END_TEST

START_TEST(a_scan_that_does_not_end_charges_nobody)
{
	scan(one, MIB);
	core_pins_begin(world.core, cache);
	core_pins_add(world.core, one, cache, 2 * MIB);
	core_pins_add(world.core, two, cache, 2 * MIB);
	ck_assert_uint_eq(pinned_by(one), MIB);
	ck_assert_uint_eq(pinned_by(two), 0);
	scan(two, MIB);
	ck_assert_uint_eq(pinned_by(one), 0);
	ck_assert_uint_eq(pinned_by(two), MIB);
}
END_TEST

START_TEST(who_closes_a_cache_keeps_nothing_there)
{
	uint32_t other = world_cache(&world, one, space, "d");

	scan(one, 2 * MIB);
	core_pins_begin(world.core, other);
	core_pins_add(world.core, one, other, MIB);
	core_pins_end(world.core, other);
	ck_assert_uint_eq(pinned_by(one), 3 * MIB);
	ck_assert_int_eq(core_cache_close(world.core, one, space, cache), 0);
	ck_assert_uint_eq(pinned_by(one), MIB);
	scan(one, 2 * MIB);
	ck_assert_uint_eq(pinned_by(one), MIB);
	ck_assert_int_eq(try_alloc(one, 3 * MIB), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_pins");
	TCase *tcase = tcase_create("core_pins");

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_a_sessions_views_keep_its_limit_bears_and_no_other);
	tcase_add_test(tcase, pins_beyond_the_limit_are_charged_and_take_nothing_away);
	tcase_add_test(tcase, a_scan_that_does_not_end_charges_nobody);
	tcase_add_test(tcase, who_closes_a_cache_keeps_nothing_there);
	return world_run(suite);
}
