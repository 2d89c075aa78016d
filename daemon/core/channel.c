#include "daemon/core/channel.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/revoke.h"
#include "daemon/core/state.h"

enum {
	CAPACITY_DEFAULT = 64,
	ROLES = CHANNEL_SENDS | CHANNEL_RECEIVES,
};

static uint32_t roles_count(uint32_t roles)
{
	return (uint32_t)__builtin_popcount(roles);
}

uint32_t end_owes(const struct end *end)
{
	return roles_count(end->roles);
}

struct channel_word channel_word(const struct channel *channel)
{
	return (struct channel_word){
		.space = channel->space->slot,
		.id = channel->id,
		.extent = channel->extent,
		.had_senders = channel->had_senders,
		.had_receivers = channel->had_receivers,
		.died = channel->died,
		.capacity_shift = channel->capacity_shift,
	};
}

struct end_word end_word(const struct end *end)
{
	return (struct end_word){.channel = end->channel->slot,
				 .session = end->member->session->slot,
				 .roles = end->roles};
}

/* ---- in memory, and in the accounts ---- */

static struct channel *channel_new(struct core *core, struct space *space, const char *name)
{
	struct channel *channel = calloc(1, sizeof(*channel));

	if (!channel)
		return NULL;
	channel->space = space;
	channel->slot = SLOT_NONE;
	channel->extent = SLOT_NONE;
	list_init(&channel->ends);
	strcpy(channel->name, name);
	list_append(&space->channels, &channel->link);
	++space->n_channels;
	quota_take(&core->quotas, space->quota, QUOTA_METADATA, METADATA_CHANNEL);
	return channel;
}

/* The roles are counted when they are open. */
static struct end *end_new(struct core *core, struct channel *channel, struct member *member)
{
	struct end *end = calloc(1, sizeof(*end));

	if (!end)
		return NULL;
	end->channel = channel;
	end->member = member;
	end->slot = SLOT_NONE;
	list_append(&channel->ends, &end->in_channel);
	list_append(&member->ends, &end->in_member);
	core_take(core, member->session->quota, QUOTA_CHANNELS, METADATA_END);
	return end;
}

static void end_free(struct core *core, struct end *end)
{
	core_give(core, end->member->session->quota, QUOTA_CHANNELS, METADATA_END);
	list_remove(&end->in_channel);
	list_remove(&end->in_member);
	if (end->slot != SLOT_NONE)
		slots_put(&core->slots[RECORD_END], end->slot);
	free(end);
}

void channel_free(struct core *core, struct channel *channel)
{
	struct space *space = channel->space;

	while (!list_empty(&channel->ends))
		end_free(core, list_entry(channel->ends.next, struct end, in_channel));
	quota_give(&core->quotas, space->quota, QUOTA_METADATA, METADATA_CHANNEL);
	--space->n_channels;
	list_remove(&channel->link);
	if (channel->slot != SLOT_NONE) {
		core->channels[channel->slot] = NULL;
		slots_put(&core->slots[RECORD_CHANNEL], channel->slot);
	}
	free(channel);
}

/* ---- ends that come and go ---- */

static void roles_open(struct end *end, uint32_t roles)
{
	struct channel *channel = end->channel;

	end->roles |= roles;
	if (roles & CHANNEL_SENDS) {
		++channel->senders;
		channel->had_senders = true;
	}
	if (roles & CHANNEL_RECEIVES) {
		++channel->receivers;
		channel->had_receivers = true;
	}
}

uint64_t channel_id_word(const struct channel *channel)
{
	return id_word_pack((struct id_info){
		.kind = ID_CHANNEL,
		.dead = list_empty(&channel->ends),
		.senders = channel->senders,
		.receivers = channel->receivers,
		.had_senders = channel->had_senders,
		.had_receivers = channel->had_receivers,
		.died = channel->died,
	});
}

static void channel_say(struct core *core, const struct channel *channel)
{
	changes_put(&core->changes, &(struct change){
					    .kind = CHANGE_ID,
					    .space = channel->space->slot,
					    .first = channel->id,
					    .word = channel_id_word(channel),
				    });
}

void channel_record(struct core *core, const struct channel *channel)
{
	const struct channel_record *at =
		records_at(core->records, RECORD_CHANNEL, channel->slot);
	struct channel_word word = channel_word(channel);

	if (at->word != channel_word_pack(word))
		record_channel_word(core->records, channel->slot, word);
}

static struct channel_info info_of(const struct core *core, const struct channel *channel)
{
	const struct extent *extent = &core->extents[channel->extent];

	return (struct channel_info){
		.offset = offset_make(extent->window->place.number,
				      (uint64_t)extent->first << SLICE_SHIFT),
		.size = (uint64_t)extent->count << SLICE_SHIFT,
		.tag = extent->tag,
		.id = channel->id,
		.capacity = (uint32_t)1 << channel->capacity_shift,
	};
}

/* The store of an end's word; 0: it is gone. */
static void promise_end(struct core *core, const struct asker *asker, const struct end *end,
			uint64_t word)
{
	struct channel_info info = info_of(core, end->channel);

	result_promise(core, asker,
		       (struct result_promise){
			       .kind = RECORD_END,
			       .slot = end->slot,
			       .word = RECORD_WORD(end_record, word),
			       .value = word,
			       .answer = {info.offset | (uint64_t)info.tag << OFFSET_BITS,
					  info.id | (uint64_t)info.capacity << 32},
		       });
}

static void roles_close(struct core *core, struct end *end, uint32_t roles, bool died,
			const struct asker *asker)
{
	struct channel *channel = end->channel;

	roles &= end->roles;
	end->roles &= ~roles;
	channel->senders -= !!(roles & CHANNEL_SENDS);
	channel->receivers -= !!(roles & CHANNEL_RECEIVES);
	/* To those of the other role, how the last of this one went matters, and nothing else. */
	if ((roles & CHANNEL_SENDS && !channel->senders) ||
	    (roles & CHANNEL_RECEIVES && !channel->receivers))
		channel->died = died;
	promise_end(core, asker, end, end->roles ? end_word_pack(end_word(end)) : 0);
	channel_record(core, channel);
	changes_forgive(&core->changes, roles_count(roles) - 1);
	if (end->roles) {
		record_end_put(core->records, end->slot, end_word(end));
	} else {
		record_clear(core->records, RECORD_END, end->slot);
		end_free(core, end);
		if (list_empty(&channel->ends))
			ids_die(&channel->space->ids, channel->id);
	}
	result_keep(core, asker);
	channel_say(core, channel);
}

void ends_close(struct core *core, struct member *member)
{
	while (!list_empty(&member->ends)) {
		struct end *end = list_entry(member->ends.next, struct end, in_member);

		roles_close(core, end, end->roles,
			    member->session->ending && !mutant(channel_death_unsaid),
			    &(struct asker){0});
	}
}

/* ---- channels that come and go ---- */

void channel_store(struct core *core, struct channel *channel, const struct asker *asker)
{
	struct end *end = list_entry(channel->ends.next, struct end, in_channel);
	struct channel_record record = {.word = channel_word_pack(channel_word(channel))};

	channel->pending = false;
	memcpy(record.name, channel->name, sizeof(record.name));
	if (mutant(channel_after_end))
		record_end_put(core->records, end->slot, end_word(end));
	promise_end(core, asker, end, end_word_pack(end_word(end)));
	record_channel_put(core->records, channel->slot, &record);
	record_end_put(core->records, end->slot, end_word(end));
	result_keep(core, asker);
	channel_say(core, channel);
}

/* It was never there: its id is no dead one's. */
static void channel_drop(struct core *core, struct channel *channel)
{
	const struct end *end = list_entry(channel->ends.next, struct end, in_channel);

	changes_forgive(&core->changes, 1 + end_owes(end));
	ids_put(&channel->space->ids, channel->id);
	channel_free(core, channel);
}

void channel_undo(struct core *core, struct channel *channel)
{
	core->extents[channel->extent].channel = NULL;
	channel_drop(core, channel);
}

void channel_release(struct core *core, struct channel *channel)
{
	uint32_t extent = channel->extent;

	assert(list_empty(&channel->ends));
	if (mutant(channel_after_extent)) {
		extent_release(core, extent);
		record_clear(core->records, RECORD_CHANNEL, channel->slot);
		channel_free(core, channel);
		return;
	}
	record_clear(core->records, RECORD_CHANNEL, channel->slot);
	channel_free(core, channel);
	core->extents[extent].channel = NULL;
	extent_release(core, extent);
}

void channels_reap(struct core *core, struct space *space)
{
	for (struct link *at = space->channels.next, *next; at != &space->channels; at = next) {
		struct channel *channel = list_entry(at, struct channel, link);

		next = at->next;
		if (ids_swept(&space->ids, channel->id))
			channel_release(core, channel);
	}
}

/* A dead one is only there until it is reaped; one that is to come has its first end already. */
static bool lives(const struct channel *channel)
{
	return !list_empty(&channel->ends);
}

/* Of those that live, or are about to. */
struct channel *channel_named(const struct space *space, const char *name)
{
	list_for_each(at, &space->channels)
	{
		struct channel *channel = list_entry(at, struct channel, link);

		if (lives(channel) && !strcmp(channel->name, name))
			return channel;
	}
	return NULL;
}

static struct channel *channel_at(const struct space *space, uint32_t id)
{
	list_for_each(at, &space->channels)
	{
		struct channel *channel = list_entry(at, struct channel, link);

		if (channel->id == id && !channel->pending && lives(channel))
			return channel;
	}
	return NULL;
}

struct end *end_find(const struct channel *channel, const struct member *member)
{
	list_for_each(at, &member->ends)
	{
		struct end *end = list_entry(at, struct end, in_member);

		if (end->channel == channel)
			return end;
	}
	return NULL;
}

/* ---- verbs ---- */

static int request_check(const struct member *member, const struct channel_request *request,
			 struct core_fault *fault)
{
	if (member->read_only)
		return FAULT(fault, CORE_E_PERMISSION, .which = "write");
	if (!space_name_valid(request->name))
		return FAULT(fault, CORE_E_INVALID, .which = "name");
	if (!request->roles || request->roles & ~(uint32_t)ROLES)
		return FAULT(fault, CORE_E_INVALID, .which = "roles");
	if (request->capacity > CHANNEL_CAPACITY_MAX)
		return FAULT(fault, CORE_E_INVALID, .which = "capacity",
			     .requested = request->capacity, .max = CHANNEL_CAPACITY_MAX);
	if (!member->id)
		return FAULT(fault, CORE_E_INVALID, .which = "holder");
	return 0;
}

/* One more end, or one more role of one. */
static int channel_join(struct core *core, struct channel *channel, struct member *member,
			uint32_t roles, const struct asker *asker, struct core_fault *fault)
{
	struct end *end = end_find(channel, member);
	uint32_t more = roles & ~(end ? end->roles : 0), owed = 1 + roles_count(more);
	int r;

	if (!more)
		return 0;
	if (!end) {
		r = core_may(core, member->session->quota, QUOTA_CHANNELS, METADATA_END, fault);
		if (r)
			return r;
	}
	r = changes_owe(&core->changes, owed);
	if (r)
		return r;
	if (!end) {
		end = end_new(core, channel, member);
		if (!end) {
			changes_forgive(&core->changes, owed);
			return -ENOMEM;
		}
		end->slot = slots_take(&core->slots[RECORD_END]);
	}
	roles_open(end, more);
	promise_end(core, asker, end, end_word_pack(end_word(end)));
	record_end_put(core->records, end->slot, end_word(end));
	result_keep(core, asker);
	channel_record(core, channel);
	channel_say(core, channel);
	return 0;
}

static uint32_t shift_for(uint64_t capacity)
{
	uint32_t shift = 0;

	while ((uint64_t)1 << shift < (capacity ? capacity : CAPACITY_DEFAULT))
		++shift;
	return shift;
}

/* What it takes but its memory: id, record and one end. */
static int channel_begin(struct core *core, struct member *member,
			 const struct channel_request *request, struct channel **ret,
			 struct core_fault *fault)
{
	struct space *space = member->space;
	struct channel *channel;
	struct end *end;
	uint32_t id;
	int r;

	r = core_may(core, member->session->quota, QUOTA_CHANNELS, METADATA_END, fault);
	if (r)
		return r;
	if (!core->slots[RECORD_CHANNEL].free)
		return ids_dead(&space->ids)
			       ? FAULT(fault, CORE_E_BUSY, .which = "sweep")
			       : FAULT(fault, CORE_E_LIMIT, .which = "channels", .requested = 1,
				       .max = core->slots[RECORD_CHANNEL].total,
				       .held = core->slots[RECORD_CHANNEL].total, .all = true);
	r = ids_may(space, member, fault);
	if (r)
		return r;
	id = ids_take(&space->ids);
	if (!id)
		return ids_refuse(space, fault);
	r = changes_owe(&core->changes, 1 + roles_count(request->roles));
	if (r) {
		ids_put(&space->ids, id);
		return r;
	}
	channel = channel_new(core, space, request->name);
	end = channel ? end_new(core, channel, member) : NULL;
	if (!end) {
		if (channel)
			channel_free(core, channel);
		changes_forgive(&core->changes, 1 + roles_count(request->roles));
		ids_put(&space->ids, id);
		return -ENOMEM;
	}
	channel->pending = true;
	channel->id = id;
	channel->capacity_shift = shift_for(request->capacity);
	channel->slot = slots_take(&core->slots[RECORD_CHANNEL]);
	core->channels[channel->slot] = channel;
	end->slot = slots_take(&core->slots[RECORD_END]);
	roles_open(end, request->roles);
	*ret = channel;
	return 0;
}

static int channel_make(struct core *core, struct member *member,
			const struct channel_request *request, const struct asker *asker,
			struct channel **ret, struct plan **ret_plan, struct core_fault *fault)
{
	struct core_plan *plan = NULL;
	struct channel *channel = NULL;
	int r = channel_begin(core, member, request, &channel, fault);

	if (r)
		return r;
	r = extent_for_channel(core, channel, member, request->caller, request->avoid, &plan,
			       fault);
	if (r) {
		channel_drop(core, channel);
		return r;
	}
	plan->asker = *asker;
	plan_start(core, plan);
	*ret = channel;
	*ret_plan = &plan->plan;
	return 0;
}

int core_channel_open(struct core *core, uint32_t session, uint32_t space,
		      const struct channel_request *request, struct channel_info *ret,
		      struct plan **ret_plan, struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
	const struct asker asker = asker_take(core);
	struct plan *plan = NULL;
	struct channel *channel;
	int r;

	if (!member)
		return CORE_E_NOT_FOUND;
	r = revoked(member, fault);
	if (!r)
		r = request_check(member, request, fault);
	if (r)
		return r;
	channel = channel_named(member->space, request->name);
	if (channel && channel->pending)
		return FAULT(fault, CORE_E_BUSY, .which = "plan");
	if (channel && request->exclusive)
		return FAULT(fault, CORE_E_EXISTS, .which = "channel");
	if (!channel && request->existing)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "channel");
	if (channel)
		r = channel_join(core, channel, member, request->roles, &asker, fault);
	else
		r = channel_make(core, member, request, &asker, &channel, &plan, fault);
	if (r)
		return r;
	*ret = info_of(core, channel);
	*ret_plan = plan;
	return 0;
}

int core_channel_close(struct core *core, uint32_t session, uint32_t space, uint32_t id,
		       uint32_t roles, struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
	const struct asker asker = asker_take(core);
	const struct channel *channel;
	struct end *end;

	if (!member)
		return CORE_E_NOT_FOUND;
	if (!roles || roles & ~(uint32_t)ROLES)
		return FAULT(fault, CORE_E_INVALID, .which = "roles");
	channel = channel_at(member->space, id);
	end = channel ? end_find(channel, member) : NULL;
	if (!end || !(end->roles & roles))
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "channel");
	roles_close(core, end, roles, false, &asker);
	return 0;
}

bool core_channel_has(const struct core *core, uint32_t session, uint32_t space, uint32_t id,
		      uint32_t roles)
{
	struct core_fault fault;
	const struct member *member = core_member_at(core, session, space, &fault);
	const struct channel *channel = member ? channel_at(member->space, id) : NULL;
	const struct end *end = channel ? end_find(channel, member) : NULL;

	return end && !(roles & ~end->roles);
}

uint32_t core_channel_next(const struct core *core, uint32_t slot, uint32_t id)
{
	const struct space *space = core_space_at(core, slot);
	uint32_t least = 0;

	if (!space)
		return 0;
	list_for_each(at, &space->channels)
	{
		const struct channel *channel = list_entry(at, struct channel, link);

		if (channel->id >= id && (!least || channel->id < least) && !channel->pending &&
		    lives(channel))
			least = channel->id;
	}
	return least;
}

bool core_channel_view(const struct core *core, uint32_t slot, uint32_t id,
		       struct channel_view *ret)
{
	const struct space *space = core_space_at(core, slot);
	const struct channel *channel = space ? channel_at(space, id) : NULL;

	if (!channel)
		return false;
	*ret = (struct channel_view){
		.info = info_of(core, channel),
		.name = channel->name,
		.senders = channel->senders,
		.receivers = channel->receivers,
	};
	return true;
}

/* ---- from records ---- */

struct channel *channel_enter(struct core *core, struct space *space, uint32_t slot,
			      struct channel_word word, const char *name)
{
	struct channel *channel = channel_new(core, space, name);

	if (!channel)
		return NULL;
	channel->id = word.id;
	channel->extent = word.extent;
	channel->capacity_shift = word.capacity_shift;
	channel->had_senders = word.had_senders;
	channel->had_receivers = word.had_receivers;
	channel->died = word.died;
	channel->slot = slot;
	slots_claim(&core->slots[RECORD_CHANNEL], slot);
	core->channels[slot] = channel;
	return channel;
}

struct end *end_enter(struct core *core, struct channel *channel, struct member *member,
		      uint32_t slot, uint32_t roles)
{
	struct end *end = end_new(core, channel, member);

	if (!end)
		return NULL;
	end->slot = slot;
	slots_claim(&core->slots[RECORD_END], slot);
	roles_open(end, roles);
	return end;
}
