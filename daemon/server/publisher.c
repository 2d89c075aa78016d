#include "daemon/server/publisher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/cache_rows.h"
#include "daemon/server/client.h"
#include "daemon/server/log.h"
#include "daemon/server/server.h"
#include "proto/layout.h"
#include "proto/stats_file.h"

enum {
	PUBLISH_PAUSE_MS = 20, /* between two, but for beats and when asked */
};

struct publisher {
	struct server *server;
	struct stats_file *file;
	char path[128];
	uv_timer_t soon;
	bool touched;
	uint64_t published_ms; /* by the loop's clock */
	struct stats_copy next;
};

static void set_header(struct publisher *publisher)
{
	struct server *server = publisher->server;
	struct stats_file *file = publisher->file;

	file->magic = STATS_MAGIC;
	file->layout = LAYOUT_VERSION;
	file->size = sizeof(*file);
	file->pid = (uint32_t)getpid();
	file->page_shift = server->page_shift;
	file->epoch = server->epoch;
	file->start_ms = server->start_ns / 1000000;
	file->isolates = server->isolates;
	snprintf(file->version, sizeof(file->version), "%s", VARBOS_VERSION);
	snprintf(file->socket, sizeof(file->socket), "%s", server->config.socket.path);
	snprintf(file->quarantine, sizeof(file->quarantine), "%s",
		 server->quarantine ? server->quarantine : "");
}

static int share_file(const struct publisher *publisher, int fd)
{
	int64_t gid = publisher->server->socket_gid;
	struct stat st;

	if (fchmod(fd, 0640) || fstat(fd, &st))
		return -errno;
	/* Already its, where that is the daemon's own group: a unit may forbid the call. */
	if (gid < 0 || st.st_gid == gid || !fchown(fd, (uid_t)-1, (gid_t)gid))
		return 0;
	return -errno;
}

/*
 * The file is written under another name and renamed: no reader sees half a header, and what an
 * earlier daemon's readers have mapped stays what it was.
 */
static int place_file(struct publisher *publisher)
{
	_cleanup_(closep) int fd = -1;
	char temporary[sizeof(publisher->path) + 16];
	void *memory;
	int r;

	snprintf(temporary, sizeof(temporary), "%s.new", publisher->path);
	unlink(temporary);
	fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	/* Committed whole: a full file system is a refusal now, not a SIGBUS later. */
	r = share_file(publisher, fd);
	if (!r)
		r = -posix_fallocate(fd, 0, sizeof(struct stats_file));
	if (!r) {
		memory = mmap(NULL, sizeof(struct stats_file), PROT_READ | PROT_WRITE,
			      MAP_SHARED, fd, 0);
		if (memory == MAP_FAILED)
			r = -errno;
		else
			publisher->file = memory;
	}
	if (!r) {
		set_header(publisher);
		publisher_publish(publisher);
		if (rename(temporary, publisher->path))
			r = -errno;
	}
	if (r)
		unlink(temporary);
	return r;
}

static void soon_closed(uv_handle_t *handle)
{
	free(container_of(handle, struct publisher, soon));
}

int publisher_new(struct publisher **ret, struct server *server)
{
	struct publisher *publisher;
	int r;

	publisher = calloc(1, sizeof(*publisher));
	if (!publisher) {
		log_error("no start: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	publisher->server = server;
	snprintf(publisher->path, sizeof(publisher->path), "%s.stats",
		 server->config.socket.path);
	uv_timer_init(&server->loop, &publisher->soon);
	r = place_file(publisher);
	if (r) {
		log_error("%s: the statistics file cannot be written: %s", publisher->path,
			  strerror(-r));
		*publisher->path = '\0'; /* whatever is there is not ours */
		publisher_free(publisher);
		return r;
	}
	*ret = publisher;
	return 0;
}

void publisher_free(struct publisher *publisher)
{
	if (!publisher)
		return;
	if (*publisher->path)
		unlink(publisher->path);
	if (publisher->file)
		munmap(publisher->file, sizeof(*publisher->file));
	uv_close((uv_handle_t *)&publisher->soon, soon_closed);
}

static void soon(uv_timer_t *timer)
{
	publisher_publish(container_of(timer, struct publisher, soon));
}

void publisher_touch(struct publisher *publisher)
{
	uint64_t due, now;

	if (!publisher) /* the daemon is ending, and a job was under way */
		return;
	if (publisher->touched)
		return;
	publisher->touched = true;
	due = publisher->published_ms + PUBLISH_PAUSE_MS;
	now = uv_now(&publisher->server->loop);
	uv_timer_start(&publisher->soon, soon, due > now ? due - now : 0, 0);
}

static void fill_space(struct stats_copy *copy, uint32_t slot, const struct space_view *view)
{
	struct stats_space *row;

	if (copy->n_spaces == STATS_SPACES_MAX)
		return;

	row = &copy->spaces[copy->n_spaces++];
	*row = (struct stats_space){
		.space = slot,
		.uid = view->owner.uid,
		.gid = view->owner.gid,
		.mode = view->mode,
		.sessions = view->sessions,
		.windows = view->windows,
		.removed = view->removed,
		.ids = view->ids,
		.limit = view->limit,
		.reserve = view->reserve,
		.used = view->used,
		.peak = view->peak,
		.committed = view->committed,
		.largest = view->largest,
		.extents = view->extents,
		.allocs = view->counts.allocs,
		.frees = view->counts.frees,
		.refused = view->counts.refused,
		.failures = view->counts.failures,
		.surplus = view->counts.surplus,
		.nodes = view->numa.nodes,
		.numa = view->numa.kind,
		.page_shift = view->page_shift,
		.swept = view->counts.swept,
	};
	snprintf(row->name, sizeof(row->name), "%s", view->name);
	snprintf(row->placement, sizeof(row->placement), "%s", view->placement);
}

/* Its memory by nodes. */
static void fill_shares(struct stats_copy *copy, const struct server *server, uint32_t slot)
{
	for (uint64_t rest = server->topology.nodes; rest; rest &= rest - 1) {
		struct stats_share share = {.space = slot,
					    .node = (uint32_t)__builtin_ctzll(rest)};

		core_share_view(server->core, slot, share.node, &share.committed, &share.used);
		if ((share.committed || share.used) && copy->n_shares < STATS_SHARES_MAX)
			copy->shares[copy->n_shares++] = share;
	}
}

/* They are in the order of their slots. NULL: there was no room for it. */
static struct stats_space *space_row(struct stats_copy *copy, uint32_t slot)
{
	uint32_t first = 0, end = copy->n_spaces;

	while (first < end) {
		uint32_t middle = (first + end) / 2;

		if (copy->spaces[middle].space < slot)
			first = middle + 1;
		else
			end = middle;
	}
	return first < copy->n_spaces && copy->spaces[first].space == slot
		       ? &copy->spaces[first]
		       : NULL;
}

static void fill_client(struct stats_copy *copy, const struct client *client,
			const struct session_view *view)
{
	const struct report_sums *sums = &client->cached;
	struct stats_client *row;

	for (uint32_t i = 0; i < sums->n; i++) {
		struct stats_space *space = space_row(copy, sums->of[i].space);

		if (space)
			space->cached = u64_min(space->used,
						space->cached + report_cached_in(client, i));
	}
	if (copy->n_clients == STATS_CLIENTS_MAX)
		return;
	row = &copy->clients[copy->n_clients++];
	*row = (struct stats_client){
		.session = view->session,
		.pid = view->pid,
		.uid = view->owner.uid,
		.spaces = view->spaces,
		.used = view->used,
		.peak = view->peak,
		.allocs = view->allocs,
		.frees = view->frees,
		.failed = view->failed,
		.absent = !client->connection,
		.cached = report_cached(client),
		.pinned = view->pinned,
	};
	snprintf(row->name, sizeof(row->name), "%s", client->name);
}

static void fill(struct stats_copy *copy, struct server *server)
{
	const struct core *core = server->core;
	struct core_view view = core_view(core);

	memset(copy, 0, offsetof(struct stats_copy, nodes)); /* n_nodes, too */
	copy->now_ms = server->sys->table->now_ns(server->sys) / 1000000;
	copy->region = view.capacity;
	copy->committed = view.committed;
	copy->used = view.used;
	copy->peak = view.peak;
	copy->spaces_total = view.spaces;
	copy->sessions_total = view.sessions;
	copy->requests = server->requests;
	copy->allocs = view.counts.allocs;
	copy->frees = view.counts.frees;
	copy->refused = view.counts.refused;
	copy->failures = view.counts.failures;
	for (uint64_t rest = server->topology.nodes; rest; rest &= rest - 1)
		copy->nodes[copy->n_nodes++] =
			core_node_view(core, (uint32_t)__builtin_ctzll(rest));

	for (uint32_t slot = core_space_next(core, 0); slot != UINT32_MAX;
	     slot = core_space_next(core, slot + 1)) {
		struct space_view space;

		if (!core_space_view(core, slot, &space))
			continue;
		fill_space(copy, slot, &space);
		fill_shares(copy, server, slot);
	}
	for (uint32_t slot = core_session_next(core, 0); slot != UINT32_MAX;
	     slot = core_session_next(core, slot + 1)) {
		struct session_view session;

		if (server->clients[slot] && core_session_view(core, slot, &session))
			fill_client(copy, server->clients[slot], &session);
	}
	caches_fill(copy, server);
}

void publisher_publish(struct publisher *publisher)
{
	struct stint stint;

	stint_begin(&stint, publisher->server, STINT_STATISTICS);
	publisher->touched = false;
	publisher->published_ms = uv_now(&publisher->server->loop);
	uv_timer_stop(&publisher->soon);
	fill(&publisher->next, publisher->server);
	stats_file_publish(publisher->file, &publisher->next);
	atomic_store_explicit(&publisher->file->losses, publisher->server->losses,
			      memory_order_relaxed);
	publisher_beat(publisher);
	stint_end(&stint);
}

void publisher_beat(struct publisher *publisher)
{
	struct sys *sys = publisher->server->sys;

	atomic_store_explicit(&publisher->file->beat_ns, sys->table->now_ns(sys),
			      memory_order_release);
}
