#include "tests/model/naive.h"

void apply_changes(void)
{
	uint32_t n;
	const struct change *changes = core_changes(m.core, &n);

	for (; m.applied < n; ++m.applied) {
		const struct change *c = &changes[m.applied];
		struct naive_window *w = &m.windows[c->window];
		struct slice_info info = slice_word_unpack(c->word);

		MUST(c->window < WINDOWS);
		if (c->kind == CHANGE_ID) {
			MUST(c->first && c->first < IDS_MAX);
			m.spaces[c->space].words[c->first] = c->word;
			continue;
		}
		if (c->kind == CHANGE_WINDOW) {
			w->root = c->word;
			continue;
		}
		if (!w->there)
			continue; /* its window went in the same step */
		MUST(c->first + c->count <= w->slices);
		for (uint32_t i = 0; i < c->count; ++i) {
			if (i && c->word) {
				info.head = false;
				info.count = 0;
			}
			w->words[c->first + i] = c->word ? slice_word_pack(info) : 0;
		}
	}
	if (one_in(3)) {
		core_changes_clear(m.core);
		m.applied = 0;
	}
}

void plan_take(struct plan *plan, uint32_t session, uint32_t extent, bool creates)
{
	uint32_t slot = 0;

	while (m.plans[slot].plan)
		++slot;
	MUST(slot < PLANS);
	m.plans[slot] = (struct naive_plan){
		.plan = plan, .session = session, .extent = extent, .creates = creates};
	for (uint32_t i = 0; i < plan->n_effects; ++i) {
		const struct effect *e = &plan->effects[i];
		struct naive_window *w = &m.windows[e->window];
		struct window_view view;

		switch (e->kind) {
		case EFFECT_ROOT_CREATE:
		case EFFECT_ROOT_DESTROY:
		case EFFECT_WINDOW_DESTROY:
			break;
		case EFFECT_WINDOW_CREATE:
			MUST(!w->there);
			MUST(core_window_view(m.core, e->window, &view));
			MUST(view.space == e->space);
			memset(w, 0, sizeof(*w));
			w->there = w->pending = true;
			w->space = e->space;
			w->number = view.number;
			w->node = view.info.node;
			w->slices = (uint32_t)1 << (view.info.size_shift - SLICE_SHIFT);
			MUST(w->slices <= SLICES_MAX && w->node < m.config.n_nodes);
			for (uint32_t j = 0; j < WINDOWS; ++j)
				MUST(&m.windows[j] == w || !m.windows[j].there ||
				     m.windows[j].space != w->space ||
				     m.windows[j].number != w->number);
			break;
		case EFFECT_COMMIT:
			MUST(w->there && e->count);
			for (uint32_t u = e->first; u < e->first + e->count; ++u) {
				MUST(u < w->slices / PER && w->units[u] == ABSENT);
				w->units[u] = COMMITTING;
			}
			break;
		case EFFECT_PUNCH:
			MUST(w->there && !w->pending && e->count);
			++m.counts[N_PUNCHED];
			for (uint32_t u = e->first; u < e->first + e->count; ++u) {
				MUST(u < w->slices / PER && w->units[u] == COMMITTED);
				MUST(unit_empty(w, u));
				w->units[u] = PUNCHING;
			}
			break;
		case EFFECT_SCRUB:
			MUST(w->there && !w->pending && e->count);
			for (uint32_t u = e->first; u < e->first + e->count; ++u) {
				MUST(u < w->slices / PER && w->units[u] == ABSENT);
				MUST(unit_empty(w, u));
				w->units[u] = SCRUBBING;
			}
			break;
		case EFFECT_ZERO: /* see channel_made() */
			MUST(w->there && e->count == 1 && e->first < w->slices);
			break;
		}
	}
}

/* Effect by effect: the pages that are out never exceed the node. */
static void effect_done(const struct effect *e, bool commit)
{
	struct naive_window *w = &m.windows[e->window];
	uint32_t page = m.spaces[e->space].page;
	uint64_t *real = m.real[page != m.config.page_shift];

	switch (e->kind) {
	case EFFECT_ROOT_CREATE:
	case EFFECT_ZERO:
		break;
	case EFFECT_ROOT_DESTROY:
		m.spaces[e->space] = (struct naive_space){0};
		++m.counts[N_GONE];
		break;
	case EFFECT_WINDOW_CREATE:
		if (commit)
			w->pending = false;
		else
			w->there = false;
		break;
	case EFFECT_WINDOW_DESTROY:
		for (uint32_t u = 0; u < w->slices / PER; ++u)
			real[w->node] -= w->units[u] == COMMITTED;
		w->there = false;
		break;
	case EFFECT_COMMIT:
		for (uint32_t u = e->first; u < e->first + e->count; ++u)
			w->units[u] = commit ? COMMITTED : ABSENT;
		if (commit)
			real[w->node] += e->count;
		MUST(real[w->node] <= rung_has(page, w->node) / (2 * MIB));
		break;
	case EFFECT_PUNCH:
		for (uint32_t u = e->first; u < e->first + e->count; ++u)
			w->units[u] = ABSENT;
		real[w->node] -= e->count;
		break;
	case EFFECT_SCRUB:
		for (uint32_t u = e->first; u < e->first + e->count; ++u)
			w->units[u] = ABSENT;
		break;
	}
}

void extent_gone(struct naive_extent *e)
{
	struct naive_window *w = &m.windows[e->window];

	for (uint32_t i = 0; w->there && i < e->count; ++i)
		if (w->owner[e->first + i] == e - m.extents + 1)
			w->owner[e->first + i] = 0;
	e->there = false;
}

static void plan_finish(uint32_t slot)
{
	struct naive_plan p = m.plans[slot];
	bool end = p.plan->effects[0].kind == EFFECT_WINDOW_DESTROY ||
		   p.plan->effects[0].kind == EFFECT_ROOT_DESTROY;
	bool commit = !one_in(4);

	m.plans[slot].plan = NULL;
	if (commit || end) {
		for (uint32_t i = 0; i < p.plan->n_effects; ++i)
			effect_done(&p.plan->effects[i], true);
		if (p.extent) {
			m.extents[p.extent - 1].pending = false;
			m.extents[p.extent - 1].stored = step;
		}
		channel_ends(&p, true);
		naive_answered(p.result.asked, p.result.answer[0], p.result.answer[1]);
		if (p.creates)
			m.spaces[p.plan->space].pending = false;
		if (p.changes)
			terms_become(&m.spaces[p.plan->space]);
	} else {
		++m.counts[N_ABORTED];
		channel_ends(&p, false);
		if (p.extent)
			extent_gone(&m.extents[p.extent - 1]);
		for (uint32_t i = p.plan->n_effects; i--;)
			effect_done(&p.plan->effects[i], false);
		if (p.creates)
			m.spaces[p.plan->space].there = false;
		m.spaces[p.plan->space].changing &= !p.changes;
	}
	/* The space's end is the same either way. */
	if (commit)
		plan_commit(m.core, p.plan);
	else
		plan_abort(m.core, p.plan);
}

bool plan_finish_one(void)
{
	uint32_t from = below(PLANS);

	for (uint32_t i = 0; i < PLANS; ++i) {
		if (m.plans[(from + i) % PLANS].plan) {
			plan_finish((from + i) % PLANS);
			return true;
		}
	}
	return sweep_finish_one();
}
