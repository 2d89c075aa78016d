/*
 * Quota - how many things of a kind one uid holds, of how many that there are.
 *
 * Q1  An account's held[kind] is what was taken for its uid and not given back; the table's is
 *     the sum of its accounts'. An account is there as long as somebody refers to it.
 * Q2  A bound uid (not root, not the daemon's own) never takes more than max[kind]. A limit that
 *     is lowered ends nothing: it stops growth.
 * Q3  No uid takes the last of anything: of total[kind], an eighth is kept for uids that hold
 *     none of that kind yet; of it, half is open to root and the daemon's own uid.
 * Q4  A refusal has changed nothing but its counters.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum quota_kind {
#define QUOTA(name, key, what) QUOTA_##name,
#include "daemon/core/quota.def"
#undef QUOTA
	QUOTA_KINDS
};

/*
 * What the daemon keeps for one, in all its layers, about; bytes. It counts as METADATA against
 * whoever owns the space, or whose session it is.
 */
enum {
	METADATA_SESSION = 8 << 10, /* with its connection, return ring and results */
	METADATA_SPACE = 16 << 10,  /* with its root file */
	METADATA_OPEN = 256,
	METADATA_LEASE = 128,
	METADATA_CHANNEL = 256,
	METADATA_END = 128,
	METADATA_CACHE =
		512, /* and a user's is METADATA_OPEN; its files come beside, a session's lanes, too */
	METADATA_RIGHT = 128, /* with who waits for it */
	METADATA_WINDOW = 8 << 10,
	METADATA_SLICE = 16, /* of a window: the core's word and policy, the slice map's */
};

struct quota_info {
	const char *key, *what;
};

extern const struct quota_info quota_infos[QUOTA_KINDS];

/* 0: no limit, no end. */
struct quota_limits {
	uint64_t max[QUOTA_KINDS];   /* of one uid */
	uint64_t total[QUOTA_KINDS]; /* of all together */
	bool keeps_last;             /* Q3 */
};

/* One uid's. */
struct quota {
	struct quota *next; /* in its bucket */
	uint32_t uid, refs;
	bool bound;
	uint64_t held[QUOTA_KINDS], refused[QUOTA_KINDS];
};

enum { QUOTA_BUCKETS = 256 };

struct quota_table {
	struct quota_limits limits;
	uint32_t uid; /* the daemon's own */
	uint32_t n;
	uint64_t held[QUOTA_KINDS], refused[QUOTA_KINDS];
	struct quota *buckets[QUOTA_BUCKETS];
};

/* Why not: `which` is the key. */
struct quota_refusal {
	const char *which;
	uint64_t requested, max, held; /* of the uid, or, where `all`, of everyone */
	bool all;
};

/* Zeroed is a table without limits. All accounts go, whoever refers to them. */
void quota_deinit(struct quota_table *table);

/* The uid's account, made if need be. NULL: no memory. */
struct quota *quota_ref(struct quota_table *table, uint32_t uid);
struct quota *quota_unref(struct quota_table *table, struct quota *quota); /* NULL */
struct quota *quota_find(const struct quota_table *table, uint32_t uid);
/* The next account in some order that holds while none comes or goes; NULL begins and ends. */
const struct quota *quota_next(const struct quota_table *table, const struct quota *quota);

/* May it take so many more? A refusal is counted. `ret` may be NULL. */
bool quota_may(struct quota_table *table, struct quota *quota, enum quota_kind kind, uint64_t n,
	       struct quota_refusal *ret);
/* Whatever the limits say: quota_may() has been asked, or it was there before them. */
void quota_take(struct quota_table *table, struct quota *quota, enum quota_kind kind,
		uint64_t n);
void quota_give(struct quota_table *table, struct quota *quota, enum quota_kind kind,
		uint64_t n);
