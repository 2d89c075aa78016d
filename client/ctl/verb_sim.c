/*
 * sim - how often eviction policies would miss, on a trace of requests. It needs no daemon.
 */
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

enum answer verb_sim(struct call *call)
{
	_cleanup_(replay_deinit) struct replay replay = {0};
	struct sim_task task;
	enum answer answer;

	answer = sim_task_read(&task, call->options, call->words[0]);
	if (!answer)
		answer = replay_run(&replay, &task);
	if (answer)
		return answer;
	table_lines(&call->page, task.bytes ? byte_columns : columns, ARRAY_SIZE(columns),
		    replay.rows, replay.n_rows, sizeof(replay.rows[0]));
	return ANSWER_OK;
}
