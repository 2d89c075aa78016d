#include "daemon/core/result.h"

#include <errno.h>

#include "base/base.h"
#include "daemon/core/state.h"

static uint32_t slot_of(const struct asker *asker)
{
	uint32_t session = mutant(result_of_others) ? 1 : asker->session;

	return session * RESULTS_A_SESSION + (uint32_t)(asker->id % RESULTS_A_SESSION);
}

static const struct result_record *record_at(const struct core *core, uint32_t slot)
{
	return records_at(core->records, RECORD_RESULT, slot);
}

void core_asked(struct core *core, uint32_t session, uint32_t verb, uint64_t id)
{
	core->asker = (struct asker){0};
	if (id && core_session_at(core, session))
		core->asker = (struct asker){.session = session, .verb = verb, .id = id};
}

struct asker asker_take(struct core *core)
{
	struct asker asker = core->asker;

	core->asker = (struct asker){0};
	return asker;
}

static void promise_store(struct core *core, const struct result_record *record, uint32_t slot)
{
	if (records_valid(core->records, RECORD_RESULT, slot))
		record_clear(core->records, RECORD_RESULT, slot);
	record_result_put(core->records, slot, record);
}

void result_promise(struct core *core, const struct asker *asker, struct result_promise promise)
{
	struct result_record record = {
		.id = asker->id,
		.what = result_word_pack((struct result_word){.slot = promise.slot,
							      .kind = promise.kind,
							      .word = promise.word,
							      .verb = asker->verb}),
		.value = promise.value,
		.answer = {promise.answer[0], promise.answer[1]},
	};

	if (asker->id)
		promise_store(core, &record, slot_of(asker));
}

static void keep(struct core *core, uint32_t slot)
{
	struct result_word what = result_word_unpack(record_at(core, slot)->what);

	what.kept = true;
	record_result_word(core->records, slot, what);
}

void result_keep(struct core *core, const struct asker *asker)
{
	if (asker->id)
		keep(core, slot_of(asker));
}

bool core_result(const struct core *core, uint32_t session, uint32_t verb, uint64_t id,
		 struct result_view *ret)
{
	const struct asker asker = {.session = session, .verb = verb, .id = id};
	const struct result_record *record;

	if (!id || !core_session_at(core, session))
		return false;
	record = record_at(core, slot_of(&asker));
	if (record->id != id || result_word_unpack(record->what).verb != verb ||
	    !result_word_unpack(record->what).kept)
		return false;
	*ret = (struct result_view){{record->answer[0], record->answer[1]}};
	return true;
}

bool result_stands(const struct core *core, const struct asker *asker)
{
	struct result_view view;

	return core_result(core, asker->session, asker->verb, asker->id, &view);
}

/* ---- objects ---- */

void core_object_promise(struct core *core, uint32_t session, uint32_t verb, uint64_t id,
			 const struct object_promise *promise)
{
	const struct asker asker = {.session = session, .verb = verb, .id = id};
	struct result_record record = {
		.id = id,
		.what = result_word_pack((struct result_word){.slot = promise->cache,
							      .kind = RESULT_OBJECT,
							      .word = promise->gone,
							      .verb = verb}),
		.value = promise->hash,
		.answer = {promise->offset, promise->generation},
	};

	if (id && core_session_at(core, session))
		promise_store(core, &record, slot_of(&asker));
}

void core_object_settle(struct core *core, uint32_t session, uint64_t id, bool done)
{
	const struct asker asker = {.session = session, .id = id};
	uint32_t slot = slot_of(&asker);

	if (!id || !core_session_at(core, session) || record_at(core, slot)->id != id)
		return;
	if (done)
		keep(core, slot);
	else
		record_clear(core->records, RECORD_RESULT, slot);
}

bool core_object_promised(const struct core *core, uint32_t *at, struct object_promised *ret)
{
	uint32_t session;

	/* Of sessions that there are: no other slot was ever touched. */
	for (; (session = core_session_next(core, *at / RESULTS_A_SESSION)) != UINT32_MAX;
	     ++*at) {
		const struct result_record *record;
		struct result_word what;

		*at = (uint32_t)u64_max(*at, (uint64_t)session * RESULTS_A_SESSION);
		record = record_at(core, *at);
		what = result_word_unpack(record->what);
		if (!record->id || what.kept)
			continue;
		*ret = (struct object_promised){
			.session = *at / RESULTS_A_SESSION,
			.verb = what.verb,
			.id = record->id,
			.promise = {.cache = what.slot,
				    .gone = what.word,
				    .hash = record->value,
				    .offset = record->answer[0],
				    .generation = (uint32_t)record->answer[1]},
		};
		++*at;
		return true;
	}
	return false;
}

/* ---- how they end ---- */

void results_end(struct core *core, uint32_t session)
{
	uint32_t first = session * RESULTS_A_SESSION;

	for (uint32_t i = first; i < first + RESULTS_A_SESSION; ++i)
		if (records_valid(core->records, RECORD_RESULT, i) && !mutant(results_outlive))
			record_clear(core->records, RECORD_RESULT, i);
	list_for_each(at, &core->plans)
	{
		struct core_plan *plan = list_entry(at, struct core_plan, link);

		if (plan->asker.session == session)
			plan->asker = (struct asker){0};
	}
	if (core->asker.session == session)
		core->asker = (struct asker){0};
}

/* Was the store made that it promises? */
static bool is_true(const struct core *core, const struct result_record *record,
		    struct result_word what)
{
	return record_word(core->records, (enum record_kind)what.kind, what.slot, what.word) ==
		       record->value ||
	       mutant(result_believed);
}

/* Could a core have promised it? */
static bool may_be(const struct core *core, const struct result_record *record,
		   struct result_word what)
{
	if (what.kind == RESULT_OBJECT)
		return what.word <= 1 && what.slot < core->slots[RECORD_CACHE].total &&
		       !(record->answer[0] >> OFFSET_BITS) && record->answer[1] <= UINT32_MAX;
	return what.kind < RECORD_RESULT &&
	       what.word < record_words((enum record_kind)what.kind) &&
	       records_at(core->records, (enum record_kind)what.kind, what.slot);
}

bool result_fits(const struct core *core, uint32_t slot)
{
	const struct result_record *record = record_at(core, slot);
	struct result_word what = result_word_unpack(record->what);

	return result_word_pack(what) == record->what && may_be(core, record, what) &&
	       core_session_at(core, slot / RESULTS_A_SESSION) &&
	       record->id % RESULTS_A_SESSION == slot % RESULTS_A_SESSION;
}

void result_settle(struct core *core, uint32_t slot)
{
	const struct result_record *record = record_at(core, slot);
	struct result_word what = result_word_unpack(record->what);

	if (what.kept || what.kind == RESULT_OBJECT)
		return;
	if (is_true(core, record, what))
		keep(core, slot);
	else
		record_clear(core->records, RECORD_RESULT, slot);
}
