#include "daemon/sys/orphan.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/sys/guard.h"
#include "proto/ring.h"

enum {
	SWAPS_MAX = 8, /* tries; the dead change nothing, so more are somebody's mischief */
};

static int lock_read(int fd, uint64_t at, uint32_t *ret)
{
	ssize_t n;

	do
		n = pread(fd, ret, sizeof(*ret), (off_t)at);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == sizeof(*ret) ? 0 : -EIO;
}

static int lock_swap(int fd, uint32_t page_shift, uint64_t at, uint32_t lock,
		     const struct block_ids *dead)
{
	uint64_t page = (uint64_t)1 << page_shift, in_page = at & (page - 1);
	uint32_t next = lock, seen;
	char *memory;

	memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		      (off_t)(at - in_page));
	if (memory == MAP_FAILED)
		return -errno;
	for (unsigned tries = 0; tries < SWAPS_MAX && ring_lock_sweep(&next, dead); tries++) {
		if (guard_cas32((_Atomic uint32_t *)(void *)(memory + in_page), lock, next,
				&seen) ||
		    seen == lock)
			break;
		next = lock = seen;
	}
	munmap(memory, page);
	return 0;
}

int orphan_locks(int fd, uint32_t page_shift, uint64_t position, const struct block_ids *dead)
{
	static const uint64_t locks[] = {offsetof(struct ring, send.lock),
					 offsetof(struct ring, receive.lock)};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(locks) && !r; i++) {
		uint32_t lock, next;

		r = lock_read(fd, position + locks[i], &lock);
		next = lock;
		if (!r && ring_lock_sweep(&next, dead))
			r = lock_swap(fd, page_shift, position + locks[i], lock, dead);
	}
	return r;
}
