/*
 * Create - how a space comes into being, with what is reserved for it.
 */
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/nodes.h"
#include "daemon/core/reserve.h"
#include "daemon/core/state.h"

/* On the 4 KiB rung windows are powers of two: such a limit can be had in one piece. */
static uint64_t power_down(uint64_t bytes)
{
	return (uint64_t)1 << (63 - __builtin_clzll(bytes));
}

/* A quarter of what its owner may have; the rung is chosen by it. */
static uint64_t limit_default(const struct core *core, uint32_t uid)
{
	const char *which;
	uint64_t own = terms_share(core, uid, NULL, NULL, &which);

	return power_down(u64_max(own / 4, units_bytes(&core->rungs[0], 1)));
}

/* The rung of a new space and its limits; what is not asked for gets its default. */
static int limits_set(struct core *core, struct space *space,
		      const struct space_request *request, struct core_fault *fault)
{
	const char *which;
	uint64_t limit = request->limit, nodes = terms_nodes(request->numa);
	uint64_t own, there, reserve, client;

	if (!limit)
		limit = limit_default(core, request->owner.uid);
	space->rung = rung_for(core, limit, nodes);
	there = rung_bytes(core, space->rung, nodes);
	if (!request->limit && there)
		limit = u64_min(limit, power_down(there));
	own = terms_share(core, request->owner.uid, NULL, space->rung, &which);
	if (!u64_align_up(limit, CHUNK_BYTES, &limit) || limit > own)
		return FAULT(fault, CORE_E_BUDGET, .which = which, .requested = limit,
			     .remaining = own, .page_shift = space->rung->page_shift);
	if (limit > there)
		return FAULT(fault, CORE_E_BUDGET, .which = "nodes", .requested = limit,
			     .remaining = there, .nodes = request->numa.nodes,
			     .page_shift = space->rung->page_shift);
	if (!u64_align_up(request->reserve, CHUNK_BYTES, &reserve) || reserve > limit)
		return FAULT(fault, CORE_E_INVALID, .which = "reserve",
			     .requested = request->reserve, .max = limit);
	client = request->client_limit ? request->client_limit : terms_client_default(limit);
	if (!u64_align_up(client, SLICE_BYTES, &client) || client > limit)
		client = limit;
	space->budget = (struct budget){.name = "space", .limit = limit};
	space->ceiling = limit;
	space->reserve = reserve;
	space->client_limit = client;
	return 0;
}

/* A slot's last life left its counters there: going on from them, no tag comes back. */
static void counters_set(const struct core *core, struct space *space)
{
	const struct space_record *last = records_at(core->records, RECORD_SPACE, space->slot);
	uint64_t mix = (core->config.seed ^ space->slot) * 0x9e3779b97f4a7c15ULL;
	uint32_t tag = (uint32_t)(last->tag_next ? last->tag_next : mix >> 32) & TAG_MASK;
	uint32_t generation = (uint32_t)last->window_next & GENERATION_MASK;

	space->tag_next = tag ? tag : 1;
	space->window_next = generation ? generation : 1;
}

static int request_check(const struct core *core, const struct space_request *request,
			 uint32_t *ret_placement, struct core_fault *fault)
{
	const struct space *space;
	int r;

	if (!space_name_valid(request->name))
		return FAULT(fault, CORE_E_INVALID, .which = "name");
	if (request->weight > WEIGHT_MAX)
		return FAULT(fault, CORE_E_INVALID, .which = "weight",
			     .requested = request->weight, .max = WEIGHT_MAX);
	if (request->mode > MODE_MAX)
		return FAULT(fault, CORE_E_INVALID, .which = "mode", .requested = request->mode,
			     .max = MODE_MAX);
	r = numa_check(core, request->numa, fault);
	if (r)
		return r;
	if (!placement_named(request->placement, ret_placement))
		return FAULT(fault, CORE_E_INVALID, .which = "placement");
	space = core_space_named(core, request->name);
	if (space && space->state == SPACE_LIVE)
		return FAULT(fault, CORE_E_EXISTS, .which = "space");
	if (space)
		return FAULT(fault, CORE_E_BUSY, .which = "plan");
	return 0;
}

static int quota_check(struct core *core, uint32_t uid, struct core_fault *fault)
{
	struct quota *quota = quota_ref(&core->quotas, uid);
	int r;

	if (!quota)
		return -ENOMEM;
	r = core_may(core, quota, QUOTA_SPACES, METADATA_SPACE, fault);
	quota_unref(&core->quotas, quota);
	return r;
}

/* Takes the slot, so that windows and effects can name it. */
static int space_enter(struct core *core, struct space *space,
		       const struct space_request *request, uint32_t placement)
{
	int r;

	strcpy(space->name, request->name);
	space->owner = request->owner;
	space->mode = request->mode ? request->mode : MODE_DEFAULT;
	space->weight = request->weight ? request->weight : WEIGHT_DEFAULT;
	space->numa = request->numa;
	space->hash_seed = request->hash_seed;
	space->placement_id = placement;
	space->placement = placement_at(placement);
	space->budget.parent = &core->region;
	space->state = SPACE_COMING;
	space->slot = slots_take(&core->slots[RECORD_SPACE]);
	r = space_list(core, space);
	if (r) {
		slots_put(&core->slots[RECORD_SPACE], space->slot);
		return r;
	}
	counters_set(core, space);
	return 0;
}

int core_space_create(struct core *core, const struct space_request *request, uint32_t *ret,
		      struct plan **ret_plan, struct core_fault *fault)
{
	const struct asker asker = asker_take(core);
	struct core_plan *plan = NULL;
	struct space *space;
	uint32_t placement;
	int r;

	r = request_check(core, request, &placement, fault);
	if (!r)
		r = quota_check(core, request->owner.uid, fault);
	if (r)
		return r;
	space = space_new();
	if (!space)
		return -ENOMEM;
	r = limits_set(core, space, request, fault);
	if (!r)
		r = space_enter(core, space, request, placement);
	if (r) {
		space_free(core, space);
		return r;
	}
	r = plan_new(&plan, space, NULL);
	if (!r)
		r = plan_add(plan, EFFECT_ROOT_CREATE, space->slot, 0, 0, 0);
	if (!r)
		r = reserve_plan(core, plan, space, space_reserve_units(space), space->reserve,
				 request->avoid, fault);
	if (r) {
		slots_put(&core->slots[RECORD_SPACE], space->slot);
		space_free(core, space);
		plan_free(plan);
		return r;
	}
	reserve_hold(core, plan);
	plan->creates = true;
	plan->asker = asker;
	plan_start(core, plan);
	*ret = space->slot;
	*ret_plan = &plan->plan;
	return 0;
}
