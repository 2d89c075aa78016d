#include "daemon/server/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "base/size.h"
#include "daemon/server/log.h"

enum { FDS_MAX = 253 }; /* of one datagram, says the kernel */

/* Who is, keeps its pid: a parent as long as it is, a child until it is waited for. */
static bool is_kin(pid_t pid)
{
	siginfo_t info;

	return pid == getppid() ||
	       !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
}

/* As keepers make them. */
static bool is_pair_end(int fd)
{
	int domain = 0, type = 0;
	socklen_t size = sizeof(int);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) && domain == AF_UNIX &&
	       !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) && type == SOCK_DGRAM;
}

/* 0, and ret->keeper is -1 if there is none. */
static int find_keeper(struct store *ret)
{
	const char *text = getenv("VARBOS_KEEPER");
	int pid, speaks, fd;

	if (!text || sscanf(text, "%d:%d", &pid, &speaks) != 2 || pid <= 0 || !is_kin(pid) ||
	    !is_pair_end(speaks))
		return 0; /* somebody else's, from further up */
	fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (fd < 0)
		return -errno;
	if (!is_kin((pid_t)pid)) { /* it ended, and that is another */
		close(fd);
		return 0;
	}
	if (fcntl(speaks, F_SETFD, FD_CLOEXEC)) {
		close(fd);
		return -errno;
	}
	ret->fd = speaks;
	ret->keeper_pid = (pid_t)pid;
	ret->keeper = fd;
	return 0;
}

static bool find_address(struct store *store)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;

	if (!length)
		return false;
	/* "@name" is an abstract one. */
	if ((*path != '/' && *path != '@') || length >= sizeof(store->address.sun_path)) {
		log_warning("$NOTIFY_SOCKET is no address of a Unix socket: %s", path);
		return false;
	}
	store->address.sun_family = AF_UNIX;
	memcpy(store->address.sun_path, path, length);
	if (*path == '@')
		store->address.sun_path[0] = '\0';
	store->address_bytes =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (*path == '/'));
	return true;
}

static int store_connect(const struct store *store)
{
	if (connect(store->fd, (const struct sockaddr *)&store->address, store->address_bytes))
		return -errno;
	return 0;
}

int store_open(struct store *ret, bool keeper_only)
{
	struct store store = {.fd = -1, .keeper = -1};
	const char *most = getenv("FDSTORE");
	uint64_t n;
	int r;

	r = find_keeper(&store);
	if (r)
		return r;
	if (store.keeper < 0) {
		if (keeper_only || !find_address(&store)) {
			*ret = store;
			return 0;
		}
		store.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (store.fd < 0)
			return -errno;
		r = store_connect(&store);
		if (r)
			log_warning("$NOTIFY_SOCKET cannot be reached yet: %s", strerror(-r));
	}
	if (most && size_parse(most, &n))
		store.most = (uint32_t)u64_min(n, INT32_MAX);
	*ret = store;
	return 0;
}

void store_close(struct store *store)
{
	closep(&store->fd);
	closep(&store->keeper);
	*store = (struct store){.fd = -1, .keeper = -1};
}

void store_tell(const struct store *store)
{
	char text[sizeof(store->address.sun_path) + 1];
	size_t n = store->address_bytes -
		   u64_min(store->address_bytes, offsetof(struct sockaddr_un, sun_path));

	if (store->fd < 0)
		return;
	snprintf(text, sizeof(text), "%" PRIu32, store->most);
	setenv("FDSTORE", text, 1);
	if (store->keeper >= 0) {
		fcntl(store->fd, F_SETFD, 0);
		snprintf(text, sizeof(text), "%d:%d", (int)store->keeper_pid, store->fd);
		setenv("VARBOS_KEEPER", text, 1);
		return;
	}
	snprintf(text, sizeof(text), "%.*s", (int)n, store->address.sun_path);
	if (!store->address.sun_path[0])
		snprintf(text, sizeof(text), "@%.*s", (int)n - 1, store->address.sun_path + 1);
	setenv("NOTIFY_SOCKET", text, 1);
}

void store_take_back(const struct store *store)
{
	if (store->fd >= 0)
		fcntl(store->fd, F_SETFD, FD_CLOEXEC);
}

int store_say(const struct store *store, const char *text, const int *fds, uint32_t n)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	int flags = MSG_NOSIGNAL | (mutant(server_notify_waits) ? 0 : MSG_DONTWAIT), r;

	if (n) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
		memset(&control, 0, message.msg_controllen);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	}
	if (sendmsg(store->fd, &message, flags) >= 0)
		return 0;
	/* A manager may come late, or anew; a keeper does not. */
	if (store->keeper >= 0 || (errno != ENOTCONN && errno != ECONNREFUSED))
		return -errno;
	r = store_connect(store);
	if (r)
		return r;
	return sendmsg(store->fd, &message, flags) >= 0 ? 0 : -errno;
}

int store_barrier(const struct store *store, int *ret_fd)
{
	_cleanup_(closep) int ours = -1, theirs = -1;
	int pair[2], r;

	if (pipe2(pair, O_CLOEXEC))
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	r = store_say(store, "BARRIER=1", &theirs, 1);
	if (r)
		return r;
	*ret_fd = TAKE_FD(ours);
	return 0;
}
