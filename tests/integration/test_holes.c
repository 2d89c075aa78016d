/*
 * Holes: a member punches them into what others read and the daemon moves, in windows of hugepages,
 * where who touches one gets SIGBUS. It may kill processes that read its space, and nothing else.
 */
#include <check.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "tests/hugepages.h"
#include "tests/integration/daemon.h"
#include "tests/integration/hoarder.h"

#define MIB ((uint64_t)1 << 20)

enum {
	PAGES = 24,
	WAIT_TRIES = 2000, /* of 10 ms */
	OBJECTS = 3000,
	VALUE = 2000,
	STORM_MS = 1000,
	STORM_KEYS = 1500,
	MANY = 4,
};

static struct test_daemon daemon_;
static struct peer watcher;
static bool borrowed;

/* Without root there is nothing to borrow: said, and all of it is skipped. */
static void borrow(void)
{
	borrowed = hugepages_borrow(PAGES);
}

static void give_back(void)
{
	if (borrowed)
		hugepages_return();
}

static void set_up(void)
{
	setenv("VARBOS_QUIET", "1", 1);
	if (!borrowed)
		return;
	/* Another test's daemon may have some for a while. */
	for (int i = 0; test_daemon_try(&daemon_, "48M", "--pages", "2M", NULL); i++) {
		ck_assert_int_lt(i, WAIT_TRIES);
		usleep(10000);
	}
	peer_open(&watcher, daemon_.socket);
	ck_assert_uint_eq(peer_status(&watcher).page, CHUNK_BYTES);
	peer_create_space(&watcher, "a", 24 * MIB);
	peer_create_space(&watcher, "b", 16 * MIB);
}

/* All that was anybody's can be had again, to the last byte, holes or not. */
static void all_is_there(void)
{
	const struct varbos_space_options options = {.limit = PAGES * CHUNK_BYTES,
						     .client_limit = PAGES * CHUNK_BYTES};
	struct varbos_space *space = NULL;
	struct varbos *last;
	char *memory = NULL;
	int r = -1;

	for (int i = 0; i < 2; i++)
		ck_assert_msg(
			peer_call(&watcher, WIRE_SPACE_REMOVE,
				  &(struct wire_space_remove){.name = wire_str(i ? "a" : "b"),
							      .force = true}),
			"%.*s", (int)watcher.answer.fault.message.size,
			watcher.answer.fault.message.data);
	ck_assert_int_eq(varbos_connect(&last, daemon_.socket), 0);
	/* The former spaces' memory is on its way. */
	for (int i = 0; i < WAIT_TRIES && !memory; i++) {
		if (r)
			r = varbos_space_open(&space, last, "all", &options);
		if (!r)
			memory = varbos_alloc(space, PAGES * CHUNK_BYTES);
		if (!memory)
			usleep(10000);
	}
	ck_assert_msg(memory, "%s", varbos_error()->message);
	memset(memory, 'x', PAGES * CHUNK_BYTES);
	varbos_disconnect(last);
}

/*
 * What comes free in the pool, any touch of a hole would have back. So it is taken at once, by a
 * file that nobody else knows.
 */
static int taken = -1;

static int page_take(void)
{
	if (taken < 0)
		taken = memfd_create("taken", MFD_CLOEXEC | MFD_HUGETLB);
	return fallocate(taken, 0, 0, (off_t)CHUNK_BYTES);
}

static void page_give(void)
{
	closep(&taken);
	taken = -1;
}

/* The session ends, not only its socket. */
static void leave(struct hoarder *hoarder)
{
	ck_assert(peer_call(&hoarder->peer, WIRE_BYE, &(struct wire_empty){}));
	hoarder_close(hoarder);
}

static void tear_down(void)
{
	if (!borrowed)
		return;
	peer_close(&watcher);
	test_daemon_stop(&daemon_);
}

/* ---- the daemon ---- */

static struct hoarder one, two, other;

/* To be told by its key. */
static void value_of(int i, char *value)
{
	memset(value, 'a' + i % 26, VALUE);
	memcpy(value, &i, sizeof(i));
}

static void key_of(int i, char *key)
{
	snprintf(key, 16, "key %d", i);
}

static void fill(struct hoarder *by, int n)
{
	char key[16], value[VALUE];

	for (int i = 0; i < n; i++) {
		key_of(i, key);
		value_of(i, value);
		ck_assert(hoarder_put(by, key, value, sizeof(value)));
	}
}

static bool is_whole(struct hoarder *by, uint64_t offset, int i)
{
	struct object_header *header = hoarder_at(by, offset);
	struct object_sizes sizes = object_sizes_unpack(header->sizes);
	char value[VALUE];

	value_of(i, value);
	return sizes.value == VALUE &&
	       !memcmp((char *)header + object_value_at(offset, sizes), value, VALUE);
}

/* Where they are, by the index alone. */
static void look_up(uint64_t *offsets, int n)
{
	char key[16];

	for (int i = 0; i < n; i++) {
		key_of(i, key);
		offsets[i] = hoarder_find(&two, key);
		ck_assert_uint_ne(offsets[i], 0);
	}
}

/* The second page of the window: nobody leases a part of that any more. */
static bool is_in_hole(uint64_t offset)
{
	return offset_window(offset) == 0 && offset_position(offset) / CHUNK_BYTES == 1;
}

static void punch(void)
{
	char *hole = (char *)hoarder_at(&two, CHUNK_BYTES);

	ck_assert_int_eq(madvise(hole, CHUNK_BYTES, MADV_REMOVE), 0);
	ck_assert_int_eq(page_take(), 0);
}

/* Every third is there, but for what is told as spoiled: of that so many were not to be deleted any more. */
static void count_left(uint64_t spoiled, uint64_t missing)
{
	char key[16];

	for (int i = 0; i < OBJECTS; i += 3) {
		struct index_walk walk;

		key_of(i, key);
		index_walk_begin(&walk, &two.view, key_hash(key), &two.hazard,
				 (uint32_t)two.space);
		if (index_walk_next(&walk, true) != INDEX_OFFERED)
			missing++;
		else if (!is_in_hole(walk.offset))
			ck_assert(is_whole(&two, walk.offset, i));
	}
	atomic_store(&two.hazard, 0);
	ck_assert_uint_ge(missing, spoiled);
	ck_assert_uint_le(missing, hoarder_row(&one).spoiled);
}

START_TEST(what_is_in_a_hole_is_evicted_by_a_daemon_that_lives_on)
{
	static uint64_t offsets[OBJECTS];
	struct wire_cache_touch touch = {.expiry = UINT32_MAX};
	const struct wire_cache_detail *detail = &one.peer.answer.body.cache_detail;
	const struct wire_cache_hot_row *hot;
	uint64_t spoiled = 0, missing = 0;
	char key[16];
	int within = 0;

	if (!borrowed)
		return;
	hoarder_open(&one, daemon_.socket, "a", "c", 8 * MIB);
	hoarder_open(&two, daemon_.socket, "a", "c", 0);
	hoarder_open(&other, daemon_.socket, "b", "c", 4 * MIB);
	fill(&other, 500);
	fill(&one, OBJECTS);
	look_up(offsets, OBJECTS);
	punch();

	/* What the loop reads and writes there: an expiry, and a hot key. */
	while (!is_in_hole(offsets[within]))
		within += 3;
	key_of(within, key);
	touch.space = one.space;
	touch.cache = one.cache;
	touch.hash = key_hash(key);
	for (int i = 0; i < 9; i++)
		ck_assert(peer_call(&one.peer, WIRE_CACHE_TOUCH, &touch));
	ck_assert(
		peer_call(&one.peer, WIRE_CACHE_DETAIL,
			  &(struct wire_cache_handle){.space = one.space, .cache = one.cache}));
	hot = detail->hot.rows;
	ck_assert_uint_eq(detail->hot.count, 1);
	ck_assert_uint_eq(hot[0].hash, touch.hash);
	ck_assert_uint_eq(hot[0].key.size, 0);

	/* And what a worker does. */
	for (int i = 0; i < OBJECTS; i++) {
		key_of(i, key);
		if (i % 3)
			missing += !hoarder_delete(&one, key);
	}
	for (int i = 0; i < WAIT_TRIES && !spoiled; i++) {
		spoiled = hoarder_row(&one).spoiled;
		usleep(10000);
	}
	ck_assert_uint_gt(spoiled, 0);
	count_left(spoiled, missing);

	ck_assert_uint_eq(hoarder_row(&other).spoiled, 0);
	for (int i = 0; i < 500; i++) {
		uint64_t offset;

		key_of(i, key);
		offset = hoarder_find(&other, key);
		ck_assert(offset && is_whole(&other, offset, i));
	}
	leave(&one);
	leave(&two);
	leave(&other);
	page_give();
	all_is_there();
}
END_TEST

/* ---- a storm ---- */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Holes come, and go: what is there then is zeros. */
static void punch_on(void)
{
	struct wire_window_open window = {};
	uint64_t size, state = 88172645463325252;
	struct peer peer;

	peer_open(&peer, daemon_.socket);
	window.space = peer_open_space(&peer, "a");
	while (!peer_call(&peer, WIRE_WINDOW_OPEN, &window))
		usleep(1000);
	size = peer.answer.body.window_opened.size;
	for (;;) {
		off_t at = (off_t)(next_random(&state) % u64_min(size / CHUNK_BYTES, 12) *
				   CHUNK_BYTES);

		if (fallocate(peer.fds[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
			      CHUNK_BYTES))
			_exit(3);
		page_take(); /* unless somebody was quicker */
		usleep((useconds_t)(next_random(&state) % 1000));
		page_give();
		fallocate(peer.fds[0], FALLOC_FL_KEEP_SIZE, at, CHUNK_BYTES);
		usleep((useconds_t)(next_random(&state) % 3000));
	}
}

static struct varbos *vb;

static struct varbos_cache *enter(const char *name)
{
	struct varbos_space *space;
	struct varbos_cache *cache;

	if (varbos_connect(&vb, daemon_.socket) || varbos_space_open(&space, vb, name, NULL) ||
	    varbos_cache_open(&cache, space, "storm",
			      &(struct varbos_cache_options){.capacity = 6 * MIB})) {
		fprintf(stderr, "%s\n", varbos_error()->message);
		_exit(5);
	}
	return cache;
}

static void must(int r)
{
	if (r && r != VARBOS_E_NOT_FOUND && r != VARBOS_E_MEMORY && r != VARBOS_E_BUDGET) {
		fprintf(stderr, "%s\n", varbos_error()->message);
		_exit(6);
	}
}

static void look_at(struct varbos_view *view)
{
	volatile char sum = 0;

	for (size_t at = 0; at < view->size; at++)
		sum = (char)(sum + ((const char *)view->data)[at]);
	varbos_view_release(view);
}

static void read_on(void)
{
	struct varbos_cache *cache = enter("a");
	uint64_t state = (uint64_t)getpid() * 2654435761U;
	struct varbos_view views[MANY];
	struct varbos_key wanted[MANY];
	int keys[MANY];
	char room[VALUE];
	int r;

	for (;;) {
		for (int i = 0; i < MANY; i++) {
			keys[i] = (int)(next_random(&state) % STORM_KEYS);
			wanted[i] = (struct varbos_key){&keys[i], sizeof(keys[i])};
		}
		r = varbos_cache_get(cache, &keys[0], sizeof(keys[0]), &views[0]);
		must(r);
		if (!r)
			look_at(&views[0]);
		must(varbos_cache_copy_out(cache, &keys[1], sizeof(keys[1]), room, sizeof(room),
					   NULL));
		r = varbos_cache_get_many(cache, wanted, MANY, views, NULL);
		must(r);
		for (int i = 0; i < MANY && !r; i++)
			look_at(&views[i]);
	}
}

static void read_apart(void)
{
	setenv("VARBOS_LANE", "none", 1);
	read_on();
}

/* More than the cache holds, of which much is deleted: all of it moves. */
static void write_on(void)
{
	struct varbos_cache *cache = enter("a");
	uint64_t state = (uint64_t)getpid() * 2654435761U;
	char value[2 * VALUE] = "";

	for (;;) {
		int key = (int)(next_random(&state) % STORM_KEYS);

		switch (next_random(&state) % 8) {
		case 0:
		case 1:
			must(varbos_cache_del(cache, &key, sizeof(key)));
			break;
		case 2:
			must(varbos_cache_expire(cache, &key, sizeof(key), 1000000));
			break;
		default:
			must(varbos_cache_put(cache, &key, sizeof(key), value,
					      next_random(&state) % sizeof(value), NULL));
		}
	}
}

static const struct role {
	void (*live)(void);
	bool may_die; /* of a hole */
} roles[] = {{punch_on, false}, {read_apart, false}, {read_on, true}, {write_on, true}};

static pid_t role_start(const struct role *role)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	peer_leave_check();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGBUS, SIG_DFL); /* a sanitizer would make a report of it */
	role->live();
	_exit(0);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Those of the other space are all there, and what they were. */
static void use_the_other(struct varbos_cache *cache, int round)
{
	struct varbos_view view;
	char value[VALUE];

	for (int key = 0; key < 200; key++) {
		value_of(key + round, value);
		ck_assert_int_eq(varbos_cache_put(cache, &key, sizeof(key), value, VALUE, NULL),
				 0);
		ck_assert_int_eq(varbos_cache_get(cache, &key, sizeof(key), &view), 0);
		ck_assert(view.size == VALUE && !memcmp(view.data, value, VALUE));
		varbos_view_release(&view);
	}
}

START_TEST(holes_kill_who_reads_their_space_and_nobody_else)
{
	pid_t pids[ARRAY_SIZE(roles)] = {};
	uint64_t end_ms = now_ms() + STORM_MS, died = 0;
	struct varbos_cache *cache;
	struct wire_cache_row row;
	int status, round = 0;

	if (!borrowed)
		return;
	cache = enter("b");
	hoarder_open(&one, daemon_.socket, "a", "storm", 6 * MIB);
	while (now_ms() < end_ms || !died) {
		ck_assert_uint_lt(now_ms(), end_ms + 60000);
		for (size_t i = 0; i < ARRAY_SIZE(roles); i++) {
			if (pids[i] && waitpid(pids[i], &status, WNOHANG) == pids[i]) {
				ck_assert_msg(roles[i].may_die && WIFSIGNALED(status) &&
						      WTERMSIG(status) == SIGBUS,
					      "role %zu ended: 0x%x", i, (unsigned)status);
				pids[i] = 0;
				died++;
			}
			if (!pids[i])
				pids[i] = role_start(&roles[i]);
		}
		use_the_other(cache, round++);
	}
	for (size_t i = 0; i < ARRAY_SIZE(roles); i++) {
		kill(pids[i], SIGKILL);
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
	}
	row = hoarder_row(&one);
	printf("%" PRIu64 " died of holes; %" PRIu64 " published, %" PRIu64
	       " KiB moved, %" PRIu64 " spoiled\n",
	       died, row.published, row.moved >> 10, row.spoiled);
	leave(&one);
	varbos_disconnect(vb);
	all_is_there();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("holes");
	TCase *tests = tcase_create("holes");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tests, 120);
	tcase_add_unchecked_fixture(tests, borrow, give_back);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, what_is_in_a_hole_is_evicted_by_a_daemon_that_lives_on);
	tcase_add_test(tests, holes_kill_who_reads_their_space_and_nobody_else);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (!failed && !borrowed)
		return HUGEPAGES_SKIPPED;
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
