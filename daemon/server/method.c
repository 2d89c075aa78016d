#include "daemon/server/method.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/base.h"
#include "daemon/config/key.h"
#include "daemon/server/cache_rows.h"
#include "daemon/server/cleaner.h"
#include "daemon/server/client.h"
#include "daemon/server/connection.h"
#include "daemon/server/fault.h"
#include "daemon/server/fetches.h"
#include "daemon/server/grant.h"
#include "daemon/server/hoards.h"
#include "daemon/server/job.h"
#include "daemon/server/lane_notes.h"
#include "daemon/server/method_blocks.h"
#include "daemon/server/method_cache.h"
#include "daemon/server/method_cache_data.h"
#include "daemon/server/method_channel.h"
#include "daemon/server/method_extent.h"
#include "daemon/server/method_numa.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/method_who.h"
#include "daemon/server/publisher.h"
#include "daemon/server/retry.h"
#include "daemon/server/server.h"
#include "daemon/server/sweeper.h"
#include "daemon/server/upgrade.h"

/* ---- the session ---- */

static int run_hello(struct request *request, const union wire_body *params)
{
	const struct wire_hello *hello = &params->hello;
	struct server *server = request->server;
	struct core_fault fault = {};
	int r;

	if (server->quarantine)
		return fault_set(request, FAULT_UNAVAILABLE, "quarantine", "in quarantine: %s",
				 server->quarantine);
	if (!hello->protocol || hello->layout_min > LAYOUT_VERSION ||
	    hello->layout_max < LAYOUT_VERSION) {
		request->fault.requested =
			hello->protocol ? hello->layout_max : hello->protocol;
		request->fault.max = hello->protocol ? LAYOUT_VERSION : WIRE_PROTOCOL;
		return fault_set(request, FAULT_VERSION,
				 hello->protocol ? "layout" : "protocol",
				 "protocols 1 to %d and layout %d are spoken here",
				 WIRE_PROTOCOL, LAYOUT_VERSION);
	}
	r = hello->resume ? client_resume(&request->client, request->connection, hello, &fault)
			  : client_new(&request->client, request->connection, hello, &fault);
	if (r == CORE_E_NOT_FOUND)
		return fault_set(request, FAULT_NOT_FOUND, fault.which,
				 "there is no session %llu of this program any more: what it "
				 "held is lost",
				 (unsigned long long)hello->resume);
	if (r)
		return method_answer(request, r, &fault);
	request->connection->client = request->client;
	request->result.welcome = (struct wire_welcome){
		.protocol = u64_min(hello->protocol, WIRE_PROTOCOL),
		.layout = LAYOUT_VERSION,
		.session = request->client->session,
		.epoch = server->epoch,
		.inflight = WIRE_INFLIGHT_MAX,
		.message_max = WIRE_MESSAGE_MAX,
		.resumed = hello->resume != 0,
		.serial = request->client->serial,
	};
	return 0;
}

static int run_bye(struct request *request, const union wire_body *params)
{
	(void)params;
	client_bye(request->client, request->note ? 0 : request->id);
	return REQUEST_LATER; /* answered when the session has ended */
}

static int run_ping(struct request *request, const union wire_body *params)
{
	request->result.ping = params->ping;
	return 0;
}

static struct wire_list limit_rows(const struct request *request)
{
	static struct wire_limit_row rows[QUOTA_KINDS];
	struct server *server = request->server;
	const struct quota_table *core = core_quotas(server->core), *own = &server->quotas;
	uint32_t uid = request->client->credentials.uid;

	for (uint32_t i = 0; i < QUOTA_KINDS; i++) {
		const struct quota_table *table = i <= QUOTA_METADATA ? core : own;
		const struct quota *mine = quota_find(table, uid);

		rows[i] = (struct wire_limit_row){
			.key = wire_str(quota_infos[i].key),
			.max = table->limits.max[i],
			.total = table->limits.total[i],
			.held = table->held[i],
			.mine = mine ? mine->held[i] : 0,
			.refused = table->refused[i],
		};
	}
	return (struct wire_list){rows, QUOTA_KINDS};
}

static struct wire_list stint_rows(const struct server *server)
{
	static struct wire_stint_row rows[STINT_KINDS];

	for (uint32_t i = 0; i < STINT_KINDS; i++)
		rows[i] = (struct wire_stint_row){
			.name = wire_str(stint_name((enum stint_kind)i)),
			.stints = server->stints.of[i].n,
			.late = server->stints.of[i].late,
			.longest = server->stints.of[i].longest_ns,
		};
	return (struct wire_list){rows, STINT_KINDS};
}

static int run_status(struct request *request, const union wire_body *params)
{
	struct server *server = request->server;
	struct core_view core;
	uint64_t large_committed = 0;

	(void)params;
	if (!caches_look(server))
		return method_later(request);
	returns_take_all(server);
	reports_look(server);
	publisher_publish(server->publisher);
	core = core_view(server->core);
	for (uint64_t rest = server->large.page_shift ? server->topology.memory : 0; rest;
	     rest &= rest - 1)
		large_committed += core_rung_view(server->core, server->large.page_shift,
						  (uint32_t)__builtin_ctzll(rest))
					   .committed;
	request->result.daemon_status = (struct wire_daemon_status){
		.version = wire_str(VARBOS_VERSION),
		.pid = (uint64_t)getpid(),
		.uid = geteuid(),
		.epoch = server->epoch,
		.uptime_ms =
			(server->sys->table->now_ns(server->sys) - server->start_ns) / 1000000,
		.region = core.capacity,
		.committed = core.committed,
		.used = core.used,
		.page = (uint64_t)1 << server->page_shift,
		.pages_why = wire_str(server->pages_why ? server->pages_why : ""),
		.spaces = core.spaces,
		.sessions = core.sessions,
		.isolates = server->isolates,
		.limits = limit_rows(request),
		.dropped = server->dropped,
		.large_page =
			server->large.page_shift ? (uint64_t)1 << server->large.page_shift : 0,
		.large_region = server->large.bytes,
		.large_committed = large_committed,
		.large_from = server->large.from,
		.stints = stint_rows(server),
	};
	return 0;
}

/* ---- spaces ---- */

/*
 * A space that comes or changes, with what is reserved for it: where a node cannot give that, the
 * others by the policy are tried, each once.
 */
struct reserving {
	struct request *request;
	struct method_text name, placement;
	bool creates;
	struct space_request wanted; /* of what comes */
	struct space_change change;  /* of what changes */
	uint64_t avoid;              /* nodes that could not */
};

static int reserving_plan(struct request *request, struct reserving *reserving,
			  struct plan **ret, struct core_fault *fault)
{
	const struct client *client = request->client;
	struct core *core = request->server->core;
	uint32_t space;
	int r;

	if (!reserving->creates) {
		reserving->change.avoid = reserving->avoid;
		return core_space_change(core, client->credentials, client->groups,
					 client->n_groups, reserving->name.data,
					 &reserving->change, ret, fault);
	}
	reserving->wanted.name = reserving->name.data;
	reserving->wanted.placement =
		*reserving->placement.data ? reserving->placement.data : NULL;
	reserving->wanted.avoid = reserving->avoid;
	request_asks(request);
	r = core_space_create(core, &reserving->wanted, &space, ret, fault);
	if (!r)
		request->result.space_handle.space = space;
	return r;
}

static void reserving_done(void *userdata, const struct job_outcome *outcome)
{
	struct reserving *reserving = userdata;
	struct request *request = reserving->request;
	uint64_t full = node_bit(outcome->shortage.node);
	struct job_outcome result = *outcome;
	struct core_fault fault = {};
	struct plan *plan = NULL;

	if (result.error && result.shortage.of_node && !(reserving->avoid & full) &&
	    !mutant(reserve_one_node)) {
		reserving->avoid |= full;
		if (!reserving_plan(request, reserving, &plan, &fault)) {
			if (plan &&
			    !job_start(request->server, plan, reserving_done, reserving))
				return;
			server_apply(request->server);
			result = (struct job_outcome){.error = plan ? -ENOMEM : 0};
		}
	}
	method_done(request, &result);
	free(reserving);
}

/* Takes `reserving`, which is on the heap. */
static int reserving_start(struct request *request, struct reserving *reserving)
{
	struct core_fault fault = {};
	struct plan *plan = NULL;
	int r;

	r = reserving_plan(request, reserving, &plan, &fault);
	if (!r && plan) {
		reserving->request = request_keep(request);
		if (!reserving->request) {
			plan_abort(request->server->core, plan);
			r = -ENOMEM;
		}
	}
	if (r || !plan) {
		free(reserving);
		return method_answer(request, r, &fault);
	}
	r = job_start(request->server, plan, reserving_done, reserving);
	if (r) {
		request_finish(reserving->request, r, NULL, 0);
		free(reserving);
	}
	return REQUEST_LATER;
}

static int run_space_create(struct request *request, const union wire_body *params)
{
	const struct wire_space_create *create = &params->space_create;
	struct reserving *reserving;
	struct method_text name, placement;
	uint64_t hash_seed;
	struct numa numa;
	int r;

	r = method_text(request, &name, "name", create->name);
	if (!r)
		r = method_text(request, &placement, "placement", create->placement);
	if (!r)
		r = numa_read(request, create->numa, create->nodes, &numa);
	if (r)
		return r;
	if (create->weight > UINT32_MAX || create->mode > UINT32_MAX)
		return fault_set(request, FAULT_INVALID,
				 create->weight > UINT32_MAX ? "weight" : "mode",
				 "weight is 1 to 10000, mode is 0 to 0777");

	if (getrandom(&hash_seed, sizeof(hash_seed), 0) != sizeof(hash_seed))
		return -EIO;
	reserving = malloc(sizeof(*reserving));
	if (!reserving)
		return -ENOMEM;
	*reserving = (struct reserving){
		.name = name,
		.placement = placement,
		.creates = true,
		.wanted =
			{
				.owner = request->client->credentials,
				.limit = create->limit,
				.reserve = create->reserve,
				.client_limit = create->client_limit,
				.weight = (uint32_t)create->weight,
				.mode = (uint32_t)create->mode,
				.numa = numa,
				.hash_seed = hash_seed,
			},
	};
	return reserving_start(request, reserving);
}

static void space_opened(struct request *request, bool done)
{
	if (done)
		request->client->opening_space = false;
	else
		client_undo(request->client, (uint32_t)request->result.space_opened.space);
}

int method_grant_space(struct request *request, uint32_t space)
{
	struct server *server = request->server;
	struct space_view view;
	int r;

	r = core_space_view(server->core, space, &view);
	assert(r);
	request->result.space_opened = (struct wire_space_opened){
		.space = space,
		.limit = view.limit,
		.page = (uint64_t)1 << view.page_shift,
		.numa = wire_str(view.numa.kind ? numa_kind_name(view.numa.kind) : ""),
		.thp = wire_str(keys[KEY_memory_thp].words[server->config.memory.thp]),
	};
	request->client->opening_space = true;
	return grant_start(request, (int[]){server->files.roots[space].fd},
			   (enum sys_access[]){SYS_READ}, 1, space_opened);
}

static int run_space_open(struct request *request, const union wire_body *params)
{
	const struct wire_space_open *open = &params->space_open;
	struct client *client = request->client;
	struct core_fault fault = {};
	struct method_text name;
	uint32_t space = 0;
	int r;

	r = method_text(request, &name, "name", open->name);
	if (r)
		return r;
	request_asks(request);
	r = core_space_open(request->server->core, client->session, name.data, open->read_only,
			    client->groups, client->n_groups, &space, &fault);
	r = method_answer(request, r, &fault);
	return r ? r : method_grant_space(request, space);
}

static int run_space_close(struct request *request, const union wire_body *params)
{
	struct server *server = request->server;
	struct plan *plan = NULL;
	uint32_t space = 0;
	int r;

	if (!stint_lasts(server))
		return method_later(request);
	r = method_slot(request, params->space_handle.space, &space);
	if (r)
		return r;
	if (request->client->jobs)
		return REQUEST_BUSY; /* one of them may be about this space */
	if (cleaner_works(server, space))
		return REQUEST_BUSY;
	if (fetches_leave(server, space, 0, request->client->session))
		return method_later(request);

	lane_counts_take(request->client);
	do {
		request_asks(request);
		r = core_space_close(server->core, request->client->session, space, &plan);
	} while (r == CORE_MORE && stint_lasts(server));
	if (r == CORE_MORE)
		return method_later(request);
	r = method_answer(request, r, &(struct core_fault){.which = "space"});
	if (!r) {
		lane_counts_free(request->client);
		hoards_left(server, space, 0, request->client->session);
		sweeper_look(server->sweeper); /* it may have held blocks */
		caches_reap_soon(server);
	}
	if (r || !plan)
		return r;
	return method_after(request, plan);
}

static uint32_t space_user(const struct core *core, uint32_t space, uint32_t session)
{
	for (session = core_session_next(core, session); session != UINT32_MAX;
	     session = core_session_next(core, session + 1))
		if (core_session_has(core, session, space))
			break;
	return session;
}

/* UINT32_MAX: there is none of that name. */
static uint32_t space_named(const struct core *core, const char *name)
{
	struct space_view view;
	uint32_t space;

	for (space = core_space_next(core, 0); space != UINT32_MAX;
	     space = core_space_next(core, space + 1))
		if (core_space_view(core, space, &view) && !strcmp(view.name, name))
			break;
	return space;
}

static int in_use_fault(struct request *request, const char *name,
			const struct core_fault *fault)
{
	const struct core *core = request->server->core;

	return method_in_use(request, space_named(core, name), fault->available, space_user);
}

static int run_space_remove(struct request *request, const union wire_body *params)
{
	const struct wire_space_remove *remove = &params->space_remove;
	struct core_fault fault = {};
	struct plan *plan = NULL;
	struct method_text name;
	int r;

	if (!stint_lasts(request->server))
		return method_later(request);
	r = method_text(request, &name, "name", remove->name);
	if (r)
		return r;
	if (cleaner_works(request->server, space_named(request->server->core, name.data)))
		return REQUEST_BUSY;
	do {
		request_asks(request);
		r = core_space_remove(request->server->core, request->client->credentials,
				      name.data, remove->force, &plan, &fault);
	} while (r == CORE_MORE && stint_lasts(request->server));
	if (r == CORE_MORE)
		return method_later(request);
	if (r == CORE_E_IN_USE)
		return in_use_fault(request, name.data, &fault);
	r = method_answer(request, r, &fault);
	if (r || !plan)
		return r;
	return method_after(request, plan);
}

static int change_check(struct request *request, const struct wire_space_change *change)
{
	const struct {
		const char *field;
		uint64_t value;
	} narrow[] = {
		{"weight", change->weight},
		{"mode", change->mode},
		{"uid", change->uid},
		{"gid", change->gid},
	};

	if (!change->set || change->set & ~(uint64_t)SPACE_SET_ALL)
		return fault_set(request, FAULT_INVALID, "set",
				 "set: 1 to %d, a sum of what is to be changed",
				 (int)SPACE_SET_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(narrow); i++)
		if (narrow[i].value > UINT32_MAX)
			return fault_set(request, FAULT_INVALID, narrow[i].field,
					 "%s: %llu is too large a number", narrow[i].field,
					 (unsigned long long)narrow[i].value);
	return 0;
}

static int run_space_change(struct request *request, const union wire_body *params)
{
	const struct wire_space_change *wanted = &params->space_change;
	struct reserving *reserving;
	struct method_text name;
	int r;

	r = method_text(request, &name, "name", wanted->name);
	if (!r)
		r = change_check(request, wanted);
	if (r)
		return r;
	reserving = malloc(sizeof(*reserving));
	if (!reserving)
		return -ENOMEM;
	*reserving = (struct reserving){
		.name = name,
		.change =
			{
				.set = (uint32_t)wanted->set,
				.to =
					{
						.owner = {(uint32_t)wanted->uid,
							  (uint32_t)wanted->gid},
						.mode = (uint32_t)wanted->mode,
						.weight = (uint32_t)wanted->weight,
						.limit = wanted->limit,
						.reserve = wanted->reserve,
						.client_limit = wanted->client_limit,
					},
			},
	};
	return reserving_start(request, reserving);
}

static int run_space_list(struct request *request, const union wire_body *params)
{
	static struct wire_space_row rows[METHOD_ROWS];
	static struct method_text names[METHOD_ROWS];
	struct core *core = request->server->core;
	uint32_t n = 0, slot = core_space_next(core, method_page(params->page_after.after));

	for (; slot != UINT32_MAX && n < METHOD_ROWS; slot = core_space_next(core, slot + 1)) {
		struct space_view view;

		if (!core_space_view(core, slot, &view))
			continue;
		strncpy(names[n].data, view.name, sizeof(names[n].data) - 1);
		rows[n] = (struct wire_space_row){
			.space = slot,
			.name = wire_str(names[n].data),
			.uid = view.owner.uid,
			.gid = view.owner.gid,
			.mode = view.mode,
			.limit = view.limit,
			.reserve = view.reserve,
			.client_limit = view.client_limit,
			.weight = view.weight,
			.used = view.used,
			.committed = view.committed,
			.sessions = view.sessions,
			.placement = wire_str(view.placement),
			.page = (uint64_t)1 << view.page_shift,
			.removed = view.removed,
		};
		n++;
	}
	request->result.space_rows = (struct wire_space_rows){
		.rows = {rows, n},
		.next = slot == UINT32_MAX ? 0 : slot,
	};
	return 0;
}

static int run_client_list(struct request *request, const union wire_body *params)
{
	static struct wire_client_row rows[METHOD_ROWS];
	struct server *server = request->server;
	uint32_t n = 0,
		 slot = core_session_next(server->core, method_page(params->page_after.after));

	reports_look(server);
	for (; slot != UINT32_MAX && n < METHOD_ROWS;
	     slot = core_session_next(server->core, slot + 1)) {
		const struct client *client = server->clients[slot];
		struct session_view view;

		if (!client || !core_session_view(server->core, slot, &view))
			continue;
		rows[n++] = (struct wire_client_row){
			.session = slot,
			.pid = view.pid,
			.uid = view.owner.uid,
			.name = wire_str(client->name),
			.spaces = view.spaces,
			.used = view.used,
			.absent = !client->connection,
			.cached = report_cached(client),
			.pinned = view.pinned,
		};
	}
	request->result.client_rows = (struct wire_client_rows){
		.rows = {rows, n},
		.next = slot == UINT32_MAX ? 0 : slot,
	};
	return 0;
}

static int run_returns_open(struct request *request, const union wire_body *params)
{
	(void)params;
	return returns_open(request);
}

static int run_lanes_open(struct request *request, const union wire_body *params)
{
	return lanes_open(request, &params->lanes_open);
}

static int (*const methods[WIRE_METHODS_N])(struct request *, const union wire_body *) = {
	[WIRE_HELLO] = run_hello,
	[WIRE_BYE] = run_bye,
	[WIRE_PING] = run_ping,
	[WIRE_STATUS] = run_status,
	[WIRE_SPACE_CREATE] = run_space_create,
	[WIRE_SPACE_OPEN] = run_space_open,
	[WIRE_SPACE_CLOSE] = run_space_close,
	[WIRE_SPACE_REMOVE] = run_space_remove,
	[WIRE_SPACE_LIST] = run_space_list,
	[WIRE_CLIENT_LIST] = run_client_list,
	[WIRE_WINDOW_OPEN] = run_window_open,
	[WIRE_EXTENT_ALLOC] = run_extent_alloc,
	[WIRE_EXTENT_FREE] = run_extent_free,
	[WIRE_RETURNS_OPEN] = run_returns_open,
	[WIRE_NUMA_NODES] = run_numa_nodes,
	[WIRE_NUMA_SPACES] = run_numa_spaces,
	[WIRE_SPACE_CHANGE] = run_space_change,
	[WIRE_HOLDER_OPEN] = run_holder_open,
	[WIRE_WORDS_OPEN] = run_words_open,
	[WIRE_CHANNEL_OPEN] = run_channel_open,
	[WIRE_CHANNEL_CLOSE] = run_channel_close,
	[WIRE_CHANNEL_LIST] = run_channel_list,
	[WIRE_BLOCK_WHO] = run_block_who,
	[WIRE_CLIENT_BLOCKS] = run_client_blocks,
	[WIRE_CACHE_OPEN] = run_cache_open,
	[WIRE_CACHE_CLOSE] = run_cache_close,
	[WIRE_CACHE_LIST] = run_cache_list,
	[WIRE_CACHE_CHANGE] = run_cache_change,
	[WIRE_CACHE_REMOVE] = run_cache_remove,
	[WIRE_CACHE_SEGMENT] = run_cache_segment,
	[WIRE_CACHE_SEAL] = run_cache_seal,
	[WIRE_CACHE_INDEX] = run_cache_index,
	[WIRE_CACHE_PUBLISH] = run_cache_publish,
	[WIRE_CACHE_DELETE] = run_cache_delete,
	[WIRE_CACHE_TOUCH] = run_cache_touch,
	[WIRE_CACHE_CLEAR] = run_cache_clear,
	[WIRE_CACHE_COUNT] = run_cache_count,
	[WIRE_UPGRADE] = run_upgrade,
	[WIRE_CACHE_EVICT] = run_cache_evict,
	[WIRE_CACHE_DETAIL] = run_cache_detail,
	[WIRE_LANES_OPEN] = run_lanes_open,
	[WIRE_CACHE_FETCH] = run_cache_fetch,
	[WIRE_CACHE_FETCH_END] = run_cache_fetch_end,
	/* WIRE_EXTENT_REFUSED is the daemon's to say: the decoder refuses it from a client. */
};

int method_run(struct request *request, const union wire_body *params)
{
	assert(methods[request->method]);
	return methods[request->method](request, params);
}

uint32_t method_space(const struct request *request, const union wire_body *params)
{
	uint64_t handle = params->extent_alloc.space;

	if (!request->client || handle >= request->server->files.n_roots ||
	    !core_session_has(request->server->core, request->client->session,
			      (uint32_t)handle))
		return 0;
	return (uint32_t)handle;
}
