/*
 * The guarded copy and compare-and-swap: a page that is gone is a result, everywhere else it is
 * what it was.
 * The pages here are those behind the end of a file that was cut: the same SIGBUS as a hole of
 * a hugetlb file (tests/unit/test_sys_reserve.c has that one), without needing root.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "daemon/sys/guard.h"
#include "tests/suite.h"
#include "tests/unfenced.h"

enum { PAGE = 4096, PAGES = 4, THREADS = 4, ROUNDS = 2000 };

struct torn {
	int fd;
	char *memory; /* PAGES pages, of which the first `whole` are there */
};

static struct torn torn_new(int whole)
{
	struct torn torn;

	torn.fd = memfd_create("torn", MFD_CLOEXEC);
	ck_assert_int_ge(torn.fd, 0);
	ck_assert_int_eq(ftruncate(torn.fd, PAGES * PAGE), 0);
	torn.memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, torn.fd, 0);
	ck_assert_ptr_ne(torn.memory, MAP_FAILED);
	memset(torn.memory, 'a', PAGES * PAGE);
	ck_assert_int_eq(ftruncate(torn.fd, whole * PAGE), 0);
	return torn;
}

static void torn_free(struct torn *torn)
{
	munmap(torn->memory, PAGES * PAGE);
	close(torn->fd);
}

static void setup(void)
{
	ck_assert_int_eq(guard_install(), 0);
	ck_assert_int_eq(guard_install(), 0);
}

START_TEST(a_copy_of_pages_that_are_there_is_a_copy)
{
	char from[300], to[302];

	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (char)i;
	for (size_t size = 0; size <= sizeof(from); size++) {
		memset(to, '#', sizeof(to));
		ck_assert_int_eq(guard_copy(to + 1, from, size), 0);
		ck_assert_mem_eq(to + 1, from, size);
		ck_assert_int_eq(to[0], '#');
		ck_assert_int_eq(to[size + 1], '#');
	}
}
END_TEST

START_TEST(a_page_may_be_gone_at_any_byte_of_a_copy)
{
	struct torn torn = torn_new(1);
	char here[300] = {0};

	for (size_t size = 1; size < sizeof(here); size++)
		for (size_t there = 0; there <= size; there++) {
			char *edge = torn.memory + PAGE - there;
			int expected = there == size ? 0 : -EFAULT;

			ck_assert_int_eq(guard_copy(here, edge, size), expected);
			ck_assert_int_eq(guard_copy(edge, here, size), expected);
		}
	torn_free(&torn);
}
END_TEST

/* What streams is at least 16 KiB. */
enum { WIDE = 5, WIDE_BYTES = WIDE * PAGE };

START_TEST(a_streamed_copy_is_a_copy_or_fails_as_one)
{
	static char from[WIDE_BYTES + 64], to[WIDE_BYTES + 192];
	int fd = memfd_create("wide", MFD_CLOEXEC);
	char *torn = mmap(NULL, WIDE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ck_assert_ptr_ne(torn, MAP_FAILED);
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (char)(i * 31 + i / 256);
	for (size_t i = 0; i < 256; i++) {
		size_t size = WIDE_BYTES - i * 37, shift = i % 64;

		memset(to, '#', sizeof(to));
		ck_assert_int_eq(guard_copy_streamed(to + 64 + shift, from + i % 7, size), 0);
		ck_assert_mem_eq(to + 64 + shift, from + i % 7, size);
		ck_assert(to[63 + shift] == '#' && to[64 + shift + size] == '#');
	}
	for (int whole = 0; whole <= WIDE; whole++) {
		int expected = whole == WIDE ? 0 : -EFAULT;

		ck_assert_int_eq(ftruncate(fd, 0), 0);
		ck_assert_int_eq(ftruncate(fd, whole * PAGE), 0);
		ck_assert_int_eq(guard_copy_streamed(torn + 1, from, WIDE_BYTES - 1), expected);
		ck_assert_int_eq(guard_copy_streamed(to, torn + 1, WIDE_BYTES - 1), expected);
	}
	munmap(torn, WIDE_BYTES);
	close(fd);
}
END_TEST

#if UNFENCED_SEEN
START_TEST(what_was_streamed_is_fenced_though_the_copy_failed)
{
	static char from[WIDE_BYTES], to[WIDE_BYTES];
	struct torn torn = torn_new(PAGES - 1);
	unsigned n = 0;
	int r;

	unfenced_begin();
	r = guard_copy_streamed(to, from, sizeof(to));
	ck_assert(!unfenced_end(&n));
	ck_assert_int_eq(r, 0);
	ck_assert_uint_gt(n, 0);
	n = 0;
	unfenced_begin();
	r = guard_copy_streamed(torn.memory, from, PAGES * PAGE);
	ck_assert(!unfenced_end(&n));
	ck_assert_int_eq(r, -EFAULT);
	ck_assert_uint_gt(n, 0);
	torn_free(&torn);
}
END_TEST
#endif

START_TEST(a_page_that_is_gone_fails_the_copy_out_of_it)
{
	struct torn torn = torn_new(2);
	char to[PAGE];

	ck_assert_int_eq(guard_copy(to, torn.memory + PAGE, PAGE), 0);
	ck_assert_int_eq(guard_copy(to, torn.memory + 2 * PAGE, 1), -EFAULT);
	ck_assert_int_eq(guard_copy(to, torn.memory + 2 * PAGE - 1, 2), -EFAULT);
	ck_assert_int_eq(guard_copy(to, torn.memory + PAGE + 1, PAGE), -EFAULT);
	ck_assert_int_eq(guard_copy(to, torn.memory + 2 * PAGE, 0), 0);
	torn_free(&torn);
}
END_TEST

START_TEST(a_page_that_is_gone_fails_the_copy_into_it)
{
	struct torn torn = torn_new(1);
	char from[PAGE] = "x";

	ck_assert_int_eq(guard_copy(torn.memory, from, PAGE), 0);
	ck_assert_int_eq(guard_copy(torn.memory + 1, from, PAGE), -EFAULT);
	ck_assert_int_eq(guard_copy(torn.memory + PAGE, from, 1), -EFAULT);
	torn_free(&torn);
}
END_TEST

START_TEST(the_program_goes_on_after_many_faults)
{
	struct torn torn = torn_new(1);
	char to[64];

	for (int i = 0; i < ROUNDS; i++) {
		ck_assert_int_eq(guard_copy(to, torn.memory + PAGE, sizeof(to)), -EFAULT);
		ck_assert_int_eq(guard_copy(to, torn.memory, sizeof(to)), 0);
	}
	torn_free(&torn);
}
END_TEST

struct work {
	struct torn *torn;
	int id;
	_Atomic int wrong;
};

/* Even ones copy what is there, odd ones what is not, all at once. */
static void *work_run(void *userdata)
{
	struct work *work = userdata;
	int page = work->id % 2, r;
	char to[512];

	for (int i = 0; i < ROUNDS; i++) {
		memset(to, 0, sizeof(to));
		r = guard_copy(to, work->torn->memory + page * PAGE + i % 7, sizeof(to));
		if (page ? r != -EFAULT : r || to[0] != 'a' || to[sizeof(to) - 1] != 'a')
			work->wrong++;
	}
	return NULL;
}

START_TEST(each_thread_gets_its_own_result)
{
	struct torn torn = torn_new(1);
	struct work work[THREADS] = {};
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++) {
		work[i].torn = &torn;
		work[i].id = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work_run, &work[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_int_eq(work[i].wrong, 0);
	}
	torn_free(&torn);
}
END_TEST

static void *flicker(void *userdata)
{
	struct work *work = userdata;

	while (!work->wrong)
		if (ftruncate(work->torn->fd, PAGE) < 0 ||
		    ftruncate(work->torn->fd, PAGES * PAGE) < 0)
			break;
	return NULL;
}

START_TEST(pages_that_come_and_go_give_either_answer_and_no_death)
{
	struct torn torn = torn_new(1);
	struct work work = {.torn = &torn};
	pthread_t thread;
	char to[PAGE];
	int r;

	ck_assert_int_eq(pthread_create(&thread, NULL, flicker, &work), 0);
	for (int i = 0; i < ROUNDS; i++) {
		r = guard_copy(to, torn.memory + PAGE, PAGE);
		ck_assert(r == 0 || r == -EFAULT);
	}
	work.wrong = 1;
	pthread_join(thread, NULL);
	torn_free(&torn);
}
END_TEST

START_TEST(a_swap_on_a_page_that_is_there_is_a_swap)
{
	struct torn torn = torn_new(1);
	_Atomic uint32_t *word = (_Atomic uint32_t *)torn.memory;
	uint32_t seen = 0;

	atomic_store(word, 7);
	ck_assert_int_eq(guard_cas32(word, 7, 0xfffffffe, &seen), 0);
	ck_assert_uint_eq(seen, 7);
	ck_assert_uint_eq(atomic_load(word), 0xfffffffe);
	ck_assert_int_eq(guard_cas32(word, 7, 8, &seen), 0);
	ck_assert_uint_eq(seen, 0xfffffffe);
	ck_assert_uint_eq(atomic_load(word), 0xfffffffe);
	ck_assert_uint_eq(atomic_load(word + 1), 0x61616161); /* and no other */
	torn_free(&torn);
}
END_TEST

START_TEST(a_page_that_is_gone_fails_the_swap)
{
	struct torn torn = torn_new(1);
	uint32_t seen = 42;

	for (int i = 0; i < ROUNDS; i++)
		ck_assert_int_eq(
			guard_cas32((_Atomic uint32_t *)(torn.memory + PAGE), 0, 1, &seen),
			-EFAULT);
	ck_assert_uint_eq(seen, 42);
	ck_assert_int_eq(guard_cas32((_Atomic uint32_t *)torn.memory, 0x61616161, 1, &seen), 0);
	ck_assert_uint_eq(seen, 0x61616161);
	torn_free(&torn);
}
END_TEST

static void *add_many(void *userdata)
{
	_Atomic uint32_t *word = userdata;
	uint32_t seen, expected;

	for (int i = 0; i < ROUNDS; i++)
		for (expected = 0;
		     guard_cas32(word, expected, expected + 1, &seen) || seen != expected;
		     expected = seen)
			;
	return NULL;
}

START_TEST(swaps_of_several_threads_lose_nothing)
{
	struct torn torn = torn_new(1);
	_Atomic uint32_t *word = (_Atomic uint32_t *)torn.memory;
	pthread_t threads[THREADS];

	atomic_store(word, 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, add_many, (void *)(uintptr_t)word),
			0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(word), THREADS * ROUNDS);
	torn_free(&torn);
}
END_TEST

/* These four install the guard themselves, over what was there before. */
START_TEST(a_fault_outside_the_copy_kills_as_ever)
{
	struct torn torn = torn_new(1);

	signal(SIGBUS, SIG_DFL);
	ck_assert_int_eq(guard_install(), 0);
	*(volatile char *)(torn.memory + PAGE) = 'x';
}
END_TEST

START_TEST(a_signal_that_is_no_fault_kills_as_ever)
{
	signal(SIGBUS, SIG_DFL);
	ck_assert_int_eq(guard_install(), 0);
	raise(SIGBUS);
}
END_TEST

static void handler_before(int number)
{
	_exit(number == SIGBUS ? 42 : 1);
}

static void handler_before_info(int number, siginfo_t *info, void *context)
{
	_exit(number == SIGBUS && info->si_code == BUS_ADRERR && context ? 43 : 1);
}

START_TEST(a_fault_outside_goes_to_the_handler_that_was_there)
{
	struct torn torn = torn_new(1);

	signal(SIGBUS, handler_before);
	ck_assert_int_eq(guard_install(), 0);
	*(volatile char *)(torn.memory + PAGE) = 'x';
}
END_TEST

START_TEST(a_fault_outside_tells_the_handler_that_was_there_all_about_it)
{
	struct sigaction action = {.sa_sigaction = handler_before_info, .sa_flags = SA_SIGINFO};
	struct torn torn = torn_new(1);
	char to;

	ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
	ck_assert_int_eq(guard_install(), 0);
	ck_assert_int_eq(guard_copy(&to, torn.memory + PAGE, 1), -EFAULT);
	*(volatile char *)(torn.memory + PAGE) = 'x';
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guard");
	TCase *inside = tcase_create("inside"), *outside = tcase_create("outside");
	const char *fork_mode = getenv("CK_FORK");

	suite_add_tcase(suite, inside);
	tcase_set_timeout(inside, 60);
	tcase_add_checked_fixture(inside, setup, NULL);
	tcase_add_test(inside, a_copy_of_pages_that_are_there_is_a_copy);
	tcase_add_test(inside, a_page_may_be_gone_at_any_byte_of_a_copy);
	tcase_add_test(inside, a_streamed_copy_is_a_copy_or_fails_as_one);
#if UNFENCED_SEEN
	tcase_add_test(inside, what_was_streamed_is_fenced_though_the_copy_failed);
#endif
	tcase_add_test(inside, a_page_that_is_gone_fails_the_copy_out_of_it);
	tcase_add_test(inside, a_page_that_is_gone_fails_the_copy_into_it);
	tcase_add_test(inside, the_program_goes_on_after_many_faults);
	tcase_add_test(inside, each_thread_gets_its_own_result);
	tcase_add_test(inside, pages_that_come_and_go_give_either_answer_and_no_death);

	tcase_add_test(inside, a_swap_on_a_page_that_is_there_is_a_swap);
	tcase_add_test(inside, a_page_that_is_gone_fails_the_swap);
	tcase_add_test(inside, swaps_of_several_threads_lose_nothing);

	/* Each of these ends its process; where tests share one, they are left out. */
	if (!fork_mode || strcmp(fork_mode, "no") != 0) {
		suite_add_tcase(suite, outside);
		tcase_add_test_raise_signal(outside, a_signal_that_is_no_fault_kills_as_ever,
					    SIGBUS);
		tcase_add_exit_test(outside, a_fault_outside_goes_to_the_handler_that_was_there,
				    42);
		tcase_add_exit_test(
			outside, a_fault_outside_tells_the_handler_that_was_there_all_about_it,
			43);
		tcase_add_test_raise_signal(outside, a_fault_outside_the_copy_kills_as_ever,
					    SIGBUS);
	}
	return suite_run(suite);
}
