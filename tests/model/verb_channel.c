#include "tests/model/naive.h"

static bool lives(const struct naive_channel *c)
{
	uint32_t roles = 0;

	for (uint32_t i = 1; i <= SESSIONS; ++i)
		roles |= c->roles[i];
	return c->there && roles;
}

uint64_t channel_says(const struct naive_channel *c)
{
	struct id_info info = {
		.kind = ID_CHANNEL,
		.dead = !lives(c),
		.had_senders = c->had_senders,
		.had_receivers = c->had_receivers,
		.died = c->died,
	};

	for (uint32_t i = 1; i <= SESSIONS; ++i) {
		info.senders += c->roles[i] & 1;
		info.receivers += c->roles[i] >> 1;
	}
	return id_word_pack(info);
}

static uint32_t channels_there(void)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i <= SPACES; ++i)
		for (uint32_t j = 0; j < CHANNELS; ++j)
			n += m.spaces[i].there && m.spaces[i].channels[j].there;
	return n;
}

static bool has_dead(const struct naive_space *s)
{
	for (uint32_t i = 0; i < IDS_MAX; ++i)
		if (s->ids[i] == ID_DEAD || s->ids[i] == ID_SWEPT)
			return true;
	return false;
}

static void roles_add(struct naive_channel *c, uint32_t session, uint32_t roles)
{
	c->roles[session] |= roles;
	c->had_senders |= roles & 1;
	c->had_receivers |= roles >> 1;
}

static void roles_take(struct naive_space *s, struct naive_channel *c, uint32_t session,
		       uint32_t roles, bool died)
{
	uint32_t gone = c->roles[session] & roles;

	c->roles[session] &= ~roles;
	for (uint32_t i = 1; i <= SESSIONS; ++i)
		gone &= ~c->roles[i];
	if (gone) /* nobody else has it */
		c->died = died;
	if (!lives(c))
		s->ids[c->id] = ID_DEAD;
}

static void channel_made(uint32_t session, uint32_t space,
			 const struct channel_request *request, const struct channel_info *info,
			 struct plan *plan)
{
	struct naive_space *s = &m.spaces[space];
	struct extent_info at = {info->offset, info->size, info->tag};
	const struct effect *last = &plan->effects[plan->n_effects - 1];
	const struct naive_extent *e;
	struct naive_channel *c = s->channels;

	MUST(info->size == SLICE_BYTES && s->ids[info->id] == ID_FREE && !s->kept[info->id]);
	while (c->there)
		++c;
	e = extent_there(session, space, EXTENT_CHANNEL, &at, plan, numa_reach(s->numa));
	MUST(last->kind == EFFECT_ZERO && last->window == e->window &&
	     last->first == e->first && last->count == 1);
	*c = (struct naive_channel){
		.there = true,
		.pending = true,
		.id = info->id,
		.extent = (uint32_t)(e - m.extents),
		.capacity = info->capacity,
	};
	strcpy(c->name, request->name);
	roles_add(c, session, request->roles);
	s->ids[info->id] = ID_COMING;
	for (uint32_t i = 0; i < PLANS; ++i) {
		if (m.plans[i].plan == plan) {
			m.plans[i].space = space;
			m.plans[i].channel = (uint32_t)(c - s->channels) + 1;
		}
	}
	++m.counts[N_CHANNELS];
}

void channel_ends(const struct naive_plan *p, bool commit)
{
	struct naive_space *s = &m.spaces[p->space];
	struct naive_channel *c;

	if (!p->channel)
		return;
	c = &s->channels[p->channel - 1];
	c->there = commit;
	c->pending = false;
	s->ids[c->id] = commit ? ID_ALIVE : ID_FREE;
}

static void channel_joined(const struct naive_channel *c, const struct channel_info *info)
{
	const struct naive_extent *e = &m.extents[c->extent];

	MUST(info->id == c->id && info->capacity == c->capacity && info->tag == e->tag);
	MUST(info->offset ==
	     offset_make(m.windows[e->window].number, (uint64_t)e->first << SLICE_SHIFT));
}

/* One that is not there, as far as it can be had. */
static void channel_asked(uint32_t session, uint32_t space,
			  const struct channel_request *request, int r,
			  const struct core_fault *fault, const struct channel_info *info,
			  struct plan *plan, bool may, bool may_lease, bool full)
{
	struct naive_space *s = &m.spaces[space];
	uint64_t all = used_by(space, 0, true);

	if (!may) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault->which, "limits.channels"));
		++m.counts[N_LIMIT];
	} else if (full) {
		MUST(r == (has_dead(s) ? CORE_E_BUSY : CORE_E_LIMIT));
		MUST(!strcmp(fault->which, has_dead(s) ? "sweep" : "channels"));
		++m.counts[N_LIMIT];
	} else if (all + SLICE_BYTES > s->limit) {
		MUST(r == CORE_E_BUDGET && !strcmp(fault->which, "space"));
		++m.counts[N_BUDGET];
	} else if (!may_lease &&
		   used_by(0, 0, true) + SLICE_BYTES <= core_view(m.core).capacity) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault->which, "limits.leases"));
		++m.counts[N_LIMIT];
	} else if (r == CORE_E_BUSY) {
		MUST(plans_out() || sweeps_out());
		++m.counts[N_BUSY];
	} else if (r == CORE_E_LIMIT) {
		MUST(!naive_may(s->uid, QUOTA_WINDOWS));
		++m.counts[N_LIMIT];
	} else if (r == CORE_E_MEMORY) {
		MUST(!feasible(space, 1, 1, numa_reach(s->numa)));
		++m.counts[N_MEMORY];
	} else {
		MUST(!r && plan);
		channel_made(session, space, request, info, plan);
	}
}

void verb_channel_open(void)
{
	char name[8];
	struct channel_request request = {
		.name = name,
		.roles = one_in(20) ? below(8) : 1 + below(3),
		.capacity = one_in(20) ? below(5000) : below(300),
		.existing = one_in(8),
		.exclusive = one_in(8),
	};
	uint32_t session, space;
	struct naive_channel *c = NULL;
	struct core_fault fault = {0};
	struct plan *plan = NULL;
	struct channel_info info;
	bool may, may_lease, full;
	struct naive_space *s;
	int r;

	if (!some_member(&session, &space) || plans_out() == PLANS)
		return;
	s = &m.spaces[space];
	snprintf(name, sizeof(name), one_in(40) ? "." : "c%u", below(6));
	for (uint32_t i = 0; i < CHANNELS; ++i)
		if (lives(&s->channels[i]) && !strcmp(s->channels[i].name, name))
			c = &s->channels[i];
	may = naive_may(m.uids[session], QUOTA_CHANNELS);
	may_lease = naive_may(s->uid, QUOTA_LEASES);
	full = channels_there() == CHANNELS;
	r = core_channel_open(m.core, session, space, &request, &info, &plan, &fault);
	if (s->read_only[session] || s->barred[session]) {
		MUST(r == CORE_E_PERMISSION);
	} else if (name[0] == '.' || !request.roles || request.roles > 3 ||
		   request.capacity > CHANNEL_CAPACITY_MAX || !s->id[session]) {
		MUST(r == CORE_E_INVALID);
	} else if (c && c->pending) {
		MUST(r == CORE_E_BUSY && !strcmp(fault.which, "plan"));
	} else if (c && request.exclusive) {
		MUST(r == CORE_E_EXISTS);
	} else if (!c && request.existing) {
		MUST(r == CORE_E_NOT_FOUND && !strcmp(fault.which, "channel"));
	} else if (!c) {
		channel_asked(session, space, &request, r, &fault, &info, plan, may, may_lease,
			      full);
	} else if (!c->roles[session] && !may) {
		MUST(r == CORE_E_LIMIT && !strcmp(fault.which, "limits.channels"));
	} else {
		MUST(!r && !plan);
		channel_joined(c, &info);
		roles_add(c, session, request.roles);
		++m.counts[N_JOINED];
	}
}

void verb_channel_close(void)
{
	uint32_t session, space, roles = 1 + below(3), slot = below(CHANNELS);
	struct core_fault fault;
	struct naive_channel *c;
	int r;

	if (!some_member(&session, &space))
		return;
	for (uint32_t i = 0; i < CHANNELS && !lives(&m.spaces[space].channels[slot]); ++i)
		slot = (slot + 1) % CHANNELS;
	c = &m.spaces[space].channels[slot];
	r = core_channel_close(m.core, session, space, c->id, roles, &fault);
	if (!lives(c) || c->pending || !(c->roles[session] & roles)) {
		MUST(r == CORE_E_NOT_FOUND && !strcmp(fault.which, "channel"));
		return;
	}
	MUST(!r);
	roles_take(&m.spaces[space], c, session, roles, false);
}

void ends_die(uint32_t session, uint32_t space, bool died)
{
	struct naive_space *s = &m.spaces[space];

	for (uint32_t i = 0; i < CHANNELS; ++i) {
		struct naive_channel *c = &s->channels[i];

		if (c->there && c->roles[session])
			roles_take(s, c, session, 3, died);
	}
}

void channels_go(uint32_t space)
{
	struct naive_space *s = &m.spaces[space];

	for (uint32_t i = 0; i < CHANNELS; ++i) {
		struct naive_channel *c = &s->channels[i];

		if (!c->there || s->ids[c->id] != ID_SWEPT)
			continue;
		extent_gone(&m.extents[c->extent]);
		c->there = false;
		++m.counts[N_REAPED];
	}
}

void compare_channels(const struct core *core, bool recovered)
{
	for (uint32_t i = 1; i <= SPACES; ++i) {
		const struct naive_space *s = &m.spaces[i];
		uint32_t n = 0, listed = 0;

		if (!s->there || s->pending || s->idle_low == UINT32_MAX)
			continue;
		for (uint32_t j = 0; j < CHANNELS; ++j) {
			const struct naive_channel *c = &s->channels[j];
			struct channel_view view;
			struct id_info info = id_word_unpack(channel_says(c));

			if (!c->there)
				continue;
			MUST(core_channel_view(core, i, c->id, &view) ==
			     (lives(c) && !c->pending));
			if (!lives(c) || c->pending)
				continue;
			++n;
			channel_joined(c, &view.info);
			MUST(!strcmp(view.name, c->name));
			MUST(view.senders == info.senders && view.receivers == info.receivers);
			MUST(recovered || s->words[c->id] == channel_says(c));
		}
		for (uint32_t id = core_channel_next(core, i, 1), last = 0; id;
		     last = id, id = core_channel_next(core, i, id + 1), ++listed)
			MUST(id > last);
		MUST(listed == n);
	}
}
