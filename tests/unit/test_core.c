#include "tests/unit/core_world.h"

START_TEST(first_allocation_needs_a_window_and_its_first_unit)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), space, n;
	const struct change *changes;
	struct extent_info info;
	struct plan *plan;

	space = world_create(&world,
			     (struct space_request){.name = "images", .limit = 16 * MIB});
	ck_assert_uint_eq(world_open(&world, session, "images"), space);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 1, EXTENT_PRIVATE, &info, &plan), 0);
	ck_assert_ptr_nonnull(plan);
	ck_assert_uint_eq(plan->n_effects, 2);
	ck_assert_int_eq(plan->effects[0].kind, EFFECT_WINDOW_CREATE);
	ck_assert_int_eq(plan->effects[1].kind, EFFECT_COMMIT);
	ck_assert_uint_eq(plan->effects[1].first, 0);
	ck_assert_uint_eq(plan->effects[1].count, 1);
	ck_assert_uint_eq(info.size, 64 * KIB);
	ck_assert_uint_eq(info.offset, 0);
	world_check(&world, true);
	core_changes(world.core, &n);
	ck_assert_uint_eq(n, 0);

	plan_commit(world.core, plan);
	world_check(&world, false);
	changes = core_changes(world.core, &n);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_eq(changes[0].kind, CHANGE_WINDOW);
	ck_assert_int_eq(changes[1].kind, CHANGE_SLICES);
	ck_assert_uint_eq(slice_word_unpack(changes[1].word).tag, info.tag);
	ck_assert_uint_eq(slice_word_unpack(changes[1].word).session, session);
	ck_assert_uint_eq(core_view(world.core).committed, 2 * MIB);
	ck_assert_uint_eq(core_view(world.core).used, 64 * KIB);

	core_changes_clear(world.core);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, MIB, EXTENT_PRIVATE, &info, &plan), 0);
	ck_assert_ptr_null(plan);
	ck_assert_int_eq(world_free(&world, session, space, info), 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, first_allocation_needs_a_window_and_its_first_unit);
	return world_run(suite);
}
