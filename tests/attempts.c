#include "tests/attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum { FDS_TRIED = 64 };

const char *const file_attempt_texts[FILE_ATTEMPTS] = {
#define FILE_ATTEMPT(name, text) [ATTEMPT_##name] = text,
#include "tests/attempts.def"
};

const char *const process_attempt_texts[PROCESS_ATTEMPTS] = {
#define PROCESS_ATTEMPT(name, text) [ATTEMPT_PROCESS_##name] = text,
#include "tests/attempts.def"
};

int attempts_prepare(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int said(long result)
{
	return result < 0 ? errno : 0;
}

/* ---- on a file ---- */

/* As writable as it can be had; NULL: not even to read. */
static void *map(const struct attempt_target *target)
{
	void *at = mmap(NULL, target->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			target->fd, (off_t)target->offset);

	if (at == MAP_FAILED)
		at = mmap(NULL, target->size, PROT_READ, MAP_SHARED | MAP_NORESERVE, target->fd,
			  (off_t)target->offset);
	return at == MAP_FAILED ? NULL : at;
}

static int try_pwrite(const struct attempt_target *target)
{
	return said(pwrite(target->fd, "!", 1, (off_t)target->offset));
}

static int try_map_writable(const struct attempt_target *target)
{
	void *at = mmap(NULL, target->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			target->fd, (off_t)target->offset);

	if (at == MAP_FAILED)
		return errno;
	munmap(at, target->size);
	return 0;
}

static int try_mprotect(const struct attempt_target *target)
{
	void *at = mmap(NULL, target->size, PROT_READ, MAP_SHARED | MAP_NORESERVE, target->fd,
			(off_t)target->offset);
	int r;

	if (at == MAP_FAILED)
		return errno;
	r = said(mprotect(at, target->size, PROT_READ | PROT_WRITE));
	munmap(at, target->size);
	return r;
}

/* What writes through a mapping, by way of the kernel: no fault can end the process. */
static int through_mapping(const struct attempt_target *target, int (*write_at)(void *at))
{
	void *at = map(target);
	int r;

	if (!at)
		return errno;
	r = write_at(at);
	munmap(at, target->size);
	return r;
}

static int read_into(void *at)
{
	_cleanup_(closep) int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	return said(read(zero, at, 1));
}

static int try_read_into(const struct attempt_target *target)
{
	return through_mapping(target, read_into);
}

static int proc_mem(void *at)
{
	_cleanup_(closep) int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	return mem < 0 ? errno : said(pwrite(mem, "!", 1, (off_t)(uintptr_t)at));
}

static int try_proc_mem(const struct attempt_target *target)
{
	return through_mapping(target, proc_mem);
}

static int vm_writev(void *at)
{
	struct iovec here = {(char[]){'!'}, 1}, there = {at, 1};

	return said(process_vm_writev(getpid(), &here, 1, &there, 1, 0));
}

static int try_process_vm_writev(const struct attempt_target *target)
{
	return through_mapping(target, vm_writev);
}

/* A child with the same mapping, stopped. 0: there is none. */
static pid_t stopped_child(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) || ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(1);
		raise(SIGSTOP);
		_exit(0);
	}
	if (pid < 0)
		return 0;
	if (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
		return pid;
	return 0;
}

static int poke(void *at)
{
	pid_t pid = stopped_child();
	int r;

	if (!pid)
		return ECHILD;
	r = said(ptrace(PTRACE_POKEDATA, pid, at, (void *)(uintptr_t)0x2121212121212121));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

static int try_poke(const struct attempt_target *target)
{
	return through_mapping(target, poke);
}

static int advise(const struct attempt_target *target, int advice)
{
	void *at = map(target);
	int r;

	if (!at)
		return errno;
	r = said(madvise(at, target->size, advice));
	munmap(at, target->size);
	return r;
}

static int try_populate(const struct attempt_target *target)
{
	return advise(target, MADV_POPULATE_WRITE);
}

static int try_remove(const struct attempt_target *target)
{
	return advise(target, MADV_REMOVE);
}

static int try_punch(const struct attempt_target *target)
{
	return said(fallocate(target->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)target->offset, (off_t)target->size));
}

static int reopen(const struct attempt_target *target, int flags)
{
	_cleanup_(closep) int fd = -1;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", target->fd);
	fd = open(path, flags | O_CLOEXEC);
	return said(fd);
}

static int try_reopen_write(const struct attempt_target *target)
{
	return reopen(target, O_RDWR);
}

static int try_reopen_read(const struct attempt_target *target)
{
	return reopen(target, O_RDONLY);
}

static off_t size_of(const struct attempt_target *target)
{
	struct stat st;

	return fstat(target->fd, &st) ? 0 : st.st_size;
}

static int try_allocate(const struct attempt_target *target)
{
	return said(fallocate(target->fd, 0, size_of(target), (off_t)target->size));
}

static int try_grow(const struct attempt_target *target)
{
	return said(ftruncate(target->fd, size_of(target) + (off_t)target->size));
}

static int try_shrink(const struct attempt_target *target)
{
	return said(ftruncate(target->fd, 0));
}

static int try_fchmod(const struct attempt_target *target)
{
	return said(fchmod(target->fd, 0666));
}

static int try_fchown(const struct attempt_target *target)
{
	return said(fchown(target->fd, geteuid(), getegid()));
}

static int try_futimens(const struct attempt_target *target)
{
	return said(futimens(target->fd, (struct timespec[2]){{.tv_sec = 1}, {.tv_sec = 1}}));
}

static int try_seal(const struct attempt_target *target)
{
	return said(fcntl(target->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
}

int attempt_on_file(enum file_attempt attempt, const struct attempt_target *target)
{
	static int (*const tries[FILE_ATTEMPTS])(const struct attempt_target *) = {
#define FILE_ATTEMPT(name, text) [ATTEMPT_##name] = try_##name,
#include "tests/attempts.def"
	};

	return tries[attempt](target);
}

/* ---- on a process ---- */

static int open_of(pid_t pid, const char *name, int flags)
{
	_cleanup_(closep) int fd = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, flags | O_CLOEXEC);
	return said(fd);
}

static int try_process_mem_read(pid_t pid)
{
	return open_of(pid, "mem", O_RDONLY);
}

static int try_process_mem_write(pid_t pid)
{
	return open_of(pid, "mem", O_RDWR);
}

static int try_process_maps(pid_t pid)
{
	return open_of(pid, "maps", O_RDONLY);
}

static int try_process_environ(pid_t pid)
{
	return open_of(pid, "environ", O_RDONLY);
}

static int try_process_fds(pid_t pid)
{
	return open_of(pid, "fd", O_RDONLY | O_DIRECTORY);
}

static int try_process_map_files(pid_t pid)
{
	return open_of(pid, "map_files", O_RDONLY | O_DIRECTORY);
}

/* The first that succeeds, or what was said to the first. */
static int try_process_fd(pid_t pid)
{
	int first = 0;

	for (int fd = 0; fd < FDS_TRIED; fd++) {
		char name[32];
		int r;

		snprintf(name, sizeof(name), "fd/%d", fd);
		r = open_of(pid, name, O_RDONLY);
		if (!r)
			return 0;
		first = first ? first : r;
	}
	return first;
}

static int try_process_getfd(pid_t pid)
{
	_cleanup_(closep) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int first = 0;

	if (pidfd < 0)
		return errno;
	for (int fd = 0; fd < FDS_TRIED; fd++) {
		_cleanup_(closep) int got = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

		if (got >= 0)
			return 0;
		first = first ? first : errno;
	}
	return first;
}

static int try_process_seize(pid_t pid)
{
	return said(ptrace(PTRACE_SEIZE, pid, 0, 0));
}

static int try_process_attach(pid_t pid)
{
	return said(ptrace(PTRACE_ATTACH, pid, 0, 0));
}

/* An address that a forked child has, too; of others it does not come to that. */
static int vm(pid_t pid, ssize_t (*move)(pid_t, const struct iovec *, unsigned long,
					 const struct iovec *, unsigned long, unsigned long))
{
	static char there[1];
	struct iovec here = {(char[]){'!'}, 1}, other = {there, 1};

	return said(move(pid, &here, 1, &other, 1, 0));
}

static int try_process_vm_read(pid_t pid)
{
	return vm(pid, process_vm_readv);
}

static int try_process_vm_write(pid_t pid)
{
	return vm(pid, process_vm_writev);
}

static int try_process_signal(pid_t pid)
{
	return said(kill(pid, 0));
}

static int try_process_limit(pid_t pid)
{
	struct rlimit limit;

	return said(prlimit(pid, RLIMIT_CORE, NULL, &limit));
}

int attempt_on_process(enum process_attempt attempt, pid_t pid)
{
	static int (*const tries[PROCESS_ATTEMPTS])(pid_t pid) = {
#define PROCESS_ATTEMPT(name, text) [ATTEMPT_PROCESS_##name] = try_process_##name,
#include "tests/attempts.def"
	};

	return tries[attempt](pid);
}

/* ---- and where it may be done ---- */

static int control_file(enum file_attempt attempt)
{
	const size_t size = (size_t)sysconf(_SC_PAGESIZE);
	_cleanup_(closep) int fd = memfd_create("control", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)size))
		return errno;
	return attempt_on_file(attempt, &(struct attempt_target){.fd = fd, .size = size});
}

static int control_process(enum process_attempt attempt)
{
	pid_t pid = fork();
	int r;

	if (pid < 0)
		return errno;
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	r = attempt_on_process(attempt, pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

const char *attempts_control(void)
{
	static char text[160];

	for (enum file_attempt i = 0; i < FILE_ATTEMPTS; i++) {
		int r = control_file(i);

		if (!r)
			continue;
		snprintf(text, sizeof(text), "%s, of a file of one's own: %s",
			 file_attempt_texts[i], strerror(r));
		return text;
	}
	for (enum process_attempt i = 0; i < PROCESS_ATTEMPTS; i++) {
		int r = control_process(i);

		if (!r)
			continue;
		snprintf(text, sizeof(text), "%s, of a child of one's own: %s",
			 process_attempt_texts[i], strerror(r));
		return text;
	}
	return NULL;
}
