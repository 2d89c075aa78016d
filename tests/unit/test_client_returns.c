/*
 * The return ring's client side, against a reader that does what the daemon does.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "client/returns.h"
#include "tests/suite.h"

enum { RACE_RECORDS = 500000 };

static struct return_ring ring;

/* A ring of its own for each test, as a fork of its own would give: under the thread sanitizer there is none. */
static void empty_ring(void)
{
	ring = (struct return_ring){};
}

START_TEST(a_record_is_there_when_its_turn_is)
{
	struct returns returns = {.ring = &ring};

	ck_assert(returns_put(&returns, 7, 0x123));
	ck_assert_uint_eq(ring.records[0].turn, 1);
	ck_assert_uint_eq(ring.records[0].space, 7);
	ck_assert_uint_eq(ring.records[0].ref, 0x123);
}
END_TEST

START_TEST(without_a_ring_nothing_is_put)
{
	struct returns returns = {};

	ck_assert(!returns_put(&returns, 7, 0x123));
}
END_TEST

START_TEST(a_record_is_overwritten_only_when_an_answer_has_shown_it_taken)
{
	struct returns returns = {.ring = &ring};

	for (uint64_t i = 0; i < RETURNS_MAX; i++)
		ck_assert(returns_put(&returns, 1, i));
	ck_assert(!returns_put(&returns, 1, 999));
	ck_assert_uint_eq(ring.records[0].ref, 0);

	returns_taken(&returns, 1); /* an answer to what was sent after the first */
	ck_assert(returns_put(&returns, 1, 1000));
	ck_assert_uint_eq(ring.records[0].ref, 1000);
	ck_assert(!returns_put(&returns, 1, 1001));
	returns_taken(&returns, 0); /* an answer that comes late takes nothing back */
	ck_assert(!returns_put(&returns, 1, 1001));
}
END_TEST

/* Takes records as daemon/server/returns.c does; the writer is told how far it is. */
static _Atomic uint64_t taken;
static _Atomic uint64_t torn;

static void *take(void *unused)
{
	(void)unused;
	for (uint64_t next = 1; next <= RACE_RECORDS;) {
		struct return_record *record = &ring.records[(next - 1) % RETURNS_MAX];

		if (atomic_load_explicit(&record->turn, memory_order_acquire) != next) {
			sched_yield();
			continue;
		}
		if (record->space != next * 3 || record->ref != next * 5)
			atomic_fetch_add(&torn, 1);
		atomic_store_explicit(&taken, next, memory_order_release);
		next++;
	}
	return NULL;
}

START_TEST(whoever_sees_a_turn_sees_the_record_behind_it)
{
	struct returns returns = {.ring = &ring};
	pthread_t reader;

	ck_assert(!pthread_create(&reader, NULL, take, NULL));
	for (uint64_t i = 1; i <= RACE_RECORDS;) {
		if (returns_put(&returns, i * 3, i * 5)) {
			i++;
		} else {
			sched_yield();
			returns_taken(&returns,
				      atomic_load_explicit(&taken, memory_order_acquire));
		}
	}
	pthread_join(reader, NULL);
	ck_assert_uint_eq(torn, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("client returns");
	TCase *t = tcase_create("client returns");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, empty_ring, NULL);
	tcase_add_test(t, a_record_is_there_when_its_turn_is);
	tcase_add_test(t, without_a_ring_nothing_is_put);
	tcase_add_test(t, a_record_is_overwritten_only_when_an_answer_has_shown_it_taken);
	tcase_add_test(t, whoever_sees_a_turn_sees_the_record_behind_it);
	suite_add_tcase(s, t);
	return suite_run(s);
}
