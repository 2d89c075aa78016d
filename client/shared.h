/*
 * Shared - blocks that one process hands to another, without the daemon.
 *
 * H1  Who holds a shared block is its word (proto/block_word.h): one process at a time, which
 *     alone may free or send it. In the word a process is its id, which it asks of the daemon
 *     at its first shared use of a space; with that process dies what it holds.
 * H2  Blocks of up to 256 KiB come out of slices that this process leases, cut by the heaps of
 *     its threads as private ones are (heap.h). Words are FREE when a slice is cut; a block
 *     whose bit is free, and whose word is not, somebody has spoiled: it is left alone.
 * H3  What others free of these slices is collected before more are taken (collect.h).
 * H4  A slice whose process has ended is the daemon's. Who frees the last block of such an
 *     extent tells it; who dies before that leaves it to the next sweep.
 * H5  Larger ones are extents of the daemon's, each with a word of its own.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <varbos/varbos.h>

#include "client/blocks.h"
#include "client/collect.h"
#include "client/place.h"

enum { SHARED_HEADS = 64 };

struct shared {
	_Atomic uint32_t id; /* of this process; 0: not asked for yet */
	/* Where extents begin that blocks were freed of here: of each 64 slices the last. */
	_Atomic uint32_t heads[SHARED_HEADS];
	_Atomic uint64_t used; /* a word of such an extent that was in use: looked at first */
	_Atomic uint32_t spoiled;
	struct blocks blocks;
};

/* Zeroed, then this; of the space's opening, and of a forked child's. */
static inline void shared_init(struct shared *shared, struct varbos_space *space)
{
	blocks_init(&shared->blocks, space, EXTENT_BLOCKS, &collect_watch);
}

static inline void shared_forget(struct shared *shared, struct varbos_space *space)
{
	*shared = (struct shared){};
	shared_init(shared, space);
}

/* The process's id in the space; 0 or a VARBOS_E_ code. After space_enter(). */
int shared_id(struct varbos_space *space, uint32_t *ret);

/* Is it no living process's? */
bool shared_is_dead(const struct varbos_space *space, uint32_t id);

/*
 * What the public calls do once they know that the place is of EXTENT_SHARED or EXTENT_BLOCKS.
 * 0 or VARBOS_E_REFERENCE; sizes and references are 0 on failure.
 */
int shared_free(struct varbos_space *space, const struct place *place);
/* The same, without a word of why not: then nothing has happened. */
bool shared_free_quick(struct varbos_space *space, const void *memory);
size_t shared_size(struct varbos_space *space, const struct place *place);
varbos_ref shared_ref(struct varbos_space *space, const struct place *place);
int shared_check(struct varbos_space *space, const struct place *place, varbos_ref ref);

/* An extent that is one block: 0 or a VARBOS_E_ code. */
int shared_alloc_extent(struct varbos_space *space, size_t size,
			const struct varbos_alloc_options *options, void **ret);

/*
 * The block that starts at `memory` and that this process, `id`, holds: its reference; 0 on
 * failure.
 */
varbos_ref shared_held(struct varbos_space *space, const void *memory, uint32_t id,
		       _Atomic uint32_t **ret_word);
