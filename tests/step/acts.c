/*
 * What is stepped. No libc: its own state is on the stack and in the actor.
 */
#include "base/base.h"
#include "tests/step/world.h"

enum rule broken;

static bool id_is_dead(void *userdata, uint32_t id)
{
	const struct shared *shared = userdata;

	return id >= WORLD_IDS || atomic_load_explicit(&shared->dead[id], memory_order_acquire);
}

static int word_of(void *userdata, uint64_t ref, _Atomic uint32_t **ret)
{
	struct shared *shared = userdata;

	if (ref_offset(ref) >= WORLD_BLOCKS)
		return RING_E_FOREIGN;
	*ret = &shared->words[ref_offset(ref)];
	return 0;
}

struct ring_end world_end(struct shared *shared, uint32_t self)
{
	return (struct ring_end){.ring = shared_ring(shared),
				 .capacity = WORLD_CAPACITY,
				 .channel = WORLD_CHANNEL,
				 .self = self,
				 .is_dead = id_is_dead,
				 .word_of = word_of,
				 .userdata = shared};
}

static void send(struct actor *actor)
{
	struct ring_end end = world_end(actor->shared, actor->self);
	struct ring_result result;

	actor->r = ring_send(&end, actor->give, actor->n_give, &result);
	actor->wake |= result.wake;
	actor->n_sent = result.count;
}

static void receive(struct actor *actor, uint32_t n)
{
	struct ring_end end = world_end(actor->shared, actor->self);
	struct ring_result result;

	actor->r = ring_receive(&end, actor->held, n, &result);
	actor->wake |= result.wake;
	actor->n_held = result.count;
}

/*
 * As the kernel does it: asleep only if both words still are what they were, and whoever comes
 * after a look wakes. (So the look at *word, after which wakes count, is the last access.)
 */
static void sleep_if(struct actor *actor, uint32_t deaths, enum ring_wake what)
{
	struct ring_end end = world_end(actor->shared, actor->self);

	actor->waits = what;
	actor->deaths = deaths;
	if (!ring_sleep(&end, what, &actor->sleep) ||
	    atomic_load_explicit(&actor->shared->deaths, memory_order_acquire) != deaths)
		return;
	actor->asleep = atomic_load_explicit(actor->sleep.word, memory_order_acquire) ==
			actor->sleep.value;
}

static void wait_item(struct actor *actor)
{
	uint32_t deaths = atomic_load_explicit(&actor->shared->deaths, memory_order_acquire);

	receive(actor, 1);
	if (actor->r == RING_E_EMPTY)
		sleep_if(actor, deaths, RING_WAKE_ITEM);
	else if (actor->r == RING_E_BUSY)
		sleep_if(actor, deaths, RING_WAKE_RECEIVE_LOCK);
}

static void wait_room(struct actor *actor)
{
	uint32_t deaths = atomic_load_explicit(&actor->shared->deaths, memory_order_acquire);

	send(actor);
	if (actor->r == RING_E_FULL)
		sleep_if(actor, deaths, RING_WAKE_ROOM);
	else if (actor->r == RING_E_BUSY)
		sleep_if(actor, deaths, RING_WAKE_SEND_LOCK);
}

/* To B, who may be dead by then. */
static void hand_over(struct actor *actor)
{
	_Atomic uint32_t *word = &actor->shared->words[ref_offset(actor->give[0])];
	uint32_t generation = ref_tag(actor->give[0]);

	actor->r = block_send(word, generation, actor->self, WHO_B);
	actor->n_sent = !actor->r;
	if (actor->r || !id_is_dead(actor->shared, WHO_B) || broken == RULE_ASK_ADDRESSEE)
		return;
	/* Too late for the sweep, perhaps: back, unless it has been swept after all. */
	if (!block_receive(word, generation, WHO_B, actor->self)) {
		actor->n_sent = 0;
		actor->r = -1;
	}
}

static void take_over(struct actor *actor)
{
	for (uint32_t i = 0; i < WORLD_BLOCKS; i++) {
		_Atomic uint32_t *word = &actor->shared->words[i];
		struct block_info info =
			block_word_unpack(atomic_load_explicit(word, memory_order_acquire));

		if (info.state != BLOCK_SENT || info.id == WORLD_CHANNEL ||
		    block_receive(word, info.generation, BLOCK_ANYONE, actor->self))
			continue;
		actor->held[0] = ref_make(info.generation, i);
		actor->n_held = 1;
		block_free(word, info.generation, actor->self, &actor->shared->hint);
		actor->n_held = 0;
		return;
	}
}

static void free_one(struct actor *actor)
{
	actor->r = block_free(&actor->shared->words[ref_offset(actor->give[0])],
			      ref_tag(actor->give[0]), actor->self, &actor->shared->hint);
	actor->n_sent = 1; /* no longer its own, either way */
}

static void collect(struct actor *actor)
{
	uint32_t generation;

	bool hinted = broken == RULE_HINT_FIRST || block_hint_take(&actor->shared->hint);

	for (uint32_t i = 0; hinted && i < WORLD_BLOCKS; i++)
		block_collect(&actor->shared->words[i]);
	if (broken == RULE_HINT_FIRST)
		block_hint_take(&actor->shared->hint);
	for (uint32_t i = 0; i < WORLD_BLOCKS; i++) {
		struct block_info info = block_word_unpack(
			atomic_load_explicit(&actor->shared->words[i], memory_order_acquire));

		if (info.state == BLOCK_FREE &&
		    !block_alloc(&actor->shared->words[i], actor->self, &generation)) {
			actor->held[0] = ref_make(generation, i);
			actor->n_held = 1;
			return;
		}
	}
}

/* Of those who were dead when it began, swept before or not; `deaths` last, so that who wakes sees all of it. */
static void sweep(struct actor *actor)
{
	struct shared *shared = actor->shared;
	_Atomic uint32_t *locks[] = {&shared_ring(shared)->send.lock,
				     &shared_ring(shared)->receive.lock};
	uint32_t old, new;
	bool freed = false, one = false;

	for (uint32_t id = 1; id < WORLD_IDS; id++)
		switch (atomic_load_explicit(&shared->dead[id], memory_order_acquire)) {
		case DEAD:
			if (broken != RULE_SWEEP_ALL || !one)
				block_ids_add(&actor->swept, id);
			one = true;
			break;
		case SWEPT:
			if (broken != RULE_SWEEP_PAST)
				block_ids_add(&actor->swept, id);
			break;
		default:
			break;
		}
	for (uint32_t i = 0; i < WORLD_BLOCKS; i++) {
		old = atomic_load_explicit(&shared->words[i], memory_order_acquire);
		do {
			new = old;
			if (!block_word_sweep(&new, &actor->swept))
				break;
		} while (!block_exchange(&shared->words[i], &old, new));
		freed = freed || new != old;
	}
	if (freed)
		atomic_store_explicit(&shared->hint, 1, memory_order_release);
	for (uint32_t i = 0; i < ARRAY_SIZE(locks) && broken != RULE_SWEEP_LOCKS; i++) {
		old = atomic_load_explicit(locks[i], memory_order_acquire);
		do {
			new = old;
			if (!ring_lock_sweep(&new, &actor->swept))
				break;
		} while (!block_exchange(locks[i], &old, new));
	}
	for (uint32_t id = 1; id < WORLD_IDS; id++)
		if (atomic_load_explicit(&shared->dead[id], memory_order_acquire) == DEAD &&
		    (block_ids_has(&actor->swept, id) || broken == RULE_SWEEP_BEGUN))
			atomic_store_explicit(&shared->dead[id], SWEPT, memory_order_release);
	if (broken != RULE_DEATHS)
		atomic_fetch_add_explicit(&shared->deaths, 1, memory_order_release);
}

void act(void *memory)
{
	struct actor *actor = memory;

	switch (actor->act) {
	case ACT_SEND:
	case ACT_SEND_BATCH:
	case ACT_SEND_FOREIGN:
		return send(actor);
	case ACT_RECEIVE:
		return receive(actor, 1);
	case ACT_RECEIVE_BATCH:
		return receive(actor, 3);
	case ACT_WAIT_ITEM:
		return wait_item(actor);
	case ACT_WAIT_ROOM:
		return wait_room(actor);
	case ACT_HAND_OVER:
		return hand_over(actor);
	case ACT_TAKE_OVER:
		return take_over(actor);
	case ACT_FREE:
		return free_one(actor);
	case ACT_COLLECT:
		return collect(actor);
	case ACT_SWEEP:
		return sweep(actor);
	case ACTS:
	default:
		return;
	}
}
