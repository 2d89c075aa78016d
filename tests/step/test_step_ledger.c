/*
 * Single steps of the ledger: what the daemon does to its records, looked at after every machine
 * instruction as if it had died there.
 *
 * A process that dies loses no store that it made: what it leaves is the shared memory as it stands. So a
 * child acts on records in shared memory, instruction by instruction, and each state of them that
 * there ever is becomes a core again. That core has to be sound, and to know what was acknowledged:
 *
 *   all that was so before the act, and is so after it, and nothing that neither has
 *   no page that is not there, no tag, token or serial that would be given again
 *
 *   test_step_ledger [MUTANTS]    MUTANTS: this program with the defects compiled in; each is
 *                                 looked for in the act in which it has to be found
 */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/check.h"
#include "daemon/core/core.h"
#include "tests/step/steps.h"

#define MIB ((uint64_t)1 << 20)
#define KIB ((uint64_t)1 << 10)

enum {
	WINDOWS = 12,
	TABLE_MAX = 64 * 1024,
	UID = 1000,
};

static const struct record_capacity capacity = {{
	[RECORD_SPACE] = 4,
	[RECORD_WINDOW] = WINDOWS,
	[RECORD_PAGES] = 16,
	[RECORD_SESSION] = 4,
	[RECORD_MEMBER] = 8,
	[RECORD_EXTENT] = 64,
	[RECORD_CHANNEL] = 4,
	[RECORD_END] = 8,
	[RECORD_CACHE] = 4,
	[RECORD_USER] = 8,
	[RECORD_RIGHT] = 4,
	[RECORD_LANES] = 4,
	[RECORD_RETURNS] = 4,
	[RECORD_INTENT] = 1,
	[RECORD_RESULT] = 4 * RESULTS_A_SESSION,
}};

static const struct core_config config = {
	.page_shift = 12,
	.n_nodes = 1,
	.node_bytes = {64 * MIB},
	.share = 64 * MIB,
	.seed = 1,
	.limits = {.max = {4, 4, 8, 16, 64, 8, 4, 4, UINT64_MAX},
		   .total = {[QUOTA_METADATA] = UINT64_MAX}},
};

/* What outlives the one who acts. */
struct shared {
	uint64_t there[WINDOWS]; /* units that have pages */
	_Alignas(64) char table[TABLE_MAX];
};

static struct shared *shared;
static uint64_t size; /* of the records */

/* ---- the one who acts ---- */

static struct core *core;
static uint32_t one, two, space, cache;
static struct extent_info kept, shared_one, segment;

/* As the shell does: commits before the records say so, punches when they say so no more. */
static void carry_out(struct plan *plan)
{
	for (uint32_t i = 0; plan && i < plan->n_effects; ++i) {
		const struct effect *effect = &plan->effects[i];
		uint64_t units =
			effect->count < 64 ? ((uint64_t)1 << effect->count) - 1 : ~(uint64_t)0;

		if (effect->kind == EFFECT_COMMIT)
			shared->there[effect->window] |= units << effect->first;
		else if (effect->kind == EFFECT_PUNCH)
			shared->there[effect->window] &= ~(units << effect->first);
		else if (effect->kind == EFFECT_WINDOW_DESTROY)
			shared->there[effect->window] = 0;
	}
	if (plan)
		plan_commit(core, plan);
	core_changes_clear(core);
}

#define DO(call)                                  \
	({                                        \
		struct core_fault fault = {};     \
		struct plan *plan = NULL;         \
		int r_;                           \
		do                                \
			r_ = (call);              \
		while (r_ == CORE_MORE);          \
		if (r_)                           \
			steps_give_up(#call, r_); \
		(void)fault;                      \
		carry_out(plan);                  \
	})

static struct extent_info alloc(uint32_t session, uint64_t bytes, enum extent_kind kind)
{
	struct extent_request request = {.size = bytes, .kind = kind};
	struct extent_info info;

	DO(core_extent_alloc(core, session, space, &request, &info, &plan, &fault));
	return info;
}

static uint32_t session_open(uint32_t pid)
{
	struct session_request request = {
		.credentials = {UID, UID}, .pid = pid, .birth = pid + 1, .image = pid + 2};
	uint32_t session;

	DO(core_session_open(core, &request, &session, &fault));
	return session;
}

static void sessions_open(void)
{
	one = session_open(100);
}

static void second_opens(void)
{
	two = session_open(200);
}

static void space_create(void)
{
	struct space_request request = {.name = "a",
					.owner = {UID, UID},
					.limit = 12 * MIB,
					.reserve = 2 * MIB,
					.hash_seed = 7};

	DO(core_space_create(core, &request, &space, &plan, &fault));
}

static void space_open(void)
{
	DO(core_space_open(core, one, "a", false, NULL, 0, &space, &fault));
}

static void second_joins(void)
{
	DO(core_space_open(core, two, "a", false, NULL, 0, &space, &fault));
}

static void extent_grant(void)
{
	kept = alloc(one, 256 * KIB, EXTENT_PRIVATE);
}

static void window_add(void)
{
	shared_one = alloc(two, 4 * MIB, EXTENT_SHARED);
}

static void window_grant(void)
{
	uint32_t window;
	bool read_only;

	DO(core_window_open(core, one, space, 0, &window, &read_only, &fault));
}

static void extent_return(void)
{
	DO(core_extent_free(core, one, space, kept.offset, kept.tag, &fault));
}

static void pages_return(void)
{
	DO(core_extent_free(core, two, space, shared_one.offset, shared_one.tag, &fault));
	DO(core_trim(core, space, 64, &plan));
	DO(core_trim(core, space, 64, &plan));
}

static void change(uint32_t set, uint64_t limit, uint64_t reserve)
{
	struct space_change to = {.set = set,
				  .to = {.limit = limit, .reserve = reserve, .weight = 7}};

	DO(core_space_change(core, (struct credentials){UID, UID}, NULL, 0, "a", &to, &plan,
			     &fault));
}

static void budget_raise(void)
{
	change(SPACE_SET_LIMIT | SPACE_SET_RESERVE | SPACE_SET_WEIGHT, 24 * MIB, 14 * MIB);
}

static void budget_lower(void)
{
	change(SPACE_SET_LIMIT | SPACE_SET_RESERVE, 10 * MIB, 0);
}

static void holders_open(void)
{
	uint32_t id;

	DO(core_holder_open(core, one, space, &id, &fault));
	DO(core_holder_open(core, two, space, &id, &fault));
}

static void channel(uint32_t session, uint32_t roles)
{
	struct channel_request request = {.name = "c", .roles = roles};
	struct channel_info info;

	DO(core_channel_open(core, session, space, &request, &info, &plan, &fault));
}

static void channel_make(void)
{
	channel(one, CHANNEL_SENDS);
}

static void channel_join(void)
{
	channel(two, CHANNEL_RECEIVES);
}

static void cache_open(void)
{
	struct cache_request request = {.name = "k", .capacity = 4 * MIB};

	DO(core_cache_open(core, one, space, &request, &cache, &fault));
}

static void segment_lease(void)
{
	struct cache_lease lease = {.kind = EXTENT_SEGMENT, .size = 256 * KIB};

	DO(core_cache_lease(core, one, cache, &lease, &segment, &plan, &fault));
}

static void right_take(void)
{
	struct right_view right;

	DO(core_right_take(core, one, cache, 77, 1000, &right, &fault));
}

static void cache_remove(void)
{
	DO(core_cache_remove(core, one, space, "k", true, &fault));
}

static void private_again(void)
{
	kept = alloc(one, 2 * MIB, EXTENT_PRIVATE);
	shared_one = alloc(one, 64 * KIB, EXTENT_BLOCKS);
}

static void session_death(void)
{
	DO(core_session_end(core, one, &plan));
}

static void cache_reap(void)
{
	DO(core_cache_reap(core));
}

static void last_death(void)
{
	DO(core_session_end(core, two, &plan));
}

static void sweep(void)
{
	uint64_t dead[IDS_MAX / 64];
	struct extent_place places[8];
	uint32_t n;

	DO(core_sweep_begin(core, space, dead));
	DO(core_sweep_next(core, space, places, ARRAY_SIZE(places), &n));
	core_sweep_end(core, space, true);
	core_changes_clear(core);
}

static void space_remove(void)
{
	DO(core_space_remove(core, (struct credentials){UID, UID}, "a", true, &plan, &fault));
}

static const struct step_act acts[] = {
	{"session open", sessions_open},      {"space create", space_create},
	{"space open", space_open},           {"another session open", second_opens},
	{"another space open", second_joins}, {"extent grant", extent_grant},
	{"window add", window_add},           {"window grant", window_grant},
	{"extent return", extent_return},     {"pages return", pages_return},
	{"budget raise", budget_raise},       {"budget lower", budget_lower},
	{"holders open", holders_open},       {"channel make", channel_make},
	{"channel join", channel_join},       {"cache open", cache_open},
	{"segment lease", segment_lease},     {"right take", right_take},
	{"extents grant", private_again},     {"cache remove", cache_remove},
	{"session death", session_death},     {"cache reap", cache_reap},
	{"last session death", last_death},   {"sweep", sweep},
	{"space remove", space_remove},
};

static void core_begin(void *memory)
{
	shared = memory;
	if (core_new(&core, &config, records_init(shared->table, &capacity)))
		steps_give_up("core_new", 0);
}

/* ---- what a core knows ---- */

static void facts_of_space(struct facts *facts, const struct core *of, uint32_t slot)
{
	struct channel_view at;
	struct space_view view;

	core_space_view(of, slot, &view);
	fact(facts, "space %s", view.name);
	fact(facts, "%s: limit %" PRIu64, view.name, view.limit);
	fact(facts, "%s: reserve %" PRIu64, view.name, view.reserve);
	fact(facts, "%s: client limit %" PRIu64, view.name, view.client_limit);
	fact(facts, "%s: weight %u mode %o uid %u", view.name, view.weight, view.mode,
	     view.owner.uid);
	for (uint32_t id = core_channel_next(of, slot, 0); id;
	     id = core_channel_next(of, slot, id + 1)) {
		core_channel_view(of, slot, id, &at);
		fact(facts, "channel %s, id %u, at %" PRIu64, at.name, id, at.info.offset);
		fact(facts, "channel %s: %u senders", at.name, at.senders);
		fact(facts, "channel %s: %u receivers", at.name, at.receivers);
	}
}

static void facts_of_window(struct facts *facts, const struct core *of, uint32_t slot)
{
	struct slice_stretch stretch;
	uint32_t first = 0, count;
	struct window_view view;

	core_window_view(of, slot, &view);
	fact(facts, "window %u: 2^%u, generation %u", view.number, view.info.size_shift,
	     view.info.generation);
	fact(facts, "window %u: state %d", view.number, view.info.state);
	for (uint32_t i = 0; core_stretch(of, slot, i, &stretch); i += stretch.count) {
		struct extent_place place;

		if (!stretch.head ||
		    !core_extent_at(of, view.space, offset_make(view.number, i * SLICE_BYTES),
				    &place))
			continue;
		fact(facts, "extent %u:%u+%u tag %u kind %d", view.number, i, stretch.count,
		     place.tag, place.kind);
		fact(facts, "extent %u:%u of session %u, cache %u", view.number, i,
		     place.session, place.cache);
	}
	for (; core_units_committed(of, slot, &first, &count); first += count)
		for (uint32_t i = 0; i < count; ++i)
			fact(facts, "unit %u of window %u", first + i, view.number);
}

static void facts_of(struct facts *facts, const struct core *of)
{
	struct session_view session;
	struct estate_view estate;
	struct right_view right;

	facts->n = 0;
	for (uint32_t i = core_space_next(of, 0); i != UINT32_MAX;
	     i = core_space_next(of, i + 1))
		facts_of_space(facts, of, i);
	for (uint32_t i = core_window_next(of, 0); i != UINT32_MAX;
	     i = core_window_next(of, i + 1))
		facts_of_window(facts, of, i);
	for (uint32_t i = core_session_next(of, 0); i != UINT32_MAX;
	     i = core_session_next(of, i + 1)) {
		core_session_view(of, i, &session);
		fact(facts, "session %u: pid %u serial %u birth %" PRIu64, i, session.pid,
		     session.serial, session.birth);
		for (uint32_t at = core_member_next(of, i, 0); at != UINT32_MAX;
		     at = core_member_next(of, i, at + 1))
			fact(facts, "session %u has space %u", i, at);
	}
	for (uint32_t i = core_cache_next(of, 0); i != UINT32_MAX;
	     i = core_cache_next(of, i + 1)) {
		core_cache_view(of, i, &estate);
		fact(facts, "cache %s of %" PRIu64, estate.name, estate.capacity);
		fact(facts, "cache %s: removed %d", estate.name, estate.removed);
		fact(facts, "cache %s: %u sessions", estate.name, estate.sessions);
	}
	for (uint32_t i = core_right_next(of, 0); i != UINT32_MAX;
	     i = core_right_next(of, i + 1)) {
		core_right_view(of, i, &right);
		fact(facts, "right to %" PRIu64 ", token %" PRIu64, right.hash, right.token);
	}
}

/* ---- the one who looks ---- */

static bool given_again(const struct records *records)
{
	for (uint32_t i = 0; i < capacity.slots[RECORD_EXTENT]; ++i) {
		const struct extent_record *extent = records_at(records, RECORD_EXTENT, i);
		struct extent_owner owner = extent_owner_unpack(extent->owner);
		uint32_t at = extent_run_unpack(extent->run, owner.kind).window;
		const struct window_record *window =
			extent->run ? records_at(records, RECORD_WINDOW, at) : NULL;
		const struct space_record *of =
			window ? records_at(records, RECORD_SPACE,
					    window_place_unpack(window->word).space)
			       : NULL;

		if (of && of->state && owner.tag >= of->tag_next)
			return steps_wrong("tag %u would be given again", owner.tag);
	}
	for (uint32_t i = 0; i < capacity.slots[RECORD_SESSION]; ++i) {
		const struct session_record *session = records_at(records, RECORD_SESSION, i);

		if (session->word &&
		    session_word_unpack(session->word).serial >= records_serial(records))
			return steps_wrong("a serial would be given again");
	}
	for (uint32_t i = 0; i < capacity.slots[RECORD_RIGHT]; ++i) {
		const struct right_record *right = records_at(records, RECORD_RIGHT, i);
		const struct cache_record *of =
			records_at(records, RECORD_CACHE, user_word_unpack(right->word).cache);

		if (right->word && right->token >= of->token_next)
			return steps_wrong("a token would be given again");
	}
	return true;
}

static bool has_pages(const struct records *records, const struct shared *left)
{
	for (uint32_t i = 0; i < capacity.slots[RECORD_PAGES]; ++i) {
		const struct pages_record *pages = records_at(records, RECORD_PAGES, i);

		if (pages->bits & ~left->there[(uint32_t)pages->where % WINDOWS])
			return steps_wrong("a page is recorded that is not there");
	}
	return true;
}

static void core_told(struct facts *facts)
{
	facts_of(facts, core);
}

/* Who comes next. */
static void core_recovers(void *memory)
{
	struct shared *left = memory;
	struct core *again;

	if (core_recover(&again, &config, records_open(left->table, size)))
		steps_give_up("core_recover", 0);
}

/* It has died here. */
static bool recover(const void *memory)
{
	const struct shared *left = memory;
	static struct facts now;
	static _Alignas(64) char copy[TABLE_MAX];
	struct records *records;
	struct core *again;
	const char *unsound;
	bool good;

	memcpy(copy, left->table, size);
	records = records_open(copy, size);
	if (!records)
		return steps_wrong("there is no table");
	if (!given_again(records) || !has_pages(records, left))
		return false;
	if (core_recover(&again, &config, records))
		return steps_wrong("the records do not recover");
	unsound = core_check(again);
	facts_of(&now, again);
	good = unsound ? steps_wrong("%s", unsound) : steps_acknowledged(&now);
	core_free(again);
	return good;
}

#ifdef VARBOS_MUTANTS
static const struct step_defect defects[] = {
	{"recover_windows_first", "space create"}, {"record_valid_first", "space create"},
	{"serial_given_again", "session open"},    {"tag_given_again", "extent grant"},
	{"pages_before_commit", "window add"},     {"pages_after_punch", "pages return"},
	{"terms_limit_late", "budget raise"},      {"reserve_before_pages", "budget raise"},
	{"channel_after_extent", "sweep"},         {"channel_after_end", "channel make"},
	{"right_token_late", "right take"},        {"user_before_extents", "session death"},
	{"cache_before_extents", "cache reap"},
};
#endif

int main(int argc, char **argv)
{
	size = records_size(&capacity);
	if (size > TABLE_MAX)
		steps_give_up("the table is larger than thought", (int)size);
	return steps_main(
		&(struct steps){
			.acts = acts,
			.n_acts = ARRAY_SIZE(acts),
			.size = offsetof(struct shared, table) + size,
			.begin = core_begin,
			.tell = core_told,
			.look = recover,
			.recover = core_recovers,
#ifdef VARBOS_MUTANTS
			.defects = defects,
			.n_defects = ARRAY_SIZE(defects),
#endif
		},
		argc, argv);
}
