#include "daemon/sys/zero.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/base.h"
#include "daemon/sys/guard.h"

enum { STEP = 4096 };

int zero_range(int fd, uint32_t page_shift, uint64_t offset, uint64_t size)
{
	static const char zeros[STEP];
	uint64_t page = (uint64_t)1 << page_shift, from = offset & ~(page - 1), to;
	char *memory;
	int r = 0;

	if (!u64_align_up(offset + size, page, &to))
		return -EINVAL;
	memory = mmap(NULL, to - from, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		      (off_t)from);
	if (memory == MAP_FAILED)
		return -errno;
	for (uint64_t at = 0; at < size && !r; at += STEP)
		r = guard_copy(memory + (offset - from) + at, zeros,
			       (size_t)u64_min(STEP, size - at));
	munmap(memory, to - from);
	return r;
}
