#include "daemon/server/method_cache_data.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/errand.h"
#include "daemon/server/fault.h"
#include "daemon/server/fetches.h"
#include "daemon/server/grant.h"
#include "daemon/server/hoard.h"
#include "daemon/server/lane_notes.h"
#include "daemon/server/method_cache.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/retry.h"
#include "daemon/server/server.h"
#include "daemon/sys/guard.h"
#include "proto/object.h"

enum {
	HOT_SHOWN = 16,
	KEY_SHOWN = 48, /* bytes of it */
};

/* The hoard of a cache that the session has open. */
static int open_hoard(struct request *request, uint64_t space_handle, uint64_t handle,
		      struct hoard **ret)
{
	uint32_t space = 0, cache = 0;
	struct core_fault fault = {};
	int r;

	r = method_cache_slot(request, space_handle, handle, &space, &cache);
	if (r)
		return r;
	if (!core_cache_has(request->server->core, cache, request->client->session))
		return fault_set(request, FAULT_NOT_FOUND, "cache",
				 "cache: the session has it not open");
	r = core_space_may(request->server->core, request->client->session, space, &fault);
	if (r)
		return fault_from_core(request, r, &fault);
	return hoard_want(request, cache, ret);
}

/* The same, of one that may change what is there. */
static int hoard_to_write(struct request *request, uint64_t space, uint64_t handle,
			  struct hoard **ret)
{
	struct core_fault fault = {};
	int r = open_hoard(request, space, handle, ret);

	if (r)
		return r;
	r = core_cache_may_write(request->server->core, request->client->session, (*ret)->slot,
				 &fault);
	return r ? fault_from_core(request, r, &fault) : 0;
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
	bool promised;
	int r;

	if (!stint_lasts(server))
		return method_later(request);
	r = open_hoard(request, space, cache, &hoard);
	if (r)
		return r;
	record->cache = hoard->slot;
	promised = retry_promise(request, hoard, record);
	do
		r = errand_run(request->client, ERRAND_NO_LANE, record,
			       server_machine_ms(server), ret);
	while (r == ERRAND_MORE && stint_lasts(server));
	if (promised && r != ERRAND_MORE)
		retry_settle(request, !r && !ret->code);
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
		.token = publish->token,
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
		.kind = LANE_TOUCH | (uint32_t)u64_min(touch->how, 0xff) << 8,
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
	int r;

	if (!stint_lasts(request->server))
		return method_later(request);
	r = hoard_to_write(request, clear->space, clear->cache, &hoard);
	if (r)
		return r;
	if (!request->begun)
		request->begun = cache_clear_begin(hoard->cache);
	do
		r = cache_clear(hoard->cache, request->begun);
	while (r == CACHE_MORE && stint_lasts(request->server));
	hoard_stir(hoard);
	if (r == CACHE_MORE)
		return method_later(request);
	fetches_cleared(hoard);
	return 0;
}

/* A step of it is an answer: who wants more asks again. */
int run_cache_evict(struct request *request, const union wire_body *params)
{
	const struct wire_cache_evict *evict = &params->cache_evict;
	uint64_t left = evict->bytes;
	struct hoard *hoard = NULL;
	int r;

	if (!stint_lasts(request->server))
		return method_later(request);
	r = hoard_to_write(request, evict->space, evict->cache, &hoard);
	if (r)
		return r;
	do
		r = cache_evict(hoard->cache, &left);
	while (r == CACHE_MORE && stint_lasts(request->server));
	hoard_stir(hoard);
	request->result.cache_evicted = (struct wire_cache_evicted){
		.bytes = evict->bytes - left,
		.more = r == CACHE_MORE,
	};
	return 0;
}

/* ---- counting ---- */

int run_cache_count(struct request *request, const union wire_body *params)
{
	const struct wire_cache_count *count = &params->cache_count;
	struct hoard *hoard = NULL;
	int r;

	r = open_hoard(request, count->space, count->cache, &hoard);
	if (!r)
		cache_count(hoard->cache, count->hits, count->misses);
	return r;
}

/* ---- computing ---- */

int run_cache_fetch(struct request *request, const union wire_body *params)
{
	const struct wire_cache_fetch *fetch = &params->cache_fetch;
	struct hoard *hoard = NULL;
	int r;

	r = open_hoard(request, fetch->space, fetch->cache, &hoard);
	return r ? r : fetches_ask(request, hoard, fetch);
}

int run_cache_fetch_end(struct request *request, const union wire_body *params)
{
	const struct wire_cache_fetch_end *end = &params->cache_fetch_end;
	struct hoard *hoard = NULL;
	int r;

	r = open_hoard(request, end->space, end->cache, &hoard);
	return r ? r : fetches_end(request, hoard->slot, end);
}

/* ---- what is known about it ---- */

/* In memory of all members: whoever has spoiled it sees what he has made of it. */
static uint32_t key_copy(const struct hoard *hoard, const struct cache_object *object,
			 char ret[static KEY_SHOWN], uint32_t *ret_size)
{
	const struct server *server = hoard->server;
	struct object_header header;
	struct extent_place place;
	const char *at;
	uint64_t room;

	*ret_size = 0;
	if (!core_extent_at(server->core, hoard->space, object->offset, &place))
		return 0;
	at = server->files.windows[place.window].data + offset_position(object->offset);
	if (guard_copy(&header, at, sizeof(header)))
		return 0;
	room = object->size - sizeof(header);
	*ret_size = (uint32_t)u64_min(object_sizes_unpack(header.sizes).key, room);
	if (!guard_copy(ret, at + sizeof(header), u64_min(*ret_size, KEY_SHOWN)))
		return (uint32_t)u64_min(*ret_size, KEY_SHOWN);
	*ret_size = 0;
	return 0;
}

struct key_text {
	char data[2 + 2 * KEY_SHOWN + 1];
};

static void key_format(struct key_text *ret, const char *key, uint32_t size)
{
	bool text = size < 2 || memcmp(key, "0x", 2) != 0;

	for (uint32_t i = 0; i < size; i++)
		text &= key[i] > ' ' && key[i] <= '~';
	if (text) {
		snprintf(ret->data, sizeof(ret->data), "%.*s", (int)size, key);
		return;
	}
	memcpy(ret->data, "0x", 2);
	for (uint32_t i = 0; i < size; i++)
		snprintf(ret->data + 2 + (size_t)i * 2, 3, "%02x", (unsigned char)key[i]);
}

static void hot_row(struct wire_cache_hot_row *row, struct hoard *hoard,
		    const struct hot_key *hot, struct key_text *text)
{
	struct cache_object object;
	char key[KEY_SHOWN];
	uint32_t shown, size;

	*row = (struct wire_cache_hot_row){
		.hash = hot->hash, .count = hot->count, .over = hot->over};
	if (cache_find(hoard->cache, hot->hash, &object))
		return;
	shown = key_copy(hoard, &object, key, &size);
	if (!shown)
		return;
	key_format(text, key, shown);
	row->key = wire_str(text->data);
	row->size = size;
}

static void pin_row(struct wire_cache_pin_row *row, const struct hoard *hoard,
		    const struct cache_pinner *pinner, uint64_t now)
{
	const struct server *server = hoard->server;
	const struct client *client = NULL;

	*row = (struct wire_cache_pin_row){
		.session = pinner->session,
		.bytes = pinner->bytes,
		.ms = now > pinner->since ? now - pinner->since : 0,
	};
	/* Since the scan it may have ended, and its number be another's. */
	if (core_session_has(server->core, pinner->session, hoard->space))
		client = server->clients[pinner->session];
	if (!client)
		return;
	row->pid = client->pid;
	row->uid = client->credentials.uid;
	row->name = wire_str(client->name);
}

int run_cache_detail(struct request *request, const union wire_body *params)
{
	const struct wire_cache_handle *asked = &params->cache_handle;
	static struct wire_cache_hot_row hot_rows[HOT_SHOWN];
	static struct wire_cache_pin_row pin_rows[CACHE_PINNERS];
	static struct key_text texts[HOT_SHOWN];
	const struct server *server = request->server;
	const struct cache_pinner *pinners;
	struct hot_key hot[HOT_SHOWN];
	struct hoard *hoard = NULL;
	uint32_t n_hot, n_pins;
	uint64_t now;
	int r;

	r = open_hoard(request, asked->space, asked->cache, &hoard);
	if (r)
		return r;
	lanes_drain_all(request->server);
	n_hot = cache_hottest(hoard->cache, hot, HOT_SHOWN);
	for (uint32_t i = 0; i < n_hot; i++)
		hot_row(&hot_rows[i], hoard, &hot[i], &texts[i]);
	now = server_machine_ms(server);
	n_pins = cache_pinners(hoard->cache, &pinners);
	for (uint32_t i = 0; i < n_pins; i++)
		pin_row(&pin_rows[i], hoard, &pinners[i], now);
	request->result.cache_detail = (struct wire_cache_detail){
		.hot = {hot_rows, n_hot},
		.pins = {pin_rows, n_pins},
	};
	return 0;
}
