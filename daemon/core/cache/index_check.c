/* The walker: whether all of an index is as it should be. */
#include "daemon/core/cache/index_table.h"

/* The entries of one bucket; group: who may have entries there. */
static const char *bucket_check(const struct index *index, const struct index_table *table,
				uint64_t bucket, uint64_t group, uint64_t *count)
{
	bool found = false;

	for (uint32_t slot = 0; slot < INDEX_ENTRIES; ++slot) {
		uint64_t position = table_position(bucket, slot), hash;
		uint64_t word = table_word(table_entry(table, position));
		struct index_entry entry = index_entry_unpack(word);
		struct index_mix mix;
		struct index_at at;

		if (!word)
			continue;
		hash = table_hash(&index->records, table_number(table, position));
		mix = table_mix(table, hash);
		if (mix.tag != entry.tag || !entry.gen)
			return "IN1: an entry is not what its object's hash says";
		if (table_is_chained(table, bucket) ? table_group(mix.bucket) != group
						    : mix.bucket != bucket)
			return "IN1: an entry is not where its object's hash leads";
		if (table_sibling(table, position) != mix.bucket % INDEX_GROUP)
			return "an entry is known as another bucket's";
		if (!table_find(&index->records, (struct index_table *)table, mix, hash, &at) ||
		    at.position != position)
			return "IN3: an entry is not reached, or there are two";
		++*count;
		found = true;
	}
	return found || !table_is_chained(table, bucket)
		       ? NULL
		       : "an empty overflow bucket is chained";
}

static const char *group_check(const struct index *index, const struct index_table *table,
			       uint64_t group, uint64_t *count, uint64_t *chained)
{
	uint64_t chain = table_chain(table, group), length = 0, position;
	const char *wrong = NULL;

	for (uint64_t i = group; i < group + INDEX_GROUP && !wrong; ++i) {
		uint64_t link = table_link(table, i);

		if (link && link != chain)
			return "the buckets of a group link to different chains";
		wrong = bucket_check(index, table, i, group, count);
	}
	for (uint64_t i = chain; i && !wrong; i = table_link(table, i)) {
		if (i >= table->layout.buckets + table->fresh || ++length > INDEX_CHAIN_MAX)
			return "a chain leads elsewhere, or is too long";
		wrong = bucket_check(index, table, i, group, count);
	}
	for (uint64_t i = group; i < group + INDEX_GROUP && !wrong; ++i) {
		bool has = table_chained_entry(table, i, &position);

		if (table_link(table, i) && !has)
			wrong = "a bucket links to a chain where it has nothing";
		else if (has && table_slots_without(&table->buckets[i]))
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
		if (!(table_word(&table->buckets[i].control) >> 63))
			return "a control word is 0";
		for (uint32_t slot = 0; i < from && slot < INDEX_ENTRIES; ++slot)
			if (table_word(&table->buckets[i].entries[slot]))
				return "a bucket that has moved on has entries";
	}
	for (uint64_t i = from; i < table->layout.buckets && !wrong; i += INDEX_GROUP)
		wrong = group_check(index, table, i, &count, &chained);
	if (wrong)
		return wrong;
	for (uint64_t i = table->free; i; i = table->numbers[table_position(i, 0)]) {
		if (!table_is_chained(table, i) || i >= table->layout.buckets + table->fresh ||
		    ++free > table->fresh)
			return "free overflow buckets lead elsewhere";
		if (!table_empty_at(table, i))
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
	struct index_state state = index_state_unpack(table_word(&index->now.head->state));
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
