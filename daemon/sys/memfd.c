#include "daemon/sys/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/base.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* Others there may be: what no one may execute is sealed so (6.3). */
#define SEALS_OURS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* Kernels from 6.3 on want to be told that no one will execute it; older ones refuse the flag. */
static int memfd_new(const char *name, unsigned flags, int *ret_fd)
{
	_cleanup_(closep) int fd = -1;

	flags |= MFD_CLOEXEC | MFD_ALLOW_SEALING;
	fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, flags);
	if (fd < 0)
		return -errno;
	if (!mutant(sys_mode_wide) && fchmod(fd, 0600) < 0)
		return -errno;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

static unsigned page_flags(uint32_t page_shift)
{
	return page_shift == 12 ? 0 : MFD_HUGETLB | page_shift << MFD_HUGE_SHIFT;
}

static int seal(int fd, int seals)
{
	if (mutant(sys_unsealed))
		return 0;
	return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int memfd_window(const char *name, uint64_t size, uint32_t page_shift, int *ret_fd)
{
	_cleanup_(closep) int fd = -1;
	int r;

	r = memfd_new(name, page_flags(page_shift), &fd);
	if (r)
		return r;
	if (ftruncate(fd, (off_t)size) < 0)
		return -errno;
	r = seal(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	if (r)
		return r;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

int memfd_grow(int fd, uint64_t size)
{
	while (fallocate(fd, 0, 0, (off_t)size) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int memfd_map_data(int fd, uint64_t size, void **ret)
{
	void *memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	madvise(memory, size, MADV_DONTDUMP);
	*ret = memory;
	return 0;
}

int memfd_file(const char *name, uint64_t size, enum sys_access clients, int *ret_fd)
{
	_cleanup_(closep) int fd = -1;
	int r;

	r = memfd_new(name, 0, &fd);
	if (!r)
		r = memfd_grow(fd, size);
	if (r)
		return r;
	r = seal(fd, clients == SYS_READ ? F_SEAL_SHRINK
					 : F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	if (r)
		return r;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Of whatever size: ours, as we made it, with these seals. */
static int check(int fd, uint32_t page_shift, int seals, uint64_t *ret_size)
{
	struct statfs fs;
	struct stat st;
	int has, flags;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	has = fcntl(fd, F_GET_SEALS);
	flags = fcntl(fd, F_GETFL);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 07777) != 0600 ||
	    flags < 0 || (flags & O_ACCMODE) != O_RDWR ||
	    (page_shift == 12 ? fs.f_type != TMPFS_MAGIC
			      : fs.f_type != HUGETLBFS_MAGIC ||
					(uint64_t)fs.f_bsize != (uint64_t)1 << page_shift))
		return -EBADFD;
	if ((has < 0 || (has & SEALS_OURS) != seals) && !mutant(adopted_unsealed))
		return -EBADFD;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

int memfd_check_window(int fd, uint64_t size, uint32_t page_shift)
{
	uint64_t has;
	int r = check(fd, page_shift, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, &has);

	if (r)
		return r;
	return has == size ? 0 : -EBADFD;
}

int memfd_check_file(int fd, enum sys_access clients, uint64_t *ret_size)
{
	return check(fd, 12,
		     clients == SYS_READ ? F_SEAL_SHRINK
					 : F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
		     ret_size);
}

int memfd_check_reserve(int fd, uint32_t page_shift, uint64_t *ret_size)
{
	return check(fd, page_shift, 0, ret_size);
}

int memfd_data_end(int fd, uint64_t from, uint64_t to, uint64_t *ret)
{
	uint64_t end = from;
	off_t at = (off_t)from;

	while ((uint64_t)at < to) {
		at = lseek(fd, at, SEEK_DATA);
		if (at < 0 && errno == ENXIO)
			break;
		if (at >= 0 && (uint64_t)at < to)
			at = lseek(fd, at, SEEK_HOLE);
		else if (at >= 0)
			break;
		if (at < 0)
			return -errno;
		end = u64_min((uint64_t)at, to);
	}
	*ret = end;
	return 0;
}

int memfd_reserve(uint32_t page_shift, int *ret_fd)
{
	return memfd_new("varbos-reserve", page_flags(page_shift), ret_fd);
}

int memfd_reopen(int fd, enum sys_access access, int *ret_fd)
{
	char path[32];
	int copy;

	if (mutant(sys_reopen_dup))
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	else {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		copy = open(path, (access == SYS_READ ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	}
	if (copy < 0)
		return -errno;
	*ret_fd = copy;
	return 0;
}

int memfd_blocks(int fd, uint64_t *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (uint64_t)st.st_blocks * 512;
	return 0;
}
