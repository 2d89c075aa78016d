/*
 * CLOCK - the oldest goes; but who was accessed since it came, or came round, comes round once more.
 */
#include "daemon/core/policy/line.h"

static void clock_access(void *policy, const struct policy_object *object)
{
	struct line *line = policy;

	line_fit(line, object);
	order_set_mark(&line->order, object->number, 1);
}

static uint32_t clock_victim(void *policy)
{
	struct line *line = policy;
	uint32_t old, passed = 0;

	while ((old = line->queue.old) != POLICY_NONE && order_mark(&line->order, old) &&
	       !mutant(clock_spares_none)) {
		if (passed++ == POLICY_PASSED)
			return POLICY_MORE;
		order_set_mark(&line->order, old, 0);
		line_renew(line, old);
		/* The only one is at the young end already: unmarked now. */
	}
	return old;
}

const struct policy policy_clock = {
	.name = "clock",
	.state = sizeof(struct order_node),
	.init = line_init,
	.deinit = line_deinit,
	.grow = line_grow,
	.resize = line_resize,
	.admit = line_admit,
	.insert = line_insert,
	.access = clock_access,
	.victim = clock_victim,
	.refuse = line_renew,
	.remove = line_remove,
	.rename = line_rename,
	.has = line_has,
	.fetch_number = line_fetch_number,
	.fetch_beside = line_fetch_beside,
	.check = line_check,
};
