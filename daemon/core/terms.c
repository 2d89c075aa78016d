#include "daemon/core/terms.h"

#include <errno.h>

#include "base/base.h"
#include "daemon/core/reserve.h"
#include "daemon/core/revoke.h"
#include "daemon/core/state.h"

uint64_t terms_share(const struct core *core, uint32_t uid, const struct space *but,
		     const struct rung *rung, const char **ret_which)
{
	uint64_t inside = rung ? rung->bytes : UINT64_MAX;
	const struct slots *slots = &core->slots[RECORD_SPACE];
	bool bound = uid != 0 && uid != core->config.uid;
	uint64_t share =
		bound ? u64_min(core->config.share, core->region.limit) : core->region.limit;

	*ret_which = bound ? "owner" : "region";
	for (uint32_t i = slots_next(slots, 1); i != SLOT_NONE; i = slots_next(slots, i + 1)) {
		const struct space *space = core->spaces[i];

		uint64_t claim;

		if (space == but || space->state == SPACE_GOING || space->owner.uid != uid)
			continue;
		claim = space_claim(core, space);
		share -= u64_min(share, claim);
		if (space->rung == rung)
			inside -= u64_min(inside, claim);
	}
	if (inside > share || core->n_rungs == 1)
		return share;
	*ret_which = "rung";
	return inside;
}

uint64_t terms_nodes(struct numa numa)
{
	return numa_strict(numa.kind) ? numa.nodes : UINT64_MAX;
}

uint64_t terms_client_default(uint64_t limit)
{
	uint64_t client;

	if (!u64_align_up(limit / 8 * 7, SLICE_BYTES, &client) || client > limit)
		return limit;
	return client;
}

struct space_terms terms_of(const struct space *space)
{
	return (struct space_terms){
		.owner = space->owner,
		.mode = space->mode,
		.weight = space->weight,
		.limit = space->budget.limit,
		.reserve = space->reserve,
		.client_limit = space->client_limit,
	};
}

static void ceiling_raise(struct core *core, struct space *space, uint64_t limit)
{
	if (limit <= space->ceiling)
		return;
	space->ceiling = limit;
	record_space_ceiling(core->records, space->slot, limit);
}

void terms_apply(struct core *core, struct space *space, const struct space_terms *terms)
{
	struct space_record record;

	ceiling_raise(core, space, terms->limit);
	revoke_for(core, space, terms);
	space->changing = false;
	space->owner = terms->owner;
	space->mode = terms->mode;
	space->weight = terms->weight;
	space->budget.limit = terms->limit;
	space->reserve = terms->reserve;
	space->client_limit = terms->client_limit;
	list_for_each(at, &space->members) list_entry(at, struct member, in_space)
		->budget.limit = terms->client_limit;
	record = space_record(core, space);
	record_space_terms(core->records, space->slot, &record);
}

static bool in_group(struct credentials who, const uint32_t *groups, uint32_t n_groups,
		     uint32_t gid)
{
	for (uint32_t i = 0; i < n_groups; ++i)
		if (groups[i] == gid)
			return true;
	return who.gid == gid;
}

/* Who may use it: the part of the change that is a matter of rights. */
static int rights_set(const struct core *core, struct credentials who, const uint32_t *groups,
		      uint32_t n_groups, const struct space_change *change,
		      struct space_terms *terms, struct core_fault *fault)
{
	bool root = who.uid == 0 || who.uid == core->config.uid;

	if (!root && who.uid != terms->owner.uid)
		return FAULT(fault, CORE_E_PERMISSION, .which = "owner");
	if (change->set & SPACE_SET_MODE) {
		if (change->to.mode > MODE_MAX)
			return FAULT(fault, CORE_E_INVALID, .which = "mode",
				     .requested = change->to.mode, .max = MODE_MAX);
		terms->mode = change->to.mode;
	}
	if (change->set & SPACE_SET_UID && change->to.owner.uid != terms->owner.uid) {
		if (!root && !mutant(terms_given_away))
			return FAULT(fault, CORE_E_PERMISSION, .which = "root");
		if (change->to.owner.uid == UINT32_MAX)
			return FAULT(fault, CORE_E_INVALID, .which = "uid");
		terms->owner.uid = change->to.owner.uid;
	}
	if (change->set & SPACE_SET_GID && change->to.owner.gid != terms->owner.gid) {
		if (!root && !in_group(who, groups, n_groups, change->to.owner.gid))
			return FAULT(fault, CORE_E_PERMISSION, .which = "group");
		if (change->to.owner.gid == UINT32_MAX)
			return FAULT(fault, CORE_E_INVALID, .which = "gid");
		terms->owner.gid = change->to.owner.gid;
	}
	return 0;
}

/* What it may have: each number for itself. */
static int budgets_set(const struct space_change *change, struct space_terms *terms,
		       struct core_fault *fault)
{
	bool follows = terms->client_limit == terms_client_default(terms->limit);

	if (change->set & SPACE_SET_WEIGHT) {
		if (!change->to.weight || change->to.weight > WEIGHT_MAX)
			return FAULT(fault, CORE_E_INVALID, .which = "weight",
				     .requested = change->to.weight, .max = WEIGHT_MAX);
		terms->weight = change->to.weight;
	}
	if (change->set & SPACE_SET_LIMIT) {
		if (!change->to.limit)
			return FAULT(fault, CORE_E_INVALID, .which = "limit");
		/* What wraps is beyond every share, and refused as it is. */
		if (!u64_align_up(change->to.limit, CHUNK_BYTES, &terms->limit))
			terms->limit = change->to.limit;
	}
	if (change->set & SPACE_SET_RESERVE &&
	    !u64_align_up(change->to.reserve, CHUNK_BYTES, &terms->reserve))
		terms->reserve = change->to.reserve;
	if (change->set & SPACE_SET_CLIENT_LIMIT) {
		if (!change->to.client_limit)
			return FAULT(fault, CORE_E_INVALID, .which = "client_limit");
		if (!u64_align_up(change->to.client_limit, SLICE_BYTES, &terms->client_limit))
			terms->client_limit = change->to.client_limit;
	} else if (follows) {
		terms->client_limit = terms_client_default(terms->limit);
	}
	return 0;
}

/* And all of them together. */
static int budgets_fit(const struct core *core, const struct space *space,
		       struct space_terms *terms, struct core_fault *fault)
{
	uint64_t claim = terms->limit, own, there;
	const char *which;

	if (terms->owner.uid != space->owner.uid)
		claim = u64_max(claim, space_holds(core, space));
	there = rung_bytes(core, space->rung, terms_nodes(space->numa));
	own = terms_share(core, terms->owner.uid, space, space->rung, &which);
	if (claim > own &&
	    (terms->limit > space->budget.limit ||
	     (terms->owner.uid != space->owner.uid && !mutant(terms_share_unasked))))
		return FAULT(fault, CORE_E_BUDGET, .which = which, .requested = claim,
			     .remaining = own, .page_shift = space->rung->page_shift);
	if (terms->limit > there && terms->limit > space->budget.limit)
		return FAULT(fault, CORE_E_BUDGET, .which = "nodes", .requested = terms->limit,
			     .remaining = there, .nodes = space->numa.nodes,
			     .page_shift = space->rung->page_shift);
	if (terms->reserve > terms->limit)
		return FAULT(fault, CORE_E_INVALID, .which = "reserve",
			     .requested = terms->reserve, .max = terms->limit);
	terms->client_limit = u64_min(terms->client_limit, terms->limit);
	return 0;
}

/* The plan that commits what is newly reserved; until it ends, others count with the new terms. */
static int change_plan(struct core *core, struct space *space, const struct space_terms *terms,
		       uint64_t avoid, struct plan **ret, struct core_fault *fault)
{
	_cleanup_(plan_freep) struct core_plan *plan = NULL;
	bool given = terms->owner.uid != space->owner.uid;
	uint32_t wanted;
	int r;

	space->changing = true;
	space->next = *terms;
	wanted = (uint32_t)((terms->reserve + units_bytes(space->rung, 1) - 1) >>
			    space->rung->unit_shift);
	wanted -= (uint32_t)u64_min(wanted, space->units.committed);
	/* What is exchanged is on its way. */
	if (space_has_retired(space))
		wanted -= (uint32_t)u64_min(wanted, space->units.committing);
	if (!wanted) {
		r = given ? space_quota_move(core, space, terms->owner.uid, fault) : 0;
		if (!r)
			terms_apply(core, space, terms);
		space->changing = false;
		*ret = NULL;
		return r;
	}
	/* Whose quota would the plan's windows be? */
	r = given ? FAULT(fault, CORE_E_INVALID, .which = "uid") : 0;
	if (!r)
		r = plan_new(&plan, space, NULL);
	if (!r)
		r = reserve_plan(core, plan, space, wanted, terms->reserve, avoid, fault);
	if (r) {
		space->changing = false;
		return r;
	}
	ceiling_raise(core, space, terms->limit);
	reserve_hold(core, plan);
	plan->changes = true;
	plan_start(core, plan);
	*ret = &TAKE_PTR(plan)->plan;
	return 0;
}

int core_space_change(struct core *core, struct credentials who, const uint32_t *groups,
		      uint32_t n_groups, const char *name, const struct space_change *change,
		      struct plan **ret, struct core_fault *fault)
{
	struct space_terms terms;
	struct space *space;
	int r;

	if (!space_name_valid(name))
		return FAULT(fault, CORE_E_INVALID, .which = "name");
	space = core_space_named(core, name);
	if (!space || space->state == SPACE_GOING || space->removed)
		return FAULT(fault, CORE_E_NOT_FOUND, .which = "space");
	if (space->state == SPACE_COMING)
		return FAULT(fault, CORE_E_BUSY, .which = "plan");
	terms = terms_of(space);
	r = rights_set(core, who, groups, n_groups, change, &terms, fault);
	if (!r)
		r = budgets_set(change, &terms, fault);
	if (r)
		return r;
	if (space->changing)
		return FAULT(fault, CORE_E_BUSY, .which = "plan");
	r = budgets_fit(core, space, &terms, fault);
	if (r)
		return r;
	return change_plan(core, space, &terms, change->avoid, ret, fault);
}
