/*
 * Words - the words file of a window (proto/layout.h), from the daemon's side.
 *
 * D1  Nothing is read through a mapping: a touch of a hole would make a page. Holes are skipped,
 *     and what is read is read once, into memory of our own.
 * D2  A word changes by guard_cas32() alone, and only where data has just been read; a page that
 *     a client took away meanwhile is a word that nobody holds.
 * D3  Every loop ends after the slices that the caller names, whatever the file contains.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/block_word.h"
#include "proto/layout.h"

struct words_run {
	uint32_t first, count; /* slices */
	uint32_t tag;          /* of a shared extent: the first word alone; else 0 */
	bool hint;             /* somebody owns the slices, and wants to know what was freed */
};

struct words_found {
	uint64_t swept; /* words of the dead that are free now */
	bool live;      /* there is a block that somebody holds, or that was sent to somebody */
	bool taken; /* of a shared extent: it has had a holder in this life (generation `tag`) */
	bool freed; /* ... who has freed it */
};

/* Mode 0600, nothing but holes, its size sealed. */
int words_create(const char *name, uint32_t n_slices, int *ret_fd);
/* Is it one? -EBADFD. */
int words_check(int fd, uint32_t n_slices);
/* Take its pages away, whoever still maps it, and close it. */
void words_destroy(int fd);

/*
 * Free what the `dead` hold in a run, or were sent, and look whether others have anything. -errno:
 * the file could not be read or mapped, and part of the run may have been swept.
 */
int words_sweep(int fd, uint32_t n_slices, const struct words_run *run,
		const struct block_ids *dead, struct words_found *ret);

/* 4 bytes of it; of a hole they are 0. */
int words_read(int fd, uint64_t offset, uint32_t *ret);
