/*
 * Shared blocks from the daemon's side, spoken raw: what clients are given, whose it is, and how little it
 * matters what anyone writes into words files.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "proto/size_class.h"
#include "tests/integration/member.h"
#include "tests/suite.h"

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
	/* The sweep that follows its adoption may still be under way, and see the same. */
	ck_assert(try_free(&two, extent) || two.peer.answer.fault.code == 4);
	ck_assert_uint_eq(used(), 0);
	ck_assert_uint_eq(info_of(&two, extent).kind, EXTENT_NONE);
	ck_assert(!try_free(&two, extent));
	ck_assert_uint_eq(two.peer.answer.fault.code, 4);
	close_member(&two);
}
END_TEST

/* ---- whose is it? ---- */

static void check_who(struct member *member, uint64_t ref, const char *state, uint64_t id,
		      uint64_t offset, uint64_t size)
{
	const struct wire_block_holder *holder = &member->peer.answer.body.block_holder;

	ck_assert(who(member, ref));
	ck_assert(wire_str_is(holder->state, state));
	ck_assert_uint_eq(holder->id, id);
	ck_assert_uint_eq(holder->offset, offset);
	ck_assert_uint_eq(holder->size, size);
}

START_TEST(whose_a_block_is_can_be_asked)
{
	enum { CLASS = 20 }; /* of which a run has more than one slice */
	const struct size_class *class = &size_classes[CLASS];
	const uint32_t block = class->blocks - 1U;
	struct wire_extent_alloced extent, large;
	struct member one, two;
	uint32_t first, second;
	uint64_t place;

	open_member(&one, "a", false);
	open_member(&two, "a", false);
	first = holder(&one);
	second = holder(&two);
	extent = alloc_blocks(&one, 8 * class->slices * 64 * KIB);
	open_files(&one, false);
	place = extent.offset + (uint64_t) class->slices * 64 * KIB; /* the second run */
	for (uint32_t i = 0; i < class->slices; i++)
		atomic_store(
			&words_note(one.words, SLICES, slice_of(extent) + class->slices + i)
				 ->info,
			slice_cut_pack((struct slice_cut){CLASS + 1, i}));
	atomic_store(word_of(&one, extent, class->slices * SLICE_WORDS + block),
		     word(BLOCK_HELD, first, 3));
	place += (uint64_t)block * class->size;

	check_who(&two, ref_make(3, place + 5), "held", first, place, class->size);
	ck_assert_uint_eq(two.peer.answer.body.block_holder.pid, (uint64_t)getpid());
	ck_assert(wire_str_is(two.peer.answer.body.block_holder.name, "peer"));
	atomic_store(word_of(&one, extent, class->slices * SLICE_WORDS + block),
		     word(BLOCK_SENT, second, 3));
	check_who(&two, ref_make(3, place), "sent", second, place, class->size);
	atomic_store(word_of(&one, extent, class->slices * SLICE_WORDS + block),
		     word(BLOCK_SENT, BLOCK_ANYONE, 3));
	check_who(&two, ref_make(3, place), "sent", 0, place, class->size);
	ck_assert(!who(&two, ref_make(2, place)));
	ck_assert(was_refused(&two.peer, 4, "stale"));
	atomic_store(word_of(&one, extent, class->slices * SLICE_WORDS + block),
		     word(BLOCK_FREED, 0, 3));
	ck_assert(!who(&two, ref_make(3, place)));
	ck_assert(was_refused(&two.peer, 4, "freed"));
	ck_assert(!who(&two, ref_make(3, extent.offset))); /* not cut */
	ck_assert(was_refused(&two.peer, 4, "freed"));
	ck_assert(!who(&two, ref_make(3, offset_make(5, 0))));
	ck_assert(was_refused(&two.peer, 4, "foreign"));

	ck_assert(try_alloc(&one, MIB, false, true));
	large = one.peer.answer.body.extent_alloced;
	check_who(&two, ref_make((uint32_t)large.tag, large.offset + 70000), "leased", 0,
		  large.offset, MIB);
	atomic_store(word_of(&one, large, 0), word(BLOCK_HELD, first, (uint32_t)large.tag));
	check_who(&two, ref_make((uint32_t)large.tag, large.offset + 70000), "held", first,
		  large.offset, MIB);
	close_member(&two);
	close_member(&one);
}
END_TEST

/* What an owner says of his slices is not believed beyond the extent, whatever it is. */
START_TEST(who_has_not_opened_the_space_is_not_told_whose_a_block_is)
{
	struct wire_extent_alloced blocks, private;
	struct member one, reader, other;
	uint64_t own, offset;

	peer_create_space(&watcher, "b", WINDOW);
	open_member(&one, "a", false);
	open_member(&reader, "a", true);
	open_member(&other, "b", false);
	blocks = alloc_blocks(&one, 64 * KIB);
	ck_assert(try_alloc(&one, 64 * KIB, false, false));
	private = one.peer.answer.body.extent_alloced;
	open_files(&one, false);
	atomic_store(&words_note(one.words, SLICES, slice_of(blocks))->info,
		     slice_cut_pack((struct slice_cut){.class_plus_1 = 1}));
	atomic_store(word_of(&one, blocks, 0), word(BLOCK_HELD, holder(&one), 1));
	check_who(&reader, ref_make(1, blocks.offset), "held", holder(&one), blocks.offset,
		  size_classes[0].size);
	own = other.space;
	other.space = one.space;
	for (int i = 0; i < 2; i++) {
		offset = i ? private.offset : blocks.offset;
		ck_assert(!who(&other, ref_make(i ? (uint32_t) private.tag : 1, offset)));
		ck_assert_uint_eq(other.peer.answer.fault.code, 10);
	}
	other.space = own;
	ck_assert(!who(&other, ref_make(1, blocks.offset)));
	ck_assert(was_refused(&other.peer, 4, "foreign"));
	close_member(&other);
	close_member(&reader);
	close_member(&one);
}
END_TEST

START_TEST(asked_about_garbage_the_daemon_answers_or_refuses)
{
	struct wire_extent_alloced extent;
	unsigned seed = 7, answered = 0;
	struct member one;

	open_member(&one, "a", false);
	holder(&one);
	extent = alloc_blocks(&one, 256 * KIB);
	open_files(&one, false);
	for (unsigned i = 0; i < 500; i++) {
		uint64_t at = (unsigned)rand_r(&seed) % (256 * KIB);
		uint32_t slice = slice_of(extent) + (uint32_t)(at >> SLICE_SHIFT);
		const struct wire_block_holder *holder_of;

		atomic_store(&words_note(one.words, SLICES, slice)->info,
			     (uint32_t)rand_r(&seed) % CLASSES | (uint32_t)(rand_r(&seed) % 4)
									 << 8);
		for (uint32_t k = 0; k < 4 * SLICE_WORDS; k += 1 + (uint32_t)rand_r(&seed) % 8)
			atomic_store(word_of(&one, extent, k),
				     word((enum block_state)(rand_r(&seed) % 4),
					  (uint32_t)rand_r(&seed), 1));
		if (!who(&one, ref_make(1, extent.offset + at))) {
			ck_assert_uint_eq(one.peer.answer.fault.code, 4);
			continue;
		}
		answered++;
		holder_of = &one.peer.answer.body.block_holder;
		ck_assert_uint_ge(extent.offset + at, holder_of->offset);
		ck_assert_uint_lt(extent.offset + at, holder_of->offset + holder_of->size);
		ck_assert_uint_ge(holder_of->offset, extent.offset);
		ck_assert_uint_le(holder_of->offset + holder_of->size,
				  extent.offset + 256 * KIB);
	}
	ck_assert_uint_gt(answered, 0);
	close_member(&one);
}
END_TEST

/* ---- mischief ---- */

static void spoil(struct member *member, struct wire_extent_alloced extent)
{
	uint64_t size = words_file_size(SLICES) / sizeof(uint32_t);
	unsigned seed = (unsigned)extent.tag;

	open_files(member, false);
	holder(member);
	for (uint64_t i = 0; i < size; i++)
		atomic_store(words_at(member->words, i),
			     (uint32_t)rand_r(&seed) << 12 ^ (uint32_t)rand_r(&seed));
	for (unsigned i = 0; i < SLICES / 4; i++)
		ck_assert_int_eq(fallocate(member->words_fd,
					   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   rand_r(&seed) % SLICES * 4096, 4096),
				 0);
}

START_TEST(garbage_in_the_words_is_its_own_spaces_loss)
{
	struct member bystander, one;
	struct wire_extent_alloced theirs, extent;
	uint32_t id;

	peer_create_space(&watcher, "b", WINDOW);
	open_member(&bystander, "b", false);
	theirs = alloc_blocks(&bystander, 64 * KIB);
	open_files(&bystander, false);
	id = holder(&bystander);
	atomic_store(word_of(&bystander, theirs, 7), word(BLOCK_HELD, id, 1));

	for (unsigned round = 0; round < 20; round++) {
		pid_t pid;

		open_member(&one, "a", false);
		holder(&one);
		extent = alloc_blocks(&one, 512 * KIB);
		ck_assert(try_alloc(&one, 128 * KIB, false, true));
		extent.tag = round + 1;
		pid = fork_member(spoil, extent);
		close_member(&one);
		kill_member(pid);
		/* Whatever the words say, what is allocated stays within its limit. */
		ck_assert_uint_le(used(), WINDOW + 64 * KIB);
	}
	/* With them goes all that they spoiled. */
	for (int i = 0;
	     i < WAIT_TRIES && !peer_call(&watcher, WIRE_SPACE_REMOVE,
					  &(struct wire_space_remove){.name = wire_str("a")});
	     i++)
		usleep(10000);
	wait_until_used(64 * KIB);
	peer_create_space(&watcher, "a", WINDOW);
	open_member(&one, "a", false);
	alloc_blocks(&one, 8 * MIB);
	close_member(&one);
	ck_assert_uint_eq(atomic_load(word_of(&bystander, theirs, 7)), word(BLOCK_HELD, id, 1));
	close_member(&bystander);
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
	tcase_add_test(tests, whose_a_block_is_can_be_asked);
	tcase_add_test(tests, who_has_not_opened_the_space_is_not_told_whose_a_block_is);
	tcase_add_test(tests, asked_about_garbage_the_daemon_answers_or_refuses);
	tcase_add_test(tests, garbage_in_the_words_is_its_own_spaces_loss);
	return suite_run(suite);
}
