/*
 * restart - the daemon of a cache of `keys` values of 64 bytes is killed, and the time runs until its
 * keeper has started another, and that answers a client which was there before: what the end of the
 * old process takes is counted, too. ms. Then a hundred values are asked for, and are there.
 *
 * The client sits on another processor. A quick run has 20 thousand values.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "bench/ctl.h"
#include "bench/dice.h"
#include "bench/harness.h"

#define SPACE "bench-restart"

enum {
	KEYS = 1000000,
	KEYS_MANY = 10000000,
	KEYS_QUICK = 20000,
	ROUNDS = 11,
	ROUNDS_MANY = 5,
	ROUNDS_QUICK = 3,
	VALUE = 64,
	OBJECT = 128, /* with header, key, and what is not filled of segments */
	LOOKS = 100,
	RECONNECT_MS = 60000,
};

struct key {
	uint64_t words[2];
};

static struct key key_of(uint64_t number)
{
	uint64_t seed = number;
	struct key key = {{dice(&seed), number}};

	return key;
}

static void check(struct harness *harness, int r)
{
	if (r)
		harness_die(harness, "restart: %s", varbos_error()->message);
}

static void fill(struct harness *harness, struct varbos_cache *cache, uint64_t keys)
{
	uint64_t value[VALUE / sizeof(uint64_t)] = {0};

	for (uint64_t i = 0; i < keys; i++) {
		struct key key = key_of(i);

		value[0] = i;
		check(harness,
		      varbos_cache_put_async(cache, &key, sizeof(key), value, VALUE, NULL));
	}
	check(harness, varbos_cache_flush(cache));
}

static void look(struct harness *harness, struct varbos_cache *cache, uint64_t keys,
		 uint64_t *state)
{
	for (int i = 0; i < LOOKS; i++) {
		uint64_t number = dice_below(state, (uint32_t)keys), found;
		struct key key = key_of(number);
		struct varbos_view view;

		check(harness, varbos_cache_get(cache, &key, sizeof(key), &view));
		memcpy(&found, view.data, sizeof(found));
		varbos_view_release(&view);
		if (found != number)
			harness_die(harness, "restart: a value is another's");
	}
}

static uint64_t round_of(struct harness *harness)
{
	uint64_t pid, start_ns;

	if (!ctl_status(harness->socket, "pid", &pid))
		harness_die(harness, "restart: varbosctl does not say who serves");
	start_ns = now_ns();
	if (kill((pid_t)pid, SIGKILL))
		harness_die(harness, "restart: kill: %s", strerror(errno));
	check(harness, varbos_ping(harness->vb, NULL));
	return now_ns() - start_ns;
}

static void restart(struct harness *harness, uint64_t keys, unsigned rounds)
{
	uint64_t bytes = keys * OBJECT, state = 1;
	struct varbos_space *space;
	struct varbos_cache *cache;
	struct series series;

	check(harness, varbos_set_reconnect(harness->vb, RECONNECT_MS));
	check(harness, varbos_space_open(&space, harness->vb, SPACE,
					 &(struct varbos_space_options){
						 .limit = bytes + bytes / 4 + (64 << 20)}));
	check(harness, varbos_cache_open(&cache, space, "bench",
					 &(struct varbos_cache_options){.capacity = bytes}));
	harness_pin(harness,
		    harness->cpus[harness->cpus[CROSS_CORE] < 0 ? SAME_CORE : CROSS_CORE]);
	fill(harness, cache, keys);
	series_init(&series, rounds);
	for (unsigned i = 0; i < rounds; i++) {
		series_add(&series, round_of(harness));
		look(harness, cache, keys, &state);
		harness_heed(harness);
	}
	printf("{\"bench\":\"restart\",\"impl\":\"varbos\",\"keys\":%" PRIu64
	       ",\"unit\":\"ms\",\"p50\":%.3f,\"p99\":%.3f,\"n\":%zu}\n",
	       keys, (double)series_percentile(&series, 50) / 1000000,
	       (double)series_percentile(&series, 99) / 1000000, series.n);
	fflush(stdout);
	series_deinit(&series);
	varbos_cache_close(cache);
	varbos_space_close(space);
	check(harness, varbos_space_remove(harness->vb, SPACE, 0));
}

void bench_restart(struct harness *harness)
{
	restart(harness, harness->quick ? KEYS_QUICK : KEYS,
		harness->quick ? ROUNDS_QUICK : ROUNDS);
}

void bench_restart_10m(struct harness *harness)
{
	restart(harness, harness->quick ? KEYS_QUICK : KEYS_MANY,
		harness->quick ? ROUNDS_QUICK : ROUNDS_MANY);
}
