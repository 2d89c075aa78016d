/*
 * overhead - bytes that the daemon has about each value of 64 bytes, of as many as `keys` says, under the default
 * policy: by part, and all. Beside the value there are its key and a header of 24 bytes, which
 * are in the space and count as the value's.
 *
 * index, objects: the pages of these files. policy, ghost: what libc gave for a policy that has as many objects (here, in
 * this process). numbers: what the daemon's own memory grew by beyond these two: where each
 * object is in the index, and all that is not told apart. all: files and the daemon's own memory, without guessing.
 *
 * util - bytes of live values (rounded to 16, with key and header) by the bytes that the space has committed
 * for them, after churn. Values have 64 bytes to 64 KiB, as many of one size as of twice that size; the cache's
 * capacity is 95 % of the space's limit. Some keys are put again, and some are deleted.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "bench/ctl.h"
#include "bench/dice.h"
#include "bench/harness.h"
#include "daemon/core/policy/ghost.h"
#include "daemon/core/policy/policy.h"

#define UTIL_LIMIT ((uint64_t)256 << 20)
#define UTIL_LIMIT_QUICK ((uint64_t)64 << 20)

enum {
	VALUE = 64,
	OBJECT = 112, /* of it, with key and header */
	FILES_MAX = 512,
	KEYS_QUICK = 100000,
	WARM = 1000, /* put before anything is measured */
	SETTLE_MS = 100,
	SETTLE_TIMES = 50,
	UTIL_LEAST = 64,
	UTIL_DOUBLES = 10, /* to 64 KiB */
	UTIL_FILL = 95,    /* percent */
	UTIL_SAMPLES = 20,
	UTIL_SAMPLES_QUICK = 5,
	UTIL_DELETES = 16,
};

struct subject {
	struct harness *harness;
	struct varbos_space *space;
	struct varbos_cache *cache;
};

static void must(struct harness *harness, int r)
{
	if (r)
		harness_die(harness, "memory: %s", varbos_error()->message);
}

static void subject_init(struct subject *subject, struct harness *harness, uint64_t limit,
			 uint64_t capacity)
{
	*subject = (struct subject){.harness = harness};
	must(harness, varbos_space_open(&subject->space, harness->vb, "bench-memory",
					&(struct varbos_space_options){.limit = limit}));
	must(harness, varbos_cache_open(&subject->cache, subject->space, "bench",
					&(struct varbos_cache_options){.capacity = capacity}));
}

static void subject_deinit(struct subject *subject)
{
	varbos_cache_close(subject->cache);
	varbos_space_close(subject->space);
	must(subject->harness, varbos_space_remove(subject->harness->vb, "bench-memory", 0));
}

static void put(struct subject *subject, uint64_t number, const void *value, size_t size)
{
	uint64_t state = number, key[2];

	key[0] = dice(&state);
	key[1] = dice(&state);
	must(subject->harness,
	     varbos_cache_put_async(subject->cache, key, sizeof(key), value, size, NULL));
}

static void del(struct subject *subject, uint64_t number)
{
	uint64_t state = number, key[2];
	int r;

	key[0] = dice(&state);
	key[1] = dice(&state);
	r = varbos_cache_del(subject->cache, key, sizeof(key));
	if (r != VARBOS_E_NOT_FOUND)
		must(subject->harness, r);
}

/* ---- overhead ---- */

struct held {
	uint64_t index, objects, own;
};

/* A file that is open more than once counts once. */
static bool is_known(ino_t known[static FILES_MAX], size_t *n, ino_t file)
{
	for (size_t i = 0; i < *n; i++)
		if (known[i] == file)
			return true;
	if (*n < FILES_MAX)
		known[(*n)++] = file;
	return false;
}

/* Of the daemon, which is this process's child. */
static struct held held_now(struct harness *harness)
{
	struct held held = {0};
	char path[64], name[80], line[256];
	struct dirent *entry;
	struct stat file;
	ino_t known[FILES_MAX];
	uint64_t kib = 0;
	FILE *rollup;
	size_t n_known = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)harness->daemon);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		ssize_t n = readlinkat(dirfd(folder), entry->d_name, name, sizeof(name) - 1);

		if (n < 0 || fstatat(dirfd(folder), entry->d_name, &file, 0))
			continue;
		name[n] = 0;
		if (is_known(known, &n_known, file.st_ino))
			continue;
		if (strstr(name, "memfd:varbos-index"))
			held.index += (uint64_t)file.st_blocks * 512;
		if (strstr(name, "memfd:varbos-objects"))
			held.objects += (uint64_t)file.st_blocks * 512;
	}
	if (folder)
		closedir(folder);
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)harness->daemon);
	rollup = fopen(path, "re");
	while (rollup && fgets(line, sizeof(line), rollup))
		if (sscanf(line, "Anonymous: %" SCNu64, &kib) == 1)
			break;
	if (rollup)
		fclose(rollup);
	held.own = kib << 10;
	if (!held.index || !held.objects || !held.own)
		harness_die(harness, "overhead: /proc/%d does not say", (int)harness->daemon);
	return held;
}

/* When it has not changed for a while: files grow and indexes move beside requests. */
static struct held held_at_rest(struct harness *harness)
{
	struct held before = held_now(harness), now;

	for (int i = 0; i < SETTLE_TIMES; i++) {
		sleep_ms(SETTLE_MS);
		now = held_now(harness);
		if (!memcmp(&now, &before, sizeof(now)))
			return now;
		before = now;
	}
	harness_die(harness, "overhead: it does not come to rest");
}

static uint64_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void look(void *host, uint32_t number, struct policy_object *ret)
{
	(void)host;
	*ret = (struct policy_object){.number = number, .size = 1};
}

/* What the default policy takes for so many objects, and of that its ghost. */
static uint64_t policy_bytes(struct harness *harness, uint64_t objects, uint64_t *ret_ghost)
{
	uint32_t id;
	const struct policy *policy = policy_named(NULL, &id);
	struct policy_config config = {
		.capacity = objects, .objects = (uint32_t)objects, .look = look};
	uint64_t before = allocated(), bytes;
	struct ghost ghost = {0};
	void *state;

	if (policy->init(&state, &config))
		harness_die(harness, "overhead: no memory");
	bytes = allocated() - before;
	policy->deinit(state);
	before = allocated();
	if (ghost_grow(&ghost, (uint32_t)objects))
		harness_die(harness, "overhead: no memory");
	*ret_ghost = allocated() - before;
	ghost_deinit(&ghost);
	return bytes - *ret_ghost;
}

static void part_print(const char *part, uint64_t keys, double bytes)
{
	printf("{\"bench\":\"overhead\",\"impl\":\"varbos\",\"size\":%d,\"keys\":%" PRIu64
	       ",\"part\":\"%s\",\"unit\":\"bytes\",\"value\":%.2f,\"n\":1}\n",
	       VALUE, keys, part, bytes / (double)keys);
	fflush(stdout);
}

static void overhead_of(struct harness *harness, uint64_t keys)
{
	static const char value[VALUE];
	struct held before, after;
	struct subject subject;
	uint64_t policy, ghost, own, all, there;

	subject_init(&subject, harness, keys * OBJECT * 5 / 4 + ((uint64_t)64 << 20),
		     keys * OBJECT);
	for (uint64_t i = 0; i < WARM; i++)
		put(&subject, i, value, sizeof(value));
	must(harness, varbos_cache_flush(subject.cache));
	before = held_at_rest(harness);
	for (uint64_t i = WARM; i < 2 * keys; i++)
		put(&subject, i, value, sizeof(value));
	must(harness, varbos_cache_flush(subject.cache));
	after = held_at_rest(harness);
	if (!ctl_cache(harness->socket, "values", &there) || there > keys || there < keys / 2)
		harness_die(harness, "overhead: it is not full");
	keys = there;
	policy = policy_bytes(harness, keys, &ghost);
	own = after.own - before.own;
	all = after.index + after.objects + own;
	part_print("index", keys, (double)after.index);
	part_print("objects", keys, (double)after.objects);
	part_print("policy", keys, (double)policy);
	part_print("ghost", keys, (double)ghost);
	part_print("numbers", keys, (double)own - (double)policy - (double)ghost);
	part_print("all", keys, (double)all);
	fprintf(stderr, "overhead of %" PRIu64 ": %.1f bytes\n", keys,
		(double)all / (double)keys);
	subject_deinit(&subject);
}

/* Each with a daemon of its own: what one has had for another cache it need not take again. */
void bench_overhead(struct harness *harness)
{
	static const uint64_t keys[] = {1000000, 600000, 1200000};
	bool quick = harness->quick;

	for (size_t i = 0; i < (quick ? 1 : ARRAY_SIZE(keys)); i++) {
		harness_init(harness, quick, "512M", false);
		overhead_of(harness, quick ? KEYS_QUICK : keys[i]);
		harness_deinit(harness);
	}
	harness_init_alone(harness, quick);
}

/* ---- util ---- */

static uint64_t committed(struct harness *harness)
{
	struct varbos_space_info *spaces;
	uint64_t bytes = 0;
	size_t n;

	must(harness, varbos_space_list(harness->vb, &spaces, &n));
	for (size_t i = 0; i < n; i++)
		if (!strcmp(spaces[i].name, "bench-memory"))
			bytes = spaces[i].committed;
	free(spaces);
	return bytes;
}

static uint64_t live(struct harness *harness)
{
	uint64_t bytes;

	if (!ctl_cache(harness->socket, "live", &bytes))
		harness_die(harness, "util: varbosctl does not say");
	return bytes;
}

/* As many bytes are put; a few keys among them that are there already. */
static void churn(struct subject *subject, const void *value, uint64_t bytes, uint64_t *state,
		  uint64_t *next)
{
	for (uint64_t done = 0; done < bytes;) {
		double doubles = (double)dice_below(state, 1 << 20) / (1 << 20) * UTIL_DOUBLES;
		size_t size = (size_t)(UTIL_LEAST * exp2(doubles));

		if (*next && !dice_below(state, UTIL_DELETES))
			del(subject, *next - 1 - dice_below(state, (uint32_t)*next) / 4);
		put(subject, dice_below(state, 4) ? (*next)++ : *next - *next / 4 - 1, value,
		    size);
		done += size;
	}
	must(subject->harness, varbos_cache_flush(subject->cache));
}

void bench_util(struct harness *harness)
{
	uint64_t limit = harness->quick ? UTIL_LIMIT_QUICK : UTIL_LIMIT, state = 1, next = 0;
	uint64_t capacity = limit * UTIL_FILL / 100;
	int samples = harness->quick ? UTIL_SAMPLES_QUICK : UTIL_SAMPLES;
	struct subject subject;
	struct series series;
	char *value;

	value = calloc(1, (size_t)UTIL_LEAST << UTIL_DOUBLES);
	if (!value)
		harness_die(harness, "util: no memory");
	series_init(&series, (size_t)samples);
	subject_init(&subject, harness, limit, capacity);
	churn(&subject, value, 2 * capacity, &state, &next);
	for (int i = 0; i < samples; i++) {
		churn(&subject, value, capacity / 4, &state, &next);
		series_add(&series, live(harness) * 100000 / u64_max(committed(harness), 1));
		harness_heed(harness);
	}
	printf("{\"bench\":\"util\",\"impl\":\"varbos\",\"unit\":\"live/"
	       "committed\",\"value\":%.4f,"
	       "\"least\":%.4f,\"n\":%zu}\n",
	       (double)series_percentile(&series, 50) / 100000,
	       (double)series_percentile(&series, 0) / 100000, series.n);
	fprintf(stderr, "util: %.3f\n", (double)series_percentile(&series, 50) / 100000);
	fflush(stdout);
	series_deinit(&series);
	subject_deinit(&subject);
	free(value);
}
