/*
 * Connection - this process's session with a daemon.
 *
 * N1  A session belongs to one process. The first call of a forked child leaves the parent's
 *     socket alone, but for closing its copy, and connects anew.
 * N2  What a connection's fields say holds between connection_enter() and the end of the call.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "client/call.h"
#include "client/error.h"
#include "client/fork.h"
#include "client/lanes.h"
#include "client/lock.h"
#include "client/private.h"
#include "client/socket.h"

struct varbos {
	_Atomic uint32_t stamp; /* fork count of the session below */
	struct lock gate;       /* who connects anew */
	struct calls calls;
	struct socket_policy policy;
	uint32_t session; /* as in slice maps */
	uint32_t layout;
	struct private_daemon *daemon; /* NULL: not ours */
	struct lanes lanes;
	_Atomic uint32_t parked; /* requests that wait for who computes a value */

	/* Its holder opens or closes spaces, round trips included, and changes the list. */
	struct lock spaces_lock;
	struct varbos_space *_Atomic spaces; /* singly linked, whole after each store */
};

/* As varbos_connect(), under another policy. */
int connection_open(struct varbos **ret, const char *path, const struct socket_policy *policy);

int connection_revive(struct varbos *vb);

/* Before anything else of a call: make the session this process's own. */
static inline int connection_enter(struct varbos *vb)
{
	if (!vb)
		return error_null("vb");
	if (atomic_load_explicit(&vb->stamp, memory_order_acquire) == fork_count())
		return 0;
	return connection_revive(vb);
}
