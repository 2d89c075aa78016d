/*
 * Single steps of a cache: what the daemon does to its objects' records and index, looked at after every
 * machine instruction as if it had died there (tests/step/steps.h). Of each state
 *
 *   what cache_recover() makes of it is sound, and has all that was acknowledged: each object as
 *   it was or as it will be, with its place and version, never neither, and no other
 *   readers who walk the index as it stands find each object that is there before and after; what
 *   they are shown of the act under way is not taken back by a death
 *   readers who began when the act did, or a few states ago, and go on now from any of their loads,
 *   miss nothing, too
 *
 *   test_step_cache [MUTANTS]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/cache/cache.h"
#include "daemon/core/cache/clean.h"
#include "tests/step/steps.h"

/* A reader's loads: so many of the memory as it was, then of the memory as it is. */
static uint64_t load_at(const _Atomic uint64_t *word);
#define index_load(word) load_at(word)
#define index_pin(hazard, value) ((void)(hazard), (void)(value))
#define index_fence() ((void)0)
#include "proto/index_read.h"

enum {
	KEYS = 20,
	SLOTS = 64,
	BUCKETS = 16,
	OVERFLOW = 8,
	FILE_SIZE = 8192,
	OBJECT = 1024,
	PLACES = 1024,
	SESSION = 1,
	NOW = 1000,
	LOADS_MAX = 128,
	FORMER = 3, /* states, beside the one in which the act began */
	AGAIN = 8,  /* a walk begins anew so often, and no more: nothing changes meanwhile */
};

/* Where memory is: what is filled, what comes next, the cleaner's. */
#define FIRST SLICE_BYTES
#define SECOND (4 * SLICE_BYTES)
#define CLEANER (6 * SLICE_BYTES)

static const struct cache_found segments[] = {
	{FIRST, SLICE_BYTES, SESSION, false},
	{SECOND, SLICE_BYTES, SESSION, false},
	{CLEANER, OBJECT_OWN, CACHE_CLEANER, false},
};

static_assert(CLEANER + OBJECT_OWN <= (uint64_t)PLACES * OBJECT, "each place has a key");

struct shared {
	_Alignas(64) char objects[64 + SLOTS * sizeof(struct object_record)];
	_Alignas(64) char files[2][FILE_SIZE];
	uint32_t now;           /* the index that the ledger names */
	uint64_t there[PLACES]; /* whose value this is */
};

static struct shared *shared;
static struct cache *cache;
static uint64_t filled;
static uint32_t numbers[2][(BUCKETS * 2 + OVERFLOW * 2) * INDEX_ENTRIES];

/* ---- the one who acts ---- */

#define DO(call)                                  \
	({                                        \
		int r_;                           \
		do                                \
			r_ = (call);              \
		while (r_ == CACHE_MORE);         \
		if (r_)                           \
			steps_give_up(#call, r_); \
	})

/* Three of four lead to one bucket of the first index, so that it has a chain. */
static uint64_t key(uint32_t i)
{
	static uint64_t hashes[KEYS];

	for (uint32_t k = 0, n = 1; !hashes[KEYS - 1]; ++n) {
		uint64_t hash = n * 0x2545f4914f6cdd1dULL;

		if (k % 4 == 3 || index_mix(hash, 1, BUCKETS).bucket == 0)
			hashes[k++] = hash;
	}
	return hashes[i];
}

static struct index_table index_new(uint32_t file, uint64_t generation, uint64_t seed,
				    uint32_t times)
{
	struct index_config config = {
		.layout = {BUCKETS * times, OVERFLOW * times},
		.generation = generation,
		.seed = seed,
		.epoch = 1,
	};

	memset(shared->files[file], 0, FILE_SIZE);
	index_format(shared->files[file], &config);
	return index_table(shared->files[file], numbers[file]);
}

static struct cache_config config_of(struct object_records *objects, struct index_table index)
{
	return (struct cache_config){
		.capacity = 256 * OBJECT,
		.policy = POLICY_LRU,
		.objects = objects,
		.slots = SLOTS,
		.index = index,
		.now = NOW,
	};
}

static void cache_begin(void *memory)
{
	struct cache_config config;

	shared = memory;
	config = config_of(object_records_init(shared->objects), index_new(0, 1, 1, 1));
	if (cache_new(&cache, &config))
		steps_give_up("cache_new", 0);
	DO(cache_tend(cache, NOW));
	DO(cache_segment(cache, SESSION, FIRST, SLICE_BYTES, false));
	filled = FIRST;
}

static void put(uint32_t i, uint64_t expiry)
{
	struct cache_publish publish = {
		.hash = key(i),
		.offset = filled,
		.size = OBJECT,
		.expiry = expiry,
		.now = NOW,
		.session = SESSION,
		.mode = LANE_PUT,
		.born = i + 1,
	};
	struct cache_object object;
	int r;

	shared->there[filled / OBJECT] = key(i);
	do {
		r = cache_publish(cache, &publish, &object);
		if (r == CACHE_E_TEND)
			DO(cache_tend(cache, NOW));
	} while (r == CACHE_MORE || r == CACHE_E_TEND);
	if (r)
		steps_give_up("publish", r);
	filled += OBJECT;
}

static void publish(void)
{
	for (uint32_t i = 0; i < 4; ++i)
		put(i, 0);
}

static void publish_chained(void)
{
	for (uint32_t i = 4; i < KEYS - 2; ++i)
		put(i, i == 5 ? 5000 : 0);
}

static void replace(void)
{
	put(1, 0);
	put(KEYS - 4, 0); /* it is in the chain */
}

static void delete_replaced(void)
{
	DO(cache_delete(cache, key(1), 0, NOW));
}

/* Others come closer; in the end the chain is none. */
static void delete_chained(void)
{
	for (uint32_t i = 8; i < 14; ++i)
		DO(cache_delete(cache, key(i), 0, NOW));
}

static void touch(void)
{
	struct cache_object object;

	DO(cache_touch(cache, key(2), 9000, NOW, &object));
	DO(cache_touch(cache, key(5), 8000, NOW, &object));
}

static void use(void)
{
	struct cache_object object;

	DO(cache_use(cache, key(0), NOW, &object));
}

static void seal(void)
{
	DO(cache_seal(cache, SESSION, FIRST));
	DO(cache_segment(cache, SESSION, SECOND, SLICE_BYTES, false));
	filled = SECOND;
}

static void move(void)
{
	static struct clean_step step;

	DO(cache_segment(cache, CACHE_CLEANER, CLEANER, OBJECT_OWN, false));
	DO(cache_clean_plan(cache, 4 * OBJECT, &step));
	for (uint32_t i = 0; i < step.n; ++i)
		shared->there[step.moves[i].to / OBJECT] = step.moves[i].hash;
	cache_clean_done(cache, &step, true);
}

static void evict(void)
{
	uint64_t bytes = 2 * OBJECT;

	DO(cache_evict(cache, &bytes));
}

static void expire(void)
{
	DO(cache_expire(cache, 8500, 64));
}

static void grow_begin(void)
{
	cache_index_begin(cache, index_new(1, 2, 1, 2));
}

static void grow_publish(void)
{
	put(KEYS - 2, 0);
	put(1, 0);
}

static void index_go_on(void)
{
	struct index_table former;

	DO(cache_index_step(cache, &former));
	shared->now ^= 1;
}

static void reseed(void)
{
	cache_index_begin(cache, index_new(0, 3, 77, 2));
	put(KEYS - 1, 0);
}

static void clear(void)
{
	uint64_t begun = cache_clear_begin(cache);

	DO(cache_clear(cache, begun));
}

static const struct step_act acts[] = {
	{"publish", publish},
	{"publish more", publish_chained},
	{"replace", replace},
	{"delete of what was replaced", delete_replaced},
	{"touch", touch},
	{"use", use},
	{"delete from a chain", delete_chained},
	{"seal", seal},
	{"move", move},
	{"evict", evict},
	{"expire", expire},
	{"index growth begins", grow_begin},
	{"publish and replace meanwhile", grow_publish},
	{"index growth", index_go_on},
	{"reseeding begins", reseed},
	{"reseeding", index_go_on},
	{"clear", clear},
};

/* ---- what a cache knows ---- */

static void facts_of(struct facts *facts, struct cache *of)
{
	struct cache_object object;

	facts->n = 0;
	for (uint32_t i = 0; i < KEYS; ++i) {
		if (cache_find(of, key(i), &object))
			continue;
		fact(facts, "key %u is there", i);
		fact(facts, "key %u at %" PRIu64, i, object.offset);
		fact(facts,
		     "key %u, %" PRIu64 " bytes at %" PRIu64
		     ", version %u, generation %u, expires %d",
		     i, object.size, object.offset, object.version, object.generation,
		     object.expires);
	}
}

static void cache_told(struct facts *facts)
{
	facts_of(facts, cache);
}

/* Where it is said to be; NULL: nowhere. */
static const char *place_of(const struct facts *facts, uint32_t i)
{
	char begins[FACT_TEXT];

	snprintf(begins, sizeof(begins), "key %u at ", i);
	return fact_find(facts, begins);
}

static bool same(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : !a && !b;
}

/* ---- readers ---- */

static const struct shared *as_was, *as_is;
static uint32_t loads, loads_of_was;

static uint64_t load_at(const _Atomic uint64_t *word)
{
	uintptr_t at = (uintptr_t)word - (uintptr_t)as_was;
	const struct shared *of = loads++ < loads_of_was ? as_was : as_is;

	return *(const uint64_t *)(const void *)((const char *)of + at);
}

/* Addresses are of the memory as it was: of that, what never changes is read. */
static bool walk(uint32_t file, uint64_t hash, enum index_answer *ret, uint64_t *ret_offset)
{
	_Atomic uint64_t hazard = 0;
	struct index_view view;
	struct index_walk at;
	uint32_t offered = 0;

	if (!index_view_open(&view, as_was->files[file], FILE_SIZE))
		return false;
	index_walk_begin(&at, &view, hash, &hazard, 0);
	while ((*ret = index_walk_next(&at, true)) == INDEX_OFFERED) {
		*ret_offset = at.offset;
		if (at.offset / OBJECT < PLACES && as_is->there[at.offset / OBJECT] == hash)
			return true;
		if (++offered > AGAIN * INDEX_ENTRIES)
			return false;
	}
	return true;
}

/* One who began in a file that may be another's since then goes to the next one. */
static bool shown(uint32_t i, const char **ret)
{
	static char text[FACT_TEXT];
	uint32_t file = as_was->now;
	enum index_answer answer;
	uint64_t offset = 0;

	*ret = NULL;
	if (!walk(file, key(i), &answer, &offset))
		return steps_wrong("a reader goes round for key %u", i);
	if (answer == INDEX_ELSEWHERE) {
		as_was = as_is; /* which is opened now */
		if (!walk(!file, key(i), &answer, &offset) || answer == INDEX_ELSEWHERE)
			return steps_wrong("a reader of key %u is led nowhere", i);
	}
	if (answer == INDEX_OFFERED) {
		snprintf(text, sizeof(text), "key %u at %" PRIu64, i, offset);
		*ret = text;
	}
	return true;
}

static bool readers(uint32_t i, const struct shared *now, const struct facts *recovered)
{
	const char *was = place_of(steps_was(), i), *will = place_of(steps_will(), i), *is;

	as_was = as_is = now;
	loads_of_was = 0;
	if (!shown(i, &is))
		return false;
	if (!same(is, was) && !same(is, will))
		return steps_wrong("a reader is shown: %s, of key %u", is ? is : "nothing", i);
	if (!same(is, was) && !same(place_of(recovered, i), will))
		return steps_wrong("a reader was shown: %s, of key %u; and it is not so",
				   is ? is : "nothing", i);
	return true;
}

/* Who has begun before, and was stopped at any of his loads until now. */
static bool readers_since(uint32_t i, const struct shared *then, const struct shared *now)
{
	const char *was = place_of(steps_was(), i), *will = place_of(steps_will(), i), *is;

	for (uint32_t n = 1, more = 1; more && n < LOADS_MAX; ++n) {
		as_was = then;
		as_is = now;
		loads = 0;
		loads_of_was = n;
		if (!shown(i, &is))
			return false;
		more = loads > n;
		if (!same(is, was) && !same(is, will))
			return steps_wrong("a reader who is at load %u is shown: %s, of key %u",
					   n, is ? is : "nothing", i);
	}
	return true;
}

/* Those of this act. */
static bool readers_all(const struct shared *now, const struct facts *recovered)
{
	static struct shared former[FORMER];
	static uint32_t n;
	static const struct facts *act;
	bool good = true;

	if (act != steps_was())
		n = 0;
	act = steps_was();
	for (uint32_t i = 0; good && i < KEYS; ++i) {
		good = readers(i, now, recovered) && readers_since(i, steps_begun(), now);
		for (uint32_t k = 0; good && k < n && k < FORMER; ++k)
			good = readers_since(i, &former[k], now);
	}
	/* What comes of that does not go on from there. */
	if (!steps_again())
		memcpy(&former[n++ % FORMER], now, sizeof(*now));
	return good;
}

/* ---- the one who looks ---- */

static int recover_from(struct shared *left, uint32_t (*of)[ARRAY_SIZE(numbers[0])],
			struct cache **ret)
{
	struct cache_config config =
		config_of(object_records_open(left->objects, sizeof(left->objects)),
			  index_table(left->files[left->now], of[left->now]));
	struct index_table next = {};

	if (index_state_unpack(atomic_load(&config.index.head->state)).next)
		next = index_table(left->files[!left->now], of[!left->now]);
	return cache_recover(ret, &config, next, segments, ARRAY_SIZE(segments));
}

/* Who comes next. */
static void cache_recovers(void *memory)
{
	static uint32_t again_numbers[2][ARRAY_SIZE(numbers[0])];
	struct cache *again;

	if (recover_from(memory, again_numbers, &again))
		steps_give_up("cache_recover", 0);
}

/* It has died here. */
static bool recover(const void *memory)
{
	static struct shared copy;
	static uint32_t again_numbers[2][ARRAY_SIZE(numbers[0])];
	static struct facts now;
	const struct shared *left = memory;
	struct cache *again;
	const char *unsound;
	bool good;

	memcpy(&copy, left, sizeof(copy));
	if (recover_from(&copy, again_numbers, &again))
		return steps_wrong("it does not recover");
	unsound = cache_check(again);
	facts_of(&now, again);
	good = unsound ? steps_wrong("%s", unsound) : steps_acknowledged(&now);
	if (good && cache_view(again).objects * 3 != now.n)
		good = steps_wrong("there are objects of nobody's");
	cache_free(again);
	return good && readers_all(left, &now);
}

#ifdef VARBOS_MUTANTS
static const struct step_defect defects[] = {
	{"object_valid_first", "publish and replace meanwhile"},
	{"cache_cleared_first", "replace"},
	{"cache_shown_first", "replace"},
	{"recover_earlier", "replace"},
	{"cache_replaced_kept", "delete of what was replaced"},
	{"cache_touched_twice", "touch"},
	{"index_version_kept", "delete from a chain"},
	{"index_version_early", "delete from a chain"},
	{"clean_index_only", "move"},
	{"clean_shown_first", "move"},
	{"cache_gone_late", "evict"},
	{"index_moved_early", "publish and replace meanwhile"},
	{"index_moved_late", "publish and replace meanwhile"},
	{"index_prune_version", "move"},
};
#endif

int main(int argc, char **argv)
{
	return steps_main(
		&(struct steps){
			.acts = acts,
			.n_acts = ARRAY_SIZE(acts),
			.size = sizeof(struct shared),
			.begin = cache_begin,
			.tell = cache_told,
			.look = recover,
			.recover = cache_recovers,
#ifdef VARBOS_MUTANTS
			.defects = defects,
			.n_defects = ARRAY_SIZE(defects),
#endif
		},
		argc, argv);
}
