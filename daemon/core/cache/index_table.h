/*
 * Index table - one file of an index: what is in its slots, and the chains of its groups. Private to
 * the files of the index; the struct, and how a file is made, are in index.h.
 *
 * IT1  All that a reader may see of a change is stored by index_store(), in the order of
 *      proto/index.h.
 * IT2  Who has an entry in a chain is told by its number: chains are walked without records.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/base.h"
#include "daemon/core/cache/index.h"

/* A test that looks between two stores brings its own. */
#ifndef index_store
#define index_store(word, value) atomic_store_explicit(word, value, memory_order_release)
#endif

enum {
	/* Entries for each bucket, from which on an index is full. */
	TABLE_FULL = 7,
	TABLE_GENS = 15,
	TABLE_NUMBER_BITS = 30,
	/* A bucket's slots are bits: slot i is bit 2 * i + 2, as words of 8 bytes come out of vectors. */
	TABLE_SLOTS = 0x5554,
	TABLE_GROUP_MAX = INDEX_GROUP + INDEX_CHAIN_MAX,
};

static_assert(INDEX_GROUP == 1 << (32 - TABLE_NUMBER_BITS), "a sibling fits beside a number");
static_assert(INDEX_NUMBERS < 1U << TABLE_NUMBER_BITS,
	      "and INDEX_NONE is no number of an object");

/* ---- words ---- */

static inline uint64_t table_word(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static inline uint64_t table_position(uint64_t bucket, uint32_t slot)
{
	return bucket * INDEX_ENTRIES + slot;
}

static inline _Atomic uint64_t *table_entry(const struct index_table *table, uint64_t position)
{
	return &table->buckets[position / INDEX_ENTRIES].entries[position % INDEX_ENTRIES];
}

static inline bool table_is_chained(const struct index_table *table, uint64_t bucket)
{
	return bucket >= table->layout.buckets;
}

/* The overflow bucket that this one links to; 0: none, for that is none. */
static inline uint64_t table_link(const struct index_table *table, uint64_t bucket)
{
	uint32_t link = index_control_unpack(table_word(&table->buckets[bucket].control)).link;

	return link ? table->layout.buckets + link - 1 : 0;
}

/* bump: who reads finds another version. */
static inline void table_link_set(struct index_table *table, uint64_t bucket, uint64_t to,
				  bool bump)
{
	_Atomic uint64_t *word = &table->buckets[bucket].control;
	struct index_control control = index_control_unpack(table_word(word));

	control.link = to ? (uint32_t)(to - table->layout.buckets) + 1 : 0;
	control.version += bump;
	index_store(word, index_control_pack(control));
}

static inline uint64_t table_group(uint64_t bucket)
{
	return bucket - bucket % INDEX_GROUP;
}

/* The first overflow bucket of a group, or 0. */
static inline uint64_t table_chain(const struct index_table *table, uint64_t group)
{
	for (uint64_t i = group; i < group + INDEX_GROUP; ++i)
		if (table_link(table, i))
			return table_link(table, i);
	return 0;
}

/* For so many objects it is, before it is full. */
static inline uint64_t table_room(const struct index_table *table)
{
	return table->layout.buckets * TABLE_FULL;
}

/* ---- slots ---- */

static inline uint32_t table_slot_first(uint32_t slots)
{
	return (uint32_t)__builtin_ctz(slots) / 2 - 1;
}

/*
 * Slots with entries of this tag, and *ret_unused without any. An entry has a gen, so it is none if
 * its upper 16 bits are 0.
 */
static inline uint32_t table_slots_with(const struct index_bucket *bucket, uint32_t tag,
					uint32_t *ret_unused)
{
#if defined(__SSE2__)
	/* Nobody else stores there. */
	const __m128i *words = (const __m128i *)(const void *)bucket;
	const __m128i tags = _mm_set1_epi16((short)tag), none = _mm_setzero_si128();
	__m128i with[4], without[4];
	uint32_t unused;

	for (int i = 0; i < 4; ++i) {
		__m128i word = _mm_load_si128(&words[i]);

		with[i] = _mm_slli_epi32(_mm_cmpeq_epi16(word, tags), 16);
		without[i] = _mm_cmpeq_epi16(word, none);
	}
	unused = (uint32_t)_mm_movemask_epi8(
			 _mm_packs_epi16(_mm_packs_epi32(without[0], without[1]),
					 _mm_packs_epi32(without[2], without[3]))) >>
		 1;
	*ret_unused = unused & TABLE_SLOTS;
	return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(with[0], with[1]),
							   _mm_packs_epi32(with[2], with[3]))) &
	       TABLE_SLOTS & ~unused;
#else
	uint32_t with = 0, unused = 0;

	for (uint32_t i = 0; i < INDEX_ENTRIES; ++i) {
		uint64_t entry = table_word(&bucket->entries[i]);

		unused |= (uint32_t)!entry << (2 * i + 2);
		with |= (uint32_t)(entry && (uint16_t)entry == tag) << (2 * i + 2);
	}
	*ret_unused = unused;
	return with;
#endif
}

static inline uint32_t table_slots_without(const struct index_bucket *bucket)
{
	uint32_t unused;

	table_slots_with(bucket, 0, &unused);
	return unused;
}

static inline bool table_empty_at(const struct index_table *table, uint64_t bucket)
{
	return table_slots_without(&table->buckets[bucket]) == TABLE_SLOTS;
}

/* ---- entries ---- */

/* Beside a number, which of its group's buckets is its home: chains are walked without records. */
static inline uint32_t table_number_beside(uint64_t home, uint32_t number)
{
	return number | (uint32_t)(home % INDEX_GROUP) << TABLE_NUMBER_BITS;
}

static inline uint32_t table_number(const struct index_table *table, uint64_t position)
{
	return table->numbers[position] & (((uint32_t)1 << TABLE_NUMBER_BITS) - 1);
}

static inline uint64_t table_sibling(const struct index_table *table, uint64_t position)
{
	return table->numbers[position] >> TABLE_NUMBER_BITS;
}

/* Of an object, where the host keeps it. */
static inline uint64_t table_hash(const struct index_records *records, uint32_t number)
{
	uint64_t hash;

	memcpy(&hash, (const char *)records->first + number * records->stride, sizeof(hash));
	return hash;
}

static inline struct index_mix table_mix(const struct index_table *table, uint64_t hash)
{
	return index_mix(hash, table->seed, table->layout.buckets);
}

static inline uint32_t table_gen_next(uint32_t gen)
{
	if (mutant(index_gen_kept) && gen)
		return gen;
	return gen % TABLE_GENS + 1;
}

static inline void table_entry_put(struct index_table *table, uint64_t home, uint64_t position,
				   uint32_t number, struct index_entry entry)
{
	assert(number < INDEX_NUMBERS && !(entry.offset & 15));
	table->numbers[position] = table_number_beside(home, number);
	index_store(table_entry(table, position), index_entry_pack(entry));
}

/* An entry of the bucket has a twin there; whoever misses the one that goes finds another version. */
static inline void table_come_closer(struct index_table *table, uint64_t home, uint64_t from,
				     uint64_t to)
{
	if (mutant(index_version_early))
		table_link_set(table, home, table_link(table, home), true);
	table->numbers[to] = table->numbers[from];
	index_store(table_entry(table, to), table_word(table_entry(table, from)));
	if (!mutant(index_version_early) && !mutant(index_version_kept))
		table_link_set(table, home, table_link(table, home), true);
}

static inline bool table_find(const struct index_records *records, struct index_table *table,
			      struct index_mix mix, uint64_t hash, struct index_at *ret)
{
	for (uint64_t bucket = mix.bucket;;) {
		uint32_t unused,
			slots = table_slots_with(&table->buckets[bucket], mix.tag, &unused);

		for (; slots; slots &= slots - 1) {
			uint64_t position = table_position(bucket, table_slot_first(slots));

			/* During recovery entries may be nobody's. */
			if (table->numbers[position] == INDEX_NONE ||
			    table_hash(records, table_number(table, position)) != hash)
				continue;
			*ret = (struct index_at){table, mix.bucket, position,
						 table_number(table, position)};
			return true;
		}
		bucket = table_link(table, bucket);
		if (!bucket)
			return false;
	}
}

/* INDEX_E_FULL: nothing has changed. */
int table_insert(struct index_table *table, struct index_mix mix, uint32_t number,
		 uint64_t offset, uint32_t hint);
/* Of a bucket, for one more entry; if not, it may be crowded from then on. */
bool table_has_room(struct index_table *table, uint64_t home);
void table_remove(struct index_table *table, uint64_t home, uint64_t position);

/* ---- chains ---- */

/* The group's buckets, then its overflow buckets. How many. */
uint32_t table_group_list(const struct index_table *table, uint64_t group,
			  uint64_t ret[static TABLE_GROUP_MAX]);
/* An entry of the bucket in its chain; false: it has none there. */
bool table_chained_entry(const struct index_table *table, uint64_t home,
			 uint64_t *ret_position);
/* The overflow bucket has no entries: nobody is led there any more, and it is free. */
void table_unchain(struct index_table *table, uint64_t group, uint64_t bucket);
void table_overflow_free(struct index_table *table, uint64_t bucket);
