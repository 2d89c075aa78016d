/*
 * The server over a fake machine, in this process: where kernel work runs, and what becomes of
 * requests when it fails.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "daemon/server/log.h"
#include "daemon/server/server.h"
#include "tests/fake_sys.h"
#include "tests/integration/peer.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* One server, its folder and its thread. */
static struct {
	struct fake_sys fake;
	struct options options;
	pthread_t thread;
	char folder[32];
	int lifeline; /* closing it ends the server */
	int result;
} host;

/* Which thread made the kernel's calls: the fake's table with a note of it. */
static struct {
	const struct sys_table *fake;
	struct sys_table noting;
	pthread_t loop;
	_Atomic bool on_loop[FAKE_CALLS];
	_Atomic uint64_t calls[FAKE_CALLS];
} noted;

static void note(enum fake_call call)
{
	noted.calls[call]++;
	if (pthread_equal(pthread_self(), noted.loop))
		noted.on_loop[call] = true;
}

/* Commits wait here while it is shut; the second is that of other nodes than the first. */
static _Atomic bool gate_shut, gate_elsewhere_shut;
static _Atomic uint64_t commits_refused;

static int note_commit(struct sys *sys, int fd, uint32_t page_shift, uint32_t node,
		       uint64_t offset, uint64_t size, struct sys_shortage *ret)
{
	int r;

	note(FAKE_COMMIT);
	while (gate_shut || (gate_elsewhere_shut && node))
		usleep(1000);
	r = noted.fake->commit(sys, fd, page_shift, node, offset, size, ret);
	commits_refused += r != 0;
	return r;
}

static int note_punch(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		      uint64_t size)
{
	note(FAKE_PUNCH);
	return noted.fake->punch(sys, fd, page_shift, offset, size);
}

static int note_window_create(struct sys *sys, const char *name, uint64_t size,
			      uint32_t page_shift, int *ret_fd)
{
	note(FAKE_WINDOW_CREATE);
	return noted.fake->window_create(sys, name, size, page_shift, ret_fd);
}

static void note_window_destroy(struct sys *sys, int fd, uint32_t page_shift)
{
	note(FAKE_WINDOW_DESTROY);
	noted.fake->window_destroy(sys, fd, page_shift);
}

static int note_file_create(struct sys *sys, const char *name, uint64_t size,
			    enum sys_access clients, int *ret_fd, void **ret_memory)
{
	note(FAKE_FILE_CREATE);
	return noted.fake->file_create(sys, name, size, clients, ret_fd, ret_memory);
}

static int note_words_create(struct sys *sys, const char *name, uint32_t n_slices, int *ret_fd)
{
	note(FAKE_WORDS_CREATE);
	return noted.fake->words_create(sys, name, n_slices, ret_fd);
}

static void note_words_destroy(struct sys *sys, int fd)
{
	note(FAKE_WORDS_DESTROY);
	noted.fake->words_destroy(sys, fd);
}

static int note_words_sweep(struct sys *sys, int fd, uint32_t n_slices,
			    const struct words_run *run, const struct block_ids *dead,
			    struct words_found *ret)
{
	note(FAKE_WORDS_SWEEP);
	return noted.fake->words_sweep(sys, fd, n_slices, run, dead, ret);
}

static int note_words_read(struct sys *sys, int fd, uint64_t offset, uint32_t *ret)
{
	note(FAKE_WORDS_READ);
	return noted.fake->words_read(sys, fd, offset, ret);
}

static int note_orphan_locks(struct sys *sys, int fd, uint32_t page_shift, uint64_t position,
			     const struct block_ids *dead)
{
	note(FAKE_ORPHAN_LOCKS);
	return noted.fake->orphan_locks(sys, fd, page_shift, position, dead);
}

static int note_zero(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		     uint64_t size)
{
	note(FAKE_ZERO);
	return noted.fake->zero(sys, fd, page_shift, offset, size);
}

static int note_reopen(struct sys *sys, int fd, enum sys_access access, int *ret_fd)
{
	note(FAKE_REOPEN);
	return noted.fake->reopen(sys, fd, access, ret_fd);
}

/* What the loop's clock goes on by, each time that the loop looks at it. */
static _Atomic uint64_t look_ns;

static uint64_t note_now_ns(struct sys *sys)
{
	if (look_ns && pthread_equal(pthread_self(), noted.loop))
		fake_sys_advance(&host.fake, look_ns);
	return noted.fake->now_ns(sys);
}

static void *serve(void *unused)
{
	(void)unused;
	noted.loop = pthread_self();
	host.result = server_run(&host.options, &host.fake.sys);
	return NULL;
}

/* The machine, and the folder; a test may change `host` between this and run(). */
static void prepare(uint64_t size, enum config_pages pages, bool hugepages)
{
	struct settings settings;
	int pair[2];

	fake_sys_init(&host.fake, 1024 * MIB);
	if (!hugepages)
		host.fake.host.huge_total = host.fake.host.huge_free = 0;
	noted.fake = host.fake.sys.table;
	noted.noting = *noted.fake;
	noted.noting.commit = note_commit;
	noted.noting.punch = note_punch;
	noted.noting.window_create = note_window_create;
	noted.noting.window_destroy = note_window_destroy;
	noted.noting.file_create = note_file_create;
	noted.noting.words_create = note_words_create;
	noted.noting.words_destroy = note_words_destroy;
	noted.noting.words_sweep = note_words_sweep;
	noted.noting.words_read = note_words_read;
	noted.noting.orphan_locks = note_orphan_locks;
	noted.noting.zero = note_zero;
	noted.noting.reopen = note_reopen;
	noted.noting.now_ns = note_now_ns;
	host.fake.sys.table = &noted.noting;

	strcpy(host.folder, "/tmp/varbos-test-XXXXXX");
	ck_assert(mkdtemp(host.folder));
	ck_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	host.options = (struct options){.lifeline = pair[1]};
	settings_init(&settings);
	host.options.config = settings.config;
	settings_deinit(&settings);
	host.options.config.memory.size = size;
	host.options.config.memory.pages = pages;
	snprintf(host.options.config.socket.path, sizeof(host.options.config.socket.path),
		 "%s/sock", host.folder);
	host.lifeline = pair[0];
}

static void run(void)
{
	ck_assert(!pthread_create(&host.thread, NULL, serve, NULL));
}

static void start(uint64_t size, enum config_pages pages, bool hugepages)
{
	prepare(size, pages, hugepages);
	run();
}

static void stop(void)
{
	close(host.lifeline);
	pthread_join(host.thread, NULL);
	close(host.options.lifeline);
	ck_assert_int_eq(host.result, 0);
	ck_assert_uint_eq(host.fake.windows, 0);
	ck_assert_uint_eq(host.fake.window_bytes, 0);
	ck_assert_uint_eq(host.fake.files, 0);
	ck_assert_uint_eq(host.fake.words, 0);
	fake_sys_deinit(&host.fake);
	ck_assert_int_ne(access(host.folder, F_OK), 0); /* it went with the lifeline */
}

static bool alloc(struct peer *peer, uint64_t space, uint64_t size)
{
	return peer_call(peer, WIRE_EXTENT_ALLOC,
			 &(struct wire_extent_alloc){.space = space, .size = size});
}

static bool free_last(struct peer *peer, uint64_t space)
{
	struct wire_extent_alloced got = peer->answer.body.extent_alloced;

	return peer_call(peer, WIRE_EXTENT_FREE,
			 &(struct wire_extent_free){
				 .space = space, .offset = got.offset, .tag = got.tag});
}

START_TEST(no_commit_punch_or_open_runs_on_the_loops_thread)
{
	static const enum fake_call workers[] = {FAKE_COMMIT,        FAKE_PUNCH,
						 FAKE_WINDOW_CREATE, FAKE_WINDOW_DESTROY,
						 FAKE_FILE_CREATE,   FAKE_REOPEN};
	struct peer peer;
	uint64_t space;

	start(64 * MIB, CONFIG_PAGES_4K, false);
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
	stop();

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

	start(64 * MIB, CONFIG_PAGES_4K, false);
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
	stop();
}
END_TEST

/* Whatever fails, at whatever turn: a clear refusal, nothing kept, and then it works. */
static void survive(enum fake_call call, int error)
{
	struct wire_daemon_status before, after;
	struct peer peer;
	uint64_t space;

	start(64 * MIB, CONFIG_PAGES_4K, false);
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
	stop();
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

	start(64 * MIB, CONFIG_PAGES_4K, false);
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
	stop();
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

	start(64 * MIB, CONFIG_PAGES_4K, false);
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
	stop();
}
END_TEST

START_TEST(a_sweep_that_fails_gives_no_id_again)
{
	struct peer peer, other;
	uint64_t space, theirs, dead;

	start(64 * MIB, CONFIG_PAGES_4K, false);
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
	stop();
}
END_TEST

START_TEST(a_peer_that_cannot_be_identified_is_refused_and_may_try_again)
{
	struct peer peer;

	start(64 * MIB, CONFIG_PAGES_4K, false);
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
	stop();
}
END_TEST

static struct wire_daemon_status status_of_auto(bool hugepages)
{
	static struct peer peer; /* what the status points at outlives this call */
	struct wire_daemon_status status;

	start(64 * MIB, CONFIG_PAGES_AUTO, hugepages);
	peer_open(&peer, host.options.config.socket.path);
	status = peer_status(&peer);
	close(peer.fd);
	stop();
	return status;
}

START_TEST(auto_takes_hugepages_if_there_are_enough)
{
	struct wire_daemon_status status = status_of_auto(true);

	ck_assert_uint_eq(status.page, 2 * MIB);
	ck_assert_uint_eq(status.pages_why.size, 0);
}
END_TEST

START_TEST(auto_falls_back_to_small_pages_and_says_why)
{
	struct wire_daemon_status status = status_of_auto(false);

	ck_assert_uint_eq(status.page, 4096);
	ck_assert_uint_gt(status.pages_why.size, 0);
}
END_TEST

static uint64_t page_of(struct peer *peer, const char *name)
{
	ck_assert(peer_call(peer, WIRE_SPACE_OPEN,
			    &(struct wire_space_open){.name = wire_str(name)}));
	return peer->answer.body.space_opened.page;
}

START_TEST(spaces_of_four_gibibytes_take_pages_of_one_and_others_the_next_size)
{
	struct wire_daemon_status status;
	struct peer peer;
	uint64_t large;

	prepare(4 * GIB, CONFIG_PAGES_1G, true);
	host.fake.host.giant_total = host.fake.host.giant_free = 4 * GIB;
	host.fake.nodes.node[0].giant_total = host.fake.nodes.node[0].giant_free = 4 * GIB;
	run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert_uint_eq(host.fake.reserved_giant, 3 * GIB);
	peer_create_space(&peer, "small", 64 * MIB);
	ck_assert_uint_eq(page_of(&peer, "small"), 2 * MIB);
	/* all there is, where that is less than four */
	peer_create_space(&peer, "large", 3 * GIB);
	ck_assert_uint_eq(page_of(&peer, "large"), GIB);
	large = peer.answer.body.space_opened.space;
	ck_assert(alloc(&peer, large, 64 * KIB));
	ck_assert(alloc(&peer, large, 2 * GIB));
	status = peer_status(&peer);
	ck_assert_uint_eq(status.page, 2 * MIB);
	ck_assert_uint_eq(status.large_page, GIB);
	ck_assert_uint_eq(status.large_region, 3 * GIB);
	ck_assert_uint_eq(status.large_from, 3 * GIB);
	ck_assert_uint_eq(status.large_committed, 3 * GIB);
	ck_assert_uint_eq(status.committed, 3 * GIB);
	ck_assert(peer_call(&peer, WIRE_NUMA_NODES, &(struct wire_page_after){0}));
	ck_assert_uint_eq(
		((const struct wire_numa_node *)peer.answer.body.numa_nodes.rows.rows)[0]
			.large_committed,
		3 * GIB);

	/* what does not fit its rung says which, and what each has */
	ck_assert(!peer_call(
		&peer, WIRE_SPACE_CREATE,
		&(struct wire_space_create){.name = wire_str("more"), .limit = 2 * GIB}));
	ck_assert_uint_eq(peer.answer.fault.code, FAULT_BUDGET);
	ck_assert(wire_str_is(peer.answer.fault.which, "rung"));
	ck_assert(strstr(peer.answer.fault.message.data,
			 "3 GiB in pages of 1 GiB and 1 GiB in pages of 2 MiB"));
	ck_assert(alloc(&peer, large, 512 * MIB));
	ck_assert(!alloc(&peer, large, GIB));
	peer_close(&peer);
	stop();
	ck_assert_uint_eq(host.fake.host.giant_free, 4 * GIB);
}
END_TEST

static uint64_t ask_memory(struct peer *peer, uint64_t space, uint64_t size)
{
	peer_send(peer, WIRE_EXTENT_ALLOC,
		  &(struct wire_extent_alloc){.space = space, .size = size});
	return peer->id;
}

static bool got_memory(struct peer *peer, uint64_t id)
{
	peer->id = id;
	peer->method = WIRE_EXTENT_ALLOC;
	ck_assert(peer_receive(peer));
	return !peer->answer.failed;
}

START_TEST(a_large_request_that_waits_is_not_overtaken_by_small_ones)
{
	static struct peer first, large, small;
	struct peer *peers[] = {&first, &large, &small};
	uint64_t space = 0, ids[3], calls;

	start(16 * MIB, CONFIG_PAGES_4K, false);
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
	stop();
}
END_TEST

/* It does not start; what it said, as whoever started it for himself gets to read it. */
static void run_and_read_why(char *ret, size_t size)
{
	ssize_t n;

	run();
	pthread_join(host.thread, NULL);
	ck_assert_int_lt(host.result, 0);
	n = recv(host.lifeline, ret, size - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	ret[n] = '\0';
	close(host.lifeline);
	close(host.options.lifeline);
	fake_sys_deinit(&host.fake);
}

START_TEST(memory_that_may_not_be_locked_is_no_start_and_says_what_would_help)
{
	char why[1024];

	prepare(64 * MIB, CONFIG_PAGES_4K, false);
	host.options.config.memory.lock = true;
	host.fake.lock_limit = 8 * MIB;
	run_and_read_why(why, sizeof(why));
	ck_assert_msg(strstr(why,
			     "memory.lock: 64 MiB is to be locked, RLIMIT_MEMLOCK is 8 MiB: "
			     "LimitMEMLOCK=infinity in the unit, or `ulimit -l 65536`, or "
			     "CAP_IPC_LOCK"),
		      "%s", why);
}
END_TEST

START_TEST(hugepages_are_not_locked_and_that_is_no_error)
{
	struct peer peer;

	prepare(64 * MIB, CONFIG_PAGES_AUTO, true);
	host.options.config.memory.lock = true;
	run();
	peer_open(&peer, host.options.config.socket.path);
	peer_close(&peer);
	stop();
	ck_assert_uint_eq(host.fake.calls[FAKE_LOCK], 0);

	prepare(64 * MIB, CONFIG_PAGES_4K, false);
	host.options.config.memory.lock = true;
	run();
	peer_open(&peer, host.options.config.socket.path);
	peer_close(&peer);
	stop();
	ck_assert_uint_eq(host.fake.locked, 64 * MIB);
}
END_TEST

START_TEST(a_kernel_without_transparent_hugepages_is_served_without)
{
	struct peer peer;

	prepare(64 * MIB, CONFIG_PAGES_4K, false);
	host.options.config.memory.thp = CONFIG_THP_ALWAYS;
	fake_sys_fail(&host.fake, FAKE_COLLAPSE, 1, EINVAL);
	run();
	peer_open(&peer, host.options.config.socket.path);
	peer_close(&peer);
	stop();
	ck_assert_uint_eq(host.fake.calls[FAKE_COLLAPSE], 1);
}
END_TEST

/* A machine of two nodes, with so much on each. */
static void prepare_two(uint64_t size, uint64_t on_first, uint64_t on_second)
{
	prepare(size, CONFIG_PAGES_4K, false);
	host.fake.nodes = (struct sys_nodes){
		.topology = {.nodes = 3, .memory = 3, .cpus = 3},
		.node = {{.total = 1024 * MIB, .available = on_first, .cpus = 1},
			 {.total = 1024 * MIB, .available = on_second, .cpus = 1}},
	};
}

static bool create(struct peer *peer, const char *name, const char *numa, uint64_t nodes,
		   uint64_t limit, uint64_t reserve)
{
	return peer_call(peer, WIRE_SPACE_CREATE,
			 &(struct wire_space_create){.name = wire_str(name),
						     .numa = wire_str(numa),
						     .nodes = nodes,
						     .limit = limit,
						     .reserve = reserve,
						     .client_limit = limit});
}

static void refused_for(const struct peer *peer, enum fault_code code, const char *text)
{
	char said[512];

	snprintf(said, sizeof(said), "%.*s", (int)peer->answer.fault.message.size,
		 peer->answer.fault.message.data);
	ck_assert_msg(peer->answer.failed && peer->answer.fault.code == code &&
			      strstr(said, text),
		      "%s", said);
}

START_TEST(the_region_lies_where_memory_nodes_says)
{
	struct peer peer;

	prepare_two(64 * MIB, 1024 * MIB, 1024 * MIB);
	strcpy(host.options.config.memory.nodes, "1");
	run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert(create(&peer, "a", "", 0, 64 * MIB, 0));
	ck_assert(alloc(&peer, peer_open_space(&peer, "a"), 64 * MIB));
	ck_assert(!create(&peer, "b", "bind", 1, 2 * MIB, 0));
	refused_for(&peer, FAULT_INVALID,
		    "nodes: 0: no memory there for Varbos; there is on 1");
	peer_close(&peer);
	stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 0);
	ck_assert_uint_eq(host.fake.committed_on[1], 64 * MIB);
}
END_TEST

START_TEST(a_node_that_cannot_bear_its_share_is_no_start)
{
	char why[1024];

	prepare_two(64 * MIB, 1024 * MIB, 72 * MIB);
	strcpy(host.options.config.memory.nodes, "0:32M,1:32M");
	run_and_read_why(why, sizeof(why)); /* 5 % of 1 GiB stay others' */
	ck_assert_msg(strstr(why,
			     "memory.nodes: node 1 cannot spare 32 MiB: 72 MiB available, of "
			     "which Varbos takes at most 2"),
		      "%s", why);
	prepare_two(64 * MIB, 1024 * MIB, 1024 * MIB);
	strcpy(host.options.config.memory.nodes, "0,4-5");
	run_and_read_why(why, sizeof(why));
	ck_assert_msg(strstr(why, "memory.nodes: there is no node 4-5; there are 0-1"), "%s",
		      why);
	prepare_two(64 * MIB, 1024 * MIB, 1024 * MIB);
	host.fake.nodes.refused = -EPERM;
	strcpy(host.options.config.memory.nodes, "0");
	run_and_read_why(why, sizeof(why));
	ck_assert_msg(strstr(why, "lets no one choose a NUMA node"), "%s", why);
}
END_TEST

/* Of a machine whose first node has no more to give than the 5 % that stay others'. */
static void run_one_full(struct peer *peer)
{
	prepare_two(128 * MIB, 10 * MIB, 1024 * MIB);
	run();
	peer_open(peer, host.options.config.socket.path);
}

static const char on_first[] =
	"node 0 cannot spare 4 MiB: 10 MiB available, of which Varbos takes at most 0 B";

START_TEST(memory_that_a_node_cannot_give_comes_from_another_where_the_policy_allows)
{
	static const struct {
		const char *name, *numa;
		uint64_t nodes;
		bool is_had;
	} cases[] = {
		{"a", "", 0, true},
		{"b", "local", 0, true},
		{"c", "preferred", 1, true},
		{"d", "interleave", 3, true},
		{"e", "bind", 3, true},
		{"f", "bind", 1, false},
		{"g", "interleave", 1, false},
	};
	struct peer peer;
	uint64_t had = 0;

	run_one_full(&peer);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool ok;

		ck_assert(create(&peer, cases[i].name, cases[i].numa, cases[i].nodes, 8 * MIB,
				 0));
		ok = alloc(&peer, peer_open_space(&peer, cases[i].name), 4 * MIB);
		ck_assert_msg(ok == cases[i].is_had, "%s:%u", cases[i].numa,
			      (unsigned)cases[i].nodes);
		if (!ok)
			refused_for(&peer, FAULT_MEMORY, on_first);
		had += ok ? 4 * MIB : 0;
		ck_assert_uint_eq(peer_status(&peer).used, had);
	}
	peer_close(&peer);
	stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 0);
	ck_assert_uint_ge(host.fake.committed_on[1], had);
}
END_TEST

START_TEST(allocations_that_a_node_refuses_at_once_all_come_from_another)
{
	enum { AT_ONCE = 4 }; /* as many as there are workers */
	static struct peer peers[AT_ONCE];
	uint64_t space[AT_ONCE], ids[AT_ONCE], calls, refused;

	prepare_two(128 * MIB, 1024 * MIB, 1024 * MIB);
	run();
	for (int i = 0; i < AT_ONCE; i++) {
		peer_open(&peers[i], host.options.config.socket.path);
		ck_assert(i || create(peers, "a", "preferred", 1, 64 * MIB, 0));
		space[i] = peer_open_space(&peers[i], "a");
	}
	ck_assert(alloc(peers, space[0], 2 * MIB));
	pthread_mutex_lock(&host.fake.lock);
	host.fake.nodes.node[0].available = 10 * MIB;
	pthread_mutex_unlock(&host.fake.lock);
	calls = noted.calls[FAKE_COMMIT];
	refused = commits_refused;
	gate_shut = gate_elsewhere_shut = true;
	for (int i = 0; i < AT_ONCE; i++)
		ids[i] = ask_memory(&peers[i], space[i], 2 * MIB);
	while (noted.calls[FAKE_COMMIT] < calls + AT_ONCE)
		usleep(1000);
	gate_shut = false;
	/* All are refused, and the loop has heard so, before any has come from elsewhere. */
	while (commits_refused < refused + AT_ONCE)
		usleep(1000);
	for (int i = 0; i < AT_ONCE; i++)
		peer_call(&peers[i], WIRE_PING, &(struct wire_ping){});
	gate_elsewhere_shut = false;
	for (int i = 0; i < AT_ONCE; i++)
		ck_assert_msg(got_memory(&peers[i], ids[i]), "%.*s",
			      (int)peers[i].answer.fault.message.size,
			      peers[i].answer.fault.message.data);
	ck_assert_uint_eq(peer_status(peers).used, 10 * MIB);
	for (int i = 0; i < AT_ONCE; i++)
		peer_close(&peers[i]);
	stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 2 * MIB);
}
END_TEST

START_TEST(a_reserve_that_a_node_cannot_give_comes_from_another_where_the_policy_allows)
{
	struct peer peer;

	run_one_full(&peer);
	ck_assert(create(&peer, "a", "", 0, 8 * MIB, 4 * MIB));
	ck_assert(create(&peer, "b", "preferred", 1, 8 * MIB, 4 * MIB));
	ck_assert(create(&peer, "c", "interleave", 3, 8 * MIB, 4 * MIB));
	ck_assert(!create(&peer, "d", "bind", 1, 8 * MIB, 4 * MIB));
	refused_for(&peer, FAULT_MEMORY, on_first);
	ck_assert(create(&peer, "d", "bind", 1, 8 * MIB, 0)); /* nothing of it was left */
	ck_assert(peer_call(&peer, WIRE_SPACE_CHANGE,
			    &(struct wire_space_change){.name = wire_str("b"),
							.set = SPACE_SET_RESERVE,
							.reserve = 8 * MIB}));
	ck_assert(!peer_call(&peer, WIRE_SPACE_CHANGE,
			     &(struct wire_space_change){.name = wire_str("d"),
							 .set = SPACE_SET_RESERVE,
							 .reserve = 4 * MIB}));
	refused_for(&peer, FAULT_MEMORY, on_first);
	ck_assert_uint_eq(peer_status(&peer).committed, 16 * MIB);
	peer_close(&peer);
	stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 0);
	ck_assert_uint_ge(host.fake.committed_on[1], 16 * MIB);
}
END_TEST

START_TEST(when_no_node_can_give_it_memory_is_refused_and_nothing_is_left)
{
	struct peer peer;

	prepare_two(128 * MIB, 10 * MIB, 20 * MIB);
	run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert(!create(&peer, "a", "", 0, 8 * MIB, 4 * MIB));
	refused_for(&peer, FAULT_MEMORY, "cannot spare 4 MiB");
	ck_assert(create(&peer, "a", "", 0, 8 * MIB, 0));
	ck_assert(!alloc(&peer, peer_open_space(&peer, "a"), 4 * MIB));
	refused_for(&peer, FAULT_MEMORY, "cannot spare 4 MiB");
	ck_assert_uint_eq(peer_status(&peer).used, 0);
	ck_assert_uint_eq(peer_status(&peer).committed, 0);
	peer_close(&peer);
	stop();
}
END_TEST

START_TEST(pages_that_came_from_elsewhere_are_not_given_out)
{
	struct peer peer;
	uint64_t space;

	prepare_two(128 * MIB, 1024 * MIB, 1024 * MIB);
	host.fake.elsewhere = 4096; /* of the first commit */
	run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert(create(&peer, "a", "bind", 2, 8 * MIB, 0));
	space = peer_open_space(&peer, "a");
	ck_assert(!alloc(&peer, space, 4 * MIB));
	refused_for(&peer, FAULT_MEMORY, "the kernel gave pages of other nodes");
	ck_assert_uint_eq(peer_status(&peer).committed, 0);
	ck_assert(alloc(&peer, space, 4 * MIB));
	peer_close(&peer);
	stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 0);
}
END_TEST

START_TEST(a_pool_that_strangers_emptied_is_told_and_memory_comes_from_others)
{
	struct peer peer;
	uint64_t space;

	prepare_two(64 * MIB, 1024 * MIB, 1024 * MIB);
	host.options.config.memory.pages = CONFIG_PAGES_2M;
	host.fake.host.huge_total = host.fake.host.huge_free = 128 * MIB;
	for (uint32_t i = 0; i < 2; i++)
		host.fake.nodes.node[i].huge_total = host.fake.nodes.node[i].huge_free =
			64 * MIB;
	run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert(create(&peer, "a", "bind", 1, 16 * MIB, 0));
	space = peer_open_space(&peer, "a");
	ck_assert(alloc(&peer, space, 2 * MIB));
	pthread_mutex_lock(&host.fake.lock);
	host.fake.nodes.node[0].huge_free = 2 * MIB;
	pthread_mutex_unlock(&host.fake.lock);
	ck_assert(!alloc(&peer, space, 4 * MIB));
	refused_for(&peer, FAULT_MEMORY,
		    "node 0 cannot spare 4 MiB: 2 MiB available, of which Varbos takes at most "
		    "2 MiB");
	ck_assert(alloc(&peer, space, 2 * MIB));
	ck_assert(create(&peer, "b", "preferred", 1, 16 * MIB, 0));
	ck_assert(alloc(&peer, peer_open_space(&peer, "b"), 4 * MIB));
	peer_close(&peer);
	stop();
	ck_assert_uint_eq(host.fake.committed_on[0], 4 * MIB);
	ck_assert_uint_eq(host.fake.committed_on[1], 4 * MIB);
}
END_TEST

START_TEST(where_no_node_can_be_chosen_the_machine_counts_as_one)
{
	const struct wire_numa_nodes *nodes;
	struct peer peer;

	prepare_two(128 * MIB, 10 * MIB, 1024 * MIB);
	host.fake.nodes.refused = -EPERM;
	run();
	peer_open(&peer, host.options.config.socket.path);
	ck_assert(create(&peer, "a", "bind", 1, 64 * MIB, 0));
	ck_assert(alloc(&peer, peer_open_space(&peer, "a"), 64 * MIB));
	ck_assert(!create(&peer, "b", "bind", 2, 8 * MIB, 0));
	refused_for(&peer, FAULT_INVALID, "nodes: there is no node 1; there are 0");
	ck_assert(peer_call(&peer, WIRE_NUMA_NODES, &(struct wire_page_after){}));
	nodes = &peer.answer.body.numa_nodes;
	ck_assert_uint_eq(nodes->rows.count, 1);
	peer_close(&peer);
	stop();
	/* Asked of any node, and so of none. */
	ck_assert_uint_eq(host.fake.committed_on[0], 0);
	ck_assert_uint_eq(host.fake.committed_on[1], 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("server");
	TCase *t = tcase_create("server");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, no_commit_punch_or_open_runs_on_the_loops_thread);
	tcase_add_test(t, a_commit_that_fails_leaves_nothing_behind);
	tcase_add_test(t, a_large_request_that_waits_is_not_overtaken_by_small_ones);
	tcase_add_test(t, a_window_that_cannot_be_made_leaves_nothing_behind);
	tcase_add_test(t, a_file_that_cannot_be_made_leaves_nothing_behind);
	tcase_add_test(t, words_that_cannot_be_made_leave_nothing_behind);
	tcase_add_test(t, words_are_read_and_swept_by_workers);
	tcase_add_test(t, a_channel_whose_memory_a_client_punches_is_not_there);
	tcase_add_test(t, a_sweep_that_fails_gives_no_id_again);
	tcase_add_test(t, a_descriptor_that_cannot_be_opened_leaves_nothing_behind);
	tcase_add_test(t, a_peer_that_cannot_be_identified_is_refused_and_may_try_again);
	tcase_add_test(t, no_cut_begins_once_a_stint_has_lasted_its_time);
	tcase_add_test(t, memory_that_may_not_be_locked_is_no_start_and_says_what_would_help);
	tcase_add_test(t, hugepages_are_not_locked_and_that_is_no_error);
	tcase_add_test(t, a_kernel_without_transparent_hugepages_is_served_without);
	tcase_add_test(t, the_region_lies_where_memory_nodes_says);
	tcase_add_test(t, a_node_that_cannot_bear_its_share_is_no_start);
	tcase_add_test(
		t, memory_that_a_node_cannot_give_comes_from_another_where_the_policy_allows);
	tcase_add_test(
		t,
		a_reserve_that_a_node_cannot_give_comes_from_another_where_the_policy_allows);
	tcase_add_test(t, allocations_that_a_node_refuses_at_once_all_come_from_another);
	tcase_add_test(t, when_no_node_can_give_it_memory_is_refused_and_nothing_is_left);
	tcase_add_test(t, pages_that_came_from_elsewhere_are_not_given_out);
	tcase_add_test(t, a_pool_that_strangers_emptied_is_told_and_memory_comes_from_others);
	tcase_add_test(t, where_no_node_can_be_chosen_the_machine_counts_as_one);
	tcase_add_test(t, auto_takes_hugepages_if_there_are_enough);
	tcase_add_test(t, auto_falls_back_to_small_pages_and_says_why);
	tcase_add_test(t, spaces_of_four_gibibytes_take_pages_of_one_and_others_the_next_size);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	log_open();
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
