/*
 * Index read - a reader's walk through an index (proto/index.h): from a hash to the objects that
 * may be what is looked for, each pinned by the reader's hazard word before it is looked at.
 *
 * IR1  What is there from the beginning of a walk to its end is found. What is never there is not.
 * IR2  What a walk offers stays where it is until the hazard word says something else: by the next
 *      step of a walk, or cleared by index_release().
 * IR3  No store but to the hazard word; no wait for the daemon, wherever it stopped.
 *
 *	index_walk_begin(&walk, &view, hash, hazard, space);
 *	while ((answer = index_walk_next(&walk, fence)) == INDEX_OFFERED)
 *		if (its key is the one)
 *			return it; index_release(hazard) once it is not needed any more
 *	INDEX_MISS: it is not there. INDEX_ELSEWHERE: begin anew in the next index.
 *
 * All of it is inline, and a walk lives in registers.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"
#include "proto/index.h"

/* A test that goes its own ways between them brings its own. */
#ifndef index_load
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
#include <emmintrin.h>
#define INDEX_VECTORS
#endif
#define index_load(word) atomic_load_explicit(word, memory_order_acquire)
#define index_pin(hazard, value) atomic_store_explicit(hazard, value, memory_order_release)
#define index_fence() atomic_thread_fence(memory_order_seq_cst)
#endif

/* An index file as it is mapped: what never changes is read once. */
struct index_view {
	const struct index_head *head;
	const struct index_bucket *buckets;
	uint64_t n_buckets, n_overflow;
	uint64_t seed, factor; /* index_factor() of it */
};

enum index_answer {
	INDEX_OFFERED, /* walk->offset, pinned; a key of the same tag */
	INDEX_MISS,
	INDEX_ELSEWHERE, /* in the next index, or nowhere: the file is none */
};

struct index_walk {
	const struct index_view *view;
	_Atomic uint64_t *hazard;
	uint64_t space; /* as in hazard words */
	struct index_mix mix;
	uint64_t control;                /* of the bucket, when it began; 0: it is elsewhere */
	const struct index_bucket *here; /* where it is */
	uint32_t slots;                  /* index_slots(): what is left to be looked at there */
	uint32_t chain;                  /* how far along it is */
	/* What is offered. */
	const _Atomic uint64_t *word;
	uint64_t entry, offset;
};

/* False: this is no index, or one that is larger than what is mapped. */
static inline bool index_view_open(struct index_view *ret, const void *file, uint64_t size)
{
	const struct index_head *head = file;
	struct index_view view = {.head = head};

	if (size < INDEX_HEAD + sizeof(struct index_bucket) || head->magic != INDEX_MAGIC ||
	    head->layout != INDEX_LAYOUT)
		return false;
	view.buckets =
		(const struct index_bucket *)(const void *)((const char *)file + INDEX_HEAD);
	view.n_buckets = head->buckets;
	view.n_overflow = head->overflow;
	view.seed = head->seed;
	view.factor = index_factor(view.seed);
	size = (size - INDEX_HEAD) / sizeof(struct index_bucket);
	if (!view.n_buckets || view.n_buckets > size || view.n_overflow > size - view.n_buckets)
		return false;
	*ret = view;
	return true;
}

static inline struct index_mix index_view_mix(const struct index_view *view, uint64_t hash)
{
	return index_mix_by(hash, view->factor, view->n_buckets);
}

/* For who looks for many: first all of these; */
static inline struct index_mix index_view_fetch(const struct index_view *view, uint64_t hash)
{
	struct index_mix mix = index_view_mix(view, hash);

	__builtin_prefetch(&view->buckets[mix.bucket]);
	return mix;
}

/*
 * Its slots with entries of this tag, and perhaps some without entries: bit 2 * slot + 2, so that
 * the entry is so many times 4 bytes from the bucket's beginning.
 */
static inline uint32_t index_slots(const struct index_bucket *bucket, struct index_mix mix)
{
#ifdef INDEX_VECTORS
	/* Aligned halves of such loads are whole; volatile: done here, once. */
	const volatile __m128 *words = (const volatile __m128 *)(const void *)bucket;
	const __m128i tags = _mm_set1_epi32((int)mix.wide);
	/* Of each word the lower half, whose lower half is the tag. */
	__m128i low = _mm_castps_si128(_mm_shuffle_ps(words[0], words[1], 0x88));
	__m128i high = _mm_castps_si128(_mm_shuffle_ps(words[2], words[3], 0x88));
	__m128i all = _mm_packs_epi16(_mm_cmpeq_epi16(low, tags), _mm_cmpeq_epi16(high, tags));

	return (uint32_t)_mm_movemask_epi8(all) & 0x5554;
#else
	uint32_t slots = 0;

	for (uint32_t i = 0; i < INDEX_ENTRIES; ++i)
		if ((uint16_t)index_load(&bucket->entries[i]) == mix.tag)
			slots |= (uint32_t)4 << 2 * i;
	return slots;
#endif
}

static inline const _Atomic uint64_t *index_slot_entry(const struct index_bucket *bucket,
						       uint32_t slots)
{
	return (const _Atomic uint64_t *)(const void *)((const char *)bucket +
							(uintptr_t)(uint32_t)__builtin_ctz(
								slots) *
								4);
}

/* The next bucket of a chain, as it is told right now; or NULL. */
static inline const struct index_bucket *index_chained(const struct index_view *view,
						       const struct index_bucket *bucket)
{
	uint32_t link = index_control_unpack(index_load(&bucket->control)).link;

	return link && link <= view->n_overflow ? &view->buckets[view->n_buckets + link - 1]
						: NULL;
}

/* then all of these: where it is likely to be, to be prefetched and not to be believed. 0: nowhere. */
static inline uint64_t index_view_guess(const struct index_view *view, struct index_mix mix)
{
	const struct index_bucket *bucket = &view->buckets[mix.bucket];
	uint32_t slots = index_slots(bucket, mix);

	if (!likely(slots)) {
		bucket = index_chained(view, bucket);
		if (bucket)
			__builtin_prefetch(bucket);
		return 0;
	}
	return index_entry_unpack(index_load(index_slot_entry(bucket, slots))).offset;
}

/* Has the bucket moved on, or is there nothing to be read? */
static inline bool index_walk_elsewhere(const struct index_walk *walk)
{
	uint64_t state = index_load(&walk->view->head->state);

	return !state || walk->mix.bucket < index_state_unpack(state).moved;
}

static inline void index_walk_anew(struct index_walk *walk)
{
	bool elsewhere = index_walk_elsewhere(walk);

	walk->chain = 0;
	walk->here = &walk->view->buckets[walk->mix.bucket];
	walk->control = elsewhere ? 0 : index_load(&walk->here->control);
	walk->slots = elsewhere ? 0 : index_slots(walk->here, walk->mix);
}

/* A space's handle, as it is in hazard words. */
static inline uint64_t index_space_word(uint32_t space)
{
	return (uint64_t)space << 44;
}

/* then the walks. space: its handle. */
static inline void index_walk_start(struct index_walk *walk, const struct index_view *view,
				    struct index_mix mix, _Atomic uint64_t *hazard,
				    uint32_t space)
{
	*walk = (struct index_walk){
		.view = view, .hazard = hazard, .space = index_space_word(space), .mix = mix};
	index_walk_anew(walk);
}

static inline void index_walk_begin(struct index_walk *walk, const struct index_view *view,
				    uint64_t hash, _Atomic uint64_t *hazard, uint32_t space)
{
	index_walk_start(walk, view, index_view_mix(view, hash), hazard, space);
}

static inline void index_release(_Atomic uint64_t *hazard)
{
	index_pin(hazard, 0);
}

/* How many bytes from the first bucket an entry is, for who notes it. */
static inline uint64_t index_view_at(const struct index_view *view,
				     const _Atomic uint64_t *entry)
{
	return (uintptr_t)entry - (uintptr_t)view->buckets;
}

/*
 * Pin what an entry led to, and look what is there now. fence: the barrier is a full one; else one
 * for the compiler, where the daemon's scans are preceded by an expedited membarrier that this
 * process is registered for.
 */
static inline uint64_t index_pin_entry(_Atomic uint64_t *hazard, uint64_t value,
				       const _Atomic uint64_t *word, uint64_t entry, bool fence)
{
	uint64_t again;

	if (mutant(index_entry_believed))
		mutant_moment();
	if (!mutant(index_pin_late) && !mutant(index_pin_lags) && !mutant(index_pin_never))
		index_pin(hazard, value);
	if (!likely(!fence) && !mutant(index_fence_never))
		index_fence();
	else
		atomic_signal_fence(memory_order_seq_cst);
	again = index_load(word);
	if (mutant(index_pin_lags))
		mutant_moment();
	if (mutant(index_pin_late) || mutant(index_pin_lags))
		index_pin(hazard, value);
	return mutant(index_entry_believed) ? entry : again;
}

/*
 * The quick way to most of what is there, before a walk: the first of its bucket's own entries that
 * may be it, or of the next bucket's of its chain, pinned; space: index_space_word(). Who finds an entry unchanged behind his pin needs to know nothing of the rest:
 * it is gone from here before its object is. False: walk; the hazard word may say anything.
 */
struct index_peek {
	const _Atomic uint64_t *word;
	uint64_t entry, offset;
};

static inline bool index_peek(const struct index_view *view, struct index_mix mix,
			      _Atomic uint64_t *hazard, uint64_t space, bool fence,
			      struct index_peek *ret)
{
	const struct index_bucket *bucket = &view->buckets[mix.bucket];
	uint32_t slots = index_slots(bucket, mix);
	uint64_t entry;

	if (!likely(slots)) {
		bucket = index_chained(view, bucket);
		slots = bucket ? index_slots(bucket, mix) : 0;
		if (!slots)
			return false;
	}
	ret->word = index_slot_entry(bucket, slots);
	entry = index_load(ret->word);
	ret->offset = index_entry_unpack(entry).offset;
	ret->entry = index_pin_entry(hazard, space | ret->offset, ret->word, entry, fence);
	/* Another tag than a moment ago: then it is another's key, which is going to be compared. */
	return likely(entry) && likely(entry == ret->entry);
}

/* Along the chain, or to its end: false. */
static inline bool index_walk_on(struct index_walk *walk)
{
	uint64_t control = walk->chain ? index_load(&walk->here->control) : walk->control;
	uint32_t link = index_control_unpack(control).link;

	if (!link || link > walk->view->n_overflow || walk->chain == INDEX_CHAIN_MAX)
		return false;
	++walk->chain;
	walk->here = &walk->view->buckets[walk->view->n_buckets + link - 1];
	walk->slots = index_slots(walk->here, walk->mix);
	return true;
}

/* Nothing can have been missed. */
static inline bool index_walk_whole(const struct index_walk *walk)
{
	if (!mutant(index_miss_moved) && index_walk_elsewhere(walk))
		return false;
	return mutant(index_miss_believed) ||
	       index_load(&walk->view->buckets[walk->mix.bucket].control) == walk->control;
}

static inline enum index_answer index_walk_next(struct index_walk *walk, bool fence)
{
	uint64_t entry, again;

	while (walk->control) {
		while (walk->slots) {
			walk->word = index_slot_entry(walk->here, walk->slots);
			walk->slots &= walk->slots - 1;
			entry = index_load(walk->word);
			if (!entry || (uint16_t)entry != walk->mix.tag)
				continue;
			walk->offset = index_entry_unpack(entry).offset;
			again = index_pin_entry(walk->hazard, walk->space | walk->offset,
						walk->word, entry, fence);
			walk->entry = again;
			if (likely(!((entry ^ again) & ~INDEX_HINT_MASK)) ||
			    mutant(index_pin_believed))
				return INDEX_OFFERED;
			index_walk_anew(walk);
		}
		if (!walk->control || index_walk_on(walk))
			continue;
		if (index_walk_whole(walk)) {
			index_release(walk->hazard);
			return INDEX_MISS;
		}
		index_walk_anew(walk);
	}
	index_release(walk->hazard);
	return INDEX_ELSEWHERE;
}
