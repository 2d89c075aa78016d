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
 *   no intent is another lane's than it was made for, or half another's
 *   no token of a right and no serial is given twice, and
 *   no tag is given twice for the same place, whatever was lost
 *   what a request asked for has a result if, and only if, it was done, the answer that was given;
 *   asked again where it was not, it is done once
 *   what is recovered can be ended: sessions and spaces go, and leave nothing behind
 *
 * VARBOS_SEED and VARBOS_STEPS as in model_core.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "daemon/core/check.h"
#include "daemon/core/core.h"
#include "daemon/core/ids.h"
#include "tests/model/any_verb.h"

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
	[RECORD_LANES] = sizeof(struct lanes_record),
	[RECORD_RETURNS] = sizeof(struct returns_record),
	[RECORD_INTENT] = sizeof(struct intent_record),
	[RECORD_RESULT] = sizeof(struct result_record),
};

enum { LOG_MAX = 4096 };

static struct {
	uint64_t byte, value;
	uint64_t there[WINDOWS]; /* units with pages when it was made */
} entries[LOG_MAX];
static uint32_t logged;
static const struct records *traced;

static uint64_t seed, step, state, recoveries;
static struct core_config config;
static uint64_t size;
static void *before, *image, *after;
static uint64_t again_done[ASKS], answered[ASKS], refused;

_Noreturn void die(const char *format, ...)
{
	va_list list;

	fprintf(stderr, "VARBOS_SEED=%" PRIu64 " step %" PRIu64 ": ", seed, step);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	exit(1);
}

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

uint32_t below(uint32_t n)
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

	if (kind == RECORD_INTENT) /* the former one, before the next */
		return !records_valid(image, kind, slot);
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

static void look_at_serials(void)
{
	uint32_t next = records_serial(image);

	for (uint32_t i = 0; i < SESSIONS; ++i) {
		const struct session_record *session = records_at(image, RECORD_SESSION, i);

		if (session->word && session_word_unpack(session->word).serial >= next)
			die("a serial would be given again");
	}
	for (uint32_t i = 0; i < CACHES; ++i) {
		const struct cache_record *cache = records_at(image, RECORD_CACHE, i);

		if (cache->word && cache_word_unpack(cache->word).serial >= next)
			die("a serial would be given again");
	}
}

/* One promised, or about to be, in the place of another. */
static bool is_promised(uint32_t slot)
{
	struct result_record now, new;

	memcpy(&now, records_at(image, RECORD_RESULT, slot), sizeof(now));
	memcpy(&new, records_at(after, RECORD_RESULT, slot), sizeof(new));
	if (!flight.verb ||
	    slot != flight.session * RESULTS_A_SESSION + flight.id % RESULTS_A_SESSION)
		return false;
	new.what &= ~result_word_pack((struct result_word){.kept = true});
	return !now.id || !memcmp(&now, &new, sizeof(now));
}

static void look_at_image(bool ended, const uint64_t *pages_there)
{
	for (uint32_t kind = 0; kind < RECORD_KINDS; ++kind) {
		for (uint32_t i = 0; i < capacity.slots[kind]; ++i) {
			if (kind == RECORD_SPACE || kind == RECORD_CACHE) {
				if (!terms_are_whole(kind, i) && !ended)
					die("record %u of kind %u is half written", i, kind);
			} else if (kind == RECORD_RESULT && is_promised(i)) {
				continue;
			} else if (kind != RECORD_PAGES && !same(image, before, kind, i) &&
				   !same(image, after, kind, i) && !is_going(kind, i)) {
				die("record %u of kind %u is half written", i, kind);
			}
		}
	}
	for (uint32_t i = 0; i < PAGES; ++i) {
		const struct pages_record *pages = records_at(image, RECORD_PAGES, i);

		if (pages->bits && (pages->bits & ~pages_there[(uint32_t)pages->where]))
			die("a page is recorded that is not there");
	}
	for (uint32_t i = 0; i < RIGHTS; ++i) {
		const struct right_record *right = records_at(image, RECORD_RIGHT, i);
		const struct cache_record *cache =
			records_at(image, RECORD_CACHE, user_word_unpack(right->word).cache);

		if (right->word && right->token >= cache->token_next)
			die("a token would be given again");
	}
	look_at_serials();
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
				die("a tag would be given again");
		}
	}
}

/* ---- requests ---- */

static uint32_t count_of(const void *table, enum record_kind kind)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < capacity.slots[kind]; ++i)
		n += records_valid(table, kind, i);
	return n;
}

/* Is what was to be removed still going? Then the same again goes on with it. */
static bool goes_on(const struct core *of, const struct ask *a,
		    const struct result_view *result)
{
	struct space_view view;

	return a->verb == ASK_REMOVE &&
	       core_space_view(of, (uint32_t)result->answer[0], &view) &&
	       view.hash_seed == result->answer[1];
}

/* Ids that words may name are given again after a sweep. */
static void sweep_all(struct core *of, uint32_t space)
{
	struct extent_place places[EXTENTS];
	uint64_t dead[ID_WORDS];
	uint32_t n;

	MUST(!core_sweep_begin(of, space, dead));
	MUST(!core_sweep_next(of, space, places, EXTENTS, &n));
	core_sweep_end(of, space, true);
}

/* Who has had no answer asks again. */
static void ask_again(struct core *again, bool all)
{
	struct result_view result;
	struct plan *plan = NULL;
	struct ask a = flight;
	bool found = core_result(again, a.session, a.verb, a.id, &result);
	int r = 0;

	if (all && !found)
		die("what was done has no result");
	if (found && memcmp(&result, &flight.answer, sizeof(result)) != 0)
		die("a result says other than the answer");
	if (!found || goes_on(again, &a, &result)) {
		r = ask(again, &a, &plan);
		if (r == CORE_E_BUSY && a.verb == ASK_CHANNEL_OPEN) {
			sweep_all(again, a.space);
			r = ask(again, &a, &plan);
		}
	}
	/* Since it was planned for, its space may have got a lower limit. */
	if (planned && (r == CORE_E_MEMORY || r == CORE_E_BUDGET || r == CORE_E_TOO_LARGE)) {
		MUST(count_of(image, ask_kind(a.verb)) == count_of(before, ask_kind(a.verb)));
		++refused;
		return;
	}
	if (r)
		die("request %u is refused when it is asked again: %d", a.verb, r);
	if (plan)
		plan_commit(again, plan);
	core_changes_clear(again);
	MUST(core_result(again, a.session, a.verb, a.id, &result));
	if (count_of(image, ask_kind(a.verb)) != count_of(after, ask_kind(a.verb)))
		die("what request %u asked for was done twice, or not", a.verb);
	++(found ? answered : again_done)[a.verb];
}

static void look_at_requests(struct core *again, bool all)
{
	struct result_view result;

	for (uint32_t i = 0; i < PLANS; ++i)
		if (plans[i] && waiting[i].verb &&
		    core_result(again, waiting[i].session, waiting[i].verb, waiting[i].id,
				&result))
			die("what is still to be done has a result");
	if (flight.verb)
		ask_again(again, all);
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
			die("store %u of %u: the records do not recover", n, logged);
		wrong = core_check(again);
		if (wrong)
			die("store %u of %u: %s", n, logged, wrong);
		look_at_requests(again, n == logged);
		wrong = core_check(again);
		if (wrong)
			die("store %u of %u, asked again: %s", n, logged, wrong);
		if (!below(4))
			end_all(again, image);
		core_free(again);
		++recoveries;
	}
}

static void run(uint64_t steps)
{
	size = records_size(&capacity);
	state = seed;
	memset(there, 0, sizeof(there));
	memset(last_tag, 0, sizeof(last_tag));
	memset(plans, 0, sizeof(plans));
	memset(waiting, 0, sizeof(waiting));
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
	printf("%" PRIu64 " recoveries; requests asked again that were done, and not (%" PRIu64
	       " refused):",
	       recoveries, refused);
	for (uint32_t i = 1; i < ASKS; ++i)
		printf(" %" PRIu64 "/%" PRIu64, answered[i], again_done[i]);
	printf("\n");
	return 0;
}
