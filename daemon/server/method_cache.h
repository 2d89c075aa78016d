/*
 * Cache methods - caches of a space, as the ledger knows them: who has one open, what it may hold,
 * the memory that it has.
 */
#pragma once

#include "daemon/server/request.h"

int run_cache_open(struct request *request, const union wire_body *params);
int run_cache_close(struct request *request, const union wire_body *params);
int run_cache_list(struct request *request, const union wire_body *params);
int run_cache_change(struct request *request, const union wire_body *params);
int run_cache_remove(struct request *request, const union wire_body *params);
int run_cache_segment(struct request *request, const union wire_body *params);
int run_cache_seal(struct request *request, const union wire_body *params);

/* A cache that is of this space. */
int method_cache_slot(struct request *request, uint64_t space_handle, uint64_t handle,
		      uint32_t *ret_space, uint32_t *ret);
/* The memory that cache.segment has asked for is there: the cache has it from now on. */
int cache_leased(struct request *request);

/* The answer to cache.open, of a cache that the session has open. */
int cache_say_opened(struct request *request, uint32_t cache);

/* One that was removed may have lost its last session: at the next turn. */
void caches_reap_soon(struct server *server);
/* Some steps of it. True: there is more to do, at once; else what is left waits for a plan to end. */
bool caches_reap(struct server *server);
