#include "daemon/core/choice.h"

#include <errno.h>

#include "base/base.h"
#include "daemon/core/nodes.h"
#include "daemon/core/state.h"

/* Units that could be committed at once, for this space on this node. */
static uint32_t room(const struct space *space, uint32_t node)
{
	return (uint32_t)u64_min(node_free(space->rung, node), space_room(space));
}

static bool choose_in(struct window *window, uint32_t count, uint32_t align, struct choice *ret)
{
	struct place place;
	uint32_t need;

	if (!window_choose(window, count, align, &place, &need))
		return false;
	*ret = (struct choice){.window = window,
			       .place = place,
			       .node = window->place.info.node,
			       .need = need};
	return true;
}

static bool choose_new(const struct core *core, const struct space *space, uint32_t count,
		       uint64_t nodes, struct choice *ret)
{
	uint32_t per = space->rung->unit_shift - SLICE_SHIFT, best = UINT32_MAX, best_shift = 0;

	/* What the next window may be depends on whether this one comes. */
	if (space_window_pending(space))
		return false;
	for (uint32_t node = 0; node < core->config.n_nodes; ++node) {
		uint32_t shift;

		if (!(nodes & node_bit(node)))
			continue;
		shift = space_window_shift(core, space, node);
		if (!shift || (uint64_t)count << SLICE_SHIFT > (uint64_t)1 << shift)
			continue;
		if (best == UINT32_MAX ||
		    node_free(space->rung, node) > node_free(space->rung, best)) {
			best = node;
			best_shift = shift;
		}
	}
	if (best == UINT32_MAX)
		return false;
	*ret = (struct choice){.node = best,
			       .size_shift = best_shift,
			       .need = (count + ((uint32_t)1 << per) - 1) >> per};
	return true;
}

/* Idle units that all other spaces of its rung together would not miss. */
static uint32_t spare_of_others(const struct core *core, const struct space *but)
{
	const struct slots *slots = &core->slots[RECORD_SPACE];
	uint32_t n = 0;

	for (uint32_t i = slots_next(slots, 1); i != SLOT_NONE; i = slots_next(slots, i + 1))
		if (space_gives(core->spaces[i], but))
			n += space_spare(core->spaces[i]);
	return n;
}

static uint32_t lack(const struct space *space, const struct choice *choice)
{
	uint32_t have = room(space, choice->node);

	return choice->need > have ? choice->need - have : 0;
}

/* Steps 1 and 2: what there are pages for. */
static bool choose_plain(const struct core *core, const struct space *space, uint32_t count,
			 uint32_t align, uint64_t nodes, struct choice *ret)
{
	struct choice choice;

	for (uint32_t i = 0; i < space->windows_max; ++i) {
		struct window *window = space->windows[i];

		if (window && !window->pending && !window->retired &&
		    nodes & node_bit(window->place.info.node) &&
		    choose_in(window, count, align, &choice) && !lack(space, &choice)) {
			*ret = choice;
			return true;
		}
	}
	if (choose_new(core, space, count, nodes, &choice) && !lack(space, &choice)) {
		*ret = choice;
		return true;
	}
	return false;
}

/* What lacks the fewest pages, of places with at most so many empty units. */
static bool choose_least(const struct core *core, const struct space *space, uint32_t count,
			 uint32_t align, uint64_t nodes, const uint32_t *empty_max,
			 struct choice *ret)
{
	struct choice choice, best;
	bool found = false;

	for (uint32_t i = 0; i < space->windows_max; ++i) {
		struct window *window = space->windows[i];
		uint32_t node;

		if (!window || window->pending || window->retired ||
		    !(nodes & node_bit(window->place.info.node)))
			continue;
		node = window->place.info.node;
		choice = (struct choice){.window = window, .node = node};
		if (!window_scan(window, count, align, empty_max ? empty_max[node] : UINT32_MAX,
				 &choice.place, &choice.need))
			continue;
		if (!found || lack(space, &choice) < lack(space, &best))
			best = choice;
		found = true;
	}
	if (choose_new(core, space, count, nodes, &choice)) {
		if (!found || lack(space, &choice) < lack(space, &best))
			best = choice;
		found = true;
	}
	if (found)
		*ret = best;
	return found;
}

/* Step 3: a place whatever the policy makes of it, if there are pages for it. */
static bool choose_any(const struct core *core, const struct space *space, uint32_t count,
		       uint32_t align, uint64_t nodes, struct choice *ret)
{
	struct choice choice;

	if (!choose_least(core, space, count, align, nodes, NULL, &choice) ||
	    lack(space, &choice))
		return false;
	*ret = choice;
	return true;
}

/*
 * Step 4. An idle unit of the space that the place itself covers cannot be punched for it:
 * of the units that the place finds empty, all must come out of what is free or idle anywhere.
 */
static bool choose_short(const struct core *core, const struct space *space, uint32_t count,
			 uint32_t align, uint64_t nodes, struct choice *ret, bool *ret_short)
{
	uint32_t empty_max[STATS_NODES_MAX], others = spare_of_others(core, space);
	struct choice choice;

	if (!choose_least(core, space, count, align, nodes, NULL, &choice))
		return false;
	if (lack(space, &choice)) {
		*ret_short = true;
		for (uint32_t node = 0; node < core->config.n_nodes; ++node)
			empty_max[node] =
				(uint32_t)u64_min(space_room(space),
						  node_free(space->rung, node) + others) +
				space->units.idle;
		if (!choose_least(core, space, count, align, nodes, empty_max, &choice))
			return false;
	}
	*ret = choice;
	return true;
}

/* Units that the chosen place touches. */
static void choice_units(const struct choice *choice, uint32_t count, uint32_t *ret_first,
			 uint32_t *ret_last)
{
	const struct window *window = choice->window;

	*ret_first = window_unit(window, choice->place.first);
	*ret_last = window_unit(window, choice->place.first + count - 1);
}

/* Punches for what the choice lacks. CORE_E_MEMORY: there is not as much idle. */
static int plan_spare(struct core *core, struct core_plan *plan, struct space *space,
		      const struct choice *choice, uint32_t count)
{
	uint32_t have = room(space, choice->node), free = node_free(space->rung, choice->node);
	uint32_t limit = space_room(space);
	uint32_t own = choice->need > limit ? choice->need - limit : 0; /* of its own units */
	uint32_t local = choice->need > free ? choice->need - free : 0; /* of this node's */
	uint32_t got, first = 0, last = 0;
	int r;

	if (choice->need <= have)
		return 0;
	if (choice->window)
		choice_units(choice, count, &first, &last);
	r = plan_punch(core, plan, space, choice->node, (uint32_t)u64_max(own, local), true,
		       choice->window, first, last, &got);
	if (r)
		return r;
	own -= (uint32_t)u64_min(own, got);
	local -= (uint32_t)u64_min(local, got);
	for (uint32_t node = 0; own && node < core->config.n_nodes; ++node) {
		if (node == choice->node)
			continue;
		r = plan_punch(core, plan, space, node, own, true, NULL, 0, 0, &got);
		if (r)
			return r;
		own -= got;
	}
	if (local) {
		r = plan_punch_others(core, plan, space, choice->node, local, &got);
		if (r)
			return r;
		local -= got;
	}
	return own || local ? CORE_E_MEMORY : 0;
}

/* One commit for each stretch of absent units. */
static int plan_commits(struct core_plan *plan, const struct window *window, uint32_t first,
			uint32_t last)
{
	for (uint32_t unit = first, n; unit <= last; unit += n) {
		int r;

		for (n = 0; unit + n <= last; ++n)
			if (group_unit(window->groups[(unit + n) / 64].committed, unit + n))
				break;
		if (!n) {
			n = 1;
			continue;
		}
		r = plan_add(plan, EFFECT_COMMIT, window->space->slot, window->slot, unit, n);
		if (r)
			return r;
	}
	return 0;
}

static int plan_window(struct core *core, struct core_plan *plan, struct space *space,
		       struct choice *choice, struct core_fault *fault)
{
	struct window *window;
	int r = space_window_add(core, space, choice->node, choice->size_shift, &window, fault);

	if (r)
		return r;
	r = plan_add(plan, EFFECT_WINDOW_CREATE, space->slot, window->slot, 0, window->units);
	if (r) {
		space_window_undo(core, window);
		return r;
	}
	choice->window = window;
	return 0;
}

/* The place, and what its units have beside it: an absent unit is free throughout. */
static void plan_hold(struct core_plan *plan, const struct choice *choice, uint32_t count)
{
	struct window *window = choice->window;
	uint32_t from = choice->place.first, to = from + count, first, last;

	choice_units(choice, count, &first, &last);
	if (!group_unit(window->groups[first / 64].committed, first))
		from = first << window->unit_shift;
	if (!group_unit(window->groups[last / 64].committed, last))
		to = (last + 1) << window->unit_shift;
	plan->hold_first = from;
	plan->hold_count = to - from;
	window_take(window, choice->place.run, from, to - from);
}

static int choice_plan(struct core *core, struct space *space, struct member *member,
		       const struct choice_wish *wish, struct choice *choice,
		       struct core_plan **ret, struct core_fault *fault)
{
	_cleanup_(plan_freep) struct core_plan *plan = NULL;
	uint32_t first, last, count = wish->count;
	bool new = !choice->window;
	int r;

	r = plan_new(&plan, space, member);
	if (r)
		return r;
	r = plan_spare(core, plan, space, choice, count);
	if (r)
		return r;
	if (new) {
		r = plan_window(core, plan, space, choice, fault);
		if (r)
			return r;
	}
	choice_units(choice, count, &first, &last);
	r = plan_commits(plan, choice->window, first, last);
	if (!r && !plan_pages_fit(core, plan))
		r = FAULT(fault, CORE_E_LIMIT, .which = "pages",
			  .max = core->slots[RECORD_PAGES].total);
	if (!r && wish->zeroed)
		r = plan_add(plan, EFFECT_ZERO, space->slot, choice->window->slot,
			     choice->place.first, count);
	if (r) {
		if (new)
			space_window_undo(core, choice->window);
		return r;
	}
	plan_hold(plan, choice, count);
	*ret = TAKE_PTR(plan);
	return 0;
}

/* Commits and punches for what was chosen; no plan if it is all there. */
static int choice_try(struct core *core, struct space *space, struct member *member,
		      const struct choice_wish *wish, struct choice *choice,
		      struct core_plan **ret, struct core_fault *fault)
{
	*ret = NULL;
	return choice->window && !choice->need && !wish->zeroed
		       ? 0
		       : choice_plan(core, space, member, wish, choice, ret, fault);
}

int choice_make(struct core *core, struct space *space, struct member *member,
		const struct choice_wish *wish, struct choice *ret, struct core_plan **ret_plan,
		struct core_fault *fault)
{
	const struct node_order *order = wish->order;
	uint32_t count = wish->count, align = wish->align;
	struct core_plan *plan;
	struct choice choice;
	bool is_short = false;
	int r;

	for (uint32_t i = 0; i < order->n_tiers; ++i) {
		uint64_t nodes = order->tiers[i];

		if (!choose_plain(core, space, count, align, nodes, &choice) &&
		    !choose_any(core, space, count, align, nodes, &choice))
			continue;
		r = choice_try(core, space, member, wish, &choice, &plan, fault);
		if (r)
			return r;
		*ret = choice;
		*ret_plan = plan;
		return 0;
	}
	for (uint32_t i = 0; i < order->n_tiers; ++i) {
		uint64_t nodes = order->tiers[i];

		/* One node after the other: what lacks pages on one may find idle ones on the
		 * next. */
		while (choose_short(core, space, count, align, nodes, &choice, &is_short)) {
			r = choice_try(core, space, member, wish, &choice, &plan, fault);
			if (!r) {
				*ret = choice;
				*ret_plan = plan;
				return 0;
			}
			if (r != CORE_E_MEMORY)
				return r;
			nodes &= ~node_bit(choice.node);
		}
	}
	/* Plans hold slices of this space, or pages that some place would have taken. */
	if (space->n_plans || (is_short && core->n_plans))
		return CORE_E_BUSY;
	return CORE_E_MEMORY;
}

void choice_outlook(const struct core *core, const struct space *space, uint64_t nodes,
		    uint64_t *ret_available, uint64_t *ret_largest)
{
	uint64_t inside = 0, fresh = 0, idle = spare_of_others(core, space), largest = 0;
	uint32_t n_nodes = core->config.n_nodes, retired = space_retired_idle(space);

	for (uint32_t node = 0; node < n_nodes; ++node)
		if (nodes & node_bit(node))
			fresh += node_free(space->rung, node);
	fresh = u64_min(fresh + idle, space_room(space)) + retired;
	for (uint32_t i = 0; i < space->windows_max; ++i) {
		const struct window *window = space->windows[i];

		if (!window || !(nodes & node_bit(window->place.info.node)))
			continue;
		if (window->retired) {
			inside += (uint64_t)window_taken(window) << SLICE_SHIFT;
			continue;
		}
		inside += units_bytes(space->rung, window_kept(window));
		if (!window->pending)
			largest =
				u64_max(largest, (uint64_t)window_reach(window, (uint32_t)fresh)
							 << SLICE_SHIFT);
	}
	for (uint32_t node = 0; node < n_nodes; ++node) {
		uint32_t shift =
			nodes & node_bit(node) ? space_window_shift(core, space, node) : 0;

		if (shift)
			largest = u64_max(largest, u64_min((uint64_t)1 << shift,
							   units_bytes(space->rung, fresh)));
		if (nodes & node_bit(node))
			inside -= space->used_on[node];
	}
	*ret_available =
		u64_min(inside + units_bytes(space->rung, fresh), budget_left(&space->budget));
	*ret_largest = u64_min(largest, *ret_available);
}
