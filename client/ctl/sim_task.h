/*
 * Task - what is to be simulated, as the command line says it: a trace, policies, capacities.
 *
 * TA1  Nothing is said twice: policies and capacities differ from each other as they are written.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "client/ctl/answer.h"
#include "client/ctl/options.h"
#include "client/ctl/sim_capacity.h"
#include "client/ctl/sim_trace.h"

enum { TASK_CAPACITIES_MAX = 32, TASK_POLICIES_MAX = 16 };

struct policy;

struct sim_task {
	const char *path;
	const struct trace_format *format;
	const struct policy *policies[TASK_POLICIES_MAX];
	struct sim_capacity capacities[TASK_CAPACITIES_MAX];
	size_t n_policies, n_capacities;
	bool bytes;
	bool future; /* one of the policies is Belady's */
	bool shares; /* one of the capacities is a share */
	bool curve;  /* they are a curve's: those that are equal are one */
};

/* What is wrong is said. */
enum answer sim_task_read(struct sim_task *ret, const struct options *options,
			  const char *path);
