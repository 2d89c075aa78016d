#include "client/ctl/sim_replay.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/base.h"
#include "base/size.h"
#include "client/ctl/sim_cache.h"
#include "client/ctl/sim_progress.h"
#include "client/ctl/sim_survey.h"
#include "daemon/core/policy/policy.h"

/*
 * Requests that each cache takes at once, before the next one has its turn: so many that it pays to
 * have its tables in the processor's caches. A curve takes 1.6 times as long with 1024.
 */
enum { BATCH = 1 << 15 };

enum {
	STAGE_E_CHANGED = 16, /* the trace is not the one that was surveyed */
};

struct stage {
	const struct sim_task *task;
	struct sim_trace *trace;
	struct sim_survey survey;
	bool surveyed;
	struct sim_cache *caches;
	size_t n_caches;
	struct progress progress;
	uint64_t memory; /* that it may take */
	uint64_t requests;
	unsigned __int128 bytes;
	struct sim_request batch[BATCH];
	char complaint[TRACE_COMPLAINT_MAX];
};

static void stage_free(struct stage *stage)
{
	if (!stage)
		return;
	for (size_t i = 0; i < stage->n_caches; i++)
		sim_cache_deinit(&stage->caches[i]);
	free(stage->caches);
	sim_survey_deinit(&stage->survey);
	trace_free(stage->trace);
	free(stage);
}

static void stage_freep(struct stage **stage)
{
	stage_free(*stage);
}

/* Half of what is available; what the kernel does not tell is taken for plenty. */
static uint64_t memory_half(void)
{
	uint64_t kib, half = UINT64_MAX;
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
			half = kib * 1024 / 2;
	if (file)
		fclose(file);
	return half;
}

/* So that what is too much is an error here, and not the end of somebody else. */
static void memory_limit(uint64_t memory)
{
	uint64_t pages, sum;
	struct rlimit limit;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file && fscanf(file, "%" SCNu64, &pages) == 1 &&
	    u64_add(pages * (uint64_t)sysconf(_SC_PAGESIZE), memory, &sum) &&
	    !getrlimit(RLIMIT_AS, &limit) && sum < limit.rlim_cur) {
		limit.rlim_cur = sum;
		setrlimit(RLIMIT_AS, &limit);
	}
	if (file)
		fclose(file);
}

static enum answer refuse_memory(const struct stage *stage)
{
	char text[SIZE_TEXT_MAX];

	return answer_say(ANSWER_MEMORY,
			  "sim: out of memory; it takes at most half of what is available, %s",
			  size_format(text, sizeof(text), stage->memory));
}

static enum answer refuse_trace(const struct stage *stage, int r)
{
	enum answer answer = ANSWER_FAILED;

	switch (r) {
	case TRACE_E_ABSENT:
		answer = ANSWER_NOT_FOUND;
		break;
	case TRACE_E_DENIED:
		answer = ANSWER_PERMISSION;
		break;
	case TRACE_E_USAGE:
		answer = ANSWER_USAGE;
		break;
	case TRACE_E_LARGE:
	case -ENOMEM:
		answer = ANSWER_MEMORY;
		break;
	}
	return answer_say(answer, "sim: %s", stage->complaint);
}

static enum answer refuse_changed(const struct stage *stage)
{
	return answer_say(ANSWER_FAILED, "sim: %s: it changed while it was read",
			  trace_name(stage->trace));
}

static enum answer refuse_taking(const struct stage *stage, int r)
{
	if (r == STAGE_E_CHANGED)
		return refuse_changed(stage);
	if (r == SURVEY_E_LARGE)
		return answer_say(
			ANSWER_FAILED,
			"sim: %s: more than 2^31 keys, or with --belady 2^32 requests",
			trace_name(stage->trace));
	return refuse_memory(stage);
}

static int survey_take(struct stage *stage, size_t n)
{
	return sim_survey_add(&stage->survey, stage->batch, n);
}

static int caches_take(struct stage *stage, size_t n)
{
	int r;

	if (stage->surveyed && n > stage->survey.requests - stage->requests)
		return STAGE_E_CHANGED;
	for (size_t i = 0; i < stage->n_caches; i++) {
		r = sim_cache_run(&stage->caches[i], stage->batch, n);
		if (r)
			return r;
	}
	return 0;
}

/* All requests, batch by batch, to whoever takes them. */
static enum answer stage_read(struct stage *stage, const char *what,
			      int (*take)(struct stage *stage, size_t n))
{
	size_t n;
	int r;

	stage->requests = 0;
	stage->bytes = 0;
	progress_next(&stage->progress);
	for (;;) {
		if (!progress_show(&stage->progress, what, trace_position(stage->trace),
				   trace_length(stage->trace), stage->requests))
			return ANSWER_FAILED;
		r = trace_read(stage->trace, stage->batch, BATCH, &n);
		if (r == -EINTR)
			continue;
		if (r || !n)
			progress_hide(&stage->progress);
		if (r)
			return refuse_trace(stage, r);
		if (!n && !stage->requests)
			return answer_say(ANSWER_FAILED, "sim: %s: there are no requests in it",
					  trace_name(stage->trace));
		if (!n)
			return ANSWER_OK;
		r = take(stage, n);
		if (r)
			progress_hide(&stage->progress);
		if (r)
			return refuse_taking(stage, r);
		stage->requests += n;
		for (size_t i = 0; i < n; i++)
			stage->bytes += stage->batch[i].size;
	}
}

static enum answer stage_survey(struct stage *stage)
{
	enum answer answer;
	int r;

	stage->survey.future = stage->task->future;
	answer = stage_read(stage, "looking", survey_take);
	if (answer)
		return answer;
	stage->surveyed = true;
	sim_survey_end(&stage->survey);
	r = trace_rewind(stage->trace);
	return r ? refuse_trace(stage, r) : ANSWER_OK;
}

/* In numbers; how many. */
static size_t capacities_of(const struct stage *stage, uint64_t ret[static TASK_CAPACITIES_MAX])
{
	const struct sim_task *task = stage->task;
	size_t n = 0;

	for (size_t i = 0; i < task->n_capacities; i++) {
		ret[n] = capacity_of(&task->capacities[i],
				     task->bytes ? stage->survey.bytes : stage->survey.keys);
		n += !task->curve || !n || ret[n] != ret[n - 1];
	}
	return n;
}

static enum answer caches_new(struct stage *stage)
{
	const struct sim_task *task = stage->task;
	uint64_t capacities[TASK_CAPACITIES_MAX];
	size_t n = capacities_of(stage, capacities) * task->n_policies;

	assert(n);
	stage->caches = calloc(n, sizeof(*stage->caches));
	if (!stage->caches)
		return refuse_memory(stage);
	for (; stage->n_caches < n; stage->n_caches++) {
		struct sim_cache_options options = {
			.policy = task->policies[stage->n_caches % task->n_policies],
			.bytes = task->bytes,
			.capacity = capacities[stage->n_caches / task->n_policies],
			.keys = stage->surveyed ? stage->survey.keys : UINT64_MAX,
			.next = stage->survey.next,
		};

		if (sim_cache_init(&stage->caches[stage->n_caches], &options))
			return refuse_memory(stage);
	}
	return ANSWER_OK;
}

static enum answer rows_take(const struct stage *stage, struct replay *ret)
{
	struct replay_row *rows = calloc(stage->n_caches, sizeof(*rows));

	if (!rows)
		return refuse_memory(stage);
	for (size_t i = 0; i < stage->n_caches; i++) {
		const struct sim_cache *cache = &stage->caches[i];

		rows[i] = (struct replay_row){
			.capacity = cache->capacity,
			.requests = stage->requests,
			.misses = cache->misses,
			.miss_ratio = (double)cache->misses / (double)stage->requests,
			.byte_miss_ratio = (double)cache->bytes_missed / (double)stage->bytes,
		};
		snprintf(rows[i].policy, sizeof(rows[i].policy), "%s", cache->policy->name);
	}
	ret->rows = rows;
	ret->n_rows = stage->n_caches;
	return ANSWER_OK;
}

static enum answer stage_run(struct stage *stage, struct replay *ret)
{
	const struct sim_task *task = stage->task;
	enum answer answer = ANSWER_OK;

	if (task->shares || task->future)
		answer = stage_survey(stage);
	if (!answer)
		answer = caches_new(stage);
	if (!answer)
		answer = stage_read(stage, "replaying", caches_take);
	if (answer)
		return answer;
	if (stage->surveyed && stage->requests != stage->survey.requests &&
	    !mutant(sim_change_unseen))
		return refuse_changed(stage);
	return rows_take(stage, ret);
}

enum answer replay_run(struct replay *ret, const struct sim_task *task)
{
	_cleanup_(stage_freep) struct stage *stage = calloc(1, sizeof(*stage));
	struct trace_options options = {
		.format = task->format,
		.sizes = task->bytes,
		.again = task->shares || task->future,
	};
	enum answer answer;
	int r;

	if (!stage)
		return answer_say(ANSWER_MEMORY, "sim: %s", strerror(ENOMEM));
	stage->task = task;
	stage->memory = memory_half();
	options.kept_max = stage->memory / 2;
	r = trace_new(&stage->trace, task->path, &options, stage->complaint);
	if (r)
		return refuse_trace(stage, r);
	/* What a pipe brought is memory, but none of the address space. */
	memory_limit(stage->memory - (trace_is_kept(stage->trace) ? options.kept_max : 0));
	progress_begin(&stage->progress);
	answer = stage_run(stage, ret);
	progress_end(&stage->progress);
	return answer;
}

void replay_deinit(struct replay *replay)
{
	free(replay->rows);
	*replay = (struct replay){0};
}
