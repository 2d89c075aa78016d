/*
 * Apart - reading without a lane: what is found cannot be pinned, so it is copied, and then looked at
 * whether it was there all the time.
 *
 * AP1 A copy is believed if its entry has been what it was since before the first byte was read, up to
 *     after the last one, and the header then is the one that came first: why that will do is said in
 *     apart.c. Else another is made.
 * AP2 Windows are read through their descriptors, not where they are mapped: what is a hole by then reads as
 *     zeros, and neither commits memory nor kills who reads.
 * AP3 What a view shows is the process's own memory, until it is released: it keeps nothing in the cache, and
 *     limits.pins does not count it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/cache.h"

/* Memory of a copy: free() takes it. */
enum { APART_CHANGED = -1 };

/*
 * What an entry leads to, copied: with its value if `whole`, else up to it. 0; VARBOS_E_NOT_FOUND, without a
 * word: another key's (unless that is NULL), or spoiled; APART_CHANGED: look at the entry again; or what goes
 * wrong on the way.
 */
int apart_copy(struct varbos_cache *cache, const _Atomic uint64_t *word, uint64_t entry,
	       const void *key, size_t key_size, bool whole, struct found *ret,
	       void **ret_memory);

/* As cache_look(): 0, VARBOS_E_NOT_FOUND without a word, or what goes wrong. noted: as an access. */
int apart_look(struct varbos_cache *cache, const void *key, size_t key_size, uint64_t hash,
	       bool whole, bool noted, struct found *ret, void **ret_memory);

/* A view of it, which owns the memory. */
void apart_view(struct varbos_view *ret, const struct varbos_cache *cache,
		const struct found *found, void *memory);

/* What is in memory of this process's that nobody reads yet, as a copy of it. 0 or -errno. */
int apart_keep(const void *object, uint64_t offset, struct object_sizes sizes,
	       struct found *ret, void **ret_memory);
