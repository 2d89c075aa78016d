#include "daemon/core/change.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

void changes_deinit(struct changes *changes)
{
	free(changes->entries);
	*changes = (struct changes){0};
}

int changes_owe(struct changes *changes, uint32_t n)
{
	uint64_t wanted = (uint64_t)changes->count + changes->owed + n;

	if (wanted > changes->capacity) {
		uint64_t capacity = wanted + wanted / 2 + 64;
		struct change *entries;

		if (capacity > UINT32_MAX)
			return -ENOMEM;
		entries = realloc(changes->entries, capacity * sizeof(*entries));
		if (!entries)
			return -ENOMEM;
		changes->entries = entries;
		changes->capacity = (uint32_t)capacity;
	}
	changes->owed += n;
	return 0;
}

void changes_forgive(struct changes *changes, uint32_t n)
{
	assert(changes->owed >= n);
	changes->owed -= n;
}

void changes_put(struct changes *changes, const struct change *change)
{
	assert(changes->owed && changes->count < changes->capacity);
	--changes->owed;
	changes->entries[changes->count++] = *change;
}
