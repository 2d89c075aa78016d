/*
 * Fetching: of many who want a value one computes it, and the others have it, too. With "off" as its
 * argument the same without records in lanes.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "tests/integration/cached.h"
#include "tests/integration/joined.h"
#include "tests/integration/other.h"
#include "tests/suite.h"

#define MIB ((size_t)1 << 20)
#define TEXT(text) ((void *)(uintptr_t)(text))

enum {
	PROCESSES = 8,
	KEYS = 12,
	THREADS = 12,
	LONG_MS = 600000,
	SHORT_MS = 50,
	LONGEST_US = 10000000,
};

/* What callbacks count, of all processes. */
static struct counts {
	_Atomic uint32_t computed[KEYS];
	_Atomic uint32_t calls;
} * counts;

static void open_counts(void)
{
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	ck_assert_ptr_ne(counts, MAP_FAILED);
	open_cache_of(8 * MIB);
}

static void close_counts(void)
{
	close_cache();
	munmap(counts, sizeof(*counts));
}

/* In another process. */
static struct varbos_cache *others_cache(const struct other *other)
{
	const struct varbos_cache_options options = {.flags = VARBOS_CACHE_EXISTING};
	struct varbos_cache *opened;

	OTHER_EXPECT(!varbos_cache_open(&opened, other->space, "c", &options));
	return opened;
}

/* The text that it is given. */
static int compute_text(struct varbos_fetch *fetch, void *context)
{
	atomic_fetch_add(&counts->calls, 1);
	return varbos_fetch_give(fetch, context, strlen(context));
}

static int compute_nothing(struct varbos_fetch *fetch, void *context)
{
	(void)fetch;
	atomic_fetch_add(&counts->calls, 1);
	return *(int *)context;
}

static int fetch(struct varbos_cache *from, const char *key,
		 int (*compute)(struct varbos_fetch *, void *), void *context,
		 const struct varbos_fetch_options *options, struct varbos_view *ret)
{
	return varbos_cache_fetch(from, key, strlen(key), compute, context, options, ret);
}

/* That is the key's value, which is computed only if need be. */
static void gives(const char *key, const char *text, const struct varbos_fetch_options *options,
		  const char *value)
{
	struct varbos_view view;

	must(fetch(cache, key, compute_text, TEXT(text), options, &view));
	ck_assert_msg(shows(&view, value), "%.*s", (int)view.size, (const char *)view.data);
	varbos_view_release(&view);
}

/* ---- many ---- */

static int compute_key(struct varbos_fetch *fetch, void *context)
{
	(void)context;
	atomic_fetch_add(&counts->computed[*(const char *)fetch->key - 'a'], 1);
	usleep(5000); /* long enough for others to come */
	return varbos_fetch_give(fetch, fetch->key, fetch->key_size);
}

static bool all_keys(struct varbos_cache *from, uint32_t first)
{
	bool right = true;

	for (uint32_t i = 0; i < KEYS; i++) {
		const char key[2] = {(char)('a' + (first + i) % KEYS), '\0'};
		struct varbos_view view;

		if (fetch(from, key, compute_key, NULL, NULL, &view))
			return false;
		right &= shows(&view, key);
		varbos_view_release(&view);
	}
	return right;
}

static void fetch_all(struct other *other)
{
	struct varbos_cache *from = others_cache(other);

	other_say(other, 1);
	OTHER_EXPECT(other_hear(other) == 2);
	OTHER_EXPECT(all_keys(from, (uint32_t)other->pid));
	varbos_cache_close(from);
}

START_TEST(of_many_processes_one_computes_each_value)
{
	struct other others[PROCESSES];

	for (int i = 0; i < PROCESSES; i++) {
		other_start(&others[i], daemon_.socket, "s", 0, fetch_all);
		ck_assert_uint_eq(other_hear(&others[i]), 1);
	}
	for (int i = 0; i < PROCESSES; i++)
		other_say(&others[i], 2);
	for (int i = 0; i < PROCESSES; i++)
		other_end(&others[i]);
	for (int i = 0; i < KEYS; i++)
		ck_assert_uint_eq(counts->computed[i], 1);
}
END_TEST

static void *fetch_in_thread(void *first)
{
	return all_keys(cache, *(uint32_t *)first) ? first : NULL;
}

START_TEST(of_many_threads_one_computes_each_value)
{
	uint32_t first[THREADS] = {0};
	pthread_t threads[THREADS];
	void *right;

	for (uint32_t i = 0; i < THREADS; i++) {
		first[i] = i / 2;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, fetch_in_thread, &first[i]),
				 0);
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &right);
		ck_assert_ptr_nonnull(right);
	}
	for (int i = 0; i < KEYS; i++)
		ck_assert_uint_eq(counts->computed[i], 1);
}
END_TEST

/* ---- who dies, or is late ---- */

/* Says that it computes, and goes on when it is told. */
static int compute_told(struct varbos_fetch *fetch, void *context)
{
	const struct other *other = context;

	other_say(other, 1);
	if (other_hear(other) != 2)
		return EINTR;
	return varbos_fetch_give(fetch, "others", 6);
}

/* What it comes to then, it says: 3 for "others", 4 for "mine". */
static void computes_for(struct other *other, uint64_t compute_ms, uint64_t stale_ms)
{
	const struct varbos_fetch_options options = {
		.compute_ms = compute_ms, .stale_ms = stale_ms, .ttl_ms = LONG_MS};
	struct varbos_cache *from = others_cache(other);
	struct varbos_view view;

	OTHER_EXPECT(!fetch(from, "k", compute_told, other, &options, &view));
	other_say(other, shows(&view, "others") ? 3 : shows(&view, "mine") ? 4 : 5);
	varbos_view_release(&view);
	varbos_cache_close(from);
}

static void computes_long(struct other *other)
{
	computes_for(other, LONG_MS, 0);
}

static void computes_too_long(struct other *other)
{
	computes_for(other, SHORT_MS, 0);
}

static void computes_anew(struct other *other)
{
	computes_for(other, LONG_MS, LONG_MS);
}

static void *fetch_mine(void *options)
{
	gives("k", "mine", options, "mine");
	return NULL;
}

START_TEST(what_the_dead_computed_another_computes_at_once)
{
	struct varbos_fetch_options options = {.wait_ms = LONG_MS, .compute_ms = LONG_MS};
	struct other other;
	pthread_t thread;

	other_start(&other, daemon_.socket, "s", 0, computes_long);
	ck_assert_uint_eq(other_hear(&other), 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, fetch_mine, &options), 0);
	usleep(20000);
	ck_assert_uint_eq(counts->calls, 0);
	other_kill(&other);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(counts->calls, 1);
}
END_TEST

START_TEST(who_is_late_takes_what_another_has_made_of_it)
{
	struct varbos_fetch_options options = {.wait_ms = LONG_MS, .compute_ms = LONG_MS};
	struct other other;

	other_start(&other, daemon_.socket, "s", 0, computes_too_long);
	ck_assert_uint_eq(other_hear(&other), 1);
	gives("k", "mine", &options, "mine"); /* when its time is over */
	ck_assert_uint_eq(counts->calls, 1);
	other_say(&other, 2);
	ck_assert_uint_eq(other_hear(&other), 4);
	other_end(&other);
	gives("k", "none", &options, "mine");
}
END_TEST

static int compute_overtaken(struct varbos_fetch *fetch, void *context)
{
	const char *value = context;

	if (atomic_fetch_add(&counts->calls, 1) < 2) {
		if (value)
			must(varbos_cache_put(cache, "k", 1, value, strlen(value), NULL));
		else
			refused(varbos_cache_del(cache, "k", 1), VARBOS_E_NOT_FOUND, "key");
	}
	return varbos_fetch_give(fetch, "older", 5);
}

START_TEST(what_is_put_or_deleted_meanwhile_counts)
{
	struct varbos_view view;

	must(fetch(cache, "k", compute_overtaken, TEXT("newer"), NULL, &view));
	ck_assert(shows(&view, "newer"));
	varbos_view_release(&view);
	ck_assert_uint_eq(counts->calls, 1);

	/* computed anew; but not for ever */
	must(varbos_cache_del(cache, "k", 1));
	counts->calls = 1;
	must(fetch(cache, "k", compute_overtaken, NULL, NULL, &view));
	varbos_view_release(&view);
	ck_assert_uint_eq(counts->calls, 3);
	must(varbos_cache_del(cache, "k", 1));
	counts->calls = 0;
	refused(fetch(cache, "k", compute_overtaken, NULL, NULL, &view), VARBOS_E_LATE, NULL);
	ck_assert_uint_eq(counts->calls, 2);
}
END_TEST

START_TEST(nobody_waits_longer_than_he_wants)
{
	const struct varbos_fetch_options options = {.wait_ms = SHORT_MS};
	struct varbos_view view;
	struct other other;

	other_start(&other, daemon_.socket, "s", 0, computes_long);
	ck_assert_uint_eq(other_hear(&other), 1);
	refused(fetch(cache, "k", compute_text, TEXT("mine"), &options, &view),
		VARBOS_E_TIMEOUT, "wait");
	ck_assert_uint_eq(counts->calls, 0);
	other_say(&other, 2);
	ck_assert_uint_eq(other_hear(&other), 3);
	other_end(&other);
	gives("k", "mine", &options, "others");
}
END_TEST

/* ---- failures ---- */

static int fail_when_told(struct varbos_fetch *fetch, void *context)
{
	(void)fetch;
	other_say(context, 1);
	return other_hear(context) == 2 ? 42 : 1;
}

static void fails(struct other *other)
{
	struct varbos_cache *from = others_cache(other);
	struct varbos_view view;

	OTHER_EXPECT(fetch(from, "k", fail_when_told, other, NULL, &view) == VARBOS_E_FAILED);
	OTHER_EXPECT(varbos_error()->system_errno == 42);
	varbos_cache_close(from);
}

static void *fetch_failing(void *context)
{
	struct varbos_view view;
	int code = 7;

	refused(fetch(cache, "k", compute_nothing, &code, NULL, &view), VARBOS_E_FAILED,
		"value");
	*(int *)context = varbos_error()->system_errno;
	return NULL;
}

START_TEST(all_who_wait_hear_of_a_failure_and_later_ones_compute_anew)
{
	useconds_t pause_us = 50000;
	pthread_t threads[3];
	struct other other;
	int heard;

	/* Whoever comes when it has failed waits for nobody: on a busy machine they may take a while. */
	do {
		int errnos[3];

		heard = 0;
		counts->calls = 0;
		other_start(&other, daemon_.socket, "s", 0, fails);
		ck_assert_uint_eq(other_hear(&other), 1);
		for (int i = 0; i < 3; i++)
			ck_assert_int_eq(
				pthread_create(&threads[i], NULL, fetch_failing, &errnos[i]),
				0);
		usleep(pause_us);
		other_say(&other, 2);
		for (int i = 0; i < 3; i++) {
			pthread_join(threads[i], NULL);
			heard += errnos[i] == 42;
		}
		other_end(&other);
		pause_us *= 4;
	} while (heard < 3 && pause_us < LONGEST_US);
	ck_assert_int_eq(heard, 3);
	ck_assert_uint_eq(counts->calls, 0);
	gives("k", "mine", NULL, "mine");
}
END_TEST

static void hears_of_failure(struct other *other)
{
	struct varbos_cache *from = others_cache(other);
	struct varbos_view view;

	OTHER_EXPECT(fetch(from, "k", compute_text, TEXT("none"), NULL, &view) ==
		     VARBOS_E_FAILED);
	OTHER_EXPECT(varbos_error()->system_errno == 7);
	varbos_cache_close(from);
}

START_TEST(a_failure_is_remembered_for_as_long_as_that_is_wanted)
{
	struct varbos_fetch_options options = {.failure_ms = LONG_MS};
	struct varbos_view view;
	struct other other;
	int code = 7;

	refused(fetch(cache, "k", compute_nothing, &code, &options, &view), VARBOS_E_FAILED,
		"value");
	ck_assert_int_eq(varbos_error()->system_errno, 7);
	other_start(&other, daemon_.socket, "s", 0, hears_of_failure);
	other_end(&other);
	ck_assert_uint_eq(counts->calls, 1);
	/* it is no value */
	ck_assert_int_eq(varbos_cache_get(cache, "k", 1, &view), VARBOS_E_NOT_FOUND);
	ck_assert_int_eq(varbos_cache_exists(cache, "k", 1), VARBOS_E_NOT_FOUND);
	ck_assert_int_eq(varbos_cache_get(cache, "k", 2, &view), VARBOS_E_NOT_FOUND);
	/* and a put ends it */
	must(varbos_cache_put(cache, "k", 1, "put", 3, NULL));
	gives("k", "none", NULL, "put");
	must(varbos_cache_del(cache, "k", 1));
	gives("k", "mine", NULL, "mine");

	options.failure_ms = 1;
	refused(fetch(cache, "l", compute_nothing, &code, &options, &view), VARBOS_E_FAILED,
		"value");
	usleep(30000); /* beyond the clock's ticks */
	gives("l", "mine", NULL, "mine");
}
END_TEST

/* ---- stale values ---- */

START_TEST(a_stale_value_is_taken_while_one_computes_the_next)
{
	struct varbos_fetch_options options = {.ttl_ms = 1, .stale_ms = LONG_MS};
	struct varbos_view view;
	struct other other;
	int code = 7;

	gives("k", "old", &options, "old");
	usleep(30000);
	other_start(&other, daemon_.socket, "s", 0, computes_anew);
	ck_assert_uint_eq(other_hear(&other), 1); /* nobody else has the right */
	for (int i = 0; i < 3; i++)
		gives("k", "mine", &options, "old");
	ck_assert_uint_eq(counts->calls, 1);
	other_say(&other, 2);
	ck_assert_uint_eq(other_hear(&other), 3);
	other_end(&other);
	gives("k", "mine", &options, "others");
	ck_assert_uint_eq(counts->calls, 1);

	/* it is the answer, too, where no other can be computed */
	gives("l", "old", &options, "old");
	usleep(30000);
	must(fetch(cache, "l", compute_nothing, &code, &options, &view));
	ck_assert(shows(&view, "old"));
	varbos_view_release(&view);
	ck_assert_uint_eq(counts->calls, 3);
	options.ttl_ms = LONG_MS;
	gives("l", "new", &options, "new");
	/* beyond its limit it is none */
	options = (struct varbos_fetch_options){.ttl_ms = 1, .stale_ms = 1};
	gives("m", "old", &options, "old");
	usleep(30000);
	gives("m", "new", &options, "new");
}
END_TEST

/* ---- callbacks ---- */

struct nested {
	const char *key;
	int r;
};

static int compute_nested(struct varbos_fetch *fetch_, void *context)
{
	struct nested *nested = context;
	struct varbos_view view;

	nested->r = fetch(fetch_->cache, nested->key, compute_text, TEXT("inner"), NULL, &view);
	if (nested->r)
		return varbos_fetch_give(fetch_, "alone", 5);
	varbos_view_release(&view);
	return varbos_fetch_give(fetch_, "outer", 5);
}

START_TEST(a_callback_may_fetch_another_value_and_not_its_own)
{
	struct nested nested = {.key = "inner"};
	struct varbos_view view;

	must(fetch(cache, "outer", compute_nested, &nested, NULL, &view));
	ck_assert(!nested.r && shows(&view, "outer"));
	varbos_view_release(&view);
	gives("inner", "none", NULL, "inner");

	nested.key = "own";
	must(fetch(cache, "own", compute_nested, &nested, NULL, &view));
	ck_assert_int_eq(nested.r, VARBOS_E_DEADLOCK);
	ck_assert(shows(&view, "alone"));
	varbos_view_release(&view);
}
END_TEST

static pthread_barrier_t both;

static int compute_crossed(struct varbos_fetch *fetch_, void *context)
{
	pthread_barrier_wait(&both);
	return compute_nested(fetch_, context);
}

static void *fetch_crossed(void *context)
{
	struct nested *nested = context;
	const char *own = *nested->key == 'x' ? "y" : "x";
	struct varbos_view view;

	must(fetch(cache, own, compute_crossed, nested, NULL, &view));
	varbos_view_release(&view);
	return NULL;
}

START_TEST(two_threads_that_want_what_the_other_computes_do_not_wait_for_ever)
{
	struct nested nested[2] = {{.key = "x"}, {.key = "y"}};
	pthread_t thread;

	pthread_barrier_init(&both, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, fetch_crossed, &nested[0]), 0);
	fetch_crossed(&nested[1]);
	pthread_join(thread, NULL);
	ck_assert_int_eq(nested[0].r + nested[1].r, VARBOS_E_DEADLOCK); /* one of them */
	pthread_barrier_destroy(&both);
}
END_TEST

static int compute_in_place(struct varbos_fetch *fetch_, void *context)
{
	(void)context;
	must(varbos_fetch_reserve(fetch_, MIB));
	ck_assert_uint_eq(fetch_->size, MIB);
	memset(fetch_->data, 'x', MIB);
	fetch_->size = 1000;
	fetch_->flags = 0x5a;
	fetch_->ttl_ms = UINT64_MAX;
	return 0;
}

static int compute_badly(struct varbos_fetch *fetch_, void *context)
{
	switch (*(int *)context) {
	case 0:
		return 0;
	case 1:
		must(varbos_fetch_give(fetch_, "x", 1));
		refused(varbos_fetch_give(fetch_, "y", 1), VARBOS_E_INVALID, "fetch");
		return 0;
	case 2:
		return varbos_fetch_reserve(fetch_, 64 * MIB);
	default:
		must(varbos_fetch_give(fetch_, "x", 1));
		fetch_->size = 2;
		return 0;
	}
}

START_TEST(a_value_may_be_built_where_it_stays)
{
	const struct varbos_fetch_options options = {.ttl_ms = 1, .flags = 1};
	struct varbos_view view;

	must(fetch(cache, "k", compute_in_place, NULL, &options, &view));
	ck_assert_uint_eq(view.size, 1000);
	ck_assert_uint_eq(view.flags, 0x5a);
	ck_assert_uint_eq(varbos_view_expires_in_ms(&view), UINT64_MAX);
	for (size_t i = 0; i < view.size; i++)
		ck_assert_int_eq(((const char *)view.data)[i], 'x');
	/* it is held as any other */
	must(varbos_cache_del(cache, "k", 1));
	for (int i = 0; i < 200; i++)
		must(varbos_cache_put(cache, "l", 1, view.data, view.size, NULL));
	ck_assert_int_eq(*(const char *)view.data, 'x');
	varbos_view_release(&view);
}
END_TEST

START_TEST(a_callback_that_makes_no_sense_gives_nothing)
{
	struct varbos_view view;
	int what = 0;

	refused(fetch(cache, "k", compute_badly, &what, NULL, &view), VARBOS_E_INVALID,
		"compute");
	what = 2; /* why it could not be given is why there is none */
	refused(fetch(cache, "k", compute_badly, &what, NULL, &view), VARBOS_E_TOO_LARGE,
		"capacity");
	what = 3;
	refused(fetch(cache, "k", compute_badly, &what, NULL, &view), VARBOS_E_INVALID, "size");
	what = 1;
	must(fetch(cache, "k", compute_badly, &what, NULL, &view));
	ck_assert(shows(&view, "x"));
	varbos_view_release(&view);
	refused(varbos_cache_fetch(cache, "k", 1, NULL, NULL, NULL, &view), VARBOS_E_INVALID,
		"compute");
	refused(varbos_cache_fetch(cache, "k", 0, compute_text, TEXT(""), NULL, &view),
		VARBOS_E_INVALID, "key_size");
	refused(varbos_cache_fetch(NULL, "k", 1, compute_text, TEXT(""), NULL, &view),
		VARBOS_E_INVALID, "cache");
	refused(varbos_fetch_give(NULL, "k", 1), VARBOS_E_INVALID, "fetch");
}
END_TEST

static void reads_only(struct other *other)
{
	struct varbos_cache *from = others_cache(other);
	struct varbos_view view;

	OTHER_EXPECT(!fetch(from, "k", compute_text, TEXT("none"), NULL, &view));
	OTHER_EXPECT(shows(&view, "mine"));
	varbos_view_release(&view);
	OTHER_EXPECT(fetch(from, "l", compute_text, TEXT("none"), NULL, &view) ==
		     VARBOS_E_PERMISSION);
	varbos_cache_close(from);
}

START_TEST(who_may_only_read_computes_nothing)
{
	struct other other;

	gives("k", "mine", NULL, "mine");
	other_start(&other, daemon_.socket, "s", VARBOS_SPACE_READ_ONLY, reads_only);
	other_end(&other);
	ck_assert_uint_eq(counts->calls, 1);
}
END_TEST

/* ---- many that wait ---- */

static _Atomic uint32_t computing, go_on;

static int compute_held(struct varbos_fetch *fetch_, void *context)
{
	(void)context;
	atomic_fetch_add(&computing, 1);
	while (!atomic_load(&go_on))
		usleep(1000);
	return varbos_fetch_give(fetch_, fetch_->key, fetch_->key_size);
}

struct of_key {
	struct varbos_cache *from;
	int (*compute)(struct varbos_fetch *, void *);
	char key;
	bool right;
};

static void *fetch_key(void *context)
{
	struct of_key *of = context;
	struct varbos_view view;

	of->right = !varbos_cache_fetch(of->from, &of->key, 1, of->compute, TEXT("none"), NULL,
					&view);
	if (of->right)
		of->right = view.size == 1 && *(const char *)view.data == of->key;
	varbos_view_release(&view);
	return NULL;
}

static void start_all(struct of_key *of, pthread_t *threads, struct varbos_cache *from,
		      int (*compute)(struct varbos_fetch *, void *))
{
	for (uint32_t i = 0; i < THREADS; i++) {
		of[i] = (struct of_key){from, compute, (char)('a' + i), false};
		if (pthread_create(&threads[i], NULL, fetch_key, &of[i]))
			abort();
	}
}

static bool join_all(const struct of_key *of, const pthread_t *threads)
{
	bool right = true;

	for (uint32_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		right &= of[i].right;
	}
	return right;
}

static void computes_all(struct other *other)
{
	struct varbos_cache *from = others_cache(other);
	pthread_t threads[THREADS];
	struct of_key of[THREADS];

	start_all(of, threads, from, compute_held);
	while (atomic_load(&computing) < THREADS)
		usleep(1000);
	other_say(other, 1);
	OTHER_EXPECT(other_hear(other) == 2);
	atomic_store(&go_on, 1);
	OTHER_EXPECT(join_all(of, threads));
	varbos_cache_close(from);
}

START_TEST(who_waits_for_many_values_keeps_no_other_from_asking)
{
	pthread_t threads[THREADS];
	struct of_key of[THREADS];
	struct other other;

	other_start(&other, daemon_.socket, "s", 0, computes_all);
	ck_assert_uint_eq(other_hear(&other), 1);
	start_all(of, threads, cache, compute_text);
	usleep(50000); /* they wait */
	for (int i = 0; i < 40; i++)
		must(varbos_cache_put(cache, "big", 3, "", 0, NULL));
	must(varbos_ping(vb, NULL));
	gives("z", "mine", NULL, "mine");
	other_say(&other, 2);
	ck_assert(join_all(of, threads));
	other_end(&other);
	ck_assert_uint_eq(counts->calls, 1);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("fetch");
	TCase *tcase = tcase_create("fetch");

	tcase_add_checked_fixture(tcase, open_counts, close_counts);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, of_many_processes_one_computes_each_value);
	tcase_add_test(tcase, of_many_threads_one_computes_each_value);
	tcase_add_test(tcase, what_the_dead_computed_another_computes_at_once);
	tcase_add_test(tcase, who_is_late_takes_what_another_has_made_of_it);
	tcase_add_test(tcase, what_is_put_or_deleted_meanwhile_counts);
	tcase_add_test(tcase, nobody_waits_longer_than_he_wants);
	tcase_add_test(tcase, all_who_wait_hear_of_a_failure_and_later_ones_compute_anew);
	tcase_add_test(tcase, a_failure_is_remembered_for_as_long_as_that_is_wanted);
	tcase_add_test(tcase, a_stale_value_is_taken_while_one_computes_the_next);
	tcase_add_test(tcase, a_callback_may_fetch_another_value_and_not_its_own);
	tcase_add_test(tcase,
		       two_threads_that_want_what_the_other_computes_do_not_wait_for_ever);
	tcase_add_test(tcase, a_value_may_be_built_where_it_stays);
	tcase_add_test(tcase, a_callback_that_makes_no_sense_gives_nothing);
	tcase_add_test(tcase, who_may_only_read_computes_nothing);
	tcase_add_test(tcase, who_waits_for_many_values_keeps_no_other_from_asking);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(int argc, char **argv)
{
	lanes_by(argc, argv);
	return suite_run(suite());
}
