#include <errno.h>
#include <linux/membarrier.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/base.h"
#include "daemon/sys/commit.h"
#include "daemon/sys/host.h"
#include "daemon/sys/locked.h"
#include "daemon/sys/memfd.h"
#include "daemon/sys/nodes.h"
#include "daemon/sys/orphan.h"
#include "daemon/sys/peer.h"
#include "daemon/sys/reserve.h"
#include "daemon/sys/sys.h"
#include "daemon/sys/thp.h"
#include "daemon/sys/wake.h"
#include "daemon/sys/zero.h"

struct sys_real {
	struct sys sys;
	struct reserve reserve;
	struct locked locked;
	bool collapses;
	_Atomic uint64_t misplaced[TOPOLOGY_NODES_MAX];
};

static struct sys_real *real(struct sys *sys)
{
	return container_of(sys, struct sys_real, sys);
}

static int real_host(struct sys *sys, struct sys_host *ret)
{
	return reserve_host(&real(sys)->reserve, "", ret);
}

/* ---- where commit takes pages from ---- */

static int source_ask(void *userdata, struct sys_host *ret)
{
	return real_host(userdata, ret);
}

static void source_take(void *userdata, uint32_t page_shift, uint64_t bytes)
{
	reserve_take(&real(userdata)->reserve, page_shift, bytes);
}

static void source_give(void *userdata, uint32_t page_shift, uint64_t bytes)
{
	reserve_give(&real(userdata)->reserve, "", page_shift, bytes);
}

static void source_landed(void *userdata, uint32_t page_shift, uint64_t bytes)
{
	reserve_landed(&real(userdata)->reserve, page_shift, bytes);
}

static void source_collapse(void *userdata, int fd, uint64_t offset, uint64_t size)
{
	(void)userdata;
	thp_collapse(fd, offset, size);
}

static int source_ask_node(void *userdata, uint32_t node, struct sys_node *ret)
{
	(void)userdata;
	return nodes_read_one("", node, ret);
}

static int source_bind(void *userdata, uint32_t node, struct mempolicy *ret)
{
	(void)userdata;
	return mempolicy_bind(node, ret);
}

static int source_restore(void *userdata, const struct mempolicy *before)
{
	(void)userdata;
	return mempolicy_restore(before);
}

static int source_count(void *userdata, int fd, uint32_t page_shift, uint64_t offset,
			uint64_t size, uint32_t node, uint64_t *ret_here,
			uint64_t *ret_elsewhere)
{
	(void)userdata;
	return mempolicy_count(fd, page_shift, offset, size, node, ret_here, ret_elsewhere);
}

/* L1, L2 in locked.h: what cannot be locked is not there. */
static int lock_committed(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
			  uint64_t size, struct sys_shortage *ret)
{
	uint64_t bytes, limit;
	int r;

	r = locked_add(&real(sys)->locked, fd, offset, size);
	if (!r)
		return 0;
	punch_pages(fd, offset, size);
	source_give(sys, page_shift, size);
	locked_view(&real(sys)->locked, &bytes, &limit);
	*ret = (struct sys_shortage){.asked = size,
				     .available = limit - u64_min(bytes, limit),
				     .cap = limit,
				     .of_lock = true};
	return r == -EPERM || r == -EAGAIN ? -ENOMEM : r;
}

static int real_commit(struct sys *sys, int fd, uint32_t page_shift, uint32_t node,
		       uint64_t offset, uint64_t size, struct sys_shortage *ret)
{
	const struct commit_source source = {
		.userdata = sys,
		.ask = source_ask,
		.take = source_take,
		.give = source_give,
		.landed = source_landed,
		.collapse = real(sys)->collapses ? source_collapse : NULL,
		.ask_node = source_ask_node,
		.bind = source_bind,
		.restore = source_restore,
		.count = source_count,
	};
	int r;

	r = commit_pages(&source, fd, page_shift, node, offset, size, ret);
	if ((r == -ENOMEM || r == -ENOSPC) && ret->misplaced)
		atomic_fetch_add_explicit(&real(sys)->misplaced[node], ret->misplaced,
					  memory_order_relaxed);
	return r ? r : lock_committed(sys, fd, page_shift, offset, size, ret);
}

static int real_punch(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		      uint64_t size)
{
	int r;

	locked_drop(&real(sys)->locked, fd, offset, size);
	r = punch_pages(fd, offset, size);
	if (!r)
		source_give(sys, page_shift, size);
	return r;
}

static int real_scrub(struct sys *sys, int fd, uint64_t offset, uint64_t size)
{
	return punch_pages(fd, offset, size);
}

static int real_zero(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		     uint64_t size)
{
	(void)sys;
	return zero_range(fd, page_shift, offset, size);
}

/* ---- files ---- */

static int real_window_create(struct sys *sys, const char *name, uint64_t size,
			      uint32_t page_shift, int *ret_fd)
{
	_cleanup_(closep) int fd = -1;
	int r;

	r = memfd_window(name, size, page_shift, &fd);
	if (!r && page_shift < HOST_HUGE_SHIFT)
		r = locked_file_add(&real(sys)->locked, fd, size);
	if (r)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void real_window_destroy(struct sys *sys, int fd, uint32_t page_shift)
{
	uint64_t bytes = 0;
	bool known = !memfd_blocks(fd, &bytes);
	off_t size;

	locked_file_remove(&real(sys)->locked, fd, bytes);
	size = lseek(fd, 0, SEEK_END);
	if (size > 0 && known && !punch_pages(fd, 0, (uint64_t)size))
		source_give(sys, page_shift, bytes);
	close(fd);
}

static int real_words_create(struct sys *sys, const char *name, uint32_t n_slices, int *ret_fd)
{
	(void)sys;
	return words_create(name, n_slices, ret_fd);
}

static void real_words_destroy(struct sys *sys, int fd)
{
	(void)sys;
	words_destroy(fd);
}

static int real_words_sweep(struct sys *sys, int fd, uint32_t n_slices,
			    const struct words_run *run, const struct block_ids *dead,
			    struct words_found *ret)
{
	(void)sys;
	return words_sweep(fd, n_slices, run, dead, ret);
}

static int real_orphan_locks(struct sys *sys, int fd, uint32_t page_shift, uint64_t position,
			     const struct block_ids *dead)
{
	(void)sys;
	return orphan_locks(fd, page_shift, position, dead);
}

static int real_words_read(struct sys *sys, int fd, uint64_t offset, uint32_t *ret)
{
	(void)sys;
	return words_read(fd, offset, ret);
}

static int real_file_create(struct sys *sys, const char *name, uint64_t size,
			    enum sys_access clients, int *ret_fd, void **ret_memory)
{
	_cleanup_(closep) int fd = -1;
	struct sys_shortage shortage;
	struct sys_host host;
	void *memory;
	int r;

	r = real_host(sys, &host);
	if (!r)
		r = sys_host_check(&host, size, 12, &shortage);
	if (!r)
		r = memfd_file(name, size, clients, &fd);
	if (r)
		return r;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -errno;

	*ret_fd = TAKE_FD(fd);
	*ret_memory = memory;
	return 0;
}

static void real_file_unmap(struct sys *sys, void *memory, uint64_t size)
{
	munmap(memory, size);
}

static int real_file_grow(struct sys *sys, int fd, uint64_t size, uint64_t span,
			  void **ret_memory)
{
	struct sys_shortage shortage;
	struct sys_host host;
	uint64_t had;
	void *memory;
	int r;

	r = memfd_blocks(fd, &had);
	if (!r)
		r = real_host(sys, &host);
	if (!r && size > had)
		r = sys_host_check(&host, size - had, 12, &shortage);
	if (!r)
		r = memfd_grow(fd, size);
	if (r || !span)
		return r;
	memory = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -errno;

	*ret_memory = memory;
	return 0;
}

/* ---- files that were left ---- */

static int real_window_adopt(struct sys *sys, int fd, uint64_t size, uint32_t page_shift)
{
	int r = memfd_check_window(fd, size, page_shift);

	if (!r && page_shift < HOST_HUGE_SHIFT)
		r = locked_file_add(&real(sys)->locked, fd, size);
	return r;
}

static int real_words_adopt(struct sys *sys, int fd, uint32_t n_slices)
{
	(void)sys;
	return words_check(fd, n_slices);
}

static int map_left(int fd, uint64_t size, void **ret)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	*ret = memory;
	return 0;
}

static int real_file_adopt(struct sys *sys, int fd, enum sys_access clients, uint64_t span,
			   uint64_t *ret_size, void **ret_memory)
{
	int r = memfd_check_file(fd, clients, ret_size);

	(void)sys;
	if (!r && !*ret_size)
		r = -EBADFD;
	return r ? r : map_left(fd, span ? span : *ret_size, ret_memory);
}

static int real_ledger_create(struct sys *sys, uint64_t size, int *ret_fd, void **ret_memory)
{
	_cleanup_(closep) int fd = -1;
	int r;

	(void)sys;
	r = memfd_window("varbos-ledger", size, 12, &fd);
	if (!r)
		r = map_left(fd, size, ret_memory);
	if (r)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int real_ledger_adopt(struct sys *sys, int fd, uint64_t *ret_size, void **ret_memory)
{
	int r = memfd_check_file(fd, SYS_READ_WRITE, ret_size);

	(void)sys;
	if (!r && *ret_size < 4096)
		r = -EBADFD;
	return r ? r : map_left(fd, *ret_size, ret_memory);
}

static int real_data_end(struct sys *sys, int fd, uint64_t from, uint64_t to, uint64_t *ret)
{
	(void)sys;
	return memfd_data_end(fd, from, to, ret);
}

static int real_data_map(struct sys *sys, int fd, uint64_t size, void **ret_memory)
{
	(void)sys;
	return memfd_map_data(fd, size, ret_memory);
}

static int real_blocks(struct sys *sys, int fd, uint64_t *ret)
{
	return memfd_blocks(fd, ret);
}

static int real_reopen(struct sys *sys, int fd, enum sys_access access, int *ret_fd)
{
	return memfd_reopen(fd, access, ret_fd);
}

static int real_nodes(struct sys *sys, struct sys_nodes *ret)
{
	int r = nodes_read("", ret);

	if (r)
		return r;
	for (uint32_t i = 0; i < TOPOLOGY_NODES_MAX; i++)
		ret->node[i].misplaced =
			atomic_load_explicit(&real(sys)->misplaced[i], memory_order_relaxed);
	if (ret->topology.memory & (ret->topology.memory - 1))
		ret->refused = mempolicy_possible();
	return 0;
}

static int real_reserve(struct sys *sys, uint32_t page_shift, uint64_t bytes)
{
	return reserve_quota(&real(sys)->reserve, "", page_shift, bytes);
}

static int real_reserve_file(struct sys *sys, uint32_t page_shift)
{
	return reserve_file(&real(sys)->reserve, page_shift);
}

static int real_reserve_adopt(struct sys *sys, uint32_t page_shift, int fd, uint64_t bytes,
			      uint64_t taken)
{
	return reserve_adopt(&real(sys)->reserve, page_shift, fd, bytes, taken);
}

static int real_relock(struct sys *sys, int fd, uint64_t offset, uint64_t size)
{
	return locked_add(&real(sys)->locked, fd, offset, size);
}

static int real_lock(struct sys *sys, uint64_t bytes, uint64_t *ret_limit)
{
	return locked_start(&real(sys)->locked, bytes, ret_limit);
}

static int real_collapse(struct sys *sys)
{
	int r;

	r = thp_possible();
	if (!r)
		real(sys)->collapses = true;
	return r;
}

static int real_peer(struct sys *sys, int socket, uint32_t *ret_uid, uint32_t *ret_gid,
		     uint32_t *ret_pid, int *ret_pidfd, uint64_t *ret_birth)
{
	struct peer peer;
	int r;

	r = peer_read(socket, PEER_BY_ALL, &peer);
	if (r)
		return r;
	*ret_uid = peer.uid;
	*ret_gid = peer.gid;
	*ret_pid = peer.pid;
	*ret_pidfd = peer.pidfd;
	*ret_birth = peer.birth;
	return 0;
}

static int real_process(struct sys *sys, uint32_t pid, uint64_t birth, int *ret_pidfd)
{
	(void)sys;
	return peer_find(pid, birth, PEER_BY_ALL, ret_pidfd);
}

static uint32_t real_wake(struct sys *sys, const _Atomic uint32_t *word, uint32_t most)
{
	(void)sys;
	return wake_some(word, most);
}

static uint64_t real_now_ns(struct sys *sys)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t real_spent_ns(struct sys *sys)
{
	struct timespec spent;

	(void)sys;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
	return (uint64_t)spent.tv_sec * 1000000000 + (uint64_t)spent.tv_nsec;
}

static uint64_t real_machine_ns(struct sys *sys)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int real_barrier(struct sys *sys)
{
	(void)sys;
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) < 0 ? -errno : 0;
}

static const struct sys_table table = {
	.window_create = real_window_create,
	.window_destroy = real_window_destroy,
	.words_create = real_words_create,
	.words_destroy = real_words_destroy,
	.words_sweep = real_words_sweep,
	.orphan_locks = real_orphan_locks,
	.words_read = real_words_read,
	.file_create = real_file_create,
	.file_unmap = real_file_unmap,
	.file_grow = real_file_grow,
	.window_adopt = real_window_adopt,
	.words_adopt = real_words_adopt,
	.file_adopt = real_file_adopt,
	.ledger_create = real_ledger_create,
	.ledger_adopt = real_ledger_adopt,
	.data_end = real_data_end,
	.data_map = real_data_map,
	.commit = real_commit,
	.punch = real_punch,
	.scrub = real_scrub,
	.zero = real_zero,
	.blocks = real_blocks,
	.reopen = real_reopen,
	.host = real_host,
	.nodes = real_nodes,
	.reserve = real_reserve,
	.reserve_file = real_reserve_file,
	.reserve_adopt = real_reserve_adopt,
	.lock = real_lock,
	.relock = real_relock,
	.collapse = real_collapse,
	.peer = real_peer,
	.process = real_process,
	.wake = real_wake,
	.now_ns = real_now_ns,
	.spent_ns = real_spent_ns,
	.machine_ns = real_machine_ns,
	.barrier = real_barrier,
};

int sys_real_new(struct sys **ret)
{
	struct sys_real *self;

	self = calloc(1, sizeof(*self));
	if (!self)
		return -ENOMEM;
	self->sys.table = &table;
	reserve_init(&self->reserve);
	locked_init(&self->locked);

	*ret = &self->sys;
	return 0;
}

void sys_real_free(struct sys *sys)
{
	if (!sys)
		return;
	reserve_deinit(&real(sys)->reserve);
	locked_deinit(&real(sys)->locked);
	free(real(sys));
}
