/*
 * What outlives a daemon: everything that was acknowledged, and nothing that was not; or it is said
 * what was lost.
 */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/peer.h"
#include "tests/integration/survivor.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum {
	IMAGE = 111,
	WAIT_TRIES = 1000, /* of 10 ms */
	RESTARTS = 50,
	HEAD_LAYOUT = 8,       /* where a ledger says its layout */
	DESCRIPTORS_MAX = 200, /* that a daemon of one session needs, by far */
};

static struct survivor daemon_;
static struct peer one;
static uint64_t session, space;

static bool hello(struct peer *peer, uint64_t resume)
{
	uint64_t id = peer->id;

	peer_connect(peer, daemon_.socket);
	peer->id = id; /* who goes on asks other things, not the same once more */
	return peer_call(peer, WIRE_HELLO,
			 &(struct wire_hello){.protocol = 1,
					      .layout_min = 1,
					      .layout_max = 1,
					      .image = IMAGE,
					      .resume = resume});
}

/* A session of this process, which has a space. */
static void set_up(void)
{
	survivor_start(&daemon_, "--size", "64M", "--pages", "4K", NULL);
	ck_assert(hello(&one, 0));
	session = one.answer.body.welcome.session;
	peer_create_space(&one, "a", 32 * MIB);
	space = peer_open_space(&one, "a");
}

static void tear_down(void)
{
	peer_close(&one);
	survivor_stop(&daemon_);
}

static void resume(void)
{
	peer_close(&one);
	ck_assert_msg(hello(&one, session), "%.*s", (int)one.answer.fault.message.size,
		      one.answer.fault.message.data);
	ck_assert(one.answer.body.welcome.resumed);
	ck_assert_uint_eq(one.answer.body.welcome.session, session);
}

static void die_and_resume(void)
{
	survivor_kill(&daemon_);
	survivor_again(&daemon_);
	resume();
}

static struct wire_extent_alloced alloc(uint64_t size, bool shared)
{
	ck_assert(peer_call(
		&one, WIRE_EXTENT_ALLOC,
		&(struct wire_extent_alloc){.space = space, .size = size, .shared = shared}));
	return one.answer.body.extent_alloced;
}

static bool give(struct wire_extent_alloced extent)
{
	return peer_call(&one, WIRE_EXTENT_FREE,
			 &(struct wire_extent_free){
				 .space = space, .offset = extent.offset, .tag = extent.tag});
}

static char *map(int fd, uint64_t size, int protection)
{
	char *memory = mmap(NULL, size, protection, MAP_SHARED, fd, 0);

	ck_assert(memory != MAP_FAILED);
	return memory;
}

static ino_t file_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

static void open_window(uint32_t number)
{
	ck_assert(peer_call(&one, WIRE_WINDOW_OPEN,
			    &(struct wire_window_open){.space = space, .window = number}));
}

static void wait_used(uint64_t used)
{
	uint64_t is = 0;

	for (int i = 0; i < WAIT_TRIES; i++) {
		is = peer_status(&one).used;
		if (is == used)
			return;
		usleep(10000);
	}
	ck_abort_msg("%llu bytes used instead of %llu", (unsigned long long)is,
		     (unsigned long long)used);
}

static struct wire_space_row row(const char *name)
{
	ck_assert(peer_call(&one, WIRE_SPACE_LIST, &(struct wire_page_after){}));
	for (uint32_t i = 0; i < one.answer.body.space_rows.rows.count; i++) {
		const struct wire_space_row *at =
			(const struct wire_space_row *)one.answer.body.space_rows.rows.rows + i;

		if (wire_str_is(at->name, name))
			return *at;
	}
	ck_abort_msg("there is no space %s", name);
}

START_TEST(a_killed_daemon_is_followed_by_one_that_knows_all_that_it_did)
{
	struct wire_extent_alloced mine = alloc(3 * MIB, false), shared = alloc(MIB, true);
	struct wire_space_row before = row("a"), after;
	const struct root_file *root;
	uint64_t epoch;
	ino_t data_file;
	char *data;

	open_window(0);
	data_file = file_of(one.fds[0]);
	data = map(one.fds[0], 4 * MIB, PROT_READ | PROT_WRITE);
	strcpy(data + offset_position(mine.offset), "still there");
	root = (const void *)map(survivor_kept(&daemon_, "root-"), sizeof(*root), PROT_READ);
	epoch = root->epoch;

	die_and_resume();
	after = row("a");
	ck_assert_uint_eq(after.space, before.space);
	ck_assert_uint_eq(after.limit, before.limit);
	ck_assert_uint_eq(after.used, before.used);
	ck_assert_uint_eq(after.committed, before.committed);
	ck_assert_uint_eq(after.sessions, 1);
	ck_assert_uint_eq(peer_status(&one).sessions, 1);
	ck_assert_uint_ne(root->epoch, epoch);
	ck_assert_uint_ne(root->deaths, 0);
	open_window(0);
	ck_assert_uint_eq(file_of(one.fds[0]), data_file);
	ck_assert_str_eq(data + offset_position(mine.offset), "still there");

	ck_assert(give(mine));
	ck_assert(!give(mine));
	ck_assert(give(shared));
	ck_assert_uint_eq(peer_status(&one).used, 0);
	alloc(16 * MIB, false);
	tear_down();
}
END_TEST

/* Its words, as they are in the file; the caller compares, or spoils them. */
static _Atomic uint64_t *slice_map(uint64_t *ret_slices)
{
	int fd = survivor_kept(&daemon_, "map-");
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	*ret_slices = (uint64_t)st.st_size / sizeof(uint64_t);
	return (_Atomic uint64_t *)(void *)map(fd, (uint64_t)st.st_size,
					       PROT_READ | PROT_WRITE);
}

START_TEST(words_that_were_behind_the_ledger_are_made_true_and_no_others_are_stored)
{
	struct wire_extent_alloced first, second;
	_Atomic uint64_t *words;
	uint64_t slices, *copy;
	uint32_t at;

	first = alloc(MIB, false);
	second = alloc(2 * MIB, true);
	words = slice_map(&slices);
	copy = calloc(slices, sizeof(*copy));
	memcpy(copy, (void *)words, slices * sizeof(*copy));
	die_and_resume();
	ck_assert(!survivor_said(&daemon_, "were behind the ledger"));
	ck_assert(!memcmp(copy, (void *)words, slices * sizeof(*copy)));

	survivor_kill(&daemon_);
	at = (uint32_t)(offset_position(second.offset) >> SLICE_SHIFT);
	words[at] = 0; /* its head was not stored yet */
	words[at + 3] = 0;
	at = (uint32_t)(offset_position(first.offset) >> SLICE_SHIFT);
	words[slices - 1] = words[at]; /* one that is no more */
	survivor_again(&daemon_);
	resume();
	ck_assert(survivor_said(&daemon_, "3 words of slice maps and root files were behind"));
	ck_assert(!memcmp(copy, (void *)words, slices * sizeof(*copy)));
	free(copy);
	tear_down();
}
END_TEST

START_TEST(who_died_while_no_daemon_ran_leaves_what_he_shared_alone)
{
	static struct peer child;
	int pipe_fds[2];
	char byte;
	pid_t pid;

	ck_assert(!pipe(pipe_fds));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		peer_leave_check();
		peer_open(&child, daemon_.socket);
		peer_open_space(&child, "a");
		for (int i = 0; i < 2; i++)
			ck_assert(peer_call(&child, WIRE_EXTENT_ALLOC,
					    &(struct wire_extent_alloc){
						    .space = space, .size = MIB, .shared = i}));
		if (write(pipe_fds[1], "", 1) < 0)
			_exit(1);
		pause();
	}
	ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
	ck_assert_uint_eq(peer_status(&one).used, 2 * MIB);
	die_and_resume();
	ck_assert_uint_eq(peer_status(&one).used, 2 * MIB); /* he lives, and says nothing */
	ck_assert_uint_eq(peer_status(&one).sessions, 2);

	survivor_kill(&daemon_);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	survivor_again(&daemon_);
	resume();
	wait_used(MIB);
	ck_assert_uint_eq(peer_status(&one).sessions, 1);
	tear_down();
}
END_TEST

START_TEST(an_idle_client_ends_with_its_process_whatever_daemon_there_is)
{
	static struct peer child;
	int pipe_fds[2];
	char byte;
	pid_t pid;

	ck_assert(!pipe(pipe_fds));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		peer_leave_check();
		peer_open(&child, daemon_.socket);
		peer_open_space(&child, "a");
		ck_assert(peer_call(&child, WIRE_EXTENT_ALLOC,
				    &(struct wire_extent_alloc){.space = space, .size = MIB}));
		if (write(pipe_fds[1], "", 1) < 0)
			_exit(1);
		pause();
	}
	ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
	die_and_resume();
	ck_assert_uint_eq(peer_status(&one).used, MIB);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	wait_used(0);
	tear_down();
}
END_TEST

static bool is_kept(const char *prefix)
{
	_cleanup_(closep) int fd = survivor_kept(&daemon_, prefix);

	return fd >= 0;
}

static void wait_gone(const char *prefix)
{
	for (int i = 0; is_kept(prefix); i++) {
		ck_assert_int_lt(i, WAIT_TRIES);
		usleep(10000);
	}
}

START_TEST(a_space_that_was_going_goes_on_going)
{
	alloc(MIB, true);
	ck_assert(peer_call(&one, WIRE_SPACE_REMOVE,
			    &(struct wire_space_remove){.name = wire_str("a"), .force = true}));
	die_and_resume();
	ck_assert_uint_eq(row("a").removed, 1);
	ck_assert(
		peer_call(&one, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = space}));
	for (int i = 0; i < WAIT_TRIES && peer_status(&one).spaces; i++)
		usleep(10000);
	ck_assert_uint_eq(peer_status(&one).committed, 0);
	wait_gone("root-"); /* the store is told without waiting */
	wait_gone("data-");
	die_and_resume();
	ck_assert_uint_eq(peer_status(&one).spaces, 0);
	tear_down();
}
END_TEST

START_TEST(what_ends_well_leaves_as_much_as_what_is_killed)
{
	struct wire_extent_alloced mine = alloc(MIB, false);

	survivor_end(&daemon_);
	survivor_again(&daemon_);
	resume();
	ck_assert_uint_eq(peer_status(&one).used, MIB);
	ck_assert(give(mine));
	tear_down();
}
END_TEST

START_TEST(restarts_cost_no_descriptors)
{
	uint32_t kept = fake_store_count(&daemon_.store, NULL), used = 0;
	unsigned open = 0;

	alloc(MIB, false);
	for (int i = 0; i < RESTARTS; i++) {
		die_and_resume();
		if (i == 1) {
			open = survivor_descriptors_settled(&daemon_);
			kept = fake_store_count(&daemon_.store, NULL);
			used = (uint32_t)peer_status(&one).used;
		}
	}
	survivor_descriptors_are(&daemon_, open);
	ck_assert_uint_eq(fake_store_count(&daemon_.store, NULL), kept);
	ck_assert_uint_eq(peer_status(&one).used, used);
	tear_down();
}
END_TEST

START_TEST(pages_that_no_record_knows_are_taken_back)
{
	uint64_t committed;
	int fd;

	alloc(MIB, false);
	committed = peer_status(&one).committed;
	fd = survivor_kept(&daemon_, "data-");
	survivor_kill(&daemon_);
	/* Committed, and then it died. */
	ck_assert_int_eq(fallocate(fd, 0, 16 * MIB, 4 * MIB), 0);
	survivor_again(&daemon_);
	resume();
	ck_assert_uint_eq(peer_status(&one).committed, committed);
	for (int i = 0; i < WAIT_TRIES && !survivor_said(&daemon_, "4194304 bytes that nobody");
	     i++)
		usleep(10000);
	ck_assert(survivor_said(&daemon_, "4194304 bytes that nobody committed"));
	close(fd);
	tear_down();
}
END_TEST

/* ---- between the store and the grant ---- */

/* For what a worker puts descriptors into the store before it is answered. */
static const struct {
	enum wire_method method;
	const char *puts;
} grants[] = {
	{WIRE_SPACE_CREATE, "root-"},
	{WIRE_EXTENT_ALLOC, "data-"},
	{WIRE_LANES_OPEN, "lanes-"},
	{WIRE_RETURNS_OPEN, "returns-"},
};

/* Of the ith, with the id that it has or had. */
static void ask_grant(int i, bool wait)
{
	const struct wire_space_create create = {.name = wire_str("b"), .limit = 4 * MIB};
	const struct wire_extent_alloc extent = {.space = space, .size = MIB};
	const struct wire_lanes_open lanes = {.lanes = 2};
	const struct wire_empty nothing = {};
	const void *params[] = {&create, &extent, &lanes, &nothing};

	if (wait)
		ck_assert_msg(peer_call(&one, grants[i].method, params[i]), "%.*s",
			      (int)one.answer.fault.message.size,
			      one.answer.fault.message.data);
	else
		peer_send(&one, grants[i].method, params[i]);
}

/* But for the bell, which is the daemon's own. */
static uint32_t n_kept(void)
{
	uint32_t n = fake_store_count(&daemon_.store, NULL);

	return n - is_kept("bell");
}

static void wait_kept(uint32_t n)
{
	uint32_t is = 0;

	for (int i = 0; i < WAIT_TRIES; i++) {
		is = n_kept();
		if (is == n)
			return;
		usleep(10000);
	}
	ck_abort_msg("%u descriptors are kept, not %u", is, n);
}

static void close_and_remove(void)
{
	ck_assert(
		peer_call(&one, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = space}));
	peer_status(&one); /* the close has had its turn of the loop */
	ck_assert(peer_call(&one, WIRE_SPACE_REMOVE,
			    &(struct wire_space_remove){.name = wire_str("a")}));
}

/* Nobody does anything else that would have the daemon look at its caches. */
START_TEST(a_space_that_nobody_had_open_takes_what_its_caches_had_kept_with_it)
{
	unsigned open;

	close_and_remove();
	open = survivor_descriptors_settled(&daemon_);
	peer_create_space(&one, "a", 32 * MIB);
	space = peer_open_space(&one, "a");
	ck_assert(peer_call(&one, WIRE_CACHE_OPEN,
			    &(struct wire_cache_open){.space = space,
						      .name = wire_str("c"),
						      .policy = wire_str("s3fifo"),
						      .capacity = MIB}));
	/* which waits for its files */
	ck_assert(peer_call(
		&one, WIRE_CACHE_SEGMENT,
		&(struct wire_cache_segment){.space = space,
					     .cache = one.answer.body.cache_opened.cache,
					     .size = 64 << 10}));
	ck_assert(is_kept("objects-") && is_kept("index-"));
	close_and_remove();
	wait_gone("objects-");
	wait_gone("index-");
	survivor_descriptors_are(&daemon_, open);
	tear_down();
}
END_TEST

START_TEST(what_was_kept_and_not_granted_yet_is_closed_and_granted_anew)
{
	uint32_t kept = n_kept();
	uint64_t asked;
	char byte;

	daemon_.store.deaf = true; /* it has them, and does not say so */
	ask_grant(_i, false);
	asked = one.id;
	for (int i = 0; i < WAIT_TRIES && n_kept() <= kept; i++)
		usleep(10000);
	ck_assert_uint_gt(n_kept(), kept);
	ck_assert(is_kept(grants[_i].puts));
	ck_assert_int_eq(recv(one.fd, &byte, 1, MSG_DONTWAIT), -1);
	survivor_kill(&daemon_);
	daemon_.store.deaf = false;

	survivor_again(&daemon_);
	resume();
	wait_kept(kept); /* no record tells of them */
	ck_assert_uint_eq(peer_status(&one).used, 0);
	ck_assert_uint_eq(peer_status(&one).spaces, 1);
	one.id = asked - 1;
	ask_grant(_i, true);
	ck_assert(is_kept(grants[_i].puts));
	one.id = asked + 100;
	ck_assert_uint_gt(n_kept(), kept);
	die_and_resume();
	ck_assert(is_kept(grants[_i].puts));
	tear_down();
}
END_TEST

/* ---- what is short ---- */

static bool has_ended(void)
{
	int status;

	if (waitpid(daemon_.pid, &status, WNOHANG) != daemon_.pid)
		return false;
	daemon_.pid = 0;
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status), "wait status 0x%x",
		      (unsigned)status);
	return true;
}

START_TEST(who_may_have_too_few_descriptors_to_take_it_up_fails_and_loses_nothing)
{
	struct wire_extent_alloced mine = alloc(MIB, false);
	uint32_t kept = fake_store_count(&daemon_.store, NULL);
	unsigned tried = 0;
	bool took_up = false;

	survivor_kill(&daemon_);
	/* What it is passed, and a few. */
	for (unsigned n = kept + 9; !took_up; n++) {
		ck_assert_uint_lt(n, DESCRIPTORS_MAX);
		daemon_.descriptors = n;
		survivor_again(&daemon_);
		while (!took_up && !has_ended()) {
			usleep(1000);
			took_up = survivor_said(&daemon_, "took up 1 spaces and 1 sessions");
		}
		ck_assert_uint_eq(fake_store_count(&daemon_.store, NULL), kept);
		tried++;
	}
	ck_assert_uint_gt(tried, 2);
	survivor_kill(&daemon_);
	daemon_.descriptors = 0;
	survivor_again(&daemon_);
	resume();
	ck_assert_uint_eq(peer_status(&one).used, MIB);
	ck_assert(give(mine));
	tear_down();
}
END_TEST

/* ---- other programs, other spaces ---- */

START_TEST(who_calls_exec_holds_what_he_held_until_his_process_ends)
{
	static struct peer child;
	int pipe_fds[2];
	char byte;
	pid_t pid;

	ck_assert(!pipe2(pipe_fds, O_CLOEXEC));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		peer_leave_check();
		peer_open(&child, daemon_.socket);
		peer_open_space(&child, "a");
		ck_assert(peer_call(&child, WIRE_EXTENT_ALLOC,
				    &(struct wire_extent_alloc){.space = space, .size = MIB}));
		execlp("sleep", "sleep", "600", NULL);
		_exit(127);
	}
	close(pipe_fds[1]);
	ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 0); /* exec has closed it */
	close(pipe_fds[0]);
	ck_assert_uint_eq(peer_status(&one).used, MIB);
	die_and_resume();
	ck_assert_uint_eq(peer_status(&one).used, MIB);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	wait_used(0);
	tear_down();
}
END_TEST

START_TEST(another_program_of_the_process_begins_anew_after_a_restart_too)
{
	alloc(MIB, false);
	survivor_kill(&daemon_);
	survivor_again(&daemon_);
	peer_close(&one);
	peer_connect(&one, daemon_.socket);
	ck_assert(peer_call(
		&one, WIRE_HELLO,
		&(struct wire_hello){
			.protocol = 1, .layout_min = 1, .layout_max = 1, .image = IMAGE + 1}));
	ck_assert_uint_ne(one.answer.body.welcome.session, session);
	wait_used(0);
	ck_assert_uint_eq(peer_status(&one).sessions, 1);
	tear_down();
}
END_TEST

START_TEST(what_an_idle_client_has_mapped_is_nobody_elses_while_he_lives)
{
	static struct peer other;
	struct wire_extent_alloced mine = alloc(2 * MIB, true);
	uint64_t number, position = offset_position(mine.offset);
	ino_t data_file;
	char *data;

	open_window(0);
	data_file = file_of(one.fds[0]);
	data = map(one.fds[0], 4 * MIB, PROT_READ | PROT_WRITE);
	memset(data + position, 'm', 2 * MIB);
	ck_assert(hello(&other, 0));
	ck_assert(peer_call(&other, WIRE_SPACE_REMOVE,
			    &(struct wire_space_remove){.name = wire_str("a"), .force = true}));
	for (int round = 0; round < 2; round++) {
		/* With a window of the same number. */
		peer_create_space(&other, "b", 8 * MIB);
		number = peer_open_space(&other, "b");
		ck_assert_uint_ne(number, space);
		ck_assert(peer_call(
			&other, WIRE_EXTENT_ALLOC,
			&(struct wire_extent_alloc){.space = number, .size = 6 * MIB}));
		ck_assert_uint_eq(offset_window(other.answer.body.extent_alloced.offset), 0);
		ck_assert(peer_call(&other, WIRE_WINDOW_OPEN,
				    &(struct wire_window_open){.space = number, .window = 0}));
		ck_assert_uint_ne(file_of(other.fds[0]), data_file);
		memset(map(other.fds[0], 8 * MIB, PROT_READ | PROT_WRITE), 'o', 6 * MIB);
		for (uint64_t i = 0; i < 2 * MIB; i++)
			ck_assert_int_eq(data[position + i], 'm');
		ck_assert(peer_call(&other, WIRE_SPACE_CLOSE,
				    &(struct wire_space_handle){.space = number}));
		ck_assert(peer_call(&other, WIRE_SPACE_REMOVE,
				    &(struct wire_space_remove){.name = wire_str("b")}));
		peer_close(&other);
		die_and_resume();
		ck_assert(hello(&other, 0));
	}
	open_window(0);
	ck_assert_uint_eq(file_of(one.fds[0]), data_file);
	ck_assert(give(mine));
	peer_close(&other);
	tear_down();
}
END_TEST

/* ---- losses ---- */

static void expect_quarantine(const char *why)
{
	const struct stats_file *file;
	static struct peer peer;

	ck_assert(!hello(&peer, 0));
	ck_assert_uint_eq(peer.answer.fault.code, FAULT_UNAVAILABLE);
	ck_assert(wire_str_is(peer.answer.fault.which, "quarantine"));
	ck_assert_msg(memmem(peer.answer.fault.message.data, peer.answer.fault.message.size,
			     why, strlen(why)),
		      "%.*s", (int)peer.answer.fault.message.size,
		      peer.answer.fault.message.data);
	peer_close(&peer);
	file = statistics_file(daemon_.socket);
	ck_assert_ptr_nonnull(strstr(file->quarantine, why));
	munmap((void *)(uintptr_t)file, sizeof(*file));
}

/* Spoil 4 bytes of the ledger while no daemon runs; what there was is returned. */
static uint32_t spoil(uint64_t byte, uint32_t value)
{
	int fd = survivor_kept(&daemon_, "ledger");
	uint32_t was;

	ck_assert_int_eq(pread(fd, &was, sizeof(was), (off_t)byte), sizeof(was));
	ck_assert_int_eq(pwrite(fd, &value, sizeof(value), (off_t)byte), sizeof(value));
	close(fd);
	return was;
}

static void quarantined(uint64_t byte, uint32_t value, const char *why)
{
	static const char *const kept[] = {"ledger", "root-", "data-", "map-", "words-"};
	uint32_t was;

	survivor_kill(&daemon_);
	was = spoil(byte, value);
	survivor_again(&daemon_);
	expect_quarantine(why);
	survivor_end(&daemon_);
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		ck_assert_int_ge(survivor_kept(&daemon_, kept[i]), 0);
	survivor_again(&daemon_);
	expect_quarantine(why);
	survivor_kill(&daemon_);
	spoil(byte, was);
	survivor_again(&daemon_);
	resume();
	ck_assert_uint_eq(peer_status(&one).used, MIB);
}

START_TEST(a_ledger_of_another_version_is_held_and_nobody_is_served)
{
	alloc(MIB, false);
	quarantined(HEAD_LAYOUT, 0, "layout 0");
	quarantined(HEAD_LAYOUT, 99, "layout 99");
	quarantined(0, 99, "layout 0");
	tear_down();
}
END_TEST

/* Where the record of the space says how it is: three words before its limit. */
static uint64_t state_of_space(void)
{
	int fd = survivor_kept(&daemon_, "ledger");
	uint64_t word = 0, at = 0;

	for (; word != 32 * MIB; at += sizeof(word))
		ck_assert_int_eq(pread(fd, &word, sizeof(word), (off_t)at), sizeof(word));
	close(fd);
	return at - 4 * sizeof(word);
}

START_TEST(a_ledger_that_contradicts_itself_is_held_and_nobody_is_served)
{
	alloc(MIB, false);
	quarantined(state_of_space(), 99, "contradicts itself");
	tear_down();
}
END_TEST

START_TEST(a_space_whose_end_was_cut_off_goes)
{
	uint64_t state;

	alloc(MIB, true);
	ck_assert(
		peer_call(&one, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = space}));
	survivor_kill(&daemon_);
	/* As by one that died when the space was marked, and nobody had it open any more. */
	state = state_of_space();
	spoil(state, spoil(state, 0) | 2);
	survivor_again(&daemon_);
	resume();
	for (int i = 0; i < WAIT_TRIES && peer_status(&one).spaces; i++)
		usleep(10000);
	ck_assert_uint_eq(peer_status(&one).spaces, 0);
	ck_assert_uint_eq(peer_status(&one).committed, 0);
	ck_assert_uint_eq(statistics_file(daemon_.socket)->losses, 0);
	tear_down();
}
END_TEST

static void lost(const char *what)
{
	static struct peer other;

	ck_assert(hello(&other, 0));
	peer_create_space(&other, "b", 8 * MIB);
	alloc(MIB, false);
	survivor_kill(&daemon_);
	survivor_lose(&daemon_, what);
	survivor_again(&daemon_);
	peer_close(&one);
	ck_assert(!hello(&one, session));
	ck_assert_uint_eq(one.answer.fault.code, FAULT_NOT_FOUND);
	ck_assert(wire_str_is(one.answer.fault.which, "session"));
	ck_assert(survivor_said(&daemon_, "(a) is lost, with the 1048576 bytes in it"));
	ck_assert_uint_eq(statistics_file(daemon_.socket)->losses, 1);
	peer_close(&one);
	ck_assert(hello(&one, 0));
	for (int i = 0; i < WAIT_TRIES && peer_status(&one).spaces > 1; i++)
		usleep(10000);
	ck_assert_uint_eq(peer_status(&one).spaces, 1);
	ck_assert_uint_eq(row("b").limit, 8 * MIB);
	ck_assert_uint_eq(peer_status(&one).used, 0);
	ck_assert_int_eq(survivor_kept(&daemon_, what), -1);
	/* Its name is free. */
	peer_create_space(&one, "a", 8 * MIB);
	peer_close(&other);
	tear_down();
}

START_TEST(a_space_without_one_of_its_files_is_a_loss_that_is_named)
{
	static const char *const files[] = {"root-", "data-", "map-", "words-"};
	char name[KEPT_NAME_MAX];

	/* The other space has no window. */
	snprintf(name, sizeof(name), _i ? "%s" : "%s%u-", files[_i], (unsigned)space);
	lost(name);
}
END_TEST

START_TEST(without_its_ledger_all_is_lost_and_nothing_of_it_is_kept)
{
	alloc(MIB, false);
	survivor_kill(&daemon_);
	survivor_lose(&daemon_, "ledger");
	survivor_again(&daemon_);
	peer_close(&one);
	ck_assert(hello(&one, 0));
	ck_assert(survivor_said(&daemon_, "all that was kept is lost"));
	ck_assert_uint_eq(peer_status(&one).spaces, 0);
	wait_gone("data-"); /* the store is told without waiting */
	ck_assert_int_ge(survivor_kept(&daemon_, "ledger"), 0);
	tear_down();
}
END_TEST

/* ---- the region ---- */

START_TEST(the_region_stays_as_of_birth_until_nothing_is_kept)
{
	struct wire_extent_alloced mine = alloc(MIB, false);

	survivor_kill(&daemon_);
	survivor_again_with(&daemon_, "--size", "32M", "--pages", "4K", NULL);
	resume();
	ck_assert(survivor_said(&daemon_, "it stays so until"));
	ck_assert_uint_eq(peer_status(&one).region, 64 * MIB);
	ck_assert(give(mine));
	ck_assert(
		peer_call(&one, WIRE_SPACE_CLOSE, &(struct wire_space_handle){.space = space}));
	ck_assert(peer_call(&one, WIRE_SPACE_REMOVE,
			    &(struct wire_space_remove){.name = wire_str("a")}));
	ck_assert(peer_call(&one, WIRE_BYE, &(struct wire_empty){}));
	survivor_kill(&daemon_);
	survivor_again(&daemon_);
	peer_close(&one);
	ck_assert(hello(&one, 0));
	ck_assert_uint_eq(peer_status(&one).region, 32 * MIB);
	peer_create_space(&one, "a", 16 * MIB);
	survivor_kill(&daemon_);
	survivor_again(&daemon_);
	peer_close(&one);
	ck_assert(hello(&one, 0));
	ck_assert_uint_eq(row("a").limit, 16 * MIB);
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("survive");
	TCase *t = tcase_create("survive");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_test(t, a_killed_daemon_is_followed_by_one_that_knows_all_that_it_did);
	tcase_add_test(
		t, words_that_were_behind_the_ledger_are_made_true_and_no_others_are_stored);
	tcase_add_test(t, who_died_while_no_daemon_ran_leaves_what_he_shared_alone);
	tcase_add_test(t, an_idle_client_ends_with_its_process_whatever_daemon_there_is);
	tcase_add_test(t, a_space_that_was_going_goes_on_going);
	tcase_add_test(t, a_space_whose_end_was_cut_off_goes);
	tcase_add_test(t, a_space_that_nobody_had_open_takes_what_its_caches_had_kept_with_it);
	tcase_add_test(t, what_ends_well_leaves_as_much_as_what_is_killed);
	tcase_add_test(t, restarts_cost_no_descriptors);
	tcase_add_test(t, pages_that_no_record_knows_are_taken_back);
	tcase_add_loop_test(t, what_was_kept_and_not_granted_yet_is_closed_and_granted_anew, 0,
			    ARRAY_SIZE(grants));
	tcase_add_test(t,
		       who_may_have_too_few_descriptors_to_take_it_up_fails_and_loses_nothing);
	tcase_add_test(t, who_calls_exec_holds_what_he_held_until_his_process_ends);
	tcase_add_test(t, another_program_of_the_process_begins_anew_after_a_restart_too);
	tcase_add_test(t, what_an_idle_client_has_mapped_is_nobody_elses_while_he_lives);
	tcase_add_test(t, a_ledger_of_another_version_is_held_and_nobody_is_served);
	tcase_add_test(t, a_ledger_that_contradicts_itself_is_held_and_nobody_is_served);
	tcase_add_loop_test(t, a_space_without_one_of_its_files_is_a_loss_that_is_named, 0, 4);
	tcase_add_test(t, without_its_ledger_all_is_lost_and_nothing_of_it_is_kept);
	tcase_add_test(t, the_region_stays_as_of_birth_until_nothing_is_kept);
	suite_add_tcase(s, t);
	return suite_run(s);
}
