#include "daemon/core/placement.h"

#include <string.h>

#include "base/base.h"

static const struct placement *const placements[PLACEMENTS] = {
	[PLACEMENT_BESTFIT] = &place_bestfit,
	[PLACEMENT_BUDDY] = &place_buddy,
	[PLACEMENT_TLSF] = &place_tlsf,
	[PLACEMENT_FIRSTFIT] = &place_firstfit,
};

const struct placement *placement_at(uint32_t id)
{
	return id < ARRAY_SIZE(placements) ? placements[id] : NULL;
}

const struct placement *placement_named(const char *name, uint32_t *ret_id)
{
	if (!name || !*name)
		name = placements[PLACEMENT_BESTFIT]->name;
	for (uint32_t i = 0; i < ARRAY_SIZE(placements); ++i) {
		if (!strcmp(placements[i]->name, name)) {
			*ret_id = i;
			return placements[i];
		}
	}
	return NULL;
}
