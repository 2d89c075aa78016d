#include "daemon/core/cache/segment.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

enum { ROOM_FIRST = 16 };

/* The first one is none: it is there to be pointed at. */
int segments_init(struct segments *segments)
{
	*segments = (struct segments){.n = 1, .room = ROOM_FIRST};
	segments->at = calloc(ROOM_FIRST, sizeof(*segments->at));
	return segments->at ? 0 : -ENOMEM;
}

void segments_deinit(struct segments *segments)
{
	for (uint32_t i = 0; i < segments->n_windows; i++)
		free(segments->windows[i]);
	free(segments->windows);
	free(segments->window_slices);
	free(segments->at);
}

/* ---- lists ---- */

static void list_take(struct segments *segments, uint32_t id)
{
	struct segment *segment = &segments->at[id];
	uint32_t list = segment->list;

	if (segment->before)
		segments->at[segment->before].after = segment->after;
	else
		segments->lists[list].first = segment->after;
	if (segment->after)
		segments->at[segment->after].before = segment->before;
	else
		segments->lists[list].last = segment->before;
	segments->lists[list].count--;
}

static void list_put(struct segments *segments, uint32_t id, uint32_t list)
{
	struct segment *segment = &segments->at[id];

	segment->list = list;
	segment->after = SEGMENT_NONE;
	segment->before = segments->lists[list].last;
	if (segment->before)
		segments->at[segment->before].after = id;
	else
		segments->lists[list].first = id;
	segments->lists[list].last = id;
	segments->lists[list].count++;
}

/* Where it belongs. */
static uint32_t list_of(const struct segment *segment)
{
	if (segment->lessee != LESSEE_NONE)
		return SEGMENT_LEASED;
	if (!segment->live)
		return SEGMENT_LIMBO;
	if (segment->own)
		return SEGMENT_OWN;
	return SEGMENT_SEALED +
	       (uint32_t)u64_min(segment->live * SEGMENT_SHARES / segment->size,
				 SEGMENT_SHARES - 1);
}

static void list_fit(struct segments *segments, uint32_t id)
{
	uint32_t list = list_of(&segments->at[id]);

	if (list == segments->at[id].list)
		return;
	list_take(segments, id);
	list_put(segments, id, list);
}

/* ---- the table of slices ---- */

static uint64_t slice_of(uint64_t offset)
{
	return offset_position(offset) >> SLICE_SHIFT;
}

static int windows_grow(struct segments *segments, uint32_t window)
{
	uint32_t n = window + 1;
	uint32_t **windows;
	uint32_t *slices;

	if (n <= segments->n_windows)
		return 0;
	windows = realloc(segments->windows, n * sizeof(*windows));
	if (!windows)
		return -ENOMEM;
	segments->windows = windows;
	slices = realloc(segments->window_slices, n * sizeof(*slices));
	if (!slices)
		return -ENOMEM;
	segments->window_slices = slices;
	for (uint32_t i = segments->n_windows; i < n; i++) {
		windows[i] = NULL;
		slices[i] = 0;
	}
	segments->n_windows = n;
	return 0;
}

/* To a power of two: a window has at most 2^18. */
static int slices_grow(struct segments *segments, uint32_t window, uint64_t wanted)
{
	uint32_t had = segments->window_slices[window], n = had ? had : 64;
	uint32_t *table;

	if (wanted <= had)
		return 0;
	while (n < wanted)
		n *= 2;
	table = realloc(segments->windows[window], n * sizeof(*table));
	if (!table)
		return -ENOMEM;
	memset(table + had, 0, (n - had) * sizeof(*table));
	segments->windows[window] = table;
	segments->window_slices[window] = n;
	return 0;
}

/* Of an own extent only the first slice is known: that is where its object begins. */
static uint64_t slices_known(const struct segment *segment)
{
	return segment->own ? 1 : segment->size >> SLICE_SHIFT;
}

static void slices_set(struct segments *segments, uint64_t base, uint64_t n, uint32_t id)
{
	uint32_t *table = segments->windows[offset_window(base)] + slice_of(base);

	for (uint64_t i = 0; i < n; i++)
		table[i] = id;
}

/* ---- coming and going ---- */

static int slot_find(struct segments *segments, uint32_t *ret)
{
	struct segment *at;
	uint32_t room;

	if (segments->idle) {
		*ret = segments->idle;
		segments->idle = segments->at[segments->idle].after;
		return 0;
	}
	if (segments->n >= segments->room) {
		room = segments->room * 2;
		at = realloc(segments->at, room * sizeof(*at));
		if (!at)
			return -ENOMEM;
		segments->at = at;
		segments->room = room;
	}
	*ret = segments->n++;
	return 0;
}

int segments_add(struct segments *segments, uint64_t base, uint64_t size, bool own,
		 uint32_t lessee, uint32_t *ret)
{
	uint64_t n = size >> SLICE_SHIFT;
	struct segment *segment;
	uint32_t id;
	int r;

	assert(n && !((base | size) & (SLICE_BYTES - 1)) && lessee != LESSEE_NONE &&
	       (own || n <= SEGMENT_SLICES));
	r = windows_grow(segments, offset_window(base));
	if (!r)
		r = slices_grow(segments, offset_window(base), slice_of(base) + n);
	if (r)
		return r;
	for (uint64_t i = 0; i < (own ? 1 : n); i++)
		if (segments_find(segments, base + (i << SLICE_SHIFT)))
			return SEGMENT_E_TAKEN;
	r = slot_find(segments, &id);
	if (r)
		return r;
	segment = &segments->at[id];
	*segment = (struct segment){
		.base = base,
		.size = size,
		.filled = base ? 0 : (uint64_t)1 << OBJECT_SHIFT, /* no object is at 0 */
		.lessee = lessee,
		.own = own,
		.slices = own ? 1 : (uint32_t)(((uint64_t)1 << n) - 1),
	};
	chain_init(&segment->chain);
	slices_set(segments, base, slices_known(segment), id);
	list_put(segments, id, SEGMENT_LEASED);
	segments->held += size;
	segments->room_left += size - segment->filled;
	*ret = id;
	return 0;
}

static void segment_go(struct segments *segments, uint32_t id)
{
	list_take(segments, id);
	segments->at[id] = (struct segment){.after = segments->idle};
	segments->idle = id;
}

static void limbo_enter(struct segments *segments, struct numbers *numbers, uint32_t id,
			uint64_t scan)
{
	struct segment *segment = &segments->at[id];

	assert(!segment->objects);
	segment->left = scan;
	if (!segment->own)
		segments->dead -= segment->size;
	segments->limbo += segment->size;
	segments->entered += segment->size;
	segments->entered_own += segment->own ? segment->size : 0;
	numbers_free(numbers, &segment->chain);
}

/* ---- objects ---- */

/* The object leads out of the slice in which it begins. */
static void leads_note(struct segment *segment, uint64_t at, uint64_t size)
{
	uint64_t slice = at >> SLICE_SHIFT, last = (at + size - 1) >> SLICE_SHIFT;
	uint64_t grain = (at & (SLICE_BYTES - 1)) >> OBJECT_SHIFT;

	if (last != slice)
		segment->leads[slice] = (uint16_t)(grain | (last - slice) << 12);
}

static void object_count(struct segments *segments, struct numbers *numbers,
			 struct segment *segment, uint64_t size, uint32_t number)
{
	segment->live += size;
	segment->objects++;
	segments->live += size;
	numbers_push(numbers, &segment->chain, number);
}

void segment_put(struct segments *segments, struct numbers *numbers, uint32_t id,
		 uint64_t offset, uint64_t size, uint32_t number)
{
	struct segment *segment = &segments->at[id];
	uint64_t at = offset - segment->base, end = at + size;

	assert(segment->lessee != LESSEE_NONE && at >= segment->filled &&
	       end <= segment->size && end > at);
	segments->room_left -= end - segment->filled;
	segment->filled = end;
	if (!segment->own)
		leads_note(segment, at, size);
	object_count(segments, numbers, segment, size, number);
}

/* What has died there leads out of slices, too; how far, nobody knows. */
void segment_found(struct segments *segments, struct numbers *numbers, uint32_t id,
		   uint64_t offset, uint64_t size, uint32_t number)
{
	struct segment *segment = &segments->at[id];
	uint64_t end = offset - segment->base + size;

	assert(segment->lessee != LESSEE_NONE && end <= segment->size);
	if (end > segment->filled) {
		segments->room_left -= end - segment->filled;
		segment->filled = end;
	}
	if (!segment->own)
		leads_note(segment, offset - segment->base, size);
	segment->vague = true;
	object_count(segments, numbers, segment, size, number);
}

void segment_lose(struct segments *segments, struct numbers *numbers, uint32_t id,
		  uint64_t size, uint64_t clock, uint64_t scan)
{
	struct segment *segment = &segments->at[id];

	assert(segment->objects && segment->live >= size);
	segment->live -= size;
	segment->objects--;
	segment->since = clock;
	segments->live -= size;
	if (segment->lessee == LESSEE_NONE && !segment->own)
		segments->dead += size;
	list_fit(segments, id);
	if (segment->list == SEGMENT_LIMBO)
		limbo_enter(segments, numbers, id, scan);
}

void segment_seal(struct segments *segments, struct numbers *numbers, uint32_t id,
		  uint64_t clock, uint64_t scan)
{
	struct segment *segment = &segments->at[id];

	if (segment->lessee == LESSEE_NONE)
		return;
	segment->lessee = LESSEE_NONE;
	segment->since = clock;
	segments->room_left -= segment->size - segment->filled;
	if (!segment->own)
		segments->dead += segment->size - segment->live;
	list_fit(segments, id);
	if (segment->list == SEGMENT_LIMBO)
		limbo_enter(segments, numbers, id, scan);
}

/* ---- scans ---- */

/* The slices that an object has that begins here. */
static uint32_t slices_of(const struct segment *segment, uint64_t offset)
{
	uint64_t at = offset - segment->base;
	uint32_t slice = (uint32_t)(at >> SLICE_SHIFT), more = 0;
	uint32_t leads;

	if (segment->own)
		return 1;
	leads = segment->leads[slice];
	if (leads && (leads & 0xfff) == (at & (SLICE_BYTES - 1)) >> OBJECT_SHIFT)
		more = leads >> 12;
	else if (segment->vague)
		more = OBJECT_OWN >> SLICE_SHIFT;
	if (mutant(segment_pins_one))
		more = 0;
	return (uint32_t)((((uint64_t)2 << more) - 1) << slice) & segment->slices;
}

static uint64_t slices_bytes(const struct segment *segment, uint32_t slices)
{
	if (segment->own)
		return slices ? segment->size : 0;
	return (uint64_t)__builtin_popcount(slices) << SLICE_SHIFT;
}

uint64_t segment_pin(struct segments *segments, uint32_t id, uint64_t offset, uint32_t session,
		     uint64_t scan)
{
	struct segment *segment = &segments->at[id];
	uint32_t slices = slices_of(segment, offset), new;

	if (segment->scan != scan) {
		segment->scan = scan;
		segment->pinned = segment->pinned_by = 0;
	}
	if (segment->pinner != session)
		segment->pinned_by = 0;
	segment->pinner = session;
	new = slices & ~segment->pinned_by;
	segment->pinned_by |= slices;
	segment->pinned |= slices;
	return slices_bytes(segment, new);
}

uint64_t segment_pinned(const struct segments *segments, uint32_t id, uint64_t scan)
{
	const struct segment *segment = &segments->at[id];

	return segment->scan == scan ? slices_bytes(segment, segment->pinned) : 0;
}

bool segment_take(struct segments *segments, uint32_t id, uint64_t scan,
		  struct segment_run *ret)
{
	struct segment *segment = &segments->at[id];
	uint32_t pinned = segment->scan == scan ? segment->pinned : 0;
	uint32_t slices = segment->slices & ~pinned, first, n;

	if (mutant(segment_returned_early))
		scan = UINT64_MAX;
	if (segment->list != SEGMENT_LIMBO || segment->left >= scan || segment->cleaning ||
	    !slices)
		return false;
	first = (uint32_t)__builtin_ctz(slices);
	n = (uint32_t)__builtin_ctzll(~((uint64_t)slices >> first));
	ret->base = segment->base + ((uint64_t)first << SLICE_SHIFT);
	ret->size = segment->own ? segment->size : (uint64_t)n << SLICE_SHIFT;
	slices_set(segments, ret->base, segment->own ? 1 : n, SEGMENT_NONE);
	segment->slices &= ~(uint32_t)((((uint64_t)1 << n) - 1) << first);
	segments->held -= ret->size;
	segments->limbo -= ret->size;
	if (!segment->slices)
		segment_go(segments, id);
	return true;
}

/* ---- check ---- */

static const char *segment_check(const struct segments *segments, uint32_t id)
{
	const struct segment *segment = &segments->at[id];

	if (segment->list != list_of(segment))
		return "SG2: a segment is in a list that it does not belong to";
	if (segment->live > segment->filled || segment->filled > segment->size ||
	    !segment->live != !segment->objects)
		return "SG3: more of a segment lives than is filled";
	if (segment->list == SEGMENT_LIMBO
		    ? segment->chain.count || !segment->slices
		    : segment->slices !=
			      (segment->own ? 1
					    : (uint32_t)(((uint64_t)1
							  << (segment->size >> SLICE_SHIFT)) -
							 1)))
		return "SG1: a segment has other slices than it should";
	for (uint64_t i = 0; i < slices_known(segment); i++)
		if (segment->slices >> i & 1 &&
		    segments_find(segments, segment->base + (i << SLICE_SHIFT)) != id)
			return "SG5: a slice is not known as its segment's";
	return NULL;
}

static uint64_t slices_mapped(const struct segments *segments)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < segments->n_windows; i++)
		for (uint32_t j = 0; j < segments->window_slices[i]; j++)
			n += segments->windows[i][j] != SEGMENT_NONE;
	return n;
}

const char *segments_check(const struct segments *segments)
{
	uint64_t held = 0, live = 0, dead = 0, left = 0, limbo = 0, mapped = 0;
	const char *wrong;

	for (uint32_t list = 0; list < SEGMENT_LISTS; list++) {
		uint32_t before = SEGMENT_NONE, count = 0;

		for (uint32_t id = segments->lists[list].first; id;
		     before = id, id = segments->at[id].after) {
			const struct segment *segment = &segments->at[id];

			if (++count > segments->lists[list].count ||
			    segment->before != before || segment->list != list)
				return "SG2: a list of segments does not hold together";
			wrong = segment_check(segments, id);
			if (wrong)
				return wrong;
			held += slices_bytes(segment, segment->slices);
			mapped += (uint32_t)__builtin_popcount(segment->slices);
			live += segment->live;
			if (list < SEGMENT_LEASED)
				dead += segment->size - segment->live;
			if (list == SEGMENT_LEASED)
				left += segment->size - segment->filled;
			if (list == SEGMENT_LIMBO)
				limbo += slices_bytes(segment, segment->slices);
		}
		if (count != segments->lists[list].count ||
		    segments->lists[list].last != before)
			return "SG2: a list of segments does not hold together";
	}
	if (held != segments->held || live != segments->live || dead != segments->dead ||
	    left != segments->room_left || limbo != segments->limbo)
		return "SG3: the sums over segments are wrong";
	if (mapped != slices_mapped(segments))
		return "SG5: a slice is known as a segment's that has gone";
	return NULL;
}
