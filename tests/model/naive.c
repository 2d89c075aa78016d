#include "tests/model/naive.h"

uint64_t seed, step, state;
uint32_t shift;
struct naive m;

uint64_t next(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	uint64_t z = state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

uint32_t below(uint32_t n)
{
	return (uint32_t)(next() % n);
}

bool one_in(uint32_t n)
{
	return !below(n);
}

uint32_t plans_out(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < PLANS; ++i)
		n += !!m.plans[i].plan;
	return n;
}

uint32_t sweeps_out(void)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i <= SPACES; ++i)
		n += m.spaces[i].sweeping;
	return n;
}

bool space_has_plans(uint32_t space)
{
	if (m.spaces[space].sweeping)
		return true;
	for (uint32_t i = 0; i < PLANS; ++i)
		for (uint32_t j = 0; m.plans[i].plan && j < m.plans[i].plan->n_effects; ++j)
			if (m.plans[i].plan->effects[j].space == space)
				return true;
	return false;
}

uint64_t used_by(uint32_t space, uint32_t session, bool any)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < EXTENTS; ++i) {
		const struct naive_extent *e = &m.extents[i];

		if (e->there && (!space || e->space == space) && (any || e->session == session))
			sum += (uint64_t)e->slices << SLICE_SHIFT;
	}
	return sum;
}

bool unit_empty(const struct naive_window *w, uint32_t unit)
{
	for (uint32_t i = unit * PER; i < (unit + 1) * PER; ++i)
		if (w->owner[i])
			return false;
	return true;
}

/* Units of a space (0: all) on a node (NODES: all) in a state; `empty`: only those. */
uint32_t units_of(uint32_t space, uint32_t node, enum unit what, bool empty)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < WINDOWS; ++i) {
		const struct naive_window *w = &m.windows[i];

		if (!w->there || (space && w->space != space) ||
		    (node < NODES && w->node != node))
			continue;
		for (uint32_t u = 0; u < w->slices / PER; ++u)
			n += w->units[u] == what && (!empty || unit_empty(w, u));
	}
	return n;
}

/* The same of all spaces on one rung. */
uint32_t units_on(uint32_t page, uint32_t node, enum unit what)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i <= SPACES; ++i)
		if (m.spaces[i].there && m.spaces[i].page == page)
			n += units_of(i, node, what, false);
	return n;
}

uint32_t page_for(uint64_t limit)
{
	return m.config.large.page_shift && limit >= m.config.large.from
		       ? m.config.large.page_shift
		       : m.config.page_shift;
}

uint64_t rung_has(uint32_t page, uint32_t node)
{
	const uint64_t *has =
		page == m.config.page_shift ? m.config.node_bytes : m.config.large.node_bytes;

	return node < NODES ? has[node] : has[0] + has[1];
}

uint32_t spare_of(uint32_t space)
{
	uint32_t committed = units_of(space, NODES, COMMITTED, false);
	const struct naive_space *s = &m.spaces[space];
	uint64_t reserved = s->changing ? u64_max(s->reserve, s->next.reserve) : s->reserve;
	uint32_t reserve = (uint32_t)(reserved / (2 * MIB));
	uint32_t idle = units_of(space, NODES, COMMITTED, true);
	uint32_t above = committed > reserve ? committed - reserve : 0;

	return idle < above ? idle : above;
}

/* The core holds as many units as each plan's greater need; so does the naive heap. */
uint32_t node_room(uint32_t page, uint32_t node)
{
	struct stats_node view = core_rung_view(m.core, page, node);
	uint64_t held = 0;

	for (uint32_t i = 0; i < PLANS; ++i) {
		uint32_t commits = 0, punches = 0;

		for (uint32_t j = 0; m.plans[i].plan && j < m.plans[i].plan->n_effects; ++j) {
			const struct effect *e = &m.plans[i].plan->effects[j];

			if (e->kind != EFFECT_COMMIT && e->kind != EFFECT_PUNCH)
				continue;
			if (m.windows[e->window].node != node ||
			    m.spaces[e->space].page != page)
				continue;
			*(e->kind == EFFECT_COMMIT ? &commits : &punches) += e->count;
		}
		held += commits > punches ? commits : punches;
	}
	return (uint32_t)(view.capacity / (2 * MIB) - held - units_on(page, node, COMMITTED));
}

struct numa some_numa(void)
{
	struct numa numa = {.kind = (enum numa_kind)below(NUMA_KINDS)};

	if (numa_names_nodes(numa.kind))
		numa.nodes = 1 + below(3);
	if (one_in(20))
		numa.nodes = below(16);
	return numa;
}

uint64_t numa_reach(struct numa numa)
{
	uint64_t there = m.config.n_nodes == 1 ? 1 : 3;

	if (numa_names_nodes(numa.kind) != !!numa.nodes || numa.nodes & ~there)
		return 0;
	return numa_strict(numa.kind) ? numa.nodes : there;
}

static uint64_t limit_of(const struct naive_space *s)
{
	return s->changing ? u64_max(s->limit, s->next.limit) : s->limit;
}

static uint32_t space_room_of(uint32_t space)
{
	uint32_t limit = (uint32_t)(limit_of(&m.spaces[space]) / (2 * MIB));
	uint32_t has = units_of(space, NODES, COMMITTED, false) +
		       units_of(space, NODES, COMMITTING, false);

	return limit > has ? limit - has : 0;
}

static uint64_t windows_on(uint32_t space, uint32_t node, uint64_t *largest)
{
	uint64_t sum = 0;

	*largest = 0;
	for (uint32_t i = 0; i < WINDOWS; ++i) {
		const struct naive_window *w = &m.windows[i];

		if (!w->there || w->retired || w->space != space || w->node != node)
			continue;
		sum += (uint64_t)w->slices << SLICE_SHIFT;
		*largest = u64_max(*largest, (uint64_t)w->slices << SLICE_SHIFT);
	}
	return sum;
}

/* What a space has, whatever its limit says. */
uint64_t holds_of(uint32_t space)
{
	uint64_t holds, largest;

	holds = (uint64_t)(units_of(space, NODES, COMMITTED, false) +
			   units_of(space, NODES, COMMITTING, false)) *
		2 * MIB;
	for (uint32_t i = 0; m.spaces[space].page == 12 && i < m.config.n_nodes; ++i)
		holds = u64_max(holds, windows_on(space, i, &largest));
	return holds;
}

uint64_t share_left(uint32_t uid, uint32_t but, uint32_t page)
{
	uint64_t left = uid ? m.config.share : core_view(m.core).capacity;
	uint64_t inside = page ? rung_has(page, NODES) : UINT64_MAX, claim;

	for (uint32_t i = 1; i <= SPACES; ++i) {
		const struct naive_space *s = &m.spaces[i];

		if (i != but && s->there && s->idle_low != UINT32_MAX &&
		    (s->uid == uid || (s->changing && s->next.owner.uid == uid))) {
			claim = u64_max(limit_of(s), holds_of(i));
			left -= u64_min(left, claim);
			if (s->page == page)
				inside -= u64_min(inside, claim);
		}
	}
	return u64_min(left, inside);
}

/* The longest extent: in a window that is there, or in the next one. */
uint64_t extent_max(uint32_t space, uint64_t nodes)
{
	uint64_t max = 0, most = 0, largest, limit = limit_of(&m.spaces[space]);

	for (uint32_t i = 0; i < m.config.n_nodes; ++i) {
		uint64_t sum = windows_on(space, i, &largest);

		if (!(nodes >> i & 1))
			continue;
		most = u64_max(most, rung_has(m.spaces[space].page, i));
		if (m.spaces[space].page != 12)
			largest = limit;
		else if (sum < limit)
			largest = u64_max(largest,
					  (uint64_t)1 << (63 - __builtin_clzll(limit - sum)));
		max = u64_max(max, largest);
	}
	return u64_min(u64_min(max, m.spaces[space].limit), most);
}

/* All sessions are in group 100, and nobody knows whether in another. */
static bool keeps_right(const struct naive_space *s, uint32_t session)
{
	uint32_t mode = s->next.mode, rights;

	if (s->way[session] == NAIVE_ROOT)
		return true;
	if (m.uids[session] == s->next.owner.uid)
		rights = mode >> 6;
	else if (s->next.owner.gid == 100)
		rights = mode >> 3;
	else if (s->next.owner.gid != s->gid || s->way[session] == NAIVE_OWNER)
		rights = mode >> 3 & mode;
	else
		rights = s->way[session] == NAIVE_GROUP ? mode >> 3 : mode;
	return rights & 4 && (s->read_only[session] || rights & 2);
}

/* Windows that somebody was given retire, and members are barred. */
static void rights_go(struct naive_space *s)
{
	for (uint32_t i = 1; i <= SESSIONS; ++i)
		if (s->member[i])
			s->barred[i] = !keeps_right(s, i);
	if (s->uid == s->next.owner.uid && s->gid == s->next.owner.gid &&
	    !(s->mode & ~s->next.mode & 0666))
		return;
	for (uint32_t i = 0; i < WINDOWS; ++i) {
		struct naive_window *w = &m.windows[i];

		if (!w->there || w->space != (uint32_t)(s - m.spaces) || !w->granted)
			continue;
		m.counts[N_RETIRED] += !w->retired;
		w->retired = true;
	}
}

void terms_become(struct naive_space *s)
{
	rights_go(s);
	s->uid = s->next.owner.uid;
	s->gid = s->next.owner.gid;
	s->mode = s->next.mode;
	s->weight = s->next.weight;
	s->limit = s->next.limit;
	s->reserve = s->next.reserve;
	s->client_limit = s->next.client_limit;
	s->changing = false;
}

bool slice_open(const struct naive_window *w, uint32_t i)
{
	uint8_t unit = w->units[i / PER];

	return !w->owner[i] && (unit == ABSENT || unit == COMMITTED);
}

/* By trying every place: could these slices be had, other spaces' idle units included? */
bool feasible(uint32_t space, uint32_t count, uint32_t align, uint64_t nodes)
{
	uint32_t others = 0;

	for (uint32_t i = 1; i <= SPACES; ++i)
		if (i != space && m.spaces[i].there &&
		    m.spaces[i].page == m.spaces[space].page && !m.spaces[i].pending &&
		    m.spaces[i].idle_low != UINT32_MAX)
			others += spare_of(i);
	for (uint32_t i = 0; i < WINDOWS; ++i) {
		const struct naive_window *w = &m.windows[i];

		if (!w->there || w->pending || w->retired || w->space != space ||
		    !(nodes >> w->node & 1))
			continue;
		for (uint32_t at = 0; at + count <= w->slices; at += align) {
			uint32_t need = 0, idle = 0, own, n = 0;

			while (n < count && slice_open(w, at + n))
				++n;
			if (n < count)
				continue;
			for (uint32_t u = at / PER; u <= (at + count - 1) / PER; ++u) {
				need += w->units[u] == ABSENT;
				idle += w->units[u] == COMMITTED && unit_empty(w, u);
			}
			if (need <= node_room(m.spaces[space].page, w->node) &&
			    need <= space_room_of(space))
				return true;
			if (m.config.n_nodes > 1)
				continue; /* whose idle units are where is not tried */
			own = units_of(space, NODES, COMMITTED, true) - idle;
			if (spare_of(space) < own)
				own = spare_of(space);
			if (need <= space_room_of(space) + own &&
			    need <= node_room(m.spaces[space].page, w->node) + own + others)
				return true;
		}
	}
	return false;
}

/* Of one uid, or of all. */
static uint64_t naive_held(uint32_t uid, bool all, enum quota_kind kind)
{
	uint64_t n = 0;

	for (uint32_t i = 1; i <= SESSIONS; ++i)
		n += kind == QUOTA_SESSIONS && m.sessions[i] && (all || m.uids[i] == uid);
	for (uint32_t i = 1; i <= SPACES; ++i) {
		const struct naive_space *s = &m.spaces[i];

		n += kind == QUOTA_SPACES && s->there && (all || s->uid == uid);
		for (uint32_t j = 1; j <= SESSIONS; ++j)
			n += kind == QUOTA_OPENS && s->member[j] && (all || m.uids[j] == uid);
		for (uint32_t j = 1; kind == QUOTA_CHANNELS && j <= SESSIONS; ++j)
			for (uint32_t k = 0; k < CHANNELS; ++k)
				n += s->channels[k].there && s->channels[k].roles[j] &&
				     (all || m.uids[j] == uid);
	}
	for (uint32_t i = 1; i <= CACHES; ++i) {
		const struct naive_cache *c = &m.caches[i];

		n += kind == QUOTA_CACHES && c->there && (all || m.spaces[c->space].uid == uid);
		for (uint32_t j = 1; j <= SESSIONS; ++j)
			n += kind == QUOTA_OPENS && c->there && c->user[j] &&
			     (all || m.uids[j] == uid);
		for (uint32_t j = 0; kind == QUOTA_RIGHTS && j < HASHES; ++j)
			n += c->there && c->rights[j].session &&
			     (all || m.uids[c->rights[j].session] == uid);
	}
	for (uint32_t i = 0; i < WINDOWS; ++i)
		n += kind == QUOTA_WINDOWS && m.windows[i].there &&
		     (all || m.spaces[m.windows[i].space].uid == uid);
	for (uint32_t i = 0; i < EXTENTS; ++i) {
		const struct naive_extent *e = &m.extents[i];
		uint32_t payer = e->session ? m.uids[e->session] : m.spaces[e->space].uid;

		n += kind == QUOTA_LEASES && e->there && (all || payer == uid);
	}
	return n;
}

static bool naive_fits(uint32_t uid, enum quota_kind kind, uint64_t n, uint64_t all)
{
	static const uint64_t totals[] = {
		[QUOTA_SESSIONS] = SESSIONS, [QUOTA_SPACES] = SPACES,  [QUOTA_OPENS] = OPENS,
		[QUOTA_WINDOWS] = WINDOWS,   [QUOTA_LEASES] = EXTENTS, [QUOTA_CHANNELS] = ENDS,
		[QUOTA_CACHES] = CACHES,     [QUOTA_RIGHTS] = RIGHTS,
	};
	uint64_t mine = naive_held(uid, false, kind);
	uint64_t max = m.config.limits.max[kind], kept = 0;

	if (uid && max && mine + n > max)
		return false;
	if (m.config.limits.keeps_last && mine)
		kept = totals[kind] / (uid ? 8 : 16);
	return all + n <= totals[kind] - kept;
}

bool naive_may(uint32_t uid, enum quota_kind kind)
{
	return naive_fits(uid, kind, 1, naive_held(0, true, kind));
}

bool naive_may_get(uint32_t uid, enum quota_kind kind, uint64_t n)
{
	return !n || naive_fits(uid, kind, n, naive_held(0, true, kind) - n);
}
