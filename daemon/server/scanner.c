#include "daemon/server/scanner.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/exchange.h"
#include "daemon/server/hoards.h"
#include "daemon/server/lanes.h"
#include "daemon/server/publisher.h"
#include "daemon/server/server.h"
#include "daemon/sys/guard.h"

enum {
	STEPS = 512,      /* of a word and a cache that waits for it: 0.2 us each at most */
	SPACE_SHIFT = 44, /* of a hazard word (proto/index.h) */
};

/* A session's lanes, as they were when the scan began. */
struct lanes_seen {
	const struct lane *at;
	uint32_t n, session, pins;
};

struct hazard {
	uint32_t session;
	uint64_t word;
};

struct scan {
	uv_work_t work;
	struct server *server;
	struct lanes_seen *lanes;
	uint32_t n_lanes;
	struct hazard *hazards; /* that are set */
	size_t n, room;
	size_t at; /* how far they have been given to caches */
	int error;
};

struct scanner {
	struct scan *scan; /* under way, or NULL */
	bool reading;      /* a worker */
	bool wanted;
	uint64_t begun; /* how many */
};

static void scan_free(struct scan *scan)
{
	free(scan->lanes);
	free(scan->hazards);
	free(scan);
}

/* ---- by a worker ---- */

static int hazard_add(struct scan *scan, uint32_t session, uint64_t word)
{
	if (scan->n == scan->room) {
		size_t room = scan->room ? scan->room * 2 : 256;
		struct hazard *hazards = realloc(scan->hazards, room * sizeof(*hazards));

		if (!hazards)
			return -ENOMEM;
		scan->hazards = hazards;
		scan->room = room;
	}
	scan->hazards[scan->n++] = (struct hazard){session, word};
	return 0;
}

/* In order, and no more than the session was granted: what stands behind them holds nothing. */
static int read_lane(struct scan *scan, const struct lane *lane, uint32_t session,
		     uint32_t pins)
{
	uint32_t most = mutant(hazards_of_a_few) ? 1 : 1 + pins;

	if (mutant(pins_beyond_quota))
		most = LANE_HAZARDS;

	for (uint32_t i = 0; i < most; i++) {
		uint64_t word;
		int r;

		if (guard_load64(&lane->hazards[i], &word) || !word)
			continue;
		r = hazard_add(scan, session, word);
		if (r)
			return r;
		/* A reader that moves on to a later word is seen there. */
		atomic_thread_fence(memory_order_acquire);
	}
	return 0;
}

static void scan_run(uv_work_t *work)
{
	struct scan *scan = container_of(work, struct scan, work);
	struct sys *sys = scan->server->sys;

	atomic_thread_fence(memory_order_seq_cst);
	if (exchange_barrier(scan->server) && !mutant(scan_unbarriered))
		scan->error = sys->table->barrier(sys);
	for (int n = 0; mutant(scanner_unwaited) && n < 64; n++)
		mutant_moment();
	for (uint32_t i = 0; i < scan->n_lanes && !scan->error; i++)
		for (uint32_t j = 0; j < scan->lanes[i].n && !scan->error; j++)
			scan->error = read_lane(scan, &scan->lanes[i].at[j],
						scan->lanes[i].session, scan->lanes[i].pins);
}

/* ---- by the loop ---- */

static void scan_done(uv_work_t *work, int status)
{
	struct scan *scan = container_of(work, struct scan, work);
	struct server *server = scan->server;
	struct scanner *scanner = server->scanner;

	(void)status; /* nothing is ever cancelled */
	scanner->reading = false;
	lanes_release(server);
	if (scan->error || server->stopping) { /* it proves nothing; another time */
		hoards_scan_failed(server);
		scanner->scan = NULL;
		scan_free(scan);
		if (!server->stopping)
			request_retry(server);
		return;
	}
	server_more(server);
}

/* -ENOMEM: another time. */
static int scan_start(struct server *server)
{
	struct scanner *scanner = server->scanner;
	struct scan *scan = calloc(1, sizeof(*scan));
	uint32_t n = exchange_sessions(server);
	int r;

	if (!scan)
		return -ENOMEM;
	scan->server = server;
	scan->lanes = calloc(n ? n : 1, sizeof(*scan->lanes));
	if (!scan->lanes) {
		scan_free(scan);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < server->n_clients_max && scan->n_lanes < n; i++) {
		const struct client *client = server->clients[i];

		if (!client || client->lanes.fd < 0 ||
		    (mutant(absent_unscanned) && !client->connection))
			continue;
		scan->lanes[scan->n_lanes++] = (struct lanes_seen){
			client->lanes.at, client->lanes.n, client->session, client->lanes.pins};
	}
	if (exchange_blind(server) || !hoards_scan_begin(server)) {
		scan_free(scan);
		return 0;
	}
	scanner->begun++;
	scanner->scan = scan;
	scanner->reading = true;
	r = uv_queue_work(&server->loop, &scan->work, scan_run, scan_done);
	assert(!r); /* it fails for want of a function only */
	return 0;
}

void scanner_want(struct server *server)
{
	server->scanner->wanted = true;
	if (!server->scanner->scan)
		server_more(server);
}

/* SN2: of the hoards of the word's space, if its session has that open. */
static uint32_t give_word(struct server *server, const struct hazard *hazard, uint64_t now)
{
	uint64_t space = hazard->word >> SPACE_SHIFT;

	if (space >= server->files.n_roots ||
	    (!core_session_has(server->core, hazard->session, (uint32_t)space) &&
	     !mutant(hazards_anywhere)))
		return 0;
	return hoards_scan_word(server, (uint32_t)space, hazard->session,
				hazard->word & (((uint64_t)1 << SPACE_SHIFT) - 1), now);
}

bool scanner_turn(struct server *server)
{
	struct scanner *scanner = server->scanner;
	struct scan *scan = scanner->scan;
	uint64_t now;

	if (scanner->reading)
		return false;
	if (!scan) {
		if (!scanner->wanted)
			return false;
		scanner->wanted = false;
		scan_start(server); /* without memory: at the next beat */
		return false;
	}
	now = server_machine_ms(server);
	do
		for (uint32_t steps = 0; scan->at < scan->n && steps < STEPS;)
			steps += 1 + give_word(server, &scan->hazards[scan->at++], now);
	while (scan->at < scan->n && stint_lasts(server));
	if (scan->at < scan->n)
		return true;
	scanner->scan = NULL;
	scan_free(scan);
	hoards_scan_end(server);
	return scanner->wanted;
}

uint64_t scanner_count(const struct server *server)
{
	return server->scanner->begun;
}

bool scanner_scans(const struct server *server)
{
	return server->scanner->scan || server->scanner->wanted;
}

bool scanner_reads(const struct server *server)
{
	return server->scanner->reading && !mutant(scanner_unwaited);
}

int scanner_new(struct scanner **ret, struct server *server)
{
	(void)server;
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

void scanner_free(struct scanner *scanner)
{
	if (!scanner)
		return;
	if (scanner->scan)
		scan_free(scanner->scan);
	free(scanner);
}
