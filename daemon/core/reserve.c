#include "daemon/core/reserve.h"

#include "base/base.h"
#include "daemon/core/nodes.h"
#include "daemon/core/state.h"

void reserve_undo(struct core *core, const struct core_plan *plan)
{
	/* Backwards: the first has the generation that the next window will have. */
	for (uint32_t i = plan->plan.n_effects; i--;)
		if (plan->plan.effects[i].kind == EFFECT_WINDOW_CREATE)
			space_window_undo(core, core->windows[plan->plan.effects[i].window]);
}

void reserve_hold(struct core *core, struct core_plan *plan)
{
	for (uint32_t i = 0; i < plan->plan.n_effects; ++i) {
		const struct effect *effect = &plan->plan.effects[i];

		if (effect->kind == EFFECT_COMMIT)
			window_hold(core->windows[effect->window], effect->first,
				    effect->count);
	}
	plan->reserves = true;
}

static int take(struct core_plan *plan, const struct window *window, uint32_t first,
		uint32_t units, uint32_t *left, uint32_t *free)
{
	*left -= units;
	*free -= units;
	return plan_add(plan, EFFECT_COMMIT, window->space->slot, window->slot, first, units);
}

/* How many of `n` units from `unit` on the plan does not commit already. */
static uint32_t unplanned(const struct core_plan *plan, const struct window *window,
			  uint32_t unit, uint32_t n)
{
	for (uint32_t i = 0; i < plan->plan.n_effects; ++i) {
		const struct effect *effect = &plan->plan.effects[i];

		if (effect->kind != EFFECT_COMMIT || effect->window != window->slot ||
		    effect->first + effect->count <= unit)
			continue;
		if (effect->first <= unit)
			return 0;
		n = (uint32_t)u64_min(n, effect->first - unit);
	}
	return n;
}

/* Absent units of the windows that are there, those included that this plan adds (`widen`). */
static int reserve_inside(struct core_plan *plan, const struct space *space, uint32_t node,
			  bool widen, uint32_t *left, uint32_t *free)
{
	int r = 0;

	for (uint32_t i = 0; i < space->windows_max; ++i) {
		const struct window *window = space->windows[i];

		if (!window || window->retired || (window->pending && !widen) ||
		    window->place.info.node != node)
			continue;
		for (uint32_t unit = 0, n; !r && unit < window->units && *left && *free;
		     unit += n) {
			n = window_absent_run(window, unit);
			n = unplanned(plan, window, unit, n);
			n = (uint32_t)u64_min(n, u64_min(*left, *free));
			if (n)
				r = take(plan, window, unit, n, left, free);
			else
				n = 1;
		}
	}
	return r;
}

static int reserve_window(struct core *core, struct core_plan *plan, struct space *space,
			  uint32_t node, uint32_t shift, uint32_t *left, uint32_t *free,
			  struct core_fault *fault)
{
	struct window *window;
	int r = space_window_add(core, space, node, shift, &window, fault);

	if (r)
		return r;
	r = plan_add(plan, EFFECT_WINDOW_CREATE, space->slot, window->slot, 0, window->units);
	if (r) {
		space_window_undo(core, window);
		return r;
	}
	return take(plan, window, 0, (uint32_t)u64_min(u64_min(*left, *free), window->units),
		    left, free);
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

/* As much as one node has pages for; if `punch`, which is once on each, others' idle ones too. */
static int reserve_on(struct core *core, struct core_plan *plan, struct space *space,
		      uint32_t node, bool punch, bool widen, uint32_t *left,
		      struct core_fault *fault)
{
	uint32_t free = node_free(space->rung, node) - planned_on(core, plan, node);
	int r = 0;

	if (punch && *left > free) {
		uint32_t got;

		r = plan_punch_others(core, plan, space, node, *left - free, &got);
		if (r)
			return r;
		free += got;
	}
	r = reserve_inside(plan, space, node, widen, left, &free);
	while (!r && widen && *left && free) {
		uint32_t shift = space_window_shift(core, space, node);

		if (!shift)
			break;
		r = reserve_window(core, plan, space, node, shift, left, &free, fault);
	}
	return r;
}

/* By the policy's order; of interleaved nodes an equal part each, as far as they have it. */
static int reserve_tiers(struct core *core, struct core_plan *plan, struct space *space,
			 const struct node_order *order, bool punch, bool widen, uint32_t *left,
			 struct core_fault *fault)
{
	uint32_t n = order->n_tiers;
	int r = 0;

	for (uint32_t i = 0; i < n && space->numa.kind == NUMA_INTERLEAVE && !r; ++i) {
		uint32_t part = (*left + n - i - 1) / (n - i), rest = part;

		r = reserve_on(core, plan, space, (uint32_t)__builtin_ctzll(order->tiers[i]),
			       false, widen, &rest, fault);
		*left -= part - rest;
	}
	for (uint32_t i = 0; i < n; ++i)
		for (uint64_t nodes = order->tiers[i]; nodes && *left && !r; nodes &= nodes - 1)
			r = reserve_on(core, plan, space, (uint32_t)__builtin_ctzll(nodes),
				       punch, widen, left, fault);
	return r;
}

/* The largest reserve that there could be now, for a refusal. */
static uint64_t reserve_max(const struct core *core, const struct space *space, uint64_t nodes)
{
	uint64_t units = space->units.committed;

	for (uint32_t i = 0; i < core->slots[RECORD_SPACE].total; ++i)
		if (core->spaces[i] && space_gives(core->spaces[i], space))
			units += space_spare(core->spaces[i]);
	for (uint32_t node = 0; node < core->config.n_nodes; ++node)
		if (nodes & node_bit(node))
			units += node_free(space->rung, node);
	return units_bytes(space->rung, units);
}

int reserve_plan(struct core *core, struct core_plan *plan, struct space *space, uint32_t units,
		 uint64_t bytes, uint64_t avoid, struct core_fault *fault)
{
	/* What the next window may be depends on whether one that is under way comes. */
	bool widen = !space_window_pending(space), fits = units <= space_room(space);
	uint32_t left = units, begin = plan->plan.n_effects;
	struct node_order order;
	uint64_t available;
	int r = 0;

	node_order(core, space, space->numa, 0, &order);
	node_order_avoid(&order, avoid);
	for (uint32_t pass = 0; fits && pass < 2; ++pass) {
		left = units;
		r = reserve_tiers(core, plan, space, &order, pass, widen, &left, fault);
		if (!r && !left && plan_pages_fit(core, plan))
			return 0;
		reserve_undo(core, plan);
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
	available = reserve_max(core, space, order.all);
	return FAULT(fault, CORE_E_MEMORY, .which = "reserve", .requested = bytes,
		     .available = available, .largest = available, .nodes = order.all,
		     .page_shift = space->rung->page_shift);
}
