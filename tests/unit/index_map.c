#include "tests/unit/index_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "proto/index_read.h"

static uint64_t scramble(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ULL;
	value = (value ^ value >> 27) * 0x94d049bb133111ebULL;
	return value ^ value >> 31;
}

static struct index_layout layout_of(uint32_t size)
{
	uint64_t groups = 1 + size % 8;

	return (struct index_layout){
		.buckets = groups * INDEX_GROUP,
		.overflow = size / 8 % 4 * groups * 5 / 3,
	};
}

static bool table_new(struct index_map *map, struct index_layout layout,
		      struct index_table *ret)
{
	struct index_config config = {
		.layout = layout,
		.generation = 1,
		.seed = map->seed,
		.epoch = 1,
	};
	_cleanup_(freep) void *file = NULL;
	_cleanup_(freep) uint32_t *numbers = NULL;

	if (map->index.now.head)
		config.generation = map->index.now.head->generation + 1;
	file = calloc(1, index_file_size(layout.buckets, layout.overflow));
	numbers = malloc(index_positions(layout) * sizeof(*numbers));
	if (!file || !numbers)
		return false;
	index_format(file, &config);
	*ret = index_table(TAKE_PTR(file), TAKE_PTR(numbers));
	return true;
}

static void table_free(struct index_table *table)
{
	free(table->head);
	free(table->numbers);
}

bool index_map_init(struct index_map *map, uint32_t size)
{
	struct index_records records = {map->records, sizeof(map->records[0])};
	struct index_layout layout = layout_of(size);
	struct index_table table;
	uint64_t hash = size;

	*map = (struct index_map){.seed = size};
	if (!table_new(map, layout, &table))
		return false;
	index_init(&map->index, table, records);
	for (uint32_t i = 0; i < MAP_KEYS; ++i) {
		do
			hash = scramble(hash + 1);
		while (i % 2 && index_mix(hash, map->seed, layout.buckets).tag > 1);
		map->keys[i] = (struct index_map_key){.hash = hash, .number = INDEX_NONE};
	}
	return true;
}

void index_map_deinit(struct index_map *map)
{
	table_free(&map->index.now);
	table_free(&map->index.next);
}

static struct index_map_key *key_of(struct index_map *map, uint32_t number)
{
	for (uint32_t i = 0; i < MAP_KEYS; ++i)
		if (map->keys[i].number == number)
			return &map->keys[i];
	return NULL;
}

static uint64_t place_new(struct index_map *map)
{
	/* 0 is a place like any other. */
	return map->places++ % ((uint64_t)1 << 40) << 4;
}

static uint32_t number_new(const struct index_map *map, uint32_t key)
{
	return map->keys[key].number == key ? MAP_KEYS + key : key;
}

static const char *number_remove(struct index_map *map, uint32_t number)
{
	struct index_map_key *key = key_of(map, number);
	struct index_at at;

	if (!key)
		return "it names an object that is not there";
	if (!index_find(&map->index, key->hash, &at))
		return "it does not find what it names";
	index_remove(&map->index, &at);
	key->number = INDEX_NONE;
	--map->count;
	return NULL;
}

static const char *insert(struct index_map *map, uint32_t i, uint32_t hint)
{
	struct index_map_key *key = &map->keys[i];
	uint32_t number = number_new(map, i);
	struct index_record *record = &map->records[number];
	struct index_at at;
	const char *wrong;

	*record = (struct index_record){key->hash, place_new(map)};
	if (key->number != INDEX_NONE) {
		struct index_entry entry;

		if (!index_find(&map->index, key->hash, &at))
			return "it has lost what is to be replaced";
		entry = index_entry_at(&at);
		index_replace(&map->index, &at, number, record->offset, hint);
		if (index_entry_at(&at).gen == entry.gen)
			return "what replaces an entry may be taken for it";
	} else {
		if (index_insert(&map->index, key->hash, number, record->offset, hint)) {
			++map->full;
			wrong = number_remove(map, index_rival(&map->index, key->hash));
			if (wrong)
				return wrong;
			if (index_insert(&map->index, key->hash, number, record->offset, hint))
				return "there is no room even without a rival";
		}
		++map->count;
	}
	key->number = number;
	key->hint = hint;
	return NULL;
}

static const char *noted(struct index_map *map, uint32_t i)
{
	const struct index_map_key *key = &map->keys[i];
	uint32_t slot, tag;
	uint64_t bucket;
	struct index_at at, found;

	if (key->number == INDEX_NONE)
		return NULL;
	if (!index_find(&map->index, key->hash, &at))
		return "it does not find what was noted";
	tag = index_entry_at(&at).tag;
	bucket = at.position / INDEX_ENTRIES;
	slot = (uint32_t)(at.position % INDEX_ENTRIES);
	if (index_noted(&map->index, bucket, INDEX_ENTRIES, tag, &found))
		return "it knows an entry of a slot that there is not";
	if (index_noted(&map->index, UINT32_MAX, slot, 0, &found))
		return "it knows an entry of a bucket that there is not";
	if (!index_noted(&map->index, bucket, slot, tag, &found))
		return "it does not know what was noted";
	/* While it moves, the other index may have an entry there, of the same tag. */
	if (found.table == at.table && (found.position != at.position ||
					found.home != at.home || found.number != at.number))
		return "it takes what was noted for another";
	return NULL;
}

static const char *begin(struct index_map *map, uint32_t size)
{
	struct index_layout layout = layout_of(size);
	struct index_table next;
	bool seed = size / 32 % 2;

	if (map->index.next.head)
		return NULL;
	if (size / 64 % 2 && !index_wants(&map->index, 0, &layout, &seed))
		return NULL;
	if (seed)
		map->seed = scramble(map->seed);
	if (!table_new(map, layout, &next))
		return "out of memory";
	index_next_begin(&map->index, next);
	return NULL;
}

static const char *move(struct index_map *map, uint32_t groups)
{
	const char *wrong = NULL;
	uint32_t number = INDEX_NONE;

	if (!map->index.next.head)
		return NULL;
	while (!wrong && index_next_step(&map->index, groups, &number)) {
		++map->full_moving;
		wrong = number_remove(map, number);
	}
	if (wrong || !index_next_done(&map->index))
		return wrong;
	struct index_table old = index_next_end(&map->index);

	table_free(&old);
	++map->ended;
	return NULL;
}

static void view_of(const struct index_table *table, struct index_view *ret)
{
	struct index_layout layout = table->layout;

	if (!index_view_open(ret, table->head,
			     index_file_size(layout.buckets, layout.overflow)))
		abort();
}

/* As a reader finds it: its number, or INDEX_NONE. */
static const char *lookup(const struct index_map *map, uint64_t hash, uint32_t *ret)
{
	struct index_view view;
	struct index_walk walk;
	_Atomic uint64_t hazard = 0;
	enum index_answer answer;
	uint32_t steps = 0;

	*ret = INDEX_NONE;
	view_of(&map->index.now, &view);
	for (;;) {
		index_walk_begin(&walk, &view, hash, &hazard, 7);
		while ((answer = index_walk_next(&walk, false)) == INDEX_OFFERED) {
			if (hazard != ((uint64_t)7 << 44 | walk.offset))
				return "a reader is offered what it has not pinned";
			for (uint32_t i = 0; i < MAP_KEYS; ++i) {
				uint32_t number = map->keys[i].number;

				if (number != INDEX_NONE && map->keys[i].hash == hash &&
				    map->records[number].offset == walk.offset)
					*ret = number;
			}
			if (*ret != INDEX_NONE)
				return NULL;
			if (++steps > MAP_KEYS)
				return "a reader is offered more than there is";
		}
		if (hazard)
			return "a reader keeps a pin on what it has not found";
		if (answer == INDEX_MISS)
			return NULL;
		if (!map->index.next.head || view.head == map->index.next.head)
			return "a reader is sent elsewhere, and there is nothing";
		view_of(&map->index.next, &view);
	}
}

static const char *compare(struct index_map *map)
{
	uint64_t count;
	const char *wrong = index_check(&map->index, &count);
	uint32_t number;

	if (wrong)
		return wrong;
	if (count != map->count || index_count(&map->index) != count)
		return "it holds other objects than there are";
	for (uint32_t i = 0; i < MAP_KEYS; ++i) {
		const struct index_map_key *key = &map->keys[i];
		bool there = key->number != INDEX_NONE;
		struct index_at at;

		if (index_find(&map->index, key->hash, &at) != there)
			return there ? "it has lost one" : "it finds one that has gone";
		wrong = lookup(map, key->hash, &number);
		if (wrong)
			return wrong;
		if (number != key->number)
			return there ? "readers miss one" : "readers find one that has gone";
		if (!there)
			continue;
		if (at.number != key->number)
			return "it takes one for another";
		if (index_entry_at(&at).offset != map->records[at.number].offset ||
		    index_entry_at(&at).hint != key->hint)
			return "an entry says something else";
	}
	return NULL;
}

const char *index_map_step(struct index_map *map, struct index_step step)
{
	uint32_t i = step.key % MAP_KEYS;
	struct index_map_key *key = &map->keys[i];
	const char *wrong = NULL;
	struct index_at at;

	switch (step.kind) {
	case INDEX_STEP_INSERT:
		wrong = insert(map, i, step.size & 15);
		break;
	case INDEX_STEP_REMOVE:
		if (key->number != INDEX_NONE)
			wrong = number_remove(map, key->number);
		break;
	case INDEX_STEP_PLACE:
		if (key->number == INDEX_NONE)
			break;
		if (!index_find(&map->index, key->hash, &at))
			return "it does not find what is to be moved";
		map->records[key->number].offset = place_new(map);
		index_replace(&map->index, &at, key->number, map->records[key->number].offset,
			      key->hint);
		break;
	case INDEX_STEP_HINT:
		if (key->number == INDEX_NONE)
			break;
		if (!index_find(&map->index, key->hash, &at))
			return "it does not find what has a hint";
		key->hint = step.size & 15;
		index_hint(&map->index, &at, key->hint);
		break;
	case INDEX_STEP_NOTED:
		wrong = noted(map, i);
		break;
	case INDEX_STEP_BEGIN:
		wrong = begin(map, step.size);
		break;
	case INDEX_STEP_MOVE:
		wrong = move(map, step.size % 4);
		break;
	case INDEX_STEPS:
		break;
	}
	return wrong ? wrong : compare(map);
}
