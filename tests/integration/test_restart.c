/*
 * Caches and lanes go on where a daemon was killed that served them: behind each store into its ledger
 * (die.c), a record of a lane is done once, and says so.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/hoarder.h"
#include "tests/integration/survivor.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum {
	STORES_MAX = 64,   /* that one record makes, at most */
	WAIT_TRIES = 2000, /* of 10 ms */
	LARGE = 300 * 1024,
};

static struct survivor daemon_;
static struct hoarder one;
static _Atomic int64_t *die; /* behind so many stores of the daemon; 0: never */
static char die_path[32];

static void set_up(void)
{
	int fd = memfd_create("die", 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	die = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(die != MAP_FAILED);
	snprintf(die_path, sizeof(die_path), "/proc/%d/fd/%d", (int)getpid(), fd);
	setenv("VARBOS_DIE", die_path, 1);
	survivor_start(&daemon_, "--size", "64M", "--pages", "4K", NULL);
	peer_open(&one.peer, daemon_.socket);
	/* Committed, so that no lease waits for it. */
	ck_assert(peer_call(&one.peer, WIRE_SPACE_CREATE,
			    &(struct wire_space_create){.name = wire_str("a"),
							.limit = 48 * MIB,
							.reserve = 48 * MIB}));
	peer_close(&one.peer);
	hoarder_open(&one, daemon_.socket, "a", "c", 16 * MIB);
	hoarder_lanes(&one, 2);
	hoarder_lease(&one, 1 * MIB);
}

static void tear_down(void)
{
	hoarder_close(&one);
	survivor_stop(&daemon_);
}

static void go_on(void)
{
	survivor_again(&daemon_);
	hoarder_resume(&one, daemon_.socket);
}

static void die_and_go_on(void)
{
	survivor_kill(&daemon_);
	go_on();
}

/* Into a lane, whether the daemon is there or not. */
static uint64_t post(uint32_t lane, const struct lane_record *record)
{
	struct lane *at = &one.lanes[lane];
	uint64_t head = atomic_load(&at->head);

	at->records[head % LANE_RECORDS] = *record;
	atomic_store(&at->head, head + 1);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&one.bell->sleeping))
		send(one.peer.fd, "", 1, MSG_NOSIGNAL);
	return head;
}

static struct lane_result ask(uint32_t lane, const struct lane_record *record)
{
	return lane_wait(&one, lane, post(lane, record));
}

static void put(const char *key, const char *value)
{
	struct lane_record record = lane_publish(&one, key, value);

	ck_assert_uint_eq(ask(0, &record).code, 0);
}

static struct lane_record removal(const char *key, uint32_t generation)
{
	return (struct lane_record){.kind = LANE_DELETE,
				    .cache = (uint32_t)one.cache,
				    .hash = key_hash(key),
				    .generation = generation};
}

static void removed(const char *key)
{
	const struct lane_record record = removal(key, 0);

	ck_assert_uint_eq(ask(1, &record).code, 0);
}

static bool holds(const char *key, const char *value)
{
	uint64_t offset = hoarder_find(&one, key);
	const struct object_header *header;
	struct object_sizes sizes;
	bool same;

	if (!offset)
		return false;
	header = hoarder_at(&one, offset);
	sizes = object_sizes_unpack(header->sizes);
	same = sizes.value == strlen(value) &&
	       !memcmp((const char *)header + object_value_at(offset, sizes), value,
		       sizes.value);
	atomic_store(&one.hazard, 0);
	return same;
}

static bool is_dead(void)
{
	pid_t pid = waitpid(daemon_.pid, NULL, WNOHANG);

	if (pid != daemon_.pid)
		return false;
	daemon_.pid = 0;
	return true;
}

static void nap(void)
{
	usleep(10000);
}

START_TEST(what_was_put_is_found_while_the_daemon_is_away_and_afterwards)
{
	uint64_t values;

	put("a", "first");
	put("b", "second");
	put("a", "third");
	ck_assert(holds("a", "third"));
	survivor_kill(&daemon_);
	ck_assert(holds("a", "third"));
	ck_assert(holds("b", "second"));
	go_on();
	ck_assert(holds("a", "third"));
	put("c", "fourth");
	ck_assert(holds("c", "fourth"));
	removed("b");
	ck_assert(!hoarder_find(&one, "b"));
	values = hoarder_row(&one).values;
	ck_assert_uint_eq(values, 2);
	die_and_go_on();
	ck_assert(holds("a", "third"));
	ck_assert(!hoarder_find(&one, "b"));
	tear_down();
}
END_TEST

/* ---- behind each store ---- */

/* What a record asks for that is put when the daemon is about to be killed. */
struct story {
	const char *name;
	/* What has to be there first; then the record. n: another one each time. */
	struct lane_record (*tell)(uint32_t n);
	/* It was done, once. */
	void (*look)(uint32_t n, const struct lane_result *result);
};

static char key_text[32];

static const char *key(uint32_t n)
{
	snprintf(key_text, sizeof(key_text), "key-%u", n);
	return key_text;
}

/* Bytes that the session is charged for. */
static uint64_t session_used(void)
{
	struct wire_page_after page = {};
	const struct wire_client_row *rows;

	ck_assert(peer_call(&one.peer, WIRE_CLIENT_LIST, &page));
	rows = one.peer.answer.body.client_rows.rows.rows;
	for (uint32_t i = 0; i < one.peer.answer.body.client_rows.rows.count; i++)
		if (rows[i].session == one.session)
			return rows[i].used;
	ck_abort_msg("the session is not listed");
}

static uint64_t values_before, used_before;
static struct lane_record told;

static void remember(void)
{
	values_before = hoarder_row(&one).values;
	used_before = session_used();
}

static struct lane_record tell_put(uint32_t n)
{
	remember();
	return lane_publish(&one, key(n), "value");
}

static struct lane_record tell_add(uint32_t n)
{
	struct lane_record record = tell_put(n);

	record.kind |= LANE_ADD << 8;
	return record;
}

static void look_put(uint32_t n, const struct lane_result *result)
{
	(void)result;
	ck_assert(holds(key(n), "value"));
	ck_assert_uint_eq(hoarder_row(&one).values, values_before + 1);
	removed(key(n));
}

static struct lane_record tell_replace(uint32_t n)
{
	struct lane_record record;

	put(key(n), "former");
	remember();
	record = lane_publish(&one, key(n), "value");
	record.kind |= LANE_REPLACE << 8;
	record.generation = one.born - 1;
	return record;
}

static void look_replace(uint32_t n, const struct lane_result *result)
{
	ck_assert(holds(key(n), "value"));
	ck_assert_uint_eq(result->generation, one.born);
	ck_assert_uint_eq(hoarder_row(&one).values, values_before);
	removed(key(n));
}

static struct lane_record tell_delete(uint32_t n)
{
	put(key(n), "value");
	remember();
	return removal(key(n), 0);
}

static struct lane_record tell_delete_of(uint32_t n)
{
	put(key(n), "value");
	remember();
	return removal(key(n), one.born);
}

static void look_delete(uint32_t n, const struct lane_result *result)
{
	(void)result;
	ck_assert(!hoarder_find(&one, key(n)));
	ck_assert_uint_eq(hoarder_row(&one).values, values_before - 1);
}

static struct lane_record tell_touch(uint32_t n)
{
	put(key(n), "value");
	remember();
	return (struct lane_record){.kind = LANE_TOUCH,
				    .cache = (uint32_t)one.cache,
				    .hash = key_hash(key(n)),
				    .expiry = UINT64_MAX / 2};
}

static void look_touch(uint32_t n, const struct lane_result *result)
{
	uint64_t offset = hoarder_find(&one, key(n));

	(void)result;
	ck_assert_uint_ne(offset, 0);
	ck_assert_uint_eq(hoarder_at(&one, offset)->expiry, UINT64_MAX / 2);
	atomic_store(&one.hazard, 0);
	ck_assert_uint_eq(hoarder_row(&one).values, values_before);
}

static struct lane_record tell_lease(uint32_t n)
{
	(void)n;
	remember();
	return (struct lane_record){
		.kind = LANE_LEASE, .cache = (uint32_t)one.cache, .size = LARGE};
}

static void look_lease(uint32_t n, const struct lane_result *result)
{
	const struct lane_record seal = {.kind = LANE_SEAL,
					 .cache = (uint32_t)one.cache,
					 .offset = result->ref,
					 .generation = result->generation};

	(void)n;
	ck_assert_uint_eq(session_used() - used_before,
			  (LARGE + SLICE_BYTES - 1) / SLICE_BYTES * SLICE_BYTES);
	ck_assert_uint_eq(ask(1, &seal).code, 0);
	ck_assert_uint_eq(session_used(), used_before);
}

static struct lane_record tell_seal(uint32_t n)
{
	const struct wire_extent_alloced *leased = &one.peer.answer.body.extent_alloced;

	(void)n;
	remember();
	ck_assert(peer_call(&one.peer, WIRE_CACHE_SEGMENT,
			    &(struct wire_cache_segment){.space = one.space,
							 .cache = one.cache,
							 .size = SLICE_BYTES}));
	return (struct lane_record){.kind = LANE_SEAL,
				    .cache = (uint32_t)one.cache,
				    .offset = leased->offset,
				    .generation = (uint32_t)leased->tag};
}

static void look_seal(uint32_t n, const struct lane_result *result)
{
	(void)n;
	(void)result;
	ck_assert_uint_eq(session_used(), used_before);
}

/* A large object, in memory of its own: its segment is sealed, too. */
static struct lane_record tell_large(uint32_t n)
{
	struct lane_record record = tell_lease(n);
	struct lane_result leased = ask(1, &record);
	const struct object_sizes sizes = {.value = LARGE - 4096,
					   .key = (uint32_t)strlen(key(n))};
	struct object_header *header;

	ck_assert_uint_eq(leased.code, 0);
	header = hoarder_at(&one, leased.ref);
	*header = (struct object_header){
		.sizes = object_sizes_pack(sizes),
		.birth = object_birth_pack((struct object_birth){.generation = ++one.born}),
	};
	memcpy(header + 1, key(n), sizes.key);
	return (struct lane_record){.kind = LANE_PUBLISH,
				    .cache = (uint32_t)one.cache,
				    .hash = key_hash(key(n)),
				    .offset = leased.ref,
				    .size = object_size(leased.ref, sizes),
				    .born = one.born};
}

static void look_large(uint32_t n, const struct lane_result *result)
{
	ck_assert_uint_eq(result->ref, told.offset);
	ck_assert_uint_eq(hoarder_find(&one, key(n)), told.offset);
	atomic_store(&one.hazard, 0);
	ck_assert_uint_eq(hoarder_row(&one).values, values_before + 1);
	removed(key(n));
	look_seal(n, result); /* it comes back, which what is leased does not */
}

static const struct story stories[] = {
	{"put", tell_put, look_put},
	{"add", tell_add, look_put},
	{"replace", tell_replace, look_replace},
	{"delete", tell_delete, look_delete},
	{"delete one generation", tell_delete_of, look_delete},
	{"touch", tell_touch, look_touch},
	{"lease", tell_lease, look_lease},
	{"seal", tell_seal, look_seal},
	{"put a large one", tell_large, look_large},
};

/* Killed behind the nth store from now on, or it has made fewer for this. */
static bool killed_behind(const struct story *story, uint32_t n)
{
	struct lane_result result;
	uint64_t position;
	bool died = false;

	told = story->tell(n);
	atomic_store(die, n);
	position = post(0, &told);
	for (int i = 0; !died && atomic_load(&one.lanes[0].taken) <= position; i++) {
		ck_assert_int_lt(i, WAIT_TRIES * 10);
		died = is_dead();
		usleep(1000);
	}
	if (!died && atomic_exchange(die, 0) <= 0) { /* behind what was taken */
		while (!is_dead())
			usleep(1000);
		died = true;
	}
	atomic_store(die, 0);
	if (died)
		go_on();
	result = lane_wait(&one, 0, position);
	ck_assert_msg(!result.code, "%s, killed behind store %u: code %u", story->name, n,
		      result.code);
	story->look(n, &result);
	return died;
}

START_TEST(a_record_is_done_once_wherever_the_daemon_is_killed)
{
	const struct story *story = &stories[_i];
	uint32_t n = 1;

	while (killed_behind(story, n))
		ck_assert_uint_lt(++n, STORES_MAX);
	ck_assert_uint_gt(n, 2);
	/* What was leased comes back: nothing is left over. */
	for (int i = 0; _i + 1 == ARRAY_SIZE(stories) && hoarder_row(&one).objects; i++) {
		ck_assert_int_lt(i, WAIT_TRIES);
		nap();
	}
	printf("# %s: %u stores\n", story->name, n - 1);
	tear_down();
}
END_TEST

START_TEST(records_that_come_while_the_daemon_is_away_are_done_in_order)
{
	struct lane_record record;
	uint64_t last = 0;

	put("a", "first");
	survivor_kill(&daemon_);
	record = lane_publish(&one, "a", "second");
	post(0, &record);
	record = removal("a", 0);
	post(0, &record);
	for (uint32_t i = 0; i < 100; i++) {
		record = lane_publish(&one, key(i), "value");
		last = post(0, &record);
	}
	go_on();
	ck_assert_uint_eq(lane_wait(&one, 0, last).code, 0);
	ck_assert(!hoarder_find(&one, "a"));
	for (uint32_t i = 0; i < 100; i++)
		ck_assert(holds(key(i), "value"));
	ck_assert_uint_eq(hoarder_row(&one).values, 100);
	tear_down();
}
END_TEST

/* ---- return rings ---- */

static struct return_ring *ring;
static uint64_t returned;

static void ring_open(void)
{
	ck_assert(peer_call(&one.peer, WIRE_RETURNS_OPEN, &(struct wire_empty){}));
	ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED, one.peer.fds[0],
		    0);
	ck_assert(ring != MAP_FAILED);
	returned = 0;
}

static void give_back(const struct wire_extent_alloced *extent)
{
	struct return_record *record = &ring->records[returned % RETURNS_MAX];

	record->space = one.space;
	record->ref = ref_make((uint32_t)extent->tag, extent->offset);
	atomic_store(&record->turn, ++returned);
}

START_TEST(what_is_given_back_is_given_back_once_wherever_the_daemon_is_killed)
{
	struct wire_extent_alloced extents[2];
	bool died = true;

	ring_open();
	for (uint32_t n = 1; died; n++) {
		uint64_t before = session_used();

		ck_assert_uint_lt(n, STORES_MAX);
		for (uint32_t i = 0; i < 2; i++) {
			ck_assert(peer_call(&one.peer, WIRE_EXTENT_ALLOC,
					    &(struct wire_extent_alloc){.space = one.space,
									.size = SLICE_BYTES}));
			extents[i] = one.peer.answer.body.extent_alloced;
		}
		atomic_store(die, n);
		give_back(&extents[0]);
		give_back(&extents[1]);
		/* A ring is looked at before each message. */
		peer_send(&one.peer, WIRE_PING, &(struct wire_ping){});
		died = !peer_receive(&one.peer);
		for (int i = 0; !died && atomic_load(die) <= 0; i++) {
			ck_assert_int_lt(i, WAIT_TRIES); /* behind its answer */
			nap();
			died = is_dead();
		}
		if (died && daemon_.pid)
			while (!is_dead())
				nap();
		atomic_store(die, 0);
		if (died)
			go_on();
		ck_assert_uint_eq(session_used(), before);
		ck_assert(!survivor_said(&daemon_, "refused"));
	}
	tear_down();
}
END_TEST

/* ---- readers ---- */

/* A word of the first lane that counts: who has it set reads there. */
static void hold(uint64_t offset)
{
	atomic_store(&one.lanes[0].hazards[1], offset ? one.space << OFFSET_BITS | offset : 0);
	atomic_thread_fence(memory_order_seq_cst);
}

static void churn(struct hoarder *who, uint32_t n)
{
	char value[4096];

	memset(value, 'y', sizeof(value));
	for (uint32_t i = 0; i < n; i++)
		ck_assert(hoarder_put(who, key(i % 64), value, sizeof(value)));
}

START_TEST(a_view_is_unchanged_by_evictions_and_restarts)
{
	struct hoarder two;
	char value[4096 + 1] = {};
	uint64_t offset;
	int i;

	memset(value, 'x', sizeof(value) - 1);
	put("held", value);
	offset = hoarder_find(&one, "held");
	ck_assert_uint_ne(offset, 0);
	hold(offset);
	removed("held");
	hoarder_lease(&one, SLICE_BYTES); /* and nothing lives where it was */
	for (int round = 0; round < 3; round++) {
		survivor_kill(&daemon_);
		survivor_again(&daemon_);
		/* The session that reads has no connection, and counts all the same. */
		hoarder_open(&two, daemon_.socket, "a", "c", 16 * MIB);
		churn(&two, 6000);
		for (i = 0; !hoarder_row(&two).pinned; i++) {
			ck_assert_int_lt(i, WAIT_TRIES);
			nap();
		}
		hoarder_close(&two);
		ck_assert(!memcmp(
			one.data + offset_position(offset) +
				object_value_at(offset,
						(struct object_sizes){.value = 4096, .key = 4}),
			value, 4096));
	}
	hoarder_resume(&one, daemon_.socket);
	hold(0);
	churn(&one, 600); /* else nobody looks */
	for (i = 0; hoarder_row(&one).pinned; i++) {
		ck_assert_int_lt(i, WAIT_TRIES);
		nap();
	}
	tear_down();
}
END_TEST

START_TEST(who_sleeps_says_so_with_a_number_that_nobody_has_seen)
{
	uint32_t before, after;

	for (int i = 0; i < 3 || !(before = atomic_load(&one.bell->sleeping)); i++) {
		put("a", "value");
		for (int j = 0; j < 50 && !atomic_load(&one.bell->sleeping); j++)
			nap();
	}
	ck_assert_uint_gt(before, 2);
	die_and_go_on();
	for (int i = 0; !(after = atomic_load(&one.bell->sleeping)) || after == before; i++) {
		ck_assert_int_lt(i, WAIT_TRIES);
		nap();
	}
	ck_assert_uint_gt(after, before);
	put("b", "value");
	tear_down();
}
END_TEST

/* From now on, of this process and its children: as on a kernel without membarrier. */
static void barrier_goes(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

START_TEST(without_a_barrier_nothing_passes_on_while_who_reads_without_fences_lives)
{
	struct hoarder two;

	hoarder_open(&two, daemon_.socket, "a", "c", 16 * MIB);
	ck_assert(peer_call(&two.peer, WIRE_LANES_OPEN,
			    &(struct wire_lanes_open){.lanes = 1, .barrier = true}));
	ck_assert(two.peer.answer.body.lanes_opened.barrier);
	survivor_kill(&daemon_);
	barrier_goes();
	go_on();
	ck_assert(survivor_said(&daemon_, "read without fences"));
	put("a", "value");
	removed("a");
	hoarder_lease(&one, SLICE_BYTES);
	for (int i = 0; i < 150; i++) /* more than a beat */
		nap();
	ck_assert_uint_ge(hoarder_row(&one).limbo, MIB);
	hoarder_resume(&two, daemon_.socket);
	ck_assert(peer_call(&two.peer, WIRE_BYE, &(struct wire_empty){}));
	hoarder_close(&two);
	for (int i = 0; hoarder_row(&one).limbo; i++) {
		ck_assert_int_lt(i, WAIT_TRIES);
		nap();
	}
	tear_down();
}
END_TEST

/* ---- rights to compute ---- */

static uint64_t ask_for_right(struct hoarder *who, const char *text, uint64_t wait_ms)
{
	ck_assert(peer_call(&who->peer, WIRE_CACHE_FETCH,
			    &(struct wire_cache_fetch){.space = who->space,
						       .cache = who->cache,
						       .hash = key_hash(text),
						       .compute_ms = 60000,
						       .wait_ms = wait_ms}));
	return who->peer.answer.body.cache_fetched.token;
}

START_TEST(a_right_to_compute_is_the_same_after_a_restart)
{
	struct lane_record record;
	struct hoarder two;
	uint64_t token, other;

	token = ask_for_right(&one, "value", 0);
	other = ask_for_right(&one, "other", 0);
	ck_assert_uint_ne(token, 0);
	ck_assert_uint_ne(other, 0);
	die_and_go_on();
	hoarder_open(&two, daemon_.socket, "a", "c", 16 * MIB);
	ck_assert_uint_eq(ask_for_right(&two, "value", 0), 0); /* somebody computes */
	record = lane_publish(&one, "value", "computed");
	record.token = token;
	ck_assert_uint_eq(ask(0, &record).code, 0);
	/* What is computed is of before a clear, also of before the restart. */
	ck_assert(
		peer_call(&two.peer, WIRE_CACHE_CLEAR,
			  &(struct wire_cache_handle){.space = two.space, .cache = two.cache}));
	hoarder_close(&two);
	die_and_go_on();
	record = lane_publish(&one, "other", "computed");
	record.token = other;
	ck_assert_uint_eq(ask(0, &record).code, FAULT_LATE);
	ck_assert(!hoarder_find(&one, "other"));
	tear_down();
}
END_TEST

START_TEST(the_right_of_who_dies_while_the_daemon_is_away_passes_on)
{
	int said[2], status;
	struct hoarder two;
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(said), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		peer_leave_check();
		hoarder_open(&two, daemon_.socket, "a", "c", 16 * MIB);
		byte = ask_for_right(&two, "value", 0) ? 'y' : 'n';
		ck_assert_int_eq(write(said[1], &byte, 1), 1);
		pause();
	}
	ck_assert_int_eq(read(said[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'y');
	survivor_kill(&daemon_);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	go_on();
	ck_assert_uint_ne(ask_for_right(&one, "value", 20000), 0);
	tear_down();
}
END_TEST

/* ---- time ---- */

static uint64_t machine_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void put_until(const char *key, uint64_t expiry)
{
	uint64_t size, offset = hoarder_write(&one, key, "value", 5, expiry, &size);
	const struct lane_record record = {
		.kind = LANE_PUBLISH,
		.cache = (uint32_t)one.cache,
		.hash = key_hash(key),
		.offset = offset,
		.size = size,
		.expiry = expiry,
		.born = one.born,
	};

	ck_assert_uint_eq(ask(0, &record).code, 0);
}

START_TEST(what_expires_does_so_also_after_a_restart)
{
	uint64_t expiry, lasts_ms = 300;

	put("long", "value");
	for (;; lasts_ms *= 2) {
		expiry = machine_ms() + lasts_ms;
		put_until("short", expiry);
		survivor_kill(&daemon_);
		if (machine_ms() < expiry)
			break;
		go_on(); /* it may have seen that end itself */
	}
	go_on();
	for (int i = 0; hoarder_row(&one).values != 1; i++) {
		ck_assert_int_lt(i, WAIT_TRIES);
		nap();
	}
	ck_assert_uint_eq(hoarder_row(&one).expired, 1);
	ck_assert(holds("long", "value"));
	ck_assert(!hoarder_find(&one, "short"));
	tear_down();
}
END_TEST

/* ---- another index ---- */

START_TEST(objects_that_move_to_another_index_are_all_found)
{
	enum { OBJECTS = 40000, PART = 5000 };
	struct lane_record record;
	uint64_t last = 0;

	ck_assert(!hoarder_find(&one, "none")); /* the first index is mapped from now on */
	ck_assert_uint_eq(one.generation, 1);
	for (uint32_t i = 0; i < OBJECTS; i++) {
		if (i && one.filled + 128 > one.size) /* it seals what they are in */
			ck_assert_uint_eq(lane_wait(&one, 0, last).code, 0);
		record = lane_publish(&one, key(i), "v");
		last = lane_put(&one, 0, &record);
		if (i % PART == PART - 1)
			die_and_go_on();
	}
	ck_assert_uint_eq(lane_wait(&one, 0, last).code, 0);
	ck_assert_uint_eq(hoarder_row(&one).values, OBJECTS);
	for (uint32_t i = 0; i < OBJECTS; i++)
		if (!holds(key(i), "v"))
			ck_abort_msg("%u of %u is not found", i, OBJECTS);
	ck_assert_uint_gt(one.generation, 1);
	tear_down();
}
END_TEST

/* ---- what was not left ---- */

START_TEST(a_cache_without_its_records_is_empty_and_goes_on)
{
	put("a", "value");
	ck_assert(holds("a", "value"));
	survivor_kill(&daemon_);
	survivor_lose(&daemon_, "objects-");
	go_on();
	ck_assert(survivor_said(&daemon_, "lost: the objects of cache \"c\" in space \"a\""));
	ck_assert(!hoarder_find(&one, "a")); /* by the index that it had mapped */
	put("a", "another");
	ck_assert(holds("a", "another"));
	die_and_go_on();
	ck_assert(holds("a", "another"));
	tear_down();
}
END_TEST

static void refused_resume(void)
{
	struct peer *peer = &one.peer;

	peer_close(peer);
	peer_connect(peer, daemon_.socket);
	ck_assert(!peer_call(peer, WIRE_HELLO,
			     &(struct wire_hello){.protocol = 1,
						  .layout_min = 1,
						  .layout_max = 1,
						  .resume = one.session}));
	ck_assert_uint_eq(peer->answer.fault.code, FAULT_NOT_FOUND);
}

START_TEST(without_its_index_a_cache_is_another_to_readers)
{
	put("a", "value");
	put("b", "value");
	survivor_kill(&daemon_);
	survivor_lose(&daemon_, "index-");
	survivor_again(&daemon_);
	refused_resume();
	ck_assert(survivor_said(&daemon_, "lost: the index of cache"));
	hoarder_close(&one);
	hoarder_open(&one, daemon_.socket, "a", "c", 16 * MIB);
	hoarder_lanes(&one, 2);
	ck_assert(holds("a", "value"));
	ck_assert(holds("b", "value"));
	hoarder_lease(&one, SLICE_BYTES);
	put("c", "value");
	die_and_go_on();
	ck_assert(holds("c", "value"));
	tear_down();
}
END_TEST

/* As by one that died after it had kept the index that it made for one that was lost. */
static void index_is_of_generation(char generation)
{
	struct fake_store *store = &daemon_.store;
	uint32_t found = 0;

	fake_store_count(store, NULL);
	pthread_mutex_lock(&store->mutex);
	for (uint32_t i = 0; i < store->n; i++)
		if (!strncmp(store->stored[i].name, "index-", 6)) {
			strrchr(store->stored[i].name, '-')[1] = generation;
			found++;
		}
	pthread_mutex_unlock(&store->mutex);
	ck_assert_uint_eq(found, 1);
}

START_TEST(an_index_that_was_being_made_when_the_daemon_died_is_made_anew)
{
	put("a", "value");
	survivor_kill(&daemon_);
	index_is_of_generation('3');
	survivor_again(&daemon_);
	refused_resume();
	hoarder_close(&one);
	hoarder_open(&one, daemon_.socket, "a", "c", 16 * MIB);
	hoarder_lanes(&one, 2);
	ck_assert(holds("a", "value"));
	hoarder_lease(&one, SLICE_BYTES);
	put("b", "value");
	die_and_go_on();
	ck_assert(holds("b", "value"));
	tear_down();
}
END_TEST

START_TEST(a_session_without_its_lanes_ends)
{
	put("a", "value");
	survivor_kill(&daemon_);
	survivor_lose(&daemon_, "lanes-");
	survivor_again(&daemon_);
	refused_resume();
	ck_assert(survivor_said(&daemon_, "lost: the lanes of session"));
	tear_down();
}
END_TEST

START_TEST(sessions_end_that_nobody_can_hear_any_more)
{
	put("a", "value");
	survivor_kill(&daemon_);
	survivor_lose(&daemon_, "bell");
	survivor_again(&daemon_);
	refused_resume();
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("restart");
	TCase *t = tcase_create("restart");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_test(t, what_was_put_is_found_while_the_daemon_is_away_and_afterwards);
	tcase_add_loop_test(t, a_record_is_done_once_wherever_the_daemon_is_killed, 0,
			    (int)ARRAY_SIZE(stories));
	tcase_add_test(t, records_that_come_while_the_daemon_is_away_are_done_in_order);
	tcase_add_test(t, what_is_given_back_is_given_back_once_wherever_the_daemon_is_killed);
	tcase_add_test(t, a_view_is_unchanged_by_evictions_and_restarts);
	tcase_add_test(
		t, without_a_barrier_nothing_passes_on_while_who_reads_without_fences_lives);
	tcase_add_test(t, who_sleeps_says_so_with_a_number_that_nobody_has_seen);
	tcase_add_test(t, a_right_to_compute_is_the_same_after_a_restart);
	tcase_add_test(t, the_right_of_who_dies_while_the_daemon_is_away_passes_on);
	tcase_add_test(t, what_expires_does_so_also_after_a_restart);
	tcase_add_test(t, objects_that_move_to_another_index_are_all_found);
	tcase_add_test(t, a_cache_without_its_records_is_empty_and_goes_on);
	tcase_add_test(t, without_its_index_a_cache_is_another_to_readers);
	tcase_add_test(t, an_index_that_was_being_made_when_the_daemon_died_is_made_anew);
	tcase_add_test(t, a_session_without_its_lanes_ends);
	tcase_add_test(t, sessions_end_that_nobody_can_hear_any_more);
	suite_add_tcase(s, t);
	return suite_run(s);
}
