/*
 * Hugepages that are Varbos's and not committed: held against strangers, given up for commits.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "base/base.h"
#include "daemon/sys/commit.h"
#include "daemon/sys/guard.h"
#include "daemon/sys/sys.h"
#include "tests/hugepages.h"

enum { PAGES = 8 };
#define HUGE ((uint64_t)2 << 20)

static bool have;
static struct sys *sys;
static const struct sys_table *table;

static void borrow(void)
{
	have = hugepages_borrow(PAGES);
}

static void setup(void)
{
	ck_assert_int_eq(sys_real_new(&sys), 0);
	table = sys->table;
}

static void teardown(void)
{
	sys_real_free(sys);
}

static int window_new(uint64_t pages)
{
	int fd;

	ck_assert_int_eq(table->window_create(sys, "test", pages * HUGE, 21, &fd), 0);
	return fd;
}

static uint64_t blocks_of(int fd)
{
	uint64_t bytes;

	ck_assert_int_eq(table->blocks(sys, fd, &bytes), 0);
	return bytes / HUGE;
}

/* How a process ends that writes a byte there: its signal, or 0. */
static int touch(int fd, uint64_t page)
{
	int status;
	pid_t pid;
	char *p;

	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
			 (off_t)(page * HUGE));
		if (p == MAP_FAILED)
			_exit(1);
		signal(SIGBUS, SIG_DFL);
		*p = 1;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	ck_assert_int_eq(status, 0);
	return 0;
}

static uint64_t spare(void)
{
	struct sys_host host;

	ck_assert_int_eq(table->host(sys, &host), 0);
	return host.huge_free / HUGE;
}

START_TEST(what_is_reserved_is_a_strangers_bus_error_not_its_page)
{
	_cleanup_(closep) int fd = -1;
	struct sys_shortage shortage;
	uint64_t all = spare();

	if (!have)
		return;
	fd = window_new(PAGES);
	ck_assert_int_eq(table->reserve(sys, 21, all * HUGE), 0);
	ck_assert_uint_eq(spare(), all);
	ck_assert_int_eq(touch(fd, 1), SIGBUS);
	ck_assert_uint_eq(blocks_of(fd), 0);

	ck_assert_int_eq(table->commit(sys, fd, 21, SYS_NODE_ANY, 0, 2 * HUGE, &shortage), 0);
	ck_assert_uint_eq(blocks_of(fd), 2);
	ck_assert_uint_eq(spare(), all - 2);
	ck_assert_int_eq(touch(fd, 1), 0);
	ck_assert_int_eq(touch(fd, 2), SIGBUS);

	ck_assert_int_eq(table->punch(sys, fd, 21, 0, HUGE), 0);
	ck_assert_uint_eq(spare(), all - 1);
	ck_assert_int_eq(touch(fd, 0), SIGBUS);
	ck_assert_int_eq(touch(fd, 1), 0);
}
END_TEST

START_TEST(all_that_is_reserved_can_be_committed_and_comes_back)
{
	struct sys_shortage shortage;
	uint64_t all = spare();
	int fd;

	if (!have)
		return;
	ck_assert_int_eq(table->reserve(sys, 21, all * HUGE), 0);
	for (int round = 0; round < 3; round++) {
		fd = window_new(all);
		ck_assert_int_eq(
			table->commit(sys, fd, 21, SYS_NODE_ANY, 0, all * HUGE, &shortage), 0);
		ck_assert_uint_eq(spare(), 0);
		table->window_destroy(sys, fd, 21);
		ck_assert_uint_eq(spare(), all);
		fd = window_new(1);
		ck_assert_int_eq(touch(fd, 0), SIGBUS);
		table->window_destroy(sys, fd, 21);
	}
	ck_assert_int_eq(table->reserve(sys, 21, 0), 0);
	fd = window_new(1);
	ck_assert_int_eq(touch(fd, 0), 0);
	table->window_destroy(sys, fd, 21);
}
END_TEST

/* A pipe that keeps a page, by a few bytes of it. */
static void keep(int fd, uint64_t page, int *ret_pipe)
{
	struct iovec piece = {.iov_len = 64};

	piece.iov_base = mmap(NULL, HUGE, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd,
			      (off_t)(page * HUGE));
	ck_assert_ptr_ne(piece.iov_base, MAP_FAILED);
	ck_assert_int_eq(pipe2(ret_pipe, O_CLOEXEC), 0);
	ck_assert_int_eq(vmsplice(ret_pipe[1], &piece, 1, 0), 64);
	munmap(piece.iov_base, HUGE);
}

START_TEST(what_a_pipe_keeps_is_missing_and_no_other_page)
{
	_cleanup_(closep) int fd = -1;
	struct sys_shortage shortage;
	uint64_t all = spare();
	int kept[2];

	if (!have)
		return;
	fd = window_new(all);
	ck_assert_int_eq(table->reserve(sys, 21, all * HUGE), 0);
	ck_assert_int_eq(table->commit(sys, fd, 21, SYS_NODE_ANY, 0, 2 * HUGE, &shortage), 0);
	keep(fd, 1, kept);
	ck_assert_int_eq(table->punch(sys, fd, 21, 0, 2 * HUGE), 0);
	ck_assert_uint_eq(spare(), all - 1);
	ck_assert_int_eq(touch(fd, 1), SIGBUS);
	ck_assert_int_eq(
		table->commit(sys, fd, 21, SYS_NODE_ANY, 0, (all - 1) * HUGE, &shortage), 0);
	ck_assert_int_eq(
		table->commit(sys, fd, 21, SYS_NODE_ANY, (all - 1) * HUGE, HUGE, &shortage),
		-ENOMEM);
	close(kept[0]);
	close(kept[1]);
	ck_assert_int_eq(
		table->commit(sys, fd, 21, SYS_NODE_ANY, (all - 1) * HUGE, HUGE, &shortage), 0);
	ck_assert_int_eq(table->punch(sys, fd, 21, 0, all * HUGE), 0);
	ck_assert_uint_eq(spare(), all);
	ck_assert_int_eq(touch(fd, 1), SIGBUS);
}
END_TEST

START_TEST(more_than_the_pool_is_refused_and_changes_nothing)
{
	_cleanup_(closep) int fd = -1;
	struct sys_shortage shortage = {};
	uint64_t all = spare();

	if (!have)
		return;
	fd = window_new(all + 1);
	ck_assert_int_eq(table->reserve(sys, 21, 2 * HUGE), 0);
	ck_assert_int_eq(table->reserve(sys, 21, (all + 1) * HUGE), -ENOMEM);
	ck_assert_int_eq(table->reserve(sys, 21, UINT64_MAX), -ENOMEM);
	ck_assert_int_eq(
		table->commit(sys, fd, 21, SYS_NODE_ANY, 0, (all + 1) * HUGE, &shortage),
		-ENOMEM);
	ck_assert_uint_eq(shortage.asked, (all + 1) * HUGE);
	ck_assert_uint_eq(shortage.cap, all * HUGE);
	ck_assert_uint_eq(blocks_of(fd), 0);
	ck_assert_uint_eq(spare(), all);
}
END_TEST

START_TEST(what_is_held_outlives_its_process_for_the_next_one)
{
	_cleanup_(closep) int fd = -1;
	struct sys_shortage shortage;
	int left;

	if (!have || spare() < 4)
		return;
	fd = window_new(4);
	ck_assert_int_eq(table->reserve_file(sys, 21), -1);
	ck_assert_int_eq(table->reserve(sys, 21, 4 * HUGE), 0);
	ck_assert_int_eq(table->commit(sys, fd, 21, SYS_NODE_ANY, 0, HUGE, &shortage), 0);
	left = fcntl(table->reserve_file(sys, 21), F_DUPFD_CLOEXEC, 3);
	ck_assert_int_ge(left, 0);
	teardown();
	ck_assert_int_eq(lseek(left, 0, SEEK_END), 3 * HUGE);

	setup();
	ck_assert_int_eq(table->reserve_adopt(sys, 21, left, 4 * HUGE, HUGE), 0);
	ck_assert_int_eq(table->reserve_file(sys, 21), left);
	ck_assert_int_eq(lseek(left, 0, SEEK_END), 3 * HUGE);
	ck_assert_int_eq(table->window_adopt(sys, fd, 4 * HUGE, 21), 0);
	ck_assert_int_eq(table->commit(sys, fd, 21, SYS_NODE_ANY, HUGE, HUGE, &shortage), 0);
	ck_assert_int_eq(lseek(left, 0, SEEK_END), 2 * HUGE);
	ck_assert_int_eq(table->punch(sys, fd, 21, 0, 2 * HUGE), 0);
	ck_assert_int_eq(lseek(left, 0, SEEK_END), 4 * HUGE);
	ck_assert_int_eq(table->reserve_adopt(sys, 30, fcntl(fd, F_DUPFD_CLOEXEC, 3), 0, 0),
			 -EBADFD);
}
END_TEST

static int plenty_ask(void *userdata, struct sys_host *ret)
{
	*ret = (struct sys_host){.huge_free = 64 * HUGE};
	return 0;
}

static void plenty_move(void *userdata, uint32_t page_shift, uint64_t bytes)
{
}

START_TEST(a_refusal_of_the_pool_halfway_is_undone)
{
	const struct commit_source plenty = {
		.ask = plenty_ask, .take = plenty_move, .give = plenty_move};
	_cleanup_(closep) int fd = -1;
	struct sys_shortage shortage = {};
	uint64_t all = spare();

	if (!have)
		return;
	/* A host that promises more than the pool has: the kernel knows better, in the end. */
	fd = window_new(all + 2);
	ck_assert_int_eq(
		commit_pages(&plenty, fd, 21, SYS_NODE_ANY, 0, (all + 2) * HUGE, &shortage),
		-ENOSPC);
	ck_assert_uint_eq(shortage.asked, (all + 2) * HUGE);
	ck_assert_uint_eq(blocks_of(fd), 0);
	ck_assert_uint_eq(spare(), all);
}
END_TEST

START_TEST(the_guarded_copy_survives_a_hole_that_a_client_punched)
{
	_cleanup_(closep) int fd = -1;
	struct sys_shortage shortage;
	uint64_t all = spare();
	char bytes[8] = "", *p;

	if (!have)
		return;
	ck_assert_int_eq(guard_install(), 0);
	fd = window_new(2);
	ck_assert_int_eq(table->reserve(sys, 21, all * HUGE), 0);
	ck_assert_int_eq(table->commit(sys, fd, 21, SYS_NODE_ANY, 0, 2 * HUGE, &shortage), 0);
	p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	ck_assert_int_eq(guard_copy(p + HUGE - 4, "abcdefgh", 8), 0);
	ck_assert_int_eq(guard_copy(bytes, p + HUGE - 4, 8), 0);
	ck_assert_mem_eq(bytes, "abcdefgh", 8);

	ck_assert_int_eq(table->punch(sys, fd, 21, HUGE, HUGE), 0);
	ck_assert_int_eq(guard_copy(bytes, p + HUGE - 4, 8), -EFAULT);
	ck_assert_int_eq(guard_copy(p + HUGE - 4, "abcdefgh", 8), -EFAULT);
	ck_assert_int_eq(guard_copy(bytes, p + HUGE - 8, 8), 0);
	ck_assert_uint_eq(blocks_of(fd), 1);
	munmap(p, 2 * HUGE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sys_reserve");
	TCase *tc = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, borrow, hugepages_return);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_reserved_is_a_strangers_bus_error_not_its_page);
	tcase_add_test(tc, all_that_is_reserved_can_be_committed_and_comes_back);
	tcase_add_test(tc, what_is_held_outlives_its_process_for_the_next_one);
	tcase_add_test(tc, what_a_pipe_keeps_is_missing_and_no_other_page);
	tcase_add_test(tc, more_than_the_pool_is_refused_and_changes_nothing);
	tcase_add_test(tc, a_refusal_of_the_pool_halfway_is_undone);
	tcase_add_test(tc, the_guarded_copy_survives_a_hole_that_a_client_punched);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (!failed && !have)
		return HUGEPAGES_SKIPPED;
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
