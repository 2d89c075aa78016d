#include "daemon/server/waiting.h"

#include "base/base.h"
#include "daemon/server/connection.h"
#include "daemon/server/server.h"

static void timer_set(struct server *server);

static void expired(uv_timer_t *timer)
{
	struct server *server = container_of(timer, struct server, hello);
	uint64_t now = uv_now(&server->loop);

	while (server->waiting && server->waiting->hello_ms <= now) {
		struct connection *connection = server->waiting;

		if (!mutant(hello_unheard))
			connection_hear(connection);
		if (!connection->waits)
			continue;
		connection_dropped(server, connection->fd, "it did not say hello in time");
		connection_close(connection);
	}
	timer_set(server);
}

static void timer_set(struct server *server)
{
	uint64_t now = uv_now(&server->loop);

	if (!server->waiting)
		uv_timer_stop(&server->hello);
	else if (!mutant(hello_never_due))
		uv_timer_start(&server->hello, expired,
			       server->waiting->hello_ms > now ? server->waiting->hello_ms - now
							       : 0,
			       0);
}

void waiting_init(struct server *server)
{
	server->waiting_tail = &server->waiting;
	uv_timer_init(&server->loop, &server->hello);
}

void waiting_add(struct connection *connection)
{
	struct server *server = connection->server;
	bool first = !server->waiting;

	connection->waits = true;
	/* A reload may have made the time shorter: then it is due with those before it. */
	connection->hello_ms = uv_now(&server->loop) + server->config.limits.hello;
	connection->waiting_next = NULL;
	connection->waiting_at = server->waiting_tail;
	*server->waiting_tail = connection;
	server->waiting_tail = &connection->waiting_next;
	quota_take(&server->quotas, connection->quota, QUOTA_WAITING, 1);
	quota_take(&server->quotas, connection->quota, QUOTA_DESCRIPTORS, 1);
	if (first)
		timer_set(server);
}

void waiting_remove(struct connection *connection)
{
	struct server *server = connection->server;
	bool first = server->waiting == connection;

	if (!connection->waits)
		return;
	connection->waits = false;
	*connection->waiting_at = connection->waiting_next;
	if (connection->waiting_next)
		connection->waiting_next->waiting_at = connection->waiting_at;
	else
		server->waiting_tail = connection->waiting_at;
	quota_give(&server->quotas, connection->quota, QUOTA_WAITING, 1);
	quota_give(&server->quotas, connection->quota, QUOTA_DESCRIPTORS, 1);
	if (first && !server->waiting) /* a later deadline is looked at when this one is due */
		timer_set(server);
}
