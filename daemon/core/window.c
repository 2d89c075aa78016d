#include "daemon/core/window.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/slots.h"

struct window *window_free(struct window *window)
{
	if (!window)
		return NULL;
	window->placement->deinit(window->index);
	free(window->words);
	free(window->taken);
	free(window->groups);
	free(window);
	return NULL;
}

static void window_freep(struct window **window)
{
	window_free(*window);
}

static void run_insert(struct window *window, uint32_t first, uint32_t count)
{
	window->words[first] = slice_state_pack(SLICE_FREE, count);
	window->words[first + count - 1] = slice_state_pack(SLICE_FREE, count);
	window->placement->insert(window->index, first, count);
}

int window_new(struct window **ret, struct window_place place,
	       const struct placement *placement, struct unit_sums *sums)
{
	_cleanup_(window_freep) struct window *window = NULL;
	uint32_t unit_shift = unit_shift_of(place.info.page_shift);

	assert(place.info.size_shift >= unit_shift && place.info.size_shift <= POSITION_BITS);
	window = calloc(1, sizeof(*window));
	if (!window)
		return -ENOMEM;
	window->placement = placement;
	window->place = place;
	window->sums = sums;
	window->slices = (uint32_t)1 << (place.info.size_shift - SLICE_SHIFT);
	window->units = (uint32_t)1 << (place.info.size_shift - unit_shift);
	window->unit_shift = unit_shift - SLICE_SHIFT;
	window->words = calloc(window->slices, sizeof(*window->words));
	window->taken = calloc(window->units, sizeof(*window->taken));
	window->groups = calloc(window_groups(window), sizeof(*window->groups));
	if (!window->words || !window->taken || !window->groups ||
	    placement->init(&window->index, window->slices))
		return -ENOMEM;
	for (uint32_t i = 0; i < window_groups(window); ++i)
		window->groups[i].slot = SLOT_NONE;
	run_insert(window, 0, window->slices);
	*ret = TAKE_PTR(window);
	return 0;
}

struct window_place window_recorded_place(const struct window *window)
{
	struct window_place place = window->place;

	if (window->retired)
		place.info.state = WINDOW_RETIRED;
	return place;
}

/* A choice that is no choice is none: P2. */
bool window_find(const struct window *window, uint32_t count, uint32_t align, struct place *ret)
{
	struct place place;
	uint32_t word;

	if (!window->placement->find(window->index, count, align, &place))
		return false;
	if (place.run >= window->slices || place.first < place.run ||
	    (place.first & (align - 1)))
		return false;
	word = window->words[place.run];
	if (slice_state(word) != SLICE_FREE ||
	    (place.run && slice_state(window->words[place.run - 1]) == SLICE_FREE) ||
	    (uint64_t)place.first + count > (uint64_t)place.run + slice_value(word))
		return false;
	*ret = place;
	return true;
}

uint32_t window_largest(const struct window *window)
{
	return window->placement->largest(window->index);
}

/* Calls for each unit that the slices touch, with how many of them are its. */
#define for_each_unit(window, unit, n, first, count)                                       \
	for (uint32_t at_ = (first), end_ = (first) + (count), unit, n;                    \
	     at_ < end_ &&                                                                 \
	     (unit = window_unit(window, at_),                                             \
	     n = (uint32_t)u64_min(end_, (unit + 1) << (window)->unit_shift) - at_, true); \
	     at_ += n)

static void idle_set(struct window *window, uint32_t unit, bool idle)
{
	uint64_t bit = (uint64_t)1 << unit % 64, *word = &window->groups[unit / 64].idle;
	struct unit_sums *sums = window->sums;

	assert(!(*word & bit) == idle);
	*word ^= bit;
	if (idle)
		++sums->idle;
	else if (--sums->idle < sums->idle_low)
		sums->idle_low = sums->idle;
}

static void slices_taken(struct window *window, uint32_t first, uint32_t count)
{
	for_each_unit(window, unit, n, first, count)
	{
		if (!window->taken[unit] &&
		    group_unit(window->groups[unit / 64].committed, unit))
			idle_set(window, unit, false);
		window->taken[unit] += n;
	}
}

static void slices_given(struct window *window, uint32_t first, uint32_t count)
{
	for_each_unit(window, unit, n, first, count)
	{
		assert(window->taken[unit] >= n);
		window->taken[unit] -= n;
		if (!window->taken[unit] &&
		    group_unit(window->groups[unit / 64].committed, unit))
			idle_set(window, unit, true);
	}
}

void window_take(struct window *window, uint32_t run, uint32_t first, uint32_t count)
{
	uint32_t length = slice_value(window->words[run]), end = first + count;

	assert(slice_state(window->words[run]) == SLICE_FREE);
	assert(first >= run && end <= run + length);
	window->placement->remove(window->index, run, length);
	for (uint32_t i = first; i < end; ++i)
		window->words[i] = slice_state_pack(SLICE_HELD, 0);
	if (first > run)
		run_insert(window, run, first - run);
	if (end < run + length)
		run_insert(window, end, run + length - end);
	slices_taken(window, first, count);
}

void window_use(struct window *window, uint32_t first, uint32_t count, uint32_t extent)
{
	for (uint32_t i = first; i < first + count; ++i) {
		assert(slice_state(window->words[i]) == SLICE_HELD);
		window->words[i] = slice_state_pack(SLICE_USED, extent);
	}
}

void window_give(struct window *window, uint32_t first, uint32_t count)
{
	uint32_t end = first + count;

	for (uint32_t i = first; i < end; ++i) {
		assert(slice_state(window->words[i]) != SLICE_FREE);
		window->words[i] = slice_state_pack(SLICE_FREE, 0);
	}
	slices_given(window, first, count);
	if (first && slice_state(window->words[first - 1]) == SLICE_FREE &&
	    !mutant(window_no_merge)) {
		uint32_t length = slice_value(window->words[first - 1]);

		first -= length;
		window->placement->remove(window->index, first, length);
	}
	if (end < window->slices && slice_state(window->words[end]) == SLICE_FREE) {
		uint32_t length = slice_value(window->words[end]);

		window->placement->remove(window->index, end, length);
		end += length;
	}
	run_insert(window, first, end - first);
}

/* The free run that this free slice is in; whole free units are stepped over. */
static uint32_t run_start(const struct window *window, uint32_t slice)
{
	uint32_t unit = window_unit(window, slice);

	if (!window->taken[unit]) {
		while (unit && !window->taken[unit - 1])
			--unit;
		slice = unit << window->unit_shift;
	}
	while (slice && slice_state(window->words[slice - 1]) == SLICE_FREE)
		--slice;
	return slice;
}

void window_hold(struct window *window, uint32_t first, uint32_t count)
{
	uint32_t slice = first << window->unit_shift;

	window_take(window, run_start(window, slice), slice, count << window->unit_shift);
}

void window_commit_begin(struct window *window, uint32_t first, uint32_t count)
{
	for (uint32_t unit = first; unit < first + count; ++unit) {
		struct unit_group *group = &window->groups[unit / 64];

		assert(!group_unit(group->committed | group->committing | group->punching,
				   unit));
		assert(window->taken[unit] == window_unit_slices(window));
		group->committing |= (uint64_t)1 << unit % 64;
	}
	window->sums->committing += count;
}

void window_commit_end(struct window *window, uint32_t first, uint32_t count, bool done)
{
	for (uint32_t unit = first; unit < first + count; ++unit) {
		struct unit_group *group = &window->groups[unit / 64];

		assert(group_unit(group->committing, unit));
		group->committing &= ~((uint64_t)1 << unit % 64);
		if (done)
			group->committed |= (uint64_t)1 << unit % 64;
	}
	window->sums->committing -= count;
	if (done)
		window->sums->committed += count;
}

void window_punch_begin(struct window *window, uint32_t first, uint32_t count)
{
	for (uint32_t unit = first; unit < first + count; ++unit) {
		struct unit_group *group = &window->groups[unit / 64];

		assert(group_unit(group->idle, unit));
		idle_set(window, unit, false);
		group->committed &= ~((uint64_t)1 << unit % 64);
		group->punching |= (uint64_t)1 << unit % 64;
	}
	window->sums->committed -= count;
	window_hold(window, first, count);
}

void window_scrub_begin(struct window *window, uint32_t first, uint32_t count)
{
	for (uint32_t unit = first; unit < first + count; ++unit) {
		struct unit_group *group = &window->groups[unit / 64];

		assert(!group_unit(group->committed | group->committing | group->punching,
				   unit));
		group->punching |= (uint64_t)1 << unit % 64;
	}
	window_hold(window, first, count);
}

void window_punch_end(struct window *window, uint32_t first, uint32_t count)
{
	for (uint32_t unit = first; unit < first + count; ++unit) {
		struct unit_group *group = &window->groups[unit / 64];

		assert(group_unit(group->punching, unit));
		group->punching &= ~((uint64_t)1 << unit % 64);
	}
	window_give(window, first << window->unit_shift, count << window->unit_shift);
}

uint32_t window_idle_run(const struct window *window, uint32_t below, uint32_t max,
			 uint32_t *ret_count)
{
	uint32_t n = 0;

	while (below) {
		uint64_t word = window->groups[(below - 1) / 64].idle;

		if (!n && !word) {
			below = (below - 1) / 64 * 64;
			continue;
		}
		if (group_unit(word, below - 1)) {
			--below;
			if (++n == max)
				break;
		} else if (n) {
			break;
		} else {
			--below;
		}
	}
	*ret_count = n;
	return below;
}

void window_rebuild_begin(struct window *window)
{
	window->placement->remove(window->index, 0, window->slices);
	for (uint32_t i = 0; i < window->slices; ++i)
		window->words[i] = slice_state_pack(SLICE_FREE, 0);
}

bool window_rebuild_use(struct window *window, uint32_t first, uint32_t count, uint32_t extent)
{
	for (uint32_t i = first; i < first + count; ++i)
		if (slice_state(window->words[i]) != SLICE_FREE)
			return false;
	for (uint32_t i = first; i < first + count; ++i)
		window->words[i] = slice_state_pack(SLICE_USED, extent);
	slices_taken(window, first, count);
	return true;
}

void window_rebuild_pages(struct window *window, uint32_t group, uint64_t bits, uint32_t slot)
{
	uint32_t n = (uint32_t)__builtin_popcountll(bits);

	window->groups[group] =
		(struct unit_group){.slot = slot, .committed = bits, .idle = bits};
	window->sums->committed += n;
	window->sums->idle += n;
}

void window_rebuild_end(struct window *window)
{
	for (uint32_t at = 0, n; at < window->slices; at += n) {
		n = 1;
		if (slice_state(window->words[at]) != SLICE_FREE)
			continue;
		while (at + n < window->slices &&
		       slice_state(window->words[at + n]) == SLICE_FREE)
			++n;
		run_insert(window, at, n);
	}
}
