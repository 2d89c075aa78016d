#include "tests/fake_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "base/base.h"
#include "daemon/sys/commit.h"
#include "daemon/sys/memfd.h"
#include "daemon/sys/orphan.h"
#include "daemon/sys/peer.h"
#include "daemon/sys/wake.h"
#include "daemon/sys/zero.h"

/* What there is of a page of 1 GiB: what a test writes it writes near its start. */
enum { GIANT_IN_FAKE = 2 << 20 };

static struct fake_sys *fake_of(struct sys *sys)
{
	return container_of(sys, struct fake_sys, sys);
}

/* Count the call; the error that a test wants from it, negative, or 0. Holds the lock after. */
static int enter(struct fake_sys *fake, enum fake_call call)
{
	pthread_mutex_lock(&fake->lock);
	fake->calls[call]++;
	return fake->fail[call].nth && fake->fail[call].nth == fake->calls[call]
		       ? -fake->fail[call].error
		       : 0;
}

static int leave(struct fake_sys *fake, int r)
{
	pthread_mutex_unlock(&fake->lock);
	return r;
}

static int fake_window_create(struct sys *sys, const char *name, uint64_t size,
			      uint32_t page_shift, int *ret_fd)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_WINDOW_CREATE);
	if (!r)
		r = memfd_window(name, size, 12, ret_fd);
	if (!r)
		fake->windows++;
	return leave(fake, r);
}

static uint64_t *pool(struct fake_sys *fake, uint32_t page_shift)
{
	return page_shift > 12 ? sys_host_pool(&fake->host, page_shift) : &fake->host.cap;
}

static void give_back(struct fake_sys *fake, uint32_t page_shift, uint64_t bytes)
{
	*pool(fake, page_shift) += bytes;
	if (page_shift == 12)
		fake->host.available += bytes;
	fake->window_bytes -= bytes;
}

static void fake_window_destroy(struct sys *sys, int fd, uint32_t page_shift)
{
	struct fake_sys *fake = fake_of(sys);
	uint64_t bytes;

	enter(fake, FAKE_WINDOW_DESTROY);
	if (!memfd_blocks(fd, &bytes)) {
		if (page_shift == 30)
			bytes = bytes / GIANT_IN_FAKE << 30;
		give_back(fake, page_shift, u64_min(bytes, fake->window_bytes));
	}
	close(fd);
	fake->windows--;
	leave(fake, 0);
}

static int fake_words_create(struct sys *sys, const char *name, uint32_t n_slices, int *ret_fd)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_WORDS_CREATE);
	if (!r)
		r = words_create(name, n_slices, ret_fd);
	if (!r)
		fake->words++;
	return leave(fake, r);
}

static void fake_words_destroy(struct sys *sys, int fd)
{
	struct fake_sys *fake = fake_of(sys);

	enter(fake, FAKE_WORDS_DESTROY);
	words_destroy(fd);
	fake->words--;
	leave(fake, 0);
}

static int fake_words_sweep(struct sys *sys, int fd, uint32_t n_slices,
			    const struct words_run *run, const struct block_ids *dead,
			    struct words_found *ret)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_WORDS_SWEEP);
	return leave(fake, r ? r : words_sweep(fd, n_slices, run, dead, ret));
}

/* Pages of any size are small ones here. */
static int fake_orphan_locks(struct sys *sys, int fd, uint32_t page_shift, uint64_t position,
			     const struct block_ids *dead)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_ORPHAN_LOCKS);
	return leave(fake, r ? r : orphan_locks(fd, 12, position, dead));
}

static int fake_words_read(struct sys *sys, int fd, uint64_t offset, uint32_t *ret)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_WORDS_READ);
	return leave(fake, r ? r : words_read(fd, offset, ret));
}

static int fake_file_create(struct sys *sys, const char *name, uint64_t size,
			    enum sys_access clients, int *ret_fd, void **ret_memory)
{
	struct fake_sys *fake = fake_of(sys);
	_cleanup_(closep) int fd = -1;
	void *memory;
	int r;

	r = enter(fake, FAKE_FILE_CREATE);
	if (!r)
		r = memfd_file(name, size, clients, &fd);
	if (r)
		return leave(fake, r);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return leave(fake, -errno);

	fake->files++;
	*ret_fd = TAKE_FD(fd);
	*ret_memory = memory;
	return leave(fake, 0);
}

static void fake_file_unmap(struct sys *sys, void *memory, uint64_t size)
{
	struct fake_sys *fake = fake_of(sys);

	enter(fake, FAKE_FILE_UNMAP);
	munmap(memory, size);
	fake->files--;
	leave(fake, 0);
}

static int fake_file_grow(struct sys *sys, int fd, uint64_t size, uint64_t span,
			  void **ret_memory)
{
	struct fake_sys *fake = fake_of(sys);
	void *memory;
	int r;

	r = enter(fake, FAKE_FILE_GROW);
	if (!r)
		r = memfd_grow(fd, size);
	if (r || !span)
		return leave(fake, r);
	memory = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return leave(fake, -errno);
	fake->files++;
	*ret_memory = memory;
	return leave(fake, 0);
}

static int fake_window_adopt(struct sys *sys, int fd, uint64_t size, uint32_t page_shift)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	(void)page_shift; /* plain memfds */
	r = enter(fake, FAKE_WINDOW_ADOPT);
	if (!r)
		r = memfd_check_window(fd, size, 12);
	fake->windows += !r;
	return leave(fake, r);
}

static int fake_words_adopt(struct sys *sys, int fd, uint32_t n_slices)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_WORDS_ADOPT);
	if (!r)
		r = words_check(fd, n_slices);
	fake->words += !r;
	return leave(fake, r);
}

static int map_left(int fd, uint64_t size, void **ret)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	*ret = memory;
	return 0;
}

static int fake_file_adopt(struct sys *sys, int fd, enum sys_access clients, uint64_t span,
			   uint64_t *ret_size, void **ret_memory)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_FILE_ADOPT);
	if (!r)
		r = memfd_check_file(fd, clients, ret_size);
	if (!r)
		r = map_left(fd, span ? span : *ret_size, ret_memory);
	fake->files += !r;
	return leave(fake, r);
}

static int fake_ledger_create(struct sys *sys, uint64_t size, int *ret_fd, void **ret_memory)
{
	struct fake_sys *fake = fake_of(sys);
	_cleanup_(closep) int fd = -1;
	int r;

	r = enter(fake, FAKE_LEDGER_CREATE);
	if (!r)
		r = memfd_window("varbos-ledger", size, 12, &fd);
	if (!r)
		r = map_left(fd, size, ret_memory);
	if (r)
		return leave(fake, r);
	fake->files++;
	*ret_fd = TAKE_FD(fd);
	return leave(fake, 0);
}

static int fake_ledger_adopt(struct sys *sys, int fd, uint64_t *ret_size, void **ret_memory)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_LEDGER_ADOPT);
	if (!r)
		r = memfd_check_file(fd, SYS_READ_WRITE, ret_size);
	if (!r)
		r = map_left(fd, *ret_size, ret_memory);
	fake->files += !r;
	return leave(fake, r);
}

static int fake_data_end(struct sys *sys, int fd, uint64_t from, uint64_t to, uint64_t *ret)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_DATA_END);
	return leave(fake, r ? r : memfd_data_end(fd, from, to, ret));
}

static int fake_data_map(struct sys *sys, int fd, uint64_t size, void **ret_memory)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_DATA_MAP);
	if (!r)
		r = memfd_map_data(fd, size, ret_memory);
	fake->files += !r;
	return leave(fake, r);
}

static int source_ask(void *userdata, struct sys_host *ret)
{
	*ret = ((struct fake_sys *)userdata)->host;
	return 0;
}

static void source_take(void *userdata, uint32_t page_shift, uint64_t bytes)
{
	struct fake_sys *fake = userdata;

	*pool(fake, page_shift) -= bytes;
	if (page_shift == 12)
		fake->host.available -= bytes;
	fake->window_bytes += bytes;
}

static void source_give(void *userdata, uint32_t page_shift, uint64_t bytes)
{
	give_back(userdata, page_shift, bytes);
}

static int source_ask_node(void *userdata, uint32_t node, struct sys_node *ret)
{
	*ret = ((struct fake_sys *)userdata)->nodes.node[node];
	return 0;
}

static int source_bind(void *userdata, uint32_t node, struct mempolicy *ret)
{
	return 0;
}

static int source_restore(void *userdata, const struct mempolicy *before)
{
	return 0;
}

/* Every page comes from where it was asked for, until a test has some come from elsewhere. */
static int source_count(void *userdata, int fd, uint32_t page_shift, uint64_t offset,
			uint64_t size, uint32_t node, uint64_t *ret_here,
			uint64_t *ret_elsewhere)
{
	struct fake_sys *fake = userdata;

	*ret_elsewhere = u64_min(fake->elsewhere, size);
	*ret_here = size - *ret_elsewhere;
	fake->elsewhere = 0;
	return 0;
}

/* Pages of 1 GiB: what is counted is the whole, what is there is the beginning of each. */
static int commit_giant(struct fake_sys *fake, int fd, uint32_t node, uint64_t offset,
			uint64_t size, struct sys_shortage *ret)
{
	int r = sys_host_check(&fake->host, size, 30, ret);

	if (!r && node != SYS_NODE_ANY) {
		r = sys_node_check(&fake->nodes.node[node], size, 30, ret);
		if (r)
			ret->node = node;
	}
	for (uint64_t done = 0; !r && done < size; done += (uint64_t)1 << 30)
		r = -posix_fallocate(fd, (off_t)(offset + done), GIANT_IN_FAKE);
	if (!r)
		source_take(fake, 30, size);
	return r;
}

static int fake_commit(struct sys *sys, int fd, uint32_t page_shift, uint32_t node,
		       uint64_t offset, uint64_t size, struct sys_shortage *ret)
{
	struct fake_sys *fake = fake_of(sys);
	const struct commit_source source = {
		.userdata = fake,
		.ask = source_ask,
		.take = source_take,
		.give = source_give,
		.ask_node = source_ask_node,
		.bind = source_bind,
		.restore = source_restore,
		.count = source_count,
	};
	int r;

	r = enter(fake, FAKE_COMMIT);
	if (r == -ENOMEM || r == -ENOSPC)
		*ret = (struct sys_shortage){.asked = size,
					     .available = fake->host.available,
					     .cap = *pool(fake, page_shift)};
	else if (!r && page_shift == 30)
		r = commit_giant(fake, fd, node, offset, size, ret);
	else if (!r)
		r = commit_pages(&source, fd, page_shift, node, offset, size, ret);
	if (!r && node != SYS_NODE_ANY)
		fake->committed_on[node] += size;
	return leave(fake, r);
}

static int fake_punch(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		      uint64_t size)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_PUNCH);
	if (!r)
		r = punch_pages(fd, offset, size);
	if (!r)
		give_back(fake, page_shift, u64_min(size, fake->window_bytes));
	return leave(fake, r);
}

static int fake_scrub(struct sys *sys, int fd, uint64_t offset, uint64_t size)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_SCRUB);
	return leave(fake, r ? r : punch_pages(fd, offset, size));
}

static int fake_zero(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		     uint64_t size)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	(void)page_shift; /* plain memfds */
	r = enter(fake, FAKE_ZERO);
	return leave(fake, r ? r : zero_range(fd, 12, offset, size));
}

static int fake_blocks(struct sys *sys, int fd, uint64_t *ret)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_BLOCKS);
	return leave(fake, r ? r : memfd_blocks(fd, ret));
}

static int fake_reopen(struct sys *sys, int fd, enum sys_access access, int *ret_fd)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_REOPEN);
	return leave(fake, r ? r : memfd_reopen(fd, access, ret_fd));
}

static int fake_host(struct sys *sys, struct sys_host *ret)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_HOST);
	if (!r)
		*ret = fake->host;
	return leave(fake, r);
}

static int fake_nodes(struct sys *sys, struct sys_nodes *ret)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_NODES);
	if (!r)
		*ret = fake->nodes;
	return leave(fake, r);
}

static int *reserve_fd(struct fake_sys *fake, uint32_t page_shift)
{
	return page_shift == 30 ? &fake->giant_fd : &fake->reserve_fd;
}

/* An empty file: what is held is counted. */
static int make_reserve(struct fake_sys *fake, uint32_t page_shift)
{
	int *fd = reserve_fd(fake, page_shift);

	return *fd < 0 ? memfd_reserve(12, fd) : 0;
}

static int fake_reserve(struct sys *sys, uint32_t page_shift, uint64_t bytes)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_RESERVE);
	if (!r && bytes > *pool(fake, page_shift) + fake->window_bytes)
		r = -ENOMEM;
	if (!r && bytes)
		r = make_reserve(fake, page_shift);
	if (!r)
		*(page_shift == 30 ? &fake->reserved_giant : &fake->reserved) = bytes;
	return leave(fake, r);
}

static int fake_reserve_file(struct sys *sys, uint32_t page_shift)
{
	return *reserve_fd(fake_of(sys), page_shift);
}

static int fake_reserve_adopt(struct sys *sys, uint32_t page_shift, int fd, uint64_t bytes,
			      uint64_t taken)
{
	struct fake_sys *fake = fake_of(sys);
	uint64_t size;
	int r;

	(void)taken;
	r = enter(fake, FAKE_RESERVE_ADOPT);
	if (!r && fd >= 0)
		r = memfd_check_reserve(fd, 12, &size);
	if (!r && fd >= 0) {
		closep(reserve_fd(fake, page_shift));
		*reserve_fd(fake, page_shift) = TAKE_FD(fd);
	}
	closep(&fd);
	if (!r)
		r = make_reserve(fake, page_shift);
	if (!r)
		*(page_shift == 30 ? &fake->reserved_giant : &fake->reserved) = bytes;
	return leave(fake, r);
}

static int fake_relock(struct sys *sys, int fd, uint64_t offset, uint64_t size)
{
	struct fake_sys *fake = fake_of(sys);

	(void)fd;
	(void)offset;
	(void)size;
	return leave(fake, enter(fake, FAKE_RELOCK));
}

static int fake_lock(struct sys *sys, uint64_t bytes, uint64_t *ret_limit)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_LOCK);
	*ret_limit = fake->lock_limit;
	if (!r && bytes > fake->lock_limit)
		r = -ENOMEM;
	if (!r)
		fake->locked = bytes;
	return leave(fake, r);
}

static int fake_collapse(struct sys *sys)
{
	struct fake_sys *fake = fake_of(sys);

	return leave(fake, enter(fake, FAKE_COLLAPSE));
}

static int fake_peer(struct sys *sys, int socket, uint32_t *ret_uid, uint32_t *ret_gid,
		     uint32_t *ret_pid, int *ret_pidfd, uint64_t *ret_birth)
{
	struct fake_sys *fake = fake_of(sys);
	struct peer peer;
	int r;

	r = enter(fake, FAKE_PEER);
	if (!r)
		r = peer_read(socket, PEER_BY_ALL, &peer);
	if (!r) {
		*ret_uid = fake->uid == UINT32_MAX ? peer.uid : fake->uid;
		*ret_gid = peer.gid;
		*ret_pid = peer.pid;
		*ret_pidfd = peer.pidfd;
		*ret_birth = peer.birth;
	}
	return leave(fake, r);
}

static int fake_process(struct sys *sys, uint32_t pid, uint64_t birth, int *ret_pidfd)
{
	struct fake_sys *fake = fake_of(sys);
	int r;

	r = enter(fake, FAKE_PROCESS);
	return leave(fake, r ? r : peer_find(pid, birth, PEER_BY_ALL, ret_pidfd));
}

static uint32_t fake_wake(struct sys *sys, const _Atomic uint32_t *word, uint32_t most)
{
	struct fake_sys *fake = fake_of(sys);
	uint32_t n;

	enter(fake, FAKE_WAKE);
	n = wake_some(word, most);
	leave(fake, 0);
	return n;
}

static uint64_t fake_now_ns(struct sys *sys)
{
	struct fake_sys *fake = fake_of(sys);
	uint64_t now;

	pthread_mutex_lock(&fake->lock);
	now = fake->now_ns;
	pthread_mutex_unlock(&fake->lock);
	return now;
}

static uint64_t fake_machine_ns(struct sys *sys)
{
	struct fake_sys *fake = fake_of(sys);
	uint64_t now;

	pthread_mutex_lock(&fake->lock);
	now = fake->now_ns + fake->suspended_ns;
	pthread_mutex_unlock(&fake->lock);
	return now;
}

/* No other process. */
static int fake_barrier(struct sys *sys)
{
	struct fake_sys *fake = fake_of(sys);

	return leave(fake, enter(fake, FAKE_BARRIER));
}

static const struct sys_table table = {
	.window_create = fake_window_create,
	.window_destroy = fake_window_destroy,
	.words_create = fake_words_create,
	.words_destroy = fake_words_destroy,
	.words_sweep = fake_words_sweep,
	.orphan_locks = fake_orphan_locks,
	.words_read = fake_words_read,
	.file_create = fake_file_create,
	.file_unmap = fake_file_unmap,
	.file_grow = fake_file_grow,
	.window_adopt = fake_window_adopt,
	.words_adopt = fake_words_adopt,
	.file_adopt = fake_file_adopt,
	.ledger_create = fake_ledger_create,
	.ledger_adopt = fake_ledger_adopt,
	.data_end = fake_data_end,
	.data_map = fake_data_map,
	.commit = fake_commit,
	.punch = fake_punch,
	.scrub = fake_scrub,
	.zero = fake_zero,
	.blocks = fake_blocks,
	.reopen = fake_reopen,
	.host = fake_host,
	.nodes = fake_nodes,
	.reserve = fake_reserve,
	.reserve_file = fake_reserve_file,
	.reserve_adopt = fake_reserve_adopt,
	.lock = fake_lock,
	.relock = fake_relock,
	.collapse = fake_collapse,
	.peer = fake_peer,
	.process = fake_process,
	.wake = fake_wake,
	.now_ns = fake_now_ns,
	.spent_ns = fake_now_ns,
	.machine_ns = fake_machine_ns,
	.barrier = fake_barrier,
};

void fake_sys_init(struct fake_sys *fake, uint64_t bytes)
{
	*fake = (struct fake_sys){
		.sys.table = &table,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.host = {.total = bytes,
			 .available = bytes,
			 .cap = bytes,
			 .huge_total = bytes,
			 .huge_free = bytes,
			 .pools = (uint64_t)1 << 21 | (uint64_t)1 << 30},
		.nodes = {.topology = {.nodes = 1, .memory = 1, .cpus = 1},
			  .node = {{.total = bytes,
				    .available = bytes,
				    .huge_total = bytes,
				    .huge_free = bytes,
				    .cpus = 1}}},
		.now_ns = 1000000000,
		.uid = UINT32_MAX,
		.lock_limit = UINT64_MAX,
		.reserve_fd = -1,
		.giant_fd = -1,
	};
}

void fake_sys_again(struct fake_sys *fake)
{
	closep(&fake->reserve_fd);
	closep(&fake->giant_fd);
	fake->reserve_fd = fake->giant_fd = -1;
	fake->windows = fake->words = 0;
	fake->reserved = fake->reserved_giant = 0;
}

void fake_sys_deinit(struct fake_sys *fake)
{
	closep(&fake->reserve_fd);
	closep(&fake->giant_fd);
	pthread_mutex_destroy(&fake->lock);
}

void fake_sys_fail(struct fake_sys *fake, enum fake_call call, uint64_t nth, int error)
{
	pthread_mutex_lock(&fake->lock);
	fake->fail[call].nth = fake->calls[call] + nth;
	fake->fail[call].error = error;
	pthread_mutex_unlock(&fake->lock);
}

void fake_sys_advance(struct fake_sys *fake, uint64_t ns)
{
	pthread_mutex_lock(&fake->lock);
	fake->now_ns += ns;
	pthread_mutex_unlock(&fake->lock);
}

void fake_sys_suspend(struct fake_sys *fake, uint64_t ns)
{
	pthread_mutex_lock(&fake->lock);
	fake->suspended_ns += ns;
	pthread_mutex_unlock(&fake->lock);
}
