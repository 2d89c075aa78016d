/*
 * A session whose connection breaks, or whose daemon is killed, goes on: with the real daemon, while
 * threads do all that needs it. Nothing fails, nothing is done twice, and nothing is left over.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/cache.h>
#include <varbos/channel.h>

#include "base/base.h"
#include "client/connection.h"
#include "client/space.h"
#include "tests/integration/survivor.h"
#include "tests/suite.h"

enum {
	EXTENT = 5 << SLICE_SHIFT,
	LARGE = 1 << 20, /* shared: an extent of its own */
	NEVER_MS = 60000,
	SOON_MS = 8000,
	BREAKS = 40,
	KILLS = 10,
	BLOCKS = 200, /* through a channel */
};

static struct survivor daemon_;
static struct varbos *vb;
static struct varbos_space *space;
static struct varbos_cache *cache;
static _Atomic bool stop;
static _Atomic unsigned rounds;

static void set_up(void)
{
	const struct varbos_space_options options = {.limit = 64 << 20, .mode = 0600};

	survivor_start(&daemon_, "--size", "128M", "--pages", "4K", NULL);
	varbos_set_timeout(NULL, NEVER_MS);
	varbos_set_reconnect(NULL, NEVER_MS);
	for (int i = 0; varbos_connect(&vb, daemon_.socket) && i < 1000; i++)
		usleep(10000);
	ck_assert_ptr_nonnull(vb);
	ck_assert_int_eq(varbos_space_open(&space, vb, "s", &options), 0);
	stop = false;
	rounds = 0;
}

static void open_cache(void)
{
	const struct varbos_cache_options options = {.capacity = 8 << 20};

	ck_assert_int_eq(varbos_cache_open(&cache, space, "c", &options), 0);
}

static void tear_down(void)
{
	varbos_disconnect(vb);
	vb = NULL;
	survivor_stop(&daemon_);
}

/* ---- what breaks ---- */

/* As if the daemon had gone; it has not. */
static void break_connection(void)
{
	shutdown(vb->calls.socket.fd, SHUT_RDWR);
}

static void kill_daemon(void)
{
	survivor_kill(&daemon_);
	survivor_again(&daemon_);
}

/* ---- what goes on: NULL, or why not ---- */

static const char *why(const char *what)
{
	static _Thread_local char text[400];
	char *copy;

	snprintf(text, sizeof(text), "%s: %s", what, varbos_error()->message);
	copy = strdup(text);
	return copy ? copy : what;
}

static bool is_all(const char *memory, size_t size, char byte)
{
	return *memory == byte && !memcmp(memory, memory + 1, size - 1);
}

/* Private and shared extents, which are asked for and told of. */
static const char *hold_extents(char mark)
{
	char *own = varbos_alloc(space, EXTENT), *shared;

	if (!own)
		return why("alloc");
	memset(own, mark, EXTENT);
	shared = varbos_alloc_shared(space, LARGE);
	if (!shared)
		return why("alloc_shared");
	memset(shared, ~mark, LARGE);
	if (varbos_ping(vb, NULL))
		return why("ping");
	if (!is_all(own, EXTENT, mark) || !is_all(shared, LARGE, (char)~mark))
		return "memory is not its holder's alone";
	if (varbos_free(space, own) || varbos_free(space, shared))
		return why("free");
	return NULL;
}

static const char *put_and_look(char mark)
{
	char key[] = {'k', mark}, value[100], other[100];
	struct varbos_view view;

	memset(value, mark, sizeof(value));
	memset(other, ~mark, sizeof(other));
	if (varbos_cache_put(cache, key, sizeof(key), value, sizeof(value), NULL))
		return why("put");
	if (varbos_cache_get(cache, key, sizeof(key), &view))
		return why("get");
	if (view.size != sizeof(value) || memcmp(view.data, value, sizeof(value)))
		return "another value was got than was put";
	varbos_view_release(&view);
	for (int i = 0; i < 8; i++)
		if (varbos_cache_put_async(cache, key, sizeof(key), other, sizeof(other), NULL))
			return why("put_async");
	if (varbos_cache_flush(cache))
		return why("flush");
	if (varbos_cache_get(cache, key, sizeof(key), &view))
		return why("get what was put without waiting");
	if (memcmp(view.data, other, sizeof(other)))
		return "another value was got than was put last";
	varbos_view_release(&view);
	return varbos_cache_del(cache, key, sizeof(key)) ? why("del") : NULL;
}

static int compute(struct varbos_fetch *fetch, void *unused)
{
	usleep(3000);
	return varbos_fetch_give(fetch, fetch->key, fetch->key_size);
}

/* Two threads want the same: one of them waits. */
static const char *fetch_next(uint64_t n)
{
	const struct varbos_fetch_options options = {.wait_ms = NEVER_MS};
	struct varbos_view view;
	char key[32];

	snprintf(key, sizeof(key), "fetched %llu", (unsigned long long)n);
	if (varbos_cache_fetch(cache, key, sizeof(key), compute, NULL, &options, &view))
		return why("fetch");
	if (view.size != sizeof(key) || memcmp(view.data, key, sizeof(key)))
		return "what was fetched is not what was computed";
	varbos_view_release(&view);
	return NULL;
}

struct worker {
	pthread_t thread;
	char mark;
	bool caches;
	const char *failed;
};

static void *work(void *userdata)
{
	struct worker *worker = userdata;

	for (uint64_t n = 0; !stop && !worker->failed; n++) {
		worker->failed = hold_extents(worker->mark);
		if (worker->caches && !worker->failed)
			worker->failed = put_and_look(worker->mark);
		if (worker->caches && !worker->failed)
			worker->failed = fetch_next(n);
		rounds++;
	}
	return NULL;
}

enum { WORKERS = 4 };

static uint64_t used(void)
{
	struct varbos_space_info *infos;
	uint64_t sum = 0;
	size_t n;

	ck_assert_int_eq(varbos_space_list(vb, &infos, &n), 0);
	for (size_t i = 0; i < n; i++)
		sum += infos[i].used;
	free(infos);
	return sum;
}

/* What was given back one way is taken by and by. */
static void await_used(uint64_t expected)
{
	for (int i = 0; i < 1000 && used() != expected; i++)
		usleep(10000);
	ck_assert_uint_eq(used(), expected);
}

static void go_on(void (*disturb)(void), int times, bool caches)
{
	struct worker workers[WORKERS] = {};
	uint64_t before = used();
	unsigned done;

	for (int i = 0; i < WORKERS; i++) {
		workers[i].mark = (char)('a' + i);
		workers[i].caches = caches;
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]),
				 0);
	}
	for (int i = 0; i < times; i++) {
		done = rounds;
		for (int j = 0; j < 1000 && rounds < done + 2; j++)
			usleep(500);
		disturb();
	}
	stop = true;
	for (int i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		ck_assert_msg(!workers[i].failed, "%s", workers[i].failed);
	}
	ck_assert_uint_eq(varbos_frees_refused(vb), 0);
	if (!caches)
		await_used(before);
}

START_TEST(what_needs_the_daemon_goes_on_over_other_connections)
{
	uint32_t session = vb->session;

	open_cache();
	go_on(break_connection, BREAKS, true);
	ck_assert_uint_ge(vb->calls.connections, BREAKS / 2);
	ck_assert_uint_eq(vb->session, session);
}
END_TEST

START_TEST(extents_are_granted_and_given_back_once_whatever_breaks)
{
	go_on(break_connection, BREAKS, false);
}
END_TEST

START_TEST(extents_are_granted_and_given_back_once_by_whatever_daemon)
{
	char *kept = varbos_alloc(space, EXTENT);

	memset(kept, 'k', EXTENT);
	go_on(kill_daemon, KILLS, false);
	ck_assert(is_all(kept, EXTENT, 'k'));
	ck_assert_int_eq(varbos_free(space, kept), 0);
	await_used(0);
}
END_TEST

START_TEST(what_needs_the_daemon_goes_on_whatever_daemon_there_is)
{
	open_cache();
	go_on(kill_daemon, KILLS, true);
}
END_TEST

START_TEST(a_view_shows_the_same_whatever_daemon_there_is)
{
	enum { BYTES = 5000, ROUNDS = 3, OTHERS = 2000 };
	char value[BYTES], other[BYTES];
	struct varbos_view view;

	memset(value, 'v', BYTES);
	memset(other, 'o', BYTES);
	open_cache();
	ck_assert_int_eq(varbos_cache_put(cache, "k", 1, value, BYTES, NULL), 0);
	ck_assert_int_eq(varbos_cache_get(cache, "k", 1, &view), 0);
	for (int round = 0; round < ROUNDS; round++) {
		survivor_kill(&daemon_);
		ck_assert(is_all(view.data, BYTES, 'v')); /* and nobody is there */
		survivor_again(&daemon_);
		/* More than the cache holds. */
		for (int i = 0; i < OTHERS; i++)
			ck_assert_int_eq(
				varbos_cache_put(cache, &i, sizeof(i), other, BYTES, NULL), 0);
		ck_assert(is_all(view.data, BYTES, 'v'));
	}
	varbos_view_release(&view);
	ck_assert_int_eq(varbos_cache_put(cache, "k", 1, other, BYTES, NULL), 0);
	ck_assert_int_eq(varbos_cache_get(cache, "k", 1, &view), 0);
	ck_assert(is_all(view.data, BYTES, 'o'));
	varbos_view_release(&view);
}
END_TEST

/* Who has no session yet. */
static void *come_and_go(void *unused)
{
	struct varbos *another;

	(void)unused;
	while (!stop) {
		if (varbos_connect(&another, daemon_.socket))
			return (void *)(uintptr_t)why("connect");
		varbos_disconnect(another);
		rounds++;
	}
	return NULL;
}

START_TEST(who_connects_to_a_daemon_that_is_killed_is_taken_by_the_next)
{
	pthread_t threads[WORKERS];
	void *failed[WORKERS];

	for (int i = 0; i < WORKERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
	for (int i = 0; i < KILLS; i++) {
		unsigned done = rounds;

		for (int j = 0; j < 1000 && rounds < done + WORKERS; j++)
			usleep(500);
		kill_daemon();
	}
	stop = true;
	for (int i = 0; i < WORKERS; i++)
		pthread_join(threads[i], &failed[i]);
	for (int i = 0; i < WORKERS; i++)
		ck_assert_msg(!failed[i], "%s", (const char *)failed[i]);
}
END_TEST

START_TEST(what_is_put_while_there_is_no_connection_is_taken_over_the_next)
{
	struct varbos_view view;

	open_cache();
	varbos_set_timeout(vb, SOON_MS);
	ck_assert_int_eq(varbos_cache_put(cache, "k", 1, "1", 1, NULL), 0);
	usleep(100000); /* so that the daemon sleeps, and has to be woken */
	break_connection();
	ck_assert_int_eq(varbos_cache_put_async(cache, "k", 1, "2", 1, NULL), 0);
	ck_assert_int_eq(varbos_cache_flush(cache), 0);
	ck_assert_int_eq(varbos_cache_get(cache, "k", 1, &view), 0);
	ck_assert_mem_eq(view.data, "2", 1);
	varbos_view_release(&view);
}
END_TEST

/* ---- who waits ---- */

/* Another session of this process. */
struct aside {
	struct varbos *vb;
	struct varbos_space *space;
	struct varbos_cache *cache;
	struct varbos_channel *channel;
	pthread_t thread;
	_Atomic bool begun, go;
};

static void aside_open(struct aside *aside)
{
	ck_assert_int_eq(varbos_connect(&aside->vb, daemon_.socket), 0);
	ck_assert_int_eq(varbos_space_open(&aside->space, aside->vb, "s", NULL), 0);
}

static int compute_when_told(struct varbos_fetch *fetch, void *userdata)
{
	struct aside *aside = userdata;

	aside->begun = true;
	while (!aside->go)
		usleep(1000);
	return varbos_fetch_give(fetch, fetch->key, fetch->key_size);
}

static void *compute_aside(void *userdata)
{
	struct aside *aside = userdata;
	struct varbos_view view;
	char key[32];

	snprintf(key, sizeof(key), "fetched %d", 7);
	if (varbos_cache_fetch(aside->cache, key, sizeof(key), compute_when_told, aside, NULL,
			       &view))
		return (void *)(uintptr_t)why("fetch aside");
	varbos_view_release(&view);
	return NULL;
}

static void *fetch_seventh(void *unused)
{
	return (void *)(uintptr_t)fetch_next(7);
}

static void join(pthread_t thread)
{
	void *failed;

	ck_assert_int_eq(pthread_join(thread, &failed), 0);
	ck_assert_msg(!failed, "%s", (const char *)failed);
}

START_TEST(who_waits_for_a_value_goes_on_waiting)
{
	struct aside aside = {};
	pthread_t waits;

	open_cache();
	aside_open(&aside);
	ck_assert_int_eq(varbos_cache_open(&aside.cache, aside.space, "c", NULL), 0);
	ck_assert_int_eq(pthread_create(&aside.thread, NULL, compute_aside, &aside), 0);
	while (!aside.begun)
		usleep(1000);
	ck_assert_int_eq(pthread_create(&waits, NULL, fetch_seventh, NULL), 0);
	for (int i = 0; i < 20; i++) {
		usleep(3000);
		break_connection();
		shutdown(aside.vb->calls.socket.fd, SHUT_RDWR);
	}
	aside.go = true;
	join(aside.thread);
	join(waits);
	varbos_disconnect(aside.vb);
}
END_TEST

static void *receive_all(void *userdata)
{
	struct aside *aside = userdata;
	int *block;

	for (int i = 0; i < BLOCKS; i++) {
		block = varbos_channel_receive(aside->channel, NEVER_MS);
		if (!block)
			return (void *)(uintptr_t)why("receive");
		if (*block != i)
			return (void *)(uintptr_t) "a block came out of turn";
		if (varbos_free(aside->space, block))
			return (void *)(uintptr_t)why("free of what came");
	}
	return NULL;
}

START_TEST(channels_know_of_no_restart)
{
	struct varbos_channel *channel;
	struct aside aside = {};
	int *block;

	aside_open(&aside);
	ck_assert_int_eq(varbos_channel_open(&channel, space, "c", VARBOS_CHANNEL_SEND, NULL),
			 0);
	ck_assert_int_eq(varbos_channel_open(&aside.channel, aside.space, "c",
					     VARBOS_CHANNEL_RECEIVE, NULL),
			 0);
	ck_assert_int_eq(pthread_create(&aside.thread, NULL, receive_all, &aside), 0);
	for (int i = 0; i < BLOCKS; i++) {
		if (i % (BLOCKS / 4) == 1)
			kill_daemon();
		block = varbos_alloc_shared(space, 1000);
		ck_assert_ptr_nonnull(block);
		*block = i;
		ck_assert_int_eq(varbos_channel_send(channel, block, NEVER_MS), 0);
	}
	join(aside.thread);
	varbos_disconnect(aside.vb);
}
END_TEST

START_TEST(a_daemon_that_is_stopped_and_goes_on_is_no_event)
{
	pid_t helper;
	int status;

	open_cache();
	helper = fork();
	ck_assert_int_ge(helper, 0);
	if (!helper) { /* a fork of ours that never calls anything */
		for (int i = 0; i < 10; i++) {
			kill(daemon_.pid, i % 2 ? SIGCONT : SIGSTOP);
			usleep(20000);
		}
		kill(daemon_.pid, SIGCONT);
		_exit(0);
	}
	go_on(break_connection, 20, true);
	ck_assert_int_eq(waitpid(helper, &status, 0), helper);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reconnect");
	TCase *t = tcase_create("reconnect");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_view_shows_the_same_whatever_daemon_there_is);
	tcase_add_test(t, what_is_put_while_there_is_no_connection_is_taken_over_the_next);
	tcase_add_test(t, what_needs_the_daemon_goes_on_over_other_connections);
	tcase_add_test(t, extents_are_granted_and_given_back_once_whatever_breaks);
	tcase_add_test(t, extents_are_granted_and_given_back_once_by_whatever_daemon);
	tcase_add_test(t, what_needs_the_daemon_goes_on_whatever_daemon_there_is);
	tcase_add_test(t, who_connects_to_a_daemon_that_is_killed_is_taken_by_the_next);
	tcase_add_test(t, who_waits_for_a_value_goes_on_waiting);
	tcase_add_test(t, channels_know_of_no_restart);
	tcase_add_test(t, a_daemon_that_is_stopped_and_goes_on_is_no_event);
	suite_add_tcase(suite, t);
	return suite_run(suite);
}
