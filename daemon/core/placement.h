/*
 * Placement - which free run of a window a request is cut from.
 *
 * P1  A policy is an index of the maximal free runs of one window and chooses among them; it
 *     does nothing else. The window owns splitting, merging, boundary tags and accounting.
 * P2  The window checks each choice before it acts on it: a policy costs quality, never
 *     correctness.
 * P3  Only init allocates. insert and remove cannot fail, since giving memory back must not.
 * P4  A request is served while some run holds it wherever that lies: count + align - 1 slices.
 *     Of shorter runs PLACE_LOOKS are tried, at least: an aligned place in another one may be
 *     missed, which window_scan() would find.
 * P5  insert, remove and find take a number of steps that is constant or logarithmic in the
 *     runs; but where nothing longer is free, TLSF walks the one class that the request is in.
 *
 * The index is told of every change: a run is removed as it was inserted, and runs neither
 * overlap nor touch. Runs are in slices.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { PLACE_LOOKS = 16 };

struct place {
	uint32_t run;   /* the free run to cut from */
	uint32_t first; /* where in it */
};

struct placement {
	const char *name;
	/* An empty index for a window of so many slices. -ENOMEM. */
	int (*init)(void **ret, uint32_t slices);
	void (*deinit)(void *index); /* NULL is fine */
	void (*insert)(void *index, uint32_t first, uint32_t count);
	void (*remove)(void *index, uint32_t first, uint32_t count);
	/* A place for `count` slices at a multiple of `align` (a power of two). */
	bool (*find)(const void *index, uint32_t count, uint32_t align, struct place *ret);
	uint32_t (*largest)(const void *index);
	/* Walks its own invariants; NULL, or what is wrong. *ret_count is how many runs it holds. */
	const char *(*check)(const void *index, uint32_t *ret_count);
};

/* The number is part of the ledger: a policy keeps it for good. */
enum placement_id {
	PLACEMENT_BESTFIT,
	PLACEMENT_BUDDY,
	PLACEMENT_TLSF,
	PLACEMENT_FIRSTFIT,
	PLACEMENTS
};

const struct placement *placement_at(uint32_t id); /* NULL beyond the last */
/* NULL or "" is the default. NULL if there is none of that name. */
const struct placement *placement_named(const char *name, uint32_t *ret_id);

extern const struct placement place_bestfit, place_buddy, place_tlsf, place_firstfit;
