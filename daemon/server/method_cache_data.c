#include "daemon/server/method_cache_data.h"

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/errand.h"
#include "daemon/server/fault.h"
#include "daemon/server/grant.h"
#include "daemon/server/hoard.h"
#include "daemon/server/method_cache.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/server.h"

enum {
	STEPS_MAX = 4, /* of the cache's, before the loop turns to others */
};

/* The hoard of a cache that the session has open. */
static int open_hoard(struct request *request, uint64_t space_handle, uint64_t handle,
		      struct hoard **ret)
{
	uint32_t space = 0, cache = 0;
	int r;

	r = method_cache_slot(request, space_handle, handle, &space, &cache);
	if (r)
		return r;
	if (!core_cache_has(request->server->core, cache, request->client->session))
		return fault_set(request, FAULT_NOT_FOUND, "cache",
				 "cache: the session has it not open");
	return hoard_want(request, cache, ret);
}

int run_cache_index(struct request *request, const union wire_body *params)
{
	const struct wire_cache_index *wanted = &params->cache_index;
	const struct hoard_index *index;
	struct hoard *hoard = NULL;
	int r;

	r = open_hoard(request, wanted->space, wanted->cache, &hoard);
	if (r)
		return r;
	index = wanted->generation > hoard->index.generation && hoard->next.file.memory
			? &hoard->next
			: &hoard->index;
	if (wanted->generation > index->generation)
		return fault_set(request, FAULT_NOT_FOUND, "generation",
				 "there is no index of generation %llu yet",
				 (unsigned long long)wanted->generation);
	request->result.cache_index_opened = (struct wire_cache_index_opened){
		.size = index->file.size,
		.generation = index->generation,
	};
	return grant_start_copy(request, index->file.fd, SYS_READ);
}

static int run_errand(struct request *request, uint64_t space, struct lane_record *record,
		      uint64_t cache, struct errand_answer *ret)
{
	struct server *server = request->server;
	struct hoard *hoard = NULL;
	int r, steps = STEPS_MAX;

	r = open_hoard(request, space, cache, &hoard);
	if (r)
		return r;
	record->cache = hoard->slot;
	do
		r = errand_run(request->client, record,
			       server->sys->table->machine_ns(server->sys) / 1000000, ret);
	while (r == ERRAND_MORE && --steps);
	hoard_stir(hoard);
	if (r == ERRAND_MORE)
		return method_later(request);
	if (r == ERRAND_JOB)
		return REQUEST_BUSY;
	if (!ret->code)
		return 0;
	request->fault = (struct wire_fault){.max = ret->detail};
	return fault_set(request, (enum fault_code)ret->code, ret->which, "%s", ret->text);
}

/* What is wider than a record's field is as wrong as its largest value. */
static uint32_t narrow(uint64_t value)
{
	return (uint32_t)u64_min(value, UINT32_MAX);
}

static void answer_object(struct request *request, const struct errand_answer *answer)
{
	request->result.cache_object = (struct wire_cache_object){
		.offset = answer->offset,
		.generation = answer->generation,
	};
}

int run_cache_publish(struct request *request, const union wire_body *params)
{
	const struct wire_cache_publish *publish = &params->cache_publish;
	struct lane_record record = {
		.kind = LANE_PUBLISH | (uint32_t)u64_min(publish->mode, 0xff) << 8,
		.hash = publish->hash,
		.offset = publish->offset,
		.size = publish->size,
		.expiry = publish->expiry,
		.generation = narrow(publish->generation),
		.born = narrow(publish->born),
	};
	struct errand_answer answer;
	int r;

	r = run_errand(request, publish->space, &record, publish->cache, &answer);
	if (!r)
		answer_object(request, &answer);
	return r;
}

int run_cache_delete(struct request *request, const union wire_body *params)
{
	const struct wire_cache_delete *delete = &params->cache_delete;
	struct lane_record record = {
		.kind = LANE_DELETE,
		.hash = delete->hash,
		.generation = narrow(delete->generation),
	};
	struct errand_answer answer;

	return run_errand(request, delete->space, &record, delete->cache, &answer);
}

int run_cache_touch(struct request *request, const union wire_body *params)
{
	const struct wire_cache_touch *touch = &params->cache_touch;
	struct lane_record record = {
		.kind = LANE_TOUCH,
		.hash = touch->hash,
		.expiry = touch->expiry,
	};
	struct errand_answer answer;
	int r;

	r = run_errand(request, touch->space, &record, touch->cache, &answer);
	if (!r)
		answer_object(request, &answer);
	return r;
}

int run_cache_clear(struct request *request, const union wire_body *params)
{
	const struct wire_cache_handle *clear = &params->cache_handle;
	struct hoard *hoard = NULL;
	int r, steps = STEPS_MAX;

	r = open_hoard(request, clear->space, clear->cache, &hoard);
	if (r)
		return r;
	do
		r = cache_clear(hoard->cache);
	while (r == CACHE_MORE && --steps);
	hoard_stir(hoard);
	return r == CACHE_MORE ? method_later(request) : 0;
}

/* A step of it is an answer: who wants more asks again. */
int run_cache_evict(struct request *request, const union wire_body *params)
{
	const struct wire_cache_evict *evict = &params->cache_evict;
	uint64_t left = evict->bytes;
	struct hoard *hoard = NULL;
	int r, steps = STEPS_MAX;

	r = open_hoard(request, evict->space, evict->cache, &hoard);
	if (r)
		return r;
	do
		r = cache_evict(hoard->cache, &left);
	while (r == CACHE_MORE && --steps);
	hoard_stir(hoard);
	request->result.cache_evicted = (struct wire_cache_evicted){
		.bytes = evict->bytes - left,
		.more = r == CACHE_MORE,
	};
	return 0;
}
