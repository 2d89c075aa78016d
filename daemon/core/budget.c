#include "daemon/core/budget.h"

#include <assert.h>

#include "base/base.h"

int budget_charge(struct budget *budget, uint64_t bytes, struct charge *ret,
		  struct budget_refusal *ret_refusal)
{
	for (struct budget *at = budget; at; at = at->parent) {
		/* used <= limit (B2), so this cannot wrap, whatever was asked for */
		if (bytes > at->limit - at->used && !mutant(budget_no_limit)) {
			*ret_refusal = (struct budget_refusal){at, at->limit - at->used};
			return BUDGET_E_LIMIT;
		}
	}
	for (struct budget *at = budget; at; at = at->parent) {
		at->used += bytes;
		if (at->used > at->peak)
			at->peak = at->used;
	}
	*ret = (struct charge){budget, bytes};
	return 0;
}

static void give_back(struct budget *from, const struct budget *to, uint64_t bytes)
{
	for (struct budget *at = from; at != to; at = at->parent) {
		assert(at && at->used >= bytes);
		at->used -= bytes;
	}
}

void charge_release(struct charge *charge)
{
	give_back(charge->budget, NULL, charge->bytes);
	*charge = (struct charge){0};
}

void charge_move(struct charge *charge, struct budget *to)
{
	give_back(charge->budget, to, charge->bytes);
	charge->budget = to;
}
