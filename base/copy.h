/*
 * Copy - many bytes from here to there, or as many zeros, the way that suits their number.
 *
 * CP1 Whoever is shown by a release store what was copied sees all of it: streaming stores, which
 *     later stores overtake even on x86, are fenced before the call returns.
 * CP2 Nothing is read or written but what was said. Of what overlaps the result is undefined.
 * CP3 A way is chosen by facts alone that hold as long as the machine runs (instructions, sizes of
 *     caches). So there is nothing to measure, to lock, or to make anew after a fork.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* What was just written is read again soon, if it has room in a cache. 0 bytes may be NULL's. */
void copy_bytes(void *to, const void *from, size_t size);
void zero_bytes(void *to, size_t size);

/* Past the caches, whatever the size: for what others read, and later; from some 16 KiB it pays. */
void copy_streamed(void *to, const void *from, size_t size);
void zero_streamed(void *to, size_t size);

/* With more bytes than this the first two do as the latter: half of a cache would be gone. */
size_t copy_cached_max(void);
size_t zero_cached_max(void);

/* The instructions that it takes. `copy` and `zero` go through the caches, the others do not. */
struct copy_way {
	const char *name;
	bool (*is_here)(void); /* does the machine have them? */
	bool (*is_good)(void); /* are they better here than those that follow? */
	void (*copy)(void *to, const void *from, size_t size);
	void (*zero)(void *to, size_t size);
	void (*copy_streamed)(void *to, const void *from, size_t size);
	void (*zero_streamed)(void *to, size_t size);
};

/* Best first. The last is everywhere. */
extern const struct copy_way copy_ways[];
extern const size_t copy_ways_n;
