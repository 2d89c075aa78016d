/*
 * Session - one process, over all the spaces it has open.
 *
 * S1  used is the sum of what its members' budgets have used.
 * S2  Its record goes after those of its members, theirs after their ends and extents; and after its
 *     lanes and its return ring.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"
#include "daemon/core/list.h"

struct session {
	uint32_t slot, serial;
	struct session_request request;
	struct quota *quota;
	uint64_t files; /* bytes of metadata besides METADATA_SESSION */
	bool ending;
	struct core_plan *going; /* gathers the ends of removed spaces, until it has ended */
	struct link members;     /* struct member, in_session */
	uint32_t n_members;
	uint32_t n_rights;
	struct lanes_terms lanes; /* position.h; zeroed: it has none */
	uint64_t lanes_place;     /* of `taken` of the first */
	bool returns;             /* it has a return ring */
	uint64_t used, peak, allocs, frees, failed;
	uint64_t promised; /* of what is used: by plans (B5) */
	uint64_t pinned;   /* of its members */
};

/* In its uid's account. NULL: no memory. */
struct session *session_new(struct core *core, const struct session_request *request);
/* The record that says all this. */
struct session_record session_record(const struct session *session);
void session_free(struct core *core, struct session *session);
