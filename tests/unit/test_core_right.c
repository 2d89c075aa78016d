#include "tests/unit/core_world.h"

#include <errno.h>

static struct world world;
static uint32_t one, two, reader, space, cache;

static void setup(void)
{
	world = world_new(12, 64 * MIB);
	one = world_session(&world, 0);
	two = world_session(&world, 500);
	reader = world_session(&world, 0);
	space = world_create(&world, (struct space_request){.name = "a", .limit = 16 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	ck_assert_int_eq(
		core_space_open(world.core, reader, "a", true, NULL, 0, &space, &world.fault),
		0);
	cache = world_cache(&world, one, space, "thumbs");
	ck_assert_uint_eq(world_cache(&world, two, space, "thumbs"), cache);
	ck_assert_uint_eq(world_cache(&world, reader, space, "thumbs"), cache);
}

static void teardown(void)
{
	world_check(&world, false);
	world_end(&world);
}

static int take(uint32_t session, uint64_t hash, struct right_view *ret)
{
	return core_right_take(world.core, session, cache, hash, 1000, ret, &world.fault);
}

static struct right_view taken(uint32_t session, uint64_t hash)
{
	struct right_view view;

	ck_assert_int_eq(take(session, hash, &view), 0);
	return view;
}

START_TEST(of_all_who_ask_one_has_the_right)
{
	struct right_view first = taken(one, 7), other, found;

	ck_assert_int_eq(take(two, 7, &other), CORE_E_EXISTS);
	ck_assert_uint_eq(other.session, one);
	ck_assert_uint_eq(other.token, first.token);
	ck_assert_int_eq(take(one, 7, &other), CORE_E_EXISTS);
	/* another key is another right */
	ck_assert_uint_ne(taken(two, 8).token, first.token);
	ck_assert(core_right_find(world.core, cache, 7, &found));
	ck_assert_uint_eq(found.right, first.right);
	ck_assert_uint_eq(found.until, 1000);
	ck_assert(!core_right_find(world.core, cache, 9, &found));
	ck_assert(!core_right_find(world.core, cache + 1, 7, &found));
	ck_assert_uint_eq(core_cache_rights(world.core, cache), 2);
	ck_assert_uint_eq(core_session_rights(world.core, one), 1);
}
END_TEST

START_TEST(a_right_that_was_let_go_comes_back_with_another_token)
{
	struct right_view first = taken(one, 7), second;

	core_right_end(world.core, first.right);
	ck_assert(!core_right_view(world.core, first.right, &second));
	ck_assert_uint_eq(core_right_next(world.core, 0), UINT32_MAX);
	second = taken(two, 7);
	ck_assert_uint_gt(second.token, first.token);
	ck_assert_uint_eq(core_right_next(world.core, 0), second.right);
}
END_TEST

START_TEST(who_may_not_put_has_no_right_to_compute)
{
	struct right_view view;

	ck_assert_int_eq(take(reader, 7, &view), CORE_E_PERMISSION);
	ck_assert_str_eq(world.fault.which, "write");
	ck_assert_int_eq(core_cache_close(world.core, two, space, cache), 0);
	ck_assert_int_eq(take(two, 7, &view), CORE_E_NOT_FOUND);
	ck_assert_int_eq(core_right_take(world.core, one, 9, 7, 0, &view, &world.fault),
			 CORE_E_NOT_FOUND);
	ck_assert_str_eq(world.fault.which, "cache");
}
END_TEST

START_TEST(rights_end_with_whoever_has_the_cache_open)
{
	struct plan *plan = NULL;
	struct right_view view;

	for (uint64_t hash = 0; hash < 4; hash++)
		taken(one, hash);
	taken(two, 9);
	ck_assert_int_eq(core_cache_close(world.core, one, space, cache), 0);
	ck_assert_uint_eq(core_cache_rights(world.core, cache), 1);
	world_check(&world, false);
	ck_assert_uint_eq(taken(two, 3).session, two);
	ck_assert_int_eq(core_session_end(world.core, two, &plan), 0);
	ck_assert_uint_eq(core_right_next(world.core, 0), UINT32_MAX);
	ck_assert(!core_right_find(world.core, cache, 3, &view));
}
END_TEST

START_TEST(rights_are_limited_for_each_uid)
{
	struct quota_limits limits = world.config.limits;
	uint32_t bound = world_session(&world, 11);
	struct right_view view;

	ck_assert_int_eq(core_space_close(world.core, one, space, &(struct plan *){NULL}), 0);
	limits.max[QUOTA_RIGHTS] = 2;
	core_limits_set(world.core, &limits);
	space = world_create(
		&world,
		(struct space_request){.name = "b", .owner = {11, 11}, .limit = 16 * MIB});
	world_open(&world, bound, "b");
	cache = world_cache(&world, bound, space, "c");
	taken(bound, 1);
	view = taken(bound, 2);
	ck_assert_int_eq(take(bound, 3, &view), CORE_E_LIMIT);
	ck_assert_str_eq(world.fault.which, "limits.rights");
	ck_assert_uint_eq(world.fault.max, 2);
	ck_assert(core_right_find(world.core, cache, 2, &view));
	core_right_end(world.core, view.right);
	taken(bound, 3);
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

START_TEST(a_right_that_cannot_be_is_not_recovered)
{
	struct right_view view = taken(one, 7), other = taken(two, 8);
	const struct right_record whole = *(const struct right_record *)records_at(
		world.records, RECORD_RIGHT, view.right);
	struct right_record wrong;

	ck_assert_int_eq(recovers(), 0);
	wrong = whole;
	wrong.token = other.token + 1; /* not given yet */
	record_right_put(world.records, view.right, &wrong);
	ck_assert_int_eq(recovers(), -EUCLEAN);
	wrong = whole;
	wrong.hash = 8; /* somebody else's */
	record_right_put(world.records, view.right, &wrong);
	ck_assert_int_eq(recovers(), -EUCLEAN);
	wrong = whole; /* of who may not put */
	wrong.word = user_word_pack((struct user_word){.cache = cache, .session = reader});
	record_right_put(world.records, view.right, &wrong);
	ck_assert_int_eq(recovers(), -EUCLEAN);
	wrong.word = user_word_pack((struct user_word){.cache = cache + 1, .session = one});
	record_right_put(world.records, view.right, &wrong);
	ck_assert_int_eq(recovers(), -EUCLEAN);
	record_right_put(world.records, view.right, &whole);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_right");
	TCase *tcase = tcase_create("right");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, of_all_who_ask_one_has_the_right);
	tcase_add_test(tcase, a_right_that_was_let_go_comes_back_with_another_token);
	tcase_add_test(tcase, who_may_not_put_has_no_right_to_compute);
	tcase_add_test(tcase, rights_end_with_whoever_has_the_cache_open);
	tcase_add_test(tcase, rights_are_limited_for_each_uid);
	tcase_add_test(tcase, a_right_that_cannot_be_is_not_recovered);
	suite_add_tcase(suite, tcase);
	return world_run(suite);
}
