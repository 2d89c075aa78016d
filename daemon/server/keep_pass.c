#include "daemon/server/keep_pass.h"

#include <errno.h>
#include <pthread.h>

#include "base/base.h"
#include "daemon/server/keep_group.h"
#include "daemon/server/keep_private.h"
#include "daemon/server/keep_speech.h"
#include "daemon/server/keep_table.h"

static int store_alone(struct keep *keep, struct keep_entry *entry, uint64_t deadline)
{
	int r;

	entry->is_stored = true;
	keep->n_alone++;
	r = keep_say_stored(keep, entry->name, &entry->fd, 1, entry, deadline);
	return r == KEEP_E_GONE ? 0 : r;
}

static int place(struct keep *keep, struct keep_entry *entry, uint64_t deadline)
{
	struct keep_group *group;
	int r;

	if (keep->n_alone < keep->alone_max)
		return store_alone(keep, entry, deadline);
	r = keep_group_with_room(keep, &group);
	if (r)
		return r;
	keep_group_add(group, entry);
	group->changed = true;
	return 0;
}

static void settle(struct keep *keep, struct keep_entry *entry, int r)
{
	struct keep_wish *wish = TAKE_PTR(entry->wish);

	if (r)
		wish->r = r;
	if (!--wish->n)
		pthread_cond_broadcast(&keep->settled);
}

/* As before it was placed, but for what the store may have. */
static void displace(struct keep *keep, struct keep_entry *entry)
{
	if (entry->group)
		keep_group_take(entry);
	if (entry->is_stored)
		keep->n_alone--;
	entry->is_stored = false;
}

static void refuse(struct keep *keep, struct keep_entry *entry, int r)
{
	if (entry->is_stored)
		keep_unsay(keep, entry->name);
	displace(keep, entry);
	settle(keep, entry, r);
	keep->n--;
	keep_forget(keep, entry);
}

struct line {
	struct keep_entry *first, **tail;
};

static void line_add(struct line *line, struct keep_entry *entry)
{
	entry->after = NULL;
	*line->tail = entry;
	line->tail = &entry->after;
}

static int leave(struct keep *keep, struct keep_entry *entry, uint64_t deadline)
{
	int r = entry->is_stored ? keep_say_removed(keep, entry->name, deadline) : 0;

	if (r)
		return r;
	displace(keep, entry);
	keep_forget(keep, entry);
	return 0;
}

void keep_refuse_all(struct keep *keep, int r)
{
	struct line again = {.tail = &again.first};

	for (struct keep_entry *at = TAKE_PTR(keep->queue), *next; at; at = next) {
		next = at->after;
		if (at->state == KEEP_LEAVING)
			line_add(&again, at);
		else
			refuse(keep, at, r);
	}
	keep->queue = again.first;
	keep->tail = again.first ? again.tail : &keep->queue;
}

int keep_pass(struct keep *keep)
{
	uint64_t deadline = keep_deadline(keep);
	struct line placed = {.tail = &placed.first}, again = {.tail = &again.first};
	struct keep_entry *at = TAKE_PTR(keep->queue), *next;
	bool told = false;
	int r = 0;

	keep->tail = &keep->queue;
	for (; at; at = next) {
		bool leaves = at->state == KEEP_LEAVING;
		int s = r;

		next = at->after;
		if (!s)
			s = leaves ? leave(keep, at, deadline) : place(keep, at, deadline);
		if (!s && !leaves)
			line_add(&placed, at);
		else if (s && leaves)
			line_add(&again, at);
		else if (s == -ENOSPC || s == -ENOMEM)
			refuse(keep, at, s);
		else if (s)
			line_add(&placed, at);
		if (s && s != -ENOSPC && s != -ENOMEM)
			r = s;
	}
	for (struct keep_group *group = keep->groups; group && !r; group = group->next) {
		told |= group->changed;
		if (group->changed)
			r = keep_group_store(keep, group, deadline);
	}
	if (!r && (placed.first || told))
		r = keep_barrier(keep, deadline);
	if (r)
		keep_groups_abort(keep);
	else
		keep_groups_commit(keep, deadline);

	/* Another keeper is told all of it. */
	for (at = placed.first; at; at = next) {
		next = at->after;
		if (!r) {
			at->state = KEEP_KEPT;
			settle(keep, at, 0);
		} else if (keep_lost_keeper(keep)) {
			displace(keep, at);
			line_add(&again, at);
		} else {
			refuse(keep, at, r);
		}
	}
	if (again.first) {
		*again.tail = keep->queue;
		if (!keep->queue)
			keep->tail = again.tail;
		keep->queue = again.first;
	}
	return r;
}

bool keep_has_work(const struct keep *keep)
{
	bool changed = false;

	for (const struct keep_group *at = keep->groups; at && !changed; at = at->next)
		changed = at->changed;
	return keep->queue || changed;
}

void keep_enqueue(struct keep *keep, struct keep_entry *entry)
{
	entry->after = NULL;
	*keep->tail = entry;
	keep->tail = &entry->after;
}
