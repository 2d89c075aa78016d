/*
 * SIEVE - a hand goes from the old end to the young one, and round: it spares once who was accessed
 * since it passed last, without moving it, and takes the others (Zhang et al., NSDI 2024).
 */
#include "daemon/core/policy/line.h"

static void sieve_access(void *policy, const struct policy_object *object)
{
	struct line *line = policy;

	line_fit(line, object);
	order_set_mark(&line->order, object->number, 1);
}

/* On to the next younger one; POLICY_NONE, from the young end, is the old end. */
static void hand_on(struct line *line)
{
	line->hand = line->order.nodes[line->hand].younger;
}

static uint32_t sieve_victim(void *policy)
{
	struct line *line = policy;

	for (uint32_t passed = 0; passed < POLICY_PASSED; passed++) {
		if (line->hand == POLICY_NONE)
			line->hand = line->queue.old;
		if (line->hand == POLICY_NONE || !order_mark(&line->order, line->hand))
			return line->hand;
		order_set_mark(&line->order, line->hand, 0);
		hand_on(line);
	}
	return POLICY_MORE;
}

static void sieve_refuse(void *policy, uint32_t number)
{
	struct line *line = policy;

	if (line->hand == number && !mutant(refused_again))
		hand_on(line);
}

const struct policy policy_sieve = {
	.name = "sieve",
	.state = sizeof(struct order_node),
	.init = line_init,
	.deinit = line_deinit,
	.grow = line_grow,
	.resize = line_resize,
	.admit = line_admit,
	.insert = line_insert,
	.access = sieve_access,
	.victim = sieve_victim,
	.refuse = sieve_refuse,
	.remove = line_remove,
	.rename = line_rename,
	.has = line_has,
	.fetch_number = line_fetch_number,
	.fetch_beside = line_fetch_beside,
	.check = line_check,
};
