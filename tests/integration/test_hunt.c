/*
 * Hunt: for one wrong byte. Processes read values of a cache in place, and look at all of their
 * bytes several times while they hold them; others replace, delete and crowd out these values as
 * fast as they can, and fill what memory they get with poison. All of them are killed and stopped
 * at random. The cache is small: what it gives back is soon written over.
 *
 * A value says whose key it has, how long it is, and which bytes follow.
 *
 * $VARBOS_HUNT_SECONDS is how long it takes (20). Some readers may not use expedited barriers, and
 * so have fences of their own.
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "base/copy.h"
#include "proto/layout.h"
#include "tests/fuzz/sample.h"
#include "tests/integration/daemon.h"
#include "tests/integration/hoarder.h"
#include "tests/integration/storm.h"
#include "tests/suite.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum {
	KEYS = 700,
	HOT = 24,     /* of them, that half of all reads and writes are about */
	WIDE = 30000, /* of small values, so that the index grows */
	HELD = 6,     /* views that a thread keeps for a while */
	MANY = 4,
	THREADS_MAX = 4,
	POISON = 0xdb,
	CALM_US = 8000, /* between two mischiefs */
	STREAM_WORDS = 8192,
	STREAM_MS = 1500,
	LOOKS = 1 << 18, /* before who waits lets others run */
};

#define STREAMED \
	(9 * MIB) /* more than half of a processor's last cache, or of what counts of it */
#define CAPACITY (11 * MIB)
#define LIMIT (56 * MIB)

/* What all count. */
static struct board {
	_Atomic uint64_t hits, misses, copies, checked, puts, refused, poisoned;
} * board;

static struct test_daemon daemon_;

static uint64_t random_to(uint64_t *state, uint64_t n)
{
	return sample_random(state) % n;
}

/* What may be refused in such a crowd. */
static void may_be_refused(const char *what)
{
	const struct varbos_error *error = varbos_error();

	switch ((int)error->code) {
	case VARBOS_E_MEMORY:
	case VARBOS_E_BUDGET:
	case VARBOS_E_LIMIT:
	case VARBOS_E_TIMEOUT:
	case VARBOS_E_CLOSED:
	case VARBOS_E_EXHAUSTED:
	case VARBOS_E_NOT_FOUND:
	case VARBOS_E_EXISTS:
		atomic_fetch_add(&board->refused, 1);
		return;
	default:
		complain("%s: %s (%s): %s", what, varbos_code_name((int)error->code),
			 error->which, error->message);
	}
}

/* ---- keys and values ---- */

struct key {
	char bytes[128];
	size_t size;
};

static struct key key_of(uint64_t number)
{
	struct key key = {.size = 8 + number % 100};

	memset(key.bytes, (int)number, key.size);
	memcpy(key.bytes, &number, 8);
	return key;
}

static uint64_t some_key(uint64_t *state)
{
	switch (random_to(state, 8)) {
	case 0 ... 3:
		return random_to(state, HOT);
	case 4:
		return KEYS + random_to(state, WIDE);
	default:
		return random_to(state, KEYS);
	}
}

struct head {
	uint64_t key, nonce, size, sum;
};

static uint64_t mix(uint64_t key, uint64_t nonce, uint64_t size)
{
	uint64_t word = key * 0x9e3779b97f4a7c15 ^ nonce ^ size << 32;

	word = (word ^ word >> 31) * 0xbf58476d1ce4e5b9;
	return word ^ word >> 29;
}

static uint64_t word_of(uint64_t first, size_t i)
{
	return first + i * 0x9e3779b97f4a7c15;
}

static void fill(void *to, uint64_t key, uint64_t nonce, size_t size)
{
	struct head head = {key, nonce, size, mix(key, nonce, size)};
	char *bytes = to;
	size_t at = sizeof(head);

	memcpy(bytes, &head, sizeof(head));
	for (; at < size; at += 8) {
		uint64_t word = word_of(head.sum, at);

		memcpy(bytes + at, &word, u64_min(8, size - at));
	}
}

/* Where the first wrong byte is, or `size`. */
static size_t wrong_at(const void *data, uint64_t key, size_t size, const struct head *first)
{
	const char *bytes = data;
	struct head head;
	uint64_t wrong = 0;

	memcpy(&head, data, sizeof(head));
	if (head.key != key || head.size != size || head.sum != mix(key, head.nonce, size) ||
	    (first && head.nonce != first->nonce))
		return 0;
	for (size_t at = sizeof(head); at < size; at += 8) {
		uint64_t word = 0, right = word_of(head.sum, at);

		memcpy(&word, bytes + at, u64_min(8, size - at));
		if (size - at < 8)
			right &= ((uint64_t)1 << (size - at) * 8) - 1;
		wrong |= word ^ right;
		if (wrong)
			return at;
	}
	return size;
}

static void check(const void *data, uint64_t key, size_t size, const struct head *first,
		  const char *when)
{
	struct head head = {};
	uint64_t word = 0;
	size_t at;

	at = size < sizeof(head) ? 0 : wrong_at(data, key, size, first);
	atomic_fetch_add_explicit(&board->checked, size, memory_order_relaxed);
	if (at == size)
		return;
	memcpy(&head, data, u64_min(size, sizeof(head)));
	memcpy(&word, (const char *)data + at, u64_min(8, size - at));
	complain("%s: key %" PRIu64 " of %zu bytes is wrong at %zu: 0x%016" PRIx64
		 "; it says key %" PRIu64 ", %" PRIu64 " bytes",
		 when, key, size, at, word, head.key, head.size);
}

/* ---- readers ---- */

struct held {
	struct varbos_view view;
	struct head head; /* as it was when it was found */
	uint64_t key;
};

struct reader {
	struct varbos_cache *cache;
	uint64_t seed;
	struct held held[HELD];
};

/* Others go on meanwhile. */
static void linger(uint64_t *state)
{
	switch (random_to(state, 8)) {
	case 0 ... 3:
		return;
	case 4 ... 6:
		sched_yield();
		return;
	default:
		usleep((useconds_t)random_to(state, 400));
	}
}

static void let_go(struct held *held)
{
	if (!held->view.data)
		return;
	check(held->view.data, held->key, held->view.size, &held->head, "a view that was held");
	varbos_view_release(&held->view);
}

static void look_at(struct reader *reader, struct varbos_view *view, uint64_t key)
{
	uint64_t passes = 1 + random_to(&reader->seed, 4);
	struct held *held;
	struct head head;

	check(view->data, key, view->size, NULL, "a view");
	memcpy(&head, view->data, sizeof(head));
	while (--passes) {
		linger(&reader->seed);
		check(view->data, key, view->size, &head, "a view, looked at again");
	}
	atomic_fetch_add_explicit(&board->hits, 1, memory_order_relaxed);
	if (random_to(&reader->seed, 4)) {
		varbos_view_release(view);
		return;
	}
	held = &reader->held[random_to(&reader->seed, HELD)];
	let_go(held);
	*held = (struct held){.view = *view, .head = head, .key = key};
}

static void missed(const char *what, int r)
{
	if (r != VARBOS_E_NOT_FOUND)
		may_be_refused(what);
	atomic_fetch_add_explicit(&board->misses, 1, memory_order_relaxed);
}

static void get_one(struct reader *reader)
{
	uint64_t number = some_key(&reader->seed);
	struct key key = key_of(number);
	struct varbos_view view;
	int r = varbos_cache_get(reader->cache, key.bytes, key.size, &view);

	if (r)
		missed("get", r);
	else
		look_at(reader, &view, number);
}

static void get_some(struct reader *reader)
{
	struct varbos_key wanted[MANY];
	struct varbos_view views[MANY];
	uint64_t numbers[MANY];
	struct key keys[MANY];
	int r;

	for (unsigned i = 0; i < MANY; i++) {
		numbers[i] = some_key(&reader->seed);
		keys[i] = key_of(numbers[i]);
		wanted[i] = (struct varbos_key){keys[i].bytes, keys[i].size};
	}
	r = varbos_cache_get_many(reader->cache, wanted, MANY, views, NULL);
	if (r)
		return missed("get_many", r);
	for (unsigned i = 0; i < MANY; i++)
		if (views[i].data)
			look_at(reader, &views[i], numbers[i]);
}

static void copy_one(struct reader *reader, char *room, size_t size)
{
	uint64_t number = some_key(&reader->seed);
	struct key key = key_of(number);
	size_t whole;
	int r = varbos_cache_copy_out(reader->cache, key.bytes, key.size, room, size, &whole);

	if (r)
		return missed("copy_out", r);
	if (whole <= size)
		check(room, number, whole, NULL, "a copy");
	atomic_fetch_add_explicit(&board->copies, 1, memory_order_relaxed);
}

static void *read_on(void *argument)
{
	struct reader *reader = argument;
	static _Thread_local char room[64 << 10];

	for (;;) {
		switch (random_to(&reader->seed, 16)) {
		case 0:
			copy_one(reader, room, sizeof(room));
			break;
		case 1:
			get_some(reader);
			break;
		case 2:
			let_go(&reader->held[random_to(&reader->seed, HELD)]);
			break;
		default:
			get_one(reader);
		}
	}
	return NULL;
}

/* ---- writers ---- */

static size_t some_size(uint64_t *state, uint64_t key)
{
	if (key >= KEYS)
		return sizeof(struct head) + random_to(state, 100);
	if (!random_to(state, 4000))
		return STREAMED + random_to(state, MIB);
	switch (random_to(state, 64)) {
	case 0:
		return 257 * KIB + random_to(state, 300 * KIB); /* memory of its own */
	case 1 ... 6:
		return 16 * KIB + random_to(state, 80 * KIB);
	case 7 ... 31:
		return KIB + random_to(state, 7 * KIB);
	default:
		return sizeof(struct head) + random_to(state, KIB);
	}
}

static void put_one(struct varbos_cache *cache, uint64_t *state, char *room)
{
	uint64_t number = some_key(state);
	struct key key = key_of(number);
	size_t size = some_size(state, number);
	struct varbos_put_options options = {
		.ttl_ms = random_to(state, 16) ? 0 : 1 + random_to(state, 60),
	};
	int r;

	fill(room, number, sample_random(state), size);
	if (random_to(state, 4))
		r = varbos_cache_put(cache, key.bytes, key.size, room, size, &options);
	else
		r = varbos_cache_put_async(cache, key.bytes, key.size, room, size, &options);
	atomic_fetch_add_explicit(&board->puts, 1, memory_order_relaxed);
	if (r)
		may_be_refused("put");
	if (!random_to(state, 32) && varbos_cache_flush(cache))
		may_be_refused("flush");
}

/* Built where it stays, or given up: then its memory has been overwritten. */
static void build_one(struct varbos_cache *cache, uint64_t *state)
{
	uint64_t number = some_key(state);
	struct key key = key_of(number);
	bool poisons = random_to(state, 2);
	size_t size = some_size(state, number);
	struct varbos_reservation place;

	if (poisons && random_to(state, 2))
		size = 100 * KIB + random_to(state, 150 * KIB);
	if (varbos_cache_reserve(cache, key.bytes, key.size, size, NULL, &place))
		return may_be_refused("reserve");
	if (poisons) {
		memset(place.data, POISON, size);
		varbos_cache_abort(&place);
		atomic_fetch_add_explicit(&board->poisoned, size, memory_order_relaxed);
		return;
	}
	fill(place.data, number, sample_random(state), size);
	if (varbos_cache_commit(&place, size))
		may_be_refused("commit");
	atomic_fetch_add_explicit(&board->puts, 1, memory_order_relaxed);
}

static void write_on(struct varbos_cache *cache, uint64_t state)
{
	char *room = malloc(STREAMED + MIB);
	struct key key;

	for (;;) {
		switch (random_to(&state, 32)) {
		case 0 ... 2:
			build_one(cache, &state);
			break;
		case 3 ... 4:
			key = key_of(some_key(&state));
			if (varbos_cache_del(cache, key.bytes, key.size))
				may_be_refused("del");
			break;
		case 5:
			key = key_of(some_key(&state));
			if (varbos_cache_expire(cache, key.bytes, key.size,
						random_to(&state, 300)))
				may_be_refused("expire");
			break;
		case 6:
			if (!random_to(&state, 400) && varbos_cache_clear(cache))
				may_be_refused("clear");
			break;
		default:
			put_one(cache, &state, room);
		}
	}
}

/* ---- processes ---- */

static const struct role {
	unsigned readers; /* threads; 0: it writes */
	bool fenced;      /* may not use membarrier */
	bool laneless;    /* writes by the socket */
} roles[] = {{.readers = 1},    {.readers = 4}, {.readers = 2, .fenced = true}, {}, {},
	     {.laneless = true}};

/* It says that it is not permitted. */
static void forbid_membarrier(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		complain("seccomp: %s", strerror(errno));
}

static struct varbos_cache *enter(void)
{
	struct varbos_space *space;
	struct varbos_cache *cache;
	struct varbos *vb;

	if (!varbos_connect(&vb, daemon_.socket) &&
	    !varbos_space_open(&space, vb, "hunt",
			       &(struct varbos_space_options){.limit = LIMIT}) &&
	    !varbos_cache_open(&cache, space, "prey",
			       &(struct varbos_cache_options){.capacity = CAPACITY}))
		return cache;
	may_be_refused("enter");
	_exit(0);
}

static void live(const struct role *role, uint64_t own)
{
	struct reader readers[THREADS_MAX] = {};
	struct varbos_cache *cache;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (role->fenced)
		forbid_membarrier();
	if (role->laneless)
		setenv("VARBOS_LANE", "off", 1);
	cache = enter();
	if (!role->readers)
		write_on(cache, own);
	for (unsigned i = 0; i < role->readers; i++) {
		readers[i] = (struct reader){.cache = cache, .seed = sample_random(&own)};
		if (i && pthread_create(&thread, NULL, read_on, &readers[i]))
			complain("no thread");
	}
	read_on(&readers[0]);
}

static pid_t child_start(const struct role *role)
{
	uint64_t own = sample_random(&seed);
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		live(role, own);
	return pid;
}

static struct {
	uint64_t killed, stopped, started, switched;
} counts;

/* By itself it ends only if it was refused, or complains. */
static bool child_has_ended(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) != pid)
		return false;
	ck_assert_msg(storm->failed || WIFEXITED(status), "a process ended by signal %d",
		      WTERMSIG(status));
	return true;
}

static void mischief(pid_t *pid)
{
	uint64_t what = sample_random(&seed) % 16;

	if (what < 2) {
		child_kill(pid);
		counts.killed++;
	} else if (what < 8) {
		kill(*pid, SIGSTOP);
		usleep((useconds_t)(sample_random(&seed) % (what == 2 ? 200000 : 10000)));
		kill(*pid, SIGCONT);
		counts.stopped++;
	}
}

static void switch_policy(struct hoarder *hoarder)
{
	static const char *const policies[] = {"fifo", "clock",    "lru",  "lfu",   "sieve",
					       "2q",   "wtinylfu", "gdsf", "s3fifo"};
	const char *policy = policies[sample_random(&seed) % ARRAY_SIZE(policies)];

	ck_assert(peer_call(&hoarder->peer, WIRE_CACHE_CHANGE,
			    &(struct wire_cache_change){.space = hoarder->space,
							.name = wire_str("prey"),
							.set = CACHE_SET_POLICY,
							.policy = wire_str(policy)}));
	counts.switched++;
}

static void hunt(uint64_t seconds, struct hoarder *hoarder)
{
	uint64_t end_ms = now_ms() + seconds * 1000;
	pid_t pids[ARRAY_SIZE(roles)] = {};

	while (now_ms() < end_ms && !storm->failed) {
		for (unsigned i = 0; i < ARRAY_SIZE(pids); i++) {
			if (pids[i] && child_has_ended(pids[i]))
				pids[i] = 0;
			if (pids[i])
				continue;
			pids[i] = child_start(&roles[i]);
			counts.started++;
		}
		usleep(CALM_US);
		if (sample_random(&seed) % 64 == 0)
			switch_policy(hoarder);
		mischief(&pids[sample_random(&seed) % ARRAY_SIZE(pids)]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(pids); i++)
		if (pids[i])
			child_kill(&pids[i]);
}

/* The space and the cache, with their sizes, are there before anybody looks. */
static void found(void)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		enter();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(!storm->failed, "%s", storm->text);
}

START_TEST(whatever_is_read_is_whole_while_it_is_replaced_moved_and_poisoned)
{
	const char *text = getenv("VARBOS_HUNT_SECONDS");
	uint64_t seconds = text ? strtoull(text, NULL, 0) : 20;
	struct wire_cache_row row;
	struct hoarder hoarder;

	test_daemon_start(&daemon_, "128M", NULL);
	found();
	hoarder_open(&hoarder, daemon_.socket, "hunt", "prey", CAPACITY);
	hunt(seconds, &hoarder);
	ck_assert_msg(!storm->failed, "%s", storm->text);
	row = hoarder_row(&hoarder);
	hoarder_close(&hoarder);
	printf("%" PRIu64 " values read, %" PRIu64 " copied, %" PRIu64 " misses; %" PRIu64
	       " MiB checked\n",
	       board->hits, board->copies, board->misses, board->checked >> 20);
	printf("%" PRIu64 " puts, %" PRIu64 " refusals, %" PRIu64 " MiB poisoned; %" PRIu64
	       " replaced, %" PRIu64 " evicted, %" PRIu64 " deleted, %" PRIu64
	       " expired, %" PRIu64 " cleared, %" PRIu64 " dropped; %" PRIu64 " KiB moved\n",
	       board->puts, board->refused, board->poisoned >> 20, row.replaced, row.evicted,
	       row.deleted, row.expired, row.cleared, row.dropped, row.moved >> 10);
	printf("%" PRIu64 " processes, %" PRIu64 " killed, %" PRIu64 " stopped; %" PRIu64
	       " policies; %" PRIu64 " KiB about objects\n",
	       counts.started, counts.killed, counts.stopped, counts.switched,
	       row.metadata >> 10);
	fflush(stdout);
	ck_assert_uint_gt(board->hits, 1000);
	ck_assert_uint_gt(board->poisoned, MIB);
	ck_assert_uint_gt(row.replaced, 100);
	ck_assert_uint_gt(row.evicted, 100);
	ck_assert_uint_gt(row.moved, 0);
	ck_assert_uint_eq(row.spoiled, 0);
	test_daemon_stop(&daemon_);
}
END_TEST

/* ---- what is streamed ---- */

/* Handed over without the daemon, so that there is no time between the last store and the first look. */
static struct handover {
	_Alignas(64) _Atomic uint64_t there;
	_Alignas(64) _Atomic uint64_t seen;
	_Alignas(64) uint64_t words[STREAM_WORDS];
} * handover;

/* False: somebody has complained. */
static bool comes(const _Atomic uint64_t *word, uint64_t round)
{
	for (unsigned looks = 1;
	     atomic_load_explicit(word, memory_order_acquire) < round && !storm->failed;
	     looks++)
		if (looks % LOOKS == 0)
			sched_yield();
	return !storm->failed;
}

/* The last words first, which are the youngest. */
static void look_behind(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint64_t round = 1; comes(&handover->there, round); round++) {
		for (size_t i = STREAM_WORDS; i-- > 0;) {
			uint64_t word = *(volatile uint64_t *)&handover->words[i];

			if (word != round)
				complain("word %zu is of round %" PRIu64 ", not %" PRIu64, i,
					 word, round);
		}
		atomic_store_explicit(&handover->seen, round, memory_order_release);
	}
	_exit(0);
}

START_TEST(who_sees_that_something_is_there_sees_all_that_was_streamed)
{
	static uint64_t words[STREAM_WORDS];
	uint64_t end_ms = now_ms() + STREAM_MS, round = 0;
	pid_t pid;

	handover = mmap(NULL, sizeof(*handover), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(handover, MAP_FAILED);
	/* What is to be seen is over at once: both have to run, at the same time, as far as that may be had. */
	setpriority(PRIO_PROCESS, 0, -15);
	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		look_behind();
	while (now_ms() < end_ms && comes(&handover->seen, round)) {
		round++;
		for (size_t i = 0; i < STREAM_WORDS; i++)
			words[i] = round;
		copy_streamed(handover->words, words, sizeof(words));
		atomic_store_explicit(&handover->there, round, memory_order_release);
		mutant_fence(); /* what comes behind it, if there is a defect */
	}
	if (!comes(&handover->seen, round))
		waitpid(pid, NULL, 0); /* it has said why when it ends */
	else
		child_kill(&pid);
	setpriority(PRIO_PROCESS, 0, 0);
	ck_assert_msg(!storm->failed, "%s", storm->text);
	printf("%" PRIu64 " times 64 KiB streamed\n", round);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hunt");
	TCase *tests = tcase_create("hunt");

	board = storm_begin(sizeof(*board));
	tcase_set_timeout(tests, 0);
	tcase_add_test(tests, who_sees_that_something_is_there_sees_all_that_was_streamed);
	tcase_add_test(tests,
		       whatever_is_read_is_whole_while_it_is_replaced_moved_and_poisoned);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
