/*
 * A region of hugepages: what is granted is there, what is not is nobody's.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <varbos/varbos.h>

#include "proto/layout.h"
#include "proto/ring.h"
#include "tests/hugepages.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/integration/survivor.h"

#define MIB ((uint64_t)1 << 20)

enum { PAGES = 16 };

static struct test_daemon daemon_;
static struct peer watcher;

static bool borrowed;

/* Without root there is nothing to borrow: said, and all of it is skipped. */
static void borrow(void)
{
	borrowed = hugepages_borrow(PAGES);
}

static void give_back(void)
{
	if (borrowed)
		hugepages_return();
}

static void start(const char *pages)
{
	test_daemon_start(&daemon_, "32M", "--pages", pages, NULL);
	peer_open(&watcher, daemon_.socket);
}

static void stop(void)
{
	peer_close(&watcher);
	test_daemon_stop(&daemon_);
}

START_TEST(a_region_of_hugepages_is_filled_to_the_last_byte)
{
	const struct varbos_space_options options = {.limit = 32 * MIB,
						     .client_limit = 32 * MIB};
	struct varbos_space *space;
	struct varbos *vb;
	char *memory;

	if (!borrowed)
		return;
	start("2M");
	ck_assert_uint_eq(peer_status(&watcher).page, 2 * MIB);
	ck_assert(!varbos_connect(&vb, daemon_.socket));
	ck_assert(!varbos_space_open(&space, vb, "a", &options));
	memory = varbos_alloc(space, 32 * MIB);
	ck_assert_msg(memory, "%s", varbos_error()->message);
	memset(memory, 'x', 32 * MIB);
	ck_assert_uint_eq(peer_status(&watcher).committed, 32 * MIB);
	ck_assert_ptr_null(varbos_alloc(space, 1));
	ck_assert_int_eq(varbos_free(space, memory), 0);
	ck_assert_ptr_nonnull(varbos_alloc(space, 32 * MIB));
	varbos_disconnect(vb);
	stop();
}
END_TEST

START_TEST(a_touch_of_what_was_not_granted_gets_sigbus_and_takes_no_page)
{
	struct varbos_space *space;
	struct varbos *vb;
	int status;
	pid_t pid;

	if (!borrowed)
		return;
	start("2M");
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		volatile char *memory;

		peer_leave_check();
		signal(SIGBUS, SIG_DFL); /* a sanitizer would make a report of it */
		if (varbos_connect(&vb, daemon_.socket) ||
		    varbos_space_open(&space, vb, "a", NULL))
			_exit(1);
		memory = varbos_alloc(space, 1);
		if (!memory)
			_exit(2);
		memory[65535] = 'x';
		memory[2 * MIB] = 'x'; /* the next page, which no one committed */
		_exit(3);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "wait status 0x%x",
		      (unsigned)status);
	/* All that was reserved can still be had. */
	ck_assert(!varbos_connect(&vb, daemon_.socket));
	ck_assert(!varbos_space_open(
		&space, vb, "b",
		&(struct varbos_space_options){.limit = 24 * MIB, .client_limit = 24 * MIB}));
	ck_assert_msg(varbos_alloc(space, 24 * MIB), "%s", varbos_error()->message);
	varbos_disconnect(vb);
	stop();
}
END_TEST

START_TEST(a_stranger_that_empties_the_pool_takes_nothing_of_the_region)
{
	const struct varbos_space_options options = {.limit = 32 * MIB,
						     .client_limit = 32 * MIB};
	struct varbos_space *space;
	struct varbos *vb;
	char *first, *rest;
	uint64_t taken = 0;
	int stranger;

	if (!borrowed)
		return;
	start("2M");
	ck_assert(!varbos_connect(&vb, daemon_.socket));
	ck_assert(!varbos_space_open(&space, vb, "a", &options));
	first = varbos_alloc(space, 8 * MIB);
	ck_assert_ptr_nonnull(first);
	stranger = memfd_create("stranger", MFD_CLOEXEC | MFD_HUGETLB);
	ck_assert_int_ge(stranger, 0);
	/* As far as a test may go: another's pool may be large. */
	while (taken < 128 * MIB && !fallocate(stranger, 0, (off_t)taken, 2 * MIB))
		taken += 2 * MIB;
	ck_assert(taken == 128 * MIB || errno == ENOSPC);
	/* What the stranger has got is not ours: all of the region is there, to the last byte. */
	rest = varbos_alloc(space, 24 * MIB);
	ck_assert_msg(rest, "%s", varbos_error()->message);
	memset(first, 'x', 8 * MIB);
	memset(rest, 'y', 24 * MIB);
	close(stranger);
	varbos_disconnect(vb);
	stop();
}
END_TEST

START_TEST(more_hugepages_than_there_are_is_a_refusal_or_a_fall)
{
	if (!borrowed)
		return;
	ck_assert_int_eq(test_daemon_try(&daemon_, "64M", "--pages", "2M", NULL), 1);
	start("auto"); /* 16 pages are enough for 32 MiB */
	ck_assert_uint_eq(peer_status(&watcher).page, 2 * MIB);
	stop();
}
END_TEST

/* The ring's two locks lie in a page of 2 MiB, which the daemon reads and swaps, guarded. */
START_TEST(locks_of_the_dead_are_found_in_hugepages_too)
{
	struct wire_channel_opened opened;
	struct peer peer, child;
	struct ring *ring;
	uint64_t space;
	uint32_t lock;
	char *data;
	pid_t pid;

	if (!borrowed)
		return;
	start("2M");
	peer_create_space(&watcher, "a", 16 * MIB);
	peer_open(&peer, daemon_.socket);
	space = peer_open_space(&peer, "a");
	ck_assert(peer_call(&peer, WIRE_HOLDER_OPEN,
			    &(struct wire_space_handle){.space = space}));
	ck_assert(peer_call(&peer, WIRE_CHANNEL_OPEN,
			    &(struct wire_channel_open){
				    .space = space, .name = wire_str("c"), .roles = 2}));
	opened = peer.answer.body.channel_opened;
	ck_assert(
		peer_call(&peer, WIRE_WINDOW_OPEN, &(struct wire_window_open){.space = space}));
	data = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		    peer.fds[0], 0);
	ck_assert_ptr_ne(data, MAP_FAILED);
	ring = (struct ring *)(void *)(data + offset_position(opened.offset));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		peer_leave_check();
		peer_open(&child, daemon_.socket);
		space = peer_open_space(&child, "a");
		peer_call(&child, WIRE_HOLDER_OPEN,
			  &(struct wire_space_handle){.space = space});
		lock = (uint32_t)child.answer.body.holder_opened.id;
		atomic_store(&ring->send.lock, lock);
		atomic_store(&ring->receive.lock, lock);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	for (int i = 0; i < 1000 && atomic_load(&ring->receive.lock) != RING_ORPHAN; i++)
		usleep(10000);
	ck_assert_uint_eq(atomic_load(&ring->send.lock), RING_ORPHAN);
	ck_assert_uint_eq(atomic_load(&ring->receive.lock), RING_ORPHAN);
	munmap(data, 16 * MIB);
	peer_close(&peer);
	stop();
}
END_TEST

/* Could a stranger have so many pages of the pool now? */
static bool strangers(unsigned pages)
{
	void *memory = mmap(NULL, pages * 2 * MIB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (memory == MAP_FAILED)
		return false;
	munmap(memory, pages * 2 * MIB);
	return true;
}

static uint64_t lease(struct peer *peer, uint64_t space, uint64_t size)
{
	ck_assert(peer_call(peer, WIRE_EXTENT_ALLOC,
			    &(struct wire_extent_alloc){.space = space, .size = size}));
	return peer->answer.body.extent_alloced.offset;
}

START_TEST(between_two_daemons_no_stranger_gets_the_regions_pages)
{
	static struct survivor survivor;
	static struct peer peer;
	uint64_t space, session, size = PAGES * 2 * MIB;
	struct wire_hello hello = {.protocol = 1, .layout_min = 1, .layout_max = 1};

	if (!borrowed)
		return;
	survivor_start(&survivor, "--size", "32M", "--pages", "2M", NULL);
	peer_connect(&peer, survivor.socket);
	ck_assert(peer_call(&peer, WIRE_HELLO, &hello));
	session = peer.answer.body.welcome.session;
	ck_assert(peer_call(&peer, WIRE_SPACE_CREATE,
			    &(struct wire_space_create){.name = wire_str("a"),
							.limit = size,
							.client_limit = size}));
	space = peer_open_space(&peer, "a");
	lease(&peer, space, 6 * MIB);
	for (int round = 0; round < 3; round++) {
		uint64_t id = peer.id;

		survivor_kill(&survivor);
		ck_assert(!strangers(1));
		survivor_again(&survivor);
		peer_close(&peer);
		peer_connect(&peer, survivor.socket);
		peer.id = id; /* another request, not the same once more */
		hello.resume = session;
		ck_assert(peer_call(&peer, WIRE_HELLO, &hello));
		ck_assert(!strangers(1));
		lease(&peer, space, 2 * MIB);
	}
	lease(&peer, space, size - 12 * MIB);
	ck_assert_uint_eq(peer_status(&peer).committed, size);
	peer_close(&peer);
	survivor_stop(&survivor);
	ck_assert(strangers(PAGES));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hugepages");
	TCase *t = tcase_create("hugepages");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_unchecked_fixture(t, borrow, give_back);
	tcase_add_test(t, a_region_of_hugepages_is_filled_to_the_last_byte);
	tcase_add_test(t, a_touch_of_what_was_not_granted_gets_sigbus_and_takes_no_page);
	tcase_add_test(t, a_stranger_that_empties_the_pool_takes_nothing_of_the_region);
	tcase_add_test(t, locks_of_the_dead_are_found_in_hugepages_too);
	tcase_add_test(t, more_hugepages_than_there_are_is_a_refusal_or_a_fall);
	tcase_add_test(t, between_two_daemons_no_stranger_gets_the_regions_pages);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (!failed && !borrowed)
		return HUGEPAGES_SKIPPED;
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
