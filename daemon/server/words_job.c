#include "daemon/server/words_job.h"

#include <assert.h>
#include <errno.h>

#include "base/base.h"
#include "daemon/server/server.h"

enum { PIECE_SLICES = (2 << 20) / (SLICE_WORDS * 4) };

void words_job_add(struct words_job *job, const struct extent_place *place)
{
	const struct window_files *files = &job->server->files.windows[place->window];

	assert(job->n_parts < WORDS_PARTS_MAX);
	job->parts[job->n_parts++] = (struct words_part){
		.place = *place,
		.words_fd = files->words_fd,
		.data_fd = files->data_fd,
		.page_shift = files->page_shift,
		.n_slices = (uint32_t)(files->bytes / SLICE_BYTES),
	};
}

static int sweep_ring(struct words_job *job, struct words_part *part, uint32_t *budget)
{
	struct sys *sys = job->server->sys;

	*budget -= 1;
	job->slice = part->place.count;
	return sys->table->orphan_locks(sys, part->data_fd, part->page_shift,
					part->place.first * SLICE_BYTES, &job->dead);
}

static int sweep_piece(struct words_job *job, struct words_part *part, uint32_t *budget)
{
	struct sys *sys = job->server->sys;
	bool one = part->place.kind == EXTENT_SHARED;
	struct words_run run = {
		.first = part->place.first + job->slice,
		.count = (uint32_t)u64_min(part->place.count - job->slice, *budget),
		.tag = one ? part->place.tag : 0,
		.hint = !one && part->place.session,
	};
	struct words_found found = {};
	int r;

	r = sys->table->words_sweep(sys, part->words_fd, part->n_slices, &run, &job->dead,
				    &found);
	part->found.swept += found.swept;
	part->found.live |= found.live;
	part->found.taken |= found.taken;
	part->found.freed |= found.freed;
	*budget -= one ? 1 : run.count;
	job->slice = one ? part->place.count : job->slice + run.count;
	return r;
}

static void run_piece(uv_work_t *work)
{
	struct words_job *job = container_of(work, struct words_job, work);
	uint32_t budget = PIECE_SLICES;

	for (int n = 0; mutant(farewells_counted) && n < 64; n++)
		mutant_moment();
	while (job->at < job->n_parts && budget && !job->error) {
		struct words_part *part = &job->parts[job->at];

		job->error = part->place.kind == EXTENT_CHANNEL
				     ? sweep_ring(job, part, &budget)
				     : sweep_piece(job, part, &budget);
		if (job->slice < part->place.count)
			continue;
		job->slice = 0;
		job->at++;
	}
}

static void piece_done(uv_work_t *work, int status)
{
	struct words_job *job = container_of(work, struct words_job, work);

	(void)status; /* nothing is ever cancelled */
	if (job->server->stopping && !job->error)
		job->error = -ECANCELED;
	if (job->error || job->at == job->n_parts)
		job->done(job);
	else
		words_job_start(job);
}

void words_job_start(struct words_job *job)
{
	int r = uv_queue_work(&job->server->loop, &job->work, run_piece, piece_done);

	assert(!r); /* it fails for want of a function only */
}
