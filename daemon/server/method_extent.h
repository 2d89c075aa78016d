/*
 * Extent methods - windows, and the extents in them.
 */
#pragma once

#include "daemon/server/request.h"

int run_window_open(struct request *request, const union wire_body *params);
int run_words_open(struct request *request, const union wire_body *params);
int run_extent_alloc(struct request *request, const union wire_body *params);
int run_extent_free(struct request *request, const union wire_body *params);

/* Go on with allocations that were put off: a plan has ended. */
void extents_go_on(struct server *server);
/* At the end of the daemon: they are refused. */
void extents_give_up(struct server *server);
