/*
 * Cache rows - what the statistics file shows of caches: what became of their objects, who keeps
 * memory from coming back, and which hashes are hot.
 *
 * CR1 Readers count in their lanes, and wake nobody: at each beat the daemon looks, and the file is
 *     brought up to date if anything is another than it shows.
 * CR2 No key stands in the file, for who may read it need not be a member of the space: of a hot one
 *     its hash.
 */
#pragma once

#include <stdbool.h>

#include "proto/layout.h"

struct server;

/* At each beat, and before somebody is told. False: not at all of them yet; again. */
bool caches_look(struct server *server);
/* Of a copy that has room for them all. */
void caches_fill(struct stats_copy *copy, const struct server *server);

/* What is told of a cache, in a row of whatever kind: the file's and the wire's have the same names. */
#define CACHE_ROW_FILL(row, hoard)                                          \
	do {                                                                \
		const struct cache_view view_ = cache_view((hoard)->cache); \
                                                                            \
		(row)->values = view_.objects;                              \
		(row)->live = view_.live;                                   \
		(row)->dead = view_.dead;                                   \
		(row)->limbo = view_.limbo;                                 \
		(row)->pinned = view_.pinned;                               \
		(row)->hits = view_.hits;                                   \
		(row)->misses = view_.misses;                               \
		(row)->published = view_.published;                         \
		(row)->evicted = view_.gone[CACHE_EVICTED];                 \
		(row)->expired = view_.gone[CACHE_EXPIRED];                 \
		(row)->deleted = view_.gone[CACHE_DELETED];                 \
		(row)->replaced = view_.gone[CACHE_REPLACED];               \
		(row)->cleared = view_.gone[CACHE_CLEARED];                 \
		(row)->dropped = view_.gone[CACHE_DROPPED];                 \
		(row)->spoiled = view_.gone[CACHE_SPOILED];                 \
		(row)->crowded = view_.gone[CACHE_CROWDED];                 \
		(row)->moved = view_.moved_bytes;                           \
		(row)->metadata = hoard_metadata(hoard);                    \
	} while (0)
