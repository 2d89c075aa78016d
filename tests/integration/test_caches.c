/*
 * Caches over the socket: who has one open, what it may hold, whose its memory is, what a death
 * leaves of it.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "proto/layout.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)
#define KIB ((uint64_t)1 << 10)

enum {
	NOBODY = 65534,
	WAIT_TRIES = 1500, /* of 10 ms */
	MANY = 2700,       /* segments: some steps of the core's */
};

static struct test_daemon daemon_;
static struct peer one, two;
static uint64_t space, capacity;

static void set_up(void)
{
	test_daemon_start(&daemon_, "256M", NULL);
	peer_open(&one, daemon_.socket);
	peer_open(&two, daemon_.socket);
	peer_create_space(&one, "a", 32 * MIB);
	space = peer_open_space(&one, "a");
	capacity = 32 * MIB;
	ck_assert_uint_eq(peer_open_space(&two, "a"), space);
}

static void tear_down(void)
{
	peer_close(&one);
	peer_close(&two);
	test_daemon_stop(&daemon_);
}

/* ---- asking ---- */

static bool try_open(struct peer *peer, struct wire_cache_open open)
{
	open.space = space;
	return peer_call(peer, WIRE_CACHE_OPEN, &open);
}

static uint64_t open_cache(struct peer *peer, const char *name)
{
	ck_assert(try_open(
		peer, (struct wire_cache_open){.name = wire_str(name), .capacity = capacity}));
	return peer->answer.body.cache_opened.cache;
}

static bool close_cache(struct peer *peer, uint64_t cache)
{
	return peer_call(peer, WIRE_CACHE_CLOSE,
			 &(struct wire_cache_handle){.space = space, .cache = cache});
}

static bool remove_cache(struct peer *peer, const char *name, bool force)
{
	return peer_call(peer, WIRE_CACHE_REMOVE,
			 &(struct wire_cache_remove){
				 .space = space, .name = wire_str(name), .force = force});
}

static bool try_segment(struct peer *peer, uint64_t cache, uint64_t size, bool object)
{
	return peer_call(
		peer, WIRE_CACHE_SEGMENT,
		&(struct wire_cache_segment){
			.space = space, .cache = cache, .size = size, .object = object});
}

/* Full: what is sealed empty goes back, and what is not full is cleaned. */
static struct wire_extent_alloced lease(struct peer *peer, uint64_t cache, uint64_t size)
{
	struct wire_extent_alloced segment;
	uint64_t put;

	ck_assert_msg(try_segment(peer, cache, size, size > CHUNK_BYTES), "%.*s",
		      (int)peer->answer.fault.message.size, peer->answer.fault.message.data);
	segment = peer->answer.body.extent_alloced;
	for (uint64_t at = 64, left = segment.size - 64; left; at += put, left -= put) {
		put = size > CHUNK_BYTES ? left : u64_min(left, 128 * KIB);
		ck_assert(peer_call(peer, WIRE_CACHE_PUBLISH,
				    &(struct wire_cache_publish){.space = space,
								 .cache = cache,
								 .hash = segment.offset + at,
								 .offset = segment.offset + at,
								 .size = put,
								 .born = 1}));
	}
	return segment;
}

static bool seal(struct peer *peer, struct wire_extent_alloced segment)
{
	return peer_call(peer, WIRE_CACHE_SEAL,
			 &(struct wire_cache_seal){
				 .space = space, .offset = segment.offset, .tag = segment.tag});
}

/* Its answer was a refusal of this kind, which says this. */
static void refused(const struct peer *peer, enum fault_code code, const char *which,
		    const char *says)
{
	const struct wire_fault *fault = &peer->answer.fault;
	char text[256];

	snprintf(text, sizeof(text), "%.*s", (int)fault->message.size, fault->message.data);
	ck_assert_msg(fault->code == (uint64_t)code && wire_str_is(fault->which, which) &&
			      strstr(text, says),
		      "code %llu, \"%.*s\", \"%s\"", (unsigned long long)fault->code,
		      (int)fault->which.size, fault->which.data, text);
}

/* The row of a cache; false: there is none. Its strings are in the peer's buffer. */
static bool row_of(struct peer *peer, uint64_t cache, struct wire_cache_row *ret)
{
	struct wire_page_after page = {};

	do {
		const struct wire_cache_row *rows;

		ck_assert(peer_call(peer, WIRE_CACHE_LIST, &page));
		rows = peer->answer.body.cache_rows.rows.rows;
		for (uint32_t i = 0; i < peer->answer.body.cache_rows.rows.count; i++) {
			if (rows[i].cache != cache)
				continue;
			*ret = rows[i];
			return true;
		}
		page.after = peer->answer.body.cache_rows.next;
	} while (page.after);
	return false;
}

static struct wire_cache_row row(uint64_t cache)
{
	struct wire_cache_row found;

	ck_assert(row_of(&one, cache, &found));
	return found;
}

static void wait_row(uint64_t cache, uint64_t sessions, uint64_t memory)
{
	struct wire_cache_row found = {};

	for (int i = 0; i < WAIT_TRIES; i++) {
		found = row(cache);
		if (found.sessions == sessions && found.memory == memory)
			return;
		usleep(10000);
	}
	ck_abort_msg("%llu sessions, %llu bytes", (unsigned long long)found.sessions,
		     (unsigned long long)found.memory);
}

static void wait_used(uint64_t used)
{
	for (int i = 0; i < WAIT_TRIES && peer_status(&two).used != used; i++)
		usleep(10000);
	ck_assert_uint_eq(peer_status(&two).used, used);
}

/* What the slice map says of the first byte of a window 0. */
static struct slice_info slice_of(struct peer *peer, uint64_t offset)
{
	uint64_t size = 32 * MIB / SLICE_BYTES * 8, word;
	const uint64_t *map;

	ck_assert(peer_call(
		peer, WIRE_WINDOW_OPEN,
		&(struct wire_window_open){.space = space, .window = offset_window(offset)}));
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, peer->fds[1], 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	word = map[offset_position(offset) >> SLICE_SHIFT];
	munmap((void *)map, size);
	close(peer->fds[0]);
	close(peer->fds[1]);
	return slice_word_unpack(word);
}

/* ---- stories ---- */

START_TEST(two_sessions_open_one_cache)
{
	uint64_t cache;

	ck_assert(try_open(&one, (struct wire_cache_open){.name = wire_str("thumbs"),
							  .capacity = 5 * MIB,
							  .policy = wire_str("lru"),
							  .ttl_ms = 60000}));
	cache = one.answer.body.cache_opened.cache;
	ck_assert_uint_ge(cache, 1);
	ck_assert_uint_lt(cache, CACHES_MAX);
	/* who comes later learns what it is */
	ck_assert(try_open(
		&two, (struct wire_cache_open){.name = wire_str("thumbs"), .existing = true}));
	ck_assert_uint_eq(two.answer.body.cache_opened.cache, cache);
	ck_assert_uint_eq(two.answer.body.cache_opened.capacity, 5 * MIB);
	ck_assert_uint_eq(two.answer.body.cache_opened.ttl_ms, 60000);
	ck_assert(wire_str_is(two.answer.body.cache_opened.policy, "lru"));
	ck_assert_uint_eq(row(cache).sessions, 2);
	ck_assert(wire_str_is(row(cache).name, "thumbs"));
	ck_assert(wire_str_is(row(cache).space_name, "a"));

	ck_assert(close_cache(&two, cache));
	ck_assert(!close_cache(&two, cache));
	refused(&two, FAULT_NOT_FOUND, "cache", "no such cache");
	ck_assert_uint_eq(row(cache).sessions, 1);
	/* without a word about it, the defaults */
	ck_assert(try_open(&two, (struct wire_cache_open){.name = wire_str("plain")}));
	ck_assert_uint_eq(two.answer.body.cache_opened.capacity, 16 * MIB);
	ck_assert(wire_str_is(two.answer.body.cache_opened.policy, "s3fifo"));
}
END_TEST

START_TEST(what_makes_no_cache_is_refused_by_name_and_number)
{
	uint64_t cache = open_cache(&one, "c");

	ck_assert(!try_open(&one, (struct wire_cache_open){.name = wire_str("a/b")}));
	refused(&one, FAULT_INVALID, "name", "1 to 63");
	ck_assert(!try_open(
		&one, (struct wire_cache_open){.name = wire_str("d"), .capacity = 48 * MIB}));
	refused(&one, FAULT_INVALID, "capacity", "48 MiB asked");
	refused(&one, FAULT_INVALID, "capacity", "limit, which is 32 MiB");
	ck_assert_uint_eq(one.answer.fault.requested, 48 * MIB);
	ck_assert_uint_eq(one.answer.fault.max, 32 * MIB);
	ck_assert(!try_open(&one, (struct wire_cache_open){.name = wire_str("d"),
							   .policy = wire_str("mru")}));
	refused(&one, FAULT_INVALID, "policy", "one of s3fifo, lru");
	ck_assert(!try_open(
		&one, (struct wire_cache_open){.name = wire_str("d"), .ttl_ms = UINT64_MAX}));
	refused(&one, FAULT_INVALID, "ttl", "34 years");
	ck_assert(!try_open(&one,
			    (struct wire_cache_open){.name = wire_str("d"), .existing = true}));
	refused(&one, FAULT_NOT_FOUND, "cache", "no such cache");
	ck_assert(!try_open(
		&one, (struct wire_cache_open){.name = wire_str("c"), .exclusive = true}));
	refused(&one, FAULT_EXISTS, "cache", "a cache of that name");
	ck_assert(!peer_call(
		&one, WIRE_CACHE_OPEN,
		&(struct wire_cache_open){.space = space + 1, .name = wire_str("c")}));
	refused(&one, FAULT_NOT_FOUND, "space", "no such space");

	ck_assert(!try_segment(&one, cache, 3 * MIB, false));
	refused(&one, FAULT_TOO_LARGE, "", "at most 2 MiB");
	ck_assert(!try_segment(&one, cache, 0, false));
	refused(&one, FAULT_INVALID, "size", "at least one byte");
	ck_assert(!try_segment(&two, cache, MIB, false)); /* has it not open */
	refused(&two, FAULT_NOT_FOUND, "cache", "no such cache");
	ck_assert(!try_segment(&one, 77777777777, MIB, false));
	refused(&one, FAULT_NOT_FOUND, "cache", "no such cache");
	/* one of another space is none of this one's */
	ck_assert(peer_create_space(&one, "b", 8 * MIB));
	ck_assert(!peer_call(&one, WIRE_CACHE_CLOSE,
			     &(struct wire_cache_handle){.space = peer_open_space(&one, "b"),
							 .cache = cache}));
	refused(&one, FAULT_NOT_FOUND, "cache", "no such cache");
	ck_assert(!peer_call(
		&one, WIRE_CACHE_CHANGE,
		&(struct wire_cache_change){.space = space, .name = wire_str("c"), .set = 8}));
	refused(&one, FAULT_INVALID, "set", "1 to 7");
}
END_TEST

START_TEST(a_segment_is_its_sessions_until_it_is_sealed)
{
	uint64_t cache = open_cache(&one, "c");
	struct wire_extent_alloced segment = lease(&one, cache, 2 * MIB);
	struct slice_info info = slice_of(&one, segment.offset);

	ck_assert_int_eq(info.kind, EXTENT_SEGMENT);
	ck_assert_uint_ne(info.session, 0);
	ck_assert_uint_eq(info.tag, segment.tag);
	ck_assert_uint_eq(row(cache).memory, 2 * MIB);
	/* others neither seal nor free it */
	ck_assert(!seal(&two, segment));
	refused(&two, FAULT_REFERENCE, "not-owner", "another process");
	ck_assert(!peer_call(&one, WIRE_EXTENT_FREE,
			     &(struct wire_extent_free){.space = space,
							.offset = segment.offset,
							.tag = segment.tag}));
	refused(&one, FAULT_REFERENCE, "not-owner", "");
	ck_assert(seal(&one, segment));
	ck_assert_uint_eq(slice_of(&one, segment.offset).session, 0);
	ck_assert_uint_eq(slice_of(&one, segment.offset + MIB).tag, segment.tag);
	ck_assert(!seal(&one, segment));
	segment.tag ^= 1;
	ck_assert(!seal(&one, segment));
	refused(&one, FAULT_REFERENCE, "stale", "stale");
	/* what is left of the client's limit, which what is sealed does not count against */
	for (int i = 0; i < 14; i++)
		ck_assert(seal(&one, lease(&one, cache, 2 * MIB)));
	ck_assert_uint_eq(row(cache).segments, 15);
	/* what there is no room for has it at the cost of what the cache holds */
	ck_assert(try_segment(&one, cache, 4 * MIB, true));
	ck_assert_uint_lt(row(cache).segments, 15);
	ck_assert_uint_gt(row(cache).dropped, 0);
}
END_TEST

static void as_child(pid_t *ret, void (*run)(void))
{
	int pipe_fds[2];
	char byte;

	ck_assert(!pipe(pipe_fds));
	*ret = fork();
	ck_assert_int_ge(*ret, 0);
	if (!*ret) {
		peer_leave_check();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run();
		if (write(pipe_fds[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(1);
	}
	close(pipe_fds[1]);
	ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
	close(pipe_fds[0]);
}

static void end_child(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
}

static void fill_some(void)
{
	static struct peer peer;
	uint64_t cache;

	peer_open(&peer, daemon_.socket);
	peer_open_space(&peer, "a");
	cache = open_cache(&peer, "c");
	lease(&peer, cache, 64 * KIB);
	ck_assert(seal(&peer, lease(&peer, cache, MIB)));
	lease(&peer, cache, 3 * MIB);
	/* and what is his alone */
	ck_assert(peer_call(&peer, WIRE_EXTENT_ALLOC,
			    &(struct wire_extent_alloc){.space = space, .size = MIB}));
}

START_TEST(a_death_seals_what_was_being_filled)
{
	uint64_t cache = open_cache(&one, "c"), filled = 4 * MIB + 64 * KIB;
	pid_t pid;

	as_child(&pid, fill_some);
	wait_row(cache, 2, filled);
	ck_assert_uint_eq(peer_status(&one).used, filled + MIB);
	end_child(pid);
	wait_row(cache, 1, filled);
	wait_used(filled);
	ck_assert_uint_eq(row(cache).segments, 2);
	ck_assert_uint_eq(row(cache).objects, 1);
	ck_assert_uint_eq(slice_of(&one, 0).session, 0);
}
END_TEST

START_TEST(who_has_a_cache_open_is_named_to_who_removes_it)
{
	uint64_t cache = open_cache(&one, "c"), again;
	struct wire_cache_row found;
	char me[32];

	open_cache(&two, "c");
	ck_assert(seal(&two, lease(&two, cache, 2 * MIB)));
	lease(&two, cache, MIB);
	ck_assert(!remove_cache(&one, "c", false));
	snprintf(me, sizeof(me), "2 sessions: %d (", (int)getpid());
	refused(&one, FAULT_IN_USE, "sessions", me);
	ck_assert_uint_eq(one.answer.fault.available, 2);
	ck_assert(!remove_cache(&one, "d", true));
	refused(&one, FAULT_NOT_FOUND, "cache", "no such cache");

	/* by force its name is free, and those who have it open go on */
	ck_assert(remove_cache(&one, "c", true));
	ck_assert(row(cache).removed);
	again = open_cache(&one, "c");
	ck_assert_uint_ne(again, cache);
	ck_assert(close_cache(&one, cache));
	ck_assert(seal(&two, lease(&two, cache, 64 * KIB)));
	ck_assert_uint_eq(row(cache).memory, 3 * MIB + 64 * KIB);
	ck_assert(close_cache(&two, cache));
	wait_used(0);
	ck_assert(!row_of(&one, cache, &found));
	/* one that nobody has open goes at once */
	ck_assert(seal(&one, lease(&one, again, MIB)));
	ck_assert(close_cache(&one, again));
	ck_assert(remove_cache(&two, "c", false));
	ck_assert_uint_eq(peer_status(&two).used, 0);
}
END_TEST

START_TEST(a_removed_cache_goes_with_its_last_process)
{
	uint64_t cache = open_cache(&one, "c");
	struct wire_cache_row found;
	pid_t pid;

	as_child(&pid, fill_some);
	ck_assert(close_cache(&one, cache));
	ck_assert(remove_cache(&one, "c", true));
	ck_assert(row(cache).removed);
	end_child(pid);
	wait_used(0);
	ck_assert(!row_of(&one, cache, &found));
	/* its handle is another's, which knows nothing of it */
	ck_assert_uint_eq(open_cache(&one, "d"), cache);
	ck_assert_uint_eq(row(cache).memory, 0);
}
END_TEST

START_TEST(many_segments_go_while_others_are_served)
{
	uint64_t cache;

	space = peer_create_space(&one, "many", 200 * MIB);
	capacity = 200 * MIB;
	peer_open_space(&one, "many");
	peer_open_space(&two, "many");
	cache = open_cache(&one, "c");
	for (uint32_t i = 0; i < MANY; i++)
		lease(&one, cache, 64 * KIB);
	ck_assert(close_cache(&one, cache));
	ck_assert_uint_eq(row(cache).memory, MANY * 64 * KIB);
	ck_assert_uint_eq(row(cache).sessions, 0);
	ck_assert(remove_cache(&two, "c", false));
	wait_used(0);
}
END_TEST

START_TEST(terms_are_changed_by_name)
{
	uint64_t cache = open_cache(&one, "c");

	ck_assert(peer_call(&two, WIRE_CACHE_CHANGE,
			    &(struct wire_cache_change){.space = space,
							.name = wire_str("c"),
							.set = CACHE_SET_ALL,
							.capacity = MIB,
							.policy = wire_str("gdsf"),
							.ttl_ms = 5}));
	ck_assert_uint_eq(row(cache).capacity, MIB);
	ck_assert_uint_eq(row(cache).ttl_ms, 5);
	ck_assert(wire_str_is(row(cache).policy, "gdsf"));
	ck_assert(!peer_call(&two, WIRE_CACHE_CHANGE,
			     &(struct wire_cache_change){.space = space,
							 .name = wire_str("c"),
							 .set = CACHE_SET_CAPACITY,
							 .capacity = 33 * MIB}));
	refused(&two, FAULT_INVALID, "capacity", "33 MiB asked");
	ck_assert_uint_eq(row(cache).capacity, MIB);
}
END_TEST

/* By each method that changes what a cache holds. */
static void may_not_write(struct peer *peer, uint64_t cache, uint64_t hash)
{
	ck_assert(!peer_call(peer, WIRE_CACHE_PUBLISH,
			     &(struct wire_cache_publish){.space = space,
							  .cache = cache,
							  .hash = hash,
							  .offset = 64,
							  .size = 100,
							  .born = 1}));
	refused(peer, FAULT_PERMISSION, "write", "permission denied");
	ck_assert(!peer_call(
		peer, WIRE_CACHE_DELETE,
		&(struct wire_cache_delete){.space = space, .cache = cache, .hash = hash}));
	refused(peer, FAULT_PERMISSION, "write", "permission denied");
	ck_assert(
		!peer_call(peer, WIRE_CACHE_TOUCH,
			   &(struct wire_cache_touch){
				   .space = space, .cache = cache, .hash = hash, .expiry = 1}));
	refused(peer, FAULT_PERMISSION, "write", "permission denied");
	ck_assert(!peer_call(peer, WIRE_CACHE_CLEAR,
			     &(struct wire_cache_handle){.space = space, .cache = cache}));
	refused(peer, FAULT_PERMISSION, "write", "permission denied");
	ck_assert(!peer_call(
		peer, WIRE_CACHE_EVICT,
		&(struct wire_cache_evict){.space = space, .cache = cache, .bytes = MIB}));
	refused(peer, FAULT_PERMISSION, "write", "permission denied");
	ck_assert(!peer_call(
		peer, WIRE_CACHE_FETCH,
		&(struct wire_cache_fetch){.space = space, .cache = cache, .hash = 77}));
	refused(peer, FAULT_PERMISSION, "write", "permission denied");
}

START_TEST(readers_open_caches_and_fill_none)
{
	static struct peer reader;
	uint64_t cache = open_cache(&one, "c"), hash;

	hash = lease(&one, cache, 64 * KIB).offset + 64;
	peer_open(&reader, daemon_.socket);
	ck_assert(
		peer_call(&reader, WIRE_SPACE_OPEN,
			  &(struct wire_space_open){.name = wire_str("a"), .read_only = true}));
	close(reader.fds[0]);
	ck_assert_uint_eq(open_cache(&reader, "c"), cache);
	ck_assert(!try_open(&reader, (struct wire_cache_open){.name = wire_str("d")}));
	refused(&reader, FAULT_PERMISSION, "write", "permission denied");
	ck_assert(!try_segment(&reader, cache, MIB, false));
	refused(&reader, FAULT_PERMISSION, "write", "permission denied");
	ck_assert(!remove_cache(&reader, "c", true));
	refused(&reader, FAULT_PERMISSION, "write", "permission denied");
	ck_assert(!peer_call(
		&reader, WIRE_CACHE_CHANGE,
		&(struct wire_cache_change){.space = space, .name = wire_str("c"), .set = 4}));
	refused(&reader, FAULT_PERMISSION, "write", "permission denied");
	may_not_write(&reader, cache, hash);
	ck_assert(peer_call(
		&one, WIRE_CACHE_DELETE,
		&(struct wire_cache_delete){.space = space, .cache = cache, .hash = hash}));
	peer_close(&reader);
}
END_TEST

static struct root_file root_of(const char *name)
{
	static struct peer peer;
	struct root_file root;

	peer_open(&peer, daemon_.socket);
	ck_assert(peer_call(&peer, WIRE_SPACE_OPEN,
			    &(struct wire_space_open){.name = wire_str(name)}));
	ck_assert_int_eq(pread(peer.fds[0], &root, sizeof(root), 0), sizeof(root));
	close(peer.fds[0]);
	peer_close(&peer);
	return root;
}

START_TEST(each_space_hashes_keys_by_a_seed_of_its_own)
{
	struct root_file a = root_of("a"), b;

	peer_create_space(&one, "b", 8 * MIB);
	b = root_of("b");
	ck_assert_uint_ne(a.hash_seed, 0);
	ck_assert_uint_ne(b.hash_seed, 0);
	ck_assert_uint_ne(a.hash_seed, b.hash_seed);
	ck_assert_uint_eq(root_of("a").hash_seed, a.hash_seed);
}
END_TEST

/* ---- other uids ---- */

static void be_nobody(struct peer *peer)
{
	if (setgid(NOBODY) || setuid(NOBODY))
		_exit(100);
	peer_open(peer, daemon_.socket);
}

/* In whose space anyone may write: what is made there is the owner's. */
static void make_two(void)
{
	static struct peer peer;

	be_nobody(&peer);
	ck_assert(!peer_call(&peer, WIRE_CACHE_OPEN,
			     &(struct wire_cache_open){.space = space, .name = wire_str("c")}));
	refused(&peer, FAULT_NOT_FOUND, "space", "no such space");
	ck_assert(!peer_call(&peer, WIRE_SPACE_OPEN,
			     &(struct wire_space_open){.name = wire_str("a")}));
	refused(&peer, FAULT_PERMISSION, "read", "permission denied");
	ck_assert(!remove_cache(&peer, "c", true));
	refused(&peer, FAULT_NOT_FOUND, "space", "no such space");
	/* but that there is one, everyone sees */
	ck_assert(peer_call(&peer, WIRE_CACHE_LIST, &(struct wire_page_after){}));
	ck_assert_uint_eq(peer.answer.body.cache_rows.rows.count, 1);

	space = peer_open_space(&peer, "all");
	open_cache(&peer, "x");
	open_cache(&peer, "y");
}

static void make_too_many(void)
{
	static struct peer peer;

	be_nobody(&peer);
	peer_create_space(&peer, "his", 8 * MIB);
	space = peer_open_space(&peer, "his");
	open_cache(&peer, "x");
	open_cache(&peer, "y");
	ck_assert(!try_open(&peer, (struct wire_cache_open){.name = wire_str("z")}));
	refused(&peer, FAULT_LIMIT, "limits.caches", "this uid has 2 of at most 2 caches");
}

static uint64_t held(const char *key)
{
	struct wire_daemon_status status = peer_status(&one);
	const struct wire_limit_row *rows = status.limits.rows;

	for (uint32_t i = 0; i < status.limits.count; i++)
		if (wire_str_is(rows[i].key, key))
			return rows[i].mine;
	ck_abort_msg("no row for %s", key);
}

START_TEST(caches_are_the_space_owners_whoever_makes_them)
{
	pid_t pid;

	capacity = 0; /* half of its space's limit */
	test_daemon_stop(&daemon_);
	peer_close(&one);
	peer_close(&two);
	test_daemon_start(&daemon_, "64M", "--limits.caches", "2", NULL);
	ck_assert(!chmod(daemon_.folder, 0755) && !chmod(daemon_.socket, 0666));
	peer_open(&one, daemon_.socket);
	peer_open(&two, daemon_.socket);
	peer_create_space(&one, "a", 8 * MIB);
	ck_assert(peer_call(&one, WIRE_SPACE_CREATE,
			    &(struct wire_space_create){
				    .name = wire_str("all"), .limit = 8 * MIB, .mode = 0666}));
	space = peer_open_space(&one, "a");
	open_cache(&one, "c");
	as_child(&pid, make_two);
	ck_assert_uint_eq(held("limits.caches"), 3);
	end_child(pid);
	as_child(&pid, make_too_many);
	ck_assert_uint_eq(held("limits.caches"), 3);
	end_child(pid);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("caches");
	TCase *t = tcase_create("caches");

	if (geteuid()) {
		printf("SKIPPED: only root can be other uids\n");
		return 77;
	}
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, two_sessions_open_one_cache);
	tcase_add_test(t, what_makes_no_cache_is_refused_by_name_and_number);
	tcase_add_test(t, a_segment_is_its_sessions_until_it_is_sealed);
	tcase_add_test(t, a_death_seals_what_was_being_filled);
	tcase_add_test(t, who_has_a_cache_open_is_named_to_who_removes_it);
	tcase_add_test(t, a_removed_cache_goes_with_its_last_process);
	tcase_add_test(t, many_segments_go_while_others_are_served);
	tcase_add_test(t, terms_are_changed_by_name);
	tcase_add_test(t, readers_open_caches_and_fill_none);
	tcase_add_test(t, each_space_hashes_keys_by_a_seed_of_its_own);
	tcase_add_test(t, caches_are_the_space_owners_whoever_makes_them);
	suite_add_tcase(s, t);
	return suite_run(s);
}
