#include "tests/unit/core_world.h"

#include <errno.h>

static struct world world;
static uint32_t one, two, space, cache;
static const struct lanes_terms terms = {.lanes = 3, .pins = 7, .barrier = true};

static void setup(void)
{
	world = world_new(12, 64 * MIB);
	one = world_session(&world, 0);
	two = world_session(&world, 500);
	space = world_create(&world, (struct space_request){.name = "a", .limit = 16 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	cache = world_cache(&world, one, space, "thumbs");
	ck_assert_int_eq(core_lanes_open(world.core, one, &terms, &world.fault), 0);
}

static void teardown(void)
{
	world_check(&world, false);
	world_end(&world);
}

/* As a daemon does that starts behind one that was killed. */
static void restart(void)
{
	struct core *again;

	ck_assert_int_eq(core_recover(&again, &world.config, world.records), 0);
	core_free(world.core);
	world.core = again;
}

static void session_ends(uint32_t session)
{
	struct plan *plan;

	ck_assert_int_eq(core_session_end(world.core, session, &plan), 0);
	ck_assert_ptr_null(plan);
	core_changes_clear(world.core);
}

START_TEST(what_was_taken_of_each_lane_is_known_after_a_restart)
{
	struct lanes_terms found;

	core_lane_taken(world.core, one, 0, 5);
	core_lane_taken(world.core, one, 2, 1);
	core_lane_taken(world.core, one, 0, 6);
	restart();
	ck_assert(core_lanes_view(world.core, one, &found));
	ck_assert_uint_eq(found.lanes, terms.lanes);
	ck_assert_uint_eq(found.pins, terms.pins);
	ck_assert(found.barrier);
	ck_assert_uint_eq(core_lane_position(world.core, one, 0), 6);
	ck_assert_uint_eq(core_lane_position(world.core, one, 1), 0);
	ck_assert_uint_eq(core_lane_position(world.core, one, 2), 1);
	ck_assert(!core_lanes_view(world.core, two, &found));
	ck_assert_int_eq(core_lanes_open(world.core, one, &terms, &world.fault), CORE_E_EXISTS);
}
END_TEST

START_TEST(who_comes_to_the_slot_of_another_begins_with_nothing_taken)
{
	struct lanes_terms found;

	core_lane_taken(world.core, one, 1, 77);
	core_intent(world.core,
		    &(struct intent){.session = one, .lane = 1, .kind = LANE_DELETE});
	session_ends(one);
	ck_assert(!records_valid(world.records, RECORD_LANES, one));
	ck_assert(!records_valid(world.records, RECORD_INTENT, 0));
	ck_assert_uint_eq(world_session(&world, 0), one);
	ck_assert(!core_lanes_view(world.core, one, &found));
	ck_assert_int_eq(core_lanes_open(world.core, one, &terms, &world.fault), 0);
	ck_assert_uint_eq(core_lane_position(world.core, one, 1), 0);
}
END_TEST

START_TEST(a_return_ring_has_a_position_of_its_own)
{
	uint64_t taken;

	ck_assert(!core_returns_view(world.core, one, &taken));
	ck_assert_int_eq(core_returns_open(world.core, one, &world.fault), 0);
	ck_assert_int_eq(core_returns_open(world.core, one, &world.fault), CORE_E_EXISTS);
	core_returns_taken(world.core, one, 9);
	restart();
	ck_assert(core_returns_view(world.core, one, &taken));
	ck_assert_uint_eq(taken, 9);
	session_ends(one);
	ck_assert(!records_valid(world.records, RECORD_RETURNS, one));
}
END_TEST

START_TEST(an_intent_says_something_until_its_record_is_taken)
{
	struct intent intent = {.session = one,
				.lane = 2,
				.cache = cache,
				.kind = LANE_DELETE,
				.hash = 7,
				.offset = 640},
		      found;

	ck_assert(!core_intent_view(world.core, &found));
	core_intent(world.core, &intent);
	restart();
	ck_assert(core_intent_view(world.core, &found));
	ck_assert_uint_eq(found.session, one);
	ck_assert_uint_eq(found.lane, 2);
	ck_assert_uint_eq(found.cache, cache);
	ck_assert_uint_eq(found.kind, LANE_DELETE);
	ck_assert_uint_eq(found.hash, 7);
	ck_assert_uint_eq(found.offset, 640);
	core_lane_taken(world.core, one, 1, 1); /* another lane's */
	ck_assert(core_intent_view(world.core, &found));
	core_lane_taken(world.core, one, 2, 1);
	ck_assert(!core_intent_view(world.core, &found));
	core_intent(world.core, &intent);
	ck_assert(core_intent_view(world.core, &found));
	core_intent_drop(world.core);
	ck_assert(!core_intent_view(world.core, &found));
}
END_TEST

START_TEST(a_lease_that_was_about_to_be_made_is_found_by_its_tag)
{
	uint32_t tag = core_cache_tag(world.core, cache);
	struct extent_info made, found;

	ck_assert(!core_cache_leased(world.core, one, cache, tag, &found));
	made = world_lease(&world, one, cache, 3 * MIB);
	core_changes_clear(world.core);
	ck_assert_uint_eq(made.tag, tag);
	restart();
	ck_assert(core_cache_leased(world.core, one, cache, tag, &found));
	ck_assert_uint_eq(found.offset, made.offset);
	ck_assert_uint_eq(found.size, made.size);
	ck_assert(!core_cache_leased(world.core, two, cache, tag, &found));
	ck_assert(!core_cache_leased(world.core, one, cache, tag + 1, &found));
	ck_assert_uint_ne(core_cache_tag(world.core, cache), tag);
}
END_TEST

static int recovers(void)
{
	void *copy = aligned_alloc(64, (world.size + 63) / 64 * 64);
	struct core *again = NULL;
	int r;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, world.records, world.size);
	r = core_recover(&again, &world.config, records_open(copy, world.size));
	core_free(again);
	free(copy);
	return r;
}

START_TEST(positions_that_cannot_be_are_not_recovered)
{
	struct intent_record intent = {
		.word = intent_word_pack((struct intent_word){one, 2, LANE_SEAL, cache})};

	record_intent_put(world.records, &intent);
	ck_assert_int_eq(recovers(), 0);
	intent.word = intent_word_pack((struct intent_word){one, 3, LANE_SEAL, cache});
	record_intent_put(world.records, &intent); /* it has no such lane */
	ck_assert_int_eq(recovers(), -EUCLEAN);
	intent.word = intent_word_pack((struct intent_word){two, 0, LANE_SEAL, cache});
	record_intent_put(world.records, &intent); /* it has none */
	ck_assert_int_eq(recovers(), -EUCLEAN);
	intent.word = intent_word_pack((struct intent_word){one, 2, LANE_SEAL, cache}) |
		      (uint64_t)1 << 60;
	record_intent_put(world.records, &intent); /* a bit that no record has */
	ck_assert_int_eq(recovers(), -EUCLEAN);
	record_clear(world.records, RECORD_INTENT, 0);
	record_lanes_put(world.records, two + 1, (struct lanes_word){.lanes = 1});
	ck_assert_int_eq(recovers(), -EUCLEAN); /* of no session */
	record_clear(world.records, RECORD_LANES, two + 1);
	record_returns_put(world.records, two + 1);
	ck_assert_int_eq(recovers(), -EUCLEAN);
	record_clear(world.records, RECORD_RETURNS, two + 1);
	record_lanes_put(world.records, one, (struct lanes_word){.lanes = 65});
	ck_assert_int_eq(recovers(), -EUCLEAN);
	record_lanes_put(world.records, one,
			 (struct lanes_word){terms.lanes, terms.pins, terms.barrier});
}
END_TEST

START_TEST(a_clear_and_the_index_in_use_are_known_after_a_restart)
{
	struct right_view right;
	struct estate_view view;

	ck_assert_int_eq(core_right_take(world.core, one, cache, 7, 1000, &right, &world.fault),
			 0);
	ck_assert(core_cache_view(world.core, cache, &view));
	ck_assert_uint_eq(view.cleared, 0);
	ck_assert_uint_eq(view.index, 0);
	core_cache_cleared(world.core, cache);
	core_cache_index(world.core, cache, 3);
	restart();
	ck_assert(core_cache_view(world.core, cache, &view));
	ck_assert_uint_gt(view.cleared, right.token);
	ck_assert_uint_eq(view.cleared, view.token_next);
	ck_assert_uint_eq(view.index, 3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_position");
	TCase *tcase = tcase_create("position");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_was_taken_of_each_lane_is_known_after_a_restart);
	tcase_add_test(tcase, who_comes_to_the_slot_of_another_begins_with_nothing_taken);
	tcase_add_test(tcase, a_return_ring_has_a_position_of_its_own);
	tcase_add_test(tcase, an_intent_says_something_until_its_record_is_taken);
	tcase_add_test(tcase, a_lease_that_was_about_to_be_made_is_found_by_its_tag);
	tcase_add_test(tcase, positions_that_cannot_be_are_not_recovered);
	tcase_add_test(tcase, a_clear_and_the_index_in_use_are_known_after_a_restart);
	suite_add_tcase(suite, tcase);
	return world_run(suite);
}
