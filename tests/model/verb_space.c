#include "tests/model/naive.h"

uint32_t some_session(void)
{
	uint32_t from = below(SESSIONS);

	for (uint32_t i = 0; i < SESSIONS; ++i)
		if (m.sessions[(from + i) % SESSIONS + 1])
			return (from + i) % SESSIONS + 1;
	return 0;
}

bool some_member(uint32_t *session, uint32_t *space)
{
	for (uint32_t i = 0; i < 20; ++i) {
		*session = some_session();
		*space = 1 + below(SPACES);
		if (*session && m.spaces[*space].there && m.spaces[*space].member[*session])
			return true;
	}
	return false;
}

void verb_session_open(void)
{
	struct session_request request = {
		.credentials = {below(4), 100}, .pid = 1 + below(99999), .birth = next()};
	bool may = naive_may(request.credentials.uid, QUOTA_SESSIONS);
	struct core_fault fault;
	uint32_t slot;
	int r = core_session_open(m.core, &request, &slot, &fault);

	if (!may) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault.which, "limits.sessions"));
		++m.counts[N_LIMIT];
		return;
	}
	MUST(!r && slot && slot <= SESSIONS && !m.sessions[slot]);
	m.sessions[slot] = true;
	m.uids[slot] = request.credentials.uid;
	m.pids[slot] = request.pid;
}

static void caches_go(uint32_t space)
{
	for (uint32_t i = 1; i <= CACHES; ++i)
		m.caches[i].there &= m.caches[i].space != space;
}

/* What a member's leaving does to the naive heap. */
static void naive_leave(uint32_t session, uint32_t space, bool died)
{
	struct naive_space *s = &m.spaces[space];
	uint32_t members = 0;
	bool last;

	holder_dies(session, space, died);
	for (uint32_t i = 1; i <= CACHES; ++i)
		if (m.caches[i].there && m.caches[i].space == space)
			cache_leave(i, session);
	s->member[session] = false;
	for (uint32_t i = 1; i <= SESSIONS; ++i)
		members += s->member[i];
	last = s->removed && !members;
	for (uint32_t i = 0; i < EXTENTS; ++i) {
		struct naive_extent *e = &m.extents[i];

		if (!e->there || e->space != space)
			continue;
		if (last || (e->session == session && e->kind == EXTENT_PRIVATE)) {
			extent_gone(e);
		} else if (e->session == session) {
			e->session = 0;
			s->owed |= e->kind == EXTENT_BLOCKS || e->worded;
			++m.counts[N_ADOPTED];
		}
	}
	if (last) {
		s->idle_low = UINT32_MAX; /* going */
		memset(s->channels, 0, sizeof(s->channels));
		caches_go(space);
	}
}

static bool busy_for(uint32_t session, uint32_t space)
{
	const struct naive_space *s = &m.spaces[space];
	uint32_t members = 0;

	for (uint32_t i = 0; i < PLANS; ++i)
		if (m.plans[i].plan && m.plans[i].session == session &&
		    m.plans[i].plan->space == space)
			return true;
	for (uint32_t i = 1; i <= SESSIONS; ++i)
		members += s->member[i];
	return s->removed && members == 1 && space_has_plans(space);
}

void verb_session_end(void)
{
	uint32_t session = some_session();
	struct plan *plan = NULL;
	bool busy = false;
	int r;

	if (!session || plans_out() == PLANS)
		return;
	for (uint32_t i = 1; i <= SPACES; ++i)
		if (m.spaces[i].there && m.spaces[i].member[session])
			busy |= busy_for(session, i);
	r = core_session_end(m.core, session, &plan);
	while (r == CORE_MORE)
		r = core_session_end(m.core, session, &plan);
	MUST((r == CORE_E_BUSY) == busy);
	while (r == CORE_E_BUSY) {
		MUST(plan_finish_one());
		do
			r = core_session_end(m.core, session, &plan);
		while (r == CORE_MORE);
	}
	MUST(!r);
	for (uint32_t i = 1; i <= SPACES; ++i)
		if (m.spaces[i].there && m.spaces[i].member[session])
			naive_leave(session, i, true);
	m.sessions[session] = false;
	naive_results_end(session);
	if (plan)
		plan_take(plan, 0, 0, false);
}

/* Each call has to be told who asks. */
static int close_for(struct naive_asked *asked, uint32_t session, uint32_t space,
		     struct plan **plan)
{
	int r;

	do {
		*asked = naive_ask(session);
		r = core_space_close(m.core, session, space, plan);
	} while (r == CORE_MORE);
	return r;
}

void verb_space_close(void)
{
	struct naive_asked asked;
	uint32_t session, space;
	struct plan *plan = NULL;
	bool busy;
	int r;

	if (plans_out() == PLANS || !some_member(&session, &space))
		return;
	busy = busy_for(session, space);
	r = close_for(&asked, session, space, &plan);
	MUST((r == CORE_E_BUSY) == busy);
	while (r == CORE_E_BUSY) {
		MUST(plan_finish_one());
		r = close_for(&asked, session, space, &plan);
	}
	MUST(!r);
	naive_answered(asked, 0, 0);
	naive_leave(session, space, false);
	if (plan)
		plan_take(plan, 0, 0, false);
}

void verb_space_create(void)
{
	char name[8];
	struct space_request request = {
		.name = name,
		.owner = {below(4), 100},
		.limit = one_in(4) ? 0 : (1 + below(24)) * MIB,
		.reserve = one_in(3) ? below(8) * MIB : 0,
		.client_limit = one_in(3) ? (1 + below(12)) * MIB : 0,
		.weight = one_in(2) ? 1 + below(1000) : 0,
		.mode = one_in(2) ? 0666 : 0640,
		.placement = placement_at(below(PLACEMENTS))->name,
		.numa = one_in(2) ? some_numa() : (struct numa){},
	};
	uint64_t nodes = numa_reach(request.numa), there = 0;
	uint64_t own, limit = request.limit;
	struct core_fault fault;
	struct space_view view;
	struct plan *plan;
	uint32_t slot, page;
	bool exists = false, full = !naive_may(request.owner.uid, QUOTA_SPACES);
	int r;

	if (plans_out() == PLANS)
		return;
	snprintf(name, sizeof(name), "s%u", below(10));
	own = share_left(request.owner.uid, 0, 0);
	for (uint32_t i = 1; i <= SPACES; ++i) {
		exists |= m.spaces[i].there && !strcmp(m.spaces[i].name, name);
	}
	if (!limit)
		for (limit = 2 * MIB; limit * 2 <= own / 4;)
			limit *= 2;
	page = page_for(limit);
	for (uint32_t i = 0; i < m.config.n_nodes; ++i)
		there += nodes >> i & 1 ? rung_has(page, i) : 0;
	while (!request.limit && there && limit > there)
		limit /= 2;
	own = share_left(request.owner.uid, 0, page);
	limit = (limit + 2 * MIB - 1) / (2 * MIB) * 2 * MIB;
	r = core_space_create(m.core, &request, &slot, &plan, &fault);
	if (!nodes) {
		MUST(r == CORE_E_INVALID && !strcmp(fault.which, "nodes"));
		return;
	}
	if (exists) {
		MUST(r == CORE_E_EXISTS || (r == CORE_E_BUSY && plans_out()));
		return;
	}
	if (full) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault.which, "limits.spaces"));
		++m.counts[N_LIMIT];
		return;
	}
	if (limit > own) {
		MUST(r == CORE_E_BUDGET && fault.remaining == own && fault.requested == limit);
		return;
	}
	if (limit > there) {
		MUST(r == CORE_E_BUDGET && !strcmp(fault.which, "nodes"));
		MUST(fault.remaining == there);
		return;
	}
	if (request.reserve > limit) {
		MUST(r == CORE_E_INVALID && !strcmp(fault.which, "reserve"));
		return;
	}
	if (r == CORE_E_MEMORY || r == CORE_E_BUSY || r == CORE_E_LIMIT) {
		uint32_t rest = (uint32_t)((request.reserve + 2 * MIB - 1) / (2 * MIB));

		MUST(request.reserve);
		MUST(r != CORE_E_BUSY || plans_out());
		MUST(r == CORE_E_LIMIT || m.config.n_nodes > 1 || rest > node_room(page, 0));
		return;
	}
	MUST(!r && slot && slot <= SPACES && !m.spaces[slot].there);
	MUST(core_space_view(m.core, slot, &view));
	MUST(view.limit == limit && view.page_shift == page);
	m.spaces[slot] = (struct naive_space){
		.there = true,
		.pending = true,
		.page = page,
		.uid = request.owner.uid,
		.gid = 100,
		.mode = view.mode,
		.weight = view.weight,
		.limit = view.limit,
		.reserve = view.reserve,
		.client_limit = view.client_limit,
		.numa = request.numa,
	};
	strcpy(m.spaces[slot].name, name);
	plan_take(plan, 0, 0, true);
	MUST(units_of(slot, NODES, COMMITTING, false) * 2 * MIB == view.reserve);
}

void verb_space_open(void)
{
	uint32_t session = some_session(), space = 1 + below(SPACES), slot;
	struct naive_space *s = &m.spaces[space];
	bool read_only = one_in(5), may;
	struct naive_asked asked;
	struct core_fault fault;
	uint32_t rights = s->mode;
	int r;

	if (!session || !s->there)
		return;
	may = naive_may(m.uids[session], QUOTA_OPENS);
	if (!m.uids[session])
		rights = 7;
	else if (m.uids[session] == s->uid)
		rights >>= 6;
	else if (s->gid == 100)
		rights >>= 3;
	asked = naive_ask(session);
	r = core_space_open(m.core, session, s->name, read_only, NULL, 0, &slot, &fault);
	if (s->pending) {
		MUST(r == CORE_E_BUSY);
	} else if (s->removed || s->idle_low == UINT32_MAX) {
		MUST(r == CORE_E_NOT_FOUND);
	} else if (!(rights & 4)) {
		MUST(r == CORE_E_PERMISSION && !strcmp(fault.which, "read"));
	} else if (!read_only && !(rights & 2)) {
		MUST(r == CORE_E_PERMISSION && !strcmp(fault.which, "write"));
	} else if (s->member[session]) {
		MUST(r == CORE_E_EXISTS);
	} else if (!may) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault.which, "limits.opens"));
		++m.counts[N_LIMIT];
	} else {
		MUST(!r && slot == space);
		naive_answered(asked, space, 0);
		s->member[session] = true;
		s->read_only[session] = read_only;
		s->barred[session] = false;
		s->way[session] = !m.uids[session]            ? NAIVE_ROOT
				  : m.uids[session] == s->uid ? NAIVE_OWNER
				  : s->gid == 100             ? NAIVE_GROUP
							      : NAIVE_OTHER;
	}
}

void verb_space_remove(void)
{
	uint32_t space = 1 + below(SPACES), members = 0;
	struct naive_space *s = &m.spaces[space];
	struct credentials who = {one_in(4) ? 3 : s->uid, 100};
	struct core_fault fault;
	struct plan *plan = NULL;
	bool force = one_in(2), plans = space_has_plans(space);
	int r;

	if (!s->there || plans_out() == PLANS)
		return;
	for (uint32_t i = 1; i <= SESSIONS; ++i)
		members += s->member[i];
	do
		r = core_space_remove(m.core, who, s->name, force, &plan, &fault);
	while (r == CORE_MORE);
	if (s->idle_low == UINT32_MAX) {
		MUST(r == CORE_E_NOT_FOUND);
	} else if (who.uid && who.uid != s->uid) {
		MUST(r == CORE_E_PERMISSION);
	} else if (s->pending || (!members && plans)) {
		MUST(r == CORE_E_BUSY);
	} else if (members && !force) {
		MUST(r == CORE_E_IN_USE && fault.available == members);
	} else if (members) {
		MUST(!r && !plan);
		s->removed = true;
	} else {
		MUST(!r && plan);
		s->removed = true;
		s->idle_low = UINT32_MAX;
		for (uint32_t i = 0; i < EXTENTS; ++i)
			if (m.extents[i].there && m.extents[i].space == space)
				extent_gone(&m.extents[i]);
		memset(s->channels, 0, sizeof(s->channels));
		caches_go(space);
		plan_take(plan, 0, 0, false);
	}
}
