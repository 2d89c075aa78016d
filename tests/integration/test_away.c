/*
 * A daemon that goes away and comes back is no event: what was asked is asked again, as it was, and who
 * waits waits no longer than was set. One that has lost the session, or lies, is the end of it.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "client/connection.h"
#include "client/space.h"
#include "tests/integration/fake_daemon.h"
#include "tests/suite.h"

enum { EXTENT = 5 << SLICE_SHIFT, THREADS = 8, CLIENTS = 100, NEVER_MS = 8000, DEATHS = 20 };

static struct fake_daemon fake;
static struct varbos *vb;
static struct varbos_space *space;
static unsigned fds;

static void set_up(void)
{
	fds = fds_open();
	fake_daemon_start(&fake, LIE_NONE);
	ck_assert_int_eq(varbos_connect(&vb, fake.socket), 0);
	ck_assert_int_eq(varbos_space_open(&space, vb, "s", NULL), 0);
	varbos_set_timeout(vb, NEVER_MS);
	varbos_set_reconnect(vb, NEVER_MS);
}

/* Of what is waited for: nothing is left open, whatever has happened. */
static void tear_down(void)
{
	varbos_disconnect(vb);
	fake_daemon_stop(&fake);
	ck_assert_uint_eq(fds_open(), fds);
}

/* It dies at the next request of that kind, if it has not died yet. */
static void die_at(enum death death, int method)
{
	fake.death_of = method;
	fake.death = death;
}

/* It is gone now, and stays so. */
static void go_away(void)
{
	uint32_t deaths = fake.deaths;

	fake.absent = true;
	varbos_set_reconnect(vb, 0);
	die_at(DEATH_READ, WIRE_PING);
	ck_assert_int_eq(varbos_ping(vb, NULL), VARBOS_E_UNAVAILABLE);
	while (fake.deaths == deaths)
		usleep(1000);
	varbos_set_reconnect(vb, NEVER_MS);
}

static unsigned heard(int method, const struct heard *ret[2])
{
	unsigned n = 0;

	for (uint32_t i = 0; i < fake.n_heard; i++)
		if (fake.heard[i].method == method) {
			if (n < 2)
				ret[n] = &fake.heard[i];
			n++;
		}
	return n;
}

static _Atomic bool is_waited_for;

/* And in the end though nobody has begun to wait for it. */
static void *come_back_later(void *unused)
{
	const uint64_t end_ns = clock_ns() + 3000000000;

	while (clock_ns() < end_ns && !is_waited_for)
		usleep(10000);
	usleep(50000);
	fake.absent = false;
	return unused;
}

/* ---- asked again ---- */

START_TEST(what_was_asked_is_asked_again_as_it_was)
{
	static const unsigned times[] = {
		[DEATH_UNREAD] = 1, [DEATH_READ] = 2, [DEATH_DONE] = 2, [DEATH_ANSWERED] = 1};
	const struct heard *calls[2] = {};
	char *memory;

	die_at((enum death)_i, WIRE_EXTENT_ALLOC);
	memory = varbos_alloc(space, EXTENT);
	ck_assert_msg(memory != NULL, "%s", varbos_error()->message);
	memset(memory, 1, EXTENT);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_uint_eq(fake.deaths, 1);
	ck_assert_uint_eq(heard(WIRE_EXTENT_ALLOC, calls), times[_i]);
	if (times[_i] == 2) {
		ck_assert_uint_eq(calls[0]->id, calls[1]->id);
		ck_assert_int_eq(calls[0]->size, calls[1]->size);
		ck_assert_mem_eq(calls[0]->bytes, calls[1]->bytes, (size_t)calls[0]->size);
	}
	ck_assert_uint_eq(fake.tag_next, 2); /* done once */
	ck_assert_uint_eq(fake.hellos, 2);
}
END_TEST

START_TEST(requests_are_numbered_by_their_places)
{
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	for (uint32_t i = 1; i < fake.n_heard; i++)
		ck_assert_uint_gt(fake.heard[i].id / WIRE_INFLIGHT_MAX,
				  fake.heard[i - 1].id / WIRE_INFLIGHT_MAX);
	ck_assert_uint_eq(fake.heard[0].id % WIRE_INFLIGHT_MAX, 0);
}
END_TEST

/* Each may have two slices of the daemon's 32 for a while: what it frees is told when another is there. */
static void *churn(void *stop)
{
	char *memory;

	while (!*(_Atomic bool *)stop) {
		memory = varbos_alloc(space, SLICE_BYTES / 2 + 1);
		if (!memory)
			return (void *)varbos_error()->message;
		memset(memory, 'c', SLICE_BYTES / 2 + 1);
		if (varbos_ping(vb, NULL) || varbos_free(space, memory))
			return (void *)varbos_error()->message;
	}
	return NULL;
}

START_TEST(threads_whose_calls_are_under_way_all_get_their_answers)
{
	pthread_t threads[THREADS];
	_Atomic bool stop = false;
	const char *why;

	varbos_set_timeout(vb, 4 * NEVER_MS);
	varbos_set_reconnect(vb, 4 * NEVER_MS);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, &stop), 0);
	while (fake.deaths < DEATHS) {
		die_at((enum death)(DEATH_UNREAD + fake.deaths % DEATH_ANSWERED),
		       WIRE_METHODS_N);
		usleep(2000);
	}
	stop = true;
	for (int i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], (void **)&why), 0);
		ck_assert_msg(!why, "%s", why);
	}
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
	fake.death = DEATH_NONE;
}
END_TEST

static struct call *ask_extent(void)
{
	const struct wire_extent_alloc request = {.space = space->handle, .size = SLICE_BYTES};

	return call_ask(&vb->calls, WIRE_EXTENT_ALLOC, &request);
}

/* What was put while there was no connection has woken nobody. */
START_TEST(who_has_lanes_wakes_the_daemon_behind_hello)
{
	go_away();
	fake.absent = false;
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_uint_eq(fake.wakes, 0); /* there are none */
	vb->calls.wakes = true;
	go_away();
	fake.absent = false;
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_uint_eq(fake.wakes, 1);
}
END_TEST

START_TEST(what_is_asked_ahead_is_asked_again)
{
	struct call *call;

	die_at(DEATH_READ, WIRE_EXTENT_ALLOC);
	call = ask_extent();
	ck_assert_ptr_nonnull(call);
	ck_assert_int_eq(call_collect(&call, 0), 0);
	call_end(call);
	go_away();
	call = ask_extent();
	ck_assert_ptr_nonnull(call);
	fake.absent = false;
	ck_assert_int_eq(call_collect(&call, 0), 0);
	ck_assert_uint_eq(call->message.body.extent_alloced.size, SLICE_BYTES);
	call_end(call);
}
END_TEST

static void expect_soon(const _Atomic uint32_t *counter, uint32_t value)
{
	for (int i = 0; i < 1500 && *counter != value; i++)
		usleep(10000);
	ck_assert_uint_eq(*counter, value);
}

START_TEST(what_nobody_waits_for_any_more_is_asked_again_and_given_back)
{
	fake.lie = LIE_SILENT;
	varbos_set_timeout(vb, 20);
	ck_assert_ptr_null(varbos_alloc(space, EXTENT));
	ck_assert_int_eq(varbos_error()->code, VARBOS_E_TIMEOUT);
	varbos_set_timeout(vb, NEVER_MS);
	fake.lie = LIE_NONE;
	go_away();
	fake.absent = false;
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	expect_soon(&fake.frees, 1);
}
END_TEST

/* ---- told one way ---- */

START_TEST(a_free_is_told_again_and_refused_to_nobody)
{
	const struct heard *notes[2] = {};
	char *memory = varbos_alloc(space, EXTENT);

	die_at((enum death)_i, WIRE_EXTENT_FREE);
	ck_assert_int_eq(varbos_free(space, memory), 0);
	while (!fake.deaths)
		usleep(1000);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_uint_eq(fake.frees, 1);
	ck_assert_uint_eq(heard(WIRE_EXTENT_FREE, notes), _i == DEATH_UNREAD ? 1 : 2);
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
	/* What an answer has followed is not told any more. */
	go_away();
	fake.absent = false;
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_uint_eq(heard(WIRE_EXTENT_FREE, notes), _i == DEATH_UNREAD ? 1 : 2);
}
END_TEST

START_TEST(what_is_freed_meanwhile_is_told_when_the_daemon_is_back)
{
	char *first = varbos_alloc(space, EXTENT), *second = varbos_alloc(space, EXTENT);

	go_away();
	ck_assert_int_eq(varbos_free(space, first), 0); /* waits for nobody */
	ck_assert_int_eq(varbos_free(space, second), 0);
	ck_assert_int_eq(varbos_free(space, second), VARBOS_E_REFERENCE);
	ck_assert_uint_eq(fake.frees, 0);
	fake.absent = false;
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_uint_eq(fake.frees, 2);
	ck_assert_ptr_nonnull(varbos_alloc(space, EXTENT));
}
END_TEST

START_TEST(notes_beyond_what_is_kept_wait_and_then_say_why_not)
{
	const struct wire_extent_free note = {
		.space = space->handle, .offset = 0, .tag = 9999, .maybe = true};
	unsigned n = 0;

	go_away();
	varbos_set_reconnect(vb, 30);
	while (!call_note(&vb->calls, WIRE_EXTENT_FREE, &note))
		ck_assert_uint_le(++n, OUTBOX_NOTES);
	ck_assert_uint_eq(n, OUTBOX_NOTES);
	ck_assert_int_eq(varbos_error()->code, VARBOS_E_UNAVAILABLE);
	varbos_set_reconnect(vb, NEVER_MS);
	fake.absent = false;
	for (unsigned i = 0; i < 3 * OUTBOX_NOTES; i++)
		ck_assert_int_eq(call_note(&vb->calls, WIRE_EXTENT_FREE, &note), 0);
}
END_TEST

START_TEST(a_space_that_was_closed_meanwhile_is_closed_before_it_is_opened_again)
{
	go_away();
	varbos_set_reconnect(vb, 30);
	varbos_space_close(space);
	ck_assert_uint_eq(fake.closes, 0);
	varbos_set_reconnect(vb, NEVER_MS);
	fake.absent = false;
	ck_assert_int_eq(varbos_space_open(&space, vb, "s", NULL), 0);
	ck_assert_uint_eq(fake.closes, 1);
}
END_TEST

/* ---- how long ---- */

START_TEST(who_waits_waits_as_long_as_was_set_and_later_calls_try_again)
{
	char *memory = varbos_alloc(space, EXTENT);
	pthread_t thread;

	strcpy(memory, "mine");
	go_away();
	is_waited_for = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, come_back_later, NULL), 0);
	varbos_set_reconnect(vb, 50);
	ck_assert_int_eq(varbos_ping(vb, NULL), VARBOS_E_UNAVAILABLE);
	ck_assert_str_eq(varbos_error()->which, "socket");
	ck_assert_int_eq(varbos_error()->system_errno, ENOENT);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "is away"));
	ck_assert_ptr_null(varbos_alloc(space, EXTENT));
	ck_assert_str_eq(memory, "mine");
	ck_assert_ptr_eq(varbos_ref_get(space, varbos_ref_of(space, memory)), memory);
	varbos_set_reconnect(vb, NEVER_MS);
	is_waited_for = true;
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(who_does_not_wait_finds_it_back_all_the_same)
{
	int r = VARBOS_E_UNAVAILABLE;

	go_away();
	varbos_set_reconnect(vb, 0);
	ck_assert_int_eq(varbos_ping(vb, NULL), VARBOS_E_UNAVAILABLE);
	fake.absent = false;
	for (int i = 0; i < 2000 && r; i++) {
		usleep(5000);
		r = varbos_ping(vb, NULL);
	}
	ck_assert_int_eq(r, 0);
}
END_TEST

START_TEST(what_kills_the_daemon_each_time_is_not_asked_for_ever)
{
	struct varbos_space_info *infos;
	uint32_t deaths;
	int ms = 50;
	size_t n;

	fake.deadly = true;
	die_at(DEATH_READ, WIRE_SPACE_LIST);
	/* On a busy machine it may not be asked again as soon as that. */
	do {
		deaths = fake.deaths;
		varbos_set_reconnect(vb, ms *= 4);
		ck_assert_int_eq(varbos_space_list(vb, &infos, &n), VARBOS_E_UNAVAILABLE);
	} while (fake.deaths < deaths + 2 && ms < NEVER_MS);
	ck_assert_uint_ge(fake.deaths, deaths + 2);
	/* Nor for ever by those who come later. */
	varbos_set_reconnect(vb, NEVER_MS);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	fake.deadly = false;
	fake.death = DEATH_NONE;
}
END_TEST

START_TEST(disconnecting_waits_no_longer_either)
{
	go_away();
	varbos_set_reconnect(vb, 30); /* tear_down() */
}
END_TEST

static void let_be(void)
{
	fake.absent = false;
}

/* ---- who answers ---- */

static const struct {
	const char *name;
	enum lie lie;
	enum varbos_code code;
	const char *which;
	bool for_good;
} returns[] = {
	{"the session is gone", LIE_SESSION_GONE, VARBOS_E_UNAVAILABLE, "session", true},
	{"an older daemon, that takes another", LIE_SESSION_NEW, VARBOS_E_UNAVAILABLE,
	 "session", true},
	{"an older daemon, that refuses", LIE_SESSION_UNHEARD, VARBOS_E_UNAVAILABLE, "session",
	 true},
	{"another session", LIE_SESSION_OTHER, VARBOS_E_PROTOCOL, "welcome", true},
	{"another layout", LIE_SESSION_LAYOUT, VARBOS_E_PROTOCOL, "welcome", true},
	{"a descriptor", LIE_SESSION_FDS, VARBOS_E_PROTOCOL, "welcome", true},
	{"garbage", LIE_GARBAGE, VARBOS_E_PROTOCOL, "welcome", true},
	{"another shape", LIE_OTHER_SHAPE, VARBOS_E_PROTOCOL, "welcome", true},
	{"not now", LIE_SESSION_BUSY, VARBOS_E_UNAVAILABLE, "quarantine", false},
	{"silence", LIE_SILENT, VARBOS_E_UNAVAILABLE, "socket", false},
	{"closing", LIE_EMPTY, VARBOS_E_UNAVAILABLE, "socket", false},
};

START_TEST(who_comes_back_has_the_session_or_is_no_daemon_of_ours)
{
	char *memory = varbos_alloc(space, EXTENT);

	strcpy(memory, "mine");
	go_away();
	fake.lie = returns[_i].lie;
	varbos_set_reconnect(vb, returns[_i].for_good ? NEVER_MS : 100);
	vb->calls.resumption.policy.timeout_ms = 200; /* what has no answer is asked again */
	fake.absent = false;
	ck_assert_int_eq(varbos_ping(vb, NULL), (int)returns[_i].code);
	ck_assert_str_eq(varbos_error()->which, returns[_i].which);
	ck_assert_ptr_nonnull(strstr(varbos_error()->message, "varbos_ping: "));
	fake.lie = LIE_NONE;
	varbos_set_reconnect(vb, NEVER_MS);
	ck_assert_int_eq(varbos_ping(vb, NULL),
			 returns[_i].for_good ? (int)returns[_i].code : 0);
	ck_assert_str_eq(memory, "mine");
	ck_assert_ptr_eq(varbos_ref_get(space, varbos_ref_of(space, memory)), memory);
}
END_TEST

START_TEST(another_uid_in_its_place_gets_no_byte)
{
	struct socket_policy trusted = vb->calls.resumption.policy;
	uint32_t hellos = fake.hellos;

	go_away();
	vb->calls.resumption.policy =
		(struct socket_policy){.trusted = {12345}, .n_trusted = 1};
	fake.absent = false;
	varbos_set_reconnect(vb, 100);
	ck_assert_int_eq(varbos_ping(vb, NULL), VARBOS_E_UNTRUSTED);
	ck_assert_str_eq(varbos_error()->which, "uid");
	ck_assert_uint_eq(fake.hellos, hellos);
	vb->calls.resumption.policy = trusted;
	varbos_set_reconnect(vb, NEVER_MS);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
}
END_TEST

/* ---- processes ---- */

START_TEST(a_child_of_meanwhile_waits_for_the_daemon_and_is_a_session_of_its_own)
{
	int status;
	pid_t pid;

	go_away();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		varbos_set_timeout(vb, NEVER_MS);
		if (varbos_ping(vb, NULL))
			fprintf(stderr, "%s\n", varbos_error()->message);
		_exit((int)varbos_error()->code == 0 ? 0 : 1);
	}
	usleep(20000);
	fake.absent = false;
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_uint_eq(fake.hellos, 3);
}
END_TEST

static void *ping(void *connection)
{
	return (void *)(uintptr_t)varbos_ping(connection, NULL);
}

START_TEST(many_come_back_and_not_all_at_once)
{
	struct resumption resumption;
	struct varbos *all[CLIENTS];
	pthread_t threads[CLIENTS];
	uint64_t since, slots = 0;
	void *result;

	for (int i = 0; i < CLIENTS; i++) {
		ck_assert_int_eq(varbos_connect(&all[i], fake.socket), 0);
		varbos_set_reconnect(all[i], NEVER_MS);
	}
	go_away();
	for (int i = 0; i < CLIENTS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ping, all[i]), 0);
	fake.absent = false;
	for (int i = 0; i < CLIENTS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &result), 0);
		ck_assert_ptr_null(result);
	}
	for (int i = 0; i < CLIENTS; i++)
		varbos_disconnect(all[i]);

	/* When: the first tries within 5 ms of the loss, the later ones within a twentieth of a second. */
	for (int i = 0; i < CLIENTS; i++) {
		resumption_init(&resumption);
		resumption_open(&resumption, 1, 0, 1, &vb->policy);
		resumption_begin(&resumption);
		since = clock_ns();
		if (resumption.next_ns > since)
			slots |= (uint64_t)1 << (resumption.next_ns - since) / 100000 % 64;
	}
	ck_assert_int_ge(__builtin_popcountll(slots), 10);
}
END_TEST

START_TEST(what_the_program_closed_under_us_is_not_replaced)
{
	int pair[2], number = vb->calls.socket.fd;
	char byte = 0;

	/* As who closes whatever is open does, and opens something else. */
	ck_assert_int_eq(pipe(pair), 0);
	ck_assert_int_eq(dup2(pair[0], number), number);
	ck_assert_int_eq(varbos_ping(vb, NULL), 0);
	ck_assert_int_ne(vb->calls.socket.fd, number);
	ck_assert_int_eq(write(pair[1], "x", 1), 1);
	ck_assert_int_eq(read(number, &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	close(number);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("away");
	TCase *again = tcase_create("again"), *wait = tcase_create("wait"),
	      *who = tcase_create("who");

	tcase_add_checked_fixture(again, set_up, tear_down);
	tcase_set_timeout(again, 30);
	tcase_add_loop_test(again, what_was_asked_is_asked_again_as_it_was, DEATH_UNREAD,
			    DEATH_ANSWERED + 1);
	tcase_add_test(again, requests_are_numbered_by_their_places);
	tcase_add_test(again, threads_whose_calls_are_under_way_all_get_their_answers);
	tcase_add_test(again, who_has_lanes_wakes_the_daemon_behind_hello);
	tcase_add_test(again, what_is_asked_ahead_is_asked_again);
	tcase_add_test(again, what_nobody_waits_for_any_more_is_asked_again_and_given_back);
	tcase_add_loop_test(again, a_free_is_told_again_and_refused_to_nobody, DEATH_UNREAD,
			    DEATH_DONE + 1);
	tcase_add_test(again, what_is_freed_meanwhile_is_told_when_the_daemon_is_back);
	tcase_add_test(again, notes_beyond_what_is_kept_wait_and_then_say_why_not);
	tcase_add_test(again,
		       a_space_that_was_closed_meanwhile_is_closed_before_it_is_opened_again);
	suite_add_tcase(suite, again);

	tcase_add_checked_fixture(wait, set_up, tear_down);
	tcase_add_checked_fixture(wait, NULL, let_be);
	tcase_set_timeout(wait, 30);
	tcase_add_test(wait, who_waits_waits_as_long_as_was_set_and_later_calls_try_again);
	tcase_add_test(wait, who_does_not_wait_finds_it_back_all_the_same);
	tcase_add_test(wait, what_kills_the_daemon_each_time_is_not_asked_for_ever);
	tcase_add_test(wait, disconnecting_waits_no_longer_either);
	suite_add_tcase(suite, wait);

	tcase_add_checked_fixture(who, set_up, tear_down);
	tcase_set_timeout(who, 30);
	tcase_add_loop_test(who, who_comes_back_has_the_session_or_is_no_daemon_of_ours, 0,
			    ARRAY_SIZE(returns));
	tcase_add_test(who, another_uid_in_its_place_gets_no_byte);
	tcase_add_test(who,
		       a_child_of_meanwhile_waits_for_the_daemon_and_is_a_session_of_its_own);
	tcase_add_test(who, many_come_back_and_not_all_at_once);
	tcase_add_test(who, what_the_program_closed_under_us_is_not_replaced);
	suite_add_tcase(suite, who);
	return suite_run(suite);
}
