#include "client/cursor.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "client/apart.h"
#include "client/error.h"
#include "client/window.h"

enum {
	CURSOR_PLACED = 1 << 0, /* in an index of `seed`, at `from` */
	CURSOR_OWES = 1 << 1,   /* `owed` */
	CURSOR_PICKS = 1 << 2,  /* shows only what `former` makes one of `picked` */
	CURSOR_OVER = 1 << 3,
};

/* A bucket where what comes next may be, up to `last`. */
struct spot {
	const struct cache_index *index;
	uint64_t bucket, last;
};

/* What steps say besides. */
enum {
	AGAIN = -1, /* something has changed meanwhile, or the cursor has */
	ANEW = -2,  /* likewise, and what was held is not held any more */
};

/* ---- indexes ---- */

static struct index_state state_of(const struct cache_index *index)
{
	uint64_t word = index_load(&index->view.head->state);

	/* None: all of it is elsewhere. */
	if (!word)
		return (struct index_state){.moved = index->view.n_buckets, .next = true};
	return index_state_unpack(word);
}

static int next_of(struct varbos_cache *cache, struct cache_index *index,
		   struct cache_index **ret)
{
	int r = 0;

	if (!atomic_load_explicit(&index->next, memory_order_acquire))
		r = cache_index_next(cache, index);
	if (!r)
		*ret = atomic_load_explicit(&index->next, memory_order_acquire);
	return r;
}

/* Which of the indexes that there are; NULL: none of this seed is left. */
static int find(struct varbos_cache *cache, uint64_t seed, struct cache_index **ret)
{
	struct cache_index *index = atomic_load_explicit(&cache->index, memory_order_acquire);
	int r;

	while (index->view.seed != seed) {
		if (!state_of(index).next) {
			index = NULL;
			break;
		}
		r = next_of(cache, index, &index);
		if (r)
			return r;
	}
	*ret = index;
	return 0;
}

/* At the beginning of the first index where there may be something to be shown. */
static int place(struct varbos_cache *cache, struct cursor *cursor, struct cache_index **ret)
{
	struct cache_index *index = atomic_load_explicit(&cache->index, memory_order_acquire);
	struct index_state state = state_of(index);
	int r;

	while (state.next &&
	       (state.moved >= index->view.n_buckets ||
		(cursor->flags & CURSOR_PICKS && index->view.seed == cursor->former))) {
		r = next_of(cache, index, &index);
		if (r)
			return r;
		state = state_of(index);
	}
	cursor->flags |= CURSOR_PLACED;
	cursor->seed = index->view.seed;
	cursor->from = 0;
	*ret = index;
	return 0;
}

/* The walk through this seed's indexes is over: what they owe is in others. */
static void leave(struct cursor *cursor)
{
	if (!(cursor->flags & CURSOR_OWES)) {
		cursor->flags = CURSOR_OVER;
		return;
	}
	cursor->flags = CURSOR_PICKS;
	cursor->former = cursor->seed;
	cursor->picked = cursor->owed;
}

/* All from the position to `high` has moved on to an index of another seed, if it is there yet. */
static void owe(struct cursor *cursor, uint64_t high)
{
	if (!(cursor->flags & CURSOR_OWES))
		cursor->owed.low = cursor->from;
	cursor->owed.high = high;
	cursor->flags |= CURSOR_OWES;
}

static void go_on(struct cursor *cursor, uint64_t behind)
{
	cursor->from = behind + 1;
	if (!cursor->from)
		leave(cursor);
}

/* What is mixed to leads to this bucket, at most. */
static uint64_t last_of(const struct index_view *view, uint64_t bucket)
{
	unsigned __int128 behind =
		((unsigned __int128)(bucket + 1) << 64) + view->n_buckets - 1;

	assert(view->n_buckets); /* index_view_open() */
	return (uint64_t)(behind / view->n_buckets - 1);
}

static uint64_t bucket_of(const struct index_view *view, uint64_t mixed)
{
	return (uint64_t)((unsigned __int128)mixed * view->n_buckets >> 64);
}

/* Where the position leads. What is behind `last` there may not have come yet. */
static int locate(struct varbos_cache *cache, struct cursor *cursor, struct spot *ret)
{
	struct cache_index *index;
	uint64_t moved;
	int r;

	*ret = (struct spot){.last = UINT64_MAX};
	if (cursor->flags & CURSOR_PLACED)
		r = find(cache, cursor->seed, &index);
	else
		r = place(cache, cursor, &index);
	if (r)
		return r;
	if (!index) {
		owe(cursor, UINT64_MAX);
		leave(cursor);
		return AGAIN;
	}
	for (;;) {
		ret->index = index;
		ret->bucket = bucket_of(&index->view, cursor->from);
		moved = u64_min(state_of(index).moved, index->view.n_buckets);
		if (ret->bucket >= moved)
			break;
		if (!mutant(cursor_comes_early))
			ret->last = u64_min(ret->last, last_of(&index->view, moved - 1));
		r = next_of(cache, index, &index);
		if (r)
			return r;
		if (index->view.seed == cursor->seed)
			continue;
		owe(cursor, ret->last);
		go_on(cursor, ret->last);
		return AGAIN;
	}
	ret->last = u64_min(ret->last, last_of(&index->view, ret->bucket));
	return 0;
}

/* ---- a bucket ---- */

struct pass {
	struct varbos_cache *cache;
	const struct cursor *cursor;
	const struct spot *spot;
	_Atomic uint64_t *look,
		*hold; /* hazard words: of what is looked at, and of `found`; or NULL, */
	void *memory;  /* and `found` is there: without a lane */
	bool any;
	uint64_t mixed; /* the least so far */
	struct found found;
};

/* A pinned object's bytes, whatever they are; VARBOS_E_NOT_FOUND: they are none of an object. */
static int read_object(struct varbos_cache *cache, uint64_t offset, struct found *ret)
{
	const _Atomic uintptr_t *ends = &cache->ends[offset_window(offset)];
	uintptr_t end = atomic_load_explicit(ends, memory_order_acquire);
	struct object_sizes sizes;
	struct window *window;
	uint64_t at;
	int r;

	if (!end) {
		if (offset_window(offset) >= cache->space->n_windows)
			return VARBOS_E_NOT_FOUND;
		r = window_need(cache->space, offset_window(offset), &window);
		if (r)
			return r;
		end = atomic_load_explicit(ends, memory_order_acquire);
	}
	ret->header = (struct object_header *)(void *)(cache->base + offset);
	if ((uintptr_t)ret->header >= end)
		return VARBOS_E_NOT_FOUND;
	ret->sizes = __atomic_load_n(&ret->header->sizes, __ATOMIC_RELAXED);
	sizes = object_sizes_unpack(ret->sizes);
	at = object_value_at(offset, sizes);
	if (sizes.key - 1 >= OBJECT_KEY_MAX || (uintptr_t)ret->header + at + sizes.value > end)
		return VARBOS_E_NOT_FOUND;
	ret->data = (const char *)ret->header + at;
	ret->expiry = atomic_load_explicit(&ret->header->expiry, memory_order_relaxed);
	return 0;
}

static bool is_shown(const struct pass *pass, uint64_t hash, uint64_t mixed,
		     const struct found *found)
{
	const struct cursor *cursor = pass->cursor;
	uint64_t former;

	if (mixed < cursor->from || mixed > pass->spot->last ||
	    (found->expiry && found->expiry <= cache_now(pass->spot->index)))
		return false;
	if (!(cursor->flags & CURSOR_PICKS))
		return true;
	former = index_mixed(hash, cursor->former);
	return former >= cursor->picked.low && former <= cursor->picked.high;
}

/* What one entry leads to, held if it is the first to be shown. AGAIN, ANEW: the entry has changed. */
static int look_at(struct pass *pass, const _Atomic uint64_t *word)
{
	struct varbos_cache *cache = pass->cache;
	uint64_t entry = index_load(word), again, offset, pin, hash, mixed;
	struct found found;
	int r;

	if (!entry)
		return 0;
	offset = index_entry_unpack(entry).offset;
	pin = (uint64_t)cache->space_handle << OFFSET_BITS | offset;
	again = index_pin_entry(pass->look, pin, word, entry, cache->fence);
	if ((entry ^ again) & ~INDEX_HINT_MASK)
		return AGAIN;
	r = read_object(cache, offset, &found);
	if (r)
		return r == VARBOS_E_NOT_FOUND ? 0 : r;
	hash = cache_hash(cache, found.header + 1, object_sizes_unpack(found.sizes).key);
	mixed = index_mixed(hash, pass->spot->index->view.seed);
	if (!is_shown(pass, hash, mixed, &found) || (pass->any && mixed >= pass->mixed))
		return 0;
	again = index_pin_entry(pass->hold, pin, word, entry, cache->fence);
	if ((entry ^ again) & ~INDEX_HINT_MASK)
		return ANEW;
	pass->any = true;
	pass->mixed = mixed;
	pass->found = found;
	return 0;
}

/* The same without a lane. */
static int look_at_apart(struct pass *pass, const _Atomic uint64_t *word)
{
	uint64_t entry = index_load(word), hash, mixed;
	struct varbos_cache *cache = pass->cache;
	void *memory, *whole;
	struct found found;
	bool shown;
	int r;

	if (!entry)
		return 0;
	r = apart_copy(cache, word, entry, NULL, 0, false, &found, &memory);
	if (r)
		return r == APART_CHANGED ? AGAIN : r == VARBOS_E_NOT_FOUND ? 0 : r;
	hash = cache_hash(cache, found.header + 1, object_sizes_unpack(found.sizes).key);
	mixed = index_mixed(hash, pass->spot->index->view.seed);
	shown = is_shown(pass, hash, mixed, &found) && !(pass->any && mixed >= pass->mixed);
	if (shown)
		r = apart_copy(cache, word, entry, found.header + 1,
			       object_sizes_unpack(found.sizes).key, true, &found, &whole);
	free(memory);
	if (!shown || r)
		return r == APART_CHANGED || r == VARBOS_E_NOT_FOUND ? AGAIN : r;
	free(pass->memory);
	pass->memory = whole;
	pass->any = true;
	pass->mixed = mixed;
	pass->found = found;
	return 0;
}

/* All of a bucket and of its chain. AGAIN: some of it may have been missed. */
static int look_through(struct pass *pass)
{
	const struct index_view *view = &pass->spot->index->view;
	const struct index_bucket *home = &view->buckets[pass->spot->bucket], *here = home;
	uint64_t control = index_load(&home->control), link = control;
	int r = 0;

	for (uint32_t chain = 0;; chain++) {
		for (uint32_t slot = 0; slot < INDEX_ENTRIES && !r; slot++)
			do
				r = pass->look ? look_at(pass, &here->entries[slot])
					       : look_at_apart(pass, &here->entries[slot]);
			while (r == AGAIN);
		link = index_control_unpack(link).link;
		if (r || !link || link > view->n_overflow || chain == INDEX_CHAIN_MAX)
			break;
		here = &view->buckets[view->n_buckets + link - 1];
		link = index_load(&here->control);
	}
	if (r)
		return r == ANEW ? AGAIN : r;
	if (pass->spot->bucket < state_of(pass->spot->index).moved)
		return AGAIN;
	return index_load(&home->control) == control ? 0 : AGAIN;
}

/* ---- steps ---- */

/* One bucket; AGAIN: the cursor is where something may be next, or over. */
static int step(struct varbos_cache *cache, struct cursor *cursor, _Atomic uint64_t *look,
		_Atomic uint64_t *hold, struct found *ret, void **ret_memory)
{
	struct spot spot;
	struct pass pass = {
		.cache = cache,
		.cursor = cursor,
		.spot = &spot,
		.look = look,
		.hold = hold,
	};
	int r;

	r = locate(cache, cursor, &spot);
	if (r)
		return r;
	r = look_through(&pass);
	if (look)
		index_release(look);
	if (!r && pass.any) {
		go_on(cursor, pass.mixed);
		*ret = pass.found;
		if (!look)
			*ret_memory = pass.memory;
		return 0;
	}
	if (hold)
		index_release(hold);
	free(pass.memory);
	if (!r)
		go_on(cursor, spot.last);
	return r ? r : AGAIN;
}

int cursor_next(struct varbos_cache *cache, struct cursor *cursor, _Atomic uint64_t *look,
		_Atomic uint64_t *hold, struct found *ret, void **ret_memory)
{
	int r;

	do
		r = cursor->flags & CURSOR_OVER
			    ? VARBOS_E_NOT_FOUND
			    : step(cache, cursor, look, hold, ret, ret_memory);
	while (r == AGAIN);
	return r;
}

_public_ int varbos_cache_next(struct varbos_cache *cache, struct varbos_cursor *place,
			       struct varbos_key *ret_key, struct varbos_view *ret)
{
	_cleanup_(lane_readp) struct own_lane *own = NULL;
	_Atomic uint64_t *look = NULL, *hazard = NULL;
	struct cursor cursor;
	struct found found;
	void *memory = NULL;
	int r;

	error_enter("varbos_cache_next");
	if (!place || !ret_key || !ret)
		return error_null(!place ? "cursor" : !ret_key ? "ret_key" : "ret");
	r = cache_read_enter(cache, &own);
	if (r)
		return r;
	if (own->lane) {
		look = &own->lane->hazards[0];
		hazard = lane_hazard(own->lane, cache->pins);
		if (!hazard)
			return error_views(cache, own, 1);
	}
	memcpy(&cursor, place, sizeof(cursor));
	r = cursor_next(cache, &cursor, look, hazard, &found, &memory);
	if (r && r != VARBOS_E_NOT_FOUND)
		return r;
	memcpy(place, &cursor, sizeof(cursor));
	if (r)
		return error_quick(r, "varbos_cache_next");
	*ret_key = (struct varbos_key){found.header + 1, object_sizes_unpack(found.sizes).key};
	if (hazard)
		cache_view_fill(ret, cache, &found, hazard);
	else
		apart_view(ret, cache, &found, memory);
	return 0;
}
