#include "daemon/server/hoards.h"

#include <errno.h>
#include <stdlib.h>

#include "base/base.h"
#include "daemon/server/hoard.h"
#include "daemon/server/scanner.h"
#include "daemon/server/server.h"

int hoards_new(struct hoards **ret, struct server *server)
{
	struct hoards *hoards = calloc(1, sizeof(*hoards));

	if (!hoards)
		return -ENOMEM;
	hoards->server = server;
	hoard_expiry_init(&hoards->expiry, &server->loop);
	list_init(&hoards->all);
	list_init(&hoards->stirred);
	list_init(&hoards->scan);
	*ret = hoards;
	return 0;
}

void hoards_free(struct hoards *hoards)
{
	if (!hoards)
		return;
	while (!list_empty(&hoards->all))
		hoard_free(list_entry(hoards->all.next, struct hoard, in_all));
	free(hoards);
}

bool hoards_behind(const struct server *server)
{
	return server->hoards->swept != core_caches_gone(server->core) &&
	       !mutant(hoards_unswept);
}

void hoards_sweep(struct server *server)
{
	struct hoards *hoards = server->hoards;

	if (!hoards_behind(server))
		return;
	hoards->swept = core_caches_gone(server->core);
	for (struct link *at = hoards->all.next, *next; at != &hoards->all; at = next) {
		struct hoard *hoard = list_entry(at, struct hoard, in_all);
		struct estate_view view;

		next = at->next;
		if (!hoard->gone && !core_cache_view(server->core, hoard->slot, &view))
			hoard_leave(hoard);
	}
}

struct hoard *hoards_next(const struct server *server, const struct hoard *hoard)
{
	const struct link *all = &server->hoards->all, *at = hoard ? &hoard->in_all : all;

	return at->next == all ? NULL : list_entry(at->next, struct hoard, in_all);
}

bool hoards_turn(struct server *server)
{
	struct hoards *hoards = server->hoards;
	bool worked = false;

	while (!list_empty(&hoards->stirred) && (!worked || stint_lasts(server))) {
		struct hoard *hoard =
			list_entry(hoards->stirred.next, struct hoard, in_stirred);

		worked = true;
		list_remove(&hoard->in_stirred);
		if (hoard_step(hoard))
			list_append(&hoards->stirred, &hoard->in_stirred);
	}
	return !list_empty(&hoards->stirred);
}

void hoards_beat(struct server *server)
{
	list_for_each(at, &server->hoards->all)
		hoard_beat(list_entry(at, struct hoard, in_all));
}

void hoards_left(struct server *server, uint32_t space, uint32_t cache, uint32_t session)
{
	list_for_each(at, &server->hoards->all)
	{
		struct hoard *hoard = list_entry(at, struct hoard, in_all);

		if (!hoard->cache || hoard->gone || (space && hoard->space != space) ||
		    (cache && hoard->slot != cache))
			continue;
		cache_session_end(hoard->cache, session);
		hoard_stir(hoard);
	}
}

void hoards_unpinned(struct server *server)
{
	list_for_each(at, &server->hoards->all)
	{
		struct hoard *hoard = list_entry(at, struct hoard, in_all);

		if (!hoard->cache || hoard->gone || !cache_view(hoard->cache).limbo)
			continue;
		hoard->scan_now = true;
		scanner_want(server);
	}
}

bool hoards_scan_begin(struct server *server)
{
	struct hoards *hoards = server->hoards;

	list_for_each(at, &hoards->all)
	{
		struct hoard *hoard = list_entry(at, struct hoard, in_all);

		if (!hoard->cache || hoard->gone || hoard->reclaiming ||
		    !(hoard->scan_now || cache_wants(hoard->cache) & CACHE_WANTS_SCAN))
			continue;
		cache_scan_begin(hoard->cache);
		core_pins_begin(server->core, hoard->slot);
		list_append(&hoards->scan, &hoard->in_scan);
		hoard->scan_now = false;
	}
	return !list_empty(&hoards->scan);
}

static bool may_pin(const struct hoard *hoard, uint32_t session)
{
	return core_cache_has(hoard->server->core, hoard->slot, session) ||
	       mutant(hazards_anywhere);
}

uint32_t hoards_scan_word(struct server *server, uint32_t space, uint32_t session,
			  uint64_t offset, uint64_t now)
{
	uint32_t steps = 0;

	list_for_each(at, &server->hoards->scan)
	{
		struct hoard *hoard = list_entry(at, struct hoard, in_scan);

		steps++;
		if (hoard->space != space || !may_pin(hoard, session))
			continue;
		core_pins_add(server->core, session, hoard->slot,
			      cache_scan_word(hoard->cache, session, offset, now));
	}
	return steps;
}

void hoards_scan_end(struct server *server)
{
	struct hoards *hoards = server->hoards;

	while (!list_empty(&hoards->scan)) {
		struct hoard *hoard = list_entry(hoards->scan.next, struct hoard, in_scan);

		list_remove(&hoard->in_scan);
		cache_scan_end(hoard->cache);
		core_pins_end(server->core, hoard->slot);
		hoard->scanned = scanner_count(server);
		hoard->reclaiming = true;
		hoard_stir(hoard);
	}
	request_retry(server);
}

void hoards_scan_failed(struct server *server)
{
	struct hoards *hoards = server->hoards;

	while (!list_empty(&hoards->scan)) {
		struct hoard *hoard = list_entry(hoards->scan.next, struct hoard, in_scan);

		list_remove(&hoard->in_scan);
		hoard->scan_now = true;
	}
}
