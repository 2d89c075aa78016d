/* Moving on to the next index: whether, to which, and group by group. */
#include "daemon/core/cache/index_table.h"

enum {
	/* Before it is full, it wants another when there is room for so many; in a small one, half. */
	EARLY = 1 << 15,
	/* Of a smaller one the next may be four times as large, else a little more than twice. */
	ROOM_FEW = 1 << 16,
	/* It is full when so few of its overflow buckets are left: one in so many. */
	SPARE = 16,
	/* Records are asked for so many groups before they are read. */
	AHEAD = 2,
};

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
	uint64_t room = table_room(table);
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
	index_epoch_set(index, table_word(&index->now.head->epoch));
	index_clock_set(index, table_word(&index->now.head->clock));
	index_ttl_set(index, table_word(&index->now.head->ttl));
	state_set(index);
}

static bool next_find(struct index *index, uint64_t hash, struct index_at *ret)
{
	return table_find(&index->records, &index->next, table_mix(&index->next, hash), hash,
			  ret);
}

/* Copies of what is in positions [0, n) of the buckets; not all have to be there. */
static void copies_remove(struct index *index, const uint64_t *buckets, uint32_t n)
{
	for (uint32_t i = 0; i < n; ++i) {
		uint64_t position =
			table_position(buckets[i / INDEX_ENTRIES], i % INDEX_ENTRIES);
		uint32_t number = table_number(&index->now, position);
		struct index_at at;

		if (table_word(table_entry(&index->now, position)) &&
		    next_find(index, table_hash(&index->records, number), &at))
			index_remove(index, &at);
	}
}

/* What the records of the group's entries will be asked for. */
static void group_fetch(const struct index *index, uint64_t group)
{
	const struct index_table *table = &index->now;

	if (group >= table->layout.buckets)
		return;
	for (uint64_t i = table_position(group, 0); i < table_position(group + INDEX_GROUP, 0);
	     ++i)
		if (table_word(table_entry(table, i)))
			__builtin_prefetch((const char *)index->records.first +
					   table_number(table, i) * index->records.stride);
}

static int group_move(struct index *index, uint64_t group, uint32_t *ret_number)
{
	uint64_t buckets[TABLE_GROUP_MAX];
	struct index_table *now = &index->now;
	uint32_t n = table_group_list(now, group, buckets) * INDEX_ENTRIES;

	if (mutant(index_moved_early)) {
		index->moved = group + INDEX_GROUP;
		state_set(index);
	}
	for (uint32_t i = 0; i < n; ++i) {
		uint64_t position =
			table_position(buckets[i / INDEX_ENTRIES], i % INDEX_ENTRIES);
		uint64_t word = table_word(table_entry(now, position));
		struct index_entry entry = index_entry_unpack(word);
		uint32_t number = table_number(now, position);

		if (!word)
			continue;
		if (table_insert(&index->next,
				 table_mix(&index->next, table_hash(&index->records, number)),
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
		uint64_t position =
			table_position(buckets[i / INDEX_ENTRIES], i % INDEX_ENTRIES);

		if (!table_word(table_entry(now, position)) || mutant(index_moved_stays))
			continue;
		index_store(table_entry(now, position), 0);
		--now->count;
	}
	if (mutant(index_moved_late))
		state_set(index);
	for (uint32_t i = INDEX_GROUP; i < n / INDEX_ENTRIES; ++i)
		table_overflow_free(now, buckets[i]);
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
