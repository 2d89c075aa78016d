/*
 * Segment - what of a cache's memory lies where, and what may go back.
 *
 * SG1  A segment is a run of slices that the cache holds: up to 2 MiB that objects are appended to,
 *      or an extent of one large object's own. It has all its slices, but for those that went
 *      back from limbo.
 * SG2  It is leased to who fills it; then sealed; then, once no object lives in it, in limbo. Objects
 *      come in rising order, so they overlap nowhere: `filled` only rises.
 * SG3  live is the sum of the sizes of the records that lie there; all else that is sealed is dead.
 *      An object that goes changes sums, and nothing else.
 * SG4  What is in limbo comes back by slices: those that a scan, begun after the segment's last
 *      object left, found in no hazard word. Who pins an object names its first byte, so of a slice
 *      it is known where the object begins that leads out of it, and how far.
 * SG5  A slice belongs to one segment at most: found by a table for each window, of 4 bytes a slice.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"
#include "daemon/core/cache/numbers.h"
#include "proto/layout.h"
#include "proto/object.h"

enum {
	SEGMENT_SLICES = 32, /* of those that objects are appended to */
	SEGMENT_SHARES = 16, /* sealed ones are sorted by what share of them lives */
	SEGMENT_NONE = 0,    /* ids begin at 1 */
};

enum segment_list {
	SEGMENT_SEALED = 0, /* and so on: by share */
	SEGMENT_LEASED = SEGMENT_SHARES,
	SEGMENT_OWN, /* sealed, of one object */
	SEGMENT_LIMBO,
	SEGMENT_LISTS
};

enum {
	SEGMENT_E_TAKEN = 1, /* a slice is another segment's */
};

/* Who fills a segment: a session, or the cleaner. */
#define LESSEE_NONE ((uint32_t)0)
#define LESSEE_CLEANER UINT32_MAX

struct segment {
	uint64_t base, size; /* bytes, slices of them */
	uint64_t filled;     /* from base on: objects may be put from here on */
	uint64_t live;
	uint64_t since; /* the cache's clock when it was sealed, or an object last left it */
	uint64_t left;  /* in limbo: scans begun until then prove nothing */
	struct chain chain;
	uint32_t objects;             /* that live */
	uint32_t lessee;              /* session + 1 */
	uint32_t before, after, list; /* enum segment_list */
	uint32_t slices; /* one bit for each that it still has; of an own extent one for all */
	/* What the latest scan found: */
	uint32_t pinned;    /* slices */
	uint32_t pinned_by; /* of these, by this session */
	uint32_t pinner;
	bool own;
	bool vague;    /* it is not known how far objects led: as far as they may */
	bool cleaning; /* a worker reads it */
	uint64_t scan; /* whose findings these are */
	/* first grain:12 of the object that leads out of this slice; slices:4 beyond it */
	uint16_t leads[SEGMENT_SLICES];
};

struct segments {
	struct segment *at;
	uint32_t n, room; /* [1, n) were used */
	uint32_t idle;    /* a list by `after` of those that are none */
	uint32_t **windows;
	uint32_t *window_slices, n_windows;
	struct {
		uint32_t first, last, count;
	} lists[SEGMENT_LISTS];
	uint64_t held; /* bytes of all */
	uint64_t live;
	uint64_t dead;      /* of sealed ones, but own extents */
	uint64_t room_left; /* of leased ones: not filled */
	uint64_t limbo;
	uint64_t entered, entered_own; /* limbo, ever; own extents of these */
};

int segments_init(struct segments *segments); /* -ENOMEM */
void segments_deinit(struct segments *segments);

/* A run of slices; `lessee` fills it. SEGMENT_E_TAKEN, -ENOMEM. */
int segments_add(struct segments *segments, uint64_t base, uint64_t size, bool own,
		 uint32_t lessee, uint32_t *ret);
/* Whose slice this is; SEGMENT_NONE: nobody's, or no offset at all: clients name them. */
static inline uint32_t segments_find(const struct segments *segments, uint64_t offset)
{
	uint32_t window = offset_window(offset);
	uint64_t slice = offset_position(offset) >> SLICE_SHIFT;

	if (offset >> OFFSET_BITS && !mutant(segment_offset_masked))
		return SEGMENT_NONE;
	if (window >= segments->n_windows || slice >= segments->window_slices[window])
		return SEGMENT_NONE;
	return segments->windows[window][slice];
}

/* Of a leased one: an object of so many bytes, as its record tells them, lies at this offset. */
void segment_put(struct segments *segments, struct numbers *numbers, uint32_t id,
		 uint64_t offset, uint64_t size, uint32_t number);
/* After a restart: in any order, before it is sealed. */
void segment_found(struct segments *segments, struct numbers *numbers, uint32_t id,
		   uint64_t offset, uint64_t size, uint32_t number);
/* An object there goes, at this time of the cache's clock; `scan` is the latest that has begun. */
void segment_lose(struct segments *segments, struct numbers *numbers, uint32_t id,
		  uint64_t size, uint64_t clock, uint64_t scan);
/* Nothing more is put there. Fine if it is sealed. */
void segment_seal(struct segments *segments, struct numbers *numbers, uint32_t id,
		  uint64_t clock, uint64_t scan);

/* A scan: marks the slices that this hazard word holds. How many bytes more `session` pins now. */
uint64_t segment_pin(struct segments *segments, uint32_t id, uint64_t offset, uint32_t session,
		     uint64_t scan);
/* What all pin there, as far as this scan has seen. */
uint64_t segment_pinned(const struct segments *segments, uint32_t id, uint64_t scan);
/* A run of slices that this scan frees, out of limbo: they are the segment's no more. */
struct segment_run {
	uint64_t base, size;
};
bool segment_take(struct segments *segments, uint32_t id, uint64_t scan,
		  struct segment_run *ret);

/* Walks SG1, SG2, SG5 and the sums; NULL, or what is wrong. Chains are their owner's to walk. */
const char *segments_check(const struct segments *segments);
