/*
 * larson - a server's threads that come and go (Larson and Krishnan, 1998). Each of two threads,
 * one a processor, has 5000 blocks of 8 to 1000 bytes and replaces one at random, a hundred times
 * as often as it has blocks; then it ends, and a new thread, on the other processor, goes on with
 * its blocks. A round is one generation, from before its threads are made until both have ended;
 * they are made on their processors, lest one wait for the other to be moved away.
 * Million replacements (a free and an allocation) a second of both together.
 */
#include <pthread.h>
#include <sched.h>

#include "bench/allocator.h"
#include "bench/blocks.h"
#include "bench/clock.h"
#include "bench/dice.h"

enum {
	THREADS = 2,
	BLOCKS = 5000,
	REPLACEMENTS = 100 * BLOCKS,
	SIZE_LEAST = 8,
	SIZE_MOST = 1000
};

struct crew {
	_Alignas(64) void *blocks[BLOCKS];
	uint64_t state;
};

static struct crew crews[THREADS];
static unsigned generation;
static int cpus[THREADS];

static uint32_t some_size(struct crew *crew)
{
	return SIZE_LEAST + dice_below(&crew->state, SIZE_MOST - SIZE_LEAST + 1);
}

static void *work(void *userdata)
{
	struct crew *crew = userdata;

	for (uint64_t i = 0; i < REPLACEMENTS; i++) {
		void **block = &crew->blocks[dice_below(&crew->state, BLOCKS)];

		release(*block);
		*block = allocate_and_write(some_size(crew), i);
	}
	return NULL;
}

static pthread_t hire(struct crew *crew, int cpu)
{
	pthread_attr_t attributes;
	pthread_t thread;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pthread_attr_init(&attributes) ||
	    pthread_attr_setaffinity_np(&attributes, sizeof(set), &set) ||
	    pthread_create(&thread, &attributes, work, crew))
		contender_die("larson: no thread on processor %d", cpu);
	pthread_attr_destroy(&attributes);
	return thread;
}

void larson_start(const struct contender *contender)
{
	for (unsigned i = 0; i < THREADS; i++) {
		cpus[i] = contender->cpus[i];
		crews[i].state = i + 1;
		for (unsigned j = 0; j < BLOCKS; j++)
			crews[i].blocks[j] = allocate_and_write(some_size(&crews[i]), j);
	}
}

/* Operations a second in thousands: thousandths of millions. */
uint64_t larson_round(void)
{
	pthread_t threads[THREADS];
	uint64_t start_ns = now_ns();

	generation++;
	for (unsigned i = 0; i < THREADS; i++)
		threads[i] = hire(&crews[i], cpus[(i + generation) % THREADS]);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return (uint64_t)THREADS * REPLACEMENTS * 1000000 / (now_ns() - start_ns);
}
