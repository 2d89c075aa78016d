/*
 * The data plane of caches over real sockets and files: what is published is found in the index by
 * who maps it, what goes is not, and files grow while that goes on.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/daemon.h"
#include "tests/integration/hoarder.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum {
	WAIT_TRIES = 500, /* of 10 ms */
	MANY = 20000,     /* objects: more than the first files have room for */
};

static struct test_daemon daemon_;
static struct hoarder one, two;

static void set_up(void)
{
	struct peer peer;

	test_daemon_start(&daemon_, "128M", NULL);
	peer_open(&peer, daemon_.socket);
	peer_create_space(&peer, "a", 64 * MIB);
	peer_close(&peer);
	hoarder_open(&one, daemon_.socket, "a", "c", 16 * MIB);
	hoarder_open(&two, daemon_.socket, "a", "c", 0);
}

static void tear_down(void)
{
	hoarder_close(&one);
	hoarder_close(&two);
	test_daemon_stop(&daemon_);
}

static bool reads(struct hoarder *by, const char *key, const char *value)
{
	uint64_t offset = hoarder_find(by, key);
	struct object_header *header;
	struct object_sizes sizes;

	if (!offset)
		return false;
	header = hoarder_at(by, offset);
	sizes = object_sizes_unpack(header->sizes);
	ck_assert_uint_eq(sizes.value, strlen(value));
	ck_assert_mem_eq((char *)header + object_value_at(offset, sizes), value, strlen(value));
	atomic_store(&by->hazard, 0);
	return true;
}

static bool put(struct hoarder *by, const char *key, const char *value)
{
	return hoarder_put(by, key, value, strlen(value));
}

START_TEST(what_is_published_is_found_by_everyone)
{
	ck_assert(!reads(&two, "key", ""));
	ck_assert(put(&one, "key", "value"));
	ck_assert(reads(&two, "key", "value"));
	ck_assert(reads(&one, "key", "value"));
	ck_assert(put(&two, "key", "another"));
	ck_assert(reads(&one, "key", "another"));
	ck_assert(hoarder_delete(&one, "key"));
	ck_assert(!reads(&two, "key", ""));
	ck_assert(!hoarder_delete(&one, "key"));
	ck_assert_uint_eq(one.peer.answer.fault.code, FAULT_NOT_FOUND);
}
END_TEST

static void publish(struct wire_cache_publish *publish, const char *key)
{
	*publish = (struct wire_cache_publish){
		.space = one.space, .cache = one.cache, .hash = key_hash(key)};
	publish->offset = hoarder_write(&one, key, "v", 1, 0, &publish->size);
	publish->born = one.born;
}

static void refused(const struct wire_cache_publish *publish, uint64_t code)
{
	ck_assert(!peer_call(&one.peer, WIRE_CACHE_PUBLISH, publish));
	ck_assert_uint_eq(one.peer.answer.fault.code, code);
}

START_TEST(what_cannot_be_published_is_refused_and_changes_nothing)
{
	struct wire_cache_publish good, bad;

	publish(&good, "k");
	bad = good;
	bad.offset += 8;
	refused(&bad, FAULT_REFERENCE);
	bad.offset = UINT64_MAX & ~(uint64_t)15;
	refused(&bad, FAULT_REFERENCE);
	bad.offset = good.offset + MIB;
	refused(&bad, FAULT_REFERENCE);
	bad = good;
	bad.size = UINT64_MAX;
	refused(&bad, FAULT_TOO_LARGE);
	bad.size = 17 * MIB;
	refused(&bad, FAULT_TOO_LARGE);
	ck_assert_uint_eq(one.peer.answer.fault.max, 16 * MIB);
	bad.size = 24;
	refused(&bad, FAULT_INVALID);
	bad = good;
	bad.born = 0;
	refused(&bad, FAULT_INVALID);
	bad.born = (uint64_t)1 << 32 | 1;
	refused(&bad, FAULT_INVALID);
	bad = good;
	bad.mode = 3;
	refused(&bad, FAULT_INVALID);
	bad.mode = LANE_REPLACE;
	refused(&bad, FAULT_NOT_FOUND);
	bad = good;
	bad.cache = one.cache + 1;
	refused(&bad, FAULT_NOT_FOUND);
	ck_assert(peer_call(&one.peer, WIRE_CACHE_PUBLISH, &good));
	ck_assert_uint_eq(one.peer.answer.body.cache_object.generation, good.born);
	refused(&good, FAULT_REFERENCE); /* it lies there already */

	publish(&bad, "k");
	bad.mode = LANE_ADD;
	refused(&bad, FAULT_EXISTS);
	bad.mode = LANE_REPLACE;
	bad.generation = good.born + 1;
	refused(&bad, FAULT_CHANGED);
	bad.generation = good.born;
	ck_assert(peer_call(&one.peer, WIRE_CACHE_PUBLISH, &bad));
	ck_assert(reads(&two, "k", "v"));
}
END_TEST

START_TEST(nobody_publishes_in_anothers_segment)
{
	struct wire_cache_publish theirs;

	publish(&theirs, "k");
	ck_assert(!peer_call(&two.peer, WIRE_CACHE_PUBLISH, &theirs));
	ck_assert_uint_eq(two.peer.answer.fault.code, FAULT_REFERENCE);
	ck_assert(peer_call(&one.peer, WIRE_CACHE_PUBLISH, &theirs));
}
END_TEST

START_TEST(files_grow_while_it_goes_on)
{
	char key[32], value[32];

	ck_assert(!reads(&two, "none", ""));
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		snprintf(value, sizeof(value), "value %d", i);
		ck_assert(put(&one, key, value));
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		snprintf(value, sizeof(value), "value %d", i);
		ck_assert_msg(reads(&two, key, value), "%s", key);
	}
	ck_assert_uint_gt(two.generation, 1);
}
END_TEST

START_TEST(a_large_object_has_memory_of_its_own)
{
	char *value = malloc(3 * MIB);

	memset(value, 'x', 3 * MIB - 1);
	value[3 * MIB - 1] = '\0';
	hoarder_lease(&one, 3 * MIB + 4096);
	ck_assert(put(&one, "large", value));
	ck_assert(reads(&two, "large", value));
	one.size = 0; /* it is sealed by being full */
	free(value);
}
END_TEST

START_TEST(a_touch_is_seen_in_the_objects_header)
{
	uint64_t offset;

	ck_assert(put(&one, "k", "v"));
	ck_assert(peer_call(&two.peer, WIRE_CACHE_TOUCH,
			    &(struct wire_cache_touch){.space = two.space,
						       .cache = two.cache,
						       .hash = key_hash("k"),
						       .expiry = UINT32_MAX}));
	offset = hoarder_find(&one, "k");
	ck_assert_uint_eq(two.peer.answer.body.cache_object.offset, offset);
	ck_assert_uint_eq(atomic_load(&hoarder_at(&one, offset)->expiry), UINT32_MAX);
	ck_assert(peer_call(&two.peer, WIRE_CACHE_TOUCH,
			    &(struct wire_cache_touch){.space = two.space,
						       .cache = two.cache,
						       .hash = key_hash("k")}));
	ck_assert_uint_eq(atomic_load(&hoarder_at(&one, offset)->expiry), 0);
}
END_TEST

START_TEST(a_clear_leaves_nothing_and_evicting_leaves_less)
{
	char key[32];
	int left = 0;

	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		ck_assert(put(&one, key, "0123456789012345678901234567890123456789"));
	}
	ck_assert(peer_call(&two.peer, WIRE_CACHE_EVICT,
			    &(struct wire_cache_evict){
				    .space = two.space, .cache = two.cache, .bytes = 32000}));
	ck_assert_uint_ge(two.peer.answer.body.cache_evicted.bytes, 32000);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		left += hoarder_find(&one, key) != 0;
	}
	ck_assert_int_gt(left, 300);
	ck_assert_int_lt(left, 900);
	ck_assert(
		peer_call(&two.peer, WIRE_CACHE_CLEAR,
			  &(struct wire_cache_handle){.space = two.space, .cache = two.cache}));
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		ck_assert(!hoarder_find(&one, key));
	}
}
END_TEST

START_TEST(what_is_published_outlives_who_published_it)
{
	ck_assert(put(&one, "k", "v"));
	hoarder_close(&one);
	ck_assert(reads(&two, "k", "v"));
	hoarder_open(&one, daemon_.socket, "a", "c", 0);
	ck_assert(reads(&one, "k", "v"));
}
END_TEST

START_TEST(who_has_the_cache_not_open_gets_nothing_of_it)
{
	struct wire_cache_handle handle = {.space = two.space, .cache = two.cache};

	ck_assert(put(&one, "k", "v"));
	ck_assert(peer_call(&two.peer, WIRE_CACHE_CLOSE, &handle));
	ck_assert(
		!peer_call(&two.peer, WIRE_CACHE_INDEX,
			   &(struct wire_cache_index){.space = two.space, .cache = two.cache}));
	ck_assert_uint_eq(two.peer.answer.fault.code, FAULT_NOT_FOUND);
	ck_assert(!hoarder_delete(&two, "k"));
	ck_assert(!peer_call(&two.peer, WIRE_CACHE_CLEAR, &handle));
	ck_assert(reads(&one, "k", "v"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cache_data");
	TCase *tcase = tcase_create("cache_data");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, what_is_published_is_found_by_everyone);
	tcase_add_test(tcase, what_cannot_be_published_is_refused_and_changes_nothing);
	tcase_add_test(tcase, nobody_publishes_in_anothers_segment);
	tcase_add_test(tcase, files_grow_while_it_goes_on);
	tcase_add_test(tcase, a_large_object_has_memory_of_its_own);
	tcase_add_test(tcase, a_touch_is_seen_in_the_objects_header);
	tcase_add_test(tcase, a_clear_leaves_nothing_and_evicting_leaves_less);
	tcase_add_test(tcase, what_is_published_outlives_who_published_it);
	tcase_add_test(tcase, who_has_the_cache_not_open_gets_nothing_of_it);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
