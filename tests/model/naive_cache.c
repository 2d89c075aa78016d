#include "tests/model/naive_cache.h"

struct naive m;

uint64_t next(void)
{
	m.state += 0x9e3779b97f4a7c15ULL;
	uint64_t z = m.state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* ---- objects ---- */

uint32_t naive_find(uint64_t hash)
{
	for (uint32_t i = 0; i < m.slots; ++i)
		if (m.objects[i].there && m.objects[i].hash == hash)
			return i;
	return NUMBER_NONE;
}

uint32_t naive_segment_at(uint64_t offset)
{
	uint64_t slice = offset >> SLICE_SHIFT;

	if (slice >= SLICES || !m.slices[slice])
		return SEGMENTS;
	return m.slices[slice] - 1u;
}

static void naive_look(void *host, uint32_t number, struct policy_object *ret)
{
	const struct naive_object *object = &m.objects[number];
	uint64_t unit = (uint64_t)1 << m.unit_shift;

	(void)host;
	*ret = (struct policy_object){.number = number,
				      .size = (uint32_t)((object->size + unit - 1) / unit),
				      .hash = object->hash};
}

static void grains_set(uint64_t offset, uint64_t size, uint32_t from, uint32_t to)
{
	for (uint64_t i = offset >> OBJECT_SHIFT; i < (offset + size) >> OBJECT_SHIFT; ++i) {
		MUST(m.grains[i] == from);
		m.grains[i] = to;
	}
}

void naive_forget(uint32_t number, bool evicted)
{
	struct policy_object object;

	naive_look(NULL, number, &object);
	eviction_remove(&m.eviction, &object, evicted);
}

void naive_gone(uint32_t number)
{
	struct naive_object *object = &m.objects[number];

	MUST(object->there);
	grains_set(object->offset, object->size, number + 1, 0);
	if (m.wheel.nodes)
		wheel_remove(&m.wheel, number);
	object->there = false;
	m.live -= object->size;
	m.count--;
}

uint32_t naive_evict(uint64_t live, uint32_t least)
{
	uint32_t victims[CACHE_BATCH], n = 0;
	uint64_t left = m.live;

	while (n < CACHE_BATCH && (n < least || left > live)) {
		uint32_t victim = eviction_victim(&m.eviction); /* POLICY_MORE: not of so few */

		if (victim == POLICY_NONE)
			break;
		MUST(m.objects[victim].there);
		left -= m.objects[victim].size;
		naive_forget(victim, true);
		victims[n++] = victim;
	}
	for (uint32_t i = 0; i < n; ++i)
		naive_gone(victims[i]);
	return n;
}

/* ---- publishing ---- */

static uint64_t rounded(uint64_t size)
{
	return (size + 15) / 16 * 16; /* objects here are smaller than 16 MiB */
}

static int naive_place(const struct cache_publish *publish)
{
	uint32_t id = naive_segment_at(publish->offset);
	const struct naive_segment *segment = &m.segments[id < SEGMENTS ? id : 0];
	uint64_t at;

	if (publish->offset % 16 || id == SEGMENTS || segment->lessee != publish->session)
		return CACHE_E_PLACE;
	if (segment->own && publish->offset - segment->base >= SLICE_BYTES)
		return CACHE_E_PLACE;
	at = publish->offset - segment->base;
	if (at < segment->filled || at + rounded(publish->size) > segment->size ||
	    (segment->own && segment->used))
		return CACHE_E_PLACE;
	return rounded(publish->size) > OBJECT_OWN && !segment->own ? CACHE_E_SIZE : 0;
}

/* In the cache's own index: what is about to expire there may leave one. */
static bool has_slot(const struct cache_publish *publish)
{
	struct index *index = &m.cache->index;

	if (!index_has_room(index, publish->hash))
		cache_expire(m.cache, publish->now, CACHE_CUT);
	return index_has_room(index, publish->hash);
}

int naive_publish(const struct cache_publish *publish)
{
	uint32_t there;
	uint64_t size = rounded(publish->size), allowed;
	uint32_t batch = (uint32_t)(m.count / 128);
	int r;

	if (publish->size <= 24)
		return CACHE_E_SIZE;
	if (size > m.capacity)
		return CACHE_E_TOO_LARGE;
	if (!publish->born || publish->born >= 1 << 24)
		return CACHE_E_GENERATION;
	r = naive_place(publish);
	if (r)
		return r;
	if (!naive_expire(publish->now, CACHE_CUT))
		return CACHE_MORE;
	there = naive_find(publish->hash);
	if (publish->mode == LANE_ADD && there != NUMBER_NONE)
		return CACHE_E_EXISTS;
	if (publish->mode == LANE_REPLACE && there == NUMBER_NONE)
		return CACHE_E_ABSENT;
	if (publish->mode == LANE_REPLACE && publish->generation &&
	    m.objects[there].generation != publish->generation)
		return CACHE_E_CHANGED;
	if (publish->expiry && !m.wheel.nodes)
		return CACHE_E_TEND;
	if (!numbers_left(&m.cache->numbers))
		return CACHE_E_TEND;
	if (there == NUMBER_NONE && !has_slot(publish))
		return m.next_file && !index_next_done(&m.cache->index) ? CACHE_MORE
									: CACHE_E_INDEX;
	batch = batch < 1 ? 1 : batch > CACHE_BATCH ? CACHE_BATCH : batch;
	for (uint32_t n = 0;;) {
		there = naive_find(publish->hash);
		allowed =
			m.capacity - size + (there == NUMBER_NONE ? 0 : m.objects[there].size);
		if (m.live <= allowed)
			return 0;
		if (n >= CACHE_CUT)
			return CACHE_MORE;
		n += naive_evict(allowed, batch);
	}
}

void naive_published(const struct cache_publish *publish, uint32_t number)
{
	uint32_t there = naive_find(publish->hash), id = naive_segment_at(publish->offset);
	struct naive_object *object = &m.objects[number];
	struct policy_object known, replaced;

	MUST(number < NUMBERS && !object->there);
	*object = (struct naive_object){
		.there = true,
		.hash = publish->hash,
		.offset = publish->offset,
		.size = rounded(publish->size),
		.generation = publish->born,
	};
	naive_look(NULL, number, &known);
	if (there != NUMBER_NONE) {
		object->version = (m.objects[there].version + 1) & 0xffff;
		naive_look(NULL, there, &replaced);
		eviction_rename(&m.eviction, &replaced, &known);
		eviction_access(&m.eviction, &known);
		naive_gone(there);
	} else {
		eviction_admit(&m.eviction, &known);
		eviction_insert(&m.eviction, &known);
	}
	grains_set(object->offset, object->size, 0, number + 1);
	m.live += object->size;
	m.count++;
	if (publish->expiry) {
		wheel_set(&m.wheel, number, publish->expiry);
		object->expires = wheel_has(&m.wheel, number);
	}
	m.segments[id].filled = object->offset + object->size - m.segments[id].base;
	m.segments[id].used = true;
	if (m.segments[id].own)
		m.segments[id].lessee = NOBODY;
}

bool naive_expire(uint64_t now, uint32_t steps)
{
	uint32_t expired[CACHE_BATCH], n;

	if (!m.wheel.nodes)
		return true;
	for (uint32_t done = 0; wheel_next(&m.wheel) <= now; done += CACHE_BATCH) {
		if (done >= steps)
			return false;
		n = wheel_turn(&m.wheel, now, expired, CACHE_BATCH);
		for (uint32_t i = 0; i < n; ++i) {
			naive_forget(expired[i], false);
			naive_gone(expired[i]);
		}
	}
	return true;
}

void naive_policy(uint32_t policy)
{
	struct policy_config config = {.capacity = u64_max(m.capacity >> m.unit_shift, 1),
				       .objects = m.cache->numbers.room,
				       .look = naive_look};

	m.policy = policy;
	MUST(!eviction_init(&m.eviction, policy_at(policy), &config));
}

/* ---- memory ---- */

static bool pins(const struct naive_hazard *hazard, uint64_t from, uint64_t size)
{
	return hazard->set && hazard->offset < from + size &&
	       from < hazard->offset + hazard->size;
}

void naive_reclaimed(struct segment_run run)
{
	for (uint64_t i = run.base >> SLICE_SHIFT; i < (run.base + run.size) >> SLICE_SHIFT;
	     ++i) {
		MUST(i < SLICES && m.slices[i]);
		MUST(m.segments[m.slices[i] - 1].lessee == NOBODY);
		m.slices[i] = 0;
	}
	for (uint64_t i = run.base >> OBJECT_SHIFT; i < (run.base + run.size) >> OBJECT_SHIFT;
	     ++i)
		if (m.grains[i])
			DIE("memory comes back in which object %u lives", m.grains[i] - 1);
	for (uint32_t i = 0; i < HAZARDS; ++i)
		if (pins(&m.hazards[i], run.base, run.size) && !m.hazards[i].forged)
			DIE("memory comes back that a reader pins");
	if (m.cleaning)
		for (uint32_t i = 0; i < m.clean.n; ++i)
			MUST(m.clean.moves[i].from < run.base ||
			     m.clean.moves[i].from >= run.base + run.size);
	for (uint32_t i = 0; i < SEGMENTS; ++i) {
		bool left = false;

		for (uint32_t j = 0; j < SLICES; ++j)
			left |= m.slices[j] == i + 1;
		if (!left)
			m.segments[i] = (struct naive_segment){0};
	}
}

bool naive_lives(const struct naive_segment *segment)
{
	for (uint32_t i = 0; i < m.slots; ++i)
		if (m.objects[i].there && m.objects[i].offset >= segment->base &&
		    m.objects[i].offset < segment->base + segment->size)
			return true;
	return false;
}

void naive_came_back(void)
{
	for (uint32_t i = 0; i < SLICES; ++i) {
		const struct naive_segment *segment;
		bool pinned = false;

		if (!m.slices[i])
			continue;
		segment = &m.segments[m.slices[i] - 1];
		if (segment->lessee != NOBODY || naive_lives(segment))
			continue;
		for (uint32_t j = 0; j < HAZARDS; ++j)
			pinned |= segment->own || m.hazards[j].forged
					  ? pins(&m.hazards[j], segment->base, segment->size)
					  : pins(&m.hazards[j], (uint64_t)i << SLICE_SHIFT,
						 SLICE_BYTES);
		if (!pinned)
			DIE("slice %u did not come back, and nobody pins it", i);
	}
}

/* ---- compare ---- */

static void objects_compare(void)
{
	for (uint32_t i = 0; i < m.slots; ++i) {
		const struct naive_object *object = &m.objects[i];
		struct cache_object is;

		if (object->there != (cache_record(m.cache, i)->word != 0))
			DIE("object %u is %s", i, object->there ? "not there" : "still there");
		if (!object->there)
			continue;
		MUST(!cache_find(m.cache, object->hash, &is));
		MUST(is.number == i && is.hash == object->hash && is.offset == object->offset);
		MUST(is.size == object->size && is.generation == object->generation);
		MUST(is.version == object->version && is.expires == object->expires);
	}
}

static void segments_compare(void)
{
	uint64_t held = 0, unfilled = 0;

	for (uint32_t i = 0; i < SEGMENTS; ++i)
		if (m.segments[i].size && m.segments[i].lessee != NOBODY)
			unfilled += m.segments[i].size - m.segments[i].filled;
	for (uint32_t i = 0; i < SLICES; ++i)
		held += m.slices[i] ? SLICE_BYTES : 0;
	MUST(cache_view(m.cache).held == held);
	MUST(cache_view(m.cache).unfilled == unfilled);
}

void naive_compare(void)
{
	struct cache_view view = cache_view(m.cache);
	const char *wrong = cache_check(m.cache);
	uint32_t n;

	if (wrong)
		DIE("%s", wrong);
	MUST(view.live == m.live && view.objects == m.count);
	MUST(view.live <= view.capacity || (cache_wants(m.cache) & CACHE_WANTS_ROOM));
	objects_compare();
	segments_compare();
	MUST(!eviction_check(&m.eviction, &n) && n == m.count);
}
