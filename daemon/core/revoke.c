#include "daemon/core/revoke.h"

#include "base/base.h"
#include "daemon/core/state.h"

enum { READS = 4, WRITES = 2 };

uint32_t rights_of(enum member_via via, uint32_t mode)
{
	switch (via) {
	case VIA_OVERRIDE:
		return READS | WRITES;
	case VIA_OWNER:
		return mode >> 6 & 7;
	case VIA_GROUP:
		return mode >> 3 & 7;
	case VIA_OTHER:
		break;
	}
	return mode & 7;
}

int revoked(const struct member *member, struct core_fault *fault)
{
	const struct space *space = member->space;

	if (!member->barred)
		return 0;
	return FAULT(fault, CORE_E_PERMISSION, .which = "revoked", .opening = true,
		     .mode = space->mode, .uid = space->owner.uid, .gid = space->owner.gid);
}

/*
 * Which groups he was in was looked at when he opened it. If the space is another group's now, he
 * may be in that or not: he has what both would have.
 */
static uint32_t rights_under(const struct member *member, const struct space_terms *terms)
{
	struct credentials who = member->session->request.credentials;
	uint32_t group = rights_of(VIA_GROUP, terms->mode);
	uint32_t other = rights_of(VIA_OTHER, terms->mode);

	if (member->via == VIA_OVERRIDE)
		return READS | WRITES;
	if (who.uid == terms->owner.uid)
		return rights_of(VIA_OWNER, terms->mode);
	if (who.gid == terms->owner.gid)
		return group;
	if (terms->owner.gid != member->space->owner.gid || member->via == VIA_OWNER)
		return group & other;
	return member->via == VIA_GROUP ? group : other;
}

static bool is_barred(const struct member *member, const struct space_terms *terms)
{
	uint32_t rights = rights_under(member, terms);

	return !(rights & READS) || (!member->read_only && !(rights & WRITES));
}

static bool somebody_loses(const struct space *space, const struct space_terms *terms)
{
	return terms->owner.uid != space->owner.uid || terms->owner.gid != space->owner.gid ||
	       (space->mode & ~terms->mode & 0666);
}

static void retire(struct core *core, struct space *space)
{
	for (uint32_t i = 0; i < space->windows_max; ++i) {
		struct window *window = space->windows[i];

		if (!window || window->retired || window->place.info.state != WINDOW_GRANTED)
			continue;
		window->retired = true;
		record_window_put(core->records, window->slot, window_recorded_place(window));
	}
}

void revoke_for(struct core *core, struct space *space, const struct space_terms *terms)
{
	if (somebody_loses(space, terms) && !mutant(revoked_windows_stay))
		retire(core, space);
	list_for_each(at, &space->members)
	{
		struct member *member = list_entry(at, struct member, in_space);
		bool barred = is_barred(member, terms);

		if (barred == member->barred)
			continue;
		member->barred = barred;
		member_record(core, member);
	}
}
