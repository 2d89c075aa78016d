/*
 * Scrub - what stands in a window that nobody committed.
 *
 * A touch of a hole makes a page, whoever touches it, and a writer can fill holes. None of it is
 * in the records, so the plan changes no sum: it only keeps the absent units from being handed
 * out while their holes are made anew. How much there was, the shell finds out.
 */
#include <errno.h>

#include "base/base.h"
#include "daemon/core/state.h"

/* One effect for each stretch of absent units: at most half as many as the window has units. */
static int plan_absent(struct core_plan *plan, const struct window *window)
{
	for (uint32_t unit = 0, n; unit < window->units; unit += n) {
		int r;

		n = window_absent_run(window, unit);
		if (!n) {
			n = 1;
			continue;
		}
		r = plan_add(plan, EFFECT_SCRUB, window->space->slot, window->slot, unit, n);
		if (r)
			return r;
	}
	return 0;
}

int core_scrub(struct core *core, uint32_t slot, struct plan **ret)
{
	_cleanup_(plan_freep) struct core_plan *plan = NULL;
	struct window *window;
	int r;

	if (slot >= core->slots[RECORD_WINDOW].total || !core->windows[slot])
		return CORE_E_NOT_FOUND;
	window = core->windows[slot];
	if (window->pending || window->space->state != SPACE_LIVE)
		return CORE_E_NOT_FOUND;
	if (window_moves(window))
		return CORE_E_BUSY;
	r = plan_new(&plan, window->space, NULL);
	if (r)
		return r;
	r = plan_absent(plan, window);
	if (r)
		return r;
	*ret = NULL;
	if (plan->plan.n_effects) {
		plan_start(core, plan);
		*ret = &TAKE_PTR(plan)->plan;
	}
	return 0;
}

void core_surplus(struct core *core, uint32_t slot, uint64_t bytes)
{
	struct space *space = core_space_at(core, slot);

	if (space)
		space->counts.surplus += bytes;
}
