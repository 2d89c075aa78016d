/*
 * Why a copy that AP1 believes has no wrong byte.
 *
 * The order is: the entry E; the header H; E again; all of the object; E again; H again. With E unchanged
 * twice and H as before, call C the object that E led to at the second look at E, D the one at the third.
 * All of C was there at the second look: it was complete before it was published.
 *
 * If C did not go before the third look, nobody has written there: memory is used again only after its
 * entry has gone. So the copy is C's.
 *
 * If it did, D was published at the same place since then (that its entry is the same word, gen included, is
 * one chance in 15 more). H is read again after D was published, so it is D's header or a later one's;
 * and it is what was there before the second look at E. But generations are drawn at random for each
 * value, beside the ms: a header of D's, or of a later one's, cannot have been there before it was, unless the daemon,
 * which moves objects as they are, had moved that very object away and back to the same byte. In between
 * its memory was given to somebody else, filled, emptied and given back, each time with a scan
 * before. That takes many turns of the daemon's loop, and LOOK_NS is over then: what took longer is not believed,
 * whatever it says.
 */
#include "client/apart.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "client/cache_ask.h"
#include "client/error.h"
#include "client/window.h"

enum {
	ALIGNED = 64,      /* as objects are, so that values are, too */
	LOOK_NS = 2000000, /* for small ones; */
	BYTE_NS = 4,       /* large ones are not moved */
};

static bool is_changed(const _Atomic uint64_t *word, uint64_t entry)
{
	atomic_thread_fence(memory_order_acquire);
	return (index_load(word) ^ entry) & ~INDEX_HINT_MASK && !mutant(apart_believed);
}

/* AP2. VARBOS_E_NOT_FOUND: it is not all there. */
static int read_at(struct varbos_cache *cache, uint64_t offset, void *to, uint64_t size)
{
	uint64_t at = offset_position(offset);
	ssize_t done;
	int fd, r;

	r = window_file(cache->space, offset_window(offset), &fd);
	if (r)
		return r;
	for (char *rest = to; size;
	     rest += done, at += (uint64_t)done, size -= (uint64_t)done) {
		done = pread(fd, rest, size, (off_t)at);
		if (done < 0 && errno == EINTR)
			done = 0;
		else if (done < 0)
			return error_system(errno, "reading a window");
		else if (!done)
			return VARBOS_E_NOT_FOUND;
	}
	return 0;
}

/* Could it be in its window? What is there any member may have spoiled. */
static bool is_possible(const struct varbos_cache *cache, uint64_t offset,
			struct object_sizes sizes)
{
	uintptr_t end =
		atomic_load_explicit(&cache->ends[offset_window(offset)], memory_order_acquire);

	return sizes.key - 1 < OBJECT_KEY_MAX &&
	       object_size(offset, sizes) <= end - (uintptr_t)(cache->base + offset);
}

/* Memory for `size` bytes, where `offset` has its like; *ret_at: where they go. */
static void *memory_for(uint64_t offset, uint64_t size, char **ret_at)
{
	uint64_t skip = offset % ALIGNED;
	char *memory =
		aligned_alloc(ALIGNED, (skip + size + ALIGNED - 1) & ~(uint64_t)(ALIGNED - 1));

	if (memory)
		*ret_at = memory + skip;
	return memory;
}

static struct found found_at(char *object, uint64_t offset, uint64_t sizes)
{
	struct object_header *header = (struct object_header *)(void *)object;

	return (struct found){
		.header = header,
		.data = object + object_value_at(offset, object_sizes_unpack(sizes)),
		.sizes = sizes,
		.expiry = atomic_load_explicit(&header->expiry, memory_order_relaxed),
	};
}

int apart_copy(struct varbos_cache *cache, const _Atomic uint64_t *word, uint64_t entry,
	       const void *key, size_t key_size, bool whole, struct found *ret,
	       void **ret_memory)
{
	_cleanup_(freep) char *memory = NULL;
	uint64_t offset = index_entry_unpack(entry).offset, begun_ns = clock_ns(), size;
	struct object_header first, last;
	struct object_sizes sizes;
	struct found found;
	char *object;
	int r;

	r = read_at(cache, offset, &first, sizeof(first));
	if (is_changed(word, entry))
		return APART_CHANGED;
	if (r)
		return r;
	sizes = object_sizes_unpack(first.sizes);
	if (!is_possible(cache, offset, sizes) || (key && sizes.key != key_size))
		return VARBOS_E_NOT_FOUND;
	size = whole ? object_size(offset, sizes) : object_value_at(offset, sizes);
	memory = memory_for(offset, size, &object);
	if (!memory)
		return error_system(ENOMEM, "a copy of a value");
	if (mutant(apart_believed))
		mutant_moment();
	r = read_at(cache, offset, object, size);
	if (is_changed(word, entry))
		return APART_CHANGED;
	if (!r)
		r = read_at(cache, offset, &last, sizeof(last));
	if (r)
		return r;
	found = found_at(object, offset, first.sizes);
	if ((found.header->sizes != first.sizes || found.header->birth != first.birth ||
	     last.sizes != first.sizes || last.birth != first.birth ||
	     clock_ns() - begun_ns > LOOK_NS + size * BYTE_NS) &&
	    !mutant(apart_believed))
		return APART_CHANGED;
	if (key && memcmp(object + sizeof(first), key, key_size) != 0)
		return VARBOS_E_NOT_FOUND;
	*ret = found;
	*ret_memory = TAKE_PTR(memory);
	return 0;
}

/* As who has a lane notes it: unless that was done lately. */
static void note_access(const struct varbos_cache *cache, const struct cache_index *index,
			uint64_t entry, uint64_t hash)
{
	uint64_t epoch = atomic_load_explicit(&index->view.head->epoch, memory_order_relaxed);

	if ((entry >> INDEX_HINT_SHIFT ^ epoch) & 15 && !cache->space->read_only)
		cache_ask_use(cache, hash);
}

/* One walk through an index. *ret_r: of an object, found or not; else where to go on. */
static enum index_answer walk_through(struct varbos_cache *cache, struct index_walk *walk,
				      const void *key, size_t key_size, bool whole,
				      struct found *ret, void **ret_memory, int *ret_r)
{
	enum index_answer answer;

	do {
		*ret_r = 0;
		answer = index_walk_next(walk, false);
		if (answer == INDEX_OFFERED)
			*ret_r = apart_copy(cache, walk->word, walk->entry, key, key_size,
					    whole, ret, ret_memory);
	} while (answer == INDEX_OFFERED && *ret_r == VARBOS_E_NOT_FOUND);
	return answer;
}

int apart_look(struct varbos_cache *cache, const void *key, size_t key_size, uint64_t hash,
	       bool whole, bool noted, struct found *ret, void **ret_memory)
{
	struct cache_index *index = atomic_load_explicit(&cache->index, memory_order_acquire);
	_Atomic uint64_t nobodys = 0; /* who has no lane pins nothing */
	struct index_walk walk;
	enum index_answer answer;
	int r;

	for (;;) {
		index_walk_begin(&walk, &index->view, hash, &nobodys, cache->space_handle);
		answer = walk_through(cache, &walk, key, key_size, whole, ret, ret_memory, &r);
		if (r == APART_CHANGED)
			continue;
		if (answer == INDEX_OFFERED)
			break;
		if (answer == INDEX_MISS) {
			r = VARBOS_E_NOT_FOUND;
			break;
		}
		r = cache_index_next(cache, index);
		if (r)
			return r;
		index = atomic_load_explicit(&index->next, memory_order_acquire);
	}
	if (!r && ret->expiry && ret->expiry <= cache_now(index)) {
		free(*ret_memory);
		r = VARBOS_E_NOT_FOUND;
	}
	if (!r && noted)
		note_access(cache, index, walk.entry, hash);
	if (noted && (!r || r == VARBOS_E_NOT_FOUND))
		uncounted_add(cache, !r);
	return r;
}

void apart_view(struct varbos_view *ret, const struct varbos_cache *cache,
		const struct found *found, void *memory)
{
	cache_view_fill(ret, cache, found, NULL);
	ret->reserved[VIEW_HAZARD] = (uintptr_t)memory | VIEW_COPY;
}

int apart_keep(const void *from, uint64_t offset, struct object_sizes sizes, struct found *ret,
	       void **ret_memory)
{
	uint64_t size = object_size(offset, sizes);
	char *object;
	void *memory = memory_for(offset, size, &object);

	if (!memory)
		return -ENOMEM;
	memcpy(object, from, size);
	*ret = found_at(object, offset, object_sizes_pack(sizes));
	*ret_memory = memory;
	return 0;
}
