#include "daemon/core/plan.h"

#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "daemon/core/state.h"

#define plan_of(pub) container_of(pub, struct core_plan, plan)

int plan_new(struct core_plan **ret, struct space *space, struct member *member)
{
	struct core_plan *plan = calloc(1, sizeof(*plan));

	if (!plan)
		return -ENOMEM;
	plan->plan.space = space->slot;
	plan->member = member;
	plan->extent = SLOT_NONE;
	*ret = plan;
	return 0;
}

struct core_plan *plan_free(struct core_plan *plan)
{
	if (plan)
		free(plan->plan.effects);
	free(plan);
	return NULL;
}

void plan_freep(struct core_plan **plan)
{
	plan_free(*plan);
}

static int plan_grow(struct core_plan *plan, uint32_t n)
{
	uint64_t wanted = (uint64_t)plan->plan.n_effects + n;
	struct effect *effects;

	if (wanted <= plan->capacity)
		return 0;
	wanted = wanted + wanted / 2 + 4;
	effects = realloc(plan->plan.effects, wanted * sizeof(*effects));
	if (!effects)
		return -ENOMEM;
	plan->plan.effects = effects;
	plan->capacity = (uint32_t)wanted;
	return 0;
}

int plan_add(struct core_plan *plan, enum effect_kind kind, uint32_t space, uint32_t window,
	     uint32_t first, uint32_t count)
{
	int r = plan_grow(plan, 1);

	if (r)
		return r;
	plan->plan.effects[plan->plan.n_effects++] = (struct effect){
		.kind = kind, .space = space, .window = window, .first = first, .count = count};
	return 0;
}

static uint32_t rung_index(const struct core *core, const struct space *space)
{
	return (uint32_t)(space->rung - core->rungs);
}

/* Units of this space that the plan would punch already. */
static uint32_t planned(const struct core_plan *plan, const struct space *space)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < plan->plan.n_effects; ++i)
		if (plan->plan.effects[i].kind == EFFECT_PUNCH &&
		    plan->plan.effects[i].space == space->slot)
			n += plan->plan.effects[i].count;
	return n;
}

static int punch_add(struct core_plan *plan, const struct window *window, uint32_t from,
		     uint32_t to, uint32_t *count)
{
	if (from >= to)
		return 0;
	*count -= to - from;
	return plan_add(plan, EFFECT_PUNCH, window->space->slot, window->slot, from, to - from);
}

/* Idle units of windows that are retired, or of those that are not. */
static int punch_windows(struct core_plan *plan, const struct space *space, bool retired,
			 uint32_t node, uint32_t *left, const struct window *avoid,
			 uint32_t first, uint32_t last)
{
	int r = 0;

	for (uint32_t i = space->windows_max; i-- && *left && !r;) {
		const struct window *window = space->windows[i];
		uint32_t below, n;

		if (!window || window->retired != retired ||
		    (node != UINT32_MAX && window->place.info.node != node))
			continue;
		below = window->units;
		while (*left && !r) {
			below = window_idle_run(window, below, *left, &n);
			if (!n)
				break;
			if (window == avoid && below <= last && below + n > first) {
				r = punch_add(plan, window, last + 1, below + n, left);
				if (!r)
					r = punch_add(plan, window, below, first, left);
			} else {
				r = punch_add(plan, window, below, below + n, left);
			}
		}
	}
	return r;
}

int plan_punch(struct core *core, struct core_plan *plan, const struct space *space,
	       uint32_t node, uint32_t count, bool exchange, const struct window *avoid,
	       uint32_t first, uint32_t last, uint32_t *ret_count)
{
	uint32_t spare = space_spare(space), before = planned(plan, space), got, left;
	int r;

	spare -= (uint32_t)u64_min(before, spare);
	/* What is idle in retired windows first: it is of no other use. */
	left = exchange ? count : (uint32_t)u64_min(count, spare);
	got = left;
	r = punch_windows(plan, space, true, node, &left, avoid, first, last);
	if (r)
		return r;
	got -= left;
	spare -= (uint32_t)u64_min(got, spare);
	left = (uint32_t)u64_min(count - got, spare);
	got += left;
	r = punch_windows(plan, space, false, node, &left, avoid, first, last);
	if (r)
		return r;
	*ret_count = got - left;
	return 0;
}

/* Is a further above its weighted share than b? The share goes by weight, so compare per weight. */
static bool above(const struct space *a, const struct space *b)
{
	uint64_t left = (uint64_t)a->units.committed * b->weight;
	uint64_t right = (uint64_t)b->units.committed * a->weight;

	return left > right || (left == right && a->slot < b->slot);
}

int plan_punch_others(struct core *core, struct core_plan *plan, const struct space *but,
		      uint32_t node, uint32_t count, uint32_t *ret_count)
{
	const struct slots *slots = &core->slots[RECORD_SPACE];
	const struct space *previous = NULL;
	uint32_t left = count;

	while (left) {
		const struct space *next = NULL;
		uint32_t got;
		int r;

		for (uint32_t i = slots_next(slots, 1); i != SLOT_NONE;
		     i = slots_next(slots, i + 1)) {
			const struct space *space = core->spaces[i];

			if (!space_gives(space, but) || !space_spare(space) ||
			    (previous && !above(previous, space)))
				continue;
			if (!next || above(space, next))
				next = space;
		}
		if (!next)
			break;
		r = plan_punch(core, plan, next, node, left, false, NULL, 0, 0, &got);
		if (r)
			return r;
		left -= got;
		previous = next;
	}
	*ret_count = count - left;
	return 0;
}

bool plan_pages_fit(const struct core *core, const struct core_plan *plan)
{
	uint32_t needed = 0;

	for (uint32_t i = 0; i < plan->plan.n_effects; ++i) {
		const struct effect *effect = &plan->plan.effects[i];
		const struct window *window = core->windows[effect->window];

		if (effect->kind != EFFECT_COMMIT)
			continue;
		for (uint32_t group = effect->first / 64;
		     group <= (effect->first + effect->count - 1) / 64; ++group)
			needed += window->groups[group].slot == SLOT_NONE;
	}
	return needed <= core->slots[RECORD_PAGES].free;
}

/* Make the pages records of these units say what is committed. */
static void pages_store(struct core *core, const struct window *window,
			const struct effect *effect)
{
	for (uint32_t i = effect->first / 64; i <= (effect->first + effect->count - 1) / 64;
	     ++i) {
		struct unit_group *group = &window->groups[i];
		uint64_t bits = group->committed;

		if (mutant(pages_before_commit))
			bits |= group->committing;
		if (records_valid(core->records, RECORD_PAGES, group->slot))
			record_pages_bits(core->records, group->slot, bits);
		else if (bits)
			record_pages_put(core->records, group->slot, window->slot, i, bits);
		if (!group->committed && !group->committing) {
			slots_put(&core->slots[RECORD_PAGES], group->slot);
			group->slot = SLOT_NONE;
		}
	}
}

/* Every group of these units has a slot: plan_pages_fit() counted them. */
static void pages_claim(struct core *core, const struct window *window,
			const struct effect *effect)
{
	for (uint32_t i = effect->first / 64; i <= (effect->first + effect->count - 1) / 64;
	     ++i)
		if (window->groups[i].slot == SLOT_NONE)
			window->groups[i].slot = slots_take(&core->slots[RECORD_PAGES]);
}

static void plan_link(struct core *core, struct core_plan *plan)
{
	plan->started = true;
	list_append(&core->plans, &plan->link);
	++core->n_plans;
}

void plan_start(struct core *core, struct core_plan *plan)
{
	uint32_t commits[RUNGS_MAX][STATS_NODES_MAX] = {0};
	uint32_t punches[RUNGS_MAX][STATS_NODES_MAX] = {0};

	for (uint32_t i = 0; i < plan->plan.n_effects; ++i) {
		const struct effect *effect = &plan->plan.effects[i];
		struct space *space = core->spaces[effect->space];
		struct window *window = core->windows[effect->window];
		uint32_t node, rung = rung_index(core, space);

		++space->n_plans;
		if (effect->kind == EFFECT_WINDOW_CREATE) {
			if (space->state == SPACE_LIVE)
				record_space_window(core->records, space->slot,
						    space->window_next);
			continue;
		}
		if (effect->kind == EFFECT_ROOT_CREATE || effect->kind == EFFECT_ZERO)
			continue;
		if (effect->kind == EFFECT_SCRUB) {
			if (!mutant(scrub_unheld))
				window_scrub_begin(window, effect->first, effect->count);
			continue;
		}
		node = window->place.info.node;
		if (effect->kind == EFFECT_PUNCH) {
			punches[rung][node] += effect->count;
			space->rung->nodes[node].committed -= effect->count;
			window_punch_begin(window, effect->first, effect->count);
			if (!mutant(pages_after_punch))
				pages_store(core, window, effect);
		} else {
			assert(effect->kind == EFFECT_COMMIT);
			commits[rung][node] += effect->count;
			pages_claim(core, window, effect);
			window_commit_begin(window, effect->first, effect->count);
			if (mutant(pages_before_commit))
				pages_store(core, window, effect);
		}
	}
	for (uint32_t rung = 0; rung < core->n_rungs; ++rung) {
		for (uint32_t node = 0; node < core->config.n_nodes; ++node) {
			plan->held[rung][node] =
				(uint32_t)u64_max(commits[rung][node], punches[rung][node]);
			core->rungs[rung].nodes[node].pending += plan->held[rung][node];
		}
	}
	if (plan->member)
		++plan->member->n_plans;
	plan_link(core, plan);
}

int plan_add_end(struct core_plan *plan, const struct space *space)
{
	int r = plan_grow(plan, space->n_windows + 1);

	if (r)
		return r;
	for (uint32_t i = space->windows_max; i--;) {
		const struct window *window = space->windows[i];

		if (!window)
			continue;
		r = plan_add(plan, EFFECT_WINDOW_DESTROY, space->slot, window->slot, 0,
			     window->units);
		assert(!r);
	}
	return plan_add(plan, EFFECT_ROOT_DESTROY, space->slot, 0, 0, 0);
}

void plan_end_space(struct core *core, struct core_plan *plan, struct space *space)
{
	assert(!space->n_plans && !space->n_members && !space->n_extents);
	for (uint32_t i = 0; i < space->windows_max; ++i) {
		const struct window *window = space->windows[i];

		for (uint32_t j = 0; window && j < window_groups(window); ++j) {
			const struct unit_group *group = &window->groups[j];
			uint32_t node = window->place.info.node;
			uint32_t n = (uint32_t)__builtin_popcountll(group->committed);

			if (group->slot == SLOT_NONE)
				continue;
			record_clear(core->records, RECORD_PAGES, group->slot);
			space->rung->nodes[node].committed -= n;
			space->rung->nodes[node].pending += n;
			plan->held[rung_index(core, space)][node] += n;
		}
	}
	for (uint32_t i = space->windows_max; i--;)
		if (space->windows[i])
			record_clear(core->records, RECORD_WINDOW, space->windows[i]->slot);
	record_clear(core->records, RECORD_SPACE, space->slot);
	space->state = SPACE_GOING;
	--core->n_spaces;
	if (!plan->started)
		plan_link(core, plan);
}

static void space_gone(struct core *core, struct space *space)
{
	uint32_t slot = space->slot;

	for (uint32_t i = 0; i < space->windows_max; ++i) {
		const struct window *window = space->windows[i];

		for (uint32_t j = 0; window && j < window_groups(window); ++j)
			if (window->groups[j].slot != SLOT_NONE)
				slots_put(&core->slots[RECORD_PAGES], window->groups[j].slot);
		if (window && !window->pending)
			changes_forgive(&core->changes,
					window->place.info.state == WINDOW_BORN);
	}
	space_counts_add(&core->gone, &space->counts);
	slots_put(&core->slots[RECORD_SPACE], slot);
	space_free(core, space);
}

static void window_there(struct core *core, struct window *window)
{
	window->pending = false;
	record_window_put(core->records, window->slot, window_recorded_place(window));
	changes_put(&core->changes,
		    &(struct change){.kind = CHANGE_WINDOW,
				     .space = window->place.space,
				     .window = window->slot,
				     .word = window_word_pack(window->place.info)});
}

static void effect_end(struct core *core, struct core_plan *plan, const struct effect *effect,
		       bool done)
{
	struct space *space = core->spaces[effect->space];
	struct window *window = core->windows[effect->window];

	if (space->state != SPACE_GOING)
		--space->n_plans;
	switch (effect->kind) {
	case EFFECT_ROOT_CREATE:
	case EFFECT_ZERO:
	case EFFECT_WINDOW_DESTROY: /* with the root */
		break;
	case EFFECT_ROOT_DESTROY:
		space_gone(core, space);
		break;
	case EFFECT_WINDOW_CREATE:
		if (done) {
			window_there(core, window);
		} else {
			changes_forgive(&core->changes, CHANGES_WINDOW);
			space_window_drop(core, window);
		}
		break;
	case EFFECT_COMMIT:
		window_commit_end(window, effect->first, effect->count, done);
		if (done)
			space->rung->nodes[window->place.info.node].committed += effect->count;
		pages_store(core, window, effect);
		if (plan->reserves)
			window_give(window, effect->first << window->unit_shift,
				    effect->count << window->unit_shift);
		break;
	case EFFECT_PUNCH:
		window_punch_end(window, effect->first, effect->count);
		if (mutant(pages_after_punch))
			pages_store(core, window, effect);
		break;
	case EFFECT_SCRUB:
		if (!mutant(scrub_unheld))
			window_punch_end(window, effect->first, effect->count);
		break;
	}
}

/* Give back what was held beside the extent. */
static void hold_end(struct core *core, const struct core_plan *plan)
{
	const struct extent *extent = &core->extents[plan->extent];
	uint32_t end = extent->first + extent->count,
		 hold_end = plan->hold_first + plan->hold_count;

	if (extent->first > plan->hold_first)
		window_give(extent->window, plan->hold_first, extent->first - plan->hold_first);
	if (hold_end > end)
		window_give(extent->window, end, hold_end - end);
}

static void plan_end(struct core *core, struct core_plan *plan)
{
	for (uint32_t rung = 0; rung < core->n_rungs; ++rung)
		for (uint32_t node = 0; node < core->config.n_nodes; ++node)
			core->rungs[rung].nodes[node].pending -= plan->held[rung][node];
	if (plan->member)
		--plan->member->n_plans;
	list_remove(&plan->link);
	--core->n_plans;
	plan_free(plan);
}

void plan_commit(struct core *core, struct plan *pub)
{
	struct core_plan *plan = plan_of(pub);
	struct space *space = core->spaces[pub->space];

	if (plan->changes && mutant(reserve_before_pages))
		terms_apply(core, space, &space->next);
	for (uint32_t i = 0; i < pub->n_effects; ++i)
		effect_end(core, plan, &pub->effects[i], true);
	if (plan->changes)
		terms_apply(core, space, &space->next);
	if (plan->creates) {
		struct space_record record;

		space->state = SPACE_LIVE;
		++core->n_spaces;
		record = space_record(core, space);
		result_promise(core, &plan->asker,
			       (struct result_promise){
				       .kind = RECORD_SPACE,
				       .slot = space->slot,
				       .word = RECORD_WORD(space_record, state),
				       .value = record.state,
				       .answer = {space->slot, space->hash_seed},
			       });
		record_space_put(core->records, space->slot, &record);
		result_keep(core, &plan->asker);
	}
	if (plan->extent != SLOT_NONE) {
		struct channel *channel = core->extents[plan->extent].channel;

		hold_end(core, plan);
		/* A channel is there with its end: nobody has asked for its extent. */
		extent_store(core, plan->extent, channel ? &(struct asker){0} : &plan->asker);
		if (channel)
			channel_store(core, channel, &plan->asker);
	}
	plan_end(core, plan);
}

/* And the channel that it was to be of. */
static void extent_undo(struct core *core, uint32_t slot)
{
	if (core->extents[slot].channel)
		channel_undo(core, core->extents[slot].channel);
	extent_release(core, slot);
}

void plan_abort(struct core *core, struct plan *pub)
{
	struct core_plan *plan = plan_of(pub);
	struct space *space = core->spaces[pub->space];

	if (pub->effects[0].kind == EFFECT_WINDOW_DESTROY ||
	    pub->effects[0].kind == EFFECT_ROOT_DESTROY) {
		plan_commit(core, pub); /* N4 */
		return;
	}
	if (plan->extent != SLOT_NONE)
		hold_end(core, plan);
	/* Backwards, since a window that was to come goes after its units. */
	for (uint32_t i = pub->n_effects; i--;) {
		const struct effect *effect = &pub->effects[i];
		struct window *window = core->windows[effect->window];

		if (effect->kind == EFFECT_WINDOW_CREATE && plan->extent != SLOT_NONE &&
		    core->extents[plan->extent].window == window) {
			extent_undo(core, plan->extent);
			plan->extent = SLOT_NONE;
		}
		effect_end(core, plan, effect, false);
	}
	if (plan->extent != SLOT_NONE)
		extent_undo(core, plan->extent);
	space->changing &= !plan->changes;
	if (plan->creates) {
		slots_put(&core->slots[RECORD_SPACE], space->slot);
		space_free(core, space);
	}
	plan_end(core, plan);
}
