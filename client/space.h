/*
 * Space - a space that this process has open.
 *
 * S1  A connection has a space open once, however often the program opens it: handles count.
 * S2  The root file and the windows are mapped as sealed.h and window.h demand.
 * S3  In a forked child it is opened anew at the first call that uses it: same name, same
 *     access, same addresses where they are free.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <varbos/varbos.h>

#include "client/blocks.h"
#include "client/connection.h"
#include "client/shared.h"
#include "client/window.h"
#include "proto/layout.h"

enum { WINDOWS_DEFAULT = 64 };

struct varbos_space {
	struct blocks blocks; /* first, as programs know (struct varbos_latest) */
	struct varbos *vb;
	struct varbos_space *_Atomic next; /* in vb->spaces, under its lock */
	uint32_t uses;                     /* likewise */
	_Atomic uint32_t stamp;            /* fork count of what follows */
	struct lock lock;                  /* who maps a window, or opens it anew */
	uint32_t handle;                   /* the daemon's */
	const struct root_file *root;
	struct shared shared;
	struct lock channels_lock; /* of the list, and of who opens or closes an end */
	struct varbos_channel *channels;
	struct lock caches_lock; /* likewise */
	struct varbos_cache *caches;
	_Atomic uint64_t leased; /* bytes of extents that are this process's alone */
	char *base;              /* of the reserved range */
	bool read_only;
	bool prefault;
	bool packed; /* blocks of multiples of 16 bytes */
	bool small;  /* no transparent hugepages */
	bool local;  /* its policy asks where the caller is */
	char name[SPACE_NAME_MAX + 1];
	/*
	 * Where each window ends, once it is mapped; else 0: what a reader looks at. Of all windows that
	 * an offset may name; behind those that there are.
	 */
	_Atomic uintptr_t *ends;
	uint32_t n_windows;
	struct window windows[];
};

static_assert(offsetof(struct varbos_space, blocks.heaps.id) == 0, "programs look at it");

/* Do these go together? VARBOS_E_INVALID. Whether the nodes are there only the daemon knows. */
int space_check_numa(enum varbos_numa numa, uint64_t nodes);

int space_revive(struct varbos_space *space);

/* VARBOS_E_PERMISSION, with its words. */
int space_read_only(const struct varbos_space *space);

/* Before anything else of a call on a space. */
static inline int space_enter(struct varbos_space *space)
{
	if (!space)
		return error_null("space");
	if (atomic_load_explicit(&space->stamp, memory_order_acquire) == fork_count())
		return 0;
	return space_revive(space);
}

/* One more use of the handle, to be ended by varbos_space_close(). */
void space_use(struct varbos_space *space);

/* Unmap and free all of a connection's spaces; the daemon is not told. */
void space_drop_all(struct varbos *vb);
