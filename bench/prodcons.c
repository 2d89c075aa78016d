/*
 * prodcons - one thread allocates blocks of 64 to 1087 bytes, writes the first word and passes them
 * on; another, on another processor, reads the word and frees them. In between is a ring of 1024
 * pointers that each side publishes one by one, without a lock. ns a block.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "bench/allocator.h"
#include "bench/blocks.h"
#include "bench/clock.h"
#include "bench/dice.h"

enum { SIZE_LEAST = 64, SIZE_MOST = 1087, BLOCKS = 20000, RING = 1024 };

static struct {
	_Alignas(64) _Atomic uint64_t tail; /* written by the producer */
	uint64_t head_seen;
	_Alignas(64) _Atomic uint64_t head; /* by the consumer */
	uint64_t tail_seen;
	_Alignas(64) void *slots[RING];
} ring;

static uint64_t state = 1, passed;
static int consumer_cpu;

static void push(void *block)
{
	uint64_t tail = atomic_load_explicit(&ring.tail, memory_order_relaxed);
	unsigned turns = 0;

	while (tail - ring.head_seen == RING) {
		ring.head_seen = atomic_load_explicit(&ring.head, memory_order_acquire);
		if (tail - ring.head_seen == RING)
			contender_wait(&turns);
	}
	ring.slots[tail % RING] = block;
	atomic_store_explicit(&ring.tail, tail + 1, memory_order_release);
}

static void *pop(void)
{
	uint64_t head = atomic_load_explicit(&ring.head, memory_order_relaxed);
	unsigned turns = 0;

	while (head == ring.tail_seen) {
		ring.tail_seen = atomic_load_explicit(&ring.tail, memory_order_acquire);
		if (head == ring.tail_seen)
			contender_wait(&turns);
	}
	return ring.slots[head % RING];
}

static void *consume(void *userdata)
{
	(void)userdata;
	contender_pin(consumer_cpu);
	for (uint64_t i = 0;; i++) {
		uint64_t *block = pop();

		if (*block != i && allocator_is_real)
			contender_die("prodcons: block %llu came as %llu",
				      (unsigned long long)i, (unsigned long long)*block);
		release(block);
		/* Only now: a round ends when all is freed. */
		atomic_store_explicit(&ring.head, i + 1, memory_order_release);
	}
	return NULL;
}

void prodcons_start(const struct contender *contender)
{
	pthread_t thread;

	consumer_cpu = contender->cpus[1];
	if (pthread_create(&thread, NULL, consume, NULL))
		contender_die("prodcons: no thread");
	pthread_detach(thread);
}

uint64_t prodcons_round(void)
{
	uint64_t start_ns = now_ns();
	unsigned turns = 0;

	for (uint64_t end = passed + BLOCKS; passed < end; passed++)
		push(allocate_and_write(
			SIZE_LEAST + dice_below(&state, SIZE_MOST - SIZE_LEAST + 1), passed));
	while (atomic_load_explicit(&ring.head, memory_order_acquire) != passed)
		contender_wait(&turns);
	return (now_ns() - start_ns) * 1000 / BLOCKS;
}
