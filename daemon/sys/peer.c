#include "daemon/sys/peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "base/base.h"
#include "daemon/sys/procfile.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446
#endif

static int has_ended(int pidfd)
{
	struct pollfd poller = {.fd = pidfd, .events = POLLIN};
	int r;

	do
		r = poll(&poller, 1, 0);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r > 0;
}

/* Field 22 of /proc/PID/stat; the name in field 2 may hold anything, so count from its end. */
static int start_time(uint32_t pid, uint64_t *ret)
{
	char path[32], text[1024], *field;
	unsigned long long ticks;
	int r;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	r = procfile_read("", path, text, sizeof(text));
	if (r)
		return r == -ENOENT ? -ESRCH : r;
	field = strrchr(text, ')');
	if (!field)
		return -EIO;
	field += 2;
	for (int i = 3; i < 22; i++) {
		field = strchr(field, ' ');
		if (!field)
			return -EIO;
		field++;
	}
	if (sscanf(field, "%llu", &ticks) != 1)
		return -EIO;
	/* One more, so that what started with the machine is not 0. */
	*ret = ticks + 1;
	return 0;
}

static int uid_compare(uint32_t pid, uint32_t uid)
{
	char path[32], text[4096], *line;
	unsigned real, effective, saved;
	int r;

	snprintf(path, sizeof(path), "/proc/%u/status", pid);
	r = procfile_read("", path, text, sizeof(text));
	if (r)
		return r == -ENOENT ? -ESRCH : r;
	line = strstr(text, "\nUid:");
	if (!line || sscanf(line, "\nUid: %u %u %u", &real, &effective, &saved) != 3)
		return -EIO;
	return uid == real || uid == effective || uid == saved ? 0 : -EPERM;
}

/* What /proc says of a pid is about the pidfd's process if that is alive afterwards. */
static int pidfd_of_pid(uint32_t pid, uint32_t uid, int *ret)
{
	_cleanup_(closep) int fd = -1;
	int r;

	fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (fd < 0)
		return -errno;
	r = uid_compare(pid, uid);
	if (r && !mutant(sys_peer_unchecked))
		return r;
	r = has_ended(fd);
	if (r)
		return r < 0 ? r : -ESRCH;

	*ret = TAKE_FD(fd);
	return 0;
}

static int pidfd_of_socket(int socket, int *ret)
{
	socklen_t size = sizeof(*ret);
	int fd = -1;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) < 0)
		return errno == EINVAL ? -ESRCH : -errno;
	*ret = fd;
	return 0;
}

static int birth_of(int pidfd, uint32_t pid, unsigned means, uint64_t *ret)
{
	struct statfs fs;
	struct stat st;
	int r;

	if (means & PEER_BY_PIDFS && !fstatfs(pidfd, &fs) && fs.f_type == PID_FS_MAGIC) {
		if (fstat(pidfd, &st) < 0)
			return -errno;
		*ret = st.st_ino;
		return 0;
	}
	r = start_time(pid, ret);
	if (r)
		return r;
	r = has_ended(pidfd);
	return r > 0 ? -ESRCH : r;
}

int peer_read(int socket, unsigned means, struct peer *ret)
{
	_cleanup_(closep) int pidfd = -1;
	socklen_t size = sizeof(struct ucred);
	struct ucred who;
	uint64_t birth;
	int r = -ENOPROTOOPT;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
		return -errno;
	if (who.pid <= 0)
		return -ESRCH; /* of another pid namespace, or no peer */

	if (means & PEER_BY_SOCKET)
		r = pidfd_of_socket(socket, &pidfd);
	if (r == -ENOPROTOOPT || r == -EOPNOTSUPP)
		r = pidfd_of_pid((uint32_t)who.pid, who.uid, &pidfd);
	if (r)
		return r;
	r = birth_of(pidfd, (uint32_t)who.pid, means, &birth);
	if (r)
		return r;

	*ret = (struct peer){.uid = who.uid,
			     .gid = who.gid,
			     .pid = (uint32_t)who.pid,
			     .pidfd = TAKE_FD(pidfd),
			     .birth = birth};
	return 0;
}

int peer_find(uint32_t pid, uint64_t birth, unsigned means, int *ret_pidfd)
{
	_cleanup_(closep) int fd = -1;
	uint64_t has;
	int r;

	fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (fd < 0)
		return errno == EINVAL ? -ESRCH : -errno; /* 0, or beyond what pids can be */
	r = birth_of(fd, pid, means, &has);
	if (!r)
		r = has_ended(fd);
	if (r)
		return r < 0 ? r : -ESRCH;
	if (has != birth && !mutant(sys_birth_unchecked))
		return -ESRCH;

	*ret_pidfd = TAKE_FD(fd);
	return 0;
}
