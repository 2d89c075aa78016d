#include "daemon/core/space.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "daemon/core/state.h"

bool space_name_valid(const char *name)
{
	size_t n = name ? strnlen(name, SPACE_NAME_MAX + 1) : 0;

	if (!n || n > SPACE_NAME_MAX || name[0] == '.' || name[0] == '-')
		return false;
	return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			    "0123456789._-") == n;
}

static uint32_t units_up(const struct core *core, uint64_t bytes)
{
	uint64_t unit = (uint64_t)1 << core->unit_shift;

	/* limits do not exceed the region's, so this neither wraps nor truncates */
	return (uint32_t)((bytes + unit - 1) >> core->unit_shift);
}

uint32_t space_limit_units(const struct core *core, const struct space *space)
{
	return units_up(core, space->budget.limit);
}

uint32_t space_reserve_units(const struct core *core, const struct space *space)
{
	return units_up(core, space->reserve);
}

uint32_t space_room(const struct core *core, const struct space *space)
{
	return space_limit_units(core, space) - space->units.committed -
	       space->units.committing;
}

uint32_t space_spare(const struct core *core, const struct space *space)
{
	uint32_t reserve = space_reserve_units(core, space);
	uint32_t above =
		space->units.committed > reserve ? space->units.committed - reserve : 0;

	return (uint32_t)u64_min(space->units.idle, above);
}

static uint32_t log2_down(uint64_t bytes)
{
	return 63 - (uint32_t)__builtin_clzll(bytes);
}

static uint32_t log2_up(uint64_t bytes)
{
	return bytes > 1 ? log2_down(bytes - 1) + 1 : 0;
}

/* Of a window for `bytes` of the limit: never more than them where holes cost (P1). */
static uint32_t window_shift(const struct core *core, uint64_t bytes)
{
	uint32_t shift;

	if (core->config.page_shift == 12)
		shift = log2_down(bytes);
	else
		shift = (uint32_t)u64_max(log2_up(bytes), core->unit_shift);
	return (uint32_t)u64_min(shift, POSITION_BITS);
}

uint32_t space_window_shift(const struct core *core, const struct space *space, uint32_t node)
{
	uint64_t taken = 0;

	if (space->n_windows == WINDOWS_MAX)
		return 0;
	for (uint32_t i = 0; i < space->windows_max; ++i) {
		const struct window *window = space->windows[i];

		if (window && window->place.info.node == node)
			taken += (uint64_t)1 << window->place.info.size_shift;
	}
	if (taken >= space->budget.limit)
		return 0;
	return window_shift(core, space->budget.limit - taken);
}

uint64_t space_extent_max(const struct core *core, const struct space *space, uint64_t nodes)
{
	uint64_t max = (uint64_t)1 << window_shift(core, space->budget.limit), node = 0;

	for (uint32_t i = 0; i < core->config.n_nodes; ++i)
		if (nodes & node_bit(i))
			node = u64_max(node, core->config.node_bytes[i]);
	return u64_min(u64_min(max, space->budget.limit), node);
}

struct space *space_new(void)
{
	struct space *space = calloc(1, sizeof(*space));

	if (!space)
		return NULL;
	space->slot = SLOT_NONE;
	list_init(&space->members);
	list_init(&space->extents);
	return space;
}

struct space *space_free(struct core *core, struct space *space)
{
	if (!space)
		return NULL;
	for (uint32_t i = 0; i < space->windows_max; ++i)
		if (space->windows[i])
			space_window_drop(core, space->windows[i]);
	if (space->quota) {
		struct space **at = &core->names[core_name_bucket(core, space->name)];

		while (*at != space)
			at = &(*at)->next_named;
		*at = space->next_named;
		core->spaces[space->slot] = NULL;
		core_give(core, space->quota, QUOTA_SPACES, METADATA_SPACE);
		quota_unref(&core->quotas, space->quota);
	}
	free(space->windows);
	free(space);
	return NULL;
}

int space_list(struct core *core, struct space *space)
{
	struct space **bucket = &core->names[core_name_bucket(core, space->name)];

	space->quota = quota_ref(&core->quotas, space->owner.uid);
	if (!space->quota)
		return -ENOMEM;
	core_take(core, space->quota, QUOTA_SPACES, METADATA_SPACE);
	space->next_named = *bucket;
	*bucket = space;
	core->spaces[space->slot] = space;
	return 0;
}

bool space_window_pending(const struct space *space)
{
	for (uint32_t i = 0; i < space->windows_max; ++i)
		if (space->windows[i] && space->windows[i]->pending)
			return true;
	return false;
}

struct window *space_window_at(const struct space *space, uint32_t number)
{
	return number < space->windows_max ? space->windows[number] : NULL;
}

uint32_t space_number_free(const struct space *space)
{
	uint32_t number = 0;

	while (number < space->windows_max && space->windows[number])
		++number;
	return number;
}

static uint64_t window_metadata(uint32_t size_shift)
{
	return METADATA_WINDOW + ((uint64_t)METADATA_SLICE << (size_shift - SLICE_SHIFT));
}

int space_window_enter(struct core *core, struct space *space, struct window *window)
{
	uint32_t number = window->place.number;

	if (number >= space->windows_max) {
		uint32_t max = number + 1;
		struct window **windows;

		windows = realloc(space->windows, max * sizeof(struct window *));
		if (!windows)
			return -ENOMEM;
		for (uint32_t i = space->windows_max; i < max; ++i)
			windows[i] = NULL;
		space->windows = windows;
		space->windows_max = max;
	}
	assert(!space->windows[number]);
	window->space = space;
	space->windows[number] = window;
	++space->n_windows;
	core->windows[window->slot] = window;
	core_take(core, space->quota, QUOTA_WINDOWS,
		  window_metadata(window->place.info.size_shift));
	return 0;
}

/* 16 bits of the window word; 0 means that there never was a window. */
static uint32_t generation_after(uint32_t generation)
{
	generation = (generation + 1) & GENERATION_MASK;
	return generation ? generation : 1;
}

int space_window_add(struct core *core, struct space *space, uint32_t node, uint32_t size_shift,
		     struct window **ret, struct core_fault *fault)
{
	struct window_place place = {
		.info = {.state = WINDOW_BORN,
			 .node = node,
			 .page_shift = core->config.page_shift,
			 .size_shift = size_shift,
			 .generation = space->window_next},
		.number = space_number_free(space),
		.space = space->slot,
	};
	struct window *window;
	int r;

	r = core_may(core, space->quota, QUOTA_WINDOWS, window_metadata(size_shift), fault);
	if (r)
		return r;
	r = changes_owe(&core->changes, CHANGES_WINDOW);
	if (r)
		return r;
	r = window_new(&window, place, space->placement, &space->units);
	if (r) {
		changes_forgive(&core->changes, CHANGES_WINDOW);
		return r;
	}
	window->pending = true;
	window->slot = slots_take(&core->slots[RECORD_WINDOW]);
	r = space_window_enter(core, space, window);
	if (r) {
		changes_forgive(&core->changes, CHANGES_WINDOW);
		slots_put(&core->slots[RECORD_WINDOW], window->slot);
		window_free(window);
		return r;
	}
	space->window_next = generation_after(space->window_next);
	*ret = window;
	return 0;
}

void space_window_undo(struct core *core, struct window *window)
{
	window->space->window_next = window->place.info.generation;
	changes_forgive(&core->changes, CHANGES_WINDOW);
	space_window_drop(core, window);
}

void space_window_drop(struct core *core, struct window *window)
{
	struct space *space = window->space;

	space->windows[window->place.number] = NULL;
	--space->n_windows;
	core->windows[window->slot] = NULL;
	core_give(core, space->quota, QUOTA_WINDOWS,
		  window_metadata(window->place.info.size_shift));
	slots_put(&core->slots[RECORD_WINDOW], window->slot);
	window_free(window);
}

struct space_word space_word(const struct core *core, const struct space *space)
{
	return (struct space_word){
		.removed = space->removed,
		.placement = space->placement_id,
		.numa = space->numa.kind,
		.page_shift = core->config.page_shift,
		.weight = space->weight,
	};
}

struct space_record space_record(const struct core *core, const struct space *space)
{
	struct space_record record = {
		.state = space_word_pack(space_word(core, space)),
		.owner = space->owner.uid | (uint64_t)space->owner.gid << 32,
		.mode = space->mode,
		.limit = space->budget.limit,
		.reserve = space->reserve,
		.client_limit = space->client_limit,
		.tag_next = space->tag_next,
		.window_next = space->window_next,
		.nodes = space->numa.nodes,
	};

	memcpy(record.name, space->name, sizeof(record.name));
	return record;
}
