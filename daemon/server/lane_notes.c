#include "daemon/server/lane_notes.h"

#include <stdatomic.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/exchange.h"
#include "daemon/server/hoard.h"
#include "daemon/server/lanes.h"
#include "daemon/server/server.h"
#include "daemon/sys/guard.h"

enum {
	FETCHED = 16, /* accesses ahead */
	GUESSED = 8,
	DRAINED_A_BATCH = 256, /* accesses: 0.7 us each, if nothing of them is in a cache */
	SESSIONS_A_BATCH = 64, /* whose lanes are looked at for them */
};

/* ---- of a lane, of a session ---- */

/* The oldest of those that are still there, once. */
static uint64_t notes_copy(struct client *client, uint32_t number, uint64_t most, uint64_t *ret)
{
	const struct lane *lane = &client->lanes.at[number];
	struct lane_state *state = &client->lanes.states[number];
	uint64_t noted, from, n, at, first;

	if (guard_load64(&lane->noted, &noted) || noted == state->noted)
		return 0;
	atomic_thread_fence(memory_order_acquire);
	from = noted - u64_min(noted - state->noted, LANE_ACCESSES);
	n = u64_min(noted - from, most);
	state->noted = from + n;
	at = from % LANE_ACCESSES;
	first = u64_min(n, LANE_ACCESSES - at);
	if (guard_copy(ret, (const void *)&lane->accesses[at], first * 8) ||
	    guard_copy(ret + first, (const void *)lane->accesses, (n - first) * 8))
		return 0;
	return n;
}

static struct hoard *hoard_of(const struct client *client, uint64_t access)
{
	const struct server *server = client->server;
	uint32_t cache = lane_access_unpack(access).cache;

	if (!core_cache_has(server->core, cache, client->session))
		return NULL;
	return hoard_at(server, cache);
}

static uint32_t notes_take(struct client *client, uint32_t number, uint32_t most)
{
	uint64_t accesses[LANE_ACCESSES], n = notes_copy(client, number, most, accesses);
	const struct hoard *hoard = NULL;
	uint32_t cache = UINT32_MAX;

	for (uint64_t i = 0; i < n; i++) {
		if (lane_access_unpack(accesses[i]).cache != cache) {
			cache = lane_access_unpack(accesses[i]).cache;
			hoard = hoard_of(client, accesses[i]);
		}
		if (!hoard)
			continue;
		/* These may be another cache's: nothing but time is lost then. */
		cache_access_fetch(hoard->cache, accesses[(i + FETCHED) % n]);
		cache_access_guess(hoard->cache, accesses[(i + GUESSED) % n]);
		cache_access(hoard->cache, accesses[i]);
	}
	return (uint32_t)n;
}

static void count_row(const struct client *client, uint32_t number, uint32_t row)
{
	const struct lane_count *count = &client->lanes.at[number].counts[row];
	struct lane_state *state = &client->lanes.states[number];
	const struct server *server = client->server;
	uint64_t cache, hits, misses;
	struct hoard *hoard;

	if (guard_load64(&count->cache, &cache) || !cache)
		return;
	atomic_thread_fence(memory_order_acquire);
	if (guard_load64(&count->hits, &hits) || guard_load64(&count->misses, &misses))
		return;
	if (state->counted[row].cache != cache) {
		state->counted[row].cache = cache;
		state->counted[row].hits = state->counted[row].misses = 0;
	}
	hoard = hoard_at(server, (uint32_t)cache);
	if (!hoard) /* yet: it is counted then */
		return;
	if (core_cache_has(server->core, hoard->slot, client->session))
		cache_count(hoard->cache, hits - state->counted[row].hits,
			    misses - state->counted[row].misses);
	state->counted[row].hits = hits;
	state->counted[row].misses = misses;
}

void lane_counts_take(const struct client *client)
{
	for (uint32_t i = 0; i < client->lanes.n; i++)
		for (uint32_t row = 0; row < LANE_COUNTS; row++)
			count_row(client, i, row);
}

void lane_counts_free(const struct client *client)
{
	const struct server *server = client->server;
	uint64_t cache;

	for (uint32_t i = 0; i < client->lanes.n; i++)
		for (uint32_t row = 0; row < LANE_COUNTS; row++) {
			struct lane_count *count = &client->lanes.at[i].counts[row];

			if (!guard_load64(&count->cache, &cache) && cache &&
			    !core_cache_has(server->core, (uint32_t)cache, client->session) &&
			    !mutant(lane_counts_kept))
				guard_store64(&count->cache, 0);
		}
}

/* ---- of all sessions ---- */

/* Of those of its lanes that are still to be looked at, until so many accesses were taken: *left. */
static void drain_of(struct client *client, uint32_t *left)
{
	struct lanes *lanes = &client->lanes;

	while (lanes->undrained && *left) {
		uint32_t number = (uint32_t)__builtin_ctzll(lanes->undrained);
		uint32_t n = notes_take(client, number, *left);

		*left -= n;
		if (*left)
			lanes->undrained &= lanes->undrained - 1;
	}
}

/* In turn: as many accesses as one batch of records may cost. */
void lanes_drain(struct server *server)
{
	struct exchange *exchange = server->exchange;
	const struct link *last = exchange->noting.previous;
	struct link *at = &exchange->noting;
	uint32_t left = DRAINED_A_BATCH, looked = 0;

	if (exchange->drained == exchange->turn && exchange->polls)
		return;
	exchange->drained = exchange->turn;
	for (; at != last && looked < SESSIONS_A_BATCH; looked++) {
		struct client *client;

		at = exchange->noting.next;
		client = list_entry(at, struct client, in_noting);
		if (!client->lanes.undrained)
			client->lanes.undrained = lanes_opened_of(&client->lanes);
		drain_of(client, &left);
		if (!left)
			return;
		list_remove(at);
		list_append(&exchange->noting, at);
	}
}

void lanes_drain_all(struct server *server)
{
	list_for_each(at, &server->exchange->noting)
	{
		struct client *client = list_entry(at, struct client, in_noting);

		if (!stint_lasts(server))
			break;
		client->lanes.undrained = lanes_opened_of(&client->lanes);
		while (client->lanes.undrained && stint_lasts(server)) {
			uint32_t left = DRAINED_A_BATCH;

			drain_of(client, &left);
		}
	}
}

bool lanes_count(struct server *server)
{
	struct exchange *exchange = server->exchange;

	if (!exchange->uncounted)
		exchange->uncounted = exchange_sessions(server);
	for (; exchange->uncounted && !list_empty(&exchange->noting); exchange->uncounted--) {
		struct link *at = exchange->noting.next;

		if (!stint_lasts(server))
			return false;
		lane_counts_take(list_entry(at, struct client, in_noting));
		list_remove(at);
		list_append(&exchange->noting, at);
	}
	exchange->uncounted = 0;
	return true;
}
