#include "daemon/server/activation.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "daemon/server/kept.h"
#include "daemon/server/log.h"

static int check_kind(int fd)
{
	int r = sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0);

	if (r > 0)
		return 0;
	if (r < 0) {
		log_error("the passed descriptor cannot be looked at: %s", strerror(-r));
		return r;
	}
	if (sd_is_socket(fd, AF_UNIX, SOCK_SEQPACKET, 0) > 0)
		log_error("the passed socket does not listen (Accept=no is wanted)");
	else
		log_error("what was passed is not a Unix socket of sequential packets "
			  "(ListenSequentialPacket= makes one)");
	return -EINVAL;
}

static int read_path(char *ret, size_t size, int fd)
{
	struct sockaddr_un address;
	socklen_t got = sizeof(address);
	size_t length;

	if (getsockname(fd, (struct sockaddr *)&address, &got)) {
		int error = errno;

		log_error("the passed socket has no address: %s", strerror(error));
		return -error;
	}
	length = got - offsetof(struct sockaddr_un, sun_path);
	if (!length || address.sun_path[0] != '/') {
		log_error("the passed socket has no place in the file system, where the "
			  "statistics lie beside it");
		return -EINVAL;
	}
	length = strnlen(address.sun_path, length);
	if (length >= size) {
		log_error("the passed socket's path has %zu bytes, and %zu at most", length,
			  size - 1);
		return -ENAMETOOLONG;
	}
	memcpy(ret, address.sun_path, length);
	ret[length] = '\0';
	return 0;
}

/* A name that is not ours is that of a manager's socket, whatever its unit calls it. */
static int find_listener(struct left *left)
{
	uint64_t numbers[KEPT_NUMBERS_MAX];
	enum kept_kind kind;
	uint32_t n = 0, at = 0;

	for (uint32_t i = 0; i < left->n; i++) {
		if (kept_parse(left->names[i], &kind, numbers))
			continue;
		at = i;
		n++;
	}
	if (n > 1) {
		log_error("%u descriptors were passed; one listening socket is wanted", n);
		return -EINVAL;
	}
	return n ? TAKE_FD(left->fds[at]) : 0;
}

int activation_take(struct options *options)
{
	char path[sizeof(options->config.socket.path)];
	int fd, r;

	r = left_take(&options->left);
	if (r)
		return r;
	fd = find_listener(&options->left);
	if (fd <= 0)
		return fd;
	r = check_kind(fd);
	if (!r)
		r = read_path(path, sizeof(path), fd);
	if (r)
		return r;
	if (!options->socket_is_default && strcmp(options->config.socket.path, path)) {
		log_error("told to serve %s, but passed the socket at %s",
			  options->config.socket.path, path);
		return -EINVAL;
	}
	strcpy(options->config.socket.path, path);
	options->socket_is_default = false;
	options->passed_fd = fd;
	return 0;
}
