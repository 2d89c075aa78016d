#include "daemon/server/hoard_job.h"

#include <assert.h>
#include <stdlib.h>

#include "base/base.h"
#include "daemon/server/hoard.h"
#include "daemon/server/hoard_growth.h"
#include "daemon/server/keep.h"
#include "daemon/server/server.h"

/* What the next daemon finds, before anybody is given it. */
static int keep_files(const struct hoard_job *job)
{
	const struct hoard *hoard = job->hoard;
	char objects[KEPT_NAME_MAX], index[KEPT_NAME_MAX];
	const struct kept what[] = {
		{hoard_index_kept(hoard, job->index.generation, index), job->index.file.fd},
		{hoard_objects_kept(hoard, objects), job->objects.fd},
	};

	return keep_put(job->server->keep, what, job->kind == HOARD_JOB_MAKE ? 2 : 1);
}

static void work_run(uv_work_t *work)
{
	struct hoard_job *job = container_of(work, struct hoard_job, work);
	struct sys *sys = job->server->sys;

	switch (job->kind) {
	case HOARD_JOB_MAKE:
		job->error = hoard_objects_make(sys, &job->objects, HOARD_SLOTS_FIRST);
		if (!job->error)
			job->error = hoard_index_make(sys, &job->index, &job->config);
		if (!job->error)
			job->error = keep_files(job);
		break;
	case HOARD_JOB_OBJECTS:
		job->error = hoard_objects_extend(sys, &job->objects);
		return; /* what there is is the hoard's, whatever has failed */
	case HOARD_JOB_INDEX:
		job->error = hoard_index_make(sys, &job->index, &job->config);
		if (!job->error)
			job->error = keep_files(job);
		break;
	case HOARD_JOB_DROP:
		hoard_index_punch(sys, &job->index);
		cache_free(job->cache);
		if (job->state)
			job->policy->deinit(job->state);
		break;
	}
	if (!job->error && job->kind != HOARD_JOB_DROP)
		return;
	hoard_file_drop(sys, &job->objects);
	hoard_index_drop(sys, &job->index);
	hoard_index_drop(sys, &job->next);
}

struct hoard_job *hoard_job_new(struct hoard *hoard, enum hoard_job_kind kind)
{
	struct hoard_job *job = malloc(sizeof(*job));

	if (!job)
		return NULL;
	*job = (struct hoard_job){
		.server = hoard->server,
		.hoard = hoard,
		.kind = kind,
		.objects = HOARD_FILE_NONE,
		.index = HOARD_INDEX_NONE,
		.next = HOARD_INDEX_NONE,
	};
	return job;
}

static void work_done(uv_work_t *work, int status)
{
	struct hoard_job *job = container_of(work, struct hoard_job, work);
	struct hoard *hoard = job->hoard;
	struct stint stint;

	(void)status; /* nothing is ever cancelled */
	stint_begin(&stint, hoard->server, STINT_JOBS);
	hoard_job_install(job);
	free(job);
	hoard_job_done(hoard);
	stint_end(&stint);
}

void hoard_job_queue(struct hoard_job *job)
{
	int r;

	job->hoard->jobs++;
	r = uv_queue_work(&job->server->loop, &job->work, work_run, work_done);
	assert(!r); /* it fails for want of a function only */
}

void hoard_drop_here(struct hoard *hoard, struct hoard_file *objects, struct hoard_index *index)
{
	hoard_file_drop(hoard->server->sys, objects);
	hoard_index_drop(hoard->server->sys, index);
}

void hoard_drop_later(struct hoard *hoard, struct hoard_file objects, struct hoard_index index)
{
	struct hoard_job *job = hoard_job_new(hoard, HOARD_JOB_DROP);

	if (!job) {
		hoard_drop_here(hoard, &objects, &index);
		return;
	}
	job->objects = objects;
	job->index = index;
	hoard_job_queue(job);
}
