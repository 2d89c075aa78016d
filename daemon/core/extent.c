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
	record_extent_put(core->records, slot,
			  (struct extent_owner){.holder = extent->member->session->slot + 1,
						.tag = extent->tag,
						.kind = extent->kind},
			  (struct extent_run){.window = extent->window->slot,
					      .first = extent->first,
					      .count = extent->count});
	extent_say(core, extent, true);
	extent->pending = false;
	++space->n_extents;
	++space->counts.allocs;
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
		record_extent_owner(
			core->records, slot,
			(struct extent_owner){.tag = extent->tag, .kind = extent->kind});
	extent->member->session->used -= extent->charge.bytes;
	charge_move(&extent->charge, &space->budget);
	core_give(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	extent->member = NULL;
	core_take(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	list_remove(&extent->link);
	list_append(&space->extents, &extent->link);
	++space->n_adopted;
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

static void member_pay(struct core *core, struct extent *extent)
{
	struct session *session = extent->member->session;

	session->used += extent->charge.bytes;
	session->peak = u64_max(session->peak, session->used);
	extent_node(extent)->used += extent->charge.bytes;
	extent->window->space->used_on[extent->window->place.info.node] += extent->charge.bytes;
	list_append(&extent->member->extents, &extent->link);
}

int core_extent_alloc(struct core *core, uint32_t session, uint32_t space,
		      const struct extent_request *request, struct extent_info *ret,
		      struct plan **ret_plan, struct core_fault *fault)
{
	struct member *member = core_member_at(core, session, space, fault);
	struct slots *slots = &core->slots[RECORD_EXTENT];
	_cleanup_(charge_release) struct charge charge = {0};
	struct budget_refusal refusal = {0};
	struct node_order order;
	struct core_plan *plan = NULL;
	struct choice choice;
	struct extent *extent;
	uint32_t slot, count, align, owed;
	uint64_t bytes;
	int r;

	if (!member)
		return CORE_E_NOT_FOUND;
	r = request_check(core, member, request, &bytes, &order, fault);
	if (r)
		return r;
	r = budget_charge(&member->budget, bytes, &charge, &refusal);
	if (r)
		return refuse_budget(core, member, bytes, order.all, &refusal, fault);
	r = core_may(core, member->session->quota, QUOTA_LEASES, METADATA_LEASE, fault);
	if (r)
		return r;
	owed = extent_owes(
		&(struct extent){.member = member, .kind = request->kind, .pending = true});
	r = changes_owe(&core->changes, owed);
	if (r)
		return r;
	count = (uint32_t)(bytes >> SLICE_SHIFT);
	align = (uint32_t)(u64_max(request->align, SLICE_BYTES) >> SLICE_SHIFT);
	r = choice_make(core, member, count, align, &order, &choice, &plan, fault);
	if (r) {
		changes_forgive(&core->changes, owed);
		charge_release(&charge);
		if (r == CORE_E_MEMORY)
			return refuse_memory(core, member, bytes, order.all, fault);
		if (r == CORE_E_BUSY)
			return FAULT(fault, CORE_E_BUSY, .which = "plan", .requested = bytes);
		return r;
	}

	slot = slots_take(slots);
	extent = &core->extents[slot];
	*extent = (struct extent){
		.window = choice.window,
		.member = member,
		.charge = charge,
		.first = choice.place.first,
		.count = count,
		.tag = tag_take(core, member->space),
		.kind = request->kind,
		.pending = true,
	};
	charge = (struct charge){0};
	core_take(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	member_pay(core, extent);
	*ret = (struct extent_info){
		.offset = offset_make(choice.window->place.number,
				      (uint64_t)extent->first << SLICE_SHIFT),
		.size = bytes,
		.tag = extent->tag,
	};
	if (plan) {
		plan->extent = slot;
		plan_start(core, plan);
		*ret_plan = &plan->plan;
	} else {
		window_take(choice.window, choice.place.run, extent->first, count);
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
