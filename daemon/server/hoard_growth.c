#include "daemon/server/hoard_growth.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/base.h"
#include "daemon/server/hoard.h"
#include "daemon/server/hoard_job.h"
#include "daemon/server/server.h"

enum {
	INDEX_FIRST = 1 << 15, /* objects, at most; in a small cache one for so many bytes: */
	INDEX_SHARE = 128,
	SPAN = 256, /* times its size is a file mapped that is to grow: addresses cost nothing */
};

uint64_t hoard_objects_span(uint64_t size)
{
	return u64_min(size * SPAN, object_records_size(INDEX_NUMBERS));
}

static uint64_t files_bytes(const struct hoard *hoard)
{
	const struct hoard_index *indexes[] = {&hoard->index, &hoard->next};
	uint64_t bytes = hoard->objects.size;

	for (size_t i = 0; i < ARRAY_SIZE(indexes); i++)
		if (indexes[i]->file.memory)
			bytes += indexes[i]->file.size;
	return bytes;
}

/* As it is now: never refused where it is less. */
static void files_tell(struct hoard *hoard)
{
	struct core_fault fault;

	core_cache_files(hoard->server->core, hoard->slot, files_bytes(hoard) + hoard->coming,
			 &fault);
}

void hoard_files_had(struct hoard *hoard)
{
	core_cache_files(hoard->server->core, hoard->slot, files_bytes(hoard), NULL);
}

/* So many bytes more, of a job's files: false, if that is too much. */
static bool files_come(struct hoard *hoard, uint64_t bytes)
{
	hoard->bound =
		core_cache_files(hoard->server->core, hoard->slot,
				 files_bytes(hoard) + hoard->coming + bytes, &hoard->limit);
	if (!hoard->bound)
		hoard->coming += bytes;
	return !hoard->bound;
}

const struct core_fault *hoard_limit(const struct hoard *hoard)
{
	return hoard->bound ? &hoard->limit : NULL;
}

void hoard_grow_first(struct hoard *hoard)
{
	struct sys *sys = hoard->server->sys;
	struct index_layout layout;
	struct hoard_job *job;
	struct estate_view view;
	uint64_t seed, bytes;

	if (!core_cache_view(hoard->server->core, hoard->slot, &view))
		return;
	layout = index_layout_for(u64_min(view.capacity / INDEX_SHARE, INDEX_FIRST));
	bytes = index_file_size(layout.buckets, layout.overflow) +
		object_records_size(HOARD_SLOTS_FIRST);
	if (!files_come(hoard, bytes))
		return;
	job = hoard_job_new(hoard, HOARD_JOB_MAKE);
	if (!job || getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
		free(job);
		hoard->coming -= bytes;
		files_tell(hoard);
		hoard->error = -ENOMEM;
		return;
	}
	job->coming = bytes;
	job->config = (struct index_config){
		.layout = layout,
		.cache = hoard->slot,
		.generation = 1,
		.seed = seed,
		.epoch = 1,
		.clock = sys->table->machine_ns(sys) - sys->table->now_ns(sys),
	};
	hoard->making = true;
	hoard_job_queue(job);
}

void hoard_grow_objects(struct hoard *hoard)
{
	struct hoard_file file = hoard->objects;
	struct hoard_job *job;
	uint64_t size = object_records_size(cache_slots_next(hoard->cache));

	if (hoard->growing || hoard->short_of_memory || hoard->bound || size == file.size)
		return;
	if (!files_come(hoard, size - hoard->objects.size))
		return;
	job = hoard_job_new(hoard, HOARD_JOB_OBJECTS);
	if (!job) {
		hoard->coming -= size - hoard->objects.size;
		files_tell(hoard);
		return;
	}
	job->coming = size - hoard->objects.size;
	file.size = size;
	if (size > file.span) {
		file.memory = NULL;
		file.span = hoard_objects_span(size);
	}
	job->objects = file;
	hoard->growing = true;
	hoard_job_queue(job);
}

void hoard_grow_index(struct hoard *hoard)
{
	const struct index_head *head = hoard->index.file.memory;
	struct index_layout layout;
	struct hoard_job *job;
	uint64_t seed = head->seed, bytes;
	bool other;

	if (hoard->indexing || hoard->short_of_memory || hoard->bound ||
	    !cache_index_wants(hoard->cache, &layout, &other))
		return;
	if (other && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return;
	bytes = index_file_size(layout.buckets, layout.overflow);
	if (!files_come(hoard, bytes))
		return;
	job = hoard_job_new(hoard, HOARD_JOB_INDEX);
	if (!job) {
		hoard->coming -= bytes;
		files_tell(hoard);
		return;
	}
	job->coming = bytes;
	job->config = (struct index_config){
		.layout = layout,
		.cache = hoard->slot,
		.generation = hoard->index.generation + 1,
		.seed = seed,
		.epoch = atomic_load_explicit(&head->epoch, memory_order_relaxed),
		.clock = atomic_load_explicit(&head->clock, memory_order_relaxed),
	};
	hoard->indexing = true;
	hoard_job_queue(job);
}

bool hoard_index_move(struct hoard *hoard)
{
	struct hoard_index former = hoard->index;
	struct index_table table;

	if (cache_index_step(hoard->cache, &table))
		return true;
	hoard->index = hoard->next;
	hoard->next = HOARD_INDEX_NONE;
	core_cache_index(hoard->server->core, hoard->slot, hoard->index.generation);
	hoard_index_unkeep(hoard, former.generation);
	hoard_drop_later(hoard, HOARD_FILE_NONE, former);
	files_tell(hoard);
	return false;
}

static int made(struct hoard *hoard, struct hoard_job *job)
{
	struct server *server = hoard->server;
	struct estate_view view;
	struct cache_config config;
	int r;

	if (!core_cache_view(server->core, hoard->slot, &view))
		return -ENOENT;
	config = (struct cache_config){
		.capacity = hoard_capacity(&view),
		.policy = view.policy,
		.objects = object_records_open(job->objects.memory, job->objects.size),
		.slots = HOARD_SLOTS_FIRST,
		.index = index_table(job->index.file.memory, job->index.numbers),
		.now = server_machine_ms(server),
	};
	r = cache_new(&hoard->cache, &config);
	if (r)
		return r;
	cache_ttl_set(hoard->cache, view.ttl_ms);
	hoard->objects = job->objects;
	hoard->index = job->index;
	job->objects = HOARD_FILE_NONE;
	job->index = HOARD_INDEX_NONE;
	core_cache_index(server->core, hoard->slot, hoard->index.generation);
	return 0;
}

/* What of a job's file is the hoard's, which has it. */
static void objects_disown(struct hoard *hoard, struct hoard_file *file)
{
	file->fd = -1;
	if (file->memory == hoard->objects.memory)
		file->memory = NULL;
}

static void objects_grown(struct hoard *hoard, struct hoard_job *job)
{
	struct hoard_file former = hoard->objects;
	struct object_records *records =
		object_records_open(job->objects.memory, job->objects.size);
	int r;

	assert(records);
	r = cache_objects(hoard->cache, records, object_records_slots(job->objects.size));
	assert(!r);
	hoard->objects = job->objects;
	job->objects = HOARD_FILE_NONE;
	objects_disown(hoard, &former);
	if (former.memory)
		hoard_drop_later(hoard, former, HOARD_INDEX_NONE);
}

static void index_there(struct hoard *hoard, struct hoard_job *job)
{
	hoard->next = job->index;
	job->index = HOARD_INDEX_NONE;
	cache_index_begin(hoard->cache,
			  index_table(hoard->next.file.memory, hoard->next.numbers));
}

void hoard_job_install(struct hoard_job *job)
{
	struct hoard *hoard = job->hoard;

	switch (job->kind) {
	case HOARD_JOB_MAKE:
		hoard->making = false;
		if (!job->error && !hoard->gone)
			job->error = made(hoard, job);
		break;
	case HOARD_JOB_OBJECTS:
		hoard->growing = false;
		if (!job->error && !hoard->gone)
			objects_grown(hoard, job);
		else
			objects_disown(hoard, &job->objects);
		break;
	case HOARD_JOB_INDEX:
		hoard->indexing = false;
		if (!job->error && !hoard->gone)
			index_there(hoard, job);
		break;
	case HOARD_JOB_DROP:
		break;
	}
	if (job->error)
		hoard->short_of_memory = true;
	if (job->error && job->kind != HOARD_JOB_INDEX) /* that is done without */
		hoard->error = job->error;
	/* What has not been taken. */
	if (job->index.file.fd >= 0 && job->kind != HOARD_JOB_DROP)
		hoard_index_unkeep(hoard, job->index.generation);
	if (job->objects.fd >= 0 && job->kind == HOARD_JOB_MAKE)
		hoard_objects_unkeep(hoard);
	hoard_drop_here(hoard, &job->objects, &job->index);
	hoard->coming -= job->coming;
	if (!hoard->gone)
		files_tell(hoard);
}

bool hoard_grows(struct hoard *hoard)
{
	if (!hoard->growing)
		hoard_grow_objects(hoard);
	return hoard->growing;
}

bool hoard_index_comes(struct hoard *hoard)
{
	if (hoard->next.file.memory)
		hoard_index_move(hoard);
	hoard_grow_index(hoard);
	return hoard->indexing;
}
