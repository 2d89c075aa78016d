/*
 * Base - the few words every layer uses: ownership, arithmetic that cannot lie, and mutants.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _public_ __attribute__((visibility("default")))
#define _printf_(text, first) __attribute__((format(printf, text, first)))

/* Hand the pointer (or descriptor) to the caller; what is left behind is empty. */
#define TAKE_PTR(p)                        \
	({                                 \
		__typeof__(p) take_ = (p); \
		(p) = NULL;                \
		take_;                     \
	})
#define TAKE_FD(fd)               \
	({                        \
		int take_ = (fd); \
		(fd) = -1;        \
		take_;            \
	})

#define likely(x) __builtin_expect(!!(x), 1)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline uint64_t u64_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t u64_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* False if the sum would wrap; *ret is then untouched. */
static inline bool u64_add(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*ret = sum;
	return true;
}

static inline uint64_t u64_align_down(uint64_t value, uint64_t power)
{
	return value & ~(power - 1);
}

/* False if rounding up to the power of two would wrap. */
static inline bool u64_align_up(uint64_t value, uint64_t power, uint64_t *ret)
{
	if (!u64_add(value, power - 1, &value))
		return false;
	*ret = u64_align_down(value, power);
	return true;
}

/*
 * A mutant is a defect that a test must catch. In the build for mutants (-DVARBOS_MUTANTS) the
 * environment picks at most one of tests/mutants.def; in every other build mutant() is false
 * and costs nothing.
 */
#ifdef VARBOS_MUTANTS
bool mutant_is(const char *name);
/* Asked once at each place: what is measured in nanoseconds stays so. */
#define mutant(name)                                                                    \
	(__extension__({                                                                \
		static signed char mutant_known_;                                       \
		signed char known_ = __atomic_load_n(&mutant_known_, __ATOMIC_RELAXED); \
		if (!known_) {                                                          \
			known_ = mutant_is(#name) ? 1 : -1;                             \
			__atomic_store_n(&mutant_known_, known_, __ATOMIC_RELAXED);     \
		}                                                                       \
		known_ > 0;                                                             \
	}))
/* Between two steps of a defect: long, now and then, as it may be anywhere. */
void mutant_moment(void);
/*
 * As if these bytes were streamed to there: others see the last of them at this thread's next mutant_fence(),
 * after a moment. How many are to be copied now.
 */
size_t mutant_stream(void *to, const void *from, size_t size);
void mutant_fence(void);
#else
#define mutant(name) false
#define mutant_moment() ((void)0)
#define mutant_stream(to, from, size) (size)
#define mutant_fence() ((void)0)
#endif
