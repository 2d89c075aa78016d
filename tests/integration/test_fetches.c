/*
 * Rights to compute, over real sockets: one session has it, others wait, and it passes on.
 */
#include <check.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/integration/daemon.h"
#include "tests/integration/hoarder.h"
#include "tests/suite.h"

#define MIB ((uint64_t)1 << 20)

enum { LONG_MS = 600000, SHORT_MS = 50, CROWD = 12 };

static struct test_daemon daemon_;
static struct hoarder one, two, three;

static void set_up(void)
{
	struct peer peer;

	test_daemon_start(&daemon_, "64M", NULL);
	peer_open(&peer, daemon_.socket);
	peer_create_space(&peer, "a", 32 * MIB);
	peer_close(&peer);
	hoarder_open(&one, daemon_.socket, "a", "c", 8 * MIB);
	hoarder_open(&two, daemon_.socket, "a", "c", 0);
	hoarder_open(&three, daemon_.socket, "a", "c", 0);
}

static void tear_down(void)
{
	hoarder_close(&one);
	hoarder_close(&two);
	hoarder_close(&three);
	test_daemon_stop(&daemon_);
}

static struct wire_cache_fetch asked(const struct hoarder *by, const char *key,
				     uint64_t compute_ms, uint64_t wait_ms)
{
	return (struct wire_cache_fetch){.space = by->space,
					 .cache = by->cache,
					 .hash = key_hash(key),
					 .compute_ms = compute_ms,
					 .wait_ms = wait_ms};
}

static struct wire_cache_fetched fetch(struct hoarder *by, const char *key, uint64_t compute_ms)
{
	struct wire_cache_fetch wanted = asked(by, key, compute_ms, 0);

	ck_assert_msg(peer_call(&by->peer, WIRE_CACHE_FETCH, &wanted), "%s",
		      by->peer.answer.fault.message.data);
	return by->peer.answer.body.cache_fetched;
}

/* Is somebody computing it? */
static bool is_computed(struct hoarder *by, const char *key)
{
	struct wire_cache_fetched is = fetch(by, key, LONG_MS);

	ck_assert(!is.token && !is.generation);
	return is.until;
}

static void ask_for(struct hoarder *by, const char *key, uint64_t wait_ms)
{
	struct wire_cache_fetch wanted = asked(by, key, LONG_MS, wait_ms);

	peer_send(&by->peer, WIRE_CACHE_FETCH, &wanted);
}

/* Longer than anything may take: else its answer may come first. */
static void wait_for(struct hoarder *by, const char *key, uint64_t wait_ms)
{
	ask_for(by, key, wait_ms);
	/* It waits now: requests are started in order. */
	ck_assert(peer_call(&by->peer, WIRE_PING, &(struct wire_ping){}));
	by->peer.method = WIRE_CACHE_FETCH;
	by->peer.id--;
}

/* The answer to that. */
static struct wire_cache_fetched told(struct hoarder *by)
{
	ck_assert(peer_receive(&by->peer));
	ck_assert_msg(!by->peer.answer.failed, "%.*s", (int)by->peer.answer.fault.message.size,
		      by->peer.answer.fault.message.data);
	return by->peer.answer.body.cache_fetched;
}

static const struct wire_fault *refused(struct hoarder *by)
{
	ck_assert(peer_receive(&by->peer));
	ck_assert(by->peer.answer.failed);
	return &by->peer.answer.fault;
}

static bool commit(struct hoarder *by, const char *key, const char *value, uint64_t token)
{
	uint64_t size, offset = hoarder_write(by, key, value, strlen(value), 0, &size);
	struct wire_cache_publish publish = {.space = by->space,
					     .cache = by->cache,
					     .hash = key_hash(key),
					     .offset = offset,
					     .size = size,
					     .born = by->born,
					     .token = token};

	return peer_call(&by->peer, WIRE_CACHE_PUBLISH, &publish);
}

static bool end(struct hoarder *by, const char *key, uint64_t token, uint64_t code)
{
	struct wire_cache_fetch_end end = {.space = by->space,
					   .cache = by->cache,
					   .hash = key_hash(key),
					   .token = token,
					   .code = code};

	return peer_call(&by->peer, WIRE_CACHE_FETCH_END, &end);
}

static bool reads(struct hoarder *by, const char *key, const char *value)
{
	uint64_t offset = hoarder_find(by, key);
	struct object_header *header;
	struct object_sizes sizes;
	bool same;

	if (!offset)
		return false;
	header = hoarder_at(by, offset);
	sizes = object_sizes_unpack(header->sizes);
	same = sizes.value == strlen(value) &&
	       !memcmp((char *)header + object_value_at(offset, sizes), value, sizes.value);
	atomic_store(&by->hazard, 0);
	return same;
}

static bool is_anybody_absent(void)
{
	const struct wire_client_row *rows;
	bool absent = false;

	ck_assert(peer_call(&one.peer, WIRE_CLIENT_LIST, &(struct wire_page_after){}));
	rows = one.peer.answer.body.client_rows.rows.rows;
	for (uint32_t i = 0; i < one.peer.answer.body.client_rows.rows.count; i++)
		absent |= rows[i].absent;
	return absent;
}

static void is_late(const struct hoarder *by)
{
	ck_assert_uint_eq(by->peer.answer.fault.code, FAULT_LATE);
}

START_TEST(one_computes_and_who_waits_is_told)
{
	struct wire_cache_fetched right = fetch(&one, "k", LONG_MS);

	ck_assert(right.token && right.until);
	ck_assert(is_computed(&two, "k"));
	ck_assert(fetch(&two, "other", LONG_MS).token); /* another key is another right */
	wait_for(&two, "k", LONG_MS);
	wait_for(&three, "k", LONG_MS);
	ck_assert(commit(&one, "k", "value", right.token));
	ck_assert_uint_eq(told(&two).generation, one.born);
	ck_assert_uint_eq(told(&three).generation, one.born);
	ck_assert(reads(&two, "k", "value"));
	/* who looked before it was there is told to look again; who has seen it computes anew */
	ck_assert_uint_eq(fetch(&three, "k", LONG_MS).generation, one.born);
	{
		struct wire_cache_fetch anew = asked(&three, "k", LONG_MS, 0);

		anew.seen = one.born;
		ck_assert(peer_call(&three.peer, WIRE_CACHE_FETCH, &anew));
		ck_assert(three.peer.answer.body.cache_fetched.token);
	}
}
END_TEST

START_TEST(the_right_of_the_dead_passes_on_at_once)
{
	struct wire_cache_fetched right;
	int pipe_fds[2];
	char byte;
	pid_t child;

	ck_assert_int_eq(pipe(pipe_fds), 0);
	child = fork();
	if (!child) {
		struct hoarder dying;

		peer_leave_check();
		hoarder_open(&dying, daemon_.socket, "a", "c", 0);
		byte = fetch(&dying, "k", LONG_MS).token ? 'r' : '-';
		if (write(pipe_fds[1], &byte, 1) == 1)
			pause();
		_exit(1);
	}
	ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'r');
	wait_for(&one, "k", LONG_MS);
	wait_for(&two, "k", LONG_MS);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	right = told(&one); /* it has waited longest */
	ck_assert(right.token);
	ck_assert(is_computed(&three, "k"));
	ck_assert(commit(&one, "k", "value", right.token));
	ck_assert_uint_eq(told(&two).generation, one.born);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}
END_TEST

START_TEST(who_is_late_loses_the_right_and_changes_nothing)
{
	struct wire_cache_fetched late = fetch(&one, "k", SHORT_MS), right;
	struct lane_record record;

	ask_for(&two, "k", LONG_MS);
	right = told(&two);
	ck_assert(right.token && right.token != late.token);
	ck_assert(!commit(&one, "k", "late", late.token));
	is_late(&one);
	ck_assert(!end(&one, "k", late.token, 0));
	is_late(&one);
	ck_assert(!end(&one, "k", right.token, 0)); /* another's */
	is_late(&one);
	ck_assert_uint_eq(hoarder_find(&three, "k"), 0);
	ck_assert(commit(&two, "k", "value", right.token));
	ck_assert(!commit(&one, "k", "late", late.token));
	is_late(&one);
	/* by a record likewise */
	hoarder_lanes(&one, 1);
	record = lane_publish(&one, "k", "late");
	record.token = late.token;
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, FAULT_LATE);
	ck_assert(reads(&three, "k", "value"));
}
END_TEST

START_TEST(who_is_late_and_wanted_by_nobody_may_commit)
{
	struct wire_cache_fetched right = fetch(&one, "k", 1);
	struct lane_record record;

	usleep(20000);
	hoarder_lanes(&one, 1);
	record = lane_publish(&one, "k", "value");
	record.token = right.token;
	ck_assert_uint_eq(lane_wait(&one, 0, lane_put(&one, 0, &record)).code, 0);
	ck_assert(reads(&two, "k", "value"));
	/* who is late, and wanted by whoever comes next, has lost it to him */
	fetch(&one, "l", 1);
	usleep(20000);
	ck_assert(fetch(&two, "l", LONG_MS).token);
}
END_TEST

START_TEST(all_who_wait_are_told_of_a_failure)
{
	struct wire_cache_fetched right = fetch(&one, "k", LONG_MS);
	const struct wire_fault *fault;

	wait_for(&two, "k", LONG_MS);
	wait_for(&three, "k", LONG_MS);
	ck_assert(end(&one, "k", right.token, 42));
	fault = refused(&two);
	ck_assert_uint_eq(fault->code, FAULT_FAILED);
	ck_assert_uint_eq(fault->system_errno, 42);
	ck_assert_uint_eq(refused(&three)->system_errno, 42);
	ck_assert(fetch(&two, "k", LONG_MS).token); /* nothing of it is kept */
}
END_TEST

/* Many waits of one session: the id of the first. */
static uint64_t crowd_waits(struct hoarder *by, const char *key)
{
	struct wire_cache_fetch wanted = asked(by, key, LONG_MS, LONG_MS);
	uint64_t first = by->peer.id + 1;

	for (int i = 0; i < CROWD; i++)
		peer_send(&by->peer, WIRE_CACHE_FETCH, &wanted);
	ck_assert(peer_call(&by->peer, WIRE_PING, &(struct wire_ping){}));
	by->peer.method = WIRE_CACHE_FETCH;
	return first;
}

/* Those that have waited longer are answered first. */
static struct wire_cache_fetched crowd_told(struct hoarder *by, uint64_t id)
{
	by->peer.id = id;
	return told(by);
}

START_TEST(a_crowd_that_waits_is_answered_to_the_last)
{
	struct wire_cache_fetched right = fetch(&one, "k", LONG_MS);
	uint64_t second = crowd_waits(&two, "k"), third = crowd_waits(&three, "k");

	ck_assert(end(&one, "k", right.token, 0));
	right = crowd_told(&two, second);
	ck_assert(right.token);
	ck_assert(is_computed(&one, "k"));
	ck_assert(hoarder_put(&one, "k", "value", 5));
	for (uint64_t i = 1; i < CROWD; i++)
		ck_assert_uint_eq(crowd_told(&two, second + i).generation, one.born);
	for (uint64_t i = 0; i < CROWD; i++)
		ck_assert_uint_eq(crowd_told(&three, third + i).generation, one.born);
}
END_TEST

START_TEST(a_right_that_is_given_up_passes_to_one_of_those_who_wait)
{
	struct wire_cache_fetched right = fetch(&one, "k", LONG_MS);

	wait_for(&two, "k", LONG_MS);
	wait_for(&three, "k", LONG_MS);
	ck_assert(end(&one, "k", right.token, 0));
	right = told(&two);
	ck_assert(right.token);
	ck_assert(is_computed(&one, "k"));
	ck_assert(commit(&two, "k", "value", right.token));
	ck_assert_uint_eq(told(&three).generation, two.born);
}
END_TEST

START_TEST(what_is_put_or_deleted_meanwhile_ends_the_right)
{
	struct wire_cache_fetched right = fetch(&one, "k", LONG_MS);

	wait_for(&two, "k", LONG_MS);
	ck_assert(hoarder_put(&three, "k", "newer", 5));
	ck_assert_uint_eq(told(&two).generation, three.born);
	ck_assert(!commit(&one, "k", "older", right.token));
	is_late(&one);
	ck_assert(reads(&two, "k", "newer"));

	right = fetch(&one, "l", LONG_MS);
	wait_for(&two, "l", LONG_MS);
	ck_assert(!hoarder_delete(&three,
				  "l")); /* there is none; what it came from has changed */
	ck_assert_uint_eq(three.peer.answer.fault.code, FAULT_NOT_FOUND);
	ck_assert(told(&two).token);
	ck_assert(!commit(&one, "l", "older", right.token));
	is_late(&one);
}
END_TEST

START_TEST(what_was_being_computed_does_not_outlive_a_clear)
{
	struct wire_cache_fetched right = fetch(&one, "k", LONG_MS), later;

	wait_for(&two, "k", LONG_MS);
	ck_assert(peer_call(&three.peer, WIRE_CACHE_CLEAR,
			    &(struct wire_cache_handle){three.space, three.cache}));
	later = fetch(&three, "l", LONG_MS);
	ck_assert(!commit(&one, "k", "older", right.token));
	is_late(&one);
	right = told(&two); /* at once */
	ck_assert(right.token);
	ck_assert(commit(&two, "k", "value", right.token));
	ck_assert(commit(&three, "l", "value", later.token));
	ck_assert(reads(&one, "k", "value"));
}
END_TEST

START_TEST(nobody_waits_longer_than_he_wants)
{
	const struct wire_fault *fault;

	ck_assert(fetch(&one, "k", LONG_MS).token);
	wait_for(&three, "k", LONG_MS);
	ask_for(&two, "k", SHORT_MS);
	fault = refused(&two);
	ck_assert_uint_eq(fault->code, FAULT_TIMEOUT);
	ck_assert_msg(wire_str_is(fault->which, "wait"), "%s", fault->which.data);
	ck_assert(is_computed(&two, "k"));
}
END_TEST

START_TEST(who_closes_the_cache_has_its_rights_no_more)
{
	struct wire_cache_fetched right = fetch(&one, "k", LONG_MS);

	wait_for(&two, "k", LONG_MS);
	wait_for(&three, "k", LONG_MS);
	ck_assert(peer_call(&one.peer, WIRE_CACHE_CLOSE,
			    &(struct wire_cache_handle){one.space, one.cache}));
	right = told(&two);
	ck_assert(right.token);
	/* and whose connection is gone gets none, though he waits */
	shutdown(three.peer.fd, SHUT_RDWR);
	while (!is_anybody_absent())
		usleep(1000);
	ck_assert(end(&two, "k", right.token, 0));
	ck_assert(fetch(&two, "k", LONG_MS).token);
	ck_assert(
		peer_call(&two.peer, WIRE_SPACE_CLOSE, &(struct wire_space_handle){two.space}));
}
END_TEST

START_TEST(who_closes_the_cache_waits_there_no_more)
{
	struct wire_cache_fetch own = asked(&two, "l", LONG_MS, LONG_MS),
				others = asked(&two, "k", LONG_MS, LONG_MS);
	const struct wire_cache_handle handle = {two.space, two.cache};
	uint64_t first;

	ck_assert(fetch(&one, "k", LONG_MS).token);
	ck_assert(fetch(&two, "l", LONG_MS).token);
	first = two.peer.id + 1;
	peer_send(&two.peer, WIRE_CACHE_FETCH, &others);
	peer_send(&two.peer, WIRE_CACHE_FETCH, &own);
	ck_assert(peer_call(&two.peer, WIRE_CACHE_CLOSE, &handle));
	two.peer.method = WIRE_CACHE_FETCH;
	for (two.peer.id = first; two.peer.id < first + 2; two.peer.id++)
		ck_assert_uint_eq(refused(&two)->code, FAULT_NOT_FOUND);
	/* nor has it got a right by waiting */
	ck_assert(fetch(&three, "l", LONG_MS).token);
	ck_assert(is_computed(&three, "k"));
}
END_TEST

START_TEST(only_who_may_put_and_has_it_open_computes)
{
	struct wire_cache_fetch wanted = asked(&one, "k", 0, 0);

	wanted.cache = 77;
	ck_assert(!peer_call(&one.peer, WIRE_CACHE_FETCH, &wanted));
	ck_assert_uint_eq(one.peer.answer.fault.code, FAULT_NOT_FOUND);
	ck_assert(!end(&one, "k", 1, 0));
	is_late(&one);
	ck_assert(!commit(&one, "k", "value", 1));
	is_late(&one);
	ck_assert_uint_eq(hoarder_find(&two, "k"), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fetches");
	TCase *tcase = tcase_create("fetches");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 20);
	tcase_add_test(tcase, one_computes_and_who_waits_is_told);
	tcase_add_test(tcase, the_right_of_the_dead_passes_on_at_once);
	tcase_add_test(tcase, who_is_late_loses_the_right_and_changes_nothing);
	tcase_add_test(tcase, who_is_late_and_wanted_by_nobody_may_commit);
	tcase_add_test(tcase, all_who_wait_are_told_of_a_failure);
	tcase_add_test(tcase, a_crowd_that_waits_is_answered_to_the_last);
	tcase_add_test(tcase, a_right_that_is_given_up_passes_to_one_of_those_who_wait);
	tcase_add_test(tcase, what_is_put_or_deleted_meanwhile_ends_the_right);
	tcase_add_test(tcase, what_was_being_computed_does_not_outlive_a_clear);
	tcase_add_test(tcase, nobody_waits_longer_than_he_wants);
	tcase_add_test(tcase, who_closes_the_cache_has_its_rights_no_more);
	tcase_add_test(tcase, who_closes_the_cache_waits_there_no_more);
	tcase_add_test(tcase, only_who_may_put_and_has_it_open_computes);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
