/*
 * Out of memory in the midst of every verb: -ENOMEM, and nothing has changed.
 *
 * malloc, calloc and realloc are wrapped by the linker (--wrap): a countdown makes one fail.
 */
#include "tests/failing_memory.h"
#include "tests/unit/core_world.h"

#include <errno.h>

static long countdown = -1; /* this many more succeed; negative: all */

bool allocation_fails(void)
{
	return countdown >= 0 && !countdown--;
}

static struct world world;
static uint32_t session, space;
static struct plan *plan;

/* Repeat a verb with the first, second, ... allocation failing, until none does. */
static uint32_t fail_each(int (*verb)(void), bool ends)
{
	void *before = malloc(world.size);
	struct core_view view = core_view(world.core);
	uint32_t n = 0;
	int r;

	ck_assert_ptr_nonnull(before);
	memcpy(before, world.records, world.size);
	for (;; ++n) {
		const char *wrong;

		countdown = (long)n;
		r = verb();
		if (countdown >= 0)
			break;
		countdown = -1;
		ck_assert_int_eq(r, -ENOMEM);
		wrong = core_check(world.core);
		ck_assert_msg(!wrong, "after failure %u: %s", n, wrong);
		if (!ends) {
			struct core_view now = core_view(world.core);

			ck_assert_mem_eq(before, world.records, world.size);
			ck_assert_mem_eq(&now, &view, sizeof(now));
		}
	}
	countdown = -1;
	ck_assert_int_eq(r, 0);
	free(before);
	return n;
}

static int verb_session(void)
{
	struct session_request request = {.pid = 1};

	return core_session_open(world.core, &request, &session, &world.fault);
}

static int verb_create(void)
{
	return world_try_create(
		&world,
		(struct space_request){.name = "a", .limit = 12 * MIB, .reserve = 11 * MIB},
		&space, &plan);
}

static int verb_create_punching(void)
{
	return world_try_create(
		&world,
		(struct space_request){
			.name = "b", .owner = {2, 2}, .limit = 16 * MIB, .reserve = 14 * MIB},
		&space, &plan);
}

static int verb_open(void)
{
	uint32_t slot;

	return core_space_open(world.core, session, "a", false, NULL, 0, &slot, &world.fault);
}

static int verb_alloc(void)
{
	struct extent_info info;

	return world_try_alloc(&world, session, space, 4 * MIB, EXTENT_SHARED, &info, &plan);
}

static int verb_holder(void)
{
	uint32_t id;

	return core_holder_open(world.core, session, space, &id, &world.fault);
}

static int verb_channel(void)
{
	struct channel_request request = {.name = "c", .roles = CHANNEL_SENDS};
	struct channel_info info;

	return core_channel_open(world.core, session, space, &request, &info, &plan,
				 &world.fault);
}

static uint32_t cache;

static int verb_cache(void)
{
	struct cache_request request = {.name = "c"};

	return core_cache_open(world.core, session, space, &request, &cache, &world.fault);
}

static int verb_segment(void)
{
	struct cache_lease lease = {.kind = EXTENT_SEGMENT, .size = 2 * MIB};
	struct extent_info info;

	return core_cache_lease(world.core, 0, cache, &lease, &info, &plan, &world.fault);
}

static struct extent_info whole;

/* Every other slice of it. */
static int verb_return(void)
{
	for (uint32_t i = 1; i < 32; i += 2) {
		int r = core_cache_return(world.core, cache, whole.offset + i * SLICE_BYTES,
					  SLICE_BYTES, &world.fault);

		/* gone already, by the time before */
		if (r && r != CORE_E_REFERENCE)
			return r;
	}
	return 0;
}

static int verb_trim(void)
{
	return core_trim(world.core, space, 8, &plan);
}

static int verb_scrub(void)
{
	return core_scrub(world.core, 0, &plan);
}

static int verb_change(void)
{
	struct space_change change = {.set = SPACE_SET_RESERVE | SPACE_SET_LIMIT,
				      .to = {.reserve = 14 * MIB, .limit = 18 * MIB}};

	return core_space_change(world.core, (struct credentials){0, 0}, NULL, 0, "a", &change,
				 &plan, &world.fault);
}

static int verb_remove(void)
{
	return core_space_remove(world.core, (struct credentials){0, 0}, "a", false, &plan,
				 &world.fault);
}

static int verb_end(void)
{
	return core_session_end(world.core, session, &plan);
}

static int verb_recover(void)
{
	struct core *again;
	int r = core_recover(&again, &world.config, world.records);

	if (!r)
		core_free(again);
	return r;
}

static int verb_new(void)
{
	struct core *again;
	int r = core_new(&again, &world.config, world.records);

	if (!r)
		core_free(again);
	return r;
}

START_TEST(verbs_without_memory_change_nothing)
{
	world = world_new(12, 32 * MIB);
	ck_assert_uint_gt(fail_each(verb_new, false), 5);
	ck_assert_uint_ge(fail_each(verb_session, false), 1);
	ck_assert_uint_ge(fail_each(verb_create, false), 10); /* two windows */
	plan_commit(world.core, plan);
	ck_assert_uint_ge(fail_each(verb_open, false), 1);
	plan = NULL;
	fail_each(verb_holder, false);
	ck_assert_uint_ge(fail_each(verb_channel, false), 3); /* itself, an end, a plan */
	plan_commit(world.core, plan);
	plan = NULL;
	for (uint32_t i = 0; i < 2;
	     ++i) { /* the window of 4 MiB takes one, that of 8 the other */
		fail_each(verb_alloc, false);
		if (plan)
			plan_commit(world.core, plan);
		plan = NULL;
		world_check(&world, false);
	}
	ck_assert_uint_ge(fail_each(verb_recover, false), 15);
	ck_assert_uint_ge(fail_each(verb_change, false), 5); /* a window more */
	ck_assert_ptr_nonnull(plan);
	plan_commit(world.core, plan);
	plan = NULL;
	world_check(&world, false);
	fail_each(verb_end, true);
	ck_assert_ptr_null(plan);
	ck_assert_uint_ge(fail_each(verb_remove, true), 1);
	plan_commit(world.core, plan);
	world_check(&world, false);
	ck_assert_uint_eq(core_view(world.core).committed, 0);
	world_end(&world);
}
END_TEST

START_TEST(plans_that_punch_others_fail_whole)
{
	struct extent_info info[8];
	uint32_t a;

	world = world_new(21, 24 * MIB);
	ck_assert_int_eq(verb_session(), 0);
	a = world_create(&world, (struct space_request){.name = "a", .limit = 16 * MIB});
	world_open(&world, session, "a");
	for (uint32_t i = 0; i < 7; ++i)
		info[i] = world_alloc(&world, session, a, 2 * MIB, EXTENT_PRIVATE);
	ck_assert_uint_eq(fail_each(verb_scrub, false), 2); /* its last unit is absent */
	ck_assert_ptr_nonnull(plan);
	plan_abort(world.core, plan);
	ck_assert_int_eq(verb_create_punching(), CORE_E_MEMORY);
	ck_assert_uint_eq(world.fault.available, 10 * MIB);
	for (uint32_t i = 0; i < 6; i += 2)
		ck_assert_int_eq(world_free(&world, session, a, info[i]), 0);
	ck_assert_uint_ge(fail_each(verb_create_punching, false), 5);
	ck_assert_int_eq(plan->effects[1].kind, EFFECT_PUNCH);
	ck_assert_uint_eq(plan->effects[1].space, a);
	world_check(&world, true);
	plan_abort(world.core, plan); /* what was to be punched is gone all the same */
	world_check(&world, false);
	ck_assert_uint_eq(world_space(&world, a).committed, 10 * MIB);
	space = a;
	ck_assert_int_eq(core_trim(world.core, a, 1, &plan), 0);
	ck_assert_ptr_null(plan); /* what stands idle has to stand so for a while */
	ck_assert_uint_ge(fail_each(verb_trim, false), 2);
	ck_assert_ptr_nonnull(plan);
	plan_abort(world.core, plan);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

START_TEST(the_end_of_a_removed_space_can_be_asked_again)
{
	struct plan *none;

	world = world_new(12, 32 * MIB);
	ck_assert_int_eq(verb_session(), 0);
	space = world_create(&world, (struct space_request){.name = "a", .limit = 16 * MIB});
	world_open(&world, session, "a");
	world_alloc(&world, session, space, MIB, EXTENT_SHARED);
	world_alloc(&world, session, space, MIB, EXTENT_PRIVATE);
	ck_assert_int_eq(core_space_remove(world.core, (struct credentials){0, 0}, "a", true,
					   &none, &world.fault),
			 0);
	ck_assert_ptr_null(none);
	plan = NULL;
	ck_assert_uint_ge(fail_each(verb_end, true), 2);
	ck_assert_ptr_nonnull(plan);
	plan_abort(world.core, plan); /* there is nothing to undo */
	world_check(&world, false);
	ck_assert_uint_eq(core_view(world.core).committed, 0);
	ck_assert_uint_eq(core_view(world.core).spaces, 0);
	world_end(&world);
}
END_TEST

START_TEST(caches_without_memory_are_not_made_and_give_back_all_the_same)
{
	world = world_new(12, 32 * MIB);
	ck_assert_int_eq(verb_session(), 0);
	space = world_create(&world, (struct space_request){.name = "a", .limit = 16 * MIB});
	world_open(&world, session, "a");
	ck_assert_uint_eq(fail_each(verb_cache, false), 2); /* itself, its user */
	ck_assert_uint_ge(fail_each(verb_segment, false), 3);
	ck_assert_ptr_nonnull(plan);
	plan_commit(world.core, plan);
	whole = world_lease(&world, session, cache, 2 * MIB);
	ck_assert_int_eq(core_cache_seal(world.core, session, space, whole.offset, whole.tag,
					 &world.fault),
			 0);
	core_changes_clear(world.core);
	while (!fail_each(verb_return, true)) {
		/* there was room for what is said: fill it up */
		world_alloc(&world, session, space, 64 * KIB, EXTENT_PRIVATE);
		whole = world_lease(&world, 0, cache, 64 * KIB);
		whole = world_lease(&world, 0, cache, 2 * MIB);
	}
	world_check(&world, false);
	/* all that is left of it goes without memory */
	for (uint32_t i = 0; i < 32; i += 2) {
		int r;

		countdown = 0;
		r = core_cache_return(world.core, cache, whole.offset + i * SLICE_BYTES,
				      SLICE_BYTES, &world.fault);
		countdown = -1;
		ck_assert_int_eq(r, 0);
	}
	ck_assert_uint_ge(fail_each(verb_recover, false), 15);
	world_check(&world, false);
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_nomem");
	TCase *tcase = tcase_create("nomem");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, verbs_without_memory_change_nothing);
	tcase_add_test(tcase, plans_that_punch_others_fail_whole);
	tcase_add_test(tcase, caches_without_memory_are_not_made_and_give_back_all_the_same);
	tcase_add_test(tcase, the_end_of_a_removed_space_can_be_asked_again);
	return world_run(suite);
}
