/*
 * Failing - what the kernel refuses the daemon: each call of the sys table that an operation makes,
 * each errno that it may give, the first time, the second, and so on until the operation makes no
 * more such calls. A refusal is told, is the end of nothing but what was asked for, and leaves nothing
 * behind: asked again, the same is had, and at the end of the server no file, no window, no page
 * and no descriptor is left.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/failing_memory.h"
#include "tests/integration/host.h"

#define MIB ((uint64_t)1 << 20)
#define KIB ((uint64_t)1 << 10)

enum {
	TIMES_MAX =
		64, /* an operation that makes so many calls of one kind is told apart by none */
	ALLOCATIONS_MAX = 5000,
	OBJECTS = 8192 + 300, /* more than a cache has records for at first */
	AGAIN_MAX = 1000,     /* of 10 ms: until what was done in the background is done */
	LOOK_MAX = 200,       /* where there may be nothing more to come */
};

static const struct {
	enum fake_call call;
	const char *name;
	int errors[4];
} calls[] = {
#define ROW_IN_LIFE(name, CALL, ...) {FAKE_##CALL, #name, {__VA_ARGS__}},
#define ROW_AT_START(...)
#define REFUSED(where, ...) ROW_##where(__VA_ARGS__)
#define EXCUSED(...)
#include "tests/integration/refusals.def"
#undef REFUSED
#undef EXCUSED
};

/* Which members of the table are spoken of. */
static const struct {
	size_t at;
	const char *name, *why;
} members[] = {
#define REFUSED(where, name, ...) {offsetof(struct sys_table, name), #name, NULL},
#define EXCUSED(name, why) {offsetof(struct sys_table, name), #name, why},
#include "tests/integration/refusals.def"
#undef REFUSED
#undef EXCUSED
};

static const char *failing; /* the call's name, for messages */
static enum fake_call failing_call;
static uint64_t failing_nth;
static unsigned descriptors_before, told, no_start;

/* A client of one space, with all that there is to be had. */
static struct peer peer, other;
static uint64_t space, cache, segment, extent, tag, room, filled, shared;

static bool is_full(void)
{
	const char *how = getenv("VARBOS_FAILING");

	return how && !strcmp(how, "full");
}

/* ---- allocations ---- */

static pthread_t test_thread;
static _Atomic int64_t allocations; /* of the server; the one that fails is told apart by 0 */

bool allocation_fails(void)
{
	return !pthread_equal(pthread_self(), test_thread) &&
	       atomic_fetch_sub(&allocations, 1) == 1;
}

/* ---- what is asked for, each until it is had ---- */

static bool ask_create(void)
{
	return peer_call(&peer, WIRE_SPACE_CREATE,
			 &(struct wire_space_create){.name = wire_str("a"),
						     .limit = 16 * MIB,
						     .reserve = 2 * MIB,
						     .mode = 0644});
}

static bool ask_open(void)
{
	if (!peer_call(&peer, WIRE_SPACE_OPEN,
		       &(struct wire_space_open){.name = wire_str("a")}))
		return false;
	space = peer.answer.body.space_opened.space;
	ck_assert_int_ge(peer.fds[0], 0);
	return true;
}

static bool ask_alloc(void)
{
	if (!peer_call(&peer, WIRE_EXTENT_ALLOC,
		       &(struct wire_extent_alloc){.space = space, .size = 4 * MIB}))
		return false;
	extent = peer.answer.body.extent_alloced.offset;
	tag = peer.answer.body.extent_alloced.tag;
	return true;
}

static bool ask_window(void)
{
	return peer_call(&peer, WIRE_WINDOW_OPEN, &(struct wire_window_open){.space = space}) &&
	       peer.fds[0] >= 0 && peer.fds[1] >= 0;
}

static bool ask_words(void)
{
	return peer_call(&peer, WIRE_WORDS_OPEN, &(struct wire_window_open){.space = space}) &&
	       peer.fds[0] >= 0;
}

static bool ask_holder(void)
{
	return peer_call(&peer, WIRE_HOLDER_OPEN, &(struct wire_space_handle){.space = space});
}

static bool ask_channel(void)
{
	return peer_call(
		&peer, WIRE_CHANNEL_OPEN,
		&(struct wire_channel_open){.space = space, .name = wire_str("c"), .roles = 3});
}

static bool ask_cache(void)
{
	if (!peer_call(&peer, WIRE_CACHE_OPEN,
		       &(struct wire_cache_open){
			       .space = space, .name = wire_str("k"), .capacity = 4 * MIB}))
		return false;
	cache = peer.answer.body.cache_opened.cache;
	return true;
}

static bool ask_segment(void)
{
	if (!peer_call(&peer, WIRE_CACHE_SEGMENT,
		       &(struct wire_cache_segment){
			       .space = space, .cache = cache, .size = 64 * KIB}))
		return false;
	segment = peer.answer.body.extent_alloced.offset;
	room = peer.answer.body.extent_alloced.size;
	filled = 0;
	return true;
}

static bool ask_publish(void)
{
	filled += 112;
	return peer_call(&peer, WIRE_CACHE_PUBLISH,
			 &(struct wire_cache_publish){.space = space,
						      .cache = cache,
						      .hash = filled,
						      .offset = segment + filled,
						      .size = 100,
						      .born = 1});
}

/* A segment full. */
static bool ask_many(void)
{
	while (filled + 256 < room)
		if (!ask_publish())
			return false;
	return true;
}

/* So many that their records' file has to grow: for that alone, since it takes time. */
static bool ask_more(void)
{
	static uint64_t n, at, end;

	if (failing_call != FAKE_FILE_GROW)
		return true;
	if (n == OBJECTS)
		n = at = end = 0; /* of a life before */
	for (; n < OBJECTS; n++, at += 112) {
		if (at + 256 >= end) {
			if (!peer_call(&peer, WIRE_CACHE_SEGMENT,
				       &(struct wire_cache_segment){
					       .space = space, .cache = cache, .size = MIB}))
				return false;
			at = peer.answer.body.extent_alloced.offset + 112;
			end = at + peer.answer.body.extent_alloced.size;
		}
		if (!peer_call(&peer, WIRE_CACHE_PUBLISH,
			       &(struct wire_cache_publish){.space = space,
							    .cache = cache,
							    .hash = n << 20,
							    .offset = at,
							    .size = 100,
							    .born = 1}))
			return false;
	}
	return true;
}

static bool ask_shared(void)
{
	if (!peer_call(&peer, WIRE_EXTENT_ALLOC,
		       &(struct wire_extent_alloc){
			       .space = space, .size = 64 * KIB, .shared = true}))
		return false;
	shared = peer.answer.body.extent_alloced.tag << OFFSET_BITS |
		 peer.answer.body.extent_alloced.offset;
	return true;
}

/* Its word says nothing yet: who reads it has read it. */
static bool ask_who(void)
{
	return peer_call(&peer, WIRE_BLOCK_WHO,
			 &(struct wire_block_who){.space = space, .ref = shared}) ||
	       peer.answer.fault.code == FAULT_REFERENCE;
}

static bool ask_index(void)
{
	return peer_call(&peer, WIRE_CACHE_INDEX,
			 &(struct wire_cache_index){.space = space, .cache = cache}) &&
	       peer.fds[0] >= 0;
}

static bool ask_lanes(void)
{
	return peer_call(&peer, WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = 2}) &&
	       peer.fds[0] >= 0 && peer.fds[1] >= 0;
}

static bool ask_returns(void)
{
	return peer_call(&peer, WIRE_RETURNS_OPEN, &(struct wire_empty){}) && peer.fds[0] >= 0;
}

static bool ask_more_reserve(void)
{
	return peer_call(&peer, WIRE_SPACE_CHANGE,
			 &(struct wire_space_change){
				 .name = wire_str("a"), .set = 2, .reserve = 14 * MIB});
}

static bool ask_free(void)
{
	return peer_call(
		&peer, WIRE_EXTENT_FREE,
		&(struct wire_extent_free){.space = space, .offset = extent, .tag = tag});
}

/* What stands idle where it is of no use any more has to go for what is asked for then. */
static bool ask_less_mode(void)
{
	return peer_call(
		&peer, WIRE_SPACE_CHANGE,
		&(struct wire_space_change){.name = wire_str("a"), .set = 16, .mode = 0600});
}

static bool ask_elsewhere(void)
{
	return peer_call(&peer, WIRE_EXTENT_ALLOC,
			 &(struct wire_extent_alloc){.space = space, .size = 8 * MIB});
}

static bool ask_clear(void)
{
	return peer_call(&peer, WIRE_CACHE_CLEAR,
			 &(struct wire_cache_handle){.space = space, .cache = cache});
}

static bool ask_status(void)
{
	return peer_call(&peer, WIRE_STATUS, &(struct wire_empty){});
}

static bool ask_leave(void)
{
	return peer_call(&peer, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = space});
}

static bool ask_remove(void)
{
	const struct wire_fault *fault = &peer.answer.fault;

	return peer_call(&peer, WIRE_SPACE_REMOVE,
			 &(struct wire_space_remove){.name = wire_str("a"), .force = true}) ||
	       fault->code == FAULT_NOT_FOUND;
}

/* Another member takes blocks and goes: what it held is swept up. */
static bool ask_other(void)
{
	uint64_t there;

	if (!peer_call(&other, WIRE_SPACE_OPEN,
		       &(struct wire_space_open){.name = wire_str("a")}) &&
	    other.answer.fault.code != FAULT_EXISTS)
		return false;
	there = space;
	return peer_call(&other, WIRE_HOLDER_OPEN,
			 &(struct wire_space_handle){.space = there}) &&
	       peer_call(&other, WIRE_EXTENT_ALLOC,
			 &(struct wire_extent_alloc){
				 .space = there, .size = 64 * KIB, .blocks = true});
}

static uint64_t made(enum fake_call call)
{
	uint64_t n;

	pthread_mutex_lock(&host.fake.lock);
	n = host.fake.calls[call];
	pthread_mutex_unlock(&host.fake.lock);
	return n;
}

/* Pages that nobody granted; they are looked for, and taken away, at a beat after a session's end. */
static bool ask_surplus(void)
{
	if (failing_call != FAKE_BLOCKS && failing_call != FAKE_SCRUB)
		return true;
	if (!peer_call(&other, WIRE_WINDOW_OPEN, &(struct wire_window_open){.space = space}))
		return false;
	return !fallocate(other.fds[0], FALLOC_FL_KEEP_SIZE, 0, 16 * MIB);
}

static bool ask_look(void)
{
	int most;

	if (failing_call != FAKE_BLOCKS && failing_call != FAKE_SCRUB)
		return true;
	most = failing_nth > 1 ? LOOK_MAX : AGAIN_MAX;
	for (int i = 0; i < most && made(failing_call) < failing_nth; i++)
		usleep(10000);
	return true;
}

static bool ask_other_leaves(void)
{
	return peer_call(&other, WIRE_BYE, &(struct wire_empty){});
}

static const struct operation {
	const char *name;
	struct peer *by;
	bool (*ask)(void);
} operations[] = {
	{"space.create", &peer, ask_create},
	{"space.open", &peer, ask_open},
	{"extent.alloc", &peer, ask_alloc},
	{"window.open", &peer, ask_window},
	{"words.open", &peer, ask_words},
	{"holder.open", &peer, ask_holder},
	{"channel.open", &peer, ask_channel},
	{"cache.open", &peer, ask_cache},
	{"cache.segment", &peer, ask_segment},
	{"cache.publish", &peer, ask_publish},
	{"cache.publish of many", &peer, ask_many},
	{"cache.publish of more", &peer, ask_more},
	{"cache.index", &peer, ask_index},
	{"extent.alloc of a shared one", &peer, ask_shared},
	{"block.who", &peer, ask_who},
	{"lanes.open", &peer, ask_lanes},
	{"returns.open", &peer, ask_returns},
	{"a member", &other, ask_other},
	{"its surplus", &other, ask_surplus},
	{"its end", &other, ask_other_leaves},
	{"a look for that", &peer, ask_look},
	{"space.change", &peer, ask_more_reserve},
	{"extent.free", &peer, ask_free},
	{"space.change of the mode", &peer, ask_less_mode},
	{"extent.alloc elsewhere", &peer, ask_elsewhere},
	{"cache.clear", &peer, ask_clear},
	{"status", &peer, ask_status},
	{"space.close", &peer, ask_leave},
	{"space.remove", &peer, ask_remove},
};

/* ---- one life of a server, in which one call fails ---- */

static void refusal_is_clear(const struct operation *operation)
{
	const struct wire_fault *fault = &operation->by->answer.fault;

	ck_assert_msg(fault->code == FAULT_SYSTEM || fault->code == FAULT_MEMORY,
		      "%s, %s the %dth time: code %d: %.*s", operation->name, failing,
		      (int)failing_nth, (int)fault->code, (int)fault->message.size,
		      fault->message.data);
	ck_assert_uint_gt(fault->message.size, 0);
	told++;
}

/* Told once, and then had. */
static void had(const struct operation *operation)
{
	int refused = 0;

	while (!operation->ask()) {
		refusal_is_clear(operation);
		ck_assert_msg(++refused < AGAIN_MAX, "%s stays refused, %s the %dth time: %.*s",
			      operation->name, failing, (int)failing_nth,
			      (int)operation->by->answer.fault.message.size,
			      operation->by->answer.fault.message.data);
		if (refused > 1)
			usleep(10000);
	}
}

/* False: the server would not start, or has closed the connection; ask for another. */
static bool enter(struct peer *who)
{
	struct wire_hello hello = {.protocol = 1, .layout_min = 1, .layout_max = 1};
	char buf[256];
	int size;

	peer_connect(who, host.options.config.socket.path);
	size = wire_encode_request(buf, sizeof(buf), ++who->id, WIRE_HELLO, &hello);
	who->method = WIRE_HELLO;
	if (send(who->fd, buf, (size_t)size, MSG_NOSIGNAL) == size && peer_receive(who) &&
	    !who->answer.failed)
		return true;
	peer_close(who);
	return false;
}

static void must_enter(struct peer *who)
{
	for (int i = 0; !enter(who); i++)
		ck_assert_msg(i < 3, "nobody is let in, %s the %dth time", failing,
			      (int)failing_nth);
}

static unsigned descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}

/* It serves, or has said why it does not. */
static bool serves(void)
{
	char said[600] = "";
	ssize_t n = recv(host.lifeline, said, sizeof(said) - 1, 0);

	if (n > 0 && !strncmp(said, "READY", 5))
		return true;
	ck_assert_msg(strchr(said, ':'), "%s the %dth time: \"%s\"", failing, (int)failing_nth,
		      said);
	return false;
}

static void end_without_start(void)
{
	pthread_join(host.thread, NULL);
	ck_assert_int_lt(host.result, 0);
	close(host.lifeline);
	close(host.options.lifeline);
	ck_assert_uint_eq(host.fake.windows + host.fake.window_bytes, 0);
	ck_assert_uint_eq(host.fake.files + host.fake.words, 0);
	fake_sys_deinit(&host.fake);
}

/* False: there were fewer such calls. The 0th: none fails, and libuv takes what it keeps. */
static bool live(enum fake_call call, uint64_t nth, int error)
{
	bool reached;

	/* Hugepages are done without. */
	host_prepare(64 * MIB, call == FAKE_RESERVE ? CONFIG_PAGES_AUTO : CONFIG_PAGES_4K,
		     call == FAKE_RESERVE);
	host.options.config.memory.lock = true;
	host.options.config.memory.thp = CONFIG_THP_ALWAYS;
	if (nth && call < FAKE_CALLS)
		fake_sys_fail(&host.fake, call, nth, error);
	host_run();
	if (!serves()) {
		end_without_start();
		no_start++;
		ck_assert_uint_eq(descriptors(), descriptors_before);
		return true;
	}
	if (failing_call == FAKE_CALLS)
		atomic_store(&allocations, (int64_t)nth);
	must_enter(&peer);
	must_enter(&other);
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		had(&operations[i]);
	peer_close(&other);
	peer_close(&peer);
	host_stop();
	reached = call == FAKE_CALLS ? atomic_load(&allocations) <= 0
				     : host.fake.calls[call] >= nth;
	atomic_store(&allocations, 0);
	if (!nth)
		descriptors_before = descriptors();
	ck_assert_msg(descriptors() == descriptors_before,
		      "%s the %dth time: %u descriptors are left", failing, (int)nth,
		      descriptors() - descriptors_before);
	return reached;
}

static unsigned fail_each(size_t which)
{
	unsigned n_errors = 0, lives = 0;

	failing = calls[which].name;
	failing_call = calls[which].call;
	failing_nth = 0;
	live(calls[which].call, 0, 0);
	while (n_errors < 4 && calls[which].errors[n_errors])
		n_errors++;
	ck_assert_uint_gt(n_errors, 0);
	for (failing_nth = 1; failing_nth < TIMES_MAX; failing_nth++) {
		unsigned errors = is_full() ? n_errors : 1;

		for (unsigned i = 0; i < errors; i++) {
			unsigned at = ((unsigned)failing_nth - 1 + i) % n_errors;

			lives++;
			if (!live(calls[which].call, failing_nth, calls[which].errors[at]))
				return lives;
		}
	}
	return lives;
}

START_TEST(what_the_kernel_refuses_is_told_and_leaves_nothing_half_done)
{
	unsigned lives = fail_each((size_t)_i);

	printf("%s: %u times, %u told, %u no start\n", calls[_i].name, lives - 1, told,
	       no_start);
	ck_assert_uint_gt(lives, 1); /* it is called at least once */
}
END_TEST

START_TEST(each_call_of_the_table_is_made_to_fail_or_cannot)
{
	typedef void (*member)(void);
	const size_t n = sizeof(struct sys_table) / sizeof(member);

	for (size_t i = 0; i < n; i++) {
		unsigned refused = 0, excused = 0;

		for (size_t k = 0; k < ARRAY_SIZE(members); k++)
			if (members[k].at == i * sizeof(member)) {
				refused += !members[k].why;
				excused += members[k].why && *members[k].why;
			}
		ck_assert_msg(excused ? excused == 1 && !refused : refused > 0,
			      "refusals.def does not say how the call at %zu of %zu of the sys "
			      "table fails, or why it cannot",
			      i, n);
	}
}
END_TEST

START_TEST(an_allocation_that_fails_is_told_and_leaves_nothing_half_done)
{
	test_thread = pthread_self();
	failing = "an allocation";
	failing_call = FAKE_CALLS;
	live(failing_call, 0, 0);
	for (failing_nth = 1; live(failing_call, failing_nth, 0); failing_nth++)
		ck_assert_uint_lt(failing_nth, ALLOCATIONS_MAX);
	printf("allocations: %u times, %u told\n", (unsigned)failing_nth - 1, told);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("failing");
	TCase *t = tcase_create("failing");

	tcase_set_timeout(t, 300);
	tcase_add_loop_test(t, what_the_kernel_refuses_is_told_and_leaves_nothing_half_done, 0,
			    ARRAY_SIZE(calls));
	tcase_add_test(t, each_call_of_the_table_is_made_to_fail_or_cannot);
	tcase_add_test(t, an_allocation_that_fails_is_told_and_leaves_nothing_half_done);
	suite_add_tcase(s, t);
	return host_suite_run(s);
}
