#include "daemon/core/policy/ghost.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/base.h"

enum {
	AGE_BITS = 12,
	AGES = 1 << AGE_BITS, /* of a capacity */
	AGE_MASK = 0xffff,
	ROUND = 8,
	MOVED_AT_ONCE = 4,
	ALL = (1 << GHOST_SLOTS) - 1,
};

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

static uint32_t slot_age(const struct ghost *ghost, const struct ghost_bucket *bucket,
			 uint32_t slot)
{
	return (ghost->now - bucket->ages[slot]) & AGE_MASK;
}

static bool slot_is_known(const struct ghost *ghost, const struct ghost_bucket *bucket,
			  uint32_t slot)
{
	return bucket->prints[slot] &&
	       (slot_age(ghost, bucket, slot) < AGES || mutant(ghost_ageless));
}

static void bucket_sweep(struct ghost *ghost, struct ghost_bucket *bucket)
{
	for (uint32_t i = 0; i < GHOST_SLOTS; i++)
		if (!slot_is_known(ghost, bucket, i))
			bucket->prints[i] = 0;
}

/* The hand goes round once while ROUND capacities are put: its steps are paid by sizes. */
static void count_put(struct ghost *ghost, uint32_t size)
{
	uint64_t put = ghost->rest + (uint64_t)size * AGES, ages;

	if (likely(put < ghost->capacity)) { /* a division takes as long as all else */
		ghost->rest = put;
		return;
	}
	ages = put / ghost->capacity;
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
	assert(ghost->times);
	spent_put(&ghost->spent, ghost->former_memory,
		  (ghost->n_buckets / ghost->times + 1) * sizeof(*ghost->former));
	ghost->former = ghost->former_memory = NULL;
}

static void move_some(struct ghost *ghost)
{
	spent_shrink(&ghost->spent);
	for (uint32_t i = 0; ghost->former && i < MOVED_AT_ONCE; i++) {
		struct ghost_bucket *bucket = &ghost->former[ghost->moved];

		bucket_sweep(ghost, bucket);
		for (uint32_t j = 0; j < ghost->times; j++)
			ghost->buckets[ghost->moved * ghost->times + j] = *bucket;
		if (++ghost->moved * ghost->times == ghost->n_buckets)
			former_end(ghost);
	}
}

#if defined(__SSE2__)
/* One bit for each of 16 words, all of whose bits are alike. */
static uint32_t bits_of(const __m128i *words)
{
	return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(words[0], words[1]));
}
#endif

/* Slots as bits: those that are known, and of these, those of the fingerprint. */
static uint32_t slots_known(const struct ghost *ghost, const struct ghost_bucket *bucket,
			    uint32_t fingerprint, uint32_t *ret_same)
{
#if defined(__SSE2__)
	const __m128i none = _mm_setzero_si128(), now = _mm_set1_epi16((short)ghost->now);
	const __m128i *prints = (const __m128i *)(const void *)bucket->prints;
	const __m128i *ages = (const __m128i *)(const void *)bucket->ages;
	const __m128i print = _mm_set1_epi16((short)fingerprint);
	__m128i same[2], young[2], empty[2];
	uint32_t known;

	for (int i = 0; i < 2; i++) {
		__m128i age = _mm_sub_epi16(now, ages[i]);

		same[i] = _mm_cmpeq_epi16(prints[i], print);
		empty[i] = _mm_cmpeq_epi16(prints[i], none);
		young[i] = _mm_cmpeq_epi16(_mm_srli_epi16(age, AGE_BITS), none);
	}
	known = (mutant(ghost_ageless) ? ALL : bits_of(young)) & ~bits_of(empty);
	*ret_same = bits_of(same) & known;
	return known;
#else
	uint32_t known = 0, same = 0;

	for (uint32_t i = 0; i < GHOST_SLOTS; i++) {
		known |= (uint32_t)slot_is_known(ghost, bucket, i) << i;
		same |= (uint32_t)(bucket->prints[i] == fingerprint) << i;
	}
	*ret_same = same & known;
	return known;
#endif
}

/* Where the key is, or else where it may be put: an empty slot, or the oldest. */
static uint32_t slot_of(const struct ghost *ghost, const struct ghost_bucket *bucket,
			uint32_t fingerprint, bool *ret_known)
{
	uint32_t same, known = slots_known(ghost, bucket, fingerprint, &same), best = 0;

	*ret_known = same;
	if (same)
		return (uint32_t)__builtin_ctz(same);
	if (known != ALL)
		return 31 - (uint32_t)__builtin_clz(known ^ ALL);
	for (uint32_t i = 1; i < GHOST_SLOTS; i++)
		if (slot_age(ghost, bucket, i) >= slot_age(ghost, bucket, best))
			best = i;
	return best;
}

void ghost_fetch(const struct ghost *ghost, uint64_t hash)
{
	__builtin_prefetch(bucket_of(ghost, hash), 1);
}

void ghost_put(struct ghost *ghost, uint64_t hash, uint32_t size)
{
	struct ghost_bucket *bucket;
	uint32_t slot;
	bool known;

	if (!size || size > ghost->capacity)
		return;
	move_some(ghost);
	ghost->used = true;
	count_put(ghost, size);
	bucket = bucket_of(ghost, hash);
	slot = slot_of(ghost, bucket, fingerprint_of(hash), &known);
	bucket->prints[slot] = (uint16_t)fingerprint_of(hash);
	bucket->ages[slot] = (uint16_t)ghost->now;
}

bool ghost_take(struct ghost *ghost, uint64_t hash)
{
	struct ghost_bucket *bucket;
	uint32_t slot;
	bool known;

	move_some(ghost);
	bucket = bucket_of(ghost, hash);
	slot = slot_of(ghost, bucket, fingerprint_of(hash), &known);
	if (known)
		bucket->prints[slot] = 0;
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
	uint64_t wanted = (uint64_t)objects / GHOST_SLOTS + 1, n = wanted, times = 0;
	struct ghost_bucket *buckets;
	void *memory;

	if (wanted <= ghost->n_buckets)
		return 0;
	if (ghost->used) {
		times = (wanted + ghost->n_buckets - 1) / ghost->n_buckets;
		n = times * ghost->n_buckets;
	}
	memory = calloc(n + 1, sizeof(*buckets)); /* zeroed when it is touched */
	if (!memory)
		return -ENOMEM;
	while (ghost->former) /* objects have hardly doubled without being put */
		move_some(ghost);
	buckets = (struct ghost_bucket *)(((uintptr_t)memory + sizeof(*buckets) - 1) &
					  ~(uintptr_t)(sizeof(*buckets) - 1));
	if (ghost->used) {
		ghost->former = ghost->buckets;
		ghost->former_memory = ghost->memory;
	} else {
		free(ghost->memory);
	}
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
	free(ghost->former_memory);
	spent_deinit(&ghost->spent);
	free(ghost->memory);
}

const char *ghost_check(const struct ghost *ghost)
{
	for (uint32_t i = 0; i < ghost->n_buckets; i++)
		for (uint32_t j = 0; j < GHOST_SLOTS; j++) {
			const struct ghost_bucket *bucket = bucket_at(ghost, i);

			if (bucket->prints[j] &&
			    slot_age(ghost, bucket, j) > (ROUND + 2) * AGES)
				return "GH1: the hand has not come to a slot in time";
		}
	return NULL;
}
