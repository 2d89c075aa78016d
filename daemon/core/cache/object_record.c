#include "daemon/core/cache/object_record.h"

#include <stddef.h>

#include "base/base.h"

#define OBJECTS_MAGIC 0x314a424f52425256ULL /* "VRBROBJ1" */

struct object_records {
	uint64_t magic;
	uint64_t reserved[7];
};

static_assert(sizeof(struct object_records) == OBJECT_RECORDS_HEAD, "records follow the head");

uint32_t object_records_slots(uint64_t size)
{
	uint64_t slots;

	if (size < OBJECT_RECORDS_HEAD)
		return 0;
	slots = (size - OBJECT_RECORDS_HEAD) / sizeof(struct object_record);
	return (uint32_t)u64_min(slots, UINT32_MAX - 1);
}

struct object_records *object_records_init(void *memory)
{
	struct object_records *records = memory;

	records->magic = OBJECTS_MAGIC;
	return records;
}

struct object_records *object_records_open(void *memory, uint64_t size)
{
	struct object_records *records = memory;

	if (size < OBJECT_RECORDS_HEAD || records->magic != OBJECTS_MAGIC)
		return NULL;
	return records;
}

static void trace(const struct object_records *records)
{
#ifdef RECORD_TRACE
	object_record_trace(records);
#else
	(void)records;
#endif
}

static struct object_record *record_at(struct object_records *records, uint32_t number)
{
	return (struct object_record *)(void *)((char *)records + OBJECT_RECORDS_HEAD) + number;
}

/* Every store into the file: behind all that precede it. */
static void store(struct object_records *records, uint64_t *word, uint64_t value)
{
	trace(records);
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	trace(records);
}

void object_record_put(struct object_records *records, uint32_t number, uint64_t hash,
		       struct object_place place, struct object_word word)
{
	struct object_record *record = record_at(records, number);

	if (mutant(object_valid_first))
		store(records, &record->word, object_word_pack(word));
	store(records, &record->hash, hash);
	store(records, &record->place, object_place_pack(place));
	store(records, &record->word, object_word_pack(word));
}

void object_record_move(struct object_records *records, uint32_t number,
			struct object_place place)
{
	store(records, &record_at(records, number)->place, object_place_pack(place));
}

void object_record_word(struct object_records *records, uint32_t number,
			struct object_word word)
{
	store(records, &record_at(records, number)->word, object_word_pack(word));
}

void object_record_clear(struct object_records *records, uint32_t number)
{
	store(records, &record_at(records, number)->word, 0);
}
