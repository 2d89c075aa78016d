#include "tests/unit/core_world.h"

#include "daemon/core/ids.h"

enum { PLACES = 256 };

static struct world world;
static uint32_t one, two, space;
static struct extent_place places[PLACES];
static uint64_t dead[ID_WORDS];

static void setup(void)
{
	world = world_new(12, 64 * MIB);
	one = world_session(&world, 0);
	two = world_session(&world, 500);
	space = world_create(&world, (struct space_request){.name = "a", .limit = 32 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
}

static void teardown(void)
{
	world_check(&world, false);
	world_end(&world);
}

static uint32_t holder(uint32_t session)
{
	uint32_t id;

	ck_assert_int_eq(core_holder_open(world.core, session, space, &id, &world.fault), 0);
	return id;
}

static void end(uint32_t session)
{
	struct plan *plan = NULL;
	int r;

	do
		r = core_session_end(world.core, session, &plan);
	while (r == CORE_MORE);
	ck_assert_int_eq(r, 0);
	ck_assert_ptr_null(plan);
}

static void begin(void)
{
	ck_assert_int_eq(core_sweep_begin(world.core, space, dead), 0);
}

static bool is_dead(uint32_t id)
{
	return dead[id / 64] >> id % 64 & 1;
}

static uint32_t list(void)
{
	uint32_t n = 0, more;
	int r;

	do {
		r = core_sweep_next(world.core, space, places + n, PLACES - n, &more);
		n += more;
	} while (r == CORE_MORE);
	ck_assert_int_eq(r, 0);
	return n;
}

START_TEST(a_sweep_lists_what_has_words_and_frees_what_is_empty)
{
	struct extent_info shared, blocks, kept;
	uint32_t n, id = holder(one);

	world_alloc(&world, one, space, 64 * KIB, EXTENT_PRIVATE);
	shared = world_alloc(&world, one, space, 200 * KIB, EXTENT_SHARED);
	blocks = world_alloc(&world, one, space, 128 * KIB, EXTENT_BLOCKS);
	kept = world_alloc(&world, two, space, 64 * KIB, EXTENT_BLOCKS);
	world_alloc(&world, two, space, 64 * KIB, EXTENT_PRIVATE);
	ck_assert(!core_sweep_due(world.core, space));
	ck_assert(!core_sweep_pays(world.core, space));
	end(one);
	ck_assert(core_sweep_due(world.core, space));
	ck_assert(core_sweep_pays(world.core, space));
	begin();
	ck_assert(is_dead(id));
	n = list();
	ck_assert_uint_eq(n, 3);
	for (uint32_t i = 0; i < n; ++i) {
		bool mine = places[i].tag == kept.tag;

		ck_assert_uint_eq(places[i].session, mine ? two : 0);
		ck_assert_int_eq(core_sweep_free(world.core, space, &places[i]), !mine);
		ck_assert(!core_sweep_free(world.core, space, &places[i]));
	}
	core_sweep_end(world.core, space, true);
	ck_assert_uint_eq(world_space(&world, space).used, 128 * KIB);
	ck_assert_uint_eq(world_space(&world, space).ids_dead, 0);
	ck_assert_int_eq(world_free(&world, two, space, shared), CORE_E_REFERENCE);
	ck_assert_int_eq(world_free(&world, two, space, blocks), CORE_E_REFERENCE);
	ck_assert_int_eq(world_free(&world, two, space, kept), 0);
}
END_TEST

START_TEST(what_came_to_the_place_meanwhile_is_not_freed)
{
	struct extent_info blocks, again;
	struct extent_place place;

	blocks = world_alloc(&world, one, space, 64 * KIB, EXTENT_SHARED);
	begin();
	ck_assert_uint_eq(list(), 1);
	place = places[0];
	ck_assert_int_eq(world_free(&world, two, space, blocks), 0);
	ck_assert(!core_sweep_free(world.core, space, &place));
	again = world_alloc(&world, two, space, 64 * KIB, EXTENT_SHARED);
	ck_assert_uint_eq(again.offset, blocks.offset);
	ck_assert(!core_sweep_free(world.core, space, &place));
	core_sweep_end(world.core, space, true);
	ck_assert(core_extent_at(world.core, space, again.offset, &place));
}
END_TEST

START_TEST(blocks_that_were_a_sessions_when_listed_are_not_freed)
{
	struct extent_place place;

	world_alloc(&world, one, space, 64 * KIB, EXTENT_BLOCKS);
	world_alloc(&world, one, space, 64 * KIB, EXTENT_PRIVATE);
	begin();
	ck_assert_uint_eq(list(), 1);
	end(one);
	/* it has been adopted since, and its owner may have filled it before */
	ck_assert(!core_sweep_free(world.core, space, &places[0]));
	place = places[0];
	place.window = 63;
	ck_assert(!core_sweep_free(world.core, space, &place));
	core_sweep_end(world.core, space, true);
	begin();
	ck_assert_uint_eq(list(), 1);
	ck_assert(core_sweep_free(world.core, space, &places[0]));
	core_sweep_end(world.core, space, true);
	ck_assert(!core_sweep_free(world.core, space, &places[0]));
}
END_TEST

/* Its ids die with the first step. */
START_TEST(what_a_session_leaves_in_steps_is_due_a_sweep_that_begins_after)
{
	struct plan *plan = NULL;
	uint32_t n;

	holder(one);
	for (uint32_t i = 0; i < 300; ++i) /* more than a step */
		world_alloc(&world, one, space, 64 * KIB, EXTENT_BLOCKS);
	ck_assert_int_eq(core_session_end(world.core, one, &plan), CORE_MORE);
	begin();
	for (int r = CORE_MORE; r == CORE_MORE;) {
		r = core_sweep_next(world.core, space, places, PLACES, &n);
		for (uint32_t i = 0; i < n; ++i)
			core_sweep_free(world.core, space, &places[i]);
	}
	end(one);
	ck_assert(!core_sweep_due(world.core, space)); /* it runs */
	core_sweep_end(world.core, space, true);
	ck_assert_uint_eq(world_space(&world, space).ids_dead, 0);
	ck_assert(core_sweep_due(world.core, space));
	begin();
	n = list();
	ck_assert_uint_gt(n, 0);
	while (n--)
		ck_assert(core_sweep_free(world.core, space, &places[n]));
	core_sweep_end(world.core, space, true);
	ck_assert(!core_sweep_due(world.core, space));
	ck_assert_uint_eq(world_space(&world, space).used, 0);
}
END_TEST

START_TEST(a_shared_extent_of_a_session_that_has_an_id_is_known_as_such_for_ever)
{
	struct extent_info bare, worded, other;
	struct extent_place place;

	bare = world_alloc(&world, one, space, 64 * KIB, EXTENT_SHARED);
	holder(one);
	worded = world_alloc(&world, one, space, 64 * KIB, EXTENT_SHARED);
	other = world_alloc(&world, two, space, 64 * KIB, EXTENT_SHARED);
	for (int round = 0; round < 4; ++round) {
		ck_assert(core_extent_at(world.core, space, bare.offset, &place));
		ck_assert(!place.worded);
		ck_assert(core_extent_at(world.core, space, other.offset, &place));
		ck_assert(!place.worded);
		ck_assert(core_extent_at(world.core, space, worded.offset, &place));
		ck_assert(place.worded);
		ck_assert_uint_eq(place.session, round < 2 ? one : 0);
		if (round == 1) {
			end(one);
			continue;
		}
		/* as the session's, and as nobody's */
		core_free(world.core);
		ck_assert_int_eq(core_recover(&world.core, &world.config, world.records), 0);
	}
}
END_TEST

START_TEST(what_has_no_words_is_due_no_sweep)
{
	world_alloc(&world, one, space, 64 * KIB, EXTENT_SHARED);
	end(one);
	ck_assert(!core_sweep_due(world.core, space));
	world_alloc(&world, two, space, 64 * KIB, EXTENT_BLOCKS);
	end(two);
	ck_assert(core_sweep_due(world.core, space));
	begin();
	core_sweep_end(world.core, space, false);
	ck_assert(core_sweep_due(world.core, space)); /* it did not get through */
	begin();
	core_sweep_end(world.core, space, true);
	ck_assert(!core_sweep_due(world.core, space));
}
END_TEST

START_TEST(who_dies_during_a_sweep_waits_for_the_next)
{
	uint32_t first = holder(one), second = holder(two), third;

	end(one);
	begin();
	ck_assert(is_dead(first));
	ck_assert(!is_dead(second));
	end(two);
	ck_assert(!core_sweep_due(world.core, space)); /* not while one runs */
	ck_assert_int_eq(core_sweep_begin(world.core, space, dead), CORE_E_BUSY);
	core_sweep_end(world.core, space, true);
	ck_assert_uint_eq(world_space(&world, space).ids_dead, 1);
	ck_assert(core_sweep_due(world.core, space));
	third = world_session(&world, 0);
	world_open(&world, third, "a");
	ck_assert_uint_eq(holder(third), first);
	begin();
	ck_assert(is_dead(second));
	ck_assert(!is_dead(first));
	core_sweep_end(world.core, space, true);
	ck_assert_uint_eq(world_space(&world, space).ids_dead, 0);
}
END_TEST

/* A sender may have seen it alive, and have died before it looked again. */
START_TEST(each_sweep_is_for_those_that_are_free_again_too)
{
	uint32_t first = holder(one), second = holder(two), third;

	end(one);
	begin();
	ck_assert(is_dead(first));
	ck_assert(!is_dead(second + 1)); /* never anybody's */
	core_sweep_end(world.core, space, true);
	ck_assert(!core_sweep_due(world.core, space)); /* nobody can have died since */
	end(two);
	begin();
	ck_assert(is_dead(first));
	ck_assert(is_dead(second));
	/* what it frees is not somebody's new */
	one = world_session(&world, 0);
	world_open(&world, one, "a");
	third = holder(one);
	ck_assert(!is_dead(third));
	core_sweep_end(world.core, space, true);

	/* nor does one free what is somebody's again */
	two = world_session(&world, 500);
	world_open(&world, two, "a");
	ck_assert_uint_eq(holder(two), first);
	begin();
	ck_assert(!is_dead(first));
	ck_assert(is_dead(second));
	ck_assert(!is_dead(third));
	core_sweep_end(world.core, space, false);
	/* one that did not get through has changed nothing */
	begin();
	ck_assert(is_dead(second));
	core_sweep_end(world.core, space, true);
}
END_TEST

START_TEST(when_all_ids_are_being_swept_one_waits)
{
	uint32_t id;

	world_alloc(&world, two, space, 64 * KIB, EXTENT_SHARED);
	core_free(world.core);
	ck_assert_int_eq(core_recover(&world.core, &world.config, world.records), 0);
	begin();
	core_sweep_end(world.core, space, true);
	ck_assert_uint_eq(world_space(&world, space).ids_dead, 0);
	begin();
	ck_assert_int_eq(core_holder_open(world.core, two, space, &id, &world.fault),
			 CORE_E_BUSY);
	ck_assert_str_eq(world.fault.which, "sweep");
	core_sweep_end(world.core, space, true);
	holder(two);
}
END_TEST

START_TEST(a_sweep_that_did_not_get_through_frees_no_id)
{
	uint32_t id = holder(one);

	end(one);
	begin();
	core_sweep_end(world.core, space, false);
	ck_assert(core_sweep_due(world.core, space));
	ck_assert_uint_ne(holder(two), id);
	core_sweep_end(world.core, space, true); /* none runs: nothing happens */
	ck_assert_uint_eq(world_space(&world, space).ids_dead, 1);
}
END_TEST

START_TEST(a_removed_space_waits_for_its_sweep)
{
	struct plan *plan = NULL;

	holder(one);
	end(one);
	begin();
	ck_assert_int_eq(core_space_remove(world.core, (struct credentials){0, 0}, "a", true,
					   &plan, &world.fault),
			 0);
	ck_assert_ptr_null(plan);
	ck_assert_int_eq(core_session_end(world.core, two, &plan), CORE_E_BUSY);
	core_sweep_end(world.core, space, true);
	ck_assert_int_eq(core_session_end(world.core, two, &plan), 0);
	ck_assert_ptr_nonnull(plan);
	ck_assert_int_eq(core_sweep_begin(world.core, space, dead), CORE_E_NOT_FOUND);
	plan_commit(world.core, plan);

	two = world_session(&world, 0);
	space = world_create(&world, (struct space_request){.name = "b", .limit = 8 * MIB});
	begin();
	ck_assert_int_eq(core_space_remove(world.core, (struct credentials){0, 0}, "b", false,
					   &plan, &world.fault),
			 CORE_E_BUSY);
	core_sweep_end(world.core, space, true);
	ck_assert_int_eq(core_space_remove(world.core, (struct credentials){0, 0}, "b", false,
					   &plan, &world.fault),
			 0);
	plan_commit(world.core, plan);
}
END_TEST

START_TEST(short_of_memory_one_waits_for_a_sweep)
{
	struct extent_info info, its[64];
	struct plan *plan;
	uint32_t n;

	space = world_create(&world, (struct space_request){.name = "b", .limit = 8 * MIB});
	world_open(&world, one, "b");
	world_open(&world, two, "b");
	for (uint32_t i = 0; i < 64; ++i) {
		world_alloc(&world, one, space, 64 * KIB, EXTENT_BLOCKS);
		its[i] = world_alloc(&world, two, space, 64 * KIB, EXTENT_BLOCKS);
	}
	for (uint32_t i = 0; i < 64; ++i)
		ck_assert_int_eq(world_free(&world, two, space, its[i]), 0);
	end(one);
	/* half of it is free, in single slices */
	ck_assert_int_eq(world_try_alloc(&world, two, space, MIB, EXTENT_SHARED, &info, &plan),
			 CORE_E_MEMORY);
	begin();
	ck_assert_int_eq(world_try_alloc(&world, two, space, MIB, EXTENT_SHARED, &info, &plan),
			 CORE_E_BUSY);
	n = list();
	ck_assert_uint_eq(n, 64);
	while (n--)
		ck_assert(core_sweep_free(world.core, space, &places[n]));
	core_sweep_end(world.core, space, true);
	world_alloc(&world, two, space, MIB, EXTENT_SHARED);
}
END_TEST

START_TEST(lists_are_cut_in_steps)
{
	uint32_t n, listed = 0, calls = 0;
	int r;

	for (uint32_t i = 0; i < 40; ++i)
		world_alloc(&world, one, space, 64 * KIB, EXTENT_SHARED);
	begin();
	do {
		r = core_sweep_next(world.core, space, places, 7, &n);
		ck_assert_uint_le(n, 7);
		listed += n;
		++calls;
	} while (r == CORE_MORE);
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(listed, 40);
	ck_assert_uint_ge(calls, 6);
	ck_assert_int_eq(core_sweep_next(world.core, space, places, 7, &n), 0);
	ck_assert_uint_eq(n, 0);
	core_sweep_end(world.core, space, true);
	ck_assert_int_eq(core_sweep_next(world.core, space, places, 7, &n), CORE_E_NOT_FOUND);
	ck_assert_int_eq(core_sweep_next(world.core, 12, places, 7, &n), CORE_E_NOT_FOUND);
}
END_TEST

START_TEST(after_a_recovery_ids_that_nobody_has_count_as_dead)
{
	struct core *again;
	uint32_t id = holder(two), other;

	holder(one);
	end(one);
	/* without words anywhere, nothing can name anyone */
	ck_assert_int_eq(core_recover(&again, &world.config, world.records), 0);
	ck_assert(!core_sweep_due(again, space));
	core_free(again);
	world_alloc(&world, two, space, 64 * KIB, EXTENT_SHARED);
	core_free(world.core);
	ck_assert_int_eq(core_recover(&world.core, &world.config, world.records), 0);
	ck_assert_uint_eq(world_space(&world, space).ids, 1);
	ck_assert_uint_eq(world_space(&world, space).ids_dead, IDS_MAX - 2);
	ck_assert_uint_eq(holder(two), id);
	one = world_session(&world, 0);
	world_open(&world, one, "a");
	ck_assert_int_eq(core_holder_open(world.core, one, space, &other, &world.fault),
			 CORE_E_BUSY);
	ck_assert_str_eq(world.fault.which, "sweep");
	begin();
	ck_assert(!is_dead(id));
	ck_assert(is_dead(IDS_MAX - 1));
	ck_assert_uint_eq(list(), 1);
	core_sweep_end(world.core, space, true);
	ck_assert_uint_ne(holder(one), id);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_sweep");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_sweep_lists_what_has_words_and_frees_what_is_empty);
	tcase_add_test(tcase, what_came_to_the_place_meanwhile_is_not_freed);
	tcase_add_test(tcase, blocks_that_were_a_sessions_when_listed_are_not_freed);
	tcase_add_test(tcase, what_a_session_leaves_in_steps_is_due_a_sweep_that_begins_after);
	tcase_add_test(tcase,
		       a_shared_extent_of_a_session_that_has_an_id_is_known_as_such_for_ever);
	tcase_add_test(tcase, what_has_no_words_is_due_no_sweep);
	tcase_add_test(tcase, who_dies_during_a_sweep_waits_for_the_next);
	tcase_add_test(tcase, each_sweep_is_for_those_that_are_free_again_too);
	tcase_add_test(tcase, when_all_ids_are_being_swept_one_waits);
	tcase_add_test(tcase, a_sweep_that_did_not_get_through_frees_no_id);
	tcase_add_test(tcase, a_removed_space_waits_for_its_sweep);
	tcase_add_test(tcase, short_of_memory_one_waits_for_a_sweep);
	tcase_add_test(tcase, lists_are_cut_in_steps);
	tcase_add_test(tcase, after_a_recovery_ids_that_nobody_has_count_as_dead);
	return world_run(suite);
}
