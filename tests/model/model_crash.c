/*
 * A daemon that dies between any two stores: random verbs over records whose every store is
 * logged; after each verb, what was stored before it plus each prefix of its stores is recovered.
 *
 *   each prefix recovers, and core_check() finds nothing wrong
 *   every record is as it was before the verb, or as it is after it: none half written (of a
 *   space or a cache that was there and stays, every word: its terms are changed one by one; a
 *   member that leaves has no id before it is gone, and a channel that goes says how its last
 *   end went)
 *   a page is recorded only while it is there (the shell commits before plan_commit())
 *   no token of a right is given twice, and
 *   no tag is given twice for the same place, whatever was lost
 *   what is recovered can be ended: sessions and spaces go, and leave nothing behind
 *
 * VARBOS_SEED and VARBOS_STEPS as in model_core.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "daemon/core/check.h"
#include "daemon/core/core.h"
#include "daemon/core/ids.h"

#define MIB ((uint64_t)1 << 20)

enum {
	SPACES = 6,
	WINDOWS = 12,
	PAGES = 16,
	SESSIONS = 5,
	MEMBERS = 16,
	EXTENTS = 64,
	CHANNELS = 6,
	ENDS = 10,
	CACHES = 5,
	RIGHTS = 10,
	PLANS = 4,
	LOG_MAX = 4096,
	UNITS_MAX = 64
};

static const struct record_capacity capacity = {{
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
}};

static const uint32_t sizes[RECORD_KINDS] = {
	[RECORD_SPACE] = sizeof(struct space_record),
	[RECORD_WINDOW] = sizeof(struct window_record),
	[RECORD_PAGES] = sizeof(struct pages_record),
	[RECORD_SESSION] = sizeof(struct session_record),
	[RECORD_MEMBER] = sizeof(struct member_record),
	[RECORD_EXTENT] = sizeof(struct extent_record),
	[RECORD_CHANNEL] = sizeof(struct channel_record),
	[RECORD_END] = sizeof(struct end_record),
	[RECORD_CACHE] = sizeof(struct cache_record),
	[RECORD_USER] = sizeof(struct user_record),
	[RECORD_RIGHT] = sizeof(struct right_record),
};

static struct {
	uint64_t byte, value;
	uint64_t there[WINDOWS]; /* units with pages when it was made */
} entries[LOG_MAX];
static uint32_t logged;
static const struct records *traced;

static uint64_t seed, step, state, recoveries;
static struct core *core;
static struct core_config config;
static struct records *records;
static uint64_t size;
static void *before, *image, *after;
static struct plan *plans[PLANS];
static uint64_t there[WINDOWS];
static uint32_t last_tag[SPACES];

#define DIE(...)                                                                           \
	do {                                                                               \
		fprintf(stderr, "VARBOS_SEED=%" PRIu64 " step %" PRIu64 ": ", seed, step); \
		fprintf(stderr, __VA_ARGS__);                                              \
		fprintf(stderr, " (%s:%d)\n", __FILE__, __LINE__);                         \
		exit(1);                                                                   \
	} while (0)
#define MUST(x)                             \
	do {                                \
		if (!(x))                   \
			DIE("not: %s", #x); \
	} while (0)

void record_trace(const struct records *table, uint64_t byte, uint64_t value)
{
	if (table != traced)
		return;
	MUST(logged < LOG_MAX);
	entries[logged].byte = byte;
	entries[logged].value = value;
	memcpy(entries[logged].there, there, sizeof(there));
	++logged;
}

static uint32_t below(uint32_t n)
{
	state += 0x9e3779b97f4a7c15ULL;
	uint64_t z = state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (uint32_t)((z ^ (z >> 31)) % n);
}

/* Does this record say the same in both tables? */
static bool same(const void *a, const void *b, enum record_kind kind, uint32_t slot)
{
	const struct records *left = a, *right = b;
	bool valid = records_valid(left, kind, slot);

	if (valid != records_valid(right, kind, slot))
		return false;
	return !valid || !memcmp(records_at(left, kind, slot), records_at(right, kind, slot),
				 sizes[kind]);
}

/* What comes is whole or not there; of what stays, each word is old or new. */
static bool terms_are_whole(enum record_kind kind, uint32_t slot)
{
	uint64_t now[sizeof(struct space_record) / 8], old[ARRAY_SIZE(now)],
		new[ARRAY_SIZE(now)];

	memcpy(now, records_at(image, kind, slot), sizes[kind]);
	memcpy(old, records_at(before, kind, slot), sizes[kind]);
	memcpy(new, records_at(after, kind, slot), sizes[kind]);
	if (!records_valid(image, kind, slot))
		return !records_valid(before, kind, slot) || !records_valid(after, kind, slot);
	for (uint32_t i = 0; i < sizes[kind] / 8; ++i)
		if (now[i] != new[i] &&
		    (now[i] != old[i] || !records_valid(before, kind, slot)))
			return false;
	return true;
}

/* A member that leaves has no id before it is gone; a channel says how its last end went. */
static bool is_going(enum record_kind kind, uint32_t slot)
{
	uint64_t now, old;

	if ((kind != RECORD_MEMBER && kind != RECORD_CHANNEL) ||
	    !records_valid(before, kind, slot) || !records_valid(image, kind, slot) ||
	    records_valid(after, kind, slot))
		return false;
	now = *(const uint64_t *)records_at(image, kind, slot);
	old = *(const uint64_t *)records_at(before, kind, slot);
	if (kind == RECORD_MEMBER) {
		struct member_word word = member_word_unpack(old);

		word.id = 0;
		return now == member_word_pack(word);
	}
	return (now ^ old) == (channel_word_pack((struct channel_word){.died = true}) ^
			       channel_word_pack((struct channel_word){0}));
}

static void look_at_image(bool ended, const uint64_t *pages_there)
{
	for (uint32_t kind = 0; kind < RECORD_KINDS; ++kind) {
		for (uint32_t i = 0; i < capacity.slots[kind]; ++i) {
			if (kind == RECORD_SPACE || kind == RECORD_CACHE) {
				if (!terms_are_whole(kind, i) && !ended)
					DIE("record %u of kind %u is half written", i, kind);
			} else if (kind != RECORD_PAGES && !same(image, before, kind, i) &&
				   !same(image, after, kind, i) && !is_going(kind, i)) {
				DIE("record %u of kind %u is half written", i, kind);
			}
		}
	}
	for (uint32_t i = 0; i < PAGES; ++i) {
		const struct pages_record *pages = records_at(image, RECORD_PAGES, i);

		if (pages->bits && (pages->bits & ~pages_there[(uint32_t)pages->where]))
			DIE("a page is recorded that is not there");
	}
	for (uint32_t i = 0; i < RIGHTS; ++i) {
		const struct right_record *right = records_at(image, RECORD_RIGHT, i);
		const struct cache_record *cache =
			records_at(image, RECORD_CACHE, user_word_unpack(right->word).cache);

		if (right->word && right->token >= cache->token_next)
			DIE("a token would be given again");
	}
	for (uint32_t i = 1; i < SPACES; ++i) {
		const struct space_record *space = records_at(image, RECORD_SPACE, i);

		if (!space->state)
			continue;
		for (uint32_t j = 0; j < EXTENTS; ++j) {
			const struct extent_record *extent =
				records_at(image, RECORD_EXTENT, j);
			struct extent_owner owner = extent_owner_unpack(extent->owner);
			uint32_t window = extent_run_unpack(extent->run, owner.kind).window;
			const struct window_record *at =
				records_at(image, RECORD_WINDOW, window);

			if (extent->run && window_place_unpack(at->word).space == i &&
			    owner.tag == space->tag_next)
				DIE("a tag would be given again");
		}
	}
}

/* Ends everything that was recovered: nothing may be left. */
static void end_all(struct core *again)
{
	struct core_fault fault;
	struct plan *plan = NULL;
	uint32_t slot;
	int r;

	while ((slot = core_session_next(again, 0)) != UINT32_MAX) {
		do
			r = core_session_end(again, slot, &plan);
		while (r == CORE_MORE);
		MUST(!r);
		if (plan)
			plan_commit(again, plan);
		core_changes_clear(again);
	}
	if (below(2))
		do
			r = core_cache_reap(again);
		while (r == CORE_MORE);
	while ((slot = core_space_next(again, 0)) != UINT32_MAX) {
		struct space_view view;

		MUST(core_space_view(again, slot, &view));
		MUST(!view.sessions);
		do
			r = core_space_remove(again, (struct credentials){0, 0}, view.name,
					      false, &plan, &fault);
		while (r == CORE_MORE);
		MUST(!r && plan);
		plan_commit(again, plan);
	}
	MUST(!core_view(again).committed && !core_view(again).used);
	for (uint32_t kind = 0; kind < RECORD_KINDS; ++kind)
		for (uint32_t i = 0; i < capacity.slots[kind]; ++i)
			MUST(!records_valid(image, kind, i));
	MUST(!core_check(again));
}

static void recover_prefixes(bool ended)
{
	memcpy(after, records, size);
	for (uint32_t n = 0; n <= logged; ++n) {
		struct core *again;
		const char *wrong;
		const uint64_t *pages = n ? entries[n - 1].there : there;

		memcpy(image, before, size);
		for (uint32_t i = 0; i < n; ++i)
			memcpy((char *)image + entries[i].byte, &entries[i].value, 8);
		if (n == logged)
			MUST(!memcmp(image, after, size)); /* the log is whole */
		look_at_image(ended, pages);
		if (core_recover(&again, &config, records_open(image, size)))
			DIE("store %u of %u: the records do not recover", n, logged);
		wrong = core_check(again);
		if (wrong)
			DIE("store %u of %u: %s", n, logged, wrong);
		if (!below(4))
			end_all(again);
		core_free(again);
		++recoveries;
	}
}

/* ---- the shell ---- */

static void plan_keep(struct plan *plan)
{
	for (uint32_t i = 0; plan && i < PLANS; ++i) {
		if (!plans[i]) {
			plans[i] = plan;
			plan = NULL;
		}
	}
	MUST(!plan);
}

static bool plan_room(void)
{
	for (uint32_t i = 0; i < PLANS; ++i)
		if (!plans[i])
			return true;
	return false;
}

static void plan_end_one(void)
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
	/* The kernel's part comes first. */
	for (uint32_t i = 0; i < plan->n_effects; ++i) {
		const struct effect *e = &plan->effects[i];
		uint64_t bits;

		if (e->kind == EFFECT_ZERO)
			continue;
		bits = e->count == 64 ? ~(uint64_t)0
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
	char name[8];
	struct space_request request = {.name = name,
					.limit = (1 + below(6)) * 2 * MIB,
					.reserve = below(2) * below(5) * MIB,
					.owner = {0, 0}};
	struct core_fault fault;
	struct plan *plan;
	uint32_t space;

	snprintf(name, sizeof(name), "s%u", below(8));
	if (!core_space_create(core, &request, &space, &plan, &fault))
		plan_keep(plan);
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

static void verb_alloc(uint32_t session, uint32_t space)
{
	struct extent_request request = {.size = 1 + below(below(3) ? MIB : 4 * MIB),
					 .kind = EXTENT_PRIVATE + below(3)};
	struct core_fault fault;
	struct extent_info info;
	struct plan *plan;

	if (core_extent_alloc(core, session, space, &request, &info, &plan, &fault))
		return;
	MUST(info.tag != last_tag[space]);
	last_tag[space] = info.tag;
	if (plan)
		plan_keep(plan);
}

static void verb_free(void)
{
	uint32_t slot = below(EXTENTS);
	const struct extent_record *extent = records_at(records, RECORD_EXTENT, slot);
	struct extent_owner owner = extent_owner_unpack(extent->owner);
	struct extent_run run = extent_run_unpack(extent->run, owner.kind);
	struct window_view view;
	struct core_fault fault;

	if (!extent->run || !core_window_view(core, run.window, &view))
		return;
	core_extent_free(core, owner.holder ? owner.holder - 1 : some_session(), view.space,
			 offset_make(view.number, (uint64_t)run.first << SLICE_SHIFT),
			 owner.tag, &fault);
}

/* All of it at once: what holds nothing is whatever the dice say. */
static void verb_sweep(uint32_t space)
{
	struct extent_place places[EXTENTS];
	uint64_t dead[ID_WORDS];
	uint32_t n;

	if (core_sweep_begin(core, space, dead))
		return;
	MUST(!core_sweep_next(core, space, places, EXTENTS, &n));
	for (uint32_t i = 0; i < n; ++i)
		if (!below(3))
			core_sweep_free(core, space, &places[i]);
	core_sweep_end(core, space, below(4));
}

static void verb_channel_open(uint32_t session, uint32_t space)
{
	char name[8];
	struct channel_request request = {.name = name, .roles = 1 + below(3)};
	struct core_fault fault;
	struct channel_info info;
	struct plan *plan;

	snprintf(name, sizeof(name), "c%u", below(3));
	if (core_channel_open(core, session, space, &request, &info, &plan, &fault) || !plan)
		return;
	MUST(info.tag != last_tag[space]);
	last_tag[space] = info.tag;
	plan_keep(plan);
}

static uint32_t some_cache(void)
{
	uint32_t slot = core_cache_next(core, 1 + below(CACHES));

	return slot == UINT32_MAX ? core_cache_next(core, 0) : slot;
}

static void verb_cache_open(uint32_t session, uint32_t space)
{
	char name[8];
	struct cache_request request = {
		.name = name, .capacity = 1 + below(MIB), .ttl_ms = below(9)};
	struct core_fault fault;
	uint32_t cache;

	snprintf(name, sizeof(name), "k%u", below(3));
	core_cache_open(core, session, space, &request, &cache, &fault);
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
	struct cache_lease lease = {.kind = EXTENT_SEGMENT + below(2),
				    .size = 1 + below(below(3) ? MIB : 4 * MIB)};
	struct core_fault fault;
	struct extent_info info;
	struct plan *plan;

	if (below(5)) /* of who has it open; else of nobody, or of somebody who has it not */
		session = core_cache_user(core, view->cache, 0);
	if (session == UINT32_MAX ||
	    core_cache_lease(core, session, view->cache, &lease, &info, &plan, &fault))
		return;
	MUST(info.tag != last_tag[view->space]);
	last_tag[view->space] = info.tag;
	if (plan)
		plan_keep(plan);
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
		core_cache_seal(core, owner.holder - 1, view.space, offset, owner.tag, &fault);
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
	struct core_fault fault;

	if (below(4))
		session = core_cache_user(core, cache, below(2) ? session : 0);
	if (session == UINT32_MAX)
		return;
	if (core_right_find(core, cache, hash, &view) && below(2))
		core_right_end(core, view.right);
	else
		core_right_take(core, session, cache, hash, below(9), &view, &fault);
}

static void verb_cache(uint32_t session, uint32_t space)
{
	uint32_t cache = some_cache(), dice = below(26);
	struct core_fault fault;
	struct estate_view view;

	if (dice < 6 || !core_cache_view(core, cache, &view))
		verb_cache_open(session, space);
	else if (dice < 12)
		verb_cache_lease(session, &view);
	else if (dice < 15)
		verb_cache_extent();
	else if (dice < 16)
		verb_cache_change(session, &view);
	else if (dice < 18)
		core_cache_close(core, core_cache_user(core, cache, 0), view.space, cache);
	else if (dice < 19)
		core_cache_remove(core, session, view.space, view.name, below(2), &fault);
	else if (dice < 25)
		verb_right(session, cache);
	else
		core_cache_reap(core);
}

static bool one_verb(void)
{
	uint32_t session = some_session(), space = some_space(), slot, dice = below(100);
	struct session_request request = {.pid = 1 + below(1000), .birth = 1 + below(1000)};
	struct core_fault fault;
	struct space_view view;
	struct plan *plan = NULL;
	bool read_only;

	if (!plan_room() || (dice >= 40 && dice < 55)) {
		plan_end_one();
	} else if (!below(5)) {
		verb_cache(session, space);
	} else if (dice < 20) {
		verb_alloc(session, space);
	} else if (dice < 24) {
		verb_channel_open(session, space);
	} else if (dice < 26) {
		core_channel_close(core, session, space, 1 + below(8), 1 + below(3), &fault);
	} else if (dice < 28) {
		core_holder_open(core, session, space, &slot, &fault);
	} else if (dice < 30) {
		verb_sweep(space);
	} else if (dice < 40) {
		verb_free();
	} else if (dice < 65) {
		if (core_space_view(core, space, &view))
			core_space_open(core, session, view.name, !below(6), NULL, 0, &slot,
					&fault);
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
		if (!core_session_end(core, session, &plan) && plan)
			plan_keep(plan);
		return true;
	} else if (dice < 95) {
		if (!core_space_close(core, session, space, &plan) && plan)
			plan_keep(plan);
		return true;
	} else if (dice < 97 && core_space_view(core, space, &view)) {
		if (!core_space_remove(core, (struct credentials){0, 0}, view.name, below(2),
				       &plan, &fault) &&
		    plan)
			plan_keep(plan);
		return true;
	} else if (!core_scrub(core, below(WINDOWS), &plan) && plan) {
		plan_keep(plan);
	}
	return false;
}

static void run(uint64_t steps)
{
	size = records_size(&capacity);
	state = seed;
	memset(there, 0, sizeof(there));
	memset(last_tag, 0, sizeof(last_tag));
	memset(plans, 0, sizeof(plans));
	records = aligned_alloc(64, (size + 63) / 64 * 64);
	before = aligned_alloc(64, (size + 63) / 64 * 64);
	image = aligned_alloc(64, (size + 63) / 64 * 64);
	after = aligned_alloc(64, (size + 63) / 64 * 64);
	MUST(records && before && image && after);
	memset(records, 0, size);
	records = records_init(records, &capacity);
	traced = records;
	config = (struct core_config){.page_shift = below(2) ? 12 : 21,
				      .n_nodes = 1,
				      .node_bytes = {(8 + below(8)) * 2 * MIB},
				      .share = 64 * MIB,
				      .seed = seed};
	if (config.page_shift == 12 && below(2)) {
		config.large.page_shift = 21;
		config.large.node_bytes[0] = (4 + below(8)) * 2 * MIB;
		config.large.from = (2 + below(8)) * 2 * MIB;
	}
	MUST(!core_new(&core, &config, records));
	for (step = 0; step < steps; ++step) {
		bool ended;

		memcpy(before, records, size);
		logged = 0;
		ended = one_verb();
		core_changes_clear(core);
		recover_prefixes(ended);
	}
	core_free(core);
	free(records);
	free(before);
	free(image);
	free(after);
}

int main(void)
{
	const char *given = getenv("VARBOS_SEED"), *length = getenv("VARBOS_STEPS");
	uint64_t steps = length ? strtoull(length, NULL, 0) : 12000;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoull(given, NULL, 0)
		     : (uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec;
	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	for (uint32_t round = 0; round < (given ? 1 : 6); ++round, ++seed)
		run(steps);
	printf("%" PRIu64 " recoveries\n", recoveries);
	return 0;
}
