#include "tests/unit/core_world.h"

#include <errno.h>

/* A world with some of everything, for those that spoil it. */
static struct world busy_world(void)
{
	struct world world = world_new(12, 64 * MIB);
	uint32_t one = world_session(&world, 0), two = world_session(&world, 500), a, b;

	a = world_create(&world, (struct space_request){
					 .name = "a", .limit = 12 * MIB, .reserve = 3 * MIB});
	b = world_create(&world, (struct space_request){.name = "b", .limit = 8 * MIB});
	world_open(&world, one, "a");
	world_open(&world, two, "a");
	world_open(&world, two, "b");
	for (uint32_t i = 0; i < 8; ++i) {
		world_alloc(&world, one, a, (1 + i) * 64 * KIB, EXTENT_SHARED);
		world_alloc(&world, two, b, (1 + i) * 64 * KIB, EXTENT_PRIVATE);
	}
	world_alloc(&world, one, a, 64 * KIB, EXTENT_BLOCKS);
	for (uint32_t i = 0; i < 6; ++i) {
		char name[8];

		snprintf(name, sizeof(name), "c%u", i);
		world_channel(&world, i % 2 ? one : two, a, name, 1 + i % 3);
		world_channel(&world, i % 2 ? two : one, a, name, 1 + i % 2);
	}
	for (uint32_t i = 0; i < 4; ++i) {
		char name[8];
		struct extent_info info;
		uint32_t cache;

		snprintf(name, sizeof(name), "k%u", i);
		cache = world_cache(&world, i % 2 ? one : two, a, name);
		world_cache(&world, one, a, name);
		world_lease(&world, i % 2 ? one : two, cache, 128 * KIB);
		info = world_lease(&world, 0, cache, 256 * KIB);
		ck_assert_int_eq(core_cache_return(world.core, cache, info.offset + SLICE_BYTES,
						   (1 + i % 2) * SLICE_BYTES, &world.fault),
				 0);
	}
	world_check(&world, false);
	return world;
}

START_TEST(any_bytes_recover_or_are_refused)
{
	struct world world = busy_world();
	void *copy = aligned_alloc(64, (world.size + 63) / 64 * 64),
	     *spoiled = malloc(world.size);
	uint32_t recovered = 0, refused = 0;

	ck_assert(copy && spoiled);
	srandom(21);
	for (uint32_t round = 0; round < 20000; ++round) {
		uint64_t *words = copy;
		struct records *records;
		struct core *core;
		const char *wrong;
		int r;

		memcpy(copy, world.records, world.size);
		records = records_open(copy, world.size);
		for (long n = 1 + random() % 3; n--;) {
			enum record_kind kind = (enum record_kind)(random() % RECORD_KINDS);
			const char *at =
				records_at(records, kind,
					   (uint32_t)random() % 48 %
						   records_capacity(records)->slots[kind]);
			size_t word = (size_t)(at - (const char *)copy) / 8 +
				      (size_t)random() % (kind == RECORD_SPACE   ? 16
							  : kind == RECORD_CACHE ? 6
										 : 2);
			uint64_t any = (uint64_t)random() << 33 ^ (uint64_t)random();

			if (random() % 4 == 0)
				words[word] = any;
			else if (random() % 2)
				words[word] ^= (uint64_t)1 << random() % 64;
			else
				words[word] = words[(8 + (size_t)random() % 200)];
		}
		memcpy(spoiled, copy, world.size);
		r = core_recover(&core, &world.config, records);
		ck_assert(!r || r == -EUCLEAN);
		if (r) {
			ck_assert_mem_eq(spoiled, copy, world.size);
			++refused;
			continue;
		}
		++recovered;
		wrong = core_check(core);
		ck_assert_msg(!wrong, "round %u: %s", round, wrong);
		core_free(core);
	}
	ck_assert_uint_gt(recovered, 100);
	ck_assert_uint_gt(refused, 100);
	free(spoiled);
	free(copy);
	world_end(&world);
}
END_TEST

START_TEST(contradictions_in_the_records_are_refused)
{
	struct world world = busy_world();
	struct records *records = world.records;
	const struct extent_record *at = records_at(records, RECORD_EXTENT, 0);
	struct extent_owner owner = extent_owner_unpack(at->owner);
	struct extent_run run = extent_run_unpack(at->run, EXTENT_PRIVATE), other = run;
	struct core *core;

	/* two extents in one place */
	record_extent_put(records, 99, owner, run);
	ck_assert_int_eq(core_recover(&core, &world.config, records), -EUCLEAN);
	/* of a window that is not there; beyond its end; without memory */
	other.window = 50;
	record_extent_put(records, 99, owner, other);
	ck_assert_int_eq(core_recover(&core, &world.config, records), -EUCLEAN);
	other = run;
	other.first = 0xfffff;
	record_extent_put(records, 99, owner, other);
	ck_assert_int_eq(core_recover(&core, &world.config, records), -EUCLEAN);
	other.first = 127;
	other.count = 1;
	record_extent_put(records, 99, owner, other);
	ck_assert_int_eq(core_recover(&core, &world.config, records), -EUCLEAN);
	record_clear(records, RECORD_EXTENT, 99);
	/* of a session that is not there */
	owner.holder = 30;
	record_extent_owner(records, 0, owner);
	ck_assert_int_eq(core_recover(&core, &world.config, records), -EUCLEAN);
	/* private, and nobody's */
	record_extent_owner(records, 0,
			    (struct extent_owner){.tag = 1, .kind = EXTENT_PRIVATE});
	ck_assert_int_eq(core_recover(&core, &world.config, records), -EUCLEAN);
	record_extent_owner(records, 0, (struct extent_owner){.tag = 1, .kind = EXTENT_SHARED});
	ck_assert_int_eq(core_recover(&core, &world.config, records), 0);
	core_free(core);
	world_end(&world);
}
END_TEST

/* What a prefix can leave goes, unless something else shows that this is no prefix. */
START_TEST(a_ledger_that_is_refused_stays_as_it_is)
{
	struct world world = busy_world();
	struct records *records = world.records;
	const struct window_place nowhere = {
		{.state = WINDOW_BORN, .page_shift = 12, .size_shift = 23, .generation = 1},
		.number = 1,
		.space = 15,
	};
	const struct result_record wrong = {.id = 1};
	const struct channel_record *channel = records_at(records, RECORD_CHANNEL, 0);
	struct channel_word had = channel_word_unpack(channel->word), unsaid = had;
	void *before = malloc(world.size);
	struct core *core;

	ck_assert_ptr_nonnull(before);
	record_window_put(records, 63, nowhere);
	record_pages_put(records, 127, 63, 0, 1);
	record_user_put(records, 63, (struct user_word){.cache = 15, .session = 1});
	record_extent_put(records, 99, (struct extent_owner){.tag = 1, .kind = EXTENT_CHANNEL},
			  (struct extent_run){.window = 0, .first = 0, .count = 1});
	ck_assert(had.had_senders);
	unsaid.had_senders = false;
	record_channel_word(records, 0, unsaid);
	record_result_put(records, 0, &wrong);
	memcpy(before, records, world.size);
	ck_assert_int_eq(core_recover(&core, &world.config, records), -EUCLEAN);
	ck_assert_mem_eq(before, records, world.size);

	record_clear(records, RECORD_RESULT, 0);
	ck_assert_int_eq(core_recover(&core, &world.config, records), 0);
	ck_assert_ptr_null(core_check(core));
	ck_assert_uint_eq(channel->word, channel_word_pack(had));
	ck_assert(!records_valid(records, RECORD_WINDOW, 63));
	ck_assert(!records_valid(records, RECORD_PAGES, 127));
	ck_assert(!records_valid(records, RECORD_USER, 63));
	ck_assert(!records_valid(records, RECORD_EXTENT, 99));
	core_free(core);
	free(before);
	world_end(&world);
}
END_TEST

START_TEST(slots_behind_the_last_record_are_not_looked_at)
{
	struct world world = busy_world();
	struct record_capacity used;
	struct core_config config = world.config;
	struct core *core;

	for (enum record_kind kind = 0; kind < RECORD_KINDS; ++kind) {
		uint32_t n = records_capacity(world.records)->slots[kind];

		while (n && !records_valid(world.records, kind, n - 1))
			--n;
		used.slots[kind] = n;
	}
	config.used = &used;
	ck_assert_int_eq(core_recover(&core, &config, world.records), 0);
	ck_assert_ptr_null(core_check(core));
	ck_assert_ptr_null(core_differ(core, world.core));
	core_free(core);
	/* The memory of channels is not seen, so they have none. */
	used.slots[RECORD_EXTENT] = 1;
	ck_assert_int_eq(core_recover(&core, &config, world.records), -EUCLEAN);
	world_end(&world);
}
END_TEST

/* What the words of a slice map would be, as the changes said. */
START_TEST(stretches_are_what_the_slice_maps_say)
{
	struct world world = busy_world();
	struct slice_stretch at;
	uint32_t used = 0;

	for (uint32_t window = core_window_next(world.core, 0); window != UINT32_MAX;
	     window = core_window_next(world.core, window + 1)) {
		struct window_view view;
		uint32_t slice = 0;

		ck_assert(core_window_view(world.core, window, &view));
		for (; core_stretch(world.core, window, slice, &at); slice += at.count) {
			struct extent_place place;
			bool is = core_extent_at(world.core, view.space,
						 offset_make(view.number, slice * SLICE_BYTES),
						 &place);

			ck_assert_uint_eq(at.first, slice);
			ck_assert(at.count);
			ck_assert_int_eq(is, at.head != 0);
			if (!is)
				continue;
			used += at.count;
			ck_assert_uint_eq(slice_word_unpack(at.other).tag, place.tag);
			ck_assert_uint_eq(slice_word_unpack(at.head).kind, place.kind);
			ck_assert_int_eq(slice_word_unpack(at.head).head, slice == place.first);
		}
		ck_assert_uint_eq(slice * SLICE_BYTES, (uint64_t)1 << view.info.size_shift);
	}
	ck_assert_uint_eq(used * SLICE_BYTES, core_view(world.core).used);
	world_end(&world);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("core_recover");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, any_bytes_recover_or_are_refused);
	tcase_add_test(tcase, contradictions_in_the_records_are_refused);
	tcase_add_test(tcase, a_ledger_that_is_refused_stays_as_it_is);
	tcase_add_test(tcase, slots_behind_the_last_record_are_not_looked_at);
	tcase_add_test(tcase, stretches_are_what_the_slice_maps_say);
	return world_run(suite);
}
