/*
 * Method - what the daemon does for each method of the schema: a const table.
 */
#pragma once

#include "daemon/server/request.h"

/* 0, REQUEST_* or -errno. */
int method_run(struct request *request, const union wire_body *params);

/* The answer to space.open, of a space that the session has open, with its descriptor. */
int method_grant_space(struct request *request, uint32_t space);

/* The space that an extent.alloc is for, if its session has it open; else 0. */
uint32_t method_space(const struct request *request, const union wire_body *params);
