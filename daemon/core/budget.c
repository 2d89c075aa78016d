#include "daemon/core/budget.h"

#include <assert.h>

#include "base/base.h"

static void pay(struct budget *budget, uint64_t bytes, struct charge *ret)
{
	for (struct budget *at = budget; at; at = at->parent) {
		at->used += bytes;
		at->promised += bytes;
	}
	*ret = (struct charge){.budget = budget, .bytes = bytes};
	if (mutant(promises_peak))
		charge_grant(ret);
}

void charge_grant(struct charge *charge)
{
	if (charge->granted)
		return;
	for (struct budget *at = charge->budget; at; at = at->parent) {
		at->promised -= charge->bytes;
		at->peak = u64_max(at->peak, at->used - at->promised);
	}
	charge->granted = true;
}

int budget_charge(struct budget *budget, uint64_t bytes, struct charge *ret,
		  struct budget_refusal *ret_refusal)
{
	for (struct budget *at = budget; at; at = at->parent) {
		if (bytes > budget_left(at) && !mutant(budget_no_limit)) {
			*ret_refusal = (struct budget_refusal){at, budget_left(at)};
			return BUDGET_E_LIMIT;
		}
	}
	pay(budget, bytes, ret);
	return 0;
}

bool budget_restore(struct budget *budget, uint64_t bytes, struct charge *ret)
{
	for (struct budget *at = budget; at; at = at->parent)
		if (bytes > UINT64_MAX - at->used)
			return false;
	pay(budget, bytes, ret);
	charge_grant(ret);
	return true;
}

static void give_back(const struct charge *charge, const struct budget *to, uint64_t bytes)
{
	for (struct budget *at = charge->budget; at != to; at = at->parent) {
		assert(at && at->used >= bytes);
		at->used -= bytes;
		if (!charge->granted)
			at->promised -= bytes;
	}
}

void charge_release(struct charge *charge)
{
	give_back(charge, NULL, charge->bytes);
	*charge = (struct charge){0};
}

void charge_reduce(struct charge *charge, uint64_t bytes)
{
	assert(charge->bytes >= bytes);
	give_back(charge, NULL, bytes);
	charge->bytes -= bytes;
}

void charge_move(struct charge *charge, struct budget *to)
{
	give_back(charge, to, charge->bytes);
	charge->budget = to;
}
