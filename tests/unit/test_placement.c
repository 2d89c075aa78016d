/*
 * One suite for every policy of the table: what a window asks of an index.
 */
#include "tests/unit/core_world.h"

#include "daemon/core/placement.h"
#include "daemon/core/window.h"

enum { SLICES = 512 };

/* A free map with its maximal runs, told to the index as a window would. */
struct map {
	const struct placement *placement;
	void *index;
	bool used[SLICES];
};

static uint32_t run_from(const struct map *map, uint32_t at)
{
	uint32_t n = 0;

	while (at + n < SLICES && !map->used[at + n])
		++n;
	return n;
}

static void retell(struct map *map, uint32_t first, uint32_t count, bool used)
{
	uint32_t from = first, end = first + count, n;

	while (from && !map->used[from - 1])
		--from;
	while (end < SLICES && !map->used[end])
		++end;
	for (uint32_t at = from; at < end; at += n ? n : 1) {
		n = run_from(map, at);
		if (n)
			map->placement->remove(map->index, at, n);
	}
	memset(map->used + first, used, count);
	for (uint32_t at = from; at < end; at += n ? n : 1) {
		n = run_from(map, at);
		if (n)
			map->placement->insert(map->index, at, n);
	}
}

static uint32_t longest(const struct map *map)
{
	uint32_t best = 0, n;

	for (uint32_t at = 0; at < SLICES; at += n ? n : 1) {
		n = run_from(map, at);
		best = n > best ? n : best;
	}
	return best;
}

/* By trying: is there any place? */
static bool fits(const struct map *map, uint32_t count, uint32_t align)
{
	for (uint32_t at = 0; at + count <= SLICES; at += align)
		if (run_from(map, at) >= count)
			return true;
	return false;
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

START_TEST(policy_finds_a_place_whenever_there_is_one)
{
	struct map map = {.placement = placement_at((uint32_t)_i)};
	uint32_t runs;

	ck_assert_int_eq(map.placement->init(&map.index, SLICES), 0);
	map.placement->insert(map.index, 0, SLICES);
	srandom(5);
	for (uint32_t step = 0; step < 30000; ++step) {
		uint32_t count = 1 + (uint32_t)random() % (random() % 4 ? 12 : 100);
		uint32_t align = (uint32_t)1 << (random() % 3 ? 0 : random() % 7);
		struct place place;
		const char *wrong;

		if (map.placement->find(map.index, count, align, &place)) {
			ck_assert_uint_eq(place.first % align, 0);
			ck_assert(!place.run || map.used[place.run - 1]);
			ck_assert(place.first >= place.run);
			ck_assert(place.first + count <= place.run + run_from(&map, place.run));
			retell(&map, place.first, count, true);
		} else {
			ck_assert(!fits(&map, count, align));
		}
		while (random() % 3) {
			uint32_t first = (uint32_t)random() % SLICES, n = 0;

			while (first + n < SLICES && map.used[first + n] && n < 40)
				++n;
			if (n)
				retell(&map, first, n, false);
		}
		wrong = map.placement->check(map.index, &runs);
		ck_assert_msg(!wrong, "%s", wrong);
		ck_assert_uint_eq(map.placement->largest(map.index), longest(&map));
	}
	map.placement->deinit(map.index);
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
	tcase_add_loop_test(tcase, policy_finds_a_place_whenever_there_is_one, 0, PLACEMENTS);
	tcase_add_test(tcase, bestfit_takes_the_shortest_run_and_of_equals_the_first);
	tcase_add_test(tcase, window_refuses_a_choice_that_is_none);
	return world_run(suite);
}
