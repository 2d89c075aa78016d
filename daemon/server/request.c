#include "daemon/server/request.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/server/allowance.h"
#include "daemon/server/client.h"
#include "daemon/server/connection.h"
#include "daemon/server/fault.h"
#include "daemon/server/log.h"
#include "daemon/server/method.h"
#include "daemon/server/method_extent.h"
#include "daemon/server/publisher.h"
#include "daemon/server/retry.h"
#include "daemon/server/scanner.h"
#include "daemon/server/server.h"
#include "daemon/server/sweeper.h"

enum {
	RETRIES_MAX = 16, /* in vain, before all others that want memory wait */
};

/* A datagram that waits for a plan to end. */
struct parked {
	struct parked *next;
	struct client *client;        /* counted */
	uint32_t space;               /* it wants memory of; 0: of none */
	uint32_t tries;               /* in vain */
	uint64_t id;                  /* 0: of a note */
	uint64_t since, scans, begun; /* as of the request */
	uint32_t size;
	char data[];
};

static void send_answer(struct request *request, int r, int *fds, uint32_t n_fds)
{
	static char buf[WIRE_MESSAGE_MAX]; /* the loop's thread alone answers */
	int size;

	if (r < 0)
		r = fault_from_system(request, r, NULL);
	size = r ? wire_encode_fault(buf, sizeof(buf), request->id, &request->fault)
		 : wire_encode_result(buf, sizeof(buf), request->id, request->method,
				      &request->result);
	assert(size > 0); /* lists are cut into pages that fit */
	connection_send(request->connection, buf, (uint32_t)size, fds, n_fds);
}

/* A free that needed no answer did not work: its sender hears of it all the same. */
static void send_refusal(struct connection *connection, const struct wire_extent_free *args,
			 const struct wire_fault *fault)
{
	struct wire_extent_refused refused = {
		.space = args->space,
		.offset = args->offset,
		.tag = args->tag,
		.code = fault->code,
		.message = fault->message,
	};
	char buf[512];
	int size;

	size = wire_encode_note(buf, sizeof(buf), WIRE_EXTENT_REFUSED, &refused);
	assert(size > 0);
	connection_send(connection, buf, (uint32_t)size, NULL, 0);
}

void request_free(struct client *client, const struct wire_extent_free *args)
{
	struct request request;
	int r;

	request.server = client->server;
	request.connection = client->connection;
	request.client = client;
	request.method = WIRE_EXTENT_FREE;
	request.id = 0;
	request.note = true;
	request.record = true;
	request.since = 0;
	request.scans = 0;
	request.begun = 0;
	request.memory = 0;
	request.apart = false;
	request.fault = (struct wire_fault){};
	r = method_run(&request, &(union wire_body){.extent_free = *args});
	server_apply(client->server);
	if (r == REQUEST_FAULT && client->connection)
		send_refusal(client->connection, args, &request.fault);
}

/* Once, when it is said: what was tried before in vain was none. */
static void count_refusal(const struct request *request)
{
	const struct wire_fault *fault = &request->fault;
	enum core_refusal refusal;

	switch (fault->code) {
	case FAULT_MEMORY:
		refusal = REFUSED_MEMORY;
		break;
	case FAULT_TOO_LARGE:
		refusal = REFUSED_TOO_LARGE;
		break;
	case FAULT_BUDGET:
		refusal = wire_str_is(fault->which, "space") ? REFUSED_SPACE : REFUSED_CLIENT;
		break;
	default:
		return;
	}
	core_refused(request->server->core, request->client->session, request->memory, refusal);
}

static void answer(struct request *request, int r, int *fds, uint32_t n_fds)
{
	if (request->connection && !request->note) {
		if (r == REQUEST_FAULT && request->memory)
			count_refusal(request);
		send_answer(request, r, fds, n_fds);
		return;
	}
	for (uint32_t i = 0; i < n_fds; i++)
		close(fds[i]);
}

bool request_may_keep(const struct request *request)
{
	return request->client->inflight < WIRE_INFLIGHT_MAX &&
	       quota_may(&request->server->quotas, request->client->quota, QUOTA_REQUESTS, 1,
			 NULL);
}

static struct request *keep(const struct request *request, bool held)
{
	struct request *kept = malloc(sizeof(*kept));

	if (!kept)
		return NULL;
	*kept = *request;
	kept->held = held;
	client_ref(kept->client);
	client_request_begins(kept->client, kept->note ? 0 : kept->id);
	kept->client->jobs += !held;
	return kept;
}

struct request *request_keep(const struct request *request)
{
	return keep(request, false);
}

struct request *request_hold(const struct request *request)
{
	return keep(request, true);
}

void request_finish(struct request *request, int r, int *fds, uint32_t n_fds)
{
	struct client *client = request->client;

	client_request_ends(client, request->note ? 0 : request->id);
	request->connection = client->ending ? NULL : client->connection;
	answer(request, r, fds, n_fds);
	if (!request->held)
		client_job_done(client);
	client_unref(client);
	request_retry(request->server);
	free(request);
}

/* True if it waits now, or was refused: in any case the datagram needs no more care. */
static void park(struct request *request, uint32_t space, const void *data, uint32_t size)
{
	struct server *server = request->server;
	struct parked *parked;
	struct quota_refusal why;

	if (!quota_may(&server->quotas, request->client->quota, QUOTA_UNANSWERED,
		       sizeof(*parked) + size, &why)) {
		answer(request, allowance_fault(request, &why), NULL, 0);
		return;
	}
	parked = malloc(sizeof(*parked) + size);
	if (!parked) {
		answer(request, -ENOMEM, NULL, 0);
		return;
	}
	*parked = (struct parked){
		.client = client_ref(request->client),
		.space = space,
		.id = request->note ? 0 : request->id,
		.since = request->since,
		.scans = request->scans,
		.begun = request->begun,
		.size = size,
	};
	memcpy(parked->data, data, size);
	client_request_begins(parked->client, parked->id);
	quota_take(&server->quotas, parked->client->quota, QUOTA_UNANSWERED,
		   sizeof(*parked) + size);
	*server->parked_tail = parked;
	server->parked_tail = &parked->next;
}

/*
 * Q4: somebody else comes first. `before` is the request itself, if it has waited, or NULL: the
 * list up to there is what is older.
 */
static bool comes_later(const struct server *server, uint32_t space,
			const struct parked *before)
{
	if (!space || mutant(parked_overtaken))
		return false;
	for (const struct parked *at = server->parked; at && at != before; at = at->next)
		if (at->space == space || (at->space && at->tries >= RETRIES_MAX))
			return true;
	return false;
}

/* Nobody hears of it that it was refused for what else there is; and it takes no time to do. */
static bool is_farewell(const struct request *request)
{
	return request->note &&
	       (request->method == WIRE_EXTENT_FREE || request->method == WIRE_CHANNEL_CLOSE);
}

static int check_turn(struct request *request)
{
	struct quota_refusal why;

	if (!request->note && !request->id)
		return fault_set(request, FAULT_PROTOCOL, "id", "ids start at 1");
	if (!request->client && request->method != WIRE_HELLO)
		return fault_set(request, FAULT_PROTOCOL, "hello",
				 "hello comes before everything else");
	if (request->client && request->method == WIRE_HELLO)
		return fault_set(request, FAULT_PROTOCOL, "hello", "hello has been said");
	if (request->client && request->client->ending)
		return fault_set(request, FAULT_PROTOCOL, "bye", "bye has been said");
	if (is_farewell(request) && !mutant(farewells_counted))
		return 0;
	if (request->client && request->client->inflight >= WIRE_INFLIGHT_MAX) {
		request->fault.max = WIRE_INFLIGHT_MAX;
		return fault_set(request, FAULT_LIMIT, "inflight",
				 "no more than %d requests may be unanswered",
				 WIRE_INFLIGHT_MAX);
	}
	if (request->client && !quota_may(&request->server->quotas, request->client->quota,
					  QUOTA_REQUESTS, 1, &why))
		return allowance_fault(request, &why);
	return 0;
}

/* True: it waits. `parked` is where it has done so before, or NULL. */
static bool process(struct server *server, struct connection *connection, struct client *client,
		    struct parked *parked, const void *data, uint32_t size)
{
	_cleanup_(wire_message_deinit) struct wire_message message = {};
	struct request request;
	struct wire_trouble trouble;
	uint32_t space = 0;
	bool said = false;
	int r;

	/* Member by member: a result is large, and each method writes what it answers. */
	request.server = server;
	request.connection = connection;
	request.client = client;
	request.note = false;
	request.record = false;
	request.since = parked ? parked->since : sweeper_count(server->sweeper);
	request.scans = parked ? parked->scans : scanner_count(server);
	request.begun = parked ? parked->begun : 0;
	request.memory = 0;
	request.apart = false;
	request.fault = (struct wire_fault){};

	r = wire_decode_call(&message, data, size, &trouble);
	request.method = message.method;
	if (r > 0) {
		request.id = trouble.has_id ? trouble.id : 0;
		r = fault_from_wire(&request, r, &trouble);
	} else if (!r) {
		request.id = message.id;
		request.note = message.kind == WIRE_NOTE;
		if (client && !parked && !request.note &&
		    client_has_request(client, request.id))
			return false;
		r = check_turn(&request);
		said = !r && client && retry_answer(&request, &message.body, &r);
		if (!said && !r && client && client->opening_space)
			r = REQUEST_BUSY; /* what is being opened may not stay open */
		if (!said && !r &&
		    (request.method == WIRE_EXTENT_ALLOC ||
		     request.method == WIRE_CACHE_SEGMENT))
			space = method_space(&request, &message.body);
		if (!said && !r && comes_later(server, space, parked))
			r = REQUEST_BUSY;
		if (!said && !r)
			r = method_run(&request, &message.body);
	} else {
		request.id = 0;
	}
	server_apply(server);

	if (request.apart)
		space = 0;
	if (r == REQUEST_LATER)
		return false;
	if (r == REQUEST_BUSY && parked) {
		parked->begun = request.begun;
		parked->space = space;
		return true;
	}
	if (r == REQUEST_BUSY)
		park(&request, space, data, size);
	else if (r == REQUEST_FAULT && request.note && request.method == WIRE_EXTENT_FREE &&
		 connection)
		send_refusal(connection, &message.body.extent_free, &request.fault);
	else
		answer(&request, r, NULL, 0);
	return r == REQUEST_BUSY;
}

void request_receive(struct connection *connection, const void *data, uint32_t size)
{
	if (connection->client)
		returns_take(connection->client);
	if (connection->closing) /* over a refusal that it did not take */
		return;
	process(connection->server, connection, connection->client, NULL, data, size);
}

static void repark(struct server *server, struct parked *parked)
{
	client_request_begins(parked->client, parked->id);
	quota_take(&server->quotas, parked->client->quota, QUOTA_UNANSWERED,
		   sizeof(*parked) + parked->size);
}

/* It is counted no more; the caller frees it. */
static void unpark(struct server *server, struct parked *parked)
{
	client_request_ends(parked->client, parked->id);
	quota_give(&server->quotas, parked->client->quota, QUOTA_UNANSWERED,
		   sizeof(*parked) + parked->size);
}

void request_retry(struct server *server)
{
	if (server->parked) {
		server->retry = true;
		server->retry_again |= server->retry_at != NULL;
	}
	if (server->put_off)
		server->retry = true;
	if (server->parked || server->put_off || server->ending || server->undoing ||
	    server->reaping)
		server_more(server);
}

static void parked_remove(struct server *server, struct parked **at)
{
	struct parked *parked = *at;

	*at = parked->next;
	if (server->parked_tail == &parked->next)
		server->parked_tail = at;
	client_unref(parked->client);
	free(parked);
}

/*
 * One pass over what waits, in steps. Where it has got to is between two requests: only a pass
 * removes any, and new ones go to the end.
 */
void request_retry_now(struct server *server)
{
	struct parked **at = server->retry_at ? server->retry_at : &server->parked;

	server->retry = false;
	extents_go_on(server);
	if (server->undoing)
		client_undo_some(server);
	for (int n = 0; *at && (!n || stint_lasts(server)); n++) {
		struct parked *parked = *at;
		struct client *client = parked->client;

		/* Counted anew if it goes on waiting: it must not be in its own way. */
		unpark(server, parked);
		if (!client->ending && process(server, client->connection, client, parked,
					       parked->data, parked->size)) {
			repark(server, parked);
			parked->tries++;
			at = &parked->next;
		} else {
			parked_remove(server, at);
		}
	}
	server->retry_at = *at ? at : NULL;
	if (server->retry_at) {
		server->retry = true;
	} else if (server->retry_again) {
		server->retry_again = false;
		server->retry = server->parked != NULL;
	}
}

void request_forget_all(struct server *server)
{
	struct parked *parked = TAKE_PTR(server->parked), *next;

	extents_give_up(server);
	server->parked_tail = &server->parked;
	server->retry_at = NULL;
	for (; parked; parked = next) {
		next = parked->next;
		unpark(server, parked);
		client_unref(parked->client);
		free(parked);
	}
}

void request_answer_bye(struct connection *connection, uint64_t id)
{
	struct request request = {
		.server = connection->server,
		.connection = connection,
		.method = WIRE_BYE,
		.id = id,
	};

	answer(&request, 0, NULL, 0);
}
