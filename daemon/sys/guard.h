/*
 * Guard - touching memory that someone else may take away.
 *
 * A client can punch holes into a window, and the page behind a touch of one may not be there:
 * the kernel then sends SIGBUS. The daemon touches what clients can write through these functions
 * alone.
 *
 * G1  A SIGBUS inside one of them is its result, on the thread where it happened; a SIGBUS
 *     anywhere else goes to the handler that was there before, or kills.
 * G2  What is inside is decided by the instruction's address alone: no state of a thread, so
 *     nothing to set, to forget, or to be wrong in a thread that is new.
 * G3  SIGSEGV is not caught: an address that is not mapped is our own mistake.
 *
 * G4  Of a copy, each 8 bytes that are aligned on both sides are one load and one store, so a word
 *     is old or new.
 *
 * A thread that blocks SIGBUS is killed by it, guarded or not.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Once in a process, before the first copy; again is harmless. */
int guard_install(void);

/* 0, or -EFAULT: a page was not there, and any part of dst may have been written. */
int guard_copy(void *dst, const void *src, size_t size);

static inline int guard_load64(const _Atomic uint64_t *at, uint64_t *ret)
{
	return guard_copy(ret, (const void *)at, sizeof(*ret));
}

static inline int guard_store64(_Atomic uint64_t *at, uint64_t value)
{
	return guard_copy((void *)at, &value, sizeof(value));
}

/*
 * The same past the caches, for what is in none and is not read soon. Fenced: who is shown it by a
 * release store sees all of it.
 */
int guard_copy_streamed(void *dst, const void *src, size_t size);

/*
 * One compare-and-swap, acquire and release. 0: *ret_seen is what was there (`expected`: it was
 * swapped); or -EFAULT: the page was not there, nothing was written.
 */
int guard_cas32(_Atomic uint32_t *at, uint32_t expected, uint32_t desired, uint32_t *ret_seen);
