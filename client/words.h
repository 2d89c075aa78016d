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
#include "client/space.h"
#include "proto/size_class.h"

/* A shared block: one of a run of slices, or an extent. */
struct words_block {
	_Atomic uint32_t *word;
	_Atomic uint32_t *hint; /* `freed` of its run; NULL: it is an extent */
	struct window *window;
	uint32_t slice;  /* that was looked at */
	uint64_t offset; /* of its first byte */
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

/*
 * The most common case, first of all: the first byte of a block that is no longer than a slice,
 * or the first of its run, in a window whose words are mapped here. False: the others know
 * more.
 */
static inline bool words_quick(struct varbos_space *space, uint64_t offset,
			       struct words_block *ret)
{
	uint64_t position = offset_position(offset), within = offset & (SLICE_BYTES - 1), map;
	uint32_t slice = (uint32_t)(position >> SLICE_SHIFT), info, block;
	const struct size_class *class;
	struct slice_note *note;
	struct window *window;
	void *words;

	if (offset >= space->n_windows * WINDOW_BYTES_MAX)
		return false;
	window = &space->windows[offset_window(offset)];
	words = atomic_load_explicit(&window->words, memory_order_acquire);
	if (!words || position >= window->size)
		return false;
	map = atomic_load_explicit(&window->map[slice], memory_order_acquire);
	note = words_note(words, window->n_slices, slice);
	info = atomic_load_explicit(&note->info, memory_order_acquire);
	if ((map >> 20 & 7) != EXTENT_BLOCKS || info - 1 >= CLASSES_SPACED)
		return false;
	class = &size_classes[info - 1];
	block = (uint32_t)(within * class->reciprocal >> 32);
	if ((uint64_t)block * class->size != within || block >= class->blocks)
		return false;
	*ret = (struct words_block){
		.word = words_at(words, words_index(slice, block)),
		.hint = &note->freed,
		.window = window,
		.slice = slice,
		.offset = offset,
		.size = class->size,
		.tag = (uint32_t)map & TAG_MASK,
	};
	return class->slices <= window->n_slices - slice;
}

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
