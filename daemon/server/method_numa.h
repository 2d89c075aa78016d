/*
 * NUMA methods - what clients may say and ask about nodes.
 */
#pragma once

#include "base/numa.h"
#include "daemon/server/request.h"

/* A policy out of a request. REQUEST_FAULT: there is none of that name. */
int numa_read(struct request *request, struct wire_str name, uint64_t nodes, struct numa *ret);

int run_numa_nodes(struct request *request, const union wire_body *params);
int run_numa_spaces(struct request *request, const union wire_body *params);
