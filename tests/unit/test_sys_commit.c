/*
 * The host comes first: what commit asks, and what it leaves behind when the answer is no. The
 * hosts here are made up, so that nothing large is ever committed, whatever is broken.
 */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/base.h"
#include "daemon/sys/commit.h"
#include "daemon/sys/host.h"
#include "daemon/sys/memfd.h"
#include "daemon/sys/mempolicy.h"
#include "daemon/sys/nodes.h"

#define MIB ((uint64_t)1 << 20)

/* A host that can spare `cap` until the question number `turns` (1: the first), nothing then. */
struct story {
	uint64_t cap, turns, asked;
	uint64_t taken, most;
	int error;
	uint64_t node_cap, elsewhere; /* of node 0; how much of it comes from another */
	uint64_t looked_at;
};

static int story_ask(void *userdata, struct sys_host *ret)
{
	struct story *story = userdata;
	bool over = story->turns && story->asked >= story->turns;
	uint64_t cap = over ? 0 : story->cap;

	story->asked++;
	if (story->error)
		return -story->error;
	*ret = (struct sys_host){.total = 4 * cap,
				 .available = cap + 7 * MIB,
				 .cap = cap,
				 .huge_free = cap,
				 .giant_free = cap};
	return 0;
}

static void story_take(void *userdata, uint32_t page_shift, uint64_t bytes)
{
	struct story *story = userdata;

	story->taken += bytes;
	story->most = u64_max(story->most, bytes);
}

static void story_give(void *userdata, uint32_t page_shift, uint64_t bytes)
{
	((struct story *)userdata)->taken -= bytes;
}

static int commit(struct story *story, int fd, uint64_t offset, uint64_t size,
		  struct sys_shortage *ret)
{
	const struct commit_source source = {
		.userdata = story, .ask = story_ask, .take = story_take, .give = story_give};

	return commit_pages(&source, fd, 12, SYS_NODE_ANY, offset, size, ret);
}

static int story_ask_node(void *userdata, uint32_t node, struct sys_node *ret)
{
	const struct story *story = userdata;

	*ret = (struct sys_node){.total = 64 * MIB,
				 .available = story->node_cap + NODE_SHARE_MIN};
	return 0;
}

static int story_bind(void *userdata, uint32_t node, struct mempolicy *ret)
{
	return mempolicy_bind(node, ret);
}

static int story_restore(void *userdata, const struct mempolicy *before)
{
	return mempolicy_restore(before);
}

static int story_count(void *userdata, int fd, uint32_t page_shift, uint64_t offset,
		       uint64_t size, uint32_t node, uint64_t *ret_here,
		       uint64_t *ret_elsewhere)
{
	struct story *story = userdata;
	int r = mempolicy_count(fd, page_shift, offset, size, node, ret_here, ret_elsewhere);

	story->looked_at += *ret_here;
	*ret_elsewhere += story->elsewhere;
	return r;
}

/* On a node that this machine has. */
static int commit_on(struct story *story, int fd, uint32_t node, uint64_t offset, uint64_t size,
		     struct sys_shortage *ret)
{
	const struct commit_source source = {
		.userdata = story,
		.ask = story_ask,
		.take = story_take,
		.give = story_give,
		.ask_node = story_ask_node,
		.bind = story_bind,
		.restore = story_restore,
		.count = story_count,
	};

	return commit_pages(&source, fd, 12, node, offset, size, ret);
}

static uint32_t some_node(void)
{
	struct sys_nodes nodes;

	ck_assert_int_eq(nodes_read("", &nodes), 0);
	return (uint32_t)__builtin_ctzll(nodes.topology.memory);
}

static int policy_now(void)
{
	unsigned long mask[16];
	int mode;

	ck_assert_int_eq(syscall(SYS_get_mempolicy, &mode, mask, 1025, NULL, 0), 0);
	return mode;
}

static uint64_t blocks_of(int fd)
{
	uint64_t bytes;

	ck_assert_int_eq(memfd_blocks(fd, &bytes), 0);
	return bytes;
}

static int window_new(uint64_t size)
{
	int fd;

	ck_assert_int_eq(memfd_window("test", size, 12, &fd), 0);
	return fd;
}

START_TEST(committed_pages_are_in_the_range_and_nowhere_else)
{
	_cleanup_(closep) int fd = window_new(16 * MIB);
	struct story story = {.cap = 64 * MIB};
	struct sys_shortage shortage;

	ck_assert_int_eq(commit(&story, fd, 4 * MIB, 2 * MIB, &shortage), 0);
	ck_assert_uint_eq(blocks_of(fd), 2 * MIB);
	ck_assert_uint_eq(story.taken, 2 * MIB);
	ck_assert_int_eq(punch_pages(fd, 0, 4 * MIB), 0);
	ck_assert_int_eq(punch_pages(fd, 6 * MIB, 10 * MIB), 0);
	ck_assert_uint_eq(blocks_of(fd), 2 * MIB);
}
END_TEST

START_TEST(committing_goes_in_steps_and_asks_before_each)
{
	_cleanup_(closep) int fd = window_new(128 * MIB);
	struct story story = {.cap = 128 * MIB};
	struct sys_shortage shortage;

	ck_assert_int_eq(commit(&story, fd, 0, 96 * MIB, &shortage), 0);
	ck_assert_uint_eq(blocks_of(fd), 96 * MIB);
	ck_assert_uint_eq(story.asked, 96 * MIB / COMMIT_STEP);
	ck_assert_uint_eq(story.most, COMMIT_STEP);
}
END_TEST

START_TEST(more_than_the_cap_is_refused_before_the_first_page)
{
	_cleanup_(closep) int fd = window_new(16 * MIB);
	struct story story = {.cap = MIB};
	struct sys_shortage shortage = {};

	ck_assert_int_eq(commit(&story, fd, 0, 2 * MIB, &shortage), -ENOMEM);
	ck_assert_uint_eq(blocks_of(fd), 0);
	ck_assert_uint_eq(shortage.asked, 2 * MIB);
	ck_assert_uint_eq(shortage.available, 8 * MIB);
	ck_assert_uint_eq(shortage.cap, MIB);
	ck_assert_uint_eq(story.taken, 0);
}
END_TEST

START_TEST(a_shortage_halfway_undoes_what_was_committed)
{
	_cleanup_(closep) int fd = window_new(128 * MIB);
	struct story story = {.cap = 128 * MIB, .turns = 2};
	struct sys_shortage shortage = {};

	ck_assert_int_eq(commit(&story, fd, 0, 96 * MIB, &shortage), -ENOMEM);
	ck_assert_uint_eq(blocks_of(fd), 0);
	ck_assert_uint_eq(shortage.asked, 96 * MIB);
	ck_assert_uint_eq(shortage.cap, 0);
	ck_assert_uint_eq(story.taken, 0);
}
END_TEST

START_TEST(a_refusal_of_the_kernel_undoes_what_was_committed)
{
	_cleanup_(closep) int fd = window_new(48 * MIB);
	struct story story = {.cap = 128 * MIB};
	struct sys_shortage shortage = {.asked = 1};

	/* The second step reaches beyond a size that is sealed. */
	ck_assert_int_eq(commit(&story, fd, 0, 64 * MIB, &shortage), -EPERM);
	ck_assert_uint_eq(blocks_of(fd), 0);
	ck_assert_uint_eq(story.taken, 0);
	ck_assert_uint_eq(shortage.asked, 1);
}
END_TEST

START_TEST(a_host_that_cannot_be_asked_gives_nothing)
{
	_cleanup_(closep) int fd = window_new(4 * MIB);
	struct story story = {.cap = 64 * MIB, .error = EIO};
	struct sys_shortage shortage;

	ck_assert_int_eq(commit(&story, fd, 0, MIB, &shortage), -EIO);
	ck_assert_uint_eq(blocks_of(fd), 0);
}
END_TEST

START_TEST(a_punched_range_comes_back_as_zeros)
{
	_cleanup_(closep) int fd = window_new(4 * MIB);
	struct story story = {.cap = 64 * MIB};
	struct sys_shortage shortage;
	char byte;

	ck_assert_int_eq(commit(&story, fd, 0, 2 * MIB, &shortage), 0);
	ck_assert_int_eq(pwrite(fd, "secret", 6, MIB), 6);
	ck_assert_int_eq(punch_pages(fd, MIB, MIB), 0);
	ck_assert_uint_eq(blocks_of(fd), MIB);
	ck_assert_int_eq(commit(&story, fd, MIB, MIB, &shortage), 0);
	ck_assert_int_eq(pread(fd, &byte, 1, MIB), 1);
	ck_assert_int_eq(byte, 0);
}
END_TEST

START_TEST(sixteen_tebibytes_are_refused_with_numbers)
{
	struct sys_host host = {.total = 24 << 10, .available = 20 << 10, .cap = 19 << 10};
	struct sys_shortage shortage = {};
	uint64_t asked = (uint64_t)16 << 40;

	ck_assert_int_eq(sys_host_check(&host, asked, 12, &shortage), -ENOMEM);
	ck_assert_uint_eq(shortage.asked, asked);
	ck_assert_uint_eq(shortage.available, 20 << 10);
	ck_assert_uint_eq(shortage.cap, 19 << 10);
}
END_TEST

START_TEST(sixteen_tebibytes_are_refused_by_this_machine_and_touch_nothing)
{
	struct sys_shortage shortage = {};
	struct sys_host before;
	struct sys *sys;

	ck_assert_int_eq(sys_real_new(&sys), 0);
	ck_assert_int_eq(sys->table->host(sys, &before), 0);
	ck_assert_uint_gt(before.total, before.cap);
	ck_assert_uint_lt(before.total, (uint64_t)16 << 40);
	ck_assert_int_eq(sys_host_check(&before, (uint64_t)16 << 40, 12, &shortage), -ENOMEM);
	ck_assert_uint_eq(shortage.cap, before.cap);
	sys_real_free(sys);
}
END_TEST

START_TEST(hugepages_are_counted_by_their_pool_alone)
{
	struct sys_host host = {.available = 100 * MIB,
				.cap = 90 * MIB,
				.huge_free = 8 * MIB,
				.giant_free = 2048 * MIB};
	struct sys_shortage shortage = {};

	ck_assert_int_eq(sys_host_check(&host, 2048 * MIB, 30, &shortage), 0);
	ck_assert_int_eq(sys_host_check(&host, 3072 * MIB, 30, &shortage), -ENOMEM);
	ck_assert_uint_eq(shortage.cap, 2048 * MIB);
	ck_assert_int_eq(sys_host_check(&host, 8 * MIB, 21, &shortage), 0);
	ck_assert_int_eq(sys_host_check(&host, 10 * MIB, 21, &shortage), -ENOMEM);
	ck_assert_uint_eq(shortage.available, 8 * MIB);
	ck_assert_uint_eq(shortage.cap, 8 * MIB);
	ck_assert_int_eq(sys_host_check(&host, 90 * MIB, 12, &shortage), 0);
	ck_assert_int_eq(sys_host_check(&host, 90 * MIB + 1, 12, &shortage), -ENOMEM);
}
END_TEST

START_TEST(a_page_larger_than_a_step_is_committed_in_one)
{
	struct story story = {.cap = (uint64_t)4 << 30};
	const struct commit_source source = {
		.userdata = &story, .ask = story_ask, .take = story_take, .give = story_give};
	struct sys_shortage shortage;

	/* No file, so that nothing is really committed: what is asked for first shows. */
	ck_assert_int_eq(
		commit_pages(&source, -1, 30, SYS_NODE_ANY, 0, (uint64_t)2 << 30, &shortage),
		-EBADF);
	ck_assert_uint_eq(story.most, (uint64_t)1 << 30);
	ck_assert_uint_eq(story.taken, 0);
}
END_TEST

START_TEST(pages_of_a_node_are_looked_at_and_the_thread_is_as_before)
{
	_cleanup_(closep) int fd = window_new(48 * MIB);
	struct story story = {.cap = 128 * MIB, .node_cap = 128 * MIB};
	struct sys_shortage shortage;

	ck_assert_int_eq(policy_now(), MPOL_DEFAULT);
	ck_assert_int_eq(commit_on(&story, fd, some_node(), 2 * MIB, 40 * MIB, &shortage), 0);
	ck_assert_uint_eq(blocks_of(fd), 40 * MIB);
	/* Each was there to be seen, but for a few that the kernel may have in hand just then. */
	ck_assert_uint_ge(story.looked_at, 39 * MIB);
	ck_assert_int_eq(policy_now(), MPOL_DEFAULT);
	ck_assert_uint_eq(blocks_of(fd), 40 * MIB);
}
END_TEST

START_TEST(pages_that_came_from_another_node_are_given_back)
{
	_cleanup_(closep) int fd = window_new(48 * MIB);
	struct story story = {.cap = 128 * MIB, .node_cap = 128 * MIB, .elsewhere = 4096};
	struct sys_shortage shortage = {};
	uint32_t node = some_node();

	ck_assert_int_eq(commit_on(&story, fd, node, 0, 2 * MIB, &shortage), -ENOMEM);
	ck_assert_uint_eq(blocks_of(fd), 0);
	ck_assert_uint_eq(story.taken, 0);
	ck_assert(shortage.of_node);
	ck_assert_uint_eq(shortage.node, node);
	ck_assert_uint_eq(shortage.misplaced, 4096);
	ck_assert_uint_eq(shortage.asked, 2 * MIB);
}
END_TEST

START_TEST(a_node_without_room_is_not_asked_for_pages)
{
	_cleanup_(closep) int fd = window_new(48 * MIB);
	struct story story = {.cap = 128 * MIB, .node_cap = MIB};
	struct sys_shortage shortage = {};
	uint32_t node = some_node();

	ck_assert_int_eq(commit_on(&story, fd, node, 0, 2 * MIB, &shortage), -ENOMEM);
	ck_assert_uint_eq(story.looked_at, 0);
	ck_assert_uint_eq(blocks_of(fd), 0);
	ck_assert(shortage.of_node);
	ck_assert_uint_eq(shortage.cap, MIB);
	ck_assert_int_eq(commit_on(&story, fd, node, 0, MIB, &shortage), 0);
}
END_TEST

START_TEST(a_node_that_is_not_there_gives_nothing)
{
	_cleanup_(closep) int fd = window_new(4 * MIB);
	struct story story = {.cap = 128 * MIB, .node_cap = 128 * MIB};
	struct sys_shortage shortage = {};

	ck_assert_int_eq(commit_on(&story, fd, 63, 0, 2 * MIB, &shortage), -EINVAL);
	ck_assert_int_eq(commit_on(&story, fd, 64, 0, 2 * MIB, &shortage), -EINVAL);
	ck_assert_uint_eq(blocks_of(fd), 0);
	ck_assert_uint_eq(story.taken, 0);
	ck_assert_int_eq(policy_now(), MPOL_DEFAULT);
}
END_TEST

/* All of them are seen, but for those that the kernel has in hand just then: to move them, say. */
static void count_all(int fd, uint64_t size, uint32_t node, uint64_t *ret_elsewhere)
{
	uint64_t here = 0;

	*ret_elsewhere = 0;
	for (int tries = 0; here + *ret_elsewhere != size && tries < 100; tries++)
		ck_assert_int_eq(mempolicy_count(fd, 12, 0, size, node, &here, ret_elsewhere),
				 0);
	ck_assert_uint_eq(here + *ret_elsewhere, size);
}

START_TEST(pages_are_counted_where_they_are)
{
	_cleanup_(closep) int fd = window_new(4 * MIB);
	struct story story = {.cap = 64 * MIB};
	struct sys_shortage shortage;
	uint64_t elsewhere;

	ck_assert_int_eq(mempolicy_possible(), 0);
	ck_assert_int_eq(commit(&story, fd, 0, 2 * MIB, &shortage), 0);
	count_all(fd, 2 * MIB, some_node(), &elsewhere);
	count_all(fd, 2 * MIB, 63, &elsewhere);
	ck_assert_uint_eq(elsewhere, 2 * MIB);
}
END_TEST

/* As a service's sandbox does, of which systemd's @resources is a part. */
static void forbid(long number)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* Each test has a process of its own: the filter ends with it. */
START_TEST(a_sandbox_that_lets_no_one_choose_a_node_is_noticed)
{
	static const long calls[] = {SYS_set_mempolicy, SYS_get_mempolicy, SYS_move_pages};
	struct mempolicy before;

	forbid(calls[_i]);
	ck_assert_int_eq(mempolicy_possible(), -EPERM);
	if (calls[_i] != SYS_move_pages)
		ck_assert_int_eq(mempolicy_bind(some_node(), &before), -EPERM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sys_commit");
	TCase *tc = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, committed_pages_are_in_the_range_and_nowhere_else);
	tcase_add_test(tc, committing_goes_in_steps_and_asks_before_each);
	tcase_add_test(tc, more_than_the_cap_is_refused_before_the_first_page);
	tcase_add_test(tc, a_shortage_halfway_undoes_what_was_committed);
	tcase_add_test(tc, a_refusal_of_the_kernel_undoes_what_was_committed);
	tcase_add_test(tc, a_host_that_cannot_be_asked_gives_nothing);
	tcase_add_test(tc, a_punched_range_comes_back_as_zeros);
	tcase_add_test(tc, sixteen_tebibytes_are_refused_with_numbers);
	tcase_add_test(tc, sixteen_tebibytes_are_refused_by_this_machine_and_touch_nothing);
	tcase_add_test(tc, hugepages_are_counted_by_their_pool_alone);
	tcase_add_test(tc, a_page_larger_than_a_step_is_committed_in_one);
	tcase_add_test(tc, pages_of_a_node_are_looked_at_and_the_thread_is_as_before);
	tcase_add_test(tc, pages_that_came_from_another_node_are_given_back);
	tcase_add_test(tc, a_node_without_room_is_not_asked_for_pages);
	tcase_add_test(tc, a_node_that_is_not_there_gives_nothing);
	tcase_add_test(tc, pages_are_counted_where_they_are);
	tcase_add_loop_test(tc, a_sandbox_that_lets_no_one_choose_a_node_is_noticed, 0, 3);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
