#include "tests/unit/placement_map.h"

#include <string.h>

#include "base/base.h"

static uint32_t run_from(const struct placement_map *map, uint32_t at)
{
	uint32_t n = 0;

	while (at + n < MAP_SLICES && !map->used[at + n])
		++n;
	return n;
}

/* Every run from `at` up to `end`, to insert or to remove. */
static void tell(struct placement_map *map, uint32_t at, uint32_t end,
		 void (*how)(void *index, uint32_t first, uint32_t count))
{
	while (at < end) {
		uint32_t n = run_from(map, at);

		if (n)
			how(map->index, at, n);
		at += n ? n : 1;
	}
}

static void change(struct placement_map *map, uint32_t first, uint32_t count, bool used)
{
	uint32_t from = first, end = first + count;

	while (from && !map->used[from - 1])
		--from;
	while (end < MAP_SLICES && !map->used[end])
		++end;
	tell(map, from, end, map->placement->remove);
	memset(map->used + first, used, count);
	tell(map, from, end, map->placement->insert);
}

/*
 * By trying: must there be an answer? P4: if a run is so long that it holds the place wherever it
 * lies, or if no more runs than are tried anyway are long enough, and one of them holds it.
 */
static bool due(const struct placement_map *map, uint32_t count, uint32_t align)
{
	uint32_t tried = 0;
	bool fits = false;

	for (uint32_t at = 0, n; at < MAP_SLICES; at += n ? n : 1) {
		uint32_t first = (at + align - 1) & ~(align - 1);

		n = run_from(map, at);
		if (n < count)
			continue;
		if (n - count >= align - 1)
			return true;
		++tried;
		fits |= first - at <= n - count;
	}
	return fits && tried <= PLACE_LOOKS;
}

static const char *take(struct placement_map *map, uint32_t count, uint32_t align)
{
	struct place place = {MAP_SLICES, MAP_SLICES}, again;

	if (!map->placement->find(map->index, count, align, &place)) {
		++map->refused;
		if (place.run != MAP_SLICES || place.first != MAP_SLICES)
			return "it wrote an answer and gave none";
		return due(map, count, align) ? "it refused what fits" : NULL;
	}
	if (place.first & (align - 1))
		return "the place is not aligned";
	if (place.run >= MAP_SLICES || map->used[place.run] ||
	    (place.run && !map->used[place.run - 1]))
		return "the place is in no run";
	if (place.first < place.run ||
	    (uint64_t)place.first + count > (uint64_t)place.run + run_from(map, place.run))
		return "the place leaves its run";
	if (!map->placement->find(map->index, count, align, &again) || again.run != place.run ||
	    again.first != place.first)
		return "asked twice, it answered differently";
	change(map, place.first, count, true);
	++map->served;
	return NULL;
}

static void give(struct placement_map *map, uint32_t first, uint32_t count)
{
	uint32_t n = 0;

	while (first < MAP_SLICES && !map->used[first])
		++first;
	while (n < count && first + n < MAP_SLICES && map->used[first + n])
		++n;
	if (n)
		change(map, first, n, false);
}

static const char *compare(const struct placement_map *map)
{
	uint32_t runs = 0, longest = 0, told;
	const char *wrong = map->placement->check(map->index, &told);

	if (wrong)
		return wrong;
	for (uint32_t at = 0, n; at < MAP_SLICES; at += n ? n : 1) {
		n = run_from(map, at);
		runs += n > 0;
		longest = n > longest ? n : longest;
	}
	if (told != runs)
		return "it holds other runs than there are";
	if (map->placement->largest(map->index) != longest)
		return "it misjudges the longest run";
	return NULL;
}

bool placement_map_init(struct placement_map *map, const struct placement *placement)
{
	*map = (struct placement_map){.placement = placement};
	if (placement->init(&map->index, MAP_SLICES))
		return false;
	tell(map, 0, MAP_SLICES, placement->insert);
	return true;
}

void placement_map_deinit(struct placement_map *map)
{
	map->placement->deinit(map->index);
}

const char *placement_map_step(struct placement_map *map, struct placement_step step)
{
	const char *wrong = NULL;

	if (step.give)
		give(map, step.first, step.count);
	else
		wrong = take(map, step.count, step.align);
	return wrong ? wrong : compare(map);
}
