#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "bench/store.h"

enum { PATH_ROOM = 64, FILE_ROOM = PATH_ROOM + 16, READERS_MAX = 8 };

const bool store_is_served = false;

static MDB_env *env;
static MDB_txn *reading;
static MDB_dbi table;
static char folder[PATH_ROOM] = "/dev/shm/varbos-bench-XXXXXX";
static uint64_t map_bytes;
static bool shared, current; /* current: `reading` is open, and sees all that was put */
static MDB_val value;

static void check(int r)
{
	if (r)
		contender_die("lmdb: %s", mdb_strerror(r));
}

static MDB_val key_of(const struct store_key *key)
{
	return (MDB_val){sizeof(*key), (void *)key};
}

static void join(void)
{
	check(mdb_env_create(&env));
	check(mdb_env_set_mapsize(env, map_bytes));
	check(mdb_env_set_maxreaders(env, READERS_MAX));
	check(mdb_env_open(env, folder, MDB_NOSYNC | MDB_WRITEMAP, 0600));
	check(mdb_txn_begin(env, NULL, MDB_RDONLY, &reading));
	check(mdb_dbi_open(reading, NULL, 0, &table));
	/* What is put before the first get is seen. */
	mdb_txn_reset(reading);
	current = false;
}

static void folder_remove(void)
{
	static const char *const files[] = {"data.mdb", "lock.mdb"};
	char path[FILE_ROOM];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		unlink(path);
	}
	rmdir(folder);
}

void store_start(const struct contender *contender, const struct store_needs *needs,
		 const void *data)
{
	(void)contender;
	if (!mkdtemp(folder))
		contender_die("lmdb: %s: %s", folder, strerror(errno));
	/* Half of its pages are empty after random inserts; of a tmpfs it takes what it writes. */
	map_bytes = 4 * needs->capacity + ((uint64_t)64 << 20);
	shared = needs->shared;
	value = (MDB_val){needs->value, (void *)data};
	join();
}

void store_join(const struct contender *contender)
{
	(void)contender;
	/* The parent's environment is not to be used, nor closed, after a fork. */
	join();
}

void store_joined(void)
{
	folder_remove();
}

void store_stop(void)
{
	mdb_txn_abort(reading);
	mdb_env_close(env);
}

/* While one is open, what it sees takes memory and what others put is not seen. */
static void reading_end(void)
{
	if (current)
		mdb_txn_reset(reading);
	current = false;
}

static void reading_begin(void)
{
	if (current && shared)
		reading_end();
	if (!current)
		check(mdb_txn_renew(reading));
	current = true;
}

void store_put(const struct store_key *key)
{
	store_put_many(key, 1);
}

void store_put_many(const struct store_key *keys, size_t n)
{
	MDB_txn *writing;

	reading_end();
	check(mdb_txn_begin(env, NULL, 0, &writing));
	for (size_t i = 0; i < n; i++) {
		MDB_val key = key_of(&keys[i]), data = value;

		check(mdb_put(writing, table, &key, &data, 0));
	}
	check(mdb_txn_commit(writing));
}

static bool get(const struct store_key *asked, uint64_t *ret)
{
	MDB_val key = key_of(asked), data;
	int r;

	r = mdb_get(reading, table, &key, &data);
	if (r == MDB_NOTFOUND)
		return false;
	check(r);
	memcpy(ret, data.mv_data, sizeof(*ret));
	return true;
}

bool store_get(const struct store_key *key, uint64_t *ret)
{
	reading_begin();
	return get(key, ret);
}

size_t store_get_many(const struct store_key *keys, uint64_t *ret)
{
	uint64_t word, sum = 0;
	size_t found = 0;

	reading_begin();
	for (size_t i = 0; i < STORE_MANY; i++) {
		if (!get(&keys[i], &word))
			continue;
		sum += word;
		found++;
	}
	*ret = sum;
	return found;
}
