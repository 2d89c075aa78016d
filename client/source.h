/*
 * Source - where an arena, a pool or a scope gets its memory.
 *
 * S1  What a source gives is a multiple of 16; greater alignment is the taker's to make.
 * S2  What is taken is given back as it was got, or, where `keeps` is set, with the source alone:
 *     giving back is then nothing.
 * S3  Neither leaves a trace in error_entered().
 * S4  A source for one thread serves no taker that is for several.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <varbos/source.h>

#include "client/ties.h"

enum { SOURCE_ALIGN = 16 };

struct arena;
struct source;

struct source_ops {
	/* 0, or a code that error.h knows of. */
	int (*take)(const struct source *source, uint64_t size, void **ret);
	void (*give)(const struct source *source, void *memory);
};

struct source {
	const struct source_ops *ops;
	void *of;
	struct ties *ties;   /* of whom the taker ends with; NULL: of nobody */
	struct arena *arena; /* whose memory it is, where it is an arena's */
	bool keeps;          /* what is given back can be had no more */
	bool shared;         /* threads may take at once */
};

/* `shared`: whether what will take is for several threads. VARBOS_E_INVALID. */
int source_resolve(struct source *ret, const struct varbos_source *source, bool shared);

static inline int source_take(const struct source *source, uint64_t size, void **ret)
{
	return source->ops->take(source, size, ret);
}

static inline void source_give(const struct source *source, void *memory)
{
	source->ops->give(source, memory);
}
