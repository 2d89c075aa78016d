/*
 * Who loses a right to a space: what he keeps, and what he never gets.
 */
#include "tests/suite.h"
#include "tests/unit/core_world.h"

enum { OWNER = 1, READER, WRITER, TEAM = 70, OTHERS };

static struct world world;
static uint32_t space, owner, reader;

static uint32_t session_of(uint32_t uid, uint32_t gid)
{
	struct session_request request = {
		.credentials = {uid, gid}, .pid = 1000 + uid, .birth = 77, .image = 99};
	uint32_t session;

	ck_assert_int_eq(core_session_open(world.core, &request, &session, &world.fault), 0);
	return session;
}

static int enter(uint32_t session, bool read_only)
{
	const uint32_t groups[] = {TEAM};
	uint32_t slot;

	return core_space_open(world.core, session, "a", read_only, groups, 1, &slot,
			       &world.fault);
}

static int window_open(uint32_t session, uint32_t number)
{
	uint32_t window;
	bool read_only;

	return core_window_open(world.core, session, space, number, &window, &read_only,
				&world.fault);
}

static void barred(int r)
{
	ck_assert_int_eq(r, CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "revoked");
	ck_assert_uint_eq(world.fault.uid, OWNER);
}

static void change(uint32_t set, struct space_terms to)
{
	struct space_change change = {.set = set, .to = to};
	struct plan *plan = NULL;

	ck_assert_int_eq(core_space_change(world.core, (struct credentials){0, 0}, NULL, 0, "a",
					   &change, &plan, &world.fault),
			 0);
	ck_assert_ptr_null(plan);
	world_check(&world, false);
}

static void mode_is(uint32_t mode)
{
	change(SPACE_SET_MODE, (struct space_terms){.mode = mode});
}

static void begin(uint32_t page_shift)
{
	world = world_new(page_shift, 64 * MIB);
	space = world_create(&world, (struct space_request){.name = "a",
							    .limit = 8 * MIB,
							    .client_limit = 8 * MIB,
							    .mode = 0664,
							    .owner = {OWNER, TEAM}});
	owner = session_of(OWNER, OWNER);
	reader = session_of(READER, OTHERS);
	ck_assert_int_eq(enter(owner, false), 0);
	ck_assert_int_eq(enter(reader, true), 0);
}

static struct extent_info have(uint64_t size)
{
	return world_alloc(&world, owner, space, size, EXTENT_SHARED);
}

static void on_small_pages_and_on_large_ones(void (*story)(void))
{
	for (int i = 0; i < 2; i++) {
		begin(i ? 21 : 12);
		story();
		world_check(&world, false);
		world_end(&world);
	}
}

static void removed(void)
{
	struct extent_info before = have(64 * KIB), after;

	ck_assert_uint_eq(offset_window(before.offset), 0);
	ck_assert_int_eq(window_open(owner, 0), 0);
	ck_assert_int_eq(window_open(reader, 0), 0);
	mode_is(0600);
	barred(window_open(reader, 0));
	after = have(64 * KIB);
	ck_assert_uint_ne(offset_window(after.offset), 0);
	barred(window_open(reader, offset_window(after.offset)));
	ck_assert_int_eq(window_open(owner, 0), 0);
	ck_assert_int_eq(window_open(owner, offset_window(after.offset)), 0);
}

START_TEST(what_is_granted_after_a_removal_lies_in_windows_that_the_removed_do_not_get)
{
	on_small_pages_and_on_large_ones(removed);
}
END_TEST

static void kept(void)
{
	struct extent_info all = have(8 * MIB), again;
	struct plan *plan;

	ck_assert_int_eq(window_open(reader, 0), 0);
	mode_is(0600);
	/* Who reads is still shown what was there, and nothing there is anybody else's. */
	ck_assert_int_eq(
		core_extent_free(world.core, owner, space, all.offset, all.tag, &world.fault),
		0);
	/* All that the space may have stands idle where it is of no use: other pages take its place. */
	ck_assert_int_eq(
		world_try_alloc(&world, owner, space, 8 * MIB, EXTENT_SHARED, &again, &plan),
		0);
	ck_assert_ptr_nonnull(plan);
	plan_commit(world.core, plan);
	ck_assert_uint_ne(offset_window(again.offset), 0);
	ck_assert_uint_eq(core_view(world.core).committed, 8 * MIB);
}

START_TEST(what_comes_free_in_a_retired_window_is_given_to_nobody_there)
{
	on_small_pages_and_on_large_ones(kept);
}
END_TEST

static void reserved(void)
{
	struct extent_info all = have(8 * MIB);

	change(SPACE_SET_RESERVE, (struct space_terms){.reserve = 8 * MIB});
	ck_assert_int_eq(window_open(reader, 0), 0);
	mode_is(0600);
	ck_assert_int_eq(
		core_extent_free(world.core, owner, space, all.offset, all.tag, &world.fault),
		0);
	/* The pages are the space's, whatever comes; but others than those. */
	for (int i = 0; i < 4; i++)
		ck_assert_uint_ne(offset_window(have(2 * MIB).offset), 0);
	ck_assert_uint_eq(core_view(world.core).committed, 8 * MIB);
}

START_TEST(what_is_reserved_is_had_though_it_stands_in_a_retired_window)
{
	on_small_pages_and_on_large_ones(reserved);
}
END_TEST

START_TEST(a_window_that_nobody_was_given_stays_in_use)
{
	struct extent_info first;

	begin(21);
	first = have(64 * KIB);
	mode_is(0600);
	ck_assert_uint_eq(offset_window(have(64 * KIB).offset), offset_window(first.offset));
	world_end(&world);
}
END_TEST

START_TEST(windows_retire_though_nobody_who_loses_has_the_space_open)
{
	struct plan *plan = NULL;

	begin(21);
	have(64 * KIB);
	ck_assert_int_eq(window_open(reader, 0), 0);
	ck_assert_int_eq(core_space_close(world.core, reader, space, &plan), 0);
	mode_is(0600);
	ck_assert_uint_eq(offset_window(have(64 * KIB).offset), 1);
	world_end(&world);
}
END_TEST

START_TEST(the_number_of_a_window_is_given_once)
{
	uint32_t number = 0, last;
	struct extent_info extent;
	struct plan *plan;
	int r;

	begin(21);
	for (;; number++) {
		r = world_try_alloc(&world, owner, space, 64 * KIB, EXTENT_SHARED, &extent,
				    &plan);
		if (r)
			break;
		if (plan)
			plan_commit(world.core, plan);
		ck_assert_uint_eq(offset_window(extent.offset), number);
		ck_assert_int_eq(window_open(reader, number), 0);
		/* Nothing is left in it but what he, who says nothing, may look at. */
		ck_assert_int_eq(core_extent_free(world.core, owner, space, extent.offset,
						  extent.tag, &world.fault),
				 0);
		mode_is(0600);
		mode_is(0664);
	}
	ck_assert_uint_gt(number, 16);
	ck_assert_int_eq(r, CORE_E_LIMIT);
	last = number - 1;
	ck_assert_int_eq(window_open(reader, last), 0);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(who_gains_rights_or_keeps_them_notices_nothing)
{
	uint32_t group;

	begin(21);
	group = session_of(WRITER, TEAM);
	ck_assert_int_eq(enter(group, false), 0);
	have(64 * KIB);
	ck_assert_int_eq(window_open(reader, 0), 0);
	mode_is(0666);
	ck_assert_uint_eq(offset_window(have(64 * KIB).offset), 0);
	/* The group's rights are not the others'. */
	mode_is(0660);
	ck_assert_int_eq(window_open(group, 0), 0);
	ck_assert_int_eq(window_open(reader, 0), 0); /* in the group by one of his others */
	mode_is(0640);
	barred(window_open(group, 0));
	ck_assert_int_eq(window_open(reader, 0), 0);
	mode_is(0600);
	barred(window_open(reader, 0));
	ck_assert_int_eq(window_open(owner, 0), 0);
	world_end(&world);
}
END_TEST

START_TEST(who_was_barred_and_has_the_right_again_goes_on)
{
	begin(21);
	have(64 * KIB);
	mode_is(0600);
	barred(window_open(reader, 0));
	mode_is(0640);
	ck_assert_int_eq(window_open(reader, 0), 0);
	world_end(&world);
}
END_TEST

START_TEST(a_space_that_another_group_gets_is_barred_to_whom_nobody_knows_to_be_in_it)
{
	begin(21);
	have(64 * KIB);
	mode_is(0640);
	change(SPACE_SET_GID, (struct space_terms){.owner = {.gid = 71}});
	ck_assert_int_eq(window_open(reader, 0), 0); /* his primary group */
	change(SPACE_SET_GID, (struct space_terms){.owner = {.gid = 72}});
	barred(window_open(reader, 0));
	mode_is(0644);
	ck_assert_int_eq(window_open(reader, 0), 0);
	world_end(&world);
}
END_TEST

START_TEST(a_writer_who_may_only_read_opens_it_anew)
{
	struct extent_request request = {.size = 1, .kind = EXTENT_PRIVATE};
	struct extent_info mine, info;
	struct plan *plan = NULL;
	uint32_t writer, id;

	begin(21);
	writer = session_of(WRITER, OTHERS);
	ck_assert_int_eq(enter(writer, false), 0);
	mine = world_alloc(&world, writer, space, 64 * KIB, EXTENT_PRIVATE);
	mode_is(0644);
	barred(core_extent_alloc(world.core, writer, space, &request, &info, &plan,
				 &world.fault));
	barred(core_holder_open(world.core, writer, space, &id, &world.fault));
	barred(core_channel_open(world.core, writer, space,
				 &(struct channel_request){.name = "c", .roles = 3},
				 &(struct channel_info){}, &plan, &world.fault));
	barred(core_cache_open(world.core, writer, space, &(struct cache_request){.name = "k"},
			       &id, &world.fault));
	barred(core_space_may(world.core, writer, space, &world.fault));
	/* What he has is his, to give back as well. */
	ck_assert_int_eq(core_extent_free(world.core, writer, space, mine.offset, mine.tag,
					  &world.fault),
			 0);
	ck_assert_int_eq(core_space_close(world.core, writer, space, &plan), 0);
	ck_assert_int_eq(enter(writer, false), CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "write");
	ck_assert_int_eq(enter(writer, true), 0);
	ck_assert_int_eq(window_open(writer, 0), 0);
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("core_revoke");
	TCase *t = tcase_create("core_revoke");

	tcase_add_test(
		t, what_is_granted_after_a_removal_lies_in_windows_that_the_removed_do_not_get);
	tcase_add_test(t, what_comes_free_in_a_retired_window_is_given_to_nobody_there);
	tcase_add_test(t, what_is_reserved_is_had_though_it_stands_in_a_retired_window);
	tcase_add_test(t, a_window_that_nobody_was_given_stays_in_use);
	tcase_add_test(t, windows_retire_though_nobody_who_loses_has_the_space_open);
	tcase_add_test(t, the_number_of_a_window_is_given_once);
	tcase_add_test(t, who_gains_rights_or_keeps_them_notices_nothing);
	tcase_add_test(t, who_was_barred_and_has_the_right_again_goes_on);
	tcase_add_test(
		t, a_space_that_another_group_gets_is_barred_to_whom_nobody_knows_to_be_in_it);
	tcase_add_test(t, a_writer_who_may_only_read_opens_it_anew);
	suite_add_tcase(s, t);
	return suite_run(s);
}
