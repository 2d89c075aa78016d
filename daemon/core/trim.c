/*
 * Trim - giving back what a space has not needed for a while.
 *
 * How many units stood idle throughout is counted, not which: what comes and goes among them
 * needs none of the others. The last ones go first, as placement prefers the first.
 */
#include <errno.h>

#include "base/base.h"
#include "daemon/core/state.h"

int core_trim(struct core *core, uint32_t slot, uint32_t units, struct plan **ret)
{
	_cleanup_(plan_freep) struct core_plan *plan = NULL;
	struct space *space = core_space_at(core, slot);
	uint32_t count;
	int r;

	if (!space)
		return CORE_E_NOT_FOUND;
	r = plan_new(&plan, space, NULL);
	if (r)
		return r;
	r = plan_punch(core, plan, space, UINT32_MAX,
		       (uint32_t)u64_min(units, space->units.idle_low), false, NULL, 0, 0,
		       &count);
	if (r)
		return r;
	*ret = NULL;
	if (count) {
		plan_start(core, plan);
		*ret = &TAKE_PTR(plan)->plan;
	}
	space->units.idle_low = space->units.idle;
	return 0;
}

bool core_trimmable(const struct core *core, uint32_t slot)
{
	const struct space *space = core_space_at(core, slot);

	return space && space_spare(space);
}
