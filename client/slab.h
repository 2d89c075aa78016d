/*
 * Slabs - where the objects of a pool lie, and what is noted of each.
 *
 * B1  An object has a slot, which is this process's own memory, never the object's: nothing lies
 *     in an object but what the program puts there. Slots stay where they are until the end.
 * B2  An id is a slab:6 and a place in it:24; ID_NONE is none.
 * B3  Slots that belong to nobody are on `hollow`, or have never been used (slab->used).
 * B4  A slab whose objects are all gone may give its memory back, and leases it again when one of
 *     its slots is taken. Its number and its slots stay.
 * B5  Who calls has the pool's lock, but for what is inline here.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"
#include "client/source.h"

enum {
	SLABS_MAX = 64,
	SLAB_SLOT_BITS = 24,
	SLAB_SLOTS_MAX = (1 << SLAB_SLOT_BITS) - 1, /* the last id of all is ID_NONE */
	ID_BITS = 30,
};

#define ID_NONE (((uint32_t)1 << ID_BITS) - 1)

static_assert(SLABS_MAX == 1 << (ID_BITS - SLAB_SLOT_BITS), "the bits of an id");

struct slot {
	_Atomic uint32_t state; /* enum slot_state of pool.h */
	_Atomic uint32_t below; /* the next id on its stack */
	_Atomic uint64_t gets;  /* by whoever owns the object */
	_Atomic uint64_t since; /* when it was put back, ms */
};

/* Objects that lie one behind the other. */
struct slab {
	_Atomic uintptr_t base; /* 0: it has no memory now */
	uint64_t bytes;         /* n times the stride */
	struct slot *slots;
	uint32_t n;
	uint32_t used;    /* slots that have ever been */
	uint32_t objects; /* constructed */
	void *memory;     /* as the source gave it */
};

struct slabs {
	uint64_t stride;     /* from one object to the next */
	uint64_t reciprocal; /* 2^64 / stride, and one */
	uint64_t align;
	_Atomic uint32_t n;
	uint32_t hollow; /* an id */
	uint64_t slots;  /* of all */
	uint64_t max;    /* objects that there are to be */
	uint64_t held;   /* bytes */
	struct source source;
	struct slab slabs[SLABS_MAX];
};

void slabs_init(struct slabs *slabs, const struct source *source, uint64_t size, uint64_t align,
		uint64_t max);
/* All memory goes, or, if not, what is noted of it alone. */
void slabs_deinit(struct slabs *slabs, bool memory);

/* An id with memory, where `want` more are likely to be asked for, or an error of the source. */
int slabs_take(struct slabs *slabs, uint64_t want, uint32_t *ret);
void slabs_return(struct slabs *slabs, uint32_t id);

/* Give its memory back, which holds no object. */
void slab_give(struct slabs *slabs, struct slab *slab);

static inline uint32_t id_of(uint32_t slab, uint32_t at)
{
	return slab << SLAB_SLOT_BITS | at;
}

static inline uint32_t id_slab(uint32_t id)
{
	return id >> SLAB_SLOT_BITS;
}

static inline uint32_t id_at(uint32_t id)
{
	return id & (((uint32_t)1 << SLAB_SLOT_BITS) - 1);
}

static inline struct slab *slab_of(struct slabs *slabs, uint32_t id)
{
	return &slabs->slabs[id_slab(id)];
}

static inline struct slot *slot_of(struct slabs *slabs, uint32_t id)
{
	return &slab_of(slabs, id)->slots[id_at(id)];
}

static inline void *object_of(struct slabs *slabs, uint32_t id)
{
	uintptr_t base = atomic_load_explicit(&slab_of(slabs, id)->base, memory_order_relaxed);

	return (void *)(base + id_at(id) * slabs->stride);
}

/*
 * The id of what starts at that address, or ID_NONE; then *ret_inside is whether the address is
 * one of a slab. By any thread, without the lock: whoever has an object has it from someone who
 * saw its slab.
 */
static inline uint32_t slabs_find(const struct slabs *slabs, const void *object,
				  bool *ret_inside)
{
	uint32_t n = atomic_load_explicit(&slabs->n, memory_order_acquire);
	uint64_t offset, at;
	uintptr_t base;

	/* The newest first: it is the largest. */
	while (n--) {
		base = atomic_load_explicit(&slabs->slabs[n].base, memory_order_relaxed);
		offset = (uintptr_t)object - base;
		if (!base || offset >= slabs->slabs[n].bytes)
			continue;
		/* Of large offsets the product may be one off; of no others. */
		at = (uint64_t)((unsigned __int128)offset * slabs->reciprocal >> 64);
		if (at * slabs->stride != offset)
			at = offset / slabs->stride;
		*ret_inside = true;
		return at * slabs->stride == offset || mutant(pool_interior_taken)
			       ? id_of(n, (uint32_t)at)
			       : ID_NONE;
	}
	*ret_inside = false;
	return ID_NONE;
}
