/*
 * A request that is said again over another connection of its session, since no answer came, is
 * answered as the first time, and done once: by the daemon that has done it, and by one that follows
 * it, killed behind any store into its ledger (die.c).
 */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/core/cache/object_record.h"
#include "daemon/core/record.h"
#include "daemon/server/fault.h"
#include "proto/lane.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/integration/survivor.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum how { NO_ROW, AGAIN, RESULT, KNOWN, SESSION };

static const struct {
	enum how how;
	uint32_t rows;
	const char *why;
} rows[WIRE_METHODS_N] = {
#define RETRY(METHOD, how, why) [WIRE_##METHOD] = {how, 1, why},
#include "daemon/server/retry.def"
};

enum { STORES_MAX = 80 }; /* that a request makes, at most */

static struct test_daemon daemon_;
static struct survivor survivor;
static const char *path; /* of the daemon's socket */
static _Atomic int64_t *die;
static int64_t stores; /* behind so many of each request the daemon dies; 0: behind none */
static uint32_t deaths;
static struct peer peer, other;
static uint64_t session, space;
static bool walked[WIRE_METHODS_N];

static void hello(struct peer *who, uint64_t resume)
{
	peer_connect(who, path);
	ck_assert(peer_call(
		who, WIRE_HELLO,
		&(struct wire_hello){
			.protocol = 1, .layout_min = 1, .layout_max = 1, .resume = resume}));
	ck_assert_uint_eq(who->answer.body.welcome.resumed, resume != 0);
}

static void begin(void)
{
	hello(&peer, 0);
	session = peer.answer.body.welcome.session;
	peer_create_space(&peer, "a", 32 * MIB);
	space = peer_open_space(&peer, "a");
}

static void set_up(void)
{
	test_daemon_start(&daemon_, "64M", NULL);
	path = daemon_.socket;
	begin();
}

static void tear_down(void)
{
	peer_close(&peer);
	test_daemon_stop(&daemon_);
}

/* Its connection is lost; ids go on. */
static void go_on(void)
{
	uint64_t id = peer.id;

	peer_close(&peer);
	hello(&peer, session);
	peer.id = id + 1;
}

static uint32_t granted(void)
{
	return (peer.fds[0] >= 0) + (peer.fds[1] >= 0);
}

/* The last request, once more. */
static bool again(enum wire_method method, const void *params)
{
	uint64_t id = peer.id;
	bool done;

	go_on();
	peer.id = id - 1;
	done = peer_call(&peer, method, params);
	peer.id = id + 1;
	return done;
}

/* It dies behind so many of this request's stores, unless there are not so many. */
static void killed(enum wire_method method, const void *params)
{
	bool answered;

	atomic_store(die, stores);
	peer_send(&peer, method, params);
	answered = peer_receive(&peer);
	/* Behind its answer, too, by what it does after that: then it gives that again. */
	if (atomic_exchange(die, 0) > 0) {
		ck_assert(answered);
		ck_assert_msg(!peer.answer.failed, "%s: %.*s", wire_methods[method].name,
			      (int)peer.answer.fault.message.size,
			      peer.answer.fault.message.data);
		return;
	}
	ck_assert_int_eq(waitpid(survivor.pid, NULL, 0), survivor.pid);
	survivor.pid = 0;
	survivor_again(&survivor);
	deaths++;
	ck_assert_msg(again(method, params), "%s, killed behind store %d: %.*s",
		      wire_methods[method].name, (int)stores,
		      (int)peer.answer.fault.message.size, peer.answer.fault.message.data);
}

static void twice(enum wire_method method, const void *params)
{
	static char first[WIRE_MESSAGE_MAX], second[WIRE_MESSAGE_MAX];
	const char *name = wire_methods[method].name;
	uint32_t fds;
	int size;

	if (stores) {
		killed(method, params);
		return;
	}
	ck_assert_msg(peer_call(&peer, method, params), "%s: %.*s", name,
		      (int)peer.answer.fault.message.size, peer.answer.fault.message.data);
	size = wire_encode_result(first, sizeof(first), 1, method, &peer.answer.body);
	fds = granted();
	ck_assert_msg(again(method, params), "%s, again: %.*s", name,
		      (int)peer.answer.fault.message.size, peer.answer.fault.message.data);
	ck_assert_msg(wire_encode_result(second, sizeof(second), 1, method,
					 &peer.answer.body) == size &&
			      !memcmp(first, second, (size_t)size) && granted() == fds,
		      "%s is answered otherwise", name);
	walked[method] = true;
}

static struct wire_extent_alloced alloced(void)
{
	return peer.answer.body.extent_alloced;
}

START_TEST(every_method_has_a_row)
{
	for (uint32_t i = 0; i < WIRE_METHODS_N; i++) {
		bool calls = wire_methods[i].from != WIRE_FROM_DAEMON;

		ck_assert_msg((rows[i].how != NO_ROW) == calls, "%s", wire_methods[i].name);
		ck_assert(!calls || *rows[i].why);
	}
}
END_TEST

/* The last request, before it was said again, deleted this object; another one of its key stays. */
static void delete_again(struct wire_cache_publish publish)
{
	const struct wire_cache_delete delete = {
		.space = publish.space, .cache = publish.cache, .hash = publish.hash};
	uint64_t id = peer.id - 1, last;

	publish.offset += 128;
	publish.born = 2;
	ck_assert(peer_call(&peer, WIRE_CACHE_PUBLISH, &publish));
	last = peer.id;
	peer.id = id - 1;
	ck_assert(peer_call(&peer, WIRE_CACHE_DELETE, &delete));
	peer.id = last;
	ck_assert(peer_call(&peer, WIRE_CACHE_TOUCH,
			    &(struct wire_cache_touch){.space = publish.space,
						       .cache = publish.cache,
						       .hash = publish.hash,
						       .how = 2}));
	ck_assert_uint_eq(peer.answer.body.cache_object.offset, publish.offset);
}

static void twice_with_a_cache(void)
{
	struct wire_cache_handle handle = {.space = space};
	struct wire_cache_fetch_end end = {.space = space, .hash = 9};
	struct wire_cache_publish publish;
	struct wire_extent_alloced got;

	twice(WIRE_CACHE_OPEN, &(struct wire_cache_open){.space = space,
							 .name = wire_str("k"),
							 .exclusive = true});
	handle.cache = end.cache = peer.answer.body.cache_opened.cache;
	twice(WIRE_CACHE_SEGMENT,
	      &(struct wire_cache_segment){.space = space, .cache = handle.cache, .size = MIB});
	got = alloced();
	ck_assert_uint_eq(peer_status(&peer).used, got.size);
	publish = (struct wire_cache_publish){.space = space,
					      .cache = handle.cache,
					      .hash = 5,
					      .offset = got.offset ? got.offset : 64,
					      .size = 100,
					      .born = 1};
	twice(WIRE_CACHE_PUBLISH, &publish);
	twice(WIRE_CACHE_DELETE,
	      &(struct wire_cache_delete){.space = space, .cache = handle.cache, .hash = 5});
	if (!stores)
		delete_again(publish);
	twice(WIRE_CACHE_SEAL,
	      &(struct wire_cache_seal){.space = space, .offset = got.offset, .tag = got.tag});
	twice(WIRE_CACHE_FETCH,
	      &(struct wire_cache_fetch){
		      .space = space, .cache = handle.cache, .hash = 9, .wait_ms = 60000});
	end.token = peer.answer.body.cache_fetched.token;
	ck_assert_uint_ne(end.token, 0);
	twice(WIRE_CACHE_FETCH_END, &end);
	twice(WIRE_CACHE_CLOSE, &handle);
	twice(WIRE_CACHE_REMOVE,
	      &(struct wire_cache_remove){.space = space, .name = wire_str("k")});
}

static void twice_with_a_channel(void)
{
	twice(WIRE_HOLDER_OPEN, &(struct wire_space_handle){space});
	twice(WIRE_CHANNEL_OPEN,
	      &(struct wire_channel_open){
		      .space = space, .name = wire_str("c"), .roles = 3, .exclusive = true});
	twice(WIRE_CHANNEL_CLOSE,
	      &(struct wire_channel_close){
		      .space = space, .id = peer.answer.body.channel_opened.id, .roles = 3});
}

/* Everything that leaves a result, and nothing else, after it. */
static void walk(void)
{
	struct wire_extent_alloced got;

	twice(WIRE_EXTENT_ALLOC, &(struct wire_extent_alloc){.space = space, .size = 3 * MIB});
	got = alloced();
	ck_assert_uint_eq(peer_status(&peer).used, 3 * MIB);
	twice(WIRE_EXTENT_FREE,
	      &(struct wire_extent_free){.space = space, .offset = got.offset, .tag = got.tag});
	ck_assert_uint_eq(peer_status(&peer).used, 0);
	twice_with_a_cache();
	twice_with_a_channel();
	twice(WIRE_SPACE_CREATE,
	      &(struct wire_space_create){.name = wire_str("b"), .limit = 8 * MIB});
	twice(WIRE_SPACE_OPEN, &(struct wire_space_open){.name = wire_str("b")});
	twice(WIRE_SPACE_CLOSE,
	      &(struct wire_space_handle){peer.answer.body.space_opened.space});
	twice(WIRE_SPACE_REMOVE, &(struct wire_space_remove){.name = wire_str("b")});
	ck_assert_uint_eq(peer_status(&peer).spaces, 1);
}

START_TEST(what_is_said_again_is_answered_as_before)
{
	set_up();
	twice(WIRE_RETURNS_OPEN, &(struct wire_empty){});
	twice(WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = 2});
	walk();
	for (uint32_t i = 0; i < WIRE_METHODS_N; i++)
		ck_assert_msg(walked[i] || (rows[i].how != RESULT && rows[i].how != KNOWN),
			      "%s is not said again", wire_methods[i].name);
	tear_down();
}
END_TEST

static void set_up_survivor(void)
{
	static char die_path[32];
	int fd = memfd_create("die", 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	die = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(die != MAP_FAILED);
	snprintf(die_path, sizeof(die_path), "/proc/%d/fd/%d", (int)getpid(), fd);
	setenv("VARBOS_DIE", die_path, 1);
	survivor_start(&survivor, "--size", "64M", "--pages", "4K", NULL);
	path = survivor.socket;
	begin();
}

/* Each request dies at its first store, then at its second, and so on: until none has so many. */
START_TEST(a_request_that_a_killed_daemon_had_begun_is_done_once)
{
	uint32_t before;

	set_up_survivor();
	do {
		before = deaths;
		ck_assert_int_lt(++stores, STORES_MAX);
		walk();
	} while (deaths > before);
	ck_assert_uint_gt(deaths, 50);
	printf("%u deaths, behind up to %d stores\n", deaths, (int)stores - 1);
	peer_close(&peer);
	survivor_stop(&survivor);
}
END_TEST

/* As the cleaner does, which the dead daemon had at work. */
static void move(uint64_t hash, uint64_t offset)
{
	int fd = survivor_kept(&survivor, "objects-");
	struct object_record *record;
	struct object_place place;
	struct stat st;
	char *memory;

	ck_assert(!fstat(fd, &st));
	memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(memory != MAP_FAILED);
	record = (struct object_record *)(void *)(memory + OBJECT_RECORDS_HEAD);
	while (record->hash != hash)
		record++;
	ck_assert_uint_ne(record->word, 0);
	place = object_place_unpack(record->place);
	place.offset = offset;
	record->place = object_place_pack(place);
	munmap(memory, (size_t)st.st_size);
	close(fd);
}

/* A deletion that takes several turns is promised at the first; values move between them. */
START_TEST(what_has_moved_since_its_deletion_was_promised_is_deleted_all_the_same)
{
	struct wire_cache_delete delete = {.hash = 5};
	struct wire_cache_publish publish;

	set_up_survivor();
	ck_assert(peer_call(&peer, WIRE_CACHE_OPEN,
			    &(struct wire_cache_open){.space = space, .name = wire_str("k")}));
	delete.space = space;
	delete.cache = peer.answer.body.cache_opened.cache;
	ck_assert(peer_call(&peer, WIRE_CACHE_SEGMENT,
			    &(struct wire_cache_segment){
				    .space = space, .cache = delete.cache, .size = MIB}));
	publish = (struct wire_cache_publish){.space = space,
					      .cache = delete.cache,
					      .hash = delete.hash,
					      .offset = alloced().offset + 64,
					      .size = 100,
					      .born = 1};
	ck_assert(peer_call(&peer, WIRE_CACHE_PUBLISH, &publish));
	atomic_store(die, (int64_t)(sizeof(struct result_record) / 8));
	peer_send(&peer, WIRE_CACHE_DELETE, &delete);
	ck_assert(!peer_receive(&peer));
	ck_assert_int_eq(waitpid(survivor.pid, NULL, 0), survivor.pid);
	survivor.pid = 0;
	move(delete.hash, publish.offset + MIB / 2);
	survivor_again(&survivor);
	ck_assert(again(WIRE_CACHE_DELETE, &delete));
	ck_assert(!peer_call(
		&peer, WIRE_CACHE_TOUCH,
		&(struct wire_cache_touch){
			.space = space, .cache = delete.cache, .hash = delete.hash, .how = 2}));
	ck_assert_uint_eq(peer.answer.fault.code, FAULT_NOT_FOUND);
	peer_close(&peer);
	survivor_stop(&survivor);
}
END_TEST

/* A new one of the same name is another's. */
START_TEST(what_came_since_is_left_alone)
{
	const struct wire_space_remove remove = {.name = wire_str("b")};

	set_up();
	peer_create_space(&peer, "b", 8 * MIB);
	peer_open(&other, daemon_.socket);
	ck_assert(peer_call(&peer, WIRE_SPACE_REMOVE, &remove));
	peer_create_space(&other, "b", 4 * MIB);
	ck_assert(again(WIRE_SPACE_REMOVE, &remove));
	ck_assert_uint_eq(peer_status(&peer).spaces, 2);
	peer_close(&other);
	tear_down();
}
END_TEST

/* As a library says it that hears of neither: first the note, then what it asked after it. */
static void opens_after_a_note(enum wire_method method, const void *params,
			       enum wire_method note, const void *closes)
{
	uint64_t id;

	peer_note(&peer, note, closes);
	ck_assert(peer_call(&peer, method, params));
	id = peer.id;
	go_on();
	peer_note(&peer, note, closes);
	peer.id = id - 1;
	ck_assert_msg(peer_call(&peer, method, params), "%s: %.*s", wire_methods[method].name,
		      (int)peer.answer.fault.message.size, peer.answer.fault.message.data);
	peer.id = id + 1;
}

/* A note has no id, so it is done as often as it is said. */
START_TEST(what_a_note_that_is_said_again_closes_is_opened_again)
{
	struct wire_channel_open channel = {
		.name = wire_str("c"), .roles = 3, .exclusive = true};
	struct wire_cache_open cache = {.name = wire_str("k")};
	struct wire_channel_close close_channel = {.roles = 3};
	struct wire_cache_handle close_cache;
	struct wire_channel_row row;

	set_up();
	channel.space = cache.space = close_channel.space = close_cache.space = space;
	ck_assert(peer_call(&peer, WIRE_CACHE_OPEN, &cache));
	close_cache.cache = peer.answer.body.cache_opened.cache;
	opens_after_a_note(WIRE_CACHE_OPEN, &cache, WIRE_CACHE_CLOSE, &close_cache);
	ck_assert_uint_eq(peer.answer.body.cache_opened.cache, close_cache.cache);
	ck_assert(peer_call(&peer, WIRE_CACHE_CLOSE, &close_cache));

	/* Another process keeps it from going. */
	ck_assert(peer_call(&peer, WIRE_HOLDER_OPEN, &(struct wire_space_handle){space}));
	ck_assert(peer_call(&peer, WIRE_CHANNEL_OPEN, &channel));
	close_channel.id = peer.answer.body.channel_opened.id;
	peer_open(&other, daemon_.socket);
	ck_assert_uint_eq(peer_open_space(&other, "a"), space);
	ck_assert(peer_call(&other, WIRE_HOLDER_OPEN, &(struct wire_space_handle){space}));
	channel.exclusive = false;
	ck_assert(peer_call(&other, WIRE_CHANNEL_OPEN, &channel));
	opens_after_a_note(WIRE_CHANNEL_OPEN, &channel, WIRE_CHANNEL_CLOSE, &close_channel);
	ck_assert_uint_eq(peer.answer.body.channel_opened.id, close_channel.id);
	ck_assert(
		peer_call(&peer, WIRE_CHANNEL_LIST, &(struct wire_space_page){.space = space}));
	row = *(const struct wire_channel_row *)peer.answer.body.channel_rows.rows.rows;
	ck_assert_uint_eq(row.senders, 2);
	ck_assert_uint_eq(row.receivers, 2);
	peer_close(&other);
	tear_down();
}
END_TEST

START_TEST(what_was_refused_is_looked_at_anew)
{
	struct wire_space_open open = {.name = wire_str("b")};

	set_up();
	ck_assert(!peer_call(&peer, WIRE_SPACE_OPEN, &open));
	peer_open(&other, daemon_.socket);
	peer_create_space(&other, "b", 4 * MIB);
	ck_assert(again(WIRE_SPACE_OPEN, &open));
	peer_close(&other);
	tear_down();
}
END_TEST

START_TEST(an_answer_is_of_the_same_session_and_method)
{
	struct wire_extent_alloced got;
	uint64_t id, others;

	set_up();
	ck_assert(peer_call(&peer, WIRE_EXTENT_ALLOC,
			    &(struct wire_extent_alloc){.space = space, .size = MIB}));
	got = alloced();
	id = peer.id;
	go_on();
	/* Another method under its id: what is not there is not freed. */
	peer.id = id - 1;
	ck_assert(!peer_call(&peer, WIRE_EXTENT_FREE,
			     &(struct wire_extent_free){.space = space,
							.offset = got.offset,
							.tag = got.tag + 1}));
	/* Another session, which has gone on, too. */
	hello(&other, 0);
	others = other.answer.body.welcome.session;
	peer_close(&other);
	hello(&other, others);
	ck_assert_uint_eq(peer_open_space(&other, "a"), space);
	other.id = id - 1;
	ck_assert(peer_call(&other, WIRE_EXTENT_ALLOC,
			    &(struct wire_extent_alloc){.space = space, .size = MIB}));
	ck_assert_uint_ne(other.answer.body.extent_alloced.offset, got.offset);
	ck_assert_uint_eq(peer_status(&other).used, 2 * MIB);
	peer_close(&other);
	tear_down();
}
END_TEST

/* A session has them for good: another session each time. */
START_TEST(a_ring_and_lanes_are_granted_also_by_who_follows)
{
	uint32_t before;

	set_up_survivor();
	do {
		before = deaths;
		stores++;
		ck_assert_int_lt(stores, STORES_MAX);
		if (stores == 3) /* a record of lanes has many words */
			stores = LANES_A_SESSION - 1;
		peer_close(&peer);
		peer.id = 0;
		hello(&peer, 0);
		session = peer.answer.body.welcome.session;
		killed(WIRE_RETURNS_OPEN, &(struct wire_empty){});
		ck_assert_uint_eq(granted(), 1);
		killed(WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = 2});
		ck_assert_uint_eq(granted(), 2);
	} while (deaths > before);
	ck_assert_uint_gt(deaths, 1);
	peer_close(&peer);
	survivor_stop(&survivor);
}
END_TEST

/* For memory that has to be made, and for a value that another one computes. */
START_TEST(what_waits_is_answered_over_the_next_connection)
{
	struct wire_extent_alloc want;
	struct wire_cache_fetch fetch;
	struct wire_cache_fetch_end end;
	uint64_t id;

	set_up();
	want = (struct wire_extent_alloc){.space = space, .size = 24 * MIB};
	peer_send(&peer, WIRE_EXTENT_ALLOC, &want);
	ck_assert(again(WIRE_EXTENT_ALLOC, &want));
	ck_assert_uint_eq(peer_status(&peer).used, 24 * MIB);

	peer_open(&other, daemon_.socket);
	ck_assert_uint_eq(peer_open_space(&other, "a"), space);
	ck_assert(peer_call(&other, WIRE_CACHE_OPEN,
			    &(struct wire_cache_open){.space = space, .name = wire_str("k")}));
	fetch = (struct wire_cache_fetch){.space = space,
					  .cache = other.answer.body.cache_opened.cache,
					  .hash = 7,
					  .wait_ms = 600000};
	ck_assert(peer_call(&peer, WIRE_CACHE_OPEN,
			    &(struct wire_cache_open){.space = space, .name = wire_str("k")}));
	ck_assert(peer_call(&other, WIRE_CACHE_FETCH, &fetch));
	end = (struct wire_cache_fetch_end){.space = space,
					    .cache = fetch.cache,
					    .hash = 7,
					    .token = other.answer.body.cache_fetched.token};
	peer_send(&peer, WIRE_CACHE_FETCH, &fetch);
	id = peer.id;
	go_on();
	peer.id = id - 1;
	peer_send(&peer, WIRE_CACHE_FETCH, &fetch);
	ck_assert(peer_call(&other, WIRE_CACHE_FETCH_END, &end));
	ck_assert(peer_receive(&peer));
	ck_assert(!peer.answer.failed);
	ck_assert_uint_gt(peer.answer.body.cache_fetched.token, end.token);
	peer_close(&other);
	tear_down();
}
END_TEST

/* An older library counts from one in each connection, and never goes on with a session. */
START_TEST(who_begins_a_session_may_give_ids_again)
{
	struct wire_extent_alloc want;
	uint64_t id;

	set_up();
	want = (struct wire_extent_alloc){.space = space, .size = MIB};
	ck_assert(peer_call(&peer, WIRE_EXTENT_ALLOC, &want));
	id = peer.id;
	for (uint32_t i = 0; i < 3; i++) {
		peer.id = id - 1;
		ck_assert(peer_call(&peer, WIRE_EXTENT_ALLOC, &want));
	}
	ck_assert_uint_eq(peer_status(&peer).used, 4 * MIB);
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("retry");
	TCase *t = tcase_create("retry");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, every_method_has_a_row);
	tcase_add_test(t, what_is_said_again_is_answered_as_before);
	tcase_add_test(t, a_request_that_a_killed_daemon_had_begun_is_done_once);
	tcase_add_test(t,
		       what_has_moved_since_its_deletion_was_promised_is_deleted_all_the_same);
	tcase_add_test(t, a_ring_and_lanes_are_granted_also_by_who_follows);
	tcase_add_test(t, what_waits_is_answered_over_the_next_connection);
	tcase_add_test(t, what_came_since_is_left_alone);
	tcase_add_test(t, what_a_note_that_is_said_again_closes_is_opened_again);
	tcase_add_test(t, what_was_refused_is_looked_at_anew);
	tcase_add_test(t, an_answer_is_of_the_same_session_and_method);
	tcase_add_test(t, who_begins_a_session_may_give_ids_again);
	suite_add_tcase(s, t);
	return suite_run(s);
}
