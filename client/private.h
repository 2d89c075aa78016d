/*
 * Private daemon - a varbosd that lives as long as this process and its descendants.
 *
 * P1  It is started with one end of a socket pair, its lifeline. The other end is close-on-exec
 *     and survives fork: the daemon reads end-of-file when the last of the family is gone.
 * P2  Its socket is in a folder of its own, mode 0700. The daemon removes its files and that
 *     folder when its lifeline ends. If it was killed, the library does at disconnect.
 * P3  The daemon is no child of this process: nothing is to be waited for, no zombie is left.
 * P4  A keeper holds its memory and starts it again if it dies. The keeper has the lifeline, too, so
 *     that this end reads end-of-file when both are gone.
 */
#pragma once

#include <stdbool.h>

#include "client/socket.h"

struct varbos_private_options;

struct private_daemon {
	struct socket lifeline; /* path: of the daemon's socket */
	char folder[SOCKET_PATH_MAX + 1];
};

int private_daemon_new(struct private_daemon **ret,
		       const struct varbos_private_options *options);

/* Nobody is left who could start it again. */
bool private_daemon_ended(const struct private_daemon *daemon);

/*
 * Let go of the lifeline. `broken`: the daemon has closed its socket unasked, and so is about
 * to end, if it has not. NULL is fine.
 */
void private_daemon_free(struct private_daemon *daemon, bool broken);
