#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "client/fork.h"
#include "client/lock.h"
#include "tests/suite.h"

enum { THREADS = 4, ROUNDS = 20000 };

static struct lock lock;
static unsigned counter;

static void *count(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		lock_acquire(&lock);
		counter++;
		lock_release(&lock);
	}
	return unused;
}

START_TEST(one_thread_holds_it_at_a_time)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(counter, THREADS * ROUNDS);
	ck_assert_uint_eq(lock.word & 3, 0);
}
END_TEST

START_TEST(what_is_held_at_a_fork_is_free_in_the_child)
{
	int status;
	pid_t pid;

	ck_assert_int_eq(fork_watch(), 0);
	lock_acquire(&lock);
	pid = fork();
	if (!pid) {
		alarm(10); /* rather than for good */
		lock_acquire(&lock);
		lock_release(&lock);
		lock_acquire(&lock);
		_exit(fork() ? (wait(&status), !!status) : (lock_acquire(&lock), 0));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	lock_release(&lock);
	lock_acquire(&lock);
	lock_release(&lock);
}
END_TEST

START_TEST(a_process_and_its_children_count_differently)
{
	uint32_t before;
	int status;
	pid_t pid;

	ck_assert_int_eq(fork_watch(), 0);
	before = fork_count();
	ck_assert_uint_ne(before, 0);
	pid = fork();
	if (!pid)
		_exit(fork_count() == before);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(fork_count(), before);
}
END_TEST

START_TEST(a_wait_ends_by_its_deadline)
{
	_Atomic uint32_t word = 1;
	uint64_t deadline = clock_ns() + 10 * 1000 * 1000;

	while (clock_ns() < deadline)
		futex_wait(&word, 1, deadline);
	futex_wait(&word, 2, 0); /* another value: not at all */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("client_lock");
	TCase *c = tcase_create("lock");

	tcase_set_timeout(c, 60);
	tcase_add_test(c, one_thread_holds_it_at_a_time);
	tcase_add_test(c, what_is_held_at_a_fork_is_free_in_the_child);
	tcase_add_test(c, a_process_and_its_children_count_differently);
	tcase_add_test(c, a_wait_ends_by_its_deadline);
	suite_add_tcase(s, c);
	return suite_run(s);
}
