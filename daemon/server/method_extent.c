#include "daemon/server/method_extent.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/grant.h"
#include "daemon/server/job.h"
#include "daemon/server/method_blocks.h"
#include "daemon/server/method_numa.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/retry.h"
#include "daemon/server/returns.h"
#include "daemon/server/server.h"
#include "daemon/server/squeeze.h"
#include "daemon/server/sweeper.h"

/* The window that a request names, if its session may have its files. */
static int window_of(struct request *request, const struct wire_window_open *open,
		     uint32_t *ret, bool *ret_read_only)
{
	struct core_fault fault = {};
	uint32_t space = 0;
	int r;

	r = method_slot(request, open->space, &space);
	if (r)
		return r;
	if (open->window >= WINDOWS_MAX)
		return fault_set(request, FAULT_INVALID, "window", "window: numbers end at %d",
				 WINDOWS_MAX - 1);
	r = core_window_open(request->server->core, request->client->session, space,
			     (uint32_t)open->window, ret, ret_read_only, &fault);
	return method_answer(request, r, &fault);
}

int run_window_open(struct request *request, const union wire_body *params)
{
	struct server *server = request->server;
	const struct window_files *files;
	struct window_view view;
	uint32_t window = 0;
	bool read_only;
	int r;

	r = window_of(request, &params->window_open, &window, &read_only);
	if (r)
		return r;
	r = core_window_view(server->core, window, &view);
	assert(r);
	request->result.window_opened = (struct wire_window_opened){
		.size = (uint64_t)1 << view.info.size_shift,
		.page = (uint64_t)1 << view.info.page_shift,
		.node = view.info.node,
		.generation = view.info.generation,
	};
	files = &server->files.windows[window];
	return grant_start(request, (int[]){files->data_fd, files->map_fd},
			   (enum sys_access[]){read_only && !mutant(window_all_writable)
						       ? SYS_READ
						       : SYS_READ_WRITE,
					       SYS_READ},
			   2, NULL);
}

int run_words_open(struct request *request, const union wire_body *params)
{
	const struct window_files *files;
	uint32_t window = 0;
	bool read_only;
	int r;

	r = window_of(request, &params->window_open, &window, &read_only);
	if (r)
		return r;
	files = &request->server->files.windows[window];
	request->result.words_opened.size =
		words_file_size((uint32_t)(files->bytes / SLICE_BYTES));
	return grant_start(request, (int[]){files->words_fd},
			   (enum sys_access[]){read_only && !mutant(words_all_writable)
						       ? SYS_READ
						       : SYS_READ_WRITE},
			   1, NULL);
}

/* An allocation that waits for memory: it may have to come from another node. */
struct alloc {
	struct alloc *next; /* of those put off */
	struct request *request;
	struct extent_request wanted;
	struct numa numa;
	uint32_t space, cache;      /* as of extents_alloc() */
	struct job_outcome refusal; /* by the node that was tried last */
};

static void alloced(struct request *request, const struct extent_info *extent)
{
	request->result.extent_alloced = (struct wire_extent_alloced){
		.offset = extent->offset,
		.size = extent->size,
		.tag = extent->tag,
	};
}

static void alloc_done(void *userdata, const struct job_outcome *outcome);

static int alloc_ask(const struct request *request, uint32_t space, uint32_t cache,
		     const struct extent_request *wanted, struct extent_info *ret,
		     struct plan **ret_plan, struct core_fault *fault)
{
	const struct cache_lease lease = {.kind = wanted->kind,
					  .size = wanted->size,
					  .avoid = wanted->avoid,
					  .caller = wanted->caller};
	struct core *core = request->server->core;
	uint32_t session = request->client->session;

	request_asks(request);
	return cache ? core_cache_lease(core, session, cache, &lease, ret, ret_plan, fault)
		     : core_extent_alloc(core, session, space, wanted, ret, ret_plan, fault);
}

/* Another node, by the policy; put off while that depends on a plan that is under way. */
static void alloc_elsewhere(struct alloc *alloc)
{
	struct request *request = alloc->request;
	struct server *server = request->server;
	struct core_fault fault = {};
	struct extent_info extent;
	struct plan *plan = NULL;
	int r;

	r = alloc_ask(request, alloc->space, alloc->cache, &alloc->wanted, &extent, &plan,
		      &fault);
	if (r == CORE_E_BUSY && !mutant(alloc_not_put_off)) {
		alloc->next = server->put_off;
		server->put_off = alloc;
		return;
	}
	if (!r) {
		alloced(request, &extent);
		if (plan && !job_start(server, plan, alloc_done, alloc))
			return;
		server_apply(server);
		alloc->refusal = (struct job_outcome){.error = plan ? -ENOMEM : 0};
	}
	method_done(request, &alloc->refusal);
	free(alloc);
}

/* Where the kernel could not give what the core had chosen a node for: once without each. */
static void alloc_done(void *userdata, const struct job_outcome *outcome)
{
	struct alloc *alloc = userdata;
	uint64_t full = node_bit(outcome->shortage.node);

	alloc->refusal = *outcome;
	if (outcome->error && outcome->shortage.of_node && !(alloc->wanted.avoid & full) &&
	    !alloc->request->server->stopping && !mutant(alloc_one_node)) {
		alloc->wanted.avoid |= full;
		alloc_elsewhere(alloc);
		return;
	}
	method_done(alloc->request, outcome);
	free(alloc);
}

void extents_go_on(struct server *server)
{
	struct alloc *alloc = TAKE_PTR(server->put_off), *next;

	for (; alloc; alloc = next) {
		next = alloc->next;
		alloc_elsewhere(alloc);
	}
}

void extents_give_up(struct server *server)
{
	struct alloc *alloc = TAKE_PTR(server->put_off), *next;

	for (; alloc; alloc = next) {
		next = alloc->next;
		method_done(alloc->request, &alloc->refusal);
		free(alloc);
	}
}

static int alloc_after(struct request *request, struct plan *plan, uint32_t space,
		       uint32_t cache, const struct extent_request *wanted)
{
	struct server *server = request->server;
	struct alloc *alloc;
	int r;

	if (!server->places)
		return method_after(request, plan);
	alloc = malloc(sizeof(*alloc));
	if (alloc)
		alloc->request = request_keep(request);
	if (!alloc || !alloc->request) {
		free(alloc);
		plan_abort(server->core, plan);
		return -ENOMEM;
	}
	alloc->space = space;
	alloc->cache = cache;
	alloc->wanted = *wanted;
	if (wanted->numa) {
		alloc->numa = *wanted->numa;
		alloc->wanted.numa = &alloc->numa;
	}
	r = job_start(server, plan, alloc_done, alloc);
	if (r) {
		request_finish(alloc->request, r, NULL, 0);
		free(alloc);
	}
	return REQUEST_LATER;
}

bool extents_return(struct request *request, int r, const struct core_fault *fault)
{
	/* What this client has in its ring is taken; others' may help with all but its own limit. */
	return (r == CORE_E_MEMORY || (r == CORE_E_BUDGET && strcmp(fault->which, "client"))) &&
	       !mutant(returns_left) && returns_take_all(request->server);
}

bool extents_wait(const struct request *request, int r, const struct core_fault *fault,
		  uint32_t space)
{
	struct sweeper *sweeper = request->server->sweeper;

	if (mutant(sweep_not_asked))
		return false;
	if (r == CORE_E_BUDGET)
		return strcmp(fault->which, "client") &&
		       sweeper_helps(sweeper, strcmp(fault->which, "space") ? 0 : space,
				     request->since);
	return (r == CORE_E_MEMORY || r == CORE_E_LIMIT) &&
	       sweeper_helps(sweeper, 0, request->since);
}

int extents_alloc(struct request *request, uint32_t space, uint32_t cache,
		  const struct extent_request *wanted)
{
	struct core_fault fault = {};
	struct extent_info extent;
	struct plan *plan = NULL;
	int r;

	request->memory = space;
	r = alloc_ask(request, space, cache, wanted, &extent, &plan, &fault);
	if (extents_return(request, r, &fault))
		r = alloc_ask(request, space, cache, wanted, &extent, &plan, &fault);
	if (extents_wait(request, r, &fault, space))
		return REQUEST_BUSY;
	if (r == CORE_E_BUDGET && fault.pinned && !mutant(pins_stay_charged) &&
	    squeeze_unpins(request, space))
		return REQUEST_BUSY;
	r = method_answer(request, r, &fault);
	if (r)
		return r;
	alloced(request, &extent);
	return plan ? alloc_after(request, plan, space, cache, wanted) : 0;
}

int run_extent_alloc(struct request *request, const union wire_body *params)
{
	const struct wire_extent_alloc *alloc = &params->extent_alloc;
	struct numa numa;
	const struct extent_request wanted = {
		.size = alloc->size,
		.align = alloc->align,
		.kind = alloc->blocks   ? EXTENT_BLOCKS
			: alloc->shared ? EXTENT_SHARED
					: EXTENT_PRIVATE,
		.numa = alloc->numa.size || alloc->nodes ? &numa : NULL,
		.caller = (uint32_t)u64_min(alloc->caller, UINT32_MAX),
	};
	uint32_t space = 0;
	int r;

	if (alloc->blocks && alloc->shared)
		return fault_set(request, FAULT_INVALID, "blocks",
				 "blocks: not of a shared extent, which is one block");
	r = method_slot(request, alloc->space, &space);
	if (!r && wanted.numa)
		r = numa_read(request, alloc->numa, alloc->nodes, &numa);
	return r ? r : extents_alloc(request, space, 0, &wanted);
}

/*
 * Two may see at once that nothing is held there, and a sweep sees it, too: who comes late has done
 * nothing wrong. (One that lies so saves himself a refusal.)
 */
static bool is_gone(const struct request *request, uint32_t space,
		    const struct wire_extent_free *args)
{
	const struct core *core = request->server->core;
	struct extent_place place;

	return core_session_has(core, request->client->session, space) &&
	       (!core_extent_at(core, space, args->offset, &place) || place.tag != args->tag);
}

/* Who frees by the tag alone has read the word before its holder wrote it, or after it was freed. */
static bool is_worded(const struct request *request, uint32_t space,
		      const struct wire_extent_free *args)
{
	const struct core *core = request->server->core;
	struct extent_place place;

	return core_session_has(core, request->client->session, space) &&
	       core_extent_at(core, space, args->offset, &place) && place.tag == args->tag &&
	       place.worded;
}

int run_extent_free(struct request *request, const union wire_body *params)
{
	const struct wire_extent_free *args = &params->extent_free;
	struct core_fault fault = {};
	uint32_t space = 0;
	int r;

	r = method_slot(request, args->space, &space);
	if (r)
		return r;
	if (args->offset >> OFFSET_BITS || args->tag > TAG_MASK)
		return fault_set(request, FAULT_INVALID,
				 args->tag > TAG_MASK ? "tag" : "offset",
				 "offsets have %d bits, tags %d", OFFSET_BITS, TAG_BITS);
	if (args->maybe && is_gone(request, space, args) && !mutant(free_first_refused))
		return 0;
	if (args->bare && is_worded(request, space, args))
		return fault_set(request, FAULT_REFERENCE, "freed",
				 "its users keep a word, and by that nobody holds it");
	if (blocks_free(request, space, args, &r))
		return r;
	request_asks(request);
	r = core_extent_free(request->server->core, request->client->session, space,
			     args->offset, (uint32_t)args->tag, &fault);
	return method_answer(request, r, &fault);
}
