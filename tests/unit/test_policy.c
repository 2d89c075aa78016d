/*
 * One suite for every policy of the table: what a cache asks of it (policy.h, E1 to E6).
 *
 * malloc and its kin are wrapped by the linker (--wrap): they count, and a countdown makes one fail.
 */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/policy/ghost.h"
#include "daemon/core/policy/sketch.h"
#include "tests/suite.h"
#include "tests/unit/policy_host.h"

enum { STEPS = 30000, CAPACITY = 100, NUMBERS = 128 };

static long countdown = -1; /* this many more succeed; negative: all */

/* What is allocated, of which the policies have few pieces at a time. */
static struct {
	void *p;
	size_t size;
} pieces[16];
static bool counting;

static bool fails(void)
{
	return countdown >= 0 && !countdown--;
}

static void forget(const void *p)
{
	for (size_t i = 0; p && i < ARRAY_SIZE(pieces); i++)
		if (pieces[i].p == p)
			pieces[i].p = NULL;
}

static void *note(void *p, size_t size)
{
	if (!counting || !p)
		return p;
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		if (pieces[i].p)
			continue;
		pieces[i].p = p;
		pieces[i].size = size;
		return p;
	}
	abort(); /* there are more than one counts on */
}

static size_t allocated(void)
{
	size_t sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++)
		sum += pieces[i].p ? pieces[i].size : 0;
	return sum;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : note(__real_malloc(size), size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : note(__real_calloc(n, size), n * size);
}

void *__wrap_realloc(void *p, size_t size)
{
	if (fails())
		return NULL;
	forget(p);
	return note(__real_realloc(p, size), size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : note(__real_aligned_alloc(alignment, size), size);
}

void __wrap_free(void *p)
{
	forget(p);
	__real_free(p);
}

static uint64_t state;

static struct policy_host host;

static void begin(int policy, uint64_t capacity)
{
	ck_assert(policy_host_init(&host, (uint32_t)policy, capacity, NUMBERS, false));
}

static void step(enum host_step_kind kind, uint32_t key, uint32_t value)
{
	const char *wrong = policy_host_step(&host, (struct host_step){kind, key, value});

	if (wrong)
		ck_abort_msg("%s: %s", host.eviction.policy->name, wrong);
}

/* Objects of every past: accessed never, once, ..., come back after they went. */
static void fill(void)
{
	for (uint32_t i = 0; i < 40; i++) {
		for (uint32_t key = 0; key < 60; key++)
			if (!(i % (1 + key % 7)) && (i + key) % 3)
				step(HOST_REQUEST, key + i / 20 * 10, 1 + key % 4);
		step(HOST_REQUEST, 200 + i, 1);
	}
	ck_assert_uint_gt(host.count, 20);
}

START_TEST(every_policy_is_found_by_name_and_number)
{
	uint32_t id = 99;

	ck_assert_ptr_eq(policy_named(NULL, &id), &policy_s3fifo);
	ck_assert_ptr_eq(policy_named("", &id), &policy_s3fifo);
	ck_assert_ptr_null(policy_named("s3", &id));
	ck_assert_ptr_null(policy_at(POLICIES));
	for (uint32_t i = 0; i < POLICIES; i++) {
		ck_assert_ptr_eq(policy_named(policy_at(i)->name, &id), policy_at(i));
		ck_assert_uint_eq(id, i);
	}
}
END_TEST

START_TEST(a_policy_agrees_with_a_list_of_what_there_is)
{
	uint64_t seed = host_seed(policy_at((uint32_t)_i)->name);

	state = seed;
	begin(_i, CAPACITY);
	for (uint32_t i = 0; i < STEPS; i++) {
		struct host_step next = host_step_of(host_random(&state));
		const char *wrong = NULL;

		if (next.kind != HOST_SWITCH)
			wrong = policy_host_step(&host, next);
		if (wrong)
			ck_abort_msg("%s: VARBOS_SEED=%" PRIu64 " step %u: %s",
				     host.eviction.policy->name, seed, i, wrong);
	}
	/* All of it came about. */
	ck_assert_uint_gt(host.hits, STEPS / 50);
	ck_assert_uint_gt(host.evicted, STEPS / 50);
	ck_assert_uint_gt(host.refused, STEPS / 50);
	ck_assert_uint_gt(host.unfit, STEPS / 500);
	policy_host_deinit(&host);
}
END_TEST

START_TEST(what_cannot_fit_empties_nothing)
{
	uint32_t count, evicted;

	begin(_i, CAPACITY);
	fill();
	count = host.count;
	evicted = host.evicted;
	for (uint32_t key = 300; key < 400; key++)
		step(HOST_REQUEST, key, CAPACITY + 1 + key);
	step(HOST_REQUEST, 300, POLICY_SIZE_MAX);
	ck_assert_uint_eq(host.unfit, 101);
	ck_assert_uint_eq(host.count, count);
	ck_assert_uint_eq(host.evicted, evicted);
	/* What fills it alone is another matter. */
	step(HOST_REQUEST, 300, CAPACITY);
	ck_assert_uint_eq(host.count, 1);
	policy_host_deinit(&host);
}
END_TEST

START_TEST(a_cache_of_one_unit_holds_the_last_that_came)
{
	begin(_i, 1);
	for (uint32_t i = 0; i < 300; i++) {
		step(HOST_REQUEST, i % 7, 1);
		ck_assert_uint_ne(host.number_of[i % 7], POLICY_NONE);
		ck_assert_uint_eq(host.count, 1);
		if (i % 3 == 0)
			step(HOST_REQUEST, i % 7, 1);
		if (i % 50 == 0)
			step(HOST_EVICT, 0, 0);
	}
	/* Its only object is pinned: the newcomer is turned away, and nothing goes. */
	step(HOST_REQUEST, 1, 1);
	step(HOST_PIN, 1, 0);
	step(HOST_REQUEST, 2, 1);
	ck_assert_uint_eq(host.turned_away, 1);
	ck_assert_uint_ne(host.number_of[1], POLICY_NONE);
	policy_host_deinit(&host);
}
END_TEST

START_TEST(removed_in_any_order_nothing_is_left_and_all_begins_anew)
{
	begin(_i, CAPACITY);
	for (uint32_t round = 0; round < 24; round++) {
		fill();
		for (uint32_t i = 0; i < HOST_KEYS; i++) /* 5, 37, ...: odd, so every key */
			step(HOST_REMOVE, i * (round * 32 + 5) + round, 0);
		ck_assert_uint_eq(host.count, 0);
		ck_assert_uint_eq(eviction_victim(&host.eviction), POLICY_NONE);
	}
	policy_host_deinit(&host);
}
END_TEST

/* Pins all, or none any more. */
static void turn_pins(void)
{
	for (uint32_t i = 0; i < NUMBERS; i++)
		if (host.objects[i].there)
			step(HOST_PIN, host.objects[i].key, 0);
}

START_TEST(while_all_are_pinned_each_is_offered)
{
	bool offered[NUMBERS] = {0};
	uint32_t different = 0;

	begin(_i, CAPACITY);
	fill();
	turn_pins();
	ck_assert_uint_eq(host.pinned, host.count);
	for (uint32_t i = 0; i < 4 * host.count; i++) {
		uint32_t number = eviction_victim(&host.eviction);

		ck_assert_uint_lt(number, NUMBERS);
		ck_assert(host.objects[number].there);
		different += !offered[number];
		offered[number] = true;
		eviction_refuse(&host.eviction, number);
	}
	ck_assert_uint_eq(different, host.count);
	ck_assert_ptr_null(policy_host_compare(&host));
	policy_host_deinit(&host);
}
END_TEST

/* Whichever it is, in whichever queue; the host counts refusals. */
START_TEST(one_that_is_not_pinned_is_offered_however_many_are)
{
	uint32_t keys[NUMBERS], n = 0;

	begin(_i, CAPACITY);
	fill();
	for (uint32_t key = 0; key < HOST_KEYS; key++)
		if (host.number_of[key] != POLICY_NONE)
			keys[n++] = key;
	policy_host_deinit(&host);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t evicted;

		begin(_i, CAPACITY);
		host.checked_every = 64;
		fill();
		turn_pins();
		step(HOST_PIN, keys[i], 0);
		ck_assert_uint_eq(host.pinned, n - 1);
		evicted = host.evicted;
		step(HOST_EVICT, 0, 0);
		ck_assert_uint_eq(host.evicted, evicted + 1);
		ck_assert_uint_eq(host.number_of[keys[i]], POLICY_NONE);
		/* When the others are let go, they go. */
		turn_pins();
		while (host.count)
			step(HOST_EVICT, 0, 0);
		policy_host_deinit(&host);
	}
}
END_TEST

/* Half of all are, and came first, and nobody asks for them: as good as gone, if they could. */
START_TEST(what_is_pinned_for_good_is_not_refused_for_each_that_comes)
{
	begin(_i, CAPACITY);
	for (uint32_t key = 0; key < CAPACITY / 2; key++) {
		step(HOST_REQUEST, key, 1);
		step(HOST_PIN, key, 0);
	}
	for (uint32_t i = 0; i < 5000; i++)
		step(HOST_REQUEST, CAPACITY + i % 400, 1);
	ck_assert_uint_eq(host.pinned, CAPACITY / 2);
	ck_assert_uint_gt(host.evicted, 4000);
	ck_assert_uint_le(host.refused, 2 * host.evicted);
	policy_host_deinit(&host);
}
END_TEST

START_TEST(a_larger_object_makes_others_go_and_a_smaller_one_none)
{
	uint32_t evicted;

	begin(_i, CAPACITY);
	fill();
	step(HOST_REQUEST, 1, 1);
	evicted = host.evicted;
	step(HOST_REQUEST, 1, CAPACITY);
	ck_assert_uint_gt(host.evicted, evicted);
	ck_assert_uint_le(host.used, CAPACITY);
	fill();
	evicted = host.evicted;
	for (uint32_t key = 0; key < 60; key++)
		if (host.number_of[key] != POLICY_NONE)
			step(HOST_REQUEST, key, 1);
	ck_assert_uint_eq(host.evicted, evicted);
	policy_host_deinit(&host);
}
END_TEST

START_TEST(a_smaller_capacity_makes_some_go_and_a_larger_one_none)
{
	uint32_t evicted;

	begin(_i, CAPACITY);
	fill();
	step(HOST_RESIZE, 0, CAPACITY / 3);
	ck_assert_uint_le(host.used, CAPACITY / 3);
	ck_assert_uint_gt(host.count, 0);
	evicted = host.evicted;
	step(HOST_RESIZE, 0, 10 * CAPACITY);
	ck_assert_uint_eq(host.evicted, evicted);
	step(HOST_RESIZE, 0, 0);
	ck_assert_uint_eq(host.count, 0);
	step(HOST_RESIZE, 0, CAPACITY);
	fill();
	policy_host_deinit(&host);
}
END_TEST

/* The order in which all go. */
static uint32_t drain(uint32_t *order)
{
	uint32_t n = 0;

	while (host.count) {
		order[n] = host.objects[eviction_victim(&host.eviction)].key;
		step(HOST_EVICT, 0, 0);
		ck_assert_uint_eq(host.number_of[order[n++]], POLICY_NONE);
	}
	policy_host_deinit(&host);
	return n;
}

/* Larger or smaller: how a policy divides it goes by the one that is. */
START_TEST(of_another_capacity_all_is_as_if_it_had_been_so_at_once)
{
	static const uint64_t former[] = {CAPACITY / 10, 10 * CAPACITY};
	uint32_t order[NUMBERS], after[NUMBERS], n;

	begin(_i, CAPACITY);
	fill();
	n = drain(order);
	for (uint32_t c = 0; c < ARRAY_SIZE(former); c++) {
		begin(_i, former[c]);
		step(HOST_RESIZE, 0, CAPACITY);
		fill();
		ck_assert_uint_eq(drain(after), n);
		ck_assert_mem_eq(after, order, n * sizeof(*order));
	}
}
END_TEST

/* Of 10000 the window has 100 at least, and they go by when they were asked for last. */
START_TEST(a_larger_capacity_has_a_larger_window_at_once)
{
	begin(POLICY_WTINYLFU, CAPACITY);
	step(HOST_REQUEST, 0, 1);
	step(HOST_RESIZE, 0, 100 * CAPACITY);
	for (uint32_t key = 0; key < 50; key++)
		step(HOST_REQUEST, key, 1);
	for (uint32_t key = 0; key < 10; key++)
		step(HOST_REQUEST, key, 1);
	ck_assert_uint_eq(eviction_victim(&host.eviction), host.number_of[10]);
	policy_host_deinit(&host);
}
END_TEST

START_TEST(growing_changes_nothing_but_the_numbers)
{
	uint32_t order[NUMBERS], grown[NUMBERS], n, more;

	begin(_i, CAPACITY);
	fill();
	n = drain(order);
	begin(_i, CAPACITY);
	fill();
	step(HOST_GROW, 0, NUMBERS + 1);
	step(HOST_GROW, 0, 0); /* fewer is nothing */
	step(HOST_GROW, 0, HOST_NUMBERS);
	ck_assert_uint_eq(host.numbers, HOST_NUMBERS);
	more = drain(grown);
	ck_assert_uint_eq(n, more);
	/* What the sketch had counted is forgotten (sketch.h). */
	if (_i != POLICY_WTINYLFU)
		ck_assert_mem_eq(order, grown, n * sizeof(*order));
	/* And the new numbers are as good as the old. */
	begin(_i, 2 * HOST_NUMBERS);
	step(HOST_GROW, 0, HOST_NUMBERS);
	for (uint32_t key = 0; key < HOST_KEYS; key++)
		step(HOST_REQUEST, key, 1 + key % 3);
	ck_assert_uint_gt(host.count, 2 * NUMBERS);
	policy_host_deinit(&host);
}
END_TEST

START_TEST(made_for_no_objects_it_may_grow_later)
{
	ck_assert(policy_host_init(&host, (uint32_t)_i, CAPACITY, 0, false));
	for (uint32_t i = 0; i < 200; i++) {
		struct policy_object object = {.size = 1, .hash = host_hash(i)};

		eviction_admit(&host.eviction, &object);
	}
	ck_assert_uint_eq(eviction_victim(&host.eviction), POLICY_NONE);
	step(HOST_GROW, 0, 1);
	step(HOST_REQUEST, 1, 1);
	step(HOST_REQUEST, 2, 1);
	ck_assert_uint_eq(host.count, 1);
	step(HOST_GROW, 0, NUMBERS);
	fill();
	policy_host_deinit(&host);
}
END_TEST

START_TEST(without_memory_nothing_is_made_and_nothing_changes)
{
	const struct policy *policy = policy_at((uint32_t)_i);
	struct policy_config config = {.capacity = CAPACITY, .objects = NUMBERS};
	uint32_t failed = 0, order[NUMBERS], grown[NUMBERS], n;
	void *made = &config;

	for (;; failed++) {
		int r;

		counting = true;
		countdown = failed;
		r = policy->init(&made, &config);
		counting = false;
		if (countdown >= 0)
			break;
		countdown = -1;
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_ptr_eq(made, &config);
		ck_assert_uint_eq(allocated(), 0);
	}
	countdown = -1;
	ck_assert_uint_ge(failed, 2); /* itself, and what it knows of objects */
	policy->deinit(made);
	ck_assert_uint_eq(allocated(), 0);
	policy->deinit(NULL);

	begin(_i, CAPACITY);
	fill();
	n = drain(order);
	begin(_i, CAPACITY);
	fill();
	for (uint32_t i = 0;; i++) {
		int r;

		countdown = i;
		r = eviction_grow(&host.eviction, HOST_NUMBERS);
		if (countdown >= 0)
			break;
		countdown = -1;
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_uint_eq(host.eviction.config.objects, NUMBERS);
		ck_assert_ptr_null(policy_host_compare(&host));
		failed--; /* one less than init: it is there itself */
	}
	countdown = -1;
	ck_assert_uint_eq(failed, 1);
	ck_assert_uint_eq(drain(grown), n);
	if (_i != POLICY_WTINYLFU)
		ck_assert_mem_eq(order, grown, n * sizeof(*order));
}
END_TEST

START_TEST(the_largest_sizes_and_capacities_are_taken)
{
	uint64_t capacity = (uint64_t)1 << 40;
	uint32_t last = 0;

	begin(_i, capacity);
	step(HOST_GROW, 0, HOST_NUMBERS);
	host.checked_every = 16;
	for (uint32_t i = 0; i < 4 * HOST_KEYS; i++)
		step(HOST_REQUEST, (i * i) % HOST_KEYS, i % 5 ? POLICY_SIZE_MAX : 1 + i % 1000);
	ck_assert_uint_eq(host.unfit, 0);
	ck_assert_uint_eq(host.evicted, 0); /* numbers for all keys, and 4096 would fit */
	capacity = 100 * (uint64_t)POLICY_SIZE_MAX;
	host.capacity = capacity;
	eviction_resize(&host.eviction, capacity);
	for (uint32_t i = 0; i < 4 * HOST_KEYS; i++) {
		last = (i * 7) % HOST_KEYS;
		step(HOST_REQUEST, last, i % 5 ? POLICY_SIZE_MAX : 1 + i % 1000);
		ck_assert_uint_le(host.used, capacity);
	}
	ck_assert_uint_gt(host.evicted, HOST_KEYS);
	ck_assert_ptr_null(policy_host_compare(&host));
	policy_host_deinit(&host);
}
END_TEST

START_TEST(a_switch_without_memory_changes_nothing)
{
	uint32_t failed = 0;

	begin(POLICY_FIFO, CAPACITY);
	fill();
	for (;; failed++) {
		int r;

		countdown = failed;
		r = eviction_switch(&host.eviction, policy_at((uint32_t)_i));
		if (countdown >= 0)
			break;
		countdown = -1;
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_ptr_eq(host.eviction.policy, &policy_fifo);
		ck_assert_ptr_null(host.eviction.former);
		ck_assert_ptr_null(policy_host_compare(&host));
	}
	countdown = -1;
	ck_assert(failed >= 2 || _i == POLICY_FIFO);
	ck_assert_ptr_eq(host.eviction.policy, policy_at((uint32_t)_i));
	policy_host_deinit(&host);
}
END_TEST

static size_t bytes_for(const struct policy *policy, uint32_t objects)
{
	struct policy_config config = {.capacity = 1 << 20, .objects = objects};
	void *made;
	size_t sum;

	counting = true;
	ck_assert_int_eq(policy->init(&made, &config), 0);
	sum = allocated();
	counting = false;
	policy->deinit(made);
	ck_assert_uint_eq(allocated(), 0);
	return sum;
}

START_TEST(a_policy_takes_as_much_memory_as_it_says)
{
	enum { OBJECTS = 100000 };

	printf("%-10s %12s %12s %12s\n", "policy", "an object", "what is gone", "allocated");
	for (uint32_t i = 0; i < POLICIES; i++) {
		const struct policy *policy = policy_at(i);
		size_t number = policy == &policy_gdsf ? sizeof(uint32_t) : 0; /* its heap */
		double each =
			(double)(bytes_for(policy, OBJECTS) - bytes_for(policy, 0)) / OBJECTS;

		printf("%-10s %7zu%s %12zu %12.2f\n", policy->name, policy->state,
		       number ? " + 4" : "    ", policy->memory, each);
		ck_assert_uint_le(policy->state, 12);
		ck_assert_uint_le(policy->memory, 5);
		ck_assert_double_lt(each,
				    (double)(policy->state + policy->memory + number) + 0.01);
		ck_assert_double_gt(each,
				    (double)(policy->state + policy->memory + number) - 0.01);
	}
	fflush(stdout);
}
END_TEST

START_TEST(lfu_counts_as_far_as_it_has_places)
{
	enum { MORE = (1 << 20) + 5 };
	struct policy_config config = {.capacity = 4, .objects = 4};
	struct policy_object objects[4];
	uint32_t count;
	void *lfu;

	ck_assert_int_eq(policy_lfu.init(&lfu, &config), 0);
	for (uint32_t i = 0; i < 4; i++) {
		objects[i] = (struct policy_object){i, 1, i};
		policy_lfu.insert(lfu, &objects[i]);
	}
	/* 2 and 3 as often as is counted, 3 first; 1 once less, 0 once. */
	for (uint32_t i = 0; i < MORE; i++)
		policy_lfu.access(lfu, &objects[3]);
	for (uint32_t i = 0; i < MORE; i++)
		policy_lfu.access(lfu, &objects[2]);
	for (uint32_t i = 0; i < (1 << 20) - 3; i++)
		policy_lfu.access(lfu, &objects[1]);
	ck_assert_ptr_null(policy_lfu.check(lfu, &count));
	ck_assert_uint_eq(count, 4);
	for (uint32_t i = 0; i < 4; i++) {
		static const uint32_t order[] = {0, 1, 3, 2};

		ck_assert_uint_eq(policy_lfu.victim(lfu), order[i]);
		policy_lfu.remove(lfu, &objects[order[i]], true);
		ck_assert_ptr_null(policy_lfu.check(lfu, &count));
	}
	policy_lfu.deinit(lfu);
}
END_TEST

/* Requests of sizes from 1 to 256, each doubling as frequent, and some keys more than others. */
static double miss_ratio(uint32_t policy, uint64_t seed)
{
	enum { REQUESTS = 20000 };
	double ratio;

	ck_assert(policy_host_init(&host, policy, 1500, HOST_NUMBERS, false));
	host.checked_every = 500;
	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint64_t word = host_random(&seed);
		uint32_t key = (uint32_t)((word & 255) * (word >> 8 & 255) >> 7);

		step(HOST_REQUEST, key, (uint32_t)1 << (host_hash(key) >> 8) % 9);
	}
	ratio = (double)host.misses / REQUESTS;
	policy_host_deinit(&host);
	return ratio;
}

START_TEST(of_mixed_sizes_gdsf_misses_fewer_objects_than_lru)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		double gdsf = miss_ratio(POLICY_GDSF, seed), lru = miss_ratio(POLICY_LRU, seed);

		printf("mixed sizes: gdsf %.4f lru %.4f\n", gdsf, lru);
		ck_assert_double_lt(gdsf, 0.7 * lru);
	}
	fflush(stdout);
}
END_TEST

/* Half of the requests are for few keys again and again, half for many that do not come back soon. */
static uint32_t often(uint32_t i, uint64_t *seed)
{
	return i % 2 ? 50 + i / 2 % (HOST_KEYS - 50) : (uint32_t)(host_random(seed) % 50);
}

/* Each key a few times within a short time, and then not for long. */
static uint32_t soon(uint32_t i, uint64_t *seed)
{
	return (i / 4 + (uint32_t)(host_random(seed) % 32)) % HOST_KEYS;
}

/* As the requests change and change back; misses of the last third each time, of 10000. */
static void misses_of_phases(uint32_t policy, uint32_t ret[3])
{
	enum { REQUESTS = 30000 };
	uint64_t seed = 1;

	ck_assert(policy_host_init(&host, policy, 64, NUMBERS, false));
	host.checked_every = 500;
	for (uint32_t phase = 0; phase < 3; phase++) {
		uint32_t before = 0;

		for (uint32_t i = 0; i < REQUESTS; i++) {
			if (i == REQUESTS / 3 * 2)
				before = host.misses;
			step(HOST_REQUEST, phase == 1 ? soon(i, &seed) : often(i, &seed), 1);
		}
		ret[phase] = host.misses - before;
	}
	policy_host_deinit(&host);
}

/* A small window is best for those who come often, a large one for those who come soon. */
START_TEST(the_window_of_wtinylfu_follows_what_is_asked_for)
{
	uint32_t lru[3], wtinylfu[3];

	misses_of_phases(POLICY_LRU, lru);
	misses_of_phases(POLICY_WTINYLFU, wtinylfu);
	for (uint32_t phase = 0; phase < 3; phase++)
		printf("phase %u: lru %u, wtinylfu %u\n", phase, lru[phase], wtinylfu[phase]);
	fflush(stdout);
	ck_assert_uint_lt(wtinylfu[0] * 4, lru[0] * 3);
	ck_assert_uint_lt(wtinylfu[1] * 2, lru[1] * 3);
	ck_assert_uint_lt(wtinylfu[2] * 4, lru[2] * 3);
}
END_TEST

/* Four fifths of the main part at most are protected; the others are as those that leave the window. */
START_TEST(who_is_protected_no_more_goes_before_who_came_later)
{
	begin(POLICY_WTINYLFU, CAPACITY);
	for (uint32_t key = 0; key < 100; key++)
		step(HOST_REQUEST, key, 1);
	for (uint32_t key = 0; key < 90; key++)
		step(HOST_REQUEST, key, 1);
	for (uint32_t key = 50; key < 60; key++)
		step(HOST_REMOVE, key, 0);
	for (uint32_t key = 100; key < 110; key++) /* 99 leaves the window */
		step(HOST_REQUEST, key, 1);
	while (host.number_of[0] != POLICY_NONE)
		step(HOST_EVICT, 0, 0);
	ck_assert_uint_ne(host.number_of[99], POLICY_NONE);
	policy_host_deinit(&host);
}
END_TEST

START_TEST(gdsf_counts_as_far_as_it_has_bits)
{
	struct policy_config config = {.capacity = 2, .objects = 2};
	struct policy_object objects[] = {{0, 1, 0}, {1, 1, 1}};
	uint32_t count;
	void *gdsf;

	ck_assert_int_eq(policy_gdsf.init(&gdsf, &config), 0);
	for (uint32_t i = 0; i < 2; i++)
		policy_gdsf.insert(gdsf, &objects[i]);
	for (uint32_t i = 0; i < 4000; i++)
		policy_gdsf.access(gdsf, &objects[1]);
	for (uint32_t i = 0; i < 10000; i++) {
		policy_gdsf.access(gdsf, &objects[0]);
		ck_assert(i < 4000 || policy_gdsf.victim(gdsf) == 1);
	}
	ck_assert_ptr_null(policy_gdsf.check(gdsf, &count));
	policy_gdsf.deinit(gdsf);
}
END_TEST

START_TEST(gdsf_goes_on_when_its_sums_have_wrapped)
{
	enum { ROUNDS = 20 }; /* of 2^40 each; it begins 2^36 before it wraps */
	struct policy_config config = {.capacity = 8, .objects = 8};
	void *gdsf;

	ck_assert_int_eq(policy_gdsf.init(&gdsf, &config), 0);
	for (uint32_t i = 0; i < 4; i++)
		policy_gdsf.insert(gdsf, &(struct policy_object){i, 1 + i % 2, i});
	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint32_t count, number = i % 4;
		struct policy_object object = {number, 1, 0};

		/* Worth as much as can be, it goes nevertheless: the floor is then as high. */
		for (uint32_t j = 0; j < 4094; j++)
			policy_gdsf.access(gdsf, &object);
		for (uint32_t other = 0; other < 4; other++)
			if (other != number)
				policy_gdsf.remove(gdsf, &(struct policy_object){other, 1, 0},
						   false);
		ck_assert_uint_eq(policy_gdsf.victim(gdsf), number);
		policy_gdsf.remove(gdsf, &object, true);
		for (uint32_t other = 0; other < 4; other++)
			policy_gdsf.insert(gdsf, &(struct policy_object){other, 1 + other, 0});
		/* The largest is worth least. */
		ck_assert_uint_eq(policy_gdsf.victim(gdsf), 3);
		ck_assert_ptr_null(policy_gdsf.check(gdsf, &count));
		ck_assert_uint_eq(count, 4);
	}
	policy_gdsf.deinit(gdsf);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy");
	TCase *tcase = tcase_create("policy");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, every_policy_is_found_by_name_and_number);
	tcase_add_loop_test(tcase, a_policy_agrees_with_a_list_of_what_there_is, 0, POLICIES);
	tcase_add_loop_test(tcase, what_cannot_fit_empties_nothing, 0, POLICIES);
	tcase_add_loop_test(tcase, a_cache_of_one_unit_holds_the_last_that_came, 0, POLICIES);
	tcase_add_loop_test(tcase, removed_in_any_order_nothing_is_left_and_all_begins_anew, 0,
			    POLICIES);
	tcase_add_loop_test(tcase, while_all_are_pinned_each_is_offered, 0, POLICIES);
	tcase_add_loop_test(tcase, one_that_is_not_pinned_is_offered_however_many_are, 0,
			    POLICIES);
	tcase_add_loop_test(tcase, what_is_pinned_for_good_is_not_refused_for_each_that_comes,
			    0, POLICIES);
	tcase_add_loop_test(tcase, a_larger_object_makes_others_go_and_a_smaller_one_none, 0,
			    POLICIES);
	tcase_add_loop_test(tcase, a_smaller_capacity_makes_some_go_and_a_larger_one_none, 0,
			    POLICIES);
	tcase_add_loop_test(tcase, of_another_capacity_all_is_as_if_it_had_been_so_at_once, 0,
			    POLICIES);
	tcase_add_test(tcase, a_larger_capacity_has_a_larger_window_at_once);
	tcase_add_loop_test(tcase, growing_changes_nothing_but_the_numbers, 0, POLICIES);
	tcase_add_loop_test(tcase, made_for_no_objects_it_may_grow_later, 0, POLICIES);
	tcase_add_loop_test(tcase, without_memory_nothing_is_made_and_nothing_changes, 0,
			    POLICIES);
	tcase_add_loop_test(tcase, a_switch_without_memory_changes_nothing, 0, POLICIES);
	tcase_add_loop_test(tcase, the_largest_sizes_and_capacities_are_taken, 0, POLICIES);
	tcase_add_test(tcase, a_policy_takes_as_much_memory_as_it_says);
	tcase_add_test(tcase, lfu_counts_as_far_as_it_has_places);
	tcase_add_test(tcase, of_mixed_sizes_gdsf_misses_fewer_objects_than_lru);
	tcase_add_test(tcase, the_window_of_wtinylfu_follows_what_is_asked_for);
	tcase_add_test(tcase, who_is_protected_no_more_goes_before_who_came_later);
	tcase_add_test(tcase, gdsf_counts_as_far_as_it_has_bits);
	tcase_add_test(tcase, gdsf_goes_on_when_its_sums_have_wrapped);
	return suite_run(suite);
}
