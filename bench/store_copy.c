/*
 * No store, but what none can do without: a value is copied to where the one that was put longest ago is, in
 * memory that has its pages and that other processes could map. memcpy: with libc's; stream: past the
 * processor's caches. Nothing can be found again.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "base/copy.h"
#include "bench/store.h"

const bool store_is_served = false;

static char *memory;
static const void *value;
static size_t value_size, room, at;
static bool streams;

void store_start(const struct contender *contender, const struct store_needs *needs,
		 const void *data)
{
	int fd = memfd_create("varbos-bench-copy", MFD_CLOEXEC);

	value = data;
	value_size = needs->value;
	streams = !strcmp(contender->impl, "stream");
	room = needs->capacity / value_size * value_size;
	if (fd < 0 || ftruncate(fd, (off_t)room))
		contender_die("memfd: %s", strerror(errno));
	memory = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (memory == MAP_FAILED)
		contender_die("mmap: %s", strerror(errno));
	close(fd);
}

void store_join(const struct contender *contender)
{
	(void)contender;
}

void store_joined(void)
{
}

void store_stop(void)
{
	munmap(memory, room);
}

void store_put(const struct store_key *key)
{
	(void)key;
	if (streams)
		copy_streamed(memory + at, value, value_size);
	else
		memcpy(memory + at, value, value_size);
	at = (at + value_size) % room;
}

void store_put_many(const struct store_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		store_put(&keys[i]);
}

bool store_get(const struct store_key *key, uint64_t *ret)
{
	(void)key;
	(void)ret;
	return false;
}

size_t store_get_many(const struct store_key *keys, uint64_t *ret)
{
	(void)keys;
	(void)ret;
	return 0;
}
