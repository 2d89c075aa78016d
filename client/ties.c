#include "client/ties.h"

#include <errno.h>
#include <stdlib.h>

#include "base/base.h"

enum { ROOM_FIRST = 16 };

void ties_deinit(struct ties *ties)
{
	free(ties->entries);
	ties->entries = NULL;
	ties->n = ties->room = 0;
}

static int grow(struct ties *ties)
{
	size_t room = ties->room ? 2 * ties->room : ROOM_FIRST;
	struct tie_entry *entries = reallocarray(ties->entries, room, sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	ties->entries = entries;
	ties->room = room;
	return 0;
}

int ties_add(struct ties *ties, enum tie_kind kind, void *what, void (*call)(void *what))
{
	int r = 0;

	lock_acquire(&ties->lock);
	if (ties->n == ties->room)
		r = grow(ties);
	if (!r) {
		if (kind == TIE_CHILD) {
			struct tie *tie = what;

			tie->to = ties;
			tie->at = ties->n;
		}
		ties->entries[ties->n++] = (struct tie_entry){
			.kind = kind,
			.number = ++ties->number,
			.what = what,
			.call = call,
		};
		if (ties->flag)
			*ties->flag = 1;
	}
	lock_release(&ties->lock);
	return r;
}

/* With the lock held. */
static void take_out(struct ties *ties, size_t at)
{
	struct tie_entry *entry = &ties->entries[at];

	if (entry->kind == TIE_CHILD)
		((struct tie *)entry->what)->to = NULL;
	entry->kind = TIE_NONE;
	while (ties->n && ties->entries[ties->n - 1].kind == TIE_NONE)
		ties->n--;
}

void tie_cut(struct tie *tie)
{
	struct ties *ties = tie->to;

	if (!ties)
		return;
	lock_acquire(&ties->lock);
	take_out(ties, tie->at);
	lock_release(&ties->lock);
}

static bool is(const struct tie_entry *entry, const void *what)
{
	switch (entry->kind) {
	case TIE_CHILD:
		return ((const struct tie *)entry->what)->handle == what;
	case TIE_BLOCK:
		return entry->what == what;
	case TIE_NONE:
	case TIE_CALL:
		break;
	}
	return false;
}

bool ties_remove(struct ties *ties, const void *what)
{
	bool found = false;

	lock_acquire(&ties->lock);
	for (size_t i = ties->n; i-- && !found;) {
		found = is(&ties->entries[i], what);
		if (found)
			take_out(ties, i);
	}
	lock_release(&ties->lock);
	return found;
}

static bool pop(struct ties *ties, uint64_t above, struct tie_entry *ret)
{
	bool found;

	lock_acquire(&ties->lock);
	found = ties->n && ties->entries[ties->n - 1].number > above;
	if (found) {
		*ret = ties->entries[ties->n - 1];
		take_out(ties, ties->n - 1);
	}
	lock_release(&ties->lock);
	return found;
}

void ties_end(struct ties *ties, uint64_t above, void (*free_block)(void *of, void *block),
	      void *of)
{
	struct tie_entry entry;
	struct tie *tie;

	while (pop(ties, above, &entry))
		switch (entry.kind) {
		case TIE_NONE:
			break;
		case TIE_CHILD:
			tie = entry.what;
			tie->end(tie);
			break;
		case TIE_BLOCK:
			free_block(of, entry.what);
			break;
		case TIE_CALL:
			entry.call(entry.what);
			break;
		}
}
