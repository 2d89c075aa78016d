/* What a daemon that died leaves, at any of its stores, and what is made of it. */
#include "tests/model/naive_cache.h"

static uint64_t index_size(const void *file)
{
	struct index_layout layout;

	MUST(index_layout_of(file, UINT64_MAX, &layout));
	return index_file_size(layout.buckets, layout.overflow);
}

static void *copy(const void *file, uint64_t size)
{
	void *memory = aligned_alloc(64, (size + 63) / 64 * 64);

	MUST(memory);
	memcpy(memory, file, size);
	return memory;
}

void naive_image_take(struct naive_image *ret)
{
	ret->slots = m.slots;
	ret->objects = copy(m.objects_file, object_records_size(m.slots));
	ret->index = copy(m.index_file, index_size(m.index_file));
	ret->next = m.next_file ? copy(m.next_file, index_size(m.next_file)) : NULL;
}

void naive_image_free(struct naive_image *image)
{
	free(image->objects);
	free(image->index);
	free(image->next);
}

static struct index_table table_of(void *file)
{
	struct index_layout layout;
	uint32_t *numbers;

	MUST(index_layout_of(file, UINT64_MAX, &layout));
	numbers = malloc(index_positions(layout) * sizeof(*numbers));
	MUST(numbers);
	return index_table(file, numbers);
}

/* Entries and control words say anything; heads are as they were. */
static void spoil(void *file)
{
	uint64_t words = (index_size(file) - INDEX_HEAD) / sizeof(uint64_t);
	uint64_t *word = (uint64_t *)(void *)((char *)file + INDEX_HEAD);

	for (uint32_t i = below(4) ? below(20) : 0; i; --i) {
		uint64_t at = below(words);

		if (at % 8)
			word[at] = below(3) ? word[below(words) / 8 * 8 + 1 + below(7)] : 0;
		else if (one_in(3))
			word[at] = word[below(words) / 8 * 8];
	}
}

/* Each run of slices that a segment still has. */
static uint32_t segments_list(struct cache_found *ret)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < SLICES; ++i) {
		const struct naive_segment *segment;

		if (!m.slices[i])
			continue;
		segment = &m.segments[m.slices[i] - 1];
		if (i && m.slices[i - 1] == m.slices[i]) {
			ret[n - 1].size += SLICE_BYTES;
			continue;
		}
		ret[n++] = (struct cache_found){
			.base = (uint64_t)i << SLICE_SHIFT,
			.size = SLICE_BYTES,
			.own = segment->own,
			.session = segment->lessee == NOBODY ? CACHE_CLEANER : segment->lessee,
		};
	}
	return n;
}

static bool is_object(const struct cache_object *is, const struct naive_object *object)
{
	return object->there && is->hash == object->hash && is->offset == object->offset &&
	       is->size == object->size && is->generation == object->generation &&
	       is->version == object->version && is->expires == object->expires;
}

static bool same(const struct naive_object *a, const struct naive_object *b)
{
	return a->there == b->there &&
	       (!a->there || (a->hash == b->hash && a->offset == b->offset &&
			      a->version == b->version && a->generation == b->generation));
}

/* Not evicted, and published again. */
static bool is_moved(const struct naive_object *was, const struct naive_object *now)
{
	uint32_t id = naive_segment_at(now->offset);

	return now->version == was->version && m.segments[id].lessee == CACHE_CLEANER;
}

static const struct naive_object *find_in(const struct naive_object *objects, uint64_t hash)
{
	for (uint32_t i = 0; i < m.slots; ++i)
		if (objects[i].there && objects[i].hash == hash)
			return &objects[i];
	return NULL;
}

/*
 * Each object is as before the step, or as now. What is only changed, moved or replaced is there, one
 * way or the other; what is in neither is not.
 */
static void objects_compare(struct cache *cache, const struct naive_object *before)
{
	uint64_t found = 0;

	for (uint32_t i = 0; i < m.slots; ++i) {
		const struct naive_object *was = &before[i], *now;
		struct cache_object is;

		if (!was->there)
			continue;
		now = find_in(m.objects, was->hash);
		if (cache_find(cache, was->hash, &is)) {
			if (now && (same(was, now) || is_moved(was, now) ||
				    now->version == was->version + 1))
				DIE("an object is lost that was there all the time");
			continue;
		}
		if (!is_object(&is, was) && !(now && is_object(&is, now)))
			DIE("an object is recovered as it never was");
		++found;
	}
	for (uint32_t i = 0; i < m.slots; ++i) {
		const struct naive_object *now = &m.objects[i];
		struct cache_object is;

		if (!now->there || find_in(before, now->hash) ||
		    cache_find(cache, now->hash, &is))
			continue;
		MUST(is_object(&is, now));
		++found;
	}
	MUST(cache_view(cache).objects == found);
}

static bool index_names(const void *file, uint64_t offset)
{
	const uint64_t *words =
		(const uint64_t *)(const void *)((const char *)file + INDEX_HEAD);

	for (uint64_t i = 0; i < (index_size(file) - INDEX_HEAD) / sizeof(*words); ++i)
		if (i % 8 && words[i] && index_entry_unpack(words[i]).offset == offset)
			return true;
	return false;
}

/* What readers may have seen in place of another stays. */
static void seen_compare(struct cache *cache, const struct naive_image *image,
			 const struct naive_object *before)
{
	for (uint32_t i = 0; i < m.slots; ++i) {
		const struct naive_object *was = &before[i], *now;
		struct cache_object is;

		if (!was->there)
			continue;
		now = find_in(m.objects, was->hash);
		if (now && now->offset != was->offset && index_names(image->index, now->offset))
			MUST(!cache_find(cache, was->hash, &is) && is_object(&is, now));
	}
}

static void expiries_tell(struct cache *cache)
{
	struct cache_object objects[CACHE_UNTOLD];
	uint32_t cursor = 0, n;
	int r;

	do {
		r = cache_untold(cache, &cursor, objects, &n);
		for (uint32_t i = 0; i < n; ++i)
			cache_tell(cache, &objects[i],
				   below(20) ? m.now + below(1000) : UINT64_MAX - 1);
	} while (r == CACHE_MORE);
	MUST(!cache->untold);
}

static void check(const struct cache *cache)
{
	const char *wrong = cache_check(cache);

	if (wrong)
		DIE("recovered: %s", wrong);
}

void naive_recover(const struct naive_image *image, const struct naive_object *before)
{
	struct cache_found found[SLICES];
	struct naive_image copies = {
		.objects = copy(image->objects, object_records_size(image->slots)),
		.index = copy(image->index, index_size(image->index)),
		.next = image->next ? copy(image->next, index_size(image->next)) : NULL,
	};
	struct cache_config config = {
		.capacity = m.capacity,
		.policy = m.policy,
		.slots = image->slots,
		.now = m.now,
	};
	struct index_table next = {0};
	bool spoiled = one_in(2);
	struct cache *cache;
	uint64_t begun;
	int r;

	config.objects = object_records_open(copies.objects, object_records_size(image->slots));
	MUST(config.objects);
	if (spoiled)
		spoil(copies.index);
	if (spoiled && copies.next)
		spoil(copies.next);
	config.index = table_of(copies.index);
	if (copies.next)
		next = table_of(copies.next);
	r = cache_recover(&cache, &config, next, found, segments_list(found));
	if (r == CACHE_E_INDEX) {
		struct index_config fresh = {.layout = index_layout_for(KEYS),
					     .generation = 9,
					     .seed = 1,
					     .epoch = 1};
		uint64_t size = index_file_size(fresh.layout.buckets, fresh.layout.overflow);

		free(copies.index);
		copies.index = aligned_alloc(64, size);
		MUST(copies.index);
		memset(copies.index, 0, size);
		index_format(copies.index, &fresh);
		free(config.index.numbers);
		free(next.numbers);
		next = (struct index_table){0};
		config.index = table_of(copies.index);
		r = cache_recover(&cache, &config, next, found, segments_list(found));
	}
	MUST(!r);
	check(cache);
	objects_compare(cache, before);
	if (!spoiled)
		seen_compare(cache, image, before);
	expiries_tell(cache);
	check(cache);
	begun = cache_clear_begin(cache);
	while (cache_clear(cache, begun) == CACHE_MORE)
		;
	check(cache);
	MUST(!cache_view(cache).live && !cache_view(cache).objects);
	cache_free(cache);
	free(config.index.numbers);
	free(next.numbers);
	free(copies.objects);
	free(copies.index);
	free(copies.next);
}
