#include "daemon/core/core.h"

#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/state.h"

/* What the words of records and slice maps can name. */
static const uint32_t slots_max[RECORD_KINDS] = {
	[RECORD_SPACE] = 1 << 16,   [RECORD_WINDOW] = 1 << 19, [RECORD_PAGES] = 1 << 24,
	[RECORD_SESSION] = 1 << 20, [RECORD_MEMBER] = 1 << 24, [RECORD_EXTENT] = 1 << 29,
	[RECORD_CHANNEL] = 1 << 24, [RECORD_END] = 1 << 24,    [RECORD_CACHE] = CACHES_MAX,
	[RECORD_USER] = 1 << 24,    [RECORD_RIGHT] = 1 << 24,  [RECORD_LANES] = 1 << 20,
	[RECORD_RETURNS] = 1 << 20, [RECORD_INTENT] = 1,       [RECORD_RESULT] = 1 << 24,
};

static bool rung_valid(const struct core_config *config, uint32_t page_shift,
		       const uint64_t *node_bytes, uint64_t *sum)
{
	uint32_t unit_shift = unit_shift_of(page_shift);

	if (page_shift != 12 && page_shift != 21 && page_shift != 30)
		return false;
	for (uint32_t i = 0; i < config->n_nodes; ++i) {
		if (node_bytes[i] & (((uint64_t)1 << unit_shift) - 1) ||
		    node_bytes[i] >> unit_shift > INT32_MAX ||
		    !u64_add(*sum, node_bytes[i], sum))
			return false;
	}
	return *sum >> unit_shift <= INT32_MAX;
}

static bool config_valid(const struct core_config *config, const struct records *records)
{
	uint64_t sum = 0;

	if (!config->n_nodes || config->n_nodes > STATS_NODES_MAX)
		return false;
	if (!rung_valid(config, config->page_shift, config->node_bytes, &sum))
		return false;
	if (config->large.page_shift &&
	    (config->large.page_shift <= config->page_shift || !config->large.from ||
	     !rung_valid(config, config->large.page_shift, config->large.node_bytes, &sum)))
		return false;
	/* A node of the topology may be without capacity, but not beyond what we count. */
	if (config->n_nodes < STATS_NODES_MAX && config->topology.nodes >> config->n_nodes)
		return false;
	for (uint32_t i = 0; i < RECORD_KINDS; ++i)
		if (records_capacity(records)->slots[i] > slots_max[i])
			return false;
	if (records_capacity(records)->slots[RECORD_LANES] &&
	    !records_capacity(records)->slots[RECORD_INTENT])
		return false;
	/* A limit counts members and users together. */
	return records_capacity(records)->slots[RECORD_USER] >=
		       records_capacity(records)->slots[RECORD_MEMBER] &&
	       records_capacity(records)->slots[RECORD_RESULT] ==
		       records_capacity(records)->slots[RECORD_SESSION] * RESULTS_A_SESSION;
}

static void core_freep(struct core **core)
{
	core_free(*core);
}

static void rung_add(struct core *core, uint32_t page_shift, const uint64_t *node_bytes)
{
	struct rung *rung = &core->rungs[core->n_rungs++];

	*rung = (struct rung){.page_shift = page_shift,
			      .unit_shift = unit_shift_of(page_shift)};
	for (uint32_t i = 0; i < core->config.n_nodes; ++i) {
		rung->nodes[i].capacity = (uint32_t)(node_bytes[i] >> rung->unit_shift);
		rung->bytes += node_bytes[i];
	}
	core->region.limit += rung->bytes;
}

int core_empty(struct core **ret, const struct core_config *config, struct records *records)
{
	const uint32_t *slots = records_capacity(records)->slots;
	_cleanup_(core_freep) struct core *core = NULL;

	if (!config_valid(config, records))
		return -EINVAL;
	core = calloc(1, sizeof(*core));
	if (!core)
		return -ENOMEM;
	list_init(&core->plans);
	core->config = *config;
	core->records = records;
	core->region.name = "region";
	core->quotas.uid = config->uid;
	core_limits_set(core, &config->limits);
	rung_add(core, config->page_shift, config->node_bytes);
	if (config->large.page_shift)
		rung_add(core, config->large.page_shift, config->large.node_bytes);
	for (uint32_t i = 0; i < RECORD_KINDS; ++i)
		/* Of results none is free or taken: each has its place. */
		if (slots_init(&core->slots[i], i == RECORD_RESULT ? 0 : slots[i]))
			return -ENOMEM;
	core->spaces = calloc((size_t)slots[RECORD_SPACE] + 1, sizeof(*core->spaces));
	core->windows = calloc((size_t)slots[RECORD_WINDOW] + 1, sizeof(*core->windows));
	core->sessions = calloc((size_t)slots[RECORD_SESSION] + 1, sizeof(*core->sessions));
	core->extents = calloc((size_t)slots[RECORD_EXTENT] + 1, sizeof(*core->extents));
	core->channels = calloc((size_t)slots[RECORD_CHANNEL] + 1, sizeof(*core->channels));
	core->caches = calloc((size_t)slots[RECORD_CACHE] + 1, sizeof(*core->caches));
	core->rights = calloc((size_t)slots[RECORD_RIGHT] + 1, sizeof(*core->rights));
	core->n_opens = 1;
	while (core->n_opens < slots[RECORD_USER])
		core->n_opens *= 2;
	core->opens = calloc(core->n_opens, sizeof(*core->opens));
	core->n_claims = 1;
	while (core->n_claims < slots[RECORD_RIGHT])
		core->n_claims *= 2;
	core->claims = calloc(core->n_claims, sizeof(*core->claims));
	core->n_names = 1;
	while (core->n_names < slots[RECORD_SPACE])
		core->n_names *= 2;
	core->names = calloc(core->n_names, sizeof(struct space *));
	if (!core->spaces || !core->windows || !core->sessions || !core->extents ||
	    !core->channels || !core->caches || !core->opens || !core->rights ||
	    !core->claims || !core->names)
		return -ENOMEM;
	/* A handle of 0 means none to clients (a cache's, in an extent, too), and a session of 0
	 * nobody. */
	if (slots[RECORD_SPACE])
		slots_claim(&core->slots[RECORD_SPACE], 0);
	if (slots[RECORD_SESSION])
		slots_claim(&core->slots[RECORD_SESSION], 0);
	if (slots[RECORD_CACHE])
		slots_claim(&core->slots[RECORD_CACHE], 0);
	if (slots[RECORD_INTENT]) /* there is one, and no choice */
		slots_claim(&core->slots[RECORD_INTENT], 0);
	*ret = TAKE_PTR(core);
	return 0;
}

/* Not 1, or a session of another region would be taken for one of this. */
static uint32_t serial_first(const struct core_config *config)
{
	return 1 + (uint32_t)((config->seed * 0x9e3779b97f4a7c15ULL) >> 34);
}

int core_new(struct core **ret, const struct core_config *config, struct records *records)
{
	int r = core_empty(ret, config, records);

	if (!r)
		record_serial(records, serial_first(config));
	return r;
}

void core_free(struct core *core)
{
	if (!core)
		return;
	while (!list_empty(&core->plans)) {
		struct core_plan *plan = list_entry(core->plans.next, struct core_plan, link);

		list_remove(&plan->link);
		plan_free(plan);
	}
	if (core->extents)
		for (uint32_t i = slots_next(&core->slots[RECORD_EXTENT], 0); i != SLOT_NONE;
		     i = slots_next(&core->slots[RECORD_EXTENT], i + 1))
			core_give(core, extent_quota(&core->extents[i]), QUOTA_LEASES,
				  METADATA_LEASE);
	if (core->channels)
		for (uint32_t i = 0; i < core->slots[RECORD_CHANNEL].total; ++i)
			if (core->channels[i])
				channel_free(core, core->channels[i]);
	if (core->caches)
		for (uint32_t i = 0; i < core->slots[RECORD_CACHE].total; ++i)
			if (core->caches[i])
				estate_free(core, core->caches[i]);
	if (core->sessions) {
		for (uint32_t i = 0; i < core->slots[RECORD_SESSION].total; ++i) {
			struct session *session = core->sessions[i];

			while (session && !list_empty(&session->members))
				member_free(core, list_entry(session->members.next,
							     struct member, in_session));
			session_free(core, session);
		}
	}
	if (core->spaces && core->windows)
		for (uint32_t i = 0; i < core->slots[RECORD_SPACE].total; ++i)
			space_free(core, core->spaces[i]);
	free(core->spaces);
	free(core->windows);
	free(core->sessions);
	free(core->extents);
	free(core->channels);
	free(core->caches);
	free(core->rights);
	free(core->opens);
	free(core->claims);
	free(core->names);
	quota_deinit(&core->quotas);
	changes_deinit(&core->changes);
	for (uint32_t i = 0; i < RECORD_KINDS; ++i)
		slots_deinit(&core->slots[i]);
	free(core);
}

const struct change *core_changes(const struct core *core, uint32_t *ret_count)
{
	*ret_count = core->changes.count;
	return core->changes.entries;
}

void core_changes_clear(struct core *core)
{
	core->changes.count = 0;
}

uint32_t core_serial_take(struct core *core)
{
	uint32_t serial = records_serial(core->records);

	if (!mutant(serial_given_again))
		record_serial(core->records, serial < SERIAL_MASK ? serial + 1 : 1);
	return serial;
}

bool serial_is_given(const struct core *core, uint32_t serial)
{
	return serial && serial != records_serial(core->records);
}

struct space *core_space_at(const struct core *core, uint32_t slot)
{
	struct space *space =
		slot < core->slots[RECORD_SPACE].total ? core->spaces[slot] : NULL;

	return space && space->state == SPACE_LIVE ? space : NULL;
}

struct session *core_session_at(const struct core *core, uint32_t slot)
{
	return slot < core->slots[RECORD_SESSION].total ? core->sessions[slot] : NULL;
}

struct member *core_member_at(const struct core *core, uint32_t session_slot,
			      uint32_t space_slot, struct core_fault *fault)
{
	struct session *session = core_session_at(core, session_slot);
	struct space *space = core_space_at(core, space_slot);
	struct member *member;

	if (!session || session->ending) {
		*fault = (struct core_fault){.which = "session"};
		return NULL;
	}
	member = space ? member_find(session, space) : NULL;
	if (!member || member->closing) {
		*fault = (struct core_fault){.which = "space"};
		return NULL;
	}
	return member;
}

/* FNV-1a, begun differently in each core: clients choose the names. */
uint32_t core_name_bucket(const struct core *core, const char *name)
{
	uint64_t hash = 0xcbf29ce484222325ULL ^ core->config.seed;

	for (; *name; ++name)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3ULL;
	hash ^= hash >> 32;
	return (uint32_t)hash & (core->n_names - 1);
}

struct space *core_space_named(const struct core *core, const char *name)
{
	struct space *space = core->names[core_name_bucket(core, name)];

	while (space && strcmp(space->name, name) != 0)
		space = space->next_named;
	return space;
}

/* ---- quotas ---- */

void core_limits_set(struct core *core, const struct quota_limits *limits)
{
	static const struct {
		enum quota_kind kind;
		enum record_kind table;
		bool first; /* slot 0 is never given out */
	} tables[] = {
		{QUOTA_SESSIONS, RECORD_SESSION, true}, {QUOTA_SPACES, RECORD_SPACE, true},
		{QUOTA_OPENS, RECORD_MEMBER, false},    {QUOTA_WINDOWS, RECORD_WINDOW, false},
		{QUOTA_LEASES, RECORD_EXTENT, false},   {QUOTA_CHANNELS, RECORD_END, false},
		{QUOTA_CACHES, RECORD_CACHE, true},     {QUOTA_RIGHTS, RECORD_RIGHT, false},
	};
	const uint32_t *slots = records_capacity(core->records)->slots;

	core->quotas.limits = *limits;
	for (uint32_t i = 0; i < ARRAY_SIZE(tables); ++i) {
		uint32_t n = slots[tables[i].table];

		core->quotas.limits.total[tables[i].kind] = n - (tables[i].first && n);
	}
}

const struct quota_table *core_quotas(const struct core *core)
{
	return &core->quotas;
}

int core_may(struct core *core, struct quota *quota, enum quota_kind kind, uint64_t metadata,
	     struct core_fault *fault)
{
	struct quota_refusal why;

	if (quota_may(&core->quotas, quota, kind, 1, &why) &&
	    quota_may(&core->quotas, quota, QUOTA_METADATA, metadata, &why))
		return 0;
	return FAULT(fault, CORE_E_LIMIT, .which = why.which, .requested = why.requested,
		     .max = why.max, .held = why.held, .all = why.all);
}

int core_keep(struct core *core, struct quota *quota, uint64_t *kept, uint64_t bytes,
	      struct core_fault *fault)
{
	struct quota_refusal why;

	if (fault && bytes > *kept &&
	    !quota_may(&core->quotas, quota, QUOTA_METADATA, bytes - *kept, &why))
		return FAULT(fault, CORE_E_LIMIT, .which = why.which,
			     .requested = why.requested, .max = why.max, .held = why.held,
			     .all = why.all);
	quota_give(&core->quotas, quota, QUOTA_METADATA, *kept);
	quota_take(&core->quotas, quota, QUOTA_METADATA, bytes);
	*kept = bytes;
	return 0;
}

void core_take(struct core *core, struct quota *quota, enum quota_kind kind, uint64_t metadata)
{
	quota_take(&core->quotas, quota, kind, 1);
	quota_take(&core->quotas, quota, QUOTA_METADATA, metadata);
}

void core_give(struct core *core, struct quota *quota, enum quota_kind kind, uint64_t metadata)
{
	quota_give(&core->quotas, quota, kind, 1);
	quota_give(&core->quotas, quota, QUOTA_METADATA, metadata);
}
