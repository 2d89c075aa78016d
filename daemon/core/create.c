/*
 * Create - how a space comes into being, with what is reserved for it.
 */
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/nodes.h"
#include "daemon/core/state.h"

enum { WEIGHT_DEFAULT = 100, WEIGHT_MAX = 10000, MODE_DEFAULT = 0600, MODE_MAX = 0777 };

/* What the owner may still own, and the budget that says so. */
static uint64_t may_own(const struct core *core, uint32_t uid, const char **ret_which)
{
	const struct slots *slots = &core->slots[RECORD_SPACE];
	bool bound = uid != 0 && uid != core->config.uid;
	uint64_t share =
		bound ? u64_min(core->config.share, core->region.limit) : core->region.limit;

	*ret_which = bound ? "owner" : "region";
	for (uint32_t i = slots_next(slots, 1); i != SLOT_NONE; i = slots_next(slots, i + 1)) {
		const struct space *space = core->spaces[i];

		if (space->owner.uid == uid && space->state != SPACE_GOING)
			share -= u64_min(share, space->budget.limit);
	}
	return share;
}

/* On the 4 KiB rung windows are powers of two: such a limit can be had in one piece. */
static uint64_t power_down(uint64_t bytes)
{
	return (uint64_t)1 << (63 - __builtin_clzll(bytes));
}

/* What the nodes that the space is bound to have together. */
static uint64_t nodes_bytes(const struct core *core, struct numa numa)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < core->config.n_nodes; ++i)
		if (!numa_strict(numa.kind) || numa.nodes & node_bit(i))
			bytes += core->config.node_bytes[i];
	return bytes;
}

/* The limits of a new space; what is not asked for gets its default. */
static int limits_set(const struct core *core, struct space *space,
		      const struct space_request *request, struct core_fault *fault)
{
	const char *which;
	uint64_t own = may_own(core, request->owner.uid, &which), unit = units_bytes(core, 1);
	uint64_t limit = request->limit, reserve, client;
	uint64_t there = nodes_bytes(core, request->numa);

	if (!limit)
		limit = u64_min(power_down(u64_max(own / 4, unit)), power_down(there));
	if (!u64_align_up(limit, CHUNK_BYTES, &limit) || limit > own)
		return FAULT(fault, CORE_E_BUDGET, .which = which, .requested = limit,
			     .remaining = own);
	if (limit > there)
		return FAULT(fault, CORE_E_BUDGET, .which = "nodes", .requested = limit,
			     .remaining = there, .nodes = request->numa.nodes);
	if (!u64_align_up(request->reserve, CHUNK_BYTES, &reserve) || reserve > limit)
		return FAULT(fault, CORE_E_INVALID, .which = "reserve",
			     .requested = request->reserve, .max = limit);
	client = request->client_limit ? request->client_limit : limit / 8 * 7;
	if (!u64_align_up(client, SLICE_BYTES, &client) || client > limit)
		client = limit;
	space->budget = (struct budget){.name = "space", .limit = limit};
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

/* Units that the plan would commit on this node already. */
static uint32_t planned_on(const struct core *core, const struct core_plan *plan, uint32_t node)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < plan->plan.n_effects; ++i) {
		const struct effect *effect = &plan->plan.effects[i];

		if (effect->kind == EFFECT_COMMIT &&
		    core->windows[effect->window]->place.info.node == node)
			n += effect->count;
	}
	return n;
}

/* Windows on one node for as much of the reserve as it has pages for; punch once on each. */
static int reserve_on(struct core *core, struct core_plan *plan, struct space *space,
		      uint32_t node, bool punch, uint32_t *left, struct core_fault *fault)
{
	uint32_t free = node_free(core, node) - planned_on(core, plan, node);
	int r = 0;

	if (punch && *left > free) {
		uint32_t got;

		r = plan_punch_others(core, plan, space, node, *left - free, &got);
		if (r)
			return r;
		free += got;
	}
	while (*left && free) {
		uint32_t shift = space_window_shift(core, space, node), n;
		struct window *window;

		if (!shift)
			break;
		r = space_window_add(core, space, node, shift, &window, fault);
		if (!r)
			r = plan_add(plan, EFFECT_WINDOW_CREATE, space->slot, window->slot, 0,
				     window->units);
		if (r)
			break;
		n = (uint32_t)u64_min(u64_min(*left, free), window->units);
		r = plan_add(plan, EFFECT_COMMIT, space->slot, window->slot, 0, n);
		if (r)
			break;
		*left -= n;
		free -= n;
	}
	return r;
}

/* By the policy's order; of interleaved nodes an equal part each, as far as they have it. */
static int reserve_tiers(struct core *core, struct core_plan *plan, struct space *space,
			 const struct node_order *order, bool punch, uint32_t *left,
			 struct core_fault *fault)
{
	uint32_t n = order->n_tiers;
	int r = 0;

	for (uint32_t i = 0; i < n && space->numa.kind == NUMA_INTERLEAVE && !r; ++i) {
		uint32_t part = (*left + n - i - 1) / (n - i), rest = part;

		r = reserve_on(core, plan, space, (uint32_t)__builtin_ctzll(order->tiers[i]),
			       false, &rest, fault);
		*left -= part - rest;
	}
	for (uint32_t i = 0; i < n; ++i)
		for (uint64_t nodes = order->tiers[i]; nodes && *left && !r; nodes &= nodes - 1)
			r = reserve_on(core, plan, space, (uint32_t)__builtin_ctzll(nodes),
				       punch, left, fault);
	return r;
}

static void windows_undo(struct core *core, struct space *space)
{
	for (uint32_t i = space->windows_max; i--;)
		if (space->windows[i])
			space_window_undo(core, space->windows[i]);
}

/* All of the reserve, or nothing: first without taking idle pages from others, then with. */
static int reserve_plan(struct core *core, struct core_plan *plan, struct space *space,
			struct core_fault *fault)
{
	uint32_t left = 0, begin = plan->plan.n_effects;
	uint64_t available = 0, idle = 0;
	struct node_order order;
	int r = 0;

	node_order(core, space, space->numa, 0, &order);
	for (uint32_t pass = 0; pass < 2; ++pass) {
		left = space_reserve_units(core, space);
		r = reserve_tiers(core, plan, space, &order, pass, &left, fault);
		if (!r && !left && plan_pages_fit(core, plan))
			return 0;
		windows_undo(core, space);
		if (r || !left)
			break;
		plan->plan.n_effects = begin;
	}
	if (!r && !left)
		return FAULT(fault, CORE_E_LIMIT, .which = "pages",
			     .max = core->slots[RECORD_PAGES].total);
	if (r)
		return r;
	if (core->n_plans)
		return FAULT(fault, CORE_E_BUSY, .which = "plan");
	for (uint32_t i = 0; i < core->slots[RECORD_SPACE].total; ++i)
		if (core->spaces[i] && core->spaces[i]->state == SPACE_LIVE)
			idle += space_spare(core, core->spaces[i]);
	for (uint32_t node = 0; node < core->config.n_nodes; ++node)
		if (order.all & node_bit(node))
			available += node_free(core, node);
	available = units_bytes(core, available + idle);
	return FAULT(fault, CORE_E_MEMORY, .which = "reserve", .requested = space->reserve,
		     .available = available, .largest = available, .nodes = order.all);
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
		r = reserve_plan(core, plan, space, fault);
	if (r) {
		windows_undo(core, space);
		slots_put(&core->slots[RECORD_SPACE], space->slot);
		space_free(core, space);
		plan_free(plan);
		return r;
	}
	for (uint32_t i = 0; i < plan->plan.n_effects; ++i) {
		const struct effect *effect = &plan->plan.effects[i];

		if (effect->kind == EFFECT_COMMIT)
			window_take(core->windows[effect->window], 0, 0,
				    effect->count << (core->unit_shift - SLICE_SHIFT));
	}
	plan->creates = true;
	plan_start(core, plan);
	*ret = space->slot;
	*ret_plan = &plan->plan;
	return 0;
}
