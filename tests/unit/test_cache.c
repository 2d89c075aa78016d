/* Whole stories of one cache, on its own memory; random verbs are tests/model/model_cache.c's. */
#include <stdio.h>
#include <string.h>

#include "daemon/core/cache/clean.h"
#include "daemon/core/cache/state.h"
#include "tests/suite.h"

enum { RUNS = 4096 };

/* A cache, and the shell's part: files, and runs of slices that are free, by base. */
static struct world {
	struct cache *cache;
	void *objects, *index, *next;
	uint32_t *numbers, *next_numbers;
	uint32_t slots;
	uint64_t free[RUNS], size; /* of a segment */
	uint32_t n_free;
	uint64_t base, at; /* what session 1 fills; size: nothing */
	uint64_t random;
	bool crowds; /* what is published, as here and: */
	uint32_t mode;
	uint64_t now, expiry;
	uint64_t generation;
	struct clean_step step;
} w;

static uint64_t next_random(void)
{
	uint64_t z = w.random += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static void *zeroed(uint64_t size)
{
	void *memory = aligned_alloc(64, (size + 63) / 64 * 64);

	ck_assert_ptr_nonnull(memory);
	memset(memory, 0, size);
	return memory;
}

static struct index_table index_make(struct index_layout layout, uint64_t generation,
				     uint64_t seed, void **ret, uint32_t **ret_numbers)
{
	struct index_config config = {
		.layout = layout, .generation = generation, .seed = seed, .epoch = 1};

	*ret = zeroed(index_file_size(layout.buckets, layout.overflow));
	*ret_numbers = malloc(index_positions(layout) * sizeof(uint32_t));
	ck_assert_ptr_nonnull(*ret_numbers);
	index_format(*ret, &config);
	return index_table(*ret, *ret_numbers);
}

/* So many segments of this size at most. */
static void world_make(uint64_t capacity, uint32_t policy, uint32_t objects, uint64_t size,
		       uint32_t segments)
{
	struct cache_config config = {.capacity = capacity, .policy = policy};

	w = (struct world){.size = size,
			   .at = size,
			   .slots = objects + objects / 4 + 8192,
			   .random = 1,
			   .generation = 1};
	w.objects = zeroed(object_records_size(w.slots));
	config.objects = object_records_init(w.objects);
	config.slots = w.slots;
	config.index = index_make(index_layout_for(objects), 1, 5, &w.index, &w.numbers);
	ck_assert_int_eq(cache_new(&w.cache, &config), 0);
	ck_assert_uint_le(segments, RUNS);
	for (uint32_t i = segments; i > 0; i--)
		w.free[w.n_free++] = i * size;
}

/* As it is wanted. */
static void index_begin(struct index_layout layout, uint64_t seed)
{
	cache_index_begin(w.cache,
			  index_make(layout, ++w.generation, seed, &w.next, &w.next_numbers));
}

/* A step. False: it is done. */
static bool index_step(void)
{
	struct index_table former;

	if (cache_index_step(w.cache, &former) == CACHE_MORE)
		return true;
	ck_assert_ptr_eq(former.head, w.index);
	free(w.index);
	free(w.numbers);
	w.index = w.next;
	w.numbers = w.next_numbers;
	w.next = NULL;
	return false;
}

static void world_end(void)
{
	while (w.next && index_step())
		;
	ck_assert_ptr_null(cache_check(w.cache));
	cache_free(w.cache);
	free(w.objects);
	free(w.index);
	free(w.numbers);
}

/* Nobody reads: all that has been left comes back. */
static void scan(void)
{
	struct segment_run runs[16];
	uint32_t n;
	int r;

	cache_scan_begin(w.cache);
	cache_scan_end(w.cache);
	do {
		r = cache_reclaim(w.cache, runs, 16, &n);
		for (uint32_t i = 0; i < n; i++)
			w.free[w.n_free++] = runs[i].base;
	} while (r == CACHE_MORE);
}

/* One step. False: there is nothing to clean. */
static bool clean(void)
{
	int r = cache_clean_plan(w.cache, 1 << 20, &w.step);

	if (r == CACHE_E_SEGMENT) {
		ck_assert_uint_gt(w.n_free, 0);
		ck_assert_int_eq(cache_segment(w.cache, CACHE_CLEANER, w.free[--w.n_free],
					       w.size, false),
				 0);
		return true;
	}
	if (!r)
		cache_clean_done(w.cache, &w.step, true);
	return r != CACHE_E_NOTHING;
}

/* A segment to fill. Two are the cleaner's alone. */
static void segment_next(void)
{
	if (w.base)
		ck_assert_int_eq(cache_seal(w.cache, 1, w.base), 0);
	scan();
	while (w.n_free < 3) {
		ck_assert(clean());
		scan();
	}
	w.base = w.free[--w.n_free];
	w.at = 0;
	ck_assert_int_eq(cache_segment(w.cache, 1, w.base, w.size, false), 0);
}

static int publish(uint64_t hash, uint64_t size)
{
	struct cache_publish p = {
		.hash = hash,
		.size = size,
		.expiry = w.expiry,
		.now = w.now,
		.session = 1,
		.mode = w.mode,
		.born = 1,
		.crowds = w.crowds,
	};
	struct cache_object object;
	int r;

	if (w.at + size > w.size)
		segment_next();
	if (cache_wants(w.cache) & CACHE_WANTS_TEND)
		ck_assert_int_eq(cache_tend(w.cache, 0), 0);
	p.offset = w.base + w.at;
	r = cache_publish(w.cache, &p, &object);
	while (r == CACHE_E_TEND) {
		ck_assert_int_eq(cache_tend(w.cache, 0), 0);
		r = cache_publish(w.cache, &p, &object);
	}
	if (!r)
		w.at += (size + 15) & ~(uint64_t)15;
	return r;
}

static bool has(uint64_t hash)
{
	struct cache_object object;

	return !cache_find(w.cache, hash, &object);
}

START_TEST(what_cannot_fit_is_refused_and_empties_nothing)
{
	world_make(100000, POLICY_LRU, 1000, 2 << 20, 4);
	for (uint64_t i = 1; i <= 10; i++)
		ck_assert_int_eq(publish(i, 10000), 0);
	ck_assert_int_eq(publish(11, 100001), CACHE_E_TOO_LARGE);
	ck_assert_uint_eq(cache_view(w.cache).objects, 10);
	ck_assert_int_eq(publish(11, 100000), 0);
	ck_assert_uint_eq(cache_view(w.cache).objects, 1);
	world_end();
}
END_TEST

static int publish_at(uint64_t offset, uint64_t size)
{
	struct cache_publish p = {
		.hash = 5, .offset = offset, .size = size, .session = 1, .born = 1};
	struct cache_object object;

	return cache_publish(w.cache, &p, &object);
}

/* Whatever a client says: there are 44 bits, and what is behind the last of them is nowhere. */
START_TEST(an_offset_that_no_offset_is_leads_nowhere)
{
	world_make(4 << 20, POLICY_LRU, 1000, 2 << 20, 4);
	ck_assert_int_eq(publish(1, 1000), 0);
	for (uint32_t bit = OFFSET_BITS; bit < 64; bit++)
		for (uint64_t at = w.base; at < w.base + w.size; at += w.size / 2)
			ck_assert_int_eq(publish_at(at | (uint64_t)1 << bit, 1000),
					 CACHE_E_PLACE);
	ck_assert_int_eq(publish_at(UINT64_MAX & ~(uint64_t)15, 1000), CACHE_E_PLACE);
	ck_assert_int_eq(publish_at(w.base + w.size, 1000), CACHE_E_PLACE);
	ck_assert_int_eq(publish_at(w.base + w.size - 992, 1000), CACHE_E_PLACE);
	ck_assert_int_eq(publish_at(w.base + w.size - 1008, UINT64_MAX), CACHE_E_TOO_LARGE);
	ck_assert_int_eq(cache_seal(w.cache, 1, w.base | (uint64_t)1 << OFFSET_BITS),
			 CACHE_E_PLACE);
	ck_assert_int_eq(publish_at(w.base + w.size - 1008, 1000), 0);
	world_end();
}
END_TEST

START_TEST(making_room_for_a_large_object_is_cut)
{
	uint32_t cut = 0;
	int r;

	world_make(200000, POLICY_FIFO, 4000, 2 << 20, 4);
	for (uint64_t i = 1; i <= 2000; i++)
		ck_assert_int_eq(publish(i, 100), 0);
	ck_assert_uint_gt(cache_view(w.cache).objects, 1750);
	while ((r = publish(5000, 190000)) == CACHE_MORE) {
		ck_assert_ptr_null(cache_check(w.cache));
		cut++;
	}
	ck_assert_int_eq(r, 0);
	ck_assert_uint_ge(cut, 4);
	ck_assert_uint_le(cache_view(w.cache).live, 200000);
	world_end();
}
END_TEST

/* However late the daemon comes to free it. */
START_TEST(what_has_expired_is_there_for_nobody)
{
	struct cache_object object;

	world_make(100000, POLICY_LRU, 1000, 2 << 20, 4);
	for (uint64_t i = 1; i <= 4; i++) {
		w.expiry = 1000 + (i == 4);
		ck_assert_int_eq(publish(i, 1000), 0);
	}
	w.mode = LANE_ADD;
	w.expiry = 0;
	w.now = 999;
	ck_assert_int_eq(publish(1, 1000), CACHE_E_EXISTS);
	w.now = 1000;
	ck_assert_int_eq(publish(1, 1000), 0);
	ck_assert_int_eq(cache_touch(w.cache, 2, 5000, 1000, &object), CACHE_E_ABSENT);
	ck_assert_int_eq(cache_delete(w.cache, 3, 0, 1000), CACHE_E_ABSENT);
	ck_assert(has(4));
	ck_assert_int_eq(cache_delete(w.cache, 4, 0, 1001), CACHE_E_ABSENT);
	ck_assert_uint_eq(cache_view(w.cache).gone[CACHE_EXPIRED], 4);
	world_end();
}
END_TEST

START_TEST(looking_at_an_object_leaves_its_recency_alone)
{
	uint64_t bytes = 1;
	struct cache_object object;

	world_make(100000, POLICY_LRU, 1000, 2 << 20, 4);
	for (uint64_t i = 1; i <= 3; i++)
		ck_assert_int_eq(publish(i, 1000), 0);
	ck_assert(has(1));
	ck_assert_int_eq(cache_touch(w.cache, 2, 0, 0, &object), 0);
	ck_assert_int_eq(cache_evict(w.cache, &bytes), 0);
	ck_assert(!has(1) && has(2) && has(3));
	bytes = 1;
	ck_assert_int_eq(cache_evict(w.cache, &bytes), 0);
	ck_assert(has(2) && !has(3));
	world_end();
}
END_TEST

static uint32_t hint_of(uint64_t hash, uint64_t *ret_noted)
{
	struct index_at at;

	ck_assert(index_find(&w.cache->index, hash, &at));
	*ret_noted = lane_access_of(0, at.position / INDEX_ENTRIES,
				    (uint32_t)(at.position % INDEX_ENTRIES),
				    index_entry_at(&at).tag);
	return index_entry_at(&at).hint;
}

static uint32_t fresh(void)
{
	return (uint32_t)(atomic_load(&w.cache->index.now.head->epoch) & 15);
}

/* Under sieve one access in each epoch; under lru each; under fifo none. */
START_TEST(readers_are_told_which_accesses_to_note)
{
	uint64_t noted;
	uint32_t epoch;

	world_make(100000, POLICY_SIEVE, 2000, 2 << 20, 8);
	for (uint64_t i = 1; i <= 100; i++)
		ck_assert_int_eq(publish(i, 1000), 0);
	ck_assert_uint_ne(hint_of(99, &noted), fresh());
	ck_assert(cache_access(w.cache, noted));
	ck_assert_uint_eq(hint_of(99, &noted), fresh());
	epoch = fresh();
	for (uint64_t i = 101; i <= 103; i++)
		ck_assert_int_eq(publish(i, 1000), 0);
	ck_assert_uint_ne(fresh(), epoch);
	ck_assert_uint_ne(hint_of(99, &noted), fresh());

	ck_assert(cache_access(w.cache, noted));
	ck_assert_int_eq(cache_switch(w.cache, POLICY_LRU), 0);
	while (cache_switch_step(w.cache))
		;
	ck_assert_uint_ne(hint_of(99, &noted), fresh());
	ck_assert(cache_access(w.cache, noted));
	ck_assert_uint_ne(hint_of(99, &noted), fresh());

	ck_assert_int_eq(cache_switch(w.cache, POLICY_FIFO), 0);
	while (cache_switch_step(w.cache))
		;
	ck_assert_int_eq(publish(200, 1000), 0);
	ck_assert_uint_eq(hint_of(200, &noted), fresh());
	world_end();
}
END_TEST

START_TEST(the_hottest_keys_are_known)
{
	struct hot_key keys[4];
	struct hot hot = {0};

	w.random = 1;
	for (uint32_t i = 0; i < 100000; i++) {
		hot_note(&hot, next_random(), 1);
		if (i % 10 == 0)
			hot_note(&hot, 77, 1);
		if (i % 20 == 0)
			hot_note(&hot, 78, 1);
	}
	ck_assert_uint_eq(hot_list(&hot, keys, 4), 4);
	ck_assert_uint_eq(keys[0].hash, 77);
	ck_assert_uint_eq(keys[1].hash, 78);
	ck_assert_uint_ge(keys[0].count, 10000);
	ck_assert_uint_le(keys[0].count - keys[0].over, 10000);
}
END_TEST

/* While it is walked, keys are replaced and others come, and the index grows twice. */
START_TEST(a_walk_meets_once_whoever_stays)
{
	enum { STAY = 2000 };
	static uint8_t met[STAY + 1];
	struct cache_object objects[INDEX_LISTED];
	struct index_place place = {0};
	uint64_t other = 10000;
	uint32_t n;
	int r;

	world_make(64 << 20, POLICY_LRU, STAY + 200, 2 << 20, 16);
	memset(met, 0, sizeof(met));
	for (uint64_t i = 1; i <= STAY; i++)
		ck_assert_int_eq(publish(i, 100), 0);
	do {
		struct index_layout layout;
		bool seed;

		r = cache_walk(w.cache, &place, objects, &n);
		for (uint32_t i = 0; i < n; i++)
			if (objects[i].hash <= STAY)
				met[objects[i].hash]++;
		for (uint32_t i = 0; i < 4 && other < 11200; i++)
			ck_assert_int_eq(publish(other++, 100), 0);
		for (uint32_t i = 0; i < 3; i++)
			ck_assert_int_eq(publish(1 + next_random() % STAY, 100), 0);
		if (w.next)
			index_step();
		else if (cache_index_wants(w.cache, &layout, &seed))
			index_begin(layout, 5);
	} while (r == CACHE_MORE);
	ck_assert_uint_ge(w.generation, 2);
	for (uint32_t i = 1; i <= STAY; i++)
		ck_assert_msg(met[i] == 1, "key %u was met %u times", i, met[i]);
	world_end();
}
END_TEST

/* Each step passes so many, and the first that was passed goes. */
START_TEST(who_finds_all_accessed_goes_on_by_steps)
{
	static const uint32_t policies[] = {POLICY_CLOCK, POLICY_SIEVE};
	enum { OBJECTS = 10 * POLICY_PASSED };
	uint64_t bytes = 112;
	int steps = 0;

	world_make(OBJECTS * 112, policies[_i], OBJECTS, 2 << 20, 8);
	for (uint64_t i = 1; i <= OBJECTS; i++)
		ck_assert_int_eq(publish(i, 112), 0);
	for (uint64_t i = 1; i <= OBJECTS; i++)
		ck_assert_int_eq(publish(i, 112), 0);
	while (cache_evict(w.cache, &bytes) == CACHE_MORE)
		steps++;
	ck_assert_int_ge(steps, OBJECTS / POLICY_PASSED - 1);
	ck_assert_int_le(steps, OBJECTS / POLICY_PASSED);
	ck_assert(!has(1));
	ck_assert_uint_eq(cache_view(w.cache).objects, OBJECTS - 1);
	world_end();
}
END_TEST

START_TEST(what_was_there_when_a_clear_began_goes_though_another_was_under_way)
{
	uint64_t one, other;
	int steps = 0;

	world_make(64 << 20, POLICY_LRU, 2000, 2 << 20, 16);
	for (uint64_t i = 1; i <= 1000; i++)
		ck_assert_int_eq(publish(i, 112), 0);
	one = cache_clear_begin(w.cache);
	ck_assert_int_eq(cache_clear(w.cache, one), CACHE_MORE);
	ck_assert_int_eq(publish(1, 112), 0);
	other = cache_clear_begin(w.cache);
	ck_assert_int_eq(publish(2000, 112), 0);
	while (cache_clear(w.cache, one) == CACHE_MORE)
		steps++;
	ck_assert_int_le(steps, 17); /* of 64 objects; the last one finds nothing */
	while (cache_clear(w.cache, other) == CACHE_MORE)
		;
	ck_assert(!has(1));
	ck_assert_uint_le(cache_view(w.cache).objects, 1);
	ck_assert_int_eq(cache_clear(w.cache, one), 0);
	world_end();
}
END_TEST

/* Ten fit. The first is replaced some times, before five others come: whose turn is it? */
START_TEST(another_value_of_a_key_counts_as_an_access_to_it)
{
	static const struct {
		uint32_t policy;
		bool stays;
	} cases[] = {{POLICY_FIFO, false}, {POLICY_LRU, true},   {POLICY_LFU, true},
		     {POLICY_CLOCK, true}, {POLICY_SIEVE, true}, {POLICY_GDSF, true}};

	world_make(10 * 112, cases[_i].policy, 1000, 2 << 20, 4);
	for (uint64_t i = 1; i <= 10; i++)
		ck_assert_int_eq(publish(i, 112), 0);
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_int_eq(publish(1, 112), 0);
	for (uint64_t i = 2; i <= 10; i++)
		ck_assert(has(i));
	for (uint64_t i = 11; i <= 15; i++)
		ck_assert_int_eq(publish(i, 112), 0);
	ck_assert(has(1) == cases[_i].stays);
	ck_assert_uint_eq(cache_view(w.cache).objects, 10);
	world_end();
}
END_TEST

/* The first that finds no slot; all before it were published. */
static uint64_t fill_index(uint64_t from)
{
	int r;

	while (!(r = publish(from, 100)) && from < 10000)
		from++;
	ck_assert_int_eq(r, CACHE_E_INDEX);
	return from;
}

/* What does not come back after a scan that has found these words. */
static uint64_t stays(const uint64_t *offsets, uint32_t n)
{
	struct segment_run runs[16];
	uint64_t back = 0, pinned = 0, left = cache_view(w.cache).limbo;
	int r;

	cache_scan_begin(w.cache);
	for (uint32_t i = 0; i < n; i++)
		pinned += cache_scan_word(w.cache, 3, offsets[i], 0);
	cache_scan_end(w.cache);
	ck_assert_uint_eq(cache_view(w.cache).pinned, pinned);
	do {
		r = cache_reclaim(w.cache, runs, ARRAY_SIZE(runs), &n);
		for (uint32_t i = 0; i < n; i++)
			back += runs[i].size;
	} while (r == CACHE_MORE);
	ck_assert_uint_eq(back, left - pinned);
	return pinned;
}

START_TEST(of_what_is_pinned_each_slice_stays)
{
	uint64_t offsets[2];

	world_make(4 << 20, POLICY_LRU, 1000, 2 << 20, 4);
	ck_assert_int_eq(publish(1, 1000), 0);
	offsets[0] = w.base + w.at;
	ck_assert_int_eq(publish(2, 3 * SLICE_BYTES - 1000), 0); /* the first four */
	ck_assert_int_eq(publish(3, 4 * SLICE_BYTES), 0);
	offsets[1] = w.base + w.at;
	ck_assert_int_eq(publish(4, 1000), 0); /* in the eighth */
	for (uint64_t i = 1; i <= 4; i++)
		ck_assert_int_eq(cache_delete(w.cache, i, 0, 0), 0);
	ck_assert_int_eq(cache_seal(w.cache, 1, w.base), 0);
	ck_assert_uint_eq(stays(offsets, 2), 5 * SLICE_BYTES);
	ck_assert_uint_eq(stays(offsets, 1), 4 * SLICE_BYTES);
	ck_assert_uint_eq(stays(NULL, 0), 0);
	world_end();
}
END_TEST

START_TEST(where_the_index_is_full_new_keys_wait_and_none_goes)
{
	struct index_layout layout;
	uint64_t first, second;
	bool seed;
	int r;

	world_make(64 << 20, POLICY_LRU, 100, 2 << 20, 16);
	first = fill_index(1);
	ck_assert_uint_eq(cache_view(w.cache).objects, first - 1);
	ck_assert_int_eq(publish(first, 100), CACHE_E_INDEX);
	ck_assert_int_eq(publish(first - 1, 100), 0);
	ck_assert(cache_index_wants(w.cache, &layout, &seed));
	index_begin(layout, 5);
	while ((r = publish(first, 100)) == CACHE_MORE)
		;
	ck_assert_int_eq(r, 0);
	/* Fuller than the next one can be: all move, and another is wanted. */
	second = fill_index(first + 1);
	ck_assert(!w.next || !index_step());
	ck_assert(cache_index_wants(w.cache, &layout, &seed));
	for (uint64_t i = 1; i < second; i++)
		ck_assert_msg(has(i), "key %d has gone", (int)i);
	ck_assert_uint_eq(cache_view(w.cache).gone[CACHE_CROWDED], 0);
	/* There is none to be had. */
	w.crowds = true;
	ck_assert_int_eq(publish(second, 100), 0);
	ck_assert(has(second));
	ck_assert_uint_eq(cache_view(w.cache).gone[CACHE_CROWDED], 1);
	world_end();
}
END_TEST

/* Hashes of a few neighbours, until one has no slot. */
static void crowd(uint64_t seed)
{
	uint64_t hash = seed * 1000000;
	int r;

	do {
		do
			hash++;
		while (index_mix(hash, seed, w.cache->index.now.layout.buckets).bucket >=
		       INDEX_GROUP);
		r = publish(hash, 100);
	} while (!r && cache_view(w.cache).objects < 10000);
	ck_assert_int_eq(r, CACHE_E_INDEX);
}

START_TEST(records_come_in_time_and_hardly_more_of_them_than_are_used)
{
	enum { OBJECTS = 150000 };
	uint32_t slots = 8192, wanted = 0, large = 0;

	world_make((uint64_t)OBJECTS << 10, POLICY_FIFO, OBJECTS, 2 << 20, RUNS);
	w.cache->slots = slots; /* of the memory that there is */
	for (uint32_t i = 1; i <= OBJECTS; i++) {
		uint32_t spare = slots - i, next;

		ck_assert_int_eq(publish(i, 48), 0);
		next = cache_slots_next(w.cache);
		if (!(cache_wants(w.cache) & CACHE_WANTS_OBJECTS))
			continue;
		wanted++;
		ck_assert_uint_ge(spare, slots / 64);
		ck_assert_uint_le(spare, slots / 8);
		ck_assert_uint_gt(next - slots, spare / 4 * 3);
		if (slots >= 1 << 17) {
			large++;
			ck_assert_uint_le(next - slots, slots / 32);
		}
		slots = next;
		ck_assert_int_eq(cache_objects(w.cache, w.cache->objects, slots), 0);
		ck_assert(!(cache_wants(w.cache) & CACHE_WANTS_OBJECTS));
	}
	ck_assert_uint_ge(wanted, 6);
	ck_assert_uint_ge(large, 2);
	/* There are no more than can be told apart. */
	w.cache->slots = INDEX_NUMBERS;
	ck_assert_uint_eq(cache_slots_next(w.cache), INDEX_NUMBERS);
	w.cache->slots = slots;
	world_end();
}
END_TEST

START_TEST(who_crowds_on_purpose_has_the_index_made_anew_now_and_then)
{
	struct index_layout layout, other;
	bool seed;

	world_make(64 << 20, POLICY_LRU, 8000, 2 << 20, 16);
	for (uint64_t i = 1; i <= 3000; i++)
		ck_assert_int_eq(publish(i, 100), 0);
	layout = w.cache->index.now.layout;
	crowd(5);
	ck_assert(cache_index_wants(w.cache, &other, &seed) && seed);
	ck_assert_uint_eq(other.buckets, layout.buckets);
	index_begin(other, 6);
	while (index_step())
		;
	ck_assert(!cache_index_wants(w.cache, &other, &seed));
	crowd(6);
	ck_assert(!cache_index_wants(w.cache, &other, &seed));
	for (uint64_t i = 1; i <= 500; i++)
		ck_assert_int_eq(publish(i, 100), 0);
	ck_assert(cache_index_wants(w.cache, &other, &seed) && seed);
	world_end();
}
END_TEST

static uint64_t some_size(void)
{
	/* 64 bytes to 64 KiB, as many between each two powers of two. */
	uint64_t low = (uint64_t)64 << next_random() % 10;

	return low + next_random() % low;
}

/* Skewed: half of all that is asked for is a small part of the keys. */
static uint64_t some_key(uint64_t keys)
{
	uint64_t at = next_random() % keys;

	for (uint32_t i = 0; i < 3 && next_random() % 2; i++)
		at = next_random() % (at + 1);
	return at + 1;
}

/*
 * A look-aside cache: a miss is put. Live bytes are 95 % of the memory but for what is the cleaner's
 * and what is being filled; what is held, all of it, counts.
 */
START_TEST(churn_of_mixed_sizes_leaves_nine_tenths_live)
{
	static const uint32_t policies[] = {POLICY_LRU, POLICY_SIEVE, POLICY_S3FIFO};
	enum { SEGMENTS = 130 };
	const uint64_t size = 2 << 20, capacity = (SEGMENTS - 5) * size * 95 / 100;

	world_make(capacity, policies[_i], 60000, size, SEGMENTS);
	for (uint32_t round = 0; round < 6; round++) {
		struct cache_view before = cache_view(w.cache), view;

		for (uint32_t i = 0; i < 40000; i++) {
			uint64_t key = some_key(60000);
			struct index_at at;

			if (index_find(&w.cache->index, key, &at)) {
				cache_access(
					w.cache,
					lane_access_of(0, at.position / INDEX_ENTRIES,
						       (uint32_t)(at.position % INDEX_ENTRIES),
						       index_entry_at(&at).tag));
				continue;
			}
			while (publish(key, some_size()))
				;
		}
		view = cache_view(w.cache);
		if (round < 4)
			continue;
		printf("%s: live %.3f of what is held, %.2f copies a put\n",
		       policy_at(policies[_i])->name, (double)view.live / (double)view.held,
		       (double)(view.moved - before.moved) /
			       (double)(view.published - before.published));
		ck_assert_uint_ge(view.live * 10, view.held * 9);
	}
	world_end();
}
END_TEST

/* In a cache that has evicted for a while, without TTLs. */
START_TEST(an_object_takes_at_most_64_bytes_beside_itself)
{
	enum { OBJECTS = 1000000, SIZE = 112 };
	struct index_layout layout;
	struct cache_view view;
	double index, numbers, records, private, sum;
	uint64_t key = 1;

	world_make((uint64_t)OBJECTS * SIZE, POLICY_S3FIFO, OBJECTS, 2 << 20, 60);
	w.crowds = true; /* a few neighbours in a million may */
	for (uint32_t i = 0; i < OBJECTS / 10 * 14; i++)
		ck_assert_int_eq(publish(key++ * 0x9e3779b97f4a7c15ULL, SIZE), 0);
	view = cache_view(w.cache);
	layout = w.cache->index.now.layout;
	index = (double)index_file_size(layout.buckets, layout.overflow) / (double)view.objects;
	numbers = (double)index_positions(layout) * 4 / (double)view.objects;
	records = (double)w.cache->numbers.used * 24 / (double)view.objects;
	private = (double)view.memory / (double)view.objects;
	sum = index + numbers + records + private;
	printf("bytes an object: index %.1f, its numbers %.1f, records %.1f, policy, chains "
	       "and "
	       "segments %.1f: %.1f\n",
	       index, numbers, records, private, sum);
	ck_assert(sum <= 64);
	world_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cache");
	TCase *tcase = tcase_create("cache");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, what_cannot_fit_is_refused_and_empties_nothing);
	tcase_add_test(tcase, an_offset_that_no_offset_is_leads_nowhere);
	tcase_add_test(tcase, making_room_for_a_large_object_is_cut);
	tcase_add_test(tcase, what_has_expired_is_there_for_nobody);
	tcase_add_test(tcase, looking_at_an_object_leaves_its_recency_alone);
	tcase_add_test(tcase, readers_are_told_which_accesses_to_note);
	tcase_add_test(tcase, the_hottest_keys_are_known);
	tcase_add_test(tcase, a_walk_meets_once_whoever_stays);
	tcase_add_test(tcase,
		       what_was_there_when_a_clear_began_goes_though_another_was_under_way);
	tcase_add_loop_test(tcase, who_finds_all_accessed_goes_on_by_steps, 0, 2);
	tcase_add_loop_test(tcase, another_value_of_a_key_counts_as_an_access_to_it, 0, 6);
	tcase_add_test(tcase, of_what_is_pinned_each_slice_stays);
	tcase_add_test(tcase, where_the_index_is_full_new_keys_wait_and_none_goes);
	tcase_add_test(tcase, records_come_in_time_and_hardly_more_of_them_than_are_used);
	tcase_add_test(tcase, who_crowds_on_purpose_has_the_index_made_anew_now_and_then);
	tcase_add_loop_test(tcase, churn_of_mixed_sizes_leaves_nine_tenths_live, 0, 3);
	tcase_add_test(tcase, an_object_takes_at_most_64_bytes_beside_itself);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
