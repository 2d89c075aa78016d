/*
 * Index - where the objects of a cache are: written by the daemon alone, read by everyone.
 *
 * A file for each index of a cache: a page of head, then `buckets` buckets, then `overflow` ones. A
 * cache has one index, or two while it moves to a larger one, or to one with another seed.
 *
 *   head                                         written                      read
 *   magic..overflow, seed                        at creation                  once, after mapping
 *   state    moved:40  next:1  0:22  1:1         by the daemon: buckets below before each lookup,
 *                                                `moved` are in the next       and after each miss
 *                                                index
 *   epoch    never 0: which hints are fresh;     as the policy ages           before an access is
 *            none, if its last digit is 15                                    noted; that, now and then
 *   clock    what CLOCK_MONOTONIC_COARSE lacks   at creation, and after a     before an expiry is
 *            to the machine's time, in ns        suspend                      compared
 *   ttl      of what is put without a time of    at creation, and when it     before such a put
 *            its own, in ms; 0: for ever         is changed
 *
 *   bucket                                       one cache line: a control word, seven entries
 *   control  version:32  link:31  1:1            link: overflow bucket + 1, 0: none. version: of
 *                                                a bucket that is no overflow one, see below
 *   entry    tag:16  place:40  hint:4  gen:4     place: offset >> 4. gen: 1 to 15, so that no entry
 *                                                is 0, which is none; another one after each change
 *                                                of the place
 *
 * INDEX_GROUP neighbours share overflow buckets, a chain of INDEX_CHAIN_MAX at most; whichever of
 * them has entries there links to its first one. What a chain has of others is skipped like any
 * other key's.
 *
 * Reading (proto/index_read.h has the walk):
 *
 *   state; bucket below `moved`: the same in the next index
 *   control; entries of the bucket, and of the chain it links to: the tag differs, or --
 *     own hazard word = space:20 offset:44; barrier; the entry again, unchanged but for its hint?
 *     else it begins anew
 *     key compared: it is another's: go on
 *   none: state and the bucket's control again; not moved, and unchanged? It is a miss, and the
 *     hazard word is cleared; else it begins anew
 *
 * Order of the daemon's stores, each a release, and the partner that relies on it:
 *
 *   insert, replace   the object's bytes are complete before it is asked to publish it; ledger;
 *                     one store of the entry                     (reader: acquire of the entry)
 *   remove            ledger; entry 0, or an entry of the chain in its place, that:
 *   come closer       the entry in its bucket; the bucket's version; 0 where it was in the chain
 *                     (reader: who misses it there finds another version)
 *   unchain           who linked to the overflow bucket links to its next one; the versions of all
 *                     buckets that link to the chain; only then it is used again
 *                     (reader: who was led elsewhere by it finds another version)
 *   move on           all entries of a group into the next index; `moved`; entries 0
 *                     (reader: who misses them finds `moved`)
 *   all have moved     the file but its head becomes a hole: who reads there goes on, by `moved`
 *   memory comes back after its entries have gone and a scan of hazard words, begun later, has
 *                     found none of them there                   (reader: hazard, barrier, entry)
 *
 * The daemon dying between two of these leaves entries that are each true or stale ones whose
 * memory is not used again: recovery compares all of them with the ledger before it goes on.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define INDEX_MAGIC 0x3158444e52425256ULL /* "VRBNDX1" */

enum {
	INDEX_LAYOUT = 1,
	INDEX_ENTRIES = 7,
	INDEX_GROUP =
		4, /* buckets that share overflow ones; their number is a multiple of it */
	INDEX_CHAIN_MAX = 4, /* overflow buckets of a group */
	INDEX_HEAD = 4096,
};

struct index_head {
	uint64_t magic;
	uint32_t layout, cache; /* its handle */
	uint64_t generation;    /* of the cache's indexes: 1, 2, ... */
	uint64_t buckets, overflow;
	uint64_t seed; /* of the mix */
	uint64_t reserved[2];
	_Atomic uint64_t state; /* index_state_pack() */
	_Atomic uint64_t epoch;
	_Atomic uint64_t clock;
	_Atomic uint64_t ttl;
	uint64_t reserved_more[4];
};

static_assert(sizeof(struct index_head) == 128, "what changes is in a cache line of its own");

struct index_bucket {
	_Atomic uint64_t control;
	_Atomic uint64_t entries[INDEX_ENTRIES];
};

static_assert(sizeof(struct index_bucket) == 64, "one cache line");

struct index_state {
	uint64_t moved;
	bool next; /* there is one */
};

static inline uint64_t index_state_pack(struct index_state state)
{
	return state.moved | (uint64_t)state.next << 40 | (uint64_t)1 << 63;
}

static inline struct index_state index_state_unpack(uint64_t word)
{
	return (struct index_state){
		.moved = word & (((uint64_t)1 << 40) - 1),
		.next = word >> 40 & 1,
	};
}

struct index_control {
	uint32_t version;
	uint32_t link; /* overflow bucket + 1; 0: none */
};

static inline uint64_t index_control_pack(struct index_control control)
{
	return control.version | (uint64_t)control.link << 32 | (uint64_t)1 << 63;
}

static inline struct index_control index_control_unpack(uint64_t word)
{
	return (struct index_control){
		.version = (uint32_t)word,
		.link = (uint32_t)(word >> 32) & 0x7fffffff,
	};
}

struct index_entry {
	uint64_t offset;
	uint32_t tag, hint, gen; /* gen: never 0 */
};

#define INDEX_HINT_SHIFT 56
#define INDEX_HINT_MASK ((uint64_t)15 << INDEX_HINT_SHIFT)

static inline uint64_t index_entry_pack(struct index_entry entry)
{
	return entry.tag | entry.offset >> 4 << 16 | (uint64_t)entry.hint << 56 |
	       (uint64_t)entry.gen << 60;
}

static inline struct index_entry index_entry_unpack(uint64_t word)
{
	return (struct index_entry){
		.tag = (uint32_t)word & 0xffff,
		.offset = word >> 12 & ((((uint64_t)1 << 40) - 1) << 4),
		.hint = (uint32_t)(word >> 56) & 15,
		.gen = (uint32_t)(word >> 60),
	};
}

/* Odd, and another one for each seed of 63 bits. */
static inline uint64_t index_factor(uint64_t seed)
{
	return seed << 1 ^ 0x9e3779b97f4a7c15ULL;
}

/* To each hash a number of its own: buckets are in the order of these. */
static inline uint64_t index_mixed(uint64_t hash, uint64_t seed)
{
	return hash * index_factor(seed);
}

/*
 * Where a key hash belongs in an index of this seed: its bucket, and its tag. One product: of its
 * low half, index_mixed(), the upper bits, which scatter any set of hashes that was chosen without the
 * seed, lead to the bucket; the tag is of the high half.
 */
struct index_mix {
	uint64_t bucket;
	uint32_t tag;
	uint32_t wide; /* the tag, and anything above it */
};

static inline struct index_mix index_mix_by(uint64_t hash, uint64_t factor, uint64_t buckets)
{
	unsigned __int128 mixed = (unsigned __int128)hash * factor;

	return (struct index_mix){
		.bucket = (uint64_t)((unsigned __int128)(uint64_t)mixed * buckets >> 64),
		.tag = (uint32_t)(mixed >> 64) & 0xffff,
		.wide = (uint32_t)(mixed >> 64),
	};
}

static inline struct index_mix index_mix(uint64_t hash, uint64_t seed, uint64_t buckets)
{
	return index_mix_by(hash, index_factor(seed), buckets);
}

/* By this epoch every access is to be noted. */
static inline bool index_epoch_all(uint64_t epoch)
{
	return (epoch & 15) == 15;
}

static inline uint64_t index_file_size(uint64_t buckets, uint64_t overflow)
{
	return INDEX_HEAD + (buckets + overflow) * sizeof(struct index_bucket);
}

static inline struct index_bucket *index_buckets(void *file)
{
	return (struct index_bucket *)((char *)file + INDEX_HEAD);
}
