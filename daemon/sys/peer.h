/*
 * Peer - which process is at the other end of a socket.
 *
 * P1  The credentials are those that the kernel noted when the socket was connected.
 * P2  The pidfd is that process's, not that of a later owner of its pid: the kernel says so
 *     (SO_PEERPIDFD, 6.5), or the process that now has the pid is alive and runs as the same
 *     user. The second is the weaker: it cannot tell two lives of one pid under one user.
 * P3  The birth is not 0 and differs between two lives of a pid: the pidfd's inode where pidfds
 *     are files of their own (pidfs, 6.9), else the start time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct peer {
	uint32_t uid, gid, pid;
	int pidfd;
	uint64_t birth;
};

/* What the kernel is asked; tests leave some of it out, as older kernels do. */
enum peer_means {
	PEER_BY_SOCKET = 1 << 0, /* SO_PEERPIDFD */
	PEER_BY_PIDFS = 1 << 1,  /* the inode of a pidfd */
	PEER_BY_ALL = PEER_BY_SOCKET | PEER_BY_PIDFS,
};

/* -ESRCH: the process has ended. -EPERM: its pid belongs to another user by now. */
int peer_read(int socket, unsigned means, struct peer *ret);

/* The pidfd of the process that had this pid and birth, P3. -ESRCH: it has ended. */
int peer_find(uint32_t pid, uint64_t birth, unsigned means, int *ret_pidfd);
