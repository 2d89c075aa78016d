/*
 * Closer - the thread that closes descriptors which clients sent uninvited.
 *
 * CL1 What such a close() waits for is its sender's to choose: a socket that lingers, a file system that
 *     its sender serves and never answers. Only other uninvited descriptors wait with it: neither
 *     the loop nor a worker ever does.
 * CL2 What is not closed yet counts as its sender's descriptors.
 * CL3 The end of the daemon does not wait for it.
 */
#pragma once

#include <stdint.h>

struct closer;
struct quota;
struct server;

int closer_new(struct closer **ret, struct server *server);
/* What it has not closed ends with the process. */
void closer_free(struct closer *closer);

/* Takes the descriptors, for the account of whoever sent them. -ENOMEM: it has not. */
int closer_take(struct closer *closer, struct quota *quota, const int *fds, uint32_t n);
