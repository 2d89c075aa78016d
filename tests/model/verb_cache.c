#include "daemon/core/policy/policy.h"
#include "tests/model/naive.h"

static bool is_caches(const struct naive_extent *e, uint32_t cache)
{
	return e->there && e->cache == cache;
}

static uint32_t users_of(const struct naive_cache *c)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i <= SESSIONS; ++i)
		n += c->user[i];
	return n;
}

static struct naive_cache *cache_named(uint32_t space, const char *name)
{
	for (uint32_t i = 1; i <= CACHES; ++i) {
		struct naive_cache *c = &m.caches[i];

		if (c->there && !c->removed && c->space == space && !strcmp(c->name, name))
			return c;
	}
	return NULL;
}

/* Slot 0 is none. */
static uint32_t some_cache(void)
{
	uint32_t from = below(CACHES);

	for (uint32_t i = 0; i < CACHES; ++i)
		if (m.caches[(from + i) % CACHES + 1].there)
			return (from + i) % CACHES + 1;
	return 0;
}

/* Is a plan making memory for it: for this session, or for whoever it is? */
static bool is_making(uint32_t cache, uint32_t session, bool any)
{
	for (uint32_t i = 0; i < EXTENTS; ++i)
		if (is_caches(&m.extents[i], cache) && m.extents[i].pending &&
		    (any || m.extents[i].session == session))
			return true;
	return false;
}

static const char *some_policy(void)
{
	static const char *const names[] = {"lru", "fifo", "s3fifo", "", "none"};

	return names[one_in(20) ? 4 : below(4)];
}

static uint32_t policy_of(const char *name)
{
	return !strcmp(name, "lru") ? POLICY_LRU : !strcmp(name, "fifo") ? POLICY_FIFO : 0;
}

void verb_cache_open(void)
{
	char name[8];
	struct cache_request request = {
		.name = name,
		.capacity = one_in(3) ? 0 : 1 + below(26 * MIB),
		.policy = some_policy(),
		.ttl_ms = one_in(30) ? UINT64_MAX >> below(30) : below(3),
		.existing = one_in(8),
		.exclusive = one_in(8),
	};
	uint32_t session, space, cache = 0;
	bool may_open, may_make, wrong;
	struct core_fault fault = {0};
	const struct naive_space *s;
	struct naive_cache *c;
	uint64_t capacity;
	int r;

	if (!some_member(&session, &space))
		return;
	s = &m.spaces[space];
	capacity = request.capacity ? request.capacity : s->limit / 2;
	snprintf(name, sizeof(name), one_in(40) ? "." : "k%u", below(5));
	c = cache_named(space, name);
	may_open = naive_may(m.uids[session], QUOTA_OPENS);
	may_make = naive_may(s->uid, QUOTA_CACHES);
	wrong = capacity > s->limit || !strcmp(request.policy, "none") ||
		request.ttl_ms >= (uint64_t)1 << 40;
	r = core_cache_open(m.core, session, space, &request, &cache, &fault);
	if (s->barred[session]) {
		MUST(r == CORE_E_PERMISSION && !strcmp(fault.which, "revoked"));
	} else if (name[0] == '.') {
		MUST(r == CORE_E_INVALID && !strcmp(fault.which, "name"));
	} else if (c && request.exclusive) {
		MUST(r == CORE_E_EXISTS && !strcmp(fault.which, "cache"));
	} else if (!c && request.existing) {
		MUST(r == CORE_E_NOT_FOUND && !strcmp(fault.which, "cache"));
	} else if (c && c->user[session]) {
		MUST(!r && &m.caches[cache] == c);
	} else if (!c && s->read_only[session]) {
		MUST(r == CORE_E_PERMISSION && !strcmp(fault.which, "write"));
	} else if (!c && wrong) {
		MUST(r == CORE_E_INVALID);
		MUST(capacity <= s->limit || fault.max == s->limit);
	} else if (!may_open) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault.which, "limits.opens"));
		++m.counts[N_LIMIT];
	} else if (!c && !may_make) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault.which, "limits.caches"));
		++m.counts[N_LIMIT];
	} else {
		MUST(!r && cache && cache <= CACHES && (!c || &m.caches[cache] == c));
		if (!c) {
			c = &m.caches[cache];
			MUST(!c->there);
			*c = (struct naive_cache){.there = true,
						  .space = space,
						  .capacity = capacity,
						  .ttl_ms = request.ttl_ms,
						  .policy = policy_of(request.policy)};
			strcpy(c->name, name);
			++m.counts[N_CACHES];
		}
		c->user[session] = true;
	}
}

/* What he was filling is sealed, and he is gone. */
void cache_leave(uint32_t cache, uint32_t session)
{
	for (uint32_t i = 0; i < EXTENTS; ++i) {
		struct naive_extent *e = &m.extents[i];

		if (!is_caches(e, cache) || e->session != session)
			continue;
		e->session = 0;
		++m.counts[N_SEALED];
	}
	m.caches[cache].user[session] = false;
	for (uint32_t i = 0; i < HASHES; ++i)
		if (m.caches[cache].rights[i].session == session)
			m.caches[cache].rights[i].session = 0;
}

void verb_cache_close(void)
{
	uint32_t cache = some_cache(), session = some_session();
	const struct naive_cache *c = &m.caches[cache];
	bool busy;
	int r;

	if (!cache || !session || !m.spaces[c->space].member[session])
		return;
	busy = is_making(cache, session, false);
	do
		r = core_cache_close(m.core, session, c->space, cache);
	while (r == CORE_MORE);
	if (!c->user[session]) {
		MUST(r == CORE_E_NOT_FOUND);
		return;
	}
	MUST((r == CORE_E_BUSY) == busy);
	while (r) {
		MUST(r == CORE_E_BUSY && plan_finish_one());
		do
			r = core_cache_close(m.core, session, c->space, cache);
		while (r == CORE_MORE);
	}
	cache_leave(cache, session);
}

void verb_cache_change(void)
{
	struct cache_change change = {
		.set = below(CACHE_SET_ALL + 1),
		.capacity = below(26 * MIB),
		.ttl_ms = one_in(20) ? UINT64_MAX : below(9),
		.policy = some_policy(),
	};
	uint32_t session, space, cache = some_cache();
	struct naive_cache *c = &m.caches[cache];
	struct core_fault fault;
	bool wrong;
	int r;

	if (!cache || !some_member(&session, &space))
		return;
	space = c->space;
	wrong = (change.set & CACHE_SET_CAPACITY &&
		 (!change.capacity || change.capacity > m.spaces[space].limit)) ||
		(change.set & CACHE_SET_POLICY && !strcmp(change.policy, "none")) ||
		(change.set & CACHE_SET_TTL && change.ttl_ms > 9);
	r = core_cache_change(m.core, session, space, c->name, &change, &fault);
	if (!m.spaces[space].member[session] || !cache_named(space, c->name)) {
		MUST(r == CORE_E_NOT_FOUND);
		return;
	}
	c = cache_named(space, c->name);
	if (m.spaces[space].read_only[session] || m.spaces[space].barred[session]) {
		MUST(r == CORE_E_PERMISSION);
		return;
	}
	MUST(r == (wrong ? CORE_E_INVALID : 0));
	if (r)
		return;
	if (change.set & CACHE_SET_CAPACITY)
		c->capacity = change.capacity;
	if (change.set & CACHE_SET_POLICY)
		c->policy = policy_of(change.policy);
	if (change.set & CACHE_SET_TTL)
		c->ttl_ms = change.ttl_ms;
}

void verb_cache_remove(void)
{
	uint32_t session = some_session(), cache = some_cache();
	struct naive_cache *c = &m.caches[cache];
	struct core_fault fault;
	bool force = one_in(2);
	int r;

	if (!session || !cache)
		return;
	r = core_cache_remove(m.core, session, c->space, c->name, force, &fault);
	if (!m.spaces[c->space].member[session] || !cache_named(c->space, c->name)) {
		MUST(r == CORE_E_NOT_FOUND);
		return;
	}
	c = cache_named(c->space, c->name);
	if (m.spaces[c->space].read_only[session] || m.spaces[c->space].barred[session]) {
		MUST(r == CORE_E_PERMISSION);
	} else if (users_of(c) && !force) {
		MUST(r == CORE_E_IN_USE && fault.available == users_of(c));
	} else {
		MUST(!r);
		c->removed = true;
	}
}

void verb_cache_reap(void)
{
	bool busy = false;
	int r;

	for (uint32_t i = 1; i <= CACHES; ++i)
		busy |= m.caches[i].there && m.caches[i].removed && !users_of(&m.caches[i]) &&
			is_making(i, 0, true);
	do
		r = core_cache_reap(m.core);
	while (r == CORE_MORE);
	MUST(r == (busy ? CORE_E_BUSY : 0));
	while (r) {
		MUST(r == CORE_E_BUSY && plan_finish_one());
		do
			r = core_cache_reap(m.core);
		while (r == CORE_MORE);
	}
	for (uint32_t i = 1; i <= CACHES; ++i) {
		if (!m.caches[i].there || !m.caches[i].removed || users_of(&m.caches[i]))
			continue;
		for (uint32_t j = 0; j < EXTENTS; ++j)
			if (is_caches(&m.extents[j], i))
				extent_gone(&m.extents[j]);
		m.caches[i].there = false;
		++m.counts[N_CACHES_GONE];
	}
}

/* As of an extent; of nobody, the space pays, and its owner's account. */
static void lease_asked(uint32_t session, uint32_t cache, const struct cache_lease *lease,
			int r, const struct core_fault *fault, const struct extent_info *info,
			struct plan *plan, bool may)
{
	const struct naive_space *s = &m.spaces[m.caches[cache].space];
	uint32_t space = m.caches[cache].space, align = 1;
	uint64_t bytes = (lease->size + SLICE_BYTES - 1) / SLICE_BYTES * SLICE_BYTES;
	uint64_t nodes = numa_reach(s->numa), most = extent_max(space, nodes);
	uint64_t mine = used_by(space, session, false), all = used_by(space, 0, true);
	struct naive_extent *e;

	if (lease->kind == EXTENT_SEGMENT) {
		most = u64_min(most, CHUNK_BYTES);
		while ((uint64_t)align << SLICE_SHIFT < bytes)
			align *= 2;
	}
	if (bytes > most) {
		MUST(r == CORE_E_TOO_LARGE && fault->max == most);
		++m.counts[N_LARGE];
	} else if (session && mine + bytes > s->client_limit) {
		MUST(r == CORE_E_BUDGET && !strcmp(fault->which, "client"));
		++m.counts[N_BUDGET];
	} else if (all + bytes > s->limit) {
		MUST(r == CORE_E_BUDGET && !strcmp(fault->which, "space"));
		++m.counts[N_BUDGET];
	} else if (!may && used_by(0, 0, true) + bytes <= core_view(m.core).capacity) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault->which, "limits.leases"));
		++m.counts[N_LIMIT];
	} else if (r == CORE_E_BUSY) {
		MUST(plans_out() || sweeps_out());
		++m.counts[N_BUSY];
	} else if (r == CORE_E_LIMIT) {
		MUST(!naive_may(s->uid, QUOTA_WINDOWS));
		++m.counts[N_LIMIT];
	} else if (r == CORE_E_MEMORY) {
		MUST(!feasible(space, (uint32_t)(bytes >> SLICE_SHIFT), align, nodes));
		++m.counts[N_MEMORY];
	} else {
		MUST(!r && info->size == bytes);
		e = extent_there(session, space, lease->kind, info, plan, nodes);
		e->cache = cache;
		MUST(lease->kind != EXTENT_SEGMENT ||
		     e->first / PER == (e->first + e->count - 1) / PER);
		++m.counts[N_LEASED];
	}
}

void verb_cache_lease(void)
{
	struct cache_lease lease = {
		.kind = one_in(5) ? EXTENT_OBJECT : EXTENT_SEGMENT,
		.size = one_in(10) ? 1 + below(6 * MIB) : SLICE_BYTES << below(6),
		.caller = below(NODES + 2),
	};
	uint32_t cache = some_cache(), session = 0;
	const struct naive_cache *c = &m.caches[cache];
	struct plan *plan = NULL;
	struct core_fault fault;
	struct extent_info info;
	bool may;
	int r;

	if (!cache || plans_out() == PLANS)
		return;
	if (!one_in(4)) {
		session = some_session();
		for (uint32_t i = 1; i <= SESSIONS && !one_in(20); ++i)
			if (c->user[i])
				session = i;
		if (!session)
			return;
	}
	may = naive_may(session ? m.uids[session] : m.spaces[c->space].uid, QUOTA_LEASES);
	r = core_cache_lease(m.core, session, cache, &lease, &info, &plan, &fault);
	if (session && !c->user[session])
		MUST(r == CORE_E_NOT_FOUND && !strcmp(fault.which, "cache"));
	else if (session &&
		 (m.spaces[c->space].read_only[session] || m.spaces[c->space].barred[session]))
		MUST(r == CORE_E_PERMISSION);
	else
		lease_asked(session, cache, &lease, r, &fault, &info, plan, may);
}

static struct naive_extent *some_extent(bool leased)
{
	uint32_t from = below(EXTENTS);

	for (uint32_t i = 0; i < EXTENTS; ++i) {
		struct naive_extent *e = &m.extents[(from + i) % EXTENTS];

		if (e->there && !e->pending && e->cache && !e->session == !leased)
			return e;
	}
	return NULL;
}

static uint64_t offset_of(const struct naive_extent *e)
{
	return offset_make(m.windows[e->window].number, (uint64_t)e->first << SLICE_SHIFT);
}

void verb_cache_seal(void)
{
	struct naive_extent *e = some_extent(true);
	uint32_t session = some_session();
	struct core_fault fault;
	int r;

	if (!e)
		return;
	if (!one_in(10))
		session = e->session;
	if (!m.spaces[e->space].member[session])
		return;
	r = core_cache_seal(m.core, session, e->space, offset_of(e), e->tag, &fault);
	if (session != e->session) {
		MUST(r == CORE_E_REFERENCE && !strcmp(fault.which, "not-owner"));
		return;
	}
	MUST(!r);
	e->session = 0;
	++m.counts[N_SEALED];
}

/* All or some of one; what comes of it is worked out from the byte map. */
void verb_cache_return(void)
{
	struct naive_extent *e = some_extent(one_in(10));
	uint32_t first, count, id, cache;
	struct naive_window *w;
	struct core_fault fault;
	uint64_t offset;
	bool foreign;
	int r;

	if (!e)
		return;
	w = &m.windows[e->window];
	cache = e->cache;
	first = e->first + (one_in(2) ? 0 : below(e->count));
	count = one_in(2) ? e->first + e->count - first : 1 + below(e->count);
	offset = offset_make(m.windows[e->window].number, (uint64_t)first << SLICE_SHIFT);
	/* In a hole there may be another, of the same cache even. */
	id = w->owner[first];
	e = id ? &m.extents[id - 1] : e;
	foreign = !id || e->cache != cache || e->pending;
	for (uint32_t i = first; i < first + count; ++i)
		foreign |= i >= w->slices || w->owner[i] != id;
	foreign |= e->kind == EXTENT_OBJECT && count != e->count;
	r = core_cache_return(m.core, cache, offset, count * SLICE_BYTES, &fault);
	if (foreign) {
		MUST(r == CORE_E_REFERENCE && !strcmp(fault.which, "foreign"));
		return;
	}
	if (e->session) {
		MUST(r == CORE_E_REFERENCE && !strcmp(fault.which, "leased"));
		return;
	}
	MUST(!r);
	++m.counts[N_RETURNED];
	for (uint32_t i = first; i < first + count; ++i)
		w->owner[i] = 0;
	e->slices -= count;
	e->there = e->slices;
	if (!e->there)
		return;
	while (w->owner[e->first] != id) {
		++e->first;
		--e->count;
	}
	while (w->owner[e->first + e->count - 1] != id)
		--e->count;
}

static uint64_t hash_of(uint32_t i)
{
	return i == 5 ? UINT64_MAX : (uint64_t)i << 32 * (i % 2);
}

void verb_right_take(void)
{
	uint32_t cache = some_cache(), session = some_session(), i = below(HASHES);
	struct naive_cache *c = &m.caches[cache];
	uint64_t until = next();
	struct right_view view;
	struct core_fault fault;
	bool may;
	int r;

	if (!cache || !session)
		return;
	for (uint32_t j = 1; j <= SESSIONS && !one_in(10); ++j)
		if (c->user[j] && (!c->user[session] || one_in(2)))
			session = j;
	may = naive_may(m.uids[session], QUOTA_RIGHTS);
	r = core_right_take(m.core, session, cache, hash_of(i), until, &view, &fault);
	if (!c->user[session]) {
		MUST(r == CORE_E_NOT_FOUND && !strcmp(fault.which, "cache"));
	} else if (m.spaces[c->space].barred[session]) {
		MUST(r == CORE_E_PERMISSION && !strcmp(fault.which, "revoked"));
	} else if (m.spaces[c->space].read_only[session]) {
		MUST(r == CORE_E_PERMISSION && !strcmp(fault.which, "write"));
	} else if (c->rights[i].session) {
		MUST(r == CORE_E_EXISTS && view.session == c->rights[i].session &&
		     view.token == c->rights[i].token);
		++m.counts[N_CLAIMED];
	} else if (!may) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault.which, "limits.rights"));
		++m.counts[N_LIMIT];
	} else {
		MUST(!r && view.cache == cache && view.session == session &&
		     view.hash == hash_of(i) && view.until == until && view.token > c->token);
		c->rights[i].session = session;
		c->rights[i].until = until;
		c->rights[i].token = c->token = view.token;
		++m.counts[N_RIGHTS];
	}
}

void verb_right_end(void)
{
	uint32_t cache = some_cache(), i = below(HASHES);
	struct naive_cache *c = &m.caches[cache];
	struct right_view view;

	if (!cache || !core_right_find(m.core, cache, hash_of(i), &view))
		return;
	core_right_end(m.core, view.right);
	MUST(!core_right_view(m.core, view.right, &view));
	c->rights[i].session = 0;
}

static void compare_rights(const struct core *core, uint32_t cache)
{
	const struct naive_cache *c = &m.caches[cache];
	struct right_view view, again;
	uint32_t n = 0;

	for (uint32_t i = 0; i < HASHES; ++i) {
		MUST(core_right_find(core, cache, hash_of(i), &view) == !!c->rights[i].session);
		if (!c->rights[i].session)
			continue;
		++n;
		MUST(view.cache == cache && view.session == c->rights[i].session &&
		     view.token == c->rights[i].token && view.until == c->rights[i].until);
		MUST(core_right_view(core, view.right, &again) && again.token == view.token &&
		     core_right_next(core, view.right) == view.right);
	}
	MUST(core_cache_rights(core, cache) == n);
}

/* `recovered`: without what plans make. */
void compare_caches(const struct core *core, bool recovered)
{
	uint32_t next = 0;

	for (uint32_t i = 1; i <= CACHES; ++i) {
		const struct naive_cache *c = &m.caches[i];
		uint32_t segments = 0, objects = 0, user = 0;
		struct estate_view view;
		uint64_t bytes = 0;

		MUST(core_cache_view(core, i, &view) == c->there);
		next = core_cache_next(core, i);
		MUST(c->there == (next == i));
		if (!c->there)
			continue;
		for (uint32_t j = 0; j < EXTENTS; ++j) {
			const struct naive_extent *e = &m.extents[j];

			if (!is_caches(e, i) || (recovered && e->pending))
				continue;
			bytes += (uint64_t)e->slices << SLICE_SHIFT;
			++*(e->kind == EXTENT_SEGMENT ? &segments : &objects);
		}
		MUST(view.space == c->space && !strcmp(view.name, c->name) &&
		     view.removed == c->removed && view.capacity == c->capacity &&
		     view.ttl_ms == c->ttl_ms && view.policy == c->policy);
		MUST(view.bytes == bytes && view.segments == segments &&
		     view.objects == objects && view.sessions == users_of(c));
		for (uint32_t j = 1; j <= SESSIONS; ++j) {
			MUST(core_cache_has(core, i, j) == c->user[j]);
			if (c->user[j] && !user)
				user = j;
		}
		compare_rights(core, i);
		MUST(core_cache_user(core, i, 0) == (user ? user : UINT32_MAX));
		MUST((core_cache_named(core, c->space, c->name) == i) == !c->removed);
	}
}
