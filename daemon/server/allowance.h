/*
 * Allowance - what one uid may have, and all together: the keys of [limits], the tables and the
 * descriptors there are, as quotas of the core and of the server.
 *
 * I1  Clients share half of the descriptors: sockets, pidfds, return rings. Windows and root
 *     files have tables that fit into the other half. What is left is the daemon's own.
 * I2  A reload changes limits, and ends nothing that is there.
 */
#pragma once

#include "daemon/core/quota.h"
#include "daemon/core/record.h"

struct request;
struct server;

/* How many descriptors there may be: before all that follows. */
void allowance_descriptors(struct server *server);

/* How large the tables are, for a region of this size and the descriptors that can be had. */
void allowance_size(struct server *server, struct record_capacity *ret);

/* What the core is to be told. */
void allowance_of_core(const struct server *server, const struct record_capacity *capacity,
		       struct quota_limits *ret);

/* At the start, and after a reload: the server's own, and the core's if there is one. */
void allowance_apply(struct server *server);

/* What quota_may() said, as an answer. REQUEST_FAULT. */
int allowance_fault(struct request *request, const struct quota_refusal *why);
