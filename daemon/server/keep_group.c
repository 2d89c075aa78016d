#include "daemon/server/keep_group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/keep_private.h"
#include "daemon/server/keep_speech.h"
#include "daemon/server/log.h"
#include "daemon/server/park.h"

void keep_group_add(struct keep_group *group, struct keep_entry *entry)
{
	entry->group = group;
	entry->neighbour = group->entries;
	group->entries = entry;
	group->n++;
}

void keep_group_take(struct keep_entry *entry)
{
	struct keep_group *group = TAKE_PTR(entry->group);
	struct keep_entry **at = &group->entries;

	while (*at != entry)
		at = &(*at)->neighbour;
	*at = entry->neighbour;
	group->n--;
	group->changed = true;
}

struct keep_group *keep_group_new(struct keep *keep)
{
	struct keep_group *group = calloc(1, sizeof(*group)), **at = &keep->groups;

	if (!group)
		return NULL;
	*group = (struct keep_group){.pair = {-1, -1}, .next_pair = {-1, -1}};
	while (*at)
		at = &(*at)->next;
	*at = group;
	keep->n_groups++;
	return group;
}

void keep_group_free(struct keep_group *group)
{
	closep(&group->pair[0]);
	closep(&group->pair[1]);
	closep(&group->next_pair[0]);
	closep(&group->next_pair[1]);
	free(group);
}

int keep_group_with_room(struct keep *keep, struct keep_group **ret)
{
	struct keep_group *at = keep->groups;

	while (at && at->n == PARK_MAX)
		at = at->next;
	if (!at && keep->n_groups == keep->groups_max)
		return -ENOSPC;
	if (!at)
		at = keep_group_new(keep);
	*ret = at;
	return at ? 0 : -ENOMEM;
}

/* The lock stays closed while descriptors of others are looked at: none of them leaves. */
int keep_group_store(struct keep *keep, struct keep_group *group, uint64_t deadline)
{
	_cleanup_(freep) struct parked_fd *parked = calloc(PARK_MAX, sizeof(*parked));
	char name[KEPT_NAME_MAX];
	uint32_t n = 0;
	int r;

	if (!parked)
		return -ENOMEM;
	for (const struct keep_entry *at = group->entries; at; at = at->neighbour) {
		if (at->state == KEEP_LEAVING)
			continue;
		strcpy(parked[n].name, at->name);
		parked[n++].fd = at->fd;
	}
	if (!n)
		return 0;
	r = park_make(parked, n, group->next_pair);
	if (r)
		return r;
	group->next_number = ++keep->group_last;
	kept_name(name, KEPT_GROUP, group->next_number, 0, 0);
	if (mutant(keep_group_first) && group->pair[0] >= 0) {
		char former[KEPT_NAME_MAX];

		keep_say_removed(keep, kept_name(former, KEPT_GROUP, group->number, 0, 0),
				 deadline);
	}
	return keep_say_stored(keep, name, group->next_pair, 2, NULL, deadline);
}

void keep_groups_commit(struct keep *keep, uint64_t deadline)
{
	struct keep_group **at = &keep->groups, *group;
	char name[KEPT_NAME_MAX];
	int r = 0;

	while ((group = *at)) {
		bool is_empty = group->next_pair[0] < 0;

		if (!group->changed) {
			at = &group->next;
			continue;
		}
		if (group->pair[0] >= 0 && !r)
			r = keep_say_removed(keep,
					     kept_name(name, KEPT_GROUP, group->number, 0, 0),
					     deadline);
		if (r)
			log_warning("a group of descriptors stays in the store twice: %s",
				    strerror(-r));
		closep(&group->pair[0]);
		closep(&group->pair[1]);
		group->pair[0] = TAKE_FD(group->next_pair[0]);
		group->pair[1] = TAKE_FD(group->next_pair[1]);
		group->number = group->next_number;
		group->changed = false;
		if (is_empty && !group->n) {
			*at = group->next;
			keep->n_groups--;
			keep_group_free(group);
		} else {
			at = &group->next;
		}
	}
}

void keep_groups_abort(struct keep *keep)
{
	char name[KEPT_NAME_MAX];

	for (struct keep_group *group = keep->groups; group; group = group->next) {
		if (group->next_pair[0] < 0)
			continue;
		keep_unsay(keep, kept_name(name, KEPT_GROUP, group->next_number, 0, 0));
		closep(&group->next_pair[0]);
		closep(&group->next_pair[1]);
		group->next_pair[0] = group->next_pair[1] = -1;
	}
}
