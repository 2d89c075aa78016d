/*
 * The core against a naive heap: seeded random verbs; after every step the core's own walker, a
 * recovery from a copy of the records, and a comparison with byte maps and plain sums.
 *
 *   VARBOS_SEED    replay one seed (printed at the start and with every failure)
 *   VARBOS_STEPS   verbs for each seed
 *   VARBOS_SHIFT   with VARBOS_SEED: the page shift, 12 or 21
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "daemon/core/check.h"
#include "daemon/core/core.h"
#include "daemon/core/state.h"

enum {
	SPACES = 8,
	WINDOWS = 20,
	SESSIONS = 8,
	EXTENTS = 400,
	PLANS = 12,
	SLICES_MAX = 1024,
	PER = 32, /* slices of a unit */
	NODES = 2,
};

#define MIB ((uint64_t)1 << 20)

static uint64_t seed, step;
static uint32_t shift;
static uint64_t state;

#define DIE(...)                                                                              \
	do {                                                                                  \
		fprintf(stderr, "VARBOS_SEED=%" PRIu64 " VARBOS_SHIFT=%u step %" PRIu64 ": ", \
			seed, shift, step);                                                   \
		fprintf(stderr, __VA_ARGS__);                                                 \
		fprintf(stderr, " (%s:%d)\n", __FILE__, __LINE__);                            \
		exit(1);                                                                      \
	} while (0)
#define MUST(x)                             \
	do {                                \
		if (!(x))                   \
			DIE("not: %s", #x); \
	} while (0)

static uint64_t next(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	uint64_t z = state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(next() % n);
}

static bool one_in(uint32_t n)
{
	return !below(n);
}

/* ---- the naive heap ---- */

enum unit { ABSENT, COMMITTED, COMMITTING, PUNCHING };

struct naive_extent {
	bool there, pending;
	uint32_t space, window, first, count, tag, session; /* 0: adopted */
	enum extent_kind kind;
};

struct naive_window {
	bool there, pending, granted;
	uint32_t space, number, node, slices;
	uint16_t owner[SLICES_MAX]; /* naive extent + 1 */
	uint8_t units[SLICES_MAX / PER];
	uint64_t words[SLICES_MAX]; /* the shell's slice map */
	uint64_t root;              /* its word in the root file */
};

struct naive_space {
	bool there, pending, removed;
	char name[8];
	uint32_t uid, gid, mode, weight;
	uint64_t limit, reserve, client_limit;
	uint32_t idle_low;
	bool member[SESSIONS + 1], read_only[SESSIONS + 1];
};

struct naive_plan {
	struct plan *plan;
	uint32_t session, extent; /* naive extent + 1 */
	bool creates;
};

static struct {
	struct core *core;
	struct core_config config;
	struct records *records;
	uint64_t size;
	void *copy;
	struct naive_space spaces[SPACES + 1];
	struct naive_window windows[WINDOWS];
	struct naive_extent extents[EXTENTS];
	struct naive_plan plans[PLANS];
	bool sessions[SESSIONS + 1];
	uint32_t uids[SESSIONS + 1];
	uint32_t applied;     /* changes */
	uint64_t real[NODES]; /* units that have pages, those on their way out included */
	uint64_t counts[32];  /* of answers, to see that all happen */
} m;

enum {
	N_ALLOC,
	N_PLANNED,
	N_PUNCHED,
	N_MEMORY,
	N_BUDGET,
	N_BUSY,
	N_LARGE,
	N_FREE,
	N_REFUSED,
	N_ADOPTED,
	N_GONE,
	N_TRIMMED,
	N_ABORTED,
	N_LIMIT
};

static uint32_t plans_out(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < PLANS; ++i)
		n += !!m.plans[i].plan;
	return n;
}

static bool space_has_plans(uint32_t space)
{
	for (uint32_t i = 0; i < PLANS; ++i)
		for (uint32_t j = 0; m.plans[i].plan && j < m.plans[i].plan->n_effects; ++j)
			if (m.plans[i].plan->effects[j].space == space)
				return true;
	return false;
}

static uint64_t used_by(uint32_t space, uint32_t session, bool any)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < EXTENTS; ++i) {
		const struct naive_extent *e = &m.extents[i];

		if (e->there && (!space || e->space == space) && (any || e->session == session))
			sum += (uint64_t)e->count << SLICE_SHIFT;
	}
	return sum;
}

static bool unit_empty(const struct naive_window *w, uint32_t unit)
{
	for (uint32_t i = unit * PER; i < (unit + 1) * PER; ++i)
		if (w->owner[i])
			return false;
	return true;
}

/* Units of a space (0: all) on a node (NODES: all) in a state; `empty`: only those. */
static uint32_t units_of(uint32_t space, uint32_t node, enum unit what, bool empty)
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

static uint32_t spare_of(uint32_t space)
{
	uint32_t committed = units_of(space, NODES, COMMITTED, false);
	uint32_t reserve = (uint32_t)(m.spaces[space].reserve / (2 * MIB));
	uint32_t idle = units_of(space, NODES, COMMITTED, true);
	uint32_t above = committed > reserve ? committed - reserve : 0;

	return idle < above ? idle : above;
}

/* The core holds as many units as each plan's greater need; so does the naive heap. */
static uint32_t node_room(uint32_t node)
{
	struct stats_node view = core_node_view(m.core, node);
	uint64_t held = 0;

	for (uint32_t i = 0; i < PLANS; ++i) {
		uint32_t commits = 0, punches = 0;

		for (uint32_t j = 0; m.plans[i].plan && j < m.plans[i].plan->n_effects; ++j) {
			const struct effect *e = &m.plans[i].plan->effects[j];

			if (e->kind != EFFECT_COMMIT && e->kind != EFFECT_PUNCH)
				continue;
			if (m.windows[e->window].node != node)
				continue;
			*(e->kind == EFFECT_COMMIT ? &commits : &punches) += e->count;
		}
		held += commits > punches ? commits : punches;
	}
	return (uint32_t)(view.capacity / (2 * MIB) - held -
			  units_of(0, node, COMMITTED, false));
}

static uint32_t space_room_of(uint32_t space)
{
	return (uint32_t)(m.spaces[space].limit / (2 * MIB)) -
	       units_of(space, NODES, COMMITTED, false) -
	       units_of(space, NODES, COMMITTING, false);
}

static bool slice_open(const struct naive_window *w, uint32_t i)
{
	uint8_t unit = w->units[i / PER];

	return !w->owner[i] && unit != COMMITTING && unit != PUNCHING;
}

/* By trying every place: could these slices be had, other spaces' idle units included? */
static bool feasible(uint32_t space, uint32_t count, uint32_t align)
{
	uint32_t others = 0;

	for (uint32_t i = 1; i <= SPACES; ++i)
		if (i != space && m.spaces[i].there && !m.spaces[i].pending &&
		    m.spaces[i].idle_low != UINT32_MAX)
			others += spare_of(i);
	for (uint32_t i = 0; i < WINDOWS; ++i) {
		const struct naive_window *w = &m.windows[i];

		if (!w->there || w->pending || w->space != space)
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
			if (need <= node_room(w->node) && need <= space_room_of(space))
				return true;
			if (m.config.n_nodes > 1)
				continue; /* whose idle units are where is not tried */
			own = units_of(space, NODES, COMMITTED, true) - idle;
			if (spare_of(space) < own)
				own = spare_of(space);
			if (need <= space_room_of(space) + own &&
			    need <= node_room(w->node) + own + others)
				return true;
		}
	}
	return false;
}

/* ---- what the shell does ---- */

static void apply_changes(void)
{
	uint32_t n;
	const struct change *changes = core_changes(m.core, &n);

	for (; m.applied < n; ++m.applied) {
		const struct change *c = &changes[m.applied];
		struct naive_window *w = &m.windows[c->window];
		struct slice_info info = slice_word_unpack(c->word);

		MUST(c->window < WINDOWS);
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

static void plan_take(struct plan *plan, uint32_t session, uint32_t extent, bool creates)
{
	uint32_t slot = 0;

	while (m.plans[slot].plan)
		++slot;
	MUST(slot < PLANS);
	m.plans[slot] = (struct naive_plan){plan, session, extent, creates};
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
		}
	}
}

/* Effect by effect: the pages that are out never exceed the node. */
static void effect_done(const struct effect *e, bool commit)
{
	struct naive_window *w = &m.windows[e->window];

	switch (e->kind) {
	case EFFECT_ROOT_CREATE:
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
			m.real[w->node] -= w->units[u] == COMMITTED;
		w->there = false;
		break;
	case EFFECT_COMMIT:
		for (uint32_t u = e->first; u < e->first + e->count; ++u)
			w->units[u] = commit ? COMMITTED : ABSENT;
		if (commit)
			m.real[w->node] += e->count;
		MUST(m.real[w->node] <= m.config.node_bytes[w->node] / (2 * MIB));
		break;
	case EFFECT_PUNCH:
		for (uint32_t u = e->first; u < e->first + e->count; ++u)
			w->units[u] = ABSENT;
		m.real[w->node] -= e->count;
		break;
	}
}

static void extent_gone(struct naive_extent *e)
{
	struct naive_window *w = &m.windows[e->window];

	for (uint32_t i = 0; w->there && i < e->count; ++i)
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
		if (p.extent)
			m.extents[p.extent - 1].pending = false;
		if (p.creates)
			m.spaces[p.plan->space].pending = false;
	} else {
		++m.counts[N_ABORTED];
		if (p.extent)
			extent_gone(&m.extents[p.extent - 1]);
		for (uint32_t i = p.plan->n_effects; i--;)
			effect_done(&p.plan->effects[i], false);
		if (p.creates)
			m.spaces[p.plan->space].there = false;
	}
	/* The space's end is the same either way. */
	if (commit)
		plan_commit(m.core, p.plan);
	else
		plan_abort(m.core, p.plan);
}

static bool plan_finish_one(void)
{
	uint32_t from = below(PLANS);

	for (uint32_t i = 0; i < PLANS; ++i) {
		if (m.plans[(from + i) % PLANS].plan) {
			plan_finish((from + i) % PLANS);
			return true;
		}
	}
	return false;
}

/* ---- comparison ---- */

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
			info.session = e->kind == EXTENT_PRIVATE ? e->session : 0;
			info.head = i == e->first;
			info.count = info.head ? e->count : 0;
		}
		MUST(w->words[i] == (e && !e->pending ? slice_word_pack(info) : 0));
	}
}

static void compare(void)
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

		MUST(core_window_view(m.core, i, &view) == w->there);
		if (!w->there || m.spaces[w->space].idle_low == UINT32_MAX)
			continue;
		MUST(view.space == w->space && view.number == w->number);
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
	}
	pending = core_view(m.core).pending;
	MUST(plans_out() || !pending);
	MUST(core_view(m.core).used == used_by(0, 0, true));
	core_free(again);
}

/* ---- verbs ---- */

static uint32_t some_session(void)
{
	uint32_t from = below(SESSIONS);

	for (uint32_t i = 0; i < SESSIONS; ++i)
		if (m.sessions[(from + i) % SESSIONS + 1])
			return (from + i) % SESSIONS + 1;
	return 0;
}

static bool some_member(uint32_t *session, uint32_t *space)
{
	for (uint32_t i = 0; i < 20; ++i) {
		*session = some_session();
		*space = 1 + below(SPACES);
		if (*session && m.spaces[*space].there && m.spaces[*space].member[*session])
			return true;
	}
	return false;
}

static void verb_session_open(void)
{
	struct session_request request = {
		.credentials = {below(4), 100}, .pid = 1 + below(99999), .birth = next()};
	struct core_fault fault;
	uint32_t slot, n = 0;
	int r = core_session_open(m.core, &request, &slot, &fault);

	for (uint32_t i = 1; i <= SESSIONS; ++i)
		n += m.sessions[i];
	if (n == SESSIONS) {
		MUST(r == CORE_E_LIMIT);
		return;
	}
	MUST(!r && slot && slot <= SESSIONS && !m.sessions[slot]);
	m.sessions[slot] = true;
	m.uids[slot] = request.credentials.uid;
}

/* What a member's leaving does to the naive heap. */
static void naive_leave(uint32_t session, uint32_t space)
{
	struct naive_space *s = &m.spaces[space];
	uint32_t members = 0;
	bool last;

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
			++m.counts[N_ADOPTED];
		}
	}
	if (last)
		s->idle_low = UINT32_MAX; /* going */
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

static void verb_session_end(void)
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
			naive_leave(session, i);
	m.sessions[session] = false;
	if (plan)
		plan_take(plan, 0, 0, false);
}

static void verb_space_close(void)
{
	uint32_t session, space;
	struct plan *plan = NULL;
	bool busy;
	int r;

	if (plans_out() == PLANS || !some_member(&session, &space))
		return;
	busy = busy_for(session, space);
	r = core_space_close(m.core, session, space, &plan);
	while (r == CORE_MORE)
		r = core_space_close(m.core, session, space, &plan);
	MUST((r == CORE_E_BUSY) == busy);
	while (r == CORE_E_BUSY) {
		MUST(plan_finish_one());
		do
			r = core_space_close(m.core, session, space, &plan);
		while (r == CORE_MORE);
	}
	MUST(!r);
	naive_leave(session, space);
	if (plan)
		plan_take(plan, 0, 0, false);
}

static void verb_space_create(void)
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
	};
	uint64_t own = m.config.share, limit = request.limit;
	struct core_fault fault;
	struct space_view view;
	struct plan *plan;
	uint32_t slot;
	bool exists = false, full = true;
	int r;

	if (plans_out() == PLANS)
		return;
	snprintf(name, sizeof(name), "s%u", below(10));
	if (!request.owner.uid)
		own = core_view(m.core).capacity;
	for (uint32_t i = 1; i <= SPACES; ++i) {
		exists |= m.spaces[i].there && !strcmp(m.spaces[i].name, name);
		full &= m.spaces[i].there;
		if (m.spaces[i].there && m.spaces[i].uid == request.owner.uid &&
		    m.spaces[i].idle_low != UINT32_MAX)
			own -= u64_min(own, m.spaces[i].limit);
	}
	if (!limit)
		limit = u64_max(own / 4 / (2 * MIB) * 2 * MIB, 2 * MIB);
	limit = (limit + 2 * MIB - 1) / (2 * MIB) * 2 * MIB;
	r = core_space_create(m.core, &request, &slot, &plan, &fault);
	if (exists) {
		MUST(r == CORE_E_EXISTS || (r == CORE_E_BUSY && plans_out()));
		return;
	}
	if (full) {
		MUST(r == CORE_E_LIMIT);
		return;
	}
	if (limit > own) {
		MUST(r == CORE_E_BUDGET && fault.remaining == own && fault.requested == limit);
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
		MUST(r == CORE_E_LIMIT || m.config.n_nodes > 1 || rest > node_room(0));
		return;
	}
	MUST(!r && slot && slot <= SPACES && !m.spaces[slot].there);
	MUST(core_space_view(m.core, slot, &view));
	MUST(view.limit == limit);
	m.spaces[slot] = (struct naive_space){
		.there = true,
		.pending = true,
		.uid = request.owner.uid,
		.gid = 100,
		.mode = request.mode,
		.weight = view.weight,
		.limit = view.limit,
		.reserve = view.reserve,
		.client_limit = view.client_limit,
	};
	strcpy(m.spaces[slot].name, name);
	plan_take(plan, 0, 0, true);
	MUST(units_of(slot, NODES, COMMITTING, false) * 2 * MIB == view.reserve);
}

static void verb_space_open(void)
{
	uint32_t session = some_session(), space = 1 + below(SPACES), slot;
	struct naive_space *s = &m.spaces[space];
	bool read_only = one_in(5);
	struct core_fault fault;
	int r;

	if (!session || !s->there)
		return;
	r = core_space_open(m.core, session, s->name, read_only, NULL, 0, &slot, &fault);
	if (s->pending) {
		MUST(r == CORE_E_BUSY);
	} else if (s->removed || s->idle_low == UINT32_MAX) {
		MUST(r == CORE_E_NOT_FOUND);
	} else if (m.uids[session] && m.uids[session] != s->uid && s->mode == 0640 &&
		   !read_only) {
		MUST(r == CORE_E_PERMISSION && !strcmp(fault.which, "write"));
	} else if (s->member[session]) {
		MUST(r == CORE_E_EXISTS);
	} else {
		MUST(!r && slot == space);
		s->member[session] = true;
		s->read_only[session] = read_only;
	}
}

static void verb_space_remove(void)
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
		plan_take(plan, 0, 0, false);
	}
}

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

static void extent_made(uint32_t session, uint32_t space, const struct extent_request *request,
			const struct extent_info *info, struct plan *plan)
{
	uint32_t id = 0, slot = WINDOWS, align;
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
	/* A tag does not come back while it could be taken for another's. */
	MUST(info->tag && info->tag <= TAG_MASK && info->tag != e->tag);
	*e = (struct naive_extent){
		.there = true,
		.pending = plan,
		.space = space,
		.window = slot,
		.first = (uint32_t)(offset_position(info->offset) >> SLICE_SHIFT),
		.count = (uint32_t)(info->size >> SLICE_SHIFT),
		.tag = info->tag,
		.session = session,
		.kind = request->kind,
	};
	align = request->align ? (uint32_t)(request->align >> SLICE_SHIFT) : 1;
	MUST(info->size >= request->size && info->size - request->size < SLICE_BYTES);
	MUST(!align || e->first % align == 0);
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
	++m.counts[plan ? N_PLANNED : N_ALLOC];
}

static uint64_t extent_max(const struct naive_space *s)
{
	uint64_t max = 0;

	for (uint32_t i = 0; i < m.config.n_nodes; ++i)
		max = u64_max(max, m.config.node_bytes[i]);
	max = u64_min(max, s->limit);
	return shift == 12 ? u64_min(max, (uint64_t)1 << (63 - __builtin_clzll(s->limit)))
			   : max;
}

static void verb_alloc(void)
{
	struct extent_request request = {
		.size = some_size(),
		.kind = one_in(3) ? EXTENT_SHARED : EXTENT_PRIVATE,
		.align = one_in(4) ? SLICE_BYTES << below(7) : 0,
	};
	uint64_t bytes = (request.size + SLICE_BYTES - 1) / SLICE_BYTES * SLICE_BYTES;
	uint32_t session, space, n = 0;
	uint32_t align = request.align ? (uint32_t)(request.align >> SLICE_SHIFT) : 1;
	const struct naive_space *s;
	struct extent_info info;
	struct core_fault fault;
	struct plan *plan;
	uint64_t mine, all;
	int r;

	if (!some_member(&session, &space) || plans_out() == PLANS)
		return;
	s = &m.spaces[space];
	for (uint32_t i = 0; i < EXTENTS; ++i)
		n += m.extents[i].there;
	mine = used_by(space, session, false);
	all = used_by(space, 0, true);
	r = core_extent_alloc(m.core, session, space, &request, &info, &plan, &fault);
	if (s->read_only[session]) {
		MUST(r == CORE_E_PERMISSION);
	} else if (bytes > extent_max(s)) {
		MUST(r == CORE_E_TOO_LARGE && fault.max == extent_max(s));
		++m.counts[N_LARGE];
	} else if (mine + bytes > s->client_limit) {
		MUST(r == CORE_E_BUDGET && !strcmp(fault.which, "client"));
		MUST(fault.remaining == s->client_limit - mine && fault.requested == bytes);
		++m.counts[N_BUDGET];
	} else if (all + bytes > s->limit) {
		MUST(r == CORE_E_BUDGET && !strcmp(fault.which, "space"));
		MUST(fault.remaining == s->limit - all);
		++m.counts[N_BUDGET];
	} else if (r == CORE_E_BUSY) {
		MUST(plans_out());
		++m.counts[N_BUSY];
	} else if (r == CORE_E_LIMIT) {
		MUST(n == EXTENTS || !strcmp(fault.which, "windows"));
		++m.counts[N_LIMIT];
	} else if (r == CORE_E_MEMORY) {
		MUST(!feasible(space, (uint32_t)(bytes >> SLICE_SHIFT), align));
		MUST(fault.requested == bytes);
		MUST(align > 1 || fault.largest < bytes || m.config.n_nodes > 1);
		++m.counts[N_MEMORY];
	} else {
		MUST(!r);
		extent_made(session, space, &request, &info, plan);
	}
}

static void verb_free(void)
{
	uint32_t id = below(EXTENTS);
	struct naive_extent *e;
	struct core_fault fault;
	uint32_t session;
	uint64_t offset;
	int r;

	for (uint32_t i = 0; i < EXTENTS && !(m.extents[id].there && !m.extents[id].pending);
	     ++i)
		id = (id + 1) % EXTENTS;
	e = &m.extents[id];
	if (!e->there || e->pending)
		return;
	session = e->session ? e->session : some_session();
	if (!session || !m.spaces[e->space].member[session] ||
	    m.spaces[e->space].read_only[session])
		return;
	offset = offset_make(m.windows[e->window].number, (uint64_t)e->first << SLICE_SHIFT);
	r = core_extent_free(m.core, session, e->space, offset, e->tag, &fault);
	MUST(!r);
	extent_gone(e);
	++m.counts[N_FREE];
}

/* Any offset and tag near the truth; what comes of it is worked out from the byte map. */
static void verb_free_wrong(void)
{
	uint32_t session, space, tag, id = below(EXTENTS);
	const struct naive_extent *e = &m.extents[id], *at = NULL;
	const struct naive_window *w = NULL;
	const char *wrong = NULL;
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
	}
	r = core_extent_free(m.core, session, space, offset, tag, &fault);
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

static void verb_window_open(void)
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
	if (slot == WINDOWS) {
		MUST(r == CORE_E_NOT_FOUND);
	} else if (m.windows[slot].pending) {
		MUST(r == CORE_E_BUSY);
	} else {
		MUST(!r && window == slot && read_only == m.spaces[space].read_only[session]);
		m.windows[slot].granted = true;
	}
}

static void verb_trim(void)
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

static void one_step(void)
{
	uint32_t dice = below(1000);

	if (dice < 430)
		verb_alloc();
	else if (dice < 600)
		verb_free();
	else if (dice < 660)
		verb_free_wrong();
	else if (dice < 810)
		plan_finish_one();
	else if (dice < 850)
		verb_trim();
	else if (dice < 880)
		verb_space_create();
	else if (dice < 940)
		verb_space_open();
	else if (dice < 945)
		verb_space_close();
	else if (dice < 950)
		verb_space_remove();
	else if (dice < 970)
		verb_session_open();
	else if (dice < 975)
		verb_session_end();
	else
		verb_window_open();
}

static void run(uint64_t steps)
{
	struct record_capacity capacity = {{
		[RECORD_SPACE] = SPACES + 1,
		[RECORD_WINDOW] = WINDOWS,
		[RECORD_PAGES] = 40,
		[RECORD_SESSION] = SESSIONS + 1,
		[RECORD_MEMBER] = 64,
		[RECORD_EXTENT] = EXTENTS,
	}};
	void *memory;

	memset(&m, 0, sizeof(m));
	state = seed;
	m.size = records_size(&capacity);
	memory = aligned_alloc(64, (m.size + 63) / 64 * 64);
	m.copy = aligned_alloc(64, (m.size + 63) / 64 * 64);
	MUST(memory && m.copy);
	memset(memory, 0, m.size);
	m.records = records_init(memory, &capacity);
	m.config = (struct core_config){
		.page_shift = shift,
		.n_nodes = 1 + one_in(3),
		.node_bytes = {(16 + below(25)) / 2 * 2 * MIB, (8 + below(16)) / 2 * 2 * MIB},
		.share = (24 + below(20)) / 2 * 2 * MIB,
		.uid = 0,
		.seed = next(),
	};
	if (m.config.n_nodes == 1)
		m.config.node_bytes[1] = 0;
	m.config.share =
		u64_min(m.config.share, m.config.node_bytes[0] + m.config.node_bytes[1]);
	MUST(!core_new(&m.core, &m.config, m.records));
	for (step = 0; step < steps; ++step) {
		one_step();
		apply_changes();
		compare();
	}
	while (plan_finish_one())
		apply_changes();
	compare();
	core_free(m.core);
	free(memory);
	free(m.copy);
}

int main(void)
{
	const char *given = getenv("VARBOS_SEED"), *length = getenv("VARBOS_STEPS");
	const char *page = getenv("VARBOS_SHIFT");
	uint64_t steps = length ? strtoull(length, NULL, 0) : 6000;
	struct timespec now;
	uint64_t total[32] = {0};

	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoull(given, NULL, 0)
		     : (uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec;
	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	for (uint32_t round = 0; round < (given ? 1 : 8); ++round, ++seed) {
		for (uint32_t i = 0; i < 2; ++i) {
			shift = i ? 21 : 12;
			if (page && (uint32_t)atoi(page) != shift)
				continue;
			run(steps);
			for (uint32_t j = 0; j < 32; ++j)
				total[j] += m.counts[j];
		}
	}
	printf("alloc %" PRIu64 " planned %" PRIu64 " punched %" PRIu64 " memory %" PRIu64
	       " budget %" PRIu64 " busy %" PRIu64 " large %" PRIu64 " free %" PRIu64
	       " refused %" PRIu64 " adopted %" PRIu64 " gone %" PRIu64 " trimmed %" PRIu64
	       " aborted %" PRIu64 "\n",
	       total[N_ALLOC], total[N_PLANNED], total[N_PUNCHED], total[N_MEMORY],
	       total[N_BUDGET], total[N_BUSY], total[N_LARGE], total[N_FREE], total[N_REFUSED],
	       total[N_ADOPTED], total[N_GONE], total[N_TRIMMED], total[N_ABORTED]);
	return 0;
}
