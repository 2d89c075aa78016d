#include "bench/allocator.h"

void allocator_start(const struct contender *contender)
{
	(void)contender;
}

void allocator_stop(void)
{
}

uint64_t allocator_committed(void)
{
	return 0;
}

size_t allocator_usable(void *memory)
{
	(void)memory;
	return 0;
}
