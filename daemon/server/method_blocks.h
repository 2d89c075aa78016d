/*
 * Block methods - shared blocks, as far as the daemon has to do with them.
 */
#pragma once

#include "daemon/server/request.h"

int run_holder_open(struct request *request, const union wire_body *params);

/*
 * Adopted blocks are freed if their words say that nobody has any. REQUEST_LATER: a worker looks.
 * False: it is something else, and the core knows all.
 */
bool blocks_free(struct request *request, uint32_t space, const struct wire_extent_free *args,
		 int *ret);
