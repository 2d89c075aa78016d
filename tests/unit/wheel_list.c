#include "tests/unit/wheel_list.h"

#include <string.h>

#include "base/base.h"

/* A deadline may be taken for never if it is so many ticks ahead of where the wheel stands. */
static const uint64_t far = (uint64_t)255 << 32;

static void list_remove(struct wheel_list *list, uint32_t number)
{
	for (uint32_t i = 0; i < list->count; ++i) {
		if (list->entries[i].number != number)
			continue;
		--list->count;
		memmove(&list->entries[i], &list->entries[i + 1],
			(list->count - i) * sizeof(list->entries[0]));
		return;
	}
}

static void list_insert(struct wheel_list *list, uint32_t number, uint64_t tick)
{
	uint32_t i = list->count++;

	for (; i && list->entries[i - 1].tick > tick; --i)
		list->entries[i] = list->entries[i - 1];
	list->entries[i] = (struct wheel_list_entry){number, tick};
}

static const char *set(struct wheel_list *list, uint32_t number, uint64_t deadline)
{
	uint32_t length = list->wheel.tick;
	uint64_t tick = deadline / length + (deadline % length > 0);

	if (tick < list->latest / length)
		tick = list->latest / length;
	list_remove(list, number);
	wheel_set(&list->wheel, number, deadline);
	if (wheel_has(&list->wheel, number)) {
		if (deadline == WHEEL_NEVER)
			return "it keeps what is for ever";
		list_insert(list, number, tick);
	} else if (deadline != WHEEL_NEVER && tick - list->wheel.position < far) {
		return "it does not keep what was set";
	}
	return NULL;
}

static const char *turn(struct wheel_list *list, uint32_t max)
{
	uint64_t now = list->now / list->wheel.tick;
	uint32_t numbers[LIST_BUDGET_MAX], n;

	n = wheel_turn(&list->wheel, list->now, numbers, max);
	list->latest = u64_max(list->latest, list->now);
	now = list->latest / list->wheel.tick;
	if (n > max)
		return "more expired than was allowed";
	for (uint32_t i = 0; i < n; ++i) {
		uint32_t at = 0;

		while (at < list->count && list->entries[at].number != numbers[i])
			++at;
		if (at == list->count)
			return "one expired that has no deadline";
		if (list->entries[at].tick > now)
			return "one expired before its deadline";
		if (list->entries[at].tick != list->entries[0].tick)
			return "one expired before another that was due earlier";
		if (wheel_has(&list->wheel, numbers[i]))
			return "what has expired is still there";
		list_remove(list, numbers[i]);
	}
	list->expired += n;
	if (wheel_next(&list->wheel) <= list->latest) {
		++list->unfinished;
		return NULL;
	}
	return list->count && list->entries[0].tick <= now ? "what is due is left for later"
							   : NULL;
}

static const char *compare(const struct wheel_list *list)
{
	uint32_t length = list->wheel.tick, count;
	uint64_t next = wheel_next(&list->wheel), due;
	const char *wrong = wheel_check(&list->wheel, &count);

	if (wrong)
		return wrong;
	if (count != list->count)
		return "it holds other objects than there are";
	for (uint32_t i = 0; i < list->count; ++i)
		if (!wheel_has(&list->wheel, list->entries[i].number))
			return "it has lost one";
	if (!list->count)
		return next == WHEEL_NEVER ? NULL : "it asks for a turn, and is empty";
	if (!__builtin_mul_overflow(list->entries[0].tick, length, &due) && next > due)
		return "it asks for a turn later than one is due";
	return NULL;
}

bool wheel_list_init(struct wheel_list *list, uint64_t now, uint32_t tick)
{
	*list = (struct wheel_list){.now = u64_min(now, WHEEL_NEVER - 1)};
	list->latest = list->now;
	return !wheel_init(&list->wheel, list->now, tick, 1);
}

void wheel_list_deinit(struct wheel_list *list)
{
	wheel_deinit(&list->wheel);
}

const char *wheel_list_step(struct wheel_list *list, struct wheel_step step)
{
	uint32_t number = step.number % list->wheel.objects;
	const char *wrong = NULL;
	uint64_t next;

	switch (step.kind) {
	case WHEEL_STEP_SET:
		wrong = set(list, number, step.time);
		break;
	case WHEEL_STEP_AFTER:
		if (u64_add(list->now, step.time, &next))
			wrong = set(list, number, next);
		break;
	case WHEEL_STEP_REMOVE:
		wheel_remove(&list->wheel, number);
		list_remove(list, number);
		break;
	case WHEEL_STEP_NEXT:
	case WHEEL_STEP_TURN:
		next = wheel_next(&list->wheel);
		if (step.kind == WHEEL_STEP_NEXT && next != WHEEL_NEVER)
			step.time = next - u64_min(next, list->now);
		if (!u64_add(list->now, step.time, &list->now))
			list->now = WHEEL_NEVER;
		list->now = u64_min(list->now, WHEEL_NEVER - 1);
		wrong = turn(list, step.max);
		break;
	case WHEEL_STEP_BACK:
		list->now -= u64_min(list->now, step.time);
		wrong = turn(list, step.max);
		break;
	case WHEEL_STEP_GROW:
		if (list->wheel.objects < LIST_OBJECTS &&
		    wheel_grow(&list->wheel, list->wheel.objects + 1))
			wrong = "out of memory";
		break;
	case WHEEL_STEPS:
		break;
	}
	return wrong ? wrong : compare(list);
}

const char *wheel_list_drain(struct wheel_list *list, uint32_t max)
{
	uint64_t steps = (uint64_t)list->count * WHEEL_LEVELS;

	for (uint64_t done = 0; wheel_next(&list->wheel) <= list->latest; done += max) {
		const char *wrong = wheel_list_step(
			list, (struct wheel_step){.kind = WHEEL_STEP_TURN, .max = max});

		if (wrong)
			return wrong;
		if (done > steps)
			return "it takes more steps than it may";
	}
	return NULL;
}
