/*
 * Object record - what must not be forgotten of one object in a cache.
 *
 * OR1  A cache's objects file holds a head, and then records of 24 bytes. An object's number is
 *      that of its record; its policy, the wheel and the index's private half know it by that.
 * OR2  A record is valid, changed or gone by one aligned 8-byte store; one whose word is 0 is free,
 *      whatever its hash and place say.
 * OR3  Program order counts: a process that dies loses no store it made. Only object_record.c
 *      stores into the file.
 *
 *   field  bits                                            changes by one store
 *   hash   of the key                                      -
 *   place  offset >> 4:40  size:24                         when the object is moved
 *   word   version:16  stamp:16  generation:24  expires:1  touched, accessed; 0: gone
 *          0:6  1:1
 *
 * size: grains of 16 bytes, mantissa:20 shift:4, rounded up: exact up to 16 MiB, above it to less
 * than a slice. version: one more with each touch, and than what the record replaces; of two records
 * of one hash the later one counts. stamp: when it was accessed, coarsely. generation: as the
 * object's header says. expires: its header has an expiry, which is not known here.
 *
 * What a change stores, in this order (index: the store of the object's entry there), and what a
 * death in between leaves:
 *
 *   published   hash, place, word; index                  without index: it is repaired
 *   replaced    hash, place, word; index; old word = 0    both are valid: the later one counts
 *   gone        word = 0; index                           the entry is removed
 *   moved       place; index                              the entry is repaired
 *   touched     word; then the expiry in the header       nobody was told
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

enum { OBJECT_GRAIN_SHIFT = 4, OBJECT_RECORDS_HEAD = 64 };

#define OBJECT_GENERATION_MAX (((uint32_t)1 << 24) - 1)

struct object_record {
	uint64_t hash;
	uint64_t place;
	uint64_t word;
};

static_assert(sizeof(struct object_record) == 24, "what an object costs in the ledger");

struct object_place {
	uint64_t offset; /* a multiple of 16 */
	uint64_t size;   /* rounded up to what can be told */
};

struct object_word {
	uint32_t version, stamp, generation;
	bool expires;
};

/* 0: it cannot be told, for it is 0 or at least 2^39. */
static inline uint32_t object_size_code(uint64_t size)
{
	uint64_t grains = (size + 15) >> OBJECT_GRAIN_SHIFT;
	uint32_t shift = 0;

	while (grains >> 20) {
		grains = (grains + 1) >> 1;
		if (++shift == 16)
			return 0;
	}
	return (uint32_t)grains | shift << 20;
}

static inline uint64_t object_size_told(uint32_t code)
{
	return (uint64_t)(code & 0xfffff) << (code >> 20) << OBJECT_GRAIN_SHIFT;
}

/* Its size as the ledger tells it: what is counted. */
static inline uint64_t object_size_rounded(uint64_t size)
{
	return object_size_told(object_size_code(size));
}

static inline uint64_t object_place_pack(struct object_place place)
{
	return place.offset >> 4 | (uint64_t)object_size_code(place.size) << 40;
}

static inline struct object_place object_place_unpack(uint64_t place)
{
	return (struct object_place){
		.offset = (place & (((uint64_t)1 << 40) - 1)) << 4,
		.size = object_size_told((uint32_t)(place >> 40)),
	};
}

#define OBJECT_VALID ((uint64_t)1 << 63)

static inline uint64_t object_word_pack(struct object_word word)
{
	return (uint64_t)word.version | (uint64_t)word.stamp << 16 |
	       (uint64_t)word.generation << 32 | (uint64_t)word.expires << 56 | OBJECT_VALID;
}

static inline struct object_word object_word_unpack(uint64_t word)
{
	return (struct object_word){
		.version = (uint32_t)word & 0xffff,
		.stamp = (uint32_t)(word >> 16) & 0xffff,
		.generation = (uint32_t)(word >> 32) & OBJECT_GENERATION_MAX,
		.expires = word >> 56 & 1,
	};
}

/* Versions go round: is `version` later than `than`? */
static inline bool object_version_later(uint32_t version, uint32_t than)
{
	return (int16_t)(uint16_t)(version - than) > 0;
}

struct object_records;

/* Bytes of a file with this many records. */
static inline uint64_t object_records_size(uint32_t slots)
{
	return OBJECT_RECORDS_HEAD + (uint64_t)slots * sizeof(struct object_record);
}

/* How many records a file of `size` bytes has room for. */
uint32_t object_records_slots(uint64_t size);
/* Makes zeroed memory, 64-byte aligned, an empty file. */
struct object_records *object_records_init(void *memory);
/* What an earlier process left there, or a former mapping of the same file; NULL: no such file. */
struct object_records *object_records_open(void *memory, uint64_t size);

/* They begin here. A slot that was never used is zeroed. */
static inline const struct object_record *
object_records_at(const struct object_records *records)
{
	return (const struct object_record *)(const void *)((const char *)records +
							    OBJECT_RECORDS_HEAD);
}

/* ---- stores ---- */

/* All words, the one that makes it valid last. */
void object_record_put(struct object_records *records, uint32_t number, uint64_t hash,
		       struct object_place place, struct object_word word);
/* One store each. */
void object_record_move(struct object_records *records, uint32_t number,
			struct object_place place);
void object_record_word(struct object_records *records, uint32_t number,
			struct object_word word);
void object_record_clear(struct object_records *records, uint32_t number);

#ifdef RECORD_TRACE
/* In the build that tests crashes: called before and after each store. */
void object_record_trace(const struct object_records *records);
#endif
