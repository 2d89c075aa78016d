/*
 * Methods of a cache's data plane: what lanes carry, asked for over the socket; and the files that
 * clients read.
 */
#pragma once

#include "daemon/server/request.h"

int run_cache_index(struct request *request, const union wire_body *params);
int run_cache_publish(struct request *request, const union wire_body *params);
int run_cache_delete(struct request *request, const union wire_body *params);
int run_cache_touch(struct request *request, const union wire_body *params);
int run_cache_clear(struct request *request, const union wire_body *params);
int run_cache_count(struct request *request, const union wire_body *params);
int run_cache_evict(struct request *request, const union wire_body *params);
int run_cache_fetch(struct request *request, const union wire_body *params);
int run_cache_fetch_end(struct request *request, const union wire_body *params);
int run_cache_detail(struct request *request, const union wire_body *params);
