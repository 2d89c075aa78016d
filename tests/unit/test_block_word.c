/*
 * Block words: the table of transitions at the top of proto/block_word.h, written once more as
 * rows, and every function held against all of it. Then threads, on one word.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/base.h"
#include "proto/block_word.h"
#include "tests/suite.h"

enum { SELF = 5, OTHER = 6, CHANNEL = 7, LAST = BLOCK_IDS - 1 };

static const uint32_t ids[] = {BLOCK_ANYONE, SELF, OTHER, CHANNEL, LAST};
static const uint32_t generations[] = {0, 1, 2, 0x80000, TAG_MASK - 1, TAG_MASK};

static uint32_t word(enum block_state state, uint32_t id, uint32_t generation)
{
	return block_word_pack((struct block_info){state, id, generation});
}

/* For each word that there is a reason to tell apart. */
#define EACH_WORD(s, i, g)                                     \
	for (unsigned s = BLOCK_FREE; s <= BLOCK_FREED; s++)   \
		for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) \
			for (unsigned g = 0; g < ARRAY_SIZE(generations); g++)

START_TEST(a_word_unpacks_to_what_was_packed)
{
	struct block_info info;

	for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 10007) {
		info = block_word_unpack((uint32_t)bits);
		ck_assert_uint_eq(block_word_pack(info), bits);
	}
	info = block_word_unpack(0);
	ck_assert_int_eq(info.state, BLOCK_FREE);
	ck_assert_uint_eq(block_word_pack((struct block_info){BLOCK_SENT, 1023, TAG_MASK}),
			  0xfffffffe);
	ck_assert_uint_eq(block_word_pack((struct block_info){BLOCK_HELD, 1, 1}), 0x1005);
}
END_TEST

START_TEST(a_block_is_allocated_when_nobody_has_it_under_the_next_generation)
{
	EACH_WORD(s, i, g)
	{
		uint32_t old = word(s, ids[i], generations[g]), new = old;
		int r = block_word_alloc(&new, SELF);

		if (s == BLOCK_HELD || s == BLOCK_SENT) {
			ck_assert_int_eq(r, BLOCK_E_BUSY);
			ck_assert_uint_eq(new, old);
			continue;
		}
		ck_assert_int_eq(r, 0);
		ck_assert_uint_eq(new,
				  word(BLOCK_HELD, SELF,
				       generations[g] == TAG_MASK ? 1 : generations[g] + 1));
	}
}
END_TEST

/* What a reference of generation `with` is refused with, whoever asks; or 0. */
static int refused(enum block_state state, uint32_t generation, uint32_t with)
{
	if (with == 0 || generation != with)
		return BLOCK_E_STALE;
	return state == BLOCK_FREE || state == BLOCK_FREED ? BLOCK_E_FREED : 0;
}

START_TEST(only_the_holder_sends_or_frees_and_all_others_are_told_why)
{
	EACH_WORD(s, i, g)
	for (unsigned with = 0; with < ARRAY_SIZE(generations); with++) {
		uint32_t old = word(s, ids[i], generations[g]), sent = old, freed = old,
			 own = old;
		int want = refused(s, generations[g], generations[with]);

		if (!want && s == BLOCK_SENT)
			want = BLOCK_E_SENT;
		if (!want && ids[i] != SELF)
			want = BLOCK_E_HELD;
		ck_assert_int_eq(block_word_send(&sent, generations[with], SELF, CHANNEL),
				 want);
		ck_assert_int_eq(block_word_free(&freed, generations[with], SELF, false), want);
		ck_assert_int_eq(block_word_free(&own, generations[with], SELF, true), want);
		ck_assert_uint_eq(sent, want ? old : word(BLOCK_SENT, CHANNEL, generations[g]));
		ck_assert_uint_eq(freed, want ? old : word(BLOCK_FREED, 0, generations[g]));
		ck_assert_uint_eq(own, want ? old : word(BLOCK_FREE, 0, generations[g]));
	}
}
END_TEST

START_TEST(only_an_addressee_receives)
{
	EACH_WORD(s, i, g)
	for (unsigned with = 0; with < ARRAY_SIZE(generations); with++)
		for (unsigned channel = 0; channel < 2; channel++) {
			uint32_t old = word(s, ids[i], generations[g]), new = old;
			int want = refused(s, generations[g], generations[with]);
			bool mine = channel ? ids[i] == CHANNEL
					    : ids[i] == SELF || ids[i] == BLOCK_ANYONE;

			if (!want && s == BLOCK_HELD)
				want = BLOCK_E_HELD;
			if (!want && !mine)
				want = BLOCK_E_SENT;
			ck_assert_int_eq(block_word_receive(&new, generations[with],
							    channel ? CHANNEL : BLOCK_ANYONE,
							    SELF),
					 want);
			ck_assert_uint_eq(new,
					  want ? old : word(BLOCK_HELD, SELF, generations[g]));
		}
}
END_TEST

START_TEST(an_owner_collects_what_others_freed_and_nothing_else)
{
	EACH_WORD(s, i, g)
	{
		uint32_t old = word(s, ids[i], generations[g]), new = old;

		ck_assert_int_eq(block_word_collect(&new), s == BLOCK_FREED ? 0 : BLOCK_E_BUSY);
		ck_assert_uint_eq(
			new, s == BLOCK_FREED ? word(BLOCK_FREE, ids[i], generations[g]) : old);
	}
}
END_TEST

START_TEST(a_sweep_frees_what_dead_ids_hold_or_were_sent)
{
	struct block_ids dead = {};

	block_ids_add(&dead, BLOCK_ANYONE); /* no id, so never dead */
	block_ids_add(&dead, OTHER);
	block_ids_add(&dead, LAST);
	EACH_WORD(s, i, g)
	{
		uint32_t old = word(s, ids[i], generations[g]), new = old;
		bool swept = (s == BLOCK_HELD || s == BLOCK_SENT) &&
			     (ids[i] == OTHER || ids[i] == LAST);

		ck_assert_int_eq(block_word_sweep(&new, &dead), swept);
		ck_assert_uint_eq(new, swept ? word(BLOCK_FREED, 0, generations[g]) : old);
	}
}
END_TEST

START_TEST(a_set_of_ids_has_what_was_added)
{
	struct block_ids set = {};

	for (uint32_t id = 0; id < BLOCK_IDS; id += 3)
		block_ids_add(&set, id);
	for (uint32_t id = 0; id < BLOCK_IDS; id++)
		ck_assert_int_eq(block_ids_has(&set, id), id % 3 == 0);
}
END_TEST

START_TEST(a_reference_is_stale_for_all_generations_but_its_own)
{
	uint32_t w = 0, generation;

	/* Once around: 2^20 - 1 allocations later it would pass again. */
	for (uint32_t i = 0; i < TAG_MASK; i++) {
		bool good = !block_word_alloc(&w, SELF);

		generation = block_word_unpack(w).generation;
		good = good && generation == i + 1 &&
		       block_word_check(w, 1) == (i ? BLOCK_E_STALE : 0) &&
		       !block_word_free(&w, generation, SELF, i & 1);
		if (!good)
			ck_abort_msg("allocation %u", i);
	}
	ck_assert_int_eq(block_word_alloc(&w, SELF), 0);
	ck_assert_uint_eq(block_word_unpack(w).generation, 1);
}
END_TEST

START_TEST(a_hint_is_set_by_who_frees_for_the_owner_and_taken_once)
{
	_Atomic uint32_t shared = 0, hint = 0;
	uint32_t generation;

	ck_assert_int_eq(block_alloc(&shared, SELF, &generation), 0);
	ck_assert_int_eq(block_free_own(&shared, generation, SELF), 0);
	ck_assert(!block_hint_take(&hint));
	ck_assert_int_eq(block_alloc(&shared, SELF, &generation), 0);
	ck_assert_int_eq(block_send(&shared, generation, SELF, BLOCK_ANYONE), 0);
	ck_assert_int_eq(block_receive(&shared, generation, BLOCK_ANYONE, OTHER), 0);
	ck_assert_int_eq(block_free(&shared, generation, SELF, &hint), BLOCK_E_HELD);
	ck_assert(!block_hint_take(&hint));
	ck_assert_int_eq(block_free(&shared, generation, OTHER, &hint), 0);
	ck_assert_int_eq(block_free(&shared, generation, OTHER, &hint), BLOCK_E_FREED);
	ck_assert(block_hint_take(&hint));
	ck_assert(!block_hint_take(&hint));
	ck_assert(block_collect(&shared));
	ck_assert(!block_collect(&shared));
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 5000 };

static struct {
	_Atomic uint32_t word, hint;
	_Atomic uint32_t generation; /* as the owner said last */
	uint64_t data;               /* plain: whoever holds the block may write it */
	_Atomic uint64_t received[THREADS];
	atomic_bool stop;
} shared;

/* Receives what was sent to anyone, adds one, frees it for the owner. */
static void *taker(void *userdata)
{
	uint32_t self = (uint32_t)(uintptr_t)userdata, generation;

	while (!atomic_load(&shared.stop)) {
		generation = atomic_load(&shared.generation);
		if (block_receive(&shared.word, generation, BLOCK_ANYONE, self)) {
			sched_yield();
			continue;
		}
		shared.data++;
		atomic_fetch_add(&shared.received[self - 2], 1);
		if (block_free(&shared.word, generation, self, &shared.hint))
			abort();
	}
	return NULL;
}

START_TEST(each_block_is_received_by_one_thread_which_sees_what_was_written)
{
	pthread_t threads[THREADS - 1];
	uint64_t received = 0;
	uint32_t generation;

	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, taker, (void *)(uintptr_t)(i + 2)),
			0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		while (block_alloc(&shared.word, 1, &generation))
			sched_yield();
		ck_assert_uint_eq(shared.data, i);
		atomic_store(&shared.generation, generation);
		ck_assert_int_eq(block_send(&shared.word, generation, 1, BLOCK_ANYONE), 0);
	}
	while (block_alloc(&shared.word, 1, &generation))
		sched_yield();
	atomic_store(&shared.stop, true);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		received += shared.received[i];
	}
	ck_assert_uint_eq(received, ROUNDS);
	ck_assert_uint_eq(shared.data, ROUNDS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("block_word");
	TCase *tests = tcase_create("block_word");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, a_word_unpacks_to_what_was_packed);
	tcase_add_test(tests,
		       a_block_is_allocated_when_nobody_has_it_under_the_next_generation);
	tcase_add_test(tests, only_the_holder_sends_or_frees_and_all_others_are_told_why);
	tcase_add_test(tests, only_an_addressee_receives);
	tcase_add_test(tests, an_owner_collects_what_others_freed_and_nothing_else);
	tcase_add_test(tests, a_sweep_frees_what_dead_ids_hold_or_were_sent);
	tcase_add_test(tests, a_set_of_ids_has_what_was_added);
	tcase_add_test(tests, a_reference_is_stale_for_all_generations_but_its_own);
	tcase_add_test(tests, a_hint_is_set_by_who_frees_for_the_owner_and_taken_once);
	tcase_add_test(tests, each_block_is_received_by_one_thread_which_sees_what_was_written);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
