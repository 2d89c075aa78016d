#include "daemon/core/cache/index.h"

#include <assert.h>

#include "base/base.h"
#include "daemon/core/cache/index_lead.h"
#include "daemon/core/cache/index_table.h"

void index_init(struct index *index, struct index_table table, struct index_records records)
{
	*index = (struct index){.now = table, .records = records};
}

/* Of a bucket, which is one line, the numbers, which may be in two. */
static void bucket_fetch(const struct index_table *table, uint64_t bucket)
{
	__builtin_prefetch(&table->buckets[bucket], 1);
	__builtin_prefetch(&table->numbers[table_position(bucket, 0)], 1);
	__builtin_prefetch(&table->numbers[table_position(bucket, INDEX_ENTRIES - 1)], 1);
}

void index_fetch(const struct index *index, uint64_t hash)
{
	struct index_mix mix;
	const struct index_table *table = index_lead(index, hash, &mix);

	bucket_fetch(table, mix.bucket);
}

uint32_t index_guess(const struct index *index, uint64_t hash)
{
	struct index_mix mix;
	const struct index_table *table = index_lead(index, hash, &mix);
	uint32_t unused,
		slots = table_slots_with(&table->buckets[mix.bucket], mix.tag, &unused);
	uint64_t link = table_link(table, mix.bucket);

	if (link)
		bucket_fetch(table, link);
	else if (!unused)
		for (uint32_t i = 0; i < INDEX_GROUP; ++i)
			__builtin_prefetch(&table->buckets[table_group(mix.bucket) + i]);
	if (!slots)
		return INDEX_NONE;
	return table_number(table, table_position(mix.bucket, table_slot_first(slots)));
}

bool index_find(struct index *index, uint64_t hash, struct index_at *ret)
{
	struct index_mix mix;
	struct index_table *table = index_lead_to(index, hash, &mix);

	return table_find(&index->records, table, mix, hash, ret);
}

uint64_t index_count(const struct index *index)
{
	return index->now.count + index->next.count;
}

bool index_has_room(struct index *index, uint64_t hash)
{
	struct index_mix mix;
	struct index_table *table = index_lead_to(index, hash, &mix);

	return table_has_room(table, mix.bucket);
}

int index_insert(struct index *index, uint64_t hash, uint32_t number, uint64_t offset,
		 uint32_t hint)
{
	struct index_mix mix;
	struct index_table *table = index_lead_to(index, hash, &mix);

	return table_insert(table, mix, number, offset, hint);
}

uint32_t index_rival(const struct index *index, uint64_t hash)
{
	struct index_mix mix;
	const struct index_table *table = index_lead(index, hash, &mix);

	assert(!table_slots_without(&table->buckets[mix.bucket]));
	return table_number(table, table_position(mix.bucket, table->gen % INDEX_ENTRIES));
}

void index_replace(struct index *index, const struct index_at *at, uint32_t number,
		   uint64_t offset, uint32_t hint)
{
	struct index_entry entry = index_entry_at(at);

	entry.offset = offset;
	entry.hint = hint;
	entry.gen = table_gen_next(entry.gen);
	table_entry_put(at->table, at->home, at->position, number, entry);
}

void index_remove(struct index *index, const struct index_at *at)
{
	table_remove(at->table, at->home, at->position);
}

struct index_entry index_entry_at(const struct index_at *at)
{
	return index_entry_unpack(table_word(table_entry(at->table, at->position)));
}

void index_hint(struct index *index, const struct index_at *at, uint32_t hint)
{
	struct index_entry entry = index_entry_at(at);

	entry.hint = hint;
	index_store(table_entry(at->table, at->position), index_entry_pack(entry));
}

static uint64_t table_buckets(const struct index_table *table)
{
	return table->layout.buckets + table->layout.overflow;
}

static uint64_t home_of(const struct index *index, const struct index_table *table,
			uint64_t position)
{
	uint64_t bucket = position / INDEX_ENTRIES;

	if (!table_is_chained(table, bucket))
		return bucket;
	return table_mix(table, table_hash(&index->records, table_number(table, position)))
		.bucket;
}

bool index_noted(struct index *index, uint64_t bucket, uint32_t slot, uint32_t tag,
		 struct index_at *ret)
{
	struct index_table *tables[] = {&index->now, &index->next};

	if (slot >= INDEX_ENTRIES)
		return false;
	for (uint32_t i = 0; i < ARRAY_SIZE(tables); ++i) {
		struct index_table *table = tables[i];
		uint64_t position = table_position(bucket, slot), entry;

		if (bucket >= table_buckets(table))
			continue;
		entry = table_word(table_entry(table, position));
		if (!entry || index_entry_unpack(entry).tag != tag)
			continue;
		*ret = (struct index_at){table, home_of(index, table, position), position,
					 table_number(table, position)};
		return true;
	}
	return false;
}

void index_noted_fetch(const struct index *index, uint64_t bucket, uint32_t slot)
{
	uint64_t position = table_position(bucket, slot);

	if (slot >= INDEX_ENTRIES || bucket >= table_buckets(&index->now))
		return;
	__builtin_prefetch(table_entry(&index->now, position));
	__builtin_prefetch(&index->now.numbers[position]);
}

uint32_t index_noted_guess(const struct index *index, uint64_t bucket, uint32_t slot)
{
	uint64_t position = table_position(bucket, slot);

	if (slot >= INDEX_ENTRIES || bucket >= table_buckets(&index->now) ||
	    !table_word(table_entry(&index->now, position)))
		return INDEX_NONE;
	return table_number(&index->now, position);
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
	return index_mix(table_hash(&index->records, number), seed, (uint64_t)1 << 63).bucket;
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
		uint64_t position = table_position(bucket, slot);
		uint32_t number = table_number(table, position);

		if (table_word(table_entry(table, position)) &&
		    table_sibling(table, position) == home % INDEX_GROUP &&
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
	for (uint64_t bucket = home;; bucket = table_link(table, bucket)) {
		bucket_list(index, table, bucket, home, from, ret, &n);
		if (!table_link(table, bucket))
			break;
	}
	*ret_n = n;
	place->mixed = u64_min(mixed_at(table, home + 1), end);
	return place->mixed < (uint64_t)1 << 63;
}
