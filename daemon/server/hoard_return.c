#include "daemon/server/hoard_return.h"

#include "base/base.h"
#include "daemon/server/hoard.h"
#include "daemon/server/publisher.h"
#include "daemon/server/server.h"

enum {
	RUNS = 16, /* of slices, that come back at once */
};

void hoard_seal(struct hoard *hoard, uint64_t offset)
{
	struct core *core = hoard->server->core;
	struct core_fault fault = {};
	struct extent_place place;

	if (!core_extent_at(core, hoard->space, offset, &place) || !place.session ||
	    place.cache != hoard->slot)
		return;
	offset = offset_make(offset_window(offset), (uint64_t)place.first << SLICE_SHIFT);
	core_cache_seal(core, place.session, hoard->space, offset, place.tag, &fault);
	server_apply(hoard->server);
}

void hoard_seal_own(struct hoard *hoard, uint64_t offset)
{
	struct extent_place place;

	if (core_extent_at(hoard->server->core, hoard->space, offset, &place) &&
	    place.kind == EXTENT_OBJECT)
		hoard_seal(hoard, offset);
}

/*
 * False: later, for want of memory. Nobody keeps what the cache knows to be empty, by not sealing it;
 * and what the ledger has not as this cache's never comes back to it from here.
 */
static bool give_back(struct hoard *hoard, struct segment_run run)
{
	struct core *core = hoard->server->core;
	struct core_fault fault = {};
	int r = core_cache_return(core, hoard->slot, run.base, run.size, &fault);

	if (r == CORE_E_REFERENCE) {
		hoard_seal(hoard, run.base);
		r = core_cache_return(core, hoard->slot, run.base, run.size, &fault);
	}
	return r >= 0;
}

bool hoard_returns(const struct hoard *hoard)
{
	return hoard->reclaiming && hoard->n_owed <= HOARD_OWED - RUNS;
}

void hoard_reclaim(struct hoard *hoard)
{
	struct segment_run runs[RUNS];
	struct server *server = hoard->server;
	uint32_t n;

	if (hoard->n_owed > HOARD_OWED - RUNS) /* at the next beat there are fewer */
		return;
	hoard->reclaiming = cache_reclaim(hoard->cache, runs, RUNS, &n) == CACHE_MORE;
	for (uint32_t i = 0; i < n; i++)
		if (!give_back(hoard, runs[i]))
			hoard->owed[hoard->n_owed++] = runs[i];
	server_apply(server);
	publisher_touch(server->publisher);
	request_retry(server);
}

void hoard_settle(struct hoard *hoard)
{
	uint32_t n = hoard->n_owed;

	hoard->n_owed = 0;
	for (uint32_t i = 0; i < n; i++)
		if (!give_back(hoard, hoard->owed[i]))
			hoard->owed[hoard->n_owed++] = hoard->owed[i];
	if (n != hoard->n_owed)
		server_apply(hoard->server);
}
