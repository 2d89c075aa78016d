/*
 * Wheel list - a wheel, and beside it the same objects in a list that is sorted by deadlines: what
 * the wheel answers is compared with what can be seen by looking.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/wheel.h"

enum { LIST_OBJECTS = 200, LIST_BUDGET_MAX = 64 };

struct wheel_list_entry {
	uint32_t number;
	uint64_t
		tick; /* of the deadline, or of the latest turn when it was set, if that was later */
};

struct wheel_list {
	struct wheel wheel;
	uint64_t now,
		latest; /* the clock, which may go back; the latest that a turn was told */
	struct wheel_list_entry entries[LIST_OBJECTS];
	uint32_t count;
	uint32_t expired, unfinished; /* objects; turns that left more to do */
};

enum wheel_step_kind {
	WHEEL_STEP_SET,   /* to `time` */
	WHEEL_STEP_AFTER, /* to `time` after the clock's */
	WHEEL_STEP_REMOVE,
	WHEEL_STEP_TURN, /* `time` later, by a clock that stays at the end of time */
	WHEEL_STEP_NEXT, /* a turn when the wheel asks for it, or like WHEEL_STEP_TURN */
	WHEEL_STEP_BACK, /* the clock goes back by `time`, and a turn */
	WHEEL_STEP_GROW, /* by one */
	WHEEL_STEPS
};

struct wheel_step {
	enum wheel_step_kind kind;
	uint32_t number; /* of those that there are */
	uint32_t max;    /* at most LIST_BUDGET_MAX */
	uint64_t time;
};

/* With one object, and room to grow to all of them. False: out of memory. */
bool wheel_list_init(struct wheel_list *list, uint64_t now, uint32_t tick);
void wheel_list_deinit(struct wheel_list *list);

/* NULL, or what the wheel did wrong; its own walker is asked after each step. */
const char *wheel_list_step(struct wheel_list *list, struct wheel_step step);
/* Turns, of so many steps each, until there is no more to do now. */
const char *wheel_list_drain(struct wheel_list *list, uint32_t max);
