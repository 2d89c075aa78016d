/*
 * Return rings: what is given back without a message counts as given back, and what a client
 * writes there can hurt nobody.
 */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <varbos/varbos.h>

#include "base/base.h"
#include "proto/layout.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

static struct test_daemon daemon_;
static struct peer peer, watcher;
static struct return_ring *ring;
static int ring_fd;
static uint64_t space, turn;

static void set_up(void)
{
	test_daemon_start(&daemon_, "32M", NULL);
	peer_open(&watcher, daemon_.socket);
	peer_create_space(&watcher, "a", 16 * MIB);
	peer_open(&peer, daemon_.socket);
	space = peer_open_space(&peer, "a");
	ck_assert(peer_call(&peer, WIRE_RETURNS_OPEN, &(struct wire_empty){}));
	ring_fd = TAKE_FD(peer.fds[0]);
	ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
	ck_assert_ptr_ne(ring, MAP_FAILED);
	turn = 0;
}

static void tear_down(void)
{
	peer_close(&peer);
	peer_close(&watcher);
	close(ring_fd);
	test_daemon_stop(&daemon_);
}

static struct wire_extent_alloced alloc(struct peer *by, uint64_t in, uint64_t size)
{
	ck_assert_msg(peer_call(by, WIRE_EXTENT_ALLOC,
				&(struct wire_extent_alloc){.space = in, .size = size}),
		      "%.*s", (int)by->answer.fault.message.size,
		      by->answer.fault.message.data);
	return by->answer.body.extent_alloced;
}

static void give_back(uint64_t of, uint64_t ref)
{
	struct return_record *record = &ring->records[turn % RETURNS_MAX];

	record->space = of;
	record->ref = ref;
	atomic_store_explicit(&record->turn, ++turn, memory_order_release);
}

static uint64_t ref_of(struct wire_extent_alloced extent)
{
	return ref_make((uint32_t)extent.tag, extent.offset);
}

START_TEST(what_is_in_the_ring_counts_as_free_before_anyone_is_refused)
{
	struct wire_extent_alloced all = alloc(&peer, space, 14 * MIB);
	struct peer other;
	uint64_t theirs;

	peer_open(&other, daemon_.socket);
	theirs = peer_open_space(&other, "a");
	ck_assert(!peer_call(&other, WIRE_EXTENT_ALLOC,
			     &(struct wire_extent_alloc){.space = theirs, .size = 8 * MIB}));
	ck_assert_uint_eq(other.answer.fault.code, 3);
	give_back(space, ref_of(all));
	alloc(&other, theirs, 8 * MIB); /* though its owner has said nothing */
	peer_close(&other);
}
END_TEST

START_TEST(it_is_taken_before_the_next_message_of_its_session)
{
	struct wire_extent_alloced a = alloc(&peer, space, MIB), b;

	for (int i = 0; i < 1000; i++) {
		give_back(space, ref_of(a));
		b = alloc(&peer, space, MIB);
		ck_assert_uint_eq(b.offset, a.offset);
		ck_assert_uint_ne(b.tag, a.tag);
		a = b;
	}
	ck_assert_uint_eq(peer_status(&watcher).used, MIB);
}
END_TEST

START_TEST(it_is_taken_though_its_owner_never_speaks_again)
{
	struct wire_extent_alloced a = alloc(&peer, space, MIB);

	give_back(space, ref_of(a));
	/* By the beat alone: the statistics file, which nobody asks to be brought up to date. */
	ck_assert(peer_call(&watcher, WIRE_SPACE_LIST, &(struct wire_page_after){}));
	for (int i = 0; i < 2000; i++) {
		const struct wire_space_row *row;

		ck_assert(peer_call(&watcher, WIRE_SPACE_LIST, &(struct wire_page_after){}));
		row = watcher.answer.body.space_rows.rows.rows;
		if (!row->used)
			return;
		usleep(10000);
	}
	ck_abort_msg("it was never taken");
}
END_TEST

START_TEST(a_record_that_is_refused_comes_back_as_a_note)
{
	give_back(space, 0x1234500000000000);
	peer_send(&peer, WIRE_PING, &(struct wire_ping){});
	ck_assert(peer_receive(&peer));
	ck_assert_int_eq(peer.answer.method, WIRE_EXTENT_REFUSED);
	ck_assert_uint_eq(peer.answer.body.extent_refused.tag, 0x12345);
	ck_assert(peer_receive(&peer));
	ck_assert_int_eq(peer.answer.method, WIRE_PING);
}
END_TEST

START_TEST(a_second_ring_is_refused)
{
	ck_assert(!peer_call(&peer, WIRE_RETURNS_OPEN, &(struct wire_empty){}));
	ck_assert_uint_eq(peer.answer.fault.code, 11);
}
END_TEST

START_TEST(the_ring_keeps_its_size)
{
	ck_assert_int_ne(ftruncate(ring_fd, 8192), 0);
	ck_assert_int_ne(ftruncate(ring_fd, 0), 0);
}
END_TEST

START_TEST(garbage_in_the_ring_frees_nothing_and_stops_nothing)
{
	const char *set = getenv("VARBOS_SEED");
	unsigned seed = set ? (unsigned)strtoul(set, NULL, 0) : (unsigned)time(NULL);
	uint64_t theirs = peer_open_space(&watcher, "a");

	printf("VARBOS_SEED=%u\n", seed);
	alloc(&watcher, theirs, 2 * MIB);
	for (int round = 0; round < 300; round++) {
		for (uint64_t i = 0; i < RETURNS_MAX; i++) {
			struct return_record *record = &ring->records[i];

			/* Now and then a turn that comes next, a handle and a place that exist. */
			record->space = rand_r(&seed) % 4;
			record->ref = (uint64_t)rand_r(&seed) << 40 |
				      (uint64_t)(rand_r(&seed) % 64) << 16;
			record->turn = rand_r(&seed) % 2 ? i + 1 + (uint64_t)round * RETURNS_MAX
							 : (uint64_t)rand_r(&seed);
		}
		if (round % 50 == 0) /* a hole */
			fallocate(ring_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
		ck_assert(peer_call(&peer, WIRE_PING, &(struct wire_ping){}));
		ck_assert_uint_ge(peer_status(&watcher).used, 2 * MIB);
	}
	ck_assert_uint_eq(peer_status(&watcher).used, 2 * MIB);
	ck_assert(!peer_call(&watcher, WIRE_EXTENT_ALLOC,
			     &(struct wire_extent_alloc){.space = theirs, .size = 13 * MIB}));
}
END_TEST

START_TEST(the_library_uses_it_and_falls_back_when_it_is_full)
{
	enum { BLOCKS = 200 }; /* more than a ring holds */
	void *blocks[BLOCKS];
	struct varbos_space *open;
	struct varbos *vb;

	ck_assert(!varbos_connect(&vb, daemon_.socket));
	ck_assert(!varbos_space_open(&open, vb, "a", NULL));
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < BLOCKS; i++) {
			blocks[i] = varbos_alloc_with(open, 65536, NULL);
			ck_assert_msg(blocks[i], "%s", varbos_error()->message);
		}
		for (int i = 0; i < BLOCKS; i++)
			ck_assert_int_eq(varbos_free(open, blocks[i]), 0);
		ck_assert_int_eq(varbos_free(open, blocks[0]), VARBOS_E_REFERENCE);
		ck_assert_int_eq(varbos_ping(vb, NULL), 0);
		ck_assert_uint_eq(peer_status(&watcher).used, 0);
	}
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
	varbos_disconnect(vb);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("returns");
	TCase *t = tcase_create("returns");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, what_is_in_the_ring_counts_as_free_before_anyone_is_refused);
	tcase_add_test(t, it_is_taken_before_the_next_message_of_its_session);
	tcase_add_test(t, it_is_taken_though_its_owner_never_speaks_again);
	tcase_add_test(t, a_record_that_is_refused_comes_back_as_a_note);
	tcase_add_test(t, a_second_ring_is_refused);
	tcase_add_test(t, the_ring_keeps_its_size);
	tcase_add_test(t, garbage_in_the_ring_frees_nothing_and_stops_nothing);
	tcase_add_test(t, the_library_uses_it_and_falls_back_when_it_is_full);
	suite_add_tcase(s, t);
	return suite_run(s);
}
