/*
 * Window - which slices of one window are free, and which of its units have memory.
 *
 * W1  Every slice is free, held (by a plan) or used (by an extent). Free slices form maximal
 *     runs: no two touch. The index holds exactly these.
 * W2  Every unit is absent, committed, or moves: committing or punching (scrubbed included),
 *     then a plan holds all of it that no extent of that plan does.
 * W3  taken[unit] counts its slices that are not free; a committed unit of 0 is idle. A slice
 *     that is used stands in a committed unit.
 * W4  Nothing here fails but window_new().
 *
 * A unit is what is committed at once: 2 MiB, or a page of 1 GiB. All of it is derived, so the
 * records of it are kept by others.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/placement.h"
#include "daemon/core/record.h"

enum slice_state { SLICE_FREE, SLICE_HELD, SLICE_USED };

/*
 * A slice in one word: state:2 value:30. The value of a used one is its extent's slot; that of
 * the first and the last of a free run is its length (boundary tags; in between, anything).
 */
static inline uint32_t slice_state_pack(enum slice_state state, uint32_t value)
{
	return (uint32_t)state << 30 | value;
}

static inline enum slice_state slice_state(uint32_t word)
{
	return (enum slice_state)(word >> 30);
}

static inline uint32_t slice_value(uint32_t word)
{
	return word & (((uint32_t)1 << 30) - 1);
}

/* Units of one space together, counted by its windows. */
struct unit_sums {
	uint32_t committed, committing, idle;
	uint32_t idle_low; /* the least that `idle` has been since someone set it */
};

/* 64 units: what a pages record holds, and what moves. */
struct unit_group {
	uint32_t slot; /* of the pages record; held while a unit is committed or committing */
	uint64_t committed, idle, committing, punching;
};

struct space;

struct window {
	struct space *space;
	struct unit_sums *sums;
	const struct placement *placement;
	void *index;
	struct window_place place;
	uint32_t slot;
	bool pending; /* a plan creates it */
	bool retired; /* no more of it is given out: RV2 in revoke.h */
	uint32_t slices, units;
	uint32_t unit_shift; /* slices of a unit, as a shift */
	uint32_t *words;     /* of each slice */
	uint32_t *taken;     /* of each unit */
	struct unit_group *groups;
};

static inline uint32_t unit_shift_of(uint32_t page_shift)
{
	return page_shift > CHUNK_SHIFT ? page_shift : CHUNK_SHIFT;
}

static inline uint32_t window_unit(const struct window *window, uint32_t slice)
{
	return slice >> window->unit_shift;
}

static inline uint32_t window_unit_slices(const struct window *window)
{
	return (uint32_t)1 << window->unit_shift;
}

static inline uint32_t window_groups(const struct window *window)
{
	return (window->units + 63) / 64;
}

static inline bool group_unit(uint64_t bits, uint32_t unit)
{
	return bits >> unit % 64 & 1;
}

/* All free, all absent. The sums outlive it. -ENOMEM. */
int window_new(struct window **ret, struct window_place place,
	       const struct placement *placement, struct unit_sums *sums);
struct window *window_free(struct window *window);

/* The policy's choice, if it is one. */
bool window_find(const struct window *window, uint32_t count, uint32_t align,
		 struct place *ret);
/* That; but whole chunks stand on chunks where that takes no unit more. */
bool window_choose(const struct window *window, uint32_t count, uint32_t align,
		   struct place *ret, uint32_t *ret_need);
/*
 * The place that needs the fewest new units, the lowest of these, among those that touch at most
 * `empty_max` units without content (absent or idle): walks all free runs, if any of them is
 * long enough.
 */
bool window_scan(const struct window *window, uint32_t count, uint32_t align,
		 uint32_t empty_max, struct place *ret, uint32_t *ret_need);
/* How many units that these slices touch are absent. */
uint32_t window_need(const struct window *window, uint32_t first, uint32_t count);
uint32_t window_largest(const struct window *window);
/* The longest run that could be had for at most `spare` new units: walks the free runs. */
uint32_t window_reach(const struct window *window, uint32_t spare);

/* Cut slices out of the free run that starts at `run`; they are held. */
void window_take(struct window *window, uint32_t run, uint32_t first, uint32_t count);
/* All of these units, which are free. */
void window_hold(struct window *window, uint32_t first, uint32_t count);
/* Held slices are an extent's. */
void window_use(struct window *window, uint32_t first, uint32_t count, uint32_t extent);
/* Held or used slices are free, merged with their neighbours. */
void window_give(struct window *window, uint32_t first, uint32_t count);

/* Units [first, first + count), whose slices are held, wait for memory; then got it or not. */
void window_commit_begin(struct window *window, uint32_t first, uint32_t count);
void window_commit_end(struct window *window, uint32_t first, uint32_t count, bool done);
/* Idle units lose their memory: at once in our books, and their slices are held until the end. */
void window_punch_begin(struct window *window, uint32_t first, uint32_t count);
void window_punch_end(struct window *window, uint32_t first, uint32_t count);
/* The same of absent ones, which end like idle ones. */
void window_scrub_begin(struct window *window, uint32_t first, uint32_t count);

/* Slices that are not free. */
uint32_t window_taken(const struct window *window);
/* Its place as the records say it. */
struct window_place window_recorded_place(const struct window *window);
/* How many units are idle. */
uint32_t window_idle(const struct window *window);
/* How many units are committed. */
uint32_t window_committed(const struct window *window);
/* How many are, or will be if their plans succeed. */
uint32_t window_kept(const struct window *window);
/* Is a unit committing or punching? */
bool window_moves(const struct window *window);
/* How many units from `first` on are absent. */
uint32_t window_absent_run(const struct window *window, uint32_t first);

/* The last run of at most `max` idle units below unit `below`; *ret_count is 0 if none. */
uint32_t window_idle_run(const struct window *window, uint32_t below, uint32_t max,
			 uint32_t *ret_count);

/*
 * From records: begin with a new window, then its pages, then its extents, then end. False: the
 * slices are another extent's already.
 */
void window_rebuild_begin(struct window *window);
void window_rebuild_pages(struct window *window, uint32_t group, uint64_t bits, uint32_t slot);
bool window_rebuild_use(struct window *window, uint32_t first, uint32_t count, uint32_t extent);
void window_rebuild_end(struct window *window);

/* Walks W1 to W3; NULL, or what is wrong. */
const char *window_check(const struct window *window);
