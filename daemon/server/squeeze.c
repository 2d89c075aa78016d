#include "daemon/server/squeeze.h"

#include "base/base.h"
#include "daemon/core/cache/clean.h"
#include "daemon/server/cleaner.h"
#include "daemon/server/client.h"
#include "daemon/server/hoard.h"
#include "daemon/server/hoard_return.h"
#include "daemon/server/hoards.h"
#include "daemon/server/request.h"
#include "daemon/server/scanner.h"
#include "daemon/server/server.h"

enum {
	DROPS_MAX = 8,
	RANGES_MAX = 3,
	LOOKS = 4096,       /* at slices, by one step */
	SEGMENT_SHARE = 16, /* of a capacity; our writers ask for less still */
	SEGMENT_MOST = 2 << 20,
	BEYOND_SHARE = 4,    /* of a capacity: that may be held besides, and */
	BEYOND = 2 << 20,    /* so that what the cleaner leaves alone holds nobody back */
	HELD_BACK_MS = 1000, /* each request, at most */
};

/* Large enough for what has no extent of its own, wherever it lies. */
uint64_t squeeze_segment_most(const struct hoard *hoard)
{
	uint64_t share = cache_view(hoard->cache).capacity / SEGMENT_SHARE;
	uint64_t most = 2 * OBJECT_OWN;

	while (most < SEGMENT_MOST && most * 2 <= share)
		most *= 2;
	return most;
}

static bool scans(struct hoard *hoard, const struct cache_view *view)
{
	if (hoard->in_scan.next || hoard_returns(hoard))
		return true;
	if (view->limbo <= view->pinned)
		return false;
	hoard->scan_now = true;
	scanner_want(hoard->server);
	return true;
}

static bool cleans(struct hoard *hoard)
{
	if (!(cache_wants(hoard->cache) & CACHE_WANTS_CLEAN))
		return false;
	if (!hoard->cleaning && !hoard->leasing)
		cleaner_step(hoard);
	return hoard->cleaning || hoard->leasing;
}

bool squeeze_is_over(const struct hoard *hoard, uint64_t size)
{
	struct cache_view view = cache_view(hoard->cache);
	uint64_t most = view.capacity + view.capacity / BEYOND_SHARE + BEYOND;

	return view.held - view.unfilled + size > most && !mutant(cache_unbounded);
}

bool squeeze_holds_back(struct request *request, struct hoard *hoard, uint64_t size)
{
	struct cache_view view = cache_view(hoard->cache);
	const struct server *server = request->server;
	uint64_t now;

	if (!squeeze_is_over(hoard, size))
		return false;
	now = server->sys->table->now_ns(server->sys) / 1000000;
	if (!request->begun)
		request->begun = now + HELD_BACK_MS;
	request->apart = now < request->begun && (scans(hoard, &view) || cleans(hoard));
	return request->apart;
}

static void scan_now(struct hoard *hoard)
{
	hoard->scan_now = true;
	scanner_want(hoard->server);
}

static bool comes(const struct hoard *hoard)
{
	return hoard->in_scan.next || hoard->reclaiming || hoard->scan_now;
}

bool squeeze_gives(struct hoard *hoard)
{
	struct cache_view view = cache_view(hoard->cache);

	if (comes(hoard))
		return true;
	if (view.limbo <= view.pinned) {
		if (hoard->drops == DROPS_MAX || cache_drop(hoard->cache) == CACHE_E_NOTHING) {
			hoard->drops = 0;
			return false;
		}
		hoard->drops++;
	}
	scan_now(hoard);
	return true;
}

/* ---- slices in a row ---- */

/* False: there are no more windows. */
static bool look(struct hoard *hoard)
{
	const struct core *core = hoard->server->core;
	struct range *range = &hoard->range;
	static bool free[LOOKS];
	uint32_t left = LOOKS, n;

	while (left && range->window < WINDOWS_MAX) {
		n = core_slices_free(core, hoard->space, range->window, range->to.at, left,
				     free);
		cache_range_look(hoard->cache, range, free, n);
		if (n < left)
			cache_range_window(range, range->window + 1);
		left -= n ? n : 1;
	}
	return range->window < WINDOWS_MAX;
}

/* At the next turn. */
static bool again(struct hoard *hoard)
{
	hoard->server->retry = true;
	server_more(hoard->server);
	return true;
}

static bool give_up(struct hoard *hoard)
{
	hoard->drops = 0;
	hoard->ranging = false;
	return false;
}

/* True: it goes on. */
static bool search(struct hoard *hoard, uint32_t slices)
{
	if (!hoard->ranging || hoard->range.slices != slices) {
		if (hoard->drops++ == RANGES_MAX)
			return give_up(hoard);
		hoard->ranging = true;
		hoard->range = (struct range){.slices = slices};
	}
	if (look(hoard))
		return again(hoard);
	if (!hoard->range.found)
		return give_up(hoard);
	hoard->ranging = false;
	hoard->dropping = true;
	hoard->unclean = true; /* the cleaner takes none of it, until the next beat */
	return again(hoard);
}

bool squeeze_gives_range(struct hoard *hoard, uint64_t size)
{
	struct cache_view view = cache_view(hoard->cache);

	if (mutant(range_unsought))
		return squeeze_gives(hoard);
	if (hoard->dropping) {
		if (cache_range_drop(hoard->cache, &hoard->range) == CACHE_MORE)
			return again(hoard);
		hoard->dropping = false;
		scan_now(hoard);
		return true;
	}
	if (comes(hoard))
		return true;
	if (view.limbo > view.pinned) {
		scan_now(hoard);
		return true;
	}
	return search(hoard, (uint32_t)((size + SLICE_BYTES - 1) >> SLICE_SHIFT));
}

bool squeeze_unpins(struct request *request, uint32_t space)
{
	const struct server *server = request->server;
	struct hoard *hoard = NULL;
	bool comes = false;

	while ((hoard = hoards_next(server, hoard))) {
		if (hoard->space != space || hoard->gone || hoard->scanned > request->scans ||
		    !core_pins(server->core, request->client->session, hoard->slot))
			continue;
		scan_now(hoard);
		comes = true;
	}
	request->apart |= comes;
	return comes;
}
