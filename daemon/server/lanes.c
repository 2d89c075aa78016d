#include "daemon/server/lanes.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/allowance.h"
#include "daemon/server/client.h"
#include "daemon/server/errand.h"
#include "daemon/server/fault.h"
#include "daemon/server/lane_notes.h"
#include "daemon/server/scanner.h"
#include "daemon/server/server.h"
#include "daemon/sys/guard.h"

enum {
	BATCH = 32,          /* records of a lane, before others' turn */
	LANES_A_TURN = 1024, /* that are looked at: 0.1 us each, of memory that others write */
	QUIET_A_TURN = 64,   /* of those without records lately; of one session at least */
	QUIET_LOOKS = 256,   /* in vain, at one that is busy no more */
	RECORDS_A_TURN = 1024, /* that are taken */
	FEW = 4 * BATCH,       /* fewer are no turn yet, if there are more */
	DRAINED_A_BATCH = 256, /* accesses: 0.7 us each, if nothing of them is in a cache */
	SESSIONS_A_BATCH = 64, /* whose lanes are looked at for them */
	COST_A_BATCH = 32,     /* in objects that go: 1 to 4 us each */
	POLL_NS = 100 * 1000,  /* the loop goes round so long after the last record */
};

struct exchange {
	struct server *server;
	struct link clients; /* with lanes; who was looked at last comes last */
	struct link busy;    /* of these; the same */
	struct closing *postponed;
	int bell_fd; /* -1: nobody has opened lanes yet */
	struct bell *bell;
	bool making_bell;
	uint32_t sleeps; /* never 0 */
	bool dozes; /* the bell says that it sleeps, but not all heads have been looked at: */
	uint32_t unlooked; /* the first of `clients` */
	bool barrier;      /* is to be had */
	uv_idle_t poll;
	bool polls;
	uint64_t last_ns;       /* when there was a record last */
	uint32_t last_cpu;      /* where who put it ran (lane.h) */
	uint64_t turn, drained; /* batches; in which accesses were taken last */
	struct link
		noting; /* clients: whose accesses were taken, or whose hits counted, last come last */
	uint32_t uncounted; /* the first of these, while all are counted */
};

/* ---- their files ---- */

struct opening {
	uv_work_t work;
	struct request *request;
	struct lanes made;
	int bell_fd; /* -1: it is to be made */
	struct bell *bell;
	bool makes_bell;
	int fds[2];
	int error;
};

struct closing {
	struct closing *next;
	uv_work_t work;
	struct sys *sys;
	struct lanes lanes;
};

static uint64_t file_size(uint32_t n)
{
	uint64_t size = 0;

	u64_align_up((uint64_t)n * sizeof(struct lane), 4096, &size);
	return size;
}

static void destroy(struct sys *sys, struct lanes *lanes)
{
	if (lanes->at)
		sys->table->file_unmap(sys, lanes->at, file_size(lanes->n));
	if (lanes->fd >= 0)
		close(lanes->fd);
	free(lanes->states);
	*lanes = LANES_NONE;
}

static int make_bell(struct opening *opening, struct sys *sys)
{
	void *memory;
	int r;

	r = sys->table->file_create(sys, "varbos-bell", sizeof(*opening->bell), SYS_READ,
				    &opening->bell_fd, &memory);
	if (!r)
		opening->bell = memory;
	return r;
}

static void open_lanes(uv_work_t *work)
{
	struct opening *opening = container_of(work, struct opening, work);
	struct server *server = opening->request->server;
	struct lanes *made = &opening->made;
	struct sys *sys = server->sys;
	void *memory = NULL;
	int r;

	r = sys->table->file_create(sys, "varbos-lanes", file_size(made->n), SYS_READ_WRITE,
				    &made->fd, &memory);
	made->at = memory;
	if (!r)
		r = sys->table->reopen(sys, made->fd, SYS_READ_WRITE, &opening->fds[0]);
	if (!r) {
		if (opening->makes_bell)
			r = make_bell(opening, sys);
		if (!r)
			r = sys->table->reopen(sys, opening->bell_fd, SYS_READ,
					       &opening->fds[1]);
		if (r)
			close(opening->fds[0]);
	}
	opening->error = r;
}

static void bell_set(struct exchange *exchange, bool sleeping);

/* The first one's bell is everyone's. */
static void take_bell(struct exchange *exchange, struct opening *opening)
{
	exchange->making_bell = false;
	if (!opening->bell)
		return;
	exchange->bell_fd = opening->bell_fd;
	exchange->bell = opening->bell;
	bell_set(exchange, true);
}

/* Its lanes take nothing, then. */
static int opening_failed(struct client *client)
{
	struct core_fault fault;

	core_session_files(client->server->core, client->session, 0, &fault);
	return -ENOMEM;
}

static void lanes_opened(uv_work_t *work, int status)
{
	struct opening *opening = container_of(work, struct opening, work);
	struct client *client = opening->request->client;
	struct server *server = client->server;

	(void)status; /* nothing is ever cancelled */
	client->opening_lanes = false;
	if (opening->makes_bell)
		take_bell(server->exchange, opening);
	if (!opening->error && !server->stopping) {
		client->lanes = opening->made;
		list_append(&server->exchange->clients, &client->in_lanes);
		list_append(&server->exchange->noting, &client->in_noting);
	} else {
		quota_give(&server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
		opening_failed(client);
		destroy(server->sys, &opening->made);
	}
	request_finish(opening->request, opening->error, opening->fds, opening->error ? 0 : 2);
	free(opening);
}

int lanes_open(struct request *request, const struct wire_lanes_open *wanted)
{
	struct client *client = request->client;
	struct server *server = client->server;
	struct core_fault fault = {};
	struct quota_refusal why;
	struct opening *opening;
	int r;

	if (client->lanes.fd >= 0 || client->opening_lanes)
		return fault_set(request, FAULT_EXISTS, "lanes",
				 "this session has lanes already");
	if (!wanted->lanes || wanted->lanes > LANES_A_SESSION)
		return fault_set(request, FAULT_INVALID, "lanes", "lanes: 1 to %d",
				 LANES_A_SESSION);
	if (server->exchange->making_bell)
		return REQUEST_BUSY;
	if (!quota_may(&server->quotas, client->quota, QUOTA_DESCRIPTORS, 1, &why))
		return allowance_fault(request, &why);
	r = core_session_files(server->core, client->session,
			       file_size((uint32_t)wanted->lanes), &fault);
	if (r)
		return fault_from_core(request, r, &fault);
	opening = calloc(1, sizeof(*opening));
	if (!opening)
		return opening_failed(client);
	opening->made = LANES_NONE;
	opening->made.n = (uint32_t)wanted->lanes;
	opening->made.pins = (uint32_t)server->config.limits.pins;
	opening->made.states = calloc(wanted->lanes, sizeof(*opening->made.states));
	request->result.lanes_opened = (struct wire_lanes_opened){
		.size = file_size(opening->made.n),
		.barrier = wanted->barrier && server->exchange->barrier,
		.pins = opening->made.pins,
	};
	if (opening->made.states)
		opening->request = request_keep(request);
	if (!opening->request) {
		free(opening->made.states);
		free(opening);
		return opening_failed(client);
	}
	client->opening_lanes = true;
	opening->bell_fd = server->exchange->bell_fd;
	opening->makes_bell = server->exchange->making_bell = opening->bell_fd < 0;
	quota_take(&server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
	r = uv_queue_work(&server->loop, &opening->work, open_lanes, lanes_opened);
	assert(!r); /* it fails for want of a function only */
	return REQUEST_LATER;
}

static void close_lanes(uv_work_t *work)
{
	struct closing *closing = container_of(work, struct closing, work);

	destroy(closing->sys, &closing->lanes);
}

static void lanes_closed(uv_work_t *work, int status)
{
	(void)status;
	free(container_of(work, struct closing, work));
}

void lanes_close(struct client *client)
{
	struct server *server = client->server;
	struct closing *closing;

	if (client->lanes.fd < 0)
		return;
	list_remove(&client->in_lanes);
	list_remove(&client->in_noting);
	if (client->in_busy.next)
		list_remove(&client->in_busy);
	quota_give(&server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
	closing = calloc(1, sizeof(*closing));
	if (!closing) {
		/* Slowly, and better here than never; but not while the scanner reads it. */
		if (!scanner_reads(server))
			destroy(server->sys, &client->lanes);
		return;
	}
	closing->sys = server->sys;
	closing->lanes = client->lanes;
	client->lanes = LANES_NONE;
	if (scanner_reads(server)) {
		closing->next = server->exchange->postponed;
		server->exchange->postponed = closing;
	} else {
		uv_queue_work(&server->loop, &closing->work, close_lanes, lanes_closed);
	}
}

void lanes_release(struct server *server)
{
	struct closing *closing = TAKE_PTR(server->exchange->postponed), *next;

	for (; closing; closing = next) {
		next = closing->next;
		uv_queue_work(&server->loop, &closing->work, close_lanes, lanes_closed);
	}
}

bool lanes_barrier(const struct server *server)
{
	return server->exchange->barrier;
}

uint32_t lanes_sessions(const struct server *server)
{
	uint32_t n = 0;

	list_for_each(at, &server->exchange->clients) n++;
	return n;
}

/* ---- taking ---- */

/* How many records there are; none, if that cannot be. */
static uint64_t ready(const struct lane *lane, const struct lane_state *state)
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

/* Nobody looks at them before they are taken. */
static void store_results(struct lane *lane, uint64_t from, uint64_t n,
			  const struct lane_result *results)
{
	uint64_t at = from % LANE_RECORDS, first = u64_min(n, LANE_RECORDS - at);

	guard_copy(&lane->results[at], results, first * sizeof(*results));
	if (first < n)
		guard_copy(lane->results, results + first, (n - first) * sizeof(*results));
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

/* A batch. How many records were taken; what waits is not. */
static uint64_t take_batch(struct client *client, uint32_t number, uint64_t now)
{
	struct server *server = client->server;
	struct lane_state *state = &client->lanes.states[number];
	struct lane *lane = &client->lanes.at[number];
	struct lane_record records[BATCH];
	struct lane_result results[BATCH];
	struct errand_answer answer;
	uint64_t n, more, done = 0, cost = 0;

	if (state->waits)
		return 0;
	more = ready(lane, state);
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
			record = &lane->records[(state->taken + done) % LANE_RECORDS];
		r = errand_run(client, record, now, &answer);

		state->waits = r == ERRAND_JOB;
		if (r)
			break;
		results[done] = result_of(state->taken + done, &answer);
		cost += answer.cost;
		if (cost >= COST_A_BATCH) {
			done++;
			break;
		}
	}
	store_results(lane, state->taken, done, results);
	state->taken += done;
	if (done && !mutant(lane_taken_early))
		store_taken(server->sys, lane, state->taken);
	stir(server, records, n);
	return done;
}

/* What it has opened: of 64 lanes, most are nobody's. Who says too little is not heard. */
static uint64_t opened_of(const struct lanes *lanes)
{
	uint64_t all = UINT64_MAX >> (LANES_A_SESSION - lanes->n);
	uint32_t opened;

	static_assert((int)LANES_A_SESSION == 64, "a bit each");
	if (guard_copy(&opened, (const void *)&lanes->at[0].opened, sizeof(opened)) ||
	    !opened || opened >= lanes->n)
		return all;
	return all >> (lanes->n - opened);
}

/* As long as the stint lasts: the next one goes on behind. */
static uint64_t take_of(struct client *client, uint64_t now)
{
	const struct exchange *exchange = client->server->exchange;
	struct lanes *lanes = &client->lanes;
	uint32_t first = lanes->next;
	uint64_t look = opened_of(lanes), taken = 0;

	look = look >> first | look << (-first % LANES_A_SESSION);
	for (; look; look &= look - 1) {
		uint32_t number = (first + (uint32_t)__builtin_ctzll(look)) % LANES_A_SESSION;
		uint64_t turn = exchange->turn;

		taken += take_batch(client, number, now);
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
	uint64_t opened = opened_of(lanes);

	for (uint32_t i = 0; i < lanes->n && opened >> i & 1; i++)
		if (!lanes->states[i].waits && ready(&lanes->at[i], &lanes->states[i]))
			return true;
	return false;
}

/* What comes behind these comes too late: whoever goes on putting holds nobody up. */
static void end_begins(struct lanes *lanes)
{
	lanes->ending = true;
	for (uint32_t i = 0; i < lanes->n; i++)
		lanes->states[i].last =
			lanes->states[i].taken + ready(&lanes->at[i], &lanes->states[i]);
}

int lanes_end(struct client *client)
{
	struct lanes *lanes = &client->lanes;
	uint64_t now = server_machine_ms(client->server);
	int r = 0;

	if (lanes->fd < 0 || lanes->ended)
		return 0;
	if (!lanes->ending)
		end_begins(lanes);
	for (int n = 0; mutant(lane_end_follows) && n < 256; n++)
		mutant_moment();
	for (uint32_t i = 0; i < lanes->n; i++) {
		const struct lane_state *state = &lanes->states[i];

		if (take_batch(client, i, now) && !stint_lasts(client->server))
			return ERRAND_MORE;
		if ((state->taken == state->last && !mutant(lane_end_follows)) ||
		    !ready(&lanes->at[i], state))
			continue;
		if (!state->waits)
			r = ERRAND_MORE;
		else if (!r)
			r = ERRAND_JOB;
	}
	lanes->ended = !r;
	if (!r)
		lane_counts_take(client);
	return r;
}

/* ---- the bell ---- */

static void bell_set(struct exchange *exchange, bool sleeping)
{
	if (sleeping && !++exchange->sleeps)
		exchange->sleeps = 1;
	atomic_store_explicit(&exchange->bell->sleeping, sleeping ? exchange->sleeps : 0,
			      memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
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
	exchange->unlooked = lanes_sessions(exchange->server);
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

void lanes_wake(struct server *server)
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

void lanes_go_on(struct server *server)
{
	list_for_each(at, &server->exchange->clients)
	{
		struct client *client = list_entry(at, struct client, in_lanes);

		for (uint32_t i = 0; i < client->lanes.n; i++)
			client->lanes.states[i].waits = false;
	}
	if (!list_empty(&server->exchange->clients))
		lanes_wake(server);
}

/* ---- what readers note and count ---- */

/* Of these lanes of its, until so many accesses were taken: *left. */
static void drain_of(struct client *client, uint32_t *left)
{
	struct lanes *lanes = &client->lanes;

	while (lanes->undrained && *left) {
		uint32_t number = (uint32_t)__builtin_ctzll(lanes->undrained);
		uint32_t n = lane_notes_take(client, number, *left);

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
			client->lanes.undrained = opened_of(&client->lanes);
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
		client->lanes.undrained = opened_of(&client->lanes);
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
		exchange->uncounted = lanes_sessions(server);
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
