#include "daemon/server/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "base/base.h"
#include "daemon/server/connection.h"
#include "daemon/server/keep.h"
#include "daemon/server/log.h"
#include "daemon/server/server.h"

#define CLIENTS_GROUP "varbos-clients"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

enum {
	BACKLOG = 512,
	ACCEPT_A_TURN = 4,
	CREDIT_MAX = 256, /* connections that may come to nothing at once; beyond, */
	CREDIT_A_MS = 2,  /* a few percent of a processor, and all that queue in 0.3 s */
	PACE_MS = 4,
	LOCK_TRIES = 100, /* each lost to a daemon that ended just then */
};

static void lock_path(char *ret, size_t size, const struct server *server)
{
	snprintf(ret, size, "%s.lock", server->config.socket.path);
}

static int lock(struct server *server)
{
	char path[128];

	lock_path(path, sizeof(path), server);
	for (int i = 0; i < LOCK_TRIES; i++) {
		_cleanup_(closep) int fd = -1;
		struct stat opened, named;

		fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0) {
			int error = errno;

			log_error("%s cannot be served, there is no writing beside it: %s",
				  server->config.socket.path, strerror(error));
			return -error;
		}
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			int error = errno;

			log_error("%s: another varbosd serves this socket",
				  server->config.socket.path);
			return -error;
		}
		/* A daemon that ended between our open and our lock has removed this file. */
		if (fstat(fd, &opened) || stat(path, &named) || opened.st_ino != named.st_ino ||
		    opened.st_dev != named.st_dev)
			continue;
		server->lock_fd = TAKE_FD(fd);
		return 0;
	}
	log_error("%s: somebody keeps replacing it", path);
	return -EAGAIN;
}

static void address_of(const char *path, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, path, strlen(path) + 1); /* options.c has measured it */
}

/* Someone listens there: another program, or a daemon whose lock file was taken away. */
static bool is_served(const char *path)
{
	_cleanup_(closep) int fd = -1;
	struct sockaddr_un address;

	address_of(path, &address);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	/* EPROTOTYPE: a socket of another type, and alive; EAGAIN: its backlog is full. */
	return !connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	       errno != ECONNREFUSED;
}

static int clear_path(const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode)) {
		log_error("%s: exists and is not a socket; it is left alone", path);
		return -EEXIST;
	}
	if (!mutant(listener_takes_all) && is_served(path)) {
		log_error("%s: someone serves this socket; it is left alone", path);
		return -EADDRINUSE;
	}
	log_notice("%s: taking the place of a socket that no one serves", path);
	return unlink(path) ? -errno : 0;
}

/*
 * Members of the group may connect to the system's daemon; a private one is its user's alone. The
 * mode is the socket's before it has a name, so that no one can connect too early.
 */
static int bind_socket(struct server *server, const char *path)
{
	const struct group *group = server->isolates ? getgrnam(CLIENTS_GROUP) : NULL;
	struct sockaddr_un address;
	struct stat st;
	mode_t before;
	int r = 0, off = 0;

	server->socket_gid = group ? (int64_t)group->gr_gid : -1;
	server->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->listen_fd < 0 || fchmod(server->listen_fd, group ? 0660 : 0600))
		return -errno;
	/* Inherited by what is accepted: no descriptor comes in even before we accept. */
	setsockopt(server->listen_fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
	address_of(path, &address);
	before = umask(0);
	if (bind(server->listen_fd, (struct sockaddr *)&address, sizeof(address)))
		r = -errno;
	umask(before);
	if (r)
		return r;
	if (lstat(path, &st))
		return -errno;
	server->socket_device = st.st_dev;
	server->socket_inode = st.st_ino;
	if (group && lchown(path, (uid_t)-1, group->gr_gid))
		return -errno;
	return 0;
}

/*
 * One that a service manager made and will keep: where it is and who may connect was decided
 * there. Nothing to clear away now, nothing to remove at the end.
 */
static int adopt_socket(struct server *server)
{
	int off = 0, flags;
	struct stat st;

	server->socket_gid = -1;
	server->listen_fd = server->options->passed_fd;
	flags = fcntl(server->listen_fd, F_GETFL);
	if (flags < 0 || fcntl(server->listen_fd, F_SETFL, flags | O_NONBLOCK) ||
	    stat(server->config.socket.path, &st))
		return -errno;
	setsockopt(server->listen_fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
	if (st.st_mode & S_IWGRP)
		server->socket_gid = st.st_gid;
	return 0;
}

/*
 * The one that an earlier daemon left, with whoever has waited in its backlog; unless its file is not
 * at the path any more: who is to find it there?
 */
static bool take_left(struct server *server)
{
	const char *path = server->config.socket.path;
	uint64_t at[KEPT_NUMBERS_MAX];
	char name[KEPT_NAME_MAX];
	enum kept_kind kind;
	struct stat st;
	int fd;

	while (keep_left(server->keep, KEPT_LISTEN, name)) {
		fd = keep_take(server->keep, name);
		kept_parse(name, &kind, at);
		if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) > 0 &&
		    !lstat(path, &st) && st.st_dev == at[0] && st.st_ino == at[1]) {
			server->listen_fd = fd;
			server->socket_left = true;
			server->socket_device = st.st_dev;
			server->socket_inode = st.st_ino;
			server->socket_gid = st.st_mode & S_IWGRP ? (int64_t)st.st_gid : -1;
			return true;
		}
		log_notice("%s: its socket file is gone, or another's: it is bound anew", path);
		keep_remove(server->keep, name);
		close(fd);
	}
	return false;
}

/* Where it is ours, for those who connect while nobody serves. Without, they are refused. */
static void put_socket(struct server *server)
{
	char name[KEPT_NAME_MAX];

	if (!server->socket_inode)
		return;
	kept_name(name, KEPT_LISTEN, server->socket_device, server->socket_inode, 0);
	keep_put(server->keep, &(struct kept){name, server->listen_fd}, 1);
}

/* The folder of a default path is ours to make; of any other, its owner's. */
static int make_folder(const struct server *server)
{
	char path[sizeof(server->config.socket.path)];

	strcpy(path, server->config.socket.path);
	if (!server->options->socket_is_default)
		return 0;
	if (mkdir(dirname(path), 0700) && errno != EEXIST)
		return -errno;
	return server->isolates && chmod(path, 0755) ? -errno : 0;
}

int listener_open(struct server *server)
{
	const char *path = server->config.socket.path;
	int r;

	r = make_folder(server);
	if (r)
		log_error("the folder of %s cannot be made: %s", path, strerror(-r));
	if (!r)
		r = lock(server);
	if (r)
		return r;
	if (!server->options->passed_fd) {
		if (take_left(server))
			return 0;
		r = clear_path(path);
		if (r)
			return r;
	}

	r = server->options->passed_fd ? adopt_socket(server) : bind_socket(server, path);
	if (r)
		log_error("%s: %s", path, strerror(-r));
	return r;
}

int listener_serve(struct server *server)
{
	if (listen(server->listen_fd, BACKLOG)) {
		int error = errno;

		log_error("%s: %s", server->config.socket.path, strerror(error));
		return -error;
	}
	if (!server->socket_left)
		put_socket(server);
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return 0;
}

/*
 * Out of descriptors: take one connection with the spare one and turn it away. If even that is
 * gone, another thread was faster: wait for the next beat rather than spin.
 */
static void turn_away(struct server *server)
{
	uint64_t now = uv_now(&server->loop);
	int fd;

	closep(&server->spare_fd);
	fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		connection_refuse(
			server, fd,
			&(struct quota_refusal){.which = quota_infos[QUOTA_DESCRIPTORS].key,
						.requested = 1,
						.max = server->descriptors,
						.held = server->descriptors,
						.all = true});
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (server->spare_fd < 0) {
		server->listener_stopped = true;
		uv_poll_stop(&server->listener);
	}
	if (now - server->turned_away_ms >= 1000) /* many in a second are one event */
		log_warning("turning connections away: no descriptors left");
	server->turned_away_ms = now;
}

static void listener_paid(uv_timer_t *timer);

/* A2: false if the next one has to wait for its turn. */
static bool spend_credit(struct server *server)
{
	uint64_t now = uv_now(&server->loop), earned;

	earned = u64_min(now - server->credit_ms, CREDIT_MAX) * CREDIT_A_MS;
	server->credit_ms = now;
	server->credit = (uint32_t)u64_min(server->credit + earned, CREDIT_MAX);
	if (server->credit) {
		server->credit--;
		return true;
	}
	uv_poll_stop(&server->listener);
	uv_timer_start(&server->pace, listener_paid, PACE_MS, 0);
	return false;
}

void listener_credit(struct server *server)
{
	server->credit = (uint32_t)u64_min(server->credit + 1, CREDIT_MAX);
}

static void listener_ready(uv_poll_t *poll, int status, int events)
{
	struct server *server = container_of(poll, struct server, listener);

	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPT_A_TURN; i++) {
		int fd;

		if (!spend_credit(server))
			return;
		fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				turn_away(server);
			else
				listener_credit(server); /* there was none */
			return;
		}
		connection_new(server, fd);
	}
}

static void listener_paid(uv_timer_t *timer)
{
	struct server *server = container_of(timer, struct server, pace);

	if (!server->listener_stopped)
		uv_poll_start(&server->listener, UV_READABLE, listener_ready);
}

int listener_start(struct server *server)
{
	int r = uv_poll_init(&server->loop, &server->listener, server->listen_fd);

	uv_timer_init(&server->loop, &server->pace);
	server->credit = CREDIT_MAX;
	server->credit_ms = uv_now(&server->loop);
	return r ? r : uv_poll_start(&server->listener, UV_READABLE, listener_ready);
}

void listener_resume(struct server *server)
{
	if (!server->listener_stopped)
		return;
	if (server->spare_fd < 0)
		server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	server->listener_stopped = false;
	uv_poll_start(&server->listener, UV_READABLE, listener_ready);
}

void listener_leave(struct server *server)
{
	if (server->socket_left)
		server->socket_inode = 0;
}

void listener_stop(struct server *server)
{
	char name[KEPT_NAME_MAX];
	struct stat st;

	if (server->socket_inode)
		keep_remove(server->keep, kept_name(name, KEPT_LISTEN, server->socket_device,
						    server->socket_inode, 0));
	/* Somebody may have moved ours away and put another in its place. */
	if (server->socket_inode && !stat(server->config.socket.path, &st) &&
	    st.st_ino == server->socket_inode && st.st_dev == server->socket_device)
		unlink(server->config.socket.path);
	server->socket_inode = 0;
	closep(&server->listen_fd);
	closep(&server->spare_fd);
	server->listen_fd = server->spare_fd = -1;
}

void listener_release(struct server *server)
{
	char path[128];

	if (server->lock_fd < 0)
		return;
	lock_path(path, sizeof(path), server);
	unlink(path); /* while locked, so that no one locks a file without a name */
	close(TAKE_FD(server->lock_fd));
}
