/*
 * Walks through all of a cache by a cursor: what is there from the first step to the last is shown,
 * once, whatever becomes of the rest meanwhile. With "off" as its argument the same without records in
 * lanes; with "none", without lanes.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "client/cache.h"
#include "tests/integration/cached.h"
#include "tests/integration/joined.h"
#include "tests/integration/other.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)

enum {
	STEADY = 3000,
	PASSING = 30000,
	WALKS = 3, /* at least, through a storm */
	VIEWS = 31,
};

static void open_cache(void)
{
	open_cache_of(24 * MIB);
}

/* ---- words ---- */

static void refused_next(int r, enum varbos_code code, const char *which)
{
	refused(r, code, which);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "varbos_cache_next"));
}

/* The value of number n: its key is a letter and the number. */
struct item {
	char key[16];
	size_t key_size;
};

static struct item item(char letter, uint32_t n)
{
	struct item ret;

	ret.key_size = (size_t)snprintf(ret.key, sizeof(ret.key), "%c%u", letter, n);
	return ret;
}

static void put_item(char letter, uint32_t n, uint32_t mode)
{
	const struct varbos_put_options options = {.mode = mode, .flags = n & 0xff};
	const struct item of = item(letter, n);

	must(varbos_cache_put_async(cache, of.key, of.key_size, &n, sizeof(n), &options));
}

static void put_all(char letter, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		put_item(letter, i, VARBOS_PUT_ANY);
	must(varbos_cache_flush(cache));
}

static bool is_there(char letter, uint32_t n)
{
	const struct item of = item(letter, n);

	return !varbos_cache_exists(cache, of.key, of.key_size);
}

/* How often each one of a letter was shown. */
struct walk {
	struct varbos_cursor cursor;
	char letter;
	uint32_t n, *shown;
	uint64_t steps;
};

static struct walk walk_new(char letter, uint32_t n)
{
	struct walk walk = {.letter = letter, .n = n, .shown = calloc(n, sizeof(*walk.shown))};

	ck_assert_ptr_nonnull(walk.shown);
	return walk;
}

/* False: that was all. */
static bool walk_step(struct walk *walk)
{
	struct varbos_view view;
	struct varbos_key key;
	char text[32] = {};
	unsigned int n;
	uint32_t value;
	int r;

	r = varbos_cache_next(cache, &walk->cursor, &key, &view);
	if (r == VARBOS_E_NOT_FOUND)
		return false;
	must(r);
	walk->steps++;
	ck_assert_uint_lt(key.size, sizeof(text));
	memcpy(text, key.data, key.size);
	ck_assert_int_eq(sscanf(text + 1, "%u", &n), 1);
	ck_assert_uint_eq(view.size, sizeof(value));
	memcpy(&value, view.data, sizeof(value));
	ck_assert_uint_eq(value, n);
	ck_assert_uint_eq(view.flags, n & 0xff);
	ck_assert_uint_ne(view.generation, 0);
	varbos_view_release(&view);
	if (text[0] == walk->letter) {
		ck_assert_uint_lt(n, walk->n);
		walk->shown[n]++;
	}
	return true;
}

/* Each that is there now was there all the time: it was shown, once. How many were shown twice. */
static uint32_t walk_end(struct walk *walk, uint32_t most)
{
	uint32_t again = 0, there = 0;

	while (walk_step(walk))
		;
	for (uint32_t i = 0; i < walk->n; i++) {
		bool is = is_there(walk->letter, i);

		there += is;
		ck_assert_msg(walk->shown[i] || !is, "%c%u is there, and not shown",
			      walk->letter, i);
		ck_assert_msg(walk->shown[i] <= most, "%c%u was shown %u times", walk->letter,
			      i, walk->shown[i]);
		again += walk->shown[i] > 1;
	}
	ck_assert_uint_ge(there, walk->n / 2); /* else this has shown little */
	free(walk->shown);
	return again;
}

/* ---- walks ---- */

START_TEST(every_value_is_shown_once)
{
	struct walk walk = walk_new('s', STEADY);
	struct varbos_cursor nothing = {};
	struct varbos_view view;
	struct varbos_key key;

	refused_next(varbos_cache_next(cache, &nothing, &key, &view), VARBOS_E_NOT_FOUND, NULL);
	put_all('s', STEADY);
	refused_next(varbos_cache_next(cache, &nothing, &key, &view), VARBOS_E_NOT_FOUND, NULL);
	walk_end(&walk, 1);
	ck_assert_uint_eq(walk.steps, STEADY);
}
END_TEST

struct storm {
	pthread_t thread;
	_Atomic uint32_t walks; /* that have ended */
	_Atomic bool over;
};

/* Replaces the steady ones, lets others come and go, and has the index grow. */
static void *storm_run(void *data)
{
	struct storm *storm = data;

	for (uint32_t n = 0; n < PASSING || atomic_load(&storm->walks) < WALKS; n++) {
		const uint32_t i = n % PASSING;
		const struct item old = item('p', i / 2);

		put_item('p', i, VARBOS_PUT_ANY);
		if (i % 3 == 0)
			put_item('s', i / 3 % STEADY, VARBOS_PUT_REPLACE);
		if (i % 16 == 0)
			varbos_cache_del(cache, old.key, old.key_size);
		if (i % 1000 == 0)
			varbos_cache_flush(cache); /* a steady one may have gone meanwhile */
	}
	varbos_cache_flush(cache);
	atomic_store(&storm->over, true);
	return NULL;
}

START_TEST(what_stays_is_shown_once_while_all_else_changes)
{
	struct storm storm = {};
	bool over;

	put_all('s', STEADY);
	ck_assert_int_eq(pthread_create(&storm.thread, NULL, storm_run, &storm), 0);
	do {
		struct walk walk = walk_new('s', STEADY);

		over = atomic_load(&storm.over);
		walk_end(&walk, 1);
		atomic_fetch_add(&storm.walks, 1);
	} while (!over);
	ck_assert_int_eq(pthread_join(storm.thread, NULL), 0);
}
END_TEST

START_TEST(a_walk_needs_no_daemon)
{
	struct walk walk = walk_new('s', STEADY);

	put_all('s', STEADY);
	for (uint32_t i = 0; i < STEADY; i++)
		ck_assert(is_there('s', i)); /* all is mapped */
	kill(daemon_.pid, SIGSTOP);
	walk_end(&walk, 1);
	kill(daemon_.pid, SIGCONT);
}
END_TEST

static struct cache_index *last_index(void)
{
	struct cache_index *index = atomic_load(&cache->index), *next;

	while ((next = atomic_load(&index->next)))
		index = next;
	return index;
}

/* Keys that crowd in one group of the index, until its keys are mixed anew. */
static void flood(void)
{
	const uint64_t seed = last_index()->view.seed;
	uint64_t group = 0, found = 0;

	for (uint32_t i = 0; last_index()->view.seed == seed; i++) {
		const struct index_view *view = &last_index()->view;
		const struct item of = item('f', i);
		uint64_t hash = cache_hash(cache, of.key, of.key_size);

		ck_assert_uint_lt(i, 100000000);
		if (index_mix(hash, seed, view->n_buckets).bucket / INDEX_GROUP != group)
			continue;
		put_item('f', i, VARBOS_PUT_ANY);
		if (++found > INDEX_ENTRIES * (INDEX_GROUP + INDEX_CHAIN_MAX) / 2)
			must(varbos_cache_flush(cache));
		for (uint32_t k = 0; k < STEADY; k += 8)
			is_there('s', k); /* has the next index mapped */
	}
}

START_TEST(what_is_mixed_anew_is_shown_all_the_same)
{
	struct walk walk = walk_new('s', STEADY), twice = walk_new('s', STEADY);
	uint32_t again;

	put_all('s', STEADY);
	for (uint32_t i = 0; i < STEADY / 2; i++)
		ck_assert(walk_step(&walk));
	for (uint32_t i = 0; i < STEADY / 3; i++)
		ck_assert(walk_step(&twice));
	flood();
	again = walk_end(&walk, 2);
	ck_assert_uint_lt(again, STEADY / 2);
	for (uint32_t i = 0; i < STEADY / 3; i++)
		ck_assert(walk_step(&twice));
	flood();
	walk_end(&twice, 3);
}
END_TEST

START_TEST(values_of_before_a_clear_are_not_shown_behind_it)
{
	struct walk walk = walk_new('t', STEADY);

	put_all('s', STEADY);
	for (uint32_t i = 0; i < 10; i++)
		ck_assert(walk_step(&walk));
	must(varbos_cache_clear(cache));
	ck_assert(!walk_step(&walk));
	ck_assert(!walk_step(&walk));
	free(walk.shown);
}
END_TEST

START_TEST(what_is_over_is_not_shown)
{
	const struct varbos_put_options options = {.ttl_ms = 1};
	struct varbos_cursor cursor = {};
	struct varbos_view view;
	struct varbos_key key;

	must(varbos_cache_put(cache, "short", 5, "x", 1, &options));
	must(varbos_cache_put(cache, "long", 4, "", 0, NULL));
	for (uint32_t i = 0; i < 3; i++)
		nap();
	must(varbos_cache_next(cache, &cursor, &key, &view));
	ck_assert(key.size == 4 && !memcmp(key.data, "long", 4) && !view.size);
	ck_assert_uint_eq(varbos_view_expires_in_ms(&view), UINT64_MAX);
	varbos_view_release(&view);
	refused_next(varbos_cache_next(cache, &cursor, &key, &view), VARBOS_E_NOT_FOUND, NULL);
}
END_TEST

static struct lane *own_lane(void)
{
	struct lane *lane;

	ck_assert(lane_to_read(atomic_load(&cache->number), &lane));
	return lane;
}

START_TEST(a_walk_is_no_access_and_counts_nothing)
{
	struct walk walk = walk_new('s', 100);
	struct lane before, *lane;

	put_all('s', 100);
	lane = own_lane();
	if (!lane)
		ck_abort_msg("this thread has put, and has no lane");
	before = *lane;
	while (walk_step(&walk))
		;
	ck_assert_uint_eq(walk.steps, 100);
	ck_assert_uint_eq(atomic_load(&lane->noted), before.noted);
	for (int i = 0; i < LANE_COUNTS; i++) {
		ck_assert_uint_eq(atomic_load(&lane->counts[i].hits), before.counts[i].hits);
		ck_assert_uint_eq(atomic_load(&lane->counts[i].misses),
				  before.counts[i].misses);
	}
	ck_assert_uint_eq(atomic_load(&lane->head), before.head);
	free(walk.shown);
}
END_TEST

START_TEST(who_is_shown_again_and_again_goes_as_soon_as_others)
{
	const struct varbos_cache_options options = {.capacity = 64 << 10, .policy = "lru"};
	struct varbos_cache *small;
	struct varbos_view view;
	struct varbos_key key;
	char value[1024] = "";
	int shown = 0;

	must(varbos_cache_open(&small, space, "small", &options));
	must(varbos_cache_put(small, "eldest", 6, value, sizeof(value), NULL));
	for (int i = 0; i < 100; i++) {
		struct varbos_cursor cursor = {};

		while (!varbos_cache_next(small, &cursor, &key, &view)) {
			shown += key.size == 6;
			varbos_view_release(&view);
		}
		must(varbos_cache_put(small, &i, sizeof(i), value, sizeof(value), NULL));
	}
	ck_assert_int_gt(shown, 0);
	ck_assert_int_eq(varbos_cache_exists(small, "eldest", 6), VARBOS_E_NOT_FOUND);
	varbos_cache_close(small);
}
END_TEST

START_TEST(views_of_a_walk_are_held_and_counted_as_others)
{
	struct varbos_view views[VIEWS], none;
	struct varbos_cursor cursor = {}, kept;
	struct varbos_key keys[VIEWS], key;
	uint32_t n;

	put_all('s', 100);
	for (uint32_t i = 0; i < VIEWS; i++)
		must(varbos_cache_next(cache, &cursor, &keys[i], &views[i]));
	kept = cursor;
	if (!apart) { /* there its views are its own */
		refused_next(varbos_cache_next(cache, &cursor, &key, &none), VARBOS_E_PINS,
			     "views");
		ck_assert_int_eq(memcmp(&kept, &cursor, sizeof(kept)), 0);
	}
	must(varbos_cache_clear(cache));
	put_all('t', 1000);
	for (uint32_t i = 0; i < VIEWS; i++) {
		ck_assert_int_eq(*(const char *)keys[i].data, 's');
		memcpy(&n, views[i].data, sizeof(n));
		ck_assert_int_eq(strtol((const char *)keys[i].data + 1, NULL, 10) % 256,
				 n % 256);
		varbos_view_release(&views[i]);
	}
	refused_next(varbos_cache_next(cache, NULL, &key, &none), VARBOS_E_INVALID, "cursor");
	refused_next(varbos_cache_next(cache, &cursor, NULL, &none), VARBOS_E_INVALID,
		     "ret_key");
	refused_next(varbos_cache_next(cache, &cursor, &key, NULL), VARBOS_E_INVALID, "ret");
	refused_next(varbos_cache_next(NULL, &cursor, &key, &none), VARBOS_E_INVALID, "cache");
}
END_TEST

/* ---- others ---- */

static struct varbos_cursor inherited;
static uint64_t inherited_left;

static void go_on_elsewhere(struct other *other)
{
	struct varbos_cache *same;
	struct varbos_view view;
	struct varbos_key key;
	uint64_t n = 0;
	int r;

	OTHER_EXPECT(!varbos_cache_open(&same, other->space, "c", NULL));
	while (!(r = varbos_cache_next(same, &inherited, &key, &view))) {
		varbos_view_release(&view);
		n++;
	}
	OTHER_EXPECT(r == VARBOS_E_NOT_FOUND);
	OTHER_EXPECT(n == inherited_left);
	varbos_cache_close(same);
}

START_TEST(a_reader_in_another_process_goes_on_with_a_cursor)
{
	struct walk walk = walk_new('s', STEADY);
	struct other other;

	put_all('s', STEADY);
	for (uint32_t i = 0; i < 1000; i++)
		ck_assert(walk_step(&walk));
	inherited = walk.cursor;
	inherited_left = STEADY - 1000;
	other_start(&other, daemon_.socket, "s", VARBOS_SPACE_READ_ONLY, go_on_elsewhere);
	other_end(&other);
	free(walk.shown);
}
END_TEST

/* Whatever a program makes of its memory, a walk ends. */
START_TEST(a_cursor_of_any_bytes_ends)
{
	struct varbos_cursor cursor;
	struct varbos_view view;
	struct varbos_key key;
	int r;

	put_all('s', 1000);
	for (uint32_t seed = 1; seed <= 64; seed++) {
		uint32_t steps = 0;

		for (size_t i = 0; i < ARRAY_SIZE(cursor.reserved); i++)
			cursor.reserved[i] = (seed * 8 + i) * 0x9e3779b97f4a7c15;
		while (!(r = varbos_cache_next(cache, &cursor, &key, &view))) {
			varbos_view_release(&view);
			ck_assert_uint_le(++steps, 2000);
		}
		ck_assert_int_eq(r, VARBOS_E_NOT_FOUND);
	}
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("cache_walk");
	TCase *tcase = tcase_create("walks");

	lanes_by(argc, argv);
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, open_cache, close_cache);
	tcase_add_test(tcase, every_value_is_shown_once);
	tcase_add_test(tcase, what_stays_is_shown_once_while_all_else_changes);
	tcase_add_test(tcase, a_walk_needs_no_daemon);
	tcase_add_test(tcase, what_is_mixed_anew_is_shown_all_the_same);
	tcase_add_test(tcase, values_of_before_a_clear_are_not_shown_behind_it);
	tcase_add_test(tcase, what_is_over_is_not_shown);
	if (!apart)
		tcase_add_test(tcase, a_walk_is_no_access_and_counts_nothing);
	tcase_add_test(tcase, who_is_shown_again_and_again_goes_as_soon_as_others);
	tcase_add_test(tcase, views_of_a_walk_are_held_and_counted_as_others);
	tcase_add_test(tcase, a_reader_in_another_process_goes_on_with_a_cursor);
	tcase_add_test(tcase, a_cursor_of_any_bytes_ends);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
