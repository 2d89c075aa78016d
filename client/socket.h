/*
 * Socket - a connection to a daemon that is one of ours.
 *
 * T1  The process that listens belongs to root, to the caller's own user, or to `varbos`;
 *     whoever else squats on the path is refused before a byte is sent.
 * T2  Descriptors are close-on-exec; no call on them blocks longer than the timeout.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

enum {
	SOCKET_PATH_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1,
	SOCKET_TIMEOUT_MS = 5000,
	SOCKET_RECONNECT_MS = 5000,
};

struct socket_policy {
	uid_t trusted[3];
	unsigned n_trusted;
	uint32_t timeout_ms;   /* of a request */
	uint32_t reconnect_ms; /* how long a daemon that has gone is waited for */
};

struct socket {
	int fd;
	dev_t dev; /* tells this socket from what may have its number later */
	ino_t ino;
	char path[SOCKET_PATH_MAX + 1];
};

void socket_policy_default(struct socket_policy *ret);

/* Of policies to come. */
void socket_set_default_timeout(uint32_t ms);
void socket_set_default_reconnect(uint32_t ms);

/* How long a single call on it may block. 0 or -errno. */
int socket_set_timeout(int fd, uint32_t ms);

/*
 * Connect to `path`, or, if it is NULL, to the first that answers of $VARBOS_SOCKET (the only
 * one, if it is set), the user's and the system's. A VARBOS_E_ code, with the error filled.
 */
int socket_open(struct socket *ret, const char *path, const struct socket_policy *policy);

/*
 * The same at one path, and without waiting. -errno: nobody answers there now; or a VARBOS_E_ code.
 */
int socket_try(struct socket *ret, const char *path, const struct socket_policy *policy);

/*
 * Have what is at the other end of `by` under the descriptor's own number, so that who uses it
 * meanwhile is not led astray; `by` is gone.
 */
void socket_replace(struct socket *socket, struct socket *by);

/* Nothing comes or goes any more, and who waits wakes. This, and the end: */
void socket_shut(const struct socket *socket);
/* Only if the descriptor still is this socket: a child may have closed it and opened others. */
void socket_close(struct socket *socket);
