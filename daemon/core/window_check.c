/*
 * The walker of window.h: recomputes what a window keeps from the words of its slices.
 */
#include "base/base.h"
#include "daemon/core/window.h"

static const char *runs_check(const struct window *window)
{
	uint32_t runs = 0, indexed, longest = 0;
	const char *wrong;

	for (uint32_t at = 0; at < window->slices;) {
		uint32_t word = window->words[at], length = slice_value(word);

		if (slice_state(word) != SLICE_FREE) {
			++at;
			continue;
		}
		if (!length || length > window->slices - at)
			return "W1: a free run leaves the window";
		if (window->words[at + length - 1] != word)
			return "W1: the boundary tags of a free run differ";
		for (uint32_t i = 1; i < length; ++i)
			if (slice_state(window->words[at + i]) != SLICE_FREE)
				return "W1: a free run holds a slice that is not free";
		at += length;
		if (at < window->slices && slice_state(window->words[at]) == SLICE_FREE)
			return "W1: two free runs touch";
		++runs;
		if (length > longest)
			longest = length;
	}
	wrong = window->placement->check(window->index, &indexed);
	if (wrong)
		return wrong;
	if (indexed != runs)
		return "W1: the index holds other runs than there are";
	if (window->placement->largest(window->index) != longest)
		return "W1: the index misjudges the longest run";
	return NULL;
}

const char *window_check(const struct window *window)
{
	uint32_t per = (uint32_t)1 << window->unit_shift;

	for (uint32_t unit = 0; unit < window->units; ++unit) {
		const struct unit_group *group = &window->groups[unit / 64];
		uint32_t taken = 0, used = 0;
		bool committed = group_unit(group->committed, unit);
		bool moves = group_unit(group->committing | group->punching, unit);

		for (uint32_t i = unit * per; i < (unit + 1) * per; ++i) {
			taken += slice_state(window->words[i]) != SLICE_FREE;
			used += slice_state(window->words[i]) == SLICE_USED;
		}
		if (taken != window->taken[unit])
			return "W3: taken[] miscounts a unit";
		if (group_unit(group->idle, unit) != (committed && !taken))
			return "W3: a unit is idle, or is not, wrongly";
		if (used && !committed)
			return "W3: a slice is used in a unit without memory";
		if ((committed && moves) ||
		    (group_unit(group->committing, unit) && group_unit(group->punching, unit)))
			return "W2: a unit is in two states";
		if (moves && taken != per)
			return "W2: a unit moves and is not held";
	}
	return runs_check(window);
}
