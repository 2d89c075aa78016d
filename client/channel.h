/*
 * Channel - one end of a queue of shared blocks, or both (include/varbos/channel.h).
 *
 * C1  The queue is proto/ring.h; the daemon's part is to make it, to count its ends, and to say
 *     in the root file which of them are gone.
 * C2  Who finds it full, empty or busy sleeps until a peer changes the word that this waits
 *     for, or the root file's `deaths` does: it reads `deaths` first, then tries, then sleeps.
 * C3  Ends of one process are one end to the daemon: a role is closed with its last handle.
 * C4  Nothing is mapped, and nobody is waited for, while a lock of the ring is held.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include <varbos/channel.h>

#include "client/space.h"
#include "proto/ring.h"

struct varbos_channel {
	struct varbos_space *space;
	struct varbos_channel *next; /* of the space's, under its channels_lock */
	_Atomic uint32_t stamp;      /* fork count of `end` */
	uint32_t roles, capacity;    /* as it was asked for */
	struct ring_end end;
	_Atomic uint32_t waits, spins; /* so many; has the last spinning paid? */
	char name[CHANNEL_NAME_MAX + 1];
};

/* The space goes, with all of them. */
void channels_free(struct varbos_space *space);
