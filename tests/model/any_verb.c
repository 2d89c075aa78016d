#include "tests/model/any_verb.h"

#include <stdio.h>

#include "daemon/core/ids.h"

const struct record_capacity capacity = {{
	[RECORD_SPACE] = SPACES,
	[RECORD_WINDOW] = WINDOWS,
	[RECORD_PAGES] = PAGES,
	[RECORD_SESSION] = SESSIONS,
	[RECORD_MEMBER] = MEMBERS,
	[RECORD_EXTENT] = EXTENTS,
	[RECORD_CHANNEL] = CHANNELS,
	[RECORD_END] = ENDS,
	[RECORD_CACHE] = CACHES,
	[RECORD_USER] = MEMBERS,
	[RECORD_RIGHT] = RIGHTS,
	[RECORD_LANES] = SESSIONS,
	[RECORD_RETURNS] = SESSIONS,
	[RECORD_INTENT] = 1,
	[RECORD_RESULT] = SESSIONS * RESULTS_A_SESSION,
}};

struct core *core;
struct records *records;
struct plan *plans[PLANS];
struct ask waiting[PLANS], flight;
bool planned;
uint64_t there[WINDOWS];
uint32_t last_tag[SPACES];
bool half_ended;

/* ---- the shell ---- */

static void plan_keep_for(struct plan *plan, const struct ask *who)
{
	for (uint32_t i = 0; plan && i < PLANS; ++i) {
		if (!plans[i]) {
			plans[i] = plan;
			waiting[i] = *who;
			plan = NULL;
		}
	}
	MUST(!plan);
}

static void plan_keep(struct plan *plan)
{
	plan_keep_for(plan, &(struct ask){0});
}

static uint32_t plans_out(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < PLANS; ++i)
		n += plans[i] != NULL;
	return n;
}

static bool plan_room(void)
{
	return plans_out() < PLANS;
}

/* What ends something has done so when it returns a plan; what makes something has not. */
static int ask_live(struct ask *a)
{
	struct plan *plan;
	int r = ask(core, a, &plan);
	bool ends = a->verb == ASK_CLOSE || a->verb == ASK_REMOVE;
	struct result_view result;

	if (plan)
		plan_keep_for(plan, ends || a->session == UINT32_MAX ? &(struct ask){0} : a);
	/* What was so already leaves none. */
	if (!r && (!plan || ends) && core_result(core, a->session, a->verb, a->id, &result))
		flight = *a;
	if (flight.verb == ASK_REMOVE || flight.verb == ASK_CHANNEL_CLOSE)
		flight.answer = result; /* of nobody's interest */
	return r;
}

void plan_end_one(void)
{
	struct plan *plan;
	uint32_t slot = below(PLANS);
	bool commit = below(4);

	for (uint32_t i = 0; i < PLANS && !plans[slot]; ++i)
		slot = (slot + 1) % PLANS;
	plan = plans[slot];
	plans[slot] = NULL;
	if (!plan)
		return;
	if (commit)
		flight = waiting[slot];
	planned = commit;
	/* The kernel's part comes first. */
	for (uint32_t i = 0; i < plan->n_effects; ++i) {
		const struct effect *e = &plan->effects[i];
		uint64_t bits;

		/* A spoiled ledger may have windows of more units than anybody makes here. */
		if (e->kind == EFFECT_ZERO || e->first >= UNITS_MAX)
			continue;
		bits = e->count >= UNITS_MAX ? ~(uint64_t)0
					     : (((uint64_t)1 << e->count) - 1) << e->first;
		if (e->kind == EFFECT_PUNCH || e->kind == EFFECT_SCRUB ||
		    e->kind == EFFECT_WINDOW_DESTROY)
			there[e->window] &= ~bits;
		else if (e->kind == EFFECT_COMMIT && commit)
			there[e->window] |= bits;
	}
	if (commit)
		plan_commit(core, plan);
	else
		plan_abort(core, plan);
}

static uint32_t some_session(void)
{
	uint32_t slot = core_session_next(core, below(SESSIONS));

	return slot == UINT32_MAX ? core_session_next(core, 0) : slot;
}

static uint32_t some_space(void)
{
	uint32_t slot = core_space_next(core, below(SPACES));

	return slot == UINT32_MAX ? core_space_next(core, 0) : slot;
}

static void verb_create(void)
{
	struct ask a = asking(ASK_CREATE, some_session(), 0);

	a.create = (struct space_request){.limit = (1 + below(6)) * 2 * MIB,
					  .reserve = below(2) * below(5) * MIB,
					  .owner = {0, 0},
					  .hash_seed = a.id};
	snprintf(a.name, sizeof(a.name), "s%u", below(8));
	ask_live(&a);
}

static void verb_change(uint32_t space)
{
	struct space_change change = {
		.set = below(SPACE_SET_ALL + 1),
		.to =
			{
				.owner = {below(3), below(3)},
				.mode = 0600 + below(3),
				.weight = 1 + below(9),
				.limit = (1 + below(8)) * 2 * MIB,
				.reserve = below(8) * MIB,
				.client_limit = (1 + below(12)) * MIB,
			},
	};
	struct plan *plan = NULL;
	struct core_fault fault;
	struct space_view view;

	if (core_space_view(core, space, &view) &&
	    !core_space_change(core, (struct credentials){0, 0}, NULL, 0, view.name, &change,
			       &plan, &fault) &&
	    plan)
		plan_keep(plan);
}

static void tag_is_new(uint32_t space, uint32_t tag)
{
	MUST(tag != last_tag[space]);
	last_tag[space] = tag;
}

static void verb_alloc(uint32_t session, uint32_t space)
{
	struct ask a = asking(ASK_ALLOC, session, space);

	a.alloc = (struct extent_request){.size = 1 + below(below(3) ? MIB : 4 * MIB),
					  .kind = EXTENT_PRIVATE + below(3)};
	if (!ask_live(&a))
		tag_is_new(space, result_extent(a.answer).tag);
}

static void verb_free(void)
{
	uint32_t slot = below(EXTENTS);
	const struct extent_record *extent = records_at(records, RECORD_EXTENT, slot);
	struct extent_owner owner = extent_owner_unpack(extent->owner);
	struct extent_run run = extent_run_unpack(extent->run, owner.kind);
	struct window_view view;
	struct ask a;

	if (!extent->run || !core_window_view(core, run.window, &view))
		return;
	a = asking(ASK_FREE, owner.holder ? owner.holder - 1 : some_session(), view.space);
	a.offset = offset_make(view.number, (uint64_t)run.first << SLICE_SHIFT);
	a.tag = owner.tag;
	ask_live(&a);
}

/* All of it at once: what holds nothing is whatever the dice say. */
static void verb_sweep(uint32_t space)
{
	struct extent_place places[EXTENTS];
	uint64_t dead[ID_WORDS];
	uint32_t n;
	int r;

	if (core_sweep_begin(core, space, dead))
		return;
	do {
		r = core_sweep_next(core, space, places, EXTENTS, &n);
		for (uint32_t i = 0; i < n; ++i)
			if (!below(3))
				core_sweep_free(core, space, &places[i]);
	} while (r == CORE_MORE);
	MUST(!r);
	core_sweep_end(core, space, below(4));
}

static void verb_channel_open(uint32_t session, uint32_t space)
{
	struct ask a = asking(ASK_CHANNEL_OPEN, session, space);
	uint32_t outstanding = plans_out(), dice = below(2 * MEMBERS);

	/* By who has an id, if there is anyone. */
	for (uint32_t i = 0; i < MEMBERS && dice < MEMBERS; ++i, dice = (dice + 1) % MEMBERS) {
		struct member_word word =
			member_word_unpack(record_word(records, RECORD_MEMBER, dice, 0));

		if (records_valid(records, RECORD_MEMBER, dice) && word.id) {
			a.session = word.session;
			a.space = space = word.space;
			break;
		}
	}
	a.channel = (struct channel_request){.roles = 1 + below(3), .exclusive = !below(2)};
	snprintf(a.name, sizeof(a.name), "c%u", below(3));
	if (!ask_live(&a) && plans_out() > outstanding)
		tag_is_new(space, result_channel(a.answer).tag);
}

static void verb_channel_close(uint32_t session, uint32_t space)
{
	struct ask a = asking(ASK_CHANNEL_CLOSE, session, space);
	const struct end_record *record = records_at(records, RECORD_END, below(ENDS));
	struct end_word end = end_word_unpack(record->word);
	const struct channel_record *channel = records_at(records, RECORD_CHANNEL, end.channel);

	a.tag = 1 + below(8);
	a.roles = 1 + below(3);
	if (record->word && below(8)) {
		a.session = end.session;
		a.space = channel_word_unpack(channel->word).space;
		a.tag = channel_word_unpack(channel->word).id;
	}
	ask_live(&a);
}

static uint32_t some_cache(void)
{
	uint32_t slot = core_cache_next(core, 1 + below(CACHES));

	return slot == UINT32_MAX ? core_cache_next(core, 0) : slot;
}

static void verb_cache_open(uint32_t session, uint32_t space)
{
	struct ask a = asking(ASK_CACHE_OPEN, session, space);

	a.open = (struct cache_request){
		.capacity = 1 + below(MIB), .ttl_ms = below(9), .exclusive = !below(2)};
	snprintf(a.name, sizeof(a.name), "k%u", below(3));
	ask_live(&a);
}

static void verb_cache_change(uint32_t session, const struct estate_view *view)
{
	static const char *const policies[] = {"lru", "fifo", "sieve"};
	struct cache_change change = {.set = below(CACHE_SET_ALL + 1),
				      .capacity = 1 + below(MIB),
				      .ttl_ms = below(9),
				      .policy = policies[below(3)]};
	struct core_fault fault;

	core_cache_change(core, session, view->space, view->name, &change, &fault);
}

static void verb_cache_lease(uint32_t session, const struct estate_view *view)
{
	struct ask a;

	if (below(5)) /* of who has it open; else of nobody, or of somebody who has it not */
		session = core_cache_user(core, view->cache, 0);
	if (session == UINT32_MAX)
		return;
	a = asking(ASK_LEASE, session, view->space);
	a.cache = view->cache;
	a.lease = (struct cache_lease){.kind = EXTENT_SEGMENT + below(2),
				       .size = 1 + below(below(3) ? MIB : 4 * MIB)};
	if (!ask_live(&a))
		tag_is_new(view->space, result_extent(a.answer).tag);
}

/* Sealed, or some of it given back. */
static void verb_cache_extent(void)
{
	uint32_t slot = below(EXTENTS), first, count;
	const struct extent_record *extent;
	struct extent_owner owner;
	struct extent_run run;
	struct window_view view;
	struct core_fault fault;
	uint64_t offset;

	for (uint32_t i = 0; i < EXTENTS; ++i, slot = (slot + 1) % EXTENTS) {
		extent = records_at(records, RECORD_EXTENT, slot);
		if (extent->run && extent_owner_unpack(extent->owner).cache)
			break;
	}
	owner = extent_owner_unpack(extent->owner);
	run = extent_run_unpack(extent->run, owner.kind);
	if (!run.count || !owner.cache || !core_window_view(core, run.window, &view))
		return;
	offset = offset_make(view.number, (uint64_t)run.first << SLICE_SHIFT);
	if (owner.holder) {
		struct ask a = asking(ASK_SEAL, owner.holder - 1, view.space);

		a.offset = offset;
		a.tag = owner.tag;
		ask_live(&a);
		return;
	}
	first = below(run.count);
	count = 1 + below(run.count - first);
	if (below(3) || owner.kind == EXTENT_OBJECT) {
		first = 0;
		count = run.count;
	}
	core_cache_return(core, owner.cache, offset + first * SLICE_BYTES, count * SLICE_BYTES,
			  &fault);
}

/* Taken, or let go. */
static void verb_right(uint32_t session, uint32_t cache)
{
	uint64_t hash = below(4);
	struct right_view view;
	struct ask a;

	if (below(4))
		session = core_cache_user(core, cache, below(2) ? session : 0);
	if (session == UINT32_MAX)
		return;
	if (core_right_find(core, cache, hash, &view) && below(2)) {
		a = asking(ASK_RIGHT_END, view.session, 0);
		a.right = view.right;
	} else {
		a = asking(ASK_RIGHT_TAKE, session, 0);
		a.cache = cache;
		a.hash = hash;
		a.until = below(9);
	}
	ask_live(&a);
}

static void verb_cache(uint32_t session, uint32_t space)
{
	uint32_t cache = some_cache(), dice = below(26);
	struct estate_view view;
	struct ask a;

	if (dice < 6 || !core_cache_view(core, cache, &view))
		verb_cache_open(session, space);
	else if (dice < 12)
		verb_cache_lease(session, &view);
	else if (dice < 15)
		verb_cache_extent();
	else if (dice < 16)
		verb_cache_change(session, &view);
	else if (dice < 18) {
		a = asking(ASK_CACHE_CLOSE, core_cache_user(core, cache, 0), view.space);
		a.cache = cache;
		ask_live(&a);
	} else if (dice < 19) {
		a = asking(ASK_CACHE_REMOVE, session, view.space);
		snprintf(a.name, sizeof(a.name), "%s", view.name);
		a.flag = below(2);
		ask_live(&a);
	} else if (dice < 24)
		verb_right(session, cache);
	else if (dice < 25 && below(2))
		core_cache_cleared(core, cache);
	else if (dice < 25)
		core_cache_index(core, cache, view.index + 1);
	else
		core_cache_reap(core);
}

/* Opened; a record of them is done, or about to be. */
static void verb_lanes(uint32_t session)
{
	struct lanes_terms terms = {1 + below(3), below(4), below(2)};
	struct intent intent = {.session = session,
				.cache = 1 + below(CACHES - 1),
				.kind = LANE_DELETE + below(4),
				.hash = below(9),
				.offset = below(9) * SLICE_BYTES,
				.tag = below(9)};
	struct core_fault fault;
	uint64_t taken;

	if (!core_lanes_view(core, session, &terms)) {
		core_lanes_open(core, session, &terms, &fault);
		return;
	}
	intent.lane = below(terms.lanes);
	taken = core_lane_position(core, session, intent.lane);
	if (below(2))
		core_intent(core, &intent);
	else if (below(4))
		core_lane_taken(core, session, intent.lane, taken + 1);
	else
		core_intent_drop(core);
}

static void verb_returns(uint32_t session)
{
	struct core_fault fault;
	uint64_t taken;

	if (core_returns_view(core, session, &taken))
		core_returns_taken(core, session, taken + 1);
	else
		core_returns_open(core, session, &fault);
}

bool one_verb(void)
{
	uint32_t session = some_session(), space = some_space(), slot, dice = below(100);
	struct session_request request = {.pid = 1 + below(1000), .birth = 1 + below(1000)};
	struct core_fault fault;
	struct space_view view;
	struct plan *plan = NULL;
	struct ask a;
	bool read_only;
	int r;

	flight.verb = ASK_NOTHING;
	planned = false;
	if (!plan_room() || (dice >= 40 && dice < 55)) {
		plan_end_one();
	} else if (!below(5)) {
		verb_cache(session, space);
	} else if (!below(8)) {
		if (below(4))
			verb_lanes(session);
		else
			verb_returns(session);
	} else if (dice < 20) {
		verb_alloc(session, space);
	} else if (dice < 24) {
		verb_channel_open(session, space);
	} else if (dice < 26) {
		verb_channel_close(session, space);
	} else if (dice < 28) {
		core_holder_open(core, session, space, &slot, &fault);
	} else if (dice < 30) {
		verb_sweep(space);
	} else if (dice < 40) {
		verb_free();
	} else if (dice < 65) {
		if (core_space_view(core, space, &view)) {
			a = asking(ASK_OPEN, session, 0);
			snprintf(a.name, sizeof(a.name), "%s", view.name);
			a.flag = !below(6);
			ask_live(&a);
		}
	} else if (dice < 72) {
		core_session_open(core, &request, &slot, &fault);
	} else if (dice < 78) {
		verb_create();
	} else if (dice < 80) {
		verb_change(space);
	} else if (dice < 84) {
		if (!core_trim(core, space, 1 + below(3), &plan) && plan)
			plan_keep(plan);
	} else if (dice < 90) {
		core_window_open(core, session, space, below(2), &slot, &read_only, &fault);
	} else if (dice < 93) {
		r = core_session_end(core, session, &plan);
		for (uint32_t i = 0; !r && i < PLANS; ++i)
			if (waiting[i].session == session)
				waiting[i].verb = ASK_NOTHING;
		if (!r && plan)
			plan_keep(plan);
		half_ended |= r == CORE_MORE || r == CORE_E_BUSY;
		return true;
	} else if (dice < 95) {
		a = asking(ASK_CLOSE, session, space);
		r = ask_live(&a);
		half_ended |= r == CORE_MORE || r == CORE_E_BUSY;
		return true;
	} else if (dice < 97 && core_space_view(core, space, &view)) {
		a = asking(ASK_REMOVE, session, 0);
		snprintf(a.name, sizeof(a.name), "%s", view.name);
		a.flag = below(2);
		ask_live(&a);
		return true;
	} else if (!core_scrub(core, below(WINDOWS), &plan) && plan) {
		plan_keep(plan);
	}
	return false;
}

void end_all(struct core *of, const struct records *table)
{
	struct core_fault fault;
	struct plan *plan = NULL;
	uint32_t slot;
	int r;

	while ((slot = core_session_next(of, 0)) != UINT32_MAX) {
		do
			r = core_session_end(of, slot, &plan);
		while (r == CORE_MORE);
		MUST(!r);
		if (plan)
			plan_commit(of, plan);
		core_changes_clear(of);
	}
	if (below(2))
		do
			r = core_cache_reap(of);
		while (r == CORE_MORE);
	while ((slot = core_space_next(of, 0)) != UINT32_MAX) {
		struct space_view view;

		MUST(core_space_view(of, slot, &view));
		MUST(!view.sessions);
		do
			r = core_space_remove(of, (struct credentials){0, 0}, view.name, false,
					      &plan, &fault);
		while (r == CORE_MORE);
		MUST(!r && plan);
		plan_commit(of, plan);
	}
	MUST(!core_view(of).committed && !core_view(of).used);
	for (uint32_t kind = 0; kind < RECORD_KINDS; ++kind)
		for (uint32_t i = 0; i < capacity.slots[kind]; ++i)
			MUST(!records_valid(table, kind, i));
	MUST(!core_check(of));
}
