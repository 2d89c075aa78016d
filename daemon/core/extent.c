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
		if (extent->kind == EXTENT_PRIVATE)
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
		changes_forgive(&core->changes, CHANGES_EXTENT);
	} else {
		record_clear(core->records, RECORD_EXTENT, slot);
		extent_say(core, extent, false);
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

	assert(extent->kind == EXTENT_SHARED && !extent->pending);
	if (!mutant(extent_not_adopted))
		record_extent_owner(
			core->records, slot,
			(struct extent_owner){.tag = extent->tag, .kind = extent->kind});
	/* The slice map names no session for a shared extent: its words stay as they are. */
	extent->member->session->used -= extent->charge.bytes;
	charge_move(&extent->charge, &space->budget);
	core_give(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	extent->member = NULL;
	core_take(core, extent_quota(extent), QUOTA_LEASES, METADATA_LEASE);
	list_remove(&extent->link);
	list_append(&space->extents, &extent->link);
	++space->n_adopted;
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
	if (request->kind != EXTENT_PRIVATE && request->kind != EXTENT_SHARED)
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
	uint32_t slot, count, align;
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
	r = changes_owe(&core->changes, CHANGES_EXTENT);
	if (r)
		return r;
	count = (uint32_t)(bytes >> SLICE_SHIFT);
	align = (uint32_t)(u64_max(request->align, SLICE_BYTES) >> SLICE_SHIFT);
	r = choice_make(core, member, count, align, &order, &choice, &plan, fault);
	if (r) {
		changes_forgive(&core->changes, CHANGES_EXTENT);
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

/* The extent whose first byte is at `offset`, or why not. */
static const char *extent_find(const struct core *core, const struct space *space,
			       uint64_t offset, uint32_t tag, uint32_t *ret)
{
	uint64_t position = offset_position(offset), slice = position >> SLICE_SHIFT;
	const struct window *window;
	const struct extent *extent;
	uint32_t word;

	if (offset >> OFFSET_BITS)
		return "foreign";
	window = space_window_at(space, offset_window(offset));
	if (!window || slice >= window->slices)
		return "foreign";
	word = window->words[slice];
	if (slice_state(word) != SLICE_USED)
		return "freed";
	extent = &core->extents[slice_value(word)];
	if (extent->tag != tag)
		return "stale";
	if (position != (uint64_t)extent->first << SLICE_SHIFT)
		return "interior";
	*ret = slice_value(word);
	return NULL;
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
	if (!wrong && core->extents[slot].kind == EXTENT_PRIVATE &&
	    core->extents[slot].member != member)
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
