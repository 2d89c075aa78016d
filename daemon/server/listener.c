#include "daemon/server/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/base.h"
#include "daemon/server/connection.h"
#include "daemon/server/log.h"
#include "daemon/server/server.h"

#define CLIENTS_GROUP "varbos-clients"

enum {
	BACKLOG = 1024,
	ACCEPT_A_TURN = 64,
};

static void lock_path(char *ret, size_t size, const struct server *server)
{
	snprintf(ret, size, "%s.lock", server->options.socket);
}

static int lock(struct server *server)
{
	char path[128];

	lock_path(path, sizeof(path), server);
	for (;;) {
		_cleanup_(closep) int fd = -1;
		struct stat opened, named;

		fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0) {
			int error = errno;

			log_error("%s: %s", path, strerror(error));
			return -error;
		}
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			int error = errno;

			log_error("%s: another varbosd serves this socket",
				  server->options.socket);
			return -error;
		}
		/* A daemon that ended between our open and our lock has removed this file. */
		if (fstat(fd, &opened) || stat(path, &named) || opened.st_ino != named.st_ino ||
		    opened.st_dev != named.st_dev)
			continue;
		server->lock_fd = TAKE_FD(fd);
		return 0;
	}
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
	log_notice("%s: taking the place of a socket that no one serves", path);
	return unlink(path) ? -errno : 0;
}

/* Members of the group may connect to the system's daemon; a private one is its user's alone. */
static int set_access(const struct server *server, const char *path)
{
	const struct group *group = server->isolates ? getgrnam(CLIENTS_GROUP) : NULL;

	if (group && chown(path, (uid_t)-1, group->gr_gid))
		return -errno;
	return chmod(path, group ? 0660 : 0600) ? -errno : 0;
}

int listener_open(struct server *server)
{
	const char *path = server->options.socket;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	r = lock(server);
	if (r)
		return r;
	r = clear_path(path);
	if (r)
		return r;

	memcpy(address.sun_path, path, strlen(path) + 1);
	server->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->listen_fd < 0 ||
	    bind(server->listen_fd, (struct sockaddr *)&address, sizeof(address)))
		r = -errno;
	if (!r)
		r = set_access(server, path);
	if (!r && listen(server->listen_fd, BACKLOG))
		r = -errno;
	if (r) {
		log_error("%s: %s", path, strerror(-r));
		return r;
	}
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return 0;
}

/* Out of descriptors: take one connection with the spare one and turn it away. */
static void turn_away(struct server *server)
{
	int fd;

	closep(&server->spare_fd);
	fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	closep(&fd);
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	log_warning("turned a connection away: no descriptors left");
}

static void listener_ready(uv_poll_t *poll, int status, int events)
{
	struct server *server = container_of(poll, struct server, listener);

	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPT_A_TURN; i++) {
		int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				turn_away(server);
			return;
		}
		connection_new(server, fd);
	}
}

int listener_start(struct server *server)
{
	int r = uv_poll_init(&server->loop, &server->listener, server->listen_fd);

	return r ? r : uv_poll_start(&server->listener, UV_READABLE, listener_ready);
}

void listener_close(struct server *server)
{
	char path[128];

	if (server->listen_fd >= 0)
		unlink(server->options.socket);
	closep(&server->listen_fd);
	closep(&server->spare_fd);
	if (server->lock_fd >= 0) {
		lock_path(path, sizeof(path), server);
		unlink(path); /* while locked, so that no one locks a file without a name */
	}
	closep(&server->lock_fd);
	server->listen_fd = server->spare_fd = server->lock_fd = -1;
}
