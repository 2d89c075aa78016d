#include "daemon/core/cache/index.h"

#include <assert.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/base.h"

/* A test that looks between two stores brings its own. */
#ifndef index_store
#define index_store(word, value) atomic_store_explicit(word, value, memory_order_release)
#endif

/* No number of an object: of an overflow bucket that is in a chain, during recovery. */
#define REACHED (INDEX_NONE - 1)

enum {
	PAGE = 4096,
	/* Entries for each bucket, from which on an index is full. */
	FULL = 7,
	/* For seven buckets so many overflow buckets; the chains of that many entries take 1.8. */
	CHAINED = 2,
	/* Entries of one bucket with one tag, from which on that is no accident. */
	CROWD = 4,
	GENS = 15,
	/* Before it is full, it wants another when there is room for so many; in a small one, half. */
	EARLY = 1 << 15,
	/* Of a smaller one the next may be four times as large, else a little more than twice. */
	ROOM_FEW = 1 << 16,
	/* It is full when so few of its overflow buckets are left: one in so many. */
	SPARE = 16,
	/* Records are asked for so many groups before they are read. */
	AHEAD = 2,
	NUMBER_BITS = 30,
};

static_assert(INDEX_GROUP == 1 << (32 - NUMBER_BITS), "a sibling fits beside a number");
static_assert(INDEX_NUMBERS < 1U << NUMBER_BITS, "and INDEX_NONE is no number of an object");

static_assert(INDEX_HEAD % PAGE == 0 && PAGE % sizeof(struct index_bucket) == 0,
	      "files are whole pages");

/* ---- words ---- */

static uint64_t word_of(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static uint64_t position_of(uint64_t bucket, uint32_t slot)
{
	return bucket * INDEX_ENTRIES + slot;
}

static _Atomic uint64_t *entry_at(const struct index_table *table, uint64_t position)
{
	return &table->buckets[position / INDEX_ENTRIES].entries[position % INDEX_ENTRIES];
}

static bool is_chained(const struct index_table *table, uint64_t bucket)
{
	return bucket >= table->layout.buckets;
}

/* The overflow bucket that this one links to; 0: none, for that is none. */
static uint64_t link_of(const struct index_table *table, uint64_t bucket)
{
	uint32_t link = index_control_unpack(word_of(&table->buckets[bucket].control)).link;

	return link ? table->layout.buckets + link - 1 : 0;
}

static void link_set(struct index_table *table, uint64_t bucket, uint64_t to, bool bump)
{
	_Atomic uint64_t *word = &table->buckets[bucket].control;
	struct index_control control = index_control_unpack(word_of(word));

	control.link = to ? (uint32_t)(to - table->layout.buckets) + 1 : 0;
	control.version += bump;
	index_store(word, index_control_pack(control));
}

static uint64_t group_of(uint64_t bucket)
{
	return bucket - bucket % INDEX_GROUP;
}

/* The first overflow bucket of a group, or 0. */
static uint64_t chain_of(const struct index_table *table, uint64_t group)
{
	for (uint64_t i = group; i < group + INDEX_GROUP; ++i)
		if (link_of(table, i))
			return link_of(table, i);
	return 0;
}

/* A bucket's slots are bits: slot i is bit 2 * i + 2, as words of 8 bytes come out of vectors. */
enum { SLOTS = 0x5554 };

static uint32_t slot_first(uint32_t slots)
{
	return (uint32_t)__builtin_ctz(slots) / 2 - 1;
}

/*
 * Slots with entries of this tag, and *ret_unused without any. An entry has a gen, so it is none if
 * its upper 16 bits are 0.
 */
static inline uint32_t slots_with(const struct index_bucket *bucket, uint32_t tag,
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
	*ret_unused = unused & SLOTS;
	return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(with[0], with[1]),
							   _mm_packs_epi32(with[2], with[3]))) &
	       SLOTS & ~unused;
#else
	uint32_t with = 0, unused = 0;

	for (uint32_t i = 0; i < INDEX_ENTRIES; ++i) {
		uint64_t entry = word_of(&bucket->entries[i]);

		unused |= (uint32_t)!entry << (2 * i + 2);
		with |= (uint32_t)(entry && (uint16_t)entry == tag) << (2 * i + 2);
	}
	*ret_unused = unused;
	return with;
#endif
}

static uint32_t slots_without(const struct index_bucket *bucket)
{
	uint32_t unused;

	slots_with(bucket, 0, &unused);
	return unused;
}

static bool is_empty(const struct index_bucket *bucket)
{
	return slots_without(bucket) == SLOTS;
}

/* INDEX_ENTRIES: there is none. */
static uint32_t slot_without(const struct index_bucket *bucket)
{
	uint32_t unused = slots_without(bucket);

	return unused ? slot_first(unused) : INDEX_ENTRIES;
}

/* Beside a number, which of its group's buckets is its home: chains are walked without records. */
static uint32_t number_beside(uint64_t home, uint32_t number)
{
	return number | (uint32_t)(home % INDEX_GROUP) << NUMBER_BITS;
}

static uint32_t number_at(const struct index_table *table, uint64_t position)
{
	return table->numbers[position] & (((uint32_t)1 << NUMBER_BITS) - 1);
}

static uint64_t sibling_at(const struct index_table *table, uint64_t position)
{
	return table->numbers[position] >> NUMBER_BITS;
}

static uint64_t hash_of(const struct index *index, uint32_t number)
{
	uint64_t hash;

	memcpy(&hash, (const char *)index->records.first + number * index->records.stride,
	       sizeof(hash));
	return hash;
}

static struct index_mix mix_of(const struct index_table *table, uint64_t hash)
{
	return index_mix(hash, table->seed, table->layout.buckets);
}

static uint64_t home_of(const struct index *index, const struct index_table *table,
			uint64_t position)
{
	uint64_t bucket = position / INDEX_ENTRIES;

	if (!is_chained(table, bucket))
		return bucket;
	return mix_of(table, hash_of(index, number_at(table, position))).bucket;
}

/* ---- tables ---- */

struct index_layout index_layout_for(uint64_t objects)
{
	const uint64_t page = PAGE / sizeof(struct index_bucket);
	uint64_t buckets = (objects + FULL - 1) / FULL;
	uint64_t overflow, rest;

	buckets = (buckets + INDEX_GROUP - 1) / INDEX_GROUP * INDEX_GROUP;
	buckets = u64_max(buckets, page / (7 + CHAINED) * 7 / INDEX_GROUP * INDEX_GROUP);
	overflow = (buckets * CHAINED + 6) / 7;
	rest = (buckets + overflow) % page;
	return (struct index_layout){buckets, overflow + (rest ? page - rest : 0)};
}

uint64_t index_positions(struct index_layout layout)
{
	return (layout.buckets + layout.overflow) * INDEX_ENTRIES;
}

void index_format(void *file, const struct index_config *config)
{
	struct index_layout layout = config->layout;
	struct index_head *head = file;
	struct index_bucket *buckets = index_buckets(file);

	assert(layout.buckets && !(layout.buckets % INDEX_GROUP));
	assert(layout.overflow < INT32_MAX && layout.buckets + layout.overflow < UINT32_MAX);
	head->layout = INDEX_LAYOUT;
	head->cache = config->cache;
	head->generation = config->generation;
	head->buckets = layout.buckets;
	head->overflow = layout.overflow;
	head->seed = config->seed;
	atomic_store_explicit(&head->epoch, config->epoch, memory_order_relaxed);
	atomic_store_explicit(&head->clock, config->clock, memory_order_relaxed);
	for (uint64_t i = 0; i < layout.buckets + layout.overflow; ++i)
		atomic_store_explicit(&buckets[i].control,
				      index_control_pack((struct index_control){0}),
				      memory_order_relaxed);
	atomic_store_explicit(&head->state, index_state_pack((struct index_state){0}),
			      memory_order_relaxed);
	head->magic = INDEX_MAGIC;
}

bool index_layout_of(const void *file, uint64_t size, struct index_layout *ret)
{
	const struct index_head *head = file;
	struct index_layout layout;

	if (size < INDEX_HEAD || head->magic != INDEX_MAGIC || head->layout != INDEX_LAYOUT)
		return false;
	layout = (struct index_layout){head->buckets, head->overflow};
	size = (size - INDEX_HEAD) / sizeof(struct index_bucket);
	if (!layout.buckets || layout.buckets % INDEX_GROUP || layout.buckets > size ||
	    layout.overflow > size - layout.buckets)
		return false;
	*ret = layout;
	return true;
}

struct index_table index_table(void *file, uint32_t *numbers)
{
	struct index_head *head = file;

	return (struct index_table){
		.head = head,
		.buckets = index_buckets(file),
		.numbers = numbers,
		.layout = {head->buckets, head->overflow},
		.seed = head->seed,
	};
}

/* There is one. */
static uint64_t overflow_take(struct index_table *table)
{
	uint64_t bucket = table->free;

	assert(bucket || table->fresh < table->layout.overflow);
	if (bucket)
		table->free = table->numbers[position_of(bucket, 0)];
	else
		bucket = table->layout.buckets + table->fresh++;
	++table->chained;
	return bucket;
}

static void overflow_free(struct index_table *table, uint64_t bucket)
{
	table->numbers[position_of(bucket, 0)] = (uint32_t)table->free;
	table->free = bucket;
	--table->chained;
}

static void entry_put(struct index_table *table, uint64_t home, uint64_t position,
		      uint32_t number, struct index_entry entry)
{
	assert(number < INDEX_NUMBERS && !(entry.offset & 15));
	table->numbers[position] = number_beside(home, number);
	index_store(entry_at(table, position), index_entry_pack(entry));
}

static uint32_t gen_next(uint32_t gen)
{
	if (mutant(index_gen_kept) && gen)
		return gen;
	return gen % GENS + 1;
}

/*
 * A slot in the chain of a bucket's group; false: a bucket would have to be added behind *ret_last, of
 * so many, or 0.
 */
static bool chain_has_slot(const struct index_table *table, uint64_t home,
			   uint64_t *ret_position, uint64_t *ret_last, uint32_t *ret_length)
{
	*ret_last = 0;
	*ret_length = 0;
	for (uint64_t bucket = chain_of(table, group_of(home)); bucket;
	     bucket = link_of(table, bucket)) {
		uint32_t unused = slots_without(&table->buckets[bucket]);

		*ret_last = bucket;
		if (unused) {
			*ret_position = position_of(bucket, slot_first(unused));
			return true;
		}
		++*ret_length;
	}
	return false;
}

/* By one bucket; if not, another index is wanted. */
static bool chain_may_grow(struct index_table *table, uint32_t length)
{
	if (length < INDEX_CHAIN_MAX)
		return table->free || table->fresh < table->layout.overflow;
	table->crowded |= table->count < table->layout.buckets * FULL;
	return false;
}

/*
 * A slot for an entry of the bucket `home` in its group's chain, and what has to link to the slot's
 * bucket: that bucket itself, if it is in the chain already.
 */
static int chain_slot(struct index_table *table, uint64_t home, uint64_t *ret_position,
		      uint64_t *ret_last)
{
	uint64_t last, bucket;
	uint32_t length;

	if (chain_has_slot(table, home, ret_position, ret_last, &length))
		return 0;
	if (!chain_may_grow(table, length))
		return INDEX_E_FULL;
	last = length ? *ret_last : home;
	bucket = overflow_take(table);
	link_set(table, bucket, 0, false);
	*ret_position = position_of(bucket, 0);
	*ret_last = last;
	return 0;
}

/* Of bits, as many as that, or more. */
static bool are_many(uint32_t slots, uint32_t many)
{
	while (--many && slots)
		slots &= slots - 1;
	return slots;
}

static int table_insert(struct index_table *table, struct index_mix mix, uint32_t number,
			uint64_t offset, uint32_t hint)
{
	uint32_t unused, with = slots_with(&table->buckets[mix.bucket], mix.tag, &unused);
	uint64_t position, last = mix.bucket, chained;

	if (unused)
		position = position_of(mix.bucket, slot_first(unused));
	else if (chain_slot(table, mix.bucket, &position, &last))
		return INDEX_E_FULL;
	table->gen = gen_next(table->gen);
	entry_put(table, mix.bucket, position, number,
		  (struct index_entry){offset, mix.tag, hint, table->gen});
	++table->count;
	chained = position / INDEX_ENTRIES;
	if (last != chained)
		link_set(table, last, chained, false);
	if (!unused && !link_of(table, mix.bucket))
		link_set(table, mix.bucket, chain_of(table, group_of(mix.bucket)), false);
	if (are_many(with, unused ? CROWD - 1 : CROWD))
		table->crowded = true;
	return 0;
}

static bool table_has_room(struct index_table *table, uint64_t home)
{
	uint64_t position, last;
	uint32_t length;

	if (slots_without(&table->buckets[home]) ||
	    chain_has_slot(table, home, &position, &last, &length))
		return true;
	return chain_may_grow(table, length);
}

/* An entry of the bucket in its chain; false: it has none there. */
static bool chained_entry(const struct index_table *table, uint64_t home,
			  uint64_t *ret_position)
{
	for (uint64_t bucket = link_of(table, home); bucket; bucket = link_of(table, bucket)) {
		uint32_t used = SLOTS & ~slots_without(&table->buckets[bucket]);

		for (; used; used &= used - 1) {
			uint64_t position = position_of(bucket, slot_first(used));

			if (sibling_at(table, position) != home % INDEX_GROUP)
				continue;
			*ret_position = position;
			return true;
		}
	}
	return false;
}

/* Of all buckets of the group that link to the chain, which is to begin with what is first. */
static void versions_change(struct index_table *table, uint64_t group, uint64_t first)
{
	for (uint64_t i = group; i < group + INDEX_GROUP; ++i)
		if (link_of(table, i))
			link_set(table, i, first, true);
}

/* The overflow bucket has no entries: nobody is led there any more, and it is free. */
static void unchain(struct index_table *table, uint64_t group, uint64_t bucket)
{
	uint64_t next = link_of(table, bucket), first = chain_of(table, group);

	if (mutant(index_unchain_early))
		versions_change(table, group, first == bucket ? next : first);
	for (uint64_t i = first; i != bucket && i; i = link_of(table, i))
		if (link_of(table, i) == bucket)
			link_set(table, i, next, false);
	if (!mutant(index_unchain_early))
		versions_change(table, group, first == bucket ? next : first);
	overflow_free(table, bucket);
}

/* An entry has gone from the chain. */
static void chain_settle(struct index_table *table, uint64_t home, uint64_t bucket)
{
	uint64_t position;

	if (is_empty(&table->buckets[bucket]))
		unchain(table, group_of(home), bucket);
	if (link_of(table, home) && !chained_entry(table, home, &position))
		link_set(table, home, 0, true);
}

/* An entry of the bucket has a twin there; whoever misses the one that goes finds another version. */
static void come_closer(struct index_table *table, uint64_t home, uint64_t from, uint64_t to)
{
	if (mutant(index_version_early))
		link_set(table, home, link_of(table, home), true);
	table->numbers[to] = table->numbers[from];
	index_store(entry_at(table, to), word_of(entry_at(table, from)));
	if (!mutant(index_version_early) && !mutant(index_version_kept))
		link_set(table, home, link_of(table, home), true);
}

static void table_remove(struct index_table *table, uint64_t home, uint64_t position)
{
	uint64_t bucket = position / INDEX_ENTRIES, from;

	--table->count;
	if (!is_chained(table, bucket) && chained_entry(table, home, &from)) {
		come_closer(table, home, from, position);
		position = from;
		bucket = from / INDEX_ENTRIES;
	}
	index_store(entry_at(table, position), 0);
	if (is_chained(table, bucket))
		chain_settle(table, home, bucket);
}

static bool table_find(const struct index *index, struct index_table *table,
		       struct index_mix mix, uint64_t hash, struct index_at *ret)
{
	for (uint64_t bucket = mix.bucket;;) {
		uint32_t unused, slots = slots_with(&table->buckets[bucket], mix.tag, &unused);

		for (; slots; slots &= slots - 1) {
			uint64_t position = position_of(bucket, slot_first(slots));

			/* During recovery entries may be nobody's. */
			if (table->numbers[position] == INDEX_NONE ||
			    hash_of(index, number_at(table, position)) != hash)
				continue;
			*ret = (struct index_at){table, mix.bucket, position,
						 number_at(table, position)};
			return true;
		}
		bucket = link_of(table, bucket);
		if (!bucket)
			return false;
	}
}

/* ---- the index ---- */

void index_init(struct index *index, struct index_table table, struct index_records records)
{
	*index = (struct index){.now = table, .records = records};
}

/* Where a hash leads: to which of the two, and where there. */
static const struct index_table *lead(const struct index *index, uint64_t hash,
				      struct index_mix *ret)
{
	*ret = mix_of(&index->now, hash);
	if (likely(!index->next.head) || ret->bucket >= index->moved)
		return &index->now;
	*ret = mix_of(&index->next, hash);
	return &index->next;
}

static struct index_table *lead_to(struct index *index, uint64_t hash, struct index_mix *ret)
{
	return (struct index_table *)lead(index, hash, ret);
}

/* Of a bucket, which is one line, the numbers, which may be in two. */
static void bucket_fetch(const struct index_table *table, uint64_t bucket)
{
	__builtin_prefetch(&table->buckets[bucket], 1);
	__builtin_prefetch(&table->numbers[position_of(bucket, 0)], 1);
	__builtin_prefetch(&table->numbers[position_of(bucket, INDEX_ENTRIES - 1)], 1);
}

void index_fetch(const struct index *index, uint64_t hash)
{
	struct index_mix mix;
	const struct index_table *table = lead(index, hash, &mix);

	bucket_fetch(table, mix.bucket);
}

uint32_t index_guess(const struct index *index, uint64_t hash)
{
	struct index_mix mix;
	const struct index_table *table = lead(index, hash, &mix);
	uint32_t unused, slots = slots_with(&table->buckets[mix.bucket], mix.tag, &unused);
	uint64_t link = link_of(table, mix.bucket);

	if (link)
		bucket_fetch(table, link);
	else if (!unused)
		for (uint32_t i = 0; i < INDEX_GROUP; ++i)
			__builtin_prefetch(&table->buckets[group_of(mix.bucket) + i]);
	if (!slots)
		return INDEX_NONE;
	return number_at(table, position_of(mix.bucket, slot_first(slots)));
}

bool index_find(struct index *index, uint64_t hash, struct index_at *ret)
{
	struct index_mix mix;
	struct index_table *table = lead_to(index, hash, &mix);

	return table_find(index, table, mix, hash, ret);
}

uint64_t index_count(const struct index *index)
{
	return index->now.count + index->next.count;
}

bool index_has_room(struct index *index, uint64_t hash)
{
	struct index_mix mix;
	struct index_table *table = lead_to(index, hash, &mix);

	return table_has_room(table, mix.bucket);
}

int index_insert(struct index *index, uint64_t hash, uint32_t number, uint64_t offset,
		 uint32_t hint)
{
	struct index_mix mix;
	struct index_table *table = lead_to(index, hash, &mix);

	return table_insert(table, mix, number, offset, hint);
}

uint32_t index_rival(const struct index *index, uint64_t hash)
{
	struct index_mix mix;
	const struct index_table *table = lead(index, hash, &mix);

	assert(slot_without(&table->buckets[mix.bucket]) == INDEX_ENTRIES);
	return number_at(table, position_of(mix.bucket, table->gen % INDEX_ENTRIES));
}

void index_replace(struct index *index, const struct index_at *at, uint32_t number,
		   uint64_t offset, uint32_t hint)
{
	struct index_entry entry = index_entry_at(at);

	entry.offset = offset;
	entry.hint = hint;
	entry.gen = gen_next(entry.gen);
	entry_put(at->table, at->home, at->position, number, entry);
}

void index_remove(struct index *index, const struct index_at *at)
{
	table_remove(at->table, at->home, at->position);
}

struct index_entry index_entry_at(const struct index_at *at)
{
	return index_entry_unpack(word_of(entry_at(at->table, at->position)));
}

void index_hint(struct index *index, const struct index_at *at, uint32_t hint)
{
	struct index_entry entry = index_entry_at(at);

	entry.hint = hint;
	index_store(entry_at(at->table, at->position), index_entry_pack(entry));
}

static uint64_t table_buckets(const struct index_table *table)
{
	return table->layout.buckets + table->layout.overflow;
}

bool index_noted(struct index *index, uint64_t bucket, uint32_t slot, uint32_t tag,
		 struct index_at *ret)
{
	struct index_table *tables[] = {&index->now, &index->next};

	if (slot >= INDEX_ENTRIES)
		return false;
	for (uint32_t i = 0; i < ARRAY_SIZE(tables); ++i) {
		struct index_table *table = tables[i];
		uint64_t position = position_of(bucket, slot), entry;

		if (bucket >= table_buckets(table))
			continue;
		entry = word_of(entry_at(table, position));
		if (!entry || index_entry_unpack(entry).tag != tag)
			continue;
		*ret = (struct index_at){table, home_of(index, table, position), position,
					 number_at(table, position)};
		return true;
	}
	return false;
}

void index_noted_fetch(const struct index *index, uint64_t bucket, uint32_t slot)
{
	uint64_t position = position_of(bucket, slot);

	if (slot >= INDEX_ENTRIES || bucket >= table_buckets(&index->now))
		return;
	__builtin_prefetch(entry_at(&index->now, position));
	__builtin_prefetch(&index->now.numbers[position]);
}

uint32_t index_noted_guess(const struct index *index, uint64_t bucket, uint32_t slot)
{
	uint64_t position = position_of(bucket, slot);

	if (slot >= INDEX_ENTRIES || bucket >= table_buckets(&index->now) ||
	    !word_of(entry_at(&index->now, position)))
		return INDEX_NONE;
	return number_at(&index->now, position);
}

void index_epoch_set(struct index *index, uint64_t epoch)
{
	assert(epoch);
	index_store(&index->now.head->epoch, epoch);
	if (index->next.head)
		index_store(&index->next.head->epoch, epoch);
}

void index_clock_set(struct index *index, uint64_t clock)
{
	index_store(&index->now.head->clock, clock);
	if (index->next.head)
		index_store(&index->next.head->clock, clock);
}

void index_ttl_set(struct index *index, uint64_t ttl)
{
	index_store(&index->now.head->ttl, ttl);
	if (index->next.head)
		index_store(&index->next.head->ttl, ttl);
}

/* ---- walking ---- */

/* All but the last bit of what a hash is mixed to. */
static uint64_t mixed_of(const struct index *index, uint64_t seed, uint32_t number)
{
	return index_mix(hash_of(index, number), seed, (uint64_t)1 << 63).bucket;
}

static uint64_t bucket_at(const struct index_table *table, uint64_t mixed)
{
	return (uint64_t)((unsigned __int128)mixed * table->layout.buckets >> 63);
}

/* The least that leads to this bucket. */
static uint64_t mixed_at(const struct index_table *table, uint64_t bucket)
{
	return (uint64_t)((((unsigned __int128)bucket << 63) + table->layout.buckets - 1) /
			  table->layout.buckets);
}

static void bucket_list(const struct index *index, const struct index_table *table,
			uint64_t bucket, uint64_t home, uint64_t from,
			uint32_t ret[static INDEX_LISTED], uint32_t *n)
{
	for (uint32_t slot = 0; slot < INDEX_ENTRIES; ++slot) {
		uint64_t position = position_of(bucket, slot);
		uint32_t number = number_at(table, position);

		if (word_of(entry_at(table, position)) &&
		    sibling_at(table, position) == home % INDEX_GROUP &&
		    mixed_of(index, table->seed, number) >= from)
			ret[(*n)++] = number;
	}
}

bool index_list(const struct index *index, struct index_place *place,
		uint32_t ret[static INDEX_LISTED], uint32_t *ret_n)
{
	const struct index_table *table = &index->now;
	uint64_t from, end, home;
	uint32_t n = 0;

	*ret_n = 0;
	if (place->seed != table->seed)
		*place = (struct index_place){.seed = table->seed};
	from = place->mixed;
	end = (uint64_t)1 << 63;
	if (bucket_at(table, from) < index->moved) {
		if (index->next.seed != table->seed)
			return true;
		end = mixed_at(table, index->moved);
		table = &index->next;
	}
	home = bucket_at(table, from);
	for (uint64_t bucket = home;; bucket = link_of(table, bucket)) {
		bucket_list(index, table, bucket, home, from, ret, &n);
		if (!link_of(table, bucket))
			break;
	}
	*ret_n = n;
	place->mixed = u64_min(mixed_at(table, home + 1), end);
	return place->mixed < (uint64_t)1 << 63;
}

/* ---- moving on ---- */

/* For how many objects the next one is. */
static uint64_t room_next(uint64_t room, uint64_t expected)
{
	if (!expected)
		return room / 4 * 5;
	/* It is a guess, and may be a bad one: what stays empty is overhead, and cache misses. */
	return u64_max(
		u64_min(expected + expected / 16, room < ROOM_FEW ? room * 4 : room / 4 * 9),
		room / 8 * 9);
}

/*
 * Whoever fills a cache does not wait for a file to be made: if many more are to come, there is to
 * be room for them until then.
 */
static bool is_full(const struct index_table *table, uint64_t room, uint64_t expected)
{
	bool grows = !expected || expected > room / 4 * 5;
	uint64_t spare = grows ? u64_min(room / 2, EARLY) : room / 32;

	return table->count + spare >= room ||
	       table->layout.overflow - table->chained <= table->layout.overflow / SPARE;
}

bool index_wants(const struct index *index, uint64_t expected, struct index_layout *ret,
		 bool *ret_seed)
{
	const struct index_table *table = &index->now;
	uint64_t room = table->layout.buckets * FULL;
	bool full = is_full(table, room, expected);

	if (index->next.head || (!full && !table->crowded))
		return false;
	*ret = table->layout;
	if (full)
		*ret = index_layout_for(room_next(u64_max(table->count, room), expected));
	*ret_seed = table->crowded;
	return true;
}

static void state_set(struct index *index)
{
	struct index_state state = {.moved = index->moved, .next = true};

	index_store(&index->now.head->state, index_state_pack(state));
}

void index_next_begin(struct index *index, struct index_table next)
{
	assert(!index->next.head && !next.count);
	assert(next.head->generation == index->now.head->generation + 1);
	index->next = next;
	index->moved = 0;
	index_epoch_set(index, word_of(&index->now.head->epoch));
	index_clock_set(index, word_of(&index->now.head->clock));
	index_ttl_set(index, word_of(&index->now.head->ttl));
	state_set(index);
}

/* The group's buckets, then its overflow buckets. How many. */
static uint32_t group_list(const struct index_table *table, uint64_t group,
			   uint64_t ret[static INDEX_GROUP + INDEX_CHAIN_MAX])
{
	uint32_t n = 0;

	while (n < INDEX_GROUP) {
		ret[n] = group + n;
		++n;
	}
	for (uint64_t i = chain_of(table, group); i; i = link_of(table, i))
		ret[n++] = i;
	return n;
}

static bool next_find(struct index *index, uint64_t hash, struct index_at *ret)
{
	return table_find(index, &index->next, mix_of(&index->next, hash), hash, ret);
}

/* Copies of what is in positions [0, n) of the buckets; not all have to be there. */
static void copies_remove(struct index *index, const uint64_t *buckets, uint32_t n)
{
	for (uint32_t i = 0; i < n; ++i) {
		uint64_t position = position_of(buckets[i / INDEX_ENTRIES], i % INDEX_ENTRIES);
		uint32_t number = number_at(&index->now, position);
		struct index_at at;

		if (word_of(entry_at(&index->now, position)) &&
		    next_find(index, hash_of(index, number), &at))
			index_remove(index, &at);
	}
}

/* What the records of the group's entries will be asked for. */
static void group_fetch(const struct index *index, uint64_t group)
{
	const struct index_table *table = &index->now;

	if (group >= table->layout.buckets)
		return;
	for (uint64_t i = position_of(group, 0); i < position_of(group + INDEX_GROUP, 0); ++i)
		if (word_of(entry_at(table, i)))
			__builtin_prefetch((const char *)index->records.first +
					   number_at(table, i) * index->records.stride);
}

static int group_move(struct index *index, uint64_t group, uint32_t *ret_number)
{
	uint64_t buckets[INDEX_GROUP + INDEX_CHAIN_MAX];
	struct index_table *now = &index->now;
	uint32_t n = group_list(now, group, buckets) * INDEX_ENTRIES;

	if (mutant(index_moved_early)) {
		index->moved = group + INDEX_GROUP;
		state_set(index);
	}
	for (uint32_t i = 0; i < n; ++i) {
		uint64_t position = position_of(buckets[i / INDEX_ENTRIES], i % INDEX_ENTRIES);
		uint64_t word = word_of(entry_at(now, position));
		struct index_entry entry = index_entry_unpack(word);
		uint32_t number = number_at(now, position);

		if (!word)
			continue;
		if (table_insert(&index->next, mix_of(&index->next, hash_of(index, number)),
				 number, entry.offset, entry.hint)) {
			copies_remove(index, buckets, i);
			*ret_number = number;
			return INDEX_E_FULL;
		}
	}
	index->moved = group + INDEX_GROUP;
	if (!mutant(index_moved_late))
		state_set(index);
	for (uint32_t i = 0; i < n; ++i) {
		uint64_t position = position_of(buckets[i / INDEX_ENTRIES], i % INDEX_ENTRIES);

		if (!word_of(entry_at(now, position)) || mutant(index_moved_stays))
			continue;
		index_store(entry_at(now, position), 0);
		--now->count;
	}
	if (mutant(index_moved_late))
		state_set(index);
	for (uint32_t i = INDEX_GROUP; i < n / INDEX_ENTRIES; ++i)
		overflow_free(now, buckets[i]);
	return 0;
}

int index_next_step(struct index *index, uint64_t groups, uint32_t *ret_number)
{
	assert(index->next.head);
	for (uint64_t i = 0; i < groups && !index_next_done(index); ++i) {
		group_fetch(index, index->moved + AHEAD * INDEX_GROUP);
		if (group_move(index, index->moved, ret_number))
			return INDEX_E_FULL;
	}
	return 0;
}

bool index_next_done(const struct index *index)
{
	return index->moved == index->now.layout.buckets;
}

struct index_table index_next_end(struct index *index)
{
	struct index_table old = index->now;

	assert(index->next.head && index_next_done(index));
	index->now = index->next;
	index->next = (struct index_table){0};
	index->moved = 0;
	return old;
}

/* ---- recovery ---- */

/* Overflow buckets that a chain leads to, until it leads elsewhere. */
static uint32_t chain_length(const struct index_table *table, uint64_t bucket)
{
	uint32_t length = 0;

	for (uint64_t i = link_of(table, bucket); i; i = link_of(table, i)) {
		if (i >= table->layout.buckets + table->layout.overflow)
			return UINT32_MAX;
		if (++length > INDEX_CHAIN_MAX)
			return UINT32_MAX;
	}
	return length;
}

/*
 * Who died while an overflow bucket left a chain has told some buckets, or none: all link to the
 * longest chain again, and have another version, before what is not reached is used again. What is
 * reached is marked.
 */
static bool group_recover(struct index_table *table, uint64_t group)
{
	uint64_t longest = group;
	uint32_t length = 0;

	for (uint64_t i = group; i < group + INDEX_GROUP; ++i) {
		uint32_t n = chain_length(table, i);

		if (n == UINT32_MAX)
			return false;
		if (n > length) {
			length = n;
			longest = i;
		}
	}
	for (uint64_t i = group; i < group + INDEX_GROUP; ++i)
		if (link_of(table, i))
			link_set(table, i, link_of(table, longest),
				 !mutant(index_recover_version));
	for (uint64_t i = link_of(table, longest); i; i = link_of(table, i)) {
		uint32_t *mark = &table->numbers[position_of(i, 0)];

		if (*mark == REACHED)
			return false;
		*mark = REACHED;
		++table->chained;
	}
	return true;
}

static void bucket_clear(struct index_table *table, uint64_t bucket)
{
	for (uint32_t slot = 0; slot < INDEX_ENTRIES; ++slot)
		if (word_of(&table->buckets[bucket].entries[slot]))
			index_store(&table->buckets[bucket].entries[slot], 0);
}

static bool table_recover(struct index_table *table, uint64_t from)
{
	for (uint64_t i = 0; i < index_positions(table->layout); ++i)
		table->numbers[i] = INDEX_NONE;
	for (uint64_t i = 0; i < from; ++i)
		bucket_clear(table, i);
	for (uint64_t i = from; i < table->layout.buckets; i += INDEX_GROUP)
		if (!group_recover(table, i))
			return false;
	table->fresh = table->layout.overflow;
	for (uint64_t i = table->layout.overflow; i--;) {
		uint64_t bucket = table->layout.buckets + i;
		uint32_t *mark = &table->numbers[position_of(bucket, 0)];

		if (*mark == REACHED) {
			*mark = INDEX_NONE;
			continue;
		}
		bucket_clear(table, bucket);
		*mark = (uint32_t)table->free;
		table->free = bucket;
	}
	return true;
}

bool index_recover(struct index *index, struct index_table now, struct index_table next,
		   struct index_records records)
{
	struct index_state state = index_state_unpack(word_of(&now.head->state));

	*index = (struct index){.now = now, .records = records};
	if (state.next != !!next.head || state.moved > now.layout.buckets ||
	    state.moved % INDEX_GROUP)
		return false;
	index->next = next;
	index->moved = state.moved;
	return table_recover(&index->now, index->moved) &&
	       (!next.head || table_recover(&index->next, 0));
}

bool index_keep(struct index *index, uint64_t hash, uint32_t number, uint64_t offset)
{
	struct index_mix mix;
	struct index_table *table = lead_to(index, hash, &mix);
	uint64_t bucket = mix.bucket;

	do {
		uint32_t unused, slots = slots_with(&table->buckets[bucket], mix.tag, &unused);

		for (; slots; slots &= slots - 1) {
			uint64_t position = position_of(bucket, slot_first(slots));
			uint64_t word = word_of(entry_at(table, position));

			if (index_entry_unpack(word).offset != offset)
				continue;
			if (table->numbers[position] != INDEX_NONE)
				return false;
			table->numbers[position] = number_beside(mix.bucket, number);
			++table->count;
			return true;
		}
		bucket = link_of(table, bucket);
	} while (bucket);
	return false;
}

static bool has_unkept(const struct index_table *table, const uint64_t *buckets, uint32_t n)
{
	for (uint32_t i = 0; i < n; ++i) {
		uint64_t position = position_of(buckets[i / INDEX_ENTRIES], i % INDEX_ENTRIES);

		if (word_of(entry_at(table, position)) &&
		    table->numbers[position] == INDEX_NONE)
			return true;
	}
	return false;
}

static void group_prune(struct index_table *table, uint64_t group)
{
	uint64_t buckets[INDEX_GROUP + INDEX_CHAIN_MAX], from;
	uint32_t n = group_list(table, group, buckets) * INDEX_ENTRIES;

	/* What goes may have come closer. */
	if (has_unkept(table, buckets, n) && !mutant(index_prune_version))
		for (uint64_t i = group; i < group + INDEX_GROUP; ++i)
			link_set(table, i, link_of(table, i), true);
	for (uint32_t i = 0; i < n; ++i) {
		uint64_t position = position_of(buckets[i / INDEX_ENTRIES], i % INDEX_ENTRIES);

		if (word_of(entry_at(table, position)) &&
		    table->numbers[position] == INDEX_NONE)
			index_store(entry_at(table, position), 0);
	}
	for (uint32_t i = 0; i < INDEX_GROUP * INDEX_ENTRIES; ++i) {
		uint64_t home = group + i / INDEX_ENTRIES;
		uint64_t position = position_of(home, i % INDEX_ENTRIES);

		if (word_of(entry_at(table, position)) || !chained_entry(table, home, &from))
			continue;
		come_closer(table, home, from, position);
		index_store(entry_at(table, from), 0);
	}
	for (uint32_t i = INDEX_GROUP; i < n / INDEX_ENTRIES; ++i)
		if (is_empty(&table->buckets[buckets[i]]))
			unchain(table, group, buckets[i]);
	for (uint64_t i = group; i < group + INDEX_GROUP; ++i)
		if (link_of(table, i) && !chained_entry(table, i, &from))
			link_set(table, i, 0, true);
}

void index_prune(struct index *index)
{
	for (uint64_t i = index->moved; i < index->now.layout.buckets; i += INDEX_GROUP)
		group_prune(&index->now, i);
	for (uint64_t i = 0; index->next.head && i < index->next.layout.buckets;
	     i += INDEX_GROUP)
		group_prune(&index->next, i);
}

/* ---- the walker ---- */

/* The entries of one bucket; group: who may have entries there. */
static const char *bucket_check(const struct index *index, const struct index_table *table,
				uint64_t bucket, uint64_t group, uint64_t *count)
{
	bool found = false;

	for (uint32_t slot = 0; slot < INDEX_ENTRIES; ++slot) {
		uint64_t position = position_of(bucket, slot), hash;
		uint64_t word = word_of(entry_at(table, position));
		struct index_entry entry = index_entry_unpack(word);
		struct index_mix mix;
		struct index_at at;

		if (!word)
			continue;
		hash = hash_of(index, number_at(table, position));
		mix = mix_of(table, hash);
		if (mix.tag != entry.tag || !entry.gen)
			return "IN1: an entry is not what its object's hash says";
		if (is_chained(table, bucket) ? group_of(mix.bucket) != group
					      : mix.bucket != bucket)
			return "IN1: an entry is not where its object's hash leads";
		if (sibling_at(table, position) != mix.bucket % INDEX_GROUP)
			return "an entry is known as another bucket's";
		if (!table_find(index, (struct index_table *)table, mix, hash, &at) ||
		    at.position != position)
			return "IN3: an entry is not reached, or there are two";
		++*count;
		found = true;
	}
	return found || !is_chained(table, bucket) ? NULL
						   : "an empty overflow bucket is chained";
}

static const char *group_check(const struct index *index, const struct index_table *table,
			       uint64_t group, uint64_t *count, uint64_t *chained)
{
	uint64_t chain = chain_of(table, group), length = 0, position;
	const char *wrong = NULL;

	for (uint64_t i = group; i < group + INDEX_GROUP && !wrong; ++i) {
		uint64_t link = link_of(table, i);

		if (link && link != chain)
			return "the buckets of a group link to different chains";
		wrong = bucket_check(index, table, i, group, count);
	}
	for (uint64_t i = chain; i && !wrong; i = link_of(table, i)) {
		if (i >= table->layout.buckets + table->fresh || ++length > INDEX_CHAIN_MAX)
			return "a chain leads elsewhere, or is too long";
		wrong = bucket_check(index, table, i, group, count);
	}
	for (uint64_t i = group; i < group + INDEX_GROUP && !wrong; ++i) {
		bool has = chained_entry(table, i, &position);

		if (link_of(table, i) && !has)
			wrong = "a bucket links to a chain where it has nothing";
		else if (has && slot_without(&table->buckets[i]) < INDEX_ENTRIES)
			wrong = "a bucket has room, and an entry in its chain";
	}
	*chained += length;
	return wrong;
}

static const char *table_check(const struct index *index, const struct index_table *table,
			       uint64_t from, uint64_t *ret_count)
{
	uint64_t count = 0, chained = 0, free = 0;
	const char *wrong = NULL;

	for (uint64_t i = 0; i < table->layout.buckets + table->layout.overflow; ++i) {
		if (!(word_of(&table->buckets[i].control) >> 63))
			return "a control word is 0";
		for (uint32_t slot = 0; i < from && slot < INDEX_ENTRIES; ++slot)
			if (word_of(&table->buckets[i].entries[slot]))
				return "a bucket that has moved on has entries";
	}
	for (uint64_t i = from; i < table->layout.buckets && !wrong; i += INDEX_GROUP)
		wrong = group_check(index, table, i, &count, &chained);
	if (wrong)
		return wrong;
	for (uint64_t i = table->free; i; i = table->numbers[position_of(i, 0)]) {
		if (!is_chained(table, i) || i >= table->layout.buckets + table->fresh ||
		    ++free > table->fresh)
			return "free overflow buckets lead elsewhere";
		if (!is_empty(&table->buckets[i]))
			return "a free overflow bucket has entries";
	}
	if (count != table->count || chained != table->chained)
		return "there are more or fewer entries, or chains, than are counted";
	if (chained + free != table->fresh)
		return "an overflow bucket is lost";
	*ret_count += count;
	return NULL;
}

const char *index_check(const struct index *index, uint64_t *ret_count)
{
	struct index_state state = index_state_unpack(word_of(&index->now.head->state));
	uint64_t count = 0;
	const char *wrong;

	if (state.next != !!index->next.head || state.moved != index->moved)
		return "readers are told otherwise how far it has moved";
	wrong = table_check(index, &index->now, index->moved, &count);
	if (!wrong && index->next.head)
		wrong = table_check(index, &index->next, 0, &count);
	if (!wrong)
		*ret_count = count;
	return wrong;
}
