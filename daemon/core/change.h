/*
 * Changes - the words of slice maps and root files that the shell has yet to store.
 *
 * What will have to be said later is owed from the moment that makes it possible, and room for
 * it is made then: so giving memory back never waits for memory. count + owed <= capacity.
 */
#pragma once

#include "daemon/core/core.h"

struct changes {
	struct change *entries;
	uint32_t count, capacity, owed;
};

void changes_deinit(struct changes *changes);

/* Make room for n more. -ENOMEM. */
int changes_owe(struct changes *changes, uint32_t n);
/* They will not be said after all. */
void changes_forgive(struct changes *changes, uint32_t n);
/* One that was owed. */
void changes_put(struct changes *changes, const struct change *change);
