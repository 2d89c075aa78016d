/*
 * Slices in a row that would be free if what lives there went, beside a search that looks at each
 * place by itself, on caches that lie anyhow.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/cache/clean.h"
#include "daemon/core/cache/range.h"
#include "daemon/core/cache/state.h"
#include "tests/suite.h"

enum {
	WINDOWS = 3,
	SLICES = 150, /* of a window */
	WORLDS = 400,
	SEARCHES = 8, /* in each */
	SLOTS = 8192,
	PIECES = WINDOWS * SLICES,
	OBJECTS = 4, /* of a segment, at most */
	OWN_MOST = 20,
	SESSION = 1,
	READER = 2,
};

/* A segment, as it was made here. */
struct piece {
	uint64_t base, live;
	uint32_t n; /* slices */
	bool own, leased, pinned;
	uint32_t first, objects; /* hashes */
};

static struct world {
	struct cache *cache;
	void *objects, *index;
	uint32_t *numbers;
	struct piece pieces[PIECES];
	uint32_t n_pieces;
	uint64_t hashes;
	int piece[WINDOWS][SLICES]; /* -1: none */
	bool free[WINDOWS][SLICES];
	struct clean_step step;
	uint64_t random;
} w;

static uint64_t seed;

static uint64_t random_to(uint64_t n)
{
	uint64_t z = w.random += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (z ^ (z >> 31)) % n;
}

/* ---- a world ---- */

static void *zeroed(uint64_t size)
{
	void *memory = aligned_alloc(64, (size + 63) / 64 * 64);

	ck_assert_ptr_nonnull(memory);
	memset(memory, 0, size);
	return memory;
}

static void cache_make_empty(void)
{
	struct index_config index = {
		.layout = index_layout_for(SLOTS), .generation = 1, .seed = 5, .epoch = 1};
	struct cache_config config = {.capacity = (uint64_t)1 << 40, .slots = SLOTS};

	w.objects = zeroed(object_records_size(SLOTS));
	config.objects = object_records_init(w.objects);
	w.index = zeroed(index_file_size(index.layout.buckets, index.layout.overflow));
	w.numbers = malloc(index_positions(index.layout) * sizeof(*w.numbers));
	ck_assert_ptr_nonnull(w.numbers);
	index_format(w.index, &index);
	config.index = index_table(w.index, w.numbers);
	ck_assert_int_eq(cache_new(&w.cache, &config), 0);
}

static uint64_t offset_of(uint32_t window, uint32_t slice)
{
	return offset_make(window, (uint64_t)slice << SLICE_SHIFT);
}

static struct cache_object object_of(uint64_t hash)
{
	struct cache_object object;

	ck_assert_int_eq(cache_find(w.cache, hash, &object), 0);
	return object;
}

static uint64_t publish(uint64_t offset, uint64_t size)
{
	struct cache_publish publish = {.hash = ++w.hashes,
					.offset = offset,
					.size = size,
					.session = SESSION,
					.born = 1};
	struct cache_object object;
	int r;

	while ((r = cache_publish(w.cache, &publish, &object)) == CACHE_E_TEND)
		ck_assert_int_eq(cache_tend(w.cache, 0), 0);
	ck_assert_int_eq(r, 0);
	return object.size;
}

static void segment_make(uint32_t window, uint32_t slice, uint32_t n, bool own)
{
	struct piece *piece = &w.pieces[w.n_pieces];
	uint64_t base = offset_of(window, slice), at = base ? 0 : 1 << OBJECT_SHIFT, size;

	*piece = (struct piece){.base = base,
				.n = n,
				.own = own,
				.leased = true,
				.first = (uint32_t)w.hashes + 1};
	ck_assert_int_eq(cache_segment(w.cache, SESSION, base, (uint64_t)n << SLICE_SHIFT, own),
			 0);
	piece->objects = own ? 1 : 1 + (uint32_t)random_to(OBJECTS);
	for (uint32_t i = 0; i < piece->objects; i++) {
		size = ((uint64_t)n << SLICE_SHIFT) / piece->objects - 64;
		if (!own)
			size = u64_min(size, OBJECT_OWN);
		size = 64 + random_to(size - 64);
		piece->live += publish(base + at, size);
		at += (size + 63) & ~(uint64_t)63;
	}
	for (uint32_t i = 0; i < n; i++)
		w.piece[window][slice + i] = (int)w.n_pieces;
	w.n_pieces++;
	/* Who fills one of its own has sealed it so. */
	if (own || random_to(6)) {
		cache_seal(w.cache, SESSION, base);
		piece->leased = false;
	}
}

/* Some objects, or all: then it is in limbo. */
static void delete_some(struct piece *piece)
{
	bool all = !random_to(3);

	for (uint32_t i = 0; i < piece->objects; i++)
		if (all || random_to(2)) {
			piece->live -= object_of(piece->first + i).size;
			ck_assert_int_eq(cache_delete(w.cache, piece->first + i, 0, 0), 0);
		}
}

/* By a word that names an object, also of one that is gone. */
static void scan(void)
{
	cache_scan_begin(w.cache);
	for (uint32_t i = 0; i < w.n_pieces; i++)
		if (!random_to(12)) {
			cache_scan_word(w.cache, READER,
					w.pieces[i].base ? w.pieces[i].base : 1 << OBJECT_SHIFT,
					0);
			w.pieces[i].pinned = true;
		}
	cache_scan_end(w.cache);
}

/* Some of it is free then, some others': that of pinned ones stays as it was. */
static void reclaim(void)
{
	struct segment_run runs[16];
	uint32_t n;
	int r;

	do {
		r = cache_reclaim(w.cache, runs, ARRAY_SIZE(runs), &n);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t window = offset_window(runs[i].base);
			uint64_t slice = offset_position(runs[i].base) >> SLICE_SHIFT;

			for (uint64_t j = slice; j < slice + (runs[i].size >> SLICE_SHIFT);
			     j++) {
				w.piece[window][j] = -1;
				w.free[window][j] = random_to(4);
			}
		}
	} while (r == CACHE_MORE);
}

/* A worker reads one of them. */
static void clean(uint32_t window)
{
	/* Behind all others: there it is nobody's range. */
	ck_assert_int_eq(cache_segment(w.cache, CACHE_CLEANER, offset_of(window, SLICES),
				       2 * OBJECT_OWN, false),
			 0);
	if (cache_clean_plan(w.cache, OBJECT_OWN, &w.step))
		w.step.n = 0;
}

static void world_make(uint64_t random)
{
	w = (struct world){.random = random};
	cache_make_empty();
	for (uint32_t window = 0; window < WINDOWS; window++) {
		for (uint32_t at = 0, n; at < SLICES; at += n) {
			bool own = !random_to(4);

			n = 1 + (uint32_t)random_to(own ? OWN_MOST : 8);
			n = (uint32_t)u64_min(n, SLICES - at);
			if (random_to(4)) {
				segment_make(window, at, n, own && n > 1);
				continue;
			}
			for (uint32_t i = at; i < at + n; i++) {
				w.piece[window][i] = -1;
				w.free[window][i] = random_to(5);
			}
		}
	}
	for (uint32_t i = 0; i < w.n_pieces; i++)
		if (!random_to(3))
			delete_some(&w.pieces[i]);
	scan();
	if (random_to(2))
		reclaim();
	clean(WINDOWS - 1);
}

static void world_end(void)
{
	if (w.step.n)
		cache_clean_done(w.cache, &w.step, false);
	ck_assert_ptr_null(cache_check(w.cache));
	cache_free(w.cache);
	free(w.objects);
	free(w.index);
	free(w.numbers);
}

/* ---- the search ---- */

static bool is_cleaned(const struct piece *piece)
{
	return w.step.n && w.step.moves[0].from - piece->base < (uint64_t)piece->n
									<< SLICE_SHIFT;
}

static bool may_go(const struct piece *piece)
{
	return !piece->leased && !piece->pinned && !is_cleaned(piece);
}

/* What lives there; -1: it is none. */
static int64_t live_in(uint32_t window, uint32_t at, uint32_t n)
{
	int64_t live = 0;

	for (uint32_t i = at; i < at + n; i++) {
		const struct piece *piece;

		if (w.piece[window][i] < 0) {
			if (!w.free[window][i])
				return -1;
			continue;
		}
		piece = &w.pieces[w.piece[window][i]];
		if (!may_go(piece) ||
		    (i == at && piece->own && piece->base != offset_of(window, at)))
			return -1;
		live += (int64_t)(piece->live / piece->n);
	}
	return live;
}

static struct range naive(uint32_t slices)
{
	struct range range = {.slices = slices};

	for (uint32_t window = 0; window < WINDOWS; window++)
		for (uint32_t at = 0; at + slices <= SLICES; at++) {
			int64_t live = live_in(window, at, slices);

			if (live < 0 || (range.found && live >= range.best))
				continue;
			range.found = true;
			range.best = live;
			range.base = offset_of(window, at);
		}
	return range;
}

/* By pieces of any length. */
static struct range searched(uint32_t slices)
{
	struct range range = {.slices = slices};

	for (uint32_t window = 0; window < WINDOWS; window++) {
		cache_range_window(&range, window);
		while (range.to.at < SLICES) {
			uint32_t n = (uint32_t)u64_min(1 + random_to(40), SLICES - range.to.at);

			cache_range_look(w.cache, &range, &w.free[window][range.to.at], n);
		}
	}
	return range;
}

static bool is_there(uint64_t hash)
{
	struct cache_object object;

	return !cache_find(w.cache, hash, &object);
}

/* What lives in the range goes, all of it but for what is pinned, and nothing else does. */
static uint32_t drop(struct range *range)
{
	static bool before[PIECES * OBJECTS + 1];
	uint64_t from = range->base, end = from + ((uint64_t)range->slices << SLICE_SHIFT);
	uint32_t steps = 0, stayed = 0;

	for (uint64_t hash = 1; hash <= w.hashes; hash++)
		before[hash] = is_there(hash);
	while (cache_range_drop(w.cache, range) == CACHE_MORE)
		ck_assert_uint_lt(steps++, PIECES);
	for (uint32_t i = 0; i < w.n_pieces; i++) {
		const struct piece *piece = &w.pieces[i];
		bool within = piece->base < end &&
			      piece->base + ((uint64_t)piece->n << SLICE_SHIFT) > from;

		for (uint64_t hash = piece->first; hash < piece->first + piece->objects; hash++)
			ck_assert(is_there(hash) ==
				  (before[hash] && (!within || piece->pinned)));
		stayed += within && piece->pinned && piece->live;
	}
	return stayed;
}

START_TEST(a_range_is_the_one_that_a_search_of_all_places_finds)
{
	uint32_t found = 0, none = 0;

	for (uint64_t i = 0; i < WORLDS; i++) {
		struct range range, expected;

		world_make(seed + i);
		for (int search = 0; search < SEARCHES; search++) {
			uint32_t slices = 1 + (uint32_t)random_to(search % 2 ? 12 : 60);

			range = searched(slices);
			expected = naive(slices);
			ck_assert_msg(range.found == expected.found &&
					      range.base == expected.base &&
					      range.best == expected.best,
				      "VARBOS_SEED=%" PRIu64 ", %u slices: %d 0x%" PRIx64
				      " %" PRId64 ", not %d 0x%" PRIx64 " %" PRId64,
				      seed + i, slices, range.found, range.base, range.best,
				      expected.found, expected.base, expected.best);
			found += range.found;
			none += !range.found;
		}
		if (range.found)
			drop(&range);
		world_end();
	}
	ck_assert_uint_gt(found, WORLDS / 4);
	ck_assert_uint_gt(none, WORLDS / 4);
}
END_TEST

/* Found is found: but what has been pinned since then stays. */
START_TEST(what_may_not_go_any_more_stays)
{
	uint32_t stayed = 0;

	for (uint64_t i = 0; i < WORLDS; i++) {
		struct range range;

		world_make(seed + i);
		range = searched(8 + (uint32_t)random_to(12));
		for (uint32_t j = 0; j < w.n_pieces; j++)
			w.pieces[j].pinned = false;
		scan();
		if (range.found)
			stayed += drop(&range);
		world_end();
	}
	ck_assert_uint_gt(stayed, 0);
}
END_TEST

int main(void)
{
	const char *given = getenv("VARBOS_SEED");
	Suite *suite = suite_create("range");
	TCase *tests = tcase_create("range");

	seed = given ? strtoull(given, NULL, 0) : 1;
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, a_range_is_the_one_that_a_search_of_all_places_finds);
	tcase_add_test(tests, what_may_not_go_any_more_stays);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
