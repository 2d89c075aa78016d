#include "tests/hugepages.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/base.h"

#define KNOB "/proc/sys/vm/nr_hugepages"
#define LOCK "/tmp/varbos-test-hugepages.lock"

static int lock = -1;
static unsigned before, lent;

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

static bool skip(const char *why)
{
	fprintf(stderr, "SKIPPED: tests with hugepages: %s\n", why);
	hugepages_return();
	return false;
}

bool hugepages_borrow(unsigned pages)
{
	unsigned now;

	if (geteuid() != 0)
		return skip("they need root");
	lock = open(LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return skip("cannot take " LOCK);
	if (!knob_read(&before) || !knob_write(before + pages))
		return skip("the kernel has no " KNOB);
	lent = pages;
	if (!knob_read(&now) || now < before + pages)
		return skip("the machine has too few in one piece");
	return true;
}

void hugepages_return(void)
{
	if (lent && !knob_write(before))
		fprintf(stderr, "cannot put " KNOB " back to %u\n", before);
	lent = 0;
	closep(&lock);
	lock = -1;
}
