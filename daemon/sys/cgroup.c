/*
 * Where the limits are: /proc/self/cgroup names this process's group in each hierarchy,
 * /proc/self/mountinfo where a hierarchy is mounted and from which group on. Limits are looked
 * at from the process's own group up to the mount's.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "daemon/sys/host.h"
#include "daemon/sys/procfile.h"

struct hierarchy {
	const char *fstype,
		*option; /* as in mountinfo; option: NULL, or among the super options */
	const char *limit, *usage;
	const char *droppable; /* of memory.stat: file pages not lately used */
};

static const struct hierarchy hierarchies[] = {
	{"cgroup2", NULL, "memory.max", "memory.current", "inactive_file"},
	{"cgroup", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
	 "total_inactive_file"},
};

enum { TEXT_MAX = 1 << 16 };

/* Version 1 has no "max": no limit is the largest number of whole pages, of whatever size. */
#define NO_LIMIT ((uint64_t)1 << 62)

static bool list_has(const char *list, const char *word)
{
	size_t size = strlen(word);

	for (; list; list = strchr(list, ',')) {
		list += *list == ',';
		if (!strncmp(list, word, size) && (list[size] == ',' || !list[size]))
			return true;
	}
	return false;
}

/* "4:memory:/a/b", "0::/a/b": the path, cut out of `text` in place. */
static const char *group_find(char *text, const struct hierarchy *hierarchy)
{
	char *line, *rest = text, *controllers, *path;

	while ((line = strsep(&rest, "\n"))) {
		strsep(&line, ":");
		controllers = strsep(&line, ":");
		path = line;
		if (!controllers || !path)
			continue;
		if (hierarchy->option ? list_has(controllers, hierarchy->option)
				      : !*controllers)
			return path;
	}
	return NULL;
}

/* "36 35 98:0 ROOT POINT opts tags... - FSTYPE source SUPER" */
static bool mount_find(char *text, const struct hierarchy *hierarchy, const char **ret_root,
		       const char **ret_point)
{
	char *line, *rest = text, *right, *root, *point, *fstype, *super;

	while ((line = strsep(&rest, "\n"))) {
		right = strstr(line, " - ");
		if (!right)
			continue;
		*right = '\0';
		right += 3;
		fstype = strsep(&right, " ");
		strsep(&right, " ");
		super = right;
		for (int i = 0; i < 3; i++)
			strsep(&line, " ");
		root = strsep(&line, " ");
		point = strsep(&line, " ");
		if (!root || !point || !super || strcmp(fstype, hierarchy->fstype) != 0)
			continue;
		if (hierarchy->option && !list_has(super, hierarchy->option))
			continue;
		*ret_root = root;
		*ret_point = point;
		return true;
	}
	return false;
}

static void group_look(const char *root, const char *dir, const struct hierarchy *hierarchy,
		       uint64_t *room, uint64_t *least)
{
	_cleanup_(freep) char *text = malloc(TEXT_MAX);
	uint64_t limit, usage, droppable = 0, left;
	char path[PATH_MAX + 32]; /* dir, and the name of a file in it */

	snprintf(path, sizeof(path), "%s/%s", dir, hierarchy->limit);
	if (!procfile_number(root, path, &limit))
		return;
	if (limit >= NO_LIMIT)
		return;
	snprintf(path, sizeof(path), "%s/%s", dir, hierarchy->usage);
	if (!procfile_number(root, path, &usage))
		return;
	snprintf(path, sizeof(path), "%s/memory.stat", dir);
	if (text && !procfile_read(root, path, text, TEXT_MAX))
		procfile_field(text, hierarchy->droppable, &droppable);

	left = limit > usage ? limit - usage : 0;
	if (!u64_add(left, u64_min(droppable, usage), &left))
		left = limit;
	*room = u64_min(*room, u64_min(left, limit));
	*least = u64_min(*least, limit);
}

static void hierarchy_look(const char *root, const char *groups_text, const char *mounts_text,
			   const struct hierarchy *hierarchy, uint64_t *room, uint64_t *least)
{
	_cleanup_(freep) char *groups = strdup(groups_text), *mounts = strdup(mounts_text);
	const char *group, *mount_root, *point;
	char dir[PATH_MAX], *slash;
	size_t above;

	if (!groups || !mounts)
		return;
	group = group_find(groups, hierarchy);
	if (!group || !mount_find(mounts, hierarchy, &mount_root, &point))
		return;

	/* A container often sees only its own part of the tree: the mount's root is cut off. */
	if (strcmp(mount_root, "/") != 0) {
		above = strlen(mount_root);
		if (!strncmp(group, mount_root, above) && strchr("/", group[above]))
			group += above;
		else
			group = "";
	}
	if (strstr(group, "/.."))
		group = ""; /* outside our cgroup namespace */

	if ((size_t)snprintf(dir, sizeof(dir), "%s%s", point, group) >= sizeof(dir))
		return;
	above = strlen(point);
	for (;;) {
		group_look(root, dir, hierarchy, room, least);
		slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < above)
			break;
		*slash = '\0';
	}
}

void cgroup_read(const char *root, uint64_t *ret_room, uint64_t *ret_limit)
{
	_cleanup_(freep) char *groups = malloc(TEXT_MAX), *mounts = malloc(TEXT_MAX);

	*ret_room = UINT64_MAX;
	*ret_limit = UINT64_MAX;
	if (!groups || !mounts || procfile_read(root, "/proc/self/cgroup", groups, TEXT_MAX) ||
	    procfile_read(root, "/proc/self/mountinfo", mounts, TEXT_MAX))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(hierarchies); i++)
		hierarchy_look(root, groups, mounts, &hierarchies[i], ret_room, ret_limit);
}
