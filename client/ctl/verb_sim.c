/*
 * sim - how often eviction policies would miss, on a trace of requests. It needs no daemon.
 */
#include <string.h>

#include "client/ctl/sim_curve.h"
#include "client/ctl/sim_replay.h"
#include "client/ctl/sim_task.h"
#include "client/ctl/verb.h"

#define ROW(field, title, show) TABLE_COLUMN(struct replay_row, field, title, #field, show)
#define COLUMNS(capacity_show)                                                              \
	{                                                                                   \
		ROW(policy, "POLICY", SHOW_TEXT), ROW(capacity, "CAPACITY", capacity_show), \
			ROW(requests, "REQUESTS", SHOW_COUNT),                              \
			ROW(misses, "MISSES", SHOW_COUNT),                                  \
			ROW(miss_ratio, "MISS", SHOW_RATIO),                                \
			ROW(byte_miss_ratio, "BYTE MISS", SHOW_RATIO),                      \
	}

static const struct table_column columns[] = COLUMNS(SHOW_COUNT);
static const struct table_column byte_columns[] = COLUMNS(SHOW_BYTES);

static enum answer curve_show(struct call *call, const struct sim_task *task,
			      const struct replay *replay)
{
	const char *path = call->options->text[OPTION_SVG];
	struct sim_curve curve = {
		.title = strcmp(task->path, "-") ? basename(task->path) : "standard input",
		.rows = replay->rows,
		.n_points = replay->n_rows / task->n_policies,
		.n_policies = task->n_policies,
		.bytes = task->bytes,
	};

	if (call->page.form != TABLE_JSON) {
		putc('\n', call->page.out);
		curve_print(call->page.out, &curve);
	}
	if (!path)
		return ANSWER_OK;
	snprintf(call->notice, sizeof(call->notice), "the curve is drawn in %.120s", path);
	return curve_file_write(path, &curve);
}

enum answer verb_sim(struct call *call)
{
	_cleanup_(replay_deinit) struct replay replay = {0};
	struct sim_task task;
	enum answer answer;

	answer = sim_task_read(&task, call->options, call->words[0]);
	if (!answer && call->options->given[OPTION_SVG])
		answer = curve_file_try(call->options->text[OPTION_SVG]);
	if (!answer)
		answer = replay_run(&replay, &task);
	if (answer)
		return answer;
	table_lines(&call->page, task.bytes ? byte_columns : columns, ARRAY_SIZE(columns),
		    replay.rows, replay.n_rows, sizeof(replay.rows[0]));
	return task.curve ? curve_show(call, &task, &replay) : ANSWER_OK;
}
