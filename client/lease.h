/*
 * Leases - slices that this process holds of the daemon's, and hands on to its heaps in runs.
 *
 * L1  A lease is one extent of up to 64 slices; a word says which of them are free.
 * L2  A lease is as large as a 64th of what is held, rounded down to a power of two, one slice at
 *     least and 64 at most: who needs little takes little, and extents fill chunks. When a
 *     quarter of such a lease is left of a MiB and more, the next one is asked for; its answer is
 *     collected when nothing is left, so that steady growth waits for nobody.
 * L3  Of leases that are wholly free, as many are kept as an eighth of what is held, and one
 *     chunk; the rest goes back at once. Before anyone is refused, all of them go back.
 * L4  Whenever a second has passed, what was idle all through it goes back. There is no timer:
 *     the clock is looked at when a run is taken or given.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/lock.h"
#include "client/store.h"

/* Where they come from: the daemon, or a test. */
struct lease_source {
	/* 0, or why not, as the caller is to have it; `or_less`: he does with fewer then. */
	int (*take)(struct lease_source *source, uint32_t slices, bool or_less, char **ret);
	void (*give)(struct lease_source *source, char *base, uint32_t slices);
	/* Or NULL: a lease asked ahead, one at a time. Asked: true. Collected: as take(). */
	bool (*ask)(struct lease_source *source, uint32_t slices);
	int (*collect)(struct lease_source *source, uint32_t slices, char **ret);
	uint64_t (*now_ns)(struct lease_source *source); /* or NULL: time stands still */
};

enum lease_asked { ASKED_NOTHING, ASKED_SOON, ASKED, ASKED_COLLECTING };

struct lease {
	struct lease *next, **at; /* of those with free slices; `at` NULL: it has none */
	char *base;
	uint64_t free; /* bits */
	uint32_t slices;
};

struct leases {
	struct lock lock;
	struct lease_source *source;
	struct store *store;
	struct lease *open;        /* with free slices */
	struct lease *spare;       /* records not in use */
	uint64_t held, free, idle; /* slices; idle: of leases that are wholly free */
	enum lease_asked asked;    /* ahead */
	uint32_t asked_slices;
	uint64_t looked_ns, low; /* the least that was idle since then */
};

struct run {
	struct leases *leases;
	struct lease *lease;
	char *base;
	uint32_t first, slices;
};

void leases_init(struct leases *leases, struct lease_source *source, struct store *store);

/* A run of slices: 0, the source's refusal, or -ENOMEM. */
int leases_take(struct leases *leases, uint32_t slices, struct run *ret);
/* Would that be had without the source? */
bool leases_have(struct leases *leases, uint32_t slices);
void run_give(const struct run *run);

/* Give back all that is wholly free; how many slices that was. */
uint64_t leases_trim(struct leases *leases);
