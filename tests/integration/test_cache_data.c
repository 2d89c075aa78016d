/*
 * The data plane of caches over real sockets and files: what is published is found in the index by
 * who maps it, what goes is not, and files grow while that goes on.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/daemon.h"
#include "tests/integration/hoarder.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum {
	WAIT_TRIES = 1500, /* of 10 ms */
	MANY = 20000,      /* objects: more than the first files have room for */
	VALUE = 12 << 10,
	CHURN = 5000, /* of 6.4 KiB: what the space has room for */
};

static struct test_daemon daemon_;
static struct hoarder one, two;

static void set_up(void)
{
	struct peer peer;

	test_daemon_start(&daemon_, "128M", NULL);
	peer_open(&peer, daemon_.socket);
	peer_create_space(&peer, "a", 32 * MIB);
	peer_close(&peer);
	hoarder_open(&one, daemon_.socket, "a", "c", 8 * MIB);
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
	bad.size = 9 * MIB;
	refused(&bad, FAULT_TOO_LARGE);
	ck_assert_uint_eq(one.peer.answer.fault.max, 8 * MIB);
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

START_TEST(a_touch_may_leave_alone_what_never_expires_and_when)
{
	struct wire_cache_touch touch = {.space = two.space,
					 .cache = two.cache,
					 .hash = key_hash("k"),
					 .expiry = UINT32_MAX,
					 .how = LANE_RENEW};
	_Atomic uint64_t *expiry;

	ck_assert(put(&one, "k", "v"));
	expiry = &hoarder_at(&one, hoarder_find(&one, "k"))->expiry;
	ck_assert(peer_call(&two.peer, WIRE_CACHE_TOUCH, &touch));
	ck_assert_uint_eq(atomic_load(expiry), 0);
	touch.how = LANE_EXPIRE;
	ck_assert(peer_call(&two.peer, WIRE_CACHE_TOUCH, &touch));
	touch.how = LANE_RENEW;
	touch.expiry = UINT32_MAX - 1;
	ck_assert(peer_call(&two.peer, WIRE_CACHE_TOUCH, &touch));
	ck_assert_uint_eq(atomic_load(expiry), UINT32_MAX - 1);
	touch.how = LANE_USE;
	touch.expiry = 5;
	ck_assert(peer_call(&two.peer, WIRE_CACHE_TOUCH, &touch));
	ck_assert_uint_eq(atomic_load(expiry), UINT32_MAX - 1);
	touch.how = 256;
	ck_assert(!peer_call(&two.peer, WIRE_CACHE_TOUCH, &touch));
	ck_assert_uint_eq(two.peer.answer.fault.code, FAULT_INVALID);
}
END_TEST

START_TEST(a_clear_leaves_nothing_and_evicting_leaves_less)
{
	struct wire_cache_evict evict = {
		.space = two.space, .cache = two.cache, .bytes = 32000};
	uint64_t freed = 0;
	char key[32];
	int left = 0;

	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		ck_assert(put(&one, key, "0123456789012345678901234567890123456789"));
	}
	do {
		ck_assert(peer_call(&two.peer, WIRE_CACHE_EVICT, &evict));
		freed += two.peer.answer.body.cache_evicted.bytes;
		evict.bytes = 32000 - u64_min(freed, 32000);
	} while (two.peer.answer.body.cache_evicted.more);
	ck_assert_uint_ge(freed, 32000);
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

static void fill(int n)
{
	for (int i = 0; i < n; i++) {
		char key[32];

		snprintf(key, sizeof(key), "key %d", i);
		ck_assert(put(&one, key, "value"));
	}
}

START_TEST(a_clear_clears_all_though_another_was_left_halfway)
{
	enum { OBJECTS = 5000 }; /* some turns of the loop */

	for (int i = 0; i < 3; i++) {
		static struct hoarder dying;
		struct wire_cache_handle handle;

		fill(OBJECTS);
		hoarder_open(&dying, daemon_.socket, "a", "c", 0);
		handle = (struct wire_cache_handle){.space = dying.space, .cache = dying.cache};
		peer_send(&dying.peer, WIRE_CACHE_CLEAR, &handle);
		hoarder_close(&dying);
		fill(OBJECTS);
		handle = (struct wire_cache_handle){.space = two.space, .cache = two.cache};
		ck_assert(peer_call(&two.peer, WIRE_CACHE_CLEAR, &handle));
		ck_assert_uint_eq(hoarder_row(&two).values, 0);
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

/* ---- what comes back ---- */

static uint64_t machine_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Of some size, and to be told by its key. */
static uint64_t fill_value(int i, char *value)
{
	uint64_t size = 100 + (uint64_t)i * 2654435761U % (VALUE - 100);

	memset(value, 'a' + i % 26, size);
	memcpy(value, &i, sizeof(i));
	return size;
}

static void churn(int from, int to)
{
	static char value[VALUE];
	char key[32];

	for (int i = from; i < to; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		ck_assert_msg(hoarder_put(&one, key, value, fill_value(i, value)), "%.*s",
			      (int)one.peer.answer.fault.message.size,
			      one.peer.answer.fault.message.data);
	}
}

static int whole(int from, int to)
{
	static char value[VALUE];
	char key[32];
	int n = 0;

	for (int i = from; i < to; i++) {
		uint64_t offset, size = fill_value(i, value);
		struct object_header *header;
		struct object_sizes sizes;

		snprintf(key, sizeof(key), "key %d", i);
		offset = hoarder_find(&two, key);
		if (!offset)
			continue;
		header = hoarder_at(&two, offset);
		sizes = object_sizes_unpack(header->sizes);
		ck_assert_uint_eq(sizes.value, size);
		ck_assert_mem_eq((char *)header + object_value_at(offset, sizes), value, size);
		n++;
	}
	return n;
}

START_TEST(several_times_the_spaces_memory_goes_through_it)
{
	struct wire_cache_row row;

	churn(0, CHURN);
	/* what comes again and again, between what comes once: dead bytes everywhere */
	for (int i = 0; i < 20; i++) {
		churn(0, 250);
		churn(CHURN + i * 250, CHURN + (i + 1) * 250);
	}
	ck_assert_int_gt(whole(0, 2 * CHURN), 500);
	row = hoarder_row(&one);
	ck_assert_uint_gt(row.evicted, 0);
	ck_assert_uint_gt(row.replaced, 0);
	ck_assert_uint_eq(row.spoiled, 0);
	ck_assert_uint_eq(row.crowded, 0);
	ck_assert_uint_le(row.live, 8 * MIB);
	ck_assert_uint_le(row.memory, 32 * MIB);
}
END_TEST

/*
 * Segments of half a MiB, each with an object at its end: sealed all at once, and one more wanted
 * behind them.
 */
START_TEST(memory_is_given_beyond_the_capacity_when_no_more_comes_back)
{
	static const char value[4096];
	const uint64_t size = MIB / 2;
	struct wire_cache_seal seals[40];
	struct hoarder small;
	char key[32];

	hoarder_open(&small, daemon_.socket, "a", "small", MIB);
	for (size_t i = 0; i < ARRAY_SIZE(seals); i++) {
		small.size = 0; /* it stays leased: nothing can be had back, and nobody waits */
		hoarder_lease(&small, 2 * MIB);
		ck_assert_uint_eq(small.size, size);
		seals[i] = (struct wire_cache_seal){
			.space = small.space, .offset = small.segment, .tag = small.tag};
		small.filled = size - 2 * sizeof(value);
		snprintf(key, sizeof(key), "key %zu", i);
		ck_assert(hoarder_put(&small, key, value, sizeof(value)));
	}
	ck_assert_uint_ge(hoarder_row(&small).memory, ARRAY_SIZE(seals) * size);
	for (size_t i = 0; i < ARRAY_SIZE(seals); i++)
		peer_note(&small.peer, WIRE_CACHE_SEAL, &seals[i]);
	small.size = 0;
	hoarder_lease(&small, 2 * MIB);
	/* A quarter, two MiB; this one, and the cleaner's. */
	ck_assert_uint_le(hoarder_row(&small).memory, MIB + MIB / 4 + 2 * MIB + 2 * size);
	for (size_t i = 0; i < ARRAY_SIZE(seals); i++) {
		snprintf(key, sizeof(key), "key %zu", i);
		ck_assert_uint_ne(hoarder_find(&small, key), 0);
	}
	hoarder_close(&small);
}
END_TEST

/* Small objects all over a space of 16 MiB, and in the middle a segment that another one fills. */
static void fill_tight(struct hoarder *by, struct hoarder *other)
{
	static const char value[3000];
	char key[32];

	for (int i = 0; i < 4600; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		ck_assert(hoarder_put(by, key, value, sizeof(value)));
		if (i == 2300)
			hoarder_lease(other, SLICE_BYTES);
	}
}

static int left_of(struct hoarder *by)
{
	char key[32];
	int n = 0;

	for (int i = 0; i < 4600; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		n += hoarder_find(by, key) != 0;
	}
	return n;
}

static bool try_large(struct hoarder *by, uint64_t size)
{
	return peer_call(
		&by->peer, WIRE_CACHE_SEGMENT,
		&(struct wire_cache_segment){
			.space = by->space, .cache = by->cache, .size = size, .object = true});
}

START_TEST(what_is_large_takes_slices_in_a_row_or_nothing)
{
	static const char value[6 * MIB];
	struct hoarder by, other;
	struct peer peer;
	int n;

	peer_open(&peer, daemon_.socket);
	peer_create_space(&peer, "tight", 16 * MIB);
	peer_close(&peer);
	hoarder_open(&by, daemon_.socket, "tight", "c", 14 * MIB);
	hoarder_open(&other, daemon_.socket, "tight", "c", 0);
	fill_tight(&by, &other);
	n = left_of(&by);
	ck_assert_int_gt(n, 4000);
	/* On neither side of it there is so much: nobody goes for that. */
	ck_assert(!try_large(&by, 12 * MIB));
	ck_assert_int_eq(left_of(&by), n);
	for (int i = 0; i < 10; i++)
		ck_assert_msg(hoarder_put(&by, "large", value, sizeof(value)), "%.*s",
			      (int)by.peer.answer.fault.message.size,
			      by.peer.answer.fault.message.data);
	/* All but what lived where it is now, and where the one before it was. */
	ck_assert_int_gt(left_of(&by), 200);
	hoarder_close(&by);
	hoarder_close(&other);
}
END_TEST

START_TEST(what_is_dead_between_the_living_is_cleaned)
{
	char key[32];
	int n = 0;

	churn(0, 750);
	for (int i = 0; i < 750; i++)
		if (i % 3) {
			snprintf(key, sizeof(key), "key %d", i);
			ck_assert(hoarder_delete(&one, key));
		}
	for (int i = 0; i < WAIT_TRIES && !n; i++) {
		n = hoarder_row(&one).moved != 0;
		usleep(10000);
	}
	ck_assert(n);
	for (int i = 0; i < 50; i++) /* while it goes on */
		ck_assert_int_eq(whole(0, 750), 250);
	ck_assert_uint_eq(hoarder_row(&one).spoiled, 0);
}
END_TEST

START_TEST(what_a_member_spoils_is_evicted_and_hurts_nobody)
{
	char key[32];
	uint64_t spoiled = 0;

	churn(0, 750);
	for (int i = 0; i < 750; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		if (i % 3 == 1)
			hoarder_at(&two, hoarder_find(&two, key))->sizes = UINT64_MAX;
		else if (i % 3 == 2)
			ck_assert(hoarder_delete(&one, key));
	}
	for (int i = 0; i < WAIT_TRIES && !spoiled; i++) {
		spoiled = hoarder_row(&one).spoiled;
		usleep(10000);
	}
	ck_assert_uint_gt(spoiled, 0);
	for (int i = 0; i < 750; i += 3)
		ck_assert_int_eq(whole(i, i + 1), 1);
}
END_TEST

static const struct wire_cache_detail *detail(struct hoarder *by)
{
	const struct wire_cache_handle handle = {.space = by->space, .cache = by->cache};

	ck_assert(peer_call(&by->peer, WIRE_CACHE_DETAIL, &handle));
	return &by->peer.answer.body.cache_detail;
}

/* As much of the space as there is; what is above is filled with what nobody else may change. */
static int hold_all(uint64_t *offsets, int max, uint64_t above)
{
	for (int i = 0; i < max; i++) {
		struct hoarder *by = i % 2 ? &one : &two; /* each has a limit of its own */

		if (!peer_call(&by->peer, WIRE_CACHE_SEGMENT,
			       &(struct wire_cache_segment){.space = by->space,
							    .cache = by->cache,
							    .size = CHUNK_BYTES}))
			return i;
		offsets[i] = by->peer.answer.body.extent_alloced.offset;
		if (offsets[i] > above)
			memset(hoarder_at(&two, offsets[i]), 0x5a, CHUNK_BYTES);
	}
	return max;
}

/* CN2. A worker copies only what is whole: where it reads from, all stays as it was. */
START_TEST(a_cache_that_is_being_cleaned_keeps_its_memory_until_that_is_done)
{
	enum { OBJECTS = 3000, CHUNKS = 16 };
	static char expected[CHUNK_BYTES];
	static struct hoarder cleaned;
	char key[16], value[1500] = "";
	uint64_t offsets[CHUNKS];
	int held;

	hoarder_open(&cleaned, daemon_.socket, "a", "cleaned", 8 * MIB);
	for (int i = 0; i < OBJECTS; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		ck_assert(hoarder_put(&cleaned, key, value, sizeof(value)));
	}
	for (int i = 0; i < OBJECTS; i += 2) {
		snprintf(key, sizeof(key), "key %d", i);
		ck_assert(hoarder_delete(&cleaned, key));
	}
	ck_assert(peer_call(&cleaned.peer, WIRE_CACHE_REMOVE,
			    &(struct wire_cache_remove){.space = cleaned.space,
							.name = wire_str("cleaned"),
							.force = true}));
	ck_assert(peer_call(
		&cleaned.peer, WIRE_CACHE_CLOSE,
		&(struct wire_cache_handle){.space = cleaned.space, .cache = cleaned.cache}));
	held = hold_all(offsets, CHUNKS, cleaned.segment);
	usleep(50000);
	memset(expected, 0x5a, sizeof(expected));
	for (int i = 0; i < held; i++)
		if (offsets[i] > cleaned.segment)
			ck_assert_mem_eq(hoarder_at(&two, offsets[i]), expected,
					 sizeof(expected));
	hoarder_close(&cleaned);
}
END_TEST

START_TEST(the_hottest_keys_are_told)
{
	const struct wire_cache_touch touch = {
		.space = one.space, .cache = one.cache, .hash = key_hash("hot")};
	const struct wire_cache_touch blank = {
		.space = one.space, .cache = one.cache, .hash = key_hash("two words")};
	const struct wire_cache_detail *found;
	const struct wire_cache_hot_row *rows;

	ck_assert_uint_eq(detail(&two)->hot.count, 0);
	ck_assert(put(&one, "hot", "v") && put(&one, "two words", "v") &&
		  put(&one, "cold", "v"));
	for (int i = 0; i < 9; i++) {
		ck_assert(peer_call(&one.peer, WIRE_CACHE_TOUCH, &touch));
		if (i % 3 == 0)
			ck_assert(peer_call(&one.peer, WIRE_CACHE_TOUCH, &blank));
	}
	found = detail(&two);
	ck_assert_uint_eq(found->hot.count, 2);
	ck_assert_uint_eq(found->pins.count, 0);
	rows = found->hot.rows;
	ck_assert(wire_str_is(rows[0].key, "hot"));
	ck_assert_uint_eq(rows[0].size, 3);
	ck_assert_uint_eq(rows[0].hash, key_hash("hot"));
	ck_assert_uint_eq(rows[0].count, 9);
	ck_assert(wire_str_is(rows[1].key, "0x74776f20776f726473"));
	ck_assert_uint_eq(rows[1].count, 3);
	ck_assert(hoarder_delete(&one, "hot"));
	rows = detail(&two)->hot.rows;
	ck_assert_uint_eq(rows[0].count, 9);
	ck_assert_uint_eq(rows[0].key.size, 0);
	ck_assert_uint_eq(rows[0].size, 0);
}
END_TEST

/* By this process, whose both sessions are. */
static bool tells_of_pins(void)
{
	const struct wire_cache_detail *found = detail(&one);
	const struct wire_cache_pin_row *row = found->pins.rows;

	if (!found->pins.count)
		return false;
	ck_assert_uint_eq(found->pins.count, 1);
	ck_assert_uint_eq(row->pid, (uint64_t)getpid());
	ck_assert_uint_eq(row->bytes, hoarder_row(&one).pinned);
	return true;
}

START_TEST(what_is_read_stays_where_it_is)
{
	_Atomic uint64_t *hazard;
	struct object_header *header;
	uint64_t offset;
	int found = 0;

	hoarder_lanes(&two, 2);
	hazard = &two.lanes[1].hazards[LANE_HAZARDS - 1];
	churn(0, 1);
	offset = hoarder_find(&two, "key 0");
	header = hoarder_at(&two, offset);
	atomic_store(hazard, two.space << 44 | offset);
	ck_assert(hoarder_delete(&one, "key 0"));
	churn(1, CHURN);
	ck_assert_uint_eq(object_sizes_unpack(header->sizes).key, 5);
	ck_assert_mem_eq(header + 1, "key 0", 5);
	for (int i = 0; i < WAIT_TRIES && !found; i++) {
		found = hoarder_row(&one).pinned != 0;
		churn(CHURN + i * 250, CHURN + i * 250 + 250);
	}
	ck_assert(found && tells_of_pins());
	ck_assert_mem_eq(header + 1, "key 0", 5);
	atomic_store(hazard, 0);
	for (int i = 0; i < WAIT_TRIES && found; i++) {
		found = hoarder_row(&one).pinned != 0;
		churn(i * 250, i * 250 + 250);
	}
	ck_assert(!found && !tells_of_pins());
}
END_TEST

START_TEST(who_is_no_member_pins_nothing)
{
	struct hoarder stranger;
	struct peer peer;

	peer_open(&peer, daemon_.socket);
	peer_create_space(&peer, "b", 8 * MIB);
	hoarder_open(&stranger, daemon_.socket, "b", "c", 0);
	hoarder_lanes(&stranger, 64);
	for (uint32_t i = 0; i < 64; i++)
		for (uint32_t j = 0; j < LANE_HAZARDS; j++)
			atomic_store(&stranger.lanes[i].hazards[j],
				     one.space << 44 | (uint64_t)(i * LANE_HAZARDS + j) << 16);
	for (int i = 0; i < 6; i++) {
		churn(0, CHURN / 2);
		ck_assert_uint_eq(hoarder_row(&one).pinned, 0);
	}
	hoarder_close(&stranger);
	peer_close(&peer);
}
END_TEST

START_TEST(what_has_outlived_its_time_goes)
{
	uint64_t now = machine_ms(), size, found = 0;
	uint64_t offset = hoarder_write(&one, "brief", "v", 1, now + 300, &size);

	ck_assert(put(&one, "lasting", "v"));
	ck_assert(!peer_call(&one.peer, WIRE_CACHE_PUBLISH,
			     &(struct wire_cache_publish){.space = one.space,
							  .cache = one.cache,
							  .hash = key_hash("brief"),
							  .offset = offset,
							  .size = size,
							  .expiry = now + 300,
							  .born = one.born}));
	offset = hoarder_write(&one, "brief", "v", 1, now + 300, &size);
	ck_assert(peer_call(&one.peer, WIRE_CACHE_PUBLISH,
			    &(struct wire_cache_publish){.space = one.space,
							 .cache = one.cache,
							 .hash = key_hash("brief"),
							 .offset = offset,
							 .size = size,
							 .expiry = now + 300,
							 .born = one.born}));
	for (int i = 0; i < WAIT_TRIES && !found; i++) {
		found = hoarder_row(&one).expired;
		usleep(10000);
	}
	ck_assert_uint_eq(found, 1);
	ck_assert_uint_ge(machine_ms(), now + 300);
	ck_assert(!hoarder_find(&two, "brief"));
	ck_assert(hoarder_find(&two, "lasting"));
}
END_TEST

START_TEST(readers_counts_are_summed_up)
{
	struct lane_count *count;

	hoarder_lanes(&one, 1);
	hoarder_lanes(&two, 2);
	count = &one.lanes[0].counts[3];
	atomic_store(&count->hits, 10);
	atomic_store(&count->misses, 5);
	atomic_store(&count->cache, one.cache);
	count = &two.lanes[1].counts[0];
	atomic_store(&count->hits, 1);
	atomic_store(&count->cache, two.cache);
	/* The cache's files may be on their way; what is counted then waits. */
	for (int i = 0; i < WAIT_TRIES && hoarder_row(&one).hits < 11; i++)
		usleep(10000);
	ck_assert_uint_eq(hoarder_row(&one).hits, 11);
	ck_assert_uint_eq(hoarder_row(&one).misses, 5);
	atomic_store(&count->hits, 4);
	hoarder_close(&two); /* says nothing more */
	ck_assert(put(&one, "k", "v"));
	hoarder_open(&two, daemon_.socket, "a", "c", 0);
	ck_assert_uint_eq(hoarder_row(&one).misses, 5);
}
END_TEST

static const struct stats_cache *cache_in_statistics(void)
{
	const struct stats_copy *copy = statistics(daemon_.socket);

	ck_assert_uint_eq(copy->n_caches, 1);
	ck_assert_uint_eq(copy->caches_total, 1);
	return &copy->caches[0];
}

/* No key stands there: hashes do. */
START_TEST(what_becomes_of_a_cache_stands_in_the_statistics_file)
{
	const struct wire_cache_touch touch = {
		.space = one.space, .cache = one.cache, .hash = key_hash("hot")};
	const struct stats_copy *copy;
	const struct stats_cache *row;
	struct wire_cache_row listed;
	int tries = 0;

	hoarder_lanes(&one, 1);
	ck_assert(put(&one, "hot", "v") && put(&one, "k", "v") && put(&one, "k", "w") &&
		  put(&one, "gone", "v") && hoarder_delete(&one, "gone"));
	for (int i = 0; i < 5; i++)
		ck_assert(peer_call(&one.peer, WIRE_CACHE_TOUCH, &touch));
	peer_status(&one.peer);
	row = cache_in_statistics();
	listed = hoarder_row(&one);
	ck_assert_str_eq(row->name, "c");
	ck_assert(wire_str_is(listed.policy, row->policy));
	ck_assert_uint_eq(row->cache, one.cache);
	ck_assert_uint_eq(row->capacity, listed.capacity);
	ck_assert_uint_eq(row->memory, listed.memory);
	ck_assert_uint_eq(row->sessions, listed.sessions);
	ck_assert_uint_eq(row->live, listed.live);
	ck_assert_uint_eq(row->dead, listed.dead);
	ck_assert_uint_eq(row->metadata, listed.metadata);
	ck_assert_uint_eq(row->values, 2);
	ck_assert_uint_eq(row->published, 4);
	ck_assert_uint_eq(row->replaced, 1);
	ck_assert_uint_eq(row->deleted, 1);
	ck_assert_uint_eq(row->hits, 0);
	copy = statistics(daemon_.socket);
	ck_assert_uint_eq(copy->n_hot, 1);
	ck_assert_uint_eq(copy->hot[0].hash, key_hash("hot"));
	ck_assert_uint_eq(copy->hot[0].count, 5);
	/* Who reads wakes nobody, and it is seen all the same. */
	atomic_store(&one.lanes[0].counts[0].hits, 7);
	atomic_store(&one.lanes[0].counts[0].misses, 3);
	atomic_store(&one.lanes[0].counts[0].cache, one.cache);
	while (cache_in_statistics()->misses != 3 && tries++ < WAIT_TRIES)
		usleep(10000);
	ck_assert_uint_eq(cache_in_statistics()->hits, 7);
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
	tcase_add_test(tcase, a_touch_may_leave_alone_what_never_expires_and_when);
	tcase_add_test(tcase, a_touch_is_seen_in_the_objects_header);
	tcase_add_test(tcase, a_clear_leaves_nothing_and_evicting_leaves_less);
	tcase_add_test(tcase, a_clear_clears_all_though_another_was_left_halfway);
	tcase_add_test(tcase, what_is_published_outlives_who_published_it);
	tcase_add_test(tcase, who_has_the_cache_not_open_gets_nothing_of_it);
	tcase_add_test(tcase, several_times_the_spaces_memory_goes_through_it);
	tcase_add_test(tcase, memory_is_given_beyond_the_capacity_when_no_more_comes_back);
	tcase_add_test(tcase, what_is_large_takes_slices_in_a_row_or_nothing);
	tcase_add_test(tcase, what_is_dead_between_the_living_is_cleaned);
	tcase_add_test(tcase, what_a_member_spoils_is_evicted_and_hurts_nobody);
	tcase_add_test(tcase,
		       a_cache_that_is_being_cleaned_keeps_its_memory_until_that_is_done);
	tcase_add_test(tcase, the_hottest_keys_are_told);
	tcase_add_test(tcase, what_becomes_of_a_cache_stands_in_the_statistics_file);
	tcase_add_test(tcase, what_is_read_stays_where_it_is);
	tcase_add_test(tcase, who_is_no_member_pins_nothing);
	tcase_add_test(tcase, what_has_outlived_its_time_goes);
	tcase_add_test(tcase, readers_counts_are_summed_up);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
