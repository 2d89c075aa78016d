#include "tests/hugepages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/base.h"

#define KNOB "/proc/sys/vm/nr_hugepages"
#define LOCK "/tmp/varbos-test-hugepages.lock"

enum {
	PAGE_BYTES = 2 << 20,
	SPARE_MAX = 128 << 20,
	TRIES = 20,
	PAUSE_US = 100000,
};

static pid_t keeper;
static int line = -1; /* to the keeper */

static bool knob_read(unsigned *ret)
{
	FILE *file = fopen(KNOB, "re");
	bool ok = file && fscanf(file, "%u", ret) == 1;

	if (file)
		fclose(file);
	return ok;
}

static bool knob_write(unsigned pages)
{
	FILE *file = fopen(KNOB, "we");
	bool ok = file && fprintf(file, "%u\n", pages) > 0;

	return file && !fclose(file) && ok;
}

/* What others use the kernel moves out of the way, and does not always come to an end at once. */
static bool knob_raise(unsigned pages)
{
	unsigned now = 0;

	for (int tries = 0; tries < TRIES; tries++) {
		if (tries)
			usleep(PAUSE_US);
		if (!knob_write(pages) || !knob_read(&now))
			return false;
		if (now >= pages)
			return true;
	}
	return false;
}

static bool skip(const char *why)
{
	fprintf(stderr, "SKIPPED: tests with hugepages: %s\n", why);
	return false;
}

/* What the pool has to spare is nobody's meanwhile: a test means those that it has borrowed. */
static int spare_take(void)
{
	int fd = memfd_create("spare", MFD_CLOEXEC | MFD_HUGETLB);
	off_t size = 0;

	/* As far as a test may go: another's pool may be large. */
	while (fd >= 0 && size < SPARE_MAX && !fallocate(fd, 0, size, PAGE_BYTES))
		size += PAGE_BYTES;
	return fd;
}

/* The child of whoever borrows: it has the lock until it has put them back. */
static _Noreturn void keep(int end, unsigned before)
{
	char byte = 0;
	int spare;

	setsid(); /* whoever ends all of a test's session leaves it alone */
	spare = spare_take();
	(void)!send(end, &byte, 1, MSG_NOSIGNAL);
	while (recv(end, &byte, 1, 0) < 0 && errno == EINTR)
		;
	closep(&spare);
	if (!knob_write(before))
		fprintf(stderr, "cannot put " KNOB " back to %u\n", before);
	_exit(0);
}

/* False: there is no such process. */
static bool keeper_start(unsigned before)
{
	int pair[2];
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return false;
	keeper = fork();
	if (!keeper) {
		close(pair[1]);
		keep(pair[0], before);
	}
	close(pair[0]);
	line = pair[1];
	/* Nothing is borrowed before it is out of everybody's way. */
	if (keeper > 0 && recv(line, &byte, 1, 0) == 1)
		return true;
	closep(&line);
	line = -1;
	return false;
}

bool hugepages_borrow(unsigned pages)
{
	_cleanup_(closep) int lock = -1;
	unsigned before;

	if (geteuid() != 0)
		return skip("they need root");
	lock = open(LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return skip("cannot take " LOCK);
	if (!knob_read(&before))
		return skip("the kernel has no " KNOB);
	if (!keeper_start(before))
		return skip("nobody would put them back");
	if (!knob_raise(before + pages)) {
		hugepages_return();
		return skip("the machine has too few in one piece");
	}
	return true;
}

void hugepages_return(void)
{
	if (line < 0)
		return;
	/* Said, for a test that runs on would hold the line open. */
	(void)!send(line, "x", 1, MSG_NOSIGNAL);
	waitpid(keeper, NULL, 0);
	closep(&line);
	line = -1;
}
