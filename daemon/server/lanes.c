#include "daemon/server/lanes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/allowance.h"
#include "daemon/server/client.h"
#include "daemon/server/errand.h"
#include "daemon/server/exchange.h"
#include "daemon/server/fault.h"
#include "daemon/server/grant.h"
#include "daemon/server/keep.h"
#include "daemon/server/lane_notes.h"
#include "daemon/server/lane_take.h"
#include "daemon/server/scanner.h"
#include "daemon/server/server.h"
#include "daemon/sys/guard.h"

struct opening {
	uv_work_t work;
	struct request *request;
	struct lanes made;
	int bell_fd; /* -1: it is to be made */
	struct bell *bell;
	bool makes_bell;
	bool kept; /* the lanes' file is */
	int fds[2];
	int error;
};

struct closing {
	struct closing *next;
	uv_work_t work;
	struct sys *sys;
	struct lanes lanes;
};

uint64_t lanes_file_size(uint32_t n)
{
	uint64_t size = 0;

	u64_align_up((uint64_t)n * sizeof(struct lane), 4096, &size);
	return size;
}

const char *lanes_kept(const struct lanes *lanes, char ret[KEPT_NAME_MAX])
{
	return kept_name(ret, KEPT_LANES, lanes->session, lanes->serial, 0);
}

/* The ledger says no more that they are there. */
static void keep_out(struct server *server, const struct lanes *lanes)
{
	char name[KEPT_NAME_MAX];

	keep_remove(server->keep, lanes_kept(lanes, name));
}

static void destroy(struct sys *sys, struct lanes *lanes)
{
	if (lanes->at)
		sys->table->file_unmap(sys, lanes->at, lanes_file_size(lanes->n));
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

/* What the next daemon finds, before anybody is given it. */
static int keep_files(struct opening *opening)
{
	char lanes[KEPT_NAME_MAX], bell[KEPT_NAME_MAX];
	const struct kept what[] = {
		{lanes_kept(&opening->made, lanes), opening->made.fd},
		{kept_name(bell, KEPT_BELL, 0, 0, 0), opening->bell_fd},
	};
	int r = keep_put(opening->request->server->keep, what, opening->makes_bell ? 2 : 1);

	opening->kept = !r;
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

	r = sys->table->file_create(sys, "varbos-lanes", lanes_file_size(made->n),
				    SYS_READ_WRITE, &made->fd, &memory);
	made->at = memory;
	if (!r && opening->makes_bell)
		r = make_bell(opening, sys);
	if (!r)
		r = sys->table->reopen(sys, made->fd, SYS_READ_WRITE, &opening->fds[0]);
	if (!r)
		r = sys->table->reopen(sys, opening->bell_fd, SYS_READ, &opening->fds[1]);
	if (!r)
		r = keep_files(opening);
	for (int i = 0; i < 2 && r; i++)
		closep(&opening->fds[i]);
	opening->error = r;
}

/* The first one's bell is everyone's, if it is kept. */
static void take_bell(struct exchange *exchange, struct opening *opening, struct sys *sys)
{
	exchange->making_bell = false;
	if (!opening->bell)
		return;
	if (!opening->kept) {
		sys->table->file_unmap(sys, opening->bell, sizeof(*opening->bell));
		close(opening->bell_fd);
		return;
	}
	exchange_bell(exchange, opening->bell_fd, opening->bell, true);
}

/* Its lanes take nothing, then. */
static int opening_failed(struct client *client)
{
	struct core_fault fault;

	core_session_files(client->server->core, client->session, 0, &fault);
	return -ENOMEM;
}

/* From now on they are the session's, whatever becomes of this daemon. */
static int into_ledger(struct client *client, const struct lanes *made)
{
	const struct lanes_terms terms = {made->n, made->pins, made->barrier};
	struct core_fault fault;

	return core_lanes_open(client->server->core, client->session, &terms, &fault) ? -ENOMEM
										      : 0;
}

void lanes_are_there(struct client *client, const struct lanes *lanes)
{
	struct exchange *exchange = client->server->exchange;

	client->lanes = *lanes;
	list_append(&exchange->clients, &client->in_lanes);
	list_append(&exchange->noting, &client->in_noting);
}

static void lanes_opened(uv_work_t *work, int status)
{
	struct opening *opening = container_of(work, struct opening, work);
	struct client *client = opening->request->client;
	struct server *server = client->server;

	(void)status; /* nothing is ever cancelled */
	client->opening_lanes = false;
	if (opening->makes_bell)
		take_bell(server->exchange, opening, server->sys);
	if (!opening->error && !server->stopping) {
		opening->error = into_ledger(client, &opening->made);
		for (int i = 0; i < 2 && opening->error; i++)
			closep(&opening->fds[i]);
	}
	if (!opening->error && !server->stopping) {
		lanes_are_there(client, &opening->made);
	} else {
		quota_give(&server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
		opening_failed(client);
		if (opening->kept)
			keep_out(server, &opening->made);
		destroy(server->sys, &opening->made);
	}
	request_finish(opening->request, opening->error, opening->fds, opening->error ? 0 : 2);
	free(opening);
}

static void say_opened(struct request *request, const struct lanes *lanes)
{
	request->result.lanes_opened = (struct wire_lanes_opened){
		.size = lanes_file_size(lanes->n),
		.barrier = lanes->barrier,
		.pins = lanes->pins,
	};
}

/* Its client has not heard that it has them: over this connection (it was too late), or the last one. */
static int grant_again(struct request *request)
{
	const struct lanes *lanes = &request->client->lanes;

	say_opened(request, lanes);
	return grant_start(request, (int[]){lanes->fd, request->server->exchange->bell_fd},
			   (enum sys_access[]){SYS_READ_WRITE, SYS_READ}, 2, NULL);
}

int lanes_open(struct request *request, const struct wire_lanes_open *wanted)
{
	struct client *client = request->client;
	struct server *server = client->server;
	struct core_fault fault = {};
	struct quota_refusal why;
	struct opening *opening;
	int r;

	if (client->lanes.fd >= 0 && client->lanes.n == wanted->lanes &&
	    !mutant(lanes_granted_once))
		return grant_again(request);
	if (client->opening_lanes && !mutant(lanes_granted_once))
		return REQUEST_BUSY; /* of as many or not: that is seen then */
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
			       lanes_file_size((uint32_t)wanted->lanes), &fault);
	if (r)
		return fault_from_core(request, r, &fault);
	opening = calloc(1, sizeof(*opening));
	if (!opening)
		return opening_failed(client);
	opening->made = LANES_NONE;
	opening->fds[0] = opening->fds[1] = -1;
	opening->made.n = (uint32_t)wanted->lanes;
	opening->made.session = client->session;
	opening->made.serial = client->serial;
	opening->made.pins = (uint32_t)server->config.limits.pins;
	opening->made.barrier = wanted->barrier && server->exchange->barrier;
	opening->made.states = calloc(wanted->lanes, sizeof(*opening->made.states));
	say_opened(request, &opening->made);
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
	if (!server->stopping)
		keep_out(server, &client->lanes);
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

/* ---- their end ---- */

uint64_t lanes_opened_of(const struct lanes *lanes)
{
	uint64_t all = UINT64_MAX >> (LANES_A_SESSION - lanes->n);
	uint32_t opened;

	static_assert((int)LANES_A_SESSION == 64, "a bit each");
	if (guard_copy(&opened, (const void *)&lanes->at[0].opened, sizeof(opened)) ||
	    !opened || opened >= lanes->n)
		return all;
	return all >> (lanes->n - opened);
}

/* What comes behind these comes too late: whoever goes on putting holds nobody up. */
static void end_begins(struct lanes *lanes)
{
	lanes->ending = true;
	for (uint32_t i = 0; i < lanes->n; i++)
		lanes->states[i].last =
			lanes->states[i].taken + lane_ready(&lanes->at[i], &lanes->states[i]);
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

		if (lane_take(client, i, now) && !stint_lasts(client->server))
			return ERRAND_MORE;
		if ((state->taken == state->last && !mutant(lane_end_follows)) ||
		    !lane_ready(&lanes->at[i], state))
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
