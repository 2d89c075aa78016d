/* Recovery: what a daemon that died has left is made whole, and compared with what there is. */
#include "daemon/core/cache/index_lead.h"
#include "daemon/core/cache/index_table.h"

/* No number of an object: of an overflow bucket that is in a chain, during recovery. */
#define REACHED (INDEX_NONE - 1)

/* Holes, or what is spoiled, are none that a daemon has stored. */
static bool has_control(const struct index_table *table, uint64_t bucket)
{
	uint64_t word = table_word(&table->buckets[bucket].control);

	return index_control_pack(index_control_unpack(word)) == word;
}

/* Overflow buckets that a chain leads to, until it leads elsewhere. */
static uint32_t chain_length(const struct index_table *table, uint64_t bucket)
{
	uint32_t length = 0;

	for (uint64_t i = table_link(table, bucket); i; i = table_link(table, i)) {
		if (i >= table->layout.buckets + table->layout.overflow ||
		    !has_control(table, i))
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
		uint32_t n = has_control(table, i) ? chain_length(table, i) : UINT32_MAX;

		if (n == UINT32_MAX)
			return false;
		if (n > length) {
			length = n;
			longest = i;
		}
	}
	for (uint64_t i = group; i < group + INDEX_GROUP; ++i)
		if (table_link(table, i))
			table_link_set(table, i, table_link(table, longest),
				       !mutant(index_recover_version));
	for (uint64_t i = table_link(table, longest); i; i = table_link(table, i)) {
		uint32_t *mark = &table->numbers[table_position(i, 0)];

		if (*mark == REACHED)
			return false;
		*mark = REACHED;
		++table->chained;
	}
	return true;
}

/* What leads nowhere has no entries; where it was a hole, it is a bucket again. */
static void bucket_clear(struct index_table *table, uint64_t bucket)
{
	if (!has_control(table, bucket))
		index_store(&table->buckets[bucket].control,
			    index_control_pack((struct index_control){0}));
	for (uint32_t slot = 0; slot < INDEX_ENTRIES; ++slot)
		if (table_word(&table->buckets[bucket].entries[slot]))
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
		uint32_t *mark = &table->numbers[table_position(bucket, 0)];

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
	struct index_state state = index_state_unpack(table_word(&now.head->state));

	*index = (struct index){.now = now, .records = records};
	if (state.next != !!next.head || state.moved > now.layout.buckets ||
	    state.moved % INDEX_GROUP)
		return false;
	index->next = next;
	index->moved = state.moved;
	return table_recover(&index->now, index->moved) &&
	       (!next.head || table_recover(&index->next, 0));
}

void index_keep_fetch(const struct index *index, uint64_t hash)
{
	struct index_mix mix;
	const struct index_table *table = index_lead(index, hash, &mix);

	__builtin_prefetch(&table->buckets[mix.bucket]);
	__builtin_prefetch(&table->numbers[table_position(mix.bucket, 0)], 1);
}

bool index_keep(struct index *index, uint64_t hash, uint32_t number, uint64_t offset)
{
	struct index_mix mix;
	struct index_table *table = index_lead_to(index, hash, &mix);
	uint64_t bucket = mix.bucket;

	do {
		uint32_t unused,
			slots = table_slots_with(&table->buckets[bucket], mix.tag, &unused);

		for (; slots; slots &= slots - 1) {
			uint64_t position = table_position(bucket, table_slot_first(slots));
			uint64_t word = table_word(table_entry(table, position));

			if (index_entry_unpack(word).offset != offset)
				continue;
			if (table->numbers[position] != INDEX_NONE)
				return false;
			table->numbers[position] = table_number_beside(mix.bucket, number);
			++table->count;
			return true;
		}
		bucket = table_link(table, bucket);
	} while (bucket);
	return false;
}

static bool has_unkept(const struct index_table *table, const uint64_t *buckets, uint32_t n)
{
	for (uint32_t i = 0; i < n; ++i) {
		uint64_t position =
			table_position(buckets[i / INDEX_ENTRIES], i % INDEX_ENTRIES);

		if (table_word(table_entry(table, position)) &&
		    table->numbers[position] == INDEX_NONE)
			return true;
	}
	return false;
}

static void group_prune(struct index_table *table, uint64_t group)
{
	uint64_t buckets[TABLE_GROUP_MAX], from;
	uint32_t n = table_group_list(table, group, buckets) * INDEX_ENTRIES;

	/* What goes may have come closer. */
	if (has_unkept(table, buckets, n) && !mutant(index_prune_version))
		for (uint64_t i = group; i < group + INDEX_GROUP; ++i)
			table_link_set(table, i, table_link(table, i), true);
	for (uint32_t i = 0; i < n; ++i) {
		uint64_t position =
			table_position(buckets[i / INDEX_ENTRIES], i % INDEX_ENTRIES);

		if (table_word(table_entry(table, position)) &&
		    table->numbers[position] == INDEX_NONE)
			index_store(table_entry(table, position), 0);
	}
	for (uint32_t i = 0; i < INDEX_GROUP * INDEX_ENTRIES; ++i) {
		uint64_t home = group + i / INDEX_ENTRIES;
		uint64_t position = table_position(home, i % INDEX_ENTRIES);

		if (table_word(table_entry(table, position)) ||
		    !table_chained_entry(table, home, &from))
			continue;
		table_come_closer(table, home, from, position);
		index_store(table_entry(table, from), 0);
	}
	for (uint32_t i = INDEX_GROUP; i < n / INDEX_ENTRIES; ++i)
		if (table_empty_at(table, buckets[i]))
			table_unchain(table, group, buckets[i]);
	for (uint64_t i = group; i < group + INDEX_GROUP; ++i)
		if (table_link(table, i) && !table_chained_entry(table, i, &from))
			table_link_set(table, i, 0, true);
}

void index_prune(struct index *index)
{
	for (uint64_t i = index->moved; i < index->now.layout.buckets; i += INDEX_GROUP)
		group_prune(&index->now, i);
	for (uint64_t i = 0; index->next.head && i < index->next.layout.buckets;
	     i += INDEX_GROUP)
		group_prune(&index->next, i);
}
