#include "daemon/server/cache_rows.h"

#include <stdio.h>

#include "base/base.h"
#include "daemon/core/policy/policy.h"
#include "daemon/server/client.h"
#include "daemon/server/hoard.h"
#include "daemon/server/hoards.h"
#include "daemon/server/lane_notes.h"
#include "daemon/server/publisher.h"
#include "daemon/server/server.h"

/* Changes whenever something does that is shown. */
static uint64_t sum_of(const struct cache_view *view)
{
	uint64_t sum = view->live + view->held + view->limbo + view->pinned;

	sum += view->published + view->hits + view->misses + view->moved;
	for (uint32_t i = 0; i < CACHE_REASONS; i++)
		sum += view->gone[i];
	return sum;
}

bool caches_look(struct server *server)
{
	struct hoard *hoard = NULL;
	bool counted = lanes_count(server), changed = false;

	while ((hoard = hoards_next(server, hoard))) {
		struct cache_view view;
		uint64_t sum;

		if (!hoard->cache)
			continue;
		view = cache_view(hoard->cache);
		sum = sum_of(&view);
		changed |= sum != hoard->shown;
		hoard->shown = sum;
	}
	if (changed)
		publisher_touch(server->publisher);
	return counted;
}

/* Times of theirs are the machine's, the file's do not go on while it sleeps. */
static void fill_pins(struct stats_copy *copy, const struct hoard *hoard)
{
	const struct server *server = hoard->server;
	uint64_t now = server_machine_ms(server);
	const struct cache_pinner *pinners;
	uint32_t n = cache_pinners(hoard->cache, &pinners);

	for (uint32_t i = 0; i < n && copy->n_pins < STATS_PINS_MAX; i++) {
		struct stats_pin *row = &copy->pins[copy->n_pins++];
		const struct client *client = NULL;

		*row = (struct stats_pin){
			.cache = hoard->slot,
			.session = pinners[i].session,
			.bytes = pinners[i].bytes,
			.since_ms = copy->now_ms -
				    u64_min(copy->now_ms, now - u64_min(now, pinners[i].since)),
		};
		/* Since the scan it may have ended, and its number be another's. */
		if (core_session_has(server->core, row->session, hoard->space))
			client = server->clients[row->session];
		if (!client)
			continue;
		row->pid = (uint32_t)client->pid;
		row->uid = client->credentials.uid;
		snprintf(row->name, sizeof(row->name), "%s", client->name);
	}
}

static void fill_hot(struct stats_copy *copy, const struct hoard *hoard)
{
	struct hot_key hot[STATS_HOT_EACH];
	uint32_t n = cache_hottest(hoard->cache, hot, STATS_HOT_EACH);

	for (uint32_t i = 0; i < n && copy->n_hot < STATS_HOT_MAX; i++)
		copy->hot[copy->n_hot++] = (struct stats_hot){
			.cache = hoard->slot,
			.hash = hot[i].hash,
			.count = hot[i].count,
			.over = hot[i].over,
		};
}

void caches_fill(struct stats_copy *copy, const struct server *server)
{
	for (uint32_t slot = core_cache_next(server->core, 0); slot != UINT32_MAX;
	     slot = core_cache_next(server->core, slot + 1)) {
		const struct hoard *hoard = hoard_at(server, slot);
		struct estate_view view;
		struct stats_cache *row;

		if (!core_cache_view(server->core, slot, &view))
			continue;
		copy->caches_total++;
		if (copy->n_caches == STATS_CACHES_MAX)
			continue;
		row = &copy->caches[copy->n_caches++];
		*row = (struct stats_cache){
			.cache = slot,
			.space = view.space,
			.sessions = view.sessions,
			.removed = view.removed,
			.capacity = view.capacity,
			.ttl_ms = view.ttl_ms,
			.memory = view.bytes,
			.segments = view.segments,
			.objects = view.objects,
		};
		snprintf(row->name, sizeof(row->name), "%s", view.name);
		snprintf(row->policy, sizeof(row->policy), "%s", policy_at(view.policy)->name);
		if (!hoard)
			continue;
		CACHE_ROW_FILL(row, hoard);
		fill_pins(copy, hoard);
		fill_hot(copy, hoard);
	}
}
