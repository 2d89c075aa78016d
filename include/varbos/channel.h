/*
 * Channels - bounded queues through which processes of a space hand blocks to each other.
 *
 * A channel has a name in its space, and carries what varbos_alloc_shared() gave: the block
 * that is sent is the sender's no more, and becomes whose receive gets it. Several processes,
 * and threads, may send and receive; what one of them sends arrives in order. Nothing here is a
 * call to the daemon but opening and closing: sending to, and receiving from, who keeps up is
 * no system call at all.
 *
 * A channel lives as long as any end of it is open. What is in it when its last end goes is
 * freed.
 */
#ifndef VARBOS_CHANNEL_H
#define VARBOS_CHANNEL_H

#include <varbos/varbos.h>

#ifdef __cplusplus
extern "C" {
#endif

struct varbos_channel;

enum varbos_channel_roles {
	VARBOS_CHANNEL_SEND = 1 << 0,
	VARBOS_CHANNEL_RECEIVE = 1 << 1,
};

enum varbos_channel_flags {
	VARBOS_CHANNEL_EXISTING = 1 << 0, /* do not create it */
	VARBOS_CHANNEL_NEW = 1 << 1,      /* it must not exist yet */
};

struct varbos_channel_options {
	/* How many blocks it holds; rounded up to a power of two, at most 4096; 0: 64. Counts at
	   creation only. */
	uint32_t capacity;
	uint32_t flags; /* enum varbos_channel_flags */
};

/* How long to wait for room, or for a block: milliseconds, 0: not at all, or: */
#define VARBOS_FOREVER (-1)

/*
 * Open one end of a channel or both, creating it if it is missing (unless flags say otherwise).
 * Its name is one as a space's. Several handles of an end in one process count as one end.
 */
int varbos_channel_open(struct varbos_channel **ret, struct varbos_space *space,
			const char *name, uint32_t roles,
			const struct varbos_channel_options *options);

/*
 * Close it; the space stays open at least until then. Not while it is in use elsewhere. NULL is
 * fine. After fork() the parent's end is the parent's alone: the child's first call on the
 * handle opens one of its own.
 */
void varbos_channel_close(struct varbos_channel *channel);

/*
 * Send a block that this process holds, its start. On failure it is still this process's:
 * VARBOS_E_TIMEOUT ("full"), VARBOS_E_CLOSED (there were receivers, and all are gone: "closed",
 * or "died"), VARBOS_E_REFERENCE as varbos_send().
 */
int varbos_channel_send(struct varbos_channel *channel, void *memory, int timeout_ms);

/*
 * The same for n blocks, in order, at a fraction of the cost of each. *ret_sent, unless NULL,
 * is how many went, also on failure: the first that did not is what the error is about.
 */
int varbos_channel_send_many(struct varbos_channel *channel, void *const *memory, size_t n,
			     int timeout_ms, size_t *ret_sent);

/*
 * The next block, this process's from now on. NULL: VARBOS_E_TIMEOUT ("empty"), VARBOS_E_CLOSED
 * (it is empty, there were senders, and all are gone: "closed", or "died": the last of them
 * without closing).
 */
void *varbos_channel_receive(struct varbos_channel *channel, int timeout_ms);

/* Up to n that are there, waiting for the first: how many; 0 on failure. */
size_t varbos_channel_receive_many(struct varbos_channel *channel, void **memory, size_t n,
				   int timeout_ms);

#ifdef __cplusplus
}
#endif
#endif
