/*
 * Rows about caches, each with each store.h: values of `size` bytes under `keys` random keys of 16
 * bytes, all of which are there before anything is measured. ns a key.
 *
 * hit, hit_1m - a get of one key, any as likely as the other. hit_hot: any of a thousand of them.
 * hit_many: 16 at a time. miss: of keys that are not there.
 * put - one that replaces another, until everyone can see it. put_async: many of them in the
 * quickest way the store has, until everyone can see all.
 * put_evict - put_async of keys that were never there, in a store that is full. sustained: the same,
 * for a minute. put_1m: put of such keys, and (`async`) put_async; beside copies of as many bytes to
 * the place of the oldest.
 *
 * readers - hit, by as many processes at once as `size` says; million hits a second, of all together.
 * mixed: each of two processes gets and, one time in 20, puts; the k-th key as likely as
 * 1 / k^0.99. ns an operation, of each process.
 *
 * What is asked is laid out before the clock starts, in the order in which it will be read. A
 * round of gets begins with as many, of one key after the other, unmeasured: another contender has used the
 * processor's caches meanwhile. LMDB evicts nothing, and is not in put_evict.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "bench/clock.h"
#include "bench/dice.h"
#include "bench/hands.h"
#include "bench/store.h"
#include "bench/zipf.h"

#define OBJECT_EXTRA 40 /* bytes, beside its value: key and header of one of varbos */
#define LAP_BYTES ((uint64_t)64 << 20)
#define ZIPF 0.99

enum {
	GETS = 100000,
	GETS_SERVED = 500,
	PUTS = 500,
	PUTS_MANY = 100000,
	HOT = 1000,
	READERS_VALUE = 64,
	READERS_LAPS = 5, /* else it would be over before all have begun */
	MIXED_HANDS = 2,
	MIXED_PUTS = 20, /* of so many operations one is a put */
	MIXED = 20000,
};

/* Keys of one range are never those of another. */
enum range { THERE, ELSEWHERE };

static uint64_t state = 1;
static struct store_key *requests;
static size_t room;
static uint64_t n_keys, n_fresh, read_sum;
static size_t value_size;
static void *data;
static bool asynchronous;
static unsigned n_hands;
static struct zipf zipf;

static struct store_key key_of(enum range range, uint64_t number)
{
	uint64_t seed = number << 1 | range;
	struct store_key key = {{dice(&seed), 0}};

	key.words[1] = dice(&seed);
	return key;
}

static void requests_make(size_t n)
{
	room = n;
	requests = malloc(n * sizeof(*requests));
	if (!requests)
		contender_die("out of memory");
}

/* n requests among `among` keys. */
static void requests_draw(size_t n, enum range range, uint64_t among)
{
	for (size_t i = 0; i < n; i++)
		requests[i] = key_of(range, dice_below(&state, (uint32_t)among));
}

/* Each of them in turn: then all are in what caches the processor has for them. */
static void requests_count(size_t n, enum range range, uint64_t among)
{
	for (size_t i = 0; i < n; i++)
		requests[i] = key_of(range, i % among);
}

static void fill(void)
{
	for (uint64_t i = 0; i < n_keys;) {
		size_t n = 0;

		while (n < room && i < n_keys)
			requests[n++] = key_of(THERE, i++);
		store_put_many(requests, n);
	}
}

/* How many of them are there; in groups, for a server takes its time. */
static uint64_t found(void)
{
	uint64_t n = 0, sum;

	for (uint64_t i = 0; i < n_keys; i += STORE_MANY) {
		struct store_key keys[STORE_MANY];

		for (uint64_t j = 0; j < STORE_MANY; j++)
			keys[j] = key_of(THERE, u64_min(i + j, n_keys - 1));
		n += u64_min(store_get_many(keys, &sum), n_keys - i);
	}
	return n;
}

static size_t lap(size_t most)
{
	return (size_t)u64_max(u64_min(u64_min(most, LAP_BYTES / value_size), n_keys), 1);
}

static void join(const struct contender *contender, unsigned hand)
{
	state += hand;
	store_join(contender);
}

static void begin(const struct contender *contender, struct store_needs needs)
{
	uint64_t object = needs.value + OBJECT_EXTRA;

	n_keys = contender->keys;
	value_size = needs.value;
	/* What is full holds as many as there are keys, if it takes no more for each than varbos. */
	needs.capacity = n_keys * ((object + 15) / 16 * 16);
	if (!needs.evicts)
		needs.capacity += needs.capacity / 4;
	data = calloc(1, value_size);
	if (!data)
		contender_die("out of memory");
	memset(data, 1, value_size);
	requests_make(lap(PUTS_MANY));
	store_start(contender, &needs, data);
	if (n_hands)
		hands_start(contender, n_hands, join);
	store_joined();
	fill();
}

/* All are there; else what is measured is how one asks in vain. */
static void begin_full(const struct contender *contender, struct store_needs needs)
{
	uint64_t n;

	begin(contender, needs);
	n = found();
	if (n < n_keys)
		contender_die("%s keeps %" PRIu64 " of %" PRIu64 " values", contender->impl, n,
			      n_keys);
}

static void start_full(const struct contender *contender)
{
	begin_full(contender, (struct store_needs){.value = contender->size});
}

static size_t gets(void)
{
	return lap(store_is_served ? GETS_SERVED : GETS);
}

static void get_all(size_t n)
{
	uint64_t word;

	for (size_t i = 0; i < n; i++) {
		if (!store_get(&requests[i], &word))
			contender_die("a key is missing");
		read_sum += word;
	}
}

static uint64_t hits(uint64_t among)
{
	size_t n = gets();
	uint64_t start_ns;

	requests_count(n, THERE, among);
	get_all(n);
	requests_draw(n, THERE, among);
	start_ns = now_ns();
	get_all(n);
	return (now_ns() - start_ns) * 1000 / n;
}

static uint64_t hit_round(void)
{
	return hits(n_keys);
}

static uint64_t hit_hot_round(void)
{
	return hits(u64_min(n_keys, HOT));
}

static void get_all_many(size_t n)
{
	uint64_t sum;

	for (size_t i = 0; i < n; i += STORE_MANY) {
		if (store_get_many(&requests[i], &sum) != STORE_MANY)
			contender_die("a key is missing");
		read_sum += sum;
	}
}

static uint64_t hit_many_round(void)
{
	size_t n = gets() / STORE_MANY * STORE_MANY;
	uint64_t start_ns;

	if (!n)
		contender_die("too few gets for one of many keys");
	requests_count(n, THERE, n_keys);
	get_all_many(n);
	requests_draw(n, THERE, n_keys);
	start_ns = now_ns();
	get_all_many(n);
	return (now_ns() - start_ns) * 1000 / n;
}

static void miss_all(size_t n)
{
	uint64_t word;

	for (size_t i = 0; i < n; i++)
		if (store_get(&requests[i], &word))
			contender_die("that was no miss");
}

static uint64_t miss_round(void)
{
	size_t n = gets();
	uint64_t start_ns;

	requests_count(n, ELSEWHERE, n_keys);
	miss_all(n);
	requests_draw(n, ELSEWHERE, n_keys);
	start_ns = now_ns();
	miss_all(n);
	return (now_ns() - start_ns) * 1000 / n;
}

static uint64_t put_round(void)
{
	size_t n = lap(PUTS);
	uint64_t start_ns;

	requests_draw(n, THERE, n_keys);
	start_ns = now_ns();
	for (size_t i = 0; i < n; i++)
		store_put(&requests[i]);
	return (now_ns() - start_ns) * 1000 / n;
}

static uint64_t put_async_round(void)
{
	size_t n = lap(PUTS_MANY);
	uint64_t start_ns;

	requests_draw(n, THERE, n_keys);
	start_ns = now_ns();
	store_put_many(requests, n);
	return (now_ns() - start_ns) * 1000 / n;
}

static uint64_t put_evict_round(void)
{
	size_t n = lap(PUTS_MANY);
	uint64_t start_ns;

	for (size_t i = 0; i < n; i++)
		requests[i] = key_of(ELSEWHERE, n_fresh++);
	start_ns = now_ns();
	store_put_many(requests, n);
	return (now_ns() - start_ns) * 1000 / n;
}

/* All that was there at first has gone: it is as it will be from now on. */
static void start_evicting(const struct contender *contender)
{
	begin(contender, (struct store_needs){.value = contender->size, .evicts = true});
	while (n_fresh < 2 * n_keys)
		put_evict_round();
}

static void start_copying(const struct contender *contender)
{
	asynchronous = !strcmp(contender->impl, "async");
	start_evicting(contender);
}

static uint64_t put_1m_round(void)
{
	size_t n = lap(PUTS);
	uint64_t start_ns;

	if (asynchronous)
		return put_evict_round();
	for (size_t i = 0; i < n; i++)
		requests[i] = key_of(ELSEWHERE, n_fresh++);
	start_ns = now_ns();
	for (size_t i = 0; i < n; i++)
		store_put(&requests[i]);
	return (now_ns() - start_ns) * 1000 / n;
}

/* ---- several processes ---- */

static void start_readers(const struct contender *contender)
{
	n_hands = (unsigned)contender->size;
	begin_full(contender, (struct store_needs){.value = READERS_VALUE});
}

static void readers_draw(void)
{
	requests_count(gets(), THERE, n_keys);
	get_all(gets());
	requests_draw(gets(), THERE, n_keys);
}

static unsigned readers_laps(void)
{
	return store_is_served ? 1 : READERS_LAPS;
}

static void readers_read(void)
{
	for (unsigned i = 0; i < readers_laps(); i++)
		get_all(gets());
}

/* Thousandths of a million a second. */
static uint64_t readers_round(void)
{
	uint64_t n = (uint64_t)n_hands * readers_laps() * gets();

	hands_do(readers_draw);
	return n * 1000000 / hands_do(readers_read);
}

static size_t mixed(void)
{
	return lap(store_is_served ? GETS_SERVED : MIXED);
}

static void start_mixed(const struct contender *contender)
{
	n_hands = MIXED_HANDS;
	zipf_init(&zipf, contender->keys, ZIPF);
	begin_full(contender, (struct store_needs){.value = contender->size, .shared = true});
}

static void mixed_draw(void)
{
	for (size_t i = 0; i < mixed(); i++)
		requests[i] = key_of(THERE, zipf_draw(&zipf, &state));
}

static void mixed_run(void)
{
	size_t next = dice_below(&state, MIXED_PUTS), n = mixed();
	uint64_t word;

	for (size_t i = 0; i < n; i++) {
		if (i != next) {
			if (!store_get(&requests[i], &word))
				contender_die("a key is missing");
			read_sum += word;
			continue;
		}
		store_put(&requests[i]);
		/* One of the next so many: on average as many later. */
		next += 1 + dice_below(&state, 2 * MIXED_PUTS - 1);
	}
}

static uint64_t mixed_round(void)
{
	hands_do(mixed_draw);
	return hands_do(mixed_run) * 1000 / mixed();
}

static void stop(void)
{
	hands_stop();
	store_stop();
}

static const struct contender_row rows[] = {
	{"hit", start_full, hit_round, 1},
	{"hit_hot", start_full, hit_hot_round, 1},
	{"hit_1m", start_full, hit_round, 1},
	{"hit_many", start_full, hit_many_round, 1},
	{"miss", start_full, miss_round, 1},
	{"put", start_full, put_round, 2},
	{"put_async", start_full, put_async_round, 2},
	{"put_evict", start_evicting, put_evict_round, 1},
	{"sustained", start_evicting, put_evict_round, 1},
	{"put_1m", start_copying, put_1m_round, 1},
	{"readers", start_readers, readers_round, 1},
	{"mixed", start_mixed, mixed_round, 1},
};

int main(int argc, char **argv)
{
	return contender_main(argc, argv, rows, ARRAY_SIZE(rows), NULL, stop);
}
