#include "client/uncounted.h"

#include "base/base.h"
#include "client/cache.h"
#include "client/cache_ask.h"

enum { TOLD_EACH = 64 /* together: a message takes as long as twenty hits */ };

static void tell(struct varbos_cache *cache, bool waits)
{
	struct uncounted *uncounted = &cache->uncounted;
	uint64_t hits = atomic_exchange_explicit(&uncounted->hits, 0, memory_order_relaxed);
	uint64_t misses = atomic_exchange_explicit(&uncounted->misses, 0, memory_order_relaxed);

	if ((!hits && !misses) || cache_ask_count(cache, hits, misses, waits))
		return;
	atomic_fetch_add_explicit(&uncounted->hits, hits, memory_order_relaxed);
	atomic_fetch_add_explicit(&uncounted->misses, misses, memory_order_relaxed);
}

void uncounted_add(struct varbos_cache *cache, bool hit)
{
	_Atomic uint64_t *count = hit ? &cache->uncounted.hits : &cache->uncounted.misses;
	uint64_t n = atomic_fetch_add_explicit(count, 1, memory_order_relaxed) + 1;

	if (n % TOLD_EACH == 0)
		tell(cache, false);
}

void uncounted_tell(struct varbos_cache *cache)
{
	tell(cache, true);
}
