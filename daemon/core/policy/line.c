#include "daemon/core/policy/line.h"

enum { LINE = 1 };

int line_init(void **ret, const struct policy_config *config)
{
	struct line *line = malloc(sizeof(*line));

	if (!line)
		return -ENOMEM;
	queue_init(&line->queue);
	line->hand = POLICY_NONE;
	if (order_init(&line->order, config->objects)) {
		free(line);
		return -ENOMEM;
	}
	*ret = line;
	return 0;
}

void line_deinit(void *policy)
{
	struct line *line = policy;

	if (!line)
		return;
	order_deinit(&line->order);
	free(line);
}

int line_grow(void *policy, uint32_t objects)
{
	struct line *line = policy;

	return order_grow(&line->order, objects);
}

void line_resize(void *policy, uint64_t capacity)
{
	(void)policy;
	(void)capacity;
}

void line_admit(void *policy, const struct policy_object *object)
{
	(void)policy;
	(void)object;
}

void line_insert(void *policy, const struct policy_object *object)
{
	struct line *line = policy;

	order_put(&line->order, &line->queue, LINE, object->number, object->size);
}

void line_remove(void *policy, const struct policy_object *object, bool evicted)
{
	struct line *line = policy;

	(void)evicted;
	if (line->hand == object->number && !mutant(sieve_hand_stays))
		line->hand = line->order.nodes[object->number].younger;
	order_take(&line->order, &line->queue, object->number);
}

void line_rename(void *policy, uint32_t from, uint32_t to)
{
	struct line *line = policy;

	order_rename(&line->order, &line->queue, from, to);
	if (line->hand == from)
		line->hand = to;
}

void line_fit(struct line *line, const struct policy_object *object)
{
	order_fit(&line->order, &line->queue, object->number, object->size);
}

bool line_has(const void *policy, uint32_t number)
{
	const struct line *line = policy;

	return order_has(&line->order, number);
}

void line_fetch_number(const void *policy, uint32_t number)
{
	const struct line *line = policy;

	order_fetch(&line->order, number);
}

void line_fetch_beside(const void *policy, uint32_t number)
{
	const struct line *line = policy;

	order_fetch_beside(&line->order, number);
}

void line_renew(void *policy, uint32_t number)
{
	struct line *line = policy;

	order_renew(&line->order, &line->queue, number);
}

const char *line_check(const void *policy, uint32_t *ret_count)
{
	const struct line *line = policy;

	*ret_count = line->queue.count;
	if (line->hand != POLICY_NONE && order_queue(&line->order, line->hand) != LINE)
		return "line: the hand is on no object";
	return order_check(&line->order, &line->queue, LINE);
}
