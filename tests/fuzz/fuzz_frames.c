/*
 * Any datagrams, in any order, from connections that have said HELLO or not, and any records in
 * their lanes: the server over a fake machine answers or drops, keeps what the audit wants kept, and
 * has nothing left once the processes behind the connections have ended.
 *
 * The input is a row of steps, each a byte of what, two of a length, and as many bytes:
 *
 *   bits 0-1  which connection: 0 says nothing by itself, 1 to 3 have said HELLO
 *   bits 2-3  of 1 to 3: whose process it is (root, two others, the first of them once more)
 *   bits 4-5  0, 1: a datagram   2: bytes into its return ring   3: its socket closes
 *   bit 6     what is sent is taken before the next step
 *   bit 7     with 2: records into its first lane instead, in front of each a hazard word; 8 bytes
 *             behind them are the lane's head, wherever that is
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/server/allowance.h"
#include "daemon/server/client.h"
#include "daemon/server/connection.h"
#include "daemon/server/exchange.h"
#include "daemon/server/fetches.h"
#include "daemon/server/hoard.h"
#include "daemon/server/hoards.h"
#include "daemon/server/job.h"
#include "daemon/server/keep.h"
#include "daemon/server/log.h"
#include "daemon/server/method_cache.h"
#include "daemon/server/publisher.h"
#include "daemon/server/request.h"
#include "daemon/server/scanner.h"
#include "daemon/server/scrub.h"
#include "daemon/server/server.h"
#include "daemon/server/sweeper.h"
#include "daemon/server/waiting.h"
#include "daemon/server/waker.h"
#include "daemon/sys/guard.h"
#include "tests/fake_sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	CONNECTIONS = 4,
	SIZE = 16 << 20,
	SPACES = 16,
	SESSIONS = 16,
	TURNS_MAX = 100000, /* far beyond what any input needs */
	TURNS_BUSY = 10000,
};

static struct {
	struct server server;
	struct fake_sys fake;
	struct sys_table table;
	struct {
		int fd;      /* our end; -1: none */
		int process; /* an eventfd in place of its pidfd; -1: none */
	} peers[CONNECTIONS];
	uint64_t files; /* of the daemon's own, for good */
	uint32_t uid;   /* of whom peer() is asked about */
	int process;
	uint64_t birth;
} host;

static int fake_peer(struct sys *sys, int socket, uint32_t *ret_uid, uint32_t *ret_gid,
		     uint32_t *ret_pid, int *ret_pidfd, uint64_t *ret_birth)
{
	*ret_pidfd = dup(host.process);
	if (*ret_pidfd < 0)
		return -errno;
	*ret_uid = *ret_gid = host.uid;
	*ret_pid = (uint32_t)host.birth;
	*ret_birth = host.birth;
	return 0;
}

/* Nobody looks into windows here: they go without pages, which would take most of the time. */
static int no_commit(struct sys *sys, int fd, uint32_t page_shift, uint32_t node,
		     uint64_t offset, uint64_t size, struct sys_shortage *ret)
{
	return 0;
}

static int no_punch(struct sys *sys, int fd, uint32_t page_shift, uint64_t offset,
		    uint64_t size)
{
	return 0;
}

/* The next one that is opened is the least that is free: a leak shows. */
static int next_descriptor(void)
{
	int fd = dup(STDERR_FILENO);

	assert(fd >= 0);
	close(fd);
	return fd;
}

static void core_start(struct server *server)
{
	static const struct record_capacity capacity = {
		.slots = {
			[RECORD_SPACE] = SPACES,
			[RECORD_WINDOW] = 64,
			[RECORD_PAGES] = SIZE / CHUNK_BYTES,
			[RECORD_SESSION] = SESSIONS,
			[RECORD_MEMBER] = 64,
			[RECORD_EXTENT] = SIZE / SLICE_BYTES,
			[RECORD_CHANNEL] = 64,
			[RECORD_END] = 64,
			[RECORD_CACHE] = 16,
			[RECORD_USER] = 64,
			[RECORD_RIGHT] = 16,
			[RECORD_LANES] = SESSIONS,
			[RECORD_RETURNS] = SESSIONS,
			[RECORD_INTENT] = 1,
			[RECORD_RESULT] = SESSIONS * RESULTS_A_SESSION,
		}};
	const struct core_config config = {
		.page_shift = 12,
		.n_nodes = 1,
		.node_bytes = {SIZE},
		.share = SIZE,
		.uid = 1,
		.seed = 1,
	};

	assert(!ledger_new(&server->ledger, server->sys, &(struct ledger_region){}, &capacity));
	assert(!core_new(&server->core, &config, server->ledger.records));
	assert(!files_init(&server->files, SPACES, 64));
	server->n_clients_max = SESSIONS;
	server->clients = calloc(SESSIONS, sizeof(*server->clients));
	assert(server->clients);
}

static void start(void)
{
	static struct options options = {.lifeline = -1};
	struct server *server = &host.server;
	char *path = server->config.socket.path;
	struct settings settings;
	struct rlimit few = {512, 512};
	char folder[] = "/tmp/varbos-fuzz-XXXXXX";

	assert(!setrlimit(RLIMIT_NOFILE, &few));
	log_limit(LOG_LEVEL_NOTICE);
	fake_sys_init(&host.fake, (uint64_t)1 << 30);
	host.table = *host.fake.sys.table;
	host.table.peer = fake_peer;
	host.table.commit = no_commit;
	host.table.punch = no_punch;
	host.fake.sys.table = &host.table;

	server->sys = &host.fake.sys;
	server->page_shift = 12;
	server->epoch = 1;
	server->isolates = true;
	settings_init(&settings);
	server->config = settings.config;
	settings_deinit(&settings);
	server->options = &options;
	server->lock_fd = server->listen_fd = server->spare_fd = -1;
	server->parked_tail = &server->parked;
	list_init(&server->rings);
	assert(mkdtemp(folder));
	snprintf(path, sizeof(server->config.socket.path), "%s/s", folder);
	assert(!uv_loop_init(&server->loop));
	uv_idle_init(&server->loop, &server->backlog);
	assert(!guard_install());
	waiting_init(server);
	server->descriptors = few.rlim_cur;
	allowance_apply(server);
	core_start(server);
	/* Nothing was left, and nothing is kept. */
	assert(!keep_new(&server->keep, &(struct left){},
			 &(struct keep_terms){.keeper_only = true}));
	assert(!inbox_new(&server->inbox));
	assert(!scrub_new(&server->scrub, server));
	assert(!sweeper_new(&server->sweeper, server));
	assert(!waker_new(&server->waker, server));
	assert(!hoards_new(&server->hoards, server));
	assert(!exchange_new(&server->exchange, server));
	assert(!scanner_new(&server->scanner, server));
	assert(!fetches_new(&server->fetches, server));
	assert(!publisher_new(&server->publisher, server));
	strcat(path, ".stats"); /* mapped: it needs no name any more */
	unlink(path);
	rmdir(folder);
	for (int i = 0; i < CONNECTIONS; i++)
		host.peers[i].fd = host.peers[i].process = -1;
}

/* Until there is nothing to do but wait. */
static void settle(void)
{
	struct server *server = &host.server;
	uint64_t before;

	for (int turns = 0;; turns++) {
		assert(turns < TURNS_MAX);
		/* On a busy machine: time stands still here, so the loop does not sleep for a worker. */
		if (turns > TURNS_BUSY && server->loop.active_reqs.count)
			usleep(1000);
		before = server->requests;
		uv_run(&server->loop,
		       server->loop.active_reqs.count ? UV_RUN_ONCE : UV_RUN_NOWAIT);
		if (before == server->requests && !server->backlog_active &&
		    !server->loop.active_reqs.count)
			return;
	}
}

static void hello(int fd)
{
	char buf[256];
	int n = wire_encode_request(buf, sizeof(buf), 1, WIRE_HELLO,
				    &(struct wire_hello){.protocol = WIRE_PROTOCOL,
							 .layout_min = LAYOUT_VERSION,
							 .layout_max = LAYOUT_VERSION,
							 .name = wire_str("fuzz")});

	assert(n > 0 && send(fd, buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) == n);
	settle();
}

static void open_peer(int at, uint32_t who)
{
	static const uint32_t uids[] = {0, 1000, 1001, 1000};
	int ends[2];

	assert(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends));
	host.peers[at].process = eventfd(0, EFD_CLOEXEC);
	assert(host.peers[at].process >= 0);
	host.uid = uids[who];
	host.process = host.peers[at].process;
	host.birth = (uint64_t)at + 1;
	assert(!connection_new(&host.server, ends[0]));
	host.peers[at].fd = ends[1];
	if (at)
		hello(ends[1]);
}

/* What comes is read, so that it does not pile up, and its descriptors go. */
static void drain(int fd)
{
	static char bytes[WIRE_MESSAGE_MAX];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
	} control;
	struct iovec piece = {bytes, sizeof(bytes)};
	ssize_t n;

	do {
		struct msghdr header = {.msg_iov = &piece,
					.msg_iovlen = 1,
					.msg_control = control.bytes,
					.msg_controllen = sizeof(control.bytes)};

		n = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0)
			break;
		assert(!(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c;
		     c = CMSG_NXTHDR(&header, c)) {
			size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

			for (size_t i = 0; i < fds; i++)
				close(((int *)CMSG_DATA(c))[i]);
		}
	} while (n > 0);
}

static void write_ring(int at, const uint8_t *data, size_t size)
{
	struct server *server = &host.server;

	for (uint32_t i = 0; i < server->n_clients_max; i++) {
		const struct client *client = server->clients[i];

		if (client && client->birth == (uint64_t)at + 1 && client->returns.fd >= 0)
			memcpy((void *)(uintptr_t)client->returns.ring, data,
			       u64_min(size, sizeof(struct return_ring)));
	}
}

static void put_into(struct lane *lane, const uint8_t *data, size_t size)
{
	const size_t piece = sizeof(uint64_t) + sizeof(struct lane_record);
	uint64_t head = atomic_load(&lane->head), word;

	for (; size >= piece; data += piece, size -= piece, head++) {
		memcpy(&word, data, sizeof(word));
		atomic_store(&lane->hazards[head % LANE_HAZARDS], word);
		memcpy(&lane->records[head % LANE_RECORDS], data + sizeof(word),
		       sizeof(struct lane_record));
	}
	if (size >= sizeof(head))
		memcpy(&head, data, sizeof(head));
	atomic_store(&lane->head, head);
}

static void write_lane(int at, const uint8_t *data, size_t size)
{
	struct server *server = &host.server;

	for (uint32_t i = 0; i < server->n_clients_max; i++) {
		const struct client *client = server->clients[i];

		if (client && client->birth == (uint64_t)at + 1 && client->lanes.fd >= 0)
			put_into(client->lanes.at, data, size);
	}
	/* The byte is read, and then the lane. */
	if (send(host.peers[at].fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
		for (int i = 0; i < 2; i++)
			settle();
}

static void step(uint8_t what, const uint8_t *data, size_t size)
{
	int at = what & 3;

	if (host.peers[at].fd < 0) {
		if (host.peers[at].process >= 0)
			return; /* its socket has been closed */
		open_peer(at, what >> 2 & 3);
	}
	switch (what >> 4 & 3) {
	case 2:
		if (what & 128)
			write_lane(at, data, size);
		else
			write_ring(at, data, size);
		break;
	case 3:
		close(TAKE_FD(host.peers[at].fd));
		break;
	default: /* refused by the socket where it is full or gone: as it may */
		if (send(host.peers[at].fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
	}
	if (what & 64)
		settle();
}

static void processes_end(void)
{
	struct server *server = &host.server;
	uint64_t one = 1;

	for (int i = 0; i < CONNECTIONS; i++) {
		if (host.peers[i].process >= 0)
			assert(write(host.peers[i].process, &one, sizeof(one)) == sizeof(one));
		if (host.peers[i].fd >= 0) {
			drain(host.peers[i].fd);
			close(TAKE_FD(host.peers[i].fd));
		}
	}
	settle();
	for (int i = 0; i < CONNECTIONS; i++)
		if (host.peers[i].process >= 0)
			close(TAKE_FD(host.peers[i].process));
	settle();
	assert(!server->connections && !server->ending && !server->parked);
	for (uint32_t i = 0; i < server->n_clients_max; i++)
		assert(!server->clients[i]);
}

static void spaces_go(void)
{
	struct server *server = &host.server;
	uint32_t slot;

	while ((slot = core_space_next(server->core, 0)) != UINT32_MAX) {
		struct core_fault fault;
		struct space_view view;
		struct plan *plan = NULL;
		int r;

		assert(core_space_view(server->core, slot, &view));
		r = core_space_remove(server->core, (struct credentials){0, 0}, view.name, true,
				      &plan, &fault);
		server_apply(server);
		if (plan)
			assert(!job_start(server, plan, NULL, NULL));
		assert(!r || r == CORE_MORE || r == CORE_E_BUSY);
		caches_reap_soon(server);
		settle();
	}
}

/* The first one who has lanes makes the bell, which stays. */
static void bell_come(void)
{
	char buf[256];
	int n = wire_encode_request(buf, sizeof(buf), 2, WIRE_LANES_OPEN,
				    &(struct wire_lanes_open){.lanes = 1});

	open_peer(1, 0);
	assert(n > 0 && send(host.peers[1].fd, buf, (size_t)n, MSG_NOSIGNAL) == n);
	settle();
	processes_end();
	host.files = host.fake.files;
	assert(host.files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct core_view view;
	int before;

	if (!host.server.core) {
		start();
		bell_come();
	}
	before = next_descriptor();
	while (size >= 3) {
		size_t n = (size_t)u64_min(data[1] | (uint64_t)data[2] << 8, size - 3);

		step(data[0], data + 3, n);
		data += 3 + n;
		size -= 3 + n;
	}
	settle();
	if (core_view(host.server.core).spaces) /* else the sums below say it all */
		server_audit(&host.server, true);
	processes_end();
	if (core_view(host.server.core).spaces) {
		server_audit(&host.server, true);
		spaces_go();
	}
	view = core_view(host.server.core);
	for (int i = 0; i < QUOTA_KINDS; i++)
		assert(!host.server.quotas.held[i]);
	assert(!view.used && !view.committed && !view.sessions && !view.spaces);
	assert(!host.fake.windows && host.fake.files == host.files);
	assert(before == next_descriptor());
	return 0;
}
