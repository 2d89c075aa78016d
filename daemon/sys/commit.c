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

/* A node without room is not asked for pages: the kernel might kill for them. */
static int ask_node(const struct commit_source *source, uint32_t node, uint64_t asked,
		    uint32_t page_shift, struct sys_node *ret_node, struct sys_shortage *ret)
{
	int r;

	r = source->ask_node(source->userdata, node, ret_node);
	if (!r)
		r = sys_node_check(ret_node, asked, page_shift, ret);
	if (r)
		ret->node = node;
	return r;
}

static int allocate_pages(const struct commit_source *source, int fd, uint32_t page_shift,
			  uint64_t offset, uint64_t size)
{
	int r;

	r = allocate(fd, FALLOC_FL_KEEP_SIZE, offset, size);
	if (!r && page_shift == 12 && source->collapse && !mutant(sys_collapse_never))
		source->collapse(source->userdata, fd, offset, size);
	return r;
}

static int allocate_on(const struct commit_source *source, int fd, uint32_t page_shift,
		       uint32_t node, uint64_t offset, uint64_t size)
{
	struct mempolicy before;
	int r, undo;

	if (node == SYS_NODE_ANY)
		return allocate_pages(source, fd, page_shift, offset, size);
	r = source->bind(source->userdata, node, &before);
	if (r)
		return r;
	r = allocate_pages(source, fd, page_shift, offset, size);
	undo = mutant(sys_policy_kept) ? 0 : source->restore(source->userdata, &before);
	return r ? r : undo;
}

/* -ENOMEM: some of it lies elsewhere. */
static int look_at(const struct commit_source *source, int fd, uint32_t page_shift,
		   uint32_t node, uint64_t offset, uint64_t size, uint64_t *ret_misplaced)
{
	uint64_t here, elsewhere;
	int r;

	if (node == SYS_NODE_ANY || mutant(sys_pages_unseen))
		return 0;
	r = source->count(source->userdata, fd, page_shift, offset, size, node, &here,
			  &elsewhere);
	if (r || !elsewhere)
		return r;
	*ret_misplaced = elsewhere;
	return -ENOMEM;
}

/* One step of what is left, and its size. */
static int step_commit(const struct commit_source *source, int fd, uint32_t page_shift,
		       uint32_t node, uint64_t offset, uint64_t left, uint64_t *ret_size,
		       struct sys_shortage *shortage)
{
	uint64_t size = u64_min(left, u64_max(COMMIT_STEP, (uint64_t)1 << page_shift));
	uint64_t misplaced = 0;
	struct sys_node there;
	struct sys_host host;
	int r;

	r = ask(source, left, page_shift, &host, shortage);
	if (!r && node != SYS_NODE_ANY)
		r = ask_node(source, node, left, page_shift, &there, shortage);
	if (r)
		return r;

	source->take(source->userdata, page_shift, size);
	r = allocate_on(source, fd, page_shift, node, offset, size);
	if (source->landed)
		source->landed(source->userdata, page_shift, size);
	if (!r)
		r = look_at(source, fd, page_shift, node, offset, size, &misplaced);
	if (r) {
		/* tmpfs undoes a failed call by itself, hugetlbfs does not. */
		punch_pages(fd, offset, size);
		source->give(source->userdata, page_shift, size);
		if (node == SYS_NODE_ANY) {
			sys_host_check(&host, UINT64_MAX, page_shift, shortage);
		} else {
			sys_node_check(&there, UINT64_MAX, page_shift, shortage);
			shortage->node = node;
			shortage->misplaced = misplaced;
		}
		return r;
	}
	*ret_size = size;
	return 0;
}

int commit_pages(const struct commit_source *source, int fd, uint32_t page_shift, uint32_t node,
		 uint64_t offset, uint64_t size, struct sys_shortage *ret)
{
	struct sys_shortage shortage = {};
	uint64_t done = 0, step;
	int r = 0;

	while (!r && done < size) {
		r = step_commit(source, fd, page_shift, node, offset + done, size - done, &step,
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
