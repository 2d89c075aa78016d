/*
 * The walker behind core_check(): every sum is computed again from what it sums, and every
 * derived thing from the records.
 */
#include "daemon/core/check.h"

#include <string.h>

#include "base/base.h"
#include "daemon/core/position.h"
#include "daemon/core/state.h"

struct rung_sums {
	uint64_t committed[STATS_NODES_MAX], pending[STATS_NODES_MAX], used[STATS_NODES_MAX];
};

struct sums {
	uint64_t used_on[STATS_NODES_MAX]; /* of the space that is being walked */
	struct rung_sums rungs[RUNGS_MAX];
	uint64_t region;
	uint32_t slots[RECORD_KINDS];
	uint32_t owed, spaces, sessions;
};

static struct rung_sums *sums_of(const struct core *core, struct sums *sums,
				 const struct space *space)
{
	return &sums->rungs[space->rung - core->rungs];
}

#define MUST(condition, text)        \
	do {                         \
		if (!(condition))    \
			return text; \
	} while (0)

static uint64_t list_length(const struct link *list)
{
	uint64_t n = 0;

	list_for_each(at, list)++ n;
	return n;
}

static const char *extent_check(const struct core *core, const struct extent *extent,
				const struct space *space, const struct member *member,
				struct sums *sums)
{
	uint32_t slot = extent_slot(core, extent);
	const struct extent_record *record = records_at(core->records, RECORD_EXTENT, slot);
	const struct window *window = extent->window;
	const struct extent_run run = extent_run(extent);

	MUST(window->space == space && extent->member == member,
	     "X2: an extent in a wrong list");
	MUST(slots_used(&core->slots[RECORD_EXTENT], slot), "R1: an extent without a slot");
	MUST(extent->charge.budget == (member ? &member->budget : &space->budget) &&
		     extent->charge.bytes == extent_bytes(extent),
	     "B1: an extent is not paid for");
	MUST(member || extent->kind != EXTENT_PRIVATE, "X2: a private extent of nobody");
	MUST(extent->tag && extent->tag <= TAG_MASK, "X1: a tag is none");
	MUST((extent->kind == EXTENT_CHANNEL) == !!extent->channel,
	     "X2: an extent and its channel do not know each other");
	MUST((extent->kind == EXTENT_SEGMENT || extent->kind == EXTENT_OBJECT) ==
		     !!extent->cache,
	     "X2: an extent of a cache has none");
	MUST(!extent->cache || extent->cache->space == space,
	     "ES1: a cache has memory of another space");
	MUST((extent->kind == EXTENT_SEGMENT) == !!extent->slices, "X4: what is no segment");
	if (extent->slices) {
		struct extent_run again = run_of_slices(
			window->slot, extent->first / CHUNK_SLICES, extent->slices);

		MUST(again.first == run.first && again.count == run.count,
		     "X4: a segment is not where its slices are");
		MUST(!member || extent_stretch(extent, extent->first) == extent->count,
		     "X4: a leased segment has holes");
	}
	for_each_stretch(extent, at, n)
	{
		for (uint32_t i = at; i < at + n; ++i)
			MUST(extent->pending
				     ? slice_state(window->words[i]) == SLICE_HELD
				     : window->words[i] == slice_state_pack(SLICE_USED, slot),
			     "X1: the slices of an extent are not its");
	}
	if (extent->pending) {
		MUST(!record->run, "C3: an extent is recorded before its plan");
	} else {
		MUST(record->run == extent_run_pack(run) &&
			     record->owner == extent_owner_pack(extent_owner(extent)),
		     "R1: an extent and its record differ");
	}
	sums->owed += extent_owes(extent);
	++sums->slots[RECORD_EXTENT];
	sums_of(core, sums, space)->used[window->place.info.node] += extent->charge.bytes;
	sums->used_on[window->place.info.node] += extent->charge.bytes;
	return NULL;
}

/* *ret_used is the bytes of the list, *ret_stored how many of it are recorded. */
static const char *extents_check(const struct core *core, const struct link *list,
				 const struct space *space, const struct member *member,
				 struct sums *sums, uint64_t *used, uint32_t *stored)
{
	*used = 0;
	list_for_each(at, list)
	{
		const struct extent *extent = list_entry(at, struct extent, link);
		const char *wrong = extent_check(core, extent, space, member, sums);

		MUST(at->next->previous == at, "X2: a list of extents is torn");
		if (wrong)
			return wrong;
		*used += extent->charge.bytes;
		*stored += !extent->pending;
	}
	return NULL;
}

static const char *window_recorded(const struct core *core, const struct window *window,
				   struct sums *sums)
{
	const struct window_record *record =
		records_at(core->records, RECORD_WINDOW, window->slot);
	bool going = window->space->state == SPACE_GOING;

	MUST(slots_used(&core->slots[RECORD_WINDOW], window->slot),
	     "R1: a window without a slot");
	MUST(core->windows[window->slot] == window, "a window is not found by its slot");
	MUST(record->word == (window->pending || going
				      ? 0
				      : window_place_pack(window_recorded_place(window))),
	     "R1: a window and its record differ");
	++sums->slots[RECORD_WINDOW];
	if (window->pending)
		sums->owed += CHANGES_WINDOW;
	else
		sums->owed += window->place.info.state == WINDOW_BORN;
	for (uint32_t i = 0; i < window_groups(window); ++i) {
		const struct unit_group *group = &window->groups[i];
		const struct pages_record *pages =
			records_at(core->records, RECORD_PAGES, group->slot);

		MUST((group->slot != SLOT_NONE) == !!(group->committed | group->committing),
		     "R1: units without a pages slot, or a slot without units");
		if (group->slot == SLOT_NONE)
			continue;
		++sums->slots[RECORD_PAGES];
		MUST(slots_used(&core->slots[RECORD_PAGES], group->slot),
		     "R1: a pages slot is not taken");
		MUST(pages->bits == (going ? 0 : group->committed),
		     "R4: the pages record says other than what is committed");
		MUST(!pages->bits || pages->where == pages_where_pack(window->slot, i),
		     "R1: a pages record of another window");
	}
	return NULL;
}

static const char *windows_check(const struct core *core, const struct space *space,
				 struct sums *sums)
{
	uint64_t sizes[STATS_NODES_MAX] = {0};
	uint32_t committed = 0, committing = 0, idle = 0, n = 0;

	for (uint32_t i = 0; i < space->windows_max; ++i) {
		const struct window *window = space->windows[i];
		const char *wrong;
		uint32_t node;

		if (!window)
			continue;
		++n;
		node = window->place.info.node;
		MUST(window->space == space && window->place.number == i &&
			     window->place.space == space->slot &&
			     window->place.info.page_shift == space->rung->page_shift &&
			     window->sums == &space->units,
		     "P1: a window is another space's");
		wrong = window_check(window);
		if (!wrong)
			wrong = window_recorded(core, window, sums);
		if (wrong)
			return wrong;
		sizes[node] +=
			window->retired ? 0 : (uint64_t)1 << window->place.info.size_shift;
		for (uint32_t j = 0; j < window_groups(window); ++j) {
			const struct unit_group *group = &window->groups[j];
			uint32_t here = (uint32_t)__builtin_popcountll(group->committed);

			committed += here;
			committing += (uint32_t)__builtin_popcountll(group->committing);
			idle += (uint32_t)__builtin_popcountll(group->idle);
			if (space->state != SPACE_GOING)
				sums_of(core, sums, space)->committed[node] += here;
		}
	}
	MUST(n == space->n_windows, "P1: windows are miscounted");
	MUST(committed == space->units.committed && committing == space->units.committing &&
		     idle == space->units.idle,
	     "W3: the units of a space are miscounted");
	MUST(space->units.idle_low <= idle, "the low-water mark stands above the water");
	for (uint32_t node = 0; node < core->config.n_nodes; ++node)
		MUST(space->rung->page_shift != 12 || sizes[node] <= space->ceiling,
		     "P1: windows exceed every limit that the space had");
	return NULL;
}

static uint64_t pinned_by(const struct member *member)
{
	uint64_t bytes = 0;

	list_for_each(at, &member->users) bytes +=
		list_entry(at, struct user, in_member)->pinned;
	return bytes;
}

static const char *members_check(const struct core *core, const struct space *space,
				 struct sums *sums, uint64_t *used, uint32_t *stored,
				 uint64_t *held)
{
	uint32_t n = 0;

	list_for_each(at, &space->members)
	{
		const struct member *member = list_entry(at, struct member, in_space);
		const struct member_record *record =
			records_at(core->records, RECORD_MEMBER, member->slot);
		struct member_word word = {space->slot,       member->session->slot,
					   member->read_only, member->id,
					   member->barred,    member->via};
		uint64_t mine;
		const char *wrong;

		++n;
		MUST(member->space == space && member_find(member->session, space) == member,
		     "a member is another space's");
		MUST(slots_used(&core->slots[RECORD_MEMBER], member->slot) &&
			     record->word == member_word_pack(word),
		     "R1: a member and its record differ");
		wrong = extents_check(core, &member->extents, space, member, sums, &mine,
				      stored);
		if (wrong)
			return wrong;
		MUST(mine == member->budget.used, "B1: a client's budget is not its charges");
		MUST(pinned_by(member) == member->budget.pinned,
		     "PN1: a client's budget bears other pins than its views'");
		MUST(member->budget.limit == space->client_limit,
		     "C4: a client has another limit than the rest");
		if (member->id) {
			uint64_t *at_id = &held[member->id / 64],
				 one = (uint64_t)1 << member->id % 64;

			MUST(!(*at_id & one), "I1: an id is of two");
			*at_id |= one;
			sums->owed += CHANGES_HOLDER;
		}
		*used += mine;
		++sums->slots[RECORD_MEMBER];
	}
	MUST(n == space->n_members, "members are miscounted");
	return NULL;
}

/* Those of one channel; the others' roles are counted here. */
static const char *ends_check(const struct core *core, const struct channel *channel,
			      struct sums *sums)
{
	uint32_t senders = 0, receivers = 0;

	list_for_each(at, &channel->ends)
	{
		const struct end *end = list_entry(at, struct end, in_channel);
		const struct end_record *record =
			records_at(core->records, RECORD_END, end->slot);
		uint64_t word = end_word_pack(end_word(end));

		MUST(end->channel == channel && end->member->space == channel->space &&
			     end->member->id && end_find(channel, end->member) == end,
		     "CH3: an end is another's");
		MUST(slots_used(&core->slots[RECORD_END], end->slot),
		     "R1: an end without a slot");
		MUST(record->word == (channel->pending ? 0 : word),
		     "R1: an end and its record differ");
		MUST(end->roles, "CH3: an end has no role");
		senders += !!(end->roles & CHANNEL_SENDS);
		receivers += !!(end->roles & CHANNEL_RECEIVES);
		sums->owed += end_owes(end);
		++sums->slots[RECORD_END];
	}
	MUST(senders == channel->senders && receivers == channel->receivers,
	     "CH3: the ends of a channel are miscounted");
	MUST(channel->had_senders >= !!senders && channel->had_receivers >= !!receivers,
	     "CH3: a channel has what it never had");
	return NULL;
}

static const char *channels_check(const struct core *core, const struct space *space,
				  struct sums *sums, uint64_t *held)
{
	uint32_t n = 0;

	list_for_each(at, &space->channels)
	{
		const struct channel *channel = list_entry(at, struct channel, link);
		const struct channel_record *record =
			records_at(core->records, RECORD_CHANNEL, channel->slot);
		const struct extent *extent = &core->extents[channel->extent];
		uint64_t *word = &held[channel->id / 64], bit = (uint64_t)1 << channel->id % 64;
		bool lives = !list_empty(&channel->ends);
		const char *wrong = ends_check(core, channel, sums);

		if (wrong)
			return wrong;
		++n;
		++sums->slots[RECORD_CHANNEL];
		sums->owed += channel->pending;
		MUST(channel->space == space && core->channels[channel->slot] == channel &&
			     slots_used(&core->slots[RECORD_CHANNEL], channel->slot),
		     "CH1: a channel is not at its slot");
		MUST(extent->channel == channel && extent->window->space == space &&
			     extent->count == 1 && extent->pending == channel->pending,
		     "CH1: a channel has no memory");
		MUST(!lives || channel_named(space, channel->name) == channel,
		     "CH2: two channels have one name");
		MUST(!(*word & bit), "I1: an id is of two");
		if (lives)
			*word |= bit;
		else
			MUST(space->ids.dead[channel->id / 64] & bit,
			     "CH1: a channel without ends lives");
		MUST(channel->pending
			     ? !record->word
			     : record->word == channel_word_pack(channel_word(channel)) &&
				       !strcmp(record->name, channel->name),
		     "R1: a channel and its record differ");
	}
	MUST(n == space->n_channels, "CH1: channels are miscounted");
	return NULL;
}

/* Of one list, of a user or of the cache itself: what it adds up to. */
static const char *holdings_check(const struct link *list, const struct estate *estate,
				  const struct member *member, uint64_t *bytes,
				  uint32_t *segments, uint32_t *objects)
{
	list_for_each(at, list)
	{
		const struct extent *extent = list_entry(at, struct extent, in_cache);

		MUST(extent->cache == estate && extent->member == member,
		     "ES2: an extent is another cache's, or user's");
		*bytes += extent->charge.bytes;
		++*(extent->kind == EXTENT_SEGMENT ? segments : objects);
	}
	return NULL;
}

static const char *rights_check(const struct core *core, const struct user *user,
				struct sums *sums, uint32_t *n)
{
	list_for_each(at, &user->rights)
	{
		const struct right *right = list_entry(at, struct right, in_user);
		const struct right_record *at_record =
			records_at(core->records, RECORD_RIGHT, right->slot);
		struct right_record record = right_record(right);
		struct right_view found;

		++*n;
		++sums->slots[RECORD_RIGHT];
		MUST(right->user == user && !user->member->read_only &&
			     core->rights[right->slot] == right &&
			     slots_used(&core->slots[RECORD_RIGHT], right->slot),
		     "RT1: a right is another's, or not at its slot");
		MUST(core_right_find(core, user->cache->slot, right->hash, &found) &&
			     found.right == right->slot,
		     "RT1: two have the right to compute one value");
		MUST(right->token && right->token < user->cache->token_next,
		     "RT2: a token will be given again");
		MUST(!memcmp(at_record, &record, sizeof(record)),
		     "R1: a right and its record differ");
	}
	return NULL;
}

static const char *users_check(const struct core *core, const struct estate *estate,
			       struct sums *sums, uint64_t *bytes, uint32_t *segments,
			       uint32_t *objects)
{
	uint32_t n = 0, rights = 0;

	list_for_each(at, &estate->users)
	{
		const struct user *user = list_entry(at, struct user, in_cache);
		const struct user_record *record =
			records_at(core->records, RECORD_USER, user->slot);
		const char *wrong;

		++n;
		++sums->slots[RECORD_USER];
		MUST(user->cache == estate && user->member->space == estate->space &&
			     user_find(core, estate, user->member) == user,
		     "ES3: a user is another's");
		MUST(slots_used(&core->slots[RECORD_USER], user->slot) &&
			     record->word == user_word_pack(user_word(user)),
		     "R1: a user and its record differ");
		MUST(list_empty(&user->extents) || !user->member->read_only,
		     "ES2: a reader fills a segment");
		wrong = holdings_check(&user->extents, estate, user->member, bytes, segments,
				       objects);
		if (!wrong)
			wrong = rights_check(core, user, sums, &rights);
		if (wrong)
			return wrong;
	}
	MUST(n == estate->n_users, "ES3: users are miscounted");
	MUST(rights == estate->n_rights, "RT3: rights are miscounted");
	return NULL;
}

static const char *caches_check(const struct core *core, const struct space *space,
				struct sums *sums)
{
	uint32_t n = 0, sealed = 0;

	list_for_each(at, &space->caches)
	{
		const struct estate *estate = list_entry(at, struct estate, link);
		const struct cache_record *at_record =
			records_at(core->records, RECORD_CACHE, estate->slot);
		struct cache_record record = estate_record(estate);
		uint32_t segments = 0, objects = 0;
		uint64_t bytes = 0;
		const char *wrong = holdings_check(&estate->extents, estate, NULL, &bytes,
						   &segments, &objects);

		++n;
		++sums->slots[RECORD_CACHE];
		sealed += segments + objects;
		if (!wrong)
			wrong = users_check(core, estate, sums, &bytes, &segments, &objects);
		if (wrong)
			return wrong;
		MUST(estate->space == space && core->caches[estate->slot] == estate &&
			     slots_used(&core->slots[RECORD_CACHE], estate->slot),
		     "ES1: a cache is not at its slot");
		MUST(estate->removed || estate_named(space, estate->name) == estate,
		     "ES1: two caches have one name");
		MUST(bytes == estate->bytes && segments == estate->n_segments &&
			     objects == estate->n_objects,
		     "ES2: the memory of a cache is miscounted");
		MUST(!memcmp(at_record, &record, sizeof(record)),
		     "R1: a cache and its record differ");
	}
	MUST(n == space->n_caches, "ES1: caches are miscounted");
	MUST(sealed == space->n_sealed, "ES2: sealed extents are miscounted");
	return NULL;
}

static const char *space_check(const struct core *core, const struct space *space,
			       struct sums *sums)
{
	const struct space_record *at = records_at(core->records, RECORD_SPACE, space->slot);
	uint64_t used = 0, adopted, held[ID_WORDS] = {1};
	uint32_t stored = 0, committed = space->units.committed + space->units.committing;
	const char *wrong;

	++sums->slots[RECORD_SPACE];
	memset(sums->used_on, 0, sizeof(sums->used_on));
	wrong = windows_check(core, space, sums);
	if (!wrong)
		wrong = members_check(core, space, sums, &used, &stored, held);
	if (!wrong)
		wrong = extents_check(core, &space->extents, space, NULL, sums, &adopted,
				      &stored);
	if (!wrong)
		wrong = channels_check(core, space, sums, held);
	if (!wrong)
		wrong = caches_check(core, space, sums);
	if (!wrong)
		wrong = ids_check(&space->ids);
	if (wrong)
		return wrong;
	for (uint32_t i = 0; i < ID_WORDS; ++i)
		MUST(held[i] == (space->ids.taken[i] & ~space->ids.dead[i]),
		     "I1: an id is somebody's whom nobody knows");
	MUST(!memcmp(sums->used_on, space->used_on, sizeof(space->used_on)),
	     "what a space has on each node is miscounted");
	MUST(used + adopted == space->budget.used, "B1: a space's budget is not its charges");
	MUST(space->budget.limit <= space->ceiling &&
		     space->client_limit <= space->budget.limit,
	     "C4: a limit is above what it has to be within");
	MUST(space->ceiling <= space->rung->bytes, "G1: a limit is above what its rung has");
	MUST(space->budget.used <= space->ceiling,
	     "C4: a space is above every limit that it had");
	MUST(stored == space->n_extents, "extents are miscounted");
	MUST(list_length(&space->extents) == space->n_adopted, "adopted ones are miscounted");
	MUST(units_bytes(space->rung, committed) < space->ceiling + units_bytes(space->rung, 1),
	     "C4: a space commits above every limit that it had");
	sums->region += space->budget.used;
	if (space->state == SPACE_LIVE) {
		struct space_record record = space_record(core, space);

		++sums->spaces;
		MUST(!memcmp(at, &record, sizeof(record)), "R1: a space and its record differ");
		MUST(space->removed || committed >= space_reserve_units(space) ||
			     space_has_retired(space),
		     "P2: a reserve is not there");
	} else {
		MUST(!at->state, "C3: a space that is not there is recorded");
	}
	return NULL;
}

static const char *sessions_check(const struct core *core, struct sums *sums)
{
	for (uint32_t i = 0; i < core->slots[RECORD_SESSION].total; ++i) {
		const struct session *session = core->sessions[i];
		struct session_record again;
		const struct session_record *record =
			records_at(core->records, RECORD_SESSION, i);
		const char *wrong;
		uint64_t used = 0;
		uint32_t n = 0;

		if (!session) {
			MUST(!record->word, "R1: a record of no session");
			continue;
		}
		MUST(session->slot == i && slots_used(&core->slots[RECORD_SESSION], i),
		     "a session is not at its slot");
		again = session_record(session);
		MUST(!memcmp(&again, record, sizeof(again)),
		     "R1: a session and its record differ");
		MUST(serial_is_given(core, session->serial),
		     "R5: a session has a serial that will be given");
		list_for_each(at, &session->members)
		{
			const struct member *member = list_entry(at, struct member, in_session);

			MUST(member->session == session, "a member is another session's");
			used += member->budget.used;
			++n;
		}
		MUST(n == session->n_members && used == session->used,
		     "S1: a session's use is not its members'");
		wrong = position_check(core, session);
		if (wrong)
			return wrong;
		sums->slots[RECORD_LANES] += session->lanes.lanes != 0;
		sums->slots[RECORD_RETURNS] += session->returns;
		++sums->slots[RECORD_SESSION];
		++sums->sessions;
	}
	return NULL;
}

static const char *plans_check(const struct core *core, struct sums *sums)
{
	uint32_t n = 0;

	list_for_each(at, &core->plans)
	{
		const struct core_plan *plan = list_entry(at, struct core_plan, link);

		++n;
		MUST(plan->started, "a plan is held that has not started");
		for (uint32_t i = 0; i < core->n_rungs; ++i)
			for (uint32_t node = 0; node < core->config.n_nodes; ++node)
				sums->rungs[i].pending[node] += plan->held[i][node];
	}
	MUST(n == core->n_plans, "plans are miscounted");
	return NULL;
}

static uint32_t slots_in_use(const struct core *core, enum record_kind kind)
{
	/* slot 0 of these is never given out; or the only one */
	uint32_t never = (kind == RECORD_SPACE || kind == RECORD_SESSION ||
			  kind == RECORD_CACHE || kind == RECORD_INTENT) &&
			 core->slots[kind].total;

	return core->slots[kind].total - core->slots[kind].free - never;
}

static void count(uint64_t *held, enum quota_kind kind, uint64_t n, uint64_t metadata)
{
	held[kind] += n;
	held[QUOTA_METADATA] += metadata;
}

/* What one uid holds, counted again. */
static void account_count(const struct core *core, uint32_t uid, uint64_t *held)
{
	for (uint32_t i = 0; i < core->slots[RECORD_SESSION].total; ++i) {
		const struct session *session = core->sessions[i];

		if (!session || session->request.credentials.uid != uid)
			continue;
		count(held, QUOTA_SESSIONS, 1, METADATA_SESSION + session->files);
		list_for_each(at, &session->members)
		{
			const struct member *member = list_entry(at, struct member, in_session);
			uint64_t n = list_length(&member->extents);

			count(held, QUOTA_LEASES, n, n * METADATA_LEASE);
			n = 1 + list_length(&member->users);
			count(held, QUOTA_OPENS, n, n * METADATA_OPEN);
			list_for_each(user, &member->users)
			{
				n = list_length(
					&list_entry(user, struct user, in_member)->rights);
				count(held, QUOTA_RIGHTS, n, n * METADATA_RIGHT);
			}
			n = list_length(&member->ends);
			count(held, QUOTA_CHANNELS, n, n * METADATA_END);
		}
	}
	for (uint32_t i = 0; i < core->slots[RECORD_SPACE].total; ++i) {
		const struct space *space = core->spaces[i];
		uint64_t n;

		if (!space || space->owner.uid != uid)
			continue;
		n = space->n_adopted;
		count(held, QUOTA_SPACES, 1,
		      METADATA_SPACE + list_length(&space->channels) * METADATA_CHANNEL);
		count(held, QUOTA_LEASES, n, n * METADATA_LEASE);
		n = list_length(&space->caches);
		count(held, QUOTA_CACHES, n, n * METADATA_CACHE);
		list_for_each(at, &space->caches) held[QUOTA_METADATA] +=
			list_entry(at, struct estate, link)->files;
		for (uint32_t j = 0; j < space->windows_max; ++j)
			if (space->windows[j])
				count(held, QUOTA_WINDOWS, 1,
				      METADATA_WINDOW + (uint64_t)METADATA_SLICE *
								space->windows[j]->slices);
	}
}

static const char *quotas_check(const struct core *core)
{
	uint64_t sums[QUOTA_KINDS] = {0};
	uint32_t n = 0;

	for (const struct quota *at = quota_next(&core->quotas, NULL); at;
	     at = quota_next(&core->quotas, at)) {
		uint64_t held[QUOTA_KINDS] = {0};

		++n;
		account_count(core, at->uid, held);
		MUST(quota_find(&core->quotas, at->uid) == at, "Q1: an account is not found");
		MUST(at->refs == held[QUOTA_SESSIONS] + held[QUOTA_SPACES],
		     "Q1: an account outlives what it is for");
		for (uint32_t kind = 0; kind < QUOTA_KINDS; ++kind) {
			MUST(at->held[kind] == held[kind],
			     "Q1: what a uid holds is miscounted");
			sums[kind] += held[kind];
		}
	}
	MUST(n == core->quotas.n, "Q1: accounts are miscounted");
	for (uint32_t kind = 0; kind < QUOTA_KINDS; ++kind)
		MUST(core->quotas.held[kind] == sums[kind],
		     "Q1: what all uids hold is miscounted");
	return NULL;
}

/* Between verbs none is a promise, but those of the shell. */
static const char *results_check(const struct core *core)
{
	for (uint32_t i = 0; i < records_capacity(core->records)->slots[RECORD_RESULT]; ++i) {
		const struct result_record *record =
			records_at(core->records, RECORD_RESULT, i);
		struct result_word what = result_word_unpack(record->what);

		if (!record->id)
			continue;
		MUST(core_session_at(core, i / RESULTS_A_SESSION),
		     "RS1: a result outlives its session");
		MUST(record->id % RESULTS_A_SESSION == i % RESULTS_A_SESSION,
		     "RS1: a result is not where its request looks");
		MUST(what.kept || what.kind == RESULT_OBJECT, "RS2: a promise is not kept");
	}
	return NULL;
}

static const char *rung_check(const struct core *core, const struct rung *rung,
			      const struct rung_sums *sums)
{
	for (uint32_t node = 0; node < core->config.n_nodes; ++node) {
		const struct core_node *at = &rung->nodes[node];

		MUST(at->committed == sums->committed[node],
		     "C4: committed units are miscounted");
		MUST(at->pending == sums->pending[node], "C4: pending units are miscounted");
		MUST(at->used == sums->used[node], "the bytes of a node are miscounted");
		MUST((uint64_t)at->committed + at->pending <= at->capacity,
		     "C4: a node commits more than it has");
	}
	return NULL;
}

const char *core_check(const struct core *core)
{
	struct sums sums = {0};
	const char *wrong = sessions_check(core, &sums);

	if (!wrong)
		wrong = position_check_intent(core);
	if (!wrong)
		wrong = quotas_check(core);

	for (uint32_t i = 0; !wrong && i < core->slots[RECORD_SPACE].total; ++i) {
		if (core->spaces[i] && core->spaces[i]->slot == i &&
		    core_space_named(core, core->spaces[i]->name) == core->spaces[i])
			wrong = space_check(core, core->spaces[i], &sums);
		else
			MUST(!core->spaces[i] && !records_valid(core->records, RECORD_SPACE, i),
			     "R1: a record of no space");
	}
	if (!wrong)
		wrong = plans_check(core, &sums);
	if (!wrong)
		wrong = results_check(core);
	if (wrong)
		return wrong;
	for (uint32_t i = 0; !wrong && i < core->n_rungs; ++i)
		wrong = rung_check(core, &core->rungs[i], &sums.rungs[i]);
	if (wrong)
		return wrong;
	MUST(core->region.used == sums.region, "B1: the region's budget is not its charges");
	MUST(core->n_spaces == sums.spaces && core->n_sessions == sums.sessions,
	     "spaces or sessions are miscounted");
	for (uint32_t kind = 0; kind < RECORD_KINDS; ++kind) {
		uint32_t valid = 0;

		MUST(slots_in_use(core, kind) == sums.slots[kind],
		     "R1: slots are taken that nothing uses");
		for (uint32_t i = 0; i < core->slots[kind].total; ++i) {
			bool recorded = records_valid(core->records, kind, i);

			MUST(!recorded || slots_used(&core->slots[kind], i),
			     "R1: a valid record in a free slot");
			valid += recorded;
		}
		MUST(valid <= sums.slots[kind] || kind == RECORD_INTENT,
		     "R1: more records than things");
	}
	MUST(core->changes.owed == sums.owed, "changes owed are miscounted");
	MUST((uint64_t)core->changes.count + core->changes.owed <= core->changes.capacity,
	     "there is no room for the changes owed");
	return NULL;
}
