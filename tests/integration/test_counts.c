/*
 * Hits and misses: of more caches than a lane has rows, of caches that come and go, and of who has
 * no lane, all are counted.
 */
#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "client/cache.h"
#include "tests/integration/joined.h"
#include "tests/integration/peer.h"
#include "tests/suite.h"

enum {
	CACHES = LANE_COUNTS + 16,
	HITS = 90,
	MISSES = 40,
	WAIT_TRIES = 2000, /* of 10 ms */
};

static struct peer watcher;
static bool apart; /* without lanes */

static void begin(void)
{
	set_up();
	peer_open(&watcher, daemon_.socket);
}

static void end(void)
{
	peer_close(&watcher);
	tear_down();
}

static struct varbos_cache *open_numbered(int number)
{
	const struct varbos_cache_options options = {.capacity = 256 << 10};
	struct varbos_cache *cache;
	char name[16];

	snprintf(name, sizeof(name), "c%d", number);
	ck_assert_msg(!varbos_cache_open(&cache, space, name, &options), "%s",
		      varbos_error()->message);
	return cache;
}

static void look(struct varbos_cache *cache, const char *key, int times)
{
	struct varbos_view view;

	for (int i = 0; i < times; i++)
		if (!varbos_cache_get(cache, key, strlen(key), &view))
			varbos_view_release(&view);
}

/* As the daemon has counted them, of all caches. */
struct sums {
	uint64_t caches, hits, misses;
};

static struct sums sums(void)
{
	struct wire_page_after page = {};
	struct sums ret = {};

	do {
		const struct wire_cache_row *rows;

		ck_assert(peer_call(&watcher, WIRE_CACHE_LIST, &page));
		rows = watcher.answer.body.cache_rows.rows.rows;
		for (uint32_t i = 0; i < watcher.answer.body.cache_rows.rows.count; i++) {
			ret.caches++;
			ret.hits += rows[i].hits;
			ret.misses += rows[i].misses;
		}
		page.after = watcher.answer.body.cache_rows.next;
	} while (page.after);
	return ret;
}

static void wait_for(uint64_t hits, uint64_t misses)
{
	struct sums now = sums();

	for (int i = 0; i < WAIT_TRIES && (now.hits < hits || now.misses < misses); i++) {
		usleep(10000);
		now = sums();
	}
	ck_assert_uint_eq(now.hits, hits);
	ck_assert_uint_eq(now.misses, misses);
}

static int rows_in_use(void)
{
	const struct lane *lane =
		thread_lanes[atomic_load(&vb->lanes.number) % THREAD_LANES].lane;
	int n = 0;

	for (int i = 0; lane && i < LANE_COUNTS; i++)
		n += atomic_load(&lane->counts[i].cache) != 0;
	return n;
}

START_TEST(more_caches_than_a_lane_has_rows_are_counted_all)
{
	struct varbos_cache *caches[CACHES];

	for (int i = 0; i < CACHES; i++) {
		caches[i] = open_numbered(i);
		ck_assert_int_eq(varbos_cache_put(caches[i], "k", 1, "v", 1, NULL), 0);
		look(caches[i], "k", HITS);
		look(caches[i], "none", MISSES);
	}
	ck_assert_int_eq(rows_in_use(), apart ? 0 : LANE_COUNTS);
	for (int i = 0; i < CACHES; i++)
		varbos_cache_close(caches[i]);
	wait_for((uint64_t)CACHES * HITS, (uint64_t)CACHES * MISSES);
	ck_assert_uint_eq(sums().caches, CACHES);
}
END_TEST

START_TEST(what_stands_in_no_row_is_told_before_the_cache_is_closed)
{
	struct varbos_cache *caches[CACHES];
	struct sums now;
	int tries = 0;

	for (int i = 0; i < CACHES; i++) {
		caches[i] = open_numbered(i);
		look(caches[i], "none", 10);
	}
	look(caches[CACHES - 1], "none", 1000);
	do {
		usleep(10000);
		now = sums();
	} while (now.misses < 1000 - 64 && tries++ < WAIT_TRIES);
	ck_assert_uint_ge(now.misses, 1000 - 64);
	for (int i = 0; i < CACHES; i++)
		varbos_cache_close(caches[i]);
	wait_for(0, CACHES * 10 + 1000);
}
END_TEST

/* Also when the same one is opened again: what was counted is not counted once more. */
START_TEST(a_row_is_free_when_its_cache_is_closed)
{
	uint64_t misses = 0;

	for (int i = 0; i < CACHES * 2; i++) {
		struct varbos_cache *cache = open_numbered(i % CACHES);

		look(cache, "none", MISSES + i % 3);
		misses += (uint64_t)(MISSES + i % 3);
		varbos_cache_close(cache);
	}
	wait_for(0, misses);
	/* That the last one is closed the daemon may hear later. */
	for (int i = 0; i < WAIT_TRIES && rows_in_use(); i++)
		usleep(10000);
	ck_assert_int_eq(rows_in_use(), 0);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("counts");
	TCase *tcase = tcase_create("counts");

	if (argc > 1)
		setenv("VARBOS_LANE", argv[1], 1);
	apart = argc > 1 && !strcmp(argv[1], "none");
	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, more_caches_than_a_lane_has_rows_are_counted_all);
	tcase_add_test(tcase, what_stands_in_no_row_is_told_before_the_cache_is_closed);
	tcase_add_test(tcase, a_row_is_free_when_its_cache_is_closed);
	return suite_run(suite);
}
