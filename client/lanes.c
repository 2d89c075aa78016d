#include "client/lanes.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "client/cache_ask.h"
#include "client/connection.h"
#include "client/error.h"
#include "client/reserve.h"
#include "client/wait.h"
#include "client/writer.h"

enum {
	SPIN_NS = 20000,      /* about what it costs to sleep and be woken */
	SPIN_LOOKS = 32,      /* between two looks at the clock */
	SPINS_PAID = 8,       /* are remembered */
	SPIN_TRIED_EACH = 32, /* waits, where spinning has not paid */
	ROOM_SPUN = 32,       /* records that are taken before we go on, */
	ROOM_SLEPT = LANE_RECORDS / 2,
};

/* How long to sleep until it is looked whether the daemon is still there. */
#define LOOK_NS ((uint64_t)50000000)

/* A lane that the calling thread has. */
struct had {
	struct had *next;
	struct thread_lane has; /* number 0: a record to be used again */
};

_Thread_local struct thread_lane thread_lanes[THREAD_LANES];
static _Thread_local struct had *had_first;
static _Thread_local bool ended;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_result;

/* The open ones, and who may close them: a thread that ends looks its own up. */
static struct lock open_lock;
static struct lanes *open_first;
static uint64_t next_number = 1;
static _Atomic uint64_t next_serial = 1;

static bool is_open(uint64_t number)
{
	struct lanes *lanes = open_first;

	while (lanes && atomic_load_explicit(&lanes->number, memory_order_relaxed) != number)
		lanes = lanes->next;
	return lanes;
}

/* ---- opening ---- */

/* Readers can do without a fence if the daemon can have one of all of us. */
static bool register_barrier(void)
{
	return !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
}

/*
 * As many as there may be: their memory comes as threads use them. All of it is counted, though, so
 * fewer where that is too much; or where the session has them, and the answer came too late for us.
 */
static int ask_lanes(struct varbos *vb, bool expedited, struct lanes_opened *ret)
{
	int r = VARBOS_E_LIMIT;

	for (uint32_t n = LANES_A_SESSION; n && (r == VARBOS_E_LIMIT || r == VARBOS_E_EXISTS);
	     n /= 2) {
		r = cache_ask_lanes(vb, n, expedited, ret);
		if (r == VARBOS_E_LIMIT && strcmp(varbos_error()->which, "limits.metadata"))
			break;
	}
	return r;
}

/* For tests, mostly: "off": none for records; "none": none at all. */
static bool is_said(const char *what)
{
	const char *text = getenv("VARBOS_LANE");

	return text && !strcmp(text, what);
}

/* What the kernel has not given yet, or refuses: time will do, since nothing secret is made of it. */
static uint64_t seed(void)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = clock_ns() ^ (uint64_t)getpid() << 40;
	return random;
}

static struct own_lane *own_new(struct lanes *lanes, uint32_t at)
{
	struct own_lane *own = calloc(1, sizeof(*own));
	struct lane *first;

	if (!own)
		return NULL;
	own->lanes = lanes;
	own->random = seed();
	if (!lanes->memory)
		return own;
	own->lane = (struct lane *)(void *)(lanes->memory + at * sizeof(struct lane));
	/* Lanes are had in order, but for the common one: the daemon looks at these. */
	first = (struct lane *)(void *)lanes->memory;
	if (atomic_load_explicit(&first->opened, memory_order_relaxed) <= at)
		atomic_store_explicit(&first->opened, at + 1, memory_order_release);
	return own;
}

static void own_free(struct own_lane *own, bool ours)
{
	if (own)
		writers_free(own, ours);
	free(own);
}

static int open_locked(struct lanes *lanes, struct varbos *vb)
{
	struct lanes_opened opened;
	bool expedited = register_barrier();
	int r;

	r = is_said("none") ? VARBOS_E_LIMIT : ask_lanes(vb, expedited, &opened);
	if (r && r != VARBOS_E_METHOD && r != VARBOS_E_LIMIT && r != VARBOS_E_MEMORY)
		return r;
	lanes->vb = vb;
	if (!r) {
		lanes->memory = opened.memory;
		lanes->bell = opened.bell;
		lanes->vb->calls.wakes = true;
		lanes->n = opened.n;
		lanes->pins = opened.pins;
		lanes->fence = !(expedited && opened.barrier);
		lanes->records = !is_said("off");
	}
	lock_acquire(&open_lock);
	lanes->next = open_first;
	open_first = lanes;
	atomic_store_explicit(&lanes->number, next_number++, memory_order_release);
	lock_release(&open_lock);
	return 0;
}

int lanes_need(struct varbos *vb)
{
	const struct varbos_error before = *varbos_error();
	struct lanes *lanes = &vb->lanes;
	int r = 0;

	if (atomic_load_explicit(&lanes->number, memory_order_acquire))
		return 0;
	lock_acquire(&lanes->lock);
	if (!atomic_load_explicit(&lanes->number, memory_order_relaxed))
		r = open_locked(lanes, vb);
	lock_release(&lanes->lock);
	if (!r)
		error_restore(&before); /* that there are none is no failure */
	return r;
}

void lanes_close(struct lanes *lanes, bool ours)
{
	struct lanes **at;

	if (!atomic_load_explicit(&lanes->number, memory_order_relaxed))
		return;
	lock_acquire(&open_lock);
	for (at = &open_first; *at && *at != lanes; at = &(*at)->next)
		;
	if (*at)
		*at = lanes->next;
	lock_release(&open_lock);
	for (uint32_t i = 0; i < LANES_A_SESSION; i++)
		own_free(lanes->own[i], ours);
	if (ours && lanes->memory)
		munmap(lanes->memory, lanes->n * sizeof(struct lane));
	if (ours && lanes->bell)
		munmap((void *)(uintptr_t)lanes->bell, sizeof(*lanes->bell));
	*lanes = (struct lanes){};
}

/* ---- whose is it? ---- */

/* The lock is held throughout: a connection that ends meanwhile waits. */
static void thread_end(void *list)
{
	struct had *next;

	lock_acquire(&open_lock);
	for (struct had *had = list; had; had = next) {
		next = had->next;
		if (is_open(had->has.number) && !had->has.own->common) {
			writers_rest(had->has.own);
			lock_acquire(&had->has.own->lanes->lock);
			had->has.own->taken = false;
			lock_release(&had->has.own->lanes->lock);
		}
		free(had);
	}
	lock_release(&open_lock);
	had_first = NULL;
	memset(thread_lanes, 0, sizeof(thread_lanes));
	ended = true;
}

static void make_key(void)
{
	key_result = -pthread_key_create(&key, thread_end);
}

void lanes_forget(void)
{
	for (struct had *had = had_first; had; had = had->next)
		had->has = (struct thread_lane){};
	memset(thread_lanes, 0, sizeof(thread_lanes));
	open_first = NULL;
}

static struct own_lane *remember(struct thread_lane has)
{
	/* Who has it alone finds it at once. */
	if (!has.own->common)
		thread_lanes[has.number % THREAD_LANES] = has;
	return has.own;
}

static struct own_lane *find(uint64_t number)
{
	struct had *had;

	for (had = had_first; had && had->has.number != number; had = had->next)
		;
	return had ? remember(had->has) : NULL;
}

static struct had *had_new(void)
{
	struct had *had;

	lock_acquire(&open_lock);
	for (had = had_first; had && is_open(had->has.number); had = had->next)
		;
	lock_release(&open_lock);
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

/* With the lock held. The last one is common to all that come when the rest are taken. */
static struct own_lane *take_locked(struct lanes *lanes, bool passing)
{
	uint32_t n = lanes->memory ? lanes->n : LANES_A_SESSION, at = passing ? n - 1 : 0;
	struct own_lane *own;

	while (at < n - 1 && lanes->own[at] && lanes->own[at]->taken)
		at++;
	own = lanes->own[at];
	if (!own) {
		own = own_new(lanes, at);
		if (!own)
			return NULL;
		own->common = at == n - 1;
		lanes->own[at] = own;
	}
	if (!own->common) {
		own->taken = true;
		own->serial = next_serial++;
	} else if (!own->serial) {
		own->serial = next_serial++;
	}
	return own;
}

static struct own_lane *take(struct lanes *lanes)
{
	struct own_lane *own;
	struct had *had = NULL;

	pthread_once(&once, make_key);
	/* Whose lane nobody would take back has none of its own. */
	if (!ended && !key_result)
		had = had_new();
	lock_acquire(&lanes->lock);
	own = take_locked(lanes, !had);
	lock_release(&lanes->lock);
	if (!own || !had)
		return own;
	had->has = (struct thread_lane){
		.number = atomic_load_explicit(&lanes->number, memory_order_relaxed),
		.own = own,
		.lane = own->lane,
	};
	return remember(had->has);
}

/* Who writes may wait for the daemon; who reads waits for nobody who does. */
static struct lock *lock_of(struct own_lane *own, enum lane_use use)
{
	return use == LANE_READS ? &own->reading : &own->writing;
}

int lane_enter(struct lanes *lanes, enum lane_use use, struct own_lane **ret)
{
	uint64_t number = atomic_load_explicit(&lanes->number, memory_order_acquire);
	struct own_lane *own = lane_at_hand(number);

	if (!own)
		own = find(number);
	if (!own)
		own = take(lanes);
	if (!own)
		return error_system(ENOMEM, "a lane for this thread");
	if (own->common)
		lock_acquire(mutant(lane_one_lock) ? &own->writing : lock_of(own, use));
	*ret = own;
	return 0;
}

void lane_leave(struct own_lane *own, enum lane_use use)
{
	if (own->common)
		lock_release(mutant(lane_one_lock) ? &own->writing : lock_of(own, use));
}

/* ---- waiting ---- */

static uint64_t taken_of(const struct lane *lane)
{
	return atomic_load_explicit(&lane->taken, memory_order_acquire);
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Where the daemon runs nobody says: on the processor that we are bound to, it does not pay. */
static bool is_alone(void)
{
	static _Atomic long processors;
	long n = atomic_load_explicit(&processors, memory_order_relaxed);

	if (!n) {
		n = sysconf(_SC_NPROCESSORS_ONLN);
		atomic_store_explicit(&processors, n, memory_order_relaxed);
	}
	return n == 1;
}

/* A daemon that is awake on another processor is often done before we would be asleep. */
static bool spin(struct own_lane *own, uint64_t position)
{
	bool come = false;
	uint64_t end_ns;

	if (is_alone() || (!own->spins && own->waits++ % SPIN_TRIED_EACH))
		return false;
	end_ns = clock_ns() + SPIN_NS;
	do
		for (int i = 0; i < SPIN_LOOKS && !come; i++) {
			relax();
			come = taken_of(own->lane) > position;
		}
	while (!come && clock_ns() < end_ns);
	/* It costs in vain about what it spares where it pays: one time in two is enough. */
	own->spins = come ? (uint32_t)u64_min(own->spins + 1, SPINS_PAID) : own->spins / 2;
	return come;
}

/* The low half of `taken` is what the daemon wakes. */
static void sleep_on(struct lane *lane, uint64_t seen)
{
	uint64_t until_ns = clock_ns() + LOOK_NS;
	struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000),
				 .tv_nsec = (long)(until_ns % 1000000000)};
	const char *low = (const char *)&lane->taken;

	if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
		low += sizeof(uint32_t);
	syscall(SYS_futex, low, FUTEX_WAIT_BITSET, (uint32_t)seen, &until, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

static int error_timeout(const struct calls *calls)
{
	return error_set_numbers(
		&(struct varbos_error){.code = VARBOS_E_TIMEOUT, .system_errno = ETIMEDOUT},
		"varbosd at %s has not taken a record within %u ms", calls->socket.path,
		calls->timeout_ms);
}

static int attend(struct calls *calls, const struct call_time *patience)
{
	int r = calls_attend(calls, patience);

	return r == CALLS_E_OVER ? error_timeout(calls) : r;
}

/* Until the record at `position` is taken. */
static int await_lane(struct lanes *lanes, struct lane *lane, uint64_t position)
{
	struct calls *calls = &lanes->vb->calls;
	struct call_time patience;
	uint64_t seen;
	int r;

	if (taken_of(lane) > position)
		return 0;
	calls_begin_waiting(calls, &patience);
	for (;;) {
		atomic_store_explicit(&lane->waiting, lane_waiting_for(position + 1),
				      memory_order_relaxed);
		atomic_thread_fence(memory_order_seq_cst);
		seen = taken_of(lane);
		if (seen <= position)
			sleep_on(lane, seen);
		atomic_store_explicit(&lane->waiting, 0, memory_order_relaxed);
		if (taken_of(lane) > position)
			return 0;
		r = attend(calls, &patience);
		if (r)
			return r;
	}
}

static int await(struct own_lane *own, uint64_t position)
{
	int r = 0;

	if (taken_of(own->lane) <= position && !spin(own, position))
		r = await_lane(own->lanes, own->lane, position);
	own->taken_seen = taken_of(own->lane);
	return r;
}

/* ---- records ---- */

static bool result_at(const struct own_lane *own, uint64_t position, struct lane_answer *ret)
{
	const struct lane_result *result = &own->lane->results[position % LANE_RECORDS];

	if (atomic_load_explicit(&result->position, memory_order_acquire) != position + 1)
		return false;
	*ret = (struct lane_answer){.code = result->code,
				    .generation = result->generation,
				    .ref = result->ref,
				    .detail = result->detail};
	return true;
}

/* Results of what nobody waits for, up to `before`, which has been taken. */
static void look_back(struct own_lane *own, uint64_t before)
{
	struct lane_answer answer;

	for (; own->looked < before; own->looked++) {
		struct writer *writer = own->asked[own->looked % LANE_RECORDS];

		if (writer && result_at(own, own->looked, &answer))
			writer_told(writer, own->looked, &answer);
	}
}

/* Is there room for one more, with its result? */
static bool has_room(struct own_lane *own)
{
	if (own->head - own->looked < LANE_RECORDS)
		return true;
	if (own->taken_seen <= own->looked)
		own->taken_seen = taken_of(own->lane);
	/* The daemon is not to be believed: nothing is taken that was not put. */
	look_back(own, u64_min(own->taken_seen, own->head));
	return own->head - own->looked < LANE_RECORDS;
}

static void wake(struct own_lane *own)
{
	uint32_t sleeping =
		atomic_load_explicit(&own->lanes->bell->sleeping, memory_order_relaxed);

	uint32_t over;

	if (likely(!sleeping))
		return;
	/* One that has started anew may count from where the former one did. */
	over = atomic_load_explicit(&own->lanes->vb->calls.connections, memory_order_relaxed);
	if (sleeping == own->woken && over == own->woken_over)
		return;
	own->woken = cache_ask_wake(own->lanes->vb) ? sleeping : 0;
	own->woken_over = over;
}

static void put(struct own_lane *own, const struct lane_record *record, struct writer *writer)
{
	own->lane->records[own->head % LANE_RECORDS] = *record;
	own->asked[own->head % LANE_RECORDS] = writer;
	atomic_store_explicit(&own->lane->cpu, (uint32_t)(sched_getcpu() + 1),
			      memory_order_relaxed);
	atomic_store_explicit(&own->lane->head, ++own->head, memory_order_release);
	mutant_fence();
	atomic_thread_fence(memory_order_seq_cst);
	wake(own);
}

/* To sleep and be woken costs as much as many records do, to the daemon, too. */
static int await_room(struct own_lane *own)
{
	uint64_t oldest = own->head - LANE_RECORDS;

	if (spin(own, oldest + ROOM_SPUN))
		return 0;
	return await_lane(own->lanes, own->lane, oldest + ROOM_SLEPT);
}

bool lane_try(struct own_lane *own, const struct lane_record *record, struct writer *writer)
{
	if (!has_room(own))
		return false;
	put(own, record, writer);
	return true;
}

int lane_put(struct own_lane *own, const struct lane_record *record, struct writer *writer,
	     uint64_t *ret_position)
{
	int r;

	while (!has_room(own)) {
		r = await_room(own);
		if (r)
			return r;
	}
	if (ret_position)
		*ret_position = own->head;
	put(own, record, writer);
	return 0;
}

int lane_await(struct own_lane *own, uint64_t position, struct lane_answer *ret)
{
	int r = await(own, position);

	if (r) /* whoever put it is told when it is, if not here */
		return r;
	own->asked[position % LANE_RECORDS] = NULL;
	if (!result_at(own, position, ret))
		return error_set(VARBOS_E_UNTRUSTED, "lane",
				 "the daemon has taken a record without a result");
	return 0;
}

bool lane_look(struct own_lane *own, uint64_t position, struct lane_answer *ret)
{
	if (taken_of(own->lane) <= position || !result_at(own, position, ret))
		return false;
	own->asked[position % LANE_RECORDS] = NULL;
	return true;
}

int lane_settle(struct own_lane *own)
{
	int r = 0;

	if (!own->lane || !own->lanes->records)
		return 0;
	if (own->head)
		r = await(own, own->head - 1);
	look_back(own, u64_min(own->taken_seen, own->head));
	return r;
}

/* The same for another thread's lane. That may wait, too, and `waiting` is for one. */
static int await_other(struct lanes *lanes, const struct lane *lane, uint64_t position)
{
	const struct timespec pause = {.tv_nsec = 200000};
	struct calls *calls = &lanes->vb->calls;
	struct call_time patience;
	int r = 0;

	calls_begin_waiting(calls, &patience);
	while (!r && taken_of(lane) <= position) {
		r = attend(calls, &patience);
		if (!r)
			nanosleep(&pause, NULL);
	}
	return r;
}

int lanes_settle(struct lanes *lanes)
{
	uint64_t head;
	int r = 0;

	if (!lanes->records)
		return 0;
	for (uint32_t i = 0; i < lanes->n && !r; i++) {
		struct lane *lane =
			(struct lane *)(void *)(lanes->memory + i * sizeof(struct lane));

		head = atomic_load_explicit(&lane->head, memory_order_acquire);
		if (head)
			r = await_other(lanes, lane, head - 1);
	}
	return r;
}

uint32_t lane_draw(struct own_lane *own)
{
	uint64_t mixed = own->random += 0x9e3779b97f4a7c15ULL;
	uint32_t drawn;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ULL;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebULL;
	drawn = (uint32_t)(mixed >> 40);
	return drawn ? drawn : 1;
}
