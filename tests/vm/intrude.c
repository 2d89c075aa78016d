/*
 * intrude PID - a client that tries to get more of the daemon than it was given.
 *
 * At the daemon's process: every way that Linux has into another one. At its own descriptors: each
 * one that came read-only, back to writing. What succeeds is named, and the exit status 1; a try
 * that found nothing to try is a failure, too.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <varbos/varbos.h>

static unsigned tried, succeeded;

static void judge(const char *what, bool success)
{
	int error = errno;

	tried++;
	succeeded += success;
	printf("%s: %s\n", what, success ? "SUCCEEDED" : strerror(error));
}

static void try_open(const char *folder, const char *name, int flags)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, flags | O_CLOEXEC);
	judge(path, fd >= 0);
	if (fd >= 0)
		close(fd);
}

static void try_process(pid_t pid)
{
	char folder[64], byte;
	struct iovec here = {&byte, 1}, there = {(void *)&byte, 1};
	int pidfd;

	snprintf(folder, sizeof(folder), "/proc/%d", (int)pid);
	try_open(folder, "mem", O_RDONLY);
	try_open(folder, "mem", O_RDWR);
	try_open(folder, "maps", O_RDONLY);
	try_open(folder, "environ", O_RDONLY);
	try_open(folder, "fd", O_RDONLY | O_DIRECTORY);
	try_open(folder, "map_files", O_RDONLY | O_DIRECTORY);
	for (unsigned fd = 0; fd < 64; fd++) {
		char name[32];

		snprintf(name, sizeof(name), "fd/%u", fd);
		try_open(folder, name, O_RDONLY);
	}
	judge("PTRACE_SEIZE", !ptrace(PTRACE_SEIZE, pid, 0, 0));
	judge("PTRACE_ATTACH", !ptrace(PTRACE_ATTACH, pid, 0, 0));
	judge("process_vm_readv", process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0);
	judge("process_vm_writev", process_vm_writev(pid, &here, 1, &there, 1, 0) >= 0);
	judge("kill", !kill(pid, 0));
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd >= 0)
		for (int fd = 0; fd < 64; fd++)
			judge("pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, fd, 0) >= 0);
}

/* Every read-only mapping of a shared file that the library made. */
static unsigned try_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned found = 0;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps)) {
		uintptr_t start, end;
		char rights[5];
		int writes;

		if (sscanf(line, "%lx-%lx %4s", &start, &end, rights) != 3 ||
		    strcmp(rights, "r--s") || !strstr(line, "memfd:"))
			continue;
		found++;
		judge("mprotect of a read-only mapping",
		      !mprotect((void *)start, end - start, PROT_READ | PROT_WRITE));
		/* /proc/self/map_files is another door to the same file. */
		snprintf(line, sizeof(line), "/proc/self/map_files/%lx-%lx", start, end);
		writes = open(line, O_RDWR | O_CLOEXEC);
		judge("a writable door to it", writes >= 0);
	}
	if (maps)
		fclose(maps);
	return found;
}

/* Every read-only descriptor, while the library still has it. */
static void try_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;

	while (folder && (entry = readdir(folder))) {
		int fd = atoi(entry->d_name);
		char path[512], target[128];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		if (!strstr(target, "memfd:") || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
			continue;
		judge("reopening for writing", open(path, O_RDWR | O_CLOEXEC) >= 0);
		judge("fchmod", !fchmod(fd, 0666));
		judge("ftruncate", !ftruncate(fd, 0));
		judge("punching",
		      !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	}
	if (folder)
		closedir(folder);
}

int main(int argc, char **argv)
{
	struct varbos_space *space;
	struct varbos *vb;
	char *memory;

	if (argc != 2)
		return 2;
	if (varbos_connect(&vb, NULL) || varbos_space_open(&space, vb, "intruder", NULL) ||
	    !(memory = varbos_alloc(space, 1 << 20))) {
		fprintf(stderr, "%s\n", varbos_error()->message);
		return 2;
	}
	memset(memory, 'i', 1 << 20);
	try_process(atoi(argv[1]));
	try_descriptors();
	if (!try_mappings()) {
		fprintf(stderr, "no read-only mapping was found to be tried\n");
		return 2;
	}
	printf("%u tried, %u succeeded\n", tried, succeeded);
	return succeeded ? 1 : 0;
}
