#include "client/window.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "client/connection.h"
#include "client/error.h"
#include "client/reserve.h"
#include "client/sealed.h"
#include "client/space.h"
#include "client/words.h"
#include "proto/layout.h"

static uint64_t map_bytes(const struct window *window)
{
	return window->n_slices * sizeof(uint64_t);
}

static uint64_t freed_bytes(const struct window *window)
{
	return window->n_slices * sizeof(uint32_t);
}

/* What the daemon says in two places must agree, and be possible. */
static int check_opened(const struct varbos_space *space, uint32_t number,
			const struct wire_window_opened *opened)
{
	struct window_info info = window_word_unpack(
		atomic_load_explicit(&space->root->windows[number], memory_order_acquire));

	if (opened->size < CHUNK_BYTES || opened->size > WINDOW_BYTES_MAX ||
	    (opened->size & (opened->size - 1)))
		return error_set(VARBOS_E_UNTRUSTED, "size",
				 "window %u: %llu bytes is no size of a window", number,
				 (unsigned long long)opened->size);
	if (info.state != WINDOW_GRANTED || opened->size != (uint64_t)1 << info.size_shift ||
	    opened->page != (uint64_t)1 << info.page_shift || opened->page > opened->size ||
	    opened->node != info.node || opened->generation != info.generation)
		return error_set(VARBOS_E_UNTRUSTED, "root-file",
				 "window %u: the daemon's answer and the root file differ",
				 number);
	return 0;
}

/* The slice map, somewhere, and then the data in its place. */
static int map_files(struct varbos_space *space, uint32_t number, struct window *window,
		     int data_fd, int map_fd)
{
	char *place = space->base + number * WINDOW_BYTES_MAX;
	int access = space->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	void *map, *data;
	int r;

	map = mmap(NULL, map_bytes(window), PROT_READ, MAP_SHARED, map_fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	r = reserve_hide(map, map_bytes(window));
	if (r)
		goto unmap;

	data = mmap(place, window->size, access, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		    data_fd, 0);
	if (data == MAP_FAILED) {
		r = -errno;
		goto unmap;
	}
	r = reserve_hide(data, window->size);
	if (r)
		goto restore;

	/*
	 * As memory.thp says. Advice: where /sys/kernel/mm/transparent_hugepage/shmem_enabled heeds
	 * it, committed chunks become 2 MiB pages. On hugepages it means nothing, and is refused.
	 */
	madvise(data, window->size, space->small ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	window->map = map;
	return 0;

restore:
	mmap(place, window->size, PROT_NONE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	reserve_hide(place, window->size);
unmap:
	munmap(map, map_bytes(window));
	return r;
}

static int fetch(struct varbos_space *space, uint32_t number, struct window *window)
{
	struct wire_window_open request = {.space = space->handle, .window = number};
	_cleanup_(call_endp) struct call *call = NULL;
	uint64_t size;
	int r;

	r = call_begin(&call, &space->vb->calls, WIRE_WINDOW_OPEN, &request, 2);
	if (r)
		return r;
	r = check_opened(space, number, &call->message.body.window_opened);
	if (r)
		return r;

	size = call->message.body.window_opened.size;
	window->size = size;
	window->n_slices = (uint32_t)(size >> SLICE_SHIFT);
	r = sealed_check(call->fds[0], "data file", SEALED_EXACT, size);
	if (!r)
		r = sealed_check(call->fds[1], "slice map", SEALED_AT_LEAST, map_bytes(window));
	if (r)
		return r;
	r = map_files(space, number, window, call->fds[0], call->fds[1]);
	if (r)
		return error_system(r, "mapping window %u", number);
	return 0;
}

int window_need(struct varbos_space *space, uint32_t number, struct window **ret)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	struct window *window;
	int r;

	if (number >= space->n_windows)
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_LIMIT,
								.requested = number + 1,
								.max = space->n_windows,
								.which = "windows"},
					 "it lies in window %u, and this process has set "
					 "address space aside for "
					 "%u: open the space with more `windows`",
					 number, space->n_windows);

	window = &space->windows[number];
	if (atomic_load_explicit(&window->mapped, memory_order_acquire)) {
		*ret = window;
		return 0;
	}

	lock_acquire(&space->lock);
	lock = &space->lock;
	if (!atomic_load_explicit(&window->mapped, memory_order_relaxed)) {
		if (!atomic_load_explicit(&space->root->windows[number], memory_order_acquire))
			return error_set(VARBOS_E_REFERENCE, "foreign",
					 "the space has no window %u", number);
		r = fetch(space, number, window);
		if (r)
			return r;
		atomic_store_explicit(&space->ends[number],
				      (uintptr_t)space->base + number * WINDOW_BYTES_MAX +
					      window->size,
				      memory_order_release);
		atomic_store_explicit(&window->mapped, true, memory_order_release);
	}
	*ret = window;
	return 0;
}

/* With the space's lock held. */
static int fetch_file(struct varbos_space *space, uint32_t number, struct window *window)
{
	const struct wire_window_open request = {.space = space->handle, .window = number};
	_cleanup_(call_endp) struct call *call = NULL;
	int r;

	r = call_begin(&call, &space->vb->calls, WIRE_WINDOW_OPEN, &request, 2);
	if (!r)
		r = sealed_check(call->fds[0], "data file", SEALED_EXACT, window->size);
	if (r)
		return r;
	atomic_store_explicit(&window->file, call->fds[0] + 1, memory_order_release);
	call->fds[0] = -1;
	return 0;
}

int window_file(struct varbos_space *space, uint32_t number, int *ret)
{
	struct window *window;
	int r;

	r = window_need(space, number, &window);
	if (r)
		return r;
	if (!atomic_load_explicit(&window->file, memory_order_acquire)) {
		lock_acquire(&space->lock);
		if (!atomic_load_explicit(&window->file, memory_order_relaxed))
			r = fetch_file(space, number, window);
		lock_release(&space->lock);
	}
	if (!r)
		*ret = atomic_load_explicit(&window->file, memory_order_acquire) - 1;
	return r;
}

int window_freed(struct window *window, _Atomic uint32_t **ret)
{
	_Atomic uint32_t *freed = atomic_load_explicit(&window->freed, memory_order_acquire);
	_Atomic uint32_t *mine;
	int r;

	if (freed) {
		*ret = freed;
		return 0;
	}

	mine = mmap(NULL, freed_bytes(window), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mine == MAP_FAILED)
		return -errno;
	r = reserve_hide((void *)mine, freed_bytes(window));
	if (r) {
		munmap((void *)mine, freed_bytes(window));
		return r;
	}
	if (!atomic_compare_exchange_strong(&window->freed, &freed, mine)) {
		munmap((void *)mine, freed_bytes(window)); /* another thread was first */
		mine = freed;
	}
	*ret = mine;
	return 0;
}

void window_forget(struct window *window)
{
	int file = atomic_load_explicit(&window->file, memory_order_relaxed);

	if (file)
		close(file - 1);
	*window = (struct window){};
}

void window_release(struct window *window)
{
	if (atomic_load_explicit(&window->freed, memory_order_relaxed))
		munmap((void *)window->freed, freed_bytes(window));
	words_release(window);
	if (atomic_load_explicit(&window->mapped, memory_order_acquire))
		munmap((void *)(uintptr_t)window->map, map_bytes(window));
	window_forget(window);
}
