/*
 * Out of memory in the midst of every call: VARBOS_E_SYSTEM and ENOMEM, nothing is lost, and the
 * same call succeeds when there is memory again.
 *
 * What the library asks of its process is wrapped by the linker (--wrap): a countdown makes one
 * of these calls fail.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <varbos/arena.h>
#include <varbos/channel.h>
#include <varbos/pool.h>
#include <varbos/scope.h>
#include <varbos/varbos.h>

#include "base/base.h"
#include "tests/failing_memory.h"
#include "tests/integration/daemon.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)

enum { WAIT_TRIES = 20000 /* of 1 ms */ };

static long countdown = -1; /* this many more succeed; negative: all */
static long tried;          /* that could have failed, while some were to */
static bool armed;          /* in a call of the library */

bool allocation_fails(void)
{
	if (!armed || countdown < 0)
		return false;
	tried++;
	if (countdown--)
		return false;
	errno = ENOMEM;
	return true;
}

void *__real_reallocarray(void *p, size_t n, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_mprotect(void *at, size_t size, int protection);
int __real_pthread_setspecific(pthread_key_t key, const void *value);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_mprotect(void *at, size_t size, int protection);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return allocation_fails() ? NULL : __real_reallocarray(p, n, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return allocation_fails() ? NULL : __real_aligned_alloc(align, size);
}

void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	return allocation_fails() ? MAP_FAILED
				  : __real_mmap64(at, size, protection, flags, fd, offset);
}

int __wrap_mprotect(void *at, size_t size, int protection)
{
	return allocation_fails() ? -1 : __real_mprotect(at, size, protection);
}

int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
	return allocation_fails() ? ENOMEM : __real_pthread_setspecific(key, value);
}

/* ---- one story, told with each call failing in turn ---- */

static struct test_daemon daemon_;
static struct varbos *vb;
static struct varbos_space *space;
static const char *told; /* which call */
static long failed;      /* of one telling */

/* Done; else it was refused for want of memory, and is to be tried again. */
static bool settled(bool done)
{
	armed = false;
	if (done)
		return true;
	ck_assert_msg(varbos_error()->code == VARBOS_E_SYSTEM &&
			      varbos_error()->system_errno == ENOMEM && !failed++,
		      "%s: %s", told, varbos_error()->message);
	return false;
}

static void begin(const char *call)
{
	told = call;
	armed = true;
}

#define UNTIL(call)           \
	do                    \
		begin(#call); \
	while (!settled(call))
/* The same, of what returns a pointer. */
#define UNTIL_GOT(to, call)    \
	do {                   \
		begin(#call);  \
		(to) = (call); \
	} while (!settled((to) != NULL))

static void *passes(void *blocks)
{
	UNTIL_GOT(((void **)blocks)[0], varbos_alloc(space, 100));
	UNTIL_GOT(((void **)blocks)[1], varbos_alloc_shared(space, 100));
	return NULL;
}

static void blocks_story(void)
{
	static const size_t sizes[] = {1, 5000, 40000, 300000};
	void *blocks[ARRAY_SIZE(sizes)][4], *other[2], *many[4];
	struct varbos_usage usage;
	pthread_t thread;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		UNTIL_GOT(blocks[i][0], varbos_alloc(space, sizes[i]));
		UNTIL_GOT(blocks[i][1], varbos_alloc_aligned(space, 4096, sizes[i]));
		UNTIL_GOT(blocks[i][2], varbos_calloc(space, 1, sizes[i]));
		UNTIL_GOT(blocks[i][3], varbos_alloc_on(space, sizes[i], 0));
		memset(blocks[i][0], (int)i, sizes[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *moved;

		UNTIL_GOT(moved, varbos_realloc(space, blocks[i][0], 2 * sizes[i]));
		blocks[i][0] = moved;
		for (size_t at = 0; at < sizes[i]; at++)
			if (((char *)moved)[at] != (char)i)
				ck_abort_msg("%zu at %zu", sizes[i], at);
	}
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		UNTIL_GOT(many[i], varbos_alloc(space, 3000));
	UNTIL(!varbos_space_usage(space, &usage));
	ck_assert_uint_ge(usage.live, MIB);
	/* No word to libcheck meanwhile: it allocates, and may get what is to fail in `passes`. */
	if (pthread_create(&thread, NULL, passes, other) || pthread_join(thread, NULL))
		ck_abort_msg("no thread");

	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		UNTIL(!varbos_free(space, many[i]));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (int k = 0; k < 4; k++)
			UNTIL(!varbos_free(space, blocks[i][k]));
	UNTIL(!varbos_free(space, other[0]));
	UNTIL(!varbos_free(space, other[1]));
}

static void shared_story(void)
{
	void *blocks[2], *back;
	struct varbos_channel *channel;

	UNTIL_GOT(blocks[0], varbos_alloc_shared(space, 1000));
	UNTIL_GOT(blocks[1], varbos_alloc_shared(space, MIB));
	UNTIL(!varbos_channel_open(&channel, space, "c",
				   VARBOS_CHANNEL_SEND | VARBOS_CHANNEL_RECEIVE, NULL));
	for (int i = 0; i < 2; i++) {
		UNTIL(!varbos_channel_send(channel, blocks[i], 0));
		UNTIL_GOT(back, varbos_channel_receive(channel, 0));
		ck_assert_ptr_eq(back, blocks[i]);
		UNTIL(!varbos_free(space, back));
	}
	varbos_channel_close(channel);
}

static void deferred(void *count)
{
	++*(int *)count;
}

static void makers_story(void)
{
	const struct varbos_arena_options small = {.initial = 1024, .largest = 1024};
	const struct varbos_pool_options objects = {.size = 100, .min = 3};
	struct varbos_arena *arena, *inner;
	struct varbos_scope *scope, *nested;
	struct varbos_pool *pool;
	void *object[40], *memory;
	char *lines[10];
	int calls = 0;

	UNTIL(!varbos_scope_begin(&scope, varbos_in_space(space)));
	UNTIL(!varbos_arena_create(&arena, varbos_in_scope(scope), &small));
	for (size_t i = 0; i < ARRAY_SIZE(lines);
	     i++) { /* more chunks than a first table has */
		UNTIL_GOT(lines[i], varbos_arena_alloc(arena, 1000));
		memset(lines[i], (int)i, 1000);
	}
	UNTIL_GOT(memory, varbos_arena_alloc(arena, 10000)); /* a chunk of its own */
	UNTIL(!varbos_arena_create(&inner, varbos_in_arena(arena), NULL));
	UNTIL(!varbos_scope_begin(&nested, varbos_in_arena(arena)));
	UNTIL_GOT(memory, varbos_scope_alloc(nested, 100));
	UNTIL(!varbos_scope_defer(nested, deferred, &calls));
	UNTIL(!varbos_pool_create(&pool, varbos_in_scope(scope), &objects));
	for (size_t i = 0; i < ARRAY_SIZE(object); i++)
		UNTIL_GOT(object[i], varbos_pool_get(pool));
	for (size_t i = 0; i < ARRAY_SIZE(object); i++)
		ck_assert_int_eq(varbos_pool_put(pool, object[i]), 0);
	for (int i = 0; i < 20; i++) {
		UNTIL_GOT(memory, varbos_scope_alloc(scope, 100));
		UNTIL(!varbos_scope_defer(scope, deferred, &calls));
	}
	UNTIL_GOT(memory, varbos_alloc(space, 100));
	UNTIL(!varbos_scope_keep(scope, memory));
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		for (int at = 0; at < 1000; at++)
			ck_assert_int_eq(lines[i][at], (char)i);
	varbos_scope_end(scope);
	ck_assert_int_eq(calls, 21);
}

static uint64_t used(void)
{
	struct varbos_space_info *rows;
	uint64_t n = 0;
	size_t count;

	ck_assert_int_eq(varbos_space_list(vb, &rows, &count), 0);
	for (size_t i = 0; i < count; i++)
		n += rows[i].used;
	free(rows);
	return n;
}

/* From connecting on: so that what is made at the first use of all is made each time. */
static void tell(void (*story)(void))
{
	const struct varbos_space_options options = {
		.limit = 32 * MIB, .client_limit = 32 * MIB, .windows = 1};

	UNTIL(!varbos_connect(&vb, daemon_.socket));
	UNTIL(!varbos_space_open(&space, vb, "s", &options));
	story();
	UNTIL(!varbos_trim(space));
	countdown = -1;
	if (getenv("VARBOS_DEBUG")) /* what waits in its queue goes with the space */
		varbos_space_close(space);
	for (int i = 0; used() && i < WAIT_TRIES; i++) /* what was sent back is on its way */
		usleep(1000);
	ck_assert_uint_eq(used(), 0);
	varbos_disconnect(vb);
}

static void tell_with_each_failing(void (*story)(void))
{
	long at = 0, told_of = 0;

	do {
		failed = 0;
		tried = 0;
		countdown = at++;
		tell(story);
		told_of += failed;
	} while (tried > at - 1 || failed);
	printf("%ld calls of the system failed, of which %ld failed one of the library\n",
	       at - 1, told_of);
	ck_assert_int_ge(told_of, 5);
}

static void set_up(void)
{
	setenv("VARBOS_QUIET", "1", 1);
	test_daemon_start(&daemon_, "64M", NULL);
}

static void tear_down(void)
{
	unsetenv("VARBOS_DEBUG");
	test_daemon_stop(&daemon_);
}

START_TEST(blocks_without_memory_for_their_notes_are_refused_and_nothing_is_lost)
{
	tell_with_each_failing(blocks_story);
}
END_TEST

START_TEST(watched_blocks_without_memory_for_their_notes_are_refused_and_nothing_is_lost)
{
	setenv("VARBOS_DEBUG", "1", 1);
	tell_with_each_failing(blocks_story);
}
END_TEST

START_TEST(shared_memory_without_memory_for_its_notes_is_refused_and_nothing_is_lost)
{
	tell_with_each_failing(shared_story);
}
END_TEST

START_TEST(arenas_pools_and_scopes_without_memory_for_their_notes_refuse_and_lose_nothing)
{
	tell_with_each_failing(makers_story);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("client_nomem");
	TCase *t = tcase_create("client_nomem");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t,
		       blocks_without_memory_for_their_notes_are_refused_and_nothing_is_lost);
	tcase_add_test(
		t,
		watched_blocks_without_memory_for_their_notes_are_refused_and_nothing_is_lost);
	tcase_add_test(
		t, shared_memory_without_memory_for_its_notes_is_refused_and_nothing_is_lost);
	tcase_add_test(
		t,
		arenas_pools_and_scopes_without_memory_for_their_notes_refuse_and_lose_nothing);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
