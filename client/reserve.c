#include "client/reserve.h"

#include <errno.h>
#include <sys/mman.h>

#include "proto/layout.h"

#define ALIGN ((uint64_t)1 << 30) /* the largest page */

int reserve_hide(void *memory, uint64_t size)
{
	if (madvise(memory, size, MADV_DONTFORK) < 0 ||
	    madvise(memory, size, MADV_DONTDUMP) < 0)
		return -errno;
	return 0;
}

static char *map(char *hint, uint64_t size, int flags)
{
	char *memory = mmap(hint, size, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static char *map_aligned(uint64_t size)
{
	char *memory = map(NULL, size + ALIGN, 0);
	uint64_t before;

	if (!memory)
		return NULL;
	before = -(uint64_t)(uintptr_t)memory & (ALIGN - 1);
	if (before)
		munmap(memory, before);
	munmap(memory + before + size, ALIGN - before);
	return memory + before;
}

int reserve_new(char **ret, char *hint, uint32_t windows)
{
	uint64_t size = windows * WINDOW_BYTES_MAX;
	char *base = NULL;
	int r;

	if (hint) {
		base = map(hint, size, MAP_FIXED_NOREPLACE);
		if (base && base != hint) { /* a kernel that does not know the flag */
			munmap(base, size);
			base = NULL;
		}
	}
	if (!base)
		base = map_aligned(size);
	if (!base)
		return -errno;
	r = reserve_hide(base, size);
	if (r) {
		munmap(base, size);
		return r;
	}
	*ret = base;
	return 0;
}

void reserve_free(char *base, uint32_t windows)
{
	if (base)
		munmap(base, windows * WINDOW_BYTES_MAX);
}
