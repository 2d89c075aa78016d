#include "daemon/core/extent.h"

#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "daemon/core/choice.h"
#include "daemon/core/nodes.h"
#include "daemon/core/revoke.h"
#include "daemon/core/state.h"

#define ALIGN_MAX ((uint64_t)1 << 30)

uint32_t extent_slot(const struct core *core, const struct extent *extent)
{
	return (uint32_t)(extent - core->extents);
}

struct quota *extent_quota(const struct extent *extent)
{
	return extent->member ? extent->member->session->quota : extent->window->space->quota;
}

static bool names_session(const struct extent *extent)
{
	return extent->member && extent->kind != EXTENT_SHARED;
}

/* It outlives its session, and the slice map has to say so. */
static bool owes_adoption(const struct extent *extent)
{
	return extent->member && (extent->kind == EXTENT_BLOCKS || extent->cache);
}

/* Runs of ones. */
static uint32_t runs_of(uint32_t slices)
{
	return (uint32_t)__builtin_popcount(slices & ~(slices << 1));
}

/* Changes that clear it. */
static uint32_t owes_end(const struct extent *extent)
{
	return extent->slices ? runs_of(extent->slices) : 1;
}

uint32_t extent_owes(const struct extent *extent)
{
	return owes_end(extent) + extent->pending + owes_adoption(extent);
}

static uint32_t slices_of(const struct extent *extent)
{
	return extent->slices ? (uint32_t)__builtin_popcount(extent->slices) : extent->count;
}

uint64_t extent_bytes(const struct extent *extent)
{
	return (uint64_t)slices_of(extent) << SLICE_SHIFT;
}

/* `count` slices of a chunk, from that one on. */
static uint32_t chunk_slices(uint32_t first, uint32_t count)
{
	return (uint32_t)(((uint64_t)1 << count) - 1) << first % CHUNK_SLICES;
}

uint32_t extent_stretch(const struct extent *extent, uint32_t slice)
{
	uint64_t from = (uint64_t)extent->slices >> slice % CHUNK_SLICES;

	if (!extent->slices)
		return extent->first + extent->count - slice;
	return (uint32_t)__builtin_ctzll(~from);
}

struct extent_owner extent_owner(const struct extent *extent)
{
	return (struct extent_owner){
		.holder = extent->member ? extent->member->session->slot + 1 : 0,
		.tag = extent->tag,
		.kind = extent->kind,
		.worded = extent->worded,
		.cache = extent->cache ? extent->cache->slot : 0,
	};
}

struct extent_run extent_run(const struct extent *extent)
{
	return (struct extent_run){
		.window = extent->window->slot,
		.first = extent->first,
		.count = extent->count,
		.slices = extent->slices,
	};
}

bool extent_has_words(const struct extent *extent)
{
	return extent->kind != EXTENT_PRIVATE && !extent->cache;
}

bool extent_may_be_empty(const struct extent *extent)
{
	return extent->kind == EXTENT_BLOCKS || extent->worded;
}

static struct core_node *extent_node(const struct extent *extent)
{
	const struct window *window = extent->window;

	return &window->space->rung->nodes[window->place.info.node];
}

static void slices_say(struct core *core, const struct extent *extent, uint32_t first,
		       uint32_t count, uint64_t word)
{
	changes_put(&core->changes, &(struct change){
					    .kind = CHANGE_SLICES,
					    .space = extent->window->space->slot,
					    .window = extent->window->slot,
					    .first = first,
					    .count = count,
					    .word = word,
				    });
}

uint64_t extent_slice_word(const struct extent *extent, bool head)
{
	struct slice_info info = {.kind = extent->kind, .tag = extent->tag, .head = head};

	if (head) {
		info.count = extent->count;
		info.session = names_session(extent) ? extent->member->session->slot : 0;
	}
	return slice_word_pack(info);
}

static void extent_say(struct core *core, const struct extent *extent)
{
	slices_say(core, extent, extent->first, extent->count, extent_slice_word(extent, true));
}

static uint64_t extent_offset(const struct extent *extent)
{
	return offset_make(extent->window->place.number,
			   (uint64_t)extent->first << SLICE_SHIFT);
}

static void promise_made(struct core *core, uint32_t slot, const struct asker *asker)
{
	const struct extent *extent = &core->extents[slot];

	result_promise(
		core, asker,
		(struct result_promise){
			.kind = RECORD_EXTENT,
			.slot = slot,
			.word = RECORD_WORD(extent_record, run),
			.value = extent_run_pack(extent_run(extent)),
			.answer = {extent_offset(extent) | (uint64_t)extent->tag << OFFSET_BITS,
				   extent_bytes(extent)},
		});
}

void extent_store(struct core *core, uint32_t slot, const struct asker *asker)
{
	struct extent *extent = &core->extents[slot];
	struct session *session = extent->member ? extent->member->session : NULL;
	struct space *space = extent->window->space;

	window_use(extent->window, extent->first, extent->count, slot);
	if (!mutant(result_late))
		promise_made(core, slot, asker);
	record_extent_put(core->records, slot, extent_owner(extent), extent_run(extent));
	if (mutant(result_late))
		promise_made(core, slot, asker);
	result_keep(core, asker);
	extent_say(core, extent);
	extent->pending = false;
	++space->n_extents;
	++space->counts.allocs;
	charge_grant(&extent->charge);
	if (!session)
		return;
	++session->allocs;
	session->promised -= extent->charge.bytes;
	session->peak = u64_max(session->peak, session->used - session->promised);
}

/* So many bytes less of it, in all sums but its charge. */
static void extent_discount(struct core *core, const struct extent *extent, uint64_t bytes)
{
	struct space *space = extent->window->space;

	if (extent->member)
		extent->member->session->used -= bytes;
	if (extent->cache)
		extent->cache->bytes -= bytes;
	extent_node(extent)->used -= bytes;
	space->used_on[extent->window->place.info.node] -= bytes;
}

/* Out of the list that it is in, of its cache or of the space's own. */
static void extent_unlist(struct extent *extent)
{
	struct space *space = extent->window->space;

	if (!extent->member)
		--space->n_adopted;
	list_remove(&extent->link);
	if (!extent->cache)
		return;
	if (!extent->member)
		--space->n_sealed;
	--*estate_count(extent->cache, extent->kind);
	list_remove(&extent->in_cache);
}

void extent_release(struct core *core, uint32_t slot)
{
	struct extent *extent = &core->extents[slot];
	struct space *space = extent->window->space;

	if (extent->pending) {
		changes_forgive(&core->changes, extent_owes(extent));
		if (extent->member)
			extent->member->session->promised -= extent->charge.bytes;
	} else {
		record_clear(core->records, RECORD_EXTENT, slot);
		for_each_stretch(extent, at, n) slices_say(core, extent, at, n, 0);
		changes_forgive(&core->changes, owes_adoption(extent));
		--space->n_extents;
	}
	extent_discount(core, extent, extent->charge.bytes);
	for_each_stretch(extent, at, n) window_give(extent->window, at, n);
	if (!mutant(extent_keeps_charge))
		charge_release(&extent->charge);
	core_give(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	extent_unlist(extent);
	slots_put(&core->slots[RECORD_EXTENT], slot);
	*extent = (struct extent){0};
}

int extent_reduce(struct core *core, uint32_t slot, uint32_t slices)
{
	struct extent *extent = &core->extents[slot];
	struct extent less = *extent;
	struct extent_run run = run_of_slices(
		extent->window->slot, extent->first / CHUNK_SLICES, extent->slices & ~slices);
	uint64_t bytes;
	int r;

	assert(!extent->pending && !extent->member && extent->slices & ~slices);
	less.slices = extent->slices & slices;
	/* What is said now, and at the end, by more words than it was to be. */
	r = changes_owe(&core->changes,
			runs_of(less.slices) + runs_of(run.slices) - owes_end(extent));
	if (r)
		return r;
	bytes = extent_bytes(&less);
	extent->first = run.first;
	extent->count = run.count;
	extent->slices = run.slices;
	if (!mutant(slices_unrecorded))
		record_extent_run(core->records, slot, run);
	for_each_stretch(&less, at, n)
	{
		slices_say(core, extent, at, n, 0);
		window_give(extent->window, at, n);
	}
	extent_discount(core, extent, bytes);
	charge_reduce(&extent->charge, bytes);
	return 0;
}

void extent_adopt(struct core *core, uint32_t slot)
{
	struct extent *extent = &core->extents[slot];
	struct space *space = extent->window->space;
	struct extent_owner owner = extent_owner(extent);
	bool said = owes_adoption(extent);

	assert(extent->kind != EXTENT_PRIVATE && !extent->pending);
	owner.holder = 0;
	if (!mutant(extent_not_adopted))
		record_extent_owner(core->records, slot, owner);
	extent->member->session->used -= extent->charge.bytes;
	charge_move(&extent->charge, &space->budget);
	core_give(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	extent->member = NULL;
	core_take(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	list_remove(&extent->link);
	list_append(&space->extents, &extent->link);
	++space->n_adopted;
	if (extent->cache) {
		++space->n_sealed;
		list_remove(&extent->in_cache);
		list_append(&extent->cache->extents, &extent->in_cache);
	}
	space->sweep.owed |= extent_may_be_empty(extent) && !mutant(adopted_unswept);
	if (said && !mutant(extent_adopted_unsaid))
		extent_say(core, extent);
}

static uint32_t tag_after(uint32_t tag)
{
	tag = (tag + 1) & TAG_MASK;
	return tag ? tag : 1;
}

/* Stored before the extent that takes it: a tag may be skipped, but never comes back. */
static uint32_t tag_take(struct core *core, struct space *space)
{
	uint32_t tag = space->tag_next;

	if (!mutant(tag_given_again))
		space->tag_next = tag_after(tag);
	record_space_tag(core->records, space->slot, space->tag_next);
	return tag;
}

static int refuse_memory(const struct core *core, const struct space *space, uint64_t bytes,
			 uint64_t nodes, struct core_fault *fault)
{
	const struct rung *rung = space->rung;

	*fault = (struct core_fault){.which = nodes == rung_nodes(core, rung) ? "region"
									      : "nodes",
				     .requested = bytes,
				     .nodes = nodes,
				     .page_shift = rung->page_shift};
	choice_outlook(core, space, nodes, &fault->available, &fault->largest);
	return CORE_E_MEMORY;
}

/* All of the region in use is out of memory, not out of budget. */
static int refuse_budget(const struct core *core, const struct space *space, uint64_t bytes,
			 uint64_t nodes, const struct budget_refusal *refusal,
			 struct core_fault *fault)
{
	if (refusal->budget == &core->region)
		return refuse_memory(core, space, bytes, nodes, fault);
	return FAULT(fault, CORE_E_BUDGET, .which = refusal->budget->name, .requested = bytes,
		     .remaining = refusal->remaining, .pinned = refusal->budget->pinned);
}

static int request_check(struct core *core, struct member *member,
			 const struct extent_request *request, uint64_t *ret_bytes,
			 struct node_order *ret_order, struct core_fault *fault)
{
	const struct numa *numa = request->numa ? request->numa : &member->space->numa;
	uint64_t max;
	int r;

	if (member->read_only)
		return FAULT(fault, CORE_E_PERMISSION, .which = "write");
	if (!request->size)
		return FAULT(fault, CORE_E_INVALID, .which = "size");
	if (request->align & (request->align - 1) || request->align > ALIGN_MAX)
		return FAULT(fault, CORE_E_INVALID, .which = "align");
	if (request->kind != EXTENT_PRIVATE && request->kind != EXTENT_SHARED &&
	    request->kind != EXTENT_BLOCKS)
		return FAULT(fault, CORE_E_INVALID, .which = "kind");
	r = numa_check(core, *numa, fault);
	if (r)
		return r;
	node_order(core, member->space, *numa, request->caller, ret_order);
	max = space_extent_max(core, member->space, ret_order->all);
	node_order_avoid(ret_order, request->avoid);
	if (!u64_align_up(request->size, SLICE_BYTES, ret_bytes) || *ret_bytes > max)
		return FAULT(fault, CORE_E_TOO_LARGE, .requested = request->size, .max = max);
	return 0;
}

void core_refused(struct core *core, uint32_t session, uint32_t space,
		  enum core_refusal refusal)
{
	struct core_fault fault;
	struct member *member = core_member_at(core, session, space, &fault);
	struct stats_failures *failures;

	if (!member)
		return;
	failures = &member->space->counts.failures;
	++member->session->failed;
	switch (refusal) {
	case REFUSED_MEMORY:
		++failures->memory;
		break;
	case REFUSED_TOO_LARGE:
		++failures->too_large;
		break;
	case REFUSED_SPACE:
		++failures->budget_space;
		break;
	case REFUSED_CLIENT:
		++failures->budget_client;
		break;
	}
}

/* In all sums, and in its lists. `user`: that fills it, if it is a cache's and leased. */
static void extent_count(struct core *core, struct extent *extent, struct user *user)
{
	struct session *session = extent->member ? extent->member->session : NULL;
	struct space *space = extent->window->space;

	core_take(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	extent_node(extent)->used += extent->charge.bytes;
	space->used_on[extent->window->place.info.node] += extent->charge.bytes;
	if (session) {
		session->used += extent->charge.bytes;
		session->promised += extent->charge.bytes;
		list_append(&extent->member->extents, &extent->link);
	} else {
		++space->n_adopted;
		list_append(&space->extents, &extent->link);
	}
	if (extent->cache) {
		extent->cache->bytes += extent->charge.bytes;
		++*estate_count(extent->cache, extent->kind);
		space->n_sealed += !session;
		list_append(user ? &user->extents : &extent->cache->extents, &extent->in_cache);
	}
}

/* What is to be had, by whom. */
struct extent_wish {
	enum extent_kind kind;
	struct space *space;
	struct member *member; /* who waits for it; NULL: nobody */
	bool own;              /* it is the member's, who pays; else the space's */
	struct estate *cache;
	struct user *user;
	uint64_t bytes;
	struct choice_wish choice;
	const struct asker *asker;
};

/* Where a segment of `count` slices from that one on stands in its chunk. */
static uint32_t segment_slices(enum extent_kind kind, uint32_t first, uint32_t count)
{
	return kind == EXTENT_SEGMENT ? chunk_slices(first, count) : 0;
}

/*
 * Pending; its slices are held. *ret_plan, which is not started, is NULL if there is nothing to
 * do before it can be stored.
 */
static int extent_make(struct core *core, const struct extent_wish *wish, uint32_t *ret,
		       struct core_plan **ret_plan, struct core_fault *fault)
{
	struct space *space = wish->space;
	struct member *member = wish->member, *owner = wish->own ? member : NULL;
	struct extent extent = {
		.member = owner,
		.cache = wish->cache,
		.kind = wish->kind,
		.worded = wish->kind == EXTENT_SHARED && member->id,
		.slices = segment_slices(wish->kind, 0, wish->choice.count),
		.pending = true,
	};
	_cleanup_(charge_release) struct charge charge = {0};
	uint64_t nodes = wish->choice.order->all;
	struct budget_refusal refusal = {0};
	struct core_plan *plan = NULL;
	struct choice choice;
	int r;

	r = budget_charge(owner ? &owner->budget : &space->budget, wish->bytes, &charge,
			  &refusal);
	if (r)
		return refuse_budget(core, space, wish->bytes, nodes, &refusal, fault);
	r = core_may(core, owner ? owner->session->quota : space->quota, QUOTA_LEASES,
		     METADATA_LEASE, fault);
	if (r)
		return r;
	r = changes_owe(&core->changes, extent_owes(&extent));
	if (r)
		return r;
	r = choice_make(core, space, member, &wish->choice, &choice, &plan, fault);
	if (r) {
		changes_forgive(&core->changes, extent_owes(&extent));
		charge_release(&charge);
		if (r == CORE_E_MEMORY)
			return refuse_memory(core, space, wish->bytes, nodes, fault);
		if (r == CORE_E_BUSY)
			return FAULT(fault, CORE_E_BUSY, .which = "plan",
				     .requested = wish->bytes);
		return r;
	}
	if (!plan)
		window_take(choice.window, choice.place.run, choice.place.first,
			    wish->choice.count);
	extent.window = choice.window;
	extent.charge = charge;
	extent.first = choice.place.first;
	extent.count = wish->choice.count;
	extent.slices = segment_slices(wish->kind, extent.first, extent.count);
	extent.tag = tag_take(core, space);
	charge = (struct charge){0};
	*ret = slots_take(&core->slots[RECORD_EXTENT]);
	core->extents[*ret] = extent;
	extent_count(core, &core->extents[*ret], wish->user);
	if (plan)
		plan->extent = *ret;
	*ret_plan = plan;
	return 0;
}

int extent_for_channel(struct core *core, struct channel *channel, struct member *member,
		       uint32_t caller, uint64_t avoid, struct core_plan **ret_plan,
		       struct core_fault *fault)
{
	struct node_order order;
	struct extent_wish wish = {
		.kind = EXTENT_CHANNEL,
		.space = member->space,
		.member = member,
		.bytes = SLICE_BYTES,
		.choice = {.count = 1, .align = 1, .zeroed = true, .order = &order},
	};
	int r;

	node_order(core, member->space, member->space->numa, caller, &order);
	node_order_avoid(&order, avoid);
	r = extent_make(core, &wish, &channel->extent, ret_plan, fault);
	if (r)
		return r;
	core->extents[channel->extent].channel = channel;
	return 0;
}

/* Stored, or its plan started. */
static int extent_begin(struct core *core, const struct extent_wish *wish,
			struct extent_info *ret, struct plan **ret_plan,
			struct core_fault *fault)
{
	const struct extent *extent;
	struct core_plan *plan;
	uint32_t slot;
	int r = extent_make(core, wish, &slot, &plan, fault);

	if (r)
		return r;
	extent = &core->extents[slot];
	*ret = (struct extent_info){
		.offset = extent_offset(extent),
		.size = wish->bytes,
		.tag = extent->tag,
	};
	if (plan) {
		plan->asker = *wish->asker;
		plan_start(core, plan);
		*ret_plan = &plan->plan;
	} else {
		extent_store(core, slot, wish->asker);
		*ret_plan = NULL;
	}
	return 0;
}

static uint32_t power_up(uint32_t n)
{
	return n > 1 ? (uint32_t)1 << (32 - __builtin_clz(n - 1)) : 1;
}

int extent_for_cache(struct core *core, struct estate *cache, struct user *user,
		     enum extent_kind kind, uint64_t bytes, const struct node_order *order,
		     const struct asker *asker, struct extent_info *ret, struct plan **ret_plan,
		     struct core_fault *fault)
{
	uint32_t count = (uint32_t)(bytes >> SLICE_SHIFT);
	struct extent_wish wish = {
		.kind = kind,
		.space = cache->space,
		.member = user ? user->member : NULL,
		.own = user,
		.cache = cache,
		.user = user,
		.bytes = bytes,
		/* X4 */
		.choice = {.count = count,
			   .align = kind == EXTENT_SEGMENT ? power_up(count) : 1,
			   .order = order},
		.asker = asker,
	};

	return extent_begin(core, &wish, ret, ret_plan, fault);
}

int core_extent_alloc(struct core *core, uint32_t session, uint32_t space,
		      const struct extent_request *request, struct extent_info *ret,
		      struct plan **ret_plan, struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
	const struct asker asker = asker_take(core);
	struct node_order order;
	struct extent_wish wish = {.kind = request->kind,
				   .member = member,
				   .own = true,
				   .choice = {.order = &order},
				   .asker = &asker};
	int r;

	if (!member)
		return CORE_E_NOT_FOUND;
	r = revoked(member, fault);
	if (!r)
		r = request_check(core, member, request, &wish.bytes, &order, fault);
	if (r)
		return r;
	wish.space = member->space;
	wish.choice.count = (uint32_t)(wish.bytes >> SLICE_SHIFT);
	wish.choice.align = (uint32_t)(u64_max(request->align, SLICE_BYTES) >> SLICE_SHIFT);
	return extent_begin(core, &wish, ret, ret_plan, fault);
}

/* The slot of the extent that holds the byte at `offset`, or why there is none. */
static const char *extent_around(const struct space *space, uint64_t offset, uint32_t *ret)
{
	uint64_t slice = offset_position(offset) >> SLICE_SHIFT;
	const struct window *window;
	uint32_t word;

	if (offset >> OFFSET_BITS)
		return "foreign";
	window = space_window_at(space, offset_window(offset));
	if (!window || slice >= window->slices)
		return "foreign";
	word = window->words[slice];
	if (slice_state(word) != SLICE_USED)
		return "freed";
	*ret = slice_value(word);
	return NULL;
}

/* The same of the one whose first byte it is, under this tag. */
const char *extent_find(const struct core *core, const struct space *space, uint64_t offset,
			uint32_t tag, uint32_t *ret)
{
	const struct extent *extent;
	const char *wrong;
	uint32_t slot;

	wrong = extent_around(space, offset, &slot);
	if (wrong)
		return wrong;
	extent = &core->extents[slot];
	if (extent->tag != tag)
		return "stale";
	if (offset_position(offset) != (uint64_t)extent->first << SLICE_SHIFT)
		return "interior";
	*ret = slot;
	return NULL;
}

struct extent_place extent_place(const struct extent *extent)
{
	return (struct extent_place){
		.kind = extent->kind,
		.session = extent->member ? extent->member->session->slot : 0,
		.worded = extent->worded,
		.cache = extent->cache ? extent->cache->slot : 0,
		.window = extent->window->slot,
		.first = extent->first,
		.count = extent->count,
		.tag = extent->tag,
	};
}

uint32_t core_slices_free(const struct core *core, uint32_t space_slot, uint32_t number,
			  uint32_t first, uint32_t n, bool *ret)
{
	const struct space *space = core_space_at(core, space_slot);
	const struct window *window = space ? space_window_at(space, number) : NULL;

	if (!window || window->retired || first >= window->slices)
		return 0;
	n = (uint32_t)u64_min(n, window->slices - first);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t unit = window_unit(window, first + i);

		ret[i] = slice_state(window->words[first + i]) == SLICE_FREE &&
			 group_unit(window->groups[unit / 64].committed, unit);
	}
	return n;
}

bool core_extent_at(const struct core *core, uint32_t space_slot, uint64_t offset,
		    struct extent_place *ret)
{
	const struct space *space = core_space_at(core, space_slot);
	uint32_t slot;

	if (!space || extent_around(space, offset, &slot))
		return false;
	*ret = extent_place(&core->extents[slot]);
	return true;
}

uint32_t core_channel_at(const struct core *core, uint32_t space_slot, uint64_t offset)
{
	const struct space *space = core_space_at(core, space_slot);
	uint32_t slot;

	if (!space || extent_around(space, offset, &slot) || !core->extents[slot].channel)
		return 0;
	return core->extents[slot].channel->id;
}

/* May this member give it back, whatever is in it? */
static bool may_free(const struct extent *extent, const struct member *member)
{
	switch (extent->kind) {
	case EXTENT_PRIVATE:
		return extent->member == member;
	case EXTENT_BLOCKS:
		return !extent->member || extent->member == member ||
		       mutant(blocks_freed_by_any);
	case EXTENT_SHARED:
		return true;
	case EXTENT_CHANNEL: /* goes with its channel */
	case EXTENT_SEGMENT: /* is sealed, and its cache's to give back */
	case EXTENT_OBJECT:
	case EXTENT_NONE:
		break;
	}
	return false;
}

int core_extent_free(struct core *core, uint32_t session, uint32_t space, uint64_t offset,
		     uint32_t tag, struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
	const struct asker asker = asker_take(core);
	const char *wrong;
	uint32_t slot;

	if (!member)
		return CORE_E_NOT_FOUND;
	wrong = extent_find(core, member->space, offset, tag, &slot);
	if (!wrong && !may_free(&core->extents[slot], member))
		wrong = "not-owner";
	if (wrong || member->read_only)
		++member->space->counts.refused;
	if (wrong)
		return FAULT(fault, CORE_E_REFERENCE, .which = wrong);
	if (member->read_only)
		return FAULT(fault, CORE_E_PERMISSION, .which = "write");
	++member->space->counts.frees;
	++member->session->frees;
	result_promise(core, &asker,
		       (struct result_promise){.kind = RECORD_EXTENT,
					       .slot = slot,
					       .word = RECORD_WORD(extent_record, run)});
	extent_release(core, slot);
	result_keep(core, &asker);
	return 0;
}
