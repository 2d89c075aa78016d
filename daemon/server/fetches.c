#include "daemon/server/fetches.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/hoard.h"
#include "daemon/server/method_parts.h"
#include "daemon/server/retry.h"
#include "daemon/server/server.h"

enum {
	RIGHTS_A_STEP = 256, /* passed on */
	TICK_MS = 5,         /* deadlines are looked at no more often */
	COMPUTE_MS = 30000,  /* how long a right lasts for who does not say */
	MS_MAX = 86400000,   /* that anybody may say */
	OVERDUE_MS = 10000,  /* by so much a right that nobody wants outlives its time */
};

#define NEVER UINT64_MAX

/* A request that waits: in the queue of a right, or with an answer. */
struct waiter {
	struct link in_queue, in_client;
	struct request *request;
	uint64_t deadline; /* ms of the machine's time, as all times here */
	uint64_t compute_ms;
	uint32_t cache;
	int result; /* as of a method */
};

struct fetches {
	struct server *server;
	uv_timer_t timer;
	uint64_t armed; /* NEVER */
	struct link answered;
	uint32_t n_queues;
	struct link queues[]; /* by slots of rights; zeroed: nobody has waited there */
};

static struct link *queue_of(struct fetches *fetches, uint32_t right)
{
	struct link *queue = &fetches->queues[right];

	assert(right < fetches->n_queues);
	if (!queue->next)
		list_init(queue);
	return queue;
}

/* All of a queue, to one that is empty. */
static void queue_move(struct link *to, struct link *from)
{
	if (list_empty(from))
		return;
	*to = *from;
	to->next->previous = to;
	to->previous->next = to;
	list_init(from);
}

/* ---- time ---- */

static void look_at_clock(uv_timer_t *timer);

static void arm(struct fetches *fetches, uint64_t when, uint64_t now)
{
	if (when >= fetches->armed || fetches->server->stopping)
		return;
	fetches->armed = when;
	uv_timer_start(&fetches->timer, look_at_clock,
		       u64_max(when > now ? when - now : 0, TICK_MS), 0);
}

/* ---- answers ---- */

/* It is in no queue. */
static void waiter_end(struct waiter *waiter)
{
	struct request *request = waiter->request;
	int result = waiter->result;

	list_remove(&waiter->in_client);
	free(waiter);
	request_finish(request, result, NULL, 0);
}

/* At one of the next turns. */
static void settle(struct fetches *fetches, struct waiter *waiter, int result)
{
	waiter->result = result;
	list_remove(&waiter->in_queue);
	list_append(&fetches->answered, &waiter->in_queue);
	server_more(fetches->server);
}

bool fetches_turn(struct server *server)
{
	struct fetches *fetches = server->fetches;

	for (int n = 0; !list_empty(&fetches->answered) && (!n || stint_lasts(server)); n++) {
		struct waiter *waiter =
			list_entry(fetches->answered.next, struct waiter, in_queue);

		list_remove(&waiter->in_queue);
		waiter_end(waiter);
	}
	return !list_empty(&fetches->answered);
}

static void say_granted(struct request *request, const struct right_view *right)
{
	request->result.cache_fetched = (struct wire_cache_fetched){
		.token = right->token,
		.until = right->until,
	};
}

static void say_there(struct request *request, uint32_t generation)
{
	request->result.cache_fetched = (struct wire_cache_fetched){.generation = generation};
}

static void all_look(struct fetches *fetches, struct link *queue, uint32_t generation)
{
	while (!list_empty(queue) && !mutant(fetch_unwoken)) {
		struct waiter *waiter = list_entry(queue->next, struct waiter, in_queue);

		say_there(waiter->request, generation);
		settle(fetches, waiter, 0);
	}
}

static int say_failed(struct request *request, uint64_t code)
{
	request->fault = (struct wire_fault){.system_errno = code};
	return fault_set(request, FAULT_FAILED, "value", "who computed it has failed: %llu",
			 (unsigned long long)code);
}

static void all_fail(struct fetches *fetches, struct link *queue, uint64_t code)
{
	while (!list_empty(queue)) {
		struct waiter *waiter = list_entry(queue->next, struct waiter, in_queue);

		settle(fetches, waiter, say_failed(waiter->request, code));
	}
}

/* ---- rights ---- */

/* FE2. What cannot be given to one is offered to the next. */
static void pass_on(struct fetches *fetches, const struct right_view *right, uint64_t now)
{
	struct link *queue = queue_of(fetches, right->right), waiting;
	struct core *core = fetches->server->core;

	list_init(&waiting);
	queue_move(&waiting, queue);
	core_right_end(core, right->right);
	while (!list_empty(&waiting)) {
		struct waiter *waiter = list_entry(waiting.next, struct waiter, in_queue);
		struct core_fault fault = {};
		struct right_view next;
		int r;

		request_asks(waiter->request);
		r = core_right_take(core, waiter->request->client->session, right->cache,
				    right->hash, now + waiter->compute_ms, &next, &fault);
		if (r) {
			settle(fetches, waiter, method_answer(waiter->request, r, &fault));
			continue;
		}
		say_granted(waiter->request, &next);
		settle(fetches, waiter, 0);
		if (list_empty(&waiting))
			break;
		queue_move(queue_of(fetches, next.right), &waiting);
		arm(fetches, next.until, now);
		break;
	}
	server_apply(fetches->server);
}

/* Its time is over, and that of who waits for it. *when: what to look at next. */
static void look_at_right(struct fetches *fetches, const struct right_view *right, uint64_t now,
			  uint64_t *when)
{
	struct link *queue = queue_of(fetches, right->right);
	struct request *request;

	for (struct link *at = queue->next, *next; at != queue; at = next) {
		struct waiter *waiter = list_entry(at, struct waiter, in_queue);

		next = at->next;
		if (waiter->deadline > now) {
			*when = u64_min(*when, waiter->deadline);
			continue;
		}
		request = waiter->request;
		settle(fetches, waiter,
		       fault_set(request, FAULT_TIMEOUT, "wait",
				 "another process still computes the value"));
	}
	if (list_empty(queue))
		return;
	if (right->until <= now && !mutant(fetch_late_kept))
		pass_on(fetches, right, now);
	else if (right->until > now)
		*when = u64_min(*when, right->until);
}

static void look_at_clock(uv_timer_t *timer)
{
	struct fetches *fetches = container_of(timer, struct fetches, timer);
	const struct core *core = fetches->server->core;
	uint64_t now = server_machine_ms(fetches->server), when = NEVER;
	struct right_view right;

	fetches->armed = NEVER;
	for (uint32_t slot = core_right_next(core, 0); slot != UINT32_MAX;
	     slot = core_right_next(core, slot + 1))
		if (core_right_view(core, slot, &right))
			look_at_right(fetches, &right, now, &when);
	arm(fetches, when, now);
}

void fetches_beat(struct server *server)
{
	struct fetches *fetches = server->fetches;
	const struct core *core = server->core;
	uint32_t slot = core_right_next(core, 0), passed = 0;
	uint64_t now = slot == UINT32_MAX ? 0 : server_machine_ms(server);
	struct right_view right;

	for (; slot != UINT32_MAX && passed < RIGHTS_A_STEP;
	     slot = core_right_next(core, slot + 1)) {
		if (!core_right_view(core, slot, &right) || right.until + OVERDUE_MS >= now)
			continue;
		pass_on(fetches, &right, now);
		passed++;
	}
}

/* ---- requests ---- */

static int wait_for(struct request *request, const struct right_view *right, uint64_t wait_ms,
		    uint64_t compute_ms, uint64_t now)
{
	struct fetches *fetches = request->server->fetches;
	struct waiter *waiter = malloc(sizeof(*waiter));
	struct request *held = waiter ? request_hold(request) : NULL;

	if (!held) {
		free(waiter);
		return -ENOMEM;
	}
	*waiter = (struct waiter){
		.request = held,
		.deadline = now + wait_ms,
		.compute_ms = compute_ms,
		.cache = right->cache,
	};
	list_append(queue_of(fetches, right->right), &waiter->in_queue);
	list_append(&held->client->fetches, &waiter->in_client);
	arm(fetches, u64_min(waiter->deadline, right->until), now);
	return REQUEST_LATER;
}

int fetches_ask(struct request *request, struct hoard *hoard,
		const struct wire_cache_fetch *wanted)
{
	struct server *server = request->server;
	uint64_t compute_ms = wanted->compute_ms ? wanted->compute_ms : COMPUTE_MS;
	uint64_t now = server_machine_ms(server);
	struct cache_object object;
	struct core_fault fault = {};
	struct right_view right;
	int r;

	compute_ms = u64_min(compute_ms, MS_MAX);
	if (!cache_find(hoard->cache, wanted->hash, &object) &&
	    object.generation != wanted->seen) {
		say_there(request, object.generation);
		return 0;
	}
	for (;;) {
		request_asks(request);
		r = core_right_take(server->core, request->client->session, hoard->slot,
				    wanted->hash, now + compute_ms, &right, &fault);
		if (!r) {
			say_granted(request, &right);
			return 0;
		}
		if (r != CORE_E_EXISTS || right.until > now || mutant(fetch_late_kept))
			break;
		pass_on(server->fetches, &right, now);
	}
	if (r != CORE_E_EXISTS)
		return method_answer(request, r, &fault);
	if (wanted->wait_ms)
		return wait_for(request, &right, u64_min(wanted->wait_ms, MS_MAX), compute_ms,
				now);
	request->result.cache_fetched = (struct wire_cache_fetched){.until = right.until};
	return 0;
}

static bool right_of(const struct server *server, uint32_t session, uint32_t cache,
		     uint64_t hash, uint64_t token, struct right_view *ret)
{
	return core_right_find(server->core, cache, hash, ret) && ret->session == session &&
	       ret->token == token;
}

/* Rights with lower tokens are of before the latest clear. */
static uint64_t cleared_at(const struct hoard *hoard)
{
	struct estate_view view = {};

	core_cache_view(hoard->server->core, hoard->slot, &view);
	return view.cleared;
}

bool fetches_may(struct server *server, uint32_t session, const struct hoard *hoard,
		 uint64_t hash, uint64_t token)
{
	struct right_view right;

	if (mutant(fetch_token_unchecked))
		return true;
	if (!right_of(server, session, hoard->slot, hash, token, &right))
		return false;
	if (token >= cleared_at(hoard) || mutant(fetch_outlives_clear))
		return true;
	pass_on(server->fetches, &right, server_machine_ms(server));
	return false;
}

void fetches_cleared(struct hoard *hoard)
{
	core_cache_cleared(hoard->server->core, hoard->slot);
}

int fetches_end(struct request *request, uint32_t cache, const struct wire_cache_fetch_end *end)
{
	struct server *server = request->server;
	struct fetches *fetches = server->fetches;
	struct right_view right;

	if (!right_of(server, request->client->session, cache, end->hash, end->token, &right))
		return fault_set(request, FAULT_LATE, "token",
				 "the right to compute it has passed on");
	request_asks(request);
	if (end->code) {
		core_right_end(server->core, right.right);
		all_fail(fetches, queue_of(fetches, right.right), end->code);
	} else {
		pass_on(fetches, &right, server_machine_ms(server));
	}
	return 0;
}

void fetches_settled(struct server *server, uint32_t cache, uint64_t hash, uint32_t generation)
{
	struct fetches *fetches = server->fetches;
	struct right_view right;

	if (!core_cache_rights(server->core, cache) ||
	    !core_right_find(server->core, cache, hash, &right))
		return;
	if (!generation) {
		pass_on(fetches, &right, server_machine_ms(server));
		return;
	}
	core_right_end(server->core, right.right);
	all_look(fetches, queue_of(fetches, right.right), generation);
}

/* ---- who goes ---- */

/* Of a cache; cache 0: of a space; space 0: of any. */
static bool is_of(const struct core *core, uint32_t of, uint32_t space, uint32_t cache)
{
	struct estate_view view;

	if (cache)
		return of == cache;
	return !space || (core_cache_view(core, of, &view) && view.space == space);
}

/* A right must not pass to who is just leaving. */
static void leave_queues(struct server *server, struct client *client, uint32_t space,
			 uint32_t cache)
{
	list_for_each(at, &client->fetches)
	{
		struct waiter *waiter = list_entry(at, struct waiter, in_client);

		if (is_of(server->core, waiter->cache, space, cache))
			settle(server->fetches, waiter,
			       fault_set(waiter->request, FAULT_NOT_FOUND, "cache",
					 "cache: the session has closed it"));
	}
}

bool fetches_leave(struct server *server, uint32_t space, uint32_t cache, uint32_t session)
{
	const struct core *core = server->core;
	uint32_t left = core_session_rights(core, session), passed = 0;
	uint64_t now = left ? server_machine_ms(server) : 0;

	if (mutant(fetch_right_kept))
		return false;
	leave_queues(server, server->clients[session], space, cache);
	for (uint32_t slot = left ? core_right_next(core, 0) : UINT32_MAX;
	     slot != UINT32_MAX && left; slot = core_right_next(core, slot + 1)) {
		struct right_view right;

		if (!core_right_view(core, slot, &right) || right.session != session)
			continue;
		left--;
		if (!is_of(core, right.cache, space, cache))
			continue;
		if (passed++ == RIGHTS_A_STEP)
			return true;
		pass_on(server->fetches, &right, now);
	}
	return false;
}

void fetches_forget(struct client *client)
{
	while (!list_empty(&client->fetches)) {
		struct waiter *waiter =
			list_entry(client->fetches.next, struct waiter, in_client);

		list_remove(&waiter->in_queue);
		waiter_end(waiter);
	}
}

/* ---- the whole ---- */

int fetches_new(struct fetches **ret, struct server *server)
{
	uint32_t n = records_capacity(server->ledger.records)->slots[RECORD_RIGHT];
	struct fetches *fetches = calloc(1, sizeof(*fetches) + n * sizeof(struct link));

	if (!fetches)
		return -ENOMEM;
	fetches->server = server;
	fetches->armed = NEVER;
	fetches->n_queues = n;
	list_init(&fetches->answered);
	uv_timer_init(&server->loop, &fetches->timer);
	*ret = fetches;
	return 0;
}

void fetches_free(struct fetches *fetches)
{
	free(fetches);
}
