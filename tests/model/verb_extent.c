#include "tests/model/naive.h"

static uint64_t some_size(void)
{
	switch (below(16)) {
	case 0:
	case 1:
		return 1 + below(5 * MIB);
	case 2:
		return (1 + below(3)) * 2 * MIB;
	case 3:
		return 1 + below(20 * MIB);
	default:
		return 1 + below(MIB);
	}
}

/* A channel's is nobody's, whoever asks for it. */
struct naive_extent *extent_there(uint32_t session, uint32_t space, enum extent_kind kind,
				  const struct extent_info *info, struct plan *plan,
				  uint64_t nodes)
{
	uint32_t id = 0, slot = WINDOWS;
	struct naive_extent *e;
	struct naive_window *w;

	while (m.extents[id].there)
		++id;
	MUST(id < EXTENTS);
	e = &m.extents[id];
	if (plan)
		plan_take(plan, session, id + 1, false);
	for (uint32_t i = 0; i < WINDOWS; ++i)
		if (m.windows[i].there && m.windows[i].space == space &&
		    m.windows[i].number == offset_window(info->offset))
			slot = i;
	MUST(slot < WINDOWS);
	w = &m.windows[slot];
	MUST(nodes >> w->node & 1);
	/* A tag does not come back while it could be taken for another's. */
	MUST(info->tag && info->tag <= TAG_MASK && info->tag != e->tag);
	*e = (struct naive_extent){
		.there = true,
		.pending = plan,
		.space = space,
		.window = slot,
		.first = (uint32_t)(offset_position(info->offset) >> SLICE_SHIFT),
		.count = (uint32_t)(info->size >> SLICE_SHIFT),
		.slices = (uint32_t)(info->size >> SLICE_SHIFT),
		.tag = info->tag,
		.session = kind == EXTENT_CHANNEL ? 0 : session,
		.kind = kind,
		.worded = kind == EXTENT_SHARED && m.spaces[space].id[session],
		.stored = step,
	};
	e->head = e->first;
	e->heads = e->count;
	MUST(e->first + e->count <= w->slices);
	for (uint32_t i = e->first; i < e->first + e->count; ++i) {
		MUST(!w->owner[i]);
		MUST(w->units[i / PER] == COMMITTED ||
		     (plan && w->units[i / PER] == COMMITTING));
		w->owner[i] = (uint16_t)(id + 1);
	}
	for (uint32_t i = 0; i < EXTENTS; ++i)
		MUST(i == id || !m.extents[i].there || m.extents[i].space != space ||
		     m.extents[i].tag != info->tag);
	return e;
}

static void extent_made(uint32_t session, uint32_t space, const struct extent_request *request,
			const struct extent_info *info, struct plan *plan, uint64_t nodes)
{
	const struct naive_extent *e =
		extent_there(session, space, request->kind, info, plan, nodes);
	uint32_t align = request->align ? (uint32_t)(request->align >> SLICE_SHIFT) : 1;

	MUST(info->size >= request->size && info->size - request->size < SLICE_BYTES);
	MUST(!align || e->first % align == 0);
	++m.counts[plan ? N_PLANNED : N_ALLOC];
	m.counts[N_BLOCKS] += e->kind == EXTENT_BLOCKS;
}

void verb_alloc(void)
{
	struct extent_request request = {
		.size = some_size(),
		.kind = one_in(3)   ? EXTENT_SHARED
			: one_in(3) ? EXTENT_BLOCKS
				    : EXTENT_PRIVATE,
		.align = one_in(4) ? SLICE_BYTES << below(7) : 0,
	};
	uint64_t bytes = (request.size + SLICE_BYTES - 1) / SLICE_BYTES * SLICE_BYTES;
	uint32_t session, space;
	uint32_t align = request.align ? (uint32_t)(request.align >> SLICE_SHIFT) : 1;
	const struct naive_space *s;
	struct numa numa = some_numa();
	struct extent_info info;
	struct core_fault fault;
	struct plan *plan;
	struct naive_asked asked;
	uint64_t mine, all, most, nodes;
	bool may;
	int r;

	if (!some_member(&session, &space) || plans_out() == PLANS)
		return;
	s = &m.spaces[space];
	may = naive_may(m.uids[session], QUOTA_LEASES);
	request.numa = one_in(3) ? &numa : NULL;
	request.caller = below(NODES + 2);
	nodes = numa_reach(request.numa ? numa : s->numa);
	mine = used_by(space, session, false);
	most = extent_max(space, nodes);
	all = used_by(space, 0, true);
	asked = naive_ask(session);
	r = core_extent_alloc(m.core, session, space, &request, &info, &plan, &fault);
	if (s->read_only[session] || s->barred[session]) {
		MUST(r == CORE_E_PERMISSION);
	} else if (!nodes) {
		MUST(r == CORE_E_INVALID && !strcmp(fault.which, "nodes"));
	} else if (bytes > most) {
		MUST(r == CORE_E_TOO_LARGE && fault.max == most);
		++m.counts[N_LARGE];
	} else if (mine + bytes > s->client_limit) {
		MUST(r == CORE_E_BUDGET && !strcmp(fault.which, "client"));
		MUST(fault.remaining == (s->client_limit > mine ? s->client_limit - mine : 0) &&
		     fault.requested == bytes);
		++m.counts[N_BUDGET];
	} else if (all + bytes > s->limit) {
		MUST(r == CORE_E_BUDGET && !strcmp(fault.which, "space"));
		MUST(fault.remaining == (s->limit > all ? s->limit - all : 0));
		++m.counts[N_BUDGET];
	} else if (!may && used_by(0, 0, true) + bytes <= core_view(m.core).capacity) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault.which, "limits.leases"));
		++m.counts[N_LIMIT];
	} else if (r == CORE_E_BUSY) {
		MUST(plans_out() || sweeps_out());
		++m.counts[N_BUSY];
	} else if (r == CORE_E_LIMIT) {
		MUST(!naive_may(s->uid, QUOTA_WINDOWS) &&
		     !strcmp(fault.which, "limits.windows"));
		++m.counts[N_LIMIT];
	} else if (r == CORE_E_MEMORY) {
		MUST(!feasible(space, (uint32_t)(bytes >> SLICE_SHIFT), align, nodes));
		MUST(fault.nodes == nodes);
		/* What a plan of its own holds is waited for, but for the region's budget. */
		MUST(!space_has_plans(space) ||
		     used_by(0, 0, true) + bytes > core_view(m.core).capacity);
		MUST(fault.requested == bytes);
		MUST(align > 1 || fault.largest < bytes || m.config.n_nodes > 1);
		++m.counts[N_MEMORY];
	} else {
		MUST(!r);
		uint64_t place = info.offset | (uint64_t)info.tag << OFFSET_BITS;

		extent_made(session, space, &request, &info, plan, nodes);
		if (plan)
			naive_planned(asked, plan, place, bytes);
		else
			naive_answered(asked, place, bytes);
	}
}

static bool may_go(const struct naive_extent *e)
{
	return e->there && !e->pending && e->kind != EXTENT_CHANNEL && !e->cache;
}

void verb_free(void)
{
	uint32_t id = below(EXTENTS);
	struct naive_extent *e;
	struct core_fault fault;
	struct naive_asked asked;
	uint32_t session;
	uint64_t offset;
	int r;

	for (uint32_t i = 0; i < EXTENTS && !may_go(&m.extents[id]); ++i)
		id = (id + 1) % EXTENTS;
	e = &m.extents[id];
	if (!may_go(e))
		return;
	session = e->session ? e->session : some_session();
	if (!session || !m.spaces[e->space].member[session] ||
	    m.spaces[e->space].read_only[session])
		return;
	offset = offset_make(m.windows[e->window].number, (uint64_t)e->first << SLICE_SHIFT);
	asked = naive_ask(session);
	r = core_extent_free(m.core, session, e->space, offset, e->tag, &fault);
	MUST(!r);
	naive_answered(asked, 0, 0);
	extent_gone(e);
	++m.counts[N_FREE];
}

/* Any offset and tag near the truth; what comes of it is worked out from the byte map. */
void verb_free_wrong(void)
{
	uint32_t session, space, tag, id = below(EXTENTS);
	const struct naive_extent *e = &m.extents[id], *at = NULL;
	const struct naive_window *w = NULL;
	const char *wrong = NULL;
	struct extent_place place = {0};
	struct naive_asked asked;
	struct core_fault fault;
	uint64_t offset, position;
	int r;

	if (!some_member(&session, &space))
		return;
	offset = offset_make(m.windows[e->window].number, (uint64_t)e->first << SLICE_SHIFT);
	tag = e->tag;
	switch (below(6)) {
	case 0:
		offset += below(3 * SLICE_BYTES);
		break;
	case 1:
		tag = (tag + below(5)) & TAG_MASK;
		break;
	case 2:
		offset = next() >> below(40);
		break;
	case 3:
		tag = (uint32_t)next();
		break;
	default:
		break;
	}
	position = offset_position(offset);
	for (uint32_t i = 0; i < WINDOWS; ++i)
		if (m.windows[i].there && m.windows[i].space == space &&
		    m.windows[i].number == offset_window(offset))
			w = &m.windows[i];
	if (offset >> OFFSET_BITS || !w || position >> SLICE_SHIFT >= w->slices) {
		wrong = "foreign";
	} else {
		uint16_t owner = w->owner[position >> SLICE_SHIFT];

		at = owner ? &m.extents[owner - 1] : NULL;
		if (!at || at->pending)
			wrong = "freed";
		else if (at->tag != tag)
			wrong = "stale";
		else if (position != (uint64_t)at->first << SLICE_SHIFT)
			wrong = "interior";
		else if (at->kind == EXTENT_PRIVATE && at->session != session)
			wrong = "not-owner";
		else if (at->kind == EXTENT_CHANNEL || at->cache)
			wrong = "not-owner";
		else if (at->kind == EXTENT_BLOCKS && at->session && at->session != session)
			wrong = "not-owner";
	}
	MUST(core_extent_at(m.core, space, offset, &place) == (at && !at->pending));
	MUST(!at || at->pending ||
	     (place.kind == at->kind && place.session == at->session &&
	      place.window == at->window && place.first == at->first &&
	      place.count == at->count && place.tag == at->tag));
	asked = naive_ask(session);
	r = core_extent_free(m.core, session, space, offset, tag, &fault);
	if (!r)
		naive_answered(asked, 0, 0);
	if (wrong) {
		MUST(r == CORE_E_REFERENCE && !strcmp(fault.which, wrong));
		++m.counts[N_REFUSED];
	} else if (m.spaces[space].read_only[session]) {
		MUST(r == CORE_E_PERMISSION);
	} else {
		MUST(!r);
		extent_gone(&m.extents[at - m.extents]);
	}
}

void verb_window_open(void)
{
	uint32_t session, space, number = below(4), slot = WINDOWS, window;
	struct core_fault fault;
	bool read_only;
	int r;

	if (!some_member(&session, &space))
		return;
	for (uint32_t i = 0; i < WINDOWS; ++i)
		if (m.windows[i].there && m.windows[i].space == space &&
		    m.windows[i].number == number)
			slot = i;
	r = core_window_open(m.core, session, space, number, &window, &read_only, &fault);
	if (m.spaces[space].barred[session]) {
		MUST(r == CORE_E_PERMISSION && !strcmp(fault.which, "revoked"));
		++m.counts[N_BARRED];
	} else if (slot == WINDOWS) {
		MUST(r == CORE_E_NOT_FOUND);
	} else if (m.windows[slot].pending) {
		MUST(r == CORE_E_BUSY);
	} else {
		MUST(!r && window == slot && read_only == m.spaces[space].read_only[session]);
		m.windows[slot].granted = true;
	}
}

void verb_trim(void)
{
	uint32_t space = 1 + below(SPACES), units = 1 + below(6), expected, got = 0;
	struct naive_space *s = &m.spaces[space];
	struct plan *plan = NULL;
	int r;

	if (plans_out() == PLANS)
		return;
	r = core_trim(m.core, space, units, &plan);
	if (!s->there || s->pending || s->idle_low == UINT32_MAX) {
		MUST(r == CORE_E_NOT_FOUND);
		return;
	}
	MUST(!r);
	expected = spare_of(space);
	expected = expected < units ? expected : units;
	expected = expected < s->idle_low ? expected : s->idle_low;
	for (uint32_t i = 0; plan && i < plan->n_effects; ++i)
		got += plan->effects[i].count;
	MUST(got == expected);
	if (plan) {
		plan_take(plan, 0, 0, false);
		++m.counts[N_TRIMMED];
	}
	s->idle_low = units_of(space, NODES, COMMITTED, true);
}

/* All that is absent, and nothing else. */
void verb_scrub(void)
{
	uint32_t slot = below(WINDOWS + 1), absent = 0, got = 0;
	const struct naive_window *w = &m.windows[slot % WINDOWS];
	struct plan *plan = NULL;
	bool moves = false;
	int r;

	if (plans_out() == PLANS)
		return;
	r = core_scrub(m.core, slot, &plan);
	if (slot == WINDOWS || !w->there || w->pending ||
	    m.spaces[w->space].idle_low == UINT32_MAX) {
		MUST(r == CORE_E_NOT_FOUND);
		return;
	}
	for (uint32_t u = 0; u < w->slices / PER; ++u) {
		absent += w->units[u] == ABSENT;
		moves |= w->units[u] != ABSENT && w->units[u] != COMMITTED;
	}
	if (moves) {
		MUST(r == CORE_E_BUSY);
		return;
	}
	MUST(!r);
	for (uint32_t i = 0; plan && i < plan->n_effects; ++i) {
		MUST(plan->effects[i].kind == EFFECT_SCRUB && plan->effects[i].window == slot);
		got += plan->effects[i].count;
	}
	MUST(got == absent);
	if (plan) {
		plan_take(plan, 0, 0, false);
		++m.counts[N_SCRUBBED];
	}
}
