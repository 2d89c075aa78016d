/*
 * The searches of window.h that look at pages too: which place needs the fewest new units.
 */
#include "base/base.h"
#include "daemon/core/window.h"

/* The bits of units [first, last] that fall into this group. */
static uint64_t group_mask(uint32_t group, uint32_t first, uint32_t last)
{
	uint32_t low = first / 64 == group ? first % 64 : 0;
	uint32_t high = last / 64 == group ? last % 64 : 63;

	return ~(uint64_t)0 >> (63 - (high - low)) << low;
}

uint32_t window_need(const struct window *window, uint32_t first, uint32_t count)
{
	uint32_t from = window_unit(window, first), to = window_unit(window, first + count - 1);
	uint32_t need = 0;

	for (uint32_t i = from / 64; i <= to / 64; ++i)
		need += (uint32_t)__builtin_popcountll(group_mask(i, from, to) &
						       ~window->groups[i].committed);
	return need;
}

bool window_choose(const struct window *window, uint32_t count, uint32_t align,
		   struct place *ret, uint32_t *ret_need)
{
	struct place place, aligned;
	uint32_t need, aligned_need;

	if (!window_find(window, count, align, &place))
		return false;
	need = window_need(window, place.first, count);
	if (!(count % CHUNK_SLICES) && align < CHUNK_SLICES && place.first % CHUNK_SLICES &&
	    window_find(window, count, CHUNK_SLICES, &aligned)) {
		aligned_need = window_need(window, aligned.first, count);
		if (aligned_need <= need) {
			place = aligned;
			need = aligned_need;
		}
	}
	*ret = place;
	*ret_need = need;
	return true;
}

/* How many units that these slices touch hold nothing: absent ones, and idle ones. */
static uint32_t touched_empty(const struct window *window, uint32_t first, uint32_t count)
{
	uint32_t from = window_unit(window, first), to = window_unit(window, first + count - 1);
	uint32_t n = 0;

	for (uint32_t i = from / 64; i <= to / 64; ++i) {
		const struct unit_group *group = &window->groups[i];

		n += (uint32_t)__builtin_popcountll(group_mask(i, from, to) &
						    (~group->committed | group->idle));
	}
	return n;
}

/*
 * What a place costs depends on the units of its first and its last slice alone, so the lowest
 * place of each such pair is enough: the run's start, the start of a unit, or the first place
 * that reaches into a unit.
 */
static void scan_run(const struct window *window, uint32_t run, uint32_t length, uint32_t count,
		     uint32_t align, uint32_t empty_max, struct place *best,
		     uint32_t *best_need)
{
	uint32_t last_unit = window_unit(window, run + length - 1);
	uint32_t last = run + length - count;

	for (uint32_t unit = window_unit(window, run); unit <= last_unit && *best_need;
	     ++unit) {
		uint32_t start = unit << window->unit_shift;
		uint32_t at[2] = {start > run ? start : run,
				  start >= run + count ? start - count + 1 : run};

		for (uint32_t i = 0; i < 2; ++i) {
			uint32_t first = (at[i] + align - 1) & ~(align - 1), need;

			if (first > last)
				continue;
			need = window_need(window, first, count);
			if (empty_max < UINT32_MAX &&
			    touched_empty(window, first, count) > empty_max)
				continue;
			if (need < *best_need || (need == *best_need && first < best->first)) {
				*best = (struct place){run, first};
				*best_need = need;
			}
		}
	}
}

/* The first free run at or after this slice, which is not inside one; false if none. */
static bool run_next(const struct window *window, uint32_t at, uint32_t *ret)
{
	while (at < window->slices) {
		uint32_t unit = window_unit(window, at);

		if (slice_state(window->words[at]) == SLICE_FREE) {
			*ret = at;
			return true;
		}
		if (window->taken[unit] == window_unit_slices(window))
			at = (unit + 1) << window->unit_shift;
		else
			++at;
	}
	return false;
}

bool window_scan(const struct window *window, uint32_t count, uint32_t align,
		 uint32_t empty_max, struct place *ret, uint32_t *ret_need)
{
	struct place best = {0};
	uint32_t need = UINT32_MAX, length;

	/* The index knows, so a window in bits and pieces is not walked for nothing. */
	if (window_largest(window) < count)
		return false;
	for (uint32_t run = 0; need && run_next(window, run, &run); run += length) {
		length = slice_value(window->words[run]);
		if (length >= count)
			scan_run(window, run, length, count, align, empty_max, &best, &need);
	}
	if (need == UINT32_MAX)
		return false;
	*ret = best;
	*ret_need = need;
	return true;
}

static bool unit_absent(const struct window *window, uint32_t unit)
{
	return !group_unit(window->groups[unit / 64].committed, unit);
}

uint32_t window_reach(const struct window *window, uint32_t spare)
{
	uint32_t reach = 0, length, largest = window_largest(window);

	for (uint32_t run = 0; reach < largest && run_next(window, run, &run); run += length) {
		uint32_t from = window_unit(window, run), start = run, absent = 0, end, last;

		length = slice_value(window->words[run]);
		if (length <= reach)
			continue;
		last = window_unit(window, run + length - 1);
		for (uint32_t unit = from; unit <= last; ++unit) {
			absent += unit_absent(window, unit);
			while (absent > spare) {
				absent -= unit_absent(window, from);
				start = ++from << window->unit_shift;
			}
			end = (uint32_t)u64_min(run + length, (unit + 1) << window->unit_shift);
			if (end > start && end - start > reach)
				reach = end - start;
		}
	}
	return reach;
}

uint32_t window_taken(const struct window *window)
{
	uint32_t n = 0;

	for (uint32_t unit = 0; unit < window->units; ++unit)
		n += window->taken[unit];
	return n;
}

uint32_t window_idle(const struct window *window)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < window_groups(window); ++i)
		n += (uint32_t)__builtin_popcountll(window->groups[i].idle);
	return n;
}

uint32_t window_committed(const struct window *window)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < window_groups(window); ++i)
		n += (uint32_t)__builtin_popcountll(window->groups[i].committed);
	return n;
}

uint32_t window_kept(const struct window *window)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < window_groups(window); ++i)
		n += (uint32_t)__builtin_popcountll(window->groups[i].committed |
						    window->groups[i].committing);
	return n;
}

bool window_moves(const struct window *window)
{
	uint64_t moving = 0;

	for (uint32_t i = 0; i < window_groups(window); ++i)
		moving |= window->groups[i].committing | window->groups[i].punching;
	return moving;
}

uint32_t window_absent_run(const struct window *window, uint32_t first)
{
	uint32_t n = 0;

	while (first + n < window->units) {
		const struct unit_group *group = &window->groups[(first + n) / 64];

		if (group_unit(group->committed | group->committing | group->punching,
			       first + n))
			break;
		++n;
	}
	return n;
}
