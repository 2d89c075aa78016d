#include "daemon/sys/locked.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

void locked_init(struct locked *locked)
{
	*locked = (struct locked){.lock = PTHREAD_MUTEX_INITIALIZER};
}

void locked_deinit(struct locked *locked)
{
	for (uint32_t fd = 0; fd < locked->n_files; fd++)
		if (locked->files[fd].memory)
			munmap(locked->files[fd].memory, locked->files[fd].size);
	free(locked->files);
	pthread_mutex_destroy(&locked->lock);
}

static uint64_t limit_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return UINT64_MAX;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_MEMLOCK, &limit))
		getrlimit(RLIMIT_MEMLOCK, &limit);
	return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

/* Locked when it is touched, which it never is: the kernel counts it, and makes no page. */
static int try(uint64_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0);
	int r;

	if (memory == MAP_FAILED)
		return -errno;
	r = mlock2(memory, bytes, MLOCK_ONFAULT) ? -errno : 0;
	munmap(memory, bytes);
	return r;
}

int locked_start(struct locked *locked, uint64_t bytes, uint64_t *ret_limit)
{
	int r;

	*ret_limit = limit_raise();
	r = try(bytes);
	if (r)
		return r;
	locked->active = true;
	/* Who has CAP_IPC_LOCK is not held to the limit. */
	locked->limit =
		*ret_limit == UINT64_MAX || !try(*ret_limit + 4096) ? UINT64_MAX : *ret_limit;
	return 0;
}

static int files_grow(struct locked *locked, uint32_t n)
{
	struct locked_file *files;

	if (n <= locked->n_files)
		return 0;
	n = (uint32_t)u64_max(n, (uint64_t)locked->n_files * 2);
	files = reallocarray(locked->files, n, sizeof(*files));
	if (!files)
		return -ENOMEM;
	for (uint32_t i = locked->n_files; i < n; i++)
		files[i] = (struct locked_file){};
	locked->files = files;
	locked->n_files = n;
	return 0;
}

int locked_file_add(struct locked *locked, int fd, uint64_t size)
{
	void *memory;
	int r;

	if (!locked->active)
		return 0;
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	madvise(memory, size, MADV_DONTDUMP);
	pthread_mutex_lock(&locked->lock);
	r = files_grow(locked, (uint32_t)fd + 1);
	if (!r)
		locked->files[fd] = (struct locked_file){memory, size};
	pthread_mutex_unlock(&locked->lock);
	if (r)
		munmap(memory, size);
	return r;
}

/* Where a range of an added file is mapped; NULL: nowhere. Descriptors outlive what uses them. */
static char *locked_at(struct locked *locked, int fd, uint64_t offset)
{
	char *memory;

	pthread_mutex_lock(&locked->lock);
	memory = (uint32_t)fd < locked->n_files ? locked->files[fd].memory : NULL;
	pthread_mutex_unlock(&locked->lock);
	return memory ? memory + offset : NULL;
}

static void count(struct locked *locked, uint64_t more, uint64_t less)
{
	pthread_mutex_lock(&locked->lock);
	locked->bytes += more;
	locked->bytes -= u64_min(less, locked->bytes);
	pthread_mutex_unlock(&locked->lock);
}

/* By their numbers: where a sanitizer is compiled in, the functions do nothing. */
int locked_add(struct locked *locked, int fd, uint64_t offset, uint64_t size)
{
	char *memory = locked_at(locked, fd, offset);

	if (!memory || mutant(sys_lock_never))
		return 0;
	if (syscall(SYS_mlock, memory, size)) {
		int r = -errno;

		syscall(SYS_munlock, memory, size);
		return r;
	}
	count(locked, size, 0);
	return 0;
}

void locked_drop(struct locked *locked, int fd, uint64_t offset, uint64_t size)
{
	char *memory = locked_at(locked, fd, offset);

	if (!memory || mutant(sys_lock_kept))
		return;
	/* It may fail for want of a mapping to split: then a hole stays locked, without pages. */
	if (!syscall(SYS_munlock, memory, size))
		count(locked, 0, size);
}

void locked_file_remove(struct locked *locked, int fd, uint64_t bytes)
{
	struct locked_file file = {};

	pthread_mutex_lock(&locked->lock);
	if ((uint32_t)fd < locked->n_files) {
		file = locked->files[fd];
		locked->files[fd] = (struct locked_file){};
	}
	pthread_mutex_unlock(&locked->lock);
	if (!file.memory)
		return;
	munmap(file.memory, file.size);
	count(locked, 0, bytes);
}

void locked_view(struct locked *locked, uint64_t *ret_bytes, uint64_t *ret_limit)
{
	pthread_mutex_lock(&locked->lock);
	*ret_bytes = locked->bytes;
	*ret_limit = locked->limit;
	pthread_mutex_unlock(&locked->lock);
}
