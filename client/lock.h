/*
 * Lock - a mutex that no fork leaves locked.
 *
 * K1  One thread of a process holds it; whoever holds it in the parent does not in the child,
 *     where that thread does not exist. The data behind it must therefore be whole after every
 *     single store, or be made anew by the child.
 * K2  Zeroed is free.
 *
 *   word   fork count:30  state:2 (free, held, held and waited for)
 *
 * A word of another fork count is free.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct lock {
	_Atomic uint32_t word;
};

void lock_acquire(struct lock *lock);
/* False: another has it. */
bool lock_try(struct lock *lock);
void lock_release(struct lock *lock);

static inline void lock_releasep(struct lock **lock)
{
	if (*lock)
		lock_release(*lock);
}

/* Sleep while *word is `value`, at the longest until `deadline_ns` of CLOCK_MONOTONIC (0: for
 * good). May return early: look again. */
void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
void futex_wake(_Atomic uint32_t *word, bool all);

/* CLOCK_MONOTONIC. */
uint64_t clock_ns(void);
