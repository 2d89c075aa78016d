#include "daemon/server/connection.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/base.h"
#include "daemon/server/allowance.h"
#include "daemon/server/client.h"
#include "daemon/server/closer.h"
#include "daemon/server/exchange.h"
#include "daemon/server/log.h"
#include "daemon/server/request.h"
#include "daemon/server/server.h"
#include "daemon/server/waiting.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

enum {
	INBOX_N = 8,                         /* datagrams taken by one call */
	INBOX_FDS_MAX = 253,                 /* SCM_MAX_FD: what one datagram can carry */
	OUT_BYTES_MAX = 256 * 1024,          /* of answers that a client has not taken */
	OUT_FDS_MAX = 2 * WIRE_INFLIGHT_MAX, /* in them */
	HELPINGS_MAX = 8,      /* of one connection, before others get their turn, */
	HELPING_REQUESTS = 16, /* or so many requests */
	PROBE_EVERY = 32,      /* turns */
	PAUSE_MS = 4,
};

/* An answer that the socket did not take yet. */
struct outgoing {
	struct outgoing *next;
	uint32_t size, n_fds;
	int fds[WIRE_FDS_MAX];
	char data[];
};

struct inbox {
	struct mmsghdr headers[INBOX_N];
	struct iovec pieces[INBOX_N];
	_Alignas(struct cmsghdr) char control[INBOX_N][CMSG_SPACE(INBOX_FDS_MAX * sizeof(int))];
	char data[INBOX_N][WIRE_MESSAGE_MAX + 1]; /* one more tells a longer one */
};

int inbox_new(struct inbox **ret)
{
	struct inbox *inbox = calloc(1, sizeof(*inbox));

	if (!inbox)
		return -ENOMEM;
	for (unsigned i = 0; i < INBOX_N; i++) {
		inbox->pieces[i] = (struct iovec){inbox->data[i], sizeof(inbox->data[i])};
		inbox->headers[i].msg_hdr = (struct msghdr){
			.msg_iov = &inbox->pieces[i],
			.msg_iovlen = 1,
			.msg_control = inbox->control[i],
		};
	}
	*ret = inbox;
	return 0;
}

void inbox_free(struct inbox *inbox)
{
	free(inbox);
}

/* True if the datagram brought descriptors. */
static bool dispose_of_fds(struct connection *connection, struct msghdr *header)
{
	struct closer *closer = connection->server->closer;
	bool any = false;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		uint32_t n = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		int fds[INBOX_FDS_MAX];

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		any = true;
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		if (!mutant(unwanted_on_loop) &&
		    !closer_take(closer, connection->quota, fds, n))
			continue;
		for (uint32_t i = 0; i < n; i++) /* out of memory: slowly, rather than never */
			close(fds[i]);
	}
	return any;
}

static void outgoing_free(struct connection *connection, struct outgoing *out)
{
	quota_give(&connection->server->quotas, connection->quota, QUOTA_UNANSWERED,
		   sizeof(*out) + out->size);
	for (uint32_t i = 0; i < out->n_fds; i++)
		close(out->fds[i]);
	free(out);
}

static int send_now(struct connection *connection, const void *data, uint32_t size,
		    const int *fds, uint32_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
	} control;
	struct iovec piece = {(void *)data, size};
	struct msghdr header = {.msg_iov = &piece, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (!n_fds) {
		if (send(connection->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return -errno;
		return 0;
	}
	memset(&control, 0, sizeof(control));
	header.msg_control = control.bytes;
	header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	c = CMSG_FIRSTHDR(&header);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	if (sendmsg(connection->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

static void connection_ready(uv_poll_t *poll, int status, int events);

static int watch(struct connection *connection)
{
	return uv_poll_start(&connection->poll,
			     (connection->paused ? 0 : UV_READABLE) |
				     (connection->out ? UV_WRITABLE : 0),
			     connection_ready);
}

/* Several answers that wait leave in one call, as far as they carry no descriptors. */
static int send_kept(struct connection *connection)
{
	while (connection->out) {
		struct mmsghdr headers[INBOX_N] = {};
		struct iovec pieces[INBOX_N];
		struct outgoing *out;
		unsigned n = 0;
		int sent;

		for (out = connection->out; out && n < INBOX_N && !out->n_fds;
		     out = out->next, n++) {
			pieces[n] = (struct iovec){out->data, out->size};
			headers[n].msg_hdr =
				(struct msghdr){.msg_iov = &pieces[n], .msg_iovlen = 1};
		}
		if (n) {
			sent = sendmmsg(connection->fd, headers, n,
					MSG_DONTWAIT | MSG_NOSIGNAL);
			if (sent < 0)
				return -errno;
		} else {
			out = connection->out;
			sent = send_now(connection, out->data, out->size, out->fds, out->n_fds);
			if (sent < 0)
				return sent;
			sent = 1;
		}
		for (; sent > 0; sent--) {
			out = connection->out;
			connection->out = out->next;
			connection->out_bytes -= (uint32_t)sizeof(*out) + out->size;
			connection->out_fds -= out->n_fds;
			outgoing_free(connection, out);
		}
	}
	connection->out_tail = &connection->out;
	return 0;
}

static bool would_block(int error)
{
	/* ETOOMANYREFS: too many descriptors are on their way already, to whomever. */
	return error == -EAGAIN || error == -ENOBUFS || error == -EINTR ||
	       error == -ETOOMANYREFS;
}

void connection_send(struct connection *connection, const void *data, uint32_t size, int *fds,
		     uint32_t n_fds)
{
	struct outgoing *out;
	int r = -EAGAIN;

	assert(n_fds <= WIRE_FDS_MAX);
	if (!connection->closing && !connection->out)
		r = send_now(connection, data, size, fds, n_fds);
	if (would_block(r) && !connection->closing &&
	    connection->out_bytes + sizeof(*out) + size <= OUT_BYTES_MAX &&
	    connection->out_fds + n_fds <= OUT_FDS_MAX &&
	    quota_may(&connection->server->quotas, connection->quota, QUOTA_UNANSWERED,
		      sizeof(*out) + size, NULL)) {
		out = malloc(sizeof(*out) + size);
		if (out) {
			*out = (struct outgoing){.size = size, .n_fds = n_fds};
			memcpy(out->data, data, size);
			if (n_fds)
				memcpy(out->fds, fds, n_fds * sizeof(int));
			*connection->out_tail = out;
			connection->out_tail = &out->next;
			connection->out_bytes += (uint32_t)sizeof(*out) + size;
			connection->out_fds += n_fds;
			quota_take(&connection->server->quotas, connection->quota,
				   QUOTA_UNANSWERED, sizeof(*out) + size);
			watch(connection);
			return;
		}
	}
	for (uint32_t i = 0; i < n_fds; i++)
		close(fds[i]);
	if (r && !connection->closing) {
		if (would_block(r))
			connection_dropped(connection->server, connection->fd,
					   "it does not read its answers");
		connection_close(connection);
	}
}

static void poll_closed(uv_handle_t *handle)
{
	struct connection *connection = container_of(handle, struct connection, poll);

	struct quota_table *quotas = &connection->server->quotas;

	close(connection->fd);
	quota_give(quotas, connection->quota, QUOTA_DESCRIPTORS, 1);
	quota_give(quotas, connection->quota, QUOTA_CONNECTIONS, 1);
	quota_unref(quotas, connection->quota);
	free(connection);
}

void connection_dropped(struct server *server, int fd, const char *why)
{
	uint64_t now = uv_now(&server->loop);
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t size = sizeof(peer);

	server->dropped++;
	if (now - server->dropped_ms < 1000 && server->dropped > 1)
		return;
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	log_notice("dropped a connection of pid %d, uid %u: %s; %llu connections so far",
		   (int)peer.pid, (unsigned)peer.uid, why, (unsigned long long)server->dropped);
	server->dropped_ms = now;
}

void connection_close(struct connection *connection)
{
	struct client *client = TAKE_PTR(connection->client);

	if (connection->closing)
		return;
	connection->closing = true;
	*connection->at = connection->next;
	if (connection->next)
		connection->next->at = connection->at;

	waiting_remove(connection);
	while (connection->out) {
		struct outgoing *out = connection->out;

		connection->out = out->next;
		outgoing_free(connection, out);
	}
	connection->out_tail = &connection->out;
	uv_close((uv_handle_t *)&connection->poll, poll_closed);
	if (client)
		client_lost(client);
}

void connection_finish(struct connection *connection)
{
	connection->close_when_sent = true;
	if (!connection->out)
		connection_close(connection);
}

/* How many datagrams there were; 0 also when the connection is gone. */
static int receive(struct connection *connection)
{
	struct server *server = connection->server;
	struct inbox *inbox = server->inbox;
	struct stint stint;
	int n;

	for (unsigned i = 0; i < connection->expected; i++)
		inbox->headers[i].msg_hdr.msg_controllen = sizeof(inbox->control[i]);
	n = recvmmsg(connection->fd, inbox->headers, connection->expected,
		     MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
	if (n < 0) {
		if (!would_block(-errno))
			connection_close(connection);
		return 0;
	}

	stint_begin(&stint, server, STINT_REQUESTS);
	for (int i = 0; i < n; i++) {
		struct mmsghdr *header = &inbox->headers[i];
		bool rude = dispose_of_fds(connection, &header->msg_hdr);

		if (connection->closing)
			continue; /* for the descriptors of the rest */
		if (rude) {
			connection_dropped(server, connection->fd, "it sent descriptors");
			connection_close(connection);
		} else if (!header->msg_len) { /* its end; no message is empty */
			connection_close(connection);
		} else if (header->msg_len == 1 && connection->client &&
			   connection->client->lanes.fd >= 0) {
			exchange_wake(server);
		} else {
			server->requests++;
			request_receive(connection, inbox->data[i], header->msg_len);
		}
	}
	stint_end(&stint);
	if (connection->closing)
		return 0;
	/* Asking for one that is not there costs nearly as much as taking one that is. */
	if ((uint32_t)n < connection->expected)
		connection->expected = (uint32_t)n;
	else if (connection->turns % PROBE_EVERY == 0)
		connection->expected = INBOX_N;
	return n;
}

void connection_hear(struct connection *connection)
{
	receive(connection);
}

/*
 * A client on this processor runs as soon as it is answered, and has often asked again before we
 * run again: then looking once more is cheaper than being woken. Where it does not pay (the
 * client runs elsewhere, or thinks) we stop looking, but for a probe now and then.
 */
static void receive_some(struct connection *connection)
{
	bool look = connection->prompt || ++connection->turns % PROBE_EVERY == 0;
	int n = receive(connection), more;

	for (int i = 1;
	     n && look && !connection->out && i < HELPINGS_MAX && n < HELPING_REQUESTS; i++) {
		more = receive(connection);
		look = connection->prompt = more > 0;
		n += more;
	}
}

static void paused_enough(uv_timer_t *timer)
{
	struct server *server = container_of(timer, struct server, pause);

	for (struct connection *at = server->connections; at; at = at->next)
		if (at->paused) {
			at->paused = false;
			watch(at);
		}
}

void connection_init_all(struct server *server)
{
	uv_timer_init(&server->loop, &server->pause);
}

/* N3. While it is paused, its socket's becoming writable, or its end, still wakes us. */
static void pause_unread(struct connection *connection)
{
	struct server *server = connection->server;

	if (connection->closing || !connection->out)
		return;
	connection->paused = true;
	watch(connection);
	if (!uv_is_active((uv_handle_t *)&server->pause))
		uv_timer_start(&server->pause, paused_enough, PAUSE_MS, 0);
}

static void connection_ready(uv_poll_t *poll, int status, int events)
{
	struct connection *connection = container_of(poll, struct connection, poll);
	int r;

	if (status < 0) {
		connection_close(connection);
		return;
	}
	if (events & UV_WRITABLE) {
		r = send_kept(connection);
		if (!r && connection->close_when_sent) {
			connection_close(connection);
			return;
		}
		if (r && !would_block(r)) {
			connection_close(connection);
			return;
		}
		if (!connection->out)
			connection->paused = false;
		watch(connection);
	}
	if (events & UV_READABLE) { /* what is left wakes us again */
		receive_some(connection);
		pause_unread(connection);
	}
}

/* Said to one that gets no connection: an answer to nothing that it asked. */
void connection_refuse(struct server *server, int fd, const struct quota_refusal *why)
{
	struct request request = {.server = server};
	char buf[512];
	int size;

	allowance_fault(&request, why);
	size = wire_encode_fault(buf, sizeof(buf), 0, &request.fault);
	assert(size > 0);
	(void)!send(fd, buf, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
	connection_dropped(server, fd, "one more than its uid may have, or there can be");
	close(fd);
}

/* The account of whoever connected, if it may have one more. */
static int account(struct server *server, int fd, struct quota **ret, struct quota_refusal *why)
{
	struct quota_table *quotas = &server->quotas;
	struct ucred peer;
	socklen_t size = sizeof(peer);
	struct quota *quota = NULL;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		return -errno;
	quota = quota_ref(quotas, peer.uid);
	if (!quota)
		return -ENOMEM;
	if (!quota_may(quotas, quota, QUOTA_WAITING, 1, why) ||
	    !quota_may(quotas, quota, QUOTA_CONNECTIONS, 1, why) ||
	    !quota_may(quotas, quota, QUOTA_DESCRIPTORS, mutant(hello_unpaid) ? 1 : 2, why)) {
		quota_unref(quotas, quota);
		return -EDQUOT;
	}
	quota_take(quotas, quota, QUOTA_CONNECTIONS, 1);
	quota_take(quotas, quota, QUOTA_DESCRIPTORS, 1);
	*ret = quota;
	return 0;
}

int connection_new(struct server *server, int fd)
{
	struct connection *connection;
	struct quota_refusal why;
	struct quota *quota = NULL;
	int r, off = 0;

	r = account(server, fd, &quota, &why);
	if (r == -EDQUOT)
		connection_refuse(server, fd, &why);
	else if (r)
		close(fd);
	if (r)
		return r;
	connection = calloc(1, sizeof(*connection));
	if (!connection) {
		close(fd);
		quota_give(&server->quotas, quota, QUOTA_DESCRIPTORS, 1);
		quota_give(&server->quotas, quota, QUOTA_CONNECTIONS, 1);
		quota_unref(&server->quotas, quota);
		return -ENOMEM;
	}
	connection->quota = quota;
	/* Where the kernel has it, senders of descriptors are refused; elsewhere see N4. */
	setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));

	connection->server = server;
	connection->fd = fd;
	connection->out_tail = &connection->out;
	connection->expected = INBOX_N;
	r = uv_poll_init(&server->loop, &connection->poll, fd);
	if (r) {
		poll_closed((uv_handle_t *)&connection->poll);
		return r;
	}
	connection->next = server->connections;
	if (connection->next)
		connection->next->at = &connection->next;
	connection->at = &server->connections;
	server->connections = connection;

	waiting_add(connection);

	r = watch(connection);
	if (r)
		connection_close(connection);
	return r;
}
