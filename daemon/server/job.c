#include "daemon/server/job.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/server/log.h"
#include "daemon/server/request.h"
#include "daemon/server/server.h"

/* An effect with what a worker needs to carry it out without looking at the core. */
struct step {
	struct effect effect;
	struct window_info info;    /* of the window, which may not be recorded yet */
	struct window_files window; /* the table's, or made by this job */
	uint64_t committed;         /* of the window when the job began; for a scrub */
	struct root_files root;
	uint64_t hash_seed; /* of the space */
	uint32_t number;    /* of the window in it */
};

struct job {
	uv_work_t work;
	struct server *server;
	struct plan *plan;
	struct job_outcome outcome;
	job_done_fn *done;
	void *userdata;
	uint32_t n_steps;
	struct step steps[];
};

static uint64_t unit_bytes(const struct step *step)
{
	return (uint64_t)1 << (step->info.page_shift > CHUNK_SHIFT ? step->info.page_shift
								   : (uint32_t)CHUNK_SHIFT);
}

static int step_commit(struct job *job, struct step *step)
{
	struct sys *sys = job->server->sys;
	uint64_t unit = unit_bytes(step);
	int r;

	r = sys->table->commit(sys, step->window.data_fd, step->info.page_shift,
			       job->server->places ? step->info.node : SYS_NODE_ANY,
			       step->effect.first * unit, step->effect.count * unit,
			       &job->outcome.shortage);
	if ((r == -ENOMEM || r == -ENOSPC) && job->outcome.shortage.misplaced)
		log_warning("space %u: %llu KiB for node %u came from other nodes, and were "
			    "given back",
			    step->effect.space,
			    (unsigned long long)job->outcome.shortage.misplaced >> 10,
			    job->outcome.shortage.node);
	return r;
}

static int step_punch(struct job *job, struct step *step)
{
	struct sys *sys = job->server->sys;
	uint64_t unit = unit_bytes(step);
	int r;

	r = sys->table->punch(sys, step->window.data_fd, step->info.page_shift,
			      step->effect.first * unit, step->effect.count * unit);
	if (r)
		log_error("space %u: taking back %u units of window %u failed: %s",
			  step->effect.space, step->effect.count, step->effect.window,
			  strerror(-r));
	return r;
}

/* The steps of a scrub are all of one window: the first finds out whether there is any need. */
static int step_scrub(struct job *job, struct step *step)
{
	struct sys *sys = job->server->sys;
	uint64_t unit = unit_bytes(step), blocks;
	int r;

	if (step == job->steps) {
		r = sys->table->blocks(sys, step->window.data_fd, &blocks);
		if (r)
			return r;
		if (blocks > step->committed)
			job->outcome.surplus = blocks - step->committed;
	}
	if (!job->outcome.surplus)
		return 0;
	r = sys->table->scrub(sys, step->window.data_fd, step->effect.first * unit,
			      step->effect.count * unit);
	if (r)
		log_error("space %u: scrubbing %u units of window %u failed: %s",
			  step->effect.space, step->effect.count, step->effect.window,
			  strerror(-r));
	return r;
}

/* Slices that a client may have had before. */
static int step_zero(struct job *job, struct step *step)
{
	struct sys *sys = job->server->sys;
	int r;

	if (mutant(ring_of_old_bytes))
		return 0;
	r = sys->table->zero(sys, step->window.data_fd, step->info.page_shift,
			     step->effect.first * SLICE_BYTES,
			     step->effect.count * SLICE_BYTES);
	/* -EFAULT: a member punched it, who might do so without end; who asked is told. */
	if (r && r != -EFAULT)
		log_error("space %u: zeros for slice %u of window %u failed: %s",
			  step->effect.space, step->effect.first, step->effect.window,
			  strerror(-r));
	return r;
}

static int step_run(struct job *job, struct step *step)
{
	struct server *server = job->server;

	switch (step->effect.kind) {
	case EFFECT_ROOT_CREATE:
		return root_files_create(&step->root, server->sys, step->effect.space,
					 server->epoch, step->hash_seed);
	case EFFECT_ROOT_DESTROY:
		root_files_destroy(&step->root, server->sys, server->keep);
		return 0;
	case EFFECT_WINDOW_CREATE:
		return window_files_create(&step->window, server->sys, step->info, step->number,
					   step->hash_seed);
	case EFFECT_WINDOW_DESTROY:
		window_files_destroy(&step->window, server->sys, server->keep);
		return 0;
	case EFFECT_COMMIT:
		return step_commit(job, step);
	case EFFECT_PUNCH:
		return step_punch(job, step);
	case EFFECT_SCRUB:
		return step_scrub(job, step);
	case EFFECT_ZERO:
		return step_zero(job, step);
	}
	return -EINVAL;
}

static void step_undo(struct job *job, struct step *step)
{
	struct server *server = job->server;

	switch (step->effect.kind) {
	case EFFECT_ROOT_CREATE:
		root_files_destroy(&step->root, server->sys, server->keep);
		break;
	case EFFECT_WINDOW_CREATE:
		window_files_destroy(&step->window, server->sys, server->keep);
		break;
	case EFFECT_COMMIT:
		step_punch(job, step);
		break;
	case EFFECT_PUNCH:
	case EFFECT_SCRUB:
	case EFFECT_ZERO:
	case EFFECT_WINDOW_DESTROY:
	case EFFECT_ROOT_DESTROY:
		break; /* what is gone is gone, and the core counts it so */
	}
}

/* A window that an earlier step makes has no descriptor before that step has run. */
static void step_find_window(struct job *job, struct step *step)
{
	for (struct step *other = job->steps; other < step; other++)
		if (other->effect.kind == EFFECT_WINDOW_CREATE &&
		    other->effect.window == step->effect.window)
			step->window = other->window;
}

/* F2: what the job has made, in one go. */
static int job_keep(struct job *job)
{
	_cleanup_(freep) struct kept *kept = NULL;
	_cleanup_(freep) char(*names)[KEPT_NAME_MAX] = NULL;
	uint32_t n = 0;
	int r;

	for (uint32_t i = 0; i < job->n_steps; i++) {
		n += job->steps[i].effect.kind == EFFECT_ROOT_CREATE;
		n += job->steps[i].effect.kind == EFFECT_WINDOW_CREATE ? WINDOW_FILES_KEPT : 0;
	}
	if (!n || mutant(files_unkept))
		return 0;
	kept = calloc(n, sizeof(*kept));
	names = calloc(n, sizeof(*names));
	if (!kept || !names)
		return -ENOMEM;
	n = 0;
	for (uint32_t i = 0; i < job->n_steps; i++) {
		const struct step *step = &job->steps[i];

		if (step->effect.kind == EFFECT_ROOT_CREATE) {
			kept[n] = root_files_kept(&step->root, names[n]);
			n++;
		} else if (step->effect.kind == EFFECT_WINDOW_CREATE) {
			window_files_kept(&step->window, names + n, kept + n);
			n += WINDOW_FILES_KEPT;
		}
	}
	r = keep_put(job->server->keep, kept, n);
	if (r)
		log_error("space %u: the store does not keep %u descriptors: %s",
			  job->steps[0].effect.space, n, strerror(-r));
	return r;
}

static void job_run(uv_work_t *work)
{
	struct job *job = container_of(work, struct job, work);
	uint32_t done;

	for (done = 0; done < job->n_steps; done++) {
		struct step *step = &job->steps[done];

		if (step->effect.kind == EFFECT_COMMIT || step->effect.kind == EFFECT_ZERO)
			step_find_window(job, step);
		job->outcome.error = step_run(job, step);
		if (job->outcome.error)
			break;
	}
	if (!job->outcome.error)
		job->outcome.error = job_keep(job);
	while (job->outcome.error && done-- > 0)
		step_undo(job, &job->steps[done]);
}

static void job_install(struct job *job)
{
	struct files *files = &job->server->files;

	for (uint32_t i = 0; i < job->n_steps; i++) {
		struct step *step = &job->steps[i];

		if (step->effect.kind == EFFECT_ROOT_CREATE)
			files->roots[step->effect.space] = step->root;
		else if (step->effect.kind == EFFECT_WINDOW_CREATE)
			files->windows[step->effect.window] = step->window;
	}
}

static void job_done(uv_work_t *work, int status)
{
	struct job *job = container_of(work, struct job, work);
	struct server *server = job->server;
	struct stint stint;

	(void)status; /* nothing is ever cancelled */
	stint_begin(&stint, server, STINT_JOBS);
	if (job->outcome.error) {
		plan_abort(server->core, job->plan);
	} else {
		job_install(job);
		plan_commit(server->core, job->plan);
	}
	server_apply(server);
	if (job->done)
		job->done(job->userdata, &job->outcome);
	free(job);
	request_retry(server);
	stint_end(&stint);
}

/* Copy what the worker needs; what is to be destroyed leaves the table now. */
static void step_prepare(struct server *server, struct step *step, const struct effect *effect)
{
	struct files *files = &server->files;
	struct window_view window;
	struct space_view space;

	step->effect = *effect;
	step->root = ROOT_FILES_NONE;
	step->window = WINDOW_FILES_NONE;
	if (effect->kind != EFFECT_ROOT_CREATE && effect->kind != EFFECT_ROOT_DESTROY &&
	    core_window_view(server->core, effect->window, &window)) {
		step->info = window.info;
		step->committed = window.committed;
		step->number = window.number;
	}

	switch (effect->kind) {
	case EFFECT_ROOT_CREATE:
	case EFFECT_WINDOW_CREATE:
		if (core_space_view(server->core, effect->space, &space))
			step->hash_seed = space.hash_seed;
		break;
	case EFFECT_ROOT_DESTROY:
		step->root = files->roots[effect->space];
		files->roots[effect->space] = ROOT_FILES_NONE;
		break;
	case EFFECT_WINDOW_DESTROY:
		step->window = files->windows[effect->window];
		files->windows[effect->window] = WINDOW_FILES_NONE;
		break;
	case EFFECT_COMMIT:
	case EFFECT_PUNCH:
	case EFFECT_SCRUB:
	case EFFECT_ZERO:
		step->window = files->windows[effect->window];
		break;
	}
}

/*
 * The end of a space cannot be aborted: without memory for a job its files close on the loop's
 * thread, slowly, rather than never.
 */
static void destroy_here(struct server *server, const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->n_effects; i++) {
		struct step step;

		if (plan->effects[i].kind != EFFECT_WINDOW_DESTROY &&
		    plan->effects[i].kind != EFFECT_ROOT_DESTROY)
			continue;
		step_prepare(server, &step, &plan->effects[i]);
		window_files_destroy(&step.window, server->sys, server->keep);
		root_files_destroy(&step.root, server->sys, server->keep);
	}
}

int job_start(struct server *server, struct plan *plan, job_done_fn *done, void *userdata)
{
	struct job *job;
	int r;

	job = calloc(1, sizeof(*job) + plan->n_effects * sizeof(job->steps[0]));
	if (!job) {
		destroy_here(server, plan);
		plan_abort(server->core, plan);
		server_apply(server);
		return -ENOMEM;
	}
	job->server = server;
	job->plan = plan;
	job->done = done;
	job->userdata = userdata;
	job->n_steps = plan->n_effects;
	for (uint32_t i = 0; i < plan->n_effects; i++)
		step_prepare(server, &job->steps[i], &plan->effects[i]);

	r = uv_queue_work(&server->loop, &job->work, job_run, job_done);
	assert(!r); /* it fails for want of a function only */
	return 0;
}
