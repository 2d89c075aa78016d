/*
 * Any records of objects, and any index: the files that a cache of random puts, deletions and moves has
 * left, spoiled as the input says, are recovered, or the index is given up and made anew. What is
 * recovered is sound, takes objects and loses them, and leaves files that are recovered again.
 *
 *   head, 2 bytes    which cache (of CACHES)  how many edits
 *   edit, 12 bytes   how:8  file:8  where:16  value:64
 *   the rest         steps: kind:8  key:8
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/cache/cache.h"
#include "daemon/core/policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	CACHES = 12,
	SLOTS = 256,
	KEYS = 120,
	SEGMENTS = 8,
	SESSION = 3,
	STEPS = 400, /* that have left one */
	EDITS_MAX = 48,
	HEAD_BYTES = 2,
	EDIT_BYTES = 12,
	STEP_BYTES = 2,
	STEPS_MAX = 64,
	INDEX_MAX = 1 << 16,
	NUMBERS_MAX = INDEX_MAX / 8,
	OBJECT = 1024,
	NOW = 100000,
};

#define SEGMENT_BYTES ((uint64_t)4 * SLICE_BYTES)
#define OBJECTS_BYTES (OBJECT_RECORDS_HEAD + SLOTS * sizeof(struct object_record))

enum edit {
	EDIT_SET,
	EDIT_XOR,
	EDIT_FLIP,
	EDIT_WORD, /* from another place of the file */
	EDIT_CLEAR,
	EDIT_FILL, /* from there on, with anything */
	EDITS_N
};

/* What is in files. */
struct files {
	_Alignas(64) char objects[OBJECTS_BYTES];
	_Alignas(64) char index[INDEX_MAX];
	_Alignas(64) char next[INDEX_MAX];
	bool moves; /* there is a next one */
};

static struct left {
	struct files files;
	struct cache_found segments[SEGMENTS];
	uint32_t n_segments, policy;
} lefts[CACHES];

static struct files files;
static uint32_t numbers[NUMBERS_MAX], next_numbers[NUMBERS_MAX];
static uint64_t state;

static uint64_t any(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static void must(bool is, const char *what)
{
	if (is)
		return;
	fprintf(stderr, "not: %s\n", what);
	abort();
}

#define MUST(x) must(x, #x)

static void sound(const struct cache *cache, const char *when)
{
	const char *wrong = cache_check(cache);

	if (!wrong)
		return;
	fprintf(stderr, "%s: %s\n", when, wrong);
	abort();
}

static uint64_t hash_of(uint64_t key)
{
	/* Some keys have their buckets in common. */
	return key % KEYS * (key & 1 ? 0x9e3779b97f4a7c15 : (uint64_t)1 << 57);
}

static struct index_table table_make(void *file, uint32_t *its_numbers, uint64_t objects,
				     uint64_t generation)
{
	struct index_config config = {.layout = index_layout_for(objects),
				      .generation = generation,
				      .seed = any() | 1,
				      .epoch = 1};

	MUST(index_file_size(config.layout.buckets, config.layout.overflow) <= INDEX_MAX);
	MUST(index_positions(config.layout) <= NUMBERS_MAX);
	memset(file, 0, INDEX_MAX);
	index_format(file, &config);
	return index_table(file, its_numbers);
}

/* ---- what one does with a cache ---- */

static void publish(struct cache *cache, uint64_t key, uint64_t *filled)
{
	struct cache_publish publish = {.hash = hash_of(key),
					.offset = *filled,
					.size = OBJECT,
					.expiry = key % 7 ? 0 : NOW + key,
					.now = NOW,
					.session = SESSION,
					.born = 1 + (uint32_t)key,
					.crowds = true};
	struct cache_object object;
	int r;

	for (int tries = 0; tries < 64; tries++) {
		r = cache_publish(cache, &publish, &object);
		if (r == CACHE_E_TEND)
			r = cache_tend(cache, NOW) ? r : CACHE_MORE;
		if (r != CACHE_MORE)
			break;
	}
	*filled += r ? 0 : OBJECT;
}

static void step(struct cache *cache, uint32_t kind, uint64_t key, uint64_t *filled)
{
	struct index_table table;
	struct cache_object object;
	uint64_t bytes = key * 64;

	switch (kind % 12) {
	case 0 ... 5:
		publish(cache, key, filled);
		break;
	case 6:
		cache_delete(cache, hash_of(key), 0, NOW);
		break;
	case 7:
		cache_touch(cache, hash_of(key), NOW + 5 + key, NOW, &object);
		break;
	case 8:
		cache_use(cache, hash_of(key), NOW, &object);
		break;
	case 9:
		cache_evict(cache, &bytes);
		break;
	case 10:
		cache_expire(cache, NOW + key, 16);
		break;
	default:
		/* The next one is all there is from then on. */
		if (cache_wants(cache) & CACHE_WANTS_MOVE && !cache_index_step(cache, &table))
			files.moves = false;
	}
}

static void left_make(uint32_t i)
{
	struct left *left = &lefts[i];
	struct cache_config config = {
		.capacity = 60 * OBJECT, .policy = i % POLICIES, .slots = SLOTS, .now = NOW};
	uint64_t filled = 0;
	struct cache *cache;

	state = i + 1;
	left->policy = config.policy;
	config.objects = object_records_init(left->files.objects);
	config.index = table_make(left->files.index, numbers, 16, 1);
	MUST(!cache_new(&cache, &config));
	for (uint32_t n = 0; n < (i ? STEPS : 0); n++) {
		if (filled % SEGMENT_BYTES == 0 && left->n_segments < SEGMENTS - 1 &&
		    filled == left->n_segments * SEGMENT_BYTES) {
			if (filled)
				cache_seal(cache, SESSION, filled - SEGMENT_BYTES);
			left->segments[left->n_segments++] = (struct cache_found){
				.base = filled, .size = SEGMENT_BYTES, .session = SESSION};
			MUST(!cache_segment(cache, SESSION, filled, SEGMENT_BYTES, false));
		}
		/* Half of them are left amid a move to another index. */
		if (n == STEPS / 2 && i % 2) {
			left->files.moves = true;
			cache_index_begin(cache,
					  table_make(left->files.next, next_numbers, 64, 2));
		}
		step(cache, (uint32_t)(any() % 11), any() % KEYS, &filled);
	}
	/* Sealed but for the last. */
	for (uint32_t s = 0; s + 1 < left->n_segments; s++)
		left->segments[s].session = CACHE_CLEANER;
	sound(cache, "before anything is spoiled");
	cache_free(cache);
}

/* ---- spoiling ---- */

static void edit(const uint8_t *bytes)
{
	uint64_t *words, value;
	size_t n, at;

	switch (bytes[1] % 4) {
	case 0 ... 1:
		words = (uint64_t *)(void *)files.objects;
		n = OBJECTS_BYTES / 8;
		break;
	case 2:
		words = (uint64_t *)(void *)files.index;
		n = INDEX_MAX / 8;
		break;
	default:
		words = (uint64_t *)(void *)files.next;
		n = INDEX_MAX / 8;
	}
	memcpy(&value, bytes + 4, sizeof(value));
	at = (bytes[2] | (size_t)bytes[3] << 8) % n;
	switch ((enum edit)(bytes[0] % EDITS_N)) {
	case EDIT_SET:
		words[at] = value;
		break;
	case EDIT_XOR:
		words[at] ^= value;
		break;
	case EDIT_FLIP:
		words[at] ^= (uint64_t)1 << value % 64;
		break;
	case EDIT_WORD:
		words[at] = words[value % n];
		break;
	case EDIT_CLEAR:
		words[at] = 0;
		break;
	case EDIT_FILL:
		state = value;
		for (size_t end = u64_min(n, at + 64); at < end; at++)
			words[at] = any() >> any() % 64;
		break;
	case EDITS_N:
		break;
	}
}

/* ---- recovering ---- */

/* A file that is no index is none: the shell makes another, and has the cache take that. */
static struct cache *recover(const struct left *left)
{
	struct cache_config config = {
		.capacity = 60 * OBJECT, .policy = left->policy, .slots = SLOTS, .now = NOW};
	struct index_table next = {0};
	struct index_layout layout;
	struct cache *cache = NULL;
	int r = CACHE_E_INDEX;

	config.objects = object_records_open(files.objects, OBJECTS_BYTES);
	if (!config.objects)
		return NULL;
	if (index_layout_of(files.index, INDEX_MAX, &layout) &&
	    index_positions(layout) <= NUMBERS_MAX) {
		config.index = index_table(files.index, numbers);
		if (files.moves && index_layout_of(files.next, INDEX_MAX, &layout) &&
		    index_positions(layout) <= NUMBERS_MAX)
			next = index_table(files.next, next_numbers);
		r = cache_recover(&cache, &config, next, left->segments, left->n_segments);
	}
	MUST(!r || r == CACHE_E_INDEX);
	if (!r && files.moves && !next.head)
		files.moves = false;
	if (!r)
		return cache;
	files.moves = false;
	config.index = table_make(files.index, numbers, KEYS, 9);
	MUST(!cache_recover(&cache, &config, (struct index_table){0}, left->segments,
			    left->n_segments));
	return cache;
}

static void expiries_tell(struct cache *cache)
{
	struct cache_object objects[CACHE_UNTOLD];
	uint32_t cursor = 0, n;
	int r;

	do {
		r = cache_untold(cache, &cursor, objects, &n);
		for (uint32_t i = 0; i < n; i++)
			cache_tell(cache, &objects[i], NOW + i);
	} while (r == CACHE_MORE);
}

static void all_go(struct cache *cache)
{
	uint64_t begun = cache_clear_begin(cache);
	struct cache_view view;

	while (cache_clear(cache, begun) == CACHE_MORE)
		;
	view = cache_view(cache);
	MUST(!view.objects && !view.live);
	sound(cache, "when all have gone");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct left *left;
	struct cache *cache;
	uint64_t filled, base;
	uint32_t edits;
	bool moving;

	if (!lefts[0].files.objects[0])
		for (uint32_t i = 0; i < CACHES; i++)
			left_make(i);
	if (size < HEAD_BYTES)
		return 0;
	left = &lefts[data[0] % CACHES];
	edits = (uint32_t)u64_min(data[1] % EDITS_MAX, (size - HEAD_BYTES) / EDIT_BYTES);
	memcpy(&files, &left->files, sizeof(files));
	for (uint32_t i = 0; i < edits; i++)
		edit(data + HEAD_BYTES + i * EDIT_BYTES);
	data += HEAD_BYTES + edits * EDIT_BYTES;
	size -= HEAD_BYTES + edits * EDIT_BYTES;

	cache = recover(left);
	if (!cache)
		return 0;
	moving = files.moves;
	sound(cache, "recovered");
	expiries_tell(cache);
	base = filled = left->n_segments * SEGMENT_BYTES;
	MUST(!cache_segment(cache, SESSION, base, SEGMENT_BYTES, false));
	for (uint32_t i = 0; i < STEPS_MAX && size >= STEP_BYTES; i++, size -= STEP_BYTES) {
		step(cache, data[0], data[1], &filled);
		data += STEP_BYTES;
	}
	sound(cache, "after steps");
	all_go(cache);
	cache_free(cache);
	if (moving && !files.moves)
		memcpy(files.index, files.next, sizeof(files.index));
	/* What it has stored is as good as what was there. */
	cache = recover(left);
	MUST(cache);
	sound(cache, "recovered again");
	MUST(!cache_view(cache).objects);
	cache_free(cache);
	return 0;
}
