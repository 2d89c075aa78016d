/*
 * Object - one value in a cache, as it stands in window memory: header, key, value.
 *
 *   field      written                                      read
 *   expiry     by its writer before it is published; then    by each reader, before it uses the
 *              by the daemon, on request                     value: one atomic word
 *   sizes      } by its writer, before it is published       after the hazard word stands, once,
 *   birth      } (by the daemon, where it moves the object)  and checked against the window
 *   key        } to `size`                                   compared with the key looked for
 *   value      }                                             by the program
 *
 * Objects begin at multiples of 16 bytes, and end with their last byte; from there to the next
 * multiple of 16 nothing is said. None is at offset 0 of a space. The value begins behind the key at a multiple of 8, or, from
 * OBJECT_ALIGNED bytes on, of 64.
 *
 * Nothing of a published object changes but `expiry`. Any writer of the space can spoil it all the
 * same: what is read is good for as much as the space's members are, and the daemon believes none
 * of it: hash, place and size of an object are in records of its own.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
	OBJECT_SHIFT = 4, /* where objects begin */
	OBJECT_KEY_MAX = 4096,
	OBJECT_ALIGNED = 1024,  /* values from here on begin on a cache line */
	OBJECT_OWN = 256 << 10, /* larger objects have an extent of their own */
};

struct object_header {
	_Atomic uint64_t expiry; /* ms of the machine's time (index_head.clock); 0: never */
	uint64_t sizes;          /* value:40  key:13  flags:8  0:3 */
	uint64_t birth;          /* ms of the machine's time:40  generation:24 */
};

static_assert(sizeof(struct object_header) == 24,
	      "at most 24 bytes about an object in its memory");

struct object_sizes {
	uint64_t value;
	uint32_t key, flags; /* flags: the program's */
};

enum { OBJECT_FLAGS_SHIFT = 53 };

static inline uint64_t object_sizes_pack(struct object_sizes sizes)
{
	return sizes.value | (uint64_t)sizes.key << 40 |
	       (uint64_t)sizes.flags << OBJECT_FLAGS_SHIFT;
}

static inline struct object_sizes object_sizes_unpack(uint64_t word)
{
	return (struct object_sizes){
		.value = word & (((uint64_t)1 << 40) - 1),
		.key = (uint32_t)(word >> 40) & 0x1fff,
		.flags = (uint32_t)(word >> OBJECT_FLAGS_SHIFT) & 0xff,
	};
}

struct object_birth {
	uint64_t ms;
	uint32_t
		generation; /* drawn by its writer, never 0: tells the value from others of its key */
};

static inline uint64_t object_birth_pack(struct object_birth birth)
{
	return (birth.ms & (((uint64_t)1 << 40) - 1)) | (uint64_t)birth.generation << 40;
}

static inline struct object_birth object_birth_unpack(uint64_t word)
{
	return (struct object_birth){
		.ms = word & (((uint64_t)1 << 40) - 1),
		.generation = (uint32_t)(word >> 40),
	};
}

/* From the object's first byte to its value's. */
static inline uint64_t object_value_at(uint64_t offset, struct object_sizes sizes)
{
	uint64_t behind_key = sizeof(struct object_header) + sizes.key;

	if (__builtin_expect(sizes.value < OBJECT_ALIGNED,
			     1)) /* objects begin at multiples, too */
		return (behind_key + 7) & ~(uint64_t)7;
	return ((offset + behind_key + 63) & ~(uint64_t)63) - offset;
}

/* All of it. */
static inline uint64_t object_size(uint64_t offset, struct object_sizes sizes)
{
	return object_value_at(offset, sizes) + sizes.value;
}
