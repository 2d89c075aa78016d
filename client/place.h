/*
 * Place - where an address or an offset lies in a space, and what the slice map says of it.
 *
 * A1  The slice's word is loaded once. The daemon may change it meanwhile: what is said of a
 *     place holds for the moment of that load.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/layout.h"

struct varbos_space;
struct window;

struct place {
	struct window *window;
	uint64_t offset, position;
	uint32_t slice;
	struct slice_info info;
};

/*
 * Something is allocated there: 0; else VARBOS_E_REFERENCE, "foreign" or "freed", or what goes
 * wrong when its window is mapped.
 */
int place_at(struct varbos_space *space, uint64_t offset, struct place *ret);
int place_of(struct varbos_space *space, const void *memory, struct place *ret);

/* Is it a shared block's, with a word that says whose it is? */
static inline bool place_is_shared(const struct place *place)
{
	return place->info.kind == EXTENT_SHARED || place->info.kind == EXTENT_BLOCKS;
}

/*
 * The first slice of the extent of that kind and tag that the slice is part of; false: it has
 * just been freed.
 */
bool place_head(const struct window *window, uint32_t slice, enum extent_kind kind,
		uint32_t tag, uint32_t *ret, struct slice_info *ret_info);
