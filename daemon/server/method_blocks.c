#include "daemon/server/method_blocks.h"

#include <errno.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/retry.h"
#include "daemon/server/server.h"
#include "daemon/server/sweeper.h"
#include "daemon/server/words_job.h"

/* ---- freeing adopted extents ---- */

struct emptying {
	struct words_job job;
	struct request *request;
	struct wire_extent_free args;
	uint32_t space;
};

static int free_now(struct request *request, uint32_t space,
		    const struct wire_extent_free *args)
{
	struct core_fault fault = {};
	int r;

	request_asks(request);
	r = core_extent_free(request->server->core, request->client->session, space,
			     args->offset, (uint32_t)args->tag, &fault);
	return method_answer(request, r, &fault);
}

static bool place_is(const struct extent_place *a, const struct extent_place *b)
{
	return a->kind == b->kind && a->session == b->session && a->window == b->window &&
	       a->first == b->first && a->count == b->count && a->tag == b->tag;
}

static void emptying_done(struct words_job *job)
{
	_cleanup_(freep) struct emptying *emptying = container_of(job, struct emptying, job);
	const struct words_part *part = &job->parts[0];
	struct request *request = emptying->request;
	struct server *server = request->server;
	struct extent_place now;
	int r = job->error;

	if (!r && part->found.live && !mutant(blocks_freed_unread))
		r = fault_set(request, FAULT_REFERENCE, "held",
			      "somebody holds a block of it, or was sent one");
	/* Nobody owns it, so nothing new was made of it; but it may be gone, or another's. */
	if (!r &&
	    (!core_extent_at(server->core, emptying->space, emptying->args.offset, &now) ||
	     !place_is(&now, &part->place)))
		r = fault_set(request, FAULT_REFERENCE, "freed", "it was freed meanwhile");
	if (!r)
		r = free_now(request, emptying->space, &emptying->args);
	server_apply(server);
	request_finish(request, r, NULL, 0);
}

static int free_adopted(struct request *request, uint32_t space,
			const struct wire_extent_free *args, const struct extent_place *place)
{
	struct emptying *emptying;

	if (request->record && !mutant(returns_of_adopted))
		return fault_set(request, FAULT_REFERENCE, "not-owner",
				 "nobody's blocks do not go back through a return ring");
	/* It asks for no answer: if workers have enough to do for it, a sweep will see it. */
	if (request->note && !request_may_keep(request)) {
		sweeper_want(request->server->sweeper, space);
		return 0;
	}
	emptying = calloc(1, sizeof(*emptying));
	if (emptying)
		emptying->request = request_keep(request);
	if (!emptying || !emptying->request) {
		free(emptying);
		return -ENOMEM;
	}
	emptying->args = *args;
	emptying->space = space;
	emptying->job.server = request->server;
	emptying->job.done = emptying_done;
	words_job_add(&emptying->job, place);
	words_job_start(&emptying->job);
	return REQUEST_LATER;
}

bool blocks_free(struct request *request, uint32_t space, const struct wire_extent_free *args,
		 int *ret)
{
	struct extent_place place;

	/* What is wrong with it otherwise, the core says. */
	if (!core_session_has(request->server->core, request->client->session, space) ||
	    !core_extent_at(request->server->core, space, args->offset, &place) ||
	    place.kind != EXTENT_BLOCKS || place.session || place.tag != args->tag)
		return false;
	*ret = free_adopted(request, space, args, &place);
	return true;
}

/* ---- ids ---- */

int run_holder_open(struct request *request, const union wire_body *params)
{
	struct server *server = request->server;
	struct core_fault fault = {};
	uint32_t space = 0, id = 0;
	int r;

	r = method_slot(request, params->space_handle.space, &space);
	if (r)
		return r;
	r = core_holder_open(server->core, request->client->session, space, &id, &fault);
	if (r == CORE_E_BUSY)
		sweeper_look(server->sweeper); /* which gives some of them back */
	if (!r)
		request->result.holder_opened.id = id;
	return method_answer(request, r, &fault);
}
