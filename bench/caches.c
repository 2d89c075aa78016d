/*
 * hit, hit_hot, miss, put, put_async - a cache with as many values as `size` allows, under random
 * keys of 16 bytes; ns for one key. The daemon is on another processor, where there is one.
 *
 * A hit is a get whose value's first word is read, and the release. What is put replaces what is
 * there; put_async includes the flush of all that a round has put.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "bench/clock.h"
#include "bench/harness.h"
#include "bench/series.h"

#define SPACE_BYTES ((uint64_t)900 << 20)
#define CAPACITY ((uint64_t)400 << 20)
#define RUN_NS ((uint64_t)2000000000)
#define RUN_QUICK_NS ((uint64_t)200000000)

enum {
	KEY_BYTES = 16,
	HOT = 1000,
	ROUND = 2000, /* keys; and at most so many bytes are put in one: */
	ROUND_BYTES = 16 << 20,
	ROUNDS_MAX = 20000,
	FILLS = 20,
};

static const struct {
	size_t value;
	uint32_t keys;
} sizes[] = {{64, 100000}, {1024, 20000}, {65536, 1000}, {1 << 20, 128}};

struct key {
	uint64_t words[KEY_BYTES / sizeof(uint64_t)];
};

struct subject {
	struct harness *harness;
	struct varbos_space *space;
	struct varbos_cache *cache;
	struct key *keys, *others; /* others: that it does not have */
	uint32_t n;
	size_t value;
	char *data;
	uint64_t random, sum;
};

static uint64_t draw(struct subject *subject)
{
	subject->random = subject->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return subject->random >> 32;
}

static const struct key *pick(struct subject *subject, const struct key *keys, uint32_t n)
{
	return &keys[draw(subject) * n >> 32];
}

static void must(const struct subject *subject, int r)
{
	if (r)
		harness_die(subject->harness, "caches: %s", varbos_error()->message);
}

/* ---- what is measured: each a round, of so many keys ---- */

static void hits(struct subject *subject, uint32_t n, uint32_t among)
{
	struct varbos_view view;
	uint64_t word;

	for (; n; n--) {
		must(subject,
		     varbos_cache_get(subject->cache, pick(subject, subject->keys, among),
				      KEY_BYTES, &view));
		memcpy(&word, view.data, sizeof(word));
		subject->sum += word;
		varbos_view_release(&view);
	}
}

static void hit(struct subject *subject, uint32_t n)
{
	hits(subject, n, subject->n);
}

static void hit_hot(struct subject *subject, uint32_t n)
{
	hits(subject, n, HOT);
}

static void miss(struct subject *subject, uint32_t n)
{
	struct varbos_view view;

	for (; n; n--)
		if (varbos_cache_get(subject->cache, pick(subject, subject->others, subject->n),
				     KEY_BYTES, &view) != VARBOS_E_NOT_FOUND)
			harness_die(subject->harness, "caches: that was no miss");
}

static void put(struct subject *subject, uint32_t n)
{
	for (; n; n--)
		must(subject,
		     varbos_cache_put(subject->cache, pick(subject, subject->keys, subject->n),
				      KEY_BYTES, subject->data, subject->value, NULL));
}

static void put_async(struct subject *subject, uint32_t n)
{
	for (; n; n--)
		must(subject, varbos_cache_put_async(
				      subject->cache, pick(subject, subject->keys, subject->n),
				      KEY_BYTES, subject->data, subject->value, NULL));
	must(subject, varbos_cache_flush(subject->cache));
}

/* ---- */

/* What it does not have is put: how many. A cache may let go of some while it grows. */
static uint32_t fill(struct subject *subject)
{
	uint32_t put = 0;

	for (uint32_t i = 0; i < subject->n; i++) {
		if (!varbos_cache_exists(subject->cache, &subject->keys[i], KEY_BYTES))
			continue;
		must(subject,
		     varbos_cache_put_async(subject->cache, &subject->keys[i], KEY_BYTES,
					    subject->data, subject->value, NULL));
		put++;
	}
	must(subject, varbos_cache_flush(subject->cache));
	return put;
}

static void subject_init(struct subject *subject, struct harness *harness, size_t value,
			 uint32_t n)
{
	*subject = (struct subject){.harness = harness, .n = n, .value = value, .random = 42};
	subject->keys = calloc(n, sizeof(*subject->keys));
	subject->others = calloc(n, sizeof(*subject->others));
	subject->data = calloc(1, value);
	if (!subject->keys || !subject->others || !subject->data)
		harness_die(harness, "caches: no memory");
	for (uint32_t i = 0; i < n; i++) {
		for (size_t word = 0; word < ARRAY_SIZE(subject->keys->words); word++) {
			subject->keys[i].words[word] = draw(subject) << 32 | draw(subject);
			subject->others[i].words[word] = draw(subject) << 32 | draw(subject);
		}
	}
	must(subject, varbos_space_open(&subject->space, harness->vb, "bench-caches",
					&(struct varbos_space_options){.limit = SPACE_BYTES}));
	must(subject, varbos_cache_open(&subject->cache, subject->space, "bench",
					&(struct varbos_cache_options){.capacity = CAPACITY}));
	for (int i = 0; fill(subject); i++)
		if (i == FILLS)
			harness_die(harness, "caches: %u values do not stay", n);
}

static void subject_deinit(struct subject *subject)
{
	varbos_cache_close(subject->cache);
	varbos_space_close(subject->space);
	if (varbos_space_remove(subject->harness->vb, "bench-caches", 0))
		harness_die(subject->harness, "caches: %s", varbos_error()->message);
	free(subject->keys);
	free(subject->others);
	free(subject->data);
}

static void measure(struct subject *subject, const char *bench, uint32_t round,
		    void (*run)(struct subject *subject, uint32_t n))
{
	uint64_t end_ns, start_ns;
	struct series series;

	series_init(&series, ROUNDS_MAX);
	run(subject, round);
	end_ns = now_ns() + (subject->harness->quick ? RUN_QUICK_NS : RUN_NS);
	do {
		start_ns = now_ns();
		run(subject, round);
		series_add(&series, (now_ns() - start_ns) * 1000 / round);
		harness_heed(subject->harness);
	} while (!series_full(&series) && now_ns() < end_ns);
	printf("{\"bench\":\"%s\",\"impl\":\"varbos\",\"size\":%zu,\"unit\":\"ns\","
	       "\"p50\":%.3f,\"p99\":%.3f,\"n\":%zu}\n",
	       bench, subject->value, (double)series_percentile(&series, 50) / 1000,
	       (double)series_percentile(&series, 99) / 1000, series.n);
	fprintf(stderr, "%s %zu: %.1f ns\n", bench, subject->value,
		(double)series_percentile(&series, 50) / 1000);
	fflush(stdout);
	series_deinit(&series);
}

void bench_cache(struct harness *harness)
{
	struct subject subject;

	harness_pin(harness, harness->cpus[CROSS_CORE] >= 0 ? harness->cpus[CROSS_CORE]
							    : harness->cpus[SAME_CORE]);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint32_t puts = (uint32_t)u64_min(ROUND, ROUND_BYTES / sizes[i].value);

		subject_init(&subject, harness, sizes[i].value, sizes[i].keys);
		measure(&subject, "hit", ROUND, hit);
		if (!i) {
			measure(&subject, "hit_hot", ROUND, hit_hot);
			measure(&subject, "miss", ROUND, miss);
		}
		measure(&subject, "put", puts, put);
		measure(&subject, "put_async", puts, put_async);
		subject_deinit(&subject);
	}
}
