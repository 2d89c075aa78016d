/*
 * The server over a fake machine, in this process: where kernel work runs, and what becomes of
 * requests when it fails.
 */
#include <check.h>
#include <errno.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/host.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

START_TEST(no_commit_punch_or_open_runs_on_the_loops_thread)
{
	static const enum fake_call workers[] = {FAKE_COMMIT,        FAKE_PUNCH,
						 FAKE_WINDOW_CREATE, FAKE_WINDOW_DESTROY,
						 FAKE_FILE_CREATE,   FAKE_REOPEN};
	struct peer peer;
	uint64_t space;

	host_start(64 * MIB, CONFIG_PAGES_4K, false);
	peer_open(&peer, host.options.config.socket.path);
	peer_create_space(&peer, "a", 16 * MIB);
	space = peer_open_space(&peer, "a");
	ck_assert(alloc(&peer, space, 8 * MIB));
	ck_assert(peer_call(&peer, WIRE_WINDOW_OPEN,
			    &(struct wire_window_open){.space = space, .window = 0}));
	/* Idle memory is taken back at a later beat: wait for a punch. */
	ck_assert(alloc(&peer, space, 4 * MIB));
	ck_assert(free_last(&peer, space));
	for (int i = 0; i < 1000 && !noted.calls[FAKE_PUNCH]; i++)
		usleep(10000);
	ck_assert(peer_call(&peer, WIRE_SPACE_CLOSE,
			    &(struct wire_space_handle){.space = space}));
	ck_assert(peer_call(&peer, WIRE_SPACE_REMOVE,
			    &(struct wire_space_remove){.name = wire_str("a")}));
	peer_close(&peer);
	host_stop();

	for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
		ck_assert_msg(noted.calls[workers[i]], "call %d was not made", workers[i]);
		ck_assert_msg(!noted.on_loop[workers[i]], "call %d ran on the loop",
			      workers[i]);
	}
}
END_TEST

static void fill_cache(struct peer *peer, uint64_t space, uint64_t cache, uint64_t objects)
{
	const uint64_t size = 128;
	uint64_t offset;

	ck_assert(peer_call(peer, WIRE_CACHE_SEGMENT,
			    &(struct wire_cache_segment){
				    .space = space, .cache = cache, .size = objects * size}));
	offset = peer->answer.body.extent_alloced.offset;
	for (uint64_t i = 0; i < objects; i++, offset += size)
		ck_assert(peer_call(peer, WIRE_CACHE_PUBLISH,
				    &(struct wire_cache_publish){
					    .space = space,
					    .cache = cache,
					    .hash = (i + 1) * 0x9e3779b97f4a7c15ULL,
					    .offset = offset ? offset : 16,
					    .size = offset ? size : size - 16,
					    .born = 1,
				    }));
}

static struct wire_stint_row stints_of(struct peer *peer, const char *name)
{
	const struct wire_stint_row *rows;
	struct wire_daemon_status status = peer_status(peer);

	rows = status.stints.rows;
	for (uint32_t i = 0; i < status.stints.count; i++)
		if (wire_str_is(rows[i].name, name))
			return rows[i];
	ck_abort_msg("there are no stints of %s", name);
}

/* A clock that goes on by 100 us at each look: a stint has two cuts then, of 64 objects each. */
START_TEST(no_cut_begins_once_a_stint_has_lasted_its_time)
{
	enum { OBJECTS = 2048, CUT = 64 };
	struct wire_stint_row before, after;
	struct peer peer;
	uint64_t space, cache;

	host_start(64 * MIB, CONFIG_PAGES_4K, false);
	peer_open(&peer, host.options.config.socket.path);
	peer_create_space(&peer, "a", 16 * MIB);
	space = peer_open_space(&peer, "a");
	ck_assert(peer_call(&peer, WIRE_CACHE_OPEN,
			    &(struct wire_cache_open){.space = space,
						      .name = wire_str("c"),
						      .capacity = 8 * MIB}));
	cache = peer.answer.body.cache_opened.cache;
	fill_cache(&peer, space, cache, OBJECTS);

	look_ns = 100 * 1000;
	before = stints_of(&peer, "waiting");
	ck_assert(peer_call(&peer, WIRE_CACHE_CLEAR,
			    &(struct wire_cache_handle){.space = space, .cache = cache}));
	after = stints_of(&peer, "waiting");
	look_ns = 0;
	ck_assert_uint_ge(after.stints - before.stints, OBJECTS / CUT / 2 - 2);
	ck_assert_uint_le(after.longest, 1000 * 1000);
	peer_close(&peer);
	host_stop();
}
END_TEST

/* Whatever fails, at whatever turn: a clear refusal, nothing kept, and then it works. */
static void survive(enum fake_call call, int error)
{
	struct wire_daemon_status before, after;
	struct peer peer;
	uint64_t space;

	host_start(64 * MIB, CONFIG_PAGES_4K, false);
	peer_open(&peer, host.options.config.socket.path);
	for (uint64_t nth = 1; nth <= 3; nth++) {
		bool ok;

		peer_create_space(&peer, "kept", 8 * MIB);
		space = peer_open_space(&peer, "kept");
		before = peer_status(&peer);

		fake_sys_fail(&host.fake, call, nth, error);
		ok = peer_call(&peer, WIRE_SPACE_CREATE,
			       &(struct wire_space_create){.name = wire_str("b"),
							   .limit = 8 * MIB,
							   .reserve = 2 * MIB});
		if (ok)
			ok = peer_call(&peer, WIRE_SPACE_OPEN,
				       &(struct wire_space_open){.name = wire_str("b")});
		if (ok)
			ok = alloc(&peer, peer.answer.body.space_opened.space, 6 * MIB);
		if (ok)
			ok = peer_call(&peer, WIRE_WINDOW_OPEN,
				       &(struct wire_window_open){.space = 2, .window = 0});
		if (!ok) {
			ck_assert_msg(peer.answer.fault.code == 1 ||
					      peer.answer.fault.code == 5,
				      "%.*s", (int)peer.answer.fault.message.size,
				      peer.answer.fault.message.data);
			ck_assert_uint_gt(peer.answer.fault.message.size, 0);
		}
		fake_sys_fail(&host.fake, call, 0, 0);

		/* Tidy up as far as it got, and see that not a byte is missing. */
		peer_call(&peer, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = 2});
		peer_call(&peer, WIRE_SPACE_REMOVE,
			  &(struct wire_space_remove){.name = wire_str("b")});
		after = peer_status(&peer);
		ck_assert_uint_eq(after.used, before.used);
		ck_assert_uint_eq(after.committed, before.committed);
		ck_assert_uint_eq(after.spaces, before.spaces);

		ck_assert(alloc(&peer, space, 4 * MIB));
		ck_assert(peer_call(&peer, WIRE_SPACE_CLOSE,
				    &(struct wire_space_handle){.space = space}));
		ck_assert(peer_call(&peer, WIRE_SPACE_REMOVE,
				    &(struct wire_space_remove){.name = wire_str("kept")}));
	}
	peer_close(&peer);
	host_stop();
}

START_TEST(a_commit_that_fails_leaves_nothing_behind)
{
	survive(FAKE_COMMIT, ENOSPC);
}
END_TEST

START_TEST(a_window_that_cannot_be_made_leaves_nothing_behind)
{
	survive(FAKE_WINDOW_CREATE, EMFILE);
}
END_TEST

START_TEST(words_that_cannot_be_made_leave_nothing_behind)
{
	survive(FAKE_WORDS_CREATE, EMFILE);
}
END_TEST

START_TEST(a_file_that_cannot_be_made_leaves_nothing_behind)
{
	survive(FAKE_FILE_CREATE, ENOMEM);
}
END_TEST

START_TEST(a_descriptor_that_cannot_be_opened_leaves_nothing_behind)
{
	survive(FAKE_REOPEN, ENFILE);
}
END_TEST

static uint64_t holder(struct peer *peer, uint64_t space)
{
	ck_assert(
		peer_call(peer, WIRE_HOLDER_OPEN, &(struct wire_space_handle){.space = space}));
	return peer->answer.body.holder_opened.id;
}

static uint64_t blocks(struct peer *peer, uint64_t space)
{
	struct wire_extent_alloced got;

	ck_assert(peer_call(
		peer, WIRE_EXTENT_ALLOC,
		&(struct wire_extent_alloc){.space = space, .size = 64 * KIB, .blocks = true}));
	got = peer->answer.body.extent_alloced;
	return ref_make((uint32_t)got.tag, got.offset);
}

START_TEST(words_are_read_and_swept_by_workers)
{
	static const enum fake_call workers[] = {FAKE_WORDS_SWEEP, FAKE_WORDS_READ,
						 FAKE_ORPHAN_LOCKS, FAKE_ZERO};
	struct peer peer, other;
	uint64_t space, theirs;

	host_start(64 * MIB, CONFIG_PAGES_4K, false);
	peer_open(&peer, host.options.config.socket.path);
	peer_open(&other, host.options.config.socket.path);
	peer_create_space(&peer, "a", 16 * MIB);
	space = peer_open_space(&peer, "a");
	theirs = peer_open_space(&other, "a");
	holder(&peer, space);
	holder(&other, theirs);
	peer_call(&peer, WIRE_BLOCK_WHO,
		  &(struct wire_block_who){.space = space, .ref = blocks(&peer, space)});
	ck_assert(peer_call(&peer, WIRE_CHANNEL_OPEN,
			    &(struct wire_channel_open){
				    .space = space, .name = wire_str("c"), .roles = 1}));
	peer_close(&other);
	ck_assert(peer_call(&peer, WIRE_SPACE_CLOSE,
			    &(struct wire_space_handle){.space = space}));
	space = peer_open_space(&peer, "a");
	for (int i = 0; i < 1000 && !noted.calls[FAKE_ORPHAN_LOCKS]; i++)
		usleep(10000);
	peer_close(&peer);
	host_stop();
	for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
		ck_assert_msg(noted.calls[workers[i]], "call %d was not made", workers[i]);
		ck_assert_msg(!noted.on_loop[workers[i]], "call %d ran on the loop",
			      workers[i]);
	}
}
END_TEST

START_TEST(a_channel_whose_memory_a_client_punches_is_not_there)
{
	struct wire_channel_open open = {.name = wire_str("c"), .roles = 1};
	struct wire_daemon_status before;
	struct peer peer;
	uint64_t space;

	host_start(64 * MIB, CONFIG_PAGES_4K, false);
	peer_open(&peer, host.options.config.socket.path);
	peer_create_space(&peer, "a", 16 * MIB);
	space = open.space = peer_open_space(&peer, "a");
	holder(&peer, space);
	ck_assert(alloc(&peer, space, 4 * MIB));
	before = peer_status(&peer);
	fake_sys_fail(&host.fake, FAKE_ZERO, 1, EFAULT);
	ck_assert(!peer_call(&peer, WIRE_CHANNEL_OPEN, &open));
	ck_assert_uint_gt(peer.answer.fault.message.size, 0);
	ck_assert_uint_eq(peer_status(&peer).used, before.used);
	ck_assert(
		peer_call(&peer, WIRE_CHANNEL_LIST, &(struct wire_space_page){.space = space}));
	ck_assert_uint_eq(peer.answer.body.channel_rows.rows.count, 0);
	ck_assert(peer_call(&peer, WIRE_CHANNEL_OPEN, &open));
	ck_assert_uint_eq(peer_status(&peer).used, before.used + 64 * KIB);
	peer_close(&peer);
	host_stop();
}
END_TEST

START_TEST(a_sweep_that_fails_gives_no_id_again)
{
	struct peer peer, other;
	uint64_t space, theirs, dead;

	host_start(64 * MIB, CONFIG_PAGES_4K, false);
	peer_open(&peer, host.options.config.socket.path);
	peer_open(&other, host.options.config.socket.path);
	peer_create_space(&peer, "a", 16 * MIB);
	space = peer_open_space(&peer, "a");
	theirs = peer_open_space(&other, "a");
	dead = holder(&peer, space);
	holder(&other, theirs);
	blocks(&other, theirs);
	fake_sys_fail(&host.fake, FAKE_WORDS_SWEEP, 1, EIO);
	ck_assert(peer_call(&peer, WIRE_SPACE_CLOSE,
			    &(struct wire_space_handle){.space = space}));
	for (int i = 0; i < 1000 && !noted.calls[FAKE_WORDS_SWEEP]; i++)
		usleep(10000);
	space = peer_open_space(&peer, "a");
	ck_assert_uint_ne(holder(&peer, space), dead);
	/* The space rests, and goes all the same when it is told to. */
	ck_assert(peer_call(&peer, WIRE_SPACE_CLOSE,
			    &(struct wire_space_handle){.space = space}));
	ck_assert(peer_call(&other, WIRE_SPACE_CLOSE,
			    &(struct wire_space_handle){.space = theirs}));
	ck_assert(peer_call(&peer, WIRE_SPACE_REMOVE,
			    &(struct wire_space_remove){.name = wire_str("a")}));
	ck_assert_uint_eq(peer_status(&peer).used, 0);
	peer_close(&other);
	peer_close(&peer);
	host_stop();
}
END_TEST

START_TEST(a_peer_that_cannot_be_identified_is_refused_and_may_try_again)
{
	struct peer peer;

	host_start(64 * MIB, CONFIG_PAGES_4K, false);
	peer_connect(&peer, host.options.config.socket.path);
	fake_sys_fail(&host.fake, FAKE_PEER, 1, ESRCH);
	ck_assert(!peer_call(
		&peer, WIRE_HELLO,
		&(struct wire_hello){.protocol = 1, .layout_min = 1, .layout_max = 1}));
	ck_assert_uint_eq(peer.answer.fault.code, 5);
	ck_assert(peer_call(
		&peer, WIRE_HELLO,
		&(struct wire_hello){.protocol = 1, .layout_min = 1, .layout_max = 1}));
	ck_assert_uint_eq(peer_status(&peer).sessions, 1);
	peer_close(&peer);
	host_stop();
}
END_TEST

START_TEST(a_large_request_that_waits_is_not_overtaken_by_small_ones)
{
	static struct peer first, large, small;
	struct peer *peers[] = {&first, &large, &small};
	uint64_t space = 0, ids[3], calls;

	host_start(16 * MIB, CONFIG_PAGES_4K, false);
	for (int i = 0; i < 3; i++) {
		peer_open(peers[i], host.options.config.socket.path);
		if (!i)
			peer_create_space(&first, "a", 16 * MIB);
		space = peer_open_space(peers[i], "a");
	}
	/* Its window is there, and the first of its eight units. */
	ck_assert(got_memory(&first, ask_memory(&first, space, 2 * MIB)));
	calls = noted.calls[FAKE_COMMIT];
	gate_shut = true;
	fake_sys_fail(&host.fake, FAKE_COMMIT, 1, ENOMEM);
	ids[0] = ask_memory(&first, space, SLICE_BYTES);
	while (noted.calls[FAKE_COMMIT] == calls)
		usleep(1000);
	/* There is room for it only if the first does not get what it asked for. */
	ids[1] = ask_memory(&large, space, 12 * MIB + SLICE_BYTES);
	peer_call(&large, WIRE_PING, &(struct wire_ping){});
	ids[2] = ask_memory(&small, space, SLICE_BYTES);
	peer_call(&small, WIRE_PING, &(struct wire_ping){});
	gate_shut = false;
	ck_assert(!got_memory(&first, ids[0]));
	ck_assert(got_memory(&large, ids[1]));
	ck_assert(got_memory(&small, ids[2]));
	for (int i = 0; i < 3; i++)
		peer_close(peers[i]);
	host_stop();
}
END_TEST

/* ---- time ---- */

#define HOUR_MS ((uint64_t)3600 * 1000)

static void publish_until(struct peer *peer, uint64_t space, uint64_t cache, uint64_t offset,
			  uint64_t expiry)
{
	ck_assert(peer_call(peer, WIRE_CACHE_PUBLISH,
			    &(struct wire_cache_publish){
				    .space = space,
				    .cache = cache,
				    .hash = expiry * 0x9e3779b97f4a7c15ULL,
				    .offset = offset,
				    .size = 128,
				    .born = 1,
				    .expiry = expiry,
			    }));
}

static struct wire_cache_row cache_row(struct peer *peer)
{
	ck_assert(peer_call(peer, WIRE_CACHE_LIST, &(struct wire_page_after){}));
	ck_assert_uint_eq(peer->answer.body.cache_rows.rows.count, 1);
	return *(const struct wire_cache_row *)peer->answer.body.cache_rows.rows.rows;
}

static bool has_right(struct peer *peer, uint64_t space, uint64_t cache)
{
	ck_assert(peer_call(peer, WIRE_CACHE_FETCH,
			    &(struct wire_cache_fetch){.space = space,
						       .cache = cache,
						       .hash = 12345,
						       .compute_ms = HOUR_MS / 2}));
	return peer->answer.body.cache_fetched.token;
}

START_TEST(a_machine_that_was_suspended_for_an_hour_goes_on)
{
	const struct wire_cache_open open = {.name = wire_str("c"), .capacity = 4 * MIB};
	struct peer peer, other;
	uint64_t space, cache, segment, used, now_ms;
	struct wire_cache_open opens = open;

	host_start(64 * MIB, CONFIG_PAGES_4K, false);
	peer_open(&peer, host.options.config.socket.path);
	peer_open(&other, host.options.config.socket.path);
	peer_create_space(&peer, "a", 16 * MIB);
	opens.space = space = peer_open_space(&peer, "a");
	ck_assert_uint_eq(peer_open_space(&other, "a"), space);
	ck_assert(alloc(&peer, space, MIB));
	ck_assert(peer_call(&peer, WIRE_CACHE_OPEN, &opens));
	ck_assert(peer_call(&other, WIRE_CACHE_OPEN, &opens));
	cache = other.answer.body.cache_opened.cache;
	ck_assert(peer_call(&peer, WIRE_CACHE_SEGMENT,
			    &(struct wire_cache_segment){
				    .space = space, .cache = cache, .size = 64 * KIB}));
	segment = peer.answer.body.extent_alloced.offset;
	now_ms = host.fake.sys.table->machine_ns(&host.fake.sys) / 1000000;
	publish_until(&peer, space, cache, segment, now_ms + HOUR_MS / 2);
	publish_until(&peer, space, cache, segment + 128, now_ms + 2 * HOUR_MS);
	ck_assert_uint_eq(cache_row(&peer).values, 2);
	ck_assert(has_right(&peer, space, cache));
	ck_assert(!has_right(&other, space, cache));
	used = peer_status(&peer).used;

	fake_sys_suspend(&host.fake, HOUR_MS * 1000000);
	for (int i = 0; i < 1000 && cache_row(&peer).values == 2; i++)
		usleep(10000);
	ck_assert_uint_eq(cache_row(&peer).values, 1);
	ck_assert_uint_eq(cache_row(&peer).expired, 1);
	ck_assert_uint_eq(peer_status(&peer).used, used);
	ck_assert_uint_eq(peer_status(&other).sessions, 2);
	ck_assert(has_right(&other, space, cache)); /* he was too late */
	ck_assert(alloc(&other, space, MIB));
	ck_assert(free_last(&other, space));
	peer_close(&peer);
	peer_close(&other);
	host_stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("server");
	TCase *tests = tcase_create("server");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, no_commit_punch_or_open_runs_on_the_loops_thread);
	tcase_add_test(tests, a_machine_that_was_suspended_for_an_hour_goes_on);
	tcase_add_test(tests, no_cut_begins_once_a_stint_has_lasted_its_time);
	tcase_add_test(tests, a_commit_that_fails_leaves_nothing_behind);
	tcase_add_test(tests, a_window_that_cannot_be_made_leaves_nothing_behind);
	tcase_add_test(tests, words_that_cannot_be_made_leave_nothing_behind);
	tcase_add_test(tests, a_file_that_cannot_be_made_leaves_nothing_behind);
	tcase_add_test(tests, a_descriptor_that_cannot_be_opened_leaves_nothing_behind);
	tcase_add_test(tests, words_are_read_and_swept_by_workers);
	tcase_add_test(tests, a_channel_whose_memory_a_client_punches_is_not_there);
	tcase_add_test(tests, a_sweep_that_fails_gives_no_id_again);
	tcase_add_test(tests, a_peer_that_cannot_be_identified_is_refused_and_may_try_again);
	tcase_add_test(tests, a_large_request_that_waits_is_not_overtaken_by_small_ones);
	suite_add_tcase(suite, tests);
	return host_suite_run(suite);
}
