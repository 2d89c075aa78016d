#include "tests/integration/storm.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct storm *storm;
uint64_t seed;

static void *shared_new(size_t size)
{
	void *memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		exit(EXIT_FAILURE);
	return memory;
}

void *storm_begin(size_t size)
{
	const char *text = getenv("VARBOS_SEED");

	seed = text ? strtoull(text, NULL, 0)
		    : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	setenv("VARBOS_QUIET", "1", 1);
	storm = shared_new(sizeof(*storm));
	return shared_new(size);
}

void complain(const char *format, ...)
{
	va_list list;

	if (atomic_fetch_add(&storm->failed, 1))
		_exit(1);
	va_start(list, format);
	vsnprintf(storm->text, sizeof(storm->text), format, list);
	va_end(list);
	_exit(1);
}

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void child_kill(pid_t *pid)
{
	int status;

	kill(*pid, SIGKILL);
	ck_assert_int_eq(waitpid(*pid, &status, 0), *pid);
	*pid = 0;
}
