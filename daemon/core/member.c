/*
 * Member - how a session enters a space, and how it leaves.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/revoke.h"
#include "daemon/core/state.h"

int member_new(struct member **ret, struct core *core, struct space *space,
	       struct session *session, uint32_t slot, bool read_only)
{
	struct member *member = calloc(1, sizeof(*member));

	if (!member)
		return -ENOMEM;
	*member = (struct member){
		.space = space,
		.session = session,
		.slot = slot,
		.read_only = read_only,
		.budget = {.parent = &space->budget,
			   .name = "client",
			   .limit = space->client_limit},
	};
	list_init(&member->extents);
	list_init(&member->ends);
	list_init(&member->users);
	list_append(&space->members, &member->in_space);
	list_append(&session->members, &member->in_session);
	++space->n_members;
	++session->n_members;
	core_take(core, session->quota, QUOTA_OPENS, METADATA_OPEN);
	*ret = member;
	return 0;
}

void member_free(struct core *core, struct member *member)
{
	list_remove(&member->in_space);
	list_remove(&member->in_session);
	core_give(core, member->session->quota, QUOTA_OPENS, METADATA_OPEN);
	--member->space->n_members;
	--member->session->n_members;
	slots_put(&core->slots[RECORD_MEMBER], member->slot);
	free(member);
}

void member_record(struct core *core, const struct member *member)
{
	record_member_put(core->records, member->slot,
			  (struct member_word){.space = member->space->slot,
					       .session = member->session->slot,
					       .read_only = member->read_only,
					       .id = member->id,
					       .barred = member->barred,
					       .via = member->via});
}

static bool may_override(const struct core *core, struct credentials who)
{
	return who.uid == 0 || who.uid == core->config.uid;
}

/* Like a file's: the first class that fits decides. */
static enum member_via via_of(const struct core *core, const struct space *space,
			      struct credentials who, const uint32_t *groups, uint32_t n_groups)
{
	if (may_override(core, who))
		return VIA_OVERRIDE;
	if (who.uid == space->owner.uid)
		return VIA_OWNER;
	if (who.gid == space->owner.gid)
		return VIA_GROUP;
	for (uint32_t i = 0; i < n_groups; ++i)
		if (groups[i] == space->owner.gid)
			return VIA_GROUP;
	return VIA_OTHER;
}

int core_space_open(struct core *core, uint32_t session_slot, const char *name, bool read_only,
		    const uint32_t *groups, uint32_t n_groups, uint32_t *ret,
		    struct core_fault *fault)
{
	struct session *session = core_session_at(core, session_slot);
	const struct asker asker = asker_take(core);
	struct slots *slots = &core->slots[RECORD_MEMBER];
	struct member_word word;
	struct space *space;
	struct member *member;
	enum member_via via;
	uint32_t may;
	int r;

	if (!session || session->ending)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "session");
	if (!space_name_valid(name))
		return FAULT(fault, CORE_E_INVALID, .which = "name");
	space = core_space_named(core, name);
	if (!space || (space->state == SPACE_LIVE && space->removed))
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "space");
	if (space->state == SPACE_COMING)
		return FAULT(fault, CORE_E_BUSY, .which = "plan");
	if (space->state == SPACE_GOING)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "space");
	via = via_of(core, space, session->request.credentials, groups, n_groups);
	may = rights_of(via, space->mode);
	if (!(may & 4) || (!read_only && !(may & 2)))
		return FAULT(fault, CORE_E_PERMISSION, .which = may & 4 ? "write" : "read",
			     .opening = true, .mode = space->mode, .uid = space->owner.uid,
			     .gid = space->owner.gid);
	if (member_find(session, space))
		return FAULT(fault, CORE_E_EXISTS, .which = "space");
	r = core_may(core, session->quota, QUOTA_OPENS, METADATA_OPEN, fault);
	if (r)
		return r;
	r = member_new(&member, core, space, session, SLOT_NONE, read_only);
	if (r)
		return r;
	member->slot = slots_take(slots);
	member->via = via;
	word = (struct member_word){.space = space->slot,
				    .session = session->slot,
				    .read_only = read_only,
				    .via = via};
	result_promise(core, &asker,
		       (struct result_promise){.kind = RECORD_MEMBER,
					       .slot = member->slot,
					       .word = RECORD_WORD(member_record, word),
					       .value = member_word_pack(word),
					       .answer = {space->slot}});
	record_member_put(core->records, member->slot, word);
	result_keep(core, &asker);
	*ret = space->slot;
	return 0;
}

/* Clears the list, one extent a step. */
static bool drain(struct core *core, struct link *extents, bool all, uint32_t *steps)
{
	while (!list_empty(extents)) {
		const struct extent *extent = list_entry(extents->next, struct extent, link);
		uint32_t slot = extent_slot(core, extent);

		if (!*steps)
			return false;
		--*steps;
		if (all || extent->kind == EXTENT_PRIVATE)
			extent_release(core, slot);
		else
			extent_adopt(core, slot);
	}
	return true;
}

/* All that a space still has when its last member has gone. */
static bool drain_space(struct core *core, struct space *space, uint32_t *steps)
{
	while (!list_empty(&space->channels)) {
		if (!*steps)
			return false;
		--*steps;
		channel_release(core, list_entry(space->channels.next, struct channel, link));
	}
	if (!drain(core, &space->extents, true, steps))
		return false;
	while (!list_empty(&space->caches)) {
		if (!*steps)
			return false;
		--*steps;
		estate_release(core, list_entry(space->caches.next, struct estate, link));
	}
	return true;
}

/* Add the end of a space to a plan, which is made if need be. */
static int end_add(struct core_plan **plan, struct space *space)
{
	struct core_plan *new = NULL;
	int r;

	if (!*plan) {
		r = plan_new(&new, space, NULL);
		if (r)
			return r;
	}
	r = plan_add_end(*plan ? *plan : new, space);
	if (r) {
		plan_free(new);
		return r;
	}
	if (new)
		*plan = new;
	return 0;
}

int member_leave(struct core *core, struct member *member, struct core_plan **plan,
		 uint32_t *steps, const struct asker *asker)
{
	struct space *space = member->space;
	bool last = space->removed && space->n_members == 1;
	int r;

	if (!*steps)
		return CORE_MORE;
	if (member->n_plans)
		return CORE_E_BUSY;
	member->closing = true;
	holder_die(core, member);
	if (!drain(core, &member->extents, last, steps))
		return CORE_MORE;
	while (!list_empty(&member->users)) {
		r = user_leave(core, list_entry(member->users.next, struct user, in_member),
			       steps, &(struct asker){0});
		if (r)
			return r;
	}
	if (last) {
		/* A sweep may be looking at channels' memory. */
		if (space->n_plans)
			return CORE_E_BUSY;
		if (!drain_space(core, space, steps))
			return CORE_MORE;
		r = end_add(plan, space);
		if (r)
			return r;
	}
	result_promise(core, asker,
		       (struct result_promise){.kind = RECORD_MEMBER,
					       .slot = member->slot,
					       .word = RECORD_WORD(member_record, word)});
	record_clear(core->records, RECORD_MEMBER, member->slot);
	result_keep(core, asker);
	member_free(core, member);
	if (last)
		plan_end_space(core, *plan, space);
	if (*steps)
		--*steps;
	return 0;
}

int core_space_close(struct core *core, uint32_t session_slot, uint32_t space_slot,
		     struct plan **ret)
{
	struct session *session = core_session_at(core, session_slot);
	struct space *space = core_space_at(core, space_slot);
	struct member *member = session && space ? member_find(session, space) : NULL;
	const struct asker asker = asker_take(core);
	struct core_plan *plan = NULL;
	uint32_t steps = STEP_EXTENTS;
	int r;

	if (!member)
		return CORE_E_NOT_FOUND;
	r = member_leave(core, member, &plan, &steps, &asker);
	if (r)
		return r;
	*ret = plan ? &plan->plan : NULL;
	return 0;
}

/* It goes from now on, whatever comes between; who asks may have begun that before. */
static void space_doom(struct core *core, struct space *space, const struct asker *asker)
{
	bool removed = space->removed;

	if (removed && result_stands(core, asker))
		return;
	space->removed = true;
	result_promise(core, asker,
		       (struct result_promise){
			       .kind = RECORD_SPACE,
			       .slot = space->slot,
			       .word = RECORD_WORD(space_record, state),
			       .value = space_word_pack(space_word(core, space)),
			       .answer = {space->slot, space->hash_seed},
		       });
	if (!removed)
		record_space_state(core->records, space->slot, space_word(core, space));
	result_keep(core, asker);
}

int core_space_remove(struct core *core, struct credentials who, const char *name, bool force,
		      struct plan **ret, struct core_fault *fault)
{
	const struct asker asker = asker_take(core);
	struct space *space;
	struct core_plan *plan = NULL;
	uint32_t steps = STEP_EXTENTS;
	int r;

	if (!space_name_valid(name))
		return FAULT(fault, CORE_E_INVALID, .which = "name");
	space = core_space_named(core, name);
	if (!space || space->state == SPACE_GOING)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "space");
	if (!may_override(core, who) && who.uid != space->owner.uid)
		return FAULT(fault, CORE_E_PERMISSION, .which = "owner");
	if (space->state == SPACE_COMING || (!space->n_members && space->n_plans))
		return FAULT(fault, CORE_E_BUSY, .which = "plan");
	if (space->n_members && !force)
		return FAULT(fault, CORE_E_IN_USE, .which = "sessions",
			     .available = space->n_members);
	space_doom(core, space, &asker);
	if (space->n_members) {
		*ret = NULL;
		return 0;
	}
	if (!drain_space(core, space, &steps))
		return CORE_MORE;
	r = end_add(&plan, space);
	if (r)
		return r;
	plan_end_space(core, plan, space);
	*ret = &plan->plan;
	return 0;
}

int core_space_may(const struct core *core, uint32_t session, uint32_t space,
		   struct core_fault *fault)
{
	const struct member *member = core_member_at(core, session, space, fault);

	return member ? revoked(member, fault) : CORE_E_NOT_FOUND;
}

int core_window_open(struct core *core, uint32_t session, uint32_t space, uint32_t number,
		     uint32_t *ret_window, bool *ret_read_only, struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
	struct window *window;

	if (!member)
		return CORE_E_NOT_FOUND;
	if (revoked(member, fault) && !mutant(revoked_windows_open))
		return CORE_E_PERMISSION;
	window = space_window_at(member->space, number);
	if (!window)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "window");
	if (window->pending)
		return FAULT(fault, CORE_E_BUSY, .which = "plan");
	if (window->place.info.state == WINDOW_BORN) {
		window->place.info.state = WINDOW_GRANTED;
		record_window_put(core->records, window->slot, window_recorded_place(window));
		changes_put(&core->changes,
			    &(struct change){.kind = CHANGE_WINDOW,
					     .space = space,
					     .window = window->slot,
					     .word = window_word_pack(window->place.info)});
	}
	*ret_window = window->slot;
	*ret_read_only = member->read_only;
	return 0;
}
