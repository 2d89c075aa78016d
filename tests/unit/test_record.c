#include "tests/unit/core_world.h"

#include "daemon/core/slots.h"

static const struct record_capacity small = {{3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3}};

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

		ck_assert_uint_eq(extent_run_pack(run), any);
		ck_assert_uint_eq(extent_run_pack(segment), segment.slices ? any : 0);
		ck_assert(!segment.slices || segment.count <= CHUNK_SLICES);
		ck_assert_uint_eq(extent_owner_pack(owner), any);
		ck_assert_uint_eq(window_place_pack(place), any | RECORD_VALID);
		ck_assert_uint_eq(space_word_pack(space), (any & 0xffffffff) | 1);
		ck_assert_uint_eq(member_word_pack(member),
				  (any & (((uint64_t)1 << 51) - 1)) | RECORD_VALID);
		ck_assert_uint_eq(channel_word_pack(channel),
				  (any & (((uint64_t)1 << 62) - 1)) | RECORD_VALID);
		ck_assert_uint_eq(end_word_pack(end),
				  (any & (((uint64_t)1 << 50) - 1)) | RECORD_VALID);
		ck_assert_uint_eq(cache_word_pack(cache),
				  (any & (((uint64_t)1 << 25) - 1)) | RECORD_VALID);
		ck_assert_uint_eq(user_word_pack(user),
				  (any & (((uint64_t)1 << 40) - 1)) | RECORD_VALID);
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
	return world_run(suite);
}
