/*
 * The table's stand-in keeps the table's promises, and fails where it is told to.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/base.h"
#include "tests/fake_sys.h"

#define MIB ((uint64_t)1 << 20)

static struct fake_sys fake;
static struct sys *sys;

static void setup(void)
{
	fake_sys_init(&fake, 16 * MIB);
	sys = &fake.sys;
}

static void teardown(void)
{
	fake_sys_deinit(&fake);
}

START_TEST(memory_that_is_committed_is_taken_from_the_host_and_comes_back)
{
	struct sys_shortage shortage = {};
	struct sys_host host;
	uint64_t bytes;
	int fd;

	ck_assert_int_eq(sys->table->window_create(sys, "w", 64 * MIB, 12, &fd), 0);
	ck_assert_int_eq(sys->table->commit(sys, fd, 12, SYS_NODE_ANY, 0, 12 * MIB, &shortage),
			 0);
	ck_assert_int_eq(
		sys->table->commit(sys, fd, 12, SYS_NODE_ANY, 12 * MIB, 6 * MIB, &shortage),
		-ENOMEM);
	ck_assert_uint_eq(shortage.asked, 6 * MIB);
	ck_assert_uint_eq(shortage.cap, 4 * MIB);
	ck_assert_int_eq(sys->table->punch(sys, fd, 12, 0, 2 * MIB), 0);
	ck_assert_int_eq(sys->table->host(sys, &host), 0);
	ck_assert_uint_eq(host.cap, 6 * MIB);
	ck_assert_int_eq(sys->table->blocks(sys, fd, &bytes), 0);
	ck_assert_uint_eq(bytes, 10 * MIB);
	ck_assert_uint_eq(fake.window_bytes, 10 * MIB);
	sys->table->window_destroy(sys, fd, 12);
	ck_assert_uint_eq(fake.window_bytes, 0);
	ck_assert_uint_eq(fake.windows, 0);
	ck_assert_uint_eq(fake.host.cap, 16 * MIB);
}
END_TEST

START_TEST(hugepages_are_a_pool_of_their_own)
{
	struct sys_shortage shortage;
	int fd;

	ck_assert_int_eq(sys->table->window_create(sys, "w", 64 * MIB, 21, &fd), 0);
	ck_assert_int_eq(sys->table->reserve(sys, 21, 16 * MIB), 0);
	ck_assert_int_eq(sys->table->commit(sys, fd, 21, SYS_NODE_ANY, 0, 4 * MIB, &shortage),
			 0);
	ck_assert_uint_eq(fake.host.cap, 16 * MIB);
	ck_assert_uint_eq(fake.host.huge_free, 12 * MIB);
	ck_assert_int_eq(sys->table->reserve(sys, 21, 16 * MIB), 0);
	ck_assert_int_eq(sys->table->reserve(sys, 21, 18 * MIB), -ENOMEM);
	ck_assert_uint_eq(fake.reserved, 16 * MIB);
	sys->table->window_destroy(sys, fd, 21);
}
END_TEST

START_TEST(the_nth_call_fails_once_and_leaves_nothing_behind)
{
	struct sys_shortage shortage = {};
	uint64_t bytes;
	void *memory;
	int fd, file;

	ck_assert_int_eq(sys->table->window_create(sys, "w", 64 * MIB, 12, &fd), 0);
	fake_sys_fail(&fake, FAKE_COMMIT, 2, ENOSPC);
	ck_assert_int_eq(sys->table->commit(sys, fd, 12, SYS_NODE_ANY, 0, MIB, &shortage), 0);
	ck_assert_int_eq(sys->table->commit(sys, fd, 12, SYS_NODE_ANY, MIB, MIB, &shortage),
			 -ENOSPC);
	ck_assert_uint_eq(shortage.asked, MIB);
	ck_assert_int_eq(sys->table->blocks(sys, fd, &bytes), 0);
	ck_assert_uint_eq(bytes, MIB);
	ck_assert_int_eq(sys->table->commit(sys, fd, 12, SYS_NODE_ANY, MIB, MIB, &shortage), 0);
	ck_assert_uint_eq(fake.calls[FAKE_COMMIT], 3);

	fake_sys_fail(&fake, FAKE_FILE_CREATE, 1, EMFILE);
	ck_assert_int_eq(sys->table->file_create(sys, "f", 4096, SYS_READ, &file, &memory),
			 -EMFILE);
	ck_assert_uint_eq(fake.files, 0);
	ck_assert_int_eq(sys->table->file_create(sys, "f", 4096, SYS_READ, &file, &memory), 0);
	ck_assert_uint_eq(fake.files, 1);
	sys->table->file_unmap(sys, memory, 4096);
	ck_assert_uint_eq(fake.files, 0);
	close(file);
	sys->table->window_destroy(sys, fd, 12);
}
END_TEST

START_TEST(the_clock_stands_still_until_it_is_moved)
{
	uint64_t now = sys->table->now_ns(sys);

	ck_assert_uint_eq(sys->table->now_ns(sys), now);
	fake_sys_advance(&fake, 5);
	ck_assert_uint_eq(sys->table->now_ns(sys), now + 5);
}
END_TEST

START_TEST(the_peer_is_true_but_for_the_user_a_test_wants)
{
	uint32_t uid, gid, pid;
	uint64_t birth;
	int pair[2], pidfd;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	fake.uid = 4711;
	ck_assert_int_eq(sys->table->peer(sys, pair[0], &uid, &gid, &pid, &pidfd, &birth), 0);
	ck_assert_uint_eq(uid, 4711);
	ck_assert_uint_eq(pid, (uint32_t)getpid());
	close(pidfd);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fake_sys");
	TCase *tc = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, memory_that_is_committed_is_taken_from_the_host_and_comes_back);
	tcase_add_test(tc, hugepages_are_a_pool_of_their_own);
	tcase_add_test(tc, the_nth_call_fails_once_and_leaves_nothing_behind);
	tcase_add_test(tc, the_clock_stands_still_until_it_is_moved);
	tcase_add_test(tc, the_peer_is_true_but_for_the_user_a_test_wants);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
