/*
 * Receive - one datagram with its descriptors, or why there will be no more.
 *
 * Descriptors are close-on-exec from the start, and accounted for: each is in `fds` or closed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/wire.h"

enum {
	RECEIVE_NOTHING = 1, /* for now */
	RECEIVE_END,         /* the connection is of no use any more */
};

struct receive {
	char *buffer; /* WIRE_MESSAGE_MAX, the caller's */
	size_t size;
	int fds[WIRE_FDS_MAX];
	unsigned n_fds;
	bool fds_lost; /* more were sent, or this process had no room for them */
};

struct receive_end {
	int code; /* VARBOS_E_ */
	int system_errno;
	const char *why;
};

/* ret->buffer is set; the rest is filled on 0, ret_end on RECEIVE_END. */
int receive(struct receive *ret, int fd, int flags, struct receive_end *ret_end);

/* Close what has not been taken. */
void receive_drop(struct receive *in);

/* What an errno of a socket call means; and a datagram that is no message. */
struct receive_end receive_end(int error);
struct receive_end receive_end_protocol(void);
