/*
 * Channels from the daemon's side, spoken raw: their ends, their memory, and what the dead leave in them.
 */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "proto/ring.h"
#include "tests/integration/member.h"
#include "tests/suite.h"

static bool close_end(struct member *member, uint64_t id, uint64_t roles)
{
	return peer_call(
		&member->peer, WIRE_CHANNEL_CLOSE,
		&(struct wire_channel_close){.space = member->space, .id = id, .roles = roles});
}

START_TEST(a_channel_is_made_once_and_its_ends_are_counted)
{
	struct wire_channel_opened first, second;
	struct member one, two;
	struct id_info info;
	uint32_t deaths;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	holder(&one);
	holder(&two);
	first = channel(&one, "frames", CHANNEL_SENDS);
	ck_assert_uint_eq(first.capacity, 8);
	second = channel(&two, "frames", CHANNEL_SENDS | CHANNEL_RECEIVES);
	ck_assert_mem_eq(&first, &second, sizeof(first));
	open_files(&two, false);
	for (size_t i = 0; i < first.size; i++)
		ck_assert_int_eq(two.data[offset_position(first.offset) + i], 0);
	info = id_of(&two, (uint32_t)first.id);
	ck_assert_int_eq(info.kind, ID_CHANNEL);
	ck_assert_uint_eq(info.senders, 2);
	ck_assert_uint_eq(info.receivers, 1);

	deaths = atomic_load(&one.root->deaths);
	ck_assert(close_end(&two, first.id, CHANNEL_RECEIVES));
	info = id_of(&two, (uint32_t)first.id);
	ck_assert_uint_eq(info.senders, 2);
	ck_assert(!info.receivers && info.had_receivers && !info.died && !info.dead);
	ck_assert_uint_ne(atomic_load(&one.root->deaths), deaths);
	ck_assert(!close_end(&two, first.id, CHANNEL_RECEIVES));
	ck_assert(was_refused(&two.peer, 10, "channel"));

	ck_assert(close_end(&one, first.id, CHANNEL_SENDS));
	ck_assert(close_end(&two, first.id, CHANNEL_SENDS));
	ck_assert(id_of(&one, (uint32_t)first.id).dead);
	wait_until_used(0); /* its memory goes with the sweep */
	close_member(&two);
	close_member(&one);
}
END_TEST

START_TEST(what_is_no_channel_is_refused)
{
	struct member one, reader;

	open_member(&one, "a", false);
	open_member(&reader, "a", true);
	ck_assert(!try_channel(&one,
			       (struct wire_channel_open){.name = wire_str("x"), .roles = 1}));
	ck_assert(was_refused(&one.peer, 6, "holder"));
	holder(&one);
	ck_assert(!try_channel(
		&one, (struct wire_channel_open){.name = wire_str("a b"), .roles = 1}));
	ck_assert(was_refused(&one.peer, 6, "name"));
	ck_assert(!try_channel(&one,
			       (struct wire_channel_open){.name = wire_str("x"), .roles = 4}));
	ck_assert(was_refused(&one.peer, 6, "roles"));
	ck_assert(!try_channel(&one, (struct wire_channel_open){.name = wire_str("x")}));
	ck_assert(was_refused(&one.peer, 6, "roles"));
	ck_assert(!try_channel(&one, (struct wire_channel_open){.name = wire_str("x"),
								.roles = 1,
								.capacity = 4097}));
	ck_assert(was_refused(&one.peer, 6, "capacity"));
	ck_assert(!try_channel(&one, (struct wire_channel_open){.name = wire_str("x"),
								.roles = 1,
								.existing = true}));
	ck_assert(was_refused(&one.peer, 10, "channel"));
	channel(&one, "x", CHANNEL_SENDS);
	ck_assert(!try_channel(&one, (struct wire_channel_open){.name = wire_str("x"),
								.roles = 2,
								.exclusive = true}));
	ck_assert(was_refused(&one.peer, 11, "channel"));
	ck_assert(try_channel(&one, (struct wire_channel_open){.name = wire_str("x"),
							       .roles = 2,
							       .existing = true}));
	ck_assert(!try_channel(&reader,
			       (struct wire_channel_open){.name = wire_str("x"), .roles = 2}));
	ck_assert_uint_eq(reader.peer.answer.fault.code, 12);
	close_member(&reader);
	close_member(&one);
	wait_until_used(0);
}
END_TEST

START_TEST(all_channels_of_a_space_are_listed)
{
	enum { CHANNELS = 100 };
	static bool seen[CHANNELS];
	struct wire_space_page page;
	struct member one, other;
	unsigned n = 0;

	peer_create_space(&watcher, "b", WINDOW);
	open_member(&one, "a", false);
	open_member(&other, "b", false);
	holder(&one);
	holder(&other);
	channel(&other, "elsewhere", CHANNEL_SENDS);
	for (unsigned i = 0; i < CHANNELS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "c%u", i);
		channel(&one, name, CHANNEL_RECEIVES);
	}
	page = (struct wire_space_page){.space = one.space};
	do {
		const struct wire_channel_row *row;

		ck_assert(peer_call(&one.peer, WIRE_CHANNEL_LIST, &page));
		row = one.peer.answer.body.channel_rows.rows.rows;
		for (uint32_t i = 0; i < one.peer.answer.body.channel_rows.rows.count;
		     i++, row++, n++) {
			char name[16];
			unsigned number;

			wire_str_copy(name, sizeof(name), row->name);
			ck_assert_int_eq(sscanf(name, "c%u", &number), 1);
			ck_assert(number < CHANNELS && !seen[number]);
			seen[number] = true;
			ck_assert(row->receivers == 1 && !row->senders && row->capacity == 8);
		}
		page.after = one.peer.answer.body.channel_rows.next;
	} while (page.after);
	ck_assert_uint_eq(n, CHANNELS);
	page.space = other.space;
	page.after = 0;
	ck_assert(!peer_call(&one.peer, WIRE_CHANNEL_LIST, &page)); /* not open to it */
	close_member(&one);
	close_member(&other);
}
END_TEST

static struct ring *ring_of(struct member *member, struct wire_channel_opened opened)
{
	return (struct ring *)(void *)(member->data + offset_position(opened.offset));
}

/* It dies with both locks, one block sent and one held. */
static void hold_all(struct member *member, struct wire_extent_alloced extent)
{
	struct wire_channel_opened opened;

	*child_id = holder(member);
	opened = channel(member, "pipe", CHANNEL_SENDS);
	open_files(member, false);
	atomic_store(&ring_of(member, opened)->send.lock, *child_id | 5U << 11);
	atomic_store(&ring_of(member, opened)->receive.lock, *child_id);
	atomic_store(word_of(member, extent, 0), word(BLOCK_SENT, (uint32_t)opened.id, 1));
	atomic_store(word_of(member, extent, 1), word(BLOCK_HELD, *child_id, 1));
}

START_TEST(a_sender_that_is_killed_leaves_its_channel_what_it_sent_and_no_lock)
{
	struct wire_channel_opened opened;
	struct wire_extent_alloced extent;
	struct member one;
	struct id_info info;
	uint32_t id;
	pid_t pid;

	open_member(&one, "a", false);
	holder(&one);
	extent = alloc_blocks(&one, 64 * KIB);
	opened = channel(&one, "pipe", CHANNEL_RECEIVES);
	id = (uint32_t)opened.id;
	open_files(&one, false);
	pid = fork_member(hold_all, extent);
	ck_assert_uint_eq(id_of(&one, id).senders, 1);
	kill_member(pid);
	wait_until_word(&one, extent, 1, word(BLOCK_FREED, 0, 1));
	info = id_of(&one, id);
	ck_assert(!info.dead && !info.senders && info.had_senders && info.died);
	ck_assert_uint_eq(atomic_load(word_of(&one, extent, 0)), word(BLOCK_SENT, id, 1));
	for (int i = 0;
	     i < WAIT_TRIES && atomic_load(&ring_of(&one, opened)->receive.lock) != RING_ORPHAN;
	     i++)
		usleep(10000);
	ck_assert_uint_eq(atomic_load(&ring_of(&one, opened)->receive.lock), RING_ORPHAN);
	ck_assert_uint_eq(atomic_load(&ring_of(&one, opened)->send.lock),
			  RING_ORPHAN | 5U << 11);

	/* With the channel goes what was on its way to it. */
	ck_assert(who(&one, ref_make(1, extent.offset)) || one.peer.answer.failed);
	ck_assert(close_end(&one, id, CHANNEL_RECEIVES));
	wait_until_word(&one, extent, 0, word(BLOCK_FREED, 0, 1));
	close_member(&one);
	wait_until_used(0);
}
END_TEST

static void open_pipe(struct member *member, struct wire_extent_alloced extent)
{
	(void)extent;
	*child_id = holder(member);
	channel(member, "pipe", CHANNEL_SENDS); /* whose memory it has not mapped yet */
}

static bool lives(struct member *member, uint32_t id, uint32_t pid)
{
	struct id_info info = id_of(member, id);

	return info.kind == ID_PROCESS && info.pid == pid && !info.dead;
}

/* The daemon sees the death before the opening, or after it: either is one channel that lives. */
START_TEST(an_end_that_opens_while_the_last_one_dies_is_of_a_channel_that_lives)
{
	struct wire_channel_opened opened;
	struct member one;
	struct id_info info;

	open_member(&one, "a", false);
	holder(&one);
	for (unsigned i = 0; i < 40; i++) {
		pid_t pid = fork_member(open_pipe, (struct wire_extent_alloced){});

		kill(pid, SIGKILL);
		if (i % 4)
			usleep(i % 4 * 100);
		opened = channel(&one, "pipe", CHANNEL_RECEIVES);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		/* Its id may be another's by now. */
		for (int k = 0; k < WAIT_TRIES && (lives(&one, *child_id, (uint32_t)pid) ||
						   id_of(&one, (uint32_t)opened.id).senders);
		     k++)
			usleep(10000);
		info = id_of(&one, (uint32_t)opened.id);
		ck_assert_int_eq(info.kind, ID_CHANNEL);
		ck_assert(!info.dead);
		ck_assert_uint_eq(info.receivers, 1);
		ck_assert_uint_eq(info.senders, 0);
		ck_assert(info.had_senders == info.died); /* it has met him, or has not */
		ck_assert(close_end(&one, opened.id, CHANNEL_RECEIVES));
		wait_until_used(0);
	}
	close_member(&one);
}
END_TEST

START_TEST(a_ring_is_zeros_where_others_bytes_have_been)
{
	struct wire_channel_opened opened;
	struct wire_extent_alloced extent;
	struct member one;

	open_member(&one, "a", false);
	holder(&one);
	extent = alloc_blocks(&one, 64 * KIB);
	open_files(&one, false);
	memset(one.data + offset_position(extent.offset), 0xa5, 64 * KIB);
	ck_assert(try_free(&one, extent));
	opened = channel(&one, "pipe", CHANNEL_SENDS);
	ck_assert_uint_eq(opened.offset, extent.offset);
	for (size_t i = 0; i < opened.size; i++)
		ck_assert_int_eq(one.data[offset_position(opened.offset) + i], 0);
	close_member(&one);
	wait_until_used(0);
}
END_TEST

/* A ring is its members' memory: whatever is in it, sweeps pass by. */
START_TEST(a_ring_of_garbage_stops_no_sweep)
{
	struct wire_channel_opened opened;
	struct member one, other;
	unsigned seed = 3;

	open_member(&one, "a", false);
	holder(&one);
	opened = channel(&one, "pipe", CHANNEL_RECEIVES);
	open_files(&one, false);
	for (unsigned i = 0; i < 50; i++) {
		for (size_t k = 0; k < sizeof(struct ring) / sizeof(uint32_t); k++)
			atomic_store((_Atomic uint32_t *)(void *)ring_of(&one, opened) + k,
				     (uint32_t)rand_r(&seed) << 4 ^ (uint32_t)rand_r(&seed));
		open_member(&other, "a", false);
		holder(&other);
		close_member(&other);
	}
	ck_assert(close_end(&one, opened.id, CHANNEL_RECEIVES));
	wait_until_used(0);
	close_member(&one);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("channels");
	TCase *tests = tcase_create("channels");

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_channel_is_made_once_and_its_ends_are_counted);
	tcase_add_test(tests, what_is_no_channel_is_refused);
	tcase_add_test(tests, all_channels_of_a_space_are_listed);
	tcase_add_test(tests,
		       a_sender_that_is_killed_leaves_its_channel_what_it_sent_and_no_lock);
	tcase_add_test(tests,
		       an_end_that_opens_while_the_last_one_dies_is_of_a_channel_that_lives);
	tcase_add_test(tests, a_ring_is_zeros_where_others_bytes_have_been);
	tcase_add_test(tests, a_ring_of_garbage_stops_no_sweep);
	return suite_run(suite);
}
