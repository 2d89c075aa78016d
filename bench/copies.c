/*
 * copy, zero - as many bytes again and again, next to libc's and to one string instruction; and the
 * same where the addresses are unlucky ones (copy_shifted): modulo 4096, `to` is just above `from`.
 *
 * What is told is the time of one copy. Each way does one unseen before its turn counts, for the
 * others leave the caches otherwise than it finds them.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <varbos/copy.h>

#include "base/base.h"
#include "bench/clock.h"
#include "bench/harness.h"
#include "bench/series.h"

#define HUGE_BYTES ((size_t)2 << 20)
#define LARGEST ((size_t)1 << 30)
#define LARGEST_QUICK ((size_t)64 << 20)

enum {
	SMALLEST = 64,
	GROWTH = 4,
	SHIFT_TO = 24, /* as what has a header, a key */
	SHIFT_FROM = 16,
	TURN_NS = 100000, /* a turn takes so long, or one copy */
	ROUNDS_MAX = 2000,
	ROUNDS_MIN = 15,
	ROUNDS_QUICK = 5,
	SIZE_NS = 500000000, /* for all rounds of one size */
	CALLS_MAX = 50000,
};

struct way {
	const char *impl;
	void (*run)(char *to, const char *from, size_t size, size_t calls);
};

/* The compiler may not see that it is the same again: each call looks at its size anew. */
#define AGAIN() __asm__ volatile("" : "+r"(to), "+r"(size)::"memory")

static void copy_memcpy(char *to, const char *from, size_t size, size_t calls)
{
	for (; calls; calls--) {
		AGAIN();
		memcpy(to, from, size);
	}
}

static void copy_varbos(char *to, const char *from, size_t size, size_t calls)
{
	for (; calls; calls--) {
		AGAIN();
		varbos_copy(to, from, size);
	}
}

static void zero_memset(char *to, const char *from, size_t size, size_t calls)
{
	for (; calls; calls--) {
		AGAIN();
		memset(to, 0, size);
	}
}

static void zero_varbos(char *to, const char *from, size_t size, size_t calls)
{
	for (; calls; calls--) {
		AGAIN();
		varbos_zero(to, size);
	}
}

#if defined(__x86_64__)
static void copy_movsb(char *to, const char *from, size_t size, size_t calls)
{
	for (; calls; calls--) {
		char *target = to;
		const char *source = from;
		size_t left = size;

		__asm__ volatile("rep movsb"
				 : "+D"(target), "+S"(source), "+c"(left)::"memory");
	}
}

static void zero_stosb(char *to, const char *from, size_t size, size_t calls)
{
	for (; calls; calls--) {
		char *target = to;
		size_t left = size;

		__asm__ volatile("rep stosb" : "+D"(target), "+c"(left) : "a"(0) : "memory");
	}
}
#endif

/* Varbos first. */
static const struct way copies[] = {
	{"varbos", copy_varbos},
	{"memcpy", copy_memcpy},
#if defined(__x86_64__)
	{"movsb", copy_movsb},
#endif
};

static const struct way zeros[] = {
	{"varbos", zero_varbos},
	{"memset", zero_memset},
#if defined(__x86_64__)
	{"stosb", zero_stosb},
#endif
};

enum { WAYS_MAX = 3 };
static_assert(ARRAY_SIZE(copies) <= WAYS_MAX && ARRAY_SIZE(zeros) <= WAYS_MAX, "of series");

struct place {
	char *to, *from;
};

/* In thousandths of a ns. */
static uint64_t turn(const struct way *way, struct place place, size_t size, size_t calls)
{
	uint64_t start_ns;

	way->run(place.to, place.from, size, 1);
	start_ns = now_ns();
	way->run(place.to, place.from, size, calls);
	return (now_ns() - start_ns) * 1000 / calls;
}

static double median(struct series *series, unsigned percent)
{
	return (double)series_percentile(series, percent) / 1000;
}

static void size_run(struct harness *harness, const char *bench, const struct way *ways,
		     size_t n_ways, struct place place, size_t size)
{
	struct series times[WAYS_MAX], ratios[WAYS_MAX];
	size_t least = harness->quick ? ROUNDS_QUICK : ROUNDS_MIN, calls;
	uint64_t end_ns, once;

	for (size_t i = 0; i < n_ways; i++) {
		series_init(&times[i], ROUNDS_MAX);
		series_init(&ratios[i], ROUNDS_MAX);
	}
	once = u64_max(turn(&ways[1], place, size, 1), 1);
	calls = (size_t)u64_min(CALLS_MAX, u64_max((uint64_t)TURN_NS * 1000 / once, 1));
	/* Some learn. */
	for (size_t i = 0; i < n_ways; i++)
		turn(&ways[i], place, size, 1);

	end_ns = now_ns() + (harness->quick ? 0 : SIZE_NS);
	for (size_t round = 0; round < ROUNDS_MAX && (round < least || now_ns() < end_ns);
	     round++) {
		uint64_t figures[WAYS_MAX] = {0};

		for (size_t i = 0; i < n_ways; i++) {
			size_t at = (i + round) % n_ways;

			figures[at] = turn(&ways[at], place, size, calls);
			series_add(&times[at], figures[at]);
		}
		for (size_t i = 0; i < n_ways; i++)
			series_add(&ratios[i], figures[0] * 1000 / u64_max(figures[i], 1));
		harness_heed(harness);
	}

	fprintf(stderr, "%s %zu: varbos by", bench, size);
	for (size_t i = 0; i < n_ways; i++) {
		printf("{\"bench\":\"%s\",\"impl\":\"%s\",\"size\":%zu,\"unit\":\"ns\","
		       "\"p50\":%.3f,\"p99\":%.3f,\"n\":%zu}\n",
		       bench, ways[i].impl, size, median(&times[i], 50), median(&times[i], 99),
		       times[i].n);
		if (i)
			fprintf(stderr, " %s %.2f", ways[i].impl, median(&ratios[i], 50));
		series_deinit(&times[i]);
		series_deinit(&ratios[i]);
	}
	fprintf(stderr, "\n");
	fflush(stdout);
}

/* Pages as a region has them, if they are to be had; touched, so that nothing is mapped later. */
static char *memory_new(struct harness *harness, size_t size)
{
	char *memory = mmap(NULL, size + HUGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t start;

	if (memory == MAP_FAILED)
		harness_die(harness, "%zu bytes to copy: %s", size, strerror(errno));
	if (!u64_align_up((uint64_t)(uintptr_t)memory, HUGE_BYTES, &start))
		harness_die(harness, "at the end of the address space");
	memory = (char *)(uintptr_t)start;
	madvise(memory, size, MADV_HUGEPAGE);
	memset(memory, 0x5a, size);
	return memory;
}

static void copies_run(struct harness *harness, const char *bench, const struct way *ways,
		       size_t n_ways, size_t shift_to, size_t shift_from)
{
	size_t largest = harness->quick ? LARGEST_QUICK : LARGEST;
	bool reads = ways == copies;
	struct place place = {.to = memory_new(harness, largest + HUGE_BYTES)};

	place.from = reads ? memory_new(harness, largest + HUGE_BYTES) : place.to;
	for (size_t size = SMALLEST; size <= largest; size *= GROWTH)
		size_run(harness, bench, ways, n_ways,
			 (struct place){place.to + shift_to, place.from + shift_from}, size);
	munmap(place.to, largest + HUGE_BYTES);
	if (reads)
		munmap(place.from, largest + HUGE_BYTES);
}

void bench_copy(struct harness *harness)
{
	copies_run(harness, "copy", copies, ARRAY_SIZE(copies), 0, 0);
}

void bench_copy_shifted(struct harness *harness)
{
	copies_run(harness, "copy_shifted", copies, ARRAY_SIZE(copies), SHIFT_TO, SHIFT_FROM);
}

void bench_zero(struct harness *harness)
{
	copies_run(harness, "zero", zeros, ARRAY_SIZE(zeros), 0, 0);
}
