/*
 * Caches of who has no lane, beside those who have: all is found, whole, and nothing that was
 * spoiled. With "off" as its argument the same without records in lanes; with "none", without lanes.
 */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <varbos/cache.h>

#include "proto/lane.h"
#include "proto/object.h"
#include "tests/integration/cached.h"
#include "tests/integration/joined.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)

static void open_cache(void)
{
	open_cache_of(8 * MIB);
}

/* The same cache, over a connection that has no lanes. */
static struct varbos_cache *open_apart(struct varbos **ret)
{
	struct varbos_space *of;
	struct varbos_cache *other;

	setenv("VARBOS_LANE", "none", 1);
	must(varbos_connect(ret, daemon_.socket));
	must(varbos_space_open(&of, *ret, "s", NULL));
	must(varbos_cache_open(&other, of, "c", NULL));
	unsetenv("VARBOS_LANE");
	return other;
}

START_TEST(who_has_no_lane_does_all_that_others_do)
{
	enum { MANY = 100 }; /* more than a thread with a lane may hold */
	struct varbos_view views[MANY], view;
	struct varbos_cursor cursor = {};
	struct varbos_key keys[MANY], key;
	struct varbos_cache *other;
	struct varbos *connection;
	char names[MANY][8];
	size_t found, walked = 0;

	must(put(cache, "present", "here"));
	other = open_apart(&connection);
	for (int i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "k%d", i);
		keys[i] = (struct varbos_key){names[i], strlen(names[i])};
		if (i % 3)
			must(put(i % 2 ? cache : other, names[i], names[i]));
	}
	must(varbos_cache_get_many(other, keys, MANY, views, &found));
	ck_assert_uint_eq(found, MANY - MANY / 3 - 1);
	ck_assert(exists(other, "k1", 2) && !exists(other, "k3", 2));
	must(varbos_cache_clear(cache));
	must(put(cache, "k1", "another"));
	for (int i = 0; i < MANY; i++) {
		ck_assert(i % 3 ? shows(&views[i], names[i]) : !views[i].data);
		varbos_view_release(&views[i]);
		varbos_view_release(&views[i]);
	}
	ck_assert(is(other, "k1", "another") && is_missing(other, "k2"));
	must(put(cache, "k2", "one more"));
	while (!varbos_cache_next(other, &cursor, &key, &view)) {
		ck_assert(shows(&view, memcmp(key.data, "k1", 2) ? "one more" : "another"));
		varbos_view_release(&view);
		walked++;
	}
	ck_assert_uint_eq(walked, 2);

	varbos_disconnect(connection);
}
END_TEST

START_TEST(who_has_no_lane_finds_nothing_that_was_spoiled)
{
	struct object_header *header;
	struct varbos_cache *other;
	struct varbos *connection;
	struct varbos_view view;
	uint64_t sizes;

	if (apart) /* where it is nobody says */
		return;
	other = open_apart(&connection);
	must(put(cache, "k1", "another"));
	must(get(cache, "k1", &view));
	header = (struct object_header *)((uintptr_t)view.data - 8 - sizeof(*header));
	sizes = header->sizes;
	header->sizes = object_sizes_pack(
		(struct object_sizes){.value = ((uint64_t)1 << 40) - 1, .key = 2});
	ck_assert(is_missing(other, "k1"));
	header->sizes = sizes;
	ck_assert(is(other, "k1", "another"));
	varbos_view_release(&view);
	varbos_disconnect(connection);
}
END_TEST

enum { LOUD = 40, LOUD_WORDS = 3000 };
static _Atomic bool is_enough;

static void *shout(void *unused)
{
	static uint64_t words[LOUD_WORDS];

	(void)unused;
	for (uint64_t turn = 1; !atomic_load(&is_enough); turn++) {
		uint64_t key = turn % LOUD;

		for (size_t i = 0; i < LOUD_WORDS; i++)
			words[i] = turn;
		must(varbos_cache_put_async(cache, &key, sizeof(key), words, sizeof(words),
					    NULL));
	}
	must(varbos_cache_flush(cache));
	return NULL;
}

/* All are there, always, while their memory is used again and again. */
START_TEST(who_has_no_lane_sees_whole_values_alone)
{
	struct varbos_cache *other;
	struct varbos *connection;
	struct varbos_view view;
	const uint64_t *words;
	pthread_t writer;
	bool whole;

	other = open_apart(&connection);
	for (uint64_t key = 0; key < LOUD; key++)
		must(varbos_cache_put(cache, &key, sizeof(key), "", 0, NULL));
	ck_assert_int_eq(pthread_create(&writer, NULL, shout, NULL), 0);
	for (uint64_t turn = 0; turn < 3000; turn++) {
		uint64_t key = turn % LOUD;

		must(varbos_cache_get(other, &key, sizeof(key), &view));
		words = view.data;
		whole = !view.size || words[0] % LOUD == key;
		for (size_t i = 0; i < view.size / sizeof(*words); i++)
			whole = whole && words[i] == words[0];
		ck_assert(whole);
		varbos_view_release(&view);
	}
	atomic_store(&is_enough, true);
	pthread_join(writer, NULL);
	varbos_disconnect(connection);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("cache apart");
	TCase *tcase = tcase_create("cache apart");

	lanes_by(argc, argv);
	tcase_add_checked_fixture(tcase, open_cache, close_cache);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, who_has_no_lane_does_all_that_others_do);
	tcase_add_test(tcase, who_has_no_lane_finds_nothing_that_was_spoiled);
	tcase_add_test(tcase, who_has_no_lane_sees_whole_values_alone);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
