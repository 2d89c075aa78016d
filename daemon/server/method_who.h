/*
 * Who methods - whose a block is.
 */
#pragma once

#include "daemon/server/request.h"

int run_block_who(struct request *request, const union wire_body *params);
