/*
 * Cache ask - what caches ask of the daemon over the socket.
 *
 * CK1 Files that come with an answer are mapped as sealed.h demands, for this process alone (not for
 *     forked children, nor core dumps), or the call fails.
 * CK2 What an answer says of memory is believed once the slice map agrees (X3 in extent.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/lanes.h"
#include "proto/wire.h"

struct varbos;
struct varbos_cache;
struct varbos_cache_options;
struct varbos_space;

struct lanes_opened {
	char *memory; /* of `n` lanes */
	const struct bell *bell;
	uint32_t n;
	uint32_t pins; /* views of a thread */
	bool barrier;  /* the daemon has barriers of all who registered, before it scans */
};

/* `n` of them; expedited: this process is registered for such barriers. */
int cache_ask_lanes(struct varbos *vb, uint32_t n, bool expedited, struct lanes_opened *ret);
/* The daemon is asleep, and has records to take. False: it is away, and looks when it is back. */
bool cache_ask_wake(struct varbos *vb);

struct cache_opened {
	uint32_t handle;
	uint64_t capacity;
};

int cache_ask_open(struct varbos_space *space, const char *name,
		   const struct varbos_cache_options *options, struct cache_opened *ret);
void cache_ask_close(struct varbos_space *space, uint32_t handle);

struct cache_index_file {
	void *memory;
	uint64_t size, generation;
};

/* Of that generation at least; 0: the first in use. */
int cache_ask_index(struct varbos_space *space, uint32_t handle, uint64_t generation,
		    struct cache_index_file *ret);

/* Memory that this process fills. */
struct cache_memory {
	uint64_t offset, size;
	uint32_t tag;
};

/* So many bytes, or fewer, but not fewer than `least`. */
int cache_ask_segment(const struct varbos_cache *cache, uint64_t size, uint64_t least,
		      struct cache_memory *ret);
/* For one object, of so many bytes. */
int cache_ask_own(const struct varbos_cache *cache, uint64_t size, struct cache_memory *ret);
/* Either, asked ahead (call.h). */
struct call *cache_ask_ahead(const struct varbos_cache *cache, uint64_t size, uint64_t least,
			     bool object);
int cache_ask_collect(const struct varbos_cache *cache, struct call *call, uint64_t least,
		      bool object, struct cache_memory *ret);
/* One for an object, that a record has asked for. */
int cache_ask_leased(const struct varbos_cache *cache, const struct lane_answer *answer,
		     uint64_t size, struct cache_memory *ret);
/* As a record asks for whose it is to be near to (lane.h). */
uint32_t cache_ask_caller(const struct varbos_cache *cache);
/* Nothing more is put there; nobody waits for it. */
void cache_ask_seal(struct varbos *vb, uint32_t space, const struct cache_memory *memory);

/* What a record asks, by methods. LANE_PUBLISH, LANE_DELETE, LANE_TOUCH. */
int cache_ask_record(const struct varbos_cache *cache, const struct lane_record *record);
/* It is an access; nobody waits for it. */
void cache_ask_use(const struct varbos_cache *cache, uint64_t hash);
/* Likewise, unless it waits for room to say so. False: it could not be told. */
bool cache_ask_count(const struct varbos_cache *cache, uint64_t hits, uint64_t misses,
		     bool waits);
int cache_ask_clear(const struct varbos_cache *cache);

/* What has become of the wish to compute: the right (token), or a value that is there (generation). */
struct cache_right {
	uint64_t token;
	uint32_t generation;
};

int cache_ask_fetch(const struct varbos_cache *cache, uint64_t hash, uint64_t compute_ms,
		    uint64_t wait_ms, uint32_t seen, struct cache_right *ret);
/* It is given up; nobody waits for that. code 0: another computes; else: why it has failed. */
void cache_ask_fetch_end(const struct varbos_cache *cache, uint64_t hash, uint64_t token,
			 uint32_t code);
