/* The verbs that a cache and a naive one both do; and running them. */
#include <time.h>

#include "tests/model/naive_cache.h"

enum {
	N_PUBLISHED,
	N_REPLACED,
	N_REFUSED,
	N_MORE,
	N_UNINDEXED,
	N_EXPIRED,
	N_ACCESSED,
	N_MOVED,
	N_SPOILED,
	N_UNMOVED,
	N_DROPPED,
	N_BACK,
	N_PINNED,
	N_INDEXES,
	N_SWITCHED,
	N_COUNTS
};

static const char *const names[N_COUNTS] = {"published", "replaced", "refused",  "cut",
					    "unindexed", "expired",  "accessed", "moved",
					    "spoiled",   "unmoved",  "dropped",  "returned",
					    "pinned",    "indexes",  "switched"};
static uint64_t counts[N_COUNTS];

static uint64_t hash_of(uint32_t key)
{
	return (key + 1) * 0x9e3779b97f4a7c15ULL ^ m.seed;
}

/* ---- memory that the shell makes ---- */

static void *zeroed(uint64_t size)
{
	void *memory = aligned_alloc(64, (size + 63) / 64 * 64);

	MUST(memory);
	memset(memory, 0, size);
	return memory;
}

static struct index_table index_make(struct index_layout layout, uint64_t seed, void **ret_file,
				     uint32_t **ret_numbers)
{
	struct index_config config = {.layout = layout,
				      .cache = 1,
				      .generation = ++m.index_generation,
				      .seed = seed,
				      .epoch = 1};

	*ret_file = zeroed(index_file_size(layout.buckets, layout.overflow));
	*ret_numbers = malloc(index_positions(layout) * sizeof(**ret_numbers));
	MUST(*ret_numbers);
	index_format(*ret_file, &config);
	return index_table(*ret_file, *ret_numbers);
}

static void objects_grow(void)
{
	uint32_t slots = m.slots * 2;
	void *file;

	if (slots > NUMBERS)
		return;
	file = zeroed(object_records_size(slots));
	memcpy(file, m.objects_file, object_records_size(m.slots));
	MUST(!cache_objects(m.cache, object_records_open(file, object_records_size(slots)),
			    slots));
	free(m.objects_file);
	m.objects_file = file;
	m.slots = slots;
}

static void tend(void)
{
	int r = cache_tend(m.cache, m.now);

	MUST(!r || r == CACHE_E_OBJECTS);
	if (r)
		objects_grow();
	if (m.cache->wheel.nodes && !m.wheel.nodes)
		MUST(!wheel_init(&m.wheel, m.now, CACHE_TICK, m.cache->numbers.room));
	MUST(!eviction_grow(&m.eviction, m.cache->numbers.room));
	if (m.wheel.nodes)
		MUST(!wheel_grow(&m.wheel, m.cache->numbers.room));
}

/* The lowest run of free slices, or nothing. */
static bool segment_give(uint32_t session, uint32_t slices, bool own, uint32_t *ret)
{
	uint32_t run = 0, id = 0;
	struct naive_segment *segment;

	for (uint32_t i = 0; i < SLICES; ++i) {
		run = m.slices[i] ? 0 : run + 1;
		if (run < slices)
			continue;
		while (m.segments[id].size)
			++id;
		segment = &m.segments[id];
		*segment = (struct naive_segment){
			.base = (uint64_t)(i + 1 - slices) << SLICE_SHIFT,
			.size = (uint64_t)slices << SLICE_SHIFT,
			.lessee = session,
			.own = own,
		};
		segment->filled = segment->base ? 0 : 16;
		memset(&m.slices[i + 1 - slices], (int)(id + 1), slices);
		MUST(!cache_segment(m.cache, session, segment->base, segment->size, own));
		MUST(cache_segment(m.cache, 0, segment->base, SLICE_BYTES, false) ==
		     CACHE_E_TAKEN);
		*ret = id;
		return true;
	}
	return false;
}

/* One that the session fills, with so much left; or a new one. */
static bool segment_with(uint32_t session, uint64_t bytes, bool own, uint32_t *ret)
{
	uint32_t slices = 1 + below(4);

	for (uint32_t i = 0; i < SEGMENTS && !own; ++i) {
		const struct naive_segment *segment = &m.segments[i];

		if (segment->size && segment->lessee == session && !segment->own &&
		    segment->size - segment->filled >= bytes && !one_in(8)) {
			*ret = i;
			return true;
		}
	}
	if (bytes > (uint64_t)slices << SLICE_SHIFT || own)
		slices = (uint32_t)((bytes + SLICE_BYTES - 1) >> SLICE_SHIFT);
	return segment_give(session, slices, own, ret);
}

/* ---- verbs ---- */

static uint64_t some_size(void)
{
	if (one_in(40))
		return 200000 + below(200000);
	if (one_in(10))
		return 25 + below(70000);
	return 25 + below(below(2) ? 100 : 3000);
}

static void verb_index(void);

static void publish(const struct cache_publish *publish)
{
	struct cache_object object;
	uint64_t replaced = cache_view(m.cache).gone[CACHE_REPLACED];
	int expected = naive_publish(publish), r = cache_publish(m.cache, publish, &object);

	if (r != expected)
		DIE("publish: %d instead of %d", r, expected);
	if (r == CACHE_E_TEND) {
		tend();
	} else if (r == CACHE_MORE) {
		counts[N_MORE]++;
	} else if (r == CACHE_E_INDEX) {
		verb_index();
		counts[N_UNINDEXED]++;
	} else if (r) {
		counts[N_REFUSED]++;
	} else {
		MUST(object.hash == publish->hash && object.offset == publish->offset);
		naive_published(publish, object.number);
		counts[N_PUBLISHED]++;
		counts[N_REPLACED] += cache_view(m.cache).gone[CACHE_REPLACED] - replaced;
	}
}

/* Now and then time has passed, and the daemon has not looked at it. */
static void late(void)
{
	if (one_in(4))
		m.now += below(60);
}

/* Or at the end of time, or near it. */
static uint64_t some_expiry(uint32_t soon)
{
	return one_in(20) ? UINT64_MAX >> below(24) : m.now + 1 + below(soon);
}

static void verb_publish(void)
{
	struct cache_publish p = {
		.hash = hash_of(below(KEYS)),
		.size = some_size(),
		.expiry = one_in(4) ? some_expiry(2000) : 0,
		.session = below(SESSIONS),
		.mode = below(4) ? LANE_PUT : LANE_ADD + below(2),
		.generation = below(3) ? 0 : 1 + below(2),
		.born = 1 + below(2),
	};
	uint32_t id;

	if (!segment_with(p.session, p.size + 64, p.size > OBJECT_OWN || one_in(60), &id))
		return;
	p.offset = m.segments[id].base + m.segments[id].filled;
	if (!m.segments[id].own)
		p.offset += 16 * below(below(2) ? 2 : 4);
	late();
	p.now = m.now;
	publish(&p);
}

/* Anything at all. */
static void verb_publish_wrong(void)
{
	struct naive_segment *segment = &m.segments[below(SEGMENTS)];
	struct cache_publish p = {
		.hash = hash_of(below(KEYS)),
		.offset = segment->base + 16 * below(8000),
		.size = some_size(),
		.session = below(SESSIONS),
		.born = below(3) ? 1 : below(1 << 25),
	};

	if (one_in(2))
		p.offset = segment->base + segment->filled - 16;
	if (one_in(4))
		p.offset |= (uint64_t)1 << (OFFSET_BITS + below(64 - OFFSET_BITS));
	if (one_in(4))
		p.offset = next() >> 20;
	if (one_in(4))
		p.size = next() >> below(64);
	if (one_in(8))
		p.offset |= below(16);
	if (p.size < (uint64_t)1 << 24 || p.size > m.capacity)
		publish(&p);
}

static void verb_delete(void)
{
	uint64_t hash = hash_of(below(KEYS));
	uint32_t there, generation = below(2) ? 0 : 1 + below(4);
	bool all;
	int r;

	late();
	r = cache_delete(m.cache, hash, generation, m.now);
	all = naive_expire(m.now, CACHE_CUT);
	there = naive_find(hash);
	if (!all) {
		MUST(r == CACHE_MORE);
	} else if (there == NUMBER_NONE) {
		MUST(r == CACHE_E_ABSENT);
	} else if (generation && generation != m.objects[there].generation) {
		MUST(r == CACHE_E_CHANGED);
	} else {
		MUST(!r);
		naive_forget(there, false);
		naive_gone(there);
	}
}

static void naive_accessed(uint32_t number)
{
	struct policy_object object = cache_policy_object(m.cache, number);

	eviction_access(&m.eviction, &object);
}

static void touch(uint64_t hash)
{
	uint64_t expiry = below(3) ? some_expiry(3000) : 0;
	uint32_t there;
	struct cache_object object;
	bool all;
	int r;

	late();
	r = cache_touch(m.cache, hash, expiry, m.now, &object);
	all = naive_expire(m.now, CACHE_CUT);
	there = naive_find(hash);
	if (!all) {
		MUST(r == CACHE_MORE);
	} else if (there == NUMBER_NONE) {
		MUST(r == CACHE_E_ABSENT);
	} else if (expiry && !m.wheel.nodes) {
		MUST(r == CACHE_E_TEND);
		tend();
	} else {
		MUST(!r && object.offset == m.objects[there].offset);
		m.objects[there].version = (m.objects[there].version + 1) & 0xffff;
		if (expiry)
			wheel_set(&m.wheel, there, expiry);
		else if (m.wheel.nodes)
			wheel_remove(&m.wheel, there);
		m.objects[there].expires = m.wheel.nodes && wheel_has(&m.wheel, there);
		naive_accessed(there);
	}
}

static void use(uint64_t hash)
{
	struct cache_object object;
	uint32_t there;
	bool all;
	int r;

	late();
	r = cache_use(m.cache, hash, m.now, &object);
	all = naive_expire(m.now, CACHE_CUT);
	there = naive_find(hash);
	if (!all) {
		MUST(r == CACHE_MORE);
	} else if (there == NUMBER_NONE) {
		MUST(r == CACHE_E_ABSENT);
	} else {
		MUST(!r && object.offset == m.objects[there].offset);
		naive_accessed(there);
	}
}

/* As a reader would note it; or garbage. */
static void verb_access(void)
{
	uint64_t hash = hash_of(below(KEYS));
	struct index_at at;

	if (one_in(8)) {
		uint64_t noted = lane_access_pack(1, below(200 * 8) * 8, next());
		struct lane_access access = lane_access_unpack(noted);

		if (index_noted(&m.cache->index, access.bucket, access.slot, access.tag, &at)) {
			MUST(cache_access(m.cache, noted));
			naive_accessed(at.number);
		} else {
			MUST(!cache_access(m.cache, noted));
		}
	} else if (index_find(&m.cache->index, hash, &at)) {
		uint64_t noted = lane_access_of(1, at.position / INDEX_ENTRIES,
						(uint32_t)(at.position % INDEX_ENTRIES),
						index_entry_at(&at).tag);
		struct lane_access access = lane_access_unpack(noted);

		/* While it moves on, two objects may be at the same position of the two. */
		if (!index_noted(&m.cache->index, access.bucket, access.slot, access.tag, &at))
			DIE("an access that was noted is not believed");
		MUST(cache_access(m.cache, noted));
		naive_accessed(at.number);
		counts[N_ACCESSED]++;
	}
}

static void verb_expire(void)
{
	uint64_t count = m.count;
	int r;

	m.now += below(400);
	MUST(naive_expire(m.now, UINT32_MAX));
	counts[N_EXPIRED] += count - m.count;
	do
		r = cache_expire(m.cache, m.now, 1 + below(200));
	while (r == CACHE_MORE);
	MUST(!r);
}

static void verb_evict(void)
{
	uint64_t bytes = below(m.live / 4 + 1), left = bytes;
	int r;

	while (left) {
		uint64_t live = m.live, gone;
		if (!naive_evict(m.live - u64_min(left, m.live), 0))
			break;
		gone = live - m.live;
		left -= u64_min(left, gone);
	}
	do
		r = cache_evict(m.cache, &bytes);
	while (r == CACHE_MORE);
	MUST(!r && bytes == left);
}

static void room(void)
{
	int r;

	while (m.live > m.capacity)
		naive_evict(m.capacity, 0);
	do
		r = cache_room(m.cache);
	while (r == CACHE_MORE);
	MUST(!r && !(cache_wants(m.cache) & CACHE_WANTS_ROOM));
}

static void verb_resize(void)
{
	m.capacity = (2 + below(64)) << 14;
	MUST(!cache_resize(m.cache, m.capacity));
	eviction_resize(&m.eviction, m.capacity >> m.unit_shift);
	room();
}

static void verb_clear(void)
{
	uint64_t begun = cache_clear_begin(m.cache);
	int r;

	for (uint32_t i = 0; i < m.slots; ++i)
		if (m.objects[i].there) {
			naive_forget(i, false);
			naive_gone(i);
		}
	do
		r = cache_clear(m.cache, begun);
	while (r == CACHE_MORE);
	MUST(!r);
}

static void verb_switch(void)
{
	uint32_t policy = below(POLICIES);
	int r = cache_switch(m.cache, policy),
	    same = eviction_switch(&m.eviction, policy_at(policy));

	MUST(r == (same ? CACHE_E_SWITCHING : 0));
	if (!r)
		counts[N_SWITCHED]++;
}

static void verb_switch_step(void)
{
	MUST(cache_switch_step(m.cache) == eviction_step(&m.eviction, CACHE_BATCH));
}

static void verb_seal(void)
{
	uint32_t id = below(SEGMENTS), session = below(SESSIONS);
	struct naive_segment *segment = &m.segments[id];

	if (one_in(20)) {
		cache_session_end(m.cache, session);
		for (uint32_t i = 0; i < SEGMENTS; ++i)
			if (m.segments[i].size && m.segments[i].lessee == session)
				m.segments[i].lessee = NOBODY;
	} else if (segment->size && naive_segment_at(segment->base) == id) {
		int r = cache_seal(m.cache, session, segment->base + below(SLICE_BYTES));

		MUST(r == (segment->lessee == session ? 0 : CACHE_E_PLACE));
		if (!r)
			segment->lessee = NOBODY;
	}
}

/* ---- readers ---- */

static void verb_hazard(void)
{
	struct naive_hazard *hazard = &m.hazards[below(HAZARDS)];
	uint32_t number = naive_find(hash_of(below(KEYS)));

	*hazard = (struct naive_hazard){.session = below(SESSIONS)};
	if (one_in(30)) {
		hazard->set = hazard->forged = true;
		hazard->offset = (uint64_t)below(GRAINS) << OBJECT_SHIFT;
		hazard->size = 1;
	} else if (number != NUMBER_NONE && below(3)) {
		hazard->set = true;
		hazard->offset = m.objects[number].offset;
		hazard->size = m.objects[number].size;
	}
}

/* All of a segment goes; a reader has got hold of one object before. */
static void verb_empty(void)
{
	uint32_t id = naive_segment_at((uint64_t)below(SLICES) << SLICE_SHIFT);
	struct naive_hazard *hazard = &m.hazards[below(HAZARDS)];

	if (id == SEGMENTS || m.count > 200)
		return;
	for (uint32_t i = 0; i < m.slots; ++i) {
		const struct naive_object *object = &m.objects[i];

		if (!object->there || naive_segment_at(object->offset) != id)
			continue;
		if (!hazard->set || object->size > 4096)
			*hazard = (struct naive_hazard){.set = true,
							.session = below(SESSIONS),
							.offset = object->offset,
							.size = object->size};
		MUST(!cache_delete(m.cache, object->hash, 0, 0));
		naive_forget(i, false);
		naive_gone(i);
	}
}

static void verb_scan(void)
{
	const struct cache_pinner *pinners;
	struct segment_run runs[8];
	uint64_t pinned = 0;
	uint32_t n;
	int r;

	cache_scan_begin(m.cache);
	if (one_in(8))
		cache_scan_begin(m.cache); /* another daemon's, or a former that was given up */
	for (uint32_t session = 0; session < SESSIONS; ++session)
		for (uint32_t i = 0; i < HAZARDS; ++i)
			if (m.hazards[i].set && m.hazards[i].session == session)
				cache_scan_word(m.cache, session, m.hazards[i].offset, m.now);
	/* What is left from now on is not this scan's to free. */
	if (one_in(2))
		verb_empty();
	else
		cache_scan_word(m.cache, 0, next(), m.now);
	cache_scan_end(m.cache);
	do {
		r = cache_reclaim(m.cache, runs, 1 + below(8), &n);
		for (uint32_t i = 0; i < n; ++i)
			naive_reclaimed(runs[i]);
		counts[N_BACK] += n;
	} while (r == CACHE_MORE);
	MUST(!r);
	for (uint32_t i = 0; i < cache_pinners(m.cache, &pinners); ++i)
		pinned = u64_max(pinned, pinners[i].bytes);
	MUST(pinned <= cache_view(m.cache).pinned);
	counts[N_PINNED] += pinned != 0;
}

static void verb_scan_all(void)
{
	verb_scan();
	if (m.cleaning || one_in(2))
		return;
	cache_scan_begin(m.cache);
	for (uint32_t i = 0; i < HAZARDS; ++i)
		if (m.hazards[i].set)
			cache_scan_word(m.cache, m.hazards[i].session, m.hazards[i].offset,
					m.now);
	cache_scan_end(m.cache);
	for (int r = CACHE_MORE; r;) {
		struct segment_run run;
		uint32_t n;

		r = cache_reclaim(m.cache, &run, 1, &n);
		if (n)
			naive_reclaimed(run);
	}
	naive_came_back();
}

/* ---- the cleaner ---- */

static void verb_clean(void)
{
	uint32_t id;
	int r;

	if (m.cleaning)
		return;
	r = cache_clean_plan(m.cache, 1 + below(100000), &m.clean);
	if (r == CACHE_E_SEGMENT) {
		for (uint32_t i = 0; i < SEGMENTS; ++i)
			if (m.segments[i].size && m.segments[i].lessee == CACHE_CLEANER)
				m.segments[i].lessee = NOBODY;
		segment_give(CACHE_CLEANER, 5 + below(8), false, &id);
	}
	m.cleaning = !r;
	if (m.cleaning && one_in(2))
		touch(m.clean.moves[below(m.clean.n)].hash);
}

static void verb_clean_done(void)
{
	bool copied = !one_in(10);

	if (!m.cleaning)
		return;
	for (uint32_t i = 0; i < m.clean.n; ++i) {
		struct clean_move *move = &m.clean.moves[i];
		struct naive_object *object = &m.objects[move->number];
		bool same = object->there && object->hash == move->hash &&
			    object->offset == move->from && object->version == move->version;
		uint32_t to = naive_segment_at(move->to);

		move->spoiled = one_in(20);
		MUST(to < SEGMENTS && m.segments[to].lessee == CACHE_CLEANER);
		if (!same || !copied) {
			counts[N_UNMOVED]++;
			continue;
		}
		if (move->spoiled) {
			naive_forget(move->number, false);
			naive_gone(move->number);
			counts[N_SPOILED]++;
			continue;
		}
		for (uint64_t j = 0; j < object->size >> 4; ++j) {
			m.grains[(object->offset >> 4) + j] = 0;
			MUST(!m.grains[(move->to >> 4) + j]);
			m.grains[(move->to >> 4) + j] = move->number + 1;
		}
		object->offset = move->to;
		m.segments[to].filled = move->to + move->size - m.segments[to].base;
		counts[N_MOVED]++;
	}
	cache_clean_done(m.cache, &m.clean, copied);
	m.cleaning = false;
}

/* Which one is the cache's choice; that it is one whole segment's, and no other's, is not. */
static void verb_drop(void)
{
	static uint32_t order[NUMBERS];
	uint32_t gone[NUMBERS], n = 0, id = SEGMENTS;
	int r;

	if (m.cleaning)
		return;
	for (uint32_t i = 1; i < m.cache->segments.n; ++i) {
		uint32_t number = m.cache->segments.at[i].chain.front;

		for (uint32_t j = 0; j < m.cache->segments.at[i].chain.count; ++j) {
			order[number] = j;
			number = m.cache->numbers.next[number];
		}
	}
	do
		r = cache_drop(m.cache);
	while (r == CACHE_MORE);
	for (uint32_t i = 0; i < m.slots; ++i) {
		uint32_t at = n;

		if (!m.objects[i].there || (i < m.slots && cache_record(m.cache, i)->word))
			continue;
		MUST(id == SEGMENTS || id == naive_segment_at(m.objects[i].offset));
		id = naive_segment_at(m.objects[i].offset);
		for (++n; at && order[gone[at - 1]] > order[i]; --at)
			gone[at] = gone[at - 1];
		gone[at] = i;
	}
	MUST(!r == (n > 0));
	for (uint32_t i = 0; i < n; ++i) {
		naive_forget(gone[i], true);
		naive_gone(gone[i]);
	}
	MUST(!n || !naive_lives(&m.segments[id]));
	counts[N_DROPPED] += n;
}

/* ---- the index ---- */

/* For what there is; of more, not all finds a slot. */
static struct index_layout layout_some(void)
{
	uint64_t buckets = (m.count / 6 + 4) / INDEX_GROUP * INDEX_GROUP;

	if (one_in(2))
		return index_layout_for(m.count * 2 + 64);
	return (struct index_layout){.buckets = buckets, .overflow = buckets};
}

static void verb_index(void)
{
	struct index_layout layout;
	struct index_table former;
	bool seed;

	if (m.next_file) {
		if (cache_index_step(m.cache, &former) == CACHE_MORE)
			return;
		MUST((void *)former.head == m.index_file);
		free(m.index_file);
		free(m.index_numbers);
		m.index_file = m.next_file;
		m.index_numbers = m.next_numbers;
		m.next_file = NULL;
		counts[N_INDEXES]++;
	} else if (cache_index_wants(m.cache, &layout, &seed) || one_in(20)) {
		layout = layout_some();
		cache_index_begin(m.cache,
				  index_make(layout, next(), &m.next_file, &m.next_numbers));
	}
}

static void one_step(void)
{
	uint32_t dice = below(1000);

	if (cache_wants(m.cache) & (CACHE_WANTS_TEND | CACHE_WANTS_OBJECTS) && one_in(3)) {
		objects_grow();
		tend();
	}
	if (dice < 510)
		verb_publish();
	else if (dice < 540)
		verb_publish_wrong();
	else if (dice < 570)
		verb_delete();
	else if (dice < 600)
		below(2) ? touch(hash_of(below(KEYS))) : use(hash_of(below(KEYS)));
	else if (dice < 760)
		verb_access();
	else if (dice < 780)
		verb_expire();
	else if (dice < 784)
		verb_evict();
	else if (dice < 788)
		verb_resize();
	else if (dice < 789)
		verb_clear();
	else if (dice < 792)
		verb_switch();
	else if (dice < 800)
		verb_switch_step();
	else if (dice < 830)
		verb_seal();
	else if (dice < 860)
		verb_hazard();
	else if (dice < 890)
		verb_scan_all();
	else if (dice < 893)
		verb_drop();
	else if (dice < 900)
		verb_empty();
	else if (dice < 940)
		verb_clean();
	else if (dice < 985)
		verb_clean_done();
	else
		verb_index();
}

static void run(uint64_t steps, void (*before)(void), void (*after)(void))
{
	uint64_t seed = m.seed;
	struct cache_config config;

	memset(&m, 0, sizeof(m));
	m.seed = m.state = seed;
	m.now = 1000000;
	m.slots = 256;
	m.capacity = (2 + below(64)) << 14;
	m.unit_shift = OBJECT_GRAIN_SHIFT;
	m.objects_file = zeroed(object_records_size(m.slots));
	config = (struct cache_config){
		.capacity = m.capacity,
		.policy = below(POLICIES),
		.objects = object_records_init(m.objects_file),
		.slots = m.slots,
		.index = index_make(layout_some(), next(), &m.index_file, &m.index_numbers),
		.now = m.now,
	};
	MUST(!cache_new(&m.cache, &config));
	naive_policy(config.policy);
	for (m.step = 0; m.step < steps; ++m.step) {
		before();
		one_step();
		naive_compare();
		after();
	}
	cache_free(m.cache);
	eviction_deinit(&m.eviction);
	wheel_deinit(&m.wheel);
	free(m.objects_file);
	free(m.index_file);
	free(m.index_numbers);
	if (m.next_file) {
		free(m.next_file);
		free(m.next_numbers);
	}
}

int naive_run(uint64_t steps, void (*before)(void), void (*after)(void))
{
	const char *given = getenv("VARBOS_SEED"), *length = getenv("VARBOS_STEPS");
	uint64_t seed;
	struct timespec now;

	if (length)
		steps = strtoull(length, NULL, 0);
	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoull(given, NULL, 0)
		     : (uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec;
	printf("VARBOS_SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	for (uint32_t round = 0; round < (given ? 1 : 10); ++round) {
		m.seed = seed + round;
		run(steps, before, after);
	}
	for (uint32_t i = 0; i < N_COUNTS; ++i)
		printf("%s %" PRIu64 "%s", names[i], counts[i], i + 1 < N_COUNTS ? " " : "\n");
	return 0;
}
