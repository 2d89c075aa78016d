/*
 * What the machine is, found out once: files below /proc and /sys, limits, groups, system calls
 * that do nothing lasting, and a try to connect.
 */
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/base.h"
#include "client/ctl/doctor.h"
#include "daemon/sys/host.h"
#include "daemon/sys/nodes.h"
#include "daemon/sys/procfile.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

static void line_read(const char *root, const char *path, char *ret, size_t size)
{
	if (procfile_read(root, path, ret, size))
		*ret = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

static void pool_read(const char *root, const char *folder, const char *kind,
		      struct machine_pool *ret)
{
	uint64_t unused, reserved = 0;
	char path[256];

	*ret = (struct machine_pool){0};
	snprintf(path, sizeof(path), "%s%s/nr_hugepages", folder, kind);
	if (!procfile_number(root, path, &ret->total))
		return;
	snprintf(path, sizeof(path), "%s%s/free_hugepages", folder, kind);
	if (!procfile_number(root, path, &unused))
		return;
	/* What of the free ones is promised to somebody. */
	snprintf(path, sizeof(path), "%s%s/resv_hugepages", folder, kind);
	procfile_number(root, path, &reserved);
	ret->free = unused > reserved ? unused - reserved : 0;
	ret->there = true;
}

void machine_read(const char *root, struct machine *machine)
{
	uint64_t number;
	char text[4096];

	machine->host_known = !host_read(root, &machine->host);
	if (!procfile_read(root, "/proc/meminfo", text, sizeof(text))) {
		if (procfile_field(text, "MemTotal:", &number))
			machine->mem_total = number << 10;
		if (procfile_field(text, "MemAvailable:", &number))
			machine->mem_available = number << 10;
		if (procfile_field(text, "SwapTotal:", &number))
			machine->swap_total = number << 10;
	}
	cgroup_read(root, &machine->cgroup_room, &machine->cgroup_limit);
	pool_read(root, "/sys/kernel/mm/hugepages/", "hugepages-2048kB", &machine->huge);
	pool_read(root, "/sys/kernel/mm/hugepages/", "hugepages-1048576kB", &machine->giant);
	machine->swappiness_known =
		procfile_number(root, "/proc/sys/vm/swappiness", &machine->swappiness);
	machine->balancing_known =
		procfile_number(root, "/proc/sys/kernel/numa_balancing", &machine->balancing);
	line_read(root, "/sys/kernel/mm/transparent_hugepage/enabled", machine->thp,
		  sizeof(machine->thp));
	line_read(root, "/sys/kernel/mm/transparent_hugepage/shmem_enabled", machine->thp_shmem,
		  sizeof(machine->thp_shmem));
	machine->nodes_known = !nodes_read(root, &machine->nodes);
}

static uint64_t limit_of(rlim_t limit)
{
	return limit == RLIM_INFINITY ? UINT64_MAX : limit;
}

static void limits_ask(struct machine *machine)
{
	struct rlimit limit;

	machine->nofile_soft = machine->nofile_hard = machine->memlock_soft = UINT64_MAX;
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		machine->nofile_soft = limit_of(limit.rlim_cur);
		machine->nofile_hard = limit_of(limit.rlim_max);
	}
	if (!getrlimit(RLIMIT_MEMLOCK, &limit))
		machine->memlock_soft = limit_of(limit.rlim_cur);
}

static bool process_in(gid_t gid)
{
	_cleanup_(freep) gid_t *groups = NULL;
	int n = getgroups(0, NULL);

	groups = calloc((size_t)(n > 0 ? n : 0) + 1, sizeof(*groups));
	n = groups && n > 0 ? getgroups(n, groups) : 0;
	for (int i = 0; i < n; i++)
		if (groups[i] == gid)
			return true;
	return getegid() == gid;
}

static void group_ask(struct machine *machine)
{
	const struct passwd *user = getpwuid(geteuid());
	const struct group *group;

	machine->root = !geteuid();
	snprintf(machine->user, sizeof(machine->user), "%s", user ? user->pw_name : "");
	if (!user)
		snprintf(machine->user, sizeof(machine->user), "%u", (unsigned)geteuid());
	machine->has_user = getpwnam("varbos");
	group = getgrnam("varbos-clients");
	machine->has_group = group;
	if (!group)
		return;
	if (process_in(group->gr_gid)) {
		machine->member = MEMBER_YES;
		return;
	}
	for (char **member = group->gr_mem; *member; member++)
		if (!strcmp(*member, machine->user))
			machine->member = MEMBER_SINCE;
}

static bool memfd_works(unsigned flags)
{
	_cleanup_(closep) int fd = memfd_create("varbosctl-doctor", MFD_CLOEXEC | flags);

	return fd >= 0;
}

static void kernel_ask(struct machine *machine)
{
	_cleanup_(closep) int left = -1, right = -1, pidfd = -1, peer = -1;
	socklen_t size = sizeof(peer);
	struct utsname name;
	int pair[2], off = 0;
	long barriers;

	if (!uname(&name))
		snprintf(machine->release, sizeof(machine->release), "Linux %.50s",
			 name.release);
	machine->memfd = memfd_works(MFD_ALLOW_SEALING);
	machine->memfd_huge = memfd_works(MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB);
	pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	machine->pidfd = pidfd >= 0;
	barriers = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	machine->membarrier = barriers > 0 && barriers & MEMBARRIER_CMD_GLOBAL_EXPEDITED;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return;
	left = pair[0];
	right = pair[1];
	machine->peer_pidfd = !getsockopt(left, SOL_SOCKET, SO_PEERPIDFD, &peer, &size);
	machine->pass_rights = !setsockopt(right, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

static enum machine_socket socket_look(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = -1;
	struct stat st;

	if (strlen(path) >= sizeof(address.sun_path))
		return SOCKET_TOO_LONG;
	if (lstat(path, &st))
		return errno == EACCES ? SOCKET_DENIED : SOCKET_NONE;
	if (!S_ISSOCK(st.st_mode))
		return SOCKET_OTHER;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || !connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return SOCKET_SERVED;
	switch (errno) {
	case ECONNREFUSED:
		return SOCKET_STALE;
	case EAGAIN:
		return SOCKET_BUSY;
	case EACCES:
	case EPERM:
		return SOCKET_DENIED;
	default:
		return SOCKET_OTHER;
	}
}

void machine_ask(struct machine *machine)
{
	limits_ask(machine);
	group_ask(machine);
	kernel_ask(machine);
	machine->socket_max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	machine->socket_state = socket_look(machine->socket);
}
