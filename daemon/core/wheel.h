/*
 * Wheel - which objects have outlived their time.
 *
 * WH1  An object is in the wheel if it has a deadline that may come: at most once, known by its
 *      number, with 12 bytes. Numbers are the host's, as with a policy.
 * WH2  Only init and grow allocate; all else cannot fail. To set, change and remove a deadline takes
 *      a constant number of steps.
 * WH3  Nothing expires before its deadline, rounded up to a tick. Whoever cares to the millisecond
 *      looks at the deadline: the wheel is for whoever frees memory, and a tick is how late it may.
 * WH4  A turn takes a bounded number of steps, whatever it finds, and however late it is; one is an
 *      object that expires, or that moves on to where its deadline is told more exactly. That
 *      happens to it WHEEL_LEVELS - 1 times at most. Time without objects takes no steps.
 * WH5  What is due expires in the order of deadlines. One that lay in the past when it was set counts
 *      as that of the latest turn: who comes overdue keeps no one waiting who was due before.
 * WH6  Time comes with turns, and never goes back.
 *
 * There are five levels of 256 slots, each a ring of objects. Ticks are numbers in base 256, and
 * an object's level is the highest digit in which its deadline differs from where the wheel stands,
 * its slot what that digit is. So what is on a level is due before all of the levels above, slots
 * are due in their order, and to know where the wheel has to stop next is to find the first bit
 * that is set. Only the last level, of 2^32 ticks a slot, goes round. What is further ahead than its
 * 255 slots, 34 years of 1 ms, is as good as for ever.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define WHEEL_NEVER UINT64_MAX

enum { WHEEL_LEVELS = 5, WHEEL_SLOTS = WHEEL_LEVELS * 256 };

/* Of an object; and of a slot, the ends of its ring. */
struct wheel_node {
	uint32_t next, before; /* 0: in no ring */
	uint32_t due; /* a tick's lower half; the slot tells the other, as far as it matters */
};

struct wheel {
	struct wheel_node *nodes; /* one that is nobody's, those of slots, those of objects */
	uint64_t occupied[WHEEL_SLOTS / 64];
	uint64_t position; /* in ticks: where it stands. Nothing is due before */
	uint64_t now; /* in ticks: the latest turn. What is due until then may be left to do */
	uint32_t tick;
	uint32_t objects, count;
};

/*
 * -ENOMEM. All times are in ms, of one clock that stops before WHEEL_NEVER. A tick is 1 ms at least;
 * numbers are below `objects`.
 */
int wheel_init(struct wheel *wheel, uint64_t now, uint32_t tick, uint32_t objects);
/* Zeroed is fine. */
void wheel_deinit(struct wheel *wheel);
/* -ENOMEM: nothing has changed. */
int wheel_grow(struct wheel *wheel, uint32_t objects);

/* In place of the deadline that it had, if any. WHEEL_NEVER: it has none. */
void wheel_set(struct wheel *wheel, uint32_t number, uint64_t deadline);
/* Fine for who has none. */
void wheel_remove(struct wheel *wheel, uint32_t number);
bool wheel_has(const struct wheel *wheel, uint32_t number);

/*
 * In at most `max` steps. How many expired; they are in ret, and in the wheel no more. There is more
 * to do now as long as wheel_next() is not after `now`. A turn may come as late as one likes: it is
 * memory that waits.
 */
uint32_t wheel_turn(struct wheel *wheel, uint64_t now, uint32_t *ret, uint32_t max);
/* When the next turn has something to do, at the earliest; WHEEL_NEVER: it is empty. */
uint64_t wheel_next(const struct wheel *wheel);

/* Walks WH1 and the slots; NULL, or what is wrong. *ret_count is how many objects it holds. */
const char *wheel_check(const struct wheel *wheel, uint32_t *ret_count);
