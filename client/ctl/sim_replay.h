/*
 * Replay - one trace through many caches: each policy at each capacity.
 *
 * RP1  All get the same requests, in the same order. Rows are by capacity, and of one by policy, as
 *      the task has them.
 * RP2  The trace is read once, unless a capacity is a share or the future is wanted: then twice.
 * RP3  It takes half of the memory that is available, at most, for which the process is limited; of
 *      that a trace that is kept takes half.
 */
#pragma once

#include "client/ctl/answer.h"
#include "client/ctl/sim_task.h"

struct replay_row {
	char policy[16];
	uint64_t capacity, requests, misses;
	double miss_ratio, byte_miss_ratio;
};

struct replay {
	struct replay_row *rows; /* n_policies of each capacity */
	size_t n_rows;
};

/* What is wrong is said. */
enum answer replay_run(struct replay *ret, const struct sim_task *task);
void replay_deinit(struct replay *replay);
