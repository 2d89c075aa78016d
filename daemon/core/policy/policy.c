#include "daemon/core/policy/policy.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

static const struct policy *const policies[POLICIES] = {
	[POLICY_S3FIFO] = &policy_s3fifo, [POLICY_LRU] = &policy_lru,
	[POLICY_LFU] = &policy_lfu,       [POLICY_FIFO] = &policy_fifo,
	[POLICY_CLOCK] = &policy_clock,   [POLICY_SIEVE] = &policy_sieve,
	[POLICY_2Q] = &policy_2q,         [POLICY_WTINYLFU] = &policy_wtinylfu,
	[POLICY_GDSF] = &policy_gdsf,
};

const struct policy *policy_at(uint32_t id)
{
	return id < ARRAY_SIZE(policies) ? policies[id] : NULL;
}

const struct policy *policy_named(const char *name, uint32_t *ret_id)
{
	if (!name || !*name)
		name = policies[POLICY_S3FIFO]->name;
	for (uint32_t i = 0; i < ARRAY_SIZE(policies); ++i) {
		if (!strcmp(policies[i]->name, name)) {
			*ret_id = i;
			return policies[i];
		}
	}
	return NULL;
}

void *policy_grown(void *nodes, uint32_t had, uint32_t objects, size_t size)
{
	char *grown;

	if (!had)
		return calloc(objects, size);
	grown = realloc(nodes, objects * size);
	if (grown)
		memset(grown + had * size, 0, (objects - had) * size);
	return grown;
}
