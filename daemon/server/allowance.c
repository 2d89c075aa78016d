#include "daemon/server/allowance.h"

#include <sys/resource.h>

#include "base/base.h"
#include "daemon/server/fault.h"
#include "daemon/server/server.h"

enum {
	SPACES_MAX = 1024,
	WINDOWS_ALL_MAX = 4096,
	SESSIONS_MAX = 4096,
	MEMBERS_MAX = 16384,
	ENDS_MAX = 16384,     /* of channels; and as many channels */
	RIGHTS_MAX = 16384,   /* to compute values */
	DESCRIPTORS_OWN = 64, /* the loop's, the workers', and what is just being opened */
	WAITING_MAX = 256,    /* connections without HELLO, of all uids */
	UNANSWERED_SHIFT = 4, /* all uids together may have so many times one's limit: 16 */
};

static uint64_t descriptors_half(const struct server *server)
{
	return server->descriptors > DESCRIPTORS_OWN
		       ? (server->descriptors - DESCRIPTORS_OWN) / 2
		       : 0;
}

void allowance_descriptors(struct server *server)
{
	struct rlimit limit;

	server->descriptors = 1024;
	if (!getrlimit(RLIMIT_NOFILE, &limit))
		server->descriptors = limit.rlim_cur;
}

void allowance_size(struct server *server, struct record_capacity *ret)
{
	uint64_t size = server->config.memory.size, half, spaces, caches, windows;

	allowance_descriptors(server);
	half = descriptors_half(server);
	spaces = u64_max(u64_min(half / 4, SPACES_MAX), 8);
	caches = u64_max(u64_min(half / 24, CACHES_MAX), 8);
	windows = spaces + caches * 3; /* a cache: objects, an index, the next one */
	windows = half > windows ? (half - windows) / 3 : 0; /* data, slice map, words */
	*ret = (struct record_capacity){
		.slots = {
			[RECORD_SPACE] = (uint32_t)spaces,
			[RECORD_WINDOW] =
				(uint32_t)u64_max(u64_min(windows, WINDOWS_ALL_MAX), 8),
			[RECORD_PAGES] = (uint32_t)(size / CHUNK_BYTES),
			[RECORD_SESSION] = SESSIONS_MAX,
			[RECORD_MEMBER] = MEMBERS_MAX,
			[RECORD_EXTENT] = (uint32_t)(size / SLICE_BYTES),
			[RECORD_CHANNEL] = ENDS_MAX,
			[RECORD_END] = ENDS_MAX,
			[RECORD_CACHE] = (uint32_t)caches,
			[RECORD_USER] = MEMBERS_MAX,
			[RECORD_RIGHT] = RIGHTS_MAX,
			[RECORD_LANES] = SESSIONS_MAX,
			[RECORD_RETURNS] = SESSIONS_MAX,
			[RECORD_INTENT] = 1,
			[RECORD_RESULT] = SESSIONS_MAX * RESULTS_A_SESSION,
		}};
}

/* 0 is a quarter, as of memory; never none. */
static uint64_t or_quarter(uint64_t given, uint64_t all)
{
	return given ? given : u64_max(all / 4, 1);
}

void allowance_of_core(const struct server *server, const struct record_capacity *capacity,
		       struct quota_limits *ret)
{
	const uint32_t *slots = capacity->slots;
	uint64_t metadata =
		(uint64_t)slots[RECORD_SESSION] * METADATA_SESSION +
		(uint64_t)slots[RECORD_SPACE] * METADATA_SPACE +
		(uint64_t)slots[RECORD_MEMBER] * METADATA_OPEN +
		(uint64_t)slots[RECORD_CACHE] * METADATA_CACHE +
		(uint64_t)slots[RECORD_RIGHT] * METADATA_RIGHT +
		(uint64_t)slots[RECORD_WINDOW] * METADATA_WINDOW +
		(uint64_t)slots[RECORD_CHANNEL] * METADATA_CHANNEL +
		(uint64_t)slots[RECORD_END] * METADATA_END +
		(uint64_t)slots[RECORD_EXTENT] * (METADATA_LEASE + 2 * METADATA_SLICE);

	/* What is known of the smallest values takes about as much as they do. */
	uint64_t objects = server->config.memory.size;

	/* Metadata would fill every table before it came to its sum: half of a quarter will do. */
	*ret = (struct quota_limits){
		.max =
			{
				[QUOTA_SESSIONS] = or_quarter(server->config.limits.sessions,
							      slots[RECORD_SESSION]),
				[QUOTA_SPACES] = or_quarter(server->config.limits.spaces,
							    slots[RECORD_SPACE]),
				[QUOTA_OPENS] = or_quarter(server->config.limits.opens,
							   slots[RECORD_MEMBER]),
				[QUOTA_WINDOWS] = or_quarter(server->config.limits.windows,
							     slots[RECORD_WINDOW]),
				[QUOTA_LEASES] = or_quarter(server->config.limits.leases,
							    slots[RECORD_EXTENT]),
				[QUOTA_CHANNELS] = or_quarter(server->config.limits.channels,
							      slots[RECORD_END]),
				[QUOTA_CACHES] = or_quarter(server->config.limits.caches,
							    slots[RECORD_CACHE]),
				[QUOTA_RIGHTS] = or_quarter(server->config.limits.rights,
							    slots[RECORD_RIGHT]),
				[QUOTA_METADATA] = or_quarter(server->config.limits.metadata,
							      metadata / 2 + objects),
			},
		.total = {[QUOTA_METADATA] = metadata + objects},
		.keeps_last = true,
	};
}

void allowance_apply(struct server *server)
{
	uint64_t half = descriptors_half(server);
	uint64_t unanswered = server->config.limits.unanswered;

	server->quotas.uid = geteuid();
	server->quotas.limits = (struct quota_limits){
		.max =
			{
				[QUOTA_CONNECTIONS] =
					or_quarter(server->config.limits.connections, half),
				[QUOTA_WAITING] = server->config.limits.waiting,
				[QUOTA_DESCRIPTORS] =
					or_quarter(server->config.limits.descriptors, half),
				[QUOTA_REQUESTS] = server->config.limits.requests,
				[QUOTA_UNANSWERED] = unanswered,
			},
		.total =
			{
				[QUOTA_CONNECTIONS] = half,
				[QUOTA_WAITING] = WAITING_MAX,
				[QUOTA_DESCRIPTORS] = half,
				[QUOTA_UNANSWERED] = unanswered << UNANSWERED_SHIFT,
			},
		.keeps_last = true,
	};
	if (server->core) {
		struct quota_limits limits;

		allowance_of_core(server, records_capacity(server->ledger.records), &limits);
		core_limits_set(server->core, &limits);
	}
}

int allowance_fault(struct request *request, const struct quota_refusal *why)
{
	return fault_from_core(request, CORE_E_LIMIT,
			       &(struct core_fault){.which = why->which,
						    .requested = why->requested,
						    .max = why->max,
						    .held = why->held,
						    .all = why->all});
}
