#include "daemon/server/errand.h"

#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/fetches.h"
#include "daemon/server/hoard_expiry.h"
#include "daemon/server/hoard_growth.h"
#include "daemon/server/hoard_return.h"
#include "daemon/server/lane_notes.h"
#include "daemon/server/server.h"
#include "daemon/server/squeeze.h"
#include "daemon/sys/guard.h"
#include "proto/object.h"

#define LEASE_MOST ((uint64_t)64 << 20)

/* What the cache answers, as clients know it. */
static const struct {
	enum fault_code code;
	const char *which, *text;
} refusals[] = {
	[CACHE_E_PLACE] =
		{FAULT_REFERENCE, "place",
		 "that is not behind all that this session has published in a segment "
		 "that it fills"},
	[CACHE_E_SIZE] =
		{FAULT_INVALID, "size",
		 "size: a header, a key and a value; above 256 KiB in memory of its own"},
	[CACHE_E_TOO_LARGE] = {FAULT_TOO_LARGE, "capacity", "larger than the cache's capacity"},
	[CACHE_E_GENERATION] = {FAULT_INVALID, "born", "born: 1 to 16777215"},
	[CACHE_E_EXISTS] = {FAULT_EXISTS, "key", "there is an object of that key"},
	[CACHE_E_ABSENT] = {FAULT_NOT_FOUND, "key", "there is no object of that key"},
	[CACHE_E_CHANGED] = {FAULT_CHANGED, "generation", "it is of another generation by now"},
};

static void refuse(struct errand_answer *ret, enum fault_code code, const char *which,
		   const char *text)
{
	ret->code = code;
	ret->which = which;
	ret->text = text;
}

static void out_of_memory(struct errand_answer *ret)
{
	refuse(ret, FAULT_MEMORY, "objects", "no memory for what is known of one more object");
}

/*
 * As a verb of the cache's has answered. What it lacks is had here, or by a job; 0: nothing is
 * lacking, *ret says the rest.
 */
static int settle(struct hoard *hoard, int r, uint64_t now, struct errand_answer *ret)
{
	switch (r) {
	case 0:
		return 0;
	case CACHE_MORE:
		return ERRAND_MORE;
	case CACHE_E_TEND:
		r = cache_tend(hoard->cache, now);
		if (!r)
			return ERRAND_MORE;
		if (r != CACHE_E_OBJECTS)
			break;
		__attribute__((fallthrough));
	case CACHE_E_OBJECTS:
		if (!hoard_error(hoard) && hoard_grows(hoard))
			return ERRAND_JOB;
		if (hoard_limit(hoard)) {
			refuse(ret, FAULT_LIMIT, hoard_limit(hoard)->which,
			       "limits.metadata of who owns the space: no more can be known of "
			       "objects");
			return 0;
		}
		break;
	default:
		assert(r > 0 && r < (int)ARRAY_SIZE(refusals) && refusals[r].code);
		refuse(ret, refusals[r].code, refusals[r].which, refusals[r].text);
		if (r == CACHE_E_TOO_LARGE)
			ret->detail = cache_view(hoard->cache).capacity;
		return 0;
	}
	out_of_memory(ret);
	return 0;
}

static void answer_object(struct errand_answer *ret, const struct cache_object *object)
{
	ret->generation = object->generation;
	ret->offset = object->offset;
}

/*
 * What leaves nothing by which it is known again: said before it is done (position.h). What comes on
 * the socket has no lane; who says it again is answered from elsewhere.
 */
static bool intend(const struct client *client, uint32_t lane, struct intent intent)
{
	if (lane == ERRAND_NO_LANE || mutant(intent_skipped))
		return false;
	intent.session = client->session;
	intent.lane = lane;
	core_intent(client->server->core, &intent);
	return true;
}

static int publish(struct client *client, struct hoard *hoard, const struct lane_record *record,
		   uint64_t now, struct errand_answer *ret)
{
	struct cache_publish publish = {
		.hash = record->hash,
		.offset = record->offset,
		.size = record->size,
		.expiry = record->expiry,
		.now = now,
		.session = client->session,
		.mode = record->kind >> 8 & 0xff,
		.generation = record->generation,
		.born = record->born,
	};
	struct cache_object object = {};
	int r;

	if (publish.mode > LANE_REPLACE) {
		refuse(ret, FAULT_INVALID, "mode", "mode: 0 put, 1 add, 2 replace");
		return 0;
	}
	if (record->token &&
	    !fetches_may(client->server, client->session, hoard, record->hash, record->token)) {
		refuse(ret, FAULT_LATE, "token", "the right to compute it has passed on");
		return 0;
	}
	if (cache_is_full(hoard->cache, publish.size))
		lanes_drain(client->server);
	r = cache_publish(hoard->cache, &publish, &object);
	if (r == CACHE_E_INDEX) {
		if (hoard_index_comes(hoard))
			return ERRAND_JOB;
		publish.crowds = true;
		r = cache_publish(hoard->cache, &publish, &object);
	}
	answer_object(ret, &object);
	if (!r && publish.expiry)
		hoard_expires(hoard, publish.expiry);
	if (!r && object.sealed && !mutant(own_extent_leased)) {
		hoard_seal(hoard, publish.offset);
		ret->cost = ERRAND_COSTLY;
	}
	if (!r)
		fetches_settled(client->server, hoard->slot, publish.hash, object.generation);
	return settle(hoard, r, now, ret);
}

/* Where its header says when it expires; whoever has punched it has spoiled it already. */
static void store_expiry(struct hoard *hoard, const struct cache_object *object,
			 uint64_t expiry)
{
	struct object_header *header = hoard_header(hoard, object);

	if (header)
		guard_store64(&header->expiry, expiry);
}

static int touch(struct hoard *hoard, const struct lane_record *record, uint64_t now,
		 struct errand_answer *ret)
{
	uint32_t how = record->kind >> 8 & 0xff;
	struct cache_object object = {};
	int r;

	if (how > LANE_USE) {
		refuse(ret, FAULT_INVALID, "how",
		       "how: 0 expire then, 1 if at all, 2 as it did");
		return 0;
	}
	if (how == LANE_RENEW && !cache_find(hoard->cache, record->hash, &object) &&
	    !object.expires)
		how = LANE_USE;
	if (how == LANE_USE)
		r = cache_use(hoard->cache, record->hash, now, &object);
	else
		r = cache_touch(hoard->cache, record->hash, record->expiry, now, &object);
	if (!r && how != LANE_USE)
		store_expiry(hoard, &object, record->expiry);
	if (!r && how != LANE_USE && record->expiry)
		hoard_expires(hoard, record->expiry);
	answer_object(ret, &object);
	return settle(hoard, r, now, ret);
}

/* It counts, too, as a change to what is just being computed. */
static int delete (struct client *client, uint32_t lane, struct hoard *hoard,
		   const struct lane_record *record, uint64_t now, struct errand_answer *ret)
{
	struct cache_object object;
	bool intended = false;
	int r;

	if (!cache_find(hoard->cache, record->hash, &object) &&
	    (!record->generation || record->generation == object.generation))
		intended = intend(client, lane,
				  (struct intent){.kind = LANE_DELETE,
						  .cache = hoard->slot,
						  .hash = record->hash,
						  .offset = object.offset});
	r = cache_delete(hoard->cache, record->hash, record->generation, now);
	if (r && intended)
		core_intent_drop(hoard->server->core);
	if (!r || (r == CACHE_E_ABSENT && !record->generation))
		fetches_settled(hoard->server, hoard->slot, record->hash, 0);
	return settle(hoard, r, now, ret);
}

/* Is it memory of this cache? The session may have others open. */
static bool is_own(const struct hoard *hoard, uint64_t offset)
{
	struct extent_place place;

	return core_extent_at(hoard->server->core, hoard->space, offset, &place) &&
	       (place.cache == hoard->slot || mutant(lane_seals_others));
}

static void seal(struct client *client, uint32_t lane, struct hoard *hoard,
		 const struct lane_record *record, struct errand_answer *ret)
{
	bool own = !(record->offset >> OFFSET_BITS) && record->generation <= TAG_MASK &&
		   is_own(hoard, record->offset);
	struct core_fault fault = {};

	ret->cost = ERRAND_COSTLY;
	if (own)
		intend(client, lane,
		       (struct intent){.kind = LANE_SEAL,
				       .cache = hoard->slot,
				       .offset = record->offset,
				       .tag = record->generation});
	if (!own || core_cache_seal(client->server->core, client->session, hoard->space,
				    record->offset, record->generation, &fault))
		refuse(ret, FAULT_REFERENCE, "segment", "no segment that this session fills");
	else
		hoard_sealed(client->server, hoard->slot, client->session, record->offset);
	server_apply(client->server);
}

/* What is not there at once is not waited for: that is the method's; so is what takes long to find. */
static void lease(struct client *client, uint32_t lane, const struct hoard *hoard,
		  const struct lane_record *record, struct errand_answer *ret)
{
	const struct cache_lease wanted = {
		.kind = EXTENT_OBJECT, .size = record->size, .caller = record->generation};
	struct server *server = client->server;
	struct core_fault fault = {};
	struct extent_info extent;
	struct plan *plan = NULL;
	int r = CORE_E_MEMORY;

	ret->cost = ERRAND_COSTLY;
	intend(client, lane,
	       (struct intent){.kind = LANE_LEASE,
			       .cache = hoard->slot,
			       .tag = core_cache_tag(server->core, hoard->slot)});
	if (record->size <= LEASE_MOST && !squeeze_is_over(hoard, record->size))
		r = core_cache_lease(server->core, client->session, hoard->slot, &wanted,
				     &extent, &plan, &fault);
	if (plan) {
		plan_abort(server->core, plan);
		r = CORE_E_MEMORY;
	}
	server_apply(server);
	if (!r)
		r = hoard_lent(server, client->session, hoard->slot, &extent);
	if (r) {
		refuse(ret, FAULT_MEMORY, "lease", "there is no such memory right now");
		return;
	}
	ret->offset = extent.offset;
	ret->generation = extent.tag;
}

/* Its object lies where it says, so it was published. The rest of what that brings is done again. */
static bool was_published(struct client *client, struct hoard *hoard,
			  const struct lane_record *record, struct errand_answer *ret)
{
	struct cache_object object;

	if (cache_find(hoard->cache, record->hash, &object) ||
	    object.offset != record->offset || object.generation != record->born)
		return false;
	answer_object(ret, &object);
	hoard_seal_own(hoard, record->offset);
	fetches_settled(client->server, hoard->slot, record->hash, object.generation);
	return true;
}

static bool was_sealed(const struct client *client, struct hoard *hoard,
		       const struct intent *intent)
{
	struct extent_place place;

	return !core_extent_at(client->server->core, hoard->space, intent->offset, &place) ||
	       place.tag != intent->tag || !place.session;
}

static bool was_intended(struct client *client, struct hoard *hoard,
			 const struct intent *intent, struct errand_answer *ret)
{
	struct server *server = client->server;
	struct cache_object object;
	struct extent_info extent;

	switch (intent->kind) {
	case LANE_DELETE:
		if (!cache_find(hoard->cache, intent->hash, &object) &&
		    object.offset == intent->offset)
			return false;
		fetches_settled(server, hoard->slot, intent->hash, 0);
		return true;
	case LANE_LEASE:
		if (!core_cache_leased(server->core, client->session, hoard->slot, intent->tag,
				       &extent))
			return false;
		ret->offset = extent.offset;
		ret->generation = extent.tag;
		return true;
	case LANE_SEAL:
		return was_sealed(client, hoard, intent);
	default:
		return false;
	}
}

bool errand_was_done(struct client *client, uint32_t lane, const struct lane_record *record,
		     struct errand_answer *ret)
{
	struct hoard *hoard = hoard_at(client->server, record->cache);
	struct intent intent;

	*ret = (struct errand_answer){};
	if (!hoard)
		return false;
	if ((record->kind & 0xff) == LANE_PUBLISH)
		return was_published(client, hoard, record, ret);
	return core_intent_view(client->server->core, &intent) &&
	       intent.session == client->session && intent.lane == lane &&
	       intent.cache == record->cache && intent.kind == (record->kind & 0xff) &&
	       was_intended(client, hoard, &intent, ret);
}

int errand_run(struct client *client, uint32_t lane, const struct lane_record *record,
	       uint64_t now, struct errand_answer *ret)
{
	struct server *server = client->server;
	struct hoard *hoard = hoard_at(server, record->cache);
	struct core_fault fault = {};
	int r = CORE_E_NOT_FOUND;
	uint64_t gone;

	*ret = (struct errand_answer){};
	if (mutant(lane_read_twice))
		mutant_moment();
	if (hoard)
		r = core_cache_may_write(server->core, client->session, record->cache, &fault);
	if (r == CORE_E_PERMISSION) {
		refuse(ret, FAULT_PERMISSION, "write", "permission denied: write");
		return 0;
	}
	if (r) {
		refuse(ret, FAULT_NOT_FOUND, "cache", "the session has no such cache open");
		return 0;
	}
	gone = cache_gone(hoard->cache);
	switch (record->kind & 0xff) {
	case LANE_PUBLISH:
		r = publish(client, hoard, record, now, ret);
		break;
	case LANE_DELETE:
		r = delete (client, lane, hoard, record, now, ret);
		break;
	case LANE_TOUCH:
		r = touch(hoard, record, now, ret);
		break;
	case LANE_LEASE:
		lease(client, lane, hoard, record, ret);
		break;
	case LANE_SEAL:
		seal(client, lane, hoard, record, ret);
		break;
	default:
		refuse(ret, FAULT_METHOD, "kind", "no such kind of record");
	}
	ret->cost += cache_gone(hoard->cache) - gone;
	return r;
}
