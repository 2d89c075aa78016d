/*
 * Ask - a verb that leaves a result, asked for by a request: once, or again.
 */
#pragma once

#include "daemon/core/core.h"

enum verb {
	ASK_NOTHING,
	ASK_CREATE,
	ASK_OPEN,
	ASK_CLOSE,
	ASK_REMOVE,
	ASK_ALLOC,
	ASK_FREE,
	ASK_CHANNEL_OPEN,
	ASK_CHANNEL_CLOSE,
	ASK_CACHE_OPEN,
	ASK_CACHE_CLOSE,
	ASK_CACHE_REMOVE,
	ASK_LEASE,
	ASK_SEAL,
	ASK_RIGHT_TAKE,
	ASK_RIGHT_END,
	ASKS
};

struct ask {
	enum verb verb;
	uint32_t session, space, cache, tag;
	uint64_t id, offset;
	char name[8];
	bool flag; /* read_only, force */
	struct space_request create;
	struct extent_request alloc;
	struct channel_request channel;
	struct cache_request open;
	struct cache_lease lease;
	uint32_t right, roles;
	uint64_t hash, until;
	struct result_view answer;
};

/* For a request that is not asked yet. */
struct ask asking(enum verb verb, uint32_t session, uint32_t space);
/* As the verb answers, also in its `answer`. */
int ask(struct core *of, struct ask *a, struct plan **ret_plan);
/* Of what kind of record it makes one more, or one less. */
enum record_kind ask_kind(enum verb verb);
