#include "daemon/server/lanes_adopt.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/exchange.h"
#include "daemon/server/keep.h"
#include "daemon/server/lane_take.h"
#include "daemon/server/lanes.h"
#include "daemon/server/log.h"
#include "daemon/server/returns.h"
#include "daemon/server/server.h"
#include "daemon/sys/guard.h"

enum {
	LOST = 1, /* it was not left, or is none of ours */
};

/* Of so many bytes, mapped. */
static int file_take(struct server *server, const char *name, enum sys_access clients,
		     uint64_t wanted, int *ret_fd, void **ret_memory)
{
	_cleanup_(closep) int fd = keep_take(server->keep, name);
	struct sys *sys = server->sys;
	uint64_t size = 0;
	void *memory;
	int r;

	if (fd < 0)
		return LOST;
	r = sys->table->file_adopt(sys, fd, clients, 0, &size, &memory);
	if (!r && size != wanted) {
		sys->table->file_unmap(sys, memory, size);
		r = -EBADFD;
	}
	if (r == -EBADFD) {
		keep_remove(server->keep, name);
		return LOST;
	}
	if (r)
		return r;
	*ret_fd = TAKE_FD(fd);
	*ret_memory = memory;
	return 0;
}

static void lose(struct client *client, const char *what)
{
	struct server *server = client->server;

	log_error("lost: the %s of session %u (pid %u, uid %u) was not left: it ends", what,
		  client->session, client->pid, client->credentials.uid);
	server->losses++;
	client_process_over(client);
}

/* ---- the bell ---- */

static int bell_adopt(struct server *server)
{
	char name[KEPT_NAME_MAX];
	void *memory;
	int fd, r;

	r = file_take(server, kept_name(name, KEPT_BELL, 0, 0, 0), SYS_READ,
		      sizeof(struct bell), &fd, &memory);
	if (!r)
		exchange_bell(server->exchange, fd, memory, false);
	return r;
}

/* ---- lanes ---- */

static int states_make(const struct client *client, struct lanes *lanes)
{
	const struct core *core = client->server->core;

	lanes->states = calloc(lanes->n, sizeof(*lanes->states));
	if (!lanes->states)
		return -ENOMEM;
	for (uint32_t i = 0; i < lanes->n; i++) {
		struct lane_state *state = &lanes->states[i];

		state->taken = core_lane_position(core, client->session, i);
		/* What was noted until now nobody knows any more; what was counted is counted again. */
		if (guard_load64(&lanes->at[i].noted, &state->noted))
			state->noted = 0;
	}
	return 0;
}

static int session_lanes_adopt(struct client *client, const struct lanes_terms *terms)
{
	struct server *server = client->server;
	uint64_t size = lanes_file_size(terms->lanes);
	struct lanes lanes = LANES_NONE;
	char name[KEPT_NAME_MAX];
	void *memory = NULL;
	int r;

	lanes.session = client->session;
	lanes.serial = client->serial;
	lanes.n = terms->lanes;
	lanes.pins = terms->pins;
	lanes.barrier = terms->barrier;
	r = file_take(server, lanes_kept(&lanes, name), SYS_READ_WRITE, size, &lanes.fd,
		      &memory);
	if (r == LOST) {
		lose(client, "lanes");
		return 0;
	}
	if (r)
		return r;
	lanes.at = memory;
	if (states_make(client, &lanes)) {
		server->sys->table->file_unmap(server->sys, memory, size);
		close(lanes.fd);
		return -ENOMEM;
	}
	quota_take(&server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
	core_session_files(server->core, client->session, size, NULL);
	lanes_are_there(client, &lanes);
	return 0;
}

/* ---- return rings ---- */

static int session_returns_adopt(struct client *client, uint64_t taken)
{
	struct server *server = client->server;
	struct returns returns = RETURNS_NONE;
	char name[KEPT_NAME_MAX];
	void *memory = NULL;
	int r;

	returns.session = client->session;
	returns.serial = client->serial;
	returns.taken = taken;
	r = file_take(server, returns_kept(&returns, name), SYS_READ_WRITE,
		      sizeof(*returns.ring), &returns.fd, &memory);
	if (r == LOST) {
		lose(client, "return ring");
		return 0;
	}
	if (r)
		return r;
	returns.ring = memory;
	quota_take(&server->quotas, client->quota, QUOTA_DESCRIPTORS, 1);
	returns_are_there(client, &returns);
	return 0;
}

/* ---- all of them ---- */

int lanes_adopt(struct server *server)
{
	int bell = bell_adopt(server), r = bell == LOST ? 0 : bell;
	struct lanes_terms terms;
	uint64_t taken;

	for (uint32_t i = 0; i < server->n_clients_max && !r; i++) {
		struct client *client = server->clients[i];

		if (!client)
			continue;
		if (core_returns_view(server->core, i, &taken))
			r = session_returns_adopt(client, taken);
		if (r || !core_lanes_view(server->core, i, &terms))
			continue;
		if (bell == LOST)
			lose(client, "bell");
		else
			r = session_lanes_adopt(client, &terms);
	}
	if (!r && exchange_blind(server))
		log_warning("some sessions read without fences, and there is no barrier to be "
			    "had for them (membarrier): no memory of caches comes back while "
			    "they live");
	return r;
}

static void resume(struct client *client)
{
	for (uint64_t look = lanes_opened_of(&client->lanes); look; look &= look - 1)
		lane_resume(client, (uint32_t)__builtin_ctzll(look));
}

void lanes_replay(struct server *server)
{
	for (uint32_t i = 0; i < server->n_clients_max; i++) {
		struct client *client = server->clients[i];

		if (client && client->lanes.fd >= 0)
			resume(client);
		/* What a former daemon had taken is refused, and nobody hears of it. */
		if (client)
			returns_take(client);
	}
	exchange_look(server);
}
