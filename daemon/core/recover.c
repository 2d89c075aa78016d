/*
 * Recover - the live core again, from its records alone.
 *
 * The records may be any prefix of the stores that were made (record.h says in which order).
 * What a prefix can leave, and what becomes of it:
 *
 *   born windows of no space     their space was never there: they are cleared, pages first
 *   empty committed units        idle
 *   a removed space, unused      stays so; core_space_remove() goes on with it
 *   ids that nobody has          dead: words may name them
 *   a channel without an end     dead likewise, until a sweep
 *   an extent of no channel      was never anyone's, or is no more: it is cleared
 *   a removed cache, unused      stays so; core_cache_reap() goes on with it
 *   a user of no cache           never was one: it is cleared
 *   a promise of a request       kept, if the store that it names was made; else it is cleared
 *   a session half ended         whole again, with what it still has: it ends again
 *
 * Everything else that does not fit together no prefix can leave: -EUCLEAN. Nothing is believed:
 * any bytes at all give a core that core_check() finds nothing wrong with, or a refusal, which
 * has changed none of them.
 */
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/nodes.h"
#include "daemon/core/position.h"
#include "daemon/core/state.h"

/* Records are given out from the lowest slot on: behind the last one there are none. */
static uint32_t slots_end(const struct core *core, enum record_kind kind)
{
	uint32_t total = records_capacity(core->records)->slots[kind];

	return core->config.used ? (uint32_t)u64_min(core->config.used->slots[kind], total)
				 : total;
}

#define for_each_record(core, kind, slot)                                          \
	for (uint32_t slot = 0, end_ = slots_end(core, kind); slot < end_; ++slot) \
		if (records_valid((core)->records, kind, slot))

/* The record as a space. False: no core wrote it. */
static bool space_read(struct core *core, const struct space_record *record,
		       struct space *space)
{
	struct space_word word = space_word_unpack(record->state);
	struct space_record again;

	if (space_word_pack(word) != record->state || !placement_at(word.placement) ||
	    !word.weight || word.weight > 10000)
		return false;
	space->rung = rung_at(core, word.page_shift);
	if (!space->rung)
		return false;
	if (word.numa >= NUMA_KINDS ||
	    numa_check(core, (struct numa){(enum numa_kind)word.numa, record->nodes},
		       &(struct core_fault){}))
		return false;
	if (record->mode > 0777 || !record->limit || record->limit % CHUNK_BYTES ||
	    record->ceiling % CHUNK_BYTES || record->limit > record->ceiling ||
	    record->ceiling > space->rung->bytes || record->reserve % CHUNK_BYTES ||
	    record->reserve > record->limit || !record->client_limit ||
	    record->client_limit % SLICE_BYTES || record->client_limit > record->limit)
		return false;
	if (!record->tag_next || record->tag_next > TAG_MASK || !record->window_next ||
	    record->window_next > GENERATION_MASK || !space_name_valid(record->name))
		return false;
	memcpy(space->name, record->name, strlen(record->name));
	space->state = SPACE_LIVE;
	space->removed = word.removed;
	space->owner =
		(struct credentials){(uint32_t)record->owner, (uint32_t)(record->owner >> 32)};
	space->mode = (uint32_t)record->mode;
	space->weight = word.weight;
	space->numa = (struct numa){(enum numa_kind)word.numa, record->nodes};
	space->placement_id = word.placement;
	space->placement = placement_at(word.placement);
	space->reserve = record->reserve;
	space->client_limit = record->client_limit;
	space->ceiling = record->ceiling;
	space->hash_seed = record->hash_seed;
	space->tag_next = (uint32_t)record->tag_next;
	space->window_next = (uint32_t)record->window_next;
	space->budget = (struct budget){.name = "space", .limit = record->limit};
	again = space_record(core, space);
	return !memcmp(&again, record, sizeof(again)); /* nothing behind the name, say */
}

static int recover_spaces(struct core *core)
{
	for_each_record(core, RECORD_SPACE, slot)
	{
		struct space *space;

		if (!slot)
			return -EUCLEAN;
		space = space_new();
		if (!space)
			return -ENOMEM;
		space->slot = slot;
		if (!space_read(core, records_at(core->records, RECORD_SPACE, slot), space) ||
		    core_space_named(core, space->name)) {
			space_free(core, space);
			return -EUCLEAN;
		}
		space->budget.parent = &core->region;
		if (space_list(core, space)) {
			space_free(core, space);
			return -ENOMEM;
		}
		slots_claim(&core->slots[RECORD_SPACE], slot);
		++core->n_spaces;
	}
	return 0;
}

static int window_enter(struct core *core, uint32_t slot, struct window_place place)
{
	struct space *space = core->spaces[place.space];
	bool retired = place.info.state == WINDOW_RETIRED;
	struct window *window;
	int r;

	if (space_window_at(space, place.number))
		return -EUCLEAN;
	r = changes_owe(&core->changes, place.info.state == WINDOW_BORN);
	if (r)
		return r;
	if (retired)
		place.info.state = WINDOW_GRANTED;
	r = window_new(&window, place, space->placement, &space->units);
	if (r)
		return r;
	window->retired = retired;
	window->slot = slot;
	r = space_window_enter(core, space, window);
	if (r) {
		window_free(window);
		return r;
	}
	slots_claim(&core->slots[RECORD_WINDOW], slot);
	window_rebuild_begin(window);
	return 0;
}

/* On the 4 KiB rung, windows never exceed the highest limit together. */
static bool windows_fit(const struct core *core, const struct space *space)
{
	for (uint32_t node = 0; node < core->config.n_nodes; ++node) {
		uint64_t sum = 0;

		for (uint32_t i = 0; i < space->windows_max; ++i)
			if (space->windows[i] && !space->windows[i]->retired &&
			    space->windows[i]->place.info.node == node)
				sum += (uint64_t)1 << space->windows[i]->place.info.size_shift;
		if (space->rung->page_shift == 12 && sum > space->ceiling)
			return false;
	}
	return true;
}

static int recover_windows(struct core *core)
{
	for_each_record(core, RECORD_WINDOW, slot)
	{
		const struct window_record *record =
			records_at(core->records, RECORD_WINDOW, slot);
		struct window_place place = window_place_unpack(record->word);
		const struct rung *rung = rung_at(core, place.info.page_shift);
		int r;

		if (window_place_pack(place) != record->word || !rung ||
		    place.info.size_shift < rung->unit_shift ||
		    place.info.size_shift > POSITION_BITS ||
		    place.info.node >= core->config.n_nodes || !place.info.generation ||
		    (place.info.state != WINDOW_BORN && place.info.state != WINDOW_GRANTED &&
		     place.info.state != WINDOW_RETIRED))
			return -EUCLEAN;
		if (!core_space_at(core, place.space)) {
			if (place.info.state != WINDOW_BORN)
				return -EUCLEAN;
			continue;
		}
		if (core->spaces[place.space]->rung != rung)
			return -EUCLEAN;
		r = window_enter(core, slot, place);
		if (r)
			return r;
	}
	for (uint32_t i = 0; i < core->slots[RECORD_SPACE].total; ++i)
		if (core_space_at(core, i) && !windows_fit(core, core->spaces[i]))
			return -EUCLEAN;
	return 0;
}

static int recover_pages(struct core *core)
{
	for_each_record(core, RECORD_PAGES, slot)
	{
		const struct pages_record *record =
			records_at(core->records, RECORD_PAGES, slot);
		uint32_t at = (uint32_t)record->where, group = (uint32_t)(record->where >> 32);
		struct window *window;
		struct core_node *node;

		if (at >= slots_end(core, RECORD_WINDOW) ||
		    !records_valid(core->records, RECORD_WINDOW, at))
			return -EUCLEAN;
		window = core->windows[at];
		if (!window)
			continue;
		if (group >= window_groups(window) || window->groups[group].slot != SLOT_NONE ||
		    (window->units - group * 64 < 64 &&
		     record->bits >> (window->units - group * 64)))
			return -EUCLEAN;
		window_rebuild_pages(window, group, record->bits, slot);
		slots_claim(&core->slots[RECORD_PAGES], slot);
		node = &window->space->rung->nodes[window->place.info.node];
		node->committed += (uint32_t)__builtin_popcountll(record->bits);
		if (node->committed > node->capacity)
			return -EUCLEAN;
	}
	for (uint32_t i = 0; i < core->slots[RECORD_SPACE].total; ++i) {
		const struct space *space = core_space_at(core, i);

		if (!space)
			continue;
		if (units_bytes(space->rung, space->units.committed) >=
		    space->ceiling + units_bytes(space->rung, 1))
			return -EUCLEAN;
		if (!space->removed && space->units.committed < space_reserve_units(space) &&
		    !space_has_retired(space))
			return -EUCLEAN;
	}
	return 0;
}

static int recover_sessions(struct core *core)
{
	for_each_record(core, RECORD_SESSION, slot)
	{
		const struct session_record *record =
			records_at(core->records, RECORD_SESSION, slot);
		struct session_word word = session_word_unpack(record->word);
		struct session_request request = {
			.credentials = {(uint32_t)record->owner,
					(uint32_t)(record->owner >> 32)},
			.pid = word.pid,
			.birth = record->birth,
			.image = record->image,
		};

		if (!slot || session_word_pack(word) != record->word ||
		    !serial_is_given(core, word.serial))
			return -EUCLEAN;
		core->sessions[slot] = session_new(core, &request);
		if (!core->sessions[slot])
			return -ENOMEM;
		core->sessions[slot]->slot = slot;
		core->sessions[slot]->serial = word.serial;
		slots_claim(&core->slots[RECORD_SESSION], slot);
		++core->n_sessions;
	}
	return 0;
}

static int recover_positions(struct core *core)
{
	int r = 0;

	for_each_record(core, RECORD_LANES, slot)
	{
		r = position_recover_lanes(core, slot);
		if (r)
			return r;
	}
	for_each_record(core, RECORD_RETURNS, slot)
	{
		r = position_recover_returns(core, slot);
		if (r)
			return r;
	}
	for_each_record(core, RECORD_INTENT, slot) r = position_recover_intent(core);
	return r;
}

static int recover_members(struct core *core)
{
	for_each_record(core, RECORD_MEMBER, slot)
	{
		const struct member_record *record =
			records_at(core->records, RECORD_MEMBER, slot);
		struct member_word word = member_word_unpack(record->word);
		struct session *session = core_session_at(core, word.session);
		struct space *space = core_space_at(core, word.space);
		struct member *member;
		int r;

		if (member_word_pack(word) != record->word || !session || !space ||
		    member_find(session, space))
			return -EUCLEAN;
		r = member_new(&member, core, space, session, slot, word.read_only);
		if (r)
			return r;
		slots_claim(&core->slots[RECORD_MEMBER], slot);
		member->barred = word.barred;
		member->via = word.via;
		if (!word.id)
			continue;
		r = changes_owe(&core->changes, CHANGES_HOLDER);
		if (r)
			return r;
		if (word.read_only || !ids_claim(&space->ids, word.id))
			return -EUCLEAN;
		member->id = word.id;
	}
	return 0;
}

static int recover_channels(struct core *core)
{
	for_each_record(core, RECORD_CHANNEL, slot)
	{
		const struct channel_record *record =
			records_at(core->records, RECORD_CHANNEL, slot);
		struct channel_word word = channel_word_unpack(record->word);
		struct space *space = core_space_at(core, word.space);
		struct extent *extent;

		if (channel_word_pack(word) != record->word || !space ||
		    word.extent >= core->slots[RECORD_EXTENT].total ||
		    (uint32_t)1 << word.capacity_shift > CHANNEL_CAPACITY_MAX ||
		    !space_name_valid(record->name) || !ids_claim(&space->ids, word.id))
			return -EUCLEAN;
		extent = &core->extents[word.extent];
		if (extent->channel)
			return -EUCLEAN;
		extent->channel = channel_enter(core, space, slot, word, record->name);
		if (!extent->channel)
			return -ENOMEM;
	}
	return 0;
}

static int recover_caches(struct core *core)
{
	for_each_record(core, RECORD_CACHE, slot)
	{
		struct estate *estate;

		if (!estate_enter(core, slot, records_at(core->records, RECORD_CACHE, slot),
				  &estate))
			return -EUCLEAN;
		if (!estate)
			return -ENOMEM;
	}
	return 0;
}

static int recover_users(struct core *core)
{
	for_each_record(core, RECORD_USER, slot)
	{
		const struct user_record *record = records_at(core->records, RECORD_USER, slot);
		struct user_word word = user_word_unpack(record->word);
		struct session *session = core_session_at(core, word.session);
		struct estate *estate = word.cache < core->slots[RECORD_CACHE].total
						? core->caches[word.cache]
						: NULL;
		struct member *member =
			session && estate ? member_find(session, estate->space) : NULL;

		if (user_word_pack(word) != record->word)
			return -EUCLEAN;
		if (!estate)
			continue;
		if (!member || user_find(core, estate, member))
			return -EUCLEAN;
		if (!user_enter(core, estate, member, slot))
			return -ENOMEM;
	}
	return 0;
}

static int recover_rights(struct core *core)
{
	for_each_record(core, RECORD_RIGHT, slot)
	{
		const struct right_record *record =
			records_at(core->records, RECORD_RIGHT, slot);
		struct right *right;

		if (!right_enter(core, slot, record, &right))
			return -EUCLEAN;
		if (!right)
			return -ENOMEM;
	}
	return 0;
}

/* Whose an extent is. */
struct owner {
	struct member *member; /* NULL: nobody's */
	struct estate *cache;
	struct user *user;
};

/* False: nobody's that could have it. */
static bool owner_read(const struct core *core, const struct space *space,
		       struct extent_owner owner, struct owner *ret)
{
	bool cached = owner.kind == EXTENT_SEGMENT || owner.kind == EXTENT_OBJECT;
	struct session *session;

	*ret = (struct owner){0};
	if (!owner.tag || owner.kind < EXTENT_PRIVATE || owner.kind > EXTENT_OBJECT ||
	    (owner.worded && owner.kind != EXTENT_SHARED) ||
	    (owner.kind == EXTENT_CHANNEL && owner.holder) || cached != !!owner.cache)
		return false;
	if (cached) {
		if (owner.cache >= core->slots[RECORD_CACHE].total)
			return false;
		ret->cache = core->caches[owner.cache];
		if (!ret->cache || ret->cache->space != space)
			return false;
	}
	if (!owner.holder)
		return owner.kind != EXTENT_PRIVATE;
	session = core_session_at(core, owner.holder - 1);
	ret->member = session ? member_find(session, space) : NULL;
	if (!ret->member || ret->member->read_only)
		return false;
	ret->user = cached ? user_find(core, ret->cache, ret->member) : NULL;
	return !cached || ret->user;
}

/* Can it be leased like that? What is whole has no holes. */
static bool run_fits(const struct owner *owner, struct extent_run run)
{
	return !owner->member || !run.slices ||
	       (uint32_t)__builtin_popcount(run.slices) == run.count;
}

static int extent_enter(struct core *core, uint32_t slot, struct window *window,
			struct extent_owner owner, struct extent_run run)
{
	struct space *space = window->space;
	struct extent *extent = &core->extents[slot];
	struct owner whose;
	struct member *member;
	uint64_t bytes;
	int r;

	if (!owner_read(core, space, owner, &whose) || !run_fits(&whose, run))
		return -EUCLEAN;
	member = whose.member;
	*extent = (struct extent){
		.window = window,
		.member = member,
		.channel = extent->channel,
		.cache = whose.cache,
		.first = run.first,
		.count = run.count,
		.slices = run.slices,
		.tag = owner.tag,
		.kind = owner.kind,
		.worded = owner.worded,
	};
	r = changes_owe(&core->changes, extent_owes(extent));
	if (r)
		return r;
	bytes = extent_bytes(extent);
	if (!budget_restore(member ? &member->budget : &space->budget, bytes,
			    &extent->charge) ||
	    space->budget.used > space->ceiling || core->region.used > core->region.limit)
		return -EUCLEAN;
	for_each_stretch(extent, at, n)
	{
		if (!window_rebuild_use(window, at, n, slot))
			return -EUCLEAN;
	}
	slots_claim(&core->slots[RECORD_EXTENT], slot);
	core_take(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	list_append(member ? &member->extents : &space->extents, &extent->link);
	space->n_adopted += !member;
	if (whose.cache) {
		whose.cache->bytes += bytes;
		++*estate_count(whose.cache, extent->kind);
		space->n_sealed += !member;
		list_append(whose.user ? &whose.user->extents : &whose.cache->extents,
			    &extent->in_cache);
	}
	space->sweep.owed |= !member && extent_may_be_empty(extent);
	++space->n_extents;
	space->rung->nodes[window->place.info.node].used += extent->charge.bytes;
	space->used_on[window->place.info.node] += extent->charge.bytes;
	if (member) {
		member->session->used += extent->charge.bytes;
		member->session->peak = member->session->used;
	}
	return 0;
}

/* Its channel is in the same space, and its ring in one slice. */
static bool channel_fits(const struct core *core, uint32_t slot, struct extent_owner owner,
			 struct extent_run run)
{
	const struct window *window = core->windows[run.window];

	return owner.kind == EXTENT_CHANNEL && window &&
	       window->space == core->extents[slot].channel->space && run.count == 1;
}

static int recover_extents(struct core *core)
{
	for_each_record(core, RECORD_EXTENT, slot)
	{
		const struct extent_record *record =
			records_at(core->records, RECORD_EXTENT, slot);
		struct extent_owner owner = extent_owner_unpack(record->owner);
		struct extent_run run = extent_run_unpack(record->run, owner.kind);
		struct window *window;
		int r;

		if (extent_owner_pack(owner) != record->owner || !run.count ||
		    run.window >= core->slots[RECORD_WINDOW].total)
			return -EUCLEAN;
		if (owner.kind == EXTENT_CHANNEL && !core->extents[slot].channel)
			continue;
		if (core->extents[slot].channel && !channel_fits(core, slot, owner, run))
			return -EUCLEAN;
		window = core->windows[run.window];
		if (!window || run.first >= window->slices ||
		    run.count > window->slices - run.first ||
		    window_need(window, run.first, run.count))
			return -EUCLEAN;
		r = extent_enter(core, slot, window, owner, run);
		if (r)
			return r;
	}
	for (uint32_t i = 0; i < core->slots[RECORD_WINDOW].total; ++i)
		if (core->windows[i])
			window_rebuild_end(core->windows[i]);
	return 0;
}

static int recover_ends(struct core *core)
{
	for_each_record(core, RECORD_END, slot)
	{
		const struct end_record *record = records_at(core->records, RECORD_END, slot);
		struct end_word word = end_word_unpack(record->word);
		struct session *session = core_session_at(core, word.session);
		struct channel *channel = word.channel < core->slots[RECORD_CHANNEL].total
						  ? core->channels[word.channel]
						  : NULL;
		struct member *member =
			session && channel ? member_find(session, channel->space) : NULL;
		int r;

		if (end_word_pack(word) != record->word || !word.roles || !member ||
		    !member->id || end_find(channel, member))
			return -EUCLEAN;
		r = changes_owe(&core->changes, (uint32_t)__builtin_popcount(word.roles));
		if (r)
			return r;
		if (!end_enter(core, channel, member, slot, word.roles))
			return -ENOMEM;
	}
	return 0;
}

/* Each has its memory; of those that have ends, each its name. */
static int recover_rings(struct core *core)
{
	for (uint32_t i = 0; i < core->slots[RECORD_CHANNEL].total; ++i) {
		struct channel *channel = core->channels[i];

		if (!channel)
			continue;
		if (!core->extents[channel->extent].window)
			return -EUCLEAN;
		if (list_empty(&channel->ends))
			ids_die(&channel->space->ids, channel->id);
		else if (channel_named(channel->space, channel->name) != channel)
			return -EUCLEAN;
	}
	return 0;
}

/* When everyone who has an id has claimed it: I2. */
static int recover_ids(struct core *core)
{
	for_each_record(core, RECORD_EXTENT, slot)
	{
		const struct extent *extent = &core->extents[slot];

		if (extent->window && extent_has_words(extent) && !mutant(ids_trusted))
			ids_doubt(&extent->window->space->ids);
	}
	return 0;
}

static int recover_results(struct core *core)
{
	for_each_record(core, RECORD_RESULT, slot)
	{
		if (!result_fits(core, slot))
			return -EUCLEAN;
	}
	return 0;
}

static void clear_pages(struct core *core)
{
	for_each_record(core, RECORD_PAGES, slot)
	{
		const struct pages_record *record =
			records_at(core->records, RECORD_PAGES, slot);

		if (!core->windows[(uint32_t)record->where])
			record_clear(core->records, RECORD_PAGES, slot);
	}
}

static void clear_windows(struct core *core)
{
	for_each_record(core, RECORD_WINDOW, slot)
	{
		if (!core->windows[slot])
			record_clear(core->records, RECORD_WINDOW, slot);
	}
}

/* What has come to nothing. Pages first, so that they always have a window. */
static void clear_leftovers(struct core *core)
{
	if (mutant(recover_windows_first))
		clear_windows(core);
	clear_pages(core);
	clear_windows(core);
	for_each_record(core, RECORD_USER, slot)
	{
		const struct user_record *record = records_at(core->records, RECORD_USER, slot);
		uint32_t cache = user_word_unpack(record->word).cache;

		if (cache >= core->slots[RECORD_CACHE].total || !core->caches[cache])
			record_clear(core->records, RECORD_USER, slot);
	}
	for_each_record(core, RECORD_EXTENT, slot)
	{
		if (!core->extents[slot].window)
			record_clear(core->records, RECORD_EXTENT, slot);
	}
}

/* Who has an end had one: if a death came before that was said. */
static void record_channels(struct core *core)
{
	for (uint32_t i = 0; i < core->slots[RECORD_CHANNEL].total; ++i)
		if (core->channels[i])
			channel_record(core, core->channels[i]);
}

/* Of what is there now. */
static void settle_promises(struct core *core)
{
	for_each_record(core, RECORD_RESULT, slot) result_settle(core, slot);
}

static void core_freep(struct core **core)
{
	core_free(*core);
}

int core_recover(struct core **ret, const struct core_config *config, struct records *records)
{
	static int (*const steps[])(struct core *) = {
		recover_spaces,    recover_windows, recover_pages,    recover_sessions,
		recover_positions, recover_members, recover_channels, recover_caches,
		recover_users,     recover_rights,  recover_extents,  recover_ends,
		recover_rings,     recover_ids,     recover_results,
	};
	_cleanup_(core_freep) struct core *core = NULL;
	int r;

	r = core_empty(&core, config, records);
	for (uint32_t i = 0; !r && i < ARRAY_SIZE(steps); ++i)
		r = steps[i](core);
	if (r && mutant(refused_changes))
		clear_leftovers(core);
	if (r)
		return r;
	/* What is refused stays as it was: until here no record has changed. */
	clear_leftovers(core);
	record_channels(core);
	settle_promises(core);
	core->config.used = NULL;
	*ret = TAKE_PTR(core);
	return 0;
}
