/*
 * View - what others may see of the core: copies.
 */
#include "base/base.h"
#include "daemon/core/state.h"

void space_counts_add(struct space_counts *sum, const struct space_counts *more)
{
	sum->allocs += more->allocs;
	sum->frees += more->frees;
	sum->refused += more->refused;
	sum->surplus += more->surplus;
	sum->swept += more->swept;
	sum->failures.memory += more->failures.memory;
	sum->failures.too_large += more->failures.too_large;
	sum->failures.budget_region += more->failures.budget_region;
	sum->failures.budget_space += more->failures.budget_space;
	sum->failures.budget_client += more->failures.budget_client;
}

struct core_view core_view(const struct core *core)
{
	const struct slots *slots = &core->slots[RECORD_SPACE];
	struct core_view view = {
		.capacity = core->region.limit,
		.used = core->region.used,
		.peak = core->region.peak,
		.spaces = core->n_spaces,
		.sessions = core->n_sessions,
		.counts = core->gone,
	};

	for (uint32_t i = slots_next(slots, 1); i != SLOT_NONE; i = slots_next(slots, i + 1))
		if (core->spaces[i])
			space_counts_add(&view.counts, &core->spaces[i]->counts);

	for (uint32_t i = 0; i < core->n_rungs; ++i)
		for (uint32_t node = 0; node < core->config.n_nodes; ++node) {
			const struct rung *rung = &core->rungs[i];

			view.committed += units_bytes(rung, rung->nodes[node].committed);
			view.pending += units_bytes(rung, rung->nodes[node].pending);
		}
	return view;
}

struct stats_node core_rung_view(const struct core *core, uint32_t page_shift, uint32_t node)
{
	struct stats_node view = {.node = node};

	for (uint32_t i = 0; i < core->n_rungs && node < core->config.n_nodes; ++i) {
		const struct rung *rung = &core->rungs[i];
		const struct core_node *at = &rung->nodes[node];

		if (page_shift && rung->page_shift != page_shift)
			continue;
		view.capacity += units_bytes(rung, at->capacity);
		view.committed += units_bytes(rung, at->committed);
		view.used += at->used;
	}
	return view;
}

struct stats_node core_node_view(const struct core *core, uint32_t node)
{
	return core_rung_view(core, 0, node);
}

void core_share_view(const struct core *core, uint32_t slot, uint32_t node,
		     uint64_t *ret_committed, uint64_t *ret_used)
{
	const struct space *space;

	*ret_committed = *ret_used = 0;
	if (slot >= core->slots[RECORD_SPACE].total || !core->spaces[slot] ||
	    node >= core->config.n_nodes)
		return;
	space = core->spaces[slot];
	*ret_used = space->used_on[node];
	for (uint32_t i = 0; i < space->windows_max; ++i)
		if (space->windows[i] && space->windows[i]->place.info.node == node)
			*ret_committed +=
				units_bytes(space->rung, window_committed(space->windows[i]));
}

/* The longest free run, with memory or without: of its windows, or of the next one. */
static uint64_t space_largest(const struct core *core, const struct space *space)
{
	uint64_t largest = 0;

	for (uint32_t i = 0; i < space->windows_max; ++i) {
		const struct window *window = space->windows[i];

		if (window && !window->pending)
			largest = u64_max(largest, (uint64_t)window_largest(window)
							   << SLICE_SHIFT);
	}
	for (uint32_t i = 0; i < core->config.n_nodes; ++i) {
		uint32_t shift = space_window_shift(core, space, i);

		if (shift)
			largest = u64_max(largest, (uint64_t)1 << shift);
	}
	return u64_min(largest, budget_left(&space->budget));
}

bool core_space_view(const struct core *core, uint32_t slot, struct space_view *ret)
{
	const struct space *space;

	if (slot >= core->slots[RECORD_SPACE].total || !core->spaces[slot])
		return false;
	space = core->spaces[slot];
	*ret = (struct space_view){
		.space = slot,
		.name = space->name,
		.placement = space->placement->name,
		.owner = space->owner,
		.mode = space->mode,
		.weight = space->weight,
		.sessions = space->n_members,
		.windows = space->n_windows,
		.page_shift = space->rung->page_shift,
		.numa = space->numa,
		.removed = space->removed || space->state == SPACE_GOING,
		.limit = space->budget.limit,
		.reserve = space->reserve,
		.client_limit = space->client_limit,
		.used = space->budget.used,
		.peak = space->budget.peak,
		.committed = units_bytes(space->rung, space->units.committed),
		.largest = space_largest(core, space),
		.extents = space->n_extents,
		.caches = space->n_caches,
		.hash_seed = space->hash_seed,
		.ids = ids_alive(&space->ids),
		.ids_dead = ids_dead(&space->ids),
		.counts = space->counts,
	};
	return true;
}

bool core_session_view(const struct core *core, uint32_t slot, struct session_view *ret)
{
	const struct session *session = core_session_at(core, slot);

	if (!session)
		return false;
	*ret = (struct session_view){
		.session = slot,
		.pid = session->request.pid,
		.spaces = session->n_members,
		.owner = session->request.credentials,
		.serial = session->serial,
		.birth = session->request.birth,
		.image = session->request.image,
		.used = session->used,
		.peak = session->peak,
		.allocs = session->allocs,
		.frees = session->frees,
		.failed = session->failed,
		.pinned = session->pinned,
	};
	return true;
}

bool core_member_view(const struct core *core, uint32_t session, uint32_t space,
		      uint64_t *ret_used)
{
	struct core_fault fault;
	const struct member *member = core_member_at(core, session, space, &fault);

	if (!member)
		return false;
	*ret_used = member->budget.used;
	return true;
}

uint32_t core_member_next(const struct core *core, uint32_t session_slot, uint32_t space)
{
	const struct session *session = core_session_at(core, session_slot);
	uint32_t next = UINT32_MAX;

	if (!session)
		return next;
	for (const struct link *at = session->members.next; at != &session->members;
	     at = at->next) {
		const struct member *member = list_entry(at, struct member, in_session);

		if (!member->closing && member->space->slot >= space &&
		    member->space->slot < next)
			next = member->space->slot;
	}
	return next;
}

bool core_window_view(const struct core *core, uint32_t slot, struct window_view *ret)
{
	const struct window *window;

	if (slot >= core->slots[RECORD_WINDOW].total || !core->windows[slot])
		return false;
	window = core->windows[slot];
	*ret = (struct window_view){
		.space = window->place.space,
		.number = window->place.number,
		.info = window->place.info,
		.committed = units_bytes(window->space->rung, window_committed(window)),
	};
	return true;
}

uint32_t core_window_next(const struct core *core, uint32_t slot)
{
	const struct slots *slots = &core->slots[RECORD_WINDOW];

	for (slot = slots_next(slots, slot); slot != SLOT_NONE;
	     slot = slots_next(slots, slot + 1))
		if (core->windows[slot] && !core->windows[slot]->pending)
			return slot;
	return UINT32_MAX;
}

bool core_stretch(const struct core *core, uint32_t slot, uint32_t first,
		  struct slice_stretch *ret)
{
	const struct window *window = core->windows[slot];
	const struct extent *extent;
	uint32_t word;

	if (first >= window->slices)
		return false;
	word = window->words[first];
	*ret = (struct slice_stretch){.first = first, .count = 1};
	if (slice_state(word) == SLICE_FREE)
		ret->count = slice_value(word);
	if (slice_state(word) != SLICE_USED)
		return true;
	while (first + ret->count < window->slices && window->words[first + ret->count] == word)
		++ret->count;
	extent = &core->extents[slice_value(word)];
	ret->other = extent_slice_word(extent, false);
	ret->head = extent_slice_word(extent, first == extent->first);
	return true;
}

bool core_units_committed(const struct core *core, uint32_t slot, uint32_t *first,
			  uint32_t *ret_count)
{
	const struct window *window = core->windows[slot];
	uint32_t from = *first, end;

	while (from < window->units && !group_unit(window->groups[from / 64].committed, from))
		++from;
	for (end = from;
	     end < window->units && group_unit(window->groups[end / 64].committed, end);)
		++end;
	*first = from;
	*ret_count = end - from;
	return end > from;
}

uint32_t core_space_next(const struct core *core, uint32_t slot)
{
	const struct slots *slots = &core->slots[RECORD_SPACE];

	for (slot = slots_next(slots, slot); slot != SLOT_NONE;
	     slot = slots_next(slots, slot + 1))
		if (core_space_at(core, slot))
			return slot;
	return UINT32_MAX;
}

uint32_t core_session_next(const struct core *core, uint32_t slot)
{
	const struct slots *slots = &core->slots[RECORD_SESSION];

	for (slot = slots_next(slots, slot); slot != SLOT_NONE;
	     slot = slots_next(slots, slot + 1))
		if (core_session_at(core, slot))
			return slot;
	return UINT32_MAX;
}

bool core_session_has(const struct core *core, uint32_t session, uint32_t space)
{
	struct core_fault fault;

	return core_member_at(core, session, space, &fault);
}
