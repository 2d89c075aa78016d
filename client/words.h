/*
 * Words - who holds the shared blocks of a window: its words file, mapped here on first use.
 *
 * D1  It is mapped once, until the space closes, sealed and sized as its window demands;
 *     neither forked children nor core dumps get it.
 * D2  Any writer of the space may have written what is read here. A note is loaded once and
 *     checked against the size classes, the window and the slice map, which the daemon alone
 *     writes: garbage leads to a refusal, or to another word of the same file.
 * D3  Nothing is read of slices that are no blocks' or have not been cut: reading a hole would
 *     commit a page.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/place.h"

/* A shared block: one of a run of slices, or an extent. */
struct words_block {
	_Atomic uint32_t *word;
	_Atomic uint32_t *hint; /* `freed` of its run; NULL: it is an extent */
	uint64_t offset;        /* of its first byte */
	uint64_t size;
	uint32_t tag; /* of its extent */
};

/* The file, mapped; 0 or a VARBOS_E_ code. */
int words_need(struct varbos_space *space, uint32_t number, struct window *window, void **ret);
/* Of the window that `offset` lies in, which is mapped first. */
int words_map(struct varbos_space *space, uint64_t offset);
void words_release(struct window *window);

/*
 * The block that a place of EXTENT_SHARED or EXTENT_BLOCKS lies in. VARBOS_E_REFERENCE: it lies
 * in none that was ever given out. Whether somebody has it, its word knows.
 */
int words_find(struct varbos_space *space, const struct place *place, struct words_block *ret);

/* Why a reference names no word that could be read at once. */
enum words_trouble {
	WORDS_E_NONE = 1, /* it can be no block's */
	WORDS_E_UNMAPPED, /* its window, or that one's words, have to be mapped first */
};

/* The same for a reference to a block's first byte: nothing is mapped, waited for or said. */
int words_peek(struct varbos_space *space, uint64_t ref, struct words_block *ret);

/*
 * Is no block of an extent of EXTENT_BLOCKS in use? Where one is, *start is its word, and where
 * to look first the next time: so that who frees all of them one by one has not to look at all
 * of them each time.
 */
bool words_all_free(const struct window *window, void *words, uint32_t first, uint32_t count,
		    uint64_t *start);
