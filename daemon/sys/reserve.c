#include "daemon/sys/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "base/base.h"
#include "daemon/sys/host.h"
#include "daemon/sys/memfd.h"

#define HUGE_BYTES ((uint64_t)1 << HOST_HUGE_SHIFT)

void reserve_init(struct reserve *reserve)
{
	*reserve = (struct reserve){.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};
}

void reserve_deinit(struct reserve *reserve)
{
	closep(&reserve->fd);
	pthread_mutex_destroy(&reserve->lock);
}

static void shrink(struct reserve *reserve, uint64_t bytes)
{
	if (mutant(sys_reserve_kept))
		return;
	/* Cutting off the end of an unsealed file that has no page cannot fail. */
	if (!ftruncate(reserve->fd, (off_t)bytes))
		reserve->held = bytes;
}

/* The reservation belongs to the file: it outlives the mapping that made it. */
static int grow(struct reserve *reserve, uint64_t bytes)
{
	uint64_t more = bytes - reserve->held;
	void *p;
	int r;

	if (ftruncate(reserve->fd, (off_t)bytes) < 0)
		return -errno;
	p = mmap(NULL, more, PROT_NONE,
		 MAP_SHARED | (mutant(sys_reserve_empty) ? MAP_NORESERVE : 0), reserve->fd,
		 (off_t)reserve->held);
	if (p == MAP_FAILED) {
		r = -errno;
		if (ftruncate(reserve->fd, (off_t)reserve->held) < 0)
			return -errno;
		return r;
	}
	munmap(p, more);
	reserve->held = bytes;
	return 0;
}

static uint64_t wanted(const struct reserve *reserve)
{
	return reserve->quota > reserve->taken ? reserve->quota - reserve->taken : 0;
}

/* Hold what should be held, or as much of it as the pool still has. */
static void settle(struct reserve *reserve)
{
	uint64_t want = wanted(reserve), more;

	if (want < reserve->held) {
		shrink(reserve, want);
		return;
	}
	more = want - reserve->held;
	while (more) {
		if (!grow(reserve, reserve->held + more))
			more = u64_min(more, wanted(reserve) - reserve->held);
		else
			more = u64_align_down(more / 2, HUGE_BYTES);
	}
}

static int hold(struct reserve *reserve, const char *root)
{
	uint64_t want = wanted(reserve);
	struct sys_host host;
	int r;

	if (want <= reserve->held) {
		if (want < reserve->held)
			shrink(reserve, want);
		return 0;
	}
	r = host_read(root, &host);
	if (r)
		return r;
	if (want - reserve->held > host.huge_free)
		return -ENOMEM;
	if (reserve->fd < 0) {
		r = memfd_reserve(HOST_HUGE_SHIFT, &reserve->fd);
		if (r)
			return r;
	}
	return grow(reserve, want);
}

int reserve_quota(struct reserve *reserve, const char *root, uint64_t bytes)
{
	uint64_t before;
	int r;

	if (!u64_align_up(bytes, HUGE_BYTES, &bytes))
		return -ENOMEM;

	pthread_mutex_lock(&reserve->lock);
	before = reserve->quota;
	reserve->quota = bytes;
	r = hold(reserve, root);
	if (r)
		reserve->quota = before;
	pthread_mutex_unlock(&reserve->lock);
	return r;
}

void reserve_take(struct reserve *reserve, uint64_t bytes)
{
	pthread_mutex_lock(&reserve->lock);
	reserve->taken += bytes;
	settle(reserve);
	pthread_mutex_unlock(&reserve->lock);
}

void reserve_give(struct reserve *reserve, uint64_t bytes)
{
	pthread_mutex_lock(&reserve->lock);
	reserve->taken -= u64_min(bytes, reserve->taken);
	settle(reserve);
	pthread_mutex_unlock(&reserve->lock);
}

int reserve_host(struct reserve *reserve, const char *root, struct sys_host *ret)
{
	int r;

	pthread_mutex_lock(&reserve->lock);
	r = host_read(root, ret);
	if (!r)
		ret->huge_free = u64_min(ret->huge_free + reserve->held, ret->huge_total);
	pthread_mutex_unlock(&reserve->lock);
	return r;
}
