/*
 * Any verb - random verbs on a core, which no model follows: what they answer is their business.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"
#include "daemon/core/core.h"
#include "tests/model/ask.h"

#define MIB ((uint64_t)1 << 20)

enum {
	SPACES = 6,
	WINDOWS = 12,
	PAGES = 16,
	SESSIONS = 5,
	MEMBERS = 16,
	EXTENTS = 64,
	CHANNELS = 6,
	ENDS = 10,
	CACHES = 5,
	RIGHTS = 10,
	PLANS = 4,
	UNITS_MAX = 64,
};

extern const struct record_capacity capacity; /* of so many of each */

/* What the verbs are about; `records` are the core's. */
extern struct core *core;
extern struct records *records;
extern struct plan *plans[PLANS]; /* outstanding, */
extern struct ask waiting[PLANS]; /* and who waits for each; of nobody: ASK_NOTHING */
extern struct ask flight; /* what the last verb has done for a request, by a plan, or at once */
extern bool planned;
extern uint64_t there[WINDOWS]; /* units that have pages */
extern uint32_t last_tag[SPACES];
/* An end was begun, and has not been gone on with: it holds what the records have no more. */
extern bool half_ended;

/* The program's own: a number below n, and its last words. */
uint32_t below(uint32_t n);
_printf_(1, 2) _Noreturn void die(const char *format, ...);

#define MUST(x)                                                         \
	do {                                                            \
		if (!(x))                                               \
			die("not: %s (%s:%d)", #x, __FILE__, __LINE__); \
	} while (0)

/* True: something ends, which takes more than one store. */
bool one_verb(void);
/* One that is outstanding: carried out, or given up. */
void plan_end_one(void);
/* Everything of a core without plans: nothing may be left, nor in its records. */
void end_all(struct core *of, const struct records *table);
