/*
 * Slots - which slots of one kind of record are free.
 *
 * S1  Taking gives the lowest free slot, so what is in use stays together.
 * S2  Taking and giving back touch one word a level and cannot fail.
 *
 * Derived from the records (a slot in use is a valid one, or one that a plan holds).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SLOT_NONE UINT32_MAX

enum { SLOTS_LEVELS = 5 }; /* 64^5 slots */

struct slots {
	uint64_t *words[SLOTS_LEVELS]; /* 1: free; above: some word below has a free one */
	uint32_t levels, total, free;
};

/* All are free. -ENOMEM. */
int slots_init(struct slots *slots, uint32_t total);
void slots_deinit(struct slots *slots);

/* SLOT_NONE if all are in use. */
uint32_t slots_take(struct slots *slots);
/* This one, which must be free. */
void slots_claim(struct slots *slots, uint32_t slot);
void slots_put(struct slots *slots, uint32_t slot);
bool slots_used(const struct slots *slots, uint32_t slot);
/* The first in use at or after `slot`; SLOT_NONE if none. */
uint32_t slots_next(const struct slots *slots, uint32_t slot);
