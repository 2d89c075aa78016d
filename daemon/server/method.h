/*
 * Method - what the daemon does for each method of the schema: a const table.
 */
#pragma once

#include "daemon/server/request.h"

/* 0, REQUEST_* or -errno. */
int method_run(struct request *request, const union wire_body *params);
