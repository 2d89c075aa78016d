#include "base/copy.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "base/base.h"

enum {
	PLAIN = 2048,           /* less than this is libc's to copy */
	PLAIN_ZERO = 512 << 10, /* which has no second address that could be an unlucky one */
	STREAMED_MIN = 256,
	AHEAD = 2048, /* fetched so many bytes before they are copied */
	/* Source and target about fill an L1 cache (of 32 KiB, here): what falls out comes back. */
	NEAR_LEAST = 14 << 10,
	NEAR_MOST = 18 << 10,
	AHEAD_NEAR = 512,
};

#define CACHE_LEAST ((size_t)4 << 20)
#define CACHE_MOST ((size_t)32 << 20)

static bool always(void)
{
	return true;
}

static void libc_copy(void *to, const void *from, size_t size)
{
	memcpy(to, from, size);
}

static void libc_zero(void *to, size_t size)
{
	memset(to, 0, size);
}

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define _avx2_ __attribute__((target("avx2")))

enum { VECTOR = 32, LINE = 64 };

/* Else the compiler takes these loops for memcpy() and memset(), and calls them. */
#define OWN_LOOP() __asm__ volatile("" ::: "memory")

/*
 * Ends, which overlap what is aligned between them, are stored first and last. (`from` is not
 * aligned: a load across two lines costs less than a store.)
 */
_avx2_ static inline __attribute__((always_inline)) void
avx2_loop(char *target, const char *source, size_t size, bool fetches)
{
	char *last = target + size - VECTOR;
	__m256i end = _mm256_loadu_si256((const void *)(source + size - VECTOR));
	size_t skip = VECTOR - ((uintptr_t)target & (VECTOR - 1));

	_mm256_storeu_si256((void *)target, _mm256_loadu_si256((const void *)source));
	target += skip;
	source += skip;
	for (; last - target >= 4 * VECTOR; target += 4 * VECTOR, source += 4 * VECTOR) {
		__m256i a = _mm256_loadu_si256((const void *)source);
		__m256i b = _mm256_loadu_si256((const void *)(source + VECTOR));
		__m256i c = _mm256_loadu_si256((const void *)(source + 2 * VECTOR));
		__m256i d = _mm256_loadu_si256((const void *)(source + 3 * VECTOR));

		if (fetches) {
			__builtin_prefetch(source + AHEAD_NEAR);
			__builtin_prefetch(source + AHEAD_NEAR + LINE);
		}
		OWN_LOOP();
		_mm256_store_si256((void *)target, a);
		_mm256_store_si256((void *)(target + VECTOR), b);
		_mm256_store_si256((void *)(target + 2 * VECTOR), c);
		_mm256_store_si256((void *)(target + 3 * VECTOR), d);
	}
	for (; target < last; target += VECTOR, source += VECTOR) {
		OWN_LOOP();
		_mm256_store_si256((void *)target, _mm256_loadu_si256((const void *)source));
	}
	_mm256_storeu_si256((void *)last, end);
}

_avx2_ static void avx2_copy(void *to, const void *from, size_t size)
{
	if (size < PLAIN)
		memcpy(to, from, size);
	else if (size > NEAR_LEAST && size < NEAR_MOST)
		avx2_loop(to, from, size, true);
	else
		avx2_loop(to, from, size, false);
}

_avx2_ static void avx2_zero(void *to, size_t size)
{
	const __m256i zero = _mm256_setzero_si256();
	char *target = to, *last = target + size - VECTOR;

	if (size < PLAIN_ZERO) {
		memset(to, 0, size);
		return;
	}
	_mm256_storeu_si256((void *)target, zero);
	target += VECTOR - ((uintptr_t)target & (VECTOR - 1));
	for (; last - target >= 4 * VECTOR; target += 4 * VECTOR) {
		OWN_LOOP();
		_mm256_store_si256((void *)target, zero);
		_mm256_store_si256((void *)(target + VECTOR), zero);
		_mm256_store_si256((void *)(target + 2 * VECTOR), zero);
		_mm256_store_si256((void *)(target + 3 * VECTOR), zero);
	}
	for (; target < last; target += VECTOR) {
		OWN_LOOP();
		_mm256_store_si256((void *)target, zero);
	}
	_mm256_storeu_si256((void *)last, zero);
}

/* CP1 */
static void fence(void)
{
	if (!mutant(copy_fence_skipped))
		_mm_sfence();
}

/* Whole lines are streamed, and the ends copied: half a line would be read first to be whole. */
_avx2_ static void avx2_copy_streamed(void *to, const void *from, size_t size)
{
	const char *source = from;
	char *target = to;
	size_t skip;

	if (size < STREAMED_MIN) {
		memcpy(to, from, size);
		return;
	}
	skip = -(uintptr_t)target & (LINE - 1);
	memcpy(target, source, skip);
	target += skip;
	source += skip;
	size -= skip;
	for (; size >= 2 * LINE; size -= 2 * LINE, target += 2 * LINE, source += 2 * LINE) {
		__m256i a = _mm256_loadu_si256((const void *)source);
		__m256i b = _mm256_loadu_si256((const void *)(source + VECTOR));
		__m256i c = _mm256_loadu_si256((const void *)(source + LINE));
		__m256i d = _mm256_loadu_si256((const void *)(source + LINE + VECTOR));

		/* Beyond the end it is in vain, and does no harm. */
		__builtin_prefetch(source + AHEAD, 0, 0);
		__builtin_prefetch(source + AHEAD + LINE, 0, 0);
		_mm256_stream_si256((void *)target, a);
		_mm256_stream_si256((void *)(target + VECTOR), b);
		_mm256_stream_si256((void *)(target + LINE), c);
		_mm256_stream_si256((void *)(target + LINE + VECTOR), d);
	}
	memcpy(target, source, size);
	fence();
}

_avx2_ static void avx2_zero_streamed(void *to, size_t size)
{
	const __m256i zero = _mm256_setzero_si256();
	char *target = to;
	size_t skip;

	if (size < STREAMED_MIN) {
		memset(to, 0, size);
		return;
	}
	skip = -(uintptr_t)target & (LINE - 1);
	memset(target, 0, skip);
	target += skip;
	size -= skip;
	for (; size >= 2 * LINE; size -= 2 * LINE, target += 2 * LINE) {
		_mm256_stream_si256((void *)target, zero);
		_mm256_stream_si256((void *)(target + VECTOR), zero);
		_mm256_stream_si256((void *)(target + LINE), zero);
		_mm256_stream_si256((void *)(target + LINE + VECTOR), zero);
	}
	memset(target, 0, size);
	fence();
}

static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

static bool is_amd(void)
{
	return __builtin_cpu_is("amd");
}

/*
 * The last level's size, or 0. Not sysconf()'s, which adds up all there are in a package on AMD's
 * (320 MiB where this is 32).
 */
static size_t cache_size(void)
{
	enum { INTEL = 4, AMD = 0x8000001d, DATA = 1, UNIFIED = 3, LEAVES = 8 };
	unsigned leaf = is_amd() ? AMD : INTEL, a, b, c, d;
	size_t size = 0;

	for (unsigned i = 0; i < LEAVES && __get_cpuid_count(leaf, i, &a, &b, &c, &d); i++) {
		size_t ways = (b >> 22) + 1, parts = ((b >> 12) & 1023) + 1,
		       line = (b & 4095) + 1;

		if ((a & 31) == DATA || (a & 31) == UNIFIED)
			size = ways * parts * line * ((size_t)c + 1);
		else if (!(a & 31))
			break;
	}
	return size;
}
#else
static size_t cache_size(void)
{
	return 0;
}
#endif

const struct copy_way copy_ways[] = {
#if defined(__x86_64__)
	/* libc's memcpy() is `rep movsb` from 4 KiB on, which these processors do at a thirtieth of
	 * the speed where, modulo 4096, `to` is just above `from`. */
	{"avx2", has_avx2, is_amd, avx2_copy, avx2_zero, avx2_copy_streamed,
	 avx2_zero_streamed},
	{"libc and avx2", has_avx2, always, libc_copy, libc_zero, avx2_copy_streamed,
	 avx2_zero_streamed},
#endif
	{"libc", always, always, libc_copy, libc_zero, libc_copy, libc_zero},
};
const size_t copy_ways_n = ARRAY_SIZE(copy_ways);

/* Found once; by two threads at once, twice the same. */
static const struct copy_way *way(void)
{
	static const struct copy_way *_Atomic found;
	const struct copy_way *is = atomic_load_explicit(&found, memory_order_relaxed);

	if (likely(is))
		return is;
#if defined(__x86_64__)
	__builtin_cpu_init(); /* constructors may copy, too */
#endif
	for (is = copy_ways; !(is->is_here() && is->is_good()); is++)
		continue;
	atomic_store_explicit(&found, is, memory_order_relaxed);
	return is;
}

/* What is not known, or not to be believed, is some middling cache's. Asking takes some 50 us. */
static size_t cache_half(void)
{
	static _Atomic size_t found;
	size_t half = atomic_load_explicit(&found, memory_order_relaxed);

	if (likely(half))
		return half;
	half = cache_size();
	half = (half < CACHE_LEAST ? CACHE_LEAST : half > CACHE_MOST ? CACHE_MOST : half) / 2;
	atomic_store_explicit(&found, half, memory_order_relaxed);
	return half;
}

size_t copy_cached_max(void)
{
	return cache_half() / 2;
}

size_t zero_cached_max(void)
{
	return cache_half();
}

void copy_bytes(void *to, const void *from, size_t size)
{
	if (!size)
		return;
	if (size <= CACHE_LEAST / 4 || size <= copy_cached_max())
		way()->copy(to, from, size);
	else
		way()->copy_streamed(to, from, size);
}

void zero_bytes(void *to, size_t size)
{
	if (!size)
		return;
	if (size <= CACHE_LEAST / 2 || size <= zero_cached_max())
		way()->zero(to, size);
	else
		way()->zero_streamed(to, size);
}

void copy_streamed(void *to, const void *from, size_t size)
{
	if (mutant(stream_fence_skipped))
		size = mutant_stream(to, from, size);
	if (size)
		way()->copy_streamed(to, from, size);
}

void zero_streamed(void *to, size_t size)
{
	if (size)
		way()->zero_streamed(to, size);
}
