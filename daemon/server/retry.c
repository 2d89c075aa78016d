#include "daemon/server/retry.h"

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/errand.h"
#include "daemon/server/fetches.h"
#include "daemon/server/method.h"
#include "daemon/server/method_cache.h"
#include "daemon/server/server.h"

static_assert((int)RESULTS_A_SESSION == (int)WIRE_INFLIGHT_MAX, "each has a result");
static_assert(WIRE_METHODS_N <= 256, "a result says its method in 8 bits");

const struct retry retries[WIRE_METHODS_N] = {
#define RETRY(METHOD, HOW, why) [WIRE_##METHOD] = {RETRY_##HOW, why},
#include "daemon/server/retry.def"
};

void request_asks(const struct request *request)
{
	core_asked(request->server->core, request->client->session, request->method,
		   request->note ? 0 : request->id);
}

/* ---- objects ---- */

void retry_settle(const struct request *request, bool done)
{
	core_object_settle(request->server->core, request->client->session, request->id, done);
}

bool retry_promise(const struct request *request, const struct hoard *hoard,
		   const struct lane_record *record)
{
	struct object_promise promise = {.cache = hoard->slot,
					 .hash = record->hash,
					 .offset = record->offset,
					 .generation = record->born};
	bool publishes = (record->kind & 0xff) == LANE_PUBLISH;
	struct cache_object object;

	if ((!publishes && (record->kind & 0xff) != LANE_DELETE) || mutant(object_unpromised))
		return false;
	/* It may have been promised at an earlier turn, of what has gone since. */
	retry_settle(request, false);
	if (!publishes) {
		if (cache_find(hoard->cache, record->hash, &object))
			return false;
		promise.gone = true;
		promise.offset = object.offset;
		promise.generation = object.generation;
	}
	/* What is wrong with its numbers the cache says. */
	if (promise.offset >> OFFSET_BITS)
		return false;
	core_object_promise(request->server->core, request->client->session, request->method,
			    request->id, &promise);
	return true;
}

static bool was_done(struct server *server, const struct object_promised *promised)
{
	const struct object_promise *promise = &promised->promise;
	const struct lane_record record = {.kind = LANE_PUBLISH,
					   .cache = promise->cache,
					   .hash = promise->hash,
					   .offset = promise->offset,
					   .born = promise->generation};
	struct client *client = server->clients[promised->session];
	const struct hoard *hoard = hoard_at(server, promise->cache);
	struct errand_answer answer;
	struct cache_object object;

	if (!client || !hoard || mutant(object_doubted))
		return false;
	if (!promise->gone)
		return errand_was_done(client, ERRAND_NO_LANE, &record, &answer);
	/* Since it was promised, at an earlier turn, the cleaner may have moved it. */
	if (!cache_find(hoard->cache, promise->hash, &object) &&
	    (mutant(object_known_by_place) ? object.offset == promise->offset
					   : object.generation == promise->generation))
		return false;
	fetches_settled(server, promise->cache, promise->hash, 0);
	return true;
}

void retries_settle(struct server *server)
{
	struct object_promised promised;

	for (uint32_t at = 0; core_object_promised(server->core, &at, &promised);)
		core_object_settle(server->core, promised.session, promised.id,
				   was_done(server, &promised));
}

/* ---- what is said again: false, it is to be done ---- */

static bool say_done(struct request *request, union wire_body *params,
		     const struct result_view *done, int *ret)
{
	(void)request;
	(void)params;
	(void)done;
	*ret = 0;
	return true;
}

static bool say_created(struct request *request, union wire_body *params,
			const struct result_view *done, int *ret)
{
	(void)params;
	request->result.space_handle.space = done->answer[0];
	*ret = 0;
	return true;
}

/* It has been closed again if there were no descriptors to be had. */
static bool say_opened(struct request *request, union wire_body *params,
		       const struct result_view *done, int *ret)
{
	uint32_t space = (uint32_t)done->answer[0];

	(void)params;
	if (!core_session_has(request->server->core, request->client->session, space))
		return false;
	*ret = request->client->opening_space ? REQUEST_BUSY
					      : method_grant_space(request, space);
	return true;
}

/* Not before it has gone, unless others have it open. */
static bool say_removed(struct request *request, union wire_body *params,
			const struct result_view *done, int *ret)
{
	const struct core *core = request->server->core;
	uint32_t slot = (uint32_t)done->answer[0];
	struct space_view view;
	bool goes = core_space_view(core, slot, &view) && view.hash_seed == done->answer[1] &&
		    !view.sessions;

	(void)params;
	if (goes && core_space_next(core, slot) == slot)
		return false;
	*ret = goes ? REQUEST_BUSY : 0; /* until its plan has ended */
	return true;
}

static bool say_extent(struct request *request, union wire_body *params,
		       const struct result_view *done, int *ret)
{
	struct extent_info extent = result_extent(*done);

	(void)params;
	request->result.extent_alloced = (struct wire_extent_alloced){
		.offset = extent.offset,
		.size = extent.size,
		.tag = extent.tag,
	};
	*ret = 0;
	return true;
}

/*
 * What a note has closed, said again, too, before it was opened: it is opened anew, also if nobody
 * else was to have it then.
 */
static bool say_channel(struct request *request, union wire_body *params,
			const struct result_view *done, int *ret)
{
	struct wire_channel_open *open = &params->channel_open;
	struct channel_info channel = result_channel(*done);
	bool has = core_channel_has(request->server->core, request->client->session,
				    (uint32_t)u64_min(open->space, UINT32_MAX), channel.id,
				    (uint32_t)u64_min(open->roles, UINT32_MAX)) ||
		   mutant(result_of_closed);

	if (!has) {
		open->exclusive = false;
		return false;
	}
	request->result.channel_opened = (struct wire_channel_opened){
		.offset = channel.offset,
		.size = channel.size,
		.tag = channel.tag,
		.id = channel.id,
		.capacity = channel.capacity,
	};
	*ret = 0;
	return true;
}

static bool say_cache(struct request *request, union wire_body *params,
		      const struct result_view *done, int *ret)
{
	uint32_t cache = (uint32_t)done->answer[0];

	if (!core_cache_has(request->server->core, cache, request->client->session)) {
		params->cache_open.exclusive = false;
		return false;
	}
	*ret = cache_say_opened(request, cache);
	return true;
}

static bool say_object(struct request *request, union wire_body *params,
		       const struct result_view *done, int *ret)
{
	(void)params;
	request->result.cache_object = (struct wire_cache_object){
		.offset = done->answer[0],
		.generation = done->answer[1],
	};
	*ret = 0;
	return true;
}

static bool say_right(struct request *request, union wire_body *params,
		      const struct result_view *done, int *ret)
{
	(void)params;
	request->result.cache_fetched = (struct wire_cache_fetched){
		.token = done->answer[0],
		.until = done->answer[1],
	};
	*ret = 0;
	return true;
}

static bool (*const answers[WIRE_METHODS_N])(struct request *, union wire_body *,
					     const struct result_view *, int *) = {
	[WIRE_SPACE_CREATE] = say_created, [WIRE_SPACE_OPEN] = say_opened,
	[WIRE_SPACE_CLOSE] = say_done,     [WIRE_SPACE_REMOVE] = say_removed,
	[WIRE_EXTENT_ALLOC] = say_extent,  [WIRE_EXTENT_FREE] = say_done,
	[WIRE_CHANNEL_OPEN] = say_channel, [WIRE_CHANNEL_CLOSE] = say_done,
	[WIRE_CACHE_OPEN] = say_cache,     [WIRE_CACHE_CLOSE] = say_done,
	[WIRE_CACHE_REMOVE] = say_done,    [WIRE_CACHE_SEGMENT] = say_extent,
	[WIRE_CACHE_SEAL] = say_done,      [WIRE_CACHE_FETCH] = say_right,
	[WIRE_CACHE_FETCH_END] = say_done, [WIRE_CACHE_PUBLISH] = say_object,
	[WIRE_CACHE_DELETE] = say_done,
};

bool retry_answer(struct request *request, union wire_body *params, int *ret)
{
	const struct client *client = request->client;
	struct result_view done;

	return client->resumed && !request->note && answers[request->method] &&
	       !mutant(result_unasked) &&
	       core_result(request->server->core, client->session, request->method, request->id,
			   &done) &&
	       answers[request->method](request, params, &done, ret);
}
