#include "tests/unit/core_world.h"

#include <errno.h>

START_TEST(names_are_checked)
{
	struct world world = world_new(12, 64 * MIB);
	static const char *const bad[] = {
		"",
		".a",
		"-a",
		"a/b",
		"a b",
		"\xc3\xa4",
		"0123456789012345678901234567890123456789012345678901234567890123",
	};
	uint32_t space;
	struct plan *plan;

	for (uint32_t i = 0; i < ARRAY_SIZE(bad); ++i) {
		ck_assert_int_eq(world_try_create(&world,
						  (struct space_request){.name = bad[i]},
						  &space, &plan),
				 CORE_E_INVALID);
		ck_assert_str_eq(world.fault.which, "name");
	}
	ck_assert_int_eq(
		world_try_create(&world, (struct space_request){.name = NULL}, &space, &plan),
		CORE_E_INVALID);
	world_create(&world, (struct space_request){.name = "A.z_0-9", .limit = 2 * MIB});
	world_create(&world, (struct space_request){.name = "0123456789012345678901234567890123"
							    "45678901234567890123456789012",
						    .limit = 2 * MIB});
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(defaults_are_a_quarter_and_seven_eighths)
{
	struct core_config config = world_config(12, 64 * MIB);
	struct space_view view;
	struct plan *plan;
	struct world world;
	uint32_t space;

	config.share = 32 * MIB;
	world = world_new_with(config);
	space = world_create(&world, (struct space_request){.name = "a", .owner = {7, 7}});
	view = world_space(&world, space);
	ck_assert_uint_eq(view.limit, 8 * MIB);
	ck_assert_uint_eq(view.client_limit, 7 * MIB);
	ck_assert_uint_eq(view.weight, 100);
	ck_assert_uint_eq(view.mode, 0600);
	ck_assert_str_eq(view.placement, "bestfit");
	/* 24 MiB are left to the owner: a quarter is 6, 4 is in one piece; root has all */
	space = world_create(&world, (struct space_request){.name = "b", .owner = {7, 7}});
	ck_assert_uint_eq(world_space(&world, space).limit, 4 * MIB);
	space = world_create(&world, (struct space_request){.name = "c"});
	ck_assert_uint_eq(world_space(&world, space).limit, 16 * MIB);
	ck_assert_int_eq(
		world_try_create(
			&world,
			(struct space_request){.name = "d", .owner = {7, 7}, .limit = 21 * MIB},
			&space, &plan),
		CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "owner");
	ck_assert_uint_eq(world.fault.remaining, 20 * MIB);
	ck_assert_int_eq(
		world_try_create(&world,
				 (struct space_request){.name = "d", .limit = UINT64_MAX},
				 &space, &plan),
		CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "region");
	world_create(&world, (struct space_request){
				     .name = "d", .owner = {7, 7}, .limit = 19 * MIB + 1});
	/* nothing is left: not even one unit */
	ck_assert_int_eq(world_try_create(&world,
					  (struct space_request){.name = "e", .owner = {7, 7}},
					  &space, &plan),
			 CORE_E_BUDGET);
	ck_assert_uint_eq(world.fault.remaining, 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(nonsense_in_a_creation_is_named)
{
	struct world world = world_new(12, 64 * MIB);
	static const struct {
		struct space_request request;
		const char *which;
	} cases[] = {
		{{.weight = 10001}, "weight"},
		{{.mode = 01000}, "mode"},
		{{.placement = "worstfit"}, "placement"},
		{{.numa = {.kind = 5}}, "numa"},
		{{.limit = 4 * MIB, .reserve = 4 * MIB + 1}, "reserve"},
		{{.limit = 4 * MIB, .reserve = UINT64_MAX}, "reserve"},
	};
	struct plan *plan;
	uint32_t space;

	for (uint32_t i = 0; i < ARRAY_SIZE(cases); ++i) {
		struct space_request request = cases[i].request;

		request.name = "a";
		ck_assert_int_eq(world_try_create(&world, request, &space, &plan),
				 CORE_E_INVALID);
		ck_assert_str_eq(world.fault.which, cases[i].which);
	}
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(permissions_are_a_files)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t mine = world_session(&world, 7), root = world_session(&world, 0);
	uint32_t daemon = world_session(&world, 500), other = world_session(&world, 8), slot;
	const uint32_t group = 7;

	world_create(&world,
		     (struct space_request){
			     .name = "a", .owner = {7, 7}, .mode = 0640, .limit = 4 * MIB});
	world_open(&world, mine, "a");
	world_open(&world, root, "a");
	world_open(&world, daemon, "a");
	ck_assert_int_eq(
		core_space_open(world.core, other, "a", true, NULL, 0, &slot, &world.fault),
		CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "read");
	ck_assert_int_eq(
		core_space_open(world.core, other, "a", false, &group, 1, &slot, &world.fault),
		CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "write");
	ck_assert_int_eq(
		core_space_open(world.core, other, "a", true, &group, 1, &slot, &world.fault),
		0);
	ck_assert_int_eq(
		core_space_open(world.core, other, "a", true, &group, 1, &slot, &world.fault),
		CORE_E_EXISTS);
	/* the owner's class decides, even where it may less than others */
	world_create(&world,
		     (struct space_request){
			     .name = "b", .owner = {7, 7}, .mode = 0066, .limit = 4 * MIB});
	ck_assert_int_eq(
		core_space_open(world.core, mine, "b", true, NULL, 0, &slot, &world.fault),
		CORE_E_PERMISSION);
	world_open(&world, other, "b");
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_reserve_is_there_at_once_and_never_trimmed)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), space;
	struct space_view view;
	struct extent_info info;
	struct plan *plan;

	space = world_create(
		&world,
		(struct space_request){.name = "a", .limit = 24 * MIB, .reserve = 18 * MIB});
	view = world_space(&world, space);
	ck_assert_uint_eq(view.committed, 18 * MIB);
	ck_assert_uint_eq(view.windows, 2); /* 16 and 8 */
	world_open(&world, session, "a");
	info = world_alloc(&world, session, space, 16 * MIB, EXTENT_PRIVATE);
	ck_assert_int_eq(world_free(&world, session, space, info), 0);
	ck_assert(!core_trimmable(world.core, space));
	for (uint32_t i = 0; i < 3; ++i) {
		ck_assert_int_eq(core_trim(world.core, space, 99, &plan), 0);
		ck_assert_ptr_null(plan);
	}
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(shared_memory_outlives_its_session_and_private_does_not)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t one = world_session(&world, 0), two = world_session(&world, 500), space, n = 0;
	struct extent_info shared;
	struct plan *plan;
	int r;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 64 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	shared = world_alloc(&world, one, space, MIB, EXTENT_SHARED);
	for (uint32_t i = 0; i < 600; ++i)
		world_alloc(&world, one, space, 1, EXTENT_PRIVATE);
	for (;; ++n) {
		uint32_t changes;

		core_changes_clear(world.core);
		r = core_session_end(world.core, one, &plan);
		core_changes(world.core, &changes);
		ck_assert_uint_le(changes, 256);
		if (r != CORE_MORE)
			break;
		world_check(&world, false);
		ck_assert_int_eq(
			world_try_alloc(&world, one, space, 1, EXTENT_PRIVATE, &shared, &plan),
			CORE_E_NOT_FOUND);
	}
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_ptr_null(plan);
	ck_assert_uint_eq(world_space(&world, space).used, MIB);
	ck_assert_int_eq(world_free(&world, two, space, shared), 0);
	ck_assert_uint_eq(core_view(world.core).used, 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_space_in_use_goes_with_its_last_session)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t one = world_session(&world, 7), two = world_session(&world, 500), space, slot;
	const struct credentials owner = {7, 7}, stranger = {8, 8};
	struct plan *plan;

	space = world_create(
		&world, (struct space_request){.name = "a", .owner = owner, .limit = 8 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	world_alloc(&world, one, space, MIB, EXTENT_SHARED);
	ck_assert_int_eq(
		core_space_remove(world.core, stranger, "a", true, &plan, &world.fault),
		CORE_E_PERMISSION);
	ck_assert_int_eq(core_space_remove(world.core, owner, "b", true, &plan, &world.fault),
			 CORE_E_NOT_FOUND);
	ck_assert_int_eq(core_space_remove(world.core, owner, "a", false, &plan, &world.fault),
			 CORE_E_IN_USE);
	ck_assert_uint_eq(world.fault.available, 2);
	ck_assert_int_eq(core_space_remove(world.core, owner, "a", true, &plan, &world.fault),
			 0);
	ck_assert_ptr_null(plan);
	ck_assert(world_space(&world, space).removed);
	ck_assert_int_eq(
		core_space_open(world.core, one, "a", false, NULL, 0, &slot, &world.fault),
		CORE_E_NOT_FOUND);
	world_check(&world, false);
	world_alloc(&world, two, space, MIB, EXTENT_PRIVATE); /* its users may go on */
	ck_assert_int_eq(core_space_close(world.core, one, space, &plan), 0);
	ck_assert_ptr_null(plan);
	world_check(&world, false);
	ck_assert_int_eq(core_session_end(world.core, two, &plan), 0);
	ck_assert_ptr_nonnull(plan);
	ck_assert_uint_eq(plan->n_effects, 2);
	ck_assert_int_eq(plan->effects[0].kind, EFFECT_WINDOW_DESTROY);
	ck_assert_int_eq(plan->effects[1].kind, EFFECT_ROOT_DESTROY);
	ck_assert_uint_eq(core_view(world.core).pending, 2 * MIB);
	world_check(&world, true);
	plan_commit(world.core, plan);
	ck_assert_uint_eq(core_view(world.core).pending, 0);
	ck_assert_uint_eq(core_view(world.core).spaces, 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(a_window_is_granted_once_and_said_so)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), space, window, n;
	const struct change *changes;
	bool read_only;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 8 * MIB});
	world_open(&world, session, "a");
	world_alloc(&world, session, space, 1, EXTENT_PRIVATE);
	core_changes_clear(world.core);
	for (uint32_t i = 0; i < 2; ++i) {
		ck_assert_int_eq(core_window_open(world.core, session, space, 0, &window,
						  &read_only, &world.fault),
				 0);
		changes = core_changes(world.core, &n);
		ck_assert_uint_eq(n, 1);
		ck_assert_int_eq(changes[0].kind, CHANGE_WINDOW);
		ck_assert_int_eq(window_word_unpack(changes[0].word).state, WINDOW_GRANTED);
		world_check(&world, false);
	}
	ck_assert_int_eq(core_window_open(world.core, session, space, 1, &window, &read_only,
					  &world.fault),
			 CORE_E_NOT_FOUND);
	ck_assert_int_eq(core_window_open(world.core, session, space, UINT32_MAX, &window,
					  &read_only, &world.fault),
			 CORE_E_NOT_FOUND);
	world_end(&world);
}
END_TEST

START_TEST(a_new_space_in_an_old_slot_gives_no_old_tag)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), space, tags[20];

	for (uint32_t i = 0; i < 20; ++i) {
		struct plan *plan;

		space = world_create(&world,
				     (struct space_request){.name = "a", .limit = 8 * MIB});
		ck_assert_uint_eq(space, 1);
		world_open(&world, session, "a");
		tags[i] = world_alloc(&world, session, space, 1, EXTENT_PRIVATE).tag;
		for (uint32_t j = 0; j < i; ++j)
			ck_assert_uint_ne(tags[i], tags[j]);
		ck_assert_int_eq(core_space_close(world.core, session, space, &plan), 0);
		ck_assert_int_eq(core_space_remove(world.core, (struct credentials){0, 0}, "a",
						   false, &plan, &world.fault),
				 0);
		plan_commit(world.core, plan);
		world_check(&world, false);
	}
	world_end(&world);
}
END_TEST

START_TEST(configurations_without_sense_are_refused)
{
	struct core_config good = world_config(21, 64 * MIB), bad;
	struct record_capacity capacity = WORLD_SLOTS;
	struct records *records = world_table(&capacity);
	struct core *core;

	bad = good;
	bad.page_shift = 13;
	ck_assert_int_eq(core_new(&core, &bad, records), -EINVAL);
	bad = good;
	bad.n_nodes = 0;
	ck_assert_int_eq(core_new(&core, &bad, records), -EINVAL);
	bad.n_nodes = STATS_NODES_MAX + 1;
	ck_assert_int_eq(core_new(&core, &bad, records), -EINVAL);
	bad = good;
	bad.node_bytes[0] += 4096;
	ck_assert_int_eq(core_new(&core, &bad, records), -EINVAL);
	bad = good;
	bad.page_shift = 30;
	ck_assert_int_eq(core_new(&core, &bad, records), -EINVAL);
	bad.node_bytes[0] = GIB;
	ck_assert_int_eq(core_new(&core, &bad, records), 0);
	core_free(core);
	free(records);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, names_are_checked);
	tcase_add_test(tcase, defaults_are_a_quarter_and_seven_eighths);
	tcase_add_test(tcase, nonsense_in_a_creation_is_named);
	tcase_add_test(tcase, permissions_are_a_files);
	tcase_add_test(tcase, a_reserve_is_there_at_once_and_never_trimmed);
	tcase_add_test(tcase, shared_memory_outlives_its_session_and_private_does_not);
	tcase_add_test(tcase, a_space_in_use_goes_with_its_last_session);
	tcase_add_test(tcase, a_window_is_granted_once_and_said_so);
	tcase_add_test(tcase, a_new_space_in_an_old_slot_gives_no_old_tag);
	tcase_add_test(tcase, configurations_without_sense_are_refused);
	return world_run(suite);
}
