#include "client/wait.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "client/lock.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

#define LOOK_NS ((uint64_t)50000000)

/* As the kernel has it; older headers do not. */
struct waiter {
	uint64_t value, address;
	uint32_t flags, reserved;
};

enum { WAITER_32_BITS = 2 };

static struct timespec time_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
				 .tv_nsec = (long)(ns % 1000000000)};
}

static void wait_first(struct wait_word first, uint64_t deadline_ns)
{
	uint64_t look_ns = clock_ns() + LOOK_NS;
	struct timespec until = time_of(deadline_ns ? u64_min(deadline_ns, look_ns) : look_ns);

	syscall(SYS_futex, first.word, FUTEX_WAIT_BITSET, first.value, &until, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

void wait_either(struct wait_word first, struct wait_word second, uint64_t deadline_ns)
{
	struct waiter waiters[] = {
		{.value = first.value,
		 .address = (uintptr_t)first.word,
		 .flags = WAITER_32_BITS},
		{.value = second.value,
		 .address = (uintptr_t)second.word,
		 .flags = WAITER_32_BITS},
	};
	struct timespec until = time_of(deadline_ns);

	if (syscall(SYS_futex_waitv, waiters, ARRAY_SIZE(waiters), 0,
		    deadline_ns ? &until : NULL, CLOCK_MONOTONIC) >= 0)
		return;
	/* Not there, or a sandbox does not let it through. */
	if (errno == ENOSYS || errno == EPERM)
		wait_first(first, deadline_ns);
}

void wait_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
