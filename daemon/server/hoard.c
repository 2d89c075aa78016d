#include "daemon/server/hoard.h"

#include <errno.h>
#include <stdlib.h>

#include "base/base.h"
#include "daemon/server/cleaner.h"
#include "daemon/server/exchange.h"
#include "daemon/server/fault.h"
#include "daemon/server/hoard_adopt.h"
#include "daemon/server/hoard_expiry.h"
#include "daemon/server/hoard_growth.h"
#include "daemon/server/hoard_job.h"
#include "daemon/server/hoard_return.h"
#include "daemon/server/hoards.h"
#include "daemon/server/keep.h"
#include "daemon/server/scanner.h"
#include "daemon/server/server.h"

uint64_t hoard_capacity(const struct estate_view *view)
{
	return u64_max(view->capacity, 1 << OBJECT_SHIFT);
}

void hoard_free(struct hoard *hoard)
{
	struct sys *sys = hoard->server->sys;

	cache_free(hoard->cache);
	hoard_file_drop(sys, &hoard->objects);
	hoard_index_drop(sys, &hoard->index);
	hoard_index_drop(sys, &hoard->next);
	list_remove(&hoard->in_all);
	if (hoard->in_stirred.next)
		list_remove(&hoard->in_stirred);
	if (hoard->in_scan.next)
		list_remove(&hoard->in_scan);
	free(hoard);
}

const char *hoard_objects_kept(const struct hoard *hoard, char ret[KEPT_NAME_MAX])
{
	return kept_name(ret, KEPT_OBJECTS, hoard->slot, hoard->serial, 0);
}

const char *hoard_index_kept(const struct hoard *hoard, uint64_t generation,
			     char ret[KEPT_NAME_MAX])
{
	return kept_name(ret, KEPT_INDEX, hoard->slot, hoard->serial, generation);
}

void hoard_objects_unkeep(const struct hoard *hoard)
{
	char name[KEPT_NAME_MAX];

	keep_remove(hoard->server->keep, hoard_objects_kept(hoard, name));
}

void hoard_index_unkeep(const struct hoard *hoard, uint64_t generation)
{
	char name[KEPT_NAME_MAX];

	keep_remove(hoard->server->keep, hoard_index_kept(hoard, generation, name));
}

/* The ledger knows nothing of it any more. */
static void unkeep(const struct hoard *hoard)
{
	if (hoard->objects.fd >= 0)
		hoard_objects_unkeep(hoard);
	if (hoard->index.file.fd >= 0)
		hoard_index_unkeep(hoard, hoard->index.generation);
	if (hoard->next.file.fd >= 0)
		hoard_index_unkeep(hoard, hoard->next.generation);
}

/* HD2: its files are closed by a worker, too. */
static void hoard_go(struct hoard *hoard)
{
	struct hoard_job *job;

	if (hoard->jobs)
		return;
	if (!hoard->server->stopping)
		unkeep(hoard);
	if (hoard->objects.fd < 0 || hoard->server->stopping) {
		hoard_free(hoard);
		return;
	}
	job = hoard_job_new(hoard, HOARD_JOB_DROP);
	if (!job) {
		hoard_free(hoard);
		return;
	}
	job->cache = TAKE_PTR(hoard->cache);
	job->objects = hoard->objects;
	job->index = hoard->index;
	job->next = hoard->next;
	hoard->objects = HOARD_FILE_NONE;
	hoard->index = hoard->next = HOARD_INDEX_NONE;
	hoard_job_queue(job);
}

void hoard_leave(struct hoard *hoard)
{
	hoard->gone = true;
	hoard->server->hoards->at[hoard->slot] = NULL;
	if (hoard->in_stirred.next)
		list_remove(&hoard->in_stirred);
	if (hoard->in_scan.next)
		list_remove(&hoard->in_scan);
	hoard_go(hoard);
}

void hoard_job_done(struct hoard *hoard)
{
	struct server *server = hoard->server;

	hoard->jobs--;
	if (hoard->gone)
		hoard_go(hoard);
	else
		hoard_stir(hoard);
	if (!server->stopping)
		request_retry(server);
	exchange_go_on(server);
}

struct hoard *hoard_at(const struct server *server, uint32_t cache)
{
	struct hoard *hoard = cache < HOARDS_MAX ? server->hoards->at[cache] : NULL;

	return hoard && hoard->cache ? hoard : NULL;
}

struct hoard *hoard_begin(struct server *server, uint32_t cache)
{
	struct hoards *hoards = server->hoards;
	struct estate_view view;
	struct hoard *hoard;

	if (cache >= HOARDS_MAX)
		return NULL;
	if (hoards->at[cache])
		return hoards->at[cache];
	if (!core_cache_view(server->core, cache, &view))
		return NULL;
	hoard = malloc(sizeof(*hoard));
	if (!hoard)
		return NULL;
	*hoard = (struct hoard){
		.server = server,
		.slot = cache,
		.space = view.space,
		.serial = view.serial,
		.objects = HOARD_FILE_NONE,
		.index = HOARD_INDEX_NONE,
		.next = HOARD_INDEX_NONE,
	};
	list_append(&hoards->all, &hoard->in_all);
	hoards->at[cache] = hoard;
	return hoard;
}

void hoard_prepare(struct server *server, uint32_t cache)
{
	struct hoard *hoard = hoard_begin(server, cache);

	if (hoard && !hoard->cache && !hoard->making)
		hoard_grow_first(hoard);
}

int hoard_want(struct request *request, uint32_t cache, struct hoard **ret)
{
	struct hoard *hoard = hoard_begin(request->server, cache);
	int r;

	if (!hoard)
		return -ENOMEM;
	if (!hoard->cache) {
		r = hoard_error(hoard);
		if (!r && !hoard->making)
			hoard_grow_first(hoard);
		if (!r && hoard->bound)
			return fault_from_core(request, CORE_E_LIMIT, &hoard->limit);
		return r ? r : REQUEST_BUSY;
	}
	*ret = hoard;
	return 0;
}

int hoard_error(struct hoard *hoard)
{
	int r = hoard->error;

	hoard->error = 0;
	return r;
}

/* What is left of the former policy of many objects takes long to be freed. */
static void switched(struct hoard *hoard)
{
	struct hoard_job *job = hoard_job_new(hoard, HOARD_JOB_DROP);

	if (!job) /* it goes with the next switch */
		return;
	job->state = cache_switch_spent(hoard->cache, &job->policy);
	if (job->state)
		hoard_job_queue(job);
	else
		free(job);
}

/* Terms that could not be had while others came true. */
static void follow_policy(struct hoard *hoard)
{
	struct estate_view view;

	if (core_cache_view(hoard->server->core, hoard->slot, &view) &&
	    view.policy != cache_view(hoard->cache).policy)
		cache_switch(hoard->cache, view.policy); /* else: at the next beat */
}

/* What there may be to do for a hoard, in this order. */
enum chore {
	CHORE_TEND,
	CHORE_OBJECTS,
	CHORE_INDEX,
	CHORE_MOVE,
	CHORE_ROOM,
	CHORE_SWITCH,
	CHORE_TELL,
	CHORE_EXPIRE,
	CHORE_RETURN,
	CHORE_SCAN,
	CHORE_CLEAN,
	CHORES
};

enum done { NOTHING, DONE, MORE };

static enum done switch_step(struct hoard *hoard)
{
	if (!cache_switch_step(hoard->cache)) {
		switched(hoard);
		follow_policy(hoard);
	}
	return cache_wants(hoard->cache) & CACHE_WANTS_SWITCH ? MORE : DONE;
}

static enum done scan_want(struct hoard *hoard, uint32_t wants)
{
	if ((wants & CACHE_WANTS_SCAN || hoard->scan_now) && !hoard->in_scan.next &&
	    !hoard->reclaiming)
		scanner_want(hoard->server);
	return NOTHING;
}

/* A cut of it (stint.h). */
static enum done chore_do(struct hoard *hoard, enum chore chore, uint32_t wants)
{
	static const uint32_t wanted[CHORES] = {
		[CHORE_TEND] = CACHE_WANTS_TEND,   [CHORE_OBJECTS] = CACHE_WANTS_OBJECTS,
		[CHORE_INDEX] = CACHE_WANTS_INDEX, [CHORE_MOVE] = CACHE_WANTS_MOVE,
		[CHORE_ROOM] = CACHE_WANTS_ROOM,   [CHORE_SWITCH] = CACHE_WANTS_SWITCH,
		[CHORE_CLEAN] = CACHE_WANTS_CLEAN,
	};

	if (wanted[chore] && !(wants & wanted[chore]))
		return NOTHING;
	switch (chore) {
	case CHORE_TEND:
		return cache_tend(hoard->cache, server_machine_ms(hoard->server)) ? DONE : MORE;
	case CHORE_OBJECTS:
		hoard_grow_objects(hoard);
		return DONE;
	case CHORE_INDEX:
		hoard_grow_index(hoard);
		return DONE;
	case CHORE_MOVE:
		return hoard_index_move(hoard) ? MORE : DONE;
	case CHORE_ROOM:
		return cache_room(hoard->cache) == CACHE_MORE ? MORE : DONE;
	case CHORE_SWITCH:
		return switch_step(hoard);
	case CHORE_TELL:
		if (!hoard->telling)
			return NOTHING;
		return hoard_tell(hoard) ? MORE : DONE;
	case CHORE_EXPIRE:
		if (!hoard->expiring)
			return NOTHING;
		hoard_expire(hoard);
		return hoard->expiring ? MORE : DONE;
	case CHORE_RETURN:
		if (!hoard->reclaiming)
			return NOTHING;
		hoard_reclaim(hoard);
		return hoard_returns(hoard) ? MORE : DONE;
	case CHORE_SCAN:
		return scan_want(hoard, wants);
	case CHORE_CLEAN:
		return cleaner_step(hoard) ? MORE : DONE;
	case CHORES:
		break;
	}
	return NOTHING;
}

bool hoard_step(struct hoard *hoard)
{
	uint32_t wants = cache_wants(hoard->cache);
	bool more = false;

	for (int i = 0; i < CHORES; i++) {
		enum done done = chore_do(hoard, (enum chore)hoard->chore, wants);

		hoard->chore = (hoard->chore + 1) % CHORES;
		more |= done == MORE;
		if (done != NOTHING && !stint_lasts(hoard->server))
			return true; /* there may be, in those that have not had their turn */
	}
	return more;
}

void hoard_stir(struct hoard *hoard)
{
	if (!hoard->cache || hoard->gone || hoard->in_stirred.next ||
	    (!hoard->expiring && !hoard->reclaiming && !hoard->telling && !hoard->scan_now &&
	     !cache_wants(hoard->cache)))
		return;
	list_append(&hoard->server->hoards->stirred, &hoard->in_stirred);
	server_more(hoard->server);
}

void hoard_beat(struct hoard *hoard)
{
	struct server *server = hoard->server;
	struct sys *sys = server->sys;
	struct cache_view view;

	hoard->short_of_memory = hoard->bound = false;
	if (!hoard->cache || hoard->gone)
		return;
	cache_clock_set(hoard->cache, sys->table->machine_ns(sys) - sys->table->now_ns(sys));
	follow_policy(hoard);
	hoard->unclean = false;
	hoard_settle(hoard);
	hoard_expiry_arm(hoard, server_machine_ms(server));
	/* Too little for a scan of its own comes back within seconds, too. */
	view = cache_view(hoard->cache);
	hoard->scan_now |= view.limbo > view.pinned && !mutant(hoard_limbo_rests);
	if (hoard->scan_now)
		scanner_want(server);
	hoard_stir(hoard);
}

struct object_header *hoard_header(const struct hoard *hoard, const struct cache_object *object)
{
	const struct server *server = hoard->server;
	struct extent_place place;

	if (!core_extent_at(server->core, hoard->space, object->offset, &place))
		return NULL;
	return (void *)(server->files.windows[place.window].data +
			offset_position(object->offset));
}

int hoard_leased(struct server *server, uint32_t space, uint64_t offset)
{
	struct extent_place place;
	struct hoard *hoard;
	int r;

	if (!core_extent_at(server->core, space, offset, &place) || !place.cache)
		return -ENOENT;
	hoard = hoard_at(server, place.cache);
	if (!hoard)
		return -ENOENT;
	hoard->drops = 0;
	r = cache_segment(hoard->cache, place.session ? place.session : CACHE_CLEANER, offset,
			  (uint64_t)place.count << SLICE_SHIFT, place.kind == EXTENT_OBJECT);
	return r > 0 ? -EEXIST : r;
}

int hoard_lent(struct server *server, uint32_t session, uint32_t cache,
	       const struct extent_info *extent)
{
	struct core *core = server->core;
	struct core_fault fault = {};
	struct estate_view view;
	int r;

	if (!core_cache_view(core, cache, &view))
		return -ENOENT;
	r = hoard_leased(server, view.space, extent->offset);
	if (!r)
		return 0;
	/* Nobody can put anything there. */
	if (!core_cache_seal(core, session, view.space, extent->offset, extent->tag, &fault))
		core_cache_return(core, cache, extent->offset, extent->size, &fault);
	server_apply(server);
	return r;
}

void hoard_sealed(struct server *server, uint32_t cache, uint32_t session, uint64_t offset)
{
	struct hoard *hoard = hoard_at(server, cache);

	if (!hoard)
		return;
	cache_seal(hoard->cache, session, offset);
	hoard_stir(hoard);
}

void hoard_changed(struct server *server, uint32_t cache)
{
	struct hoard *hoard = hoard_at(server, cache);
	struct estate_view view;

	if (!hoard || !core_cache_view(server->core, cache, &view))
		return;
	if (hoard_capacity(&view) != cache_view(hoard->cache).capacity)
		cache_resize(hoard->cache, hoard_capacity(&view));
	cache_ttl_set(hoard->cache, view.ttl_ms);
	follow_policy(hoard);
	hoard_stir(hoard);
}

uint64_t hoard_metadata(const struct hoard *hoard)
{
	return cache_view(hoard->cache).memory + hoard->objects.size + hoard->index.file.size +
	       hoard->next.file.size;
}
