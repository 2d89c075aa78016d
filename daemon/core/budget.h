/*
 * Budget - how many bytes a client, a space or the region may hold.
 *
 * B1  budget->used equals the sum of the outstanding charges on it and on those below it.
 * B2  used <= limit, at every level.
 * B3  A refused charge has changed nothing.
 */
#pragma once

#include <stdint.h>

enum {
	BUDGET_E_LIMIT = 1, /* a limit would be passed: struct budget_refusal says which */
};

/* Outlives the charges on it. */
struct budget {
	struct budget *parent; /* NULL: the region */
	const char *name;      /* static: "client", "space", "region" */
	uint64_t limit, used, peak;
};

/* Owned by whatever it pays for. Zeroed is empty; releasing empty is a no-op. */
struct charge {
	struct budget *budget;
	uint64_t bytes;
};

struct budget_refusal {
	const struct budget *budget;
	uint64_t remaining;
};

int budget_charge(struct budget *budget, uint64_t bytes, struct charge *ret,
		  struct budget_refusal *ret_refusal);

void charge_release(struct charge *charge);

/* `to` is above the budget that pays now: from now on it pays alone. */
void charge_move(struct charge *charge, struct budget *to);
