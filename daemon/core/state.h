/*
 * State - the live core: everything that is derived from the records, found by slot.
 */
#pragma once

#include "daemon/core/budget.h"
#include "daemon/core/change.h"
#include "daemon/core/channel.h"
#include "daemon/core/core.h"
#include "daemon/core/estate.h"
#include "daemon/core/extent.h"
#include "daemon/core/list.h"
#include "daemon/core/plan.h"
#include "daemon/core/result.h"
#include "daemon/core/right.h"
#include "daemon/core/rung.h"
#include "daemon/core/session.h"
#include "daemon/core/slots.h"
#include "daemon/core/space.h"
#include "daemon/core/terms.h"
#include "daemon/core/window.h"

enum {
	STEP_EXTENTS = 256, /* given back in one call: C6 */
	CHANGES_WINDOW = 2, /* born, granted */
	CHANGES_HOLDER = 1, /* its id dies */
};

struct core {
	struct core_config config;
	struct records *records;
	struct slots slots[RECORD_KINDS];
	struct rung rungs[RUNGS_MAX]; /* the smallest pages first */
	uint32_t n_rungs;
	struct budget region;
	struct quota_table quotas;
	struct space **spaces; /* by slot, as the next three */
	struct window **windows;
	struct session **sessions;
	struct channel **channels;
	struct estate **caches;
	struct user **opens; /* of every cache; a hash table, chained by next_open */
	uint32_t n_opens;    /* a power of two */
	struct right **rights;
	struct right **claims; /* of every cache; a hash table, chained by next_claim */
	uint32_t n_claims;     /* a power of two */
	struct extent *extents;
	struct space **names; /* of every state; a hash table, chained by next_named */
	uint32_t n_names;     /* a power of two */
	struct changes changes;
	struct asker asker;       /* of the verb that comes */
	struct space_counts gone; /* of spaces that were */
	uint64_t caches_gone;
	struct link plans;
	uint32_t n_plans, n_spaces, n_sessions; /* spaces: live */
};

/* May the uid have one more, with so much metadata? 0, or CORE_E_LIMIT. */
int core_may(struct core *core, struct quota *quota, enum quota_kind kind, uint64_t metadata,
	     struct core_fault *fault);
int core_keep(struct core *core, struct quota *quota, uint64_t *kept, uint64_t bytes,
	      struct core_fault *fault);
void core_take(struct core *core, struct quota *quota, enum quota_kind kind, uint64_t metadata);
void core_give(struct core *core, struct quota *quota, enum quota_kind kind, uint64_t metadata);

/* One that nobody has had (R5). */
uint32_t core_serial_take(struct core *core);
/* Could a record have it? */
bool serial_is_given(const struct core *core, uint32_t serial);

/* NULL unless it is of that state. */
struct space *core_space_at(const struct core *core, uint32_t slot);
/* Of any state, the one that is going included. */
struct space *core_space_named(const struct core *core, const char *name);
uint32_t core_name_bucket(const struct core *core, const char *name);
struct session *core_session_at(const struct core *core, uint32_t slot);
/* Both live, the session in the space; else NULL, and the fault says which is missing. */
struct member *core_member_at(const struct core *core, uint32_t session, uint32_t space,
			      struct core_fault *fault);

/* A core without content, which its caller fills. -EINVAL: the configuration makes no sense. */
int core_empty(struct core **ret, const struct core_config *config, struct records *records);

#define FAULT(ret, code, ...)                              \
	({                                                 \
		*(ret) = (struct core_fault){__VA_ARGS__}; \
		(code);                                    \
	})
