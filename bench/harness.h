/*
 * Harness - a daemon and a raw peer, pinned alike, and the process that measures them.
 *
 * H1  The daemon and the raw peer sit on one processor, the measuring process on the same
 *     (same-core) or on another (cross-core).
 * H2  What is compared alternates in short rounds within one run, so that the machine's moods
 *     meet both.
 */
#pragma once

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench/clock.h"
#include "bench/series.h"

struct varbos;

enum seat { SAME_CORE, CROSS_CORE, PLACES_N };

extern const char *const place_names[PLACES_N];

struct harness {
	bool quick;
	int cpus[PLACES_N]; /* of the measuring process; CROSS_CORE -1 if there is only one */
	cpu_set_t allowed;  /* to this process, before it was pinned */
	char folder[64];
	char socket[96];
	pid_t daemon, raw;
	int raw_socket;
	struct varbos *vb;
};

enum {
	BENCH_ALONE = 1,   /* neither daemon nor raw peer */
	BENCH_KEPT = 2,    /* the daemon has a keeper, which harness.daemon is then */
	BENCH_BY_NAME = 4, /* not among all of them: it takes long */
};

/* A bench: a name and what it does, which ends the program if it fails. */
struct bench {
	const char *name, *text;
	void (*run)(struct harness *harness);
	unsigned how;
	const char *size; /* of the daemon's region; NULL: 256M */
};

void bench_rtt(struct harness *harness);
void bench_extent(struct harness *harness);
void bench_placement(struct harness *harness);
void bench_hostile(struct harness *harness);
void bench_pair(struct harness *harness);
void bench_churn(struct harness *harness);
void bench_larson(struct harness *harness);
void bench_prodcons(struct harness *harness);
void bench_rss(struct harness *harness);
void bench_arena(struct harness *harness);
void bench_arena_reset(struct harness *harness);
void bench_handover(struct harness *harness);
void bench_reclaim(struct harness *harness);
void bench_restart(struct harness *harness);
void bench_restart_10m(struct harness *harness);
void bench_hit_restart(struct harness *harness);
void bench_copy(struct harness *harness);
void bench_copy_shifted(struct harness *harness);
void bench_zero(struct harness *harness);
void bench_hit(struct harness *harness);
void bench_hit_hot(struct harness *harness);
void bench_hit_1m(struct harness *harness);
void bench_hit_many(struct harness *harness);
void bench_miss(struct harness *harness);
void bench_put(struct harness *harness);
void bench_put_async(struct harness *harness);
void bench_put_evict(struct harness *harness);
void bench_sustained(struct harness *harness);
void bench_put_1m(struct harness *harness);
void bench_readers(struct harness *harness);
void bench_mixed(struct harness *harness);
void bench_hit_busy(struct harness *harness);
void bench_overhead(struct harness *harness);
void bench_util(struct harness *harness);
void bench_sim(struct harness *harness);

/* Starts the daemon and the raw peer, and connects; what fails ends the program. */
void harness_init(struct harness *harness, bool quick, const char *size, bool kept);
void harness_init_alone(struct harness *harness, bool quick);
void harness_deinit(struct harness *harness);

/* This process, from now on. */
void harness_pin(struct harness *harness, int cpu);

/* "varbos-bench: ..." on stderr, the daemon stopped, the end. */
void harness_die(struct harness *harness, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));

/* Was it told to end? Then it does. */
void harness_heed(struct harness *harness);

/* One 64-byte ping-pong with the raw peer. */
void raw_round_trip(struct harness *harness);
enum { RAW_BYTES = 64 };

/*
 * For each place: `operation` and the raw round trip in turn, in rounds, until the time is up;
 * then a row for each of the two, and their ratio on stderr.
 */
void harness_compare(struct harness *harness, const char *bench, uint64_t size,
		     void (*operation)(struct harness *harness, void *userdata),
		     void *userdata);
