/*
 * Lane - the data plane between one thread of a client and the daemon. A file for each session, of
 * `lanes` lanes; written by the client, but for what the daemon answers; the daemon reads it
 * guarded, and believes nothing.
 *
 *   field        written                                   read by the other side
 *   hazards      by the client's thread: what it is about  by each scan, in order: the first, and
 *                to use, or uses (index.h); cleared by any  of those behind it as many as
 *                thread of the process                      lanes.open has granted (pins)
 *   noted        how many accesses were noted, ever;       by the daemon, before each batch of
 *   accesses     at noted % LANE_ACCESSES: the newest       evictions: the newest LANE_ACCESSES
 *                overwrite the oldest
 *   head         after the record: so many were put        by the daemon: records [taken, head)
 *   records      before `head`, at position % LANE_RECORDS
 *   taken        by the daemon, once their effects are      by the client: how much room there is
 *                in the ledger
 *   results      by the daemon, before `taken`; at          by the client, of records that it
 *                position % LANE_RECORDS                    waits for
 *   waiting      by the client, before it sleeps on         by the daemon: wakes who sleeps once
 *                `taken`: the low half of what that has     `taken` has come there
 *                to be, or 1 less than it if that is 0;
 *                0 when it has woken
 *   cpu          by the client: where it ran when it     by the daemon, which does not look for
 *                put its last record, + 1; 0: unknown     more on the processor that who puts waits for
 *   opened       by the client, before it uses a lane,     by the daemon, which looks for records and
 *                in the first one: how many lanes it has   accesses in no others; 0: in all
 *                used, ever
 *   counts       by the client: of caches that it reads,    by the daemon, when somebody asks, and
 *                hits and misses, ever                      at the session's end: what has come
 *
 * A record asks for one thing; what it means is what the same method of the control plane means. One
 * thread puts, so order is the thread's. A request on the socket follows those records alone that
 * were taken before it was sent: who minds waits for `taken`. Memory is asked for on the socket, where
 * one waits for it; but for a large object's, which a record has if it is there at once.
 *
 * A head that is below `taken`, or more than LANE_RECORDS above it, is none: the lane rests.
 *
 * Waking the daemon: record; head; full fence; bell->sleeping read; if it is neither 0 nor
 * what it was when this thread last woke the daemon, one byte onto the socket. The daemon: sleeping
 * set, to another number each time; full fence; all heads once more; sleep. (Partners: whichever
 * fence comes later sees the other's store.) The bell is a file of the daemon's that all clients
 * map read-only. Over each further connection of a session that has lanes the first thing behind HELLO's answer
 * is such a byte: a wake-up over the former one is lost.
 *
 * Waking the client: taken; full fence; `waiting` read; if `taken` is there, FUTEX_WAKE on it. The
 * client: waiting set; full fence; `taken` once more; FUTEX_WAIT for the value it read. So who waits
 * for many records is woken once.
 *
 * A client that dies anywhere has put whole records only. The daemon dying between the effects of a
 * record and `taken`: the ledger knows the position, and the record is not done twice.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	LANE_RECORDS = 256,
	LANE_ACCESSES = 512,
	LANE_HAZARDS = 32, /* the first one is for copies: always there; the rest are views' */
	LANE_COUNTS = 24,
	LANES_A_SESSION = 64,
};

/* What a record asks for; the rest of its words as its row says. Unknown kinds are refused. */
enum lane_kind {
	LANE_NOTHING = 0,
	LANE_PUBLISH =
		1, /* offset, size, hash, expiry, born; generation and `mode` as of a put */
	LANE_DELETE = 2, /* hash; generation: of this one alone, 0: any */
	LANE_TOUCH = 3,  /* hash; expiry, with `mode` how (enum lane_touch) */
	LANE_LEASE =
		4, /* size: of an extent for one object; generation: `caller` of cache.segment.
			   Result: ref its offset, generation its tag */
	LANE_SEAL =
		5, /* offset: of a segment that nothing more is put into; generation: its tag */
};

enum lane_mode {
	LANE_PUT = 0,
	LANE_ADD = 1,     /* only if the key is absent */
	LANE_REPLACE = 2, /* only if it is there, of `generation` unless that is 0 */
};

enum lane_touch {
	LANE_EXPIRE = 0, /* it expires then; 0: never */
	LANE_RENEW = 1,  /* then, if it expires at all */
	LANE_USE = 2,    /* when it did */
};

struct lane_record {
	uint32_t kind; /* enum lane_kind:8  mode:8  0:16 */
	uint32_t cache;
	uint64_t hash;
	uint64_t offset;
	uint64_t size; /* of the object, header and key included */
	uint64_t expiry;
	uint64_t token; /* of who may compute the value, or 0 */
	uint32_t generation;
	uint32_t born; /* the object's own generation, as in its header */
	uint32_t reserved[2];
};

static_assert(sizeof(struct lane_record) == 64, "one cache line");

/* What became of a record: a code of proto/errors.def, 0: done; and what it asked for. */
struct lane_result {
	_Atomic uint64_t position; /* + 1: whose result this is; stored last */
	uint32_t code, generation;
	uint64_t ref;    /* where the object is that is there, as far as it is known */
	uint64_t detail; /* of TOO_LARGE: what is not */
};

static_assert(sizeof(struct lane_result) == 32, "two in a cache line");

/* What a client says that waits until so many are taken. */
static inline uint32_t lane_waiting_for(uint64_t taken)
{
	return (uint32_t)taken ? (uint32_t)taken : UINT32_MAX;
}

/* Is who said so to be woken? Halves of words go round. */
static inline bool lane_is_due(uint32_t waiting, uint64_t taken)
{
	return waiting && (int32_t)((uint32_t)taken - waiting) >= 0;
}

/*
 * An access: how many bytes from the index's first bucket is the object's entry, and the tag that the
 * entry had.
 *
 *   tag:16  bucket:33 word:3  cache:12
 */
static inline uint64_t lane_access_pack(uint32_t cache, uint64_t at, uint64_t entry)
{
	return cache + (at << 9) + (entry << 48);
}

/* The same by addresses, of which the first bucket's is reckoned with once: as it was made for a cache. */
static inline uint64_t lane_access_base(uint32_t cache, const void *buckets)
{
	return cache - ((uint64_t)(uintptr_t)buckets << 9);
}

static inline uint64_t lane_access_by(uint64_t base, const void *word, uint64_t entry)
{
	return base + ((uint64_t)(uintptr_t)word << 9) + (entry << 48);
}

/* The same of what is there: who reads has no need of it. */
static inline uint64_t lane_access_of(uint32_t cache, uint64_t bucket, uint32_t slot,
				      uint32_t tag)
{
	return lane_access_pack(cache, (bucket * 8 + slot + 1) * sizeof(uint64_t), tag);
}

struct lane_access {
	uint64_t bucket;
	uint32_t slot; /* of its entries; perhaps of none */
	uint32_t cache, tag;
};

static inline struct lane_access lane_access_unpack(uint64_t noted)
{
	return (struct lane_access){
		.bucket = noted >> 15 & (((uint64_t)1 << 33) - 1),
		.slot = (uint32_t)(noted >> 12 & 7) - 1,
		.cache = (uint32_t)noted & 0xfff,
		.tag = (uint32_t)(noted >> 48),
	};
}

/*
 * What a thread counts of a cache, for as long as its session has it open. What finds no row is told by
 * the method cache.count.
 */
struct lane_count {
	/*
	 * handle:32 (low), which of the session's openings of it:32. By the client, behind the others,
	 * which are 0 then; 0, a row of none: at first, and by the daemon, which has counted
	 * it and finds the cache closed.
	 */
	_Atomic uint64_t cache;
	_Atomic uint64_t hits, misses;
};

struct lane {
	_Atomic uint64_t hazards[LANE_HAZARDS];
	_Atomic uint64_t noted;
	uint64_t reserved_noted[7];
	_Atomic uint64_t head;
	_Atomic uint32_t waiting;
	_Atomic uint32_t cpu;
	_Atomic uint32_t opened;
	uint32_t reserved_head[11];
	_Atomic uint64_t taken; /* its low half is the futex */
	uint64_t reserved_taken[7];
	struct lane_count counts[LANE_COUNTS];
	_Atomic uint64_t accesses[LANE_ACCESSES];
	struct lane_record records[LANE_RECORDS];
	struct lane_result results[LANE_RECORDS];
};

static_assert(sizeof(struct lane) % 512 == 0, "lanes begin on cache lines");

/* The daemon's, read-only to clients. */
struct bell {
	_Atomic uint32_t
		sleeping;       /* 0: awake; else how often it has slept: never twice the same
				      in a row */
	_Atomic uint32_t slept; /* what `sleeping` was last, but for 0: for the next daemon */
	uint32_t reserved[1022];
};
