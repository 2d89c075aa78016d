#include "client/place.h"

#include "client/error.h"
#include "client/space.h"

int place_at(struct varbos_space *space, uint64_t offset, struct place *ret)
{
	struct place place = {.offset = offset, .position = offset_position(offset)};
	uint64_t word;
	int r;

	r = window_need(space, offset_window(offset), &place.window);
	if (r)
		return r;
	if (place.position >= place.window->size)
		return error_set(VARBOS_E_REFERENCE, "foreign",
				 "offset 0x%llx of space %s is beyond its windows",
				 (unsigned long long)offset, space->name);

	place.slice = (uint32_t)(place.position >> SLICE_SHIFT);
	word = atomic_load_explicit(&place.window->map[place.slice], memory_order_acquire);
	place.info = slice_word_unpack(word);
	if (place.info.kind == EXTENT_NONE)
		return error_set(VARBOS_E_REFERENCE, "freed",
				 "nothing is allocated at offset 0x%llx of space %s: freed "
				 "already?",
				 (unsigned long long)offset, space->name);

	*ret = place;
	return 0;
}

int place_of(struct varbos_space *space, const void *memory, struct place *ret)
{
	uintptr_t at = (uintptr_t)memory, base = (uintptr_t)space->base;

	if (at < base || at - base >= space->n_windows * WINDOW_BYTES_MAX)
		return error_set(VARBOS_E_REFERENCE, "foreign", "%p is not in space %s", memory,
				 space->name);
	return place_at(space, at - base, ret);
}

bool place_head(const struct window *window, uint32_t slice, enum extent_kind kind,
		uint32_t tag, uint32_t *ret, struct slice_info *ret_info)
{
	struct slice_info info;

	for (;; slice--) {
		info = slice_word_unpack(
			atomic_load_explicit(&window->map[slice], memory_order_acquire));
		if (info.kind != kind || info.tag != tag || (!info.head && !slice))
			return false;
		if (info.head)
			break;
	}
	*ret = slice;
	*ret_info = info;
	return true;
}
