/*
 * Allocator - what the rows about blocks are about: libc's malloc (or what was preloaded in its
 * place), varbos, or nothing. The rows are compiled three times, once with each, so that all call
 * straight into a shared library, as programs do, and differ in nothing else.
 *
 * All of them check what they get, and write the first line of a block, as programs do.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "bench/contender.h"

#if defined BENCH_VARBOS
#include <varbos/varbos.h>

extern struct varbos_space *allocator_space;

static const bool allocator_is_real = true;

static inline void *allocate(size_t size)
{
	void *memory = varbos_alloc(allocator_space, size);

	if (!memory)
		contender_die("%s", varbos_error()->message);
	return memory;
}

static inline void release(void *memory)
{
	if (varbos_free(allocator_space, memory))
		contender_die("%s", varbos_error()->message);
}

#elif defined BENCH_EMPTY

/* Two calls; the block is always the same one of the thread. */
void *empty_allocate(size_t size);
void empty_release(void *memory);

static const bool allocator_is_real = false;

static inline void *allocate(size_t size)
{
	return empty_allocate(size);
}

static inline void release(void *memory)
{
	empty_release(memory);
}

#else

static const bool allocator_is_real = true;

static inline void *allocate(size_t size)
{
	void *memory = malloc(size);

	if (!memory)
		contender_die("out of memory");
	return memory;
}

static inline void release(void *memory)
{
	free(memory);
}

#endif

/* So that the compiler takes nothing away. */
static inline void *allocate_and_write(size_t size, uint64_t value)
{
	void *memory = allocate(size);

	*(uint64_t *)memory = value;
	__asm__ volatile("" : "+r"(memory) : : "memory");
	return memory;
}

void allocator_start(const struct contender *contender);
void allocator_stop(void);

/* Bytes of memory that the allocator takes from the machine, and from the daemon. */
uint64_t allocator_committed(void);
/* Bytes of a block that may be used. */
size_t allocator_usable(void *memory);
