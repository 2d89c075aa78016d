/*
 * Spent - memory that something has grown out of: it goes back in pieces.
 *
 * SP1  64 MiB given back at once take the kernel milliseconds; a piece takes it 20 us at most.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>

enum { SPENT_PIECE = 256 << 10 };

/* Zeroed is none. */
struct spent {
	void *memory;
	size_t size;
};

static inline void spent_deinit(struct spent *spent)
{
	free(spent->memory);
	*spent = (struct spent){};
}

/* What is left of what was spent before goes at once. */
static inline void spent_put(struct spent *spent, void *memory, size_t size)
{
	spent_deinit(spent);
	*spent = (struct spent){memory, size};
}

/* A piece of it. */
static inline void spent_shrink(struct spent *spent)
{
	void *less;

	if (spent->size <= SPENT_PIECE) {
		if (spent->memory)
			spent_deinit(spent);
		return;
	}
	less = realloc(spent->memory, spent->size - SPENT_PIECE);
	if (!less)
		return;
	spent->memory = less;
	spent->size -= SPENT_PIECE;
}
