#include "daemon/core/position.h"

#include <errno.h>

#include "base/base.h"
#include "daemon/core/state.h"

static const struct lanes_record *lanes_at(const struct core *core, uint32_t session)
{
	return records_at(core->records, RECORD_LANES, session);
}

static const struct intent_record *intent_at(const struct core *core)
{
	return records_at(core->records, RECORD_INTENT, 0);
}

static bool has_intent(const struct core *core)
{
	return records_valid(core->records, RECORD_INTENT, 0);
}

static struct session *of(const struct core *core, uint32_t session)
{
	return session < core->slots[RECORD_SESSION].total ? core->sessions[session] : NULL;
}

/* ---- in memory ---- */

static void lanes_enter(struct core *core, struct session *session, struct lanes_word word)
{
	session->lanes = (struct lanes_terms){word.lanes, word.pins, word.barrier};
	session->lanes_place = record_lanes_place(core->records, session->slot);
	slots_claim(&core->slots[RECORD_LANES], session->slot);
}

static void returns_enter(struct core *core, struct session *session)
{
	session->returns = true;
	slots_claim(&core->slots[RECORD_RETURNS], session->slot);
}

static void lanes_leave(struct core *core, struct session *session)
{
	if (has_intent(core) &&
	    intent_word_unpack(intent_at(core)->word).session == session->slot &&
	    !mutant(intent_outlives_lanes))
		record_clear(core->records, RECORD_INTENT, 0);
	record_clear(core->records, RECORD_LANES, session->slot);
	slots_put(&core->slots[RECORD_LANES], session->slot);
	session->lanes = (struct lanes_terms){0};
}

void position_release(struct core *core, struct session *session)
{
	if (session->lanes.lanes)
		lanes_leave(core, session);
	if (!session->returns)
		return;
	record_clear(core->records, RECORD_RETURNS, session->slot);
	slots_put(&core->slots[RECORD_RETURNS], session->slot);
	session->returns = false;
}

/* ---- verbs ---- */

int core_lanes_open(struct core *core, uint32_t session, const struct lanes_terms *terms,
		    struct core_fault *fault)
{
	struct session *at = core_session_at(core, session);
	struct lanes_word word = {terms->lanes, terms->pins, terms->barrier};

	if (!at)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "session");
	if (at->lanes.lanes)
		return FAULT(fault, CORE_E_EXISTS, .which = "lanes");
	if (!terms->lanes || terms->lanes > LANES_A_SESSION || terms->pins >= LANE_HAZARDS)
		return FAULT(fault, CORE_E_INVALID, .which = "lanes");
	if (session >= core->slots[RECORD_LANES].total)
		return FAULT(fault, CORE_E_LIMIT, .which = "lanes");
	record_lanes_put(core->records, session, word);
	lanes_enter(core, at, word);
	return 0;
}

bool core_lanes_view(const struct core *core, uint32_t session, struct lanes_terms *ret)
{
	const struct session *at = of(core, session);

	if (!at || !at->lanes.lanes)
		return false;
	*ret = at->lanes;
	return true;
}

uint64_t core_lane_position(const struct core *core, uint32_t session, uint32_t lane)
{
	return lanes_at(core, session)->taken[lane];
}

void core_lane_taken(struct core *core, uint32_t session, uint32_t lane, uint64_t taken)
{
	record_lane_taken(core->records, core->sessions[session]->lanes_place, lane, taken);
}

int core_returns_open(struct core *core, uint32_t session, struct core_fault *fault)
{
	struct session *at = core_session_at(core, session);

	if (!at)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "session");
	if (at->returns)
		return FAULT(fault, CORE_E_EXISTS, .which = "returns");
	if (session >= core->slots[RECORD_RETURNS].total)
		return FAULT(fault, CORE_E_LIMIT, .which = "returns");
	record_returns_put(core->records, session);
	returns_enter(core, at);
	return 0;
}

bool core_returns_view(const struct core *core, uint32_t session, uint64_t *ret_taken)
{
	const struct session *at = of(core, session);
	const struct returns_record *record;

	if (!at || !at->returns)
		return false;
	record = records_at(core->records, RECORD_RETURNS, session);
	*ret_taken = record->taken;
	return true;
}

void core_returns_taken(struct core *core, uint32_t session, uint64_t taken)
{
	record_returns_taken(core->records, session, taken);
}

/* ---- the intent ---- */

void core_intent(struct core *core, const struct intent *intent)
{
	struct intent_record record = {
		.word = intent_word_pack((struct intent_word){intent->session, intent->lane,
							      intent->kind, intent->cache}),
		.position = core_lane_position(core, intent->session, intent->lane),
		.hash = intent->hash,
		.what = ref_make(intent->tag, intent->offset),
	};

	record_intent_put(core->records, &record);
}

void core_intent_drop(struct core *core)
{
	if (has_intent(core))
		record_clear(core->records, RECORD_INTENT, 0);
}

bool core_intent_view(const struct core *core, struct intent *ret)
{
	const struct intent_record *record = intent_at(core);
	struct intent_word word;

	if (!has_intent(core))
		return false;
	word = intent_word_unpack(record->word);
	if (core_lane_position(core, word.session, word.lane) != record->position)
		return false;
	*ret = (struct intent){
		.session = word.session,
		.lane = word.lane,
		.kind = word.kind,
		.cache = word.cache,
		.hash = record->hash,
		.offset = ref_offset(record->what),
		.tag = ref_tag(record->what),
	};
	return true;
}

uint32_t core_cache_tag(const struct core *core, uint32_t cache)
{
	const struct estate *estate =
		cache < core->slots[RECORD_CACHE].total ? core->caches[cache] : NULL;

	return estate ? estate->space->tag_next : 0;
}

bool core_cache_leased(const struct core *core, uint32_t session, uint32_t cache, uint32_t tag,
		       struct extent_info *ret)
{
	const struct user *user = user_at(core, session, cache);

	if (!user)
		return false;
	list_for_each(at, &user->extents)
	{
		const struct extent *extent = list_entry(at, struct extent, in_cache);

		if (extent->tag != tag || extent->pending)
			continue;
		*ret = (struct extent_info){
			.offset = offset_make(extent->window->place.number,
					      (uint64_t)extent->first << SLICE_SHIFT),
			.size = (uint64_t)extent->count << SLICE_SHIFT,
			.tag = tag,
		};
		return true;
	}
	return false;
}

/* ---- from records ---- */

int position_recover_lanes(struct core *core, uint32_t slot)
{
	struct session *session = of(core, slot);
	const struct lanes_record *record = lanes_at(core, slot);
	struct lanes_word word = lanes_word_unpack(record->word);

	if (lanes_word_pack(word) != record->word || !session || !word.lanes ||
	    word.lanes > LANES_A_SESSION || word.pins >= LANE_HAZARDS)
		return -EUCLEAN;
	lanes_enter(core, session, word);
	return 0;
}

int position_recover_returns(struct core *core, uint32_t slot)
{
	struct session *session = of(core, slot);
	const struct returns_record *record = records_at(core->records, RECORD_RETURNS, slot);

	if (record->word != RECORD_VALID || !session)
		return -EUCLEAN;
	returns_enter(core, session);
	return 0;
}

int position_recover_intent(struct core *core)
{
	const struct intent_record *record = intent_at(core);
	struct intent_word word = intent_word_unpack(record->word);
	const struct session *session = of(core, word.session);

	if (intent_word_pack(word) != record->word || !session ||
	    word.lane >= session->lanes.lanes || !word.kind || word.kind > LANE_SEAL)
		return -EUCLEAN;
	return 0;
}

/* ---- check ---- */

#define MUST(condition, text)        \
	do {                         \
		if (!(condition))    \
			return text; \
	} while (0)

const char *position_check(const struct core *core, const struct session *session)
{
	const struct lanes_terms *terms = &session->lanes;
	const struct lanes_record *lanes = lanes_at(core, session->slot);
	const struct returns_record *returns =
		records_at(core->records, RECORD_RETURNS, session->slot);
	struct lanes_word word = {terms->lanes, terms->pins, terms->barrier};

	MUST((lanes && lanes->word) == (terms->lanes != 0) &&
		     (!terms->lanes || lanes->word == lanes_word_pack(word)),
	     "R1: a session's lanes and their record differ");
	MUST((returns && returns->word) == session->returns,
	     "R1: a session's return ring and its record differ");
	return NULL;
}

const char *position_check_intent(const struct core *core)
{
	const struct session *session;
	struct intent_word word;

	if (!has_intent(core))
		return NULL;
	word = intent_word_unpack(intent_at(core)->word);
	session = of(core, word.session);
	MUST(session && word.lane < session->lanes.lanes,
	     "PO3: an intent outlives the lane that it is of");
	return NULL;
}
