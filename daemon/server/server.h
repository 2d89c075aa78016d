/*
 * Server - the loop: everything that is decided is decided here, on one thread.
 *
 * V1  The loop's thread makes no call that commits, punches or closes memory, or opens a file
 *     for a client: those are jobs for the workers.
 * V2  After every verb of the core the changes it made are stored into the files that clients
 *     map before anyone is answered.
 * V3  A session's end waits for the jobs that the session has under way.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/config/shares.h"
#include "daemon/core/core.h"
#include "daemon/core/list.h"
#include "daemon/server/files.h"
#include "daemon/server/ledger.h"
#include "daemon/server/options.h"
#include "daemon/server/stint.h"
#include "daemon/sys/sys.h"
#include "proto/wire.h"

struct alloc;
struct client;
struct closer;
struct connection;
struct exchange;
struct fetches;
struct hoards;
struct inbox;
struct keep;
struct notify;
struct parked;
struct publisher;
struct scanner;
struct scrub;
struct sweeper;
struct upgrade;
struct waker;

struct server {
	struct config config; /* as of the last reload */
	const struct options *options;
	uint32_t page_shift;
	const char *pages_why;    /* NULL, or why pages are smaller than could be */
	struct topology topology; /* at the start */
	uint64_t node_bytes[TOPOLOGY_NODES_MAX]; /* of the region, without: */
	struct {
		uint32_t page_shift; /* 0: there are none */
		uint64_t bytes, node_bytes[TOPOLOGY_NODES_MAX];
		uint64_t from; /* spaces of this limit take them */
	} large;
	struct shares shares;     /* memory.nodes */
	bool places;              /* there is a choice of nodes */
	struct sys_nodes machine; /* for numa.nodes, at most a second old: */
	uint64_t machine_ms;      /* by the loop's clock; 0: never read */
	uint64_t epoch;
	uint64_t start_ns;
	bool isolates;
	bool ignores_hangup, had_terminal;

	uv_loop_t loop;
	struct sys *sys;
	struct keep *keep; /* there before all else, and after it */
	struct core *core;
	struct ledger ledger;
	int ledger_left;        /* kept (KE3), and not taken up: in quarantine; -1: none */
	const char *quarantine; /* NULL, or why nobody is served (restore.h) */
	bool restored;          /* there was something of an earlier daemon */
	bool *lost_spaces;      /* by slot, while they are being restored */
	uint64_t losses;        /* of what an earlier daemon had: RO1 */
	struct files files;

	int lock_fd, listen_fd;
	dev_t socket_device;
	ino_t socket_inode;      /* what we bound: another's is left alone at the end */
	bool socket_left;        /* by an earlier daemon, which bound it */
	int64_t socket_gid;      /* whose members may connect; -1: the daemon's user alone */
	uint64_t turned_away_ms; /* when last, by the loop's clock */
	bool listener_stopped;   /* no descriptors: until the next beat */
	int spare_fd; /* given up for a moment to turn a connection away when there is no other */
	uv_poll_t listener;
	uv_timer_t pace; /* of connections that come to nothing */
	uint32_t credit; /* of them, as of credit_ms */
	uint64_t credit_ms;
	uv_poll_t lifeline;
	uv_signal_t sigterm, sigint, sighup;
	struct reload *reload;   /* under way, or NULL */
	struct upgrade *upgrade; /* under way, or NULL */
	uv_timer_t upgrade_look;
	bool reload_again; /* asked for while one is under way */
	uv_timer_t beat;
	uv_idle_t backlog; /* runs while there is work that was cut into steps */
	bool backlog_active, stopping;

	struct inbox *inbox;
	struct closer *closer;
	uv_async_t unwanted_closed; /* by it */
	struct notify *notify;
	struct publisher *publisher;
	struct scrub *scrub;
	struct sweeper *sweeper;
	struct waker *waker;
	struct hoards *hoards;
	struct exchange *exchange;
	struct fetches *fetches;
	struct scanner *scanner;
	struct connection *connections; /* doubly linked */
	struct connection *waiting,
		**waiting_tail; /* of them, those without HELLO: waiting.h */
	uv_timer_t hello;
	uv_timer_t pause;          /* of connections that leave answers unread */
	struct quota_table quotas; /* of what no record counts */
	uint64_t descriptors;      /* that the daemon may have */
	uint64_t dropped;          /* connections, for what they did */
	uint64_t dropped_ms;       /* when that was last logged */
	struct client **clients;   /* by session slot */
	uint32_t n_clients_max;
	struct client *ending;                /* singly linked: whose end is not complete */
	struct parked *parked, **parked_tail; /* requests that wait for a plan to end */
	struct alloc *put_off; /* allocations that a node could not give, until a plan ends */
	uint32_t undoing;      /* clients with a space to be closed again */
	bool reaping;          /* caches that were removed may have lost their last session */
	bool retry;            /* parked requests are worth another try */
	bool retry_again;      /* and once more after this pass */
	struct parked **retry_at; /* where a pass goes on; NULL: at the start */
	struct link rings;        /* clients that have one; who was looked at last comes last */
	uint64_t requests;
	struct stints stints;
};

/* 0, or -errno after having said why. Serves until it is told to end. */
int server_run(const struct options *options, struct sys *sys);

/* Close what clients see, let jobs end, and return from server_run(). */
void server_stop(struct server *server, const char *why);

/* Store what the core changed into the shared files (V2); hoards follow soon (HD9). */
void server_apply(struct server *server);

/*
 * Not in the daemon but in that which tests run, and in what fuzzes it (tests/integration/audit.c):
 * ends it if anything is not as it should be. all: large caches, too.
 */
void server_audit(const struct server *server, bool all);

/* There is more to do than one turn should: go on at the next. */
void server_more(struct server *server);
/* The machine's time, which goes on while it is suspended: what caches count in. */
uint64_t server_machine_ms(const struct server *server);
