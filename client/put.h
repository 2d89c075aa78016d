/*
 * Put - what fetch.c does as others do by varbos_cache_reserve() and its like, with a right to it.
 */
#pragma once

#include <varbos/cache.h>

#include "client/cache.h"

struct put_terms {
	uint64_t token; /* of the right to compute it */
	uint64_t hash;  /* where it is found; 0: where its key is */
	uint64_t ttl_ms;
	uint32_t flags;
};

/* As the public ones, but that nothing is entered. */
int put_reserve(struct varbos_cache *cache, const void *key, size_t key_size, size_t size,
		const struct varbos_put_options *options, struct varbos_reservation *ret);
void put_abort(struct varbos_reservation *reservation);

/*
 * terms NULL: as it was reserved. hazard NULL, or a hazard word of the thread's that is in use: the
 * object is pinned by it before anyone can evict it, and *ret is a view of it; on failure it is as
 * it was, or names memory that is nobody's. With ret alone that is a view of a copy (apart.h).
 */
int put_commit(struct varbos_reservation *reservation, size_t size,
	       const struct put_terms *terms, _Atomic uint64_t *hazard,
	       struct varbos_view *ret);
