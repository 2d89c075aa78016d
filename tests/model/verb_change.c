#include "tests/model/naive.h"

static uint64_t up(uint64_t bytes, uint64_t power)
{
	return (bytes + power - 1) / power * power;
}

static uint64_t client_default(uint64_t limit)
{
	return u64_min(up(limit / 8 * 7, SLICE_BYTES), limit);
}

/* The terms that the change asks for, by the rules of core.h. */
static struct space_terms terms_asked(const struct naive_space *s,
				      const struct space_change *change)
{
	bool follows = s->client_limit == client_default(s->limit);
	struct space_terms to = {
		.owner = {s->uid, s->gid},
		.mode = s->mode,
		.weight = s->weight,
		.limit = s->limit,
		.reserve = s->reserve,
		.client_limit = s->client_limit,
	};

	if (change->set & SPACE_SET_UID)
		to.owner.uid = change->to.owner.uid;
	if (change->set & SPACE_SET_GID)
		to.owner.gid = change->to.owner.gid;
	if (change->set & SPACE_SET_MODE)
		to.mode = change->to.mode;
	if (change->set & SPACE_SET_WEIGHT)
		to.weight = change->to.weight;
	if (change->set & SPACE_SET_LIMIT)
		to.limit = up(change->to.limit, 2 * MIB);
	if (change->set & SPACE_SET_RESERVE)
		to.reserve = up(change->to.reserve, 2 * MIB);
	if (change->set & SPACE_SET_CLIENT_LIMIT)
		to.client_limit = up(change->to.client_limit, SLICE_BYTES);
	else if (follows)
		to.client_limit = client_default(to.limit);
	to.client_limit = u64_min(to.client_limit, to.limit);
	return to;
}

static bool permitted(const struct naive_space *s, uint32_t who, const struct space_terms *to)
{
	if (!who)
		return true;
	return who == s->uid && to->owner.uid == s->uid &&
	       (to->owner.gid == s->gid || to->owner.gid == 100 || to->owner.gid == 200);
}

/* Could this uid have the space, as far as quotas go? */
static bool bearable(uint32_t space, uint32_t uid)
{
	uint64_t windows = 0, adopted = 0, caches = 0;

	for (uint32_t i = 0; i < WINDOWS; ++i)
		windows += m.windows[i].there && m.windows[i].space == space;
	for (uint32_t i = 0; i < EXTENTS; ++i)
		adopted += m.extents[i].there && m.extents[i].space == space &&
			   !m.extents[i].session;
	for (uint32_t i = 1; i <= CACHES; ++i)
		caches += m.caches[i].there && m.caches[i].space == space;
	return naive_may_get(uid, QUOTA_SPACES, 1) &&
	       naive_may_get(uid, QUOTA_CACHES, caches) &&
	       naive_may_get(uid, QUOTA_WINDOWS, windows) &&
	       naive_may_get(uid, QUOTA_LEASES, adopted);
}

/* What is newly reserved is under way; or there is no memory for it. */
static void reserve_asked(uint32_t space, const struct space_terms *to, uint32_t rest, int r,
			  struct plan *plan)
{
	struct naive_space *s = &m.spaces[space];
	uint32_t before = units_of(space, NODES, COMMITTING, false);

	if (r == CORE_E_MEMORY || r == CORE_E_BUSY || r == CORE_E_LIMIT) {
		MUST(r != CORE_E_BUSY || plans_out());
		MUST(r != CORE_E_MEMORY || m.config.n_nodes > 1 ||
		     rest > node_room(s->page, 0));
		return;
	}
	MUST(!r && plan);
	s->changing = true;
	s->next = *to;
	plan_take(plan, 0, 0, false);
	for (uint32_t i = 0; i < PLANS; ++i)
		m.plans[i].changes |= m.plans[i].plan == plan;
	MUST(units_of(space, NODES, COMMITTING, false) == before + rest);
	++m.counts[N_RESERVED];
}

void verb_space_change(void)
{
	uint32_t space = 1 + below(SPACES), committed, wanted;
	struct naive_space *s = &m.spaces[space];
	struct space_change change = {
		.set = (one_in(2) ? SPACE_SET_LIMIT : 0) | (one_in(2) ? SPACE_SET_RESERVE : 0) |
		       (one_in(4) ? SPACE_SET_CLIENT_LIMIT : 0) |
		       (one_in(4) ? SPACE_SET_WEIGHT : 0) | (one_in(6) ? SPACE_SET_MODE : 0) |
		       (one_in(6) ? SPACE_SET_UID : 0) | (one_in(8) ? SPACE_SET_GID : 0),
		.to =
			{
				.owner = {below(4), 100 * below(4)},
				.mode = one_in(2) ? 0666 : 0640,
				.weight = 1 + below(1000),
				.limit = (1 + below(32)) * MIB,
				.reserve = below(10) * MIB,
				.client_limit = (1 + below(16)) * MIB,
			},
	};
	const uint32_t groups[] = {7, 200};
	struct credentials who = {one_in(3) ? 0 : one_in(5) ? 3 : s->uid, 100};
	struct core_fault fault = {0};
	struct plan *plan = NULL;
	struct space_terms to;
	uint64_t claim, own, there = 0;
	bool given, may_get;
	int r;

	if (!s->there || plans_out() == PLANS)
		return;
	to = terms_asked(s, &change);
	given = to.owner.uid != s->uid;
	own = s->idle_low == UINT32_MAX ? 0 : share_left(to.owner.uid, space, s->page);
	claim = given && s->idle_low != UINT32_MAX ? u64_max(to.limit, holds_of(space))
						   : to.limit;
	for (uint32_t i = 0; i < m.config.n_nodes; ++i)
		there += numa_reach(s->numa) >> i & 1 ? rung_has(s->page, i) : 0;
	may_get = bearable(space, to.owner.uid);
	committed = units_of(space, NODES, COMMITTED, false);
	for (uint32_t i = 0; i < WINDOWS; ++i)
		if (m.windows[i].there && m.windows[i].space == space && m.windows[i].retired) {
			committed += units_of(space, NODES, COMMITTING, false);
			break;
		}
	wanted = (uint32_t)(to.reserve / (2 * MIB));
	r = core_space_change(m.core, who, groups, ARRAY_SIZE(groups), s->name, &change, &plan,
			      &fault);
	if (s->idle_low == UINT32_MAX || (s->removed && !s->pending)) {
		MUST(r == CORE_E_NOT_FOUND);
	} else if (s->pending) {
		MUST(r == CORE_E_BUSY);
	} else if (!permitted(s, who.uid, &to)) {
		MUST(r == CORE_E_PERMISSION);
	} else if (s->changing) {
		MUST(r == CORE_E_BUSY);
	} else if (claim > own && (given || to.limit > s->limit)) {
		MUST(r == CORE_E_BUDGET && fault.requested == claim && fault.remaining == own);
	} else if (to.limit > there && to.limit > s->limit) {
		MUST(r == CORE_E_BUDGET && !strcmp(fault.which, "nodes"));
	} else if (to.reserve > to.limit) {
		MUST(r == CORE_E_INVALID && !strcmp(fault.which, "reserve"));
	} else if (wanted > committed && given) {
		MUST(r == CORE_E_INVALID && !strcmp(fault.which, "uid"));
	} else if (given && !may_get) {
		MUST(r == CORE_E_LIMIT);
		++m.counts[N_LIMIT];
	} else if (wanted > committed) {
		reserve_asked(space, &to, wanted - committed, r, plan);
	} else {
		MUST(!r && !plan);
		s->next = to;
		terms_become(s);
		++m.counts[N_CHANGED];
	}
}
