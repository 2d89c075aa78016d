/*
 * The index among threads on one mapping: a writer who lets keys come, go, be replaced, and the
 * index move on; readers who look for what is always there, what never is, and what comes and goes.
 * Memory is spoiled as soon as no reader has it pinned.
 *
 * test_index_steps tries all orders; this is what processors, compilers and a thread sanitizer
 * make of them. One reader has the full fence, the other the cheap one, where the kernel lets it.
 * Between any two of their accesses they give way to others now and then.
 */
#include "tests/suite.h"

#include <inttypes.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void give_way(void);

#define index_store(word, value) \
	(give_way(), atomic_store_explicit(word, value, memory_order_release))
#define index_load(word) (give_way(), atomic_load_explicit(word, memory_order_acquire))
#define index_pin(hazard, value) \
	(give_way(), atomic_store_explicit(hazard, value, memory_order_release))
#define index_fence() atomic_thread_fence(memory_order_seq_cst)
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
#include <emmintrin.h>
#define INDEX_VECTORS
#endif

#include "proto/index_read.h"
#include "tests/sanitized.h"
#include "tests/unit/index_parts.h"

enum {
	ALWAYS = 96,
	GOING = 192, /* those from ALWAYS to here come and go */
	KEYS = 256,  /* those from GOING to here never come */
	PLACES = 1024,
	READERS = 2,
	FILES = 2048,
	LIMBO = 64, /* so many places wait before pins are looked at */
	STEPS = UNDER_TSAN ? 20000 : 200000,
	SPACE = 9,
};

#define SPOILED UINT64_MAX

struct object {
	uint64_t key, value;
};

static struct object objects[PLACES];
static uint64_t hashes[KEYS];

struct reader {
	_Alignas(64) _Atomic uint64_t hazard;
	bool fence;
	uint64_t seed;
	uint64_t hits, misses, moved;
	_Atomic bool looked; /* it has found one, and missed one; or has ended */
	const char *wrong;
};

static struct reader readers[READERS];
static struct index_view views[FILES]; /* by generation - 1 */
static _Atomic uint64_t newest;
static _Atomic bool stop;

static struct index the_index;
static uint32_t placed[GOING]; /* UINT32_MAX: it is not there */
static uint32_t free_places[PLACES], n_free, limbo[PLACES], n_limbo;
static bool with_membarrier;

static uint32_t rnd(uint64_t *state, uint32_t below)
{
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)((*state >> 32) * below >> 32);
}

static void give_way(void)
{
	static _Thread_local uint64_t state;

	if (!rnd(&state, 256))
		sched_yield();
}

static uint64_t value_of(uint64_t key, uint32_t place)
{
	return (key + 1) * 0x9e3779b97f4a7c15 ^ place;
}

static int membarrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

/* ---- the writer ---- */

static struct index_table table_new(uint64_t generation, uint64_t buckets, uint64_t seed)
{
	struct index_layout layout = {buckets, buckets / 2};
	uint64_t size = index_file_size(layout.buckets, layout.overflow);
	void *file = calloc(1, size);
	uint32_t *numbers = malloc(index_positions(layout) * sizeof(*numbers));

	ck_assert(file && numbers && generation < FILES);
	index_format(file, &(struct index_config){.layout = layout,
						  .generation = generation,
						  .seed = seed,
						  .epoch = 1});
	ck_assert(index_view_open(&views[generation - 1], file, size));
	return index_table(file, numbers);
}

static void scan(void)
{
	uint32_t kept = 0;

	if (with_membarrier)
		ck_assert_int_eq(membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED), 0);
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < n_limbo; ++i) {
		uint32_t place = limbo[i];
		uint64_t word = (uint64_t)SPACE << 44 | (uint64_t)place << 4;
		bool pinned = false;

		for (uint32_t j = 0; j < READERS; ++j)
			pinned |= atomic_load_explicit(&readers[j].hazard,
						       memory_order_acquire) == word;
		if (pinned) {
			limbo[kept++] = place;
			continue;
		}
		objects[place] = (struct object){SPOILED, SPOILED};
		free_places[n_free++] = place;
	}
	n_limbo = kept;
}

static uint32_t place_new(uint32_t key)
{
	uint32_t place;

	while (!n_free) {
		scan();
		sched_yield();
	}
	place = free_places[--n_free];
	objects[place] = (struct object){key, value_of(key, place)};
	return place;
}

static void place_free(uint32_t place)
{
	limbo[n_limbo++] = place;
	if (n_limbo >= LIMBO)
		scan();
}

static void key_remove(uint32_t key)
{
	struct index_at at;

	ck_assert(index_find(&the_index, hashes[key], &at) && at.number == key);
	index_remove(&the_index, &at);
	place_free(placed[key]);
	placed[key] = UINT32_MAX;
}

/* Comes, or comes elsewhere. */
static void key_place(uint32_t key)
{
	uint32_t place = place_new(key), before = placed[key];
	struct index_at at;

	if (before == UINT32_MAX) {
		ck_assert_int_eq(
			index_insert(&the_index, hashes[key], key, (uint64_t)place << 4, 0), 0);
	} else {
		ck_assert(index_find(&the_index, hashes[key], &at));
		index_replace(&the_index, &at, key, (uint64_t)place << 4, 0);
		place_free(before);
	}
	placed[key] = place;
}

static void move_on(uint64_t *state)
{
	uint64_t generation = atomic_load(&newest) + 1;
	uint32_t number;

	if (!the_index.next.head) {
		/* 28 to 48 buckets for 96 to 192 keys, which fit wherever they fall; every other one has the first seed. */
		index_next_begin(&the_index,
				 table_new(generation, 28 + rnd(state, 6) * 4, generation % 2));
		atomic_store(&newest, generation);
		return;
	}
	ck_assert_int_eq(index_next_step(&the_index, 1, &number), 0);
	if (index_next_done(&the_index)) {
		/* Readers may be behind: their mappings stay, as in life. */
		struct index_table old = index_next_end(&the_index);

		free(old.numbers);
	}
}

/* ---- readers ---- */

static bool read_object(struct reader *reader, uint64_t offset, uint32_t key)
{
	const struct object *object = &objects[offset >> 4];

	if (object->key == SPOILED || object->value == SPOILED)
		reader->wrong = "a reader is offered memory that is free";
	if (object->key != key)
		return false;
	/* It stays for a while. */
	for (uint32_t i = 0; i < 2; ++i) {
		if (object->value != value_of(key, (uint32_t)(offset >> 4)))
			reader->wrong = "what a reader has pinned changes";
		if (!rnd(&reader->seed, 64))
			sched_yield();
		atomic_signal_fence(memory_order_seq_cst);
	}
	return true;
}

static bool look_up(struct reader *reader, uint64_t *generation, uint32_t key)
{
	struct index_walk walk;
	enum index_answer answer;

	for (;;) {
		index_walk_begin(&walk, &views[*generation - 1], hashes[key], &reader->hazard,
				 SPACE);
		while ((answer = index_walk_next(&walk, reader->fence)) == INDEX_OFFERED)
			if (read_object(reader, walk.offset, key)) {
				index_release(&reader->hazard);
				return true;
			}
		if (answer == INDEX_MISS)
			return false;
		++*generation;
		++reader->moved;
		if (*generation > atomic_load(&newest))
			reader->wrong = "a reader is sent to an index that there is not";
	}
}

static void *reader_run(void *argument)
{
	struct reader *reader = argument;
	uint64_t newest_seen, done = 1;

	while (!atomic_load_explicit(&stop, memory_order_relaxed) && !reader->wrong) {
		uint32_t key = rnd(&reader->seed, KEYS);
		uint64_t generation = done;
		bool found;

		newest_seen = atomic_load(&newest);
		found = look_up(reader, &generation, key);
		*(found ? &reader->hits : &reader->misses) += 1;
		if (reader->hits && reader->misses)
			atomic_store_explicit(&reader->looked, true, memory_order_relaxed);
		if (!found && key < ALWAYS)
			reader->wrong = "a reader misses what is always there";
		if (found && key >= GOING)
			reader->wrong = "a reader finds what never was there";
		/* It begins where it was, for some time: all before the newest but one have moved. */
		if (done + 2 < newest_seen && !rnd(&reader->seed, 256))
			done = newest_seen - 1;
	}
	atomic_store(&reader->looked, true);
	return NULL;
}

static void keys_make(void)
{
	uint64_t state = 7;

	for (uint32_t i = 0; i < KEYS; ++i)
		/* Some share tags, under the seed 1. */
		do
			hashes[i] = (uint64_t)rnd(&state, UINT32_MAX) << 32 |
				    rnd(&state, UINT32_MAX);
		while (index_mix(hashes[i], 1, 20).tag % 4096 > 1);
}

static void memory_free(void)
{
	for (uint64_t i = 0; i < atomic_load(&newest); ++i)
		free((void *)views[i].head);
	free(the_index.now.numbers);
	free(the_index.next.numbers);
}

START_TEST(readers_beside_a_writer_find_all_there_is_and_nothing_that_has_gone)
{
	pthread_t threads[READERS];
	const char *given = getenv("VARBOS_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0)
			      : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
	uint64_t state = seed, count;

	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	with_membarrier = !membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
	keys_make();
	memset(placed, 0xff, sizeof(placed));
	for (uint32_t i = 0; i < PLACES; ++i)
		free_places[n_free++] = i;
	index_init(&the_index, table_new(1, 28, 1),
		   (struct index_records){hashes, sizeof(hashes[0])});
	atomic_store(&newest, 1);
	for (uint32_t i = 0; i < ALWAYS; ++i)
		key_place(i);
	for (uint32_t i = 0; i < READERS; ++i) {
		readers[i].seed = seed + i;
		readers[i].fence = !i || !with_membarrier;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader_run, &readers[i]), 0);
	}
	/* All of them look while it writes, however busy the machine is. */
	for (uint32_t i = 0; i < READERS; ++i)
		while (!atomic_load(&readers[i].looked))
			sched_yield();
	for (uint32_t i = 0; i < STEPS; ++i) {
		uint32_t key = rnd(&state, GOING), pick = rnd(&state, 16);

		if (!pick && (the_index.next.head || !rnd(&state, 8)))
			move_on(&state);
		else if (key < ALWAYS || pick < 8 || placed[key] == UINT32_MAX)
			key_place(key);
		else
			key_remove(key);
	}
	atomic_store(&stop, true);
	for (uint32_t i = 0; i < READERS; ++i)
		pthread_join(threads[i], NULL);
	for (uint32_t i = 0; i < READERS; ++i) {
		ck_assert_msg(!readers[i].wrong, "VARBOS_SEED=%" PRIu64 ": %s", seed,
			      readers[i].wrong);
		ck_assert_uint_gt(readers[i].hits, 0);
		ck_assert_uint_gt(readers[i].misses, 0);
	}
	ck_assert_pstr_eq(index_check(&the_index, &count), NULL);
	ck_assert_uint_gt(atomic_load(&newest), 10);
	memory_free();
}
END_TEST

static Suite *threads_suite(void)
{
	Suite *suite = suite_create("index_threads");
	TCase *tcase = tcase_create("index_threads");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase,
		       readers_beside_a_writer_find_all_there_is_and_nothing_that_has_gone);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(threads_suite());
}
