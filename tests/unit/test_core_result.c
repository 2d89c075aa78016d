#include <errno.h>

#include "tests/unit/core_world.h"

enum { MAKE = 3, FREE = 4, VERB = 5 };

static struct space_request request = {
	.name = "images", .limit = 8 * MIB, .owner = {1000, 1000}};

/* A world with a space that a session has open. */
struct desk {
	struct world world;
	uint32_t session, space;
};

static struct desk desk_new(void)
{
	struct desk desk = {.world = world_new(21, 32 * MIB)};

	world_create(&desk.world, request);
	desk.session = world_session(&desk.world, 1000);
	desk.space = world_open(&desk.world, desk.session, "images");
	return desk;
}

static struct extent_info alloc_for(struct desk *desk, uint64_t id)
{
	core_asked(desk->world.core, desk->session, MAKE, id);
	return world_alloc(&desk->world, desk->session, desk->space, 100 * KIB, EXTENT_PRIVATE);
}

static bool asked_before(const struct desk *desk, uint32_t session, uint32_t verb, uint64_t id)
{
	struct result_view result;

	return core_result(desk->world.core, session, verb, id, &result);
}

START_TEST(what_was_done_is_answered_again)
{
	struct desk desk = desk_new();
	struct extent_info made = alloc_for(&desk, 17), again;
	struct result_view result;

	ck_assert(core_result(desk.world.core, desk.session, MAKE, 17, &result));
	again = result_extent(result);
	ck_assert_uint_eq(again.offset, made.offset);
	ck_assert_uint_eq(again.size, made.size);
	ck_assert_uint_eq(again.tag, made.tag);
	core_asked(desk.world.core, desk.session, FREE, 18);
	ck_assert_int_eq(world_free(&desk.world, desk.session, desk.space, made), 0);
	ck_assert(asked_before(&desk, desk.session, FREE, 18));
	/* Also when it has gone since. */
	ck_assert(asked_before(&desk, desk.session, MAKE, 17));
	world_check(&desk.world, false);
	world_end(&desk.world);
}
END_TEST

START_TEST(a_request_has_no_result_before_its_plan_is_carried_out)
{
	struct desk desk = desk_new();
	struct extent_info info;
	struct plan *plan;

	core_asked(desk.world.core, desk.session, MAKE, 1);
	ck_assert_int_eq(world_try_alloc(&desk.world, desk.session, desk.space, MIB,
					 EXTENT_SHARED, &info, &plan),
			 0);
	ck_assert_ptr_nonnull(plan);
	ck_assert(!asked_before(&desk, desk.session, MAKE, 1));
	plan_abort(desk.world.core, plan);
	ck_assert(!asked_before(&desk, desk.session, MAKE, 1));
	core_asked(desk.world.core, desk.session, MAKE, 1);
	ck_assert_int_eq(world_try_alloc(&desk.world, desk.session, desk.space, MIB,
					 EXTENT_SHARED, &info, &plan),
			 0);
	plan_commit(desk.world.core, plan);
	ck_assert(asked_before(&desk, desk.session, MAKE, 1));
	world_check(&desk.world, false);
	world_end(&desk.world);
}
END_TEST

START_TEST(a_refusal_leaves_no_result)
{
	struct desk desk = desk_new();
	struct extent_info info = alloc_for(&desk, 1);
	struct plan *plan;

	core_asked(desk.world.core, desk.session, MAKE, 2);
	ck_assert_int_eq(world_try_alloc(&desk.world, desk.session, desk.space, 64 * MIB,
					 EXTENT_PRIVATE, &info, &plan),
			 CORE_E_TOO_LARGE);
	ck_assert(!asked_before(&desk, desk.session, MAKE, 2));
	core_asked(desk.world.core, desk.session, FREE, 3);
	info.tag ^= 1;
	ck_assert_int_eq(world_free(&desk.world, desk.session, desk.space, info),
			 CORE_E_REFERENCE);
	ck_assert(!asked_before(&desk, desk.session, FREE, 3));
	world_end(&desk.world);
}
END_TEST

/* RS4: the same session gives memory back meanwhile, through its ring. */
START_TEST(who_asks_is_taken_by_one_verb)
{
	struct desk desk = desk_new();
	struct extent_info info = alloc_for(&desk, 1);

	ck_assert_int_eq(world_free(&desk.world, desk.session, desk.space, info), 0);
	ck_assert(asked_before(&desk, desk.session, MAKE, 1));
	core_asked(desk.world.core, desk.session, MAKE, 2);
	core_asked(desk.world.core, 0, 0, 0);
	world_alloc(&desk.world, desk.session, desk.space, KIB, EXTENT_PRIVATE);
	ck_assert(!asked_before(&desk, desk.session, MAKE, 2));
	world_end(&desk.world);
}
END_TEST

START_TEST(a_result_stays_until_its_place_is_taken)
{
	struct desk desk = desk_new();

	for (uint64_t id = 1; id <= RESULTS_A_SESSION; ++id)
		alloc_for(&desk, id);
	for (uint64_t id = 1; id <= RESULTS_A_SESSION; ++id)
		ck_assert(asked_before(&desk, desk.session, MAKE, id));
	alloc_for(&desk, 3 + RESULTS_A_SESSION);
	for (uint64_t id = 1; id <= RESULTS_A_SESSION; ++id)
		ck_assert(asked_before(&desk, desk.session, MAKE, id) == (id != 3));
	ck_assert(asked_before(&desk, desk.session, MAKE, 3 + RESULTS_A_SESSION));
	ck_assert(!asked_before(&desk, desk.session, VERB, 1));
	world_check(&desk.world, false);
	world_end(&desk.world);
}
END_TEST

START_TEST(a_result_is_its_sessions_alone)
{
	struct desk desk = desk_new();
	uint32_t other = world_session(&desk.world, 1001);

	alloc_for(&desk, 5);
	ck_assert(asked_before(&desk, desk.session, MAKE, 5));
	ck_assert(!asked_before(&desk, other, MAKE, 5));
	ck_assert(!asked_before(&desk, other + 1, MAKE, 5));
	ck_assert(!asked_before(&desk, UINT32_MAX, MAKE, 5));
	world_end(&desk.world);
}
END_TEST

START_TEST(results_end_with_their_session)
{
	struct desk desk = desk_new();
	struct space_request more = {.name = "more", .limit = 2 * MIB, .owner = {1000, 1000}};
	struct plan *end = NULL, *plan;
	uint32_t space;

	alloc_for(&desk, 5);
	/* Nor does what it has begun become a result of who comes after it. */
	core_asked(desk.world.core, desk.session, VERB, 6);
	ck_assert_int_eq(world_try_create(&desk.world, more, &space, &plan), 0);
	ck_assert_int_eq(core_session_end(desk.world.core, desk.session, &end), 0);
	ck_assert_uint_eq(world_session(&desk.world, 1002), desk.session);
	plan_commit(desk.world.core, plan);
	ck_assert(!asked_before(&desk, desk.session, MAKE, 5));
	ck_assert(!asked_before(&desk, desk.session, VERB, 6));
	world_check(&desk.world, false);
	world_end(&desk.world);
}
END_TEST

/* The records as a death may leave them. */
static struct core *recovered(const struct desk *desk, void (*change)(struct records *records),
			      struct records **ret_records, int expected)
{
	struct records *copy = aligned_alloc(64, (desk->world.size + 63) / 64 * 64);
	struct core *again = NULL;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, desk->world.records, desk->world.size);
	change(copy);
	ck_assert_int_eq(
		core_recover(&again, &desk->world.config, records_open(copy, desk->world.size)),
		expected);
	*ret_records = copy;
	return again;
}

/* Of session 1, which has asked once. */
static struct result_record *only_result(struct records *records)
{
	return (struct result_record *)records_at(records, RECORD_RESULT,
						  RESULTS_A_SESSION + 5);
}

static void promise(struct records *records)
{
	struct result_record *record = only_result(records);
	struct result_word what = result_word_unpack(record->what);

	what.kept = false;
	record->what = result_word_pack(what);
}

static void promise_in_vain(struct records *records)
{
	struct result_word what = result_word_unpack(only_result(records)->what);

	promise(records);
	record_clear(records, (enum record_kind)what.kind, what.slot);
}

START_TEST(a_promise_is_kept_if_its_store_was_made)
{
	struct desk desk = desk_new();
	struct result_view result;
	struct records *records;
	struct core *again;

	alloc_for(&desk, 5);
	ck_assert_uint_eq(desk.session, 1);
	again = recovered(&desk, promise, &records, 0);
	ck_assert(core_result(again, 1, MAKE, 5, &result));
	ck_assert_ptr_null(core_check(again));
	core_free(again);
	free(records);
	again = recovered(&desk, promise_in_vain, &records, 0);
	ck_assert(!core_result(again, 1, MAKE, 5, &result));
	ck_assert_ptr_null(core_check(again));
	core_free(again);
	free(records);
	world_end(&desk.world);
}
END_TEST

/* What the shell settles: it alone knows what objects there are. */
START_TEST(a_promised_object_is_the_shells_to_settle)
{
	const struct object_promise promise = {
		.cache = 1, .hash = 77, .offset = 3 * SLICE_BYTES, .generation = 9};
	struct desk desk = desk_new();
	struct object_promised left;
	struct result_view result;
	struct core *core;
	uint32_t at = 0;

	world_cache(&desk.world, desk.session, desk.space, "c");
	for (uint64_t id = 1; id <= 3; ++id)
		core_object_promise(desk.world.core, desk.session, MAKE, id, &promise);
	core_object_settle(desk.world.core, desk.session, 1, true);
	core_object_settle(desk.world.core, desk.session, 2, false);
	core_object_settle(desk.world.core, desk.session, 3 + RESULTS_A_SESSION, true);
	ck_assert(core_result(desk.world.core, desk.session, MAKE, 1, &result));
	ck_assert_uint_eq(result.answer[0], promise.offset);
	ck_assert_uint_eq(result.answer[1], 9);
	ck_assert(!asked_before(&desk, desk.session, MAKE, 2));
	ck_assert(!asked_before(&desk, desk.session, MAKE, 3));
	world_check(&desk.world, false);

	core_free(desk.world.core);
	ck_assert_int_eq(core_recover(&core, &desk.world.config, desk.world.records), 0);
	desk.world.core = core;
	ck_assert(asked_before(&desk, desk.session, MAKE, 1));
	ck_assert(core_object_promised(core, &at, &left));
	ck_assert(left.session == desk.session && left.verb == MAKE && left.id == 3);
	ck_assert(left.promise.hash == 77 && !left.promise.gone &&
		  left.promise.generation == 9);
	ck_assert(!core_object_promised(core, &at, &left));
	core_object_settle(core, desk.session, 3, true);
	ck_assert(asked_before(&desk, desk.session, MAKE, 3));
	world_end(&desk.world);
}
END_TEST

static void of_no_cache(struct records *records)
{
	only_result(records)->what = result_word_pack(
		(struct result_word){.kind = RESULT_OBJECT, .slot = 16, .verb = 1});
}

static void of_no_kind(struct records *records)
{
	struct result_word what = result_word_unpack(only_result(records)->what);

	what.kind = RECORD_KINDS;
	only_result(records)->what = result_word_pack(what);
}

static void of_no_slot(struct records *records)
{
	struct result_word what = result_word_unpack(only_result(records)->what);

	what.slot = UINT32_MAX;
	only_result(records)->what = result_word_pack(what);
}

static void of_no_word(struct records *records)
{
	struct result_word what = result_word_unpack(only_result(records)->what);

	what.word = record_words((enum record_kind)what.kind);
	only_result(records)->what = result_word_pack(what);
}

static void of_more_bits(struct records *records)
{
	only_result(records)->what |= (uint64_t)1 << 63;
}

static void elsewhere(struct records *records)
{
	only_result(records)->id = 6;
}

static void of_nobody(struct records *records)
{
	((struct result_record *)records_at(records, RECORD_RESULT, 9 * RESULTS_A_SESSION))
		->id = 16;
}

START_TEST(what_no_core_wrote_is_refused)
{
	static void (*const changes[])(struct records *) = {
		of_no_cache,  of_no_kind, of_no_slot, of_no_word,
		of_more_bits, elsewhere,  of_nobody,
	};
	struct desk desk = desk_new();
	struct records *records;

	alloc_for(&desk, 5);
	for (uint32_t i = 0; i < ARRAY_SIZE(changes); ++i) {
		ck_assert_ptr_null(recovered(&desk, changes[i], &records, -EUCLEAN));
		free(records);
	}
	world_end(&desk.world);
}
END_TEST

/* Its next requests are answered from then on as the first ones were. */
START_TEST(the_end_of_a_space_is_one_whoever_ended_it_before)
{
	struct desk desk = desk_new();
	struct core *core = desk.world.core;
	struct result_view result;
	struct plan *plan;

	core_asked(core, desk.session, VERB, 1);
	ck_assert_int_eq(core_space_remove(core, (struct credentials){0, 0}, "images", true,
					   &plan, &desk.world.fault),
			 0);
	core_asked(core, desk.session, VERB, 2);
	ck_assert_int_eq(core_space_remove(core, (struct credentials){0, 0}, "images", true,
					   &plan, &desk.world.fault),
			 0);
	ck_assert(core_result(core, desk.session, VERB, 1, &result));
	ck_assert_uint_eq(result.answer[0], desk.space);
	ck_assert(core_result(core, desk.session, VERB, 2, &result));
	core_asked(core, desk.session, VERB, 3);
	ck_assert_int_eq(core_space_close(core, desk.session, desk.space, &plan), 0);
	ck_assert(core_result(core, desk.session, VERB, 3, &result));
	plan_commit(core, plan);
	world_check(&desk.world, false);
	world_end(&desk.world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_result");
	TCase *tcase = tcase_create("all");

	tcase_add_test(tcase, what_was_done_is_answered_again);
	tcase_add_test(tcase, a_request_has_no_result_before_its_plan_is_carried_out);
	tcase_add_test(tcase, a_refusal_leaves_no_result);
	tcase_add_test(tcase, who_asks_is_taken_by_one_verb);
	tcase_add_test(tcase, a_result_stays_until_its_place_is_taken);
	tcase_add_test(tcase, a_result_is_its_sessions_alone);
	tcase_add_test(tcase, results_end_with_their_session);
	tcase_add_test(tcase, a_promise_is_kept_if_its_store_was_made);
	tcase_add_test(tcase, a_promised_object_is_the_shells_to_settle);
	tcase_add_test(tcase, what_no_core_wrote_is_refused);
	tcase_add_test(tcase, the_end_of_a_space_is_one_whoever_ended_it_before);
	suite_add_tcase(suite, tcase);
	return world_run(suite);
}
