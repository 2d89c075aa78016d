#include "client/ctl/sim_cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/base.h"

/* Objects to begin with, if there may be so many: a policy may forget things when it grows. */
enum { OBJECTS_FIRST = 1 << 18, OBJECTS_FIRST_BYTES = 1 << 16, OBJECTS_MAX = 1 << 30 };

enum { EXPIRED = 64 }; /* of a turn */

static struct policy_object object_of(const struct sim_cache *cache, uint32_t number)
{
	return (struct policy_object){
		.number = number,
		.size = cache->bytes ? (uint32_t)u64_min(cache->sizes[number], POLICY_SIZE_MAX)
				     : 1,
		.hash = cache->index.hashes[number],
	};
}

static void look(void *host, uint32_t number, struct policy_object *ret)
{
	*ret = object_of(host, number);
}

static int hold(struct sim_cache *cache, uint32_t objects)
{
	uint64_t *sizes;
	uint32_t *unused;

	if (cache->bytes) {
		sizes = reallocarray(cache->sizes, objects, sizeof(*sizes));
		if (!sizes)
			return -ENOMEM;
		cache->sizes = sizes;
	}
	if (cache->wheel.nodes && wheel_grow(&cache->wheel, objects))
		return -ENOMEM;
	unused = reallocarray(cache->unused, objects, sizeof(*unused));
	if (!unused)
		return -ENOMEM;
	cache->unused = unused;
	if (sim_index_grow(&cache->index, objects))
		return -ENOMEM;
	cache->objects = objects;
	return 0;
}

static int grow(struct sim_cache *cache)
{
	uint32_t objects = (uint32_t)u64_min((uint64_t)cache->objects * 2, cache->objects_max);

	if (objects == cache->objects)
		return -ENOMEM;
	return cache->policy->grow(cache->state, objects) || hold(cache, objects) ? -ENOMEM : 0;
}

int sim_cache_init(struct sim_cache *cache, const struct sim_cache_options *options)
{
	uint64_t most = u64_min(u64_min(options->capacity, options->keys), OBJECTS_MAX);
	uint32_t first =
		(uint32_t)u64_min(most, options->bytes ? OBJECTS_FIRST_BYTES : OBJECTS_FIRST);
	struct policy_config config = {
		.capacity = options->capacity,
		.objects = first,
		.look = look,
		.host = cache,
	};

	assert(options->capacity && options->keys);
	*cache = (struct sim_cache){
		.policy = options->policy,
		.bytes = options->bytes,
		.capacity = options->capacity,
		.objects_max = (uint32_t)most,
		.next = options->next,
	};
	if (!hold(cache, first) && !cache->policy->init(&cache->state, &config))
		return 0;
	sim_cache_deinit(cache);
	return -ENOMEM;
}

void sim_cache_deinit(struct sim_cache *cache)
{
	if (cache->state)
		cache->policy->deinit(cache->state);
	sim_index_deinit(&cache->index);
	free(cache->sizes);
	wheel_deinit(&cache->wheel);
	free(cache->unused);
	*cache = (struct sim_cache){0};
}

static void drop(struct sim_cache *cache, uint32_t number, bool evicted)
{
	struct policy_object object = object_of(cache, number);

	cache->policy->remove(cache->state, &object, evicted);
	cache->used -= cache->bytes ? cache->sizes[number] : 1;
	if (cache->wheel.nodes)
		wheel_remove(&cache->wheel, number);
	sim_index_remove(&cache->index, number);
	cache->unused[cache->n_unused++] = number;
}

static uint32_t victim(struct sim_cache *cache)
{
	uint32_t number;

	do
		number = cache->policy->victim(cache->state);
	while (number == POLICY_MORE);
	return number;
}

static int put(struct sim_cache *cache, const struct sim_request *request)
{
	uint64_t size = cache->bytes ? request->size : 1;
	struct policy_object object = {
		.number = POLICY_NONE,
		.size = (uint32_t)u64_min(size, POLICY_SIZE_MAX),
		.hash = request->hash,
	};

	if (size > cache->capacity && !mutant(sim_large_taken))
		return 0;
	if (request->ttl && !cache->wheel.nodes &&
	    wheel_init(&cache->wheel, cache->now, 1, cache->objects))
		return -ENOMEM;
	cache->policy->admit(cache->state, &object);
	while (cache->used + size > cache->capacity)
		drop(cache, victim(cache), true);
	if (cache->n_unused)
		object.number = cache->unused[--cache->n_unused];
	else if (cache->n_objects < cache->objects || !grow(cache))
		object.number = cache->n_objects++;
	else
		return -ENOMEM;
	if (cache->bytes)
		cache->sizes[object.number] = size;
	if (request->ttl)
		wheel_set(&cache->wheel, object.number,
			  cache->now + request->ttl + mutant(sim_ttl_late));
	sim_index_put(&cache->index, request->hash, object.number);
	cache->policy->insert(cache->state, &object);
	cache->used += size;
	return 0;
}

static void expire(struct sim_cache *cache)
{
	uint32_t numbers[EXPIRED], n;

	do {
		n = wheel_turn(&cache->wheel, cache->now, numbers, EXPIRED);
		for (uint32_t i = 0; i < n; i++)
			drop(cache, numbers[i], false);
	} while (wheel_next(&cache->wheel) <= cache->now);
}

int sim_cache_run(struct sim_cache *cache, const struct sim_request *requests, size_t n)
{
	int r;

	for (size_t i = 0; i < n; i++, cache->now++) {
		uint32_t number;

		if (cache->wheel.nodes)
			expire(cache);
		number = sim_index_find(&cache->index, requests[i].hash);
		if (number != SIM_NONE) {
			struct policy_object object = object_of(cache, number);

			cache->policy->access(cache->state, &object);
			continue;
		}
		cache->misses++;
		cache->bytes_missed += requests[i].size;
		r = put(cache, &requests[i]);
		if (r)
			return r;
	}
	return 0;
}

const char *sim_cache_check(const struct sim_cache *cache)
{
	uint64_t used = 0;
	uint32_t held = 0, count;
	const char *wrong;

	wrong = cache->policy->check(cache->state, &count);
	if (wrong)
		return wrong;
	for (uint32_t i = 0; i < cache->n_objects; i++) {
		if (!cache->policy->has(cache->state, i))
			continue;
		if (sim_index_find(&cache->index, cache->index.hashes[i]) != i)
			return "SI2: a key is not known by its number";
		used += cache->bytes ? cache->sizes[i] : 1;
		held++;
	}
	if (held != count || held + cache->n_unused != cache->n_objects)
		return "SC1: numbers are lost";
	return used == cache->used && used <= cache->capacity
		       ? NULL
		       : "SC2: the sizes do not add up to what is used";
}
