/*
 * Committed memory that is locked: seen in what the kernel says of this process.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/sys/sys.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)
enum { NOBODY = 65534 };

static struct sys *sys;
static const struct sys_table *table;

static void setup(void)
{
	ck_assert_int_eq(sys_real_new(&sys), 0);
	table = sys->table;
}

static void teardown(void)
{
	sys_real_free(sys);
}

/* The sum of a file's lines "KEY  N kB", in bytes. */
static uint64_t said(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	size_t n = strlen(key);
	uint64_t sum = 0;
	char line[512];

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, key, n))
			sum += strtoull(line + n, NULL, 10) << 10;
	fclose(file);
	return sum;
}

static uint64_t counted(void)
{
	return said("/proc/self/status", "VmLck:");
}

/* Pages, where VmLck counts addresses. */
static uint64_t locked(void)
{
	return said("/proc/self/smaps", "Locked:");
}

/* For good: who shares a process (CK_FORK=no) gives up more from test to test, in main()'s order. */
static void limit_to(uint64_t bytes)
{
	const struct rlimit limit = {bytes, bytes};

	ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	if (!geteuid())
		ck_assert_int_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
}

static void lock_up_to(uint64_t bytes)
{
	uint64_t limit;
	int r;

	r = table->lock(sys, bytes, &limit);
	ck_assert_msg(!r, "%llu KiB cannot be locked: %s; `ulimit -l` is %llu KiB",
		      (unsigned long long)bytes >> 10, strerror(-r),
		      (unsigned long long)limit >> 10);
}

static int window_new(void)
{
	int fd;

	ck_assert_int_eq(table->window_create(sys, "varbos-data", 16 * MIB, 12, &fd), 0);
	return fd;
}

static int commit(int fd, uint64_t offset, uint64_t size, struct sys_shortage *ret)
{
	return table->commit(sys, fd, 12, SYS_NODE_ANY, offset, size, ret);
}

START_TEST(what_is_committed_is_locked_and_holes_are_not)
{
	struct sys_shortage shortage;
	int fd;

	lock_up_to(6 * MIB);
	fd = window_new();
	ck_assert_uint_eq(counted(), 0);
	ck_assert_int_eq(commit(fd, 0, 2 * MIB, &shortage), 0);
	ck_assert_int_eq(commit(fd, 6 * MIB, 4 * MIB, &shortage), 0);
	ck_assert_uint_eq(counted(), 6 * MIB);
	ck_assert_uint_eq(locked(), 6 * MIB);
	ck_assert_int_eq(table->punch(sys, fd, 12, 8 * MIB, 2 * MIB), 0);
	ck_assert_uint_eq(counted(), 4 * MIB);
	ck_assert_uint_eq(locked(), 4 * MIB);
	/* Committed again where it was, and elsewhere. */
	ck_assert_int_eq(commit(fd, 8 * MIB, 2 * MIB, &shortage), 0);
	ck_assert_uint_eq(locked(), 6 * MIB);
	table->window_destroy(sys, fd, 12);
	ck_assert_uint_eq(counted(), 0);
}
END_TEST

START_TEST(nothing_is_locked_unasked)
{
	struct sys_shortage shortage;
	int fd = window_new();

	ck_assert_int_eq(commit(fd, 0, 4 * MIB, &shortage), 0);
	ck_assert_uint_eq(counted(), 0);
	table->window_destroy(sys, fd, 12);
}
END_TEST

START_TEST(a_limit_below_what_is_to_be_locked_is_told_at_once)
{
	uint64_t limit = 0;

	limit_to(2 * MIB);
	ck_assert_int_eq(table->lock(sys, 4 * MIB, &limit), -ENOMEM);
	ck_assert_uint_eq(limit, 2 * MIB);
	ck_assert_int_eq(table->lock(sys, 2 * MIB, &limit), 0);
}
END_TEST

START_TEST(growth_that_cannot_be_locked_is_refused_with_numbers_and_undone)
{
	struct sys_shortage shortage = {};
	uint64_t blocks;
	int fd;

	limit_to(4 * MIB);
	lock_up_to(4 * MIB);
	fd = window_new();
	ck_assert_int_eq(commit(fd, 0, 2 * MIB, &shortage), 0);
	ck_assert_int_eq(commit(fd, 4 * MIB, 4 * MIB, &shortage), -ENOMEM);
	ck_assert(shortage.of_lock);
	ck_assert_uint_eq(shortage.asked, 4 * MIB);
	ck_assert_uint_eq(shortage.available, 2 * MIB);
	ck_assert_uint_eq(shortage.cap, 4 * MIB);
	ck_assert_int_eq(table->blocks(sys, fd, &blocks), 0);
	ck_assert_uint_eq(blocks, 2 * MIB);
	ck_assert_uint_eq(counted(), 2 * MIB);
	/* What fits is had, and a hole's share can be had again. */
	ck_assert_int_eq(commit(fd, 4 * MIB, 2 * MIB, &shortage), 0);
	ck_assert_int_eq(table->punch(sys, fd, 12, 0, 2 * MIB), 0);
	ck_assert_int_eq(commit(fd, 8 * MIB, 2 * MIB, &shortage), 0);
	ck_assert_uint_eq(locked(), 4 * MIB);
	table->window_destroy(sys, fd, 12);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sys_locked");
	TCase *t = tcase_create("sys_locked");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_is_committed_is_locked_and_holes_are_not);
	tcase_add_test(t, nothing_is_locked_unasked);
	tcase_add_test(t, growth_that_cannot_be_locked_is_refused_with_numbers_and_undone);
	tcase_add_test(t, a_limit_below_what_is_to_be_locked_is_told_at_once);
	suite_add_tcase(s, t);
	return suite_run(s);
}
