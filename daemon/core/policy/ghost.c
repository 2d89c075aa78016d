#include "daemon/core/policy/ghost.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

enum { AGES = 4096 /* of a capacity */, AGE_MASK = 0xffff, ROUND = 8, MOVED_AT_ONCE = 4 };

static_assert(sizeof(struct ghost_bucket) == 64, "one cache line");
static_assert((ROUND + 2) * AGES < AGE_MASK, "the hand comes before an age wraps");

static uint64_t mixed(uint64_t hash)
{
	return hash * 0x9e3779b97f4a7c15ULL;
}

static struct ghost_bucket *bucket_at(const struct ghost *ghost, uint32_t i)
{
	if (ghost->former && i / ghost->times >= ghost->moved)
		return &ghost->former[i / ghost->times];
	return &ghost->buckets[i];
}

static struct ghost_bucket *bucket_of(const struct ghost *ghost, uint64_t hash)
{
	return bucket_at(ghost, (uint32_t)((mixed(hash) >> 32) * ghost->n_buckets >> 32));
}

static uint32_t fingerprint_of(uint64_t hash)
{
	uint32_t bits = mixed(hash) >> 16 & 0xffff;

	return bits ? bits : 1;
}

static uint32_t slot_age(const struct ghost *ghost, uint32_t slot)
{
	return (ghost->now - slot) & AGE_MASK;
}

static bool slot_is_known(const struct ghost *ghost, uint32_t slot)
{
	return slot && (slot_age(ghost, slot) < AGES || mutant(ghost_ageless));
}

static void bucket_sweep(struct ghost *ghost, struct ghost_bucket *bucket)
{
	for (uint32_t i = 0; i < GHOST_SLOTS; i++)
		if (!slot_is_known(ghost, bucket->slots[i]))
			bucket->slots[i] = 0;
}

/* The hand goes round once while ROUND capacities are put: its steps are paid by sizes. */
static void count_put(struct ghost *ghost, uint32_t size)
{
	uint64_t put = ghost->rest + (uint64_t)size * AGES, ages = put / ghost->capacity;

	ghost->rest = put % ghost->capacity;
	ghost->now = (uint32_t)(ghost->now + ages) & AGE_MASK;
	ghost->swept += ages * ghost->n_buckets;
	for (; ghost->swept >= ROUND * AGES; ghost->swept -= ROUND * AGES) {
		bucket_sweep(ghost, bucket_at(ghost, ghost->hand));
		ghost->hand = ghost->hand + 1 == ghost->n_buckets ? 0 : ghost->hand + 1;
	}
}

static void former_end(struct ghost *ghost)
{
	free(ghost->former_memory);
	ghost->former = ghost->former_memory = NULL;
}

static void move_some(struct ghost *ghost)
{
	for (uint32_t i = 0; ghost->former && i < MOVED_AT_ONCE; i++) {
		struct ghost_bucket *bucket = &ghost->former[ghost->moved];

		bucket_sweep(ghost, bucket);
		for (uint32_t j = 0; j < ghost->times; j++)
			ghost->buckets[ghost->moved * ghost->times + j] = *bucket;
		if (++ghost->moved * ghost->times == ghost->n_buckets)
			former_end(ghost);
	}
}

/* Four slots at a time: each comparison is all bits, or none. */
typedef uint32_t quad __attribute__((vector_size(16)));
typedef int32_t signed_quad __attribute__((vector_size(16)));

enum { QUADS = GHOST_SLOTS / 4 };

static uint32_t quad_or(quad bits)
{
	return bits[0] | bits[1] | bits[2] | bits[3];
}

/* Its slots that are known, as bits; and those of this fingerprint. */
static uint32_t slots_known(const struct ghost *ghost, const struct ghost_bucket *bucket,
			    uint32_t fingerprint, uint32_t *ret_same)
{
	const int32_t ages = mutant(ghost_ageless) ? AGE_MASK + 1 : AGES;
	quad known = {0}, same = {0}, bits = {1, 2, 4, 8};

	for (uint32_t i = 0; i < QUADS; i++, bits <<= 4) {
		quad slots, live;

		memcpy(&slots, &bucket->slots[4 * i], sizeof(slots));
		live = (quad)(slots != 0) &
		       (quad)((signed_quad)((ghost->now - slots) & AGE_MASK) < ages) & bits;
		known |= live;
		same |= live & (quad)(slots >> 16 == fingerprint);
	}
	*ret_same = quad_or(same);
	return quad_or(known);
}

/* Where the key is, or else where it may be put: an empty slot, or the oldest. */
static uint32_t *slot_of(const struct ghost *ghost, uint64_t hash, bool *ret_known)
{
	struct ghost_bucket *bucket = bucket_of(ghost, hash);
	uint32_t same, known = slots_known(ghost, bucket, fingerprint_of(hash), &same);
	uint32_t others = known ^ (((uint32_t)1 << GHOST_SLOTS) - 1), best = 0;

	*ret_known = same;
	if (same)
		return &bucket->slots[__builtin_ctz(same)];
	if (others)
		return &bucket->slots[31 - __builtin_clz(others)];
	for (uint32_t i = 1; i < GHOST_SLOTS; i++)
		if (slot_age(ghost, bucket->slots[i]) >= slot_age(ghost, bucket->slots[best]))
			best = i;
	return &bucket->slots[best];
}

void ghost_fetch(const struct ghost *ghost, uint64_t hash)
{
	__builtin_prefetch(bucket_of(ghost, hash), 1);
}

void ghost_put(struct ghost *ghost, uint64_t hash, uint32_t size)
{
	bool known;

	if (!size || size > ghost->capacity)
		return;
	move_some(ghost);
	count_put(ghost, size);
	*slot_of(ghost, hash, &known) = fingerprint_of(hash) << 16 | ghost->now;
}

bool ghost_take(struct ghost *ghost, uint64_t hash)
{
	uint32_t *slot;
	bool known;

	move_some(ghost);
	slot = slot_of(ghost, hash, &known);
	if (known)
		*slot = 0;
	return known;
}

void ghost_resize(struct ghost *ghost, uint64_t capacity)
{
	if (capacity == ghost->capacity)
		return;
	ghost->capacity = capacity;
	ghost->rest = 0; /* it is less than the capacity */
}

/*
 * To a multiple of the buckets that there are, so that what a bucket knows belongs to those that it
 * becomes; to which of them is not known, so all get it.
 */
int ghost_grow(struct ghost *ghost, uint32_t objects)
{
	uint64_t wanted = (uint64_t)objects * 5 / 4 / GHOST_SLOTS + 1;
	uint64_t times =
		ghost->n_buckets ? (wanted + ghost->n_buckets - 1) / ghost->n_buckets : 0;
	uint64_t n = times ? times * ghost->n_buckets : wanted;
	struct ghost_bucket *buckets;
	void *memory;

	if (ghost->n_buckets && times == 1)
		return 0;
	memory = calloc(n + 1, sizeof(*buckets)); /* zeroed when it is touched */
	if (!memory)
		return -ENOMEM;
	while (ghost->former) /* objects have hardly doubled without being put */
		move_some(ghost);
	buckets = (struct ghost_bucket *)(((uintptr_t)memory + sizeof(*buckets) - 1) &
					  ~(uintptr_t)(sizeof(*buckets) - 1));
	ghost->former = ghost->buckets;
	ghost->former_memory = ghost->memory;
	ghost->buckets = buckets;
	ghost->memory = memory;
	ghost->n_buckets = (uint32_t)n;
	ghost->times = (uint32_t)times;
	ghost->moved = 0;
	ghost->hand *= (uint32_t)times;
	return 0;
}

void ghost_deinit(struct ghost *ghost)
{
	former_end(ghost);
	free(ghost->memory);
}

const char *ghost_check(const struct ghost *ghost)
{
	for (uint32_t i = 0; i < ghost->n_buckets; i++)
		for (uint32_t j = 0; j < GHOST_SLOTS; j++) {
			uint32_t slot = bucket_at(ghost, i)->slots[j];

			if (slot &&
			    (!(slot >> 16) || slot_age(ghost, slot) > (ROUND + 2) * AGES))
				return "GH1: the hand has not come to a slot in time";
		}
	return NULL;
}
