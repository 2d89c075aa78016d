#include "daemon/core/extent.h"

#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "daemon/core/choice.h"
#include "daemon/core/nodes.h"
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
	return extent->member &&
	       (extent->kind == EXTENT_PRIVATE || extent->kind == EXTENT_BLOCKS);
}

/* It outlives its session, and the slice map has to say so. */
static bool owes_adoption(const struct extent *extent)
{
	return extent->kind == EXTENT_BLOCKS && extent->member;
}

uint32_t extent_owes(const struct extent *extent)
{
	return 1U + extent->pending + owes_adoption(extent);
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

static void extent_say(struct core *core, const struct extent *extent, bool there)
{
	struct slice_info info = {0};

	if (there) {
		info = (struct slice_info){
			.kind = extent->kind,
			.tag = extent->tag,
			.head = true,
			.count = extent->count,
		};
		if (names_session(extent))
			info.session = extent->member->session->slot;
	}
	changes_put(&core->changes, &(struct change){
					    .kind = CHANGE_SLICES,
					    .space = extent->window->space->slot,
					    .window = extent->window->slot,
					    .first = extent->first,
					    .count = extent->count,
					    .word = there ? slice_word_pack(info) : 0,
				    });
}

void extent_store(struct core *core, uint32_t slot)
{
	struct extent *extent = &core->extents[slot];
	struct space *space = extent->window->space;

	window_use(extent->window, extent->first, extent->count, slot);
	record_extent_put(
		core->records, slot,
		(struct extent_owner){
			.holder = extent->member ? extent->member->session->slot + 1 : 0,
			.tag = extent->tag,
			.kind = extent->kind,
			.worded = extent->worded},
		(struct extent_run){.window = extent->window->slot,
				    .first = extent->first,
				    .count = extent->count});
	extent_say(core, extent, true);
	extent->pending = false;
	++space->n_extents;
	++space->counts.allocs;
	if (extent->member)
		++extent->member->session->allocs;
}

void extent_release(struct core *core, uint32_t slot)
{
	struct extent *extent = &core->extents[slot];
	struct space *space = extent->window->space;

	if (extent->pending) {
		changes_forgive(&core->changes, extent_owes(extent));
	} else {
		record_clear(core->records, RECORD_EXTENT, slot);
		extent_say(core, extent, false);
		changes_forgive(&core->changes, owes_adoption(extent));
		--space->n_extents;
	}
	if (extent->member)
		extent->member->session->used -= extent->charge.bytes;
	else
		--space->n_adopted;
	extent_node(extent)->used -= extent->charge.bytes;
	space->used_on[extent->window->place.info.node] -= extent->charge.bytes;
	window_give(extent->window, extent->first, extent->count);
	if (!mutant(extent_keeps_charge))
		charge_release(&extent->charge);
	core_give(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	list_remove(&extent->link);
	slots_put(&core->slots[RECORD_EXTENT], slot);
	*extent = (struct extent){0};
}

void extent_adopt(struct core *core, uint32_t slot)
{
	struct extent *extent = &core->extents[slot];
	struct space *space = extent->window->space;

	bool said = owes_adoption(extent);

	assert(extent->kind != EXTENT_PRIVATE && !extent->pending);
	if (!mutant(extent_not_adopted))
		record_extent_owner(core->records, slot,
				    (struct extent_owner){.tag = extent->tag,
							  .kind = extent->kind,
							  .worded = extent->worded});
	extent->member->session->used -= extent->charge.bytes;
	charge_move(&extent->charge, &space->budget);
	core_give(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	extent->member = NULL;
	core_take(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	list_remove(&extent->link);
	list_append(&space->extents, &extent->link);
	++space->n_adopted;
	space->sweep.owed |= extent_may_be_empty(extent) && !mutant(adopted_unswept);
	if (said && !mutant(extent_adopted_unsaid))
		extent_say(core, extent, true);
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

static int refuse_memory(struct core *core, struct member *member, uint64_t bytes,
			 uint64_t nodes, struct core_fault *fault)
{
	++member->space->counts.failures.memory;
	++member->session->failed;
	const struct rung *rung = member->space->rung;

	*fault = (struct core_fault){.which = nodes == rung_nodes(core, rung) ? "region"
									      : "nodes",
				     .requested = bytes,
				     .nodes = nodes,
				     .page_shift = rung->page_shift};
	choice_outlook(core, member->space, nodes, &fault->available, &fault->largest);
	return CORE_E_MEMORY;
}

/* All of the region in use is out of memory, not out of budget. */
static int refuse_budget(struct core *core, struct member *member, uint64_t bytes,
			 uint64_t nodes, const struct budget_refusal *refusal,
			 struct core_fault *fault)
{
	struct stats_failures *failures = &member->space->counts.failures;

	if (refusal->budget == &core->region)
		return refuse_memory(core, member, bytes, nodes, fault);
	if (refusal->budget == &member->budget)
		++failures->budget_client;
	else
		++failures->budget_space;
	++member->session->failed;
	return FAULT(fault, CORE_E_BUDGET, .which = refusal->budget->name, .requested = bytes,
		     .remaining = refusal->remaining);
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
	if (!u64_align_up(request->size, SLICE_BYTES, ret_bytes) || *ret_bytes > max) {
		++member->space->counts.failures.too_large;
		++member->session->failed;
		return FAULT(fault, CORE_E_TOO_LARGE, .requested = request->size, .max = max);
	}
	return 0;
}

/* In all sums, and in its list. */
static void extent_count(struct core *core, struct extent *extent)
{
	struct session *session = extent->member ? extent->member->session : NULL;
	struct space *space = extent->window->space;

	core_take(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	extent_node(extent)->used += extent->charge.bytes;
	space->used_on[extent->window->place.info.node] += extent->charge.bytes;
	if (session) {
		session->used += extent->charge.bytes;
		session->peak = u64_max(session->peak, session->used);
		list_append(&extent->member->extents, &extent->link);
	} else {
		++space->n_adopted;
		list_append(&space->extents, &extent->link);
	}
}

/* What is to be had, by whom; a channel's is nobody's. */
struct extent_wish {
	enum extent_kind kind;
	uint64_t bytes;
	struct choice_wish choice;
};

/*
 * Pending; its slices are held. *ret_plan, which is not started, is NULL if there is nothing to
 * do before it can be stored.
 */
static int extent_make(struct core *core, struct member *member, const struct extent_wish *wish,
		       uint32_t *ret, struct core_plan **ret_plan, struct core_fault *fault)
{
	bool own = wish->kind != EXTENT_CHANNEL;
	struct space *space = member->space;
	struct extent extent = {.member = own ? member : NULL,
				.kind = wish->kind,
				.worded = wish->kind == EXTENT_SHARED && member->id,
				.pending = true};
	_cleanup_(charge_release) struct charge charge = {0};
	uint64_t nodes = wish->choice.order->all;
	struct budget_refusal refusal = {0};
	struct core_plan *plan = NULL;
	struct choice choice;
	int r;

	r = budget_charge(own ? &member->budget : &space->budget, wish->bytes, &charge,
			  &refusal);
	if (r)
		return refuse_budget(core, member, wish->bytes, nodes, &refusal, fault);
	r = core_may(core, own ? member->session->quota : space->quota, QUOTA_LEASES,
		     METADATA_LEASE, fault);
	if (r)
		return r;
	r = changes_owe(&core->changes, extent_owes(&extent));
	if (r)
		return r;
	r = choice_make(core, member, &wish->choice, &choice, &plan, fault);
	if (r) {
		changes_forgive(&core->changes, extent_owes(&extent));
		charge_release(&charge);
		if (r == CORE_E_MEMORY)
			return refuse_memory(core, member, wish->bytes, nodes, fault);
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
	extent.tag = tag_take(core, space);
	charge = (struct charge){0};
	*ret = slots_take(&core->slots[RECORD_EXTENT]);
	core->extents[*ret] = extent;
	extent_count(core, &core->extents[*ret]);
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
		.bytes = SLICE_BYTES,
		.choice = {.count = 1, .align = 1, .zeroed = true, .order = &order},
	};
	int r;

	node_order(core, member->space, member->space->numa, caller, &order);
	node_order_avoid(&order, avoid);
	r = extent_make(core, member, &wish, &channel->extent, ret_plan, fault);
	if (r)
		return r;
	core->extents[channel->extent].channel = channel;
	return 0;
}

int core_extent_alloc(struct core *core, uint32_t session, uint32_t space,
		      const struct extent_request *request, struct extent_info *ret,
		      struct plan **ret_plan, struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
	struct node_order order;
	struct extent_wish wish = {.kind = request->kind, .choice = {.order = &order}};
	const struct extent *extent;
	struct core_plan *plan;
	uint32_t slot;
	int r;

	if (!member)
		return CORE_E_NOT_FOUND;
	r = request_check(core, member, request, &wish.bytes, &order, fault);
	if (r)
		return r;
	wish.choice.count = (uint32_t)(wish.bytes >> SLICE_SHIFT);
	wish.choice.align = (uint32_t)(u64_max(request->align, SLICE_BYTES) >> SLICE_SHIFT);
	r = extent_make(core, member, &wish, &slot, &plan, fault);
	if (r)
		return r;
	extent = &core->extents[slot];
	*ret = (struct extent_info){
		.offset = offset_make(extent->window->place.number,
				      (uint64_t)extent->first << SLICE_SHIFT),
		.size = wish.bytes,
		.tag = extent->tag,
	};
	if (plan) {
		plan_start(core, plan);
		*ret_plan = &plan->plan;
	} else {
		extent_store(core, slot);
		*ret_plan = NULL;
	}
	return 0;
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
static const char *extent_find(const struct core *core, const struct space *space,
			       uint64_t offset, uint32_t tag, uint32_t *ret)
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
		.window = extent->window->slot,
		.first = extent->first,
		.count = extent->count,
		.tag = extent->tag,
	};
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
	case EXTENT_NONE:
		break;
	}
	return false;
}

int core_extent_free(struct core *core, uint32_t session, uint32_t space, uint64_t offset,
		     uint32_t tag, struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
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
	extent_release(core, slot);
	return 0;
}
