#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "bench/store.h"

enum { NAME_ROOM = 32 };

const bool store_is_served = false;

static struct varbos *vb;
static struct varbos_space *space;
static struct varbos_cache *cache;
static char name[NAME_ROOM];
static uint64_t space_bytes, capacity;
static const void *value;
static size_t value_size;

static void check(int r)
{
	if (r)
		contender_die("cache: %s", varbos_error()->message);
}

static void join(const struct contender *contender)
{
	check(varbos_connect(&vb, contender->socket));
	check(varbos_space_open(&space, vb, name,
				&(struct varbos_space_options){.limit = space_bytes}));
	check(varbos_cache_open(&cache, space, "bench",
				&(struct varbos_cache_options){.capacity = capacity}));
}

void store_start(const struct contender *contender, const struct store_needs *needs,
		 const void *data)
{
	/* Beside the values: segments that are being filled, what is dead, and metadata. */
	space_bytes = needs->capacity + needs->capacity / 4 + ((uint64_t)64 << 20);
	capacity = needs->capacity;
	value = data;
	value_size = needs->value;
	snprintf(name, sizeof(name), "bench-%d", (int)getpid());
	join(contender);
}

void store_join(const struct contender *contender)
{
	/* What the parent has open stays its own. */
	join(contender);
}

void store_joined(void)
{
}

void store_stop(void)
{
	varbos_cache_close(cache);
	varbos_space_close(space);
	check(varbos_space_remove(vb, name, 1));
	varbos_disconnect(vb);
}

void store_put(const struct store_key *key)
{
	check(varbos_cache_put(cache, key, sizeof(*key), value, value_size, NULL));
}

void store_put_many(const struct store_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		check(varbos_cache_put_async(cache, &keys[i], sizeof(keys[i]), value,
					     value_size, NULL));
	check(varbos_cache_flush(cache));
}

bool store_get(const struct store_key *key, uint64_t *ret)
{
	struct varbos_view view;
	int r;

	r = varbos_cache_get(cache, key, sizeof(*key), &view);
	if (r == VARBOS_E_NOT_FOUND)
		return false;
	check(r);
	memcpy(ret, view.data, sizeof(*ret));
	varbos_view_release(&view);
	return true;
}

size_t store_get_many(const struct store_key *keys, uint64_t *ret)
{
	struct varbos_view views[STORE_MANY];
	struct varbos_key asked[STORE_MANY];
	uint64_t word, sum = 0;
	size_t found;

	for (size_t i = 0; i < STORE_MANY; i++)
		asked[i] = (struct varbos_key){&keys[i], sizeof(keys[i])};
	check(varbos_cache_get_many(cache, asked, STORE_MANY, views, &found));
	for (size_t i = 0; i < STORE_MANY; i++) {
		if (!views[i].data)
			continue;
		memcpy(&word, views[i].data, sizeof(word));
		sum += word;
		varbos_view_release(&views[i]);
	}
	*ret = sum;
	return found;
}
