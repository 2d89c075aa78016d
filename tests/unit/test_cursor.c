/*
 * Cursors over an index that changes between any two of their steps, in this process: each object
 * that stays is shown, once where the seed does, whatever is moved, replaced, comes or goes.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "client/cursor.h"
#include "daemon/core/cache/index.h"
#include "tests/suite.h"

enum {
	OBJECTS = 600,
	PLACES = 4 * OBJECTS, /* four for each: mostly it has another one when it is replaced */
	PLACE = 64,
	INDEXES = 64,
	ROUNDS = 20,
};

struct record {
	uint64_t hash;
	uint32_t place;
	bool there, stays;
	uint32_t shown;
};

static struct world {
	struct index index;
	struct cache_index indexes[INDEXES];
	uint32_t n;
	struct record records[OBJECTS];
	uint32_t place;
	_Alignas(64) char memory[(PLACES + 1) * PLACE];
	_Atomic uintptr_t end;
	struct varbos_cache cache;
	uint64_t random;
} w;

static uint64_t draw(uint64_t below)
{
	uint64_t mixed = w.random += 0x9e3779b97f4a7c15ULL;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ULL;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebULL;
	return (mixed ^ mixed >> 31) % below;
}

static struct index_table table_new(uint64_t groups, uint64_t seed)
{
	const struct index_config config = {
		.layout = {.buckets = groups * INDEX_GROUP, .overflow = groups * 4},
		.generation = w.n + 1,
		.seed = seed,
		.epoch = 1,
	};
	uint64_t size = index_file_size(config.layout.buckets, config.layout.overflow);
	void *file = calloc(1, size);
	uint32_t *numbers = malloc(index_positions(config.layout) * sizeof(*numbers));
	struct cache_index *index = &w.indexes[w.n++];

	ck_assert(file && numbers && w.n < INDEXES);
	index_format(file, &config);
	*index = (struct cache_index){.memory = file, .size = size};
	ck_assert(index_view_open(&index->view, file, size));
	return index_table(file, numbers);
}

/* Where it is from now on: bytes of an object of that key. */
static uint64_t write_object(uint32_t number)
{
	uint32_t place = 1 + number * 4 + w.place++ % 4;
	struct object_header *header =
		(struct object_header *)(void *)&w.memory[(size_t)place * PLACE];
	char key[16];
	int n = snprintf(key, sizeof(key), "k%u", number);

	header->sizes =
		object_sizes_pack((struct object_sizes){.value = 8, .key = (uint32_t)n});
	header->birth = object_birth_pack((struct object_birth){.ms = 1, .generation = 7});
	memcpy(header + 1, key, (size_t)n);
	w.records[number].hash = cache_hash(&w.cache, key, (size_t)n);
	w.records[number].place = place;
	return (uint64_t)place * PLACE;
}

static void take_out(uint32_t number)
{
	struct index_at at;

	ck_assert(index_find(&w.index, w.records[number].hash, &at));
	index_remove(&w.index, &at);
	w.records[number].there = w.records[number].stays = false;
}

static void put(uint32_t number)
{
	uint64_t offset = write_object(number);
	struct record *record = &w.records[number];
	struct index_at at;

	if (record->there) {
		ck_assert(index_find(&w.index, record->hash, &at));
		index_replace(&w.index, &at, number, offset, 0);
		return;
	}
	while (index_insert(&w.index, record->hash, number, offset, 0))
		take_out(index_rival(&w.index, record->hash));
	record->there = true;
}

static void next_begin(uint64_t seed)
{
	struct cache_index *former = &w.indexes[w.n - 1];

	if (w.n == INDEXES - 1)
		return;
	index_next_begin(&w.index, table_new(30 + draw(60), seed));
	atomic_store(&former->next, &w.indexes[w.n - 1]);
}

static void next_step(uint64_t groups)
{
	struct index_table former;
	uint32_t number;

	if (!w.index.next.head)
		return;
	while (index_next_step(&w.index, groups, &number))
		take_out(number);
	if (!index_next_done(&w.index))
		return;
	former = index_next_end(&w.index);
	free(former.numbers); /* who reads has its file on */
}

static void set_up(uint64_t seed)
{
	static const struct index_records records = {&w.records[0], sizeof(w.records[0])};

	memset(&w, 0, sizeof(w));
	w.random = seed;
	atomic_store(&w.end, (uintptr_t)w.memory + sizeof(w.memory));
	w.cache.base = w.memory;
	w.cache.ends = &w.end;
	w.cache.space_handle = 1;
	w.cache.fence = true;
	index_init(&w.index, table_new(40, 1), records);
	atomic_store(&w.cache.index, &w.indexes[0]);
	for (uint32_t i = 0; i < OBJECTS; i++)
		if (draw(2))
			put(i);
}

static void tear_down(void)
{
	free(w.index.now.numbers);
	free(w.index.next.numbers);
	for (uint32_t i = 0; i < w.n; i++)
		free(w.indexes[i].memory);
}

/* Something happens. seeds: indexes may come with another one. */
static void change(bool seeds)
{
	uint32_t number = (uint32_t)draw(OBJECTS);

	switch (draw(8)) {
	case 0 ... 3:
		put(number);
		break;
	case 4:
		if (w.records[number].there)
			take_out(number);
		break;
	case 5:
		if (!w.index.next.head)
			next_begin(seeds ? 1 + w.n : w.index.now.seed);
		break;
	default:
		next_step(1 + draw(8));
		break;
	}
	/* What a reader of this process finds out, sooner or later. */
	while (!draw(64) && atomic_load(&w.cache.index)->next &&
	       index_state_unpack(index_load(&atomic_load(&w.cache.index)->view.head->state))
			       .moved >= atomic_load(&w.cache.index)->view.n_buckets)
		atomic_store(&w.cache.index, atomic_load(&atomic_load(&w.cache.index)->next));
}

/* A walk with so many changes a step. How many were shown more than once. */
static uint32_t walk(uint32_t changes, bool seeds)
{
	_Atomic uint64_t look = 0, hold = 0;
	struct cursor cursor = {};
	struct found found;
	uint32_t again = 0;
	int r;

	for (uint32_t i = 0; i < OBJECTS; i++) {
		w.records[i].stays = w.records[i].there;
		w.records[i].shown = 0;
	}
	while (!(r = cursor_next(&w.cache, &cursor, &look, &hold, &found, NULL))) {
		unsigned long number;
		char key[16] = {};

		memcpy(key, found.header + 1,
		       u64_min(object_sizes_unpack(found.sizes).key, sizeof(key) - 1));
		number = strtoul(key + 1, NULL, 10);
		ck_assert_uint_lt(number, OBJECTS);
		ck_assert_uint_eq(atomic_load(&look), 0);
		ck_assert_uint_eq(atomic_load(&hold),
				  (uint64_t)1 << OFFSET_BITS |
					  (uint64_t)((const char *)found.header - w.memory));
		ck_assert(w.records[number].there);
		ck_assert_uint_eq((uint64_t)w.records[number].place * PLACE,
				  (uint64_t)((const char *)found.header - w.memory));
		w.records[number].shown++;
		/* Now and then much at once. */
		for (uint64_t i = draw(50) ? draw(changes + 1) : draw(60 * changes + 1); i; i--)
			change(seeds);
	}
	ck_assert_int_eq(r, VARBOS_E_NOT_FOUND);
	for (uint32_t i = 0; i < OBJECTS; i++) {
		ck_assert_msg(!w.records[i].stays || w.records[i].shown, "%u was not shown", i);
		again += w.records[i].stays && w.records[i].shown > 1;
	}
	return again;
}

START_TEST(what_stays_is_shown_once_whatever_happens_between_steps)
{
	for (uint32_t round = 0; round < ROUNDS; round++) {
		set_up(round + 1);
		for (uint32_t i = 0; i < 4; i++)
			ck_assert_uint_eq(walk(i * 2, false), 0);
		tear_down();
	}
}
END_TEST

START_TEST(what_stays_is_shown_though_all_is_mixed_anew)
{
	uint32_t again = 0;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		set_up(round + 1);
		for (uint32_t i = 0; i < 4; i++)
			again += walk(i * 2, true);
		tear_down();
	}
	ck_assert_uint_lt(again, ROUNDS * 4 * OBJECTS / 10);
}
END_TEST

/* Half of it has been shown, all is mixed anew, at once: the other half comes, and nothing twice. */
START_TEST(what_is_mixed_anew_once_is_shown_once)
{
	_Atomic uint64_t look = 0, hold = 0;
	struct cursor cursor = {};
	struct found found;
	uint32_t shown = 0, there = 0;
	int r;

	set_up(99);
	for (uint32_t i = 0; i < OBJECTS; i++)
		there += w.records[i].there;
	while (!(r = cursor_next(&w.cache, &cursor, &look, &hold, &found, NULL))) {
		if (++shown != there / 2)
			continue;
		next_begin(77);
		next_step(1000);
		ck_assert_uint_eq(w.index.now.seed, 77);
	}
	ck_assert_int_eq(r, VARBOS_E_NOT_FOUND);
	ck_assert_uint_eq(shown, there);
	tear_down();
}
END_TEST

/* Bytes that are no object's: nothing is read behind them, and the rest is shown. */
START_TEST(spoiled_objects_are_passed_over)
{
	_Atomic uint64_t look = 0, hold = 0;
	struct cursor cursor = {};
	struct found found;
	uint32_t shown = 0, whole = 0;

	set_up(5);
	for (uint32_t i = 0; i < OBJECTS; i++) {
		struct object_header *header =
			(struct object_header *)(void *)&w
				.memory[(size_t)w.records[i].place * PLACE];

		if (w.records[i].there && i % 3)
			header->sizes = i % 3 == 1 ? draw(UINT64_MAX) | (uint64_t)1 << 39 : 0;
		whole += w.records[i].there && i % 3 == 0;
	}
	while (!cursor_next(&w.cache, &cursor, &look, &hold, &found, NULL))
		shown++;
	ck_assert_uint_eq(shown, whole);
	tear_down();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cursor");
	TCase *tcase = tcase_create("steps");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, what_stays_is_shown_once_whatever_happens_between_steps);
	tcase_add_test(tcase, what_stays_is_shown_though_all_is_mixed_anew);
	tcase_add_test(tcase, what_is_mixed_anew_once_is_shown_once);
	tcase_add_test(tcase, spoiled_objects_are_passed_over);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
