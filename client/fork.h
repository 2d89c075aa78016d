/*
 * Fork - which process is this, counted from the one that loaded the library?
 *
 * F1  fork_count() differs between a process and its forked child; nothing else changes it.
 * F2  Whatever belongs to one process alone (a socket, a mapping, a lock) carries the count it
 *     was made under. Another count now means: the parent's, not to be touched.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum { FORK_COUNT_BITS = 30 }; /* leaves a lock word room for its state */

extern _Atomic uint32_t fork_counter __attribute__((visibility("hidden")));

/* Only what has been watched is counted: call it before the first fork_count(). 0 or -errno. */
int fork_watch(void);

static inline uint32_t fork_count(void)
{
	return atomic_load_explicit(&fork_counter, memory_order_relaxed);
}
