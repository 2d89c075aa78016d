/*
 * Caches of several processes and threads: what one puts all find, and what goes with whom. With
 * "off" as its argument the same without records in lanes; with "none", without lanes.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "proto/lane.h"
#include "proto/layout.h"
#include "tests/integration/cached.h"
#include "tests/integration/joined.h"
#include "tests/integration/other.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)

enum { PATIENCE = 1000 }; /* times 10 ms */

static void open_cache(void)
{
	open_cache_of(8 * MIB);
}

/* ---- others ---- */

static void read_and_answer(struct other *other)
{
	struct varbos_cache *theirs;
	struct varbos_view view;

	OTHER_EXPECT(!varbos_cache_open(&theirs, other->space, "c", NULL));
	OTHER_EXPECT(is(theirs, "from here", "hello"));
	OTHER_EXPECT(put(theirs, "from there", "hello yourself") == VARBOS_E_PERMISSION);
	OTHER_EXPECT(varbos_cache_del(theirs, "from here", 9) == VARBOS_E_PERMISSION);
	OTHER_EXPECT(varbos_cache_flush(theirs) == VARBOS_E_PERMISSION);
	OTHER_EXPECT(!get(theirs, "from here", &view));
	other_say(other, 1);
	other_hear(other);
	OTHER_EXPECT(shows(&view, "hello"));
	varbos_view_release(&view);
	OTHER_EXPECT(is(theirs, "from here", "replaced"));
	varbos_cache_close(theirs);
	varbos_disconnect(other->vb);
	other_say(other, 2);
}

START_TEST(a_member_that_may_only_read_gets_what_another_puts)
{
	struct other other;

	must(put(cache, "from here", "hello"));
	other_start(&other, daemon_.socket, "s", VARBOS_SPACE_READ_ONLY, read_and_answer);
	ck_assert_uint_eq(other_hear(&other), 1);
	must(put(cache, "from here", "replaced"));
	other_say(&other, 0);
	ck_assert_uint_eq(other_hear(&other), 2);
	other_end(&other);
}
END_TEST

static void put_many(struct other *other)
{
	struct varbos_cache *theirs;
	char value[200];

	OTHER_EXPECT(!varbos_cache_open(&theirs, other->space, "c", NULL));
	for (uint64_t i = 0; i < 5000; i++) {
		fill(value, sizeof(value), i % 500);
		i % 500 ? (void)0 : other_say(other, i);
		uint64_t key = i % 500;
		OTHER_EXPECT(!varbos_cache_put_async(theirs, &key, sizeof(key), value,
						     sizeof(value), NULL));
	}
	OTHER_EXPECT(!varbos_cache_flush(theirs));
	other_say(other, 5000);
	other_hear(other);
	/* It ends as it is, in the midst of a segment. */
}

START_TEST(what_another_process_has_put_stays_when_it_ends)
{
	struct other other;
	struct varbos_view view;

	other_start(&other, daemon_.socket, "s", 0, put_many);
	while (other_hear(&other) != 5000)
		;
	other_kill(&other);
	for (int round = 0; round < 2; round++)
		for (uint64_t key = 0; key < 500; key++) {
			must(varbos_cache_get(cache, &key, sizeof(key), &view));
			ck_assert(view.size == 200 && is_filled(view.data, 200, key));
			varbos_view_release(&view);
		}
}
END_TEST

START_TEST(a_forked_child_opens_the_cache_anew_and_leaves_the_parents_views_alone)
{
	struct varbos_reservation reservation;
	struct varbos_view view;
	int status;
	pid_t pid;

	must(put(cache, "k", "v"));
	must(get(cache, "k", &view));
	must(varbos_cache_reserve(cache, "r", 1, 10, NULL, &reservation));
	fflush(NULL);
	pid = fork();
	if (!pid) {
		OTHER_EXPECT(varbos_cache_commit(&reservation, 1) == VARBOS_E_INVALID);
		varbos_view_release(&view);
		OTHER_EXPECT(is(cache, "k", "v"));
		OTHER_EXPECT(!put(cache, "k", "child's"));
		OTHER_EXPECT(is(cache, "k", "child's"));
		varbos_cache_close(cache);
		varbos_disconnect(vb);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert(shows(&view, "v"));
	varbos_view_release(&view);
	ck_assert(is(cache, "k", "child's"));
	must(varbos_cache_commit(&reservation, 0));
	must(put(cache, "k", "parent's"));
	ck_assert(is(cache, "k", "parent's"));
}
END_TEST

START_TEST(a_childs_cache_that_it_never_used_is_closed_without_a_word)
{
	int status;
	pid_t pid;

	must(put(cache, "k", "v"));
	fflush(NULL);
	pid = fork();
	if (!pid) {
		varbos_cache_close(cache);
		varbos_disconnect(vb);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert(is(cache, "k", "v"));
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 400, KEYS = 50 };

static void *work(void *number)
{
	uint64_t self = (uint64_t)(uintptr_t)number;
	struct varbos_view view;
	char value[300];

	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t key = (self * 7 + i * 13) % KEYS;
		size_t size = 8 + key;

		fill(value, size, key);
		if (i % 4 == 0)
			must(varbos_cache_put(cache, &key, sizeof(key), value, size, NULL));
		else if (i % 4 == 1)
			must(varbos_cache_put_async(cache, &key, sizeof(key), value, size,
						    NULL));
		else if (!varbos_cache_get(cache, &key, sizeof(key), &view)) {
			ck_assert(view.size == size && is_filled(view.data, size, key));
			varbos_view_release(&view);
		}
	}
	must(varbos_cache_flush(cache));
	return NULL;
}

START_TEST(threads_put_and_get_the_same_keys)
{
	pthread_t threads[THREADS];

	for (int round = 0; round < 3; round++) {
		for (uintptr_t i = 0; i < THREADS; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, work, (void *)i), 0);
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
	}
}
END_TEST

static void *hold(void *ret)
{
	must(get(cache, "k", ret));
	return NULL;
}

START_TEST(a_view_outlives_its_thread_and_is_released_by_another)
{
	struct varbos_view views[70] = {};
	pthread_t thread;

	must(put(cache, "k", "value"));
	/* More threads than there are lanes, one after the other. */
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, hold, &views[i]), 0);
		pthread_join(thread, NULL);
	}
	must(put(cache, "k", "another"));
	for (int i = 0; i < 20; i++) {
		ck_assert(shows(&views[i], "value"));
		varbos_view_release(&views[i]);
	}
}
END_TEST

/* It takes the lane of whoever has ended last. */
static void *flush_all(void *unused)
{
	(void)unused;
	must(varbos_cache_put_async(cache, "l", 1, "value", 5, NULL));
	must(varbos_cache_flush(cache));
	return NULL;
}

static void *fail_untold(void *unused)
{
	const struct varbos_put_options add = {.mode = VARBOS_PUT_ADD};

	(void)unused;
	must(varbos_cache_put_async(cache, "k", 1, "another", 7, &add));
	return NULL;
}

START_TEST(what_failed_for_a_thread_is_not_told_to_the_next)
{
	pthread_t thread;

	must(put(cache, "k", "value"));
	ck_assert_int_eq(pthread_create(&thread, NULL, fail_untold, NULL), 0);
	pthread_join(thread, NULL);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, flush_all, NULL), 0);
		pthread_join(thread, NULL);
	}
}
END_TEST

enum { LARGE_BYTES = 300 << 10 }; /* in an extent of its own */
#define EXTENT_OF(value) (((value) / SLICE_BYTES + 1) * SLICE_BYTES)

static struct varbos_cache *roomy;

static void put_large(int from, int n, size_t size)
{
	static char value[2 * LARGE_BYTES];

	for (int i = from; i < from + n; i++)
		must(varbos_cache_put(roomy, &i, sizeof(i), value, size, NULL));
}

static bool comes_to_use(uint64_t bytes)
{
	for (int i = 0; i < PATIENCE && used() != bytes; i++)
		usleep(10000);
	return used() == bytes;
}

static void *put_three(void *unused)
{
	put_large(20, 3, LARGE_BYTES);
	return unused;
}

START_TEST(who_puts_large_values_of_one_size_holds_memory_for_one_more)
{
	const uint64_t one = EXTENT_OF(LARGE_BYTES), other = EXTENT_OF(2 * LARGE_BYTES);
	/* Just large enough for that, and for a scan of what one leaves. */
	const struct varbos_cache_options options = {.capacity = 32 * one};
	uint64_t before = used();
	pthread_t thread;

	must(varbos_cache_open(&roomy, space, "roomy", &options));
	put_large(0, 2, LARGE_BYTES);
	ck_assert(comes_to_use(before + 2 * one));
	put_large(2, 1, LARGE_BYTES);
	ck_assert(comes_to_use(before + 4 * one));
	put_large(3, 1, LARGE_BYTES);
	ck_assert(comes_to_use(before + 5 * one));
	/* For none of another size, */
	put_large(4, 1, 2 * LARGE_BYTES);
	ck_assert(comes_to_use(before + 4 * one + other));
	/* and not beyond its end. */
	ck_assert_int_eq(pthread_create(&thread, NULL, put_three, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert(comes_to_use(before + 7 * one + other));
	varbos_cache_close(roomy);
}
END_TEST

static void *reserve_and_leave(void *unused)
{
	struct varbos_reservation large, beside;

	(void)unused;
	must(varbos_cache_reserve(cache, "large", 5, 2 * MIB, NULL, &large));
	must(varbos_cache_reserve(cache, "small", 5, 100, NULL, &beside));
	return NULL;
}

/* More than the space has room for, one after the other. */
START_TEST(what_a_thread_reserved_goes_with_it)
{
	pthread_t thread;

	for (int i = 0; i < 30; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, reserve_and_leave, NULL), 0);
		pthread_join(thread, NULL);
	}
	ck_assert(is_missing(cache, "large"));
}
END_TEST

enum { CROWD = 80 };
static pthread_barrier_t together;

static void *crowd(void *number)
{
	uint64_t key = (uint64_t)(uintptr_t)number;
	struct varbos_reservation reservation;
	struct varbos_view view;

	pthread_barrier_wait(&together);
	for (int i = 0; i < 5; i++) {
		must(varbos_cache_put(cache, &key, sizeof(key), &key, sizeof(key), NULL));
		must(varbos_cache_get(cache, &key, sizeof(key), &view));
		ck_assert(!memcmp(view.data, &key, sizeof(key)));
		varbos_view_release(&view);
		must(varbos_cache_reserve(cache, &key, sizeof(key), 8, NULL, &reservation));
		memcpy(reservation.data, &key, sizeof(key));
		must(varbos_cache_commit(&reservation, 8));
	}
	pthread_barrier_wait(&together);
	return NULL;
}

START_TEST(more_threads_than_lanes_share_the_last_one)
{
	pthread_t threads[CROWD];

	pthread_barrier_init(&together, NULL, CROWD);
	for (uintptr_t i = 0; i < CROWD; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, crowd, (void *)i), 0);
	for (int i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	for (uint64_t key = 0; key < CROWD; key++)
		ck_assert(exists(cache, &key, sizeof(key)));
}
END_TEST

static _Atomic bool put_is_over;

static void *put_late(void *unused)
{
	(void)unused;
	must(put(cache, "late", "value"));
	atomic_store(&put_is_over, true);
	return NULL;
}

static void *read_on(void *unused)
{
	(void)unused;
	for (int i = 0; i < 100; i++)
		ck_assert(is(cache, "k", "value"));
	return NULL;
}

/* It has a lane for as long. */
static void *stay(void *unused)
{
	(void)unused;
	ck_assert(is(cache, "k", "value"));
	pthread_barrier_wait(&together);
	pthread_barrier_wait(&together);
	return NULL;
}

/* Beyond the lanes, where one waits for a daemon that stands still. */
START_TEST(who_reads_waits_for_nobody_who_writes)
{
	enum { ALONE = LANES_A_SESSION - 2 }; /* besides this one, and what is common */
	pthread_t stayers[ALONE], writer, readers[8];

	must(put(cache, "k", "value"));
	pthread_barrier_init(&together, NULL, ALONE + 1);
	for (int i = 0; i < ALONE; i++)
		ck_assert_int_eq(pthread_create(&stayers[i], NULL, stay, NULL), 0);
	pthread_barrier_wait(&together);

	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(pthread_create(&writer, NULL, put_late, NULL), 0);
	for (int i = 0; i < 5; i++)
		nap();
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
		ck_assert_int_eq(pthread_create(&readers[i], NULL, read_on, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
		pthread_join(readers[i], NULL);
	ck_assert(!atomic_load(&put_is_over));
	kill(daemon_.pid, SIGCONT);

	pthread_join(writer, NULL);
	pthread_barrier_wait(&together);
	for (int i = 0; i < ALONE; i++)
		pthread_join(stayers[i], NULL);
	ck_assert(is(cache, "late", "value"));
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("cache members");
	TCase *tcase = tcase_create("cache members");

	lanes_by(argc, argv);
	tcase_add_checked_fixture(tcase, open_cache, close_cache);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, a_member_that_may_only_read_gets_what_another_puts);
	tcase_add_test(tcase, what_another_process_has_put_stays_when_it_ends);
	tcase_add_test(tcase,
		       a_forked_child_opens_the_cache_anew_and_leaves_the_parents_views_alone);
	tcase_add_test(tcase, a_childs_cache_that_it_never_used_is_closed_without_a_word);
	tcase_add_test(tcase, threads_put_and_get_the_same_keys);
	tcase_add_test(tcase, a_view_outlives_its_thread_and_is_released_by_another);
	tcase_add_test(tcase, what_failed_for_a_thread_is_not_told_to_the_next);
	tcase_add_test(tcase, who_puts_large_values_of_one_size_holds_memory_for_one_more);
	tcase_add_test(tcase, what_a_thread_reserved_goes_with_it);
	tcase_add_test(tcase, more_threads_than_lanes_share_the_last_one);
	tcase_add_test(tcase, who_reads_waits_for_nobody_who_writes);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
