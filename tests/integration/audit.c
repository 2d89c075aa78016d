/*
 * Audit - what no test sees from outside: at its beats and at its end the daemon under test looks
 * through all that it knows, holds the ledger against the caches, and dies if they disagree.
 */
#include <stdio.h>
#include <stdlib.h>

#include "daemon/core/cache/state.h"
#include "daemon/server/hoard.h"
#include "daemon/server/hoards.h"
#include "daemon/server/log.h"
#include "daemon/server/server.h"

enum {
	OBJECTS_MAX = 1 << 15, /* of a cache that is looked through at each beat */
};

static _Noreturn void disagree(const char *wrong, uint32_t cache, uint64_t offset)
{
	log_error("audit: cache %u, offset %llu: %s", cache, (unsigned long long)offset, wrong);
	abort();
}

/* It goes, or its space: the ledger is ahead of its data plane, by steps. */
static bool is_going(const struct hoard *hoard)
{
	const struct core *core = hoard->server->core;
	struct estate_view cache;
	struct space_view space;

	return hoard->gone || !core_cache_view(core, hoard->slot, &cache) ||
	       (cache.removed && !cache.sessions) ||
	       !core_space_view(core, hoard->space, &space) ||
	       (space.removed && !space.sessions);
}

/* Who leaves a cache is sealed in the ledger first, extent by extent. */
static bool lessees_agree(const struct hoard *hoard, const struct segment *segment,
			  uint32_t session)
{
	uint32_t lessee = segment->lessee == LESSEE_CLEANER ? LESSEE_NONE : segment->lessee;

	if (session)
		return lessee == session + 1;
	return lessee == LESSEE_NONE ||
	       !core_cache_has(hoard->server->core, hoard->slot, lessee - 1);
}

static uint64_t owed_bytes(const struct hoard *hoard)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < hoard->n_owed; i++)
		bytes += hoard->owed[i].size;
	return bytes;
}

static bool is_owed(const struct hoard *hoard, uint64_t offset)
{
	for (uint32_t i = 0; i < hoard->n_owed; i++)
		if (offset - hoard->owed[i].base < hoard->owed[i].size)
			return true;
	return false;
}

static void run_audit(const struct hoard *hoard, const struct cache_run *run)
{
	const struct segments *segments = &hoard->cache->segments;
	uint64_t known = run->object ? SLICE_BYTES : run->size;

	for (uint64_t at = run->offset; at < run->offset + known; at += SLICE_BYTES) {
		const struct segment *segment = &segments->at[segments_find(segments, at)];

		if (is_owed(hoard, at))
			continue;
		if (!segment->size)
			disagree("the ledger has memory that the cache knows nothing of",
				 hoard->slot, at);
		if (segment->own != run->object ||
		    (run->object &&
		     (segment->base != run->offset || segment->size != run->size)))
			disagree("an object's own extent is another in the ledger", hoard->slot,
				 at);
		if (!lessees_agree(hoard, segment, run->session))
			disagree("somebody fills what the ledger has as sealed, or another's",
				 hoard->slot, at);
	}
}

static void memory_audit(const struct hoard *hoard)
{
	struct cache_run run;
	uint64_t at = 0, bytes = 0;

	while (core_cache_run(hoard->server->core, &at, &run)) {
		if (run.cache != hoard->slot)
			continue;
		run_audit(hoard, &run);
		bytes += run.size;
	}
	if (bytes != hoard->cache->segments.held + owed_bytes(hoard))
		disagree("the cache has memory that the ledger knows nothing of", hoard->slot,
			 bytes);
}

void server_audit(const struct server *server, bool all)
{
	const struct hoard *hoard = NULL;
	const char *wrong = server->core ? core_check(server->core) : NULL;

	if (wrong)
		disagree(wrong, 0, 0);
	while (server->hoards && (hoard = hoards_next(server, hoard))) {
		if (!hoard->cache || is_going(hoard))
			continue;
		memory_audit(hoard);
		if (!all && hoard->cache->slots > OBJECTS_MAX)
			continue;
		wrong = cache_check(hoard->cache);
		if (wrong)
			disagree(wrong, hoard->slot, 0);
	}
}
