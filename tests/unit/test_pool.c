/*
 * Pools of all kinds, on memory without a daemon.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <varbos/arena.h>
#include <varbos/pool.h>
#include <varbos/scope.h>

#include "client/arena.h"
#include "client/pool.h"
#include "client/scope.h"
#include "tests/suite.h"
#include "tests/unit/fake_source.h"

enum { KINDS = VARBOS_POOL_STEALING + 1, ALIVE = 0x11fe, DEAD = 0xdead };

struct object {
	_Atomic uint32_t life;  /* ALIVE from constructor to destructor */
	_Atomic uint32_t owner; /* of the threads that get and put; 0: none */
	uint32_t resets;
	uint32_t invalid;
	char rest[40];
};

/* What the callbacks have been told, and are to do. */
struct world {
	_Atomic uint64_t constructed, destructed, resets, validated;
	_Atomic uint64_t fail_after; /* so many constructors; 0: none fails */
	_Atomic uint64_t now;
	_Atomic uint64_t wrong; /* calls that should not have been */
};

static struct fake_source fake;
static struct world world;

/* An assertion that costs nothing where it holds: libcheck's write to a pipe each time. */
static void be(bool what)
{
	if (!what)
		ck_abort();
}

static int construct(void *memory, void *context)
{
	struct object *object = memory;

	(void)context;
	if (world.fail_after && world.constructed >= world.fail_after)
		return EIO;
	world.constructed++;
	memset(object, 0, sizeof(*object));
	object->life = ALIVE;
	return 0;
}

static void destruct(void *memory, void *context)
{
	struct object *object = memory;

	(void)context;
	world.wrong += object->life != ALIVE;
	object->life = DEAD;
	world.destructed++;
}

static void reset(void *memory, void *context)
{
	struct object *object = memory;

	(void)context;
	object->resets++;
	world.resets++;
}

static int validate(const void *memory, void *context)
{
	const struct object *object = memory;

	(void)context;
	world.validated++;
	return !object->invalid;
}

static uint64_t clock_of_test(void *context)
{
	(void)context;
	return world.now;
}

static struct varbos_pool *pool_with(struct varbos_pool_options options)
{
	struct source source = fake_in(&fake);
	struct varbos_pool *pool = NULL;

	if (!options.size)
		options.size = sizeof(struct object);
	options.construct = construct;
	options.destruct = destruct;
	options.clock_ms = clock_of_test;
	ck_assert_msg(!pool_new(&pool, &source, &options), "%s", varbos_error()->message);
	return pool;
}

static void set_up(void)
{
	fake = (struct fake_source){.mutex = PTHREAD_MUTEX_INITIALIZER};
	world = (struct world){.now = 1000};
}

static void tear_down(void)
{
	fake_expect_empty(&fake);
	ck_assert_uint_eq(world.constructed, world.destructed);
	ck_assert_uint_eq(world.wrong, 0);
}

static struct varbos_pool_stats stats_of(struct varbos_pool *pool)
{
	struct varbos_pool_stats stats;

	ck_assert_int_eq(varbos_pool_stats(pool, &stats), 0);
	return stats;
}

static struct object *must_get(struct varbos_pool *pool)
{
	struct object *object = varbos_pool_get(pool);

	if (!object)
		ck_abort_msg("%s", varbos_error()->message);
	be(object->life == ALIVE);
	return object;
}

static void expect(int r, enum varbos_code code, const char *which)
{
	ck_assert_msg(r == (int)code && varbos_error()->code == code, "%d, %s", r,
		      varbos_error()->message);
	ck_assert_str_eq(varbos_error()->which, which);
}

static void expect_null(const void *object, enum varbos_code code, const char *which)
{
	ck_assert_ptr_null(object);
	expect((int)varbos_error()->code, code, which);
}

/* ---- objects: loop tests, over all kinds ---- */

START_TEST(an_object_stays_constructed_while_it_is_idle)
{
	struct varbos_pool *pool = pool_with((struct varbos_pool_options){.kind = _i});
	struct object *object = must_get(pool), *other = must_get(pool);

	strcpy(object->rest, "as it was left");
	ck_assert_int_eq(varbos_pool_put(pool, other), 0);
	ck_assert_int_eq(varbos_pool_put(pool, object), 0);
	ck_assert_ptr_eq(must_get(pool), object);
	ck_assert_str_eq(object->rest, "as it was left");
	ck_assert_uint_eq(world.destructed, 0);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(the_first_objects_are_there_at_once_and_the_last_is_refused_with_numbers)
{
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.kind = _i, .min = 3, .max = 5});
	struct object *objects[5];

	ck_assert_uint_eq(world.constructed, 3);
	for (int i = 0; i < 5; i++)
		objects[i] = must_get(pool);
	expect_null(varbos_pool_get(pool), VARBOS_E_EXHAUSTED, "pool");
	ck_assert_uint_eq(varbos_error()->requested, 1);
	ck_assert_uint_eq(varbos_error()->max, 5);
	ck_assert_uint_eq(varbos_error()->remaining, 0);
	ck_assert_int_eq(strncmp(varbos_error()->message, "varbos_pool_get: ", 17), 0);
	ck_assert_int_eq(varbos_pool_put(pool, objects[2]), 0);
	ck_assert_ptr_eq(must_get(pool), objects[2]);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(a_pool_grows_as_was_asked)
{
	static const struct {
		uint32_t growth, made[4]; /* after the first, second, ... that was not there */
	} ways[] = {{100, {1, 2, 3, 4}},
		    {200, {1, 2, 4, 8}},
		    {150, {1, 2, 3, 4}},
		    {1000, {1, 10, 100, 128}}};

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct varbos_pool *pool = pool_with((struct varbos_pool_options){
			.kind = _i, .growth = ways[i].growth, .max = 128});

		world.constructed = world.destructed = 0;
		for (size_t j = 0; j < ARRAY_SIZE(ways[i].made); j++) {
			while (!j ? world.constructed < 1
				  : world.constructed == ways[i].made[j - 1])
				must_get(pool);
			ck_assert_uint_eq(world.constructed, ways[i].made[j]);
		}
		ck_assert_uint_eq(stats_of(pool).misses, 4);
		varbos_pool_destroy(pool);
	}
}
END_TEST

START_TEST(objects_lie_apart_and_as_they_are_aligned)
{
	static const size_t sizes[] = {1, 7, 16, 24, 48, 63, 64, 65, 100, 1000, 4097, 70001};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (size_t align = 1; align <= 8192; align *= 8) {
			struct source source = fake_in(&fake);
			struct varbos_pool *pool;
			char *objects[100];

			ck_assert_int_eq(
				pool_new(&pool, &source,
					 &(struct varbos_pool_options){
						 .kind = _i, .size = sizes[i], .align = align}),
				0);
			for (int j = 0; j < 100; j++) {
				objects[j] = varbos_pool_get(pool);
				be(objects[j] && !((uintptr_t)objects[j] % align));
				memset(objects[j], j, sizes[i]);
			}
			for (int j = 0; j < 100; j++) {
				be(objects[j][0] == j && objects[j][sizes[i] - 1] == j);
				be(!varbos_pool_put(pool, objects[j]));
			}
			varbos_pool_destroy(pool);
		}
}
END_TEST

START_TEST(what_is_no_object_in_use_is_refused)
{
	struct varbos_pool *pool = pool_with((struct varbos_pool_options){.kind = _i}),
			   *other = pool_with((struct varbos_pool_options){.kind = _i});
	struct object *object = must_get(pool), *others = must_get(other);

	ck_assert_int_eq(varbos_pool_put(pool, NULL), 0);
	expect(varbos_pool_put(pool, (char *)object + 1), VARBOS_E_OBJECT, "interior");
	expect(varbos_pool_put(pool, (char *)object + 32), VARBOS_E_OBJECT, "interior");
	expect(varbos_pool_put(pool, others), VARBOS_E_OBJECT, "foreign");
	expect(varbos_pool_put(pool, &world), VARBOS_E_OBJECT, "foreign");
	expect(varbos_pool_put(pool, (void *)(uintptr_t)1), VARBOS_E_OBJECT, "foreign");
	/* One that has never been given out. */
	expect(varbos_pool_put(pool, (char *)object + 64), VARBOS_E_OBJECT, "twice");
	ck_assert_int_eq(varbos_pool_put(pool, object), 0);
	expect(varbos_pool_put(pool, object), VARBOS_E_OBJECT, "twice");
	ck_assert_ptr_eq(must_get(pool), object);
	ck_assert_ptr_ne(must_get(pool), object);
	varbos_pool_destroy(pool);
	varbos_pool_destroy(other);
}
END_TEST

START_TEST(a_constructor_that_fails_is_named_and_nothing_is_lost)
{
	struct source source = fake_in(&fake);
	struct varbos_pool *pool;

	world.fail_after = 3;
	expect(pool_new(&pool, &source,
			&(struct varbos_pool_options){.kind = _i,
						      .size = sizeof(struct object),
						      .min = 4,
						      .construct = construct,
						      .destruct = destruct}),
	       VARBOS_E_OBJECT, "constructor");
	ck_assert_int_eq(varbos_error()->system_errno, EIO);
	ck_assert_uint_eq(world.destructed, 3);
	fake_expect_empty(&fake);

	world.fail_after = 8;
	pool = pool_with((struct varbos_pool_options){.kind = _i, .min = 4, .growth = 200});
	for (int i = 0; i < 5; i++)
		must_get(pool);
	expect_null(varbos_pool_get(pool), VARBOS_E_OBJECT, "constructor");
	world.fail_after = 0;
	for (int i = 0; i < 50; i++)
		must_get(pool);
	ck_assert_uint_eq(stats_of(pool).live, 55);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(a_pool_without_memory_says_what_its_source_says)
{
	struct varbos_pool *pool = pool_with((struct varbos_pool_options){.kind = _i});
	uint64_t n = 0;

	fake.limit = 100000;
	while (varbos_pool_get(pool))
		n++;
	expect((int)varbos_error()->code, VARBOS_E_BUDGET, "fake");
	ck_assert_uint_ge(n, 1000); /* of 1562, for memory to the last byte would take long */
	fake.limit = 0;
	must_get(pool);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(a_pool_that_gets_memory_for_few_at_a_time_ends_growing_and_says_so)
{
	enum { SIZE = 4096 };
	struct varbos_pool *pool = pool_with((struct varbos_pool_options){.size = SIZE});
	uint64_t n = 0;

	do /* as much as it insists on, an eighth of what it has */
		fake.limit = fake.held + (n++ / 8 + 2) * SIZE;
	while (varbos_pool_get(pool));
	expect((int)varbos_error()->code, VARBOS_E_EXHAUSTED, "slabs");
	ck_assert_uint_ge(n, 64);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(what_is_put_back_is_reset)
{
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.kind = _i, .reset = reset});
	struct object *object = must_get(pool);

	ck_assert_uint_eq(object->resets, 0);
	ck_assert_int_eq(varbos_pool_put(pool, object), 0);
	ck_assert_uint_eq(object->resets, 1);
	expect(varbos_pool_put(pool, object), VARBOS_E_OBJECT, "twice");
	ck_assert_uint_eq(object->resets, 1);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(an_invalid_object_is_replaced_when_it_would_be_given_out)
{
	struct varbos_pool *pool = pool_with((struct varbos_pool_options){
		.kind = _i, .max = 2, .validate = validate, .flags = VARBOS_POOL_VALIDATE_GET});
	struct object *one = must_get(pool), *two = must_get(pool);

	one->invalid = two->invalid = 1;
	ck_assert_int_eq(varbos_pool_put(pool, one), 0);
	ck_assert_int_eq(varbos_pool_put(pool, two), 0);
	ck_assert_uint_eq(world.destructed, 0);
	ck_assert(!must_get(pool)->invalid);
	ck_assert_uint_eq(world.destructed, 2);
	ck_assert(!must_get(pool)->invalid);
	ck_assert_uint_eq(stats_of(pool).invalid, 2);
	expect_null(varbos_pool_get(pool), VARBOS_E_EXHAUSTED, "pool");
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(an_invalid_object_goes_when_it_is_put_back)
{
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.kind = _i,
						       .min = 1,
						       .max = 1,
						       .validate = validate,
						       .flags = VARBOS_POOL_VALIDATE_PUT});
	struct object *object = must_get(pool);

	object->invalid = 1;
	ck_assert_int_eq(varbos_pool_put(pool, object), 0);
	ck_assert_uint_eq(world.destructed, 1);
	expect(varbos_pool_put(pool, object), VARBOS_E_OBJECT, "twice");
	ck_assert_uint_eq(stats_of(pool).idle, 0);
	/* What is missing of the minimum comes back. */
	ck_assert_int_eq(varbos_pool_tidy(pool, NULL), 0);
	ck_assert_uint_eq(stats_of(pool).idle, 1);
	ck_assert_ptr_eq(must_get(pool), object);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(what_nobody_has_used_for_long_goes_down_to_the_minimum)
{
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.kind = _i, .min = 2, .idle_ms = 100});
	struct object *objects[200], *busy;
	uint64_t evicted, held;

	for (int i = 0; i < 200; i++)
		objects[i] = must_get(pool);
	busy = must_get(pool);
	held = fake.held;
	for (int i = 0; i < 200; i++)
		ck_assert_int_eq(varbos_pool_put(pool, objects[i]), 0);
	world.now += 99;
	ck_assert_int_eq(varbos_pool_tidy(pool, &evicted), 0);
	ck_assert_uint_eq(evicted, 0);

	/* One is used now and then. */
	ck_assert_int_eq(varbos_pool_put(pool, must_get(pool)), 0);
	world.now += 1;
	ck_assert_int_eq(varbos_pool_tidy(pool, &evicted), 0);
	ck_assert_uint_ge(evicted, 198);
	ck_assert_uint_eq(stats_of(pool).evicted, evicted);
	ck_assert_uint_eq(stats_of(pool).live, 1);
	ck_assert_uint_lt(fake.held, held);
	ck_assert_uint_eq(stats_of(pool).held, fake.held);
	world.now += 1000;
	ck_assert_int_eq(varbos_pool_tidy(pool, &evicted), 0);
	ck_assert_uint_eq(stats_of(pool).idle, 1);
	ck_assert_uint_eq(world.constructed - world.destructed, 2);
	be(busy->life == ALIVE);

	/* And where they were, others can be. */
	for (int i = 0; i < 300; i++)
		must_get(pool);
	ck_assert_uint_eq(stats_of(pool).live, 301);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(a_pool_that_is_used_lets_go_by_and_by)
{
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.kind = _i, .idle_ms = 100});
	struct object *objects[1000];

	for (int i = 0; i < 1000; i++)
		objects[i] = must_get(pool);
	for (int i = 0; i < 1000; i++)
		be(!varbos_pool_put(pool, objects[i]));
	world.now += 1000;
	for (int i = 0; i < 100; i++) {
		uint64_t before = world.destructed;

		be(!varbos_pool_put(pool, must_get(pool)));
		be(world.destructed - before <= 64);
	}
	ck_assert_uint_le(stats_of(pool).idle, 1);
	ck_assert_uint_ge(stats_of(pool).evicted, 999);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(statistics_add_up)
{
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.kind = _i, .min = 2, .growth = 100});
	struct varbos_pool_stats stats;
	struct object *objects[5];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 5; i++)
			objects[i] = must_get(pool);
		for (int i = 0; i < 4; i++)
			ck_assert_int_eq(varbos_pool_put(pool, objects[i]), 0);
	}
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.live, 3);
	ck_assert_uint_eq(stats.idle, 4);
	ck_assert_uint_eq(stats.peak, 7);
	ck_assert_uint_eq(stats.created, 7);
	ck_assert_uint_eq(stats.destroyed, 0);
	ck_assert_uint_eq(stats.misses, 5);
	ck_assert_uint_eq(stats.hits, 10);
	ck_assert_uint_eq(stats.held, fake.held);
	varbos_pool_destroy(pool);
}
END_TEST

/* ---- at random, against a naive twin ---- */

enum { STEPS = 40000, TWIN_MAX = 300 };

/* All that a pool is, said plainly: objects in use, and a bag of idle ones. */
struct twin {
	struct object *live[TWIN_MAX];
	uint64_t n_live, total, created;
};

START_TEST(whatever_is_done_a_pool_does_as_its_naive_twin)
{
	const char *given = getenv("VARBOS_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	static struct twin twin;
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.kind = _i,
						       .min = 10,
						       .max = TWIN_MAX,
						       .growth = 120,
						       .idle_ms = 50,
						       .reset = reset,
						       .validate = validate,
						       .flags = VARBOS_POOL_VALIDATE_GET});

	printf("VARBOS_SEED=%u\n", seed);
	srand(seed);
	twin = (struct twin){};
	for (int step = 0; step < STEPS; step++) {
		/* Waves: now more come, now more go. */
		int dice = rand() % 100, wave = step / 500 % 2 ? 20 : 70;
		struct varbos_pool_stats stats;
		struct object *object;
		uint64_t at;

		if (dice < wave) {
			object = varbos_pool_get(pool);
			be(!object == (twin.n_live == TWIN_MAX));
			if (!object)
				continue;
			be(object->life == ALIVE && !object->owner && !object->invalid);
			object->owner = 1;
			twin.live[twin.n_live++] = object;
		} else if (dice < 95 && twin.n_live) {
			at = (uint64_t)rand() % twin.n_live;
			object = twin.live[at];
			twin.live[at] = twin.live[--twin.n_live];
			be(object->life == ALIVE && object->owner == 1);
			object->owner = 0;
			object->invalid = !(rand() % 50);
			be(!varbos_pool_put(pool, object));
			be(varbos_pool_put(pool, object) == VARBOS_E_OBJECT);
		} else if (dice < 97) {
			world.now += (uint64_t)rand() % 60;
		} else if (dice == 97) {
			be(!varbos_pool_tidy(pool, NULL));
			be(stats_of(pool).idle + twin.n_live >= 10);
		} else {
			stats = stats_of(pool);
			be(stats.live == twin.n_live);
			be(stats.live + stats.idle == world.constructed - world.destructed);
			be(stats.created - stats.destroyed == stats.live + stats.idle);
			be(stats.live + stats.idle <= TWIN_MAX && stats.peak <= TWIN_MAX);
			be(stats.destroyed == stats.invalid + stats.evicted);
			be(stats.held == fake.held);
		}
	}
	varbos_pool_destroy(pool);
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 60000, HOLD = 4 };

struct worker {
	struct varbos_pool *pool;
	uint32_t id;
	uint64_t refused;
};

static void own(struct object *object, uint32_t id)
{
	be(object->life == ALIVE);
	be(!atomic_exchange(&object->owner, id));
}

static void disown(struct object *object, uint32_t id)
{
	be(atomic_exchange(&object->owner, 0) == id);
}

static void *get_and_put(void *data)
{
	struct worker *worker = data;
	struct object *held[HOLD];
	unsigned state = worker->id, n = 0;

	for (int i = 0; i < ROUNDS; i++) {
		if (n < HOLD && rand_r(&state) % 2) {
			held[n] = varbos_pool_get(worker->pool);
			if (!held[n]) {
				be(varbos_error()->code == VARBOS_E_EXHAUSTED);
				worker->refused++;
			} else {
				own(held[n++], worker->id);
			}
		} else if (n) {
			disown(held[--n], worker->id);
			held[n]->invalid = !(i % 1000);
			be(!varbos_pool_put(worker->pool, held[n]));
		}
		if (!(i % 100))
			world.now++;
	}
	while (n) {
		disown(held[--n], worker->id);
		be(!varbos_pool_put(worker->pool, held[n]));
	}
	return NULL;
}

static uint64_t run_workers(struct varbos_pool *pool, void *(*work)(void *))
{
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	uint64_t refused = 0;

	for (uint32_t i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.pool = pool, .id = i + 1};
		ck_assert(!pthread_create(&threads[i], NULL, work, &workers[i]));
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		refused += workers[i].refused;
	}
	return refused;
}

START_TEST(threads_never_have_an_object_together)
{
	struct varbos_pool *pool;

	if (_i == VARBOS_POOL_LOCAL)
		return;
	pool = pool_with((struct varbos_pool_options){.kind = _i,
						      .max = THREADS * HOLD - 4,
						      .idle_ms = 2,
						      .validate = validate,
						      .flags = VARBOS_POOL_VALIDATE_PUT});
	run_workers(pool, get_and_put);
	ck_assert_uint_eq(stats_of(pool).live, 0);
	ck_assert_uint_le(stats_of(pool).peak, THREADS * HOLD - 4);
	varbos_pool_destroy(pool);

	/* Nothing is evicted here: what is idle is claimed by its id alone. */
	pool = pool_with((struct varbos_pool_options){.kind = _i, .max = THREADS * HOLD - 4});
	run_workers(pool, get_and_put);
	varbos_pool_destroy(pool);
}
END_TEST

static void *hold_one(void *data)
{
	struct worker *worker = data;
	struct object *object;

	for (int i = 0; i < ROUNDS; i++) {
		object = varbos_pool_get(worker->pool);
		if (!object) {
			worker->refused++;
			continue;
		}
		own(object, worker->id);
		disown(object, worker->id);
		be(!varbos_pool_put(worker->pool, object));
	}
	return NULL;
}

START_TEST(a_pool_with_one_for_each_is_exhausted_for_none)
{
	struct varbos_pool *pool;

	if (_i == VARBOS_POOL_LOCAL)
		return;
	pool = pool_with((struct varbos_pool_options){.kind = _i, .max = THREADS});
	ck_assert_uint_eq(run_workers(pool, hold_one), 0);
	varbos_pool_destroy(pool);
}
END_TEST

static void *wait_for_one(void *data)
{
	struct worker *worker = data;
	struct object *object;

	for (int i = 0; i < 5000; i++) {
		object = varbos_pool_get_within(worker->pool, -1);
		be(object);
		own(object, worker->id);
		if (i % 100 == 0)
			sched_yield();
		disown(object, worker->id);
		be(!varbos_pool_put(worker->pool, object));
	}
	return NULL;
}

START_TEST(who_waits_for_an_object_gets_one)
{
	struct varbos_pool *pool;

	if (_i == VARBOS_POOL_LOCAL)
		return;
	pool = pool_with((struct varbos_pool_options){.kind = _i, .max = 1});
	run_workers(pool, wait_for_one);
	ck_assert_uint_eq(stats_of(pool).peak, 1);
	ck_assert_uint_eq(pool->waiting, 0);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(who_waits_in_vain_is_told_what_the_pool_has)
{
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.kind = _i, .max = 1});
	struct object *object = must_get(pool);

	expect_null(varbos_pool_get_within(pool, 5), VARBOS_E_EXHAUSTED, "pool");
	ck_assert_uint_eq(varbos_error()->max, 1);
	ck_assert_uint_eq(stats_of(pool).waits, _i != VARBOS_POOL_LOCAL);
	ck_assert_int_eq(varbos_pool_put(pool, object), 0);
	ck_assert_ptr_eq(varbos_pool_get_within(pool, 5), object);
	varbos_pool_destroy(pool);
}
END_TEST

static pthread_barrier_t barrier;
static struct object *contested[ROUNDS / 10];

static void *put_contested(void *data)
{
	struct worker *worker = data;

	pthread_barrier_wait(&barrier);
	for (int i = 0; i < ROUNDS / 10; i++)
		worker->refused += varbos_pool_put(worker->pool, contested[i]) != 0;
	return NULL;
}

START_TEST(of_threads_that_put_one_object_all_but_one_are_told)
{
	struct varbos_pool *pool;

	if (_i == VARBOS_POOL_LOCAL)
		return;
	pool = pool_with((struct varbos_pool_options){.kind = _i});
	for (size_t i = 0; i < ARRAY_SIZE(contested); i++)
		contested[i] = must_get(pool);
	pthread_barrier_init(&barrier, NULL, THREADS);
	ck_assert_uint_eq(run_workers(pool, put_contested), (THREADS - 1) * ROUNDS / 10);
	pthread_barrier_destroy(&barrier);
	ck_assert_uint_eq(stats_of(pool).live, 0);
	varbos_pool_destroy(pool);
}
END_TEST

/* ---- once ---- */

START_TEST(a_top_that_comes_back_is_another)
{
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.kind = VARBOS_POOL_LOCK_FREE});
	struct object *below = must_get(pool), *top = must_get(pool);
	uint64_t seen;

	ck_assert_int_eq(varbos_pool_put(pool, below), 0);
	ck_assert_int_eq(varbos_pool_put(pool, top), 0);
	/* Who has read this, and what is below, is overtaken by one who takes both, */
	seen = pool->shards[0].idle.top;
	ck_assert_ptr_eq(must_get(pool), top);
	ck_assert_ptr_eq(must_get(pool), below);
	/* and puts the top back: below it there is now nothing. */
	ck_assert_int_eq(varbos_pool_put(pool, top), 0);
	ck_assert_uint_eq(top_id(pool->shards[0].idle.top), top_id(seen));
	ck_assert_uint_ne(pool->shards[0].idle.top, seen);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(a_thread_that_has_nothing_takes_what_others_have_put)
{
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.kind = VARBOS_POOL_STEALING, .max = 1});
	struct worker worker = {.pool = pool, .id = 1};

	ck_assert_int_eq(varbos_pool_put(pool, must_get(pool)), 0);
	/* Consecutive threads have shards of their own. */
	for (int i = 0; i < 4; i++) {
		pthread_t thread;

		ck_assert(!pthread_create(&thread, NULL, hold_one, &worker));
		pthread_join(thread, NULL);
	}
	ck_assert_uint_eq(worker.refused, 0);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(options_that_make_no_sense_are_refused_by_name)
{
	static const struct {
		struct varbos_pool_options options;
		const char *which;
	} bad[] = {
		{{.size = 0}, "size"},
		{{.size = SIZE_MAX}, "size"},
		{{.size = 1, .align = 3}, "align"},
		{{.size = 1, .align = (size_t)1 << 40}, "align"},
		{{.size = 1, .max = POOL_OBJECTS_MAX + 1}, "max"},
		{{.size = 1, .min = 2, .max = 1}, "min"},
		{{.size = 1, .growth = 99}, "growth"},
		{{.size = 1, .kind = VARBOS_POOL_STEALING + 1}, "kind"},
		{{.size = 1, .flags = 4}, "flags"},
		{{.size = 1, .flags = VARBOS_POOL_VALIDATE_GET}, "validate"},
	};
	struct source source = fake_in(&fake);
	struct varbos_pool *pool;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect(pool_new(&pool, &source, &bad[i].options), VARBOS_E_INVALID,
		       bad[i].which);
}
END_TEST

START_TEST(a_null_is_refused_by_name)
{
	struct varbos_pool *pool = pool_with((struct varbos_pool_options){});

	expect(varbos_pool_create(NULL, varbos_in_space(NULL), NULL), VARBOS_E_INVALID, "ret");
	expect(varbos_pool_create(&pool, varbos_in_space(NULL), NULL), VARBOS_E_INVALID,
	       "options");
	expect(varbos_pool_create(&pool, varbos_in_space(NULL),
				  &(struct varbos_pool_options){.size = 1}),
	       VARBOS_E_INVALID, "source");
	expect_null(varbos_pool_get(NULL), VARBOS_E_INVALID, "pool");
	expect_null(varbos_pool_get_within(NULL, 1), VARBOS_E_INVALID, "pool");
	expect(varbos_pool_put(NULL, &world), VARBOS_E_INVALID, "pool");
	expect(varbos_pool_tidy(NULL, NULL), VARBOS_E_INVALID, "pool");
	expect(varbos_pool_stats(NULL, NULL), VARBOS_E_INVALID, "pool");
	expect(varbos_pool_stats(pool, NULL), VARBOS_E_INVALID, "ret");
	varbos_pool_destroy(NULL);
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(a_get_that_succeeds_leaves_the_last_error_alone)
{
	struct varbos_pool *pool =
		pool_with((struct varbos_pool_options){.min = 2, .growth = 1000});

	expect(varbos_pool_put(pool, &world), VARBOS_E_OBJECT, "foreign");
	world.fail_after = 3;
	for (int i = 0; i < 3; i++)
		must_get(pool);
	expect((int)varbos_error()->code, VARBOS_E_OBJECT, "foreign");
	varbos_pool_destroy(pool);
}
END_TEST

START_TEST(a_pool_lies_in_an_arena_and_goes_with_it)
{
	struct source source = fake_in(&fake);
	struct varbos_pool *pool;
	struct varbos_mark mark;
	struct arena *arena;

	ck_assert_int_eq(arena_new(&arena, &source, &(struct varbos_arena_options){}), 0);
	expect(varbos_pool_create(&pool, varbos_in_arena(&arena->front),
				  &(struct varbos_pool_options){.size = 1}),
	       VARBOS_E_INVALID, "source");
	mark = varbos_arena_mark(&arena->front);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(varbos_pool_create(&pool, varbos_in_arena(&arena->front),
						    &(struct varbos_pool_options){
							    .kind = VARBOS_POOL_LOCAL,
							    .size = sizeof(struct object),
							    .construct = construct,
							    .destruct = destruct,
							    .idle_ms = 1,
							    .min = 100}),
				 0);
		for (int j = 0; j < 200; j++)
			must_get(pool);
		ck_assert_int_eq(varbos_arena_rewind(&arena->front, mark), 0);
		ck_assert_uint_eq(world.constructed, world.destructed);
	}
	ck_assert_uint_eq(fake.taken, 1);
	arena_free(arena);
}
END_TEST

START_TEST(a_pool_lies_in_a_scope_and_can_be_moved_out_of_it)
{
	struct source source = fake_in(&fake);
	struct varbos_pool_options options = {
		.size = sizeof(struct object), .construct = construct, .destruct = destruct};
	struct varbos_pool *stays, *goes;
	struct varbos_scope *scope;

	ck_assert_int_eq(scope_new(&scope, &source), 0);
	ck_assert_int_eq(varbos_pool_create(&stays, varbos_in_scope(scope), &options), 0);
	ck_assert_int_eq(varbos_pool_create(&goes, varbos_in_scope(scope), &options), 0);
	must_get(goes);
	ck_assert_int_eq(varbos_scope_release(scope, stays), 0);
	varbos_scope_end(scope);
	ck_assert_uint_eq(world.destructed, world.constructed);
	must_get(stays);
	varbos_pool_destroy(stays);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pool");
	TCase *each = tcase_create("each kind"), *threads = tcase_create("threads"),
	      *once = tcase_create("once");

	tcase_add_checked_fixture(each, set_up, tear_down);
	tcase_set_timeout(each, 60);
	tcase_add_loop_test(each, an_object_stays_constructed_while_it_is_idle, 0, KINDS);
	tcase_add_loop_test(
		each, the_first_objects_are_there_at_once_and_the_last_is_refused_with_numbers,
		0, KINDS);
	tcase_add_loop_test(each, a_pool_grows_as_was_asked, 0, KINDS);
	tcase_add_loop_test(each, objects_lie_apart_and_as_they_are_aligned, 0, KINDS);
	tcase_add_loop_test(each, what_is_no_object_in_use_is_refused, 0, KINDS);
	tcase_add_loop_test(each, a_constructor_that_fails_is_named_and_nothing_is_lost, 0,
			    KINDS);
	tcase_add_loop_test(each, a_pool_without_memory_says_what_its_source_says, 0, KINDS);
	tcase_add_loop_test(each, what_is_put_back_is_reset, 0, KINDS);
	tcase_add_loop_test(each, an_invalid_object_is_replaced_when_it_would_be_given_out, 0,
			    KINDS);
	tcase_add_loop_test(each, an_invalid_object_goes_when_it_is_put_back, 0, KINDS);
	tcase_add_loop_test(each, what_nobody_has_used_for_long_goes_down_to_the_minimum, 0,
			    KINDS);
	tcase_add_loop_test(each, a_pool_that_is_used_lets_go_by_and_by, 0, KINDS);
	tcase_add_loop_test(each, statistics_add_up, 0, KINDS);
	tcase_add_loop_test(each, whatever_is_done_a_pool_does_as_its_naive_twin, 0, KINDS);
	suite_add_tcase(s, each);

	/* Takes a tenth of a second; where ids are lost, for ever. */
	tcase_add_checked_fixture(threads, set_up, tear_down);
	tcase_set_timeout(threads, 5);
	tcase_add_loop_test(threads, threads_never_have_an_object_together, 0, KINDS);
	tcase_add_loop_test(threads, a_pool_with_one_for_each_is_exhausted_for_none, 0, KINDS);
	tcase_add_loop_test(threads, who_waits_for_an_object_gets_one, 0, KINDS);
	tcase_add_loop_test(threads, who_waits_in_vain_is_told_what_the_pool_has, 0, KINDS);
	tcase_add_loop_test(threads, of_threads_that_put_one_object_all_but_one_are_told, 0,
			    KINDS);
	suite_add_tcase(s, threads);

	tcase_add_checked_fixture(once, set_up, tear_down);
	tcase_set_timeout(once, 60);
	tcase_add_test(once, a_top_that_comes_back_is_another);
	tcase_add_test(once, a_thread_that_has_nothing_takes_what_others_have_put);
	tcase_add_test(once, options_that_make_no_sense_are_refused_by_name);
	tcase_add_test(once, a_null_is_refused_by_name);
	tcase_add_test(once,
		       a_pool_that_gets_memory_for_few_at_a_time_ends_growing_and_says_so);
	tcase_add_test(once, a_get_that_succeeds_leaves_the_last_error_alone);
	tcase_add_test(once, a_pool_lies_in_an_arena_and_goes_with_it);
	tcase_add_test(once, a_pool_lies_in_a_scope_and_can_be_moved_out_of_it);
	suite_add_tcase(s, once);
	return suite_run(s);
}
