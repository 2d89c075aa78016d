/*
 * hit_restart - single hits of any of `keys` keys of 16 bytes, with values of 64. Meanwhile another
 * process kills the daemon 200 ms after each time it serves, again and again; its keeper starts it again. Half
 * of the hits took no longer. ns, what the clock takes included.
 *
 * quiet: nobody kills, and it waits as often.
 *
 * The reader has the first processor for itself, the others share the second.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "bench/clock.h"
#include "bench/contender.h"
#include "bench/ctl.h"
#include "bench/dice.h"
#include "bench/hands.h"

enum {
	VALUE = 64,
	OBJECT = 128,
	KILLS = 5, /* a round */
	SERVES_MS = 200,
	NS_MOST = 1 << 16, /* what takes longer counts as that long */
	HANDS = 2,
	RECONNECT_MS = 60000,
};

#define SPACE "bench-hit-restart"

struct key {
	uint64_t words[2];
};

static const struct contender *what;
static struct varbos *vb;
static struct varbos_space *space;
static struct varbos_cache *cache;
static unsigned hand_here;
static uint64_t state = 1, read_sum;
static uint64_t hits_of[NS_MOST], hits;
static _Atomic bool *over;

static void check(int r)
{
	if (r)
		contender_die("hit_restart: %s", varbos_error()->message);
}

static struct key key_of(uint64_t number)
{
	uint64_t seed = number;
	struct key key = {{dice(&seed), number}};

	return key;
}

static void enter(void)
{
	uint64_t bytes = what->keys * OBJECT;

	check(varbos_connect(&vb, what->socket));
	check(varbos_set_reconnect(vb, RECONNECT_MS));
	check(varbos_space_open(
		&space, vb, SPACE,
		&(struct varbos_space_options){.limit = bytes + bytes / 4 + (64 << 20)}));
	check(varbos_cache_open(&cache, space, "bench",
				&(struct varbos_cache_options){.capacity = bytes}));
}

static void fill(void)
{
	uint64_t value[VALUE / sizeof(uint64_t)] = {0};

	for (uint64_t i = 0; i < what->keys; i++) {
		struct key key = key_of(i);

		value[0] = i;
		check(varbos_cache_put_async(cache, &key, sizeof(key), value, VALUE, NULL));
	}
	check(varbos_cache_flush(cache));
}

static void kill_daemon(void)
{
	uint64_t pid;

	if (!ctl_status(what->socket, "pid", &pid))
		contender_die("hit_restart: varbosctl does not say who serves");
	if (kill((pid_t)pid, SIGKILL))
		contender_die("hit_restart: kill: %s", strerror(errno));
}

static void trouble(void)
{
	for (int i = 0; i < KILLS; i++) {
		nanosleep(&(struct timespec){.tv_nsec = SERVES_MS * 1000000L}, NULL);
		if (!strcmp(what->impl, "varbos"))
			kill_daemon();
		check(varbos_ping(vb, NULL)); /* it serves again */
	}
	*over = true;
}

static void hit(void)
{
	uint64_t number = dice_below(&state, (uint32_t)what->keys), start_ns, ns, word;
	struct key key = key_of(number);
	struct varbos_view view;

	start_ns = now_ns();
	check(varbos_cache_get(cache, &key, sizeof(key), &view));
	memcpy(&word, view.data, sizeof(word));
	varbos_view_release(&view);
	ns = now_ns() - start_ns;
	if (word != number)
		contender_die("hit_restart: a value is another's");
	read_sum += word;
	hits_of[u64_min(ns, NS_MOST - 1)]++;
	hits++;
}

static void work(void)
{
	if (hand_here)
		trouble();
	else
		while (!*over)
			hit();
}

static void ready(const struct contender *contender, unsigned hand)
{
	contender_pin(contender->cpus[1]);
	hand_here = hand;
	enter();
}

static void start(const struct contender *contender)
{
	static struct contender here;

	here = *contender;
	what = &here;
	over = mmap(NULL, sizeof(*over), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		    0);
	if (over == MAP_FAILED)
		contender_die("out of memory");
	enter();
	fill();
	hands_start(contender, HANDS, ready);
}

static uint64_t restart_round(void)
{
	uint64_t n = 0, ns = 0;

	memset(hits_of, 0, sizeof(hits_of));
	hits = 0;
	*over = false;
	hands_do(work);
	while (n < hits / 2)
		n += hits_of[ns++];
	return ns ? (ns - 1) * 1000 : 0;
}

static void stop(void)
{
	hands_stop();
	varbos_cache_close(cache);
	varbos_space_close(space);
	varbos_disconnect(vb);
}

static const struct contender_row rows[] = {
	{"hit_restart", start, restart_round, 1},
};

int main(int argc, char **argv)
{
	return contender_main(argc, argv, rows, ARRAY_SIZE(rows), NULL, stop);
}
