#include "daemon/core/estate.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/nodes.h"
#include "daemon/core/pins.h"
#include "daemon/core/policy/policy.h"
#include "daemon/core/revoke.h"
#include "daemon/core/state.h"

#define TTL_MAX (((uint64_t)1 << 40) - 1) /* ms: what an object's birth counts in */

uint32_t *estate_count(struct estate *estate, enum extent_kind kind)
{
	return kind == EXTENT_SEGMENT ? &estate->n_segments : &estate->n_objects;
}

/* ---- records ---- */

struct cache_word estate_word(const struct estate *estate)
{
	return (struct cache_word){.space = estate->space->slot,
				   .policy = estate->policy,
				   .removed = estate->removed,
				   .serial = estate->serial};
}

struct cache_record estate_record(const struct estate *estate)
{
	struct cache_record record = {
		.word = cache_word_pack(estate_word(estate)),
		.capacity = estate->capacity,
		.ttl_ms = estate->ttl_ms,
		.token_next = estate->token_next,
		.cleared = estate->cleared,
		.index = estate->index,
	};

	memcpy(record.name, estate->name, sizeof(record.name));
	return record;
}

struct user_word user_word(const struct user *user)
{
	return (struct user_word){.cache = user->cache->slot,
				  .session = user->member->session->slot};
}

/* ---- found by cache and session ---- */

/* Slots, which are the core's to choose. */
static struct user **open_bucket(const struct core *core, uint32_t cache, uint32_t session)
{
	uint64_t mixed = ((uint64_t)cache << 32 | session) * 0x9e3779b97f4a7c15ULL;

	return &core->opens[(mixed >> 32) & (core->n_opens - 1)];
}

static struct user *open_find(const struct core *core, uint32_t cache, uint32_t session)
{
	struct user *user = *open_bucket(core, cache, session);

	while (user && (user->cache->slot != cache || user->member->session->slot != session))
		user = user->next_open;
	return user;
}

/* Its cache and its session have their slots. */
static void user_at_slot(struct core *core, struct user *user, uint32_t slot)
{
	struct user **bucket =
		open_bucket(core, user->cache->slot, user->member->session->slot);

	user->slot = slot;
	user->next_open = *bucket;
	*bucket = user;
}

static void user_unslot(struct core *core, struct user *user)
{
	struct user **at = open_bucket(core, user->cache->slot, user->member->session->slot);

	if (user->slot == SLOT_NONE)
		return;
	while (*at != user)
		at = &(*at)->next_open;
	*at = user->next_open;
	slots_put(&core->slots[RECORD_USER], user->slot);
}

/* ---- in memory, and in the accounts ---- */

static struct estate *estate_new(struct core *core, struct space *space, const char *name)
{
	struct estate *estate = calloc(1, sizeof(*estate));

	if (!estate)
		return NULL;
	estate->space = space;
	estate->slot = SLOT_NONE;
	estate->token_next = 1;
	strcpy(estate->name, name);
	list_init(&estate->extents);
	list_init(&estate->users);
	list_append(&space->caches, &estate->link);
	++space->n_caches;
	core_take(core, space->quota, QUOTA_CACHES, METADATA_CACHE);
	return estate;
}

static struct user *user_new(struct core *core, struct estate *estate, struct member *member)
{
	struct user *user = calloc(1, sizeof(*user));

	if (!user)
		return NULL;
	user->cache = estate;
	user->member = member;
	user->slot = SLOT_NONE;
	list_init(&user->extents);
	list_init(&user->rights);
	list_append(&estate->users, &user->in_cache);
	list_append(&member->users, &user->in_member);
	++estate->n_users;
	core_take(core, member->session->quota, QUOTA_OPENS, METADATA_OPEN);
	return user;
}

static void user_free(struct core *core, struct user *user)
{
	while (!list_empty(&user->rights))
		right_free(core, list_entry(user->rights.next, struct right, in_user));
	pins_forget(user);
	core_give(core, user->member->session->quota, QUOTA_OPENS, METADATA_OPEN);
	--user->cache->n_users;
	list_remove(&user->in_cache);
	list_remove(&user->in_member);
	user_unslot(core, user);
	free(user);
}

void estate_free(struct core *core, struct estate *estate)
{
	struct space *space = estate->space;

	while (!list_empty(&estate->users))
		user_free(core, list_entry(estate->users.next, struct user, in_cache));
	core_keep(core, space->quota, &estate->files, 0, NULL);
	core_give(core, space->quota, QUOTA_CACHES, METADATA_CACHE);
	--space->n_caches;
	list_remove(&estate->link);
	if (estate->slot != SLOT_NONE) {
		core->caches[estate->slot] = NULL;
		slots_put(&core->slots[RECORD_CACHE], estate->slot);
	}
	free(estate);
}

struct estate *estate_named(const struct space *space, const char *name)
{
	list_for_each(at, &space->caches)
	{
		struct estate *estate = list_entry(at, struct estate, link);

		if (!estate->removed && !strcmp(estate->name, name))
			return estate;
	}
	return NULL;
}

struct user *user_find(const struct core *core, const struct estate *estate,
		       const struct member *member)
{
	return estate->space == member->space
		       ? open_find(core, estate->slot, member->session->slot)
		       : NULL;
}

static struct estate *estate_at(const struct core *core, uint32_t slot)
{
	return slot < core->slots[RECORD_CACHE].total ? core->caches[slot] : NULL;
}

/* The session's use of a cache. NULL: it has it not open. */
struct user *user_at(const struct core *core, uint32_t session, uint32_t cache)
{
	struct user *user = open_find(core, cache, session);

	if (!user || user->closing || user->member->closing || user->member->session->ending ||
	    !core_space_at(core, user->cache->space->slot))
		return NULL;
	return user;
}

static int may_write(const struct member *member, struct core_fault *fault)
{
	int r = revoked(member, fault);

	if (r)
		return r;
	if (!member->read_only || mutant(cache_readers_write))
		return 0;
	return FAULT(fault, CORE_E_PERMISSION, .which = "write");
}

int user_to_write(const struct core *core, uint32_t session, uint32_t cache, struct user **ret,
		  struct core_fault *fault)
{
	*ret = user_at(core, session, cache);
	return *ret ? may_write((*ret)->member, fault)
		    : FAULT(fault, CORE_E_NOT_FOUND, .which = "cache");
}

/* ---- how they go ---- */

void estate_release(struct core *core, struct estate *estate)
{
	assert(list_empty(&estate->users) && !estate->bytes);
	record_clear(core->records, RECORD_CACHE, estate->slot);
	++core->caches_gone;
	estate_free(core, estate);
}

/* Its own extents go back, one a step. CORE_MORE, CORE_E_BUSY. */
static int estate_drain(struct core *core, struct estate *estate, uint32_t *steps)
{
	while (!list_empty(&estate->extents)) {
		const struct extent *extent =
			list_entry(estate->extents.next, struct extent, in_cache);

		if (extent->pending)
			return CORE_E_BUSY;
		if (!*steps)
			return CORE_MORE;
		--*steps;
		extent_release(core, extent_slot(core, extent));
	}
	return 0;
}

int user_leave(struct core *core, struct user *user, uint32_t *steps, const struct asker *asker)
{
	user->closing = true;
	if (mutant(user_before_extents))
		record_clear(core->records, RECORD_USER, user->slot);
	while (!list_empty(&user->extents)) {
		const struct extent *extent =
			list_entry(user->extents.next, struct extent, in_cache);

		if (extent->pending)
			return CORE_E_BUSY;
		if (!*steps)
			return CORE_MORE;
		--*steps;
		extent_adopt(core, extent_slot(core, extent));
	}
	while (!list_empty(&user->rights)) {
		if (!*steps)
			return CORE_MORE;
		--*steps;
		right_release(core, list_entry(user->rights.next, struct right, in_user));
	}
	if (!*steps)
		return CORE_MORE;
	--*steps;
	result_promise(core, asker,
		       (struct result_promise){.kind = RECORD_USER,
					       .slot = user->slot,
					       .word = RECORD_WORD(user_record, word)});
	record_clear(core->records, RECORD_USER, user->slot);
	result_keep(core, asker);
	user_free(core, user);
	return 0;
}

/* The first that is removed, and nobody's. */
static struct estate *estate_vacant(const struct core *core)
{
	for (uint32_t i = core_cache_next(core, 0); i != UINT32_MAX;
	     i = core_cache_next(core, i + 1))
		if (core->caches[i]->removed && !core->caches[i]->n_users)
			return core->caches[i];
	return NULL;
}

int core_cache_reap(struct core *core)
{
	uint32_t steps = STEP_EXTENTS;
	struct estate *estate;
	int r;

	while ((estate = estate_vacant(core))) {
		if (mutant(cache_before_extents))
			record_clear(core->records, RECORD_CACHE, estate->slot);
		r = estate_drain(core, estate, &steps);
		if (r)
			return r;
		if (!steps)
			return CORE_MORE;
		--steps;
		estate_release(core, estate);
	}
	return 0;
}

/* ---- verbs ---- */

static int capacity_check(const struct space *space, uint64_t capacity,
			  struct core_fault *fault)
{
	if (capacity && capacity <= space->budget.limit)
		return 0;
	return FAULT(fault, CORE_E_INVALID, .which = "capacity", .requested = capacity,
		     .max = space->budget.limit);
}

static int policy_check(const char *name, uint32_t *ret, struct core_fault *fault)
{
	return policy_named(name, ret) ? 0 : FAULT(fault, CORE_E_INVALID, .which = "policy");
}

static int ttl_check(uint64_t ttl_ms, struct core_fault *fault)
{
	return ttl_ms <= TTL_MAX ? 0
				 : FAULT(fault, CORE_E_INVALID, .which = "ttl",
					 .requested = ttl_ms, .max = TTL_MAX);
}

/* May the member have one more open? */
static int user_may(struct core *core, const struct member *member, struct core_fault *fault)
{
	return core_may(core, member->session->quota, QUOTA_OPENS, METADATA_OPEN, fault);
}

static void user_store(struct core *core, struct user *user)
{
	user_at_slot(core, user, slots_take(&core->slots[RECORD_USER]));
	record_user_put(core->records, user->slot, user_word(user));
}

/* With its first user, whose record comes first: so one store makes both. */
static void estate_store(struct core *core, struct estate *estate, struct user *user,
			 const struct asker *asker)
{
	struct cache_record record;

	estate->slot = slots_take(&core->slots[RECORD_CACHE]);
	estate->serial = core_serial_take(core);
	core->caches[estate->slot] = estate;
	record = estate_record(estate);
	result_promise(core, asker,
		       (struct result_promise){.kind = RECORD_CACHE,
					       .slot = estate->slot,
					       .word = RECORD_WORD(cache_record, word),
					       .value = record.word,
					       .answer = {estate->slot}});
	user_store(core, user);
	record_cache_put(core->records, estate->slot, &record);
	result_keep(core, asker);
}

static int cache_join(struct core *core, struct estate *estate, struct member *member,
		      const struct asker *asker, struct core_fault *fault)
{
	struct user *user = user_find(core, estate, member);
	int r;

	if (user)
		return user->closing ? FAULT(fault, CORE_E_BUSY, .which = "plan") : 0;
	r = user_may(core, member, fault);
	if (r)
		return r;
	user = user_new(core, estate, member);
	if (!user)
		return -ENOMEM;
	user_at_slot(core, user, slots_take(&core->slots[RECORD_USER]));
	result_promise(core, asker,
		       (struct result_promise){.kind = RECORD_USER,
					       .slot = user->slot,
					       .word = RECORD_WORD(user_record, word),
					       .value = user_word_pack(user_word(user)),
					       .answer = {estate->slot}});
	record_user_put(core->records, user->slot, user_word(user));
	result_keep(core, asker);
	return 0;
}

static int cache_make(struct core *core, struct member *member,
		      const struct cache_request *request, const struct asker *asker,
		      struct estate **ret, struct core_fault *fault)
{
	struct space *space = member->space;
	uint64_t capacity = request->capacity ? request->capacity : space->budget.limit / 2;
	struct estate *estate;
	struct user *user;
	uint32_t policy;
	int r;

	r = may_write(member, fault);
	if (!r)
		r = capacity_check(space, capacity, fault);
	if (!r)
		r = policy_check(request->policy, &policy, fault);
	if (!r)
		r = ttl_check(request->ttl_ms, fault);
	if (!r)
		r = user_may(core, member, fault);
	if (!r)
		r = core_may(core, space->quota, QUOTA_CACHES, METADATA_CACHE, fault);
	if (r)
		return r;
	estate = estate_new(core, space, request->name);
	user = estate ? user_new(core, estate, member) : NULL;
	if (!user) {
		if (estate)
			estate_free(core, estate);
		return -ENOMEM;
	}
	estate->policy = policy;
	estate->capacity = capacity;
	estate->ttl_ms = request->ttl_ms;
	estate_store(core, estate, user, asker);
	*ret = estate;
	return 0;
}

int core_cache_open(struct core *core, uint32_t session, uint32_t space,
		    const struct cache_request *request, uint32_t *ret,
		    struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
	const struct asker asker = asker_take(core);
	struct estate *estate;
	int r;

	if (!member)
		return CORE_E_NOT_FOUND;
	r = revoked(member, fault);
	if (r)
		return r;
	if (!space_name_valid(request->name))
		return FAULT(fault, CORE_E_INVALID, .which = "name");
	estate = estate_named(member->space, request->name);
	if (estate && request->exclusive)
		return FAULT(fault, CORE_E_EXISTS, .which = "cache");
	if (!estate && request->existing)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "cache");
	if (estate)
		r = cache_join(core, estate, member, &asker, fault);
	else
		r = cache_make(core, member, request, &asker, &estate, fault);
	if (r)
		return r;
	*ret = estate->slot;
	return 0;
}

int core_cache_close(struct core *core, uint32_t session, uint32_t space, uint32_t cache)
{
	const struct estate *estate = estate_at(core, cache);
	struct core_fault fault;
	struct member *member = core_member_at(core, session, space, &fault);
	struct user *user = estate && member ? user_find(core, estate, member) : NULL;
	const struct asker asker = asker_take(core);
	uint32_t steps = STEP_EXTENTS;

	return user ? user_leave(core, user, &steps, &asker) : CORE_E_NOT_FOUND;
}

/* For who changes or removes it. */
static int cache_reach(const struct core *core, uint32_t session, uint32_t space,
		       const char *name, struct estate **ret, struct core_fault *fault)
{
	const struct member *member = core_member_at(core, session, space, fault);

	if (!member)
		return CORE_E_NOT_FOUND;
	if (!space_name_valid(name))
		return FAULT(fault, CORE_E_INVALID, .which = "name");
	*ret = estate_named(member->space, name);
	if (!*ret)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "cache");
	return may_write(member, fault);
}

int core_cache_change(struct core *core, uint32_t session, uint32_t space, const char *name,
		      const struct cache_change *change, struct core_fault *fault)
{
	struct estate *estate;
	uint32_t policy = 0;
	int r = cache_reach(core, session, space, name, &estate, fault);

	if (!r && change->set & CACHE_SET_CAPACITY)
		r = capacity_check(estate->space, change->capacity, fault);
	if (!r && change->set & CACHE_SET_POLICY)
		r = policy_check(change->policy, &policy, fault);
	if (!r && change->set & CACHE_SET_TTL)
		r = ttl_check(change->ttl_ms, fault);
	if (r)
		return r;
	if (change->set & CACHE_SET_POLICY && policy != estate->policy) {
		estate->policy = policy;
		record_cache_word(core->records, estate->slot, estate_word(estate));
	}
	if (change->set & CACHE_SET_CAPACITY && change->capacity != estate->capacity) {
		estate->capacity = change->capacity;
		record_cache_capacity(core->records, estate->slot, estate->capacity);
	}
	if (change->set & CACHE_SET_TTL && change->ttl_ms != estate->ttl_ms) {
		estate->ttl_ms = change->ttl_ms;
		record_cache_ttl(core->records, estate->slot, estate->ttl_ms);
	}
	return 0;
}

int core_cache_remove(struct core *core, uint32_t session, uint32_t space, const char *name,
		      bool force, struct core_fault *fault)
{
	const struct asker asker = asker_take(core);
	struct estate *estate;
	int r = cache_reach(core, session, space, name, &estate, fault);

	if (r)
		return r;
	if (estate->n_users && !force)
		return FAULT(fault, CORE_E_IN_USE, .which = "sessions",
			     .available = estate->n_users);
	estate->removed = true;
	result_promise(core, &asker,
		       (struct result_promise){.kind = RECORD_CACHE,
					       .slot = estate->slot,
					       .word = RECORD_WORD(cache_record, word),
					       .value = cache_word_pack(estate_word(estate))});
	record_cache_word(core->records, estate->slot, estate_word(estate));
	result_keep(core, &asker);
	return 0;
}

/* ---- memory ---- */

int core_cache_lease(struct core *core, uint32_t session, uint32_t cache,
		     const struct cache_lease *lease, struct extent_info *ret,
		     struct plan **ret_plan, struct core_fault *fault)
{
	struct estate *estate = estate_at(core, cache);
	const struct asker asker = asker_take(core);
	struct user *user = NULL;
	struct node_order order;
	uint64_t max, bytes;
	struct space *space;
	int r;

	if (!estate)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "cache");
	r = session ? user_to_write(core, session, cache, &user, fault) : 0;
	if (r)
		return r;
	space = estate->space;
	if (lease->kind != EXTENT_SEGMENT && lease->kind != EXTENT_OBJECT)
		return FAULT(fault, CORE_E_INVALID, .which = "kind");
	if (!lease->size)
		return FAULT(fault, CORE_E_INVALID, .which = "size");
	node_order(core, space, space->numa, lease->caller, &order);
	max = space_extent_max(core, space, order.all);
	if (lease->kind == EXTENT_SEGMENT)
		max = u64_min(max, CHUNK_BYTES);
	node_order_avoid(&order, lease->avoid);
	if (!u64_align_up(lease->size, SLICE_BYTES, &bytes) || bytes > max)
		return FAULT(fault, CORE_E_TOO_LARGE, .requested = lease->size, .max = max);
	return extent_for_cache(core, estate, user, lease->kind, bytes, &order, &asker, ret,
				ret_plan, fault);
}

int core_cache_seal(struct core *core, uint32_t session, uint32_t space, uint64_t offset,
		    uint32_t tag, struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
	const struct asker asker = asker_take(core);
	const struct extent *extent;
	struct extent_owner owner;
	const char *wrong;
	uint32_t slot;

	if (!member)
		return CORE_E_NOT_FOUND;
	wrong = extent_find(core, member->space, offset, tag, &slot);
	extent = wrong ? NULL : &core->extents[slot];
	if (extent && extent->kind == EXTENT_OBJECT && !extent->member)
		return 0;
	if (extent && (!extent->cache || extent->member != member))
		wrong = "not-owner";
	if (wrong) {
		++member->space->counts.refused;
		return FAULT(fault, CORE_E_REFERENCE, .which = wrong);
	}
	owner = extent_owner(extent);
	owner.holder = 0;
	result_promise(core, &asker,
		       (struct result_promise){.kind = RECORD_EXTENT,
					       .slot = slot,
					       .word = RECORD_WORD(extent_record, owner),
					       .value = extent_owner_pack(owner)});
	extent_adopt(core, slot);
	result_keep(core, &asker);
	return 0;
}

/* Slices of one sealed extent of the cache, `offset` and `size` being theirs. */
static const char *extent_of(const struct core *core, const struct estate *estate,
			     uint64_t offset, uint64_t size, uint32_t *ret)
{
	uint64_t first = offset_position(offset) >> SLICE_SHIFT, count = size >> SLICE_SHIFT;
	const struct window *window =
		offset >> OFFSET_BITS ? NULL
				      : space_window_at(estate->space, offset_window(offset));
	const struct extent *extent;

	if (!window || !count || (offset | size) & (SLICE_BYTES - 1) ||
	    first >= window->slices || count > window->slices - first)
		return "foreign";
	if (slice_state(window->words[first]) != SLICE_USED)
		return "foreign";
	*ret = slice_value(window->words[first]);
	extent = &core->extents[*ret];
	if (extent->cache != estate || count > extent_stretch(extent, (uint32_t)first))
		return "foreign";
	if (!extent->slices && count != extent->count)
		return "foreign";
	return extent->member ? "leased" : NULL;
}

int core_cache_return(struct core *core, uint32_t cache, uint64_t offset, uint64_t size,
		      struct core_fault *fault)
{
	const struct estate *estate = estate_at(core, cache);
	const struct extent *extent;
	const char *wrong;
	uint32_t slot, slices;

	if (!estate)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "cache");
	wrong = extent_of(core, estate, offset, size, &slot);
	if (wrong)
		return FAULT(fault, CORE_E_REFERENCE, .which = wrong);
	extent = &core->extents[slot];
	if (size < extent_bytes(extent)) {
		slices = (uint32_t)(((uint64_t)1 << (size >> SLICE_SHIFT)) - 1)
			 << (offset_position(offset) >> SLICE_SHIFT) % CHUNK_SLICES;
		return extent_reduce(core, slot, slices);
	}
	++estate->space->counts.frees;
	extent_release(core, slot);
	return 0;
}

/* ---- looking ---- */

int core_cache_files(struct core *core, uint32_t cache, uint64_t bytes,
		     struct core_fault *fault)
{
	struct estate *estate = estate_at(core, cache);

	return estate ? core_keep(core, estate->space->quota, &estate->files, bytes, fault) : 0;
}

void core_cache_cleared(struct core *core, uint32_t cache)
{
	struct estate *estate = estate_at(core, cache);

	if (!estate || estate->cleared == estate->token_next)
		return;
	estate->cleared = estate->token_next;
	record_cache_cleared(core->records, cache, estate->cleared);
}

void core_cache_index(struct core *core, uint32_t cache, uint64_t generation)
{
	struct estate *estate = estate_at(core, cache);

	if (!estate)
		return;
	estate->index = generation;
	record_cache_index(core->records, cache, generation);
}

uint64_t core_caches_gone(const struct core *core)
{
	return core->caches_gone;
}

bool core_cache_view(const struct core *core, uint32_t cache, struct estate_view *ret)
{
	const struct estate *estate = estate_at(core, cache);

	if (!estate)
		return false;
	*ret = (struct estate_view){
		.cache = cache,
		.space = estate->space->slot,
		.serial = estate->serial,
		.name = estate->name,
		.policy = estate->policy,
		.removed = estate->removed,
		.capacity = estate->capacity,
		.ttl_ms = estate->ttl_ms,
		.bytes = estate->bytes,
		.token_next = estate->token_next,
		.cleared = estate->cleared,
		.index = estate->index,
		.segments = estate->n_segments,
		.objects = estate->n_objects,
		.sessions = estate->n_users,
	};
	return true;
}

uint32_t core_cache_named(const struct core *core, uint32_t slot, const char *name)
{
	const struct space *space = core_space_at(core, slot);
	const struct estate *estate = space ? estate_named(space, name) : NULL;

	return estate ? estate->slot : 0;
}

uint32_t core_cache_next(const struct core *core, uint32_t cache)
{
	const struct slots *slots = &core->slots[RECORD_CACHE];

	for (cache = slots_next(slots, cache); cache != SLOT_NONE;
	     cache = slots_next(slots, cache + 1))
		if (core->caches[cache])
			return cache;
	return UINT32_MAX;
}

bool core_cache_has(const struct core *core, uint32_t cache, uint32_t session)
{
	return user_at(core, session, cache);
}

int core_cache_may_write(const struct core *core, uint32_t session, uint32_t cache,
			 struct core_fault *fault)
{
	struct user *user;

	return user_to_write(core, session, cache, &user, fault);
}

uint32_t core_cache_user(const struct core *core, uint32_t cache, uint32_t session)
{
	const struct estate *estate = estate_at(core, cache);
	uint32_t least = UINT32_MAX;

	if (!estate)
		return least;
	list_for_each(at, &estate->users)
	{
		const struct user *user = list_entry(at, struct user, in_cache);
		uint32_t slot = user->member->session->slot;

		if (slot >= session && slot < least)
			least = slot;
	}
	return least;
}

bool core_cache_run(const struct core *core, uint64_t *at, struct cache_run *ret)
{
	const struct slots *slots = &core->slots[RECORD_EXTENT];
	uint32_t slot = slots_next(slots, (uint32_t)(*at >> 32)), from = (uint32_t)*at;

	for (; slot != SLOT_NONE; slot = slots_next(slots, slot + 1), from = 0) {
		const struct extent *extent = &core->extents[slot];
		uint32_t first = extent->first + from, count = 0;

		if (!extent->cache || extent->pending)
			continue;
		while (first < extent->first + extent->count &&
		       !(count = extent_stretch(extent, first)))
			++first;
		if (!count)
			continue;
		*ret = (struct cache_run){
			.offset = offset_make(extent->window->place.number,
					      (uint64_t)first << SLICE_SHIFT),
			.size = (uint64_t)count << SLICE_SHIFT,
			.cache = extent->cache->slot,
			.session = extent->member ? extent->member->session->slot : 0,
			.object = extent->kind == EXTENT_OBJECT,
		};
		*at = (uint64_t)slot << 32 | (first + count - extent->first);
		return true;
	}
	return false;
}

/* ---- from records ---- */

bool estate_enter(struct core *core, uint32_t slot, const struct cache_record *record,
		  struct estate **ret)
{
	struct cache_word word = cache_word_unpack(record->word);
	struct space *space = core_space_at(core, word.space);
	struct cache_record again;
	struct estate *estate;

	*ret = NULL;
	if (!slot || cache_word_pack(word) != record->word || !space ||
	    !serial_is_given(core, word.serial) || !policy_at(word.policy) ||
	    !space_name_valid(record->name) || !record->capacity ||
	    record->capacity > space->ceiling || record->ttl_ms > TTL_MAX ||
	    !record->token_next || record->cleared > record->token_next ||
	    (!word.removed && estate_named(space, record->name)))
		return false;
	estate = estate_new(core, space, record->name);
	if (!estate)
		return true;
	estate->slot = slot;
	estate->serial = word.serial;
	estate->policy = word.policy;
	estate->removed = word.removed;
	estate->capacity = record->capacity;
	estate->ttl_ms = record->ttl_ms;
	estate->token_next = record->token_next;
	estate->cleared = record->cleared;
	estate->index = record->index;
	slots_claim(&core->slots[RECORD_CACHE], slot);
	core->caches[slot] = estate;
	*ret = estate;
	again = estate_record(estate);
	return !memcmp(&again, record, sizeof(again)); /* nothing behind the name, say */
}

struct user *user_enter(struct core *core, struct estate *estate, struct member *member,
			uint32_t slot)
{
	struct user *user = user_new(core, estate, member);

	if (!user)
		return NULL;
	slots_claim(&core->slots[RECORD_USER], slot);
	user_at_slot(core, user, slot);
	return user;
}
