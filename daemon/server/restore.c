#include "daemon/server/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "daemon/server/allowance.h"
#include "daemon/server/client.h"
#include "daemon/server/hoard_adopt.h"
#include "daemon/server/job.h"
#include "daemon/server/lanes_adopt.h"
#include "daemon/server/log.h"
#include "daemon/server/method_cache.h"
#include "daemon/server/pages.h"
#include "daemon/server/retry.h"
#include "daemon/server/scrub.h"
#include "daemon/server/server.h"
#include "daemon/server/sweeper.h"

static const uint32_t pools[] = {21, 30};

static char why_text[256]; /* what server->quarantine points at */

/* ---- the core ---- */

static struct core_config core_config_of(struct server *server,
					 const struct record_capacity *capacity)
{
	uint64_t size = server->config.memory.size;
	struct core_config config = {
		.page_shift = server->page_shift,
		.n_nodes = 64 - (uint32_t)__builtin_clzll(server->topology.nodes),
		.topology = server->topology,
		.share = server->isolates ? size / 4 : size,
		.uid = geteuid(),
		.seed = server->epoch,
	};

	allowance_of_core(server, capacity, &config.limits);
	memcpy(config.node_bytes, server->node_bytes, sizeof(server->node_bytes));
	config.large.page_shift = server->large.page_shift;
	config.large.from = server->large.from;
	memcpy(config.large.node_bytes, server->large.node_bytes,
	       sizeof(server->large.node_bytes));
	return config;
}

static int tables_new(struct server *server)
{
	const struct record_capacity *capacity = records_capacity(server->ledger.records);
	int r;

	allowance_apply(server);
	r = files_init(&server->files, capacity->slots[RECORD_SPACE],
		       capacity->slots[RECORD_WINDOW]);
	if (r)
		return r;
	server->clients = calloc(capacity->slots[RECORD_SESSION], sizeof(*server->clients));
	if (!server->clients)
		return -ENOMEM;
	server->n_clients_max = capacity->slots[RECORD_SESSION];
	return 0;
}

static int core_begin(struct server *server)
{
	struct ledger_region region;
	struct record_capacity capacity;
	struct core_config config;
	int r;

	allowance_size(server, &capacity);
	pages_describe(server, &region);
	r = ledger_new(&server->ledger, server->sys, &region, &capacity);
	if (r)
		return r;
	config = core_config_of(server, &capacity);
	r = core_new(&server->core, &config, server->ledger.records);
	return r ? r : tables_new(server);
}

static int keep_one(struct server *server, enum kept_kind kind, uint64_t number, int fd)
{
	char name[KEPT_NAME_MAX];
	struct kept kept = {kept_name(name, kind, number, 0, 0), fd};
	int r;

	r = keep_put(server->keep, &kept, 1);
	if (r)
		log_error("the store does not keep %s: %s", name, strerror(-r));
	return r;
}

/* Hugepages that an earlier daemon held, of a region that is no more: for anyone. */
static void reserves_release(struct server *server)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(pools); i++) {
		char name[KEPT_NAME_MAX];
		int fd = keep_take(server->keep, kept_name(name, KEPT_RESERVE, pools[i], 0, 0));

		if (fd < 0)
			continue;
		keep_remove(server->keep, name);
		server->sys->table->reserve_adopt(server->sys, pools[i], fd, 0, 0);
	}
}

/* Of an empty region, which is made as the configuration says. */
static int begin(struct server *server)
{
	int r;

	if (keep_resumes(server->keep))
		reserves_release(server);
	r = pages_choose(server);
	if (r)
		return r;
	r = core_begin(server);
	if (r) {
		log_error("no start: %s", strerror(-r));
		return r;
	}
	r = keep_one(server, KEPT_LEDGER, 0, server->ledger.fd);
	for (uint32_t i = 0; !r && i < ARRAY_SIZE(pools); i++) {
		int fd = server->sys->table->reserve_file(server->sys, pools[i]);

		if (fd >= 0)
			r = keep_one(server, KEPT_RESERVE, pools[i], fd);
	}
	return r;
}

/* ---- quarantine ---- */

static int quarantine(struct server *server, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Serves nothing, of a region without memory: what is kept stays where it is. */
static int quarantine(struct server *server, const char *format, ...)
{
	struct ledger_region region = {};
	struct record_capacity capacity;
	struct core_config config;
	va_list args;
	int r;

	va_start(args, format);
	vsnprintf(why_text, sizeof(why_text), format, args);
	va_end(args);
	server->quarantine = why_text;
	log_error("quarantine: %s; what is kept stays as it is, and nobody is served",
		  why_text);

	core_free(TAKE_PTR(server->core));
	if (server->ledger.memory) {
		server->sys->table->file_unmap(server->sys, server->ledger.memory,
					       server->ledger.size);
		server->ledger_left = server->ledger.fd;
		server->ledger = LEDGER_NONE;
	}
	memset(server->node_bytes, 0, sizeof(server->node_bytes));
	memset(&server->large, 0, sizeof(server->large));
	server->page_shift = 12;
	server->topology = (struct topology){.nodes = 1, .memory = 1, .cpus = 1};
	allowance_size(server, &capacity);
	r = ledger_new(&server->ledger, server->sys, &region, &capacity);
	if (!r) {
		config = core_config_of(server, &capacity);
		r = core_new(&server->core, &config, server->ledger.records);
	}
	if (!r)
		r = tables_new(server);
	if (r)
		log_error("no start: %s", strerror(-r));
	return r;
}

/* ---- what was left ---- */

static int reserve_restore(struct server *server, uint32_t page_shift, uint64_t bytes)
{
	uint64_t taken = 0;
	char name[KEPT_NAME_MAX];
	int fd, r;

	if (page_shift == 12)
		return 0;
	for (uint32_t node = 0; node < TOPOLOGY_NODES_MAX; node++)
		taken += core_rung_view(server->core, page_shift, node).committed;
	fd = keep_take(server->keep, kept_name(name, KEPT_RESERVE, page_shift, 0, 0));
	r = server->sys->table->reserve_adopt(server->sys, page_shift, fd, bytes, taken);
	if (r == -EBADFD) {
		log_error("%s: what an earlier daemon left is none: %s", name, strerror(-r));
		keep_remove(server->keep, name);
		fd = -1;
		r = server->sys->table->reserve_adopt(server->sys, page_shift, -1, bytes,
						      taken);
	}
	if (r) {
		log_error("hugepages cannot be held for this daemon: %s", strerror(-r));
		return r;
	}
	if (fd < 0)
		keep_one(server, KEPT_RESERVE, page_shift,
			 server->sys->table->reserve_file(server->sys, page_shift));
	return 0;
}

/* What depends on it goes when sessions are there: restore_rest(). */
static void lose(struct server *server, uint32_t slot)
{
	struct space_view space;

	if (server->lost_spaces[slot] || !core_space_view(server->core, slot, &space))
		return;
	server->lost_spaces[slot] = true;
	if (space.removed && !space.sessions)
		return;
	server->losses++;
	log_error("space %u (%s) is lost, with the %" PRIu64
		  " bytes in it and the sessions that "
		  "have it open",
		  slot, space.name, space.used);
}

static void relock(struct server *server, uint32_t window, const struct window_files *files)
{
	uint64_t unit = (uint64_t)1 << u64_max(files->page_shift, CHUNK_SHIFT);
	uint32_t first = 0, count;

	if (!server->config.memory.lock)
		return;
	for (; core_units_committed(server->core, window, &first, &count); first += count) {
		int r = server->sys->table->relock(server->sys, files->data_fd, first * unit,
						   count * unit);

		if (r)
			log_error("window %u: %" PRIu64 " bytes are not locked any more: %s",
				  window, count * unit, strerror(-r));
	}
}

/* All are looked at before the first word changes: slice maps first, and epochs last (F3). */
static int files_restore(struct server *server)
{
	struct files *files = &server->files;
	struct core *core = server->core;
	struct space_view space;
	struct window_view window;
	uint64_t mended = 0;
	int r;

	server->lost_spaces = calloc(files->n_roots, sizeof(*server->lost_spaces));
	if (!server->lost_spaces)
		return -ENOMEM;
	for (uint32_t i = core_space_next(core, 0); i != UINT32_MAX;
	     i = core_space_next(core, i + 1)) {
		if (!core_space_view(core, i, &space))
			continue;
		r = root_files_adopt(&files->roots[i], server->sys, server->keep, i,
				     space.hash_seed);
		if (r == FILES_E_LOST)
			lose(server, i);
		else if (r)
			return r;
	}
	for (uint32_t i = core_window_next(core, 0); i != UINT32_MAX;
	     i = core_window_next(core, i + 1)) {
		if (!core_window_view(core, i, &window) ||
		    !core_space_view(core, window.space, &space))
			continue;
		r = window_files_adopt(&files->windows[i], server->sys, server->keep,
				       window.info, window.number, space.hash_seed);
		if (r == FILES_E_LOST) {
			lose(server, window.space);
			continue;
		}
		if (r)
			return r;
		mended += window_files_mend(&files->windows[i], core, i);
		relock(server, i, &files->windows[i]);
	}
	for (uint32_t i = core_space_next(core, 0); i != UINT32_MAX;
	     i = core_space_next(core, i + 1)) {
		if (files->roots[i].root)
			mended += files_mend_root(files, core, i);
	}
	if (mended)
		log_notice("%" PRIu64
			   " words of slice maps and root files were behind the ledger",
			   mended);
	return 0;
}

static void epochs_tell(struct server *server)
{
	for (uint32_t i = core_space_next(server->core, 0); i != UINT32_MAX;
	     i = core_space_next(server->core, i + 1))
		files_tell_epoch(&server->files, server->sys, i, server->epoch);
}

static bool is_empty(const struct core *core)
{
	return core_space_next(core, 0) == UINT32_MAX &&
	       core_session_next(core, 0) == UINT32_MAX;
}

static int forget(struct server *server)
{
	char name[KEPT_NAME_MAX];

	log_notice("nothing is kept: the region is made as the configuration says");
	core_free(TAKE_PTR(server->core));
	keep_remove(server->keep, kept_name(name, KEPT_LEDGER, 0, 0, 0));
	ledger_close(&server->ledger, server->sys);
	server->config = server->options->config;
	return begin(server);
}

static int cannot(int r)
{
	log_error("what an earlier daemon left cannot be taken up now: %s", strerror(-r));
	return r;
}

static int recover(struct server *server)
{
	const struct record_capacity *capacity = records_capacity(server->ledger.records);
	struct core_config config;
	struct record_capacity used;
	bool differs;
	int r;

	r = pages_restore(server, ledger_region(&server->ledger), &differs);
	if (r)
		return r;
	allowance_descriptors(server);
	r = ledger_used(&server->ledger, server->sys, &used);
	if (r)
		return cannot(r);
	config = core_config_of(server, capacity);
	config.used = &used;
	r = core_recover(&server->core, &config, server->ledger.records);
	if (r == -EUCLEAN || r == -EINVAL)
		return quarantine(server, "the ledger contradicts itself");
	if (!r && is_empty(server->core) && differs && !mutant(region_for_ever))
		return forget(server);
	if (!r)
		r = tables_new(server);
	if (r)
		return cannot(r);
	r = reserve_restore(server, server->page_shift,
			    server->config.memory.size - server->large.bytes);
	if (!r && server->large.bytes)
		r = reserve_restore(server, server->large.page_shift, server->large.bytes);
	server->restored = true;
	if (!r)
		r = files_restore(server);
	return r ? cannot(r) : 0;
}

int restore_core(struct server *server)
{
	char name[KEPT_NAME_MAX];
	uint32_t layout;
	int fd, r;

	fd = keep_take(server->keep, kept_name(name, KEPT_LEDGER, 0, 0, 0));
	if (fd < 0) {
		if (keep_resumes(server->keep)) {
			server->losses++;
			log_error(
				"the ledger did not outlive the last daemon: all that was kept "
				"is lost");
		}
		return begin(server);
	}
	r = ledger_open(&server->ledger, server->sys, fd, &layout);
	if (r)
		server->ledger_left = fd;
	if (r == LEDGER_E_LAYOUT)
		return quarantine(
			server,
			"the ledger that is kept has layout %u, and this is varbosd %s, "
			"which knows layout %u",
			layout, VARBOS_VERSION, LEDGER_LAYOUT);
	if (r == -EBADFD)
		return quarantine(server, "what is kept as the ledger is none");
	return r ? cannot(r) : recover(server);
}

/* ---- sessions ---- */

/* Whoever has the space open has lost more than it: his session. */
static void end_losers(struct server *server, uint32_t space)
{
	for (uint32_t i = 0; i < server->n_clients_max; i++)
		if (server->clients[i] && core_session_has(server->core, i, space)) {
			log_error("session %u (pid %u, uid %u) ends: it had space %u open", i,
				  server->clients[i]->pid, server->clients[i]->credentials.uid,
				  space);
			client_process_over(server->clients[i]);
		}
}

/* Removed before, or just lost; in use it waits for its last session. */
static void space_remove(struct server *server, uint32_t slot)
{
	struct credentials root = {0, 0};
	struct space_view space;
	struct core_fault fault;
	struct plan *plan = NULL;
	int r;

	if (!core_space_view(server->core, slot, &space))
		return;
	do
		r = core_space_remove(server->core, root, space.name, true, &plan, &fault);
	while (r == CORE_MORE);
	server_apply(server);
	if (r)
		log_error("space %u (%s) cannot be removed: %d", slot, space.name, r);
	else if (plan)
		job_start(server, plan, NULL, NULL);
}

static int sessions_restore(struct server *server)
{
	for (uint32_t i = core_session_next(server->core, 0); i != UINT32_MAX;
	     i = core_session_next(server->core, i + 1)) {
		int r = client_restore(server, i);

		if (r)
			return r;
	}
	return 0;
}

static void spaces_restore(struct server *server)
{
	struct space_view space;

	for (uint32_t i = core_space_next(server->core, 0); i != UINT32_MAX;
	     i = core_space_next(server->core, i + 1)) {
		if (!core_space_view(server->core, i, &space))
			continue;
		if (server->lost_spaces[i])
			end_losers(server, i);
		if (server->lost_spaces[i] || (space.removed && !space.sessions))
			space_remove(server, i);
	}
}

int restore_rest(struct server *server)
{
	int r;

	if (server->quarantine || !server->restored) {
		if (!server->quarantine)
			keep_drop_rest(server->keep);
		return 0;
	}
	r = sessions_restore(server);
	if (r)
		return cannot(r);
	spaces_restore(server);
	r = lanes_adopt(server);
	if (!r)
		r = hoards_adopt(server);
	free(TAKE_PTR(server->lost_spaces));
	if (r)
		return cannot(r);
	retries_settle(server);
	lanes_replay(server);
	epochs_tell(server);
	keep_drop_rest(server->keep);
	caches_reap_soon(server);
	scrub_soon(server->scrub);
	sweeper_look(server->sweeper);
	log_notice("took up %" PRIu32 " spaces and %" PRIu32 " sessions of an earlier daemon",
		   core_view(server->core).spaces, core_view(server->core).sessions);
	return 0;
}
