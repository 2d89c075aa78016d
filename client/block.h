/*
 * Block - one block of a process's own: what the calls of varbos.h do with it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct varbos_space;

/* Does the byte lie in a block of ours that is free, as far as this thread can see? */
bool block_is_free(const struct varbos_space *space, const void *memory);

/* After block_enter(); what is no block (too large, too aligned) is an extent. */
struct block_wish {
	size_t size;
	size_t align; /* 0: as it comes */
	uint32_t on;  /* node + 1; 0: as the space says */
};

int block_alloc(struct varbos_space *space, const struct block_wish *wish, void **ret);
int block_free(struct varbos_space *space, const void *memory);
/* How much of private memory of this process may be used. */
int block_size(struct varbos_space *space, const void *memory, size_t *ret);
