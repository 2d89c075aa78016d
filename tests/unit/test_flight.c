#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/flight.h"
#include "client/fork.h"
#include "client/lock.h"
#include "tests/suite.h"

enum { THREADS = 4, ROUNDS = 2000, LONGEST_US = 5000000 };

static void setup(void)
{
	ck_assert_int_eq(fork_watch(), 0);
}

static uint64_t soon(uint64_t ms)
{
	return clock_ns() + ms * 1000000;
}

static struct flight *lead(uint64_t opening, uint64_t hash)
{
	struct flight *flight;
	uint32_t code;

	ck_assert_int_eq(flight_join(&flight, opening, hash, 0, &code), 0);
	return flight;
}

struct wait {
	uint64_t hash;
	int r;
	uint32_t code;
	_Atomic bool comes; /* next it joins */
};

static void *join_and_wait(void *context)
{
	struct wait *wait = context;
	struct flight *flight;

	wait->comes = true;
	wait->r = flight_join(&flight, 1, wait->hash, soon(20000), &wait->code);
	if (!wait->r)
		flight_end(flight, 0);
	return NULL;
}

/* Of another thread that will not wait for long. */
static void *join_at_once(void *context)
{
	struct wait *wait = context;
	struct flight *flight;

	wait->r = flight_join(&flight, 1, wait->hash, 0, &wait->code);
	if (wait->r == FLIGHT_E_OTHERS)
		wait->r = flight_join(&flight, 1, wait->hash, soon(5), &wait->code);
	if (!wait->r)
		flight_end(flight, 0);
	return NULL;
}

static struct wait in_thread(void *(*run)(void *), uint64_t hash)
{
	struct wait wait = {.hash = hash};
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, run, &wait), 0);
	pthread_join(thread, NULL);
	return wait;
}

START_TEST(who_waits_hears_what_has_become_of_it)
{
	useconds_t pause_us = 20000;
	pthread_t threads[2];
	unsigned heard;

	/* Who comes when it has ended has one of his own: on a busy machine they may take a while. */
	do {
		struct wait waits[2] = {{.hash = 7}, {.hash = 7}};
		struct flight *flight = lead(1, 7);

		heard = 0;
		for (int i = 0; i < 2; i++)
			ck_assert_int_eq(
				pthread_create(&threads[i], NULL, join_and_wait, &waits[i]), 0);
		for (int i = 0; i < 2; i++)
			while (!waits[i].comes)
				sched_yield();
		usleep(pause_us);
		flight_end(flight, 42);
		for (int i = 0; i < 2; i++) {
			pthread_join(threads[i], NULL);
			heard += waits[i].r == FLIGHT_E_ENDED && waits[i].code == 42;
		}
		pause_us *= 4;
	} while (heard < 2 && pause_us < LONGEST_US);
	ck_assert_uint_eq(heard, 2);
	ck_assert_int_eq(in_thread(join_at_once, 7).r, 0); /* it has ended for good */
}
END_TEST

START_TEST(nobody_waits_longer_than_he_wants)
{
	struct flight *flight = lead(1, 7);

	ck_assert_int_eq(in_thread(join_at_once, 7).r, FLIGHT_E_OTHERS);
	/* another key, or another cache, is another flight: in the same bucket, say */
	ck_assert_int_eq(in_thread(join_at_once, 7 + 64).r, 0);
	flight_end(lead(2, 7), 0);
	flight_end(flight, 0);
}
END_TEST

START_TEST(no_thread_waits_for_itself)
{
	struct flight *outer = lead(1, 7), *inner = lead(1, 8), *flight;
	uint32_t code;

	ck_assert_int_eq(flight_join(&flight, 1, 7, soon(20000), &code), FLIGHT_E_DEADLOCK);
	ck_assert_int_eq(flight_join(&flight, 1, 8, 0, &code), FLIGHT_E_DEADLOCK);
	flight_end(inner, 0);
	flight_end(outer, 0);
	flight_end(lead(1, 7), 0);
}
END_TEST

/* Leads its own, and waits for the next one's. */
struct ring {
	uint64_t hash, wanted;
	pthread_barrier_t *barrier;
	int r;
};

static void *join_ring(void *context)
{
	struct ring *ring = context;
	struct flight *own = lead(1, ring->hash), *flight;
	uint32_t code;

	pthread_barrier_wait(ring->barrier);
	ring->r = flight_join(&flight, 1, ring->wanted, soon(20000), &code);
	if (!ring->r)
		flight_end(flight, 0);
	flight_end(own, 0);
	return NULL;
}

START_TEST(of_those_who_would_wait_in_a_ring_one_is_refused)
{
	struct ring rings[THREADS];
	pthread_t threads[THREADS];
	pthread_barrier_t barrier;
	int refused = 0;

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (uint64_t i = 0; i < THREADS; i++) {
		rings[i] = (struct ring){i, (i + 1) % THREADS, &barrier, 0};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, join_ring, &rings[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		ck_assert(rings[i].r != FLIGHT_E_OTHERS);
		refused += rings[i].r == FLIGHT_E_DEADLOCK;
	}
	ck_assert_int_eq(refused, 1);
	pthread_barrier_destroy(&barrier);
}
END_TEST

static _Atomic int leaders, led;

static void *lead_often(void *context)
{
	struct flight *flight;
	uint32_t code;

	(void)context;
	for (int i = 0; i < ROUNDS; i++) {
		if (flight_join(&flight, 1, 7, soon(20000), &code))
			continue;
		ck_assert_int_eq(atomic_fetch_add(&leaders, 1), 0);
		atomic_fetch_add(&led, 1);
		atomic_fetch_sub(&leaders, 1);
		flight_end(flight, 0);
	}
	return NULL;
}

START_TEST(one_leads_at_a_time)
{
	pthread_t threads[THREADS];

	leaders = led = 0;
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, lead_often, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_gt(led, 0);
}
END_TEST

START_TEST(a_forked_child_has_none_of_its_parents)
{
	struct flight *flight = lead(1, 7);
	int status = 1;
	pid_t pid = fork();

	if (!pid) {
		struct flight *own;
		uint32_t code;
		int r = flight_join(&own, 1, 7, soon(20000), &code);

		flight_end(flight, 0); /* as its callback returns there, too */
		if (!r)
			flight_end(own, 0);
		_exit(r);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(in_thread(join_at_once, 7).r, FLIGHT_E_OTHERS);
	flight_end(flight, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("flight");
	TCase *tcase = tcase_create("flight");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, who_waits_hears_what_has_become_of_it);
	tcase_add_test(tcase, nobody_waits_longer_than_he_wants);
	tcase_add_test(tcase, no_thread_waits_for_itself);
	tcase_add_test(tcase, of_those_who_would_wait_in_a_ring_one_is_refused);
	tcase_add_test(tcase, one_leads_at_a_time);
	tcase_add_test(tcase, a_forked_child_has_none_of_its_parents);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
