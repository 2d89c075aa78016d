#include "client/collect.h"

#include "base/base.h"
#include "client/space.h"
#include "client/words.h"
#include "proto/block_word.h"

enum { LOOK_SPANS = 64 }; /* each time that a class has nothing at hand */

static struct varbos_space *space_of(const struct heap *heap)
{
	return container_of(heap->heaps, struct blocks, heaps)->space;
}

static void *words_of(struct varbos_space *space, const struct span *span, uint32_t *ret_first,
		      uint32_t *ret_slices)
{
	uint64_t offset = (uint64_t)(span->base - space->base);
	struct window *window = &space->windows[offset_window(offset)];

	*ret_first = (uint32_t)(offset_position(offset) >> SLICE_SHIFT);
	*ret_slices = window->n_slices;
	return atomic_load_explicit(&window->words, memory_order_relaxed);
}

static void write_notes(const struct heap *heap, const struct span *span, uint32_t class_plus_1)
{
	uint32_t first, slices;
	void *words = words_of(space_of(heap), span, &first, &slices);

	for (uint32_t i = 0; i < span->run.slices; i++) {
		struct slice_cut cut = {class_plus_1, class_plus_1 ? i : 0};

		atomic_store_explicit(&words_note(words, slices, first + i)->info,
				      slice_cut_pack(cut), memory_order_release);
	}
}

/*
 * By the slice map nobody else has a block in it: words that say otherwise are what others have
 * left there, FREED ones mostly. Generations go on.
 */
static void clear_words(_Atomic uint32_t *words, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct block_info info = block_word_unpack(
			atomic_load_explicit(&words[i], memory_order_relaxed));

		if (info.state == BLOCK_FREE)
			continue;
		info = (struct block_info){.state = BLOCK_FREE, .generation = info.generation};
		atomic_store_explicit(&words[i], block_word_pack(info), memory_order_relaxed);
	}
}

static void cut(struct heap *heap, const struct span *span)
{
	uint32_t first, slices;
	void *words = words_of(space_of(heap), span, &first, &slices);

	clear_words(words_at(words, words_index(first, 0)), span->blocks);
	write_notes(heap, span, span->class + 1u);
}

static void uncut(struct heap *heap, const struct span *span)
{
	write_notes(heap, span, 0);
}

/* What others have freed of it. (What is free by its bit as well, somebody has spoiled.) */
static bool collect_words(struct heap *heap, struct span *span, _Atomic uint32_t *words)
{
	bool found = false;

	for (uint32_t i = 0, n = span->blocks; i < n; i++) {
		uint32_t word = atomic_load_explicit(&words[i], memory_order_relaxed);
		char *memory = span->base + (uint64_t)i * span->size;

		if (block_word_unpack(word).state != BLOCK_FREED || !block_collect(&words[i]))
			continue;
		found |= !(span->owner ? heap_free_own(heap, span, memory)
				       : heap_free_large(heap, span, memory));
		if (!span->blocks)
			break; /* with its last block it went back, and is perhaps another's */
	}
	return found;
}

/*
 * Where there is a hint; and where none was looked for since somebody died, who may have been
 * about to leave one. Not all at once: as many as pay for the span that is not cut, if one has
 * something. The ring goes on from where it stopped. Freeing its last block ends a span, but no
 * other one.
 */
static bool collect_class(struct heap *heap, uint32_t class, bool all)
{
	struct varbos_space *space = space_of(heap);
	struct span **next = &heap->peers[class].spans;
	uint32_t *unread = &heap->peers[class].unread;
	uint32_t n = heap->peers[class].n, first, slices;
	bool found = false;

	for (uint32_t i = 0; i < n && *next && (all || (i < LOOK_SPANS && !found)); i++) {
		struct span *span = *next;
		void *words = words_of(space, span, &first, &slices);
		bool read = block_hint_take(&words_note(words, slices, first)->freed) &&
			    !mutant(shared_hints_unread);

		*next = span->peer;
		if (*unread) {
			--*unread;
			read |= !mutant(shared_words_unread);
		}
		if (read)
			found |= collect_words(heap, span,
					       words_at(words, words_index(first, 0)));
	}
	return found;
}

static bool collect(struct heap *heap, uint32_t class, bool all)
{
	uint32_t deaths =
		atomic_load_explicit(&space_of(heap)->root->deaths, memory_order_acquire);

	if (heap->seen != deaths)
		for (uint32_t i = 0; i < CLASSES_SPACED; i++)
			heap->peers[i].unread = heap->peers[i].n;
	heap->seen = deaths;
	return collect_class(heap, class, all);
}

const struct heap_watch collect_watch = {.cut = cut, .uncut = uncut, .collect = collect};
