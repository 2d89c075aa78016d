/*
 * Channel methods - ends of queues between processes.
 */
#pragma once

#include "daemon/server/request.h"

int run_channel_open(struct request *request, const union wire_body *params);
int run_channel_close(struct request *request, const union wire_body *params);
int run_channel_list(struct request *request, const union wire_body *params);
