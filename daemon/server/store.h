/*
 * Store - who holds descriptors for this process while it is away: the service manager at
 * $NOTIFY_SOCKET, or a keeper (keeper.h), in the words of sd_notify(3).
 *
 * ST1  Nothing here waits: what there is no room for is -EAGAIN.
 * ST2  How many descriptors it takes is $FDSTORE, which systemd sets from 254 on, and the unit
 *      before; without it, none, for one who takes none refuses nothing.
 * ST3  $VARBOS_KEEPER names a keeper, which is this process's parent, or its child, and the
 *      descriptor by which it is spoken to: a pair's end, which nobody else has the other of.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct store {
	int fd;        /* -1: there is nobody to be told anything */
	uint32_t most; /* descriptors that it takes */
	int keeper;    /* pidfd; -1: it is none */
	pid_t keeper_pid;
	struct sockaddr_un address; /* of another manager */
	socklen_t address_bytes;
};

/* keeper_only: another manager is somebody else's. */
int store_open(struct store *ret, bool keeper_only);
void store_close(struct store *store);
/*
 * $NOTIFY_SOCKET and what else store_open() reads say this one, for what this process executes. Until
 * it is taken back, what else it executes is passed the keeper's descriptor.
 */
void store_tell(const struct store *store);
void store_take_back(const struct store *store);

/* These words, and these descriptors with them. */
int store_say(const struct store *store, const char *text, const int *fds, uint32_t n);
/* *ret_fd is at its end (POLLHUP) when all has been taken that was said before. */
int store_barrier(const struct store *store, int *ret_fd);
