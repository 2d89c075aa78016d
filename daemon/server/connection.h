/*
 * Connection - one client's socket: datagrams in, answers out.
 *
 * N1  What a peer does (never reads, sends garbage, closes) ends at most its own connection.
 * N2  Answers leave in the order in which they were given; what the socket does not take is
 *     kept, up to a bound, and beyond it the connection is dropped.
 * N3  Who leaves answers unread is served a few requests at a time, with pauses, until it has read
 *     them or is dropped: its flood waits in its own send().
 * N4  No descriptor that a client sends is looked at; they are closed by a
 *     thread of their own (closer.h).
 */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "daemon/core/quota.h"
#include "proto/wire.h"

struct server;
struct client;
struct outgoing;

struct connection {
	struct server *server;
	struct connection *next, **at;                 /* in server->connections */
	struct client *client;                         /* NULL before HELLO */
	struct quota *quota;                           /* its peer's uid's */
	struct connection *waiting_next, **waiting_at; /* while it waits: waiting.h */
	uint64_t hello_ms;                             /* by when it has to say it */
	bool waits;
	int fd;
	uv_poll_t poll;
	struct outgoing *out, **out_tail;
	uint32_t out_bytes, out_fds;
	bool closing;
	bool close_when_sent;
	bool paused;       /* N3 */
	bool prompt;       /* the peer had its next request ready when we looked last */
	uint32_t turns;    /* how often we were woken for it */
	uint32_t expected; /* datagrams to ask for at once */
};

/* What recvmmsg fills: one for the whole server. */
struct inbox;
int inbox_new(struct inbox **ret);
void inbox_free(struct inbox *inbox);

/* Before the first of them. */
void connection_init_all(struct server *server);

/* Say why there is no connection for it, and close it. */
void connection_refuse(struct server *server, int fd, const struct quota_refusal *why);

/* Takes the descriptor, also on failure. -EDQUOT: refused, and told why. */
int connection_new(struct server *server, int fd);

/* What it has said by now, for who would not wait for more: it may be closed for that. */
void connection_hear(struct connection *connection);

/* Send, or keep for later; takes the descriptors. */
void connection_send(struct connection *connection, const void *data, uint32_t size, int *fds,
		     uint32_t n_fds);

/* Count one that is dropped for what it did; logged once in a second at most, with who it is. */
void connection_dropped(struct server *server, int fd, const char *why);

/* The socket is closed; whoever was behind it is told. */
void connection_close(struct connection *connection);

/* After what is still to be sent. */
void connection_finish(struct connection *connection);
