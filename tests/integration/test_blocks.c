/*
 * Shared blocks from the daemon's side, spoken raw: what clients are given, what becomes of the
 * blocks of the dead, and how little it matters what anyone writes into words files.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "proto/block_word.h"
#include "proto/layout.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

enum {
	WINDOW = 16 << 20,
	SLICES = WINDOW >> SLICE_SHIFT,
};

static struct test_daemon daemon_;
static struct peer watcher;

/* A session with the space open, its first window and its words mapped. */
struct member {
	struct peer peer;
	uint64_t space;
	const struct root_file *root;
	const _Atomic uint64_t *map;
	char *data;
	void *words;
	int words_fd;
};

static void set_up(void)
{
	test_daemon_start(&daemon_, "64M", "--pages", "4K", NULL);
	peer_open(&watcher, daemon_.socket);
	peer_create_space(&watcher, "a", WINDOW);
}

static void tear_down(void)
{
	peer_close(&watcher);
	test_daemon_stop(&daemon_);
}

static void *map_file(int fd, uint64_t size, int prot)
{
	void *memory = mmap(NULL, size, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	close(fd);
	return memory;
}

static void open_member(struct member *member, const char *name, bool read_only)
{
	peer_open(&member->peer, daemon_.socket);
	ck_assert(peer_call(
		&member->peer, WIRE_SPACE_OPEN,
		&(struct wire_space_open){.name = wire_str(name), .read_only = read_only}));
	member->space = member->peer.answer.body.space_opened.space;
	member->root = map_file(TAKE_FD(member->peer.fds[0]), sizeof(*member->root), PROT_READ);
	member->map = NULL;
	member->data = NULL;
	member->words = NULL;
	member->words_fd = -1;
}

static void close_member(struct member *member)
{
	munmap((void *)(uintptr_t)member->root, sizeof(*member->root));
	if (member->map)
		munmap((void *)(uintptr_t)member->map, SLICES * sizeof(*member->map));
	if (member->data)
		munmap(member->data, WINDOW);
	if (member->words)
		munmap(member->words, words_file_size(SLICES));
	closep(&member->words_fd);
	peer_call(&member->peer, WIRE_BYE, &(struct wire_empty){});
	peer_close(&member->peer);
}

static bool try_alloc(struct member *member, uint64_t size, bool blocks, bool shared)
{
	return peer_call(&member->peer, WIRE_EXTENT_ALLOC,
			 &(struct wire_extent_alloc){.space = member->space,
						     .size = size,
						     .blocks = blocks,
						     .shared = shared});
}

static struct wire_extent_alloced alloc_blocks(struct member *member, uint64_t size)
{
	ck_assert(try_alloc(member, size, true, false));
	return member->peer.answer.body.extent_alloced;
}

static bool try_words(struct member *member, uint64_t window)
{
	return peer_call(&member->peer, WIRE_WORDS_OPEN,
			 &(struct wire_window_open){.space = member->space, .window = window});
}

/* Once there is a window: it comes with the first extent. */
static void open_files(struct member *member, bool read_only)
{
	int prot = read_only ? PROT_READ : PROT_READ | PROT_WRITE;

	ck_assert(peer_call(&member->peer, WIRE_WINDOW_OPEN,
			    &(struct wire_window_open){.space = member->space}));
	ck_assert_uint_eq(member->peer.answer.body.window_opened.size, WINDOW);
	member->data = map_file(TAKE_FD(member->peer.fds[0]), WINDOW, prot);
	member->map = map_file(TAKE_FD(member->peer.fds[1]), SLICES * sizeof(*member->map),
			       PROT_READ);
	ck_assert(try_words(member, 0));
	ck_assert_uint_eq(member->peer.answer.body.words_opened.size, words_file_size(SLICES));
	member->words_fd = TAKE_FD(member->peer.fds[0]);
	member->words = map_file(fcntl(member->words_fd, F_DUPFD_CLOEXEC, 3),
				 words_file_size(SLICES), prot);
}

static uint32_t slice_of(struct wire_extent_alloced extent)
{
	return (uint32_t)(offset_position(extent.offset) >> SLICE_SHIFT);
}

static struct slice_info info_of(struct member *member, struct wire_extent_alloced extent)
{
	return slice_word_unpack(atomic_load(&member->map[slice_of(extent)]));
}

static _Atomic uint32_t *word_of(struct member *member, struct wire_extent_alloced extent,
				 uint32_t block)
{
	return words_at(member->words, words_index(slice_of(extent), block));
}

static uint32_t word(enum block_state state, uint32_t id, uint32_t generation)
{
	return block_word_pack((struct block_info){state, id, generation});
}

static bool try_free(struct member *member, struct wire_extent_alloced extent)
{
	return peer_call(&member->peer, WIRE_EXTENT_FREE,
			 &(struct wire_extent_free){.space = member->space,
						    .offset = extent.offset,
						    .tag = extent.tag});
}

static bool was_refused(const struct peer *peer, uint64_t code, const char *which)
{
	return peer->answer.failed && peer->answer.fault.code == code &&
	       wire_str_is(peer->answer.fault.which, which);
}

static uint64_t used(void)
{
	return peer_status(&watcher).used;
}

/* ---- words files ---- */

START_TEST(members_share_the_words_of_a_window)
{
	struct member one, two;
	struct wire_extent_alloced extent;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	ck_assert(!try_words(&one, 0)); /* there is no window yet */
	extent = alloc_blocks(&one, 64 * KIB);
	open_files(&one, false);
	open_files(&two, false);
	ck_assert_uint_eq(atomic_load(word_of(&one, extent, 1023)), 0);
	atomic_store(word_of(&one, extent, 1023), 0x12345677);
	ck_assert_uint_eq(atomic_load(word_of(&two, extent, 1023)), 0x12345677);
	close_member(&one);
	close_member(&two);
}
END_TEST

START_TEST(a_words_file_keeps_its_size_and_its_writers)
{
	struct member one;

	open_member(&one, "a", false);
	alloc_blocks(&one, 64 * KIB);
	open_files(&one, false);
	ck_assert_int_eq(ftruncate(one.words_fd, 4096), -1);
	ck_assert_int_eq(ftruncate(one.words_fd, 1 << 30), -1);
	ck_assert_int_eq(fcntl(one.words_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	close_member(&one);
}
END_TEST

START_TEST(who_opened_the_space_read_only_cannot_write_its_words)
{
	struct member one, reader;
	struct wire_extent_alloced extent;

	open_member(&one, "a", false);
	extent = alloc_blocks(&one, 64 * KIB);
	open_files(&one, false);
	open_member(&reader, "a", true);
	open_files(&reader, true);
	ck_assert_ptr_eq(
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader.words_fd, 0),
		MAP_FAILED);
	ck_assert_int_eq(errno, EACCES);
	ck_assert_int_ne(mprotect(reader.words, 4096, PROT_READ | PROT_WRITE), 0);
	ck_assert_int_eq(pwrite(reader.words_fd, "x", 1, 0), -1);
	ck_assert_int_eq(
		fallocate(reader.words_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096),
		-1);
	atomic_store(word_of(&one, extent, 0), 7);
	ck_assert_uint_eq(atomic_load(word_of(&reader, extent, 0)), 7);
	ck_assert(!try_alloc(&reader, 64 * KIB, true, false));
	ck_assert_uint_eq(reader.peer.answer.fault.code, 12);
	close_member(&reader);
	close_member(&one);
}
END_TEST

START_TEST(words_of_a_space_that_is_not_open_are_refused)
{
	struct member one, other;
	uint64_t own;

	peer_create_space(&watcher, "b", WINDOW);
	open_member(&one, "a", false);
	alloc_blocks(&one, 64 * KIB);
	open_member(&other, "b", false);
	own = other.space;
	other.space = one.space;
	ck_assert(!try_words(&other, 0));
	other.space = own;
	ck_assert(!try_words(&other, WINDOWS_MAX));
	ck_assert_uint_eq(other.peer.answer.fault.code, 6);
	close_member(&one);
	close_member(&other);
}
END_TEST

/* ---- extents of blocks ---- */

START_TEST(blocks_are_their_sessions_and_then_the_spaces)
{
	struct member one, two;
	struct wire_extent_alloced extent;
	struct slice_info info;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	extent = alloc_blocks(&one, 128 * KIB);
	open_files(&two, false);
	info = info_of(&two, extent);
	ck_assert_int_eq(info.kind, EXTENT_BLOCKS);
	ck_assert(info.head && info.count == 2);
	ck_assert_uint_gt(info.session, 0);
	ck_assert(!try_free(&two, extent)); /* while its owner lives it is the owner's */
	ck_assert(was_refused(&two.peer, 4, "not-owner"));
	atomic_store(word_of(&two, extent, 5), word(BLOCK_HELD, 9, 1));
	close_member(&one);
	info = info_of(&two, extent);
	ck_assert_int_eq(info.kind, EXTENT_BLOCKS);
	ck_assert_uint_eq(info.session, 0);
	ck_assert_uint_eq(used(), 128 * KIB);
	close_member(&two);
}
END_TEST

START_TEST(an_extent_is_one_block_or_of_blocks)
{
	struct member one;

	open_member(&one, "a", false);
	ck_assert(!try_alloc(&one, 64 * KIB, true, true));
	ck_assert(was_refused(&one.peer, 6, "blocks"));
	close_member(&one);
}
END_TEST

START_TEST(adopted_blocks_are_freed_when_nobody_has_any_and_not_before)
{
	static const enum block_state live[] = {BLOCK_HELD, BLOCK_SENT};
	struct member one, two;
	struct wire_extent_alloced extent;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	extent = alloc_blocks(&one, 3 * MIB); /* more than a worker looks at in one piece */
	open_files(&two, false);
	atomic_store(word_of(&two, extent, 47 * SLICE_WORDS + 1023), word(BLOCK_SENT, 0, 3));
	close_member(&one);

	for (size_t i = 0; i < ARRAY_SIZE(live); i++) {
		atomic_store(word_of(&two, extent, 47 * SLICE_WORDS + 1023),
			     word(live[i], 9, 3));
		ck_assert(!try_free(&two, extent));
		ck_assert(was_refused(&two.peer, 4, "held"));
		ck_assert_uint_eq(used(), 3 * MIB);
	}
	/* Who only hints is not told that he was wrong. */
	peer_note(&two.peer, WIRE_EXTENT_FREE,
		  &(struct wire_extent_free){
			  .space = two.space, .offset = extent.offset, .tag = extent.tag});
	ck_assert(peer_call(&two.peer, WIRE_PING, &(struct wire_ping){}));
	ck_assert_uint_eq(used(), 3 * MIB);

	atomic_store(word_of(&two, extent, 47 * SLICE_WORDS + 1023), word(BLOCK_FREED, 0, 3));
	ck_assert(try_free(&two, extent));
	ck_assert_uint_eq(used(), 0);
	ck_assert_uint_eq(info_of(&two, extent).kind, EXTENT_NONE);
	ck_assert(!try_free(&two, extent));
	ck_assert_uint_eq(two.peer.answer.fault.code, 4);
	close_member(&two);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("blocks");
	TCase *tests = tcase_create("blocks");

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, members_share_the_words_of_a_window);
	tcase_add_test(tests, a_words_file_keeps_its_size_and_its_writers);
	tcase_add_test(tests, who_opened_the_space_read_only_cannot_write_its_words);
	tcase_add_test(tests, words_of_a_space_that_is_not_open_are_refused);
	tcase_add_test(tests, blocks_are_their_sessions_and_then_the_spaces);
	tcase_add_test(tests, an_extent_is_one_block_or_of_blocks);
	tcase_add_test(tests, adopted_blocks_are_freed_when_nobody_has_any_and_not_before);
	return suite_run(suite);
}
