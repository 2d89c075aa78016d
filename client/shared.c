#include "client/shared.h"

#include <stdio.h>

#include "base/base.h"
#include "client/error.h"
#include "client/extent.h"
#include "client/note.h"
#include "client/space.h"
#include "client/thread.h"
#include "client/words.h"
#include "proto/block_word.h"

/* ---- who is who ---- */

static struct id_info id_of(const struct varbos_space *space, uint32_t id)
{
	return id_word_unpack(
		atomic_load_explicit(&space->root->ids[id], memory_order_acquire));
}

bool shared_is_dead(const struct varbos_space *space, uint32_t id)
{
	struct id_info info = id_of(space, id);

	return info.kind != ID_PROCESS || info.dead;
}

static int ask_id(struct varbos_space *space, uint32_t *ret)
{
	struct wire_space_handle request = {.space = space->handle};
	_cleanup_(call_endp) struct call *call = NULL;
	uint64_t id;
	int r;

	r = call_begin(&call, &space->vb->calls, WIRE_HOLDER_OPEN, &request, 0);
	if (r)
		return r;
	id = call->message.body.holder_opened.id;
	if (!id || id >= IDS_MAX || shared_is_dead(space, (uint32_t)id))
		return error_set(
			VARBOS_E_UNTRUSTED, "id",
			"the daemon's answer cannot be: this process is number %llu of "
			"space %s",
			(unsigned long long)id, space->name);
	*ret = (uint32_t)id;
	return 0;
}

int shared_id(struct varbos_space *space, uint32_t *ret)
{
	uint32_t id = atomic_load_explicit(&space->shared.id, memory_order_relaxed);
	int r;

	/* Threads that ask at once get the same answer. */
	if (!id) {
		r = ask_id(space, &id);
		if (r)
			return r;
		atomic_store_explicit(&space->shared.id, id, memory_order_relaxed);
	}
	*ret = id;
	return 0;
}

_public_ uint32_t varbos_self(struct varbos_space *space)
{
	uint32_t id = 0;

	error_enter("varbos_self");
	return block_enter(space) || shared_id(space, &id) ? 0 : id;
}

/* ---- what is refused ---- */

enum { WHO_MAX = 48 };

static const char *who(const struct varbos_space *space, uint32_t id, char text[WHO_MAX])
{
	struct id_info info = id_of(space, id);

	if (id == BLOCK_ANYONE)
		snprintf(text, WHO_MAX, "anyone");
	else if (id == atomic_load_explicit(&space->shared.id, memory_order_relaxed))
		snprintf(text, WHO_MAX, "this process");
	else if (info.kind == ID_PROCESS)
		snprintf(text, WHO_MAX, "process %u%s", info.pid,
			 info.dead ? ", now dead" : "");
	else if (info.kind == ID_CHANNEL)
		snprintf(text, WHO_MAX, "channel %u", id);
	else
		snprintf(text, WHO_MAX, "a process that has ended");
	return text;
}

/* Why a word refuses, about the block at `offset`. */
static int error_word(const struct varbos_space *space, uint64_t offset, uint32_t word, int why)
{
	struct block_info info = block_word_unpack(word);
	char text[WHO_MAX];

	switch (why) {
	case BLOCK_E_STALE:
		return error_set(
			VARBOS_E_REFERENCE, "stale",
			"what was at offset 0x%llx of space %s has been freed, and its "
			"place given to another",
			(unsigned long long)offset, space->name);
	case BLOCK_E_HELD:
		return error_set(VARBOS_E_REFERENCE, "not-owner",
				 "the block at offset 0x%llx of space %s is held by %s",
				 (unsigned long long)offset, space->name,
				 who(space, info.id, text));
	case BLOCK_E_SENT:
		return error_set(VARBOS_E_REFERENCE, "not-owner",
				 "the block at offset 0x%llx of space %s has been sent to %s",
				 (unsigned long long)offset, space->name,
				 who(space, info.id, text));
	default:
		return error_set(
			VARBOS_E_REFERENCE, "freed",
			"the block at offset 0x%llx of space %s has been freed already",
			(unsigned long long)offset, space->name);
	}
}

/* For who came with a pointer, which bears no generation; and a word may have had none yet. */
static int error_pointer(const struct varbos_space *space, uint64_t offset, uint32_t word,
			 int why)
{
	return error_word(space, offset, word, why == BLOCK_E_STALE ? BLOCK_E_FREED : why);
}

static int error_interior(const struct varbos_space *space, uint64_t offset, uint64_t size)
{
	return error_set(VARBOS_E_REFERENCE, "interior",
			 "offset 0x%llx of space %s lies inside a block of %llu bytes, not at "
			 "its start",
			 (unsigned long long)offset, space->name, (unsigned long long)size);
}

/* The block that begins at the place. */
static int find_start(struct varbos_space *space, const struct place *place,
		      struct words_block *ret)
{
	int r = words_find(space, place, ret);

	if (!r && ret->offset != place->offset)
		return error_interior(space, place->offset, ret->size);
	return r;
}

static int check_kind(const struct varbos_space *space, const struct place *place)
{
	if (place_is_shared(place))
		return 0;
	return error_set(VARBOS_E_REFERENCE, "foreign",
			 "what is at offset 0x%llx of space %s is %s: only what "
			 "varbos_alloc_shared() gave can be sent",
			 (unsigned long long)place->offset, space->name,
			 place->info.kind == EXTENT_PRIVATE   ? "private"
			 : place->info.kind == EXTENT_CHANNEL ? "a channel's"
							      : "a cache's");
}

/* ---- freeing ---- */

/*
 * The extent that a block was freed in. Its first slice is remembered: the slices of an extent
 * have one tag, and no other extent has it.
 */
static bool find_head(struct shared *shared, const struct words_block *block, uint32_t *ret,
		      struct slice_info *ret_info)
{
	uint32_t at = block->slice / SHARED_HEADS % SHARED_HEADS;
	uint32_t first = atomic_load_explicit(&shared->heads[at], memory_order_relaxed);

	if (first <= block->slice) {
		struct slice_info info = slice_word_unpack(
			atomic_load_explicit(&block->window->map[first], memory_order_acquire));

		if (info.head && info.kind == EXTENT_BLOCKS && info.tag == block->tag &&
		    block->slice - first < info.count) {
			*ret = first;
			*ret_info = info;
			return true;
		}
	}
	if (!place_head(block->window, block->slice, EXTENT_BLOCKS, block->tag, ret, ret_info))
		return false;
	atomic_store_explicit(&shared->heads[at], *ret, memory_order_relaxed);
	return true;
}

/*
 * A block that is not this process's own slice's has been freed. If the owner of its slices has
 * ended, and it was the last, nobody will free another: the daemon has to hear of it. (Where
 * the owner ends only now, the sweep that follows finds the word freed.)
 */
static void tell_if_last(struct varbos_space *space, const struct words_block *block)
{
	struct wire_extent_free note = {
		.space = space->handle, .tag = block->tag, .maybe = true};
	struct shared *shared = &space->shared;
	uint64_t used;
	struct slice_info head;
	uint32_t first = 0;
	void *words;

	if (!find_head(shared, block, &first, &head) || likely(head.session) ||
	    head.count > block->window->n_slices - first)
		return;
	used = atomic_load_explicit(&shared->used, memory_order_relaxed);
	words = atomic_load_explicit(&block->window->words, memory_order_relaxed);
	if (words_all_free(block->window, words, first, head.count, &used)) {
		note.offset = offset_make(offset_window(block->offset),
					  (uint64_t)first << SLICE_SHIFT);
		call_note(&space->vb->calls, WIRE_EXTENT_FREE, &note);
	} else {
		atomic_store_explicit(&shared->used, used, memory_order_relaxed);
	}
}

/* A shared extent whose users keep no word is what its tag says (proto/layout.h). */
static bool has_no_word(const struct place *place, uint32_t word)
{
	return place->info.kind == EXTENT_SHARED &&
	       block_word_unpack(word).generation != place->info.tag;
}

/* So whoever writes to the space may free it; but one that has just been granted looks the same. */
static int free_bare(struct varbos_space *space, const struct place *place)
{
	struct wire_extent_free request = {.space = space->handle,
					   .offset = place->offset,
					   .tag = place->info.tag,
					   .bare = !mutant(shared_granted_freed)};
	_cleanup_(call_endp) struct call *call = NULL;

	return call_begin(&call, &space->vb->calls, WIRE_EXTENT_FREE, &request, 0);
}

/* An extent, or a block out of another process's slices. */
static int free_found(struct varbos_space *space, const struct place *place)
{
	uint32_t id = atomic_load_explicit(&space->shared.id, memory_order_relaxed);
	struct wire_extent_free note = {.space = space->handle,
					.offset = place->offset,
					.maybe = !mutant(shared_free_certain)};
	struct words_block block;
	_Atomic uint32_t nobody = 0;
	uint32_t word;
	int r;

	r = find_start(space, place, &block);
	if (r)
		return r;
	word = atomic_load_explicit(block.word, memory_order_acquire);
	if (has_no_word(place, word))
		return free_bare(space, place);
	/* Who has no id holds nothing. */
	r = block_free(block.word, block_word_unpack(word).generation, id ? id : IDS_MAX,
		       block.hint ? block.hint : &nobody);
	if (r)
		return error_pointer(space, place->offset,
				     atomic_load_explicit(block.word, memory_order_acquire), r);
	if (block.hint) {
		tell_if_last(space, &block);
		return 0;
	}
	/* It is free, whether the daemon hears of it now or finds it. */
	note.tag = block.tag;
	call_note(&space->vb->calls, WIRE_EXTENT_FREE, &note);
	return 0;
}

static _Atomic uint32_t *own_word(struct varbos_space *space, const struct span *span,
				  uint32_t block)
{
	uint64_t offset = (uint64_t)(span->base - space->base);
	const struct window *window = &space->windows[offset_window(offset)];

	return words_at(atomic_load_explicit(&window->words, memory_order_relaxed),
			words_index((uint32_t)(offset_position(offset) >> SLICE_SHIFT), block));
}

/* Once: who spoils one word, spoils many. */
static void note_spoiled(struct varbos_space *space, const void *memory)
{
	if (atomic_exchange_explicit(&space->shared.spoiled, 1, memory_order_relaxed))
		return;
	note_print(
		"somebody has written into the words of space %s: the block at offset 0x%llx "
		"is free, and its word says that it is not",
		space->name, (unsigned long long)((const char *)memory - space->base));
}

/* Out of slices of this process's own. */
static int free_own(struct varbos_space *space, struct span *span, const struct place *place)
{
	uint32_t id = atomic_load_explicit(&space->shared.id, memory_order_relaxed);
	const void *memory = space->base + place->offset;
	_Atomic uint32_t *word;
	uint32_t block, old;
	int r;

	if (!span->blocks)
		return error_pointer(space, place->offset, 0, BLOCK_E_FREED);
	if (!span_block(span, memory, &block))
		return error_interior(space, place->offset, span->size);
	word = own_word(space, span, block);
	old = atomic_load_explicit(word, memory_order_acquire);
	r = block_free_own(word, block_word_unpack(old).generation, id);
	if (r)
		return error_pointer(space, place->offset,
				     atomic_load_explicit(word, memory_order_acquire), r);
	/* The bit knew it already: somebody has written HELD into the word of a free block. */
	if (blocks_free(&space->shared.blocks, span, memory))
		note_spoiled(space, memory);
	return 0;
}

bool shared_free_quick(struct varbos_space *space, const void *memory)
{
	uint32_t id = atomic_load_explicit(&space->shared.id, memory_order_relaxed), word,
		 block;
	struct words_block found;
	struct span *span;

	/* An id of before a fork is the parent's. */
	if (!id || atomic_load_explicit(&space->stamp, memory_order_acquire) != fork_count())
		return false;
	span = blocks_span(&space->shared.blocks, memory);
	if (!span) {
		if (!words_quick(space, (uint64_t)((const char *)memory - space->base), &found))
			return false;
		word = atomic_load_explicit(found.word, memory_order_acquire);
		if (block_free(found.word, block_word_unpack(word).generation, id, found.hint))
			return false;
		tell_if_last(space, &found);
		return true;
	}
	if (!span_block(span, memory, &block))
		return false;
	found.word = own_word(space, span, block);
	word = atomic_load_explicit(found.word, memory_order_acquire);
	if (block_free_own(found.word, block_word_unpack(word).generation, id))
		return false;
	if (blocks_free(&space->shared.blocks, span, memory))
		note_spoiled(space, memory);
	return true;
}

int shared_free(struct varbos_space *space, const struct place *place)
{
	struct span *span = blocks_span(&space->shared.blocks, space->base + place->offset);

	return span ? free_own(space, span, place) : free_found(space, place);
}

/* ---- looking ---- */

size_t shared_size(struct varbos_space *space, const struct place *place)
{
	struct words_block block;
	uint32_t word;
	int r;

	if (find_start(space, place, &block))
		return 0;
	word = atomic_load_explicit(block.word, memory_order_acquire);
	r = block_word_check(word, block_word_unpack(word).generation);
	if (r && !has_no_word(place, word)) {
		error_pointer(space, place->offset, word, r);
		return 0;
	}
	return block.size;
}

varbos_ref shared_ref(struct varbos_space *space, const struct place *place)
{
	struct words_block block;
	uint32_t word, generation;
	int r;

	if (words_find(space, place, &block))
		return 0;
	word = atomic_load_explicit(block.word, memory_order_acquire);
	generation = block_word_unpack(word).generation;
	if (has_no_word(place, word))
		return ref_make(place->info.tag, place->offset);
	r = block_word_check(word, generation);
	if (r) {
		error_pointer(space, place->offset, word, r);
		return 0;
	}
	return ref_make(generation, place->offset);
}

int shared_check(struct varbos_space *space, const struct place *place, varbos_ref ref)
{
	struct words_block block;
	uint32_t word;
	int r;

	r = words_find(space, place, &block);
	if (r)
		return r;
	word = atomic_load_explicit(block.word, memory_order_acquire);
	if (has_no_word(place, word))
		r = ref_tag(ref) == place->info.tag ? 0 : BLOCK_E_STALE;
	else
		r = block_word_check(word, ref_tag(ref));
	return r ? error_word(space, place->offset, word, r) : 0;
}

/* ---- allocating ---- */

/* Of a block of our own. */
static bool hold(struct varbos_space *space, void *memory, uint32_t id)
{
	struct span *span = heaps_span(&space->shared.blocks.heaps, memory);
	uint32_t block, generation;

	return span && span_block(span, memory, &block) &&
	       !block_alloc(own_word(space, span, block), id, &generation);
}

/* Until one is found whose word agrees that it is free. */
static __attribute__((noinline)) void *alloc_slow(struct varbos_space *space, size_t size)
{
	static const struct varbos_alloc_options as_the_space_says;
	uint32_t id;
	void *memory;
	int r;

	error_enter("varbos_alloc_shared");
	if (size > CLASS_MAX)
		return shared_alloc_extent(space, size, &as_the_space_says, &memory) ? NULL
										     : memory;
	r = block_enter(space);
	if (!r)
		r = shared_id(space, &id);
	if (r)
		return NULL;
	while (!(r = blocks_alloc(&space->shared.blocks, class_of(&class_spaced, size),
				  &memory))) {
		if (likely(hold(space, memory, id)))
			return memory;
		note_spoiled(space, memory);
	}
	return NULL;
}

_public_ void *varbos_alloc_shared(struct varbos_space *space, size_t size)
{
	if (likely(space && size <= HEAP_BIN_MAX)) {
		struct heap *heap = thread_heap(&space->shared.blocks.heaps);

		if (likely(heap)) {
			void *memory =
				heap_take_ready(heap, bin_at(class_of(&class_spaced, size)));
			uint32_t id =
				atomic_load_explicit(&space->shared.id, memory_order_relaxed);

			if (likely(memory)) {
				if (likely(hold(space, memory, id)))
					return memory;
				note_spoiled(space, memory);
			}
		}
	}
	return alloc_slow(space, size);
}

/*
 * The daemon has granted the extent: whatever somebody has written there, nobody else has it.
 * By its tag, as generation, a sweep tells the word of this extent from what one before has
 * left.
 */
static void take_word(const struct words_block *block, uint32_t id)
{
	struct block_info info = {.state = BLOCK_HELD, .id = id, .generation = block->tag};

	atomic_exchange_explicit(block->word, block_word_pack(info), memory_order_acq_rel);
}

int shared_alloc_extent(struct varbos_space *space, size_t size,
			const struct varbos_alloc_options *options, void **ret)
{
	struct words_block block;
	struct place place;
	struct varbos_error why;
	uint32_t id;
	void *memory;
	int r;

	r = block_enter(space);
	if (!r)
		r = shared_id(space, &id);
	if (!r)
		r = extent_alloc(space, size, EXTENT_SHARED, options, &memory);
	if (r)
		return r;
	r = place_of(space, memory, &place);
	if (!r)
		r = words_find(space, &place, &block);
	if (r) {
		why = *varbos_error();
		extent_give(space, memory);
		return error_restore(&why);
	}
	take_word(&block, id);
	*ret = memory;
	return 0;
}

/* ---- handing over ---- */

/* Says why, if it is not. */
static __attribute__((noinline)) varbos_ref held_slow(struct varbos_space *space,
						      const void *memory, uint32_t id,
						      _Atomic uint32_t **ret_word)
{
	struct words_block block;
	uint32_t word, generation;
	struct place place;
	int r;

	r = place_of(space, memory, &place);
	if (!r)
		r = check_kind(space, &place);
	if (!r)
		r = find_start(space, &place, &block);
	if (r)
		return 0;
	word = atomic_load_explicit(block.word, memory_order_acquire);
	generation = block_word_unpack(word).generation;
	r = block_word_holds(word, generation, id);
	if (r) {
		error_pointer(space, place.offset, word, r);
		return 0;
	}
	*ret_word = block.word;
	return ref_make(generation, place.offset);
}

varbos_ref shared_held(struct varbos_space *space, const void *memory, uint32_t id,
		       _Atomic uint32_t **ret_word)
{
	uint64_t offset = (uint64_t)((const char *)memory - space->base);
	struct words_block block;
	struct block_info info;

	if (likely(words_quick(space, offset, &block))) {
		info = block_word_unpack(
			atomic_load_explicit(block.word, memory_order_acquire));
		if (likely(info.state == BLOCK_HELD && info.id == id && info.generation)) {
			*ret_word = block.word;
			return ref_make(info.generation, offset);
		}
	}
	return held_slow(space, memory, id, ret_word);
}

static int error_dead(const struct varbos_space *space, uint32_t to)
{
	char text[WHO_MAX];

	return error_set(VARBOS_E_CLOSED, "died", "addressee %u of space %s is %s", to,
			 space->name, who(space, to, text));
}

static int check_addressee(const struct varbos_space *space, uint32_t to)
{
	if (to >= IDS_MAX)
		return error_set_numbers(&(struct varbos_error){.code = VARBOS_E_INVALID,
								.requested = to,
								.max = IDS_MAX - 1,
								.which = "to"},
					 "%u is nobody: addressees are 1 to %d, or "
					 "VARBOS_ANYONE",
					 to, IDS_MAX - 1);
	if (to == VARBOS_ANYONE)
		return 0;
	if (id_of(space, to).kind == ID_CHANNEL)
		return error_set(VARBOS_E_INVALID, "to",
				 "%u is a channel: varbos_channel_send() sends to it", to);
	return shared_is_dead(space, to) ? error_dead(space, to) : 0;
}

_public_ varbos_ref varbos_send(struct varbos_space *space, void *memory, uint32_t to)
{
	_Atomic uint32_t *word;
	varbos_ref ref;
	uint32_t id;
	int r;

	error_enter("varbos_send");
	if (block_enter(space) || shared_id(space, &id) || check_addressee(space, to))
		return 0;
	ref = shared_held(space, memory, id, &word);
	if (!ref)
		return 0;
	r = block_send(word, ref_tag(ref), id, to);
	if (r) { /* another thread was first */
		error_word(space, ref_offset(ref), atomic_load(word), r);
		return 0;
	}
	/* Dead since it was looked at, and the sweep may have passed: then it comes back. */
	if (to != VARBOS_ANYONE && shared_is_dead(space, to) &&
	    !block_receive(word, ref_tag(ref), to, id)) {
		error_dead(space, to);
		return 0;
	}
	return ref;
}

_public_ void *varbos_receive(struct varbos_space *space, varbos_ref ref)
{
	struct words_block block;
	struct place place;
	uint32_t id;
	int r;

	error_enter("varbos_receive");
	if (block_enter(space) || shared_id(space, &id))
		return NULL;
	if (!ref_tag(ref)) {
		error_set(VARBOS_E_REFERENCE, "foreign", "0x%llx is no reference",
			  (unsigned long long)ref);
		return NULL;
	}
	if (place_at(space, ref_offset(ref), &place) || check_kind(space, &place) ||
	    find_start(space, &place, &block))
		return NULL;
	r = block_receive(block.word, ref_tag(ref), BLOCK_ANYONE, id);
	if (r) {
		error_word(space, place.offset, atomic_load(block.word), r);
		return NULL;
	}
	return space->base + place.offset;
}
