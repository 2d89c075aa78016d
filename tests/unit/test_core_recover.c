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
	void *copy = aligned_alloc(64, (world.size + 63) / 64 * 64);
	uint32_t recovered = 0, refused = 0;

	ck_assert_ptr_nonnull(copy);
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
		r = core_recover(&core, &world.config, records);
		ck_assert(!r || r == -EUCLEAN);
		if (r) {
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

int main(void)
{
	Suite *suite = suite_create("core_recover");
	TCase *tcase = tcase_create("story");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, any_bytes_recover_or_are_refused);
	tcase_add_test(tcase, contradictions_in_the_records_are_refused);
	return world_run(suite);
}
