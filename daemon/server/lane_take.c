#include "daemon/server/lane_take.h"

#include <stdatomic.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/errand.h"
#include "daemon/server/exchange.h"
#include "daemon/server/hoard.h"
#include "daemon/server/server.h"
#include "daemon/sys/guard.h"

enum {
	BATCH = LANE_TAKE_BATCH,
	COST_A_BATCH = 32, /* in objects that go: 1 to 4 us each */
};

uint64_t lane_ready(const struct lane *lane, const struct lane_state *state)
{
	uint64_t head;

	if (guard_load64(&lane->head, &head))
		return 0;
	head -= state->taken;
	return head <= LANE_RECORDS || mutant(lane_head_unbounded) ? head : 0;
}

/* LN1: all of them, once. */
static int copy_records(const struct lane *lane, uint64_t from, uint64_t n,
			struct lane_record *ret)
{
	uint64_t at = from % LANE_RECORDS, first = u64_min(n, LANE_RECORDS - at);
	int r;

	r = guard_copy(ret, &lane->records[at], first * sizeof(*ret));
	if (!r && first < n)
		r = guard_copy(ret + first, lane->records, (n - first) * sizeof(*ret));
	return r;
}

/* Of records that are about one cache, one after the other. */
static void fetch(const struct server *server, const struct lane_record *records, uint64_t n)
{
	uint64_t hashes[BATCH];
	uint32_t many = 0;

	static_assert((int)BATCH <= (int)CACHE_FETCHED, "a batch is fetched at once");
	for (uint64_t i = 0; i < n; i++) {
		const struct hoard *hoard;

		hashes[many++] = records[i].hash;
		if (i + 1 < n && records[i + 1].cache == records[i].cache)
			continue;
		hoard = hoard_at(server, records[i].cache);
		if (hoard)
			cache_fetch(hoard->cache, hashes, many);
		many = 0;
	}
}

static struct lane_result result_of(uint64_t position, const struct errand_answer *answer)
{
	return (struct lane_result){
		.position = position + 1,
		.code = answer->code,
		.generation = answer->generation,
		.ref = answer->offset,
		.detail = answer->detail,
	};
}

/*
 * The next record is done: its result, which nobody looks at before it is taken, then its position in
 * the ledger. So who goes on after a death has no results to make again but for one record.
 */
static void record_done(struct client *client, uint32_t number,
			const struct errand_answer *answer)
{
	struct lane_state *state = &client->lanes.states[number];
	struct lane *lane = &client->lanes.at[number];
	const struct lane_result result = result_of(state->taken, answer);

	guard_copy(&lane->results[state->taken % LANE_RECORDS], &result, sizeof(result));
	++state->taken;
	core_lane_taken(client->server->core, client->session, number, state->taken);
}

/* And wakes who waits for it. */
static void store_taken(struct sys *sys, struct lane *lane, uint64_t taken)
{
	uint32_t waiting = 0;

	atomic_thread_fence(memory_order_release);
	guard_store64(&lane->taken, taken);
	atomic_thread_fence(memory_order_seq_cst);
	if (guard_copy(&waiting, (const void *)&lane->waiting, sizeof(waiting)) ||
	    !lane_is_due(waiting, taken) || mutant(lane_unwoken))
		return;
	sys->table->wake(sys, (const _Atomic uint32_t *)(const void *)&lane->taken, 1);
}

/* Hoards that records were about may have something to do now. */
static void stir(const struct server *server, const struct lane_record *records, uint64_t n)
{
	const struct hoard *last = NULL;

	for (uint64_t i = 0; i < n; i++) {
		struct hoard *hoard = hoard_at(server, records[i].cache);

		if (hoard && hoard != last)
			hoard_stir(hoard);
		last = hoard;
	}
}

uint64_t lane_take(struct client *client, uint32_t number, uint64_t now)
{
	struct server *server = client->server;
	struct lane_state *state = &client->lanes.states[number];
	struct lane *lane = &client->lanes.at[number];
	struct lane_record records[BATCH];
	struct errand_answer answer;
	uint64_t n, more, done = 0, cost = 0;

	if (state->waits)
		return 0;
	more = lane_ready(lane, state);
	n = u64_min(more, BATCH);
	if (client->lanes.ending && !mutant(lane_end_follows))
		n = u64_min(n, state->last - state->taken);
	if (!n)
		return 0;
	atomic_thread_fence(memory_order_acquire);
	if (copy_records(lane, state->taken, n, records)) {
		state->last = state->taken; /* if its session ends */
		return 0;
	}
	server->exchange->turn++;
	if (guard_copy(&server->exchange->last_cpu, (const void *)&lane->cpu, sizeof(uint32_t)))
		server->exchange->last_cpu = 0;
	fetch(server, records, n);
	/* The next ones, which lie in another processor's cache. */
	for (uint64_t i = n; i < u64_min(more, 2 * BATCH); i++)
		__builtin_prefetch(&lane->records[(state->taken + i) % LANE_RECORDS]);
	if (mutant(lane_taken_early)) {
		store_taken(server->sys, lane, state->taken + n);
		mutant_moment();
	}
	for (; done < n; done++) {
		const struct lane_record *record = &records[done];
		int r;

		if (mutant(lane_read_twice))
			record = &lane->records[state->taken % LANE_RECORDS];
		if (mutant(lane_position_early))
			core_lane_taken(server->core, client->session, number,
					state->taken + 1);
		r = errand_run(client, number, record, now, &answer);
		state->waits = r == ERRAND_JOB;
		if (r)
			break;
		record_done(client, number, &answer);
		cost += answer.cost;
		if (cost >= COST_A_BATCH) {
			done++;
			break;
		}
	}
	if (done && !mutant(lane_taken_early))
		store_taken(server->sys, lane, state->taken);
	stir(server, records, n);
	return done;
}

void lane_resume(struct client *client, uint32_t number)
{
	const struct lane_state *state = &client->lanes.states[number];
	struct lane *lane = &client->lanes.at[number];
	struct errand_answer answer;
	struct lane_record record;

	if (lane_ready(lane, state)) {
		atomic_thread_fence(memory_order_acquire);
		if (!copy_records(lane, state->taken, 1, &record) &&
		    errand_was_done(client, number, &record, &answer))
			record_done(client, number, &answer);
	}
	store_taken(client->server->sys, lane, state->taken);
}
