#include "daemon/server/method_channel.h"

#include <errno.h>

#include "base/base.h"
#include "base/topology.h"
#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/method_extent.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/retry.h"
#include "daemon/server/server.h"
#include "daemon/server/sweeper.h"

/* A channel that is made: its memory may have to come from another node. */
struct making {
	struct request *request;
	struct method_text name;
	struct channel_request wanted;
	uint32_t space;
};

static int open_end(struct request *request, uint32_t space,
		    const struct channel_request *wanted, struct plan **ret_plan,
		    struct core_fault *fault)
{
	struct channel_info info;
	int r;

	*ret_plan = NULL;
	request_asks(request);
	r = core_channel_open(request->server->core, request->client->session, space, wanted,
			      &info, ret_plan, fault);
	if (!r)
		request->result.channel_opened = (struct wire_channel_opened){
			.offset = info.offset,
			.size = info.size,
			.tag = info.tag,
			.id = info.id,
			.capacity = info.capacity,
		};
	return r;
}

static void made(void *userdata, const struct job_outcome *outcome)
{
	struct making *making = userdata;
	struct server *server = making->request->server;
	uint64_t full = node_bit(outcome->shortage.node);
	struct job_outcome result = *outcome;
	struct core_fault fault = {};
	struct plan *plan = NULL;

	if (result.error && result.shortage.of_node && !(making->wanted.avoid & full) &&
	    !server->stopping) {
		making->wanted.avoid |= full;
		if (!open_end(making->request, making->space, &making->wanted, &plan, &fault)) {
			if (plan && !job_start(server, plan, made, making))
				return;
			server_apply(server);
			result = (struct job_outcome){.error = plan ? -ENOMEM : 0};
		}
	}
	method_done(making->request, &result);
	free(making);
}

static int make(struct request *request, struct plan *plan, uint32_t space,
		const struct channel_request *wanted, const struct method_text *name)
{
	struct making *making = malloc(sizeof(*making));
	int r;

	if (making)
		making->request = request_keep(request);
	if (!making || !making->request) {
		free(making);
		plan_abort(request->server->core, plan);
		return -ENOMEM;
	}
	making->name = *name;
	making->wanted = *wanted;
	making->wanted.name = making->name.data;
	making->space = space;
	r = job_start(request->server, plan, made, making);
	if (r) {
		request_finish(making->request, r, NULL, 0);
		free(making);
	}
	return REQUEST_LATER;
}

int run_channel_open(struct request *request, const union wire_body *params)
{
	const struct wire_channel_open *open = &params->channel_open;
	struct method_text name;
	struct channel_request wanted = {
		.name = name.data,
		.roles = (uint32_t)u64_min(open->roles, UINT32_MAX),
		.capacity = open->capacity,
		.existing = open->existing,
		.exclusive = open->exclusive,
	};
	struct core_fault fault = {};
	struct plan *plan;
	uint32_t space = 0;
	int r;

	r = method_slot(request, open->space, &space);
	if (!r)
		r = method_text(request, &name, "name", open->name);
	if (r)
		return r;
	request->memory = space;
	r = open_end(request, space, &wanted, &plan, &fault);
	if (extents_return(request, r, &fault))
		r = open_end(request, space, &wanted, &plan, &fault);
	if (extents_wait(request, r, &fault, space))
		return REQUEST_BUSY;
	if (r == CORE_E_BUSY)
		sweeper_look(request->server->sweeper);
	r = method_answer(request, r, &fault);
	return r || !plan ? r : make(request, plan, space, &wanted, &name);
}

int run_channel_close(struct request *request, const union wire_body *params)
{
	const struct wire_channel_close *close = &params->channel_close;
	struct server *server = request->server;
	struct core_fault fault = {};
	uint32_t space = 0;
	int r;

	r = method_slot(request, close->space, &space);
	if (r)
		return r;
	request_asks(request);
	r = core_channel_close(server->core, request->client->session, space,
			       (uint32_t)u64_min(close->id, UINT32_MAX),
			       (uint32_t)u64_min(close->roles, UINT32_MAX), &fault);
	if (!r)
		sweeper_look(server->sweeper); /* it may have been the last */
	return method_answer(request, r, &fault);
}

int run_channel_list(struct request *request, const union wire_body *params)
{
	static struct wire_channel_row rows[METHOD_ROWS];
	static struct method_text names[METHOD_ROWS];
	struct core *core = request->server->core;
	uint32_t space = 0, id, n = 0;
	int r;

	r = method_slot(request, params->space_page.space, &space);
	if (r)
		return r;
	if (!core_session_has(core, request->client->session, space))
		return fault_from_core(request, CORE_E_NOT_FOUND,
				       &(struct core_fault){.which = "space"});
	id = core_channel_next(core, space, method_page(params->space_page.after));
	for (; id && n < METHOD_ROWS; id = core_channel_next(core, space, id + 1)) {
		struct channel_view view;

		if (!core_channel_view(core, space, id, &view))
			continue;
		snprintf(names[n].data, sizeof(names[n].data), "%s", view.name);
		rows[n] = (struct wire_channel_row){
			.id = id,
			.name = wire_str(names[n].data),
			.capacity = view.info.capacity,
			.senders = view.senders,
			.receivers = view.receivers,
			.offset = view.info.offset,
			.size = view.info.size,
		};
		n++;
	}
	request->result.channel_rows = (struct wire_channel_rows){
		.rows = {rows, n},
		.next = id,
	};
	return 0;
}
