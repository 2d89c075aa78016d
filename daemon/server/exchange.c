#include "daemon/server/exchange.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/lane_take.h"
#include "daemon/server/lanes.h"
#include "daemon/server/scanner.h"
#include "daemon/server/server.h"

enum {
	LANES_A_TURN = 1024, /* that are looked at: 0.1 us each, of memory that others write */
	QUIET_A_TURN = 64,   /* of those without records lately; of one session at least */
	QUIET_LOOKS = 256,   /* in vain, at one that is busy no more */
	RECORDS_A_TURN = 1024,     /* that are taken */
	FEW = 4 * LANE_TAKE_BATCH, /* fewer are no turn yet, if there are more */
	POLL_NS = 100 * 1000,      /* the loop goes round so long after the last record */
};

/* ---- turns ---- */

/* As long as the stint lasts: the next one goes on behind. */
static uint64_t take_of(struct client *client, uint64_t now)
{
	const struct exchange *exchange = client->server->exchange;
	struct lanes *lanes = &client->lanes;
	uint32_t first = lanes->next;
	uint64_t look = lanes_opened_of(lanes), taken = 0;

	look = look >> first | look << (-first % LANES_A_SESSION);
	for (; look; look &= look - 1) {
		uint32_t number = (first + (uint32_t)__builtin_ctzll(look)) % LANES_A_SESSION;
		uint64_t turn = exchange->turn;

		taken += lane_take(client, number, now);
		if (exchange->turn == turn)
			continue;
		lanes->next = (number + 1) % LANES_A_SESSION;
		if (!stint_lasts(client->server))
			break;
	}
	return taken;
}

/* All have their turn: the next one has it last now. */
static struct client *next_client(struct exchange *exchange)
{
	struct link *at = exchange->clients.next;

	if (!mutant(lanes_first_alone)) {
		list_remove(at);
		list_append(&exchange->clients, at);
	}
	return list_entry(at, struct client, in_lanes);
}

static void listen_to(struct exchange *exchange, struct client *client)
{
	client->quiet = 0;
	if (!client->in_busy.next)
		list_append(&exchange->busy, &client->in_busy);
}

/* Who has been quiet is looked at in turn, a few at each: he costs the others little. */
static uint64_t take_quiet(struct exchange *exchange, uint64_t now)
{
	const struct link *last = exchange->clients.previous;
	uint64_t taken = 0, looked = 0;
	struct link *at = NULL;

	while (looked < QUIET_A_TURN && at != last && !list_empty(&exchange->clients) &&
	       (!taken || stint_lasts(exchange->server))) {
		struct client *client;
		uint64_t n = 0;

		at = exchange->clients.next;
		client = next_client(exchange);
		looked += client->lanes.n;
		if (!client->in_busy.next)
			n = take_of(client, now);
		if (n)
			listen_to(exchange, client);
		taken += n;
	}
	return taken;
}

/* LN2. How many records were taken. */
static uint64_t take_some(struct server *server)
{
	struct exchange *exchange = server->exchange;
	struct link *last = exchange->busy.previous, *at = exchange->busy.next;
	uint64_t now = server_machine_ms(server), taken = 0, looked = 0;

	while (at != &exchange->busy && looked < LANES_A_TURN && taken < RECORDS_A_TURN) {
		struct client *client = list_entry(at, struct client, in_busy);
		struct link *next = at->next;
		bool was_last = at == last;
		uint64_t n = take_of(client, now);

		list_remove(at);
		client->quiet = n ? 0 : client->quiet + 1;
		if (client->quiet < QUIET_LOOKS)
			list_append(&exchange->busy, at);
		looked += client->lanes.n;
		taken += n;
		if (was_last || (n && !stint_lasts(server)))
			break;
		at = next;
	}
	return taken + take_quiet(exchange, now);
}

static bool is_ready(const struct lanes *lanes)
{
	uint64_t opened = lanes_opened_of(lanes);

	for (uint32_t i = 0; i < lanes->n && opened >> i & 1; i++)
		if (!lanes->states[i].waits && lane_ready(&lanes->at[i], &lanes->states[i]))
			return true;
	return false;
}

/* ---- the bell ---- */

static void bell_set(struct exchange *exchange, bool sleeping)
{
	if (sleeping && !++exchange->sleeps)
		exchange->sleeps = 1;
	/* Also to who goes on after this daemon: a number that a client knows would not wake it. */
	if (sleeping && !mutant(bell_begins_anew))
		atomic_store_explicit(&exchange->bell->slept, exchange->sleeps,
				      memory_order_release);
	atomic_store_explicit(&exchange->bell->sleeping, sleeping ? exchange->sleeps : 0,
			      memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
}

void exchange_bell(struct exchange *exchange, int fd, struct bell *bell, bool sleeping)
{
	exchange->bell_fd = fd;
	exchange->bell = bell;
	exchange->sleeps = atomic_load_explicit(&bell->slept, memory_order_relaxed);
	bell_set(exchange, sleeping);
}

static void stay_awake(struct exchange *exchange)
{
	exchange->dozes = false;
	bell_set(exchange, false);
	exchange->last_ns = exchange->server->sys->table->now_ns(exchange->server->sys);
}

/*
 * Partner: who puts a record looks at the bell behind it. All heads once more, some at a turn (a page
 * that nobody had touched costs 3 us): what comes behind one that was looked at wakes us, and whose
 * lanes come now has put nothing.
 */
static void doze(struct exchange *exchange)
{
	bool looked = false;

	while (exchange->unlooked && !list_empty(&exchange->clients) &&
	       (!looked || stint_lasts(exchange->server))) {
		struct client *client = next_client(exchange);

		exchange->unlooked--;
		looked = true;
		if (is_ready(&client->lanes) && !mutant(bell_looked_before)) {
			/* Who is quiet has his turn once in a while; he has it next. */
			if (!mutant(lane_found_in_vain))
				listen_to(exchange, client);
			stay_awake(exchange);
			return;
		}
	}
	if (exchange->unlooked && !list_empty(&exchange->clients))
		return;
	exchange->dozes = exchange->polls = false;
	uv_idle_stop(&exchange->poll);
}

static void fall_asleep(struct exchange *exchange)
{
	if (mutant(bell_looked_before))
		mutant_moment();
	exchange->dozes = true;
	exchange->unlooked = exchange_sessions(exchange->server);
	bell_set(exchange, true);
	doze(exchange);
}

/* Who puts next cannot, while this processor is ours. */
static bool is_in_the_way(const struct exchange *exchange)
{
	return exchange->last_cpu && exchange->last_cpu == (uint32_t)(sched_getcpu() + 1);
}

static void poll_lanes(uv_idle_t *idle)
{
	struct exchange *exchange = container_of(idle, struct exchange, poll);
	struct server *server = exchange->server;
	uint64_t now = server->sys->table->now_ns(server->sys), taken = 0, some;
	struct stint stint;

	stint_begin(&stint, server, STINT_LANES);
	if (exchange->dozes) {
		doze(exchange);
		stint_end(&stint);
		return;
	}
	while (taken < FEW && (some = take_some(server))) {
		taken += some;
		if (!stint_lasts(server))
			break;
	}
	if (taken)
		exchange->last_ns = now;
	/* Its worker may wait for this very processor, and who puts for what it finds. */
	if (!taken && scanner_reads(server))
		sched_yield();
	if (!taken && (now - exchange->last_ns >= POLL_NS || is_in_the_way(exchange)))
		fall_asleep(exchange);
	stint_end(&stint);
}

void exchange_wake(struct server *server)
{
	struct exchange *exchange = server->exchange;

	if (server->stopping || (exchange->polls && !exchange->dozes))
		return;
	stay_awake(exchange);
	if (exchange->polls)
		return;
	exchange->polls = true;
	uv_idle_start(&exchange->poll, poll_lanes);
}

void exchange_go_on(struct server *server)
{
	list_for_each(at, &server->exchange->clients)
	{
		struct client *client = list_entry(at, struct client, in_lanes);

		for (uint32_t i = 0; i < client->lanes.n; i++)
			client->lanes.states[i].waits = false;
	}
	if (!list_empty(&server->exchange->clients))
		exchange_wake(server);
}

bool exchange_barrier(const struct server *server)
{
	return server->exchange->barrier;
}

uint32_t exchange_sessions(const struct server *server)
{
	uint32_t n = 0;

	list_for_each(at, &server->exchange->clients) n++;
	return n;
}

void exchange_look(struct server *server)
{
	if (!list_empty(&server->exchange->clients))
		exchange_wake(server);
}

bool exchange_blind(const struct server *server)
{
	if (server->exchange->barrier || mutant(lanes_never_blind))
		return false;
	list_for_each(at, &server->exchange->clients)
	{
		if (list_entry(at, struct client, in_lanes)->lanes.barrier)
			return true;
	}
	return false;
}

/* ---- the whole ---- */

int exchange_new(struct exchange **ret, struct server *server)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));
	struct sys *sys = server->sys;

	if (!exchange)
		return -ENOMEM;
	exchange->server = server;
	exchange->bell_fd = -1;
	exchange->barrier = !sys->table->barrier(sys);
	list_init(&exchange->clients);
	list_init(&exchange->busy);
	list_init(&exchange->noting);
	uv_idle_init(&server->loop, &exchange->poll);
	*ret = exchange;
	return 0;
}

void exchange_free(struct exchange *exchange, struct server *server)
{
	if (!exchange)
		return;
	if (exchange->bell)
		server->sys->table->file_unmap(server->sys, exchange->bell,
					       sizeof(*exchange->bell));
	closep(&exchange->bell_fd);
	free(exchange);
}
