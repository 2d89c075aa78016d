/*
 * Transparent hugepages out of committed memory: seen in how this process maps it.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "daemon/sys/sys.h"
#include "daemon/sys/thp.h"

#define MIB ((uint64_t)1 << 20)
enum { SKIPPED = 77, TRIES = 20 };

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

/* The sum of the lines "KEY  N kB" of smaps, in bytes. */
static uint64_t said(const char *key)
{
	FILE *file = fopen("/proc/self/smaps", "re");
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

/* Where a client would have it: aligned, as windows are. Every page is read. */
static char *look_at(int fd, uint64_t size)
{
	char *room = mmap(NULL, size + 2 * MIB, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *memory;

	ck_assert_ptr_ne(room, MAP_FAILED);
	memory = room + (-(uint64_t)(uintptr_t)room & (2 * MIB - 1));
	ck_assert_ptr_eq(
		mmap(memory, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
		memory);
	for (uint64_t at = 0; at < size; at += 4096)
		ck_assert_int_eq(((volatile char *)memory)[at], 0);
	return memory;
}

/*
 * Committed, and looked at from the file's start on, until all of it is huge: of memory in which the
 * kernel has a page in hand just then, to move it, say, it makes no huge page.
 */
static void commit_huge(int fd, uint64_t offset, uint64_t size, uint64_t locked)
{
	for (int tries = 0; tries < TRIES; tries++) {
		struct sys_shortage shortage;
		char *memory;

		ck_assert_int_eq(
			table->commit(sys, fd, 12, SYS_NODE_ANY, offset, size, &shortage), 0);
		ck_assert_uint_eq(said("Locked:"), locked);
		memory = look_at(fd, offset + size);
		if (said("ShmemPmdMapped:") >= size)
			return;
		munmap(memory, offset + size);
		ck_assert_int_eq(table->punch(sys, fd, 12, 0, offset + size), 0);
	}
	ck_abort_msg("of %d times it was huge in none", TRIES);
}

START_TEST(what_is_committed_is_huge_where_that_was_wanted)
{
	int fd;

	ck_assert_int_eq(table->collapse(sys), 0);
	ck_assert_int_eq(table->window_create(sys, "varbos-data", 16 * MIB, 12, &fd), 0);
	/* With a hole in front, which becomes small pages, or a huge one. */
	commit_huge(fd, 2 * MIB, 6 * MIB, 0);
	/* Taken away whole, they are no one's. */
	ck_assert_int_eq(table->punch(sys, fd, 12, 0, 8 * MIB), 0);
	ck_assert_uint_eq(said("ShmemPmdMapped:"), 0);
	table->window_destroy(sys, fd, 12);
}
END_TEST

START_TEST(huge_pages_are_locked_as_small_ones_are)
{
	uint64_t limit;
	int fd;

	ck_assert_int_eq(table->lock(sys, 4 * MIB, &limit), 0);
	ck_assert_int_eq(table->collapse(sys), 0);
	ck_assert_int_eq(table->window_create(sys, "varbos-data", 16 * MIB, 12, &fd), 0);
	commit_huge(fd, 0, 4 * MIB, 4 * MIB);
	table->window_destroy(sys, fd, 12);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sys_thp");
	TCase *t = tcase_create("sys_thp");
	SRunner *runner;
	int failed;

	if (thp_possible()) {
		fputs("SKIPPED: the kernel makes no transparent hugepages of shared memory: "
		      "older than "
		      "6.1, or shmem_enabled is deny\n",
		      stderr);
		return SKIPPED;
	}
	runner = srunner_create(s);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_is_committed_is_huge_where_that_was_wanted);
	tcase_add_test(t, huge_pages_are_locked_as_small_ones_are);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
