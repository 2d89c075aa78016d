/*
 * Shared words: what goes in comes out, each field in its own bits.
 */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/base.h"
#include "proto/layout.h"
#include "tests/fuzz/sample.h"
#include "tests/suite.h"

static uint64_t seed_take(void)
{
	const char *text = getenv("VARBOS_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 20240607;

	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	return seed;
}

START_TEST(an_offset_is_a_window_and_a_position)
{
	uint64_t seed = seed_take(), position;
	uint32_t window;

	for (unsigned i = 0; i < 10000; i++) {
		window = (uint32_t)(sample_random(&seed) % WINDOWS_MAX);
		position = sample_random(&seed) % WINDOW_BYTES_MAX;
		ck_assert_uint_eq(offset_window(offset_make(window, position)), window);
		ck_assert_uint_eq(offset_position(offset_make(window, position)), position);
		ck_assert_uint_eq(offset_make(window, position) >> OFFSET_BITS, 0);
	}
	ck_assert_uint_eq(offset_make(1, 0), 0x400000000);
	ck_assert_uint_eq(offset_make(WINDOWS_MAX - 1, WINDOW_BYTES_MAX - 1), 0xfffffffffff);
}
END_TEST

START_TEST(a_reference_is_a_tag_above_an_offset)
{
	uint64_t seed = seed_take(), offset;
	uint32_t tag;

	for (unsigned i = 0; i < 10000; i++) {
		tag = (uint32_t)sample_random(&seed) & TAG_MASK;
		offset = sample_random(&seed) & ((1ULL << OFFSET_BITS) - 1);
		ck_assert_uint_eq(ref_tag(ref_make(tag, offset)), tag);
		ck_assert_uint_eq(ref_offset(ref_make(tag, offset)), offset);
	}
	ck_assert_uint_eq(ref_make(0xabcde, 0x12345678901), 0xabcde12345678901);
	ck_assert_uint_eq(TAG_BITS + OFFSET_BITS, 64);
}
END_TEST

START_TEST(a_window_word_unpacks_to_what_was_packed)
{
	uint64_t seed = seed_take();
	struct window_info info, out;

	for (unsigned i = 0; i < 10000; i++) {
		info = (struct window_info){
			.state = (enum window_state)(sample_random(&seed) % 3),
			.node = (uint32_t)sample_random(&seed) % STATS_NODES_MAX,
			.page_shift = (uint32_t)sample_random(&seed) % 64,
			.size_shift = (uint32_t)sample_random(&seed) % 64,
			.generation = (uint32_t)sample_random(&seed) & 0xffff,
		};
		out = window_word_unpack(window_word_pack(info));
		ck_assert_int_eq(out.state, info.state);
		ck_assert_uint_eq(out.node, info.node);
		ck_assert_uint_eq(out.page_shift, info.page_shift);
		ck_assert_uint_eq(out.size_shift, info.size_shift);
		ck_assert_uint_eq(out.generation, info.generation);
		ck_assert_uint_eq(window_word_pack(info) >> 37, 0);
	}
}
END_TEST

START_TEST(the_bits_of_a_window_word_are_where_the_readme_says)
{
	ck_assert_uint_eq(window_word_pack((struct window_info){.state = WINDOW_GRANTED}), 2);
	ck_assert_uint_eq(window_word_pack((struct window_info){.node = 63}), 63ULL << 3);
	ck_assert_uint_eq(window_word_pack((struct window_info){.page_shift = 63}), 63ULL << 9);
	ck_assert_uint_eq(window_word_pack((struct window_info){.size_shift = 63}),
			  63ULL << 15);
	ck_assert_uint_eq(window_word_pack((struct window_info){.generation = 0xffff}),
			  0xffffULL << 21);
}
END_TEST

START_TEST(a_slice_word_unpacks_to_what_was_packed)
{
	uint64_t seed = seed_take();
	struct slice_info info, out;

	for (unsigned i = 0; i < 10000; i++) {
		info = (struct slice_info){
			.kind = (enum extent_kind)(sample_random(&seed) % 5),
			.tag = (uint32_t)sample_random(&seed) & TAG_MASK,
			.head = sample_random(&seed) & 1,
			.count = (uint32_t)sample_random(&seed) & 0xfffff,
			.session = (uint32_t)sample_random(&seed) & 0xfffff,
		};
		out = slice_word_unpack(slice_word_pack(info));
		ck_assert_int_eq(out.kind, info.kind);
		ck_assert_uint_eq(out.tag, info.tag);
		ck_assert_int_eq(out.head, info.head);
		ck_assert_uint_eq(out.count, info.count);
		ck_assert_uint_eq(out.session, info.session);
	}
	/* The largest window has room for its largest extent's count. */
	ck_assert_uint_lt(WINDOW_BYTES_MAX / SLICE_BYTES, 1 << 20);
}
END_TEST

START_TEST(the_bits_of_a_slice_word_are_where_the_readme_says)
{
	ck_assert_uint_eq(slice_word_pack((struct slice_info){.tag = TAG_MASK}), 0xfffff);
	ck_assert_uint_eq(slice_word_pack((struct slice_info){.kind = EXTENT_SHARED}), 2 << 20);
	ck_assert_uint_eq(slice_word_pack((struct slice_info){.head = true}), 1 << 23);
	ck_assert_uint_eq(slice_word_pack((struct slice_info){.count = 0xfffff}),
			  0xfffffULL << 24);
	ck_assert_uint_eq(slice_word_pack((struct slice_info){.session = 0xfffff}),
			  0xfffffULL << 44);
	ck_assert_uint_eq(slice_word_pack((struct slice_info){}), 0);
}
END_TEST

START_TEST(an_id_word_unpacks_to_what_was_packed)
{
	uint64_t seed = seed_take();
	struct id_info info, out;

	for (unsigned i = 0; i < 10000; i++) {
		info = (struct id_info){
			.kind = (enum id_kind)(sample_random(&seed) % 3),
			.dead = sample_random(&seed) & 1,
			.pid = (uint32_t)sample_random(&seed),
			.senders = (uint32_t)sample_random(&seed) & ID_MASK,
			.receivers = (uint32_t)sample_random(&seed) & ID_MASK,
			.had_senders = sample_random(&seed) & 1,
			.had_receivers = sample_random(&seed) & 1,
			.died = sample_random(&seed) & 1,
		};
		out = id_word_unpack(id_word_pack(info));
		ck_assert_int_eq(out.kind, info.kind);
		ck_assert_int_eq(out.dead, info.dead);
		ck_assert_uint_eq(out.pid, info.pid);
		ck_assert_uint_eq(out.senders, info.senders);
		ck_assert_uint_eq(out.receivers, info.receivers);
		ck_assert_int_eq(out.had_senders, info.had_senders);
		ck_assert_int_eq(out.had_receivers, info.had_receivers);
		ck_assert_int_eq(out.died, info.died);
	}
}
END_TEST

START_TEST(the_bits_of_an_id_word_are_where_the_readme_says)
{
	ck_assert_uint_eq(id_word_pack((struct id_info){.kind = ID_CHANNEL}), 2);
	ck_assert_uint_eq(id_word_pack((struct id_info){.dead = true}), 1 << 2);
	ck_assert_uint_eq(id_word_pack((struct id_info){.senders = ID_MASK}), 0x3ff << 3);
	ck_assert_uint_eq(id_word_pack((struct id_info){.receivers = ID_MASK}), 0x3ff << 13);
	ck_assert_uint_eq(id_word_pack((struct id_info){.had_senders = true}), 1 << 23);
	ck_assert_uint_eq(id_word_pack((struct id_info){.had_receivers = true}), 1 << 24);
	ck_assert_uint_eq(id_word_pack((struct id_info){.died = true}), 1 << 25);
	ck_assert_uint_eq(id_word_pack((struct id_info){.pid = UINT32_MAX}),
			  (uint64_t)UINT32_MAX << 32);
	ck_assert_uint_eq(id_word_pack((struct id_info){}), 0);
}
END_TEST

/* Counted one by one: no two blocks of a window share a word, and notes lie behind all words. */
START_TEST(each_block_has_a_word_and_each_slice_a_note)
{
	enum { SLICES = 32 };
	static uint8_t seen[SLICES * SLICE_WORDS];
	char *file = (char *)8; /* only ever added to */

	for (uint32_t slice = 0; slice < SLICES; slice++)
		for (uint32_t block = 0; block < SLICE_WORDS; block++) {
			uint64_t index = words_index(slice, block);

			ck_assert_uint_lt(index, ARRAY_SIZE(seen));
			ck_assert_uint_eq(seen[index]++, 0);
			ck_assert_uint_eq((char *)words_at(file, index) - file, index * 4);
		}
	ck_assert_uint_eq(words_notes(SLICES), sizeof(seen) * 4);
	ck_assert_ptr_eq(words_note(file, SLICES, 0), file + words_notes(SLICES));
	ck_assert_ptr_eq(words_note(file, SLICES, SLICES - 1),
			 file + words_notes(SLICES) + (SLICES - 1) * 8);
}
END_TEST

START_TEST(a_words_file_is_a_sixteenth_of_its_window_and_whole_pages)
{
	for (unsigned shift = CHUNK_SHIFT; shift <= POSITION_BITS; shift++) {
		uint32_t slices = (uint32_t)1 << (shift - SLICE_SHIFT);
		uint64_t size = words_file_size(slices);

		ck_assert_uint_eq(size % 4096, 0);
		ck_assert_uint_ge(size,
				  words_notes(slices) + slices * sizeof(struct slice_note));
		ck_assert_uint_le(size, ((uint64_t)1 << shift) / 16 + slices * 8 + 4096);
	}
	/* The last word's offset needs more than 32 bits in the largest of windows. */
	ck_assert_uint_eq(words_file_size(1 << (POSITION_BITS - SLICE_SHIFT)),
			  ((uint64_t)1 << 30) + (2 << 20));
}
END_TEST

START_TEST(what_a_slice_is_cut_into_unpacks_to_what_was_packed)
{
	for (uint32_t class_plus_1 = 0; class_plus_1 < 256; class_plus_1++)
		for (uint32_t back = 0; back < 256; back += 5) {
			struct slice_cut cut = slice_cut_unpack(slice_cut_pack((
				struct slice_cut){.class_plus_1 = class_plus_1, .back = back}));

			ck_assert_uint_eq(cut.class_plus_1, class_plus_1);
			ck_assert_uint_eq(cut.back, back);
		}
	ck_assert_uint_eq(slice_cut_pack((struct slice_cut){.class_plus_1 = 255}), 255);
	ck_assert_uint_eq(slice_cut_pack((struct slice_cut){.back = 255}), 255 << 8);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("layout");
	TCase *tests = tcase_create("layout");

	tcase_add_test(tests, an_offset_is_a_window_and_a_position);
	tcase_add_test(tests, a_reference_is_a_tag_above_an_offset);
	tcase_add_test(tests, a_window_word_unpacks_to_what_was_packed);
	tcase_add_test(tests, the_bits_of_a_window_word_are_where_the_readme_says);
	tcase_add_test(tests, a_slice_word_unpacks_to_what_was_packed);
	tcase_add_test(tests, the_bits_of_a_slice_word_are_where_the_readme_says);
	tcase_add_test(tests, an_id_word_unpacks_to_what_was_packed);
	tcase_add_test(tests, the_bits_of_an_id_word_are_where_the_readme_says);
	tcase_add_test(tests, each_block_has_a_word_and_each_slice_a_note);
	tcase_add_test(tests, a_words_file_is_a_sixteenth_of_its_window_and_whole_pages);
	tcase_add_test(tests, what_a_slice_is_cut_into_unpacks_to_what_was_packed);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
