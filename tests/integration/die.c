/*
 * Die - the audited daemon is killed behind the Nth store into its records, or into those of a cache's
 * objects: $VARBOS_DIE names a file with a number in it that counts down, from whatever a test puts
 * there to 0.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/core/cache/object_record.h"
#include "daemon/core/record.h"

static _Atomic int64_t never, *left = &never;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("VARBOS_DIE");
	_cleanup_(closep) int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *memory;

	if (fd < 0)
		return;
	memory = mmap(NULL, sizeof(*left), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory != MAP_FAILED)
		left = memory;
}

static void stored(void)
{
	int64_t now = atomic_load_explicit(left, memory_order_relaxed);

	/* Who takes the number back meanwhile has it: it is not put there again. */
	do {
		if (now <= 0)
			return;
	} while (!atomic_compare_exchange_weak(left, &now, now - 1));
	if (now == 1)
		kill(getpid(), SIGKILL);
}

void record_trace(const struct records *records, uint64_t byte, uint64_t value)
{
	(void)records;
	(void)byte;
	(void)value;
	stored();
}

void object_record_trace(const struct object_records *records)
{
	(void)records;
	stored();
}
