#include "client/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/base.h"

/* One of the thread's heaps; id 0: a record to be used again. */
struct had {
	struct had *next;
	struct thread_heap has;
};

_Thread_local struct thread_heap thread_heaps[THREAD_HEAPS];
/* One of these, for programs to look at. */
_public_ _Thread_local struct varbos_latest varbos_latest;
static _Thread_local struct had *had_first;
static _Thread_local bool ended;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_result;

/* The open ones, and who may take them away: a thread that ends looks its own up. */
static struct lock open_lock;
static struct heaps *open_first;
static uint64_t next_id = 1;

static struct heaps *find_open(uint64_t id)
{
	struct heaps *heaps = open_first;

	while (heaps && atomic_load_explicit(&heaps->number, memory_order_relaxed) != id)
		heaps = heaps->next;
	return heaps;
}

/* The lock is held throughout: a space that closes meanwhile waits. */
static void thread_end(void *list)
{
	struct had *next;

	lock_acquire(&open_lock);
	for (struct had *had = list; had; had = next) {
		next = had->next;
		if (find_open(had->has.id))
			heap_leave(had->has.heap);
		free(had);
	}
	lock_release(&open_lock);
	had_first = NULL;
	for (uint32_t i = 0; i < THREAD_HEAPS; i++)
		thread_heaps[i] = (struct thread_heap){};
	varbos_latest = (struct varbos_latest){};
	ended = !mutant(thread_end_unseen);
}

bool thread_ended(void)
{
	return ended;
}

static void make_key(void)
{
	key_result = -pthread_key_create(&key, thread_end);
}

static struct heap *remember(struct thread_heap has)
{
	thread_heaps[has.id % THREAD_HEAPS] = has;
	varbos_latest = (struct varbos_latest){
		.opening = has.id, .heap = (struct varbos_latest_heap *)(void *)has.heap};
	return has.heap;
}

static uintptr_t slot_of(uint64_t id)
{
	uintptr_t pointer = 0;

#ifdef THREAD_SLOTS_BY_SEGMENT
	pointer = *(const __seg_fs uintptr_t *)0; /* the first word there is its address */
#endif
	return (uintptr_t)&thread_heaps[id % THREAD_HEAPS] - pointer;
}

int thread_open(struct heaps *heaps, bool watched)
{
	pthread_once(&once, make_key);
	if (key_result)
		return key_result;
	lock_acquire(&open_lock);
	heaps->next = open_first;
	open_first = heaps;
	atomic_store_explicit(&heaps->number, next_id, memory_order_relaxed);
	atomic_store_explicit(&heaps->slot, slot_of(next_id), memory_order_relaxed);
	/* Whoever sees it sees all that was set before. */
	atomic_store_explicit(&heaps->id, watched ? HEAPS_WATCHED : next_id,
			      memory_order_release);
	if (!mutant(thread_id_again))
		next_id++;
	lock_release(&open_lock);
	return 0;
}

void thread_close(struct heaps *heaps)
{
	struct heaps **at;

	lock_acquire(&open_lock);
	for (at = &open_first; *at && *at != heaps; at = &(*at)->next)
		;
	if (*at)
		*at = heaps->next;
	atomic_store_explicit(&heaps->id, HEAPS_UNOPENED, memory_order_relaxed);
	atomic_store_explicit(&heaps->number, 0, memory_order_relaxed);
	lock_release(&open_lock);
}

/* A record to be used again: of a space that is open no more. */
static struct had *had_old(void)
{
	struct had *had;

	lock_acquire(&open_lock);
	for (had = had_first; had && find_open(had->has.id); had = had->next)
		;
	lock_release(&open_lock);
	return had;
}

static struct had *had_new(void)
{
	struct had *had = had_old();

	if (had)
		return had;
	had = calloc(1, sizeof(*had));
	if (!had)
		return NULL;
	had->next = had_first;
	if (pthread_setspecific(key, had)) {
		free(had);
		return NULL;
	}
	had_first = had;
	return had;
}

struct heap *thread_heap_find(uint64_t id)
{
	struct had *had;

	if (!id)
		return NULL;
	for (had = had_first; had && had->has.id != id; had = had->next)
		;
	return had ? remember(had->has) : NULL;
}

struct heap *thread_heap_need(struct heaps *heaps, struct leases *leases)
{
	uint64_t id = atomic_load_explicit(&heaps->number, memory_order_relaxed);
	struct heap *heap = thread_heap_find(id);
	struct had *had;

	if (heap)
		return heap;
	had = had_new();
	if (!had)
		return NULL;
	heap = heap_take(heaps, leases);
	if (!heap)
		return NULL;
	had->has = (struct thread_heap){.id = id, .heap = heap};
	return remember(had->has);
}

void thread_forget(void)
{
	for (struct had *had = had_first; had; had = had->next)
		had->has = (struct thread_heap){};
	for (uint32_t i = 0; i < THREAD_HEAPS; i++)
		thread_heaps[i] = (struct thread_heap){};
	varbos_latest = (struct varbos_latest){};
	open_first = NULL;
}
