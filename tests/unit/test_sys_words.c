/*
 * The daemon's side of a words file: what a sweep changes, what it sees, and that nothing in the
 * file, nor anyone who takes it away meanwhile, can do more than to be seen wrong.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/base.h"
#include "daemon/sys/guard.h"
#include "daemon/sys/sys.h"
#include "proto/ring.h"
#include "tests/fuzz/sample.h"
#include "tests/suite.h"

enum { SLICES = 32, PAGE = 4096 };

static struct sys *sys;
static const struct sys_table *table;
static int fd;
static uint32_t *words; /* as a client maps them */
static uint64_t seed;
static _Atomic bool enough; /* for the other thread of a test */

static void setup(void)
{
	const char *text = getenv("VARBOS_SEED");

	seed = text ? strtoull(text, NULL, 0) : 20261121;
	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	enough = false;
	ck_assert_int_eq(guard_install(), 0);
	ck_assert_int_eq(sys_real_new(&sys), 0);
	table = sys->table;
	ck_assert_int_eq(table->words_create(sys, "test", SLICES, &fd), 0);
	words = mmap(NULL, words_file_size(SLICES), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(words, MAP_FAILED);
}

static void teardown(void)
{
	munmap(words, words_file_size(SLICES));
	table->words_destroy(sys, fd);
	sys_real_free(sys);
}

static uint64_t bytes(void)
{
	uint64_t n;

	ck_assert_int_eq(table->blocks(sys, fd, &n), 0);
	return n;
}

static uint32_t word(enum block_state state, uint32_t id, uint32_t generation)
{
	return block_word_pack((struct block_info){state, id, generation});
}

static struct words_found sweep(struct words_run run, const struct block_ids *dead)
{
	struct words_found found = {};

	ck_assert_int_eq(table->words_sweep(sys, fd, SLICES, &run, dead, &found), 0);
	return found;
}

static struct block_ids ids(uint32_t a, uint32_t b)
{
	struct block_ids ids = {};

	block_ids_add(&ids, a);
	block_ids_add(&ids, b);
	return ids;
}

START_TEST(a_words_file_is_its_owners_alone_sealed_and_nothing_but_holes)
{
	struct stat st;
	int seals;

	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_size, (off_t)words_file_size(SLICES));
	ck_assert_uint_eq(bytes(), 0);
	seals = fcntl(fd, F_GET_SEALS);
	ck_assert_int_ge(seals, 0);
	ck_assert_int_eq(~seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	ck_assert_int_eq(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE), 0);
}
END_TEST

START_TEST(a_sweep_frees_what_the_dead_hold_and_were_sent_and_nothing_else)
{
	struct block_ids dead = ids(7, 1023);
	struct words_found found;

	words[words_index(2, 0)] = word(BLOCK_HELD, 7, 1);
	words[words_index(2, 1)] = word(BLOCK_SENT, 1023, 2);
	words[words_index(2, 2)] = word(BLOCK_HELD, 8, 3);
	words[words_index(2, 3)] = word(BLOCK_SENT, BLOCK_ANYONE, 4);
	words[words_index(2, 4)] = word(BLOCK_FREED, 7, 5);
	words[words_index(3, 1023)] = word(BLOCK_HELD, 1023, TAG_MASK);
	words[words_index(1, 1023)] = word(BLOCK_HELD, 7, 6); /* before, and behind: */
	words[words_index(4, 0)] = word(BLOCK_HELD, 7, 7);

	found = sweep((struct words_run){.first = 2, .count = 2}, &dead);
	ck_assert_uint_eq(found.swept, 3);
	ck_assert(found.live);
	ck_assert_uint_eq(words[words_index(2, 0)], word(BLOCK_FREED, 0, 1));
	ck_assert_uint_eq(words[words_index(2, 1)], word(BLOCK_FREED, 0, 2));
	ck_assert_uint_eq(words[words_index(2, 2)], word(BLOCK_HELD, 8, 3));
	ck_assert_uint_eq(words[words_index(2, 3)], word(BLOCK_SENT, BLOCK_ANYONE, 4));
	ck_assert_uint_eq(words[words_index(2, 4)], word(BLOCK_FREED, 7, 5));
	ck_assert_uint_eq(words[words_index(3, 1023)], word(BLOCK_FREED, 0, TAG_MASK));
	ck_assert_uint_eq(words[words_index(1, 1023)], word(BLOCK_HELD, 7, 6));
	ck_assert_uint_eq(words[words_index(4, 0)], word(BLOCK_HELD, 7, 7));
}
END_TEST

START_TEST(what_nobody_holds_is_not_live)
{
	struct block_ids dead = ids(7, 7);
	struct words_run all = {.first = 0, .count = SLICES};
	struct words_found found = sweep(all, &dead);

	ck_assert(!found.live && !found.swept);
	words[words_index(31, 1023)] = word(BLOCK_HELD, 7, 1);
	words[words_index(5, 3)] = word(BLOCK_FREED, 0, 9);
	found = sweep(all, &dead);
	ck_assert(!found.live);
	ck_assert_uint_eq(found.swept, 1);
	words[words_index(31, 1023)] = word(BLOCK_HELD, 9, 2);
	found = sweep(all, &dead);
	ck_assert(found.live && !found.swept);
}
END_TEST

START_TEST(of_a_shared_extent_the_first_word_alone_counts)
{
	struct block_ids dead = ids(7, 7);
	struct words_run run = {.first = 4, .count = 2, .tag = 5};
	struct words_found found = sweep(run, &dead);

	ck_assert(!found.live && !found.freed); /* no one has used it yet: it is not freed */
	words[words_index(4, 1)] = word(BLOCK_HELD, 8, 1);
	words[words_index(5, 0)] = word(BLOCK_HELD, 7, 1);
	found = sweep(run, &dead);
	ck_assert(!found.live && !found.freed && !found.swept);
	words[words_index(4, 0)] = word(BLOCK_HELD, 8, 5);
	found = sweep(run, &dead);
	ck_assert(found.live && !found.freed);
	words[words_index(4, 0)] = word(BLOCK_SENT, 7, 5);
	found = sweep(run, &dead);
	ck_assert(!found.live && found.freed && found.swept == 1);
	found = sweep(run, &dead);
	ck_assert(!found.live && found.freed && !found.swept);
}
END_TEST

START_TEST(a_shared_extent_was_not_freed_by_what_was_there_before_it)
{
	struct block_ids dead = ids(7, 7);
	struct words_run run = {.first = 4, .count = 2, .tag = 5};
	struct words_found found;

	words[words_index(4, 0)] = word(BLOCK_FREED, 0, 4);
	found = sweep(run, &dead);
	ck_assert(!found.live && !found.freed);
	words[words_index(4, 0)] = word(BLOCK_HELD, 7, 4);
	found = sweep(run, &dead);
	ck_assert(!found.live && !found.freed && found.swept == 1);
}
END_TEST

START_TEST(an_owner_is_told_that_something_of_his_was_freed)
{
	struct block_ids dead = ids(7, 7);
	struct words_run run = {.first = 2, .count = 3, .hint = true};

	sweep(run, &dead);
	for (uint32_t i = 0; i < SLICES; i++)
		ck_assert_uint_eq(words_note(words, SLICES, i)->freed, 0);
	words[words_index(2, 77)] = word(BLOCK_HELD, 7, 1);
	words_note(words, SLICES, 3)->info = 5;
	sweep(run, &dead);
	for (uint32_t i = 0; i < SLICES; i++)
		ck_assert_uint_eq(words_note(words, SLICES, i)->freed, i >= 2 && i < 5);
	ck_assert_uint_eq(words_note(words, SLICES, 3)->info, 5);
}
END_TEST

START_TEST(what_nobody_has_written_is_read_without_becoming_pages)
{
	struct block_ids dead = ids(7, 7);

	words[words_index(9, 0)] = word(BLOCK_HELD, 7, 1);
	words[words_index(30, 0)] = word(BLOCK_HELD, 7, 1);
	ck_assert_uint_eq(bytes(), 2 * PAGE);
	sweep((struct words_run){.first = 0, .count = SLICES}, &dead);
	ck_assert_uint_eq(bytes(), 2 * PAGE);
	ck_assert_uint_eq(words[words_index(9, 0)], word(BLOCK_FREED, 0, 1));
	ck_assert_uint_eq(words[words_index(30, 0)], word(BLOCK_FREED, 0, 1));
}
END_TEST

START_TEST(beyond_the_window_nothing_is_swept)
{
	static const struct words_run beyond[] = {
		{.first = SLICES, .count = 1},
		{.first = SLICES - 1, .count = 2},
		{.first = 1, .count = UINT32_MAX},
		{.first = UINT32_MAX, .count = 1},
	};
	struct block_ids dead = ids(7, 7);
	struct words_found found;

	for (size_t i = 0; i < ARRAY_SIZE(beyond); i++)
		ck_assert_int_eq(table->words_sweep(sys, fd, SLICES, &beyond[i], &dead, &found),
				 -ERANGE);
}
END_TEST

/* The whole file is garbage: what a sweep makes of it is what block_word.h says, word by word. */
START_TEST(garbage_is_swept_like_words)
{
	uint64_t n = words_file_size(SLICES) / sizeof(*words);
	uint32_t *before = malloc(n * sizeof(*words));
	struct block_ids dead = {};

	ck_assert_ptr_nonnull(before);
	for (uint32_t i = 0; i < BLOCK_IDS / 64; i++)
		dead.words[i] = sample_random(&seed);
	for (unsigned round = 0; round < 4; round++) {
		struct words_run run = {.first = (uint32_t)(sample_random(&seed) % SLICES)};
		struct words_found found;
		uint64_t from, to, swept = 0;
		bool live = false;

		run.count = (uint32_t)(sample_random(&seed) % (SLICES - run.first)) + 1;
		from = words_index(run.first, 0);
		to = words_index(run.first + run.count, 0);
		for (uint64_t i = 0; i < n; i++)
			words[i] = before[i] = (uint32_t)sample_random(&seed);
		found = sweep(run, &dead);
		for (uint64_t i = 0; i < n; i++) {
			uint32_t expected = before[i];
			bool taken =
				(expected & 3) == BLOCK_HELD || (expected & 3) == BLOCK_SENT;
			bool is_swept =
				i >= from && i < to && block_word_sweep(&expected, &dead);

			swept += is_swept;
			live |= taken && !is_swept && i >= from && i < to;
			ck_assert_uint_eq(words[i], expected);
		}
		ck_assert_uint_eq(found.swept, swept);
		ck_assert_int_eq(found.live, live);
	}
	free(before);
}
END_TEST

/* A member who spoils it all: pages go and come, words change as fast as they can. */
static void *spoil(void *userdata)
{
	uint64_t at, mine = 1;

	(void)userdata;
	while (!enough) {
		at = sample_random(&mine) % SLICES * PAGE;
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, PAGE);
		for (uint64_t i = 0; i < PAGE / sizeof(*words); i += 16)
			atomic_store((_Atomic uint32_t *)&words[at / sizeof(*words) + i],
				     word(BLOCK_HELD, 7, 1));
	}
	return NULL;
}

START_TEST(a_file_that_is_spoiled_meanwhile_ends_no_sweep_late_and_nobody)
{
	struct words_run run = {.first = 0, .count = SLICES, .hint = true};
	struct block_ids dead = ids(7, 7);
	pthread_t thread;
	uint64_t swept = 0;

	ck_assert_int_eq(pthread_create(&thread, NULL, spoil, NULL), 0);
	for (int i = 0; i < 200 || !swept; i++)
		swept += sweep(run, &dead).swept;
	enough = true;
	pthread_join(thread, NULL);
	ck_assert_uint_le(bytes(), words_file_size(SLICES));
}
END_TEST

/* Blocks that change hands at full speed: whatever the dead do not have is never swept. */
static void *hand_over(void *userdata)
{
	_Atomic uint32_t *at = userdata;
	uint32_t generation;

	while (!enough) {
		ck_assert_int_eq(block_alloc(at, 5, &generation), 0);
		ck_assert_int_eq(block_send(at, generation, 5, 6), 0);
		ck_assert_int_eq(block_receive(at, generation, BLOCK_ANYONE, 6), 0);
		ck_assert_int_eq(block_free_own(at, generation, 6), 0);
	}
	return NULL;
}

START_TEST(what_the_living_do_meanwhile_always_succeeds)
{
	struct words_run run = {.first = 0, .count = 1};
	struct block_ids dead = ids(7, 4);
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, hand_over, &words[0]), 0);
	for (int i = 0; i < 2000; i++)
		ck_assert_uint_eq(sweep(run, &dead).swept, 0);
	enough = true;
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(words_are_read_one_by_one)
{
	uint32_t got = 42;

	ck_assert_int_eq(table->words_read(sys, fd, 4 * words_index(3, 3), &got), 0);
	ck_assert_uint_eq(got, 0);
	ck_assert_uint_eq(bytes(), 0);
	words[words_index(3, 3)] = 0x12345678;
	ck_assert_int_eq(table->words_read(sys, fd, 4 * words_index(3, 3), &got), 0);
	ck_assert_uint_eq(got, 0x12345678);
	ck_assert_int_eq(table->words_read(sys, fd, words_file_size(SLICES), &got), -EIO);
}
END_TEST

START_TEST(locks_that_the_dead_hold_in_a_ring_are_orphans)
{
	enum { RING_AT = 3 * PAGE };
	struct ring *ring = (struct ring *)(void *)((char *)words + RING_AT);
	struct block_ids dead = ids(7, 9);

	/* An empty ring in a hole stays a hole. */
	ck_assert_int_eq(table->orphan_locks(sys, fd, 12, RING_AT, &dead), 0);
	ck_assert_uint_eq(bytes(), 0);
	atomic_store(&ring->send.lock, 7U | 3U << 11);
	atomic_store(&ring->receive.lock, 8U | 4U << 11);
	ck_assert_int_eq(table->orphan_locks(sys, fd, 12, RING_AT, &dead), 0);
	ck_assert_uint_eq(atomic_load(&ring->send.lock), RING_ORPHAN | 3U << 11);
	ck_assert_uint_eq(atomic_load(&ring->receive.lock), 8U | 4U << 11);
	atomic_store(&ring->receive.lock, 9U);
	ck_assert_int_eq(table->orphan_locks(sys, fd, 12, RING_AT, &dead), 0);
	ck_assert_uint_eq(atomic_load(&ring->receive.lock), RING_ORPHAN);
	ck_assert_uint_eq(atomic_load(&ring->send.lock), RING_ORPHAN | 3U << 11);
	ck_assert_int_eq(table->orphan_locks(sys, fd, 12, words_file_size(SLICES), &dead),
			 -EIO);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sys_words");
	TCase *tests = tcase_create("words");

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_words_file_is_its_owners_alone_sealed_and_nothing_but_holes);
	tcase_add_test(tests, a_sweep_frees_what_the_dead_hold_and_were_sent_and_nothing_else);
	tcase_add_test(tests, what_nobody_holds_is_not_live);
	tcase_add_test(tests, of_a_shared_extent_the_first_word_alone_counts);
	tcase_add_test(tests, a_shared_extent_was_not_freed_by_what_was_there_before_it);
	tcase_add_test(tests, an_owner_is_told_that_something_of_his_was_freed);
	tcase_add_test(tests, what_nobody_has_written_is_read_without_becoming_pages);
	tcase_add_test(tests, beyond_the_window_nothing_is_swept);
	tcase_add_test(tests, garbage_is_swept_like_words);
	tcase_add_test(tests, a_file_that_is_spoiled_meanwhile_ends_no_sweep_late_and_nobody);
	tcase_add_test(tests, what_the_living_do_meanwhile_always_succeeds);
	tcase_add_test(tests, words_are_read_one_by_one);
	tcase_add_test(tests, locks_that_the_dead_hold_in_a_ring_are_orphans);
	return suite_run(suite);
}
