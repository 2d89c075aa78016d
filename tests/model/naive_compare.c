#include "tests/model/naive.h"

/* The words of a window, of the live core or of a recovered one, against the byte map. */
static void compare_window(const struct core *core, uint32_t slot, bool recovered)
{
	const struct naive_window *w = &m.windows[slot];
	const struct window *window = core->windows[slot];

	for (uint32_t i = 0; i < w->slices; ++i) {
		uint32_t word = window->words[i];
		const struct naive_extent *e = w->owner[i] ? &m.extents[w->owner[i] - 1] : NULL;

		if (e && !e->pending) {
			const struct extent *extent = &core->extents[slice_value(word)];

			MUST(slice_state(word) == SLICE_USED);
			MUST(extent->first == e->first && extent->count == e->count);
			MUST(extent->tag == e->tag && extent->kind == e->kind);
			MUST(extent->worded == e->worded);
			MUST((extent->cache ? extent->cache->slot : 0) == e->cache);
			MUST(!extent->member == !e->session);
			MUST(!e->session || extent->member->session->slot == e->session);
		} else if (recovered || slice_open(w, i)) {
			MUST(slice_state(word) == SLICE_FREE);
		} else {
			MUST(slice_state(word) == SLICE_HELD);
		}
	}
	for (uint32_t u = 0; u < w->slices / PER; ++u)
		MUST(group_unit(window->groups[u / 64].committed, u) ==
		     (w->units[u] == COMMITTED));
}

static void compare_map(const struct naive_window *w)
{
	for (uint32_t i = 0; i < w->slices; ++i) {
		const struct naive_extent *e = w->owner[i] ? &m.extents[w->owner[i] - 1] : NULL;
		struct slice_info info = {0};

		if (e && !e->pending) {
			info.kind = e->kind;
			info.tag = e->tag;
			info.session = e->kind != EXTENT_SHARED ? e->session : 0;
			info.head = i == e->head;
			info.count = info.head ? e->heads : 0;
		}
		MUST(w->words[i] == (e && !e->pending ? slice_word_pack(info) : 0));
	}
}

void compare(void)
{
	struct core *again;
	const char *wrong;
	uint64_t pending = 0;

	wrong = core_check(m.core);
	if (wrong)
		DIE("%s", wrong);
	memcpy(m.copy, m.records, m.size);
	if (core_recover(&again, &m.config, records_open(m.copy, m.size)))
		DIE("the records do not recover");
	wrong = core_check(again);
	if (wrong)
		DIE("recovered: %s", wrong);
	if (!plans_out()) {
		wrong = core_differ(m.core, again);
		if (wrong)
			DIE("the recovered core differs: %s", wrong);
	}
	for (uint32_t i = 0; i < WINDOWS; ++i) {
		const struct naive_window *w = &m.windows[i];
		struct window_view view;
		uint64_t committed = 0;

		MUST(core_window_view(m.core, i, &view) == w->there);
		if (!w->there || m.spaces[w->space].idle_low == UINT32_MAX)
			continue;
		MUST(view.space == w->space && view.number == w->number);
		for (uint32_t u = 0; u < w->slices / PER; ++u)
			committed += w->units[u] == COMMITTED;
		MUST(view.committed == committed * 2 * MIB);
		compare_window(m.core, i, false);
		if (w->pending) {
			MUST(!again->windows[i]);
			continue;
		}
		compare_window(again, i, true);
		compare_map(w);
		MUST(window_word_unpack(w->root).state ==
		     (w->granted ? WINDOW_GRANTED : WINDOW_BORN));
	}
	for (uint32_t i = 1; i <= SPACES; ++i) {
		struct naive_space *s = &m.spaces[i];
		struct space_view view;
		uint64_t units;
		uint32_t idle;

		MUST(core_space_view(m.core, i, &view) == s->there);
		if (!s->there || s->idle_low == UINT32_MAX)
			continue;
		idle = units_of(i, NODES, COMMITTED, true);
		if (idle < s->idle_low)
			s->idle_low = idle;
		MUST(view.used == used_by(i, 0, true) && view.limit == s->limit);
		MUST(view.committed == units_of(i, NODES, COMMITTED, false) * 2 * MIB);
		MUST(view.removed == s->removed);
		MUST(view.reserve == s->reserve && view.client_limit == s->client_limit);
		MUST(view.weight == s->weight && view.mode == s->mode);
		MUST(view.owner.uid == s->uid && view.owner.gid == s->gid);
		/* A limit can be lowered below what there is, but nothing grows beyond it. */
		units = (uint64_t)units_of(i, NODES, COMMITTED, false) +
			units_of(i, NODES, COMMITTING, false);
		MUST(view.used <= s->limit || view.used <= s->last_used);
		MUST(units * 2 * MIB <= s->limit || units <= s->last_units ||
		     (s->changing && units * 2 * MIB <= s->next.limit));
		m.counts[N_LOWERED] += view.used > s->limit;
		s->last_used = view.used;
		s->last_units = units;
	}
	for (uint32_t i = 1; i <= SESSIONS; ++i) {
		struct session_view view;

		MUST(core_session_view(m.core, i, &view) == m.sessions[i]);
		MUST(!m.sessions[i] || view.used == used_by(0, i, false));
	}
	for (uint32_t i = 0; i < m.config.n_nodes; ++i) {
		uint32_t committed = 0;

		for (uint32_t j = 1; j <= SPACES; ++j)
			if (m.spaces[j].there && m.spaces[j].idle_low != UINT32_MAX)
				committed += units_of(j, i, COMMITTED, false);
		MUST(core_node_view(m.core, i).committed == committed * 2 * MIB);
		committed = 0;
		for (uint32_t j = 1; j <= SPACES; ++j)
			if (m.spaces[j].there && m.spaces[j].idle_low != UINT32_MAX &&
			    m.spaces[j].page == m.config.page_shift)
				committed += units_of(j, i, COMMITTED, false);
		MUST(core_rung_view(m.core, m.config.page_shift, i).committed ==
		     committed * 2 * MIB);
	}
	pending = core_view(m.core).pending;
	MUST(plans_out() || !pending);
	MUST(core_view(m.core).used == used_by(0, 0, true));
	compare_ids(again);
	compare_channels(m.core, false);
	compare_channels(again, true);
	compare_results(m.core);
	compare_results(again);
	compare_caches(m.core, false);
	compare_caches(again, true);
	core_free(again);
}
