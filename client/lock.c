#include "client/lock.h"

#include <assert.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "client/fork.h"

enum { FREE = 0, HELD = 1, WAITED = 2, STATE_BITS = 2, STATE_MASK = 3 };

static_assert(FORK_COUNT_BITS + STATE_BITS == 32, "the lock word");

uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(deadline_ns / 1000000000),
		.tv_nsec = (long)(deadline_ns % 1000000000),
	};

	/* The bitset form takes an absolute time. Every outcome means: look again. */
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, deadline_ns ? &until : NULL,
		NULL, FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(_Atomic uint32_t *word, bool all)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, all ? INT_MAX : 1, NULL, NULL, 0);
}

static bool is_free(uint32_t word, uint32_t mine)
{
	if ((word & STATE_MASK) == FREE)
		return true;
	return (word & ~(uint32_t)STATE_MASK) != mine && !mutant(client_lock_inherited);
}

void lock_acquire(struct lock *lock)
{
	uint32_t mine = fork_count() << STATE_BITS;
	uint32_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);
	uint32_t taken = HELD; /* after a wait: there may be others who wait still */

	for (;;) {
		if (is_free(word, mine)) {
			if (atomic_compare_exchange_weak_explicit(
				    &lock->word, &word, mine | taken, memory_order_acquire,
				    memory_order_relaxed))
				return;
			continue;
		}
		if ((word & STATE_MASK) == HELD &&
		    !atomic_compare_exchange_weak_explicit(&lock->word, &word, mine | WAITED,
							   memory_order_relaxed,
							   memory_order_relaxed))
			continue;
		futex_wait(&lock->word, mine | WAITED, 0);
		taken = WAITED;
		word = atomic_load_explicit(&lock->word, memory_order_relaxed);
	}
}

bool lock_try(struct lock *lock)
{
	uint32_t mine = fork_count() << STATE_BITS;
	uint32_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);

	return is_free(word, mine) && atomic_compare_exchange_strong_explicit(
					      &lock->word, &word, mine | HELD,
					      memory_order_acquire, memory_order_relaxed);
}

void lock_release(struct lock *lock)
{
	uint32_t word = atomic_exchange_explicit(&lock->word, fork_count() << STATE_BITS,
						 memory_order_release);

	if ((word & STATE_MASK) == WAITED)
		futex_wake(&lock->word, false);
}
