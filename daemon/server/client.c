#include "daemon/server/client.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/base.h"
#include "daemon/server/cleaner.h"
#include "daemon/server/connection.h"
#include "daemon/server/errand.h"
#include "daemon/server/fetches.h"
#include "daemon/server/hoards.h"
#include "daemon/server/job.h"
#include "daemon/server/listener.h"
#include "daemon/server/log.h"
#include "daemon/server/method_cache.h"
#include "daemon/server/publisher.h"
#include "daemon/server/request.h"
#include "daemon/server/scrub.h"
#include "daemon/server/server.h"
#include "daemon/server/sweeper.h"
#include "daemon/server/waiting.h"

enum {
	SESSIONS_A_PROCESS =
		64, /* one is enough; libraries within it may not know of each other */
};

/* What a client calls itself goes into logs and tables: printable, or not at all. */
static void set_name(struct client *client, struct wire_str name)
{
	size_t n = u64_min(name.size, sizeof(client->name) - 1);

	for (size_t i = 0; i < n; i++)
		client->name[i] = isprint((unsigned char)name.data[i]) ? name.data[i] : '?';
}

/* The supplementary groups, for the rights that a space gives to its group. */
static int read_groups(struct client *client, int socket)
{
	_cleanup_(freep) uint32_t *groups = NULL;
	socklen_t size = 0;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) && errno == ERANGE) {
		groups = malloc(size);
		if (!groups)
			return -ENOMEM;
		if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size))
			return -errno;
	} else {
		size = 0; /* none, or a kernel that does not tell: then only the first counts */
	}
	free(client->groups);
	client->groups = TAKE_PTR(groups);
	client->n_groups = (uint32_t)(size / sizeof(gid_t));
	return 0;
}

static void client_end(struct client *client);
static void process_ended(uv_poll_t *poll, int status, int events);

static void process_closed(uv_handle_t *handle)
{
	struct client *client = container_of(handle, struct client, process);

	close(client->pidfd);
	client->pidfd = -1;
	client->watching = false;
	client_unref(client);
}

static uint32_t sessions_of(const struct server *server, uint32_t pid, uint64_t birth)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < server->n_clients_max; i++)
		n += server->clients[i] && server->clients[i]->pid == pid &&
		     server->clients[i]->birth == birth;
	return n;
}

/* The process has called exec: what its former program held, nobody can use any more. */
static void end_former_images(const struct client *now)
{
	struct server *server = now->server;

	for (uint32_t i = 0; i < server->n_clients_max; i++) {
		struct client *client = server->clients[i];

		if (client && client->pid == now->pid && client->birth == now->birth &&
		    client->image && now->image && client->image != now->image)
			client_process_over(client);
	}
}

static struct client *client_alloc(struct server *server)
{
	struct client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->server = server;
	client->refs = 1;
	client->pidfd = -1;
	client->returns = RETURNS_NONE;
	client->lanes = LANES_NONE;
	list_init(&client->fetches);
	return client;
}

/* Its own uid's account, for its pidfd. */
static int client_account(struct client *client)
{
	struct server *server = client->server;

	client->quota = quota_ref(&server->quotas, client->credentials.uid);
	if (!client->quota)
		return -ENOMEM;
	quota_take(&server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
	return 0;
}

static int client_watch(struct client *client)
{
	int r = uv_poll_init(&client->server->loop, &client->process, client->pidfd);

	if (r)
		return r;
	client->watching = true;
	client_ref(client); /* the handle's, until it is closed */
	return uv_poll_start(&client->process, UV_READABLE, process_ended);
}

int client_restore(struct server *server, uint32_t session)
{
	struct session_view view;
	struct client *client;
	int r;

	if (!core_session_view(server->core, session, &view))
		return 0;
	client = client_alloc(server);
	if (!client)
		return -ENOMEM;
	client->session = session;
	client->serial = view.serial;
	client->pid = view.pid;
	client->birth = view.birth;
	client->image = view.image;
	client->credentials = view.owner;
	r = client_account(client);
	if (r) {
		client_unref(client);
		return r;
	}
	server->clients[session] = client;
	r = server->sys->table->process(server->sys, client->pid, client->birth,
					&client->pidfd);
	if (!r)
		r = client_watch(client);
	if (r == -ESRCH || mutant(restored_dead))
		client_end(client);
	else if (r)
		return r;
	return 0;
}

int client_new(struct client **ret, struct connection *connection,
	       const struct wire_hello *hello, struct core_fault *fault)
{
	struct server *server = connection->server;
	struct sys *sys = server->sys;
	struct session_request request = {.image = hello->image};
	struct session_view view = {};
	struct quota_refusal why;
	struct client *client;
	int r;

	client = client_alloc(server);
	if (!client)
		return -ENOMEM;
	set_name(client, hello->name);

	r = sys->table->peer(sys, connection->fd, &request.credentials.uid,
			     &request.credentials.gid, &request.pid, &client->pidfd,
			     &request.birth);
	if (!r)
		r = read_groups(client, connection->fd);
	if (r) {
		client_unref(client);
		return r;
	}
	client->pid = request.pid;
	client->birth = request.birth;
	client->image = request.image;
	client->credentials = request.credentials;
	r = client_account(client);
	if (r) {
		client_unref(client);
		return r;
	}

	/* Its pidfd: who has waited has paid for it (H4). */
	if ((!connection->waits || mutant(hello_unpaid)) &&
	    !quota_may(&server->quotas, client->quota, QUOTA_DESCRIPTORS, 0, &why)) {
		client_unref(client);
		*fault = (struct core_fault){.which = why.which,
					     .requested = 1,
					     .max = why.max,
					     .held = why.held,
					     .all = why.all};
		return CORE_E_LIMIT;
	}
	if (sessions_of(server, request.pid, request.birth) >= SESSIONS_A_PROCESS) {
		client_unref(client);
		*fault = (struct core_fault){.which = "sessions of one process",
					     .requested = 1,
					     .max = SESSIONS_A_PROCESS,
					     .held = SESSIONS_A_PROCESS};
		return CORE_E_LIMIT;
	}
	r = core_session_open(server->core, &request, &client->session, fault);
	if (r) {
		client_unref(client);
		return r;
	}
	assert(client->session < server->n_clients_max);
	server->clients[client->session] = client;
	core_session_view(server->core, client->session, &view);
	client->serial = view.serial;
	server_apply(server);

	r = client_watch(client);
	if (r) {
		client_end(client);
		return r;
	}
	client->connection = connection;
	waiting_remove(connection);
	listener_credit(server);
	end_former_images(client);
	publisher_touch(server->publisher);
	*ret = client;
	return 0;
}

/* Is it that one, or has it its number by now? Older libraries do not say. */
static bool is_same(const struct client *client, const struct wire_hello *hello)
{
	return !hello->serial || client->serial == hello->serial || mutant(resume_any_serial);
}

/* Whose session is it? Its process's, in the life and the program that opened it. */
static bool is_of(const struct client *client, uint32_t uid, uint32_t pid, uint64_t birth,
		  uint64_t image)
{
	return client->credentials.uid == uid && client->image == image &&
	       ((client->pid == pid && client->birth == birth) || mutant(resume_by_number));
}

int client_resume(struct client **ret, struct connection *connection,
		  const struct wire_hello *hello, struct core_fault *fault)
{
	struct server *server = connection->server;
	_cleanup_(closep) int pidfd = -1;
	struct client *client = NULL;
	uint32_t uid, gid, pid;
	uint64_t birth;
	int r;

	r = server->sys->table->peer(server->sys, connection->fd, &uid, &gid, &pid, &pidfd,
				     &birth);
	if (r)
		return r;
	if (hello->resume < server->n_clients_max)
		client = server->clients[hello->resume];
	if (!client || client->ending || !is_same(client, hello) ||
	    !is_of(client, uid, pid, birth, hello->image)) {
		*fault = (struct core_fault){.which = "session"};
		return CORE_E_NOT_FOUND;
	}
	r = read_groups(client, connection->fd);
	if (r)
		return r;
	set_name(client, hello->name);
	if (client->connection)
		connection_close(client->connection);
	client->connection = connection;
	client->resumed = true;
	waiting_remove(connection);
	listener_credit(server);
	publisher_touch(server->publisher);
	*ret = client;
	return 0;
}

struct client *client_ref(struct client *client)
{
	client->refs++;
	return client;
}

struct client *client_unref(struct client *client)
{
	if (!client || --client->refs)
		return NULL;
	closep(&client->pidfd);
	if (client->quota) {
		quota_give(&client->server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
		quota_unref(&client->server->quotas, client->quota);
	}
	free(client->groups);
	free(client);
	return NULL;
}

static void client_end(struct client *client)
{
	struct server *server = client->server;

	if (client->ending)
		return;
	client->ending = true;
	fetches_forget(client);
	if (client->watching)
		uv_close((uv_handle_t *)&client->process, process_closed);
	client->next_ending = server->ending;
	server->ending = client;
	server_more(server);
}

/* A child may hold the other end of its socket: that is not this session. */
void client_process_over(struct client *client)
{
	struct connection *connection = TAKE_PTR(client->connection);

	if (connection) {
		connection->client = NULL;
		connection_close(connection);
	}
	client_end(client);
}

static void process_ended(uv_poll_t *poll, int status, int events)
{
	struct client *client = container_of(poll, struct client, process);

	(void)status;
	(void)events;
	if (mutant(session_outlives_process))
		uv_poll_stop(poll);
	else
		client_process_over(client);
}

void client_lost(struct client *client)
{
	client->connection = NULL;
	fetches_forget(client);
	publisher_touch(client->server->publisher);
	if (mutant(session_ends_with_socket))
		client_end(client);
}

void client_bye(struct client *client, uint64_t id)
{
	client->said_bye = true;
	client->bye_id = id;
	client_end(client);
}

/*
 * 0: the session is gone. CORE_MORE: there is more to do, at once. CORE_E_BUSY, -ENOMEM: it has to
 * wait, for a plan to end or for the next beat.
 */
static int end_step(struct client *client)
{
	struct server *server = client->server;
	struct plan *plan = NULL;
	int r;

	/* Shared memory in it would else be kept; what a client's last words free is freed. */
	returns_take(client);
	r = lanes_end(client);
	if (r)
		return r == ERRAND_MORE ? CORE_MORE : CORE_E_BUSY;
	r = core_session_end(server->core, client->session, &plan);
	server_apply(server);
	if (plan && job_start(server, plan, NULL, NULL))
		log_error("no memory to take back what session %u (pid %u, uid %u) left",
			  client->session, client->pid, client->credentials.uid);
	assert(!r || r == CORE_MORE || r == CORE_E_BUSY || r == -ENOMEM);
	return r;
}

static void client_ended(struct client *client)
{
	struct server *server = client->server;
	struct connection *connection = TAKE_PTR(client->connection);

	server->clients[client->session] = NULL;
	hoards_left(server, 0, 0, client->session);
	if (client->lanes.fd >= 0)
		hoards_unpinned(server);
	server->undoing -= client->undo_space != 0;
	returns_close(client);
	lanes_close(client);
	if (connection) {
		connection->client = NULL;
		if (client->bye_id)
			request_answer_bye(connection, client->bye_id);
		connection_finish(connection);
	}
	client_unref(client);
	scrub_soon(server->scrub);
	sweeper_look(server->sweeper);
	if (!mutant(caches_unreaped))
		caches_reap_soon(server);
	publisher_touch(server->publisher);
	request_retry(server);
}

/* What it was computing others compute, at once: but what it has put it has computed. */
static bool let_go(struct client *client)
{
	lanes_end(client);
	return fetches_leave(client->server, 0, 0, client->session);
}

bool client_end_some(struct server *server)
{
	struct client **at = &server->ending;
	bool more = false;

	for (bool worked = false; *at && (!worked || stint_lasts(server));) {
		struct client *client = *at;
		int r = CORE_E_BUSY;

		/* Else client_job_done(), or the cleaner, brings us back. */
		if (let_go(client)) {
			r = CORE_MORE;
			worked = true;
		} else if (!client->jobs && !cleaner_works_for(server, client->session)) {
			r = end_step(client);
			worked = true;
		}
		if (!r) {
			*at = client->next_ending;
			client_ended(client);
			continue;
		}
		more |= r == CORE_MORE;
		if (r != CORE_MORE)
			at = &client->next_ending;
	}
	return more || *at;
}

static void undo_step(struct client *client)
{
	struct server *server = client->server;
	struct plan *plan = NULL;
	int r;

	if (cleaner_works(server, client->undo_space))
		return; /* CN2: its end brings us back */
	r = core_space_close(server->core, client->session, client->undo_space, &plan);
	server_apply(server);
	if (plan)
		job_start(server, plan, NULL, NULL);
	if (r == CORE_E_BUSY || r == CORE_MORE || r == -ENOMEM)
		return;
	client->undo_space = 0;
	client->opening_space = false;
	server->undoing--;
}

void client_undo(struct client *client, uint32_t space)
{
	client->undo_space = space;
	client->server->undoing++;
	undo_step(client);
}

void client_undo_some(struct server *server)
{
	for (uint32_t i = 0; server->undoing && i < server->n_clients_max; i++)
		if (server->clients[i] && server->clients[i]->undo_space)
			undo_step(server->clients[i]);
}

/* Notes have no id, and there may be more of them than places. */
static void replace_id(struct client *client, uint64_t id, uint64_t by)
{
	for (uint32_t i = 0; i < WIRE_INFLIGHT_MAX; i++)
		if (client->asked[i] == id) {
			client->asked[i] = by;
			return;
		}
}

bool client_has_request(const struct client *client, uint64_t id)
{
	for (uint32_t i = 0; id && i < WIRE_INFLIGHT_MAX; i++)
		if (client->asked[i] == id)
			return !mutant(request_repeated);
	return false;
}

void client_request_begins(struct client *client, uint64_t id)
{
	if (id)
		replace_id(client, 0, id);
	client->inflight++;
	quota_take(&client->server->quotas, client->quota, QUOTA_REQUESTS, 1);
}

void client_request_ends(struct client *client, uint64_t id)
{
	if (id)
		replace_id(client, id, 0);
	client->inflight--;
	quota_give(&client->server->quotas, client->quota, QUOTA_REQUESTS, 1);
}

void client_job_done(struct client *client)
{
	assert(client->jobs);
	if (!--client->jobs && client->ending)
		server_more(client->server);
}

void client_abandon_all(struct server *server)
{
	for (uint32_t i = 0; i < server->n_clients_max; i++) {
		struct client *client = server->clients[i];

		if (!client)
			continue;
		server->clients[i] = NULL;
		returns_close(client);
		lanes_close(client);
		if (client->watching && !client->ending)
			uv_close((uv_handle_t *)&client->process, process_closed);
		client_unref(client);
	}
	server->ending = NULL;
}
