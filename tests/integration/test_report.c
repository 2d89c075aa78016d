/*
 * What sessions say that their memory is in blocks: a real client's is shown, and what a hostile
 * one says is nobody's trouble.
 */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <varbos/varbos.h>

#include "base/base.h"
#include "proto/layout.h"
#include "proto/size_class.h"
#include "tests/integration/daemon.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum { BLOCKS = 1000, SIZES = 3, ROWS_MAX = 2048, WAIT_TRIES = 2000 };

static const size_t sizes[SIZES] = {100, 1000, 5000};

static struct test_daemon daemon_;
static struct peer watcher;
static uint64_t space;

/* ---- a process with the library ---- */

static struct {
	pid_t pid;
	int ask, told;
} client;

static void client_act(struct varbos_space *opened, char command)
{
	static void *blocks[SIZES][BLOCKS];
	struct varbos_usage usage;

	for (int i = 0; i < SIZES && command != 't'; i++)
		for (int k = 0; k < BLOCKS; k++)
			if (command == 'a')
				blocks[i][k] = varbos_alloc(opened, sizes[i]);
			else if (command == 's')
				blocks[i][k] = varbos_alloc_shared(opened, sizes[i]);
			else if (varbos_free(opened, blocks[i][k]))
				_exit(1);
	if (command == 't' && varbos_trim(opened))
		_exit(2);
	if (varbos_space_usage(opened, &usage))
		_exit(3);
}

static void client_run(int ask, int told)
{
	struct varbos_space *opened;
	struct varbos *vb;
	char command;

	if (varbos_connect(&vb, daemon_.socket) || varbos_space_open(&opened, vb, "a", NULL))
		_exit(4);
	while (read(ask, &command, 1) == 1) {
		client_act(opened, command);
		if (write(told, &command, 1) != 1)
			_exit(5);
	}
	_exit(0);
}

static void client_start(void)
{
	int ask[2], told[2];

	ck_assert(!pipe(ask) && !pipe(told));
	client.pid = fork();
	ck_assert_int_ge(client.pid, 0);
	if (!client.pid) {
		peer_leave_check();
		close(ask[1]);
		close(told[0]);
		client_run(ask[0], told[1]);
	}
	close(ask[0]);
	close(told[1]);
	client.ask = ask[1];
	client.told = told[0];
}

static void client_do(char command)
{
	char answer;

	ck_assert_int_eq(write(client.ask, &command, 1), 1);
	ck_assert_int_eq(read(client.told, &answer, 1), 1);
}

static void client_kill(void)
{
	if (!client.pid)
		return;
	kill(client.pid, SIGKILL);
	waitpid(client.pid, NULL, 0);
	close(client.ask);
	close(client.told);
	client.pid = 0;
}

static void set_up(void)
{
	test_daemon_start(&daemon_, "64M", NULL);
	peer_open(&watcher, daemon_.socket);
	space = peer_create_space(&watcher, "a", 32 * MIB);
}

static void tear_down(void)
{
	client_kill();
	peer_close(&watcher);
	test_daemon_stop(&daemon_);
}

/* ---- what is shown ---- */

struct shown {
	char kind[16];
	uint64_t session, size, leased, live, cached, blocks;
};

static struct shown shown[ROWS_MAX];
static size_t n_shown;

/* All pages; and of each, that it adds up. */
static void look(void)
{
	struct wire_page_after page = {};
	struct shown *all = NULL;

	n_shown = 0;
	do {
		const struct wire_block_row *rows;

		ck_assert(peer_call(&watcher, WIRE_CLIENT_BLOCKS, &page));
		rows = watcher.answer.body.block_rows.rows.rows;
		for (uint32_t i = 0; i < watcher.answer.body.block_rows.rows.count; i++) {
			struct shown *to = &shown[n_shown++];

			ck_assert_uint_lt(n_shown, ROWS_MAX);
			*to = (struct shown){
				.session = rows[i].session,
				.size = rows[i].size,
				.leased = rows[i].leased,
				.live = rows[i].live,
				.cached = rows[i].cached,
				.blocks = rows[i].blocks,
			};
			wire_str_copy(to->kind, sizeof(to->kind), rows[i].kind);
			ck_assert_uint_eq(to->leased, to->live + to->cached);
		}
		page.after = watcher.answer.body.block_rows.next;
	} while (page.after);

	for (size_t i = 0; i < n_shown; i++) {
		if (!strcmp(shown[i].kind, "all")) {
			if (all)
				ck_assert_uint_eq(all->leased + all->live, 0);
			all = &shown[i];
			ck_assert_uint_le(all->leased, 32 * MIB);
			for (size_t k = i + 1; k < n_shown && strcmp(shown[k].kind, "all");
			     k++) {
				all->leased -= shown[k].leased;
				all->live -= shown[k].live;
			}
			ck_assert_uint_eq(all->leased, 0);
			ck_assert_uint_eq(all->live, 0);
		}
	}
}

static struct shown find(const char *kind, uint64_t size)
{
	for (size_t i = 0; i < n_shown; i++)
		if (!strcmp(shown[i].kind, kind) && shown[i].size == size)
			return shown[i];
	return (struct shown){};
}

static uint64_t size_of(size_t size)
{
	return size_classes[class_of(&class_spaced, size)].size;
}

static void expect_blocks(const char *kind, uint64_t blocks)
{
	look();
	for (int i = 0; i < SIZES; i++) {
		struct shown row = find(kind, size_of(sizes[i]));

		ck_assert_uint_eq(row.blocks, blocks);
		ck_assert_uint_eq(row.live, blocks * size_of(sizes[i]));
		ck_assert_uint_ge(row.leased, row.live);
	}
}

START_TEST(blocks_of_a_client_are_shown_by_class)
{
	client_start();
	client_do('a');
	expect_blocks("private", BLOCKS);
	client_do('f');
	expect_blocks("private", 0);
	ck_assert_uint_gt(find("private", size_of(100)).cached, 0);
	client_do('t');
	look();
	ck_assert_uint_eq(find("private", size_of(100)).leased, 0);
	client_do('s');
	expect_blocks("shared", BLOCKS);
}
END_TEST

START_TEST(a_client_that_is_stopped_shows_what_it_said_last_and_a_dead_one_nothing)
{
	client_start();
	client_do('a');
	ck_assert(!kill(client.pid, SIGSTOP));
	ck_assert_int_eq(waitpid(client.pid, NULL, WUNTRACED), client.pid);
	expect_blocks("private", BLOCKS);
	client_kill();
	for (int i = 0; i < WAIT_TRIES; i++) {
		look();
		if (!find("private", size_of(100)).leased)
			return;
		usleep(10000);
	}
	ck_abort_msg("what a dead client said is still shown");
}
END_TEST

/* ---- what a hostile client says ---- */

static struct return_ring *ring;
static struct peer hostile;

static void hostile_open(uint64_t leases)
{
	peer_open(&hostile, daemon_.socket);
	space = peer_open_space(&hostile, "a");
	ck_assert(peer_call(&hostile, WIRE_RETURNS_OPEN, &(struct wire_empty){}));
	ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED, hostile.fds[0], 0);
	ck_assert_ptr_ne(ring, MAP_FAILED);
	ck_assert(peer_call(&hostile, WIRE_EXTENT_ALLOC,
			    &(struct wire_extent_alloc){.space = space, .size = leases}));
}

static void hostile_close(void)
{
	munmap(ring, sizeof(*ring));
	peer_close(&hostile);
}

static void say(uint32_t i, struct report_key key, uint64_t slices, uint64_t live)
{
	ring->report.rows[i].key = report_key_pack(key);
	ring->report.rows[i].slices = slices;
	ring->report.rows[i].live = live;
	if (ring->report.used <= i)
		ring->report.used = i + 1;
	ring->report.turn++;
}

START_TEST(nobody_says_more_than_he_has)
{
	struct report_key key = {.space = (uint32_t)space, .class_plus_1 = 1};

	hostile_open(MIB);
	say(0, key, 4, 100);
	say(1, key, UINT64_MAX, UINT64_MAX); /* the same once more */
	key.shared = true;
	say(2, key, 1000, 5);
	key.class_plus_1 = 0;
	say(3, key, UINT64_MAX / 2, 7);
	key.class_plus_1 = 0xffff;
	say(4, key, 1, 1);
	key.space = 4000000;
	say(5, key, 1, 1);
	look();
	ck_assert_uint_eq(find("private", 64).leased, MIB);
	ck_assert_uint_eq(find("shared", 64).leased, 0);
	ck_assert_uint_eq(find("extents", 0).leased, 0);
	peer_status(&watcher);
	ck_assert(peer_call(&watcher, WIRE_CLIENT_LIST, &(struct wire_page_after){}));
	for (uint32_t i = 0; i < watcher.answer.body.client_rows.rows.count; i++) {
		const struct wire_client_row *rows = watcher.answer.body.client_rows.rows.rows;

		ck_assert_uint_le(rows[i].cached, rows[i].used);
	}
	hostile_close();
}
END_TEST

START_TEST(garbage_in_a_report_harms_nobody)
{
	uint64_t state = 0x9e3779b97f4a7c15;

	hostile_open(4 * MIB);
	for (int i = 0; i < 300; i++) {
		uint64_t *words = (uint64_t *)(void *)&ring->report;

		for (size_t k = 0; k < sizeof(ring->report) / sizeof(*words); k++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			words[k] = state >> (state % 64);
			/* Often enough something that could be. */
			if (k > 4 && (k - 4) % 3 == 0 && i % 2)
				words[k] = space << 32 | (state & 0x1003f);
		}
		look();
		peer_status(&watcher);
	}
	memset((void *)&ring->report, 0xff, sizeof(ring->report));
	look();
	ck_assert_int_eq(ftruncate(hostile.fds[0], 0), -1);
	look();
	/* As far as there can be rows, they count. */
	memset((void *)&ring->report, 0, sizeof(ring->report));
	say(0, (struct report_key){.space = (uint32_t)space, .class_plus_1 = 1}, 4, 100);
	ring->report.used = UINT64_MAX;
	look();
	ck_assert_uint_eq(find("private", 64).blocks, 100);
	ck_assert_uint_eq(find("private", 64).leased, 4 * SLICE_BYTES);
	hostile_close();
}
END_TEST

/* As many rows as there can be, with names as long as can be. */
START_TEST(more_than_a_page_holds_is_all_shown)
{
	enum { PEERS = 50, SPACES = 4, FULL = 2 };
	static struct peer peers[PEERS];
	size_t all = 0, classes = 0;
	char name[SPACE_NAME_MAX + 1];
	uint64_t handles[SPACES];

	for (uint32_t i = 0; i < SPACES; i++) {
		memset(name, (int)('b' + i), SPACE_NAME_MAX);
		name[SPACE_NAME_MAX] = '\0';
		handles[i] = peer_create_space(&watcher, name, 8 * MIB);
	}
	for (uint32_t i = 0; i < PEERS; i++) {
		peer_open(&peers[i], daemon_.socket);
		for (uint32_t k = 0; k < SPACES; k++) {
			memset(name, (int)('b' + k), SPACE_NAME_MAX);
			ck_assert_uint_eq(peer_open_space(&peers[i], name), handles[k]);
		}
	}
	for (uint32_t i = 0; i < FULL; i++) {
		struct report_key key = {.space = (uint32_t)handles[i]};

		ck_assert(peer_call(
			&peers[i], WIRE_EXTENT_ALLOC,
			&(struct wire_extent_alloc){.space = handles[i], .size = 7 * MIB}));
		ck_assert(peer_call(&peers[i], WIRE_RETURNS_OPEN, &(struct wire_empty){}));
		ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED,
			    peers[i].fds[0], 0);
		ck_assert_ptr_ne(ring, MAP_FAILED);
		for (uint32_t k = 0; k < 2 * CLASSES; k++) {
			key.shared = k >= CLASSES;
			key.class_plus_1 = 1 + k % CLASSES;
			say(k, key, 1, UINT64_MAX);
		}
		munmap(ring, sizeof(*ring));
	}
	look();
	for (size_t i = 0; i < n_shown; i++) {
		all += !strcmp(shown[i].kind, "all");
		classes += shown[i].size > 0;
	}
	ck_assert_uint_eq(all, PEERS * SPACES);
	ck_assert_uint_eq(classes, FULL * 2 * CLASSES);
	for (uint32_t i = 0; i < PEERS; i++)
		peer_close(&peers[i]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("report");
	TCase *t = tcase_create("report");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, blocks_of_a_client_are_shown_by_class);
	tcase_add_test(t,
		       a_client_that_is_stopped_shows_what_it_said_last_and_a_dead_one_nothing);
	tcase_add_test(t, nobody_says_more_than_he_has);
	tcase_add_test(t, garbage_in_a_report_harms_nobody);
	tcase_add_test(t, more_than_a_page_holds_is_all_shown);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
