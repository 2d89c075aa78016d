/*
 * FIFO - the oldest goes, whatever was accessed.
 */
#include "daemon/core/policy/line.h"

static void fifo_access(void *policy, const struct policy_object *object)
{
	line_fit(policy, object);
}

static uint32_t fifo_victim(void *policy)
{
	const struct line *line = policy;

	return line->queue.old;
}

const struct policy policy_fifo = {
	.name = "fifo",
	.state = sizeof(struct order_node),
	.init = line_init,
	.deinit = line_deinit,
	.grow = line_grow,
	.resize = line_resize,
	.admit = line_admit,
	.insert = line_insert,
	.access = fifo_access,
	.victim = fifo_victim,
	.refuse = line_renew,
	.remove = line_remove,
	.rename = line_rename,
	.has = line_has,
	.fetch_number = line_fetch_number,
	.fetch_beside = line_fetch_beside,
	.check = line_check,
};
