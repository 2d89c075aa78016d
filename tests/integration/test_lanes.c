/*
 * Lanes: what is put into them is done and answered, who sleeps is woken, and what a client writes
 * there can hurt nobody.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/daemon.h"
#include "tests/integration/hoarder.h"
#include "tests/suite.h"

#define PATIENCE_NS ((uint64_t)10 * 1000 * 1000 * 1000)
#define MIB ((uint64_t)1 << 20)

enum {
	WAIT_TRIES = 2000, /* of 10 ms */
	BEAT_TRIES = 1000, /* likewise, for what comes within two seconds */
	MANY = 20000,
	GARBAGE = 20000,
	NEARLY = 5000,
	OWN = 40,
	OTHERS = 1500, /* 90 MB, in a space of 64 */
	NAPS = 1000,
	ORDERED = 600,
	FLIPS = 400,
	SCANS = 40,
	QUIET = 4,
};

static struct test_daemon daemon_;
static struct hoarder one, two;
static uint64_t seed_ = 88172645463325252ULL;

static void set_up(void)
{
	struct peer peer;

	test_daemon_start(&daemon_, "128M", NULL);
	peer_open(&peer, daemon_.socket);
	peer_create_space(&peer, "a", 64 * MIB);
	peer_close(&peer);
	hoarder_open(&one, daemon_.socket, "a", "c", 16 * MIB);
	hoarder_open(&two, daemon_.socket, "a", "c", 0);
	hoarder_lanes(&one, 2);
}

static void tear_down(void)
{
	hoarder_close(&one);
	hoarder_close(&two);
	test_daemon_stop(&daemon_);
}

static uint64_t random_word(void)
{
	seed_ ^= seed_ << 13;
	seed_ ^= seed_ >> 7;
	seed_ ^= seed_ << 17;
	return seed_;
}

static bool is_there(struct hoarder *by, const char *key)
{
	bool there = hoarder_find(by, key) != 0;

	atomic_store(&by->hazard, 0);
	return there;
}

static struct lane_result put(struct hoarder *by, uint32_t lane, const char *key)
{
	struct lane_record record = lane_publish(by, key, "v");

	return lane_wait(by, lane, lane_put(by, lane, &record));
}

static void still_serves(void)
{
	ck_assert(peer_call(&two.peer, WIRE_PING, &(struct wire_ping){}));
	ck_assert(hoarder_put(&two, "serves", "v", 1));
	ck_assert(is_there(&two, "serves"));
}

START_TEST(what_is_put_into_a_lane_is_done_and_answered)
{
	struct lane_result result = put(&one, 0, "k");
	struct lane_record record;
	uint32_t born = one.born;

	ck_assert_uint_eq(result.code, 0);
	ck_assert_uint_eq(result.generation, born);
	ck_assert_uint_eq(result.ref, hoarder_find(&two, "k"));
	record = lane_publish(&one, "k", "v");
	record.kind |= LANE_ADD << 8;
	result = lane_wait(&one, 1, lane_put(&one, 1, &record));
	ck_assert_uint_eq(result.code, FAULT_EXISTS);
	ck_assert_uint_eq(result.generation, born);
	record.kind = LANE_DELETE;
	record.generation = born + 1;
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, FAULT_CHANGED);
	record.generation = born;
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, 0);
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, FAULT_NOT_FOUND);
	ck_assert(!is_there(&two, "k"));
	record.kind = 200;
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, FAULT_METHOD);
}
END_TEST

START_TEST(records_are_taken_from_lanes_that_were_opened)
{
	struct lane_record record;
	uint64_t beyond, within;

	atomic_store(&one.lanes[0].opened, 1);
	record = lane_publish(&one, "beyond", "v");
	beyond = lane_put(&one, 1, &record);
	record = lane_publish(&one, "within", "v");
	within = lane_put(&one, 0, &record);
	ck_assert_uint_eq(lane_wait(&one, 0, within).code, 0);
	ck_assert_uint_eq(atomic_load(&one.lanes[1].taken), 0);
	atomic_store(&one.lanes[0].opened, UINT32_MAX); /* that cannot be: all */
	lane_put(&one, 0, &(struct lane_record){.kind = LANE_NOTHING}); /* wakes */
	/* It lies before what was published meanwhile. */
	ck_assert_uint_eq(lane_wait(&one, 1, beyond).code, FAULT_REFERENCE);
}
END_TEST

START_TEST(a_segment_is_sealed_behind_what_was_put_into_it)
{
	struct lane_record record = lane_publish(&one, "k", "v"), seal = {.kind = LANE_SEAL};

	lane_put(&one, 0, &record);
	seal.cache = record.cache;
	seal.offset = one.segment;
	seal.generation = (uint32_t)one.tag;
	lane_put(&one, 0, &seal);
	record = lane_publish(&one, "l", "v");
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, FAULT_REFERENCE);
	ck_assert(is_there(&two, "k"));
	ck_assert(!is_there(&two, "l"));
	one.size = 0;
}
END_TEST

START_TEST(more_than_the_first_files_hold_goes_through_one_lane)
{
	char key[32];

	for (int i = 0; i < MANY; i++) {
		struct lane_record record;

		snprintf(key, sizeof(key), "key %d", i);
		/* What it seals, by the socket, may hold nothing that is on its way. */
		if (one.filled + 128 > one.size && one.size)
			lane_wait(&one, 0, atomic_load(&one.lanes[0].head) - 1);
		record = lane_publish(&one, key, "value");
		lane_put(&one, 0, &record);
	}
	lane_wait(&one, 0, atomic_load(&one.lanes[0].head) - 1);
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		ck_assert_msg(is_there(&two, key), "%s", key);
	}
}
END_TEST

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Without sleeping: nobody has to wake it. */
static void watch(const struct lane *lane, uint64_t at)
{
	uint64_t begun = now_ns();

	while (atomic_load_explicit(&lane->taken, memory_order_acquire) <= at)
		if (now_ns() - begun > PATIENCE_NS)
			ck_abort_msg("the daemon sleeps over record %" PRIu64, at);
}

/* What a result says is so: in the index, when `taken` has gone on. */
START_TEST(taken_comes_after_what_was_done)
{
	struct lane *lane = &one.lanes[0];
	uint64_t at;

	for (int i = 0; i < ORDERED; i++) {
		char key[32];
		struct lane_record record;

		snprintf(key, sizeof(key), "key %d", i);
		if (one.filled + 128 > one.size && one.size)
			lane_wait(&one, 0, atomic_load(&lane->head) - 1);
		record = lane_publish(&one, key, "value");
		at = lane_put(&one, 0, &record);
		watch(lane, at);
		ck_assert_uint_eq(atomic_load(&lane->results[at % LANE_RECORDS].position),
				  at + 1);
		ck_assert(is_there(&one, key));
	}
}
END_TEST

/* One is put at about the moment when the daemon was last seen to fall asleep, and one much later. */
START_TEST(a_daemon_that_falls_asleep_is_woken)
{
	struct lane_record record = {.kind = LANE_DELETE, .cache = (uint32_t)one.cache};
	struct lane *lane = &one.lanes[0];
	uint64_t since = 100000, begun, at;

	for (int i = 0; i < NAPS; i++) {
		record.hash = (uint64_t)i;
		at = lane_put(&one, 0, &record);
		watch(lane, at);
		begun = now_ns();
		if (i % 2) {
			while (now_ns() - begun < since + random_word() % 1024 - 800)
				;
			continue;
		}
		while (!atomic_load(&one.bell->sleeping))
			ck_assert_uint_lt(now_ns() - begun, PATIENCE_NS);
		since = u64_max(now_ns() - begun, 1000);
		since = u64_min(since, 1000000);
	}
}
END_TEST

START_TEST(garbage_in_a_lane_stops_nothing)
{
	uint64_t at = 0;

	ck_assert_uint_eq(put(&one, 0, "k").code, 0);
	for (int i = 0; i < GARBAGE; i++) {
		struct lane_record record;
		uint64_t *words = (uint64_t *)&record;

		for (size_t j = 0; j < sizeof(record) / 8; j++)
			words[j] = random_word() >> random_word() % 64;
		if (random_word() % 4) /* as far as the cache, at least */
			record.cache = (uint32_t)one.cache;
		if (random_word() % 2)
			record.kind = (uint32_t)(random_word() % 8 | random_word() % 4 << 8);
		if (random_word() % 2)
			record.offset = one.segment + random_word() % one.size;
		if (record.kind == LANE_SEAL)
			record.generation = 0;
		at = lane_put(&one, 1, &record);
	}
	lane_wait(&one, 1, at);
	still_serves();
	ck_assert(is_there(&two, "k"));
}
END_TEST

/* Right but for a bit or a few: what garbage seldom is, and an attacker always. */
START_TEST(nearly_right_records_stop_nothing)
{
	uint64_t at = 0;

	ck_assert_uint_eq(put(&one, 0, "k").code, 0);
	for (int i = 0; i < NEARLY; i++) {
		struct lane_record record;
		uint64_t *words = (uint64_t *)&record;
		char key[16];

		snprintf(key, sizeof(key), "key %d", i % 1000);
		if (one.filled + 128 > one.size)
			lane_wait(&one, 1, at);
		record = lane_publish(&one, key, "value");
		if (i % 16 == 15) /* and it may lie where no other does */
			record.kind = (uint32_t)(random_word() % 8 | random_word() % 4 << 8);
		for (uint64_t n = random_word() % 3; n < 3; n++)
			words[random_word() % (sizeof(record) / 8)] ^= (uint64_t)1
								       << random_word() % 64;
		if ((record.kind & 0xff) == LANE_SEAL)
			record.generation = 0;
		at = lane_put(&one, 1, &record);
	}
	lane_wait(&one, 1, at);
	still_serves();
	ck_assert(is_there(&two, "k"));
}
END_TEST

START_TEST(an_offset_beyond_all_windows_is_refused)
{
	for (uint32_t bit = OFFSET_BITS; bit < 64; bit++) {
		struct lane_record record = lane_publish(&one, "k", "v");

		record.offset |= (uint64_t)1 << bit;
		ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code,
				  FAULT_REFERENCE);
		record.kind = LANE_SEAL;
		ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code,
				  FAULT_REFERENCE);
	}
	still_serves();
}
END_TEST

/* Both are its own: the ledger would know it as sealed, and the cache that it is in would not. */
START_TEST(a_segment_is_sealed_as_its_own_caches_alone)
{
	struct lane_record seal = {.kind = LANE_SEAL};

	ck_assert_uint_eq(put(&one, 0, "k").code, 0);
	ck_assert(peer_call(&one.peer, WIRE_CACHE_OPEN,
			    &(struct wire_cache_open){.space = one.space,
						      .name = wire_str("other"),
						      .capacity = MIB}));
	seal.cache = (uint32_t)one.peer.answer.body.cache_opened.cache;
	ck_assert_uint_ne(seal.cache, one.cache);
	ck_assert(peer_call(
		&one.peer, WIRE_CACHE_CLEAR, /* there is one when that is done */
		&(struct wire_cache_handle){.space = one.space, .cache = seal.cache}));
	seal.offset = one.segment;
	seal.generation = (uint32_t)one.tag;
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &seal)).code, FAULT_REFERENCE);
	ck_assert_uint_eq(put(&one, 0, "l").code, 0);
	seal.cache = (uint32_t)one.cache;
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &seal)).code, 0);
	ck_assert(is_there(&two, "k"));
	ck_assert(is_there(&two, "l"));
	one.size = 0;
}
END_TEST

/* However small what lies in an extent of its own: it is full, for the ledger, too. */
START_TEST(own_extents_of_small_objects_come_back)
{
	static char value[60000];
	char key[16];

	for (int i = 0; i < OWN; i++) {
		struct lane_record record = {.kind = LANE_PUBLISH,
					     .cache = (uint32_t)one.cache,
					     .hash = key_hash("x"),
					     .size = 64,
					     .born = 7};

		ck_assert(peer_call(&one.peer, WIRE_CACHE_SEGMENT,
				    &(struct wire_cache_segment){.space = one.space,
								 .cache = one.cache,
								 .size = SLICE_BYTES,
								 .object = true}));
		record.offset = one.peer.answer.body.extent_alloced.offset;
		record.offset += !record.offset << OBJECT_SHIFT; /* no object is at 0 */
		ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, 0);
		/* Others are refused while it is anybody's. */
		ck_assert(
			peer_call(&two.peer, WIRE_CACHE_SEAL,
				  &(struct wire_cache_seal){
					  .space = one.space,
					  .offset = one.peer.answer.body.extent_alloced.offset,
					  .tag = one.peer.answer.body.extent_alloced.tag}));
	}
	for (int i = 0; i < OTHERS; i++) {
		snprintf(key, sizeof(key), "key %d", i % 300);
		ck_assert_msg(hoarder_put(&two, key, value, sizeof(value)), "put %d: %.*s", i,
			      (int)two.peer.answer.fault.message.size,
			      two.peer.answer.fault.message.data);
	}
}
END_TEST

static struct lane_result lease(uint64_t size)
{
	struct lane_record record = {
		.kind = LANE_LEASE, .cache = (uint32_t)one.cache, .size = size};

	return lane_wait(&one, 0, lane_put(&one, 0, &record));
}

static void seal_leased(struct lane_result leased)
{
	const struct lane_record record = {.kind = LANE_SEAL,
					   .cache = (uint32_t)one.cache,
					   .offset = leased.ref,
					   .generation = leased.generation};

	ck_assert_uint_eq(leased.code, 0);
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, 0);
}

/* There is, of what a segment's chunk was committed with. */
START_TEST(a_record_leases_memory_for_an_object_if_there_is_any)
{
	const uint64_t sizes[] = {0, 32 * MIB, 16 * MIB, UINT64_MAX, UINT64_MAX - SLICE_BYTES};
	struct lane_record record = {
		.kind = LANE_PUBLISH, .cache = (uint32_t)one.cache, .size = 64, .born = 7};
	const struct stats_copy *copy;
	struct lane_result leased;
	uint64_t held;

	ck_assert_uint_eq(put(&one, 0, "k").code, 0);
	held = hoarder_row(&one).memory;
	leased = lease(OBJECT_OWN);
	ck_assert_uint_eq(leased.code, 0);
	ck_assert_uint_eq(leased.ref % SLICE_BYTES, 0);
	ck_assert_uint_eq(hoarder_row(&one).memory, held + OBJECT_OWN);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		ck_assert_uint_eq(lease(sizes[i]).code, FAULT_MEMORY);
	ck_assert_uint_eq(hoarder_row(&one).memory, held + OBJECT_OWN);
	/* Nobody was refused memory: he may ask for it. And nobody has had any. */
	peer_status(&one.peer);
	copy = statistics(daemon_.socket);
	ck_assert_mem_eq(&copy->failures, &(struct stats_failures){}, sizeof(copy->failures));
	ck_assert_uint_eq(copy->peak, copy->used);
	/* It is this session's, for one object. */
	record.offset = leased.ref + (!leased.ref << OBJECT_SHIFT);
	record.hash = key_hash("x");
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, 0);
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, FAULT_REFERENCE);
	/* Or for none: it comes back once it is sealed, however little it is. */
	for (int n = 3; n > 0; n -= 2) {
		for (int i = 0; i < n; i++)
			seal_leased(lease(OBJECT_OWN));
		for (int i = 0; i < BEAT_TRIES && hoarder_row(&one).memory > held + OBJECT_OWN;
		     i++)
			usleep(10000);
		ck_assert_uint_eq(hoarder_row(&one).memory, held + OBJECT_OWN);
	}
}
END_TEST

static _Atomic bool flipping;
static uint32_t others;

/* The cache that records name is one's own, and another, and one's own. */
static void *flip(void *unused)
{
	(void)unused;
	while (atomic_load_explicit(&flipping, memory_order_relaxed))
		for (uint32_t i = 0; i < LANE_RECORDS; i++) {
			volatile uint32_t *cache = &one.lanes[0].records[i].cache;

			*cache = *cache == others ? (uint32_t)one.cache : others;
		}
	return NULL;
}

START_TEST(a_record_that_changes_while_it_is_read_is_one_or_the_other)
{
	struct hoarder theirs;
	pthread_t thread;

	hoarder_open(&theirs, daemon_.socket, "a", "theirs", MIB);
	ck_assert(hoarder_put(&theirs, "k", "v", 1));
	others = (uint32_t)theirs.cache;
	for (uint32_t i = 0; i < LANE_RECORDS; i++)
		one.lanes[0].records[i] = (struct lane_record){
			.kind = LANE_DELETE, .cache = others, .hash = key_hash("k")};
	atomic_store(&flipping, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, flip, NULL), 0);
	for (uint64_t i = 1; i <= FLIPS; i++) {
		atomic_store(&one.lanes[0].head, i * LANE_RECORDS);
		ck_assert_int_eq(send(one.peer.fd, "", 1, MSG_NOSIGNAL), 1);
		lane_wait(&one, 0, i * LANE_RECORDS - 1);
		ck_assert(is_there(&theirs, "k"));
	}
	atomic_store(&flipping, false);
	pthread_join(thread, NULL);
	hoarder_close(&theirs);
}
END_TEST

START_TEST(a_forged_head_is_none)
{
	static const uint64_t forged[] = {UINT64_MAX, (uint64_t)1 << 63, 1000, 0};
	struct lane *lane = &one.lanes[1];
	uint64_t taken;

	ck_assert_uint_eq(put(&one, 1, "k").code, 0);
	taken = atomic_load(&lane->taken);
	for (size_t i = 0; i < ARRAY_SIZE(forged); i++) {
		atomic_store(&lane->head, forged[i]);
		/* who looks at one of its lanes looks at both */
		ck_assert_uint_eq(put(&one, 0, "l").code, 0);
		still_serves();
		ck_assert_uint_eq(atomic_load(&lane->taken), taken);
	}
	atomic_store(&lane->head, taken);
	ck_assert_uint_eq(put(&one, 1, "m").code, 0);
}
END_TEST

START_TEST(a_lane_file_without_pages_is_empty)
{
	ck_assert_uint_eq(put(&one, 0, "k").code, 0);
	ck_assert_int_eq(fallocate(one.lanes_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				   (off_t)one.lanes_size),
			 0);
	ck_assert_int_eq(send(one.peer.fd, "", 1, 0), 1);
	still_serves();
	ck_assert_int_lt(ftruncate(one.lanes_fd, 0), 0);
	ck_assert_int_lt(ftruncate(one.lanes_fd, (off_t)one.lanes_size * 2), 0);
	ck_assert(peer_call(&one.peer, WIRE_PING, &(struct wire_ping){}));
}
END_TEST

/* An answer that comes too late is dropped, with what it grants. */
START_TEST(who_asks_again_for_lanes_has_the_same_once_more)
{
	const struct wire_lanes_open request = {.lanes = 2};
	struct stat is, was;

	ck_assert(!fstat(one.lanes_fd, &was));
	ck_assert(peer_call(&one.peer, WIRE_LANES_OPEN, &request));
	ck_assert_int_ge(one.peer.fds[1], 0);
	ck_assert(!fstat(one.peer.fds[0], &is));
	ck_assert_uint_eq(is.st_ino, was.st_ino);
	ck_assert_uint_eq(put(&one, 1, "k").code, 0);
	/* Also while the first are just being made. */
	peer_send(&two.peer, WIRE_LANES_OPEN, &request);
	peer_send(&two.peer, WIRE_LANES_OPEN, &request);
	two.peer.id--;
	for (int i = 0; i < 2; i++, two.peer.id++) {
		ck_assert(peer_receive(&two.peer));
		ck_assert(!two.peer.answer.failed);
		ck_assert(!fstat(two.peer.fds[0], i ? &is : &was));
	}
	ck_assert_uint_eq(is.st_ino, was.st_ino);
}
END_TEST

START_TEST(lanes_are_opened_once_and_some)
{
	ck_assert(
		!peer_call(&one.peer, WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = 1}));
	ck_assert_uint_eq(one.peer.answer.fault.code, FAULT_EXISTS);
	ck_assert(
		!peer_call(&two.peer, WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = 0}));
	ck_assert_uint_eq(two.peer.answer.fault.code, FAULT_INVALID);
	ck_assert(
		!peer_call(&two.peer, WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = 65}));
	ck_assert_uint_eq(two.peer.answer.fault.code, FAULT_INVALID);
	hoarder_lanes(&two, 64);
	ck_assert_uint_eq(put(&two, 63, "k").code, 0);
	ck_assert(is_there(&one, "k"));
	/* a byte is none of a message's, but to who has lanes */
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(send(two.peer.fd, "", 1, 0), 1);
	ck_assert(peer_call(&two.peer, WIRE_PING, &(struct wire_ping){}));
}
END_TEST

static _Atomic bool busy;

/* The loop hardly ever sleeps, so that nobody else has to ring. */
static void *keep_busy(void *unused)
{
	struct lane *lane = &one.lanes[0];

	(void)unused;
	for (uint32_t i = 0; i < LANE_RECORDS; i++)
		lane->records[i] =
			(struct lane_record){.kind = LANE_DELETE, .cache = (uint32_t)one.cache};
	while (atomic_load_explicit(&busy, memory_order_relaxed)) {
		atomic_store(&lane->head, atomic_load(&lane->taken) + LANE_RECORDS);
		if (atomic_load(&one.bell->sleeping))
			send(one.peer.fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	return NULL;
}

/* LN2. Sessions of many lanes each, and only the last lane of each has something to say. */
START_TEST(who_has_been_quiet_is_heard_while_another_is_busy)
{
	static struct hoarder quiet[QUIET];
	pthread_t thread;

	for (int i = 0; i < QUIET; i++) {
		hoarder_open(&quiet[i], daemon_.socket, "a", "c", 0);
		hoarder_lanes(&quiet[i], LANES_A_SESSION);
	}
	atomic_store(&busy, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, keep_busy, NULL), 0);
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < QUIET; i++) {
			const struct lane_record record = {.kind = LANE_DELETE,
							   .cache = (uint32_t)quiet[i].cache};

			watch(&quiet[i].lanes[LANES_A_SESSION - 1],
			      lane_put(&quiet[i], LANES_A_SESSION - 1, &record));
			if (round % 4 == 3)
				usleep(2000); /* quiet again */
		}
	atomic_store(&busy, false);
	pthread_join(thread, NULL);
	for (int i = 0; i < QUIET; i++)
		hoarder_close(&quiet[i]);
}
END_TEST

/* As who is there in turn on its own processor: the loop looks for more of them nowhere. */
START_TEST(who_was_quiet_is_heard_by_a_daemon_on_his_own_processor)
{
	static struct hoarder quiet[QUIET];
	int cpu = sched_getcpu();

	test_daemon_pin(&daemon_, cpu);
	for (int i = 0; i < QUIET; i++) {
		hoarder_open(&quiet[i], daemon_.socket, "a", "c", 0);
		hoarder_lanes(&quiet[i], LANES_A_SESSION);
	}
	for (int i = 0; i < 10 * QUIET; i++) {
		struct hoarder *by = &quiet[i % QUIET];
		const struct lane_record record = {.kind = LANE_DELETE,
						   .cache = (uint32_t)by->cache};

		atomic_store(&by->lanes[0].cpu, (uint32_t)cpu + 1);
		watch(&by->lanes[0], lane_put(by, 0, &record));
		usleep(2000);
	}
	for (int i = 0; i < QUIET; i++)
		hoarder_close(&quiet[i]);
}
END_TEST

/* As many as there is room for, in all lanes, all the time. */
static void put_on(struct hoarder *by)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint32_t i = 0; i < LANES_A_SESSION; i++)
		for (uint32_t j = 0; j < LANE_RECORDS; j++)
			by->lanes[i].records[j] = (struct lane_record){
				.kind = LANE_DELETE, .cache = (uint32_t)by->cache};
	for (uint32_t i = 0;; i = (i + 1) % LANES_A_SESSION)
		atomic_store(&by->lanes[i].head,
			     atomic_load(&by->lanes[i].taken) + LANE_RECORDS);
}

/* Whoever has the file can: a child of a process that has ended, say. */
START_TEST(who_goes_on_putting_puts_no_end_off)
{
	const struct timeval patience = {.tv_sec = 5};
	static struct hoarder leaving;
	int status;
	pid_t pid;

	hoarder_open(&leaving, daemon_.socket, "a", "c", 0);
	hoarder_lanes(&leaving, LANES_A_SESSION);
	ck_assert_int_eq(setsockopt(leaving.peer.fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
				    sizeof(patience)),
			 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		put_on(&leaving);
	while (!atomic_load(&leaving.lanes[LANES_A_SESSION - 1].taken))
		ck_assert_int_eq(send(leaving.peer.fd, "", 1, MSG_NOSIGNAL), 1);
	ck_assert(peer_call(&leaving.peer, WIRE_BYE, &(struct wire_empty){}));
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	hoarder_close(&leaving);
	still_serves();
}
END_TEST

/* It has put one record, and is in the midst of another when it dies. */
static void put_and_a_half(void)
{
	static struct hoarder child;
	struct lane_record record;

	hoarder_open(&child, daemon_.socket, "a", "c", 0);
	hoarder_lanes(&child, 1);
	record = lane_publish(&child, "whole", "v");
	child.lanes[0].records[0] = record;
	record = lane_publish(&child, "half", "v");
	memcpy(&child.lanes[0].records[1], &record, sizeof(record) / 2);
	atomic_store(&child.lanes[0].head, 1); /* and nobody is told */
}

START_TEST(what_a_dead_session_has_put_is_done_and_no_more)
{
	int pipe_fds[2], status;
	char byte;
	pid_t pid;

	ck_assert(!pipe(pipe_fds));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		peer_leave_check();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		put_and_a_half();
		if (write(pipe_fds[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(1);
	}
	close(pipe_fds[1]);
	ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
	close(pipe_fds[0]);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	for (int i = 0; i < WAIT_TRIES && !is_there(&two, "whole"); i++)
		usleep(10000);
	ck_assert(is_there(&two, "whole"));
	ck_assert(!is_there(&two, "half"));
	still_serves();
}
END_TEST

/* Memory that waits for a scan. */
static void leave_some(struct hoarder *by)
{
	static const char value[3 * MIB];

	hoarder_lease(by, sizeof(value) + 4096);
	ck_assert(hoarder_put(by, "large", value, sizeof(value)));
	by->size = 0; /* it is sealed by being full */
	ck_assert(hoarder_delete(by, "large"));
}

/* SN3. Each scan reads lanes of a session that ends meanwhile, and of a cache that is removed. */
START_TEST(lanes_stay_while_they_are_scanned)
{
	struct wire_cache_remove remove = {
		.space = two.space, .name = wire_str("leaving"), .force = true};
	static struct hoarder leaving;

	for (int i = 0; i < SCANS; i++) {
		hoarder_open(&leaving, daemon_.socket, "a", "leaving", 4 * MIB);
		hoarder_lanes(&leaving, LANES_A_SESSION);
		ck_assert_uint_eq(put(&leaving, LANES_A_SESSION - 1, "k").code, 0);
		leave_some(i % 2 ? &leaving : &two);
		if (i % 4 == 3)
			ck_assert(peer_call(&two.peer, WIRE_CACHE_REMOVE, &remove));
		ck_assert(peer_call(&leaving.peer, WIRE_BYE, &(struct wire_empty){}));
		hoarder_close(&leaving);
	}
	still_serves();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lanes");
	TCase *tcase = tcase_create("lanes");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, what_is_put_into_a_lane_is_done_and_answered);
	tcase_add_test(tcase, records_are_taken_from_lanes_that_were_opened);
	tcase_add_test(tcase, a_segment_is_sealed_behind_what_was_put_into_it);
	tcase_add_test(tcase, more_than_the_first_files_hold_goes_through_one_lane);
	tcase_add_test(tcase, taken_comes_after_what_was_done);
	tcase_add_test(tcase, a_daemon_that_falls_asleep_is_woken);
	tcase_add_test(tcase, garbage_in_a_lane_stops_nothing);
	tcase_add_test(tcase, nearly_right_records_stop_nothing);
	tcase_add_test(tcase, an_offset_beyond_all_windows_is_refused);
	tcase_add_test(tcase, a_segment_is_sealed_as_its_own_caches_alone);
	tcase_add_test(tcase, a_record_leases_memory_for_an_object_if_there_is_any);
	tcase_add_test(tcase, own_extents_of_small_objects_come_back);
	tcase_add_test(tcase, a_record_that_changes_while_it_is_read_is_one_or_the_other);
	tcase_add_test(tcase, a_forged_head_is_none);
	tcase_add_test(tcase, a_lane_file_without_pages_is_empty);
	tcase_add_test(tcase, who_asks_again_for_lanes_has_the_same_once_more);
	tcase_add_test(tcase, lanes_are_opened_once_and_some);
	tcase_add_test(tcase, what_a_dead_session_has_put_is_done_and_no_more);
	tcase_add_test(tcase, who_has_been_quiet_is_heard_while_another_is_busy);
	tcase_add_test(tcase, who_was_quiet_is_heard_by_a_daemon_on_his_own_processor);
	tcase_add_test(tcase, who_goes_on_putting_puts_no_end_off);
	tcase_add_test(tcase, lanes_stay_while_they_are_scanned);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
