#include "daemon/server/cleaner.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/core/cache/clean.h"
#include "daemon/server/hoard.h"
#include "daemon/server/hoards.h"
#include "daemon/server/job.h"
#include "daemon/server/server.h"
#include "daemon/server/squeeze.h"
#include "daemon/sys/guard.h"
#include "proto/object.h"

enum {
	STEP_BYTES = 512 << 10,
};

struct cleaning {
	uv_work_t work;
	struct hoard *hoard;
	const char *from; /* where moves[0].from is */
	char *to;
	struct clean_step step;
};

/* ---- by a worker ---- */

/* CN1. */
static bool is_spoiled(const struct object_header *header, const struct clean_move *move)
{
	struct object_sizes sizes = object_sizes_unpack(header->sizes);
	uint64_t size = object_size(move->from, sizes);

	return sizes.key > OBJECT_KEY_MAX || object_size_rounded(size) != move->size;
}

static void copy_one(const struct cleaning *cleaning, struct clean_move *move)
{
	const struct clean_move *first = &cleaning->step.moves[0];
	const char *from = cleaning->from + (int64_t)(move->from - first->from);
	char *to = cleaning->to + (move->to - first->to);
	struct object_header header;

	if (mutant(cleaner_unguarded))
		memcpy(&header, from, sizeof(header));
	move->spoiled = guard_copy(&header, from, sizeof(header)) ||
			(is_spoiled(&header, move) && !mutant(cleaner_trusts)) ||
			guard_copy_streamed(to, from, move->size);
}

static void clean_run(uv_work_t *work)
{
	struct cleaning *cleaning = container_of(work, struct cleaning, work);

	for (uint32_t i = 0; i < cleaning->step.n; i++) {
		for (int n = 0; mutant(cleaner_unwaited) && n < 64; n++)
			mutant_moment();
		copy_one(cleaning, &cleaning->step.moves[i]);
	}
}

/* ---- by the loop ---- */

static void clean_done(uv_work_t *work, int status)
{
	struct cleaning *cleaning = container_of(work, struct cleaning, work);
	struct hoard *hoard = cleaning->hoard;
	struct stint stint;

	(void)status; /* nothing is ever cancelled */
	stint_begin(&stint, hoard->server, STINT_JOBS);
	hoard->cleaning = false;
	cache_clean_done(hoard->cache, &cleaning->step, true);
	free(cleaning);
	hoard_job_done(hoard);
	stint_end(&stint);
}

static void leased(void *userdata, const struct job_outcome *outcome)
{
	struct hoard *hoard = userdata;

	hoard->leasing = false;
	if (!hoard->gone && !outcome->error)
		hoard_leased(hoard->server, hoard->space, hoard->lease);
	else
		hoard->unclean = true;
	hoard_job_done(hoard);
}

/* Of nobody's budget but the space's. True: it is there. */
static bool lease(struct hoard *hoard)
{
	const struct cache_lease wanted = {.kind = EXTENT_SEGMENT,
					   .size = squeeze_segment_most(hoard)};
	struct server *server = hoard->server;
	struct core_fault fault = {};
	struct extent_info extent;
	struct plan *plan = NULL;
	int r;

	if (hoard->leasing || hoard->unclean)
		return false;
	r = core_cache_lease(server->core, 0, hoard->slot, &wanted, &extent, &plan, &fault);
	server_apply(server);
	if (r) {
		hoard->unclean = true;
		return false;
	}
	if (!plan)
		return !hoard_leased(server, hoard->space, extent.offset);
	hoard->lease = extent.offset;
	hoard->leasing = true;
	hoard->jobs++;
	if (!job_start(server, plan, leased, hoard))
		return false;
	hoard->jobs--;
	hoard->leasing = false;
	hoard->unclean = true;
	return false;
}

static char *data_at(const struct hoard *hoard, uint64_t offset)
{
	const struct server *server = hoard->server;
	struct extent_place place;
	bool there = core_extent_at(server->core, hoard->space, offset, &place);

	assert(there);
	return server->files.windows[place.window].data + offset_position(offset);
}

/* Its memory is on its way back to the space, or the space's to the region. */
static bool is_going(const struct hoard *hoard)
{
	const struct core *core = hoard->server->core;
	struct estate_view cache;
	struct space_view space;

	return !core_cache_view(core, hoard->slot, &cache) ||
	       (cache.removed && !cache.sessions) ||
	       !core_space_view(core, hoard->space, &space) ||
	       (space.removed && !space.sessions);
}

bool cleaner_step(struct hoard *hoard)
{
	struct cleaning *cleaning;
	int r;

	if (hoard->cleaning || is_going(hoard))
		return false;
	cleaning = malloc(sizeof(*cleaning));
	if (!cleaning)
		return false;
	cleaning->hoard = hoard;
	r = cache_clean_plan(hoard->cache, STEP_BYTES, &cleaning->step);
	if (r) {
		free(cleaning);
		return r == CACHE_MORE || (r == CACHE_E_SEGMENT && lease(hoard));
	}
	cleaning->from = data_at(hoard, cleaning->step.moves[0].from);
	cleaning->to = data_at(hoard, cleaning->step.moves[0].to);
	hoard->cleaning = true;
	hoard->jobs++;
	r = uv_queue_work(&hoard->server->loop, &cleaning->work, clean_run, clean_done);
	assert(!r); /* it fails for want of a function only */
	return false;
}

/* ---- who has to wait for it ---- */

bool cleaner_works(const struct server *server, uint32_t space)
{
	const struct hoard *hoard = NULL;

	while ((hoard = hoards_next(server, hoard)))
		if (hoard->cleaning && hoard->space == space)
			return !mutant(cleaner_unwaited);
	return false;
}

bool cleaner_works_for(const struct server *server, uint32_t session)
{
	const struct hoard *hoard = NULL;

	while ((hoard = hoards_next(server, hoard)))
		if (hoard->cleaning && core_session_has(server->core, session, hoard->space))
			return !mutant(cleaner_unwaited);
	return false;
}

bool cleaner_works_in_removed(const struct server *server)
{
	const struct hoard *hoard = NULL;
	struct estate_view view;

	while ((hoard = hoards_next(server, hoard)))
		if (hoard->cleaning && core_cache_view(server->core, hoard->slot, &view) &&
		    view.removed)
			return !mutant(cleaner_unwaited);
	return false;
}
