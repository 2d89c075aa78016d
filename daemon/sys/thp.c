#include "daemon/sys/thp.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "base/base.h"
#include "daemon/sys/commit.h"
#include "daemon/sys/memfd.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define CHUNK ((uint64_t)2 << 20)

/* A huge page has a place only where addresses and offsets are aligned alike. */
static int collapse(int fd, uint64_t offset, uint64_t size)
{
	char *room, *memory;
	int r = 0;

	room = mmap(NULL, size + CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (room == MAP_FAILED)
		return -errno;
	memory = room + (-(uint64_t)(uintptr_t)room & (CHUNK - 1));
	if (mmap(memory, size, PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
		 (off_t)offset) == MAP_FAILED)
		r = -errno;
	/* One after the other: the kernel gives up at the first that it cannot make. */
	for (uint64_t at = 0; !r && at < size; at += CHUNK)
		if (madvise(memory + at, CHUNK, MADV_COLLAPSE) && errno == EINVAL)
			r = -errno;
	munmap(room, size + CHUNK);
	return r;
}

void thp_collapse(int fd, uint64_t offset, uint64_t size)
{
	collapse(fd, offset, size);
}

int thp_possible(void)
{
	_cleanup_(closep) int fd = -1;
	int r;

	r = memfd_window("varbos-thp", CHUNK, 12, &fd);
	if (!r && fallocate(fd, 0, 0, (off_t)CHUNK) < 0)
		r = -errno;
	return r ? r : collapse(fd, 0, CHUNK);
}
