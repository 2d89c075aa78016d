#include "client/fork.h"

#include <pthread.h>

#include "base/base.h"
#include "client/lanes.h"
#include "client/thread.h"

_Atomic uint32_t fork_counter = 1;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int watch_result;

/* All that may be done here: the child of a threaded process can call no more than a handler. */
static void in_child(void)
{
	uint32_t next = (fork_count() + 1) & (((uint32_t)1 << FORK_COUNT_BITS) - 1);

	if (mutant(client_fork_unseen))
		return;
	thread_forget();
	lanes_forget();
	atomic_store_explicit(&fork_counter, next ? next : 1, memory_order_relaxed);
}

static void watch(void)
{
	watch_result = -pthread_atfork(NULL, NULL, in_child);
}

int fork_watch(void)
{
	pthread_once(&once, watch);
	return watch_result;
}
