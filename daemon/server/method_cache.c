#include "daemon/server/method_cache.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "base/base.h"
#include "daemon/core/policy/policy.h"
#include "daemon/server/cache_rows.h"
#include "daemon/server/cleaner.h"
#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/fetches.h"
#include "daemon/server/hoard.h"
#include "daemon/server/hoards.h"
#include "daemon/server/lane_notes.h"
#include "daemon/server/method_extent.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/publisher.h"
#include "daemon/server/retry.h"
#include "daemon/server/server.h"
#include "daemon/server/squeeze.h"

void caches_reap_soon(struct server *server)
{
	server->reaping = true;
	server_more(server);
}

bool caches_reap(struct server *server)
{
	int r;

	if (!server->reaping || cleaner_works_in_removed(server))
		return false;
	do
		r = core_cache_reap(server->core);
	while (r == CORE_MORE && stint_lasts(server));
	server_apply(server);
	publisher_touch(server->publisher);
	server->reaping = r;
	return r == CORE_MORE;
}

static int no_cache(struct request *request)
{
	return fault_from_core(request, CORE_E_NOT_FOUND,
			       &(struct core_fault){.which = "cache"});
}

int method_cache_slot(struct request *request, uint64_t space_handle, uint64_t handle,
		      uint32_t *ret_space, uint32_t *ret)
{
	uint32_t cache = (uint32_t)u64_min(handle, UINT32_MAX);
	struct estate_view view;
	int r = method_slot(request, space_handle, ret_space);

	if (r)
		return r;
	if (!core_cache_view(request->server->core, cache, &view) || view.space != *ret_space)
		return no_cache(request);
	*ret = cache;
	return 0;
}

int cache_say_opened(struct request *request, uint32_t cache)
{
	struct estate_view view;

	if (!core_cache_has(request->server->core, cache, request->client->session) ||
	    !core_cache_view(request->server->core, cache, &view))
		return no_cache(request);
	hoard_prepare(request->server, cache);
	request->result.cache_opened = (struct wire_cache_opened){
		.cache = cache,
		.capacity = view.capacity,
		.policy = wire_str(policy_at(view.policy)->name),
		.ttl_ms = view.ttl_ms,
	};
	return 0;
}

int run_cache_open(struct request *request, const union wire_body *params)
{
	const struct wire_cache_open *open = &params->cache_open;
	struct core *core = request->server->core;
	struct method_text name, policy;
	struct cache_request wanted = {
		.name = name.data,
		.capacity = open->capacity,
		.policy = policy.data,
		.ttl_ms = open->ttl_ms,
		.existing = open->existing,
		.exclusive = open->exclusive,
	};
	struct core_fault fault = {};
	uint32_t space = 0, cache = 0;
	int r;

	r = method_slot(request, open->space, &space);
	if (!r)
		r = method_text(request, &name, "name", open->name);
	if (!r)
		r = method_text(request, &policy, "policy", open->policy);
	if (r)
		return r;
	hoards_sweep(request->server);
	request_asks(request);
	r = core_cache_open(core, request->client->session, space, &wanted, &cache, &fault);
	r = method_answer(request, r, &fault);
	return r ? r : cache_say_opened(request, cache);
}

int run_cache_close(struct request *request, const union wire_body *params)
{
	const struct wire_cache_handle *close = &params->cache_handle;
	uint32_t space = 0, cache = 0;
	int r;

	if (!stint_lasts(request->server))
		return method_later(request);
	r = method_cache_slot(request, close->space, close->cache, &space, &cache);
	if (r)
		return r;
	if (fetches_leave(request->server, space, cache, request->client->session))
		return method_later(request);
	lane_counts_take(request->client);
	do {
		request_asks(request);
		r = core_cache_close(request->server->core, request->client->session, space,
				     cache);
	} while (r == CORE_MORE && stint_lasts(request->server));
	if (r == CORE_MORE)
		return method_later(request);
	if (!r) {
		lane_counts_free(request->client);
		hoards_left(request->server, space, cache, request->client->session);
		caches_reap_soon(request->server);
	}
	return method_answer(request, r, &(struct core_fault){.which = "cache"});
}

int run_cache_list(struct request *request, const union wire_body *params)
{
	static struct wire_cache_row rows[METHOD_ROWS];
	static struct method_text names[METHOD_ROWS], spaces[METHOD_ROWS];
	struct core *core = request->server->core;
	uint32_t n = 0, slot = core_cache_next(core, method_page(params->page_after.after));

	if (!lanes_count(request->server))
		return method_later(request);
	for (; slot != UINT32_MAX && n < METHOD_ROWS; slot = core_cache_next(core, slot + 1)) {
		const struct hoard *hoard;
		struct estate_view view;
		struct space_view space;

		if (!core_cache_view(core, slot, &view) ||
		    !core_space_view(core, view.space, &space))
			continue;
		snprintf(names[n].data, sizeof(names[n].data), "%s", view.name);
		snprintf(spaces[n].data, sizeof(spaces[n].data), "%s", space.name);
		rows[n] = (struct wire_cache_row){
			.cache = slot,
			.name = wire_str(names[n].data),
			.space = view.space,
			.space_name = wire_str(spaces[n].data),
			.policy = wire_str(policy_at(view.policy)->name),
			.capacity = view.capacity,
			.ttl_ms = view.ttl_ms,
			.memory = view.bytes,
			.segments = view.segments,
			.objects = view.objects,
			.sessions = view.sessions,
			.removed = view.removed,
		};
		hoard = hoard_at(request->server, slot);
		if (hoard)
			CACHE_ROW_FILL(&rows[n], hoard);
		n++;
	}
	request->result.cache_rows = (struct wire_cache_rows){
		.rows = {rows, n},
		.next = slot == UINT32_MAX ? 0 : slot,
	};
	return 0;
}

int run_cache_change(struct request *request, const union wire_body *params)
{
	const struct wire_cache_change *wanted = &params->cache_change;
	struct method_text name, policy;
	struct cache_change change = {
		.set = (uint32_t)u64_min(wanted->set, UINT32_MAX),
		.capacity = wanted->capacity,
		.policy = policy.data,
		.ttl_ms = wanted->ttl_ms,
	};
	struct core_fault fault = {};
	uint32_t space = 0;
	int r;

	r = method_slot(request, wanted->space, &space);
	if (!r)
		r = method_text(request, &name, "name", wanted->name);
	if (!r)
		r = method_text(request, &policy, "policy", wanted->policy);
	if (r)
		return r;
	if (!change.set || change.set & ~(uint32_t)CACHE_SET_ALL)
		return fault_set(request, FAULT_INVALID, "set",
				 "set: 1 to %d, a sum of what is to be changed",
				 (int)CACHE_SET_ALL);
	r = core_cache_change(request->server->core, request->client->session, space, name.data,
			      &change, &fault);
	if (!r)
		hoard_changed(request->server,
			      core_cache_named(request->server->core, space, name.data));
	return method_answer(request, r, &fault);
}

int run_cache_remove(struct request *request, const union wire_body *params)
{
	const struct wire_cache_remove *remove = &params->cache_remove;
	struct server *server = request->server;
	struct core_fault fault = {};
	struct method_text name;
	uint32_t space = 0;
	int r;

	r = method_slot(request, remove->space, &space);
	if (!r)
		r = method_text(request, &name, "name", remove->name);
	if (r)
		return r;
	request_asks(request);
	r = core_cache_remove(server->core, request->client->session, space, name.data,
			      remove->force, &fault);
	if (r == CORE_E_IN_USE)
		return method_in_use(request, core_cache_named(server->core, space, name.data),
				     fault.available, core_cache_user);
	if (!r) {
		caches_reap_soon(server);
		caches_reap(server);
	}
	return method_answer(request, r, &fault);
}

/* Of memory that the cache may have: it is not the client's own limit. */
static bool is_short(const struct request *request)
{
	const struct wire_fault *fault = &request->fault;

	return fault->code == FAULT_MEMORY ||
	       (fault->code == FAULT_BUDGET && !wire_str_is(fault->which, "client"));
}

/* What others hold may lie between all that is free: that values go would not help. */
static bool does_with_half(const struct wire_cache_segment *segment, uint64_t size)
{
	return segment->least && !segment->object && size / 2 >= segment->least &&
	       size / 2 >= SLICE_BYTES && !mutant(segment_large_alone);
}

int run_cache_segment(struct request *request, const union wire_body *params)
{
	const struct wire_cache_segment *segment = &params->cache_segment;
	struct extent_request wanted = {
		.size = segment->size,
		.kind = segment->object ? EXTENT_OBJECT : EXTENT_SEGMENT,
		.caller = (uint32_t)u64_min(segment->caller, UINT32_MAX),
	};
	uint32_t space = 0, cache = 0;
	struct hoard *hoard;
	int r;

	r = method_cache_slot(request, segment->space, segment->cache, &space, &cache);
	if (!r)
		r = hoard_want(request, cache, &hoard);
	if (r)
		return r;
	request->cache = cache;
	if (!segment->object && wanted.size <= CHUNK_BYTES)
		wanted.size = u64_min(wanted.size, squeeze_segment_most(hoard));
	if (core_cache_has(request->server->core, cache, request->client->session) &&
	    squeeze_holds_back(request, hoard, wanted.size))
		return REQUEST_BUSY;
	r = extents_alloc(request, space, cache, &wanted);
	while (r == REQUEST_FAULT && request->fault.code == FAULT_MEMORY &&
	       does_with_half(segment, wanted.size)) {
		wanted.size /= 2;
		r = extents_alloc(request, space, cache, &wanted);
	}
	if (r == REQUEST_FAULT && is_short(request) &&
	    (segment->object ? squeeze_gives_range(hoard, wanted.size) : squeeze_gives(hoard)))
		return REQUEST_BUSY;
	return r ? r : cache_leased(request);
}

int cache_leased(struct request *request)
{
	const struct wire_extent_alloced *extent = &request->result.extent_alloced;

	return hoard_lent(request->server, request->client->session, request->cache,
			  &(struct extent_info){.offset = extent->offset,
						.size = extent->size,
						.tag = (uint32_t)extent->tag});
}

int run_cache_seal(struct request *request, const union wire_body *params)
{
	const struct wire_cache_seal *seal = &params->cache_seal;
	struct extent_place place;
	struct core_fault fault = {};
	uint32_t space = 0;
	int r;

	r = method_slot(request, seal->space, &space);
	if (r)
		return r;
	if (seal->offset >> OFFSET_BITS || seal->tag > TAG_MASK)
		return fault_set(request, FAULT_INVALID,
				 seal->tag > TAG_MASK ? "tag" : "offset",
				 "offsets have %d bits, tags %d", OFFSET_BITS, TAG_BITS);
	place.cache = 0;
	core_extent_at(request->server->core, space, seal->offset, &place);
	request_asks(request);
	r = core_cache_seal(request->server->core, request->client->session, space,
			    seal->offset, (uint32_t)seal->tag, &fault);
	if (!r)
		hoard_sealed(request->server, place.cache, request->client->session,
			     seal->offset);
	return method_answer(request, r, &fault);
}
