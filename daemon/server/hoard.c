#include "daemon/server/hoard.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <uv.h>

#include "base/base.h"
#include "daemon/core/cache/clean.h"
#include "daemon/server/cleaner.h"
#include "daemon/server/client.h"
#include "daemon/server/fault.h"
#include "daemon/server/lanes.h"
#include "daemon/server/publisher.h"
#include "daemon/server/scanner.h"
#include "daemon/server/server.h"

enum {
	HOARDS_MAX = 4096,     /* handles of caches have 12 bits (proto/lane.h) */
	SLOTS_FIRST = 8192,    /* of objects: 24 bytes each */
	INDEX_FIRST = 1 << 15, /* objects, at most; in a small cache one for so many bytes: */
	INDEX_SHARE = 128,
	SPAN = 256, /* times its size is a file mapped that is to grow: addresses cost nothing */
	HOARDS_A_TURN = 16,
	STEPS_A_TURN = 4,     /* of one hoard */
	TURN_NS = 300 * 1000, /* after which no more steps begin: one takes 200 us at most */
	RUNS = 16,            /* of slices, that come back at once */
	EXPIRE_STEPS = 256,
	EXPIRE_FLOOR_MS = 100,
};

struct hoards {
	struct server *server;
	struct link all, stirred, scan;
	uv_timer_t expiry;
	uint64_t armed;               /* for when, in ms of the machine's time; WHEEL_NEVER */
	struct hoard *at[HOARDS_MAX]; /* by the cache's slot */
};

enum job_kind { JOB_MAKE, JOB_OBJECTS, JOB_INDEX, JOB_DROP };

struct hoard_job {
	uv_work_t work;
	struct server *server;
	struct hoard *hoard;
	enum job_kind kind;
	int error;
	struct hoard_file objects; /* to be made or grown; or dropped */
	struct hoard_index index, next;
	struct index_config config;
	struct cache *cache;         /* to be dropped */
	uint64_t coming;             /* of the hoard's, by this job */
	const struct policy *policy; /* of the state, that is to be dropped */
	void *state;
};

/* ---- files ---- */

static void file_drop(struct sys *sys, struct hoard_file *file)
{
	if (file->memory)
		sys->table->file_unmap(sys, file->memory, file->span);
	if (file->fd >= 0)
		close(file->fd);
	*file = HOARD_FILE_NONE;
}

static void index_drop(struct sys *sys, struct hoard_index *index)
{
	file_drop(sys, &index->file);
	free(index->numbers);
	*index = HOARD_INDEX_NONE;
}

/*
 * All have moved on from it, but clients keep it mapped: what follows its head, which says so, is
 * memory that nobody needs.
 */
static void index_punch(struct sys *sys, const struct hoard_index *index)
{
	if (index->file.fd >= 0 && !mutant(index_kept))
		sys->table->scrub(sys, index->file.fd, INDEX_HEAD,
				  index->file.size - INDEX_HEAD);
}

static int objects_make(struct hoard_job *job)
{
	struct sys *sys = job->server->sys;
	struct hoard_file *file = &job->objects;
	int r;

	file->size = file->span = object_records_size(SLOTS_FIRST);
	r = sys->table->file_create(sys, "varbos-objects", file->size, SYS_READ, &file->fd,
				    &file->memory);
	if (!r)
		object_records_init(file->memory);
	return r;
}

/* Under its mapping as far as that goes, so that the loop keeps its pages; or by another. */
static int objects_extend(struct hoard_job *job)
{
	struct sys *sys = job->server->sys;
	struct hoard_file *file = &job->objects;

	return sys->table->file_grow(sys, file->fd, file->size, file->memory ? 0 : file->span,
				     &file->memory);
}

/* The numbers are touched here, so that the loop finds their pages there. */
static int index_make(struct hoard_job *job)
{
	uint64_t bytes = index_positions(job->config.layout) * sizeof(uint32_t);
	struct sys *sys = job->server->sys;
	struct hoard_file *file = &job->index.file;
	int r;

	file->size = index_file_size(job->config.layout.buckets, job->config.layout.overflow);
	file->span = file->size;
	job->index.numbers = malloc(bytes);
	if (!job->index.numbers)
		return -ENOMEM;
	memset(job->index.numbers, 0, bytes);
	r = sys->table->file_create(sys, "varbos-index", file->size, SYS_READ, &file->fd,
				    &file->memory);
	if (r)
		return r;
	job->index.generation = job->config.generation;
	index_format(file->memory, &job->config);
	return 0;
}

static void work_run(uv_work_t *work)
{
	struct hoard_job *job = container_of(work, struct hoard_job, work);
	struct sys *sys = job->server->sys;

	switch (job->kind) {
	case JOB_MAKE:
		job->error = objects_make(job);
		if (!job->error)
			job->error = index_make(job);
		break;
	case JOB_OBJECTS:
		job->error = objects_extend(job);
		return; /* what there is is the hoard's, whatever has failed */
	case JOB_INDEX:
		job->error = index_make(job);
		break;
	case JOB_DROP:
		index_punch(sys, &job->index);
		cache_free(job->cache);
		if (job->state)
			job->policy->deinit(job->state);
		break;
	}
	if (!job->error && job->kind != JOB_DROP)
		return;
	file_drop(sys, &job->objects);
	index_drop(sys, &job->index);
	index_drop(sys, &job->next);
}

static struct hoard_job *job_new(struct hoard *hoard, enum job_kind kind)
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

static void work_done(uv_work_t *work, int status);

/* ---- what it takes ---- */

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

static void job_queue(struct hoard_job *job)
{
	int r;

	job->hoard->jobs++;
	r = uv_queue_work(&job->server->loop, &job->work, work_run, work_done);
	assert(!r); /* it fails for want of a function only */
}

/* Without memory for a job it goes here, slowly, rather than never. */
static void drop_here(struct hoard *hoard, struct hoard_file *objects,
		      struct hoard_index *index)
{
	file_drop(hoard->server->sys, objects);
	index_drop(hoard->server->sys, index);
}

static void drop_later(struct hoard *hoard, struct hoard_file objects, struct hoard_index index)
{
	struct hoard_job *job = job_new(hoard, JOB_DROP);

	if (!job) {
		drop_here(hoard, &objects, &index);
		return;
	}
	job->objects = objects;
	job->index = index;
	job_queue(job);
}

/* ---- their coming and going ---- */

/* What is smaller holds nothing, and is no cache to the data plane. */
static uint64_t capacity_of(const struct estate_view *view)
{
	return u64_max(view->capacity, 1 << OBJECT_SHIFT);
}

static void hoard_free(struct hoard *hoard)
{
	struct sys *sys = hoard->server->sys;

	cache_free(hoard->cache);
	file_drop(sys, &hoard->objects);
	index_drop(sys, &hoard->index);
	index_drop(sys, &hoard->next);
	list_remove(&hoard->in_all);
	if (hoard->in_stirred.next)
		list_remove(&hoard->in_stirred);
	if (hoard->in_scan.next)
		list_remove(&hoard->in_scan);
	free(hoard);
}

/* HD2: its files are closed by a worker, too. */
static void hoard_go(struct hoard *hoard)
{
	struct hoard_job *job;

	if (hoard->jobs)
		return;
	if (hoard->objects.fd < 0 || hoard->server->stopping) {
		hoard_free(hoard);
		return;
	}
	job = job_new(hoard, JOB_DROP);
	if (!job) {
		hoard_free(hoard);
		return;
	}
	job->cache = TAKE_PTR(hoard->cache);
	job->objects = hoard->objects;
	job->index = hoard->index;
	job->next = hoard->next;
	hoard->objects = HOARD_FILE_NONE;
	hoard->index = hoard->next = HOARD_INDEX_NONE;
	job_queue(job);
}

static void hoard_make(struct hoard *hoard)
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
		object_records_size(SLOTS_FIRST);
	if (!files_come(hoard, bytes))
		return;
	job = job_new(hoard, JOB_MAKE);
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
	job_queue(job);
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
		.capacity = capacity_of(&view),
		.policy = view.policy,
		.objects = object_records_open(job->objects.memory, job->objects.size),
		.slots = SLOTS_FIRST,
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
		drop_later(hoard, former, HOARD_INDEX_NONE);
}

static void index_there(struct hoard *hoard, struct hoard_job *job)
{
	hoard->next = job->index;
	job->index = HOARD_INDEX_NONE;
	cache_index_begin(hoard->cache,
			  index_table(hoard->next.file.memory, hoard->next.numbers));
}

static void job_install(struct hoard_job *job)
{
	struct hoard *hoard = job->hoard;

	switch (job->kind) {
	case JOB_MAKE:
		hoard->making = false;
		if (!job->error && !hoard->gone)
			job->error = made(hoard, job);
		break;
	case JOB_OBJECTS:
		hoard->growing = false;
		if (!job->error && !hoard->gone)
			objects_grown(hoard, job);
		else
			objects_disown(hoard, &job->objects);
		break;
	case JOB_INDEX:
		hoard->indexing = false;
		if (!job->error && !hoard->gone)
			index_there(hoard, job);
		break;
	case JOB_DROP:
		break;
	}
	if (job->error)
		hoard->short_of_memory = true;
	if (job->error && job->kind != JOB_INDEX) /* that is done without */
		hoard->error = job->error;
	/* What has not been taken. */
	drop_here(hoard, &job->objects, &job->index);
	hoard->coming -= job->coming;
	if (!hoard->gone)
		files_tell(hoard);
}

static void work_done(uv_work_t *work, int status)
{
	struct hoard_job *job = container_of(work, struct hoard_job, work);
	struct hoard *hoard = job->hoard;

	(void)status; /* nothing is ever cancelled */
	job_install(job);
	free(job);
	hoard_job_done(hoard);
}

void hoard_job_done(struct hoard *hoard)
{
	struct server *server = hoard->server;

	hoard->jobs--;
	if (hoard->gone)
		hoard_go(hoard);
	else
		hoard_stir(hoard);
	if (!server->stopping)
		request_retry(server);
	lanes_go_on(server);
}

int hoards_new(struct hoards **ret, struct server *server)
{
	struct hoards *hoards = calloc(1, sizeof(*hoards));

	if (!hoards)
		return -ENOMEM;
	hoards->server = server;
	hoards->armed = WHEEL_NEVER;
	uv_timer_init(&server->loop, &hoards->expiry);
	list_init(&hoards->all);
	list_init(&hoards->stirred);
	list_init(&hoards->scan);
	*ret = hoards;
	return 0;
}

void hoards_free(struct hoards *hoards)
{
	if (!hoards)
		return;
	while (!list_empty(&hoards->all))
		hoard_free(list_entry(hoards->all.next, struct hoard, in_all));
	free(hoards);
}

void hoards_sweep(struct server *server)
{
	struct hoards *hoards = server->hoards;

	for (struct link *at = hoards->all.next, *next; at != &hoards->all; at = next) {
		struct hoard *hoard = list_entry(at, struct hoard, in_all);
		struct estate_view view;

		next = at->next;
		if (hoard->gone || core_cache_view(server->core, hoard->slot, &view))
			continue;
		hoard->gone = true;
		hoards->at[hoard->slot] = NULL;
		if (hoard->in_stirred.next)
			list_remove(&hoard->in_stirred);
		if (hoard->in_scan.next)
			list_remove(&hoard->in_scan);
		hoard_go(hoard);
	}
}

struct hoard *hoard_at(const struct server *server, uint32_t cache)
{
	struct hoard *hoard = cache < HOARDS_MAX ? server->hoards->at[cache] : NULL;

	return hoard && hoard->cache ? hoard : NULL;
}

/* NULL: no memory, or no such cache. */
static struct hoard *hoard_begin(struct server *server, uint32_t cache)
{
	struct hoards *hoards = server->hoards;
	struct estate_view view;
	struct hoard *hoard;

	if (cache >= HOARDS_MAX)
		return NULL;
	if (hoards->at[cache])
		return hoards->at[cache];
	if (!core_cache_view(server->core, cache, &view))
		return NULL;
	hoard = malloc(sizeof(*hoard));
	if (!hoard)
		return NULL;
	*hoard = (struct hoard){
		.server = server,
		.slot = cache,
		.space = view.space,
		.objects = HOARD_FILE_NONE,
		.index = HOARD_INDEX_NONE,
		.next = HOARD_INDEX_NONE,
	};
	list_append(&hoards->all, &hoard->in_all);
	hoards->at[cache] = hoard;
	return hoard;
}

void hoard_prepare(struct server *server, uint32_t cache)
{
	struct hoard *hoard = hoard_begin(server, cache);

	if (hoard && !hoard->cache && !hoard->making)
		hoard_make(hoard);
}

int hoard_want(struct request *request, uint32_t cache, struct hoard **ret)
{
	struct hoard *hoard = hoard_begin(request->server, cache);
	int r;

	if (!hoard)
		return -ENOMEM;
	if (!hoard->cache) {
		r = hoard_error(hoard);
		if (!r && !hoard->making)
			hoard_make(hoard);
		if (!r && hoard->bound)
			return fault_from_core(request, CORE_E_LIMIT, &hoard->limit);
		return r ? r : REQUEST_BUSY;
	}
	*ret = hoard;
	return 0;
}

int hoard_error(struct hoard *hoard)
{
	int r = hoard->error;

	hoard->error = 0;
	return r;
}

/* ---- what it wants ---- */

static void objects_grow(struct hoard *hoard)
{
	struct hoard_file file = hoard->objects;
	struct hoard_job *job;
	uint64_t size = object_records_size(cache_slots_next(hoard->cache));

	if (hoard->growing || hoard->short_of_memory || hoard->bound || size == file.size)
		return;
	if (!files_come(hoard, size - hoard->objects.size))
		return;
	job = job_new(hoard, JOB_OBJECTS);
	if (!job) {
		hoard->coming -= size - hoard->objects.size;
		files_tell(hoard);
		return;
	}
	job->coming = size - hoard->objects.size;
	file.size = size;
	if (size > file.span) {
		file.memory = NULL;
		file.span = u64_min(size * SPAN, object_records_size(INDEX_NUMBERS));
	}
	job->objects = file;
	hoard->growing = true;
	job_queue(job);
}

static void index_another(struct hoard *hoard)
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
	job = job_new(hoard, JOB_INDEX);
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
	job_queue(job);
}

/* True: it has not moved all. */
static bool index_move(struct hoard *hoard)
{
	struct hoard_index former = hoard->index;
	struct index_table table;

	if (cache_index_step(hoard->cache, &table))
		return true;
	hoard->index = hoard->next;
	hoard->next = HOARD_INDEX_NONE;
	drop_later(hoard, HOARD_FILE_NONE, former);
	files_tell(hoard);
	return false;
}

/* What is left of the former policy of many objects takes long to be freed. */
static void switched(struct hoard *hoard)
{
	struct hoard_job *job = job_new(hoard, JOB_DROP);

	if (!job) /* it goes with the next switch */
		return;
	job->state = cache_switch_spent(hoard->cache, &job->policy);
	if (job->state)
		job_queue(job);
	else
		free(job);
}

/* Terms that could not be had while others came true. */
static void follow_policy(struct hoard *hoard)
{
	struct estate_view view;

	if (core_cache_view(hoard->server->core, hoard->slot, &view) &&
	    view.policy != cache_view(hoard->cache).policy)
		cache_switch(hoard->cache, view.policy); /* else: at the next beat */
}

/* ---- what expires ---- */

static void arm(struct hoards *hoards, uint64_t at, uint64_t now);

static void time_is_up(uv_timer_t *timer)
{
	struct hoards *hoards = container_of(timer, struct hoards, expiry);
	uint64_t now = server_machine_ms(hoards->server);

	hoards->armed = WHEEL_NEVER;
	list_for_each(at, &hoards->all)
	{
		struct hoard *hoard = list_entry(at, struct hoard, in_all);

		if (!hoard->cache || hoard->gone)
			continue;
		if (cache_expire_next(hoard->cache) <= now)
			hoard->expiring = true;
		else
			arm(hoards, cache_expire_next(hoard->cache), now);
		hoard_stir(hoard);
	}
}

/* One timer for all: at that time, but not at once. */
static void arm(struct hoards *hoards, uint64_t at, uint64_t now)
{
	if (at == WHEEL_NEVER || (at >= hoards->armed && hoards->armed > now) ||
	    hoards->server->stopping)
		return;
	hoards->armed = u64_max(at, now + EXPIRE_FLOOR_MS);
	uv_timer_start(&hoards->expiry, time_is_up, hoards->armed - now, 0);
}

void hoard_expires(struct hoard *hoard, uint64_t expiry)
{
	struct hoards *hoards = hoard->server->hoards;

	if (expiry < hoards->armed)
		arm(hoards, expiry, server_machine_ms(hoard->server));
}

static void expire(struct hoard *hoard)
{
	uint64_t now = server_machine_ms(hoard->server);

	hoard->expiring = cache_expire(hoard->cache, now, EXPIRE_STEPS) == CACHE_MORE;
	if (!hoard->expiring)
		arm(hoard->server->hoards, cache_expire_next(hoard->cache), now);
}

/* ---- what comes back ---- */

void hoard_seal(struct hoard *hoard, uint64_t offset)
{
	struct core *core = hoard->server->core;
	struct core_fault fault = {};
	struct extent_place place;

	if (!core_extent_at(core, hoard->space, offset, &place) || !place.session ||
	    place.cache != hoard->slot)
		return;
	offset = offset_make(offset_window(offset), (uint64_t)place.first << SLICE_SHIFT);
	core_cache_seal(core, place.session, hoard->space, offset, place.tag, &fault);
	server_apply(hoard->server);
}

/*
 * False: later, for want of memory. Nobody keeps what the cache knows to be empty, by not sealing it;
 * and what the ledger has not as this cache's never comes back to it from here.
 */
static bool give_back(struct hoard *hoard, struct segment_run run)
{
	struct core *core = hoard->server->core;
	struct core_fault fault = {};
	int r = core_cache_return(core, hoard->slot, run.base, run.size, &fault);

	if (r == CORE_E_REFERENCE) {
		hoard_seal(hoard, run.base);
		r = core_cache_return(core, hoard->slot, run.base, run.size, &fault);
	}
	return r >= 0;
}

bool hoard_returns(const struct hoard *hoard)
{
	return hoard->reclaiming && hoard->n_owed <= HOARD_OWED - RUNS;
}

static void reclaim(struct hoard *hoard)
{
	struct segment_run runs[RUNS];
	struct server *server = hoard->server;
	uint32_t n;

	if (hoard->n_owed > HOARD_OWED - RUNS) /* at the next beat there are fewer */
		return;
	hoard->reclaiming = cache_reclaim(hoard->cache, runs, RUNS, &n) == CACHE_MORE;
	for (uint32_t i = 0; i < n; i++)
		if (!give_back(hoard, runs[i]))
			hoard->owed[hoard->n_owed++] = runs[i];
	server_apply(server);
	publisher_touch(server->publisher);
	request_retry(server);
}

static void settle_owed(struct hoard *hoard)
{
	uint32_t n = hoard->n_owed;

	hoard->n_owed = 0;
	for (uint32_t i = 0; i < n; i++)
		if (!give_back(hoard, hoard->owed[i]))
			hoard->owed[hoard->n_owed++] = hoard->owed[i];
	if (n != hoard->n_owed)
		server_apply(hoard->server);
}

bool hoards_scan_begin(struct server *server)
{
	struct hoards *hoards = server->hoards;

	list_for_each(at, &hoards->all)
	{
		struct hoard *hoard = list_entry(at, struct hoard, in_all);

		if (!hoard->cache || hoard->gone || hoard->reclaiming ||
		    !(hoard->scan_now || cache_wants(hoard->cache) & CACHE_WANTS_SCAN))
			continue;
		cache_scan_begin(hoard->cache);
		list_append(&hoards->scan, &hoard->in_scan);
		hoard->scan_now = false;
	}
	return !list_empty(&hoards->scan);
}

uint32_t hoards_scan_word(struct server *server, uint32_t space, uint32_t session,
			  uint64_t offset, uint64_t now)
{
	uint32_t steps = 0;

	list_for_each(at, &server->hoards->scan)
	{
		struct hoard *hoard = list_entry(at, struct hoard, in_scan);

		if (hoard->space == space)
			cache_scan_word(hoard->cache, session, offset, now);
		steps++;
	}
	return steps;
}

void hoards_scan_end(struct server *server)
{
	struct hoards *hoards = server->hoards;

	while (!list_empty(&hoards->scan)) {
		struct hoard *hoard = list_entry(hoards->scan.next, struct hoard, in_scan);

		list_remove(&hoard->in_scan);
		cache_scan_end(hoard->cache);
		hoard->reclaiming = true;
		hoard_stir(hoard);
	}
	request_retry(server);
}

void hoards_scan_failed(struct server *server)
{
	struct hoards *hoards = server->hoards;

	while (!list_empty(&hoards->scan)) {
		struct hoard *hoard = list_entry(hoards->scan.next, struct hoard, in_scan);

		list_remove(&hoard->in_scan);
		hoard->scan_now = true;
	}
}

uint64_t hoard_metadata(const struct hoard *hoard)
{
	return cache_view(hoard->cache).memory + hoard->objects.size + hoard->index.file.size +
	       hoard->next.file.size;
}

struct hoard *hoards_next(const struct server *server, const struct hoard *hoard)
{
	const struct link *all = &server->hoards->all, *at = hoard ? &hoard->in_all : all;

	return at->next == all ? NULL : list_entry(at->next, struct hoard, in_all);
}

/* A step of what is to be done here. */
static bool hoard_step(struct hoard *hoard)
{
	struct server *server = hoard->server;
	uint32_t wants = cache_wants(hoard->cache);
	bool more = false;

	if (wants & CACHE_WANTS_TEND)
		more |= !cache_tend(hoard->cache, server_machine_ms(server));
	if (wants & CACHE_WANTS_OBJECTS)
		objects_grow(hoard);
	if (wants & CACHE_WANTS_INDEX)
		index_another(hoard);
	if (wants & CACHE_WANTS_MOVE)
		more |= index_move(hoard);
	if (wants & CACHE_WANTS_ROOM)
		more |= cache_room(hoard->cache) == CACHE_MORE;
	if (wants & CACHE_WANTS_SWITCH && !cache_switch_step(hoard->cache)) {
		switched(hoard);
		follow_policy(hoard);
	}
	more |= (cache_wants(hoard->cache) & CACHE_WANTS_SWITCH) != 0;
	if (hoard->expiring)
		expire(hoard);
	if (hoard->reclaiming)
		reclaim(hoard);
	if ((wants & CACHE_WANTS_SCAN || hoard->scan_now) && !hoard->in_scan.next &&
	    !hoard->reclaiming)
		scanner_want(server);
	if (wants & CACHE_WANTS_CLEAN)
		more |= cleaner_step(hoard);
	more |= hoard->expiring || hoard_returns(hoard);
	return more;
}

void hoard_stir(struct hoard *hoard)
{
	if (!hoard->cache || hoard->gone || hoard->in_stirred.next ||
	    (!hoard->expiring && !hoard->reclaiming && !cache_wants(hoard->cache)))
		return;
	list_append(&hoard->server->hoards->stirred, &hoard->in_stirred);
	server_more(hoard->server);
}

bool hoards_turn(struct server *server)
{
	const struct sys_table *table = server->sys->table;
	struct hoards *hoards = server->hoards;
	uint64_t until = table->now_ns(server->sys) + TURN_NS;
	bool in_time = true;

	for (uint32_t n = 0; n < HOARDS_A_TURN && in_time && !list_empty(&hoards->stirred);
	     n++) {
		struct hoard *hoard =
			list_entry(hoards->stirred.next, struct hoard, in_stirred);
		uint32_t steps = 0;
		bool more;

		list_remove(&hoard->in_stirred);
		do {
			more = hoard_step(hoard);
			in_time = table->now_ns(server->sys) < until;
		} while (more && in_time && ++steps < STEPS_A_TURN);
		if (more)
			list_append(&hoards->stirred, &hoard->in_stirred);
	}
	return !list_empty(&hoards->stirred);
}

void hoards_beat(struct server *server)
{
	struct sys *sys = server->sys;
	uint64_t clock = sys->table->machine_ns(sys) - sys->table->now_ns(sys);

	list_for_each(at, &server->hoards->all)
	{
		struct hoard *hoard = list_entry(at, struct hoard, in_all);

		hoard->short_of_memory = hoard->bound = false;
		if (!hoard->cache || hoard->gone)
			continue;
		cache_clock_set(hoard->cache, clock);
		follow_policy(hoard);
		hoard->unclean = false;
		settle_owed(hoard);
		arm(server->hoards, cache_expire_next(hoard->cache), server_machine_ms(server));
		if (hoard->scan_now)
			scanner_want(server);
		hoard_stir(hoard);
	}
}

bool hoard_grows(struct hoard *hoard)
{
	if (!hoard->growing)
		objects_grow(hoard);
	return hoard->growing;
}

bool hoard_index_comes(struct hoard *hoard)
{
	if (hoard->next.file.memory)
		index_move(hoard);
	index_another(hoard);
	return hoard->indexing;
}

/* ---- what the ledger has decided ---- */

int hoard_leased(struct server *server, uint32_t space, uint64_t offset)
{
	struct extent_place place;
	struct hoard *hoard;
	int r;

	if (!core_extent_at(server->core, space, offset, &place) || !place.cache)
		return -ENOENT;
	hoard = hoard_at(server, place.cache);
	if (!hoard)
		return -ENOENT;
	hoard->drops = 0;
	r = cache_segment(hoard->cache, place.session ? place.session : CACHE_CLEANER, offset,
			  (uint64_t)place.count << SLICE_SHIFT, place.kind == EXTENT_OBJECT);
	return r > 0 ? -EEXIST : r;
}

void hoard_sealed(struct server *server, uint32_t cache, uint32_t session, uint64_t offset)
{
	struct hoard *hoard = hoard_at(server, cache);

	if (!hoard)
		return;
	cache_seal(hoard->cache, session, offset);
	hoard_stir(hoard);
}

void hoards_left(struct server *server, uint32_t space, uint32_t cache, uint32_t session)
{
	list_for_each(at, &server->hoards->all)
	{
		struct hoard *hoard = list_entry(at, struct hoard, in_all);

		if (!hoard->cache || hoard->gone || (space && hoard->space != space) ||
		    (cache && hoard->slot != cache))
			continue;
		cache_session_end(hoard->cache, session);
		hoard_stir(hoard);
	}
}

void hoard_changed(struct server *server, uint32_t cache)
{
	struct hoard *hoard = hoard_at(server, cache);
	struct estate_view view;

	if (!hoard || !core_cache_view(server->core, cache, &view))
		return;
	if (capacity_of(&view) != cache_view(hoard->cache).capacity)
		cache_resize(hoard->cache, capacity_of(&view));
	cache_ttl_set(hoard->cache, view.ttl_ms);
	follow_policy(hoard);
	hoard_stir(hoard);
}
