/*
 * Arenas - memory that is taken in passing and given back all at once.
 *
 * To allocate is to add to a pointer; nothing is freed alone. An arena leases chunks of memory
 * from its source (source.h), each larger than the one before up to a limit. A reset takes the
 * same time after ten allocations as after ten million: the chunks are kept, and used again from
 * the first. What is larger than the next chunk would be gets an overflow chunk of its own;
 * those are given back after a reset, a few at a time, by later calls that need a chunk.
 *
 * An arena is for one thread at a time, unless VARBOS_ARENA_SHARED is set: then any number of
 * threads may allocate at once. Everything but allocating is for one thread at a time, while no
 * other uses the arena. After fork() the child's calls on an arena, a pool or a scope of its
 * parent's are refused (VARBOS_E_INVALID, "process"), and what the child ends just goes; what
 * is inline here does not notice, and may give out an address where the child has no memory.
 *
 * With VARBOS_DEBUG=1 what a reset or a rewind gives up is overwritten, which takes its time.
 */
#ifndef VARBOS_ARENA_H
#define VARBOS_ARENA_H

#include <varbos/source.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the inline functions look at, in one cache line; no program does. There is more behind. */
struct varbos_arena {
	char *next; /* always a multiple of VARBOS_ARENA_ALIGN */
	char *end;
	char *first, *first_end; /* of the first chunk */
	uint64_t epoch;          /* which arena, and how often it was reset */
	uint32_t at;             /* which chunk is in use */
	uint32_t slow;           /* not 0: a reset has more to do */
};

enum { VARBOS_ARENA_ALIGN = 16 };

enum varbos_arena_flags {
	VARBOS_ARENA_SHARED = 1 << 0, /* threads allocate at once: one fetch-and-add each */
};

struct varbos_arena_options {
	uint64_t initial; /* bytes of the first chunk, leased at creation; 0: 64 KiB */
	uint64_t step; /* each chunk is as large as the last one times `growth`, and so much */
	uint32_t growth;  /* more; in percent, at least 100; 0: 200, or with a step 100 */
	uint32_t flags;   /* enum varbos_arena_flags */
	uint64_t largest; /* no chunk grows beyond; 0: 2 MiB, or `initial` if that is more */
	uint64_t maximum; /* of all chunks together; 0: what the source has */
};

/* Fails as varbos_alloc() does; and with VARBOS_E_EXHAUSTED if `initial` is beyond `maximum`. */
int varbos_arena_create(struct varbos_arena **ret, struct varbos_source source,
			const struct varbos_arena_options *options);

/* All its memory goes, and what was made in it. NULL is fine. */
void varbos_arena_destroy(struct varbos_arena *arena);

/*
 * As varbos_arena_alloc_aligned(). This is what the inline functions below call when the chunk
 * in use cannot serve them, and what other languages may call.
 */
void *varbos_arena_more(struct varbos_arena *arena, size_t align, size_t size);

/*
 * Memory until the next reset or rewind; a multiple of 16, a size of 0 counts as 1. What it
 * contains is undefined. NULL: VARBOS_E_EXHAUSTED at the maximum (requested; max; remaining: what
 * might still be leased), or as varbos_alloc().
 */
static inline void *varbos_arena_alloc(struct varbos_arena *arena, size_t size)
{
	size_t need = (size + (VARBOS_ARENA_ALIGN - 1)) & ~(size_t)(VARBOS_ARENA_ALIGN - 1);
	char *memory;

	/* A need of 0 (of 0 bytes, or of so many that it has wrapped) is no less than any room. */
	if (!arena || need - 1 >= (size_t)(arena->end - arena->next))
		return varbos_arena_more(arena, VARBOS_ARENA_ALIGN, size);
	memory = arena->next;
	arena->next = memory + need;
	return memory;
}

/* At an address that is a multiple of `align`, a power of two up to 1 GiB (else _INVALID). */
static inline void *varbos_arena_alloc_aligned(struct varbos_arena *arena, size_t align,
					       size_t size)
{
	size_t need = (size + (VARBOS_ARENA_ALIGN - 1)) & ~(size_t)(VARBOS_ARENA_ALIGN - 1);
	size_t gap, room;
	char *memory;

	if (!arena || align < VARBOS_ARENA_ALIGN || (align & (align - 1)))
		return varbos_arena_more(arena, align, size);
	gap = (size_t)(0 - (uintptr_t)arena->next) & (align - 1);
	room = (size_t)(arena->end - arena->next);
	if (gap >= room || need - 1 >= room - gap)
		return varbos_arena_more(arena, align, size);
	memory = arena->next + gap;
	arena->next = memory + need;
	return memory;
}

/* varbos_arena_reset(), where there is more to do than it does itself, or for other languages. */
int varbos_arena_reset_all(struct varbos_arena *arena);

/* All that was allocated is given up; the chunks stay. What was made in it ends, newest first. */
static inline int varbos_arena_reset(struct varbos_arena *arena)
{
	if (!arena || arena->slow)
		return varbos_arena_reset_all(arena);
	arena->next = arena->first;
	arena->end = arena->first_end;
	arena->epoch++;
	arena->at = 0;
	return 0;
}

/* A place to go back to. Its fields are the arena's. */
struct varbos_mark {
	uint64_t epoch, chunk, used, overflow, made;
};

/* Marks nest, and one may be gone back to more than once. Of NULL: one that is refused. */
struct varbos_mark varbos_arena_mark(const struct varbos_arena *arena);

/*
 * What was allocated since the mark is given up, in a time that depends on the overflow chunks and
 * on what was made in the arena since. Refused with VARBOS_E_INVALID, "mark", if the mark is
 * another arena's, from before a reset, or from after where the arena has since gone back to.
 */
int varbos_arena_rewind(struct varbos_arena *arena, struct varbos_mark mark);

/* Give back what the arena holds and does not use, but for its first chunk: so many bytes. */
uint64_t varbos_arena_trim(struct varbos_arena *arena);

struct varbos_arena_stats {
	uint64_t used; /* bytes given out, and what was left over in chunks before this one */
	uint64_t held; /* bytes in chunks of both kinds */
	uint64_t maximum;  /* as asked for; 0: none */
	uint64_t chunks;   /* leased, overflow chunks aside */
	uint64_t overflow; /* overflow chunks in use */
	uint64_t kept;     /* overflow chunks that wait to be used again or given back */
	uint64_t resets;
};

int varbos_arena_stats(const struct varbos_arena *arena, struct varbos_arena_stats *ret);

#ifdef __cplusplus
}
#endif
#endif
