/*
 * Uncounted - hits and misses of a cache that no row of a lane counts: of threads without a lane, and of
 * those that read more caches than a lane has rows. The daemon is told now and then.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct varbos_cache;

struct uncounted {
	_Atomic uint64_t hits, misses; /* that were not told yet */
};

/* Waits for nobody: what cannot be told now is told later. */
void uncounted_add(struct varbos_cache *cache, bool hit);
/* What there is, before it is closed: waits for room to say so. */
void uncounted_tell(struct varbos_cache *cache);
