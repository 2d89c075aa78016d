#include "client/returns.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "base/base.h"
#include "client/error.h"
#include "client/reserve.h"
#include "client/sealed.h"

int returns_map(struct return_ring **ret, int fd)
{
	void *memory;
	int r;

	r = sealed_check(fd, "return ring", SEALED_EXACT, sizeof(struct return_ring));
	if (r)
		return r;
	memory = mmap(NULL, sizeof(struct return_ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		      0);
	if (memory == MAP_FAILED)
		return error_system(errno, "mapping the return ring");
	r = reserve_hide(memory, sizeof(struct return_ring));
	if (r) {
		munmap(memory, sizeof(struct return_ring));
		return error_system(r, "mapping the return ring");
	}
	*ret = memory;
	return 0;
}

void returns_deinit(struct returns *returns)
{
	if (returns->ring)
		munmap(returns->ring, sizeof(*returns->ring));
	*returns = (struct returns){};
}

void returns_forget(struct returns *returns)
{
	*returns = (struct returns){};
}

bool returns_put(struct returns *returns, uint64_t space, uint64_t ref)
{
	struct return_record *record;

	if (!returns->ring || returns->written - returns->taken >= RETURNS_MAX)
		return false;
	record = &returns->ring->records[returns->written % RETURNS_MAX];
	returns->written++;
	if (mutant(returns_turn_first)) {
		atomic_store_explicit(&record->turn, returns->written, memory_order_release);
		sched_yield(); /* so that a reader surely comes between */
	}
	record->space = space;
	record->ref = ref;
	/* The daemon takes the record as soon as it sees its turn. */
	atomic_store_explicit(&record->turn, returns->written, memory_order_release);
	return true;
}

void returns_taken(struct returns *returns, uint64_t written)
{
	returns->taken = u64_max(returns->taken, written);
}
