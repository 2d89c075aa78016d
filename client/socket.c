#include "client/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "base/membership.h"
#include "client/error.h"

#define SYSTEM_SOCKET "/run/varbos/varbos.sock"

static _Atomic uint32_t default_timeout_ms = SOCKET_TIMEOUT_MS;
static _Atomic uint32_t default_reconnect_ms = SOCKET_RECONNECT_MS;

void socket_policy_default(struct socket_policy *ret)
{
	struct passwd entry, *found = NULL;
	char buffer[4096];

	*ret = (struct socket_policy){
		.trusted = {0, geteuid()},
		.n_trusted = 2,
		.timeout_ms = atomic_load_explicit(&default_timeout_ms, memory_order_relaxed),
		.reconnect_ms =
			atomic_load_explicit(&default_reconnect_ms, memory_order_relaxed),
	};
	if (!getpwnam_r("varbos", &entry, buffer, sizeof(buffer), &found) && found)
		ret->trusted[ret->n_trusted++] = found->pw_uid;
}

void socket_set_default_timeout(uint32_t ms)
{
	atomic_store_explicit(&default_timeout_ms, ms, memory_order_relaxed);
}

void socket_set_default_reconnect(uint32_t ms)
{
	atomic_store_explicit(&default_reconnect_ms, ms, memory_order_relaxed);
}

/* With it, waiting for an answer needs no poll: a round trip is two system calls. */
int socket_set_timeout(int fd, uint32_t ms)
{
	struct timeval timeout = {
		.tv_sec = ms / 1000,
		.tv_usec = (suseconds_t)(ms % 1000) * 1000,
	};

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	return 0;
}

static bool policy_trusts(const struct socket_policy *policy, uid_t uid)
{
	if (mutant(client_any_uid))
		return true;
	for (unsigned i = 0; i < policy->n_trusted; i++)
		if (policy->trusted[i] == uid)
			return true;
	return false;
}

static int check_server(int fd, const char *path, const struct socket_policy *policy)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return error_system(errno, "who listens at %s", path);
	if (!policy_trusts(policy, peer.uid))
		return error_set(VARBOS_E_UNTRUSTED, "uid",
				 "who listens at %s is uid %u: neither root, nor varbos, nor "
				 "this process's own user",
				 path, (unsigned)peer.uid);
	return 0;
}

/* 0, a VARBOS_E_ code, or -errno: nobody answers there. `now`: or not at once. */
static int open_at(struct socket *ret, const char *path, const struct socket_policy *policy,
		   bool now)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = -1;
	struct stat st;
	int r;

	if (!*path || strlen(path) > SOCKET_PATH_MAX)
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_INVALID,
								.requested = strlen(path),
								.max = SOCKET_PATH_MAX,
								.which = "path"},
					 "a socket's path has 1 to %d bytes, this one %zu",
					 SOCKET_PATH_MAX, strlen(path));
	strcpy(address.sun_path, path);

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | (now ? SOCK_NONBLOCK : 0), 0);
	if (fd < 0)
		return error_system(errno, "making a socket");
	r = socket_set_timeout(fd, policy->timeout_ms);
	if (r)
		return error_system(r, "setting a socket's timeout");

	do
		r = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	while (r == -EINTR);
	if (r)
		return r;
	if (now && fcntl(fd, F_SETFL, 0) < 0)
		return error_system(errno, "looking at a socket");

	r = check_server(fd, path, policy);
	if (r)
		return r;
	if (fstat(fd, &st) < 0)
		return error_system(errno, "looking at a socket");

	*ret = (struct socket){.fd = TAKE_FD(fd), .dev = st.st_dev, .ino = st.st_ino};
	strcpy(ret->path, path);
	return 0;
}

/* Nobody answered anywhere: `tried` lists where, `error` is the last one's. */
static int error_nobody(int error, const char *tried)
{
	bool denied = error == -EACCES || error == -EPERM;

	if (error == -EAGAIN)
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_TIMEOUT,
								.system_errno = ETIMEDOUT},
					 "varbosd accepts no connection: %s", tried);
	return error_set_numbers(&(struct varbos_error){.code = denied ? VARBOS_E_PERMISSION
								       : VARBOS_E_UNAVAILABLE,
							.system_errno = -error,
							.which = "socket"},
				 "no varbosd answers at %s", tried);
}

static void note_tried(char *tried, size_t size, const char *path, int error)
{
	bool denied = error == -EACCES || error == -EPERM;
	char hint[MEMBERSHIP_TEXT_MAX] = "";
	size_t n = strlen(tried);

	if (denied)
		membership_hint(hint, sizeof(hint), path);
	snprintf(tried + n, size - n, "%s%s (%s%s)", n ? ", " : "", path,
		 strerrordesc_np(-error) ? strerrordesc_np(-error) : "unknown error", hint);
}

int socket_open(struct socket *ret, const char *path, const struct socket_policy *policy)
{
	const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
	char own[SOCKET_PATH_MAX + 64];
	const char *candidates[2];
	unsigned n_candidates = 0;
	char tried[512] = "";
	bool given = path;
	int r = -ENOENT;

	if (!path)
		path = secure_getenv("VARBOS_SOCKET");
	if (path && (given || *path))
		candidates[n_candidates++] = path;
	else {
		if (runtime && *runtime &&
		    (size_t)snprintf(own, sizeof(own), "%s/varbos/varbos.sock", runtime) <=
			    SOCKET_PATH_MAX)
			candidates[n_candidates++] = own;
		candidates[n_candidates++] = SYSTEM_SOCKET;
	}

	for (unsigned i = 0; i < n_candidates; i++) {
		r = open_at(ret, candidates[i], policy, false);
		if (r >= 0)
			return r;
		note_tried(tried, sizeof(tried), candidates[i], r);
	}
	return error_nobody(r, tried);
}

int socket_try(struct socket *ret, const char *path, const struct socket_policy *policy)
{
	return open_at(ret, path, policy, true);
}

static bool is_there(const struct socket *socket)
{
	struct stat st;

	return socket->fd >= 0 && !fstat(socket->fd, &st) && st.st_dev == socket->dev &&
	       st.st_ino == socket->ino;
}

void socket_replace(struct socket *socket, struct socket *by)
{
	if (is_there(socket) && dup3(by->fd, socket->fd, O_CLOEXEC) >= 0)
		close(by->fd);
	else
		socket->fd = by->fd;
	socket->dev = by->dev;
	socket->ino = by->ino;
	by->fd = -1;
}

void socket_shut(const struct socket *socket)
{
	if (is_there(socket))
		shutdown(socket->fd, SHUT_RDWR);
}

void socket_close(struct socket *socket)
{
	if (is_there(socket))
		close(socket->fd);
	socket->fd = -1;
}
