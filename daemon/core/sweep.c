#include "daemon/core/sweep.h"

#include <string.h>

#include "base/base.h"
#include "daemon/core/state.h"

enum { STEP_SLICES = 4096 }; /* looked at in one call: C6 */

bool core_sweep_due(const struct core *core, uint32_t slot)
{
	const struct space *space = core_space_at(core, slot);

	return space && !space->sweep.running && (ids_dead(&space->ids) || space->sweep.owed);
}

bool core_sweep_pays(const struct core *core, uint32_t slot)
{
	const struct space *space = core_space_at(core, slot);

	return space && !space->sweep.running &&
	       space->n_adopted > space->n_channels + space->n_sealed;
}

int core_sweep_begin(struct core *core, uint32_t slot, uint64_t *ret_dead)
{
	struct space *space = core_space_at(core, slot);

	if (!space)
		return CORE_E_NOT_FOUND;
	if (space->sweep.running)
		return CORE_E_BUSY;
	space->sweep = (struct sweep){.running = true};
	++space->n_plans;
	ids_sweep_begin(&space->ids);
	memcpy(ret_dead, space->ids.swept, sizeof(space->ids.swept));
	return 0;
}

/* Slices from this one on that hold nothing to be listed. */
static uint32_t stretch(const struct core *core, const struct window *window, uint32_t slice,
			const struct extent **ret)
{
	uint32_t word = window->words[slice], unit = window_unit(window, slice);
	const struct extent *extent;

	*ret = NULL;
	if (!window->taken[unit])
		return window_unit_slices(window) - (slice & (window_unit_slices(window) - 1));
	if (slice_state(word) != SLICE_USED)
		return 1;
	extent = &core->extents[slice_value(word)];
	/* One that began before is new here: it came when its first slice had been passed. */
	if (extent->first == slice && extent_has_words(extent))
		*ret = extent;
	return extent_stretch(extent, slice);
}

int core_sweep_next(struct core *core, uint32_t slot, struct extent_place *ret, uint32_t max,
		    uint32_t *ret_n)
{
	struct space *space = core_space_at(core, slot);
	struct sweep *sweep = space ? &space->sweep : NULL;
	uint32_t n = 0;

	if (!space || !sweep->running)
		return CORE_E_NOT_FOUND;
	for (uint32_t steps = STEP_SLICES; sweep->number < space->windows_max;) {
		const struct window *window = space->windows[sweep->number];
		const struct extent *extent;

		if (!window || window->pending || sweep->slice >= window->slices) {
			++sweep->number;
			sweep->slice = 0;
			continue;
		}
		if (n == max || !steps--) {
			*ret_n = n;
			return CORE_MORE;
		}
		sweep->slice += stretch(core, window, sweep->slice, &extent);
		if (extent)
			ret[n++] = extent_place(extent);
	}
	*ret_n = n;
	return 0;
}

void core_swept(struct core *core, uint32_t slot, uint64_t words)
{
	struct space *space = core_space_at(core, slot);

	if (space)
		space->counts.swept += words;
}

bool core_sweep_free(struct core *core, uint32_t slot, const struct extent_place *place)
{
	struct space *space = core_space_at(core, slot);
	const struct window *window;
	const struct extent *extent;
	uint32_t word;

	if (!space || !space->sweep.running ||
	    place->window >= core->slots[RECORD_WINDOW].total)
		return false;
	window = core->windows[place->window];
	if (!window || window->space != space || place->first >= window->slices)
		return false;
	word = window->words[place->first];
	if (slice_state(word) != SLICE_USED)
		return false;
	extent = &core->extents[slice_value(word)];
	if (extent->first != place->first || extent->count != place->count ||
	    extent->kind != place->kind || (extent->tag != place->tag && !mutant(sweep_untold)))
		return false;
	/* What its owner had when it was listed was the owner's to fill again. */
	if (extent->kind != EXTENT_SHARED &&
	    (extent->kind != EXTENT_BLOCKS || place->session || extent->member))
		return false;
	++space->counts.frees;
	extent_release(core, slice_value(word));
	return true;
}

void core_sweep_end(struct core *core, uint32_t slot, bool done)
{
	struct space *space = core_space_at(core, slot);

	if (!space || !space->sweep.running)
		return;
	space->sweep.running = false;
	space->sweep.owed |= !done;
	--space->n_plans;
	if (done)
		channels_reap(core, space);
	ids_sweep_end(&space->ids, done);
}
