/*
 * Hoarder - a peer that has a cache open: it fills segments and reads the index, as the library
 * does, and as it does not.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "proto/index_read.h"
#include "proto/lane.h"
#include "proto/layout.h"
#include "proto/object.h"
#include "tests/integration/peer.h"

struct hoarder {
	struct peer peer;
	uint64_t session;
	uint64_t space, cache;
	/* The segment that it fills, and its window's data. */
	uint64_t segment, tag, filled, size;
	char *data;
	uint32_t window;
	uint64_t window_size;
	/* An index of the cache. */
	void *index;
	uint64_t index_size, generation;
	struct index_view view;
	/* What has not moved on to it is there yet. */
	void *former;
	uint64_t former_size;
	struct index_view former_view;
	_Atomic uint64_t hazard; /* of reads */
	/* Its lanes. */
	struct lane *lanes;
	int lanes_fd;
	uint64_t lanes_size;
	const struct bell *bell;
	uint32_t born;
};

/* Opens the space and the cache of that name, made for so many bytes if there is none. */
void hoarder_open(struct hoarder *hoarder, const char *socket, const char *space,
		  const char *cache, uint64_t capacity);
void hoarder_close(struct hoarder *hoarder);
/* Its connection is gone, the session is not: another connection. */
void hoarder_resume(struct hoarder *hoarder, const char *socket);

/* Another segment, and room in it for so many bytes; the one before is sealed. */
void hoarder_lease(struct hoarder *hoarder, uint64_t size);
/* Writes an object into its segment (another one, if need be): where it is. */
uint64_t hoarder_write(struct hoarder *hoarder, const char *key, const void *value,
		       uint64_t size, uint64_t expiry, uint64_t *ret_size);
/* The bytes of an object in a window that it has mapped. */
struct object_header *hoarder_at(struct hoarder *hoarder, uint64_t offset);

uint64_t key_hash(const char *key);
/* Where the object of this key is; 0: nowhere. It stays pinned by `hazard`. */
uint64_t hoarder_find(struct hoarder *hoarder, const char *key);

/* A put by the method cache.publish; true if it is done. */
bool hoarder_put(struct hoarder *hoarder, const char *key, const void *value, uint64_t size);
bool hoarder_delete(struct hoarder *hoarder, const char *key);

/* So many lanes, and the bell. */
void hoarder_lanes(struct hoarder *hoarder, uint32_t n);
/* Puts a record into a lane, and wakes the daemon if it sleeps: its position. */
uint64_t lane_put(struct hoarder *hoarder, uint32_t lane, const struct lane_record *record);
/* The record that publishes what hoarder_write() has written. */
struct lane_record lane_publish(struct hoarder *hoarder, const char *key, const char *value);
/* Sleeps until it is taken: its result. */
struct lane_result lane_wait(struct hoarder *hoarder, uint32_t lane, uint64_t position);

/* The cache's row of cache.list. */
struct wire_cache_row hoarder_row(struct hoarder *hoarder);
