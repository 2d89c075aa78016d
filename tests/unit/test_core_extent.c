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

START_TEST(a_reader_may_neither_allocate_nor_free)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t writer = world_session(&world, 0), reader = world_session(&world, 500), slot;
	struct extent_info info, none;
	struct plan *plan;
	uint32_t space, window;
	bool read_only;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 4 * MIB});
	world_open(&world, writer, "a");
	info = world_alloc(&world, writer, space, 1, EXTENT_SHARED);
	ck_assert_int_eq(
		core_space_open(world.core, reader, "a", true, NULL, 0, &slot, &world.fault),
		0);
	ck_assert_int_eq(world_try_alloc(&world, reader, space, 1, EXTENT_SHARED, &none, &plan),
			 CORE_E_PERMISSION);
	ck_assert_int_eq(world_free(&world, reader, space, info), CORE_E_PERMISSION);
	ck_assert_uint_eq(world_space(&world, space).counts.refused, 1);
	ck_assert_int_eq(core_window_open(world.core, reader, space, 0, &window, &read_only,
					  &world.fault),
			 0);
	ck_assert(read_only);
	ck_assert_int_eq(core_window_open(world.core, writer, space, 0, &window, &read_only,
					  &world.fault),
			 0);
	ck_assert(!read_only);
	world_end(&world);
}
END_TEST

START_TEST(wrong_references_are_told_apart)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t one = world_session(&world, 0), two = world_session(&world, 500), space;
	struct extent_info mine, shared, wrong;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 8 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	mine = world_alloc(&world, one, space, 200000, EXTENT_PRIVATE);
	shared = world_alloc(&world, one, space, 1, EXTENT_SHARED);
	ck_assert_uint_eq(mine.size, 4 * 64 * KIB);

	wrong = mine;
	wrong.offset += 64 * KIB;
	ck_assert_int_eq(world_free(&world, one, space, wrong), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "interior");
	wrong.offset = mine.offset + 1;
	ck_assert_int_eq(world_free(&world, one, space, wrong), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "interior");
	wrong = mine;
	wrong.tag ^= 1;
	ck_assert_int_eq(world_free(&world, one, space, wrong), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "stale");
	ck_assert_int_eq(world_free(&world, two, space, mine), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "not-owner");
	wrong.offset = offset_make(1, 0);
	ck_assert_int_eq(world_free(&world, one, space, wrong), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "foreign");
	wrong.offset = UINT64_MAX;
	ck_assert_int_eq(world_free(&world, one, space, wrong), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "foreign");
	ck_assert_uint_eq(world_space(&world, space).counts.refused, 6);

	ck_assert_int_eq(world_free(&world, two, space, shared), 0);
	ck_assert_int_eq(world_free(&world, two, space, shared), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "freed");
	ck_assert_int_eq(world_free(&world, one, space, mine), 0);
	ck_assert_uint_eq(core_view(world.core).used, 0);
	/* the same place again: the old reference is stale */
	wrong = world_alloc(&world, one, space, 200000, EXTENT_PRIVATE);
	ck_assert_uint_eq(wrong.offset, mine.offset);
	ck_assert_uint_ne(wrong.tag, mine.tag);
	ck_assert_int_eq(world_free(&world, one, space, mine), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "stale");
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(refusals_carry_their_numbers)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), space;
	struct extent_info info;
	struct plan *plan;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 12 * MIB});
	world_open(&world, session, "a");
	/* windows of 8 and 4 MiB: no extent can be longer than the first */
	ck_assert_int_eq(world_try_alloc(&world, session, space, 8 * MIB + 1, EXTENT_SHARED,
					 &info, &plan),
			 CORE_E_TOO_LARGE);
	ck_assert_uint_eq(world.fault.requested, 8 * MIB + 1);
	ck_assert_uint_eq(world.fault.max, 8 * MIB);
	ck_assert_int_eq(world_try_alloc(&world, session, space, UINT64_MAX, EXTENT_SHARED,
					 &info, &plan),
			 CORE_E_TOO_LARGE);
	world_alloc(&world, session, space, 8 * MIB, EXTENT_SHARED);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 3 * MIB, EXTENT_SHARED, &info, &plan),
		CORE_E_BUDGET);
	ck_assert_str_eq(world.fault.which, "client");
	ck_assert_uint_eq(world.fault.remaining, 12 * MIB / 8 * 7 - 8 * MIB);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 0, EXTENT_SHARED, &info, &plan),
		CORE_E_INVALID);
	ck_assert_str_eq(world.fault.which, "size");
	world_alloc(&world, session, space, 2 * MIB, EXTENT_SHARED);
	ck_assert_uint_eq(world_space(&world, space).windows, 2);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

/* What is refused may be tried again, or had elsewhere. */
START_TEST(a_refusal_counts_when_it_was_told)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), space;
	struct stats_failures failures;
	struct session_view view;
	struct extent_info info;
	struct plan *plan;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 12 * MIB});
	core_refused(world.core, session, space, REFUSED_MEMORY); /* it is not in there */
	world_open(&world, session, "a");
	ck_assert_int_eq(world_try_alloc(&world, session, space, 8 * MIB + 1, EXTENT_SHARED,
					 &info, &plan),
			 CORE_E_TOO_LARGE);
	world_alloc(&world, session, space, 8 * MIB, EXTENT_SHARED);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 3 * MIB, EXTENT_SHARED, &info, &plan),
		CORE_E_BUDGET);
	failures = world_space(&world, space).counts.failures;
	ck_assert_mem_eq(&failures, &(struct stats_failures){}, sizeof(failures));
	for (int i = 0; i < 4; i++)
		for (enum core_refusal why = REFUSED_MEMORY; why <= REFUSED_CLIENT; why++)
			if ((int)why <= i)
				core_refused(world.core, session, space, why);
	failures = world_space(&world, space).counts.failures;
	ck_assert_uint_eq(failures.memory, 4);
	ck_assert_uint_eq(failures.too_large, 3);
	ck_assert_uint_eq(failures.budget_space, 2);
	ck_assert_uint_eq(failures.budget_client, 1);
	ck_assert(core_session_view(world.core, session, &view));
	ck_assert_uint_eq(view.failed, 10);
	world_end(&world);
}
END_TEST

START_TEST(what_a_plan_promised_is_no_peak_until_it_is_there)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), space;
	struct extent_info info, other;
	struct plan *plan, *second;
	struct session_view view;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 32 * MIB});
	world_open(&world, session, "a");
	world_alloc(&world, session, space, 2 * MIB, EXTENT_PRIVATE);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 3 * MIB, EXTENT_PRIVATE, &info, &plan),
		0);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, MIB, EXTENT_PRIVATE, &other, &second),
		0);
	ck_assert(plan && second);
	plan_commit(world.core, second);
	plan_abort(world.core, plan);
	ck_assert(core_session_view(world.core, session, &view));
	ck_assert_uint_eq(view.peak, 3 * MIB);
	ck_assert_uint_eq(world_space(&world, space).peak, 3 * MIB);
	ck_assert_uint_eq(core_view(world.core).peak, 3 * MIB);
	world_alloc(&world, session, space, 3 * MIB, EXTENT_PRIVATE);
	ck_assert(core_session_view(world.core, session, &view));
	ck_assert_uint_eq(view.peak, 6 * MIB);
	ck_assert_uint_eq(world_space(&world, space).peak, 6 * MIB);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(alignment_is_a_power_of_two_and_kept)
{
	struct world world = world_new(21, 64 * MIB);
	uint32_t session = world_session(&world, 0), space;
	struct extent_request request = {.size = 1, .kind = EXTENT_PRIVATE};
	static const uint64_t bad[] = {3, 65537, 2 * GIB, UINT64_MAX};
	struct extent_info info;
	struct plan *plan;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 32 * MIB});
	world_open(&world, session, "a");
	for (uint32_t i = 0; i < ARRAY_SIZE(bad); ++i) {
		request.align = bad[i];
		ck_assert_int_eq(core_extent_alloc(world.core, session, space, &request, &info,
						   &plan, &world.fault),
				 CORE_E_INVALID);
		ck_assert_str_eq(world.fault.which, "align");
	}
	for (request.align = 1; request.align <= 4 * MIB; request.align *= 2) {
		world_alloc(&world, session, space, 1, EXTENT_PRIVATE);
		ck_assert_int_eq(core_extent_alloc(world.core, session, space, &request, &info,
						   &plan, &world.fault),
				 0);
		if (plan)
			plan_commit(world.core, plan);
		ck_assert_uint_eq(info.offset % request.align, 0);
	}
	/* whole chunks stand on chunks unasked */
	world_alloc(&world, session, space, 1, EXTENT_PRIVATE);
	info = world_alloc(&world, session, space, 4 * MIB, EXTENT_PRIVATE);
	ck_assert_uint_eq(info.offset % (2 * MIB), 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(what_depends_on_a_plan_is_told_to_wait)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), space, slot, window;
	struct extent_info info, other;
	struct plan *plan, *second;
	bool read_only;

	ck_assert_int_eq(world_try_create(&world,
					  (struct space_request){.name = "a", .limit = 8 * MIB},
					  &space, &plan),
			 0);
	ck_assert_int_eq(
		core_space_open(world.core, session, "a", false, NULL, 0, &slot, &world.fault),
		CORE_E_BUSY);
	ck_assert_int_eq(
		world_try_create(&world, (struct space_request){.name = "a"}, &slot, &second),
		CORE_E_BUSY);
	plan_commit(world.core, plan);
	world_open(&world, session, "a");
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, MIB, EXTENT_PRIVATE, &info, &plan), 0);
	/* the window that the second would stand in is on its way */
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, MIB, EXTENT_PRIVATE, &other, &second),
		CORE_E_BUSY);
	ck_assert_int_eq(core_window_open(world.core, session, space, 0, &window, &read_only,
					  &world.fault),
			 CORE_E_BUSY);
	ck_assert_int_eq(world_free(&world, session, space, info), CORE_E_REFERENCE);
	ck_assert_int_eq(core_session_end(world.core, session, &second), CORE_E_BUSY);
	plan_abort(world.core, plan);
	world_check(&world, false);
	ck_assert_uint_eq(core_view(world.core).used, 0);
	ck_assert_int_eq(core_session_end(world.core, session, &second), 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(two_plans_of_one_window_end_in_any_order)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), space;
	struct extent_info first, second, third;
	struct plan *one, *two;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 16 * MIB});
	world_open(&world, session, "a");
	world_alloc(&world, session, space, 2 * MIB, EXTENT_PRIVATE);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 3 * MIB, EXTENT_PRIVATE, &first, &one),
		0);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, MIB, EXTENT_PRIVATE, &second, &two), 0);
	ck_assert_ptr_nonnull(two);
	world_check(&world, true);
	plan_commit(world.core, two);
	world_check(&world, true);
	plan_abort(world.core, one);
	world_check(&world, false);
	third = world_alloc(&world, session, space, 3 * MIB, EXTENT_PRIVATE);
	ck_assert_uint_ne(third.tag, first.tag);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(short_of_pages_the_idle_ones_of_others_are_punched_first)
{
	struct core_config config = world_config(21, 16 * MIB);
	struct extent_info info[4], more;
	struct world world = world_new_with(config);
	uint32_t session = world_session(&world, 0), a, b;
	struct plan *plan;

	a = world_create(&world, (struct space_request){
					 .name = "a", .owner = {1, 1}, .limit = 12 * MIB});
	b = world_create(&world, (struct space_request){
					 .name = "b", .owner = {2, 2}, .limit = 12 * MIB});
	world_open(&world, session, "a");
	world_open(&world, session, "b");
	for (uint32_t i = 0; i < 4; ++i)
		info[i] = world_alloc(&world, session, a, 2 * MIB, EXTENT_PRIVATE);
	for (uint32_t i = 0; i < 3; ++i)
		ck_assert_int_eq(world_free(&world, session, a, info[i]), 0);
	ck_assert_uint_eq(core_view(world.core).committed, 8 * MIB);
	/* 8 MiB are free, 6 idle: 10 take one of these */
	ck_assert_int_eq(
		world_try_alloc(&world, session, b, 10 * MIB, EXTENT_PRIVATE, &more, &plan), 0);
	ck_assert_int_eq(plan->effects[0].kind, EFFECT_PUNCH);
	ck_assert_uint_eq(plan->effects[0].space, a);
	ck_assert_uint_eq(plan->effects[0].count, 1);
	ck_assert_uint_eq(plan->effects[0].first, 2); /* the last idle one */
	ck_assert_uint_eq(world_space(&world, a).committed, 6 * MIB);
	ck_assert_uint_eq(core_view(world.core).committed + core_view(world.core).pending,
			  16 * MIB);
	world_check(&world, true);
	plan_commit(world.core, plan);
	world_check(&world, false);
	ck_assert_uint_eq(core_view(world.core).committed, 16 * MIB);
	world_end(&world);
}
END_TEST

START_TEST(what_comes_and_goes_is_not_trimmed)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), space;
	struct extent_info info;
	struct plan *plan;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 16 * MIB});
	world_open(&world, session, "a");
	info = world_alloc(&world, session, space, 8 * MIB, EXTENT_PRIVATE);
	ck_assert_int_eq(world_free(&world, session, space, info), 0);
	ck_assert_int_eq(core_trim(world.core, space, 99, &plan), 0);
	ck_assert_ptr_null(plan); /* from here on it is watched */
	ck_assert(core_trimmable(world.core, space));
	for (uint32_t i = 0; i < 5; ++i) {
		info = world_alloc(&world, session, space, 3 * MIB, EXTENT_PRIVATE);
		ck_assert_int_eq(world_free(&world, session, space, info), 0);
	}
	ck_assert_int_eq(core_trim(world.core, space, 99, &plan), 0);
	ck_assert_ptr_nonnull(plan); /* two of the four were always idle */
	ck_assert_uint_eq(plan->n_effects, 1);
	ck_assert_uint_eq(plan->effects[0].first, 2);
	ck_assert_uint_eq(plan->effects[0].count, 2);
	plan_commit(world.core, plan);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(full_tables_and_a_full_region_say_so)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t session = world_session(&world, 0), a, b, slot;
	struct session_request request = {.pid = 1};
	struct extent_info info, first = {0};
	struct plan *plan;
	int r = 0;

	a = world_create(&world, (struct space_request){.name = "a",
							.owner = {1, 1},
							.limit = 64 * MIB,
							.client_limit = 64 * MIB});
	b = world_create(&world, (struct space_request){.name = "b",
							.owner = {2, 2},
							.limit = 64 * MIB,
							.client_limit = 64 * MIB});
	world_open(&world, session, "a");
	world_open(&world, session, "b");
	world_alloc(&world, session, b, 32 * MIB, EXTENT_PRIVATE);
	for (uint32_t i = 0; i < 513 && !r; ++i) {
		r = world_try_alloc(&world, session, a, 1, EXTENT_PRIVATE, &info, &plan);
		if (!r && plan)
			plan_commit(world.core, plan);
		if (i == 5)
			first = info;
	}
	ck_assert_int_eq(r, CORE_E_MEMORY);
	ck_assert_uint_eq(world_space(&world, a).used, 32 * MIB);
	ck_assert_uint_eq(world.fault.requested, 64 * KIB);
	ck_assert_uint_eq(world.fault.available, 0);
	ck_assert_uint_eq(world.fault.largest, 0);
	/* one hole: it is all there is, and too short for two slices */
	ck_assert_int_eq(world_free(&world, session, a, first), 0);
	ck_assert_int_eq(
		world_try_alloc(&world, session, a, 2 * 64 * KIB, EXTENT_PRIVATE, &info, &plan),
		CORE_E_MEMORY);
	ck_assert_uint_eq(world.fault.available, 64 * KIB);
	ck_assert_uint_eq(world.fault.largest, 64 * KIB);
	do
		r = core_session_open(world.core, &request, &slot, &world.fault);
	while (!r);
	ck_assert_int_eq(r, CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.sessions");
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(pages_of_a_gibibyte_are_units_too)
{
	struct world world = world_new(30, 4 * GIB);
	uint32_t session = world_session(&world, 0), space;
	struct extent_info info;
	struct plan *plan;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 3 * GIB});
	world_open(&world, session, "a");
	world_alloc(&world, session, space, MIB, EXTENT_PRIVATE);
	ck_assert_uint_eq(core_view(world.core).committed, GIB);
	ck_assert_int_eq(
		world_try_alloc(&world, session, space, 2 * GIB, EXTENT_PRIVATE, &info, &plan),
		0);
	ck_assert_ptr_nonnull(plan);
	plan_commit(world.core, plan);
	world_check(&world, false);
	ck_assert_uint_eq(world_space(&world, space).windows, 1);
	ck_assert_uint_eq(world_space(&world, space).committed, 3 * GIB);
	world_end(&world);
}
END_TEST

/* What a slice map says of an extent's head after the changes so far. */
static struct slice_info said_of(struct world *world, struct extent_info info)
{
	uint32_t n, first = (uint32_t)(offset_position(info.offset) >> SLICE_SHIFT);
	const struct change *changes = core_changes(world->core, &n);
	struct slice_info said = {0};

	for (uint32_t i = 0; i < n; ++i)
		if (changes[i].kind == CHANGE_SLICES && changes[i].first == first)
			said = slice_word_unpack(changes[i].word);
	return said;
}

START_TEST(blocks_of_a_session_become_the_spaces)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t one = world_session(&world, 0), two = world_session(&world, 500), space;
	struct extent_info blocks;
	struct extent_place place;
	struct plan *plan = NULL;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 8 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	blocks = world_alloc(&world, one, space, 256 * KIB, EXTENT_BLOCKS);
	ck_assert_uint_eq(said_of(&world, blocks).session, one);
	ck_assert(core_extent_at(world.core, space, blocks.offset + 70000, &place));
	ck_assert_int_eq(place.kind, EXTENT_BLOCKS);
	ck_assert_uint_eq(place.session, one);
	ck_assert_uint_eq(place.count, 4);
	ck_assert_uint_eq(place.tag, blocks.tag);

	/* as long as it is a session's, it is nobody else's to free */
	ck_assert_int_eq(world_free(&world, two, space, blocks), CORE_E_REFERENCE);
	ck_assert_str_eq(world.fault.which, "not-owner");
	core_changes_clear(world.core);
	ck_assert_int_eq(core_session_end(world.core, one, &plan), 0);
	ck_assert_ptr_null(plan);
	world_check(&world, false);
	ck_assert_uint_eq(said_of(&world, blocks).session, 0);
	ck_assert_int_eq(said_of(&world, blocks).kind, EXTENT_BLOCKS);
	ck_assert_uint_eq(said_of(&world, blocks).tag, blocks.tag);
	ck_assert_uint_eq(said_of(&world, blocks).count, 4);
	ck_assert(core_extent_at(world.core, space, blocks.offset, &place));
	ck_assert_uint_eq(place.session, 0);
	ck_assert_uint_eq(world_space(&world, space).used, 256 * KIB);

	ck_assert_int_eq(world_free(&world, two, space, blocks), 0);
	ck_assert(!core_extent_at(world.core, space, blocks.offset, &place));
	ck_assert(!core_extent_at(world.core, space, UINT64_MAX, &place));
	ck_assert(!core_extent_at(world.core, 9, blocks.offset, &place));
	ck_assert_uint_eq(world_space(&world, space).used, 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(blocks_go_back_like_private_memory)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t one = world_session(&world, 0), space;
	struct extent_info blocks;
	struct plan *plan = NULL;

	space = world_create(&world, (struct space_request){.name = "a", .limit = 8 * MIB});
	world_open(&world, one, "a");
	blocks = world_alloc(&world, one, space, 64 * KIB, EXTENT_BLOCKS);
	ck_assert_int_eq(world_free(&world, one, space, blocks), 0);
	ck_assert_int_eq(said_of(&world, blocks).kind, EXTENT_NONE);
	world_check(&world, false);
	/* one that a plan makes, and that its end undoes */
	ck_assert_int_eq(
		world_try_alloc(&world, one, space, 4 * MIB, EXTENT_BLOCKS, &blocks, &plan), 0);
	ck_assert_ptr_nonnull(plan);
	world_check(&world, true);
	plan_abort(world.core, plan);
	world_check(&world, false);
	ck_assert_uint_eq(world_space(&world, space).used, 0);
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_extent");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, first_allocation_needs_a_window_and_its_first_unit);
	tcase_add_test(tcase, a_reader_may_neither_allocate_nor_free);
	tcase_add_test(tcase, wrong_references_are_told_apart);
	tcase_add_test(tcase, refusals_carry_their_numbers);
	tcase_add_test(tcase, a_refusal_counts_when_it_was_told);
	tcase_add_test(tcase, what_a_plan_promised_is_no_peak_until_it_is_there);
	tcase_add_test(tcase, alignment_is_a_power_of_two_and_kept);
	tcase_add_test(tcase, what_depends_on_a_plan_is_told_to_wait);
	tcase_add_test(tcase, two_plans_of_one_window_end_in_any_order);
	tcase_add_test(tcase, short_of_pages_the_idle_ones_of_others_are_punched_first);
	tcase_add_test(tcase, what_comes_and_goes_is_not_trimmed);
	tcase_add_test(tcase, full_tables_and_a_full_region_say_so);
	tcase_add_test(tcase, pages_of_a_gibibyte_are_units_too);
	tcase_add_test(tcase, blocks_of_a_session_become_the_spaces);
	tcase_add_test(tcase, blocks_go_back_like_private_memory);
	return world_run(suite);
}
