#include "daemon/server/returns.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/allowance.h"
#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/grant.h"
#include "daemon/server/keep.h"
#include "daemon/server/method.h"
#include "daemon/server/publisher.h"
#include "daemon/server/server.h"
#include "daemon/sys/guard.h"

enum { TAKE_A_TURN = 2048 }; /* records, of all clients */

struct opening {
	uv_work_t work;
	struct request *request;
	struct returns made;
	int client_fd;
	int error;
};

struct closing {
	uv_work_t work;
	struct sys *sys;
	struct returns returns;
};

const char *returns_kept(const struct returns *returns, char ret[KEPT_NAME_MAX])
{
	return kept_name(ret, KEPT_RETURNS, returns->session, returns->serial, 0);
}

/* The ledger says no more that it is there. */
static void keep_out(struct server *server, const struct returns *returns)
{
	char name[KEPT_NAME_MAX];

	keep_remove(server->keep, returns_kept(returns, name));
}

static void destroy(struct sys *sys, struct returns *returns)
{
	if (returns->fd < 0)
		return;
	sys->table->file_unmap(sys, (void *)(uintptr_t)returns->ring, sizeof(*returns->ring));
	close(returns->fd);
	*returns = RETURNS_NONE;
}

/* What the next daemon finds, before anybody is given it. */
static int keep_file(struct opening *opening)
{
	char name[KEPT_NAME_MAX];
	const struct kept kept = {returns_kept(&opening->made, name), opening->made.fd};

	return keep_put(opening->request->server->keep, &kept, 1);
}

static void open_ring(uv_work_t *work)
{
	struct opening *opening = container_of(work, struct opening, work);
	struct sys *sys = opening->request->server->sys;
	void *memory;

	opening->error =
		sys->table->file_create(sys, "varbos-returns", sizeof(struct return_ring),
					SYS_READ_WRITE, &opening->made.fd, &memory);
	if (opening->error)
		return;
	opening->made.ring = memory;
	opening->error =
		sys->table->reopen(sys, opening->made.fd, SYS_READ_WRITE, &opening->client_fd);
	if (!opening->error)
		opening->error = keep_file(opening);
	if (!opening->error)
		return;
	closep(&opening->client_fd);
	destroy(sys, &opening->made);
}

void returns_are_there(struct client *client, const struct returns *returns)
{
	client->returns = *returns;
	list_append(&client->server->rings, &client->in_rings);
}

/* From now on it is the session's, whatever becomes of this daemon. */
static int into_ledger(struct client *client)
{
	struct core_fault fault;

	return core_returns_open(client->server->core, client->session, &fault) ? -ENOMEM : 0;
}

static void ring_opened(uv_work_t *work, int status)
{
	struct opening *opening = container_of(work, struct opening, work);
	struct client *client = opening->request->client;

	(void)status; /* nothing is ever cancelled */
	client->opening_returns = false;
	if (!opening->error) {
		opening->error = into_ledger(client);
		if (opening->error) {
			closep(&opening->client_fd);
			keep_out(client->server, &opening->made);
			destroy(client->server->sys, &opening->made);
		}
	}
	if (!opening->error)
		returns_are_there(client, &opening->made);
	else
		quota_give(&client->server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
	if (client->server->stopping)
		returns_close(client);
	request_finish(opening->request, opening->error, &opening->client_fd,
		       opening->error ? 0 : 1);
	free(opening);
}

int returns_open(struct request *request)
{
	struct client *client = request->client;
	struct quota_refusal why;
	struct opening *opening;
	int r;

	if (client->returns.fd >= 0 && client->resumed)
		return grant_start(request, (int[]){client->returns.fd},
				   (enum sys_access[]){SYS_READ_WRITE}, 1, NULL);
	if (client->returns.fd >= 0 || client->opening_returns)
		return fault_set(request, FAULT_EXISTS, "returns",
				 "this session has a return ring already");
	if (!quota_may(&client->server->quotas, client->quota, QUOTA_DESCRIPTORS, 1, &why))
		return allowance_fault(request, &why);
	opening = calloc(1, sizeof(*opening));
	if (opening)
		opening->request = request_keep(request);
	if (!opening || !opening->request) {
		free(opening);
		return -ENOMEM;
	}
	opening->made = RETURNS_NONE;
	opening->made.session = client->session;
	opening->client_fd = -1;
	opening->made.serial = client->serial;
	client->opening_returns = true;
	quota_take(&client->server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
	r = uv_queue_work(&request->server->loop, &opening->work, open_ring, ring_opened);
	assert(!r); /* it fails for want of a function only */
	return REQUEST_LATER;
}

static void close_ring(uv_work_t *work)
{
	struct closing *closing = container_of(work, struct closing, work);

	destroy(closing->sys, &closing->returns);
}

static void ring_closed(uv_work_t *work, int status)
{
	(void)status;
	free(container_of(work, struct closing, work));
}

void returns_close(struct client *client)
{
	struct server *server = client->server;
	struct closing *closing;

	if (client->returns.fd < 0)
		return;
	list_remove(&client->in_rings);
	client->cached = (struct report_sums){};
	quota_give(&server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
	if (!server->stopping)
		keep_out(server, &client->returns);
	closing = calloc(1, sizeof(*closing));
	if (!closing) { /* a page, and better here than never */
		destroy(server->sys, &client->returns);
		return;
	}
	closing->sys = server->sys;
	closing->returns = client->returns;
	client->returns = RETURNS_NONE;
	uv_queue_work(&server->loop, &closing->work, close_ring, ring_closed);
}

/* The next record, if it is there. */
static bool next_record(struct returns *returns, struct wire_extent_free *ret)
{
	const struct return_record *record =
		&returns->ring->records[returns->taken % RETURNS_MAX];
	uint64_t turn, words[2];

	/*
	 * A turn read while it is written is neither the old nor the new one, or the new one:
	 * bytes that differ would differ from what we wait for.
	 */
	if (guard_copy(&turn, (const void *)&record->turn, sizeof(turn)) ||
	    (turn != returns->taken + 1 && !mutant(returns_any_turn)))
		return false;
	atomic_thread_fence(memory_order_acquire);
	if (guard_copy(words, &record->space, sizeof(words)))
		return false;
	returns->taken++;
	*ret = (struct wire_extent_free){
		.space = words[0],
		.offset = ref_offset(words[1]),
		.tag = ref_tag(words[1]),
	};
	return true;
}

uint32_t returns_take(struct client *client)
{
	struct wire_extent_free args;
	uint32_t n;

	if (client->returns.fd < 0)
		return 0;
	for (n = 0; n < RETURNS_MAX && next_record(&client->returns, &args); n++) {
		request_free(client, &args);
		core_returns_taken(client->server->core, client->session,
				   client->returns.taken);
	}
	return n;
}

uint32_t returns_take_all(struct server *server)
{
	struct link *last = server->rings.previous, *at = server->rings.next;
	uint32_t n = 0;

	while (at != &server->rings && n < TAKE_A_TURN) {
		struct link *next = at->next;
		bool was_last = at == last;

		list_remove(at);
		list_append(&server->rings, at);
		n += returns_take(list_entry(at, struct client, in_rings));
		if (was_last)
			break;
		at = next;
	}
	return n;
}
