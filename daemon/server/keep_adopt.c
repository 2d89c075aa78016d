#include "daemon/server/keep_adopt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/keep.h"
#include "daemon/server/keep_group.h"
#include "daemon/server/keep_private.h"
#include "daemon/server/keep_table.h"
#include "daemon/server/left.h"
#include "daemon/server/log.h"
#include "daemon/server/park.h"

/* Of a name that is there already it is a second descriptor of the same file. */
static int adopt(struct keep *keep, const char *name, int fd, struct keep_group *group)
{
	struct keep_entry *entry = keep_find(keep, name);

	if (entry) {
		if (group)
			group->changed = true;
		close(fd);
		return 0;
	}
	entry = keep_entry_new(name, fd, KEEP_KEPT);
	if (!entry) {
		close(fd);
		return -ENOMEM;
	}
	entry->is_left = true;
	if (group) {
		keep_group_add(group, entry);
	} else if (keep_lasts(keep)) {
		entry->is_stored = true;
		keep->n_alone++;
	}
	keep_insert(keep, entry);
	return 0;
}

static int adopt_group(struct keep *keep, uint64_t number, int pair[2])
{
	_cleanup_(freep) struct parked_fd *parked = calloc(PARK_MAX, sizeof(*parked));
	struct keep_group *group;
	uint32_t n = 0;
	int r;

	if (!parked)
		return -ENOMEM;
	group = keep_group_new(keep);
	if (!group)
		return -ENOMEM;
	group->number = number;
	group->pair[0] = TAKE_FD(pair[0]);
	group->pair[1] = TAKE_FD(pair[1]);
	keep->group_last = u64_max(keep->group_last, number);
	r = park_read(group->pair, parked, &n);
	if (r) {
		log_error("what is parked in a group of descriptors cannot be had: %s",
			  strerror(-r));
		return r;
	}
	for (uint32_t i = 0; i < n; i++) {
		enum kept_kind kind;
		uint64_t numbers[KEPT_NUMBERS_MAX];

		if (!kept_parse(parked[i].name, &kind, numbers) || kind == KEPT_GROUP) {
			group->changed = true;
			close(parked[i].fd);
			continue;
		}
		r = adopt(keep, parked[i].name, parked[i].fd, group);
		if (r) {
			while (++i < n)
				close(parked[i].fd);
			return r;
		}
	}
	return 0;
}

struct left_group {
	uint64_t number;
	int pair[2];
};

/* The latest first: what an earlier one has too was to go from there. */
static int compare_groups(const void *a, const void *b)
{
	const struct left_group *x = a, *y = b;

	if (mutant(keep_groups_first_wins))
		return x->number > y->number ? 1 : -(x->number < y->number);
	return x->number < y->number ? 1 : -(x->number > y->number);
}

static int take_groups(struct keep *keep, struct left_group *groups, uint32_t n)
{
	int r = 0;

	qsort(groups, n, sizeof(*groups), compare_groups);
	for (uint32_t i = 0; i < n; i++) {
		if (!r && groups[i].pair[1] >= 0)
			r = adopt_group(keep, groups[i].number, groups[i].pair);
		else if (!r)
			log_warning("half a group of descriptors was left: nothing is in it");
		closep(&groups[i].pair[0]);
		closep(&groups[i].pair[1]);
	}
	return r;
}

int keep_adopt(struct keep *keep, struct left *left)
{
	_cleanup_(freep) struct left_group *groups = NULL;
	uint64_t numbers[KEPT_NUMBERS_MAX];
	enum kept_kind kind;
	uint32_t n_groups = 0;
	int r;

	groups = calloc((size_t)left->n + 1, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	for (uint32_t i = 0; i < left->n; i++) {
		uint32_t at = 0;

		if (left->fds[i] < 0 || !kept_parse(left->names[i], &kind, numbers))
			continue;
		keep->resumes = true;
		if (kind != KEPT_GROUP) {
			r = adopt(keep, left->names[i], TAKE_FD(left->fds[i]), NULL);
			if (r)
				return r;
			continue;
		}
		while (at < n_groups && groups[at].number != numbers[0])
			at++;
		if (at == n_groups)
			groups[n_groups++] = (struct left_group){numbers[0], {-1, -1}};
		if (groups[at].pair[1] < 0)
			groups[at].pair[groups[at].pair[0] >= 0] = TAKE_FD(left->fds[i]);
	}
	return take_groups(keep, groups, n_groups);
}
