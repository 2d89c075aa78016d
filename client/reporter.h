/*
 * Reporter - tells the daemon what this process has of blocks, for people who want to know
 * (proto/layout.h, report).
 *
 * RP1 Nothing on the way of an allocation looks at it but what takes or gives whole groups of
 *     blocks (heap.h, H5): one lock, and a store or two.
 * RP2 What is told is kept here as well, so that a report that comes late begins with all of it,
 *     and without one the process still knows.
 * RP3 Where a report has no row left for a class of a space, that class is not told: to the
 *     daemon its slices are memory in use.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/lock.h"
#include "proto/layout.h"
#include "proto/size_class.h"

/* Of one class, or of slices that are leased and not cut. */
struct tally {
	uint64_t slices, live;
	uint32_t row; /* number + 1; 0: none */
};

/* Of the private or the shared blocks of a space. */
struct tallies {
	struct reporter *reporter;
	struct tallies *next;
	uint32_t space; /* handle */
	bool shared;
	struct tally of[1 + CLASSES]; /* the spare ones first */
};

/* Of a session: zeroed, there is no report yet. */
struct reporter {
	struct lock lock; /* of all tallies, too */
	struct report *report;
	struct tallies *first;
	bool full; /* until a space is closed */
};

/* What they add up to, in bytes. */
struct tallies_sum {
	uint64_t leased, live;
};

/* The report is there: what has been told so far is written. */
void reporter_open(struct reporter *reporter, struct report *report);
/* The session is another, or over; nobody's tallies are told any more. */
void reporter_forget(struct reporter *reporter);

void tallies_open(struct tallies *tallies, struct reporter *reporter, uint32_t space,
		  bool shared);
/* The space is closed. */
void tallies_close(struct tallies *tallies);

/* So many slices have come, or (below 0) are about to go. */
void tallies_lease(struct tallies *tallies, int64_t slices);
/* So many of these are now cut into the class, or no more; so many of its blocks are in use. */
void tallies_cut(struct tallies *tallies, uint32_t class, int64_t slices, int64_t live);

struct tallies_sum tallies_sum(struct tallies *tallies);
