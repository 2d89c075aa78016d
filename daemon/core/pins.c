#include "daemon/core/pins.h"

#include "base/base.h"
#include "daemon/core/estate.h"
#include "daemon/core/state.h"

static void charge(struct user *user, uint64_t bytes)
{
	struct member *member = user->member;

	member->budget.pinned += bytes - user->pinned;
	member->session->pinned += bytes - user->pinned;
	user->pinned = bytes;
}

void pins_forget(struct user *user)
{
	charge(user, 0);
}

void core_pins_begin(struct core *core, uint32_t cache)
{
	struct estate *estate = core->caches[cache];

	if (!estate) /* it has gone, and its data plane follows */
		return;
	list_for_each(at, &estate->users) list_entry(at, struct user, in_cache)->pins = 0;
}

void core_pins_add(struct core *core, uint32_t session, uint32_t cache, uint64_t bytes)
{
	struct user *user = user_at(core, session, cache);

	if (user)
		user->pins += bytes;
}

void core_pins_end(struct core *core, uint32_t cache)
{
	struct estate *estate = core->caches[cache];

	if (!estate)
		return;
	list_for_each(at, &estate->users)
	{
		struct user *user = list_entry(at, struct user, in_cache);

		charge(user, mutant(pins_uncharged) ? 0 : user->pins);
	}
}

uint64_t core_pins(const struct core *core, uint32_t session, uint32_t cache)
{
	const struct user *user = user_at(core, session, cache);

	return user ? user->pinned : 0;
}
