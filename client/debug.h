/*
 * Debug - what $VARBOS_DEBUG=1 watches in a process's own blocks.
 *
 * G1  Every block is noted with the size that was asked, and has at least DEBUG_REST bytes more,
 *     which hold a pattern: a write past the end is found when the block is freed.
 * G2  A freed block is filled with another (DEBUG_FREED) and waits in a queue of DEBUG_QUEUE bytes at
 *     most before its memory is anyone's again: a write to it is found when it leaves, a second
 *     free at once.
 * G3  What was not freed when its space closes, or the program ends, is said by size and class.
 *
 * What is found is said in a line on standard error, unless $VARBOS_QUIET is set. Without the
 * variable none of this costs anything: heaps that are watched have an id that no quick path
 * finds (thread.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { DEBUG_REST = 16, DEBUG_QUEUE = 4 << 20, DEBUG_FREED = 0xdb };

struct debug;

/* Found wrong with a free. */
enum { DEBUG_E_FREED = 1, DEBUG_E_UNKNOWN };

bool debug_wanted(void);

/* For the blocks of a space whose range begins at `base`. NULL: no memory. */
struct debug *debug_new(const char *space, const char *base);
/* Says what is left of it. NULL is fine. */
void debug_free(struct debug *debug);

/* `size` bytes of `usable` are the caller's. False: no memory to note it. */
bool debug_note(struct debug *debug, char *memory, size_t size, size_t usable);

/* The size that was asked, of what is not free; 0 or DEBUG_E_. */
int debug_size(struct debug *debug, const void *memory, size_t *ret);

/* It waits in the queue from now on. 0 or DEBUG_E_. */
int debug_freed(struct debug *debug, const void *memory);
/* What leaves the queue to be freed indeed, until it holds `most` bytes; NULL: nothing. */
void *debug_leave(struct debug *debug, size_t most);
