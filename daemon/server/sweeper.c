#include "daemon/server/sweeper.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/server/log.h"
#include "daemon/server/publisher.h"
#include "daemon/server/request.h"
#include "daemon/server/server.h"
#include "daemon/server/waker.h"
#include "daemon/server/words_job.h"

enum {
	ROUND_BEATS = 60,
	REST_TIMES = 3,
	REST_MAX_MS = 60000,
	WAIT_MAX_MS = 1000, /* for its end, before memory is refused */
	FAILED_REST_MS = 60000,
	LISTS_A_TURN = 8, /* calls of core_sweep_next() */
};

/* Of each space. */
struct rest {
	uint64_t until_ms; /* by the loop's clock */
	uint64_t begun;    /* the count when its last sweep began; 0: there was none */
	bool wanted;       /* for what it may free, though no id has died */
};

struct sweeper {
	struct server *server;
	uv_timer_t soon;
	struct rest *rests; /* by space slot */
	uint64_t count;
	uint32_t beats;
	uint32_t at;          /* slot of the space that is swept, or was last */
	bool running, listed; /* all of its extents have been */
	bool news;            /* something was swept, or freed */
	uint64_t started_ns;
	struct words_job job;
};

static void soon(uv_timer_t *timer)
{
	sweeper_look(container_of(timer, struct sweeper, soon));
}

int sweeper_new(struct sweeper **ret, struct server *server)
{
	struct sweeper *sweeper = calloc(1, sizeof(*sweeper));

	if (sweeper)
		sweeper->rests = calloc(server->files.n_roots, sizeof(*sweeper->rests));
	if (!sweeper || !sweeper->rests) {
		free(sweeper);
		return -ENOMEM;
	}
	sweeper->server = server;
	uv_timer_init(&server->loop, &sweeper->soon);
	*ret = sweeper;
	return 0;
}

void sweeper_free(struct sweeper *sweeper)
{
	if (!sweeper)
		return;
	assert(!sweeper->running);
	free(sweeper->rests);
	free(sweeper);
}

uint64_t sweeper_count(const struct sweeper *sweeper)
{
	return sweeper->count;
}

static void end(struct sweeper *sweeper)
{
	struct server *server = sweeper->server;
	struct rest *rest = &sweeper->rests[sweeper->at];
	uint64_t took_ms =
		(server->sys->table->now_ns(server->sys) - sweeper->started_ns) / 1000000;
	int error = sweeper->job.error;

	sweeper->running = false;
	core_sweep_end(server->core, sweeper->at, !error);
	if (server->stopping)
		return;
	if (error)
		log_error("space %u: its words cannot be swept: %s", sweeper->at,
			  strerror(-error));
	rest->until_ms =
		uv_now(&server->loop) +
		(error ? (uint64_t)FAILED_REST_MS : u64_min(took_ms * REST_TIMES, REST_MAX_MS));
	server_apply(server);
	files_tell_deaths(&server->files, server->sys, sweeper->at);
	waker_look(server->waker);
	if (sweeper->news)
		publisher_touch(server->publisher);
	request_retry(server);
	sweeper_look(sweeper);
}

/* Its holder has died between the daemon's answer and its word: nobody has heard of it. */
static bool is_abandoned(const struct words_part *part)
{
	return part->place.worded && !part->place.session && !part->found.taken &&
	       !mutant(sweep_untaken_kept);
}

static bool is_empty(const struct words_part *part)
{
	if (part->place.kind == EXTENT_SHARED)
		return part->found.freed || is_abandoned(part);
	return part->place.kind == EXTENT_BLOCKS && !part->place.session && !part->found.live;
}

static void list(struct sweeper *sweeper)
{
	struct server *server = sweeper->server;
	struct extent_place places[WORDS_PARTS_MAX];
	int r = CORE_MORE;

	sweeper->job.n_parts = 0;
	sweeper->job.at = 0;
	for (int i = 0; i < LISTS_A_TURN && r == CORE_MORE && !sweeper->job.n_parts; i++) {
		uint32_t n = 0;

		r = core_sweep_next(server->core, sweeper->at, places, WORDS_PARTS_MAX, &n);
		assert(!r || r == CORE_MORE);
		for (uint32_t k = 0; k < n; k++)
			words_job_add(&sweeper->job, &places[k]);
	}
	sweeper->listed = !r;
	if (sweeper->listed && !sweeper->job.n_parts)
		end(sweeper);
	else
		words_job_start(&sweeper->job); /* of no parts, too: others get their turn */
}

static void parts_done(struct words_job *job)
{
	struct sweeper *sweeper = container_of(job, struct sweeper, job);
	struct server *server = sweeper->server;

	/* Those before the one that failed are true. */
	for (uint32_t i = 0; i < job->at && !server->stopping; i++) {
		const struct words_part *part = &job->parts[i];

		core_swept(server->core, sweeper->at, part->found.swept);
		if (is_empty(part))
			core_sweep_free(server->core, sweeper->at, &part->place);
		sweeper->news |= part->found.swept || is_empty(part);
	}
	server_apply(server);
	if (job->error || sweeper->listed)
		end(sweeper);
	else
		list(sweeper);
}

static void begin(struct sweeper *sweeper, uint32_t space)
{
	struct server *server = sweeper->server;
	struct block_ids dead;
	int r;

	r = core_sweep_begin(server->core, space, dead.words);
	if (r)
		return;
	sweeper->running = true;
	sweeper->at = space;
	sweeper->news = false;
	sweeper->started_ns = server->sys->table->now_ns(server->sys);
	sweeper->rests[space].begun = ++sweeper->count;
	sweeper->rests[space].wanted = false;
	sweeper->job.server = server;
	sweeper->job.done = parts_done;
	sweeper->job.dead = dead;
	sweeper->job.slice = 0;
	sweeper->job.error = 0;
	list(sweeper);
}

static bool is_due(const struct sweeper *sweeper, uint32_t space)
{
	const struct core *core = sweeper->server->core;

	return core_sweep_due(core, space) ||
	       (sweeper->rests[space].wanted && core_sweep_pays(core, space));
}

void sweeper_look(struct sweeper *sweeper)
{
	struct server *server = sweeper->server;
	uint64_t now = uv_now(&server->loop), wait = UINT64_MAX;
	uint32_t first = sweeper->at + 1, slot = core_space_next(server->core, first);

	if (sweeper->running || server->stopping)
		return;
	/* Once around, from the one behind the last. */
	for (bool wrapped = false;; slot = core_space_next(server->core, slot + 1)) {
		const struct rest *rest;

		if (slot == UINT32_MAX && !wrapped) {
			wrapped = true;
			slot = core_space_next(server->core, 0);
		}
		if (slot == UINT32_MAX || (wrapped && slot >= first))
			break;
		if (!is_due(sweeper, slot))
			continue;
		rest = &sweeper->rests[slot];
		if (rest->until_ms <= now) {
			begin(sweeper, slot);
			return;
		}
		wait = u64_min(wait, rest->until_ms - now);
	}
	if (wait != UINT64_MAX)
		uv_timer_start(&sweeper->soon, soon, wait, 0);
}

void sweeper_beat(struct sweeper *sweeper)
{
	struct server *server = sweeper->server;

	if (++sweeper->beats >= ROUND_BEATS) {
		sweeper->beats = 0;
		for (uint32_t slot = core_space_next(server->core, 0); slot != UINT32_MAX;
		     slot = core_space_next(server->core, slot + 1))
			sweeper->rests[slot].wanted = core_sweep_pays(server->core, slot);
	}
	sweeper_look(sweeper);
}

void sweeper_want(struct sweeper *sweeper, uint32_t space)
{
	sweeper->rests[space].wanted = true;
	sweeper_look(sweeper);
}

/*
 * One that rests is waited for, and one that is being swept, again if that had begun when what is
 * empty now may not have been; but not one that rests for long, or could not be swept.
 */
static bool helps(struct sweeper *sweeper, uint32_t space, uint64_t since)
{
	struct rest *rest = &sweeper->rests[space];

	if (sweeper->running && sweeper->at == space) {
		rest->wanted |= rest->begun <= since;
		return true;
	}
	if (!core_sweep_pays(sweeper->server->core, space) || rest->begun > since ||
	    rest->until_ms > uv_now(&sweeper->server->loop) + WAIT_MAX_MS)
		return false;
	sweeper_want(sweeper, space);
	return true;
}

bool sweeper_helps(struct sweeper *sweeper, uint32_t space, uint64_t since)
{
	struct core *core = sweeper->server->core;
	bool any = false;

	if (sweeper->server->stopping)
		return false;
	if (space)
		return helps(sweeper, space, since);
	for (uint32_t slot = core_space_next(core, 0); slot != UINT32_MAX;
	     slot = core_space_next(core, slot + 1))
		any |= helps(sweeper, slot, since);
	return any;
}
