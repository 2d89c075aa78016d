#include <apr_general.h>

#include "bench/bump.h"

void bump_start(const struct contender *contender)
{
	(void)contender;
	if (apr_initialize())
		contender_die("apr does not start");
}

void bump_make(struct bump *ret)
{
	if (apr_pool_create(&ret->pool, NULL))
		contender_die("out of memory");
}

void bump_stop(void)
{
	apr_terminate();
}
