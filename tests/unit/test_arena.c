/*
 * Arenas, on memory without a daemon.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <varbos/arena.h>

#include "client/arena.h"
#include "client/debug.h"
#include "tests/suite.h"
#include "tests/unit/fake_source.h"

#define KIB ((uint64_t)1 << 10)

static struct fake_source fake;

static struct varbos_arena *arena_with(const struct varbos_arena_options *options)
{
	struct source source = fake_in(&fake);
	struct arena *arena;

	ck_assert_int_eq(arena_new(&arena, &source, options), 0);
	return &arena->front;
}

static void set_up(void)
{
	fake = (struct fake_source){.mutex = PTHREAD_MUTEX_INITIALIZER};
}

static void tear_down(void)
{
	fake_expect_empty(&fake);
}

static struct varbos_arena_stats stats_of(struct varbos_arena *arena)
{
	struct varbos_arena_stats stats;

	ck_assert_int_eq(varbos_arena_stats(arena, &stats), 0);
	return stats;
}

static char *must(void *memory)
{
	ck_assert_msg(memory != NULL, "%s", varbos_error()->message);
	return memory;
}

static void expect_error(enum varbos_code code, const char *which)
{
	ck_assert_msg(varbos_error()->code == code, "%s", varbos_error()->message);
	ck_assert_str_eq(varbos_error()->which, which);
}

/* An assertion that costs nothing where it holds: libcheck's write to a pipe each time. */
static void be(bool what)
{
	if (!what)
		ck_abort();
}

/* ---- allocating ---- */

START_TEST(what_is_allocated_lies_one_behind_the_other)
{
	struct varbos_arena *arena = arena_with(&(struct varbos_arena_options){});
	char *first = must(varbos_arena_alloc(arena, 1));

	ck_assert_ptr_eq(must(varbos_arena_alloc(arena, 16)), first + 16);
	ck_assert_ptr_eq(must(varbos_arena_alloc(arena, 17)), first + 32);
	ck_assert_ptr_eq(must(varbos_arena_alloc(arena, 0)), first + 64);
	ck_assert_ptr_eq(must(varbos_arena_alloc(arena, 1)), first + 80);
	ck_assert_uint_eq(stats_of(arena).used, 96);
	ck_assert_uint_eq(stats_of(arena).held, 64 * KIB);
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(an_alignment_is_kept_in_chunks_and_beyond_them)
{
	for (uint32_t flags = 0; flags <= VARBOS_ARENA_SHARED; flags++) {
		struct varbos_arena *arena = arena_with(
			&(struct varbos_arena_options){.initial = 4096, .flags = flags});

		for (size_t align = 1; align <= 64 * KIB; align *= 2)
			for (size_t size = 1; size < 3000; size = 3 * size + 5) {
				char *memory =
					must(varbos_arena_alloc_aligned(arena, align, size));

				ck_assert_uint_eq((uintptr_t)memory % align, 0);
				ck_assert_uint_eq((uintptr_t)memory % VARBOS_ARENA_ALIGN, 0);
				memset(memory, 'x', size);
			}
		varbos_arena_destroy(arena);
	}
}
END_TEST

START_TEST(an_alignment_that_is_none_is_refused)
{
	static const size_t bad[] = {0, 3, 24, (size_t)1 << 31, (size_t)1 << 63};
	struct varbos_arena *arena = arena_with(&(struct varbos_arena_options){});

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_ptr_null(varbos_arena_alloc_aligned(arena, bad[i], 1));
		expect_error(VARBOS_E_INVALID, "align");
	}
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(a_size_beyond_all_spaces_is_refused)
{
	static const size_t bad[] = {SIZE_MAX, SIZE_MAX - 14, SIZE_MAX - 15, SIZE_MAX - 16,
				     (size_t)1 << 45};
	struct varbos_arena *arena = arena_with(&(struct varbos_arena_options){});

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_ptr_null(varbos_arena_alloc(arena, bad[i]));
		expect_error(VARBOS_E_TOO_LARGE, "");
		ck_assert_ptr_null(varbos_arena_alloc_aligned(arena, 4096, bad[i]));
		expect_error(VARBOS_E_TOO_LARGE, "");
	}
	ck_assert_uint_eq(stats_of(arena).used, 0);
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(a_null_is_refused_by_name)
{
	struct varbos_arena *arena = arena_with(&(struct varbos_arena_options){});

	ck_assert_ptr_null(varbos_arena_alloc(NULL, 1));
	expect_error(VARBOS_E_INVALID, "arena");
	ck_assert_ptr_null(varbos_arena_alloc_aligned(NULL, 16, 1));
	expect_error(VARBOS_E_INVALID, "arena");
	ck_assert_int_eq(varbos_arena_reset(NULL), VARBOS_E_INVALID);
	ck_assert_int_eq(varbos_arena_rewind(NULL, varbos_arena_mark(NULL)), VARBOS_E_INVALID);
	ck_assert_uint_eq(varbos_arena_trim(NULL), 0);
	ck_assert_int_eq(varbos_arena_stats(NULL, NULL), VARBOS_E_INVALID);
	ck_assert_int_eq(varbos_arena_stats(arena, NULL), VARBOS_E_INVALID);
	expect_error(VARBOS_E_INVALID, "ret");
	ck_assert_int_eq(varbos_arena_create(NULL, varbos_in_space(NULL), NULL),
			 VARBOS_E_INVALID);
	expect_error(VARBOS_E_INVALID, "ret");
	ck_assert_int_eq(varbos_arena_create(&arena, varbos_in_space(NULL), NULL),
			 VARBOS_E_INVALID);
	expect_error(VARBOS_E_INVALID, "source");
	varbos_arena_destroy(NULL);
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(options_that_make_no_sense_are_refused_by_name)
{
	static const struct {
		struct varbos_arena_options options;
		const char *which;
	} bad[] = {
		{{.initial = (uint64_t)1 << 45}, "initial"},
		{{.step = UINT64_MAX}, "step"},
		{{.largest = UINT64_MAX}, "largest"},
		{{.maximum = UINT64_MAX}, "maximum"},
		{{.growth = 99}, "growth"},
		{{.growth = 100001}, "growth"},
		{{.flags = 2}, "flags"},
	};
	struct source source = fake_in(&fake);
	struct arena *arena;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(arena_new(&arena, &source, &bad[i].options), VARBOS_E_INVALID);
		expect_error(VARBOS_E_INVALID, bad[i].which);
	}
	ck_assert_int_eq(varbos_arena_create(&(struct varbos_arena *){NULL},
					     (struct varbos_source){7, &fake}, NULL),
			 VARBOS_E_INVALID);
	expect_error(VARBOS_E_INVALID, "source");
}
END_TEST

/* ---- chunks ---- */

static void expect_chunks(const struct varbos_arena_options *options, const uint64_t *sizes,
			  size_t n)
{
	struct varbos_arena *arena = arena_with(options);
	uint64_t held = 0;

	for (size_t i = 0; i < n; i++) {
		while (stats_of(arena).chunks <= i)
			must(varbos_arena_alloc(arena, 16));
		ck_assert_uint_eq(stats_of(arena).held - held, sizes[i]);
		held = stats_of(arena).held;
	}
	varbos_arena_destroy(arena);
}

START_TEST(chunks_grow_as_was_asked)
{
	expect_chunks(&(struct varbos_arena_options){.initial = 1024},
		      (uint64_t[]){1024, 2048, 4096, 8192}, 4);
	expect_chunks(&(struct varbos_arena_options){.initial = 1024, .growth = 150},
		      (uint64_t[]){1024, 1536, 2304, 3456}, 4);
	expect_chunks(&(struct varbos_arena_options){.initial = 1024, .step = 512},
		      (uint64_t[]){1024, 1536, 2048}, 3);
	expect_chunks(
		&(struct varbos_arena_options){.initial = 1024, .step = 512, .growth = 200},
		(uint64_t[]){1024, 2560, 5632}, 3);
	expect_chunks(&(struct varbos_arena_options){.initial = 1024, .largest = 3000},
		      (uint64_t[]){1024, 2048, 3008, 3008}, 4);
	expect_chunks(&(struct varbos_arena_options){.initial = 1024, .growth = 100},
		      (uint64_t[]){1024, 1024, 1024}, 3);
}
END_TEST

START_TEST(what_is_larger_than_the_next_chunk_gets_one_of_its_own)
{
	struct varbos_arena *arena =
		arena_with(&(struct varbos_arena_options){.initial = 4096, .largest = 8192});
	char *before = must(varbos_arena_alloc(arena, 16));
	char *large = must(varbos_arena_alloc(arena, 100 * KIB));

	memset(large, 'x', 100 * KIB);
	ck_assert_uint_eq(stats_of(arena).overflow, 1);
	ck_assert_uint_eq(stats_of(arena).chunks, 1);
	/* The chunk in use stays in use. */
	ck_assert_ptr_eq(must(varbos_arena_alloc(arena, 16)), before + 16);
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(beyond_the_maximum_an_arena_is_exhausted_and_says_by_how_much)
{
	struct varbos_arena *arena =
		arena_with(&(struct varbos_arena_options){.initial = 4096, .maximum = 10000});
	uint64_t n = 0;

	while (varbos_arena_alloc(arena, 16))
		n++;
	ck_assert_uint_eq(n, 10000 / 16);
	expect_error(VARBOS_E_EXHAUSTED, "arena");
	ck_assert_uint_eq(varbos_error()->requested, 16);
	ck_assert_uint_eq(varbos_error()->max, 10000);
	ck_assert_uint_eq(varbos_error()->remaining, 0);
	ck_assert_int_eq(strncmp(varbos_error()->message, "varbos_arena_alloc: ", 20), 0);
	/* A reset makes all of it good again. */
	ck_assert_int_eq(varbos_arena_reset(arena), 0);
	while (varbos_arena_alloc(arena, 16))
		n--;
	ck_assert_uint_eq(n, 0);
	varbos_arena_destroy(arena);

	struct source source = fake_in(&fake);
	struct arena *other;

	ck_assert_int_eq(
		arena_new(&other, &source,
			  &(struct varbos_arena_options){.initial = 8192, .maximum = 4096}),
		VARBOS_E_EXHAUSTED);
}
END_TEST

START_TEST(chunks_that_are_kept_make_room_for_what_they_cannot_hold)
{
	struct varbos_arena *arena = arena_with(&(struct varbos_arena_options){
		.initial = 4096, .largest = 4096, .maximum = 40 * KIB});

	for (int i = 0; i < 10; i++)
		must(varbos_arena_alloc(arena, 4096));
	ck_assert_ptr_null(varbos_arena_alloc(arena, 1));
	ck_assert_int_eq(varbos_arena_reset(arena), 0);
	must(varbos_arena_alloc(arena, 30 * KIB));
	ck_assert_uint_eq(stats_of(arena).chunks, 1);
	ck_assert_int_eq(varbos_arena_reset(arena), 0);
	/* And so do overflow chunks. */
	for (int i = 0; i < 10; i++)
		must(varbos_arena_alloc(arena, 4096));
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(a_source_that_runs_dry_is_asked_for_less_then_named)
{
	struct varbos_arena *arena;

	fake.limit = 20 * KIB;
	arena = arena_with(&(struct varbos_arena_options){.initial = 16 * KIB});
	must(varbos_arena_alloc(arena, 16 * KIB));
	must(varbos_arena_alloc(arena, 3 * KIB));
	ck_assert_uint_eq(fake.held, 19 * KIB);
	ck_assert_ptr_null(varbos_arena_alloc(arena, 2 * KIB));
	expect_error(VARBOS_E_BUDGET, "fake");
	must(varbos_arena_alloc(arena, KIB));
	varbos_arena_destroy(arena);
}
END_TEST

/* ---- going back ---- */

START_TEST(after_a_reset_the_same_memory_is_given_out_again)
{
	struct varbos_arena *arena =
		arena_with(&(struct varbos_arena_options){.initial = 1024});
	char *places[1000];
	uint64_t taken = 0;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 1000; i++) {
			char *memory = must(varbos_arena_alloc(arena, 40));

			memset(memory, i, 40);
			ck_assert(!round || places[i] == memory);
			places[i] = memory;
		}
		ck_assert(!round || fake.taken == taken);
		taken = fake.taken;
		ck_assert_int_eq(varbos_arena_reset(arena), 0);
		ck_assert_uint_eq(stats_of(arena).used, 0);
	}
	ck_assert_uint_eq(stats_of(arena).resets, 3);
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(a_reset_gives_nothing_back_and_later_calls_a_few_overflow_chunks_each)
{
	struct varbos_arena *arena =
		arena_with(&(struct varbos_arena_options){.initial = 1024, .largest = 1024});
	uint64_t given;

	for (int i = 0; i < 1000; i++)
		must(varbos_arena_alloc(arena, 5000));
	ck_assert_int_eq(varbos_arena_reset(arena), 0);
	ck_assert_uint_eq(fake.given, 0);
	ck_assert_uint_eq(stats_of(arena).kept, 1000);
	ck_assert_uint_eq(stats_of(arena).overflow, 0);
	for (int i = 0; i < 300; i++) {
		given = fake.given;
		must(varbos_arena_alloc(arena, 1024));
		ck_assert_uint_le(fake.given - given, KEPT_BATCH);
	}
	ck_assert_uint_eq(stats_of(arena).kept, 0);
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(an_overflow_chunk_that_is_kept_is_used_again)
{
	struct varbos_arena *arena =
		arena_with(&(struct varbos_arena_options){.initial = 1024, .largest = 1024});

	for (int round = 0; round < 10; round++) {
		must(varbos_arena_alloc(arena, 5000));
		must(varbos_arena_alloc(arena, 5000));
		ck_assert_int_eq(varbos_arena_reset(arena), 0);
	}
	ck_assert_uint_eq(fake.taken, 3);
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(trimming_leaves_what_is_in_use)
{
	struct varbos_arena *arena =
		arena_with(&(struct varbos_arena_options){.initial = 1024, .largest = 1024});
	struct varbos_mark mark;
	char *kept;

	kept = must(varbos_arena_alloc(arena, 100));
	memset(kept, 'k', 100);
	mark = varbos_arena_mark(arena);
	for (int i = 0; i < 20; i++)
		must(varbos_arena_alloc(arena, 1000));
	must(varbos_arena_alloc(arena, 3000));
	ck_assert_uint_eq(varbos_arena_trim(arena), 0);
	ck_assert_int_eq(varbos_arena_rewind(arena, mark), 0);
	ck_assert_uint_ge(varbos_arena_trim(arena), 20 * 1024 + 3000);
	ck_assert_uint_eq(fake.held, 1024);
	ck_assert_int_eq(kept[99], 'k');
	must(varbos_arena_alloc(arena, 1000));
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(marks_nest_and_can_be_gone_back_to_again)
{
	struct varbos_arena *arena =
		arena_with(&(struct varbos_arena_options){.initial = 1024});
	char *outer_end, *inner_end;
	struct varbos_mark outer, inner;

	must(varbos_arena_alloc(arena, 100));
	outer = varbos_arena_mark(arena);
	outer_end = must(varbos_arena_alloc(arena, 16));
	must(varbos_arena_alloc(arena, 900));
	inner = varbos_arena_mark(arena);
	inner_end = must(varbos_arena_alloc(arena, 16));
	for (int i = 0; i < 100; i++)
		must(varbos_arena_alloc(arena, 100));

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(varbos_arena_rewind(arena, inner), 0);
		ck_assert_ptr_eq(must(varbos_arena_alloc(arena, 16)), inner_end);
	}
	ck_assert_int_eq(varbos_arena_rewind(arena, outer), 0);
	ck_assert_int_eq(varbos_arena_rewind(arena, inner), VARBOS_E_INVALID);
	expect_error(VARBOS_E_INVALID, "mark");
	ck_assert_ptr_eq(must(varbos_arena_alloc(arena, 16)), outer_end);
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(a_mark_of_another_arena_or_from_before_a_reset_is_refused)
{
	struct varbos_arena *one = arena_with(&(struct varbos_arena_options){}),
			    *two = arena_with(&(struct varbos_arena_options){});
	struct varbos_mark mark;

	must(varbos_arena_alloc(two, 4096));
	ck_assert_int_eq(varbos_arena_rewind(two, varbos_arena_mark(one)), VARBOS_E_INVALID);
	expect_error(VARBOS_E_INVALID, "mark");
	mark = varbos_arena_mark(two);
	ck_assert_int_eq(varbos_arena_reset(two), 0);
	must(varbos_arena_alloc(two, 8192));
	ck_assert_int_eq(varbos_arena_rewind(two, mark), VARBOS_E_INVALID);
	ck_assert_int_eq(varbos_arena_rewind(one, (struct varbos_mark){}), VARBOS_E_INVALID);
	varbos_arena_destroy(one);
	varbos_arena_destroy(two);
}
END_TEST

START_TEST(what_is_given_up_is_overwritten_for_those_who_debug)
{
	struct varbos_arena *arena =
		arena_with(&(struct varbos_arena_options){.initial = 1024, .largest = 1024});
	struct varbos_mark mark;
	char *before, *small, *large;

	arena_of(arena)->poisons = true;
	before = memset(must(varbos_arena_alloc(arena, 100)), 'b', 100);
	mark = varbos_arena_mark(arena);
	small = memset(must(varbos_arena_alloc(arena, 100)), 's', 100);
	must(varbos_arena_alloc(arena, 1000));
	large = memset(must(varbos_arena_alloc(arena, 5000)), 'l', 5000);
	ck_assert_int_eq(varbos_arena_rewind(arena, mark), 0);
	ck_assert_int_eq(before[99], 'b');
	ck_assert_uint_eq((unsigned char)small[99], DEBUG_FREED);
	ck_assert_uint_eq((unsigned char)large[4999], DEBUG_FREED);
	ck_assert_int_eq(varbos_arena_reset(arena), 0);
	ck_assert_uint_eq((unsigned char)before[99], DEBUG_FREED);
	varbos_arena_destroy(arena);
}
END_TEST

/* ---- at random, against a list of what must still be there ---- */

enum { LIVE_MAX = 4000, MARKS_MAX = 8, STEPS = 60000 };

struct live {
	char *memory;
	size_t size;
	char fill;
};

static bool overlaps(const struct live *live, size_t n, const char *memory, size_t size)
{
	for (size_t i = 0; i < n; i++)
		if (memory < live[i].memory + live[i].size && live[i].memory < memory + size)
			return true;
	return false;
}

static void expect_filled(const struct live *live, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < live[i].size; j += 61)
			be(live[i].memory[j] == live[i].fill);
}

static size_t random_size(void)
{
	switch (rand() % 20) {
	case 0:
		return (size_t)rand() % 20000;
	case 1:
	case 2:
		return (size_t)rand() % 3000;
	default:
		return (size_t)rand() % 200;
	}
}

static void play(uint32_t flags)
{
	static struct live live[LIVE_MAX];
	struct {
		struct varbos_mark mark;
		size_t live;
	} marks[MARKS_MAX];
	struct varbos_arena *arena = arena_with(&(struct varbos_arena_options){
		.initial = 2000, .largest = 16 * KIB, .maximum = 512 * KIB, .flags = flags});
	size_t n = 0, m = 0;

	for (int step = 0; step < STEPS; step++) {
		int dice = rand() % 1000;

		if (dice < 970 && n < LIVE_MAX) {
			size_t size = random_size(), align = (size_t)1 << rand() % 9;
			char *memory = dice < 900
					       ? varbos_arena_alloc(arena, size)
					       : varbos_arena_alloc_aligned(arena, align, size);

			if (!memory) {
				expect_error(VARBOS_E_EXHAUSTED, "arena");
				ck_assert_int_eq(varbos_arena_reset(arena), 0);
				n = m = 0;
				continue;
			}
			be(dice < 900 || !((uintptr_t)memory % align));
			be(step % 16 || !overlaps(live, n, memory, size));
			live[n] = (struct live){memory, size, (char)step};
			memset(memory, live[n++].fill, size);
		} else if (dice < 985 && m < MARKS_MAX) {
			marks[m].mark = varbos_arena_mark(arena);
			marks[m++].live = n;
		} else if (dice < 997 && m) {
			expect_filled(live, n);
			m = (size_t)rand() % m;
			ck_assert_int_eq(varbos_arena_rewind(arena, marks[m].mark), 0);
			n = marks[m++].live;
		} else if (dice == 998) {
			varbos_arena_trim(arena);
		} else {
			expect_filled(live, n);
			ck_assert_int_eq(varbos_arena_reset(arena), 0);
			n = m = 0;
		}
		be(stats_of(arena).used <= stats_of(arena).held);
		be(stats_of(arena).held == fake.held);
		be(fake.held <= 512 * KIB);
	}
	varbos_arena_destroy(arena);
}

START_TEST(whatever_is_done_what_was_not_given_up_stays_whole)
{
	const char *given = getenv("VARBOS_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

	printf("VARBOS_SEED=%u\n", seed);
	srand(seed);
	play(0);
	play(VARBOS_ARENA_SHARED);
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, PER_THREAD = 20000 };

struct pieces {
	struct varbos_arena *arena;
	unsigned seed;
	char fill;
	struct live live[PER_THREAD];
};

static void *allocate_many(void *data)
{
	struct pieces *pieces = data;
	unsigned state = pieces->seed;

	for (int i = 0; i < PER_THREAD; i++) {
		/* Now and then one for which a chunk is too small, or its rest. */
		size_t size = (size_t)rand_r(&state) % (i % 500 ? 64 : 3000);
		char *memory = varbos_arena_alloc(pieces->arena, size);

		be(memory);
		memset(memory, pieces->fill, size);
		pieces->live[i] = (struct live){memory, size, pieces->fill};
	}
	return NULL;
}

static int by_address(const void *a, const void *b)
{
	const struct live *x = a, *y = b;

	return x->memory < y->memory ? -1 : x->memory > y->memory;
}

START_TEST(threads_that_allocate_at_once_get_memory_of_their_own)
{
	static struct pieces pieces[THREADS];
	static struct live all[THREADS * PER_THREAD];
	struct varbos_arena *arena = arena_with(&(struct varbos_arena_options){
		.initial = 1024, .largest = 2048, .flags = VARBOS_ARENA_SHARED});
	pthread_t threads[THREADS];
	size_t n = 0;

	for (int i = 0; i < THREADS; i++) {
		pieces[i] = (struct pieces){
			.arena = arena, .seed = (unsigned)i, .fill = (char)('a' + i)};
		ck_assert(!pthread_create(&threads[i], NULL, allocate_many, &pieces[i]));
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < THREADS; i++)
		for (int j = 0; j < PER_THREAD; j++)
			if (pieces[i].live[j].size)
				all[n++] = pieces[i].live[j];
	qsort(all, n, sizeof(all[0]), by_address);
	for (size_t i = 0; i < n; i++) {
		be(!i || all[i - 1].memory + all[i - 1].size <= all[i].memory);
		for (size_t j = 0; j < all[i].size; j++)
			be(all[i].memory[j] == all[i].fill);
	}
	varbos_arena_destroy(arena);
}
END_TEST

START_TEST(what_a_thread_could_not_use_of_a_chunk_others_still_can)
{
	struct varbos_arena *arena = arena_with(&(struct varbos_arena_options){
		.initial = 1024, .largest = 1024, .flags = VARBOS_ARENA_SHARED});
	char *first = must(varbos_arena_alloc(arena, 1000));

	/* Too large for the rest, and for the next chunk. */
	must(varbos_arena_alloc(arena, 2000));
	ck_assert_ptr_eq(must(varbos_arena_alloc(arena, 16)), first + 1008);
	ck_assert_uint_eq(stats_of(arena).chunks, 1);
	varbos_arena_destroy(arena);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("arena");
	TCase *t = tcase_create("arena");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_is_allocated_lies_one_behind_the_other);
	tcase_add_test(t, an_alignment_is_kept_in_chunks_and_beyond_them);
	tcase_add_test(t, an_alignment_that_is_none_is_refused);
	tcase_add_test(t, a_size_beyond_all_spaces_is_refused);
	tcase_add_test(t, a_null_is_refused_by_name);
	tcase_add_test(t, options_that_make_no_sense_are_refused_by_name);
	tcase_add_test(t, chunks_grow_as_was_asked);
	tcase_add_test(t, what_is_larger_than_the_next_chunk_gets_one_of_its_own);
	tcase_add_test(t, beyond_the_maximum_an_arena_is_exhausted_and_says_by_how_much);
	tcase_add_test(t, chunks_that_are_kept_make_room_for_what_they_cannot_hold);
	tcase_add_test(t, a_source_that_runs_dry_is_asked_for_less_then_named);
	tcase_add_test(t, after_a_reset_the_same_memory_is_given_out_again);
	tcase_add_test(t,
		       a_reset_gives_nothing_back_and_later_calls_a_few_overflow_chunks_each);
	tcase_add_test(t, an_overflow_chunk_that_is_kept_is_used_again);
	tcase_add_test(t, trimming_leaves_what_is_in_use);
	tcase_add_test(t, marks_nest_and_can_be_gone_back_to_again);
	tcase_add_test(t, a_mark_of_another_arena_or_from_before_a_reset_is_refused);
	tcase_add_test(t, what_is_given_up_is_overwritten_for_those_who_debug);
	tcase_add_test(t, whatever_is_done_what_was_not_given_up_stays_whole);
	tcase_add_test(t, threads_that_allocate_at_once_get_memory_of_their_own);
	tcase_add_test(t, what_a_thread_could_not_use_of_a_chunk_others_still_can);
	suite_add_tcase(s, t);
	return suite_run(s);
}
