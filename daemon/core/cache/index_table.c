/* One file of an index: how it is laid out, and what comes into it, moves in it, and goes. */
#include "daemon/core/cache/index_table.h"

enum {
	PAGE = 4096,
	/* For seven buckets so many overflow buckets; the chains of that many entries take 1.8. */
	CHAINED = 2,
	/* Entries of one bucket with one tag, from which on that is no accident. */
	CROWD = 4,
};

static_assert(INDEX_HEAD % PAGE == 0 && PAGE % sizeof(struct index_bucket) == 0,
	      "files are whole pages");

struct index_layout index_layout_for(uint64_t objects)
{
	const uint64_t page = PAGE / sizeof(struct index_bucket);
	uint64_t buckets = (objects + TABLE_FULL - 1) / TABLE_FULL;
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

/* ---- chains ---- */

uint32_t table_group_list(const struct index_table *table, uint64_t group,
			  uint64_t ret[static TABLE_GROUP_MAX])
{
	uint32_t n = 0;

	while (n < INDEX_GROUP) {
		ret[n] = group + n;
		++n;
	}
	for (uint64_t i = table_chain(table, group); i; i = table_link(table, i))
		ret[n++] = i;
	return n;
}

bool table_chained_entry(const struct index_table *table, uint64_t home, uint64_t *ret_position)
{
	for (uint64_t bucket = table_link(table, home); bucket;
	     bucket = table_link(table, bucket)) {
		uint32_t used = TABLE_SLOTS & ~table_slots_without(&table->buckets[bucket]);

		for (; used; used &= used - 1) {
			uint64_t position = table_position(bucket, table_slot_first(used));

			if (table_sibling(table, position) != home % INDEX_GROUP)
				continue;
			*ret_position = position;
			return true;
		}
	}
	return false;
}

/* There is one. */
static uint64_t overflow_take(struct index_table *table)
{
	uint64_t bucket = table->free;

	assert(bucket || table->fresh < table->layout.overflow);
	if (bucket)
		table->free = table->numbers[table_position(bucket, 0)];
	else
		bucket = table->layout.buckets + table->fresh++;
	++table->chained;
	return bucket;
}

void table_overflow_free(struct index_table *table, uint64_t bucket)
{
	table->numbers[table_position(bucket, 0)] = (uint32_t)table->free;
	table->free = bucket;
	--table->chained;
}

/* Of all buckets of the group that link to the chain, which is to begin with what is first. */
static void versions_change(struct index_table *table, uint64_t group, uint64_t first)
{
	for (uint64_t i = group; i < group + INDEX_GROUP; ++i)
		if (table_link(table, i))
			table_link_set(table, i, first, true);
}

void table_unchain(struct index_table *table, uint64_t group, uint64_t bucket)
{
	uint64_t next = table_link(table, bucket), first = table_chain(table, group);

	if (mutant(index_unchain_early))
		versions_change(table, group, first == bucket ? next : first);
	for (uint64_t i = first; i != bucket && i; i = table_link(table, i))
		if (table_link(table, i) == bucket)
			table_link_set(table, i, next, false);
	if (!mutant(index_unchain_early))
		versions_change(table, group, first == bucket ? next : first);
	table_overflow_free(table, bucket);
}

/* An entry has gone from the chain. */
static void chain_settle(struct index_table *table, uint64_t home, uint64_t bucket)
{
	uint64_t position;

	if (table_empty_at(table, bucket))
		table_unchain(table, table_group(home), bucket);
	if (table_link(table, home) && !table_chained_entry(table, home, &position))
		table_link_set(table, home, 0, true);
}

/* ---- entries ---- */

/*
 * A slot in the chain of a bucket's group; false: a bucket would have to be added behind *ret_last, of
 * so many, or 0.
 */
static bool chain_has_slot(const struct index_table *table, uint64_t home,
			   uint64_t *ret_position, uint64_t *ret_last, uint32_t *ret_length)
{
	*ret_last = 0;
	*ret_length = 0;
	for (uint64_t bucket = table_chain(table, table_group(home)); bucket;
	     bucket = table_link(table, bucket)) {
		uint32_t unused = table_slots_without(&table->buckets[bucket]);

		*ret_last = bucket;
		if (unused) {
			*ret_position = table_position(bucket, table_slot_first(unused));
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
	table->crowded |= table->count < table_room(table);
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
	table_link_set(table, bucket, 0, false);
	*ret_position = table_position(bucket, 0);
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

int table_insert(struct index_table *table, struct index_mix mix, uint32_t number,
		 uint64_t offset, uint32_t hint)
{
	uint32_t unused, with = table_slots_with(&table->buckets[mix.bucket], mix.tag, &unused);
	uint64_t position, last = mix.bucket, chained;

	if (unused)
		position = table_position(mix.bucket, table_slot_first(unused));
	else if (chain_slot(table, mix.bucket, &position, &last))
		return INDEX_E_FULL;
	table->gen = table_gen_next(table->gen);
	table_entry_put(table, mix.bucket, position, number,
			(struct index_entry){offset, mix.tag, hint, table->gen});
	++table->count;
	chained = position / INDEX_ENTRIES;
	if (last != chained)
		table_link_set(table, last, chained, false);
	if (!unused && !table_link(table, mix.bucket))
		table_link_set(table, mix.bucket, table_chain(table, table_group(mix.bucket)),
			       false);
	if (are_many(with, unused ? CROWD - 1 : CROWD))
		table->crowded = true;
	return 0;
}

bool table_has_room(struct index_table *table, uint64_t home)
{
	uint64_t position, last;
	uint32_t length;

	if (table_slots_without(&table->buckets[home]) ||
	    chain_has_slot(table, home, &position, &last, &length))
		return true;
	return chain_may_grow(table, length);
}

void table_remove(struct index_table *table, uint64_t home, uint64_t position)
{
	uint64_t bucket = position / INDEX_ENTRIES, from;

	--table->count;
	if (!table_is_chained(table, bucket) && table_chained_entry(table, home, &from)) {
		table_come_closer(table, home, from, position);
		position = from;
		bucket = from / INDEX_ENTRIES;
	}
	index_store(table_entry(table, position), 0);
	if (table_is_chained(table, bucket))
		chain_settle(table, home, bucket);
}
