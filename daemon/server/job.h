/*
 * Job - a plan of the core being carried out by a worker.
 *
 * J1  All or nothing: what fails halfway is undone by the worker before the loop hears of it.
 * J2  The loop then installs the files, commits or aborts the plan, and tells whoever asked.
 */
#pragma once

#include "daemon/core/core.h"
#include "daemon/sys/sys.h"

struct server;

struct job_outcome {
	int error;                    /* 0 or -errno */
	struct sys_shortage shortage; /* of -ENOMEM and -ENOSPC, else zero */
	uint64_t surplus;             /* bytes that a scrub found, and took back */
};

typedef void job_done_fn(void *userdata, const struct job_outcome *outcome);

/*
 * Takes the plan. `done`, unless NULL, is called on the loop's thread once it is committed or
 * aborted. -ENOMEM: the job could not even start; the plan is aborted, `done` is not called.
 */
int job_start(struct server *server, struct plan *plan, job_done_fn *done, void *userdata);
