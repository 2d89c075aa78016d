/*
 *   sender                               receiver
 *   slot = ref                  (S1)     word: SENT(channel) -> HELD     (E1)
 *   word: HELD -> SENT(channel) (S2)     slot = 0                        (E2)
 *   tail += n                   (S3)     head += n                       (E3)
 *   fence, is somebody asleep?  (S4)     fence, is somebody asleep?      (E4)
 *
 * S1 before S2, partner: who takes the sender's lock over reads slots, then words. S2 before S3,
 * partner E1: what is published has been sent. E1 before E2: a slot is not lost before
 * somebody holds its block. E2 before E3, partner S1: a slot is cleared before it is used again,
 * not after. S3 before S4, partner: the sleeper's flag, fence, look at `tail` (R6).
 */
#include "proto/ring.h"

#define HOLDER_MASK ((uint32_t)(2 * BLOCK_IDS - 1))

/* After what the sleepers wait for. Odd: there is one. It counts on, so that none sleeps again. */
static void ring_the_bell(struct ring *ring, enum ring_wake what, uint32_t *wake)
{
	_Atomic uint32_t *bell = ring_bell(ring, what);
	uint32_t old = atomic_load_explicit(bell, memory_order_relaxed);

	if (old & 1 && atomic_compare_exchange_strong_explicit(
			       bell, &old, old + 1, memory_order_relaxed, memory_order_relaxed))
		*wake |= what;
}

/* ---- locks ---- */

/* Does nobody who lives have it, though it is not free? */
static bool lock_is_orphaned(const struct ring_end *end, uint32_t lock)
{
	uint32_t holder = lock & HOLDER_MASK;

	if (!holder || holder > RING_ORPHAN)
		return false;
	return holder == RING_ORPHAN || mutant(ring_takes_living) ||
	       end->is_dead(end->userdata, holder);
}

/* 0; *ret_taken: from one who died, with what it left half done. BUSY, SPOILED. */
static int lock_take(const struct ring_end *end, _Atomic uint32_t *lock, bool *ret_taken)
{
	uint32_t old = atomic_load_explicit(lock, memory_order_acquire), holder, new;

	holder = old & HOLDER_MASK;
	if (holder > RING_ORPHAN)
		return RING_E_SPOILED;
	if (holder && !lock_is_orphaned(end, old))
		return RING_E_BUSY;
	new = ((old | HOLDER_MASK) + 1) | end->self;
	if (mutant(ring_turn_kept))
		new = (old & ~HOLDER_MASK) | end->self;
	if (!atomic_compare_exchange_strong_explicit(lock, &old, new, memory_order_acq_rel,
						     memory_order_relaxed))
		return RING_E_BUSY;
	*ret_taken = holder != 0;
	return 0;
}

/* Only its holder writes it. */
static void lock_let_go(_Atomic uint32_t *lock, uint32_t holder)
{
	uint32_t old = atomic_load_explicit(lock, memory_order_relaxed);

	atomic_store_explicit(lock, (old & ~HOLDER_MASK) | holder, memory_order_release);
}

static void send_let_go(const struct ring_end *end, uint32_t holder, struct ring_result *ret)
{
	struct ring *ring = end->ring;

	lock_let_go(&ring->send.lock, holder);
	atomic_thread_fence(memory_order_seq_cst); /* R6 */
	if (!mutant(ring_wake_early))
		ring_the_bell(ring, RING_WAKE_ITEM, &ret->wake);
	ring_the_bell(ring, RING_WAKE_SEND_LOCK, &ret->wake);
}

static void receive_let_go(const struct ring_end *end, struct ring_result *ret)
{
	struct ring *ring = end->ring;

	lock_let_go(&ring->receive.lock, 0);
	atomic_thread_fence(memory_order_seq_cst); /* R6 */
	ring_the_bell(ring, RING_WAKE_ROOM, &ret->wake);
	ring_the_bell(ring, RING_WAKE_RECEIVE_LOCK, &ret->wake);
}

/* ---- slots ---- */

static _Atomic uint64_t *slot_at(const struct ring_end *end, uint32_t position)
{
	return &end->ring->slots[position & (end->capacity - 1)];
}

/*
 * With the lock of a dead sender: publish what it had sent, clear what it had not. Done again
 * from the start if whoever does it dies.
 */
static int send_complete(const struct ring_end *end, struct ring_result *ret)
{
	uint32_t tail = atomic_load_explicit(&end->ring->send.tail, memory_order_relaxed);
	uint32_t head = atomic_load_explicit(&end->ring->receive.head, memory_order_acquire);
	uint32_t sent = 0;
	_Atomic uint32_t *word;
	uint64_t ref;
	int r;

	if (tail - head > end->capacity)
		return RING_E_SPOILED;
	for (uint32_t i = 0; i < end->capacity - (tail - head); i++) {
		struct block_info info = {};

		ref = atomic_load_explicit(slot_at(end, tail + i), memory_order_acquire);
		if (!ref)
			continue;
		r = end->word_of(end->userdata, ref, &word);
		if (r == RING_E_UNMAPPED) {
			ret->unmapped = ref;
			return r;
		}
		if (!r)
			info = block_word_unpack(
				atomic_load_explicit(word, memory_order_acquire));
		if (info.state == BLOCK_SENT && info.id == end->channel &&
		    info.generation == ref_tag(ref))
			sent = i + 1;
		else
			atomic_store_explicit(slot_at(end, tail + i), 0, memory_order_release);
	}
	if (sent)
		atomic_store_explicit(&end->ring->send.tail, tail + sent, memory_order_release);
	return 0;
}

/* 0 with the lock; else without. */
static int send_take(const struct ring_end *end, struct ring_result *ret)
{
	bool taken = false;
	int r;

	r = lock_take(end, &end->ring->send.lock, &taken);
	if (r || !taken || mutant(ring_completion_skipped))
		return r;
	r = send_complete(end, ret);
	if (r)
		send_let_go(end, RING_ORPHAN, ret);
	return r;
}

/* ---- sending ---- */

/* How many may be sent? *ret_tail: where. */
static int room(const struct ring_end *end, uint32_t n, uint32_t *ret_tail, uint32_t *ret_room)
{
	struct ring *ring = end->ring;
	uint32_t tail = atomic_load_explicit(&ring->send.tail, memory_order_relaxed);
	uint32_t head = atomic_load_explicit(&ring->send.head, memory_order_relaxed);

	/* The receivers' line is fetched only when what was seen of it last does not do. */
	if (tail - head > end->capacity || end->capacity - (tail - head) < n) {
		head = atomic_load_explicit(&ring->receive.head, memory_order_acquire);
		if (tail - head > end->capacity)
			return RING_E_SPOILED;
		atomic_store_explicit(&ring->send.head, head, memory_order_relaxed);
	}
	*ret_tail = tail;
	*ret_room = end->capacity - (tail - head);
	return *ret_room ? 0 : RING_E_FULL;
}

/* One reference into its slot, which is not published yet. */
static int slot_send(const struct ring_end *end, uint32_t position, uint64_t ref,
		     struct ring_result *ret)
{
	_Atomic uint64_t *slot = slot_at(end, position);
	_Atomic uint32_t *word;
	int r;

	r = end->word_of(end->userdata, ref, &word);
	if (r) {
		ret->unmapped = ref;
		return r;
	}
	if (!mutant(ring_slot_late))
		atomic_store_explicit(slot, ref, memory_order_release);
	r = block_send(word, ref_tag(ref), end->self, end->channel);
	if (mutant(ring_slot_late))
		atomic_store_explicit(slot, ref, memory_order_release);
	if (r) {
		atomic_store_explicit(slot, 0, memory_order_release);
		ret->why = r;
		return RING_E_REFUSED;
	}
	return 0;
}

int ring_send(const struct ring_end *end, const uint64_t *refs, uint32_t n,
	      struct ring_result *ret)
{
	uint32_t tail = 0, free = 0, i = 0;
	int r;

	*ret = (struct ring_result){};
	r = send_take(end, ret);
	if (r)
		return r;
	r = room(end, n, &tail, &free);
	if (mutant(ring_wake_early))
		ring_the_bell(end->ring, RING_WAKE_ITEM, &ret->wake);
	if (!r && mutant(ring_published_early))
		atomic_store_explicit(&end->ring->send.tail, tail + (uint32_t)u64_min(n, free),
				      memory_order_release);
	for (; !r && i < n && i < free; i++) {
		r = slot_send(end, tail + i, refs[i], ret);
		if (r)
			break;
	}
	if (i && !mutant(ring_published_early))
		atomic_store_explicit(&end->ring->send.tail, tail + i, memory_order_release);
	send_let_go(end, 0, ret);
	ret->count = i;
	return i ? 0 : r;
}

/* ---- receiving ---- */

/* What a slot names becomes this process's, unless it is somebody else's by now. */
static int slot_receive(const struct ring_end *end, uint32_t position, uint64_t *ret_ref,
			struct ring_result *ret)
{
	_Atomic uint64_t *slot = slot_at(end, position);
	uint64_t ref = atomic_load_explicit(slot, memory_order_acquire);
	_Atomic uint32_t *word;
	int r;

	*ret_ref = 0;
	if (!ref)
		return 0;
	r = end->word_of(end->userdata, ref, &word);
	if (r == RING_E_UNMAPPED) {
		ret->unmapped = ref;
		return r;
	}
	if (mutant(ring_cleared_early))
		atomic_store_explicit(slot, 0, memory_order_release);
	if (!r && !block_receive(word, ref_tag(ref), end->channel, end->self))
		*ret_ref = ref;
	if (!mutant(ring_slot_kept))
		atomic_store_explicit(slot, 0, memory_order_release);
	return 0;
}

/* With the receivers' lock: how many there are, if that is less than n. *ret_head: from where. */
static int items(const struct ring_end *end, uint32_t n, uint32_t *ret_head,
		 uint32_t *ret_items)
{
	struct ring *ring = end->ring;
	uint32_t head = atomic_load_explicit(&ring->receive.head, memory_order_relaxed);
	uint32_t tail = atomic_load_explicit(&ring->receive.tail, memory_order_relaxed);

	if (tail - head < n || tail - head > end->capacity) {
		tail = atomic_load_explicit(&ring->send.tail, memory_order_acquire);
		if (tail - head > end->capacity)
			return RING_E_SPOILED;
		atomic_store_explicit(&ring->receive.tail, tail, memory_order_relaxed);
	}
	*ret_head = head;
	*ret_items = tail - head;
	return *ret_items ? 0 : RING_E_EMPTY;
}

/* Did the last sender of an empty ring die? What it had sent is published then. */
static int orphans(const struct ring_end *end, struct ring_result *ret)
{
	uint32_t lock = atomic_load_explicit(&end->ring->send.lock, memory_order_acquire);
	int r;

	if (!lock_is_orphaned(end, lock))
		return RING_E_EMPTY;
	r = send_take(end, ret);
	if (r)
		return r == RING_E_BUSY ? RING_E_EMPTY : r; /* somebody else does it */
	send_let_go(end, 0, ret);
	return 0;
}

/* With the lock: what there is, or what a dead sender had sent besides. */
static int receive_some(const struct ring_end *end, uint64_t *refs, uint32_t n,
			struct ring_result *ret)
{
	uint32_t head = 0, count = 0, i = 0;
	uint64_t ref;
	int r;

	r = items(end, n, &head, &count);
	if (r == RING_E_EMPTY) {
		r = orphans(end, ret);
		if (!r)
			r = items(end, n, &head, &count);
	}
	if (!r && mutant(ring_head_early))
		atomic_store_explicit(&end->ring->receive.head,
				      head + (uint32_t)u64_min(n, count), memory_order_release);
	for (; !r && i < count && ret->count < n; i++) {
		r = slot_receive(end, head + i, &ref, ret);
		if (r)
			break;
		if (ref)
			refs[ret->count++] = ref;
	}
	if (i && !mutant(ring_head_early))
		atomic_store_explicit(&end->ring->receive.head, head + i, memory_order_release);
	return ret->count ? 0 : r;
}

int ring_receive(const struct ring_end *end, uint64_t *refs, uint32_t n,
		 struct ring_result *ret)
{
	bool taken = false;
	int r;

	*ret = (struct ring_result){};
	r = lock_take(end, &end->ring->receive.lock, &taken);
	if (r)
		return r;
	r = receive_some(end, refs, n, ret);
	/* All that there was had to be skipped: it is an empty one only now. */
	if (!r && !ret->count)
		r = receive_some(end, refs, n, ret);
	receive_let_go(end, ret);
	if (ret->count)
		return 0;
	return r ? r : RING_E_EMPTY;
}

/* ---- sleeping ---- */

/* Is there nothing to do for who waits for this? */
static bool is_idle(const struct ring_end *end, enum ring_wake what)
{
	struct ring *ring = end->ring;
	uint32_t tail, head, lock;

	tail = atomic_load_explicit(&ring->send.tail, memory_order_acquire);
	head = atomic_load_explicit(&ring->receive.head, memory_order_acquire);
	lock = atomic_load_explicit(what == RING_WAKE_RECEIVE_LOCK ? &ring->receive.lock
								   : &ring->send.lock,
				    memory_order_acquire);
	switch (what) {
	case RING_WAKE_ITEM:
		return tail == head && !lock_is_orphaned(end, lock);
	case RING_WAKE_ROOM:
		return tail - head == end->capacity;
	case RING_WAKE_SEND_LOCK:
	case RING_WAKE_RECEIVE_LOCK:
		return (lock & HOLDER_MASK) && !lock_is_orphaned(end, lock);
	default:
		return false;
	}
}

bool ring_sleep(const struct ring_end *end, enum ring_wake what, struct ring_sleep *ret)
{
	_Atomic uint32_t *bell = ring_bell(end->ring, what);
	uint32_t value;

	if (!bell || (mutant(ring_sleep_late) && !is_idle(end, what)))
		return false;
	value = atomic_load_explicit(bell, memory_order_acquire);
	if (!(value & 1)) {
		if (!atomic_compare_exchange_strong_explicit(bell, &value, value + 1,
							     memory_order_relaxed,
							     memory_order_relaxed))
			return false; /* much is going on */
		value++;
	}
	atomic_thread_fence(memory_order_seq_cst); /* R6 */
	*ret = (struct ring_sleep){.word = bell, .value = value};
	return mutant(ring_sleep_late) || is_idle(end, what);
}

uint32_t ring_count(const struct ring_end *end)
{
	uint32_t head = atomic_load_explicit(&end->ring->receive.head, memory_order_acquire);
	uint32_t tail = atomic_load_explicit(&end->ring->send.tail, memory_order_acquire);

	return (uint32_t)u64_min(tail - head, end->capacity);
}
