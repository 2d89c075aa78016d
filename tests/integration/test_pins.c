/*
 * Pins: what readers hold stays, and nothing else does. A reader that is stopped, words that are
 * forged, and a member that writes whatever he likes over all of his space, holes included. With "off" as
 * its argument the same without records in lanes; with "none", where readers pin nothing, without lanes.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "proto/layout.h"
#include "tests/integration/daemon.h"
#include "tests/integration/hoarder.h"
#include "tests/suite.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

enum {
	WAIT_TRIES = 2000, /* of 10 ms */
	PINNED = 8,
	PINNED_BYTES = 40 << 10,
	CHURN_BYTES = 8 << 10,
};

static struct test_daemon daemon_;
static struct varbos *vb;
static struct varbos_space *space;
static struct varbos_cache *cache;
static struct hoarder watch;
static const char *pins; /* an option of the daemon's, or NULL */
static bool apart;       /* without lanes */

static void set_up(void)
{
	struct peer peer;

	setenv("VARBOS_QUIET", "1", 1);
	test_daemon_start(&daemon_, "96M", pins, NULL);
	peer_open(&peer, daemon_.socket);
	peer_create_space(&peer, "a", 32 * MIB);
	peer_create_space(&peer, "b", 16 * MIB);
	peer_close(&peer);
	hoarder_open(&watch, daemon_.socket, "a", "c", 24 * MIB);
}

static void tear_down(void)
{
	varbos_disconnect(vb);
	vb = NULL;
	hoarder_close(&watch);
	test_daemon_stop(&daemon_);
}

static struct varbos_cache *enter(const char *name)
{
	struct varbos_cache *ret;

	ck_assert_int_eq(varbos_connect(&vb, daemon_.socket), 0);
	ck_assert_int_eq(varbos_space_open(&space, vb, name, NULL), 0);
	ck_assert_msg(!varbos_cache_open(&ret, space, "c",
					 &(struct varbos_cache_options){.capacity = 4 * MIB}),
		      "%s", varbos_error()->message);
	return ret;
}

/* Each key's value is one byte many times. */
static int put(struct varbos_cache *to, int key, size_t size)
{
	static char bytes[PINNED_BYTES];

	memset(bytes, key % 251 + 1, size);
	return varbos_cache_put(to, &key, sizeof(key), bytes, size, NULL);
}

static bool is_whole(const struct varbos_view *view, int key, size_t size)
{
	const char *bytes = view->data;
	size_t at = 0;

	while (at < view->size && bytes[at] == (char)(key % 251 + 1))
		at++;
	return at == size && view->size == size;
}

static void churn(int from, int n)
{
	for (int i = from; i < from + n; i++)
		ck_assert_msg(!put(cache, i, CHURN_BYTES), "put %d: %s", i,
			      varbos_error()->message);
}

/* ---- a barrier comes first ---- */

static struct {
	int fd;
	_Atomic uint32_t asked;
	_Atomic bool held, over;
} barriers;

/* Each membarrier of the daemon waits until it may. */
static void *answer_barriers(void *argument)
{
	struct pollfd poll_fd = {.fd = barriers.fd, .events = POLLIN};

	(void)argument;
	while (!barriers.over) {
		struct seccomp_notif asked = {};
		struct seccomp_notif_resp answer = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

		if (poll(&poll_fd, 1, 20) < 1 ||
		    ioctl(barriers.fd, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
			continue;
		barriers.asked++;
		while (barriers.held && !barriers.over)
			usleep(1000);
		answer.id = asked.id;
		ioctl(barriers.fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
	return NULL;
}

static void watch_barriers(pthread_t *ret)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	barriers.fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
				   SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	ck_assert_msg(barriers.fd >= 0, "seccomp: %s", strerror(errno));
	ck_assert_int_eq(pthread_create(ret, NULL, answer_barriers, NULL), 0);
}

START_TEST(nothing_comes_back_before_a_barrier)
{
	static char large[3 << 20]; /* in memory of its own */
	uint64_t limbo;
	pthread_t thread;
	uint32_t before;

	watch_barriers(&thread);
	set_up();
	hoarder_lease(&watch, sizeof(large) + 4096);
	before = barriers.asked;
	ck_assert_msg(hoarder_put(&watch, "large", large, sizeof(large)), "%.*s",
		      (int)watch.peer.answer.fault.message.size,
		      watch.peer.answer.fault.message.data);
	watch.size = 0; /* it is sealed by being full */
	barriers.held = true;
	ck_assert(hoarder_delete(&watch, "large"));
	do {
		ck_assert_uint_ge(hoarder_row(&watch).limbo, sizeof(large));
	} while (barriers.asked == before);
	for (int i = 0; i < 50; i++) {
		ck_assert(hoarder_put(&watch, "small", large, 100));
		ck_assert_uint_ge(hoarder_row(&watch).limbo, sizeof(large));
		usleep(1000);
	}
	barriers.held = false;
	limbo = sizeof(large);
	for (int i = 0; i < WAIT_TRIES && limbo >= sizeof(large); i++) {
		limbo = hoarder_row(&watch).limbo;
		usleep(10000);
	}
	ck_assert_uint_lt(limbo, sizeof(large));
	tear_down();
	barriers.over = true;
	pthread_join(thread, NULL);
	close(barriers.fd);
}
END_TEST

/* ---- who is stopped ---- */

/* Does the statistics file say so, too? It is as old as a beat. */
static bool is_in_statistics(pid_t pid)
{
	for (int i = 0; i < WAIT_TRIES; i++) {
		const struct stats_copy *copy = statistics(daemon_.socket);

		if (copy->n_pins == 1 && copy->pins[0].pid == (uint32_t)pid &&
		    copy->pins[0].cache == watch.cache && copy->pins[0].bytes &&
		    copy->pins[0].since_ms <= copy->now_ms && copy->pins[0].name[0])
			return true;
		usleep(10000);
	}
	return false;
}

/* Is it he, and he alone, who pins? */
static bool is_named(pid_t pid)
{
	const struct wire_cache_detail *detail = &watch.peer.answer.body.cache_detail;
	const struct wire_cache_pin_row *rows;

	ck_assert(peer_call(
		&watch.peer, WIRE_CACHE_DETAIL,
		&(struct wire_cache_handle){.space = watch.space, .cache = watch.cache}));
	rows = detail->pins.rows;
	return detail->pins.count == 1 && rows[0].pid == (uint64_t)pid && rows[0].bytes &&
	       is_in_statistics(pid);
}

/* Holds views of all keys, stops, and looks at them again. */
static void hold_and_stop(int go)
{
	struct varbos_view views[PINNED];
	int status = 0;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(go, &byte, 1) != 1)
		_exit(2);
	cache = enter("a");
	for (int i = 0; i < PINNED; i++)
		if (varbos_cache_get(cache, &i, sizeof(i), &views[i]))
			_exit(3);
	raise(SIGSTOP);
	for (int i = 0; i < PINNED; i++)
		status |= !is_whole(&views[i], i, PINNED_BYTES);
	_exit(status);
}

START_TEST(who_is_stopped_delays_what_he_reads_and_nothing_else)
{
	struct wire_cache_row row;
	uint64_t pinned = 0;
	int go[2], status;
	pid_t pid;

	set_up();
	ck_assert_int_eq(pipe(go), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		peer_leave_check();
		hold_and_stop(go[0]);
	}
	cache = enter("a");
	for (int i = 0; i < PINNED; i++)
		ck_assert_int_eq(put(cache, i, PINNED_BYTES), 0);
	ck_assert_int_eq(write(go[1], "", 1), 1);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert_msg(WIFSTOPPED(status), "0x%x", status);
	for (int i = 0; i < PINNED; i++)
		ck_assert_int_eq(varbos_cache_del(cache, &i, sizeof(i)), 0);
	for (int round = 0; round < 10; round++) {
		churn(1000 + round * 1000, 1000);
		row = hoarder_row(&watch);
		pinned = u64_max(pinned, row.pinned);
		ck_assert_uint_le(row.pinned, (uint64_t)2 * PINNED * SLICE_BYTES);
		ck_assert_uint_le(row.memory, 32 * MIB);
	}
	ck_assert_int_eq(!pinned, apart);
	/* What is pinned is all that does not come back. */
	for (int i = 0; i < WAIT_TRIES && row.limbo > row.pinned + MIB; i++) {
		churn(1000, 1);
		usleep(10000);
		row = hoarder_row(&watch);
	}
	ck_assert_uint_le(row.limbo, row.pinned + MIB);
	ck_assert_int_eq(is_named(pid), !apart);
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "the reader: 0x%x", status);
	for (int i = 0; i < WAIT_TRIES && hoarder_row(&watch).pinned; i++)
		churn(1000 + i * 100, 100);
	ck_assert_uint_eq(hoarder_row(&watch).pinned, 0);
	close(go[0]);
	close(go[1]);
	tear_down();
}
END_TEST

/* ---- who forges ---- */

/* All of its words, each a slice of its own, and other ones again and again. */
static void forge(void)
{
	struct hoarder forger;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	peer_leave_check();
	hoarder_open(&forger, daemon_.socket, "a", "c", 0);
	hoarder_lanes(&forger, 1);
	/* There is no room for more of them, nor can it be made. */
	if (forger.lanes_size >= 2 * sizeof(struct lane) ||
	    !ftruncate(forger.lanes_fd, (off_t)(2 * sizeof(struct lane))))
		_exit(2);
	for (uint64_t round = 0;; round++) {
		for (uint32_t i = 0; i < LANE_HAZARDS; i++)
			atomic_store(&forger.lanes[0].hazards[i],
				     forger.space << 44 | (i * 15 + round) % 512
								  << SLICE_SHIFT);
		usleep(100000);
	}
}

START_TEST(forged_pins_hold_what_one_lane_may_until_their_process_ends)
{
	uint64_t pinned = 0;
	int status;
	pid_t pid;

	set_up();
	cache = enter("a");
	churn(0, 1);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		forge();
	for (int round = 0; round < 400 || (!pinned && round < WAIT_TRIES); round++) {
		struct wire_cache_row row;

		churn(round * 50, 50);
		row = hoarder_row(&watch);
		pinned = u64_max(pinned, row.pinned);
		ck_assert_uint_le(row.pinned, (uint64_t)LANE_HAZARDS * SLICE_BYTES);
	}
	ck_assert_uint_gt(pinned, 0);
	ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	for (int i = 0; i < WAIT_TRIES && hoarder_row(&watch).pinned; i++)
		churn(i * 100, 100);
	ck_assert_uint_eq(hoarder_row(&watch).pinned, 0);
	tear_down();
}
END_TEST

/* Does this word of his lane keep the memory of a value that is gone? Looked at so often, or until it does. */
static bool holds(struct hoarder *reader, uint32_t word, int tries)
{
	uint64_t pinned = 0;

	ck_assert(hoarder_put(&watch, "held", "v", 1));
	atomic_store(&reader->lanes[0].hazards[word],
		     reader->space << 44 | hoarder_find(reader, "held"));
	ck_assert(hoarder_delete(&watch, "held"));
	hoarder_lease(&watch, SLICE_BYTES);
	for (int i = 0; i < tries && !pinned; i++) {
		churn(0, 200);
		pinned = hoarder_row(&watch).pinned;
	}
	atomic_store(&reader->lanes[0].hazards[word], 0);
	for (int i = 0; i < WAIT_TRIES && hoarder_row(&watch).pinned; i++)
		churn(0, 200);
	return pinned;
}

/* As many of a lane's words as the session was granted, and not one more. */
START_TEST(pins_beyond_the_quota_hold_nothing)
{
	struct varbos_view views[9];
	struct hoarder reader;
	char copy[100];

	pins = "--limits.pins=8";
	set_up();
	cache = enter("a");
	for (int i = 0; i < 9; i++)
		ck_assert_int_eq(put(cache, i, 100), 0);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(varbos_cache_get(cache, &i, sizeof(i), &views[i]), 0);
	if (!apart) {
		ck_assert_int_eq(varbos_cache_get(cache, &(int){8}, sizeof(int), &views[8]),
				 VARBOS_E_PINS);
		ck_assert_uint_eq(varbos_error()->max, 8);
	}
	ck_assert_int_eq(
		varbos_cache_copy_out(cache, &(int){8}, sizeof(int), copy, sizeof(copy), NULL),
		0);
	for (int i = 0; i < 8; i++)
		varbos_view_release(&views[i]);
	hoarder_open(&reader, daemon_.socket, "a", "c", 0);
	hoarder_lanes(&reader, 1);
	ck_assert(holds(&reader, 8, WAIT_TRIES));
	ck_assert(!holds(&reader, 9, 20));
	ck_assert(!holds(&reader, LANE_HAZARDS - 1, 20));
	ck_assert(holds(&reader, 0, WAIT_TRIES));
	hoarder_close(&reader);
	tear_down();
	pins = NULL;
}
END_TEST

/* ---- who pays ---- */

enum { VIEWS = 8, VIEW_BYTES = 200 << 10 };

static struct wire_client_row this_client(void)
{
	const struct wire_client_row *rows;

	ck_assert(peer_call(&watch.peer, WIRE_CLIENT_LIST, &(struct wire_page_after){}));
	rows = watch.peer.answer.body.client_rows.rows.rows;
	for (uint32_t i = 0; i < watch.peer.answer.body.client_rows.rows.count; i++)
		if (rows[i].pid == (uint64_t)getpid() && wire_str_is(rows[i].name, "test_pins"))
			return rows[i];
	ck_abort_msg("this process is no client");
}

/* Of values that are cleared behind the views, what their segments' slices come to. */
static struct wire_client_row wait_until_pinned(uint64_t least)
{
	struct wire_client_row row = this_client();

	for (int i = 0; row.pinned < least && i < WAIT_TRIES; i++) {
		usleep(10000);
		row = this_client();
	}
	ck_assert_uint_ge(row.pinned, least);
	return row;
}

START_TEST(what_views_keep_counts_against_who_holds_them_until_he_lets_go)
{
	static char value[VIEW_BYTES];
	struct varbos_view views[VIEWS];
	struct wire_client_row row;
	struct peer peer;
	uint64_t size;
	void *memory;

	set_up();
	peer_open(&peer, daemon_.socket);
	ck_assert(peer_call(&peer, WIRE_SPACE_CREATE,
			    &(struct wire_space_create){.name = wire_str("p"),
							.limit = 32 * MIB,
							.client_limit = 8 * MIB}));
	peer_close(&peer);
	cache = enter("p");
	for (int key = 0; key < VIEWS; key++) {
		ck_assert_int_eq(
			varbos_cache_put(cache, &key, sizeof(key), value, VIEW_BYTES, NULL), 0);
		ck_assert_int_eq(varbos_cache_get(cache, &key, sizeof(key), &views[key]), 0);
	}
	ck_assert_uint_eq(this_client().pinned, 0); /* what lives its space pays */
	ck_assert_int_eq(varbos_cache_clear(cache), 0);
	row = wait_until_pinned(VIEWS / 2 * VIEW_BYTES);
	ck_assert_uint_eq(row.pinned % (64 * KIB), 0);

	size = 8 * MIB - row.used - 128 * KIB;
	ck_assert_uint_gt(row.pinned, 256 * KIB);
	ck_assert_ptr_null(varbos_alloc(space, size));
	ck_assert_int_eq(varbos_error()->code, VARBOS_E_BUDGET);
	ck_assert_str_eq(varbos_error()->which, "client");
	ck_assert_uint_ge(varbos_error()->pinned, VIEWS / 2 * VIEW_BYTES);
	ck_assert(strstr(varbos_error()->message, "whose views keep"));

	/* Let go: before he is refused, somebody looks whether he still holds it. */
	for (int key = 0; key < VIEWS; key++)
		varbos_view_release(&views[key]);
	memory = varbos_alloc(space, size);
	ck_assert_msg(memory, "%s", varbos_error()->message);
	ck_assert_uint_eq(this_client().pinned, 0);
	varbos_free(space, memory);
	tear_down();
}
END_TEST

/* ---- who spoils ---- */

/* All of the space's first window, as it is now, again and again: garbage and holes. */
static void vandalize(void)
{
	struct peer peer;
	uint64_t handle, size, word = 88172645463325252;
	uint64_t *data;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	peer_leave_check();
	peer_open(&peer, daemon_.socket);
	handle = peer_open_space(&peer, "a");
	if (!peer_call(&peer, WIRE_WINDOW_OPEN,
		       &(struct wire_window_open){.space = handle, .window = 0}))
		_exit(2);
	size = peer.answer.body.window_opened.size;
	data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, peer.fds[0], 0);
	if (data == MAP_FAILED)
		_exit(3);
	for (uint64_t round = 0;; round++) {
		for (uint64_t i = 0; i < size / 8; i++) {
			word ^= word << 13;
			word ^= word >> 7;
			word ^= word << 17;
			data[i] = round % 2 ? word : word % 4096;
		}
		if (fallocate(peer.fds[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(word % 64 * 64 * KIB), 1 << 20) < 0 &&
		    errno != EPERM)
			_exit(4);
	}
}

/* In the space that somebody spoils: whatever comes, it comes to an end. */
static void use_what_is_spoiled(int n)
{
	struct varbos_view view;
	volatile char sum = 0;

	for (int i = 0; i < n; i++) {
		int key = i % 600;

		ck_assert_msg(!put(cache, key, CHURN_BYTES), "put: %s",
			      varbos_error()->message);
		key = i * 7 % 600;
		if (varbos_cache_get(cache, &key, sizeof(key), &view))
			continue;
		for (size_t at = 0; at < view.size; at += 64)
			sum = (char)(sum + ((const char *)view.data)[at]);
		varbos_view_release(&view);
	}
}

START_TEST(who_spoils_all_of_a_space_harms_no_other)
{
	struct varbos_cache *other;
	struct varbos_space *b;
	struct varbos_view view;
	int status;
	pid_t pid;

	set_up();
	cache = enter("a");
	ck_assert_int_eq(put(cache, 0, CHURN_BYTES), 0); /* there is a window */
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		vandalize();
	ck_assert_int_eq(varbos_space_open(&b, vb, "b", NULL), 0);
	ck_assert_int_eq(varbos_cache_open(&other, b, "d",
					   &(struct varbos_cache_options){.capacity = 8 * MIB}),
			 0);
	for (int round = 0; round < 20; round++) {
		use_what_is_spoiled(300);
		for (int key = 0; key < 200; key++) {
			if (round % 4 == 0)
				ck_assert_int_eq(put(other, key + round, CHURN_BYTES), 0);
			if (varbos_cache_get(other, &(int){key + round / 4 * 4}, sizeof(int),
					     &view))
				ck_abort_msg("key %d of the other space is gone", key);
			ck_assert(is_whole(&view, key + round / 4 * 4, CHURN_BYTES));
			varbos_view_release(&view);
		}
		ck_assert_msg(!waitpid(pid, &status, WNOHANG), "the vandal: 0x%x", status);
	}
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	/* And here as on the first day. */
	ck_assert_int_eq(varbos_cache_clear(cache), 0);
	for (int key = 0; key < 500; key++)
		ck_assert_int_eq(put(cache, key, CHURN_BYTES), 0);
	for (int key = 0; key < 500; key++) {
		ck_assert_int_eq(varbos_cache_get(cache, &key, sizeof(key), &view), 0);
		ck_assert(is_whole(&view, key, CHURN_BYTES));
		varbos_view_release(&view);
	}
	ck_assert_uint_le(hoarder_row(&watch).live, 24 * MIB);
	tear_down();
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("pins");
	TCase *tests = tcase_create("pins");

	apart = argc > 1 && !strcmp(argv[1], "none");
	if (argc > 1)
		setenv("VARBOS_LANE", argv[1], 1);
	tcase_set_timeout(tests, 0);
	tcase_add_test(tests, nothing_comes_back_before_a_barrier);
	tcase_add_test(tests, who_is_stopped_delays_what_he_reads_and_nothing_else);
	tcase_add_test(tests, forged_pins_hold_what_one_lane_may_until_their_process_ends);
	tcase_add_test(tests, pins_beyond_the_quota_hold_nothing);
	if (!apart) /* there they keep nothing */
		tcase_add_test(tests,
			       what_views_keep_counts_against_who_holds_them_until_he_lets_go);
	tcase_add_test(tests, who_spoils_all_of_a_space_harms_no_other);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
