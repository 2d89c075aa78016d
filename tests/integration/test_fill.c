/*
 * Filling a cache as fast as it goes, while it makes its files larger: what fits is there. With "off"
 * as its argument the same without records in lanes, and less of it.
 */
#include <check.h>
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "proto/layout.h"
#include "tests/integration/cached.h"
#include "tests/integration/joined.h"
#include "tests/integration/other.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)

enum {
	WRITERS = 2,
	PATIENCE = 1000, /* times 10 ms */
	HOLDERS = 4,
	SLICES = 512, /* of the space */
};

static uint32_t keys;

static void open_cache(void)
{
	open_cache_of(24 * MIB);
}

struct value {
	uint64_t writer, key, round;
};

/* The daemon's workers have what time its loop leaves them on one processor: files come late. */
static void hold_up_workers(void)
{
	const struct dirent *entry;
	char path[64];
	DIR *tasks;

	test_daemon_pin(&daemon_, sched_getcpu());
	snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon_.pid);
	tasks = opendir(path);
	ck_assert_ptr_nonnull(tasks);
	while ((entry = readdir(tasks))) {
		pid_t task = atoi(entry->d_name);

		if (task && task != daemon_.pid)
			ck_assert_int_eq(setpriority(PRIO_PROCESS, (id_t)task, 19), 0);
	}
	closedir(tasks);
}

/* 0, or which call said why not. */
static int put_all(uint64_t writer, uint32_t n, uint64_t round)
{
	for (uint32_t i = 0; i < n; i++) {
		struct value value = {writer, i, round};

		if (varbos_cache_put_async(cache, &value, offsetof(struct value, round), &value,
					   sizeof(value), NULL))
			return 1;
	}
	return varbos_cache_flush(cache) ? 2 : 0;
}

static uint32_t missing(uint64_t writer, uint32_t n, uint64_t round)
{
	uint32_t missing = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct value value = {writer, i, round}, found = {};
		size_t size;

		missing += varbos_cache_copy_out(cache, &value, offsetof(struct value, round),
						 &found, sizeof(found), &size) ||
			   size != sizeof(found) || found.writer != writer || found.key != i ||
			   found.round != round;
	}
	return missing;
}

START_TEST(nothing_is_lost_by_filling_fast)
{
	int r;

	hold_up_workers();
	r = put_all(0, keys, 0);
	ck_assert_msg(!r, "%d: %s", r, varbos_error()->message);
	ck_assert_uint_eq(missing(0, keys, 0), 0);
}
END_TEST

struct writer {
	pthread_t thread;
	uint64_t number;
	int result;
};

/* The second round replaces what may still be on its way. */
static void *write_twice(void *userdata)
{
	struct writer *writer = userdata;

	writer->result = put_all(writer->number, keys / 2, 0);
	if (!writer->result)
		writer->result = put_all(writer->number, keys / 2, 1);
	if (writer->result)
		fprintf(stderr, "writer %d: %s\n", (int)writer->number,
			varbos_error()->message);
	return NULL;
}

START_TEST(nothing_is_lost_where_two_fill_at_once_and_the_last_counts)
{
	struct writer writers[WRITERS];

	hold_up_workers();
	for (uint32_t i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){.number = i};
		ck_assert(!pthread_create(&writers[i].thread, NULL, write_twice, &writers[i]));
	}
	for (uint32_t i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	for (uint32_t i = 0; i < WRITERS; i++) {
		ck_assert_int_eq(writers[i].result, 0);
		ck_assert_uint_eq(missing(i, keys / 2, 1), 0);
	}
}
END_TEST

/* In KiB, of the indexes that this process has mapped, but of the largest; and how many they are. */
static uint64_t held_by_former(uint32_t *ret_n)
{
	uint64_t kib, size = 0, largest = 0, resident = 0, all = 0, of_largest = 0;
	char line[512], rest[8];
	bool index = false;
	FILE *maps = fopen("/proc/self/smaps", "re");

	ck_assert_ptr_nonnull(maps);
	*ret_n = 0;
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%*x-%*x %7s", rest) == 1) {
			index = strstr(line, "varbos-index") != NULL;
			*ret_n += index;
		} else if (index && sscanf(line, "Size: %" SCNu64, &kib) == 1) {
			size = kib;
		} else if (index && sscanf(line, "Rss: %" SCNu64, &kib) == 1) {
			resident = kib;
			all += resident;
			if (size > largest) {
				largest = size;
				of_largest = resident;
			}
		}
	}
	fclose(maps);
	return all - of_largest;
}

START_TEST(an_index_that_all_have_left_takes_no_memory)
{
	uint64_t kib = 0;
	uint32_t n = 0;

	ck_assert(!put_all(0, keys / 20, 0));
	ck_assert_uint_eq(missing(0, keys / 20, 0), 0);
	ck_assert(!put_all(0, keys, 0));
	for (int i = 0; i < PATIENCE; i++) {
		ck_assert_uint_eq(missing(0, 100, 0), 0);
		kib = held_by_former(&n);
		if (n > 1 && kib <= 64)
			break;
		usleep(10000);
	}
	ck_assert_uint_gt(n, 1);
	ck_assert_uint_le(kib, 64);
}
END_TEST

/* As much as is on its way when it dies. */
static void put_and_die(struct other *other)
{
	OTHER_EXPECT(!varbos_cache_open(&cache, other->space, "c", NULL));
	for (uint32_t i = 0; i < keys; i++) {
		struct value value = {.key = i};

		OTHER_EXPECT(!varbos_cache_put_async(cache, &value,
						     offsetof(struct value, round), &value,
						     sizeof(value), NULL));
	}
	_exit(0);
}

START_TEST(what_a_process_has_put_that_dies_is_there)
{
	struct other other;

	hold_up_workers();
	other_start(&other, daemon_.socket, "s", 0, put_and_die);
	other_end(&other);
	for (int i = 0; i < PATIENCE && missing(0, keys, 0); i++)
		usleep(10000);
	ck_assert_uint_eq(missing(0, keys, 0), 0);
}
END_TEST

/* ---- where memory lies in pieces ---- */

/* Each has a limit of its own: together they take all of a space. */
static struct holder {
	struct peer peer;
	uint64_t space;
} holders[HOLDERS];

static struct hold {
	struct holder *by; /* NULL: nobody */
	uint64_t tag;
} holds[SLICES];

static bool hold_one(struct holder *by)
{
	const struct wire_extent_alloc alloc = {.space = by->space, .size = SLICE_BYTES};
	const struct wire_extent_alloced *extent = &by->peer.answer.body.extent_alloced;

	if (!peer_call(&by->peer, WIRE_EXTENT_ALLOC, &alloc))
		return false;
	ck_assert_uint_lt(extent->offset >> SLICE_SHIFT, SLICES);
	holds[extent->offset >> SLICE_SHIFT] = (struct hold){by, extent->tag};
	return true;
}

/* Every second slice is free, and no other. */
static void leave_single_slices(void)
{
	uint32_t held = 0;

	for (int i = 0; i < HOLDERS; i++) {
		peer_open(&holders[i].peer, daemon_.socket);
		holders[i].space = peer_open_space(&holders[i].peer, "s");
		while (hold_one(&holders[i]))
			held++;
	}
	ck_assert_uint_eq(held, SLICES);
	for (uint64_t i = 0; i < SLICES; i += 2) {
		struct holder *by = holds[i].by;

		peer_note(&by->peer, WIRE_EXTENT_FREE,
			  &(struct wire_extent_free){.space = by->space,
						     .offset = i << SLICE_SHIFT,
						     .tag = holds[i].tag});
	}
	for (int i = 0; i < HOLDERS; i++) /* behind its notes */
		ck_assert(peer_call(&holders[i].peer, WIRE_PING, &(struct wire_ping){}));
}

static uint64_t sum(const struct stats_failures *failures)
{
	return failures->memory + failures->too_large + failures->budget_region +
	       failures->budget_space + failures->budget_client;
}

START_TEST(who_finds_single_slices_alone_fills_them)
{
	enum { VALUES = 3000 };
	static uint64_t value[500], found[500];
	struct stats_failures failures;
	uint32_t there = 0;
	size_t size;

	leave_single_slices();
	peer_status(&holders[0].peer);
	failures = statistics(daemon_.socket)->failures;
	ck_assert_uint_eq(sum(&failures), HOLDERS); /* each of them, once */
	for (uint64_t key = 0; key < VALUES; key++) {
		for (size_t i = 0; i < ARRAY_SIZE(value); i++)
			value[i] = key + i;
		ck_assert_msg(
			!varbos_cache_put(cache, &key, sizeof(key), value, sizeof(value), NULL),
			"put %d: %s", (int)key, varbos_error()->message);
	}
	for (uint64_t key = 0; key < VALUES; key++) {
		if (varbos_cache_copy_out(cache, &key, sizeof(key), found, sizeof(found),
					  &size))
			continue;
		ck_assert_uint_eq(size, sizeof(found));
		for (size_t i = 0; i < ARRAY_SIZE(found); i++)
			ck_assert_uint_eq(found[i], key + i);
		there++;
	}
	printf("%u of %d are there\n", there, VALUES);
	ck_assert_uint_eq(there, VALUES);
	/* What was had smaller, or a little later, was not refused. */
	peer_status(&holders[0].peer);
	failures = statistics(daemon_.socket)->failures;
	ck_assert_uint_eq(sum(&failures), HOLDERS);
	for (int i = 0; i < HOLDERS; i++)
		peer_close(&holders[i].peer);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("fill");
	TCase *tcase = tcase_create("fill");

	tcase_add_checked_fixture(tcase, open_cache, close_cache);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, nothing_is_lost_by_filling_fast);
	tcase_add_test(tcase, nothing_is_lost_where_two_fill_at_once_and_the_last_counts);
	tcase_add_test(tcase, an_index_that_all_have_left_takes_no_memory);
	tcase_add_test(tcase, what_a_process_has_put_that_dies_is_there);
	tcase_add_test(tcase, who_finds_single_slices_alone_fills_them);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(int argc, char **argv)
{
	lanes_by(argc, argv);
	keys = argc > 1 ? 20000 : 100000;
	return suite_run(suite());
}
