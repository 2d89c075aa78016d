#include "daemon/core/wheel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

enum {
	DIGIT_BITS = 8,
	DIGITS = 1 << DIGIT_BITS,
	TOP = WHEEL_LEVELS - 1,
	OBJECTS = 1 + WHEEL_SLOTS, /* the node of object 0 */
};

static_assert(TOP * DIGIT_BITS <= 32, "a node would not tell which tick of its slot it means");

static uint32_t node_of(uint32_t slot)
{
	return 1 + slot;
}

static uint32_t level_of(uint32_t slot)
{
	return slot / DIGITS;
}

static uint32_t shift_of(uint32_t level)
{
	return level * DIGIT_BITS;
}

/* The slot of a level in which a tick lies. */
static uint32_t slot_at(uint32_t level, uint64_t tick)
{
	return level * DIGITS + (uint32_t)(tick >> shift_of(level)) % DIGITS;
}

static bool is_occupied(const struct wheel *wheel, uint32_t slot)
{
	return wheel->occupied[slot / 64] >> slot % 64 & 1;
}

/* The first that is occupied from here on, or WHEEL_SLOTS. */
static uint32_t occupied_from(const struct wheel *wheel, uint32_t slot)
{
	uint32_t i = slot / 64;
	uint64_t word;

	if (slot == WHEEL_SLOTS)
		return slot;
	word = wheel->occupied[i] & UINT64_MAX << slot % 64;
	while (!word) {
		if (++i == ARRAY_SIZE(wheel->occupied))
			return WHEEL_SLOTS;
		word = wheel->occupied[i];
	}
	return i * 64 + (uint32_t)__builtin_ctzll(word);
}

/* The first tick of a slot, at or after the position. */
static uint64_t slot_start(const struct wheel *wheel, uint32_t slot)
{
	uint32_t shift = shift_of(level_of(slot));
	uint64_t turn = wheel->position >> shift;

	return (turn + (slot - turn) % DIGITS) << shift;
}

/* Where the wheel has to stop next: what is left of where it stands comes first. */
static uint32_t next_slot(const struct wheel *wheel)
{
	uint32_t first, later;

	for (uint32_t level = TOP; level; --level)
		if (is_occupied(wheel, slot_at(level, wheel->position)))
			return slot_at(level, wheel->position);
	first = occupied_from(wheel, 0);
	if (first == WHEEL_SLOTS || level_of(first) < TOP)
		return first;
	later = occupied_from(wheel, slot_at(TOP, wheel->position));
	return later < WHEEL_SLOTS ? later : first;
}

static void link_last(struct wheel *wheel, uint32_t slot, uint32_t at, uint64_t tick)
{
	struct wheel_node *nodes = wheel->nodes;
	uint32_t end = node_of(slot), last = nodes[end].before;

	nodes[at] = (struct wheel_node){.next = end, .before = last, .due = (uint32_t)tick};
	nodes[last].next = at;
	nodes[end].before = at;
	wheel->occupied[slot / 64] |= (uint64_t)1 << slot % 64;
}

static void unlink_node(struct wheel *wheel, uint32_t at)
{
	struct wheel_node *nodes = wheel->nodes;
	uint32_t next = nodes[at].next, before = nodes[at].before;

	nodes[before].next = next;
	nodes[next].before = before;
	nodes[at].next = 0;
	if (next == before && !mutant(wheel_bit_kept)) {
		uint32_t slot = next - node_of(0);

		wheel->occupied[slot / 64] &= ~((uint64_t)1 << slot % 64);
	}
}

/* Not before the position. False: too far ahead. */
static bool slot_for(const struct wheel *wheel, uint64_t tick, uint32_t *ret)
{
	uint64_t differs = tick ^ wheel->position;
	uint32_t top = shift_of(TOP), level = TOP;

	if (!(differs >> top))
		level = (63 - (uint32_t)__builtin_clzll(differs | 1)) / DIGIT_BITS;
	else if ((tick >> top) - (wheel->position >> top) >= DIGITS)
		return false;
	*ret = slot_at(level, tick);
	return true;
}

int wheel_grow(struct wheel *wheel, uint32_t objects)
{
	struct wheel_node *nodes;

	if (objects <= wheel->objects)
		return 0;
	if (objects > UINT32_MAX - OBJECTS)
		return -ENOMEM;
	nodes = realloc(wheel->nodes, ((size_t)OBJECTS + objects) * sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	memset(nodes + OBJECTS + wheel->objects, 0,
	       (objects - wheel->objects) * sizeof(*nodes));
	wheel->nodes = nodes;
	wheel->objects = objects;
	return 0;
}

int wheel_init(struct wheel *wheel, uint64_t now, uint32_t tick, uint32_t objects)
{
	assert(tick);
	*wheel = (struct wheel){.position = now / tick, .now = now / tick, .tick = tick};
	if (objects > UINT32_MAX - OBJECTS)
		return -ENOMEM;
	/* Those of objects are zeroed when they are touched. */
	wheel->nodes = calloc((size_t)OBJECTS + objects, sizeof(*wheel->nodes));
	if (!wheel->nodes)
		return -ENOMEM;
	wheel->objects = objects;
	for (uint32_t at = node_of(0); at < OBJECTS; ++at)
		wheel->nodes[at].next = wheel->nodes[at].before = at;
	return 0;
}

void wheel_deinit(struct wheel *wheel)
{
	free(wheel->nodes);
	*wheel = (struct wheel){0};
}

bool wheel_has(const struct wheel *wheel, uint32_t number)
{
	assert(number < wheel->objects);
	return wheel->nodes[OBJECTS + number].next;
}

void wheel_remove(struct wheel *wheel, uint32_t number)
{
	if (!wheel_has(wheel, number))
		return;
	unlink_node(wheel, OBJECTS + number);
	--wheel->count;
}

void wheel_set(struct wheel *wheel, uint32_t number, uint64_t deadline)
{
	uint64_t tick = deadline / wheel->tick;
	uint32_t slot;

	if (deadline % wheel->tick && !mutant(wheel_early))
		++tick;
	tick = u64_max(tick, mutant(wheel_past_first) ? wheel->position : wheel->now);
	wheel_remove(wheel, number);
	if (deadline == WHEEL_NEVER || !slot_for(wheel, tick, &slot))
		return;
	link_last(wheel, slot, OBJECTS + number, tick);
	++wheel->count;
}

/* From the slot where the wheel stands to a lower level, which reaches as far as the slot does. */
static void move_on(struct wheel *wheel, uint32_t slot, uint32_t at)
{
	uint64_t within = ((uint64_t)1 << shift_of(level_of(slot))) - 1;
	uint64_t tick = wheel->position | (wheel->nodes[at].due & within);
	uint32_t lower = slot;
	bool near = slot_for(wheel, tick, &lower);

	assert(near && lower < slot);
	unlink_node(wheel, at);
	link_last(wheel, lower, at, tick);
}

uint32_t wheel_turn(struct wheel *wheel, uint64_t now, uint32_t *ret, uint32_t max)
{
	uint32_t expired = 0, steps = 0;

	wheel->now = u64_max(wheel->now, now / wheel->tick);
	for (;;) {
		uint32_t slot = next_slot(wheel), end = node_of(slot);

		if (slot == WHEEL_SLOTS || slot_start(wheel, slot) > wheel->now) {
			wheel->position = wheel->now;
			return expired;
		}
		wheel->position = slot_start(wheel, slot);
		do {
			uint32_t at = wheel->nodes[end].next;

			assert(at != end);
			if (steps == max)
				return expired;
			++steps;
			if (level_of(slot)) {
				move_on(wheel, slot, at);
				steps -= mutant(wheel_moves_free);
				continue;
			}
			unlink_node(wheel, at);
			--wheel->count;
			ret[expired++] = at - OBJECTS;
		} while (is_occupied(wheel, slot));
	}
}

uint64_t wheel_next(const struct wheel *wheel)
{
	uint32_t slot = next_slot(wheel);
	uint64_t time;

	/* A tick may begin after the end of time. */
	if (slot == WHEEL_SLOTS ||
	    __builtin_mul_overflow(slot_start(wheel, slot), wheel->tick, &time))
		return WHEEL_NEVER;
	return time;
}

/* A ring that is not empty. */
static const char *slot_check(const struct wheel *wheel, uint32_t slot, uint32_t *count)
{
	const struct wheel_node *nodes = wheel->nodes;
	uint32_t end = node_of(slot), before = end, shift = shift_of(level_of(slot));

	for (uint32_t at = nodes[end].next; at != end; at = nodes[at].next) {
		if (at < OBJECTS || at - OBJECTS >= wheel->objects || ++*count > wheel->count)
			return "WH1: a slot leads elsewhere, or holds more than there is";
		if (nodes[at].before != before)
			return "WH1: a slot's links do not agree";
		if (level_of(slot) < TOP && (nodes[at].due >> shift) % DIGITS != slot % DIGITS)
			return "an object is in a slot that is not its deadline's";
		before = at;
	}
	return nodes[end].before == before ? NULL : "WH1: a slot ends elsewhere";
}

const char *wheel_check(const struct wheel *wheel, uint32_t *ret_count)
{
	uint32_t count = 0, halted = 0, linked = 0;

	for (uint32_t slot = 0; slot < WHEEL_SLOTS; ++slot) {
		uint32_t level = level_of(slot), here = slot_at(level, wheel->position);
		const char *wrong = NULL;

		if (is_occupied(wheel, slot) !=
		    (wheel->nodes[node_of(slot)].next != node_of(slot)))
			return "a slot's bit does not say whether it is occupied";
		if (!is_occupied(wheel, slot))
			continue;
		if (level < TOP && slot < here)
			return "what a slot holds should have been done";
		if (level && slot == here) {
			++halted;
			if (slot_start(wheel, slot) != wheel->position)
				return "the wheel has gone on while it empties a slot";
		}
		wrong = slot_check(wheel, slot, &count);
		if (wrong)
			return wrong;
	}
	for (uint32_t i = 0; i < wheel->objects; ++i)
		linked += wheel_has(wheel, i);
	if (count != wheel->count || count != linked)
		return "WH1: there are more or fewer objects than are counted";
	if (wheel->position > wheel->now)
		return "WH6: the wheel is ahead of time";
	if (halted > 1)
		return "the wheel stands at two slots of upper levels";
	*ret_count = count;
	return NULL;
}
