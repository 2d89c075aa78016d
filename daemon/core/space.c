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

static uint32_t units_up(const struct space *space, uint64_t bytes)
{
	uint64_t unit = units_bytes(space->rung, 1);

	/* limits do not exceed the rung's, so this neither wraps nor truncates */
	return (uint32_t)((bytes + unit - 1) >> space->rung->unit_shift);
}

static uint64_t limit_of(const struct space *space)
{
	return space->changing ? u64_max(space->budget.limit, space->next.limit)
			       : space->budget.limit;
}

uint32_t space_limit_units(const struct space *space)
{
	return units_up(space, limit_of(space));
}

uint32_t space_reserve_units(const struct space *space)
{
	/* What a plan commits for it is not to be taken away before it is recorded. */
	return units_up(space, space->changing ? u64_max(space->reserve, space->next.reserve)
					       : space->reserve);
}

uint32_t space_room(const struct space *space)
{
	uint32_t limit = space_limit_units(space);
	uint32_t has = space->units.committed + space->units.committing;

	return limit > has ? limit - has : 0;
}

bool space_gives(const struct space *space, const struct space *to)
{
	return space != to && space->state == SPACE_LIVE &&
	       (space->rung == to->rung || mutant(rung_of_others));
}

uint32_t space_spare(const struct space *space)
{
	uint32_t reserve = space_reserve_units(space);
	uint32_t above =
		space->units.committed > reserve ? space->units.committed - reserve : 0;

	return (uint32_t)u64_min(space->units.idle, above);
}

uint32_t space_retired_idle(const struct space *space)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < space->windows_max; ++i)
		if (space->windows[i] && space->windows[i]->retired)
			n += window_idle(space->windows[i]);
	return n;
}

bool space_has_retired(const struct space *space)
{
	for (uint32_t i = 0; i < space->windows_max; ++i)
		if (space->windows[i] && space->windows[i]->retired)
			return true;
	return false;
}

static uint32_t log2_down(uint64_t bytes)
{
	return 63 - (uint32_t)__builtin_clzll(bytes);
}

static uint32_t log2_up(uint64_t bytes)
{
	return bytes > 1 ? log2_down(bytes - 1) + 1 : 0;
}

/* What windows there are on a node: their bytes together, and of the largest. */
static uint64_t windows_on(const struct space *space, uint32_t node, uint64_t *ret_largest)
{
	uint64_t sum = 0;

	*ret_largest = 0;
	for (uint32_t i = 0; i < space->windows_max; ++i) {
		const struct window *window = space->windows[i];
		uint64_t size;

		if (!window || window->retired || window->place.info.node != node)
			continue;
		size = (uint64_t)1 << window->place.info.size_shift;
		sum += size;
		*ret_largest = u64_max(*ret_largest, size);
	}
	return sum;
}

/*
 * Where holes cost, a new window takes what the limit leaves (P1). Elsewhere it is as large as the
 * limit, so that all of it can be had in one piece, also after the limit was raised.
 */
uint32_t space_window_shift(const struct core *core, const struct space *space, uint32_t node)
{
	uint64_t limit = limit_of(space), largest, taken = windows_on(space, node, &largest);
	uint32_t shift;

	if (space->n_windows == WINDOWS_MAX)
		return 0;
	if (space->rung->page_shift == 12)
		return taken < limit
			       ? (uint32_t)u64_min(log2_down(limit - taken), POSITION_BITS)
			       : 0;
	shift = (uint32_t)u64_min(u64_max(log2_up(limit), space->rung->unit_shift),
				  POSITION_BITS);
	return taken < limit || largest < (uint64_t)1 << shift ? shift : 0;
}

uint64_t space_extent_max(const struct core *core, const struct space *space, uint64_t nodes)
{
	uint64_t max = 0, most = 0, largest;

	for (uint32_t i = 0; i < core->config.n_nodes; ++i) {
		uint32_t shift;

		if (!(nodes & node_bit(i)))
			continue;
		shift = space_window_shift(core, space, i);
		windows_on(space, i, &largest);
		max = u64_max(max, u64_max(largest, shift ? (uint64_t)1 << shift : 0));
		most = u64_max(most, units_bytes(space->rung, space->rung->nodes[i].capacity));
	}
	return u64_min(u64_min(max, space->budget.limit), most);
}

uint64_t space_holds(const struct core *core, const struct space *space)
{
	uint32_t units = space->units.committed + space->units.committing;
	uint64_t holds = units_bytes(space->rung, units), largest;

	if (space->rung->page_shift == 12)
		for (uint32_t i = 0; i < core->config.n_nodes; ++i)
			holds = u64_max(holds, windows_on(space, i, &largest));
	return holds;
}

uint64_t space_claim(const struct core *core, const struct space *space)
{
	return u64_max(limit_of(space), space_holds(core, space));
}

struct space *space_new(void)
{
	struct space *space = calloc(1, sizeof(*space));

	if (!space)
		return NULL;
	space->slot = SLOT_NONE;
	list_init(&space->members);
	list_init(&space->extents);
	list_init(&space->channels);
	list_init(&space->caches);
	ids_init(&space->ids);
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
			 .page_shift = space->rung->page_shift,
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

int space_quota_move(struct core *core, struct space *space, uint32_t uid,
		     struct core_fault *fault)
{
	struct quota *from = space->quota, *to = quota_ref(&core->quotas, uid);
	uint64_t n[QUOTA_KINDS] = {
		[QUOTA_SPACES] = 1,
		[QUOTA_WINDOWS] = space->n_windows,
		[QUOTA_LEASES] = space->n_adopted,
		[QUOTA_CACHES] = space->n_caches,
		[QUOTA_METADATA] = METADATA_SPACE +
				   (uint64_t)space->n_adopted * METADATA_LEASE +
				   (uint64_t)space->n_channels * METADATA_CHANNEL +
				   (uint64_t)space->n_caches * METADATA_CACHE,
	};
	struct quota_refusal why;
	bool may = true;

	if (!to)
		return -ENOMEM;
	list_for_each(at, &space->caches) n[QUOTA_METADATA] +=
		list_entry(at, struct estate, link)->files;
	for (uint32_t i = 0; i < space->windows_max; ++i)
		if (space->windows[i])
			n[QUOTA_METADATA] +=
				window_metadata(space->windows[i]->place.info.size_shift);
	/* Given first: what is moved is not one more of all there are. */
	for (enum quota_kind kind = 0; kind < QUOTA_KINDS; ++kind)
		quota_give(&core->quotas, from, kind, n[kind]);
	for (enum quota_kind kind = 0; may && kind < QUOTA_KINDS; ++kind)
		may = !n[kind] || quota_may(&core->quotas, to, kind, n[kind], &why);
	for (enum quota_kind kind = 0; kind < QUOTA_KINDS; ++kind)
		quota_take(&core->quotas, may ? to : from, kind, n[kind]);
	space->quota = may ? to : from;
	quota_unref(&core->quotas, may ? from : to);
	if (may)
		return 0;
	return FAULT(fault, CORE_E_LIMIT, .which = why.which, .requested = why.requested,
		     .max = why.max, .held = why.held, .all = why.all);
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
		.page_shift = space->rung->page_shift,
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
		.ceiling = space->ceiling,
		.hash_seed = space->hash_seed,
	};

	memcpy(record.name, space->name, sizeof(record.name));
	return record;
}
