/*
 * W-TinyLFU - newcomers pass through a window under LRU; who leaves it stays only if it was seen
 * more often lately than the one that would go for it (Einziger, Friedman and Manes, 2017). The
 * main part is segmented: who is accessed there is protected from that choice.
 *
 * How large the window is, it finds by climbing: a step, and on in that direction as long as hits
 * get more (Einziger, Eytan, Friedman and Manes, Middleware 2018).
 */
#include "base/base.h"
#include "daemon/core/policy/order.h"
#include "daemon/core/policy/sketch.h"

enum { WINDOW = 1, PROBATION = 2, PROTECTED = 3 };

enum {
	MOVES = 4,         /* from the window at once */
	SAMPLE = 10,       /* requests of a step, times the objects there are */
	OFTEN = 6,         /* seen so often, a loser is let in now and then, */
	LET_IN_MASK = 127, /* so that nobody who knows the hashes keeps all others out */
};

/* Shares of the capacity and rates of hits, in 2^24ths. */
enum {
	ONE = 1 << 24,
	SHARE_MIN = ONE / 100,
	SHARE_MAX = ONE / 10 * 8,
	STEP = ONE / 16,    /* of the window, when the climb begins; */
	RESTART = ONE / 20, /* it begins anew when the rate changes so much, */
	STEP_KEPT = 98,     /* and else gets smaller each time: percent */
};

struct wtinylfu {
	struct order order;
	struct queue window, probation, protected;
	struct sketch sketch;
	struct policy_config config;
	uint64_t window_capacity, protected_capacity;
	uint32_t refused; /* in a row */
	/* climbing */
	uint64_t hits, requests; /* of this sample */
	int32_t rate;            /* of hits, in the last one */
	int32_t share, step;     /* the window's; what is added to it next, or taken */
};

static void divide(struct wtinylfu *lfu)
{
	uint64_t capacity = lfu->config.capacity;

	lfu->window_capacity =
		u64_max((capacity >> 24) * (uint64_t)lfu->share +
				((capacity & (ONE - 1)) * (uint64_t)lfu->share >> 24),
			1);
	lfu->protected_capacity = (capacity - u64_min(capacity, lfu->window_capacity)) / 10 * 8;
}

static struct queue *queue_of(struct wtinylfu *lfu, uint32_t number)
{
	switch (order_queue(&lfu->order, number)) {
	case WINDOW:
		return &lfu->window;
	case PROBATION:
		return &lfu->probation;
	default:
		return &lfu->protected;
	}
}

static void move(struct wtinylfu *lfu, uint32_t number, struct queue *to, uint32_t id)
{
	uint32_t size = order_size(&lfu->order, number);

	order_take(&lfu->order, queue_of(lfu, number), number);
	order_put(&lfu->order, to, id, number, size);
}

static int32_t between(int64_t least, int64_t value, int64_t most)
{
	return (int32_t)(value < least ? least : value > most ? most : value);
}

/* The first request is a sample, too: so the climb begins at SHARE_MIN + STEP, which is better. */
static void climb(struct wtinylfu *lfu)
{
	uint64_t objects =
		(uint64_t)lfu->window.count + lfu->probation.count + lfu->protected.count;
	int32_t rate, change;

	if (lfu->requests < SAMPLE * objects)
		return;
	rate = (int32_t)(lfu->hits * ONE / lfu->requests);
	change = rate - lfu->rate;
	if (change < 0)
		lfu->step = -lfu->step;
	if (!mutant(wtinylfu_fixed))
		lfu->share = between(SHARE_MIN, (int64_t)lfu->share + lfu->step, SHARE_MAX);
	if (change >= RESTART || change <= -RESTART)
		lfu->step = lfu->step < 0 ? -STEP : STEP;
	else
		lfu->step = (int32_t)((int64_t)lfu->step * STEP_KEPT / 100);
	lfu->rate = rate;
	lfu->hits = lfu->requests = 0;
	divide(lfu);
}

static void seen(struct wtinylfu *lfu, uint64_t hash, uint32_t hits)
{
	sketch_add(&lfu->sketch, hash);
	lfu->requests++;
	lfu->hits += hits;
	climb(lfu);
}

static void wtinylfu_resize(void *policy, uint64_t capacity)
{
	struct wtinylfu *lfu = policy;

	lfu->config.capacity = capacity;
	divide(lfu);
}

static void wtinylfu_deinit(void *policy)
{
	struct wtinylfu *lfu = policy;

	if (!lfu)
		return;
	order_deinit(&lfu->order);
	sketch_deinit(&lfu->sketch);
	free(lfu);
}

static int wtinylfu_grow(void *policy, uint32_t objects)
{
	struct wtinylfu *lfu = policy;
	int r;

	r = order_grow(&lfu->order, objects);
	return r ? r : sketch_grow(&lfu->sketch, objects);
}

static int wtinylfu_init(void **ret, const struct policy_config *config)
{
	struct wtinylfu *lfu = calloc(1, sizeof(*lfu));

	if (!lfu)
		return -ENOMEM;
	queue_init(&lfu->window);
	queue_init(&lfu->probation);
	queue_init(&lfu->protected);
	lfu->config = *config;
	lfu->share = SHARE_MIN;
	lfu->step = STEP;
	if (wtinylfu_grow(lfu, config->objects)) {
		wtinylfu_deinit(lfu);
		return -ENOMEM;
	}
	divide(lfu);
	*ret = lfu;
	return 0;
}

static void wtinylfu_admit(void *policy, const struct policy_object *object)
{
	seen(policy, object->hash, 0);
}

static void wtinylfu_insert(void *policy, const struct policy_object *object)
{
	struct wtinylfu *lfu = policy;

	order_put(&lfu->order, &lfu->window, WINDOW, object->number, object->size);
	for (int i = 0;
	     i < MOVES && lfu->window.size > lfu->window_capacity && lfu->window.count > 1; i++)
		move(lfu, lfu->window.old, &lfu->probation, PROBATION);
}

static void wtinylfu_access(void *policy, const struct policy_object *object)
{
	struct wtinylfu *lfu = policy;

	seen(lfu, object->hash, 1);
	order_fit(&lfu->order, queue_of(lfu, object->number), object->number, object->size);
	if (order_queue(&lfu->order, object->number) != PROBATION) {
		order_renew(&lfu->order, queue_of(lfu, object->number), object->number);
		return;
	}
	move(lfu, object->number, &lfu->protected, PROTECTED);
	for (int i = 0; i < MOVES && lfu->protected.size > lfu->protected_capacity; i++)
		move(lfu, lfu->protected.old, &lfu->probation, PROBATION);
}

static uint32_t seen_lately(const struct wtinylfu *lfu, uint32_t number)
{
	struct policy_object object;

	lfu->config.look(lfu->config.host, number, &object);
	return sketch_estimate(&lfu->sketch, object.hash);
}

/* Does the one from the window stay, for the other? */
static bool wins(struct wtinylfu *lfu, uint32_t candidate, uint32_t other)
{
	uint32_t times = seen_lately(lfu, candidate);

	if (times > seen_lately(lfu, other))
		return true;
	return times >= OFTEN && !(((uint32_t)lfu->requests * 2654435761U >> 16) & LET_IN_MASK);
}

static uint32_t wtinylfu_victim(void *policy)
{
	struct wtinylfu *lfu = policy;
	uint32_t old = lfu->probation.count ? lfu->probation.old : lfu->protected.old;
	uint32_t candidate = lfu->window.old; /* a newcomer will push it out */

	if (candidate == POLICY_NONE)
		return old;
	if (old == POLICY_NONE || lfu->refused > lfu->probation.count + lfu->protected.count)
		return candidate;
	if (lfu->window.size < lfu->window_capacity)
		return old;
	return wins(lfu, candidate, old) ? old : candidate;
}

/* It is in use: it is protected. */
static void wtinylfu_refuse(void *policy, uint32_t number)
{
	struct wtinylfu *lfu = policy;

	move(lfu, number, &lfu->protected, PROTECTED);
	lfu->refused++;
}

static void wtinylfu_remove(void *policy, const struct policy_object *object, bool evicted)
{
	struct wtinylfu *lfu = policy;

	(void)evicted;
	lfu->refused = 0;
	order_take(&lfu->order, queue_of(lfu, object->number), object->number);
}

static void wtinylfu_rename(void *policy, uint32_t from, uint32_t to)
{
	struct wtinylfu *lfu = policy;

	order_rename(&lfu->order, queue_of(lfu, from), from, to);
}

static bool wtinylfu_has(const void *policy, uint32_t number)
{
	const struct wtinylfu *lfu = policy;

	return order_has(&lfu->order, number);
}

static void wtinylfu_fetch(const void *policy, uint64_t hash)
{
	const struct wtinylfu *lfu = policy;

	sketch_fetch(&lfu->sketch, hash);
}

static void wtinylfu_fetch_number(const void *policy, uint32_t number)
{
	const struct wtinylfu *lfu = policy;

	order_fetch(&lfu->order, number);
}

static void wtinylfu_fetch_beside(const void *policy, uint32_t number)
{
	const struct wtinylfu *lfu = policy;

	order_fetch_beside(&lfu->order, number);
}

static const char *wtinylfu_check(const void *policy, uint32_t *ret_count)
{
	const struct wtinylfu *lfu = policy;
	const char *wrong;

	*ret_count = lfu->window.count + lfu->probation.count + lfu->protected.count;
	wrong = order_check(&lfu->order, &lfu->window, WINDOW);
	if (!wrong)
		wrong = order_check(&lfu->order, &lfu->probation, PROBATION);
	return wrong ? wrong : order_check(&lfu->order, &lfu->protected, PROTECTED);
}

const struct policy policy_wtinylfu = {
	.name = "wtinylfu",
	.state = sizeof(struct order_node),
	.memory = SKETCH_BYTES,
	.init = wtinylfu_init,
	.deinit = wtinylfu_deinit,
	.grow = wtinylfu_grow,
	.resize = wtinylfu_resize,
	.admit = wtinylfu_admit,
	.insert = wtinylfu_insert,
	.access = wtinylfu_access,
	.victim = wtinylfu_victim,
	.refuse = wtinylfu_refuse,
	.remove = wtinylfu_remove,
	.rename = wtinylfu_rename,
	.has = wtinylfu_has,
	.fetch = wtinylfu_fetch,
	.fetch_number = wtinylfu_fetch_number,
	.fetch_beside = wtinylfu_fetch_beside,
	.check = wtinylfu_check,
};
