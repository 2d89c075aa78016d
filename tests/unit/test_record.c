#include "tests/unit/core_world.h"

#include <inttypes.h>

#include "daemon/core/slots.h"
#include "daemon/server/ledger.h"

static const struct record_capacity small = {{3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3}};

START_TEST(words_come_apart_as_they_were_put_together)
{
	srandom(3);
	for (uint32_t i = 0; i < 10000; ++i) {
		uint64_t any = (uint64_t)random() << 42 ^ (uint64_t)random() << 21 ^
			       (uint64_t)random();
		struct extent_owner owner = extent_owner_unpack(any);
		struct extent_run run = extent_run_unpack(any, EXTENT_OBJECT);
		struct extent_run segment = extent_run_unpack(any, EXTENT_SEGMENT);
		struct window_place place = window_place_unpack(any);
		struct space_word space = space_word_unpack(any);
		struct member_word member = member_word_unpack(any);
		struct channel_word channel = channel_word_unpack(any);
		struct end_word end = end_word_unpack(any);
		struct cache_word cache = cache_word_unpack(any);
		struct user_word user = user_word_unpack(any);
		struct lanes_word lanes = lanes_word_unpack(any);
		struct intent_word intent = intent_word_unpack(any);

		ck_assert_uint_eq(extent_run_pack(run), any);
		ck_assert_uint_eq(extent_run_pack(segment), segment.slices ? any : 0);
		ck_assert(!segment.slices || segment.count <= CHUNK_SLICES);
		ck_assert_uint_eq(extent_owner_pack(owner), any);
		ck_assert_uint_eq(window_place_pack(place), any | RECORD_VALID);
		ck_assert_uint_eq(space_word_pack(space), (any & 0xffffffff) | 1);
		ck_assert_uint_eq(member_word_pack(member),
				  (any & (((uint64_t)1 << 54) - 1)) | RECORD_VALID);
		ck_assert_uint_eq(channel_word_pack(channel),
				  (any & (((uint64_t)1 << 62) - 1)) | RECORD_VALID);
		ck_assert_uint_eq(end_word_pack(end),
				  (any & (((uint64_t)1 << 50) - 1)) | RECORD_VALID);
		ck_assert_uint_eq(cache_word_pack(cache),
				  (any & (((uint64_t)1 << 56) - 1)) | RECORD_VALID);
		ck_assert_uint_eq(session_word_pack(session_word_unpack(any)),
				  any | RECORD_VALID);
		ck_assert_uint_eq(user_word_pack(user),
				  (any & (((uint64_t)1 << 40) - 1)) | RECORD_VALID);
		ck_assert_uint_eq(lanes_word_pack(lanes),
				  (any & (((uint64_t)1 << 14) - 1)) | RECORD_VALID);
		ck_assert_uint_eq(intent_word_pack(intent),
				  (any & (((uint64_t)1 << 50) - 1)) | RECORD_VALID);
	}
}
END_TEST

START_TEST(slots_of_all_kinds_lie_apart)
{
	struct records *records = world_table(&small);
	const char *end = (const char *)records + records_size(&small);

	for (uint32_t kind = 0; kind < RECORD_KINDS; ++kind) {
		for (uint32_t i = 0; i < 3; ++i) {
			const char *at = records_at(records, kind, i);
			const char *next = i < 2 ? records_at(records, kind, i + 1)
					   : kind + 1 < RECORD_KINDS
						   ? records_at(records, kind + 1, 0)
						   : end;

			ck_assert(!records_valid(records, kind, i));
			ck_assert(at >= (const char *)records + sizeof(small));
			ck_assert(at < next);
			ck_assert_uint_eq((uintptr_t)at % 8, 0);
		}
		ck_assert_ptr_null(records_at(records, kind, 3));
		ck_assert(!records_valid(records, kind, 3));
	}
	free(records);
}
END_TEST

START_TEST(a_slot_is_valid_from_its_put_to_its_clear)
{
	struct records *records = world_table(&small);
	struct space_record space = {.state = space_word_pack((struct space_word){.weight = 1}),
				     .limit = 5,
				     .name = "x"};

	record_space_put(records, 1, &space);
	ck_assert(records_valid(records, RECORD_SPACE, 1));
	ck_assert(!records_valid(records, RECORD_SPACE, 0));
	ck_assert(!records_valid(records, RECORD_SPACE, 2));
	ck_assert_mem_eq(records_at(records, RECORD_SPACE, 1), &space, sizeof(space));
	record_clear(records, RECORD_SPACE, 1);
	ck_assert(!records_valid(records, RECORD_SPACE, 1));

	record_extent_put(records, 2, (struct extent_owner){.tag = 4, .kind = EXTENT_SHARED},
			  (struct extent_run){.window = 1, .first = 2, .count = 3});
	ck_assert(records_valid(records, RECORD_EXTENT, 2));
	record_clear(records, RECORD_EXTENT, 2);
	ck_assert(!records_valid(records, RECORD_EXTENT, 2));

	record_pages_put(records, 0, 1, 0, 6);
	ck_assert(records_valid(records, RECORD_PAGES, 0));
	record_pages_bits(records, 0, 0);
	ck_assert(!records_valid(records, RECORD_PAGES, 0));
	free(records);
}
END_TEST

START_TEST(a_table_is_opened_only_with_its_own_size)
{
	struct records *records = world_table(&small);

	ck_assert_ptr_eq(records_open(records, records_size(&small)), records);
	ck_assert_ptr_null(records_open(records, records_size(&small) - 1));
	ck_assert_ptr_null(records_open(records, 8));
	memset(records, 0, 8);
	ck_assert_ptr_null(records_open(records, records_size(&small)));
	free(records);
}
END_TEST

START_TEST(the_lowest_free_slot_is_taken_first)
{
	static const uint32_t totals[] = {1, 63, 64, 65, 4096, 4097, 300000};

	for (uint32_t t = 0; t < ARRAY_SIZE(totals); ++t) {
		uint32_t total = totals[t];
		struct slots slots;

		ck_assert_int_eq(slots_init(&slots, total), 0);
		for (uint32_t i = 0; i < total; ++i)
			ck_assert_uint_eq(slots_take(&slots), i);
		ck_assert_uint_eq(slots_take(&slots), SLOT_NONE);
		slots_put(&slots, total / 2);
		ck_assert(!slots_used(&slots, total / 2));
		ck_assert_uint_eq(slots.free, 1);
		ck_assert_uint_eq(slots_take(&slots), total / 2);
		slots_put(&slots, total - 1);
		if (total > 1)
			slots_put(&slots, 0);
		ck_assert_uint_eq(slots_take(&slots), 0);
		ck_assert(!slots_used(&slots, total));
		slots_deinit(&slots);
	}
}
END_TEST

START_TEST(slots_agree_with_a_plain_array)
{
	bool used[5001] = {false};
	struct slots slots;

	ck_assert_int_eq(slots_init(&slots, 5000), 0);
	srandom(9);
	for (uint32_t step = 0; step < 200000; ++step) {
		uint32_t slot = (uint32_t)random() % 5000, expect = 0;

		if (used[slot]) {
			slots_put(&slots, slot);
			used[slot] = false;
		} else if (random() % 8) {
			slots_claim(&slots, slot);
			used[slot] = true;
		}
		if (step % 64)
			continue;
		while (expect < 5000 && !used[expect])
			++expect;
		ck_assert_uint_eq(slots_next(&slots, 0), expect == 5000 ? SLOT_NONE : expect);
		for (expect = 0; expect < 5000 && used[expect];)
			++expect;
		ck_assert_uint_eq(slots_take(&slots), expect == 5000 ? SLOT_NONE : expect);
		used[expect] = true;
	}
	slots_deinit(&slots);
}
END_TEST

/* One of each kind, in the slot 1. */
static void put_one_of_each(struct records *records)
{
	record_serial(records, 77);
	record_space_put(records, 1,
			 &(struct space_record){
				 .state = space_word_pack((struct space_word){.removed = true,
									      .placement = 2,
									      .numa = 3,
									      .page_shift = 21,
									      .weight = 100}),
				 .owner = 0x1000000002,
				 .mode = 0660,
				 .limit = 4,
				 .reserve = 5,
				 .client_limit = 6,
				 .tag_next = 7,
				 .window_next = 8,
				 .nodes = 9,
				 .ceiling = 10,
				 .hash_seed = 11,
				 .name = "abcdefgh",
			 });
	record_window_put(records, 1,
			  (struct window_place){.info = {.state = WINDOW_GRANTED,
							 .node = 1,
							 .page_shift = 12,
							 .size_shift = 25,
							 .generation = 5},
						.number = 3,
						.space = 2});
	record_pages_put(records, 1, 2, 3, 0x55);
	record_session_put(
		records, 1,
		&(struct session_record){
			.word = session_word_pack((struct session_word){.pid = 5, .serial = 6}),
			.birth = 7,
			.owner = 8,
			.image = 9,
		});
	record_member_put(records, 1,
			  (struct member_word){.space = 2,
					       .session = 3,
					       .read_only = true,
					       .id = 4,
					       .barred = true,
					       .via = VIA_GROUP});
	record_extent_put(records, 1,
			  (struct extent_owner){.holder = 2,
						.tag = 3,
						.kind = EXTENT_SHARED,
						.worded = true,
						.cache = 4},
			  (struct extent_run){.window = 5, .first = 6, .count = 7});
	record_extent_put(records, 2, (struct extent_owner){.kind = EXTENT_SEGMENT},
			  run_of_slices(5, 6, 0xf0));
	record_channel_put(
		records, 1,
		&(struct channel_record){
			.word = channel_word_pack((struct channel_word){.space = 2,
									.id = 3,
									.extent = 4,
									.had_senders = true,
									.died = true,
									.capacity_shift = 6}),
			.name = "ch",
		});
	record_end_put(records, 1, (struct end_word){.channel = 2, .session = 3, .roles = 1});
	record_cache_put(
		records, 1,
		&(struct cache_record){
			.word = cache_word_pack((struct cache_word){
				.space = 2, .policy = 3, .removed = true, .serial = 4}),
			.capacity = 5,
			.ttl_ms = 6,
			.token_next = 7,
			.cleared = 8,
			.index = 9,
			.name = "ca",
		});
	record_user_put(records, 1, (struct user_word){.cache = 2, .session = 3});
	record_right_put(
		records, 1,
		&(struct right_record){
			.word = user_word_pack((struct user_word){.cache = 2, .session = 3}),
			.hash = 4,
			.token = 5,
			.until = 6,
		});
	record_lanes_put(records, 1,
			 (struct lanes_word){.lanes = 2, .pins = 3, .barrier = true});
	record_lane_taken(records, record_lanes_place(records, 1), 1, 4);
	record_returns_put(records, 1);
	record_returns_taken(records, 1, 2);
	record_intent_put(records,
			  &(struct intent_record){
				  .word = intent_word_pack((struct intent_word){
					  .session = 2, .lane = 3, .kind = 4, .cache = 5}),
				  .position = 6,
				  .hash = 7,
				  .what = 8,
			  });
	record_result_put(
		records, 1,
		&(struct result_record){
			.id = 2,
			.what = result_word_pack((struct result_word){
				.slot = 3, .kind = 4, .word = 5, .verb = 6, .kept = true}),
			.value = 7,
			.answer = {8, 9},
		});
}

/*
 * What that makes, word by word: what daemons have left, and others have to find. Another picture is another
 * layout of the ledger.
 */
static_assert(LEDGER_LAYOUT == 1, "the picture is of that one");

static const struct {
	uint32_t at; /* in words */
	uint64_t word;
} picture[] = {
	/* clang-format off */
	/* head */
	{0, 0x3552444c52425256}, {1, 0x4d}, {2, 0x300000003}, {3, 0x300000003},
	{4, 0x300000003}, {5, 0x300000003}, {6, 0x300000003}, {7, 0x300000003},
	{8, 0x300000003}, {9, 0x3}, {10, 0x100}, {11, 0x300}, {12, 0x340}, {13, 0x380},
	{14, 0x400}, {15, 0x440}, {16, 0x480}, {17, 0x580}, {18, 0x5c0}, {19, 0x740},
	{20, 0x780}, {21, 0x800}, {22, 0xe40}, {23, 0xe80}, {24, 0xf00},
	/* space */
	{51, 0x191530b}, {52, 0x1000000002}, {53, 0x1b0}, {54, 0x4}, {55, 0x5}, {56, 0x6},
	{57, 0x7}, {58, 0x8}, {59, 0x9}, {60, 0xa}, {61, 0xb}, {62, 0x6867666564636261},
	/* window */
	{97, 0x8001006000ac980a},
	/* pages */
	{106, 0x300000002}, {107, 0x55},
	/* session */
	{116, 0x8000000600000005}, {117, 0x7}, {118, 0x8}, {119, 0x9},
	/* member */
	{129, 0x8028090000030002},
	/* extents */
	{138, 0x4a00003000002}, {139, 0x700006000005}, {140, 0x500000000000},
	{141, 0xf000300005},
	/* channel */
	{153, 0x9a80000010030002}, {154, 0x6863},
	/* end */
	{177, 0x8001000003000002},
	/* cache */
	{198, 0x8000000009030002}, {199, 0x5}, {200, 0x6}, {201, 0x7}, {202, 0x8},
	{203, 0x9}, {204, 0x6163},
	/* user */
	{233, 0x8000000000030002},
	/* right */
	{244, 0x8000000000030002}, {245, 0x4}, {246, 0x5}, {247, 0x6},
	/* lanes */
	{321, 0x8000000000002182}, {323, 0x4},
	/* returns */
	{458, 0x8000000000000000}, {459, 0x2},
	/* intent */
	{464, 0x8000001603000002}, {465, 0x6}, {466, 0x7}, {467, 0x8},
	/* result */
	{485, 0x2},
	{486, 0x106050400000003}, {487, 0x7}, {488, 0x8}, {489, 0x9},
	/* clang-format on */
};

START_TEST(a_ledger_of_this_layout_has_each_word_where_it_was)
{
	struct records *records = world_table(&small);
	const uint64_t *words = (const uint64_t *)(const void *)records;
	uint32_t next = 0;

	put_one_of_each(records);
	for (uint32_t i = 0; i < records_size(&small) / 8; ++i) {
		bool known = next < ARRAY_SIZE(picture) && picture[next].at == i;

		ck_assert_msg(words[i] == (known ? picture[next].word : 0),
			      "word %u is 0x%" PRIx64, i, words[i]);
		next += known;
	}
	ck_assert_uint_eq(next, ARRAY_SIZE(picture));
	free(records);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record");
	TCase *tcase = tcase_create("record");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, words_come_apart_as_they_were_put_together);
	tcase_add_test(tcase, slots_of_all_kinds_lie_apart);
	tcase_add_test(tcase, a_slot_is_valid_from_its_put_to_its_clear);
	tcase_add_test(tcase, a_table_is_opened_only_with_its_own_size);
	tcase_add_test(tcase, the_lowest_free_slot_is_taken_first);
	tcase_add_test(tcase, slots_agree_with_a_plain_array);
	tcase_add_test(tcase, a_ledger_of_this_layout_has_each_word_where_it_was);
	return world_run(suite);
}
