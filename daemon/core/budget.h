/*
 * Budget - how many bytes a client, a space or the region may hold.
 *
 * B1  budget->used equals the sum of the outstanding charges on it and on those below it.
 * B2  used grows only within the limit, at every level. A limit that was lowered below what is
 *     used takes nothing away: nothing more is had until enough has come back.
 * B3  A refused charge has changed nothing.
 * B4  What is pinned counts against the limit of this budget, and no other: somebody else pays for
 *     it. It is never refused.
 * B5  The peak is the most that was granted: what a plan has promised counts when it is committed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	BUDGET_E_LIMIT = 1, /* a limit would be passed: struct budget_refusal says which */
};

/* Outlives the charges on it. */
struct budget {
	struct budget *parent; /* NULL: the region */
	const char *name;      /* static: "client", "space", "region" */
	uint64_t limit, used, peak;
	uint64_t promised; /* of what is used: charged, but not granted yet */
	uint64_t pinned;
};

/* Owned by whatever it pays for. Zeroed is empty; releasing empty is a no-op. */
struct charge {
	struct budget *budget;
	uint64_t bytes;
	bool granted;
};

struct budget_refusal {
	const struct budget *budget;
	uint64_t remaining;
};

/* What may still be charged to this one, whatever those above it say. */
static inline uint64_t budget_left(const struct budget *budget)
{
	uint64_t held = budget->used + budget->pinned;

	return budget->limit > held ? budget->limit - held : 0;
}

/* Promised, until it is granted. */
int budget_charge(struct budget *budget, uint64_t bytes, struct charge *ret,
		  struct budget_refusal *ret_refusal);
void charge_grant(struct charge *charge);

/* As it was granted before a restart: a limit may have been lowered since. False: it wraps. */
bool budget_restore(struct budget *budget, uint64_t bytes, struct charge *ret);

void charge_release(struct charge *charge);
/* So much of it. */
void charge_reduce(struct charge *charge, uint64_t bytes);

/* `to` is above the budget that pays now: from now on it pays alone. */
void charge_move(struct charge *charge, struct budget *to);
