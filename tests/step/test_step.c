/*
 * Single steps: what processes do to shared blocks and to a channel, killed after every machine
 * instruction; and pairs, one stopped between two instructions, one killed after any other.
 *
 * A killed process loses no store: what it leaves is the shared memory as it stands. So what
 * comes after a death at some instruction is tried on that memory, put back as often as need be;
 * deaths that leave the same memory are one. That this is so is shown on a sample that is
 * really killed. Of the first of a pair, only the places before each access to shared memory are
 * different ones to the second: these are found by taking the memory away from it.
 *
 * Afterwards the walker says whether each block is free, or held by somebody alive who knows of
 * it, or under way; whether all that was sent has arrived, once, and in order; whether somebody
 * sleeps who should be awake.
 *
 * Each rule, and each order of two stores, has a defect, in the code (tests/mutants.def) or in
 * what stands for the daemon here: each must be found by this.
 *
 *   test_step [MUTANTS]    MUTANTS: this program with the defects compiled in
 *
 * $VARBOS_STEP=full tries every pair from every start; else one start in three of them, by
 * turns. A defect is looked for where it has to be found.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "tests/step/bottle.h"
#include "tests/step/world.h"

enum { STOPS_MAX = 512, HOLDERS = 2 * BLOCK_IDS, STEPS_MAX = 20000, MEMO_MAX = 256 };

/* How the world stands when the acts begin. */
enum start {
	START_EMPTY,
	START_ONE,
	START_TWO,
	START_FULL,
	START_SENDER_DIED,       /* with one sent that is not published, and one not sent */
	START_SENDER_DIED_EMPTY, /* the same, and nothing before it */
	START_RECEIVER_DIED,     /* with one received whose slot it had not cleared */
	STARTS,
};

/* Blocks: three for A to give, three for B, and so on. */
enum {
	BLOCK_A = 0,
	BLOCK_B = 3,
	BLOCK_C = 6,
	BLOCK_QUEUED = 7, /* to 10: the channel's first */
	BLOCK_SPARE = 11,
	BLOCK_RETURNED = 12, /* freed, not collected */
	BLOCK_OFFERED = 13,  /* sent to anyone */
};

static const char *const act_names[] = {
	[ACT_SEND] = "send",
	[ACT_SEND_BATCH] = "send a batch",
	[ACT_SEND_FOREIGN] = "send what it does not hold",
	[ACT_RECEIVE] = "receive",
	[ACT_RECEIVE_BATCH] = "receive a batch",
	[ACT_WAIT_ITEM] = "wait for an item",
	[ACT_WAIT_ROOM] = "wait for room",
	[ACT_HAND_OVER] = "hand over",
	[ACT_TAKE_OVER] = "take over",
	[ACT_FREE] = "free",
	[ACT_COLLECT] = "collect",
	[ACT_SWEEP] = "sweep",
};

static const char *const start_names[] = {
	[START_EMPTY] = "empty",
	[START_ONE] = "one queued",
	[START_TWO] = "two queued",
	[START_FULL] = "full",
	[START_SENDER_DIED] = "a sender died",
	[START_SENDER_DIED_EMPTY] = "a sender of an empty ring died",
	[START_RECEIVER_DIED] = "a receiver died",
};

/* What happens after the death of the second, while the first stands where it is. */
enum after {
	AFTER_SWEEP,    /* the sweep, then the first goes on */
	AFTER_NOTICED,  /* it goes on before the sweep */
	AFTER_FOLLOWED, /* somebody else uses the channel before it goes on */
	AFTER_NAMESAKE, /* the sweep, and somebody new with the dead one's id is in the midst of sending */
	AFTER_UNSEEN, /* it goes on before anybody knows of the death */
	AFTER_BOTH,   /* it dies, too */
	AFTER_STALE,  /* the sweep, it goes on to its end, and dies, too, before the next */
	AFTER_LATE,   /* the sweep, it goes on by one access, and dies, too */
	AFTERS,
};

static const char *const after_names[] = {
	[AFTER_SWEEP] = "sweep, go on",       [AFTER_NOTICED] = "go on, sweep",
	[AFTER_FOLLOWED] = "follow, go on",   [AFTER_NAMESAKE] = "namesake, go on",
	[AFTER_UNSEEN] = "go on, be noticed", [AFTER_BOTH] = "both die",
	[AFTER_STALE] = "sweep, go on, die",  [AFTER_LATE] = "sweep, one access, die",
};

/* A place in an act: all of its state, and the memory at that time. */
struct stop {
	struct bottle_state state;
	struct shared memory;
};

/* What the second had come to when it was killed; `lives`: it was not. */
struct death {
	struct shared memory;
	struct actor actor;
	uint64_t step;
	bool lives;
};

static struct shared *shared; /* alone in its pages */
static size_t shared_pages;
static struct bottle first, second;
static struct stop *stops;
static struct death *deaths;
static uint64_t n_points, n_states, n_pairs, n_killed;
static char complaint[1024];

/* ---- the world ---- */

static uint64_t block_make(uint32_t i, enum block_state state, uint32_t id)
{
	uint32_t generation = i + 3;

	shared->words[i] = block_word_pack((struct block_info){state, id, generation});
	return ref_make(generation, i);
}

static bool uses_ring(enum act a)
{
	return a <= ACT_WAIT_ROOM;
}

static bool sends(enum act a)
{
	return a <= ACT_SEND_FOREIGN || a == ACT_WAIT_ROOM;
}

static bool receives(enum act a)
{
	return a == ACT_RECEIVE || a == ACT_RECEIVE_BATCH || a == ACT_WAIT_ITEM;
}

static void actor_make(struct actor *actor, enum act a, uint32_t self, uint32_t block)
{
	*actor = (struct actor){.shared = shared, .act = a, .self = self};
	if (a == ACT_COLLECT)
		actor->self = WHO_OWNER;
	if (a == ACT_SWEEP)
		actor->self = 0;
	if (!sends(a) && a != ACT_HAND_OVER && a != ACT_FREE)
		return;
	actor->n_give = a == ACT_SEND_BATCH ? 3 : a == ACT_SEND_FOREIGN ? 2 : 1;
	for (uint32_t i = 0; i < actor->n_give; i++)
		actor->give[i] = block_make(block + i, BLOCK_HELD, self);
	if (a == ACT_SEND_FOREIGN) {
		block_make(block + 1, BLOCK_FREE, 0);
		actor->give[1] = ref_make(BLOCK_C + 3, BLOCK_C);
	}
}

static void queue(uint32_t block, enum block_state state, uint32_t id, bool publish)
{
	struct ring *ring = shared_ring(shared);
	uint32_t at = ring->send.tail;

	while (ring->slots[at % WORLD_CAPACITY])
		at++;
	ring->slots[at % WORLD_CAPACITY] = block_make(block, state, id);
	ring->send.tail += publish;
}

static void world_make(enum start start, struct actor *a, enum act act_a, struct actor *b,
		       enum act act_b)
{
	struct ring *ring = shared_ring(shared);
	uint32_t n = start == START_ONE || start == START_SENDER_DIED ? 1
		     : start == START_TWO                             ? 2
		     : start == START_FULL                            ? 4
								      : 0;

	memset(shared, 0, sizeof(*shared));
	for (uint32_t i = 0; i < WORLD_BLOCKS; i++)
		block_make(i, BLOCK_FREE, 0);
	block_make(BLOCK_C, BLOCK_HELD, WHO_C);
	block_make(BLOCK_RETURNED, BLOCK_FREED, 0);
	block_make(BLOCK_OFFERED, BLOCK_SENT, BLOCK_ANYONE);
	shared->hint = 1;
	/* Counters are about to wrap. */
	ring->send.tail = ring->send.head = ring->receive.head = ring->receive.tail =
		UINT32_MAX - 1;
	for (uint32_t i = 0; i < n; i++)
		queue(BLOCK_QUEUED + i, BLOCK_SENT, WORLD_CHANNEL, true);
	if (start >= START_SENDER_DIED)
		shared->dead[WHO_LATE] = DEAD;
	if (start == START_SENDER_DIED || start == START_SENDER_DIED_EMPTY) {
		ring->send.lock = 7 * HOLDERS + WHO_LATE;
		queue(BLOCK_QUEUED + 1, BLOCK_SENT, WORLD_CHANNEL, false);
		queue(BLOCK_QUEUED + 2, BLOCK_HELD, WHO_LATE, false);
	}
	if (start == START_RECEIVER_DIED) {
		ring->receive.lock = 7 * HOLDERS + WHO_LATE;
		queue(BLOCK_QUEUED, BLOCK_HELD, WHO_LATE, true);
		queue(BLOCK_QUEUED + 1, BLOCK_SENT, WORLD_CHANNEL, true);
	}
	actor_make(a, act_a, WHO_A, BLOCK_A);
	actor_make(b, act_b, WHO_B, BLOCK_B);
}

/* ---- what comes after ---- */

/* Everybody of one trial, in the order in which they came to their ends. */
struct trial {
	struct actor *ended[8];
	unsigned n_ended;
	struct actor a, b, c, last;
	bool a_died, b_died, someone_died;
	uint64_t queued;   /* blocks that were under way when it began */
	uint32_t namesake; /* an id, alive again; with its one block */
	uint64_t namesake_block;
};

static void ended(struct trial *trial, struct actor *actor)
{
	trial->ended[trial->n_ended++] = actor;
}

_printf_(1, 2) static bool complain(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(complaint, sizeof(complaint), format, list);
	va_end(list);
	return false;
}

static void mark_dead(struct trial *trial, const struct actor *actor)
{
	trial->someone_died = true;
	if (!actor->self)
		return; /* the daemon: another comes */
	shared->dead[actor->self] = DEAD;
	if (broken != RULE_DEATHS)
		shared->deaths++;
}

static void sweep_all(void)
{
	struct actor daemon = {.shared = shared, .act = ACT_SWEEP};

	act(&daemon);
}

/* Nothing but a death brings a sweep; a daemon's own, one by the next. */
static bool sweep_is_due(const struct trial *trial)
{
	for (uint32_t id = 1; id < WORLD_IDS; id++)
		if (shared->dead[id] == DEAD)
			return true;
	return (trial->a_died && !trial->a.self) || (trial->b_died && !trial->b.self);
}

/* C receives one, and sends its own. */
static void follow(struct trial *trial)
{
	struct actor *c = &trial->c;

	c->act = ACT_RECEIVE;
	act(c);
	trial->last = (struct actor){.shared = shared,
				     .self = WHO_C,
				     .act = ACT_SEND,
				     .give = {ref_make(BLOCK_C + 3, BLOCK_C)},
				     .n_give = 1};
	act(&trial->last);
	trial->last.wake |= c->wake;
	ended(trial, &trial->last);
}

/* Somebody new with the id takes the lock, and has sent, but not published yet. */
static void namesake_begin(struct trial *trial, uint32_t id)
{
	struct ring *ring = shared_ring(shared);
	uint32_t tail, lock, generation;

	shared->dead[id] = ALIVE;
	trial->namesake = id;
	/* What the dead one left half done is completed first, by another. */
	if (ring->send.lock % HOLDERS == RING_ORPHAN)
		follow(trial);
	tail = ring->send.tail;
	lock = mutant(ring_turn_kept) ? ring->send.lock : ring->send.lock + HOLDERS;
	if (lock % HOLDERS || tail - ring->receive.head >= WORLD_CAPACITY ||
	    block_alloc(&shared->words[BLOCK_SPARE], id, &generation))
		return;
	trial->namesake_block = ref_make(generation, BLOCK_SPARE);
	ring->send.lock = lock | id;
	ring->slots[tail % WORLD_CAPACITY] = trial->namesake_block;
	block_send(&shared->words[BLOCK_SPARE], generation, id, WORLD_CHANNEL);
}

static bool namesake_end(struct trial *trial)
{
	struct ring *ring = shared_ring(shared);

	if (!trial->namesake_block)
		return true;
	if (ring->send.lock % HOLDERS != trial->namesake)
		return complain("a lock is taken from the living");
	ring->send.tail++;
	ring->send.lock -= trial->namesake;
	/* As it wakes without the ring's code, it wakes all. */
	trial->last =
		(struct actor){.self = trial->namesake, .act = ACTS, .wake = ~(uint32_t)0};
	ended(trial, &trial->last);
	return true;
}

/* ---- the walker ---- */

static bool is_alive(const struct trial *trial, uint32_t id)
{
	return id && id < WORLD_IDS && !shared->dead[id];
}

/* Does this one, who has come to its end, know that it holds the block? */
static bool knows(const struct actor *actor, uint64_t ref)
{
	for (uint32_t i = 0; i < actor->n_held; i++)
		if (actor->held[i] == ref)
			return true;
	for (uint32_t i = actor->n_sent; i < actor->n_give; i++)
		if (actor->give[i] == ref && ref_offset(ref) != BLOCK_C)
			return true;
	return false;
}

static bool has_sent(const struct actor *actor, uint64_t ref)
{
	for (uint32_t i = 0; i < actor->n_sent; i++)
		if (sends(actor->act) && actor->give[i] == ref)
			return true;
	return false;
}

static uint32_t knowers(const struct trial *trial, uint64_t ref, uint32_t *ret_id)
{
	uint32_t n = 0;

	if (!trial->a_died && knows(&trial->a, ref)) {
		*ret_id = trial->a.self;
		n++;
	}
	if (!trial->b_died && knows(&trial->b, ref)) {
		*ret_id = trial->b.self;
		n++;
	}
	return n;
}

/* All that the channel still has, by one who lives: in order, and then it is quiet. */
static bool drain(struct trial *trial, uint64_t *got, uint32_t *ret_n)
{
	struct ring_end end = world_end(shared, WHO_C);
	struct ring_result result;
	struct ring *ring = shared_ring(shared);
	uint32_t n = trial->c.n_held;
	uint64_t mine = ref_make(BLOCK_C + 3, BLOCK_C);
	int r;

	memcpy(got, trial->c.held, n * sizeof(*got));
	for (;;) {
		r = ring_receive(&end, got + n, WORLD_BLOCKS, &result);
		if (r)
			break;
		n += result.count;
		if (n > WORLD_BLOCKS)
			return complain("more came out than was put in");
	}
	if (r != RING_E_EMPTY)
		return complain("the channel does not run empty, but ends with %d", r);
	if (ring->send.lock % HOLDERS || ring->receive.lock % HOLDERS)
		return complain("a lock is held by nobody: %x, %x", ring->send.lock,
				ring->receive.lock);
	if (ring->send.tail != ring->receive.head)
		return complain("an empty channel has items");
	for (uint32_t i = 0; i < WORLD_CAPACITY; i++)
		if (ring->slots[i])
			return complain("a slot is not cleared");
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = i + 1; j < n; j++) {
			uint64_t x = ref_offset(got[i]), y = ref_offset(got[j]);
			bool queued = y >= BLOCK_QUEUED && y < BLOCK_SPARE;

			if (got[i] == got[j] && got[i] != mine)
				return complain("block %d was received twice", (int)x);
			if ((queued && (x < BLOCK_QUEUED || x >= BLOCK_SPARE)) ||
			    (x > y && x / 3 == y / 3 && y < BLOCK_C) ||
			    (x > y && queued && x < BLOCK_SPARE))
				return complain("block %d overtook block %d", (int)x, (int)y);
		}
	*ret_n = n;
	return true;
}

static bool has_come(const uint64_t *got, uint32_t n, uint64_t ref)
{
	for (uint32_t i = 0; i < n; i++)
		if (got[i] == ref)
			return true;
	return false;
}

/* Whoever sleeps has nothing to do, or was woken after it fell asleep. */
static bool none_oversleeps(const struct trial *trial)
{
	for (unsigned i = 0; i < trial->n_ended; i++) {
		struct actor *actor = trial->ended[i];
		struct ring_end end = world_end(shared, actor->self);
		struct ring_sleep sleep;
		struct shared saved = *shared;
		bool woken = shared->deaths != actor->deaths, idle;

		if (!actor->asleep || (actor == &trial->a && trial->a_died) ||
		    (actor == &trial->b && trial->b_died))
			continue;
		for (unsigned j = i + 1; j < trial->n_ended; j++)
			if (trial->ended[j]->wake & actor->waits &&
			    !(trial->ended[j] == &trial->a && trial->a_died))
				woken = true;
		idle = ring_sleep(&end, actor->waits, &sleep);
		*shared = saved;
		if (!idle && !woken)
			return complain("%s sleeps though there is something to do",
					act_names[actor->act]);
	}
	return true;
}

static bool walk(struct trial *trial)
{
	uint64_t got[4 * WORLD_BLOCKS];
	uint32_t n_got = 0, generation;
	bool receiver_died = (trial->a_died && receives(trial->a.act)) ||
			     (trial->b_died && receives(trial->b.act));

	if (!none_oversleeps(trial) || !drain(trial, got, &n_got))
		return false;
	for (uint32_t i = 0; i < WORLD_BLOCKS; i++) {
		struct block_info info = block_word_unpack(shared->words[i]);
		uint64_t ref = ref_make(info.generation, i);
		bool came = has_come(got, n_got, ref);
		uint32_t id = 0, n = knowers(trial, ref, &id) + came;
		bool returned = info.state == BLOCK_FREE || info.state == BLOCK_FREED;

		if (came)
			id = WHO_C;
		if (i == BLOCK_C && !n && info.state == BLOCK_HELD && info.id == WHO_C)
			continue; /* C's own, which it has not sent */
		if (n > 1)
			return complain("block %u has %u holders", i, n);
		if (n && (info.state != BLOCK_HELD || info.id != id))
			return complain("block %u is not its holder's: state %u, id %u", i,
					info.state, info.id);
		if (info.state == BLOCK_HELD && !n)
			return complain("block %u is lost: held by %u, who does not know", i,
					info.id);
		if (info.state == BLOCK_SENT && info.id && !is_alive(trial, info.id))
			return complain("block %u is lost: sent to %u, who is dead", i,
					info.id);
		if (info.state == BLOCK_SENT && info.id == WORLD_CHANNEL)
			return complain("block %u is lost: in no slot", i);
		/* What was queued, or what the living have sent, does not vanish. */
		if (returned && !receiver_died && info.generation == i + 3) {
			if (trial->queued >> i & 1 ||
			    (!trial->a_died && has_sent(&trial->a, ref)) ||
			    (!trial->b_died && has_sent(&trial->b, ref)))
				return complain("block %u has been sent, and is gone", i);
		}
		if (info.state == BLOCK_FREED && !trial->someone_died && !shared->hint)
			return complain("block %u waits for its owner, who was not told", i);
		if (info.state == BLOCK_FREED)
			block_collect(&shared->words[i]);
	}
	/* And all that is free can be had again, which ends the references of before. */
	for (uint32_t i = 0; i < WORLD_BLOCKS; i++) {
		struct block_info info = block_word_unpack(shared->words[i]);

		if (info.state != BLOCK_FREE)
			continue;
		if (block_alloc(&shared->words[i], WHO_OWNER, &generation) ||
		    block_word_check(shared->words[i], info.generation) != BLOCK_E_STALE)
			return complain("block %u is free, and its old references pass", i);
	}
	return true;
}

/* ---- trials ---- */

static bool same(const struct shared *a, const struct shared *b)
{
	return !memcmp((const void *)a, (const void *)b, sizeof(*a));
}

/* Blocks that are under way when the acts begin: nobody may lose them. */
static uint64_t queued_mask(void)
{
	uint64_t mask = 0;

	for (uint32_t i = BLOCK_QUEUED; i < BLOCK_QUEUED + 4; i++)
		if (block_word_unpack(shared->words[i]).state == BLOCK_SENT)
			mask |= (uint64_t)1 << i;
	return mask;
}

/*
 * What the first comes to from where it stands, by the memory that it finds: the same again
 * and again, so it is run once.
 */
static struct memo {
	struct shared before, after;
	struct actor actor;
	enum bottle_is is;
} * memo;
static unsigned n_memo;

static const struct memo *go_on_from(const struct stop *stop)
{
	struct memo *new = &memo[n_memo % MEMO_MAX];

	for (unsigned i = 0; i < n_memo && i < MEMO_MAX; i++)
		if (same(&memo[i].before, shared))
			return &memo[i];
	n_memo++;
	new->before = *shared;
	bottle_restore(&first, &stop->state);
	new->is = bottle_finish(&first);
	new->after = *shared;
	memcpy(&new->actor, first.memory, sizeof(new->actor));
	return new;
}

/* By the access that it is about to make. */
static bool go_on_once(struct trial *trial, const struct stop *stop)
{
	enum bottle_is is;

	bottle_restore(&first, &stop->state);
	is = bottle_step(&first);
	memcpy(&trial->a, first.memory, sizeof(trial->a));
	return is == BOTTLE_RUNS || is == BOTTLE_ENDED || complain("it crashes");
}

static bool go_on(struct trial *trial, const struct stop *stop)
{
	const struct memo *end = go_on_from(stop);
	enum bottle_is is = end->is;

	*shared = end->after;
	trial->a = end->actor;
	ended(trial, &trial->a);
	if (is == BOTTLE_ENDED)
		return true;
	return complain(is == BOTTLE_HANGS ? "it hangs" : "it crashes");
}

/*
 * The second died as `death` says, the first stands at `stop`; NULL: there is no first. False:
 * `complaint`.
 */
static bool try_one(const struct stop *stop, bool stop_is_end, const struct death *death,
		    enum after after, enum start start, uint64_t queued)
{
	struct trial trial = {.b = death->actor, .b_died = !death->lives};

	*shared = death->memory;
	trial.c = (struct actor){.shared = shared, .self = WHO_C};
	trial.queued = queued;
	if (stop) {
		memcpy(&trial.a, stop->state.private, sizeof(trial.a));
		if (stop_is_end)
			ended(&trial, &trial.a);
	} else {
		trial.a.self = 0;
	}
	if (death->lives)
		ended(&trial, &trial.b);
	else if (after != AFTER_UNSEEN)
		mark_dead(&trial, &trial.b);

	if (after == AFTER_SWEEP || after == AFTER_STALE || after == AFTER_LATE ||
	    (after == AFTER_NAMESAKE && broken != RULE_SWEEP_FIRST))
		sweep_all();
	if (after == AFTER_FOLLOWED)
		follow(&trial);
	if (after == AFTER_NAMESAKE)
		namesake_begin(&trial, start >= START_SENDER_DIED || !trial.b.self ||
						       trial.b.self == WHO_OWNER
					       ? WHO_LATE
					       : trial.b.self);
	if (stop && !stop_is_end) {
		if (after == AFTER_BOTH || after == AFTER_LATE) {
			if (after == AFTER_LATE && !go_on_once(&trial, stop))
				return false;
			trial.a_died = true;
			mark_dead(&trial, &trial.a);
		} else if (!go_on(&trial, stop)) {
			return false;
		}
	}
	if (!namesake_end(&trial))
		return false;
	if (after == AFTER_UNSEEN && !death->lives)
		mark_dead(&trial, &trial.b);
	/* If nobody died, no sweep wakes anybody. */
	if (!trial.someone_died && !none_oversleeps(&trial))
		return false;
	if (after == AFTER_STALE && stop && !stop_is_end) {
		/* At its very end. */
		trial.a_died = true;
		mark_dead(&trial, &trial.a);
	}
	if (sweep_is_due(&trial))
		sweep_all();
	return walk(&trial);
}

/* ---- stepping ---- */

/* The second runs from the memory as it is; where it may die, as far as that makes a difference. */
static uint32_t deaths_of(const struct actor *actor, bool *ret_good)
{
	enum bottle_is is;
	uint32_t n = 0;
	uint64_t step = 0;

	memset(second.memory, 0, BOTTLE_PRIVATE);
	memcpy(second.memory, actor, sizeof(*actor));
	bottle_start(&second, act);
	deaths[n++] = (struct death){.memory = *shared, .actor = *actor};
	do {
		is = bottle_step(&second);
		step++;
		if (same(shared, &deaths[n - 1].memory) && is == BOTTLE_RUNS)
			continue;
		deaths[n].memory = *shared;
		memcpy(&deaths[n].actor, second.memory, sizeof(deaths[n].actor));
		deaths[n].step = step;
		deaths[n].lives = false;
		n++;
	} while (is == BOTTLE_RUNS && n < STOPS_MAX - 1 && step < STEPS_MAX);
	*ret_good = is == BOTTLE_ENDED;
	/* At its end it may die as well, or live. */
	deaths[n] = deaths[n - 1];
	deaths[n++].lives = true;
	n_points += step;
	return n;
}

/* Places of the first that differ for others: before each access to shared memory, and its end. */
static uint32_t stops_of(const struct actor *actor, bool *ret_good)
{
	enum bottle_is is;
	uint32_t n = 0;

	memset(first.memory, 0, BOTTLE_PRIVATE);
	memcpy(first.memory, actor, sizeof(*actor));
	bottle_start(&first, act);
	bottle_protect(&first, shared, shared_pages, PROT_NONE);
	do {
		is = bottle_step(&first);
		if (is == BOTTLE_RUNS)
			continue;
		bottle_save(&first, &stops[n].state);
		stops[n++].memory = *shared;
		if (is != BOTTLE_FAULTS || (uint8_t *)first.fault < (uint8_t *)shared ||
		    (uint8_t *)first.fault >= (uint8_t *)shared + shared_pages)
			break;
		bottle_protect(&first, shared, shared_pages, PROT_READ | PROT_WRITE);
		is = bottle_step(&first);
		bottle_protect(&first, shared, shared_pages, PROT_NONE);
		if (is == BOTTLE_ENDED) {
			bottle_save(&first, &stops[n].state);
			stops[n++].memory = *shared;
		}
	} while ((is == BOTTLE_RUNS || is == BOTTLE_FAULTS) && n < STOPS_MAX - 1);
	*ret_good = is == BOTTLE_ENDED;
	bottle_protect(&first, shared, shared_pages, PROT_READ | PROT_WRITE);
	return n;
}

static bool single(enum act a, enum start start)
{
	struct actor none, actor;
	uint64_t queued;
	uint32_t n;
	bool good;

	world_make(start, &none, ACT_RECEIVE, &actor, a);
	queued = queued_mask();
	n = deaths_of(&actor, &good);
	if (!good)
		return complain("%s, %s: it does not end", act_names[a], start_names[start]);
	for (uint32_t j = 0; j < n; j++)
		for (enum after after = 0; after < AFTER_BOTH; after++) {
			n_states++;
			if (!try_one(NULL, false, &deaths[j], after, start, queued)) {
				fprintf(stderr,
					"%s, %s, killed after instruction %" PRIu64 ", %s\n",
					act_names[a], start_names[start], deaths[j].step,
					after_names[after]);
				return false;
			}
		}
	return true;
}

/* Is what a death leaves really what is seen after that instruction? */
static bool really(enum act a, enum start start)
{
	struct actor none, actor;
	struct shared before, left;
	uint32_t n;
	uint64_t steps;
	bool good;

	world_make(start, &none, ACT_RECEIVE, &actor, a);
	before = *shared;
	n = deaths_of(&actor, &good);
	steps = deaths[n - 1].step;
	for (uint64_t at = 1; good && at < steps; at += steps / 4 + 1) {
		struct bottle victim;

		*shared = before;
		bottle_open(&victim);
		memcpy(victim.memory, &actor, sizeof(actor));
		bottle_start(&victim, act);
		for (uint64_t i = 0; i < at; i++)
			bottle_step(&victim);
		left = *shared;
		bottle_close(&victim);
		n_killed++;
		for (uint32_t j = 0; j + 1 < n; j++)
			if (deaths[j].step <= at && (j + 2 == n || deaths[j + 1].step > at) &&
			    (!same(shared, &deaths[j].memory) || !same(shared, &left)))
				return complain("%s: a death at %" PRIu64
						" leaves something else",
						act_names[a], at);
	}
	return good;
}

static bool pair(enum act a, enum act b, enum start start)
{
	struct actor actor_a, actor_b;
	uint32_t n_stops, n_deaths = 0;
	uint64_t queued;
	bool good;

	world_make(start, &actor_a, a, &actor_b, b);
	queued = queued_mask();
	n_stops = stops_of(&actor_a, &good);
	if (!good)
		return complain("%s, %s: it does not end", act_names[a], start_names[start]);
	for (uint32_t k = 0; k < n_stops; k++) {
		n_memo = 0;
		/* From the same memory the second does the same. */
		if (!k || !same(&stops[k].memory, &stops[k - 1].memory)) {
			*shared = stops[k].memory;
			n_deaths = deaths_of(&actor_b, &good);
			if (!good)
				return complain("%s beside %s: it does not end", act_names[b],
						act_names[a]);
		}
		for (uint32_t j = 0; j < n_deaths; j++) {
			n_pairs++;
			for (enum after after = 0; after < AFTERS; after++) {
				if (deaths[j].lives && after != AFTER_NOTICED &&
				    after != AFTER_BOTH)
					continue;
				/* There is one sweep at a time. */
				if (a == ACT_SWEEP && k + 1 < n_stops &&
				    (after == AFTER_SWEEP || after == AFTER_STALE ||
				     after == AFTER_LATE || after == AFTER_NAMESAKE))
					continue;
				if (!try_one(&stops[k], k + 1 == n_stops, &deaths[j], after,
					     start, queued)) {
					fprintf(stderr,
						"%s at stop %u of %u; %s, %s after instruction "
						"%" PRIu64 "; %s; %s\n",
						act_names[a], k, n_stops, act_names[b],
						deaths[j].lives ? "done" : "killed",
						deaths[j].step, start_names[start],
						after_names[after]);
					return false;
				}
			}
		}
	}
	return true;
}

/* ---- all of it ---- */

/* Not twice the owner, not twice the daemon; the channel's starts for who uses it. */
static bool makes_sense(enum act a, enum act b, enum start start)
{
	bool late = start >= START_SENDER_DIED;

	if (a == b && (a == ACT_COLLECT || a == ACT_SWEEP))
		return false;
	if (uses_ring(a) && uses_ring(b))
		return true;
	if (uses_ring(a) || uses_ring(b))
		return (a == ACT_SWEEP || b == ACT_SWEEP) ? late : false;
	return start == START_EMPTY || ((a == ACT_SWEEP || b == ACT_SWEEP) && late);
}

/* Each start, each act, each pair; to the first that goes wrong. */
static bool run(bool full)
{
	unsigned turn = 0;
	bool good = true;

	bottle_open(&first);
	bottle_open(&second);
	for (enum act a = 0; good && a < ACTS; a++)
		for (enum start start = 0; good && start < STARTS; start++)
			good = single(a, start);
	for (enum act a = 0; good && a < ACTS; a++)
		good = really(a, START_SENDER_DIED);
	for (enum act a = 0; good && a < ACTS; a++)
		for (enum act b = 0; good && b < ACTS; b++)
			for (enum start start = 0; good && start < STARTS; start++)
				if (makes_sense(a, b, start) && (full || turn++ % 3 == 0))
					good = pair(a, b, start);
	bottle_close(&first);
	bottle_close(&second);
	return good;
}

#ifdef VARBOS_MUTANTS
/* A defect, and where it has to be found. mutants.def says what it is. */
struct defect {
	const char *name;
	enum rule rule;
	enum act a, b;
	enum start start;
};

static const struct defect defects[] = {
	{"block_generation_kept", 0, ACT_COLLECT, ACT_FREE, START_EMPTY},
	{"block_sweep_held", 0, ACT_SWEEP, ACT_HAND_OVER, START_EMPTY},
	{"block_hint_first", 0, ACT_FREE, ACT_COLLECT, START_EMPTY},
	{"ring_takes_living", 0, ACT_SEND, ACT_SEND_BATCH, START_EMPTY},
	{"ring_turn_kept", 0, ACT_SEND, ACT_SEND, START_SENDER_DIED},
	{"ring_completion_skipped", 0, ACT_RECEIVE, ACT_SEND, START_EMPTY},
	{"ring_slot_kept", 0, ACT_RECEIVE, ACT_SEND, START_ONE},
	{"ring_slot_late", 0, ACT_SEND, ACT_RECEIVE, START_EMPTY},
	{"ring_published_early", 0, ACT_SEND, ACT_RECEIVE, START_EMPTY},
	{"ring_head_early", 0, ACT_RECEIVE, ACT_SEND, START_FULL},
	{"ring_cleared_early", 0, ACT_RECEIVE, ACT_SEND, START_ONE},
	{"ring_wake_early", 0, ACT_SEND, ACT_WAIT_ITEM, START_EMPTY},
	{"ring_sleep_late", 0, ACT_WAIT_ITEM, ACT_SEND, START_EMPTY},
	{"a sweep is for one of the dead only", RULE_SWEEP_ALL, ACT_RECEIVE, ACT_SEND,
	 START_SENDER_DIED},
	{"a sweep leaves locks to the dead", RULE_SWEEP_LOCKS, ACT_SEND, ACT_RECEIVE,
	 START_EMPTY},
	{"an id is given again before the sweep", RULE_SWEEP_FIRST, ACT_SEND, ACT_RECEIVE,
	 START_EMPTY},
	{"an id is given again after a sweep that began before its death", RULE_SWEEP_BEGUN,
	 ACT_SWEEP, ACT_RECEIVE, START_SENDER_DIED},
	{"a sweep is for none that was swept before", RULE_SWEEP_PAST, ACT_HAND_OVER,
	 ACT_TAKE_OVER, START_EMPTY},
	{"a death wakes nobody", RULE_DEATHS, ACT_SEND, ACT_WAIT_ITEM, START_EMPTY},
	{"nobody asks whether an addressee still lives", RULE_ASK_ADDRESSEE, ACT_HAND_OVER,
	 ACT_TAKE_OVER, START_EMPTY},
	{"an owner takes the hint after it has read the words", RULE_HINT_FIRST, ACT_COLLECT,
	 ACT_FREE, START_EMPTY},
};

static const char *picked = "";

bool mutant_is(const char *name)
{
	return !strcmp(name, picked);
}

static bool run_where(const struct defect *defect)
{
	bool good;

	bottle_open(&first);
	bottle_open(&second);
	good = single(defect->a, defect->start) && single(defect->b, defect->start) &&
	       pair(defect->a, defect->b, defect->start) &&
	       pair(defect->b, defect->a, defect->start);
	bottle_close(&first);
	bottle_close(&second);
	return good;
}

static int run_mutants(void)
{
	const struct defect *defect;
	unsigned n = 0;
	bool missed;

	/* Where each goes wrong is said in the line about it. */
	if (!freopen("/dev/null", "w", stderr))
		return EXIT_FAILURE;
	for (unsigned i = 0; i < ARRAY_SIZE(defects); i++) {
		defect = &defects[i];
		picked = defect->name;
		broken = defect->rule;
		missed = run_where(defect);
		printf(missed ? "MISSED: %s\n" : "caught: %s: %s\n", defect->name, complaint);
		fflush(stdout);
		n += !missed;
	}
	printf("%u of %zu\n", n, ARRAY_SIZE(defects));
	return n == ARRAY_SIZE(defects) ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* One, as tests/mutants-runner does. */
static bool run_picked(bool full)
{
	picked = getenv("VARBOS_MUTANT") ?: "";
	for (unsigned i = 0; i < ARRAY_SIZE(defects); i++)
		if (!strcmp(defects[i].name, picked))
			return run_where(&defects[i]);
	return run(full);
}
#else
static bool run_picked(bool full)
{
	return run(full);
}
#endif

/* The other program's last line. */
static bool mutants_caught(const char *program, unsigned *ret)
{
	int ends[2], status;
	unsigned all = 0;
	char line[1200];
	FILE *said;
	pid_t pid;

	fflush(stdout);
	if (pipe2(ends, O_CLOEXEC))
		return false;
	pid = fork();
	if (pid < 0)
		return false;
	if (!pid) {
		if (dup2(ends[1], STDOUT_FILENO) == STDOUT_FILENO)
			execl(program, program, "--all", NULL);
		_exit(127);
	}
	close(ends[1]);
	said = fdopen(ends[0], "r");
	if (!said)
		return false;
	while (fgets(line, sizeof(line), said))
		if (sscanf(line, "%u of %u", ret, &all) != 2)
			fputs(line, stdout);
	fclose(said);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status) &&
	       all && *ret == all;
}

int main(int argc, char **argv)
{
	const char *how = getenv("VARBOS_STEP");
	unsigned n_caught = 0;
	bool good;

	shared_pages = (sizeof(*shared) + 4095) & ~(size_t)4095;
	shared = mmap(NULL, shared_pages, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	stops = calloc(STOPS_MAX + 1, sizeof(*stops));
	deaths = calloc(STOPS_MAX + 1, sizeof(*deaths));
	memo = calloc(MEMO_MAX, sizeof(*memo));
	if (shared == MAP_FAILED || !stops || !deaths || !memo)
		return EXIT_FAILURE;
#ifdef VARBOS_MUTANTS
	if (argc > 1 && !strcmp(argv[1], "--all"))
		return run_mutants();
#endif
	good = run_picked(how && !strcmp(how, "full"));
	if (!good)
		fprintf(stderr, "%s\n", complaint);
	else if (argc > 1 && !getenv("VARBOS_MUTANT"))
		good = mutants_caught(argv[1], &n_caught);
	printf("%" PRIu64 " points tried, %" PRIu64 " pairs tried, %u mutants caught"
	       " (%" PRIu64 " really killed)\n",
	       n_points, n_pairs, n_caught, n_killed);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
