/*
 * Index - the daemon's side of a cache's index (proto/index.h): which object a hash names, and
 * where every reader finds it.
 *
 * IN1  Each object that was inserted and not removed has one entry, which leads from its hash's
 *      bucket to its place. There are no others, but within a call.
 * IN2  Whoever reads meanwhile, as proto/index.h says, finds each object that was there all the
 *      time, and none that was not: stores come in its order.
 * IN3  Two objects never have one hash. Of objects the index knows numbers; it reads their hashes
 *      where the host keeps them, also of those that move.
 * IN4  Memory is handed in: files, and 4 bytes for each of their entries, for the numbers. Nothing
 *      allocates, and nothing fails but for want of room in the file: then the object that
 *      index_rival() names has to go first, or moving on to a larger index has to come first.
 * IN5  A call takes a number of steps that is bounded by INDEX_CHAIN_MAX, index_next_step() one
 *      that is so many times the groups that it is asked to move on.
 *
 * A bucket that is full has its further entries in overflow buckets, one chain for each group of
 * INDEX_GROUP. Where an entry of the bucket goes, one of its own in the chain comes closer; an
 * overflow bucket without entries leaves the chain at once.
 *
 * An index that fills up, or whose keys crowd in a few buckets, moves on to another, group by
 * group: the host makes a file of the size it is told, with another seed if it is told so, and has
 * a group moved with each object it inserts, at least: so the next index is in use before it is
 * full itself. Meanwhile each object is in one of the two.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/index.h"

#define INDEX_NONE UINT32_MAX
/* Numbers of objects are below it. */
#define INDEX_NUMBERS (((uint32_t)1 << 30) - 1)

enum {
	INDEX_E_FULL = 1, /* no room where its hash leads */
};

struct index_layout {
	uint64_t buckets, overflow;
};

struct index_config {
	struct index_layout layout;
	uint32_t cache;
	uint64_t generation, seed, epoch, clock;
};

/* A file, and what the daemon knows of it besides. */
struct index_table {
	struct index_head *head;
	struct index_bucket *buckets;
	uint32_t *numbers; /* of each entry; of an overflow bucket that is free, the next one */
	struct index_layout layout;
	uint64_t seed;
	uint64_t count;   /* entries */
	uint64_t chained; /* overflow buckets that are in chains */
	uint64_t fresh;   /* from here on they never were */
	uint64_t free;    /* those that are no more: the bucket's number, 0: none */
	uint32_t gen;     /* that was given last */
	bool crowded;
};

/* The first word of an object's record, by its number, is its hash. */
struct index_records {
	const void *first;
	size_t stride;
};

struct index {
	struct index_table now, next; /* next.head: NULL unless it moves on */
	uint64_t moved;               /* buckets below are in the next */
	struct index_records records; /* the host may change where they are, between calls */
};

/* An object's entry; good until the next change of the index. */
struct index_at {
	struct index_table *table;
	uint64_t home;     /* the bucket of its hash */
	uint64_t position; /* of the entry: bucket * INDEX_ENTRIES + slot */
	uint32_t number;
};

/* For so many objects, before it wants to be larger. The file takes whole pages. */
struct index_layout index_layout_for(uint64_t objects);
/* How many numbers go with it. */
uint64_t index_positions(struct index_layout layout);

/*
 * Makes zeroed memory of index_file_size() an index without entries; writes to all of it. Nothing
 * else here is for several threads, but this may be done anywhere.
 */
void index_format(void *file, const struct index_config *config);
/* False: a file of this size is no index. */
bool index_layout_of(const void *file, uint64_t size, struct index_layout *ret);
/* Of a file that is one; numbers need no initialization. */
struct index_table index_table(void *file, uint32_t *numbers);

void index_init(struct index *index, struct index_table table, struct index_records records);

/* To have its lines at hand later. */
void index_fetch(const struct index *index, uint64_t hash);
/*
 * A little later: has the chain at hand, too, and says what index_find() is likely to find, so that
 * the host can have its record at hand; INDEX_NONE: nothing, most likely.
 */
uint32_t index_guess(const struct index *index, uint64_t hash);
bool index_find(struct index *index, uint64_t hash, struct index_at *ret);
uint64_t index_count(const struct index *index);

/*
 * Has it a slot for a hash that is not there? If not, another index is wanted from then on; or, while
 * it moves on, all have to have moved first.
 */
bool index_has_room(struct index *index, uint64_t hash);
/* Of a hash that is not there. INDEX_E_FULL: nothing has changed. */
int index_insert(struct index *index, uint64_t hash, uint32_t number, uint64_t offset,
		 uint32_t hint);
/* An object whose removal makes room for that hash. */
uint32_t index_rival(const struct index *index, uint64_t hash);
/* By another object of its hash, or by itself elsewhere. */
void index_replace(struct index *index, const struct index_at *at, uint32_t number,
		   uint64_t offset, uint32_t hint);
void index_remove(struct index *index, const struct index_at *at);

struct index_entry index_entry_at(const struct index_at *at);
/* No reader has to be told. */
void index_hint(struct index *index, const struct index_at *at, uint32_t hint);
/*
 * The entry that a reader has noted (lane_access_pack()), if it is still there, or another of that
 * tag. False: it has gone, or never was. A note does not say of which index it is, nor of which key:
 * one in 65 thousand may be taken for that of another object, which is an access too many.
 */
bool index_noted(struct index *index, uint64_t bucket, uint32_t slot, uint32_t tag,
		 struct index_at *ret);
/* To have it at hand; then which number it may be, unless INDEX_NONE. */
void index_noted_fetch(const struct index *index, uint64_t bucket, uint32_t slot);
uint32_t index_noted_guess(const struct index *index, uint64_t bucket, uint32_t slot);
void index_epoch_set(struct index *index, uint64_t epoch);
void index_clock_set(struct index *index, uint64_t clock);
void index_ttl_set(struct index *index, uint64_t ttl);

/*
 * A walk in the order of mixed hashes, bucket by bucket, from a zeroed place on: numbers of those that
 * are next, and false, if these were the last. It goes on in a larger index: an object that is there
 * all the time, replaced or not, comes once. In an index with another seed it begins anew, and while
 * objects move to one it may have to wait: none, and true.
 */
enum { INDEX_LISTED = (1 + INDEX_CHAIN_MAX) * INDEX_ENTRIES };
struct index_place {
	uint64_t seed, mixed;
};
bool index_list(const struct index *index, struct index_place *place,
		uint32_t ret[static INDEX_LISTED], uint32_t *ret_n);

/*
 * Whether it should move on: then a file like this is to be made, with another seed if *ret_seed. A
 * host that is flooded with keys that crowd may take its time to give in once more. expected: how
 * many objects there will be, so that it need not move on again and again; 0: who knows.
 */
bool index_wants(const struct index *index, uint64_t expected, struct index_layout *ret,
		 bool *ret_seed);
/* To an index of any size without entries, whose generation is one more than of this one. */
void index_next_begin(struct index *index, struct index_table next);
/* INDEX_E_FULL: there is no room in the next for *ret_number, which has to be removed first. */
int index_next_step(struct index *index, uint64_t groups, uint32_t *ret_number);
bool index_next_done(const struct index *index);
/* The next index is the index. What it was before is the host's. */
struct index_table index_next_end(struct index *index);

/*
 * After a restart: the files of a daemon that died between any two of its stores, while readers go
 * on. False: they are no index that one can go on with, and another has to be made.
 *
 * Then each object that there is is kept, or inserted, where its entry is not there: so that nobody
 * misses what was about to be replaced. What has been neither goes with index_prune(), and makes
 * room for whoever found none before.
 */
bool index_recover(struct index *index, struct index_table now, struct index_table next,
		   struct index_records records);
/* To have at hand what that touches. */
void index_keep_fetch(const struct index *index, uint64_t hash);
bool index_keep(struct index *index, uint64_t hash, uint32_t number, uint64_t offset);
void index_prune(struct index *index);

/* Walks IN1 and the chains; NULL, or what is wrong. *ret_count is how many objects it holds. */
const char *index_check(const struct index *index, uint64_t *ret_count);
