#include "daemon/sys/commit.h"

#include <errno.h>
#include <fcntl.h>

#include "base/base.h"

static int allocate(int fd, int mode, uint64_t offset, uint64_t size)
{
	while (fallocate(fd, mode, (off_t)offset, (off_t)size) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int punch_pages(int fd, uint64_t offset, uint64_t size)
{
	return allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size);
}

static int ask(const struct commit_source *source, uint64_t asked, uint32_t page_shift,
	       struct sys_host *ret_host, struct sys_shortage *ret)
{
	int r;

	r = source->ask(source->userdata, ret_host);
	if (r || mutant(sys_host_unasked))
		return r;
	return sys_host_check(ret_host, asked, page_shift, ret);
}

/* One step of what is left, and its size. */
static int step_commit(const struct commit_source *source, int fd, uint32_t page_shift,
		       uint64_t offset, uint64_t left, uint64_t *ret_size,
		       struct sys_shortage *shortage)
{
	uint64_t size = u64_min(left, COMMIT_STEP);
	struct sys_host host;
	int r;

	r = ask(source, left, page_shift, &host, shortage);
	if (r)
		return r;

	source->take(source->userdata, page_shift, size);
	r = allocate(fd, FALLOC_FL_KEEP_SIZE, offset, size);
	if (r) {
		/* tmpfs undoes a failed call by itself, hugetlbfs does not. */
		punch_pages(fd, offset, size);
		source->give(source->userdata, page_shift, size);
		sys_host_check(&host, UINT64_MAX, page_shift, shortage);
		return r;
	}
	*ret_size = size;
	return 0;
}

int commit_pages(const struct commit_source *source, int fd, uint32_t page_shift,
		 uint64_t offset, uint64_t size, struct sys_shortage *ret)
{
	struct sys_shortage shortage = {};
	uint64_t done = 0, step;
	int r = 0;

	while (!r && done < size) {
		r = step_commit(source, fd, page_shift, offset + done, size - done, &step,
				&shortage);
		if (!r)
			done += step;
	}
	if (!r)
		return 0;

	if (done && !mutant(sys_commit_kept)) {
		punch_pages(fd, offset, done);
		source->give(source->userdata, page_shift, done);
	}
	if (r == -ENOMEM || r == -ENOSPC) {
		*ret = shortage;
		ret->asked = size;
	}
	return r;
}
