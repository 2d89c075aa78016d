/*
 * One suite for every policy of the table: what a window asks of an index.
 */
#include "tests/unit/core_world.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/placement.h"
#include "daemon/core/window.h"
#include "tests/unit/placement_map.h"

enum { SLICES = 512, STEPS = 30000 };

static uint64_t state;

static uint32_t below(uint32_t n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((state >> 33) % n);
}

/* $VARBOS_SEED replays what was printed. */
static uint64_t seed_draw(void)
{
	const char *given = getenv("VARBOS_SEED");

	return given ? strtoull(given, NULL, 0)
		     : (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
}

START_TEST(every_policy_is_found_by_name_and_number)
{
	uint32_t id = 99;

	ck_assert_ptr_eq(placement_named(NULL, &id), &place_bestfit);
	ck_assert_ptr_eq(placement_named("", &id), &place_bestfit);
	ck_assert_ptr_null(placement_named("bestfitt", &id));
	ck_assert_ptr_null(placement_at(PLACEMENTS));
	for (uint32_t i = 0; i < PLACEMENTS; ++i) {
		ck_assert_ptr_eq(placement_named(placement_at(i)->name, &id), placement_at(i));
		ck_assert_uint_eq(id, i);
	}
}
END_TEST

static uint32_t first_of(const struct placement *placement, const void *index, uint32_t count,
			 uint32_t align)
{
	struct place place;

	ck_assert(placement->find(index, count, align, &place));
	return place.first;
}

/* How a window fares differs by what it is asked: bits and pieces, or much of it at once. */
static struct placement_step step_draw(bool large)
{
	static const uint32_t sizes[] = {4, 12, 40, 130};
	uint32_t most = large && !below(4) ? SLICES + 2 : sizes[below(large ? 4 : 3)];

	if (below(100) < 55)
		return (struct placement_step){
			.count = 1 + below(most),
			.align = (uint32_t)1 << (below(3) ? 0 : below(large ? 15 : 7)),
		};
	return (struct placement_step){
		.give = true, .first = below(SLICES), .count = 1 + below(40)};
}

START_TEST(policy_agrees_with_a_map_of_bytes)
{
	uint64_t seed = seed_draw();
	struct placement_map map;

	ck_assert(placement_map_init(&map, placement_at((uint32_t)_i)));
	printf("%s: VARBOS_SEED=%" PRIu64 "\n", map.placement->name, seed);
	fflush(stdout);
	state = seed;
	for (uint32_t step = 0; step < STEPS; ++step) {
		const char *wrong = placement_map_step(&map, step_draw(step / 2000 % 2));

		ck_assert_msg(!wrong, "%s: VARBOS_SEED=%" PRIu64 " step %u: %s",
			      map.placement->name, seed, step, wrong);
	}
	/* Both answers were tried. */
	ck_assert_uint_gt(map.served, STEPS / 20);
	ck_assert_uint_gt(map.refused, STEPS / 20);
	placement_map_deinit(&map);
}
END_TEST

START_TEST(policy_serves_each_size_up_to_the_whole_window_at_each_alignment)
{
	const struct placement *placement = placement_at((uint32_t)_i);
	struct place place;
	void *index;

	ck_assert_int_eq(placement->init(&index, SLICES), 0);
	ck_assert_uint_eq(placement->largest(index), 0);
	ck_assert(!placement->find(index, 1, 1, &place));
	placement->insert(index, 0, SLICES);
	for (uint32_t align = 1; align <= 1 << 14; align *= 2) {
		for (uint32_t count = 1; count <= SLICES; ++count)
			ck_assert_uint_eq(first_of(placement, index, count, align), 0);
		ck_assert(!placement->find(index, SLICES + 1, align, &place));
		ck_assert(!placement->find(index, UINT32_MAX, align, &place));
	}
	placement->remove(index, 0, SLICES);
	ck_assert_uint_eq(placement->largest(index), 0);
	/* One slice short of it, at either end. */
	placement->insert(index, 1, SLICES - 1);
	for (uint32_t align = 1; align <= SLICES / 2; align *= 2) {
		ck_assert_uint_eq(first_of(placement, index, SLICES - align, align), align);
		ck_assert(!placement->find(index, SLICES - align + 1, align, &place));
	}
	placement->deinit(index);
}
END_TEST

START_TEST(the_largest_window_is_one_run_until_it_is_cut)
{
	struct unit_sums sums = {0};
	struct window_place at = {.info = {.page_shift = 21, .size_shift = POSITION_BITS}};
	struct window *window;
	struct place place;
	uint32_t need;

	ck_assert_int_eq(window_new(&window, at, placement_at((uint32_t)_i), &sums), 0);
	ck_assert_uint_eq(window_largest(window), (uint32_t)1 << (POSITION_BITS - SLICE_SHIFT));
	ck_assert(window_find(window, window->slices, 1 << 14, &place));
	window_take(window, 0, 0, window->slices);
	ck_assert(!window_find(window, 1, 1, &place));
	/* Every other slice free: as many runs as there can be. */
	for (uint32_t i = 0; i < window->slices; i += 2)
		window_give(window, i, 1);
	ck_assert_ptr_null(window_check(window));
	ck_assert(window_find(window, 1, 1, &place));
	ck_assert(!window_find(window, 2, 1, &place));
	/* What a policy may miss, a walk of the window finds. */
	ck_assert(window_scan(window, 1, 1 << 14, UINT32_MAX, &place, &need));
	ck_assert_uint_eq(place.first, 0);
	for (uint32_t i = 1; i < window->slices; i += 2)
		window_give(window, i, 1);
	ck_assert_uint_eq(window_largest(window), window->slices);
	ck_assert_ptr_null(window_check(window));
	window_free(window);
}
END_TEST

START_TEST(bestfit_takes_the_shortest_run_and_of_equals_the_first)
{
	struct place place;
	void *index;

	ck_assert_int_eq(place_bestfit.init(&index, SLICES), 0);
	place_bestfit.insert(index, 100, 8);
	place_bestfit.insert(index, 40, 4);
	place_bestfit.insert(index, 20, 4);
	place_bestfit.insert(index, 60, 4);
	place_bestfit.insert(index, 200, 300);
	ck_assert(place_bestfit.find(index, 3, 1, &place));
	ck_assert_uint_eq(place.first, 20);
	ck_assert(place_bestfit.find(index, 5, 1, &place));
	ck_assert_uint_eq(place.first, 100);
	ck_assert(place_bestfit.find(index, 4, 32, &place));
	ck_assert_uint_eq(place.first, 224);
	ck_assert(!place_bestfit.find(index, 301, 1, &place));
	place_bestfit.remove(index, 20, 4);
	ck_assert(place_bestfit.find(index, 3, 1, &place));
	ck_assert_uint_eq(place.first, 40);
	place_bestfit.deinit(index);
}
END_TEST

START_TEST(buddy_aligns_to_the_next_power_of_two_and_spares_whole_blocks)
{
	void *index;

	ck_assert_int_eq(place_buddy.init(&index, SLICES), 0);
	place_buddy.insert(index, 3, 7);    /* has 4..7 whole */
	place_buddy.insert(index, 17, 7);   /* has 20..23 */
	place_buddy.insert(index, 64, 16);  /* whole, and longer */
	place_buddy.insert(index, 129, 30); /* longer still, of order 3 */
	ck_assert_uint_eq(first_of(&place_buddy, index, 3, 1), 4);
	ck_assert_uint_eq(first_of(&place_buddy, index, 5, 1), 136);
	ck_assert_uint_eq(first_of(&place_buddy, index, 9, 1), 64);
	/* No block of 32: a run that merely fits. */
	ck_assert_uint_eq(first_of(&place_buddy, index, 17, 1), 129);
	ck_assert_uint_eq(place_buddy.largest(index), 30);
	place_buddy.deinit(index);
}
END_TEST

START_TEST(buddy_leaves_the_tail_of_a_block_to_others)
{
	struct unit_sums sums = {0};
	struct window_place at = {.info = {.page_shift = 12, .size_shift = 22}};
	struct window *window;
	struct place place;

	ck_assert_int_eq(window_new(&window, at, &place_buddy, &sums), 0);
	ck_assert(window_find(window, 5, 1, &place));
	ck_assert_uint_eq(place.first, 0);
	window_take(window, place.run, place.first, 5);
	ck_assert(window_find(window, 2, 1, &place));
	ck_assert_uint_eq(place.first, 6);
	window_take(window, place.run, place.first, 2);
	ck_assert(window_find(window, 1, 1, &place));
	ck_assert_uint_eq(place.first, 5);
	window_take(window, place.run, place.first, 1);
	ck_assert(window_find(window, 1, 1, &place));
	ck_assert_uint_eq(place.first, 8);
	window_free(window);
}
END_TEST

START_TEST(tlsf_looks_in_the_class_of_the_request_before_it_takes_a_longer_run)
{
	void *index;

	ck_assert_int_eq(place_tlsf.init(&index, 4096), 0);
	place_tlsf.insert(index, 0, 1024);
	place_tlsf.insert(index, 2000, 131); /* 128 to 131 are one class */
	place_tlsf.insert(index, 2200, 128);
	ck_assert_uint_eq(first_of(&place_tlsf, index, 129, 1), 2000);
	ck_assert_uint_eq(first_of(&place_tlsf, index, 132, 1), 0);
	place_tlsf.remove(index, 0, 1024);
	/* More that will not do than it looks at first, inserted after the one that will. */
	for (uint32_t i = 0; i < 15; ++i)
		place_tlsf.insert(index, i * 130, 128 + (i & 1));
	ck_assert_uint_eq(first_of(&place_tlsf, index, 130, 1), 2000);
	place_tlsf.insert(index, 2400, 128);
	place_tlsf.insert(index, 2600, 128);
	ck_assert_uint_eq(first_of(&place_tlsf, index, 130, 1), 2000);
	place_tlsf.insert(index, 3000, 500);
	ck_assert_uint_eq(first_of(&place_tlsf, index, 130, 1), 3000);
	place_tlsf.deinit(index);
}
END_TEST

START_TEST(tlsf_takes_the_shortest_that_will_do_of_those_it_looks_at)
{
	void *index;

	ck_assert_int_eq(place_tlsf.init(&index, 4096), 0);
	place_tlsf.insert(index, 400, 130);
	place_tlsf.insert(index, 200, 130);
	place_tlsf.insert(index, 600, 128);
	place_tlsf.insert(index, 800, 131);
	place_tlsf.insert(index, 1000, 130);
	ck_assert_uint_eq(first_of(&place_tlsf, index, 129, 1), 200);
	ck_assert_uint_eq(first_of(&place_tlsf, index, 131, 1), 800);
	place_tlsf.deinit(index);
}
END_TEST

/* More runs than a policy tries, each long enough and none with an aligned place in it. */
START_TEST(policy_takes_a_run_that_must_do_after_many_that_do_not)
{
	enum { RUNS = 4 * PLACE_LOOKS, STRIDE = 64 };
	const struct placement *placement = placement_at((uint32_t)_i);
	struct place place;
	void *index;

	ck_assert_int_eq(placement->init(&index, (RUNS + 3) * STRIDE), 0);
	for (uint32_t i = 0; i < RUNS; ++i)
		placement->insert(index, i * STRIDE + 1, 30);
	ck_assert(!placement->find(index, 20, 32, &place));
	ck_assert_uint_eq(first_of(placement, index, 30, 1) % STRIDE, 1);
	/* However it lies, one of 20 + 32 - 1 will do. */
	placement->insert(index, (RUNS + 1) * STRIDE + 1, 51);
	ck_assert(placement->find(index, 20, 32, &place));
	ck_assert_uint_eq(place.first % 32, 0);
	placement->deinit(index);
}
END_TEST

START_TEST(firstfit_takes_the_lowest_address)
{
	void *index;

	ck_assert_int_eq(place_firstfit.init(&index, SLICES), 0);
	place_firstfit.insert(index, 200, 4);
	place_firstfit.insert(index, 300, 100);
	place_firstfit.insert(index, 10, 3);
	place_firstfit.insert(index, 100, 50);
	ck_assert_uint_eq(first_of(&place_firstfit, index, 3, 1), 10);
	ck_assert_uint_eq(first_of(&place_firstfit, index, 4, 1), 100);
	ck_assert_uint_eq(first_of(&place_firstfit, index, 40, 32), 320);
	ck_assert_uint_eq(first_of(&place_firstfit, index, 3, 4), 100);
	ck_assert_uint_eq(place_firstfit.largest(index), 100);
	place_firstfit.deinit(index);
}
END_TEST

/* A policy that lies: the window must not act on it. */
static struct place lie;
static bool lying_find(const void *index, uint32_t count, uint32_t align, struct place *ret)
{
	*ret = lie;
	return index && count && align;
}

START_TEST(window_refuses_a_choice_that_is_none)
{
	struct placement liar = place_bestfit;
	struct unit_sums sums = {0};
	struct window_place at = {.info = {.page_shift = 12, .size_shift = 22}};
	struct window *window;
	struct place place;

	liar.find = lying_find;
	ck_assert_int_eq(window_new(&window, at, &liar, &sums), 0);
	window_take(window, 0, 10, 10);
	lie = (struct place){0, 0};
	ck_assert(window_find(window, 10, 1, &place));
	ck_assert(!window_find(window, 11, 1, &place)); /* longer than the run */
	lie = (struct place){20, 21};
	ck_assert(!window_find(window, 2, 2, &place)); /* not aligned */
	lie = (struct place){21, 22};
	ck_assert(!window_find(window, 2, 2, &place)); /* not the start of a run */
	lie = (struct place){12, 12};
	ck_assert(!window_find(window, 2, 1, &place)); /* not free */
	lie = (struct place){20, 62};
	ck_assert(!window_find(window, 4, 1, &place)); /* over the end */
	lie = (struct place){20, 19};
	ck_assert(!window_find(window, 1, 1, &place)); /* before its run */
	lie = (struct place){64, 64};
	ck_assert(!window_find(window, 1, 1, &place)); /* outside */
	lie = (struct place){UINT32_MAX, UINT32_MAX};
	ck_assert(!window_find(window, 1, 1, &place));
	window_free(window);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("placement");
	TCase *tcase = tcase_create("placement");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, every_policy_is_found_by_name_and_number);
	tcase_add_loop_test(tcase, policy_agrees_with_a_map_of_bytes, 0, PLACEMENTS);
	tcase_add_loop_test(tcase,
			    policy_serves_each_size_up_to_the_whole_window_at_each_alignment, 0,
			    PLACEMENTS);
	tcase_add_loop_test(tcase, the_largest_window_is_one_run_until_it_is_cut, 0,
			    PLACEMENTS);
	tcase_add_test(tcase, bestfit_takes_the_shortest_run_and_of_equals_the_first);
	tcase_add_test(tcase, buddy_aligns_to_the_next_power_of_two_and_spares_whole_blocks);
	tcase_add_test(tcase,
		       tlsf_looks_in_the_class_of_the_request_before_it_takes_a_longer_run);
	tcase_add_test(tcase, tlsf_takes_the_shortest_that_will_do_of_those_it_looks_at);
	tcase_add_test(tcase, buddy_leaves_the_tail_of_a_block_to_others);
	tcase_add_loop_test(tcase, policy_takes_a_run_that_must_do_after_many_that_do_not, 0,
			    PLACEMENTS);
	tcase_add_test(tcase, firstfit_takes_the_lowest_address);
	tcase_add_test(tcase, window_refuses_a_choice_that_is_none);
	return world_run(suite);
}
