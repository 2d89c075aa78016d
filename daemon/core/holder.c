/*
 * Holder - a member that holds blocks of its space, by an id of its own.
 */
#include <errno.h>

#include "base/base.h"
#include "daemon/core/revoke.h"
#include "daemon/core/state.h"

/* All are taken, or being swept: will some be free again? */
int ids_refuse(const struct space *space, struct core_fault *fault)
{
	if (ids_dead(&space->ids) || ids_free(&space->ids))
		return FAULT(fault, CORE_E_BUSY, .which = "sweep");
	return FAULT(fault, CORE_E_LIMIT, .which = "ids", .requested = 1, .max = IDS_MAX - 1,
		     .held = ids_alive(&space->ids), .all = true);
}

int ids_may(const struct space *space, const struct member *member, struct core_fault *fault)
{
	const struct quota *quota = member->session->quota;
	uint32_t held = 0;

	if (ids_free(&space->ids) > IDS_MAX / 8 || !quota->bound ||
	    quota->uid == space->owner.uid || mutant(ids_last_taken))
		return 0;
	list_for_each(at, &space->members)
	{
		const struct member *other = list_entry(at, struct member, in_space);

		held += other->id && other->session->quota == quota;
	}
	if (!held)
		return 0;
	if (ids_dead(&space->ids))
		return FAULT(fault, CORE_E_BUSY, .which = "sweep");
	return FAULT(fault, CORE_E_LIMIT, .which = "ids", .requested = 1,
		     .max = IDS_MAX - 1 - IDS_MAX / 8, .held = ids_alive(&space->ids),
		     .all = true);
}

static uint64_t holder_word(const struct member *member, bool dead)
{
	return id_word_pack((struct id_info){
		.kind = ID_PROCESS, .dead = dead, .pid = member->session->request.pid});
}

static void holder_say(struct core *core, const struct member *member, uint32_t id, bool dead)
{
	changes_put(&core->changes, &(struct change){
					    .kind = CHANGE_ID,
					    .space = member->space->slot,
					    .first = id,
					    .word = holder_word(member, dead),
				    });
}

static void holder_record(struct core *core, const struct member *member)
{
	member_record(core, member);
}

int core_holder_open(struct core *core, uint32_t session, uint32_t space, uint32_t *ret,
		     struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
	int r;

	if (!member)
		return CORE_E_NOT_FOUND;
	r = revoked(member, fault);
	if (r)
		return r;
	if (member->read_only)
		return FAULT(fault, CORE_E_PERMISSION, .which = "write");
	if (!member->id) {
		r = ids_may(member->space, member, fault);
		if (r)
			return r;
		r = changes_owe(&core->changes, 1 + CHANGES_HOLDER);
		if (r)
			return r;
		member->id = ids_take(&member->space->ids);
		if (!member->id) {
			changes_forgive(&core->changes, 1 + CHANGES_HOLDER);
			return ids_refuse(member->space, fault);
		}
		holder_record(core, member);
		holder_say(core, member, member->id, false);
	}
	*ret = member->id;
	return 0;
}

/* Said first, so that who sees an end gone finds its holder dead. */
void holder_die(struct core *core, struct member *member)
{
	uint32_t id = member->id;

	if (!id)
		return;
	holder_say(core, member, id, true);
	ends_close(core, member);
	member->id = 0;
	holder_record(core, member);
	ids_die(&member->space->ids, id);
}

void core_id_words(const struct core *core, uint32_t slot, uint64_t *ret)
{
	const struct space *space = core_space_at(core, slot);

	for (uint32_t i = 0; i < IDS_MAX; ++i)
		ret[i] = i ? id_word_pack((struct id_info){.kind = ID_PROCESS, .dead = true})
			   : 0;
	if (!space)
		return;
	list_for_each(at, &space->members)
	{
		const struct member *member = list_entry(at, struct member, in_space);

		if (member->id)
			ret[member->id] = holder_word(member, false);
	}
	list_for_each(at, &space->channels)
	{
		const struct channel *channel = list_entry(at, struct channel, link);

		if (!channel->pending)
			ret[channel->id] = channel_id_word(channel);
	}
}

uint32_t core_holder_at(const struct core *core, uint32_t slot, uint32_t id)
{
	const struct space *space = core_space_at(core, slot);

	if (!space || !id)
		return 0;
	list_for_each(at, &space->members)
	{
		const struct member *member = list_entry(at, struct member, in_space);

		if (member->id == id)
			return member->session->slot;
	}
	return 0;
}
