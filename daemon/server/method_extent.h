/*
 * Extent methods - windows, and the extents in them.
 */
#pragma once

#include "daemon/core/core.h"
#include "daemon/server/request.h"

int run_window_open(struct request *request, const union wire_body *params);
int run_words_open(struct request *request, const union wire_body *params);
int run_extent_alloc(struct request *request, const union wire_body *params);
int run_extent_free(struct request *request, const union wire_body *params);

/* An extent for the session or, unless `cache` is 0, memory for that. As a method. */
int extents_alloc(struct request *request, uint32_t space, uint32_t cache,
		  const struct extent_request *wanted);

/*
 * A verb lacks memory. True: some has come back through return rings, so it is worth another try.
 */
bool extents_return(struct request *request, int r, const struct core_fault *fault);
/* True: what the dead have left may be had, by a sweep: REQUEST_BUSY. Not of a client's own limit. */
bool extents_wait(const struct request *request, int r, const struct core_fault *fault,
		  uint32_t space);

/* Go on with allocations that were put off: a plan has ended. */
void extents_go_on(struct server *server);
/* At the end of the daemon: they are refused. */
void extents_give_up(struct server *server);
