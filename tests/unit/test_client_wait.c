/*
 * Waiting for either of two words, where the kernel can do that and where it cannot.
 */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "client/lock.h"
#include "client/wait.h"
#include "tests/suite.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

#define SECOND ((uint64_t)1000000000)

static _Atomic uint32_t *words; /* shared, as those of a channel and a root file are */

static void set_up(void)
{
	words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(words, MAP_FAILED);
}

static void tear_down(void)
{
	munmap((void *)words, 4096);
}

/* An old kernel, from here on. */
static void forget_waitv(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex_waitv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void *change(void *word)
{
	usleep(20000);
	atomic_fetch_add((_Atomic uint32_t *)word, 1);
	wait_wake(word);
	return NULL;
}

/* _i: which of the two changes, and on which kernel. */
START_TEST(a_change_of_either_word_ends_the_wait)
{
	struct wait_word first = {&words[0], 0}, second = {&words[1], 0};
	_Atomic uint32_t *changing = &words[_i & 1];
	pthread_t thread;

	if (_i & 2)
		forget_waitv();
	ck_assert_int_eq(pthread_create(&thread, NULL, change, (void *)(uintptr_t)changing), 0);
	while (!atomic_load(changing))
		wait_either(first, second, 0);
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(words_that_have_changed_already_are_not_waited_for)
{
	if (_i & 2)
		forget_waitv();
	words[_i & 1] = 1;
	wait_either((struct wait_word){&words[0], 0}, (struct wait_word){&words[1], 0}, 0);
}
END_TEST

START_TEST(a_wait_ends_at_its_deadline)
{
	struct wait_word first = {&words[0], 0}, second = {&words[1], 0};
	uint64_t deadline = clock_ns() + SECOND / 5;

	if (_i)
		forget_waitv();
	while (clock_ns() < deadline)
		wait_either(first, second, deadline);
}
END_TEST

START_TEST(a_word_that_is_mapped_read_only_is_waited_for)
{
	_Atomic uint32_t *read_only =
		mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t before = clock_ns();

	ck_assert_ptr_ne(read_only, MAP_FAILED);
	wait_either((struct wait_word){&words[0], 0}, (struct wait_word){read_only, 0},
		    before + SECOND / 20);
	ck_assert_uint_ge(clock_ns() - before, SECOND / 20);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client_wait");
	TCase *tests = tcase_create("client_wait");

	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, a_change_of_either_word_ends_the_wait, 0, 2);
	tcase_add_loop_test(tests, words_that_have_changed_already_are_not_waited_for, 0, 2);
	tcase_add_loop_test(tests, a_wait_ends_at_its_deadline, 0, 1);
	tcase_add_test(tests, a_word_that_is_mapped_read_only_is_waited_for);
	/* On the old kernel, which is that of all that follows where tests share a process. */
	tcase_add_loop_test(tests, a_change_of_either_word_ends_the_wait, 2, 4);
	tcase_add_loop_test(tests, words_that_have_changed_already_are_not_waited_for, 2, 4);
	tcase_add_loop_test(tests, a_wait_ends_at_its_deadline, 1, 2);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
