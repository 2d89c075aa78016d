#include "daemon/sys/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "base/base.h"
#include "daemon/sys/host.h"
#include "daemon/sys/memfd.h"

void reserve_init(struct reserve *reserve)
{
	*reserve = (struct reserve){.lock = PTHREAD_MUTEX_INITIALIZER,
				    .pools = {{.page_shift = HOST_HUGE_SHIFT, .fd = -1},
					      {.page_shift = HOST_GIANT_SHIFT, .fd = -1}}};
}

void reserve_deinit(struct reserve *reserve)
{
	for (size_t i = 0; i < ARRAY_SIZE(reserve->pools); i++)
		closep(&reserve->pools[i].fd);
	pthread_mutex_destroy(&reserve->lock);
}

static struct reserve_pool *pool_of(struct reserve *reserve, uint32_t page_shift)
{
	for (size_t i = 0; i < ARRAY_SIZE(reserve->pools); i++)
		if (reserve->pools[i].page_shift == page_shift)
			return &reserve->pools[i];
	return NULL;
}

static void shrink(struct reserve_pool *pool, uint64_t bytes)
{
	if (mutant(sys_reserve_kept))
		return;
	/* Cutting off the end of an unsealed file that has no page cannot fail. */
	if (!ftruncate(pool->fd, (off_t)bytes))
		pool->held = bytes;
}

/* The reservation belongs to the file: it outlives the mapping that made it. */
static int grow(struct reserve_pool *pool, uint64_t bytes)
{
	uint64_t more = bytes - pool->held;
	void *p;
	int r;

	if (ftruncate(pool->fd, (off_t)bytes) < 0)
		return -errno;
	p = mmap(NULL, more, PROT_NONE,
		 MAP_SHARED | (mutant(sys_reserve_empty) ? MAP_NORESERVE : 0), pool->fd,
		 (off_t)pool->held);
	if (p == MAP_FAILED) {
		r = -errno;
		if (ftruncate(pool->fd, (off_t)pool->held) < 0)
			return -errno;
		return r;
	}
	munmap(p, more);
	pool->held = bytes;
	return 0;
}

static uint64_t wanted(const struct reserve_pool *pool)
{
	return pool->quota > pool->taken ? pool->quota - pool->taken : 0;
}

/* How much of the pool is nobody's, but for what is cut for commits that are under way. */
static uint64_t spare(const struct reserve_pool *pool, const char *root)
{
	struct sys_host host;

	if (!pool->flying)
		return UINT64_MAX;
	if (host_read(root, &host))
		return 0;
	return u64_align_down(
		*sys_host_pool(&host, pool->page_shift) -
			u64_min(*sys_host_pool(&host, pool->page_shift), pool->flying),
		(uint64_t)1 << pool->page_shift);
}

/* Hold what should be held, or as much of it as the pool still has. */
static void settle(struct reserve_pool *pool, const char *root)
{
	uint64_t want = wanted(pool), more;

	if (want < pool->held) {
		shrink(pool, want);
		return;
	}
	more = want - pool->held;
	if (more)
		more = u64_min(more, spare(pool, root));
	while (more) {
		if (!grow(pool, pool->held + more))
			more = u64_min(more, wanted(pool) - pool->held);
		else
			more = u64_align_down(more / 2, (uint64_t)1 << pool->page_shift);
	}
}

static int hold(struct reserve_pool *pool, const char *root)
{
	uint64_t want = wanted(pool);
	struct sys_host host;
	int r;

	if (want <= pool->held) {
		if (want < pool->held)
			shrink(pool, want);
		return 0;
	}
	r = host_read(root, &host);
	if (r)
		return r;
	if (want - pool->held > *sys_host_pool(&host, pool->page_shift))
		return -ENOMEM;
	if (pool->fd < 0) {
		r = memfd_reserve(pool->page_shift, &pool->fd);
		if (r)
			return r;
	}
	return grow(pool, want);
}

int reserve_quota(struct reserve *reserve, const char *root, uint32_t page_shift,
		  uint64_t bytes)
{
	struct reserve_pool *pool = pool_of(reserve, page_shift);
	uint64_t before;
	int r;

	if (!pool)
		return -EINVAL;
	if (!u64_align_up(bytes, (uint64_t)1 << page_shift, &bytes))
		return -ENOMEM;

	pthread_mutex_lock(&reserve->lock);
	before = pool->quota;
	pool->quota = bytes;
	r = hold(pool, root);
	if (r)
		pool->quota = before;
	pthread_mutex_unlock(&reserve->lock);
	return r;
}

int reserve_file(struct reserve *reserve, uint32_t page_shift)
{
	struct reserve_pool *pool = pool_of(reserve, page_shift);
	int fd;

	if (!pool)
		return -1;
	pthread_mutex_lock(&reserve->lock);
	fd = pool->fd;
	pthread_mutex_unlock(&reserve->lock);
	return fd;
}

/*
 * Its length may be what was about to be held: a death comes between the two steps of grow().
 * Mapping it all once more holds what is not held, and counts nothing twice.
 */
static int hold_again(struct reserve_pool *pool, int fd)
{
	uint64_t size = 0;
	void *p;
	int r;

	r = memfd_check_reserve(fd, pool->page_shift, &size);
	if (!r && size & (((uint64_t)1 << pool->page_shift) - 1))
		r = -EBADFD;
	if (r) {
		close(fd);
		return r;
	}
	pool->fd = fd;
	pool->held = size;
	if (!size)
		return 0;
	p = mmap(NULL, size, PROT_NONE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		shrink(pool, 0); /* what there still is, settle() takes */
	else
		munmap(p, size);
	return 0;
}

int reserve_adopt(struct reserve *reserve, uint32_t page_shift, int fd, uint64_t bytes,
		  uint64_t taken)
{
	struct reserve_pool *pool = pool_of(reserve, page_shift);
	int r = 0;

	if (!pool) {
		closep(&fd);
		return -EINVAL;
	}
	pthread_mutex_lock(&reserve->lock);
	if (fd >= 0)
		r = hold_again(pool, fd);
	if (!r && pool->fd < 0)
		r = memfd_reserve(page_shift, &pool->fd);
	if (!r) {
		pool->quota = bytes;
		pool->taken = mutant(sys_reserve_forgets) ? 0 : taken;
		settle(pool, "");
	}
	pthread_mutex_unlock(&reserve->lock);
	return r;
}

void reserve_take(struct reserve *reserve, uint32_t page_shift, uint64_t bytes)
{
	struct reserve_pool *pool = pool_of(reserve, page_shift);

	if (!pool)
		return;
	pthread_mutex_lock(&reserve->lock);
	pool->taken += bytes;
	pool->flying += bytes;
	/* Whatever is missing is missing of what is held afterwards. */
	if (mutant(sys_reserve_missing) && wanted(pool) < pool->held)
		shrink(pool, wanted(pool));
	else if (pool->held && !mutant(sys_reserve_missing))
		shrink(pool, pool->held - u64_min(bytes, pool->held));
	pthread_mutex_unlock(&reserve->lock);
}

void reserve_landed(struct reserve *reserve, uint32_t page_shift, uint64_t bytes)
{
	struct reserve_pool *pool = pool_of(reserve, page_shift);

	if (!pool)
		return;
	pthread_mutex_lock(&reserve->lock);
	pool->flying -= bytes;
	pthread_mutex_unlock(&reserve->lock);
}

void reserve_give(struct reserve *reserve, const char *root, uint32_t page_shift,
		  uint64_t bytes)
{
	struct reserve_pool *pool = pool_of(reserve, page_shift);

	if (!pool)
		return;
	pthread_mutex_lock(&reserve->lock);
	pool->taken -= u64_min(bytes, pool->taken);
	settle(pool, root);
	pthread_mutex_unlock(&reserve->lock);
}

int reserve_host(struct reserve *reserve, const char *root, struct sys_host *ret)
{
	struct reserve_pool *pools = reserve->pools;
	int r;

	pthread_mutex_lock(&reserve->lock);
	r = host_read(root, ret);
	if (!r) {
		ret->huge_free = u64_min(ret->huge_free + pools[0].held, ret->huge_total);
		ret->giant_free = u64_min(ret->giant_free + pools[1].held, ret->giant_total);
	}
	pthread_mutex_unlock(&reserve->lock);
	return r;
}
