/*
 * State - what a cache is made of: private to its files.
 */
#pragma once

#include "daemon/core/cache/cache.h"

enum {
	CACHE_NUMBERS = 1024,  /* of objects, at first; and so many more at least */
	CACHE_BATCH = 64,      /* objects evicted at once, at most */
	CACHE_CUT = 64,        /* and by one call, or so few more: 1 to 4 us each */
	CACHE_EPOCHS = 64,     /* in which a capacity is evicted */
	CACHE_STAMPS = 256,    /* in which a capacity is published */
	CACHE_DEAD_SHARE = 16, /* of what is held: more of it dead is worth cleaning */
	CACHE_GROUPS = 8,      /* of an index, that move at once: 5 to 15 us each */
	CACHE_SIFTED = 4096,   /* numbers of a segment, by one step: 10 to 40 ns each */
	CACHE_TICK = 1,        /* of the wheel, in ms: those of readers */
	CACHE_RESEED = 8, /* of all objects, one in so many is published between two seeds */
};

/* How readers are told which accesses to note (index.h: hint, epoch). */
enum hints {
	HINTS_NONE,  /* none matters */
	HINTS_FRESH, /* one in each epoch does */
	HINTS_ALL,   /* each does */
};

struct cache {
	uint64_t capacity;
	uint32_t policy;     /* enum policy_id */
	uint32_t unit_shift; /* of sizes, to the policies */
	enum hints hints;
	struct object_records *objects;
	uint32_t slots;
	struct index index;
	uint64_t index_begun; /* objects published, when the latest index was */
	struct numbers numbers;
	struct segments segments;
	struct eviction eviction;
	struct wheel wheel; /* nodes: NULL until the first object expires */
	bool wheel_wanted;
	uint32_t untold;             /* objects that expire, and are not with it yet */
	uint64_t clock;              /* bytes that were published, ever */
	uint32_t stamp_shift;        /* of the clock */
	uint64_t epoch, epoch_bytes; /* evicted since it began */
	uint64_t scans, scanned;     /* begun; the latest that has ended */
	/* Of segments.entered and entered_own, when the latest scan began. */
	uint64_t limbo_seen, limbo_own_seen;
	uint32_t reclaim_at;
	struct cache_pinner pinners[CACHE_PINNERS], pinners_before[CACHE_PINNERS];
	uint32_t n_pinners, n_pinners_before;
	uint64_t pinned, pinned_before;
	uint32_t clean_from, clean_to; /* segments, or none */
	uint64_t clean_at;             /* in the latter: behind all that has a place there */
	uint32_t step_n, step_from;    /* a step that is under way; 0: none */
	uint64_t moved, moved_bytes;
	uint64_t clear_at;  /* rounds:32 number:32 that is cleared next */
	uint64_t tend_next; /* objects published, until which there are no numbers to be had */
	uint64_t published, published_bytes, hits, misses;
	uint64_t gone[CACHE_REASONS], gone_bytes[CACHE_REASONS], gone_all;
	struct hot hot;
};

static inline const struct object_record *cache_record(const struct cache *cache,
						       uint32_t number)
{
	return object_records_at(cache->objects) + number;
}

static inline bool cache_has(const struct cache *cache, uint32_t number)
{
	return cache_record(cache, number)->word != 0;
}

/* Since the daemon began anew, nobody has said when. */
static inline bool object_is_untold(const struct cache *cache, uint32_t number)
{
	return cache->untold && cache_has(cache, number) &&
	       object_word_unpack(cache_record(cache, number)->word).expires &&
	       !wheel_has(&cache->wheel, number);
}

/*
 * When an object expires (0: never), for the wheel, which is made if it does. False: not as long as
 * there are wheels; clients may say anything.
 */
bool expiry_set(struct cache *cache, uint32_t number, uint64_t expiry);

/* Without an index. */
int cache_make(struct cache **ret, const struct cache_config *config, uint32_t numbers);
struct index_records cache_index_records(const struct cache *cache);
void policy_add(struct cache *cache, uint32_t number);
/* As policies know it. */
struct policy_object cache_policy_object(const struct cache *cache, uint32_t number);
uint32_t cache_stamp(const struct cache *cache);
/* What readers are told of an object whose access was taken now; or that has just come. */
uint32_t cache_hint(const struct cache *cache, bool accessed);
void cache_object_of(const struct cache *cache, uint32_t number, struct cache_object *ret);

/*
 * Out of ledger, index, wheel and segment; policies were told, or are told with policy_forget().
 * at: its entry, or NULL.
 */
void object_go(struct cache *cache, uint32_t number, const struct index_at *at,
	       enum cache_reason reason);
/* One that has no entry any more. */
void object_left(struct cache *cache, uint32_t number, enum cache_reason reason);
void policy_forget(struct cache *cache, uint32_t number, bool evicted);
/*
 * Evicts as many objects, CACHE_BATCH at most, and then until no more bytes than `live` live; fewer if
 * the next one takes long to be found. *steps more have been taken, of CACHE_CUT. False: there are none.
 */
bool evict_batch(struct cache *cache, uint64_t live, uint32_t least, enum cache_reason reason,
		 uint32_t *steps);
/* Of a segment, as of the latest scan: how many a hazard word names. */
uint32_t cache_pinned_slices(const struct cache *cache, const struct segment *segment);
/* All objects of a sealed segment go, for its memory. CACHE_MORE. */
int cache_empty(struct cache *cache, uint32_t id);
/* The policy has changed: what readers note. */
void hints_set(struct cache *cache);
/* So many groups move on to the next index; what finds no room there goes. */
void cache_index_move(struct cache *cache, uint64_t groups);
