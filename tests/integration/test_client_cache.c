/*
 * Caches as a program has them: what is put is found until it goes; and what a view shows stays.
 * With "off" as its argument the same without records in lanes; with "none", without lanes.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "proto/lane.h"
#include "proto/layout.h"
#include "proto/object.h"
#include "tests/integration/cached.h"
#include "tests/integration/joined.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum {
	PATIENCE = 1000, /* times 10 ms */
	ROUNDS = 18,     /* more than a writer asks by calls before it asks by a record again */
	VIEWS = 31,      /* that a thread may hold, by default */
};

static void open_cache(void)
{
	open_cache_of(8 * MIB);
}

/* ---- one key ---- */

START_TEST(what_is_put_is_found_and_tells_about_itself)
{
	const struct varbos_put_options options = {.flags = 0xa5, .ttl_ms = 1000000};
	struct varbos_view view;

	ck_assert(is_missing(cache, "k"));
	ck_assert_int_eq(varbos_error()->code, VARBOS_E_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "varbos_cache_get"));
	must(varbos_cache_put(cache, "k", 1, "value", 5, &options));
	must(get(cache, "k", &view));
	ck_assert(shows(&view, "value"));
	ck_assert_uint_eq(view.flags, 0xa5);
	ck_assert_uint_ne(view.generation, 0);
	ck_assert_uint_lt(varbos_view_age_ms(&view), 600000);
	ck_assert_uint_gt(varbos_view_expires_in_ms(&view), 100000);
	ck_assert_uint_le(varbos_view_expires_in_ms(&view), 1000000);
	ck_assert_uint_eq((uintptr_t)view.data % 8, 0);
	varbos_view_release(&view);
	ck_assert_ptr_null(view.data);
	ck_assert_uint_eq(varbos_view_age_ms(&view) + varbos_view_expires_in_ms(NULL), 0);
	varbos_view_release(&view);
	varbos_view_release(NULL);
	must(put(cache, "forever", ""));
	must(get(cache, "forever", &view));
	ck_assert_uint_eq(view.size, 0);
	ck_assert_uint_eq(varbos_view_expires_in_ms(&view), UINT64_MAX);
	varbos_view_release(&view);
}
END_TEST

START_TEST(keys_and_values_of_all_sizes_come_back_as_they_were)
{
	static const size_t sizes[] = {0,         1,         7,         8,
				       63,        1000,      1023,      1024,
				       1025,      64 * KIB,  255 * KIB, 256 * KIB - 64,
				       256 * KIB, 300 * KIB, MIB + 1,   3 * MIB};
	static const size_t keys[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 240, 241, 1000, 4096};
	char *value = malloc(3 * MIB), key[4096];
	struct varbos_view view;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t size = keys[i % ARRAY_SIZE(keys)];

		memset(key, (int)('a' + i), size);
		fill(value, sizes[i], i);
		must(varbos_cache_put(cache, key, size, value, sizes[i], NULL));
		must(varbos_cache_get(cache, key, size, &view));
		ck_assert_uint_eq(view.size, sizes[i]);
		ck_assert(is_filled(view.data, view.size, i));
		ck_assert_uint_eq((uintptr_t)view.data % (sizes[i] < 1024 ? 8 : 64), 0);
		varbos_view_release(&view);
	}
	free(value);
}
END_TEST

START_TEST(a_view_shows_what_it_showed_when_its_value_is_replaced_and_deleted)
{
	struct varbos_view before, after;

	must(put(cache, "k", "one"));
	must(get(cache, "k", &before));
	must(put(cache, "k", "another"));
	must(get(cache, "k", &after));
	ck_assert(shows(&before, "one"));
	ck_assert(shows(&after, "another"));
	ck_assert_uint_ne(before.generation, after.generation);
	must(varbos_cache_del(cache, "k", 1));
	ck_assert(is_missing(cache, "k"));
	/* Much is put, and goes: none of it comes where a view looks. */
	for (int i = 0; i < 400; i++) {
		char value[64 * KIB];

		fill(value, sizeof(value), (uint64_t)i);
		must(varbos_cache_put(cache, &i, sizeof(i), value, sizeof(value), NULL));
	}
	ck_assert(shows(&before, "one"));
	ck_assert(shows(&after, "another"));
	varbos_view_release(&before);
	varbos_view_release(&after);
}
END_TEST

START_TEST(deleting_takes_a_key_away_once)
{
	must(put(cache, "k", "v"));
	ck_assert(exists(cache, "k", 1));
	must(varbos_cache_del(cache, "k", 1));
	ck_assert(!exists(cache, "k", 1));
	ck_assert_int_eq(varbos_error()->code, VARBOS_E_NOT_FOUND);
	refused(varbos_cache_del(cache, "k", 1), VARBOS_E_NOT_FOUND, "key");
}
END_TEST

START_TEST(adding_needs_an_absent_key_and_replacing_the_right_generation)
{
	struct varbos_put_options add = {.mode = VARBOS_PUT_ADD},
				  replace = {.mode = VARBOS_PUT_REPLACE};
	struct varbos_view view;

	refused(varbos_cache_put(cache, "k", 1, "x", 1, &replace), VARBOS_E_NOT_FOUND, "key");
	must(varbos_cache_put(cache, "k", 1, "one", 3, &add));
	refused(varbos_cache_put(cache, "k", 1, "x", 1, &add), VARBOS_E_EXISTS, "key");
	ck_assert(is(cache, "k", "one"));
	must(get(cache, "k", &view));
	replace.generation = view.generation;
	varbos_view_release(&view);
	must(varbos_cache_put(cache, "k", 1, "two", 3, &replace));
	refused(varbos_cache_put(cache, "k", 1, "three", 5, &replace), VARBOS_E_CHANGED,
		"generation");
	ck_assert(is(cache, "k", "two"));
	replace.generation = 0;
	must(varbos_cache_put(cache, "k", 1, "four", 4, &replace));
	ck_assert(is(cache, "k", "four"));
}
END_TEST

START_TEST(values_expire_by_their_own_time_the_caches_or_not_at_all)
{
	const struct varbos_cache_options options = {.ttl_ms = 30, .capacity = MIB};
	const struct varbos_put_options never = {.ttl_ms = UINT64_MAX},
					late = {.ttl_ms = 60000};
	struct varbos_cache *brief;
	struct varbos_view view;
	bool gone = false;

	must(varbos_cache_open(&brief, space, "brief", &options));
	must(put(brief, "its", "v"));
	must(varbos_cache_put(brief, "never", 5, "v", 1, &never));
	must(varbos_cache_put(brief, "late", 4, "v", 1, &late));
	for (int i = 0; i < PATIENCE && !gone; i++) {
		gone = is_missing(brief, "its");
		nap();
	}
	ck_assert(gone);
	ck_assert(is(brief, "never", "v"));
	ck_assert(is(brief, "late", "v"));
	/* Another time, from now on. */
	must(varbos_cache_expire(brief, "never", 5, 50000));
	must(get(brief, "never", &view));
	ck_assert_uint_le(varbos_view_expires_in_ms(&view), 50000);
	ck_assert_uint_gt(varbos_view_expires_in_ms(&view), 10000);
	varbos_view_release(&view);
	must(varbos_cache_expire(brief, "late", 4, UINT64_MAX));
	must(get(brief, "late", &view));
	ck_assert_uint_eq(varbos_view_expires_in_ms(&view), UINT64_MAX);
	varbos_view_release(&view);
	must(varbos_cache_expire(brief, "late", 4, 0));
	ck_assert(is_missing(brief, "late"));
	refused(varbos_cache_expire(brief, "late", 4, 1000), VARBOS_E_NOT_FOUND, "key");
	varbos_cache_close(brief);
}
END_TEST

static void set_ttl(uint64_t ttl_ms)
{
	const struct wire_cache_change change = {
		.name = wire_str("c"), .set = CACHE_SET_TTL, .ttl_ms = ttl_ms};
	static struct peer peer;
	struct wire_cache_change of = change;

	peer_open(&peer, daemon_.socket);
	of.space = peer_open_space(&peer, "s");
	ck_assert(peer_call(&peer, WIRE_CACHE_CHANGE, &of));
	peer_close(&peer);
}

static uint64_t expires_in_ms(const char *key)
{
	struct varbos_view view;
	uint64_t ms;

	must(get(cache, key, &view));
	ms = varbos_view_expires_in_ms(&view);
	varbos_view_release(&view);
	return ms;
}

/* Nobody has to open it anew, nor is the daemon asked for each put: also where the index is another. */
START_TEST(another_time_to_live_counts_for_whoever_has_the_cache_open)
{
	must(put(cache, "for ever", "v"));
	set_ttl(600000);
	must(put(cache, "k", "v"));
	ck_assert_uint_le(expires_in_ms("k"), 600000);
	ck_assert_uint_gt(expires_in_ms("k"), 300000);
	ck_assert_uint_eq(expires_in_ms("for ever"), UINT64_MAX);
	/* Who only puts finds the index, its clock and its time to live, too. */
	for (uint32_t i = 0; i < 50000; i++)
		must(varbos_cache_put_async(cache, &i, sizeof(i), "", 0, NULL));
	must(varbos_cache_flush(cache));
	set_ttl(60000);
	must(put(cache, "k", "v"));
	ck_assert_uint_le(expires_in_ms("k"), 60000);
	set_ttl(900000);
	must(varbos_cache_touch(cache, "k", 1));
	ck_assert_uint_gt(expires_in_ms("k"), 800000);
	set_ttl(0);
	must(put(cache, "k", "v"));
	ck_assert_uint_eq(expires_in_ms("k"), UINT64_MAX);
}
END_TEST

START_TEST(touching_lets_the_time_of_what_expires_begin_anew)
{
	const struct varbos_cache_options options = {.ttl_ms = 100000, .capacity = MIB};
	const struct varbos_put_options brief = {.ttl_ms = 20000},
					never = {.ttl_ms = UINT64_MAX};
	struct varbos_cache *timed;
	struct varbos_view view;

	must(varbos_cache_open(&timed, space, "timed", &options));
	must(varbos_cache_put(timed, "brief", 5, "v", 1, &brief));
	must(varbos_cache_touch(timed, "brief", 5));
	must(get(timed, "brief", &view));
	ck_assert_uint_gt(varbos_view_expires_in_ms(&view), 20000);
	varbos_view_release(&view);
	must(varbos_cache_put(timed, "never", 5, "v", 1, &never));
	must(varbos_cache_touch(timed, "never", 5));
	must(get(timed, "never", &view));
	ck_assert_uint_eq(varbos_view_expires_in_ms(&view), UINT64_MAX);
	varbos_view_release(&view);
	refused(varbos_cache_touch(timed, "absent", 6), VARBOS_E_NOT_FOUND, "key");
	varbos_cache_close(timed);
}
END_TEST

/* ---- many ---- */

START_TEST(many_are_looked_up_at_once)
{
	struct varbos_view views[VIEWS + 1];
	struct varbos_key keys[VIEWS + 1];
	char names[VIEWS + 1][8];
	size_t found;

	for (int i = 0; i <= VIEWS; i++) {
		snprintf(names[i], sizeof(names[i]), "k%d", i);
		keys[i] = (struct varbos_key){names[i], strlen(names[i])};
		if (i % 3)
			must(put(cache, names[i], names[i]));
	}
	must(varbos_cache_get_many(cache, keys, 16, views, &found));
	ck_assert_uint_eq(found, 10);
	for (int i = 0; i < 16; i++) {
		ck_assert(i % 3 ? shows(&views[i], names[i]) : !views[i].data);
		varbos_view_release(&views[i]);
	}
	must(varbos_cache_get_many(cache, NULL, 0, NULL, NULL));
	must(varbos_cache_put(cache, "nothing", 7, NULL, 0, NULL));
	refused(varbos_cache_get_many(cache, NULL, 1, views, NULL), VARBOS_E_INVALID, "keys");
	refused(varbos_cache_get_many(cache, keys, 1, NULL, NULL), VARBOS_E_INVALID, "views");
	keys[1].size = 0;
	refused(varbos_cache_get_many(cache, keys, 2, views, NULL), VARBOS_E_INVALID,
		"key_size");
	keys[1].size = 2;
	if (apart) /* its views are its own */
		return;
	refused(varbos_cache_get_many(cache, keys, VIEWS + 1, views, &found), VARBOS_E_PINS,
		"views");
	ck_assert_uint_eq(varbos_error()->requested, VIEWS + 1);
	ck_assert_uint_eq(varbos_error()->remaining, VIEWS);
	must(varbos_cache_get_many(cache, keys, VIEWS, views, &found));
	for (int i = 0; i < VIEWS; i++)
		varbos_view_release(&views[i]);
}
END_TEST

START_TEST(a_thread_holds_so_many_views_and_copies_all_the_same)
{
	struct varbos_view views[VIEWS], one;
	char copy[8] = "";
	size_t size;

	if (apart)
		return;
	must(put(cache, "k", "value"));
	for (int i = 0; i < VIEWS; i++)
		must(get(cache, "k", &views[i]));
	refused(get(cache, "k", &one), VARBOS_E_PINS, "views");
	ck_assert_uint_eq(varbos_error()->max, VIEWS);
	must(varbos_cache_copy_out(cache, "k", 1, copy, sizeof(copy), &size));
	ck_assert_uint_eq(size, 5);
	ck_assert_str_eq(copy, "value");
	must(varbos_cache_copy_out(cache, "k", 1, copy, 2, &size));
	ck_assert_uint_eq(size, 5);
	must(varbos_cache_copy_out(cache, "k", 1, NULL, 0, NULL));
	ck_assert_int_eq(varbos_cache_copy_out(cache, "absent", 6, copy, 2, &size),
			 VARBOS_E_NOT_FOUND);
	ck_assert(exists(cache, "k", 1));
	varbos_view_release(&views[7]);
	must(get(cache, "k", &views[7]));
	for (int i = 0; i < VIEWS; i++)
		varbos_view_release(&views[i]);
}
END_TEST

START_TEST(what_is_put_without_waiting_is_seen_after_a_flush)
{
	enum { N = 3000 };
	struct varbos_put_options add = {.mode = VARBOS_PUT_ADD};
	char value[100];

	for (uint64_t i = 0; i < N; i++) {
		fill(value, sizeof(value), i);
		must(varbos_cache_put_async(cache, &i, sizeof(i), value, sizeof(value), NULL));
	}
	must(varbos_cache_flush(cache));
	for (uint64_t i = 0; i < N; i++) {
		struct varbos_view view;

		must(varbos_cache_get(cache, &i, sizeof(i), &view));
		ck_assert(view.size == sizeof(value) && is_filled(view.data, view.size, i));
		varbos_view_release(&view);
	}
	/* The first failure is told, once; what came later went its way. */
	must(varbos_cache_put_async(cache, "k", 1, "v", 1, NULL));
	must(varbos_cache_put_async(cache, "k", 1, "w", 1, &add));
	add.mode = VARBOS_PUT_REPLACE;
	must(varbos_cache_put_async(cache, "absent", 6, "w", 1, &add));
	must(varbos_cache_put_async(cache, "l", 1, "v", 1, NULL));
	refused(varbos_cache_flush(cache), VARBOS_E_EXISTS, "key");
	must(varbos_cache_flush(cache));
	ck_assert(is(cache, "k", "v"));
	ck_assert(is(cache, "l", "v"));
	ck_assert(is_missing(cache, "absent"));
}
END_TEST

START_TEST(clearing_takes_all_away)
{
	for (int i = 0; i < 1000; i++)
		must(varbos_cache_put_async(cache, &i, sizeof(i), "value", 5, NULL));
	must(varbos_cache_clear(cache));
	for (int i = 0; i < 1000; i++)
		ck_assert(!exists(cache, &i, sizeof(i)));
	must(put(cache, "k", "v"));
	ck_assert(is(cache, "k", "v"));
}
END_TEST

START_TEST(at_capacity_others_go_and_what_is_there_is_right)
{
	enum { N = 20000 };
	char value[1000];
	size_t there = 0;

	for (uint64_t i = 0; i < N; i++) {
		fill(value, sizeof(value), i);
		must(varbos_cache_put_async(cache, &i, sizeof(i), value, sizeof(value), NULL));
	}
	must(varbos_cache_flush(cache));
	for (uint64_t i = 0; i < N; i++) {
		struct varbos_view view;

		if (varbos_cache_get(cache, &i, sizeof(i), &view))
			continue;
		ck_assert(view.size == sizeof(value) && is_filled(view.data, view.size, i));
		varbos_view_release(&view);
		there++;
	}
	ck_assert_uint_le(there * 1032, 8 * MIB);
	ck_assert_uint_ge(there * 1032, 6 * MIB);
}
END_TEST

/* ---- in place ---- */

START_TEST(peeking_is_no_access)
{
	const struct varbos_cache_options options = {.capacity = 64 * KIB, .policy = "lru"};
	struct varbos_cache *small;
	struct varbos_view view;
	char value[KIB] = {0}, name[16];

	must(varbos_cache_open(&small, space, "small", &options));
	must(put(small, "got", "1"));
	must(put(small, "peeked", "1"));
	for (int i = 0; i < 100; i++) {
		int r = varbos_cache_peek(small, "peeked", 6, &view);

		if (!r)
			ck_assert(shows(&view, "1"));
		varbos_view_release(&view);
		ck_assert(is(small, "got", "1"));
		snprintf(name, sizeof(name), "%d", i);
		must(varbos_cache_put(small, name, strlen(name), value, sizeof(value), NULL));
	}
	refused(varbos_cache_peek(small, "peeked", 6, &view), VARBOS_E_NOT_FOUND, NULL);
	ck_assert(is(small, "got", "1"));
	refused(varbos_cache_peek(small, "got", 0, &view), VARBOS_E_INVALID, "key_size");
	varbos_cache_close(small);
}
END_TEST

START_TEST(a_value_is_built_in_place_and_seen_once_it_is_committed)
{
	struct varbos_reservation reservation;

	must(varbos_cache_reserve(cache, "k", 1, 100, NULL, &reservation));
	ck_assert_uint_eq(reservation.size, 100);
	memcpy(reservation.data, "built", 5);
	ck_assert(is_missing(cache, "k"));
	must(varbos_cache_commit(&reservation, 5));
	ck_assert(is(cache, "k", "built"));
	refused(varbos_cache_commit(&reservation, 0), VARBOS_E_INVALID, "reservation");
	varbos_cache_abort(&reservation);
	varbos_cache_abort(NULL);
	must(varbos_cache_reserve(cache, "k", 1, 10, NULL, &reservation));
	refused(varbos_cache_commit(&reservation, 11), VARBOS_E_INVALID, "size");
	varbos_cache_abort(&reservation);
	ck_assert(is(cache, "k", "built"));
}
END_TEST

START_TEST(reservations_stand_beside_each_other_and_puts_go_on_between)
{
	enum { N = 6 };
	static const size_t sizes[N] = {5000, 40, 1500, 300 * KIB, 0, 900};
	static const size_t used_of[N] = {900, 40, 1023, 299 * KIB, 0, 0};
	struct varbos_reservation reservations[N];
	struct varbos_view view;

	for (int i = 0; i < N; i++) {
		must(varbos_cache_reserve(cache, &i, sizeof(i), sizes[i], NULL,
					  &reservations[i]));
		fill(reservations[i].data, sizes[i], (uint64_t)i);
		for (int j = 0; j < 200; j++)
			must(varbos_cache_put(cache, "between", 7, "value", 5, NULL));
	}
	for (int i = N - 1; i >= 0; i--)
		if (i == N - 1)
			varbos_cache_abort(&reservations[i]);
		else
			must(varbos_cache_commit(&reservations[i], used_of[i]));
	for (int i = 0; i < N - 1; i++) {
		must(varbos_cache_get(cache, &i, sizeof(i), &view));
		ck_assert_uint_eq(view.size, used_of[i]);
		ck_assert(is_filled(view.data, view.size, (uint64_t)i));
		varbos_view_release(&view);
	}
	ck_assert(!exists(cache, &(int){N - 1}, sizeof(int)));
	ck_assert(is(cache, "between", "value"));
}
END_TEST

/* ---- what is refused ---- */

/* What a writer of the space may do to an object that others read. */
START_TEST(an_object_that_was_spoiled_is_not_found)
{
	const char *key =
		_i ? "some key" : "key"; /* those of 8 to 16 bytes go a way of their own */
	struct object_header *header;
	struct varbos_view view, views[LANE_HAZARDS - 1];
	uint64_t sizes;

	if (apart) /* where it is nobody says */
		return;
	must(put(cache, key, "value"));
	must(get(cache, key, &view));
	header = (struct object_header *)((uintptr_t)view.data - 8 - sizeof(*header));
	sizes = header->sizes;
	varbos_view_release(&view);
	header->sizes = object_sizes_pack((struct object_sizes){
		.value = ((uint64_t)1 << 40) - 1, .key = (uint32_t)strlen(key)});
	ck_assert(is_missing(cache, key));
	header->sizes = object_sizes_pack((struct object_sizes){.value = 5, .key = 8191});
	ck_assert(is_missing(cache, key));
	header->sizes = sizes;
	/* What was not found keeps nothing pinned: the thread may hold as many views as ever. */
	for (size_t n = 0; n < ARRAY_SIZE(views); n++)
		must(get(cache, key, &views[n]));
	for (size_t n = 0; n < ARRAY_SIZE(views); n++)
		varbos_view_release(&views[n]);
	ck_assert(is(cache, key, "value"));
}
END_TEST

START_TEST(what_makes_no_sense_is_refused)
{
	static char long_key[4097];
	struct varbos_put_options options = {};
	struct varbos_cache_options made = {};
	struct varbos_reservation reservation;
	struct varbos_cache *other;
	struct varbos_view view;

	refused(varbos_cache_open(NULL, space, "x", NULL), VARBOS_E_INVALID, "ret");
	refused(varbos_cache_open(&other, NULL, "x", NULL), VARBOS_E_INVALID, "space");
	refused(varbos_cache_open(&other, space, NULL, NULL), VARBOS_E_INVALID, "name");
	refused(varbos_cache_open(&other, space, "-x", NULL), VARBOS_E_INVALID, "name");
	made.flags = 4;
	refused(varbos_cache_open(&other, space, "x", &made), VARBOS_E_INVALID, "flags");
	made.flags = VARBOS_CACHE_EXISTING | VARBOS_CACHE_NEW;
	refused(varbos_cache_open(&other, space, "x", &made), VARBOS_E_INVALID, "flags");
	made.flags = VARBOS_CACHE_EXISTING;
	refused(varbos_cache_open(&other, space, "x", &made), VARBOS_E_NOT_FOUND, NULL);
	made.flags = VARBOS_CACHE_NEW;
	refused(varbos_cache_open(&other, space, "c", &made), VARBOS_E_EXISTS, NULL);
	made = (struct varbos_cache_options){.policy = "best"};
	refused(varbos_cache_open(&other, space, "x", &made), VARBOS_E_INVALID, NULL);

	refused(varbos_cache_get(NULL, "k", 1, &view), VARBOS_E_INVALID, "cache");
	refused(varbos_cache_get(cache, NULL, 1, &view), VARBOS_E_INVALID, "key");
	refused(varbos_cache_get(cache, "k", 0, &view), VARBOS_E_INVALID, "key_size");
	refused(varbos_cache_get(cache, long_key, 4097, &view), VARBOS_E_INVALID, "key_size");
	refused(varbos_cache_get(cache, "k", 1, NULL), VARBOS_E_INVALID, "ret");
	refused(varbos_cache_copy_out(cache, "k", 1, NULL, 1, NULL), VARBOS_E_INVALID, "to");
	refused(varbos_cache_put(NULL, "k", 1, "v", 1, NULL), VARBOS_E_INVALID, "cache");
	refused(varbos_cache_put(cache, NULL, 1, "v", 1, NULL), VARBOS_E_INVALID, "key");
	refused(varbos_cache_put(cache, "k", 0, "v", 1, NULL), VARBOS_E_INVALID, "key_size");
	refused(varbos_cache_put(cache, long_key, 4097, "v", 1, NULL), VARBOS_E_INVALID,
		"key_size");
	refused(varbos_cache_put(cache, "k", 1, NULL, 1, NULL), VARBOS_E_INVALID, "data");
	options.mode = 3;
	refused(varbos_cache_put(cache, "k", 1, "v", 1, &options), VARBOS_E_INVALID, "mode");
	options = (struct varbos_put_options){.generation = 1};
	refused(varbos_cache_put(cache, "k", 1, "v", 1, &options), VARBOS_E_INVALID,
		"generation");
	options = (struct varbos_put_options){.flags = 256};
	refused(varbos_cache_put_async(cache, "k", 1, "v", 1, &options), VARBOS_E_INVALID,
		"flags");
	refused(varbos_cache_reserve(cache, "k", 1, 1, NULL, NULL), VARBOS_E_INVALID, "ret");
	refused(varbos_cache_reserve(cache, "k", 0, 1, NULL, &reservation), VARBOS_E_INVALID,
		"key_size");
	refused(varbos_cache_commit(NULL, 0), VARBOS_E_INVALID, "reservation");
	refused(varbos_cache_del(cache, "k", 0), VARBOS_E_INVALID, "key_size");
	refused(varbos_cache_clear(NULL), VARBOS_E_INVALID, "cache");
	refused(varbos_cache_flush(NULL), VARBOS_E_INVALID, "cache");
	varbos_cache_close(NULL);
}
END_TEST

START_TEST(what_could_never_fit_is_refused_at_once_and_nothing_goes)
{
	char *value = calloc(1, 9 * MIB);
	struct varbos_reservation reservation;

	must(put(cache, "k", "v"));
	refused(varbos_cache_put(cache, "big", 3, value, 9 * MIB, NULL), VARBOS_E_TOO_LARGE,
		"capacity");
	ck_assert_uint_eq(varbos_error()->requested, 9 * MIB);
	ck_assert_uint_eq(varbos_error()->max, 8 * MIB);
	refused(varbos_cache_reserve(cache, "big", 3, SIZE_MAX, NULL, &reservation),
		VARBOS_E_TOO_LARGE, "capacity");
	refused(varbos_cache_put(cache, "big", 3, value, 8 * MIB - 26, NULL),
		VARBOS_E_TOO_LARGE, "capacity");
	ck_assert(is(cache, "k", "v"));
	free(value);
}
END_TEST

START_TEST(handles_count_and_what_was_closed_is_there_when_it_is_opened_again)
{
	struct varbos_cache *again;

	must(varbos_cache_open(&again, space, "c", NULL));
	ck_assert_ptr_eq(again, cache);
	must(put(again, "k", "v"));
	varbos_cache_close(again);
	ck_assert(is(cache, "k", "v"));
	varbos_cache_close(cache);
	must(varbos_cache_open(&cache, space, "c", NULL));
	ck_assert(is(cache, "k", "v"));
	must(put(cache, "k", "w"));
	ck_assert(is(cache, "k", "w"));
	/* A space is open as long as its caches are. */
	varbos_space_close(space);
	ck_assert(is(cache, "k", "w"));
	for (int i = 0; i < 50; i++) {
		varbos_cache_close(cache);
		must(varbos_space_open(&space, vb, "s", NULL));
		must(varbos_cache_open(&cache, space, "c", NULL));
		varbos_space_close(space);
		must(put(cache, "k", "w"));
	}
}
END_TEST

START_TEST(hits_go_on_without_the_daemon_and_puts_say_why_not)
{
	const struct varbos_put_options brief = {.ttl_ms = 500};
	struct varbos_view view;
	bool gone = false;

	must(varbos_cache_put(cache, "brief", 5, "v", 1, &brief));
	must(put(cache, "k", "v"));
	ck_assert(is(cache, "k", "v"));
	varbos_set_reconnect(vb, 20);
	test_daemon_kill(&daemon_);
	must(get(cache, "k", &view));
	ck_assert(shows(&view, "v"));
	varbos_view_release(&view);
	ck_assert(is_missing(cache, "absent"));
	ck_assert_int_eq(put(cache, "k", "w"), VARBOS_E_UNAVAILABLE);
	ck_assert(is(cache, "k", "v"));
	/* Who reads looks at the time himself. */
	for (int i = 0; i < PATIENCE / 2 && !gone; i++) {
		gone = is_missing(cache, "brief");
		nap();
	}
	ck_assert(gone);
	varbos_cache_close(cache);
	varbos_disconnect(vb);
}
END_TEST

static char large[300 * KIB];     /* an extent of its own */
static struct varbos_cache *wide; /* and has room to hold one more */

static void daemon_stops(void)
{
	ck_assert_int_eq(kill(daemon_.pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(daemon_.pid, NULL, WUNTRACED), daemon_.pid);
}

/* What is asked for ahead is not answered, or is, but not in time. */
static void put_in_vain(void)
{
	int r = 0;

	daemon_stops();
	must(varbos_set_timeout(vb, 20));
	for (int i = 0; i < 3; i++)
		r = varbos_cache_put_async(wide, "k", 1, large, sizeof(large), NULL);
	ck_assert_int_eq(r, VARBOS_E_TIMEOUT);
	must(varbos_set_timeout(vb, 20000));
	ck_assert_int_eq(kill(daemon_.pid, SIGCONT), 0);
}

static void *put_large(void *in_vain)
{
	char key[16];

	for (int i = 0; i < 40; i++)
		must(varbos_cache_put(wide, "k", 1, large, sizeof(large), NULL));
	for (int i = 0; in_vain && i < ROUNDS; i++) {
		must(varbos_cache_put(wide, "k", 1, large, sizeof(large), NULL));
		put_in_vain();
	}
	/* More than there are results. */
	for (int i = 0; i < 2 * LANE_RECORDS; i++) {
		snprintf(key, sizeof(key), "%d", i);
		must(varbos_cache_put(wide, key, strlen(key), "v", 1, NULL));
	}
	varbos_cache_flush(wide);
	must(varbos_cache_clear(wide));
	return NULL;
}

static void in_a_thread(void *in_vain)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, put_large, in_vain), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/* So much stays for what is put next. */
static uint64_t wait_for_least(uint64_t most)
{
	uint64_t held = used();

	for (int i = 0; i < PATIENCE && held > most; i++) {
		nap();
		held = used();
	}
	return held;
}

START_TEST(memory_that_comes_when_nobody_waits_any_more_goes_back)
{
	const struct varbos_cache_options options = {.capacity = 24 * MIB};

	must(varbos_cache_open(&wide, space, "wide", &options));
	in_a_thread(NULL);
	ck_assert_uint_le(wait_for_least(256 * KIB), 256 * KIB);
	in_a_thread(vb);
	ck_assert_uint_le(wait_for_least(256 * KIB), 256 * KIB);
	varbos_cache_close(wide);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("cache");
	TCase *tcase = tcase_create("cache");
	TCase *alone = tcase_create("without the daemon");

	lanes_by(argc, argv);
	tcase_add_checked_fixture(tcase, open_cache, close_cache);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, what_is_put_is_found_and_tells_about_itself);
	tcase_add_test(tcase, keys_and_values_of_all_sizes_come_back_as_they_were);
	tcase_add_test(tcase,
		       a_view_shows_what_it_showed_when_its_value_is_replaced_and_deleted);
	tcase_add_test(tcase, deleting_takes_a_key_away_once);
	tcase_add_test(tcase, adding_needs_an_absent_key_and_replacing_the_right_generation);
	tcase_add_test(tcase, values_expire_by_their_own_time_the_caches_or_not_at_all);
	tcase_add_test(tcase, another_time_to_live_counts_for_whoever_has_the_cache_open);
	tcase_add_test(tcase, touching_lets_the_time_of_what_expires_begin_anew);
	tcase_add_test(tcase, many_are_looked_up_at_once);
	tcase_add_test(tcase, a_thread_holds_so_many_views_and_copies_all_the_same);
	tcase_add_test(tcase, what_is_put_without_waiting_is_seen_after_a_flush);
	tcase_add_test(tcase, clearing_takes_all_away);
	tcase_add_test(tcase, at_capacity_others_go_and_what_is_there_is_right);
	tcase_add_test(tcase, peeking_is_no_access);
	tcase_add_test(tcase, a_value_is_built_in_place_and_seen_once_it_is_committed);
	tcase_add_test(tcase, reservations_stand_beside_each_other_and_puts_go_on_between);
	tcase_add_loop_test(tcase, an_object_that_was_spoiled_is_not_found, 0, 2);
	tcase_add_test(tcase, memory_that_comes_when_nobody_waits_any_more_goes_back);
	tcase_add_test(tcase, what_makes_no_sense_is_refused);
	tcase_add_test(tcase, what_could_never_fit_is_refused_at_once_and_nothing_goes);
	tcase_add_test(tcase,
		       handles_count_and_what_was_closed_is_there_when_it_is_opened_again);
	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(alone, open_cache, NULL);
	tcase_set_timeout(alone, 120);
	tcase_add_test(alone, hits_go_on_without_the_daemon_and_puts_say_why_not);
	suite_add_tcase(suite, alone);
	return suite_run(suite);
}
