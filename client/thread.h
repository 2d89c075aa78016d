/*
 * Thread - which heap of which space the calling thread has.
 *
 * T1  A thread finds its heap by the number of the space's opening, which is never given twice:
 *     what it remembers of a space that was closed, or of the parent's after a fork, matches none.
 * T2  When a thread ends, its heaps go back to those of their spaces that are still open.
 */
#pragma once

#include <stdint.h>

#include "client/heap.h"

/*
 * Found without a search. All of initial-exec memory that a program sets aside for what it
 * loads later is some 1.6 KiB.
 */
enum { THREAD_HEAPS = 16 };

struct thread_heap {
	uint64_t id;
	struct heap *heap;
};

/* Initial-exec: one add to the thread pointer, where the general way is a call. */
extern _Thread_local struct thread_heap thread_heaps[THREAD_HEAPS]
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/* The heaps of an opened space, from now on found by heaps->id. 0 or -errno. */
int thread_open(struct heaps *heaps);
/* Nobody allocates any more, no thread's end touches them any more. */
void thread_close(struct heaps *heaps);

/* The calling thread's heap, or NULL: thread_heap_find() knows. */
static inline struct heap *thread_heap(uint64_t id)
{
	const struct thread_heap *slot = &thread_heaps[id % THREAD_HEAPS];

	return slot->id == id ? slot->heap : NULL;
}

/* The calling thread's heap, wherever it is noted; NULL: it has none. */
struct heap *thread_heap_find(uint64_t id);

/* The same, made if need be: one with these leases. NULL: no memory. */
struct heap *thread_heap_need(struct heaps *heaps, struct leases *leases);

/* In a forked child: its parent's heaps are not there. */
void thread_forget(void);
