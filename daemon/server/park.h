/*
 * Park - many descriptors in two: as one datagram that waits in a pair of sockets.
 *
 * PA1  Who has both ends has all of them; reading leaves them there.
 */
#pragma once

#include <stdint.h>

#include "daemon/server/kept.h"

enum { PARK_MAX = 253 }; /* descriptors of one datagram, says the kernel */

struct parked_fd {
	char name[KEPT_NAME_MAX];
	int fd;
};

/* n is PARK_MAX at most. */
int park_make(const struct parked_fd *what, uint32_t n, int ret_pair[2]);
/* The ends in any order. Descriptors of their own, to be closed by the caller. -EBADMSG: no park. */
int park_read(const int pair[2], struct parked_fd ret[PARK_MAX], uint32_t *ret_n);
