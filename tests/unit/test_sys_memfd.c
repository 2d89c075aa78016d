/*
 * What a client gets to see of the daemon's files, and what it cannot do to them.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/base.h"
#include "daemon/sys/sys.h"
#include "tests/suite.h"

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

static int window_new(uint64_t size)
{
	int fd;

	ck_assert_int_eq(table->window_create(sys, "test", size, 12, &fd), 0);
	return fd;
}

static unsigned mode_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_mode & 07777;
}

static uint64_t blocks_of(int fd)
{
	uint64_t bytes;

	ck_assert_int_eq(table->blocks(sys, fd, &bytes), 0);
	return bytes;
}

START_TEST(a_window_is_its_owners_alone_from_birth)
{
	_cleanup_(closep) int fd = window_new(4 << 20);

	ck_assert_uint_eq(mode_of(fd), 0600);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}
END_TEST

START_TEST(a_window_is_nothing_but_holes_however_large)
{
	_cleanup_(closep) int fd = window_new((uint64_t)1 << 34);

	ck_assert_uint_eq(blocks_of(fd), 0);
}
END_TEST

START_TEST(a_windows_size_is_sealed_and_so_are_its_seals)
{
	_cleanup_(closep) int fd = window_new(4 << 20);
	int seals = fcntl(fd, F_GET_SEALS);

	ck_assert_int_ge(seals, 0);
	ck_assert_int_ne(seals & F_SEAL_SHRINK, 0);
	ck_assert_int_ne(seals & F_SEAL_GROW, 0);
	ck_assert_int_ne(seals & F_SEAL_SEAL, 0);
	ck_assert_int_eq(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE), 0);
	ck_assert_int_eq(ftruncate(fd, 2 << 20), -1);
	ck_assert_int_eq(ftruncate(fd, 8 << 20), -1);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
}
END_TEST

START_TEST(a_file_of_the_daemon_has_no_hole_and_cannot_shrink)
{
	_cleanup_(closep) int fd = -1;
	struct stat st;
	void *memory;
	int seals;

	ck_assert_int_eq(table->file_create(sys, "test", 12288, SYS_READ, &fd, &memory), 0);
	ck_assert_uint_eq(mode_of(fd), 0600);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 12288);
	ck_assert_uint_eq(blocks_of(fd), 12288);
	((char *)memory)[12287] = 'x';

	seals = fcntl(fd, F_GET_SEALS);
	ck_assert_int_ge(seals, 0);
	ck_assert_int_ne(seals & F_SEAL_SHRINK, 0);
	ck_assert_int_eq(seals & F_SEAL_GROW, 0);
	ck_assert_int_eq(ftruncate(fd, 4096), -1);
	table->file_unmap(sys, memory, 12288);
}
END_TEST

START_TEST(a_file_grows_under_the_mapping_that_spans_it)
{
	_cleanup_(closep) int fd = -1;
	void *first, *memory, *same;
	char *bytes;

	ck_assert_int_eq(table->file_create(sys, "test", 4096, SYS_READ, &fd, &first), 0);
	*(char *)first = 'x';
	ck_assert_int_eq(table->file_grow(sys, fd, 8192, 1 << 20, &memory), 0);
	ck_assert_uint_eq(blocks_of(fd), 8192);
	same = bytes = memory;
	ck_assert_int_eq(bytes[0], 'x');
	ck_assert_int_eq(table->file_grow(sys, fd, 1 << 20, 0, &same), 0);
	ck_assert_ptr_eq(same, memory);
	ck_assert_uint_eq(blocks_of(fd), 1 << 20);
	bytes[(1 << 20) - 1] = 'y';
	ck_assert_int_eq(bytes[0], 'x');
	table->file_unmap(sys, memory, 1 << 20);
	table->file_unmap(sys, first, 4096);
}
END_TEST

START_TEST(a_file_that_clients_write_keeps_its_size)
{
	_cleanup_(closep) int fd = -1, copy = -1;
	void *memory;

	ck_assert_int_eq(table->file_create(sys, "test", 4096, SYS_READ_WRITE, &fd, &memory),
			 0);
	ck_assert_int_eq(table->reopen(sys, fd, SYS_READ_WRITE, &copy), 0);
	ck_assert_int_eq(ftruncate(copy, 8192), -1);
	ck_assert_int_eq(ftruncate(copy, 0), -1);
	ck_assert_int_eq(fcntl(copy, F_ADD_SEALS, F_SEAL_WRITE), -1);
	table->file_unmap(sys, memory, 4096);
}
END_TEST

START_TEST(a_reopened_file_shares_no_flags_with_the_daemons)
{
	_cleanup_(closep) int fd = window_new(4 << 20), copy = -1;

	ck_assert_int_eq(table->reopen(sys, fd, SYS_READ_WRITE, &copy), 0);
	ck_assert_int_ne(fcntl(copy, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(lseek(copy, 4096, SEEK_SET), 4096);
	ck_assert_int_eq(fcntl(copy, F_SETFL, O_APPEND), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_APPEND, 0);
}
END_TEST

START_TEST(a_reopened_window_reads_what_the_other_wrote)
{
	_cleanup_(closep) int fd = window_new(4 << 20), writer = -1, reader = -1;
	char byte = 0;

	ck_assert_int_eq(table->reopen(sys, fd, SYS_READ_WRITE, &writer), 0);
	ck_assert_int_eq(table->reopen(sys, fd, SYS_READ, &reader), 0);
	ck_assert_int_eq(pwrite(writer, "v", 1, 5000), 1);
	ck_assert_int_eq(pread(reader, &byte, 1, 5000), 1);
	ck_assert_int_eq(byte, 'v');
}
END_TEST

/* Every way that a read-only descriptor could be made to write; the one that worked, or NULL. */
static const char *write_somehow(int fd)
{
	char path[32];
	void *memory;
	int again;

	if (write(fd, "x", 1) >= 0)
		return "write";
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
		return "mmap";
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return "(it cannot even be read)";
	if (mprotect(memory, 4096, PROT_READ | PROT_WRITE) == 0)
		return "mprotect";
	if (madvise(memory, 4096, MADV_REMOVE) == 0)
		return "MADV_REMOVE";
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0)
		return "punch";
	if (ftruncate(fd, 0) == 0)
		return "ftruncate";
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0)
		return "seal";
	if (geteuid() == 0)
		return NULL;
	if (fchmod(fd, 0666) == 0)
		return "fchmod";
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR);
	if (again >= 0)
		return "open";
	again = open(path, O_RDONLY);
	if (again >= 0)
		return "open read-only, of a file that is mode 0600";
	return NULL;
}

static void expect_no_way_to_write(int fd, uid_t uid)
{
	const char *way;
	int status;
	pid_t pid;

	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (uid && setuid(uid) < 0)
			_exit(2);
		way = write_somehow(fd);
		if (way)
			fprintf(stderr, "a read-only descriptor: %s worked\n", way);
		_exit(way ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

START_TEST(a_read_only_descriptor_writes_in_no_way)
{
	_cleanup_(closep) int window = window_new(4 << 20), file = -1, a = -1, b = -1;
	struct sys_shortage shortage;
	uid_t uid = geteuid() ? 0 : NOBODY;
	void *memory;

	ck_assert_int_eq(table->commit(sys, window, 12, SYS_NODE_ANY, 0, 1 << 20, &shortage),
			 0);
	ck_assert_int_eq(table->file_create(sys, "test", 4096, SYS_READ, &file, &memory), 0);
	ck_assert_int_eq(table->reopen(sys, window, SYS_READ, &a), 0);
	ck_assert_int_eq(table->reopen(sys, file, SYS_READ, &b), 0);
	if (!uid) {
		fprintf(stderr, "SKIPPED: reopening as another user: needs root\n");
		ck_assert_int_eq(write(a, "x", 1), -1);
		return;
	}
	expect_no_way_to_write(a, 0);
	expect_no_way_to_write(a, uid);
	expect_no_way_to_write(b, uid);
	table->file_unmap(sys, memory, 4096);
}
END_TEST

START_TEST(a_member_cannot_change_a_windows_mode)
{
	_cleanup_(closep) int window = window_new(4 << 20), copy = -1;
	int status;
	pid_t pid;

	if (geteuid()) {
		fprintf(stderr, "SKIPPED: a member of another user: needs root\n");
		return;
	}
	ck_assert_int_eq(table->reopen(sys, window, SYS_READ_WRITE, &copy), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(setuid(NOBODY) < 0 || fchmod(copy, 0666) == 0 ||
		      fchown(copy, NOBODY, NOBODY) == 0 || ftruncate(copy, 0) == 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(a_destroyed_window_leaves_no_page_to_who_still_has_it)
{
	_cleanup_(closep) int copy = -1;
	struct sys_shortage shortage;
	int fd = window_new(4 << 20);

	ck_assert_int_eq(table->reopen(sys, fd, SYS_READ_WRITE, &copy), 0);
	ck_assert_int_eq(table->commit(sys, fd, 12, SYS_NODE_ANY, 0, 2 << 20, &shortage), 0);
	ck_assert_uint_eq(blocks_of(copy), 2 << 20);
	table->window_destroy(sys, fd, 12);
	ck_assert_uint_eq(blocks_of(copy), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

static void adopt_file(int fd, enum sys_access clients, int result)
{
	uint64_t size = 0;
	void *memory;

	ck_assert_int_eq(table->file_adopt(sys, fd, clients, 0, &size, &memory), result);
	if (!result)
		table->file_unmap(sys, memory, size);
}

START_TEST(what_an_earlier_process_left_is_taken_as_it_was_made_and_not_otherwise)
{
	_cleanup_(closep) int window = window_new(4 << 20), words = -1, file = -1, reader = -1;
	_cleanup_(closep) int loose = memfd_create("loose", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	void *memory;

	ck_assert_int_eq(table->words_create(sys, "test", 64, &words), 0);
	ck_assert_int_eq(table->file_create(sys, "test", 8192, SYS_READ, &file, &memory), 0);
	table->file_unmap(sys, memory, 8192);
	ck_assert_int_eq(table->reopen(sys, file, SYS_READ, &reader), 0);
	ck_assert(!ftruncate(loose, 4 << 20) && !fchmod(loose, 0600));

	ck_assert_int_eq(table->window_adopt(sys, window, 4 << 20, 12), 0);
	ck_assert_int_eq(table->words_adopt(sys, words, 64), 0);
	adopt_file(file, SYS_READ, 0);

	ck_assert_int_eq(table->window_adopt(sys, window, 2 << 20, 12), -EBADFD);
	ck_assert_int_eq(table->window_adopt(sys, window, 4 << 20, 21), -EBADFD);
	ck_assert_int_eq(table->window_adopt(sys, loose, 4 << 20, 12), -EBADFD);
	ck_assert_int_eq(table->words_adopt(sys, words, 128), -EBADFD);
	adopt_file(file, SYS_READ_WRITE, -EBADFD);
	adopt_file(reader, SYS_READ, -EBADFD);
	adopt_file(loose, SYS_READ, -EBADFD);
	ck_assert(!fchmod(file, 0644));
	adopt_file(file, SYS_READ, -EBADFD);
}
END_TEST

START_TEST(a_ledger_takes_pages_for_what_is_in_it_alone)
{
	_cleanup_(closep) int fd = -1;
	uint64_t size = (uint64_t)64 << 30, end;
	char *memory;

	ck_assert_int_eq(table->ledger_create(sys, size, &fd, (void **)&memory), 0);
	ck_assert_int_eq(table->data_end(sys, fd, 0, size, &end), 0);
	ck_assert_uint_eq(end, 0);
	memory[5000] = memory[(uint64_t)40 << 30] = 1;
	ck_assert_int_eq(table->data_end(sys, fd, 0, size, &end), 0);
	ck_assert_uint_eq(end, ((uint64_t)40 << 30) + 4096);
	ck_assert_int_eq(table->data_end(sys, fd, 4096, size / 2, &end), 0);
	ck_assert_uint_eq(end, 8192);
	ck_assert_int_eq(table->data_end(sys, fd, 8192, size / 2, &end), 0);
	ck_assert_uint_eq(end, 8192);
	ck_assert_uint_eq(blocks_of(fd), 8192);
	table->file_unmap(sys, memory, size);

	ck_assert_int_eq(table->ledger_adopt(sys, fd, &end, (void **)&memory), 0);
	ck_assert_uint_eq(end, size);
	ck_assert_int_eq(memory[5000], 1);
	table->file_unmap(sys, memory, size);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sys_memfd");
	TCase *tc = tcase_create("all");

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_window_is_its_owners_alone_from_birth);
	tcase_add_test(tc, a_window_is_nothing_but_holes_however_large);
	tcase_add_test(tc, a_windows_size_is_sealed_and_so_are_its_seals);
	tcase_add_test(tc, a_file_of_the_daemon_has_no_hole_and_cannot_shrink);
	tcase_add_test(tc, a_file_grows_under_the_mapping_that_spans_it);
	tcase_add_test(tc, a_file_that_clients_write_keeps_its_size);
	tcase_add_test(tc, a_reopened_file_shares_no_flags_with_the_daemons);
	tcase_add_test(tc, a_reopened_window_reads_what_the_other_wrote);
	tcase_add_test(tc, a_read_only_descriptor_writes_in_no_way);
	tcase_add_test(tc, a_member_cannot_change_a_windows_mode);
	tcase_add_test(tc, a_destroyed_window_leaves_no_page_to_who_still_has_it);
	tcase_add_test(tc,
		       what_an_earlier_process_left_is_taken_as_it_was_made_and_not_otherwise);
	tcase_add_test(tc, a_ledger_takes_pages_for_what_is_in_it_alone);
	return suite_run(suite);
}
