#include "client/store.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/base.h"
#include "client/reserve.h"

enum { LINE = 64, PAGE = 4096, STEP = 64 << 10 };

int store_init(struct store *store, size_t size)
{
	void *memory;
	int r;

	memory =
		mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	r = reserve_hide(memory, size);
	if (r) {
		munmap(memory, size);
		return r;
	}
	*store = (struct store){.base = memory, .size = size};
	return 0;
}

void store_deinit(struct store *store)
{
	if (store->base)
		munmap(store->base, store->size);
	*store = (struct store){};
}

void *store_get(struct store *store, size_t size)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	size_t step = STEP;
	void *memory;

	size = (size + LINE - 1) & ~(size_t)(LINE - 1);
	lock_acquire(&store->lock);
	lock = &store->lock;
	/* Blocks begin at multiples of a page more often than elsewhere, and a load right after a
	   store whose address has the same low 12 bits waits for it. */
	if (!(store->used & (PAGE - 1)))
		store->used += LINE;
	if (store->used > store->size || size > store->size - store->used)
		return NULL;
	if (store->used + size > store->writable) {
		while (store->used + size > store->writable + step)
			step += STEP;
		step = u64_min(step, store->size - store->writable);
		if (mprotect(store->base + store->writable, step, PROT_READ | PROT_WRITE) < 0)
			return NULL;
		store->writable += step;
	}
	memory = store->base + store->used;
	store->used += size;
	return memory;
}
