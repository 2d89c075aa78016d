#include "base/membership.h"

#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

static bool is_member(gid_t gid)
{
	_cleanup_(freep) gid_t *groups = NULL;
	int n = getgroups(0, NULL);

	if (getegid() == gid)
		return true;
	if (n <= 0)
		return false;
	groups = calloc((size_t)n, sizeof(*groups));
	n = groups ? getgroups(n, groups) : 0;
	for (int i = 0; i < n; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/* Is the group's member in the files, if not in this process, which is older? */
static bool is_listed(const struct group *group, const char *user)
{
	for (char **member = group->gr_mem; *member; member++)
		if (!strcmp(*member, user))
			return true;
	return false;
}

char *membership_hint(char *buf, size_t size, const char *path)
{
	char group_text[4096], user_text[4096];
	struct group group, *group_found = NULL;
	struct passwd user, *user_found = NULL;
	struct stat st;

	*buf = '\0';
	if (stat(path, &st) || !(st.st_mode & (S_IRGRP | S_IWGRP)) || is_member(st.st_gid))
		return buf;
	if (getgrgid_r(st.st_gid, &group, group_text, sizeof(group_text), &group_found) ||
	    !group_found ||
	    getpwuid_r(geteuid(), &user, user_text, sizeof(user_text), &user_found) ||
	    !user_found)
		return buf;
	if (is_listed(&group, user.pw_name))
		snprintf(buf, size,
			 "; its group %.64s may, which %.64s belongs to since: log in again",
			 group.gr_name, user.pw_name);
	else
		snprintf(buf, size,
			 "; its group may: usermod -aG %.64s %.64s, and log in again",
			 group.gr_name, user.pw_name);
	return buf;
}
