#include "daemon/sys/mempolicy.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/base.h"

enum {
	MASK_BITS = sizeof(((struct mempolicy *)0)->nodes) * 8,
	BATCH = 1024, /* pages asked about at once */
};

int mempolicy_possible(void)
{
	struct mempolicy before;
	void *page = &before;
	int status, r;

	if (syscall(SYS_get_mempolicy, &before.mode, before.nodes, MASK_BITS + 1, NULL, 0))
		return -errno;
	r = mempolicy_restore(&before);
	if (r)
		return r;
	return syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0) < 0 ? -errno : 0;
}

int mempolicy_bind(uint32_t node, struct mempolicy *ret)
{
	unsigned long mask[2] = {1UL << node % 64};

	if (node >= 64)
		return -EINVAL;
	if (syscall(SYS_get_mempolicy, &ret->mode, ret->nodes, MASK_BITS + 1, NULL, 0))
		return -errno;
	return syscall(SYS_set_mempolicy, MPOL_BIND, mask, 65) ? -errno : 0;
}

int mempolicy_restore(const struct mempolicy *before)
{
	return syscall(SYS_set_mempolicy, before->mode, before->nodes, MASK_BITS + 1) ? -errno
										      : 0;
}

static int count_batch(char *memory, uint32_t page_shift, uint32_t n, uint32_t node,
		       uint64_t *here, uint64_t *elsewhere)
{
	void *pages[BATCH];
	int status[BATCH];

	for (uint32_t i = 0; i < n; i++)
		pages[i] = memory + ((uint64_t)i << page_shift);
	if (syscall(SYS_move_pages, 0, n, pages, NULL, status, 0) < 0)
		return -errno;
	for (uint32_t i = 0; i < n; i++)
		if (status[i] >= 0)
			*((uint32_t)status[i] == node ? here : elsewhere) += (uint64_t)1
									     << page_shift;
	return 0;
}

int mempolicy_count(int fd, uint32_t page_shift, uint64_t offset, uint64_t size, uint32_t node,
		    uint64_t *ret_here, uint64_t *ret_elsewhere)
{
	uint64_t here = 0, elsewhere = 0, pages = size >> page_shift;
	char *memory;
	int r = 0;

	/* Only what this process has in its page table is told of. */
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_POPULATE, fd,
		      (off_t)offset);
	if (memory == MAP_FAILED)
		return -errno;
	for (uint64_t done = 0, n; done < pages && !r; done += n) {
		n = u64_min(pages - done, BATCH);
		r = count_batch(memory + (done << page_shift), page_shift, (uint32_t)n, node,
				&here, &elsewhere);
	}
	munmap(memory, size);
	if (r)
		return r;
	*ret_here = here;
	*ret_elsewhere = elsewhere;
	return 0;
}
