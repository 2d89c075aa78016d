/*
 * Bump - what the rows about arenas are about: one of varbos, an APR pool, an obstack, or nothing.
 * The row is compiled with each of them, as programs use them: what a header has inline is inline.
 */
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include "bench/contender.h"

#if defined BENCH_VARBOS
#include <varbos/arena.h>

struct bump {
	struct varbos_arena *arena;
};

static inline void *bump(struct bump *from, size_t size)
{
	void *memory = varbos_arena_alloc(from->arena, size);

	if (!memory)
		contender_die("%s", varbos_error()->message);
	return memory;
}

static inline void bump_reset(struct bump *bump)
{
	if (varbos_arena_reset(bump->arena))
		contender_die("%s", varbos_error()->message);
}

#elif defined BENCH_APR
#include <apr_pools.h>

struct bump {
	apr_pool_t *pool;
};

static inline void *bump(struct bump *from, size_t size)
{
	void *memory = apr_palloc(from->pool, size);

	if (!memory)
		contender_die("out of memory");
	return memory;
}

static inline void bump_reset(struct bump *bump)
{
	apr_pool_clear(bump->pool);
}

#elif defined BENCH_OBSTACK
#include <obstack.h>

#define obstack_chunk_alloc malloc
#define obstack_chunk_free free

struct bump {
	struct obstack stack;
	void *first;
};

static inline void *bump(struct bump *from, size_t size)
{
	return obstack_alloc(&from->stack, (int)size);
}

/* Back to the first object: without any, the stack would have to be made anew. */
static inline void bump_reset(struct bump *bump)
{
	obstack_free(&bump->stack, bump->first);
	bump->first = obstack_alloc(&bump->stack, 1);
}

#else

/* The same 4 KiB again and again. */
struct bump {
	_Alignas(64) char bytes[4096];
	size_t at;
};

static inline void *bump(struct bump *from, size_t size)
{
	from->at = (from->at + ((size + 7) & ~(size_t)7)) % (sizeof(from->bytes) / 2);
	return &from->bytes[from->at];
}

static inline void bump_reset(struct bump *bump)
{
	bump->at = 0;
}

#endif

void bump_start(const struct contender *contender);
void bump_make(struct bump *ret);
void bump_stop(void);
