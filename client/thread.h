/*
 * Thread - which heap of which space the calling thread has.
 *
 * T1  A thread finds its heap by the number of the space's opening, which is never given twice:
 *     what it remembers of a space that was closed, or of the parent's after a fork, matches none.
 *     Programs find the one that was noted last by themselves (varbos.h).
 * T2  When a thread ends, its heaps go back to those of their spaces that are still open. What it
 *     calls after that (other keys' destructors may) gets no heap to keep: nobody would take it
 *     back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/heap.h"

/*
 * Found without a search. The library is built for initial-exec access, of which a program sets
 * aside some 1.6 KiB for what it loads later.
 */
enum { THREAD_HEAPS = 16 };

struct thread_heap {
	uint64_t id;
	struct heap *heap;
};

extern _Thread_local struct thread_heap thread_heaps[THREAD_HEAPS]
	__attribute__((visibility("hidden")));

/* The heaps of an opened space, from now on found, unless watched by heaps->id. 0 or -errno. */
int thread_open(struct heaps *heaps, bool watched);
/* Nobody allocates any more, no thread's end touches them any more. */
void thread_close(struct heaps *heaps);

/*
 * Where the slot for an id is from the thread pointer, which is the same in every thread: an
 * address by the segment register saves the sum.
 */
#if defined(__SEG_FS) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define THREAD_SLOTS_BY_SEGMENT 1
typedef const __seg_fs struct thread_heap thread_slot;
#else
typedef const struct thread_heap thread_slot;
#endif

/* The calling thread's heap, or NULL: thread_heap_find() knows. */
static inline struct heap *thread_heap(const struct heaps *heaps)
{
	uint64_t id = atomic_load_explicit(&heaps->id, memory_order_relaxed);
#ifdef THREAD_SLOTS_BY_SEGMENT
	thread_slot *slot =
		(thread_slot *)atomic_load_explicit(&heaps->slot, memory_order_relaxed);
#else
	thread_slot *slot = &thread_heaps[id % THREAD_HEAPS];
#endif

	if (__builtin_expect(slot->id != id, 0))
		return NULL;
	if (!slot->heap)
		__builtin_unreachable(); /* an id and its heap are set together */
	return slot->heap;
}

/* The calling thread's heap, wherever it is noted; NULL: it has none. */
struct heap *thread_heap_find(uint64_t number);

/* Has the calling thread given its heaps back, since it ends? */
bool thread_ended(void);

/* The same, made if need be: one with these leases. NULL: no memory. */
struct heap *thread_heap_need(struct heaps *heaps, struct leases *leases);

/* In a forked child: its parent's heaps are not there. */
void thread_forget(void);
