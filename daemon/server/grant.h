/*
 * Grant - descriptors for a client: each file is opened afresh, by a worker.
 */
#pragma once

#include <stdint.h>

#include "daemon/server/request.h"
#include "daemon/sys/sys.h"

/*
 * Answers the request with its result and a fresh description of each file. `done`, unless
 * NULL, hears of it before: false, if there were no descriptors to be had.
 */
int grant_start(struct request *request, const int *fds, const enum sys_access *access,
		uint32_t n, void (*done)(struct request *request, bool done));
/* The same with one file that may be closed meanwhile. */
int grant_start_copy(struct request *request, int fd, enum sys_access access);
