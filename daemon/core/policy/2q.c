/*
 * 2Q - newcomers pass through a queue in which accesses do not count; who comes back after it is
 * kept by LRU (Johnson and Shasha, VLDB 1994).
 *
 * in: a quarter of the capacity; out, which knows keys only: half of it.
 */
#include "daemon/core/policy/ghost.h"
#include "daemon/core/policy/order.h"

enum { IN = 1, MAIN = 2 };

struct two_q {
	struct order order;
	struct queue in, main;
	struct ghost out;
	uint64_t in_capacity;
	uint64_t admitted; /* its hash; */
	bool known;        /* it passed through not long ago */
	uint32_t refused;  /* in a row */
};

static void two_q_resize(void *policy, uint64_t capacity)
{
	struct two_q *two_q = policy;

	two_q->in_capacity = capacity / 4;
	ghost_resize(&two_q->out, capacity / 2);
}

static void two_q_deinit(void *policy)
{
	struct two_q *two_q = policy;

	if (!two_q)
		return;
	order_deinit(&two_q->order);
	ghost_deinit(&two_q->out);
	free(two_q);
}

static int two_q_grow(void *policy, uint32_t objects)
{
	struct two_q *two_q = policy;
	int r;

	r = order_grow(&two_q->order, objects);
	return r ? r : ghost_grow(&two_q->out, objects);
}

static int two_q_init(void **ret, const struct policy_config *config)
{
	struct two_q *two_q = calloc(1, sizeof(*two_q));

	if (!two_q)
		return -ENOMEM;
	queue_init(&two_q->in);
	queue_init(&two_q->main);
	if (two_q_grow(two_q, config->objects)) {
		two_q_deinit(two_q);
		return -ENOMEM;
	}
	two_q_resize(two_q, config->capacity);
	*ret = two_q;
	return 0;
}

static struct queue *queue_of(struct two_q *two_q, uint32_t number)
{
	return order_queue(&two_q->order, number) == IN ? &two_q->in : &two_q->main;
}

static void two_q_admit(void *policy, const struct policy_object *object)
{
	struct two_q *two_q = policy;

	two_q->admitted = object->hash;
	two_q->known = ghost_take(&two_q->out, object->hash);
}

static void two_q_insert(void *policy, const struct policy_object *object)
{
	struct two_q *two_q = policy;

	/* A switch may insert others in between. */
	if (two_q->known && two_q->admitted == object->hash) {
		order_put(&two_q->order, &two_q->main, MAIN, object->number, object->size);
		two_q->known = false;
		return;
	}
	order_put(&two_q->order, &two_q->in, IN, object->number, object->size);
}

static void two_q_access(void *policy, const struct policy_object *object)
{
	struct two_q *two_q = policy;

	order_fit(&two_q->order, queue_of(two_q, object->number), object->number, object->size);
	if (order_queue(&two_q->order, object->number) == MAIN)
		order_renew(&two_q->order, &two_q->main, object->number);
}

static uint32_t two_q_victim(void *policy)
{
	const struct two_q *two_q = policy;

	if (two_q->in.count &&
	    (two_q->in.size > two_q->in_capacity || two_q->refused >= two_q->main.count))
		return two_q->in.old;
	return two_q->main.old;
}

/* It is in use: to the young end of the main queue. */
static void two_q_refuse(void *policy, uint32_t number)
{
	struct two_q *two_q = policy;
	uint32_t size = order_size(&two_q->order, number);

	order_take(&two_q->order, queue_of(two_q, number), number);
	order_put(&two_q->order, &two_q->main, MAIN, number, size);
	two_q->refused++;
}

static void two_q_remove(void *policy, const struct policy_object *object, bool evicted)
{
	struct two_q *two_q = policy;

	two_q->refused = 0;
	if (order_queue(&two_q->order, object->number) == MAIN) {
		order_take(&two_q->order, &two_q->main, object->number);
		return;
	}
	order_take(&two_q->order, &two_q->in, object->number);
	if (evicted)
		ghost_put(&two_q->out, object->hash, object->size);
}

static void two_q_rename(void *policy, uint32_t from, uint32_t to)
{
	struct two_q *two_q = policy;

	order_rename(&two_q->order, queue_of(two_q, from), from, to);
}

static bool two_q_has(const void *policy, uint32_t number)
{
	const struct two_q *two_q = policy;

	return order_has(&two_q->order, number);
}

static void two_q_fetch(const void *policy, uint64_t hash)
{
	const struct two_q *two_q = policy;

	ghost_fetch(&two_q->out, hash);
}

static void two_q_fetch_number(const void *policy, uint32_t number)
{
	const struct two_q *two_q = policy;

	order_fetch(&two_q->order, number);
}

static void two_q_fetch_beside(const void *policy, uint32_t number)
{
	const struct two_q *two_q = policy;

	order_fetch_beside(&two_q->order, number);
}

static const char *two_q_check(const void *policy, uint32_t *ret_count)
{
	const struct two_q *two_q = policy;
	const char *wrong;

	*ret_count = two_q->in.count + two_q->main.count;
	wrong = order_check(&two_q->order, &two_q->in, IN);
	if (!wrong)
		wrong = order_check(&two_q->order, &two_q->main, MAIN);
	return wrong ? wrong : ghost_check(&two_q->out);
}

const struct policy policy_2q = {
	.name = "2q",
	.state = sizeof(struct order_node),
	.memory = GHOST_BYTES,
	.init = two_q_init,
	.deinit = two_q_deinit,
	.grow = two_q_grow,
	.resize = two_q_resize,
	.admit = two_q_admit,
	.insert = two_q_insert,
	.access = two_q_access,
	.victim = two_q_victim,
	.refuse = two_q_refuse,
	.remove = two_q_remove,
	.rename = two_q_rename,
	.has = two_q_has,
	.fetch = two_q_fetch,
	.fetch_number = two_q_fetch_number,
	.fetch_beside = two_q_fetch_beside,
	.check = two_q_check,
};
