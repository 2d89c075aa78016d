#include "client/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "base/numa.h"
#include "client/cache.h"
#include "client/channel.h"
#include "client/error.h"
#include "client/reserve.h"
#include "client/sealed.h"

enum {
	/* Others may create and remove the space between our tries to open and to create it. */
	OPEN_TRIES = 8,
};

/* Forget without unmapping: in a child nothing of it is mapped. */
static void forget(struct varbos_space *space)
{
	space->root = NULL;
	blocks_forget(&space->blocks);
	atomic_store_explicit(&space->leased, 0, memory_order_relaxed);
	shared_forget(&space->shared, space);
	for (uint32_t i = 0; i < space->n_windows; i++)
		window_forget(&space->windows[i]);
	for (uint32_t i = 0; i < space->n_windows; i++)
		atomic_store_explicit(&space->ends[i], 0, memory_order_relaxed);
}

static void unmap(struct varbos_space *space)
{
	blocks_close(&space->blocks);
	blocks_close(&space->shared.blocks);
	for (uint32_t i = 0; i < space->n_windows; i++)
		window_release(&space->windows[i]);
	if (space->root)
		munmap((void *)(uintptr_t)space->root, sizeof(*space->root));
	space->root = NULL;
	reserve_free(space->base, space->n_windows);
	space->base = NULL;
}

static void space_free(struct varbos_space *space)
{
	caches_free(space);
	if (atomic_load_explicit(&space->stamp, memory_order_acquire) == fork_count())
		unmap(space);
	channels_free(space);
	free(space);
}

static void space_freep(struct varbos_space **space)
{
	if (*space)
		space_free(*space);
}

static int map_root(struct varbos_space *space, int fd, uint64_t handle)
{
	const struct root_file *root;
	void *memory;
	int r;

	r = sealed_check(fd, "root file", SEALED_AT_LEAST, sizeof(*root));
	if (r)
		return r;
	memory = mmap(NULL, sizeof(*root), PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return error_system(errno, "mapping the root file");
	r = reserve_hide(memory, sizeof(*root));
	if (r) {
		munmap(memory, sizeof(*root));
		return error_system(r, "mapping the root file");
	}

	root = memory;
	if (root->magic != ROOT_MAGIC || root->layout != space->vb->layout ||
	    root->space != handle) {
		munmap(memory, sizeof(*root));
		return error_set(VARBOS_E_UNTRUSTED, "root file",
				 "the root file is not that of this space");
	}
	space->root = root;
	space->handle = root->space;
	return 0;
}

/* The daemon has opened it, and the kernel does not let us map it: the daemon is told. */
static int close_daemon(struct varbos_space *space, uint64_t handle)
{
	const struct wire_space_handle request = {.space = handle};
	const struct varbos_error why = *varbos_error();
	_cleanup_(call_endp) struct call *call = NULL;

	call_begin(&call, &space->vb->calls, WIRE_SPACE_CLOSE, &request, 0);
	return error_restore(&why);
}

/* Ask the daemon for the space, and map its root file. */
static int open_daemon(struct varbos_space *space)
{
	struct wire_space_open request = {
		.name = wire_str(space->name),
		.read_only = space->read_only,
	};
	_cleanup_(call_endp) struct call *call = NULL;
	int r;

	r = call_begin(&call, &space->vb->calls, WIRE_SPACE_OPEN, &request, 1);
	if (r)
		return r;
	space->local = wire_str_is(call->message.body.space_opened.numa, "local");
	space->small = wire_str_is(call->message.body.space_opened.thp, "never");
	r = map_root(space, call->fds[0], call->message.body.space_opened.space);
	return r == VARBOS_E_SYSTEM ? close_daemon(space, call->message.body.space_opened.space)
				    : r;
}

static int create_daemon(struct varbos_space *space, const struct varbos_space_options *options)
{
	struct wire_space_create request = {
		.name = wire_str(space->name),
		.limit = options->limit,
		.reserve = options->reserve,
		.client_limit = options->client_limit,
		.weight = options->weight,
		.mode = options->mode,
		.placement = wire_str(options->placement),
		.numa = wire_str(options->numa ? numa_kind_name(options->numa) : NULL),
		.nodes = options->nodes,
	};
	_cleanup_(call_endp) struct call *call = NULL;

	return call_begin(&call, &space->vb->calls, WIRE_SPACE_CREATE, &request, 0);
}

static int open_or_create(struct varbos_space *space,
			  const struct varbos_space_options *options)
{
	/* What nobody may write to yet has nothing to be read: a reader creates no space. */
	const uint32_t old = VARBOS_SPACE_READ_ONLY | VARBOS_SPACE_EXISTING;
	int r = VARBOS_E_NOT_FOUND;

	if (options->flags & VARBOS_SPACE_NEW) {
		r = create_daemon(space, options);
		return r ? r : open_daemon(space);
	}
	for (int i = 0; i < OPEN_TRIES && (r == VARBOS_E_NOT_FOUND || r == VARBOS_E_EXISTS);
	     i++) {
		r = open_daemon(space);
		if (r ==
		    VARBOS_E_EXISTS) /* opened too late for who asked; it is being closed */
			continue;
		if (r != VARBOS_E_NOT_FOUND || options->flags & old)
			return r;
		r = create_daemon(space, options);
		if (!r || r == VARBOS_E_EXISTS)
			r = VARBOS_E_NOT_FOUND; /* it is there now: open it */
	}
	return r;
}

int space_check_numa(enum varbos_numa numa, uint64_t nodes)
{
	if (!numa_kind_name(numa))
		return error_set(VARBOS_E_INVALID, "numa", "there is no NUMA policy %d",
				 (int)numa);
	if (numa_names_nodes((enum numa_kind)numa) != !!nodes)
		return error_set(VARBOS_E_INVALID, "nodes",
				 nodes ? "%s names no nodes"
				       : "%s names at least one node: `nodes` is 0",
				 numa_kind_name(numa));
	return 0;
}

static int check_options(const char *name, const struct varbos_space_options *options)
{
	const uint32_t old = VARBOS_SPACE_READ_ONLY | VARBOS_SPACE_EXISTING;
	struct wire_str text = wire_str(name);
	int r;

	if (!text.size || text.size > SPACE_NAME_MAX || !wire_str_is_clean(text))
		return error_set(VARBOS_E_INVALID, "name",
				 "the name of a space is 1 to %d of A-Z a-z 0-9 . _ -, not "
				 "starting with . or -",
				 SPACE_NAME_MAX);
	if (options->flags &
		    ~(old | VARBOS_SPACE_NEW | VARBOS_SPACE_PREFAULT | VARBOS_SPACE_PACKED) ||
	    (options->flags & VARBOS_SPACE_NEW && options->flags & old))
		return error_set(VARBOS_E_INVALID, "flags", "flags 0x%x make no sense",
				 options->flags);
	if (options->windows > WINDOWS_MAX)
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_INVALID,
								.requested = options->windows,
								.max = WINDOWS_MAX,
								.which = "windows"},
					 "%u windows, a space has %d at most", options->windows,
					 WINDOWS_MAX);
	r = space_check_numa(options->numa, options->nodes);
	if (r)
		return r;
	if (!wire_str_is_clean(wire_str(options->placement)))
		return error_set(VARBOS_E_INVALID, "placement", "the placement is no name");
	return 0;
}

/*
 * As much address space as the windows take, or down to `least` of them where a limit on it
 * (ulimit -v, many open spaces) leaves no more: a window that does not fit is refused by name.
 */
static int reserve_range(struct varbos_space *space, uint32_t least)
{
	int r;

	while ((r = reserve_new(&space->base, NULL, space->n_windows)) == -ENOMEM &&
	       space->n_windows / 2 >= least)
		space->n_windows /= 2;
	return r;
}

int space_read_only(const struct varbos_space *space)
{
	return error_set(VARBOS_E_PERMISSION, "write", "space %s is open read-only",
			 space->name);
}

static int space_new(struct varbos_space **ret, struct varbos *vb, const char *name,
		     const struct varbos_space_options *options)
{
	uint32_t n = options->windows ? options->windows : WINDOWS_DEFAULT;
	_cleanup_(space_freep) struct varbos_space *space = NULL;
	int r;

	space = calloc(1, sizeof(*space) + n * sizeof(space->windows[0]) +
				  WINDOWS_MAX * sizeof(space->ends[0]));
	if (!space)
		return error_system(ENOMEM, "a space");
	space->ends = (_Atomic uintptr_t *)(void *)&space->windows[n];
	blocks_init(&space->blocks, space, EXTENT_PRIVATE, NULL);
	shared_init(&space->shared, space);
	space->vb = vb;
	space->uses = 1;
	space->n_windows = n;
	space->read_only = options->flags & VARBOS_SPACE_READ_ONLY;
	space->packed = options->flags & VARBOS_SPACE_PACKED;
	space->prefault = options->flags & VARBOS_SPACE_PREFAULT;
	strcpy(space->name, name);
	atomic_store_explicit(&space->stamp, fork_count(), memory_order_relaxed);

	/* Before the daemon is asked: where this fails, nothing has been created. */
	r = reserve_range(space, options->windows ? n : 1);
	if (r)
		return error_system(r, "no address space for %u windows of 16 GiB",
				    space->n_windows);
	r = open_or_create(space, options);
	if (r)
		return r;

	*ret = TAKE_PTR(space);
	return 0;
}

/* With the list's lock held: another handle of a space that is open already. */
static int open_again(struct varbos_space *space, const struct varbos_space_options *options)
{
	int r;

	if (options->flags & VARBOS_SPACE_NEW)
		return error_set(VARBOS_E_EXISTS, "name", "space %s exists, and is open here",
				 space->name);
	if (space->read_only != !!(options->flags & VARBOS_SPACE_READ_ONLY))
		return error_set(VARBOS_E_INVALID, "flags",
				 "space %s is open %s on this connection: close it first, or "
				 "use a connection of its own",
				 space->name, space->read_only ? "read-only" : "read-write");
	r = space_enter(space);
	if (r)
		return r;
	space->uses++;
	return 0;
}

_public_ int varbos_space_open(struct varbos_space **ret, struct varbos *vb, const char *name,
			       const struct varbos_space_options *options)
{
	static const struct varbos_space_options defaults;
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	struct varbos_space *space;
	int r;

	error_enter("varbos_space_open");
	if (!ret)
		return error_null("ret");
	if (!options)
		options = &defaults;
	r = check_options(name, options);
	if (!r)
		r = connection_enter(vb);
	if (r)
		return r;

	lock_acquire(&vb->spaces_lock);
	lock = &vb->spaces_lock;
	for (space = vb->spaces; space; space = space->next)
		if (!strcmp(space->name, name)) {
			r = open_again(space, options);
			if (!r)
				*ret = space;
			return r;
		}

	r = space_new(&space, vb, name, options);
	if (r)
		return r;
	space->next = vb->spaces;
	atomic_store_explicit(&vb->spaces, space, memory_order_release);
	*ret = space;
	return 0;
}

int space_revive(struct varbos_space *space)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	char *base = NULL;
	int r;

	r = connection_enter(space->vb);
	if (r)
		return r;
	lock_acquire(&space->lock);
	lock = &space->lock;
	if (atomic_load_explicit(&space->stamp, memory_order_relaxed) == fork_count())
		return 0;

	forget(space);
	r = reserve_new(&base, space->base, space->n_windows);
	if (r)
		return error_system(r, "no address space for %u windows of 16 GiB",
				    space->n_windows);
	r = open_daemon(space);
	if (r) {
		reserve_free(base, space->n_windows);
		return r;
	}
	space->base = base;
	atomic_store_explicit(&space->stamp, fork_count(), memory_order_release);
	return 0;
}

void space_use(struct varbos_space *space)
{
	lock_acquire(&space->vb->spaces_lock);
	space->uses++;
	lock_release(&space->vb->spaces_lock);
}

_public_ void varbos_space_close(struct varbos_space *space)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	_cleanup_(call_endp) struct call *call = NULL;
	struct varbos_space *_Atomic *at;
	struct wire_space_handle request;
	struct varbos *vb;
	bool ours;

	if (!space)
		return;
	error_enter("varbos_space_close");
	vb = space->vb;
	request.space = space->handle;

	lock_acquire(&vb->spaces_lock);
	lock = &vb->spaces_lock;
	if (--space->uses)
		return;
	for (at = &vb->spaces; *at != space; at = &(*at)->next)
		;
	atomic_store_explicit(at, space->next, memory_order_release);

	/* Unmapped first: what the daemon hears of may be given to others. */
	ours = atomic_load_explicit(&space->stamp, memory_order_acquire) == fork_count();
	space_free(space);
	if (ours)
		call_begin(&call, &vb->calls, WIRE_SPACE_CLOSE, &request, 0);
}

void space_drop_all(struct varbos *vb)
{
	struct varbos_space *space;

	while ((space = vb->spaces)) {
		vb->spaces = space->next;
		space_free(space);
	}
}
