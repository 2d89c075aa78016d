#include "client/words.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/base.h"
#include "client/error.h"
#include "client/reserve.h"
#include "client/sealed.h"
#include "client/space.h"
#include "proto/block_word.h"
#include "proto/size_class.h"

static int map_words(struct varbos_space *space, const struct window *window, int fd,
		     void **ret)
{
	uint64_t size = words_file_size(window->n_slices);
	int access = space->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	void *words;
	int r;

	r = sealed_check(fd, "words file", SEALED_EXACT, size);
	if (r)
		return r;
	words = mmap(NULL, size, access, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (words == MAP_FAILED)
		return error_system(errno, "mapping a words file");
	r = reserve_hide(words, size);
	if (r) {
		munmap(words, size);
		return error_system(r, "mapping a words file");
	}
	*ret = words;
	return 0;
}

static int fetch(struct varbos_space *space, uint32_t number, const struct window *window,
		 void **ret)
{
	struct wire_window_open request = {.space = space->handle, .window = number};
	_cleanup_(call_endp) struct call *call = NULL;
	int r;

	r = call_begin(&call, &space->vb->calls, WIRE_WORDS_OPEN, &request, 1);
	if (r)
		return r;
	return map_words(space, window, call->fds[0], ret);
}

int words_need(struct varbos_space *space, uint32_t number, struct window *window, void **ret)
{
	_cleanup_(lock_releasep) struct lock *lock = NULL;
	void *words = atomic_load_explicit(&window->words, memory_order_acquire);
	int r;

	if (words) {
		*ret = words;
		return 0;
	}
	lock_acquire(&space->lock);
	lock = &space->lock;
	words = atomic_load_explicit(&window->words, memory_order_relaxed);
	if (!words) {
		r = fetch(space, number, window, &words);
		if (r)
			return r;
		atomic_store_explicit(&window->words, words, memory_order_release);
	}
	*ret = words;
	return 0;
}

int words_map(struct varbos_space *space, uint64_t offset)
{
	uint32_t number = offset_window(offset);
	struct window *window;
	void *words;
	int r;

	r = window_need(space, number, &window);
	return r ? r : words_need(space, number, window, &words);
}

void words_release(struct window *window)
{
	void *words = atomic_load_explicit(&window->words, memory_order_relaxed);

	if (words)
		munmap(words, words_file_size(window->n_slices));
	atomic_store_explicit(&window->words, NULL, memory_order_relaxed);
}

/* An extent of its own: its only word is the first of its first slice. */
static bool seek_extent(const struct place *place, void *words, struct words_block *ret)
{
	struct slice_info head;
	uint32_t first = 0;

	if (!place_head(place->window, place->slice, EXTENT_SHARED, place->info.tag, &first,
			&head) ||
	    head.count > place->window->n_slices - first || place->slice - first >= head.count)
		return false;
	*ret = (struct words_block){
		.word = words_at(words, words_index(first, 0)),
		.window = place->window,
		.slice = place->slice,
		.offset = place->offset - (place->position - ((uint64_t)first << SLICE_SHIFT)),
		.size = (uint64_t)head.count << SLICE_SHIFT,
		.tag = head.tag,
	};
	return true;
}

static struct slice_cut cut_of(const struct window *window, void *words, uint32_t slice)
{
	return slice_cut_unpack(atomic_load_explicit(
		&words_note(words, window->n_slices, slice)->info, memory_order_acquire));
}

/* Is the first slice of a run cut alike, and in the same extent? */
static bool run_begins(const struct place *place, void *words, uint32_t first,
		       uint32_t class_plus_1)
{
	const struct window *window = place->window;
	struct slice_cut cut = cut_of(window, words, first);
	struct slice_info info = slice_word_unpack(
		atomic_load_explicit(&window->map[first], memory_order_acquire));

	return cut.class_plus_1 == class_plus_1 && !cut.back && info.kind == place->info.kind &&
	       info.tag == place->info.tag;
}

static bool seek_block(const struct place *place, void *words, struct words_block *ret)
{
	const struct window *window = place->window;
	struct slice_cut cut = cut_of(window, words, place->slice);
	const struct size_class *class;
	uint32_t first, block;
	uint64_t within;

	if (!cut.class_plus_1 || cut.class_plus_1 > CLASSES_SPACED)
		return false;
	class = &size_classes[cut.class_plus_1 - 1];
	if (cut.back >= class->slices || cut.back > place->slice)
		return false;
	first = place->slice - cut.back;
	if (class->slices > window->n_slices - first ||
	    (cut.back && !run_begins(place, words, first, cut.class_plus_1)))
		return false;

	within = place->position - ((uint64_t)first << SLICE_SHIFT);
	block = (uint32_t)(within * class->reciprocal >> 32);
	if ((uint64_t)block * class->size > within) /* exact at a block's start alone */
		block--;
	if (block >= class->blocks)
		return false;
	*ret = (struct words_block){
		.word = words_at(words, words_index(first, block)),
		.hint = &words_note(words, window->n_slices, first)->freed,
		.window = place->window,
		.slice = place->slice,
		.offset = place->offset - within + (uint64_t)block * class->size,
		.size = class->size,
		.tag = place->info.tag,
	};
	return true;
}

static bool seek(const struct place *place, void *words, struct words_block *ret)
{
	switch (place->info.kind) {
	case EXTENT_SHARED:
		return seek_extent(place, words, ret);
	case EXTENT_BLOCKS:
		return seek_block(place, words, ret);
	case EXTENT_NONE:
	case EXTENT_PRIVATE:
	case EXTENT_CHANNEL:
	case EXTENT_SEGMENT:
	case EXTENT_OBJECT:
	default:
		return false;
	}
}

int words_find(struct varbos_space *space, const struct place *place, struct words_block *ret)
{
	void *words;
	int r;

	r = words_need(space, offset_window(place->offset), place->window, &words);
	if (r)
		return r;
	if (seek(place, words, ret))
		return 0;
	return error_set(VARBOS_E_REFERENCE, "freed",
			 "no block is at offset 0x%llx of space %s: freed already?",
			 (unsigned long long)place->offset, space->name);
}

int words_peek(struct varbos_space *space, uint64_t ref, struct words_block *ret)
{
	uint64_t offset = ref_offset(ref);
	uint32_t number = offset_window(offset);
	struct place place = {.offset = offset, .position = offset_position(offset)};
	void *words;

	if (!ref_tag(ref) ||
	    !atomic_load_explicit(&space->root->windows[number], memory_order_acquire))
		return WORDS_E_NONE;
	if (number >= space->n_windows ||
	    !atomic_load_explicit(&space->windows[number].mapped, memory_order_acquire))
		return WORDS_E_UNMAPPED;
	place.window = &space->windows[number];
	words = atomic_load_explicit(&place.window->words, memory_order_acquire);
	if (!words)
		return WORDS_E_UNMAPPED;
	if (place.position >= place.window->size)
		return WORDS_E_NONE;
	place.slice = (uint32_t)(place.position >> SLICE_SHIFT);
	place.info = slice_word_unpack(
		atomic_load_explicit(&place.window->map[place.slice], memory_order_acquire));
	return seek(&place, words, ret) && ret->offset == offset ? 0 : WORDS_E_NONE;
}

/* How many words of a slice are its blocks': all of a run's are in its first. */
static uint32_t slice_blocks(const struct window *window, void *words, uint32_t slice)
{
	struct slice_cut cut = cut_of(window, words, slice);

	if (!cut.class_plus_1 || cut.class_plus_1 > CLASSES_SPACED || cut.back)
		return 0;
	return size_classes[cut.class_plus_1 - 1].blocks;
}

/* The first word in use of words [from, to) of the window, or `to`. */
static uint64_t find_used(const struct window *window, void *words, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint32_t slice = (uint32_t)(from / SLICE_WORDS);
		uint64_t next = u64_min(words_index(slice + 1, 0), to);
		uint64_t end = words_index(slice, slice_blocks(window, words, slice));

		for (end = u64_min(end, to); from < end; from++) {
			uint32_t word = atomic_load(words_at(words, from));
			enum block_state state = block_word_unpack(word).state;

			if (state == BLOCK_HELD || state == BLOCK_SENT)
				return from;
		}
		from = next;
	}
	return to;
}

bool words_all_free(const struct window *window, void *words, uint32_t first, uint32_t count,
		    uint64_t *start)
{
	uint64_t from = words_index(first, 0), to = words_index(first + count, 0);
	uint64_t at = *start >= from && *start < to ? *start : from;
	uint64_t used = find_used(window, words, at, to);

	if (used == to) {
		used = find_used(window, words, from, at);
		if (used == at)
			return true;
	}
	*start = used;
	return false;
}
