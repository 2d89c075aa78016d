/*
 * Rings: a story for each thing that the header promises, with processes that are ids; then
 * threads, which are processes to the ring, at full speed and dying.
 */
#include <check.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "proto/ring.h"
#include "tests/fuzz/sample.h"
#include "tests/suite.h"

enum { CAPACITY = 8, BLOCKS = 64, CHANNEL = 900, A = 1, B = 2, C = 3, SHIFT = 6 };

static _Atomic uint32_t words[BLOCKS];
static atomic_bool dead[BLOCK_IDS];
static struct ring *ring;
static bool unmapped; /* of the block 0 */

static bool id_is_dead(void *userdata, uint32_t id)
{
	ck_assert_uint_ge(id, 1);
	ck_assert_uint_lt(id, BLOCK_IDS);
	return atomic_load(&dead[id]);
}

static int word_of(void *userdata, uint64_t ref, _Atomic uint32_t **ret)
{
	uint64_t i = ref_offset(ref) >> SHIFT;

	if (i >= BLOCKS || ref_offset(ref) % (1 << SHIFT))
		return RING_E_FOREIGN;
	if (!i && unmapped)
		return RING_E_UNMAPPED;
	*ret = &words[i];
	return 0;
}

static struct ring_end end_of(uint32_t self)
{
	return (struct ring_end){.ring = ring,
				 .capacity = CAPACITY,
				 .channel = CHANNEL,
				 .self = self,
				 .is_dead = id_is_dead,
				 .word_of = word_of};
}

static struct ring_end a, b, c;

static void setup(void)
{
	/* Exactly so large, so that a sanitizer sees who goes beyond. */
	ring = aligned_alloc(64, ring_bytes(CAPACITY));
	ck_assert_ptr_nonnull(ring);
	memset(ring, 0, ring_bytes(CAPACITY));
	memset(words, 0, sizeof(words));
	memset(dead, 0, sizeof(dead));
	unmapped = false;
	a = end_of(A);
	b = end_of(B);
	c = end_of(C);
}

static void teardown(void)
{
	free(ring);
}

/* A block that `id` holds. */
static uint64_t block(uint32_t i, uint32_t id)
{
	uint32_t generation;

	ck_assert_int_eq(block_alloc(&words[i], id, &generation), 0);
	return ref_make(generation, (uint64_t)i << SHIFT);
}

static struct block_info info(uint64_t ref)
{
	return block_word_unpack(words[ref_offset(ref) >> SHIFT]);
}

static void assert_word(uint64_t ref, enum block_state state, uint32_t id)
{
	ck_assert_int_eq(info(ref).state, state);
	ck_assert_uint_eq(info(ref).id, id);
}

/* R3, and nobody has a lock. */
static void assert_quiet(void)
{
	uint32_t head = ring->receive.head, tail = ring->send.tail;

	ck_assert_uint_le(tail - head, CAPACITY);
	for (uint32_t i = tail; i != head + CAPACITY; i++)
		ck_assert_uint_eq(ring->slots[i % CAPACITY], 0);
	ck_assert_uint_eq(ring->send.lock % (2 * BLOCK_IDS), 0);
	ck_assert_uint_eq(ring->receive.lock % (2 * BLOCK_IDS), 0);
}

static void send_one(const struct ring_end *end, uint64_t ref)
{
	struct ring_result result;

	ck_assert_int_eq(ring_send(end, &ref, 1, &result), 0);
	ck_assert_uint_eq(result.count, 1);
}

static uint64_t receive_one(const struct ring_end *end)
{
	struct ring_result result;
	uint64_t ref = 0;

	ck_assert_int_eq(ring_receive(end, &ref, 1, &result), 0);
	ck_assert_uint_eq(result.count, 1);
	return ref;
}

START_TEST(blocks_arrive_once_and_in_order)
{
	uint64_t refs[BLOCKS];
	struct ring_result result;

	for (uint32_t i = 0; i < BLOCKS; i++)
		refs[i] = block(i, A);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		send_one(&a, refs[i]);
		assert_word(refs[i], BLOCK_SENT, CHANNEL);
		if (i < 3)
			continue;
		ck_assert_uint_eq(ring_count(&b), 4);
		ck_assert_uint_eq(receive_one(&b), refs[i - 3]);
		assert_word(refs[i - 3], BLOCK_HELD, B);
		assert_quiet();
	}
	for (uint32_t i = BLOCKS - 3; i < BLOCKS; i++)
		ck_assert_uint_eq(receive_one(&c), refs[i]);
	ck_assert_int_eq(ring_receive(&b, refs, 1, &result), RING_E_EMPTY);
	assert_quiet();
}
END_TEST

START_TEST(a_batch_is_sent_as_far_as_there_is_room)
{
	uint64_t refs[12], got[12];
	struct ring_result result;

	for (uint32_t i = 0; i < 12; i++)
		refs[i] = block(i, A);
	ck_assert_int_eq(ring_send(&a, refs, 12, &result), 0);
	ck_assert_uint_eq(result.count, CAPACITY);
	assert_word(refs[CAPACITY - 1], BLOCK_SENT, CHANNEL);
	assert_word(refs[CAPACITY], BLOCK_HELD, A);
	ck_assert_int_eq(ring_send(&a, refs + 8, 4, &result), RING_E_FULL);
	ck_assert_uint_eq(result.count, 0);
	ck_assert_int_eq(ring_receive(&b, got, 3, &result), 0);
	ck_assert_uint_eq(result.count, 3);
	ck_assert_int_eq(ring_send(&a, refs + 8, 4, &result), 0);
	ck_assert_uint_eq(result.count, 3);
	ck_assert_int_eq(ring_receive(&b, got + 3, 9, &result), 0);
	ck_assert_uint_eq(result.count, 8);
	for (uint32_t i = 0; i < 11; i++)
		ck_assert_uint_eq(got[i], refs[i]);
	assert_quiet();
}
END_TEST

START_TEST(who_does_not_hold_a_block_cannot_send_it)
{
	uint64_t refs[3] = {block(1, A), block(2, B), block(3, A)};
	struct ring_result result;

	/* The batch ends before it, and says why when it comes first. */
	ck_assert_int_eq(ring_send(&a, refs, 3, &result), 0);
	ck_assert_uint_eq(result.count, 1);
	ck_assert_int_eq(ring_send(&a, refs + 1, 2, &result), RING_E_REFUSED);
	ck_assert_int_eq(result.why, BLOCK_E_HELD);
	assert_word(refs[1], BLOCK_HELD, B);
	ck_assert_int_eq(ring_send(&a, refs, 1, &result), RING_E_REFUSED);
	ck_assert_int_eq(result.why, BLOCK_E_SENT);
	ck_assert_int_eq(ring_send(&a, &(uint64_t){ref_make(9, 64)}, 1, &result),
			 RING_E_REFUSED);
	ck_assert_int_eq(result.why, BLOCK_E_STALE);
	ck_assert_int_eq(ring_send(&a, &(uint64_t){ref_make(1, 65)}, 1, &result),
			 RING_E_FOREIGN);
	assert_quiet();
	ck_assert_uint_eq(receive_one(&b), refs[0]);
}
END_TEST

START_TEST(a_slot_whose_block_is_somebody_elses_by_now_is_skipped)
{
	uint64_t refs[3] = {block(1, A), block(2, A), block(3, A)}, got[3];
	struct ring_result result;

	ck_assert_int_eq(ring_send(&a, refs, 3, &result), 0);
	words[2] = block_word_pack((struct block_info){BLOCK_FREED, 0, 1});
	ring->slots[2] = ref_make(1, 12345); /* no block at all */
	ck_assert_int_eq(ring_receive(&b, got, 3, &result), 0);
	ck_assert_uint_eq(result.count, 1);
	ck_assert_uint_eq(got[0], refs[0]);
	assert_quiet();
}
END_TEST

START_TEST(what_is_in_a_window_that_is_not_mapped_waits_for_it)
{
	uint64_t refs[2] = {block(1, A), block(0, A)}, got[2];
	struct ring_result result;

	ck_assert_int_eq(ring_send(&a, refs, 2, &result), 0);
	unmapped = true;
	ck_assert_int_eq(ring_receive(&b, got, 2, &result), 0);
	ck_assert_uint_eq(result.count, 1);
	ck_assert_int_eq(ring_receive(&b, got, 2, &result), RING_E_UNMAPPED);
	ck_assert_uint_eq(result.unmapped, refs[1]);
	assert_word(refs[1], BLOCK_SENT, CHANNEL);
	unmapped = false;
	ck_assert_uint_eq(receive_one(&b), refs[1]);
	assert_quiet();
}
END_TEST

/* ---- death ---- */

/* As `self` had left it when it died, with the lock of the senders. */
static void die_sending(uint32_t self, const uint64_t *refs, uint32_t sent, uint32_t written)
{
	ring->send.lock = (ring->send.lock | (2 * BLOCK_IDS - 1)) + 1 + self;
	for (uint32_t i = 0; i < written; i++) {
		ring->slots[(ring->send.tail + i) % CAPACITY] = refs[i];
		if (i < sent)
			ck_assert_int_eq(block_send(&words[ref_offset(refs[i]) >> SHIFT],
						    ref_tag(refs[i]), self, CHANNEL),
					 0);
	}
	dead[self] = true;
}

START_TEST(what_a_dead_sender_had_sent_arrives_and_what_it_had_not_does_not)
{
	uint64_t refs[3] = {block(1, A), block(2, A), block(3, A)}, more = block(4, C), got[4];
	struct ring_result result;

	die_sending(A, refs, 2, 3);
	send_one(&c, more);
	ck_assert_uint_eq(ring_count(&b), 3);
	ck_assert_int_eq(ring_receive(&b, got, 4, &result), 0);
	ck_assert_uint_eq(result.count, 3);
	ck_assert_uint_eq(got[0], refs[0]);
	ck_assert_uint_eq(got[1], refs[1]);
	ck_assert_uint_eq(got[2], more);
	assert_word(refs[2], BLOCK_HELD, A); /* until the sweep */
	assert_quiet();
}
END_TEST

START_TEST(a_receiver_of_an_empty_ring_completes_what_a_dead_sender_began)
{
	uint64_t refs[2] = {block(1, A), block(2, A)};
	struct ring_sleep sleep;

	die_sending(A, refs, 1, 2);
	ck_assert(!ring_sleep(&b, RING_WAKE_ITEM, &sleep));
	ck_assert_uint_eq(receive_one(&b), refs[0]);
	assert_quiet();
}
END_TEST

START_TEST(who_cannot_map_what_a_dead_sender_left_leaves_it_to_others)
{
	uint64_t refs[2] = {block(0, A), block(2, A)}, mine = block(4, C);
	struct ring_result result;

	die_sending(A, refs, 2, 2);
	unmapped = true;
	ck_assert_int_eq(ring_send(&c, &mine, 1, &result), RING_E_UNMAPPED);
	ck_assert_uint_eq(result.unmapped, refs[0]);
	ck_assert_int_eq(ring_receive(&b, &mine, 1, &result), RING_E_UNMAPPED);
	unmapped = false;
	ck_assert_uint_eq(receive_one(&b), refs[0]);
	ck_assert_uint_eq(receive_one(&b), refs[1]);
	assert_quiet();
}
END_TEST

START_TEST(a_lock_is_the_livings_until_they_die)
{
	uint64_t ref = block(1, B);
	struct ring_result result;

	ring->send.lock = ring->receive.lock = 2 * BLOCK_IDS + A;
	ck_assert_int_eq(ring_send(&b, &ref, 1, &result), RING_E_BUSY);
	ck_assert_int_eq(ring_receive(&b, &ref, 1, &result), RING_E_BUSY);
	ck_assert_int_eq(ring_send(&a, &ref, 1, &result), RING_E_BUSY); /* another thread */
	dead[A] = true;
	send_one(&b, ref);
	ck_assert_uint_eq(receive_one(&b), ref);
	assert_quiet();
}
END_TEST

START_TEST(a_sweep_orphans_the_locks_of_the_dead_and_no_others)
{
	struct block_ids set = {};
	uint32_t lock;

	block_ids_add(&set, 0);
	block_ids_add(&set, A);
	for (uint32_t holder = 0; holder < 2 * BLOCK_IDS; holder++) {
		lock = 77 * 2 * BLOCK_IDS + holder;
		ck_assert_int_eq(ring_lock_sweep(&lock, &set), holder == A);
		ck_assert_uint_eq(lock,
				  77 * 2 * BLOCK_IDS + (holder == A ? RING_ORPHAN : holder));
	}

	/* So the id may be somebody else's afterwards. */
	uint64_t refs[2] = {block(1, A), block(2, A)};

	die_sending(A, refs, 2, 2);
	lock = ring->send.lock;
	ck_assert(ring_lock_sweep(&lock, &set));
	ring->send.lock = lock;
	dead[A] = false;
	ck_assert_uint_eq(receive_one(&b), refs[0]);
	ck_assert_uint_eq(receive_one(&b), refs[1]);
	assert_quiet();
}
END_TEST

/* Someone else has the lock between the look and the exchange of `slow`, and its id is reused. */
static bool meanwhile(void *userdata, uint32_t id)
{
	uint64_t *ref = userdata;

	ck_assert_uint_eq(id, A);
	dead[A] = true;
	send_one(&c, *ref); /* C takes it over, and lets go */
	ring->send.lock = (ring->send.lock | (2 * BLOCK_IDS - 1)) + 1 + A; /* the next A */
	return true; /* so A was, when it was asked */
}

START_TEST(who_is_slow_to_take_over_takes_nothing_from_a_living_namesake)
{
	struct ring_end slow = b;
	uint64_t ref = block(1, C), mine = block(2, B);
	struct ring_result result;

	ring->send.lock = 2 * BLOCK_IDS + A;
	slow.is_dead = meanwhile;
	slow.userdata = &ref;
	ck_assert_int_eq(ring_send(&slow, &mine, 1, &result), RING_E_BUSY);
	ck_assert_uint_eq(ring->send.lock % (2 * BLOCK_IDS), A);
}
END_TEST

START_TEST(a_receiver_that_dies_anywhere_is_followed_by_the_next)
{
	uint64_t refs[3] = {block(1, A), block(2, A), block(3, A)};
	struct ring_result result;

	/* B died with the first received, its slot cleared, and the second only received. */
	ck_assert_int_eq(ring_send(&a, refs, 3, &result), 0);
	ring->receive.lock = 2 * BLOCK_IDS + B;
	ck_assert_int_eq(block_receive(&words[1], 1, CHANNEL, B), 0);
	ring->slots[0] = 0;
	ck_assert_int_eq(block_receive(&words[2], 1, CHANNEL, B), 0);
	dead[B] = true;
	ck_assert_uint_eq(receive_one(&c), refs[2]);
	assert_quiet();
}
END_TEST

/* ---- sleep ---- */

START_TEST(who_sleeps_is_woken_by_what_it_waits_for)
{
	uint64_t refs[BLOCKS], got[BLOCKS];
	struct ring_result result;
	struct ring_sleep sleep;

	for (uint32_t i = 0; i < BLOCKS; i++)
		refs[i] = block(i, A);
	ck_assert(ring_sleep(&b, RING_WAKE_ITEM, &sleep));
	ck_assert_ptr_eq(sleep.word, &ring->bells.item);
	ck_assert_uint_eq(sleep.value, ring->bells.item);
	ck_assert_int_eq(ring_send(&a, refs, 2, &result), 0);
	ck_assert_uint_eq(result.wake, RING_WAKE_ITEM);
	ck_assert_uint_ne(sleep.value, ring->bells.item);
	ck_assert_int_eq(ring_send(&a, refs + 2, 2, &result), 0);
	ck_assert_uint_eq(result.wake, 0); /* nobody has come back to sleep */
	ck_assert(!ring_sleep(&b, RING_WAKE_ITEM, &sleep));

	ck_assert(!ring_sleep(&a, RING_WAKE_ROOM, &sleep));
	ck_assert_int_eq(ring_send(&a, refs + 4, 9, &result), 0);
	ck_assert(ring_sleep(&a, RING_WAKE_ROOM, &sleep));
	ck_assert_ptr_eq(sleep.word, &ring->bells.room);
	ck_assert_int_eq(ring_receive(&b, got, 1, &result), 0);
	ck_assert_uint_eq(result.wake, RING_WAKE_ROOM);
	ck_assert_uint_ne(sleep.value, ring->bells.room);
}
END_TEST

/* Found by tests/spin: a flag that is taken away late is taken from one who has just looked. */
START_TEST(who_wakes_late_wakes_those_who_have_looked_since)
{
	uint64_t refs[2] = {block(1, A), block(2, A)};
	struct ring_result result;
	struct ring_sleep first, second;

	ck_assert(ring_sleep(&b, RING_WAKE_ITEM, &first));
	ck_assert(ring_sleep(&c, RING_WAKE_ITEM, &second));
	ck_assert_int_eq(ring_send(&a, refs, 1, &result), 0);
	ck_assert_uint_eq(receive_one(&b), refs[0]);
	/* Between its look and its sleep somebody else has come and gone: it must not sleep. */
	ck_assert_uint_ne(atomic_load(second.word), second.value);
	ck_assert(ring_sleep(&c, RING_WAKE_ITEM, &second));
	ck_assert_uint_eq(atomic_load(second.word), second.value);
	ck_assert_int_eq(ring_send(&a, refs + 1, 1, &result), 0);
	ck_assert_uint_eq(result.wake, RING_WAKE_ITEM);
}
END_TEST

START_TEST(who_waits_for_a_lock_is_woken_when_it_is_let_go)
{
	uint64_t refs[2] = {block(1, A), block(2, A)}, got;
	struct ring_result result;
	struct ring_sleep sleep;

	ck_assert(!ring_sleep(&b, RING_WAKE_SEND_LOCK, &sleep)); /* nobody has it */
	ring->send.lock = 2 * BLOCK_IDS + C;
	ck_assert(ring_sleep(&b, RING_WAKE_SEND_LOCK, &sleep));
	ck_assert_ptr_eq(sleep.word, &ring->bells.send_lock);
	dead[C] = true;
	ck_assert(!ring_sleep(&b, RING_WAKE_SEND_LOCK, &sleep));
	ck_assert_int_eq(ring_send(&a, refs, 1, &result), 0);
	ck_assert(result.wake & RING_WAKE_SEND_LOCK);

	ring->receive.lock = 2 * BLOCK_IDS + B;
	ck_assert(ring_sleep(&a, RING_WAKE_RECEIVE_LOCK, &sleep));
	ck_assert_ptr_eq(sleep.word, &ring->bells.receive_lock);
	dead[B] = true;
	ck_assert_int_eq(ring_receive(&a, &got, 1, &result), 0);
	ck_assert(result.wake & RING_WAKE_RECEIVE_LOCK);
}
END_TEST

/* ---- garbage ---- */

START_TEST(a_ring_of_garbage_ends_every_call_within_its_memory)
{
	uint64_t seed = 1, refs[2 * CAPACITY];
	const char *text = getenv("VARBOS_SEED");
	struct ring_result result;
	struct ring_sleep sleep;
	unsigned spoiled = 0, done = 0;

	if (text)
		seed = strtoull(text, NULL, 0);
	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	for (unsigned round = 0; round < 20000; round++) {
		uint32_t *raw = (uint32_t *)(void *)ring;

		for (size_t i = 0; i < ring_bytes(CAPACITY) / sizeof(*raw); i++)
			raw[i] = (uint32_t)sample_random(&seed);
		/* Some of it plausible, so that each way is gone. */
		if (round & 1)
			ring->send.lock = ring->receive.lock = 0;
		if (round & 2)
			ring->send.tail = ring->receive.head +
					  (uint32_t)sample_random(&seed) % (CAPACITY + 1);
		if (round & 4)
			ring->send.lock |= RING_ORPHAN;
		for (uint32_t i = 0; i < CAPACITY && round & 8; i++)
			ring->slots[i] = ref_make(sample_random(&seed) & 1,
						  (sample_random(&seed) % BLOCKS) << SHIFT);
		dead[sample_random(&seed) % BLOCK_IDS] ^= true;
		for (uint32_t i = 0; i < BLOCKS; i++)
			words[i] = round & 16 ? (uint32_t)sample_random(&seed)
					      : block_word_pack((struct block_info){
							BLOCK_SENT, CHANNEL, 1});
		for (unsigned i = 0; i < ARRAY_SIZE(refs); i++)
			refs[i] = sample_random(&seed);
		spoiled += ring_send(&a, refs, 2 * CAPACITY, &result) == RING_E_SPOILED;
		done += !ring_receive(&b, refs, 2 * CAPACITY, &result);
		ck_assert_uint_le(result.count, CAPACITY);
		for (unsigned what = 0; what < 16; what++)
			ring_sleep(&c, what, &sleep);
		ck_assert_uint_le(ring_count(&c), CAPACITY);
	}
	ck_assert_uint_gt(spoiled, 100);
	ck_assert_uint_gt(done, 100);
}
END_TEST

/* ---- threads ---- */

enum { ROUNDS = 10000 };

/*
 * Each thread owns the blocks of a quarter, is an id, sends and receives; two of them may be the
 * same process. Now and then one "dies" with a lock in its hands, as somebody who is killed
 * does: it stops in the middle, its id is marked, its words swept, and it is another id.
 */
static struct world {
	_Atomic uint32_t next_id, sent, received, swept;
	atomic_bool done;
	pthread_mutex_t daemon;
} world;

static uint64_t plain[BLOCKS]; /* for TSan: written by whoever holds the block */

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void wake(uint32_t what)
{
	for (uint32_t i = 0; i < RING_WAKES; i++)
		if (what & 1U << i)
			futex_wake(ring_bell(ring, 1U << i));
}

/* Without futex_waitv: in slices, for somebody may die. */
static void doze(const struct ring_end *end, enum ring_wake what)
{
	struct timespec slice = {.tv_nsec = 5000000};
	struct ring_sleep sleep;

	if (!atomic_load(&world.done) && ring_sleep(end, what, &sleep))
		syscall(SYS_futex, sleep.word, FUTEX_WAIT, sleep.value, &slice, NULL, 0);
}

/* What the daemon does about a death. */
static void bury(uint32_t id)
{
	struct block_ids set = {};
	_Atomic uint32_t *locks[] = {&ring->send.lock, &ring->receive.lock};

	pthread_mutex_lock(&world.daemon);
	atomic_store(&dead[id], true);
	block_ids_add(&set, id);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint32_t old = atomic_load(&words[i]), new;

		do {
			new = old;
			if (!block_word_sweep(&new, &set))
				break;
		} while (!block_exchange(&words[i], &old, new));
		atomic_fetch_add(&world.swept, new != old);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(locks); i++) {
		uint32_t old = atomic_load(locks[i]), new;

		do {
			new = old;
			if (!ring_lock_sweep(&new, &set))
				break;
		} while (!block_exchange(locks[i], &old, new));
	}
	pthread_mutex_unlock(&world.daemon);
	wake((1U << RING_WAKES) - 1);
}

/* Dies in the middle of sending `ref`, if the lock can be had: as far as `how` says. */
static bool die(const struct ring_end *end, uint64_t ref, unsigned how)
{
	uint32_t old = atomic_load(&ring->send.lock), tail;

	if (old % (2 * BLOCK_IDS) ||
	    !atomic_compare_exchange_strong(&ring->send.lock, &old,
					    ((old | (2 * BLOCK_IDS - 1)) + 1) | end->self))
		return false;
	tail = atomic_load(&ring->send.tail);
	if (how > 0 && tail - atomic_load(&ring->receive.head) < CAPACITY) {
		atomic_store(&ring->slots[tail % CAPACITY], ref);
		if (how > 1)
			block_send(&words[ref_offset(ref) >> SHIFT], ref_tag(ref), end->self,
				   CHANNEL);
	}
	return true;
}

struct member {
	uint32_t self, first;
	bool sends, receives;
	uint64_t seed;
};

static uint64_t block_new(const struct member *member)
{
	uint32_t generation;

	for (uint32_t i = member->first; i < member->first + BLOCKS / 4; i++)
		if (!block_alloc(&words[i], member->self, &generation)) {
			plain[i]++;
			return ref_make(generation, (uint64_t)i << SHIFT);
		}
	return 0;
}

static void *member_run(void *userdata)
{
	struct member *member = userdata;
	struct ring_end end = end_of(member->self);
	uint64_t refs[4];
	struct ring_result result;
	_Atomic uint32_t hint;
	int r;

	for (unsigned round = 0; member->receives || round < ROUNDS; round++) {
		uint32_t n = 0, want = 1 + (uint32_t)sample_random(&member->seed) % 4;

		if (atomic_load(&world.done))
			break;
		while (member->sends && n < want && (refs[n] = block_new(member)))
			n++;
		if (!n && member->sends && !member->receives) {
			sched_yield();
			round--;
			continue;
		}
		if (n && atomic_load(&world.next_id) < CHANNEL - 9 &&
		    sample_random(&member->seed) % 512 == 0 &&
		    die(&end, refs[0], (unsigned)sample_random(&member->seed) % 3)) {
			bury(end.self);
			end.self = member->self = atomic_fetch_add(&world.next_id, 1);
			continue;
		}
		for (uint32_t i = 0; i < n;) {
			r = ring_send(&end, refs + i, n - i, &result);
			wake(result.wake);
			i += result.count;
			atomic_fetch_add(&world.sent, result.count);
			if (r == RING_E_FULL || r == RING_E_BUSY)
				doze(&end,
				     r == RING_E_FULL ? RING_WAKE_ROOM : RING_WAKE_SEND_LOCK);
			else if (r)
				abort();
			if (r == RING_E_FULL && (member->receives || atomic_load(&world.done)))
				for (; i < n; i++) /* not both ends asleep */
					if (block_free(&words[ref_offset(refs[i]) >> SHIFT],
						       ref_tag(refs[i]), end.self, &hint))
						abort();
		}
		if (!member->receives)
			continue;
		r = ring_receive(&end, refs, 4, &result);
		wake(result.wake);
		atomic_fetch_add(&world.received, result.count);
		for (uint32_t i = 0; i < result.count; i++) {
			plain[ref_offset(refs[i]) >> SHIFT]++;
			if (block_free(&words[ref_offset(refs[i]) >> SHIFT], ref_tag(refs[i]),
				       end.self, &hint))
				abort();
		}
		if (r == RING_E_EMPTY && !member->sends) {
			doze(&end, RING_WAKE_ITEM);
		} else if (r == RING_E_BUSY) {
			doze(&end, RING_WAKE_RECEIVE_LOCK);
		} else if (r && r != RING_E_EMPTY) {
			abort();
		}
	}
	if (member->sends && !member->receives)
		atomic_store(&world.done, true);
	return NULL;
}

START_TEST(no_block_is_lost_or_received_twice_by_threads_that_die)
{
	struct member members[] = {
		{1, 0, true, false, 11},
		{2, BLOCKS / 4, true, false, 12},
		{3, BLOCKS / 2, false, true, 13},
		{4, 3 * BLOCKS / 4, true, true, 14},
	};
	pthread_t threads[ARRAY_SIZE(members)];
	struct ring_end last;
	struct ring_result result;
	uint64_t refs[CAPACITY];
	_Atomic uint32_t hint;

	world.next_id = 10;
	pthread_mutex_init(&world.daemon, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(members); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, member_run, &members[i]), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(members); i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);

	last = end_of(5);
	ck_assert_uint_lt(world.next_id, CHANNEL);
	while (!ring_receive(&last, refs, CAPACITY, &result))
		for (uint32_t i = 0; i < result.count; i++)
			ck_assert_int_eq(block_free(&words[ref_offset(refs[i]) >> SHIFT],
						    ref_tag(refs[i]), 5, &hint),
					 0);
	assert_quiet();
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct block_info left = block_word_unpack(words[i]);

		/* Those that a member had in its hands when it was told to stop. */
		ck_assert(left.state == BLOCK_FREE || left.state == BLOCK_FREED ||
			  (left.state == BLOCK_HELD && !dead[left.id]));
	}
	printf("%u sent, %u received, %u of the dead swept\n", world.sent, world.received,
	       world.swept);
	ck_assert_uint_gt(world.received, 1000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ring");
	TCase *tests = tcase_create("ring");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, blocks_arrive_once_and_in_order);
	tcase_add_test(tests, a_batch_is_sent_as_far_as_there_is_room);
	tcase_add_test(tests, who_does_not_hold_a_block_cannot_send_it);
	tcase_add_test(tests, a_slot_whose_block_is_somebody_elses_by_now_is_skipped);
	tcase_add_test(tests, what_is_in_a_window_that_is_not_mapped_waits_for_it);
	tcase_add_test(tests, what_a_dead_sender_had_sent_arrives_and_what_it_had_not_does_not);
	tcase_add_test(tests, a_receiver_of_an_empty_ring_completes_what_a_dead_sender_began);
	tcase_add_test(tests, who_cannot_map_what_a_dead_sender_left_leaves_it_to_others);
	tcase_add_test(tests, a_lock_is_the_livings_until_they_die);
	tcase_add_test(tests, a_sweep_orphans_the_locks_of_the_dead_and_no_others);
	tcase_add_test(tests, who_is_slow_to_take_over_takes_nothing_from_a_living_namesake);
	tcase_add_test(tests, a_receiver_that_dies_anywhere_is_followed_by_the_next);
	tcase_add_test(tests, who_sleeps_is_woken_by_what_it_waits_for);
	tcase_add_test(tests, who_wakes_late_wakes_those_who_have_looked_since);
	tcase_add_test(tests, who_waits_for_a_lock_is_woken_when_it_is_let_go);
	tcase_add_test(tests, a_ring_of_garbage_ends_every_call_within_its_memory);
	tcase_add_test(tests, no_block_is_lost_or_received_twice_by_threads_that_die);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
