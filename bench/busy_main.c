/*
 * hit_busy - single hits of a thousand keys, of which one in a hundred takes longer. Meanwhile another
 * process puts twice as many new keys as `keys` into the same cache, with values of 64 to 2048 bytes, and
 * deletes one for every eight at random: first its index grows; then, when `keys` were put, it
 * evicts and is cleaned. The worse of these two times counts. Each round in a new cache. ns, what the
 * clock takes included.
 *
 * quiet: nobody puts, and the cache is as the last of a round left it; instead two processes have as much to do,
 * where else the one that puts and the daemon are, but nothing to do with memory.
 *
 * The reader has the first processor for itself, the others share the second.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "bench/clock.h"
#include "bench/ctl.h"
#include "bench/dice.h"
#include "bench/hands.h"

enum {
	HOT = 1000,
	HOT_VALUE = 64,
	VALUE_LEAST = 64,
	VALUE_MOST = 2048,
	OBJECT_MEAN = (VALUE_LEAST + VALUE_MOST) / 2 + 48,
	DELETES = 8,
	TIMES = 2,
	QUIET_NS = 1500,   /* for each of `keys` */
	NS_MOST = 1 << 16, /* what takes longer counts as that long */
	MISSES = 20,       /* one in so many hits is too often */
	HANDS = 2,
	HANDS_QUIET = 3,
};

enum { KEY_HOT, KEY_COLD };

enum { GROWING, FULL, PHASES };

struct key {
	uint64_t words[2];
};

static const struct contender *what;
static struct varbos *vb;
static struct varbos_space *space;
static struct varbos_cache *cache;
static char name[32];
static unsigned hand_here;
static uint64_t state = 1, n_puts, read_sum;
static char value[VALUE_MOST];
static struct phase {
	uint64_t hits_of[NS_MOST], hits; /* by ns */
} phases[PHASES];
static uint64_t misses;
static struct {
	_Atomic uint32_t working; /* hands that give the reader something to notice */
	_Atomic uint32_t phase;
} * shared;
static bool seen; /* that there was something */

static void check(int r)
{
	if (r)
		contender_die("hit_busy: %s", varbos_error()->message);
}

static struct key key_of(int kind, uint64_t number)
{
	uint64_t seed = number << 1 | (uint64_t)kind;
	struct key key = {{dice(&seed), 0}};

	key.words[1] = dice(&seed);
	return key;
}

static bool quiet(void)
{
	return !strcmp(what->impl, "quiet");
}

static void enter(void)
{
	uint64_t capacity = what->keys * OBJECT_MEAN;
	struct varbos_space_options options = {.limit =
						       capacity * 3 / 2 + ((uint64_t)64 << 20)};

	if (!vb)
		check(varbos_connect(&vb, what->socket));
	check(varbos_space_open(&space, vb, name, &options));
	check(varbos_cache_open(&cache, space, "bench",
				&(struct varbos_cache_options){.capacity = capacity}));
	n_puts = 0;
}

static void leave(void)
{
	varbos_cache_close(cache);
	varbos_space_close(space);
}

static void put(int kind, uint64_t number, size_t size)
{
	struct key key = key_of(kind, number);

	check(varbos_cache_put_async(cache, &key, sizeof(key), value, size, NULL));
}

/* Any of those that were put lately; it may be gone already. */
static void some_delete(void)
{
	uint32_t back = dice_below(&state, (uint32_t)u64_min(n_puts, what->keys));
	struct key key = key_of(KEY_COLD, n_puts - 1 - back);
	int r;

	r = varbos_cache_del(cache, &key, sizeof(key));
	if (r != VARBOS_E_NOT_FOUND)
		check(r);
}

static void work_on_cache(void)
{
	while (n_puts < TIMES * what->keys) {
		uint32_t size = VALUE_LEAST + dice_below(&state, VALUE_MOST - VALUE_LEAST + 1);

		put(KEY_COLD, n_puts++, size);
		if (n_puts == what->keys)
			shared->phase = FULL;
		if (!dice_below(&state, DELETES))
			some_delete();
	}
	check(varbos_cache_flush(cache));
}

static void work_on_nothing(void)
{
	uint64_t end_ns = now_ns() + what->keys * QUIET_NS;

	while (now_ns() < end_ns)
		for (int i = 0; i < 1000; i++)
			read_sum += dice(&state);
}

/* ---- the reader ---- */

static void hit(uint64_t number)
{
	struct key key = key_of(KEY_HOT, number);
	uint64_t start_ns = now_ns(), ns, word;
	struct varbos_view view;
	struct phase *phase;
	int r;

	r = varbos_cache_get(cache, &key, sizeof(key), &view);
	if (r == VARBOS_E_NOT_FOUND) {
		misses++;
		put(KEY_HOT, number, HOT_VALUE);
		return;
	}
	check(r);
	memcpy(&word, view.data, sizeof(word));
	read_sum += word;
	varbos_view_release(&view);
	ns = now_ns() - start_ns;
	phase = &phases[shared->phase];
	phase->hits_of[u64_min(ns, NS_MOST - 1)]++;
	phase->hits++;
}

static void all_put(void)
{
	for (uint64_t i = 0; i < HOT; i++)
		put(KEY_HOT, i, HOT_VALUE);
	check(varbos_cache_flush(cache));
}

static uint64_t percentile_99(const struct phase *phase)
{
	uint64_t n = 0, ns = 0;

	while (n < phase->hits - phase->hits / 100)
		n += phase->hits_of[ns++];
	return ns ? ns - 1 : 0;
}

static void work(void)
{
	if (hand_here) {
		if (quiet())
			work_on_nothing();
		else
			work_on_cache();
		shared->working--;
		return;
	}
	while (shared->working)
		hit(dice_below(&state, HOT));
}

/* ---- rounds ---- */

static void ready(const struct contender *contender, unsigned hand)
{
	/* All of them where the reader is not. */
	contender_pin(contender->cpus[1]);
	hand_here = hand;
	state += hand;
	vb = NULL;
	enter();
}

static void enter_others(void)
{
	if (hand_here)
		enter();
}

static void begin(void)
{
	enter();
	all_put();
}

static void start(const struct contender *contender)
{
	static struct contender here;

	here = *contender;
	what = &here;
	snprintf(name, sizeof(name), "bench-%d", (int)getpid());
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		contender_die("out of memory");
	begin();
	if (quiet()) {
		work_on_cache();
		all_put();
	}
	hands_start(contender, quiet() ? HANDS_QUIET : HANDS, ready);
}

/* Was it busy, and with what it should be? */
static void busy_look(void)
{
	static const char *const fields[] = {"evicted", "moved"};
	uint64_t count;

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!ctl_cache(what->socket, fields[i], &count))
			contender_die("hit_busy: varbosctl does not say");
		if (!count)
			contender_die("hit_busy: nothing was %s", fields[i]);
	}
}

static void again(void)
{
	hands_do(leave);
	check(varbos_space_remove(vb, name, 0));
	begin();
	hands_do(enter_others);
}

static uint64_t busy_round(void)
{
	uint64_t hits = 0, worst = 0;

	misses = 0;
	memset(phases, 0, sizeof(phases));
	if (!quiet())
		again();
	shared->phase = GROWING;
	shared->working = quiet() ? HANDS_QUIET - 1 : HANDS - 1;
	hands_do(work);
	if (!quiet() && !seen) {
		busy_look();
		seen = true;
	}
	for (size_t i = 0; i < PHASES; i++) {
		hits += phases[i].hits;
		worst = u64_max(worst, percentile_99(&phases[i]));
	}
	if (misses > hits / MISSES)
		contender_die("hit_busy: %" PRIu64 " of %" PRIu64 " were misses", misses,
			      misses + hits);
	return worst * 1000;
}

static void stop(void)
{
	hands_stop();
	leave();
	check(varbos_space_remove(vb, name, 1));
	varbos_disconnect(vb);
}

static const struct contender_row rows[] = {
	{"hit_busy", start, busy_round, 1},
};

int main(int argc, char **argv)
{
	return contender_main(argc, argv, rows, ARRAY_SIZE(rows), NULL, stop);
}
