/*
 * S3-FIFO - a small queue lets most newcomers go again soon; who is accessed there, or comes back
 * soon, is kept in the main one, which goes round as long as it is accessed (Yang et al., SOSP 2023).
 *
 * small: a tenth of the capacity. A mark counts accesses, up to 3.
 */
#include "daemon/core/policy/ghost.h"
#include "daemon/core/policy/order.h"

enum { SMALL = 1, MAIN = 2, MARK_MAX = 3, KEPT_FROM = 2 };

struct s3fifo {
	struct order order;
	struct queue small, main;
	struct ghost ghost;
	uint64_t main_capacity;
	uint64_t admitted; /* its hash; */
	bool known;        /* it was let go not long ago */
	uint32_t offered;  /* to find it may have filled the main queue: no second look */
	uint32_t refused;  /* in a row */
};

static void s3fifo_resize(void *policy, uint64_t capacity)
{
	struct s3fifo *s3fifo = policy;

	s3fifo->main_capacity = capacity - capacity / 10;
	ghost_resize(&s3fifo->ghost, s3fifo->main_capacity);
}

static void s3fifo_deinit(void *policy)
{
	struct s3fifo *s3fifo = policy;

	if (!s3fifo)
		return;
	order_deinit(&s3fifo->order);
	ghost_deinit(&s3fifo->ghost);
	free(s3fifo);
}

static int s3fifo_grow(void *policy, uint32_t objects)
{
	struct s3fifo *s3fifo = policy;
	int r;

	r = order_grow(&s3fifo->order, objects);
	return r ? r : ghost_grow(&s3fifo->ghost, objects);
}

static int s3fifo_init(void **ret, const struct policy_config *config)
{
	struct s3fifo *s3fifo = calloc(1, sizeof(*s3fifo));

	if (!s3fifo)
		return -ENOMEM;
	queue_init(&s3fifo->small);
	queue_init(&s3fifo->main);
	s3fifo->offered = POLICY_NONE;
	if (s3fifo_grow(s3fifo, config->objects)) {
		s3fifo_deinit(s3fifo);
		return -ENOMEM;
	}
	s3fifo_resize(s3fifo, config->capacity);
	*ret = s3fifo;
	return 0;
}

static struct queue *queue_of(struct s3fifo *s3fifo, uint32_t number)
{
	return order_queue(&s3fifo->order, number) == SMALL ? &s3fifo->small : &s3fifo->main;
}

static void s3fifo_admit(void *policy, const struct policy_object *object)
{
	struct s3fifo *s3fifo = policy;

	s3fifo->admitted = object->hash;
	s3fifo->known = ghost_take(&s3fifo->ghost, object->hash);
}

static void s3fifo_insert(void *policy, const struct policy_object *object)
{
	struct s3fifo *s3fifo = policy;

	/* A switch may insert others in between. */
	if (s3fifo->known && s3fifo->admitted == object->hash) {
		order_put(&s3fifo->order, &s3fifo->main, MAIN, object->number, object->size);
		s3fifo->known = false;
		return;
	}
	order_put(&s3fifo->order, &s3fifo->small, SMALL, object->number, object->size);
}

static void unoffer(struct s3fifo *s3fifo, uint32_t number)
{
	if (s3fifo->offered == number)
		s3fifo->offered = POLICY_NONE;
}

static void s3fifo_access(void *policy, const struct policy_object *object)
{
	struct s3fifo *s3fifo = policy;
	uint32_t mark = order_mark(&s3fifo->order, object->number);

	order_fit(&s3fifo->order, queue_of(s3fifo, object->number), object->number,
		  object->size);
	if (mark < MARK_MAX)
		order_set_mark(&s3fifo->order, object->number, mark + 1);
	unoffer(s3fifo, object->number);
}

static void keep(struct s3fifo *s3fifo, uint32_t number)
{
	uint32_t size = order_size(&s3fifo->order, number);

	order_take(&s3fifo->order, queue_of(s3fifo, number), number);
	order_put(&s3fifo->order, &s3fifo->main, MAIN, number, size);
}

/* The oldest of the small queue that is not to be kept; who is goes to the main queue. */
static uint32_t victim_of_small(struct s3fifo *s3fifo)
{
	uint32_t old, passed = 0;

	while ((old = s3fifo->small.old) != POLICY_NONE &&
	       order_mark(&s3fifo->order, old) >= (mutant(s3fifo_keeps_all) ? 1 : KEPT_FROM)) {
		if (passed++ == POLICY_PASSED)
			return POLICY_MORE;
		keep(s3fifo, old);
	}
	return old;
}

static uint32_t victim_of_main(struct s3fifo *s3fifo)
{
	uint32_t old, mark, passed = 0;

	while ((old = s3fifo->main.old) != POLICY_NONE &&
	       (mark = order_mark(&s3fifo->order, old)) > 0) {
		if (passed++ == POLICY_PASSED)
			return POLICY_MORE;
		order_set_mark(&s3fifo->order, old, mark - 1);
		order_renew(&s3fifo->order, &s3fifo->main, old);
	}
	return old;
}

static uint32_t s3fifo_victim(void *policy)
{
	struct s3fifo *s3fifo = policy;

	uint32_t victim = s3fifo->offered;

	if (victim == POLICY_NONE && (s3fifo->main.size <= s3fifo->main_capacity ||
				      s3fifo->refused > s3fifo->main.count))
		victim = victim_of_small(s3fifo);
	if (victim == POLICY_NONE)
		victim = victim_of_main(s3fifo);
	if (victim != POLICY_MORE)
		s3fifo->offered = victim;
	return victim;
}

/* It is in use: to the young end of the main queue. */
static void s3fifo_refuse(void *policy, uint32_t number)
{
	struct s3fifo *s3fifo = policy;

	keep(s3fifo, number);
	unoffer(s3fifo, number);
	s3fifo->refused++;
}

static void s3fifo_remove(void *policy, const struct policy_object *object, bool evicted)
{
	struct s3fifo *s3fifo = policy;

	s3fifo->refused = 0;
	unoffer(s3fifo, object->number);
	if (order_queue(&s3fifo->order, object->number) == MAIN) {
		order_take(&s3fifo->order, &s3fifo->main, object->number);
		return;
	}
	order_take(&s3fifo->order, &s3fifo->small, object->number);
	if (evicted)
		ghost_put(&s3fifo->ghost, object->hash, object->size);
}

static void s3fifo_rename(void *policy, uint32_t from, uint32_t to)
{
	struct s3fifo *s3fifo = policy;

	order_rename(&s3fifo->order, queue_of(s3fifo, from), from, to);
	if (s3fifo->offered == from)
		s3fifo->offered = to;
}

static bool s3fifo_has(const void *policy, uint32_t number)
{
	const struct s3fifo *s3fifo = policy;

	return order_has(&s3fifo->order, number);
}

static void s3fifo_fetch(const void *policy, uint64_t hash)
{
	const struct s3fifo *s3fifo = policy;

	ghost_fetch(&s3fifo->ghost, hash);
}

static void s3fifo_fetch_number(const void *policy, uint32_t number)
{
	const struct s3fifo *s3fifo = policy;

	order_fetch(&s3fifo->order, number);
}

static void s3fifo_fetch_beside(const void *policy, uint32_t number)
{
	const struct s3fifo *s3fifo = policy;

	order_fetch_beside(&s3fifo->order, number);
}

static const char *s3fifo_check(const void *policy, uint32_t *ret_count)
{
	const struct s3fifo *s3fifo = policy;
	const char *wrong;

	*ret_count = s3fifo->small.count + s3fifo->main.count;
	if (s3fifo->offered != POLICY_NONE && !order_has(&s3fifo->order, s3fifo->offered))
		return "s3fifo: what is offered is no object";
	wrong = order_check(&s3fifo->order, &s3fifo->small, SMALL);
	if (!wrong)
		wrong = order_check(&s3fifo->order, &s3fifo->main, MAIN);
	return wrong ? wrong : ghost_check(&s3fifo->ghost);
}

const struct policy policy_s3fifo = {
	.name = "s3fifo",
	.state = sizeof(struct order_node),
	.memory = GHOST_BYTES,
	.init = s3fifo_init,
	.deinit = s3fifo_deinit,
	.grow = s3fifo_grow,
	.resize = s3fifo_resize,
	.admit = s3fifo_admit,
	.insert = s3fifo_insert,
	.access = s3fifo_access,
	.victim = s3fifo_victim,
	.refuse = s3fifo_refuse,
	.remove = s3fifo_remove,
	.rename = s3fifo_rename,
	.has = s3fifo_has,
	.fetch = s3fifo_fetch,
	.fetch_number = s3fifo_fetch_number,
	.fetch_beside = s3fifo_fetch_beside,
	.check = s3fifo_check,
};
