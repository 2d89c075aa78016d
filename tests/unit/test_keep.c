/*
 * What outlives the daemon, with a store that is the test's own.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/keep.h"
#include "daemon/server/keep_over.h"
#include "daemon/server/log.h"
#include "daemon/server/park.h"
#include "tests/suite.h"
#include "tests/unit/fake_store.h"

enum { NAMES_MAX = 3000 };

static struct fake_store store;
static struct {
	char name[KEPT_NAME_MAX];
	int fd;
	ino_t inode;
} files[NAMES_MAX];

static void make_files(uint32_t n)
{
	struct stat st;

	for (uint32_t i = 0; i < n; i++) {
		kept_name(files[i].name, KEPT_DATA, 77, i, i + 1);
		files[i].fd = memfd_create("kept", MFD_CLOEXEC);
		ck_assert_int_ge(files[i].fd, 0);
		ck_assert(!fstat(files[i].fd, &st));
		files[i].inode = st.st_ino;
	}
}

static struct keep *start(struct left *left, uint32_t patience_ms)
{
	struct keep *keep;
	struct left none = {};

	ck_assert(!keep_new(&keep, left ? left : &none,
			    &(struct keep_terms){.patience_ms = patience_ms}));
	if (left)
		left_deinit(left);
	return keep;
}

static int put(struct keep *keep, uint32_t first, uint32_t n)
{
	_cleanup_(freep) struct kept *what = calloc(n, sizeof(*what));

	for (uint32_t i = 0; i < n; i++)
		what[i] = (struct kept){files[first + i].name, files[first + i].fd};
	return keep_put(keep, what, n);
}

/* All of these were left, and are the files that they were; they are closed. */
static void take(struct keep *keep, uint32_t first, uint32_t n)
{
	struct stat st;

	for (uint32_t i = first; i < first + n; i++) {
		int fd = keep_take(keep, files[i].name);

		ck_assert_msg(fd >= 0, "%s is gone", files[i].name);
		ck_assert(!fstat(fd, &st));
		ck_assert_uint_eq(st.st_ino, files[i].inode);
		ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		keep_remove(keep, files[i].name);
		close(fd);
	}
}

static void setup(void)
{
	struct rlimit limit;

	log_limit(LOG_LEVEL_ERROR);
	ck_assert(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	ck_assert(!setrlimit(RLIMIT_NOFILE, &limit));
	fake_store_start(&store, 512);
}

static void teardown(void)
{
	fake_store_stop(&store);
}

START_TEST(what_was_put_is_in_the_store)
{
	struct keep *keep = start(NULL, 0);

	ck_assert(keep_lasts(keep));
	ck_assert(!keep_resumes(keep));
	make_files(10);
	store.slow_ms = 20;
	ck_assert_int_eq(put(keep, 0, 10), 0);
	for (uint32_t i = 0; i < 10; i++)
		ck_assert(fake_store_has(&store, files[i].name));
	ck_assert_uint_eq(store.barriers, 1);
	keep_free(keep);
	ck_assert_uint_eq(fake_store_count(&store, NULL), 10);
}
END_TEST

START_TEST(what_is_removed_leaves_the_store)
{
	struct keep *keep = start(NULL, 0);

	make_files(3);
	ck_assert_int_eq(put(keep, 0, 2), 0);
	keep_remove(keep, files[0].name);
	keep_remove(keep, files[0].name);
	keep_remove(keep, files[2].name);
	ck_assert_int_eq(put(keep, 2, 1), 0);
	ck_assert(!fake_store_has(&store, files[0].name));
	ck_assert(fake_store_has(&store, files[1].name));
	ck_assert(fake_store_has(&store, files[2].name));
	keep_free(keep);
}
END_TEST

START_TEST(a_name_has_the_file_that_came_last)
{
	struct keep *keep = start(NULL, 0);
	struct left left;
	struct stat st;
	int fd;

	make_files(2);
	for (int i = 0; i < 20; i++) {
		struct kept what = {"ledger", files[i % 2].fd};

		ck_assert_int_eq(keep_put(keep, &what, 1), 0);
		ck_assert_int_eq(keep_put(keep, &what, 1), -EEXIST);
		if (i < 19)
			keep_remove(keep, "ledger");
	}
	keep_free(keep);
	ck_assert_uint_eq(fake_store_count(&store, NULL), 1);
	fake_store_leave(&store, &left);
	keep = start(&left, 0);
	fd = keep_take(keep, "ledger");
	ck_assert(!fstat(fd, &st));
	ck_assert_uint_eq(st.st_ino, files[1].inode);
	close(fd);
	keep_free(keep);
}
END_TEST

START_TEST(what_was_left_is_taken_once_and_the_rest_is_dropped)
{
	struct keep *keep = start(NULL, 0);
	char name[KEPT_NAME_MAX];
	struct left left;
	int fd;

	make_files(4);
	ck_assert_int_eq(put(keep, 0, 4), 0);
	keep_free(keep);
	fake_store_leave(&store, &left);
	keep = start(&left, 0);
	ck_assert(keep_resumes(keep));
	ck_assert(keep_left(keep, KEPT_DATA, name));
	ck_assert(!keep_left(keep, KEPT_MAP, name));
	fd = keep_take(keep, files[2].name);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(keep_take(keep, files[2].name), -1);
	ck_assert_int_eq(keep_take(keep, "bell"), -1);
	ck_assert_uint_eq(keep_drop_rest(keep), 3);
	ck_assert_int_eq(keep_take(keep, files[1].name), -1);
	ck_assert(!keep_left(keep, KEPT_DATA, name));
	keep_free(keep);
	ck_assert_uint_eq(fake_store_count(&store, NULL), 1);
	ck_assert(fake_store_has(&store, files[2].name));
	close(fd);
}
END_TEST

START_TEST(what_is_put_takes_the_place_of_what_nobody_took)
{
	struct keep *keep = start(NULL, 0);
	struct left left;
	struct stat st;
	int fd;

	make_files(2);
	ck_assert_int_eq(put(keep, 0, 1), 0);
	keep_free(keep);
	fake_store_leave(&store, &left);
	keep = start(&left, 0);
	ck_assert_int_eq(keep_put(keep, &(struct kept){files[0].name, files[1].fd}, 1), 0);
	ck_assert_int_eq(keep_take(keep, files[0].name), -1);
	ck_assert_uint_eq(keep_drop_rest(keep), 0);
	keep_free(keep);
	ck_assert_uint_eq(fake_store_count(&store, NULL), 1);
	fake_store_leave(&store, &left);
	keep = start(&left, 0);
	fd = keep_take(keep, files[0].name);
	ck_assert(!fstat(fd, &st));
	ck_assert_uint_eq(st.st_ino, files[1].inode);
	ck_assert_int_eq(keep_put(keep, &(struct kept){files[0].name, fd}, 1), -EEXIST);
	close(fd);
	keep_free(keep);
}
END_TEST

static void left_add(struct left *left, const char *name, int fd)
{
	left->names[left->n] = strdup(name);
	left->fds[left->n++] = fd;
}

START_TEST(of_two_states_of_a_group_the_later_one_counts)
{
	const char *groups[] = {"group-7", "group-8"};
	struct left left = {.names = calloc(4, sizeof(char *)), .fds = calloc(4, sizeof(int))};
	struct keep *keep;
	struct stat st;
	int fd;

	make_files(2);
	for (int i = 0; i < 2; i++) {
		struct parked_fd parked = {.name = "bell", .fd = files[i].fd};
		int pair[2];

		ck_assert(!park_make(&parked, 1, pair));
		left_add(&left, groups[i], pair[0]);
		left_add(&left, groups[i], pair[1]);
	}
	keep = start(&left, 0);
	fd = keep_take(keep, "bell");
	ck_assert(!fstat(fd, &st));
	ck_assert_uint_eq(st.st_ino, files[1].inode);
	keep_free(keep);
	close(fd);
}
END_TEST

START_TEST(without_a_store_all_works_and_nothing_lasts)
{
	struct keep *keep;

	unsetenv("FDSTORE");
	make_files(300);
	keep = start(NULL, 0);
	ck_assert(!keep_lasts(keep));
	ck_assert(keep_has_manager(keep));
	ck_assert_int_eq(put(keep, 0, 300), 0);
	ck_assert_int_eq(put(keep, 7, 1), -EEXIST);
	keep_remove(keep, files[7].name);
	ck_assert_int_eq(put(keep, 7, 1), 0);
	ck_assert_int_eq(keep_take(keep, files[7].name), -1);
	keep_free(keep);
	ck_assert_uint_eq(fake_store_count(&store, NULL), 0);
}
END_TEST

START_TEST(a_store_that_does_not_answer_keeps_nothing)
{
	struct keep *keep = start(NULL, 200);
	int r;

	make_files(2);
	store.deaf = true;
	ck_assert_int_eq(put(keep, 0, 2), -ETIMEDOUT);
	store.deaf = false;
	/* On a busy machine it may be late though it answers. */
	for (int tries = 0; (r = put(keep, 0, 1)) == -ETIMEDOUT && tries < 50; tries++)
		;
	ck_assert_int_eq(r, 0);
	ck_assert(fake_store_has(&store, files[0].name));
	ck_assert(!fake_store_has(&store, files[1].name));
	keep_free(keep);
}
END_TEST

START_TEST(what_the_store_has_no_room_for_is_refused)
{
	struct keep *keep;
	uint32_t most;

	setenv("FDSTORE", "10", 1); /* five of their own, one group and its next state */
	keep = start(NULL, 0);
	make_files(300);
	ck_assert_int_eq(put(keep, 0, 5 + 253), 0);
	ck_assert_int_eq(put(keep, 290, 2), -ENOSPC);
	keep_remove(keep, files[3].name);
	ck_assert_int_eq(put(keep, 290, 2), -ENOSPC); /* none of them, then */
	ck_assert_int_eq(put(keep, 291, 1), 0);
	keep_free(keep);
	ck_assert_uint_eq(fake_store_count(&store, &most), 7);
	ck_assert_uint_le(most, 10);
}
END_TEST

START_TEST(thousands_are_parked_and_found_again)
{
	struct keep *keep = start(NULL, 0);
	struct left left;
	uint32_t most;

	make_files(NAMES_MAX);
	for (uint32_t i = 0; i < NAMES_MAX; i += 100)
		ck_assert_int_eq(put(keep, i, 100), 0);
	ck_assert_uint_eq(fake_store_count(&store, &most), 200 + 2 * 12);
	ck_assert_uint_le(most, 200 + 2 * 12 + 2 * 2);
	for (uint32_t i = 0; i < NAMES_MAX; i += 3)
		keep_remove(keep, files[i].name);
	ck_assert_int_eq(put(keep, 0, 1), 0);
	keep_free(keep);

	for (int round = 0; round < 2; round++) {
		fake_store_leave(&store, &left);
		keep = start(&left, 0);
		if (!round) {
			keep_free(keep); /* one that ends before it has looked at them */
			continue;
		}
		for (uint32_t i = 3; i < NAMES_MAX; i += 3)
			ck_assert_int_eq(keep_take(keep, files[i].name), -1);
		take(keep, 0, 1);
		for (uint32_t i = 1; i < NAMES_MAX; i += 3)
			take(keep, i, 2);
		ck_assert_uint_eq(keep_drop_rest(keep), 0);
		keep_free(keep);
	}
	ck_assert_uint_eq(fake_store_count(&store, NULL), 0);
}
END_TEST

/* Whatever changes at once, and however much is kept: what was put is in the store. */
START_TEST(all_groups_may_change_at_once)
{
	struct keep *keep;
	struct left left;
	uint32_t most, n = 0;

	setenv("FDSTORE", "20", 1);
	keep = start(NULL, 0);
	make_files(NAMES_MAX);
	while (!put(keep, n, 20))
		n += 20;
	ck_assert_uint_gt(n, 10 + PARK_MAX);
	keep_free(keep);

	fake_store_leave(&store, &left);
	keep = start(&left, 0);
	for (uint32_t i = 0; i < n; i += 2)
		ck_assert_int_ge(keep_take(keep, files[i].name), 0);
	ck_assert_uint_eq(keep_drop_rest(keep), n / 2);
	while (!keep_is_settled(keep))
		usleep(1000);
	keep_free(keep);

	fake_store_count(&store, &most);
	ck_assert_uint_le(most, 20);
	fake_store_leave(&store, &left);
	keep = start(&left, 0);
	for (uint32_t i = 0; i < n; i += 2)
		take(keep, i, 1);
	ck_assert_uint_eq(keep_drop_rest(keep), 0);
	keep_free(keep);
}
END_TEST

START_TEST(a_death_between_any_two_messages_loses_nothing)
{
	struct keep *keep = start(NULL, 0);
	struct left left;

	make_files(230);
	ck_assert_int_eq(put(keep, 0, 220), 0);
	store.takes_shots = true;
	ck_assert_int_eq(put(keep, 220, 10), 0);
	for (uint32_t i = 205; i < 215; i++)
		keep_remove(keep, files[i].name);
	keep_remove(keep, files[0].name);
	keep_free(keep);
	fake_store_count(&store, NULL); /* all that was said has been looked at */
	store.takes_shots = false;
	ck_assert_uint_ge(store.n_shots, 4);
	for (uint32_t i = 0; i < store.n_shots; i++) {
		fake_shot_leave(store.shots[i], &left);
		keep = start(&left, 0);
		take(keep, 1, 204);
		take(keep, 215, 5);
		keep_drop_rest(keep);
		keep_free(keep);
	}
}
END_TEST

static void *put_many(void *userdata)
{
	struct keep *keep = userdata;
	static _Atomic uint32_t next;
	uint32_t first = next++ * 100;

	for (uint32_t i = first; i < first + 100; i += 2) {
		ck_assert_int_eq(put(keep, i, 2), 0);
		if (i % 4)
			keep_remove(keep, files[i].name);
	}
	return NULL;
}

START_TEST(workers_put_at_once)
{
	struct keep *keep = start(NULL, 0);
	pthread_t threads[4];
	struct left left;

	make_files(400);
	for (int i = 0; i < 4; i++)
		ck_assert(!pthread_create(&threads[i], NULL, put_many, keep));
	for (int i = 0; i < 4; i++)
		ck_assert(!pthread_join(threads[i], NULL));
	keep_free(keep);
	fake_store_leave(&store, &left);
	keep = start(&left, 0);
	for (uint32_t i = 0; i < 400; i++)
		if (i % 4 != 2)
			take(keep, i, 1);
	ck_assert_uint_eq(keep_drop_rest(keep), 0);
	keep_free(keep);
	ck_assert_uint_eq(fake_store_count(&store, NULL), 0);
}
END_TEST

static void *put_one(void *userdata)
{
	ck_assert_int_eq(put(userdata, 0, 1), 0);
	return NULL;
}

START_TEST(what_the_store_has_not_been_told_is_not_handed_over)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	struct keep *keep = start(NULL, 0);
	pthread_t thread;

	make_files(1);
	store.deaf = true;
	ck_assert(!pthread_create(&thread, NULL, put_one, keep));
	while (!fake_store_has(&store, files[0].name)) /* but nobody knows it has it */
		nanosleep(&moment, NULL);
	ck_assert(!keep_is_settled(keep));
	ck_assert_int_eq(keep_hand_over(keep, 0), -EBUSY);
	store.deaf = false;
	ck_assert_uint_eq(fake_store_count(&store, NULL), 1);
	ck_assert(!pthread_join(thread, NULL));
	while (!keep_is_settled(keep))
		nanosleep(&moment, NULL);
	ck_assert_int_eq(keep_hand_over(keep, 0), 0);
	keep_take_back(keep, 0);
	keep_free(keep);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("keep");
	TCase *t = tcase_create("keep");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_was_put_is_in_the_store);
	tcase_add_test(t, what_is_removed_leaves_the_store);
	tcase_add_test(t, a_name_has_the_file_that_came_last);
	tcase_add_test(t, what_was_left_is_taken_once_and_the_rest_is_dropped);
	tcase_add_test(t, what_is_put_takes_the_place_of_what_nobody_took);
	tcase_add_test(t, of_two_states_of_a_group_the_later_one_counts);
	tcase_add_test(t, without_a_store_all_works_and_nothing_lasts);
	tcase_add_test(t, a_store_that_does_not_answer_keeps_nothing);
	tcase_add_test(t, what_the_store_has_no_room_for_is_refused);
	tcase_add_test(t, thousands_are_parked_and_found_again);
	tcase_add_test(t, all_groups_may_change_at_once);
	tcase_add_test(t, a_death_between_any_two_messages_loses_nothing);
	tcase_add_test(t, workers_put_at_once);
	tcase_add_test(t, what_the_store_has_not_been_told_is_not_handed_over);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
