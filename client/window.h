/*
 * Window - one window of an open space, mapped here on first use.
 *
 * W1  Data lies at its number inside the space's reserved range; the slice map lies elsewhere,
 *     read-only. Both are mapped once, and stay until the space closes.
 * W2  Nothing is mapped that is not sealed and sized as the root file and the answer say.
 * W3  Neither forked children nor core dumps get it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct varbos_space;

struct window {
	_Atomic bool mapped; /* release: all below is set */
	uint64_t size;
	uint32_t n_slices;
	const _Atomic uint64_t *map; /* slice words of proto/layout.h */
	/*
	 * For each slice the tag of the extent last freed from here, 0 if none; NULL until the
	 * first free. It tells a second free before the daemon has processed the first.
	 */
	_Atomic uint32_t *_Atomic freed;
	void *_Atomic words; /* words.h; NULL until the first shared block */
	_Atomic int file;    /* of the data: a descriptor + 1; 0 until somebody needs it */
};

/*
 * The window, mapped. VARBOS_E_REFERENCE: the space has no such window; VARBOS_E_LIMIT: its
 * number is beyond what this process has set aside; and whatever goes wrong on the way.
 */
int window_need(struct varbos_space *space, uint32_t number, struct window **ret);

/* The descriptor of a window that is mapped then, to be read; the window's. Fails as window_need(). */
int window_file(struct varbos_space *space, uint32_t number, int *ret);

/* The array above; 0 or -errno. */
int window_freed(struct window *window, _Atomic uint32_t **ret);

/* Unmap and close everything but the data, which goes with the range. */
void window_release(struct window *window);
/* In a forked child, where nothing of it is mapped: close what it has inherited. */
void window_forget(struct window *window);
