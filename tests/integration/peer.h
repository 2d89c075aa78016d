/*
 * Peer - a client without the library: one socket, requests one at a time, whatever bytes a
 * test likes to send.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/layout.h"
#include "proto/wire.h"

struct peer {
	int fd;
	uint64_t id;             /* of the last request */
	enum wire_method method; /* of the last request */
	struct wire_message answer;
	int fds[WIRE_FDS_MAX]; /* that came with it; -1 where none did */
	char buf[WIRE_MESSAGE_MAX];
};

/* Connects, trying for a while: the daemon may be starting. */
void peer_connect(struct peer *peer, const char *path);
/* And says hello. */
void peer_open(struct peer *peer, const char *path);
void peer_close(struct peer *peer);

/* Sends and waits for the answer; true if it is a result. A note that comes first is skipped. */
bool peer_call(struct peer *peer, enum wire_method method, const void *params);
/* The same, of bytes; the answer is taken for one to `method`. */
bool peer_call_bytes(struct peer *peer, const void *data, size_t size, enum wire_method method);

void peer_send(struct peer *peer, enum wire_method method, const void *params);
void peer_note(struct peer *peer, enum wire_method method, const void *params);
/* The next datagram, into peer->answer. False: the daemon has closed the connection. */
bool peer_receive(struct peer *peer);

/* The handle. Fails the test if the daemon refuses. */
uint64_t peer_create_space(struct peer *peer, const char *name, uint64_t limit);
uint64_t peer_open_space(struct peer *peer, const char *name);
struct wire_daemon_status peer_status(struct peer *peer);

/*
 * For a forked child that is going to be killed: libcheck keeps its notes in a file that the
 * child shares, and half a note would spoil it. The child's go to /dev/null from now on.
 */
void peer_leave_check(void);
/* Or to a file of the child's own. */
void peer_leave_check_to(int to);

/* The statistics file as it stands, without a word to the daemon. */
const struct stats_copy *statistics(const char *socket);
/* The file, mapped: the caller's. */
const struct stats_file *statistics_file(const char *socket);
