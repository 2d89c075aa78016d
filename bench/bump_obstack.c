#include "bench/bump.h"

static void out_of_memory(void)
{
	contender_die("out of memory");
}

void bump_start(const struct contender *contender)
{
	(void)contender;
	obstack_alloc_failed_handler = out_of_memory;
}

void bump_make(struct bump *ret)
{
	obstack_init(&ret->stack);
	ret->first = obstack_alloc(&ret->stack, 1);
}

void bump_stop(void)
{
}
